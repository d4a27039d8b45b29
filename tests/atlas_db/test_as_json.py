"""Records as JSON: own names, summaries flat, heatmaps that come back, nothing JSON cannot say."""

import base64
import json
import math

import numpy as np
import pytest

from atlas_db.as_json import as_json, dumps
from atlas_db.records import (
    ConceptRecord,
    ConceptSummary,
    ConceptUnit,
    ExemplarRecord,
    TokenRecord,
    UnitSummary,
)


def unit_summary(activation_max: float = 2.0) -> UnitSummary:
    return UnitSummary(
        uid=37,
        layer=1,
        unit=5,
        top_tokens=(" wäter", "\x1b[0m"),
        n_images=3,
        image_frequency=0.25,
        is_always_on=False,
        is_interpretable=True,
        n_dictionary_words=8,
        best_attribution=None,
        mean_attribution=None,
        activation_max=activation_max,
    )


def test_a_record_keeps_its_names_and_gains_its_printed_name() -> None:
    assert as_json(unit_summary()) == {
        "name": "L1.U5",
        "uid": 37,
        "layer": 1,
        "unit": 5,
        "top_tokens": [" wäter", "\x1b[0m"],
        "n_images": 3,
        "image_frequency": 0.25,
        "is_always_on": False,
        "is_interpretable": True,
        "n_dictionary_words": 8,
        "best_attribution": None,
        "mean_attribution": None,
        "activation_max": 2.0,
    }


def test_a_summary_lies_flat_beside_the_record_that_has_it() -> None:
    record = ConceptRecord(
        summary=ConceptSummary("a/b", "a-b", "a/b", 1, 1, 0.5),
        units=(ConceptUnit(unit_summary(), "a/b", 1, " a/b", 0.5, 2),),
        family=(),
        related=(),
    )
    result = as_json(record)
    assert list(result) == [
        *("concept", "slug", "stem", "n_units", "n_layers", "best_prob"),
        *("units", "family", "related"),
    ]
    assert result["units"][0]["unit"]["name"] == "L1.U5"


def test_activations_come_back_from_a_heatmap() -> None:
    levels = np.arange(196, dtype=np.uint8)
    exemplar = ExemplarRecord(1, 139, 3.5, 195, "a dog", levels, 0.25, -0.125)
    result = json.loads(dumps(exemplar))
    read = np.frombuffer(base64.b64decode(result["heatmap"]), np.uint8)
    activations = result["heatmap_zero"] + result["heatmap_scale"] * read
    np.testing.assert_array_equal(activations.astype(np.float32), exemplar.activations())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_number_that_json_cannot_say_is_null(value: float) -> None:
    assert json.loads(dumps(unit_summary(value)))["activation_max"] is None


def test_numbers_of_numpy_are_plain_numbers() -> None:
    token = TokenRecord(np.int8(1), np.int32(7), " x", None, np.float32(0.5), 0.25)
    assert dumps(token) == (
        '{"rank":1,"token_id":7,"token":" x","concept":null,"logit":0.5,"prob":0.25}'
    )


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(TypeError, match="got object"):
        dumps(object())
