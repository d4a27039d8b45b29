"""Attribution in a vision-language model, against doing it to the whole model from pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mlp_sums import assert_units_add_up
from tiny_vision_language import (
    D_MLP,
    N_LAYERS,
)
from torch import Tensor
from whole_models import (
    detect,
    greedy_ids,
    logits_by_transformers,
    places,
    with_z,
)

from builder.language_model import LanguageModel, count_hooks
from builder.vision_language.captioner import VisionLanguageCaptioner


def test_gradients_are_central_differences(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    ids = greedy_ids(captioner, inputs)
    found = detect(captioner, image)
    step = 1e-2
    for result in found.results:
        target = result.targets[0]
        if target is None:
            continue
        rows = places(captioner, result.pairs)
        for row in (0, 3, 20):
            # Five points: norms that compute in float32 leave too much noise for small steps.
            y = {
                n: with_z(captioner, rows[row], lambda z, n=n: z + n * step, inputs, ids)[
                    target.position, ids[target.position]
                ]
                for n in (-2, -1, 1, 2)
            }
            slope = (8 * (y[1] - y[-1]) - (y[2] - y[-2])) / (12 * step)
            gradient = result.pairs.gradient[0, row]
            torch.testing.assert_close(gradient, slope, rtol=1e-2, atol=5e-4)
            expected = result.pairs.z[0, row] * gradient
            torch.testing.assert_close(result.pairs.attribution[0, row], expected)
    assert found.results[0].targets[0] is not None


def test_attribution_approximates_zeroing(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    """The whole model is run again for each of the top pairs, with that unit really set to 0."""
    ids = greedy_ids(captioner, inputs)
    result = detect(captioner, image).results[0]
    target = result.targets[0]
    assert target is not None
    at = (target.position, ids[target.position])
    whole = logits_by_transformers(captioner, inputs, ids)[at]
    rows = places(captioner, result.pairs)[:40]
    effects = torch.stack(
        [whole - with_z(captioner, p, torch.zeros_like, inputs, ids)[at] for p in rows]
    )
    attribution = result.pairs.attribution[0, : len(rows)]
    assert torch.corrcoef(torch.stack([effects, attribution]))[0, 1] > 0.5
    generator = torch.Generator().manual_seed(0)
    sizes = (N_LAYERS, D_MLP, captioner.config.n_patch)
    others = [
        tuple(int(torch.randint(n, (1,), generator=generator)) for n in sizes) for _ in range(20)
    ]
    random = torch.stack(
        [whole - with_z(captioner, p, torch.zeros_like, inputs, ids)[at] for p in others]
    )
    assert effects[:10].mean() > 3 * random.abs().mean()


def test_units_add_up_to_the_mlp(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any]
) -> None:
    """On the processor's own inputs, image and text."""
    assert_units_add_up(LanguageModel(captioner.model), lambda: captioner.model(**inputs))


def test_no_hook_is_left(captioner: VisionLanguageCaptioner, image: np.ndarray) -> None:
    def fail(layer: int, a: Tensor) -> None:
        raise RuntimeError("disk full")

    before = count_hooks(captioner.model)
    with pytest.raises(RuntimeError, match="disk full"):
        detect(captioner, image, fail)
    assert count_hooks(captioner.model) == before
    detect(captioner, image)
    assert count_hooks(captioner.model) == before
