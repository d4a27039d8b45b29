"""Does the adapter translate pictures into words? Projected patches and their nearest tokens.

Schwettmann et al. 2023 (arXiv 2308.01544), Table 2 and section S.2: each projected patch is mapped
to the N_NEAREST tokens whose embeddings have the greatest cosine with it, and these agree with the
image's captions no better than the tokens nearest to random vectors do. The random vectors are
normal, with the mean and the deviation of projected patches in each dimension, as many for each
image as it has patches.

Agreement of an image is the share of its decoded tokens whose stem is that of a content word of
one of its human captions. It needs no other model; it is not the paper's CLIPScore or BERTScore,
which are added where `score_models` names models for them: the mean score of the N_NEAREST tokens
of N_SCORED patches of an image, and of as many random vectors.
Controls: random vectors; the same patches with another image's captions. Above: the names of the
categories in the image, held to its captions in the same way; for models as many nouns of the
captions themselves (the paper's row "COCO nouns"; it does not say how it chose them).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.contents import Contents, contents_of, word_settings
from builder.experiments.context import ExperimentContext
from builder.experiments.controls import another_of_each
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, left_out
from builder.experiments.intervals import kolmogorov_smirnov, mean_estimate, paired_p
from builder.experiments.rankings import chunked
from builder.experiments.score_folders import folder_hashes
from builder.experiments.score_models import find_scorers
from builder.experiments.words import token_stem
from builder.targets import lexicon_words
from builder.vocabulary import vocabulary_table

N_NEAREST = 5
#: Images whose patches give the random vectors' mean and deviation.
N_FOR_STATISTICS = 64
#: Patches of each image that models score.
N_SCORED = 10
TABLE = "adapter_tokens"
FIGURE = "decoded tokens that are words of the captions"
PATCHES, RANDOM, OTHER = "projected patches", "random vectors", "captions of another image"
NOUNS = "nouns of the captions"
DISTANCE = "distance of the distributions over images"
_P_NOTE = "p: whether the projected patches' is greater, by permutation over images."

_RANDOM_COLUMN = "random_token_id"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The unit-length token embeddings, (n_tokens, d_model), and the stem of each token."""

    directions: Tensor
    stems: list[str | None]

    @classmethod
    def of(cls, context: ExperimentContext) -> Embeddings:
        """Read them off the captioner's language model; rows that are no token are left out."""
        texts = vocabulary_table(context.captioner.tokenizer)["token"].to_pylist()
        rows = context.captioner.model.get_input_embeddings().weight.detach()[: len(texts)]
        return cls(torch.nn.functional.normalize(rows.float(), dim=1), [*map(token_stem, texts)])

    def nearest(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Give the N_NEAREST tokens of vectors (n, d_model): cosines and ids, (n, N_NEAREST)."""
        unit = torch.nn.functional.normalize(vectors.float(), dim=1)
        found = [(part @ self.directions.T).topk(N_NEAREST, dim=1) for part in unit.split(1024)]
        cosines, ids = zip(*found, strict=True)
        return torch.cat(cosines), torch.cat(ids)


def run_adapter_control(context: ExperimentContext) -> Outcome:
    """Decode patches and random vectors, and compare how both agree with the captions."""
    contents = contents_of(context)
    embeddings = Embeddings.of(context)
    tokens = _decode(context, embeddings)
    table = tokens.drop_columns([_RANDOM_COLUMN]).cast(EXPERIMENT_SCHEMAS[TABLE])
    with_captions = np.array([i for i in context.sample if int(i) in contents.captions_of])
    if len(with_captions) < 2:
        reason = "Fewer than two images have human captions: the tokens stand in their table alone."
        return Outcome([left_out(FIGURE, reason)], {TABLE: table})
    arms = _agreements(context, contents, tokens, embeddings.stems, with_captions)
    figures = [*_figures(arms, FIGURE, "share", context.settings.seed)]
    figures += _ceiling(context, contents)
    figures += _model_figures(context, contents, tokens, with_captions)
    return Outcome(figures, {TABLE: table})


def _decode(context: ExperimentContext, embeddings: Embeddings) -> pa.Table:
    """Decode every image of the sample: rows of `adapter_tokens`, a random vector's beside each."""
    statistics = None
    tables = []
    n_done = 0
    for name, image_ids in chunked(context.sample):

        def make(image_ids: npt.NDArray[np.int64] = image_ids) -> pa.Table:
            nonlocal statistics
            statistics = statistics or patch_statistics(context)
            parts = list(_decode_images(context, embeddings, statistics, image_ids))
            return pa.concat_tables(parts)

        tables.append(context.chunks.get(f"tokens-{name}", make))
        n_done += len(image_ids)
        context.progress("decode patches", n_done, len(context.sample))
    return pa.concat_tables(tables)


def patch_statistics(context: ExperimentContext) -> tuple[Tensor, Tensor]:
    """Give the mean and the deviation of projected patches in each dimension, (d_model,) each."""
    ids = np.sort(context.random(8).permutation(context.sample)[:N_FOR_STATISTICS])
    patches = torch.cat([batch.patches.flatten(0, 1).double() for batch in context.batches(ids)])
    return patches.mean(dim=0), patches.std(dim=0)


def _decode_images(
    context: ExperimentContext,
    embeddings: Embeddings,
    statistics: tuple[Tensor, Tensor],
    image_ids: npt.NDArray[np.int64],
) -> Iterator[pa.Table]:
    mean, deviation = statistics
    for batch in context.batches(image_ids):
        n_patch = batch.patches.shape[1]
        cosine, token_id = embeddings.nearest(batch.patches.flatten(0, 1))
        noise = np.stack(
            [
                context.random(int(i), 9).standard_normal((n_patch, len(mean)))
                for i in batch.image_ids
            ]
        )
        vectors = torch.tensor(noise, device=mean.device).flatten(0, 1) * deviation + mean
        _, random_id = embeddings.nearest(vectors)
        n_rows = n_patch * N_NEAREST
        yield pa.table(
            {
                "image_id": np.repeat(batch.image_ids, n_rows),
                "patch": np.tile(np.repeat(np.arange(n_patch), N_NEAREST), len(batch.image_ids)),
                "rank": np.tile(np.arange(1, N_NEAREST + 1), n_patch * len(batch.image_ids)),
                "token_id": token_id.flatten().cpu().numpy(),
                "cosine": cosine.flatten().cpu().numpy(),
                _RANDOM_COLUMN: random_id.flatten().cpu().numpy(),
            }
        )


def agreement(
    token_ids: npt.NDArray[np.int64], stems: list[str | None], words: frozenset[str]
) -> float:
    """Give the share of tokens whose stem is among words."""
    ids, counts = np.unique(token_ids, return_counts=True)
    hits = sum(int(n) for id_, n in zip(ids, counts, strict=True) if stems[id_] in words)
    return hits / len(token_ids)


def _agreements(
    context: ExperimentContext,
    contents: Contents,
    tokens: pa.Table,
    stems: list[str | None],
    image_ids: npt.NDArray[np.int64],
) -> dict[str, npt.NDArray[np.float64]]:
    """Give every image's agreement, by arm."""
    ids, decoded, random = (
        tokens[name].to_numpy() for name in ("image_id", "token_id", _RANDOM_COLUMN)
    )
    other = another_of_each(len(image_ids), context.random(10))
    found: dict[str, list[float]] = {PATCHES: [], RANDOM: [], OTHER: []}
    for row, image_id in enumerate(image_ids):
        at = slice(*np.searchsorted(ids, [image_id, image_id + 1]))
        own = contents.caption_stems_of[int(image_id)]
        others = contents.caption_stems_of[int(image_ids[other[row]])]
        found[PATCHES].append(agreement(decoded[at], stems, own))
        found[RANDOM].append(agreement(random[at], stems, own))
        found[OTHER].append(agreement(decoded[at], stems, others))
    return {arm: np.array(values) for arm, values in found.items()}


def _figures(
    arms: dict[str, npt.NDArray[np.float64]],
    figure: str,
    measure: str,
    seed: int,
    about: str = "",
) -> Iterator[Figure]:
    """Compare projected patches, the first arm, with each of the others."""
    p = {arm: paired_p(arms[PATCHES], values, seed=seed) for arm, values in arms.items()}
    for arm, values in arms.items():
        is_own = arm == PATCHES
        yield estimated(
            mean_estimate(values, seed=seed),
            figure=figure,
            measure=measure,
            arm=arm,
            control=RANDOM if is_own else PATCHES,
            p_value=p[RANDOM] if is_own else p[arm],
            note=" ".join(filter(None, (_P_NOTE, about))),
        )
    for arm in [name for name in arms if name != PATCHES]:
        test = kolmogorov_smirnov(arms[PATCHES], arms[arm])
        yield Figure(
            figure=f"{figure}: {DISTANCE}",
            measure="Kolmogorov-Smirnov D",
            value=test.distance,
            n=len(arms[arm]),
            arm=PATCHES,
            part=f"against {arm}",
            p_value=test.p,
            note="Two-sided; the paper prints D = .037, p > .5 for CLIPScore.",
        )


def _model_figures(
    context: ExperimentContext,
    contents: Contents,
    tokens: pa.Table,
    image_ids: npt.NDArray[np.int64],
) -> Iterator[Figure]:
    """Score the tokens with the models that are at hand, and say which are not."""
    texts = vocabulary_table(context.captioner.tokenizer)["token"].to_pylist()
    ids, decoded, random = (
        tokens[name].to_numpy() for name in ("image_id", "token_id", _RANDOM_COLUMN)
    )
    for name, scorer in find_scorers(context.score_models, context.device).items():
        if isinstance(scorer, str):
            yield left_out(name, scorer)
            continue
        found: dict[str, list[float]] = {PATCHES: [], RANDOM: [], NOUNS: []}
        for image_id in image_ids.tolist():
            at = slice(*np.searchsorted(ids, [image_id, image_id + 1]))
            captions = contents.captions_of[image_id]
            reference = scorer.reference(context, image_id, captions)
            chosen = context.random(image_id, 21).permutation((at.stop - at.start) // N_NEAREST)
            for arm, column in ((PATCHES, decoded[at]), (RANDOM, random[at])):
                rows = column.reshape(-1, N_NEAREST)[chosen[:N_SCORED]]
                phrases = [" ".join(texts[i].strip() for i in row) for row in rows.tolist()]
                found[arm].append(float(scorer.score(phrases, reference).mean()))
            if nouns := caption_nouns(captions):
                found[NOUNS].append(float(scorer.score([" ".join(nouns)], reference)[0]))
        arms = {arm: np.array(found[arm]) for arm in (PATCHES, RANDOM)}
        seed = context.settings.seed
        yield from _figures(arms, name, "score", seed, scorer.about)
        yield estimated(
            mean_estimate(found[NOUNS], seed=seed),
            figure=name,
            measure="score",
            arm=NOUNS,
            note=f"The {N_NEAREST} nouns that an image's captions have most often. {scorer.about}",
        )


def caption_nouns(captions: Sequence[str]) -> list[str]:
    """Give the N_NEAREST nouns that captions have most often, the first ones where they tie."""
    nouns = Counter(
        word.text.lower()
        for caption in captions
        for word in lexicon_words(caption)
        if word.part_of_speech == "noun"
    )
    return [noun for noun, _ in nouns.most_common(N_NEAREST)]


def _ceiling(context: ExperimentContext, contents: Contents) -> Iterator[Figure]:
    """Hold the names of an image's categories to its captions."""
    values = []
    for image_id in context.sample.tolist():
        categories = contents.categories_of.get(image_id, frozenset())
        captions = contents.captions_of.get(image_id, [])
        if categories and captions:
            named = contents.lists.named_in(" . ".join(captions), categories)
            values.append(len(named) / len(categories))
    yield estimated(
        mean_estimate(values, seed=context.settings.seed),
        figure="categories of the image that its captions name",
        measure="share",
        arm="names of the categories",
        note="What agreement is like where there is some."
        if values
        else "No image has categories.",
    )


ADAPTER_CONTROL = Experiment(
    name="adapter_control",
    title="Does the adapter alone translate pictures into words?",
    run=run_adapter_control,
    tables=(TABLE,),
    settings=lambda context: {
        "n_nearest": N_NEAREST,
        "n_scored": N_SCORED,
        "score_models": folder_hashes(context.score_models),
        **word_settings(context),
    },
)
