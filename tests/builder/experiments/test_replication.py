"""Printed values beside ours, on a stand-in for the paper's captioner with known answers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from builder.experiments import replication
from builder.experiments.context import ExperimentContext
from builder.experiments.replication import REPLICATION, decode, goldens


def test_it_does_not_apply_to_others(lone_context: ExperimentContext) -> None:
    outcome = REPLICATION.run(lone_context)
    assert outcome.tables["replication"].num_rows == 0
    (figure,) = outcome.figures
    assert figure.value is None
    assert "does not apply" in figure.note
    assert "random" in figure.note


@pytest.fixture
def as_if(lone_context: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> ExperimentContext:
    """The small captioner, taken for the paper's, with printed values that it knows."""
    run, captioner = lone_context.run, lone_context.captioner
    tokens = run.table("vocabulary").sort_by("token_id")["token"].to_pylist()
    ids = decode(lone_context.model, [{"layer": 0, "unit": 77}], len(tokens), norm=False,
                 has_bias=False)  # fmt: skip
    captions = run.table("captions", ["image_id", "caption"]).to_pylist()
    printed = {
        **goldens(),
        "decoded_units": [
            {"layer": 0, "unit": 77, "top_tokens": [tokens[i].strip() for i in ids[0][:5]]},
            {"layer": 0, "unit": 77, "top_tokens": ["no", "such", "words", "at", "all"]},
        ],
        "decoded_uninterpretable_units": [],
        "captions": [
            {"coco_id": captions[0]["image_id"], "caption": captions[0]["caption"] + "."},
            {"coco_id": captions[1]["image_id"], "caption": "a dog with a cat"},
            {"coco_id": 219578, "caption": "a dog with a cat"},
        ],
    }
    monkeypatch.setattr(replication, "goldens", lambda: printed)
    monkeypatch.setattr(replication, "GPT_J", ("gptj", run.n_layers, run.units_per_layer))
    source = captioner.config.encoder.source
    monkeypatch.setattr(replication, "ENCODER", source)
    config = replace(captioner.config, is_random=False)
    return replace(lone_context, captioner=replace(captioner, config=config))


def found(context: ExperimentContext) -> dict[tuple[str, str], dict[str, Any]]:
    rows = REPLICATION.run(context).tables["replication"].to_pylist()
    return {(row["section"], row["item"]): row for row in rows}


def test_values_are_compared(as_if: ExperimentContext) -> None:
    outcome = REPLICATION.run(as_if)
    rows = outcome.tables["replication"].to_pylist()
    assert [row["number"] for row in rows] == list(range(len(rows)))
    plain = [
        row["agrees"] for row in rows if row["item"] == "L0.U77, without final norm, without bias"
    ]
    assert plain == [True, False]
    shares = {f.part: f.value for f in outcome.figures if f.figure == "units decoded as printed"}
    assert shares["without final norm, without bias"] == 0.5
    assert len(shares) == 4
    captions = [row for row in rows if row["section"] == "captions"]
    assert [row["agrees"] for row in captions] == [True, False, None]
    assert "not in the run" in captions[2]["note"]
    ablated = [row for row in rows if row["section"] == "captions under ablation"]
    assert {row["agrees"] for row in ablated} == {None}
    values = found(as_if)
    assert values["ablation", "mean drop of p(c) at k = 6400"]["agrees"] is None
    # The one top unit of every image lies in layer 0, not in 5 to 10.
    assert values["layers", "share of the top units in layers 5 to 10"]["agrees"] is False


def test_another_encoder_leaves_the_decodings(
    as_if: ExperimentContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "ENCODER", "another")
    outcome = REPLICATION.run(as_if)
    sections = set(outcome.tables["replication"]["section"].to_pylist())
    assert sections == {"decoded units"}
    (gone,) = (figure for figure in outcome.figures if figure.value is None)
    assert "encoder" in gone.note


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
