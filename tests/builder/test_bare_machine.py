"""The builder alone, on a machine that has only what the builder requires."""

from pathlib import Path

from bare_python import bare_python
from small_coco import SPLIT, write_small_coco

from atlas_db.ingest import ingest
from atlas_db.run_format import read_manifest

ROOT = Path(__file__).parents[2]


def test_a_run_is_made_without_any_other_package(tmp_path: Path) -> None:
    """No DuckDB, no Flask, no MkDocs, no SciPy; the run is ingested elsewhere."""
    coco = write_small_coco(tmp_path / "coco", 5)
    captioner, run = tmp_path / "gptj", tmp_path / "gptj.run"
    commands = [
        ["captioner", "init-random", "--family", "gptj", "--size", "tiny", captioner],
        ["build", "--captioner", captioner, "--coco", coco, "--split", SPLIT, "--run", run],
    ]
    commands[1] += ["--no-ingest", "--workers", "1"]
    for command in commands:
        done = bare_python("-m", "neuron_atlas", *map(str, command), cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
    assert read_manifest(run)["versions"]["neuron-atlas"] == "not installed"
    assert ingest(run, tmp_path / "atlas.duckdb")


def test_what_a_bare_machine_cannot_do_says_what_to_install(tmp_path: Path) -> None:
    """And a build that could not be ingested says so before the long part."""
    atlas = str(tmp_path / "a.duckdb")
    asked = bare_python("-m", "neuron_atlas", "sql", "--db", atlas, "SELECT 1", cwd=ROOT)
    assert asked.returncode == 1
    assert asked.stderr.startswith("Error: this needs ")
    assert "pip install 'neuron-atlas[db]'" in asked.stderr
    options = ["--captioner", "none", "--coco", str(tmp_path), "--split", SPLIT, "--db", atlas]
    built = bare_python("-m", "neuron_atlas", "build", *options, cwd=ROOT)
    assert built.returncode == 2
    assert "--no-ingest" in built.stderr
