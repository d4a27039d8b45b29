"""What the paper's experiments write into a run folder, beside what the build wrote.

One folder for each experiment, whole or not there::

    run/experiments/NAME/
      experiment.json     settings, the state of the run that it rests on, hashes of its files
      figures.parquet     its printed figures (FIGURES), one row each
      TABLE.parquet       those of EXPERIMENT_SCHEMAS that it writes

`figures` of all experiments together are the atlas's table `experiments`. A table belongs to one
experiment alone. Columns whose type ends in a question mark are nullable: the value could not be
had, and a row of `experiments` says why.

A run folder without experiments is as good as one with all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from atlas_db.errors import RunError
from atlas_db.run_format import file_sha256

EXPERIMENT_FORMAT = "neuron-atlas-experiment"
EXPERIMENT_VERSION = 1

#: What the file and the folder of an experiment are called.
FIGURES = "figures"
EXPERIMENT_FILE = "experiment.json"


def _schema(columns: str) -> pa.Schema:
    """Read "name type, ..."; a question mark after the type makes a column nullable."""
    kinds = {
        "i8": pa.int8(), "i16": pa.int16(), "i32": pa.int32(), "i64": pa.int64(),
        "f32": pa.float32(), "f64": pa.float64(), "text": pa.string(), "bool": pa.bool_(),
        "texts": pa.list_(pa.string()), "f32s": pa.list_(pa.float32()),
    }  # fmt: skip
    fields = []
    for column in columns.split(","):
        name, kind = column.split()
        fields.append(pa.field(name, kinds[kind.rstrip("?")], nullable=kind.endswith("?")))
    return pa.schema(fields)


#: One printed figure; see `builder.experiments.experiment.Figure` for what the columns mean.
FIGURE_SCHEMA = _schema(
    "number i32, figure text, arm text, part text, layer i16?, k i32?, value f64?, low f64?, "
    "high f64?, n i64, measure text, p_value f64?, control text, note text"
)

#: Tables of experiments: the column `uid` is layer * units_per_layer + unit, as everywhere.
EXPERIMENT_SCHEMAS: Mapping[str, pa.Schema] = {
    # Cause. Arms: "all", "interpretable", "random" (several draws), "other image"; k = 0 is the
    # untouched model, arm "none". relative_drop = 1 - prob / prob at k = 0. The caption is null
    # where none was generated anew.
    "ablations": _schema(
        "image_id i64, target i8, arm text, draw i16, k i32, prob f32, logit f32, "
        "relative_drop f32, caption text?"
    ),
    # Single units zeroed alone, over images in whose top 100 they are, beside a random unit of
    # the same layer on the same images. Drops are positive where zeroing lowers the target.
    "unit_effects": _schema(
        "uid i32, n_images i32, logit_drop f32, prob_drop f32, relative_drop f32, "
        "random_logit_drop f32, random_prob_drop f32, random_relative_drop f32"
    ),
    # Adapter control: the tokens nearest to a projected patch by cosine, from rank 1.
    "adapter_tokens": _schema("image_id i64, patch i16, rank i8, token_id i32, cosine f32"),
    # Agreement of a unit's decoded tokens with its images, and with images drawn at random.
    "unit_agreement": _schema("uid i32, n_images i32, agreement f32, random_agreement f32"),
    # The same by a model that scores texts ("BERTScore", "CLIPScore"), where one was at hand.
    "unit_scores": _schema(
        "uid i32, score text, n_images i32, agreement f32, random_agreement f32"
    ),
    # Specificity: means over the images in whose top 100 the unit is and which have a mask.
    # `iou` thresholds each map at its own 95th percentile, `iou_unit_threshold` at that of the
    # unit over all images (as NetDissect does); `random_iou` is of units of the same layer.
    "unit_masks": _schema(
        "uid i32, n_images i32, iou f32, iou_unit_threshold f32, object_share f32, iou_bound f32, "
        "random_iou f32"
    ),
    "unit_category_masks": _schema(
        "uid i32, category_id i32, n_images i32, iou f32, iou_unit_threshold f32, "
        "object_share f32, iou_bound f32, random_iou f32"
    ),
    # Selectivity: the units that are in the top 100 of most images of a category, from rank 1;
    # the mean over a category's images of a unit's greatest activation; entropy over categories
    # in nats, 0 for a unit of one category alone, with the p-value of a permutation test.
    "category_units": _schema("category_id i32, rank i16, uid i32, n_images i32"),
    "unit_category_activations": _schema("uid i32, category_id i32, n_images i32, activation f32"),
    "unit_selectivity": _schema(
        "uid i32, n_categories i32, entropy f32, entropy_p f32?, best_category_id i32"
    ),
    # Units that say a category (three or more of its words among their ten tokens), and in how
    # many of their 16 exemplars it is; the best first.
    "category_coverage": _schema("category_id i32, uid i32, n_words i8, n_exemplars i8"),
    # Attributions side by side, each for one unit and image: null where a method does not apply.
    "attribution_methods": _schema(
        "image_id i64, target i8, uid i32, z_gradient f32, a_gradient f32, gradient_free f32, "
        "activation f32, integrated_gradients f32?, zeroing f32"
    ),
    # Text: the passages on which a unit is most active, from rank 1, with its activation at each
    # token; and whether a unit that fires on the picture of a thing fires on its words.
    "text_exemplars": _schema(
        "uid i32, rank i8, source text, passage i32, activation f32, position i16, tokens texts, "
        "activations f32s"
    ),
    "unit_text": _schema("uid i32, n_concepts i32, rank_correlation f32?, auc f32?, auc_p f32?"),
    # The printed values of the paper beside ours; `agrees` is null where that is not a yes or no.
    "replication": _schema(
        "number i32, section text, item text, printed text, ours text, agrees bool?, note text"
    ),
}


def experiment_folder(run: Path, name: str) -> Path:
    """Name the folder of an experiment's results."""
    return run / "experiments" / name


def run_state(manifest: Mapping[str, Any]) -> str:
    """Name what a run's experiments rest on: its shards and tables of weights, by hashes."""
    listed = {
        "files": manifest.get("files", {}),
        "shards": [
            [shard["start"], shard["stop"], shard["sha256"]]
            for shard in sorted(manifest["shards"], key=lambda shard: shard["start"])
        ],
    }
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def read_experiment(folder: Path) -> dict[str, Any] | None:
    """Read what `experiment.json` says; None where there is no whole experiment.

    Raises:
        RunError: A file of it is damaged, or of another format.
    """
    path = folder / EXPERIMENT_FILE
    advice = f"Delete {folder} and give `neuron-atlas report` again; it makes only this one anew."
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}. {advice}") from None
    found = (content.get("format"), content.get("version"))
    if found != (EXPERIMENT_FORMAT, EXPERIMENT_VERSION):
        raise RunError(
            f"{path} is of format {found[0]} {found[1]}, wanted {EXPERIMENT_FORMAT} "
            f"{EXPERIMENT_VERSION}. {advice}"
        )
    for name, sha256 in content["files"].items():
        try:
            is_whole = file_sha256(folder / name) == sha256
        except OSError:
            is_whole = False
        if not is_whole:
            raise RunError(f"{folder / name} is missing or damaged. {advice}")
    return content
