"""Attribution against doing it: differences, ablation, and a full second pass."""

from typing import Any

import pytest
import torch
from tiny_models import D_MLP, D_MODEL, SLIDING, WordTokenizer, tiny_model, word_of
from torch import Tensor, nn

from builder import devices
from builder.attribution import Recorder, TopRows
from builder.detection import Detection, Detector
from builder.language_model import LanguageModel, count_hooks

PROMPT = (7, 8, 9)
N_PATCH = 6


def detector(model: LanguageModel, tokenizer: WordTokenizer, **settings: int) -> Detector:
    return Detector(model, tokenizer, prompt_ids=PROMPT, max_new_tokens=4, **settings)


def words(caption: str) -> list[str]:
    return caption.split()


def caption_ids(detection: Detection, image: int) -> list[int]:
    by_word = {word_of(i): i for i in range(50)}
    return [by_word[word] for word in words(detection.captions[image])]


def logits_by_hand(model: LanguageModel, patches: Tensor, ids: list[int]) -> Tensor:
    """One plain forward pass without a cache: logits (pos, vocabulary) that predict `ids`."""
    text = torch.tensor([[*PROMPT, *ids]])
    embeddings = torch.cat([patches[None], model.embed(text).to(patches.dtype)], dim=1)
    logits = model.model(inputs_embeds=embeddings, use_cache=False).logits[0]
    return logits[len(patches) + len(PROMPT) - 1 : -1]


def with_z(
    model: LanguageModel, place: tuple[int, int, int], change: object, patches: Tensor, ids: list
) -> Tensor:
    """Logits with z of one unit at one patch replaced by `change(z)`."""
    layer, unit, patch = place

    def tap(at: int, z: Tensor) -> Tensor | None:
        if at != layer:
            return None
        changed = z.clone()
        view = changed.view(1, -1, z.shape[-1])
        view[0, patch, unit] = change(view[0, patch, unit])  # type: ignore[operator]
        return changed

    with model.taps(preactivation=tap):
        return logits_by_hand(model, patches, ids)


def slope_by_hand(
    model: LanguageModel,
    place: tuple[int, int, int],
    patches: Tensor,
    ids: list[int],
    at: tuple[int, int],
) -> Tensor:
    """Central difference dy/dz, y the logit `at` (position, token)."""
    step = 1e-2
    # Five points: families that compute in float32 leave too much noise for small steps.
    y = {
        n: with_z(model, place, lambda z, n=n: z + n * step, patches, ids)[at]
        for n in (-2, -1, 1, 2)
    }
    return (8 * (y[1] - y[-1]) - (y[2] - y[-2])) / (12 * step)


def places(rows: TopRows, image: int) -> list[tuple[int, int, int]]:
    """Give (layer, unit, patch) of an image's rows."""
    uids, found = rows.uid[image].tolist(), rows.patch[image].tolist()
    pairs = zip(uids, found, strict=True)
    return [(uid // D_MLP, uid % D_MLP, patch) for uid, patch in pairs if uid >= 0]


def test_captions_are_the_greedy_ones(
    model: LanguageModel, tokenizer: WordTokenizer, patches: Tensor
) -> None:
    found = detector(model, tokenizer)(patches)
    for image in range(len(patches)):
        ids = caption_ids(found, image)
        assert len(ids) == 4
        best = logits_by_hand(model, patches[image], ids).argmax(-1)
        assert best.tolist() == ids


def test_gradients_are_central_differences(
    model: LanguageModel, tokenizer: WordTokenizer, patches: Tensor
) -> None:
    """For every family, targets at the caption's start and end: dy/dz is what moving z does."""
    found = detector(model, tokenizer, n_targets=4)(patches)
    for result in (found.results[0], found.results[3]):
        target = result.targets[1]
        assert target is not None
        ids = caption_ids(found, 1)
        for row in (0, 1, 5, 20, 60):
            place = places(result.pairs, 1)[row]
            at = (target.position, ids[target.position])
            slope = slope_by_hand(model, place, patches[1], ids, at)
            gradient = result.pairs.gradient[1, row]
            torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-4)
            expected = result.pairs.z[1, row] * gradient
            torch.testing.assert_close(result.pairs.attribution[1, row], expected)


def test_top_pairs_are_those_of_a_full_second_pass(
    model: LanguageModel, tokenizer: WordTokenizer, patches: Tensor
) -> None:
    """The plain way: hooks on a whole forward pass, one image at a time, everything sorted."""
    found = detector(model, tokenizer, n_targets=2)(patches)
    for result in found.results:
        for image, target in enumerate(result.targets):
            assert target is not None
            ids = caption_ids(found, image)
            zs: list[Tensor] = []

            def keep(layer: int, z: Tensor, zs: list[Tensor] = zs) -> Tensor:
                zs.append(z.detach().requires_grad_() if layer == 0 else z)
                return zs[-1]

            with model.taps(preactivation=keep):
                logits = logits_by_hand(model, patches[image], ids)
            logit = logits[target.position, ids[target.position]]
            gradients = torch.autograd.grad(logit, zs)
            attribution = torch.stack(
                [
                    (z * g).detach().reshape(-1, D_MLP)[:N_PATCH]
                    for z, g in zip(zs, gradients, strict=True)
                ]
            )  # (layer, patch, unit)
            torch.testing.assert_close(result.logit[image], logit.detach(), rtol=1e-6, atol=1e-6)
            best, patch = attribution.max(dim=1)
            assert_rows_are(result.pairs, image, attribution.permute(0, 2, 1).flatten())
            assert_rows_are(result.units, image, best.flatten(), patch.flatten())


def assert_rows_are(
    rows: TopRows, image: int, attribution: Tensor, patch: Tensor | None = None
) -> None:
    """Hold an image's rows against all attributions (unit, patch) or, with patches, (unit,)."""
    expected, index = attribution.sort(descending=True)
    n_rows = min(100, int((expected > 0).sum()))
    assert n_rows > 20
    # GPT-J computes its attention in float32 whatever the model's dtype.
    torch.testing.assert_close(
        rows.attribution[image, :n_rows], expected[:n_rows], rtol=1e-4, atol=1e-6
    )
    per_unit = 1 if patch is not None else N_PATCH
    assert rows.uid[image, :n_rows].tolist() == (index[:n_rows] // per_unit).tolist()
    patches = index % N_PATCH if patch is None else patch[index]
    assert rows.patch[image, :n_rows].tolist() == patches[:n_rows].tolist()
    assert (rows.uid[image, n_rows:] == -1).all()
    assert (rows.attribution[image, n_rows:] == 0).all()


def test_attribution_approximates_zeroing(
    model: LanguageModel, tokenizer: WordTokenizer, patches: Tensor
) -> None:
    """z * dy/dz is the first-order effect of setting z to 0."""
    found = detector(model, tokenizer)(patches)
    result = found.results[0]
    target = result.targets[0]
    assert target is not None
    ids = caption_ids(found, 0)
    whole = logits_by_hand(model, patches[0], ids)[target.position, ids[target.position]]

    def effect(place: tuple[int, int, int]) -> Tensor:
        logits = with_z(model, place, torch.zeros_like, patches[0], ids)
        return whole - logits[target.position, ids[target.position]]

    effects = torch.stack([effect(place) for place in places(result.pairs, 0)[:40]])
    assert torch.corrcoef(torch.stack([effects, result.pairs.attribution[0, :40]]))[0, 1] > 0.5
    random = torch.Generator().manual_seed(0)
    others = [
        tuple(int(torch.randint(n, (1,), generator=random)) for n in (3, D_MLP, N_PATCH))
        for _ in range(40)
    ]
    assert effects[:10].mean() > 3 * torch.stack([effect(place) for place in others]).abs().mean()


@pytest.mark.parametrize("model", SLIDING, indirect=True)
def test_attribution_beyond_a_sliding_window(
    model: LanguageModel, tokenizer: WordTokenizer
) -> None:
    """The last caption token sees few patches itself: layers in between carry on what they say."""
    generator = torch.Generator().manual_seed(6)
    patches = torch.randn(2, 10, D_MODEL, generator=generator, dtype=torch.float64)
    run = Detector(model, tokenizer, prompt_ids=PROMPT, max_new_tokens=7, n_targets=7)
    found = run(patches)
    assert model.model.config.sliding_window < 10  # of 19 positions
    tops, others = [], []
    for image in range(2):
        ids = caption_ids(found, image)
        whole = logits_by_hand(model, patches[image], ids)
        assert whole.argmax(-1).tolist() == ids
        for position, token in enumerate(ids):
            result = found.results[position]
            torch.testing.assert_close(result.logit[image], whole[position, token])

            def effect(
                place: tuple[int, int, int], image: int = image, whole: Any = whole, ids: Any = ids
            ) -> Tensor:
                """Fall of all the caption's logits when a unit is really set to 0."""
                zeroed = with_z(model, place, torch.zeros_like, patches[image], ids)
                return (whole - zeroed)[range(len(ids)), ids]

            tops += [effect(place)[position] for place in places(result.pairs, image)[:6]]
            others += [effect((position % 2, unit, 5))[position] for unit in range(6)]
    assert torch.stack(tops).mean() > 3 * torch.stack(others).abs().mean()
    last, result = 6, found.results[6]
    for row in (0, 7, 29, 60):
        place = places(result.pairs, 1)[row]
        slope = slope_by_hand(model, place, patches[1], ids, (last, ids[last]))
        torch.testing.assert_close(result.pairs.gradient[1, row], slope, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size_changes_nothing(
    model: LanguageModel, tokenizer: WordTokenizer, patches: Tensor, batch_size: int
) -> None:
    run = detector(model, tokenizer)
    whole = run(patches)
    parts = [run(part) for part in patches.split(batch_size)]
    assert [c for part in parts for c in part.captions] == whole.captions
    for name in ("uid", "patch", "attribution", "z", "a", "gradient"):
        joined = torch.cat([getattr(part.results[0].pairs, name) for part in parts])
        torch.testing.assert_close(joined, getattr(whole.results[0].pairs, name))


def test_the_sink_sees_the_activations(
    model: LanguageModel, tokenizer: WordTokenizer, patches: Tensor
) -> None:
    seen: dict[int, Tensor] = {}
    found = detector(model, tokenizer)(patches, lambda layer, a: seen.update({layer: a}))
    pairs, units = found.results[0].pairs, found.results[0]
    for image in range(len(patches)):
        for row, (layer, unit, patch) in enumerate(places(pairs, image)):
            torch.testing.assert_close(pairs.a[image, row], seen[layer][image, patch, unit])
        for row, (layer, unit, _) in enumerate(places(units.units, image)[:5]):
            scale, zero = units.heatmap_scale[image, row], units.heatmap_zero[image, row]
            read = units.heatmap[image, row] * scale + zero
            error = (read - seen[layer][image, :, unit]).abs().max()
            assert error <= scale * 0.5001


def test_a_caption_without_targets_is_left_out(tokenizer: WordTokenizer, patches: Tensor) -> None:
    """Images beside one without a noun keep their attributions; it has none."""
    model = tiny_model("gpt2")
    whole = detector(model, tokenizer)(patches)
    first = words(whole.captions[0])

    def no_word_of_first(caption: str) -> list:
        from builder.targets import lexicon_words

        return [] if words(caption) == first else lexicon_words(caption)

    run = Detector(
        model, tokenizer, prompt_ids=PROMPT, max_new_tokens=4, noun_rule=no_word_of_first
    )
    found = run(patches)
    assert found.results[0].targets[0] is None
    assert (found.results[0].pairs.uid[0] == -1).all()
    others = [i for i, caption in enumerate(whole.captions) if words(caption) != first]
    assert others
    torch.testing.assert_close(
        found.results[0].pairs.attribution[others], whole.results[0].pairs.attribution[others]
    )


def test_no_hook_is_left_after_a_failing_sink(
    model: LanguageModel, tokenizer: WordTokenizer, patches: Tensor
) -> None:
    def fail(layer: int, a: Tensor) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        detector(model, tokenizer)(patches, fail)
    assert count_hooks(model.model) == 0


def test_parts_of_a_batch_change_nothing(
    tokenizer: WordTokenizer, patches: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    whole = detector(model, tokenizer)(patches).results[0]
    monkeypatch.setitem(devices._ELEMENTS_AT_ONCE, "cpu", 3 * N_PATCH * D_MLP)
    parts = detector(model, tokenizer)(patches).results[0]
    for name in ("uid", "patch", "attribution", "z", "a", "gradient"):
        assert torch.equal(getattr(whole.pairs, name), getattr(parts.pairs, name)), name
        assert torch.equal(getattr(whole.units, name), getattr(parts.units, name)), name


class HandMade(nn.Module):
    """Two patches, two units, no norm: y = sum over patches of (relu(x W_in) W_out) . w."""

    w_in = torch.tensor([[1.0, -2.0], [0.5, 1.0]])
    w_out = torch.tensor([[3.0, 0.0], [1.0, -1.0]])
    w = torch.tensor([2.0, 5.0])


def test_attribution_worked_out_by_hand() -> None:
    """Patch 0 = (2, 4): z = (2 + 2, -4 + 4) = (4, 0); patch 1 = (-1, 6): z = (2, 8).

    Unit 0 writes (3, 0), worth 3 * 2 = 6 a unit of a; unit 1 writes (1, -1), worth 2 - 5 = -3.
    So z * dy/dz is 4 * 6 = 24 and 2 * 6 = 12 for unit 0, and 8 * -3 = -24 for unit 1 at patch 1.
    """
    model = tiny_model("gptj", dtype=torch.float32)
    model.d_mlp = 2
    model.model.config.activation_function = "relu"
    x = torch.tensor([[[2.0, 4.0], [-1.0, 6.0]]])
    recorder = Recorder(model, batch=1, patches=slice(0, 2), sink=None)
    z = recorder.see_z(0, x @ HandMade.w_in)
    assert z is not None
    a = z.relu()
    recorder.see_a(0, a)
    y = (a @ HandMade.w_out).sum(1) @ HandMade.w
    assert y.item() == 6 * (4 + 2) - 3 * 8
    pairs, units = recorder.backward(y, torch.tensor([True]), is_last=True)
    assert pairs.attribution.tolist() == [[24, 12, 0, 0]]
    assert pairs.uid.tolist() == [[0, 0, -1, -1]]
    assert pairs.patch[0, :2].tolist() == [0, 1]
    assert pairs.z[0, :2].tolist() == [4, 2]
    assert pairs.a[0, :2].tolist() == [4, 2]
    assert pairs.gradient[0, :2].tolist() == [6, 6]
    assert (units.uid.tolist(), units.attribution.tolist()) == ([[0, -1]], [[24, 0]])
