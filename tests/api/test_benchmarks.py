"""The benchmarks of the API run, at their smallest. What they time is not looked at here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(name: str, output: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--output", str(output), *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert {"benchmark", "date", "command", "machine", "versions", "results"} <= set(found)
    return found["results"]


def test_load(tmp_path: Path) -> None:
    size = ("--layers", "2", "--units-per-layer", "50", "--seconds", "0.05")
    results = run("api_load", tmp_path / "load.json", *size)["api"]
    assert len(results) == 8 * 3 - 2
    for name, found in results.items():
        if not name.startswith("layer scan"):  # of SQL, two at a time run and others are refused
            assert found["failed"] == 0, name
        assert found["requests"] >= 1
        assert found["server CPU ms a request"] >= 0


@pytest.mark.slow
def test_soak(tmp_path: Path) -> None:
    """No request fails while an atlas is published every few seconds, and memory stays."""
    options = ("--seconds", "40", "--publish-every", "4", "--connections", "16")
    found = run("api_soak", tmp_path / "soak.json", *options)
    assert found["failed"] == 0
    assert found["requests"] > 100
    assert found["publications"] >= 5
    assert found["statements"] > 20
    assert max(found["processes"][-10:]) <= max(found["processes"][:10]) + 2
    assert found["memory grew by"] < 0.2
