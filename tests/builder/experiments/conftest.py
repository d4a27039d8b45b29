"""A finished run in which one unit alone carries the target, for experiments to look at."""

from pathlib import Path

import pytest
from planted import SPLIT, Planted, plant

from builder.build import BuildSettings, build_run
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.experiments.context import ExperimentContext, FinishedRun, ReportSettings
from builder.language_model import LanguageModel
from builder.settings import Execution

N_LONE_IMAGES = 5


@pytest.fixture(scope="session")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """A captioner in which no unit but the planted one writes anything."""
    return plant(tmp_path_factory.mktemp("lone"), N_LONE_IMAGES, is_alone=True)


@pytest.fixture(scope="session")
def lone_context(lone: Planted, tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    captioner = load_captioner(lone.captioner)
    dataset = load_coco(lone.coco, SPLIT)
    run: Path = tmp_path_factory.mktemp("lone-run") / "run"
    execution = Execution(batch_size=4, n_workers=0, captioner_source=str(lone.captioner))
    build_run(captioner, dataset, run, BuildSettings(), execution=execution)
    return ExperimentContext(
        captioner=captioner,
        model=LanguageModel(captioner.model),
        dataset=dataset,
        run=FinishedRun(run),
        settings=ReportSettings(n_images=N_LONE_IMAGES),
        batch_size=2,
        n_workers=0,
    )
