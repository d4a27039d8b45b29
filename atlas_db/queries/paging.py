"""The parts of a list."""

from __future__ import annotations


def check_page(limit: int, offset: int) -> None:
    """Refuse a part of a list that cannot be.

    Raises:
        ValueError: limit is below 1 or offset below 0.
    """
    if limit < 1:
        raise ValueError(f"limit must be >= 1, got {limit}")
    if offset < 0:
        raise ValueError(f"offset must be >= 0, got {offset}")


def next_offset(offset: int, n_rows: int, total: int) -> int | None:
    """Say where the next part begins; None after the last."""
    return offset + n_rows if n_rows and offset + n_rows < total else None
