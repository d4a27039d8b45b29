"""`neuron-atlas ingest`: a run folder to a DuckDB file."""

from __future__ import annotations

from pathlib import Path

import click

from neuron_atlas.commands.options import quiet_option
from neuron_atlas.progress import ProgressBars


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--db",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("atlas.duckdb"),
    show_default=True,
    help="The atlas to write; it is replaced when the new one is whole.",
)
@quiet_option
def ingest(run_folder: Path, database: Path, quiet: bool) -> None:
    """Turn a run folder into an atlas, one DuckDB file.

    Shards are checked against their hashes first. The file is written under another name and
    renamed, so readers never see half an atlas.

    \b
    Example:
      neuron-atlas ingest atlas.run --db atlas.duckdb
    """
    ingest_run(run_folder, database, is_quiet=quiet)


def ingest_run(run_folder: Path, database: Path, *, is_quiet: bool) -> None:
    """Ingest, and say what came of it."""
    from atlas_db.ingest import ingest

    with ProgressBars(is_quiet=is_quiet) as progress:
        content_hash = ingest(run_folder, database, progress=progress)
    if not is_quiet:
        megabytes = database.stat().st_size / 1e6
        click.echo(f"{database}: {megabytes:.1f} MB, content {content_hash[:12]}")
