"""Filters and sorts by what experiments measured, where there are experiments and where not."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from atlas_db import Atlas
from atlas_db.errors import NotMeasuredError

#: Of each unit that was measured: its IoU, and its effect. The others were not looked at.
IOU = {uid: uid % 7 / 10 for uid in range(3, 60)}
EFFECT = {uid: (uid % 5 - 1) / 5 for uid in range(20, 96, 2)}


@pytest.fixture(scope="module")
def measured(synthetic_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured") / "atlas.duckdb"
    shutil.copy(synthetic_atlas, path)
    with duckdb.connect(str(path)) as connection:
        for table, column, values in (
            ("unit_masks", "iou", IOU),
            ("unit_effects", "relative_drop", EFFECT),
        ):
            connection.execute(f"CREATE OR REPLACE TABLE {table} (uid INTEGER, {column} REAL)")
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", list(values.items()))
    return path


@pytest.fixture(scope="module")
def asked(measured: Path) -> FlaskClient:
    return create_app(measured, sql_limits=None).test_client()


def uids(client: FlaskClient, **query: Any) -> list[int]:
    response = client.get("/api/v1/units", query_string={"limit": 500, **query})
    assert response.status_code == 200, response.data
    page = response.get_json()
    assert page["total"] == len(page["rows"])
    return [row["uid"] for row in page["rows"]]


def test_the_least_overlap_and_the_least_effect(asked: FlaskClient) -> None:
    assert set(uids(asked, min_iou=0.35)) == {uid for uid, iou in IOU.items() if iou >= 0.35}
    assert set(uids(asked, min_effect="-1")) == set(EFFECT)
    both = {uid for uid in IOU if IOU[uid] >= 0.35 and EFFECT.get(uid, -9) >= 0.35}
    assert set(uids(asked, min_iou=0.35, min_effect="3.5e-1")) == both
    assert both


def test_falling_with_those_not_measured_at_the_end(asked: FlaskClient) -> None:
    for sort, values in (("iou", IOU), ("effect", EFFECT)):
        expected = sorted(range(96), key=lambda uid: (-values.get(uid, -9.0), uid))
        assert uids(asked, sort=sort) == expected


def test_beside_other_filters(asked: FlaskClient) -> None:
    of_layer = uids(asked, layer=1, always_on="false", min_iou=0.5, sort="iou")
    assert of_layer
    assert all(32 <= uid < 64 and uid != 7 and IOU[uid] >= 0.5 for uid in of_layer)


@pytest.mark.parametrize("query", ["min_iou=0", "min_effect=0", "sort=iou", "sort=effect"])
def test_an_atlas_without_experiments_says_so(client: FlaskClient, query: str) -> None:
    response = client.get(f"/api/v1/units?{query}")
    assert response.status_code == 422
    error = response.get_json()["error"]
    assert error["code"] == "not_measured"
    assert "no experiment" in error["message"]
    assert "Leave" in error["hint"]


@pytest.mark.parametrize("text", ["", "nan", "inf", "1.5", "-2", "0,5", "0x1", "1e9999", "true"])
def test_what_is_no_share_is_refused(asked: FlaskClient, text: str) -> None:
    response = asked.get("/api/v1/units", query_string={"min_iou": text})
    assert response.status_code == 400
    assert "min_iou" in response.get_json()["error"]["message"]


def test_in_python(measured: Path, synthetic_atlas: Path) -> None:
    with Atlas(measured) as atlas:
        found = atlas.units(min_iou=0.35, min_effect=0.3, sort="effect", limit=None)
        assert [unit.uid for unit in found] == sorted(
            (uid for uid in IOU if IOU[uid] >= 0.35 and EFFECT.get(uid, -9) >= 0.3),
            key=lambda uid: (-EFFECT[uid], uid),
        )
    with Atlas(synthetic_atlas) as atlas, pytest.raises(NotMeasuredError, match="no iou"):
        atlas.units(min_iou=0.1)
