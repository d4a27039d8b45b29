"""Figures layer by layer: over the images that have one of their top units in the layer.

Of such an image, the figure is of its top units in that layer alone, and beside it stand controls
of the same layer. A layer in which fewer than MIN_IMAGES images have such a unit is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from builder.experiments.experiment import Figure, estimated, left_out
from builder.experiments.intervals import mean_estimate, paired_p

#: Of a layer; fewer say nothing of it.
MIN_IMAGES = 10


def arm_figures(
    arms: Mapping[str, npt.NDArray[np.float64]],
    *,
    figure: str,
    measure: str,
    layer: int,
    seed: int,
    part: str = "",
    k: int | None = None,
    min_images: int = MIN_IMAGES,
) -> Iterator[Figure]:
    """Average each arm over images, with its test against the top units.

    Args:
        arms: By name, a value for each image, nan where it has none; all (n_images,). The first
            are the top units, the second their control.
        figure, measure, layer, part, k: Of the figures.
        seed: Of resampling.
        min_images: An arm of which fewer images have a value is left out.
    """
    names = list(arms)
    top = arms[names[0]]
    for name, values in arms.items():
        is_known = ~np.isnan(values)
        if is_known.sum() < min_images:
            continue
        is_top = name == names[0]
        control = names[1] if is_top else names[0]
        against = arms[control] if is_top else values
        both = ~(np.isnan(top) | np.isnan(against))
        p = paired_p(top[both], against[both], seed=seed)
        yield estimated(
            mean_estimate(values[is_known], seed=seed),
            figure=figure,
            measure=measure,
            arm=name,
            part=part,
            layer=layer,
            k=k,
            control=control,
            p_value=None if np.isnan(p) else p,
            note="Over images with such a unit in the layer." if is_top else "",
        )


def too_few(
    figure: str,
    what: str,
    counts: Mapping[int, int],
    n_layers: int,
    min_images: int = MIN_IMAGES,
    *,
    part: str = "",
) -> Iterator[Figure]:
    """Say which layers are left out: those in which fewer than `min_images` images have `what`."""
    few = [str(layer) for layer in range(n_layers) if counts.get(layer, 0) < min_images]
    if few:
        reason = f"Fewer than {min_images} images have {what} in layer {', '.join(few)}."
        yield left_out(figure, reason, part=part)
