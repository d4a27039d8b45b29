"""The data of the explore page: one column a figure, and small files of rows.

`explore/NAME.f32` holds one float32 a unit, by uid, little endian, NaN where there is none;
`explore/flags.u8` one byte: 1 interpretable, 2 always on, 4 a page of its own, 8 a shared page.
`explore/rows/N.json` holds for SHARD_UNITS units each its first tokens and its figures, so that a
table shows any of them without the columns. `find/unitsN.json` lists for the concepts of search
shard N the units that promote them, as differences of rising uids. `assets/atlas/explore.js`
reads all this.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from atlas_db import queries
from atlas_db.connection import Connection
from atlas_db.records import ConceptSummary
from atlas_site.context import Site
from atlas_site.find_index import SHARD_SIZE, FindFile

SHARD_UNITS = 128
_N_TOKENS = 5

#: Shares of the units between which colours run; what lies beyond has the first or last colour.
_LOW_SHARE, _HIGH_SHARE = 0.01, 0.999


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that units can be coloured, sorted and narrowed by."""

    name: str
    title: str
    meaning: str
    anchor: str  # on the method page
    is_log: bool


FIGURES = (
    Figure("images", "images", "In whose top 100 it is", "image-frequency", True),
    Figure(
        "attribution", "best attribution", "Greatest attribution, in logits", "attribution", True
    ),
    Figure(
        "mean_attribution", "mean attribution", "Over the images in whose top 100 it is, in logits",
        "attribution", True,
    ),
    Figure("activation", "max activation", "Greatest activation at any patch", "activation", False),
    Figure("density", "density", "Share of patches that activate it above 0", "density", False),
    Figure("words", "words", "Dictionary words among its ten tokens", "interpretable", False),
    Figure("norm", "write norm", "Length of the vector that it writes", "write-norm", False),
)  # fmt: skip

Columns = Mapping[str, npt.NDArray[Any]]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def explore_files(site: Site, columns: Columns) -> Iterator[FindFile]:
    """Make the files of columns and the index that describes them."""
    for figure in FIGURES:
        content = columns[figure.name].astype("<f4").tobytes()
        yield FindFile(f"explore/{figure.name}.f32", content)
    yield FindFile("explore/flags.u8", (columns["flags"] | site.kinds).tobytes())
    yield FindFile("explore/index.json", _json(_index(site, columns)))


def _index(site: Site, columns: Columns) -> dict[str, Any]:
    figures = []
    for figure in FIGURES:
        low, high = _range(columns[figure.name], is_log=figure.is_log)
        figures.append({**asdict(figure), "low": low, "high": high})
    return {
        "n_layers": site.info.n_layers,
        "units_per_layer": site.info.units_per_layer,
        "shard_units": SHARD_UNITS,
        "group": site.group,
        "figures": figures,
    }


def _range(column: npt.NDArray[Any], *, is_log: bool) -> tuple[float, float]:
    """Find between which values the colours run."""
    values = column[np.isfinite(column)]
    if is_log:
        values = values[values > 0]
    if not values.size:
        return 0.0, 1.0
    low, high = np.quantile(values, [_LOW_SHARE, _HIGH_SHARE])
    high = float(high) if high > low else float(low) + 1.0
    return round_to(float(low)), round_to(high)


def round_to(value: float, digits: int = 4) -> float:
    """Round to so many significant digits, for a short JSON."""
    return float(f"{value:.{digits}g}")


def row_files(connection: Connection, first: int, stop: int) -> Iterator[FindFile]:
    """Make the files of rows of the units first <= uid < stop; `first` begins a file."""
    columns = queries.unit_columns(connection, first, stop)
    figures = [columns[figure.name].tolist() for figure in FIGURES]
    rows: list[list[Any]] = []
    number = first // SHARD_UNITS
    tokens = queries.first_tokens(connection, first, stop)
    for said, *values in zip(tokens, *figures, strict=True):
        rows.append([said[:_N_TOKENS], *map(_short, values)])
        if len(rows) == SHARD_UNITS:
            yield FindFile(f"explore/rows/{number}.json", _json(rows))
            number, rows = number + 1, []
    if rows:
        yield FindFile(f"explore/rows/{number}.json", _json(rows))


def _short(value: float) -> float | int | None:
    """Write a figure for JSON; NaN stands for none."""
    if value != value:
        return None
    short = float(f"{value:.4g}")
    return int(short) if short == int(short) else short


def concept_shards(concepts: Sequence[ConceptSummary]) -> list[tuple[str, str]]:
    """Give the first and last concept of each shard of the search."""
    names = sorted(concept.concept for concept in concepts)
    parts = [names[start : start + SHARD_SIZE] for start in range(0, len(names), SHARD_SIZE)]
    return [(part[0], part[-1]) for part in parts]


def concept_unit_file(connection: Connection, number: int, first: str, last: str) -> FindFile:
    """List the units of every concept of a shard of the search."""
    found = queries.concept_uids(connection, first, last)
    steps = {name: np.diff(uids, prepend=0).tolist() for name, uids in found.items()}
    return FindFile(f"find/units{number}.json", _json(steps))
