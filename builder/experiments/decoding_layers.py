"""What top units say, layer by layer: of an image's first units, those of one layer.

For each layer, over the images that have one of their first units in it: the share of these that
say something that is in the picture, beside

- random units: the share of all the layer's units outside of the image's top 100 that do (exact,
  nothing is drawn);
- units of another image: of its first units in this layer, the share that say what is in this one.

Layers with too few such images are left out (`builder.experiments.by_layer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from builder.experiments.by_layer import MIN_IMAGES, arm_figures, too_few
from builder.experiments.experiment import Figure

FIGURE = "units among the top five, of one layer, that say something"

Uids = npt.NDArray[np.int64]
#: By layer and arm, one value for each image that has such units.
Shares = dict[int, dict[str, list[float]]]


def layer_shares(
    tops: Mapping[int, Uids],
    other: Sequence[int],
    says: Callable[[int], npt.NDArray[np.bool_]],
    *,
    n_first: int,
    d_mlp: int,
) -> Shares:
    """Answer for every image and every layer of its first units.

    Args:
        tops: By image, its top 100 units, by falling attribution.
        other: For each of these images, the row of another one.
        says: Gives for an image which of all units say something that is in it, (n_units,).
        n_first: How many of the top units are looked at.
        d_mlp: Units of a layer.
    """
    ids = list(tops)
    found: Shares = {}
    for row, image_id in enumerate(ids):
        does = says(image_id)
        top = tops[image_id]
        beside = tops[ids[other[row]]][:n_first]
        for layer in np.unique(top[:n_first] // d_mlp).tolist():
            arms = found.setdefault(layer, {"top": [], "random": [], "other": []})
            arms["top"].append(float(does[_of_layer(top[:n_first], layer, d_mlp)].mean()))
            rest = does[layer * d_mlp : (layer + 1) * d_mlp].copy()
            rest[_of_layer(top, layer, d_mlp) - layer * d_mlp] = False
            n_rest = d_mlp - len(_of_layer(top, layer, d_mlp))
            arms["random"].append(rest.sum() / n_rest if n_rest else float("nan"))
            others = _of_layer(beside, layer, d_mlp)
            arms["other"].append(float(does[others].mean()) if len(others) else float("nan"))
    return found


def _of_layer(uid: Uids, layer: int, d_mlp: int) -> Uids:
    return uid[uid // d_mlp == layer]


def layer_figures(
    shares: Shares,
    part: str,
    names: Mapping[str, str],
    *,
    n_layers: int,
    seed: int,
    min_images: int = MIN_IMAGES,
) -> Iterator[Figure]:
    """Average over images: figures of every layer that has top units in enough of them."""
    for layer, arms in sorted(shares.items()):
        yield from arm_figures(
            {names[arm]: np.array(values) for arm, values in arms.items()},
            figure=FIGURE,
            measure="share",
            part=part,
            layer=layer,
            seed=seed,
            min_images=min_images,
        )
    counts = {layer: len(arms["top"]) for layer, arms in shares.items()}
    yield from too_few(
        FIGURE, "one of their top five units", counts, n_layers, min_images, part=part
    )
