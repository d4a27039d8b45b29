"""Results of a query, written within a number of rows and bytes: JSON, CSV, NDJSON, Parquet, Arrow.

Whatever is left out is said: `truncated` is true if there are more rows than were written.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas_db.row_formats import csv_line, distinct, json_object

FORMATS = ("json", "csv", "ndjson", "parquet", "arrow")

_BATCH_ROWS = 500


def write_result(
    result: Any, *, form: str, max_rows: int, max_bytes: int
) -> tuple[dict[str, Any], bytes]:
    """Write what a statement gives.

    Args:
        result: A DuckDB connection or cursor that has executed one.
        form: One of `FORMATS`.
        max_rows: Rows at most.
        max_bytes: Of the answer; columns of Arrow are measured before they are packed.

    Returns:
        `{"ok", "columns", "n_rows", "truncated"}`, and the answer's bytes.
    """
    described = [(str(column[0]), str(column[1])) for column in result.description]
    keys = distinct([name for name, _ in described])
    columns = [{"name": key, "type": kind} for key, (_, kind) in zip(keys, described, strict=True)]
    if form in ("parquet", "arrow"):
        n_rows, truncated, body = _columnar(result, keys, form, max_rows, max_bytes)
    else:
        lines = _Lines(max_rows, max_bytes)
        lines.take(result, keys, form)
        n_rows, truncated = len(lines.written), lines.truncated
        body = _text(lines.written, columns, form, truncated)
    return {"ok": True, "columns": columns, "n_rows": n_rows, "truncated": truncated}, body


class _Lines:
    """Rows as text, until there are too many or they are too long."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self.written: list[str] = []
        self.truncated = False

    def take(self, result: Any, keys: Sequence[str], form: str) -> None:
        n_bytes = 0
        for row in self._rows(result):
            line = csv_line(row) if form == "csv" else json_object(keys, row)
            n_bytes += len(line.encode("utf-8", "surrogatepass")) + 1
            if len(self.written) == self.max_rows or n_bytes > self.max_bytes:
                self.truncated = True
                return
            self.written.append(line)

    def _rows(self, result: Any) -> Iterator[Sequence[Any]]:
        wanted = self.max_rows + 1
        while wanted > 0:
            rows = result.fetchmany(min(wanted, _BATCH_ROWS))
            if not rows:
                return
            wanted -= len(rows)
            yield from rows


def _text(lines: Sequence[str], columns: list[dict[str, str]], form: str, truncated: bool) -> bytes:
    if form == "csv":
        text = csv_line([column["name"] for column in columns]) + "".join(lines)
    elif form == "ndjson":
        text = "".join(line + "\n" for line in lines)
    else:
        head = json.dumps(columns, ensure_ascii=False, separators=(",", ":"))
        text = (
            f'{{"columns":{head},"rows":[{",".join(lines)}],'
            f'"n_rows":{len(lines)},"truncated":{json.dumps(truncated)}}}\n'
        )
    return text.encode("utf-8", "replace")


def _columnar(
    result: Any, keys: Sequence[str], form: str, max_rows: int, max_bytes: int
) -> tuple[int, bool, bytes]:
    reader = result.to_arrow_reader(_BATCH_ROWS)
    batches, n_rows, n_bytes, truncated = [], 0, 0, False
    for batch in reader:
        kept = batch.slice(0, max_rows - n_rows)
        n_bytes += kept.nbytes
        fits = n_bytes <= max_bytes
        if fits:
            batches.append(kept)
            n_rows += kept.num_rows
        truncated = not fits or kept.num_rows < batch.num_rows
        if truncated:
            break
    table = pa.Table.from_batches(batches, reader.schema).rename_columns(list(keys))
    said = {"truncated": json.dumps(truncated), **(table.schema.metadata or {})}
    table = table.replace_schema_metadata(said)
    return n_rows, truncated, arrow_bytes(table, form)


def arrow_bytes(table: pa.Table, form: str) -> bytes:
    """Write a table as a file of Parquet or an Arrow IPC stream."""
    file = io.BytesIO()
    if form == "parquet":
        pq.write_table(table, file, compression="zstd")
    else:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    return file.getvalue()
