"""What a data set says of its pictures: categories, masks as the model sees them, captions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.experiments.context import ExperimentContext, FinishedRun, promoted_texts
from builder.experiments.words import WordLists, shipped_list, text_stems, token_stem, word_lists
from builder.geometry import view_of
from builder.masks import decode_mask, mask_in_view
from builder.targets import lexicon_words

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Contents:
    """The pictures of a run, as its data set describes them.

    Attributes:
        lists: The words of every category.
    """

    context: ExperimentContext
    lists: WordLists

    @cached_property
    def categories_of(self) -> Mapping[int, frozenset[int]]:
        """The categories in each image that has any; crowds count."""
        rows = self.context.run.table("instances", ["image_id", "category_id"])
        found: dict[int, set[int]] = defaultdict(set)
        for image_id, category_id in zip(*_lists(rows), strict=True):
            found[image_id].add(category_id)
        return {image_id: frozenset(ids) for image_id, ids in found.items()}

    @cached_property
    def single_object_images(self) -> frozenset[int]:
        """Images with exactly one annotated object; a scene is no object, a crowd is many."""
        rows = self.context.run.table("instances", ["image_id", "category_id", "is_crowd"])
        counts: dict[int, int] = defaultdict(int)
        for image_id, category_id, is_crowd in zip(*_lists(rows), strict=True):
            if not self.lists.by_id[category_id].is_scene:
                counts[image_id] += 2 if is_crowd else 1
        return frozenset(image_id for image_id, count in counts.items() if count == 1)

    @cached_property
    def captions_of(self) -> Mapping[int, list[str]]:
        """The human captions of each image that has any."""
        rows = self.context.run.table("human_captions", ["image_id", "caption"])
        found: dict[int, list[str]] = defaultdict(list)
        for image_id, caption in zip(*_lists(rows), strict=True):
            found[image_id].append(caption)
        return dict(found)

    @cached_property
    def caption_stems_of(self) -> Mapping[int, frozenset[str]]:
        """The stems of the content words of an image's human captions ("a", "on" are none)."""
        return {
            image_id: frozenset().union(*map(content_stems, captions))
            for image_id, captions in self.captions_of.items()
        }

    @cached_property
    def generated_of(self) -> Mapping[int, str]:
        """The caption that the model gave each image."""
        rows = self.context.run.table("captions", ["image_id", "caption"])
        return dict(zip(*_lists(rows), strict=True))

    @cached_property
    def target_word_of(self) -> Mapping[int, str]:
        """The first target of each image that has one."""
        return dict(
            zip(*_lists(self.context.run.targets.select(["image_id", "word"])), strict=True)
        )

    def words_in(self, image_id: int) -> frozenset[str]:
        """Give the words, as stems, of all categories in an image."""
        ids = self.categories_of.get(image_id, frozenset())
        return frozenset().union(*(self.lists.by_id[id_].words for id_ in ids))

    def target_category(self, image_id: int) -> int | None:
        """Give the category in the image that its target word names; None if there is none.

        Of several, the one of least id.
        """
        word = self.target_word_of.get(image_id)
        if word is None:
            return None
        return min(self.lists.named_in(word, self.categories_of.get(image_id, ())), default=None)

    @cached_property
    def unit_stems(self) -> list[frozenset[str]]:
        """By uid: the stems of its ten promoted tokens, those that are words."""
        rows, stems = promoted_tokens(self.context.run)
        found: list[set[str]] = [set() for _ in range(self.context.run.n_units)]
        for uid, token_id in zip(*_lists(rows), strict=True):
            if (stem := stems[token_id]) is not None:
                found[uid].add(stem)
        return [frozenset(stems_) for stems_ in found]


def content_stems(text: str) -> frozenset[str]:
    """Give the stems of a text's words that are no function words."""
    words = (word.text for word in lexicon_words(text) if word.part_of_speech != "function")
    return frozenset(stem for word in words for stem in text_stems(word))


class ViewMasks:
    """Masks of categories in images, as the model sees them.

    Attributes:
        has_any: Whether the run has masks at all.
    """

    def __init__(self, context: ExperimentContext, image_ids: npt.NDArray[np.int64]) -> None:
        """Read the run lengths of the masks of some images."""
        columns = ["image_id", "category_id", "rle_counts"]
        rows = context.run.table("instances", columns)
        rows = rows.filter(pc.is_in(rows["image_id"], pa.array(image_ids)))
        self._counts: dict[tuple[int, int], list[str]] = defaultdict(list)
        for image_id, category_id, counts in zip(*_lists(rows), strict=True):
            if counts:
                self._counts[image_id, category_id].append(counts)
        images = context.run.table("images", ["image_id", "width_px", "height_px"])
        self._size = {id_: (w, h) for id_, w, h in zip(*_lists(images), strict=True)}
        self._geometry = context.captioner.config.geometry
        self._view_px = context.captioner.config.image_px
        self.has_any = bool(self._counts)

    def get(self, image_id: int, category_id: int) -> Mask | None:
        """Give the mask of all things of a category, bool (image_px, image_px); None: it has none.

        What lies outside the model's view does not count.
        """
        found = self._counts.get((image_id, category_id))
        if not found:
            return None
        width_px, height_px = self._size[image_id]
        whole = np.zeros((height_px, width_px), dtype=bool)
        for counts in found:
            whole |= decode_mask(counts, height_px, width_px)
        view = view_of(width_px, height_px, geometry=self._geometry, view_px=self._view_px)
        return mask_in_view(whole, view)


def promoted_tokens(run: FinishedRun) -> tuple[pa.Table, dict[int, str | None]]:
    """Give the units' promoted tokens as rows of uid and token_id, and the tokens' stems.

    A token that is no word has the stem None.
    """
    rows, tokens = promoted_texts(run)
    return rows, {token_id: token_stem(token) for token_id, token in tokens.items()}


def contents_of(context: ExperimentContext) -> Contents:
    """Give the contents of a run's pictures, with the word list that holds for it."""
    rows = context.run.table("categories").to_pylist()
    # A list that lies beside a data set without its instances file has nothing to belong to.
    shipped = shipped_list(context.dataset) if rows else None
    return Contents(context, word_lists(rows, context.words or shipped))


def word_settings(context: ExperimentContext) -> dict[str, str]:
    """Give what an experiment that uses word lists rests on."""
    return {"words_sha256": contents_of(context).lists.sha256}


def _lists(table: pa.Table) -> list[list[Any]]:
    return [column.to_pylist() for column in table.columns]
