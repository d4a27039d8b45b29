"""The whole of `neuron-atlas train-adapter`: parts, pairs, training, captioner folder.

OUT/captioner.json, adapter.safetensors, proj.ckpt    when the training is done
OUT/training/checkpoint.pt, losses.csv, losses.svg    while it goes on, and afterwards
OUT/training/captions.jsonl                           captions of held-out images
OUT/training/pairs.json                               where the pairs come from, what was left out
OUT/training/untrained/                               the captioner before training
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from atlas_db.run_format import write_json
from builder.adapter import load_adapter
from builder.captioner import Captioner
from builder.full_disk import explain_full_disk
from builder.settings import Progress, no_progress
from builder.training.assemble import ADAPTER_FILE, NewCaptioner, assemble, write_trained
from builder.training.caption_loss import FrozenLanguage
from builder.training.checkpoints import FULL_DISK_ADVICE
from builder.training.features import CachedFeatures, EncodedPairs, FeatureSource
from builder.training.pairs import Pairs
from builder.training.recipe import TrainingRecipe
from builder.training.trainer import TrainingRun, train_adapter
from builder.training.validation import Validation
from builder.training.world import World

TRAINING_FOLDER = "training"


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What is trained on what, and how.

    Attributes:
        wanted: The captioner whose adapter is learnt.
        pairs: Images and captions to learn from.
        held_out: Those to validate on; None: no validation.
        out: Folder to write.
        micro_batch: Pairs in one pass.
        cache: Folder of encoder features, filled before the first step; None: images are encoded
            as they come.
        n_workers: Processes that read images.
    """

    wanted: NewCaptioner
    pairs: Pairs
    held_out: Pairs | None
    out: Path
    recipe: TrainingRecipe
    seed: int = 0
    device: str = "cpu"
    dtype: str | None = None
    micro_batch: int = 16
    save_every: int = 100
    validate_every: int = 500
    cache: Path | None = None
    n_workers: int = 1


def run_job(
    job: TrainingJob,
    *,
    world: World | None = None,
    progress: Progress = no_progress,
    say: Callable[[str], None] = print,
) -> Path:
    """Train, or go on with a training that was stopped; give the captioner's folder.

    Raises:
        CaptionerError, DatasetError, RunError: See `assemble` and `train_adapter`.
    """
    with explain_full_disk(job.out, FULL_DISK_ADVICE):
        return _run(job, world or World(), progress, say)


def _run(job: TrainingJob, world: World, progress: Progress, say: Callable[[str], None]) -> Path:
    work = job.out / TRAINING_FOLDER
    device = job.device if world.device is None else str(world.device)
    if world.is_first:
        wanted = replace(job.wanted, name=job.wanted.name or job.out.resolve().name)
        captioner = assemble(
            wanted, work / "untrained", seed=job.seed, device=device, dtype=job.dtype
        )
        _write_pairs(job, work)
    world.wait()
    if not world.is_first:
        captioner = assemble(
            replace(job.wanted, like=str(work / "untrained"), language_model=None, encoder=None),
            work / f"untrained-{world.rank}",
            seed=job.seed,
            device=device,
            dtype=job.dtype,
        )
    for sentence in job.pairs.left_out if world.is_first else ():
        say(f"Warning: {sentence}")
    language = FrozenLanguage(captioner.model, captioner.tokenizer, captioner.config.bos)
    language.check_tokens()  # before hours of encoding
    source, validate = _sources(job, captioner, language, progress, world)
    # In float32, whatever the captioner's dtype.
    start = load_adapter(work / "untrained" / ADAPTER_FILE)
    run = TrainingRun(
        micro_batch=job.micro_batch,
        save_every=job.save_every,
        validate=validate,
        validate_every=job.validate_every,
        identity=_identity(job, captioner),
        world=world,
        progress=progress,
        say=say,
    )
    adapter = train_adapter(source, language, work, job.recipe, seed=job.seed, start=start, run=run)
    if world.is_first:
        trained = _with_origin(captioner, job)
        write_trained(trained, work / "untrained", job.out, adapter)
    return job.out


def _sources(
    job: TrainingJob,
    captioner: Captioner,
    language: FrozenLanguage,
    progress: Progress,
    world: World,
) -> tuple[FeatureSource, Validation | None]:
    """Give the features to learn from, and what measures the adapter on held-out ones."""

    def encoded(pairs: Pairs) -> EncodedPairs:
        return EncodedPairs(
            pairs,
            captioner.encoder,
            captioner.config,
            width=captioner.adapter.in_features,
            n_workers=job.n_workers,
        )

    source: FeatureSource = encoded(job.pairs)
    if job.cache is not None:
        cached = CachedFeatures(job.cache, encoded(job.pairs), key=_features_key(job, captioner))
        if world.is_first:
            cached.fill(progress)
        world.wait()
        cached.fill()
        source = cached
    if job.held_out is None:
        return source, None
    return source, Validation(
        source=encoded(job.held_out),
        language=language,
        recipe=job.recipe,
        out=job.out / TRAINING_FOLDER,
        prompt=captioner.config.prompt,
        max_new_tokens=captioner.config.max_new_tokens,
        batch=job.micro_batch,
    )


def _identity(job: TrainingJob, captioner: Captioner) -> dict[str, str]:
    config = captioner.config
    return {
        "pairs": job.pairs.sha256(),
        "language_model": config.language_model.source,
        "encoder": config.encoder.source,
        "bos": str(config.bos),
        "dtype": str(captioner.dtype),
        "pixels": _pixels(captioner),
    }


def _pixels(captioner: Captioner) -> str:
    config = captioner.config
    return repr((config.image_px, config.geometry, config.interpolation, config.mean, config.std))


def _features_key(job: TrainingJob, captioner: Captioner) -> str:
    """Name what features depend on: the encoder's files, the pixels, the pairs, in their order."""
    parts = (captioner.part_hash("encoder"), _pixels(captioner), captioner.config.pooling)
    return hashlib.sha256(repr((*parts, job.pairs.sha256())).encode()).hexdigest()


def _write_pairs(job: TrainingJob, work: Path) -> None:
    content = {
        "origin": Path(job.pairs.origin).name,
        "n_images": len(job.pairs),
        "sha256": job.pairs.sha256(),
        "left_out": list(job.pairs.left_out),
        "n_held_out": 0 if job.held_out is None else len(job.held_out),
        "recipe": asdict(job.recipe),
        "seed": job.seed,
    }
    write_json(work / "pairs.json", content)


def _with_origin(captioner: Captioner, job: TrainingJob) -> Captioner:
    """Say in the adapter's part how it was made."""
    origin = (
        f"neuron-atlas train-adapter, {job.recipe.n_steps} steps of {job.recipe.batch_size} pairs "
        f"of {Path(job.pairs.origin).name} ({len(job.pairs)} images), seed {job.seed}"
    )
    part = replace(captioner.config.adapter, origin=origin)
    return replace(captioner, config=replace(captioner.config, adapter=part))
