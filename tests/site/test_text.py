"""Tokens and captions of any kind are shown, never run; numbers read as they should."""

import math
from html.parser import HTMLParser

import pytest
from atlas_site.text import counted, number, percent, prose, spell, token_html, web_address

from atlas_db.fixtures.weights import HOSTILE


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("token", "spelt"),
    [
        (" water", "␣water"),
        ("a\nb\tc", "a↵b⇥c"),
        ("\u202eabc", "U+202Eabc"),
        ("\x00", "U+0000"),
        ("\\xe2\\x96", "\\xe2\\x96"),
        ("\ud800", "U+D800"),
        ("café", "café"),
        ("水", "水"),
    ],
)
def test_spell_makes_visible(token: str, spelt: str) -> None:
    assert spell(token) == spelt


@pytest.mark.parametrize("token", [*HOSTILE, "<img src=x onerror=alert(1)>", "", "&lt;", "--><b>"])
def test_a_token_is_text_and_nothing_else(token: str) -> None:
    parser = _Tags()
    parser.feed(token_html(token))
    parser.close()
    assert {tag for tag, _ in parser.tags} <= {"i"}
    assert parser.text == (spell(token) or "empty")


def test_plain_words_are_spelt_as_others() -> None:
    """Letters and digits alone take a shorter way; with a full stop they take the other."""
    words = [
        "water",
        " water",
        "7",
        " A1",
        "\u115fa",
        "a\u3164",
        "a b",
        " a b",
        "  a",
        "a ",
        "a\n",
        "a&",
    ]
    for word in words:
        assert spell(f"{word}.").removesuffix(".") == spell(word)
        assert token_html(f"{word}.").removesuffix(".") == token_html(word)


def test_prose_is_safe_in_an_attribute() -> None:
    parser = _Tags()
    parser.feed(f'<p title="{prose(chr(34) + "><script>" + chr(0x202E))}">')
    assert parser.tags == [("p", {"title": '"><script>U+202E'})]


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//host/x",
        "",
        "http:///x",
        "ftp://host/x",
        "http://[x",
    ],
)
def test_only_web_addresses_become_links(address: str) -> None:
    assert web_address(address) is None


def test_a_web_address_is_escaped() -> None:
    assert web_address('https://a.example/?a="&b') == "https://a.example/?a=&quot;&amp;b"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (5.8149, "5.81"),
        (-0.0703, "−0.0703"),
        (-5.8149, "−5.81"),
        (-123.4, "−123"),
        (-999.9, "−1,000"),
        (999.9, "1,000"),
        (-0.001, "−0.00100"),
        (-0.0009, "−0.000900"),
        (-1234.5, "−1,234"),
        (1234.5, "1,234"),
        (0.99999, "1.00"),
        (2e-5, "2.00e−05"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_number(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (0.999, "> 99 %"), (0.123, "12 %"), (0.00001, "< 0.01 %")],
)
def test_percent(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_counted() -> None:
    assert [counted(n, "unit") for n in (0, 1, 1200)] == ["0 units", "1 unit", "1,200 units"]
