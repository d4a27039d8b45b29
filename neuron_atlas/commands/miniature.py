"""`neuron-atlas miniature`: train the embedded model from scratch."""

from __future__ import annotations

from pathlib import Path

import click

from neuron_atlas.commands.options import quiet_option

STAGES = ("pictures", "language-model", "encoder", "adapter", "export")


@click.group()
def miniature() -> None:
    """Make the miniature: a model that has only read and one that has only seen."""


@miniature.command("train")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The captioner folder to write; OUT/work keeps checkpoints and logs.",
)
@click.option(
    "--stage",
    "stages",
    type=click.Choice(STAGES),
    multiple=True,
    help="Only this stage, and what it needs; may be repeated. Default: all.",
)
@click.option(
    "--size", type=click.Choice(["shipped", "smoke"]), default="shipped", show_default=True
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True)
@quiet_option
def train(
    out: Path, stages: tuple[str, ...], size: str, seed: int, device: str, workers: int, quiet: bool
) -> None:
    """Train the miniature from a seed; a second call goes on where the first was stopped.

    \b
    Example:
      neuron-atlas miniature train --out miniature --size smoke
    """
    from builder.miniature.recipe import SIZES, Workshop, run_stages

    def say(line: str) -> None:
        if not quiet:
            click.echo(line)

    shop = Workshop(
        out=out, recipe=SIZES[size], seed=seed, device=device, n_workers=workers, say=say
    )
    run_stages(shop, stages or STAGES)
