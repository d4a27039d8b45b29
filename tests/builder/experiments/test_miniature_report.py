"""The whole report on the shipped miniature: in ten minutes, and what the paper claims holds."""

import time
from pathlib import Path
from typing import Any

import pytest

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.build import BuildSettings, build_run
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.experiments.context import ExperimentContext, FinishedRun, ReportSettings
from builder.experiments.opening import choose_batch_size
from builder.experiments.run import EXPERIMENTS, run_experiments
from builder.language_model import LanguageModel
from builder.miniature.coco_writer import write_coco
from builder.miniature.shipped import shipped_captioner

pytestmark = pytest.mark.slow

N_PICTURES = 60
#: Pictures of this seed were drawn for no other check.
SEED = 21
LIMIT_S = 600

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rows]:
    """The figures of every experiment, by its name; it took no longer than it may."""
    folder: Path = tmp_path_factory.mktemp("miniature")
    pictures = write_coco(folder / "coco", split="val", n_images=N_PICTURES, seed=SEED)
    captioner = load_captioner(shipped_captioner())
    dataset = load_coco(pictures, "val")
    build_run(captioner, dataset, folder / "run", BuildSettings())
    model = LanguageModel(captioner.model)
    context = ExperimentContext(
        captioner=captioner,
        model=model,
        dataset=dataset,
        run=FinishedRun(folder / "run"),
        settings=ReportSettings(n_images=N_PICTURES),
        batch_size=choose_batch_size(captioner, model),
        n_workers=0,
    )
    started = time.monotonic()
    found = {one.name: one.figures.to_pylist() for one in run_experiments(context)}
    assert time.monotonic() - started <= LIMIT_S
    assert set(found) == {experiment.name for experiment in EXPERIMENTS}
    written = {path.stem for path in (folder / "run" / "experiments").glob("*/*.parquet")}
    assert written == {*EXPERIMENT_SCHEMAS, "figures"}
    return found


def is_above(rows: Rows, figure: str, arm: str, **more: Any) -> bool:
    """Say whether an arm is above its control, p < .05."""
    wanted = {"figure": figure, "part": "", "k": None, **more}
    beside = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    (own,) = (row for row in beside if row["arm"] == arm)
    (control,) = (row for row in beside if row["arm"] == own["control"])
    return bool(own["value"] > control["value"] and own["p_value"] < 0.05)


def test_captions_name_what_is_there(report: dict[str, Rows]) -> None:
    figure = "captions that name what is in the picture"
    assert is_above(report["captions"], figure, "captions", part="a thing")


def test_decoded_units_agree_with_images(report: dict[str, Rows]) -> None:
    assert is_above(report["agreement"], "word overlap by unit", "decoded units")
    figure = "images of which one of the top five units says something"
    for part in ("one word or more", "a name"):
        assert is_above(report["decoding_check"], figure, "top units", part=part)


def test_masks_lie_on_things(report: dict[str, Rows]) -> None:
    assert is_above(report["specificity"], "IoU at the unit's threshold", "top units")


def test_top_units_cause_the_caption(report: dict[str, Rows]) -> None:
    rows, figure = report["ablation"], "relative drop of p(target)"
    last = max(row["k"] for row in rows if row["k"] is not None)
    for arm in ("all", "interpretable"):
        assert is_above(rows, figure, arm, k=last)
    at_last = [row for row in rows if row["figure"] == figure and row["k"] == last]
    drops = {row["arm"]: row["value"] for row in at_last}
    assert drops["all"] > 0.5
    assert abs(drops["random"]) < 0.25
    assert is_above(report["single_units"], figure, "top unit")


def test_units_fire_on_words_too(report: dict[str, Rows]) -> None:
    figure = "captions that name the unit's category told from others"
    assert is_above(report["text"], figure, "top units")


def test_the_first_order_effect_of_zeroing_predicts_it_best(report: dict[str, Rows]) -> None:
    agreement = {
        row["arm"]: row["value"]
        for row in report["attribution_methods"]
        if row["figure"] == "rank agreement with zeroing"
    }
    assert agreement["a dy/da, sum over patches"] > 0.9
    assert agreement["a dy/da, sum over patches"] == max(agreement.values())


def test_the_paper_s_values_are_said_not_to_apply(report: dict[str, Rows]) -> None:
    (row,) = report["replication"]
    assert row["value"] is None
    assert "does not apply" in str(row["note"])
