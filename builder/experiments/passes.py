"""Forward passes over pictures that experiments share: captions, all units' attributions, zeroing.

All run the language model as detection does: patches and prompt once, then the caption's tokens
over the cache, so that a logit here is the logit there. Nothing edits a weight: units are zeroed,
and read, by the taps of `builder.language_model`, which are gone afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from builder.attribution import Recorder
from builder.captioner import Captioner
from builder.fused import fused_kernels
from builder.generation import (
    branch_cache,
    cut_at_end,
    generate_greedily,
    prefill,
    teacher_forced_logits,
)
from builder.language_model import LanguageModel, Tap
from builder.targets import NOUN_RULES, Target, find_targets
from builder.vocabulary import caption_pieces

#: Sees (layer, z, dy/dz), both (batch, patch, d_mlp), of the first target's logit y.
GradientSink = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions of a batch, and the first target of each.

    Attributes:
        tokens: (batch, n) token ids, with whatever follows an end-of-text token.
        texts: The captions, stripped.
        targets: None where a caption has no such word.
        position, token_id: (batch,), of the target; of no meaning where there is none.
    """

    tokens: Tensor
    texts: list[str]
    targets: list[Target | None]
    position: Tensor
    token_id: Tensor

    @property
    def has_target(self) -> Tensor:
        """(batch,) bool."""
        has = [target is not None for target in self.targets]
        return torch.tensor(has, device=self.tokens.device)

    def rows(self, at: Tensor) -> Captions:
        """Choose rows (n,) int64, some of them several times."""
        chosen = at.tolist()
        return Captions(
            tokens=self.tokens[at],
            texts=[self.texts[i] for i in chosen],
            targets=[self.targets[i] for i in chosen],
            position=self.position[at],
            token_id=self.token_id[at],
        )

    @property
    def n_needed(self) -> int:
        """How many caption tokens lead up to the last target, itself included."""
        return int(self.position.max()) + 1


class Passes:
    """Runs a captioner's language model over batches of patches.

    Args:
        captioner, model: The captioner, and its language model laid open.
        noun_rule: A key of `builder.targets.NOUN_RULES`.
    """

    def __init__(
        self, captioner: Captioner, model: LanguageModel, *, noun_rule: str = "lexicon"
    ) -> None:
        self.captioner = captioner
        self.model = model
        self.noun_rule = NOUN_RULES[noun_rule]

    @torch.no_grad()
    def caption(self, patches: Tensor) -> Captions:
        """Caption a batch (batch, n_patch, d_model) greedily and find the targets."""
        with fused_kernels(self.model.model):
            first, cache = self._prefill(patches)
            return self._captions(first, cache)

    def attribute(self, patches: Tensor, see: GradientSink) -> Captions:
        """Caption a batch, and give every layer's z and dy/dz at the patches to `see`.

        In the last layer dy/dz is 0: what it writes at the patches reaches no later position.
        """
        recorder = Recorder(self.model, len(patches), self.captioner.patch_positions, None)
        with fused_kernels(self.model.model), torch.enable_grad():
            first, cache = self._prefill(
                patches, preactivation=recorder.see_z, activation=recorder.see_a
            )
            captions = self._captions(first.detach(), cache)
            known = captions.tokens[:, : captions.n_needed]
            logits = self._forced(first, cache, known)
            predicted = _at_target(logits, captions).gather(1, captions.token_id[:, None])[:, 0]
            logit = torch.where(captions.has_target, predicted, 0).sum()
            try:
                self._back_propagate(recorder, logit, see)
            finally:
                recorder.clear()
        return captions

    def _back_propagate(self, recorder: Recorder, logit: Tensor, see: GradientSink) -> None:
        """Run one backward pass; give each layer's z and gradient away as it arrives."""

        def pass_on(layer: int, gradient: Tensor) -> None:
            z = self._at_patches(recorder.z[layer].detach(), recorder.batch)
            see(layer, z, self._at_patches(gradient, recorder.batch))

        handles = [
            z.register_hook(lambda gradient, layer=layer: pass_on(layer, gradient))
            for layer, z in enumerate(recorder.z)
        ]
        try:
            logit.backward()
        finally:
            for handle in handles:
                handle.remove()

    def unit_attributions(self, patches: Tensor) -> tuple[Captions, Tensor]:
        """Caption a batch and attribute its targets to every unit, each by its best patch.

        Returns:
            The captions, and max over patches of z * dy/dz: (batch, n_units) in float32 or wider,
            0 in the last layer.
        """
        d_mlp = self.model.d_mlp
        wide = torch.promote_types(patches.dtype, torch.float32)
        best = torch.zeros(len(patches), self.model.n_units, dtype=wide, device=patches.device)

        def see(layer: int, z: Tensor, gradient: Tensor) -> None:
            attribution = z.to(wide) * gradient
            best[:, layer * d_mlp : (layer + 1) * d_mlp] = attribution.amax(dim=1)

        return self.attribute(patches, see), best

    @torch.no_grad()
    def activations(self, patches: Tensor, uid: Tensor) -> Tensor:
        """Give the activation maps of some units, another choice for each image.

        Args:
            patches: (batch, n_patch, d_model).
            uid: (batch, n); -1 gives a map of zeros.

        Returns:
            (batch, n, n_patch).
        """
        maps = torch.zeros((*uid.shape, patches.shape[1]), device=uid.device, dtype=patches.dtype)
        layer, unit = uid.div(self.model.d_mlp, rounding_mode="floor"), uid % self.model.d_mlp
        rows = torch.arange(len(uid), device=uid.device)[:, None]

        def keep(i: int, a: Tensor) -> None:
            at_patches = self._at_patches(a, len(uid))
            maps.copy_(torch.where((layer == i)[..., None], at_patches[rows, :, unit], maps))

        with fused_kernels(self.model.model):
            self._prefill(patches, activation=keep)
        return maps

    @torch.no_grad()
    def zeroed(
        self, patches: Tensor, captions: Captions, uid: Tensor, *, regenerate: bool = False
    ) -> tuple[Tensor, Tensor, list[str] | None]:
        """Zero units at the patches and give the target's logit and probability.

        Args:
            patches: (batch, n_patch, d_model).
            captions: Of the untouched model; the tokens before the target are kept as they were.
            uid: (batch, n), other units for each image; -1 zeroes none.
            regenerate: Generate the captions anew as well.

        Returns:
            (batch,) logits, (batch,) probabilities, and the new captions or None.
        """
        with fused_kernels(self.model.model):
            first, cache = self._prefill(patches, activation=self._zeroing(uid))
            texts = self._captions(first, cache).texts if regenerate else None
            known = captions.tokens[:, : captions.n_needed]
            logits = self._forced(first, cache, known)
        logits = _at_target(logits, captions)
        return *_of_target(logits, captions.token_id), texts

    def _zeroing(self, uid: Tensor) -> Tap:
        """Make a tap that zeroes the units `uid` (batch, n) at the patches, and those alone."""
        batch, d_mlp = len(uid), self.model.d_mlp
        is_zeroed = torch.zeros(batch, self.model.n_units + 1, dtype=torch.bool, device=uid.device)
        # Column n_units takes what is none.
        is_zeroed.scatter_(1, torch.where(uid < 0, self.model.n_units, uid), value=True)

        def zero(layer: int, a: Tensor) -> Tensor | None:
            of_layer = is_zeroed[:, layer * d_mlp : (layer + 1) * d_mlp]
            if not of_layer.any():
                return None
            a = a.clone()
            self._at_patches(a, batch).masked_fill_(of_layer[:, None], 0)
            return a

        return zero

    def _at_patches(self, a: Tensor, batch: int) -> Tensor:
        """View (batch, pos, d) or (batch * pos, d) as (batch, patch, d)."""
        return a.view(batch, -1, a.shape[-1])[:, self.captioner.patch_positions]

    def _prefill(self, patches: Tensor, **taps: Tap) -> tuple[Tensor, Cache]:
        """Run prefix, patches and prompt; logits after the last position, and the cache."""
        embeddings = self.captioner.sequence(patches)
        with self.model.taps(**taps):
            return prefill(
                self.model.model,
                embeddings,
                room=self.captioner.config.max_new_tokens - 1,
                rules=self.captioner.rules,
            )

    def _forced(self, first: Tensor, cache: Cache, known: Tensor) -> Tensor:
        """Logits that predict each of the tokens `known` (batch, n): (batch, n, vocabulary)."""
        rules = self.captioner.rules
        return teacher_forced_logits(self.model.model, first, cache, known, rules)

    def _captions(self, first: Tensor, cache: Cache) -> Captions:
        """Generate greedily from the cache, without its graph, and read what came."""
        n_tokens = self.captioner.config.max_new_tokens
        tokens = generate_greedily(
            self.model.model,
            first,
            branch_cache(cache),
            max_new_tokens=n_tokens,
            rules=self.captioner.rules,
        )
        texts: list[str] = []
        targets: list[Target | None] = []
        for row in tokens.tolist():
            pieces = caption_pieces(self.captioner.tokenizer, cut_at_end(self.model.model, row))
            texts.append("".join(pieces).strip())
            targets.append(next(iter(find_targets(pieces, 1, self.noun_rule)), None))
        position = torch.tensor([t.position if t else 0 for t in targets], device=tokens.device)
        token_id = tokens.gather(1, position[:, None])[:, 0]
        return Captions(tokens, texts, targets, position, token_id)


def _at_target(logits: Tensor, captions: Captions) -> Tensor:
    """Choose, of (batch, n, vocabulary), those that predict each row's target."""
    return logits[torch.arange(len(logits), device=logits.device), captions.position]


def _of_target(logits: Tensor, token_id: Tensor) -> tuple[Tensor, Tensor]:
    """Give the logit and the probability of a token each, from (batch, vocabulary)."""
    logits = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    chosen = token_id[:, None]
    return logits.gather(1, chosen)[:, 0], logits.softmax(dim=-1).gather(1, chosen)[:, 0]
