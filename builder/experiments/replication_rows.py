"""Rows of the table `replication`: a printed value, ours, and whether they agree.

`agrees` is None where that is not a yes or no; the note then says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

Row = dict[str, Any]


@cache
def goldens() -> Mapping[str, Any]:
    """Read the printed values."""
    path = resources.files("builder.experiments").joinpath("paper_goldens.json")
    content: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def row(
    section: str, item: str, printed: str, ours: str, agrees: bool | None, note: str = ""
) -> Row:
    """Make a row of the table, all but its number."""
    return {
        "section": section, "item": item, "printed": printed, "ours": ours, "agrees": agrees,
        "note": note,
    }  # fmt: skip


def missing(section: str, item: str, printed: str, why: str) -> Row:
    """Make the row of a value that cannot be compared."""
    return row(section, item, printed, "", None, why)


def texts(section: str, item: str, printed: str, ours: str) -> Row:
    """Compare two captions, but for case and a full stop."""
    return row(section, item, printed, ours, _plain(printed) == _plain(ours))


def _plain(caption: str) -> str:
    return caption.strip().rstrip(".").strip().lower()


def numbers(
    section: str, item: str, printed: float, ours: float, *, tolerance: float, note: str = ""
) -> Row:
    """Compare two numbers, which agree where they differ by no more than the tolerance."""
    said = f"Agrees within {tolerance:g}. {note}".strip()
    agrees = abs(ours - printed) <= tolerance + 1e-9
    return row(section, item, f"{printed:g}", f"{ours:.4g}", agrees, said)
