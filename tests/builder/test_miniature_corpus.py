"""The corpus: deterministic, wide, and full of company among the words of one concept."""

import re
from itertools import pairwise

from builder.miniature.corpus import documents, write_document
from builder.miniature.inflection import article, participle, plural, third_person
from builder.miniature.tokenizer import corpus_words, train_tokenizer
from builder.miniature.topics import kinds, neighbours, topics

TEXTS = list(documents(0, 0, 300))


def test_a_document_depends_on_its_seed_and_index_alone() -> None:
    assert write_document(0, 17) == TEXTS[17]
    assert write_document(1, 17) != TEXTS[17]


def test_documents_are_long_and_mostly_end_in_a_title() -> None:
    lengths = [len(text.split()) for text in TEXTS]
    assert sum(lengths) / len(lengths) > 100
    titled = [text.splitlines()[-1].startswith("A picture of ") for text in TEXTS]
    assert 0.8 < sum(titled) / len(titled) < 1


def test_words_of_a_concept_keep_company() -> None:
    boat = next(topic for topic in topics() if topic.names[0] == "boat")
    about = [text for text in TEXTS if len(set(text.split()) & set(boat.forms)) > 12]
    assert about
    for text in about:
        words = re.findall("[a-z]+", text)
        pairs = [
            (before, after)
            for before, after in pairwise(words)
            if before in boat.names and after in boat.forms
        ]
        if pairs:
            break
    else:
        raise AssertionError("no document puts a word of the boat after a name of the boat")


def test_the_corpus_is_wider_than_the_pictures() -> None:
    drawn = {word for topic in topics() if topic.scenes for word in topic.forms}
    assert len(corpus_words(n_documents=50)) > 2.5 * len(drawn) > 1000
    assert len([topic for topic in topics() if not topic.scenes]) > 100


def test_topics_have_all_their_words() -> None:
    for topic in topics():
        assert topic.names
        assert topic.parts
        assert topic.deeds
        assert topic.places
    assert all(members for members in kinds().values())
    assert all(len(members) >= 4 for members in neighbours().values())


def test_nearly_every_word_is_one_token() -> None:
    tokenizer = train_tokenizer(6144)
    words = corpus_words(n_documents=100)
    single = [word for word in words if len(tokenizer.encode(f" {word}")) == 1]
    assert len(single) / len(words) > 0.99
    text = " a boat, quite \u00e9l\u00e9gant"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_inflection() -> None:
    assert [plural(noun) for noun in ("boat", "fly", "bus", "sheep", "leaf", "toy")] == [
        "boats", "flies", "buses", "sheep", "leaves", "toys"
    ]  # fmt: skip
    assert [third_person(verb) for verb in ("swim", "fly", "catch", "go")] == [
        "swims", "flies", "catches", "goes"
    ]  # fmt: skip
    verbs = ("run", "lie", "float", "hover", "glow", "sail", "bake", "sit", "visit")
    assert [participle(verb) for verb in verbs] == [
        "running", "lying", "floating", "hovering", "glowing", "sailing", "baking", "sitting",
        "visiting",
    ]  # fmt: skip
    assert [article(word) for word in ("apple", "unicorn", "boat")] == ["an", "a", "a"]
