"""Defects of real credit systems (by their R number), where it takes sessions, crashes, time or bulk to show them."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from db.tests import stripe_objects as stripe
from db.tests.sessions import (
    account,
    calls,
    entries,
    findings,
    in_background,
    new_account,
    new_admin,
    run_job,
    together,
    wait_until_blocked,
    wait_until_gone,
)

DEDUCT = "select * from billing.deduct_credits(%s, %s)"
KEYED = "select * from billing.deduct_credits(%s, %s, p_idempotency_key => %s)"
SMALLEST = Decimal("0.000000001")


def row(conn: psycopg.Connection, query: str, *parameters: Any) -> Any:
    return conn.execute(query, parameters).fetchone()


def change_tier(conn: psycopg.Connection, admin: UUID, user: UUID, tier: str) -> Any:
    return row(conn, "select * from billing.change_tier(%s, %s, %s, 'a regression')", admin, user, tier)


def lots(conn: psycopg.Connection, user: UUID) -> list[Any]:
    return conn.execute("select * from billing.list_grants(%s)", [user]).fetchall()


def test_r01_every_call_under_half_a_cent_counts(database, conn):
    """R01: a thousand of the smallest amounts, from several sessions, cost exactly a thousand times that."""
    user = new_account(conn, 1)
    items = json.dumps([{"user_id": str(user), "amount": f"{SMALLEST:f}"}] * 100)
    together(database, calls("select * from billing.deduct_credits_batch(%s)", items, times=10))
    assert account(conn, user).balance == 1 - 1000 * SMALLEST
    assert sum(entry.amount for entry in entries(conn, user)) == 1 - 1000 * SMALLEST


def test_r02_ledger_and_balance_keep_the_same_digits(conn):
    """R02: no type modifier anywhere rounds one of the two: columns have none, and a tenth place is refused by name."""
    rounding = conn.execute(
        """select attrelid::regclass, attname from pg_attribute
           where atttypid = 'numeric'::regtype and atttypmod <> -1 and not attisdropped
               and attrelid in (
                   select oid from pg_class
                   where relnamespace in ('billing'::regnamespace, 'billing_private'::regnamespace)
               )"""
    ).fetchall()
    assert rounding == []
    user = new_account(conn, "1.999999999")
    assert row(conn, DEDUCT, user, Decimal("0.123456789")).balance_after == Decimal("1.876543210")
    assert [entry.amount for entry in entries(conn, user)] == [Decimal("1.999999999"), Decimal("-0.123456789")]
    with pytest.raises(psycopg.Error, match="amount_too_precise"):
        row(conn, DEDUCT, user, Decimal("0.1234567891"))


def test_r03_no_account_runs_below_zero(database, conn):
    """R03: the floor is a constraint, and sessions with amounts that do not divide the balance never reach below it."""
    user = new_account(conn, 10)
    together(database, [job for number in range(20) for job in calls(DEDUCT, user, Decimal(number + 1) / 3 + 1 // 3)])
    assert min(entry.balance_after for entry in entries(conn, user)) >= 0
    with pytest.raises(errors.CheckViolation):
        conn.execute("update billing.credit_accounts set balance = -0.000000001 where user_id = %s", [user])


def test_r04_usage_beyond_zero_leaves_a_trace(database, conn):
    """R04: an empty account records every refused call, with what it asked for."""
    user = new_account(conn)
    together(database, calls(DEDUCT, user, Decimal("29.4"), times=20))
    refused = entries(conn, user, "usage")
    assert [entry.amount for entry in refused] == [0] * 20
    assert sum(Decimal(str(entry.metadata["asked"])) for entry in refused) == 588
    assert account(conn, user).balance == 0


def test_r05_one_function_has_one_signature(conn):
    """R05: no name is overloaded, so no caller meets a version without the guard."""
    overloaded = conn.execute(
        """select proname from pg_proc
           where pronamespace in ('billing'::regnamespace, 'billing_private'::regnamespace)
           group by pronamespace, proname having count(*) > 1"""
    ).fetchall()
    assert overloaded == []


def test_r06_a_retry_after_a_lost_answer_charges_once(database, conn):
    """R06: the deduction commits, the connection breaks before the answer, the client tries again."""
    user = new_account(conn, 10)
    lost = database.connect("billing_api")
    lost.pgconn.send_query_params(
        b"select billing.deduct_credits($1, 4, p_idempotency_key => 'k')", [str(user).encode()]
    )
    wait_until_idle(conn, lost.info.backend_pid)
    lost.pgconn.finish()
    again = row(conn, KEYED, user, 4, "k")
    assert (again.success, again.replayed, again.amount) == (True, True, 4)
    assert account(conn, user).balance == 6


def wait_until_idle(observer: psycopg.Connection, pid: int) -> None:
    """Return once a backend has finished its statement."""
    query = "select from pg_stat_activity where pid = %s and state = 'idle' and query like '%%deduct_credits%%'"
    for _ in range(6000):
        if observer.execute(query, [pid]).rowcount:
            return
        observer.execute("select pg_sleep(0.005)")
    raise AssertionError("the statement does not end")


def test_r07_a_key_is_bound_for_ever(database, conn, clock):
    """R07: a grant that is retried at once by many, and again years and many cleanings later, happens once."""
    user = new_account(conn)
    grant = "select * from billing.grant_credits(%s, 5, 'promotion', p_idempotency_key => 'welcome')"
    together(database, calls(grant, user, times=10))
    clock.advance(days=3 * 365)
    run_job(conn, "clean_up")
    late = together(database, calls(grant, user, times=10))
    assert [result.replayed for result in late] == [True] * 10
    assert account(conn, user).balance == 5


def test_r11_up_and_down_mints_nothing(conn, clock):
    """R11: a period's grants are those of its highest tier, however often it changes; a downgrade takes nothing."""
    clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    user, admin = uuid4(), new_admin(conn)
    conn.execute("select billing.open_account(%s, 'free')", [user])
    for tier in ["tier_6_50", "free", "tier_6_50", "tier_2_20", "tier_12_100", "free", "tier_12_100"]:
        change_tier(conn, admin, user, tier)
        clock.advance(hours=7)
    assert [entry.amount for entry in entries(conn, user, "tier_grant")] == [5, 50, 50]
    clock.freeze(datetime(2030, 5, 1, tzinfo=UTC))
    change_tier(conn, admin, user, "free")
    assert account(conn, user).balance == 105


def test_r12_every_month_of_a_year_is_granted_once(conn, clock):
    """R12: who was away for a year gets each month, at the tier of those months; months that are over have expired."""
    for lifetime, left, grants in [(None, 13 * 25, 13), (timedelta(days=45), 2 * 25, 3), (timedelta(days=10), 0, 1)]:
        clock.freeze(datetime(2030, 1, 1, tzinfo=UTC))
        conn.execute("update billing.billing_tiers set grant_expires_after = %s where name = 'tier_2_20'", [lifetime])
        user = uuid4()
        conn.execute("select billing.open_account(%s, 'tier_2_20')", [user])
        # The eleventh: a lot of December lives on if it lasts 45 days, one of January is over if it lasts 10.
        clock.freeze(datetime(2031, 1, 11, tzinfo=UTC))
        run_job(conn, "missed_grants")
        assert account(conn, user).balance == left
        assert len(entries(conn, user, "tier_grant")) == grants
    assert findings(conn) == []


def test_r15_a_refunded_deduction_gives_back_credits_that_expire(conn, clock):
    """R15: what comes back has the priority and expiry of what was burned; what expired meanwhile gets a grace."""
    now = clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    user, admin = new_account(conn, 10), new_admin(conn)
    monthly = "select billing.grant_credits(%s, 5, 'trial_grant', p_expires_at => %s)"
    conn.execute(monthly, [user, now + timedelta(days=3)])
    reverse = "select * from billing.reverse_entry(%s, %s, %s, 'a regression')"
    spent = [row(conn, DEDUCT, user, amount).entry_no for amount in (4, 3)]
    row(conn, reverse, admin, user, spent[0])
    assert [(lot.remaining, lot.priority, lot.expires_at) for lot in lots(conn, user)] == [
        (4, 10, now + timedelta(days=3)),
        (8, 50, None),
    ]
    later = clock.advance(days=3)
    assert account(conn, user).balance == 8
    row(conn, reverse, admin, user, spent[1])
    assert [(lot.remaining, lot.priority, lot.expires_at) for lot in lots(conn, user)] == [
        (1, 10, later + timedelta(days=7)),
        (8, 50, None),
        (2, 50, None),
    ]
    clock.advance(days=7)
    assert account(conn, user).balance == 10
    assert findings(conn) == []


def test_r19_a_failed_call_leaves_nothing_to_build_on(database, conn):
    """R19: whatever fails in the middle of a call undoes all of it; there is no half for a client to complete."""
    user, admin = new_account(conn, 10), new_admin(conn)
    before = row(conn, "select * from billing.credit_accounts where user_id = %s", user)
    conn.execute(
        """create function public.fail() returns trigger language plpgsql as 'begin raise exception ''full''; end';
           create trigger fail before insert on billing.credit_ledger execute function public.fail();
           create trigger fail before insert on billing.admin_actions_log execute function public.fail()"""
    )
    for query, parameters in [
        (DEDUCT, [user, 1]),
        (DEDUCT, [user, 100]),
        ("select billing.grant_credits(%s, %s, 'promotion')", [user, 1]),
        ("select billing.adjust_credits(%s, %s, %s, 'a regression')", [admin, user, -1]),
        ("select billing.adjust_credits(%s, %s, %s, 'a regression')", [admin, user, 1]),
    ]:
        with pytest.raises(errors.RaiseException, match="full"):
            conn.execute(query, parameters)
    assert row(conn, "select * from billing.credit_accounts where user_id = %s", user) == before
    assert row(conn, "select day_total from billing.user_roles where user_id = %s", admin).day_total == 0
    assert findings(conn) == []


def test_r20_a_database_error_is_no_refusal(database, conn):
    """R20: a lock or statement that times out is raised as what it is, and no entry says that credits were missing."""
    user = new_account(conn, 10)
    with database.connect("billing_api", autocommit=False) as first, database.connect("billing_api") as second:
        first.execute(DEDUCT, [user, 1])
        second.execute("set lock_timeout = '20ms'")
        with pytest.raises(errors.LockNotAvailable):
            second.execute(DEDUCT, [user, 1])
        second.execute("set lock_timeout = 0; set statement_timeout = '20ms'")
        with pytest.raises(errors.QueryCanceled):
            second.execute("select * from billing.hold_credits(%s, 1)", [user])
        first.rollback()
    assert [entry.amount for entry in entries(conn, user)] == [10]
    assert account(conn, user).available == 10


def test_r21_a_signed_in_user_moves_no_credits(database, conn):
    """R21: a login without the API's role can execute none of the functions, with nobody's account id."""
    user = new_account(conn, 10)
    login = f"somebody_{uuid4().hex}"
    conn.execute(f"create role {login} login; grant usage on schema billing, billing_private to {login}")
    try:
        with database.connect(login) as somebody:
            for query in [
                "select billing.deduct_credits(%s, 1)",
                "select billing.grant_credits(%s, 1, 'promotion')",
                "select billing.get_account(%s)",
                "select billing_private.lock_account(%s)",
                "select billing.bootstrap_super_admin(%s)",
            ]:
                with pytest.raises(errors.InsufficientPrivilege):
                    somebody.execute(query, [user])
            executable = somebody.execute(
                """select oid::regprocedure from pg_proc
                   where pronamespace in ('billing'::regnamespace, 'billing_private'::regnamespace)
                       and has_function_privilege(oid, 'execute')"""
            ).fetchall()
            assert executable == []
    finally:
        conn.execute(f"drop owned by {login}; drop role {login}")


@pytest.mark.parametrize(
    ("query", "table"),
    [
        ("select billing.deduct_credits(%(user)s, 4)", "credit_ledger"),
        ("select billing.deduct_credits(%(user)s, 400)", "credit_ledger"),
        ("select billing.grant_credits(%(user)s, 4, 'refund')", "credit_grants"),
        ("select billing.hold_credits(%(user)s, 4)", "credit_holds"),
        ("select billing.adjust_credits(%(admin)s, %(user)s, -4, 'a regression')", "admin_actions_log"),
        ("select billing.deduct_credits_batch(%(items)s)", "credit_ledger"),
    ],
    ids=["deduct", "refuse", "grant", "hold", "adjust", "batch"],
)
def test_r24_a_backend_that_dies_leaves_all_or_nothing(database, conn, query, table):
    """R24: killed between two statements of one call, it leaves neither the entry nor the balance."""
    user, admin = new_account(conn, 10), new_admin(conn)
    items = json.dumps([{"user_id": str(user), "amount": 1}] * 3)
    named = {"user": f"'{user}'", "admin": f"'{admin}'", "items": f"'{items}'"}
    before = row(conn, "select * from billing.credit_accounts where user_id = %s", user)
    victim = database.connect("billing_api")
    pid = victim.info.backend_pid
    with database.connect(autocommit=False) as barrier:
        # Reading goes on, so the call comes as far as its own write to the table.
        barrier.execute(f"lock table billing.{table} in share mode")
        with in_background(victim, query % named) as dying:
            wait_until_blocked(conn, victim)
            conn.execute("select pg_terminate_backend(%s)", [pid])
            wait_until_gone(conn, pid)
            assert isinstance(dying.exception(30), psycopg.OperationalError)
    victim.close()
    assert row(conn, "select * from billing.credit_accounts where user_id = %s", user) == before
    assert len(entries(conn, user)) == before.entry_count
    assert findings(conn) == []
    # The account is free again, at once.
    conn.execute("set lock_timeout = '1s'")
    assert row(conn, DEDUCT, user, 10).success


def test_r24_a_client_that_dies_before_its_commit(database, conn):
    """R24: entry and balance of an open transaction go together when the client goes."""
    user = new_account(conn, 10)
    client = database.connect("billing_api", autocommit=False)
    assert client.execute(DEDUCT, [user, 4]).fetchone().success
    pid = client.info.backend_pid
    client.pgconn.finish()
    wait_until_gone(conn, pid)
    assert account(conn, user).balance == 10
    assert len(entries(conn, user)) == 1


def test_r25_expired_credits_are_gone_before_anyone_sweeps(database, conn, clock):
    """R25: from the moment of the expiry nothing shows or spends them, and what was paid for stays."""
    now = clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    user, idle = new_account(conn, 3), new_account(conn, 3)
    end = now + timedelta(hours=1)
    for each in (user, idle):
        conn.execute("select billing.grant_credits(%s, 5, 'trial_grant', p_expires_at => %s)", [each, end])
    clock.freeze(end - timedelta(microseconds=1))
    assert account(conn, user).available == 8
    clock.freeze(end)
    assert account(conn, user).available == 3
    assert not row(conn, "select * from billing.check_credits(%s, 3.000000001)", user).can_run
    assert [lot.remaining for lot in lots(conn, user)] == [3]
    assert len(entries(conn, user)) == 2, "reading has written something"
    results = together(database, calls(DEDUCT, user, 1, times=8))
    assert sorted(result.success for result in results) == [False] * 5 + [True] * 3
    for _ in range(2):
        run_job(conn, "expire_credits")
        for each in (user, idle):
            assert [entry.amount for entry in entries(conn, each, "expiry")] == [-5]
    assert account(conn, idle).balance == 3
    assert findings(conn) == []


def test_r26_a_forgotten_hold_ends_by_itself(conn, clock):
    """R26: it frees its credits when its time is over; released after its capture it gives nothing back."""
    clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    user = new_account(conn, 10)
    hold = "select * from billing.hold_credits(%s, 6, '15 minutes')"
    forgotten = row(conn, hold, user).hold_id
    assert account(conn, user).available == 4
    stored = "select a.held, h.status from billing.credit_accounts a join billing.credit_holds h using (user_id)"
    run_job(conn, "release_holds")
    assert row(conn, stored) == (6, "active")
    clock.advance(minutes=15)
    assert account(conn, user).available == 10
    run_job(conn, "release_holds")
    assert row(conn, stored) == (0, "expired")
    assert row(conn, "select * from billing.release_hold(%s, %s)", user, forgotten).status == "expired"
    captured = row(conn, hold, user).hold_id
    row(conn, "select * from billing.capture_hold(%s, %s, 6)", user, captured)
    clock.advance(minutes=16)
    assert row(conn, "select * from billing.release_hold(%s, %s)", user, captured).status == "captured"
    assert (account(conn, user).balance, account(conn, user).available) == (4, 4)
    assert findings(conn) == []


def test_r27_work_that_was_delivered_late_is_charged(conn, clock):
    """R27: a capture after the hold's end collects again; if the credits are gone it is refused, with a trace."""
    clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    user = new_account(conn, 10)
    capture = "select * from billing.capture_hold(%s, %s, %s)"
    expired, released = (row(conn, "select * from billing.hold_credits(%s, 4)", user).hold_id for _ in range(2))
    row(conn, "select * from billing.release_hold(%s, %s)", user, released)
    clock.advance(hours=1)
    assert row(conn, capture, user, expired, 4).success
    assert account(conn, user).balance == 6
    assert row(conn, DEDUCT, user, 5).success
    late = row(conn, capture, user, released, 4)
    assert (late.success, late.reason, late.amount) == (False, "insufficient_credits", 0)
    trace = entries(conn, user)[-1]
    assert (trace.entry_no, trace.amount, trace.reference_id) == (late.entry_no, 0, str(released))
    with pytest.raises(psycopg.Error, match="hold_not_active"):
        row(conn, capture, user, expired, 4)
    assert findings(conn) == []


def test_r29_a_new_month_touches_only_monthly_credits(conn, clock):
    """R29: neither the expiry of a month's credits nor the rollover cap takes any that were not monthly."""
    clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    conn.execute(
        "update billing.billing_tiers set rollover_cap = 0, grant_expires_after = null where name = 'tier_2_20'"
    )
    for tier, left in [("free", 5 + 100), ("tier_2_20", 25 + 100)]:
        user = uuid4()
        clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
        conn.execute("select billing.open_account(%s, %s)", [user, tier])
        conn.execute("select billing.grant_credits(%s, 100, 'refund', p_priority => 0)", [user])
        clock.freeze(datetime(2030, 5, 1, tzinfo=UTC))
        run_job(conn, "monthly_grants")
        assert account(conn, user).balance == left
        assert [(lot.source, lot.remaining) for lot in lots(conn, user)] == [
            ("refund", 100),
            ("tier_grant", left - 100),
        ]


def test_r29_no_cap_takes_no_credits(conn, clock):
    """R29: monthly credits of a tier without a cap and without an expiry add up."""
    clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    conn.execute("update billing.billing_tiers set grant_expires_after = null where name = 'free'")
    user = uuid4()
    conn.execute("select billing.open_account(%s, 'free')", [user])
    clock.freeze(datetime(2030, 6, 1, tzinfo=UTC))
    run_job(conn, "monthly_grants")
    assert account(conn, user).balance == 15


def test_r15_a_reversal_does_not_escape_the_rollover_cap(conn, clock):
    """R15: monthly credits that were reversed, even twice, are monthly credits when the cap is applied."""
    clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    conn.execute(
        "update billing.billing_tiers set rollover_cap = 0, grant_expires_after = null where name = 'tier_2_20'"
    )
    user, admin = uuid4(), new_admin(conn)
    conn.execute("select billing.open_account(%s, 'tier_2_20')", [user])
    for _ in range(2):
        taken = row(conn, "select * from billing.deduct_credits(%s, 25)", user)
        conn.execute("select billing.reverse_entry(%s, %s, %s, 'it failed')", [admin, user, taken.entry_no])
    clock.freeze(datetime(2030, 5, 1, tzinfo=UTC))
    run_job(conn, "monthly_grants")
    assert account(conn, user).balance == 25
    assert [(lot.source, lot.remaining) for lot in lots(conn, user)] == [("tier_grant", 25)]


LAST = timedelta(microseconds=1)


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Pacific/Auckland"])
def test_r30_periods_are_utc_months(conn, clock, zone):
    """R30: opened or caught up in the last microsecond of a month or the first: the period ends where it should."""
    conn.execute("select set_config('timezone', %s, false)", [zone])
    starts = [datetime(year, month, 1, tzinfo=UTC) for year in (2031, 2032) for month in range(1, 13)]
    for first, after in [(starts[11], starts[12]), (starts[0], starts[1]), (starts[13], starts[14])]:
        for opened in (first, after - LAST):
            clock.freeze(opened)
            user = uuid4()
            conn.execute("select billing.open_account(%s, 'tier_2_20')", [user])
            assert [(lot.reference_id, lot.expires_at) for lot in lots(conn, user)] == [(f"{first:%Y-%m}", after)]
            clock.freeze(after - LAST)
            run_job(conn, "missed_grants")
            assert (account(conn, user).balance, account(conn, user).entry_count) == (25, 1)
            clock.freeze(after)
            run_job(conn, "missed_grants")
            assert [(lot.reference_id, lot.remaining) for lot in lots(conn, user)] == [(f"{after:%Y-%m}", 25)]
    clock.freeze(starts[0] + timedelta(days=30))
    conn.execute("update billing.billing_tiers set grant_expires_after = null where name = 'free'")
    user = uuid4()
    conn.execute("select billing.open_account(%s, 'free')", [user])
    for start in starts[1:]:
        # The last day of every month: the 28th, 29th, 30th or 31st.
        clock.freeze((start + timedelta(days=31)).replace(day=1) - LAST)
        run_job(conn, "missed_grants")
    assert [lot.reference_id for lot in lots(conn, user)] == [f"{start:%Y-%m}" for start in starts]
    assert account(conn, user).balance == 5 * len(starts)


def test_a_clock_that_is_set_back_stops_the_account_not_the_ledger(conn, clock):
    """Entries never go back in time: until the clock has caught up, everything happens at the account's last moment."""
    now = clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    user = new_account(conn, 10)
    conn.execute(
        "select billing.grant_credits(%s, 5, 'trial_grant', p_expires_at => %s)", [user, now + timedelta(hours=1)]
    )
    late = clock.advance(hours=2)
    assert row(conn, DEDUCT, user, 1).balance_after == 9
    clock.advance(hours=-2)
    assert account(conn, user).balance == 9, "expired credits have come back"
    assert row(conn, DEDUCT, user, 1).balance_after == 8
    hold = row(conn, "select * from billing.hold_credits(%s, 1)", user)
    assert hold.expires_at == late + timedelta(minutes=15)
    assert entries(conn, user)[-1].created_at == late
    assert findings(conn) == []


def test_verification_does_not_depend_on_the_session(database, conn, clock):
    """The hash of an entry is the same in every time zone and style of dates, intervals, numbers and bytes."""
    user, admin = new_account(conn, 10), new_admin(conn)
    conn.execute("select billing.deduct_tokens(%s, 'gpt-5', 1000, 10, p_metadata => '{\"ü\": 1.50}')", [user])
    conn.execute("select billing.adjust_credits(%s, %s, -0.5, 'ä')", [admin, user])
    with database.connect("billing_api") as other:
        other.execute(
            """set timezone = 'Asia/Kathmandu'; set datestyle = 'German, DMY'; set intervalstyle = 'sql_standard';
               set extra_float_digits = 0; set bytea_output = 'escape'; set client_encoding = 'latin1'"""
        )
        other.execute("select billing.deduct_credits(%s, 1, 'ö')", [user])
        other.execute("select billing.grant_credits(%s, 1, 'refund', p_expires_at => now() + '1 day')", [user])
        assert findings(other) == []
    assert findings(conn) == []


ENTRIES = 200_000


@pytest.fixture
def large_account(conn):
    """An account of 200,000 usage entries, a tenth of them refused, with an adjustment at every 20,000th."""
    user = new_account(conn)
    conn.execute(
        """insert into billing.credit_ledger (
               user_id, entry_no, created_at, type, amount, balance_after, used_after, operation, entry_hash
           )
           select
               %(user)s, n, timestamptz '2030-01-01 00:00+00' + n * interval '1 minute',
               case when n %% 20000 = 0 then 'adjustment' else 'usage' end,
               case when n %% 20000 = 0 then 1 when n %% 10 = 1 then 0 else -0.000001 end, 0, n * 0.000001, 'bulk',
               decode(repeat('00', 32), 'hex')
           from generate_series(1, %(entries)s) n""",
        {"user": user, "entries": ENTRIES},
    )
    conn.execute("update billing.credit_accounts set entry_count = %s where user_id = %s", [ENTRIES, user])
    conn.execute("vacuum (analyze) billing.credit_ledger")
    return user


def pages_read(conn: psycopg.Connection, query: str, *parameters: Any) -> tuple[int, str]:
    """How many pages a query touches, those of the functions that it calls included, and its plan."""
    (plan,) = row(conn, f"explain (analyze, buffers, timing off, format json) {query}", *parameters)[0]
    return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"], json.dumps(plan)


def test_r32_a_page_of_the_largest_account_is_a_page(database, conn, clock, large_account):
    """R32: history, balances and summaries cost the same on 200,000 entries; the ledger has thousands of pages."""
    clock.freeze(datetime(2030, 6, 1, tzinfo=UTC))
    user = large_account
    total = row(conn, "select pg_relation_size('billing.credit_ledger') / 8192 as pages").pages
    assert total > 2000
    with database.connect("billing_api") as session:
        # Often enough for plans that are made for any parameters.
        for turn in range(12):
            middle = ENTRIES // 12 * turn + 500
            for query, parameters in [
                ("select * from billing.list_entries(%s)", [user]),
                ("select * from billing.list_entries(%s, %s, 100)", [user, middle]),
                ("select * from billing.list_entries(%s, %s, 50, 'usage')", [user, middle]),
                ("select * from billing.list_entries(%s, null, 50, 'adjustment')", [user]),
                ("select * from billing.list_entries(%s, null, 50, 'expiry')", [user]),
                (
                    "select billing.balance_at(%s, timestamptz '2030-01-01 00:00+00' + %s * interval '1 minute')",
                    [user, middle],
                ),
                ("select * from billing.account_summary(%s)", [user]),
                ("select * from billing.get_account(%s)", [user]),
                ("select * from billing.check_credits(%s)", [user]),
                ("select * from billing.usage_by(%s, '2030-02-01', '2030-02-01 01:00', 'hour')", [user]),
                ("select * from billing.entry_funding(%s, %s)", [user, ENTRIES - 1]),
            ]:
                pages, plan = pages_read(session, query, *parameters)
                assert turn == 0 or pages < 300, (query, pages, plan)


def test_r32_the_alert_of_failed_deductions_uses_its_index(database, conn, large_account):
    """R32: the guide's alert, by the role that is meant for it, reads the refusals of the last hour and no more."""
    user = new_account(conn)
    conn.execute(DEDUCT, [user, 1])
    alert = """select count(*) as count from credit_ledger
               where type = 'usage' and created_at > now() - interval '1 hour' and amount = 0"""
    with database.connect("billing_monitor") as monitor:
        # The generated entries lie ahead of the clock, all of them within the alert's time.
        assert row(monitor, alert).count == ENTRIES // 10 + 1
        recent = alert.replace("now() - interval '1 hour'", "timestamptz '2030-05-19 20:00+00'")
        pages, plan = pages_read(monitor, recent)
        assert "credit_ledger_refusals" in plan
        assert pages < 60, (pages, plan)


# Payments. Stripe's part is played by dicts.


def subscribe(conn: psycopg.Connection, tier: str, user: UUID | None = None, **seen: Any) -> tuple[UUID, str]:
    """A user on the free tier whose subscription is fetched from Stripe; the user and the customer's id."""
    user = user or row(conn, "select user_id from billing.open_account(gen_random_uuid(), 'free')").user_id
    customer = row(conn, "select stripe_customer_id from billing.request_customer(%s)", user).stripe_customer_id
    customer = customer or stripe.new_customer(conn, user)
    fetch(conn, user, stripe.subscription(customer, tier, **seen))
    return user, customer


def fetch(conn: psycopg.Connection, user: UUID, *subscriptions: stripe.JSON) -> None:
    """What Stripe says at the clock's time about all subscriptions of the user."""
    call = row(conn, "select call_id from billing.request_sync(%s)", user)
    stripe.finish(conn, call.call_id, stripe.listing(*subscriptions))


def granted(conn: psycopg.Connection, user: UUID) -> dict[str, Decimal]:
    """Tier grants by period."""
    grants = conn.execute(
        """select reference_id, sum(amount) as amount from billing.credit_grants
           where user_id = %s and source = 'tier_grant' group by 1""",
        [user],
    )
    return {grant.reference_id: grant.amount for grant in grants}


def test_r08_a_renewal_that_is_told_late_or_twice(conn, clock):
    """R08: whenever a renewal is heard of, and however often, it grants nothing: months do, each once."""
    clock.freeze(datetime(2030, 4, 20, tzinfo=UTC))
    april = int(datetime(2030, 4, 20, tzinfo=UTC).timestamp())
    user, customer = subscribe(conn, "tier_2_20", start=april, end=april + 30 * stripe.DAY)
    renewals = [
        stripe.subscription(
            customer, "tier_2_20", start=april + n * 30 * stripe.DAY, end=april + (n + 1) * 30 * stripe.DAY
        )
        for n in range(4)
    ]
    for day, renewal in [(21, 0), (50, 1), (50, 1), (51, 1), (69, 1), (80, 2), (80, 1), (91, 2), (91, 3), (92, 3)]:
        clock.freeze(datetime(2030, 4, 1, tzinfo=UTC) + timedelta(days=day))
        before = granted(conn, user)
        for type in ("invoice.paid", "customer.subscription.updated"):
            object = stripe.invoice(customer) if type == "invoice.paid" else renewals[renewal]
            event = stripe.deliver(conn, type, object)
            stripe.finish(conn, event.call_id, stripe.listing(renewals[renewal]))
        assert granted(conn, user) == before
        run_job(conn, "missed_grants")
    assert granted(conn, user) == {"2030-04": 25, "2030-05": 25, "2030-06": 25, "2030-07": 25}


def test_r09_a_renewal_that_fails_is_not_lost(conn, clock):
    """R09: an error is an error: the event waits, says why, and brings the month when it can be applied."""
    clock.freeze(datetime(2030, 4, 20, tzinfo=UTC))
    user, customer = subscribe(conn, "tier_2_20")
    conn.execute("alter table billing.credit_grants add constraint broken check (reference_id <> '2030-05') not valid")
    clock.freeze(datetime(2030, 5, 20, tzinfo=UTC))
    # The payment was overdue and comes: what was missed is due.
    fetch(conn, user, stripe.subscription(customer, "tier_2_20", status="past_due"))
    run_job(conn, "missed_grants")
    assert granted(conn, user) == {"2030-04": 25}
    call = stripe.deliver(conn, "invoice.paid", stripe.invoice(customer)).call_id
    paid = stripe.listing(stripe.subscription(customer, "tier_2_20"))
    with pytest.raises(errors.CheckViolation):
        stripe.finish(conn, call, paid)
    conn.execute("select billing.postpone_stripe_call(%s, 'broken')", [call])
    clock.advance(hours=2)
    (waiting,) = conn.execute("select * from billing.list_due_stripe_calls()").fetchall()
    assert (waiting.call_id, waiting.error, waiting.tries) == (call, "broken", 1)
    conn.execute("alter table billing.credit_grants drop constraint broken")
    assert stripe.finish(conn, call, paid).status == "done"
    assert granted(conn, user) == {"2030-04": 25, "2030-05": 25}


def test_r11_upgrades_and_downgrades_through_stripe(conn, clock):
    """R11: told by events, by readings and again, a month's grants are those of its highest tier."""
    clock.freeze(datetime.fromtimestamp(stripe.NOW, UTC))
    user, customer = subscribe(conn, "tier_2_20")
    for tier in ["tier_6_50", "tier_2_20", "tier_6_50", "free", "tier_2_20", "tier_6_50"]:
        clock.advance(hours=1)
        seen = stripe.subscription(customer, tier)
        stripe.finish(
            conn,
            stripe.deliver(conn, "customer.subscription.updated", seen).call_id,
            stripe.listing(seen),
        )
    fetch(conn, user, stripe.subscription(customer, "tier_6_50", status="canceled"))
    clock.advance(hours=1)
    subscribe(conn, "tier_6_50", user, id="sub_2")
    assert granted(conn, user) == {"2030-03": 55}
    assert account(conn, user).tier == "tier_6_50"
    # A period at a lower tier: late news of the one before it raises nothing.
    april = stripe.NOW + 30 * stripe.DAY
    clock.freeze(datetime.fromtimestamp(april, UTC))
    fetch(
        conn,
        user,
        stripe.subscription(customer, "tier_6_50", status="canceled"),
        stripe.subscription(customer, "tier_2_20", id="sub_2", start=april, end=april + 30 * stripe.DAY),
    )
    stripe.deliver(conn, "customer.subscription.updated", stripe.subscription(customer, "tier_12_100", id="sub_2"))
    assert (account(conn, user).tier, granted(conn, user)["2030-03"]) == ("tier_2_20", 55)
    assert max(granted(conn, user).values()) == 55


def test_r12_a_yearly_subscriber_gets_every_month(conn, clock):
    """R12: paid once a year, granted every month, one at a time."""
    start = datetime(2030, 4, 10, tzinfo=UTC)
    clock.freeze(start)
    begin = int(start.timestamp())
    terms = {"interval": "year", "start": begin, "end": begin + 365 * stripe.DAY}
    user, customer = subscribe(conn, "tier_2_20", **terms)
    assert granted(conn, user) == {"2030-04": 25}
    for months in range(1, 13):
        clock.freeze(datetime(2030 + (3 + months) // 12, (3 + months) % 12 + 1, 1, tzinfo=UTC))
        run_job(conn, "monthly_grants")
        fetch(conn, user, stripe.subscription(customer, "tier_2_20", **terms))
        assert sum(granted(conn, user).values()) == 25 * (months + 1)
    assert len(granted(conn, user)) == 13


def test_r13_an_event_whose_application_breaks_off(database, conn, clock):
    """R13: stored is not applied: when applying it breaks off it waits, a resend hides nothing, and it is retried."""
    user = stripe.new_buyer(conn)
    purchase = stripe.new_purchase(conn, user)
    event = stripe.event("payment_intent.succeeded", stripe.payment_intent(purchase))
    stripe.record(conn, event)
    with database.connect("billing_api", autocommit=False) as dying:
        assert stripe.apply(dying, event["id"]).status == "processed"
        dying.rollback()
    assert stripe.record(conn, event).status == "pending"
    assert account(conn, user).balance == 0
    assert conn.execute("select * from billing.list_due_stripe_events()").fetchall() == []
    clock.advance(minutes=1)
    (due,) = conn.execute("select * from billing.list_due_stripe_events()").fetchall()
    assert (due.event_id, due.status) == (event["id"], "pending")
    assert stripe.apply(conn, event["id"]).status == "processed"
    assert stripe.record(conn, event).status == "processed"
    assert account(conn, user).balance == 100


def test_r13_an_event_that_is_given_up_is_seen(conn, clock):
    """R13: it is tried for hours, then it is an alert, and can still be applied."""
    subscribe(conn, "tier_2_20")
    unknown = stripe.event("customer.subscription.updated", stripe.subscription("cus_late", "tier_2_20"))
    stripe.record(conn, unknown)
    tries = 0
    while (status := row(conn, "select * from billing.list_stripe_events()").status) == "pending":
        clock.advance(hours=1)
        with pytest.raises(psycopg.Error, match="customer_not_found"):
            stripe.apply(conn, unknown["id"])
        conn.execute("select billing.fail_stripe_event(%s, 'customer_not_found')", [unknown["id"]])
        tries += 1
    assert (status, tries) == ("failed", 12)
    conn.execute("update billing.billing_customers set stripe_customer_id = 'cus_late'")
    assert stripe.apply(conn, unknown["id"]).status == "processed"


def test_r14_two_workers_apply_one_event(database, conn):
    """R14: what was applied is in the database, with its effect: many sessions, and every event's id once."""
    user = stripe.new_buyer(conn)
    event = stripe.event("payment_intent.succeeded", stripe.payment_intent(stripe.new_purchase(conn, user)))

    def work(session: psycopg.Connection) -> Any:
        stripe.record(session, event)
        return stripe.apply(session, event["id"]).status

    assert together(database, [work] * 10) == ["processed"] * 10
    assert account(conn, user).balance == 100
    assert len(entries(conn, user)) == 1


def test_r14_an_event_that_is_resent_after_it_was_cleaned_up(conn, clock):
    """R14: months later nothing is known of the event any more, and what it was of is not booked again."""
    clock.freeze(datetime.fromtimestamp(stripe.NOW, UTC))
    user = stripe.new_buyer(conn)
    paid = stripe.payment_intent(stripe.new_purchase(conn, user))
    told = [
        stripe.event("payment_intent.succeeded", paid),
        stripe.event("refund.created", stripe.refund(paid["id"], 1000, id="re_1")),
        stripe.event("charge.dispute.closed", stripe.dispute(paid["id"], 2000, id="dp_1", status="lost")),
    ]
    for event in told:
        stripe.record(conn, event)
        assert stripe.apply(conn, event["id"]).status == "processed"
    assert account(conn, user).balance == 70
    conn.execute("select billing.grant_credits(%s, 1, 'promotion')", [user])
    before = row(conn, "select * from billing.credit_accounts where user_id = %s", user)
    clock.advance(days=91)
    run_job(conn, "clean_up")
    assert conn.execute("select from billing.stripe_events").rowcount == 0
    for event in told:
        assert stripe.record(conn, event).status == "pending"
        assert stripe.apply(conn, event["id"]).status == "processed"
    after = row(conn, "select * from billing.credit_accounts where user_id = %s", user)
    assert (after.balance, after.debt, after.entry_count) == (before.balance, before.debt, before.entry_count)
    # Of the events only the newest is kept that long, and none follows it.
    kinds = conn.execute("select kind, event_no from billing.list_events(%s)", [user]).fetchall()
    assert [tuple(event) for event in kinds] == [("credits.granted", 3)]
    assert findings(conn) == []


def test_r16_a_refund_pays_once(conn):
    """R16: in credits or in money, never both unasked; a refusal by Stripe undoes it and is kept; each is logged."""
    refund = "select * from billing.request_refund(%s, %s, 40, 'a regression', %s, %s, %s)"
    admin = new_admin(conn)
    for in_money, both, left in [(False, False, 140), (True, False, 60), (True, True, 100)]:
        user = stripe.new_buyer(conn)
        intent = stripe.new_payment(conn, user)
        asked = row(conn, refund, admin, user, in_money, intent if in_money else None, both)
        assert account(conn, user).balance == left
        (action,) = conn.execute("select * from billing.list_actions(%s)", [user]).fetchall()
        assert (action.action_id, action.outcome, action.amount) == (asked.action_id, "done", 40)
        assert (asked.call_id is not None) == in_money
        if in_money:
            conn.execute("select billing.fail_stripe_call(%s, 'charge_disputed')", [asked.call_id])
            stored = row(conn, "select * from billing.get_refund(%s)", asked.refund_id)
            assert (stored.status, stored.error) == ("failed", "charge_disputed")
            assert account(conn, user).balance == left + 40
    clerk = new_admin(conn, "admin")
    refused = row(conn, refund, clerk, user, True, intent, False)
    assert (refused.success, refused.reason, refused.call_id) == (False, "refund_not_allowed", None)
    assert row(conn, "select * from billing.list_actions(%s)", user).outcome == "refund_not_allowed"
    assert findings(conn) == []


def test_r22_a_fall_below_the_threshold_is_charged_once(database, conn, clock):
    """R22: a charge has the number of its crossing, not of the time: no second one while it is under way or unknown."""
    user = stripe.new_buyer(conn)
    conn.execute("select billing.set_auto_top_up(%s, true, 5, '10', 1000)", [user])
    charge = next(
        charge
        for charge in together(database, calls("select * from billing.request_top_up(%s)", user, times=8))
        if charge.purchase_id
    )
    for _ in range(40):
        clock.advance(hours=13)
        assert row(conn, "select * from billing.request_top_up(%s)", user).purchase_id is None
        assert conn.execute("select * from billing.list_due_top_ups()").fetchall() == []
    assert conn.execute("select from billing.stripe_calls").rowcount == 1
    stripe.finish(conn, charge.call_id, stripe.payment_intent(charge))
    assert account(conn, user).balance == 10
    assert row(conn, "select * from billing.request_top_up(%s)", user).purchase_id is None


def test_r22_a_declined_card_is_left_alone(conn, clock):
    """R22: one refusal turns it off, and the same card rests longer each time, though the user turns it on again."""
    now = clock.freeze(datetime(2030, 4, 10, tzinfo=UTC))
    user = stripe.new_buyer(conn)
    rests = []
    turn_on = "select billing.set_auto_top_up(%s, true, 5, '10', 1000)"
    for _ in range(4):
        conn.execute(turn_on, [user])
        charge = row(conn, "select * from billing.request_top_up(%s)", user)
        conn.execute("select billing.fail_stripe_call(%s, 'Your card was declined.', 'nsf')", [charge.call_id])
        after = row(conn, "select * from billing.get_auto_top_up(%s)", user)
        assert (after.enabled, after.disabled_reason) == (False, "nsf")
        rests.append(after.retry_after - now)
        for wait in (timedelta(0), rests[-1] - timedelta(microseconds=1)):
            clock.freeze(now + wait)
            assert row(conn, "select * from billing.request_top_up(%s)", user).purchase_id is None
            conn.execute(turn_on, [user])
            assert row(conn, "select * from billing.request_top_up(%s)", user).purchase_id is None
        now = clock.freeze(now + rests[-1])
    assert rests == sorted(set(rests))
    assert rests[0] >= timedelta(hours=1)
    assert len(conn.execute("select from billing.credit_purchases").fetchall()) == 4


def test_r23_credits_taken_back_are_no_usage(conn):
    """R23: a clawback has a type of its own: no report of usage, and no total of it, counts it."""
    user = stripe.new_buyer(conn)
    intent = stripe.new_payment(conn, user)
    row(conn, DEDUCT, user, 10)
    stripe.deliver(conn, "refund.created", stripe.refund(intent, 2000))
    stripe.deliver(conn, "charge.dispute.closed", stripe.dispute(intent, 10000, status="lost"))
    assert [(entry.type, entry.amount) for entry in entries(conn, user)] == [
        ("purchase", 100),
        ("usage", -10),
        ("clawback", -20),
        ("clawback", -70),
    ]
    usage = """select sum(amount) as amount, sum(calls) as calls
               from billing.usage_by(%s, '2020-01-01', '2120-01-01', 'month')"""
    assert row(conn, usage, user) == (10, 1)
    assert account(conn, user).used_total == 10
    assert row(conn, "select * from billing.account_summary(%s)", user).spent_total == 10


def test_r27_a_success_that_is_told_after_the_failure(conn):
    """R27: what was given back or written off on a failure counts again when the success is told; never both."""
    user = stripe.new_buyer(conn)
    purchase = stripe.new_purchase(conn, user)
    paid = stripe.payment_intent(purchase)
    failed = stripe.payment_intent(purchase, id=paid["id"], status="requires_payment_method", decline_code="nsf")
    unpaid = stripe.checkout_session(failed, payment_status="unpaid")
    stripe.deliver(conn, "checkout.session.async_payment_failed", unpaid)
    stripe.deliver(conn, "payment_intent.payment_failed", failed)
    assert row(conn, "select * from billing.get_purchase(%s, %s)", user, purchase.purchase_id).status == "failed"
    for type, object in [("payment_intent.succeeded", paid), ("payment_intent.payment_failed", failed)]:
        stripe.deliver(conn, type, object)
        assert row(conn, "select * from billing.get_purchase(%s, %s)", user, purchase.purchase_id).status == "paid"
        assert account(conn, user).balance == 100
    # The other way round: a refund that failed after it had succeeded has failed, whenever its success is told.
    for status in ["failed", "succeeded", "pending"]:
        stripe.deliver(conn, "refund.updated", stripe.refund(paid["id"], 4000, id="re_1", status=status))
        assert account(conn, user).balance == 100
    assert findings(conn) == []


@pytest.mark.parametrize("spent", [0, 30, 100])
def test_r28_a_dispute_lost_won_and_refunded_after_all(conn, spent):
    """R28: each is taken once: lost and told again, given back when it is won, and a refund after it is not missed."""
    user = stripe.new_buyer(conn)
    intent = stripe.new_payment(conn, user)
    if spent:
        row(conn, DEDUCT, user, spent)

    def dispute(type: str, status: str, at: int) -> tuple[Decimal, Decimal]:
        object = stripe.dispute(intent, 10000, id="dp_1", status=status)
        stripe.deliver(conn, f"charge.dispute.{type}", object, created=stripe.NOW + at)
        return account(conn, user).balance, account(conn, user).debt

    assert dispute("created", "needs_response", 0) == (100 - spent, 0)
    for type, at in [("closed", 1), ("closed", 1), ("funds_withdrawn", 2)]:
        assert dispute(type, "lost", at) == (0, spent)
    for type, at in [("closed", 3), ("funds_reinstated", 4)]:
        assert dispute(type, "won", at) == (100 - spent, 0)
    stripe.deliver(conn, "refund.created", stripe.refund(intent, 10000))
    assert account(conn, user).balance == 0
    paid = stripe.payment(conn, user, intent)
    assert (paid.reclaimed, paid.clawed, paid.owed) == (100, 100 - spent, 0)
    assert findings(conn) == []


def test_r28_a_refund_during_the_dispute_is_not_missed(conn):
    """R28: what was refunded stays taken when a dispute that took the rest is won, whichever of them came first."""
    for first in ("refund", "dispute"):
        user = stripe.new_buyer(conn)
        intent = stripe.new_payment(conn, user)
        row(conn, DEDUCT, user, 50)
        news = [
            ("refund.created", stripe.refund(intent, 3000)),
            ("charge.dispute.closed", stripe.dispute(intent, 10000, id=f"dp_{first}", status="lost")),
        ]
        for type, object in news[:: 1 if first == "refund" else -1]:
            stripe.deliver(conn, type, object)
        assert (account(conn, user).balance, account(conn, user).debt) == (0, 50)
        won = stripe.dispute(intent, 10000, id=f"dp_{first}", status="won")
        stripe.deliver(conn, "charge.dispute.closed", won, created=stripe.NOW + 1)
        assert (account(conn, user).balance, account(conn, user).debt) == (20, 0)
        paid = stripe.payment(conn, user, intent)
        assert (paid.reclaimed, paid.clawed, paid.owed) == (30, 30, 0)


MIGRATE = "select * from billing.migrate_users(%s)"


def old_user(conn: psycopg.Connection, calls_at: list[datetime | str]) -> UUID:
    """A user of the old system with 25 a month, and calls of 1 each."""
    user = uuid4()
    conn.execute(
        """with c as (
               insert into legacy_billing.customers (user_id) values (%(user)s) returning customer_id
           )
           insert into legacy_billing.subscriptions (subscription_id, customer_id, price_id, status)
           select 'sub_' || %(user)s, customer_id, 'price_tier_2_20_monthly', 'active' from c""",
        {"user": user},
    )
    for at in calls_at:
        conn.execute(
            "insert into legacy_billing.usage_records (user_id, model, cost, created_at) values (%s, 'gpt-4o', 1, %s)",
            [user, at],
        )
    return user


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2030-12-31 23:59:59.999999+00", "2031-01-01 00:00:00+00"),
        ("2030-12-01 00:00:00+00", "2031-01-01 00:00:00+00"),
        ("2031-01-31 12:00:00+00", "2031-02-01 00:00:00+00"),
        ("2032-01-31 23:59:59+00", "2032-02-01 00:00:00+00"),
        ("2032-02-29 12:00:00+00", "2032-03-01 00:00:00+00"),
        ("2030-10-31 20:00:00-04", "2030-12-01 00:00:00+00"),
    ],
)
def test_r30_the_month_of_a_migration_ends_when_it_ends(conn, clock, now, end):
    """R30: in December, and on a day that the next month has not, the credits last until the next month begins."""
    clock.freeze(now)
    end = datetime.fromisoformat(end)
    start = (end - timedelta(days=1)).replace(day=1)
    moment = timedelta(microseconds=1)
    user = old_user(conn, [start - moment, start, end - moment, end])
    for zone in ("UTC", "Pacific/Auckland", "America/New_York"):
        conn.execute("select set_config('timezone', %s, false)", [zone])
        planned = row(conn, "select * from billing.plan_migration(%s)", [user])
        assert (planned.usage_before, planned.tier_credits) == (2, 23)
        assert row(conn, "select * from billing.legacy_check(%s)", user).remaining == 23
    done = row(conn, MIGRATE, [user])
    assert (done.usage_before, done.tier_credits, done.balance) == (2, 23, 23)
    assert [(lot.remaining, lot.expires_at) for lot in lots(conn, user)] == [(23, end)]
    assert row(conn, "select period from billing.user_migrations").period == start.date()
    clock.freeze(end - moment)
    assert account(conn, user).available == 23
    clock.freeze(end)
    assert account(conn, user).available == 0
    row(conn, "select * from billing.set_account_status(%s, %s, 'active', 'a regression')", new_admin(conn), user)
    following = (end + timedelta(days=31)).replace(day=1)
    assert [(lot.remaining, lot.expires_at) for lot in lots(conn, user)] == [(25, following)]
    assert findings(conn) == []


def test_r31_a_migration_that_is_run_again_counts_once(database, conn, clock):
    """R31: it dies half-way and is run again, twice, while users go on calling: each month is counted once."""
    clock.freeze("2030-12-31 12:00:00+00")
    users = sorted(old_user(conn, ["2030-12-05 00:00:00+00"] * 3) for _ in range(6))
    spend = "select * from billing.legacy_track(%s, 'gpt-4o', 400000, 0)"
    assert row(conn, MIGRATE, users[:2]).outcome == "migrated"
    dying = database.connect(autocommit=False)
    assert row(dying, MIGRATE, users[2:4]).outcome == "migrated"
    conn.execute("select pg_terminate_backend(%s)", [dying.info.backend_pid])
    wait_until_gone(conn, dying.info.backend_pid)
    dying.close()
    assert {row(conn, spend, user).cost for user in users} == {Decimal("1.5")}
    for _ in range(2):
        outcomes = conn.execute(MIGRATE, [users]).fetchall()
    assert {each.outcome for each in outcomes} == {"already_migrated"}
    assert [each.usage_before for each in outcomes] == [3, 3] + [Decimal("4.5")] * 4
    for user in users:
        left = row(conn, "select * from billing.legacy_check(%s)", user)
        assert (left.migrated, left.monthly_usage, left.remaining) == (True, Decimal("4.5"), Decimal("20.5"))
        assert [entry.type for entry in entries(conn, user)].count("migration") == 1
    # Back and here again in the same month: what was used before, and what was handed back, count no second time.
    for _ in range(2):
        conn.execute("select billing.rollback_users(%s)", [users])
        assert {each.tier_credits for each in conn.execute(MIGRATE, [users]).fetchall()} == {Decimal("20.5")}
    assert conn.execute("select * from billing.verify_migration(%s)", [users]).fetchall() == []
    assert findings(conn) == []
