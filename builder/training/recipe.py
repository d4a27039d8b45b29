"""How an adapter is trained; the defaults are LiMBeR's.

What jmerullo/limber says (configs/beit_linear.yml, config.py, hf_main.py, limber_gptj.py):

- AdamW, betas (.9, .95), no weight decay, learning rate 8e-4, gradients clipped at norm 1.
- 15,000 steps. `batch_size` 256 over all GPUs, 8 batches accumulated: 2048 pairs a step.
- DeepSpeed's WarmupDecayLR: 100 steps of warm-up (its rise is logarithmic), then straight down to
  0 at the last step. (The configuration's `lr_decay_iters: 300000` is overwritten by "auto".)
- Dropout of .1 on the projected image; off at evaluation.
- bfloat16; the language model and the encoder frozen.
- The model reads the image's vectors and then the caption, with no prompt between them; the loss is
  the cross-entropy of the caption's tokens and of the end-of-text token after them.
- One of an image's captions is drawn at random.

What differs here: the mean is over all caption tokens of a step, where LiMBeR takes the mean of
every micro-batch's mean, so that the micro-batch does not change the result; and a caption is cut
at `max_caption_tokens`, where LiMBeR's limit is the model's 2048 positions.

Source: Merullo et al. (arXiv 2209.15162), the repository jmerullo/limber (MIT).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DECAYS = ("linear", "cosine", "constant")
WARMUPS = ("log", "linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """All that decides the adapter, beside the parts, the pairs and the seed.

    Attributes:
        n_steps: Steps of the optimizer.
        batch_size: Pairs in a step, over all micro-batches and GPUs.
        learning_rate: The greatest.
        n_warmup: Steps until it is reached.
        warmup: How it rises: `log` as DeepSpeed's WarmupLR, or `linear`.
        decay: How it falls to 0 at the last step: `linear`, `cosine`, or not (`constant`).
        beta_1, beta_2, weight_decay: AdamW's.
        clip_norm: Greatest norm of the gradient; 0 clips nothing.
        dropout: Share of the projected image's numbers that are set to 0 in training.
        prompt: Text between image and caption in training; LiMBeR has none.
        max_caption_tokens: Longer captions are cut.
        autocast: Run a float32 language model in bfloat16 where autocast allows it.
    """

    n_steps: int = 15_000
    batch_size: int = 2048
    learning_rate: float = 8e-4
    n_warmup: int = 100
    warmup: str = "log"
    decay: str = "linear"
    beta_1: float = 0.9
    beta_2: float = 0.95
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    dropout: float = 0.1
    prompt: str = ""
    max_caption_tokens: int = 128
    autocast: bool = False

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "max_caption_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("n_warmup", "weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("beta_1", "beta_2", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 0 and < 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}")
        for name, known in (("decay", DECAYS), ("warmup", WARMUPS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )


def learning_rate(recipe: TrainingRecipe, step: int) -> float:
    """Give the learning rate of a step, counted from 0.

    Source: deepspeed.runtime.lr_schedules, WarmupLR and WarmupDecayLR.
    """
    return recipe.learning_rate * _factor(recipe, step)


def _factor(recipe: TrainingRecipe, step: int) -> float:
    if step < recipe.n_warmup:
        if recipe.warmup == "log":
            return math.log(step + 1) / math.log(max(2, recipe.n_warmup))
        return (step + 1) / recipe.n_warmup
    if recipe.decay == "constant":
        return 1.0
    done = (step - recipe.n_warmup) / max(1, recipe.n_steps - recipe.n_warmup)
    if recipe.decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return max(0.0, 1 - done)
