"""The captioner as a whole: what comes out of it, and every misfit found before the long part."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from atlas_db.errors import CaptionerError
from atlas_db.run_format import file_sha256
from builder.adapter import load_adapter, save_adapter
from builder.captioner import Captioner, load_captioner
from builder.captioner_config import DTYPES
from builder.init_random import FAMILIES, SIZES, init_random_captioner

TINY = SIZES["tiny"]
N_PATCH = 14 * 14


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One random captioner of each family; not to be changed."""
    root = tmp_path_factory.mktemp("captioners")
    for family in FAMILIES:
        init_random_captioner(root / family, family=family, size="tiny")
    return {family: root / family for family in FAMILIES}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A captioner that a test may change."""
    return shutil.copytree(folders["gptj"], tmp_path / "captioner")


def _edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _pixels(n_images: int = 2) -> torch.Tensor:
    return torch.randn(n_images, 3, 224, 224, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_again_it_gives_the_same_logits(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    captioner = load_captioner(folders[family])
    copy = shutil.copytree(folders[family], tmp_path / "copy")
    shutil.rmtree(copy / "language_model")
    captioner.model.save_pretrained(copy / "language_model")
    captioner.tokenizer.save_pretrained(copy / "language_model")
    (copy / "adapter.safetensors").unlink()
    save_adapter(copy / "proj.ckpt", captioner.adapter)
    adapter = json.loads((copy / "captioner.json").read_text())["adapter"]
    _edit_json(copy / "captioner.json", adapter=adapter | {"source": "proj.ckpt"})

    again = load_captioner(copy)

    with torch.no_grad():
        inputs = [loaded.sequence(loaded.encode(_pixels())) for loaded in (captioner, again)]
        logits = captioner.model(inputs_embeds=inputs[0]).logits
        torch.testing.assert_close(
            again.model(inputs_embeds=inputs[1]).logits, logits, atol=0, rtol=0
        )
    assert again.tokenizer.get_vocab() == captioner.tokenizer.get_vocab()
    assert logits.std() > 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sequence_is_bos_patches_prompt(family: str, folders: dict[str, Path]) -> None:
    captioner = load_captioner(folders[family])
    patches = captioner.encode(_pixels())
    assert patches.shape == (2, N_PATCH, TINY.d_model)
    inputs = captioner.sequence(patches)

    has_bos = family in ("opt", "llama", "mistral", "gemma", "gemma2", "gemma3")
    assert captioner.config.bos == has_bos
    assert captioner.patch_positions == slice(int(has_bos), int(has_bos) + N_PATCH)
    assert torch.equal(inputs[:, captioner.patch_positions], patches)
    words = captioner.model.get_input_embeddings()  # Gemma's scale their weights
    prompt = captioner.tokenizer.encode("A picture of", add_special_tokens=False)
    assert torch.equal(inputs[0, int(has_bos) + N_PATCH :], words(torch.tensor(prompt)))
    if has_bos:
        bos = torch.tensor(captioner.tokenizer.bos_token_id)
        assert torch.equal(inputs[1, 0], words(bos))
    assert inputs.shape[1] == int(has_bos) + N_PATCH + 3


def test_encoding_is_the_adapter_of_the_encoders_features(folders: dict[str, Path]) -> None:
    captioner = load_captioner(folders["gpt2"])
    weights = load_file(folders["gpt2"] / "adapter.safetensors")
    features = captioner.encoder(_pixels())
    expected = features @ weights["weight"].T + weights["bias"]
    torch.testing.assert_close(captioner.encode(_pixels()), expected, atol=1e-5, rtol=1e-5)


def test_a_gradient_reaches_the_patches_and_no_weight(folders: dict[str, Path]) -> None:
    captioner = load_captioner(folders["llama"])
    patches = captioner.encode(_pixels(1)).requires_grad_()
    captioner.model(inputs_embeds=captioner.sequence(patches)).logits[0, -1, 0].backward()
    assert patches.grad is not None
    assert patches.grad.abs().max() > 0
    modules = (captioner.model, captioner.encoder, captioner.adapter)
    parameters = [parameter for module in modules for parameter in module.parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in parameters)
    assert not any(module.training for module in modules)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_has_the_dtype_that_is_asked_for(
    family: str, dtype: str, folders: dict[str, Path]
) -> None:
    captioner = load_captioner(folders[family], dtype=dtype)
    wanted = getattr(torch, dtype)
    for module in (captioner.model, captioner.encoder, captioner.adapter):
        assert {parameter.dtype for parameter in module.parameters()} == {wanted}
    with torch.no_grad():
        inputs = captioner.sequence(captioner.encode(_pixels(1)))
        logits = captioner.model(inputs_embeds=inputs).logits
    assert logits.dtype == wanted
    assert logits.isfinite().all()


def test_one_pooled_feature_becomes_all_prefix_vectors(folder: Path) -> None:
    captioner = load_captioner(folder)
    wide = nn.Linear(TINY.encoder_width, 2 * TINY.d_model)
    save_adapter(folder / "adapter.safetensors", wide)
    _edit_json(folder / "captioner.json", grid=[1, 2], pooling="mean")
    pooled = load_captioner(folder)
    with torch.no_grad():
        mean = captioner.encoder(_pixels()).mean(dim=1)
        first, second = wide(mean).split(TINY.d_model, dim=1)
    torch.testing.assert_close(pooled.encode(_pixels()), torch.stack([first, second], dim=1))


def test_the_hashes_are_of_the_parts_files(folder: Path) -> None:
    before = load_captioner(folder).part_hashes()
    assert before["adapter"] == file_sha256(folder / "adapter.safetensors")

    adapter = load_adapter(folder / "adapter.safetensors")
    adapter.bias += 1
    save_adapter(folder / "adapter.safetensors", adapter)
    after = load_captioner(folder).part_hashes()
    assert {name for name in before if before[name] != after[name]} == {"adapter"}


# Misfits ------------------------------------------------------------------------------------------


def _refused(folder: Path, message: str) -> None:
    with pytest.raises(CaptionerError, match=message):
        load_captioner(folder)


def test_an_adapter_of_the_wrong_width_is_refused(folder: Path) -> None:
    path = folder / "adapter.safetensors"
    save_adapter(path, nn.Linear(TINY.encoder_width + 1, TINY.d_model))
    _refused(folder, r"takes features of width 49, but the encoder 'timm:encoder' gives 48\.")
    save_adapter(path, nn.Linear(TINY.encoder_width, TINY.d_model + 1))
    _refused(folder, r"gives vectors of width 65, but the language model .* wants 64\.")


def test_a_grid_that_does_not_match_is_refused(folder: Path) -> None:
    _edit_json(folder / "captioner.json", grid=[7, 7])
    _refused(folder, r"gives 196 features for an image of 224 px, but 'grid' 7 x 7 wants 49\.")


def test_an_image_size_that_the_encoder_does_not_take_is_refused(folder: Path) -> None:
    _edit_json(folder / "captioner.json", image_px=200)
    _refused(folder, r"does not take images of 200 x 200 pixels")


def test_a_language_model_with_missing_weights_is_refused(folder: Path) -> None:
    path = folder / "language_model" / "model.safetensors"
    weights = load_file(path)
    del weights["transformer.h.1.mlp.fc_in.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    _refused(folder, r"weights that are missing: transformer\.h\.1\.mlp\.fc_in\.weight\.")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_quantised_language_model_is_refused(folder: Path, name: str) -> None:
    """transformers would take the integers for weights."""
    path = folder / "language_model" / "model.safetensors"
    weights = load_file(path)
    key = "transformer.h.1.mlp.fc_in.weight"
    weights[key] = (weights[key] * 100).to(torch.int8)
    path.unlink()
    if name.endswith("safetensors"):
        save_file(weights, path, metadata={"format": "pt"})
    else:
        torch.save(weights, path.with_name(name))
    _refused(folder, rf"weights of type (I8|int8) \({re.escape(key)} in {name}\)")


def test_a_language_model_of_no_numbers_is_refused(folder: Path) -> None:
    path = folder / "language_model" / "model.safetensors"
    weights = load_file(path)
    weights["transformer.h.1.mlp.fc_in.weight"][3, 3] = 1e6  # more than float16 holds
    save_file(weights, path, metadata={"format": "pt"})
    load_captioner(folder)
    with pytest.raises(CaptionerError, match=r"infinite or no numbers .*fc_in.*read as float16"):
        load_captioner(folder, dtype="float16")


def test_a_language_model_of_another_shape_is_refused(folder: Path) -> None:
    _edit_json(folder / "language_model" / "config.json", n_inner=64)
    _refused(folder, r"of another shape: .*fc_in\.bias \(got \(128,\), wanted \(64,\)\)")


def test_a_damaged_language_model_is_refused(folder: Path) -> None:
    path = folder / "language_model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    _refused(folder, "The language model in .* cannot be loaded")


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(folder: Path) -> None:
    path = folder / "language_model"
    captioner = load_captioner(folder)
    captioner.tokenizer.add_tokens([f"extra{i}" for i in range(100)])
    captioner.tokenizer.save_pretrained(path)
    _refused(folder, r"The tokenizer in .* has 19\d\d tokens, but the language model only 1920")


def test_a_tokenizer_with_far_fewer_tokens_than_embeddings_is_refused(folder: Path) -> None:
    path = folder / "language_model" / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = dict(sorted(content["model"]["vocab"].items(), key=lambda item: item[1])[:300])
    content["model"] |= {"vocab": vocabulary, "merges": []}
    path.write_text(json.dumps(content))
    _refused(folder, r"has 30\d tokens, but the language model 1920 embeddings")


def test_a_missing_tokenizer_is_refused(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "language_model" / name).unlink()
        _refused(folder, r"language_model has no tokenizer\. Put the language model's own")


def test_a_damaged_tokenizer_is_refused(folder: Path) -> None:
    path = folder / "language_model" / "tokenizer.json"
    content = json.loads(path.read_text())
    path.write_text('{"model"')
    _refused(folder, "The tokenizer in .* cannot be loaded")
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: i for token, i in vocabulary.items() if i < 600}
    path.write_text(json.dumps(content))
    _refused(folder, "The tokenizer in .* cannot be loaded: Token .* out of vocabulary")


def test_a_tokenizer_that_knows_nothing_of_the_prompt_is_refused(folder: Path) -> None:
    path = folder / "language_model" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] |= {"vocab": {f"§{i}": i for i in range(1900)}, "merges": []}
    path.write_text(json.dumps(content))
    _refused(folder, "makes no tokens of the prompt 'A picture of'")


def test_a_bos_that_the_tokenizer_lacks_is_refused(folder: Path) -> None:
    _edit_json(folder / "captioner.json", bos=True)
    _edit_json(folder / "language_model" / "tokenizer_config.json", bos_token=None)
    _refused(folder, "sets 'bos', but the tokenizer in .* has no BOS token")


def test_a_sequence_longer_than_the_model_takes_is_refused(folder: Path) -> None:
    _edit_json(folder / "captioner.json", max_new_tokens=100)
    _refused(folder, r"196 patches, .* 100 new tokens need 299 positions, .* has 256\.")


def test_an_encoder_model_in_the_language_models_place_is_refused(folder: Path) -> None:
    _edit_json(folder / "language_model" / "config.json", model_type="beit")
    _refused(folder, "The language model in .* cannot be used")


def test_a_captioner_that_is_not_there_says_what_there_is(tmp_path: Path) -> None:
    _refused(
        tmp_path / "gptj-bait",
        "neither a folder with captioner.json nor a preset .miniature, gptj-beit",
    )
    _refused(tmp_path, "is not a captioner folder")


def test_no_other_device_and_no_other_dtype_is_taken_instead(folder: Path) -> None:
    device = "cuda:99" if torch.cuda.is_available() else "cuda"
    with pytest.raises(CaptionerError, match=f"device '{device}' cannot be used"):
        load_captioner(folder, device=device)
    with pytest.raises(CaptionerError, match="device 'gpu' cannot be used"):
        load_captioner(folder, device="gpu")
    with pytest.raises(ValueError, match=r"dtype must be one of .*, got 'int8'"):
        load_captioner(folder, dtype="int8")


def test_the_languages_models_own_loader_agrees(folders: dict[str, Path]) -> None:
    captioner: Captioner = load_captioner(folders["neox"])
    theirs = AutoModelForCausalLM.from_pretrained(folders["neox"] / "language_model")
    ids = torch.tensor([captioner.prompt_ids])
    with torch.no_grad():
        torch.testing.assert_close(captioner.model(ids).logits, theirs(ids).logits)
