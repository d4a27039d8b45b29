"""What the sandbox answers, and that its walls stand one by one."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.sql_child import open_for_strangers
from atlas_db.sql_sandbox import SqlError, SqlLimits, SqlSandbox

TOOLS = Path(__file__).parents[1] / "tools"
HEAVY = "SELECT count(*) FROM range(100000000000) a, range(100000) b"
PATIENT = SqlLimits(deadline_s=20.0)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SqlSandbox]:
    with SqlSandbox(PATIENT) as sandbox:
        yield sandbox


def rows(sandbox: SqlSandbox, atlas: Path, statement: str, **parameters: Any) -> Any:
    return json.loads(sandbox.ask(atlas, statement, parameters).body)["rows"]


def test_it_answers_what_the_owner_s_own_sql_answers(
    sandbox: SqlSandbox, synthetic_atlas: Path
) -> None:
    statements = [
        text.format(layer=1, unit=3, image_id=139, concept="water").rstrip(";")
        for text in queries.SQL_OF.values()
    ]
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        for statement in statements:
            names, expected = queries.select(connection, statement, limit=10_000)
            answer = json.loads(sandbox.ask(synthetic_atlas, statement).body)
            assert [column["name"] for column in answer["columns"]] == names
            assert answer["n_rows"] == len(expected) == len(answer["rows"])
            assert answer["truncated"] is False
            for row, wanted in zip(answer["rows"], expected, strict=True):
                assert list(row.values()) == [json.loads(json.dumps(value)) for value in wanted]
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "WITH units AS (SELECT * FROM units WHERE layer = 1) SELECT count(*) AS n FROM units",
        "FROM units SELECT count(*) AS n WHERE layer = 1",
        "SELECT count(*) AS n FROM main.units WHERE layer = 1",
        "SELECT count(*) AS n FROM atlas.units WHERE layer = 1",
        "SELECT count(*) AS n FROM atlas.main.units WHERE layer = 1",
        "SELECT count(*) AS n FROM UNITS WHERE layer::VARCHAR LIKE '1%' -- a comment",
        "SELECT l1 AS n FROM (SELECT 'l' || layer AS l FROM units) "
        "PIVOT (count(*) FOR l IN ('l1'));",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 32) "
        "SELECT max(n) AS n FROM t",
        "SELECT list_sum([x * 2 FOR x IN range(4)]) + 20 AS n",
        "SELECT DISTINCT count(*) OVER (PARTITION BY layer) AS n FROM units QUALIFY n = 32",
        "SELECT (SELECT max(unit) FROM units u WHERE u.layer = l.layer) + 1 AS n FROM layers l "
        "WHERE layer BETWEEN 1 AND 1",
    ],
)
def test_it_takes_the_sql_that_people_write(
    sandbox: SqlSandbox, synthetic_atlas: Path, statement: str
) -> None:
    assert rows(sandbox, synthetic_atlas, statement) == [{"n": 32}]


def test_parameters_have_names_and_types(sandbox: SqlSandbox, synthetic_atlas: Path) -> None:
    statement = "SELECT $n + 1 AS n, upper($word) AS word, $yes AS yes, $none AS nothing"
    answer = rows(sandbox, synthetic_atlas, statement, n=1, word="'; DROP --", yes=True, none=None)
    assert answer == [{"n": 2, "word": "'; DROP --", "yes": True, "nothing": None}]
    for parameters in ({}, {"n": 1, "m": 2}):
        with pytest.raises(SqlError, match="parameter") as caught:
            sandbox.ask(synthetic_atlas, "SELECT $n", parameters)
        assert caught.value.code == "sql_failed"


STATEMENT = "SELECT uid, top_tokens, image_frequency AS f, NULL AS f FROM units ORDER BY uid"


def test_every_format_holds_the_same_rows(sandbox: SqlSandbox, synthetic_atlas: Path) -> None:
    def body(form: str) -> bytes:
        answer = sandbox.ask(synthetic_atlas, STATEMENT, form=form)
        assert (answer.n_rows, answer.truncated) == (96, False)
        assert [name for name, _ in answer.columns] == ["uid", "top_tokens", "f", "f_2"]
        return answer.body

    expected = json.loads(body("json"))["rows"]
    assert len(expected) == 96
    assert [json.loads(line) for line in body("ndjson").splitlines()] == expected
    read = list(csv.DictReader(io.StringIO(body("csv").decode(), newline="")))
    assert [json.loads(row["top_tokens"]) for row in read] == [r["top_tokens"] for r in expected]
    assert [float(row["f"]) for row in read] == [r["f"] for r in expected]
    for table in (
        pq.read_table(io.BytesIO(body("parquet"))),
        pa.ipc.open_stream(body("arrow")).read_all(),
    ):
        assert table.select(["uid", "top_tokens", "f_2"]).to_pylist() == [
            {name: row[name] for name in ("uid", "top_tokens", "f_2")} for row in expected
        ]
        assert table.schema.metadata[b"truncated"] == b"false"


@pytest.mark.parametrize("form", ["json", "csv", "ndjson", "parquet", "arrow"])
@pytest.mark.parametrize(("n", "truncated"), [(6, True), (5, False), (0, False)])
def test_what_is_left_out_is_said(
    sandbox: SqlSandbox, synthetic_atlas: Path, form: str, n: int, truncated: bool
) -> None:
    answer = sandbox.ask(synthetic_atlas, f"SELECT uid FROM units LIMIT {n}", form=form, max_rows=5)
    assert (answer.n_rows, answer.truncated) == (min(n, 5), truncated)


@pytest.mark.parametrize("form", ["json", "csv", "ndjson", "parquet", "arrow"])
def test_an_answer_is_within_its_bytes(synthetic_atlas: Path, form: str) -> None:
    limits = SqlLimits(deadline_s=20.0, max_bytes=50_000)
    with SqlSandbox(limits) as sandbox:
        statement = "SELECT hash(range) AS h, repeat('x', 50) FROM range(100000)"
        answer = sandbox.ask(synthetic_atlas, statement, form=form)
    assert answer.truncated
    assert 0 < answer.n_rows < 1000
    assert 5_000 < len(answer.body) < 60_000


@pytest.mark.parametrize(
    ("statement", "code", "said"),
    [
        ("SELECT * FROM unit", "sql_refused", "no table 'unit'.*Near it: units"),
        ("SELECT lowr('A')", "sql_refused", "lowr.*Near it: lower"),
        ("SELECT layr FROM units", "sql_failed", 'layr.*"layer".*LINE 1'),
        ("SELEC 1", "sql_refused", "not SQL.*SELEC"),
        ("SELECT 1; SELECT 2", "sql_refused", "2 statements.*one by one"),
        ("DESCRIBE units", "sql_refused", "SELECT|DESCRIBE.*schema"),
        ("SELECT 'a'::INT", "sql_failed", "Could not convert string 'a'"),
        ("SELECT 1 / 'a'", "sql_failed", r"LINE 1: SELECT 1 / 'a'"),
        ("SELECT $x", "sql_failed", r"x Give a value for each \$name"),
        ("SELECT range(1000000000)", "sql_too_big", "memory"),
    ],
)
def test_an_error_says_what_to_do(
    sandbox: SqlSandbox, synthetic_atlas: Path, statement: str, code: str, said: str
) -> None:
    with pytest.raises(SqlError) as caught:
        sandbox.ask(synthetic_atlas, statement)
    assert caught.value.code == code
    text = f"{caught.value} {caught.value.hint}".replace("\n", " ")
    assert re.search(said, text), text


def test_too_many_at_once_are_refused_and_the_others_answered(synthetic_atlas: Path) -> None:
    limits = SqlLimits(deadline_s=1.5, n_at_once=1, n_waiting=1, wait_s=20.0)
    outcomes: list[str] = []

    def ask() -> None:
        try:
            sandbox.ask(synthetic_atlas, HEAVY)
        except SqlError as error:
            outcomes.append(error.code)

    with SqlSandbox(limits) as sandbox:
        sandbox.start()
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["sql_busy"] * 2 + ["sql_too_slow"] * 2
        assert rows(sandbox, synthetic_atlas, "SELECT 1 AS n") == [{"n": 1}]


def children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(one) for one in found]


def test_a_killed_zygote_is_replaced_and_a_closed_one_leaves_nobody(synthetic_atlas: Path) -> None:
    with SqlSandbox(SqlLimits(deadline_s=20.0)) as sandbox:
        sandbox.start()
        assert sandbox._zygote is not None
        first = sandbox._zygote[0]
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert rows(sandbox, synthetic_atlas, "SELECT 1 AS n") == [{"n": 1}]
        second = sandbox._zygote[0]
        assert second.pid != first.pid

        def ask() -> None:
            with pytest.raises(SqlError):
                sandbox.ask(synthetic_atlas, HEAVY)

        thread = threading.Thread(target=ask)
        thread.start()
        deadline_s = time.monotonic() + 10
        while not children(second.pid) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        running = children(second.pid)
        assert running
        time.sleep(0.3)  # past its setting up, where it ties its life to its parent's
    thread.join()
    deadline_s = time.monotonic() + 10
    while any(Path(f"/proc/{one}").exists() for one in running):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_those_that_wait_serve_one_statement_each(synthetic_atlas: Path) -> None:
    with SqlSandbox(SqlLimits(deadline_s=20.0, n_at_once=3)) as sandbox:
        seen: set[int] = set()
        for n in range(4):
            assert rows(sandbox, synthetic_atlas, f"SELECT {n} AS n") == [{"n": n}]
            assert sandbox._zygote is not None
            waiting = those_that_wait(sandbox._zygote[0].pid, 3, seen)
            seen |= waiting
        assert len(seen) == 3 + 3  # each statement took one, and one came for it
        for process in waiting:
            os.kill(process, signal.SIGKILL)
        deadline_s = time.monotonic() + 10
        while {state(one) for one in waiting} != {"Z"} and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert rows(sandbox, synthetic_atlas, "SELECT 7 AS n") == [{"n": 7}]
        assert not those_that_wait(sandbox._zygote[0].pid, 3, seen) & waiting


def test_what_a_statement_waits_for_its_process_is_not_its_own_time(synthetic_atlas: Path) -> None:
    limits = SqlLimits(deadline_s=1.0)
    with SqlSandbox(limits) as sandbox:
        sandbox.start()
        assert sandbox._zygote is not None
        zygote = sandbox._zygote[0]
        zygote.send_signal(signal.SIGSTOP)
        threading.Timer(1.5 * limits.deadline_s, zygote.send_signal, [signal.SIGCONT]).start()
        assert rows(sandbox, synthetic_atlas, "SELECT 1 AS n") == [{"n": 1}]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_who_ended_while_it_waited_is_no_fault_of_the_statement(synthetic_atlas: Path) -> None:
    with SqlSandbox(SqlLimits(deadline_s=20.0, n_at_once=2)) as sandbox:
        for n in range(12):
            assert rows(sandbox, synthetic_atlas, f"SELECT {n} AS n") == [{"n": n}]
            assert sandbox._zygote is not None
            for process in children(sandbox._zygote[0].pid):  # and ask at once, before it is buried
                os.kill(process, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_statements_leave_no_file_open_and_nobody_behind(synthetic_atlas: Path) -> None:
    def n_open(process: int | str) -> int:
        return len(list(Path(f"/proc/{process}/fd").iterdir()))

    with SqlSandbox(PATIENT) as sandbox:
        rows(sandbox, synthetic_atlas, "SELECT 0 AS n")
        assert sandbox._zygote is not None
        zygote = sandbox._zygote[0].pid
        those_that_wait(zygote, 2)
        before = n_open("self"), n_open(zygote)
        for n in range(100):
            rows(sandbox, synthetic_atlas, f"SELECT {n} AS n")
        those_that_wait(zygote, 2)
        assert soon(lambda: (n_open("self"), n_open(zygote)) == before)
        # Those that wait, and the last not yet buried; the others are soon.
        assert soon(lambda: len(children(zygote)) <= 2 + 2)


def soon(is_so: Callable[[], bool]) -> bool:
    """Say whether something comes about within ten seconds."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        if is_so():
            return True
        time.sleep(0.01)
    return False


def those_that_wait(zygote: int, n: int, seen: Set[int] = frozenset()) -> set[int]:
    """Give the children of a process once `n` have not ended, and some were not seen before."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        found = {one for one in children(zygote) if state(one) not in "Z"}
        # One that is ending is not a Z at once: what waits is there a moment later as well.
        time.sleep(0.2)
        again = {one for one in children(zygote) if state(one) not in "Z"}
        if len(found) == n and found - seen and again == found:
            return found
    raise AssertionError(f"{len(found)} wait, not {n}")


def state(process: int) -> str:
    """Give a process's state as Linux writes it: Z has ended and is not buried."""
    with contextlib.suppress(FileNotFoundError):
        text = Path(f"/proc/{process}/stat").read_text()
        return text.rpartition(")")[2].split()[0]
    return "Z"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="looks at root's /proc")
def test_a_process_has_no_way_to_speak_for_another(synthetic_atlas: Path) -> None:
    with SqlSandbox(SqlLimits(deadline_s=20.0, n_at_once=3)) as sandbox:
        rows(sandbox, synthetic_atlas, "SELECT 1 AS n")
        assert sandbox._zygote is not None
        zygote = sandbox._zygote[0].pid

        def sockets() -> list[set[str]]:
            return [
                {link for link in open_files(one) if link.startswith("socket:")}
                for one in those_that_wait(zygote, 3)
            ]

        # One that is ending has none left.
        assert soon(lambda: [len(own) for own in sockets()] == [1, 1, 1])
        assert len(set.union(*sockets())) == 3


def open_files(process: int) -> list[str]:
    return [str(one.readlink()) for one in Path(f"/proc/{process}/fd").iterdir()]


def test_from_inside_nothing_is_possible(synthetic_atlas: Path, tmp_path: Path) -> None:
    """Though no rule looks at what is done: these are the other walls."""
    secret = tmp_path / "secret"
    secret.write_text("kept")
    done = subprocess.run(
        [sys.executable, TOOLS / "inside_sandbox.py", synthetic_atlas, secret],
        capture_output=True,
        text=True,
        check=True,
    )
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    assert done.stdout == f"possible: []; the atlas has 96 units; user {user}\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_an_atlas_that_is_not_there_is_no_one_s_path(sandbox: SqlSandbox, tmp_path: Path) -> None:
    with pytest.raises(SqlError, match="cannot be read") as caught:
        sandbox.ask(tmp_path / "missing.duckdb", "SELECT 1")
    assert str(tmp_path) not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("wrong", [{"deadline_s": 0}, {"n_at_once": 0}, {"wait_s": float("nan")}])
def test_limits_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SqlLimits(**wrong)


TYPES = """
SELECT DATE '2017-01-02' AS day, TIMESTAMP '2017-01-02 03:04:05' AS moment, TIME '03:04:05' AS hour,
    INTERVAL 3 DAYS AS span, 1.5::DECIMAL(9, 3) AS exact, 'nan'::DOUBLE AS none,
    '00000000-0000-0000-0000-000000000001'::UUID AS id, 12345678901234567890123::HUGEINT AS huge,
    'a'::BLOB AS bytes, {'a': [1, 2], 'b': {'c': DATE '2017-01-02'}} AS nested, MAP([1], [2]) AS m,
    '101'::BIT AS bits, '{"a": 1}'::JSON AS text, 'a'::ENUM('a', 'b') AS choice, [] AS nothing
"""


@pytest.mark.parametrize("form", ["json", "csv", "ndjson", "parquet", "arrow"])
def test_every_type_is_written(sandbox: SqlSandbox, synthetic_atlas: Path, form: str) -> None:
    """The process can import nothing any more: what writing needs must be there already."""
    # Parquet has no type for spans of time.
    statement = TYPES.replace("INTERVAL 3 DAYS", "3") if form == "parquet" else TYPES
    answer = sandbox.ask(synthetic_atlas, statement, form=form)
    assert answer.n_rows == 1
    if form == "json":
        (row,) = json.loads(answer.body)["rows"]
        assert (row["day"], row["exact"], row["none"]) == ("2017-01-02", "1.500", None)
        assert (row["bytes"], row["huge"]) == ("YQ==", 12345678901234567890123)
        assert row["nested"] == {"a": [1, 2], "b": {"c": "2017-01-02"}}


def test_what_cannot_be_written_says_so_without_a_path(
    sandbox: SqlSandbox, synthetic_atlas: Path
) -> None:
    statement = "SELECT TIMESTAMPTZ '2017-01-02 03:04:05+00' AS moment"
    assert sandbox.ask(synthetic_atlas, statement, form="arrow").n_rows == 1
    try:
        said = sandbox.ask(synthetic_atlas, statement).body.decode()
        assert "2017" in said  # a machine whose Python has the time zones' package
    except SqlError as error:
        said = f"{error} {error.hint}"
        assert "cast it to VARCHAR" in said
    assert "/" not in said.replace("/api/v1/sql/schema", "")


def test_an_atlas_put_in_another_s_place_answers_the_next_statement(
    sandbox: SqlSandbox, synthetic_atlas: Path, tmp_path: Path
) -> None:
    """Though the process that is forked from keeps the atlas open between statements."""
    atlas, other = tmp_path / "atlas.duckdb", tmp_path / "other.duckdb"
    shutil.copy(synthetic_atlas, atlas)
    shutil.copy(synthetic_atlas, other)
    with duckdb.connect(str(other)) as connection:
        connection.execute("DELETE FROM layers WHERE layer > 0")
    asked = "SELECT count(*) AS n FROM layers"
    before = rows(sandbox, atlas, asked)
    assert before == rows(sandbox, synthetic_atlas, asked) != [{"n": 1}]
    other.replace(atlas)
    assert rows(sandbox, atlas, asked) == [{"n": 1}]
    atlas.unlink()
    with pytest.raises(SqlError, match="cannot be read"):
        rows(sandbox, atlas, asked)
    assert rows(sandbox, synthetic_atlas, asked) == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_an_open_atlas_brings_no_thread_that_a_fork_could_meet(synthetic_atlas: Path) -> None:
    def n_threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = n_threads()
    opened = open_for_strangers(str(synthetic_atlas), asdict(PATIENT))
    opened.connection.execute("SELECT count(*) FROM units").fetchall()
    assert n_threads() == before
    assert "units" in opened.tables
    opened.connection.close()
