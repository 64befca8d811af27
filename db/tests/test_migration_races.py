"""Races of the migration: the same user in both systems at the same time, and where the money is afterwards."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import IsolationLevel, errors

from db.tests import stripe_objects as stripe
from db.tests.sessions import (
    PATIENCE,
    calls,
    findings,
    in_background,
    new_admin,
    outcome,
    together,
    wait_until_blocked,
)

NOW = datetime(2030, 1, 15, 12, tzinfo=UTC)

MIGRATE = "select * from billing.migrate_users(array[%s]::uuid[])"
ROLL_BACK = "select * from billing.rollback_users(array[%s]::uuid[])"
OPEN = "select * from billing.open_account(%s)"
# A unit costs one credit.
TRACK = "select * from billing.legacy_track(%s, 'unit', %s, 0)"
TRACK_KEYED = "select * from billing.legacy_track(%s, 'unit', %s, 0, p_idempotency_key => %s)"
TOKENS_KEYED = "select * from billing.deduct_tokens(%s, 'unit', %s, 0, p_idempotency_key => %s)"
BUY = "select * from billing.legacy_record_purchase(%s, %s, %s, %s)"
DEDUCT = "select * from billing.deduct_credits(%s, %s)"
HOLD = "select * from billing.hold_credits(%s, %s)"
CAPTURE = "select * from billing.capture_hold(%s, %s, %s)"
APPLY = "select * from billing.apply_stripe_event(%s)"
COMPLETE = "select * from billing.complete_purchase(%s, %s)"

Call = tuple[Any, ...]


@pytest.fixture(autouse=True)
def setting(conn, clock):
    """In the middle of a month, and with a model whose calls cost what they say."""
    clock.freeze(NOW)
    conn.execute("insert into billing.model_prices values ('unit', '2000-01-01', 1000000, 1000000, 1000000, 1)")


def old_user(conn: psycopg.Connection, bought: int = 0, user: UUID | None = None) -> UUID:
    """A user of the old system with 25 a month, who perhaps has bought credit."""
    user = user or uuid4()
    conn.execute(
        """with c as (
               insert into legacy_billing.customers (user_id, stripe_customer_id)
               values (%(user)s, 'cus_' || %(user)s) returning customer_id
           )
           insert into legacy_billing.subscriptions (subscription_id, customer_id, price_id, status)
           select 'sub_' || %(user)s, customer_id, 'price_tier_2_20_monthly', 'active' from c""",
        {"user": user},
    )
    if bought:
        conn.execute(
            """insert into legacy_billing.purchases (
                   user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
               )
               values (%s, %s, %s, 'completed', %s, %s, %s)""",
            [user, bought, bought * 100, stripe.new_id("pi"), NOW - timedelta(days=60), NOW - timedelta(days=60)],
        )
        conn.execute("insert into legacy_billing.bought_credit (user_id, balance) values (%s, %s)", [user, bought])
    return user


def migrated_user(conn: psycopg.Connection, bought: int = 0) -> UUID:
    user = old_user(conn, bought)
    assert conn.execute(MIGRATE, [user]).fetchone().outcome == "migrated"
    return user


def rolled_back_user(conn: psycopg.Connection, bought: int = 0) -> UUID:
    user = migrated_user(conn, bought)
    assert conn.execute(ROLL_BACK, [user]).fetchone().outcome == "rolled_back"
    return user


def has(conn: psycopg.Connection, user: UUID) -> tuple[str, Decimal, Decimal]:
    """Where a user is, what is left of the month, and of what was bought, as every frontend is told."""
    row = conn.execute(
        """select m.status, c.remaining, c.bought_credit, c.migrated
           from billing.get_migration(%(user)s) m, billing.legacy_check(%(user)s) c""",
        {"user": user},
    ).fetchone()
    assert row.migrated == (row.status in ("migrated", "new"))
    return row.status, row.remaining, row.bought_credit


def used(conn: psycopg.Connection, user: UUID) -> Decimal:
    """What the month's usage is, in whichever system the calls were made."""
    return (
        conn.execute(
            "select coalesce(sum(cost), 0) as cost from billing.legacy_usage(%s) where model <> 'rollback'", [user]
        )
        .fetchone()
        .cost
    )


def faults(conn: psycopg.Connection) -> list[Any]:
    """What does not verify anywhere; [] when all is well."""
    return (
        findings(conn)
        + conn.execute(
            """select d.*
           from (select array_agg(user_id) as ids from billing.user_migrations) m, billing.verify_migration(m.ids) d
           where d.new <> 'not migrated'"""
        ).fetchall()
    )


@contextmanager
def overtaken(database, conn, first: Call, second: Call, ends: str = "commit") -> Iterator[tuple[Any, Any]]:
    """The second call waits for the first, which ends; yields the row of the first, and of the second or its error."""
    with database.connect(autocommit=False) as one, database.connect() as other:
        answer = one.execute(first[0], first[1:]).fetchone()
        with in_background(other, *second) as waiting:
            wait_until_blocked(conn, other)
            getattr(one, ends)()
            try:
                late = outcome(waiting)
            except psycopg.Error as error:
                late = error
        yield answer, late


def wait_until_ended_or_blocked(
    observer: psycopg.Connection, waiting: psycopg.Connection, call: Future, by: psycopg.Connection
) -> None:
    """Return once a call in the background has ended, or waits for a lock of that session."""
    deadline = time.monotonic() + PATIENCE
    query = "select where %s = any (pg_blocking_pids(%s))"
    while not call.done() and observer.execute(query, [by.info.backend_pid, waiting.info.backend_pid]).rowcount == 0:
        assert time.monotonic() < deadline, "the call neither ends nor waits for that session"
        time.sleep(0.005)


def raised(late: Any) -> str | None:
    """The name of an exception of the SQL API."""
    return late.diag.message_primary if isinstance(late, psycopg.Error) else None


def stored(conn: psycopg.Connection, type: str, object: stripe.JSON) -> str:
    """An event that waits to be applied."""
    return stripe.record(conn, stripe.event(type, object)).event_id


def unless_refused(session: psycopg.Connection, query: str, *parameters: Any) -> Any:
    """The row of a call of the new system; None for a user who is not there."""
    try:
        with session.transaction():
            return session.execute(query, parameters).fetchone()
    except psycopg.Error as error:
        if raised(error) != "not_migrated":
            raise
        return None


# A user who moves, and the calls of the old system.


@pytest.mark.parametrize("key", [None, "k"])
def test_a_migration_that_waits_for_a_call(database, conn, key):
    """The call is in the usage that the migration goes by; its retry is known to whoever serves the user."""
    user = old_user(conn, 10)
    with overtaken(database, conn, (TRACK_KEYED, user, 3, key), (MIGRATE, user)) as (call, late):
        assert (call.migrated, call.remaining) == (False, 22)
        assert (late.outcome, late.usage_before, late.tier_credits) == ("migrated", 3, 22)
    assert has(conn, user) == ("migrated", 22, 10)
    if key:
        again = conn.execute(TRACK_KEYED, [user, 3, key]).fetchone()
        assert (again.replayed, again.migrated, again.remaining) == (True, True, 22)
    assert used(conn, user) == 3
    assert faults(conn) == []


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_call_that_waits_for_a_migration(database, conn, ends):
    """The account pays it; the old system records it when the migration came to nothing. It counts once."""
    user = old_user(conn, 10)
    with overtaken(database, conn, (MIGRATE, user), (TRACK_KEYED, user, 3, "k"), ends) as (first, call):
        assert first.tier_credits == 25
        assert (call.success, call.migrated, call.replayed) == (True, ends == "commit", False)
    assert has(conn, user) == ("migrated" if ends == "commit" else "waiting", 22, 10)
    assert conn.execute(TRACK_KEYED, [user, 3, "k"]).fetchone().replayed
    assert used(conn, user) == 3
    assert faults(conn) == []


def test_a_call_above_the_limit_that_waits_for_a_migration(database, conn):
    """What is above the month's credits is taken from bought credit, in one system or the other."""
    for first, second in [("track", "migrate"), ("migrate", "track")]:
        user = old_user(conn, 10)
        both = {"track": (TRACK, user, 29), "migrate": (MIGRATE, user)}
        with overtaken(database, conn, both[first], both[second]):
            pass
        assert has(conn, user) == ("migrated", 0, 6)
    assert faults(conn) == []


DIRECT: dict[str, tuple[str, str, tuple[int, int]]] = {
    "a call": (
        "usage_records",
        """insert into legacy_billing.usage_records (user_id, model, cost, created_at)
           values (%s, 'unit', 3, billing_private.clock()) returning 1 as done""",
        (22, 10),
    ),
    "a purchase": (
        "purchases",
        """insert into legacy_billing.purchases (user_id, amount, price_cents, status, created_at)
           values (%s, 7, 700, 'pending', billing_private.clock()) returning 1 as done""",
        (25, 10),
    ),
    "bought credit": (
        "bought_credit",
        """insert into legacy_billing.bought_credit (user_id, balance) values (%s, 4)
           on conflict (user_id) do update set balance = 4 returning 1 as done""",
        (25, 4),
    ),
    "bought credit that is changed": (
        "bought_credit",
        "update legacy_billing.bought_credit set balance = 4 where user_id = %s returning 1 as done",
        (25, 4),
    ),
}


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_migration_that_waits_for_the_old_systems_own_code(database, conn, ends):
    """What it wrote is brought along, if it was written."""
    for written, (_, query, left) in DIRECT.items():
        user = old_user(conn, 10)
        with overtaken(database, conn, (query, user), (MIGRATE, user), ends) as (_, late):
            assert late.outcome == "migrated"
            assert late.purchases == 1 + (written == "a purchase" and ends == "commit")
        assert has(conn, user) == ("migrated", *(left if ends == "commit" else (25, 10))), written
    assert faults(conn) == []


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_the_old_systems_own_code_that_waits_for_a_migration(database, conn, ends):
    """It may not write for a user who has left, and may for one who has not."""
    for written, (table, query, left) in DIRECT.items():
        user = old_user(conn, 10)
        own = f"select * from legacy_billing.{table} where user_id = %s"
        before = conn.execute(own, [user]).fetchall()
        with overtaken(database, conn, (MIGRATE, user), (query, user), ends) as (_, late):
            assert raised(late) == ("already_migrated" if ends == "commit" else None)
        assert has(conn, user) == (("migrated", 25, 10) if ends == "commit" else ("waiting", *left)), written
        assert (conn.execute(own, [user]).fetchall() == before) == (ends == "commit")
    assert faults(conn) == []


def test_the_old_systems_own_code_and_a_rollback(database, conn):
    """Whoever waits for the rollback may write again."""
    for written, (_, query, left) in DIRECT.items():
        user = migrated_user(conn, 10)
        with pytest.raises(psycopg.Error, match="already_migrated"):
            conn.execute(query, [user])
        with overtaken(database, conn, (ROLL_BACK, user), (query, user)) as (_, late):
            assert raised(late) is None
        assert has(conn, user) == ("rolled_back", *left), written
        assert conn.execute(MIGRATE, [user]).fetchone().outcome == "migrated"
        assert has(conn, user) == ("migrated", *left), written
    assert faults(conn) == []


# Purchases.


@pytest.mark.parametrize("first", ["buy", "migrate", "roll back"])
def test_a_purchase_of_the_old_system_and_a_move(database, conn, first):
    """It counts once, wherever the user is, and telling of the payment again changes nothing."""
    user = migrated_user(conn, 10) if first == "roll back" else old_user(conn, 10)
    buy = (BUY, user, 7, 700, "pi_1")
    both = {
        "buy": (buy, (MIGRATE, user)),
        "migrate": ((MIGRATE, user), buy),
        "roll back": ((ROLL_BACK, user), buy),
    }[first]
    with overtaken(database, conn, *both) as answers:
        bought = answers[0 if first == "buy" else 1]
        assert (bought.status, bought.replayed, bought.migrated) == ("completed", False, first == "migrate")
    status = "rolled_back" if first == "roll back" else "migrated"
    assert has(conn, user) == (status, 25, 17)
    assert conn.execute(BUY, buy[1:]).fetchone().replayed
    assert has(conn, user) == (status, 25, 17)
    told = conn.execute("select * from billing.legacy_credit_balance(%s)", [user]).fetchone()
    assert (told.balance, told.total_purchased, told.total_used) == (17, 17, 0)
    assert faults(conn) == []


@pytest.mark.parametrize("lives", ["in the old system", "in the new one"])
def test_one_payment_recorded_by_20_sessions(database, conn, lives):
    """Once; the others are told the same purchase."""
    user = migrated_user(conn) if lives == "in the new one" else old_user(conn)
    results = together(database, calls(BUY, user, 7, 700, "pi_1", times=20))
    assert sorted(row.replayed for row in results) == [False] + [True] * 19
    assert len({row.purchase_id for row in results}) == 1
    assert has(conn, user)[1:] == (25, 7)
    assert faults(conn) == []


@pytest.mark.parametrize("lives", ["in the old system", "in the new one"])
def test_one_payment_recorded_for_two_users(database, conn, lives):
    """It is of the one who was first, in whichever system the other one lives."""
    user = old_user(conn)
    other = migrated_user(conn) if lives == "in the new one" else old_user(conn)
    both = [(BUY, each, 7, 700, "pi_1") for each in (user, other)]
    with overtaken(database, conn, *both) as (_, late):
        assert raised(late) == "payment_mismatch"
    assert (has(conn, user)[1:], has(conn, other)[1:]) == ((25, 7), (25, 0))
    assert faults(conn) == []


@pytest.mark.parametrize("first", ["old", "new"])
def test_one_payment_recorded_in_both_systems(database, conn, first):
    """Stripe tells the new system of it, and the old system's code takes it for its own: bought once."""
    user = stripe.new_buyer(conn)
    intent = stripe.payment_intent(stripe.new_purchase(conn, user))
    both = [(BUY, user, 100, 10000, intent["id"]), (APPLY, stored(conn, "payment_intent.succeeded", intent))]
    if first == "new":
        both.reverse()
    with overtaken(database, conn, *both):
        pass
    assert has(conn, user) == ("new", 0, 100)
    assert conn.execute("select from billing.billing_payments").rowcount == 1
    assert faults(conn) == []


def test_one_payment_recorded_everywhere_while_its_user_moves(database, conn):
    """Ten sessions tell of it, and the user moves there and back: bought once."""
    user = migrated_user(conn)

    def move(session: psycopg.Connection) -> None:
        for number in range(6):
            session.execute(MIGRATE if number % 2 else ROLL_BACK, [user])

    jobs = [job for number in range(5) for job in calls(BUY, user, 7, 700, f"pi_{number}", times=3)]
    results = together(database, [*jobs, move], role="postgres")
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert has(conn, user) == ("migrated", 25, 35)
    assert faults(conn) == []


# Who gets an account.


def test_a_first_call_and_an_account_that_is_opened(database, conn):
    """A stranger becomes a user of the system that is first, and only of that one."""
    user = uuid4()
    with overtaken(database, conn, (OPEN, user), (TRACK, user, 1)) as (_, call):
        assert (call.migrated, call.success) == (True, True)
    assert has(conn, user) == ("new", 4, 0)
    assert conn.execute("select from legacy_billing.customers").rowcount == 0
    user = uuid4()
    with overtaken(database, conn, (TRACK, user, 1), (OPEN, user)) as (call, late):
        assert call.migrated is False
        assert raised(late) == "not_migrated"
    assert has(conn, user) == ("waiting", 4, 0)
    assert conn.execute("select from billing.credit_accounts where user_id = %s", [user]).rowcount == 0
    assert faults(conn) == []


def test_a_strangers_first_call_from_20_sessions(database, conn):
    """One customer, twenty calls."""
    user = uuid4()
    results = together(database, calls(TRACK, user, 1, times=20))
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert conn.execute("select from legacy_billing.customers").rowcount == 1
    assert used(conn, user) == 20


def test_first_calls_and_accounts_that_are_opened_at_once(database, conn):
    """Nobody is in both systems, and no call is lost."""
    users = [uuid4() for _ in range(10)]
    jobs = [job for user in users for job in [*calls(TRACK, user, 1), *calls(OPEN, user)]]
    results = together(database, jobs)
    assert {raised(result) for result in results} <= {None, "not_migrated"}
    for user in users:
        status, left, credit = has(conn, user)
        assert (status in ("new", "waiting"), left, credit, used(conn, user)) == (True, 4, 0, 1)
    both = conn.execute("select from billing.credit_accounts join legacy_billing.customers using (user_id)")
    assert both.rowcount == 0
    assert faults(conn) == []


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_an_account_that_is_opened_while_its_user_is_migrated(database, conn, ends):
    """It is the migrated one, without another grant; and there is none when the migration came to nothing."""
    user = old_user(conn, 10)
    with overtaken(database, conn, (MIGRATE, user), (OPEN, user), ends) as (_, late):
        if ends == "commit":
            assert (late.balance, late.tier) == (35, "tier_2_20")
        else:
            assert raised(late) == "not_migrated"
    assert has(conn, user) == ("migrated" if ends == "commit" else "waiting", 25, 10)
    assert faults(conn) == []


def test_a_migration_of_someone_who_has_just_opened_an_account(database, conn):
    """The old system's webhook made a customer of them meanwhile: they get the difference, and no second month."""
    user = uuid4()
    with database.connect(autocommit=False) as one, database.connect() as other:
        assert one.execute(OPEN, [user]).fetchone().balance == 5
        old_user(conn, user=user)
        with in_background(other, MIGRATE, user) as waiting:
            wait_until_blocked(conn, other)
            one.commit()
            late = outcome(waiting)
    assert (late.outcome, late.tier_credits, late.balance) == ("migrated", 20, 25)
    assert has(conn, user) == ("migrated", 25, 0)
    assert faults(conn) == []


# Moves.


def test_migrations_of_the_same_users_in_any_order(database, conn):
    """No deadlock, and each of them moves once."""
    users = [old_user(conn, number) for number in range(24)]

    def mover(seed: int) -> Callable[[psycopg.Connection], list[Any]]:
        dice = random.Random(seed)

        def run(session: psycopg.Connection) -> list[Any]:
            results = []
            for _ in range(6):
                some = dice.sample(users, 8)
                results += session.execute("select * from billing.migrate_users(%s)", [some]).fetchall()
            return results

        return run

    results = together(database, [mover(seed) for seed in range(6)], role="postgres")
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    moved = [row.user_id for rows in results for row in rows if row.outcome == "migrated"]
    assert len(moved) == len(set(moved))
    assert {row.outcome for rows in results for row in rows} == {"migrated", "already_migrated"}
    conn.execute("select billing.migrate_users(%s)", [users])
    for number, user in enumerate(users):
        assert has(conn, user) == ("migrated", 25, number)
    assert faults(conn) == []


def test_two_migrations_that_wait_for_each_others_users(database, conn):
    """They lock in one order, whatever the order of the names: the second waits, and finds it done."""
    users = sorted(old_user(conn, 5) for _ in range(3))
    migrate = "select array_agg(outcome order by user_id) as outcomes from billing.migrate_users(%s)"
    with overtaken(database, conn, (migrate, users), (migrate, users[::-1])) as (first, late):
        assert first.outcomes == ["migrated"] * 3
        assert late.outcomes == ["already_migrated"] * 3
    assert [has(conn, user) for user in users] == [("migrated", 25, 5)] * 3


def test_a_user_who_is_new_while_a_migration_waits(database, conn):
    """It waits for somebody else, and meets a stranger's first calls after that: none of them is overlooked."""
    other, stranger = uuid4(), uuid4()
    conn.execute(OPEN, [other])
    with (
        database.connect(autocommit=False) as holder,
        database.connect(autocommit=False) as caller,
        database.connect() as mover,
    ):
        holder.execute(ROLL_BACK, [other])
        with in_background(mover, "select billing.migrate_users(array[%s, %s]::uuid[])", other, stranger) as moving:
            wait_until_blocked(conn, mover)
            conn.execute(TRACK, [stranger, 1])
            caller.execute(TRACK, [stranger, 2])
            holder.rollback()
            wait_until_ended_or_blocked(conn, mover, moving, by=caller)
            caller.commit()
            outcome(moving)
    assert has(conn, stranger)[1:] == (2, 0)
    assert faults(conn) == []


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_rollback_that_waits_for_a_migration(database, conn, ends):
    """It takes back what the migration brought, or finds a user who was never here."""
    user = old_user(conn, 10)
    with overtaken(database, conn, (MIGRATE, user), (ROLL_BACK, user), ends) as (_, late):
        if ends == "commit":
            assert (late.outcome, late.monthly_left, late.bought_credit) == ("rolled_back", 25, 10)
        else:
            assert (late.outcome, late.problem) == ("refused", "not_migrated")
    assert has(conn, user) == ("rolled_back" if ends == "commit" else "waiting", 25, 10)
    assert faults(conn) == []


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_migration_that_waits_for_a_rollback(database, conn, ends):
    """It brings back what the rollback handed over, or finds that the user is here."""
    user = migrated_user(conn, 10)
    with overtaken(database, conn, (ROLL_BACK, user), (MIGRATE, user), ends) as (_, late):
        assert late.outcome == ("migrated" if ends == "commit" else "already_migrated")
        assert (late.tier_credits, late.bought_credit, late.balance) == (25, 10, 35)
    assert has(conn, user) == ("migrated", 25, 10)
    assert faults(conn) == []


def test_moves_there_and_back_at_once(database, conn):
    """Wherever the last one has left a user, nothing was lost or doubled on the way."""
    users = [old_user(conn, number) for number in range(8)]

    def mover(seed: int) -> Callable[[psycopg.Connection], None]:
        dice = random.Random(seed)

        def run(session: psycopg.Connection) -> None:
            for _ in range(8):
                move = dice.choice(["migrate_users", "rollback_users"])
                session.execute(f"select billing.{move}(%s)", [dice.sample(users, 4)])

        return run

    results = together(database, [mover(seed) for seed in range(5)], role="postgres")
    assert results == [None] * 5
    for number, user in enumerate(users):
        assert has(conn, user)[1:] == (25, number)
    assert faults(conn) == []


# A rollback, and what spends.

SPENT: dict[str, tuple[Callable[[psycopg.Connection, UUID], Call], int]] = {
    "a deduction": (lambda conn, user: (DEDUCT, user, 3), 3),
    "a call by tokens": (lambda conn, user: (TOKENS_KEYED, user, 3, "k"), 3),
    "a capture": (
        lambda conn, user: (CAPTURE, user, conn.execute(HOLD, [user, 5]).fetchone().hold_id, 3),
        3,
    ),
    "a hold": (lambda conn, user: (HOLD, user, 3), 0),
    "an adjustment": (
        lambda conn, user: ("select * from billing.adjust_credits(%s, %s, -3, 'a race')", new_admin(conn), user),
        3,
    ),
}


def test_a_rollback_that_waits_for_what_spends(database, conn):
    """It hands over what is left; a call that was paid for is usage there, a hold is nothing."""
    for spent, (made, cost) in SPENT.items():
        user = migrated_user(conn, 10)
        with overtaken(database, conn, made(conn, user), (ROLL_BACK, user)) as (first, late):
            assert first.success
            assert (late.outcome, late.monthly_left, late.bought_credit) == ("rolled_back", 25 - cost, 10), spent
        assert has(conn, user) == ("rolled_back", 25 - cost, 10), spent
        assert used(conn, user) == (0 if spent == "an adjustment" else cost), spent
        assert conn.execute(MIGRATE, [user]).fetchone().balance == 35 - cost, spent
    assert faults(conn) == []


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_what_spends_that_waits_for_a_rollback(database, conn, ends):
    """It is refused without a trace and told where the user is; or pays, when the rollback came to nothing."""
    for spent, (made, cost) in SPENT.items():
        user = migrated_user(conn, 10)
        with overtaken(database, conn, (ROLL_BACK, user), made(conn, user), ends) as (_, late):
            assert raised(late) == ("not_migrated" if ends == "commit" else None), spent
        if ends == "commit":
            assert has(conn, user) == ("rolled_back", 25, 10), spent
        else:
            assert sum(has(conn, user)[1:]) == 35 - (3 if spent == "a hold" else cost), spent
    assert faults(conn) == []


def test_a_batch_that_waits_for_a_rollback(database, conn):
    """The item of the user who has gone is refused by name; the others are paid."""
    gone, here = migrated_user(conn, 10), migrated_user(conn, 10)
    batch = """select array_agg(reason) as reasons
               from billing.deduct_credits_batch(jsonb_build_array(
                   jsonb_build_object('user_id', %s::uuid, 'amount', '3'),
                   jsonb_build_object('user_id', %s::uuid, 'amount', '3')
               ))"""
    with overtaken(database, conn, (ROLL_BACK, gone), (batch, gone, here)) as (_, late):
        assert late.reasons == ["not_migrated", None]
    assert (has(conn, gone), has(conn, here)) == (("rolled_back", 25, 10), ("migrated", 22, 10))


def test_a_rollback_and_a_call_of_the_old_system(database, conn):
    """Whoever is first: the call is usage in the old system, once, and its retry finds it there."""
    user = migrated_user(conn, 10)
    with overtaken(database, conn, (TRACK_KEYED, user, 3, "k"), (ROLL_BACK, user)) as (call, late):
        assert call.migrated
        assert (late.monthly_left, late.usage_records) == (22, 1)
    other = migrated_user(conn, 10)
    with overtaken(database, conn, (ROLL_BACK, other), (TRACK_KEYED, other, 3, "k")) as (late, call):
        assert (late.usage_records, call.success, call.migrated) == (0, True, False)
    for each in (user, other):
        assert has(conn, each) == ("rolled_back", 22, 10)
        assert conn.execute(TRACK_KEYED, [each, 3, "k"]).fetchone().replayed
        assert (has(conn, each), used(conn, each)) == (("rolled_back", 22, 10), 3)
        conn.execute(MIGRATE, [each])
        assert conn.execute(TRACK_KEYED, [each, 3, "k"]).fetchone().replayed
        assert conn.execute(TOKENS_KEYED, [user, 3, "k"]).fetchone().replayed
        assert (has(conn, each), used(conn, each)) == (("migrated", 22, 10), 3)
    assert faults(conn) == []


# Stripe, and a user who moves.

NEWS: dict[str, tuple[Callable[[psycopg.Connection, stripe.JSON], Call], int]] = {
    "a payment": (lambda conn, intent: (APPLY, stored(conn, "payment_intent.succeeded", intent)), 150),
    "its completion": (
        lambda conn, intent: (COMPLETE, intent["metadata"]["purchase_id"], stripe.Jsonb(intent)),
        150,
    ),
}


def buyer_who_pays(conn: psycopg.Connection) -> tuple[UUID, stripe.JSON]:
    """A user with 50 credits, and a payment of 100 that Stripe has not told of."""
    user = stripe.new_buyer(conn, 50)
    return user, stripe.payment_intent(stripe.new_purchase(conn, user))


@pytest.mark.parametrize("first", ["news", "move"])
@pytest.mark.parametrize("news", NEWS)
def test_a_payment_and_a_rollback(database, conn, news, first):
    """What was paid for is where the user is: handed over with the rest, or forwarded after it."""
    made, worth = NEWS[news]
    user, intent = buyer_who_pays(conn)
    both = [made(conn, intent), (ROLL_BACK, user)]
    with overtaken(database, conn, *(both if first == "news" else both[::-1])) as (_, late):
        assert raised(late) is None
    assert has(conn, user) == ("rolled_back", 0, worth)
    assert [row.status for row in conn.execute("select * from billing.legacy_purchases(%s)", [user])] == ["completed"]
    assert conn.execute(BUY, [user, 100, 10000, intent["id"]]).fetchone().replayed
    assert conn.execute(MIGRATE, [user]).fetchone().balance == worth
    assert faults(conn) == []


@pytest.mark.parametrize("first", ["news", "move"])
@pytest.mark.parametrize("news", NEWS)
def test_a_payment_and_a_migration_of_one_who_was_moved_back(database, conn, news, first):
    """Both lock the user's migration before the account: no deadlock, and what was paid for is on the account."""
    made, worth = NEWS[news]
    user, intent = buyer_who_pays(conn)
    conn.execute(ROLL_BACK, [user])
    both = [made(conn, intent), (MIGRATE, user)]
    with overtaken(database, conn, *(both if first == "news" else both[::-1])) as (_, late):
        assert raised(late) is None
    assert has(conn, user) == ("migrated", 0, worth)
    assert faults(conn) == []


@pytest.mark.parametrize("first", ["migration", "dispute"])
def test_a_dispute_of_an_old_payment_and_the_migration_of_its_user(database, conn, first):
    """Whichever comes first: the account of a disputed payment is frozen."""
    user = old_user(conn, bought=10)
    payment = conn.execute("select stripe_payment_intent_id from legacy_billing.legacy_purchases").fetchone()[0]
    dispute = ("select billing.record_stripe_object(%s)", stripe.Jsonb(stripe.dispute(payment, 1000)))
    calls = [(MIGRATE, user), dispute] if first == "migration" else [dispute, (MIGRATE, user)]
    with overtaken(database, conn, *calls):
        pass
    account = conn.execute("select status from billing.get_account(%s)", [user]).fetchone()
    assert account.status == "frozen"
    assert faults(conn) == []


@pytest.mark.parametrize("lost", [False, True], ids=["a refund", "a lost dispute"])
@pytest.mark.parametrize("first", ["news", "move"])
def test_credits_taken_back_and_a_rollback(database, conn, first, lost):
    """They are taken from the account before it is handed over, and from the old system's credit after that."""
    user = stripe.new_buyer(conn)
    intent = stripe.new_payment(conn, user)
    conn.execute("select billing.grant_credits(%s, 50, 'promotion')", [user])
    event = (
        stored(conn, "charge.dispute.closed", stripe.dispute(intent, 10000, status="lost"))
        if lost
        else stored(conn, "refund.created", stripe.refund(intent, 10000))
    )
    both = [(APPLY, event), (ROLL_BACK, user)]
    with overtaken(database, conn, *(both if first == "news" else both[::-1])) as (_, late):
        assert raised(late) is None
    assert has(conn, user) == ("rolled_back", 0, 50)
    assert conn.execute("select debt from billing.credit_accounts where user_id = %s", [user]).fetchone().debt == 0
    conn.execute(MIGRATE, [user])
    assert has(conn, user)[1:] == (0, 50)
    assert faults(conn) == []


def test_payments_of_one_who_moves_there_and_back(database, conn):
    """No deadlock; in the end all that was paid for is on the account, once."""
    user = stripe.new_buyer(conn, 50)
    intents = [stripe.payment_intent(stripe.new_purchase(conn, user, 10)) for _ in range(12)]
    events = [stored(conn, "payment_intent.succeeded", intent) for intent in intents]
    sessions = [stored(conn, "checkout.session.completed", stripe.checkout_session(intent)) for intent in intents]

    def move(session: psycopg.Connection) -> None:
        for number in range(10):
            session.execute(MIGRATE if number % 2 else ROLL_BACK, [user])

    jobs = [job for event_id in events + sessions for job in calls(APPLY, event_id)]
    results = together(database, [*jobs, move, move], role="postgres")
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert conn.execute("select from billing.stripe_events where status <> 'processed'").rowcount == 0
    conn.execute(MIGRATE, [user])
    assert has(conn, user) == ("migrated", 0, 170)
    assert faults(conn) == []


# Snapshots.

STRICT = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]
# What is done while a transaction with an older snapshot waits, what that does then, and what must come of both.
OVERLOOKED = [
    ("track", "migrate", ("migrated", 22, 10)),
    ("track above", "migrate", ("migrated", 0, 5)),
    ("direct", "migrate", ("migrated", 22, 10)),
    ("migrate", "track", ("migrated", 22, 10)),
    ("migrate", "direct", ("migrated", 25, 10)),
    ("track above", "track", ("waiting", 0, 2)),
    ("track", "track above", ("waiting", 0, 2)),
    ("buy", "migrate", ("migrated", 25, 17)),
    ("buy", "track above", ("waiting", 0, 12)),
    ("migrate", "buy", ("migrated", 25, 17)),
    ("migrate", "roll back", ("rolled_back", 25, 10)),
]


def commit(session: psycopg.Connection, call: Call) -> psycopg.Error | None:
    """Make a call and commit it; what came instead, if it failed."""
    try:
        session.execute(call[0], call[1:])
        session.commit()
    except psycopg.Error as error:
        session.rollback()
        return error
    return None


@pytest.mark.parametrize("known", [False, True], ids=["never locked", "locked before"])
@pytest.mark.parametrize("level", STRICT, ids=lambda level: level.name.lower())
def test_a_caller_with_an_older_snapshot(database, conn, level, known):
    """It is told to try again, or sees what was done since: no call is lost, and none is paid twice."""
    for meanwhile, then, result in OVERLOOKED:
        user = old_user(conn, 10)
        if not known:
            conn.execute("delete from billing.user_migrations where user_id = %s", [user])
        made: dict[str, Call] = {
            "track": (TRACK, user, 3),
            "track above": (TRACK, user, 30),
            "direct": (DIRECT["a call"][1], user),
            "buy": (BUY, user, 7, 700, f"pi_{user}"),
            "migrate": (MIGRATE, user),
            "roll back": (ROLL_BACK, user),
        }
        with database.connect(autocommit=False) as late:
            late.isolation_level = level
            late.execute("select 1")
            conn.execute(made[meanwhile][0], made[meanwhile][1:])
            error = commit(late, made[then])
        if isinstance(error, errors.SerializationFailure):
            error = commit(conn, made[then])
        assert raised(error) == ("already_migrated" if then == "direct" else None), (meanwhile, then)
        assert has(conn, user) == result, (meanwhile, then)
    assert faults(conn) == []


def test_a_reader_at_any_moment_of_a_move(database, conn):
    """All that a user has is told by one system, and by one only, whichever reads are asked."""
    user = old_user(conn, 10)
    stop = Event()

    def read(level: IsolationLevel) -> Callable[[psycopg.Connection], set[Any]]:
        def run(session: psycopg.Connection) -> set[Any]:
            session.isolation_level = level
            seen = set()
            while not stop.is_set():
                with session.transaction():
                    seen.add(told(session))
            return seen

        def told(session: psycopg.Connection) -> Any:
            row = session.execute(
                """select m.status, c.migrated, c.remaining, c.bought_credit, b.balance, b.total_purchased,
                       b.migrated as also_migrated, s.migrated as here
                   from billing.get_migration(%(user)s) m, billing.legacy_check(%(user)s) c,
                       billing.legacy_credit_balance(%(user)s) b, billing.legacy_subscription(%(user)s) s""",
                {"user": user},
            ).fetchone()
            assert row.migrated == row.also_migrated == row.here == (row.status == "migrated")
            assert (row.remaining, row.bought_credit, row.balance, row.total_purchased) == (25, 10, 10, 10)
            checked = unless_refused(session, "select * from billing.check_credits(%s)", user)
            available = checked and checked.available
            assert available in (None, 35)
            # In one snapshot, it is the system that the others name.
            assert level == IsolationLevel.READ_COMMITTED or (available is not None) == row.migrated
            return row.status, available is not None

        return run

    def move(session: psycopg.Connection) -> set[Any]:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            session.execute(MIGRATE, [user])
            session.execute(ROLL_BACK, [user])
        stop.set()
        return set()

    readers = [read(IsolationLevel.READ_COMMITTED), read(IsolationLevel.REPEATABLE_READ)]
    one, other, _ = together(database, [*readers, move], role="postgres")
    assert {("migrated", True), ("rolled_back", False)} <= other <= one | other
    assert faults(conn) == []


# Everything.


class Caller:
    """A session that calls for some users in whichever way, and tries again until a call is acknowledged."""

    def __init__(self, seed: int, users: list[UUID], stop: Event) -> None:
        self.dice = random.Random(seed)
        self.seed, self.users, self.stop = seed, users, stop
        self.used = dict.fromkeys(users, 0)
        self.bought = dict.fromkeys(users, 0)

    def __call__(self, session: psycopg.Connection) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            user, key = self.dice.choice(self.users), f"{self.seed}/{number}"
            self.dice.choice([self.track, self.track, self.deduct, self.deduct, self.buy])(session, user, key)

    def track(self, session: psycopg.Connection, user: UUID, key: str, replayed: bool = False) -> None:
        """By the old way; half of the calls are made again under their key, as if no answer had come."""
        for again in [replayed, *[True] * self.dice.randint(0, 1)]:
            row = session.execute(TRACK_KEYED, [user, 1, key]).fetchone()
            assert (row.success, row.replayed) == (True, again)
        self.used[user] += not replayed

    def deduct(self, session: psycopg.Connection, user: UUID, key: str) -> None:
        """By the new way; who is told that the user is not there goes the old way, with the same key."""
        paid = unless_refused(session, TOKENS_KEYED, user, 1, key)
        if paid is not None:
            assert paid.success
            self.used[user] += 1
        self.track(session, user, key, replayed=paid is not None)

    def buy(self, session: psycopg.Connection, user: UUID, key: str) -> None:
        for again in [False, *[True] * self.dice.randint(0, 1)]:
            assert session.execute(BUY, [user, 2, 200, f"pi_{key}"]).fetchone().replayed == again
        self.bought[user] += 2


def test_traffic_on_both_systems_while_all_users_move(database, conn):
    """There, back, and there again, in small batches: each call counts once, and the money follows its user."""
    users = [old_user(conn, 20) for _ in range(40)]
    stop = Event()
    callers = [Caller(seed, users, stop) for seed in range(4)]

    def run(caller: Caller) -> Callable[[psycopg.Connection], None]:
        def until_it_ends(session: psycopg.Connection) -> None:
            try:
                caller(session)
            finally:
                stop.set()

        return until_it_ends

    def move(session: psycopg.Connection) -> None:
        dice = random.Random(0)
        try:
            for name in ("migrate_users", "rollback_users", "migrate_users"):
                order = dice.sample(users, len(users))
                for start in range(0, len(order), 4):
                    if stop.is_set():
                        return
                    session.execute(f"select billing.{name}(%s)", [order[start : start + 4]])
                    time.sleep(0.03)
        finally:
            stop.set()

    results = together(database, [*map(run, callers), move], role="postgres")
    assert results == [None] * 5
    made = 0
    for user in users:
        calls_made = sum(caller.used[user] for caller in callers)
        paid = sum(caller.bought[user] for caller in callers)
        status, left, credit = has(conn, user)
        assert (status, used(conn, user)) == ("migrated", calls_made)
        assert left + credit == 45 + paid - calls_made
        told = conn.execute("select * from billing.legacy_credit_balance(%s)", [user]).fetchone()
        assert told.total_purchased == 20 + paid
        made += calls_made
    assert made > len(users)
    assert faults(conn) == []
