"""`neuron-atlas report`: it runs what is missing, prints figures, and says what is wrong."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from planted import SPLIT, plant

from atlas_db import queries
from atlas_db.connection import open_atlas
from builder.build import BuildSettings, build_run
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.init_random import init_random_captioner
from builder.settings import Execution
from neuron_atlas.cli import main
from neuron_atlas.commands.figure_texts import figure_line

N_IMAGES = 3


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a captioner, a data set and the run of both."""
    folder = tmp_path_factory.mktemp("report")
    planted = plant(folder, N_IMAGES)
    captioner = load_captioner(planted.captioner)
    execution = Execution(batch_size=3, n_workers=0, captioner_source=str(planted.captioner))
    dataset = load_coco(planted.coco, SPLIT)
    build_run(captioner, dataset, folder / "run", BuildSettings(), execution=execution)
    return folder


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "run", tmp_path / "run"))


def report(run: Path, *options: str | Path) -> Result:
    return CliRunner().invoke(main, ["report", str(run), *map(str, options)])


def test_it_runs_what_is_missing_and_makes_the_atlas(run: Path, tmp_path: Path) -> None:
    first = report(run, "--only", "layers")
    assert first.exit_code == 0, first.output
    assert "layers: In which layers" in first.output
    assert "share of the top units, all, layer 0: " in first.output
    database = tmp_path / "a.duckdb"
    second = report(run, "--only", "layers", "--only", "single_units", "--db", database)
    assert second.exit_code == 0, second.output
    assert "layers: In which layers do the top units lie? (run before)" in second.output
    assert "single_units: " in second.output
    with open_atlas(database).connect() as connection:
        names = [experiment.name for experiment in queries.experiments(connection)]
    assert sorted(names) == ["layers", "single_units"]


def test_quiet_is_quiet(run: Path) -> None:
    assert report(run, "--only", "layers", "--quiet").output == ""


def test_an_unknown_experiment(run: Path) -> None:
    result = report(run, "--only", "alchemy")
    assert result.exit_code == 1
    assert "no experiment 'alchemy'" in result.output
    assert "ablation" in result.output


def test_no_run_folder(tmp_path: Path) -> None:
    result = report(tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "is not a run folder" in result.output


def edit(run: Path, **changes: object) -> None:
    path = run / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_an_unfinished_run(run: Path) -> None:
    edit(run, is_complete=False)
    result = report(run)
    assert result.exit_code == 1
    assert "is not finished" in result.output


def test_a_run_that_does_not_say_where_things_were(run: Path, built: Path) -> None:
    edit(run, sources={})
    assert "--coco DIR" in report(run).output
    result = report(run, "--coco", built / "coco")
    assert result.exit_code == 1
    assert "--captioner DIR|PRESET" in result.output
    options = ("--coco", built / "coco", "--captioner", built / "captioner", "--only", "layers")
    assert report(run, *options).exit_code == 0


def test_another_captioner(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    init_random_captioner(other, family="gptj", size="tiny")
    result = report(run, "--captioner", other)
    assert result.exit_code == 1
    assert "is not the one that" in result.output
    assert "language_model" in result.output


def test_photographs_that_are_gone(run: Path, tmp_path: Path) -> None:
    result = report(run, "--coco", tmp_path)
    assert result.exit_code == 1
    assert f"There is no folder {tmp_path / SPLIT}" in result.output


ROW = {
    "figure": "IoU", "arm": "top units", "part": "dog", "layer": None, "k": None, "value": 0.1234,
    "low": 0.1, "high": 0.15, "n": 9, "measure": "IoU", "p_value": 0.004,
    "control": "random units", "note": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {},
            "IoU, top units, dog: 0.123 [0.1, 0.15] IoU, n = 9 (p = 0.004 against random units)",
        ),
        (
            {"layer": 0, "k": 64, "low": None, "p_value": None, "note": "So."},
            "IoU, top units, dog, layer 0, k = 64: 0.123 IoU, n = 9. So.",
        ),
        (
            {"high": None, "p_value": None},
            "IoU, top units, dog: 0.123 IoU, n = 9",
        ),
        ({"value": None, "note": "No dog."}, "IoU, top units, dog: left out. No dog."),
        (
            {"value": 1234.0, "low": None, "p_value": None, "arm": "", "part": ""},
            "IoU: 1234 IoU, n = 9",
        ),
    ],
)
def test_lines(changes: dict[str, object], line: str) -> None:
    assert figure_line({**ROW, **changes}) == line
