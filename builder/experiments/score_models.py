"""BERTScore and CLIPScore with transformers models from a local folder.

`score_models` is a folder of a model, or of folders of models, as `save_pretrained` or a clone of a
hub repository leaves them; nothing is fetched. A CLIP model (model type clip) gives CLIPScore, an
encoder of text (bert, roberta, deberta, ...) BERTScore.

- CLIPScore of a text and an image: 100 max(cos, 0) of CLIP's two embeddings, as the paper prints
  it (Hessel et al. 2021 multiply by 2.5 instead).
- BERTScore (Zhang et al. 2020): F1 of greedy matching of contextual token embeddings by cosine, of
  the last hidden layer unless the layer that its authors recommend is known (LAYERS); no idf
  weights, no rescaling; the best of the reference captions. Special tokens are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from builder.experiments.context import ExperimentContext
from builder.images import read_photograph
from builder.loading import load_pretrained
from builder.parts import files_sha256, part_files

#: Layers that bert_score's authors found to agree best with people, by (model type, layers).
LAYERS: Mapping[tuple[str, int], int] = {
    ("bert", 12): 9,
    ("bert", 24): 18,
    ("roberta", 12): 10,
    ("roberta", 24): 17,
    ("deberta", 24): 18,
    ("deberta", 48): 40,
}
_TEXT_TYPES = ("bert", "roberta", "deberta", "deberta-v2", "distilbert", "mpnet", "electra")
_MAX_TOKENS = 64
_MISSING = "No {} is among the models of --scores; word overlap stands in its place."
_NONE = "No models for it were given (--scores DIR); word overlap stands in its place."

Scores = npt.NDArray[np.float64]


class Scorer(Protocol):
    """Scores texts against a reference made once for each image."""

    name: str

    def reference(self, context: ExperimentContext, image_id: int, captions: Sequence[str]) -> Any:
        """Prepare what texts are compared with."""

    def score(self, texts: Sequence[str], reference: Any) -> Scores:
        """Score texts, (n,)."""


def find_scorers(folder: Path | None, device: Any) -> dict[str, Scorer | str]:
    """Load the models of a folder; where there is none for a score, say why."""
    found: dict[str, Scorer | str] = {}
    models = _model_folders(folder)
    for name, types, make in (
        ("BERTScore", _TEXT_TYPES, BertScorer),
        ("CLIPScore", ("clip",), ClipScorer),
    ):
        paths = [path for path, kind in models if kind in types]
        missing = _NONE if folder is None else _MISSING.format(f"model for {name}")
        found[name] = make(paths[0], device) if paths else missing
    return found


def folder_hashes(folder: Path | None) -> dict[str, str]:
    """Hash the models of a folder, by their folder's name: what scores rest on."""
    return {path.name: files_sha256(part_files(path)) for path, _ in _model_folders(folder)}


def _model_folders(folder: Path | None) -> list[tuple[Path, str]]:
    if folder is None:
        return []
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = []
    for path in candidates:
        try:
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found.append((path, str(config.get("model_type", ""))))
    return found


def greedy_f1(candidate: Tensor, reference: Tensor) -> float:
    """Match each token of one text with the most similar of the other, and back: F1 of cosines.

    Args:
        candidate, reference: (n_tokens, width) each, of unit length.

    0 where one has no token.
    """
    if not len(candidate) or not len(reference):
        return 0.0
    cosine = candidate @ reference.T
    precision = cosine.amax(dim=1).mean().item()
    recall = cosine.amax(dim=0).mean().item()
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


class BertScorer:
    """BERTScore's F1 with one text encoder."""

    name = "BERTScore"

    def __init__(self, path: Path, device: Any) -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        kind = AutoConfig.from_pretrained(path, local_files_only=True).model_type
        # Checkpoints of masked language models have no pooler, and none is needed.
        more = {"add_pooling_layer": False} if kind in ("bert", "roberta") else {}
        self.model = load_pretrained(
            AutoModel, path, what="BERTScore model", dtype=torch.float32, **more
        )
        self.model = self.model.to(device).eval()
        config = self.model.config
        key = (config.model_type, config.num_hidden_layers)
        self.layer = LAYERS.get(key, config.num_hidden_layers)
        self._embed_once = lru_cache(maxsize=2**14)(self._embed)

    def reference(
        self, context: ExperimentContext, image_id: int, captions: Sequence[str]
    ) -> list[Tensor]:
        """Embed the captions' tokens."""
        return [self._embed_once(caption) for caption in captions]

    def score(self, texts: Sequence[str], reference: list[Tensor]) -> Scores:
        """Give each text's best F1 over the captions."""
        vectors = [self._embed_once(text) for text in texts]
        return np.array([max(greedy_f1(v, other) for other in reference) for v in vectors])

    @torch.no_grad()
    def _embed(self, text: str) -> Tensor:
        """Embed a text's tokens, special ones left out: (n_tokens, width) of unit length."""
        inputs = self.tokenizer(
            text,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        is_special = inputs.pop("special_tokens_mask")[0].bool()
        inputs = inputs.to(self.model.device)
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.layer][0]
        return normalize(hidden[~is_special.to(hidden.device)], dim=1)


class ClipScorer:
    """CLIPScore with one CLIP model."""

    name = "CLIPScore"

    def __init__(self, path: Path, device: Any) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        self.tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self.processor = AutoImageProcessor.from_pretrained(path, local_files_only=True)
        self.model = load_pretrained(CLIPModel, path, what="CLIPScore model", dtype=torch.float32)
        self.model = self.model.to(device).eval()
        self._text_once = lru_cache(maxsize=2**16)(self._embed_text)
        self._rows: dict[int, dict[str, Any]] = {}

    @torch.no_grad()
    def reference(
        self, context: ExperimentContext, image_id: int, captions: Sequence[str]
    ) -> Tensor:
        """Embed the photograph: (width,) of unit length."""
        self._rows = self._rows or {
            row["image_id"]: row for row in context.dataset.images.to_pylist()
        }
        row = self._rows[image_id]
        path = context.dataset.folder / row["file"]
        image = read_photograph(path, row["width_px"], row["height_px"])
        inputs = self.processor(images=image, return_tensors="pt").to(self.model.device)
        hidden = self.model.vision_model(**inputs).pooler_output
        return normalize(self.model.visual_projection(hidden), dim=1)[0]

    def score(self, texts: Sequence[str], reference: Tensor) -> Scores:
        """Give 100 max(cos, 0) of each text and the photograph."""
        vectors = torch.stack([self._text_once(text) for text in texts])
        scores = 100 * (vectors @ reference).clamp(min=0)
        return scores.double().cpu().numpy()

    @torch.no_grad()
    def _embed_text(self, text: str) -> Tensor:
        limit = self.model.config.text_config.max_position_embeddings
        inputs = self.tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
        hidden = self.model.text_model(**inputs.to(self.model.device)).pooler_output
        return normalize(self.model.text_projection(hidden), dim=1)[0]
