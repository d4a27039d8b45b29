"""One lit place of a photograph lights that place's image token alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from atlas_db.run_format import DATASET_SCHEMAS
from builder.captioner import load_captioner
from builder.detection import Detector
from builder.images import iterate_batches
from builder.language_model import LanguageModel

#: What mixes places, by family: attention, and what tells places apart.
_SIGLIP = ("self_attn.out_proj", "position_embedding", "self_attn.o_proj")
MIXES = {
    "llava": _SIGLIP,
    "llava_onevision": _SIGLIP,
    "qwen2_5_vl": ("visual.blocks.0.attn.proj", "visual.blocks.1.attn.proj", "self_attn.o_proj"),
    "gemma3": _SIGLIP,
    "idefics3": _SIGLIP,
    "smolvlm": _SIGLIP,
    "paligemma": _SIGLIP,
    "paligemma2": _SIGLIP,
}


def test_the_lit_place_is_the_lit_token(folder: Path, tmp_path: Path) -> None:
    """A photograph, black but for one place of the grid, lights that place's token alone.

    Attention adds nothing and there are no positions, so what is tested is the way from the
    photograph's pixels through tiles, merged and averaged patches to the grid.
    """
    captioner = load_captioner(folder / "captioner", dtype="float32")
    with torch.no_grad():
        for part in MIXES[folder.name]:
            found = [p for n, p in captioner.model.named_parameters() if part in n]
            assert found, part
            for parameter in found:
                parameter.zero_()
    rows, columns = captioner.config.grid
    for row in range(rows):
        for column in range(columns):
            heatmap = heatmap_of(captioner, tmp_path, (row, column))
            assert heatmap.argmax() == row * columns + column
            others = np.delete(heatmap, heatmap.argmax())
            assert np.ptp(others) < 0.2 * (heatmap.max() - np.median(others))


def heatmap_of(captioner: Any, folder: Path, place: tuple[int, int]) -> np.ndarray:
    (rows, columns), cell = captioner.config.grid, 20
    pixels = np.zeros((rows * cell, columns * cell, 3), np.uint8)
    row, column = place
    pixels[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 255
    Image.fromarray(pixels).save(folder / "lit.png")
    table = {name: [0] for name in DATASET_SCHEMAS["images"].names}
    table |= {"file": ["lit.png"], "width_px": [columns * cell], "height_px": [rows * cell]}
    table |= {name: [""] for name in ("split", "source_url", "coco_url")}
    images = pa.table(table, schema=DATASET_SCHEMAS["images"])
    (batch,) = iterate_batches(images, folder, captioner.config, batch_size=1, n_workers=0)
    seen: dict[int, Tensor] = {}
    detector = Detector(
        LanguageModel(captioner.model),
        captioner.tokenizer,
        prompt_ids=captioner.prompt_ids,
        prefix_ids=captioner.prefix_ids,
        max_new_tokens=1,
        rules=captioner.rules,
    )
    detector(captioner.encode(batch.pixels), lambda layer, a: seen.setdefault(layer, a))
    a = seen[0][0]  # (patch, unit)
    contrast = a.amax(0) - a.median(0).values
    return a[:, contrast.argmax()].numpy()
