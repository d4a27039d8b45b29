import pytest

from atlas_db.dictionary import is_word


@pytest.mark.parametrize(
    "token",
    [
        " River",
        "river",
        "RIVER",
        " Flight",
        " boats",
        " Paris",
        " paris",
        " colour",
        " grey",
        " USA",
    ],
)
def test_words(token: str) -> None:
    assert is_word(token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        " of",
        "in",
        " str",
        "ers",
        "qzxk",
        " wat er",
        "water.",
        "123",
        "1st",
        "don't",
        "\x00",
        "水水水",
    ],
)
def test_no_words(token: str) -> None:
    assert not is_word(token)
