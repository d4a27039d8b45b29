"""Addresses for operators: is the process alive, can it answer, what has it done."""

from __future__ import annotations

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Flask, Response

from api import schemas
from api.answers import atlas
from api.metrics import Metrics
from api.parameters import NoQuery
from atlas_db.as_json import dumps


def operations_blueprint(metrics: Metrics) -> APIBlueprint:
    """Make the addresses `/healthz`, `/readyz` and `/metrics`."""
    blueprint = APIBlueprint("operations", __name__, tag="Operations")

    @blueprint.get("/healthz")
    @blueprint.input(NoQuery, location="query")
    @blueprint.output(schemas.Health)
    def show_health(query_data: NoQuery) -> Response:
        """Whether the process is alive"""
        return _well()

    @blueprint.get("/readyz")
    @blueprint.input(NoQuery, location="query")
    @blueprint.output(schemas.Health)
    def show_readiness(query_data: NoQuery) -> Response:
        """Whether there is an atlas to answer from; 503 if not"""
        atlas()
        return _well()

    @blueprint.get("/metrics")
    @blueprint.input(NoQuery, location="query")
    @blueprint.output(FileSchema(), content_type="text/plain")
    def show_metrics(query_data: NoQuery) -> Response:
        """Requests, their times and the atlases opened, for Prometheus"""
        return _fresh(metrics.answer())

    return blueprint


def _well() -> Response:
    return _fresh(Response(dumps({"status": "ok"}) + "\n", mimetype="application/json"))


def _fresh(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def at_the_root(app: Flask) -> None:
    """Answer at `/healthz` and so on too, where operators' tools look by themselves."""
    for rule in list(app.url_map.iter_rules()):
        if rule.endpoint.startswith("operations."):
            name = rule.rule.rsplit("/", 1)[-1]
            app.add_url_rule(f"/{name}", f"root_{name}", app.view_functions[rule.endpoint])
