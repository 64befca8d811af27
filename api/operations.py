"""For those who run the system: is the process alive, and can it do its work?"""

import psycopg
from apiflask import APIBlueprint
from flask import current_app, g

from api import schemas
from api.database import Row, call_all
from api.errors import Problem

bp = APIBlueprint("operations", __name__, tag="Operations")


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
        current_app.logger.warning("%s: not ready: %s", g.request_id, error)
        raise Problem(503, "not_ready", "The database is not reachable, not migrated, or not permitted.") from error
    return {"status": "ready"}
