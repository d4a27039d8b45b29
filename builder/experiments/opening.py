"""Open a finished run for its experiments: the same captioner, the same photographs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from atlas_db.errors import RunError
from atlas_db.run_format import DATASET_SCHEMAS
from builder.batch_size import measured_batch_size
from builder.captioner import Captioner, load_captioner
from builder.coco import CocoDataset
from builder.experiments.context import FinishedRun
from builder.experiments.passes import Passes
from builder.language_model import LanguageModel
from builder.manifest import captioner_entry


def find_captioner(
    run: FinishedRun, source: str | Captioner | None, *, device: str
) -> tuple[Captioner, LanguageModel]:
    """Load the captioner that a run was built with, in the same arithmetic, on any device.

    Args:
        source: Its folder or preset, or itself, already loaded; None takes where it was at the
            time.
        device: Not asked where it is already loaded.

    Raises:
        RunError: The run does not say where it was, or this is another one.
        CaptionerError: It cannot be loaded.
    """
    source = source or run.manifest.get("sources", {}).get("captioner")
    if not source:
        raise RunError(
            f"{run.path} does not say where its captioner lies. Name it: --captioner DIR|PRESET."
        )
    wanted = run.manifest["captioner"]
    if isinstance(source, Captioner):
        captioner, name = source, source.config.name
    else:
        captioner = load_captioner(source, device=device, dtype=wanted["dtype"])
        name = source
    model = LanguageModel(captioner.model)
    found = json.loads(json.dumps(captioner_entry(captioner, model)))
    different = _different(wanted, found)
    if different:
        raise RunError(
            f"the captioner {name!r} is not the one that {run.path} was built with: "
            f"{', '.join(different)} differ. Name that one with --captioner."
        )
    return captioner, model


def choose_batch_size(captioner: Captioner, model: LanguageModel) -> int:
    """Measure how many images the device holds in one pass that attributes to every unit."""
    passes = Passes(captioner, model)
    n_patch, width = captioner.config.n_patch, captioner.d_model

    def probe(n: int) -> None:
        noise = torch.randn(n, n_patch, width, device=captioner.device, dtype=captioner.dtype)
        passes.unit_attributions(noise)

    return measured_batch_size(probe, captioner.device)


def _different(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Name what differs of two captioners; of a part only its hash counts, not its place."""
    parts = ("language_model", "encoder", "adapter")
    different = [name for name in parts if wanted[name]["sha256"] != found[name]["sha256"]]
    others = sorted((set(wanted) | set(found)) - {*parts, "name", "notice"})
    return different + [name for name in others if wanted.get(name) != found.get(name)]


def find_dataset(run: FinishedRun, folder: Path | None) -> CocoDataset:
    """Give the data set as the run has it, with the folder of its photographs.

    Args:
        folder: COCO's folder; None takes where it was at the time.

    Raises:
        RunError: The run does not say where it was, or the folder is not there.
    """
    known = run.manifest.get("sources", {}).get("dataset")
    folder = folder or (Path(known) if known else None)
    split = run.manifest["dataset"]["split"]
    if folder is None or not (folder / split).is_dir():
        where = "does not say where its photographs lie" if folder is None else "needs them"
        missing = "" if folder is None else f"There is no folder {folder / split}. "
        raise RunError(
            f"{missing}{run.path} {where}. Name the data set's folder, of which {split} is a "
            "part: --coco DIR."
        )
    return CocoDataset(
        name=run.manifest["dataset"]["name"],
        folder=folder,
        split=split,
        tables={name: run.table(name) for name in DATASET_SCHEMAS},
        sha256=run.manifest["dataset"]["sha256"],
        warnings=tuple(run.manifest.get("warnings", ())),
    )
