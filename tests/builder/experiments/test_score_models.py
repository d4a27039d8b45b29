"""BERTScore against its definition, and models that are loaded from a folder or missed."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tiny_scorers import (
    write_hub_bert,
    write_hub_clip,
    write_hub_roberta,
    write_tiny_bert,
    write_tiny_clip,
)
from transformers import AutoModel, AutoTokenizer

from atlas_db.errors import ExperimentError
from builder.experiments import score_folders
from builder.experiments.score_folders import find_score_folder, folder_hashes
from builder.experiments.score_models import (
    BertScorer,
    ClipScorer,
    TextTokens,
    find_scorers,
    greedy_f1,
)
from neuron_atlas.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of score models with one tiny BERT of random weights."""
    path = tmp_path_factory.mktemp("scores")
    write_tiny_bert(path / "tiny-bert")
    return path


def bert_of(folder: Path) -> BertScorer:
    scorer = find_scorers(folder, "cpu")["BERTScore"]
    assert isinstance(scorer, BertScorer), scorer
    return scorer


def tokens(*vectors: list[float], special: tuple[int, ...] = ()) -> TextTokens:
    is_special = torch.tensor([i in special for i in range(len(vectors))])
    return TextTokens(torch.tensor(vectors), is_special)


def test_greedy_matching_by_hand() -> None:
    one = tokens([1.0, 0.0], [0.0, 1.0])
    other = tokens([1.0, 0.0])
    # Precision (1 + 0) / 2, recall 1.
    assert greedy_f1(one, other) == pytest.approx(2 * 0.5 / 1.5)
    assert greedy_f1(one, one) == pytest.approx(1.0)
    # A special token is matched by (.6, .8), and is not averaged over.
    with_special = tokens([0.6, 0.8], [1.0, 0.0], special=(0,))
    assert greedy_f1(tokens([0.6, 0.8]), with_special) == pytest.approx(2 * 0.6 / 1.6)
    assert greedy_f1(tokens([1.0, 0.0], special=(0,)), one) == 0.0


def test_a_text_agrees_most_with_itself(folder: Path) -> None:
    scorer = bert_of(folder)
    reference = scorer.reference(None, 0, ["boat on water", "dog"])  # type: ignore[arg-type]
    # [CLS], three words, [SEP]
    assert reference[0].vectors.shape == (5, 16)
    assert reference[0].is_special.tolist() == [True, False, False, False, True]
    scores = scorer.score(["boat on water", "dog", "dog on"], reference)
    assert scores[:2] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert scores[2] < 0.999


def test_files_as_the_hub_has_them(tmp_path: Path) -> None:
    """Heads that are not needed, old names of weights and pickles are no obstacle."""
    for name, write in (("bert", write_hub_bert), ("roberta", write_hub_roberta)):
        write(tmp_path / name / "model")
        scorer = bert_of(tmp_path / name)
        whole = AutoModel.from_pretrained(tmp_path / name / "model")
        for parameter, value in scorer.model.state_dict().items():
            assert torch.equal(value, whole.state_dict()[parameter]), parameter
        reference = scorer.reference(None, 0, ["boat on water"])  # type: ignore[arg-type]
        assert scorer.score(["boat on water"], reference) == pytest.approx([1.0], abs=1e-5)
    write_hub_clip(tmp_path / "clip")
    scorer = find_scorers(tmp_path, "cpu")["CLIPScore"]
    assert isinstance(scorer, ClipScorer)
    assert scorer.about == "clip."
    picture = scorer.processor(images=Image.new("RGB", (50, 40)), return_tensors="pt")
    assert picture["pixel_values"].shape == (1, 3, 32, 32)


def test_a_roberta_reads_the_first_word_as_one_inside_a_text(tmp_path: Path) -> None:
    write_hub_roberta(tmp_path)
    scorer = bert_of(tmp_path)
    (found,) = scorer.reference(None, 0, ["boat"])  # type: ignore[arg-type]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize(" boat") != tokenizer.tokenize("boat")
    assert len(found.vectors) == 2 + len(tokenizer.tokenize(" boat"))


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
    reason = str(found["CLIPScore"])
    assert f"No model for CLIPScore is in {folder.name} (--scores)" in reason
    assert "openai/clip-vit-base-patch32" in reason
    assert "It holds tiny-bert." in reason
    assert all(isinstance(reason, str) for reason in find_scorers(None, "cpu").values())
    hashes = folder_hashes(folder)
    assert set(hashes) == {"BERTScore"}
    assert len(hashes["BERTScore"]) == 64
    assert folder_hashes(None) == {}
    one = TextTokens(torch.ones(1, 16) / 4, torch.tensor([False]))
    assert np.isfinite(bert_of(folder).score(["dog"], [one])).all()


def test_of_several_models_the_paper_s_likely_one_is_taken(tmp_path: Path) -> None:
    for name in ("a-bert", "bert-base-uncased", "z-bert"):
        write_tiny_bert(tmp_path / name)
    assert bert_of(tmp_path).about == "bert-base-uncased, layer 2."


def test_the_hub_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folders are called models--OWNER--NAME and have a snapshot for each revision."""
    repository = tmp_path / "models--google-bert--bert-base-uncased"
    for revision in ("abc", "zzz"):
        write_tiny_bert(repository / "snapshots" / revision)
    (repository / "snapshots" / "zzz" / "model.safetensors").unlink()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr(score_folders, "HF_HUB_CACHE", str(tmp_path))
    assert find_score_folder("hub") == tmp_path
    assert bert_of(tmp_path).about == "google-bert/bert-base-uncased, layer 2."


def refused(*options: str | Path) -> str:
    result = CliRunner().invoke(main, ["report", "nowhere", *map(str, options)])
    assert result.exit_code == 1
    return result.output


def test_a_folder_that_is_not_there_or_has_no_model(tmp_path: Path) -> None:
    said = refused("--scores", tmp_path / "gone")
    assert f"there is no folder {tmp_path / 'gone'}." in said
    assert "hf download google-bert/bert-base-uncased --local-dir DIR/bert-base-uncased" in said
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text('{"model_type": "gpt2"}')
    assert f"no model in {tmp_path} gives a score." in refused("--scores", tmp_path)


@pytest.mark.parametrize(
    ("write", "gone", "score"),
    [
        (write_hub_roberta, "pytorch_model.bin", "BERTScore"),
        (write_hub_roberta, "tokenizer.json vocab.json merges.txt", "BERTScore"),
        (write_hub_clip, "preprocessor_config.json", "CLIPScore"),
    ],
)
def test_a_model_of_which_files_are_missing(
    write: Callable[[Path], None], gone: str, score: str, tmp_path: Path
) -> None:
    write(tmp_path)
    for name in gone.split():
        (tmp_path / name).unlink()
    with pytest.raises(ExperimentError, match=rf"{tmp_path} cannot give {score}: .*all files"):
        find_scorers(tmp_path, "cpu")


def test_a_damaged_tokenizer_of_a_model(tmp_path: Path) -> None:
    write_hub_roberta(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = [["no", "token"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ExperimentError, match=r"cannot give BERTScore: .*out of vocabulary"):
        find_scorers(tmp_path, "cpu")
