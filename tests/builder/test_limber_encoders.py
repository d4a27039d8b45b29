"""LiMBeR's two convolutional encoders, small, in the published format, against their formulas.

The formulas are written out here from the papers' own code, on nothing but the checkpoint's
tensors: CLIP's ModifiedResNet without its attention pooling (openai/CLIP, clip/model.py), and the
NF-ResNet of Brock et al. 2021 (arXiv 2101.08692).
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, relu

from atlas_db.errors import CaptionerError
from builder.captioner_config import CaptionerConfig
from builder.encoders import load_encoder
from builder.presets import PRESETS

State = dict[str, Tensor]


def saved(folder: Path, preset: str, **arguments: Any) -> tuple[CaptionerConfig, State]:
    """Save a small encoder of a preset's architecture, its norms not at their first values."""
    name = PRESETS[preset].encoder.source.removeprefix("timm:").partition(".")[0]
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **arguments).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith(("bias", "running_mean")):
                value.uniform_(-0.3, 0.3)
            elif key.endswith(("bn.weight", "running_var", "gain")):
                value.uniform_(0.5, 1.5)
    save_for_hf(model, str(folder), model_args=arguments, safe_serialization=True)
    assert json.loads((folder / "config.json").read_text())["architecture"] == name
    part = replace(PRESETS[preset].encoder, source=f"timm:{folder}")
    state = {k: v.double() for k, v in load_file(folder / "model.safetensors").items()}
    return replace(PRESETS[preset], encoder=part), state


def features(config: CaptionerConfig, folder: Path, pixels: Tensor) -> Tensor:
    encoder, _ = load_encoder(config, folder, device="cpu", dtype=torch.float64)
    return encoder(pixels)


def clip_resnet(state: State, x: Tensor, n_blocks: list[int]) -> Tensor:
    """The last stage's map: (batch, channel, px / 32, px / 32)."""

    def conv_norm(x: Tensor, name: str, **options: int) -> Tensor:
        x = conv2d(x, state[f"{name}.conv.weight"], **options)
        mean, var, gain, bias = (
            state[f"{name}.bn.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * gain + bias

    x = relu(conv_norm(x, "stem.conv1", stride=2, padding=1))
    x = relu(conv_norm(x, "stem.conv2", padding=1))
    x = avg_pool2d(relu(conv_norm(x, "stem.conv3", padding=1)), 2)
    for stage, n in enumerate(n_blocks):
        for i in range(n):
            name = f"stages.{stage}.{i}"
            stride = 2 if stage and not i else 1
            out = relu(conv_norm(x, f"{name}.conv1_1x1"))
            out = avg_pool2d(relu(conv_norm(out, f"{name}.conv2_kxk", padding=1)), stride)
            out = conv_norm(out, f"{name}.conv3_1x1")
            beside = x if i else conv_norm(avg_pool2d(x, stride), f"{name}.shortcut.conv")
            x = relu(out + beside)
    return x


def nf_resnet(state: State, x: Tensor, n_blocks: list[int]) -> Tensor:
    """The last activation: (batch, channel, px / 32, px / 32)."""
    # The paper's sqrt(2 / (1 - 1 / pi)) is 1.7129; its code has a number that was measured.
    gamma = 1.7139588594436646

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        weight = state[f"{name}.weight"]
        fan_in = weight[0].numel()
        mean = weight.mean((1, 2, 3), keepdim=True)
        var = weight.var((1, 2, 3), keepdim=True, correction=0)
        weight = (weight - mean) / torch.sqrt((var + 1e-5) * fan_in)
        return conv2d(x, gamma * state[f"{name}.gain"] * weight, state[f"{name}.bias"], **options)

    x = max_pool2d(conv(x, "stem.conv", stride=2, padding=3), 3, stride=2, padding=1)
    expected_var = 1.0
    for stage, n in enumerate(n_blocks):
        for i in range(n):
            name = f"stages.{stage}.{i}"
            stride = 2 if stage and not i else 1
            inner = relu(x) / math.sqrt(expected_var)
            beside = x if i else conv(avg_pool2d(inner, stride), f"{name}.downsample.conv")
            out = relu(conv(inner, f"{name}.conv1"))
            out = relu(conv(out, f"{name}.conv2", stride=stride, padding=1))
            x = beside + 0.2 * conv(out, f"{name}.conv3")
            expected_var = (1.0 if i == 0 else expected_var) + 0.2**2
    return relu(x)


def test_gptj_clip_reads_the_last_map_of_clips_resnet(tmp_path: Path) -> None:
    """144 features, row by row from the top left."""
    config, state = saved(tmp_path, "gptj-clip", width_factor=0.0625, img_size=384)
    pixels = torch.randn(2, 3, 384, 384, dtype=torch.float64)
    expected = clip_resnet(state, pixels, [6, 8, 18, 8])
    found = features(config, tmp_path, pixels)
    assert found.shape == (2, 144, expected.shape[1])
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected.flatten(2).transpose(1, 2), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found[:, 13], expected[:, :, 1, 1], rtol=1e-6, atol=1e-9)


def test_gptj_nfrn50_averages_the_last_activation(tmp_path: Path) -> None:
    """One feature, the mean over all places."""
    config, state = saved(tmp_path, "gptj-nfrn50", width_factor=0.125)
    pixels = torch.randn(2, 3, 384, 384, dtype=torch.float64)
    expected = nf_resnet(state, pixels, [3, 4, 6, 3])
    assert expected.shape[2:] == (12, 12)
    found = features(config, tmp_path, pixels)
    assert found.shape == (2, 1, expected.shape[1])
    torch.testing.assert_close(found[:, 0], expected.mean((2, 3)), rtol=1e-5, atol=1e-7)


_PX: dict[str, dict[str, int]] = {"gptj-clip": {"img_size": 384}, "gptj-nfrn50": {}}


@pytest.mark.parametrize("preset", ["gptj-clip", "gptj-nfrn50"])
def test_a_checkpoint_that_lacks_a_weight_is_refused(preset: str, tmp_path: Path) -> None:

    config, state = saved(tmp_path, preset, width_factor=0.0625, **_PX[preset])
    names = (key for key in state if key.startswith("stages.2.1.") and key.endswith("weight"))
    state.pop(next(names))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CaptionerError, match=r"stages\.2\.1"):
        load_encoder(config, tmp_path, device="cpu", dtype=torch.float32)
