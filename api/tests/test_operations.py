"""What admins see of jobs, events, alerts and checkpoints, and what users are told of."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest

from api.database import call
from api.tests.conftest import Client, make_app
from api.tests.test_errors import break_function
from api.tests.test_legacy import waiting

V2 = "/api/billing/v2"
ADMIN = "/api/admin/billing"
EVENTS = f"{V2}/events"
NOTIFICATIONS = f"{V2}/notifications"
PRIVATE = {"status", "attempts", "error", "next_attempt_at", "delivered_at"}


def spend(client: Client, user: UUID, amount: str) -> None:
    assert client.post(f"{V2}/deduct", {"user_id": user, "amount": amount}, by="service").status == 200


# Events and thresholds.


def test_a_user_is_told_of_a_low_balance_and_sees_it(client, user):
    spend(client, user, "4.5")
    spend(client, user, "0.495")
    answer = client.get(EVENTS, by=user)
    assert [event["kind"] for event in answer["events"]] == ["balance.depleted", "balance.low", "credits.granted"]
    assert [event["event_no"] for event in answer["events"]] == [3, 2, 1]
    assert answer["events"][1]["payload"]["balance"] == Decimal("0.5")
    assert answer["next_before"] is None
    assert PRIVATE.isdisjoint(answer["events"][0]), "how the application is told is not the user's matter"


def test_events_come_page_by_page(client, user):
    spend(client, user, "4.995")
    first = client.get(EVENTS, by=user, query_string={"limit": 2})
    assert [event["event_no"] for event in first["events"]] == [3, 2]
    rest = client.get(EVENTS, by=user, query_string={"limit": 2, "before": first["next_before"]})
    assert ([event["event_no"] for event in rest["events"]], rest["next_before"]) == ([1], None)


def test_nobody_sees_anothers_events(client, user):
    assert client.get(EVENTS, by=uuid4())["events"] == []
    assert client.get(EVENTS).problem() == (401, "token_missing")
    assert client.get(EVENTS, by="service").problem() == (403, "not_a_user")


def test_an_admin_sees_how_the_delivery_does(client, db, admin, user):
    db.execute(
        "update billing.billing_events set status = 'dead', attempts = 11, error = 'refused' where user_id = %s", [user]
    )
    answer = client.get(f"{ADMIN}/user/{user}/events", by=admin)
    (event,) = answer["events"]
    assert event.keys() >= PRIVATE
    assert (event["status"], event["attempts"], event["error"]) == ("dead", 11, "refused")
    assert client.get(f"{ADMIN}/user/{uuid4()}/events", by=admin)["events"] == []


def test_a_threshold_is_set_and_set_back(client, user):
    default = client.get(NOTIFICATIONS, by=user)
    told = {"low_balance": 1, "is_default": True, "depleted_balance": Decimal("0.01")}
    assert default.json == {"user_id": str(user)} | told
    changed = client.post(NOTIFICATIONS, {"low_balance": "4.5"}, by=user)
    assert (changed["low_balance"], changed["is_default"]) == (Decimal("4.5"), False)
    assert client.get(NOTIFICATIONS, by=user).json == changed.json
    spend(client, user, "0.6")
    assert client.get(EVENTS, by=user)["events"][0]["kind"] == "balance.low"
    for body in ({"low_balance": None}, {}):
        assert client.post(NOTIFICATIONS, {"low_balance": 3}, by=user)["low_balance"] == 3
        assert client.post(NOTIFICATIONS, body, by=user).json == default.json


def test_zero_is_never(client, user):
    assert client.post(NOTIFICATIONS, {"low_balance": 0}, by=user)["low_balance"] == 0
    spend(client, user, "4.9")
    assert [event["kind"] for event in client.get(EVENTS, by=user)["events"]] == ["credits.granted"]


@pytest.mark.parametrize(
    ("amount", "problem"),
    [
        ("-1", (422, "amount_not_positive")),
        ("1e-10", (422, "amount_too_precise")),
        ("1e30", (422, "amount_too_large")),
        ("NaN", (400, "invalid_request")),
        (True, (400, "invalid_request")),
    ],
)
def test_a_threshold_is_an_amount(client, user, amount, problem):
    assert client.post(NOTIFICATIONS, {"low_balance": amount}, by=user).problem() == problem


def test_who_has_no_account_gets_one(client):
    assert client.get(NOTIFICATIONS, by=uuid4())["is_default"] is True
    assert client.post(NOTIFICATIONS, {"low_balance": 2}, by=uuid4())["low_balance"] == 2


def test_whom_the_old_system_serves_is_told_so(client, db):
    user = waiting(db)
    assert client.get(EVENTS, by=user).problem() == (409, "not_migrated")
    assert client.get(NOTIFICATIONS, by=user).problem() == (409, "not_migrated")
    assert client.post(NOTIFICATIONS, {"low_balance": 2}, by=user).problem() == (409, "not_migrated")


# Jobs, alerts, checkpoints, metrics.

READS = ["jobs", "jobs/runs", "alerts", "checkpoints", "metrics", f"user/{uuid4()}/events"]


@pytest.mark.parametrize("path", READS)
def test_only_admins_read_this(client, user, admin, super_admin, path):
    assert client.get(f"{ADMIN}/{path}").problem() == (401, "token_missing")
    assert client.get(f"{ADMIN}/{path}", by=user).problem() == (403, "not_an_admin")
    assert client.get(f"{ADMIN}/{path}", by="service").problem() == (403, "not_a_user")
    assert client.get(f"{ADMIN}/{path}", by=admin).status == 200
    assert client.get(f"{ADMIN}/{path}", by=super_admin).status == 200


@pytest.fixture
def own(database) -> Client:
    """An app on a database of this test alone, in which jobs run."""
    app = make_app(database.url)
    yield Client(app)
    app.extensions["database"].close()


@pytest.fixture
def boss(conn: psycopg.Connection) -> UUID:
    user_id = uuid4()
    conn.execute("select billing.bootstrap_super_admin(%s)", [user_id])
    return user_id


def test_jobs_and_their_runs(own, conn, boss):
    for name in ("clean_up", "expire_credits", "clean_up"):
        conn.execute(f"call billing.run_job('{name}')")
    jobs = {job["name"]: job for job in own.get(f"{ADMIN}/jobs", by=boss)["jobs"]}
    assert jobs["clean_up"]["last_outcome"] == "succeeded"
    assert jobs["clean_up"]["late_after"].startswith("P")
    assert (jobs["monthly_grants"]["last_outcome"], jobs["deliver_events"]["function"]) == (None, None)
    runs = own.get(f"{ADMIN}/jobs/runs", by=boss)
    assert [run["job"] for run in runs["runs"]] == ["clean_up", "expire_credits", "clean_up"]
    assert {run["outcome"] for run in runs["runs"]} == {"succeeded"}
    page = own.get(f"{ADMIN}/jobs/runs", by=boss, query_string={"job": "clean_up", "limit": 1})
    assert [run["run_id"] for run in page["runs"]] == [runs["runs"][0]["run_id"]]
    query = {"job": "clean_up", "limit": 1, "before": page["next_before"]}
    page = own.get(f"{ADMIN}/jobs/runs", by=boss, query_string=query)
    assert [run["run_id"] for run in page["runs"]] == [runs["runs"][2]["run_id"]]
    assert page["next_before"] is None
    assert own.get(f"{ADMIN}/jobs/runs", by=boss, query_string={"job": "none"})["runs"] == []


def test_a_job_that_fails_is_seen(own, conn, boss):
    conn.execute("update billing.jobs set since = now()")  # however long the tests have run
    break_function(conn, "clean_up", "raise exception 'broken'")
    with pytest.raises(psycopg.Error) as failure:
        conn.execute("call billing.run_job('clean_up')")
    assert (failure.value.sqlstate, failure.value.diag.message_primary) == ("UC500", "job_failed")
    (job,) = [job for job in own.get(f"{ADMIN}/jobs", by=boss)["jobs"] if job["name"] == "clean_up"]
    assert (job["problem"], job["last_outcome"]) == ("failed", "failed")
    assert "broken" in job["last_error"]
    alerts = {alert["alert"]: alert for alert in own.get(f"{ADMIN}/alerts", by=boss)["alerts"]}
    assert (alerts["jobs"]["rows"], alerts["jobs"]["sample"]["job"]) == (1, "clean_up")


def test_alerts_are_empty_when_all_is_well(own, conn, boss):
    conn.execute("update billing.jobs set since = now()")
    alerts = own.get(f"{ADMIN}/alerts", by=boss)["alerts"]
    assert len(alerts) == 9
    assert {(alert["rows"], alert["sample"]) for alert in alerts} == {(0, None)}


def test_checkpoints(own, conn, boss):
    assert own.get(f"{ADMIN}/checkpoints", by=boss)["checkpoints"] == []
    conn.execute("select billing.open_account(%s)", [uuid4()])
    for _ in range(2):
        conn.execute("call billing.run_job('checkpoint_ledger')")
    page = own.get(f"{ADMIN}/checkpoints", by=boss, query_string={"limit": 1})
    (newest,) = page["checkpoints"]
    assert (newest["accounts"], newest["entries"], newest["balance"], newest["findings"]) == (1, 1, 5, 0)
    assert len(newest["checkpoint_hash"]) == 64
    assert datetime.fromisoformat(newest["finished_at"])
    rest = own.get(f"{ADMIN}/checkpoints", by=boss, query_string={"limit": 1, "before": page["next_before"]})
    assert [each["accounts"] for each in rest["checkpoints"]] == [1]
    assert (rest["checkpoints"][0]["checkpoint_id"] != newest["checkpoint_id"], rest["next_before"]) == (True, None)


def test_metrics_as_json(own, conn, boss):
    user = uuid4()
    conn.execute("select billing.open_account(%s)", [user])
    conn.execute("select billing.deduct_credits(%s, 0.000000001)", [user])
    metrics = own.get(f"{ADMIN}/metrics", by=boss)["metrics"]
    told = {(metric["name"], *metric["labels"].items()): metric["value"] for metric in metrics}
    assert told["billing_ledger_credits_5m", ("type", "usage")] == Decimal("-0.000000001"), "exact"
    assert told["billing_job_enabled", ("job_name", "deliver_events")] == 0


def test_an_error_of_500_by_name_is_a_500_with_its_name(own, conn, boss, logged):
    statement = "raise exception using errcode = 'UC500', message = 'job_failed', detail = 'Job x: broken'"
    break_function(conn, "list_jobs", statement)
    answer = own.get(f"{ADMIN}/jobs", by=boss)
    assert answer.problem() == (500, "job_failed")
    assert [line["message"] for line in logged() if line["level"] == "error"] == ["job_failed: Job x: broken"]


def test_a_migration_that_changes_a_result_needs_no_restart(own, conn):
    def define(row: str) -> None:
        conn.execute(
            f"create or replace function billing.probe() returns billing.probe language plpgsql as "
            f"$$begin return ({row})::billing.probe; end$$"
        )
        conn.execute("grant execute on function billing.probe to billing_api")

    conn.execute("create type billing.probe as (a integer, b integer)")
    define("1, 2")
    with own.app.app_context():
        assert [call("probe") for _ in range(8)] == [{"a": 1, "b": 2}] * 8
        conn.execute("alter type billing.probe add attribute c integer")
        define("1, 2, 3")
        assert call("probe") == {"a": 1, "b": 2, "c": 3}
