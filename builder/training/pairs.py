"""Images and captions as one table, whatever they come from, and a reader of its images.

A pair's image is a file, or a stretch of a tar file: the table keeps where it begins and how long
it is, so that any image of any shard is read at random, and training goes on after a kill in
exactly the order that it had.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import Dataset

from atlas_db.errors import DatasetError
from builder.captioner_config import CaptionerConfig
from builder.images import UnreadableImageError, model_view, to_rgb

PAIRS_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),  # what messages call the image
        pa.field("file", pa.string(), nullable=False),  # the image itself, or a tar file
        pa.field("offset", pa.int64(), nullable=False),  # in the tar file; -1: the whole file
        pa.field("n_bytes", pa.int64(), nullable=False),  # -1: the whole file
        pa.field("captions", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Images with their captions, one row an image, and where they come from."""

    table: pa.Table
    origin: str
    left_out: tuple[str, ...] = ()  # sentences about what was there but could not be used

    def __len__(self) -> int:
        return self.table.num_rows

    def captions(self, index: int) -> list[str]:
        """Give an image's captions, at least one."""
        found: list[str] = self.table["captions"][index].as_py()
        return found

    def name(self, index: int) -> str:
        """Give what messages call an image."""
        return str(self.table["name"][index].as_py())

    def sha256(self) -> str:
        """Hash names and captions; where the files lie does not count."""
        digest = hashlib.sha256()
        for batch in self.table.select(["name", "captions"]).to_batches():
            for row in batch.to_pylist():
                digest.update(repr((row["name"], row["captions"])).encode())
        return digest.hexdigest()

    def first(self, n: int) -> Pairs:
        """Keep the first `n` images."""
        return Pairs(self.table.slice(0, n), self.origin, self.left_out)

    def split(self, n_last: int) -> tuple[Pairs, Pairs]:
        """Set the last `n_last` images apart.

        Raises:
            DatasetError: No image would be left.
        """
        n_first = len(self) - n_last
        if n_first < 1:
            raise DatasetError(
                f"{self.origin} has {len(self)} images with captions: {n_last} cannot be set "
                "apart for validation. Lower the number, or give more pairs."
            )
        first, last = self.table.slice(0, n_first), self.table.slice(n_first)
        return Pairs(first, self.origin, self.left_out), Pairs(last, self.origin)


def pairs_of(rows: Sequence[Mapping[str, Any]], origin: str, left_out: Sequence[str]) -> Pairs:
    """Make pairs of rows of PAIRS_SCHEMA.

    Raises:
        DatasetError: There are none.
    """
    if not rows:
        reasons = "".join(f" {reason}" for reason in left_out[:3])
        raise DatasetError(
            f"{origin} has no image with a caption.{reasons} Wanted at least one pair: see "
            "`neuron-atlas train-adapter --help` for the layouts."
        )
    return Pairs(pa.Table.from_pylist(list(rows), schema=PAIRS_SCHEMA), origin, tuple(left_out))


@dataclass(frozen=True, slots=True)
class Unread:
    """An image that could not be read, and why."""

    name: str
    reason: str


class PairImages(Dataset):
    """The model's views of the pairs' images: uint8 (px, px, 3), or `Unread`."""

    def __init__(self, pairs: Pairs, config: CaptionerConfig) -> None:
        self._table = pairs.table
        self._config = config

    def __len__(self) -> int:
        return self._table.num_rows

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8] | Unread:
        row = self._table.slice(index, 1).to_pylist()[0]
        try:
            return model_view(_read_image(row), self._config)
        except UnreadableImageError as error:
            return Unread(row["name"], str(error))


def _read_image(row: Mapping[str, Any]) -> Image.Image:
    """Read an image as RGB, upright as its EXIF data say.

    Raises:
        UnreadableImageError: It is missing, no image, damaged or too large.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of broken EXIF data and odd palettes: the picture is still whole.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(_read_bytes(row))) as file:
                file.load()
                return to_rgb(ImageOps.exif_transpose(file))
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError("the file is missing") from None
    except UnidentifiedImageError:
        raise UnreadableImageError("the file is no image that Pillow can read") from None
    # Pillow's decoders raise errors of many kinds on damaged files.
    except Exception as error:
        raise UnreadableImageError(
            f"the file is damaged: {error or type(error).__name__}"
        ) from None


def _read_bytes(row: Mapping[str, Any]) -> bytes:
    with Path(row["file"]).open("rb") as file:
        if row["offset"] < 0:
            return file.read()
        file.seek(row["offset"])
        content = file.read(row["n_bytes"])
    if len(content) < row["n_bytes"]:
        raise UnreadableImageError("the tar file is cut off")
    return content
