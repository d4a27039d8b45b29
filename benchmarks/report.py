"""A benchmark's table on the terminal and its JSON in benchmarks/results/."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from builder.manifest import versions

RESULTS = Path(__file__).parent / "results"


def parser(description: str, sizes: Mapping[str, Any]) -> argparse.ArgumentParser:
    """Make a parser of what all benchmarks take."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--size", choices=tuple(sizes), help="default: full on CUDA, else small")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--dtype", choices=("bfloat16", "float32"), help="default: bfloat16 on CUDA")
    made.add_argument("--output", type=Path, help="JSON file; default: benchmarks/results/")
    return made


def complete(arguments: argparse.Namespace) -> argparse.Namespace:
    """Fill in what depends on the device."""
    is_cuda = arguments.device.startswith("cuda")
    arguments.size = arguments.size or ("full" if is_cuda else "small")
    arguments.dtype = arguments.dtype or ("bfloat16" if is_cuda else "float32")
    return arguments


def machine(device: str) -> dict[str, Any]:
    """Describe the machine, with what else runs on it."""
    processor = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        names = [line for line in cpu_info.read_text().splitlines() if "model name" in line]
        processor = names[0].split(":", 1)[1].strip() if names else processor
    found: dict[str, Any] = {
        "processor": processor,
        "cores": os.cpu_count(),
        "load_average_1_min": round(os.getloadavg()[0], 1),
        "torch_threads": torch.get_num_threads(),
    }
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "gpu_memory_gb": properties.total_memory / 1e9}
    return found


def report(name: str, arguments: argparse.Namespace, results: Mapping[str, Any]) -> None:
    """Print a table of `results` and write them with where they come from."""
    width = max(len(key) for key in results)
    for key, value in results.items():
        text = f"{value:,.4g}" if isinstance(value, float) else str(value)
        print(f"{key:<{width}}  {text}")
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
        "machine": machine(arguments.device),
        "versions": versions(),
        "results": dict(results),
    }
    kind = "cuda" if arguments.device.startswith("cuda") else "cpu"
    path = arguments.output or RESULTS / f"{name}_{arguments.size}_{kind}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")
