"""The old billing beside the new one: the same user, the same money, in whichever system they are at the moment."""

import re
from calendar import timegm
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from api import create_app, schemas
from api.legacy import SUCCESSORS
from api.settings import Settings
from api.tests.conftest import (
    SECRET,
    WEBHOOK_SECRET,
    Answer,
    Client,
    balance_of,
    document_of,
    documented_path,
    entries_of,
    environment,
    make_app,
    payments_at,
    served_at,
)
from api.tests.test_openapi import NASTY, unbroken
from scripts.pytest_billing import Clock, Database
from scripts.stripe_simulator import Simulator

OLD, V2, ADMIN = "/api/billing", "/api/billing/v2", "/api/admin/billing"
D = Decimal
# Where a user can be: in the old system, or in this one.
THERE, HERE = ("waiting", "rolled_back"), ("migrated", "new")
# 0.00525 US dollars.
CALL = {"model": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 100}
COST = D("0.00525")


def migrate(db: psycopg.Connection, user: UUID) -> None:
    assert db.execute("select outcome from billing.migrate_users(%s)", [[user]]).fetchone() == ("migrated",)


def roll_back(db: psycopg.Connection, user: UUID) -> None:
    assert db.execute("select outcome from billing.rollback_users(%s)", [[user]]).fetchone() == ("rolled_back",)


def waiting(db: psycopg.Connection, *, price: str | None = "price_tier_2_20_monthly", used: Any = 10) -> UUID:
    """A user of the old system: 25 dollars a month, 10 of them used, and 7.5 left of 30 that were bought."""
    user = uuid4()
    row = db.execute(
        "insert into legacy_billing.customers (user_id, stripe_customer_id) values (%s, %s) returning customer_id",
        [user, f"cus_{user.hex}"],
    ).fetchone()
    if price is not None:
        db.execute(
            "insert into legacy_billing.subscriptions values (%s, %s, %s, 'active', now() - interval '3 days', "
            "now() + interval '27 days')",
            [f"sub_{user.hex}", row.customer_id, price],
        )
    db.execute(
        "insert into legacy_billing.usage_records (user_id, model, prompt_tokens, completion_tokens, cost, created_at) "
        "values (%(user)s, 'gpt-4o', 100, 10, %(cost)s, now()), "
        "(%(user)s, 'older', 1, 2, 3.5, date_trunc('month', now(), 'UTC') - interval '1 second')",
        {"user": user, "cost": used},
    )
    for number, (amount, status) in enumerate([(20, "completed"), (10, "completed"), (40, "failed")]):
        at = f"2024-0{number + 1}-01T00:00:00Z"
        completed_at = at if status == "completed" else None
        intent = f"pi_{number}_{user.hex}"
        db.execute(
            "insert into legacy_billing.purchases values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [f"{number}-{user}", user, amount, amount * 100, status, intent, at, completed_at],
        )
    db.execute("insert into legacy_billing.bought_credit values (%s, 7.5)", [user])
    return user


def person(db: psycopg.Connection, world: str) -> UUID:
    """A user of one of the worlds. Those that came from the old system have the same there, wherever they are."""
    if world == "stranger":
        return uuid4()
    if world == "new":
        user = uuid4()
        db.execute("select billing.open_account(%s, 'tier_2_20')", [user])
        db.execute("select billing.grant_credits(%s, 7.5, 'promotion')", [user])
        db.execute("select billing.deduct_credits(%s, 10)", [user])
        return user
    user = waiting(db)
    if world != "waiting":
        migrate(db, user)
    if world == "rolled_back":
        roll_back(db, user)
    return user


def keyed(key: str | None) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": key}} if key else {}


def track(client: Client, user: UUID, key: str | None = None, **body: Any) -> Answer:
    return client.post(f"{OLD}/track", CALL | {"user_id": user} | body, by="service", **keyed(key))


def pay(client: Client, user: UUID, intent: str, amount: Any = 12.5, cents: int = 1250) -> Answer:
    body = {"user_id": user, "amount": amount, "price_cents": cents, "payment_intent_id": intent}
    return client.post(f"{OLD}/purchases", body, by="service")


def left(client: Client, user: UUID) -> tuple[Decimal, Decimal, Decimal]:
    """What the old frontend shows: used in this month, left of it, and left besides."""
    found = client.get(f"{OLD}/check", by=user)
    return found["monthly_usage"], found["remaining"], found["bought_credit"]


def calls(client: Client, user: UUID) -> dict[str, int]:
    """How many calls of which model are known in this month."""
    return {model["model"]: model["calls"] for model in client.get(f"{OLD}/usage", by=user)["models"]}


# The endpoints, in each world.


@pytest.mark.parametrize("world", ["waiting", "migrated", "rolled_back", "new"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_check(client, db, world, method):
    answer = client.send(method, f"{OLD}/check", by=person(db, world))
    assert answer.status == 200
    assert answer.json == {
        "can_run": True, "message": "OK", "tier": "tier_2_20", "monthly_limit": 25, "monthly_usage": 10,
        "remaining": 15, "bought_credit": D("7.5"), "migrated": world in HERE,
    }  # fmt: skip


def test_a_stranger_is_a_free_user(client, db):
    user = uuid4()
    assert client.get(f"{OLD}/check", by=user).json == {
        "can_run": True, "message": "OK", "tier": "free", "monthly_limit": 5, "monthly_usage": 0, "remaining": 5,
        "bought_credit": 0, "migrated": False,
    }  # fmt: skip
    assert client.get(f"{OLD}/usage", by=user)["models"] == []
    assert client.get(f"{OLD}/usage", by=user)["total"] == 0
    assert client.get(f"{OLD}/subscription", by=user)["status"] == "none"
    assert client.get(f"{OLD}/credit-balance", by=user)["balance"] == 0
    assert client.get(f"{OLD}/purchases", by=user).json == {"purchases": [], "next_before": None}
    for table in ("billing.credit_accounts", "billing.user_migrations", "legacy_billing.customers"):
        assert db.execute(f"select from {table} where user_id = %s", [user]).fetchall() == [], "these only read"
    assert client.get(f"{V2}/check", by=user)["balance"] == 5


def test_check_says_no_with_200(client, db):
    user = waiting(db, price=None, used=5)
    assert client.get(f"{OLD}/check", by=user)["can_run"] is True, "there is bought credit"
    db.execute("update legacy_billing.bought_credit set balance = 0 where user_id = %s", [user])
    answer = client.get(f"{OLD}/check", by=user)
    assert (answer.status, answer["can_run"], answer["remaining"]) == (200, False, 0)
    assert "5" in answer["message"]


@pytest.mark.parametrize("world", ["waiting", "migrated", "rolled_back"])
def test_usage(client, db, world):
    user = person(db, world)
    this = datetime.now(UTC).date().replace(day=1)
    before = this - timedelta(days=1)
    track(client, user)
    answer = client.get(f"{OLD}/usage", by=user)
    assert (answer["month"], answer["total"]) == (f"{this:%Y-%m}", 10 + COST)
    assert answer["models"] == [
        {
            "model": "gpt-4o", "calls": 2, "prompt_tokens": 1100, "completion_tokens": 110, "cached_tokens": 0,
            "cost": 10 + COST,
        }
    ]  # fmt: skip
    for month in (f"{before:%Y-%m}", f"{before}", f"{before:%Y-%m}-01"):
        answer = client.get(f"{OLD}/usage?month={month}", by=user)
        assert (answer["month"], answer["total"]) == (f"{before:%Y-%m}", D("3.5"))
        assert [(model["model"], model["calls"]) for model in answer["models"]] == [("older", 1)]
    assert client.get(f"{OLD}/usage?month=2001-02", by=user).json == {"month": "2001-02", "models": [], "total": 0}


@pytest.mark.parametrize("month", ["2025", "2025-13", "2025-02-30", "0001-01", "9999-12", "today", "", "2025-1"])
def test_usage_of_no_month(client, user, month):
    answer = client.get(f"{OLD}/usage", by=user, query_string={"month": month})
    assert answer.problem() == (400, "invalid_request")
    assert list(answer["errors"]) == ["month"]


def test_a_total_is_exact(client, db):
    user = waiting(db)
    costs = [D("900000000000.000000001"), D("0.1234567890123456789012345678901234567890")]
    for cost in costs:
        db.execute(
            "insert into legacy_billing.usage_records (user_id, model, cost) values (%s, %s, %s)",
            [user, str(cost), cost],
        )
    assert client.get(f"{OLD}/usage", by=user)["total"] == D("900000000010.1234567900123456789012345678901234567890")


@pytest.mark.parametrize("world", ["waiting", "migrated", "rolled_back"])
def test_subscription(client, db, world):
    user = person(db, world)
    found = client.get(f"{OLD}/subscription", by=user)
    assert (found["tier"], found["status"], found["monthly_limit"]) == ("tier_2_20", "active", 25)
    assert (found["price_id"], found["stripe_subscription_id"]) == ("price_tier_2_20_monthly", f"sub_{user.hex}")
    assert found["current_period_start"] < found["current_period_end"]
    assert found["migrated"] is (world in HERE)


def test_subscription_of_one_who_has_none(client, user):
    assert client.get(f"{OLD}/subscription", by=user).json == {
        "tier": "free", "status": "none", "price_id": None, "stripe_subscription_id": None,
        "current_period_start": None, "current_period_end": None, "monthly_limit": 5, "migrated": True,
    }  # fmt: skip


@pytest.mark.parametrize("world", ["waiting", "migrated", "rolled_back"])
def test_credit_balance(client, db, world):
    assert client.get(f"{OLD}/credit-balance", by=person(db, world)).json == {
        "balance": D("7.5"), "total_purchased": 30, "total_used": D("22.5"), "migrated": world in HERE,
    }  # fmt: skip


@pytest.mark.parametrize("world", ["waiting", "migrated", "rolled_back"])
def test_purchases_in_pages(client, db, world):
    user = person(db, world)
    every = client.get(f"{OLD}/purchases", by=user)
    assert every["next_before"] is None
    assert [(p["purchase_id"], p["amount"], p["status"]) for p in every["purchases"]] == [
        (f"2-{user}", 40, "failed"), (f"1-{user}", 10, "completed"), (f"0-{user}", 20, "completed"),
    ]  # fmt: skip
    assert every["purchases"][1]["stripe_payment_intent_id"] == f"pi_1_{user.hex}"
    assert every["purchases"][1]["completed_at"] == "2024-02-01T00:00:00Z"
    first = client.get(f"{OLD}/purchases?limit=2", by=user)
    assert first["next_before"] == f"1-{user}"
    rest = client.get(f"{OLD}/purchases", by=user, query_string={"limit": 2, "before": first["next_before"]})
    assert (rest["next_before"], first["purchases"] + rest["purchases"]) == (None, every["purchases"])
    assert client.get(f"{OLD}/purchases?before=unknown", by=user)["purchases"] == []


@pytest.mark.parametrize("world", ["waiting", "migrated", "rolled_back", "new", "stranger"])
def test_track(client, db, world):
    user = person(db, world)
    used, remaining, credit = left(client, user)
    answer = track(client, user, "a call", cached_tokens=0)
    assert answer.status == 200, answer.text
    assert answer.json == {
        "success": True, "reason": None, "cost": COST, "paid_from_credit": 0, "monthly_usage": used + COST,
        "remaining": remaining - COST, "bought_credit": credit, "migrated": world in HERE, "replayed": False,
    }  # fmt: skip
    assert left(client, user) == (used + COST, remaining - COST, credit)
    again = track(client, user, "a call")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json == answer.json | {"replayed": True}
    assert left(client, user) == (used + COST, remaining - COST, credit)
    assert track(client, user, "a call", prompt_tokens=1).problem() == (409, "idempotency_key_reused")
    assert track(client, user)["monthly_usage"] == used + 2 * COST, "no key, no replay"


@pytest.mark.parametrize("world", ["waiting", "migrated"])
def test_what_is_above_the_limit_is_paid_from_bought_credit(client, db, world):
    user = waiting(db, used="24.999")
    if world == "migrated":
        migrate(db, user)
    answer = track(client, user)
    assert (answer["remaining"], answer["bought_credit"]) == (0, D("7.5") - COST + D("0.001"))
    assert answer["paid_from_credit"] == (COST - D("0.001") if world == "waiting" else 0)


def test_the_old_system_records_whatever_is_left(client, db):
    user = waiting(db)
    answer = track(client, user, prompt_tokens=100_000_000)
    assert (answer.status, answer["remaining"], answer["bought_credit"]) == (200, 0, 0)
    assert (answer["cost"], answer["paid_from_credit"]) == (D("375.0015"), D("7.5"))


@pytest.mark.parametrize("world", ["waiting", "migrated", "rolled_back", "new", "stranger"])
def test_a_purchase_counts_once(client, db, world):
    user, intent = person(db, world), f"pi_{uuid4().hex}"
    used, remaining, credit = left(client, user)
    first = pay(client, user, intent)
    assert (first.status, first["status"], first["amount"], first["price_cents"]) == (200, "completed", D("12.5"), 1250)
    assert (first["user_id"], first["stripe_payment_intent_id"]) == (str(user), intent)
    assert (first["replayed"], first["migrated"]) == (False, world in HERE)
    assert "Idempotency-Replayed" not in first.headers
    again = pay(client, user, intent, "12.50")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json == first.json | {"replayed": True}
    assert left(client, user) == (used, remaining, credit + D("12.5"))
    assert pay(client, user, intent, 13).problem() == (409, "idempotency_key_reused")
    assert client.get(f"{OLD}/purchases", by=user)["purchases"][0] == first.json


@pytest.mark.parametrize("theirs", ["waiting", "migrated"])
@pytest.mark.parametrize("ours", ["waiting", "rolled_back", "migrated", "new"])
def test_a_payment_is_of_one_user(client, db, ours, theirs):
    one, other, intent = person(db, ours), person(db, theirs), f"pi_{uuid4().hex}"
    assert pay(client, one, intent).status == 200
    before = left(client, other)
    assert pay(client, other, intent).problem() == (409, "payment_mismatch")
    assert left(client, other) == before


# Refusals, and what makes no sense.


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ("active", (402, "insufficient_credits")),
        ("frozen", (403, "account_frozen")),
        ("closed", (403, "account_closed")),
    ],
)
def test_the_account_of_one_who_has_left_may_refuse(client, db, super_admin, status, problem):
    user = person(db, "migrated")
    if status != "active":
        db.execute("select billing.set_account_status(%s, %s, %s, 'test')", [super_admin, user, status])
    before = client.get(f"{OLD}/check", by=user)
    assert before["can_run"] is (status == "active")
    answer = track(client, user, "k", prompt_tokens=100_000_000)
    assert answer.problem() == problem
    assert answer["detail"] == client.post(f"{V2}/deduct", {"user_id": user, "amount": 999}, by="service")["detail"]
    assert answer["cost"] == D("375.0015")
    assert (answer["remaining"], answer["bought_credit"]) == (before["remaining"], before["bought_credit"])
    assert balance_of(db, user) == D("22.5")
    if status == "active":
        assert track(client, user, "k").status == 200, "a refusal binds no key"


@pytest.mark.parametrize("world", ["waiting", "migrated"])
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"user_id": "x"}, (400, "invalid_request")),
        ({"user_id": None}, (400, "invalid_request")),
        ({"model": None}, (400, "invalid_request")),
        ({"model": "gpt-0"}, (404, "unknown_model")),
        ({"prompt_tokens": None}, (400, "invalid_request")),
        ({"prompt_tokens": "1000"}, (400, "invalid_request")),
        ({"prompt_tokens": -1}, (422, "invalid_tokens")),
        ({"completion_tokens": 10**18}, (422, "invalid_tokens")),
        ({"cached_tokens": 1001}, (422, "invalid_tokens")),
        ({"cost": 1}, (400, "invalid_request")),
    ],
)
def test_calls_that_make_no_sense(client, db, world, changes, problem):
    user = person(db, world)
    before = left(client, user)
    assert track(client, user, "k", **changes).problem() == problem
    assert left(client, user) == before


@pytest.mark.parametrize("world", ["waiting", "migrated"])
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"user_id": None}, (400, "invalid_request")),
        ({"amount": None}, (400, "invalid_request")),
        ({"amount": 0}, (422, "amount_not_positive")),
        ({"amount": "0.0000000001"}, (422, "amount_too_precise")),
        ({"amount": 10**30}, (422, "amount_too_large")),
        ({"amount": "NaN"}, (400, "invalid_request")),
        ({"price_cents": 0}, (400, "invalid_request")),
        ({"price_cents": 1.5}, (400, "invalid_request")),
        ({"payment_intent_id": ""}, (400, "invalid_request")),
        ({"payment_intent_id": "p i"}, (400, "invalid_request")),
        ({"payment_intent_id": "\0"}, (400, "invalid_request")),
        ({"status": "completed"}, (400, "invalid_request")),
    ],
)
def test_purchases_that_make_no_sense(client, db, world, changes, problem):
    user = person(db, world)
    before = left(client, user)
    body = {"user_id": user, "amount": 10, "price_cents": 1000, "payment_intent_id": f"pi_{uuid4().hex}"} | changes
    assert client.post(f"{OLD}/purchases", body, by="service").problem() == problem
    assert left(client, user) == before


def test_no_value_in_any_field_breaks_the_old_system(client, db):
    """Of a user who is there: those who are here are tried with the rest of the API."""
    user = waiting(db)
    bodies = {
        "track": CALL | {"user_id": str(user), "cached_tokens": 0},
        "purchases": {"user_id": str(user), "amount": 1, "price_cents": 1, "payment_intent_id": "pi_1"},
    }
    for path, body in bodies.items():
        for name in body:
            for value in NASTY:
                answer = client.post(f"{OLD}/{path}", body | {name: value}, by="service")
                assert unbroken(answer), (path, name, value)
    assert unbroken(client.get(f"{OLD}/purchases", by=user, query_string={"before": "'; drop"}))


def test_a_body_needs_no_content_type(client, db):
    user = waiting(db)
    text = f'{{"user_id": "{user}", "amount": 0.100000001, "price_cents": 10, "payment_intent_id": "pi_{user.hex}"}}'
    for kind in ("application/x-www-form-urlencoded", ""):
        answer = client.post(f"{OLD}/purchases", text, by="service", headers={"Content-Type": kind})
        assert (answer.status, answer["amount"]) == (200, D("0.100000001"))
    assert client.post(f"{OLD}/purchases", text, by="service", headers={"Content-Type": "text/plain"}).status == 415


@pytest.mark.parametrize("path", ["check", "usage", "subscription", "credit-balance", "purchases"])
def test_users_read_with_their_own_token(client, path):
    assert client.get(f"{OLD}/{path}").problem() == (401, "token_missing")
    assert client.get(f"{OLD}/{path}", by="service").problem() == (403, "not_a_user")


@pytest.mark.parametrize("path", ["track", "purchases"])
def test_only_the_backend_writes(client, user, path):
    assert client.post(f"{OLD}/{path}", {}).problem() == (401, "token_missing")
    assert client.post(f"{OLD}/{path}", {}, by=user).problem() == (403, "not_the_service")


# One effect, on whichever side of the border it is asked for again.


def test_a_call_from_before_the_migration_is_not_paid_again(client, db):
    user = waiting(db)
    first = track(client, user, "k")
    migrate(db, user)
    again = track(client, user, "k")
    assert (again["replayed"], again["cost"], again["migrated"]) == (True, COST, True)
    assert [again[name] for name in ("monthly_usage", "remaining", "bought_credit")] == [
        first[name] for name in ("monthly_usage", "remaining", "bought_credit")
    ]
    assert track(client, user, "k", prompt_tokens=1).problem() == (409, "idempotency_key_reused")
    assert (balance_of(db, user), calls(client, user)) == (D("22.5") - COST, {"gpt-4o": 2})


@pytest.mark.parametrize("by", ["track", "deduct"])
def test_a_call_from_before_a_rollback_is_not_recorded_again(client, db, by):
    user = person(db, "migrated")
    client.post(f"{OLD if by == 'track' else V2}/{by}", CALL | {"user_id": user}, by="service", **keyed("k"))
    before = left(client, user)
    roll_back(db, user)
    assert left(client, user) == before
    again = track(client, user, "k")
    assert (again["replayed"], again["cost"], again["migrated"]) == (True, COST, False)
    assert track(client, user, "k", prompt_tokens=1).problem() == (409, "idempotency_key_reused")
    migrate(db, user)
    assert track(client, user, "k")["replayed"] is True
    assert (left(client, user), calls(client, user)) == (before, {"gpt-4o": 2})


def test_a_payment_counts_once_across_the_border(client, db):
    user, old, new = waiting(db), f"pi_{uuid4().hex}", f"pi_{uuid4().hex}"
    first = pay(client, user, old)
    migrate(db, user)
    again = pay(client, user, old)
    assert (again["replayed"], again["migrated"], again["purchase_id"]) == (True, True, first["purchase_id"])
    assert pay(client, user, new)["replayed"] is False
    roll_back(db, user)
    for intent in (old, new):
        again = pay(client, user, intent)
        assert (again["replayed"], again["migrated"]) == (True, False)
    migrate(db, user)
    assert [pay(client, user, intent)["replayed"] for intent in (old, new)] == [True, True]
    assert left(client, user) == (10, 15, D("32.5"))
    assert pay(client, user, old, 13).problem() == (409, "idempotency_key_reused")


def test_a_payment_that_was_open_at_the_migration_is_granted_by_it(client, db):
    user = waiting(db)
    db.execute(
        "insert into legacy_billing.purchases values (%s, %s, 12.5, 1250, 'pending', %s)",
        [f"open-{user}", user, f"pi_open_{user.hex}"],
    )
    migrate(db, user)
    assert client.get(f"{OLD}/purchases", by=user)["purchases"][0]["status"] == "pending"
    paid = pay(client, user, f"pi_open_{user.hex}")
    assert (paid["purchase_id"], paid["status"], paid["replayed"]) == (f"open-{user}", "completed", False)
    assert pay(client, user, f"pi_open_{user.hex}")["replayed"] is True
    assert balance_of(db, user) == 35


@pytest.mark.parametrize("world", HERE)
def test_frontends_can_be_switched_to_and_fro(client, db, world):
    """Whatever was done through one is there in the other, to the last decimal."""
    user = person(db, world)

    def same() -> Decimal:
        check = client.get(f"{OLD}/check", by=user)
        account = client.get(f"{V2}/balance", by=user)
        assert check["remaining"] + check["bought_credit"] == account["available"]
        assert client.get(f"{OLD}/credit-balance", by=user)["balance"] == check["bought_credit"]
        assert client.get(f"{V2}/check", by=user)["can_run"] is check["can_run"]
        assert client.get(f"{OLD}/usage", by=user)["total"] == check["monthly_usage"]
        return account["available"]

    assert same() == D("22.5")
    track(client, user)
    assert same() == D("22.5") - COST
    client.post(f"{V2}/deduct", {"user_id": user, "amount": "5.000000001"}, by="service")
    assert same() == D("17.499999999") - COST
    pay(client, user, f"pi_{uuid4().hex}", 2, 200)
    assert same() == D("19.499999999") - COST
    hold = client.post(f"{V2}/holds", {"user_id": user, "amount": 3}, by="service")
    assert same() == D("16.499999999") - COST
    body = {"user_id": user, "amount": 1}
    client.post(f"{V2}/holds/{hold['hold_id']}/capture", body, by="service")
    assert same() == D("18.499999999") - COST
    bought = client.get(f"{V2}/purchases", by=user)["purchases"]
    assert {p["stripe_payment_intent_id"] for p in bought} == {
        p["stripe_payment_intent_id"] for p in client.get(f"{OLD}/purchases", by=user)["purchases"]
    }
    total = same()
    roll_back(db, user)
    _, remaining, credit = left(client, user)
    assert remaining + credit == total
    migrate(db, user)
    assert same() == total


# What says that all this is to go.


def routes(prefix: str, *, without: str = "\0") -> list[tuple[str, str]]:
    """The method and rule of every endpoint below a prefix."""
    rules = create_app(environment("postgresql://127.0.0.1/none")).url_map.iter_rules()
    return sorted(
        (method, rule.rule)
        for rule in rules
        if rule.rule.startswith(f"{prefix}/") and not rule.rule.startswith(f"{without}/")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    )


LEGACY_ROUTES = routes(OLD, without=V2)


def assert_deprecated(answer: Answer, path: str) -> None:
    assert answer.headers["Deprecation"] == f"@{timegm((2025, 1, 15, 0, 0, 0))}"
    assert parsedate_to_datetime(answer.headers["Sunset"]) == datetime(2027, 12, 31, tzinfo=UTC)
    assert answer.headers["Sunset"].endswith(" GMT")
    assert answer.headers["Link"] == f'<{SUCCESSORS[path]}>; rel="successor-version"'


def test_there_are_the_endpoints_of_the_old_system():
    assert [
        ("GET", f"{OLD}/check"), ("GET", f"{OLD}/credit-balance"), ("GET", f"{OLD}/purchases"),
        ("GET", f"{OLD}/subscription"), ("GET", f"{OLD}/usage"), ("POST", f"{OLD}/check"), ("POST", f"{OLD}/purchases"),
        ("POST", f"{OLD}/track"),
    ] == LEGACY_ROUTES  # fmt: skip


@pytest.mark.parametrize(("method", "path"), LEGACY_ROUTES)
def test_every_response_says_that_it_is_deprecated(client, db, user, method, path):
    by = "service" if path.endswith("/track") or (method, path) == ("POST", f"{OLD}/purchases") else user
    body = {
        f"{OLD}/track": CALL | {"user_id": user},
        f"{OLD}/purchases": {"user_id": user, "amount": 1, "price_cents": 1, "payment_intent_id": f"pi_{user.hex}"},
    }.get(path, {})
    body = None if method == "GET" else body
    answers = {
        200: client.send(method, path, body, by=by),
        400: client.send(method, path, "[", by=by)
        if body is not None
        else client.get(f"{path}?limit=x&month=x", by=by),
        401: client.send(method, path, body),
        403: client.send(method, path, body, by=user if by == "service" else "service"),
        405: client.send("DELETE", path, by=by),
    }
    if "400" not in document_of(client.app)["paths"][path][method.lower()]["responses"]:
        del answers[400]
    for status, answer in answers.items():
        assert answer.status == status, answer.text
        assert_deprecated(answer, path)


def test_what_fails_says_so_too(client, db, caplog):
    user = waiting(db)
    path = f"{OLD}/track"
    for answer, problem in (
        (track(client, user, model="gpt-0"), (404, "unknown_model")),
        (track(client, user, prompt_tokens=-1), (422, "invalid_tokens")),
        (client.post(path, "x", by="service", headers={"Content-Type": "text/plain"}), (415, "unsupported_media_type")),
        (track(client, person(db, "migrated"), prompt_tokens=10**9), (402, "insufficient_credits")),
        (Client(make_app("postgresql://127.0.0.1:1/none", DATABASE_TIMEOUT="0.1")).post(
            path, CALL | {"user_id": user}, by="service"
        ), (503, "database_unavailable")),
    ):  # fmt: skip
        assert answer.problem() == problem
        assert_deprecated(answer, path)


def test_every_path_has_a_successor(client):
    served = {path for _, path in routes(V2)}
    assert set(SUCCESSORS) == {path for _, path in LEGACY_ROUTES}
    assert set(SUCCESSORS.values()) <= served
    assert SUCCESSORS[f"{OLD}/check"] == f"{V2}/check"
    assert SUCCESSORS[f"{OLD}/track"] == f"{V2}/deduct"


@pytest.mark.parametrize("path", [f"{V2}/check", f"{V2}/nothing", f"{OLD}/nothing", f"{ADMIN}/users", "/healthz"])
def test_nothing_else_is_deprecated(client, user, path):
    answer = client.get(path, by=user)
    assert not {"Deprecation", "Sunset", "Link"} & {name for name, _ in answer.headers}


def test_the_document_says_so(client):
    document = document_of(client.app)
    deprecated = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation.get("deprecated")
    }
    assert deprecated == set(LEGACY_ROUTES)
    for method, path in deprecated:
        for response in document["paths"][path][method.lower()]["responses"].values():
            if "$ref" in response:
                response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
            assert set(response["headers"]) == {"Deprecation", "Sunset", "Link"}
    assert set(document["components"]["headers"]) == {"Deprecation", "Sunset", "Link"}
    assert "headers" not in document["components"]["responses"]["Problem404"]
    assert {operation["tags"][0] for path in SUCCESSORS for operation in document["paths"][path].values()} == {
        "Old billing"
    }


def test_pages_of_other_origins_can_read_it(client, user):
    answer = client.get(f"{OLD}/check", by=user, headers={"Origin": "https://app.example.com"})
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Deprecation", "Sunset", "Link"} <= set(exposed)


def test_the_dates_are_configured(shared_database, user):
    app = make_app(shared_database.url, LEGACY_DEPRECATION="2026-02-03", LEGACY_SUNSET="2026-02-03")
    answer = Client(app).get(f"{OLD}/check", by=user)
    assert answer.headers["Deprecation"] == f"@{timegm((2026, 2, 3, 0, 0, 0))}"
    assert answer.headers["Sunset"] == "Tue, 03 Feb 2026 00:00:00 GMT"
    app.extensions["database"].close()


def test_the_dates_there_are():
    settings = Settings.read({"DATABASE_URL": "postgresql://x", "JWT_SECRET": SECRET, "LEGACY_SUNSET": ""})
    assert (settings.legacy_deprecation, settings.legacy_sunset) == (date(2025, 1, 15), date(2027, 12, 31))


def test_responses_have_exactly_the_columns_of_their_types(db):
    types = {
        "legacy_check": schemas.LegacyCheck, "legacy_usage": schemas.LegacyModelUsage,
        "legacy_subscription": schemas.LegacySubscription, "legacy_credit": schemas.LegacyCredit,
        "legacy_call": schemas.LegacyCall, "legacy_purchase": schemas.LegacyPurchase,
    }  # fmt: skip
    for name, schema in types.items():
        columns = db.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 order by attnum",
            [f"billing.{name}"],
        ).fetchall()
        assert list(schema().fields) == [column.attname for column in columns], name
    assert list(schemas.ListedLegacyPurchase().fields) == list(schemas.LegacyPurchase().fields)


# /v2 is for those whose credits are here.


# What has nothing to do with a user's credits.
OPEN = {f"{V2}/tiers", f"{V2}/packages", f"{V2}/webhook", f"{V2}/reference"}
# What is asked of the others; they are refused before anything in it could be wrong.
BODIES: dict[str, dict[str, Any]] = {
    "purchase-credits": {"package": "25"},
    "create-checkout-session": {"tier": "tier_6_50"},
    "change-subscription": {"tier": "tier_6_50"},
    "auto-top-up": {"enabled": True, "threshold": 1, "package": "25", "monthly_cap": 100},
}
SPENDING = {"deduct": {"amount": 1}, "holds": {"amount": 1}, "capture": {"amount": 1}, "release": {}}
V2_ROUTES = [(method, path) for method, path in routes(V2) if path not in OPEN | {f"{V2}/deduct/batch"}]


@pytest.mark.parametrize("world", THERE)
@pytest.mark.parametrize(("method", "path"), V2_ROUTES)
def test_v2_is_not_for_users_of_the_old_system(client, db, stripe, world, method, path):
    user = person(db, world)
    last = path.rsplit("/", 1)[1]
    security = document_of(client.app)["paths"][documented_path(path)][method.lower()]["security"]
    served = security == [{"service_token": []}]
    body = SPENDING[last] | {"user_id": user} if served else BODIES.get(last, {})
    before, entries, asked = left(client, user), entries_of(db, user), calls_of(db, user)
    answer = client.send(
        method,
        re.sub(r"<uuid:\w+>", str(uuid4()), path),
        None if method == "GET" else body,
        by="service" if served else user,
    )
    assert answer.problem() == (409, "not_migrated")
    assert (left(client, user), entries_of(db, user)) == (before, entries)
    assert stripe.requests() == []
    assert calls_of(db, user) == asked


def calls_of(db: psycopg.Connection, user: str) -> list[Any]:
    return db.execute("select call_id from billing.stripe_calls where user_id = %s order by 1", [user]).fetchall()


@pytest.mark.parametrize("world", THERE)
def test_what_is_not_a_users_is_open(client, db, world):
    for path in ("tiers", "packages"):
        assert client.get(f"{V2}/{path}", by=person(db, world)).status == 200


@pytest.mark.parametrize("world", THERE)
def test_in_a_batch_the_item_says_so(client, db, user, world):
    body = {"items": [{"user_id": str(each), "amount": 1} for each in (person(db, world), user)]}
    results = client.post(f"{V2}/deduct/batch", body, by="service")["results"]
    assert [(each["success"], each["reason"]) for each in results] == [(False, "not_migrated"), (True, None)]


def test_a_first_check_opens_no_account_for_one_who_waits(client, db):
    user = waiting(db)
    for _ in range(2):
        assert client.get(f"{V2}/check", by=user).problem() == (409, "not_migrated")
    migrate(db, user)
    assert client.get(f"{V2}/check", by=user)["balance"] == D("22.5")
    roll_back(db, user)
    assert client.get(f"{V2}/check", by=user).problem() == (409, "not_migrated")


def test_a_stranger_belongs_to_the_system_that_is_asked_first(client, db):
    old, new = uuid4(), uuid4()
    track(client, old)
    assert client.get(f"{V2}/check", by=old).problem() == (409, "not_migrated")
    migrate(db, old)
    assert client.get(f"{V2}/check", by=old)["available"] == 5 - COST
    client.get(f"{V2}/check", by=new)
    assert track(client, new)["migrated"] is True


def test_admins_read_what_was(client, db, admin):
    user = person(db, "rolled_back")
    summary = client.get(f"{ADMIN}/user/{user}/summary", by=admin)
    assert (summary.status, summary["balance"], summary["status"]) == (200, 0, "closed")
    ledger = client.get(f"{ADMIN}/user/{user}/ledger", by=admin)
    assert {entry["type"] for entry in ledger["entries"]} == {"migration", "rollback"}
    assert client.get(f"{ADMIN}/users?search={user}", by=admin)["users"][0]["status"] == "closed"
    assert len(client.get(f"{ADMIN}/user/{user}/payments", by=admin)["payments"]) == 2
    body = {"user_id": user, "amount": 1, "reason": "test"}
    assert client.post(f"{ADMIN}/credits/adjust", body, by=admin).problem() == (409, "not_migrated")


# Subscriptions that began in the old system.


class Subscriber:
    """A user of the old system with a subscription at Stripe, at a price that names no tier of ours."""

    def __init__(self, client: Client, stripe: Simulator, db: psycopg.Connection) -> None:
        self.client, self.stripe, self.db, self.user = client, stripe, db, uuid4()
        at_stripe = client.app.extensions["payments"].client.v1
        customer = at_stripe.customers.create({"email": "old@example.com"})
        card = at_stripe.payment_methods.attach("pm_card_visa", {"customer": customer.id})
        at_stripe.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card.id}})
        product = at_stripe.products.create({"name": "The old plan"})
        price = {"product": product.id, "currency": "usd", "unit_amount": 2000, "recurring": {"interval": "month"}}
        self.price = at_stripe.prices.create(price).id
        params = {"customer": customer.id, "items": [{"price": self.price}]}
        self.subscription = at_stripe.subscriptions.create(params)
        self.at_stripe = at_stripe
        row = db.execute(
            "insert into legacy_billing.customers (user_id, stripe_customer_id) values (%s, %s) returning customer_id",
            [self.user, customer.id],
        ).fetchone()
        db.execute("insert into legacy_billing.plans values (%s, 'tier_2_20', 25)", [self.price])
        period = self.subscription["items"].data[0]
        db.execute(
            "insert into legacy_billing.subscriptions values "
            "(%s, %s, %s, 'active', to_timestamp(%s), to_timestamp(%s))",
            [self.subscription.id, row.customer_id, self.price, period.current_period_start, period.current_period_end],
        )

    def events(self) -> set[str]:
        """What became of the events that have come so far."""
        assert self.stripe.flush()["done"]
        found = self.db.execute("select status, attempts, error from billing.stripe_events").fetchall()
        assert {(event.attempts, event.error) for event in found} <= {(0, None)}
        return {event.status for event in found}

    def change(self, what: str, **body: Any) -> Answer:
        return self.client.post(f"{V2}/{what}-subscription", body, by=self.user)

    def row(self) -> Any:
        return self.db.execute(
            "select status, current_period_start, current_period_end, stripe_item_id "
            "from billing.billing_subscriptions where user_id = %s",
            [self.user],
        ).fetchone()


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulator]:
    with Simulator(webhook_secret=WEBHOOK_SECRET) as running:
        yield running


@pytest.fixture
def subscriber(
    database: Database, conn: psycopg.Connection, simulated: Simulator
) -> Iterator[Callable[[], Subscriber]]:
    """Makes them, in a database and at a Stripe of their own."""
    simulated.reset()
    app = make_app(database.url, **payments_at(simulated))
    with served_at(app) as url:
        simulated.settings(webhook_url=f"{url}{V2}/webhook")
        yield lambda: Subscriber(Client(app), simulated, conn)
        simulated.settings(webhook_url=None)
        simulated.flush()
    app.extensions["database"].close()


def test_events_of_those_who_wait_are_ignored(subscriber):
    other = subscriber()
    assert other.events() == {"ignored"}
    other.at_stripe.subscriptions.update(other.subscription.id, {"cancel_at_period_end": True})
    other.at_stripe.subscriptions.cancel(other.subscription.id)
    assert other.events() == {"ignored"}
    assert {"invoice.paid", "customer.subscription.deleted"} <= {event["type"] for event in other.stripe.events()}
    assert other.db.execute("select from billing.stripe_calls").fetchall() == []


def test_events_of_those_who_wait_at_the_price_of_a_migrated_one_are_ignored(subscriber):
    one, other = subscriber(), subscriber()
    other.events()
    migrate(one.db, one.user)
    params = {"items": [{"id": other.subscription["items"].data[0].id, "price": one.price}]}
    other.at_stripe.subscriptions.update(other.subscription.id, params)
    assert other.events() == {"ignored"}


def test_an_old_subscription_is_upgraded_after_the_migration(subscriber):
    old = subscriber()
    old.events()
    migrate(old.db, old.user)
    assert old.row().stripe_item_id is None
    changed = old.change("change", tier="tier_6_50")
    assert (changed.status, changed["tier"], changed["call_id"]) == (200, "tier_6_50", None), changed.text
    old.events()
    (item,) = old.stripe.objects("subscription")[0]["items"]["data"]
    assert (item["price"]["lookup_key"], item["id"]) == ("credit_billing_tier_6_50_month", old.row().stripe_item_id)
    assert balance_of(old.db, old.user) == 55
    assert old.stripe.created("subscription") == 1
    found = old.client.get(f"{OLD}/subscription", by=old.user)
    assert (found["tier"], found["monthly_limit"], found["stripe_subscription_id"]) == (
        "tier_6_50", 55, old.subscription.id,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after", "error_before", "error_after"])
def test_an_upgrade_whose_answer_was_lost_is_one_upgrade(subscriber, kind):
    old = subscriber()
    old.events()
    migrate(old.db, old.user)
    old.stripe.fault("drop", event="*", times=0)
    old.stripe.fault(kind, method="POST", path=f"/v1/subscriptions/{old.subscription.id}", status=500)
    assert old.change("change", tier="tier_6_50").status == 202
    assert old.change("change", tier="tier_6_50")["tier"] == "tier_6_50"
    assert (balance_of(old.db, old.user), old.stripe.created("invoice")) == (55, 2)


def test_a_change_stays_the_same_when_its_item_becomes_known(subscriber):
    old = subscriber()
    old.events()
    migrate(old.db, old.user)
    old.stripe.fault("timeout_before", method="POST", path=f"/v1/subscriptions/{old.subscription.id}")
    assert old.change("change", tier="tier_6_50").status == 202
    assert old.change("sync").status == 200
    assert old.row().stripe_item_id is not None
    assert old.change("cancel").problem() == (409, "change_pending")
    again = old.change("change", tier="tier_6_50")
    assert (again.status, again["tier"]) == (200, "tier_6_50")


def test_a_subscription_that_stripe_does_not_know_is_not_changed(subscriber):
    old = subscriber()
    old.db.execute("update legacy_billing.subscriptions set subscription_id = 'sub_of_another_time'")
    migrate(old.db, old.user)
    assert old.change("change", tier="tier_6_50").problem() == (409, "stripe_refused")
    assert balance_of(old.db, old.user) == 25


def test_cancelling_needs_no_item(subscriber):
    old = subscriber()
    migrate(old.db, old.user)
    assert old.change("cancel")["cancel_at_period_end"] is True
    assert old.change("reactivate")["cancel_at_period_end"] is False


def test_renewals_and_cancellations_are_understood_after_the_migration(subscriber, clock: Clock):
    old = subscriber()
    migrate(old.db, old.user)
    assert balance_of(old.db, old.user) == 25
    first = old.row()
    later = first.current_period_end + timedelta(days=1)
    clock.shift(seconds=(later - datetime.now(UTC)).total_seconds())
    old.stripe.advance(to=int(later.timestamp()))
    old.events()
    renewed = old.row()
    assert (renewed.status, renewed.current_period_start) == ("active", first.current_period_end)
    assert renewed.stripe_item_id == old.subscription["items"].data[0].id
    assert old.client.get(f"{OLD}/subscription", by=old.user)["status"] == "active"
    old.at_stripe.subscriptions.cancel(old.subscription.id)
    old.events()
    assert old.row().status == "canceled"
    assert old.client.get(f"{V2}/balance", by=old.user)["tier"] == "free"
    assert old.client.get(f"{OLD}/subscription", by=old.user)["status"] == "none"


def test_events_of_one_who_was_moved_back_reach_the_old_system(subscriber):
    old = subscriber()
    migrate(old.db, old.user)
    roll_back(old.db, old.user)
    old.at_stripe.subscriptions.cancel(old.subscription.id)
    old.events()
    found = old.client.get(f"{OLD}/subscription", by=old.user)
    assert (found["status"], found["tier"], found["migrated"]) == ("none", "free", False)
