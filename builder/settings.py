"""What is built, which is part of a run's identity, and how, which is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from builder.decoding import NORMS
from builder.images import IMAGES_MODES
from builder.targets import NOUN_RULES

#: Told of progress: (stage, done, total). A stage may be told of the same state twice.
Progress = Callable[[str, int, int], None]


#: Of a model with more units, a shard takes longer to write than a GPU needs for 500 images: it has
#: every unit's exemplars, whatever its number of images.
MANY_UNITS = 100_000


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What is built; part of the run's identity.

    Attributes:
        n_targets: Words of each caption that are attributed.
        noun_rule: A key of `builder.targets.NOUN_RULES`.
        decode_norm: `none` or `final`; see `builder.decoding`.
        images: `embed` keeps a thumbnail of each photograph in the atlas, `link` keeps none.
        images_per_shard: Images in each shard; None leaves it to `shard_size`.
    """

    n_targets: int = 1
    noun_rule: str = "lexicon"
    decode_norm: str = "none"
    images: str = "embed"
    images_per_shard: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_targets", "images_per_shard"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        choices = {"noun_rule": tuple(NOUN_RULES), "decode_norm": NORMS, "images": IMAGES_MODES}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )

    def shard_size(self, n_units: int) -> int:
        """Give the number of images in each shard of a model of `n_units`."""
        return self.images_per_shard or (2500 if n_units > MANY_UNITS else 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How it is built; without effect on the result beyond rounding.

    Attributes:
        batch_size: Images in one forward and backward pass; None measures what the device holds.
            Halved when memory runs out.
        n_workers: Processes that read images; 0 reads them in this one.
        part: (i, n): of n builds of an array, the i-th, from 1. It makes every n-th shard.
        command: Written into the manifest.
        captioner_source: Folder or preset that the captioner was loaded from; written into the
            manifest, so that a report finds it again.
    """

    batch_size: int | None = None
    n_workers: int = 1
    part: tuple[int, int] = (1, 1)
    command: str = ""
    captioner_source: str = ""

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")
        if self.n_workers < 0:
            raise ValueError(f"n_workers must be >= 0, got {self.n_workers}")
        if not 1 <= self.part[0] <= self.part[1]:
            raise ValueError(f"part must be (i, n) with 1 <= i <= n, got {self.part}")
