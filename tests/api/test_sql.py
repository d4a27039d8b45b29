"""SQL over HTTP: what is asked, in which formats it is answered, and how it is refused."""

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from api import sql
from api.app import MAX_BODY_BYTES, MAX_SQL_QUERY_BYTES, create_app
from atlas_db import queries
from atlas_db.connection import Connection
from atlas_db.sql_sandbox import SqlLimits

ADDRESS = "/api/v1/sql"
HEAVY = "SELECT count(*) FROM range(100000000000) a, range(100000) b"


def error_of(response: Any, status: int) -> Any:
    assert response.status_code == status, response.data
    error = response.get_json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert all(error.values())
    return error


def test_rows_by_get_and_by_post(client: FlaskClient, connection: Connection) -> None:
    statement = "SELECT uid, top_tokens FROM units WHERE layer = $layer ORDER BY uid"
    expected = [
        {"uid": unit.uid, "top_tokens": list(unit.top_tokens)}
        for unit in queries.units(connection, layer=1, sort="uid", limit=500).rows
    ]
    got = client.get(ADDRESS, query_string={"q": statement, "parameters": '{"layer": 1}'})
    sent = client.post(ADDRESS, json={"q": statement, "parameters": {"layer": 1}})
    for response in (got, sent):
        assert response.status_code == 200
        assert response.content_type == "application/json"
        assert response.headers["X-Truncated"] == "false"
        answer = response.get_json()
        assert answer["rows"] == expected
        assert answer["columns"][0] == {"name": "uid", "type": "INTEGER"}
        assert (answer["n_rows"], answer["truncated"]) == (32, False)
    assert got.headers["ETag"]
    assert sent.headers["Cache-Control"] == "no-store"


def test_every_format(client: FlaskClient) -> None:
    def get(form: str) -> bytes:
        query = {"q": "SELECT uid FROM units ORDER BY uid", "format": form, "limit": 3}
        response = client.get(ADDRESS, query_string=query)
        assert response.status_code == 200
        assert response.headers["X-Truncated"] == "true"
        assert response.mimetype == sql.TYPES[form][0]
        if form != "json":
            assert sql.TYPES[form][1] in response.headers["Content-Disposition"]
        return response.data

    rows = [{"uid": 0}, {"uid": 1}, {"uid": 2}]
    assert json.loads(get("json"))["rows"] == rows
    assert get("csv") == b"uid\n0\n1\n2\n"
    assert [json.loads(line) for line in get("ndjson").splitlines()] == rows
    assert pq.read_table(io.BytesIO(get("parquet"))).to_pylist() == rows
    assert pa.ipc.open_stream(get("arrow")).read_all().to_pylist() == rows


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"q": "SELECT * FROM 'a.csv'"}, 403, "sql_refused"),
        ({"q": "DROP TABLE units"}, 403, "sql_refused"),
        ({"q": "SELECT nothing FROM units"}, 409, "sql_failed"),
        ({"q": "SELECT $layer"}, 409, "sql_failed"),
        ({"q": "SELECT range(1000000000)"}, 409, "sql_too_big"),
        ({"q": "é" * 5001}, 403, "sql_refused"),
        ({"q": ""}, 400, "bad_parameter"),
        ({}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "format": "xml"}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "limit": "0"}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "limit": "10001"}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "parameters": "[1]"}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "parameters": "{"}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "parameters": '{"a b": 1}'}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "parameters": '{"a": [1]}'}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "parameters": "[" * 5000}, 400, "bad_parameter"),
        ({"q": "SELECT 1", "layer": "1"}, 400, "bad_parameter"),
        ({"q": "x" * 10_001}, 400, "bad_parameter"),
        ({"q": "x" * MAX_SQL_QUERY_BYTES}, 414, "address_too_long"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    client: FlaskClient, query: dict[str, str], status: int, code: str
) -> None:
    error = error_of(client.get(ADDRESS, query_string=query), status)
    assert error["code"] == code


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"q": 1}', "application/json", 400),
        (b'{"q": "SELECT 1", "more": 1}', "application/json", 400),
        (b'{"q": "\\ud800"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 20_000, "application/json", 400),
        (b"q=SELECT+1", "application/x-www-form-urlencoded", 400),
        (b" " * (MAX_BODY_BYTES + 1), "application/json", 413),
    ],
)
def test_what_is_no_question_is_refused(
    client: FlaskClient, body: bytes, kind: str, status: int
) -> None:
    error_of(client.post(ADDRESS, data=body, content_type=kind), status)


def test_a_preflight_lets_statements_be_posted(client: FlaskClient) -> None:
    response = client.options(ADDRESS, headers={"Origin": "https://example.org"})
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in response.headers["Access-Control-Allow-Headers"]
    assert client.put(ADDRESS).status_code == 405


@pytest.fixture
def hasty(synthetic_atlas: Path) -> Iterator[APIFlask]:
    limits = SqlLimits(deadline_s=1.0, n_at_once=1, n_waiting=0, max_rows=5)
    app = create_app(synthetic_atlas, sql_limits=limits)
    sql.start(app)
    yield app
    sql.close(app)


def test_the_operator_s_limits_hold_and_the_server_goes_on(hasty: APIFlask) -> None:
    answers: list[Any] = []

    def ask() -> None:
        answers.append(hasty.test_client().get(ADDRESS, query_string={"q": HEAVY}))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.sort(key=lambda answer: answer.status_code)
    assert error_of(answers[0], 409)["code"] == "sql_too_slow"
    for answer in answers[1:]:
        assert error_of(answer, 429)["code"] == "sql_busy"
        assert int(answer.headers["Retry-After"]) >= 1
    limited = hasty.test_client().get(ADDRESS, query_string={"q": "FROM units SELECT uid"})
    assert (limited.get_json()["n_rows"], limited.get_json()["truncated"]) == (5, True)


def test_one_client_does_not_keep_all_others_out(synthetic_atlas: Path) -> None:
    limits = SqlLimits(deadline_s=3.0, n_at_once=2, n_waiting=2, wait_s=20.0)
    app = create_app(synthetic_atlas, sql_limits=limits)
    answers: list[Any] = []

    def ask(n: int) -> None:
        query = {"q": f"{HEAVY} WHERE {n} >= 0"}
        greedy = {"REMOTE_ADDR": f"2001:db8::{n}"}  # of one network: one client
        answers.append(app.test_client().get(ADDRESS, query_string=query, environ_base=greedy))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + 20
    while len(answers) < 4 and time.monotonic() < until_s:
        time.sleep(0.01)
    for answer in answers:
        assert "2 statements of yours" in error_of(answer, 429)["message"]
    other = {"REMOTE_ADDR": "2001:db8:1::1"}
    asked = app.test_client().get(ADDRESS, query_string={"q": "SELECT 1 AS n"}, environ_base=other)
    assert asked.get_json()["rows"] == [{"n": 1}]
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [409, 409, 429, 429, 429, 429]
    again = app.test_client().get(ADDRESS, query_string={"q": "SELECT 2 AS n"})
    assert again.get_json()["rows"] == [{"n": 2}]
    sql.close(app)


def test_a_server_can_do_without(synthetic_atlas: Path, tmp_path: Path) -> None:
    client = create_app(synthetic_atlas, sql_limits=None).test_client()
    for address in (f"{ADDRESS}?q=SELECT+1", f"{ADDRESS}/schema"):
        assert error_of(client.get(address), 404)["code"] == "no_sql"
    missing = create_app(tmp_path / "missing.duckdb").test_client()
    assert error_of(missing.get(f"{ADDRESS}?q=SELECT+1"), 503)["code"] == "no_atlas"


def test_the_schema_lists_what_can_be_asked(client: FlaskClient, connection: Connection) -> None:
    schema = client.get(f"{ADDRESS}/schema").get_json()
    tables = {table["table"]: table for table in schema["tables"]}
    assert {"units", "images", "exemplar_activations"} <= set(tables)
    assert all(table["about"] for table in tables.values())
    assert tables["units"]["n_rows"] == queries.atlas_info(connection).n_units
    uid = {"name": "uid", "type": "INTEGER", "about": "layer * units_per_layer + unit"}
    assert uid in tables["units"]["columns"]
    for name in tables:
        columns = ", ".join(column["name"] for column in tables[name]["columns"])
        query = {"q": f"SELECT {columns} FROM {name}", "limit": 1}
        assert client.get(ADDRESS, query_string=query).status_code == 200
    assert "list_transform" in schema["functions"]
    assert schema["limits"]["rows"] == SqlLimits().max_rows
