"""`neuron-atlas site`: the static pages."""

from __future__ import annotations

from pathlib import Path

import click

from neuron_atlas.commands.lookup import database_option
from neuron_atlas.progress import ProgressBars


@click.command()
@database_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("public"),
    show_default=True,
    help="Folder for the pages; files that did not change are left alone.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Pages for the first N units only.")
@click.option("--site-url", help="Where it will be published, for canonical addresses.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def site(database: Path, out: Path, limit: int | None, site_url: str | None, quiet: bool) -> None:
    """Make a page for every unit, image, concept and layer of an atlas.

    Any static host can serve them; so can `neuron-atlas serve --site public`.

    \b
    Example:
      neuron-atlas site --db atlas.duckdb --out public
    """
    make_site(database, out, limit=limit, site_url=site_url, is_quiet=quiet)


def make_site(
    database: Path,
    out: Path,
    *,
    limit: int | None = None,
    site_url: str | None = None,
    is_quiet: bool = False,
) -> None:
    """Build the site, and say what came of it."""
    from atlas_site.build import build_site

    with ProgressBars(is_quiet=is_quiet) as progress:
        report = build_site(database, out, progress=progress, limit=limit, site_url=site_url)
    if not is_quiet:
        click.echo(f"{out}: {report}")
