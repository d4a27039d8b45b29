"""Who may import whom, and what keeps `site/` a folder of sources."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "atlas_db": ROOT / "atlas_db",
    "builder": ROOT / "builder",
    "api": ROOT / "api",
    "atlas_site": ROOT / "site" / "atlas_site",
    "neuron_atlas": ROOT / "neuron_atlas",
}
#: Which of the five each may import, beside itself.
MAY_IMPORT = {
    "atlas_db": set(),
    "builder": {"atlas_db"},
    "api": {"atlas_db"},
    "atlas_site": {"atlas_db"},
    "neuron_atlas": set(PACKAGES),
}
#: Libraries that belong to one package alone.
HOMES = {
    "torch": "builder",
    "torchvision": "builder",
    "transformers": "builder",
    "timm": "builder",
    "flask": "api",
    "apiflask": "api",
    "mkdocs": "atlas_site",
    "sqlalchemy": "atlas_db",
    "duckdb": "atlas_db",
}


def modules(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Name every module that a file imports; those under TYPE_CHECKING count too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_the_hub_alone(package: str) -> None:
    foreign = set(PACKAGES) - MAY_IMPORT[package] - {package}
    for path in modules(package):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & foreign, path


@pytest.mark.parametrize("library", HOMES)
def test_libraries_stay_at_home(library: str) -> None:
    users = {
        package
        for package in PACKAGES
        for path in modules(package)
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= {HOMES[library]}


def test_mkdocs_is_imported_by_two_files() -> None:
    users = [
        path.name
        for path in modules("atlas_site")
        if any(name.split(".")[0] == "mkdocs" for name in imports(path))
    ]
    assert len(users) == 2, users


def test_commands_import_parts_when_they_run() -> None:
    """`neuron-atlas --help` must not wait for torch."""
    for path in modules("neuron_atlas"):
        tops = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        assert not tops & {"builder", "api", "atlas_site", "torch", "duckdb"}, path


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("api.app", {"torch", "transformers", "mkdocs"}),
        ("atlas_db", {"duckdb", "sqlalchemy", "torch"}),
        ("atlas_db.run_format", {"duckdb", "sqlalchemy", "torch"}),
        ("builder.build", {"duckdb", "sqlalchemy", "flask", "mkdocs"}),
        ("neuron_atlas.cli", {"torch", "duckdb", "flask", "mkdocs"}),
    ],
)
def test_importing_loads_no_more_than_needed(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*[m for m in sys.modules if '.' not in m])"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not absent & set(shown.stdout.split())


def test_site_is_no_package() -> None:
    assert not (ROOT / "site" / "__init__.py").exists()
    import site

    assert not str(site.__file__).startswith(str(ROOT))


class _AnyTag(yaml.SafeLoader):
    """Reads mkdocs.yml, whose `!ENV` and `!!python` tags say nothing here."""


_AnyTag.add_multi_constructor("", lambda loader, tag, node: None)


def test_a_site_build_cannot_delete_sources() -> None:
    """MkDocs empties its output folder; its default is `site`."""
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=_AnyTag)
    assert config["docs_dir"] == "site/content"
    assert config["site_dir"] == "public"
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/public/" in ignored
    assert not {"site", "/site", "site/", "/site/"} & set(ignored)
