"""Who may import whom: the hub is light to import and depends on none of its users."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import atlas_db

FOLDER = Path(atlas_db.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))
FORBIDDEN = {
    "builder", "atlas_site", "api", "neuron_atlas", "torch", "transformers", "timm", "flask",
    "mkdocs",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_hub_imports_none_of_its_users(path: Path) -> None:
    assert not imported(path) & FORBIDDEN


def test_there_are_modules_to_look_at() -> None:
    assert {"schema.py", "ingest.py", "run_format.py"} <= {path.name for path in MODULES}


@pytest.mark.parametrize(
    "module", ["", ".run_format", ".records", ".errors", ".heatmaps", ".histogram", ".fixtures"]
)
def test_a_gpu_machine_needs_neither_duckdb_nor_sqlalchemy(module: str) -> None:
    code = (
        f"import sys, atlas_db{module}; "
        "print(sorted({'duckdb', 'sqlalchemy', 'duckdb_sqlalchemy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
