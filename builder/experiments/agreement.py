"""Do decoded units describe the image? Agreement of their tokens with the human captions.

Schwettmann et al. 2023 (arXiv 2308.01544), Table 1: for every image the greatest score of its
units, averaged over images, beside units and images paired at random. The units are those of the
image's top 100 that are interpretable; all where none is.

Word overlap needs no other model: the share of a unit's decoded words (as stems, each once) that
are content words of the image's human captions. It is not the paper's score, and is called word
overlap everywhere. BERTScore and CLIPScore are added where `score_models` names models for them
(`builder.experiments.score_models`).

Random pairs: the units of another image of the sample with this image's captions, as many.

Each score is averaged by unit as well: over the images that a unit is found on, and over others
(for word overlap all on which it is not found, for models those of its random pairs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.agreement_models import Array, Pairing, Uids, UnitScores, model_scores
from builder.experiments.contents import Contents, content_stems, contents_of
from builder.experiments.context import ExperimentContext
from builder.experiments.controls import another_of_each
from builder.experiments.experiment import (
    Experiment,
    Figure,
    Outcome,
    estimated,
    left_out,
    nothing,
)
from builder.experiments.intervals import difference_estimate, mean_estimate, paired_p
from builder.experiments.score_folders import folder_hashes
from builder.experiments.score_models import find_scorers
from builder.experiments.specificity import top_units_of

TABLE = "unit_agreement"
SCORES = "unit_scores"
OVERLAP = "word overlap"
OWN, RANDOM, CAPTIONS = "decoded units", "random pairs", "generated captions"
_HOW = "Greatest of an image's units, then mean over images."


def run_agreement(context: ExperimentContext) -> Outcome:
    """Score units against their images' captions and against random ones."""
    contents = contents_of(context)
    pairing = pair_up(context, contents)
    if len(pairing.image_id) < 2:
        reason = "Fewer than two images have human captions and top units."
        return nothing((TABLE, SCORES), OVERLAP, reason)
    words = [contents.caption_stems_of[int(i)] for i in pairing.image_id]
    table = overlap_table(contents.unit_stems, pairing.units, words)
    scores = {
        OWN: best_of(table, pairing.units, np.arange(len(words))),
        RANDOM: best_of(
            table, [pairing.units[row] for row in pairing.other], np.arange(len(words))
        ),
        CAPTIONS: _caption_overlap(contents, pairing.image_id, words),
    }
    figures = list(_figures(OVERLAP, scores, context.settings.seed))
    units = unit_scores(table, pairing.units)
    figures += _unit_figures(OVERLAP, units, context.settings.seed)
    by_model: dict[str, UnitScores] = {}
    figures += _model_figures(context, contents, pairing, by_model)
    return Outcome(figures, {TABLE: _unit_table(units), SCORES: _score_table(by_model)})


def pair_up(context: ExperimentContext, contents: Contents) -> Pairing:
    """Choose the images, their interpretable top units, and another image for each."""
    with_captions = [i for i in context.sample if contents.caption_stems_of.get(int(i))]
    tops = top_units_of(context.run, np.array(with_captions, dtype=np.int64))
    is_word_unit = context.run.is_interpretable
    kept = {
        i: uid[is_word_unit[uid]] if is_word_unit[uid].any() else uid for i, uid in tops.items()
    }
    image_id = np.array([i for i, uid in kept.items() if len(uid)], dtype=np.int64)
    if len(image_id) < 2:
        return Pairing(image_id[:0], [], image_id[:0])
    other = another_of_each(len(image_id), context.random(11))
    return Pairing(image_id, [kept[int(i)] for i in image_id], other)


@dataclass(frozen=True, slots=True)
class OverlapTable:
    """Word overlap of units with images: (n_units, n_images), and the row of each unit."""

    values: npt.NDArray[np.float32]
    row_of: Mapping[int, int]


def overlap_table(
    unit_stems: list[frozenset[str]], units: list[Uids], words: list[frozenset[str]]
) -> OverlapTable:
    """Compare every unit that occurs with every image's words.

    Args:
        unit_stems: By uid, the stems of a unit's decoded words; overlap is 0 where there are none.
        units: Of each image.
        words: Of each image.
    """
    uid = np.unique(np.concatenate(units))
    column_of = {s: i for i, s in enumerate(sorted(set().union(*words)))}
    has = np.zeros((len(words), len(column_of)), dtype=np.float32)
    for row, stems in enumerate(words):
        has[row, [column_of[stem] for stem in stems]] = 1
    values = np.zeros((len(uid), len(words)), dtype=np.float32)
    for row, unit in enumerate(uid.tolist()):
        stems = unit_stems[unit]
        columns = [column_of[stem] for stem in stems if stem in column_of]
        if columns:
            values[row] = has[:, columns].sum(axis=1) / len(stems)
    return OverlapTable(values, {unit: row for row, unit in enumerate(uid.tolist())})


def best_of(table: OverlapTable, units: list[Uids], images: npt.NDArray[np.int64]) -> Array:
    """Give the greatest overlap of each list of units with its image, (n,)."""
    return np.array(
        [
            float(table.values[[table.row_of[int(u)] for u in uid], image].max())
            for uid, image in zip(units, images, strict=True)
        ]
    )


def unit_scores(table: OverlapTable, units: list[Uids]) -> UnitScores:
    """Average each unit's overlap over its own images, and exactly over all that are not.

    A unit of all images has no others: its own mean stands for both.
    """
    is_own = np.zeros(table.values.shape, dtype=bool)
    for column, uid in enumerate(units):
        is_own[[table.row_of[int(u)] for u in uid], column] = True
    n_own = is_own.sum(axis=1)
    own = np.where(is_own, table.values, 0).sum(axis=1) / n_own
    n_other = len(units) - n_own
    other = np.where(is_own, 0, table.values).sum(axis=1) / np.maximum(n_other, 1)
    uid = np.array(list(table.row_of), dtype=np.int64)
    return UnitScores(uid, n_own, own, np.where(n_other > 0, other, own))


def _caption_overlap(
    contents: Contents, image_id: npt.NDArray[np.int64], words: list[frozenset[str]]
) -> Array:
    """Score the generated captions in the same way: the share of their content words."""
    found = []
    for id_, of_image in zip(image_id.tolist(), words, strict=True):
        stems = content_stems(contents.generated_of[id_])
        found.append(len(stems & of_image) / len(stems) if stems else 0.0)
    return np.array(found)


def _model_figures(
    context: ExperimentContext,
    contents: Contents,
    pairing: Pairing,
    by_model: dict[str, UnitScores],
) -> Iterator[Figure]:
    """Score with the models that are at hand, and say which are not.

    Args:
        by_model: Takes each score's means by unit.
    """
    scorers = find_scorers(context.score_models, context.device)
    seed = context.settings.seed
    for figure, scorer in scorers.items():
        if isinstance(scorer, str):
            yield left_out(figure, scorer)
            continue
        found = model_scores(context, contents, pairing, scorer)
        arms = dict(zip((OWN, RANDOM, CAPTIONS), found.by_image, strict=True))
        yield from _figures(figure, arms, seed, scorer.about)
        yield from _unit_figures(figure, found.units, seed)
        by_model[figure] = found.units


def _figures(
    figure: str, scores: Mapping[str, Array], seed: int, about: str = ""
) -> Iterator[Figure]:
    p = paired_p(scores[OWN], scores[RANDOM], seed=seed)
    for arm, values in scores.items():
        is_own = arm == OWN
        yield estimated(
            mean_estimate(values, seed=seed),
            figure=figure,
            measure="score",
            arm=arm,
            control=RANDOM if is_own else "",
            p_value=p if is_own else None,
            note=" ".join(filter(None, (_HOW if is_own else "", about))),
        )
    yield estimated(
        difference_estimate(scores[OWN], scores[RANDOM], seed=seed),
        figure=f"{figure}, decoded units above random pairs",
        measure="score",
        arm=OWN,
        note="The difference, image by image.",
    )


def _unit_figures(figure: str, units: UnitScores, seed: int) -> Iterator[Figure]:
    """Give figures over units, so that one unit of many images counts once."""
    p = paired_p(units.own, units.random, seed=seed)
    for arm, values in ((OWN, units.own), (RANDOM, units.random)):
        yield estimated(
            mean_estimate(values, seed=seed),
            figure=f"{figure} by unit",
            measure="score",
            arm=arm,
            control=RANDOM if arm == OWN else "",
            p_value=p if arm == OWN else None,
            note="A unit with the images it is found on, and with others; over units.",
        )


def _unit_table(units: UnitScores) -> pa.Table:
    schema = EXPERIMENT_SCHEMAS[TABLE]
    return pa.table(_columns(units)).select(schema.names).cast(schema)


def _score_table(by_model: Mapping[str, UnitScores]) -> pa.Table:
    schema = EXPERIMENT_SCHEMAS[SCORES]
    parts = [
        pa.table({**_columns(units), "score": [score] * len(units.uid)})
        .select(schema.names)
        .cast(schema)
        for score, units in by_model.items()
    ]
    return pa.concat_tables([schema.empty_table(), *parts])


def _columns(units: UnitScores) -> dict[str, npt.NDArray[np.generic]]:
    return {
        "uid": units.uid,
        "n_images": units.n_images,
        "agreement": units.own,
        "random_agreement": units.random,
    }


AGREEMENT = Experiment(
    name="agreement",
    title="Do decoded units agree with what people say of the image?",
    run=run_agreement,
    tables=(TABLE, SCORES),
    settings=lambda context: {"score_models": folder_hashes(context.score_models)},
)
