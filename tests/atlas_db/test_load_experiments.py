"""What experiments wrote goes into the atlas; a run without them is as good."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from waitress.server import create_server

from api.app import create_app
from atlas_db import Atlas, queries
from atlas_db.as_json import dumps
from atlas_db.connection import open_atlas
from atlas_db.content_hash import verify
from atlas_db.errors import NotInAtlasError, RunError
from atlas_db.experiment_format import (
    EXPERIMENT_FORMAT,
    EXPERIMENT_SCHEMAS,
    EXPERIMENT_VERSION,
    FIGURE_SCHEMA,
    experiment_folder,
    run_state,
)
from atlas_db.fixtures import write_synthetic_run
from atlas_db.ingest import ingest
from atlas_db.run_format import file_sha256, read_manifest, write_json, write_table
from atlas_db.schema import Base
from tests.tools.served import served

FIGURES = [
    {"figure": "IoU", "arm": "top units", "value": 0.25, "low": 0.2, "high": 0.3, "n": 9,
     "measure": "IoU", "control": "random units", "p_value": 0.01},
    {"figure": "IoU", "arm": "random units", "value": 0.05, "n": 9, "measure": "IoU"},
    {"figure": "IoU", "part": "dog", "value": None, "n": 0, "note": "No image has a dog."},
]  # fmt: skip

#: Category, unit, words, exemplars: unit 3 is the best of both categories, and keeps the better.
COVERAGE = [
    (5, 3, 4, 12),
    (5, 5, 9, 11),
    (9, 3, 3, 14),
    (9, 6, 3, 14),
    (13, 7, 5, 13),
    (18, 8, 9, 0),
]


def write(run: Path, name: str, place: int, **tables: list[dict[str, Any]]) -> Path:
    """Write an experiment's folder as the builder does."""
    folder = experiment_folder(run, name)
    folder.mkdir(parents=True)
    blank: dict[str, Any] = dict.fromkeys(FIGURE_SCHEMA.names)
    texts = dict.fromkeys(("arm", "part", "measure", "control", "note"), "")
    rows = [{**blank, **texts, **row, "number": i} for i, row in enumerate(FIGURES)]
    written = {"figures": pa.Table.from_pylist(rows, schema=FIGURE_SCHEMA)}
    for table, content in tables.items():
        written[table] = pa.Table.from_pylist(content, schema=EXPERIMENT_SCHEMAS[table])
    for table, values in written.items():
        write_table(folder / f"{table}.parquet", values, values.schema)
    content = {
        "format": EXPERIMENT_FORMAT,
        "version": EXPERIMENT_VERSION,
        "name": name,
        "title": f"What of {name}?",
        "place": place,
        "run_state": run_state(read_manifest(run)),
        "settings": {"seed": 0},
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": 1.5,
        "device": "cpu",
        "versions": {},
        "files": {f"{n}.parquet": file_sha256(folder / f"{n}.parquet") for n in written},
    }
    write_json(folder / "experiment.json", content)
    return folder


def effect(uid: int) -> dict[str, Any]:
    drops = ("logit_drop", "prob_drop", "relative_drop")
    names = [*drops, *(f"random_{name}" for name in drops)]
    return {"uid": uid, "n_images": 3, **{n: 0.5**i for i, n in enumerate(names)}}


def ablation(image_id: int, arm: str, k: int) -> dict[str, Any]:
    return {
        "image_id": image_id, "target": 0, "arm": arm, "draw": 0, "k": k, "prob": 0.5,
        "logit": 1.0, "relative_drop": 0.0, "caption": None if k == 1 else "a dog",
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two experiments, one of them with tables."""
    run = write_synthetic_run(tmp_path_factory.mktemp("experiments") / "run")
    image_id = _image_ids(run)[0]
    write(run, "zebra", 0)
    write(
        run,
        "ablation",
        1,
        ablations=[ablation(image_id, "random", 1), ablation(image_id, "none", 0)],
        unit_effects=[effect(40), effect(3)],
        adapter_tokens=[
            {"image_id": image_id, "patch": 2, "rank": 1, "token_id": 5, "cosine": 0.5}
        ],
        text_exemplars=[
            {"uid": 3, "rank": 1, "source": "captions", "passage": 4, "activation": 2.5,
             "position": 1, "tokens": ["A", " dog"], "activations": [0.5, 2.5]}
        ],
        unit_category_masks=[
            {"uid": 3, "category_id": 1, "n_images": 2, "iou": 0.5, "iou_unit_threshold": 0.5,
             "object_share": 0.25, "iou_bound": 0.75, "random_iou": 0.125}
        ],
        category_coverage=[
            {"category_id": category_id, "uid": uid, "n_words": n_words, "n_exemplars": n_shown}
            for category_id, uid, n_words, n_shown in COVERAGE
        ],
    )  # fmt: skip
    return run


@pytest.fixture(scope="module")
def atlas(run: Path) -> Path:
    database = run.parent / "a.duckdb"
    ingest(run, database)
    return database


def _image_ids(run: Path) -> list[int]:
    import pyarrow.parquet as pq

    return pq.read_table(run / "shards/00000/captions.parquet")["image_id"].to_pylist()


def test_figures_and_their_order(atlas: Path) -> None:
    with open_atlas(atlas).connect() as connection:
        first, second = queries.experiments(connection)
    assert (first.name, second.name) == ("zebra", "ablation")
    assert second.title == "What of ablation?"
    assert second.settings == {"seed": 0}
    assert second.seconds == 1.5
    one, other, gone = second.figures
    assert (one.value, one.low, one.high, one.control) == (0.25, 0.2, 0.3, "random units")
    assert (other.low, other.p_value) == (None, None)
    assert gone.is_left_out
    assert (gone.part, gone.note) == ("dog", "No image has a dog.")


def test_units_have_their_figures(atlas: Path) -> None:
    with open_atlas(atlas).connect() as connection:
        figures = queries.unit_figures(connection, 40)
        assert figures is not None
        assert (figures.n_zeroed_images, figures.logit_drop) == (3, 1.0)
        assert figures.random_logit_drop == 0.125
        assert (figures.iou, figures.auc) == (None, None)
        assert queries.unit_figures(connection, 41) is None
        (passage,) = queries.text_exemplars(connection, 3)
        units = connection.exec_driver_sql("SELECT uid, layer, unit FROM unit_effects").all()
        pairs = connection.exec_driver_sql(
            "SELECT n_mask_images, iou FROM unit_category_figures WHERE uid = 3 AND category_id = 1"
        ).all()
    assert (passage.tokens, passage.activations) == (("A", " dog"), (0.5, 2.5))
    assert [tuple(row) for row in units] == [(3, 0, 3), (40, 1, 8)]
    assert [tuple(row) for row in pairs] == [(2, 0.5)]


def test_ranges_tell_what_single_units_do(atlas: Path) -> None:
    with open_atlas(atlas).connect() as connection:
        found = queries.measured_units(connection, 0, 41)
        assert found == {uid: queries.unit_figures(connection, uid) for uid in (3, 40)}
        assert queries.measured_units(connection, 4, 40) == {}
        passages = queries.text_exemplars(connection, 3)
        assert queries.measured_texts(connection, 0, 41, limit=3) == {3: passages}
        assert queries.measured_texts(connection, 4, 41, limit=3) == {}


def test_units_that_cover_categories(atlas: Path, synthetic_atlas: Path) -> None:
    with open_atlas(atlas).connect() as connection:
        found = queries.covering_units(connection, limit=9)
        rows = connection.exec_driver_sql("SELECT category_id, name FROM categories").all()
        names = {row[0]: row[1] for row in rows}
        assert len(queries.covering_units(connection, limit=1)) == 1
    assert [(one.unit.uid, one.category, one.n_words, one.n_exemplars) for one in found] == [
        (3, names[9], 3, 14),
        (7, names[13], 5, 13),
    ]
    with open_atlas(synthetic_atlas).connect() as connection:
        assert queries.covering_units(connection, limit=9) == ()


def test_images_have_their_curves(atlas: Path, run: Path) -> None:
    image_id = _image_ids(run)[0]
    with open_atlas(atlas).connect() as connection:
        curve = queries.image_ablations(connection, image_id)
        tokens = queries.image_adapter_tokens(connection, image_id)
        assert queries.image_ablations(connection, -1) == ()
        assert queries.ablations(connection, image_id, image_id) == {image_id: curve}
        assert queries.category_units(connection, 1) == ()
        assert queries.replication(connection) == ()
        (word,) = connection.exec_driver_sql("SELECT token FROM tokens WHERE token_id = 5").one()
    assert [(row.arm, row.k, row.caption) for row in curve] == [
        ("none", 0, "a dog"), ("random", 1, None)
    ]  # fmt: skip
    assert [(row.patch, row.token) for row in tokens] == [(2, word)]


def test_the_content_hash_covers_them(atlas: Path, synthetic_atlas: Path) -> None:
    assert verify(atlas) != verify(synthetic_atlas)


def test_a_run_without_experiments(synthetic_atlas: Path) -> None:
    with open_atlas(synthetic_atlas).connect() as connection:
        assert queries.experiments(connection) == ()
        assert queries.unit_figures(connection, 3) is None
        for table in (*EXPERIMENT_SCHEMAS, "experiments"):
            (count,) = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").one()
            assert count == 0


def test_every_table_is_mapped_with_its_columns() -> None:
    for name, schema in EXPERIMENT_SCHEMAS.items():
        columns = set(Base.metadata.tables[name].columns.keys())
        added = {"layer", "unit"} if "uid" in schema.names else set()
        added |= {"token", "concept"} if name == "adapter_tokens" else set()
        assert columns == set(schema.names) | added, name
        nullable = {c.name for c in Base.metadata.tables[name].columns if c.nullable}
        assert nullable - {"concept"} == {f.name for f in schema if f.nullable}, name


def _copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_unfinished_experiments_are_no_part_of_it(run: Path, tmp_path: Path) -> None:
    copy = _copy(run, tmp_path)
    folder = experiment_folder(copy, "zebra")
    folder.rename(folder.with_name("zebra.partial"))
    chunks = folder.with_name("ablation.chunks")
    chunks.mkdir()
    (chunks / "experiment.json").write_text("{}", encoding="utf-8")
    ingest(copy, tmp_path / "a.duckdb")
    with open_atlas(tmp_path / "a.duckdb").connect() as connection:
        assert [e.name for e in queries.experiments(connection)] == ["ablation"]


def test_a_damaged_experiment_is_refused(run: Path, tmp_path: Path) -> None:
    copy = _copy(run, tmp_path)
    (experiment_folder(copy, "zebra") / "figures.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"damaged.*neuron-atlas report"):
        ingest(copy, tmp_path / "a.duckdb")


def test_an_experiment_of_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    copy = _copy(run, tmp_path)
    path = experiment_folder(copy, "zebra") / "experiment.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**content, "run_state": "0" * 64})
    with pytest.raises(RunError, match=r"other shards.*neuron-atlas report"):
        ingest(copy, tmp_path / "a.duckdb")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"unit_effects": [effect(10**6)]}, "unit_effects of units that do not exist"),
        ({"ablations": [ablation(-7, "none", 0)]}, "ablations of images that were not read"),
    ],
)
def test_contradictions_are_refused(
    run: Path, tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    copy = _copy(run, tmp_path)
    shutil.rmtree(experiment_folder(copy, "ablation"))
    write(copy, "ablation", 1, **tables)
    with pytest.raises(RunError, match=message):
        ingest(copy, tmp_path / "a.duckdb")


@pytest.fixture
def address(atlas: Path) -> Iterator[str]:
    with served(create_server(create_app(atlas), host="127.0.0.1", port=0, threads=2)) as address:
        yield address


def test_file_and_server_say_what_the_experiments_found(
    atlas: Path, run: Path, address: str
) -> None:
    image_id = _image_ids(run)[0]
    with open_atlas(atlas).connect() as connection:
        expected = (
            queries.experiments(connection),
            queries.unit_experiments(connection, 0, 3),
            queries.unit_experiments(connection, 0, 4),
            queries.image_experiments(connection, image_id),
        )
    for source in (atlas, address):
        asked = Atlas(source)
        found = (
            asked.experiments(),
            asked.unit_experiments("L0.U3"),
            asked.unit_experiments(0, 4),
            asked.image_experiments(image_id),
        )
        assert [dumps(one) for one in found] == [dumps(one) for one in expected]
        every, unit, other, image = found
        assert list(every.to_pandas()["name"]) == ["zebra", "ablation"]
        assert json.loads(every.to_pandas()["settings"][0]) == {"seed": 0}
        assert list(every[0].figures.to_pandas()["arm"])[:2] == ["top units", "random units"]
        assert unit.figures is not None
        assert (unit.figures.uid, unit.figures.logit_drop, unit.figures.iou) == (3, 1.0, None)
        assert list(unit.texts.to_arrow()["tokens"][0].as_py()) == ["A", " dog"]
        assert (other.figures, len(other.texts)) == (None, 0)
        assert set(image.ablations.to_pandas()["arm"]) == {"random", "none"}
        assert list(image.adapter_tokens.to_pandas()["cosine"]) == [0.5]
        with pytest.raises(NotInAtlasError, match="0 to 2"):
            asked.unit_experiments(9, 0)
        with pytest.raises(NotInAtlasError, match="Image 999999 "):
            asked.image_experiments(999_999)


def test_an_atlas_without_experiments_has_none_to_tell(synthetic_atlas: Path) -> None:
    client = create_app(synthetic_atlas).test_client()
    assert client.get("/api/v1/experiments").get_json() == {"rows": []}
    found = client.get("/api/v1/units/0/3/experiments")
    assert found.get_json() == {"figures": None, "texts": []}
    assert "ETag" in found.headers
