"""Write a small captioner with random weights, in the formats that real ones have.

For trying everything without weights, and for tests: what it says is nonsense, and its
captioner.json says so (`is_random`). The tokenizer is a byte-level BPE in GPT-2's manner, trained
on the sentences of everyday_sentences.txt.

The weights are scaled so that the nonsense varies: token embeddings have unit scale, every matrix
keeps the scale of its input, the adapter's vectors are as long as embeddings and differ between
pictures, and only tokens that are whole words have large rows in the unembedding, so that captions
consist of words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from atlas_db.errors import CaptionerError
from builder.adapter import save_adapter
from builder.captioner_config import CaptionerConfig, Part, write_config
from builder.encoders import PatchEncoder, TimmEncoder
from builder.everyday_tokenizer import everyday_words, train_tokenizer
from builder.loading import quiet

N_POSITIONS = 256
IMAGE_PX = 224
N_NOISE_PICTURES = 16
#: Embedding rows are padded to a multiple of this, as GPT-J's are, so that some have no token.
ROWS_MULTIPLE = 64
#: See _shape_vocabulary.
LOGIT_SCALE = 2.0
SELF_SCALE = 0.7
TIED_SCALE = 0.3
OTHER_TOKENS_SCALE = 0.3


@dataclass(frozen=True, slots=True)
class Size:
    """How large the random parts are."""

    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int
    encoder_depth: int
    encoder_width: int
    encoder_heads: int


SIZES: Mapping[str, Size] = {
    "tiny": Size(3, 64, 128, 4, 2, 48, 3),
    "small": Size(6, 256, 1024, 8, 4, 192, 6),
}


def _gptj(size: Size, n_rows: int) -> PreTrainedConfig:
    return GPTJConfig(
        vocab_size=n_rows,
        n_positions=N_POSITIONS,
        n_embd=size.d_model,
        n_layer=size.n_layers,
        n_head=size.n_heads,
        n_inner=size.d_mlp,
        rotary_dim=size.d_model // size.n_heads // 2,
    )


def _gpt2(size: Size, n_rows: int) -> PreTrainedConfig:
    return GPT2Config(
        vocab_size=n_rows,
        n_positions=N_POSITIONS,
        n_embd=size.d_model,
        n_layer=size.n_layers,
        n_head=size.n_heads,
        n_inner=size.d_mlp,
    )


def _neox(size: Size, n_rows: int) -> PreTrainedConfig:
    return GPTNeoXConfig(
        vocab_size=n_rows,
        max_position_embeddings=N_POSITIONS,
        hidden_size=size.d_model,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        intermediate_size=size.d_mlp,
    )


def _opt(size: Size, n_rows: int) -> PreTrainedConfig:
    return OPTConfig(
        vocab_size=n_rows,
        max_position_embeddings=N_POSITIONS,
        hidden_size=size.d_model,
        word_embed_proj_dim=size.d_model,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        ffn_dim=size.d_mlp,
    )


def _like_llama(
    kind: Callable[..., PreTrainedConfig], **more: Any
) -> Callable[[Size, int], PreTrainedConfig]:
    """Give what makes a configuration of a kind that has Llama's keys."""

    def make(size: Size, n_rows: int) -> PreTrainedConfig:
        return kind(
            vocab_size=n_rows,
            max_position_embeddings=N_POSITIONS,
            hidden_size=size.d_model,
            num_hidden_layers=size.n_layers,
            num_attention_heads=size.n_heads,
            num_key_value_heads=size.n_heads // 2,
            intermediate_size=size.d_mlp,
            **more,
        )

    return make


#: For each family: its configuration, and whether its models were trained with a BOS in front.
FAMILIES: Mapping[str, tuple[Callable[[Size, int], PreTrainedConfig], bool]] = {
    "gptj": (_gptj, False),
    "gpt2": (_gpt2, False),
    "neox": (_neox, False),
    "opt": (_opt, True),
    "llama": (_like_llama(LlamaConfig), True),
    "mistral": (_like_llama(MistralConfig, sliding_window=None), True),
    "qwen2": (_like_llama(Qwen2Config), False),
    "qwen3": (_like_llama(Qwen3Config, head_dim=16), False),
    "gemma": (_like_llama(GemmaConfig, head_dim=16), True),
    "gemma2": (_like_llama(Gemma2Config, head_dim=16, query_pre_attn_scalar=16), True),
    "gemma3": (_like_llama(Gemma3TextConfig, head_dim=16, query_pre_attn_scalar=16), True),
    "phi": (_like_llama(PhiConfig), False),
    "phi3": (_like_llama(Phi3Config, pad_token_id=None), False),
}


def init_random_captioner(
    folder: str | Path, *, family: str, size: str = "tiny", seed: int = 0
) -> CaptionerConfig:
    """Write a captioner with random weights into a new or empty folder; give its configuration.

    The same arguments give the same files. captioner.json is written last.

    Raises:
        ValueError: `family` or `size` is not known.
        CaptionerError: The folder is not empty.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CaptionerError(f"{folder} is not empty. Give a new folder, or empty this one.")
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    tokenizer = train_tokenizer()
    _save_language_model(folder / "language_model", family, SIZES[size], tokenizer, generator)
    encoder = _save_encoder(folder / "encoder", SIZES[size], generator)
    adapter = nn.Linear(SIZES[size].encoder_width, SIZES[size].d_model)
    _randomise(adapter, generator)
    _centre(adapter, encoder, generator)
    save_adapter(folder / "adapter.safetensors", adapter)
    config = _config(family, size, seed)
    write_config(folder, config)
    return config


def _save_language_model(
    folder: Path,
    family: str,
    size: Size,
    tokenizer: PreTrainedTokenizerFast,
    generator: torch.Generator,
) -> None:
    n_rows = -(-len(tokenizer) // ROWS_MULTIPLE) * ROWS_MULTIPLE
    with quiet():
        config = FAMILIES[family][0](size, n_rows)
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = None
    model = AutoModelForCausalLM.from_config(config)
    _randomise(model, generator)
    _shape_vocabulary(model, tokenizer, everyday_words())
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _save_encoder(folder: Path, size: Size, generator: torch.Generator) -> PatchEncoder:
    arguments: dict[str, Any] = {
        "embed_dim": size.encoder_width,
        "depth": size.encoder_depth,
        "num_heads": size.encoder_heads,
    }
    encoder = timm.create_model("beit_base_patch16_224", num_classes=0, **arguments)
    _randomise(encoder, generator)
    save_for_hf(encoder, str(folder), model_args=arguments, safe_serialization=True)
    return TimmEncoder(encoder.eval(), pooling="none")


@torch.no_grad()
def _centre(adapter: nn.Linear, encoder: PatchEncoder, generator: torch.Generator) -> None:
    """Take away from the adapter's output what it is on average over pictures of smooth noise.

    What all pictures have in common would else outweigh what tells them apart, and most captions
    would begin with the same word. Summed in float64 and rounded, so that machines agree.
    """
    colours = 2 * torch.rand(N_NOISE_PICTURES, 3, 3, 3, generator=generator) - 1
    pixels = nn.functional.interpolate(colours, size=(IMAGE_PX, IMAGE_PX), mode="bicubic")
    mean = encoder.double()(pixels.double()).mean(dim=(0, 1))
    common = adapter.weight.double() @ mean
    adapter.bias.sub_((common * 2**12).round() / 2**12)


@torch.no_grad()
def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew, from this generator alone."""
    scales = {}
    for name, child in module.named_modules():
        prefix = f"{name}." if name else ""
        is_table = isinstance(child, nn.Embedding)
        # transformers' Conv1D (GPT-2) keeps its matrices as (d_in, d_out).
        fan_axis = 0 if type(child).__name__ == "Conv1D" else 1
        weight = getattr(child, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim >= 2:
            fan_in = weight[0].numel() if fan_axis else weight.shape[0]
            scales[f"{prefix}weight"] = 1.0 if is_table else fan_in**-0.5
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_gain = parameter.ndim == 1 and not name.endswith("bias")
        if is_gain:
            parameter.copy_(1 + 0.1 * noise)
        else:
            parameter.copy_(scales.get(name, 0.1) * noise)


@torch.no_grad()
def _shape_vocabulary(model: Any, tokenizer: PreTrainedTokenizerFast, words: set[str]) -> None:
    """Scale the embeddings and the unembedding so that random captions are words that change.

    Rows without a token are zero. Whole words have large rows. Where the two matrices are not
    tied, a token lowers its own logit; where they are, embeddings are short beside what the blocks
    add. Without this a random model repeats its first token for ever.
    """
    embedding, unembedding = (
        model.get_input_embeddings().weight,
        model.get_output_embeddings().weight,
    )
    if unembedding is embedding:
        embedding *= TIED_SCALE
    else:
        scale = SELF_SCALE * unembedding.shape[1] ** -0.5
        unembedding.copy_(LOGIT_SCALE * unembedding - scale * embedding)
    unembedding[len(tokenizer) :] = 0
    for token, index in tokenizer.get_vocab().items():
        if not (token.startswith("Ġ") and token[1:] in words):
            unembedding[index] *= OTHER_TOKENS_SCALE


def _config(family: str, size: str, seed: int) -> CaptionerConfig:
    def part(source: str) -> Part:
        return Part(
            source=source,
            licence="MIT",
            origin=f"random numbers, neuron-atlas captioner init-random, seed {seed}",
        )

    return CaptionerConfig(
        name=f"random-{family}-{size}",
        is_random=True,
        language_model=part("language_model"),
        encoder=part("timm:encoder"),
        adapter=part("adapter.safetensors"),
        prompt="A picture of",
        bos=FAMILIES[family][1],
        max_new_tokens=12,
        dtype="float32",
        image_px=IMAGE_PX,
        grid=(14, 14),
        pooling="none",
        geometry="squash",
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
