"""`serve` where it may write nothing and has no rights, and the service of the documentation."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 60

#: In a view of its own of the file system, where all is read-only, and without any capability.
SHELL = """
mount -o remount,ro,bind / && ! touch "$1.written" 2> /dev/null || exit 3
atlas=$1; shift
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all "$@" --db "$atlas"
"""


def can_unshare() -> bool:
    if not (shutil.which("unshare") and shutil.which("setpriv") and os.geteuid() == 0):
        return False
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount -o remount,ro,bind /"], capture_output=True
    )
    return tried.returncode == 0


@pytest.fixture(scope="module")
def address(synthetic_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not can_unshare():
        pytest.skip("needs root, unshare and setpriv to take rights away")
    atlas = tmp_path_factory.mktemp("readonly") / "atlas.duckdb"
    shutil.copy(synthetic_atlas, atlas)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    serve = [sys.executable, "-m", "neuron_atlas", "serve", "--port", str(port), "--quiet"]
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", SHELL, "sh", str(atlas), *serve],
        stderr=subprocess.DEVNULL,
    )
    try:
        until_s = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.1)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"CapEff:\s+0{16}\n", status)
        yield f"http://127.0.0.1:{port}"
        assert sorted(path.name for path in atlas.parent.iterdir()) == ["atlas.duckdb"]
    finally:
        process.kill()
        process.wait(WAIT_S)


@pytest.mark.parametrize(
    "path", ["readyz", "api/docs", "api/v1/units/1/2", "api/v1/units/0/0/exemplars/1/heatmap.png"]
)
def test_everything_is_answered(address: str, path: str) -> None:
    with urllib.request.urlopen(f"{address}/{path}", timeout=WAIT_S) as answer:
        assert answer.status == 200
        assert answer.read()


def test_sql_too(address: str) -> None:
    query = urllib.parse.urlencode({"q": "SELECT count(*) AS n FROM units"})
    with urllib.request.urlopen(f"{address}/api/v1/sql?{query}", timeout=WAIT_S) as answer:
        assert json.load(answer)["rows"] == [{"n": 96}]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_service_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (ROOT / "site" / "content" / "api.md").read_text(encoding="utf-8")
    (unit,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    program = Path(sys.executable).with_name("neuron-atlas")
    file = tmp_path / "neuron-atlas.service"
    file.write_text(unit.replace("/opt/neuron-atlas/bin/neuron-atlas", str(program)))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
