"""Captioners of LiMBeR-BEiT's shape with random weights, made on the device: nothing is downloaded.

Captions are nonsense of the greatest length, since no token ends them: the worst case for time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import timm
import torch
from PIL import Image
from torch import nn
from transformers import AutoModelForCausalLM, GPTJConfig

from atlas_db.run_format import DATASET_SCHEMAS
from builder.captioner import Captioner
from builder.captioner_config import CaptionerConfig, Part
from builder.coco import CocoDataset
from builder.encoders import TimmEncoder
from builder.manifest import new_manifest
from builder.run_folder import open_manifest
from builder.shard_builder import ShardBuilder

N_PHOTOGRAPHS = 32
#: Side of a patch of BEiT-L.
PATCH_PX = 16
#: COCO's usual size.
WIDTH_PX, HEIGHT_PX = 640, 480


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Widths and depths of the language model and the encoder.

    Attributes:
        grid: Patches along each side of a picture.
    """

    n_layers: int
    d_model: int
    n_heads: int
    rotary: int
    d_vocab: int
    encoder_depth: int
    encoder_width: int
    encoder_heads: int
    max_new_tokens: int
    grid: int = 14

    @property
    def d_mlp(self) -> int:
        """Units of a layer."""
        return 4 * self.d_model

    @property
    def n_patches(self) -> int:
        """Positions that show the picture."""
        return self.grid**2

    @property
    def image_px(self) -> int:
        """Side of a picture."""
        return self.grid * PATCH_PX

    @property
    def n_block_weights(self) -> int:
        """Weights that every position of the sequence is multiplied with."""
        return self.n_layers * (4 * self.d_model**2 + 2 * self.d_model * self.d_mlp)


#: `full` is GPT-J 6B with BEiT-L, as in LiMBeR-BEiT.
SIZES = {
    "full": ModelSize(28, 4096, 16, 64, 50400, 24, 1024, 16, 30),
    "small": ModelSize(6, 256, 8, 16, 2048, 4, 192, 6, 12),
    "tiny": ModelSize(2, 64, 4, 8, 512, 2, 48, 3, 6),
}


class SyllableTokenizer:
    """Every token is a word of its own, which no lexicon knows: a noun."""

    all_special_ids: tuple[int, ...] = ()
    bos_token_id = None
    eos_token_id = 0

    def decode(self, token_ids: list[int], **_: Any) -> str:
        """Spell tokens as words."""
        return "".join(f" zq{_letters(i)}" for i in token_ids)

    def encode(self, text: str, **_: Any) -> list[int]:
        """Give a token a word."""
        return list(range(1, 1 + len(text.split())))


def _letters(number: int) -> str:
    text = ""
    for _ in range(4):
        number, letter = divmod(number, 26)
        text += chr(97 + letter)
    return text


def random_captioner(size: ModelSize, device: str, dtype: torch.dtype) -> Captioner:
    """Make a captioner of that size."""
    torch.manual_seed(0)
    config = GPTJConfig(
        vocab_size=size.d_vocab,
        n_positions=2048 if size.d_vocab > 10000 else 256,
        n_embd=size.d_model,
        n_layer=size.n_layers,
        n_head=size.n_heads,
        rotary_dim=size.rotary,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.device(device), _default_dtype(dtype):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        encoder = timm.create_model(
            "beit_large_patch16_224",
            num_classes=0,
            img_size=size.image_px,
            embed_dim=size.encoder_width,
            depth=size.encoder_depth,
            num_heads=size.encoder_heads,
        )
        adapter = nn.Linear(size.encoder_width, size.d_model)
    for module in (model, encoder, adapter):
        module.requires_grad_(False).eval()
    part = Part(source="random", licence="MIT", origin="random numbers")
    return Captioner(
        config=CaptionerConfig(
            name="random-gptj-beit",
            is_random=True,
            language_model=part,
            encoder=part,
            adapter=part,
            prompt="A picture of",
            bos=False,
            max_new_tokens=size.max_new_tokens,
            dtype=str(dtype).removeprefix("torch."),
            image_px=size.image_px,
            grid=(size.grid, size.grid),
            pooling="none",
            geometry="squash",
            interpolation="bilinear",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        model=model,
        tokenizer=SyllableTokenizer(),
        encoder=TimmEncoder(encoder, pooling="none"),
        adapter=adapter,
        device=torch.device(device),
        dtype=dtype,
        files={},
    )


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make weights in their type, so that they need not be turned into it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def synthetic_dataset(folder: Path, n_images: int) -> CocoDataset:
    """Draw photographs of COCO's size; a data set of `n_images` rows that name them in turn."""
    random = np.random.default_rng(0)
    for i in range(N_PHOTOGRAPHS):
        colours = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(colours).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC)
        image.save(folder / f"{i}.jpg", quality=90)
    rows = {
        "image_id": range(n_images),
        "file": [f"{i % N_PHOTOGRAPHS}.jpg" for i in range(n_images)],
        "split": ["none"] * n_images,
        "width_px": [WIDTH_PX] * n_images,
        "height_px": [HEIGHT_PX] * n_images,
        "licence_id": [-1] * n_images,
        "source_url": [""] * n_images,
        "coco_url": [""] * n_images,
    }
    schema = DATASET_SCHEMAS["images"]
    return CocoDataset(
        name="synthetic",
        split="none",
        folder=folder,
        tables={"images": pa.table(rows, schema=schema)},
        sha256={},
        warnings=(),
    )


def begin_run(folder: Path, shards: ShardBuilder, dataset: CocoDataset) -> Path:
    """Begin a run folder without what the data set and the weights say."""
    run = folder / "run"
    run.mkdir()
    open_manifest(
        run,
        new_manifest(shards.captioner, shards.model, dataset, shards.settings, shards.execution),
    )
    return run
