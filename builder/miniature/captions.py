"""Captions of a picture: five phrases from a varied grammar, to be read after "A picture of"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from builder.miniature.concepts import Concept, scenes
from builder.miniature.inflection import article, plural

N_CAPTIONS = 5
# No "a pair of": the first noun of a caption should be the thing.
_COUNTS = {2: ("two", "two", "two", "the two"), 3: ("three",), 4: ("four", "several"),
           5: ("five", "many")}  # fmt: skip
#: Concepts whose colour goes without saying.
_UNTOLD = {
    *("rainbow", "pizza", "burger", "bread", "carrot", "banana", "penguin", "zebra", "giraffe"),
    *("pig", "snowman", "turtle", "palm", "tree", "cactus", "elephant", "crab", "sun", "moon"),
    *("man", "woman"),
}
_NEAR = ("near", "next to", "beside", "by")


@dataclass(frozen=True)
class Group:
    """The things of one concept in a picture: how many, in which colour, how large for their kind.

    `colour` is "" when they differ; `scale` is 1 for the concept's usual size.
    """

    concept: Concept
    count: int
    colour: str
    scale: float


def write_captions(
    scene: str, groups: tuple[Group, ...], rng: np.random.Generator
) -> tuple[str, ...]:
    """Write five captions; the first group is the picture's main subject."""
    return tuple(_caption(scene, groups, rng) for _ in range(N_CAPTIONS))


def _caption(scene: str, groups: tuple[Group, ...], rng: np.random.Generator) -> str:
    place = _place(scene, groups[0].concept, rng)
    subject = _noun_phrase(groups[0], rng)
    doing = str(rng.choice(groups[0].concept.shown))
    other = _noun_phrase(groups[int(rng.integers(1, len(groups)))], rng) if groups[1:] else ""
    forms = [f"{subject} {place}", f"{subject} {doing} {place}", f"{subject} {doing} {place}"]
    if other:
        near = str(rng.choice(_NEAR))
        forms += [
            f"{subject} and {other} {place}",
            f"{subject} and {other}",
            f"{subject} {doing} {place} with {other}",
            f"{subject} {doing} {near} {other}",
            f"{subject} {near} {other} {place}",
        ]
    if rng.random() < 0.06:
        return f"{_opening(scene)} with {subject}"
    return str(rng.choice(forms))


def _place(scene: str, concept: Concept, rng: np.random.Generator) -> str:
    """Say where a thing is: what is in the air over a field is not "on the grass"."""
    if concept.habitats[scene] != "sky" or scene == "sky":
        return str(rng.choice(scenes()[scene].phrases))
    word = scenes()[scene].word
    if scene == "night":
        return str(rng.choice(("in the night sky", "at night", "in the dark sky")))
    return str(
        rng.choice(("in the sky", f"over the {word}", f"above the {word}", f"high over the {word}"))
    )


def _opening(scene: str) -> str:
    opening = scenes()[scene].opening
    if scene in ("sea", "underwater", "snow", "sky"):
        return f"the {opening}"
    return f"{article(opening)} {opening}"


def _noun_phrase(group: Group, rng: np.random.Generator) -> str:
    noun = group.concept.name
    if rng.random() < 0.08:
        noun = group.concept.synonyms[0]
    adjectives = []
    if rng.random() < 0.2 and abs(group.scale - 1) > 0.14:
        adjectives.append(
            str(rng.choice(("big", "large") if group.scale > 1 else ("small", "little")))
        )
    if group.colour and group.concept.name not in _UNTOLD and rng.random() < 0.5:
        adjectives.append(group.colour)
    if group.count > 1:
        words = [str(rng.choice(_COUNTS[min(group.count, 5)])), *adjectives, plural(noun)]
        return " ".join(words)
    words = [*adjectives, noun]
    if noun in ("sun", "moon") and rng.random() < 0.7:
        return " ".join(["the", *words])
    if noun == "bread":
        words = ["a loaf of", *words] if rng.random() < 0.5 else ["some", *words]
        return " ".join(words)
    return " ".join([article(words[0]), *words])
