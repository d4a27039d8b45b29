"""A checkpoint or a processor that does not fit captioner.json is refused with a sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_vision_language import (
    write_tiny,
    write_tiny_captioner,
)

from atlas_db.errors import CaptionerError
from builder.captioner import load_captioner
from builder.captioner_config import read_config
from builder.vision_language.families import FAMILIES


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("misfits")
    write_tiny_captioner("llava", root)
    return root


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_grid_that_does_not_match_is_refused(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    edit(folder / "captioner" / "captioner.json", grid=[3, 3])
    with pytest.raises(CaptionerError, match=r"makes 16 image tokens .* grid 3 x 3 wants 9"):
        load_captioner(folder / "captioner")


def test_other_pixels_than_the_processors_are_refused(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    edit(folder / "captioner" / "captioner.json", mean=[0.1, 0.2, 0.3])
    with pytest.raises(CaptionerError, match="pixels differ from the captioner's by up to"):
        load_captioner(folder / "captioner")


@pytest.mark.parametrize(
    ("family", "n_tiles"), [("idefics3", 5), ("smolvlm", 5), ("llava_onevision", 2)]
)
def test_several_tiles_are_refused(
    family: str, n_tiles: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left as they are, their processors make four tiles and the whole, or the whole twice."""
    write_tiny_captioner(family, tmp_path)
    as_published = replace(FAMILIES[family], one_tile=None)
    monkeypatch.setitem(FAMILIES, family, as_published)  # type: ignore[misc]
    with pytest.raises(CaptionerError, match=rf"\({n_tiles} times as many as .* Wanted one tile"):
        load_captioner(tmp_path / "captioner")


def test_another_number_of_patches_is_refused(tmp_path: Path) -> None:
    """A Qwen processor that makes the image smaller than captioner.json says."""
    write_tiny_captioner("qwen2_5_vl", tmp_path)
    path = tmp_path / "checkpoint" / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"]["size"] = {"shortest_edge": 28 * 28, "longest_edge": 4 * 28 * 28}
    path.write_text(json.dumps(content))
    with pytest.raises(CaptionerError, match=r"\(0\.25 times as many as .* Wanted one tile"):
        load_captioner(tmp_path / "captioner")


def test_a_family_that_is_not_in_the_table_is_named(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    edit(folder / "checkpoint" / "config.json", model_type="blip-2")
    with pytest.raises(CaptionerError, match=r"'blip-2' are not in the table .*llava"):
        load_captioner(folder / "captioner")


def test_missing_processor_files_are_named(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    for path in (folder / "checkpoint").glob("*processor_config.json"):
        path.unlink()
    with pytest.raises(CaptionerError, match="processor"):
        load_captioner(folder / "captioner")


def test_a_captioner_with_unknown_module_names_is_no_adapter(llava: Path) -> None:
    config = read_config(llava / "captioner")
    assert config.is_vision_language
    assert config.adapter.source == "vlm:model.multi_modal_projector"


def test_checkpoints_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one, two = (write_tiny("llava", tmp_path / name, seed=4) for name in "ab")
    name = "model.safetensors"
    assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_damaged_tokenizer_is_refused(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "a")
    path = folder / "checkpoint" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] = {"type": "BPE", "vocab": {}, "merges": [["no", "token"]]}
    path.write_text(json.dumps(content))
    with pytest.raises(CaptionerError, match=r"checkpoint cannot be loaded: .*out of vocabulary"):
        load_captioner(folder / "captioner")
