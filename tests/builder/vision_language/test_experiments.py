"""The experiments' passes over a vision-language model, against the whole model from pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tiny_vision_language import D_MLP
from torch import Tensor
from whole_models import greedy_ids, logits_by_transformers, patches_of

from builder.experiments.attributions import Case, TargetLogit
from builder.experiments.passes import Passes
from builder.language_model import LanguageModel
from builder.vision_language.captioner import VisionLanguageCaptioner


def test_captions_and_zeroed_units(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    """Positions, token types and windows are the model's own in experiments too."""
    model = LanguageModel(captioner.model)
    passes = Passes(captioner, model)
    patches = patches_of(captioner, image)
    captions = passes.caption(patches)
    ids = captions.tokens[0].tolist()
    assert ids == greedy_ids(captioner, inputs)
    last = len(ids) - 1
    captions = replace(captions, position=torch.tensor([last]), token_id=captions.tokens[:, last])
    uid = torch.tensor([[3, D_MLP + 5, D_MLP + 6, 1]])
    logit, _, _ = passes.zeroed(patches, captions, uid)

    def zero(layer: int, a: Tensor) -> Tensor:
        a = a.clone()
        units = [int(u) % D_MLP for u in uid[0] if int(u) // D_MLP == layer]
        a[:, captioner.patch_positions, units] = 0
        return a

    whole = logits_by_transformers(captioner, inputs, ids)[last, ids[last]]
    with model.taps(activation=zero):
        zeroed = logits_by_transformers(captioner, inputs, ids)[last, ids[last]]
    assert abs(whole - zeroed) > 1e-4
    torch.testing.assert_close(logit[0], zeroed, rtol=1e-4, atol=1e-5)


def test_a_targets_logit(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    """Of one full pass over image, question and the caption up to the target."""
    ids = greedy_ids(captioner, inputs)
    case = Case(patches=patches_of(captioner, image), before=ids[:2], token_id=ids[2])
    found = TargetLogit(captioner, LanguageModel(captioner.model), case).logits(2)
    expected = logits_by_transformers(captioner, inputs, ids)[2, ids[2]]
    torch.testing.assert_close(found, expected.expand(2), rtol=1e-4, atol=1e-5)
