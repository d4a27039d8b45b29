"""The application over the synthetic atlas, and a connection of the tests' own to the same file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from api import sql
from api.app import create_app
from atlas_db.connection import Connection, open_atlas
from atlas_db.sql_sandbox import SqlLimits


@pytest.fixture(scope="session")
def app(synthetic_atlas: Path) -> Iterator[APIFlask]:
    # Patient: the tests' machine may be busy. Shorter deadlines have tests of their own.
    app = create_app(synthetic_atlas, sql_limits=SqlLimits(deadline_s=10.0))
    yield app
    sql.close(app)


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def connection(synthetic_atlas: Path) -> Iterator[Connection]:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        yield connection
    engine.dispose()
