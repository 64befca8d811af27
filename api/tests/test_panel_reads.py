"""What is found and shown: users by whatever is at hand, entries and actions by filters, the balance over time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from api.json import time_text
from api.tests.conftest import Client

V2 = "/api/billing/v2"
ADMIN = "/api/admin/billing"
D = Decimal


def refer(client: Client, user: UUID, reference: str | None):
    return client.put(f"{V2}/reference", {"user_id": user, "reference": reference}, by="service")


def found(client: Client, admin: UUID, **query) -> list[tuple[str, str | None]]:
    users = client.get(f"{ADMIN}/users", by=admin, query_string=query)["users"]
    return [(user["user_id"], user["found_by"]) for user in users]


def test_a_reference_is_set_shown_and_removed(client, admin, user):
    email = f"Ann.{user.hex}@example.com"
    answer = refer(client, user, email)
    assert (answer.status, answer["user_id"], answer["reference"]) == (200, str(user), email)
    assert found(client, admin, q=email.lower()[:20]) == [(str(user), "reference")]
    (shown,) = client.get(f"{ADMIN}/users", by=admin, query_string={"q": email})["users"]
    assert (shown["reference"], shown["balance"], shown["tier"], shown["entry_count"]) == (email, 5, "free", 1)
    assert refer(client, user, None).json == {"user_id": str(user), "reference": None, "updated_at": None}
    assert found(client, admin, q=email) == []


def test_a_reference_is_the_backends_to_set(client, admin, user):
    body = {"user_id": user, "reference": "ann@example.com"}
    for by in (user, admin):
        assert client.put(f"{V2}/reference", body, by=by).problem() == (403, "not_the_service")
    assert client.put(f"{V2}/reference", body).problem()[0] == 401


@pytest.mark.parametrize("reference", ["", "  ", "x" * 201, "\0", 7])
def test_references_that_make_no_sense(client, user, reference):
    assert refer(client, user, reference).problem() == (400, "invalid_request")


def test_a_reference_of_a_user_without_an_account(client, admin):
    user = uuid4()
    assert refer(client, user, f"later.{user.hex}").status == 200
    assert found(client, admin, q=f"later.{user.hex}") == []
    client.get(f"{V2}/check", by=user)
    assert found(client, admin, q=f"later.{user.hex}") == [(str(user), "reference")]


def test_users_are_found_by_id_and_by_what_was_spent_on(client, admin, user):
    thread = f"thread-{user.hex}"
    body = {"user_id": user, "amount": 1, "reference_type": "thread", "reference_id": thread}
    client.post(f"{V2}/deduct", body, by="service")
    assert found(client, admin, q=thread) == [(str(user), "ledger_reference")]
    assert found(client, admin, q=str(user)) == [(str(user), "user_id")]
    assert found(client, admin, q=f" {str(user)[:13].upper()} ") == [(str(user), "user_id")]
    assert found(client, admin, q=thread, tier="tier_2_20") == []
    assert found(client, admin, q=thread, status="frozen") == []
    (shown,) = client.get(f"{ADMIN}/users", by=admin, query_string={"q": str(user)})["users"]
    assert (shown["reference"], shown["available"]) == (None, 4)


def test_a_search_is_paged_by_user_id_alone(client, db, admin):
    first, second, third = (UUID(f"eeeeeeee-0000-4000-8000-00000000000{n}") for n in (1, 2, 3))
    other = uuid4()
    for user in (first, second, third, other):
        db.execute("select billing.open_account(%s)", [user])
    refer(client, other, "EeeEeeEe is a reference")
    page = client.get(f"{ADMIN}/users?q=eeeeeeee&limit=2", by=admin)
    assert [user["user_id"] for user in page["users"]] == [str(other), str(first)]
    rest = client.get(f"{ADMIN}/users?q=eeeeeeee&limit=2&after={page['next_after']}", by=admin)
    assert ([user["user_id"] for user in rest["users"]], rest["next_after"]) == ([str(second), str(third)], None)
    refer(client, first, "no id eeeeeeee")
    refer(client, second, "no id eeeeeeee")
    page = client.get(f"{ADMIN}/users?q=no id eee&limit=1", by=admin)
    assert ([user["user_id"] for user in page["users"]], page["next_after"]) == ([str(first)], None)


def test_a_list_without_a_query_is_as_it_was(client, admin, user):
    (shown,) = client.get(f"{ADMIN}/users?search={user}", by=admin)["users"]
    assert (shown["user_id"], shown["used_total"]) == (str(user), 0)
    assert "found_by" not in shown
    (shown,) = client.get(f"{ADMIN}/users?q={user}", by=admin)["users"]
    assert "used_total" not in shown
    assert client.get(f"{ADMIN}/users?q=&limit=1", by=admin)["users"][0]["found_by"] is None
    assert client.get(f"{ADMIN}/users?q=a&search=b", by=admin).problem() == (400, "invalid_request")
    assert client.get(f"{ADMIN}/users?q={'x' * 201}", by=admin).problem() == (400, "invalid_request")
    assert client.get(f"{ADMIN}/users?q=a", by=user).problem() == (403, "not_an_admin")


def test_the_ledger_by_reference_and_time(client, db, admin, user):
    for reference in ("a", "b", "a"):
        client.post(f"{V2}/deduct", {"user_id": user, "amount": 1, "reference_id": reference}, by="service")
    second = db.execute(
        "select created_at from billing.credit_ledger where user_id = %s and entry_no = 3", [user]
    ).fetchone()
    moment = time_text(second.created_at)
    wanted = [
        ({"reference_id": "a"}, [4, 2]),
        ({"reference_id": "a", "limit": 1}, [4]),
        ({"reference_id": "c"}, []),
        ({"from": moment}, [4, 3]),
        ({"to": moment}, [2, 1]),
        ({"to": moment, "type": "usage"}, [2]),
        ({"from": moment, "reference_id": "a"}, [4]),
    ]
    for path, by in ((f"{V2}/ledger", user), (f"{ADMIN}/user/{user}/ledger", admin)):
        for query, numbers in wanted:
            entries = client.get(path, by=by, query_string=query)["entries"]
            assert [entry["entry_no"] for entry in entries] == numbers, query
        turned = client.get(path, by=by, query_string={"from": moment, "to": moment})
        assert turned.problem() == (400, "invalid_request")
    page = client.get(f"{V2}/ledger?reference_id=a&limit=1", by=user)
    rest = client.get(f"{V2}/ledger?reference_id=a&limit=1&before={page['next_before']}", by=user)
    assert ([entry["entry_no"] for entry in rest["entries"]], rest["next_before"]) == ([2], None)
    lines = client.get(f"{V2}/ledger.csv", by=user, query_string={"reference_id": "b", "to": "2999-01-01"}).text
    assert [line.split(",")[1] for line in lines.splitlines()] == ["entry_no", "3"]


def test_actions_by_what_was_done_and_when(client, admin, super_admin, user):
    began = datetime.now(UTC)
    for amount in (1, 2000):
        client.post(f"{ADMIN}/credits/adjust", {"user_id": user, "amount": amount, "reason": "r"}, by=admin)
    client.post(f"{ADMIN}/user/{user}/status", {"status": "frozen", "reason": "r"}, by=admin)
    wanted = [
        ({}, ["set_account_status", "adjust_credits", "adjust_credits"]),
        ({"action": "set_account_status"}, ["set_account_status"]),
        ({"action": "change_tier"}, []),
        ({"refused": "true"}, ["adjust_credits"]),
        ({"refused": "false"}, ["set_account_status", "adjust_credits"]),
        ({"from": time_text(began)}, ["set_account_status", "adjust_credits", "adjust_credits"]),
        ({"to": time_text(began)}, []),
        ({"action": "adjust_credits", "refused": "true", "to": "2999-01-01"}, ["adjust_credits"]),
    ]
    for query, names in wanted:
        for one in ({"target_user_id": user}, {"admin_user_id": admin}):
            actions = client.get(f"{ADMIN}/actions", by=admin, query_string=query | one)["actions"]
            assert [action["action"] for action in actions] == names, query
    turned = client.get(f"{ADMIN}/actions", by=admin, query_string={"from": "2025-01-02", "to": "2025-01-01"})
    assert turned.problem() == (400, "invalid_request")


def test_forecast(client, db, admin, user):
    client.post(f"{V2}/deduct", {"user_id": user, "amount": "0.5"}, by="service")
    forecast = client.get(f"{V2}/forecast", by=user)
    assert (forecast["per_day"], forecast["available"], forecast["next_grant_amount"]) == (D("0.5"), D("4.5"), 5)
    # 4.5 last 9 days, unless they expire with the month.
    assert forecast["lasts_days"] <= 9
    assert forecast["next_grant_at"].endswith("-01T00:00:00Z")
    assert forecast["expires_unused"] >= 0
    theirs = client.get(f"{ADMIN}/user/{user}/forecast", by=admin)
    assert (theirs["per_day"], theirs["available"]) == (D("0.5"), D("4.5"))
    db.execute("select billing.grant_credits(%s, 10000, 'promotion')", [user])
    endless = client.get(f"{V2}/forecast", by=user)
    assert (endless["lasts_days"], endless["runs_out_at"]) == (None, None)
    assert client.get(f"{ADMIN}/user/{user}/forecast", by=user).problem() == (403, "not_an_admin")
    assert client.get(f"{ADMIN}/user/{uuid4()}/forecast", by=admin).problem() == (404, "account_not_found")


def test_balance_over_time(client, db, admin, user):
    db.execute("select billing.deduct_credits(%s, 2)", [user])
    # Whatever the month brings, credits of a promotion stay.
    db.execute("select billing.grant_credits(%s, 7, 'promotion')", [user])
    now = datetime.now(UTC)
    span = {"from": time_text(now - timedelta(days=2)), "to": time_text(now)}
    for path, by in ((f"{V2}/balance-history", user), (f"{ADMIN}/user/{user}/balance-history", admin)):
        points = client.get(path, by=by, query_string=span | {"points": 3})["points"]
        assert [(point["at"], point["balance"]) for point in points] == [
            (span["from"], 0),
            (time_text(now - timedelta(days=1)), 0),
            (span["to"], 10),
        ]
        points = client.get(path, by=by)["points"]
        assert (len(points), points[0]["balance"], points[-1]["balance"]) == (60, 0, 10)
        ahead = client.get(path, by=by, query_string={"from": span["to"], "to": "2999-01-01", "points": 2})["points"]
        assert [point["balance"] for point in ahead] == [10, 7]
    for query in ({"points": 1}, {"points": 501}, {"from": span["to"], "to": span["from"]}, {"from": "2999-01-01"}):
        refused = client.get(f"{V2}/balance-history", by=user, query_string=query)
        assert refused.problem() == (400, "invalid_request"), query
    assert client.get(f"{ADMIN}/user/{user}/balance-history", by=user).problem() == (403, "not_an_admin")
