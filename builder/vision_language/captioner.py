"""Load a vision-language model as a captioner, and write captioner.json for one.

A captioner of this kind is a checkpoint of transformers with everything in it: `language_model`
names it, and `encoder` and `adapter` name modules of it (`vlm:model.vision_tower`). Detection,
decoding and the build then run as for any other captioner: only the tokens around the image, their
positions and the way from pixels to image vectors are its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from atlas_db.errors import CaptionerError
from builder.architectures import architecture_of_config
from builder.captioner import TOKENIZER_FILES, Captioner
from builder.captioner_config import VLM, CaptionerConfig, Part, write_config
from builder.device_memory import check_memory, pass_memory
from builder.devices import float32_sums
from builder.loading import load_pretrained, quiet
from builder.parts import hub_folder, local_path, part_files
from builder.vision_language.families import VisionLanguageFamily, family_of
from builder.vision_language.template import SequenceTemplate, read_template

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "chat_template.jinja")
_WHOLE = "language_model"
#: Tokens around an image and in its caption, about.
_N_TEXT_POSITIONS = 64
#: Pillow's numbers, as transformers' processors keep them.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, kw_only=True)
class VisionLanguageCaptioner(Captioner):
    """A vision-language model; `encoder` and `adapter` are modules of `model`."""

    family: VisionLanguageFamily
    template: SequenceTemplate

    @property
    def rules(self) -> SequenceTemplate:
        """Positions and further inputs of the sequence."""
        return self.template

    @property
    def prefix_ids(self) -> list[int]:
        """Tokens before the image's: BOS, the user's turn, a start-of-image token."""
        return self.template.prefix_ids

    @property
    def prompt_ids(self) -> list[int]:
        """Tokens after the image's: the question, the answer's turn and its first words."""
        return self.template.suffix_ids

    def part_hashes(self) -> dict[str, str]:
        """Hash the checkpoint: encoder and adapter are modules of it."""
        return dict.fromkeys(("language_model", "encoder", "adapter"), self.part_hash(_WHOLE))

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Turn normalised pixels into the image's vectors, as the model itself does."""
        pixels = pixels.to(device=self.device, dtype=self.dtype, non_blocking=True)
        packed = self.family.pack(pixels, self.model.config)
        with float32_sums():
            found = self.model.model.get_image_features(**packed, return_dict=True).pooler_output
        joined = found if isinstance(found, Tensor) else torch.stack(list(found))
        vectors = joined.reshape(len(pixels), -1, self.d_model)
        # A newline follows them in the sequence, not in the grid.
        return vectors[:, : self.config.n_patch].to(self.dtype)


def load_vision_language(
    config: CaptionerConfig, folder: Path, *, device: torch.device, dtype: torch.dtype
) -> VisionLanguageCaptioner:
    """Load a captioner whose encoder is a part of its language model's checkpoint.

    Raises:
        CaptionerError: The checkpoint or its processor cannot be loaded, is of no known family, or
            does not make the tokens that captioner.json states.
    """
    path = _path(config.language_model, folder)
    model_config = _read_config(path)
    family = family_of(model_config.model_type)
    architecture_of_config(model_config)  # refuses mixtures of experts before weights are read
    processor = load_processor(path, family)
    if device.type == "cuda":
        n_positions = config.n_patch + _N_TEXT_POSITIONS
        needed = pass_memory(path, config.n_patch, n_positions, dtype)
        check_memory(needed, dtype, str(device), torch.cuda.mem_get_info(device)[0])
    model = load_pretrained(
        AutoModelForImageTextToText, path, what="vision-language model", dtype=dtype
    )
    model = model.to(device).requires_grad_(False).eval()
    template = read_template(family, model, processor, config)
    _check_length(config, model_config, template)
    return VisionLanguageCaptioner(
        config=config,
        model=model,
        tokenizer=processor.tokenizer,
        encoder=model.get_submodule(family.encoder),
        adapter=model.get_submodule(family.adapter),
        device=device,
        dtype=dtype,
        files={_WHOLE: part_files(path, (*TOKENIZER_FILES, *PROCESSOR_FILES))},
        family=family,
        template=template,
    )


def vision_language_config(
    source: str, folder: Path, *, image_px: int | None = None, revision: str | None = None
) -> CaptionerConfig:
    """Read captioner.json's contents off a checkpoint: a folder, or a name on the hub.

    `image_px` is the side of the image; None takes the processor's, or the table's.

    Raises:
        CaptionerError: It cannot be read, or is of no known family.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        origin, source = (
            "a folder of this machine",
            os.path.relpath(path.resolve(), folder.resolve()),
        )
    else:
        origin = f"https://huggingface.co/{source}"
    part = Part(source=source, licence="see the origin", origin=origin, revision=revision)
    path = _path(part, folder)
    model_config = _read_config(path)
    family = family_of(model_config.model_type)
    images = load_processor(path, family).image_processor
    image_px = image_px or _fixed_size(images) or family.image_px
    return CaptionerConfig(
        name=Path(source).name,
        is_random=False,
        language_model=part,
        encoder=replace(part, source=VLM + family.encoder),
        adapter=replace(part, source=VLM + family.adapter),
        prompt=family.prompt,
        reply=family.reply,
        bos=False,
        max_new_tokens=30,
        dtype="bfloat16",
        image_px=image_px,
        grid=family.grid(model_config, image_px),
        pooling="none",
        geometry=family.geometry,
        interpolation=_RESAMPLE.get(int(images.resample), "bicubic"),
        mean=tuple(images.image_mean),
        std=tuple(images.image_std),
    )


def write_vision_language(source: str, folder: Path, **changes: Any) -> CaptionerConfig:
    """Write captioner.json for a checkpoint into a folder; `changes` are keys of it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = vision_language_config(source, folder, image_px=changes.get("image_px"))
    config = replace(config, **changes)
    write_config(folder, config)
    return config


def _path(part: Part, folder: Path) -> Path:
    return local_path(part, folder) or hub_folder(part.source, part.revision, folder=folder)


def _read_config(path: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())[:300]
        raise CaptionerError(
            f"The vision-language model in {path} cannot be used: {text}. Wanted a folder as "
            "save_pretrained of transformers writes it."
        ) from None


def load_processor(path: Path, family: VisionLanguageFamily) -> Any:
    """Load a model's own processor, set to make one tile of an image.

    Raises:
        CaptionerError: Files are missing, or it needs a package that is not there.
    """
    try:
        with quiet():
            processor = AutoProcessor.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # the only kind that the library tokenizers has
        text = " ".join(str(error).split())[:300]
        raise CaptionerError(
            f"The processor in {path} cannot be loaded: {text}. Put the model's own processor "
            f"files ({', '.join(PROCESSOR_FILES)}) and tokenizer beside its weights."
        ) from None
    if family.one_tile is not None:
        family.one_tile(processor.image_processor)
    return processor


def _fixed_size(images: Any) -> int | None:
    """Give the side of the one square that a processor makes of every photograph, if it does."""
    for name in ("crop_size", "max_image_size", "size"):
        size = dict(getattr(images, name, None) or {})
        height, width = (size.get(key) for key in ("height", "width"))
        if height and height == width:
            return int(height)
        if name == "max_image_size" and size.get("longest_edge"):
            return int(size["longest_edge"])
    return None


def _check_length(config: CaptionerConfig, model_config: Any, template: SequenceTemplate) -> None:
    n_positions = model_config.get_text_config(decoder=True).max_position_embeddings
    needed = template.length + config.max_new_tokens
    if n_positions is not None and needed > n_positions:
        raise CaptionerError(
            f"{template.length} tokens of image and prompt and {config.max_new_tokens} new ones "
            f"need {needed} positions, but the model has {n_positions}. Lower 'max_new_tokens' or "
            "'image_px' in captioner.json."
        )
