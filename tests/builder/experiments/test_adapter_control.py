"""Nearest tokens against a search by hand, and agreement by counting."""

import numpy as np
import pytest
import torch

from builder.experiments.adapter_control import N_NEAREST, Embeddings, agreement, caption_nouns


def test_the_nearest_tokens_are_those_of_greatest_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 6, generator=generator) * torch.arange(1.0, 31.0)[:, None]
    embeddings = Embeddings(torch.nn.functional.normalize(rows, dim=1), [None] * 30)
    vectors = torch.randn(9, 6, generator=generator) * 100
    cosine, token_id = embeddings.nearest(vectors)
    for vector, values, ids in zip(vectors, cosine, token_id, strict=True):
        by_hand = [float(vector @ row / vector.norm() / row.norm()) for row in rows]
        assert ids.tolist() == sorted(range(30), key=lambda i: -by_hand[i])[:N_NEAREST]
        assert values.tolist() == pytest.approx(sorted(by_hand, reverse=True)[:N_NEAREST], abs=1e-5)


def test_a_token_embedding_is_its_own_nearest() -> None:
    rows = torch.nn.functional.normalize(torch.randn(20, 8, dtype=torch.float32), dim=1)
    _, token_id = Embeddings(rows, [None] * 20).nearest(rows * 3)
    assert token_id[:, 0].tolist() == list(range(20))


def test_agreement_counts_tokens_whose_stem_is_a_word() -> None:
    stems = ["boat", None, "dog", "the"]
    found = agreement(np.array([0, 0, 1, 2, 3]), stems, frozenset({"boat", "cat"}))
    assert found == pytest.approx(2 / 5)


def test_the_nouns_that_captions_have_most_often() -> None:
    captions = [
        "A dog with a ball.",
        "The dog and a cat",
        "A red ball, a dog, a boat, a car, a tree",
    ]
    assert caption_nouns(captions) == ["dog", "ball", "cat", "boat", "car"]
    assert caption_nouns(["running on"]) == []
