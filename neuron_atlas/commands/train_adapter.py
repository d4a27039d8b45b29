"""`neuron-atlas train-adapter`: learn the linear layer from image-caption pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuron_atlas.commands.options import device_option, quiet_option
from neuron_atlas.progress import ProgressBars

if TYPE_CHECKING:
    from builder.training.pairs import Pairs
    from builder.training.world import World

#: Options of the recipe: flag, type, LiMBeR's value, help.
_RECIPE = (
    ("--steps", "n_steps", click.IntRange(min=1), 15_000, "Steps of the optimizer."),
    ("--batch-size", "batch_size", click.IntRange(min=1), 2048, "Pairs in a step, in all."),
    ("--learning-rate", "learning_rate", float, 8e-4, "The greatest learning rate."),
    ("--warmup", "n_warmup", click.IntRange(min=0), 100, "Steps until it is reached."),
    (
        "--dropout",
        "dropout",
        click.FloatRange(0, 1, max_open=True),
        0.1,
        "Of the projected image; off at evaluation.",
    ),
    ("--weight-decay", "weight_decay", float, 0.0, "AdamW's."),
    ("--clip-norm", "clip_norm", float, 1.0, "Greatest norm of the gradient; 0: any."),
    ("--train-prompt", "train_prompt", str, "", "Text between image and caption in training."),
    (
        "--max-caption-tokens",
        "max_caption_tokens",
        click.IntRange(min=1),
        128,
        "Longer captions are cut.",
    ),
)


def recipe_options(command: Any) -> Any:
    """Add the recipe's options; their defaults are LiMBeR's."""
    for flag, name, kind, default, text in reversed(_RECIPE):
        command = click.option(
            flag, name, type=kind, default=default, show_default=True, help=text
        )(command)
    decay = click.Choice(["linear", "cosine", "constant"])
    return click.option(
        "--decay", type=decay, default="linear", show_default=True, help="How the rate falls to 0."
    )(command)


@click.command("train-adapter")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The captioner folder to write; OUT/training keeps checkpoint, losses and captions.",
)
@click.option(
    "--language-model", metavar="DIR|NAME", help="Folder, or name on the hub, of a language model."
)
@click.option("--encoder", metavar="timm:...|hf:...", help="Encoder of timm or transformers.")
@click.option("--like", metavar="DIR|PRESET", help="Take both, and all settings, from a captioner.")
@click.option(
    "--coco",
    type=click.Path(path_type=Path),
    help="Pairs: COCO's folder, with annotations/captions_SPLIT.json.",
)
@click.option("--split", default="train2017", show_default=True, help="Which split of it.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Pairs: a folder of images with captions.jsonl, or a .txt beside each image.",
)
@click.option(
    "--shards", help="Pairs: webdataset's tar files: a folder, or 'cc3m/{00000..00331}.tar'."
)
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N images only.")
@click.option(
    "--validation",
    "n_held_out",
    type=click.IntRange(min=0),
    default=256,
    show_default=True,
    help="Images set apart, the last ones: their loss and captions are logged; 0: none.",
)
@recipe_options
@click.option(
    "--micro-batch",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Pairs in one pass; gradients are accumulated. Does not change the result.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--prompt", help="Text after the image when captions are written. [A picture of]")
@click.option("--bos/--no-bos", default=None, help="A BOS before the image. [as the tokenizer has]")
@click.option("--image-px", type=click.IntRange(min=1), help="Side of the image. [the encoder's]")
@click.option("--name", help="Name of the captioner.")
@click.option("--licence", default="not stated", help="Licence of the adapter.")
@click.option(
    "--cache-features",
    "cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Encode every image once, into this folder: worth it where images are seen again.",
)
@click.option("--save-every", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--validate-every", type=click.IntRange(min=1), default=500, show_default=True)
@device_option
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Of the frozen models; the adapter is trained in float32. [bfloat16 on a GPU]",
)
@click.option(
    "--workers",
    "n_workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Processes that read images.",
)
@quiet_option
def train_adapter(
    coco: Path | None,
    split: str,
    folder: Path | None,
    shards: str | None,
    limit: int | None,
    n_held_out: int,
    device: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Learn the linear layer between an encoder and a language model, both frozen.

    Defaults are LiMBeR's recipe (arXiv 2209.15162 and its repository). Give the same command again
    after it was stopped: it goes on from the last checkpoint. Several GPUs: start it with
    `accelerate launch -m neuron_atlas train-adapter ...`.

    \b
    Example:
      neuron-atlas train-adapter --language-model EleutherAI/pythia-410m \\
        --encoder hf:microsoft/beit-large-patch16-224-pt22k --coco coco --out pythia-beit
      neuron-atlas build --captioner pythia-beit --coco coco --split val2017 --db atlas.duckdb
    """
    from builder.devices import best_device
    from builder.training.command import TrainingJob, run_job
    from builder.training.recipe import TrainingRecipe

    chosen = {name: options.pop(name) for name in [*(row[1] for row in _RECIPE), "decay"]}
    recipe = TrainingRecipe(prompt=chosen.pop("train_prompt"), **chosen)
    device = device or best_device()
    pairs = _pairs(coco, split, folder, shards, limit)
    pairs, held_out = pairs.split(n_held_out) if n_held_out else (pairs, None)
    wanted = _new_captioner(options)
    dtype = options.pop("dtype") or ("bfloat16" if device != "cpu" else None)
    job = TrainingJob(
        wanted=wanted,
        pairs=pairs,
        held_out=held_out,
        recipe=recipe,
        device=device,
        dtype=dtype,
        **options,
    )
    world = _world(on_cpu=device == "cpu")
    is_quiet = quiet or not world.is_first

    with ProgressBars(is_quiet=is_quiet) as progress:

        def say(line: str) -> None:
            if not is_quiet:
                progress.close()
                click.echo(line, err=True)

        run_job(job, world=world, progress=progress, say=say)
    if not is_quiet:
        click.echo(_summary(job.out))


def _new_captioner(options: dict[str, Any]) -> Any:
    from builder.training.assemble import NewCaptioner

    names = ("like", "language_model", "encoder", "name", "licence", "prompt", "bos", "image_px")
    found = {name: options.pop(name) for name in names}
    parts = [found["language_model"], found["encoder"]]
    if (found["like"] is None) == (parts == [None, None]) or (any(parts) and not all(parts)):
        raise click.UsageError("Give either --like, or both --language-model and --encoder.")
    return NewCaptioner(**found)


def _pairs(
    coco: Path | None, split: str, folder: Path | None, shards: str | None, limit: int | None
) -> Pairs:
    from builder.training.pair_sources import coco_pairs, folder_pairs, shard_pairs

    if [coco, folder, shards].count(None) != 2:
        raise click.UsageError("Where are the pairs? Give one of --coco, --folder and --shards.")
    if coco is not None:
        pairs = coco_pairs(coco, split)
    elif folder is not None:
        pairs = folder_pairs(folder)
    else:
        pairs = shard_pairs(str(shards))
    return pairs if limit is None else pairs.first(limit)


def _world(*, on_cpu: bool) -> World:
    """Join the processes that `accelerate launch` or torchrun has started, if any has."""
    import os

    from builder.training.world import AcceleratedWorld, World

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    return AcceleratedWorld(on_cpu=on_cpu)


def _summary(out: Path) -> str:
    import csv

    with (out / "training" / "losses.csv").open(encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    validation = f", {last['validation_loss']} on held-out pairs" if last["validation_loss"] else ""
    return (
        f"{out}: {last['step']} steps, loss {last['loss']} nats a caption token{validation}; "
        f"{last['pairs_per_s']} pairs/s. Losses: {out}/training/losses.svg. Next: "
        f"neuron-atlas build --captioner {out} --coco coco --db atlas.duckdb"
    )
