"""A unit planted in a random model is found, decoded, specific and the cause: end to end.

See `planted` in tests/tools for what is planted. Everything after that is the project's own pass.
"""

from pathlib import Path

import numpy as np
import pytest
from planted import SPLIT, Planted, plant

from builder.build import BuildSettings, build_run
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.experiments.ablation import ABLATION
from builder.experiments.attribution_methods import ATTRIBUTION_METHODS
from builder.experiments.context import ExperimentContext, FinishedRun, ReportSettings
from builder.experiments.decoding_check import DECODING_CHECK
from builder.experiments.decoding_layers import FIGURE as SAYS_BY_LAYER
from builder.experiments.layer_ablation import COUNT, DROP, LAYER_ABLATION
from builder.experiments.specificity import SPECIFICITY
from builder.language_model import LanguageModel
from builder.settings import Execution

N_IMAGES = 12


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"), N_IMAGES)


@pytest.fixture(scope="module")
def context(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    captioner = load_captioner(planted.captioner)
    dataset = load_coco(planted.coco, SPLIT)
    folder: Path = tmp_path_factory.mktemp("run") / "run"
    execution = Execution(batch_size=4, n_workers=0)
    return ExperimentContext(
        captioner=captioner,
        model=LanguageModel(captioner.model),
        dataset=dataset,
        run=FinishedRun(
            build_run(captioner, dataset, folder, BuildSettings(), execution=execution)
        ),
        settings=ReportSettings(n_images=N_IMAGES),
        n_workers=0,
    )


def test_the_model_says_the_word(context: ExperimentContext, planted: Planted) -> None:
    assert context.run.targets["word"].to_pylist() == [planted.word] * N_IMAGES


def test_the_unit_is_found_first(context: ExperimentContext, planted: Planted) -> None:
    top = context.run.top_units.to_pylist()
    first = [row["uid"] for row in top if row["rank"] == 1]
    assert first == [planted.uid] * N_IMAGES


def test_the_unit_is_decoded_to_the_word(context: ExperimentContext, planted: Planted) -> None:
    rows = context.run.table("unit_tokens").to_pylist()
    (best,) = (row for row in rows if (row["uid"], row["sign"], row["rank"]) == (planted.uid, 1, 1))
    assert best["token_id"] == planted.token_id
    figures = {
        (f.arm, f.part): f for f in DECODING_CHECK.run(context).figures if f.measure == "share"
    }
    assert figures["top units", "a name"].value == 1.0
    assert figures["random units", "a name"].value < 0.5


def test_the_unit_is_specific(context: ExperimentContext, planted: Planted) -> None:
    outcome = SPECIFICITY.run(context)
    rows = outcome.tables["unit_masks"].to_pylist()
    (row,) = (row for row in rows if row["uid"] == planted.uid)
    assert row["n_images"] == N_IMAGES
    assert row["iou"] > 0.85 * row["iou_bound"]
    # Random units read the same patches, and many tell red from grey.
    assert row["iou"] > 1.25 * row["random_iou"]


def test_zeroing_the_unit_removes_the_word(context: ExperimentContext, planted: Planted) -> None:
    rows = ABLATION.run(context).tables["ablations"].to_pylist()
    drop = {
        arm: np.mean([row["relative_drop"] for row in rows if (row["arm"], row["k"]) == (arm, 1)])
        for arm in ("all", "random")
    }
    assert drop["all"] > 0.9
    assert abs(drop["random"]) < 0.1
    captions = [
        row["caption"] for row in rows if row["arm"] == "all" and row["k"] == 1 and row["caption"]
    ]
    assert sum(caption.startswith(planted.word) for caption in captions) <= 1


def test_zeroing_one_layer_removes_the_word_where_the_unit_is(
    context: ExperimentContext, planted: Planted
) -> None:
    figures = {(f.figure, f.arm, f.layer): f.value for f in LAYER_ABLATION.run(context).figures}
    layer = planted.uid // context.run.units_per_layer
    assert figures[DROP, "top units", layer] > 0.9
    assert abs(figures[DROP, "random units", layer]) < 0.2
    assert figures[COUNT, "", layer] >= 1
    others = [value for (of, arm, at), value in figures.items()
              if of == DROP and at not in (layer, None) and value is not None]  # fmt: skip
    assert all(abs(value) < 0.3 for value in others)


def test_what_holds_of_the_unit_is_said_of_its_layer(
    context: ExperimentContext, planted: Planted
) -> None:
    layer = planted.uid // context.run.units_per_layer
    says = {
        f.arm: f.value
        for f in DECODING_CHECK.run(context).figures
        if (f.figure, f.part, f.layer) == (SAYS_BY_LAYER, "one word or more", layer)
    }
    assert says["top units"] > 2 * says["random units"]
    overlaps = {
        f.arm: f.value
        for f in SPECIFICITY.run(context).figures
        if (f.figure, f.layer) == ("IoU", layer)
    }
    assert overlaps["top units"] > overlaps["random units"]


def test_zeroing_is_what_attributions_say(context: ExperimentContext, planted: Planted) -> None:
    rows = ATTRIBUTION_METHODS.run(context).tables["attribution_methods"].to_pylist()
    for image_id in {row["image_id"] for row in rows}:
        of_image = [row for row in rows if row["image_id"] == image_id]
        for method in ("zeroing", "z_gradient", "a_gradient", "integrated_gradients"):
            best = max(of_image, key=lambda row: row[method])
            assert best["uid"] == planted.uid, method
