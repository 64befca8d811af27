"""How failures are told: by name, and without what is inside."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from api.errors import REASONS
from api.tests.conftest import Client, balance_of, entries_of, make_app
from scripts.migrate import migrate
from scripts.servers import free_port
from scripts.testserver import TestServer

DEDUCT = "/api/billing/v2/deduct"
BALANCE = "/api/billing/v2/balance"
INSIDE = (
    "select",
    "update ",
    "billing.",
    "credit_accounts",
    "psycopg",
    "traceback",
    "plpgsql",
    "line ",
    "secret inside",
)


def says_nothing_of_the_inside(text: str) -> bool:
    return not any(word in text.lower() for word in INSIDE)


@pytest.fixture
def own(database) -> Iterator[Client]:
    """An app on a database of this test alone, to be broken."""
    app = make_app(database.url, DATABASE_TIMEOUT="10", STATEMENT_TIMEOUT="1")
    yield Client(app)
    app.extensions["database"].close()


def break_function(conn: psycopg.Connection, function: str, statement: str) -> None:
    """Replace a function of billing by one that runs the statement only."""
    arguments = conn.execute(
        """select pg_get_function_arguments(oid) as all, pg_get_function_result(oid) as result from pg_proc
            where pronamespace = 'billing'::regnamespace and proname = %s""",
        [function],
    ).fetchone()
    conn.execute(
        f"create or replace function billing.{function}({arguments.all}) returns {arguments.result} language plpgsql "
        f"as $broken$ begin {statement}; end $broken$"
    )


def definition_of(conn: psycopg.Connection, function: str) -> str:
    """The statement that makes a function of billing as it is."""
    return conn.execute("select pg_get_functiondef(%s::regproc) as text", [f"billing.{function}"]).fetchone().text


def test_unknown_routes_and_methods(client):
    assert client.get("/nothing").problem() == (404, "not_found")
    assert client.get("/api/billing/v2/holds/7/capture").problem() == (404, "not_found")
    answer = client.get(DEDUCT)
    assert answer.problem() == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


def test_a_body_too_large(shared_database, user):
    app = make_app(shared_database.url, MAX_BODY_BYTES="1000")
    answer = Client(app).post(DEDUCT, {"user_id": user, "amount": 1, "description": "x" * 1000}, by="service")
    assert answer.problem() == (413, "body_too_large")
    app.extensions["database"].close()


def test_request_ids(client):
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1.2_3"}).headers["X-Request-Id"] == "abc-1.2_3"
    for strange in ("", "a b", "x" * 129, "<script>", "naïve"):
        made = client.get("/healthz", headers={"X-Request-Id": strange}).headers["X-Request-Id"]
        assert made != strange
        assert len(made) == 36
    assert client.get("/nothing", headers={"X-Request-Id": "mine"})["request_id"] == "mine"


def test_answers_are_not_kept_by_caches(client, user):
    headers = client.get(BALANCE, by=user).headers
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("XX000", (500, "internal_error")),
        ("42P01", (500, "internal_error")),
        ("42501", (500, "internal_error")),
        ("23514", (500, "internal_error")),
        ("P0001", (500, "internal_error")),
        ("22003", (400, "invalid_request")),
        ("40001", (503, "try_again")),
        ("40P01", (503, "try_again")),
        ("55P03", (503, "try_again")),
        ("57014", (503, "timeout")),
        ("53300", (503, "database_unavailable")),
        ("57P01", (503, "database_unavailable")),
        ("08006", (503, "database_unavailable")),
    ],
)
def test_r20_a_database_error_is_never_insufficient_credits(own, conn, logged, state, problem):
    user = uuid4()
    conn.execute("select billing.open_account(%s)", [user])
    for function in ("deduct_credits", "hold_credits", "check_credits"):
        statement = f"raise exception using errcode = '{state}', message = 'secret inside', detail = 'select'"
        break_function(conn, function, statement)
    body = {"user_id": user, "amount": 1}
    for path in (DEDUCT, "/api/billing/v2/holds"):
        answer = own.post(path, body, by="service")
        assert answer.problem() == problem
        assert says_nothing_of_the_inside(answer.text)
        assert ("Retry-After" in answer.headers) == (problem[0] == 503)
    assert own.get("/api/billing/v2/check", by=user).problem() == problem
    if problem[0] >= 500:
        told = [line["level"] for line in logged() if line["request_id"] == answer["request_id"]]
        assert {"warning", "error"} & set(told)


def test_r19_when_the_function_fails_nothing_is_done_instead(own, conn):
    user = uuid4()
    conn.execute("select billing.open_account(%s)", [user])
    break_function(conn, "deduct_credits", "raise exception 'broken'")
    assert own.post(DEDUCT, {"user_id": user, "amount": 1}, by="service").status == 500
    assert balance_of(conn, user) == 5
    assert len(entries_of(conn, user)) == 1
    reachable = conn.execute(
        """select c.oid::regclass as name from pg_class c
            where relnamespace in ('billing'::regnamespace, 'billing_private'::regnamespace)
              and relkind in ('r', 'v', 'm')
              and has_table_privilege('billing_api', c.oid, 'select, insert, update, delete, truncate')"""
    ).fetchall()
    assert reachable == [], "the API could not do the work of the functions even if it wanted to"


def test_r19_only_call_builds_sql():
    sources = [path for path in Path("api").glob("*.py") if path.name != "database.py"]
    assert sources
    for path in sources:
        source = path.read_text()
        assert ".execute(" not in source, path
        assert "import sql" not in source, path


def test_r32_a_slow_query_is_a_timeout_without_sql(own, conn, user_in):
    user = user_in(conn)
    break_function(conn, "list_entries", "perform pg_sleep(60)")
    for path in ("/api/billing/v2/ledger", "/api/billing/v2/ledger.csv"):
        answer = own.get(path, by=user)
        assert answer.problem() == (503, "timeout")
        assert says_nothing_of_the_inside(answer.text)


def test_r32_an_error_of_ours_shows_a_request_id_and_nothing_else(client, app, logged, monkeypatch, user):
    def broken(*_, **__):
        raise RuntimeError("secret inside: select * from billing.credit_accounts")

    monkeypatch.setattr("api.billing.call", broken)
    answer = client.get(BALANCE, by=user, headers={"X-Request-Id": "find-me"})
    assert answer.problem() == (500, "internal_error")
    assert says_nothing_of_the_inside(answer.text)
    (line,) = [line for line in logged() if line["level"] == "error"]
    assert (line["request_id"], line["logger"]) == ("find-me", "api")
    assert "secret inside" in line["exc_info"]


@pytest.fixture
def user_in():
    def opened(conn: psycopg.Connection):
        user = uuid4()
        conn.execute("select billing.open_account(%s)", [user])
        return user

    return opened


def test_a_locked_account_is_a_timeout_and_nothing_happens(own, database, conn, user_in):
    user = user_in(conn)
    with database.connect(autocommit=False) as other:
        other.execute("select from billing.credit_accounts where user_id = %s for update", [user])
        assert own.post(DEDUCT, {"user_id": user, "amount": 1}, by="service").problem() == (503, "timeout")
        other.rollback()
    assert own.post(DEDUCT, {"user_id": user, "amount": 1}, by="service").status == 200
    assert balance_of(conn, user) == 4


def test_a_database_that_was_never_there():
    app = make_app(f"postgresql://postgres@127.0.0.1:{free_port()}/none", DATABASE_TIMEOUT="0.3")
    client = Client(app)
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").problem() == (503, "not_ready")
    answer = client.get(BALANCE, by=uuid4())
    assert answer.problem() == (503, "database_unavailable")
    assert says_nothing_of_the_inside(answer.text)
    app.extensions["database"].close()


def test_not_ready_without_the_schema(empty_database):
    app = make_app(empty_database.url)
    assert Client(app).get("/readyz").problem() == (503, "not_ready")
    app.extensions["database"].close()


def test_not_ready_without_the_right_to_execute(own, conn):
    assert own.get("/readyz").json == {"status": "ready"}
    conn.execute("revoke execute on function billing.list_tiers() from billing_api")
    assert own.get("/readyz").problem() == (503, "not_ready")


def test_a_never_ending_grant_that_sql_wrote_can_be_read(client, db, user):
    db.execute("select billing.grant_credits(%s, 1, 'promotion', p_expires_at => '12000-01-01')", [user])
    assert client.get(BALANCE, by=user).status == 200
    assert client.get("/api/billing/v2/grants", by=user).status == 200


def test_sessions_have_the_rights_of_the_api_only(own, app):
    with app.extensions["database"].connection() as connection:
        row = connection.execute("select current_user, current_setting('statement_timeout') as timeout").fetchone()
    assert row == {"current_user": "billing_api", "timeout": "10s"}


def test_a_pooler_gets_no_session_settings(shared_database, user):
    app = make_app(f"{shared_database.url}", DATABASE_TRANSACTION_POOLER="true")
    client = Client(app)
    assert client.get(BALANCE, by=user)["created_at"].endswith("Z")
    with app.extensions["database"].connection() as connection:
        assert connection.prepare_threshold is None
        assert connection.execute("select current_user").fetchone() == {"current_user": "postgres"}
    app.extensions["database"].close()


def test_a_session_of_another_zone_changes_nothing(shared_database, user):
    url = f"{shared_database.url}?options=-c%20timezone%3DAsia/Kolkata%20-c%20intervalstyle%3Diso_8601"
    app = make_app(url)
    for path in (BALANCE, "/api/billing/v2/tiers"):
        ours = make_app(shared_database.url)
        assert Client(app).get(path, by=user).json == Client(ours).get(path, by=user).json
        ours.extensions["database"].close()
    app.extensions["database"].close()


def test_the_pool_recovers_when_the_server_does(pytestconfig, server, user_in):
    """A server of its own is stopped while the API runs, and started again."""
    own_server = TestServer(server.version, {"synchronous_commit": "on"})
    app = None
    try:
        with own_server.connect("postgres") as conn:
            conn.execute("create database billing")
        with own_server.connect("billing") as conn:
            migrate(conn)
            user = user_in(conn)
        app = make_app(own_server.conninfo("billing"), DATABASE_TIMEOUT="2")
        client = Client(app)
        deduct = {"user_id": user, "amount": 1}
        assert client.post(DEDUCT, deduct, by="service").status == 200
        own_server.terminate()
        for _ in range(2):
            answer = client.post(DEDUCT, deduct, by="service")
            assert answer.problem() == (503, "database_unavailable")
            assert says_nothing_of_the_inside(answer.text)
        own_server.start()
        started = time.monotonic()
        while client.get("/readyz").status != 200:
            assert time.monotonic() - started < 60
        assert client.post(DEDUCT, deduct, by="service")["balance_after"] == 3
    finally:
        if app is not None:
            app.extensions["database"].close()
        own_server.stop()


def test_a_frozen_account_is_told_who_unfreezes_it(client, db, user):
    db.execute("update billing.credit_accounts set status = 'frozen' where user_id = %s", [user])
    answer = client.post(DEDUCT, {"user_id": user, "amount": 1}, by="service")
    assert answer.problem() == (403, "account_frozen")
    assert "disputed" in answer["detail"]
    assert "an admin or the bank's decision" in answer["detail"]


def test_reasons_are_those_of_the_catalogue():
    """db/errors.md names every refusal; the API gives each a status."""
    catalogue = Path("db/errors.md").read_text()
    assert [reason for reason in REASONS if f"`{reason}`" not in catalogue] == []
