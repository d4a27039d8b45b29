"""`export`: the atlas's tables as files for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from neuron_atlas.commands.lookup import database_option
from neuron_atlas.progress import ProgressBars


@click.command()
@database_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A new folder for the files.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "ndjson"]),
    default="parquet",
    show_default=True,
    help="Parquet keeps all types; in the others bytes are base64.",
)
@click.option(
    "--table",
    "only",
    multiple=True,
    metavar="NAME",
    help="Write this table alone; may be given several times. By default all.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def export(*, database: Path, out: Path, form: str, only: tuple[str, ...], quiet: bool) -> None:
    """Write the atlas's tables as files, with a data-set card.

    \b
    Example:
      neuron-atlas export --db atlas.duckdb --out tables --format parquet
    """
    from atlas_db import export as exporting

    with ProgressBars(is_quiet=quiet) as bars:
        files = exporting.export(database, out, form=form, only=only, progress=bars)
    if not quiet:
        size_mb = sum(file.size_bytes for file in files) / 1e6
        tables = "1 table" if len(files) == 1 else f"{len(files)} tables"
        click.echo(f"{tables}, {size_mb:.1f} MB, and README.md in {out}")
