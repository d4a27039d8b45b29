"""Put a captioner together whose adapter is still to be learnt, and write it when it is.

What a photograph becomes is read from the encoder where nothing else is said: timm's pretrained
configuration or transformers' `preprocessor_config.json` name its size, mean and standard deviation
and the interpolation. The whole photograph is squashed to a square, so that every part of it has a
patch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import nn
from transformers import AutoTokenizer

from atlas_db.errors import CaptionerError
from builder.adapter import save_adapter
from builder.captioner import Captioner, language_model_shape, load_captioner
from builder.captioner_config import CaptionerConfig, Part, read_config, write_config
from builder.encoders import feature_shape, load_encoder
from builder.parts import hub_folder, local_path
from builder.presets import PRESETS, preset_config, preset_folder
from builder.training.trainer import new_adapter
from builder.vision_language.presets import VISION_LANGUAGE_PRESETS

ADAPTER_FILE = "adapter.safetensors"
LIMBER_FILE = "proj.ckpt"
#: Pillow's numbers, as transformers' processors keep them.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_UNKNOWN_SIZE_PX = 224
_UNTRAINED = "The adapter of this captioner is untrained."


@dataclass(frozen=True, kw_only=True)
class NewCaptioner:
    """What is asked for; None: as the parts say.

    `like` is a captioner folder or a preset, whose parts and settings are taken and whose adapter
    is not; or else `language_model` (folder or hub name) and `encoder` (`timm:` or `hf:`).
    """

    like: str | None = None
    language_model: str | None = None
    encoder: str | None = None
    name: str | None = None
    licence: str = "not stated"
    prompt: str | None = None
    bos: bool | None = None
    image_px: int | None = None
    max_new_tokens: int | None = None
    pixels: Mapping[str, Any] | None = None  # geometry, interpolation, mean, std


def assemble(
    wanted: NewCaptioner, out: Path, *, seed: int, device: str, dtype: str | None
) -> Captioner:
    """Write `out` as a captioner with an untrained adapter, and load it with all checks.

    Raises:
        CaptionerError: A part cannot be found or used, or the parts do not fit one another.
    """
    out.mkdir(parents=True, exist_ok=True)
    config = _like(wanted, out) if wanted.like else _of_parts(wanted, out)
    if config.is_vision_language:
        raise CaptionerError(
            f"{wanted.like!r} is a vision-language model: it has an adapter of its own, and "
            "`neuron-atlas build` takes it as it is. Give a captioner of three parts, or "
            "--language-model and --encoder."
        )
    changes: dict[str, Any] = {
        key: getattr(wanted, key)
        for key in ("name", "prompt", "bos", "image_px", "max_new_tokens")
        if getattr(wanted, key) is not None
    }
    changes |= wanted.pixels or {}
    changes["adapter"] = Part(source=ADAPTER_FILE, licence=wanted.licence, origin="untrained")
    notice = f"{config.notice} {_UNTRAINED}".strip()
    config = replace(config, **changes, notice=notice)
    encoder, _ = load_encoder(config, out, device="cpu", dtype=torch.float32)
    n_patch, d_in = feature_shape(encoder, config.image_px)
    if config.pooling == "none":
        config = replace(config, grid=_grid(n_patch, config))
    _, d_model, _ = language_model_shape(_language_model_path(config, out))
    d_out = d_model * (config.n_patch if config.pooling == "mean" else 1)
    save_adapter(out / ADAPTER_FILE, new_adapter(d_in, d_out, seed))
    write_config(out, config)
    return load_captioner(out, device=device, dtype=dtype)


def write_trained(captioner: Captioner, untrained: Path, out: Path, adapter: nn.Linear) -> Path:
    """Write a captioner folder that `build` takes; the adapter also as LiMBeR's `proj.ckpt`.

    `untrained` is the folder that `assemble` wrote.
    """
    config = captioner.config
    parts: dict[str, Any] = {
        name: _moved(getattr(config, name), untrained, out) for name in _MODELS
    }
    save_adapter(out / ADAPTER_FILE, adapter)
    save_adapter(out / LIMBER_FILE, adapter)
    notice = config.notice.removesuffix(_UNTRAINED).strip()
    return write_config(out, replace(config, **parts, notice=notice))


_MODELS = ("language_model", "encoder")


def _like(wanted: NewCaptioner, out: Path) -> CaptionerConfig:
    source = str(wanted.like)
    folder = Path(source).expanduser()
    if folder.is_dir():
        config = read_config(folder)
    elif source in PRESETS or source in VISION_LANGUAGE_PRESETS:
        return preset_config(source)  # its adapter need not be there: it is what is learnt
    else:
        config, folder = preset_config(source), preset_folder(source)
    parts: dict[str, Any] = {name: _moved(getattr(config, name), folder, out) for name in _MODELS}
    return replace(config, **parts)


def _moved(part: Part, old: Path, new: Path) -> Part:
    """Name a part from another folder, where it is a path."""
    path = local_path(part, old)
    if path is None:
        return part
    library = next((kind for kind in ("timm:", "hf:") if part.source.startswith(kind)), "")
    return replace(part, source=library + os.path.relpath(path.resolve(), new.resolve()))


def _of_parts(wanted: NewCaptioner, out: Path) -> CaptionerConfig:
    if not (wanted.language_model and wanted.encoder):
        raise CaptionerError(
            "Which parts are to be joined? Give --language-model and --encoder, or --like with a "
            "captioner folder or a preset."
        )
    if not wanted.encoder.startswith(("timm:", "hf:")):
        raise CaptionerError(
            f"The encoder must start with 'timm:' or 'hf:', got {wanted.encoder!r}."
        )
    parts = {
        "language_model": _part(wanted.language_model, out),
        "encoder": _part(wanted.encoder, out),
    }
    names = [Path(part.source.split(":")[-1]).name for part in parts.values()]
    config = CaptionerConfig(
        name="-".join(names),
        is_random=False,
        language_model=parts["language_model"],
        encoder=parts["encoder"],
        adapter=Part(source=ADAPTER_FILE, licence=wanted.licence, origin="untrained"),
        prompt="A picture of",
        bos=False,
        max_new_tokens=30,
        dtype="bfloat16" if torch.cuda.is_available() else "float32",
        image_px=_UNKNOWN_SIZE_PX,
        grid=(1, 1),
        pooling="none",
        geometry="squash",
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    bos = starts_with_bos(_language_model_path(config, out))
    return replace(config, bos=bos, **_pixels(config, out))


def _part(source: str, out: Path) -> Part:
    library, colon, name = source.rpartition(":")
    path = Path(name).expanduser()
    if path.exists():
        name, origin = os.path.relpath(path.resolve(), out.resolve()), "a folder of this machine"
    else:
        origin = f"https://huggingface.co/{name}" if "/" in name else source
    return Part(source=f"{library}{colon}{name}", licence="see the origin", origin=origin)


def _language_model_path(config: CaptionerConfig, folder: Path) -> Path:
    part = config.language_model
    return local_path(part, folder) or hub_folder(part.source, part.revision, folder=folder)


def starts_with_bos(path: Path) -> bool:
    """Say whether a tokenizer puts a BOS before a text, as its model was trained."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False  # load_captioner says what is wrong with it
    ids = tokenizer.encode("a")
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _pixels(config: CaptionerConfig, out: Path) -> dict[str, Any]:
    """Read how a photograph becomes an encoder's input from the encoder's own files."""
    encoder, path = load_encoder(config, out, device="cpu", dtype=torch.float32)
    if config.encoder.source.startswith("timm:"):
        found = resolve_model_data_config(encoder.model)
        return {
            "image_px": found["input_size"][-1],
            "interpolation": found["interpolation"],
            "mean": tuple(map(float, found["mean"])),
            "std": tuple(map(float, found["std"])),
        }
    file = path / "preprocessor_config.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    size = found.get("crop_size") or found.get("size") or _UNKNOWN_SIZE_PX
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or _UNKNOWN_SIZE_PX
    return {
        "image_px": int(size),
        "interpolation": _RESAMPLE.get(found.get("resample", 3), "bicubic"),
        "mean": tuple(map(float, found.get("image_mean") or config.mean)),
        "std": tuple(map(float, found.get("image_std") or config.std)),
    }


def _grid(n_patch: int, config: CaptionerConfig) -> tuple[int, int]:
    if n_patch == config.n_patch:
        return config.grid
    side = math.isqrt(n_patch)
    if side * side != n_patch:
        raise CaptionerError(
            f"The encoder {config.encoder.source!r} gives {n_patch} features for an image of "
            f"{config.image_px} px: no square grid. Use an encoder whose patches form one."
        )
    return side, side
