"""The values that the paper prints, ours beside them, and whether they agree.

Only where the captioner is the paper's: GPT-J 6B with the BEiT encoder and LiMBeR's adapter. On
others the outcome says why it does not apply; with GPT-J and another encoder or adapter the decoded
units still do, for they rest on GPT-J's weights alone. Printed decodings are compared with four
readings, with and without the final norm and the unembedding's bias, which the paper leaves open:
the weights decide, and the reading of most units counts.

What is of single images is measured on these images (`replication_images`); averages are those of
the other experiments (`replication_figures`). Every row says within what it agrees, or why it
cannot be compared.

The printed values are facts of Schwettmann et al. 2023 (arXiv 2308.01544v2), Tables 1, 2, S.1 and
S.3, Figure S.1 and sections 2 to 4, kept in `paper_goldens.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS, experiment_folder, read_experiment
from builder.experiments.contents import word_settings
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import (
    Experiment,
    Figure,
    Outcome,
    estimated,
    left_out,
    nothing,
)
from builder.experiments.intervals import share_estimate
from builder.experiments.replication_figures import (
    RESTS_ON,
    ablation_rows,
    attribution_rows,
    category_rows,
    read_figures,
    score_rows,
    unit_rows,
)
from builder.experiments.replication_images import (
    ablated_rows,
    caption_rows,
    found_rows,
    mask_rows,
)
from builder.experiments.replication_rows import Row, goldens
from builder.experiments.replication_weights import decoded_rows

TABLE = "replication"
GPT_J = ("gptj", 28, 16_384)
#: What the paper's encoder is called on the hub; the fine-tuned one has a longer name.
ENCODER = "beit-large-patch16-224-pt22k"
#: Where its adapter comes from.
ADAPTER = "jmerullo/limber"
AGREE = "printed values that agree"
DECODED = "units decoded as printed"


def why_not_gpt_j(context: ExperimentContext) -> str:
    """Say why printed units are not comparable; "" where they are."""
    family, n_layers, n_units = GPT_J
    model, run = context.model, context.run
    found = (model.architecture.family, run.n_layers, run.units_per_layer)
    if context.captioner.config.is_random:
        return "The captioner's weights are random."
    if found != GPT_J:
        return (
            f"The printed values are of GPT-J 6B ({family}, {n_layers} layers of {n_units} units); "
            f"this language model is {found[0]}, {found[1]} layers of {found[2]}."
        )
    return ""


def why_not_the_paper_s(context: ExperimentContext) -> str:
    """Say why printed captions and attributions are not comparable; "" where they are."""
    config = context.captioner.config
    if not config.encoder.source.endswith(ENCODER):
        return f"The paper's encoder is {ENCODER}; this captioner's is {config.encoder.source}."
    if ADAPTER not in config.adapter.origin:
        return (
            f"The paper's adapter is that of {ADAPTER}; this one is from {config.adapter.origin}."
        )
    return ""


def run_replication(context: ExperimentContext) -> Outcome:
    """Compare what can be compared."""
    if reason := why_not_gpt_j(context):
        return nothing((TABLE,), "printed values", f"This section does not apply. {reason}")
    readings = decoded_rows(context, goldens())
    figures = list(_reading_figures(readings))
    best = max(readings.values(), key=lambda rows: sum(row["agrees"] for row in rows))
    others: list[Row] = []
    if reason := why_not_the_paper_s(context):
        figures.append(left_out("all but the decoded units", reason))
    else:
        others = list(_other_rows(context, goldens()))
    figures += _agreement_figures([*best, *others])
    rows = [*(row for rows in readings.values() for row in rows), *others]
    table = pa.Table.from_pylist(
        [{**row, "number": number} for number, row in enumerate(rows)],
        schema=EXPERIMENT_SCHEMAS[TABLE],
    )
    return Outcome(figures, {TABLE: table})


def _other_rows(context: ExperimentContext, printed: Mapping[str, Any]) -> Iterator[Row]:
    """Compare all but the decoded units."""
    figures = read_figures(context)
    yield from caption_rows(context, printed["captions"])
    yield from ablated_rows(context, printed["captions_after_ablating_top_k"])
    yield from attribution_rows(context, printed["attribution_examples"])
    yield from mask_rows(context, printed["mask_iou"])
    yield from found_rows(context, printed["mask_iou"])
    yield from score_rows(figures, printed)
    yield from ablation_rows(context, printed)
    yield from category_rows(figures, printed)
    yield from unit_rows(context, printed)


def _reading_figures(readings: Mapping[str, Sequence[Row]]) -> Iterator[Figure]:
    for reading, rows in readings.items():
        columns: dict[str, Any] = {"figure": DECODED, "measure": "share", "part": reading}
        agrees = [row["agrees"] for row in rows]
        yield estimated(share_estimate(agrees), **columns, note="n counts units.")


def _agreement_figures(rows: Sequence[Row]) -> Iterator[Figure]:
    """Give the share of the values that agree, of all and of each section."""
    sections = dict.fromkeys(row["section"] for row in rows)
    for part in ("", *sections):
        of_part = [row for row in rows if part in ("", row["section"])]
        known = [row["agrees"] for row in of_part if row["agrees"] is not None]
        n_without = len(of_part) - len(known)
        note = "n counts values; of decoded units those of the reading that agrees most."
        if n_without:
            note += f" {n_without} more could not be compared."
        yield estimated(share_estimate(known), figure=AGREE, measure="share", part=part, note=note)


def _settings(context: ExperimentContext) -> dict[str, Any]:
    """Rest on what the other experiments found: others make this one be run again."""
    found = {name: read_experiment(experiment_folder(context.run.path, name)) for name in RESTS_ON}
    files = {name: content["files"] if content else None for name, content in found.items()}
    return {"rests_on": files, **word_settings(context)}


REPLICATION = Experiment(
    name="replication",
    title="How do the paper's printed values compare?",
    run=run_replication,
    tables=(TABLE,),
    settings=_settings,
)
