"""Text for a terminal."""

import click
import pytest

from neuron_atlas.commands.terminal import bar, number, percent, quoted, shortened, table, width


def test_wide_characters_take_two_columns_and_marks_none() -> None:
    assert width("water") == 5
    assert width("水") == 2
    assert width("e\u0301") == 1


def test_columns_stay_aligned_beside_wide_characters() -> None:
    lines = click.unstyle(table(("word", "n"), [("水", "1"), ("water", "22")], right=(1,)))
    assert lines.splitlines() == ["word    n", "水      1", "water  22"]


def test_a_long_text_is_cut_to_its_columns() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
    assert shortened("水水水水", 5) == "水水…"


def test_a_token_shows_its_space_and_its_odd_characters() -> None:
    assert quoted(" water") == '" water"'
    assert quoted("\x00\u200f") == '"\\x00\\u200f"'


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, ""), (1, "████"), (0.5, "██"), (7, "████"), (0.125, "▌")]
)
def test_a_bar(share: float, drawn: str) -> None:
    assert bar(share, columns=4) == drawn


def test_numbers() -> None:
    assert percent(0.1234) == "12.3 %"
    assert percent(1) == "100.0 %"
    assert percent(0) == "0.0 %"
    assert percent(0.000314) == "0.031 %"
    assert number(None) == "-"
    assert number(0.0012345) == "0.00123"
