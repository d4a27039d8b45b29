"""Charts are drawn from the numbers that they show."""

import re

import pytest
from atlas_site.charts import bars_svg, histogram_svg

from atlas_db.run_format import HISTOGRAM_BINS_PER_SIGN, N_HISTOGRAM_BINS


def _heights(svg: str) -> list[float]:
    """Walk the first path and give the height of the area above each step."""
    path = re.search(r'<path d="M0 64([^z]*)z"', svg)
    assert path is not None
    heights, level = [], 0.0
    for kind, value in re.findall(r"([vh])(-?[0-9.]+)", path[1]):
        if kind == "v":
            level -= float(value)
        else:
            heights += [level] * int(value)
    assert level == 0
    return heights


def test_histogram_draws_each_bin_at_its_place() -> None:
    counts = [0] * N_HISTOGRAM_BINS
    counts[HISTOGRAM_BINS_PER_SIGN] = 99
    counts[HISTOGRAM_BINS_PER_SIGN + 5] = 9
    heights = _heights(histogram_svg(counts, {}))
    # log(100) : log(10) = 2 : 1; one empty bin is kept at each side.
    filled = [index for index, height in enumerate(heights) if height]
    assert filled[1] - filled[0] == 5
    assert heights[filled[0]] == 60
    assert heights[filled[1]] == 30


def test_histogram_marks_quantiles_and_zero() -> None:
    counts = [0] * N_HISTOGRAM_BINS
    counts[HISTOGRAM_BINS_PER_SIGN : HISTOGRAM_BINS_PER_SIGN + 40] = [5] * 40
    svg = histogram_svg(counts, {"0.5": 0.001, "0.95": float("nan")})
    zero = re.search(r'class="z" d="M(\d+) 0', svg)
    mark = re.search(r'class="q" d="M([0-9.]+) 0V64"><title>median: 0.00100', svg)
    assert zero is not None
    assert mark is not None
    assert float(mark[1]) == int(zero[1]) + 0.5
    assert "95th" not in svg


def _ends(svg: str) -> list[str]:
    return re.findall(r"<span>([^<]*)</span>", svg)


def test_the_number_at_an_end_leaves_the_zero_its_room() -> None:
    middle, both = HISTOGRAM_BINS_PER_SIGN, [0] * N_HISTOGRAM_BINS
    both[middle - 12 : middle + 12] = [5] * 24
    assert all(_ends(histogram_svg(both, {})))
    only_positive = [0] * N_HISTOGRAM_BINS
    only_positive[middle : middle + 24] = [5] * 24
    low, high = _ends(histogram_svg(only_positive, {}))
    assert low == ""
    assert high == "0.25"
    only_negative = only_positive[::-1]
    low, high = _ends(histogram_svg(only_negative, {}))
    assert low.startswith("−")
    assert high == ""


def test_histogram_without_counts_says_so() -> None:
    assert "No activations" in histogram_svg([0] * N_HISTOGRAM_BINS, {})


def test_bars_are_as_high_as_their_values() -> None:
    svg = bars_svg([1, 4, 0], ["a", "b", "c"], label="By layer", ends=("0", "2"))
    heights = [float(height) for height in re.findall(r"64v-([0-9.]+)h", svg)]
    assert heights == [16, 64, 0.6]
    assert "<title>b</title>" in svg


def test_bars_of_two_charts_share_a_scale() -> None:
    svg = bars_svg([1, 2], ["a", "b"], label="", ends=("0", "1"), top=4)
    assert [float(height) for height in re.findall(r"64v-([0-9.]+)h", svg)] == [16, 32]


@pytest.mark.parametrize("values", [[], [0, 0]])
def test_bars_of_nothing_are_left_out(values: list[float]) -> None:
    assert bars_svg(values, ["", ""], label="", ends=("", "")) == ""
