"""Tiny language models of every family, with random weights of a size that makes units matter."""

from collections.abc import Callable
from typing import Any

import torch
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
    Qwen2Config,
    Qwen3Config,
)

from builder.language_model import LanguageModel

N_LAYERS = 3
D_MODEL = 16
D_MLP = 24
D_VOCAB = 50
FAMILIES = (
    "gptj",
    "gpt2",
    "neox",
    "opt",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "phi",
    "phi3",
)

#: Those with layers whose attention reaches a window back alone.
SLIDING = ("mistral", "gemma2", "gemma3", "phi3")


def tiny_config(family: str) -> Any:
    common = {"vocab_size": D_VOCAB, "bos_token_id": None, "eos_token_id": None}
    gpt = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": 2, "n_inner": D_MLP}
    plain = {
        "hidden_size": D_MODEL,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    dropout = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
    gated = {**common, **plain, "intermediate_size": D_MLP, "num_key_value_heads": 1}
    gemma = {**gated, "head_dim": 8, "pad_token_id": None}
    configs: dict[str, Callable[[], Any]] = {
        "gptj": lambda: GPTJConfig(**common, **gpt, **dropout, rotary_dim=4, n_positions=64),
        "gpt2": lambda: GPT2Config(**common, **gpt, **dropout, n_positions=64),
        "neox": lambda: GPTNeoXConfig(**common, **plain, intermediate_size=D_MLP),
        "opt": lambda: OPTConfig(
            **common, **plain, ffn_dim=D_MLP, word_embed_proj_dim=D_MODEL, pad_token_id=1
        ),
        "llama": lambda: LlamaConfig(**gated),
        # A window shorter than the sequence.
        "mistral": lambda: MistralConfig(**gated, sliding_window=8),
        "qwen2": lambda: Qwen2Config(**gated),
        "qwen3": lambda: Qwen3Config(**gated, head_dim=8),
        "gemma": lambda: GemmaConfig(**gemma),
        # Caps low enough to bend what these weights give.
        "gemma2": lambda: Gemma2Config(
            **gemma,
            sliding_window=6,
            query_pre_attn_scalar=8,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=6.0,
        ),
        "gemma3": lambda: Gemma3TextConfig(
            **gemma,
            sliding_window=5,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            query_pre_attn_scalar=8,
        ),
        "phi": lambda: PhiConfig(**common, **plain, intermediate_size=D_MLP),
        "phi3": lambda: Phi3Config(**gated, pad_token_id=None, sliding_window=9),
    }
    return configs[family]()


def tiny_model(family: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> LanguageModel:
    """Make a model whose weights are large enough that gradients are far from 0."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "norm" not in name:
                parameter.normal_(std=0.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.2)
    model.requires_grad_(False)
    return LanguageModel(model.to(dtype).eval())


class WordTokenizer:
    """The least that detection asks of a tokenizer: a token is a word of its own."""

    all_special_ids: tuple[int, ...] = ()

    def decode(self, token_ids: list[int], **_: Any) -> str:
        return "".join(f" {word_of(i)}" for i in token_ids)


def word_of(token_id: int) -> str:
    """Spell a token as two letters that are no word of English: a noun by rule."""
    return f"zq{chr(97 + token_id // 26)}{chr(97 + token_id % 26)}"
