"""The first exemplars of every unit, kept on the disk while the site is built.

Unit pages are filled first, in the order of the atlas's file; concept pages then show the exemplars
of units in any order. A file of rows of one length keeps that within constant memory, away from
hundreds of thousands of look-ups, and lets worker processes write it together. It is read and
written row by row: mapped into memory, all of it would count as theirs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from atlas_db.records import ExemplarRecord

N_FIRST = 4

#: What a row begins with: how many exemplars there are, and their images; their maps follow.
_HEAD = struct.Struct(f"<B{N_FIRST}q")

Tile = tuple[int, npt.NDArray[np.uint8]]


class FirstExemplars:
    """Image and heatmap of the first `N_FIRST` exemplars, by uid.

    Args:
        path: The file to keep them in; made sparse, so units that are left out cost nothing.
        n_units: Units of the atlas.
        n_patch: Values of a heatmap.
        mode: "w+" makes the file, "r+" opens it.
    """

    def __init__(
        self, path: Path, n_units: int, n_patch: int, mode: Literal["w+", "r+"] = "w+"
    ) -> None:
        self._maps_bytes = N_FIRST * n_patch
        self._row_bytes = _HEAD.size + self._maps_bytes
        # Unbuffered: what one process writes, another reads.
        self._file = path.open("w+b" if mode == "w+" else "r+b", buffering=0)
        if mode == "w+":
            self._file.truncate(n_units * self._row_bytes)

    def keep(self, uid: int, exemplars: Sequence[ExemplarRecord]) -> None:
        """Remember a unit's first exemplars."""
        first = exemplars[:N_FIRST]
        ids = [exemplar.image_id for exemplar in first] + [0] * (N_FIRST - len(first))
        maps = b"".join([exemplar.heatmap.tobytes() for exemplar in first])
        row = _HEAD.pack(len(first), *ids) + maps.ljust(self._maps_bytes, b"\0")
        self._file.seek(uid * self._row_bytes)
        self._file.write(row)

    def of(self, uid: int) -> list[Tile]:
        """Give (image_id, heatmap) of each that was kept; heatmaps are uint8, (n_patch,)."""
        self._file.seek(uid * self._row_bytes)
        row = self._file.read(self._row_bytes)
        n, *ids = _HEAD.unpack_from(row)
        maps = np.frombuffer(row, np.uint8, offset=_HEAD.size).reshape(N_FIRST, -1)
        return list(zip(ids[:n], maps[:n], strict=True))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
