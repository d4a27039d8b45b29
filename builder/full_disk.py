"""What a full disk becomes: a sentence that says what is kept and how to go on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas_db.errors import RunError


@contextmanager
def explain_full_disk(folder: Path, advice: str) -> Iterator[None]:
    """Turn a full disk into a sentence about a folder; `advice` says how to go on.

    Raises:
        RunError: The disk is full, or its quota used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError(f"the disk of {folder} is full. {advice}") from error
