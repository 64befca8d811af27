"""The log: a line of JSON for all that happens, found by the request's id, and no secret in any of it."""

import json
import logging
import re
import socket
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import uuid4

import psycopg
import pytest
from flask import g

from api.logs import JSONLines, Lines, Redactor, TextLines, init_logging, secrets_of
from api.settings import Settings
from api.tests.conftest import SERVICE, Client, environment, gunicorn, make_app, token
from api.tests.test_errors import break_function
from scripts.stripe_simulator.webhooks import signature

V2 = "/api/billing/v2"
PASSWORD = "pass-of-the-database"
JWT_SECRET = "a secret of the log's own tests that nobody sees"
STRIPE_KEY = "rk_test_whichTheSimulatorKnowsNothingOf"
WEBHOOK_SECRETS = ("whsec_b25lIG9mIHR3bw==", "an-odd-secret-of-webhooks")


def log_in_line(line: str) -> dict:
    told = json.loads(line)
    assert {"time", "level", "logger", "message", "request_id"} <= told.keys(), line
    assert datetime.fromisoformat(told["time"]).utcoffset() == timedelta(0)
    assert told["time"].endswith("Z")
    return told


@contextmanager
def closed_to_new_sessions(server, name: str):
    """The database, as if it were away."""
    with server.connect("postgres") as conn:
        conn.execute(f"alter database {name} allow_connections false")
        conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
    yield
    with server.connect("postgres") as conn:
        conn.execute(f"alter database {name} allow_connections true")


def test_no_secret_is_in_the_log_of_a_real_process(database, conn, tmp_path):
    """Whatever is sent and whatever fails, none of the secrets that take part is written."""
    user = uuid4()
    conn.execute("select billing.open_account(%s, 'tier_200_1000')", [user])
    good = token(secret=JWT_SECRET, sub=user)
    service = token(secret=JWT_SECRET, **SERVICE)
    bad = token(secret="x" * 40, sub=user)
    secrets = [PASSWORD, JWT_SECRET, STRIPE_KEY, *WEBHOOK_SECRETS, good, service, bad, "hidden-query", "hidden-body"]
    environ = environment(database.url.replace("postgres@", f"postgres:{PASSWORD}@")) | {
        "JWT_SECRET": JWT_SECRET,
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_WEBHOOK_SECRET": ", ".join(WEBHOOK_SECRETS),
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "DATABASE_TIMEOUT": "2",
        "LOG_LEVEL": "debug",
    }
    with gunicorn(environ, tmp_path / "log") as running:

        def send(path: str, bearer: str | None = None, body: dict | str | None = None, **headers: str) -> int:
            if bearer is not None:
                headers["Authorization"] = f"Bearer {bearer}"
            data = body if isinstance(body, str) or body is None else json.dumps(body)
            request = urllib.request.Request(running.url + path, data and data.encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return response.status
            except urllib.error.HTTPError as error:
                return error.code

        def send_raw(text: str) -> None:
            with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
                connection.sendall(text.encode())
                while connection.recv(4096):
                    pass

        spend = {"user_id": str(user), "amount": 1, "description": "hidden-body"}
        assert send(f"{V2}/balance?token=hidden-query", good, **{"X-Request-Id": "the-good-one"}) == 200
        assert send(f"{V2}/deduct", service, spend) == 200
        assert send(f"{V2}/balance", bad) == 401
        assert send(f"{V2}/balance", good[:-3]) == 401
        assert send(f"{V2}/deduct", service, '{"amount": hidden-body}') == 400
        assert send(f"/nothing/hidden-query?{good}") == 404
        payload = json.dumps({"id": "evt_1", "note": "hidden-body"})
        for secret in ("whsec_wrong", WEBHOOK_SECRETS[1]):
            assert send(f"{V2}/webhook", body=payload, **{"Stripe-Signature": signature(payload, secret)}) == 400
        assert send(f"{V2}/purchase-credits", good, {"package": "25"}) == 503, "Stripe is away"
        break_function(conn, "list_grants", f"raise exception 'password={PASSWORD} {STRIPE_KEY} Bearer {good}'")
        assert send(f"{V2}/grants?token=hidden-query", good) == 500
        for probe in ("/healthz", "/readyz", "/metrics"):
            assert send(probe) == 200
        send_raw(f"GET {V2}/balance?token=hidden-query HTTP/9.9\r\n\r\n")
        send_raw(f"GET /healthz HTTP/1.1\r\nAuthorization Bearer {good}\r\n\r\n")
        with closed_to_new_sessions(database.server, database.name):
            assert send(f"{V2}/balance", good) == 503
            assert send("/readyz") == 503
    lines = [log_in_line(line) for line in running.written.splitlines()]
    found = [secret for secret in secrets if secret in running.written or json.dumps(secret)[1:-1] in running.written]
    assert found == []
    access = [line for line in lines if line["logger"] == "api.access" and line["level"] == "info"]
    told = [(line["method"], line["route"], line["status"], line["code"]) for line in access]
    assert told == [
        ("GET", f"{V2}/balance", 200, None),
        ("POST", f"{V2}/deduct", 200, None),
        ("GET", f"{V2}/balance", 401, "token_invalid"),
        ("GET", f"{V2}/balance", 401, "token_invalid"),
        ("POST", f"{V2}/deduct", 400, "invalid_json"),
        ("GET", "unknown", 404, "not_found"),
        ("POST", f"{V2}/webhook", 400, "invalid_signature"),
        ("POST", f"{V2}/webhook", 400, "invalid_request"),
        ("POST", f"{V2}/purchase-credits", 503, "stripe_unavailable"),
        ("GET", f"{V2}/grants", 500, "internal_error"),
        ("GET", f"{V2}/balance", 503, "database_unavailable"),
        ("GET", "/readyz", 503, "not_ready"),
    ]
    assert (access[0]["request_id"], access[0]["user_id"]) == ("the-good-one", str(user))
    assert (access[1]["user_id"], access[2]["user_id"]) == (None, None)
    assert all(0 < line["duration_ms"] < 20_000 for line in access)
    (failure,) = [line for line in lines if line["level"] == "error" and line["request_id"] == access[9]["request_id"]]
    assert "RaiseException: password=*** *** Bearer ***" in failure["exc_info"]
    assert any(line["logger"] == "gunicorn.error" and "Invalid" in line["message"] for line in lines)


def test_probes_are_told_of_at_debug_unless_they_fail(client, logged):
    for probe in ("/healthz", "/readyz"):
        assert client.get(probe).status == 200
    assert client.get("/metrics", environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status == 403
    told = [(line["route"], line["status"], line["level"]) for line in logged() if line["logger"] == "api.access"]
    assert told == [("/metrics", 403, "info")]


def test_a_stream_is_logged_once_when_it_is_over(client, user, logged, monkeypatch):
    monkeypatch.setattr("api.billing.LARGEST_PAGE", 2)
    answer = client.get(f"{V2}/ledger.csv", by=user, headers={"X-Request-Id": "a-stream"})
    assert answer.status == 200
    (line,) = [line for line in logged() if line["logger"] == "api.access"]
    assert (line["route"], line["status"], line["request_id"]) == (f"{V2}/ledger.csv", 200, "a-stream")
    assert line["code"] is None


def test_a_stream_that_breaks_off_is_told_as_such(database, conn, logged, monkeypatch):
    monkeypatch.setattr("api.billing.LARGEST_PAGE", 2)
    user = uuid4()
    conn.execute("select billing.open_account(%s)", [user])
    conn.execute("select billing.deduct_credits(%s, 1)", [user])
    app = make_app(database.url)
    response = app.test_client().get(f"{V2}/ledger.csv", headers={"Authorization": f"Bearer {token(sub=user)}"})
    break_function(conn, "list_entries", "raise exception 'broken'")
    with pytest.raises(psycopg.errors.RaiseException):
        response.get_data()
    (line,) = [line for line in logged() if line["logger"] == "api.access"]
    assert (line["status"], line["code"]) == (200, "broken_off")
    app.extensions["database"].close()


def test_a_slow_statement_is_told_without_its_arguments(shared_database, user, logged):
    app = make_app(shared_database.url, SLOW_STATEMENT="0")
    answer = Client(app).post(f"{V2}/deduct", {"user_id": user, "amount": 1, "description": "told"}, by="service")
    assert answer.status == 200
    (line,) = [line for line in logged() if line["logger"] == "api.database"]
    assert (line["level"], line["function"], line["request_id"]) == ("warning", "deduct_credits", answer_id(answer))
    assert line["duration_ms"] > 0
    assert not {str(user), "told"} & {str(value) for value in line.values()}
    app.extensions["database"].close()


def test_a_statement_that_fails_late_is_slow_too(database, conn, logged):
    app = make_app(database.url, STATEMENT_TIMEOUT="1", SLOW_STATEMENT="0.5")
    break_function(conn, "list_tiers", "perform pg_sleep(60)")
    assert Client(app).get(f"{V2}/tiers", by=uuid4()).status == 503
    (line,) = [line for line in logged() if line["logger"] == "api.database"]
    assert (line["function"], line["duration_ms"] >= 500) == ("list_tiers", True)
    app.extensions["database"].close()


def test_fast_statements_are_not_told_of(client, user, logged):
    assert client.get(f"{V2}/balance", by=user).status == 200
    assert [line for line in logged() if line["logger"] == "api.database"] == []


def answer_id(answer) -> str:
    return answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer abcdefgh",
        "bearer abcdefgh",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
        "sk_live_51abcDEF",
        "rk_test_51abcDEF",
        "whsec_abc+/DEF=",
        "postgresql://me:abcdefgh@db/billing",
        "host=db password=abcdefgh dbname=x",
        r"host=db password='abc\' defgh' dbname=x",
    ],
)
def test_what_looks_like_a_secret_is_struck_out(secret):
    struck = Redactor()(f"before {secret} after")
    assert struck.startswith("before ")
    assert struck.endswith(" after")
    assert "***" in struck
    assert not re.search("abc|eyJ|DEF|defgh", struck)


def test_named_secrets_are_struck_out_and_short_ones_would_be_words():
    redact = Redactor(["cat", "", "swordfish", "swordfish and chips"])
    assert redact("a cat eats swordfish and chips, swordfish") == "a cat eats ***, ***"


def test_the_secrets_of_the_settings():
    settings = Settings.read(
        environment("postgresql://me:p%40ssword@db/x")
        | {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1, whsec_2", "JWT_SECRET": JWT_SECRET}
    )
    assert {JWT_SECRET, "sk_test_1", "whsec_1", "whsec_2", "p@ssword"} <= set(secrets_of(settings))
    shown = repr(settings)
    assert not [secret for secret in (*secrets_of(settings), "p%40ssword") if secret in shown]


def test_a_connection_string_that_makes_no_sense_is_a_secret_as_a_whole():
    settings = Settings.read(environment("nonsense with a secret"))
    assert "nonsense with a secret" in secrets_of(settings)


def record(message: str, *arguments: object, name: str = "api", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, "x.py", 1, message, arguments, None)
    made.__dict__ |= extra
    return made


def test_a_line_is_one_line():
    written = JSONLines(Redactor()).format(record("two\nlines of %s", "\ud800\x1b[31m", rows=3))
    assert "\n" not in written
    assert written.isascii()
    assert json.loads(written) | {"time": None} == {
        "time": None,
        "level": "warning",
        "logger": "api",
        "request_id": None,
        "message": "two\nlines of \ud800\x1b[31m",
        "rows": 3,
    }


def test_text_is_for_a_terminal(client):
    formatter = TextLines(Redactor())
    with client.app.test_request_context():
        g.request_id = "abc"
        line = formatter.format(record("It is %s.", "sk_test_51abc"))
    at, _, rest = line.partition(" ")
    assert datetime.fromisoformat(at).tzinfo == UTC
    assert rest == "warning api [abc]: It is ***."


def test_gunicorns_lines_have_no_query_strings():
    written = JSONLines(Redactor()).format(record("Error handling request /a?b=c", name="gunicorn.error"))
    assert json.loads(written)["message"] == "Error handling request /a?***"


def test_the_format_is_json_unless_somebody_watches(monkeypatch):
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    for stderr, kind, formatter in (
        (StringIO(), "", JSONLines),
        (Terminal(), "", TextLines),
        (Terminal(), "json", JSONLines),
        (StringIO(), "text", TextLines),
    ):
        monkeypatch.setattr("sys.stderr", stderr)
        assert type(Lines(kind).formatter) is formatter


def test_logging_twice_writes_once(shared_database, monkeypatch):
    written = StringIO()
    monkeypatch.setattr("sys.stderr", written)
    settings = Settings.read(environment(shared_database.url) | {"LOG_LEVEL": "warning", "LOG_FORMAT": "json"})
    level = logging.getLogger().level
    init_logging(settings)
    init_logging(settings)
    logging.getLogger("some.library").warning("Once.")
    logging.getLogger("some.library").info("Never.")
    logging.getLogger().setLevel(level)
    assert [log_in_line(line)["message"] for line in written.getvalue().splitlines()] == ["Once."]


def test_who_tells_of_what_is_sent_stays_quiet_at_debug_too(shared_database, monkeypatch):
    written = StringIO()
    monkeypatch.setattr("sys.stderr", written)
    level = logging.getLogger().level
    init_logging(Settings.read(environment(shared_database.url) | {"LOG_LEVEL": "debug", "LOG_FORMAT": "json"}))
    logging.getLogger("some.library").debug("This is told.")
    for name in ("stripe", "urllib3.connectionpool", "werkzeug"):
        logging.getLogger(name).info("Request to ?secret")
    logging.getLogger().setLevel(level)
    assert [log_in_line(line)["message"] for line in written.getvalue().splitlines()] == ["This is told."]
