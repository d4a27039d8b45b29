"""The shards: complete, sorted, and with heads for prefixes that span many of them."""

import json
from itertools import product

from atlas_site.find_index import N_HEAD, N_WHOLE_SHARDS, SHARD_SIZE, concept_entry, find_files

from atlas_db.records import ConceptSummary, ImageSummary


def _concept(
    word: str, n_units: int, stem: str | None = None, slug: str | None = None
) -> ConceptSummary:
    return ConceptSummary(word, slug or word, stem or word, n_units, 1, 0.5)


def _files(info, concepts: list[ConceptSummary], images: list[ImageSummary]) -> dict[str, object]:
    made = find_files(info, concepts, images, layers=range(info.n_layers), notable=[5, 7])
    return {file.address: json.loads(file.content) for file in made}


def test_entries_leave_out_what_equals_the_concept() -> None:
    assert concept_entry(_concept("water", 3)) == ["water", 3]
    assert concept_entry(_concept("boats", 3, stem="boat")) == ["boats", 3, 0, "boat"]
    assert concept_entry(_concept("<b>", 3, slug="b-0123")) == ["<b>", 3, "b-0123"]


def test_every_concept_lies_in_the_shard_that_the_index_names(atlas_info) -> None:
    words = ["".join(letters) for letters in product("abcdefgh", repeat=4)]
    concepts = [_concept(word, index % 97) for index, word in enumerate(words)]
    files = _files(atlas_info, list(reversed(concepts)), [])
    index = files["find/index.json"]
    firsts = index["concepts"]
    assert firsts == sorted(firsts)
    for word in words:
        shard = max(place for place, first in enumerate(firsts) if first <= word)
        assert word in {entry[0] for entry in files[f"find/concepts{shard}.json"]}
    assert max(len(files[f"find/concepts{n}.json"]) for n in range(len(firsts))) == SHARD_SIZE


def test_heads_hold_the_best_of_every_wide_prefix(atlas_info) -> None:
    words = ["".join(letters) for letters in product("abcdefgh", repeat=4)]
    units = {word: (index * 7919) % 9973 for index, word in enumerate(words)}
    files = _files(atlas_info, [_concept(word, units[word]) for word in words], [])
    heads = files["find/index.json"]["heads"]
    # 512 words begin with "a": two shards; 64 with "ab". With 8 letters none spans three.
    assert SHARD_SIZE * N_WHOLE_SHARDS == 512
    many = [f"a{word}" for word in words]
    files = _files(atlas_info, [_concept(word, units[word[1:]]) for word in many], [])
    heads = files["find/index.json"]["heads"]
    best = sorted(many, key=lambda word: (-units[word[1:]], word))[:N_HEAD]
    assert [entry[0] for entry in heads["a"]] == best
    assert "aab" not in heads


def test_images_are_found_by_the_digits_they_begin_with(atlas_info) -> None:
    images = [ImageSummary(number, "f", "caption", (), ()) for number in (9, 10, 139, 1390)]
    files = _files(atlas_info, [], images)
    assert [entry[0] for entry in files["find/images0.json"]] == ["10", "139", "1390", "9"]
    assert files["find/index.json"]["notable"] == [5, 7]
