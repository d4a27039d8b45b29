"""The passes of the experiments, against full forward passes without a cache or a kernel."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import SLIDING, WordTokenizer

from builder.captioner import Captioner
from builder.detection import Detector
from builder.experiments.passes import Passes
from builder.language_model import LanguageModel, count_hooks

PROMPT = [7, 3]
N_TOKENS = 5


class PromptTokenizer(WordTokenizer):
    bos_token_id = 9

    def encode(self, text: str, **_: Any) -> list[int]:
        return PROMPT


class Config:
    """What a pass asks of a captioner's configuration."""

    prompt = "a prompt"
    max_new_tokens = N_TOKENS
    reply = ""

    def __init__(self, n_patch: int, bos: bool) -> None:
        self.n_patch, self.bos = n_patch, bos


@pytest.fixture(params=[False, True], ids=["plain", "bos"])
def captioner(request: Any, model: LanguageModel, patches: torch.Tensor) -> Captioner:
    config: Any = Config(patches.shape[1], request.param)
    nothing: Any = None
    return Captioner(
        config=config,
        model=model.model,
        tokenizer=PromptTokenizer(),
        encoder=nothing,
        adapter=nothing,
        device=torch.device("cpu"),
        dtype=torch.float64,
        files={},
    )


@pytest.fixture
def passes(captioner: Captioner, model: LanguageModel) -> Passes:
    return Passes(captioner, model)


def full_pass(
    captioner: Captioner,
    model: LanguageModel,
    patches: torch.Tensor,
    tokens: list[int],
    **taps: Any,
) -> torch.Tensor:
    """Logits (n + 1, vocabulary) after the prompt and each token, of one image."""
    embeddings = captioner.sequence(patches[None])
    words = model.embed(torch.tensor([tokens], dtype=torch.int64)).to(embeddings.dtype)
    with model.taps(**taps):
        logits = model.model(inputs_embeds=torch.cat([embeddings, words], dim=1)).logits[0]
    return logits[embeddings.shape[1] - 1 :]


def test_captions_are_greedy(
    passes: Passes, captioner: Captioner, model: LanguageModel, patches: torch.Tensor
) -> None:
    captions = passes.caption(patches)
    for row, tokens in enumerate(captions.tokens.tolist()):
        logits = full_pass(captioner, model, patches[row], tokens)
        assert logits[:-1].argmax(dim=-1).tolist() == tokens
    assert captions.position.tolist() == [0] * len(patches)  # every word is a noun by rule
    assert captions.token_id.tolist() == captions.tokens[:, 0].tolist()


def test_attributions_are_those_of_detection(
    passes: Passes, captioner: Captioner, model: LanguageModel, patches: torch.Tensor
) -> None:
    detector = Detector(
        model,
        captioner.tokenizer,
        prompt_ids=captioner.prompt_ids,
        prefix_ids=captioner.prefix_ids,
        max_new_tokens=N_TOKENS,
    )
    (result,) = detector(patches).results
    _, attribution = passes.unit_attributions(patches)
    for row in range(len(patches)):
        known = result.units.uid[row] >= 0
        uid = result.units.uid[row][known]
        expected = result.units.attribution[row][known]
        torch.testing.assert_close(attribution[row, uid], expected)
        assert int((attribution[row] > 0).sum()) == len(uid)  # the tiny model has fewer than 100
    last = slice((model.n_layers - 1) * model.d_mlp, None)
    assert not attribution[:, last].any()


def test_zeroing_is_zeroing(
    passes: Passes, captioner: Captioner, model: LanguageModel, patches: torch.Tensor
) -> None:
    """Other units for each image; the caption's own positions keep theirs."""
    captions = passes.caption(patches)
    d = model.d_mlp
    uid = torch.tensor([[1, d + 2], [5, -1], [2 * d + 3, 0], [-1, -1]])
    logit, prob, texts = passes.zeroed(patches, captions, uid, regenerate=True)
    at = captioner.patch_positions
    for row in range(len(patches)):

        def zero(layer: int, a: torch.Tensor, row: int = row) -> torch.Tensor:
            shape = a.shape
            a = a.clone().view(1, -1, d)
            for unit in uid[row].tolist():
                if unit >= 0 and unit // d == layer:
                    a[:, at, unit % d] = 0
            return a.view(shape)

        expected = full_pass(captioner, model, patches[row], [], activation=zero)[0]
        token = captions.token_id[row]
        torch.testing.assert_close(logit[row], expected[token])
        torch.testing.assert_close(prob[row], expected.softmax(dim=-1)[token])
        assert texts is not None
        first = captioner.tokenizer.decode([int(expected.argmax())]).strip()
        assert texts[row].split()[0] == first
    assert texts is not None
    assert texts[3] == captions.texts[3]
    assert count_hooks(model.model) == 0


@pytest.mark.parametrize("model", SLIDING, indirect=True)
def test_zeroing_beyond_a_sliding_window(
    passes: Passes, captioner: Captioner, model: LanguageModel, patches: torch.Tensor
) -> None:
    """The caption's last token, from which the first patches are out of sight."""
    last = N_TOKENS - 1
    n_seen_before = model.model.config.sliding_window
    assert captioner.sequence(patches).shape[1] + last > n_seen_before + 2
    captions = passes.caption(patches)
    captions = replace(
        captions,
        position=torch.full_like(captions.position, last),
        token_id=captions.tokens[:, last],
    )
    d = model.d_mlp
    uid = torch.tensor([[row, d + row, d + 9, 17] for row in range(len(patches))])
    logit, _, _ = passes.zeroed(patches, captions, uid)
    at = captioner.patch_positions
    for row, tokens in enumerate(captions.tokens.tolist()):

        def zero(layer: int, a: torch.Tensor, row: int = row) -> torch.Tensor:
            a = a.clone()
            a[:, at, [u % d for u in uid[row].tolist() if u // d == layer]] = 0
            return a

        zeroed = full_pass(captioner, model, patches[row], tokens, activation=zero)[last]
        whole = full_pass(captioner, model, patches[row], tokens)[last]
        torch.testing.assert_close(logit[row], zeroed[tokens[last]])
        assert (zeroed - whole).abs().max() > 1e-3


def test_activation_maps(
    passes: Passes, captioner: Captioner, model: LanguageModel, patches: torch.Tensor
) -> None:
    d = model.d_mlp
    seen: dict[int, torch.Tensor] = {}

    def keep(layer: int, a: torch.Tensor) -> None:
        seen[layer] = a.view(len(patches), -1, d)[:, captioner.patch_positions]

    with model.taps(activation=keep):
        model.model(inputs_embeds=captioner.sequence(patches))
    uid = torch.tensor([[0, d + 4], [2 * d, 1], [-1, 3], [5, 5]])
    maps = passes.activations(patches, uid)
    assert maps.shape == (4, 2, patches.shape[1])
    for row in range(4):
        for column in range(2):
            unit = int(uid[row, column])
            expected = seen[unit // d][row, :, unit % d] if unit >= 0 else 0 * maps[0, 0]
            # GPT-J's attention computes in float32.
            torch.testing.assert_close(maps[row, column], expected, atol=1e-6, rtol=1e-5)
