"""Build the site by one call: `neuron-atlas site`, notebooks and tests come in here."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort, MkDocsException

import atlas_db
from atlas_db.errors import AtlasError, SiteError
from atlas_site.options import SiteOptions
from atlas_site.plugin import AtlasPlugin
from atlas_site.preflight import check_atlas
from atlas_site.request import Progress, SiteReport
from atlas_site.second_build import as_before, inputs_stamp

#: In a wheel the hand-written pages and mkdocs.yml lie beside the code, laid out as in a checkout.
_PACKAGED = Path(__file__).parent / "project"
_CHECKOUT = Path(__file__).parents[2]


def config_file() -> Path:
    """Find mkdocs.yml, in a checkout or in an installed wheel.

    Raises:
        SiteError: It is in neither place.
    """
    for folder in (_PACKAGED, _CHECKOUT):
        if (folder / "mkdocs.yml").is_file():
            return folder / "mkdocs.yml"
    raise SiteError(
        f"mkdocs.yml is neither in {_PACKAGED} nor in {_CHECKOUT}. "
        "Install neuron-atlas[site] again."
    )


@contextmanager
def _errors_told_once() -> Iterator[None]:
    """Raise what went wrong in the plugin as it was; MkDocs would log it and say "Aborted"."""
    logger = logging.getLogger("mkdocs")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except (Abort, MkDocsException) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (AtlasError, ValueError)):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise cause from None
        raise SiteError(f"MkDocs could not render the pages: {error}") from error
    finally:
        logger.setLevel(level)


def build_site(
    database: Path,
    out: Path,
    options: SiteOptions | None = None,
    *,
    progress: Progress | None = None,
    processes: int | None = None,
    force: bool = False,
) -> SiteReport:
    """Make the static site of an atlas in `out`, writing only what changed.

    Args:
        options: Which part of the atlas, and how; all of it by default.
        progress: Called with a stage's name, its steps done and how many there are.
        processes: That fill pages, this one among them; by default it alone, or one for each core
            for a big atlas.
        force: Make every page anew and compare, also where nothing seems to have changed.

    Raises:
        AtlasFileError: The atlas is missing, damaged or of another schema version.
        SiteError: `out` holds something else, or the pages cannot be rendered.
        ValueError: A layer that the atlas does not have, a limit below 0.
    """
    database, out = Path(database).resolve(), Path(out).resolve()
    options = options or SiteOptions()
    atlas = check_atlas(database)
    os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")
    stamp = _stamp(atlas, options)
    if not force:
        before = as_before(out, stamp)
        if before is not None:
            return before
    site_url = options.site_url or None
    config = load_config(str(config_file()), site_dir=str(out), site_url=site_url)
    plugin = config.plugins["atlas"]
    assert isinstance(plugin, AtlasPlugin)
    plugin.config["database"] = str(database)
    plugin.config["processes"] = processes
    plugin.options, plugin.stamp, plugin.progress = options, stamp, progress
    try:
        with _errors_told_once():
            config.plugins.on_startup(command="build", dirty=False)
            build(config)
    finally:
        config.plugins.on_shutdown()
    assert plugin.report is not None
    return plugin.report


def _stamp(atlas: Mapping[str, str], options: SiteOptions) -> str:
    """Hash all that the site will be made of."""
    settings = config_file()
    more = {}
    if options.compare is not None:
        more["compared"] = json.dumps(check_atlas(options.compare))
    sources = [settings, settings.parent / "site" / "content", Path(__file__).parent]
    sources += [Path(atlas_db.__file__).parent]
    return inputs_stamp(atlas, options, sources, **more)
