"""The architecture table: where each family of language models keeps what the atlas reads.

One entry a family; everything else is written once. Nothing is guessed from shapes: the
orientation of the output matrix and whether the MLP is gated are stated here.

For a plain MLP, `a = act(z)` with z the first layer's output, and the MLP writes
`sum_k a_k W_out[k] + bias`. For a gated one z is the gate's output and `a = act(z) * up(x)`: what
multiplies W_out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atlas_db.errors import CaptionerError


@dataclass(frozen=True, slots=True)
class Architecture:
    """Dotted names, from the causal language model or (`mlp_*`) from one of its blocks."""

    family: str
    blocks: str
    mlp_in: str  # its output is z
    mlp_out: str  # its input is a, its weight is W_out
    final_norm: str
    config_activation: str  # the configuration's key of the non-linearity
    is_gated: bool = False
    out_is_conv1d: bool = False  # weight is (d_mlp, d_model), not nn.Linear's (d_model, d_mlp)


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
    "llama": Architecture(
        family="llama",
        blocks="model.layers",
        mlp_in="mlp.gate_proj",
        mlp_out="mlp.down_proj",
        final_norm="model.norm",
        config_activation="hidden_act",
        is_gated=True,
    ),
}


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
