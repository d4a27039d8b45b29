"""Agreement of units with images by a model that scores texts: BERTScore, CLIPScore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from builder.experiments.contents import Contents
from builder.experiments.context import ExperimentContext, promoted_texts
from builder.experiments.score_models import Scorer

Uids = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairing:
    """The images with captions and units, and the units of each and of its random partner.

    Attributes:
        image_id: (n,) ascending.
        units: The units of each.
        other: (n,): the row of the image whose units are its random pair; each row once.
    """

    image_id: npt.NDArray[np.int64]
    units: list[Uids]
    other: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class UnitScores:
    """Of units (n,): mean over the images in whose top 100 they are, and over others."""

    uid: Uids
    n_images: npt.NDArray[np.int64]
    own: Array
    random: Array


@dataclass(frozen=True, slots=True)
class ModelScores:
    """The greatest score of each image's own units, of its random pair, of its caption; by unit."""

    by_image: tuple[Array, Array, Array]
    units: UnitScores


def model_scores(
    context: ExperimentContext, contents: Contents, pairing: Pairing, scorer: Scorer
) -> ModelScores:
    """Score every image with its own units, with its random pair's, and with its caption."""
    texts = unit_texts(context, pairing)
    captions: list[float] = []
    own: list[Array] = []
    random: list[Array] = []
    for row, image_id in enumerate(pairing.image_id.tolist()):
        reference = scorer.reference(context, image_id, contents.captions_of[image_id])
        for found, units in (
            (own, pairing.units[row]),
            (random, pairing.units[pairing.other[row]]),
        ):
            found.append(scorer.score([texts[int(unit)] for unit in units], reference))
        captions.append(float(scorer.score([contents.generated_of[image_id]], reference)[0]))
        context.progress(f"score with {scorer.name}", row + 1, len(pairing.image_id))
    greatest = [np.array([scores.max() for scores in arm]) for arm in (own, random)]
    return ModelScores(
        (greatest[0], greatest[1], np.array(captions)), _by_unit(pairing, own, random)
    )


def _by_unit(pairing: Pairing, own: list[Array], random: list[Array]) -> UnitScores:
    """Average scores by unit; a unit has as many random pairs as it has images."""
    uid = np.concatenate(pairing.units)
    paired = np.concatenate([pairing.units[row] for row in pairing.other])
    units, own_row, counts = np.unique(uid, return_inverse=True, return_counts=True)
    random_row = np.searchsorted(units, paired)
    sums = [
        np.bincount(at, weights=np.concatenate(scores))
        for at, scores in ((own_row, own), (random_row, random))
    ]
    return UnitScores(units, counts, sums[0] / counts, sums[1] / counts)


def unit_texts(context: ExperimentContext, pairing: Pairing) -> Mapping[int, str]:
    """Write each unit as a text: its promoted tokens, most probable first, with spaces between."""
    rows, tokens = promoted_texts(context.run)
    uid, token_id = (column.to_numpy() for column in rows.columns)
    keep = np.isin(uid, np.unique(np.concatenate(pairing.units)))
    texts: dict[int, list[str]] = {}
    for unit, token in zip(uid[keep].tolist(), token_id[keep].tolist(), strict=True):
        texts.setdefault(unit, []).append(tokens[token].strip())
    return {unit: " ".join(filter(None, words)) for unit, words in texts.items()}
