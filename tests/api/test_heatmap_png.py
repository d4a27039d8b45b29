"""Heatmaps as pictures, judged by their pixels."""

import io
import shutil
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.app import create_app
from api.heatmap_png import palette, render, strengths

GRID = (14, 14)
SIZE_PX = 224
PATCH_PX = SIZE_PX // GRID[0]
LIT_ROW, LIT_COLUMN = 3, 9


def lit_patch() -> npt.NDArray[np.float32]:
    activations = np.zeros(GRID, dtype=np.float32)
    activations[LIT_ROW, LIT_COLUMN] = 5.0
    return activations.ravel()


def grey_photograph(size_px: int = 112) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size_px, size_px), (120, 130, 140)).save(file, "WEBP", lossless=True)
    return file.getvalue()


def pixels(png: bytes) -> npt.NDArray[np.uint8]:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def centre_of_lit_patch() -> tuple[int, int]:
    return LIT_ROW * PATCH_PX + PATCH_PX // 2, LIT_COLUMN * PATCH_PX + PATCH_PX // 2


def outside_of_lit_patch() -> npt.NDArray[np.bool_]:
    """All pixels that the lit patch does not reach: bilinear upsampling reaches one patch on."""
    outside = np.ones((SIZE_PX, SIZE_PX), dtype=bool)
    rows = slice((LIT_ROW - 1) * PATCH_PX, (LIT_ROW + 2) * PATCH_PX)
    columns = slice((LIT_COLUMN - 1) * PATCH_PX, (LIT_COLUMN + 2) * PATCH_PX)
    outside[rows, columns] = False
    return outside


def lightness(colour: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """CIE L* (D65) of sRGB colours (n, 3)."""
    share = colour.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    cube_root = np.cbrt(luminance)
    return np.where(luminance > 0.008856, 116 * cube_root - 16, 903.3 * luminance)


def test_the_colour_map_rises_evenly_in_lightness() -> None:
    levels = lightness(palette()[::5])
    steps = np.diff(levels)
    assert levels[0] < 1
    assert levels[-1] > 97
    assert steps.min() > 0
    assert steps.max() < 2 * steps.mean()


def test_heat_is_brightest_at_the_lit_patch_and_dark_elsewhere() -> None:
    heat = pixels(render(lit_patch(), GRID, style="heat", size_px=SIZE_PX))
    assert heat.shape == (SIZE_PX, SIZE_PX, 3)
    brightness = heat.sum(axis=-1, dtype=np.int64)
    row, column = np.unravel_index(brightness.argmax(), brightness.shape)
    assert (row // PATCH_PX, column // PATCH_PX) == (LIT_ROW, LIT_COLUMN)
    assert (heat[outside_of_lit_patch()] == (0, 0, 4)).all()


def test_an_overlay_leaves_the_photograph_where_the_map_is_lowest() -> None:
    overlay = pixels(
        render(lit_patch(), GRID, style="overlay", size_px=SIZE_PX, photograph=grey_photograph())
    )
    assert (overlay[outside_of_lit_patch()] == (120, 130, 140)).all()
    lit = overlay[centre_of_lit_patch()].astype(int)
    assert abs(lit - (120, 130, 140)).max() > 60


def test_a_mask_keeps_the_photograph_inside_and_darkens_it_outside() -> None:
    masked = pixels(
        render(lit_patch(), GRID, style="mask", size_px=SIZE_PX, photograph=grey_photograph())
    )
    assert tuple(masked[centre_of_lit_patch()]) == (120, 130, 140)
    assert (masked[outside_of_lit_patch()] == (30, 32, 35)).all()


def test_a_map_that_is_the_same_everywhere_lights_nothing() -> None:
    flat = np.full(GRID[0] * GRID[1], 2.5, dtype=np.float32)
    assert not strengths(flat, GRID, SIZE_PX).any()


def test_negative_activations_are_the_dark_end() -> None:
    activations = lit_patch()
    activations[0] = -1.0
    strength = strengths(activations, GRID, SIZE_PX)
    assert strength[0, 0] == 0
    assert strength[centre_of_lit_patch()] > 0.9
    assert strength[-1, -1] == pytest.approx(1 / 6, abs=1e-5)


@pytest.mark.parametrize("style", ["overlay", "mask"])
def test_a_style_that_needs_the_photograph_says_so(style: str) -> None:
    with pytest.raises(ValueError, match="needs the photograph"):
        render(lit_patch(), GRID, style=style, size_px=SIZE_PX)  # type: ignore[arg-type]


def test_the_heatmap_of_a_negative_exemplar_is_darkest_where_the_unit_is_most_negative(
    client: FlaskClient, synthetic_atlas: Path, tmp_path: Path
) -> None:
    address = "/api/v1/units/0/3/negative_exemplars/1/heatmap.png"
    missing = client.get(address)  # of a plain MLP
    assert missing.status_code == 404
    assert "no negative exemplar 1" in missing.get_json()["error"]["message"]
    atlas = tmp_path / "atlas.duckdb"
    shutil.copy(synthetic_atlas, atlas)
    patch = LIT_ROW * GRID[1] + LIT_COLUMN
    quantised = bytes(0 if place == patch else 200 for place in range(GRID[0] * GRID[1]))
    with duckdb.connect(str(atlas)) as connection:
        connection.execute(
            "INSERT INTO negative_exemplars (uid, rank, layer, unit, image_id, activation, patch, "
            "heatmap, heatmap_scale, heatmap_zero) "
            "SELECT 3, 1, 0, 3, min(image_id), -4.0, ?, ?, 0.02, -4.0 FROM images",
            [patch, quantised],
        )
    gated = create_app(atlas, sql_limits=None).test_client()
    drawn = gated.get(address, query_string={"size": SIZE_PX})
    assert drawn.status_code == 200, drawn.data
    heat = pixels(drawn.data).astype(int).sum(axis=-1)
    darkest = np.unravel_index(heat.argmin(), heat.shape)
    assert darkest == pytest.approx(centre_of_lit_patch(), abs=PATCH_PX / 2)
    for style in ("overlay", "mask"):
        assert gated.get(address, query_string={"style": style}).status_code == 200
    assert gated.get(address.replace("/1/", "/2/")).status_code == 404
    assert gated.get(address.replace("/0/3/", "/0/9999/")).status_code == 404
