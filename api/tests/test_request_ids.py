"""The id of a request reaches the ledger, and nobody else's entry."""

import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from api.database import REQUEST_ID, call, statement
from api.logs import current_request_id, piece_of_work
from api.tests.conftest import Client, entries_of, make_app
from scripts.servers import free_port, hand_over, run_as

V2 = "/api/billing/v2"
ADMIN = "/api/admin/billing"


@pytest.fixture
def narrow(shared_database) -> Iterator[Client]:
    """An app with one connection, which all of its calls share."""
    app = make_app(shared_database.url, DATABASE_POOL_SIZE="1")
    yield Client(app)
    app.extensions["database"].close()


def request_ids(db, user) -> list[str | None]:
    return [(entry.metadata or {}).get("request_id") for entry in entries_of(db, user)]


def left_behind(client: Client) -> dict:
    """What the app's connection still knows of the last request."""
    with client.app.extensions["database"].connection() as connection:
        return connection.execute("select current_setting('billing.request_id', true) as id").fetchone()


def test_the_ledger_says_which_request_it_was(narrow, db, admin, user):
    def post(path: str, body: dict, name: str, by="service") -> dict:
        answer = narrow.post(path, {"user_id": user} | body, by=by, headers={"X-Request-Id": name})
        assert answer.status == 200, answer.text
        return answer.json

    post(f"{V2}/deduct", {"amount": 1, "metadata": {"mine": 1}}, "a-deduction")
    hold = post(f"{V2}/holds", {"amount": 2}, "a-hold")
    post(f"{V2}/holds/{hold['hold_id']}/capture", {"amount": 1}, "a-capture")
    post(f"{ADMIN}/credits/adjust", {"amount": 7, "reason": "test"}, "an-adjustment", admin)
    assert request_ids(db, user) == [None, "a-deduction", "a-capture", "an-adjustment"]
    assert entries_of(db, user)[1].metadata == {"mine": 1, "request_id": "a-deduction"}


def test_a_refused_deduction_says_it_too(narrow, db, user):
    answer = narrow.post(f"{V2}/deduct", {"user_id": user, "amount": 99}, by="service")
    assert answer.status == 402
    assert request_ids(db, user) == [None, answer["request_id"]]


def test_what_comes_next_on_the_connection_has_no_id(narrow, db, user):
    answer = narrow.post(f"{V2}/deduct", {"user_id": user, "amount": 1}, by="service", headers={"X-Request-Id": "one"})
    assert answer.status == 200
    assert left_behind(narrow) == {"id": ""}
    with narrow.app.app_context():
        call("deduct_credits", user_id=user, amount=1)
    assert request_ids(db, user) == [None, "one", None]


def test_a_call_that_fails_leaves_no_id_behind(narrow, user):
    missing = uuid4()
    assert narrow.post(f"{V2}/deduct", {"user_id": missing, "amount": 1}, by="service").status == 404
    assert left_behind(narrow) == {"id": ""}


def test_a_piece_of_work_has_an_id_of_its_own(narrow, db, user):
    with narrow.app.app_context():
        with piece_of_work() as first:
            call("deduct_credits", user_id=user, amount=1)
        with piece_of_work() as second:
            call("deduct_credits", user_id=user, amount=1)
        assert current_request_id() is None
    assert first != second
    assert request_ids(db, user) == [None, first, second]


def nodes(plan: dict) -> Iterator[dict]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(
    ("function", "values"),
    [
        ("deduct_credits", {"user_id": uuid4(), "amount": 1}),
        ("list_entries", {"user_id": uuid4(), "limit": 5}),
        ("list_tiers", {}),
    ],
)
def test_the_setting_is_there_before_the_function_is_called(db, plans, function, values):
    """The outer side of the nested loop sets it; the inner one waits for it, and then calls."""
    query = statement(function, tuple(values), named=True)
    with db.transaction():
        db.execute(f"set local plan_cache_mode = {plans}")
        explained = db.execute(f"explain (verbose, format json) {query.as_string(db)}", values | {REQUEST_ID: "x"})
        plan = explained.fetchone()[0][0]["Plan"]
    assert plan["Node Type"] == "Nested Loop"
    setting, calling = plan["Plans"]
    assert [node["Output"][0].startswith("set_config(") for node in nodes(setting)] == [True]
    assert "set_config(" in calling["One-Time Filter"]
    assert [node["Function Name"] for node in nodes(calling) if node["Node Type"] == "Function Scan"] == [function]


def test_rows_come_in_the_same_order(narrow, user):
    for amount in ("0.1", "0.2", "0.3"):
        assert narrow.post(f"{V2}/deduct", {"user_id": user, "amount": amount}, by="service").status == 200
    ledger = narrow.get(f"{V2}/ledger", by=user)
    assert [entry["entry_no"] for entry in ledger["entries"]] == [4, 3, 2, 1]


@pytest.fixture
def bouncer(shared_database) -> Iterator[str]:
    """pgbouncer in transaction mode, with one session for all: its connection string."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("pgbouncer is not installed")
    server, port = shared_database.server, free_port()
    directory = Path(tempfile.mkdtemp())  # pytest's own is closed to other users
    settings = directory / "pgbouncer.ini"
    settings.write_text(
        f"""[databases]
{shared_database.name} = host=127.0.0.1 port={server.settings["port"]} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
ignore_startup_parameters = extra_float_digits
"""
    )
    for each in (settings, directory):
        hand_over(each, server.user)
    process = subprocess.Popen(
        [*run_as(server.user), str(shutil.which("pgbouncer")), "-q", str(settings)],
        cwd="/",
        stdin=subprocess.DEVNULL,
    )
    url = f"postgresql://billing_api@127.0.0.1:{port}/{shared_database.name}"
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            break
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(timeout=60)
    shutil.rmtree(directory)


def test_a_pooler_passes_it_on_and_keeps_nothing(bouncer, db, user, caplog):
    """pgbouncer has one session, in which another client's statement follows the API's."""
    caplog.set_level(logging.ERROR, "psycopg.pool")
    app = make_app(bouncer, DATABASE_TRANSACTION_POOLER="true")
    client = Client(app)
    with psycopg.connect(bouncer, autocommit=True, prepare_threshold=None) as other:
        for number in range(8):
            body = {"user_id": user, "amount": "0.1"}
            answer = client.post(f"{V2}/deduct", body, by="service", headers={"X-Request-Id": f"request-{number}"})
            assert answer.status == 200, answer.text
            assert other.execute("select current_setting('billing.request_id', true)").fetchone()[0] == ""
            other.execute("select billing.deduct_credits(%s, 0.01)", [user])
    app.extensions["database"].close()
    expected = [name for number in range(8) for name in (f"request-{number}", None)]
    assert request_ids(db, user) == [None, *expected]
