"""The figures of an experiment that ran on both atlases stand beside each other."""

import re

from atlas_site.compare_experiments import experiments_section

from atlas_db.experiment_records import ExperimentRecord, FigureRecord


def _figure(value: float | None, *, arm: str = "top", layer: int | None = None) -> FigureRecord:
    return FigureRecord(
        1, "IoU", arm, "", layer, 5, value, 0.25, 0.5, 40, "IoU", None, "", "too few <masks>"
    )


def _experiment(name: str, *figures: FigureRecord) -> ExperimentRecord:
    return ExperimentRecord(name, f"What of {name}?", {}, "2026-01-02", 1.0, "cpu", figures)


def _cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows if "<td" in row]


def test_figures_stand_beside_each_other() -> None:
    first = [_experiment("masks", _figure(0.3), _figure(0.9, layer=2), _figure(0.1, arm="random"))]
    second = [_experiment("masks", _figure(0.4), _figure(None, arm="random"))]
    html = experiments_section(["one", "two <b>"], [first, second])
    assert "<b>0.300</b> <small>0.250 to 0.500, n = 40</small>" in html
    (top, random) = _cells(html)
    assert [cell[:10] for cell in top] == ["top, k = 5", "<b>0.300</", "<b>0.400</"]
    assert random[2] == '<span class="na-none" title="too few &lt;masks&gt;">left out</span>'
    # Layer 2 of one model is not layer 2 of another.
    assert "0.900" not in html
    assert "two &lt;b&gt;" in html
    assert 'href="report.html#masks"' in html


def test_experiments_of_one_atlas_are_listed_in_one_place() -> None:
    shared, alone = _experiment("masks", _figure(0.4)), _experiment("text", _figure(0.2))
    html = experiments_section(["one", "two"], [[shared], [shared, alone]])
    assert html.count("Not run on") == 1
    assert "Not run on one: 1 of 2</summary><ul><li>What of text?</li></ul>" in html
    # The report page is that of the first atlas: it has nothing of what was not run on it.
    assert 'href="report.html#masks"' in html
    assert "#text" not in html


def test_without_experiments_it_says_how() -> None:
    assert "neuron-atlas report" in experiments_section(["one", "two"], [[], []])
