"""Photographs of every kind: read right, or skipped by name; in order, whoever reads them."""

from __future__ import annotations

import dataclasses
import io
import multiprocessing
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torchvision import transforms
from transformers import BeitImageProcessorPil

from atlas_db.run_format import DATASET_SCHEMAS
from builder.captioner_config import CaptionerConfig
from builder.coco import load_coco
from builder.images import (
    THUMBNAIL_PX,
    ImageBatch,
    iterate_batches,
    model_view,
    normalise,
    read_photograph,
)
from builder.presets import PRESETS

PX = 32
WIDTH, HEIGHT = 48, 36
SPLIT = "val2017"


@pytest.fixture
def config() -> CaptionerConfig:
    return dataclasses.replace(PRESETS["gptj-beit"], image_px=PX)


def _picture(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Draw a picture that is different in each corner and in each channel."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * x / (width - 1), 255 * y / (height - 1), np.full_like(x, 40)]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def _table(files: dict[int, str], sizes: dict[int, tuple[int, int]] | None = None) -> pa.Table:
    rows = [
        {
            "image_id": id_,
            "file": f"{SPLIT}/{name}",
            "split": SPLIT,
            "width_px": (sizes or {}).get(id_, (WIDTH, HEIGHT))[0],
            "height_px": (sizes or {}).get(id_, (WIDTH, HEIGHT))[1],
            "licence_id": -1,
            "source_url": "",
            "coco_url": "",
        }
        for id_, name in files.items()
    ]
    return pa.Table.from_pylist(rows, schema=DATASET_SCHEMAS["images"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / SPLIT).mkdir()
    return tmp_path


def _save_pictures(folder: Path, n: int) -> dict[int, str]:
    """Save n pictures of one grey each: image i is of value 10 * i."""
    for index in range(n):
        grey = Image.new("RGB", (WIDTH, HEIGHT), (10 * index,) * 3)
        grey.save(folder / SPLIT / f"{index}.png")
    return {index: f"{index}.png" for index in range(n)}


# How pixels become what the model sees ------------------------------------------------------------


def test_squash_is_what_the_published_beit_preprocessing_does(coco_mini: Path) -> None:
    preset = PRESETS["gptj-beit"]
    processor = BeitImageProcessorPil(
        size={"height": 224, "width": 224}, resample=2, do_center_crop=False
    )
    for row in load_coco(coco_mini, SPLIT, limit=4).images.to_pylist():
        image = read_photograph(coco_mini / row["file"], row["width_px"], row["height_px"])
        pixels = normalise(model_view(image, preset)[None], preset)
        expected = processor(image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(pixels, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (333, 500), (384, 384)])
def test_crop_is_what_clips_preprocessing_does(size: tuple[int, int]) -> None:
    preset = PRESETS["gptj-clip"]
    image = _picture(*size)
    bicubic = transforms.InterpolationMode.BICUBIC
    reference = transforms.Compose(
        [
            transforms.Resize(preset.image_px, bicubic),
            transforms.CenterCrop(preset.image_px),
            transforms.ToTensor(),
            transforms.Normalize(preset.mean, preset.std),
        ]
    )
    pixels = normalise(model_view(image, preset)[None], preset)[0]
    torch.testing.assert_close(pixels, reference(image), atol=1e-6, rtol=0)


def test_thumbnail_shows_the_part_that_the_model_sees(
    folder: Path, config: CaptionerConfig
) -> None:
    # Red outside of the middle square, which alone is seen.
    image = Image.new("RGB", (120, 40), "red")
    image.paste(Image.new("RGB", (40, 40), "blue"), (40, 0))
    image.save(folder / SPLIT / "a.png")
    crop = dataclasses.replace(config, geometry="crop")
    table = _table({1: "a.png"}, {1: (120, 40)})
    for settings, blue in ((crop, (0, THUMBNAIL_PX)), (config, (85, 171))):
        (batch,) = iterate_batches(table, folder, settings, batch_size=1, n_workers=0)
        with Image.open(io.BytesIO(batch.thumbnails[0])) as thumbnail:
            assert (thumbnail.format, thumbnail.size) == ("WEBP", (THUMBNAIL_PX, THUMBNAIL_PX))
            pixels = np.asarray(thumbnail.convert("RGB")).astype(int)
        is_blue = pixels[:, :, 2] > pixels[:, :, 0]
        expected = np.zeros(THUMBNAIL_PX, bool)
        expected[slice(*blue)] = True
        assert (is_blue.mean(axis=0) > 0.5).tolist() == expected.tolist()


# Strange photographs ------------------------------------------------------------------------------


def _grey(path: Path) -> None:
    _picture().convert("L").save(path.with_suffix(".png"))


def _cmyk(path: Path) -> None:
    _picture().convert("CMYK").save(path.with_suffix(".jpg"), quality=100)


def _palette(path: Path) -> None:
    _picture().quantize(64).save(path.with_suffix(".png"))


def _opaque_rgba(path: Path) -> None:
    _picture().convert("RGBA").save(path.with_suffix(".png"))


def _grey_alpha(path: Path) -> None:
    _picture().convert("LA").save(path.with_suffix(".png"))


def _sixteen_bit(path: Path) -> None:
    grey = np.asarray(_picture().convert("L")).astype(np.uint16)
    Image.fromarray(grey * 257).save(path.with_suffix(".png"))


def _bilevel(path: Path) -> None:
    _picture().convert("1").save(path.with_suffix(".png"))


_GREY = _picture().convert("L").convert("RGB")


@pytest.mark.parametrize(
    ("save", "expected", "tolerance"),
    [
        (_grey, _GREY, 0),
        (_cmyk, _picture(), 12),
        (_palette, _picture().quantize(64).convert("RGB"), 0),
        (_opaque_rgba, _picture(), 0),
        (_grey_alpha, _GREY, 0),
        (_sixteen_bit, _GREY, 0),
        (_bilevel, _picture().convert("1").convert("RGB"), 0),
    ],
)
def test_every_kind_becomes_rgb(
    save: Callable[[Path], None], expected: Image.Image, tolerance: int, tmp_path: Path
) -> None:
    save(tmp_path / "image")
    (path,) = tmp_path.iterdir()
    image = read_photograph(path, WIDTH, HEIGHT)
    assert image.mode == "RGB"
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= tolerance


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    image = _picture().convert("RGBA")
    image.putpixel((3, 4), (10, 20, 30, 0))
    image.save(tmp_path / "a.png")
    read = read_photograph(tmp_path / "a.png", WIDTH, HEIGHT)
    assert read.getpixel((3, 4)) == (255, 255, 255)
    assert read.getpixel((5, 4)) == _picture().getpixel((5, 4))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_sideways_photograph_is_turned_where_the_annotations_have_it_upright(
    orientation: int, tmp_path: Path
) -> None:
    undo = {
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    _picture().transpose(undo[orientation]).save(tmp_path / "a.png", exif=exif)
    upright = read_photograph(tmp_path / "a.png", WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(upright), np.asarray(_picture()))
    # Annotated as it is stored: then it is left as it is stored.
    stored = read_photograph(tmp_path / "a.png", HEIGHT, WIDTH)
    assert stored.size == (HEIGHT, WIDTH)


def _truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _bomb(path: Path) -> None:
    """Write a PNG that says it is 20,000 x 20,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + check

    size = (20_000).to_bytes(4, "big")
    header = chunk(b"IHDR", size + size + bytes([8, 2, 0, 0, 0]))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")))


def _another_size(path: Path) -> None:
    _picture(WIDTH, HEIGHT + 1).save(path, "PNG")


def _floating(path: Path) -> None:
    Image.new("F", (WIDTH, HEIGHT)).save(path, "TIFF")


BAD_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (_truncated, "the file is damaged: image file is truncated"),
    "missing": (lambda path: None, "the file is missing"),
    "text": (lambda path: path.write_bytes(b"no image at all"), "no image that Pillow can read"),
    "empty": (lambda path: path.write_bytes(b""), "no image that Pillow can read"),
    "folder": (lambda path: path.mkdir(), "the file is damaged"),
    "bomb": (_bomb, "more than 89478485 pixels"),
    "size": (_another_size, "is 48 x 37 pixels, the annotations say 48 x 36"),
    "floating": (_floating, "pixels of Pillow's mode F"),
}


def test_bad_photographs_are_skipped_by_name_and_good_ones_read(
    folder: Path, config: CaptionerConfig
) -> None:
    files = {}
    for index, (name, (save, _)) in enumerate(BAD_FILES.items()):
        save(folder / SPLIT / f"{name}.jpg")
        _picture().save(folder / SPLIT / f"good-{index}.png")
        files[2 * index] = f"{name}.jpg"
        files[2 * index + 1] = f"good-{index}.png"

    batches = list(iterate_batches(_table(files), folder, config, batch_size=3, n_workers=0))

    skipped = [image for batch in batches for image in batch.skipped]
    assert [image.file for image in skipped] == [f"{SPLIT}/{name}.jpg" for name in BAD_FILES]
    assert [image.image_id for image in skipped] == list(range(0, 2 * len(BAD_FILES), 2))
    for image, (_, reason) in zip(skipped, BAD_FILES.values(), strict=True):
        assert reason in image.reason
        assert str(folder) not in image.reason
    read = [id_ for batch in batches for id_ in batch.image_ids]
    assert read == list(range(1, 2 * len(BAD_FILES), 2))


def test_a_very_narrow_photograph_is_skipped(folder: Path, config: CaptionerConfig) -> None:
    Image.new("RGB", (5100, 100)).save(folder / SPLIT / "a.png")
    Image.new("RGB", (5000, 100)).save(folder / SPLIT / "b.png")
    table = _table({1: "a.png", 2: "b.png"}, {1: (5100, 100), 2: (5000, 100)})
    crop = dataclasses.replace(config, geometry="crop")
    (batch,) = iterate_batches(table, folder, crop, batch_size=2, n_workers=0)
    assert batch.image_ids == (2,)
    assert [image.image_id for image in batch.skipped] == [1]
    assert "longer than 50 times its short side" in batch.skipped[0].reason


def test_a_photograph_with_broken_exif_is_read(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\x01"
    _picture().save(tmp_path / "a.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_photograph(tmp_path / "a.jpg", WIDTH, HEIGHT).size == (WIDTH, HEIGHT)
        assert read_photograph(tmp_path / "a.jpg", WIDTH, HEIGHT).mode == "RGB"


# Batches ------------------------------------------------------------------------------------------


def _values(batch: ImageBatch) -> list[int]:
    """Tell which picture of _save_pictures each of a batch's pixels shows."""
    return [round(float(picture.mean() * 0.5 + 0.5) * 25.5) for picture in batch.pixels]


@pytest.mark.parametrize("n_workers", [0, 1, 2])
def test_batches_are_full_and_in_order_for_any_number_of_workers(
    n_workers: int, folder: Path, config: CaptionerConfig
) -> None:
    files = _save_pictures(folder, 20)
    (folder / SPLIT / "7.png").unlink()
    table = _table(files).take(list(reversed(range(20))))
    batches = list(iterate_batches(table, folder, config, batch_size=6, n_workers=n_workers))
    assert [batch.image_ids for batch in batches] == [
        (0, 1, 2, 3, 4, 5),
        (6, 8, 9, 10, 11, 12),
        (13, 14, 15, 16, 17, 18),
        (19,),
    ]
    assert [len(batch.skipped) for batch in batches] == [0, 1, 0, 0]
    for batch in batches:
        assert batch.pixels.dtype == torch.float32
        assert batch.pixels.shape == (len(batch.image_ids), 3, PX, PX)
        assert _values(batch) == list(batch.image_ids)
        assert len(batch.thumbnails) == len(batch.image_ids)


def test_skipped_photographs_at_the_end_join_the_last_batch(
    folder: Path, config: CaptionerConfig
) -> None:
    files = _save_pictures(folder, 6)
    for index in (3, 4, 5):
        (folder / SPLIT / f"{index}.png").unlink()
    (batch,) = iterate_batches(_table(files), folder, config, batch_size=3, n_workers=0)
    assert batch.image_ids == (0, 1, 2)
    assert [image.image_id for image in batch.skipped] == [3, 4, 5]


def test_no_batch_spans_a_boundary(folder: Path, config: CaptionerConfig) -> None:
    files = _save_pictures(folder, 10)
    for index in (6, 7):
        (folder / SPLIT / f"{index}.png").unlink()
    batches = iterate_batches(
        _table(files), folder, config, batch_size=4, n_workers=0, boundaries=(0, 2, 6, 8)
    )
    found = [(batch.image_ids, len(batch.skipped)) for batch in batches]
    assert found == [((0, 1), 0), ((2, 3, 4, 5), 0), ((), 2), ((8, 9), 0)]


def test_linked_images_have_no_thumbnail(folder: Path, config: CaptionerConfig) -> None:
    table = _table(_save_pictures(folder, 2))
    (batch,) = iterate_batches(table, folder, config, batch_size=2, n_workers=0, images="link")
    assert batch.thumbnails == (b"", b"")


def test_workers_end_when_the_iterator_is_dropped(folder: Path, config: CaptionerConfig) -> None:
    table = _table(_save_pictures(folder, 20))
    batches = iterate_batches(table, folder, config, batch_size=1, n_workers=2)
    next(batches)
    workers = _children()
    assert len(workers) >= 2
    batches.close()
    assert not _children() & workers


def _children() -> set[int]:
    """Give the process ids of this process's children that are alive."""
    return {child.pid for child in multiprocessing.active_children() if child.pid}


def test_wrong_arguments_are_refused_at_once(folder: Path, config: CaptionerConfig) -> None:
    table = _table({})
    for wrong in ({"batch_size": 0}, {"n_workers": -1}, {"images": "copy"}):
        arguments = {"batch_size": 1, "n_workers": 0} | wrong
        with pytest.raises(ValueError, match="batch_size must be >= 1"):
            iterate_batches(table, folder, config, **arguments)
    assert list(iterate_batches(table, folder, config, batch_size=1, n_workers=0)) == []


def test_all_of_coco_mini_is_read(coco_mini: Path) -> None:
    preset = PRESETS["gptj-beit"]
    dataset = load_coco(coco_mini, SPLIT)
    batches = list(
        iterate_batches(dataset.images, dataset.folder, preset, batch_size=16, n_workers=1)
    )
    assert [id_ for batch in batches for id_ in batch.image_ids] == dataset.images[
        "image_id"
    ].to_pylist()
    assert not any(batch.skipped for batch in batches)
    assert all(batch.pixels.abs().max() <= 1 for batch in batches)
