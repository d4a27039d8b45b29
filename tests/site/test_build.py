"""The whole built site: every page is there, every link resolves, nothing of strangers runs."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import duckdb
import pytest
import yaml
from atlas_site.build import build_site, config_file
from atlas_site.options import SiteOptions
from atlas_site.provenance import banner

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.errors import AtlasFileError, SiteError
from atlas_db.records import AtlasInfo

ROOT = Path(__file__).parents[2]

#: What a page may weigh without its photographs.
PAGE_MAX_BYTES = 30_000

_ADDRESSES = ("href", "src", "srcset", "action", "poster", "data")


class _Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self._in_script = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        self._in_script = tag == "script" and "src" not in found and "type" not in found

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        (self.scripts if self._in_script else self.text).append(data)

    def links(self) -> Iterator[str]:
        for _, attributes in self.tags:
            for name in _ADDRESSES:
                if name in attributes:
                    yield attributes[name]

    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}


@pytest.fixture(scope="module")
def parsed(built_site) -> dict[Path, _Page]:
    return {path: _Page(path.read_text(encoding="utf-8")) for path in built_site.pages()}


def test_every_unit_image_concept_and_layer_has_a_page(built_site, synthetic_atlas: Path) -> None:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        info = queries.atlas_info(connection)
        concepts = queries.concepts(connection, limit=10_000).rows
        images = queries.images(connection, limit=10_000).rows
    engine.dispose()
    folder = built_site.folder
    for uid in range(info.n_units):
        layer, unit = divmod(uid, info.units_per_layer)
        assert f"L{layer}.U{unit}" in (folder / f"u/{layer}/{unit}.html").read_text("utf-8")
    numbers = {str(i.image_id) for i in images}
    assert {path.stem.removesuffix("-all") for path in (folder / "i").iterdir()} == numbers
    assert {path.stem for path in (folder / "c").iterdir()} == {c.slug for c in concepts}
    assert {path.stem for path in (folder / "l").iterdir()} == set(map(str, range(info.n_layers)))
    for image in images:
        assert (folder / f"img/{image.image_id}.webp").read_bytes()[8:12] == b"WEBP"
    report = built_site.report
    assert (report.n_units, report.n_images) == (info.n_units, info.n_images)
    assert (report.n_concepts, report.n_layers) == (info.n_concepts, info.n_layers)
    assert report.n_unchanged == report.n_removed == 0


def test_every_link_of_the_site_resolves(built_site, parsed: dict[Path, _Page]) -> None:
    folder = built_site.folder
    ids = {path: page.ids() for path, page in parsed.items()}
    broken = []
    for path, page in parsed.items():
        for address in page.links():
            parts = urlsplit(address)
            if parts.scheme in ("http", "https", "data") or address == "":
                continue
            assert not parts.scheme, f"{path}: {address}"
            if parts.path.startswith("/"):  # the page for errors, served at any depth
                assert path.name == "404.html"
                target = folder / unquote(parts.path).lstrip("/")
            else:
                target = path.parent / unquote(parts.path) if parts.path else path
            target = Path(os.path.normpath(target))
            if target == folder and path.name == "404.html":
                continue
            known = ids.get(target)
            if not target.is_file() or (
                parts.fragment and known is not None and parts.fragment not in known
            ):
                broken.append(f"{path.relative_to(folder)}: {address}")
    assert not broken


def test_only_the_shells_scripts_are_in_any_page(built_site, parsed: dict[Path, _Page]) -> None:
    for path, page in parsed.items():
        policy = next(
            attributes["content"]
            for tag, attributes in page.tags
            if attributes.get("http-equiv") == "Content-Security-Policy"
        )
        allowed = set(re.findall(r"'sha256-([^']+)'", policy))
        hashes = {
            base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
            for code in page.scripts
        }
        assert hashes == allowed, path
        sources = [a["src"] for tag, a in page.tags if tag == "script" and "src" in a]
        assert all("assets/" in source and "//" not in source for source in sources), path
        for tag, attributes in page.tags:
            handlers = [name for name in attributes if name.startswith("on")]
            assert not handlers, f"{path}: {tag} {handlers}"
            assert tag not in ("iframe", "object", "embed", "base"), path


def test_nothing_is_asked_of_another_host(parsed: dict[Path, _Page]) -> None:
    for path, page in parsed.items():
        for tag, attributes in page.tags:
            if tag == "a" or attributes.get("rel") == "canonical":
                continue
            for name in _ADDRESSES:
                assert urlsplit(attributes.get(name, "")).scheme in ("", "data"), path
    for path in next(iter(parsed)).parent.rglob("*.css"):
        if path.parent.name == "atlas":
            assert not re.search(r"url\(\s*[\"']?(https?:)?//", path.read_text("utf-8"))


@pytest.mark.parametrize(
    "shown", ["<script>alert(1)</script>", "line↵break", "U+200F", "\\xe2\\x96", "</td>&amp;"]
)
def test_hostile_tokens_are_shown(parsed: dict[Path, _Page], shown: str) -> None:
    pages = [path for path, page in parsed.items() if shown in "".join(page.text)]
    assert any(path.parent.parent.name == "u" for path in pages)


def test_captions_are_shown_and_never_markup(built_site, parsed: dict[Path, _Page]) -> None:
    for path, page in parsed.items():
        if path.parent.name == "i" and not path.stem.endswith("-all"):
            assert "<b>by</b>" in "".join(page.text)
            assert ("strong", {}) in page.tags


@pytest.mark.parametrize("kind", ["u", "i", "c", "l"])
def test_pages_are_light(built_site, kind: str) -> None:
    pages = (built_site.folder / kind).rglob("*.html")
    sizes = {path: path.stat().st_size for path in pages if not path.stem.endswith("-all")}
    heaviest = max(sizes, key=sizes.__getitem__)
    assert sizes[heaviest] <= PAGE_MAX_BYTES, f"{heaviest}: {sizes[heaviest]} bytes"


def test_images_are_lazy_and_keep_their_place(parsed: dict[Path, _Page]) -> None:
    for path, page in parsed.items():
        for tag, attributes in page.tags:
            if tag != "img":
                continue
            assert {"width", "height", "alt"} <= attributes.keys(), path
            if not attributes["src"].startswith("data:"):
                assert attributes["loading"] == "lazy", path


def test_every_page_says_that_weights_are_random(
    atlas_info: AtlasInfo, parsed: dict[Path, _Page]
) -> None:
    for path, page in parsed.items():
        said = "nothing here means anything" in "".join(page.text)
        assert said == atlas_info.is_random, path


def test_every_page_names_its_atlas(atlas_info: AtlasInfo, parsed: dict[Path, _Page]) -> None:
    for path, page in parsed.items():
        assert atlas_info.content_hash[:12] in "".join(page.text), path


def test_no_mark_is_left(built_site) -> None:
    for path in built_site.pages():
        assert not re.search(r"<!-- ?atlas:|atlas-content|atlas-title", path.read_text("utf-8"))
    assert not (built_site.folder / "shell.html").exists()


def test_units_stay_out_of_materials_search_and_sitemap(built_site) -> None:
    index = (built_site.folder / "search" / "search_index.json").read_text("utf-8")
    assert "u/0/" not in index
    assert "atlas-content" not in index
    assert "method.html" in index
    assert "shell" not in (built_site.folder / "sitemap.xml").read_text("utf-8")


def test_a_second_build_writes_nothing(built_site, synthetic_atlas: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built_site.folder.rglob("*.*")}
    report = build_site(synthetic_atlas, built_site.folder, force=True)
    written = [
        path
        for path, stamp in before.items()
        if path.stat().st_mtime_ns != stamp and path.is_file() and path.name[0] != "."
    ]
    assert not written
    assert (report.n_written, report.n_removed) == (0, 0)
    assert report.n_unchanged == built_site.report.n_written
    assert report.n_bytes == built_site.report.n_bytes


def test_a_part_of_an_atlas(synthetic_atlas: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    report = build_site(
        synthetic_atlas,
        tmp_path / "part",
        SiteOptions(layers=(1,), limit=5, site_url="https://host.example/atlas/"),
        progress=lambda stage, done, total: heard.append((stage, done, total)),
    )
    assert report.n_units == 5
    pages = sorted(path.name for path in (tmp_path / "part/u/1").iterdir())
    assert pages == ["0.html", "1.html", "2.html", "3.html", "4.html"]
    assert not (tmp_path / "part/u/0").exists()
    assert ("units", 5, 5) in heard
    # What has no page is no link.
    for path in (tmp_path / "part").rglob("*.html"):
        for address in _Page(path.read_text("utf-8")).links():
            found = re.fullmatch(r"(?:\.\./)*(u/.*html)", address)
            if found:
                assert (tmp_path / "part" / found[1]).is_file(), f"{path}: {address}"
    page = (tmp_path / "part/u/1/0.html").read_text("utf-8")
    assert '<link rel="canonical" href="https://host.example/atlas/u/1/0.html">' in page
    sitemap = (tmp_path / "part/sitemap.xml").read_text("utf-8")
    assert "<loc>https://host.example/atlas/method.html</loc>" in sitemap
    assert "shell" not in sitemap


def test_worker_processes_make_the_same_pages(built_site, synthetic_atlas: Path) -> None:
    report = build_site(synthetic_atlas, built_site.folder, processes=2, force=True)
    assert (report.n_written, report.n_removed) == (0, 0)
    assert report.n_unchanged == built_site.report.n_written


def test_an_atlas_without_photographs_shows_their_numbers(
    synthetic_atlas: Path, tmp_path: Path
) -> None:
    database = tmp_path / "linked.duckdb"
    shutil.copyfile(synthetic_atlas, database)
    with duckdb.connect(str(database)) as connection:
        connection.execute("DELETE FROM thumbnails")
    build_site(database, tmp_path / "out")
    assert not (tmp_path / "out/img").exists()
    page = _Page((tmp_path / "out/u/1/4.html").read_text("utf-8"))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    numbers = [a for tag, a in page.tags if tag == "span" and a.get("class") == "na-nopic"]
    assert len(numbers) > 3
    assert any("--strip:url" in a.get("style", "") for _, a in page.tags)


def test_trained_weights_need_no_warning(atlas_info: AtlasInfo) -> None:
    trained = dataclasses.replace(atlas_info, is_random=False)
    assert banner(trained) == ""
    said = banner(dataclasses.replace(trained, captioner={"notice": "Interim <weights>."}))
    assert "Interim &lt;weights&gt;." in said
    assert "Random" not in said
    assert "nothing here means anything" in banner(dataclasses.replace(atlas_info, is_random=True))


def test_unknown_layers_are_refused(synthetic_atlas: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layers must be in 0\.\.2, got 7"):
        build_site(synthetic_atlas, tmp_path / "out", SiteOptions(layers=(7,)))
    assert not (tmp_path / "out").exists()


def test_a_missing_atlas_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(AtlasFileError, match=r"no atlas at .*x\.duckdb.*neuron-atlas build"):
        build_site(tmp_path / "x.duckdb", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_strange_output_folder_is_left_alone(synthetic_atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SiteError, match=r"thesis\.tex"):
        build_site(synthetic_atlas, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_mkdocs_never_writes_into_the_sources() -> None:
    text = config_file().read_text("utf-8")
    settings = yaml.safe_load(text.replace("!ENV", ""))
    assert settings["docs_dir"] == "site/content"
    assert settings["site_dir"] == "public"
    assert not (ROOT / "site" / "__init__.py").exists()


def test_mkdocs_build_makes_the_same_site(
    built_site, synthetic_atlas: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    environment = {
        **os.environ,
        "NEURON_ATLAS_DB": str(synthetic_atlas),
        "NO_MKDOCS_2_WARNING": "1",
    }
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "public")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"public: 96 units, .* 0 unchanged, 0 removed", done.stderr)
    for path in built_site.folder.rglob("*"):
        address = path.relative_to(built_site.folder)
        if path.is_file() and path.suffix not in (".gz", ".json"):
            assert (tmp_path / "public" / address).read_bytes() == path.read_bytes(), address


def test_mkdocs_build_without_an_atlas_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "public")],
        cwd=ROOT,
        env={**os.environ, "NEURON_ATLAS_DB": str(tmp_path / "none.duckdb")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "There is no atlas at" in done.stderr
    assert "neuron-atlas build" in done.stderr
    assert not (tmp_path / "public").exists()


def test_mkdocs_serve_shows_units(synthetic_atlas: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mkdocs", "serve", "--dev-addr", f"127.0.0.1:{port}"],
            cwd=ROOT,
            env={**os.environ, "NEURON_ATLAS_DB": str(synthetic_atlas)},
            stdout=log,
            stderr=log,
        )
        try:
            page = _fetch_patiently(f"http://127.0.0.1:{port}/u/1/4.html", server)
        finally:
            server.terminate()
            server.wait(timeout=30)
    assert "L1.U4" in page
    # The development server adds a script of its own, which a policy would forbid.
    assert "Content-Security-Policy" not in page


def _fetch_patiently(address: str, server: subprocess.Popen[bytes]) -> str:
    """Ask until the server answers or ends."""
    for _ in range(240):
        assert server.poll() is None, "mkdocs serve ended"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return answer.read().decode("utf-8")
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"{address} did not answer in a minute")
