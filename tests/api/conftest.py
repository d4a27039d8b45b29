"""The application over the synthetic atlas, and a connection of the tests' own to the same file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from api.app import create_app
from atlas_db.connection import Connection, open_atlas


@pytest.fixture(scope="session")
def app(synthetic_atlas: Path) -> APIFlask:
    return create_app(synthetic_atlas)


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def connection(synthetic_atlas: Path) -> Iterator[Connection]:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        yield connection
    engine.dispose()
