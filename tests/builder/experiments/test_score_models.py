"""BERTScore against its definition, and models that are loaded from a folder or missed."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tiny_scorers import write_tiny_bert, write_tiny_clip

from builder.experiments.score_models import (
    BertScorer,
    ClipScorer,
    find_scorers,
    folder_hashes,
    greedy_f1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of score models with one tiny BERT of random weights."""
    path = tmp_path_factory.mktemp("scores")
    write_tiny_bert(path / "tiny-bert")
    return path


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


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP of random weights, and two pictures."""
    path = tmp_path_factory.mktemp("clip")
    write_tiny_clip(path)
    for name, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
        Image.new("RGB", (40, 30), colour).save(path / f"{name}.png")
    return path


def test_clip_scores_are_those_of_the_whole_model(clip_folder: Path) -> None:
    scorer = find_scorers(clip_folder, "cpu")["CLIPScore"]
    assert isinstance(scorer, ClipScorer)
    rows = [
        {"image_id": i, "file": f"{name}.png", "width_px": 40, "height_px": 30}
        for i, name in enumerate(("red", "blue"))
    ]
    images = pa.Table.from_pylist(rows)
    context = SimpleNamespace(dataset=SimpleNamespace(folder=clip_folder, images=images))
    texts = ["boat on water", "dog"]
    for row in rows:
        reference = scorer.reference(context, row["image_id"], [])  # type: ignore[arg-type]
        photograph = Image.open(clip_folder / row["file"])
        pixels = scorer.processor(images=photograph, return_tensors="pt")
        found = scorer.score(texts, reference)
        for text, score in zip(texts, found, strict=True):
            words = scorer.tokenizer(text, return_tensors="pt")
            with torch.no_grad():
                out = scorer.model(**words, **pixels)
            cosine = (out.image_embeds @ out.text_embeds.T).item()
            assert score == pytest.approx(100 * max(cosine, 0), abs=1e-3)


def test_models_are_found_by_their_type_and_missing_ones_are_named(folder: Path) -> None:
    found = find_scorers(folder, "cpu")
    assert isinstance(found["BERTScore"], BertScorer)
    assert "No model for CLIPScore" in str(found["CLIPScore"])
    assert all(isinstance(reason, str) for reason in find_scorers(None, "cpu").values())
    (digest,) = folder_hashes(folder).values()
    assert len(digest) == 64
    assert folder_hashes(None) == {}
    assert np.isfinite(found["BERTScore"].score(["dog"], [torch.ones(1, 16) / 4])).all()
