"""The figures of ablation: by arm and k, averaged over images, against random units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Figure, estimated, left_out
from builder.experiments.intervals import mean_estimate, paired_p

#: Column of a pass's result, the figure's name, and its unit of measure.
MEASURES = (
    ("prob", "p(target)", "share"),
    ("logit_drop", "drop of the target's logit", "logit"),
    ("relative_drop", "relative drop of p(target)", "share"),
)
CHANGED = "captions that change"
ARMS = ("all", "interpretable", "without always-on", "random", "other image")

#: By image_id, the value of an arm at a k, averaged over its draws.
ByImage = dict[int, float]


def ablation_figures(
    table: pa.Table, ks: Sequence[int], context: ExperimentContext
) -> list[Figure]:
    """Average the table `ablations` over images: figures of every arm and k."""
    seed = context.settings.seed
    before = table.filter(pc.equal(table["k"], 0))
    n_images = before.num_rows
    logits = _by_image(before, "logit")
    figures = [
        estimated(
            mean_estimate(before["prob"].to_numpy(), seed=seed),
            figure="p(target)", measure="share", arm="none", k=0,
        )
    ]  # fmt: skip
    for arm in ARMS:
        for k in ks:
            rows = table.filter(pc.and_(pc.equal(table["arm"], arm), pc.equal(table["k"], k)))
            if rows.num_rows == 0:
                figures.append(_none(arm, k))
                continue
            random = _random(table, k)
            found = {
                "prob": _by_image(rows, "prob"),
                "logit_drop": _drops(_by_image(rows, "logit"), logits),
                "relative_drop": _by_image(rows, "relative_drop"),
            }
            note = _fewer(len(found["prob"]), n_images, k)
            for column, figure, measure in MEASURES:
                is_compared = column == "relative_drop" and arm != "random" and bool(random)
                figures.append(
                    estimated(
                        mean_estimate(list(found[column].values()), seed=seed),
                        figure=figure, measure=measure, arm=arm, k=k, note=note,
                        control="" if arm == "random" else "random",
                        p_value=_p(found[column], random, seed) if is_compared else None,
                    )
                )  # fmt: skip
            figures += _changed(rows, before, arm, k, seed)
    return figures


def _none(arm: str, k: int) -> Figure:
    reason = {
        "interpretable": f"No image has {k} interpretable units with an attribution above 0.",
        "random": f"No image has {k} other units in the layers of its top units.",
        "other image": f"No two images of the sample have different targets and {k} top units.",
    }.get(arm, f"No image has {k} units with an attribution above 0.")
    return left_out(f"relative drop of p(target), k = {k}", reason, arm=arm)


def _fewer(n: int, n_images: int, k: int) -> str:
    if n == n_images:
        return ""
    return f"{n_images - n} of {n_images} images have fewer than {k} such units and are left out."


def _by_image(rows: pa.Table, column: str) -> ByImage:
    """Average a column over the draws of each image."""
    ids, row = np.unique(rows["image_id"].to_numpy(), return_inverse=True)
    values = rows[column].to_numpy().astype(np.float64)
    means = np.bincount(row, weights=values) / np.bincount(row)
    return dict(zip(ids.tolist(), means.tolist(), strict=True))


def _random(table: pa.Table, k: int) -> ByImage:
    rows = table.filter(pc.and_(pc.equal(table["arm"], "random"), pc.equal(table["k"], k)))
    return _by_image(rows, "relative_drop") if rows.num_rows else {}


def _drops(after: ByImage, before: ByImage) -> ByImage:
    return {image_id: before[image_id] - logit for image_id, logit in after.items()}


def _p(found: ByImage, random: ByImage, seed: int) -> float | None:
    """Test on the images that both have whether the drop is greater than that of random units."""
    both = sorted(set(found) & set(random))
    p = paired_p([found[i] for i in both], [random[i] for i in both], seed=seed)
    return p if np.isfinite(p) else None


def _changed(rows: pa.Table, before: pa.Table, arm: str, k: int, seed: int) -> Iterator[Figure]:
    """Count the captions that are others than those of the untouched model."""
    new = rows.filter(pc.is_valid(rows["caption"]))
    if new.num_rows == 0:
        return
    was = dict(zip(before["image_id"].to_pylist(), before["caption"].to_pylist(), strict=True))
    pairs = zip(new["image_id"].to_pylist(), new["caption"].to_pylist(), strict=True)
    is_other: npt.NDArray[np.float64] = np.array([text != was[i] for i, text in pairs], float)
    estimate = mean_estimate(is_other, seed=seed)
    yield estimated(
        estimate, figure=CHANGED, measure="share", arm=arm, k=k,
        control="" if arm == "random" else "random",
    )  # fmt: skip
