"""The values that the paper prints, ours beside them, and whether they agree.

Only where the captioner is the paper's: GPT-J 6B with the BEiT encoder and LiMBeR's adapter. On
others the outcome says why it does not apply; with GPT-J and another encoder the decoded units
still do, for they rest on GPT-J's weights alone. Printed decodings are compared with four
readings, with and without the final norm and the unembedding's bias, which the paper leaves open:
the weights decide.

The printed values are facts of Schwettmann et al. 2023 (arXiv 2308.01544v2), Tables 1, 2, S.1 and
S.3 and Figure S.1, kept in `paper_goldens.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS, experiment_folder, read_experiment
from atlas_db.records import unit_name
from atlas_db.run_format import N_TOKENS
from builder.decoding import float32_product
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, nothing
from builder.experiments.intervals import share_estimate
from builder.language_model import LanguageModel

TABLE = "replication"
GPT_J = ("gptj", 28, 16_384)
#: What the paper's encoder is called on the hub; the fine-tuned one has a longer name.
ENCODER = "beit-large-patch16-224-pt22k"
#: Printed shares are of two digits at most; ours agrees within this.
SHARE_TOLERANCE = 0.1

Row = dict[str, Any]


@cache
def goldens() -> Mapping[str, Any]:
    """Read the printed values."""
    path = resources.files("builder.experiments").joinpath("paper_goldens.json")
    content: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    return content


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
    source = context.captioner.config.encoder.source
    if source.endswith(ENCODER):
        return ""
    return f"The paper's encoder is {ENCODER}; this captioner's is {source}."


def run_replication(context: ExperimentContext) -> Outcome:
    """Compare what can be compared."""
    if reason := why_not_gpt_j(context):
        return nothing((TABLE,), "printed values", f"This section does not apply. {reason}")
    rows, figures = decoded_rows(context)
    reason = why_not_the_paper_s(context)
    if reason:
        figures.append(
            Figure(
                figure="captions, ablations and layers", measure="", value=None, n=0, note=reason
            )
        )
    else:
        rows += [*caption_rows(context), *ablated_caption_rows(context), *share_rows(context)]
    known = [row["agrees"] for row in rows if row["agrees"] is not None]
    columns: dict[str, Any] = {"figure": "printed values that agree", "measure": "share"}
    figures.append(estimated(share_estimate(known), **columns, note="n counts values."))
    table = pa.Table.from_pylist(
        [{**row, "number": number} for number, row in enumerate(rows)],
        schema=EXPERIMENT_SCHEMAS[TABLE],
    )
    return Outcome(figures, {TABLE: table})


def decoded_rows(context: ExperimentContext) -> tuple[list[Row], list[Figure]]:
    """Compare the printed tokens of units with four readings of "decoding"."""
    printed = [*goldens()["decoded_units"], *goldens()["decoded_uninterpretable_units"]]
    vocabulary = context.run.table("vocabulary").sort_by("token_id")["token"].to_pylist()
    rows, figures = [], []
    for norm, has_bias in product((False, True), (False, True)):
        part = f"{'with' if norm else 'without'} final norm, {'with' if has_bias else 'without'}"
        part += " bias"
        found = decode(context.model, printed, len(vocabulary), norm=norm, has_bias=has_bias)
        agrees = []
        for unit, ids in zip(printed, found, strict=True):
            wanted = list(unit["top_tokens"])
            ours = [vocabulary[i].strip() for i in ids][: len(wanted)]
            agrees.append(ours == wanted)
            rows.append(
                row(
                    "decoded units", f"{unit_name(unit['layer'], unit['unit'])}, {part}",
                    ", ".join(wanted), ", ".join(ours), agrees[-1],
                    f"{len(set(ours) & set(wanted))} of {len(set(wanted))} words in common.",
                )
            )  # fmt: skip
        columns: dict[str, Any] = {
            "figure": "units decoded as printed",
            "measure": "share",
            "part": part,
        }
        figures.append(estimated(share_estimate(agrees), **columns, note="n counts units."))
    return rows, figures


@torch.no_grad()
def decode(
    model: LanguageModel,
    units: Sequence[Mapping[str, Any]],
    n_tokens: int,
    *,
    norm: bool,
    has_bias: bool,
) -> list[list[int]]:
    """Give the most probable tokens of units, {"layer", "unit"} each."""
    vectors = torch.stack([model.write_vectors(unit["layer"])[unit["unit"]] for unit in units])
    if norm:
        vectors = model.final_norm(vectors)
    columns = model.unembedding[:n_tokens].T
    logits = float32_product(vectors, columns)
    bias: Tensor | None = getattr(model.model.get_output_embeddings(), "bias", None)
    if has_bias and bias is not None:
        logits = logits + bias[:n_tokens].float()
    ids: list[list[int]] = logits.topk(min(N_TOKENS, n_tokens), dim=1).indices.tolist()
    return ids


def row(
    section: str, item: str, printed: str, ours: str, agrees: bool | None, note: str = ""
) -> Row:
    """Make a row of the table `replication`, all but its number."""
    return {
        "section": section, "item": item, "printed": printed, "ours": ours, "agrees": agrees,
        "note": note,
    }  # fmt: skip


def caption_rows(context: ExperimentContext) -> Iterator[Row]:
    """Compare the printed captions with the run's."""
    captions = context.run.table("captions", ["image_id", "caption"])
    ours = dict(zip(*(column.to_pylist() for column in captions.columns), strict=True))
    for entry in goldens()["captions"]:
        item = f"image {entry['coco_id']}"
        yield _texts("captions", item, entry["caption"], ours.get(entry["coco_id"]), "the run")


def ablated_caption_rows(context: ExperimentContext) -> Iterator[Row]:
    """Compare the printed captions under ablation with those of the experiment on ablation."""
    rows = _ablations(context)
    ours = {
        (r["image_id"], r["k"]): r["caption"] for r in rows if r["arm"] == "all" and r["caption"]
    }
    for entry in goldens()["captions_after_ablating_top_k"]:
        for k, printed in entry["captions"].items():
            item = f"image {entry['coco_id']}, k = {k}"
            found = ours.get((entry["coco_id"], int(k)))
            yield _texts("captions under ablation", item, printed, found, "the ablation's sample")


def _texts(section: str, item: str, printed: str, ours: str | None, where: str) -> Row:
    if ours is None:
        return row(section, item, printed, "", None, f"The image is not in {where}.")
    return row(section, item, printed, ours, _plain(printed) == _plain(ours))


def _plain(caption: str) -> str:
    return caption.strip().rstrip(".").strip().lower()


def share_rows(context: ExperimentContext) -> Iterator[Row]:
    """Compare the drop at the greatest k, the interpretable share, and the layers."""
    last = goldens()["ablation"]["k"][-1]
    drops = [
        r["relative_drop"] for r in _ablations(context) if r["arm"] == "all" and r["k"] == last
    ]
    wanted = goldens()["ablation"]["mean_drop_of_p_c_at_6400"]
    yield _share("ablation", f"mean drop of p(c) at k = {last}", wanted, drops)
    uid = context.run.top_units["uid"].to_numpy()
    wanted = goldens()["interpretable_fraction_of_top_100"]
    is_interpretable = context.run.is_interpretable[uid].tolist()
    yield _share("units", "interpretable among the top 100", wanted, is_interpretable)
    low, high = goldens()["layers_of_most_top_units"]
    layers = uid // context.run.units_per_layer
    share = float(((layers >= low) & (layers <= high)).mean()) if len(layers) else 0.0
    item = f"share of the top units in layers {low} to {high}"
    yield row("layers", item, "most", f"{share:.3f}", share > 0.5 if len(layers) else None)


def _share(section: str, item: str, printed: float, values: Sequence[float]) -> Row:
    if not len(values):
        note = "There is no such value: run the experiment on ablation first."
        return row(section, item, str(printed), "", None, note)
    ours = float(np.mean(values))
    note = f"Agrees within {SHARE_TOLERANCE:g}; over {len(values)} values."
    return row(
        section, item, str(printed), f"{ours:.3f}", abs(ours - printed) <= SHARE_TOLERANCE, note
    )


def _ablations(context: ExperimentContext) -> list[Row]:
    folder = experiment_folder(context.run.path, "ablation")
    if read_experiment(folder) is None:
        return []
    table = pq.read_table(folder / "ablations.parquet")
    rows: list[Row] = table.filter(pc.equal(table["arm"], "all")).to_pylist()
    return rows


def _settings(context: ExperimentContext) -> dict[str, Any]:
    """Rest on what the ablation found: another one makes this one be run again."""
    content = read_experiment(experiment_folder(context.run.path, "ablation"))
    return {"ablation": content["files"] if content else None}


REPLICATION = Experiment(
    name="replication",
    title="How do the paper's printed values compare?",
    run=run_replication,
    tables=(TABLE,),
    settings=_settings,
)
