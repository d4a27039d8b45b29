"""The picture world: masks are where things are, pictures depend on their seed alone."""

import numpy as np
import pytest

from builder.miniature.captions import N_CAPTIONS
from builder.miniature.concepts import concepts, scenes
from builder.miniature.drawings import DRAWINGS
from builder.miniature.pen import PALETTE, Pen
from builder.miniature.world import draw_picture
from builder.targets import lexicon_words

N_PICTURES = 60
PICTURES = [draw_picture("train", 3, index) for index in range(N_PICTURES)]


def test_a_mask_is_where_the_thing_changes_the_picture() -> None:
    checked = 0
    for index in range(12):
        whole = PICTURES[index]
        for skip, instance in enumerate(whole.instances):
            without = draw_picture("train", 3, index, skip=skip)
            changed = (whole.pixels != without.pixels).any(axis=2)
            assert not (changed & ~instance.mask).any()
            assert changed[instance.mask].mean() > 0.99
            checked += 1
    assert checked >= 15


def test_masks_and_surface_do_not_overlap() -> None:
    for picture in PICTURES:
        stack = np.stack([*(instance.mask for instance in picture.instances), picture.surface])
        assert stack.sum(axis=0).max() <= 1


def test_a_picture_depends_on_split_seed_and_index_alone() -> None:
    again = draw_picture("train", 3, 7)
    assert np.array_equal(again.pixels, PICTURES[7].pixels)
    assert again.captions == PICTURES[7].captions
    for other in (("val", 3, 7), ("train", 4, 7), ("train", 3, 8)):
        assert not np.array_equal(draw_picture(*other).pixels, again.pixels)


def test_things_are_where_they_belong_and_in_their_colours() -> None:
    for picture in PICTURES:
        assert picture.instances
        for instance in picture.instances:
            concept = concepts()[instance.concept]
            assert picture.scene in concept.habitats
            assert instance.colour in concept.colours


def test_the_first_noun_of_a_caption_is_in_the_picture() -> None:
    known = 0
    for picture in PICTURES:
        assert len(picture.captions) == N_CAPTIONS
        words = scenes()[picture.scene].words | {"pair", "loaf", "city"}
        for instance in picture.instances:
            words |= concepts()[instance.concept].words
        for caption in picture.captions:
            nouns = [word.text for word in lexicon_words(caption) if word.part_of_speech == "noun"]
            known += nouns[0] in words
    assert known == N_PICTURES * N_CAPTIONS


def test_the_world_is_wide_enough() -> None:
    assert len(concepts()) >= 40
    assert len({scene.word for scene in scenes().values()}) >= 8
    lived_in = {scene for concept in concepts().values() for scene in concept.habitats}
    assert lived_in == set(scenes())


@pytest.mark.parametrize("name", list(concepts()))
def test_a_drawing_fills_its_square_and_varies(name: str) -> None:
    sprites = []
    for seed in range(2):
        pen = Pen(80, np.random.default_rng(seed))
        DRAWINGS[name](pen, PALETTE[concepts()[name].colours[0]])
        sprites.append(pen.finish())
    assert max(sprites[0].size) > 80 * 0.7
    assert sprites[0].tobytes() != sprites[1].tobytes()


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split must be one of train, val"):
        draw_picture("test", 0, 0)
    with pytest.raises(ValueError, match="must be >= 0"):
        draw_picture("train", 0, -1)
