"""Pieces of HTML that are kept as they were made, because many pages of a kind have them.

Pages of another kind have other pieces, so a process forgets them all when it turns to those.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

#: The commonest tokens and captions: some 2 MB a function.
N_TEXTS = 1 << 13
#: Lists of ten tokens: as much, and seldom the same twice.
N_LISTS = 1 << 12

_forget: list[Callable[[], None]] = []


def kept(n: int) -> Callable[[Function], Function]:
    """Have a function keep the n answers that were asked for last."""

    def wrap(function: Function) -> Function:
        wrapped: Any = lru_cache(maxsize=n)(function)
        _forget.append(wrapped.cache_clear)
        return wrapped

    return wrap


def forget_all() -> None:
    """Let every such function forget its answers."""
    for forget in _forget:
        forget()
