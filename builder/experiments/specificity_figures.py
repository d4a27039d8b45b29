"""Averages of overlaps: over images for the report, by unit and category for their pages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.by_layer import MIN_IMAGES as MIN_LAYER_IMAGES
from builder.experiments.by_layer import arm_figures, too_few
from builder.experiments.experiment import Figure, estimated, left_out
from builder.experiments.intervals import false_discovery_q, mean_estimate, paired_p
from builder.experiments.overlap import iou_bound
from builder.experiments.words import WordLists

#: A category with fewer images has no figures of its own.
MIN_IMAGES = 5
SINGLE = "images of one object"
BETTER = "categories whose top units overlap better than random units"
_ARM_NAMES = {"top": "top units", "random": "random units", "other": "units of another image"}
_KINDS = {"own": "IoU", "unit": "IoU at the unit's threshold"}

Columns = dict[str, npt.NDArray[np.float64]]


def figures(rows: pa.Table, lists: WordLists, *, n_sample: int, seed: int) -> list[Figure]:
    """Give the report's figures.

    Args:
        rows: Overlaps, one row for each image and top unit, with its controls beside it.
        lists: Names the categories.
        n_sample: Images of the sample, to say how many were left out.
        seed: Of resampling.
    """
    images = by_image(rows)
    n_images = len(images["image_id"])
    note = (
        f"Over {n_images} of {n_sample} images: those whose target word names a category that is "
        "annotated in them. p by permutation of signs."
    )
    found = list(_of_part(images, "", seed, note))
    single = _choose(images, images["is_single"] > 0)
    if len(single["image_id"]) >= MIN_IMAGES:
        found += _of_part(single, SINGLE, seed, "Images with exactly one annotated thing.")
    else:
        found.append(left_out("IoU", f"Fewer than {MIN_IMAGES} images.", part=SINGLE))
    return found + list(_of_categories(images, lists, seed))


def layer_figures(rows: pa.Table, n_layers: int, d_mlp: int, seed: int) -> Iterator[Figure]:
    """Give the overlaps of each layer's units among the top ones, over the images that have some.

    A random unit is of its top unit's layer. Layers with too few such images have no figures.
    """
    layers = rows["uid"].to_numpy() // d_mlp
    counts: dict[int, int] = {}
    for layer in np.unique(layers).tolist():
        images = by_image(rows.filter(pa.array(layers == layer)))
        counts[layer] = len(images["image_id"])
        if counts[layer] < MIN_LAYER_IMAGES:
            continue
        for kind, figure in _KINDS.items():
            yield from arm_figures(
                {_ARM_NAMES[arm]: images[f"{arm}_{kind}"] for arm in ("top", "random")},
                figure=figure,
                measure="IoU",
                layer=layer,
                seed=seed,
            )
    yield from too_few("IoU", "one of their top units", counts, n_layers)


def by_image(rows: pa.Table) -> Columns:
    """Average the units of each image; columns are sorted by image."""
    values = [name for name in rows.column_names if name.startswith(("top_", "random_", "other_"))]
    table = rows.group_by("image_id").aggregate(
        [("category_id", "min"), ("is_single", "max"), ("object_share", "mean")]
        + [(name, "mean") for name in values]
    )
    table = table.sort_by("image_id")
    names = {"category_id_min": "category_id", "is_single_max": "is_single"}
    return {
        names.get(name, name.removesuffix("_mean")): _floats(table[name])
        for name in table.column_names
    }


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return (
        column.cast(pa.int8() if pa.types.is_boolean(column.type) else column.type)
        .to_numpy(zero_copy_only=False)
        .astype(np.float64)
    )


def _choose(images: Columns, keep: npt.NDArray[np.bool_]) -> Columns:
    return {name: column[keep] for name, column in images.items()}


def _of_part(images: Columns, part: str, seed: int, note: str) -> Iterator[Figure]:
    for kind, figure in _KINDS.items():
        for arm, name in _ARM_NAMES.items():
            values = images[f"{arm}_{kind}"]
            against = images[f"{'random' if arm == 'top' else arm}_{kind}"]
            p = paired_p(*_known(images[f"top_{kind}"], against), seed=seed)
            yield estimated(
                mean_estimate(values[~np.isnan(values)], seed=seed),
                figure=figure,
                measure="IoU",
                arm=name,
                part=part,
                control=_ARM_NAMES["random" if arm == "top" else "top"],
                p_value=None if np.isnan(p) else p,
                note=note if arm == "top" else "p: whether the top units' is greater.",
            )
    share = images["object_share"]
    bound = np.array([iou_bound(value) for value in share])
    for values, figure, remark in (
        (share, "object's share of the view", ""),
        (bound, "greatest IoU possible", "min(a, .05) / max(a, .05), a the object's share."),
    ):
        yield estimated(
            mean_estimate(values, seed=seed), figure=figure, measure="share", part=part, note=remark
        )


def _known(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    keep = ~(np.isnan(first) | np.isnan(second))
    return first[keep], second[keep]


def _of_categories(images: Columns, lists: WordLists, seed: int) -> Iterator[Figure]:
    """Give the categories' figures, those of most single-object images first."""
    ids, counts = np.unique(images["category_id"], return_counts=True)
    parts = {int(id_): _choose(images, images["category_id"] == id_) for id_ in ids}
    n_single = {id_: int(part["is_single"].sum()) for id_, part in parts.items()}
    large = [int(id_) for id_, n in zip(ids, counts, strict=True) if n >= MIN_IMAGES]
    large.sort(key=lambda id_: (-n_single[id_], id_))
    pairs = [_known(parts[id_]["top_own"], parts[id_]["random_own"]) for id_ in large]
    q = false_discovery_q([paired_p(*pair, seed=seed) for pair in pairs])
    yield Figure(
        figure=BETTER,
        measure="categories",
        value=float((q < 0.05).sum()),
        n=len(large),
        note=f"q < .05 (Benjamini and Hochberg); categories of {MIN_IMAGES} images or more.",
    )
    for id_, q_value in zip(large, q, strict=True):
        yield from _of_category(parts[id_], lists.by_id[id_].name, q_value, seed)
    few = sorted(lists.by_id[int(id_)].name for id_ in ids if int(id_) not in large)
    if few:
        reason = f"Fewer than {MIN_IMAGES} images: {', '.join(few)}."
        yield left_out("IoU", reason, part=f"{len(few)} more categories")
    known = set(ids.tolist())
    never = sorted(of.name for id_, of in lists.by_id.items() if id_ not in known)
    if never:
        reason = f"No image's target word names one that is annotated in it: {', '.join(never)}."
        yield left_out("IoU", reason, part=f"{len(never)} categories without images")


def _of_category(images: Columns, name: str, q: float, seed: int) -> Iterator[Figure]:
    bound = np.mean([iou_bound(share) for share in images["object_share"]])
    note = (
        f"Object share {images['object_share'].mean():.3f}, greatest IoU possible {bound:.3f}, "
        f"{int(images['is_single'].sum())} images of one object; p is adjusted (q)."
    )
    for arm in ("top", "random"):
        values = images[f"{arm}_own"]
        yield estimated(
            mean_estimate(values[~np.isnan(values)], seed=seed),
            figure="IoU",
            measure="IoU",
            arm=_ARM_NAMES[arm],
            part=name,
            control=_ARM_NAMES["random"] if arm == "top" else "",
            p_value=float(q) if arm == "top" and not np.isnan(q) else None,
            note=note if arm == "top" else "",
        )


def unit_table(rows: pa.Table) -> pa.Table:
    """Average over the images of each unit: the table `unit_masks`."""
    return _aggregate(rows, ["uid"], "unit_masks")


def category_table(rows: pa.Table) -> pa.Table:
    """Average over the images of each unit and category: the table `unit_category_masks`."""
    return _aggregate(rows, ["uid", "category_id"], "unit_category_masks")


def _aggregate(rows: pa.Table, keys: list[str], name: str) -> pa.Table:
    bound = [iou_bound(share) for share in rows["object_share"].to_pylist()]
    rows = rows.append_column("iou_bound", pa.array(bound, pa.float64()))
    # A layer with too few others has no random unit: its overlap counts as none.
    rows = rows.append_column("random", pc.fill_null(rows["random_own"], 0.0))
    found = rows.group_by(keys).aggregate(
        [("image_id", "count")]
        + [(n, "mean") for n in ("top_own", "top_unit", "object_share", "iou_bound", "random")]
    )
    columns = {
        **{key: found[key] for key in keys},
        "n_images": found["image_id_count"],
        "iou": found["top_own_mean"],
        "iou_unit_threshold": found["top_unit_mean"],
        "object_share": found["object_share_mean"],
        "iou_bound": found["iou_bound_mean"],
        "random_iou": found["random_mean"],
    }
    schema = EXPERIMENT_SCHEMAS[name]
    table = pa.table(columns).select(schema.names).cast(schema)
    return table.sort_by([(key, "ascending") for key in keys])
