"""The JSON of every unit and every concept of an atlas, as the API answers with it.

DuckDB writes most of it (`atlas_db.json_sql`); here the pieces are put together. A test holds each
text to be what `as_json.dumps` makes of the record, letter for letter.
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from atlas_db.histogram import QUANTILES
from atlas_db.json_sql import joined, like_python, members, pairs, quoted, written
from atlas_db.queries.of_concepts import N_CONCEPT_UNITS
from atlas_db.queries.of_negative import has_negative
from atlas_db.queries.of_units import N_UNIT_IMAGES
from atlas_db.queries.statements import arrow_rows
from atlas_db.records import (
    ConceptSummary,
    ConceptUnit,
    ExemplarRecord,
    RelatedConcept,
    SimilarUnit,
    TokenRecord,
    UnitImage,
    UnitRecord,
    UnitSummary,
)

#: Units and concepts whose texts are made at once: some 30 MB.
_N_UNITS = 2048
_N_CONCEPTS = 500


def _same(names: str) -> dict[str, str]:
    return {name: name for name in names.split()}


def _braced(*parts: str) -> str:
    return joined(quoted("{"), *parts, quoted("}"))


_OF_UNITS = "uid >= $first AND uid < $stop"
_SUMMARY = joined(
    *(quoted('"name":"L'), "layer", quoted(".U"), "unit", quoted('",')),
    members(
        UnitSummary,
        _same(
            "uid layer unit top_tokens n_images image_frequency is_always_on is_interpretable "
            "n_dictionary_words best_attribution mean_attribution activation_max"
        ),
    ),
)
_QUANTILES = _braced(
    pairs({f"{q}": written(float, f"activation_q{q * 100:.0f}") for q in QUANTILES})
)
_STATISTICS = members(
    UnitRecord,
    _same("write_norm n_patches activation_mean activation_density histogram")
    | {"activation_quantiles": _QUANTILES},
)
_SUMMARIES_SQL = f"SELECT uid, {_SUMMARY} FROM units WHERE {_OF_UNITS} ORDER BY uid"
_STATISTICS_SQL = f"SELECT uid, {_STATISTICS} FROM units WHERE {_OF_UNITS} ORDER BY uid"
_TOKEN = members(TokenRecord, _same("rank token_id token concept logit prob"))
_TOKENS_SQL = f"""
SELECT uid, sign, {_braced(_TOKEN)} FROM unit_tokens WHERE {_OF_UNITS}
ORDER BY uid, sign DESC, rank
"""
_OF_EXEMPLARS = _same("rank image_id activation patch caption")
_N_PATCH = "(octet_length(maps) // len(scales))"
_MAP = {
    "heatmap": joined(
        quoted('"'),
        f"base64(array_slice(maps, (rank - 1) * {_N_PATCH} + 1, rank * {_N_PATCH}))",
        quoted('"'),
    ),
    "heatmap_scale": "scales[rank]",
    "heatmap_zero": "zeros[rank]",
}
_EXEMPLARS_SQL = f"""
SELECT uid, {_braced(members(ExemplarRecord, _OF_EXEMPLARS | _MAP))}
FROM (FROM exemplars WHERE {_OF_UNITS}) JOIN (FROM heatmaps WHERE {_OF_UNITS}) USING (uid)
JOIN images USING (image_id) ORDER BY uid, rank
"""
_OWN_MAP = _same("heatmap_scale heatmap_zero") | {
    "heatmap": joined(quoted('"'), "base64(heatmap)", quoted('"'))
}
_NEGATIVE_SQL = f"""
SELECT uid, {_braced(members(ExemplarRecord, _OF_EXEMPLARS | _OWN_MAP))}
FROM (FROM negative_exemplars WHERE {_OF_UNITS}) JOIN images USING (image_id) ORDER BY uid, rank
"""
_IMAGE = members(UnitImage, _same("image_id target_word rank attribution"))
_IMAGES_SQL = f"""
SELECT uid, {_braced(_IMAGE)} FROM unit_images WHERE {_OF_UNITS}
ORDER BY uid, attribution DESC, image_id, target
"""
_SIMILAR_SQL = f"""
SELECT uid, neighbour_uid, {members(SimilarUnit, _same("cosine"))} FROM unit_neighbours
WHERE {_OF_UNITS} ORDER BY uid, rank
"""
_CONCEPT = members(ConceptSummary, _same("concept slug stem n_units n_layers best_prob"))
_CONCEPTS_SQL = (
    f"SELECT concept, stem, n_units, {_CONCEPT} FROM concepts ORDER BY n_units DESC, concept"
)
_BETWEEN = "concept BETWEEN $1 AND $2"
_PROMOTED = members(ConceptUnit, _same("concept rank token prob n_shown"))
_CONCEPT_UNITS_SQL = f"""
SELECT concept, uid, {_PROMOTED} FROM (
    SELECT *, row_number() OVER (
        PARTITION BY concept ORDER BY n_shown DESC, prob DESC, uid
    ) AS place
    FROM concept_units WHERE {_BETWEEN}
) WHERE place <= {N_CONCEPT_UNITS} ORDER BY concept, place
"""
_NEAR = members(
    RelatedConcept,
    {"concept": "neighbour", "slug": "slug", "cosine": "cosine", "n_units": "n_units"},
)
_RELATED_SQL = f"""
SELECT near.concept, {_braced(_NEAR)} FROM (
    FROM concept_neighbours WHERE {_BETWEEN}
) near JOIN concepts ON concepts.concept = near.neighbour ORDER BY near.concept, near.rank
"""


Rows = Iterator[tuple[Any, ...]]


class Summaries:
    """The members of all units' summaries, in a file without a name that is mapped into memory.

    Args:
        folder: Where there is room: some 450 bytes a unit.
    """

    def __init__(self, connection: Connection, n_units: int, folder: Path) -> None:
        self._starts = array("q", [0])
        with tempfile.TemporaryFile(dir=folder) as file:
            for first in range(0, n_units, _N_UNITS):
                for _, one in _in_range(connection, _SUMMARIES_SQL, first, n_units):
                    file.write(like_python(one).encode())
                    self._starts.append(file.tell())
            file.flush()
            self._texts = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, uid: int) -> str:
        if not 0 <= uid < len(self):
            raise IndexError(uid)
        return self._texts[self._starts[uid] : self._starts[uid + 1]].decode()


@dataclass(frozen=True, slots=True)
class ConceptText:
    """A concept, how many units it has in all, and its JSON."""

    concept: str
    n_units: int
    json: str


def unit_texts(connection: Connection, summaries: Summaries) -> Iterator[tuple[int, str]]:
    """Give uid and JSON of every unit, in order."""
    n_units = len(summaries)
    for first in range(0, n_units, _N_UNITS):
        lists = _Lists.of(connection, summaries, first, n_units)
        for uid, statistics in _in_range(connection, _STATISTICS_SQL, first, n_units):
            summary = summaries[uid]
            before = uid - 1 if uid > 0 else "null"
            after = uid + 1 if uid + 1 < n_units else "null"
            whole = (
                f"{{{summary},{statistics},{lists.of_unit(uid)},"
                f'"previous_uid":{before},"next_uid":{after}}}'
            )
            yield uid, like_python(whole)


@dataclass(frozen=True, slots=True)
class _Lists:
    """What units have lists of, as texts by uid; tokens by uid and sign."""

    tokens: dict[tuple[int, int], str]
    exemplars: dict[int, str]
    negative: dict[int, str]
    images: dict[int, str]
    similar: dict[int, str]

    @classmethod
    def of(cls, connection: Connection, summaries: Summaries, first: int, n_units: int) -> _Lists:
        def rows(statement: str) -> Rows:
            return _in_range(connection, statement, first, n_units)

        return cls(
            tokens=_listed(((uid, sign), one) for uid, sign, one in rows(_TOKENS_SQL)),
            exemplars=_listed(rows(_EXEMPLARS_SQL)),
            negative=_listed(rows(_NEGATIVE_SQL)) if has_negative(connection) else {},
            images=_listed(rows(_IMAGES_SQL), N_UNIT_IMAGES),
            similar=_listed(
                (uid, f'{{"unit":{{{summaries[near]}}},{cosine}}}')
                for uid, near, cosine in rows(_SIMILAR_SQL)
            ),
        )

    def of_unit(self, uid: int) -> str:
        return (
            f'"promoted":[{self.tokens.get((uid, 1), "")}],'
            f'"suppressed":[{self.tokens.get((uid, -1), "")}],'
            f'"exemplars":[{self.exemplars.get(uid, "")}],'
            f'"negative_exemplars":[{self.negative.get(uid, "")}],'
            f'"images":[{self.images.get(uid, "")}],"similar":[{self.similar.get(uid, "")}]'
        )


def concept_texts(connection: Connection, summaries: Summaries) -> Iterator[ConceptText]:
    """Give every concept, each with its first units, by code point."""
    kin: dict[str, list[tuple[str, str]]] = {}
    chosen = []
    for concept, stem, n_units, one in arrow_rows(connection, _CONCEPTS_SQL):
        kin.setdefault(stem, []).append((concept, one))
        chosen.append((concept, stem, n_units, one))
    chosen.sort(key=lambda row: row[0].encode())
    for start in range(0, len(chosen), _N_CONCEPTS):
        block = chosen[start : start + _N_CONCEPTS]
        ends = block[0][0], block[-1][0]
        units = _listed(
            (concept, f'{{"unit":{{{summaries[uid]}}},{promoted}}}')
            for concept, uid, promoted in arrow_rows(connection, _CONCEPT_UNITS_SQL, ends)
        )
        related = _listed(arrow_rows(connection, _RELATED_SQL, ends))
        for concept, stem, n_units, one in block:
            family = ",".join([f"{{{text}}}" for other, text in kin[stem] if other != concept])
            whole = (
                f'{{{one},"units":[{units.get(concept, "")}],"family":[{family}],'
                f'"related":[{related.get(concept, "")}]}}'
            )
            yield ConceptText(concept, n_units, like_python(whole))


def _in_range(connection: Connection, statement: str, first: int, n_units: int) -> Rows:
    stop = min(first + _N_UNITS, n_units)
    return arrow_rows(
        connection, statement.replace("$first", str(first)).replace("$stop", str(stop))
    )


def _listed(rows: Iterable[tuple[Any, str]], most: int | None = None) -> dict[Any, str]:
    """Put the texts of rows that follow one another with one key between commas."""
    return {
        key: ",".join([one for _, one in islice(group, most)])
        for key, group in groupby(rows, key=itemgetter(0))
    }
