"""The whole pass: the same tables however it was cut up, stopped or repeated."""

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from killed_build import build_in_child, run_of
from small_coco import SPLIT, write_small_coco

from atlas_db.errors import CaptionerError, RunError
from atlas_db.ingest import ingest
from atlas_db.run_format import SHARD_SCHEMAS, read_manifest, shard_folder
from builder import run_folder
from builder.build import BuildSettings, build_run
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.init_random import init_random_captioner
from builder.language_model import count_hooks
from builder.manifest import check_images_read
from builder.run_lock import lock_run
from builder.shard_builder import shard_ranges
from builder.tables import ShardTables

N_IMAGES = 18


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighteen pictures; the fifth is cut off in the middle, the ninth is missing."""
    folder = write_small_coco(tmp_path_factory.mktemp("coco") / "small", N_IMAGES)
    files = sorted((folder / SPLIT).iterdir())
    files[4].write_bytes(files[4].read_bytes()[:300])
    files[8].unlink()
    return folder


@pytest.fixture(scope="module")
def captioner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captioner") / "gpt2"
    init_random_captioner(folder, family="gpt2", size="tiny")
    return folder


def content(run: Path) -> str:
    return ingest(run, run.with_suffix(".duckdb"))


def shard_table(run: Path, name: str) -> pa.Table:
    files = sorted(run.glob(f"shards/*/{name}.parquet"))
    keys = [key for key in ("image_id", "target", "rank") if key in SHARD_SCHEMAS[name].names]
    table = pa.concat_tables([pq.read_table(file) for file in files])
    return table.sort_by([(key, "ascending") for key in keys])


def test_batches_and_shards_change_nothing(
    captioner_folder: Path, coco: Path, tmp_path: Path
) -> None:
    """In float64 rounding does not reach the stored float32: the hash is the same."""
    captioner = load_captioner(captioner_folder, dtype="float64")
    hashes = {
        content(run_of(captioner, coco, tmp_path / f"{batch}", batch_size=batch, per_shard=shard))
        for batch, shard in ((1, 4), (3, 100), (16, 7))
    }
    assert len(hashes) == 1


def test_float32_batches_agree_to_rounding(
    captioner_folder: Path, coco: Path, tmp_path: Path
) -> None:
    captioner = load_captioner(captioner_folder)
    runs = [run_of(captioner, coco, tmp_path / str(b), batch_size=b) for b in (1, 3, 16)]
    first = shard_table(runs[0], "attributions")
    for run in runs[1:]:
        other = shard_table(run, "attributions")
        assert (
            shard_table(run, "captions")["caption"] == shard_table(runs[0], "captions")["caption"]
        )
        # Rows of nearly equal attribution may change places.
        assert other["attribution"].to_pylist() == pytest.approx(
            first["attribution"].to_pylist(), rel=1e-3, abs=1e-6
        )
        places = [
            set(zip(*(table[c].to_pylist() for c in ("image_id", "uid", "patch")), strict=True))
            for table in (first, other)
        ]
        assert len(places[0] & places[1]) > 0.99 * len(places[0])


def test_bad_images_are_listed(captioner_folder: Path, coco: Path, tmp_path: Path) -> None:
    run = run_of(load_captioner(captioner_folder), coco, tmp_path / "run")
    manifest = read_manifest(run)
    assert manifest["n_images"] == N_IMAGES - 2
    assert [image["image_id"] for image in manifest["skipped"]] == [50, 90]
    assert all(image["reason"] for image in manifest["skipped"])
    assert 50 not in shard_table(run, "captions")["image_id"].to_pylist()
    assert manifest["is_complete"]
    assert [shard["n_skipped"] for shard in manifest["shards"]] == [1, 1, 0, 0]


def test_no_image_at_all(captioner_folder: Path, tmp_path: Path) -> None:
    coco = write_small_coco(tmp_path / "coco", 2)
    for file in (coco / SPLIT).iterdir():
        file.write_bytes(b"not a picture")
    run = run_of(load_captioner(captioner_folder), coco, tmp_path / "run")
    with pytest.raises(RunError, match=r"none of the 2 images could be read; the first, .*\.jpg"):
        check_images_read(read_manifest(run))


@pytest.mark.parametrize(
    ("n_images", "per_shard", "n_kills"),
    [(18, 2, 5), pytest.param(40, 1, 25, marks=pytest.mark.slow)],
)
def test_killed_builds_end_in_the_same_atlas(
    captioner_folder: Path, tmp_path: Path, n_images: int, per_shard: int, n_kills: int
) -> None:
    """SIGKILL at random moments; what is finished by then is kept, and ends in the same hash."""
    coco = write_small_coco(tmp_path / "coco", n_images)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["builder.build", "builder.captioner", "builder.coco"])
    moments = random.Random(7)
    run = tmp_path / "killed"
    captioner = load_captioner(captioner_folder)
    began = time.perf_counter()
    whole = run_of(captioner, coco, tmp_path / "whole", per_shard=per_shard)
    longest_s = (time.perf_counter() - began) * 2 / n_kills
    n_killed = 0
    while n_killed < n_kills:
        started = context.Event()
        child = context.Process(
            target=build_in_child, args=(captioner_folder, coco, run, started, per_shard)
        )
        child.start()
        assert started.wait(60)
        child.join(moments.uniform(0, longest_s))
        if child.is_alive():
            child.kill()
            n_killed += 1
        elif n_killed:  # it got through: there must have been kills before that hit it
            break
        child.join()
    assert n_killed >= 3
    kept = {file: file.stat().st_mtime_ns for file in run.glob("shards/?????/shard.json")}
    run_of(captioner, coco, run, per_shard=per_shard)
    assert content(run) == content(whole)
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in kept.items())
    assert not list(run.rglob("*.partial"))


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def turn_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_in_half, turn_a_byte, Path.unlink])
@pytest.mark.parametrize("name", ["attributions.parquet", "shard.json"])
def test_a_damaged_shard_is_made_again(
    captioner_folder: Path,
    coco: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    captioner = load_captioner(captioner_folder)
    run = run_of(captioner, coco, tmp_path / "run")
    before = content(run)
    damaged = shard_folder(run, 1) / name
    other = (shard_folder(run, 2) / "shard.json").stat().st_mtime_ns
    whole = damaged.read_bytes()
    damage(damaged)
    was_gone = not (shard_folder(run, 1) / "shard.json").exists()  # as a killed build leaves it
    assert not caplog.messages
    run_of(captioner, coco, run)
    said = f"{shard_folder(run, 1)} is damaged and has to be made again."
    assert caplog.messages == ([] if was_gone else [said])
    assert damaged.read_bytes() == whole
    assert (shard_folder(run, 2) / "shard.json").stat().st_mtime_ns == other
    assert content(run) == before


def test_another_run_is_not_mixed_in(captioner_folder: Path, coco: Path, tmp_path: Path) -> None:
    captioner = load_captioner(captioner_folder)
    run = run_of(captioner, coco, tmp_path / "run")
    dataset = load_coco(coco, SPLIT)
    with pytest.raises(RunError, match=r"holds another run: settings.n_targets differ.*--run"):
        build_run(captioner, dataset, run, BuildSettings(images_per_shard=5))
    with pytest.raises(RunError, match=r"captioner.dtype differ"):
        run_of(load_captioner(captioner_folder, dtype="float64"), coco, run)


def test_two_builders_do_not_meet(captioner_folder: Path, coco: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with lock_run(run), pytest.raises(RunError, match=r"another build is writing .*--run"):
        run_of(load_captioner(captioner_folder), coco, run)
    assert not (run / "manifest.json").exists()


def test_parts_of_an_array_make_one_run(captioner_folder: Path, coco: Path, tmp_path: Path) -> None:
    """Three builds, a third of the shards each; the last to end completes the manifest."""
    captioner = load_captioner(captioner_folder)
    run = tmp_path / "array"
    for part in (2, 1):
        run_of(captioner, coco, run, part=(part, 3))
        assert not read_manifest(run)["is_complete"]
    assert sorted(folder.name for folder in run.glob("shards/?????")) == ["00000", "00001", "00003"]
    run_of(captioner, coco, run, part=(3, 3))
    assert read_manifest(run)["is_complete"]
    assert content(run) == content(run_of(captioner, coco, tmp_path / "whole"))


def test_a_plain_build_ends_what_an_array_left(
    captioner_folder: Path, coco: Path, tmp_path: Path
) -> None:
    captioner = load_captioner(captioner_folder)
    run = run_of(captioner, coco, tmp_path / "array", part=(2, 2))
    times = {file: file.stat().st_mtime_ns for file in run.glob("shards/?????/shard.json")}
    run_of(captioner, coco, run)
    assert len(times) == 2
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in times.items())
    assert content(run) == content(run_of(captioner, coco, tmp_path / "whole"))


def test_a_full_disk_stops_and_goes_on(
    captioner_folder: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third write of a shard's table fails as a full disk fails."""
    captioner = load_captioner(captioner_folder)
    real = run_folder.write_table
    n_written = 0

    def fills_up(path: Path, table: pa.Table, schema: pa.Schema) -> None:
        nonlocal n_written
        n_written += schema == SHARD_SCHEMAS["exemplars"]
        if n_written == 3:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(path, table, schema)

    monkeypatch.setattr(run_folder, "write_table", fills_up)
    with pytest.raises(RunError, match=r"the disk of .* is full. Make room"):
        run_of(captioner, coco, tmp_path / "run")
    monkeypatch.undo()
    finals = sorted(folder.name for folder in (tmp_path / "run/shards").glob("?????"))
    assert finals == ["00000", "00001"]
    run_of(captioner, coco, tmp_path / "run")
    assert content(tmp_path / "run") == content(run_of(captioner, coco, tmp_path / "whole"))


def test_out_of_memory_halves_the_batch(
    captioner_folder: Path,
    coco: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Batches of more than two images fail, late: layers have taken their images in by then."""
    captioner = load_captioner(captioner_folder, dtype="float64")
    whole = content(run_of(captioner, coco, tmp_path / "whole", batch_size=8, per_shard=7))
    real = ShardTables.see_activations
    failed = []

    def runs_out(self: ShardTables, layer: int, activations: Any, image_ids: Any) -> None:
        if len(image_ids) > 2 and layer == 2:
            failed.append(len(image_ids))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        real(self, layer, activations, image_ids)

    monkeypatch.setattr(ShardTables, "see_activations", runs_out)
    run = run_of(captioner, coco, tmp_path / "halved", batch_size=8, per_shard=7)
    assert failed == [6, 4]  # the first shard holds six images that can be read
    assert [message.split()[-1] for message in caplog.messages] == ["4.", "2."]
    assert count_hooks(captioner.model) == 0
    monkeypatch.undo()
    assert content(run) == whole


def test_memory_for_less_than_one_image_is_an_error(
    captioner_folder: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs_out(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(ShardTables, "see_activations", runs_out)
    with pytest.raises(CaptionerError, match=r"does not hold the pass over one image.*--dtype"):
        run_of(load_captioner(captioner_folder), coco, tmp_path / "run")


def test_memory_that_does_not_hold_the_decoding_is_an_error(
    captioner_folder: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs_out(*_: Any) -> None:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")

    monkeypatch.setattr("builder.decoding.top_k", runs_out)
    message = r"memory of cpu does not hold the decoding of units: .* GB in float32\. Use a type"
    with pytest.raises(CaptionerError, match=message):
        run_of(load_captioner(captioner_folder), coco, tmp_path / "run")


def test_manifest_names_what_made_it(captioner_folder: Path, coco: Path, tmp_path: Path) -> None:
    captioner = load_captioner(captioner_folder)
    manifest = read_manifest(run_of(captioner, coco, tmp_path / "run"))
    assert manifest["is_random"] is True
    assert (
        manifest["captioner"]["language_model"]["sha256"]
        == (captioner.part_hashes()["language_model"])
    )
    assert manifest["model"]["n_layers"] == captioner.model.config.n_layer
    assert set(manifest["dataset"]["sha256"]) == {
        f"annotations/{kind}_{SPLIT}.json" for kind in ("captions", "instances")
    }
    assert str(tmp_path) not in json.dumps({**manifest, "command": ""})


def test_ranges() -> None:
    assert shard_ranges(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert shard_ranges(4, 4) == [(0, 4)]


@pytest.mark.parametrize(
    ("asked", "n_units", "size"), [(None, 100_000, 500), (None, 458_752, 2500), (7, 458_752, 7)]
)
def test_shards_of_large_models_hold_more_images(
    asked: int | None, n_units: int, size: int
) -> None:
    assert BuildSettings(images_per_shard=asked).shard_size(n_units) == size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_targets": 0}, "n_targets must be >= 1, got 0"),
        ({"images_per_shard": -1}, "images_per_shard must be >= 1, got -1"),
        ({"decode_norm": "half"}, "decode_norm must be one of none, final, got 'half'"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BuildSettings(**settings)
