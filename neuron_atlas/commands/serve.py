"""`serve`: the API and the static site on one port."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000


@click.command()
@click.option(
    "--db",
    "database",
    type=click.Path(path_type=Path),
    default=Path("atlas.duckdb"),
    show_default=True,
    help="The atlas, or a symlink to it: another one that it is pointed at is served at once.",
)
@click.option(
    "--site",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the static site, made with `neuron-atlas site`.",
)
@click.option(
    "--host",
    default=DEFAULT_HOST,
    show_default=True,
    help="0.0.0.0 lets other machines in.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="0 is any that is free.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Requests that are worked on at once.",
)
@click.option(
    "--cors",
    "origins",
    multiple=True,
    default=("*",),
    metavar="ORIGIN",
    help="Whose pages may read the API, such as https://example.org; may be given several times. "
    "By default everybody's; 'none' is nobody's.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the site in a browser.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def serve(
    *,
    database: Path,
    site: Path | None,
    host: str,
    port: int,
    threads: int,
    origins: tuple[str, ...],
    open_browser: bool,
    quiet: bool,
) -> None:
    """Serve the API, and the site beside it, until Ctrl-C.

    The API is under /api/v1, its description at /api/docs.

    \b
    Example:
      neuron-atlas serve --db atlas.duckdb --site public --open
    """
    from api import server
    from api.app import create_app
    from neuron_atlas.commands.lookup import reading

    with reading(database):
        pass  # what is wrong with the atlas is said now, and not at the first request
    try:
        app = create_app(database, site=site, origins=() if origins == ("none",) else origins)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    listening = server.listen(host, port)
    address = server.address_of(listening)

    def announce() -> None:
        if not quiet:
            pages = "API and site" if site else "API (no site: give its folder with --site)"
            click.echo(f"{pages} at {address}  (Ctrl-C stops)")
            click.echo(f"Description of the API at {address}api/docs")
        if open_browser:
            click.launch(address)

    server.run(app, listening, n_threads=threads, when_ready=announce)
    if not quiet:
        click.echo("Stopped.")
