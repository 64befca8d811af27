"""For those who run the system: is the process alive, can it do its work, and how does it do?"""

import psycopg
from apiflask import APIBlueprint
from flask import Response, current_app

from api import schemas
from api.database import Row, call_all
from api.errors import Problem
from api.metrics import CONTENT_TYPE, is_local
from api.metrics import metrics as counted

bp = APIBlueprint("operations", __name__, tag="Operations")

METRICS_DOCUMENT = {
    "description": "Metrics in the text format of Prometheus.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


@bp.get("/healthz")
@bp.output(schemas.Health)
def healthz() -> Row:
    """Tell that the process is alive; asks nobody else."""
    return {"status": "ok"}


@bp.get("/readyz")
@bp.output(schemas.Health)
def readyz() -> Row:
    """Tell whether the database is there, migrated, and lets the API call its functions."""
    try:
        call_all("list_tiers")
    except psycopg.Error as error:
        current_app.logger.warning("Not ready: %s", error)
        raise Problem(503, "not_ready", "The database is not reachable, not migrated, or not permitted.") from error
    return {"status": "ready"}


@bp.get("/metrics")
@bp.doc(responses={200: METRICS_DOCUMENT}, extensions={"x-problems": [403]})
def metrics() -> Response:
    """Tell Prometheus what the API and the database do

    For the networks of METRICS_NETWORKS, and not through a proxy. While the database is away it tells the rest.
    """
    if not is_local():
        raise Problem(403, "not_local", "Metrics are for METRICS_NETWORKS, and not for what comes through a proxy.")
    return Response(counted().text(), content_type=CONTENT_TYPE)
