"""Every benchmark runs, at its smallest, and says where its numbers come from. Nothing is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: The least that each of them reports, and the range in which it can only lie.
REPORTED = {
    "detect_gptj": {"images/s": (0, 1e6), "share of the ceiling": (0, 1.5)},
    "train_adapter": {"pairs/s": (0, 1e6), "share of the floor": (0, 1.5)},
    "decode_units": {"times the bare product": (0.5, 1e4)},
    "memory": {"graph, MB an image": (0.5, 10), "host at 4 x 4 images, GB": (0.1, 8)},
    "accuracy": {"top 100 units in common": (0.5, 1), "heatmap correlation, median": (0.9, 1)},
}


@pytest.mark.parametrize("name", sorted(REPORTED))
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--size", "tiny", "--device", "cpu"]
    subprocess.run(
        [*command, "--output", str(output)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
    )
    found = json.loads(output.read_text())
    assert {"benchmark", "date", "command", "machine", "versions", "results"} <= set(found)
    for key, (least, most) in REPORTED[name].items():
        assert least <= found["results"][key] <= most, key


def test_kept_results_say_how_they_were_made() -> None:
    files = sorted((ROOT / "benchmarks/results").glob("*.json"))
    assert files
    for file in files:
        found = json.loads(file.read_text())
        assert found["command"].startswith(f"python -m benchmarks.{found['benchmark']}")
        assert found["machine"]["processor"]
