"""Two ways to hold less memory while a site is filled."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_pandas() -> Iterator[None]:
    """Keep DuckDB and pyarrow from importing pandas, for which nothing here asks.

    Wherever it is installed they do, at the first parameter of a statement: 35 MB a process.
    """
    if "pandas" in sys.modules:
        yield
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pandas"]


def give_back() -> None:
    """Have the C library return to the system what is free of its memory, where it can."""
    if _trim is not None:
        _trim(0)


# glibc's alone: others return it by themselves, or never.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
