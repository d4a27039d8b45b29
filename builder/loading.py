"""Load a model of transformers from a folder, whole or not at all.

transformers fills weights that a checkpoint lacks with random numbers and says so in a log line. An
atlas of such a model would be wrong without looking wrong, so here it is an error.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging

from atlas_db.errors import CaptionerError

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
    return model


def _shapes(mismatch: tuple[str, Sequence[int], Sequence[int]]) -> str:
    name, found, wanted = mismatch
    return f"{name} (got {tuple(found)}, wanted {tuple(wanted)})"
