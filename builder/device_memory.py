"""Whether a device holds the pass over one image: before weights are read, and afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from atlas_db.errors import CaptionerError
from atlas_db.run_format import N_EXEMPLARS, N_HISTOGRAM_BINS
from builder.architectures import ARCHITECTURES, LANGUAGE_PARTS, architecture_of_config
from builder.devices import is_out_of_memory

#: Tensors of the residual stream's width that the graph keeps of a layer: its input, keys and
#: values (twice: the caption's pass copies them), queries, attention's output, the norm's input.
_NARROW_TENSORS = 8


@dataclass(frozen=True, slots=True)
class PassMemory:
    """Bytes that a pass takes.

    Attributes:
        weights: The language model's.
        exemplars: Exemplars, heatmaps and statistics of all units.
        image: The graph of one image.
    """

    weights: int
    exemplars: int
    image: int

    @property
    def total(self) -> int:
        """All of a pass over one image."""
        return self.weights + self.exemplars + self.image


def pass_memory(path: Path, n_patch: int, n_positions: int, dtype: torch.dtype) -> PassMemory:
    """Count what a pass of the language model in folder `path` takes, from shapes alone.

    Of a vision-language model, all weights count.
    """
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    is_whole = config.model_type in LANGUAGE_PARTS
    with torch.device("meta"):
        kind = AutoModelForImageTextToText if is_whole else AutoModelForCausalLM
        model = kind.from_config(config)
    n_weights = sum(parameter.numel() for parameter in model.parameters())
    if config.get_text_config(decoder=True).model_type not in ARCHITECTURES:
        return PassMemory(n_weights * dtype.itemsize, 0, 0)  # refused later, by name
    architecture = architecture_of_config(config)
    blocks = model.get_submodule(architecture.blocks)
    out = blocks[0].get_submodule(architecture.mlp_out).weight
    d_model = model.get_input_embeddings().embedding_dim
    d_mlp = out.numel() // d_model
    # The graph starts at the first layer's z: its attention is not in it.
    wide = len(blocks) * d_mlp * (3 if architecture.is_gated else 1)
    n_maps = N_EXEMPLARS + architecture.n_negative_exemplars
    narrow = (len(blocks) - 1) * _NARROW_TENSORS * d_model
    return PassMemory(
        weights=n_weights * dtype.itemsize,
        # A heatmap and its row of six numbers for each exemplar; a histogram of int64.
        exemplars=len(blocks) * d_mlp * (n_maps * (n_patch + 30) + N_HISTOGRAM_BINS * 8),
        image=n_positions * (wide + narrow) * dtype.itemsize,
    )


def check_memory(needed: PassMemory, dtype: torch.dtype, device: str, free_bytes: int) -> None:
    """Refuse a device that does not hold the pass over one image.

    Raises:
        CaptionerError: It does not; the message says how much is needed and what to do.
    """
    if needed.total <= free_bytes:
        return
    half = needed.weights * 2 // dtype.itemsize
    smaller = f"--dtype bfloat16 ({half / 1e9:.1f} GB of weights), " if dtype.itemsize > 2 else ""
    raise CaptionerError(
        f"The pass over one image needs {needed.total / 1e9:.1f} GB in "
        f"{str(dtype).removeprefix('torch.')}: {needed.weights / 1e9:.1f} GB of weights, "
        f"{needed.exemplars / 1e9:.1f} GB of exemplars, {needed.image / 1e9:.1f} GB of graph. "
        f"{device} has {free_bytes / 1e9:.1f} GB free. Use {smaller}a GPU with more memory, or "
        "--device cpu."
    )


def full_memory(captioner: Any, what: str) -> str:
    """Say that the device of a captioner does not hold `what`, and what to do."""
    parameters = captioner.model.parameters()
    weights_gb = sum(p.numel() * p.element_size() for p in parameters) / 1e9
    return (
        f"the memory of {captioner.device} does not hold {what}: the language model's weights "
        f"alone take {weights_gb:.1f} GB in {str(captioner.dtype).removeprefix('torch.')}. Use a "
        "type of fewer bytes (--dtype bfloat16), a device with more memory, or --device cpu; what "
        "is done is kept, and the same command goes on."
    )


@contextmanager
def explain_full_memory(captioner: Any, what: str) -> Iterator[None]:
    """Turn used-up memory into that sentence.

    Raises:
        CaptionerError: The memory was used up.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise CaptionerError(full_memory(captioner, what)) from error
