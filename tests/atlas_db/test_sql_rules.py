"""The list of functions is DuckDB's own, and leaves out what looks outside of the atlas."""

import json
from typing import Any

import duckdb
import pytest

from atlas_db.sql_rules import FUNCTIONS, TABLE_FUNCTIONS, SqlRefusedError, check_text, check_tree

#: What the parser makes of these words is no function of the catalog.
OF_THE_PARSER = {"coalesce", "grouping", "grouping_id", "ifnull"}


def tree(statement: str) -> Any:
    found = duckdb.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchone()
    assert found is not None
    return json.loads(found[0])


def test_every_function_exists() -> None:
    known = {
        row[0] for row in duckdb.execute("SELECT function_name FROM duckdb_functions()").fetchall()
    }
    assert FUNCTIONS - known - OF_THE_PARSER == set()
    assert known >= TABLE_FUNCTIONS


def test_no_function_of_the_list_looks_outside() -> None:
    outside = ("read", "scan", "duckdb", "pragma", "setting", "variable", "env", "query", "glob")
    assert not [name for name in FUNCTIONS | TABLE_FUNCTIONS if any(w in name for w in outside)]


@pytest.mark.parametrize(
    "statement", ["SELECT a FROM t", "WITH c AS (FROM t) SELECT * FROM c", "SELECT * FROM T x"]
)
def test_tables_of_the_list_are_taken(statement: str) -> None:
    check_tree(tree(statement), ["t"])
    with pytest.raises(SqlRefusedError, match="no table 't'"):
        check_tree(tree(statement), ["u"])


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM other.t", "SELECT * FROM a.b.t", "SELECT other.lower('A') FROM t"]
)
def test_other_catalogs_are_refused(statement: str) -> None:
    with pytest.raises(SqlRefusedError):
        check_tree(tree(statement), ["t"])


def test_what_a_later_duckdb_may_bring_is_refused() -> None:
    good = tree("SELECT lower('a') FROM t")
    for path, value in (
        (("node", "select_list", 0, "class"), "NEW_CLASS"),
        (("node", "from_table", "type"), "NEW_SOURCE"),
        (("node", "type"), "NEW_NODE"),
    ):
        changed = json.loads(json.dumps(good))
        place = changed["statements"][0]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(SqlRefusedError, match=value.lower().replace("_", " ")):
            check_tree(changed, ["t"])


def test_text_is_measured_in_bytes() -> None:
    check_text("ä" * 5000)
    with pytest.raises(SqlRefusedError, match="10002 bytes"):
        check_text("ä" * 5001)
