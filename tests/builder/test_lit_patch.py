"""An image that is black but for one patch lights that patch's pixels alone, end to end.

Encoder and language model are made local: their attention adds nothing and they have no position
embeddings. So what is tested, for every family, is the way from pixels through the loader,
encoder, adapter, hook and heatmap back to pixels.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from atlas_db.heatmaps import mask, upsample
from atlas_db.run_format import DATASET_SCHEMAS
from builder.captioner import Captioner, load_captioner
from builder.detection import Detector
from builder.exemplars import quantize_heatmaps
from builder.images import iterate_batches
from builder.init_random import init_random_captioner
from builder.language_model import LanguageModel

GRID = (14, 14)
VIEW_PX = 224


ENCODER_MIXES = ("attn.proj", "mlp.fc2")  # a BEiT has no position embedding to zero
MODEL_MIXES = {
    "gptj": ("attn.out_proj",),
    "gpt2": ("attn.c_proj", "wpe"),
    "neox": ("attention.dense",),
    "opt": ("self_attn.out_proj", "embed_positions"),
    "llama": ("self_attn.o_proj",),
    "mistral": ("self_attn.o_proj",),
    "qwen2": ("self_attn.o_proj",),
    "qwen3": ("self_attn.o_proj",),
    "gemma": ("self_attn.o_proj",),
    "gemma3": ("self_attn.o_proj",),
    "phi": ("self_attn.dense",),
}


@pytest.fixture(scope="module", params=MODEL_MIXES)
def local_captioner(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Captioner:
    folder = tmp_path_factory.mktemp("captioner") / request.param
    init_random_captioner(folder, family=request.param, size="tiny")
    captioner = load_captioner(folder)
    zero(captioner.encoder, ENCODER_MIXES)
    zero(captioner.model, MODEL_MIXES[request.param])
    return captioner


@torch.no_grad()
def zero(module: torch.nn.Module, names: tuple[str, ...]) -> None:
    """Zero every parameter whose name has one of `names` in it; each must be found."""
    found = {name for name in names for own, _ in module.named_parameters() if name in own}
    assert found == set(names)
    for own, parameter in module.named_parameters():
        if any(name in own for name in names):
            parameter.zero_()


def photograph(path: Path, row: int, column: int, size: tuple[int, int]) -> None:
    """Draw black with one white patch; the photograph is not square."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    rows = slice(row * height // 14, (row + 1) * height // 14)
    columns = slice(column * width // 14, (column + 1) * width // 14)
    pixels[rows, columns] = 255
    Image.fromarray(pixels).save(path)


def heatmap_of(captioner: Captioner, folder: Path, size: tuple[int, int]) -> np.ndarray:
    """Run the photograph through the pass; the map of the unit that the patch moves most."""
    row = {name: [0] for name in DATASET_SCHEMAS["images"].names}
    row |= {"file": ["lit.png"], "width_px": [size[0]], "height_px": [size[1]]}
    row |= {name: [""] for name in ("split", "source_url", "coco_url")}
    table = pa.table(row, schema=DATASET_SCHEMAS["images"])
    (batch,) = iterate_batches(table, folder, captioner.config, batch_size=1, n_workers=0)
    seen: dict[int, torch.Tensor] = {}
    detector = Detector(
        LanguageModel(captioner.model), captioner.tokenizer, prompt_ids=captioner.prompt_ids
    )
    detector(captioner.encode(batch.pixels), lambda layer, a: seen.setdefault(layer, a))
    a = seen[0][0]  # (patch, unit)
    contrast = a.amax(0) - a.median(0).values
    heatmap, scale, zero = quantize_heatmaps(a[:, contrast.argmax()][None])
    return heatmap[0].numpy() * scale.numpy() + zero.numpy()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 13), (13, 0), (5, 9), (9, 5), (13, 13)])
def test_the_lit_patch_is_the_lit_place(
    local_captioner: Captioner, tmp_path: Path, row: int, column: int
) -> None:
    size = (560, 420)
    photograph(tmp_path / "lit.png", row, column, size)
    heatmap = heatmap_of(local_captioner, tmp_path, size)
    assert heatmap.argmax() == row * 14 + column
    others = np.delete(heatmap, heatmap.argmax())
    # Antialiased edges let a little light into the neighbours.
    assert others.max() - np.median(others) < 0.35 * (heatmap.max() - np.median(others))

    side = VIEW_PX // 14
    lit = np.zeros((VIEW_PX, VIEW_PX), bool)
    lit[row * side : (row + 1) * side, column * side : (column + 1) * side] = True
    brightest = np.unravel_index(upsample(heatmap, GRID, VIEW_PX).argmax(), lit.shape)
    assert lit[brightest]
    shown = mask(heatmap, GRID, VIEW_PX, percentile=100 * (1 - 1 / 196))
    assert shown[lit].mean() > 0.6
    assert shown[~lit].mean() < 0.003
