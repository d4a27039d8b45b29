"""Printed captions, masks and ablations of single images beside ours, on the same images.

The images are looked at here, whether or not the report's sample has them.

- Masks: IoU of the printed units' heatmaps with the mask of the category that the target names,
  and of the mean of their heatmaps (`mean_mask_iou`). Where the target names none that is
  annotated, the image's only category stands for it.
- Ablation: the image's top k units are zeroed and the caption is generated anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from atlas_db.records import unit_name
from builder.experiments.contents import Contents, Mask, ViewMasks, contents_of
from builder.experiments.context import ExperimentContext, PatchBatch
from builder.experiments.overlap import iou, iou_bound, own_threshold, upsample
from builder.experiments.passes import Passes
from builder.experiments.rankings import top_units, uid_tensor
from builder.experiments.replication_rows import Row, missing, numbers, row, texts

#: Printed IoUs have two digits; interpolation and the edge of a mask are not said.
IOU_TOLERANCE = 0.05
CAPTIONS, ABLATED, MASKS = "captions", "captions under ablation", "masks"
_NOT_READ = "The image is not in the run."

Entry = Mapping[str, Any]


def caption_rows(context: ExperimentContext, printed: Sequence[Entry]) -> Iterator[Row]:
    """Compare the printed captions with the run's."""
    captions = context.run.table("captions", ["image_id", "caption"])
    ours = dict(zip(*(column.to_pylist() for column in captions.columns), strict=True))
    for entry in printed:
        item = f"image {entry['coco_id']}"
        if entry["coco_id"] in ours:
            yield texts(CAPTIONS, item, entry["caption"], ours[entry["coco_id"]])
        else:
            yield missing(CAPTIONS, item, entry["caption"], _NOT_READ)


def ablated_rows(context: ExperimentContext, printed: Sequence[Entry]) -> Iterator[Row]:
    """Zero the top k units of the printed images, and compare the captions."""
    passes = Passes(context.captioner, context.model)
    by_id = {entry["coco_id"]: entry["captions"] for entry in printed}
    found: dict[tuple[int, int], str] = {}
    for batch in _batches(context, [*by_id]):
        found |= _ablate(passes, batch, by_id)
    read = set(context.run.image_ids.tolist())
    for image_id, captions in by_id.items():
        for k, wanted in captions.items():
            item = f"image {image_id}, k = {k}"
            if (ours := found.get((image_id, int(k)))) is not None:
                yield texts(ABLATED, item, wanted, ours)
            elif image_id not in read:
                yield missing(ABLATED, item, wanted, _NOT_READ)
            else:
                why = f"Its caption has no target, or fewer than {k} units add to it."
                yield missing(ABLATED, item, wanted, why)


def _ablate(
    passes: Passes, batch: PatchBatch, wanted: Mapping[int, Mapping[str, str]]
) -> dict[tuple[int, int], str]:
    """Give the new captions of a batch by image and k."""
    captions, attribution = passes.unit_attributions(batch.patches)
    is_ranked = torch.ones_like(attribution[0], dtype=torch.bool)
    ks = sorted({int(k) for image_id in batch.image_ids.tolist() for k in wanted[image_id]})
    tops = top_units(attribution, is_ranked, ks[-1])
    found: dict[tuple[int, int], str] = {}
    for k in ks:
        uid = uid_tensor([top[:k] for top in tops], attribution.device)
        _, _, new = passes.zeroed(batch.patches, captions, uid, regenerate=True)
        for image_id, target, top, text in zip(
            batch.image_ids.tolist(), captions.targets, tops, new or [], strict=True
        ):
            if target is not None and len(top) >= k:
                found[image_id, k] = text
    return found


def mask_rows(context: ExperimentContext, printed: Sequence[Entry]) -> Iterator[Row]:
    """Compare the printed units' IoUs, and that of their mean heatmap, image by image."""
    contents = contents_of(context)
    by_id = {entry["coco_id"]: entry for entry in printed}
    known = {i: mask_category(contents, i) for i in by_id}
    read = sorted(set(by_id) & set(context.run.image_ids.tolist()))
    masks = ViewMasks(context, np.array(read, dtype=np.int64))
    targets = {i: masks.get(i, c) for i in read if (c := known[i]) is not None}
    found = _mask_ious(context, by_id, targets)
    for image_id, entry in by_id.items():
        wanted = [*(unit["iou"] for unit in entry["units"]), entry["mean_mask_iou"]]
        names = [unit_name(unit["layer"], unit["unit"]) for unit in entry["units"]]
        items = [f"image {image_id}, IoU of {name}" for name in (*names, "their mean heatmap")]
        target = targets.get(image_id)
        if image_id in found and target is not None:
            about = _about(contents, known[image_id], target)
            for item, value, ours in zip(items, wanted, found[image_id], strict=True):
                yield numbers(MASKS, item, value, ours, tolerance=IOU_TOLERANCE, note=about)
            continue
        why = _NOT_READ if image_id not in read else "No mask is known of what its target names."
        for item, value in zip(items, wanted, strict=True):
            yield missing(MASKS, item, f"{value:g}", why)


def mask_category(contents: Contents, image_id: int) -> int | None:
    """Give the category that an image's target names, else its only one, else None."""
    named = contents.target_category(image_id)
    inside = contents.categories_of.get(image_id, frozenset())
    return next(iter(inside)) if named is None and len(inside) == 1 else named


def _about(contents: Contents, category_id: int | None, target: Mask) -> str:
    share = float(target.mean())
    name = contents.lists.by_id[category_id].name if category_id is not None else ""
    return f"Mask of {name}: {share:.3f} of the view, greatest IoU {iou_bound(share):.2f}."


def _mask_ious(
    context: ExperimentContext, by_id: Mapping[int, Entry], targets: Mapping[int, Mask | None]
) -> dict[int, list[float]]:
    """Give for each image the IoUs of its printed units, and last that of their mean heatmap."""
    passes = Passes(context.captioner, context.model)
    found: dict[int, list[float]] = {}
    wanted = [i for i, mask in targets.items() if mask is not None and mask.any()]
    for batch in _batches(context, wanted):
        units = [_uids(context, by_id[i]["units"]) for i in batch.image_ids.tolist()]
        maps = passes.activations(batch.patches, uid_tensor(units, context.device)).float()
        for image_id, uid, of_image in zip(batch.image_ids.tolist(), units, maps, strict=True):
            own = of_image[: len(uid)]
            every = torch.cat([own, own.mean(dim=0, keepdim=True)])
            pixels = upsample(every, context.run.grid, context.captioner.config.image_px)
            target = torch.tensor(targets[image_id], device=pixels.device)
            found[image_id] = iou(pixels > own_threshold(pixels)[:, None, None], target).tolist()
    return found


def found_rows(context: ExperimentContext, printed: Sequence[Entry]) -> Iterator[Row]:
    """Say how many of the units printed with an image are in our top 100 of it."""
    image, uid = (context.run.top_units[name].to_numpy() for name in ("image_id", "uid"))
    read = set(context.run.image_ids.tolist())
    for entry in printed:
        item = f"image {entry['coco_id']}, printed units in our top 100"
        wanted = _uids(context, entry["units"])
        n = len(wanted)
        if entry["coco_id"] not in read:
            yield missing(MASKS, item, f"{n} of {n}", _NOT_READ)
            continue
        n_found = int(np.isin(wanted, uid[image == entry["coco_id"]]).sum())
        yield row(MASKS, item, f"{n} of {n}", f"{n_found} of {n}", n_found == n)


def _uids(context: ExperimentContext, units: Sequence[Entry]) -> npt.NDArray[np.int64]:
    size = context.run.units_per_layer
    return np.array([unit["layer"] * size + unit["unit"] for unit in units], dtype=np.int64)


def _batches(context: ExperimentContext, image_ids: Sequence[int]) -> Iterator[PatchBatch]:
    """Read those of the images that are in the run."""
    known = sorted(set(image_ids) & set(context.run.image_ids.tolist()))
    if known:
        yield from context.batches(known)
