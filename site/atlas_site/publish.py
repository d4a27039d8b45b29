"""The output folder: files are written only where they differ, what is no longer made is removed.

A marker file says that a folder is a site of ours; a folder with other things in it is refused, so
that nobody's files are ever removed by a mistyped `--out`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlas_db.errors import SiteError

MARKER = ".neuron-atlas-site.json"

_BINARY = getattr(os, "O_BINARY", 0) | os.O_WRONLY  # without it Windows changes line ends
_NEW = _BINARY | os.O_CREAT | os.O_EXCL
_AGAIN = _BINARY | os.O_CREAT | os.O_TRUNC
_MODE = 0o666  # less the umask


def write_marker(out: Path, content: Mapping[str, Any]) -> None:
    """Say that a folder is a site of ours, and in which state."""
    partial = out / f"{MARKER}.partial"
    partial.write_text(json.dumps({"made_by": "neuron-atlas", **content}) + "\n", encoding="utf-8")
    partial.replace(out / MARKER)


@dataclass
class Writer:
    """Write files into a folder, unless they are there already, and count what happened.

    Args:
        out: The folder; made if missing.
    """

    out: Path
    n_written: int = 0
    n_unchanged: int = 0
    n_bytes: int = 0
    # Names by folder, in the order in which they came: sets of them take four times as much.
    kept: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def write(self, address: str, content: bytes) -> None:
        """Put a file in its place unless it is there already with the same content."""
        folder, _, name = address.rpartition("/")
        names = self.kept.get(folder)
        if names is None:
            names = self.kept[folder] = []
            (self.out / folder).mkdir(parents=True, exist_ok=True)
        names.append(name)
        self.n_bytes += len(content)
        path = f"{self.out}/{address}"  # a Path for each of many thousand files takes its time
        if _put(path, content):
            self.n_written += 1
        else:
            self.n_unchanged += 1

    def absorb(self, other: Writer) -> None:
        """Take over what another process wrote into the same folder."""
        self.n_written += other.n_written
        self.n_unchanged += other.n_unchanged
        self.n_bytes += other.n_bytes
        for folder, names in other.kept.items():
            # The same names stand in the folders of all layers.
            self.kept.setdefault(folder, []).extend(map(sys.intern, names))


@dataclass
class Publisher(Writer):
    """The writer of a whole site: it also removes what the site no longer has.

    Raises:
        SiteError: `out` is a file, or holds something that is no site of ours.
    """

    n_removed: int = 0

    def __post_init__(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise SiteError(f"{self.out} is a file; a site needs a folder. Choose another --out.")
        if self.out.is_dir() and not (self.out / MARKER).is_file():
            strange = next((path for path in self.out.iterdir() if path.name[0] != "."), None)
            if strange is not None:
                raise SiteError(
                    f"{self.out} holds {strange.name}, which is no site made by neuron-atlas. "
                    "Choose an empty or new folder for the site, or empty this one."
                )
        self.out.mkdir(parents=True, exist_ok=True)
        write_marker(self.out, {"complete": False})

    def remove_stale(self) -> None:
        """Remove what this build did not make.

        Hidden files and folders are left alone: they are the host's (`.htaccess`, `.git`).
        """
        for folder, folders, names in os.walk(self.out, topdown=False):
            path = Path(folder)
            parts = path.relative_to(self.out).parts
            if any(part.startswith(".") for part in parts):
                continue
            kept = set(self.kept.get("/".join(parts), ()))
            stale = [name for name in names if name not in kept and not name.startswith(".")]
            for name in stale:
                (path / name).unlink()
            self.n_removed += len(stale)
            if len(stale) == len(names) and not folders and path != self.out:
                path.rmdir()


def _put(path: str, content: bytes) -> bool:
    """Write a file, and say so, unless it is there already with the same content."""
    try:
        # A new file is the rule: asking first whether there is one takes as long as opening it.
        place = os.open(path, _NEW, _MODE)
    except FileExistsError:
        if _holds(path, content):
            return False
        place = os.open(path, _AGAIN)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(place, left) :]
    finally:
        os.close(place)
    return True


def _holds(path: str, content: bytes) -> bool:
    try:
        if os.stat(path).st_size != len(content):  # noqa: PTH116
            return False
        with open(path, "rb", 0) as file:  # noqa: PTH123
            return file.read() == content
    except FileNotFoundError:  # a link to nowhere
        return False
