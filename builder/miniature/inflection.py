"""The few English inflections that the picture world's captions and corpus need."""

from __future__ import annotations

_VOWELS = "aeiou"
_PLURALS = {
    "man": "men", "woman": "women", "snowman": "snowmen", "gentleman": "gentlemen",
    "child": "children", "sheep": "sheep", "fish": "fish", "mouse": "mice", "foot": "feet",
    "goose": "geese", "leaf": "leaves", "loaf": "loaves", "calf": "calves", "shelf": "shelves",
    "hoof": "hooves", "scarf": "scarves", "fungus": "fungi", "ox": "oxen", "trout": "trout",
    "salmon": "salmon", "cattle": "cattle", "aircraft": "aircraft", "shrimp": "shrimp",
    "knife": "knives", "wolf": "wolves", "buffalo": "buffaloes", "tomato": "tomatoes",
    "potato": "potatoes", "wife": "wives", "person": "people", "deer": "deer", "squid": "squid",
    "elf": "elves", "thief": "thieves", "hero": "heroes", "tooth": "teeth", "child's": "children's",
    "cactus": "cacti", "tuna": "tuna", "bison": "bison", "bus": "buses", "half": "halves",
}  # fmt: skip
#: Verbs of two syllables whose last consonant stays single, against the rule for short verbs.
_SINGLE = {
    *("gather", "shelter", "flicker", "glisten", "flutter", "hover", "paddle", "rustle", "whisper"),
    *("open", "enter", "wander", "order", "offer", "cover", "water", "deliver", "carry", "burrow"),
    *("shiver", "chatter", "glitter", "harbor", "anchor", "ripen", "soften", "sweeten", "darken"),
    *("listen", "trumpet", "visit", "furnish", "ticket", "bellow", "follow", "travel"),
}


def plural(noun: str) -> str:
    """Give the plural of a singular noun."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in _VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def third_person(verb: str) -> str:
    """Give the third person singular, present, of a verb's base form."""
    if verb in ("be", "have"):
        return {"be": "is", "have": "has"}[verb]
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2:-1] not in _VOWELS:
        return verb[:-1] + "ies"
    return verb + "s"


def participle(verb: str) -> str:
    """Give the present participle of a verb's base form."""
    if verb in ("lie", "die", "tie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + "ing"
    short = len(verb) >= 3 and verb[-1] not in _VOWELS + "wxy" and verb[-2] in _VOWELS
    if short and verb[-3] not in _VOWELS and verb not in _SINGLE and _one_syllable(verb):
        return verb + verb[-1] + "ing"
    return verb + "ing"


def article(word: str) -> str:
    """Choose "a" or "an" for the word that follows."""
    return "an" if word[0] in _VOWELS and not word.startswith(("uni", "use", "eu", "one")) else "a"


def _one_syllable(verb: str) -> bool:
    groups = 0
    for before, letter in zip(" " + verb, verb, strict=False):
        groups += letter in _VOWELS and before not in _VOWELS
    return groups == 1
