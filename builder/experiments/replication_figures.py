"""Printed averages beside what the other experiments of this run found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas_db.experiment_format import FIGURES, experiment_folder, read_experiment
from atlas_db.records import unit_name
from atlas_db.run_format import ALWAYS_ON_MIN_FREQUENCY
from builder.experiments import adapter_control, agreement, selectivity_figures, specificity_figures
from builder.experiments.ablation import curve
from builder.experiments.context import ExperimentContext
from builder.experiments.replication_rows import Row, missing, numbers, row

#: Experiments whose results are set beside printed ones.
RESTS_ON = ("ablation", "adapter_control", "agreement", "selectivity", "specificity")
#: Printed shares are of two digits at most; ours agrees within this.
SHARE_TOLERANCE = 0.1
#: What the paper calls "largely unaffected": p(target) of random units falls by no more.
UNAFFECTED = 0.2
#: Less than half of what the paper's decoded units are above random pairs (.022 and 1.7).
SCORE_TOLERANCE = {"BERTScore": 0.01, "CLIPScore": 0.8}
#: Attributions of half precision differ by some per cent from one machine to another.
ATTRIBUTION_TOLERANCE = 0.1
#: The share of the categories of which a claim about each of them must hold.
NEARLY_ALL = 0.9

_SCORES = {"bertscore": "BERTScore", "clipscore": "CLIPScore"}
_TABLE_1 = {
    "random": agreement.RANDOM,
    "multimodal_neurons": agreement.OWN,
    "gpt_captions": agreement.CAPTIONS,
}
_TABLE_2 = {
    "random": ("adapter_control", adapter_control.RANDOM),
    "image_prompts": ("adapter_control", adapter_control.PATCHES),
    "gpt": ("agreement", agreement.CAPTIONS),
    "coco_nouns": ("adapter_control", adapter_control.NOUNS),
}

Figures = Mapping[str, list[dict[str, Any]]]


def read_figures(context: ExperimentContext) -> Figures:
    """Read the figures of the experiments that were run, by experiment."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in RESTS_ON:
        folder = experiment_folder(context.run.path, name)
        if read_experiment(folder) is not None:
            found[name] = pq.read_table(folder / f"{FIGURES}.parquet").to_pylist()
    return found


def score_rows(figures: Figures, printed: Mapping[str, Any]) -> Iterator[Row]:
    """Compare Tables 1 and 2, and what they are printed to show."""
    for arm, scores in printed["table_1"].items():
        for key, value in scores.items():
            place = ("agreement", _SCORES[key], _TABLE_1[arm])
            yield _score("table 1", place, value, figures)
    for key, score in _SCORES.items():
        values = [printed["table_1"][arm][key] for arm in ("multimodal_neurons", "random")]
        yield _above(score, values[0] - values[1], figures)
    for arm, scores in printed["table_2"].items():
        experiment, ours = _TABLE_2[arm]
        for key, value in scores.items():
            yield _score("table 2", (experiment, _SCORES[key], ours), value, figures)
    yield _distance(printed["claims"], figures)


def _score(section: str, place: tuple[str, str, str], printed: float, figures: Figures) -> Row:
    experiment, score, arm = place
    item = f"{score} of {arm}"
    found = _find(figures, experiment, figure=score, arm=arm, part="")
    if isinstance(found, str):
        return missing(section, item, f"{printed:g}", found)
    about = f"Over {found['n']} images. {found['note']} The paper does not name its model."
    return numbers(
        section, item, printed, found["value"], tolerance=SCORE_TOLERANCE[score], note=about
    )


def _above(score: str, printed: float, figures: Figures) -> Row:
    item = f"{score} of decoded units above random pairs"
    figure = f"{score}, decoded units above random pairs"
    found = _find(figures, "agreement", figure=figure, arm=agreement.OWN, part="")
    if isinstance(found, str):
        return missing("table 1", item, f"{printed:.4g}", found)
    note = "Agrees where the 95 % interval is above 0."
    ours = f"{found['value']:.4g} [{found['low']:.4g}, {found['high']:.4g}]"
    return row("table 1", item, f"{printed:.4g}", ours, found["low"] > 0, note)


def _distance(claims: Mapping[str, Any], figures: Figures) -> Row:
    item = "CLIPScore of patches and random vectors, Kolmogorov-Smirnov"
    printed = f"D = {claims['adapter_distance']:g}, p > {claims['adapter_distance_p_above']:g}"
    found = _find(
        figures,
        "adapter_control",
        figure=f"CLIPScore: {adapter_control.DISTANCE}",
        arm=adapter_control.PATCHES,
        part=f"against {adapter_control.RANDOM}",
    )
    if isinstance(found, str):
        return missing("table 2", item, printed, found)
    ours = f"D = {found['value']:.3f}, p = {found['p_value']:.2g}"
    note = f"Agrees where p > .05. Over {found['n']} images."
    return row("table 2", item, printed, ours, found["p_value"] > 0.05, note)


def _find(figures: Figures, experiment: str, **wanted: Any) -> dict[str, Any] | str:
    """Find a figure that has a value; else say why there is none."""
    if experiment not in figures:
        return f"Run the experiment {experiment} first."
    rows = figures[experiment]
    of_name = [one for one in rows if one["figure"] == wanted["figure"]]
    exact = [one for one in of_name if all(one[key] == value for key, value in wanted.items())]
    known = [one for one in exact if one["value"] is not None]
    if known:
        return known[0]
    # The reason may stand with the score as a whole (the figure without its remark), or with the
    # experiment, of which nothing was had.
    whole = wanted["figure"].partition(",")[0].partition(":")[0]
    reasons = [one["note"] for one in rows if one["value"] is None and one["figure"] == whole]
    if all(one["value"] is None for one in rows):
        reasons += [one["note"] for one in rows]
    return next(iter(reasons), f"The experiment {experiment} has no such figure here.")


def ablation_rows(context: ExperimentContext, printed: Mapping[str, Any]) -> Iterator[Row]:
    """Compare the curve's k, the drop at the greatest of them, and that of random units."""
    ks = [0, *curve(context.run.n_units)]
    wanted = printed["ablation"]["k"]
    shown, ours = (", ".join(map(str, values)) for values in (wanted, ks))
    yield row("ablation", "numbers of units that are zeroed", shown, ours, ks == wanted)
    last = wanted[-1]
    item = f"mean drop of p(c), the top {last}"
    value = printed["ablation"]["mean_drop_of_p_c_at_6400"]
    drops = _drops(context, "all", last)
    yield _share("ablation", item, value, drops, "Run the experiment ablation first.")
    item = f"mean drop of p(c), {last} random units of the same layers"
    value = printed["ablation"]["random_units_same_layers"]
    drops = _drops(context, "random", last)
    if not drops:
        yield missing("ablation", item, value, "Run the experiment ablation first.")
        return
    note = f"Agrees up to {UNAFFECTED:g}; over {len(drops)} passes."
    found = float(np.mean(drops))
    yield row("ablation", item, value, f"{found:.3f}", found <= UNAFFECTED, note)


def _drops(context: ExperimentContext, arm: str, k: int) -> list[float]:
    folder = experiment_folder(context.run.path, "ablation")
    if read_experiment(folder) is None:
        return []
    table = pq.read_table(folder / "ablations.parquet", columns=["arm", "k", "relative_drop"])
    is_asked = pc.and_(pc.equal(table["arm"], arm), pc.equal(table["k"], k))
    drops: list[float] = table.filter(is_asked)["relative_drop"].to_pylist()
    return drops


def _share(section: str, item: str, printed: float, values: Sequence[float], why: str) -> Row:
    if not len(values):
        return missing(section, item, f"{printed:g}", why)
    note = f"Over {len(values)} values."
    ours = float(np.mean(values))
    return numbers(section, item, printed, ours, tolerance=SHARE_TOLERANCE, note=note)


def unit_rows(context: ExperimentContext, printed: Mapping[str, Any]) -> Iterator[Row]:
    """Compare where the top units lie, how many are interpretable, and which are always found."""
    run = context.run
    uid = run.top_units["uid"].to_numpy()
    value = printed["interpretable_fraction_of_top_100"]
    shares = run.is_interpretable[uid].tolist()
    item = "interpretable among the top 100"
    yield _share("units", item, value, shares, "No image has a top unit.")
    low, high = printed["layers_of_most_top_units"]
    item = f"share of the top units in layers {low} to {high}"
    if len(uid):
        layers = uid // run.units_per_layer
        share = float(((layers >= low) & (layers <= high)).mean())
        note = "Agrees where it is more than half."
        yield row("layers", item, "most", f"{share:.3f}", share > 0.5, note)
    else:
        yield missing("layers", item, "most", "No image has a top unit.")
    for unit in printed["claims"]["units_of_unrelated_images"]:
        at = unit["layer"] * run.units_per_layer + unit["unit"]
        frequency = float(run.image_frequency[at])
        note = f"Agrees where it is in the top 100 of more than {ALWAYS_ON_MIN_FREQUENCY:.0%}."
        name = unit_name(unit["layer"], unit["unit"])
        yield row(
            "units", f"images in whose top 100 {name} is", "unrelated ones", f"{frequency:.1%}",
            frequency > ALWAYS_ON_MIN_FREQUENCY, note,
        )  # fmt: skip


def category_rows(figures: Figures, printed: Mapping[str, Any]) -> Iterator[Row]:
    """Compare in how many categories units overlap better, and prefer their own."""
    wanted = printed["claims"]["categories_of_greater_overlap"]
    found = _find(figures, "specificity", figure=specificity_figures.BETTER)
    item = "categories whose top units overlap better than random units"
    if isinstance(found, str):
        yield missing("categories", item, f"{wanted} of {wanted}", found)
    else:
        yield _nearly_all(item, wanted, int(found["value"]), found["n"], found["note"])
    wanted = printed["claims"]["classes_that_units_prefer"]
    item = "categories whose 20 units are more active on it than on all"
    rows = [
        one
        for one in figures.get("selectivity", ())
        if one["figure"] == selectivity_figures.MARGIN and one["part"] and one["value"] is not None
    ]
    if rows:
        n_above = sum(one["low"] > 0 for one in rows)
        note = "Counted where the 95 % interval over units is above 0."
        yield _nearly_all(item, wanted, n_above, len(rows), note)
    else:
        found = _find(figures, "selectivity", figure=selectivity_figures.MARGIN)
        why = found if isinstance(found, str) else "No category has a figure of its own."
        yield missing("categories", item, f"{wanted} of {wanted}", why)


def _nearly_all(item: str, wanted: int, n_so: int, n: int, note: str) -> Row:
    if n == 0:
        return missing(
            "categories", item, f"{wanted} of {wanted}", "No category has enough images."
        )
    said = f"Agrees from {NEARLY_ALL:.0%} on. {note}"
    return row(
        "categories", item, f"{wanted} of {wanted}", f"{n_so} of {n}", n_so >= NEARLY_ALL * n, said
    )


def attribution_rows(
    context: ExperimentContext, printed: Sequence[Mapping[str, Any]]
) -> Iterator[Row]:
    """Look for the printed units at their patches; which images the examples are of is not known.

    Ours is that of the image where it comes nearest to the printed value.
    """
    names = ["image_id", "target", "uid", "patch", "attribution"]
    rows = context.run.table("attributions", names)
    rows = rows.filter(pc.equal(rows["target"], 0))
    uid, patch = rows["uid"].to_numpy(), rows["patch"].to_numpy()
    for one in printed:
        wanted = one["attribution"]
        at = one["layer"] * context.run.units_per_layer + one["unit"]
        item = f"{unit_name(one['layer'], one['unit'])} at patch {one['patch']}"
        found = rows.filter((uid == at) & (patch == one["patch"]))
        if found.num_rows == 0:
            why = "In no image of the run is it, at this patch, in the top 100."
            yield missing("attributions", item, f"{wanted:g}", why)
            continue
        values = found["attribution"].to_numpy()
        errors = np.abs(values - wanted) / wanted
        n_near = int((errors <= ATTRIBUTION_TOLERANCE).sum())
        nearest = int(errors.argmin())
        yield row(
            "attributions", item, f"{wanted:g}", f"{values[nearest]:.4f}", n_near > 0,
            f"Agrees within {ATTRIBUTION_TOLERANCE:.0%}. The example's image is not known: image "
            f"{found['image_id'][nearest]} comes nearest; {n_near} of {len(values)} images with "
            "this unit and patch in their top 100 are as near.",
        )  # fmt: skip
