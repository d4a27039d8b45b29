"""The OpenAPI document held against the application by schemathesis, with all of its checks.

Half of the cases send only what the document allows, half what it does not. A few for each address
by default; `pytest -m slow tests/api/test_fuzz.py` sends more than 2,000.
"""

from typing import Any

import pytest
import schemathesis
from apiflask import APIFlask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

N_EXAMPLES = 10
#: Of the slow test; it asks that they come to `MIN_CASES` in all.
N_MANY_EXAMPLES = 120
MIN_CASES = 2000
#: Addresses with parameters: without any, nothing can be sent that is not allowed.
WITH_PARAMETERS = (
    "/concepts",
    "/concepts/{concept}",
    "/images",
    "/images/{image_id}",
    "/images/{image_id}/experiments",
    "/images/{image_id}/thumbnail.webp",
    "/oembed",
    "/sql",
    "/sql POST",
    "/units",
    "/units/{layer}/{unit}",
    "/units/{layer}/{unit}/experiments",
    "/units/{layer}/{unit}/exemplars/{rank}/heatmap.png",
    "/units/{layer}/{unit}/negative_exemplars/{rank}/heatmap.png",
    "/units/{layer}/{unit}/similar",
)
WITHOUT = ("/atlas", "/experiments", "/healthz", "/layers", "/metrics", "/readyz", "/sql/schema")
#: Schemathesis asks for gzip and does not unpack what a WSGI application then answers.
HEADERS = {"Accept-Encoding": "identity"}
#: Schemathesis's own, and 422: filters by what no experiment measured are well formed.
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]
#: Schemathesis's own, and 414: several texts that are too long make an address that is.
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "414", "415", "422", "428", "429"]
SETTINGS = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def operations(app: APIFlask) -> dict[str, Any]:
    checks = {
        "positive_data_acceptance": {"expected-statuses": ACCEPTED},
        "negative_data_rejection": {"expected-statuses": REFUSED},
    }
    config = schemathesis.Config.from_dict({"checks": checks})
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app, config=config)
    found = [result.ok() for result in schema.get_all_operations()]
    return {
        operation.path.removeprefix("/api/v1") + " POST" * (operation.method == "post"): operation
        for operation in found
    }


def hold(operation: Any, mode: GenerationMode, n_examples: int = N_EXAMPLES) -> int:
    """Send cases until one shows a failure; give how many were sent."""
    n_cases = 0

    @settings(SETTINGS, max_examples=n_examples)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        nonlocal n_cases
        n_cases += 1
        case.call_and_validate(headers=HEADERS)

    check()
    return n_cases


def test_all_addresses_are_fuzzed(operations: dict[str, Any]) -> None:
    assert set(operations) == {*WITH_PARAMETERS, *WITHOUT}


@pytest.mark.parametrize("path", [*WITH_PARAMETERS, *WITHOUT])
def test_what_is_allowed_is_answered_as_described(operations: dict[str, Any], path: str) -> None:
    hold(operations[path], GenerationMode.POSITIVE)


@pytest.mark.parametrize("path", WITH_PARAMETERS)
def test_what_is_not_allowed_is_refused_as_described(operations: dict[str, Any], path: str) -> None:
    hold(operations[path], GenerationMode.NEGATIVE)


@pytest.mark.slow
def test_two_thousand_cases_find_nothing(operations: dict[str, Any]) -> None:
    n_cases = 0
    for path in (*WITH_PARAMETERS, *WITHOUT):
        n_cases += hold(operations[path], GenerationMode.POSITIVE, N_MANY_EXAMPLES)
    for path in WITH_PARAMETERS:
        n_cases += hold(operations[path], GenerationMode.NEGATIVE, N_MANY_EXAMPLES)
    print(f"{n_cases} cases")
    assert n_cases >= MIN_CASES
