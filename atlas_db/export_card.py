"""The card of an exported atlas: what the files are, of what they were made, how they are read.

Its head is the one that data-set hubs read: with it the folder can be put on one as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas_db.records import AtlasInfo, TableRecord

_READERS = {
    "parquet": 'pandas.read_parquet("units.parquet")',
    "csv": 'pandas.read_csv("units.csv", keep_default_na=False, na_values=[""])',
    "ndjson": 'pandas.read_json("units.ndjson", lines=True)',
}
_NOTES = {
    "parquet": "All columns have the types of the atlas.",
    "csv": "Lists are JSON in their cell, bytes are base64, NULL is an empty cell.",
    "ndjson": "One JSON object a line; bytes are base64.",
}


@dataclass(frozen=True, slots=True)
class FileRecord:
    """An exported file and the table that is in it."""

    table: TableRecord
    name: str
    size_bytes: int
    sha256: str


def card(info: AtlasInfo, form: str, files: Sequence[FileRecord]) -> str:
    """Write the card as Markdown, with a head of YAML."""
    title = f"Neuron atlas {info.name}"
    configs = "".join(
        f"- config_name: {file.table.table}\n  data_files: {file.name}\n" for file in files
    )
    warning = (
        "\n> **The captioner's weights are random: its captions and units mean nothing.**\n"
        if info.is_random
        else ""
    )
    return f"""---
pretty_name: {json.dumps(title)}
license: other
tags: [interpretability, multimodal-neurons]
configs:
{configs}---

# {title}

The units of a language model's MLPs that turn what a picture shows into words: which words each
promotes, in which images it is most active, and how much it adds to the word that the model says.
{warning}
{info.n_units} units in {info.n_layers} layers, {info.n_images} images, {info.n_concepts} concepts.

## Files

{_NOTES[form]} `uid = layer * units_per_layer + unit`; layers, units and patches count from 0,
ranks from 1. Attributions are in logits, activations in the model's own units.

| file | rows | one row is | bytes |
|---|---|---|---|
{"".join(_file_line(file) for file in files)}
```python
import pandas

units = {_READERS[form]}
```

## Where it comes from

| | |
|---|---|
{_provenance(info)}
The content hash is the same for the same inputs. Photographs and human captions, where there are
any, are their authors' and under the licences of `licences` and `images.licence_id`.

## Columns

{"".join(_columns(file.table) for file in files)}
## SHA-256

```
{"".join(f"{file.sha256}  {file.name}{chr(10)}" for file in files)}```
"""


def _file_line(file: FileRecord) -> str:
    table = file.table
    return f"| `{file.name}` | {table.n_rows} | {_cell(table.about)} | {file.size_bytes} |\n"


def _provenance(info: AtlasInfo) -> str:
    values: dict[str, Any] = {
        "content hash": info.content_hash,
        "made": f"{info.created}, by `{info.command}`",
        "attribution": info.formula,
        "captioner": info.captioner,
        "data set": info.dataset,
        "settings": info.settings,
        "versions": info.versions,
    }
    return "".join(f"| {name} | {_value(value)} |\n" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"`{_cell(json.dumps(value, ensure_ascii=False, sort_keys=True))}`"
    return _cell(str(value))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _columns(table: TableRecord) -> str:
    rows = "".join(
        f"| `{column.name}` | {column.type} | {_cell(column.about)} |\n" for column in table.columns
    )
    head = "| column | type | holds |\n|---|---|---|\n"
    return f"### {table.table}\n\n{_cell(table.about)}\n\n{head}{rows}\n"
