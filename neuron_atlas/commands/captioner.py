"""`neuron-atlas captioner`: make and inspect captioner folders."""

from __future__ import annotations

import json
from pathlib import Path

import click

#: Of `builder.init_random.FAMILIES`, which is not imported before a command runs.
FAMILIES = (
    *("gptj", "gpt2", "neox", "opt", "llama", "mistral"),
    *("qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi", "phi3"),
)


@click.group()
def captioner() -> None:
    """Make or inspect a captioner: a language model, an encoder and an adapter."""


@captioner.command("init-random")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--family",
    type=click.Choice(FAMILIES),
    default="gptj",
    show_default=True,
    help="Architecture of the language model.",
)
@click.option("--size", type=click.Choice(["tiny", "small"]), default="tiny", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def init_random(folder: Path, family: str, size: str, seed: int) -> None:
    """Write a captioner of random weights, to try everything without a download.

    Its captions are nonsense, and every page made from it says so.

    \b
    Example:
      neuron-atlas captioner init-random --family gptj --size tiny tiny
    """
    from builder.init_random import init_random_captioner

    config = init_random_captioner(folder, family=family, size=size, seed=seed)
    click.echo(f"{folder}: {config.name}, random weights")


@captioner.command("vision-language")
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--prompt", help="What is asked. [by family]")
@click.option(
    "--reply", help="How the answer begins: its first noun is then the target. [by family]"
)
@click.option("--image-px", type=click.IntRange(min=1), help="Side of the image. [the processor's]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]))
@click.option("--max-new-tokens", type=click.IntRange(min=1))
def vision_language(checkpoint: str, folder: Path, **options: str | int | None) -> None:
    """Write captioner.json for a vision-language model: a folder, or a name on the hub.

    \b
    Example:
      neuron-atlas captioner vision-language llava-hf/llava-1.5-7b-hf llava
      neuron-atlas build --captioner llava --coco coco --db atlas.duckdb
    """
    from builder.vision_language.captioner import write_vision_language

    changes = {name: value for name, value in options.items() if value is not None}
    config = write_vision_language(checkpoint, folder, **changes)
    rows, columns = config.grid
    click.echo(f"{folder}: {config.name}, {config.image_px} px, {rows} x {columns} image tokens")


@captioner.command("presets")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def presets(as_json: bool) -> None:
    """List the presets: captioners of public models.

    \b
    Example:
      neuron-atlas captioner presets --json
    """
    from dataclasses import asdict

    from builder.presets import PRESET_NAMES, preset_config

    configs = {name: preset_config(name) for name in PRESET_NAMES}
    if as_json:
        click.echo(json.dumps({name: asdict(c) for name, c in configs.items()}, indent=1))
        return
    for name, config in configs.items():
        click.echo(f"{name:14} {config.language_model.source} + {config.encoder.source}")
