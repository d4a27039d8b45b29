"""What a run folder says, worked out from its Parquet files with loops: what tests test against."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Connection

from atlas_db.concepts import fold, stem
from atlas_db.connection import open_atlas
from atlas_db.dictionary import is_word

Row = dict[str, Any]


@dataclass(frozen=True)
class Truth:
    """A run folder's rows, as lists of dictionaries."""

    run: Path

    @cached_property
    def manifest(self) -> Row:
        return json.loads((self.run / "manifest.json").read_text())

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, those of the shards one after another."""
        files = sorted(self.run.glob(f"**/{table}.parquet"))
        assert files
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    @cached_property
    def images(self) -> dict[int, Row]:
        """Images that were read, with their captions, by id."""
        captions = {row["image_id"]: row for row in self.rows("captions")}
        rows = {row["image_id"]: row for row in self.rows("images")}
        return {key: {**rows[key], **captions[key]} for key in sorted(captions)}

    @cached_property
    def words(self) -> dict[tuple[int, int], str]:
        """Target words by image and target."""
        return {(row["image_id"], row["target"]): row["word"] for row in self.rows("targets")}

    @cached_property
    def vocabulary(self) -> dict[int, str]:
        return {row["token_id"]: row["token"] for row in self.rows("vocabulary")}

    @cached_property
    def tokens(self) -> dict[tuple[int, int], list[Row]]:
        """Decoded tokens by uid and sign, by rank."""
        found: dict[tuple[int, int], list[Row]] = {}
        for row in sorted(self.rows("unit_tokens"), key=lambda row: row["rank"]):
            token = self.vocabulary[row["token_id"]]
            row = {**row, "token": token, "concept": fold(token), "is_word": is_word(token)}
            found.setdefault((row["uid"], row["sign"]), []).append(row)
        return found

    @cached_property
    def exemplars(self) -> dict[int, list[Row]]:
        """The 16 best exemplars by uid, over all shards."""
        found: dict[int, list[Row]] = {}
        for row in self.rows("exemplars"):
            found.setdefault(row["uid"], []).append(row)
        for rows in found.values():
            rows.sort(key=lambda row: (-row["activation"], row["image_id"]))
            del rows[16:]
        return found

    @cached_property
    def places(self) -> dict[int, list[Row]]:
        """Places in images' top 100 by uid, by falling attribution."""
        found: dict[int, list[Row]] = {}
        for row in self.rows("image_units"):
            found.setdefault(row["uid"], []).append(row)
        for rows in found.values():
            rows.sort(key=lambda row: (-row["attribution"], row["image_id"], row["target"]))
        return found

    @cached_property
    def concepts(self) -> dict[str, dict[int, Row]]:
        """By concept, the best promoted token of each unit that promotes it."""
        found: dict[str, dict[int, Row]] = {}
        for (uid, sign), rows in self.tokens.items():
            for row in rows:
                if sign == 1 and row["concept"] is not None:
                    found.setdefault(row["concept"], {}).setdefault(uid, row)
        return found

    @cached_property
    def stems(self) -> dict[int, set[str]]:
        """Stems of people's captions by image; of the model's where there are none."""
        said: dict[int, list[str]] = {}
        for row in self.rows("human_captions"):
            said.setdefault(row["image_id"], []).append(row["caption"])
        texts = {key: said.get(key, [row["caption"]]) for key, row in self.images.items()}
        return {
            key: {stem(word) for text in of for word in re.split(r"[\W\d_]+", text.casefold())}
            for key, of in texts.items()
        }

    def n_shown(self, uid: int, concept: str) -> int:
        """Count a unit's exemplars whose captions have a word of the concept's stem."""
        shown = [stem(concept) in self.stems[row["image_id"]] for row in self.exemplars[uid]]
        return sum(shown)

    @cached_property
    def categories(self) -> dict[int, list[str]]:
        """Names of what is annotated on an image, by image."""
        names = {row["category_id"]: row["name"] for row in self.rows("categories")}
        found: dict[int, set[str]] = {}
        for row in self.rows("instances"):
            found.setdefault(row["image_id"], set()).add(names[row["category_id"]])
        return {key: sorted(value) for key, value in found.items()}


@pytest.fixture(scope="session")
def truth_of() -> type[Truth]:
    """Reads the truth of a run folder of one's own."""
    return Truth


@pytest.fixture(scope="session")
def truth(synthetic_run: Path) -> Truth:
    return Truth(synthetic_run)


@pytest.fixture(scope="session")
def connection(synthetic_atlas: Path) -> Iterator[Connection]:
    """An open connection to the synthetic atlas."""
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        yield connection
    engine.dispose()
