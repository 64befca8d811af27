"""Events: each crossing of a threshold is told once, whatever the history, and told in order, whoever is at it.

What is to be told follows from the ledger alone: from the balance before each entry and after it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from threading import Lock
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from db.tests.sessions import (
    account,
    calls,
    entries,
    in_background,
    new_account,
    new_admin,
    outcome,
    run_job,
    together,
    wait_until_blocked,
)
from db.tests.test_properties import PROFILE, SMALLEST
from scripts.pytest_billing import Clock, Database

DEDUCT = "select * from billing.deduct_credits(%s, %s)"
GRANT = "select * from billing.grant_credits(%s, %s, 'promotion')"
FINISH = "select * from billing.finish_event(%s, %s)"
# Nobody's spending: not told when it takes from a balance.
SILENT = {"migration", "rollback", "debt_repayment"}


@dataclass(frozen=True)
class Thresholds:
    """Below which balances an account is told of; a low one that is not above the other is none."""

    low: Decimal
    depleted: Decimal

    def crossed(self, before: Decimal, entry: Any) -> list[tuple[str, int, Decimal, Decimal]]:
        """What an entry tells when the balance before it was that: kind, entry, balance, threshold."""
        after = entry.balance_after
        told = []
        if before >= self.low > after and self.low > self.depleted:
            told.append(("balance.low", entry.entry_no, after, self.low))
        if before >= self.depleted > after:
            told.append(("balance.depleted", entry.entry_no, after, self.depleted))
        return told

    def armed(self, balance: Decimal) -> Decimal | None:
        """Below which balance something is told next."""
        return max((limit for limit in self.limits if balance >= limit), default=None)

    @property
    def limits(self) -> list[Decimal]:
        return [self.low, self.depleted] if self.low > self.depleted else [self.depleted]


def expected(thresholds: Thresholds, before: Decimal, new: Iterable[Any], *, as_one: bool = False) -> list[Any]:
    """What entries tell, in order; taken as one, only where they lead counts."""
    told, start, entry = [], before, None
    for entry in new:
        if entry.amount > 0:
            told.append(("credits.granted", entry.entry_no, entry.balance_after, None))
        elif not as_one and entry.type not in SILENT:
            told += thresholds.crossed(before, entry)
        before = entry.balance_after
    if as_one and entry is not None:
        told += thresholds.crossed(start, entry)
    return told


def events(conn: psycopg.Connection, user: UUID) -> list[Any]:
    """The events of a user, in their order."""
    return conn.execute("select * from billing.billing_events where user_id = %s order by event_no", [user]).fetchall()


def told(rows: Iterable[Any]) -> list[Any]:
    """Events as the model has them."""

    def exact(value: Any) -> Decimal | None:
        return None if value is None else Decimal(str(value))

    return [
        (row.kind, row.payload["entry_no"], exact(row.payload["balance"]), exact(row.payload.get("threshold")))
        for row in rows
    ]


def crossings(rows: Iterable[Any]) -> list[str]:
    return [row.kind for row in rows if row.kind.startswith("balance.")]


def deliver(conn: psycopg.Connection) -> None:
    """From here on events are to be delivered."""
    conn.execute("select billing.set_job('deliver_events', p_enabled => true)")


def assert_lined_up(conn: psycopg.Connection) -> None:
    """Of each user's pending events the oldest is tried, and no other: none is stuck, and none comes too early."""
    wrong = conn.execute(
        """select user_id, event_no, next_attempt_at
           from (
               select *, row_number() over (partition by user_id order by event_no) as place
               from billing.billing_events where status = 'pending'
           ) pending
           where (place = 1) <> (next_attempt_at is not null)"""
    ).fetchall()
    assert wrong == []


cents = st.integers(1, 600).map(lambda number: Decimal(number) / 100)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), cents, st.sampled_from([None, 1, 3])),
        st.tuples(st.sampled_from(["deduct", "hold", "capture", "adjust_up", "adjust_down", "owe"]), cents, st.none()),
        st.tuples(st.just("reach"), st.sampled_from(["low", "depleted", "nothing"]), st.booleans()),
        st.tuples(
            st.just("threshold"), st.sampled_from([None, *map(Decimal, ["0", "0.005", "0.01", "0.5", "2", "10"])]),
            st.none(),
        ),
        st.tuples(
            st.sampled_from(["release", "reverse", "expire", "month", "months", "midnight"]), st.none(), st.none()
        ),
    ),
    min_size=4,
    max_size=25,
)  # fmt: skip


@pytest.fixture
def session(conn: psycopg.Connection, clock: Clock) -> psycopg.Connection:
    """A session whose clock is a setting of its own: a history moves it at every step."""
    conn.execute(
        f"create or replace function billing_private.clock() returns timestamptz language sql {clock.volatility} "
        "as 'select current_setting(''test.now'')::timestamptz'"
    )
    return conn


def test_each_crossing_is_told_once(session: psycopg.Connection) -> None:
    """Grants, spending, holds, reversals, expiry, debts, months and thresholds of one's own, in any order."""
    admin = new_admin(session)

    @settings(PROFILE, max_examples=PROFILE.max_examples * 2 // 5)
    @given(
        default=st.builds(Thresholds, st.sampled_from([Decimal(0), Decimal("0.01"), Decimal(1), Decimal(5)]),
            st.sampled_from([Decimal("0.01"), Decimal(1)])),
        terms=st.tuples(st.sampled_from([None, "1 month"]), st.sampled_from([None, Decimal(0), Decimal(2)])),
        steps=steps,
    )  # fmt: skip
    @example(
        Thresholds(Decimal(5), Decimal("0.01")), (None, Decimal(0)), [("owe", SMALLEST, None), ("month", None, None)]
    )
    def tells(default: Thresholds, terms: tuple[str | None, Decimal | None], steps: list[tuple[str, Any, Any]]) -> None:
        session.execute(
            """update billing.billing_tiers
               set grant_expires_after = %s::interval, rollover_cap = %s where name = 'free'""",
            terms,
        )
        history = History(session, admin, default)
        for step in steps:
            history.go_on(*step)
        numbers = [row.event_no for row in events(session, history.user)]
        assert numbers == list(range(1, len(numbers) + 1))

    tells()


class History:
    """One account, and what was told of it so far."""

    def __init__(self, session: psycopg.Connection, admin: UUID, default: Thresholds) -> None:
        self.session, self.admin, self.user = session, admin, uuid4()
        self.default = self.thresholds = default
        self.now = datetime(2030, 4, 29, 12, tzinfo=UTC)
        self.seen, self.balance, self.holds, self.used = 0, Decimal(0), [], []
        self.told = 0
        # Accounts of other histories are nobody's any more.
        session.execute(
            "update billing.credit_accounts set status = 'closed', next_expiry_at = null where status <> 'closed'"
        )
        session.execute(
            "update billing.billing_settings set low_balance = %s, depleted_balance = %s",
            [default.low, default.depleted],
        )
        self.move_clock(timedelta(0))
        session.execute("select billing.open_account(%s, 'free')", [self.user])
        self.compare()

    def go_on(self, step: str, value: Any, more: Any) -> None:
        match step:
            case "grant":
                query = "select billing.grant_credits(%s, %s, 'promotion', p_expires_at => %s)"
                self.call(query, value, more and self.now + timedelta(days=more))
            case "deduct" | "reach":
                if step == "reach":
                    # Exactly a threshold, or the smallest amount below it.
                    target = {"low": self.thresholds.low, "depleted": self.thresholds.depleted}.get(value, Decimal(0))
                    value = account(self.session, self.user).balance - target + (SMALLEST if more else 0)
                if value > 0 and (row := self.call(DEDUCT, value)).success:
                    self.used.append(row.entry_no)
            case "hold":
                if (row := self.call("select * from billing.hold_credits(%s, %s, '1 day')", value)).success:
                    self.holds.append(row.hold_id)
            case "capture" if self.holds:
                self.call("select * from billing.capture_hold(%s, %s, %s)", self.holds.pop(), value)
            case "release" if self.holds:
                self.call("select * from billing.release_hold(%s, %s)", self.holds.pop())
            case "reverse" if self.used:
                query = "select * from billing.reverse_entry(%s, %s, %s, 'a history')"
                self.session.execute(query, [self.admin, self.user, self.used.pop()])
            case "adjust_up" | "adjust_down":
                query = "select * from billing.adjust_credits(%s, %s, %s, 'a history')"
                self.session.execute(query, [self.admin, self.user, value if step == "adjust_up" else -value])
            case "owe":
                query = "update billing.credit_accounts set debt = debt + %s where user_id = %s"
                self.session.execute(query, [value, self.user])
            case "threshold":
                self.call("select billing.set_low_balance(%s, %s)", value)
                low = self.default.low if value is None else value
                self.thresholds = Thresholds(low, self.default.depleted)
            case "expire":
                self.move_clock(timedelta(days=1))
                run_job(self.session, "expire_credits")
            case "month" | "months" | "midnight":
                first = (self.now + timedelta(days=92 if step == "months" else 32)).replace(day=1, hour=0)
                self.move_clock(first - self.now)
                # Each of the two alone grants what is due, before the other comes.
                job = "expire_credits" if step == "midnight" else "monthly_grants"
                run_job(self.session, job)
        self.compare()

    def move_clock(self, delta: timedelta) -> None:
        self.now += delta
        self.session.execute("select set_config('test.now', %s, false)", [self.now.isoformat()])

    def call(self, query: str, *parameters: Any) -> Any:
        return self.session.execute(query, [self.user, *parameters]).fetchone()

    def compare(self) -> None:
        """What is new in the ledger, against what is new among the events."""
        new = entries(self.session, self.user)[self.seen :]
        rows = events(self.session, self.user)[self.told :]
        # A month that was missed expires, is granted, and repays what is owed, all at once: where that leads is what
        # counts. What the same call spends of it comes after.
        turn = max((number for number, entry in enumerate(new, 1) if entry.type == "tier_grant"), default=0)
        while 0 < turn < len(new) and new[turn].type == "debt_repayment":
            turn += 1
        wanted = expected(self.thresholds, self.balance, new[:turn], as_one=True)
        wanted += expected(self.thresholds, new[turn - 1].balance_after if turn else self.balance, new[turn:])
        assert told(rows) == wanted
        self.seen += len(new)
        self.told += len(rows)
        if new:
            self.balance = new[-1].balance_after
        stored = self.call("select alert_below, balance from billing.credit_accounts where user_id = %s")
        assert (stored.alert_below, stored.balance) == (self.thresholds.armed(self.balance), self.balance)


DEFAULT = Thresholds(Decimal(1), Decimal("0.01"))


def test_many_sessions_through_the_thresholds(database: Database, conn: psycopg.Connection) -> None:
    """Eight at once spend an account through both: each is told once, by the one that crossed it."""
    user = new_account(conn, 4)
    together(
        database,
        [lambda session: [session.execute(DEDUCT, [user, Decimal("0.1")]).fetchone() for _ in range(8)]] * 8,
    )
    assert account(conn, user).balance == 0
    rows = events(conn, user)
    assert crossings(rows) == ["balance.low", "balance.depleted"]
    assert told(rows) == expected(DEFAULT, Decimal(0), entries(conn, user))
    assert [row.event_no for row in rows] == [1, 2, 3]


def test_up_and_down_by_many_sessions(database: Database, conn: psycopg.Connection) -> None:
    """However grants and deductions interleave: what the ledger says was crossed was told, numbered without a gap."""
    user = new_account(conn, 1)
    jobs = [*calls(DEDUCT, user, Decimal("0.9"), times=24), *calls(GRANT, user, Decimal("0.8"), times=24)]
    results = together(database, jobs)
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    rows = events(conn, user)
    assert told(rows) == expected(DEFAULT, Decimal(0), entries(conn, user))
    assert [row.event_no for row in rows] == list(range(1, len(rows) + 1))
    assert all(before.created_at <= after.created_at for before, after in pairwise(rows))


@pytest.mark.parametrize("commits", [True, False])
def test_a_crossing_that_is_not_committed_yet(database: Database, conn: psycopg.Connection, commits: bool) -> None:
    """Who comes second waits: it tells what a rollback left untold, and nothing of what was told."""
    user = new_account(conn, 2)
    with database.connect("billing_api", autocommit=False) as first, database.connect("billing_api") as second:
        first.execute(DEDUCT, [user, Decimal("1.5")])
        with in_background(second, DEDUCT, user, Decimal("1.25")) as waiting:
            wait_until_blocked(conn, second)
            assert crossings(events(conn, user)) == []
            first.commit() if commits else first.rollback()
            assert outcome(waiting).success is not commits
    rows = events(conn, user)
    assert crossings(rows) == ["balance.low"]
    assert rows[-1].payload["balance"] == (0.5 if commits else 0.75)
    assert [row.event_no for row in rows] == [1, 2]


# Delivery.


@pytest.mark.parametrize("first", ["emit", "finish"])
@pytest.mark.parametrize("commits", [True, False])
def test_an_event_that_comes_while_the_one_before_it_is_delivered(
    database: Database, conn: psycopg.Connection, first: str, commits: bool
) -> None:
    """In both orders, and when the first of the two is rolled back: the oldest that is pending is tried."""
    user = new_account(conn)
    deliver(conn)
    conn.execute(GRANT, [user, 1])
    (event,) = events(conn, user)
    ways = {"emit": (GRANT, [user, 1]), "finish": (FINISH, [user, event.event_id])}
    second = {"emit": "finish", "finish": "emit"}[first]
    with database.connect("billing_api", autocommit=False) as one, database.connect("billing_api") as two:
        one.execute(*ways[first])
        query, parameters = ways[second]
        with in_background(two, query, *parameters) as waiting:
            wait_until_blocked(conn, two)
            one.commit() if commits else one.rollback()
            outcome(waiting)
    assert_lined_up(conn)
    statuses = [row.status for row in events(conn, user)]
    assert (
        statuses
        == {
            ("emit", True): ["delivered", "pending"],
            ("emit", False): ["delivered"],
            ("finish", True): ["delivered", "pending"],
            ("finish", False): ["pending", "pending"],
        }[first, commits]
    )


def test_an_older_snapshot_does_not_hide_that_an_event_was_delivered(
    database: Database, conn: psycopg.Connection
) -> None:
    """Under REPEATABLE READ the next event would wait for one that is gone, and all later ones behind it."""
    user = new_account(conn)
    deliver(conn)
    conn.execute(GRANT, [user, 1])
    (event,) = events(conn, user)
    with database.connect("billing_api", autocommit=False) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("select * from billing.get_account(%s)", [user])
        conn.execute(FINISH, [user, event.event_id])
        with pytest.raises(psycopg.errors.SerializationFailure):
            old.execute(GRANT, [user, 1])
    conn.execute(GRANT, [user, 1])
    assert_lined_up(conn)


def test_events_come_and_go_at_the_same_time(database: Database, conn: psycopg.Connection) -> None:
    """Sessions that emit and sessions that deliver: each event is delivered once, after all those before it."""
    users = [new_account(conn) for _ in range(3)]
    deliver(conn)
    emitters, rounds = 4, 15
    total = emitters * rounds * len(users)
    delivered: list[tuple[UUID, int]] = []
    lock = Lock()

    def emit(session: psycopg.Connection) -> None:
        for _ in range(rounds):
            for user in users:
                session.execute(GRANT, [user, 1])

    def work(session: psycopg.Connection) -> None:
        idle = 0
        while len(delivered) < total and idle < 2000:
            idle += 1
            for due in session.execute("select * from billing.list_due_events()").fetchall():
                claimed = session.execute(
                    "select * from billing.claim_event(%s, %s)", [due.user_id, due.event_id]
                ).fetchone()
                if claimed.event_id is not None:
                    idle = 0
                    with lock:
                        delivered.append((claimed.user_id, claimed.event_no))
                    session.execute(FINISH, [claimed.user_id, claimed.event_id])

    results = together(database, [emit] * emitters + [work] * 4)
    assert results == [None] * 8
    assert_lined_up(conn)
    assert conn.execute("select from billing.billing_events where status <> 'delivered'").rowcount == 0
    for user in users:
        assert [number for each, number in delivered if each == user] == list(range(1, emitters * rounds + 1))


def test_one_of_many_workers_gets_an_event(database: Database, conn: psycopg.Connection, clock: Clock) -> None:
    """The others are told that there is nothing; when it was not delivered in two minutes, one of them gets it."""
    clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    user = new_account(conn)
    deliver(conn)
    conn.execute(GRANT, [user, 1])
    conn.execute(GRANT, [user, 1])
    first, second = events(conn, user)
    claim = "select * from billing.claim_event(%s, %s)"
    for _ in range(3):
        results = together(database, calls(claim, user, first.event_id, times=10))
        assert sorted(row.event_id is not None for row in results) == [False] * 9 + [True]
        # Not its turn, whoever asks.
        assert conn.execute(claim, [user, second.event_id]).fetchone().event_id is None
        clock.advance(minutes=2)


@pytest.mark.parametrize("end", ["finish", "fail", "die"])
def test_a_replay_beside_a_delivery(database: Database, conn: psycopg.Connection, end: str) -> None:
    """An older event that is set back while a later one is on its way goes first, however that one ends."""
    user = new_account(conn)
    deliver(conn)
    for _ in range(3):
        conn.execute(GRANT, [user, 1])
    rows = events(conn, user)
    conn.execute(FINISH, [user, rows[0].event_id])
    conn.execute("select billing.claim_event(%s, %s)", [user, rows[1].event_id])
    replay = "select * from billing.replay_events('delivered', %s)"
    calls_of = {
        "finish": (FINISH, [user, rows[1].event_id]),
        "fail": ("select * from billing.fail_event(%s, %s, '500')", [user, rows[1].event_id]),
        "die": ("select * from billing.list_due_events()", []),
    }
    query, parameters = calls_of[end]
    with database.connect("billing_api", autocommit=False) as one, database.connect("billing_api") as two:
        assert one.execute(replay, [user]).fetchone().events == 1
        with in_background(two, query, *parameters) as waiting:
            if end != "die":
                wait_until_blocked(conn, two)
            one.commit()
            outcome(waiting)
    assert_lined_up(conn)
    (due,) = conn.execute("select * from billing.list_due_events()").fetchall()
    assert due.event_no == 1
    pending = [row.event_no for row in events(conn, user) if row.status == "pending"]
    assert pending == ([1, 3] if end == "finish" else [1, 2, 3])
