"""BERTScore and CLIPScore with transformers models from a local folder.

- CLIPScore of a text and an image: 100 max(cos, 0) of CLIP's two embeddings, as the paper prints
  it (Hessel et al. 2021 multiply by 2.5 instead, and begin texts with "A photo depicts").
- BERTScore (Zhang et al. 2020), as the authors' bert_score computes it: F1 of greedy matching of
  contextual token embeddings by cosine, of the last hidden layer unless the layer that they
  recommend is known (LAYERS); no idf weights, no rescaling; the best of the reference captions.
  Special tokens may be matched and carry no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from atlas_db.errors import CaptionerError, ExperimentError
from builder.experiments.context import ExperimentContext
from builder.experiments.score_folders import ScoreFolder, score_folders
from builder.images import read_photograph
from builder.loading import LOAD_ERRORS, load_pretrained

#: Layers that bert_score's authors found to agree best with people, by (model type, layers), of
#: models that were pretrained and not fine-tuned.
LAYERS: Mapping[tuple[str, int], int] = {
    ("bert", 12): 9,
    ("bert", 24): 18,
    ("roberta", 12): 10,
    ("roberta", 24): 17,
    ("roberta", 6): 5,
    ("distilbert", 6): 5,
    ("deberta", 12): 9,
    ("deberta", 24): 16,
    ("deberta", 48): 18,
    ("mpnet", 12): 8,
    ("electra", 12): 9,
}
#: Types whose classes take `add_pooling_layer`. Checkpoints of masked language models have no
#: pooler, and none is needed.
_WITH_POOLER = ("bert", "roberta", "mpnet")

Scores = npt.NDArray[np.float64]


class Scorer(Protocol):
    """Scores texts against a reference made once for each image; `about` says with which model."""

    name: str
    about: str

    def reference(self, context: ExperimentContext, image_id: int, captions: Sequence[str]) -> Any:
        """Prepare what texts are compared with."""

    def score(self, texts: Sequence[str], reference: Any) -> Scores:
        """Score texts, (n,)."""


def find_scorers(folder: Path | None, device: Any) -> dict[str, Scorer | str]:
    """Load the models of a folder; where there is none for a score, say why.

    Raises:
        ExperimentError: A model's folder lacks something, or cannot be read.
    """
    kinds: Mapping[str, Callable[[ScoreFolder, Any], Scorer]] = {
        "BERTScore": BertScorer,
        "CLIPScore": ClipScorer,
    }
    found: dict[str, Scorer | str] = {}
    for name, model in score_folders(folder).items():
        if isinstance(model, str):
            found[name] = model
            continue
        try:
            found[name] = kinds[name](model, device)
        except (CaptionerError, *LOAD_ERRORS) as error:
            text = " ".join(str(error).split())[:300].rstrip(".")
            raise ExperimentError(
                f"--scores: {model.path} cannot give {name}: {text}. Wanted all files of the "
                "model: config.json, its weights, its tokenizer and, for CLIPScore, "
                "preprocessor_config.json."
            ) from None
    return found


def _load_tokenizer(path: Path, vocab_size: int) -> Any:
    """Load a model's tokenizer; transformers makes an empty one where its files are missing.

    Raises:
        ValueError: It cannot be read, or has fewer than half of the model's tokens.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # the only kind that the library tokenizers has
        raise ValueError(str(error)) from error
    if 2 * len(tokenizer) < vocab_size:
        raise ValueError(
            f"its tokenizer knows {len(tokenizer)} tokens, wanted {vocab_size}; is "
            "tokenizer.json there?"
        )
    return tokenizer


@dataclass(frozen=True, slots=True)
class TextTokens:
    """A text's tokens: vectors (n, width) of unit length, and which are special, (n,) bool."""

    vectors: Tensor
    is_special: Tensor


def greedy_f1(candidate: TextTokens, reference: TextTokens) -> float:
    """Match each token of one text with the most similar of the other, and back: F1 of cosines.

    Special tokens may be matched, but are not averaged over. 0 where a text has no others.
    """
    if candidate.is_special.all() or reference.is_special.all():
        return 0.0
    cosine = candidate.vectors @ reference.vectors.T
    precision = cosine.amax(dim=1)[~candidate.is_special].mean().item()
    recall = cosine.amax(dim=0)[~reference.is_special].mean().item()
    return 2 * precision * recall / (precision + recall) if precision + recall != 0 else 0.0


class BertScorer:
    """BERTScore's F1 with one text encoder."""

    name = "BERTScore"

    def __init__(self, model: ScoreFolder, device: Any) -> None:
        from transformers import AutoModel

        more = {"add_pooling_layer": False} if model.model_type in _WITH_POOLER else {}
        self.model = load_pretrained(
            AutoModel, model.path, what="BERTScore model", dtype=torch.float32, **more
        )
        self.model = self.model.to(device).eval()
        config = self.model.config
        self.tokenizer = _load_tokenizer(model.path, config.vocab_size)
        key = (config.model_type, config.num_hidden_layers)
        self.layer = LAYERS.get(key, config.num_hidden_layers)
        self.about = f"{model.name}, layer {self.layer}."
        # A RoBERTa reads a word at the start as one inside a text, as bert_score has it.
        self._before = " " if config.model_type == "roberta" else ""
        # RoBERTa counts positions from 2.
        self._n_tokens = min(self.tokenizer.model_max_length, config.max_position_embeddings - 2)
        self._embed_once = lru_cache(maxsize=2**14)(self._embed)

    def reference(
        self, context: ExperimentContext, image_id: int, captions: Sequence[str]
    ) -> list[TextTokens]:
        """Embed the captions' tokens."""
        return [self._embed_once(caption) for caption in captions]

    def score(self, texts: Sequence[str], reference: list[TextTokens]) -> Scores:
        """Give each text's best F1 over the captions."""
        tokens = [self._embed_once(text) for text in texts]
        return np.array([max(greedy_f1(one, other) for other in reference) for one in tokens])

    @torch.no_grad()
    def _embed(self, text: str) -> TextTokens:
        inputs = self.tokenizer(
            self._before + text.strip(),
            truncation=True,
            max_length=self._n_tokens,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        is_special = inputs.pop("special_tokens_mask")[0].bool()
        inputs = inputs.to(self.model.device)
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.layer][0]
        return TextTokens(normalize(hidden, dim=1), is_special.to(hidden.device))


class ClipScorer:
    """CLIPScore with one CLIP model."""

    name = "CLIPScore"

    def __init__(self, model: ScoreFolder, device: Any) -> None:
        from transformers import AutoImageProcessor, CLIPModel

        path = model.path
        self.processor = AutoImageProcessor.from_pretrained(path, local_files_only=True)
        self.model = load_pretrained(CLIPModel, path, what="CLIPScore model", dtype=torch.float32)
        self.model = self.model.to(device).eval()
        self.tokenizer = _load_tokenizer(path, self.model.config.text_config.vocab_size)
        self.about = f"{model.name}."
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
