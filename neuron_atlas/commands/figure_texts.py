"""An experiment's figures as lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def finished_lines(finished: Any) -> Iterator[str]:
    """Print a finished experiment: its question, then a line for each figure.

    `finished` is a `builder.experiments.run.FinishedExperiment`.
    """
    when = f"{finished.seconds:.0f} s" if finished.is_new else "run before"
    yield f"{finished.name}: {finished.title} ({when})"
    for row in finished.figures.to_pylist():
        yield "  " + figure_line(row)


def figure_line(row: Mapping[str, Any]) -> str:
    """Print a figure: what it is of, its value with the interval, n, the test, and the note."""
    where = [row["arm"], row["part"]]
    where.append("" if row["layer"] is None else f"layer {row['layer']}")
    where.append("" if row["k"] is None else f"k = {row['k']}")
    name = ", ".join([row["figure"], *(text for text in where if text)])
    if row["value"] is None:
        return f"{name}: left out. {row['note']}"
    parts = [f"{name}: {_number(row['value'])}"]
    if row["low"] is not None and row["high"] is not None:  # a ratio may have no end
        parts.append(f"[{_number(row['low'])}, {_number(row['high'])}]")
    parts.append(f"{row['measure']}, n = {row['n']}")
    if row["p_value"] is not None:
        parts.append(f"(p = {row['p_value']:.2g} against {row['control'] or 'chance'})")
    return " ".join(parts) + (f". {row['note']}" if row["note"] else "")


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.3g}"
