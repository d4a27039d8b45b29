"""Which words of a caption are attributed: the first noun, then the content words after it.

The paper takes "the first noun" and does not say how it is found. Here a word is a noun unless
Brill's lexicon (Brown corpus and Penn Treebank; `builder/lexicon`) says that it is most often
something else; so names and new words are nouns, unless they end as adverbs, participles or
adjectives do. No download, no model; 0.1 ms a caption. The rule is a function
`caption -> list[Word]`: any other of that shape can take its place (`NOUN_RULES`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

PARTS_OF_SPEECH = ("noun", "verb", "adjective", "adverb", "function")
_WORD = re.compile(r"[^\W\d_]+(?:(?!['’]s\b)['’-][^\W\d_]+)*")  # a possessive 's is left out
_SUFFIXES = {"ly": "adverb", "ing": "verb", "ed": "verb", "ous": "adjective", "ful": "adjective"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a caption: its text and the characters [start, stop) that it takes."""

    text: str
    start: int
    stop: int
    part_of_speech: str


@dataclass(frozen=True, slots=True)
class Target:
    """A word whose logit is attributed.

    Attributes:
        position: Index in the caption's tokens of the word's first token, which is the target
            token (of a noun of several tokens the paper takes the first).
    """

    word: str
    char_start: int
    position: int


NounRule = Callable[[str], Sequence[Word]]


@cache
def _lexicon() -> Mapping[str, str]:
    text = resources.files("builder").joinpath("lexicon/english.txt").read_text("utf-8")
    kinds: dict[str, str] = {}
    kind = ""
    for line in text.splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif not line.startswith("#"):
            kinds.update(dict.fromkeys(line.split(), kind))
    return kinds


def part_of_speech(word: str) -> str:
    """Say what a word most often is: one of PARTS_OF_SPEECH."""
    folded = word.lower().replace("’", "'")
    if len(folded) < 2:
        return "function"
    known = _lexicon().get(folded)
    if known is not None:
        return known
    for suffix, kind in _SUFFIXES.items():
        if folded.endswith(suffix) and len(folded) > len(suffix) + 2:
            return kind
    return "noun"


def lexicon_words(caption: str) -> list[Word]:
    """Split a caption into words with their parts of speech."""
    return [
        Word(match.group(), match.start(), match.end(), part_of_speech(match.group()))
        for match in _WORD.finditer(caption)
    ]


NOUN_RULES: Mapping[str, NounRule] = {"lexicon": lexicon_words}


def choose_words(words: Sequence[Word], n_targets: int) -> list[Word]:
    """Take the first noun, then the content words after it, `n_targets` at most.

    A caption without a noun gives its first content word; one of function words alone, none.
    """
    content = [word for word in words if word.part_of_speech != "function"]
    first = next((i for i, word in enumerate(content) if word.part_of_speech == "noun"), 0)
    return content[first : first + n_targets]


def find_targets(
    pieces: Sequence[str], n_targets: int = 1, rule: NounRule = lexicon_words
) -> list[Target]:
    """Find the target tokens of a caption.

    Args:
        pieces: The text that each token of the caption adds; joined, they are the caption.
        n_targets: Targets wanted, >= 1.
        rule: Splits the caption into words.

    Raises:
        ValueError: `n_targets` is below 1.
    """
    if n_targets < 1:
        raise ValueError(f"n_targets must be >= 1, got {n_targets}")
    starts, length = [], 0
    for piece in pieces:
        starts.append(length)
        length += len(piece)
    targets = []
    for word in choose_words(rule("".join(pieces)), n_targets):
        position = max(i for i, start in enumerate(starts) if start <= word.start)
        targets.append(Target(word.text, word.start, position))
    return targets
