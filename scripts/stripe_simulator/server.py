"""The simulator as an HTTP server of its own: the API below /v1, its control below /_sim, and the hosted pages."""

import json
import socket
import threading
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from flask import Flask, Response, request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from scripts.stripe_simulator import control, idempotency, pages
from scripts.stripe_simulator.client import Control
from scripts.stripe_simulator.errors import ApiError, server_error
from scripts.stripe_simulator.faults import Fault, Faults
from scripts.stripe_simulator.params import Params, decode
from scripts.stripe_simulator.rendering import check_expand, render
from scripts.stripe_simulator.routes import ROUTES, Handler
from scripts.stripe_simulator.store import API_VERSION, JSON, Store, new_id
from scripts.stripe_simulator.webhooks import Webhooks

KEYS = ("sk_test_", "rk_test_")
METHODS = ["GET", "POST", "DELETE"]
REPLAYED = "Idempotent-Replayed"


class Quiet(WSGIRequestHandler):
    """No line per request: `/_sim/requests` has them."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


class Core:
    """The parts of one simulator, and how a request passes through them."""

    def __init__(self, webhook_url: str | None, webhook_secret: str, state_file: Path | None) -> None:
        self.store = Store(state_file)
        self.faults = Faults()
        self.webhooks = Webhooks(self.store, self.faults, webhook_url, webhook_secret)
        self.log: list[JSON] = []
        self.handlers = {f"{method} {path}": (kind, handler) for method, path, kind, handler in ROUTES}
        self.routes = Map([Rule(path, methods=[method], endpoint=f"{method} {path}") for method, path, _, _ in ROUTES])

    def answer(self) -> Response:
        """Answer the request that Flask has at hand."""
        entry: JSON = {
            "id": new_id("req"),
            "method": request.method,
            "path": request.path,
            "idempotency_key": request.headers.get("Idempotency-Key"),
            "api_version": request.headers.get("Stripe-Version"),
            "status": None,
            "replayed": False,
            "fault": None,
        }
        with self.store.lock:
            self.log.append(entry)
        try:
            status, body, headers = self._execute(entry)
        except ApiError as error:
            status, body, headers = error.status, _json(error.body), {}
        entry["status"] = status if entry["status"] is None else entry["status"]
        headers |= {"Request-Id": entry["id"], "Stripe-Version": entry["api_version"] or API_VERSION}
        if entry["idempotency_key"] and request.method == "POST":
            headers["Idempotency-Key"] = entry["idempotency_key"]
        return Response(body, status, headers, content_type="application/json")

    def _execute(self, entry: JSON) -> tuple[int, str, dict[str, str]]:
        api_key = _authenticate()
        kind, handler, ids = self._route()
        sent = decode([*request.args.items(multi=True), *request.form.items(multi=True)])
        entry["params"] = sent
        fault = self.faults.of_request(request.method, request.path)
        if fault is not None:
            entry["fault"] = fault.kind
            self._before(fault, entry)
        key = entry["idempotency_key"] if request.method == "POST" else None
        if key is None:
            status, body, _ = self._run(entry, fault, kind, handler, ids, sent)
            return self._after(fault, entry, status, body)
        name = f"{api_key}\n{key}"
        with self.store.lock:
            replay = idempotency.begin(self.store, name, request.path, sent, entry["id"])
        if replay is not None:
            entry["replayed"] = True
            if fault is not None and fault.kind == "timeout_after":
                _drop(entry)
            headers = {REPLAYED: "true", "Original-Request": replay["request"]}
            return replay["status"], replay["body"], headers | _retry(replay["status"])
        return self._first(entry, fault, name, (kind, handler, ids, sent))

    def _first(
        self, entry: JSON, fault: Fault | None, name: str, call: tuple[str, Handler, JSON, JSON]
    ) -> tuple[int, str, dict[str, str]]:
        """The first request with its key: what it answers is kept, unless it was refused before its execution."""
        finished = False
        try:
            status, body, stored = self._run(entry, fault, *call)
            with self.store.lock:
                if stored:
                    idempotency.remember(self.store, name, status, body)
                    finished = True
                    self.store.save()
        finally:
            if not finished:
                with self.store.lock:
                    idempotency.forget(self.store, name)
        return self._after(fault, entry, status, body)

    def _run(
        self, entry: JSON, fault: Fault | None, kind: str, handler: Handler, ids: JSON, sent: JSON
    ) -> tuple[int, str, bool]:
        """Status, body, and whether an idempotency key keeps them; with the faults that replace the answer."""
        if fault is not None and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault is None or fault.kind != "error_before":
            answer = self._handle(entry, kind, handler, ids, sent)
            if fault is None or fault.kind != "error_after":
                return answer
        return fault.status, _json(server_error(fault.status).body), fault.kept

    def _handle(self, entry: JSON, kind: str, handler: Handler, ids: JSON, sent: JSON) -> tuple[int, str, bool]:
        """Let the handler do it; it has the store for itself."""
        params, store = Params(dict(sent)), self.store
        with store.lock:
            store.request = {"id": entry["id"], "idempotency_key": entry["idempotency_key"]}
            try:
                store.run_due()
                expand = params.texts("expand")
                check_expand(kind, expand)
                answer = render(store, handler(store, params, **ids), expand)
                return HTTPStatus.OK, _json(answer), True
            except ApiError as error:
                return error.status, _json(error.body), error.stored
            finally:
                store.request = {"id": None, "idempotency_key": None}
                if request.method != "GET":
                    store.save()

    def _before(self, fault: Fault, entry: JSON) -> None:
        """Faults that keep the request from the API altogether."""
        if fault.kind == "timeout_before":
            _drop(entry)
            raise ApiError("The connection is gone.", status=HTTPStatus.GATEWAY_TIMEOUT)
        if fault.kind == "error_before" and not fault.kept:
            raise server_error(fault.status)

    def _after(self, fault: Fault | None, entry: JSON, status: int, body: str) -> tuple[int, str, dict[str, str]]:
        if fault is not None and fault.kind == "timeout_after":
            _drop(entry)
        return status, body, _retry(status)

    def _route(self) -> tuple[str, Handler, dict[str, Any]]:
        try:
            name, ids = self.routes.bind("").match(request.path, request.method)
        except (NotFound, MethodNotAllowed):
            raise ApiError(
                f"Unrecognized request URL ({request.method}: {request.path}). The simulator has no such endpoint.",
                status=404,
                stored=False,
            ) from None
        return (*self.handlers[name], dict(ids))


def _json(value: JSON) -> str:
    return json.dumps(value, indent=2) + "\n"


def _retry(status: int) -> dict[str, str]:
    """A 500 is kept under its key: the SDK need not try again with the same one."""
    return {"Stripe-Should-Retry": "false"} if status == HTTPStatus.INTERNAL_SERVER_ERROR else {}


def _authenticate() -> str:
    given = request.authorization
    key = None if given is None else given.token if given.type == "bearer" else given.username
    if not key:
        raise ApiError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    if not key.startswith(KEYS):
        shown = f"{key[:8]}{'*' * max(len(key) - 12, 4)}{key[-4:]}"
        raise ApiError(f"Invalid API Key provided: {shown}", status=401)
    return key


def _drop(entry: JSON) -> None:
    """Close the connection under the answer, which then reaches nobody."""
    entry["status"] = "dropped"
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)


class Simulator(Control):
    """A simulated Stripe for as long as the block runs.

        with Simulator(webhook_url="http://127.0.0.1:5000/webhook", webhook_secret="whsec_…") as stripe_sim:
            stripe.api_base = stripe_sim.url

    The calls below /_sim are its methods, which it has from `Control`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        webhook_url: str | None = None,
        webhook_secret: str = "whsec_simulator",
        state_file: Path | None = None,
    ) -> None:
        super().__init__("")
        self.port = port
        self.core = Core(webhook_url, webhook_secret, state_file)
        self.server: BaseWSGIServer | None = None

    def start(self) -> None:
        """Listen and deliver; raises OSError when the port is in use."""
        app = Flask(__name__)
        app.json.sort_keys = False  # objects are in the order they were made
        app.register_blueprint(control.blueprint(self.core))
        app.register_blueprint(pages.blueprint(self.core))
        app.add_url_rule("/v1/<path:rest>", view_func=lambda rest: self.core.answer(), endpoint="api", methods=METHODS)
        # Bound here, because werkzeug ends the process when the port is in use.
        with socket.create_server(("127.0.0.1", self.port), backlog=128) as listening:
            port = listening.getsockname()[1]
            self.server = make_server(
                "127.0.0.1", port, app, threaded=True, request_handler=Quiet, fd=listening.fileno()
            )
        self.url = self.core.store.url = f"http://127.0.0.1:{port}"
        threading.Thread(target=self.server.serve_forever, args=[0.02], name="stripe-simulator", daemon=True).start()
        self.core.webhooks.start()

    def stop(self) -> None:
        """Stop listening and delivering."""
        self.core.webhooks.stop()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
