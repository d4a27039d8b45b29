"""Which tokens are English words: the interpretability filter's dictionary.

The paper calls a unit interpretable when at least 7 of its 10 tokens are words of at least 3
letters in the SCOWL dictionary, en-US or en-GB (Schwettmann et al. 2023, section 3.1). Two lists
made from SCOWL come with packages: Hunspell's en_US (spylls), and SymSpell's list of 82,765 words,
which is SCOWL crossed with Google Books and has the British spellings. From the latter only words
of `BRITISH_MIN_LETTERS` count, because its shorter ones are mostly abbreviations.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

MIN_LETTERS = 3
BRITISH_MIN_LETTERS = 4
MIN_WORDS = 7

#: Said in the atlas's settings.
DESCRIPTION = (
    f"{MIN_LETTERS} letters or more, in Hunspell's en_US (spylls) as written, in lower case or "
    f"capitalised; or {BRITISH_MIN_LETTERS} letters or more, in SymSpell's SCOWL-derived list "
    "(British spellings)"
)


def is_word(token: str) -> bool:
    """Say whether a token, its surrounding space aside, is a word of at least 3 letters.

    Letter case is not held against it: " River", "RIVER" and " paris" are words.
    """
    text = token.strip()
    if len(text) < MIN_LETTERS or not text.isalpha():
        return False
    lower = text.lower()
    american = _american()
    if any(american.lookup(form) for form in dict.fromkeys((text, lower, lower.capitalize()))):
        return True
    return len(text) >= BRITISH_MIN_LETTERS and lower in _british()


@cache
def _american() -> Any:
    import spylls
    from spylls.hunspell import Dictionary

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # spylls leaves its files to the collector
        return Dictionary.from_files(str(Path(spylls.__path__[0]) / "hunspell/data/en/en_US"))


@cache
def _british() -> frozenset[str]:
    path = files("symspellpy").joinpath("frequency_dictionary_en_82_765.txt")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return frozenset(line.split()[0] for line in lines if line.strip())
