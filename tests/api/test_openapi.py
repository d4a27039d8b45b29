"""The OpenAPI document is of the code and true; its page needs no other host."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from pydantic import BaseModel

from api import schemas
from atlas_db import queries, records
from atlas_db.as_json import as_json
from atlas_db.connection import Connection


@pytest.fixture(scope="module")
def document(app: APIFlask) -> dict[str, Any]:
    response = app.test_client().get("/api/openapi.json")
    assert response.mimetype == "application/json"
    result: dict[str, Any] = response.get_json()
    return result


def test_it_describes_every_address_and_no_other(app: APIFlask, document: dict[str, Any]) -> None:
    rules = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/")
    }
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == rules
    assert len(rules) == 21


def test_every_reference_leads_somewhere_and_every_schema_is_used(
    document: dict[str, Any],
) -> None:
    references = set(re.findall(r"'#/components/schemas/([^']+)'", str(document)))
    assert {"Unit", "UnitPage", "Concept", "Image", "ErrorAnswer"} <= references
    assert references == set(document["components"]["schemas"])


def test_fields_carry_the_descriptions_of_the_records(document: dict[str, Any]) -> None:
    components = document["components"]["schemas"]
    unit = components["Unit"]["properties"]
    assert unit["name"]["description"] == "as the paper prints it: L12.U9058"
    assert unit["uid"]["description"] == "layer * units_per_layer + unit"  # of its summary
    assert unit["write_norm"] == {
        "description": "of the write vector", "title": "Write Norm", "type": "number"
    }  # fmt: skip
    assert unit["best_attribution"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert unit["exemplars"]["items"]["$ref"].endswith("/Exemplar")
    assert components["Exemplar"]["properties"]["heatmap"]["type"] == "string"
    assert components["Exemplar"]["description"].startswith("One of the images in which")
    assert components["UnitRow"]["required"] == ["uid"]
    assert components["ImageRow"]["required"] == ["image_id"]
    assert set(components["Unit"]["required"]) == set(unit)


def test_every_address_says_what_it_is_and_shares_the_errors(document: dict[str, Any]) -> None:
    identities = set()
    found = [
        (path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    assert {path for path, method, _ in found if method != "get"} == {"/api/v1/sql"}
    for _, _, operation in found:
        assert all(parameter["description"] for parameter in operation["parameters"])
        assert operation["summary"]
        identities.add(operation["operationId"])
        for status in ("400", "404", "414", "503"):
            content = operation["responses"][status]["content"]
            assert content["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
    assert len(identities) == len(found)


def test_parameters_say_what_they_take(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/api/v1/units"]["get"]["parameters"]
    layer = next(p for p in parameters if p["name"] == "layer")
    assert (layer["in"], layer["required"]) == ("query", False)
    assert (layer["schema"]["type"], layer["schema"]["minimum"]) == ("integer", 0)
    assert "default" not in layer["schema"]
    assert layer["description"]
    fields = next(p for p in parameters if p["name"] == "fields")
    assert re.fullmatch(fields["schema"]["pattern"], "uid,top_tokens")
    assert not re.fullmatch(fields["schema"]["pattern"], "uid,beauty")


def test_the_schemas_are_the_records(connection: Connection) -> None:
    unit = queries.unit(connection, 0, 0)
    concept = queries.concept(connection, "water")
    image_id = queries.images(connection).rows[0].image_id
    image = queries.image(connection, image_id)
    pairs: list[tuple[type[BaseModel], Any]] = [
        (schemas.Atlas, queries.atlas_info(connection)),
        (schemas.of_record(records.LayerRecord), queries.layers(connection)[0]),
        (schemas.Unit, unit),
        (schemas.of_record(records.UnitSummary), unit.summary),
        (schemas.of_record(records.SimilarUnit), unit.similar[0]),
        (schemas.of_record(records.ConceptSummary), concept.summary),
        (schemas.Image, image),
        (schemas.of_record(records.ImageSummary), image.summary),
    ]
    for model, record in pairs:
        written = as_json(record)
        assert set(written) == set(model.model_fields), model.__name__
        model.model_validate(written, strict=True)
    answered = {**as_json(concept), "next_cursor": None}
    schemas.Concept.model_validate(answered, strict=True)


class Links(HTMLParser):
    """All that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value:
                self.found.append(value)


def test_the_page_loads_from_the_application_alone(client: FlaskClient) -> None:
    page = client.get("/api/docs")
    assert page.mimetype == "text/html"
    links = Links()
    links.feed(page.get_data(as_text=True))
    assert len(links.found) >= 4
    for link in links.found:
        assert not re.match(r"[a-z]+:|//|/", link), link
        response = client.get(f"/api/{link}", buffered=True)
        assert (response.status_code, len(response.data) > 0) == (200, True)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy


def test_the_page_is_reached_with_a_slash_too(client: FlaskClient) -> None:
    for address in ("/api/docs/", "/api/"):
        assert client.get(address, follow_redirects=True).request.path == "/api/docs"


def test_other_files_of_the_bundle_are_not_sent(client: FlaskClient) -> None:
    for name in ("oauth2-redirect.html", "index.html", "..%2f__init__.py", "%2e%2e"):
        assert client.get(f"/api/docs/{name}").status_code == 404
