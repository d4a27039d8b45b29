"""The notebook of the documentation, run as it stands: over a file and over HTTP."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from waitress.server import create_server

from api import sql
from api.app import create_app
from api.server import listen
from atlas_db.sql_sandbox import SqlLimits
from tests.tools.served import served

NOTEBOOK = Path(__file__).parents[2] / "site" / "content" / "notebook.ipynb"


@pytest.fixture
def address(synthetic_atlas: Path) -> Iterator[str]:
    app = create_app(synthetic_atlas, sql_limits=SqlLimits(deadline_s=20.0))
    with served(create_server(app, sockets=[listen("127.0.0.1", 0)], threads=4)) as address:
        yield address
    sql.close(app)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own event loops
@pytest.mark.parametrize("where", ["file", "server"])
def test_the_notebook_runs(
    where: str, synthetic_atlas: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURON_ATLAS", str(synthetic_atlas) if where == "file" else address)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # none is kept in the sources
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in shown)
    assert "96 units over 11 images" in text
    assert "random" in text
    assert re.search(r"L\d\.U\d+ +' ", text)
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    tables = [output for output in shown if "text/html" in output.get("data", {})]
    assert (len(pictures), len(tables)) == (1, 4)
