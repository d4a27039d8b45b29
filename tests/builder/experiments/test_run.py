"""What is finished is not run again; what was stopped goes on; what is left out is said."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from atlas_db.errors import ExperimentError, RunError
from atlas_db.experiment_format import experiment_folder, read_experiment
from builder.experiments import run
from builder.experiments.context import Chunks, ExperimentContext, FinishedRun, ReportSettings
from builder.experiments.experiment import Experiment, Figure, Outcome, left_out, nothing
from builder.experiments.run import EXPERIMENTS, choose_experiments, run_experiment, run_experiments
from builder.run_lock import lock_run

ROW = {"uid": 3, "n_images": 2, "agreement": 0.5, "random_agreement": 0.25}


class Counting:
    """An experiment of three chunks that says how often each was made."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.made: list[int] = []
        self.fails_at = fails_at

    def __call__(self, context: ExperimentContext) -> Outcome:
        for chunk in range(3):
            context.chunks.get(f"part-{chunk}", lambda chunk=chunk: self._make(chunk))
        table = pa.Table.from_pylist([ROW])
        figure = Figure(figure="chunks", measure="chunks", value=3, n=3)
        return Outcome([figure], {"unit_agreement": table})

    def _make(self, chunk: int) -> pa.Table:
        if chunk == self.fails_at:
            raise KeyboardInterrupt
        self.made.append(chunk)
        return pa.table({"chunk": [chunk]})

    def experiment(self, **settings: object) -> Experiment:
        return Experiment(
            name="counting",
            title="How many?",
            run=self,
            tables=("unit_agreement",),
            settings=settings,
        )


@pytest.fixture
def context(lone_context: ExperimentContext, tmp_path: Path) -> ExperimentContext:
    """The same run, copied: tests write into it."""
    import shutil

    folder = shutil.copytree(lone_context.run.path, tmp_path / "run")
    return replace(lone_context, run=FinishedRun(Path(folder)))


def test_a_finished_experiment_is_not_run_again(context: ExperimentContext) -> None:
    counting = Counting()
    first = run_experiment(context, counting.experiment())
    again = run_experiment(context, counting.experiment())
    assert counting.made == [0, 1, 2]
    assert (first.is_new, again.is_new) == (True, False)
    assert first.figures.equals(again.figures)
    assert again.figures["value"].to_pylist() == [3.0]
    folder = experiment_folder(context.run.path, "counting")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["counting"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "experiment.json", "figures.parquet", "unit_agreement.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("change", ["own", "sample", "seed", "run"])
def test_other_settings_are_run_again(
    context: ExperimentContext, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting()
    run_experiment(context, counting.experiment(rule=1))
    settings: dict[str, object] = {"rule": 1}
    if change == "own":
        settings = {"rule": 2}
    elif change == "run":
        monkeypatch.setitem(context.run.manifest["shards"][0], "sha256", "0" * 64)
    else:
        changed = {"sample": ReportSettings(n_images=2), "seed": ReportSettings(seed=7)}[change]
        context = replace(context, settings=changed)
    again = run_experiment(context, counting.experiment(**settings))
    assert again.is_new
    assert counting.made == [0, 1, 2, 0, 1, 2]


def test_a_stopped_experiment_redoes_one_chunk(context: ExperimentContext) -> None:
    stopped = Counting(fails_at=2)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(context, stopped.experiment())
    assert stopped.made == [0, 1]
    assert read_experiment(experiment_folder(context.run.path, "counting")) is None
    going_on = Counting()
    assert run_experiment(context, going_on.experiment()).is_new
    assert going_on.made == [2]


def test_a_full_disk_says_that_what_is_finished_is_kept(
    context: ExperimentContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills_up(path: Path, table: pa.Table, schema: pa.Schema) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    first, second = Counting().experiment(), replace(Counting().experiment(), name="second")
    going = run_experiments(context, [first, second])
    assert next(going).is_new
    monkeypatch.setattr(run, "write_table", fills_up)
    with pytest.raises(RunError, match=r"is full\. Make room .*: what is finished of the exp"):
        next(going)
    monkeypatch.undo()
    news = [finished.is_new for finished in run_experiments(context, [first, second])]
    assert news == [False, True]


def test_chunks_of_other_settings_are_forgotten(context: ExperimentContext) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_experiment(context, Counting(fails_at=2).experiment(rule=1))
    going_on = Counting()
    run_experiment(context, going_on.experiment(rule=2))
    assert going_on.made == [0, 1, 2]


def break_table(folder: Path) -> None:
    (folder / "unit_agreement.parquet").write_bytes(b"PAR1")


def break_listing(folder: Path) -> None:
    (folder / "experiment.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize("damage", [break_table, break_listing])
def test_a_damaged_experiment_is_made_again(
    context: ExperimentContext, damage: Callable[[Path], None]
) -> None:
    run_experiment(context, Counting().experiment())
    folder = experiment_folder(context.run.path, "counting")
    damage(folder)
    with pytest.raises(RunError, match="neuron-atlas report"):
        read_experiment(folder)
    again = Counting()
    assert run_experiment(context, again.experiment()).is_new
    assert again.made == [0, 1, 2]


def test_what_is_left_out_is_said_and_the_rest_goes_on(context: ExperimentContext) -> None:
    def run(_: ExperimentContext) -> Outcome:
        return nothing(("unit_masks",), "IoU", "The data set has no masks.")

    masks = Experiment(name="masks", title="?", run=run, tables=("unit_masks",))
    first, second = run_experiments(context, [masks, Counting().experiment()])
    (row,) = first.figures.to_pylist()
    assert (row["figure"], row["value"], row["note"]) == ("IoU", None, "The data set has no masks.")
    assert second.name == "counting"


def test_an_experiment_must_write_its_tables(context: ExperimentContext) -> None:
    silent = Experiment(name="silent", title="?", run=lambda _: Outcome([]), tables=("unit_masks",))
    with pytest.raises(ValueError, match="unit_masks"):
        run_experiment(context, silent)


def test_figures_are_finite_or_say_why() -> None:
    with pytest.raises(ValueError, match="finite"):
        Figure(figure="x", measure="share", value=float("nan"), n=1)
    with pytest.raises(ValueError, match="say why"):
        Figure(figure="x", measure="share", value=None, n=0)
    assert left_out("x", "No reason.").note == "No reason."


def test_two_reports_exclude_one_another(context: ExperimentContext) -> None:
    with lock_run(context.run.path), pytest.raises(RunError, match="another build"):
        next(run_experiments(context, [Counting().experiment()]))


def test_choosing_by_name() -> None:
    assert choose_experiments(()) == EXPERIMENTS
    assert [e.name for e in choose_experiments(("layers", "ablation"))] == ["ablation", "layers"]
    with pytest.raises(ExperimentError, match=r"no experiment 'x'\. There are: .*ablation"):
        choose_experiments(("x",))
    assert len({e.name for e in EXPERIMENTS}) == len(EXPERIMENTS)


def test_no_table_belongs_to_two() -> None:
    tables = [table for experiment in EXPERIMENTS for table in experiment.tables]
    assert len(set(tables)) == len(tables)


def test_chunks_without_a_folder_keep_nothing() -> None:
    assert Chunks(None).get("x", lambda: pa.table({"a": [1]})).num_rows == 1
