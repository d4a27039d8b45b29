"""Random captioners: real formats, the same files for the same seed, captions made of words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from atlas_db.errors import CaptionerError
from atlas_db.run_format import file_sha256
from builder.captioner import load_captioner
from builder.everyday_tokenizer import everyday_words
from builder.init_random import FAMILIES, init_random_captioner
from neuron_atlas.commands.captioner import FAMILIES as CHOICES

N_IMAGES = 8
N_NEW_TOKENS = 6


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): file_sha256(path) for path in files}


@pytest.mark.parametrize("family", FAMILIES)
def test_random_captioner_gives_word_captions_that_differ_between_images(
    family: str, tmp_path: Path
) -> None:
    init_random_captioner(tmp_path / "captioner", family=family, size="tiny")
    captioner = load_captioner(tmp_path / "captioner")
    generator = torch.Generator().manual_seed(1)
    colours = torch.rand(N_IMAGES, 3, 4, 4, generator=generator) * 2 - 1
    pixels = torch.nn.functional.interpolate(colours, size=(224, 224), mode="nearest")

    inputs = captioner.sequence(captioner.encode(pixels))
    tokens = captioner.model.generate(
        inputs_embeds=inputs,
        attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long),
        max_new_tokens=N_NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    captions = [captioner.tokenizer.decode(row) for row in tokens]

    assert len(set(captions)) >= N_IMAGES // 2
    words = [word for caption in captions for word in caption.split()]
    assert sum(word in everyday_words() for word in words) >= 0.9 * len(words)


def test_same_seed_writes_the_same_files_and_another_does_not(tmp_path: Path) -> None:
    init_random_captioner(tmp_path / "a", family="gptj", size="tiny", seed=3)
    init_random_captioner(tmp_path / "b", family="gptj", size="tiny", seed=3)
    init_random_captioner(tmp_path / "c", family="gptj", size="tiny", seed=4)

    first, again, other = (_hashes(tmp_path / name) for name in "abc")

    assert first == again
    weights = {"language_model/model.safetensors", "encoder/model.safetensors"}
    for name in weights | {"adapter.safetensors"}:
        assert first[name] != other[name]


def test_captioner_json_says_that_it_is_random(tmp_path: Path) -> None:
    init_random_captioner(tmp_path, family="gpt2", size="tiny")
    content = json.loads((tmp_path / "captioner.json").read_text())
    assert content["is_random"] is True
    assert "random" in content["language_model"]["origin"]


def test_parts_load_with_transformers_alone(tmp_path: Path) -> None:
    init_random_captioner(tmp_path, family="llama", size="tiny")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "language_model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "language_model")
    assert model.config.model_type == "llama"
    # As GPT-J's, the embedding has rows that no token uses.
    assert model.get_input_embeddings().num_embeddings > len(tokenizer)


@pytest.mark.parametrize(("family", "size"), [("bert", "tiny"), ("gptj", "huge")])
def test_unknown_names_are_refused(family: str, size: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be one of .*, got '(bert|huge)'"):
        init_random_captioner(tmp_path / "new", family=family, size=size)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(CaptionerError, match="is not empty"):
        init_random_captioner(tmp_path, family="gptj", size="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_command_offers_every_family() -> None:
    assert set(CHOICES) == set(FAMILIES)
