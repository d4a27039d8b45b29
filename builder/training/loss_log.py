"""The losses of a training: a CSV file that a resumed training goes on with, and a plot of it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "step",
    "loss",
    "validation_loss",
    "learning_rate",
    "gradient_norm",
    "n_pairs",
    "n_tokens",
    "n_unread",
    "elapsed_s",
    "pairs_per_s",
)

_WIDTH, _HEIGHT, _MARGIN = 720, 400, 56
_N_SMOOTHED = 50


class LossLog:
    """Rows of COLUMNS, one a step; each is on the disk when `add` returns."""

    def __init__(self, path: Path, *, first_step: int) -> None:
        """Open the log, and drop what an earlier training wrote from `first_step` on."""
        self.path = path
        self.rows = [row for row in _read(path) if int(row["step"]) <= first_step]
        partial = path.with_name(path.name + ".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(path)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; keys that it lacks are left empty."""
        text = {name: str(row.get(name, "")) for name in COLUMNS}
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, fieldnames=COLUMNS).writerow(text)
        self.rows.append(text)

    def plot(self, path: Path) -> None:
        """Draw the losses by step, as SVG."""
        path.write_text(loss_plot(self.rows), encoding="utf-8")


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [dict(row) for row in csv.DictReader(file) if None not in row.values()]


def loss_plot(rows: Sequence[Mapping[str, str]]) -> str:
    """Draw losses as SVG: every step pale, their running mean, and validation as dots."""
    losses = [(int(row["step"]), float(row["loss"])) for row in rows]
    held_out = [(int(r["step"]), float(r["validation_loss"])) for r in rows if r["validation_loss"]]
    top = max((y for _, y in losses + held_out), default=1.0)
    last = max((x for x, _ in losses), default=1)

    def at(step: float, loss: float) -> tuple[float, float]:
        x = _MARGIN + (_WIDTH - 1.5 * _MARGIN) * step / last
        y = _HEIGHT - _MARGIN - (_HEIGHT - 1.5 * _MARGIN) * loss / top
        return round(x, 1), round(y, 1)

    def line(points: Sequence[tuple[int, float]], style: str) -> str:
        text = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
        return f'<polyline fill="none" {style} points="{text}"/>'

    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="3" fill="#c2410c"/>' for x, y in (at(*p) for p in held_out)
    )
    ticks = "".join(_ticks(at, top, last))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#334155">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>{ticks}'
        + line(losses, 'stroke="#bfdbfe" stroke-width="1"')
        + line(_smoothed(losses), 'stroke="#1d4ed8" stroke-width="2"')
        + f'{dots}<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">step</text>'
        f'<text x="{_MARGIN}" y="18">loss, nats a caption token (mean of {_N_SMOOTHED} steps); '
        "dots: validation</text></svg>\n"
    )


def _ticks(at: Any, top: float, last: int) -> list[str]:
    found = []
    for part in range(5):
        loss, step = top * part / 4, last * part / 4
        x, y = at(0, loss)
        found.append(
            f'<line x1="{x}" y1="{y}" x2="{at(last, loss)[0]}" y2="{y}" stroke="#e2e8f0"/>'
            f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{loss:.2f}</text>'
        )
        x, y = at(step, 0)
        found.append(f'<text x="{x}" y="{y + 16}" text-anchor="middle">{step:.0f}</text>')
    return found


def _smoothed(losses: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    found = []
    for i, (step, _) in enumerate(losses):
        window = [loss for _, loss in losses[max(0, i + 1 - _N_SMOOTHED) : i + 1]]
        found.append((step, sum(window) / len(window)))
    return found
