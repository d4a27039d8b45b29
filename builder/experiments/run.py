"""Run experiments on a finished run: what is missing, one after the other, each whole or not.

    outcomes = run_experiments(context)

An experiment's folder is written as `NAME.partial` and renamed, so a killed report goes on with
the experiment that it was at (and that one with its chunks, see `experiment`). A finished one is
run again when its settings, the sample, or the run that it rests on are others.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas_db.errors import ExperimentError, RunError
from atlas_db.experiment_format import (
    EXPERIMENT_FILE,
    EXPERIMENT_FORMAT,
    EXPERIMENT_SCHEMAS,
    EXPERIMENT_VERSION,
    FIGURE_SCHEMA,
    FIGURES,
    experiment_folder,
    read_experiment,
    run_state,
)
from atlas_db.run_format import file_sha256, write_json, write_table
from builder.experiments.ablation import ABLATION
from builder.experiments.adapter_control import ADAPTER_CONTROL
from builder.experiments.agreement import AGREEMENT
from builder.experiments.always_on import ALWAYS_ON
from builder.experiments.attribution_methods import ATTRIBUTION_METHODS
from builder.experiments.captions import CAPTIONS
from builder.experiments.context import Chunks, ExperimentContext
from builder.experiments.coverage import COVERAGE
from builder.experiments.decoding_check import DECODING_CHECK
from builder.experiments.experiment import Experiment, Outcome, figure_table
from builder.experiments.layer_ablation import LAYER_ABLATION
from builder.experiments.layers import LAYERS
from builder.experiments.replication import REPLICATION
from builder.experiments.selectivity import SELECTIVITY
from builder.experiments.single_units import SINGLE_UNITS
from builder.experiments.specificity import SPECIFICITY
from builder.experiments.stability import STABILITY
from builder.experiments.text import TEXT
from builder.experiments.untrained import UNTRAINED
from builder.full_disk import explain_full_disk
from builder.manifest import versions
from builder.run_folder import sync_folder
from builder.run_lock import lock_run

#: How to go on with a report after the disk was full.
_FULL_DISK_ADVICE = (
    "Make room and give the same command again: what is finished of the experiments is kept."
)
#: Every experiment, in the order of the report.
EXPERIMENTS: tuple[Experiment, ...] = (
    CAPTIONS,
    ADAPTER_CONTROL,
    AGREEMENT,
    DECODING_CHECK,
    COVERAGE,
    SPECIFICITY,
    SELECTIVITY,
    ABLATION,
    SINGLE_UNITS,
    LAYERS,
    LAYER_ABLATION,
    ATTRIBUTION_METHODS,
    STABILITY,
    ALWAYS_ON,
    TEXT,
    UNTRAINED,
    REPLICATION,
)


@dataclass(frozen=True, slots=True)
class FinishedExperiment:
    """An experiment whose results lie in the run folder."""

    name: str
    title: str
    figures: pa.Table  # of FIGURE_SCHEMA
    settings: Mapping[str, Any]
    seconds: float
    is_new: bool  # False: it had been run before


def choose_experiments(names: Sequence[str]) -> tuple[Experiment, ...]:
    """Give the experiments of these names, in the order of the report; all where none is named.

    Raises:
        ExperimentError: There is none of a name; says which there are.
    """
    known = [experiment.name for experiment in EXPERIMENTS]
    for name in names:
        if name not in known:
            raise ExperimentError(
                f"There is no experiment {name!r}. There are: {', '.join(known)}."
            )
    return tuple(e for e in EXPERIMENTS if not names or e.name in names)


def run_experiments(
    context: ExperimentContext, experiments: Sequence[Experiment] = EXPERIMENTS
) -> Iterator[FinishedExperiment]:
    """Run what is missing of `experiments`, giving each when it is done.

    Raises:
        RunError: Another report or build is writing the run folder, or its disk is full.
    """
    run = context.run.path
    with lock_run(run), explain_full_disk(run, _FULL_DISK_ADVICE):
        for experiment in experiments:
            yield run_experiment(context, experiment)


def run_experiment(context: ExperimentContext, experiment: Experiment) -> FinishedExperiment:
    """Run an experiment, unless it has been run with the same settings on the same run."""
    folder = experiment_folder(context.run.path, experiment.name)
    wanted = _identity(context, experiment)
    known = _finished(folder)
    if known is not None and all(known.get(key) == value for key, value in wanted.items()):
        return _result(folder, known, is_new=False)
    started = time.monotonic()
    chunks = _chunk_folder(folder, wanted)
    outcome = experiment.run(replace(context, chunks=Chunks(chunks)))
    _check(experiment, outcome)
    content = {
        "format": EXPERIMENT_FORMAT,
        "version": EXPERIMENT_VERSION,
        **wanted,
        "title": experiment.title,
        "place": _place(experiment),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "device": str(context.device),
        "versions": versions(),
    }
    content = write_experiment(folder, content, outcome)
    shutil.rmtree(chunks, ignore_errors=True)
    return _result(folder, content, is_new=True)


def write_experiment(folder: Path, content: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Write an experiment's folder whole or not at all; give its `experiment.json`."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tables = {FIGURES: figure_table(outcome.figures), **outcome.tables}
    schemas = {FIGURES: FIGURE_SCHEMA, **EXPERIMENT_SCHEMAS}
    for name, table in tables.items():
        write_table(partial / f"{name}.parquet", table, schemas[name])
    files = {f"{name}.parquet": file_sha256(partial / f"{name}.parquet") for name in tables}
    content = {**content, "files": files}
    write_json(partial / EXPERIMENT_FILE, content)
    sync_folder(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    sync_folder(folder.parent)
    return content


def _identity(context: ExperimentContext, experiment: Experiment) -> dict[str, Any]:
    """Say what an experiment's results rest on."""
    found = {
        "name": experiment.name,
        "run_state": run_state(context.run.manifest),
        "settings": {**asdict(context.settings), **experiment.own_settings(context)},
    }
    as_read: dict[str, Any] = json.loads(canonical(found))
    return as_read


def _place(experiment: Experiment) -> int:
    """Say where in the report an experiment stands; others than the known come last."""
    names = [known.name for known in EXPERIMENTS]
    return names.index(experiment.name) if experiment.name in names else len(names)


def _finished(folder: Path) -> dict[str, Any] | None:
    """Read a finished experiment; a damaged one is made again."""
    try:
        return read_experiment(folder)
    except RunError:
        return None


def _chunk_folder(folder: Path, wanted: Mapping[str, Any]) -> Path:
    """Give the folder of an experiment's chunks, emptied if they were of other settings."""
    chunks = folder.with_name(folder.name + ".chunks")
    made_for = chunks / EXPERIMENT_FILE
    try:
        is_same = made_for.read_bytes() == canonical(wanted)
    except OSError:
        is_same = False
    if not is_same:
        shutil.rmtree(chunks, ignore_errors=True)
        chunks.mkdir(parents=True)
        made_for.write_bytes(canonical(wanted))
    return chunks


def canonical(content: Mapping[str, Any]) -> bytes:
    """Write JSON in one way only."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _check(experiment: Experiment, outcome: Outcome) -> None:
    if set(outcome.tables) != set(experiment.tables):
        raise ValueError(
            f"experiment {experiment.name} must write the tables {sorted(experiment.tables)}, "
            f"got {sorted(outcome.tables)}"
        )


def _result(folder: Path, content: Mapping[str, Any], *, is_new: bool) -> FinishedExperiment:
    return FinishedExperiment(
        name=content["name"],
        title=content["title"],
        figures=pq.read_table(folder / f"{FIGURES}.parquet"),
        settings=content["settings"],
        seconds=content["seconds"],
        is_new=is_new,
    )
