"""Load a model of transformers from a folder, whole or not at all.

transformers fills weights that a checkpoint lacks with random numbers and says so in a log line,
and takes integers of a quantised checkpoint for weights. An atlas of such a model would be wrong
without looking wrong, so here both are errors, and so are weights that are no numbers.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import logging

from atlas_db.errors import CaptionerError
from builder.parts import weight_files

#: What a damaged or foreign checkpoint makes transformers, timm and torch raise.
LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    SafetensorError,
)


#: As safetensors and as torch name them.
_STORED_TYPES = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16"}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and logging reports while it loads or saves."""
    verbosity = logging.get_verbosity()
    had_bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def load_pretrained(
    kind: Any, path: Path, *, what: str, dtype: torch.dtype, **arguments: Any
) -> Any:
    """Load a model by `kind.from_pretrained`, and refuse it if any of its weights is not there.

    Raises:
        CaptionerError: The folder is no model folder, or weights are missing or of another shape.
    """
    try:
        with quiet():
            model, info = kind.from_pretrained(
                path,
                dtype=dtype,
                output_loading_info=True,
                # Collected below, where the message can name them.
                ignore_mismatched_sizes=True,
                local_files_only=True,
                trust_remote_code=False,
                **arguments,
            )
    except LOAD_ERRORS as error:
        text = " ".join(str(error).split())[:300]
        raise CaptionerError(
            f"The {what} in {path} cannot be loaded: {text}. Wanted a folder as save_pretrained "
            "of transformers writes it."
        ) from None
    problems = {
        "missing": sorted(map(str, info["missing_keys"])),
        "of another shape": sorted(map(_shapes, info["mismatched_keys"])),
    }
    for problem, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            raise CaptionerError(
                f"The {what} in {path} has weights that are {problem}: {', '.join(keys[:5])}"
                f"{more}. transformers would fill them with random numbers. Fetch or save the "
                "whole checkpoint again, and see that config.json belongs to it."
            )
    _refuse_other_types(path, what)
    _refuse_what_is_no_number(model, path, what, dtype)
    return model


def _refuse_other_types(path: Path, what: str) -> None:
    """Refuse a checkpoint whose weights are stored as integers or in eight bits."""
    for file in weight_files(path):
        for name, kind in _stored_types(file):
            if name.endswith("weight") and kind not in _STORED_TYPES:
                raise CaptionerError(
                    f"The {what} in {path} has weights of type {kind} ({name} in {file.name}): a "
                    "quantised checkpoint, or another file. Fetch the checkpoint in float32, "
                    "bfloat16 or float16."
                )


def _stored_types(file: Path) -> Iterator[tuple[str, str]]:
    """Name the type of every tensor in a file, which is not read but for its table of contents."""
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                yield name, tensors.get_slice(name).get_dtype()
        return
    state = torch.load(file, map_location="meta", weights_only=True)
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            yield name, str(value.dtype).removeprefix("torch.")


def _refuse_what_is_no_number(model: torch.nn.Module, path: Path, what: str, dtype: Any) -> None:
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise CaptionerError(
                f"The {what} in {path} has weights that are infinite or no numbers ({name}, read "
                f"as {str(dtype).removeprefix('torch.')}). Fetch the checkpoint again, or use a "
                "type that holds its values (--dtype bfloat16 or float32)."
            )


def _shapes(mismatch: tuple[str, Sequence[int], Sequence[int]]) -> str:
    name, found, wanted = mismatch
    return f"{name} (got {tuple(found)}, wanted {tuple(wanted)})"
