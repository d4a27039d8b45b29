"""What an experiment is, and how one plugs in.

An experiment is a name, the tables that it writes and a function from a context to an outcome::

    def run_layers(context: ExperimentContext) -> Outcome:
        ...
        return Outcome(figures=[Figure(figure="top units", measure="share", ...)])

    LAYERS = Experiment(name="layers", title="Where the top units lie.", run=run_layers)

1. Write a module of this package that ends with such an object. Settings of its own that change
   the result (the number of draws, a word list's hash) go into `settings`: a finished experiment
   with other settings is run again.
2. Add the object to `builder.experiments.run.EXPERIMENTS`, in the order of the report.
3. Tables other than the figures are declared in `atlas_db.experiment_format.EXPERIMENT_SCHEMAS`
   and named in `tables`; each belongs to one experiment. All of them must be in the outcome,
   empty where there is nothing (`empty_table`).

**What is left out is said, not raised.** Where an experiment or a part of it cannot be had (no
masks, no captions, a category without images), it adds `left_out(what, why)` to its figures and
goes on with the rest. `AtlasError` is for what the user must mend: the report stops there.

**What takes long is cut into chunks**: `context.chunks.get(name, make)` gives a table that `make`
makes, kept until the experiment is whole; so a killed report redoes one chunk.

Figures are numbers with their interval, in the order in which a report prints them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS, FIGURE_SCHEMA
from builder.experiments.intervals import Estimate

if TYPE_CHECKING:
    from builder.experiments.context import ExperimentContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One printed figure: a row of the atlas's table `experiments`.

    Attributes:
        figure: What is measured, the same for all arms: "p(target)", "IoU".
        measure: Unit of measure: "share", "logit", "IoU", "cosine", "nats", "units", ...
        value: None where it was left out; `note` then says why.
        low, high: 95 % interval, None where there is none (an exact count).
        n: Over how many images, units or pairs; `note` says of what where it is not plain.
        arm: What was done or looked at: "all", "random", "top units"; "" for the only one.
        part: Of what part of the data: a category's name, a method's; "" for all.
        layer, k: Where the figure is of one layer, or of so many units.
        p_value: Of the test against the control, where there is one; `note` names the test.
        control: The arm to compare with, whose row has the same figure, part, layer and k; or "".
        note: A remark for the reader, in a sentence; or why the value was left out.
    """

    figure: str
    measure: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    arm: str = ""
    part: str = ""
    layer: int | None = None
    k: int | None = None
    p_value: float | None = None
    control: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "p_value"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.figure}: {name} must be finite or None, got {number}")
        if self.value is None and not self.note:
            raise ValueError(f"{self.figure}: a figure without a value must say why in `note`")


def estimated(estimate: Estimate, *, figure: str, measure: str, **more: Any) -> Figure:
    """Make a figure of an estimate and its interval; what is not finite is left out.

    `more` are further columns: arm, part, k, note and so on. A test of a single pair has no p.
    """

    def finite(number: float) -> float | None:
        return float(number) if math.isfinite(number) else None

    value = finite(estimate.value)
    if value is None and not more.get("note"):
        more["note"] = "There was nothing to measure." if estimate.n == 0 else "It is not finite."
    low, high = (finite(estimate.low), finite(estimate.high)) if value is not None else (None, None)
    columns = {"value": value, "low": low, "high": high, "n": estimate.n, **more}
    if more.get("p_value") is not None:
        columns["p_value"] = finite(more["p_value"])
    return Figure(figure=figure, measure=measure, **columns)


def left_out(figure: str, reason: str, *, arm: str = "", part: str = "") -> Figure:
    """Say that a figure, or all of an experiment, was left out, and why, in a sentence."""
    return Figure(figure=figure, measure="", value=None, n=0, arm=arm, part=part, note=reason)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an experiment found: its figures in the order of the report, and its tables by name."""

    figures: Sequence[Figure]
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A name, what it asks in a sentence, and the function that answers.

    Attributes:
        name: Of its folder, and in the atlas: lower case, underscores.
        title: The question in a sentence, for the report and its page.
        run: The function.
        tables: Keys of EXPERIMENT_SCHEMAS that it writes.
        settings: Settings of its own, beside the context's; a function where they rest on it.
    """

    name: str
    title: str
    run: Callable[[ExperimentContext], Outcome]
    tables: Sequence[str] = ()
    settings: Mapping[str, Any] | Callable[[ExperimentContext], Mapping[str, Any]] = field(
        default_factory=dict
    )

    def own_settings(self, context: ExperimentContext) -> dict[str, Any]:
        """Give the settings that are this experiment's alone."""
        return dict(self.settings(context) if callable(self.settings) else self.settings)


def empty_table(name: str) -> pa.Table:
    """Give an empty table of EXPERIMENT_SCHEMAS."""
    return EXPERIMENT_SCHEMAS[name].empty_table()


def nothing(experiment_tables: Sequence[str], figure: str, reason: str) -> Outcome:
    """Give the outcome of an experiment that is left out whole."""
    return Outcome([left_out(figure, reason)], {n: empty_table(n) for n in experiment_tables})


def figure_table(figures: Sequence[Figure]) -> pa.Table:
    """Number figures from 0 and write them as rows of FIGURE_SCHEMA."""
    rows = [{"number": number, **asdict(figure)} for number, figure in enumerate(figures)]
    return pa.Table.from_pylist(rows, schema=FIGURE_SCHEMA)
