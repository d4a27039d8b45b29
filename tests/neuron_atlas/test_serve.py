"""`neuron-atlas serve` as a process of its own, asked over the network."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from neuron_atlas.cli import main

SCRIPT = Path(sys.executable).with_name("neuron-atlas")
WAIT_S = 30


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `serve` on a free port; give its process and the address that it prints."""
    process = subprocess.Popen(
        [SCRIPT, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = ""
        while "http://" not in line:
            line = process.stdout.readline()
            assert line, f"serve ended with {process.wait(WAIT_S)}"
        yield process, next(word for word in line.split() if word.startswith("http://"))
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.wait(WAIT_S)


@pytest.fixture(scope="module")
def address(synthetic_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    site = tmp_path_factory.mktemp("site")
    (site / "index.html").write_text("<h1>front</h1>")
    with serving("--db", str(synthetic_atlas), "--site", str(site)) as (_, found):
        yield found


def get(address: str) -> tuple[int, str, bytes]:
    with urllib.request.urlopen(address, timeout=WAIT_S) as response:
        return response.status, response.headers["Content-Type"], response.read()


def raw(address: str, request: bytes) -> tuple[int, Any]:
    """Send bytes that no client would; give the status and the JSON that came back."""
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), WAIT_S) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_site_and_api_share_the_port(address: str) -> None:
    assert get(address) == (200, "text/html; charset=utf-8", b"<h1>front</h1>")
    status, kind, body = get(address + "api/v1/units/0/3")
    assert (status, kind) == (200, "application/json")
    assert json.loads(body)["name"] == "L0.U3"
    assert get(address + "api/docs")[0] == 200


def test_a_slash_in_a_concept_travels(address: str) -> None:
    body = get(address + "api/v1/concepts/..%2F..%2Fetc%2Fpasswd")[2]
    assert json.loads(body)["concept"] == "../../etc/passwd"


def test_an_error_over_the_network(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(address + "api/v1/units/99/0")
    with caught.value as error:
        assert error.code == 404
        assert set(json.load(error)["error"]) == {"code", "message", "hint"}


def test_many_clients_at_once_get_the_same_answer(address: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        bodies = set(pool.map(get, [address + "api/v1/units/0/3"] * 100))
    assert len(bodies) == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /api/v1/units?x=" + b"y" * 300_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"GET /api/v1/units?x=" + b"y" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n"
         b"Connection: close\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n", 400),
        (b"POST /api/v1/units HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"BREW /api/v1/units HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
    ],
    ids=["megabytes", "long", "no HTTP", "body", "method"],
)  # fmt: skip
def test_what_never_reaches_the_application_is_answered_in_its_shape(
    address: str, request_bytes: bytes, status: int
) -> None:
    found, body = raw(address, request_bytes)
    assert found == status
    assert set(body["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly(synthetic_atlas: Path, how: signal.Signals) -> None:
    with serving("--db", str(synthetic_atlas)) as (process, address):
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(get, [address + "healthz"] * 64))
        assert {status for status, _, _ in answers} == {200}
        process.send_signal(how)
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(WAIT_S) == 0
    said = f"Description of the API at {address}api/docs, SQL at {address}api/sql"
    assert rest == f"{said}\nStopped.\n"


def test_sql_is_asked_while_others_look_up(address: str) -> None:
    query = urllib.parse.urlencode({"q": "SELECT count(*) AS n FROM units"})
    with ThreadPoolExecutor(8) as pool:
        looked_up = pool.map(get, [address + "api/v1/units/0/3"] * 40)
        asked = pool.map(get, [f"{address}api/v1/sql?{query}"] * 3)
        assert {json.loads(body)["rows"][0]["n"] for _, _, body in asked} == {96}
        assert {status for status, _, _ in looked_up} == {200}


def test_options_for_the_open_internet(synthetic_atlas: Path) -> None:
    arguments = ("--no-sql", "--rate", "0.15", "--log-requests", "--behind-proxy", "127.0.0.1")
    with serving("--db", str(synthetic_atlas), *arguments) as (process, address):
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            get(address + "api/v1/sql?q=SELECT+1")
        caught.value.close()
        statuses = []
        for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            headers = {"X-Forwarded-For": client, "X-Request-ID": f"of-{client}"}
            request = urllib.request.Request(address + "api/v1/layers", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=WAIT_S) as response:
                    statuses.append(response.status)
            except urllib.error.HTTPError as error:
                statuses.append(error.code)
                error.close()
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        lines = [line for line in process.stdout.read().splitlines() if line.startswith("{")]
    assert statuses == [200, 429, 200]  # a client may send 10 s worth at once: 1.5
    logged = [json.loads(line) for line in lines]
    assert [one["client"] for one in logged[1:]] == ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
    assert logged[1]["id"] == "of-192.0.2.1"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["serve", *arguments])


def test_a_taken_port_is_said(synthetic_atlas: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--db", str(synthetic_atlas), "--port", str(port))
    assert result.exit_code == 1
    assert f"Port {port} of 127.0.0.1 is taken" in result.output
    assert f"--port {port + 1}" in result.output


def test_a_host_of_another_machine_is_said(synthetic_atlas: Path) -> None:
    result = run("--db", str(synthetic_atlas), "--host", "192.0.2.1")
    assert result.exit_code == 1
    assert "Try --host 127.0.0.1" in result.output


def test_a_missing_atlas_is_said_at_once(tmp_path: Path) -> None:
    result = run("--db", str(tmp_path / "none.duckdb"))
    assert result.exit_code == 1
    assert "none.duckdb is not there" in result.output
    assert "neuron-atlas build" in result.output


def test_a_missing_site_and_a_wrong_origin_are_wrong_usage(
    synthetic_atlas: Path, tmp_path: Path
) -> None:
    for arguments in (("--site", str(tmp_path / "none")), ("--cors", "example.org")):
        assert run("--db", str(synthetic_atlas), *arguments).exit_code == 2
