"""Units on text: activations as of each passage alone, top passages by brute force, comparisons."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import D_MLP, N_LAYERS, WordTokenizer, tiny_model, word_of

from atlas_db.errors import DatasetError
from builder.experiments.text import compare
from builder.experiments.text_exemplars import N_PASSAGES, TextCollector
from builder.experiments.text_passages import (
    MAX_TOKENS,
    Passage,
    PassageBatch,
    read_activations,
    read_passages,
)
from builder.language_model import LanguageModel

SEPARATOR = 1
N_TEXTS = 9


class LetterTokenizer(WordTokenizer):
    """Makes a token of each word, by its length."""

    def encode(self, text: str, **_: object) -> list[int]:
        return [len(word) for word in text.split()]


@pytest.fixture
def passages() -> list[Passage]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(N_TEXTS):
        ids = tuple(rng.integers(2, 40, size=rng.integers(2, 12)).tolist())
        found.append(Passage("human captions", number, " ".join(map(word_of, ids)), ids))
    return found


def alone(model: LanguageModel, passage: Passage) -> list[torch.Tensor]:
    """Give a of every layer on a passage read by itself, without the separator's place."""
    seen: dict[int, torch.Tensor] = {}
    ids = torch.tensor([[SEPARATOR, *passage.token_ids]])
    with torch.no_grad(), model.taps(activation=lambda layer, a: seen.update({layer: a})):
        model.model(input_ids=ids)
    return [seen[i].view(len(ids[0]), -1)[1:] for i in range(N_LAYERS)]


def test_activations_are_those_of_each_passage_alone(
    model: LanguageModel, passages: list[Passage]
) -> None:
    found: dict[tuple[int, int], torch.Tensor] = {}

    def keep(layer: int, batch: PassageBatch) -> None:
        for row, index in enumerate(batch.index.tolist()):
            found[layer, index] = batch.activations[row]

    read_activations(model, passages, keep, separator_id=SEPARATOR)
    assert len(found) == N_LAYERS * N_TEXTS
    for index, passage in enumerate(passages):
        for layer, expected in enumerate(alone(model, passage)):
            values = found[layer, index]
            assert values.shape == (MAX_TOKENS, D_MLP)
            n = len(passage.token_ids)
            assert torch.allclose(values[:n], expected, atol=1e-5)
            # Beyond the passage stands what can be no unit's greatest activation.
            assert torch.allclose(
                values[n:], expected.amin(dim=0).expand(MAX_TOKENS - n, -1), atol=1e-5
            )


def test_without_a_separator_the_first_token_is_not_looked_at(passages: list[Passage]) -> None:
    model = tiny_model("gpt2")
    kept: list[PassageBatch] = []
    read_activations(
        model, passages[:1], lambda layer, batch: kept.append(batch), separator_id=None
    )
    first = kept[0].activations[0]
    rest = first[1 : len(passages[0].token_ids)]
    assert torch.equal(first[0], rest.amin(dim=0))


def test_top_passages_and_peaks_by_brute_force(passages: list[Passage]) -> None:
    model = tiny_model("gptj")
    uid = np.array([3, D_MLP + 5, 2 * D_MLP])
    collector = TextCollector(model, len(passages), uid)
    read_activations(model, passages, collector.see, separator_id=SEPARATOR)
    peaks = torch.stack(
        [torch.cat([a.amax(dim=0) for a in alone(model, passage)]) for passage in passages]
    )
    assert torch.allclose(collector.peaks.double(), peaks[:, uid], atol=1e-5)
    texts = [f" {word_of(i)}" for i in range(50)]
    rows = collector.table(passages, texts).to_pylist()
    assert len(rows) == N_LAYERS * D_MLP * N_PASSAGES
    for unit in (0, 7, D_MLP + 1, 3 * D_MLP - 1):
        mine = sorted((row for row in rows if row["uid"] == unit), key=lambda row: row["rank"])
        expected = peaks[:, unit].argsort(descending=True)[:N_PASSAGES].tolist()
        assert [row["passage"] for row in mine] == expected
        best = mine[0]
        layer, at = divmod(unit, D_MLP)
        of_tokens = alone(model, passages[expected[0]])[layer][:, at]
        assert best["tokens"] == [texts[i] for i in passages[expected[0]].token_ids]
        step = (of_tokens.max() - of_tokens.min()).item() / 255
        assert best["activations"] == pytest.approx(of_tokens.tolist(), abs=step)
        assert best["position"] == int(of_tokens.argmax())


def test_files_are_cut_into_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a bb\n\nccc\n   \n" + "dd " * 100)
    found = read_passages(LetterTokenizer(), ["eeee ff", ""], [path])
    assert [(p.source, p.number, p.token_ids[:2]) for p in found] == [
        ("human captions", 0, (4, 2)), ("notes.txt", 0, (1, 2)), ("notes.txt", 1, (3,)),
        ("notes.txt", 2, (2, 2)),
    ]  # fmt: skip
    assert len(found[-1].token_ids) == MAX_TOKENS
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read as text"):
        read_passages(LetterTokenizer(), [], [path])


def test_a_unit_of_pictures_and_words_is_told_from_one_of_pictures_alone() -> None:
    rng = np.random.default_rng(1)
    is_in = np.eye(4, dtype=bool)[rng.integers(4, size=80)]
    names = np.eye(4, dtype=bool)[rng.integers(4, size=120)]
    level = np.array([0.0, 1.0, 2.0, 3.0])
    both = (level[is_in.argmax(axis=1)], level[names.argmax(axis=1)])
    noise = rng.normal(size=120)
    pictures = np.stack([both[0], both[0]], axis=1)
    words = np.stack([both[1], noise], axis=1)
    column = np.array([3, 3])
    found = compare((pictures, is_in), (words, names), np.array([0, 1]), column)
    assert found.auc[0] == 1.0
    assert found.p[0] < 1e-6
    assert found.correlation[0] == pytest.approx(1.0)
    assert 0.3 < found.auc[1] < 0.7
    assert found.p[1] > 0.001
