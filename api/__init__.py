"""The HTTP API. The work is done in PostgreSQL, by the functions of the schema billing."""

import os
import re
import time
from collections.abc import Mapping
from uuid import uuid4

from apiflask import APIFlask
from flask import Response, g, request

from api import admin, billing, customer, legacy, operations, panel, payments
from api.auth import init_auth
from api.browser import init_browser
from api.cors import init_cors
from api.database import init_database
from api.errors import init_errors
from api.json import ExactJSON
from api.legacy import init_legacy
from api.logs import init_logging, log_access
from api.metrics import init_metrics
from api.openapi import init_openapi
from api.settings import Settings
from api.stripe_client import init_stripe

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class API(APIFlask):
    json_provider_class = ExactJSON


def create_app(environ: Mapping[str, str] = os.environ) -> API:
    """The WSGI application; raises ConfigurationError when the environment does not suffice."""
    settings = Settings.read(environ)
    init_logging(settings)
    app = API(__name__, title="Credit billing", version="1.0.0", json_errors=False, docs_path=None, static_folder=None)
    # The redirect would name the host that the request named, whoever sent it.
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    init_database(app, settings)
    init_metrics(app, settings)
    init_auth(app, settings)
    init_stripe(app, settings)
    init_errors(app)
    init_cors(app, settings)
    init_legacy(app, settings)
    init_browser(app, settings)
    api = (billing.bp, payments.bp, admin.bp, legacy.bp, operations.bp)
    for blueprint in (*api, payments.pages, panel.bp, customer.bp):
        app.register_blueprint(blueprint)
    init_openapi(app)

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if REQUEST_ID.fullmatch(given) else str(uuid4())

    @app.after_request
    def finish(response: Response) -> Response:
        g.status = response.status_code
        response.headers["X-Request-Id"] = g.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.path.startswith("/api/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.teardown_request
    def account_for_request(error: BaseException | None) -> None:
        if g.pop("streaming", False) or "started" not in g:
            return  # It is torn down once more when the stream has ended.
        if error is not None and "code" not in g:
            g.code = "broken_off"
        status, seconds = g.get("status", 500), time.perf_counter() - g.started
        log_access(status, seconds)
        app.extensions["metrics"].finished(status, seconds)
        app.extensions["metrics"].read_pool(app.extensions["database"].pop_stats())

    return app
