"""Which words belong to a category, written down before any result is seen.

A word list is a JSON file, category to words::

    {"boat": {"names": ["boat", "dinghy"], "words": ["boat", "dinghy", "sail", "harbor"]},
     "hot dog": ["hot dog", "sausage", "bun"]}

`names` are what one may call the thing (captions are held to them), `words` what belongs to it
(decoded tokens are held to these); a plain list gives words, and the category's own name is its
name. The data set may bring one as `annotations/words_SPLIT.json`, as the miniature's does. A
category that the list lacks, or all of them where there is no list, has its name with its
inflections; of a name of several words ("traffic light") the last stands for it among tokens,
unless that names another category ("hot dog").

Words are compared as `atlas_db.concepts` folds and stems them, so "boats" and " Boat" are "boat".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from atlas_db.concepts import fold, stem
from atlas_db.errors import DatasetError
from builder.coco import CocoDataset
from builder.miniature.inflection import plural

#: A category of this supercategory is where a picture plays, not a thing in it.
SCENE = "scene"
_WORD = re.compile(r"[^\W\d_]+")
_MIN_LETTERS = 2

Phrase = tuple[str, ...]


@lru_cache(maxsize=2**17)
def token_stem(token: str) -> str | None:
    """Fold and stem a token: None where it is not one word of two letters or more."""
    folded = fold(token)
    if folded is None or len(folded) < _MIN_LETTERS or not _WORD.fullmatch(folded):
        return None
    return stem(folded)


def text_stems(text: str) -> Phrase:
    """Give the stems of a text's words, in their order."""
    stems = (token_stem(word) for word in _WORD.findall(text))
    return tuple(word for word in stems if word is not None)


@dataclass(frozen=True, slots=True)
class CategoryWords:
    """A category and its words, as stems.

    Attributes:
        names: What it may be called, each one stem or several.
        words: Stems of what belongs to it.
    """

    category_id: int
    name: str
    supercategory: str
    names: frozenset[Phrase]
    words: frozenset[str]

    @property
    def is_scene(self) -> bool:
        """Whether it is a place and not a thing."""
        return self.supercategory == SCENE

    def is_named_in(self, stems: Phrase) -> bool:
        """Say whether a text, as stems, has one of the category's names."""
        return any(_holds(stems, name) for name in self.names)


def _holds(stems: Phrase, phrase: Phrase) -> bool:
    if len(phrase) == 1:
        return phrase[0] in stems
    n = len(phrase)
    return any(stems[i : i + n] == phrase for i in range(len(stems) - n + 1))


@dataclass(frozen=True, slots=True)
class WordLists:
    """The words of every category.

    Attributes:
        by_id: Category id to its words.
        source: Where they come from, in a sentence for the report.
        sha256: Of the list's file; "" for names alone.
    """

    by_id: Mapping[int, CategoryWords]
    source: str
    sha256: str

    def named_in(self, text: str, among: Iterable[int] | None = None) -> set[int]:
        """Give the categories (of `among`, or of all) that a text names."""
        stems = text_stems(text)
        ids = self.by_id if among is None else among
        return {id_ for id_ in ids if self.by_id[id_].is_named_in(stems)}


def shipped_list(dataset: CocoDataset) -> Path | None:
    """Find the word list that comes with a data set."""
    path = dataset.folder / "annotations" / f"words_{dataset.split}.json"
    return path if path.is_file() else None


def word_lists(categories: Sequence[Mapping[str, Any]], path: Path | None = None) -> WordLists:
    """Read the words of categories from a list, or make them of their names.

    Args:
        categories: Rows of the table `categories`.
        path: A word list; None uses names alone.

    Raises:
        DatasetError: The file is not JSON of the stated form, or names a category that is none.
    """
    listed, sha256 = ({}, "") if path is None else _read(path, {c["name"] for c in categories})
    own_names = {text_stems(row["name"]) for row in categories}
    by_id = {
        row["category_id"]: _words_of(row, listed.get(row["name"]), own_names) for row in categories
    }
    n_listed = sum(row["name"] in listed for row in categories)
    source = (
        f"Words of {n_listed} of {len(by_id)} categories come from {path.name}."
        if path is not None
        else "No word list is given: a category's words are its name and its inflections."
    )
    return WordLists(by_id, source, sha256)


def _words_of(row: Mapping[str, Any], listed: Any, own_names: set[Phrase]) -> CategoryWords:
    name_forms = {text_stems(form) for form in (row["name"], plural(row["name"]))}
    if listed is None:
        words = _tokens_of(name_forms, own_names)
        names = name_forms
    else:
        given = {"words": listed} if isinstance(listed, list) else listed
        names = {text_stems(name) for name in given.get("names", ())} or name_forms
        words = _tokens_of({text_stems(word) for word in given["words"]}, own_names)
    return CategoryWords(
        row["category_id"],
        row["name"],
        row["supercategory"],
        frozenset(name for name in names if name),
        frozenset(words),
    )


def _tokens_of(phrases: Iterable[Phrase], own_names: set[Phrase]) -> set[str]:
    """Give the single stems that may stand for phrases."""
    found = set()
    for phrase in phrases:
        if len(phrase) == 1 or (len(phrase) > 1 and phrase[-1:] not in own_names):
            found.add(phrase[-1])
    return found


def _read(path: Path, known: set[str]) -> tuple[dict[str, Any], str]:
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no word list: {error}. {_WANTED}") from None
    if not isinstance(content, dict) or not all(map(_is_entry, content.values())):
        raise DatasetError(f"{path} is no word list. {_WANTED}")
    strangers = sorted(set(content) - known)
    if strangers:
        raise DatasetError(
            f"{path} has words for {strangers[0]!r}, which is no category of the data set. "
            f"Its categories are {', '.join(sorted(known)[:5])}, ..."
        )
    return content, hashlib.sha256(raw).hexdigest()


_WANTED = 'Wanted JSON: {"category": {"names": ["..."], "words": ["..."]}} or {"category": [...]}.'


def _is_entry(entry: Any) -> bool:
    def is_words(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)

    if isinstance(entry, dict):
        return (
            set(entry) <= {"names", "words"}
            and all(map(is_words, [*entry.values()]))
            and ("words" in entry)
        )
    return is_words(entry)
