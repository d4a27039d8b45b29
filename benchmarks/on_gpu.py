"""All that a GPU is wanted for, in one command of at most ten minutes.

    python -m benchmarks.on_gpu

From a clone, on a machine with torch, transformers, timm, pyarrow, numpy, Pillow, click and tqdm:
nothing is installed and nothing downloaded, for all weights are random numbers. The benchmarks run
one after another, those of most interest first, each in a process of its own with a share of the
time; each writes its JSON when it is done, so that a machine taken away too early has not been
lent in vain. At the end stand the targets and what was found. To try it on a CPU:

    python -m benchmarks.on_gpu --size tiny --device cpu --results /tmp/results
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.random_models import SIZES
from benchmarks.report import RESULTS

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Run:
    """One benchmark.

    Attributes:
        name: Its module in `benchmarks`.
        limit_s: What it may take of ten minutes.
        arguments: At every size.
        at_full_size: Further ones.
        largest: The size that stands for `full`.
    """

    name: str
    limit_s: int
    arguments: tuple[str, ...] = ()
    at_full_size: tuple[str, ...] = ()
    largest: str = "full"


#: Photographs are read by as many processes as a GPU of 100 images/s can want.
_WORKERS = min(14, max(0, (os.cpu_count() or 1) - 2))
RUNS = (
    Run("detect_gptj", 290, at_full_size=("--workers", str(_WORKERS))),
    Run("decode_units", 80, ("--neighbours",)),
    Run("accuracy", 50, largest="mid"),
    Run("memory", 180, ("--times", "1", "2"), ("--images", "500")),
)
#: Benchmark, what it reports, whether more or less is wanted, and than what.
TARGETS: tuple[tuple[str, str, Callable[[float, float], bool], float], ...] = (
    ("detect_gptj", "images/s", operator.ge, 100),
    ("detect_gptj", "times the plain way", operator.ge, 10),
    ("detect_gptj", "peak device memory, GB", operator.le, 60),
    ("decode_units", "times the bare product", operator.le, 2),
    ("memory", "host at 2 times the images / at 1", operator.le, 1.1),
)


def main() -> None:
    """Run all, and say what came of the targets."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--size", choices=tuple(SIZES), default="full")
    made.add_argument("--device", default="cuda")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    made.add_argument("--minutes", type=float, default=10, help="for all together")
    arguments = made.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        made.error("PyTorch finds no GPU here. Try with --size tiny --device cpu.")
    found, failed = run_all(arguments)
    print_targets(found)
    if failed:
        raise SystemExit(f"failed or out of time: {', '.join(failed)}")


def run_all(arguments: argparse.Namespace) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Run the benchmarks in turn; give the results of those that ended, and the others' names."""
    began = time.monotonic()
    scale = arguments.minutes * 60 / sum(run.limit_s for run in RUNS)
    due_s = 0.0
    found: dict[str, Mapping[str, Any]] = {}
    failed = []
    for run in RUNS:
        due_s += run.limit_s * scale  # what an earlier one did not need, a later one may
        size = run.largest if arguments.size == "full" else arguments.size
        kind = arguments.device.split(":")[0]
        path = arguments.results / f"{run.name}_{size}_{kind}.json"
        command = [sys.executable, "-m", f"benchmarks.{run.name}", "--output", str(path)]
        command += ["--size", size, "--device", arguments.device, *run.arguments]
        command += run.at_full_size if arguments.size == "full" else ()
        print(f"\n{run.name}, after {time.monotonic() - began:.0f} s", flush=True)
        try:
            left_s = max(1.0, due_s - (time.monotonic() - began))
            subprocess.run(command, check=True, cwd=ROOT, timeout=left_s)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{run.name}: {error}", flush=True)
            failed.append(run.name)
        else:
            found[run.name] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return found, failed


def print_targets(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Set what was found beside the targets."""
    print("\ntargets")
    for name, key, is_met, wanted in TARGETS:
        value = found.get(name, {}).get(key)
        if isinstance(value, int | float):
            sign = ">=" if is_met is operator.ge else "<="
            verdict = "met" if is_met(value, wanted) else "missed"
            print(f"{name}: {key:<36} {value:10.4g}   {sign} {wanted:g}: {verdict}")
        else:
            print(f"{name}: {key:<36} {'none':>10}   not measured")


if __name__ == "__main__":
    main()
