"""COCO's layout: what is read from it, in which order, and what is said of files that are wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from atlas_db.errors import DatasetError
from atlas_db.run_format import DATASET_SCHEMAS, file_sha256
from builder.coco import load_coco
from builder.masks import decode_mask

SPLIT = "val2017"
HEIGHT, WIDTH = 6, 8
#: A crowd region: the two columns 2 and 3 of an image of 6 rows, in column order.
CROWD_COUNTS = [2 * HEIGHT, 2 * HEIGHT, HEIGHT * WIDTH - 4 * HEIGHT]

Json = dict[str, Any]


def _images() -> list[Json]:
    return [
        {
            "id": id_,
            "file_name": f"{id_:012}.jpg",
            "width": WIDTH,
            "height": HEIGHT,
            "license": licence,
            "flickr_url": f"http://flickr.example/{id_}",
            "coco_url": f"http://coco.example/{id_}",
        }
        for id_, licence in ((9, 1), (3, 2), (5, 77))
    ]


def _captions() -> Json:
    return {
        "images": _images(),
        "licenses": [
            {"id": 2, "name": "Attribution", "url": "http://cc.example/by"},
            {"id": 1, "name": "NonCommercial", "url": "http://cc.example/nc"},
        ],
        "annotations": [
            {"id": 21, "image_id": 3, "caption": "A later caption.\n"},
            {"id": 20, "image_id": 3, "caption": " An earlier one. "},
            {"id": 22, "image_id": 9, "caption": "Ein Hund läuft."},
        ],
    }


def _instance(id_: int, image_id: int, segmentation: Any, **more: Any) -> Json:
    entry = {
        "id": id_,
        "image_id": image_id,
        "category_id": 4,
        "iscrowd": 0,
        "area": 6.0,
        "bbox": [1.0, 2.0, 3.0, 2.0],
        "segmentation": segmentation,
    }
    return entry | more


def _instances() -> Json:
    crowd = {"size": [HEIGHT, WIDTH], "counts": CROWD_COUNTS}
    return {
        "images": _images(),
        "licenses": _captions()["licenses"],
        "categories": [
            {"id": 7, "name": "cat", "supercategory": "animal"},
            {"id": 4, "name": "boat", "supercategory": "vehicle"},
        ],
        "annotations": [
            _instance(900, 9, crowd, category_id=7, iscrowd=1),
            _instance(100, 9, [[1, 2, 4, 2, 4, 4, 1, 4], [6, 0, 8, 0, 8, 1, 6, 1]]),
            _instance(50, 3, [[0, 0, 8, 0, 8, 6, 0, 6]]),
        ],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / SPLIT).mkdir()
    (tmp_path / "annotations").mkdir()
    _write(tmp_path, "captions", _captions())
    _write(tmp_path, "instances", _instances())
    return tmp_path


def _write(folder: Path, kind: str, content: Any) -> Path:
    path = folder / "annotations" / f"{kind}_{SPLIT}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_tables_have_the_run_formats_schemas_and_ascending_images(folder: Path) -> None:
    dataset = load_coco(folder, SPLIT)
    assert {name: table.schema for name, table in dataset.tables.items()} == DATASET_SCHEMAS
    assert dataset.images.to_pylist()[0] == {
        "image_id": 3,
        "file": "val2017/000000000003.jpg",
        "split": SPLIT,
        "width_px": WIDTH,
        "height_px": HEIGHT,
        "licence_id": 2,
        "source_url": "http://flickr.example/3",
        "coco_url": "http://coco.example/3",
    }
    assert dataset.images["image_id"].to_pylist() == [3, 5, 9]
    # The licence 77 is not in the file's list.
    assert dataset.images["licence_id"].to_pylist() == [2, -1, 1]
    assert dataset.tables["licences"]["name"].to_pylist() == ["NonCommercial", "Attribution"]
    assert dataset.tables["categories"]["name"].to_pylist() == ["boat", "cat"]
    assert dataset.warnings == ()
    path = folder / "annotations" / f"captions_{SPLIT}.json"
    assert dataset.sha256[f"annotations/captions_{SPLIT}.json"] == file_sha256(path)


def test_captions_are_numbered_by_annotation_id_and_stripped(folder: Path) -> None:
    captions = load_coco(folder, SPLIT).tables["human_captions"].to_pylist()
    assert [tuple(row.values()) for row in captions] == [
        (3, 0, "An earlier one."),
        (3, 1, "A later caption."),
        (9, 0, "Ein Hund läuft."),
    ]


def test_polygons_and_crowd_become_the_masks_that_were_drawn(folder: Path) -> None:
    rows = load_coco(folder, SPLIT).tables["instances"].to_pylist()
    assert [(row["image_id"], row["instance_id"]) for row in rows] == [(3, 50), (9, 100), (9, 900)]
    assert [row["is_crowd"] for row in rows] == [False, False, True]
    masks = [decode_mask(row["rle_counts"], HEIGHT, WIDTH) for row in rows]
    expected = np.zeros((3, HEIGHT, WIDTH), bool)
    expected[0] = True
    expected[1, 2:4, 1:4] = True
    expected[1, 0, 6:8] = True
    expected[2, :, 2:4] = True
    np.testing.assert_array_equal(np.stack(masks), expected)


def test_compressed_crowd_counts_are_kept(folder: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[1:5, 3:7] = 1
    mask[0, 0] = 1
    counts = coco_mask.encode(mask)["counts"].decode()
    content = _instances()
    content["annotations"] = [_instance(1, 3, {"size": [HEIGHT, WIDTH], "counts": counts})]
    _write(folder, "instances", content)
    (row,) = load_coco(folder, SPLIT).tables["instances"].to_pylist()
    np.testing.assert_array_equal(decode_mask(row["rle_counts"], HEIGHT, WIDTH), mask.astype(bool))


def test_limit_and_start_keep_only_what_belongs_to_the_chosen_images(folder: Path) -> None:
    dataset = load_coco(folder, SPLIT, start=1, limit=2)
    assert dataset.images["image_id"].to_pylist() == [5, 9]
    assert set(dataset.tables["human_captions"]["image_id"].to_pylist()) == {9}
    assert dataset.tables["instances"]["instance_id"].to_pylist() == [100, 900]
    with pytest.raises(ValueError, match="limit >= 1, got 0 and 0"):
        load_coco(folder, SPLIT, limit=0)
    with pytest.raises(DatasetError, match="No image is left of the 3"):
        load_coco(folder, SPLIT, start=3)


@pytest.mark.parametrize(
    ("missing", "empty", "words"),
    [
        ("captions", ["human_captions"], "human captions"),
        ("instances", ["instances", "categories"], "objects and masks"),
    ],
)
def test_one_missing_annotation_file_is_a_warning(
    missing: str, empty: list[str], words: str, folder: Path
) -> None:
    (folder / "annotations" / f"{missing}_{SPLIT}.json").unlink()
    dataset = load_coco(folder, SPLIT)
    assert dataset.images.num_rows == 3
    assert [dataset.tables[name].num_rows for name in empty] == [0] * len(empty)
    (warning,) = dataset.warnings
    assert warning.startswith(f"annotations/{missing}_{SPLIT}.json is missing")
    assert words in warning


def test_without_pycocotools_masks_are_left_out_with_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.masks.coco_mask", None)
    dataset = load_coco(folder, SPLIT)
    assert dataset.tables["instances"]["rle_counts"].to_pylist() == ["", "", ""]
    assert dataset.tables["instances"]["area_px"].to_pylist() == [6.0, 6.0, 6.0]
    (warning,) = dataset.warnings
    assert "masks of 3 objects are left out" in warning
    assert "pip install 'neuron-atlas[coco]'" in warning


def test_an_object_without_a_polygon_is_kept_without_a_mask(folder: Path) -> None:
    content = _instances()
    # Four numbers are no polygon; pycocotools alone would take them for a box.
    content["annotations"] = [_instance(1, 3, [[0, 0, 4, 4]]), _instance(2, 3, [])]
    _write(folder, "instances", content)
    dataset = load_coco(folder, SPLIT)
    assert dataset.tables["instances"]["rle_counts"].to_pylist() == ["", ""]
    assert "2 objects have no polygon" in dataset.warnings[0]


def _change(path: list[Any], value: Any) -> Callable[[Json], None]:
    def change(content: Json) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def _short_counts() -> Json:
    counts = coco_mask.encode(np.ones((2, 2), np.uint8, order="F"))["counts"].decode()
    return {"size": [HEIGHT, WIDTH], "counts": counts}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("captions", _change(["annotations", 0, "image_id"], 4), r"for 1 images .* 4\. Add these"),
        ("captions", _change(["images", 1, "id"], 9), r"1 ids occur more than once in 'images'"),
        ("captions", _change(["annotations", 0, "id"], 22), r"once in 'annotations', the first 22"),
        ("captions", _change(["images", 0, "width"], "8"), r"images\[0\] must have 'width'"),
        ("captions", _change(["images", 0], 5), r"images\[0\] must have 'id' .* got 5"),
        ("captions", _change(["images"], {}), r"has no list 'images'"),
        ("captions", _change(["annotations", 0, "caption"], None), r"must have 'caption'"),
        ("captions", _change(["images", 0, "width"], 80), r"'images' gives id 9 the width"),
        ("instances", _change(["annotations", 0, "category_id"], 1), r"900 has category 1"),
        ("instances", _change(["annotations", 0, "bbox"], [1, 2, 3]), r"900 has category 7"),
        ("instances", _change(["annotations", 0, "bbox"], [1, 2, 3, "4"]), r"four numbers"),
        ("instances", _change(["annotations", 0, "segmentation"], None), r"900 of image 9 has a"),
        ("instances", _change(["annotations", 0, "segmentation"], [7]), r"900 of image 9 has a"),
        ("instances", _change(["annotations", 0, "segmentation", "size"], [8, 6]), r"6 rows, 8"),
        ("instances", _change(["annotations", 0, "segmentation", "counts"], [1]), r"6 rows, 8"),
        ("instances", _change(["annotations", 0, "segmentation"], _short_counts()), r"6 rows, 8"),
        (
            "instances",
            _change(["annotations", 0, "segmentation", "counts"], "é"),
            r"neither a list of polygons nor",
        ),
    ],
)
def test_wrong_entries_are_named(
    kind: str, change: Callable[[Json], None], message: str, folder: Path
) -> None:
    content = copy.deepcopy({"captions": _captions, "instances": _instances}[kind]())
    change(content)
    _write(folder, kind, content)
    with pytest.raises(DatasetError, match=message) as caught:
        load_coco(folder, SPLIT)
    assert str(folder / "annotations") in str(caught.value)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd"])
def test_files_outside_the_split_are_refused(name: str, folder: Path) -> None:
    for kind, content in (("captions", _captions()), ("instances", _instances())):
        content["images"][0]["file_name"] = name
        _write(folder, kind, content)
    with pytest.raises(DatasetError, match="Wanted a path inside the split's folder"):
        load_coco(folder, SPLIT)


def test_a_file_that_is_not_json_is_named_with_line_and_column(folder: Path) -> None:
    path = folder / "annotations" / f"captions_{SPLIT}.json"
    path.write_text('{"images": [],\n "annotations": [}')
    with pytest.raises(DatasetError, match=r"is not JSON: .* at line 2, column 18") as caught:
        load_coco(folder, SPLIT)
    assert str(path) in str(caught.value)


def test_missing_folders_are_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere does not exist. Correct --coco"):
        load_coco(folder / "nowhere", SPLIT)
    with pytest.raises(DatasetError, match=r"test2017 is missing. Wanted the photographs"):
        load_coco(folder, "test2017")
    with pytest.raises(DatasetError, match="must be a name"):
        load_coco(folder, "../elsewhere")
    for path in (folder / "annotations").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"neither .*captions_val2017.json nor .*instances"):
        load_coco(folder, SPLIT)


# pycocotools 2.0.11 itself decodes in a way that numpy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_mini_has_the_masks_that_pycocotools_makes(
    coco_mini: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = load_coco(coco_mini, SPLIT)
    assert dataset.warnings == ()
    reference = COCO(str(coco_mini / "annotations" / f"instances_{SPLIT}.json"))
    capsys.readouterr()
    sizes = {
        row["image_id"]: (row["height_px"], row["width_px"]) for row in dataset.images.to_pylist()
    }
    rows = dataset.tables["instances"].to_pylist()
    assert len(sizes) == len(list((coco_mini / SPLIT).glob("*.jpg")))
    assert {row["instance_id"] for row in rows} == set(reference.anns)
    assert any(row["is_crowd"] for row in rows)
    for row in rows:
        expected = reference.annToMask(reference.anns[row["instance_id"]]).astype(bool)
        mask = decode_mask(row["rle_counts"], *sizes[row["image_id"]])
        np.testing.assert_array_equal(mask, expected)
    for image_id in sizes:
        assert {r["caption"] for r in _captions_of(dataset, image_id)} == _mini_captions(
            coco_mini, image_id
        )


def _captions_of(dataset: Any, image_id: int) -> list[Json]:
    rows = dataset.tables["human_captions"].to_pylist()
    return [row for row in rows if row["image_id"] == image_id]


def _mini_captions(coco_mini: Path, image_id: int) -> set[str]:
    path = coco_mini / "annotations" / f"captions_{SPLIT}.json"
    entries = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    return {entry["caption"].strip() for entry in entries if entry["image_id"] == image_id}
