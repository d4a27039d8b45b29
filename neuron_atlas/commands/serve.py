"""`serve`: the API and the static site on one port."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from atlas_db.sql_sandbox import SqlLimits

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
    help="Requests that are worked on at once, beside those whose answers are written out.",
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
@click.option(
    "--sql/--no-sql",
    "with_sql",
    default=True,
    show_default=True,
    help="Let strangers ask in SQL, each statement in a process of its own.",
)
@click.option(
    "--sql-seconds",
    type=click.FloatRange(0.01, 600),
    default=1.0,
    show_default=True,
    help="When a statement of SQL is stopped.",
)
@click.option(
    "--sql-at-once",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Statements of SQL that run at once; keep it below --threads.",
)
@click.option(
    "--prepare/--no-prepare",
    "prepares",
    default=True,
    show_default=True,
    help="Write the answers for all units and concepts beside the atlas, in the background: "
    "look-ups are then ten to thirty times quicker.",
)
@click.option(
    "--rate",
    "requests_per_s",
    type=click.FloatRange(0, min_open=True),
    help="Requests a second that one client may send in the long run. By default any number.",
)
@click.option(
    "--behind-proxy",
    "proxy",
    metavar="ADDRESS",
    help="Of a proxy whose X-Forwarded-* headers are believed, such as 127.0.0.1.",
)
@click.option("--log-requests", is_flag=True, help="Print a line of JSON for each request.")
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
    with_sql: bool,
    sql_seconds: float,
    sql_at_once: int,
    prepares: bool,
    requests_per_s: float | None,
    proxy: str | None,
    log_requests: bool,
    open_browser: bool,
    quiet: bool,
) -> None:
    """Serve the API, and the site beside it, until Ctrl-C.

    The API is under /api/v1, its description at /api/docs.

    \b
    Example:
      neuron-atlas serve --db atlas.duckdb --site public --open
    """
    from api import request_log, server
    from neuron_atlas.commands.lookup import reading

    with reading(database):
        pass  # what is wrong with the atlas is said now, and not at the first request
    if log_requests:
        request_log.to_stderr()
    app = _application(
        database,
        site=site,
        origins=() if origins == ("none",) else origins,
        sql_limits=_sql_limits(sql_seconds, sql_at_once) if with_sql else None,
        requests_per_s=requests_per_s,
    )
    listening = server.listen(host, port)
    address = server.address_of(listening)
    server.run(
        app,
        listening,
        n_threads=threads,
        proxy=proxy,
        prepares=prepares,
        when_ready=lambda: _announce(address, site, open_browser=open_browser, quiet=quiet),
    )
    if not quiet:
        click.echo("Stopped.")


def _application(database: Path, **options: Any) -> Any:
    from api.app import create_app

    try:
        return create_app(database, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _sql_limits(deadline_s: float, n_at_once: int) -> SqlLimits:
    from atlas_db.sql_sandbox import SqlLimits

    # One client has half of the places at most: room for more than run at once.
    return SqlLimits(deadline_s=deadline_s, n_at_once=n_at_once, n_waiting=2 * n_at_once)


def _announce(address: str, site: Path | None, *, open_browser: bool, quiet: bool) -> None:
    if not quiet:
        pages = "API and site" if site else "API (no site: give its folder with --site)"
        click.echo(f"{pages} at {address}  (Ctrl-C stops)")
        click.echo(f"Description of the API at {address}api/docs, SQL at {address}api/sql")
    if open_browser:
        click.launch(address)
