"""What a captioner is made of: the file `captioner.json`.

A captioner folder holds `captioner.json`, which names three parts and says how a photograph becomes
the encoder's input::

    {
     "format": "neuron-atlas-captioner", "version": 1,
     "name": "gptj-beit", "is_random": false,
     "language_model": {"source": "EleutherAI/gpt-j-6b", "revision": "float16", "licence": ...},
     "encoder": {"source": "hf:microsoft/beit-large-patch16-224-pt22k", ...},
     "adapter": {"source": "proj.ckpt", ...},
     "prompt": "A picture of", "bos": false, "max_new_tokens": 30, "dtype": "bfloat16",
     "image_px": 224, "grid": [14, 14], "pooling": "none", "geometry": "squash",
     "interpolation": "bilinear", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]
    }

`source` is a path relative to the folder, or else a name on the hub; the encoder's starts with
`timm:` or `hf:`. The model reads `[BOS] patches prompt`; BOS only where `bos` is true (OPT and
Llama were trained with one at the start, GPT-J, GPT-2 and GPT-NeoX were not; LiMBeR has none).

Of a vision-language model `language_model` is the whole checkpoint, `encoder` and `adapter` are
modules of it (`vlm:model.vision_tower`), `prompt` is the user's question, and `reply` the first
words of the answer; what else stands around the image its own chat template says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas_db.errors import CaptionerError
from atlas_db.run_format import write_json

CAPTIONER_FORMAT = "neuron-atlas-captioner"
CAPTIONER_VERSION = 1
CAPTIONER_FILE = "captioner.json"

DTYPES = ("float32", "float64", "bfloat16", "float16")
GEOMETRIES = ("squash", "crop")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
POOLINGS = ("none", "mean")
#: Starts an encoder's or adapter's source that is a module of the language model's checkpoint.
VLM = "vlm:"


@dataclass(frozen=True, slots=True)
class Part:
    """One of the three parts: where it lies, and where it comes from."""

    source: str
    licence: str
    origin: str
    revision: str | None = None  # of a hub name; None: its main revision


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionerConfig:
    """The contents of `captioner.json`, checked.

    `grid` is (rows, columns) of the prefix. With pooling "none" it is the grid of the encoder's
    features. With "mean" the encoder gives one feature for the whole image, and the adapter makes
    all rows * columns prefix vectors from it (LiMBeR's NF-ResNet50).
    """

    name: str
    is_random: bool
    language_model: Part
    encoder: Part
    adapter: Part
    prompt: str
    bos: bool
    max_new_tokens: int
    dtype: str
    image_px: int
    grid: tuple[int, int]
    pooling: str
    geometry: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    reply: str = ""  # of a vision-language model: how its answer begins
    notice: str = ""  # what every page made from it must say, such as "Interim weights."

    @property
    def is_vision_language(self) -> bool:
        """Say whether encoder and adapter are modules of the language model's own checkpoint."""
        return self.encoder.source.startswith(VLM)

    @property
    def n_patch(self) -> int:
        """Count the prefix vectors that stand for the image."""
        return self.grid[0] * self.grid[1]


Check = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_list(length: int, check: Check) -> Check:
    return lambda value: isinstance(value, list) and len(value) == length and all(map(check, value))


def _one_of(choices: tuple[str, ...]) -> tuple[Check, str]:
    return (lambda value: value in choices), "one of " + ", ".join(map(repr, choices))


#: For each key of captioner.json: whether a value is right, and what is wanted, in words.
_KEYS: Mapping[str, tuple[Check, str]] = {
    "name": (_is_text, "a text that is not empty"),
    "is_random": (lambda value: isinstance(value, bool), "true or false"),
    "language_model": (lambda value: isinstance(value, dict), "an object with source and licence"),
    "encoder": (lambda value: isinstance(value, dict), "an object with source and licence"),
    "adapter": (lambda value: isinstance(value, dict), "an object with source and licence"),
    "prompt": (_is_text, "a text that is not empty"),
    "bos": (lambda value: isinstance(value, bool), "true or false"),
    "max_new_tokens": (_is_count, "a whole number >= 1"),
    "dtype": _one_of(DTYPES),
    "image_px": (_is_count, "a whole number >= 1"),
    "grid": (_is_list(2, _is_count), "[rows, columns], two whole numbers >= 1"),
    "pooling": _one_of(POOLINGS),
    "geometry": _one_of(GEOMETRIES),
    "interpolation": _one_of(INTERPOLATIONS),
    "mean": (_is_list(3, _is_finite), "three numbers"),
    "std": (_is_list(3, lambda value: _is_finite(value) and value > 0), "three numbers > 0"),
    "reply": (lambda value: isinstance(value, str), "a text with which the answer begins"),
    "notice": (lambda value: isinstance(value, str), "a text, shown on every page"),
}
_PART_KEYS: Mapping[str, tuple[Check, str]] = {
    "source": (_is_text, "a path or a hub name"),
    "licence": (_is_text, "the licence's name"),
    "origin": (_is_text, "where the part comes from"),
    "revision": (lambda value: value is None or _is_text(value), "a hub revision or null"),
}


def _check_keys(
    where: str, found: Mapping[str, Any], keys: Mapping[str, tuple[Check, str]], optional: set[str]
) -> None:
    unknown = sorted(set(found) - set(keys))
    missing = sorted(set(keys) - set(found) - optional)
    if unknown:
        raise CaptionerError(
            f"{where} has the unknown key {', '.join(map(repr, unknown))}. "
            f"Remove it, or correct its spelling; known are {', '.join(keys)}."
        )
    if missing:
        wanted = "; ".join(f"{key!r}: {keys[key][1]}" for key in missing)
        raise CaptionerError(f"{where} lacks a key. Add {wanted}.")
    for key, value in found.items():
        is_right, wanted = keys[key]
        if not is_right(value):
            raise CaptionerError(f"{where}: {key!r} must be {wanted}, got {json.dumps(value)}.")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CaptionerError(
            f"{path.parent} is not a captioner folder: it has no {CAPTIONER_FILE}. "
            "Give the folder that has one, the name of a preset, or make a random captioner with "
            "`neuron-atlas captioner init-random --family gptj --size tiny DIR`."
        ) from None
    except json.JSONDecodeError as error:
        raise CaptionerError(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "Correct the file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CaptionerError(f"{path} cannot be read: {error}. Wanted a UTF-8 text file.") from None


def read_config(folder: Path) -> CaptionerConfig:
    """Read and check `folder`/captioner.json.

    Raises:
        CaptionerError: The file is missing, not JSON, of another version, or a key is unknown,
            missing or of the wrong kind; the message names the file and the key.
    """
    path = folder / CAPTIONER_FILE
    found = _read_json(path)
    if not isinstance(found, dict):
        raise CaptionerError(f"{path} must hold a JSON object, got {type(found).__name__}.")
    kind = (found.pop("format", None), found.pop("version", None))
    if kind != (CAPTIONER_FORMAT, CAPTIONER_VERSION):
        raise CaptionerError(
            f'{path} is of format {kind[0]!r} version {kind[1]!r}, wanted "format": '
            f'"{CAPTIONER_FORMAT}", "version": {CAPTIONER_VERSION}. Write it again in that form.'
        )
    _check_keys(str(path), found, _KEYS, optional={"reply", "notice"})
    for key in ("language_model", "encoder", "adapter"):
        _check_keys(f"{path}, {key!r}", found[key], _PART_KEYS, optional={"revision"})
        found[key] = Part(**found[key])
    if not found["encoder"].source.startswith(("timm:", "hf:", VLM)):
        raise CaptionerError(
            f"{path}: the encoder's source must start with 'timm:', 'hf:' or 'vlm:', "
            f"got {found['encoder'].source!r}."
        )
    for key in ("grid", "mean", "std"):
        found[key] = tuple(found[key])
    return CaptionerConfig(**found)


def write_config(folder: Path, config: CaptionerConfig) -> Path:
    """Write `folder`/captioner.json, whole or not at all, and give its path."""
    path = folder / CAPTIONER_FILE
    content = {"format": CAPTIONER_FORMAT, "version": CAPTIONER_VERSION, **asdict(config)}
    write_json(path, content)
    return path
