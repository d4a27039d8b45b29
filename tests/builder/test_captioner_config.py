"""captioner.json: what is written is read, and what is wrong is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from atlas_db.errors import CaptionerError
from builder.captioner_config import CAPTIONER_FILE, read_config, write_config
from builder.presets import PRESETS

CONFIG = PRESETS["gptj-clip"]


def _edited(folder: Path, **changes: Any) -> Path:
    """Write the preset's file with some keys replaced; None removes one."""
    path = write_config(folder, CONFIG)
    content = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    write_config(tmp_path, PRESETS[name])
    assert read_config(tmp_path) == PRESETS[name]
    assert [path.name for path in tmp_path.iterdir()] == [CAPTIONER_FILE]


def test_revision_alone_may_be_left_out(tmp_path: Path) -> None:
    part = dataclasses.asdict(CONFIG.language_model)
    del part["revision"]
    _edited(tmp_path, language_model=part)
    assert read_config(tmp_path).language_model.revision is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"promt": "A"}, "has the unknown key 'promt'. Remove it, or correct its spelling"),
        ({"prompt": None}, "lacks a key. Add 'prompt': a text that is not empty"),
        ({"prompt": " "}, "'prompt' must be a text that is not empty, got \" \""),
        ({"grid": [14]}, r"'grid' must be \[rows, columns\].* got \[14\]"),
        ({"grid": [14, 0]}, r"'grid' must be \[rows, columns\].* got \[14, 0\]"),
        ({"image_px": True}, "'image_px' must be a whole number >= 1, got true"),
        ({"image_px": 224.0}, "'image_px' must be a whole number >= 1, got 224.0"),
        ({"bos": 0}, "'bos' must be true or false, got 0"),
        ({"is_random": "no"}, "'is_random' must be true or false, got \"no\""),
        ({"dtype": "int8"}, "'dtype' must be one of 'float32', .* got \"int8\""),
        ({"geometry": "pad"}, "'geometry' must be one of 'squash', 'crop', got \"pad\""),
        ({"pooling": "max"}, "'pooling' must be one of 'none', 'mean', got \"max\""),
        ({"interpolation": ["x"]}, "'interpolation' must be one of 'nearest'"),
        ({"std": [1, 1, 0]}, r"'std' must be three numbers > 0, got \[1, 1, 0\]"),
        ({"mean": [0.5, 0.5]}, r"'mean' must be three numbers, got \[0.5, 0.5\]"),
        ({"mean": [0.5, 0.5, float("nan")]}, r"'mean' must be three numbers"),
        ({"encoder": "timm:x"}, "'encoder' must be an object with source and licence"),
        ({"encoder": {"source": "timm:x"}}, "'encoder' lacks a key. Add .*licence.*origin"),
        (
            {"encoder": {"source": "x", "licence": "MIT", "origin": "here"}},
            "the encoder's source must start with 'timm:', 'hf:' or 'vlm:', got 'x'",
        ),
        (
            {"adapter": {"source": "x", "licence": "MIT", "origin": "here", "url": "y"}},
            "captioner.json, 'adapter' has the unknown key 'url'",
        ),
        ({"version": 2}, 'version 2, wanted .*"version": 1'),
        ({"format": None}, "is of format None version 1, wanted"),
    ],
)
def test_wrong_keys_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = _edited(tmp_path, **changes)
    with pytest.raises(CaptionerError, match=message) as caught:
        read_config(tmp_path)
    assert str(path) in str(caught.value)


def test_a_folder_without_the_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CaptionerError, match=r"is not a captioner folder: .* init-random"):
        read_config(tmp_path)


def test_a_file_that_is_not_json_is_named_with_line_and_column(tmp_path: Path) -> None:
    (tmp_path / CAPTIONER_FILE).write_text('{"name":\n}')
    with pytest.raises(CaptionerError, match=r"captioner.json is not JSON: .* line 2, column 1"):
        read_config(tmp_path)
    (tmp_path / CAPTIONER_FILE).write_bytes(b'{"name": "\xff"}')
    with pytest.raises(CaptionerError, match="Wanted a UTF-8 text file"):
        read_config(tmp_path)
    (tmp_path / CAPTIONER_FILE).write_text("[1]")
    with pytest.raises(CaptionerError, match="must hold a JSON object, got list"):
        read_config(tmp_path)
