"""Progress bars: one a stage, with rate and time left; nothing where nobody is watching."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm

#: What each stage counts, by its name.
_UNITS = {
    "detect": "image",
    "decode units": "layer",
    "pages": "page",
    "encode": "image",
}


class ProgressBars:
    """Shows the stages of a long job, one bar after the other.

    Used as a context manager; calling it with (stage, done, total) moves the bar.

    Args:
        is_quiet: Show nothing. Without a terminal on standard error nothing is shown either.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        self.is_quiet = is_quiet or not sys.stderr.isatty()
        self._stage: str | None = None
        self._bar: tqdm | None = None

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a stage are done."""
        if self.is_quiet:
            return
        if stage != self._stage or self._bar is None:
            self.close()
            self._stage = stage
            # A resumed stage starts where the last one stopped: the rate counts this one only.
            self._bar = tqdm(total=total, initial=done, desc=stage, unit=_UNITS.get(stage, "step"))
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away, so that other lines can be printed."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
