"""The manifest of a new run: what is built, of what, and with which versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from atlas_db.errors import RunError
from atlas_db.run_format import RUN_FORMAT, RUN_VERSION
from builder.captioner import Captioner
from builder.coco import CocoDataset
from builder.language_model import LanguageModel
from builder.settings import BuildSettings, Execution

FORMULA = "g(k, c, p) = Z_k^p * d y^c / d Z_k^p"


def new_manifest(
    captioner: Captioner,
    model: LanguageModel,
    dataset: CocoDataset,
    settings: BuildSettings,
    execution: Execution,
) -> dict[str, Any]:
    """Describe a run of which no shard is there yet. Reads every weight file, to hash it."""
    config = captioner.config
    return {
        "format": RUN_FORMAT,
        "version": RUN_VERSION,
        "name": f"{config.name} on {dataset.name} {dataset.split}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": execution.command,
        "is_random": config.is_random,
        "sources": _sources(dataset, execution),
        "captioner": captioner_entry(captioner, model),
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "n_images": dataset.tables["images"].num_rows,
            "sha256": dict(dataset.sha256),
        },
        "warnings": list(dataset.warnings),
        "settings": {
            **asdict(settings),
            "images_per_shard": settings.shard_size(model.n_units),
            "max_new_tokens": config.max_new_tokens,
            "formula": FORMULA,
        },
        "model": {
            "n_layers": model.n_layers,
            "units_per_layer": model.d_mlp,
            "d_model": model.d_model,
            "d_vocab": model.d_vocab,
            "is_gated": model.architecture.is_gated,
            **_negative(model),
            "grid_rows": config.grid[0],
            "grid_columns": config.grid[1],
        },
        "versions": versions(),
        "n_images": 0,
        "is_complete": False,
        "shards": [],
        "skipped": [],
    }


def _negative(model: LanguageModel) -> dict[str, int]:
    """Say how many negative exemplars there are; nothing where there is none."""
    n_negative = model.architecture.n_negative_exemplars
    return {"n_negative_exemplars": n_negative} if n_negative else {}


def _sources(dataset: CocoDataset, execution: Execution) -> dict[str, str]:
    """Say where captioner and photographs were found on this machine; no part of the identity."""
    captioner = execution.captioner_source
    if captioner and Path(captioner).expanduser().is_dir():
        captioner = str(Path(captioner).expanduser().resolve())
    return {"captioner": captioner, "dataset": str(dataset.folder.resolve())}


def captioner_entry(captioner: Captioner, model: LanguageModel) -> dict[str, Any]:
    """Describe a captioner: how it reads, and its parts with their hashes."""
    config = captioner.config
    hashes = captioner.part_hashes()
    parts = {name: {**asdict(getattr(config, name)), "sha256": hashes[name]} for name in hashes}
    return {
        "name": config.name,
        **parts,
        "notice": config.notice,
        "prompt": config.prompt,
        **({"reply": config.reply} if config.reply else {}),
        "bos": config.bos,
        "image_px": config.image_px,
        "geometry": config.geometry,
        "interpolation": config.interpolation,
        "mean": list(config.mean),
        "std": list(config.std),
        "dtype": str(captioner.dtype).removeprefix("torch."),
        "family": model.architecture.family,
        "activation_function": model.activation_function,
    }


def versions() -> dict[str, str]:
    """Give the versions that a result may depend on."""
    try:
        own = metadata.version("neuron-atlas")
    except metadata.PackageNotFoundError:
        own = "not installed"  # run from a clone
    packages = ("torch", "transformers", "timm", "pillow", "pyarrow", "numpy")
    return {
        "neuron-atlas": own,
        **{name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
    }


def check_images_read(manifest: Mapping[str, Any]) -> None:
    """Refuse a run in which no image could be read.

    Raises:
        RunError: Every image was skipped.
    """
    if manifest["n_images"] == 0:
        first = manifest["skipped"][0] if manifest["skipped"] else {}
        raise RunError(
            f"none of the {len(manifest['skipped'])} images could be read; the first, "
            f"{first.get('file')}: {first.get('reason')}. Check the data set's folder."
        )
