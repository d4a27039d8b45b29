"""The summaries of all units in a file that processes map into their memory together.

Whoever goes through a whole atlas asks for the summaries of units in any order: neighbours, the
units of concepts and of images. Each such question makes DuckDB unpack most of the tokens of the
table `units`. Here they are read once, 80 bytes a unit, and looked up by uid after that.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, func, select

from atlas_db.queries.of_units import KNOWN_SUMMARIES, SUMMARY
from atlas_db.queries.statements import FIRST, STOP, arrow_table
from atlas_db.records import UnitSummary
from atlas_db.schema import Unit

_BLOCK = 16_384
_NUMBERS = (
    ("uid", "i4"), ("layer", "i2"), ("unit", "i4"), ("n_images", "i4"), ("image_frequency", "f4"),
    ("is_always_on", "?"), ("is_interpretable", "?"), ("n_dictionary_words", "i2"),
    ("best_attribution", "f4"), ("mean_attribution", "f4"), ("activation_max", "f4"),
)  # fmt: skip
_ROWS, _TOKENS = "units.npy", "tokens.json"


class KnownSummaries:
    """Look summaries up in a folder that `write` made."""

    def __init__(self, folder: Path) -> None:
        self._rows: Any = np.load(folder / _ROWS, mmap_mode="r")
        self._tokens: list[str] = json.loads((folder / _TOKENS).read_text(encoding="utf-8"))

    @classmethod
    def write(cls, connection: Connection, folder: Path) -> KnownSummaries:
        """Read the summaries of all units into a folder, and open it."""
        n_units, width = connection.execute(
            select(func.count(), func.max(func.len(Unit.top_tokens)))
        ).one()
        kind = np.dtype([*_NUMBERS, ("tokens", "i4", (width or 0,))])
        path = folder / _ROWS
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(n_units,))
        places: dict[str, int] = {}
        chosen: Any = select(*SUMMARY).where(Unit.uid >= FIRST, Unit.uid < STOP)
        for first in range(0, n_units, _BLOCK):
            ends = {"first": first, "stop": first + _BLOCK}
            table = arrow_table(connection, chosen.order_by(Unit.uid), ends)
            _keep(rows[first : first + _BLOCK], table, places)
        rows.flush()
        (folder / _TOKENS).write_text(json.dumps(list(places)), encoding="utf-8")
        return cls(folder)

    def __len__(self) -> int:
        return len(self._rows)

    def remember(self, connection: Connection) -> None:
        """Have the questions that this connection is asked answered from here."""
        connection.info[KNOWN_SUMMARIES] = self

    def of(self, uids: Collection[int]) -> dict[int, UnitSummary]:
        """Give the summaries of some units."""
        tokens = self._tokens
        return {
            uid: UnitSummary(
                uid, layer, unit, tuple([tokens[place] for place in places if place >= 0]),
                n_images, frequency, always, interpretable, n_words,
                best if best == best else None, mean if mean == mean else None, greatest,
            )
            for uid, layer, unit, n_images, frequency, always, interpretable, n_words, best, mean,
            greatest, places in self._rows[np.fromiter(uids, np.int64, len(uids))].tolist()
        }  # fmt: skip


def _keep(rows: Any, table: pa.Table, places: dict[str, int]) -> None:
    """Copy a part of the table `units`; tokens become their places among all that were met."""
    for name, _ in _NUMBERS:
        # Where there is none, numpy gets a NaN.
        rows[name] = table.column(name).to_numpy()
    lists = table.column("top_tokens").combine_chunks()
    flat = lists.flatten().dictionary_encode()
    own = [places.setdefault(token, len(places)) for token in flat.dictionary.to_pylist()]
    numbers = np.array(own, np.int32)[flat.indices.to_numpy()]
    n_tokens = np.diff(lists.offsets.to_numpy())
    rows["tokens"] = -1
    across = np.arange(rows["tokens"].shape[1])
    rows["tokens"][across < n_tokens[:, None]] = numbers
