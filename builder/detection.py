"""Which units turn the picture into the word: one forward and one backward pass.

Schwettmann et al. 2023 (arXiv 2308.01544), equation 2:

    g(k, c, p) = Z_k^p * d y^c / d Z_k^p

with Z the **pre**-activation of unit k at image patch p and y^c the logit of the target token c.

1. Encode the images and project them to patch embeddings; append the prompt.
2. Prefill once, keeping the graph from the first layer's pre-activation on.
3. Generate the caption greedily over the cache, without its graph; choose the targets.
4. Pass the caption's tokens, up to the last target, once over the cache that has the graph; take
   the targets' logits.
5. One backward pass for each target, all images of the batch at once (`builder.attribution`).

Nothing of size units x patches leaves the device. Patches in the last layer have no gradient by
construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from atlas_db.run_format import N_IMAGE_HEATMAPS
from builder.attribution import ActivationSink, Recorder, TopRows
from builder.fused import fused_kernels
from builder.generation import (
    PLAIN,
    SequenceRules,
    branch_cache,
    cut_at_end,
    generate_greedily,
    prefill,
    teacher_forced_logits,
)
from builder.language_model import LanguageModel
from builder.targets import NounRule, Target, find_targets, lexicon_words
from builder.vocabulary import caption_pieces


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One target of each image, and what attributes to it.

    Attributes:
        targets: By image; None where the caption has no such word.
        token_id, logit, prob: (batch,); of no meaning where the target is None.
        pairs: Top (unit, patch) pairs.
        units: Top distinct units, each at its best patch.
        heatmap, heatmap_scale, heatmap_zero: Activation maps of the first units, (batch, n,
            patch) uint8 and (batch, n).
    """

    targets: list[Target | None]
    token_id: Tensor
    logit: Tensor
    prob: Tensor
    pairs: TopRows
    units: TopRows
    heatmap: Tensor
    heatmap_scale: Tensor
    heatmap_zero: Tensor


@dataclass(frozen=True, slots=True)
class Detection:
    """What one batch of images gave."""

    captions: list[str]
    results: list[TargetResult]


class Detector:
    """Runs the pass over batches of patch embeddings.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        prompt_ids: Tokens of the prompt, which follows the patches.
        prefix_ids: Tokens before the patches (a BOS where the model was trained with one).
        max_new_tokens: Length of a caption.
        n_targets: Targets for each caption.
        noun_rule: Splits captions into words; see `builder.targets`.
        rules: How positions count.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: object,
        *,
        prompt_ids: Sequence[int],
        prefix_ids: Sequence[int] = (),
        max_new_tokens: int = 15,
        n_targets: int = 1,
        noun_rule: NounRule = lexicon_words,
        rules: SequenceRules = PLAIN,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be >= 1, got {max_new_tokens}")
        if n_targets < 1:
            raise ValueError(f"n_targets must be >= 1, got {n_targets}")
        self.model = model
        self.tokenizer = tokenizer
        self.prompt_ids = list(prompt_ids)
        self.prefix_ids = list(prefix_ids)
        self.max_new_tokens = max_new_tokens
        self.n_targets = n_targets
        self.noun_rule = noun_rule
        self.rules = rules

    def __call__(self, patches: Tensor, sink: ActivationSink | None = None) -> Detection:
        """Caption a batch and attribute its targets.

        Args:
            patches: (batch, patch, d_model) projected patch embeddings.
            sink: Sees every layer's activation at the patches.
        """
        with fused_kernels(self.model.model):
            return self._detect(patches, sink)

    def _detect(self, patches: Tensor, sink: ActivationSink | None) -> Detection:
        first = len(self.prefix_ids)
        at = slice(first, first + patches.shape[1])
        recorder = Recorder(self.model, len(patches), at, sink)
        first_logits, cache = self.prefill(patches, recorder)
        tokens = generate_greedily(
            self.model.model,
            first_logits.detach(),
            branch_cache(cache),
            max_new_tokens=self.max_new_tokens,
            rules=self.rules,
        )
        captions, targets = self._read(tokens)
        n_needed = max((t.position for row in targets for t in row), default=0) + 1
        logits = teacher_forced_logits(
            self.model.model, first_logits, cache, tokens[:, :n_needed], self.rules
        )
        results = [
            self._attribute(recorder, logits, tokens, targets, i) for i in range(self.n_targets)
        ]
        recorder.clear()
        return Detection(captions, results)

    def prefill(self, patches: Tensor, recorder: Recorder) -> tuple[Tensor, Cache]:
        """Run prefix, patches and prompt; logits after the last position, and the cache."""
        parts = [self._embed(self.prefix_ids, patches), patches]
        parts.append(self._embed(self.prompt_ids, patches))
        with (
            torch.enable_grad(),
            self.model.taps(preactivation=recorder.see_z, activation=recorder.see_a),
        ):
            return prefill(
                self.model.model,
                torch.cat(parts, dim=1),
                room=self.max_new_tokens - 1,
                rules=self.rules,
            )

    def _embed(self, token_ids: Sequence[int], like: Tensor) -> Tensor:
        ids = torch.tensor(token_ids, dtype=torch.int64, device=like.device)
        words = self.rules.embed(self.model.embed, ids)
        return words.to(like.dtype).expand(len(like), -1, -1)

    def _read(self, tokens: Tensor) -> tuple[list[str], list[list[Target]]]:
        """Write the captions out and find their targets."""
        captions, targets = [], []
        for row in tokens.tolist():
            pieces = caption_pieces(self.tokenizer, cut_at_end(self.model.model, row))
            captions.append("".join(pieces))
            targets.append(find_targets(pieces, self.n_targets, self.noun_rule))
        return captions, targets

    def _attribute(
        self,
        recorder: Recorder,
        logits: Tensor,
        tokens: Tensor,
        all_targets: list[list[Target]],
        nth: int,
    ) -> TargetResult:
        """Back-propagate the nth target's logit for every image of the batch."""
        targets = [row[nth] if nth < len(row) else None for row in all_targets]
        rows = torch.arange(len(tokens), device=tokens.device)
        position = torch.tensor([t.position if t else 0 for t in targets], device=tokens.device)
        has_target = torch.tensor([t is not None for t in targets], device=tokens.device)
        token_id = tokens[rows, position]
        predicted = logits[rows, position]
        logit = predicted[rows, token_id]
        pairs, units = recorder.backward(logit, has_target, is_last=nth == self.n_targets - 1)
        heatmap, scale, zero = recorder.heatmaps(units.uid[:, :N_IMAGE_HEATMAPS])
        wide = torch.promote_types(logit.dtype, torch.float32)
        prob = predicted.detach().to(wide).softmax(dim=-1)[rows, token_id]
        return TargetResult(
            targets=targets,
            token_id=token_id.cpu(),
            logit=logit.detach().cpu(),
            prob=prob.cpu(),
            pairs=pairs.cpu(),
            units=units.cpu(),
            heatmap=heatmap.cpu(),
            heatmap_scale=scale.cpu(),
            heatmap_zero=zero.cpu(),
        )
