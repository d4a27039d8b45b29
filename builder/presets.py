"""Captioners of published parts, by name.

The `gptj-*` presets are LiMBeR's: GPT-J 6B and a frozen encoder joined by one linear layer that was
trained on CC3M captions. The language model and the encoders are on the hub; LiMBeR's linear layers
are not: they lie in its repository, and have to be put where `preset_folder` says.

What its code says of them (image_encoders.py, transforms.py, configs/):

- `gptj-beit`, `gptj-beit-ft`: pixels squashed to 224 x 224 (bilinear, mean and deviation .5), 196
  features of BEiT-L without CLS. The paper (arXiv 2308.01544) uses the first of the two.
- `gptj-clip`: RN50x16 at 384 px without attention pooling: the short side resized (bicubic), the
  centre cropped, CLIP's mean and deviation; 144 features of 3072.
- `gptj-nfrn50`: NF-ResNet50, its last map averaged to one feature of 2048. LiMBeR's transform for
  it has no normalisation, and crops and flips at random; here the centre is cropped. Its
  configuration has one prefix vector (`image_seq_len: 1`), its paper two: if the file proves to
  have 8192 rows, copy the preset's captioner.json and set `grid` to [1, 2].

Source: Merullo et al., Linearly Mapping from Image to Text Space (arXiv 2209.15162) and the
repository jmerullo/limber (MIT).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from atlas_db.errors import CaptionerError
from builder.captioner_config import CaptionerConfig, Part, read_config
from builder.miniature.shipped import MINIATURE, shipped_captioner
from builder.vision_language.presets import VISION_LANGUAGE_PRESETS

_GPTJ = Part(
    source="EleutherAI/gpt-j-6b",
    revision="float16",
    licence="Apache-2.0",
    origin="https://huggingface.co/EleutherAI/gpt-j-6b",
)
_LIMBER = "https://github.com/jmerullo/limber"

_BEIT_PIXELS: Mapping[str, Any] = {
    "image_px": 224,
    "grid": (14, 14),
    "pooling": "none",
    "geometry": "squash",
    "interpolation": "bilinear",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}
_CLIP_PIXELS: Mapping[str, Any] = {
    "image_px": 384,
    "grid": (12, 12),
    "pooling": "none",
    "geometry": "crop",
    "interpolation": "bicubic",
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
_NFRN50_PIXELS: Mapping[str, Any] = {
    "image_px": 384,
    "grid": (1, 1),
    "pooling": "mean",
    "geometry": "crop",
    "interpolation": "bilinear",
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
}


def _limber(name: str, weights: str, encoder: Part, pixels: Mapping[str, Any]) -> CaptionerConfig:
    adapter = Part(source=f"limber_weights/{weights}/proj.ckpt", licence="MIT", origin=_LIMBER)
    return CaptionerConfig(
        name=name,
        is_random=False,
        language_model=_GPTJ,
        encoder=encoder,
        adapter=adapter,
        prompt="A picture of",
        bos=False,
        max_new_tokens=30,
        dtype="bfloat16",
        **pixels,
    )


def _beit(repository: str) -> Part:
    return Part(
        source=f"hf:microsoft/{repository}",
        licence="Apache-2.0",
        origin=f"https://huggingface.co/microsoft/{repository}",
    )


_CONFIGS = (
    _limber("gptj-beit", "beit_linear", _beit("beit-large-patch16-224-pt22k"), _BEIT_PIXELS),
    _limber(
        "gptj-beit-ft", "beit_ft_linear", _beit("beit-large-patch16-224-pt22k-ft22k"), _BEIT_PIXELS
    ),
    _limber(
        "gptj-clip",
        "clip_linear",
        Part(
            source="timm:resnet50x16_clip.openai",
            licence="MIT",
            origin="https://huggingface.co/timm/resnet50x16_clip.openai",
        ),
        _CLIP_PIXELS,
    ),
    _limber(
        "gptj-nfrn50",
        "nfrn50_4096_linear",
        Part(
            source="timm:nf_resnet50.ra2_in1k",
            licence="Apache-2.0",
            origin="https://huggingface.co/timm/nf_resnet50.ra2_in1k",
        ),
        _NFRN50_PIXELS,
    ),
)

#: Every preset, by name.
PRESETS: Mapping[str, CaptionerConfig] = MappingProxyType({c.name: c for c in _CONFIGS})

#: Every preset: the embedded miniature, those of published parts, vision-language models.
PRESET_NAMES = (MINIATURE, *PRESETS, *VISION_LANGUAGE_PRESETS)

#: Names the folder where files that are not on the hub are looked for.
WEIGHTS_VARIABLE = "NEURON_ATLAS_WEIGHTS"


def preset_config(name: str) -> CaptionerConfig:
    """Give the configuration of one of PRESET_NAMES.

    Raises:
        CaptionerError: The package was installed without the miniature's weights.
    """
    if name == MINIATURE:
        return read_config(shipped_captioner())
    return VISION_LANGUAGE_PRESETS[name] if name in VISION_LANGUAGE_PRESETS else PRESETS[name]


def preset_folder(name: str) -> Path:
    """Give the folder against which a preset's paths are read, after checking its adapter is there.

    Of a vision-language model the adapter is a part of its checkpoint, on the hub.

    Raises:
        CaptionerError: The adapter is missing; the message says how to get it and where to put it.
    """
    if name == MINIATURE:
        return shipped_captioner()
    default = Path.home() / ".cache" / "neuron-atlas"
    folder = Path(os.environ.get(WEIGHTS_VARIABLE) or default).expanduser()
    if name in VISION_LANGUAGE_PRESETS:
        return folder
    config = PRESETS[name]
    path = folder / config.adapter.source
    if not path.is_file():
        raise CaptionerError(
            f"The preset {name!r} needs the adapter {path}, which is missing. Its authors publish "
            f"it in their repository: run `git clone {config.adapter.origin}` and copy "
            f"{config.adapter.source} there (or set {WEIGHTS_VARIABLE} to the clone's folder)."
        )
    return folder
