"""The first noun, and the token that begins it."""

import json
from pathlib import Path

import pytest

from builder.targets import Target, choose_words, find_targets, lexicon_words, part_of_speech


@pytest.mark.parametrize(
    ("caption", "noun"),
    [
        ("a black and white photo of a tennis player", "photo"),
        ("a man standing on a rock in the sea", "man"),
        ("an orange cat sits on a wooden table", "cat"),
        ("two young boys playing a video game", "boys"),
        ("the running water of a river", "water"),
        ("a tall building", "building"),
        ("a child's blanket", "child"),
        ("a skateboarder", "skateboarder"),
        ("a giraffe eating leaves", "giraffe"),
        ("A large Brown DOG.", "DOG"),
    ],
)
def test_first_noun(caption: str, noun: str) -> None:
    assert choose_words(lexicon_words(caption), 1)[0].text == noun


def test_nouns_open_human_captions(coco_mini: Path) -> None:
    """Of COCO's captions nearly all have a noun among their first six words."""
    file = coco_mini / "annotations/captions_val2017.json"
    captions = [row["caption"] for row in json.loads(file.read_text())["annotations"]]
    early = 0
    for caption in captions:
        words = lexicon_words(caption)
        first = choose_words(words, 1)
        early += bool(first) and first[0].part_of_speech == "noun" and first[0] in words[:6]
    assert early / len(captions) > 0.97


def test_later_targets_are_the_content_words_that_follow() -> None:
    words = choose_words(lexicon_words("a big dog is quickly chasing the red ball"), 4)
    assert [word.text for word in words] == ["dog", "quickly", "chasing", "red"]


def test_without_a_noun_the_first_content_word() -> None:
    assert [w.text for w in choose_words(lexicon_words("it is red"), 1)] == ["red"]
    assert choose_words(lexicon_words("it is of the"), 1) == []
    assert choose_words(lexicon_words(""), 1) == []


def test_target_is_the_first_token_of_the_word() -> None:
    pieces = [" a", " red", " fire", "tr", "uck", " on", " snow"]
    assert find_targets(pieces, 3) == [
        Target("firetruck", 7, 2),
        Target("snow", 20, 6),
    ]
    assert find_targets(["wa", "ter"]) == [Target("water", 0, 0)]


def test_a_token_may_hold_several_words() -> None:
    assert find_targets([" a big", " dog"]) == [Target("dog", 7, 1)]
    assert find_targets([" the dog", "house"]) == [Target("doghouse", 5, 0)]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("the", "function"),
        ("s", "function"),
        ("quickly", "adverb"),
        ("blorping", "verb"),
        ("blorp", "noun"),
        ("building", "noun"),
        ("family", "noun"),
        ("green", "adjective"),
        ("don’t", "function"),
    ],
)
def test_parts_of_speech(word: str, kind: str) -> None:
    assert part_of_speech(word) == kind


def test_no_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="n_targets must be >= 1, got 0"):
        find_targets([" dog"], 0)
