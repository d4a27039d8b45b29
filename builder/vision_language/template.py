"""Where the image tokens stand: read off what the model's own processor makes of one image.

A black square of the captioner's size goes through the processor and its chat template, as a
photograph would. What comes out says which tokens stand before and after the image's, and is held
against what the table expects: one tile, one run of image tokens, as many as the grid has places
(and one for the newline, where a family has one).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atlas_db.errors import CaptionerError
from builder.captioner_config import CaptionerConfig
from builder.images import normalise
from builder.vision_language.families import VisionLanguageFamily

#: Greatest difference between the processor's pixels and ours: rounding of float32.
_PIXEL_TOLERANCE = 1e-4


@dataclass(frozen=True)
class SequenceTemplate:
    """The sequence around an image, and how its positions count on.

    Attributes:
        prefix_ids, suffix_ids: Tokens before and after those that have a place in the image.
        n_patch: Image tokens that have a place.
        prefill: Further inputs of the prefill, (1, length) each.
        text_type: The number that these have for the answer's tokens.
        positions_3d: (3, 1, length) where positions have rows and columns, else None.
        first_position: Of the first token.
        newline: (d_model,) vector of the image token in `suffix_ids`, or None.
        image_token_id: Of image tokens.
    """

    prefix_ids: list[int]
    suffix_ids: list[int]
    n_patch: int
    prefill: Mapping[str, Tensor] = field(default_factory=dict)
    text_type: int = 0
    positions_3d: Tensor | None = None
    first_position: int = 0
    newline: Tensor | None = None
    image_token_id: int = -1

    @property
    def length(self) -> int:
        """Tokens of the whole prefill."""
        return len(self.prefix_ids) + self.n_patch + len(self.suffix_ids)

    def positions(self, start: int, length: int, batch: int, device: torch.device) -> Tensor:
        """Give the positions of tokens start to start + length: (batch, length), or 3 of them."""
        if self.positions_3d is None:
            first = self.first_position + start
            return torch.arange(first, first + length, device=device).expand(batch, -1)
        known = self.positions_3d.to(device)
        after = known.max() + 1 + torch.arange(start + length - self.length, device=device)
        whole = torch.cat([known, after.expand(3, 1, -1)], dim=2) if len(after) else known
        return whole[:, :, start : start + length].expand(-1, batch, -1)

    def embed(self, table: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
        """Embed tokens (pos,) around the image: (pos, d_model); a newline's vector is its own."""
        vectors = table(ids)
        if self.newline is None:
            return vectors
        is_newline = (ids == self.image_token_id)[:, None]
        return torch.where(is_newline, self.newline.to(vectors), vectors)

    def prefill_arguments(self, batch: int, length: int, device: torch.device) -> dict[str, Tensor]:
        """Give the further inputs of a batch's first `length` tokens: the answer's are text."""
        return {
            name: _extended(row.to(device), length, self.text_type).expand(batch, -1)
            for name, row in self.prefill.items()
        }


def read_template(
    family: VisionLanguageFamily, model: Any, processor: Any, config: CaptionerConfig
) -> SequenceTemplate:
    """Run the processor on one image and read the template off.

    Raises:
        CaptionerError: It makes several tiles or another number of tokens than the grid has, or
            its pixels are not those that the captioner makes.
    """
    side = config.image_px
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    inputs = process(processor, Image.fromarray(noise), config.prompt)
    _check_pixels(family, model, config, inputs, noise)
    ids = inputs["input_ids"][0]
    at = (ids == model.config.image_token_id).nonzero()[:, 0]
    wanted = config.n_patch + (1 if family.newline else 0)
    is_together = bool((at.diff() == 1).all())
    if len(at) != wanted or not is_together:
        raise CaptionerError(
            f"The processor makes {len(at)} image tokens of an image of {side} x {side} pixels"
            f"{'' if is_together else ', which do not stand together'}; the grid "
            f"{config.grid[0]} x {config.grid[1]} wants {wanted}. Correct 'grid' or 'image_px' in "
            "captioner.json, or set the processor to make one tile."
        )
    reply = processor.tokenizer.encode(config.reply, add_special_tokens=False)
    ids = torch.cat([ids, torch.tensor(reply, dtype=ids.dtype)])
    first, stop = int(at[0]), int(at[0]) + config.n_patch
    return SequenceTemplate(
        prefix_ids=ids[:first].tolist(),
        suffix_ids=ids[stop:].tolist(),
        n_patch=config.n_patch,
        prefill={
            name: _extended(inputs[name], len(ids), family.text_type)
            for name in family.prefill_inputs
        },
        text_type=family.text_type,
        first_position=family.first_position,
        positions_3d=_positions_3d(model, inputs, ids) if family.has_3d_positions else None,
        newline=model.get_parameter(family.newline).detach() if family.newline else None,
        image_token_id=model.config.image_token_id,
    )


def process(processor: Any, image: Image.Image, prompt: str) -> Any:
    """Give the processor's inputs for one image and one question, on its chat template if any."""
    if getattr(processor, "chat_template", None) is None:
        text = f"{processor.image_token}{prompt}"
        with warnings.catch_warnings():
            # PaliGemma's processor makes an array of its tensor in a way that numpy 2 warns of.
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*__array__")
            inputs = processor(images=image, text=text, return_tensors="pt")
        inputs.pop("labels", None)
        return inputs
    content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
    try:
        return processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    except (ValueError, TypeError, KeyError) as error:
        text = " ".join(str(error).split())[:300]
        raise CaptionerError(
            f"The model's processor cannot make an input of an image and a question: {text}. Put "
            "the model's own processor files (preprocessor_config.json, processor_config.json, "
            "chat_template.jinja) beside its weights."
        ) from None


def _check_pixels(
    family: VisionLanguageFamily,
    model: Any,
    config: CaptionerConfig,
    inputs: Mapping[str, Tensor],
    image: np.ndarray,
) -> None:
    """Refuse a processor whose pixels are not those that the captioner gives the encoder."""
    ours = family.pack(normalise(image[None], config), model.config)["pixel_values"]
    theirs = inputs["pixel_values"]
    if theirs.shape != ours.shape:
        n_tiles = theirs.numel() / ours.numel()
        raise CaptionerError(
            f"The processor makes pixels of shape {tuple(theirs.shape)} ({n_tiles:g} times as many "
            f"as the table's {tuple(ours.shape)}) of an image of {config.image_px} px. Wanted one "
            "tile: switch image splitting or pan and scan off in preprocessor_config.json, or "
            "correct 'image_px' in captioner.json."
        )
    difference = float((theirs.float() - ours).abs().max())
    if difference > _PIXEL_TOLERANCE:
        raise CaptionerError(
            f"The processor's pixels differ from the captioner's by up to {difference:.3g}. "
            "Correct 'mean' and 'std' in captioner.json: they must be the processor's."
        )


def _extended(row: Tensor, length: int, value: int = 0) -> Tensor:
    """Go on with a number to a length."""
    return torch.nn.functional.pad(row, (0, length - row.shape[1]), value=value)


def _positions_3d(model: Any, inputs: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    positions, _ = model.model.get_rope_index(
        ids[None],
        mm_token_type_ids=_extended(inputs["mm_token_type_ids"], len(ids)),
        image_grid_thw=inputs["image_grid_thw"],
    )
    return positions
