"""Encoders: an image in, one feature vector for each patch of a known grid out.

`timm:` names a model of timm, as a folder in timm's own format (`config.json` with `architecture`
and `model_args`, and `model.safetensors`) or by its registered name; `hf:` a vision model of
transformers. Vision transformers lose their class token and other prefix tokens; maps of
convolutional networks are read row by row. With pooling "mean" the features are averaged into one.

Which features these are:

- `hf:` BEiT: `BeitModel`'s `last_hidden_state` without its first token. In the published BEiT-L
  checkpoints `use_mean_pooling` is true, so no norm follows the last block: LiMBeR's adapter was
  trained on exactly that (`self.beit(x)['last_hidden_state'][:, 1:]` in its image_encoders.py),
  on pixels squashed to 224 x 224 bilinearly, with mean and standard deviation .5.
- `timm:` models: `forward_features`, which ends with the model's own last norm where it has one.
- `timm:resnet50x16_clip`: the last stage's map, before attention pooling, as LiMBeR has it:
  12 x 12 features of 3072 at 384 px.
- `timm:nf_resnet50` with pooling "mean": the last activation, averaged, 2048 wide, as LiMBeR has
  it.

Source: Merullo et al. (arXiv 2209.15162) and its repository jmerullo/limber.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn
from transformers import AutoConfig, BeitModel, CLIPVisionModel, PreTrainedModel, ViTModel

from atlas_db.errors import CaptionerError
from builder.captioner_config import CaptionerConfig
from builder.loading import LOAD_ERRORS, load_pretrained
from builder.parts import hub_folder, local_path, weight_files

#: Vision models of transformers, by `model_type`: class, arguments, tokens before the patches.
_HF_MODELS: Mapping[str, tuple[type[PreTrainedModel], dict[str, bool], int]] = {
    "beit": (BeitModel, {"add_pooling_layer": False}, 1),
    "clip": (CLIPVisionModel, {}, 1),
    "clip_vision_model": (CLIPVisionModel, {}, 1),
    "vit": (ViTModel, {"add_pooling_layer": False}, 1),
}


class PatchEncoder(nn.Module):
    """A frozen vision model that gives the features of patches, row by row from the top left."""

    def __init__(self, model: nn.Module, *, pooling: str) -> None:
        super().__init__()
        self.model: Any = model
        self.pooling = pooling

    def features(self, pixels: Tensor) -> Tensor:
        """Give the model's own features, (batch, n_patch, width)."""
        raise NotImplementedError

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels (batch, 3, px, px) as features (batch, n_patch, width).

        With pooling "mean" n_patch is 1.
        """
        features = self.features(pixels)
        if self.pooling == "mean":
            return features.mean(dim=1, keepdim=True)
        return features


class TimmEncoder(PatchEncoder):
    """A model of timm."""

    def features(self, pixels: Tensor) -> Tensor:
        output = self.model.forward_features(pixels)
        if output.ndim == 3:
            return output[:, getattr(self.model, "num_prefix_tokens", 0) :]
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            return output.flatten(1, 2)
        return output.flatten(2).transpose(1, 2)


class TransformersEncoder(PatchEncoder):
    """A vision transformer of transformers, without the tokens before its patches."""

    def __init__(self, model: nn.Module, *, pooling: str, n_prefix: int) -> None:
        super().__init__(model, pooling=pooling)
        self.n_prefix = n_prefix

    def features(self, pixels: Tensor) -> Tensor:
        return self.model(pixel_values=pixels).last_hidden_state[:, self.n_prefix :]


def load_encoder(
    config: CaptionerConfig, folder: Path, *, device: str | torch.device, dtype: torch.dtype
) -> tuple[PatchEncoder, Path]:
    """Load the encoder that a captioner names; give it and the folder of its files.

    Raises:
        CaptionerError: It cannot be found, its weights do not fit its architecture, or this
            version does not know its architecture.
    """
    path = local_path(config.encoder, folder)
    name = config.encoder.source.split(":", 1)[1]
    if config.encoder.source.startswith("timm:"):
        path = path or hub_folder(_timm_repository(name), config.encoder.revision, folder=folder)
        encoder: PatchEncoder = TimmEncoder(_load_timm(path), pooling=config.pooling)
    else:
        path = path or hub_folder(name, config.encoder.revision, folder=folder)
        encoder = _load_transformers(path, config.pooling)
    return encoder.to(device=device, dtype=dtype).requires_grad_(False).eval(), path


def _timm_repository(name: str) -> str:
    if "/" in name:
        return name
    try:
        pretrained = get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise CaptionerError(
            f"timm {timm.__version__} has no model {name!r} with weights: {error}. Correct the "
            "name, or give a folder with config.json and model.safetensors."
        ) from None
    if pretrained is None or not pretrained.hf_hub_id:
        raise CaptionerError(
            f"timm's {name!r} has no weights on the hub. Add the tag of a set of weights "
            "('nf_resnet50.ra2_in1k'), or give a folder with config.json and model.safetensors."
        )
    return pretrained.hf_hub_id


def _load_timm(path: Path) -> nn.Module:
    if not (path / "config.json").is_file():
        raise CaptionerError(
            f"The encoder's folder {path} has no config.json. Wanted timm's format: config.json "
            "with 'architecture', and model.safetensors."
        )
    weight_files(path)
    try:
        # The classifier, if there is one, is loaded too: asked to leave it out, timm would also
        # leave out, without a word, any other weights that the file lacks.
        return timm.create_model(f"local-dir:{path}", pretrained=True)
    except LOAD_ERRORS as error:
        raise CaptionerError(
            f"timm {timm.__version__} cannot load the encoder in {path}: {_brief(error)}. Its "
            "config.json must name timm's architecture and the weights must be of that "
            "architecture, with no key missing."
        ) from None


def _brief(error: Exception, limit: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[:limit] + "..."


def _load_transformers(path: Path, pooling: str) -> TransformersEncoder:
    try:
        model_type = AutoConfig.from_pretrained(path).model_type
    except (OSError, ValueError, KeyError) as error:
        raise CaptionerError(
            f"The encoder's configuration in {path} cannot be read: {_brief(error)}. Wanted a "
            f"config.json of transformers with a model_type of {', '.join(_HF_MODELS)}."
        ) from None
    if model_type not in _HF_MODELS:
        raise CaptionerError(
            f"The encoder in {path} is of type {model_type!r}; known are {', '.join(_HF_MODELS)}. "
            "Use one of them, or a model of timm ('timm:...')."
        )
    kind, arguments, n_prefix = _HF_MODELS[model_type]
    model = load_pretrained(kind, path, what="encoder", dtype=torch.float32, **arguments)
    return TransformersEncoder(model, pooling=pooling, n_prefix=n_prefix)


@torch.no_grad()
def feature_shape(encoder: PatchEncoder, image_px: int) -> tuple[int, int]:
    """Give (n_patch, width) of an encoder's features by encoding one black image.

    Raises:
        CaptionerError: The encoder does not take images of that size.
    """
    parameter = next(encoder.parameters())
    pixels = torch.zeros(1, 3, image_px, image_px, device=parameter.device, dtype=parameter.dtype)
    try:
        features = encoder(pixels)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise CaptionerError(
            f"The encoder does not take images of {image_px} x {image_px} pixels: "
            f"{_brief(error)}. Correct 'image_px' in captioner.json."
        ) from None
    return features.shape[1], features.shape[2]
