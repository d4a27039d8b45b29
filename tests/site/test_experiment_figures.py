"""Which drawings an experiment gets: of its arms, of k, and of layers."""

import re
from typing import Any

import pytest
from atlas_site.experiment_figures import drawing

from atlas_db.experiment_records import FigureRecord

BLANK: dict[str, Any] = dict.fromkeys(("layer", "k", "low", "high", "p_value"))


def figure(name: str, value: float | None, **more: Any) -> FigureRecord:
    text = {"arm": "", "part": "", "control": "", "note": "" if value is not None else "None."}
    columns = {**BLANK, **text, "number": 0, "measure": "share", "n": 20, **more}
    return FigureRecord(figure=name, value=value, **columns)


def captions(html: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)</figcaption>", html)


ARMS = [figure("says", 0.7, arm="top"), figure("says", 0.2, arm="random")]


def layers(name: str, part: str = "", arm: str = "top") -> list[FigureRecord]:
    return [figure(name, 0.1 * layer, layer=layer, part=part, arm=arm) for layer in range(3)]


def test_what_is_of_layers_stands_below_the_answer() -> None:
    html = drawing("decoding", [*ARMS, *layers("units", "one"), *layers("units", "three")])
    first, second, third = captions(html)
    assert first.startswith("says (share)")
    assert second.startswith("units, one (share)")
    assert third.startswith("units, three (share)")


def test_an_experiment_on_layers_has_their_chart_alone() -> None:
    html = drawing("layers", [*layers("places"), figure("depth", 0.2, arm="all"), *ARMS])
    assert [caption.split(" (")[0] for caption in captions(html)] == ["places"]


def test_the_chart_over_k_of_the_figure_that_answers() -> None:
    curve = [figure("relative drop of p(target)", 0.1 * k, k=k, arm="all") for k in (1, 2, 4)]
    html = drawing("ablation", [*ARMS, *curve])
    assert [caption.split(", by")[0] for caption in captions(html)] == [
        "relative drop of p(target) (share)"
    ]


@pytest.mark.parametrize("figures", [[], [figure("x", None)], [figure("x", 0.5)]])
def test_nothing_to_draw(figures: list[FigureRecord]) -> None:
    assert drawing("x", figures) == ""
