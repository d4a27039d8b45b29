"""Presets: the facts of the published parts, and what is said when the adapter is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from transformers import BeitConfig, BeitModel

from atlas_db.errors import CaptionerError
from builder.captioner import load_captioner
from builder.encoders import PatchEncoder, TimmEncoder, TransformersEncoder
from builder.presets import PRESETS, WEIGHTS_VARIABLE, preset_folder

#: BEiT-L/16, as both published checkpoints have it.
_BEIT_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "use_shared_relative_position_bias": True,
}
#: Width of the features that LiMBeR's adapters take.
_WIDTHS = {"gptj-beit": 1024, "gptj-beit-ft": 1024, "gptj-clip": 3072, "gptj-nfrn50": 2048}


def _encoder(name: str) -> PatchEncoder:
    """Build a preset's encoder at full size, without memory for its weights."""
    config = PRESETS[name]
    library, model_name = config.encoder.source.split(":", 1)
    with torch.device("meta"):
        if library == "hf":
            model = BeitModel(BeitConfig(**_BEIT_LARGE), add_pooling_layer=False)
            return TransformersEncoder(model, pooling=config.pooling, n_prefix=1)
        model = timm.create_model(model_name, num_classes=0)
        return TimmEncoder(model, pooling=config.pooling)


@pytest.mark.parametrize("name", PRESETS)
def test_the_grid_is_that_of_the_encoders_features(name: str) -> None:
    config = PRESETS[name]
    pixels = torch.zeros(1, 3, config.image_px, config.image_px, device="meta")
    features = _encoder(name).eval()(pixels)
    assert features.shape == (1, config.n_patch, _WIDTHS[name])


def test_the_papers_captioner() -> None:
    config = PRESETS["gptj-beit"]
    assert config.encoder.source == "hf:microsoft/beit-large-patch16-224-pt22k"
    assert (config.grid, config.image_px, config.prompt) == ((14, 14), 224, "A picture of")
    assert (config.language_model.source, config.language_model.revision) == (
        "EleutherAI/gpt-j-6b",
        "float16",
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_missing_adapter_says_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(CaptionerError) as caught:
        load_captioner(name)
    message = str(caught.value)
    path = tmp_path / PRESETS[name].adapter.source
    assert str(path) in message
    assert "git clone https://github.com/jmerullo/limber" in message

    path.parent.mkdir(parents=True)
    path.touch()
    assert preset_folder(name) == tmp_path


def test_without_the_variable_the_home_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".cache" / "neuron-atlas" / "limber_weights" / "clip_linear" / "proj.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    assert preset_folder("gptj-clip") / PRESETS["gptj-clip"].adapter.source == path
