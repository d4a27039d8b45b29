"""Encoder features for batches of pairs: from memory, from a cache on disk, or made as they come.

All three give the same to the trainer: for each list of indices that it plans, in order, the
features of those images that could be read and which these are.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from atlas_db.errors import CaptionerError, RunError
from atlas_db.run_format import write_json
from builder.captioner_config import CaptionerConfig
from builder.encoders import PatchEncoder
from builder.full_disk import explain_full_disk
from builder.images import normalise
from builder.settings import Progress, no_progress
from builder.training.pairs import PairImages, Pairs, Unread

#: Images of one file of the cache.
_IMAGES_PER_FILE = 512
#: Images that are encoded at once when the cache is filled.
_CACHE_BATCH = 32
_FULL_DISK_ADVICE = (
    "The files of features that are whole are kept: make room, or train without --cache-features, "
    "and give the same command again."
)


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """What became of a list of planned indices.

    Attributes:
        features: (n, n_patch, width), any float type and device.
        positions: Which of the planned indices these are, ascending; n.
        unread: The others.
    """

    features: Tensor
    positions: list[int]
    unread: list[Unread]


class FeatureSource(Protocol):
    """Features and captions of images 0 to n - 1."""

    width: int

    def __len__(self) -> int:
        """Count the images."""

    def captions(self, index: int) -> list[str]:
        """Give an image's captions, at least one."""

    def name(self, index: int) -> str:
        """Give what messages call an image."""

    def batches(self, plan: Iterable[Sequence[int]]) -> Iterator[FeatureBatch]:
        """Give the features of each list of indices, in order."""


class FeaturesInMemory:
    """Frozen features (image, patch, width) of any float type, and each image's captions."""

    def __init__(self, features: Tensor, captions: Sequence[Sequence[str]]) -> None:
        if len(features) != len(captions) or features.ndim != 3:
            raise ValueError(
                "features must be (image, patch, width) with captions for each image, got "
                f"{tuple(features.shape)} and {len(captions)}"
            )
        self.features = features
        self.width = features.shape[-1]
        self._captions = captions

    def __len__(self) -> int:
        return len(self.features)

    def captions(self, index: int) -> list[str]:
        return list(self._captions[index])

    def name(self, index: int) -> str:
        return f"image {index}"

    def batches(self, plan: Iterable[Sequence[int]]) -> Iterator[FeatureBatch]:
        for indices in plan:
            yield FeatureBatch(self.features[list(indices)], list(range(len(indices))), [])


class EncodedPairs:
    """Features that the encoder makes as they are asked for; processes read images ahead.

    Args:
        pairs: The images and captions.
        encoder: On its device, in its dtype.
        config: How a photograph becomes the encoder's input.
        n_workers: Processes that read images; 0: none but this.
    """

    def __init__(
        self,
        pairs: Pairs,
        encoder: PatchEncoder,
        config: CaptionerConfig,
        *,
        width: int,
        n_workers: int = 0,
    ) -> None:
        self.pairs = pairs
        self.width = width
        self._encoder = encoder
        self._config = config
        self._n_workers = n_workers

    def __len__(self) -> int:
        return len(self.pairs)

    def captions(self, index: int) -> list[str]:
        return self.pairs.captions(index)

    def name(self, index: int) -> str:
        return self.pairs.name(index)

    def batches(self, plan: Iterable[Sequence[int]]) -> Iterator[FeatureBatch]:
        loader: DataLoader = DataLoader(
            PairImages(self.pairs, self._config),
            batch_sampler=plan,  # type: ignore[arg-type]
            num_workers=self._n_workers,
            collate_fn=list,
        )
        with warnings.catch_warnings():
            # Python 3.12 warns of any fork beside threads; the workers use no lock of the parent's.
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
            read = iter(loader)
        for views in read:
            unread = [view for view in views if isinstance(view, Unread)]
            positions = [i for i, view in enumerate(views) if not isinstance(view, Unread)]
            kept = [views[i] for i in positions]
            yield FeatureBatch(self._encode(kept), positions, unread)

    @torch.no_grad()
    def _encode(self, views: Sequence[np.ndarray]) -> Tensor:
        parameter = next(self._encoder.parameters())
        if not views:
            return torch.empty(0, 1, self.width, device=parameter.device)
        pixels = normalise(np.stack(views), self._config)
        return self._encoder(pixels.to(parameter.device, parameter.dtype))


class CachedFeatures:
    """Features in files of a folder, made once: `fill` makes what is missing.

    Each file is a .npy of (image, patch, width) float16, written whole or not at all. The folder is
    of one encoder, one way to see a photograph and one list of pairs; `key` says which.
    """

    def __init__(self, folder: Path, source: EncodedPairs, *, key: str) -> None:
        self.source = source
        self.width = source.width
        self._folder = folder
        self._key = key
        self._unread: dict[int, Unread] = {}
        self._open: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.source)

    def captions(self, index: int) -> list[str]:
        return self.source.captions(index)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def fill(self, progress: Progress = no_progress) -> None:
        """Encode the images of every file that is not there.

        Raises:
            RunError: The folder holds features of another encoder or of other pairs.
            CaptionerError: A feature is not finite in float16.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._check_key()
        n_files = -(-len(self) // _IMAGES_PER_FILE)
        for number in range(n_files):
            progress("encode", min(number * _IMAGES_PER_FILE, len(self)), len(self))
            if not self._path(number).with_suffix(".json").exists():
                self._fill_file(number)
            unread = json.loads(self._path(number).with_suffix(".json").read_text("utf-8"))
            self._unread |= {int(i): Unread(*entry) for i, entry in unread["unread"].items()}
        progress("encode", len(self), len(self))

    def batches(self, plan: Iterable[Sequence[int]]) -> Iterator[FeatureBatch]:
        for indices in plan:
            positions = [i for i, index in enumerate(indices) if index not in self._unread]
            unread = [self._unread[index] for index in indices if index in self._unread]
            rows = [self._row(indices[i]) for i in positions]
            features = torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, 1, self.width)
            yield FeatureBatch(features, positions, unread)

    def _row(self, index: int) -> np.ndarray:
        number, row = divmod(index, _IMAGES_PER_FILE)
        if number not in self._open:
            self._open[number] = np.load(self._path(number), mmap_mode="r")
        return self._open[number][row]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.npy"

    def _check_key(self) -> None:
        path = self._folder / "features.json"
        if not path.exists():
            write_json(path, {"key": self._key, "n_images": len(self), "dtype": "float16"})
        elif json.loads(path.read_text("utf-8"))["key"] != self._key:
            raise RunError(
                f"{self._folder} holds features of another encoder, other pixels or other pairs. "
                "Give another folder with --cache-features, or delete that one."
            )

    def _fill_file(self, number: int) -> None:
        first = number * _IMAGES_PER_FILE
        stop = min(first + _IMAGES_PER_FILE, len(self))
        plan = [
            range(start, min(start + _CACHE_BATCH, stop))
            for start in range(first, stop, _CACHE_BATCH)
        ]
        unread: dict[int, tuple[str, str]] = {}
        array: np.ndarray | None = None
        for indices, batch in zip(plan, self.source.batches(plan), strict=True):
            found = batch.features.to("cpu", torch.float16).numpy()
            if not np.isfinite(found).all():
                raise CaptionerError(
                    f"the encoder's features of images {indices.start} to {indices.stop - 1} are "
                    "not finite in float16. Train without --cache-features."
                )
            if array is None and len(found):
                array = np.zeros((stop - first, *found.shape[1:]), np.float16)
            missing = sorted(set(range(len(indices))) - set(batch.positions))
            for position, image in zip(missing, batch.unread, strict=True):
                unread[indices[position]] = (image.name, image.reason)
            if array is not None:
                array[[indices[i] - first for i in batch.positions]] = found
        path = self._path(number)
        partial = path.with_name(path.name + ".partial")
        with explain_full_disk(self._folder, _FULL_DISK_ADVICE):
            nothing = np.zeros((0, 1, self.width), np.float16)
            _write_array(partial, nothing if array is None else array)
            partial.replace(path)
            write_json(path.with_suffix(".json"), {"unread": unread})


def _write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy; numpy's own writer does not say that the disk was full."""
    try:
        with path.open("wb") as file:
            header = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_1_0(file, header)
            file.write(array.reshape(-1).view(np.uint8).data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
