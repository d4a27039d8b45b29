import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from atlas_db import run_format
from atlas_db.fixtures import write_synthetic_run


def test_its_tables_have_the_run_formats_schemas(synthetic_run: Path) -> None:
    tables = {
        "dataset": run_format.DATASET_SCHEMAS,
        "weights": run_format.WEIGHTS_SCHEMAS,
        "shards/00000": run_format.SHARD_SCHEMAS,
        "shards/00001": run_format.SHARD_SCHEMAS,
    }
    for folder, schemas in tables.items():
        assert {file.stem for file in (synthetic_run / folder).glob("*.parquet")} == set(schemas)
        for name, schema in schemas.items():
            found = pq.read_schema(synthetic_run / folder / f"{name}.parquet")
            assert found.equals(schema, check_metadata=False)


def test_its_shards_are_partial(synthetic_run: Path) -> None:
    for index, n_images in ((0, 5), (1, 6)):
        exemplars = pq.read_table(synthetic_run / f"shards/0000{index}/exemplars.parquet")
        assert exemplars.num_rows == 96 * n_images


def test_what_it_is_made_for(truth: Any) -> None:
    tokens = {row["token"] for rows in truth.tokens.values() for row in rows}
    assert {" <script>alert(1)</script>", "\"'", "line\nbreak", "\\xe2\\x96", "   "} <= tokens
    assert {" water", " Water", "water"} <= tokens
    assert len(truth.manifest["skipped"]) == 1
    assert max(target for _, target in truth.words) == 1
    assert len({row["image_id"] for row in truth.places[7]}) == 11


def test_the_same_seed_gives_the_same_run(tmp_path: Path, synthetic_run: Path) -> None:
    again = write_synthetic_run(tmp_path / "again")
    assert (again / "manifest.json").read_bytes() == (synthetic_run / "manifest.json").read_bytes()
    other = write_synthetic_run(tmp_path / "other", seed=1)
    assert (
        json.loads((other / "manifest.json").read_text())["shards"]
        != json.loads((again / "manifest.json").read_text())["shards"]
    )


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_images and n_shards must be >= 1, got 0 and 2"):
        write_synthetic_run(tmp_path, n_images=0)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is not empty"):
        write_synthetic_run(tmp_path)
