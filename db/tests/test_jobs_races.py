"""Jobs beside everything else: billing.run_job as it runs, in sessions that spend, die, wait and run it too."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import errors

from db.tests.sessions import (
    account,
    entries,
    findings,
    in_background,
    new_admin,
    outcome,
    run_job,
    together,
    wait_until_blocked,
    wait_until_gone,
)
from db.tests.test_properties import PROFILE
from scripts.pytest_billing import Clock, Database

DEDUCT = "select * from billing.deduct_credits(%s, %s)"
APRIL = datetime(2030, 4, 10, 12, tzinfo=UTC)
MAY = datetime(2030, 5, 1, tzinfo=UTC)


def runs(conn: psycopg.Connection, job: str | None = None) -> list[Any]:
    """The runs of a job or of all, oldest first."""
    rows = conn.execute("select * from billing.list_job_runs(%s, null, 500)", [job]).fetchall()
    return rows[::-1]


def outcomes(conn: psycopg.Connection, job: str | None = None) -> list[str]:
    return [row.outcome for row in runs(conn, job)]


def open_accounts(conn: psycopg.Connection, number: int, tier: str = "free") -> list[UUID]:
    """Accounts in the order in which a job comes to them."""
    users = [UUID(int=n) for n in range(1, number + 1)]
    conn.execute("select billing.open_account(u, %s) from unnest(%s::uuid[]) u", [tier, users])
    return users


def set_batch_size(conn: psycopg.Connection, size: int) -> None:
    conn.execute(
        "select billing.set_job(name, p_batch_size => %s) from billing.jobs where function is not null", [size]
    )


def granted(conn: psycopg.Connection, period: str) -> Counter[UUID]:
    """How many tier grants each account has had for a period."""
    rows = conn.execute(
        "select user_id from billing.credit_ledger where type = 'tier_grant' and reference_id = %s", [period]
    )
    return Counter(row.user_id for row in rows)


def kinds(conn: psycopg.Connection, since: datetime) -> set[str]:
    rows = conn.execute("select distinct kind from billing.billing_events where created_at >= %s", [since])
    return {row.kind for row in rows}


def lock(conn: psycopg.Connection, user: UUID) -> None:
    """Until the transaction of the connection ends."""
    conn.execute("select from billing.credit_accounts where user_id = %s for update", [user])


def advisory_locks(conn: psycopg.Connection) -> int:
    query = """select from pg_locks where locktype = 'advisory'
               and database = (select oid from pg_database where datname = current_database())"""
    return conn.execute(query).rowcount


# Beside deductions.


def test_deductions_flow_while_grants_run(database: Database, conn: psycopg.Connection, clock: Clock) -> None:
    """A batch keeps the accounts waiting that it has granted, until it commits, and no other account."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 6)
    set_batch_size(conn, 2)
    clock.freeze(MAY)
    conn.execute("select billing.grant_credits(%s, 1, 'promotion')", [users[5]])
    with (
        database.connect("billing_api") as job,
        database.connect("billing_api") as spender,
        database.connect(autocommit=False) as other,
    ):
        lock(other, users[1])
        with in_background(job, "call billing.run_job('monthly_grants')") as running:
            wait_until_blocked(conn, job)
            # Of another batch: at once. Of this batch, granted and not committed: it waits, and then there are credits.
            assert conn.execute(DEDUCT, [users[5], 1]).fetchone().success
            assert granted(conn, "2030-05") == {}
            with in_background(spender, DEDUCT, users[0], 5) as waiting:
                wait_until_blocked(conn, spender)
                other.rollback()
                spent = outcome(waiting)
            running.exception(30)
    assert (spent.success, spent.balance_after) == (True, 0)
    assert granted(conn, "2030-05") == dict.fromkeys(users, 1)
    assert outcomes(conn, "monthly_grants") == ["succeeded"]
    assert findings(conn) == []


@pytest.mark.parametrize("job", ["monthly_grants", "expire_credits", "release_holds"])
def test_no_transaction_touches_more_than_a_batch(conn: psycopg.Connection, clock: Clock, job: str) -> None:
    """So that nobody waits for more than a batch, however many accounts there are."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 17)
    conn.execute("select billing.hold_credits(u, 1) from unnest(%s::uuid[]) u", [users])
    conn.execute(
        """create table public.touched (transaction xid8, user_id uuid);
           create function public.note() returns trigger language plpgsql as
               'begin insert into public.touched values (pg_current_xact_id(), new.user_id); return null; end';
           create trigger note after update on billing.credit_accounts for each row execute function public.note();
           grant all on public.touched to public"""
    )
    set_batch_size(conn, 4)
    clock.freeze(MAY)
    run_job(conn, job)
    batches = conn.execute(
        "select array_agg(distinct user_id order by user_id) as users from public.touched group by transaction"
    ).fetchall()
    assert sorted(len(batch.users) for batch in batches) == [1, 4, 4, 4, 4]
    assert sorted(user for batch in batches for user in batch.users) == users
    assert [row.rows for row in runs(conn, job)] == [17]


def test_every_job_and_every_call_at_midnight(database: Database, conn: psycopg.Connection, clock: Clock) -> None:
    """Jobs over the same accounts as deductions, holds and batches: no deadlock, no failure, and the sums hold."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 40)
    conn.execute("select billing.grant_credits(u, 20, 'promotion') from unnest(%s::uuid[]) u", [users])
    conn.execute("select billing.hold_credits(u, 1) from unnest(%s::uuid[]) u", [users[::3]])
    set_batch_size(conn, 7)
    clock.freeze(MAY)

    def spend(session: psycopg.Connection) -> list[Any]:
        order = users[:: 1 if session.info.backend_pid % 2 else -1]
        return [session.execute(DEDUCT, [user, Decimal("0.25")]).fetchone() for user in order]

    def spend_all(session: psycopg.Connection) -> list[Any]:
        query = """select d.* from billing.deduct_credits_batch(
                       (select jsonb_agg(jsonb_build_object('user_id', u, 'amount', 1)) from unnest(%s::uuid[]) u)
                   ) d"""
        return session.execute(query, [users[::-1]]).fetchall()

    jobs = ["monthly_grants", "missed_grants", "expire_credits", "release_holds", "checkpoint_ledger", "clean_up"]
    results = together(
        database, [lambda session, job=job: run_job(session, job) for job in jobs] + [spend, spend, spend, spend_all]
    )
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert all(row.success for rows in results[len(jobs) :] for row in rows)
    assert outcomes(conn) == ["succeeded"] * len(jobs)
    assert sum(row.failures for row in runs(conn)) == 0
    assert granted(conn, "2030-05") == dict.fromkeys(users, 1)
    assert {account(conn, user).balance for user in users} == {20 + 5 - 3 * Decimal("0.25") - 1}
    assert conn.execute("select from billing.ledger_findings").rowcount == 0
    assert findings(conn) == []


@pytest.mark.parametrize("first", ["expire_credits", "monthly_grants"])
def test_expiry_and_grants_over_one_account(
    database: Database, conn: psycopg.Connection, clock: Clock, first: str
) -> None:
    """Whichever comes first, the other finds it done: one expiry, one grant, and nobody is told to have run dry."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 3)
    clock.freeze(MAY)
    second = {"expire_credits": "monthly_grants", "monthly_grants": "expire_credits"}[first]
    with (
        database.connect("billing_api") as one,
        database.connect("billing_api") as two,
        database.connect(autocommit=False) as other,
    ):
        lock(other, users[1])
        with in_background(one, f"call billing.run_job('{first}')") as running:
            wait_until_blocked(conn, one)
            with in_background(two, f"call billing.run_job('{second}')") as also_running:
                wait_until_blocked(conn, two)
                other.rollback()
                also_running.exception(30)
            running.exception(30)
    assert sorted(row.outcome for row in runs(conn)) == ["succeeded"] * 2
    for user in users:
        assert [(entry.type, entry.amount) for entry in entries(conn, user)[1:]] == [("expiry", -5), ("tier_grant", 5)]
    assert kinds(conn, MAY) == {"credits.granted"}
    assert findings(conn) == []


# Runs that are cut off, and runs at the same time.


def test_a_run_that_dies_is_gone_on_with(database: Database, conn: psycopg.Connection, clock: Clock) -> None:
    """Killed in its third batch: the next run grants the accounts that are left, and notes that it was cut off."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 10)
    set_batch_size(conn, 2)
    clock.freeze(MAY)
    dying = database.connect("billing_api")
    with database.connect(autocommit=False) as other:
        lock(other, users[5])
        with in_background(dying, "call billing.run_job('monthly_grants')") as running:
            wait_until_blocked(conn, dying)
            (cut_off,) = runs(conn)
            assert (cut_off.outcome, cut_off.rows) == ("running", 4)
            conn.execute("select pg_terminate_backend(%s)", [dying.info.backend_pid])
            wait_until_gone(conn, dying.info.backend_pid)
            assert isinstance(running.exception(30), psycopg.OperationalError)
    dying.close()
    assert granted(conn, "2030-05") == dict.fromkeys(users[:4], 1)
    clock.advance(minutes=1)
    run_job(conn, "monthly_grants")
    assert [(row.outcome, row.rows) for row in runs(conn)] == [("interrupted", 4), ("succeeded", 6)]
    assert runs(conn)[0].error == "Its session ended."
    assert granted(conn, "2030-05") == dict.fromkeys(users, 1)
    clock.advance(minutes=1)
    run_job(conn, "monthly_grants")
    assert runs(conn)[-1].rows == 0
    assert findings(conn) == []


def test_one_session_runs_a_job(database: Database, conn: psycopg.Connection, clock: Clock) -> None:
    """Whoever comes while it runs does nothing, says so, and goes on without an error."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 2)
    clock.freeze(MAY)
    with (
        database.connect("billing_api") as one,
        database.connect("billing_api") as two,
        database.connect(autocommit=False) as other,
    ):
        told: list[str] = []
        two.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
        lock(other, users[0])
        with in_background(one, "call billing.run_job('monthly_grants')") as running:
            wait_until_blocked(conn, one)
            run_job(two, "monthly_grants")
            assert [row.outcome for row in runs(conn)] == ["running"]
            assert len(told) == 1
            assert "monthly_grants is running in another session" in told[0]
            # Another job is nobody's to wait for.
            run_job(two, "clean_up")
            other.rollback()
            running.exception(30)
    assert sorted((row.job, row.outcome) for row in runs(conn)) == [
        ("clean_up", "succeeded"),
        ("monthly_grants", "succeeded"),
    ]
    assert granted(conn, "2030-05") == dict.fromkeys(users, 1)


def test_one_of_many_runs_what_is_due(database: Database, conn: psycopg.Connection, clock: Clock) -> None:
    """pg_cron, workers and cron lines that all find it due at the same minute: one run a minute."""
    for minute in range(4):
        clock.freeze(MAY + timedelta(minutes=minute, seconds=1))
        due = MAY + timedelta(minutes=minute)
        results = together(database, [lambda session, due=due: run_job(session, "expire_credits", due)] * 5)
        assert results == [None] * 5
        assert outcomes(conn, "expire_credits") == ["succeeded"] * (minute + 1)
    conn.execute("select billing.set_job('expire_credits', p_enabled => false)")
    run_job(conn, "expire_credits", clock.advance(minutes=1))
    assert len(runs(conn)) == 4
    run_job(conn, "expire_credits")
    assert len(runs(conn)) == 5


def test_a_run_that_is_ending_counts(database: Database, conn: psycopg.Connection) -> None:
    """The lock is free a moment before the run is recorded."""
    begin = "select run_id from billing.begin_job('clean_up', '2020-01-01 04:45+00')"
    with database.connect("billing_api", autocommit=False) as one, database.connect("billing_api") as two:
        (run_id,) = one.execute(begin).fetchone()
        one.commit()
        one.execute("select billing.end_job(%s)", [run_id])
        with in_background(two, begin) as waiting:
            wait_until_blocked(conn, two)
            one.commit()
            assert outcome(waiting).run_id is None
    assert outcomes(conn, "clean_up") == ["succeeded"]


# What goes wrong.


def test_an_account_that_is_locked_for_long(database: Database, conn: psycopg.Connection, clock: Clock) -> None:
    """It is passed over and named, the others are granted, and the job for what was missed grants it later."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 5)
    set_batch_size(conn, 2)
    clock.freeze(MAY)
    with database.connect(autocommit=False) as other, database.connect("billing_api") as job:
        lock(other, users[2])
        with pytest.raises(psycopg.Error, match="job_failed") as failed:
            run_job(job, "monthly_grants")
        assert failed.value.sqlstate == "UC500"
        assert str(users[2]) in failed.value.diag.message_detail
    (noted,) = runs(conn, "monthly_grants")
    assert (noted.outcome, noted.rows, noted.failures) == ("failed", 4, 1)
    assert noted.error == f"User {users[2]}: canceling statement due to lock timeout"
    assert granted(conn, "2030-05") == dict.fromkeys(users[:2] + users[3:], 1)
    run_job(conn, "missed_grants")
    assert granted(conn, "2030-05") == dict.fromkeys(users, 1)
    assert [row.rows for row in runs(conn, "missed_grants")] == [1]


def test_an_account_with_wrong_data(conn: psycopg.Connection, clock: Clock) -> None:
    """What is wrong with one account keeps no other waiting, and leaves nothing of it half done."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 5)
    set_batch_size(conn, 2)
    conn.execute(f"alter table billing.credit_grants add constraint odd check (user_id <> '{users[3]}') not valid")
    clock.freeze(MAY)
    with pytest.raises(psycopg.Error, match="job_failed"):
        run_job(conn, "monthly_grants")
    assert granted(conn, "2030-05") == dict.fromkeys(users[:3] + users[4:], 1)
    assert len(entries(conn, users[3])) == 1
    assert runs(conn)[0].failures == 1
    conn.execute("alter table billing.credit_grants drop constraint odd")
    run_job(conn, "missed_grants")
    assert granted(conn, "2030-05") == dict.fromkeys(users, 1)
    assert findings(conn) == []


BROKEN = """
create or replace function billing.clean_up(p_at timestamptz default null, p_limit int default 500,
    p_after jsonb default null) returns billing.job_step language plpgsql as $$
begin
    if p_after is null then
        return (3, 0, null, '{"batch": 2}')::billing.job_step;
    end if;
    perform 1 / 0;
    return null;
end $$
"""


def test_a_job_that_breaks_is_recorded_and_stops_no_other(database: Database, conn: psycopg.Connection) -> None:
    """Whatever the error: the run says how far it came and why it ended, and the lock is free in the same session."""
    conn.execute(BROKEN)
    with database.connect("billing_api") as session:
        for number in (1, 2):
            with pytest.raises(psycopg.Error, match="job_failed") as failed:
                run_job(session, "clean_up")
            assert failed.value.sqlstate == "UC500"
            assert failed.value.diag.message_detail == "Job clean_up: division by zero (22012)"
            assert advisory_locks(conn) == 0
            assert [(row.outcome, row.rows) for row in runs(conn)] == [("failed", 3)] * number
        run_job(session, "expire_credits")
    assert outcomes(conn, "expire_credits") == ["succeeded"]
    told = conn.execute("select job, problem, error from billing.alert_jobs").fetchall()
    assert [tuple(row) for row in told] == [("clean_up", "failed", "division by zero (22012)")]


@pytest.mark.parametrize("by", ["statement_timeout", "cancel"])
def test_a_run_that_is_cancelled_is_recorded(
    database: Database, conn: psycopg.Connection, clock: Clock, by: str
) -> None:
    """What was committed stays, the batch in hand is undone, and the next run goes on."""
    clock.freeze(APRIL)
    users = open_accounts(conn, 6)
    set_batch_size(conn, 2)
    clock.freeze(MAY)
    with database.connect(autocommit=False) as other, database.connect("billing_api") as job:
        if by == "statement_timeout":
            job.execute("set statement_timeout = '500ms'")
        lock(other, users[3])
        with in_background(job, "call billing.run_job('monthly_grants')") as running:
            if by == "cancel":
                wait_until_blocked(conn, job)
                conn.execute("select pg_cancel_backend(%s)", [job.info.backend_pid])
            failed = running.exception(30)
        assert isinstance(failed, psycopg.Error)
        assert failed.sqlstate == "UC500"
        assert advisory_locks(conn) == 0
    (noted,) = runs(conn)
    assert (noted.outcome, noted.rows) == ("failed", 2)
    assert "(57014)" in noted.error
    assert granted(conn, "2030-05") == dict.fromkeys(users[:2], 1)
    run_job(conn, "monthly_grants")
    assert granted(conn, "2030-05") == dict.fromkeys(users, 1)


def test_inside_of_a_transaction_it_fails_and_holds_nothing(database: Database, conn: psycopg.Connection) -> None:
    """It has to commit, and cannot: the error is clear, and the next one to run the job is not kept from it."""
    with database.connect("billing_api") as session:
        with pytest.raises(errors.InvalidTransactionTermination), session.transaction():
            run_job(session, "expire_credits")
        assert advisory_locks(conn) == 0
        assert runs(conn) == []
        run_job(conn, "expire_credits")
    assert outcomes(conn) == ["succeeded"]


def test_who_may_run_jobs(database: Database, conn: psycopg.Connection) -> None:
    """The API's role may; who reads the alerts may not, nor anybody without a role."""
    login = f"somebody_{uuid4().hex}"
    conn.execute(f"create role {login} login; grant usage on schema billing to {login}")
    try:
        for role in [login, "billing_monitor"]:
            with database.connect(role) as session:
                for query in [
                    "call billing.run_job('expire_credits')",
                    "call billing.schedule_jobs()",
                    "select billing.begin_job('expire_credits')",
                    "select billing.expire_credits()",
                    "select billing.set_job('expire_credits', false)",
                ]:
                    with pytest.raises(errors.InsufficientPrivilege):
                        session.execute(query)
    finally:
        conn.execute(f"drop owned by {login}; drop role {login}")
    assert runs(conn) == []
    with database.connect("billing_api") as session:
        run_job(session, "expire_credits")
    assert outcomes(conn) == ["succeeded"]


def test_without_pg_cron_nothing_is_scheduled(api_conn: psycopg.Connection) -> None:
    """It says what to do instead."""
    with pytest.raises(psycopg.Error, match="pg_cron_missing") as refused:
        api_conn.execute("call billing.schedule_jobs()")
    assert refused.value.sqlstate == "UC409"
    assert "scripts.worker" in refused.value.diag.message_hint


# Months that were missed.

TIERS = {"free": 5, "tier_2_20": 25, "tier_6_50": 55}
steps = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["run", "run", "expire", "deduct", "freeze", "unfreeze", *TIERS]),
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture
def session(conn: psycopg.Connection, clock: Clock) -> psycopg.Connection:
    """A session whose clock is a setting of its own: a history moves it at every step."""
    conn.execute(
        f"create or replace function billing_private.clock() returns timestamptz language sql {clock.volatility} "
        "as 'select current_setting(''test.now'')::timestamptz'"
    )
    return conn


@pytest.mark.parametrize("lifetime", [None, "1 month"])
def test_what_was_missed_is_caught_up_by_the_rules(session: psycopg.Connection, lifetime: str | None) -> None:
    """Whenever a job runs or does not: each month brings the amount of its highest tier, once, if it lasts until then.

    A month is caught up when a run finds the account active, when it is unfrozen, when its tier changes, and when a
    deduction is more than there is.
    """
    admin = new_admin(session)
    session.execute("update billing.billing_tiers set grant_expires_after = %s::interval", [lifetime])

    @settings(PROFILE, max_examples=PROFILE.max_examples // 4)
    @given(start=st.integers(0, 400), tier=st.sampled_from(list(TIERS)), steps=steps)
    def caught_up(start: int, tier: str, steps: list[tuple[int, str]]) -> None:
        # Accounts of other histories are nobody's any more.
        session.execute("update billing.credit_accounts set status = 'closed', next_expiry_at = null")
        history = History(session, admin, datetime(2031, 1, 1, 0, 30, tzinfo=UTC) + timedelta(days=start), tier)
        for days, step in [*steps, (20, "unfreeze"), (35, "run")]:
            history.go_on(days, step)
        lasting = {
            period: TIERS[tier]
            for period, tier in history.highest.items()
            if lifetime is None or period in history.caught_up
        }
        entered = entries(session, history.user, "tier_grant")
        totals = Counter[str]()
        for entry in entered:
            totals[entry.reference_id] += entry.amount
        assert totals == lasting
        assert len({entry.idempotency_key for entry in entered}) == len(entered)
        assert findings(session) == []

    caught_up()


class History:
    """An account, the highest tier that it had in each month, and in which months it was brought up to date."""

    def __init__(self, session: psycopg.Connection, admin: UUID, start: datetime, tier: str) -> None:
        self.session, self.admin, self.user, self.now, self.tier = session, admin, uuid4(), start, tier
        self.status = "active"
        self.highest: dict[str, str] = {}
        self.caught_up: set[str] = set()
        self.go_on(0, "open")

    def go_on(self, days: int, step: str) -> None:
        for day in range(days + 1):
            self.highest.setdefault(f"{self.now + timedelta(days=day):%Y-%m}", self.tier)
        self.now += timedelta(days=days)
        period = f"{self.now:%Y-%m}"
        self.session.execute("select set_config('test.now', %s, false)", [self.now.isoformat()])
        match step:
            case "open":
                self.call("select billing.open_account(%s, %s)", self.tier)
                self.caught_up.add(period)
            case "run":
                run_job(self.session, "monthly_grants" if days % 2 else "missed_grants")
                if self.status == "active":
                    self.caught_up.add(period)
            case "expire":
                ended = self.call(
                    "select from billing.credit_accounts where user_id = %s and next_expiry_at <= %s", self.now
                )
                run_job(self.session, "expire_credits")
                if ended and self.status == "active":
                    self.caught_up.add(period)
            case "deduct":
                query = "select available from billing.get_account(%s)"
                short = self.session.execute(query, [self.user]).fetchone().available < days + 1
                self.call(DEDUCT, days + 1)
                if short and self.status == "active":
                    self.caught_up.add(period)
            case "freeze" | "unfreeze":
                self.status = {"freeze": "frozen", "unfreeze": "active"}[step]
                query = "select billing.set_account_status(%s, %s, %s, 'a history')"
                self.session.execute(query, [self.admin, self.user, self.status])
                if step == "unfreeze":
                    self.caught_up.add(period)
            case tier:
                query = "select billing.change_tier(%s, %s, %s, 'a history')"
                self.session.execute(query, [self.admin, self.user, tier])
                self.tier = tier
                self.caught_up.add(period)
                if TIERS[tier] > TIERS[self.highest[period]]:
                    self.highest[period] = tier

    def call(self, query: str, *parameters: Any) -> bool:
        return self.session.execute(query, [self.user, *parameters]).rowcount > 0


def test_missed_months_are_those_of_month_by_month(conn: psycopg.Connection, clock: Clock) -> None:
    """Three months that no job ran in bring, in one run, what three runs would have brought."""
    conn.execute("update billing.billing_tiers set grant_expires_after = null, rollover_cap = 5 where name = 'free'")
    ledgers = []
    for user, months in [(uuid4(), [5, 6, 7]), (uuid4(), [7])]:
        conn.execute("update billing.credit_accounts set status = 'closed'")
        clock.freeze(APRIL)
        conn.execute("select billing.open_account(%s, 'free')", [user])
        for month in months:
            clock.freeze(datetime(2030, month, 1, tzinfo=UTC))
            run_job(conn, "monthly_grants")
        ledgers.append([(e.type, e.amount, e.balance_after, e.reference_id) for e in entries(conn, user)])
    assert ledgers[0] == ledgers[1]
    assert [entry[:2] for entry in ledgers[0]] == [
        ("tier_grant", 5),
        ("tier_grant", 5),
        ("expiry", -5),
        ("tier_grant", 5),
        ("expiry", -5),
        ("tier_grant", 5),
    ]
    assert {row.failures for row in runs(conn)} == {0}
