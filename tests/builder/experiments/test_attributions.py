"""Each attribution against doing it: central differences, silent layers, zeroed units."""

import pytest
import torch
from tiny_models import D_MLP, D_MODEL, N_LAYERS

from builder.experiments.attributions import Case, TargetLogit, attribute_all
from builder.generation import PLAIN
from builder.language_model import LanguageModel, count_hooks

N_PATCH = 6
#: Llama's norms compute in float32 whatever the model's type, so steps must not be tiny.
STEP = 1e-2
TOLERANCE = 5e-4
BEFORE = (3, 8)
TOKEN_ID = 21


class TinyCaptioner:
    """What a captioner does between patches and language model: a token before, two after."""

    patch_positions = slice(1, 1 + N_PATCH)
    rules = PLAIN

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def sequence(self, patches: torch.Tensor) -> torch.Tensor:
        words = self.model.embed(torch.tensor([2, 5, 7])).to(patches.dtype)
        words = words.expand(len(patches), -1, -1)
        return torch.cat([words[:, :1], patches, words[:, 1:]], dim=1)


@pytest.fixture
def logit(model: LanguageModel, patches: torch.Tensor) -> TargetLogit:
    case = Case(patches[:1], BEFORE, TOKEN_ID)
    return TargetLogit(TinyCaptioner(model), model, case)  # type: ignore[arg-type]


def scaled(logit: TargetLogit, layer: int, units: slice, factor: float) -> torch.Tensor:
    """Give the logit with some units' activations at the patches times a factor."""

    def change(i: int, values: torch.Tensor) -> torch.Tensor | None:
        if i != layer:
            return None
        values = values.clone()
        logit.patches_of(values)[..., units] *= factor
        return values

    with torch.no_grad():
        return logit.logits(activation=change)[0]


def test_the_logit_is_that_of_a_plain_forward_pass(logit: TargetLogit) -> None:
    ids = torch.tensor([2, 5, 7, *BEFORE])
    words = logit.model.embed(ids)[None]
    sequence = torch.cat([words[:, :1], logit.case.patches, words[:, 1:]], dim=1)
    expected = logit.model.model(inputs_embeds=sequence).logits[0, -1, TOKEN_ID]
    assert logit.logits().item() == pytest.approx(expected.item())


def test_a_times_gradient_is_the_slope_of_scaling_a_unit(logit: TargetLogit) -> None:
    found = attribute_all(logit, n_steps=1)["a_gradient"]
    for uid in (0, 5, D_MLP + 3, 2 * D_MLP - 1):
        layer, unit = divmod(uid, D_MLP)
        up, down = (scaled(logit, layer, slice(unit, unit + 1), 1 + s) for s in (STEP, -STEP))
        assert found[uid].item() == pytest.approx(((up - down) / (2 * STEP)).item(), abs=TOLERANCE)


def test_zeroing_is_doing_it(logit: TargetLogit) -> None:
    uid = torch.tensor([4, D_MLP, 2 * D_MLP + 7, 9])
    found = logit.zeroing(uid, batch_size=3)
    untouched = logit.logits()[0]
    for unit, effect in zip(uid.tolist(), found, strict=True):
        layer, at = divmod(unit, D_MLP)
        expected = untouched - scaled(logit, layer, slice(at, at + 1), 0.0)
        assert effect.item() == pytest.approx(expected.item(), abs=1e-5)
    assert found[2].item() == pytest.approx(0, abs=1e-5)  # the last layer reaches nothing


def test_integrated_gradients_of_a_layer_add_up_to_silencing_it(logit: TargetLogit) -> None:
    if logit.model.architecture.out_norm:
        pytest.skip("a norm after the MLP makes the logit jump at 0: no number of steps is enough")
    found = logit.integrated(n_steps=400).view(N_LAYERS, D_MLP)
    for layer in range(N_LAYERS):
        silent = scaled(logit, layer, slice(None), 0.0)
        difference = (logit.logits()[0] - silent).item()
        assert found[layer].sum().item() == pytest.approx(difference, abs=1e-3)


def test_gradient_free_and_activation_by_their_formulas(logit: TargetLogit) -> None:
    seen: dict[int, torch.Tensor] = {}
    logit.logits(activation=lambda layer, a: seen.update({layer: logit.view(a)[0]}))
    found = attribute_all(logit, n_steps=1)
    for layer in range(N_LAYERS):
        at = slice(layer * D_MLP, (layer + 1) * D_MLP)
        writes = logit.model.write_vectors(layer) @ logit.model.unembedding.T
        expected = seen[layer][-1] * writes[:, TOKEN_ID]
        assert torch.allclose(found["gradient_free"][at], expected)
        best = seen[layer][logit.at_patches].amax(dim=0)
        assert torch.allclose(found["activation"][at], best)


def test_z_times_gradient_is_that_of_detection(logit: TargetLogit) -> None:
    z, _, dz, _ = logit.gradients()
    assert all(v.shape == (D_MODEL - 5, D_MLP) for v in z)  # 1 + 6 + 2 + 2 positions

    def nudged(by: float) -> torch.Tensor:
        def change(layer: int, values: torch.Tensor) -> torch.Tensor | None:
            if layer != 1:
                return None
            values = values.clone()
            logit.view(values)[0, 3, 2] += by
            return values

        with torch.no_grad():
            return logit.logits(preactivation=change)[0]

    slope = ((nudged(STEP) - nudged(-STEP)) / (2 * STEP)).item()
    assert dz[1][3, 2].item() == pytest.approx(slope, abs=TOLERANCE)
    parts = z[1][logit.at_patches] * dz[1][logit.at_patches]
    found = attribute_all(logit, n_steps=1)
    at = slice(D_MLP, 2 * D_MLP)
    assert torch.allclose(found["z_gradient_best"][at], parts.amax(dim=0))
    assert torch.allclose(found["z_gradient"][at], parts.sum(dim=0))


def test_no_hook_is_left(logit: TargetLogit) -> None:
    attribute_all(logit, n_steps=2)
    assert count_hooks(logit.model.model) == 0
