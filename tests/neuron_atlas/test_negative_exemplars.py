"""Where gated units are most negative: from the pass over the images to pages and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from atlas_site.addresses import image_address, unit_address
from atlas_site.build import build_site
from click.testing import CliRunner
from killed_build import run_of
from small_coco import SPLIT, write_small_coco

from api.app import create_app
from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.content_hash import verify
from atlas_db.errors import RunError
from atlas_db.ingest import ingest
from atlas_db.records import UnitRecord
from atlas_db.run_format import N_NEGATIVE_EXEMPLARS, file_sha256, write_json
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.images import iterate_batches
from builder.init_random import init_random_captioner
from builder.language_model import LanguageModel
from neuron_atlas.cli import main

N_IMAGES = 18


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_coco(tmp_path_factory.mktemp("coco") / "small", N_IMAGES)


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("captioner") / "llama"
    init_random_captioner(folder, family="llama", size="tiny")
    return load_captioner(folder, dtype="float64")


@pytest.fixture(scope="module")
def atlas(captioner: Any, coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of four shards, and once more of one: the same content."""
    root = tmp_path_factory.mktemp("atlas")
    hashes = []
    for per_shard in (5, 100):
        run = run_of(captioner, coco, root / f"run{per_shard}", per_shard=per_shard)
        hashes.append(ingest(run, root / f"{per_shard}.duckdb"))
    assert hashes[0] == hashes[1]
    return root / "5.duckdb"


@pytest.fixture(scope="module")
def records(atlas: Path) -> Iterator[list[UnitRecord]]:
    engine = open_atlas(atlas)
    with engine.connect() as connection:
        n_units = queries.atlas_info(connection).n_units
        yield list(queries.unit_records(connection, 0, n_units))
    engine.dispose()


@pytest.fixture(scope="module")
def activations(captioner: Any, coco: Path) -> tuple[np.ndarray, np.ndarray]:
    """All activations by plain passes: image ids, and (image, patch, uid)."""
    dataset = load_coco(coco, SPLIT)
    model = LanguageModel(captioner.model)
    (batch,) = iterate_batches(
        dataset.tables["images"], dataset.folder, captioner.config, batch_size=99, n_workers=0
    )
    seen: list[torch.Tensor] = []
    with torch.no_grad(), model.taps(activation=lambda layer, a: seen.append(a)):
        captioner.model(inputs_embeds=captioner.sequence(captioner.encode(batch.pixels)))
    at_patches = [a[:, captioner.patch_positions] for a in seen]
    return np.array(batch.image_ids), torch.cat(at_patches, dim=2).numpy()


def test_they_are_those_of_a_full_sort(
    records: list[UnitRecord], activations: tuple[np.ndarray, np.ndarray]
) -> None:
    image_ids, a = activations
    for record in records:
        uid = record.summary.uid
        least = a[:, :, uid].min(axis=1)
        order = [i for i in np.argsort(least, kind="stable") if least[i] < 0]
        order = order[:N_NEGATIVE_EXEMPLARS]
        found = record.negative_exemplars
        assert [e.rank for e in found] == list(range(1, len(order) + 1))
        assert [e.image_id for e in found] == image_ids[order].tolist()
        for exemplar, i in zip(found, order, strict=True):
            assert exemplar.activation == pytest.approx(least[i], rel=1e-5)
            assert exemplar.patch == a[i, :, uid].argmin()
            error = np.abs(exemplar.activations() - a[i, :, uid]).max()
            assert error <= exemplar.heatmap_scale * 0.501 + 1e-7
    assert sum(len(record.negative_exemplars) for record in records) > len(records)


def test_there_a_unit_promotes_what_it_suppresses(
    captioner: Any, records: list[UnitRecord]
) -> None:
    """What a negative activation adds to the residual stream, decoded: the suppressed tokens."""
    model = LanguageModel(captioner.model)
    for record in records[:20]:
        unit = record.summary
        for exemplar in record.negative_exemplars:
            written = exemplar.activation * model.write_vectors(unit.layer)[unit.unit]
            said = (model.unembedding @ written).topk(len(record.suppressed)).indices.tolist()
            assert said == [token.token_id for token in record.suppressed]


def test_the_page_shows_them(atlas: Path, records: list[UnitRecord], tmp_path: Path) -> None:
    build_site(atlas, tmp_path / "public")
    record = next(r for r in records if r.negative_exemplars)
    unit = record.summary
    page = tmp_path / "public" / unit_address(unit.layer, unit.unit)
    text = page.read_text(encoding="utf-8")
    assert text.count("<h3>Most negative</h3>") == 1
    part = text[text.index("<h3>Most negative</h3>") :]
    assert part.count("<figure>", 0, part.index("</section>")) == len(record.negative_exemplars)


def test_an_images_page_says_which_of_its_units_are_turned(atlas: Path, tmp_path: Path) -> None:
    """Of the five that add most to a target, those below 0 write the other way."""
    build_site(atlas, tmp_path / "public")
    engine = open_atlas(atlas)
    n_turned = n_plain = 0
    with engine.connect() as connection:
        page_of_images = queries.images(connection, limit=10)
        for row in page_of_images.rows:
            record = queries.image(connection, row.image_id)
            page = tmp_path / "public" / image_address(row.image_id)
            text = page.read_text(encoding="utf-8")
            figures = [u for u in record.units if u.rank <= 5 and u.target in (0, 1)]
            turned = [unit for unit in figures if unit.a < -0.3]
            assert text.count("here it promotes what it suppresses elsewhere") == len(turned)
            n_turned += len(turned)
            n_plain += len(figures) - len(turned)
    engine.dispose()
    assert n_turned > 5
    assert n_plain > 5


def test_answers_and_terminal_have_them(atlas: Path, records: list[UnitRecord]) -> None:
    record = next(r for r in records if r.negative_exemplars)
    unit = record.summary
    answer = create_app(atlas).test_client().get(f"/api/v1/units/{unit.layer}/{unit.unit}")
    shown = answer.get_json()["negative_exemplars"]
    assert [e["image_id"] for e in shown] == [e.image_id for e in record.negative_exemplars]
    assert all(e["activation"] < 0 for e in shown)
    result = CliRunner().invoke(main, ["unit", unit.name, "--db", str(atlas)])
    assert result.exit_code == 0, result.output
    assert "most negative in" in result.output


def test_a_plain_model_has_none(coco: Path, tmp_path: Path) -> None:
    """Its run and its content are as they were before there were negative exemplars."""
    init_random_captioner(tmp_path / "gpt2", family="gpt2", size="tiny")
    run = run_of(load_captioner(tmp_path / "gpt2"), coco, tmp_path / "run")
    assert not list(run.glob("shards/*/negative_exemplars.parquet"))
    ingest(run, tmp_path / "a.duckdb")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM negative_exemplars").fetchone() == (0,)
        connection.execute("DROP INDEX negative_exemplars_uid")
        connection.execute("DROP TABLE negative_exemplars")  # as an atlas made before has it
    verify(tmp_path / "a.duckdb")
    engine = open_atlas(tmp_path / "a.duckdb")
    with engine.connect() as connection:
        assert queries.unit(connection, 0, 0).negative_exemplars == ()
    engine.dispose()


def rewrite_shard(run: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Change a run of one shard: its `shard.json` and the manifest, whose hashes are made right."""
    description = run / "shards/00000/shard.json"
    content = json.loads(description.read_text())
    manifest = json.loads((run / "manifest.json").read_text())
    change(content, manifest)
    write_json(description, content)
    manifest["shards"][0]["sha256"] = file_sha256(description)
    write_json(run / "manifest.json", manifest)


def test_a_positive_one_is_refused(captioner: Any, coco: Path, tmp_path: Path) -> None:
    run = run_of(captioner, coco, tmp_path / "run", per_shard=100)
    path = run / "shards/00000/negative_exemplars.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("activation")
    turned = pa.array(np.abs(table["activation"].to_numpy()), pa.float32())
    pq.write_table(table.set_column(at, table.schema.field(at), turned), path)

    def hash_anew(shard: dict[str, Any], manifest: dict[str, Any]) -> None:
        shard["files"][path.name] = file_sha256(path)

    rewrite_shard(run, hash_anew)
    with pytest.raises(RunError, match="negative exemplars that are of no unit, above 0"):
        ingest(run, tmp_path / "a.duckdb")


def test_a_run_made_before_there_were_any(captioner: Any, coco: Path, tmp_path: Path) -> None:
    """Of a gated model: an atlas is made of it, but what is missing of it is not built on."""
    run = run_of(captioner, coco, tmp_path / "run", per_shard=100)
    path = run / "shards/00000/negative_exemplars.parquet"
    path.unlink()

    def forget(shard: dict[str, Any], manifest: dict[str, Any]) -> None:
        del shard["files"][path.name]
        del manifest["model"]["n_negative_exemplars"]

    rewrite_shard(run, forget)
    ingest(run, tmp_path / "a.duckdb")
    engine = open_atlas(tmp_path / "a.duckdb")
    with engine.connect() as connection:
        assert queries.unit(connection, 0, 0).negative_exemplars == ()
    engine.dispose()
    with pytest.raises(RunError, match=r"another run: model\.n_negative_exemplars differ"):
        run_of(captioner, coco, run, per_shard=100)
