"""The synthetic atlas's site, built once; a server over a sub-folder of it; a browser."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from atlas_site.build import build_site
from atlas_site.request import SiteReport
from site_browser import DESK, watch
from sqlalchemy import Connection

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.fixtures import write_synthetic_run
from atlas_db.ingest import ingest
from atlas_db.records import AtlasInfo

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class BuiltSite:
    """A site on the disk and what its build reported."""

    folder: Path
    report: SiteReport

    def pages(self) -> list[Path]:
        return sorted(self.folder.rglob("*.html"))


@pytest.fixture(scope="session")
def built_site(synthetic_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> BuiltSite:
    """The whole site of the synthetic atlas; tests must not write to it."""
    folder = tmp_path_factory.mktemp("site") / "host" / "some" / "folder"
    return BuiltSite(folder, build_site(synthetic_atlas, folder))


@pytest.fixture
def connection(synthetic_atlas: Path) -> Iterator[Connection]:
    """An open connection to the synthetic atlas."""
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep the tests' output clean."""


class _HostHandler(_QuietHandler):
    """Answers what is missing with the site's 404.html, as static hosts do."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        page = (Path(self.directory) / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


@contextmanager
def _served(folder: Path, handler: type[SimpleHTTPRequestHandler]) -> Iterator[str]:
    bound = functools.partial(handler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def site_url(built_site: BuiltSite) -> Iterator[str]:
    """The site as `python -m http.server` serves it, two folders down."""
    with _served(built_site.folder.parents[1], _QuietHandler) as base:
        yield f"{base}/some/folder"


@pytest.fixture
def serve_folder() -> Iterator[Callable[[Path], str]]:
    """Serve a site's folder at a host's root, its 404.html for what is missing."""
    with ExitStack() as served:
        yield lambda folder: served.enter_context(_served(folder, _HostHandler))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing. Install it: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=CHROMIUM_ARGUMENTS
        )
        yield chromium
        chromium.close()


@contextmanager
def page_opener(browser: Any, site_url: str) -> Iterator[Callable[..., Any]]:
    """Open pages of a site, each in a fresh profile; fail at the end on anything amiss."""
    contexts, amiss = [], []

    def open_page(address: str, *, viewport: dict[str, int] = DESK, **options: Any) -> Any:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        watch(page, site_url, amiss)
        page.goto(f"{site_url}/{address}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not amiss


@pytest.fixture
def open_page(browser: Any, site_url: str) -> Iterator[Any]:
    """Open a page of the site; see `page_opener`."""
    with page_opener(browser, site_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def many_units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic atlas of 4 layers of 5,000 units, hostile tokens among what they promote."""
    folder = tmp_path_factory.mktemp("many")
    run = write_synthetic_run(folder / "run", n_layers=4, units_per_layer=5000, n_images=40)
    ingest(run, folder / "atlas.duckdb")
    return folder / "atlas.duckdb"


@pytest.fixture(scope="session")
def many_url(many_units: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its site, filled by two processes."""
    folder = tmp_path_factory.mktemp("many-site") / "host" / "folder"
    build_site(many_units, folder, processes=2)
    with _served(folder.parent, _QuietHandler) as base:
        yield f"{base}/folder"


@pytest.fixture
def open_among_many(browser: Any, many_url: str) -> Iterator[Any]:
    """Open a page of the site of 20,000 units; see `page_opener`."""
    with page_opener(browser, many_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def atlas_info(synthetic_atlas: Path) -> AtlasInfo:
    """What the synthetic atlas says of itself."""
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        info = queries.atlas_info(connection)
    engine.dispose()
    return info
