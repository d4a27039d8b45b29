import re

import pytest

from atlas_db.concepts import fold, slug, stem, text_stems
from atlas_db.fixtures.weights import vocabulary

TOKENS = (
    *vocabulary(),
    " İstanbul",
    "x-0123456789ab",
    "0123456789ab",
    "a" * 99,
    "é",
    "e",
    "\ud800",
)


@pytest.mark.parametrize(
    ("token", "concept"),
    [
        (" water", "water"),
        ("WATER", "water"),
        ("\u00a0Water\n", "water"),
        (" ﬁsh", "fish"),
        (" CAFE\u0301", "café"),
        (" Straße", "strasse"),
        ("line\n break", "line break"),
        ("\u200f\u05d0", "\u05d0"),
        ("\\xe2\\x96", "\\xe2\\x96"),
        ("   ", None),
        ("\x00", None),
        ("", None),
    ],
)
def test_fold(token: str, concept: str | None) -> None:
    assert fold(token) == concept


def test_stems_of_a_text() -> None:
    assert text_stems("Two Boats, a dog's 3 boat_houses!") == {
        "two", "boat", "a", "dog", "s", "hous"
    }  # fmt: skip
    assert text_stems(" 12, ...") == frozenset()


def test_folding_twice_changes_nothing() -> None:
    letters = (chr(i) for i in range(0x3000) if fold(chr(i)))
    assert [c for c in letters if fold(fold(c)) != fold(c)] == []


def test_a_stem_gathers_a_family() -> None:
    assert {stem(word) for word in ("boat", "boats", "boating")} == {"boat"}
    assert stem("water") != stem("boat")


def test_slugs_are_safe_and_never_shared() -> None:
    concepts = {concept for token in TOKENS if (concept := fold(token))}
    slugs = {concept: slug(concept) for concept in concepts}
    assert len(set(slugs.values())) == len(concepts)
    for value in slugs.values():
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,59}[a-z0-9])?", value)


@pytest.mark.parametrize("concept", ["con", "nul", "com1", "index"])
def test_reserved_file_names_are_avoided(concept: str) -> None:
    assert slug(concept).startswith(f"{concept}-")


def test_a_plain_word_is_its_own_slug() -> None:
    assert (slug("water"), slug("mother-in-law"), slug("42")) == ("water", "mother-in-law", "42")


def test_a_concept_cannot_take_anothers_slug() -> None:
    taken = slug("café")
    assert slug(taken) != taken
