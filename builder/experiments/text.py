"""Is it multimodal? Units that fire on the picture of a thing, on its words.

The language model reads the human captions of the sample (and any text files), without pictures.
For every unit its top passages are kept. For the units that stand for a category (those in the top
100 of most of its images, always-on units left out; `selectivity`), and one random unit of the
same layer for each:

- the area under the ROC curve: does the unit's greatest activation on a caption tell captions that
  name the category from those that do not? .5 is chance;
- the rank correlation, over categories, of the unit's mean activation on images of a category and
  on captions that name it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from atlas_db.run_format import file_sha256
from builder.experiments.category_units import choose_units, top_of_sample
from builder.experiments.contents import Contents, contents_of, word_settings
from builder.experiments.context import ExperimentContext
from builder.experiments.controls import random_units_of_layers
from builder.experiments.experiment import (
    Experiment,
    Figure,
    Outcome,
    empty_table,
    estimated,
    left_out,
)
from builder.experiments.intervals import (
    auc,
    false_discovery_q,
    mean_estimate,
    paired_p,
    rank_correlation,
    share_estimate,
)
from builder.experiments.peaks import (
    MIN_IMAGES,
    mean_by_category,
    membership,
    peak_activations,
    too_few,
)
from builder.experiments.text_exemplars import TABLE, TextCollector
from builder.experiments.text_passages import MAX_TOKENS, Passage, read_activations, read_passages
from builder.vocabulary import vocabulary_table

UNIT_TABLE = "unit_text"
AUC = "captions that name the unit's category told from others"
CORRELATION = "activation on pictures and on words of the same categories"
TOP, RANDOM = "top units", "random units"

Uids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Units and the category that each stands for, and a random unit of its layer: (n,) each."""

    uid: Uids
    column: npt.NDArray[np.int64]  # of the category
    random_uid: Uids


def run_text(context: ExperimentContext) -> Outcome:
    """Read the captions, keep the top passages, and compare with the pictures."""
    contents = contents_of(context)
    captions = [c for i in context.sample for c in contents.captions_of.get(int(i), [])]
    passages = read_passages(context.captioner.tokenizer, captions, context.texts)
    if not passages:
        reason = "The images have no human captions, and no text file was given."
        tables = {name: empty_table(name) for name in (TABLE, UNIT_TABLE)}
        return Outcome([left_out(AUC, reason)], tables)
    category_ids, is_in = membership(context.sample, contents.categories_of)
    names = naming(contents, passages, category_ids)
    # A category must be seen and be named often enough.
    is_told = names.sum(axis=0) >= MIN_IMAGES
    category_ids, is_in, names = category_ids[is_told], is_in[:, is_told], names[:, is_told]
    pairs = choose_pairs(context, is_in, category_ids)
    uid = np.unique(np.concatenate([pairs.uid, pairs.random_uid]))
    collector = _read(context, passages, uid)
    texts = vocabulary_table(context.captioner.tokenizer)["token"].to_pylist()
    exemplars = collector.table(passages, texts)
    if len(pairs.uid) == 0 or len(category_ids) < 2:
        reason = f"Fewer than two categories have {MIN_IMAGES} images and {MIN_IMAGES} captions."
        units = empty_table(UNIT_TABLE)
        return Outcome([left_out(AUC, reason)], {TABLE: exemplars, UNIT_TABLE: units})
    on_words = collector.peaks.cpu().numpy()
    on_pictures = peak_activations(context, context.sample, uid)
    found = {
        arm: compare(
            (on_pictures, is_in), (on_words, names), np.searchsorted(uid, of), pairs.column
        )
        for arm, of in ((TOP, pairs.uid), (RANDOM, pairs.random_uid))
    }
    figures = [*_figures(found, len(category_ids), context.settings.seed)]
    figures += _of_categories(
        found, pairs, [contents.lists.by_id[int(i)].name for i in category_ids]
    )
    figures += too_few(AUC, category_ids, contents.lists)
    table = _unit_table(pairs, found[TOP], len(category_ids))
    return Outcome(figures, {TABLE: exemplars, UNIT_TABLE: table})


def naming(
    contents: Contents, passages: list[Passage], category_ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Say which passage names which category: (n_passages, n_categories)."""
    ids = category_ids.tolist()
    named = [contents.lists.named_in(passage.text, ids) for passage in passages]
    rows = [[id_ in of for id_ in ids] for of in named]
    return np.array(rows, dtype=bool).reshape(len(passages), len(ids))


def choose_pairs(
    context: ExperimentContext, is_in: npt.NDArray[np.bool_], category_ids: npt.NDArray[np.int64]
) -> Pairs:
    """Choose the units of each category; a unit of several stands for the one it is first in."""
    none = np.empty(0, dtype=np.int64)
    if len(category_ids) == 0:
        return Pairs(none, none, none)
    usual = ~context.run.is_always_on
    chosen = choose_units(top_of_sample(context), is_in, category_ids, usual)
    order = np.lexsort((chosen.category_id, chosen.rank))
    uid, first = np.unique(chosen.uid[order], return_index=True)
    column = np.searchsorted(category_ids, chosen.category_id[order][first])
    drawn = random_units_of_layers(uid, context.run.units_per_layer, context.random(20))
    keep = drawn >= 0
    return Pairs(uid[keep], column[keep], drawn[keep])


def _read(context: ExperimentContext, passages: list[Passage], uid: Uids) -> TextCollector:
    tokenizer = context.captioner.tokenizer
    separator = tokenizer.bos_token_id
    separator = tokenizer.eos_token_id if separator is None else separator
    collector = TextCollector(context.model, len(passages), uid)
    read_activations(
        context.model,
        passages,
        collector.see,
        separator_id=separator,
        progress=lambda n: context.progress("read text", n, len(passages)),
    )
    return collector


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of units (n,): area under the curve of its own category, its p, rank correlation."""

    auc: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    correlation: npt.NDArray[np.float64]


def compare(
    pictures: tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]],
    words: tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]],
    at: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
) -> Comparison:
    """Compare units on pictures and on words.

    Args:
        pictures: Greatest activations (n_images, n_units), and of which category (n_images,
            n_categories) an image is.
        words: The same of passages, and which category a passage names.
        at: (n,) columns of the units to compare.
        column: (n,) the category of each.
    """
    on_words = words[0][:, at]
    areas, p_values = np.full(len(at), np.nan), np.full(len(at), np.nan)
    for category in np.unique(column):
        of = column == category
        is_named = words[1][:, category]
        areas[of] = auc(on_words[:, of], is_named)
        test = stats.mannwhitneyu(
            on_words[is_named][:, of],
            on_words[~is_named][:, of],
            alternative="greater",
            method="asymptotic",
            axis=0,
        )
        p_values[of] = test.pvalue
    by_picture = mean_by_category(pictures[0][:, at], pictures[1])
    by_word = mean_by_category(on_words, words[1])
    return Comparison(areas, p_values, rank_correlation(by_picture.T, by_word.T))


def _figures(found: dict[str, Comparison], n_categories: int, seed: int) -> Iterator[Figure]:
    for figure, measure, name in (
        (AUC, "area under the curve", "auc"),
        (CORRELATION, "rank correlation", "correlation"),
    ):
        values = {arm: getattr(of, name) for arm, of in found.items()}
        known = ~(np.isnan(values[TOP]) | np.isnan(values[RANDOM]))
        p = paired_p(values[TOP][known], values[RANDOM][known], seed=seed)
        for arm, of in values.items():
            yield estimated(
                mean_estimate(of[~np.isnan(of)], seed=seed),
                figure=figure,
                measure=measure,
                arm=arm,
                control=RANDOM if arm == TOP else "",
                p_value=p if arm == TOP and not np.isnan(p) else None,
                note=f"Over units; {n_categories} categories." if arm == TOP else "",
            )
    for arm, comparison in found.items():
        q = false_discovery_q(comparison.p)
        yield estimated(
            share_estimate(q < 0.05),
            figure="units that are more active on captions that name their category",
            measure="share",
            arm=arm,
            control=RANDOM if arm == TOP else "",
            note="q < .05 (Mann and Whitney, Benjamini and Hochberg); captions of one image count "
            "as independent.",
        )


def _of_categories(
    found: dict[str, Comparison], pairs: Pairs, names: list[str]
) -> Iterator[Figure]:
    for column, name in enumerate(names):
        of = pairs.column == column
        values = found[TOP].auc[of]
        if not of.any() or np.isnan(values).all():
            yield left_out(AUC, "No unit stands for it first.", part=name)
            continue
        estimate = mean_estimate(values[~np.isnan(values)])
        yield estimated(estimate, figure=AUC, measure="area under the curve", arm=TOP, part=name)


def _unit_table(pairs: Pairs, found: Comparison, n_categories: int) -> pa.Table:
    def nullable(values: npt.NDArray[np.float64]) -> list[float | None]:
        return [None if np.isnan(value) else value for value in values.tolist()]

    schema = EXPERIMENT_SCHEMAS[UNIT_TABLE]
    columns = {
        "uid": pairs.uid,
        "n_concepts": np.full(len(pairs.uid), n_categories),
        "rank_correlation": nullable(found.correlation),
        "auc": nullable(found.auc),
        "auc_p": nullable(found.p),
    }
    return pa.table(columns).select(schema.names).cast(schema)


TEXT = Experiment(
    name="text",
    title="Do units that fire on the picture of a thing fire on its words?",
    run=run_text,
    tables=(TABLE, UNIT_TABLE),
    settings=lambda context: {
        "max_tokens": MAX_TOKENS,
        "texts": [file_sha256(path) for path in context.texts],
        **word_settings(context),
    },
)
