"""A unit in another page: the frame, who may frame what, and oEmbed."""

import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from atlas_db import queries
from atlas_db.connection import Connection
from atlas_db.fixtures.weights import HOSTILE
from atlas_db.ready_answers import prepare

FRAME = "/api/v1/units/{layer}/{unit}?embed=1"


def frame(client: FlaskClient, layer: int, unit: int) -> str:
    response = client.get(FRAME.format(layer=layer, unit=unit))
    assert (response.status_code, response.mimetype) == (200, "text/html")
    return response.get_data(as_text=True)


def test_a_frame_shows_the_unit(client: FlaskClient, connection: Connection) -> None:
    record = queries.unit(connection, 1, 3)
    page = frame(client, 1, 3)
    assert ">L1.U3</a>" in page
    assert "Random weights" in page  # as the synthetic captioner's are
    shown = re.findall(r"<code>(.*?)</code>", page, re.DOTALL)
    assert [unescape(token) for token in shown] == [token.token for token in record.promoted]
    pictures = re.findall(r'<img src="(.*?)"', page)
    assert len(pictures) == 6
    for address in pictures:
        assert "style=overlay" in address  # the synthetic atlas keeps its photographs
        picture = client.get(f"/api/v1/units/1/{unescape(address)}")
        assert (picture.status_code, picture.mimetype) == (200, "image/png")


def test_all_that_a_frame_loads_is_its_own(client: FlaskClient) -> None:
    response = client.get(FRAME.format(layer=0, unit=0))
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors *" in policy
    page = response.get_data(as_text=True)
    page = page.replace(discovered(page)[0], "")  # which no browser loads
    assert not re.search(r"<script|javascript:|\son\w+=|\sstyle=|//", page)


@pytest.mark.parametrize(
    "address",
    ["/api/v1/units/0/0", "/api/v1/atlas", "/api/docs", "/api/sql", "/api/v1/units/99/0?embed=1",
     "/nothing", "/api/v1/units/0/0/exemplars/1/heatmap.png"],
)  # fmt: skip
def test_nothing_else_may_be_framed_by_others(client: FlaskClient, address: str) -> None:
    policy = client.get(address).headers["Content-Security-Policy"]
    assert re.search("frame-ancestors '(self|none)'", policy)


def test_hostile_tokens_stay_text(client: FlaskClient) -> None:
    pages = [frame(client, layer, unit) for layer in range(3) for unit in range(32)]
    seen = 0
    for page in pages:
        for token in re.findall(r"<code>(.*?)</code>", page, re.DOTALL):
            assert "<" not in token
            seen += unescape(token) in HOSTILE
    assert seen
    assert not any("<script" in page for page in pages)


def test_ready_answers_give_the_same_frame(
    client: FlaskClient, synthetic_atlas: Path, tmp_path: Path
) -> None:
    atlas = tmp_path / "atlas.duckdb"
    atlas.hardlink_to(synthetic_atlas)
    prepare(atlas)
    ready = create_app(atlas, sql_limits=None).test_client()
    assert frame(ready, 2, 5) == frame(client, 2, 5)
    assert ready.get("/api/v1/units/99/0?embed=1").status_code == 404


def test_its_heading_leads_to_the_page_of_the_site(synthetic_atlas: Path, tmp_path: Path) -> None:
    page = tmp_path / "u" / "1" / "3.html"
    page.parent.mkdir(parents=True)
    page.write_text("the page")
    client = create_app(synthetic_atlas, site=tmp_path, sql_limits=None).test_client()
    assert 'href="../../../../u/1/3.html"' in frame(client, 1, 3)
    assert 'href="4"' in frame(client, 1, 4)  # which has none: the API's own answer


def oembed(client: FlaskClient, **query: Any) -> Any:
    return client.get("/api/v1/oembed", query_string=query)


def discovered(page: str) -> tuple[str, str]:
    """Find where a page's oEmbed answer is; give the tag and the address."""
    (tag,) = re.findall("<link[^>]*json[+]oembed[^>]*>", page.partition("</head>")[0])
    return tag, unescape(re.findall('href="(.*?)"', tag)[0])


@pytest.mark.parametrize("path", ["/u/1/3.html", "/api/v1/units/1/3?embed=1"])
@pytest.mark.parametrize("host", ["localhost", "atlas.example"])
def test_a_unit_leads_to_its_oembed_answer(
    synthetic_atlas: Path, tmp_path: Path, path: str, host: str
) -> None:
    page = tmp_path / "u" / "1" / "3.html"
    page.parent.mkdir(parents=True)
    page.write_text("<html><head><title>1</title></head><body></head></body></html>")
    client = create_app(synthetic_atlas, site=tmp_path, sql_limits=None).test_client()
    for _ in range(2):  # the second is from memory
        client.get(path, base_url="http://elsewhere.example", buffered=True)
        shown = client.get(path, base_url=f"http://{host}", buffered=True)
        assert int(shown.headers["Content-Length"]) == len(shown.data)
        tag, address = discovered(shown.get_data(as_text=True))
        assert 'title="L1.U3"' in tag
        assert address.startswith(f"http://{host}/api/v1/oembed?")
        answer = client.get(address, base_url=f"http://{host}")
        assert answer.get_json()["title"] == "L1.U3"
        assert f"http://{host}/api/v1/units/1/3?embed=1" in answer.get_json()["html"]


def test_a_hostile_host_stays_text(client: FlaskClient) -> None:
    page = client.get(FRAME.format(layer=1, unit=3), headers={"Host": 'a"><script>.example'})
    assert b"<script" not in page.data


def test_other_pages_are_sent_as_they_are(synthetic_atlas: Path, tmp_path: Path) -> None:
    text = b"<html><head></head></html>"
    (tmp_path / "index.html").write_bytes(text)
    client = create_app(synthetic_atlas, site=tmp_path, sql_limits=None).test_client()
    assert client.get("/", buffered=True).data == text


@pytest.mark.parametrize("path", ["/api/v1/units/1/3", "/u/1/3.html", "/folder/u/1/3.html?x#y"])
def test_oembed_gives_a_frame_that_can_be_framed(client: FlaskClient, path: str) -> None:
    response = oembed(client, url=f"http://localhost{path}", maxwidth=300, dnt="true")
    assert response.status_code == 200, response.data
    answer = response.get_json()
    assert (answer["version"], answer["type"], answer["title"]) == ("1.0", "rich", "L1.U3")
    assert (answer["width"], answer["height"]) == (300, 400)
    element = ElementTree.fromstring(answer["html"])
    assert element.tag == "iframe"
    assert element.attrib["width"] == "300"
    framed = client.get(element.attrib["src"])
    assert framed.status_code == 200
    assert "frame-ancestors *" in framed.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "url",
    ["http://elsewhere.example/u/1/3.html", "http://localhost/u/99/3.html", "u/1/3.html",
     "http://localhost/api/v1/units/1/3/similar", "http://[/u/1/3.html", "\x00", "javascript:1"],
)  # fmt: skip
def test_oembed_knows_units_of_its_own_alone(client: FlaskClient, url: str) -> None:
    response = oembed(client, url=url)
    assert response.status_code == 404
    assert "/u/0/0.html" in response.get_json()["error"]["message"]


def test_oembed_is_json_alone(client: FlaskClient) -> None:
    assert oembed(client, url="http://localhost/u/1/3.html", format="xml").status_code == 400
    assert oembed(client).status_code == 400
