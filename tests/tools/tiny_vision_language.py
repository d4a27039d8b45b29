"""Tiny vision-language models of every family, saved in the format that real ones have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessor,
    Gemma3Config,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SiglipImageProcessor,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from builder.everyday_tokenizer import train_tokenizer
from builder.loading import quiet
from builder.vision_language.captioner import write_vision_language

SIDE_PX = 56
#: Of the tiny models, side of the image and grid of the image tokens. Each is of the family of its
#: name, but for one that has another language model.
SHAPES = {
    "llava": (56, (4, 4)),
    "llava_onevision": (56, (4, 4)),
    "qwen2_5_vl": (112, (4, 4)),
    "gemma3": (56, (2, 2)),
    "idefics3": (56, (2, 2)),
    "smolvlm": (56, (2, 2)),
    "paligemma": (56, (4, 4)),
    "paligemma2": (56, (4, 4)),
}
VISION_LANGUAGE = tuple(SHAPES)
N_LAYERS = 3
D_MODEL = 32
D_MLP = 40
_TEXT = {
    "hidden_size": D_MODEL,
    "intermediate_size": D_MLP,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_VISION = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE_PX,
    "patch_size": 14,
}
#: A chat template of the least length; real ones have the same parts.
_CHAT = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %} ANSWER:{% endif %}"
)


def write_tiny(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a model, its processor and its tokenizer; weights are large enough to matter."""
    torch.manual_seed(seed)
    config, processor = _MAKERS[family]()
    with quiet():
        model = AutoModelForImageTextToText.from_config(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() >= 2 and "norm" not in name:
                    scale = parameter[0].numel() ** -0.5
                    if "embed_tokens" in name:
                        # A tied model with long embeddings says its last token again for ever.
                        is_tied = model.get_output_embeddings().weight is parameter
                        scale = 0.1 if is_tied else 1.0
                    parameter.normal_(std=1.5 * scale)
                elif name.endswith("bias"):
                    parameter.normal_(std=0.1)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


def write_tiny_captioner(family: str, folder: Path, **changes: Any) -> Path:
    """Write a tiny checkpoint and, beside it, the captioner.json that names it."""
    image_px, grid = SHAPES[family]
    checkpoint = write_tiny(family, folder / "checkpoint")
    known: dict[str, Any] = {"image_px": image_px, "grid": grid, "dtype": "float32"}
    known |= {"max_new_tokens": 4, "prompt": "What is it?", "is_random": True}
    write_vision_language(str(checkpoint), folder / "captioner", **(known | changes))
    return folder / "captioner"


def _tokenizer(*special: str) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def _llava() -> tuple[Any, Any]:
    tokenizer = _tokenizer("<image>")
    size = {"height": SIDE_PX, "width": SIDE_PX}
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE_PX}, crop_size=size),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT.replace("IMAGE", "<image>"),
    )
    config = LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **_TEXT},
        vision_config={"model_type": "clip_vision_model", "projection_dim": 16, **_VISION},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return config, processor


def _llava_onevision() -> tuple[Any, Any]:
    tokenizer = _tokenizer("<image>", "<video>")
    pinpoints = [[SIDE_PX * a, SIDE_PX * b] for a in (1, 2) for b in (1, 2)]
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(
            size={"height": SIDE_PX, "width": SIDE_PX}, image_grid_pinpoints=pinpoints
        ),
        tokenizer,
        LlavaOnevisionVideoProcessor(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        chat_template=_CHAT.replace("IMAGE", "<image>"),
    )
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **_TEXT},
        vision_config={
            "model_type": "siglip_vision_model",
            "vision_use_head": False,
            **_VISION,
        },
        image_grid_pinpoints=pinpoints,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
    )
    return config, processor


def _qwen() -> tuple[Any, Any]:
    names = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
    tokenizer = _tokenizer(*names)
    start, image, end, video = tokenizer.convert_tokens_to_ids(list(names))
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size={"shortest_edge": 28 * 28, "longest_edge": 16 * 28 * 28}),
        tokenizer,
        Qwen2VLVideoProcessor(),
        chat_template=_CHAT.replace("IMAGE\n", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    text = {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": 2,
        "hidden_size": 24,
        "num_heads": 2,
        "intermediate_size": 32,
        "out_hidden_size": D_MODEL,
        "fullatt_block_indexes": [1],
        "window_size": 56,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    return config, processor


def _gemma3() -> tuple[Any, Any]:
    tokens = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    plain = train_tokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer,
        eos_token=plain.eos_token,
        bos_token=plain.bos_token,
        extra_special_tokens=tokens,
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}),
        tokenizer,
        chat_template=_CHAT.replace("IMAGE\n", "<start_of_image>"),
        image_seq_length=4,
    )
    config = Gemma3Config(
        text_config={
            **_TEXT,
            "vocab_size": len(tokenizer),
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": 12,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        vision_config={"model_type": "siglip_vision_model", **_VISION},
        mm_tokens_per_image=4,
        image_token_id=tokenizer.image_token_id,
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
    )
    return config, processor


def _idefics3() -> tuple[Any, Any]:
    tokenizer = _tokenizer(
        "<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"
    )
    processor = Idefics3Processor(
        Idefics3ImageProcessor(
            size={"longest_edge": 2 * SIDE_PX}, max_image_size={"longest_edge": SIDE_PX}
        ),
        tokenizer,
        image_seq_len=4,
        chat_template=_CHAT.replace("IMAGE\n", "<image>"),
    )
    config = Idefics3Config(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **_TEXT},
        vision_config={"model_type": "idefics3_vision", **_VISION},
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    return config, processor


def _smolvlm() -> tuple[Any, Any]:
    tokenizer = _tokenizer(
        "<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", "<video>"
    )
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(
            size={"longest_edge": 2 * SIDE_PX}, max_image_size={"longest_edge": SIDE_PX}
        ),
        tokenizer,
        SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=_CHAT.replace("IMAGE\n", "<image>"),
    )
    config = SmolVLMConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **_TEXT},
        vision_config={"model_type": "smolvlm_vision", **_VISION},
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    return config, processor


def _paligemma(text: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    images = SiglipImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX})
    images.image_seq_length = 16
    tokenizer = train_tokenizer()
    processor = PaliGemmaProcessor(images, tokenizer)
    config = PaliGemmaConfig(
        text_config={
            "model_type": "gemma",
            **_TEXT,
            "vocab_size": len(tokenizer),
            "head_dim": 8,
            **(text or {}),
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "projection_dim": D_MODEL,
            "vision_use_head": False,
            **_VISION,
        },
        projection_dim=D_MODEL,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return config, processor


def _paligemma2() -> tuple[Any, Any]:
    return _paligemma(
        {
            "model_type": "gemma2",
            "sliding_window": 12,
            "query_pre_attn_scalar": 8,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 6.0,
        }
    )


_MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": _llava,
    "llava_onevision": _llava_onevision,
    "qwen2_5_vl": _qwen,
    "gemma3": _gemma3,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "paligemma": _paligemma,
    "paligemma2": _paligemma2,
}
