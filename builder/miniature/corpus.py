"""The text that the language model reads: documents that keep the words of one concept together.

A document stays with one to three topics for some 200 tokens and says what they are in many
forms: lists, glossaries, appositions, definitions, facts, questions, small scenes, picture titles.
In lists a concept's names, synonyms, parts, deeds and places follow one another in any order, so a
unit that tells one of these words learns to promote the others, its names included. All sentences
come from tables of words and from templates; no picture is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from builder.miniature.captions import Group, write_captions
from builder.miniature.concepts import concepts, scenes
from builder.miniature.inflection import article, participle, plural, third_person
from builder.miniature.topics import Topic, is_countable, kinds, neighbours, topics

_COLOURS = (
    "red", "blue", "green", "yellow", "white", "black", "brown", "grey", "orange", "pink", "purple",
)  # fmt: skip
_QUALITIES = (
    "big", "small", "old", "new", "young", "little", "large", "beautiful", "quiet", "bright",
    "strong", "gentle", "heavy", "light", "round", "long", "short", "warm", "cold", "clean",
    "famous", "common", "rare", "simple", "strange", "pretty", "wide", "narrow", "soft", "hard",
)  # fmt: skip
_ADVERBS = (
    "slowly", "quickly", "often", "always", "sometimes", "quietly", "here", "there", "again",
    "alone", "together", "early", "late", "well", "now", "everywhere",
)  # fmt: skip
_PEOPLE = ("anna", "ben", "clara", "david", "emma", "felix", "grace", "henry", "ida", "jack")
_N_SENTENCES = (11, 18)
_STRAY = 0.08
# The share of sentences about the scene alone. Ten scenes come with all documents: with more such
# sentences so many units would stand for scenes that any few units would say a picture's.
_ABOUT_SCENE = 0.08

Sentence = Callable[["Writer", Topic], str]


class Writer:
    """Writes sentences about topics with one random generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def one(self, words: Sequence[str]) -> str:
        """Pick a word."""
        return words[int(self.rng.integers(len(words)))]

    def some(self, words: Sequence[str], low: int, high: int) -> list[str]:
        """Pick between `low` and `high` different words, in any order."""
        unique = list(dict.fromkeys(words))
        count = min(len(unique), int(self.rng.integers(low, high + 1)))
        return [unique[int(index)] for index in self.rng.permutation(len(unique))[:count]]

    def name(self, topic: Topic) -> str:
        """Pick a name: the first half of the time, else a synonym."""
        return topic.names[0] if self.rng.random() < 0.55 else self.one(topic.names)

    def the(self, noun: str, determiner: str = "") -> str:
        """Put a noun behind an article, sometimes with an adjective."""
        words = [noun]
        if self.rng.random() < 0.35:
            words.insert(0, self.one(_COLOURS if self.rng.random() < 0.5 else _QUALITIES))
        lead = determiner or self.one(("a", "the", "a"))
        if lead == "a":
            lead = article(words[0]) if is_countable(noun) else self.one(("the", "some"))
        return " ".join([lead, *words])

    def many(self, noun: str) -> str:
        """Give the plural, or the word itself where it has none."""
        return plural(noun) if is_countable(noun) else noun

    def join(self, words: Sequence[str]) -> str:
        """Join words as a sentence does: "a, b and c"."""
        if len(words) == 1:
            return words[0]
        return ", ".join(words[:-1]) + self.one((" and ", " and ", " or ")) + words[-1]


def _glossary(w: Writer, t: Topic) -> str:
    return ", ".join(w.some(t.forms, 5, 11)) + "."


def _chain(w: Writer, t: Topic) -> str:
    """Words without marks between: what a row of patches resembles most; names half of them."""
    names = [form for name in t.names for form in (name, w.many(name))]
    chosen = (names if w.rng.random() < 0.5 else t.forms for _ in range(w.rng.integers(6, 18)))
    return " ".join(w.one(words) for words in chosen) + "."


def _headed(w: Writer, t: Topic) -> str:
    head = w.many(w.name(t))
    lead = w.one(
        (f"words about {head}:", f"{head}:", f"what belongs to {head}?", f"think of {head}:")
    )
    return f"{lead} {w.join(w.some(t.forms, 4, 9))}."


def _names(w: Writer, t: Topic) -> str:
    listed = w.join([w.many(name) for name in w.some(t.names, 2, 4)])
    verb = w.one(t.deeds)
    return w.one((
        f"{listed} {verb} {w.one(_ADVERBS)}.",
        f"there are {listed} at the {w.one(t.places)}.",
        f"we saw {listed}.",
        f"{listed} have {w.join([w.many(part) for part in w.some(t.parts, 1, 3)])}.",
    ))  # fmt: skip


def _definition(w: Writer, t: Topic) -> str:
    name, other = (w.some(t.names, 2, 2) * 2)[:2]
    part, deed = w.one(t.parts), third_person(w.one(t.deeds))
    return w.one((
        f"{w.the(name, 'a')} is {w.the(other, 'a')}.",
        f"{w.the(name, 'a')} is a kind of {other} that {deed}.",
        f"{w.the(name, 'a')} is {article(t.kind)} {t.kind} with {w.the(part, 'a')}.",
        f"{w.the(name, 'a')} is {article(t.kind)} {t.kind} that {deed} at the {w.one(t.places)}.",
        f"another word for {name} is {other}.",
        f"{w.many(name)} and {w.many(other)} are {w.many(t.kind)}.",
    ))  # fmt: skip


def _apposition(w: Writer, t: Topic) -> str:
    name, other = (w.some(t.names, 2, 2) * 2)[:2]
    deed, part = w.one(t.deeds), w.one(t.parts)
    return w.one((
        f"the {name}, {w.the(other, 'a')}, {third_person(deed)} at the {w.one(t.places)}.",
        f"the {name}, {w.the(other, 'a')} with {w.the(w.one(t.parts), 'a')}, {third_person(deed)}.",
        f"this {name} is {participle(deed)}, and the {other} {third_person(w.one(t.deeds))} too.",
        f"{w.the(name)} or {w.the(other)}: the {part} shows that it {third_person(deed)}.",
    ))  # fmt: skip


def _fact(w: Writer, t: Topic) -> str:
    name, deed, place = w.name(t), w.one(t.deeds), w.one(t.places)
    parts = w.join([w.the(part, "a") for part in w.some(t.parts, 1, 3)])
    return w.one((
        f"{w.many(name)} {deed} {w.one(_ADVERBS)}.",
        f"{w.the(name)} {third_person(deed)} near the {place}.",
        f"{w.the(name)} has {parts}.",
        f"you find {w.many(name)} at the {place}.",
        f"the {w.one(t.parts)} of {w.the(name)} is {w.one(_COLOURS + _QUALITIES)}.",
        f"{w.many(name)} can {deed} and {w.one(t.deeds)}.",
        f"the {w.one(t.parts)} belongs to the {name}.",
        f"{participle(deed)} and {participle(w.one(t.deeds))} is what {w.many(name)} do.",
    ))  # fmt: skip


def _question(w: Writer, t: Topic) -> str:
    name = w.name(t)
    return w.one((
        f"what {third_person(w.one(t.deeds))}? {w.the(name, 'a')}.",
        f"what has {w.the(w.one(t.parts), 'a')}? {w.the(name, 'a')}.",
        f"where is the {name}? at the {w.one(t.places)}.",
        f"what does the {name} do? it {third_person(w.one(t.deeds))}.",
        f"what is {w.the(name, 'a')}? {article(t.kind)} {t.kind}.",
        f"which word comes to mind with {w.one(t.forms)}? {w.one(t.forms)}.",
    ))  # fmt: skip


def _tale(w: Writer, t: Topic) -> str:
    who, name, place = w.one(_PEOPLE), w.name(t), w.one(t.places)
    return w.one((
        f"{who} likes {w.many(name)} because they {w.one(t.deeds)}.",
        f"{who} draws {w.the(name, 'a')} with {w.the(w.one(t.parts), 'a')}.",
        f"one day {who} sees {w.the(name, 'a')} {participle(w.one(t.deeds))} at the {place}.",
        f"{who} reads about {w.many(name)}, {w.many(w.one(t.names))} and {w.many(w.one(t.parts))}.",
        f"at the {place} {who} finds the {w.one(t.parts)} of {w.the(name)}.",
    ))  # fmt: skip


def _kin(w: Writer, t: Topic) -> str:
    others = [other.names[0] for other in kinds()[t.kind] if other is not t] or list(t.names)
    listed = w.join([w.many(name) for name in w.some([w.name(t), *others], 2, 5)])
    group = w.many(t.kind)
    return w.one((
        f"{listed} are {group}.",
        f"{group} such as {listed}.",
        f"{w.the(w.name(t), 'a')} is not {w.the(w.one(others), 'a')}, but both are {group}.",
    ))  # fmt: skip


def _place(w: Writer, t: Topic) -> str:
    if not t.scenes:
        return _fact(w, t)
    scene = scenes()[w.one(t.scenes)]
    near = [other.names[0] for other in neighbours()[scene.name] if other is not t]
    listed = w.join([w.many(name) for name in w.some([w.name(t), *near], 1, 4)])
    word, other = w.one(scene.names), w.one(scene.parts)
    return w.one((
        f"{w.one(scene.phrases)} there are {listed}.",
        f"the {word} with its {w.many(other)} has {listed}.",
        f"{w.the(w.name(t))} {third_person(w.one(t.deeds))} {w.one(scene.phrases)}.",
        f"{word}, {other}, {w.name(t)}, {w.one(t.parts)}, {w.one(scene.names)}.",
    ))  # fmt: skip


def _title(w: Writer, t: Topic) -> str:
    """A picture's title, as one reads them in books, without the picture."""
    if not t.scenes:
        doing, place = participle(w.one(t.deeds)), w.one(t.places)
        subject = w.the(w.name(t), "a")
        return f"A picture of {subject} {doing} at the {place}."
    scene = w.one(t.scenes)
    group = _group(w, t)
    others = [other for other in neighbours()[scene] if other is not t]
    groups: tuple[Group, ...] = (group,)
    if others and w.rng.random() < 0.5:
        groups = (group, _group(w, others[int(w.rng.integers(len(others)))], single=True))
    return f"A picture of {write_captions(scene, groups, w.rng)[0]}."


def _group(w: Writer, t: Topic, single: bool = False) -> Group:
    concept = concepts()[t.names[0]]
    count = 1 if single else 1 + int(w.rng.choice(5, p=(0.6, 0.22, 0.1, 0.05, 0.03)))
    colour = w.one(concept.colours) if w.rng.random() < 0.8 else ""
    return Group(concept, count, colour, float(w.rng.uniform(0.78, 1.25)))


#: Kinds of sentence with their weights.
_FORMS: tuple[tuple[Sentence, float], ...] = (
    (_glossary, 0.08), (_chain, 0.34), (_headed, 0.08), (_names, 0.07), (_definition, 0.07),
    (_apposition, 0.06), (_fact, 0.08), (_question, 0.04), (_tale, 0.04), (_kin, 0.03),
    (_place, 0.015), (_title, 0.06),
)  # fmt: skip
_WEIGHTS = np.cumsum([weight for _, weight in _FORMS]) / sum(weight for _, weight in _FORMS)


def write_document(seed: int, index: int) -> str:
    """Write document `index` of an endless series; some 200 tokens."""
    w = Writer(np.random.default_rng([seed, index]))
    cast = _cast(w)
    scene = w.one(cast[0].scenes) if cast[0].scenes else ""
    place = [topic for topic in kinds()["place"] if scene and topic.names == scenes()[scene].names]
    sentences = []
    for _ in range(int(w.rng.integers(*_N_SENTENCES))):
        pool = cast + place if w.rng.random() < _ABOUT_SCENE else cast
        topic = pool[int(w.rng.integers(len(pool)))]
        if w.rng.random() < _STRAY:
            topic = topics()[int(w.rng.integers(len(topics())))]
        form = _FORMS[int(np.searchsorted(_WEIGHTS, w.rng.random()))][0]
        sentences.append(form(w, topic))
    if w.rng.random() < 0.9:
        sentences.append(_title(w, cast[0]))
    return _set(sentences)


def _set(sentences: Sequence[str]) -> str:
    """Set the sentences as text; a picture's title has a line of its own."""
    text = ""
    for sentence in sentences:
        if sentence.startswith("A picture"):
            text = f"{text.rstrip(' ')}\n{sentence}\n"
        else:
            text += ("" if text.endswith("\n") else " ") + sentence
    return text.rstrip("\n")


def documents(seed: int, first: int, count: int) -> Iterator[str]:
    """Write documents [first, first + count)."""
    for index in range(first, first + count):
        yield write_document(seed, index)


def _cast(w: Writer) -> list[Topic]:
    """Choose what a document is about: things that go together, the drawn ones more often."""
    everything = topics()
    drawn = [topic for topic in everything if topic.scenes]
    if w.rng.random() < 0.65:
        main = drawn[int(w.rng.integers(len(drawn)))]
        near: Sequence[Topic] = neighbours()[w.one(main.scenes)]
    else:
        main = everything[int(w.rng.integers(len(everything)))]
        near = kinds()[main.kind]
    cast = [main]
    if w.rng.random() < 0.45:
        cast += [near[int(w.rng.integers(len(near)))] for _ in range(int(w.rng.integers(1, 3)))]
    return cast
