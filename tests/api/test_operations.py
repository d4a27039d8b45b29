"""What operators need: names of requests, lines of the log, limits of rate."""

import json
import logging
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.rate_limit import TokenBuckets, client_of


@pytest.mark.parametrize(
    "address", ["/api/v1/units/0/0", "/api/v1/units/99/0", "/nowhere", "/healthz"]
)
def test_a_request_keeps_its_name(client: FlaskClient, address: str) -> None:
    sent = client.get(address, headers={"X-Request-ID": "from-proxy.1"})
    assert sent.headers["X-Request-ID"] == "from-proxy.1"
    given = {client.get(address).headers["X-Request-ID"] for _ in range(3)}
    assert len(given) == 3


@pytest.mark.parametrize("name", ["a" * 65, "a b", "é", '"}', ""])
def test_a_name_that_could_harm_a_log_is_replaced(client: FlaskClient, name: str) -> None:
    given = client.get("/healthz", headers={"X-Request-ID": name}).headers["X-Request-ID"]
    assert given != name
    assert len(given) == 32


def test_each_request_is_a_line_of_json(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "neuron_atlas.access")
    client.get("/api/v1/units/0/1?x=%0A%22", headers={"X-Request-ID": "one"})
    client.get("/api/v1/units/0/1", headers={"X-Request-ID": "two"})
    bad, good = [json.loads(record.message) for record in caplog.records]
    assert (bad["id"], bad["status"], bad["path"]) == ("one", 400, "/api/v1/units/0/1")
    assert bad["query"] == "x=%0A%22"
    assert (good["id"], good["status"], good["method"]) == ("two", 200, "GET")
    assert good["client"] == "127.0.0.1"
    assert good["bytes"] > 100
    assert good["ms"] > 0
    assert not [record for record in caplog.records if "\n" in record.message]


def test_too_many_requests_of_one_client_are_refused(synthetic_atlas: Path) -> None:
    client = create_app(synthetic_atlas, requests_per_s=0.5).test_client()
    one = {"REMOTE_ADDR": "192.0.2.1"}
    statuses = [client.get("/api/v1/layers", environ_base=one).status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    refused = client.get("/api/v1/layers", environ_base=one)
    assert refused.get_json()["error"]["code"] == "too_many_requests"
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    other = client.get("/api/v1/layers", environ_base={"REMOTE_ADDR": "192.0.2.2"})
    assert other.status_code == 200
    assert client.get("/api/v1/healthz", environ_base=one).status_code == 200


def test_a_bucket_fills_evenly() -> None:
    buckets = TokenBuckets(2.0)
    assert [buckets.wait_s("a", 0.0) for _ in range(20)] == [0.0] * 20
    assert buckets.wait_s("a", 0.0) == 0.5
    assert buckets.wait_s("a", 0.25) == 0.25
    assert buckets.wait_s("a", 0.5) == 0.0
    assert buckets.wait_s("a", 0.5) == 0.5
    assert buckets.wait_s("b", 0.5) == 0.0
    assert [buckets.wait_s("a", 1000.0) for _ in range(21)] == [0.0] * 20 + [0.5]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("not:an:address", "not:an:address", True),
    ],
)
def test_a_client_cannot_choose_among_addresses_of_one_network(
    one: str, other: str, is_same: bool
) -> None:
    assert (client_of(one) == client_of(other)) == is_same


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_cannot_be_is_refused(synthetic_atlas: Path, rate: float) -> None:
    with pytest.raises(ValueError, match="per second"):
        create_app(synthetic_atlas, requests_per_s=rate)
