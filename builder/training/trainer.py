"""Train one linear layer between features and a language model that are both frozen.

::

    source = FeaturesInMemory(features, captions)       # or EncodedPairs, CachedFeatures
    language = FrozenLanguage(model, tokenizer)
    adapter = train_adapter(source, language, Path("out"), TrainingRecipe(n_steps=400), seed=0)

Given the same arguments again after it was stopped, it goes on from the last checkpoint, and ends
in the same weights (bitwise on one CPU thread). A step's result does not depend on the micro-batch
or on the number of processes, but for rounding: the gradient is that of the mean over all caption
tokens of the step.

Source: Merullo et al. (arXiv 2209.15162).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas_db.errors import CaptionerError, DatasetError, RunError
from builder.devices import is_out_of_memory
from builder.full_disk import explain_full_disk
from builder.fused import fused_kernels
from builder.run_lock import lock_run
from builder.settings import Progress, no_progress
from builder.training.caption_loss import FrozenLanguage, caption_tokens, summed_loss
from builder.training.checkpoints import FULL_DISK_ADVICE, load_checkpoint, save_checkpoint
from builder.training.features import FeatureBatch, FeatureSource
from builder.training.loss_log import LossLog
from builder.training.order import caption_numbers, drop, generator_of, step_indices
from builder.training.recipe import TrainingRecipe, learning_rate
from builder.training.world import World

CHECKPOINT_FILE = "checkpoint.pt"
LOG_FILE = "losses.csv"
PLOT_FILE = "losses.svg"

#: Told of a trained adapter every now and then; gives the loss on held-out pairs.
Validate = Callable[[nn.Linear, int], float]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """How a training is carried out; without effect on the result beyond rounding.

    Attributes:
        micro_batch: Pairs in one forward and backward pass; None: all of a step.
        save_every: Steps between checkpoints.
        validate: Called every `validate_every` steps and after the last.
        identity: What else a checkpoint must be of, such as the hash of the pairs.
        world: The processes that share the work.
        progress: Told of steps.
        say: Gets a line with the loss and the rate at every checkpoint.
        stop_step: Pause after this step.
    """

    micro_batch: int | None = None
    save_every: int = 100
    validate: Validate | None = None
    validate_every: int = 500
    identity: Mapping[str, str] = field(default_factory=dict)
    world: World = field(default_factory=World)
    progress: Progress = no_progress
    say: Callable[[str], None] = lambda line: None
    stop_step: int | None = None

    def __post_init__(self) -> None:
        for name in ("micro_batch", "save_every", "validate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")


def new_adapter(d_in: int, d_out: int, seed: int) -> nn.Linear:
    """Make an untrained adapter, as torch.nn.Linear draws it, from a seed of its own."""
    adapter = nn.Linear(d_in, d_out)
    generator = generator_of("adapter", seed)
    bound = 1 / math.sqrt(d_in)
    with torch.no_grad():
        for parameter in (adapter.weight, adapter.bias):
            parameter.uniform_(-bound, bound, generator=generator)
    return adapter


def train_adapter(
    source: FeatureSource,
    language: FrozenLanguage,
    out: Path,
    recipe: TrainingRecipe,
    *,
    seed: int,
    start: nn.Linear | None = None,
    run: TrainingRun | None = None,
) -> nn.Linear:
    """Train to `recipe.n_steps`, going on from the checkpoint in `out`; give the float32 adapter.

    Writes `checkpoint.pt`, `losses.csv` and `losses.svg`. The language model's weights get no
    gradient, and it is on the device that is used. `start` is an adapter to begin with, which is
    changed; its outputs may be several vectors wide (LiMBeR's pooled encoders).

    Raises:
        RunError: The checkpoint is of another training, the folder is in use, the disk is full,
            the memory is too small, or the loss is not finite: the last checkpoint is kept, and
            the message names the step.
        CaptionerError: The tokenizer lacks a token.
        DatasetError: There is no pair, or none of a step could be read.
    """
    run = run or TrainingRun()
    language.check_tokens()
    if len(source) == 0:
        raise DatasetError("There are no pairs to train on. Give at least one image and caption.")
    out.mkdir(parents=True, exist_ok=True)
    adapter = start or new_adapter(source.width, language.d_model, seed)
    adapter = adapter.float().to(language.model.device).requires_grad_(True)
    lock: AbstractContextManager[None] = lock_run(out) if run.world.is_first else nullcontext()
    no_room = explain_full_disk(out, FULL_DISK_ADVICE)
    with lock, no_room, _explain_full_memory(run), fused_kernels(language.model):
        language.model.requires_grad_(False).eval()
        _Training(
            source=source,
            language=language,
            out=out,
            recipe=recipe,
            seed=seed,
            adapter=adapter,
            run=run,
        ).go()
    return adapter.requires_grad_(False)


@dataclass(kw_only=True)
class _Training:
    """The state of one training: adapter and optimizer."""

    source: FeatureSource
    language: FrozenLanguage
    out: Path
    recipe: TrainingRecipe
    seed: int
    adapter: nn.Linear
    run: TrainingRun

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.optimizer = torch.optim.AdamW(
            self.adapter.parameters(),
            lr=recipe.learning_rate,
            betas=(recipe.beta_1, recipe.beta_2),
            weight_decay=recipe.weight_decay,
        )
        self.identity: dict[str, Any] = {
            **asdict(recipe),
            "seed": self.seed,
            "n_images": len(self.source),
            "d_in": self.adapter.in_features,
            "d_out": self.adapter.out_features,
            **self.run.identity,
        }

    def go(self) -> None:
        """Carry out the steps that are left."""
        first = self._resume()
        recipe, run = self.recipe, self.run
        last = recipe.n_steps if run.stop_step is None else min(run.stop_step, recipe.n_steps)
        is_first = run.world.is_first
        log = LossLog(self.out / LOG_FILE, first_step=first) if is_first else None
        run.progress("train", first, recipe.n_steps)
        with ExitStack() as stack:
            batches = self.source.batches(self._plan(first, last))
            close = getattr(batches, "close", None)
            if close is not None:
                stack.callback(close)
            clock = time.monotonic()
            for step in range(first, last):
                row = self._step(step, batches)
                done = step + 1
                is_due = done % run.validate_every == 0 or done == last
                if run.validate is not None and is_first and is_due:
                    row["validation_loss"] = f"{run.validate(self.adapter, done):.6f}"
                elapsed = time.monotonic() - clock
                row["elapsed_s"] = f"{elapsed:.2f}"
                row["pairs_per_s"] = f"{(done - first) * recipe.batch_size / elapsed:.2f}"
                if log is not None:
                    log.add(row)
                if is_first and (done % run.save_every == 0 or done == last):
                    self._save(done)
                    log.plot(self.out / PLOT_FILE)  # type: ignore[union-attr]
                    run.say(_line(row))
                run.progress("train", done, recipe.n_steps)
        run.world.wait()

    @property
    def _loss_scale(self) -> float:
        """Scale of the summed loss: of tens of thousands of tokens, float16 would overflow."""
        return 1 / (16 * self.recipe.batch_size)

    def _resume(self) -> int:
        state = load_checkpoint(self.out / CHECKPOINT_FILE, self.identity)
        if state is None:
            return 0
        self.adapter.load_state_dict(state["adapter"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def _save(self, step: int) -> None:
        state: dict[str, Any] = {"step": step, "identity": self.identity}
        state |= {"adapter": self.adapter.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_checkpoint(self.out / CHECKPOINT_FILE, state)

    def _places(self) -> list[range]:
        """Give this process's micro-batches: places in a step's list of pairs."""
        size, world = self.recipe.batch_size, self.run.world
        own = range(size * world.rank // world.size, size * (world.rank + 1) // world.size)
        micro = self.run.micro_batch or max(1, len(own))
        return [own[i : i + micro] for i in range(0, len(own), micro)]

    def _plan(self, first: int, last: int) -> Iterator[list[int]]:
        for step in range(first, last):
            indices = self._indices(step)
            for places in self._places():
                yield [indices[place] for place in places]

    def _indices(self, step: int) -> list[int]:
        size = self.recipe.batch_size
        return step_indices(len(self.source), size, seed=self.seed, step=step)

    def _step(self, step: int, batches: Iterator[FeatureBatch]) -> dict[str, Any]:
        """Accumulate the gradient of a step's micro-batches and follow it; give the log's row."""
        indices = self._indices(step)
        numbers = caption_numbers(len(indices), seed=self.seed, step=step)
        self.optimizer.zero_grad()
        # Summed loss, tokens and images that could not be read.
        totals = torch.zeros(3, dtype=torch.float64, device=self.adapter.weight.device)
        for places in self._places():
            batch = next(batches)
            kept = [places[i] for i in batch.positions]
            totals[2] += len(batch.unread)
            if kept:
                captions = [self._caption(indices[place], numbers[place]) for place in kept]
                loss, n_tokens = self._backward(batch.features, captions, kept, step)
                totals[0] += loss.double()
                totals[1] += n_tokens
        loss_sum, n_tokens, n_unread = self.run.world.sum(totals).tolist()
        if n_tokens == 0:
            raise DatasetError(
                f"none of the {len(indices)} images of step {step + 1} could be read; one of them "
                f"is {self.source.name(indices[0])}. Check the images."
            )
        rate = learning_rate(self.recipe, step)
        norm = self._scale_gradient(1 / n_tokens)
        self._check_finite(step, loss_sum / n_tokens, norm, rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return {
            "step": step + 1,
            "loss": f"{loss_sum / n_tokens:.6f}",
            "learning_rate": f"{rate:.6g}",
            "gradient_norm": f"{norm:.6g}",
            "n_pairs": len(indices) - int(n_unread),
            "n_tokens": int(n_tokens),
            "n_unread": int(n_unread),
        }

    def _caption(self, index: int, number: int) -> str:
        captions = self.source.captions(index)
        return captions[number % len(captions)]

    def _backward(
        self, features: Tensor, captions: list[str], places: list[int], step: int
    ) -> tuple[Tensor, int]:
        recipe, model = self.recipe, self.language.model
        tokens = caption_tokens(
            self.language.tokenizer,
            captions,
            prompt=recipe.prompt,
            max_tokens=recipe.max_caption_tokens,
        )
        weight = self.adapter.weight
        image = project(self.adapter, features.to(weight.device, weight.dtype), self.language)
        image = drop(image, recipe.dropout, places, seed=self.seed, step=step).to(model.dtype)
        loss = summed_loss(self.language, image, tokens, autocast=recipe.autocast)
        (loss * self._loss_scale).backward()
        return loss.detach(), tokens.n_tokens

    def _scale_gradient(self, factor: float) -> float:
        """Turn the sum's gradient into the mean's, over all processes, and clip it."""
        parameters = list(self.adapter.parameters())
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = self.run.world.sum(parameter.grad)
            parameter.grad.mul_(factor / self._loss_scale)
        limit = self.recipe.clip_norm or math.inf
        return float(nn.utils.clip_grad_norm_(parameters, limit))

    def _check_finite(self, step: int, loss: float, norm: float, rate: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        kept = load_checkpoint(self.out / CHECKPOINT_FILE, self.identity)
        last = (
            "There is no checkpoint yet"
            if kept is None
            else (f"The checkpoint of step {kept['step']} is kept in {self.out}")
        )
        raise RunError(
            f"the loss is {loss} and its gradient's norm {norm} at step {step + 1} (learning rate "
            f"{rate:.3g}). {last}; nothing of this step was used. Train into a new folder with a "
            "lower learning rate or more steps of warm-up, in float32 or bfloat16; if it stops at "
            "the same step again, look at the images of that step."
        )


def _line(row: Mapping[str, Any]) -> str:
    held_out = row.get("validation_loss")
    return (
        f"step {row['step']}: loss {float(row['loss']):.3f}"
        + (f", {float(held_out):.3f} on held-out pairs" if held_out else "")
        + f"; {float(row['pairs_per_s']):.1f} pairs/s"
    )


@contextmanager
def _explain_full_memory(run: TrainingRun) -> Iterator[None]:
    """Turn used-up memory into a sentence that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"the memory does not hold {run.micro_batch or 'all'} pairs of a step at once. Give "
            "the same command with a lower --micro-batch: the result is the same, and training "
            "goes on from the last checkpoint."
        ) from error


def project(adapter: nn.Linear, features: Tensor, language: FrozenLanguage) -> Tensor:
    """Project features (batch, n, width) to (batch, n_patch, d_model).

    An adapter as wide as several vectors makes them all of each feature.
    """
    projected: Tensor = adapter(features)
    if projected.shape[-1] % language.d_model:
        raise CaptionerError(
            f"The adapter gives vectors of width {projected.shape[-1]}, which is no multiple of "
            f"the language model's {language.d_model}. Use the adapter of this language model."
        )
    return projected.reshape(len(features), -1, language.d_model)
