"""Encoders: the features are the underlying model's own, without what stands before the patches."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    BeitForMaskedImageModeling,
    CLIPConfig,
    CLIPModel,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)

from atlas_db.errors import CaptionerError
from builder.captioner_config import CaptionerConfig, Part
from builder.encoders import PatchEncoder, feature_shape, load_encoder
from builder.presets import PRESETS

PX = 64
#: timm models that are built in an instant: name, arguments, tokens before the patches.
TIMM_VITS: dict[str, tuple[str, dict[str, Any], int]] = {
    "vit": ("vit_tiny_patch16_224", {"img_size": PX, "depth": 2, "embed_dim": 24}, 1),
    "registers": (
        "vit_small_patch14_reg4_dinov2",
        {"img_size": PX, "patch_size": 16, "depth": 2, "embed_dim": 24, "num_heads": 3},
        5,
    ),
    "beit": (
        "beit_base_patch16_224",
        {"img_size": PX, "depth": 2, "embed_dim": 24, "num_heads": 3},
        1,
    ),
    "no class token": (
        "vit_tiny_patch16_224",
        {"img_size": PX, "depth": 1, "class_token": False, "global_pool": "avg"},
        0,
    ),
}


def _config(source: str, pooling: str = "none") -> CaptionerConfig:
    part = Part(source=source, licence="MIT", origin="here")
    return dataclasses.replace(PRESETS["gptj-beit"], encoder=part, pooling=pooling)


def _load(source: str, pooling: str = "none", dtype: torch.dtype = torch.float32) -> PatchEncoder:
    config = _config(source, pooling)
    return load_encoder(config, Path("/nowhere"), device="cpu", dtype=dtype)[0]


def _timm_folder(folder: Path, name: str, arguments: dict[str, Any]) -> nn.Module:
    """Save a timm model that still has its classifier, as published ones do."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **arguments).eval()
    save_for_hf(model, str(folder), model_args=arguments, safe_serialization=True)
    return model


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(2, 3, PX, PX, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", TIMM_VITS)
def test_timm_transformers_lose_the_tokens_before_the_patches(
    kind: str, pixels: Tensor, tmp_path: Path
) -> None:
    name, arguments, n_prefix = TIMM_VITS[kind]
    model = _timm_folder(tmp_path, name, arguments)
    encoder = _load(f"timm:{tmp_path}")
    features = encoder(pixels)
    assert features.shape[1] == (PX // 16) ** 2
    with torch.no_grad():
        expected = model.forward_features(pixels)[:, n_prefix:]
    torch.testing.assert_close(features, expected, atol=0, rtol=0)
    assert not features.requires_grad


@pytest.mark.parametrize(
    ("name", "arguments", "read"),
    [
        ("test_resnet", {}, lambda features, row, column: features[:, :, row, column]),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": PX, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2)},
            lambda features, row, column: features[:, row, column, :],
        ),
    ],
)
def test_timm_maps_are_read_row_by_row(
    name: str,
    arguments: dict[str, Any],
    read: Callable[[Tensor, int, int], Tensor],
    tmp_path: Path,
) -> None:
    model = _timm_folder(tmp_path, name, arguments)
    encoder = _load(f"timm:{tmp_path}")
    pixels = torch.randn(1, 3, PX, PX)
    features = encoder(pixels)
    side = round(features.shape[1] ** 0.5)
    assert side > 1
    with torch.no_grad():
        feature_map = model.forward_features(pixels)
    for row in range(side):
        for column in range(side):
            expected = read(feature_map, row, column)
            torch.testing.assert_close(features[:, row * side + column], expected, atol=0, rtol=0)


def test_mean_pooling_gives_the_models_own_pooled_feature(pixels: Tensor, tmp_path: Path) -> None:
    model = _timm_folder(tmp_path, "test_nfnet", {})
    features = _load(f"timm:{tmp_path}", pooling="mean")(pixels)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(features, expected[:, None], atol=1e-6, rtol=1e-5)


def _beit_config(**more: Any) -> BeitConfig:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    relative = {"use_shared_relative_position_bias": True, "use_mask_token": True}
    return BeitConfig(
        **sizes, **relative, intermediate_size=48, image_size=PX, vocab_size=50, **more
    )


def _masked_beit() -> tuple[PreTrainedModel, Callable[[Tensor], Tensor]]:
    model = BeitForMaskedImageModeling(_beit_config()).eval()
    return model, lambda pixels: model.beit(pixels).last_hidden_state[:, 1:]


def _classifying_beit() -> tuple[PreTrainedModel, Callable[[Tensor], Tensor]]:
    model = BeitForImageClassification(_beit_config()).eval()
    return model, lambda pixels: model.beit(pixels).last_hidden_state[:, 1:]


def _clip() -> tuple[PreTrainedModel, Callable[[Tensor], Tensor]]:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    vision = sizes | {"intermediate_size": 48, "image_size": PX, "patch_size": 16}
    text = sizes | {"intermediate_size": 48, "vocab_size": 60, "eos_token_id": 1}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).eval()
    return model, lambda pixels: model.vision_model(pixels).last_hidden_state[:, 1:]


def _vit() -> tuple[PreTrainedModel, Callable[[Tensor], Tensor]]:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = ViTConfig(**sizes, intermediate_size=48, image_size=PX)
    model = ViTModel(config, add_pooling_layer=False).eval()
    return model, lambda pixels: model(pixels).last_hidden_state[:, 1:]


@pytest.mark.parametrize("build", [_masked_beit, _classifying_beit, _clip, _vit])
def test_transformers_features_are_the_last_hidden_state_without_cls(
    build: Callable[[], tuple[PreTrainedModel, Callable[[Tensor], Tensor]]],
    pixels: Tensor,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model, features_of = build()
    model.save_pretrained(tmp_path)
    features = _load(f"hf:{tmp_path}")(pixels)
    with torch.no_grad():
        expected = features_of(pixels)
    assert features.shape == (2, (PX // 16) ** 2, 24)
    torch.testing.assert_close(features, expected, atol=0, rtol=0)


def test_published_beit_has_no_norm_after_its_last_block(pixels: Tensor, tmp_path: Path) -> None:
    """LiMBeR's adapter was trained on the residual stream itself."""
    torch.manual_seed(0)
    model, _ = _masked_beit()
    assert model.config.use_mean_pooling
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        states = model.beit(pixels, output_hidden_states=True).hidden_states
    features = _load(f"hf:{tmp_path}")(pixels)
    torch.testing.assert_close(features, states[-1][:, 1:], atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_features_have_the_dtype_that_is_asked_for(
    dtype: torch.dtype, pixels: Tensor, tmp_path: Path
) -> None:
    name, arguments, _ = TIMM_VITS["beit"]
    _timm_folder(tmp_path, name, arguments)
    reference = _load(f"timm:{tmp_path}")(pixels)
    features = _load(f"timm:{tmp_path}", dtype=dtype)(pixels.to(dtype))
    assert features.dtype == dtype
    torch.testing.assert_close(features.float(), reference, atol=0.1, rtol=0.05)


def test_missing_weights_are_refused_by_both_libraries(tmp_path: Path) -> None:
    name, arguments, _ = TIMM_VITS["vit"]
    _timm_folder(tmp_path / "timm", name, arguments | {"depth": 1})
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    config["model_args"]["depth"] = 2
    (tmp_path / "timm" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CaptionerError, match=r"cannot load the encoder in .*blocks\.1"):
        _load(f"timm:{tmp_path / 'timm'}")

    model, _ = _vit()
    model.save_pretrained(tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CaptionerError, match=r"weights that are missing: .* random numbers"):
        _load(f"hf:{tmp_path / 'hf'}")


@pytest.mark.parametrize("library", ["timm", "hf"])
def test_damaged_weights_are_named(library: str, tmp_path: Path) -> None:
    if library == "timm":
        _timm_folder(tmp_path, "test_resnet", {})
    else:
        _vit()[0].save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CaptionerError) as caught:
        _load(f"{library}:{tmp_path}")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "config", "message"),
    [
        ("timm", None, "has no config.json. Wanted timm's format"),
        ("timm", {"architecture": "no_such_net"}, "no_such_net"),
        ("timm", {"model_type": "beit"}, "cannot load the encoder"),
        ("hf", None, "configuration in .* cannot be read"),
        ("hf", {"model_type": "bert"}, "of type 'bert'; known are beit, clip"),
        ("hf", {"model_type": "no-such-type"}, "cannot be read: .*no-such-type"),
    ],
)
def test_unknown_architectures_are_named(
    source: str, config: dict[str, str] | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").touch()
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CaptionerError, match=message):
        _load(f"{source}:{tmp_path}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:no_such_net", "has no model 'no_such_net' with weights"),
        ("timm:test_vit.no_such_tag", "no_such_tag"),
    ],
)
def test_unknown_names_of_timm_are_refused_without_asking_the_hub(
    source: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CaptionerError, match=message):
        load_encoder(_config(source), tmp_path, device="cpu", dtype=torch.float32)


def test_the_shape_is_measured_and_a_wrong_size_refused(tmp_path: Path) -> None:
    name, arguments, _ = TIMM_VITS["beit"]
    _timm_folder(tmp_path, name, arguments)
    encoder = _load(f"timm:{tmp_path}")
    assert feature_shape(encoder, PX) == (16, 24)
    with pytest.raises(CaptionerError, match=r"does not take images of 80 x 80 .*'image_px'"):
        feature_shape(encoder, 80)
