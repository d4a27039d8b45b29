"""A second build with nothing changed: told by what went in and by what lies there.

The marker of a finished site keeps the hash of all inputs (the atlas's content hash and its
provenance, the options, the code and the hand-written pages) and a hash of the names, sizes and
times of all files. When both are as they were, there is nothing to do; a file that is missing or
was touched makes a build go through everything as the first did.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from atlas_site.options import SiteOptions
from atlas_site.publish import MARKER, write_marker
from atlas_site.request import SiteReport

_PACKAGES = ("mkdocs", "mkdocs-material")


def inputs_stamp(
    atlas: Mapping[str, str], options: SiteOptions, sources: Iterable[Path], **more: str
) -> str:
    """Hash all that a site is made of; hexadecimal.

    Args:
        atlas: The table `atlas`, the content hash among its values.
        sources: Files and folders of code, templates and hand-written pages.
        more: Whatever else decides what is made.
    """
    whole = hashlib.sha256()
    facts = {"atlas": dict(atlas), "options": options.as_json(), "more": more}
    facts["packages"] = {name: version(name) for name in _PACKAGES}
    whole.update(json.dumps(facts, sort_keys=True).encode())
    for source in sources:
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for path in files:
            if path.is_file() and "__pycache__" not in path.parts:
                whole.update(f"{path.relative_to(source.parent)}\n".encode())
                whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def files_state(out: Path) -> str:
    """Hash the names, sizes and times of a site's files; hexadecimal. Hidden ones do not count."""
    whole = hashlib.sha256()
    folders = [(str(out), "")]
    while folders:
        folder, name = folders.pop()
        lines = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append((entry.path, f"{name}{entry.name}/"))
                else:
                    found = entry.stat()
                    lines.append(f"{entry.name} {found.st_size} {found.st_mtime_ns}")
        folders.sort()
        whole.update(f"{name}\n{chr(10).join(sorted(lines))}\n".encode())
    return whole.hexdigest()


def mark_complete(report: SiteReport, stamp: str) -> None:
    """Mark a site as whole and remember what it was made of."""
    kept: dict[str, Any] = {"complete": True}
    if stamp:
        facts = asdict(report) | {"out": ""}
        kept |= {"stamp": stamp, "files": files_state(report.out), "report": facts}
    write_marker(report.out, kept)


def as_before(out: Path, stamp: str) -> SiteReport | None:
    """Report a site that is whole, untouched and made of the same; None where it is not."""
    start = time.monotonic()
    try:
        kept = json.loads((out / MARKER).read_text(encoding="utf-8"))
        if kept.get("stamp") != stamp or kept.get("files") != files_state(out):
            return None
        before = kept["report"]
        changes = {
            "out": out,
            "n_unchanged": before["n_written"] + before["n_unchanged"],
            "n_written": 0,
            "n_removed": 0,
            "seconds": time.monotonic() - start,
            "is_as_before": True,
        }
        return SiteReport(**(before | changes))
    except (OSError, ValueError, KeyError, TypeError):  # no marker, or not one of this version
        return None
