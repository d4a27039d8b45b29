"""A synthetic run folder and its atlas, made once for all tests; tests must not write to them."""

from pathlib import Path

import pytest

from atlas_db.fixtures import write_synthetic_run


@pytest.fixture(scope="session")
def synthetic_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of 3 layers of 32 units and 12 images, one of them skipped, in two shards."""
    return write_synthetic_run(tmp_path_factory.mktemp("synthetic") / "run")


@pytest.fixture(scope="session")
def synthetic_atlas(synthetic_run: Path) -> Path:
    """The atlas that `synthetic_run` is ingested into."""
    from atlas_db.ingest import ingest

    database = synthetic_run.parent / "synthetic.duckdb"
    ingest(synthetic_run, database)
    return database


@pytest.fixture(scope="session")
def coco_mini() -> Path:
    """159 real COCO photographs, kept beside the project and never in it."""
    folder = Path(__file__).parents[2] / "shared" / "coco-mini"
    if not folder.is_dir():
        pytest.skip("the photographs of ../shared/coco-mini are not here")
    return folder
