"""Printed values beside ours, on a stand-in for the paper's captioner with known answers."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_scorers import write_tiny_bert, write_tiny_clip

from builder.experiments import replication
from builder.experiments.ablation import ABLATION, curve
from builder.experiments.adapter_control import ADAPTER_CONTROL
from builder.experiments.agreement import AGREEMENT
from builder.experiments.contents import ViewMasks
from builder.experiments.context import ExperimentContext, FinishedRun, ReportSettings
from builder.experiments.overlap import upsample
from builder.experiments.passes import Passes
from builder.experiments.replication import REPLICATION
from builder.experiments.replication_rows import goldens
from builder.experiments.replication_weights import decode
from builder.experiments.run import run_experiment
from builder.experiments.selectivity import SELECTIVITY
from builder.experiments.specificity import SPECIFICITY


def test_it_does_not_apply_to_others(lone_context: ExperimentContext) -> None:
    outcome = REPLICATION.run(lone_context)
    assert outcome.tables["replication"].num_rows == 0
    (figure,) = outcome.figures
    assert figure.value is None
    assert "does not apply" in figure.note
    assert "random" in figure.note


@pytest.fixture
def as_if(lone_context: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> ExperimentContext:
    """The small captioner, taken for the paper's, with printed values of its own units."""
    run, captioner = lone_context.run, lone_context.captioner
    printed = of_small_model(goldens(), run.n_layers, run.units_per_layer)
    monkeypatch.setattr(replication, "goldens", lambda: printed)
    monkeypatch.setattr(replication, "GPT_J", ("gptj", run.n_layers, run.units_per_layer))
    monkeypatch.setattr(replication, "ENCODER", captioner.config.encoder.source)
    monkeypatch.setattr(replication, "ADAPTER", captioner.config.adapter.origin)
    config = replace(captioner.config, is_random=False)
    return replace(lone_context, captioner=replace(captioner, config=config))


def of_small_model(value: Any, n_layers: int, n_units: int) -> Any:
    """Give the printed values with units that a smaller model has."""
    if isinstance(value, list):
        return [of_small_model(one, n_layers, n_units) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: of_small_model(one, n_layers, n_units) for key, one in value.items()}
    if {"layer", "unit"} <= set(found):
        found |= {"layer": found["layer"] % n_layers, "unit": found["unit"] % n_units}
    return found


def print_instead(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let the paper print other values."""
    printed = {**replication.goldens(), **changes}
    monkeypatch.setattr(replication, "goldens", lambda: printed)


def rows_of(context: ExperimentContext, section: str) -> list[dict[str, Any]]:
    rows = REPLICATION.run(context).tables["replication"].to_pylist()
    return [row for row in rows if row["section"] == section]


def printed_texts(printed: dict[str, Any]) -> set[str]:
    """Write every printed value as the table does."""
    units = [*printed["decoded_units"], *printed["decoded_uninterpretable_units"]]
    found = {", ".join(unit["top_tokens"]) for unit in units}
    found |= {f"{one['attribution']:g}" for one in printed["attribution_examples"]}
    for image in printed["mask_iou"]:
        found |= {f"{image['mean_mask_iou']:g}", *(f"{u['iou']:g}" for u in image["units"])}
    found |= {one["caption"] for one in printed["captions"]}
    for image in printed["captions_after_ablating_top_k"]:
        found |= set(image["captions"].values())
    for table in ("table_1", "table_2"):
        found |= {f"{v:g}" for scores in printed[table].values() for v in scores.values()}
    ablation, claims = printed["ablation"], printed["claims"]
    found |= {", ".join(map(str, ablation["k"])), ablation["random_units_same_layers"]}
    found |= {f"{ablation['mean_drop_of_p_c_at_6400']:g}"}
    found |= {f"{printed['interpretable_fraction_of_top_100']:g}", "D = 0.037, p > 0.5"}
    found |= {
        f"{n} of {n}" for n in (claims[key] for key in claims if isinstance(claims[key], int))
    }
    return found


def test_every_printed_value_has_its_row(as_if: ExperimentContext) -> None:
    outcome = REPLICATION.run(as_if)
    rows = outcome.tables["replication"].to_pylist()
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert printed_texts(replication.goldens()) <= {row["printed"] for row in rows}
    counts = Counter(row["section"] for row in rows)
    assert counts == {
        "decoded units": 4 * 57,
        "captions": 6,
        "captions under ablation": 5 + 3 + 3,
        "attributions": 6,
        # Units, their mean heatmap, and whether they are found: of eight images.
        "masks": 45 + 8 + 8,
        "table 1": 6 + 2,
        "table 2": 8 + 1,
        "ablation": 3,
        "categories": 2,
        "layers": 1,
        "units": 1 + 4,
    }
    # None of the paper's images is here, and no other experiment was run.
    for row in rows:
        assert row["agrees"] is not None or row["note"].endswith("."), row
        if row["agrees"] is None:
            assert row["ours"] == ""
    agreeing = {f.part: f for f in outcome.figures if f.figure == "printed values that agree"}
    assert set(agreeing) == {"", *counts}
    # Of four readings of the decodings one counts.
    assert agreeing["decoded units"].n == 57
    assert agreeing["captions"].value is None
    assert "6 more could not be compared" in agreeing["captions"].note
    assert agreeing["layers"].value == 0.0


def test_decodings(as_if: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = as_if.run.table("vocabulary").sort_by("token_id")["token"].to_pylist()
    unit = {"layer": 0, "unit": 77}
    ids = decode(as_if.model, [unit], len(tokens), norm=False, has_bias=False)
    print_instead(
        monkeypatch,
        decoded_units=[
            {**unit, "top_tokens": [tokens[i].strip() for i in ids[0][:5]]},
            {**unit, "top_tokens": ["no", "such", "words", "at", "all"]},
        ],
        decoded_uninterpretable_units=[],
    )
    outcome = REPLICATION.run(as_if)
    rows = outcome.tables["replication"].to_pylist()
    item = "L0.U77, without final norm, without bias"
    assert [row["agrees"] for row in rows if row["item"] == item] == [True, False]
    shares = {f.part: f.value for f in outcome.figures if f.figure == "units decoded as printed"}
    assert shares["without final norm, without bias"] == 0.5
    assert len(shares) == 4


def test_captions(as_if: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = as_if.run.table("captions", ["image_id", "caption"]).to_pylist()
    print_instead(
        monkeypatch,
        captions=[
            {"coco_id": captions[0]["image_id"], "caption": captions[0]["caption"] + "."},
            {"coco_id": captions[1]["image_id"], "caption": "a dog with a cat"},
            {"coco_id": 219578, "caption": "a dog with a cat"},
        ],
    )
    rows = rows_of(as_if, "captions")
    assert [row["agrees"] for row in rows] == [True, False, None]
    assert "not in the run" in rows[2]["note"]


def test_captions_under_ablation_are_those_of_the_experiment(
    as_if: ExperimentContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured on the printed images themselves, whatever the report's sample is."""
    known = ABLATION.run(as_if).tables["ablations"].to_pylist()
    of_all = {(r["image_id"], r["k"]): r["caption"] for r in known if r["arm"] == "all"}
    captions = {1: {"1": of_all[1, 1]}, 2: {"1": "a tiger", "2": "a tiger"}}
    print_instead(
        monkeypatch,
        captions_after_ablating_top_k=[
            {"coco_id": image_id, "captions": of_image} for image_id, of_image in captions.items()
        ],
    )
    elsewhere = replace(as_if, settings=ReportSettings(n_images=1))
    rows = rows_of(elsewhere, "captions under ablation")
    assert [row["agrees"] for row in rows] == [True, False, None]
    assert rows[1]["ours"] == of_all[2, 1]
    # One unit alone carries the target.
    assert "fewer than 2 units" in rows[2]["note"]


def test_masks(as_if: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the experiment on specificity, and a mean of heatmaps worked out with numpy."""
    units = [{"layer": 0, "unit": 77}, {"layer": 1, "unit": 5}]
    ids = as_if.run.image_ids.tolist()

    def printed(image_id: int, ious: list[float]) -> dict[str, Any]:
        listed = [{**unit, "iou": value} for unit, value in zip(units, ious, strict=True)]
        return {"coco_id": image_id, "mean_mask_iou": ious[0], "units": listed}

    print_instead(monkeypatch, mask_iou=[printed(i, [9.0, 9.0]) for i in ids])
    rows = {row["item"]: row for row in rows_of(as_if, "masks")}
    own = [float(rows[f"image {i}, IoU of L0.U77"]["ours"]) for i in ids]
    (known,) = SPECIFICITY.run(as_if).tables["unit_masks"].to_pylist()
    assert known["n_images"] == len(ids)
    assert np.mean(own) == pytest.approx(known["iou"], abs=1e-3)
    size = as_if.run.units_per_layer
    (batch,) = as_if.batches([ids[0]])
    passes = Passes(as_if.captioner, as_if.model)
    maps = passes.activations(batch.patches, torch.tensor([[77, size + 5]]))[0]
    pixels = upsample(maps.mean(dim=0, keepdim=True), as_if.run.grid, 224)[0].numpy()
    category = as_if.run.table("categories")["category_id"][0].as_py()
    target = ViewMasks(as_if, np.array(ids[:1])).get(ids[0], category)
    assert target is not None
    mask = pixels > np.percentile(pixels, 95)
    by_hand = (mask & target).sum() / (mask | target).sum()
    mean = rows[f"image {ids[0]}, IoU of their mean heatmap"]
    assert float(mean["ours"]) == pytest.approx(by_hand, abs=1e-3)
    assert f"{target.mean():.3f} of the view" in mean["note"]
    assert {row["agrees"] for row in rows.values() if "IoU" in row["item"]} == {False}
    print_instead(monkeypatch, mask_iou=[printed(ids[0], [own[0] + 0.04, own[0]])])
    near = {row["item"]: row for row in rows_of(as_if, "masks")}
    assert near[f"image {ids[0]}, IoU of L0.U77"]["agrees"] is True
    # The planted unit is in the top 100, the other is not.
    found = near[f"image {ids[0]}, printed units in our top 100"]
    assert (found["printed"], found["ours"], found["agrees"]) == ("2 of 2", "1 of 2", False)


def test_attributions(as_if: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    first = as_if.run.table("attributions").to_pylist()[0]
    unit = {"layer": 0, "unit": first["uid"], "patch": first["patch"]}
    ours = first["attribution"]
    print_instead(
        monkeypatch,
        attribution_examples=[
            {**unit, "attribution": ours * 1.05},
            {**unit, "attribution": ours * 100},
            {"layer": 1, "unit": 5, "patch": 0, "attribution": 0.1},
        ],
    )
    rows = rows_of(as_if, "attributions")
    assert [row["agrees"] for row in rows] == [True, False, None]
    assert float(rows[0]["ours"]) == pytest.approx(ours, rel=0.05)
    assert "top 100" in rows[2]["note"]


@pytest.fixture(scope="module")
def measured(lone_context: ExperimentContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run with the experiments that printed averages are compared with."""
    folder = tmp_path_factory.mktemp("measured")
    write_tiny_bert(folder / "models" / "bert")
    write_tiny_clip(folder / "models" / "clip")
    run = Path(shutil.copytree(lone_context.run.path, folder / "run"))
    context = replace(lone_context, run=FinishedRun(run), score_models=folder / "models")
    for experiment in (ADAPTER_CONTROL, AGREEMENT, SPECIFICITY, SELECTIVITY, ABLATION):
        run_experiment(context, experiment)
    return run


def test_tables(as_if: ExperimentContext, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = replace(as_if, run=FinishedRun(measured))
    known = {
        (name, one["figure"], one["arm"]): one["value"]
        for name in ("agreement", "adapter_control")
        for one in pq.read_table(measured / "experiments" / name / "figures.parquet").to_pylist()
        if one["part"] == ""
    }
    own = known["agreement", "BERTScore", "decoded units"]
    patches = known["adapter_control", "CLIPScore", "projected patches"]
    nouns = known["adapter_control", "CLIPScore", "nouns of the captions"]
    captions = known["agreement", "BERTScore", "generated captions"]
    printed = replication.goldens()
    table_1 = {arm: dict(scores) for arm, scores in printed["table_1"].items()}
    table_2 = {arm: dict(scores) for arm, scores in printed["table_2"].items()}
    table_1["multimodal_neurons"]["bertscore"] = own + 0.009
    table_1["random"]["bertscore"] = 7.0
    table_2["image_prompts"]["clipscore"] = patches - 0.7
    table_2["coco_nouns"]["clipscore"] = nouns - 0.9
    table_2["gpt"]["bertscore"] = captions
    print_instead(monkeypatch, table_1=table_1, table_2=table_2)
    one = {row["item"]: row for row in rows_of(context, "table 1")}
    assert one["BERTScore of decoded units"]["agrees"] is True
    assert one["BERTScore of random pairs"]["agrees"] is False
    assert "bert, layer 2." in one["BERTScore of decoded units"]["note"]
    above = one["CLIPScore of decoded units above random pairs"]
    assert above["printed"] == f"{23.43 - 21.74:.4g}"
    # All images have the one unit: it is no better on its own.
    assert above["agrees"] is False
    two = {row["item"]: row for row in rows_of(context, "table 2")}
    assert two["CLIPScore of projected patches"]["agrees"] is True
    assert two["CLIPScore of nouns of the captions"]["agrees"] is False
    assert two["BERTScore of generated captions"]["agrees"] is True
    distance = two["CLIPScore of patches and random vectors, Kolmogorov-Smirnov"]
    assert distance["agrees"] in (True, False)
    assert distance["ours"].startswith("D = ")


def test_averages_of_other_experiments(
    as_if: ExperimentContext, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(as_if, run=FinishedRun(measured))
    table = pq.read_table(measured / "experiments/ablation/ablations.parquet").to_pylist()
    ks = [0, *curve(context.run.n_units)]
    drops = {
        arm: np.mean([r["relative_drop"] for r in table if r["arm"] == arm and r["k"] == 1])
        for arm in ("all", "random")
    }
    print_instead(
        monkeypatch,
        ablation={
            "k": [0, 1],
            "mean_drop_of_p_c_at_6400": drops["all"] + 0.09,
            "random_units_same_layers": "largely unaffected",
        },
        layers_of_most_top_units=[0, 0],
    )
    rows = {row["item"]: row for row in rows_of(context, "ablation")}
    assert rows["numbers of units that are zeroed"]["agrees"] is False
    assert rows["numbers of units that are zeroed"]["ours"] == ", ".join(map(str, ks))
    assert rows["mean drop of p(c), the top 1"]["agrees"] is True
    random = rows["mean drop of p(c), 1 random units of the same layers"]
    assert (random["agrees"], random["ours"]) == (True, f"{drops['random']:.3f}")
    (layers,) = rows_of(context, "layers")
    assert (layers["ours"], layers["agrees"]) == ("1.000", True)
    # Of one category there is a figure on masks, and none on selectivity.
    better, prefer = rows_of(context, "categories")
    assert (better["ours"], better["agrees"]) == ("1 of 1", True)
    assert prefer["agrees"] is None
    assert "categories" in prefer["note"]


def test_units_of_unrelated_images(
    as_if: ExperimentContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = {
        **replication.goldens()["claims"],
        "units_of_unrelated_images": [{"layer": 0, "unit": 77}, {"layer": 0, "unit": 3}],
    }
    print_instead(monkeypatch, claims=claims)
    _, planted, other = rows_of(as_if, "units")
    assert (planted["ours"], planted["agrees"]) == ("100.0%", True)
    assert (other["ours"], other["agrees"]) == ("0.0%", False)


@pytest.mark.parametrize(("name", "word"), [("ENCODER", "encoder"), ("ADAPTER", "adapter")])
def test_another_part_leaves_the_decodings(
    as_if: ExperimentContext, monkeypatch: pytest.MonkeyPatch, name: str, word: str
) -> None:
    monkeypatch.setattr(replication, name, "another")
    outcome = REPLICATION.run(as_if)
    sections = set(outcome.tables["replication"]["section"].to_pylist())
    assert sections == {"decoded units"}
    (gone,) = (figure for figure in outcome.figures if figure.value is None)
    assert f"The paper's {word} is" in gone.note


def test_another_result_of_what_it_rests_on_runs_it_again(
    as_if: ExperimentContext, measured: Path
) -> None:
    context = replace(as_if, run=FinishedRun(measured))
    assert REPLICATION.own_settings(context) != REPLICATION.own_settings(as_if)


def test_at_the_paper_s_size_the_curve_is_the_paper_s() -> None:
    assert [0, *curve(458_752)] == goldens()["ablation"]["k"]


def test_norm_and_bias_matter(lone_context: ExperimentContext) -> None:
    """The bias of GPT-J's unembedding is added, and the final norm applied, where asked."""
    model = lone_context.model
    units = [{"layer": 0, "unit": 77}]
    n_tokens = model.d_vocab
    vector = model.write_vectors(0)[77]
    head = model.model.get_output_embeddings()
    plain = (model.unembedding @ vector).topk(10).indices.tolist()
    assert decode(model, units, n_tokens, norm=False, has_bias=False) == [plain]
    full = head(model.final_norm(vector)).topk(10).indices.tolist()
    assert decode(model, units, n_tokens, norm=True, has_bias=True) == [full]
    assert torch.is_tensor(head.bias)
