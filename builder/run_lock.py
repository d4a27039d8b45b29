"""Who may write a run folder: one builder, or several that share its shards out.

A plain build holds the folder alone. The builds of an array (`--shard i/n`) hold it together,
each its own part; while they do, no plain build may start, nor an array of another n. Locks are
the system's (flock), so a killed build leaves none behind; on a shared disk the disk has to
support them (NFS 4, Lustre with `flock`, GPFS do).
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas_db.errors import RunError


@contextmanager
def lock_run(run: Path) -> Iterator[None]:
    """Hold a run folder for one builder; makes the folder.

    Raises:
        RunError: Another builder holds it, or the folder cannot be made.
    """
    with _hold(run, ".lock", fcntl.LOCK_EX | fcntl.LOCK_NB, _taken(run)):
        yield


@contextmanager
def lock_part(run: Path, part: int, n_parts: int) -> Iterator[None]:
    """Hold part `part` (from 1) of `n_parts` of a run folder; makes the folder.

    Raises:
        RunError: A plain build holds the folder, another build this part, or an array of another
            number of parts is at work; or the folder cannot be made.
    """
    name = f".lock-{part}-of-{n_parts}"
    same = (
        f"another build is making part {part} of {n_parts} of {run}. Wait for it to end, or give "
        "this one another part."
    )
    with (
        _hold(run, ".lock", fcntl.LOCK_SH | fcntl.LOCK_NB, _taken(run)),
        _hold(run, name, fcntl.LOCK_EX | fcntl.LOCK_NB, same),
    ):
        # After taking its own: of two that start at once, one at least sees the other.
        for other in sorted(run.glob(".lock-*-of-*")):
            if not other.name.endswith(f"-of-{n_parts}") and _is_held(other):
                raise RunError(
                    f"builds of other parts ({other.name.removeprefix('.lock-')}) are writing "
                    f"{run}. Give all builds of one array the same n in --shard i/n."
                )
        yield


@contextmanager
def lock_common(run: Path) -> Iterator[None]:
    """Hold what all parts of a run have in common, waiting for another to let it go."""
    with _hold(run, ".lock-common", fcntl.LOCK_EX, ""):
        yield


def _taken(run: Path) -> str:
    return (
        f"another build is writing {run}. Wait for it to end, or give this one a folder "
        "of its own with --run."
    )


@contextmanager
def _hold(run: Path, name: str, operation: int, message: str) -> Iterator[None]:
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / name).open("a+")
    except OSError as error:
        raise RunError(f"the run folder {run} cannot be written: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, operation)
        except BlockingIOError:
            raise RunError(message) from None
        except OSError as error:
            raise RunError(
                f"the disk of {run} cannot lock files: {error.strerror}. Put the run folder on a "
                "disk that can."
            ) from error
        yield


def _is_held(path: Path) -> bool:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
