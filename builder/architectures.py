"""The architecture table: where each family of language models keeps what the atlas reads.

One entry a family; everything else is written once. Nothing is guessed from shapes: the
orientation of the output matrix and whether the MLP is gated are stated here.

For a plain MLP, `a = act(z)` with z the first layer's output, and the MLP writes
`sum_k a_k W_out[k] + bias`. For a gated one z is the gate's output and `a = act(z) * up(x)`: what
multiplies W_out. Where a norm follows the MLP (Gemma 2 and 3), what unit k adds to the residual
stream is `a_k W_out[k] * gain / rms`: its direction is W_out[k] times the norm's gain, and that is
what is decoded; the length `rms` is common to all units of a position. Gemma 2 bends logits at last
(`30 tanh(y / 30)`): targets are attributed as the model gives them, and decoding, which only ranks
tokens, leaves the bend out.

In a vision-language model the language model is a part, with names of its own in front
(`builder.vision_language.families` says which); its entry here is that of the part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from atlas_db.errors import CaptionerError
from atlas_db.run_format import N_NEGATIVE_EXEMPLARS


@dataclass(frozen=True, slots=True)
class Architecture:
    """Dotted names, from the causal language model or (`mlp_*`) from one of its blocks."""

    family: str
    blocks: str
    mlp_in: str  # its output is z, or with z_is_input what goes into it
    mlp_out: str  # its input is a, its weight is W_out
    final_norm: str
    config_activation: str  # the configuration's key of the non-linearity
    is_gated: bool = False
    z_is_input: bool = False  # of a non-linearity, where one matrix makes gate and up at once
    out_is_conv1d: bool = False  # weight is (d_mlp, d_model), not nn.Linear's (d_model, d_mlp)
    out_norm: str = ""  # the norm that the MLP's output passes before it is added, if any
    gain_offset: float = 0.0  # that norm's gain is this plus its weight

    @property
    def n_negative_exemplars(self) -> int:
        """How many images are kept in which a unit is most negative.

        A gated unit's activation goes as far below 0 as above. A plain one's ends at the least of
        its non-linearity, -0.17 for GELU: such images say nothing of it.
        """
        return N_NEGATIVE_EXEMPLARS if self.is_gated else 0


#: LLaMA's gated MLP, which most families have taken over.
_LLAMA = Architecture(
    family="llama",
    blocks="model.layers",
    mlp_in="mlp.gate_proj",
    mlp_out="mlp.down_proj",
    final_norm="model.norm",
    config_activation="hidden_act",
    is_gated=True,
)

#: Gemma's from the second on: a norm before the MLP and one behind it.
_GEMMA_2 = replace(
    _LLAMA,
    family="gemma2",
    config_activation="hidden_activation",
    out_norm="post_feedforward_layernorm",
    gain_offset=1.0,
)

#: By `model_type` of the configuration.
ARCHITECTURES: Mapping[str, Architecture] = {
    "gptj": Architecture(
        family="gptj",
        blocks="transformer.h",
        mlp_in="mlp.fc_in",
        mlp_out="mlp.fc_out",
        final_norm="transformer.ln_f",
        config_activation="activation_function",
    ),
    "gpt2": Architecture(
        family="gpt2",
        blocks="transformer.h",
        mlp_in="mlp.c_fc",
        mlp_out="mlp.c_proj",
        final_norm="transformer.ln_f",
        config_activation="activation_function",
        out_is_conv1d=True,
    ),
    "gpt_neox": Architecture(
        family="neox",
        blocks="gpt_neox.layers",
        mlp_in="mlp.dense_h_to_4h",
        mlp_out="mlp.dense_4h_to_h",
        final_norm="gpt_neox.final_layer_norm",
        config_activation="hidden_act",
    ),
    "opt": Architecture(
        family="opt",
        blocks="model.decoder.layers",
        mlp_in="fc1",
        mlp_out="fc2",
        final_norm="model.decoder.final_layer_norm",
        config_activation="activation_function",
    ),
    "llama": _LLAMA,
    "mistral": replace(_LLAMA, family="mistral"),
    "qwen2": replace(_LLAMA, family="qwen2"),
    "qwen2_5_vl_text": replace(_LLAMA, family="qwen2"),
    "qwen3": replace(_LLAMA, family="qwen3"),
    "gemma": replace(_LLAMA, family="gemma"),
    "gemma2": _GEMMA_2,
    "gemma3_text": replace(_GEMMA_2, family="gemma3"),
    "phi": Architecture(
        family="phi",
        blocks="model.layers",
        mlp_in="mlp.fc1",
        mlp_out="mlp.fc2",
        final_norm="model.final_layernorm",
        config_activation="hidden_act",
    ),
    # gate_up_proj makes gate and up at once: the gate is what goes into the non-linearity.
    "phi3": replace(_LLAMA, family="phi3", mlp_in="mlp.activation_fn", z_is_input=True),
}

#: Where the language model lies in a vision-language model, by the whole's `model_type`. The names
#: of ARCHITECTURES start with `model.` there; in the whole that is this.
LANGUAGE_PARTS: Mapping[str, str] = {
    "llava": "model.language_model.",
    "llava_onevision": "model.language_model.",
    "qwen2_5_vl": "model.language_model.",
    "gemma3": "model.language_model.",
    "idefics3": "model.text_model.",
    "smolvlm": "model.text_model.",
    "paligemma": "model.language_model.",
}

#: A configuration that has one of these above 1 is of a mixture of experts.
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def architecture_of_config(config: Any) -> Architecture:
    """Look up a model by its configuration; of a vision-language model, its language model.

    Raises:
        CaptionerError: The table has no such entry, or the model is a mixture of experts.
    """
    text = config.get_text_config(decoder=True)
    _refuse_experts(text)
    found = architecture_of(text.model_type)
    part = LANGUAGE_PARTS.get(config.model_type)
    if part is None:
        return found
    return replace(
        found,
        blocks=part + found.blocks.removeprefix("model."),
        final_norm=part + found.final_norm.removeprefix("model."),
    )


def _refuse_experts(config: Any) -> None:
    for key in _EXPERT_KEYS:
        n_experts = getattr(config, key, None)
        if isinstance(n_experts, int) and n_experts > 1:
            raise CaptionerError(
                f"this language model ({config.model_type!r}) is a mixture of {n_experts} experts: "
                "which of them a position goes through is chosen anew in every layer, so a unit "
                "has no activation at the positions that pass it by, and heatmaps, densities and "
                "top units of different images cannot be compared. Use a dense model."
            )


def architecture_of(model_type: str) -> Architecture:
    """Look up a family.

    Raises:
        CaptionerError: The table has no such entry.
    """
    try:
        return ARCHITECTURES[model_type]
    except KeyError:
        known = ", ".join(sorted(ARCHITECTURES))
        raise CaptionerError(
            f"language models of type {model_type!r} are not in the architecture table "
            f"(it has {known}). Use one of these, or add an entry to builder/architectures.py."
        ) from None
