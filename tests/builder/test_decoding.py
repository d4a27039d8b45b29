"""Decoded tokens and neighbours against plain products."""

import pytest
import torch
from tiny_models import D_MLP, D_VOCAB, N_LAYERS, tiny_model

from builder import decoding
from builder.decoding import decode_units, token_neighbours, unit_neighbours, write_norms
from builder.language_model import LanguageModel

N_TOKENS = D_VOCAB - 3  # the embedding matrix is padded


@pytest.mark.parametrize("norm", ["none", "final"])
@pytest.mark.parametrize("sign", [1, -1])
def test_decoding_is_the_softmax_of_the_formula(model: LanguageModel, norm: str, sign: int) -> None:
    tables = list(decode_units(model, N_TOKENS, norm=norm))
    assert len(tables) == N_LAYERS
    for layer, table in enumerate(tables):
        for unit in (0, D_MLP - 1):
            vector = model.write_vectors(layer)[unit]
            if norm == "final":
                vector = model.final_norm(vector)
            logits = model.unembedding[:N_TOKENS] @ vector
            prob, token_id = (sign * logits).softmax(0).sort(descending=True)
            rows = [
                row
                for row in table.to_pylist()
                if row["uid"] == layer * D_MLP + unit and row["sign"] == sign
            ]
            assert [row["rank"] for row in rows] == list(range(1, 11))
            assert [row["token_id"] for row in rows] == token_id[:10].tolist()
            assert [row["prob"] for row in rows] == pytest.approx(prob[:10].tolist())
            assert [row["logit"] for row in rows] == pytest.approx(logits[token_id[:10]].tolist())


def test_the_norm_changes_what_is_decoded() -> None:
    model = tiny_model("gptj")
    plain, normed = (
        next(decode_units(model, N_TOKENS, norm=norm))["token_id"].to_pylist()
        for norm in ("none", "final")
    )
    assert plain != normed


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    whole = next(decode_units(model, N_TOKENS))
    near = unit_neighbours(model)
    monkeypatch.setattr(decoding, "rows_in_chunk", lambda n_columns, device: 5)
    parts = next(decode_units(model, N_TOKENS))
    assert parts.drop(["logit", "prob"]) == whole.drop(["logit", "prob"])
    monkeypatch.setattr(decoding, "rows_in_chunk", lambda n_columns, device: 1)
    assert unit_neighbours(model).drop("cosine") == near.drop("cosine")


@pytest.mark.parametrize("length", [1, 30, 1e4])
def test_probabilities_of_long_write_vectors(length: float) -> None:
    """Also where the greatest and the least logit lie too far apart for exp() to give a number."""
    model = tiny_model("gptj", dtype=torch.float32)
    vectors = torch.nn.functional.normalize(model.write_vectors(0)[:4].double(), dim=1) * length
    logits = model.unembedding[:N_TOKENS].double() @ vectors.T
    assert bool((logits.amax(0) - logits.amin(0) < decoding._MOST_SPREAD).all()) == (length == 1)
    found = decoding._decode(logits.T.float().contiguous(), 10)[2]
    for row, sign in enumerate((1, -1)):
        expected = (sign * logits.T).softmax(dim=1).sort(dim=1, descending=True).values[:, :10]
        torch.testing.assert_close(found[:, row].double(), expected, rtol=2e-3, atol=1e-30)


def test_a_unit_that_writes_nothing_says_the_first_tokens() -> None:
    """All logits are equal: tokens stand in their own order, as promoted and as suppressed ones."""
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.model.transformer.h[0].mlp.c_proj.weight[3] = 0
    rows = next(decode_units(model, N_TOKENS)).slice(3 * 20, 20).to_pylist()
    assert {row["uid"] for row in rows} == {3}
    assert [row["token_id"] for row in rows] == [*range(10), *range(10)]
    assert [row["prob"] for row in rows] == pytest.approx([1 / N_TOKENS] * 20)


def test_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm must be one of none, final, got 'layer'"):
        next(decode_units(tiny_model("opt"), N_TOKENS, norm="layer"))


def test_write_norms(model: LanguageModel) -> None:
    norms = write_norms(model)
    assert norms[D_MLP + 3] == pytest.approx(float(model.write_vectors(1)[3].norm()))


def test_neighbours_by_cosine(model: LanguageModel) -> None:
    vectors = torch.cat([model.write_vectors(i) for i in model.layers]).float()
    cosine = torch.nn.functional.cosine_similarity(vectors[7], vectors, dim=1)
    cosine[7] = -2
    expected = cosine.sort(descending=True)
    rows = [row for row in unit_neighbours(model).to_pylist() if row["uid"] == 7]
    assert [row["neighbour_uid"] for row in rows] == expected.indices[:8].tolist()
    assert [row["cosine"] for row in rows] == pytest.approx(expected.values[:8].tolist(), abs=1e-5)


def test_token_neighbours_are_tokens() -> None:
    model = tiny_model("neox")
    rows = token_neighbours(model, torch.tensor([4, 9]), N_TOKENS).to_pylist()
    assert {row["token_id"] for row in rows} == {4, 9}
    assert len(rows) == 16
    assert all(row["neighbour_id"] < N_TOKENS for row in rows)
    assert all(row["neighbour_id"] != row["token_id"] for row in rows)


def test_bfloat16_weights_have_float32_logits() -> None:
    """As if the weights were float32: only the weights are rounded, no sum and no logit."""
    model = tiny_model("gptj", dtype=torch.bfloat16)
    found = next(decode_units(model, N_TOKENS)).slice(0, 10).to_pylist()
    logits = model.unembedding[:N_TOKENS].double() @ model.write_vectors(0)[0].double()
    expected = logits.sort(descending=True)
    assert [row["token_id"] for row in found] == expected.indices[:10].tolist()
    assert [row["logit"] for row in found] == pytest.approx(expected.values[:10].tolist(), rel=1e-5)
    cosines = unit_neighbours(model).to_pylist()[0]
    vectors = torch.cat([model.write_vectors(i) for i in model.layers]).double()
    exact = torch.nn.functional.cosine_similarity(vectors[0], vectors, dim=1)[1:].max()
    assert cosines["cosine"] == pytest.approx(float(exact), rel=1e-5)


def test_a_unit_that_writes_nothing_has_neighbours_all_the_same() -> None:
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.model.transformer.h[0].mlp.c_proj.weight[3] = 0
    rows = [row for row in unit_neighbours(model).to_pylist() if row["uid"] == 3]
    assert [row["cosine"] for row in rows] == [0.0] * 8
