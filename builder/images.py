"""Read photographs ahead of the model: worker processes decode, resize and cut, in order.

A photograph that cannot be read is left out and reported by name with its batch: never fatal,
never silent. Every other one becomes RGB: grey, palette and CMYK by Pillow's conversion, 16-bit by
its high byte, transparency over white. The EXIF orientation is applied only where the photograph
then has the size that the annotations say, and did not have it before: COCO's masks are drawn on
the pixels as its annotators saw them.

Pixels are those of `builder.geometry.View`, resized by Pillow (with antialiasing), which is what
LiMBeR's preprocessing used; thumbnails show the same part of the photograph, so that a heatmap lies
over them exactly.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from builder.captioner_config import CaptionerConfig
from builder.geometry import view_of

THUMBNAIL_PX = 256
THUMBNAIL_QUALITY = 80
IMAGES_MODES = ("embed", "link")
#: A photograph may be this many times as long as it is wide.
MAX_ASPECT = 50
#: Images that a worker sends at once.
_CHUNK = 8

_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """A photograph that could not be read, and why."""

    image_id: int
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Photographs that were read, by ascending image_id, and those skipped since the last batch."""

    image_ids: tuple[int, ...]
    pixels: Tensor  # float32 (batch, 3, image_px, image_px), normalised
    thumbnails: tuple[bytes, ...]  # WebP; empty bytes with images="link"
    skipped: tuple[SkippedImage, ...]


@dataclass(frozen=True, slots=True)
class _Decoded:
    image_id: int
    pixels: npt.NDArray[np.uint8]  # (image_px, image_px, 3)
    thumbnail: bytes


class UnreadableImageError(Exception):
    """A photograph cannot be used; its text is the reason, without the path."""


def read_photograph(path: Path, width_px: int, height_px: int) -> Image.Image:
    """Read a photograph as RGB, upright as the annotations have it.

    `width_px` and `height_px` are the annotations'.

    Raises:
        UnreadableImageError: It is missing, no image, truncated, too large, or of another size.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of broken EXIF data and odd palettes: the picture is still whole.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.load()
                return to_rgb(_upright(file, width_px, height_px))
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError("the file is missing") from None
    except UnidentifiedImageError:
        raise UnreadableImageError("the file is no image that Pillow can read") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnreadableImageError(
            f"the image has more than {Image.MAX_IMAGE_PIXELS} pixels"
        ) from None
    # Pillow's decoders raise errors of many kinds on damaged files.
    except Exception as error:
        text = str(error).replace(str(path), path.name).strip() or type(error).__name__
        raise UnreadableImageError(f"the file is damaged: {text}") from None


def _upright(image: Image.Image, width_px: int, height_px: int) -> Image.Image:
    if image.size == (width_px, height_px):
        return image
    orientation = image.getexif().get(_ORIENTATION_TAG)
    if orientation in _SIDEWAYS and image.size == (height_px, width_px):
        return ImageOps.exif_transpose(image)
    raise UnreadableImageError(
        f"the image is {image.width} x {image.height} pixels, the annotations say "
        f"{width_px} x {height_px}"
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn an image of any mode into RGB.

    Raises:
        UnreadableImageError: Its pixels are no numbers of 16 bits.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadableImageError(f"the image has pixels of Pillow's mode {image.mode}")
        return Image.fromarray((values // 256).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(background, colours).convert("RGB")
    return image.convert("RGB")


def model_view(image: Image.Image, config: CaptionerConfig) -> npt.NDArray[np.uint8]:
    """Resize and cut an RGB photograph to what the model sees: uint8 (image_px, image_px, 3).

    Raises:
        UnreadableImageError: It is so long and narrow that resizing it would fill the memory.
    """
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise UnreadableImageError(
            f"the image is {image.width} x {image.height} pixels: longer than {MAX_ASPECT} times "
            "its short side"
        )
    view = view_of(*image.size, geometry=config.geometry, view_px=config.image_px)
    resized = image.resize(
        (view.resized_width_px, view.resized_height_px), _RESAMPLING[config.interpolation]
    )
    box = (view.left, view.top, view.left + view.view_px, view.top + view.view_px)
    return np.array(resized.crop(box))


def thumbnail(image: Image.Image, config: CaptionerConfig) -> bytes:
    """Make a WebP of THUMBNAIL_PX x THUMBNAIL_PX of the part that the model sees."""
    view = view_of(*image.size, geometry=config.geometry, view_px=config.image_px)
    small = image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BICUBIC, box=view.seen)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=THUMBNAIL_QUALITY, method=2)
    return buffer.getvalue()


def normalise(pixels: npt.NDArray[np.uint8], config: CaptionerConfig) -> Tensor:
    """Turn uint8 (batch, px, px, 3) into float32 (batch, 3, px, px): (p / 255 - mean) / std."""
    bytes_ = torch.arange(256, dtype=torch.float32)
    mean, std = (
        torch.tensor(values, dtype=torch.float32)[:, None] for values in (config.mean, config.std)
    )
    of_byte = ((bytes_ / 255 - mean) / std).numpy()  # looked up, a fifth of the time it takes
    normalised = np.empty((len(pixels), 3, *pixels.shape[1:3]), dtype=np.float32)
    for channel in range(3):
        normalised[:, channel] = of_byte[channel][pixels[..., channel]]
    return torch.from_numpy(normalised)


class _Photographs(Dataset):
    """Rows of the images table, decoded or skipped."""

    def __init__(self, rows: pa.Table, folder: Path, config: CaptionerConfig, images: str):
        self._rows = rows
        self._folder = folder
        self._config = config
        self._images = images

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> _Decoded | SkippedImage:
        row = self._rows.slice(index, 1).to_pylist()[0]
        try:
            image = read_photograph(self._folder / row["file"], row["width_px"], row["height_px"])
            pixels = model_view(image, self._config)
        except UnreadableImageError as error:
            return SkippedImage(row["image_id"], row["file"], str(error))
        return _Decoded(
            image_id=row["image_id"],
            pixels=pixels,
            thumbnail=thumbnail(image, self._config) if self._images == "embed" else b"",
        )


def iterate_batches(
    images_table: pa.Table,
    folder: Path,
    config: CaptionerConfig,
    *,
    batch_size: int,
    n_workers: int,
    images: str = "embed",
    boundaries: Iterable[int] = (),
) -> Iterator[ImageBatch]:
    """Read the photographs of an images table, by ascending image_id, in batches.

    A batch holds up to `batch_size` photographs that could be read, and names those skipped among
    and right after them. No batch spans a position of `boundaries` (rows of the sorted table, such
    as the starts of shards). Every skipped photograph is in exactly one batch; a batch holds no
    photograph only where all between two boundaries were skipped.

    `n_workers` processes read ahead, each on one thread; with 0 the calling process reads. They
    end when the iterator is exhausted, closed or dropped.

    Raises:
        ValueError: `batch_size` < 1, `n_workers` < 0, or `images` neither "embed" nor "link".
    """
    if batch_size < 1 or n_workers < 0 or images not in IMAGES_MODES:
        raise ValueError(
            "batch_size must be >= 1, n_workers >= 0 and images one of "
            f"{', '.join(IMAGES_MODES)}; got {batch_size}, {n_workers} and {images!r}"
        )
    rows = images_table.sort_by("image_id").select(["image_id", "file", "width_px", "height_px"])
    photographs = _Photographs(rows, Path(folder), config, images)
    decoded = _decoded(photographs, n_workers, n_ahead=2 * batch_size)
    return _batches(decoded, config, batch_size, set(boundaries))


def _decoded(
    photographs: _Photographs, n_workers: int, n_ahead: int
) -> Iterator[_Decoded | SkippedImage]:
    chunks_ahead = -(-n_ahead // (_CHUNK * max(n_workers, 1)))
    loader: DataLoader = DataLoader(
        photographs,
        batch_size=_CHUNK,
        num_workers=n_workers,
        # Arrays travel through a pipe as they are: containers have little shared memory.
        collate_fn=_as_it_is,
        prefetch_factor=max(2, chunks_ahead) if n_workers else None,
    )
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork beside threads; the workers use no lock of the parent's.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
        chunks = iter(loader)
    for chunk in chunks:
        yield from chunk


def _as_it_is(
    items: list[_Decoded | SkippedImage],
) -> list[_Decoded | SkippedImage]:
    return items


def _batches(
    items: Iterator[_Decoded | SkippedImage],
    config: CaptionerConfig,
    batch_size: int,
    boundaries: set[int],
) -> Iterator[ImageBatch]:
    read: list[_Decoded] = []
    skipped: list[SkippedImage] = []
    for position, item in enumerate(items):
        is_full = len(read) == batch_size and isinstance(item, _Decoded)
        if (is_full or position in boundaries) and (read or skipped):
            yield _batch(read, skipped, config)
            read, skipped = [], []
        if isinstance(item, _Decoded):
            read.append(item)
        else:
            skipped.append(item)
    if read or skipped:
        yield _batch(read, skipped, config)


def _batch(
    read: Sequence[_Decoded], skipped: Sequence[SkippedImage], config: CaptionerConfig
) -> ImageBatch:
    shape = (0, config.image_px, config.image_px, 3)
    pixels = np.stack([item.pixels for item in read]) if read else np.empty(shape, np.uint8)
    return ImageBatch(
        image_ids=tuple(item.image_id for item in read),
        pixels=normalise(pixels, config),
        thumbnails=tuple(item.thumbnail for item in read),
        skipped=tuple(skipped),
    )
