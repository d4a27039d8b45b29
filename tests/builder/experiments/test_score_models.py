"""BERTScore against its definition, and models that are loaded from a folder or missed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from builder.experiments.score_models import (
    BertScorer,
    find_scorers,
    folder_hashes,
    greedy_f1,
)

WORDS = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "boat", "dog", "water", "on"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of score models with one tiny BERT of random weights."""
    path = tmp_path_factory.mktemp("scores") / "tiny-bert"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=80,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(path)
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
        pad_token="[PAD]",
    ).save_pretrained(path)  # fmt: skip
    return path.parent


def test_greedy_matching_by_hand() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    other = torch.tensor([[1.0, 0.0]])
    # Precision (1 + 0) / 2, recall 1.
    assert greedy_f1(one, other) == pytest.approx(2 * 0.5 / 1.5)
    assert greedy_f1(one, one) == pytest.approx(1.0)
    assert greedy_f1(one[:0], one) == 0.0


def test_a_text_agrees_most_with_itself(folder: Path) -> None:
    scorer = BertScorer(folder / "tiny-bert", "cpu")
    reference = scorer.reference(None, 0, ["boat on water", "dog"])  # type: ignore[arg-type]
    assert reference[0].shape == (3, 16)
    scores = scorer.score(["boat on water", "dog", "dog on"], reference)
    assert scores[:2] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert scores[2] < 0.999


def test_models_are_found_by_their_type_and_missing_ones_are_named(folder: Path) -> None:
    found = find_scorers(folder, "cpu")
    assert isinstance(found["BERTScore"], BertScorer)
    assert "No model for CLIPScore" in str(found["CLIPScore"])
    assert all(isinstance(reason, str) for reason in find_scorers(None, "cpu").values())
    (digest,) = folder_hashes(folder).values()
    assert len(digest) == 64
    assert folder_hashes(None) == {}
    assert np.isfinite(found["BERTScore"].score(["dog"], [torch.ones(1, 16) / 4])).all()
