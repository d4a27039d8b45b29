"""What is exported is read by other tools, and is what the atlas has."""

import base64
import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from atlas_db.connection import open_atlas
from atlas_db.errors import AtlasError, NotInAtlasError
from atlas_db.export import FORMATS, export
from neuron_atlas.cli import main


def own(atlas: Path, statement: str) -> list[Any]:
    engine = open_atlas(atlas)
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        rows: list[Any] = raw.execute(statement).fetchall()
    engine.dispose()
    return rows


@pytest.fixture(scope="module")
def folders(synthetic_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("exported")
    for form in FORMATS:
        export(synthetic_atlas, parent / form, form=form)
    return {form: parent / form for form in FORMATS}


@pytest.mark.parametrize("form", FORMATS)
def test_every_table_is_there_with_all_rows(
    synthetic_atlas: Path, folders: dict[str, Path], form: str
) -> None:
    counted = {
        name: own(synthetic_atlas, f"SELECT count(*) FROM {name}")[0][0]
        for (name,) in own(
            synthetic_atlas, "SELECT table_name FROM duckdb_tables() WHERE NOT internal"
        )
    }
    files = {path.stem: path for path in folders[form].iterdir() if path.name != "README.md"}
    assert set(files) == set(counted)
    reader = {"parquet": "read_parquet", "csv": "read_csv", "ndjson": "read_json"}[form]
    for name, path in files.items():
        if counted[name] or form == "parquet":
            assert duckdb.execute(f"SELECT count(*) FROM {reader}('{path}')").fetchall() == [
                (counted[name],)
            ]


def test_parquet_is_the_table(synthetic_atlas: Path, folders: dict[str, Path]) -> None:
    for name in ("units", "heatmaps", "image_units", "tokens"):
        expected = own(synthetic_atlas, f"SELECT * FROM {name}")
        table = pq.read_table(folders["parquet"] / f"{name}.parquet")
        assert [tuple(row.values()) for row in table.to_pylist()] == expected


def test_pandas_reads_all_three_alike(synthetic_atlas: Path, folders: dict[str, Path]) -> None:
    frames = [
        pd.read_parquet(folders["parquet"] / "unit_tokens.parquet"),
        pd.read_csv(folders["csv"] / "unit_tokens.csv", keep_default_na=False, na_values=[""]),
        pd.read_json(folders["ndjson"] / "unit_tokens.ndjson", lines=True, dtype=False),
    ]
    tokens = [row[0] for row in own(synthetic_atlas, "SELECT token FROM unit_tokens")]
    for frame in frames:
        assert list(frame["token"]) == tokens
        assert frame["uid"].sum() == frames[0]["uid"].sum()


def test_lists_and_bytes_survive_csv_and_ndjson(
    synthetic_atlas: Path, folders: dict[str, Path]
) -> None:
    tokens = [row[0] for row in own(synthetic_atlas, "SELECT top_tokens FROM units")]
    maps = [row[0] for row in own(synthetic_atlas, "SELECT maps FROM heatmaps")]
    sheet = pd.read_csv(folders["csv"] / "units.csv")
    assert [json.loads(text) for text in sheet["top_tokens"]] == tokens
    lines = (folders["ndjson"] / "units.ndjson").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["top_tokens"] for line in lines] == tokens
    packed = pd.read_csv(folders["csv"] / "heatmaps.csv")["maps"]
    assert [base64.b64decode(text) for text in packed] == maps
    lines = (folders["ndjson"] / "heatmaps.ndjson").read_text(encoding="utf-8").splitlines()
    assert [base64.b64decode(json.loads(line)["maps"]) for line in lines] == maps


@pytest.mark.parametrize("form", FORMATS)
def test_the_card_says_what_is_in_the_folder(
    synthetic_atlas: Path, folders: dict[str, Path], form: str
) -> None:
    text = (folders[form] / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    listed = {config["data_files"] for config in head["configs"]}
    assert listed == {path.name for path in folders[form].iterdir()} - {"README.md"}
    content_hash = own(synthetic_atlas, "SELECT value FROM atlas WHERE key = 'content_hash'")
    assert content_hash[0][0] in text
    assert "random" in text  # the synthetic captioner's weights are
    assert f"`units.{form}` | 96 |" in text
    assert "| `uid` | INTEGER | layer * units_per_layer + unit |" in text
    code = text.split("```python\n")[1].split("```")[0]
    place: dict[str, Any] = {}
    exec(code.replace('("', f'("{folders[form]}/'), place)
    assert len(place["units"]) == 96


def test_some_tables_alone(synthetic_atlas: Path, tmp_path: Path) -> None:
    files = export(synthetic_atlas, tmp_path / "some", form="csv", only=["units", "layers"])
    assert {file.name for file in files} == {"units.csv", "layers.csv"}
    assert {path.name for path in (tmp_path / "some").iterdir()} == {
        "README.md", "units.csv", "layers.csv"
    }  # fmt: skip


def test_nothing_is_overwritten_and_nothing_half_is_left(
    synthetic_atlas: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("kept")
    with pytest.raises(AtlasError, match="new folder"):
        export(synthetic_atlas, full, form="csv")
    with pytest.raises(NotInAtlasError, match=r"no table 'unit'.*units"):
        export(synthetic_atlas, tmp_path / "new", form="csv", only=["unit"])
    (tmp_path / "file").write_text("")
    with pytest.raises(AtlasError, match="cannot be written"):
        export(synthetic_atlas, tmp_path / "file" / "below", form="csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    assert (full / "mine").read_text() == "kept"


def test_from_the_command_line(synthetic_atlas: Path, tmp_path: Path) -> None:
    arguments = ["export", "--db", str(synthetic_atlas), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*arguments, "--format", "ndjson", "--table", "layers"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("1 table, 0.0 MB")
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "new folder" in again.output
