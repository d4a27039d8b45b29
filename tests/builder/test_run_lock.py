"""Builders that may and may not write one run folder together."""

from pathlib import Path

import pytest

from atlas_db.errors import RunError
from builder.run_lock import lock_part, lock_run


def test_parts_of_one_array_are_written_together(tmp_path: Path) -> None:
    with lock_part(tmp_path, 1, 3), lock_part(tmp_path, 3, 3):
        pass
    with lock_run(tmp_path):  # nothing is held any more
        pass


def test_a_part_is_made_once(tmp_path: Path) -> None:
    with (
        lock_part(tmp_path, 2, 3),
        pytest.raises(RunError, match=r"another build is making part 2 of 3"),
        lock_part(tmp_path, 2, 3),
    ):
        pytest.fail("held twice")


def test_arrays_of_different_n_do_not_meet(tmp_path: Path) -> None:
    """Part 1 of 2 and part 1 of 4 would both make shard 0."""
    with (
        lock_part(tmp_path, 1, 2),
        pytest.raises(RunError, match=r"builds of other parts \(1-of-2\).*the same n"),
        lock_part(tmp_path, 1, 4),
    ):
        pytest.fail("held by both")
    with lock_part(tmp_path, 1, 4):  # the lock file of before does not count
        pass


def test_plain_builds_and_parts_exclude_one_another(tmp_path: Path) -> None:
    taken = pytest.raises(RunError, match="another build is writing")
    with lock_run(tmp_path), taken, lock_part(tmp_path, 1, 2):
        pytest.fail("held by both")
    with lock_part(tmp_path, 1, 2), taken, lock_run(tmp_path):
        pytest.fail("held by both")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"), lock_run(tmp_path / "file" / "run"):
        pytest.fail("there is no folder")
