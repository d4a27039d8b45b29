"""The concepts and scenes of the picture world, with the words that belong to each.

The tables `concepts.txt` and `scenes.txt` beside this module were written before any model was
trained: they say what is drawn where, and which words count as a concept's own (names, kinds,
synonyms, parts, deeds, places) in the corpus and in every check of the miniature.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from builder.miniature.inflection import participle, plural, third_person

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Concept:
    """One kind of object: how it is drawn and the words that belong to it (base forms).

    `size` is the side of the square it is drawn in, as a part of the picture's height; `habitats`
    maps scenes to the zone of the scene it appears in; `shown` are the participles of captions.
    """

    name: str
    kind: str
    size: float
    colours: tuple[str, ...]
    habitats: dict[str, str]
    synonyms: tuple[str, ...]
    parts: tuple[str, ...]
    shown: tuple[str, ...]
    deeds: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def words(self) -> frozenset[str]:
        """All words of the concept with their inflections, the kind left out (lower case)."""
        return _inflected((self.name, *self.synonyms, *self.parts, *self.places), self.deeds)


@dataclass(frozen=True)
class Scene:
    """One kind of place: its phrases in captions and the words that belong to it."""

    name: str
    word: str
    phrases: tuple[str, ...]
    names: tuple[str, ...]
    parts: tuple[str, ...]
    deeds: tuple[str, ...]
    opening: str

    @property
    def words(self) -> frozenset[str]:
        """All words of the scene with their inflections (lower case)."""
        return _inflected((self.word, *self.names, *self.parts), self.deeds)


@cache
def concepts() -> dict[str, Concept]:
    """Read the concepts, by name, in the order of the table (which numbers the categories)."""
    return {row[0]: _concept(row) for row in _rows("concepts.txt", 9)}


@cache
def scenes() -> dict[str, Scene]:
    """Read the scenes, by name, in the order of the table."""
    found = {}
    for name, word, phrases, names, parts, deeds, opening in _rows("scenes.txt", 7):
        found[name] = Scene(
            name=name,
            word=word,
            phrases=tuple(phrase.strip() for phrase in phrases.split(";")),
            names=tuple(names.split()),
            parts=tuple(parts.split()),
            deeds=tuple(deeds.split()),
            opening=opening,
        )
    return found


def _concept(row: list[str]) -> Concept:
    name, kind, size, colours, habitats, synonyms, parts, deeds, places = row
    shown, _, other = deeds.partition(";")
    verbs = [verb.partition("=") for verb in shown.split()]
    return Concept(
        name=name,
        kind=kind,
        size=float(size),
        colours=tuple(colours.split()),
        habitats=dict(place.split(":", 1) for place in habitats.split()),
        synonyms=tuple(synonyms.split()),
        parts=tuple(parts.split()),
        shown=tuple(word or participle(verb) for verb, _, word in verbs),
        deeds=tuple(verb for verb, _, _ in verbs) + tuple(other.split()),
        places=tuple(places.split()),
    )


def _inflected(nouns: tuple[str, ...], verbs: tuple[str, ...]) -> frozenset[str]:
    words = {form for noun in nouns for form in (noun, plural(noun))}
    for verb in verbs:
        words.update((verb, third_person(verb), participle(verb)))
    return frozenset(words)


def _rows(file: str, n_columns: int) -> list[list[str]]:
    rows = []
    for line in (_FOLDER / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            rows.append([cell.strip() for cell in line.split("|")])
            assert len(rows[-1]) == n_columns, f"{file}: {line}"
    return rows
