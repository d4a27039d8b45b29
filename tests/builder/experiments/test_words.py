"""Word lists from files and from names, and what counts as one of their words."""

import json
from pathlib import Path
from typing import Any

import pytest

from atlas_db.errors import DatasetError
from builder.experiments.words import text_stems, token_stem, word_lists


def rows(*names: str, supercategory: str = "thing") -> list[dict[str, Any]]:
    return [
        {"category_id": i, "name": name, "supercategory": supercategory}
        for i, name in enumerate(names, start=1)
    ]


def write(folder: Path, content: Any) -> Path:
    path = folder / "words.json"
    path.write_text(json.dumps(content))
    return path


def test_tokens_are_folded_and_stemmed() -> None:
    assert token_stem(" Boats") == token_stem("boat") == "boat"
    assert token_stem("\u010aa") is None or token_stem(" a") is None
    assert [token_stem(t) for t in (" 12", "##", "", "o'clock")] == [None] * 4


def test_text_is_read_as_stems_in_order() -> None:
    assert text_stems("Two traffic lights, and a DOG.") == ("two", "traffic", "light", "and", "dog")


def test_without_a_list_a_category_is_its_name_with_its_inflections() -> None:
    lists = word_lists(rows("person", "hot dog", "dog", "traffic light"))
    people, hot_dog, dog, light = lists.by_id.values()
    assert {"person", "peopl"} <= people.words
    assert people.is_named_in(text_stems("many people on a beach"))
    # "dog" names another category, so it does not stand for "hot dog"; "light" does for its own.
    assert hot_dog.words == frozenset()
    assert dog.words == {"dog"}
    assert light.words == {"light"}
    assert lists.named_in("hot dogs and a light") == {2, 3}
    assert lists.named_in("a traffic light", among=[1, 4]) == {4}
    assert "No word list" in lists.source


def test_a_list_gives_names_and_words(tmp_path: Path) -> None:
    content = {"boat": {"names": ["boat", "dinghy"], "words": ["boat", "harbor"]}, "cat": ["fur"]}
    lists = word_lists(rows("boat", "cat", "cow"), write(tmp_path, content))
    boat, cat, cow = lists.by_id.values()
    assert boat.is_named_in(text_stems("two dinghies"))
    assert boat.words == {token_stem("boat"), token_stem("harbor")}
    assert (cat.words, cat.names) == ({"fur"}, {("cat",)})
    assert cow.words == {"cow"}
    assert "2 of 3" in lists.source
    assert len(lists.sha256) == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"ship": ["ship"]}, "'ship', which is no category"),
        ({"boat": "boat"}, "is no word list"),
        ({"boat": {"names": ["boat"]}}, "is no word list"),
        (["boat"], "is no word list"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        word_lists(rows("boat"), write(tmp_path, content))


def test_a_scene_is_no_thing() -> None:
    (water,) = word_lists(rows("water", supercategory="scene")).by_id.values()
    assert water.is_scene
