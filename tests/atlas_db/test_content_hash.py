import math

import pyarrow as pa
import pytest

from atlas_db.content_hash import _column_digests, canonical_json

COLUMNS = {
    "number": pa.array([1, 2, 3, 4, 5], pa.int32()),
    "real": pa.array([0.5, None, -1.0, math.nan, 2.0], pa.float32()),
    "flag": pa.array([True, False, True, True, False]),
    "text": pa.array(["ab", "", "c", None, "dé"]),
    "blob": pa.array([b"\x00", b"", b"12", b"\xff", b""]),
    "texts": pa.array([["a", "bc"], [], ["d"], ["", "e"], []]),
    "reals": pa.array([[0.5], [1.0, 2.0], [], [3.0], [4.0]], pa.list_(pa.float32())),
}
TABLE = pa.table(COLUMNS)


def digests(table: pa.Table, rows_per_batch: int = 100) -> list[str]:
    return _column_digests(table.to_batches(max_chunksize=rows_per_batch), table.num_columns)


@pytest.mark.parametrize("rows_per_batch", [1, 2, 3])
def test_batches_do_not_matter(rows_per_batch: int) -> None:
    assert digests(TABLE, rows_per_batch) == digests(TABLE)
    assert len(set(digests(TABLE))) == TABLE.num_columns


CHANGES = [
    ("number", [1, 2, 3, 5, 4]),
    ("real", [0.5, 0.0, -1.0, math.nan, 2.0]),
    ("flag", [True, False, True, True, True]),
    ("text", ["a", "b", "c", None, "dé"]),
    ("text", ["ab", "", "c", "", "dé"]),
    ("blob", [b"\x00", b"1", b"2", b"\xff", b""]),
    ("texts", [["a"], ["bc"], ["d"], ["", "e"], []]),
    ("texts", [["ab", "c"], [], ["d"], ["", "e"], []]),
    ("reals", [[0.5, 1.0], [2.0], [], [3.0], [4.0]]),
]


@pytest.mark.parametrize(("name", "values"), CHANGES)
def test_every_change_matters_and_to_its_column_alone(name: str, values: list[object]) -> None:
    index = TABLE.schema.get_field_index(name)
    changed = TABLE.set_column(index, name, pa.array(values, TABLE.schema.field(name).type))
    before, after = digests(TABLE), digests(changed)
    assert [i for i in range(TABLE.num_columns) if before[i] != after[i]] == [index]


def test_json_is_written_in_one_way() -> None:
    assert canonical_json({"b": 1, "a": [True, "é"]}) == '{"a":[true,"é"],"b":1}'
