"""The page on the API says what is so: its Python runs, its addresses and limits are the code's."""

import json
import re
import urllib.parse
from pathlib import Path

import pytest
from apiflask import APIFlask
from click.testing import CliRunner
from flask.testing import FlaskClient

from api import server
from atlas_db.sql_rules import MAX_STATEMENT_BYTES
from atlas_db.sql_sandbox import SqlLimits
from neuron_atlas.cli import main

PAGE = (Path(__file__).parents[2] / "site" / "content" / "api.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_its_python_runs(
    synthetic_atlas: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(synthetic_atlas.parent)
    (code,) = blocks("python")
    place: dict[str, object] = {}
    exec(code.replace('"atlas.duckdb"', repr(synthetic_atlas.name)), place)
    printed = capsys.readouterr().out
    assert "(196,)" in printed
    assert "top_tokens" in printed


def test_its_addresses_are_the_application_s(app: APIFlask) -> None:
    rules = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule).removeprefix("/api/v1")
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/")
    }
    table = PAGE[PAGE.index("| address") : PAGE.index("- Lists take")]
    told = {address.partition("?")[0] for address in re.findall(r"`(/[^`]*)`", table)}
    assert told == rules


def test_its_filters_are_parameters(client: FlaskClient) -> None:
    for address in re.findall(r"`/(units|concepts|images)\?([\w=&]*)`", PAGE):
        document = client.get("/api/openapi.json").get_json()
        known = {p["name"] for p in document["paths"][f"/api/v1/{address[0]}"]["get"]["parameters"]}
        assert {part.rstrip("=") for part in address[1].split("&")} <= known


def test_its_request_for_sql_is_answered(client: FlaskClient) -> None:
    (command,) = [block for block in blocks("sh") if "urlencode" in block]
    query = dict(text.split("=", 1) for text in re.findall(r"--data-urlencode '(.*?)'", command))
    assert json.loads(query["parameters"])
    response = client.get("/api/v1/sql?" + urllib.parse.urlencode(query))
    assert response.status_code == 200
    assert response.data.startswith(b"layer,n\n")


def test_its_limits_are_the_defaults() -> None:
    limits = SqlLimits()
    assert MAX_STATEMENT_BYTES == 10_000
    for text in (
        f"| time | {limits.deadline_s:g} s",
        f"| memory | {limits.memory_mb} MB",
        f"| answer | {limits.max_rows:,} rows, {limits.max_bytes // 2**20} MB",
        f"| at once | {limits.n_at_once} run and",
    ):
        assert text in PAGE


def test_its_connections_are_the_server_s() -> None:
    assert server.MAX_CONNECTIONS == 1000
    assert "A thousand connections" in PAGE
    assert f"less {server._OTHER_FILES} " in PAGE
    assert f"for {server.IDLE_S} seconds is closed" in PAGE


def test_its_options_exist() -> None:
    for command in ("serve", "export", "prepare"):
        shown = CliRunner().invoke(main, [command, "--help"]).output
        told = set()
        for line in re.findall(rf"neuron-atlas {command} ([^\n]*)", PAGE):
            told |= set(re.findall(r"--[a-z-]+", line))
        assert told
        assert not [option for option in told if option not in shown]
    for option in re.findall(r"\(`(--[a-z-]+)`\)|`(--[a-z-]+)` ", PAGE):
        assert "".join(option) in CliRunner().invoke(main, ["serve", "--help"]).output
