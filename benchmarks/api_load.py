"""How many requests a second the API answers, beside Datasette over the same rows in SQLite.

    python -m benchmarks.api_load --datasette /path/to/datasette

Both servers run on this machine, one after the other, each with 8 threads for queries; the client
is one process beside them that keeps 1, 8 or 64 connections busy (`benchmarks.http_load`). On a
machine that others use too, the server's processor time a request says more than its requests a
second. Requests:

- unit: all that a unit's page shows (its heatmaps included), of a unit drawn evenly or by Zipf;
- concept: a concept's first 100 units, drawn likewise over the concepts;
- layer: the first 50 units of a layer by attribution, and how many there are, drawn evenly;
- layer filter: the first 41 to 60 of a layer's units that are in some number of images at least,
  by their activation, and how many there are: an order for which SQLite has no index, and 16,800
  different requests, so that few are answered from memory;
- layer scan: means over all units of a layer, by SQL (`/sql`: a process of its own for each
  statement, unless it was asked before);
- layer scan, new: the same over units above some activation, a statement that nobody asked before.

Datasette gets each as one statement that gives the same rows. The API writes its answers for units
and concepts in the background when it starts; what is measured begins when they are there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import duckdb

from atlas_db.ready_answers import LOOK_AGAIN_S, ready_path
from benchmarks.api_atlas import copy_to_sqlite, make_atlas
from benchmarks.http_load import free_port, measure, server

RESULTS = Path(__file__).parent / "results"
CONNECTIONS = (1, 8, 64)
N_THREADS = 8
_ZIPF_EXPONENT = 1.1

Draw = Callable[[], str]

# Datasette gives parameters as text. Without the cast they equal no number, and without the unary
# plus, which takes the cast's affinity away, no index is used.
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
FROM units u WHERE uid = +CAST(:uid AS INTEGER)
"""
_CONCEPT_SQL = """
SELECT c.*, (SELECT json_group_array(concept) FROM concept_neighbours WHERE concept = :concept)
 AS related, cu.rank, cu.token, cu.prob, cu.n_shown, u.uid, u.layer, u.unit, u.top_tokens,
 u.n_images, u.image_frequency, u.is_always_on, u.is_interpretable, u.n_dictionary_words,
 u.best_attribution, u.mean_attribution, u.activation_max
FROM (SELECT * FROM concept_units WHERE concept = :concept
 ORDER BY n_shown DESC, prob DESC, uid LIMIT 100) cu
JOIN units u USING (uid) JOIN concepts c ON c.concept = :concept
ORDER BY cu.n_shown DESC, cu.prob DESC, uid
"""
_LAYER_SQL = """
SELECT (SELECT count(*) FROM units WHERE layer = +CAST(:layer AS INTEGER)) AS total, uid, layer,
 unit, top_tokens, n_images, image_frequency, is_always_on, is_interpretable, n_dictionary_words,
 best_attribution, mean_attribution, activation_max
FROM units WHERE layer = +CAST(:layer AS INTEGER) ORDER BY best_attribution DESC, uid LIMIT 50
"""
_FILTER_SQL = """
WITH chosen AS (
 SELECT * FROM units
 WHERE layer = +CAST(:layer AS INTEGER) AND n_images >= +CAST(:least AS INTEGER)
)
SELECT (SELECT count(*) FROM chosen) AS total, uid, layer, unit, top_tokens, n_images,
 image_frequency, is_always_on, is_interpretable, n_dictionary_words, best_attribution,
 mean_attribution, activation_max
FROM chosen ORDER BY activation_max DESC, uid LIMIT +CAST(:limit AS INTEGER)
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
        "layer filter, uniform": lambda: (
            f"{chance.randrange(shape[0])} {chance.randrange(30)} {chance.randrange(41, 61)}"
        ),
        "layer scan, uniform": lambda: str(chance.randrange(shape[0])),
        "layer scan new, uniform": lambda: (
            f"{chance.randrange(shape[0])} {chance.random() * 4:.9f}"
        ),
    }


def our_address(kind: str, key: str, units_per_layer: int) -> str:
    """The address of a request to the API."""
    if kind == "unit":
        layer, unit = divmod(int(key), units_per_layer)
        return f"/api/v1/units/{layer}/{unit}"
    if kind == "concept":
        return f"/api/v1/concepts/{quote(key)}"
    if kind == "layer":
        return f"/api/v1/units?layer={key}&sort=attribution&limit=50"
    if kind == "layer filter":
        layer_text, least, limit = key.split()
        return f"/api/v1/units?layer={layer_text}&min_images={least}&sort=activation&limit={limit}"
    return "/api/v1/sql?" + urlencode({"q": _scan(kind, key)})


def _scan(kind: str, key: str) -> str:
    if kind == "layer scan":
        return _SCAN_SQL.format(layer=key)
    layer, least = key.split()
    return f"{_SCAN_SQL.format(layer=layer)} AND activation_max > {least}"


def datasette_address(kind: str, key: str) -> str:
    """The address of the same request to Datasette."""
    if kind.startswith("layer scan"):
        query = {"sql": _scan(kind, key)}
    else:
        statement, *names = {
            "unit": (_UNIT_SQL, "uid"),
            "concept": (_CONCEPT_SQL, "concept"),
            "layer": (_LAYER_SQL, "layer"),
            "layer filter": (_FILTER_SQL, "layer", "least", "limit"),
        }[kind]
        keys = [key] if len(names) == 1 else key.split()
        query = {"sql": " ".join(statement.split()), **dict(zip(names, keys, strict=True))}
    return "/atlas.json?" + urlencode({**query, "_shape": "array"})


def refuse_empty_answers(port: int, addresses: Mapping[str, Callable[[], str]]) -> None:
    """Ask each kind of request once: an answer of nothing is quick, and says nothing.

    Raises:
        SystemExit: One answers with an empty list.
    """
    for kind, address in addresses.items():
        asked = address()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{asked}", timeout=60) as answer:
            if not json.load(answer):
                raise SystemExit(f"{kind}: no rows at {asked}")


def measure_all(
    name: str, process: int, port: int, addresses: Mapping[str, Callable[[], str]], seconds: float
) -> dict[str, Any]:
    """Load each kind of request at each number of connections."""
    results: dict[str, Any] = {}
    for kind, address in addresses.items():
        for n_connections in CONNECTIONS:
            if kind.startswith("layer scan new") and n_connections > 1 and name == "api":
                continue  # strangers' SQL runs two at a time and refuses the others, by design
            found = measure(process, port, address, n_connections, seconds)
            results[f"{kind}, {n_connections} connections"] = found
            print(f"{name:10} {kind:24} {n_connections:3}  {found}", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=25)
    parser.add_argument("--units-per-layer", type=int, default=2000, help="GPT-J: 28 x 16384")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--datasette", type=Path, help="its program; without it, the API alone")
    parser.add_argument("--no-prepare", action="store_true", help="as `serve --no-prepare` does")
    parser.add_argument("--folder", type=Path, help="keep the two databases there")
    parser.add_argument("--note", default="", help="what else runs on this machine")
    parser.add_argument("--output", type=Path, default=RESULTS / "api_load.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = compare(arguments, folder)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the databases, run one server after the other, and describe it all."""
    atlas, sqlite = folder / "atlas.duckdb", folder / "atlas.sqlite"
    shape = (arguments.layers, arguments.units_per_layer)
    if not atlas.exists():
        make_atlas(atlas, *shape)
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
    ours += ["--port", str(port), "--threads", str(N_THREADS), "--quiet"]
    prepared_s = None
    with server([*ours, *["--no-prepare"] * arguments.no_prepare], port) as process:
        if not arguments.no_prepare:
            prepared_s = wait_for(ready_path(atlas))
        made = addresses(lambda kind, key: our_address(kind, key, shape[1]))
        results["api"] = measure_all("api", process, port, made, arguments.seconds)
    if arguments.datasette:
        port = free_port()
        theirs = [str(arguments.datasette), "serve", "-i", str(sqlite), "--port", str(port)]
        options = {"num_sql_threads": N_THREADS, "sql_time_limit_ms": 60_000}
        for name, value in options.items():
            theirs += ["--setting", name, str(value)]
        with server(theirs, port) as process:
            made = addresses(datasette_address)
            refuse_empty_answers(port, {k: v for k, v in made.items() if "filter" not in k})
            results["datasette"] = measure_all("datasette", process, port, made, arguments.seconds)
    described = description(arguments, shape, atlas, sqlite)
    described["atlas"]["seconds until answers were written"] = prepared_s
    return described | {"results": results, "beside": beside(results)}


def beside(results: dict[str, Any]) -> dict[str, float]:
    """Say how many times as many requests a second the API answers as Datasette."""
    ours, theirs = results["api"], results.get("datasette", {})
    return {
        name: round(ours[name]["requests/s"] / theirs[name]["requests/s"], 1)
        for name in ours
        if name in theirs
    }


def wait_for(path: Path) -> float | None:
    """Wait until a file is there; give how long it took, None if it was there before."""
    if path.exists():
        return None
    started_s = time.monotonic()
    while not path.exists():
        time.sleep(0.5)
    time.sleep(2 * LOOK_AGAIN_S)  # until the server has seen it
    return round(time.monotonic() - started_s)


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
    prepared = " --no-prepare" if arguments.no_prepare else ""
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
            "answers_mb": round(answers.stat().st_size / 1e6) if not arguments.no_prepare else None,
            "sqlite_mb": round(sqlite.stat().st_size / 1e6) if sqlite.exists() else None,
        },
    }


if __name__ == "__main__":
    main()
