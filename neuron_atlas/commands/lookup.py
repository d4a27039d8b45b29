"""`lookup`, `unit`, `image`, `sql` and `tables`: what the atlas knows, in a terminal.

They read through the same functions as the API, and `--json` prints the API's own JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from atlas_db.connection import Connection

Command = TypeVar("Command", bound=Callable[..., Any])

RANDOM_WARNING = "This atlas was made with random weights: its captions and units mean nothing."


def database_option(command: Command) -> Command:
    """Add `--db FILE`."""
    return click.option(
        "--db",
        "database",
        type=click.Path(path_type=Path),
        default=Path("atlas.duckdb"),
        show_default=True,
        help="The atlas.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option(
        "--json", "print_json", is_flag=True, help="Print the JSON that the API answers with."
    )(command)


@contextmanager
def reading(database: Path) -> Iterator[Connection]:
    """Open an atlas, and pass on what must be said of its captioner.

    Raises:
        AtlasError: It cannot be read, or what is asked for is not in it.
    """
    from atlas_db.connection import open_atlas
    from atlas_db.queries import atlas_info

    engine = open_atlas(database)
    try:
        with engine.connect() as connection:
            info = atlas_info(connection)
            for warning in (RANDOM_WARNING if info.is_random else "", info.captioner.get("notice")):
                if warning:
                    click.secho(warning, fg="yellow", err=True)
            yield connection
    finally:
        engine.dispose()


@click.command()
@click.argument("word")
@database_option
@click.option(
    "--match",
    type=click.Choice(["exact", "family", "related"]),
    default="exact",
    show_default=True,
    help="The word alone, all words of its stem, or those near it in the model's unembedding.",
)
@click.option(
    "--sort",
    type=click.Choice(["shown", "prob"]),
    default="shown",
    show_default=True,
    help="Units first in most of whose exemplars it is seen, or those of greatest probability.",
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Units.")
@json_option
def lookup(
    word: str, *, database: Path, match: str, sort: str, limit: int, print_json: bool
) -> None:
    """Find the units that promote WORD.

    Case and space around it do not matter. The column "shown" counts a unit's exemplars whose
    captions, by people where there are such, say WORD or another of its stem.

    \b
    Example:
      neuron-atlas lookup water --match family
    """
    from atlas_db.as_json import dumps
    from atlas_db.queries import concept
    from neuron_atlas.commands.record_texts import concept_text

    with reading(database) as connection:
        record = concept(connection, word, match=match, sort=sort, limit=limit)
    click.echo(dumps(record) if print_json else concept_text(record))


class UnitName(click.ParamType):
    """A unit as the paper prints it, L12.U9058; 12.9058 and 12/9058 are understood too."""

    name = "unit"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"L?([0-9]{1,9})[./]U?([0-9]{1,9})", str(value), re.IGNORECASE)
        if found is None:
            self.fail(f"{value!r} is no unit; write it like L12.U9058.", param, ctx)
        return int(found[1]), int(found[2])


@click.command()
@click.argument("name", type=UnitName(), metavar="UNIT")
@database_option
@json_option
def unit(name: tuple[int, int], *, database: Path, print_json: bool) -> None:
    """Show all about UNIT: what it says, what it sees, how much to believe it.

    \b
    Example:
      neuron-atlas unit L12.U9058
    """
    from atlas_db import queries
    from atlas_db.as_json import dumps
    from neuron_atlas.commands.record_texts import unit_text

    with reading(database) as connection:
        record = queries.unit(connection, *name)
    click.echo(dumps(record) if print_json else unit_text(record))


@click.command()
@click.argument("image_id", type=click.IntRange(0, 2**63 - 1), metavar="ID")
@database_option
@json_option
def image(image_id: int, *, database: Path, print_json: bool) -> None:
    """Show image ID: its captions, its target and the units that spoke of it.

    \b
    Example:
      neuron-atlas image 139
    """
    from atlas_db import queries
    from atlas_db.as_json import dumps
    from neuron_atlas.commands.record_texts import image_text

    with reading(database) as connection:
        record = queries.image(connection, image_id)
    click.echo(dumps(record) if print_json else image_text(record))


@click.command()
@click.argument("statement")
@database_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="In json each row is an object.",
)
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Rows.")
def sql(statement: str, *, database: Path, form: str, limit: int) -> None:
    """Ask the atlas in SQL (DuckDB's), read-only.

    It runs with your own rights: do not run what strangers send you.

    \b
    Example:
      neuron-atlas sql "SELECT layer, count(*) AS n FROM units GROUP BY layer" --format csv
    """
    from atlas_db.queries import select
    from neuron_atlas.commands.row_texts import ROW_FORMATS

    if not statement.strip():
        raise click.UsageError("the statement is empty.")
    with reading(database) as connection:
        try:
            # One more, to see whether there are more.
            names, rows = select(connection, statement, limit=limit + 1)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    click.echo(ROW_FORMATS[form](names, rows[:limit]), nl=False)
    if len(rows) > limit:
        click.echo(f"There are more than {limit} rows: raise --limit to see them.", err=True)


@click.command()
@click.argument("name", metavar="[TABLE]", required=False)
@database_option
@json_option
def tables(name: str | None, *, database: Path, print_json: bool) -> None:
    """List the tables that SQL can ask, or what the columns of TABLE hold.

    \b
    Example:
      neuron-atlas tables units
    """
    from atlas_db import sql_schema
    from atlas_db.as_json import dumps
    from neuron_atlas.commands.record_texts import columns_text, tables_text

    with reading(database) as connection:
        found = sql_schema.tables(connection)
    if name is None:
        click.echo(dumps(found) if print_json else tables_text(found))
        return
    chosen = next((table for table in found if table.table == name), None)
    if chosen is None:
        raise click.ClickException(f"there is no table {name!r}; `neuron-atlas tables` lists them.")
    click.echo(dumps(chosen) if print_json else columns_text(chosen))
