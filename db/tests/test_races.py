"""Races: real sessions at the same time, and what they leave behind."""

import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from db.tests.sessions import (
    account,
    calls,
    entries,
    findings,
    in_background,
    new_account,
    new_admin,
    outcome,
    together,
    wait_until_blocked,
)

DEDUCT = "select * from billing.deduct_credits(%s, %s)"
BATCH = "select * from billing.deduct_credits_batch(%s)"
REVERSE = "select * from billing.reverse_entry(%s, %s, %s, 'a race')"
ADJUST = "select * from billing.adjust_credits(%s, %s, %s, 'a race')"


def error_name(error: Any) -> str | None:
    """The name of an exception of the SQL API."""
    return error.diag.message_primary if isinstance(error, psycopg.Error) else None


def call(session: psycopg.Connection, query: str, *parameters: Any, unless: Sequence[str] = ()) -> Any:
    """The row of a call; None if it raised one of the exceptions with these names."""
    try:
        return session.execute(query, parameters).fetchone()
    except psycopg.Error as error:
        if error_name(error) not in unless:
            raise
        return None


def test_100_deductions_of_1_from_50(database, conn):
    """50 succeed, 50 are refused and leave an entry of 0, nothing is left, and no number is missing."""
    user = new_account(conn, 50)
    results = together(database, calls(DEDUCT, user, 1, times=100))
    assert sorted((row.success, row.reason) for row in results) == (
        [(False, "insufficient_credits")] * 50 + [(True, None)] * 50
    )
    assert account(conn, user).balance == 0
    usage = entries(conn, user, "usage")
    assert sorted(entry.amount for entry in usage) == [-1] * 50 + [0] * 50
    assert sorted(row.entry_no for row in results) == [entry.entry_no for entry in usage] == list(range(2, 102))
    assert findings(conn) == []


HOLD = "select hold_id from billing.hold_credits(%(user)s, 2)"
TAKE = "select entry_no from billing.deduct_credits(%(user)s, 2)"


@pytest.mark.parametrize(
    ("setup", "call", "moved", "held"),
    [
        (None, "deduct_credits(%(user)s, 2, p_idempotency_key => 'k')", "-2", 0),
        (None, "deduct_tokens(%(user)s, 'gpt-5', 1000, 1000, p_idempotency_key => 'k')", "-0.016875", 0),
        (None, "grant_credits(%(user)s, 2, 'promotion', p_idempotency_key => 'k')", "2", 0),
        (None, "hold_credits(%(user)s, 2, p_idempotency_key => 'k')", "0", 2),
        (HOLD, "capture_hold(%(user)s, %(hold_id)s, 2, p_idempotency_key => 'k')", "-2", 0),
        (None, "adjust_credits(%(admin)s, %(user)s, -2, 'a race', 'k')", "-2", 0),
        (None, "admin_grant_credits(%(admin)s, %(user)s, 2, 'a race', p_idempotency_key => 'k')", "2", 0),
        (TAKE, "reverse_entry(%(admin)s, %(user)s, %(entry_no)s, 'a race', 'k')", "2", 0),
    ],
    ids=lambda value: value.split("(")[0] if "=>" in str(value) or "'k'" in str(value) else "",
)
def test_one_key_from_20_sessions(database, conn, setup, call, moved, held):
    """One effect and 19 replays of it, all with the same answer."""
    named: dict[str, Any] = {"user": new_account(conn, 10), "admin": new_admin(conn)}
    if setup:
        named |= conn.execute(setup, named).fetchone()._asdict()
    before = account(conn, named["user"])
    query = f"select * from billing.{call}"
    results = together(database, [lambda session: session.execute(query, named).fetchone()] * 20)
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert sorted(result.replayed for result in results) == [False] + [True] * 19
    assert len({(getattr(result, "entry_no", None), getattr(result, "hold_id", None)) for result in results}) == 1
    after = account(conn, named["user"])
    assert (after.balance - before.balance, after.held) == (Decimal(moved), held)
    assert after.entry_count == before.entry_count + (held == 0)
    assert findings(conn) == []


def test_batches_in_opposite_orders(database, conn):
    """Whatever the order of the items and the case of the ids, no batch waits for one that waits for it."""
    users = [new_account(conn, 1000, UUID((first + second) * 16)) for first in "abcdef" for second in "af"]
    sessions, rounds = 8, 12

    def batches(seed: int) -> Callable[[psycopg.Connection], list[Any]]:
        dice = random.Random(seed)

        def run(session: psycopg.Connection) -> list[Any]:
            results = []
            for turn in range(rounds):
                # As text the ids sort otherwise in every batch: some of them are in capitals, never the same ones.
                items = [
                    {"user_id": dice.choice([str.upper, str.lower])(str(user)), "amount": "0.5"}
                    for user in users[:: 1 if (seed + turn) % 2 else -1]
                ]
                results += session.execute(BATCH, [json.dumps(items)]).fetchall()
            return results

        return run

    results = together(database, [batches(seed) for seed in range(sessions)])
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert all(row.success and row.amount == Decimal("0.5") for rows in results for row in rows)
    assert {account(conn, user).balance for user in users} == {1000 - sessions * rounds * Decimal("0.5")}
    assert findings(conn) == []


class Player:
    """A session that makes random calls, and adds up what it is told that they moved."""

    def __init__(self, seed: int, users: list[UUID], admins: list[UUID]) -> None:
        self.dice = random.Random(seed)
        self.users, self.admins = users, admins
        self.moved = dict.fromkeys(users, Decimal(0))

    def __call__(self, session: psycopg.Connection) -> dict[UUID, Decimal]:
        moves = [self.grant, self.deduct, self.batch, self.hold, self.adjust, self.reverse, self.set_role]
        for _ in range(40):
            amount = Decimal(self.dice.randint(1, 300)) / 100
            self.dice.choice(moves)(session, self.dice.choice(self.users), amount)
        return self.moved

    def grant(self, session: psycopg.Connection, user: UUID, amount: Decimal) -> None:
        """For some milliseconds: one that waits too long for its turn finds its own expiry past."""
        query = "select * from billing.grant_credits(%s, %s, 'promotion', p_expires_at => clock_timestamp() + %s)"
        lifetime = timedelta(milliseconds=self.dice.randint(5, 60))
        if row := call(session, query, user, amount, lifetime, unless=["expiry_not_ahead"]):
            self.moved[user] += row.amount

    def deduct(self, session: psycopg.Connection, user: UUID, amount: Decimal) -> None:
        self.moved[user] -= call(session, DEDUCT, user, amount).amount

    def batch(self, session: psycopg.Connection, user: UUID, amount: Decimal) -> None:
        order = self.dice.sample(self.users, len(self.users))
        items = [{"user_id": str(each), "amount": str(amount)} for each in order]
        for each, row in zip(order, session.execute(BATCH, [json.dumps(items)]), strict=True):
            self.moved[each] -= row.amount

    def hold(self, session: psycopg.Connection, user: UUID, amount: Decimal) -> None:
        """For some milliseconds; then captured, perhaps late, or released, or forgotten."""
        lifetime = timedelta(milliseconds=self.dice.randint(2, 40))
        hold = call(session, "select * from billing.hold_credits(%s, %s, %s)", user, amount, lifetime)
        end = self.dice.choice(["capture", "capture", "release", "forget"])
        if hold.success and end == "capture":
            cost = amount * self.dice.choice([Decimal("0.5"), 1, 2])
            row = call(session, "select * from billing.capture_hold(%s, %s, %s)", user, hold.hold_id, cost)
            self.moved[user] -= row.amount
        elif hold.success and end == "release":
            call(session, "select * from billing.release_hold(%s, %s)", user, hold.hold_id)

    def adjust(self, session: psycopg.Connection, user: UUID, amount: Decimal) -> None:
        signed = amount * self.dice.choice([-1, 1])
        self.moved[user] += call(session, ADJUST, self.dice.choice(self.admins), user, signed).amount

    def reverse(self, session: psycopg.Connection, user: UUID, amount: Decimal) -> None:
        """The newest usage, which others may be about to reverse."""
        last = call(session, "select * from billing.list_entries(%s, p_limit => 1, p_type => 'usage')", user)
        refusals = ["already_reversed", "entry_not_reversible"]
        number = last.entry_no if last else 1
        if row := call(session, REVERSE, self.dice.choice(self.admins), user, number, unless=refusals):
            self.moved[user] += row.amount

    def set_role(self, session: psycopg.Connection, user: UUID, amount: Decimal) -> None:
        one, other = self.dice.choice(self.admins), self.dice.choice(self.admins)
        call(session, "select * from billing.set_user_role(%s, %s, 'super_admin')", one, other)


def test_everything_at_once(database, conn):
    """Grants, deductions, batches, holds, captures, releases, expiries and admins: no deadlock, and the sums hold."""
    users = [new_account(conn, 20) for _ in range(3)]
    admins = [new_admin(conn) for _ in range(2)]

    def auditor(session: psycopg.Connection) -> list[Any]:
        return [row for _ in range(8) for row in session.execute("select * from billing.verify_ledger()").fetchall()]

    *moved, seen = together(database, [*[Player(seed, users, admins) for seed in range(8)], auditor])
    assert [result for result in moved if isinstance(result, psycopg.Error)] == []
    assert seen == []
    lapsed = {user: sum((entry.amount for entry in entries(conn, user, "expiry")), Decimal(0)) for user in users}
    assert any(lapsed.values())
    for user in users:
        stored = conn.execute("select balance from billing.credit_accounts where user_id = %s", [user]).fetchone()
        assert stored.balance == 20 + sum(each[user] for each in moved) + lapsed[user]
    assert findings(conn) == []


def test_a_second_deduction_waits_and_is_refused(database, conn):
    """It sees what the first one left, not what was there when it started."""
    user = new_account(conn, 10)
    with database.connect("billing_api", autocommit=False) as first, database.connect("billing_api") as second:
        assert first.execute(DEDUCT, [user, 7]).fetchone().success
        with in_background(second, DEDUCT, user, 7) as waiting:
            wait_until_blocked(conn, second)
            first.commit()
            refused = outcome(waiting)
    assert (refused.success, refused.reason, refused.balance_after) == (False, "insufficient_credits", 3)
    assert [entry.amount for entry in entries(conn, user)] == [10, -7, 0]


def test_a_second_deduction_waits_and_succeeds_after_a_rollback(database, conn):
    """What was rolled back is there to spend."""
    user = new_account(conn, 10)
    with database.connect("billing_api", autocommit=False) as first, database.connect("billing_api") as second:
        assert first.execute(DEDUCT, [user, 7]).fetchone().success
        with in_background(second, DEDUCT, user, 7) as waiting:
            wait_until_blocked(conn, second)
            first.rollback()
            done = outcome(waiting)
    assert (done.success, done.entry_no, done.balance_after) == (True, 2, 3)
    assert [entry.amount for entry in entries(conn, user)] == [10, -7]


def test_a_key_whose_first_call_is_not_committed_yet(database, conn):
    """The retry waits, then replays; another amount under the key waits, then is refused."""
    user = new_account(conn, 10)
    query = "select * from billing.deduct_credits(%s, %s, p_idempotency_key => 'k')"
    for amount, name in [(4, None), (5, "idempotency_key_reused")]:
        with database.connect("billing_api", autocommit=False) as first, database.connect("billing_api") as second:
            first.execute(query, [user, 4])
            with in_background(second, query, user, amount) as waiting:
                wait_until_blocked(conn, second)
                first.commit()
                if name is None:
                    assert outcome(waiting).replayed
                else:
                    with pytest.raises(psycopg.Error) as refused:
                        outcome(waiting)
                    assert error_name(refused.value) == name
    assert account(conn, user).balance == 6


def test_capture_and_release_of_one_hold(database, conn):
    """Whoever comes second finds the hold ended: a release changes nothing, a capture collects again."""
    user = new_account(conn, 10)
    hold = conn.execute("select * from billing.hold_credits(%s, 4)", [user]).fetchone().hold_id
    capture = "select * from billing.capture_hold(%s, %s, 4)"
    release = "select * from billing.release_hold(%s, %s)"
    with database.connect("billing_api", autocommit=False) as first, database.connect("billing_api") as second:
        first.execute(capture, [user, hold])
        with in_background(second, release, user, hold) as waiting:
            wait_until_blocked(conn, second)
            first.commit()
            assert outcome(waiting).status == "captured"
        assert (account(conn, user).balance, account(conn, user).held) == (6, 0)
        other = conn.execute("select * from billing.hold_credits(%s, 4)", [user]).fetchone().hold_id
        first.execute(release, [user, other])
        with in_background(second, capture, user, other) as waiting:
            wait_until_blocked(conn, second)
            first.commit()
            assert outcome(waiting).success
    assert (account(conn, user).balance, account(conn, user).held) == (2, 0)
    assert findings(conn) == []


def test_one_hold_captured_by_20_sessions(database, conn):
    """Once; the others are told that it has ended."""
    user = new_account(conn, 100)
    hold = conn.execute("select * from billing.hold_credits(%s, 4)", [user]).fetchone().hold_id
    results = together(database, calls("select * from billing.capture_hold(%s, %s, 4)", user, hold, times=20))
    assert sorted(map(str, map(error_name, results))) == ["None"] + ["hold_not_active"] * 19
    assert account(conn, user).balance == 96


def test_a_second_reversal_waits_and_is_refused(database, conn):
    """It looks for the first one only when that is committed."""
    user, admins = new_account(conn, 10), [new_admin(conn), new_admin(conn)]
    number = conn.execute(DEDUCT, [user, 4]).fetchone().entry_no
    with database.connect("billing_api", autocommit=False) as first, database.connect("billing_api") as second:
        first.execute(REVERSE, [admins[0], user, number])
        with in_background(second, REVERSE, admins[1], user, number) as waiting:
            wait_until_blocked(conn, second)
            first.commit()
            with pytest.raises(psycopg.Error, match="already_reversed"):
                outcome(waiting)
    assert account(conn, user).balance == 10
    assert findings(conn) == []


def test_entries_reversed_by_20_sessions(database, conn):
    """Each once; the others are told by name that they came second."""
    user, admin = new_account(conn, 10), new_admin(conn)
    numbers = [conn.execute(DEDUCT, [user, 1]).fetchone().entry_no for _ in range(8)]

    def reverse_all(session: psycopg.Connection) -> list[Any]:
        return [call(session, REVERSE, admin, user, number, unless=["already_reversed"]) for number in numbers]

    results = together(database, [reverse_all] * 20)
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert [sum(row is not None for row in rows) for rows in zip(*results, strict=True)] == [1] * 8
    assert account(conn, user).balance == 10
    assert findings(conn) == []


def test_an_account_opened_by_20_sessions(database, conn):
    """One account, one grant of its tier, and the same answer for all."""
    user = uuid4()
    results = together(database, calls("select * from billing.open_account(%s, 'tier_2_20')", user, times=20))
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert {(row.user_id, row.balance, row.entry_count) for row in results} == {(user, 25, 1)}
    assert [(entry.type, entry.amount) for entry in entries(conn, user)] == [("tier_grant", 25)]


def test_two_super_admins_demote_each_other(database, conn):
    """One of them remains."""
    query = "select * from billing.set_user_role(%s, %s, 'user')"
    for _ in range(8):
        conn.execute("delete from billing.user_roles")
        one, other = new_admin(conn), new_admin(conn)
        results = together(database, [*calls(query, one, other), *calls(query, other, one)])
        assert sorted((row.success, row.reason) for row in results) == [(False, "not_a_super_admin"), (True, None)]
        assert conn.execute("select from billing.user_roles where role = 'super_admin'").rowcount == 1


def test_the_last_two_super_admins_step_down_together(database, conn):
    """One of them may not."""
    query = "select * from billing.set_user_role(%s, %s, 'user')"
    for _ in range(8):
        conn.execute("delete from billing.user_roles")
        one, other = new_admin(conn), new_admin(conn)
        results = together(database, [*calls(query, one, one), *calls(query, other, other)])
        assert sorted((row.success, row.reason) for row in results) == [(False, "last_super_admin"), (True, None)]


def test_a_daily_limit_raced_on_different_accounts(database, conn):
    """An admin's sessions together never pass the limit: it is kept in the one row that all of them lock."""
    admin = new_admin(conn, "admin")
    users = [new_account(conn, 500) for _ in range(20)]
    results = together(
        database,
        [job for number, user in enumerate(users) for job in calls(ADJUST, admin, user, [400, -400][number % 2])],
    )
    assert sorted((row.success, row.reason) for row in results) == (
        [(False, "admin_limit_exceeded")] * 8 + [(True, None)] * 12
    )
    moved = conn.execute("select abs(amount) as amount from billing.credit_ledger where actor = %s", [admin]).fetchall()
    kept = conn.execute("select day_total from billing.user_roles where user_id = %s", [admin]).fetchone()
    assert sum(entry.amount for entry in moved) == kept.day_total == 4800
    actions = conn.execute("select outcome from billing.admin_actions_log where admin_user_id = %s", [admin]).fetchall()
    assert sorted(action.outcome for action in actions) == ["admin_limit_exceeded"] * 8 + ["done"] * 12


def test_a_daily_limit_raced_at_midnight(database, conn, clock):
    """Actions from before midnight that wait for one from after it count with the new day, and take nothing from it."""
    admin = new_admin(conn, "admin")
    conn.execute("update billing.admin_limits set max_credit_adjustment = 5000 where role = 'admin'")
    clock.freeze(datetime(2030, 5, 1, 23, 59, 59, tzinfo=UTC))
    users = [new_account(conn, 1) for _ in range(5)]
    with (
        database.connect(autocommit=False) as first,
        database.connect("billing_api") as second,
        database.connect("billing_api") as third,
    ):
        first.execute(ADJUST, [admin, users[0], 1])
        with (
            in_background(second, ADJUST, admin, users[1], 10) as fitting,
            in_background(third, ADJUST, admin, users[2], 11) as excessive,
        ):
            wait_until_blocked(conn, second)
            wait_until_blocked(conn, third)
            clock.freeze(datetime(2030, 5, 2, 0, 0, 1, tzinfo=UTC))
            # Inside of a transaction, only a lock that it does not hold yet makes it see the replaced function.
            first.execute("lock table billing.model_prices in access share mode")
            assert first.execute(ADJUST, [admin, users[3], 4990]).fetchone().success
            first.commit()
            assert outcome(fitting).success
            assert outcome(excessive).reason == "admin_limit_exceeded"
    late = conn.execute(ADJUST, [admin, users[4], 1]).fetchone()
    assert (late.success, late.reason) == (False, "admin_limit_exceeded")


def test_an_admin_demoted_while_an_action_waits(database, conn):
    """The action sees the role that was committed, not the one from when it started."""
    boss, admin, user = new_admin(conn), new_admin(conn, "admin"), new_account(conn, 10)
    with database.connect("billing_api", autocommit=False) as first, database.connect("billing_api") as second:
        first.execute("select billing.set_user_role(%s, %s, 'user')", [boss, admin])
        with in_background(second, ADJUST, admin, user, 5) as waiting:
            wait_until_blocked(conn, second)
            first.commit()
            refused = outcome(waiting)
    assert (refused.success, refused.reason) == (False, "not_an_admin")
    assert account(conn, user).balance == 10


def test_r10_grants_and_adjustments_beside_deductions(database, conn):
    """R10: nobody writes back a balance that was read before the lock, so no concurrent movement is lost."""
    user, admin = new_account(conn, 100), new_admin(conn)
    grant = "select * from billing.grant_credits(%s, 3, 'refund')"
    jobs = [*calls(DEDUCT, user, 1, times=30), *calls(grant, user, times=10), *calls(ADJUST, admin, user, -2, times=10)]
    jobs += calls(ADJUST, admin, user, 5, times=10)
    results = together(database, jobs)
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert account(conn, user).balance == 100 - 30 + 30 - 20 + 50
    assert account(conn, user).used_total == 50
    numbers = entries(conn, user)
    assert all(after.balance_after == before.balance_after + after.amount for before, after in pairwise(numbers))
    assert findings(conn) == []


def test_r18_100_holds_on_10(database, conn):
    """R18: a hold reserves: of a hundred at once only as many pass as the balance covers."""
    user = new_account(conn, 10)
    results = together(database, calls("select * from billing.hold_credits(%s, 1)", user, times=100))
    assert sorted((row.success, row.reason) for row in results) == (
        [(False, "insufficient_credits")] * 90 + [(True, None)] * 10
    )
    after = account(conn, user)
    assert (after.balance, after.held, after.available) == (10, 10, 0)
    refused = together(database, calls(DEDUCT, user, Decimal("0.000000001"), times=5))
    assert {row.reason for row in refused} == {"insufficient_credits"}
    taken = together(
        database,
        [
            job
            for row in results
            if row.success
            for job in calls("select * from billing.capture_hold(%s, %s, 1)", user, row.hold_id)
        ],
    )
    assert [row.success for row in taken] == [True] * 10
    assert (account(conn, user).balance, account(conn, user).held) == (0, 0)
    assert findings(conn) == []


def test_r11_a_tier_changed_by_many_at_once(database, conn):
    """R11: however the changes interleave, a period's grants never exceed the amount of the highest tier."""
    user, admin = uuid4(), new_admin(conn)
    conn.execute("select billing.open_account(%s, 'free')", [user])
    query = "select * from billing.change_tier(%s, %s, %s, 'a race')"
    tiers = ["tier_6_50", "free", "tier_2_20", "tier_6_50", "tier_2_20", "free"] * 4
    results = together(database, [job for tier in tiers for job in calls(query, admin, user, tier)])
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert sum(entry.amount for entry in entries(conn, user, "tier_grant")) == 55
    assert account(conn, user).balance == 55
    assert findings(conn) == []


def test_the_same_account_under_repeatable_read(database, conn):
    """A caller with a stricter isolation gets PostgreSQL's error to retry on, never a wrong balance."""
    user = new_account(conn, 10)
    with database.connect("billing_api", autocommit=False) as strict:
        strict.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        strict.execute("select billing.get_account(%s)", [user])
        conn.execute(DEDUCT, [user, 7])
        with pytest.raises(errors.SerializationFailure):
            strict.execute(DEDUCT, [user, 7])
        strict.rollback()
        assert strict.execute(DEDUCT, [user, 7]).fetchone().reason == "insufficient_credits"
    assert account(conn, user).balance == 3
