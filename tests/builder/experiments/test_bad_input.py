"""What experiments say where a data set lacks something: what is left out and why, no error."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_coco import SPLIT, write_small_coco
from tiny_scorers import write_tiny_bert, write_tiny_clip

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.build import BuildSettings, build_run
from builder.captioner import Captioner, load_captioner
from builder.coco import load_coco
from builder.experiments.adapter_control import ADAPTER_CONTROL
from builder.experiments.agreement import AGREEMENT
from builder.experiments.attribution_methods import ATTRIBUTION_METHODS
from builder.experiments.captions import CAPTIONS, TARGETS
from builder.experiments.context import (
    Chunks,
    ExperimentContext,
    FinishedRun,
    ReportSettings,
)
from builder.experiments.decoding_check import DECODING_CHECK
from builder.experiments.experiment import Experiment, Outcome
from builder.experiments.selectivity import SELECTIVITY
from builder.experiments.specificity import SPECIFICITY
from builder.experiments.stability import STABILITY
from builder.experiments.text import TEXT
from builder.init_random import init_random_captioner
from builder.language_model import LanguageModel
from builder.settings import Execution

N_IMAGES = 12
ALL = (
    CAPTIONS,
    ADAPTER_CONTROL,
    AGREEMENT,
    DECODING_CHECK,
    SPECIFICITY,
    SELECTIVITY,
    ATTRIBUTION_METHODS,
    STABILITY,
    TEXT,
)
#: Experiments of which nothing is left without instances, and without human captions.
NEED_INSTANCES = {"decoding_check", "specificity", "selectivity", "text"}
NEED_CAPTIONS = {"adapter_control", "agreement", "text"}


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    folder = tmp_path_factory.mktemp("captioner") / "gpt2"
    init_random_captioner(folder, family="gpt2", size="tiny")
    return load_captioner(folder)


def context_of(
    captioner: Captioner, folder: Path, n_images: int, missing: str
) -> ExperimentContext:
    coco = write_small_coco(folder / "coco", n_images)
    # Its word list stays where its instances are gone.
    categories = load_coco(coco, SPLIT).tables["categories"].to_pylist()
    words = {row["name"]: [row["name"]] for row in categories}
    (coco / "annotations" / f"words_{SPLIT}.json").write_text(json.dumps(words))
    if missing:
        (coco / "annotations" / f"{missing}_{SPLIT}.json").unlink()
    dataset = load_coco(coco, SPLIT)
    execution = Execution(batch_size=4, n_workers=0)
    run = build_run(captioner, dataset, folder / "run", BuildSettings(), execution=execution)
    return ExperimentContext(
        captioner=captioner,
        model=LanguageModel(captioner.model),
        dataset=dataset,
        run=FinishedRun(run),
        settings=ReportSettings(n_images=n_images),
        n_workers=0,
    )


@pytest.fixture(scope="module", params=["", "instances", "captions"])
def missing(request: pytest.FixtureRequest) -> str:
    """Which annotation file is not there; "": none."""
    return str(request.param)


@pytest.fixture(scope="module")
def context(
    captioner: Captioner, missing: str, tmp_path_factory: pytest.TempPathFactory
) -> ExperimentContext:
    return context_of(captioner, tmp_path_factory.mktemp("run"), N_IMAGES, missing)


@pytest.fixture(scope="module")
def named(captioner: Captioner, tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    """A run whose targets name what is in the pictures, as if the random model had said so."""
    context = context_of(captioner, tmp_path_factory.mktemp("named"), N_IMAGES, "")
    targets = context.run.targets
    words = pa.array(["circle" if i % 2 == 0 else "squares" for i in range(targets.num_rows)])
    renamed = targets.set_column(targets.column_names.index("word"), "word", words)
    context.run.__dict__["targets"] = renamed
    return context


def run_whole(experiment: Experiment, context: ExperimentContext) -> Outcome:
    """Run an experiment and check that its tables are those that it declares."""
    outcome = experiment.run(context)
    assert set(outcome.tables) == set(experiment.tables)
    for name, table in outcome.tables.items():
        assert table.schema.names == EXPERIMENT_SCHEMAS[name].names
    assert outcome.figures
    rows = {(f.figure, f.part, f.layer, f.k, f.arm) for f in outcome.figures}
    for f in outcome.figures:
        # A figure's control is a row beside it.
        assert not f.control or (f.figure, f.part, f.layer, f.k, f.control) in rows
    return outcome


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
def test_what_cannot_be_had_is_named_and_the_rest_goes_on(
    experiment: Experiment, context: ExperimentContext, missing: str
) -> None:
    outcome = run_whole(experiment, context)
    has_value = any(figure.value is not None for figure in outcome.figures)
    needed = {"instances": NEED_INSTANCES, "captions": NEED_CAPTIONS}.get(missing, set())
    if experiment.name in needed:
        assert not has_value
        assert all(figure.note.endswith(".") for figure in outcome.figures)
    # A random model names nothing that is in a picture, so that one has nothing to look at.
    elif experiment.name != "specificity":
        assert has_value
    if experiment is TEXT:
        # What a unit reads best needs no categories.
        assert (outcome.tables["text_exemplars"].num_rows > 0) == (missing != "captions")


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
def test_chunks_that_were_kept_give_the_same_again(
    experiment: Experiment, named: ExperimentContext, tmp_path: Path
) -> None:
    whole = experiment.run(named)
    context = replace(named, chunks=Chunks(tmp_path))
    for _ in range(2):
        outcome = experiment.run(context)
        assert outcome.figures == whole.figures
        assert {n: t.to_pylist() for n, t in outcome.tables.items()} == {
            n: t.to_pylist() for n, t in whole.tables.items()
        }


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
def test_one_image_is_too_few_and_no_error(
    experiment: Experiment, captioner: Captioner, tmp_path_factory: pytest.TempPathFactory
) -> None:
    context = context_of(captioner, tmp_path_factory.mktemp("one"), 1, "")
    outcome = run_whole(experiment, context)
    for figure in outcome.figures:
        assert figure.value is not None or figure.note


def test_models_that_are_at_hand_score_patches_and_units(
    captioner: Captioner, tmp_path_factory: pytest.TempPathFactory
) -> None:
    context = context_of(captioner, tmp_path_factory.mktemp("scored"), 4, "")
    models = tmp_path_factory.mktemp("models")
    write_tiny_bert(models / "bert")
    write_tiny_clip(models / "clip")
    for experiment in (ADAPTER_CONTROL, AGREEMENT):
        with_models = replace(context, score_models=models)
        outcome = run_whole(experiment, with_models)
        for name in ("BERTScore", "CLIPScore"):
            values = [f.value for f in outcome.figures if f.figure == name]
            assert len(values) == 3
            assert None not in values
            if experiment is AGREEMENT:
                rows = outcome.tables["unit_scores"].to_pylist()
                own = {row["uid"] for row in rows if row["score"] == name}
                assert own == set(outcome.tables["unit_agreement"]["uid"].to_pylist())
        assert experiment.own_settings(with_models) != experiment.own_settings(context)


def test_a_caption_without_a_noun_is_counted_and_named(context: ExperimentContext) -> None:
    run = FinishedRun(context.run.path)
    run.__dict__["targets"] = run.targets.filter(np.arange(run.targets.num_rows) != 1)
    gone = context.run.targets["image_id"][1].as_py()
    shorter = replace(context, run=run)
    assert gone not in shorter.sample
    (figure,) = [f for f in CAPTIONS.run(shorter).figures if f.figure == TARGETS]
    assert figure.value == pytest.approx(1 - 1 / N_IMAGES)
    assert f"1 have none and are left out of the sample: images {gone}." in figure.note
    (whole,) = [f for f in CAPTIONS.run(context).figures if f.figure == TARGETS]
    assert (whole.value, whole.note) == (1, "Over all images of the run.")


def test_categories_without_images_are_named(named: ExperimentContext) -> None:
    """Of the small data set's categories those that no target names, or that have few images."""
    names = {row["name"] for row in named.run.table("categories").to_pylist()}
    for experiment in (SPECIFICITY, SELECTIVITY, TEXT):
        figures = experiment.run(named).figures
        told = {f.part for f in figures} & names
        left = [f for f in figures if f.value is None and "categor" in f.part]
        listed = {
            name for f in left for name in f.note.rstrip(".").partition(": ")[2].split(", ") if name
        }
        assert listed | told == names, experiment.name
        assert not listed & told, experiment.name


def test_specificity_measures_where_a_target_names_what_is_there(
    named: ExperimentContext,
) -> None:
    outcome = run_whole(SPECIFICITY, named)
    found = {(f.figure, f.arm, f.part): f for f in outcome.figures}
    for arm in ("top units", "random units", "units of another image"):
        figure = found["IoU", arm, ""]
        assert figure.n == N_IMAGES
        assert 0 <= figure.value <= found["greatest IoU possible", "", ""].value
    masks = outcome.tables["unit_masks"]
    assert masks.num_rows > 0
    assert np.all(np.array(masks["object_share"]) > 0)
