"""The app on a migrated database that the tests of a session share: every test has users of its own."""

import io
import logging
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import psycopg
import pytest
from jsonschema import Draft202012Validator
from psycopg.rows import namedtuple_row
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from api import API, create_app
from api.json import dumps, stored
from api.logs import JSONLines, Redactor
from scripts.pytest_billing import Database, databases
from scripts.servers import ROOT, free_port
from scripts.stripe_simulator import Simulator

# Through these, HTTP tries the SQL API on every version; what the others test does not depend on the server's.
ON_EVERY_VERSION = {"test_admin.py", "test_billing.py", "test_payments.py"}
FROM_OUTSIDE = ("browser", "test_payment_commands.py")

SECRET = "a secret for tests that is long enough to be accepted"
WEBHOOK_SECRET = "whsec_of_the_tests"
GUNICORN = [
    *(sys.executable, "-m", "gunicorn", "--config", "api/gunicorn.py"),
    *("--worker-class", "gthread", "--workers", "2", "--threads", "8"),
]
APP_URL = "https://shop.example.com/app"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(ROOT / "api") and item.path.name not in ON_EVERY_VERSION:
            item.add_marker("once")
            if item.path.relative_to(ROOT / "api/tests").parts[0] in FROM_OUTSIDE:
                item.add_marker("outside")


def token(*, secret: Any = SECRET, algorithm: str = "HS256", headers: dict | None = None, **claims: Any) -> str:
    """A token that expires in a minute; a claim that is None is left out."""
    claims = {"exp": int(time.time()) + 60} | claims
    claims = {name: str(value) if isinstance(value, UUID) else value for name, value in claims.items()}
    return jwt.encode({n: v for n, v in claims.items() if v is not None}, secret, algorithm, headers)


SERVICE = {"role": "service_role"}


class Client:
    """Flask's test client, with tokens and exact numbers."""

    def __init__(self, app: API) -> None:
        self.app = app
        self.client = app.test_client()

    def send(
        self, method: str, path: str, body: Any = None, *, by: UUID | str | None = None, **options: Any
    ) -> "Answer":
        """Send as a user (a UUID), as the "service", with a token of the test's own (a text), or with none."""
        headers = dict(options.pop("headers", {}))
        if by is not None:
            made = token(**SERVICE) if by == "service" else token(sub=by) if isinstance(by, UUID) else by
            headers["Authorization"] = f"Bearer {made}"
        if body is not None:
            options["data"] = body if isinstance(body, str | bytes) else dumps(body)
            headers.setdefault("Content-Type", "application/json")
        return Answer(self.app, method, self.client.open(path, method=method, headers=headers, **options))

    def get(self, path: str, **options: Any) -> "Answer":
        return self.send("GET", path, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> "Answer":
        return self.send("PUT", path, body, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> "Answer":
        return self.send("POST", path, body, **options)


class Answer:
    """A response, its JSON read exactly, and held against the app's own description of it."""

    def __init__(self, app: API, method: str, response: TestResponse) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.type = response.mimetype
        self.text = response.get_data().decode("utf-8", "replace")
        self.json = stored(self.text) if self.type.endswith("json") else None
        validate_against_document(app, method, response.request.path, self)

    def __getitem__(self, name: str) -> Any:
        return self.json[name]

    def problem(self) -> tuple[int, str]:
        """The status and the code, of what must be a well-formed problem document."""
        assert self.type == "application/problem+json", self.text
        assert self["status"] == self.status
        assert self["type"] == f"urn:problem:billing:{self['code']}"
        assert self["title"]
        assert self["request_id"] == self.headers["X-Request-Id"]
        return self.status, self["code"]


def validate_against_document(app: API, method: str, path: str, answer: Answer) -> None:
    """What is sent must be what /openapi.json says, the status included."""
    try:
        rule, _ = app.url_map.bind("localhost").match(path, method, return_rule=True)
    except HTTPException:
        return
    validator = validator_of(app, method.lower(), documented_path(rule.rule), answer.status, answer.type)
    if validator is not None and answer.json is not None:
        validator.validate(answer.json)


@cache
def validator_of(app: API, method: str, path: str, status: int, mimetype: str) -> Draft202012Validator | None:
    """Of such a response; None for what is not described. Raises KeyError for a status that is not."""
    document = document_of(app)
    if path not in document["paths"] or method not in document["paths"][path]:
        return None
    response = document["paths"][path][method]["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    return Draft202012Validator(response["content"][mimetype]["schema"] | {"components": document["components"]})


def documented_path(rule: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


@cache
def document_of(app: API) -> dict:
    return stored(dumps(app.spec))


def environment(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "JWT_SECRET": SECRET}


def payments_at(simulator: Simulator) -> dict[str, str]:
    """The settings of an app whose Stripe is the simulator."""
    return {
        "STRIPE_SECRET_KEY": "sk_test_of_the_tests",
        "STRIPE_WEBHOOK_SECRET": f"whsec_of_yesterday, {WEBHOOK_SECRET}",
        "STRIPE_API_BASE": simulator.url,
        "STRIPE_TIMEOUT": "10",
        "APP_URL": APP_URL,
    }


def make_app(database_url: str, **settings: str) -> API:
    return create_app(environment(database_url) | settings)


@pytest.fixture(scope="session")
def shared_database(pytestconfig: pytest.Config) -> Iterator[Database]:
    pool = databases(pytestconfig)
    fresh = pool.copy()
    yield fresh
    pool.drop(fresh)


@pytest.fixture(scope="session")
def db(shared_database: Database) -> Iterator[psycopg.Connection]:
    """An autocommit connection of the superuser to the shared database."""
    with psycopg.connect(shared_database.url, autocommit=True, row_factory=namedtuple_row) as connection:
        yield connection


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """Stripe, simulated, whose events go nowhere."""
    with Simulator(webhook_secret=WEBHOOK_SECRET) as running:
        yield running


@pytest.fixture(scope="session")
def app(shared_database: Database, simulator: Simulator) -> Iterator[API]:
    origins = "https://app.example.com, http://localhost:3000"
    app = make_app(shared_database.url, CORS_ORIGINS=origins, **payments_at(simulator))
    yield app
    app.extensions["database"].close()


@pytest.fixture(scope="session")
def served(app: API) -> Iterator[str]:
    """The URL of the app on a real HTTP server."""
    with served_at(app) as url:
        yield url


@contextmanager
def served_at(app: API) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Gunicorn:
    """The API as it runs: its URL, its process, and the log that it writes."""

    def __init__(self, environ: dict[str, str], log: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*GUNICORN, "--bind", f"127.0.0.1:{self.port}", *options, "api:create_app()"],
                cwd=ROOT,
                env=os.environ | environ,
                stderr=file,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=5).close()
                break
            except OSError:
                assert self.process.poll() is None, self.written
                assert time.monotonic() < deadline, self.written
                time.sleep(0.05)

    @property
    def written(self) -> str:
        return self.log.read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


@contextmanager
def gunicorn(environ: dict[str, str], log: Path, *options: str, port: int | None = None) -> Iterator[Gunicorn]:
    running = Gunicorn(environ, log, *options, port=port)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def stripe(simulator: Simulator, served: str) -> Iterator[Simulator]:
    """Stripe, simulated, with nothing in it yet; it delivers its events to the app."""
    simulator.reset()
    simulator.settings(webhook_url=f"{served}/api/billing/v2/webhook")
    yield simulator
    simulator.clear_faults()
    simulator.settings(webhook_url=None)
    simulator.flush()  # What is on its way still asks for things.
    simulator.reset()


@pytest.fixture
def client(app: API) -> Client:
    return Client(app)


@pytest.fixture(scope="session")
def super_admin(db: psycopg.Connection) -> UUID:
    user_id = uuid4()
    db.execute("select billing.bootstrap_super_admin(%s)", [user_id])
    return user_id


@pytest.fixture
def admin(db: psycopg.Connection, super_admin: UUID) -> UUID:
    user_id = uuid4()
    db.execute("select billing.set_user_role(%s, %s, 'admin')", [super_admin, user_id])
    return user_id


@pytest.fixture
def user(db: psycopg.Connection) -> UUID:
    """A user with an open account of 5 credits, as the tier free has it."""
    user_id = uuid4()
    db.execute("select billing.open_account(%s)", [user_id])
    return user_id


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict]]]:
    """What the test has logged so far, as the lines of the log have it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JSONLines(Redactor()))
    logging.getLogger().addHandler(handler)
    yield lambda: [stored(line) for line in written.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


def balance_of(db: psycopg.Connection, user_id: UUID) -> Decimal:
    return db.execute("select balance from billing.credit_accounts where user_id = %s", [user_id]).fetchone().balance


def entries_of(db: psycopg.Connection, user_id: UUID) -> list[Any]:
    return db.execute("select * from billing.credit_ledger where user_id = %s order by entry_no", [user_id]).fetchall()
