"""What does the same architecture reach without what it learned?

Every weight tensor of a copy of the captioner gets its own entries in a random order: the shapes
and the statistics of the weights stay, so activations keep their scale, and what was learned is
gone. The copy is built over a part of the sample and looked at by the same experiments as the
captioner itself, on the same images. A figure that the copy reaches as well proves nothing about
what was learned, and its note says so.

Source: Adebayo et al., Sanity Checks for Saliency Maps (arXiv 1810.03292).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from builder.build import build_run
from builder.captioner import Captioner
from builder.coco import CocoDataset
from builder.experiments.ablation import drop_of_top_units
from builder.experiments.captions import CAPTIONS
from builder.experiments.context import Chunks, ExperimentContext, FinishedRun
from builder.experiments.decoding_check import DECODING_CHECK
from builder.experiments.experiment import Experiment, Figure, Outcome, nothing
from builder.experiments.specificity import SPECIFICITY
from builder.language_model import LanguageModel
from builder.settings import BuildSettings, Execution

#: Images of the sample that both are looked at on.
N_IMAGES = 50
LEARNED, SHUFFLED = "as it is", "weights shuffled"
_FIGURE = "what is left without what was learned"
#: What gives figures; of each, the figures and the arm that are set side by side.
CHECKS: tuple[tuple[Callable[[ExperimentContext], Sequence[Figure]], tuple[str, ...], str], ...] = (
    (
        lambda context: CAPTIONS.run(context).figures,
        ("captions that name what is in the picture",),
        "captions",
    ),
    (
        lambda context: DECODING_CHECK.run(context).figures,
        ("images of which one of the top five units says something",),
        "top units",
    ),
    (
        lambda context: [f for f in SPECIFICITY.run(context).figures if not f.part],
        ("IoU", "IoU at the unit's threshold"),
        "top units",
    ),
    (drop_of_top_units, ("relative drop of p(target)", "drop of the target's logit"), "all"),
)


def run_untrained(context: ExperimentContext) -> Outcome:
    """Set the captioner beside a copy of itself whose weights are shuffled."""
    if context.captioner.config.is_random:
        reason = "The captioner is untrained itself: there is nothing to take away."
        return nothing((), _FIGURE, reason)
    n_images = min(N_IMAGES, context.settings.n_images)
    settings = replace(context.settings, n_images=n_images)
    own = replace(context, settings=settings, chunks=Chunks(None))
    figures: list[Figure] = []
    with _shuffled_context(own, context.chunks.folder) as other:
        for look, names, arm in CHECKS:
            pairs = _pairs(*(_chosen(look(c), names, arm) for c in (own, other)))
            figures += [figure for pair in pairs for figure in _side_by_side(*pair)]
    return Outcome(figures)


@contextmanager
def _shuffled_context(own: ExperimentContext, folder: Path | None) -> Iterator[ExperimentContext]:
    """Build the copy over the sample of `own`; what is kept in `folder` is not built again."""
    with TemporaryDirectory() as spare:
        run = (folder or Path(spare)) / "shuffled.run"
        captioner = shuffled_captioner(own.captioner, own.settings.seed)
        dataset = part_of(own.dataset, own.sample)
        known = own.run.manifest["settings"]
        settings = BuildSettings(
            noun_rule=known["noun_rule"], decode_norm=known["decode_norm"], images="link"
        )
        execution = Execution(batch_size=own.batch_size, n_workers=own.n_workers)
        build_run(captioner, dataset, run, settings, execution=execution, progress=own.progress)
        yield replace(
            own,
            captioner=captioner,
            model=LanguageModel(captioner.model),
            dataset=dataset,
            run=FinishedRun(run),
        )


def shuffled_captioner(captioner: Captioner, seed: int) -> Captioner:
    """Give a copy of which every weight tensor has its own entries in a random order."""
    shuffled = copy.deepcopy(captioner)
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    for module in (shuffled.model, shuffled.encoder, shuffled.adapter):
        for parameter in module.parameters():
            if parameter.data_ptr() in done:  # tied weights, or a module that is part of two
                continue
            done.add(parameter.data_ptr())
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            with torch.no_grad():
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return shuffled


def part_of(dataset: CocoDataset, image_ids: Sequence[int] | Any) -> CocoDataset:
    """Keep some of a data set's images, and what is said of them."""
    wanted = pa.array([int(image_id) for image_id in image_ids], pa.int64())
    tables = {
        name: table.filter(pc.is_in(table["image_id"], wanted))
        if "image_id" in table.column_names
        else table
        for name, table in dataset.tables.items()
    }
    return replace(dataset, tables=tables)


def _chosen(figures: Sequence[Figure], names: Sequence[str], arm: str) -> list[Figure]:
    """Keep the figures that are compared."""
    return [figure for figure in figures if figure.figure in names and figure.arm == arm]


def _pairs(own: Sequence[Figure], other: Sequence[Figure]) -> Iterator[tuple[Figure, Figure]]:
    """Match the figures of both; what the copy lacks, it could not be asked."""

    def key(figure: Figure) -> tuple[Any, ...]:
        return figure.figure, figure.part, figure.k

    found = {key(figure): figure for figure in other}
    for figure in own:
        lacking = replace(
            figure,
            value=None,
            low=None,
            high=None,
            n=0,
            note="There was nothing to ask the copy: its captions name no annotated thing.",
        )
        yield figure, found.get(key(figure), lacking)


def _side_by_side(own: Figure, other: Figure) -> tuple[Figure, Figure]:
    """Name the arms, and say of a figure that the copy reaches too that it proves nothing."""
    figure = f"{own.figure}, {own.arm}"
    first, second = (
        replace(
            one,
            figure=figure,
            arm=arm,
            control=control,
            p_value=None,
            note=one.note if one.value is None else "",
        )
        for one, arm, control in ((own, LEARNED, SHUFFLED), (other, SHUFFLED, ""))
    )
    if _is_reached(own, other):
        note = "Reached by the shuffled weights too: it proves nothing about what was learned."
        first = replace(first, note=note)
    return first, second


def _is_reached(own: Figure, other: Figure) -> bool:
    """Say whether the copy's value lies in the captioner's interval, or above."""
    if own.value is None or other.value is None:
        return False
    return other.value >= (own.value if own.low is None else own.low)


UNTRAINED = Experiment(
    name="untrained",
    title="What does the same architecture reach without what it learned?",
    run=run_untrained,
    settings={"n_images_of_copy": N_IMAGES},
)
