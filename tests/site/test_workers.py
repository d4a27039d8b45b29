"""Worker processes begin with what they need imported already, and one at a time is none."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from atlas_site import workers
from atlas_site.fill_tasks import Filled, Kind, Task
from atlas_site.publish import Writer

ROOT = Path(__file__).parents[2]
_HAS_FORKSERVER = "forkserver" in multiprocessing.get_all_start_methods()

_ASKED = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from atlas_db.connection import open_atlas
from atlas_site import workers

with open_atlas(Path(sys.argv[1])).connect(), ProcessPoolExecutor(1, workers._context()) as pool:
    print(json.dumps([pool.submit(eval, question).result() for question in sys.argv[2:]]))
"""


def _ask(atlas: Path, *questions: str) -> list[Any]:
    """Have a worker process evaluate expressions.

    It is asked from an interpreter of its own, which has the atlas open: a server of forks is
    started once in a process, and in the tests' own it may be another test's.
    """
    command = [sys.executable, "-c", _ASKED, str(atlas), *questions]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.skipif(not _HAS_FORKSERVER, reason="processes are spawned here")
def test_a_process_has_its_imports_from_the_start(synthetic_atlas: Path) -> None:
    modules = ["atlas_site.fill_tasks", "duckdb", "duckdb_sqlalchemy"]
    questions = [f"{module!r} in __import__('sys').modules" for module in modules]
    there = _ask(synthetic_atlas, *questions)
    assert dict(zip(modules, there, strict=True)) == dict.fromkeys(modules, True)


@pytest.mark.skipif(not _HAS_FORKSERVER, reason="processes are spawned here")
def test_a_process_is_no_fork_of_one_that_has_an_atlas_open(synthetic_atlas: Path) -> None:
    opener, parent = _ask(
        synthetic_atlas,
        "__import__('multiprocessing').parent_process().pid",
        "__import__('os').getppid()",
    )
    assert parent != opener


def test_where_nothing_can_be_forked_processes_are_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert workers._context().get_start_method() == "spawn"


def test_one_process_does_its_tasks_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[tuple[Kind, int]] = []

    class Here:
        closed = False

        def __init__(self, work: Any) -> None:
            pass

        def do(self, task: Task, tell: Any) -> Filled:
            tell(task.n)
            return Filled(task, Writer(tmp_path))

        def close(self) -> None:
            Here.closed = True

    monkeypatch.setattr(workers, "Workplace", Here)
    tasks = [Task(Kind.UNITS, 0, 9, 10), Task(Kind.IMAGES, 0, 2, 3)]
    work: Any = None
    with workers.workers(work, 1, lambda kind, n: told.append((kind, n))) as do:
        assert [filled.task for filled in do(tasks)] == tasks
    assert told == [(Kind.UNITS, 10), (Kind.IMAGES, 3)]
    assert Here.closed


@pytest.mark.parametrize(("asked", "n_units", "chosen"), [(3, 1, 3), (None, 19_999, 1)])
def test_number_of_processes(asked: int | None, n_units: int, chosen: int) -> None:
    assert workers.n_processes(asked, n_units) == chosen


def test_no_process_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="processes must be >= 1, got 0"):
        workers.n_processes(0, 1)


def test_mkdocs_build_in_processes_makes_the_same_site(
    built_site: Any, synthetic_atlas: Path, tmp_path: Path
) -> None:
    atlas = {"atlas": {"database": str(synthetic_atlas), "processes": 2}}
    settings = {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "docs_dir": str(ROOT / "site/content"),
        "site_dir": str(tmp_path / "public"),
        "plugins": ["search", atlas],
    }
    (tmp_path / "mkdocs.yml").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict"],
        cwd=tmp_path,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for path in (built_site.folder / "u").rglob("*.html"):
        made = tmp_path / "public" / path.relative_to(built_site.folder)
        assert made.read_bytes() == path.read_bytes()


def test_a_program_without_a_guarded_main_may_build_in_processes(
    built_site: Any, synthetic_atlas: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from atlas_site.build import build_site; "
        "report = build_site(Path(sys.argv[1]), Path(sys.argv[2]), processes=2); "
        "print(report.n_written)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(synthetic_atlas), str(tmp_path / "public")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{built_site.report.n_written}\n", "")
