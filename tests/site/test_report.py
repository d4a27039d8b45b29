"""The report page, and what experiments measured on the pages of units and images."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from atlas_site.build import build_site
from atlas_site.experiment_charts import Point, curves_svg, intervals_svg
from atlas_site.measured import ablation_curves, measured
from atlas_site.options import SiteOptions
from atlas_site.report_page import report
from atlas_site.text import number, percent
from click.testing import CliRunner
from planted import SPLIT, UNIT, plant

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.experiment_records import (
    AblationRecord,
    ExperimentRecord,
    FigureRecord,
    ReplicationRecord,
    TextExemplarRecord,
)
from builder.build import BuildSettings, build_run
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.settings import Execution
from neuron_atlas.cli import main

N_IMAGES = 3
N_UNITS = UNIT + 3
EXPERIMENTS = (
    "agreement",
    "specificity",
    "selectivity",
    "ablation",
    "single_units",
    "text",
    "replication",
)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The atlas of a planted captioner's run with experiments."""
    folder = tmp_path_factory.mktemp("reported")
    planted = plant(folder, N_IMAGES)
    execution = Execution(batch_size=3, n_workers=0, captioner_source=str(planted.captioner))
    dataset = load_coco(planted.coco, SPLIT)
    captioner = load_captioner(planted.captioner)
    build_run(captioner, dataset, folder / "run", BuildSettings(), execution=execution)
    chosen = [word for name in EXPERIMENTS for word in ("--only", name)]
    arguments = ["report", folder / "run", *chosen, "--db", folder / "a.duckdb", "--quiet"]
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return folder / "a.duckdb"


@pytest.fixture(scope="module")
def pages(reported: Path) -> Path:
    """The site of that atlas, with the planted unit's page among the first."""
    folder = reported.parent / "site"
    build_site(reported, folder, SiteOptions(limit=N_UNITS))
    return folder


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_every_experiment_and_every_figure_is_on_the_page(reported: Path, pages: Path) -> None:
    html = (pages / "report.html").read_text("utf-8")
    with open_atlas(reported).connect() as connection:
        found = queries.experiments(connection)
    assert {one.name for one in found} == set(EXPERIMENTS)
    for one in found:
        section = html[html.index(f'<h2 id="{one.name}">') :].split("</section>")[0]
        assert f'href="#{one.name}"' in html
        known = [figure for figure in one.figures if not figure.is_left_out]
        n_rows = section.count("<tr><td")
        assert n_rows == len(known), one.name
        assert section.count("<li><b>") == len(one.figures) - len(known), one.name
        assert one.device in text_of(section)
    assert '<svg viewBox="0 0 300 100"' in html.split('id="ablation"')[1].split("</section>")[0]
    assert "This section does not apply" in html.split('id="replication"')[1]


def test_an_atlas_without_experiments_says_how_they_are_made(built_site) -> None:
    html = (built_site.folder / "report.html").read_text("utf-8")
    assert "neuron-atlas report RUN --db atlas.duckdb" in html
    assert 'href="report.html"' in (built_site.folder / "index.html").read_text("utf-8")


def figure(number: int, arm: str, value: float | None, **more: object) -> FigureRecord:
    blank = dict.fromkeys(("layer", "k", "low", "high", "p_value"))
    row = {**blank, "figure": "IoU", "part": "", "n": 9, "measure": "share", "control": ""}
    return FigureRecord(number=number, arm=arm, value=value, **{**row, "note": "", **more})  # type: ignore[arg-type]


def experiment(name: str, *figures: FigureRecord) -> ExperimentRecord:
    return ExperimentRecord(
        name, "<Do> they?", {"n_images": 7}, "2026-01-02T03", 1.5, "cpu", figures
    )


def test_a_figure_stands_beside_its_control() -> None:
    html = report(
        [
            experiment(
                "masks",
                figure(0, "top", 0.25, low=0.2, high=0.3, control="random", p_value=0.01),
                figure(1, "random", 0.05),
                figure(2, "top", None, part="dog", note="No image has a <dog>."),
            )
        ],
        [],
    )
    said = text_of(html)
    assert "top 25.0 % 20.0 to 30.0 % 9 5.00 % random 0.010" in said
    assert "IoU, top, dog : No image has a &lt;dog&gt;." in said
    assert "7 images · 1.50 s · device cpu · 2026-01-02" in said
    assert "<Do>" not in html


def test_printed_values_beside_ours() -> None:
    rows = [
        ReplicationRecord(0, "S.1", "token of L1.U2", " cat", " cat", True, ""),
        ReplicationRecord(1, "S.1", "token of L1.U3", " dog", " cow", False, ""),
        ReplicationRecord(2, "3.2", "IoU", ".23", ".25", None, "no yes or no"),
    ]
    said = text_of(report([experiment("replication", figure(0, "", 0.5))], rows))
    assert "token of L1.U2 cat cat yes" in said
    assert "token of L1.U3 dog cow no" in said
    assert "IoU .23 .25 – no yes or no" in said
    assert "S.1 : 1 of 2 agree" in said
    assert "3.2 : 1 cannot be compared" in said


def test_each_reading_of_the_decodings_has_its_table() -> None:
    rows = [
        ReplicationRecord(
            i, "decoded units", f"L1.U{unit}, {norm} final norm", "a", "b", agrees, ""
        )
        for i, (norm, unit, agrees) in enumerate(
            [("with", 2, True), ("with", 3, True), ("without", 2, False), ("without", 3, True)]
        )
    ]
    said = text_of(report([experiment("replication", figure(0, "", 0.5))], rows))
    assert "decoded units, with final norm : 2 of 2 agree" in said
    assert "decoded units, without final norm : 1 of 2 agree" in said


def test_curves_are_drawn_to_one_scale() -> None:
    lines = {"all": {1: Point(1, 0, 2), 4: Point(2)}, "random": {1: Point(-2), 4: Point(0)}}
    svg = curves_svg(lines, label="drop", along="k")
    # From -2 at the bottom (100) to 2 at the top (0); the steps lie at both ends.
    assert '<path class="s0" d="M0 25.0L300 0.0"/>' in svg
    assert '<path class="s1" d="M0 100.0L300 50.0"/>' in svg
    assert '<path class="b s0" d="M0 0.0L300 0.0L300 0.0L0 50.0z"/>' in svg
    assert '<path class="z" d="M0 50.0L300 50.0"/>' in svg
    assert svg.count('class="b') == 1
    assert curves_svg({"all": {1: Point(1)}}, label="", along="k") == ""


def test_intervals_are_drawn_to_one_scale() -> None:
    svg = intervals_svg([("a", "1", Point(1, 0.5, 2)), ("b", "0", Point(0))], label="x")
    assert '<line x1="25.0%" x2="100.0%"' in svg
    assert '<circle cx="50.0%"' in svg
    assert '<circle cx="0.0%"' in svg
    assert intervals_svg([("a", "1", Point(1))], label="x") == ""


def section_of(html: str, title: str) -> str:
    return html.split(f"<h2>{title}</h2>")[1].split("</section>")[0]


def test_a_units_page_has_its_own_figures(reported: Path, pages: Path) -> None:
    with open_atlas(reported).connect() as connection:
        figures = queries.measured_units(connection, 0, N_UNITS)
        texts = queries.measured_texts(connection, 0, N_UNITS, limit=3)
    assert figures[UNIT].logit_drop is not None
    assert texts
    for uid in range(N_UNITS):
        html = (pages / f"u/0/{uid}.html").read_text("utf-8")
        known = any(
            getattr(figures.get(uid), name, None) is not None
            for name in ("iou", "entropy", "logit_drop", "agreement", "auc")
        )
        assert ("<h2>Measured</h2>" in html) == (known or uid in texts), uid
    html = (pages / f"u/0/{UNIT}.html").read_text("utf-8")
    section = section_of(html, "Measured")
    said = text_of(section)
    assert f"{number(figures[UNIT].logit_drop)} logits" in said
    assert f"a random unit of its layer {number(figures[UNIT].random_logit_drop)}" in said
    assert 'href="../../report.html#single_units"' in section
    assert f"{number(100 * figures[UNIT].agreement, 2)} % of its decoded words" in said
    assert len(html.encode()) <= 30_000


def test_passages_are_shaded_by_activation() -> None:
    words = tuple(f" w{n}" for n in range(60))
    activations = tuple(2.0 if n == 30 else 1.0 if n == 31 else -1.0 for n in range(60))
    one = TextExemplarRecord(1, "captions", 4, 2.0, 30, words, activations)
    html = measured("../../", None, [one])
    assert re.findall(r'<mark style="--a:([0-9.]+)">(\w+)</mark>', html) == [
        ("1.00", "w30"),
        ("0.50", "w31"),
    ]
    assert "… w10" in html
    assert "w9 " not in html
    assert " w50…" in html
    hostile = TextExemplarRecord(1, "a", 0, 1.0, 0, ("<b>", "\u200f"), (1.0, 0.0))
    assert '<mark style="--a:1.00">&lt;b&gt;</mark><i class="o">U+200F</i>' in measured(
        "", None, [hostile]
    )
    assert measured("", None, []) == ""


def test_an_images_page_has_its_curve(reported: Path, pages: Path) -> None:
    with open_atlas(reported).connect() as connection:
        images = queries.images(connection).rows
        curves = {one.image_id: queries.image_ablations(connection, one.image_id) for one in images}
    assert any(curves.values())
    for image_id, curve in curves.items():
        html = (pages / f"i/{image_id}.html").read_text("utf-8")
        assert ("<h2>Without its units</h2>" in html) == bool(curve)
        assert len(html.encode()) <= 30_000
        if curve:
            section = section_of(html, "Without its units")
            (last,) = [row for row in curve if row.arm == "all" and row.k == max_k(curve)][:1]
            assert f"<td>{last.k:,}</td><td>{percent(last.prob)}</td>" in section


def max_k(curve: Sequence[AblationRecord]) -> int:
    return max(row.k for row in curve)


def test_captions_are_told_where_they_change() -> None:
    def row(arm: str, k: int, caption: str | None) -> AblationRecord:
        return AblationRecord(0, arm, 0, k, 0.5, 1.0, 0.0, caption)

    curve = [
        row("none", 0, "a <dog>"),
        row("all", 1, "a <dog>"),
        row("all", 2, "a cat"),
        row("all", 4, "a cat"),
        row("all", 8, None),
        row("random", 2, "a horse"),
    ]
    said = text_of(ablation_curves("../", curve, []))
    assert "untouched : a &lt;dog&gt; 2 zeroed : a cat" in said
    assert "horse" not in said
    stays = text_of(ablation_curves("../", curve[:2], []))
    assert "The caption stays “a &lt;dog&gt;”." in stays


def test_draws_of_an_arm_are_averaged() -> None:
    curve = [
        AblationRecord(0, "none", 0, 0, 0.5, 1.0, 0.0, None),
        AblationRecord(0, "random", 0, 2, 0.4, 1.0, 0.2, None),
        AblationRecord(0, "random", 1, 2, 0.2, 1.0, 0.6, None),
    ]
    html = ablation_curves("../", curve, [])
    assert "<td>0</td><td>50 %</td>" in html
    assert "<td>2</td><td>30 %</td>" in html
    assert ablation_curves("../", [], []) == ""


def test_the_front_page_shows_units_that_cover_categories(
    synthetic_atlas: Path, tmp_path: Path
) -> None:
    database = Path(shutil.copy(synthetic_atlas, tmp_path / "a.duckdb"))
    rows = [(5, 3, 4, 12), (5, 4, 9, 11), (9, 3, 3, 14), (13, 7, 5, 13), (18, 8, 9, 0)]
    with duckdb.connect(str(database)) as connection:
        connection.executemany(
            "INSERT INTO category_coverage BY NAME SELECT $1 AS category_id, $2 AS uid, "
            "0 AS layer, $2 AS unit, $3 AS n_words, $4 AS n_exemplars",
            rows,
        )
    build_site(database, tmp_path / "site", SiteOptions(limit=10))
    html = (tmp_path / "site/index.html").read_text("utf-8")
    featured, cards = html.split('id="units-worth-seeing"')
    assert 'href="u/0/3.html"' in featured
    (name,) = re.findall(r'class="na-card">.*?href="(u/[0-9/]+.html)"', cards)
    assert name == "u/0/7.html"
    assert "<b>stop sign</b> in 13 of its 16 images and 5 of its 10 tokens" in cards
    assert "FROM category_coverage" in cards


def test_without_them_it_shows_interpretable_units(built_site) -> None:
    html = (built_site.folder / "index.html").read_text("utf-8")
    assert "by their mean attribution" in html
    assert "category_coverage" not in html
    assert html.count('<article class="na-card">') > 1
