"""From tokens to concepts: folding, stem families and names that are safe in addresses.

A concept is what is left of a token when its leading space, letter case and Unicode form are
folded away, so that " water", "Water" and "WATER" are one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

_SLUG_LENGTH_MAX = 48
_HASH_LENGTH = 12
_WORD = re.compile(r"[^\W\d_]+")
_PLAIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ENDS_LIKE_A_HASH = re.compile(rf"(^|-)[0-9a-f]{{{_HASH_LENGTH}}}$")
#: Names that Windows keeps to itself, and the name of a folder's own page.
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "index"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in range(10)]
)


def fold(token: str) -> str | None:
    """Fold a token to its concept: NFKC, casefold, white space and controls at the ends off.

    Runs of white space inside become one space. None if nothing is left.
    """
    previous, text = None, token
    while text != previous:
        previous = text
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        text = _strip(" ".join(text.split()))
    return text or None


def _strip(text: str) -> str:
    start, stop = 0, len(text)
    while start < stop and _is_blank(text[start]):
        start += 1
    while stop > start and _is_blank(text[stop - 1]):
        stop -= 1
    return text[start:stop]


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf")


@lru_cache(maxsize=1 << 16)
def stem(concept: str) -> str:
    """Give the stem that names a concept's family (Snowball's English stemmer)."""
    return _stemmer().stemWord(concept)


def text_stems(text: str) -> frozenset[str]:
    """Give the stems of a text's words, runs of letters, folded."""
    return frozenset(stem(word) for word in _WORD.findall(fold(text) or ""))


@lru_cache(maxsize=1)
def _stemmer():  # type: ignore[no-untyped-def]
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def slug(concept: str) -> str:
    """Name a concept for addresses and files: `[a-z0-9-]+`, at most 61 characters.

    A plain word is its own slug. Anything else is its ASCII letters and a hash of the whole, so
    that two concepts never share one, on file systems that ignore case as well.
    """
    is_plain = _PLAIN.fullmatch(concept) and len(concept) <= _SLUG_LENGTH_MAX
    if is_plain and concept not in _RESERVED and not _ENDS_LIKE_A_HASH.search(concept):
        return concept
    ascii_text = unicodedata.normalize("NFKD", concept).encode("ascii", "ignore").decode()
    readable = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower())[:_SLUG_LENGTH_MAX].strip("-")
    digest = hashlib.sha256(concept.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return f"{readable}-{digest}" if readable else digest
