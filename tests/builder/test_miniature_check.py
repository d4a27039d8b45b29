"""The check of captions, on captions whose rightness is known."""

from pathlib import Path

import pytest

from builder.captioner import load_captioner
from builder.init_random import init_random_captioner
from builder.miniature.check import (
    CaptionCheck,
    _share,
    check_captions,
    names_either,
    names_object_first,
    names_scene,
)
from builder.miniature.world import draw_picture

N_PICTURES = 40
PICTURES = [draw_picture("val", 0, index) for index in range(N_PICTURES)]


def test_true_captions_name_what_is_there_and_shuffled_ones_seldom() -> None:
    captions = [picture.captions[0] for picture in PICTURES]
    first = _share(captions, PICTURES, names_object_first)
    assert first.value > 0.8
    assert first.low <= first.value <= first.high
    assert first.chance < 0.2
    assert _share(captions, PICTURES, names_either).value == 1
    assert 0.05 < _share(captions, PICTURES, names_scene).chance < 0.5


def test_a_wrong_caption_names_nothing() -> None:
    for rule in (names_object_first, names_scene, names_either):
        assert not rule("an idea about nothing", PICTURES[0])
        assert not rule("", PICTURES[0])


def test_the_check_runs_a_captioner(tmp_path: Path) -> None:
    init_random_captioner(tmp_path / "random", family="gptj")
    found = check_captions(load_captioner(tmp_path / "random"), n_pictures=3)
    assert isinstance(found, CaptionCheck)
    assert len(found.captions) == 3
    assert found.first_noun.value <= 0.5
    with pytest.raises(ValueError, match="n_pictures must be >= 2"):
        check_captions(load_captioner(tmp_path / "random"), n_pictures=1)
