"""Do the miniature's captions name what is in held-out pictures? With chance and intervals.

Chance is what the same captions reach on other pictures: shuffled in a circle, so every caption
meets a picture that it was not written for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from builder.captioner import Captioner
from builder.miniature.concepts import concepts, scenes
from builder.miniature.inflection import plural
from builder.miniature.picture_cache import reduce_pixels
from builder.miniature.world import Picture, draw_picture
from builder.targets import choose_words, lexicon_words

NameRule = Callable[[str, Picture], bool]

_N_RESAMPLES = 2000
_N_SHIFTS = 20


@dataclass(frozen=True)
class Share:
    """A share of pictures with a 95 % bootstrap interval over pictures, and its chance level."""

    value: float
    low: float
    high: float
    chance: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], chance {self.chance:.3f}"


@dataclass(frozen=True)
class CaptionCheck:
    """How many captions name an object of their picture first, its scene, or either anywhere."""

    n_pictures: int
    first_noun: Share
    scene: Share
    either: Share
    captions: tuple[str, ...]


def check_captions(captioner: Captioner, *, n_pictures: int, seed: int = 0) -> CaptionCheck:
    """Caption held-out pictures [0, n_pictures) of a seed and count what is named rightly.

    Raises:
        ValueError: Fewer than 2 pictures, which leave nothing to shuffle.
    """
    if n_pictures < 2:
        raise ValueError(f"n_pictures must be >= 2, got {n_pictures}")
    pictures = [draw_picture("val", seed, index) for index in range(n_pictures)]
    captions = [caption_picture(captioner, picture) for picture in pictures]
    return CaptionCheck(
        n_pictures,
        _share(captions, pictures, names_object_first),
        _share(captions, pictures, names_scene),
        _share(captions, pictures, names_either),
        tuple(captions),
    )


@torch.no_grad()
def caption_picture(captioner: Captioner, picture: Picture) -> str:
    """Caption one picture greedily; the first line, without the prompt."""
    config = captioner.config
    small = torch.tensor(reduce_pixels(picture.pixels, config.image_px))
    pixels = small.permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (config.mean, config.std))
    inputs = captioner.sequence(captioner.encode((pixels - mean) / std))
    ids = captioner.model.generate(
        inputs_embeds=inputs,
        attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long, device=inputs.device),
        max_new_tokens=config.max_new_tokens,
        do_sample=False,
        pad_token_id=captioner.tokenizer.eos_token_id,
    )
    text: str = captioner.tokenizer.decode(ids[0], skip_special_tokens=True)
    return text.strip().split("\n")[0]


def names_object_first(caption: str, picture: Picture) -> bool:
    """Tell whether the caption's first noun is a name of something in the picture."""
    first = choose_words(lexicon_words(caption), 1)
    return bool(first) and first[0].text in _object_names(picture)


def names_scene(caption: str, picture: Picture) -> bool:
    """Tell whether the caption has a name of the picture's scene."""
    scene = scenes()[picture.scene]
    return bool({scene.word, *scene.names, *scene.opening.split()[1:]} & _words(caption))


def names_either(caption: str, picture: Picture) -> bool:
    """Tell whether the caption names an object or the scene, anywhere."""
    return names_scene(caption, picture) or bool(_object_names(picture) & _words(caption))


def _words(caption: str) -> set[str]:
    return {word.text for word in lexicon_words(caption)}


def _object_names(picture: Picture) -> set[str]:
    names: set[str] = set()
    for instance in picture.instances:
        concept = concepts()[instance.concept]
        for name in (concept.name, *concept.synonyms):
            names |= {name, plural(name)}
    return names


def _share(captions: Sequence[str], pictures: Sequence[Picture], names: NameRule) -> Share:
    right = np.array([names(c, p) for c, p in zip(captions, pictures, strict=True)])
    n = len(right)
    rng = np.random.default_rng(0)
    means = right[rng.integers(n, size=(_N_RESAMPLES, n))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    shifts = range(1, min(n, _N_SHIFTS + 1))
    others = [names(captions[i], pictures[(i + shift) % n]) for shift in shifts for i in range(n)]
    return Share(float(right.mean()), float(low), float(high), float(np.mean(others)))
