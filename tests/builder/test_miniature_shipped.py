"""The shipped miniature: small, as its card says, and its units say what held-out pictures show."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from builder.build import BuildSettings, build_run
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.experiments.captions import CAPTIONS
from builder.experiments.context import ExperimentContext, FinishedRun, ReportSettings
from builder.experiments.coverage import COVERAGE
from builder.experiments.decoding_check import DECODING_CHECK
from builder.experiments.experiment import Experiment, Figure
from builder.language_model import LanguageModel
from builder.miniature.coco_writer import write_coco
from builder.miniature.shipped import shipped_captioner

N_PICTURES = 240
#: Pictures of this seed were drawn for no other check.
SEED = 20
MAX_BYTES = 40_000_000


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    """The finished run of the shipped captioner over pictures that it never saw."""
    folder = tmp_path_factory.mktemp("shipped")
    pictures = write_coco(folder / "coco", split="val", n_images=N_PICTURES, seed=SEED)
    captioner = load_captioner(shipped_captioner())
    dataset = load_coco(pictures, "val")
    build_run(captioner, dataset, folder / "run", BuildSettings())
    return ExperimentContext(
        captioner=captioner,
        model=LanguageModel(captioner.model),
        dataset=dataset,
        run=FinishedRun(folder / "run"),
        settings=ReportSettings(n_images=N_PICTURES),
        n_workers=0,
    )


def _values(context: ExperimentContext, experiment: Experiment) -> Mapping[Any, float]:
    """Give an experiment's figures by (figure, part, arm)."""
    figures: list[Figure] = list(experiment.run(context).figures)
    return {(f.figure, f.part, f.arm): f.value for f in figures if f.value is not None}


def _printed(label: str) -> float:
    """Read a share from the model card's table of checks."""
    card = (Path(shipped_captioner()) / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| {re.escape(label)} \| ([\d.]+)", card, re.MULTILINE)
    assert found, label
    return float(found[1])


def test_it_is_small_enough_and_says_what_it_is() -> None:
    folder = shipped_captioner()
    weights = list(folder.rglob("*.safetensors"))
    assert len(weights) == 3
    assert sum(path.stat().st_size for path in weights) <= MAX_BYTES
    config = json.loads((folder / "captioner.json").read_text())
    assert config["is_random"] is False
    card = (folder / "README.md").read_text()
    assert "held out" in card
    assert "Limits" in card


def test_its_captions_name_what_pictures_show_as_the_card_says(context: ExperimentContext) -> None:
    values = _values(context, CAPTIONS)
    figure = "captions that name what is in the picture"
    for part in ("a thing or the scene", "a thing, by the first noun"):
        share = values[figure, part, "captions"]
        # Four standard errors of a share over N_PICTURES pictures at most.
        assert share == pytest.approx(_printed(f"captions name {part}"), abs=0.13)
        assert share > 5 * values[figure, part, "captions of other images"]


def test_its_top_units_say_what_pictures_show(context: ExperimentContext) -> None:
    figures = {(f.figure, f.part, f.arm): f for f in DECODING_CHECK.run(context).figures}
    figure = "images of which one of the top five units says something"
    for part, times in (("one word or more", 2.0), ("3 words or more of one category", 8.0)):
        top, *controls = (
            figures[figure, part, arm]
            for arm in ("top units", "random units", "units of another image")
        )
        assert top.value == pytest.approx(_printed(f"top five units say {part}"), abs=0.13)
        assert top.value > times * controls[0].value
        for control in controls:
            assert control.p_value < 0.02


def test_some_categories_have_a_unit_that_says_and_shows_them(context: ExperimentContext) -> None:
    outcome = COVERAGE.run(context)
    table = outcome.tables["category_coverage"].to_pylist()
    assert len({row["category_id"] for row in table}) > 60
    # So few pictures hold a thing twelve times for few categories: half the exemplars at least.
    assert sum(row["n_exemplars"] >= 8 for row in table) >= 10
