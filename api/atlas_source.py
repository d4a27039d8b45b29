"""The atlas that requests read, followed when another is published in its place.

Each request takes a lease of the atlas that the path leads to at that moment and keeps it to its
end, so one answer never mixes two atlases. The look (a `stat` of the path) finds both
ways to publish: a symlink pointed at another file, and a file renamed over the old one.

DuckDB keeps one instance a path and process: as long as one connection to the old file is open, a
new one to the same path reads the old file. So a file renamed over the old one is opened only when
the last lease of the old one has ended; behind a symlink, where the paths differ, nobody waits.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from atlas_db.connection import Engine, open_atlas
from atlas_db.errors import AtlasFileError
from atlas_db.queries import atlas_info
from atlas_db.ready_answers import ReadyAnswers
from atlas_db.records import AtlasInfo
from atlas_db.unit_orders import UnitOrders

LOG = logging.getLogger("neuron_atlas.api")
#: How long a newly renamed file waits for requests that still read the old one.
DRAIN_TIMEOUT_S = 10.0


class Identity(NamedTuple):
    """What tells one published file from another, its path and its inode."""

    path: Path
    device: int
    inode: int
    modified_ns: int
    size_bytes: int


@dataclass(slots=True, eq=False)
class OpenAtlas:
    """An atlas that is open, and how many requests read it."""

    identity: Identity
    engine: Engine
    info: AtlasInfo
    etag: str
    answers: ReadyAnswers
    orders: UnitOrders
    n_leases: int = 0

    def close(self) -> None:
        """Let go of the file and of its answers."""
        self.engine.dispose()
        self.answers.close()


class AtlasSource:
    """Leases of the atlas at a path; safe to share between threads.

    Attributes:
        n_opened: How many atlases were opened so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_opened = 0
        self._current: OpenAtlas | None = None
        self._replaced: list[OpenAtlas] = []  # and still read
        self._changed = threading.Condition()

    @property
    def has_answers(self) -> bool:
        """Whether the atlas that was leased last has answers beside it, as far as is known."""
        current = self._current
        return current is not None and current.answers.is_open

    @property
    def etag(self) -> str | None:
        """That of the atlas that was leased last."""
        current = self._current
        return None if current is None else current.etag

    def acquire(self) -> OpenAtlas:
        """Lease the atlas that is published now; `release` it.

        Raises:
            AtlasFileError: There is none, or it cannot be read.
        """
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        with self._changed:
            while True:
                # Looked up under the lock, lest a slow thread bring an older atlas back.
                identity = self._look()
                if self._current is None or self._current.identity != identity:
                    self._retire()
                    if any(old.identity.path == identity.path for old in self._replaced):
                        self._wait(identity.path, deadline)
                        continue
                    self._current = self._open(identity)
                self._current.n_leases += 1
                return self._current

    def release(self, atlas: OpenAtlas) -> None:
        """End a lease; the last one of an atlas that was replaced closes it."""
        with self._changed:
            atlas.n_leases -= 1
            if atlas.n_leases == 0 and atlas in self._replaced:
                self._replaced.remove(atlas)
                atlas.close()
                self._changed.notify_all()

    def close(self) -> None:
        """Close the atlas as soon as nobody reads it."""
        with self._changed:
            self._retire()

    def _look(self) -> Identity:
        """Say which file the path leads to; one `stat` while it is the same file as before."""
        try:
            stat = os.stat(self.path)  # noqa: PTH116 (each request does this)
            known = self._current and self._current.identity
            if known and known[1:] == (
                stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
            ):  # fmt: skip
                return known
            path = self.path.resolve(strict=True)
            stat = path.stat()
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symlinks
            raise AtlasFileError(
                f"{self.path} cannot be read: {error}. Make an atlas with "
                "`neuron-atlas build` or `neuron-atlas ingest`."
            ) from error
        return Identity(path, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)

    def _open(self, identity: Identity) -> OpenAtlas:
        engine = open_atlas(identity.path, threads=1)
        try:
            with engine.connect() as connection:
                info = atlas_info(connection)
        except BaseException:
            engine.dispose()
            raise
        self.n_opened += 1
        LOG.info("serving atlas %s from %s", info.content_hash, identity.path)
        etag = f"{info.content_hash[:32]}-{version('neuron-atlas')}"
        answers = ReadyAnswers(identity.path, info.content_hash)
        orders = UnitOrders(info.units_per_layer)
        return OpenAtlas(identity, engine, info, etag, answers, orders)

    def _retire(self) -> None:
        old, self._current = self._current, None
        if old is None:
            return
        if old.n_leases == 0:
            old.close()
        else:
            self._replaced.append(old)

    def _wait(self, path: Path, deadline: float) -> None:
        if not self._changed.wait(max(0.0, deadline - time.monotonic())):
            raise AtlasFileError(
                f"{path} was replaced, and requests still read the old file after "
                f"{DRAIN_TIMEOUT_S:.0f} s. Publish behind a symlink to be spared this."
            )
