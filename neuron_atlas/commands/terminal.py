"""Tables and text for a terminal: aligned, and safe to print whatever the atlas holds.

Tokens are text of strangers: control characters and the marks that turn writing around are shown
as escapes, so none of them reaches the terminal as a command.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import click

_BAR = "█"
_BAR_PARTS = " ▏▎▍▌▋▊▉"


def visible(text: str) -> str:
    """Show characters that cannot be printed as escapes, such as \\x1b and \\u202e."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def quoted(token: str) -> str:
    """Show a token with its spaces: `" water"`."""
    return f'"{visible(token)}"'


def width(text: str) -> int:
    """Count the terminal's columns that a text takes: wide characters take 2, marks none."""
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def shortened(text: str, columns: int) -> str:
    """Cut a text to `columns` columns, the last an ellipsis if something was cut."""
    if width(text) <= columns:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > columns - 1:
            break
        kept += character
    return kept + "…"


def bar(share: float, columns: int = 12) -> str:
    """Draw a share of 0..1 as a bar."""
    eighths = round(max(0.0, min(1.0, share)) * columns * 8)
    return _BAR * (eighths // 8) + _BAR_PARTS[eighths % 8].strip()


def percent(share: float) -> str:
    """Print a share of 0..1; below 1 % to two digits, since no small one is nothing."""
    value = 100 * share
    return f"{value:.1f} %" if value >= 1 or value == 0 else f"{value:.2g} %"


def number(value: float | None) -> str:
    """Print a number to three digits; a dash for none."""
    return "-" if value is None else f"{value:.3g}"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[int] = (),
    most: int = 60,
) -> str:
    """Lay out rows under a head.

    Args:
        head: One name a column.
        rows: Of as many texts.
        right: Columns that are flush right (numbers).
        most: Terminal columns that one cell may take.
    """
    flush_right = frozenset(right)
    cells = [[shortened(visible(cell), most) for cell in row] for row in rows]
    widths = [max(width(row[i]) for row in [list(head), *cells]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = []
        for i, cell in enumerate(row):
            space = " " * (widths[i] - width(cell))
            padded.append(space + cell if i in flush_right else cell + space)
        return "  ".join(padded).rstrip()

    return "\n".join([click.style(line(head), bold=True), *(line(row) for row in cells)])
