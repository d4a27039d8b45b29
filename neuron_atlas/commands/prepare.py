"""`prepare`: the answers that a busy server gives, written out once."""

from __future__ import annotations

from pathlib import Path

import click

from neuron_atlas.commands.lookup import database_option
from neuron_atlas.progress import ProgressBars


@click.command()
@database_option
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def prepare(*, database: Path, quiet: bool) -> None:
    """Write the answers for all units and concepts beside the atlas, for a busy server.

    `serve` finds them by itself. They may be deleted at any time.

    \b
    Example:
      neuron-atlas prepare --db atlas.duckdb
    """
    from atlas_db import ready_answers

    with ProgressBars(is_quiet=quiet) as bars:
        path = ready_answers.prepare(database, progress=bars)
    if not quiet:
        click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
