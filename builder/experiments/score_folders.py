"""Which models of a folder give BERTScore and CLIPScore, and what is wrong where none does.

The folder is that of a model, of folders of models (as `save_pretrained` or
`hf download NAME --local-dir DIR/NAME` leaves them), or the hub's cache. Nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from atlas_db.errors import CaptionerError, ExperimentError
from builder.parts import files_sha256, part_files

#: Names the hub's cache in the place of a folder.
HUB = "hub"
#: The types of models (`model_type` of config.json) that give each score.
TYPES: Mapping[str, tuple[str, ...]] = {
    "BERTScore": ("bert", "roberta", "deberta", "deberta-v2", "distilbert", "mpnet", "electra"),
    "CLIPScore": ("clip",),
}
#: Of several models of a folder, the one that is taken; the others by their names. The paper does
#: not say which it used. Its BERTScores of random pairs, .33 and .36, fit the first of these, of
#: which bert_score's authors print .352 for random sentences; of roberta-large they print .831.
PREFERRED = ("bert-base-uncased", "clip-vit-base-patch32")
_HUB_NAMES = {
    "BERTScore": "google-bert/bert-base-uncased",
    "CLIPScore": "openai/clip-vit-base-patch32",
}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt")
_BESIDE = (*_TOKENIZER, "preprocessor_config.json")


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """A folder that holds a model, and what the model is called."""

    name: str
    path: Path
    model_type: str

    @property
    def sha256(self) -> str:
        """The hash of its weights, configuration and tokenizer."""
        return files_sha256(part_files(self.path, _BESIDE))


def score_folders(folder: Path | None) -> dict[str, ScoreFolder | str]:
    """Choose a model for each score; where there is none, say why."""
    if folder is None:
        reason = "No models for it were given (--scores DIR); word overlap stands in its place."
        return dict.fromkeys(TYPES, reason)
    found = sorted(
        _models(folder),
        key=lambda model: (model.name.rpartition("/")[2] not in PREFERRED, model.name),
    )
    return {
        score: next(
            (model for model in found if model.model_type in types), _none(score, folder, found)
        )
        for score, types in TYPES.items()
    }


def find_score_folder(source: str) -> Path:
    """Give the folder that `--scores` names, before anything is run.

    Args:
        source: A folder, or HUB for the hub's cache.

    Raises:
        ExperimentError: It is not there, or none of its models gives a score.
    """
    folder = Path(HF_HUB_CACHE) if source == HUB else Path(source)
    if not folder.is_dir():
        raise ExperimentError(f"--scores: there is no folder {folder}. {_wanted()}")
    if not any(isinstance(model, ScoreFolder) for model in score_folders(folder).values()):
        raise ExperimentError(f"--scores: no model in {folder} gives a score. {_wanted()}")
    return folder


def folder_hashes(folder: Path | None) -> dict[str, str]:
    """Hash the models that scores rest on, by the score.

    Raises:
        ExperimentError: A model has no weights.
    """
    models = score_folders(folder).items()
    try:
        return {score: model.sha256 for score, model in models if isinstance(model, ScoreFolder)}
    except CaptionerError as error:
        raise ExperimentError(f"--scores: {error}") from None


def _models(folder: Path) -> Iterator[ScoreFolder]:
    """Go through the folder itself, those in it, and snapshots where it is the hub's cache."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for path in (folder, *inside):
        name, place = path.name, path
        if name.startswith("models--"):
            name = name.removeprefix("models--").replace("--", "/")
            place = _snapshot(path)
        try:
            config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        yield ScoreFolder(name, place, str(config.get("model_type", "")))


def _snapshot(repository: Path) -> Path:
    """Give the snapshot of a cached repository's main revision, or the last by name."""
    try:
        return repository / "snapshots" / (repository / "refs/main").read_text().strip()
    except OSError:
        return max(repository.glob("snapshots/*"), default=repository)


def _none(score: str, folder: Path, found: list[ScoreFolder]) -> str:
    others = f" It holds {', '.join(model.name for model in found[:5])}." if found else ""
    return (
        f"No model for {score} is in {folder.name} (--scores); word overlap stands in its place. "
        f"Wanted a model of the type {' or '.join(TYPES[score])}, such as {_HUB_NAMES[score]}."
        f"{others}"
    )


def _wanted() -> str:
    commands = " and ".join(
        f"`hf download {name} --local-dir DIR/{name.rpartition('/')[2]}`"
        for name in _HUB_NAMES.values()
    )
    return (
        f"On a machine that reaches the hub run {commands}, bring DIR here and give --scores DIR; "
        f"or give --scores {HUB}, where they are in the hub's cache."
    )
