"""Rows of a query as a table, as CSV and as JSON."""

import csv
import datetime
import decimal
import io
import json
import math

from neuron_atlas.commands.row_texts import ROW_FORMATS

NAMES = ["n", "word", "map"]
ROWS = [(1, "a,b\n", b"\x00\x01"), (20, None, None)]


def test_a_table_is_aligned_and_counts_its_rows() -> None:
    assert ROW_FORMATS["table"](["n", "word"], [(1, "dog"), (20, None)]) == (
        "\x1b[1m n  word\x1b[0m\n 1  dog\n20  NULL\n(2 rows)\n"
    )


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = ROW_FORMATS["table"](["w"], [("\x1b[2J",), ("\u202edcba",), ("a\tb",)])
    assert "\x1b[2J" not in text
    assert "\\x1b[2J" in text
    assert "\\u202edcba" in text
    assert "a\\tb" in text


def test_bytes_in_a_table_are_counted() -> None:
    assert "<2 bytes>" in ROW_FORMATS["table"](NAMES, ROWS)


def test_csv_comes_back() -> None:
    read = list(csv.reader(io.StringIO(ROW_FORMATS["csv"](NAMES, ROWS))))
    assert read == [NAMES, ["1", "a,b\n", "AAE="], ["20", "", ""]]


def test_json_comes_back() -> None:
    assert json.loads(ROW_FORMATS["json"](NAMES, ROWS)) == [
        {"n": 1, "word": "a,b\n", "map": "AAE="},
        {"n": 20, "word": None, "map": None},
    ]


def test_json_says_what_json_cannot() -> None:
    row = (
        math.nan,
        decimal.Decimal("1.50"),
        datetime.date(2017, 1, 2),
        {"a": [1, (2,)]},
        True,
    )
    names = ["nan", "decimal", "date", "nested", "flag"]
    assert json.loads(ROW_FORMATS["json"](names, [row])) == [
        {
            "nan": None,
            "decimal": "1.50",
            "date": "2017-01-02",
            "nested": {"a": [1, [2]]},
            "flag": True,
        }
    ]


def test_columns_of_one_name_are_told_apart_in_json() -> None:
    assert json.loads(ROW_FORMATS["json"](["a", "a", "a"], [(1, 2, 3)])) == [
        {"a": 1, "a_2": 2, "a_3": 3}
    ]


def test_no_rows() -> None:
    assert ROW_FORMATS["table"](["a"], []).endswith("(0 rows)\n")
    assert ROW_FORMATS["csv"](["a"], []) == "a\n"
    assert ROW_FORMATS["json"](["a"], []) == "[]\n"
