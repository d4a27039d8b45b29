"""What the corpus knows: topics with their words, those that are drawn and those that never are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from builder.miniature.concepts import concepts, scenes
from builder.miniature.inflection import participle, plural, third_person

#: Names without a plural, or that are no countable things.
_MASS = {
    *("water", "snow", "sand", "grass", "wool", "bread", "cattle", "rice", "corn", "wheat"),
    *("barley", "oat", "cheese", "butter", "milk", "juice", "tea", "coffee", "wine", "beer"),
    *("meat", "steak", "bacon", "chocolate", "salt", "sugar", "spice", "pepper", "soup", "ice"),
    *("frost", "winter", "rain", "wind", "lightning", "thunder", "fire", "music", "soccer"),
    *("tennis", "hockey", "baseball", "metal", "iron", "steel", "copper", "gold", "silver"),
    *("glass", "cloth", "cotton", "linen", "silk", "plastic", "porcelain", "money", "police"),
    *("fog", "mist", "haze", "sunlight", "sunshine", "moss", "clover", "spinach", "garlic"),
    *("lettuce", "broccoli", "cocoa", "cider", "whiskey", "porridge", "spaghetti", "pasta"),
    *("cream", "candy", "toffee", "caramel", "honey", "atmosphere", "air", "midnight", "darkness"),
    *("january", "december", "july", "august", "april", "may", "october", "november", "mars"),
    *("venus", "saturn", "timber", "granite", "marble", "crystal", "wood", "armor", "lava"),
    *("lemonade", "soda", "yogurt", "scissors", "trousers", "summer", "autumn", "spring"),
}


@dataclass(frozen=True)
class Topic:
    """A subject of the corpus: names (its own first), parts, deeds (base forms), places, kind.

    `scenes` are the scenes of the picture world where it is drawn; () if it never is.
    """

    kind: str
    names: tuple[str, ...]
    parts: tuple[str, ...]
    deeds: tuple[str, ...]
    places: tuple[str, ...]
    scenes: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """All its words but the kind, names first and twice as often, in base form."""
        return (*self.names, *self.names, *self.parts, *self.deeds, *self.places)

    @property
    def forms(self) -> tuple[str, ...]:
        """All its words with their inflections: what keeps company in a list."""
        nouns = (*self.names, *self.parts)
        found = [*nouns, *(plural(noun) for noun in nouns if noun not in _MASS), *self.names]
        found += [form(deed) for deed in self.deeds for form in (third_person, participle)]
        return (*found, *self.deeds, *self.places)


@cache
def topics() -> tuple[Topic, ...]:
    """Read all topics: the drawn concepts, the scenes, then the topics of `lexicon.txt`."""
    drawn = [
        Topic(
            concept.kind,
            (concept.name, *concept.synonyms),
            concept.parts,
            concept.deeds,
            concept.places,
            tuple(concept.habitats),
        )
        for concept in concepts().values()
    ]
    places = [
        Topic("place", scene.names, scene.parts, scene.deeds, _inhabitants(scene.name)[:6])
        for scene in scenes().values()
    ]
    return (*drawn, *places, *_written())


@cache
def kinds() -> dict[str, tuple[Topic, ...]]:
    """Group the topics by kind."""
    found: dict[str, list[Topic]] = {}
    for topic in topics():
        found.setdefault(topic.kind, []).append(topic)
    return {kind: tuple(members) for kind, members in found.items()}


@cache
def neighbours() -> dict[str, tuple[Topic, ...]]:
    """Group the drawn topics by the scene where they live."""
    return {
        scene: tuple(topic for topic in topics() if scene in topic.scenes) for scene in scenes()
    }


def is_countable(noun: str) -> bool:
    """Tell whether a name takes an article and a plural."""
    return noun not in _MASS


def _inhabitants(scene: str) -> tuple[str, ...]:
    return tuple(name for name, concept in concepts().items() if scene in concept.habitats)


def _written() -> list[Topic]:
    found = []
    path = Path(__file__).parent / "lexicon.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, kind, *cells = (cell.strip() for cell in line.split("|"))
            synonyms, parts, deeds, places = (tuple(cell.split()) for cell in cells)
            found.append(Topic(kind, (name, *synonyms), parts, deeds, places))
    return found
