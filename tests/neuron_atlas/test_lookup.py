"""`lookup`, `unit`, `image` and `sql` in a terminal, and their JSON beside the API's."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from api.app import create_app
from atlas_db import queries
from atlas_db.as_json import dumps
from atlas_db.connection import open_atlas
from neuron_atlas.cli import main
from neuron_atlas.commands.lookup import RANDOM_WARNING

Run = Callable[..., Result]
SCRIPT = Path(sys.executable).with_name("neuron-atlas")


@pytest.fixture
def run(synthetic_atlas: Path) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--db", str(synthetic_atlas)])

    return invoke


def test_lookup_shows_units_with_the_concept(run: Run) -> None:
    result = run("lookup", " WATER", "--limit", "3")
    assert result.exit_code == 0
    text = click.unstyle(result.stdout)
    assert text.startswith("water  ")
    assert len([line for line in text.splitlines() if line.startswith("L")]) == 3
    assert '" water"' in text or '"water"' in text or '" Water"' in text
    assert "raise --limit" in text


def test_lookup_by_family_finds_more(run: Run, synthetic_atlas: Path) -> None:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        family = queries.concept(connection, "boat", match="family", limit=500)
    engine.dispose()
    result = run("lookup", "boat", "--match", "family", "--limit", "500")
    lines = click.unstyle(result.stdout).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("L")] == [
        found.unit.name for found in family.units
    ]


def test_a_word_that_no_unit_promotes(run: Run) -> None:
    result = run("lookup", "watr")
    assert result.exit_code == 1
    assert "No unit promotes 'watr'. Near it: water" in result.stderr
    assert result.stdout == ""


def test_a_unit_shows_all_its_tables(run: Run) -> None:
    result = run("unit", "L0.U3")
    assert result.exit_code == 0
    text = click.unstyle(result.stdout)
    for part in ("L0.U3  interpretable", "promotes", "suppresses", "most active in", "similar"):
        assert part in text


@pytest.mark.parametrize("name", ["l1.u5", "1.5", "1/5"])
def test_other_ways_to_write_a_unit(run: Run, name: str) -> None:
    assert run("unit", name).stdout == run("unit", "L1.U5").stdout


@pytest.mark.parametrize("name", ["", "water", "L1", "L1.U", "L-1.U5", "L1.U5.2", "L1.U９"])
def test_what_is_no_unit_is_wrong_usage(run: Run, name: str) -> None:
    result = run("unit", name)
    assert result.exit_code == 2
    assert "write it like L12.U9058" in result.stderr


def test_an_image_shows_caption_people_and_units(run: Run) -> None:
    result = run("image", "139")
    assert result.exit_code == 0
    assert click.unstyle(result.stdout).startswith("image 139  val2017/000000000139.jpg")
    for part in ("The model:", "A person's view 0", "Target", "attribution", "Licence:"):
        assert part in result.stdout


def test_the_target_is_bold_in_the_caption(synthetic_atlas: Path) -> None:
    arguments = ["image", "139", "--db", str(synthetic_atlas)]
    colourful = CliRunner().invoke(main, arguments, color=True).stdout
    assert f"a {click.style('water', bold=True)} near the boat" in colourful


def test_random_weights_are_said_beside_the_answer_and_not_in_it(run: Run) -> None:
    result = run("image", "139")
    assert RANDOM_WARNING in result.stderr
    assert RANDOM_WARNING not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["unit", "L1.U5"], "/units/1/5"),
        (["image", "139"], "/images/139"),
        (["lookup", "boat", "--match", "family", "--limit", "4"], "/concepts/boat"),
    ],
)
def test_json_is_what_the_api_answers(
    run: Run,
    synthetic_atlas: Path,
    arguments: list[str],
    address: str,
) -> None:
    result = run(*arguments, "--json")
    query = {"match": "family", "limit": 4} if "boat" in address else {}
    answer = create_app(synthetic_atlas).test_client().get(f"/api/v1{address}", query_string=query)
    expected = answer.get_json()
    expected.pop("next_cursor", None)  # the API's alone
    assert json.loads(result.stdout) == expected
    assert result.stdout == dumps(expected) + "\n"


def test_sql_as_a_table_as_csv_and_as_json(run: Run) -> None:
    statement = "SELECT layer, count(*) AS n FROM units GROUP BY layer ORDER BY layer"
    rows = [(0, 32), (1, 32), (2, 32)]
    table = click.unstyle(run("sql", statement).stdout).splitlines()
    assert table[0].split() == ["layer", "n"]
    assert [tuple(map(int, line.split())) for line in table[1:4]] == rows
    read = list(csv.reader(io.StringIO(run("sql", statement, "--format", "csv").stdout)))
    assert read == [["layer", "n"], *([str(a), str(b)] for a, b in rows)]
    objects = json.loads(run("sql", statement, "--format", "json").stdout)
    assert [(row["layer"], row["n"]) for row in objects] == rows


def test_sql_says_when_there_are_more_rows(run: Run) -> None:
    cut = run("sql", "SELECT uid FROM units ORDER BY uid", "--limit", "2", "--format", "csv")
    assert cut.stdout == "uid\n0\n1\n"
    assert "more than 2 rows" in cut.stderr
    whole = run("sql", "SELECT uid FROM units WHERE uid < 2", "--limit", "2")
    assert "more than" not in whole.stderr


@pytest.mark.parametrize("statement", ["SELECT nothing", "DELETE FROM units", "SELEC"])
def test_a_wrong_statement_is_a_sentence(run: Run, statement: str) -> None:
    result = run("sql", statement)
    assert result.exit_code == 1
    assert result.stderr.count("\n") >= 1
    assert "Traceback" not in result.output
    assert "sqlalche.me" not in result.output


def test_no_statement_is_wrong_usage(run: Run) -> None:
    assert run("sql", " ").exit_code == 2


def test_tables_and_the_columns_of_one(run: Run, synthetic_atlas: Path) -> None:
    listed = click.unstyle(run("tables").stdout)
    assert re.search(r"^units +96 +A unit and its figures", listed, re.MULTILINE)
    assert re.search(r"^unit_figures +view +What the experiments say", listed, re.MULTILINE)
    columns = click.unstyle(run("tables", "units").stdout)
    assert columns.startswith("units  A unit and its figures")
    assert re.search(r"^uid +INTEGER +layer \* units_per_layer \+ unit$", columns, re.MULTILINE)
    missing = run("tables", "nothing")
    assert missing.exit_code == 1
    assert "`neuron-atlas tables` lists them" in missing.stderr
    schema = create_app(synthetic_atlas).test_client().get("/api/v1/sql/schema").get_json()
    assert json.loads(run("tables", "--json").stdout) == schema["tables"]
    assert json.loads(run("tables", "units", "--json").stdout) in schema["tables"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["lookup", "water"],
        ["unit", "L0.U0"],
        ["image", "139"],
        ["sql", "SELECT 1"],
        ["tables"],
    ],
)
def test_without_an_atlas_they_say_how_to_make_one(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "atlas.duckdb is not there" in result.stderr
    assert "neuron-atlas build" in result.stderr


@pytest.mark.parametrize("command", ["lookup", "unit", "image", "sql", "tables", "serve"])
def test_every_help_text_has_an_example(command: str) -> None:
    text = CliRunner().invoke(main, [command, "--help"]).stdout
    assert f"Example:\n    neuron-atlas {command} " in text


def test_as_a_process(synthetic_atlas: Path) -> None:
    done = subprocess.run(
        [SCRIPT, "unit", "L0.U3", "--db", str(synthetic_atlas)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("L0.U3  interpretable\n")
    assert "\x1b" not in done.stdout
    assert done.stderr == RANDOM_WARNING + "\n"


def test_lookup_says_in_how_many_exemplars_the_word_is_seen(
    run: Run, synthetic_atlas: Path
) -> None:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        units = queries.concept(connection, "boat", sort="prob", limit=5).units
    engine.dispose()
    assert {one.n_shown for one in units} != {0}
    lines = click.unstyle(run("lookup", "boat", "--sort", "prob", "--limit", "5").stdout)
    head, *rows = lines.splitlines()[2:8]
    place = head.index("shown") + len("shown")
    assert [row[:place].split()[-1] for row in rows] == [str(one.n_shown) for one in units]
