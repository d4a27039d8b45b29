"""Every benchmark runs, at its smallest, and says where its numbers come from. Nothing is timed."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from bare_python import bare_python

from benchmarks.floors import image_floors
from benchmarks.kernel_account import KernelAccount
from benchmarks.random_models import SIZES
from benchmarks.site_others import differing
from benchmarks.trace import decoding_figures, trace_batch, trace_decoding

ROOT = Path(__file__).parents[1]
#: The least that each of them reports, and the range in which it can only lie.
REPORTED = {
    "detect_gptj": {"images/s": (0, 1e6), "share of the ceiling": (0, 1.5)},
    "train_adapter": {"pairs/s": (0, 1e6), "share of the floor": (0, 1.5)},
    "decode_units": {"times the bare product": (0.5, 1e4)},
    "memory": {
        "graph, MB an image": (0.5, 10),
        "host at 4 x 4 images, GB": (0.1, 8),
        "host at 4 times the images / at 1": (0.5, 2),
    },
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


def test_all_of_them_for_a_gpu_run_on_a_bare_machine(tmp_path: Path) -> None:
    """From a clone, where the builder's own few requirements are all there is, and no network."""
    command = ["benchmarks.on_gpu", "--size", "tiny", "--device", "cpu"]
    shown = bare_python("-m", *command, "--results", str(tmp_path), cwd=ROOT)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    files = sorted(file.name for file in tmp_path.iterdir())
    names = ("accuracy", "decode_units", "detect_gptj", "memory")
    assert files == [f"{name}_tiny_cpu.json" for name in names]
    assert "decode_units: times the bare product" in shown.stdout
    found = json.loads((tmp_path / files[0]).read_text())
    assert found["versions"]["neuron-atlas"] == "not installed"


def test_floors_are_the_counts_of_gptj() -> None:
    """By other arithmetic: GPT-J's blocks hold 5.64e9 weights; an image is 199 positions."""
    floors = image_floors(SIZES["full"], batch_size=56)
    weights = 28 * (12 * 4096**2)
    first_layer = 8 * 4096**2
    passes = floors["forward, backward and tops"]
    assert passes.operations == pytest.approx(2 * 199 * (2 * weights - first_layer), rel=1e-9)
    assert floors["encode"].operations == pytest.approx(0.119e12, rel=0.01)
    # 29 times all weights but the input embedding, shared by 56, and a cache of 0.1 GB.
    generate = floors["generate"].n_bytes
    assert generate == pytest.approx(29 * (2 * 5.84e9 / 56 + 0.098e9), rel=0.01)


def test_kernels_are_counted_with_operations_bytes_and_memory() -> None:
    """A product of (64, 128) and (128, 32), over tensors without data; views cost nothing."""
    account = KernelAccount()
    with torch.device("meta"), account, account.stage("product"):
        a, b = torch.empty(64, 128), torch.empty(128, 32)
        c = (a @ b).T[:2]
        del a
        c.add_(1)
    product, addition = account.stages["product"]
    assert (product.name, product.operations) == ("mm", 2 * 64 * 128 * 32)
    assert product.n_bytes == 4 * (64 * 128 + 128 * 32 + 64 * 32)
    assert (addition.name, addition.operations, addition.n_bytes) == ("add_", 0, 4 * 2 * 2 * 64)
    assert product.seconds(2 * 64 * 128 * 32, 1e9) == 1
    assert account.peak_bytes == product.n_bytes
    assert account.live_bytes == product.n_bytes - 4 * 64 * 128
    assert account.of_peak[("product", "mm")] == 4 * 64 * 32


def test_a_batch_of_gptj_fits_into_60_gb() -> None:
    """At full size, over tensors without data; and its products are those that were counted."""
    account = trace_batch(SIZES["full"], torch.bfloat16, 56, target_position=0)
    assert 30e9 < account.peak_bytes < 60e9
    floors = image_floors(SIZES["full"], batch_size=56)
    for stage in ("encode", "generate", "forward, backward and tops"):
        operations = sum(kernel.operations for kernel in account.stages[stage]) / 56
        assert operations == pytest.approx(floors[stage].operations, rel=0.05), stage
    assert len(account.stages["generate"]) < 29 * 28 * 15


def test_decoding_gptj_takes_less_than_twice_its_products() -> None:
    account = trace_decoding(SIZES["full"], torch.bfloat16)
    found = decoding_figures(account, Namespace(tflops=700, gb_per_s=3000))
    assert found["decode: TFLOP"] == 2 * 458_752 * 4096 * 50_400 / 1e12
    # Logits are written, and read at least for maxima and for minima.
    assert found["decode: GB"] > 3 * 4e-9 * 458_752 * 50_400
    assert 1.2 < found["decode: times the bare product"] < 2


def test_kept_results_say_how_they_were_made() -> None:
    files = sorted((ROOT / "benchmarks/results").glob("*.json"))
    assert files
    for file in files:
        found = json.loads(file.read_text())
        assert found["command"].startswith(f"python -m benchmarks.{found['benchmark']}")
        assert found["machine"]["processor"]


def test_a_site_is_timed_beside_mkdocs(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.site_pages", "--units", "20", "--others", "20"]
    subprocess.run(
        [*command, "--work", str(tmp_path), "--output", str(output)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": ""},  # without Hugo, if it is there
        capture_output=True,
        timeout=300,
    )
    found = json.loads(output.read_text())
    ours = found["ours"]["20"]
    assert ours["first build"]["pages"] > ours["first build"]["files"] / 2 > 20
    assert ours["first build"]["memory_mb"] > 50
    assert found["mkdocs"]["pages"] == 20
    assert found["mkdocs"]["cpu_seconds"] > 0.1
    assert "hugo" not in found


def test_pages_made_otherwise_are_found(tmp_path: Path) -> None:
    """What a browser reads counts, not how it is written."""
    site, out = tmp_path / "site", tmp_path / "out"
    page = '<p class="a" id=b>2 &lt; 3\n  <b>x</b></p>'
    others = [page, page.replace('class="a" id=b', "id='b'  class=a").replace("\n  ", " ")]
    others += [page.replace("3", "4"), page.replace("id=b", "id=c"), page.replace("b>", "i>")]
    for unit, other in enumerate(others):
        for folder, html in ((site, page), (out, other)):
            path = folder / f"u/0/{unit}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(html)
    assert differing(site, out, len(others)) == ["u/0/2.html", "u/0/3.html", "u/0/4.html"]
    assert differing(site, out, 2) == []
