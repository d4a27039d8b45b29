"""How many requests a second the API answers, beside Datasette over the same rows in SQLite.

    python -m benchmarks.api_load --datasette /path/to/datasette

Both servers run on this machine, one after the other, each with 8 threads for queries; the client
is one process beside them that keeps 1, 8 or 64 connections busy. Requests:

- unit: all that a unit's page shows (its heatmaps included), of a unit drawn evenly or by Zipf;
- concept: a concept's first 100 units, drawn likewise over the concepts;
- layer: the first 50 units of a layer by attribution, and how many there are, drawn evenly;
- layer scan: means over all units of a layer. The API answers it by SQL in a process of its own
  (`/sql`), which costs it 30 ms before it begins.

Datasette gets each as one statement that gives the same rows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import duckdb

from atlas_db.ready_answers import prepare, ready_path
from benchmarks.api_atlas import copy_to_sqlite, make_atlas

RESULTS = Path(__file__).parent / "results"
CONNECTIONS = (1, 8, 64)
N_THREADS = 8
_ZIPF_EXPONENT = 1.1
_START_S = 60
_REQUEST_TIMEOUT_S = 60

Draw = Callable[[], str]

_UNIT_SQL = """
SELECT u.*,
 (SELECT json_group_array(json_array(sign, rank, token_id, token, concept, logit, prob))
  FROM unit_tokens WHERE uid = u.uid) AS tokens,
 (SELECT json_group_array(json_array(e.rank, e.image_id, e.activation, e.patch, i.caption))
  FROM exemplars e JOIN images i USING (image_id) WHERE e.uid = u.uid) AS exemplars,
 (SELECT json_array(scales, zeros, hex(maps)) FROM heatmaps WHERE uid = u.uid) AS heatmaps,
 (SELECT json_group_array(json_array(image_id, target_word, rank, attribution)) FROM
  (SELECT * FROM unit_images WHERE uid = u.uid ORDER BY attribution DESC LIMIT 20)) AS images,
 (SELECT json_group_array(json_array(n.cosine, v.uid, v.layer, v.unit, v.top_tokens, v.n_images,
   v.image_frequency, v.best_attribution, v.mean_attribution, v.activation_max))
  FROM unit_neighbours n JOIN units v ON v.uid = n.neighbour_uid WHERE n.uid = u.uid) AS similar
FROM units u WHERE uid = :uid
"""
_CONCEPT_SQL = """
SELECT c.*, (SELECT json_group_array(concept) FROM concept_neighbours WHERE concept = :concept)
 AS related, cu.rank, cu.token, cu.prob, u.uid, u.layer, u.unit, u.top_tokens, u.n_images,
 u.image_frequency, u.is_always_on, u.is_interpretable, u.n_dictionary_words, u.best_attribution,
 u.mean_attribution, u.activation_max
FROM (SELECT * FROM concept_units WHERE concept = :concept ORDER BY prob DESC, uid LIMIT 100) cu
JOIN units u USING (uid) JOIN concepts c ON c.concept = :concept
ORDER BY cu.prob DESC, uid
"""
_LAYER_SQL = """
SELECT (SELECT count(*) FROM units WHERE layer = :layer) AS total, uid, layer, unit, top_tokens,
 n_images, image_frequency, is_always_on, is_interpretable, n_dictionary_words, best_attribution,
 mean_attribution, activation_max
FROM units WHERE layer = :layer ORDER BY best_attribution DESC, uid LIMIT 50
"""
_SCAN_SQL = (
    "SELECT avg(activation_max) AS a, avg(best_attribution) AS b, sum(n_images) AS n "
    "FROM units WHERE layer = {layer}"
)


def draws(shape: tuple[int, int], concepts: list[str], seed: int) -> dict[str, Draw]:
    """Give what draws each kind of request's key."""
    chance = random.Random(seed)
    n_units = shape[0] * shape[1]
    units, words = list(range(n_units)), list(concepts)
    chance.shuffle(units)
    chance.shuffle(words)

    def zipf(things: list[Any]) -> Any:
        while True:  # inverse of a power law over ranks 1 ... n
            rank = int(chance.random() ** (-1 / (_ZIPF_EXPONENT - 1)))
            if rank <= len(things):
                return things[rank - 1]

    return {
        "unit, uniform": lambda: str(chance.choice(units)),
        "unit, Zipf": lambda: str(zipf(units)),
        "concept, uniform": lambda: chance.choice(words),
        "concept, Zipf": lambda: zipf(words),
        "layer, uniform": lambda: str(chance.randrange(shape[0])),
        "layer scan, uniform": lambda: str(chance.randrange(shape[0])),
    }


def our_address(kind: str, key: str, units_per_layer: int) -> str:
    """The address of a request to the API."""
    if kind == "unit":
        layer, unit = divmod(int(key), units_per_layer)
        return f"/api/v1/units/{layer}/{unit}"
    if kind == "concept":
        return f"/api/v1/concepts/{quote(key)}?limit=100"
    if kind == "layer":
        return f"/api/v1/units?layer={key}&sort=attribution&limit=50"
    return "/api/v1/sql?" + urlencode({"q": _SCAN_SQL.format(layer=key)})


def datasette_address(kind: str, key: str) -> str:
    """The address of the same request to Datasette."""
    statement, name = {
        "unit": (_UNIT_SQL, "uid"),
        "concept": (_CONCEPT_SQL, "concept"),
        "layer": (_LAYER_SQL, "layer"),
        "layer scan": (_SCAN_SQL.format(layer=":layer"), "layer"),
    }[kind]
    query = {"sql": " ".join(statement.split()), name: key, "_shape": "array"}
    return "/atlas.json?" + urlencode(query)


async def _connection(
    port: int, address: Callable[[], str], until_s: float, taken_s: list[float]
) -> int:
    """Send requests one after the other over one connection; give how many failed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    n_failed = 0
    while time.perf_counter() < until_s:
        started_s = time.perf_counter()
        writer.write(f"GET {address()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status, length = 0, 0
        while (line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            if name.startswith("HTTP/"):
                status = int(name.split()[1])
            elif name.lower() == "content-length":
                length = int(value)
            elif name.lower() == "transfer-encoding":
                length = -1
        await _body(reader, length)
        taken_s.append(time.perf_counter() - started_s)
        n_failed += status != 200
    writer.close()
    return n_failed


async def _body(reader: asyncio.StreamReader, length: int) -> None:
    if length >= 0:
        await reader.readexactly(length)
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


async def _load(
    port: int, address: Callable[[], str], n_connections: int, seconds: float
) -> dict[str, float]:
    taken_s: list[float] = []
    started_s = time.perf_counter()
    tasks = [
        asyncio.wait_for(
            _connection(port, address, started_s + seconds, taken_s), seconds + _REQUEST_TIMEOUT_S
        )
        for _ in range(n_connections)
    ]
    n_failed = sum(await asyncio.gather(*tasks))
    elapsed_s = time.perf_counter() - started_s
    cuts = statistics.quantiles(taken_s, n=100) if len(taken_s) > 1 else taken_s * 99
    return {
        "requests/s": round(len(taken_s) / elapsed_s, 1),
        "p50 ms": round(cuts[49] * 1000, 2),
        "p99 ms": round(cuts[98] * 1000, 2),
        "requests": len(taken_s),
        "failed": n_failed,
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextlib.contextmanager
def server(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the block ends; waits until it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"{command[0]} does not start")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def measure(
    name: str, port: int, addresses: Mapping[str, Callable[[], str]], seconds: float
) -> dict[str, Any]:
    """Load each kind of request at each number of connections."""
    results: dict[str, Any] = {}
    for kind, address in addresses.items():
        for n_connections in CONNECTIONS:
            if kind.startswith("layer scan") and n_connections > CONNECTIONS[0] and name == "api":
                continue  # strangers' SQL runs two at a time and refuses the others, by design
            found = asyncio.run(_load(port, address, n_connections, seconds))
            results[f"{kind}, {n_connections} connections"] = found
            print(f"{name:10} {kind:20} {n_connections:3}  {found}", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=25)
    parser.add_argument("--units-per-layer", type=int, default=2000, help="GPT-J: 28 x 16384")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--datasette", type=Path, help="its program; without it, the API alone")
    parser.add_argument("--prepare", action="store_true", help="as `neuron-atlas prepare` does")
    parser.add_argument("--folder", type=Path, help="keep the two databases there")
    parser.add_argument("--note", default="", help="what else runs on this machine")
    parser.add_argument("--output", type=Path, default=RESULTS / "api_load.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        results = compare(arguments, folder)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the databases, run one server after the other, and describe it all."""
    atlas, sqlite = folder / "atlas.duckdb", folder / "atlas.sqlite"
    shape = (arguments.layers, arguments.units_per_layer)
    if not atlas.exists():
        make_atlas(atlas, *shape)
    if arguments.prepare and not ready_path(atlas).exists():
        started_s = time.perf_counter()
        prepare(atlas)
        print(f"prepared in {time.perf_counter() - started_s:.0f} s", flush=True)
    if not sqlite.exists() and arguments.datasette:
        copy_to_sqlite(atlas, sqlite)
    with duckdb.connect(str(atlas), read_only=True) as connection:
        found = connection.execute("SELECT concept FROM concepts ORDER BY concept").fetchall()
    concepts = [row[0] for row in found]
    results: dict[str, Any] = {}

    def addresses(make: Callable[[str, str], str]) -> dict[str, Callable[[], str]]:
        drawn = draws(shape, concepts, seed=0)
        return {
            name: (lambda name=name, draw=draw: make(name.split(",")[0], draw()))
            for name, draw in drawn.items()
        }

    port = free_port()
    ours = [sys.executable, "-m", "neuron_atlas", "serve", "--db", str(atlas)]
    with server([*ours, "--port", str(port), "--threads", str(N_THREADS), "--quiet"], port):
        made = addresses(lambda kind, key: our_address(kind, key, shape[1]))
        results["api"] = measure("api", port, made, arguments.seconds)
    if arguments.datasette:
        port = free_port()
        theirs = [str(arguments.datasette), "serve", "-i", str(sqlite), "--port", str(port)]
        options = {"num_sql_threads": N_THREADS, "sql_time_limit_ms": 60_000}
        for name, value in options.items():
            theirs += ["--setting", name, str(value)]
        with server(theirs, port):
            results["datasette"] = measure(
                "datasette", port, addresses(datasette_address), arguments.seconds
            )
    return description(arguments, shape, atlas, sqlite) | {"results": results}


def description(
    arguments: argparse.Namespace, shape: tuple[int, int], atlas: Path, sqlite: Path
) -> dict[str, Any]:
    """Say when, where and how it was measured."""
    answers = ready_path(atlas)
    versions = {name: version(name) for name in ("neuron-atlas", "duckdb", "flask", "waitress")}
    if arguments.datasette:
        told = subprocess.run(
            [arguments.datasette, "--version"], capture_output=True, text=True, check=True
        )
        versions["datasette"] = told.stdout.split()[-1]
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    prepared = " --prepare" if arguments.prepare else ""
    options = f"--layers {shape[0]} --units-per-layer {shape[1]} --seconds {arguments.seconds:g}"
    return {
        "benchmark": "api_load",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.api_load {options}{prepared} --datasette datasette",
        "machine": {
            "processor": cpu[0].partition(":")[2].strip() if cpu else platform.processor(),
            "cores": os.cpu_count(),
            "load_average_1_min": round(os.getloadavg()[0], 1),
            "note": arguments.note,
        },
        "versions": {**versions, "python": platform.python_version()},
        "atlas": {
            "units": shape[0] * shape[1],
            "duckdb_mb": round(atlas.stat().st_size / 1e6),
            "answers_mb": round(answers.stat().st_size / 1e6) if arguments.prepare else None,
            "sqlite_mb": round(sqlite.stat().st_size / 1e6) if sqlite.exists() else None,
        },
    }


if __name__ == "__main__":
    main()
