"""The table of vision-language models: what differs between them, one entry a family.

For each: which modules are the encoder and the adapter (the language model is in
`builder.architectures.LANGUAGE_PARTS`), how a square image becomes what its encoder takes, on what
grid its image tokens lie, and which of its processor's outputs the language model needs beside the
tokens. Where the image tokens stand in the sequence is read from the model's own processor and chat
template (`builder.vision_language.template`). Everything after that is the same code.

| family | image | tokens |
|---|---|---|
| LLaVA-1.5 | 336 px, one tile | 24 x 24, a CLIP patch of 14 px each |
| LLaVA-OneVision | 384 px, one tile | 27 x 27, a SigLIP patch of 14 px each, and a newline |
| Qwen2.5-VL | 448 px (any multiple of 28) | 16 x 16, 2 x 2 patches of 14 px merged |
| Gemma 3 | 896 px, no pan and scan | 16 x 16, 4 x 4 patches of 14 px averaged |
| SmolVLM (Idefics3), SmolVLM2 | 512 px, not split | 8 x 8, 4 x 4 patches of 16 px in one |
| PaliGemma 1 and 2 | 224 px | 16 x 16, a SigLIP patch of 14 px each |

Models that would cut a large photograph into tiles (SmolVLM, LLaVA-OneVision, Gemma 3) are given
one tile, the whole image, as they read each of several images: then every image token stands for
one place, and no place has two tokens that share its attribution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from atlas_db.errors import CaptionerError

#: Normalised pixels (batch, 3, px, px) and the model's configuration to `get_image_features`' own.
Pack = Callable[[Tensor, Any], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionLanguageFamily:
    """What the atlas has to know of a family of vision-language models.

    Attributes:
        family: Its name.
        encoder, adapter: Dotted names of the modules.
        pack: Turns pixels into the arguments of `get_image_features`.
        grid: (rows, columns) of the image tokens, from configuration and side of the image.
        image_px: Side of the image where nothing else is said.
        geometry: How a photograph becomes a square, as its own processor does, or `squash`.
        prefill_inputs: Outputs of its processor, one number a token, that the language model reads
            with the prefill (a mask that lets image tokens see one another).
        text_type: The number that these inputs have for the answer's tokens.
        first_position: Of the first token.
        newline: Dotted name of the vector that follows the grid's image tokens, if there is one.
        one_tile: Changes a loaded image processor so that it makes one tile of a photograph.
        has_3d_positions: Image tokens have a row and a column as their position.
        prompt, reply: What is asked, and how the answer begins.
    """

    family: str
    encoder: str
    adapter: str
    pack: Pack
    grid: Callable[[Any, int], tuple[int, int]]
    image_px: int
    geometry: str = "squash"
    prefill_inputs: tuple[str, ...] = ()
    text_type: int = 0
    first_position: int = 0
    newline: str = ""
    one_tile: Callable[[Any], None] | None = None
    has_3d_positions: bool = False
    prompt: str = "Describe this image in one sentence."
    reply: str = "A picture of"


def _whole(pixels: Tensor, config: Any) -> dict[str, Tensor]:
    return {"pixel_values": pixels}


def _single(pixels: Tensor, config: Any) -> dict[str, Tensor]:
    """Idefics3 has an axis for the images (tiles) of a prompt."""
    return {"pixel_values": pixels[:, None]}


def _one_of_several(pixels: Tensor, config: Any) -> dict[str, Tensor]:
    """LLaVA-OneVision reads an image of several as one tile, a single one as tiles and the whole.

    It is told of two for each: only whether there is one counts.
    """
    batch, side = len(pixels), pixels.shape[-1]
    return {
        "pixel_values": pixels[:, None],
        "image_sizes": torch.tensor([[side, side]] * batch, device=pixels.device),
        "batch_num_images": torch.tensor([2] * batch, device=pixels.device),
    }


def _as_one_of_several(images: Any) -> None:
    """LLaVA-OneVision: make of an image what is made of each of several."""
    of_several = super(type(images), images).preprocess

    def preprocess(pictures: Any, **settings: Any) -> Any:
        return of_several(pictures, [2], **settings)

    images.preprocess = preprocess


def _not_split(images: Any) -> None:
    """Idefics3: the whole image at the encoder's size, without tiles of a larger one before it."""
    images.do_image_splitting = False
    images.size = images.max_image_size


def _square(side_px: int, cell_px: int) -> tuple[int, int]:
    return side_px // cell_px, side_px // cell_px


def _llava_grid(config: Any, image_px: int) -> tuple[int, int]:
    return _square(image_px, config.vision_config.patch_size)


def _gemma3_grid(config: Any, image_px: int) -> tuple[int, int]:
    side = round(config.mm_tokens_per_image**0.5)
    return side, side


def _idefics3_grid(config: Any, image_px: int) -> tuple[int, int]:
    return _square(image_px, config.vision_config.patch_size * config.scale_factor)


def _qwen_grid(config: Any, image_px: int) -> tuple[int, int]:
    vision = config.vision_config
    return _square(image_px, vision.patch_size * vision.spatial_merge_size)


def _qwen_patches(pixels: Tensor, config: Any) -> dict[str, Tensor]:
    """Cut images into patches, those that are merged one after another, each twice in time.

    Source: transformers, Qwen2VLImageProcessor.patchify.
    """
    vision = config.vision_config
    patch, merge, frames = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    batch, channels, side, _ = pixels.shape
    n = side // patch
    cut = pixels.reshape(batch, channels, n // merge, merge, patch, n // merge, merge, patch)
    # (batch, row, column, row and column in the merged patch, channel, y, x)
    cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)
    cut = cut.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, frames, -1, -1)
    return {
        "pixel_values": cut.reshape(batch * n * n, channels * frames * patch * patch),
        "image_grid_thw": pixels.new_tensor([[1, n, n]] * batch).long(),
    }


_IDEFICS3 = VisionLanguageFamily(
    family="idefics3",
    encoder="model.vision_model",
    adapter="model.connector",
    pack=_single,
    grid=_idefics3_grid,
    image_px=512,
    one_tile=_not_split,
    reply=" A picture of",
)

#: By `model_type` of the configuration.
FAMILIES: Mapping[str, VisionLanguageFamily] = {
    "llava": VisionLanguageFamily(
        family="llava",
        encoder="model.vision_tower",
        adapter="model.multi_modal_projector",
        pack=_whole,
        grid=_llava_grid,
        image_px=336,
        geometry="crop",
    ),
    "llava_onevision": VisionLanguageFamily(
        family="llava_onevision",
        encoder="model.vision_tower",
        adapter="model.multi_modal_projector",
        pack=_one_of_several,
        grid=_llava_grid,
        image_px=384,
        newline="model.image_newline",
        one_tile=_as_one_of_several,
    ),
    "qwen2_5_vl": VisionLanguageFamily(
        family="qwen2_5_vl",
        encoder="model.visual",
        adapter="model.visual.merger",
        pack=_qwen_patches,
        grid=_qwen_grid,
        image_px=448,
        has_3d_positions=True,
    ),
    "gemma3": VisionLanguageFamily(
        family="gemma3",
        encoder="model.vision_tower",
        adapter="model.multi_modal_projector",
        pack=_whole,
        grid=_gemma3_grid,
        image_px=896,
        prefill_inputs=("token_type_ids",),
    ),
    "idefics3": _IDEFICS3,
    "smolvlm": replace(_IDEFICS3, family="smolvlm"),
    "paligemma": VisionLanguageFamily(
        family="paligemma",
        encoder="model.vision_tower",
        adapter="model.multi_modal_projector",
        pack=_whole,
        grid=_llava_grid,
        image_px=224,
        prefill_inputs=("token_type_ids",),
        text_type=1,
        first_position=1,
        prompt="caption en",
        reply="",
    ),
}


def family_of(model_type: str) -> VisionLanguageFamily:
    """Look up a family.

    Raises:
        CaptionerError: The table has no such entry.
    """
    try:
        return FAMILIES[model_type]
    except KeyError:
        raise CaptionerError(
            f"vision-language models of type {model_type!r} are not in the table (it has "
            f"{', '.join(sorted(FAMILIES))}). Use one of these, or add an entry to "
            "builder/vision_language/families.py."
        ) from None
