"""Vision-language models run whole from pixels, as transformers does: what ours is held to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tiny_vision_language import D_MLP
from torch import Tensor

from builder.detection import Detection, Detector
from builder.images import normalise
from builder.language_model import LanguageModel
from builder.targets import Word
from builder.vision_language.captioner import VisionLanguageCaptioner

N_NEW = 4


def extended(inputs: Any, ids: list[int], text_type: int) -> dict[str, Any]:
    """Go on with the answer: token ids, a mask of ones, types of text."""
    length = inputs["input_ids"].shape[1]
    more = torch.tensor([ids], dtype=torch.int64)
    tails = {"input_ids": more, "attention_mask": torch.ones_like(more)}
    found = {}
    for name, value in inputs.items():
        is_row = value.shape == (1, length)
        tail = tails.get(name, torch.full_like(more, text_type)).to(value.dtype)
        found[name] = torch.cat([value, tail], dim=1) if is_row else value
        if value.is_floating_point():
            found[name] = found[name].double()
    return found


def patches_of(captioner: VisionLanguageCaptioner, image: np.ndarray) -> Tensor:
    return captioner.encode(normalise(image[None], captioner.config))


def detect(captioner: VisionLanguageCaptioner, image: np.ndarray, sink: Any = None) -> Detection:
    detector = Detector(
        LanguageModel(captioner.model),
        captioner.tokenizer,
        prompt_ids=captioner.prompt_ids,
        prefix_ids=captioner.prefix_ids,
        max_new_tokens=N_NEW,
        n_targets=2,
        noun_rule=every_word,
        rules=captioner.rules,
    )
    return detector(patches_of(captioner, image), sink)


def every_word(caption: str) -> list[Any]:
    """Any word is a target: what random models say is no English."""
    words, start = [], 0
    for word in caption.split():
        start = caption.index(word, start)
        words.append(Word(word, start, start + len(word), "noun"))
        start += len(word)
    return words


def logits_by_transformers(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], ids: list[int]
) -> Tensor:
    """One plain forward pass of the whole model from pixels: logits that predict `ids`."""
    inputs = extended(inputs, ids, captioner.family.text_type)
    logits = captioner.model(**inputs, use_cache=False).logits[0]
    return logits[-len(ids) - 1 : -1]


def greedy_ids(captioner: VisionLanguageCaptioner, inputs: dict[str, Any]) -> list[int]:
    ids: list[int] = []
    for _ in range(N_NEW):
        inputs_so_far = extended(inputs, ids, captioner.family.text_type)
        logits = captioner.model(**inputs_so_far, use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
    return ids


def places(captioner: VisionLanguageCaptioner, rows: Any) -> list[tuple[int, int, int]]:
    found = zip(rows.uid[0].tolist(), rows.patch[0].tolist(), strict=True)
    return [(uid // D_MLP, uid % D_MLP, patch) for uid, patch in found if uid >= 0]


def with_z(
    captioner: VisionLanguageCaptioner,
    place: tuple[int, int, int],
    change: Any,
    inputs: dict[str, Any],
    ids: list[int],
) -> Tensor:
    """Logits of the whole model from pixels, z of one unit at one image token changed."""
    layer, unit, patch = place
    at = len(captioner.prefix_ids) + patch

    def tap(found: int, z: Tensor) -> Tensor | None:
        if found != layer:
            return None
        changed = z.clone()
        changed[0, at, unit] = change(z[0, at, unit])
        return changed

    with LanguageModel(captioner.model).taps(preactivation=tap):
        return logits_by_transformers(captioner, inputs, ids)
