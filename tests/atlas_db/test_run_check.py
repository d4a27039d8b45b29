import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas_db.errors import RunError
from atlas_db.run_check import checked_run
from atlas_db.run_format import file_sha256, write_json


@pytest.fixture
def run(synthetic_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(synthetic_run, tmp_path / "run"))


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json(path, content)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_run_passes(synthetic_run: Path) -> None:
    run = checked_run(synthetic_run)
    assert [shard.name for shard in run.shards] == ["00000", "00001"]
    assert (run.n_units, run.units_per_layer, run.n_patch) == (96, 32, 196)
    assert [row["reason"] for row in run.skipped] == ["image file is truncated"]


@pytest.mark.parametrize("file", ["exemplars.parquet", "captions.parquet", "shard.json"])
def test_a_flipped_bit_is_found_and_named(run: Path, file: str) -> None:
    path = run / "shards" / "00001" / file
    flip_a_byte(path)
    with pytest.raises(RunError) as caught:
        checked_run(run)
    assert str(path) in str(caught.value)
    assert "is damaged" in str(caught.value)
    assert "Run the same build again; it redoes only this shard." in str(caught.value)


def test_a_missing_file_of_a_shard_is_named(run: Path) -> None:
    path = run / "shards" / "00000" / "targets.parquet"
    path.unlink()
    with pytest.raises(
        RunError, match=r"targets\.parquet cannot be read: No such file.*this shard"
    ):
        checked_run(run)


@pytest.mark.parametrize(("kept", "gap"), [([0], 6), ([1], 0), ([], 0)])
def test_an_unfinished_run_is_refused(run: Path, kept: list[int], gap: int) -> None:
    def keep(manifest: dict[str, Any]) -> None:
        manifest["shards"] = [manifest["shards"][index] for index in kept]

    edit(run / "manifest.json", keep)
    message = f"cover {6 * len(kept)} of 12 images, the first gap at image {gap}"
    with pytest.raises(RunError, match=message if kept else "2 of its shards are written"):
        checked_run(run)


def test_a_run_that_was_only_begun_is_refused(run: Path) -> None:
    edit(run / "manifest.json", lambda manifest: manifest.update(shards=[]))
    shutil.rmtree(run / "shards")
    with pytest.raises(RunError, match="cover 0 of 12 images, the first gap at image 0"):
        checked_run(run)


def test_overlapping_shards_are_refused(run: Path) -> None:
    edit(run / "manifest.json", lambda manifest: manifest["shards"][1].update(start=5))
    with pytest.raises(RunError, match="is not finished"):
        checked_run(run)


def test_a_shard_of_another_range_is_refused(run: Path) -> None:
    shard = run / "shards/00001/shard.json"
    edit(shard, lambda content: content.update(stop=11))
    edit(
        run / "manifest.json",
        lambda manifest: manifest["shards"][1].update(sha256=file_sha256(shard)),
    )
    with pytest.raises(RunError, match="covers images 6 to 11, the manifest says 6 to 12"):
        checked_run(run)


def test_a_shard_that_lacks_a_table_is_refused(run: Path) -> None:
    shard = run / "shards/00000/shard.json"
    edit(shard, lambda content: content["files"].pop("targets.parquet"))
    edit(
        run / "manifest.json",
        lambda manifest: manifest["shards"][0].update(sha256=file_sha256(shard)),
    )
    with pytest.raises(RunError, match=r"does not list targets\.parquet"):
        checked_run(run)


def test_a_manifest_that_lacks_a_key_is_refused(run: Path) -> None:
    def drop(manifest: dict[str, Any]) -> None:
        del manifest["captioner"], manifest["model"]["grid_rows"], manifest["settings"]["formula"]

    edit(run / "manifest.json", drop)
    with pytest.raises(RunError, match=r"lacks captioner, model\.grid_rows, settings\.formula"):
        checked_run(run)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no manifest\.json"):
        checked_run(tmp_path)


def test_a_run_of_another_format_version(run: Path) -> None:
    edit(run / "manifest.json", lambda manifest: manifest.update(version=0))
    with pytest.raises(RunError, match="is of format neuron-atlas-run 0, wanted"):
        checked_run(run)


def test_a_table_that_is_no_parquet_file(run: Path) -> None:
    edit(run / "manifest.json", lambda manifest: manifest.pop("files"))
    (run / "weights/units.parquet").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"units\.parquet cannot be read: .* Delete it"):
        checked_run(run)


@pytest.mark.parametrize(
    ("column", "what"),
    [(None, "column write_norm is missing"), (pa.float64(), "column write_norm is double")],
)
def test_a_table_of_another_form(run: Path, column: pa.DataType | None, what: str) -> None:
    edit(run / "manifest.json", lambda manifest: manifest.pop("files"))
    path = run / "weights/units.parquet"
    table = pq.read_table(path)
    norms = table["write_norm"]
    table = table.drop_columns("write_norm")
    if column is not None:
        table = table.append_column("write_norm", norms.cast(column))
    pq.write_table(table, path)
    with pytest.raises(RunError, match=what):
        checked_run(run)


@pytest.mark.parametrize("file", ["weights/units.parquet", "dataset/images.parquet"])
def test_a_flipped_bit_outside_of_the_shards_is_found(run: Path, file: str) -> None:
    flip_a_byte(run / file)
    with pytest.raises(RunError, match=r"\.parquet is damaged.*Delete it and run the same build"):
        checked_run(run)
