"""Tasks are shared out among processes, of which this one is the first."""

import importlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from atlas_site import fill_tasks, workers
from atlas_site.build import build_site
from atlas_site.fill_tasks import Filled, Kind, Task
from atlas_site.memory import without_pandas
from atlas_site.publish import Writer
from click.testing import CliRunner

from atlas_db.errors import SiteError
from neuron_atlas.cli import main
from tests.tools.orphans import orphans

ROOT = Path(__file__).parents[2]


def test_tasks_are_done_once_here_and_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, there = [], []
    told: list[tuple[Kind, int]] = []
    may_end = threading.Event()

    def of_the_pool(task: Task) -> Filled:
        may_end.wait(10)
        there.append(task)
        return Filled(task, Writer(tmp_path))

    def own(task: Task) -> Filled:
        here.append(task)
        may_end.set()
        return Filled(task, Writer(tmp_path))

    monkeypatch.setattr(workers, "_do", of_the_pool)
    tasks = [Task(Kind.UNITS, n, n, 7) for n in range(20)]
    pool: Any = ThreadPoolExecutor(1)
    with pool:
        shared_out = workers._share_out(tasks, pool, 2, own, lambda kind, n: told.append((kind, n)))
        done = [filled.task for filled in shared_out]
    assert sorted(task.first for task in done) == list(range(20))
    # While the pool is at its first two, the third is done here.
    assert here[0].first == 2
    assert {task.first for task in there} | {task.first for task in here} == set(range(20))
    assert len(there) + len(here) == 20
    # A task that is done here tells of its own steps.
    assert told == [(Kind.UNITS, 7)] * len(there)


def test_a_process_that_the_system_ends_is_told_of(synthetic_atlas: Path, tmp_path: Path) -> None:
    def end_them(stage: str, done: int, total: int) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(
        SiteError, match=r"ended a process.*more memory.*--processes 1.*processes: 1"
    ):
        build_site(synthetic_atlas, tmp_path / "out", processes=2, progress=end_them)


def test_too_little_memory_for_duckdb_is_made_more(
    built_site: Any, synthetic_atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came_to = []
    close = fill_tasks.Workplace.close

    def closed(workplace: fill_tasks.Workplace) -> None:
        came_to.append(workplace.memory.mb)
        close(workplace)

    monkeypatch.setattr(fill_tasks, "_DATABASE_MB", 1)
    monkeypatch.setattr(fill_tasks.Workplace, "close", closed)
    # A file of its own: whoever has one open in a process shares its memory.
    own = shutil.copy(synthetic_atlas, tmp_path / "own.duckdb")
    build_site(own, tmp_path / "out", processes=1)
    assert came_to[0] > 1
    for path in (built_site.folder / "u").rglob("*.html"):
        made = tmp_path / "out" / path.relative_to(built_site.folder)
        assert made.read_bytes() == path.read_bytes()


def test_pandas_is_kept_out_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    with without_pandas(), pytest.raises(ImportError):
        importlib.import_module("pandas")
    assert "pandas" not in sys.modules
    known: Any = object()
    monkeypatch.setitem(sys.modules, "pandas", known)
    with without_pandas():
        assert sys.modules["pandas"] is known
    assert sys.modules["pandas"] is known


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


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_no_process_outlives_a_build_that_is_killed(synthetic_atlas: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from atlas_site.build import build_site; "
        "build_site(Path(sys.argv[1]), Path(sys.argv[2]), processes=2, "
        "progress=lambda stage, done, total: stage == 'units' and time.sleep(60))"
    )
    assert orphans(program, str(synthetic_atlas), str(tmp_path / "out")) == (1, [])


def test_the_command_takes_the_number_of_processes(
    synthetic_atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    choose = workers.n_processes

    def chosen(number: int | None, n_units: int) -> int:
        asked.append(number)
        return choose(number, n_units)

    monkeypatch.setattr("atlas_site.filler.n_processes", chosen)
    command = ["site", "--db", str(synthetic_atlas), "--out", str(tmp_path / "out"), "--quiet"]
    done = CliRunner().invoke(main, [*command, "--processes", "2"])
    assert (done.exit_code, asked) == (0, [2])
    done = CliRunner().invoke(main, [*command, "--processes", "0"])
    assert done.exit_code == 2
    assert "--processes" in done.output
