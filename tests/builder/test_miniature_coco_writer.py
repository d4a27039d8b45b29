"""The picture world as COCO files, read by pycocotools and by the project's own reader."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from builder.coco import load_coco
from builder.miniature.coco_writer import (
    MAX_OWNERS,
    categories,
    category_words,
    run_lengths,
    write_coco,
)
from builder.miniature.concepts import concepts
from builder.miniature.world import SIZE_PX, draw_picture
from tests.tools.orphans import orphans

N_IMAGES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("world"), split="val", n_images=N_IMAGES, seed=5)


# pycocotools makes its arrays as numpy 1 did.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_the_masks_that_were_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = COCO(str(folder / "annotations" / "instances_val.json"))
    for index in range(N_IMAGES):
        picture = draw_picture("val", 5, index)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1]))
        drawn = [(instance.concept, instance.mask) for instance in picture.instances]
        things = [entry for entry in annotations if entry["category_id"] < 200]
        assert len(things) == len(drawn)
        for entry, (concept, mask) in zip(things, drawn, strict=True):
            assert coco.cats[entry["category_id"]]["name"] == concept
            assert np.array_equal(coco.annToMask(entry).astype(bool), mask)
            assert entry["area"] == mask.sum()


def test_images_are_what_was_drawn(folder: Path) -> None:
    pixels = np.asarray(Image.open(folder / "val" / "000000000003.jpg"), np.int16)
    drawn = draw_picture("val", 5, 2).pixels.astype(np.int16)
    assert pixels.shape == (SIZE_PX, SIZE_PX, 3)
    assert np.abs(pixels - drawn).mean() < 4


def test_the_builder_reads_it(folder: Path) -> None:
    dataset = load_coco(folder, "val")
    tables = dataset.tables
    assert tables["images"].num_rows == N_IMAGES
    assert tables["human_captions"].num_rows == 5 * N_IMAGES
    assert tables["categories"].num_rows == len(categories())
    assert all(tables["instances"].column("rle_counts").to_pylist())
    assert "CC0" in tables["licences"].column("name").to_pylist()[0]


def test_workers_do_not_change_the_files(folder: Path, tmp_path: Path) -> None:
    write_coco(tmp_path, split="val", n_images=N_IMAGES, seed=5, n_workers=2)
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(files) == N_IMAGES + 3
    for file in files:
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


def test_run_lengths_count_down_columns_from_zeros() -> None:
    mask = np.array([[True, False], [True, True]])
    assert run_lengths(mask) == [0, 2, 1, 1]
    assert run_lengths(~mask) == [2, 1, 1]


def test_captions_end_as_sentences_and_names_are_unique(folder: Path) -> None:
    content = json.loads((folder / "annotations" / "captions_val.json").read_text())
    assert all(entry["caption"].endswith(".") for entry in content["annotations"])
    names = [category["name"] for category in categories()]
    assert len(set(names)) == len(names)


def test_bad_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_images and n_workers must be >= 1"):
        write_coco(tmp_path, split="val", n_images=0, seed=0)


def test_the_words_of_every_category_lie_beside_the_annotations(folder: Path) -> None:
    words = json.loads((folder / "annotations" / "words_val.json").read_text())
    assert set(words) == {category["name"] for category in categories()}
    assert {"boat", "boats", "dinghy"} <= set(words["boat"]["names"])
    assert {"boat", "sail", "harbor"} <= set(words["boat"]["words"])
    assert {"sea", "ocean", "wave"} <= set(words["water"]["words"])


def test_words_of_many_categories_are_words_of_none() -> None:
    words = category_words()
    owners = Counter(word for entry in words.values() for word in entry["words"])
    assert max(owners.values()) == MAX_OWNERS
    assert {"standing", "tail"} <= concepts()["horse"].words
    assert not {"standing", "tail"} & set(words["horse"]["words"])
    assert all(name in entry["words"] for name, entry in words.items())


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(
    "draw", ["coco_writer import write_coco", "picture_cache import draw_cache"]
)
def test_no_process_goes_on_drawing_when_the_command_is_killed(draw: str, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from builder.miniature.{draw} as draw

draw(Path(sys.argv[1]), split="val", n_images=20_000, seed=1, n_workers=2)
"""
    assert orphans(program, str(tmp_path), n_children=2) == (2, [])
