"""The MkDocs plugin: renders into a scratch folder, then has the site filled from the atlas.

MkDocs empties the folder that it renders into. The real output folder is therefore kept away from
it, so that a second build writes only what changed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

from mkdocs.config import config_options
from mkdocs.config.base import Config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import BasePlugin, event_priority, get_plugin_logger

from atlas_db.errors import AtlasError
from atlas_site.fill import fill_site
from atlas_site.options import DOWNLOADS_MB, SiteOptions
from atlas_site.preflight import check_atlas
from atlas_site.request import FillRequest, Progress, SiteReport

_THEME = Path(__file__).parent / "theme"
_log = get_plugin_logger("atlas")


class AtlasPluginConfig(Config):
    """The options of `mkdocs.yml`."""

    database = config_options.Type(str, default="atlas.duckdb")
    layers = config_options.Optional(config_options.ListOfItems(config_options.Type(int)))
    limit = config_options.Optional(config_options.Type(int))
    min_images = config_options.Type(int, default=0)
    group = config_options.Type(int, default=0)
    images = config_options.Type(str, default="embed")
    downloads_mb = config_options.Type(int, default=DOWNLOADS_MB)
    sql_page = config_options.Type(bool, default=False)
    compare = config_options.Optional(config_options.Type(str))
    processes = config_options.Optional(config_options.Type(int))


class AtlasPlugin(BasePlugin[AtlasPluginConfig]):
    """Adds a page for every unit, image, concept and layer of an atlas to a MkDocs site."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.options: SiteOptions | None = None
        self.stamp = ""
        self.report: SiteReport | None = None
        self._serving = False
        self._out: Path | None = None
        self._scratch: Path | None = None

    def on_startup(self, *, command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
        """Note whether a development server will add its own script to the pages."""
        self._serving = command == "serve"

    @event_priority(100)
    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Check that there is an atlas, add the theme's templates, render elsewhere."""
        try:
            check_atlas(self._database(config))
        except AtlasError as error:
            raise PluginError(str(error)) from error
        config.theme.dirs.insert(0, str(_THEME))
        self._out = Path(config.site_dir)
        self._scratch = Path(tempfile.mkdtemp(prefix="neuron-atlas-site-"))
        config.site_dir = str(self._scratch)
        return config

    @event_priority(-100)
    def on_post_build(self, *, config: MkDocsConfig) -> None:
        """Fill the site and publish it into the real output folder."""
        assert self._out is not None
        assert self._scratch is not None
        try:
            request = FillRequest(
                database=self._database(config),
                options=self._options(config),
                processes=self.config.processes,
                with_policy=not self._serving,
                stamp=self.stamp,
                progress=self.progress,
            )
            self.report = fill_site(self._scratch, self._out, request)
            _log.info("%s: %s", self._out, self.report)
        except (AtlasError, ValueError) as error:
            raise PluginError(str(error)) from error
        finally:
            self._restore(config)

    def on_build_error(self, *, error: Exception) -> None:
        """Leave no scratch folder behind."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _restore(self, config: MkDocsConfig) -> None:
        assert self._scratch is not None
        shutil.rmtree(self._scratch, ignore_errors=True)
        config.site_dir = str(self._out)

    def _options(self, config: MkDocsConfig) -> SiteOptions:
        """Read the options of mkdocs.yml, unless `build_site` has given its own."""
        if self.options is not None:
            return self.options
        read = self.config
        return SiteOptions(
            layers=None if read.layers is None else tuple(read.layers),
            limit=read.limit,
            min_images=read.min_images,
            group=read.group,
            images=read.images,
            downloads_mb=read.downloads_mb,
            site_url=config.site_url or "",
            sql_page=read.sql_page,
            compare=None
            if read.compare is None
            else Path(config.config_file_path).parent / read.compare,
        )

    def _database(self, config: MkDocsConfig) -> Path:
        """Find the atlas: a relative path starts at mkdocs.yml."""
        return Path(config.config_file_path).parent / self.config.database
