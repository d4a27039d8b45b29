"""The OpenAPI document held against the application by schemathesis, with all of its checks.

Half of the cases send only what the document allows, half what it does not. More cases:
`NEURON_ATLAS_FUZZ_EXAMPLES=100` makes about 2,000.
"""

import os
from typing import Any

import pytest
import schemathesis
from apiflask import APIFlask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

N_EXAMPLES = int(os.environ.get("NEURON_ATLAS_FUZZ_EXAMPLES", "10"))
#: Addresses with parameters: without any, nothing can be sent that is not allowed.
WITH_PARAMETERS = (
    "/concepts",
    "/concepts/{concept}",
    "/images",
    "/images/{image_id}",
    "/images/{image_id}/thumbnail.webp",
    "/oembed",
    "/sql",
    "/sql POST",
    "/units",
    "/units/{layer}/{unit}",
    "/units/{layer}/{unit}/exemplars/{rank}/heatmap.png",
    "/units/{layer}/{unit}/similar",
)
WITHOUT = ("/atlas", "/healthz", "/layers", "/metrics", "/readyz", "/sql/schema")
#: Schemathesis asks for gzip and does not unpack what a WSGI application then answers.
HEADERS = {"Accept-Encoding": "identity"}
#: Schemathesis's own, and 422: filters by what no experiment measured are well formed.
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]
SETTINGS = settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def operations(app: APIFlask) -> dict[str, Any]:
    checks = {"positive_data_acceptance": {"expected-statuses": ACCEPTED}}
    config = schemathesis.Config.from_dict({"checks": checks})
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app, config=config)
    found = [result.ok() for result in schema.get_all_operations()]
    return {
        operation.path.removeprefix("/api/v1") + " POST" * (operation.method == "post"): operation
        for operation in found
    }


def hold(operation: Any, mode: GenerationMode) -> None:
    @SETTINGS
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(headers=HEADERS)

    check()


def test_all_addresses_are_fuzzed(operations: dict[str, Any]) -> None:
    assert set(operations) == {*WITH_PARAMETERS, *WITHOUT}


@pytest.mark.parametrize("path", [*WITH_PARAMETERS, *WITHOUT])
def test_what_is_allowed_is_answered_as_described(operations: dict[str, Any], path: str) -> None:
    hold(operations[path], GenerationMode.POSITIVE)


@pytest.mark.parametrize("path", WITH_PARAMETERS)
def test_what_is_not_allowed_is_refused_as_described(operations: dict[str, Any], path: str) -> None:
    hold(operations[path], GenerationMode.NEGATIVE)
