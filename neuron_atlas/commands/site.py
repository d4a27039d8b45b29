"""`neuron-atlas site`: the static pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuron_atlas.commands.lookup import database_option
from neuron_atlas.commands.options import quiet_option
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
@click.option("--layers", help="Units of these layers only: 5, 5-10 or 0,5-10.")
@click.option("--limit", type=click.IntRange(min=1), help="The first N units only.")
@click.option(
    "--min-images",
    type=click.IntRange(min=0),
    default=0,
    help="No page of its own for a unit on top of fewer images.",
)
@click.option(
    "--group",
    type=click.IntRange(min=2, max=1024),
    help="Those units share pages of so many, for hosts that limit the number of files.",
)
@click.option(
    "--images",
    type=click.Choice(["embed", "link"]),
    default="embed",
    show_default=True,
    help="`link` puts no photograph into the site, only where each comes from.",
)
@click.option(
    "--downloads-mb",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Offer the atlas and its tables for download up to this size each; 0 for none.",
)
@click.option(
    "--sql-page",
    is_flag=True,
    help="SQL in the browser: fetches DuckDB-Wasm (31 MB) by npm, once, and serves it itself.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="DB",
    help="Another atlas, to be set beside this one on a page.",
)
@click.option("--site-url", help="Where it will be published, for canonical addresses.")
@click.option("--force", is_flag=True, help="Make every page anew, also where nothing changed.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="That fill pages. [default: one a core from 20,000 units on]",
)
@quiet_option
def site(
    database: Path,
    out: Path,
    *,
    force: bool,
    processes: int | None,
    quiet: bool,
    **chosen: Any,
) -> None:
    """Make a page for every unit, image, concept and layer of an atlas.

    Any static host can serve them; so can `neuron-atlas serve --site public`.

    \b
    Example:
      neuron-atlas site --db atlas.duckdb --out public
      neuron-atlas site --group 32 --min-images 3     # fewer files
    """
    chosen["layers"] = None if chosen["layers"] is None else parse_layers(chosen["layers"])
    given = {name: value for name, value in chosen.items() if value is not None}
    make_site(database, out, is_quiet=quiet, force=force, processes=processes, **given)


def parse_layers(text: str) -> tuple[int, ...]:
    """Read `0,5-10` as layers, rising.

    Raises:
        click.UsageError: It is not numbers and ranges.
    """
    layers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise click.UsageError(f"--layers takes numbers and ranges such as 0,5-10, got {text}")
        layers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(layers))


def make_site(
    database: Path,
    out: Path,
    *,
    is_quiet: bool = False,
    force: bool = False,
    processes: int | None = None,
    **chosen: Any,
) -> None:
    """Build the site, and say what came of it; `chosen` are fields of `SiteOptions`."""
    from atlas_site.build import build_site
    from atlas_site.options import SiteOptions

    options = SiteOptions(**chosen)
    with ProgressBars(is_quiet=is_quiet) as progress:
        try:
            report = build_site(
                database, out, options, progress=progress, processes=processes, force=force
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    if not is_quiet:
        click.echo(f"{out}: {report}")
