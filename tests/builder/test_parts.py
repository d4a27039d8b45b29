"""Where parts are looked for, what is hashed, and what is said when something is not there."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub.constants
import pytest

from atlas_db.errors import CaptionerError
from atlas_db.run_format import file_sha256
from builder.captioner_config import Part
from builder.parts import files_sha256, hub_folder, local_path, part_files, weight_files


def _part(source: str) -> Part:
    return Part(source=source, licence="MIT", origin="here")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of our own, on a machine that is offline."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


def _cached(cache: Path, name: str, revision: str, files: dict[str, str]) -> Path:
    """Put files into the cache the way that the hub's client does."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text("0123abcd")
    for file, content in files.items():
        (snapshot / file).write_text(content)
    return snapshot


def test_a_source_is_a_path_beside_captioner_json_or_a_hub_name(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    assert local_path(_part("timm:encoder"), tmp_path) == tmp_path / "encoder"
    assert local_path(_part(f"hf:{tmp_path}/encoder"), Path("/elsewhere")) == tmp_path / "encoder"
    assert local_path(_part("EleutherAI/gpt-j-6b"), tmp_path) is None
    assert local_path(_part("hf:microsoft/beit"), tmp_path) is None


@pytest.mark.parametrize("source", ["./model", "../model", "/no/such/model", "a/b/c", "~/nothing"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(source: str, tmp_path: Path) -> None:
    with pytest.raises(CaptionerError, match=r"does not exist. Put the part there") as caught:
        local_path(_part(source), tmp_path)
    assert source in str(caught.value)


def test_the_hubs_cache_is_enough(hub_cache: Path) -> None:
    files = {"config.json": "{}", "pytorch_model.bin": "weights"}
    snapshot = _cached(hub_cache, "owner/model", "float16", files)
    assert hub_folder("owner/model", "float16", folder=Path("here")) == snapshot


def test_offline_without_the_files_says_which_to_put_where(hub_cache: Path) -> None:
    with pytest.raises(CaptionerError) as caught:
        hub_folder("owner/model", "float16", folder=Path("here"))
    message = str(caught.value)
    assert message.startswith("'owner/model' at revision float16 is neither a path in here nor")
    assert "hf download owner/model --revision float16" in message
    assert "config.json" in message
    assert "'source' in captioner.json" in message


def test_a_cache_without_weights_is_not_enough(hub_cache: Path) -> None:
    _cached(hub_cache, "owner/model", "main", {"config.json": "{}"})
    with pytest.raises(CaptionerError, match="no weights are in the cache"):
        hub_folder("owner/model", None, folder=Path("here"))


def test_safetensors_are_taken_before_pickles(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    assert [path.name for path in weight_files(tmp_path)] == ["pytorch_model.bin"]
    for name in ("model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"):
        (tmp_path / name).touch()
    assert [path.name for path in weight_files(tmp_path)] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptionerError, match=r"holds no weights. Wanted model.safetensors"):
        weight_files(tmp_path)


def test_the_hash_is_of_what_the_part_is(tmp_path: Path) -> None:
    def write(folder: str, weights: bytes, **config: object) -> str:
        path = tmp_path / folder
        path.mkdir()
        (path / "model.safetensors").write_bytes(weights)
        (path / "config.json").write_text(json.dumps(config))
        (path / "tokenizer.json").write_text("{}")
        (path / "README.md").write_text(folder)
        return files_sha256(part_files(path, ("tokenizer.json",)))

    first = write("a", b"1", n_layer=2, transformers_version="5.17")
    assert write("b", b"1", transformers_version="5.23", n_layer=2) == first
    assert write("c", b"2", n_layer=2) != first
    assert write("d", b"1", n_layer=3) != first

    tokenizer = tmp_path / "b" / "tokenizer.json"
    tokenizer.write_text('{"a": 1}')
    assert files_sha256(part_files(tmp_path / "b", ("tokenizer.json",))) != first


def test_the_hash_of_a_single_file_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "proj.ckpt").write_bytes(b"adapter")
    files = part_files(tmp_path / "proj.ckpt")
    assert files_sha256(files) == file_sha256(tmp_path / "proj.ckpt")
