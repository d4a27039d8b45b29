"""`neuron-atlas`: one command for each thing that a user does.

Exit codes: 0 done, 1 failed (a sentence on standard error says why and what to do), 2 wrong usage.
Each command's module imports what is heavy inside the command, so that `--help` is quick.
"""

from __future__ import annotations

from typing import Any

import click

from atlas_db.errors import AtlasError
from neuron_atlas.commands.build import build
from neuron_atlas.commands.captioner import captioner
from neuron_atlas.commands.demo import demo
from neuron_atlas.commands.export import export
from neuron_atlas.commands.ingest import ingest
from neuron_atlas.commands.lookup import image, lookup, sql, tables, unit
from neuron_atlas.commands.miniature import miniature
from neuron_atlas.commands.prepare import prepare
from neuron_atlas.commands.report import report
from neuron_atlas.commands.serve import serve
from neuron_atlas.commands.site import site
from neuron_atlas.commands.train_adapter import train_adapter

#: The extra that brings a library which the builder alone does without.
EXTRAS = {
    **dict.fromkeys(("duckdb", "sqlalchemy", "snowballstemmer", "spylls", "symspellpy"), "db"),
    **dict.fromkeys(("mkdocs", "material"), "site"),
    **dict.fromkeys(("apiflask", "flask", "prometheus_client", "pydantic", "waitress"), "api"),
}


class AtlasGroup(click.Group):
    """Shows the errors of the domain as sentences, not as tracebacks; lists commands in order."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AtlasError as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            library = (error.name or "").partition(".")[0]
            if library not in EXTRAS:
                raise
            raise click.ClickException(
                f"this needs {library}, which is not installed. Install it with "
                f"`pip install 'neuron-atlas[{EXTRAS[library]}]'`."
            ) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=AtlasGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="neuron-atlas")
def main() -> None:
    """Build, browse and query an atlas of the neurons that turn pictures into words."""


for command in (
    demo,
    build,
    ingest,
    report,
    site,
    serve,
    lookup,
    unit,
    image,
    sql,
    tables,
    export,
    prepare,
    captioner,
    train_adapter,
    miniature,
):
    main.add_command(command)
