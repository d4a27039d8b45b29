"""Load what experiments wrote: their figures, their tables, and what they were run with."""

from __future__ import annotations

from typing import Any

import duckdb

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS, FIGURE_SCHEMA, FIGURES
from atlas_db.run_check import CheckedRun, sql_paths
from atlas_db.schema import Base

#: Of `experiment.json`, what the key `experiments` of the table `atlas` keeps.
_KEPT = ("name", "title", "place", "settings", "created", "seconds", "device", "versions")


def create_experiment_views(connection: duckdb.DuckDBPyConnection, run: CheckedRun) -> None:
    """Make a view run_TABLE for each table of experiments, empty where none was run."""
    for table, schema in EXPERIMENT_SCHEMAS.items():
        files = run.files(table)
        if files:
            source = f"read_parquet([{sql_paths(files)}])"
            connection.execute(f"CREATE TEMP VIEW run_{table} AS FROM {source}")
        else:
            connection.register(f"run_{table}", schema.empty_table())


def load_experiments(connection: duckdb.DuckDBPyConnection, run: CheckedRun) -> None:
    """Fill `experiments` and the tables of experiments, each in the order of its key."""
    for entry in run.experiments:
        file = sql_paths([entry.folder / f"{FIGURES}.parquet"])
        columns = ", ".join(FIGURE_SCHEMA.names)
        connection.execute(
            f"INSERT INTO experiments BY NAME SELECT $name AS experiment, {columns} "
            f"FROM read_parquet([{file}]) ORDER BY number",
            {"name": entry.content["name"]},
        )
    for table in EXPERIMENT_SCHEMAS:
        connection.execute(_statement(table), _parameters(table, run))


def _statement(table: str) -> str:
    schema = EXPERIMENT_SCHEMAS[table]
    columns = [f"run_{table}.*"]
    source = f"run_{table}"
    if "uid" in schema.names:
        columns += ["uid // $units_per_layer AS layer", "uid % $units_per_layer AS unit"]
    if table == "adapter_tokens":
        columns += ["tokens.token", "tokens.concept"]
        source += " JOIN tokens USING (token_id)"
    order = ", ".join(_key(table))
    return f"INSERT INTO {table} BY NAME SELECT {', '.join(columns)} FROM {source} ORDER BY {order}"


def _key(table: str) -> list[str]:
    """Give the columns that tell a table's rows apart: known to the ORM alone."""
    mappers = {str(mapper.class_.__tablename__): mapper for mapper in Base.registry.mappers}
    return [column.name for column in mappers[table].primary_key]


def _parameters(table: str, run: CheckedRun) -> dict[str, int]:
    if "uid" not in EXPERIMENT_SCHEMAS[table].names:
        return {}
    return {"units_per_layer": run.units_per_layer}


def experiment_entries(run: CheckedRun) -> list[dict[str, Any]]:
    """Say with what each experiment was run, in the order of the report."""
    kept = [{key: entry.content.get(key) for key in _KEPT} for entry in run.experiments]
    return sorted(kept, key=lambda entry: (entry["place"] or 0, entry["name"]))
