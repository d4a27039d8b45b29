"""The search by concept as static files: small JSON shards that a page fetches as one types.

Concepts are sorted by code point and cut into shards of `SHARD_SIZE`. `find/index.json` holds the
first concept of each shard, so that a prefix leads to the few shards that can hold it, and for
every prefix that spans more than `N_WHOLE_SHARDS` of them its best concepts at once. Images are cut
likewise by their numbers as text. `assets/atlas/find.js` reads all this.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atlas_db.records import AtlasInfo, ConceptSummary, ImageSummary

SHARD_SIZE = 256

#: A prefix in so many shards is answered from the shards themselves, a shorter one from the index.
N_WHOLE_SHARDS = 2
N_HEAD = 8

#: Characters of an image's caption that a suggestion shows.
_CAPTION_CHARACTERS = 60

Entry = list[Any]


@dataclass(frozen=True, slots=True)
class FindFile:
    """One file of the index."""

    address: str
    content: bytes


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def concept_entry(concept: ConceptSummary) -> Entry:
    """Write a concept as [concept, units, slug, stem]; what equals the concept is left out."""
    entry: Entry = [concept.concept, concept.n_units]
    slug = concept.slug if concept.slug != concept.concept else 0
    stem = concept.stem if concept.stem != concept.concept else 0
    if slug or stem:
        entry.append(slug)
    if stem:
        entry.append(stem)
    return entry


def image_entry(image: ImageSummary) -> Entry:
    """Write an image as [number as text, caption]."""
    return [str(image.image_id), image.caption[:_CAPTION_CHARACTERS]]


def _shards(name: str, entries: Sequence[Entry]) -> tuple[list[str], list[FindFile]]:
    firsts, files = [], []
    for number, start in enumerate(range(0, len(entries), SHARD_SIZE)):
        part = entries[start : start + SHARD_SIZE]
        firsts.append(part[0][0])
        files.append(FindFile(f"find/{name}{number}.json", _json(part)))
    return firsts, files


def _order(entry: Entry, prefix: str) -> tuple[bool, int, str]:
    return entry[0] != prefix, -entry[1], entry[0]


def _heads(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Collect the best entries of each prefix that spans many shards."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        for length in (1, 2, 3):
            if len(entry[0]) >= length:
                places[entry[0][:length]].append(place)
    heads = {}
    for prefix, found in places.items():
        spanned = found[-1] // SHARD_SIZE - found[0] // SHARD_SIZE + 1
        if spanned > N_WHOLE_SHARDS:
            # The prefix itself comes first where it is a concept, as among all suggestions.
            best = sorted((entries[place] for place in found), key=lambda one: _order(one, prefix))
            heads[prefix] = best[:N_HEAD]
    return heads


def find_files(
    info: AtlasInfo,
    concepts: Iterable[ConceptSummary],
    images: Iterable[ImageSummary],
    *,
    layers: Sequence[int],
    notable: Sequence[int],
    group: int = 0,
    is_partial: bool = False,
) -> list[FindFile]:
    """Make all files of the search.

    Args:
        layers: Those whose units have pages.
        notable: Uids among which "random" chooses.
        group: Units on a shared page, 0 without such pages.
        is_partial: Some units have no page of their own; `explore/flags.u8` says which.
    """
    entries = sorted((concept_entry(concept) for concept in concepts), key=lambda entry: entry[0])
    pictures = sorted((image_entry(image) for image in images), key=lambda entry: entry[0])
    firsts, files = _shards("concepts", entries)
    image_firsts, image_files = _shards("images", pictures)
    index = {
        "units_per_layer": info.units_per_layer,
        "n_layers": info.n_layers,
        "layers": list(layers) if len(layers) < info.n_layers else None,
        "concepts": firsts,
        "images": image_firsts,
        "heads": _heads(entries),
        "group": group,
        "is_partial": is_partial,
        "notable": list(notable),
    }
    return [FindFile("find/index.json", _json(index)), *files, *image_files]
