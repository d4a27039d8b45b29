"""Parts of a site: shared pages, cuts, links in the place of photographs, a second build."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import numpy as np
import pytest
from atlas_site.build import build_site
from atlas_site.options import SiteOptions
from atlas_site.second_build import inputs_stamp
from atlas_site.sitemaps import write_sitemaps
from playwright.sync_api import expect

from atlas_db import queries
from atlas_db.connection import open_atlas

GROUP = 8
MIN_IMAGES = 3


@pytest.fixture(scope="module")
def n_images(synthetic_atlas: Path) -> list[int]:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        columns = queries.unit_columns(connection)
    engine.dispose()
    return columns["images"].astype(int).tolist()


@pytest.fixture(scope="module")
def grouped_site(synthetic_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grouped") / "out"
    options = SiteOptions(group=GROUP, min_images=MIN_IMAGES, images="link", downloads_mb=0)
    report = build_site(synthetic_atlas, out, options)
    assert report.n_units + report.n_grouped == 96
    return out


def test_units_below_the_cut_share_pages(grouped_site: Path, n_images: list[int]) -> None:
    for uid, images in enumerate(n_images):
        layer, unit = divmod(uid, 32)
        own = grouped_site / f"u/{layer}/{unit}.html"
        shared = grouped_site / f"u/{layer}/g{unit // GROUP}.html"
        if images >= MIN_IMAGES:
            assert own.is_file()
        else:
            assert not own.exists()
            assert f'id="U{unit}"' in shared.read_text("utf-8")
    assert any(images < MIN_IMAGES for images in n_images)


def test_every_link_to_a_unit_resolves_there(grouped_site: Path) -> None:
    ids: dict[Path, set[str]] = {}
    checked = 0
    for path in grouped_site.rglob("*.html"):
        for address in re.findall(r'href="([^"]*)"', path.read_text("utf-8")):
            found = re.search(r"(?:^|/)(u/\d+/g?\d+\.html)(?:#(U\d+))?$", unescape(address))
            if not found:
                continue
            target = grouped_site / found[1]
            if target not in ids:
                ids[target] = set(re.findall(r'id="(U\d+)"', target.read_text("utf-8")))
            assert found[2] is None or found[2] in ids[target], f"{path}: {address}"
            checked += 1
    assert checked > 500


def test_flags_say_which_page_a_unit_has(grouped_site: Path, n_images: list[int]) -> None:
    flags = np.frombuffer((grouped_site / "explore/flags.u8").read_bytes(), np.uint8)
    own = np.array(n_images) >= MIN_IMAGES
    assert ((flags & 4) > 0).tolist() == own.tolist()
    assert ((flags & 8) > 0).tolist() == (~own).tolist()


def test_no_photograph_lies_in_a_site_of_links(grouped_site: Path) -> None:
    assert not (grouped_site / "img").exists()
    assert not list(grouped_site.rglob("*.webp"))
    page = (grouped_site / "i/139.html").read_text("utf-8")
    assert "<img" not in page
    assert re.search(r'<a href="https?://[^"]+" rel="noopener">where it comes from</a>', page)
    assert "Licence" in page


def test_a_units_own_address_leads_to_its_place(
    grouped_site: Path, n_images: list[int], browser: Any, serve_folder: Any
) -> None:
    """A host that answers what is missing with 404.html."""
    uid = next(uid for uid, images in enumerate(n_images) if images < MIN_IMAGES)
    layer, unit = divmod(uid, 32)
    base = serve_folder(grouped_site)
    page = browser.new_page()
    page.goto(f"{base}/u/{layer}/{unit}.html")
    page.wait_for_url(f"**/u/{layer}/g{unit // GROUP}.html#U{unit}")
    assert page.locator(f"#U{unit} h2").inner_text() == f"L{layer}.U{unit}"
    page.keyboard.press("/")
    page.keyboard.type(f"L{layer}.U{unit}")
    # What the first letters suggest, the layer's page, may stand there for a moment.
    address = re.compile(rf"/u/{layer}/g{unit // GROUP}\.html#U{unit}$")
    expect(page.locator("#na-header-list [role=option]").first).to_have_attribute("href", address)
    page.goto(f"{base}/u/99/99.html")
    page.get_by_role("heading", name="There is no such page").wait_for()
    page.close()


def test_min_images_alone_leaves_units_out(
    synthetic_atlas: Path, tmp_path: Path, n_images: list[int]
) -> None:
    out = tmp_path / "out"
    options = SiteOptions(min_images=MIN_IMAGES, downloads_mb=0)
    report = build_site(synthetic_atlas, out, options)
    assert report.n_units == sum(images >= MIN_IMAGES for images in n_images)
    assert report.n_units == len(list((out / "u").rglob("*.html")))
    again = build_site(synthetic_atlas, out, options)
    assert again.is_as_before
    assert (again.n_written, again.n_unchanged) == (0, report.n_written)
    assert again.n_bytes == report.n_bytes
    assert "nothing has changed" in str(again)
    # A file that is missing is made again, one that was touched too, and no other.
    (out / "u/1/1.html").unlink()
    (out / "index.html").write_text("spoilt")
    third = build_site(synthetic_atlas, out, options)
    assert not third.is_as_before
    assert third.n_written == 2
    assert (out / "u/1/1.html").is_file()
    assert build_site(synthetic_atlas, out, options).is_as_before


def test_a_stamp_knows_atlas_options_code_and_pages(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "page.py").write_text("1")
    sources = [tmp_path / "code"]
    first = inputs_stamp({"content_hash": "a"}, SiteOptions(), sources)
    assert first == inputs_stamp({"content_hash": "a"}, SiteOptions(), sources)
    others = [
        inputs_stamp({"content_hash": "b"}, SiteOptions(), sources),
        inputs_stamp({"content_hash": "a"}, SiteOptions(group=2), sources),
        inputs_stamp({"content_hash": "a"}, SiteOptions(), sources, compared="x"),
    ]
    (tmp_path / "code" / "page.py").write_text("2")
    others.append(inputs_stamp({"content_hash": "a"}, SiteOptions(), sources))
    assert len({first, *others}) == 5


class _Kept:
    """What `write_sitemaps` needs of a writer."""

    def __init__(self, kept: dict[str, set[str]]) -> None:
        self.kept = kept
        self.files: dict[str, bytes] = {}

    def write(self, address: str, content: bytes) -> None:
        self.files[address] = content


def test_sitemaps_are_split_and_indexed() -> None:
    pages = {f"{n}.html" for n in range(50_001)}
    writer = _Kept({"": {"index.html"}, "u/0": pages, "find": {"index.json"}})
    write_sitemaps(writer, "https://host.example/a&b/")
    assert set(writer.files) == {
        "sitemaps/u-0-0.xml",
        "sitemaps/u-0-1.xml",
        "sitemap-index.xml",
        "robots.txt",
    }
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    parts = [
        [node.text for node in ElementTree.fromstring(writer.files[name]).iter(f"{space}loc")]
        for name in ("sitemaps/u-0-0.xml", "sitemaps/u-0-1.xml")
    ]
    assert [len(part) for part in parts] == [50_000, 1]
    found = {address for part in parts for address in part}
    assert found == {f"https://host.example/a&b/u/0/{page}" for page in pages}
    index = ElementTree.fromstring(writer.files["sitemap-index.xml"])
    assert [node.text for node in index.iter(f"{space}loc")] == [
        "https://host.example/a&b/sitemap.xml",
        "https://host.example/a&b/sitemaps/u-0-0.xml",
        "https://host.example/a&b/sitemaps/u-0-1.xml",
    ]
    assert b"Sitemap: https://host.example/a&b/sitemap-index.xml" in writer.files["robots.txt"]


@pytest.mark.parametrize("wrong", [{"images": "maybe"}, {"group": -1}, {"downloads_mb": -1}])
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SiteOptions(**wrong)


def test_two_atlases_side_by_side(synthetic_atlas: Path, tmp_path: Path) -> None:
    """The other one has a word less, a word more, and half of the units of a third."""
    other = tmp_path / "other.duckdb"
    other.write_bytes(synthetic_atlas.read_bytes())
    with duckdb.connect(str(other)) as connection:
        connection.execute("UPDATE atlas SET value = 'other <b>' WHERE key = 'name'")
        connection.execute("DELETE FROM concepts WHERE concept = 'pizza'")
        connection.execute(
            "INSERT INTO concepts SELECT * REPLACE ('zebra' AS concept, 'zebra' AS slug) "
            "FROM concepts WHERE concept = 'water'"
        )
        connection.execute("DELETE FROM concept_units WHERE concept = 'water' AND layer = 0")
    out = tmp_path / "out"
    build_site(synthetic_atlas, out, SiteOptions(compare=other, downloads_mb=0))
    page = (out / "compare.html").read_text("utf-8")
    assert "other &lt;b&gt;" in page
    assert "other <b>" not in page
    shared, only_here, only_there = re.split(r"<h2>Only in", page)
    assert 'href="c/water.html"' in shared
    assert "pizza" in only_here
    assert "zebra" not in only_here.split("</div>")[0]
    assert "zebra" in only_there
    water = next(row for row in shared.split("<tr>") if 'href="c/water.html"' in row)
    here, there = water.split('<td class="na-spark">')[1:]
    assert "<title>Layer 0</title>" in here
    heights = [float(h) for h in re.findall(r"v-([0-9.]+)h", here)]
    assert min(heights) > 5
    assert float(re.findall(r"v-([0-9.]+)h", there)[0]) < 1


def test_two_atlases_of_one_name_are_told_apart(synthetic_atlas: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_site(synthetic_atlas, out, SiteOptions(compare=synthetic_atlas, limit=0))
    page = (out / "compare.html").read_text("utf-8")
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        info = queries.atlas_info(connection)
    engine.dispose()
    assert page.count(f"<td>{info.name} {info.content_hash[:6]}</td>") == 2


def test_without_another_atlas_the_page_says_how(built_site: Any) -> None:
    assert "--compare B.duckdb" in (built_site.folder / "compare.html").read_text("utf-8")
