"""Captioners of public vision-language models, by name.

What is written here of their processors (side of the image, mean, deviation, interpolation) is what
their published files say, and is held against these files when a preset is loaded: a difference is
an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from builder.captioner_config import VLM, CaptionerConfig, Part
from builder.vision_language.families import FAMILIES

_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

_Pixels = tuple[tuple[float, float, float], tuple[float, float, float]]


def _preset(
    name: str,
    repository: str,
    licence: str,
    *,
    family: str,
    side: int,
    interpolation: str,
    pixels: _Pixels,
) -> CaptionerConfig:
    entry = FAMILIES[family]

    def part(source: str) -> Part:
        origin = f"https://huggingface.co/{repository}"
        return Part(source=source, licence=licence, origin=origin)

    return CaptionerConfig(
        name=name,
        is_random=False,
        language_model=part(repository),
        encoder=part(VLM + entry.encoder),
        adapter=part(VLM + entry.adapter),
        prompt=entry.prompt,
        reply=entry.reply,
        bos=False,
        max_new_tokens=30,
        dtype="bfloat16",
        image_px=entry.image_px,
        grid=(side, side),
        pooling="none",
        geometry=entry.geometry,
        interpolation=interpolation,
        mean=pixels[0],
        std=pixels[1],
    )


_CONFIGS = (
    _preset(
        "llava-1.5-7b",
        "llava-hf/llava-1.5-7b-hf",
        "Llama 2 Community License",
        family="llava",
        side=24,
        interpolation="bicubic",
        pixels=_CLIP,
    ),
    _preset(
        "llava-onevision-7b",
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        "Apache-2.0",
        family="llava_onevision",
        side=27,
        interpolation="bicubic",
        pixels=_HALF,
    ),
    _preset(
        "qwen2.5-vl-7b",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Apache-2.0",
        family="qwen2_5_vl",
        side=16,
        interpolation="bicubic",
        pixels=_CLIP,
    ),
    _preset(
        "gemma-3-4b",
        "google/gemma-3-4b-it",
        "Gemma Terms of Use",
        family="gemma3",
        side=16,
        interpolation="bilinear",
        pixels=_HALF,
    ),
    _preset(
        "smolvlm-256m",
        "HuggingFaceTB/SmolVLM-256M-Instruct",
        "Apache-2.0",
        family="idefics3",
        side=8,
        interpolation="lanczos",
        pixels=_HALF,
    ),
    _preset(
        "smolvlm2-256m",
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
        "Apache-2.0",
        family="smolvlm",
        side=8,
        interpolation="lanczos",
        pixels=_HALF,
    ),
    _preset(
        "paligemma-3b",
        "google/paligemma-3b-mix-224",
        "Gemma Terms of Use",
        family="paligemma",
        side=16,
        interpolation="bicubic",
        pixels=_HALF,
    ),
    _preset(
        "paligemma-2-3b",
        "google/paligemma2-3b-mix-224",
        "Gemma Terms of Use",
        family="paligemma",
        side=16,
        interpolation="bicubic",
        pixels=_HALF,
    ),
)

#: By name.
VISION_LANGUAGE_PRESETS: Mapping[str, CaptionerConfig] = MappingProxyType(
    {config.name: config for config in _CONFIGS}
)
