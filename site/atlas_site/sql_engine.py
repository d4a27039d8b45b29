"""DuckDB-Wasm for SQL in the reader's browser: fetched once by npm, checked, kept in a cache.

It is 35 MB, so it is not in the repository; a site that is made with `--sql-page` serves it from
itself. The packages are pinned by version and SHA-256. The library asks for Apache Arrow by the
name of its package, which a browser cannot resolve; here both lines that do so take the global
that Arrow's own bundle defines.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from atlas_db.errors import SiteError


@dataclass(frozen=True, slots=True)
class Package:
    """A package of npm's registry, and which of its files are served."""

    name: str
    version: str
    sha256: str
    files: dict[str, str]  # path in the package: name in the site


DUCKDB = Package(
    "@duckdb/duckdb-wasm",
    "1.32.0",
    "13c29d80888b795cb493b281685d3d3e1738db2fad50d419e2884c6585789722",
    {
        "package/dist/duckdb-browser.mjs": "duckdb-browser.mjs",
        "package/dist/duckdb-browser-eh.worker.js": "duckdb-browser-eh.worker.js",
        "package/dist/duckdb-eh.wasm": "duckdb-eh.wasm",
    },
)
ARROW = Package(
    "apache-arrow",
    "17.0.0",
    "3517f9ef256e9e5bf819f92652028545131660784c68818604e9025ec643b317",
    {
        "package/Arrow.es2015.min.js": "arrow.js",
        "package/LICENSE.txt": "arrow-license.txt",
    },
)
PACKAGES = (DUCKDB, ARROW)

_ARROW_IMPORT = 'from"apache-arrow"'


def engine_folder() -> Path:
    """Name the folder of the cache that the engine is kept in."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "neuron-atlas" / f"duckdb-wasm-{DUCKDB.version}"


def ensure_engine() -> Path:
    """Give the engine's folder, filled by npm if it is not there yet.

    Raises:
        SiteError: npm is missing or cannot fetch a package, or what it fetched is another one.
    """
    folder = engine_folder()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        whole = Path(scratch) / "engine"
        whole.mkdir()
        for package in PACKAGES:
            unpack(fetch(package, Path(scratch)), package, whole)
        library = whole / "duckdb-browser.mjs"
        library.write_text(without_imports(library.read_text("utf-8")), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        whole.rename(folder)
    return folder


def fetch(package: Package, folder: Path) -> Path:
    """Have npm fetch a package as it is in the registry that npm is set up for."""
    wanted = f"{package.name}@{package.version}"
    by_hand = f"Or make the site without --sql-page. (Tried: npm pack {wanted})"
    if shutil.which("npm") is None:
        raise SiteError(f"--sql-page needs npm, to fetch {wanted}. Install it. {by_hand}")
    command = ["npm", "pack", wanted, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    names = done.stdout.split()
    if done.returncode != 0 or not names:
        reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise SiteError(f"npm could not fetch {wanted}: {reason}. {by_hand}")
    return folder / names[-1]


def unpack(archive: Path, package: Package, folder: Path) -> None:
    """Check a fetched package against its hash and take out the files that are served.

    Raises:
        SiteError: It is not the pinned one.
    """
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SiteError(
            f"{package.name} {package.version} has the SHA-256 {found}, wanted {package.sha256}: "
            "it is not the pinned package and was not used."
        )
    with tarfile.open(archive) as tar:
        for path, name in package.files.items():
            member = tar.extractfile(path)
            assert member is not None
            (folder / name).write_bytes(member.read())


def without_imports(code: str) -> str:
    """Let DuckDB's library take the global `Arrow` where it imports the package."""
    parts = code.split(_ARROW_IMPORT)
    if len(parts) != 3:
        raise SiteError("DuckDB-Wasm's library imports Arrow in another way than was expected.")
    for place in (0, 1):
        head, _, name = parts[place].rpartition("import*as ")
        parts[place] = f"{head}const {name.strip()}=globalThis.Arrow"
    return "".join(parts)
