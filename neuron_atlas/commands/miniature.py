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


@miniature.command("check")
@click.argument("captioner", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--images", "n_pictures", type=click.IntRange(min=2), default=500, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(captioner: Path, n_pictures: int, seed: int, as_json: bool) -> None:
    """Caption held-out drawn pictures and count what the captions name rightly.

    \b
    Example:
      neuron-atlas miniature check miniature --images 100
    """
    import json
    from dataclasses import asdict

    from builder.captioner import load_captioner
    from builder.miniature.check import check_captions

    found = check_captions(load_captioner(captioner), n_pictures=n_pictures, seed=seed)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1))
        return
    click.echo(f"held-out pictures: {found.n_pictures}; share [95 % interval], chance by shuffling")
    click.echo(f"first noun is in the picture   {found.first_noun}")
    click.echo(f"scene is named                 {found.scene}")
    click.echo(f"object or scene is named       {found.either}")
