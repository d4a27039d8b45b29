"""Ten minutes of requests to the API while another atlas is published each minute.

    python -m benchmarks.api_soak

64 connections ask for units, concepts, lists, heatmaps and SQL's schema, one more client for one
statement of SQL after the other; a symlink is pointed from one atlas to the other and back. Wanted:
no request fails, the new atlas is answered from at once, by SQL too, and the server's memory, open
files and processes stay what they are after the first publications.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.api_atlas import make_atlas
from benchmarks.http_load import Taken, free_port, load, resident_mb, server

RESULTS = Path(__file__).parent / "results"
SHAPE = (8, 500)
N_THREADS = 8
#: What the memory may grow by, from its greatest in the load's second fifth to that in its last.
MAX_GROWTH = 0.1
MAX_LATE_S = 30.0


def addresses(port: int, seed: int) -> Any:
    """Give what draws the next request's address."""
    chance = random.Random(seed)
    words = [row["concept"] for row in ask(port, "concepts?limit=500")["rows"]]
    layers, units = SHAPE

    def draw() -> str:
        layer, unit = chance.randrange(layers), chance.randrange(units)
        kinds = (
            f"units/{layer}/{unit}",
            f"units/{layer}/{unit}",
            f"concepts/{chance.choice(words)}",
            f"units?layer={layer}&sort=activation&limit={chance.randrange(1, 100)}",
            f"units/{layer}/{unit}/exemplars/1/heatmap.png?size=224",
            "sql/schema",
        )
        return f"/api/v1/{chance.choice(kinds)}"

    return draw


async def soak(arguments: argparse.Namespace, folder: Path, port: int, process: int) -> Any:
    """Load the server, publish, and look; give what was seen."""
    seen: dict[str, list[float]] = {
        "memory, MB": [],
        "s until the new atlas was answered from": [],
        "open files": [],
        "processes": [],
    }
    ended = asyncio.Event()
    statements = Taken()

    async def publish() -> None:
        number = 0
        while not await _over(ended, arguments.publish_every):
            number += 1
            place(folder, number % 2)
            late_s = await asyncio.to_thread(until_answered, port, str(number % 2) * 64)
            seen["s until the new atlas was answered from"].append(round(late_s, 3))
            found = await asyncio.to_thread(ask_sql, port, -number)
            if found != str(number % 2) * 64:
                statements.failed.append(f"SQL answered from {found[:8]}, not {number % 2}")

    async def look() -> None:
        while not await _over(ended, arguments.seconds / 40):
            seen["memory, MB"].append(round(resident_mb(process), 1))
            seen["open files"].append(len(list(Path(f"/proc/{process}/fd").iterdir())))
            seen["processes"].append(1 + n_descendants(process))

    async def ask_strangers_questions() -> None:
        number = 0
        while not await _over(ended, 0.1):
            number += 1
            started_s = time.perf_counter()
            try:
                await asyncio.to_thread(ask_sql, port, number)
            except OSError as error:
                statements.failed.append(f"SQL: {error}")
            statements.seconds.append(time.perf_counter() - started_s)

    tasks = [asyncio.create_task(one()) for one in (publish, look, ask_strangers_questions)]
    taken, _ = await load(port, addresses(port, 0), arguments.connections, arguments.seconds)
    ended.set()
    await asyncio.gather(*tasks)
    return results_of(taken, statements, seen)


async def _over(ended: asyncio.Event, seconds: float) -> bool:
    """Wait; say whether the load ended meanwhile."""
    try:
        await asyncio.wait_for(ended.wait(), seconds)
    except TimeoutError:
        return False
    return True


def place(folder: Path, number: int) -> None:
    """Point the symlink at one of the two atlases, as an operator does."""
    following = folder / "next"
    following.symlink_to(folder / f"{number}.duckdb")
    following.replace(folder / "current.duckdb")


def ask(port: int, address: str) -> Any:
    """Ask over a connection of its own."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{address}", timeout=60) as answer:
        return json.load(answer)


def ask_sql(port: int, number: int) -> str:
    """Ask a statement that nobody asked before; give the content hash of who answers."""
    statement = f"SELECT value FROM atlas WHERE key = 'content_hash' AND {number} < 1000000000"
    value: str = ask(port, f"sql?{urlencode({'q': statement})}")["rows"][0]["value"]
    return value


def n_descendants(process: int) -> int:
    """Count the children of a process, and theirs (Linux)."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return 0
    return sum(1 + n_descendants(int(child)) for child in text.split())


def until_answered(port: int, content_hash: str) -> float:
    """Ask until an answer is of that atlas; give how long it took.

    Raises:
        TimeoutError: None is.
    """
    started_s = time.monotonic()
    while time.monotonic() < started_s + MAX_LATE_S:
        if ask(port, "atlas")["content_hash"] == content_hash:
            return time.monotonic() - started_s
    raise TimeoutError(f"no answer of the atlas {content_hash} in {MAX_LATE_S} s")


def results_of(taken: Taken, statements: Taken, seen: dict[str, list[float]]) -> dict[str, Any]:
    """Sum up what was seen."""
    failed = taken.failed + statements.failed
    memory = seen["memory, MB"]
    fifth = max(1, len(memory) // 5)
    settled, last = max(memory[fifth : 2 * fifth] or memory), max(memory[-fifth:])
    in_order = sorted(taken.seconds)
    return {
        "requests": len(in_order),
        "statements": len(statements.seconds),
        "failed": len(failed),
        "failures": sorted(set(failed))[:10],
        "publications": len(seen["s until the new atlas was answered from"]),
        "p50 ms": round(in_order[len(in_order) // 2] * 1000, 1),
        "p99 ms": round(in_order[int(len(in_order) * 0.99)] * 1000, 1),
        "p99 of statements, ms": round(
            sorted(statements.seconds)[int(len(statements.seconds) * 0.99)] * 1000, 1
        ),
        "memory grew by": round(last / settled - 1, 3),
        **seen,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--publish-every", type=float, default=60, help="seconds")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--note", default="", help="what else runs on this machine")
    parser.add_argument("--output", type=Path, default=RESULTS / "api_soak.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in (0, 1):
            make_atlas(folder / f"{number}.duckdb", *SHAPE, content_hash=str(number) * 64)
        place(folder, 0)
        port = free_port()
        command = [sys.executable, "-m", "neuron_atlas", "serve", "--quiet", "--port", str(port)]
        command += ["--threads", str(N_THREADS), "--db", str(folder / "current.duckdb")]
        with server(command, port) as process:
            found = asyncio.run(soak(arguments, folder, port, process))
    options = f"--seconds {arguments.seconds:g} --publish-every {arguments.publish_every:g}"
    described = {
        "benchmark": "api_soak",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.api_soak {options} --connections {arguments.connections}",
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_average_1_min": round(os.getloadavg()[0], 1),
            "note": arguments.note,
        },
        "versions": {
            **{name: version(name) for name in ("neuron-atlas", "duckdb", "flask", "waitress")},
            "python": platform.python_version(),
        },
        "results": found,
    }
    arguments.output.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    print({name: value for name, value in found.items() if not isinstance(value, list)})
    if found["failed"] or found["memory grew by"] > MAX_GROWTH:
        raise SystemExit(f"failures {found['failures']}, memory {found['memory, MB']}")


if __name__ == "__main__":
    main()
