"""Races of requests, approvals and previews: real sessions at the same time, and what they leave behind."""

import random
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from db.tests import stripe_objects as stripe
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

ADJUST = "select * from billing.adjust_credits(%s, %s, %s, 'a race')"
APPROVE = "select * from billing.approve_request(%s, %s, 'a race')"
DECLINE = "select * from billing.decline_request(%s, %s, 'a race')"
WITHDRAW = "select * from billing.withdraw_request(%s, %s)"
DEDUCT = "select * from billing.deduct_credits(%s, %s)"
REQUEST = "select * from billing.request_approval(%s, %s, 'adjust_credits', 'a race', %s)"
REVERSAL = "select * from billing.request_approval(%s, %s, 'reverse_entry', 'a race', p_entry_no => %s)"
REFUND_REQUEST = """
select * from billing.request_approval(
    %s, %s, 'request_refund', 'a race', %s, p_stripe_refund => true, p_payment_intent_id => %s
)
"""
REFUND = "select * from billing.request_refund(%s, %s, %s, 'a race', true, %s)"
PREVIEW = "select * from billing.preview_action(%s, %s, 'adjust_credits', %s)"
PREVIEW_APPROVAL = "select * from billing.preview_approval(%s, %s)"

RELATIONS = """
select oid::regclass::text as name
from pg_class
where relnamespace in ('billing'::regnamespace, 'billing_private'::regnamespace) and relkind in ('r', 'S')
order by 1
"""


def everything(conn: psycopg.Connection) -> dict[str, str]:
    """All rows of all tables, and where the sequences stand."""
    names = [row.name for row in conn.execute(RELATIONS)]
    rows = " union all ".join(
        f"select '{name}' as name, md5(string_agg(t::text, ' ' order by t::text)) as rows from {name} t"
        for name in names
    )
    return {row.name: row.rows for row in conn.execute(rows)}


def asked(conn: psycopg.Connection, requester: UUID, user: UUID, amount: Any) -> UUID:
    """The id of a request to adjust an account."""
    answer = conn.execute(REQUEST, [requester, user, amount]).fetchone()
    assert answer.success, answer.reason
    return answer.approval_id


def status(conn: psycopg.Connection, approval: UUID) -> str:
    return conn.execute("select status from billing.get_approval(%s)", [approval]).fetchone().status


def what(result: Any) -> tuple[str, str | None]:
    """What became of a call: done, again, the reason of a refusal, or the name of an exception; and the status."""
    if isinstance(result, psycopg.Error):
        return result.diag.message_primary, None
    return result.reason or ("again" if result.replayed else "done"), getattr(result, "status", None)


def names(results: list[Any]) -> list[str]:
    return sorted(what(result)[0] for result in results)


def logged(conn: psycopg.Connection, action: str) -> list[tuple[UUID, str]]:
    """Who did that action, or was refused it."""
    query = "select admin_user_id, outcome from billing.admin_actions_log where action = %s order by action_id"
    return [tuple(row) for row in conn.execute(query, [action])]


@contextmanager
def waiting(database, conn, first: tuple[Any, ...], second: tuple[Any, ...]):
    """The second call waits for the first, which has not committed; yields its session, its answer and the Future."""
    with database.connect("billing_api", autocommit=False) as one, database.connect("billing_api") as other:
        answer = one.execute(first[0], first[1:]).fetchone()
        with in_background(other, *second) as future:
            wait_until_blocked(conn, other)
            yield one, answer, future


def in_order(database, conn, first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, Any]:
    """What became of two calls of which the second waits until the first has committed."""
    with waiting(database, conn, first, second) as (one, answer, future):
        one.commit()
        try:
            return answer, outcome(future)
        except psycopg.Error as error:
            return answer, error


@pytest.fixture
def cast(conn) -> dict[str, UUID]:
    """Who takes part: one who asks, two who may approve, and a user with 100 credits."""
    return {
        "requester": new_admin(conn, "admin"),
        "approver": new_admin(conn),
        "other": new_admin(conn),
        "user": new_account(conn, 100),
    }


def test_ten_approvers_at_once(database, conn, cast):
    """One of them does it, in one name; the others are told that it is decided."""
    approval = asked(conn, cast["requester"], cast["user"], 2000)
    admins = [new_admin(conn) for _ in range(10)]
    results = together(database, [job for admin in admins for job in calls(APPROVE, admin, approval)])
    assert names(results) == ["approval_not_open"] * 9 + ["done"]
    (entry,) = [entry for entry in entries(conn, cast["user"]) if entry.actor]
    assert (entry.amount, account(conn, cast["user"]).balance) == (2000, 2100)
    request = conn.execute("select * from billing.get_approval(%s)", [approval]).fetchone()
    assert (request.status, request.decided_by) == ("approved", entry.actor)
    assert logged(conn, "adjust_credits") == logged(conn, "approve_request") == [(entry.actor, "done")]
    moved = conn.execute("select user_id, day_total from billing.user_roles where day_total > 0").fetchall()
    assert [tuple(row) for row in moved] == [(entry.actor, 2000)]
    assert findings(conn) == []


def test_one_approver_in_ten_sessions(database, conn, cast):
    """A button that is pressed ten times does it once, and nine times says that it is done."""
    approval = asked(conn, cast["requester"], cast["user"], 2000)
    results = together(database, calls(APPROVE, cast["approver"], approval, times=10))
    assert names(results) == ["again"] * 9 + ["done"]
    assert len({result[:-1] for result in results}) == 1
    assert account(conn, cast["user"]).balance == 2100
    assert logged(conn, "approve_request") == [(cast["approver"], "done")]


@pytest.mark.parametrize("decision", ["decline", "withdraw"])
@pytest.mark.parametrize("first", ["approve", "decision"])
def test_an_approval_beside_another_decision(database, conn, cast, decision, first):
    """Whichever commits first is the decision; the other one is told, and does nothing."""
    approval = asked(conn, cast["requester"], cast["user"], -50)
    approve = (APPROVE, cast["approver"], approval)
    decide = {
        "decline": (DECLINE, cast["other"], approval),
        "withdraw": (WITHDRAW, cast["requester"], approval),
    }[decision]
    decided = {"decline": "declined", "withdraw": "withdrawn"}[decision]
    pair = (approve, decide) if first == "approve" else (decide, approve)
    results = in_order(database, conn, *pair)
    assert [what(result) for result in results] == [
        ("done", "approved" if first == "approve" else decided),
        ("approval_not_open", None),
    ]
    assert status(conn, approval) == ("approved" if first == "approve" else decided)
    assert account(conn, cast["user"]).balance == (50 if first == "approve" else 100)
    assert len(logged(conn, "adjust_credits")) == (first == "approve")
    assert findings(conn) == []


def test_all_decisions_at_once(database, conn, cast):
    """However they interleave there is one decision, and an effect if and only if it is an approval."""
    for _ in range(12):
        user = new_account(conn, 100)
        approval = asked(conn, cast["requester"], user, 7)
        results = together(
            database,
            [
                *calls(APPROVE, cast["approver"], approval),
                *calls(DECLINE, cast["other"], approval),
                *calls(WITHDRAW, cast["requester"], approval),
            ],
        )
        assert names(results) == ["approval_not_open"] * 2 + ["done"]
        assert account(conn, user).balance == (107 if status(conn, approval) == "approved" else 100)


def test_decisions_that_are_rolled_back(database, conn, cast):
    """A decision that is not committed is none: who waited for it decides."""
    approval = asked(conn, cast["requester"], cast["user"], 5)
    approve, decline = (APPROVE, cast["approver"], approval), (DECLINE, cast["other"], approval)
    with waiting(database, conn, approve, decline) as (one, answer, future):
        one.rollback()
        assert (what(answer), what(outcome(future))) == (("done", "approved"), ("done", "declined"))
    assert (status(conn, approval), account(conn, cast["user"]).balance) == ("declined", 100)
    assert logged(conn, "approve_request") == logged(conn, "adjust_credits") == []


@pytest.mark.parametrize("late", [False, True])
def test_a_request_whose_time_ends_while_its_approval_waits(database, conn, cast, clock, late):
    """What counts is the time at which the approval has the lock, not the time at which it was asked for."""
    start = clock.freeze(datetime(2030, 5, 1, 12, tzinfo=UTC))
    approval = asked(conn, cast["requester"], cast["user"], 5)
    end = start + timedelta(days=7)
    clock.freeze(end - timedelta(seconds=1))
    with waiting(database, conn, (DEDUCT, cast["user"], 1), (APPROVE, cast["approver"], approval)) as (one, _, future):
        clock.freeze(end - timedelta(0 if late else 0.000001))
        one.commit()
        if late:
            with pytest.raises(psycopg.Error, match="approval_not_open"):
                outcome(future)
        else:
            assert what(outcome(future)) == ("done", "approved")
    assert status(conn, approval) == ("expired" if late else "approved")
    assert account(conn, cast["user"]).balance == (99 if late else 104)


@pytest.mark.parametrize("first", ["approve", "adjust"])
def test_an_approval_beside_the_same_admin_at_the_daily_limit(database, conn, cast, first):
    """What one admin approves and does on two accounts at once is never more than the day's limit."""
    approver = new_admin(conn, "admin")
    conn.execute("update billing.admin_limits set max_daily_total = 1000 where role = 'admin'")
    approval = asked(conn, cast["requester"], cast["user"], 600)
    approve, adjust = (APPROVE, approver, approval), (ADJUST, approver, new_account(conn), 600)
    pair = (approve, adjust) if first == "approve" else (adjust, approve)
    results = in_order(database, conn, *pair)
    assert [what(result)[0] for result in results] == ["done", "admin_limit_exceeded"]
    assert status(conn, approval) == ("approved" if first == "approve" else "open")
    moved = conn.execute("select sum(abs(amount)) as amount from billing.credit_ledger where actor = %s", [approver])
    kept = conn.execute("select day_total from billing.user_roles where user_id = %s", [approver])
    assert moved.fetchone().amount == kept.fetchone().day_total == 600


@pytest.mark.parametrize("first", ["approve", "deduct"])
def test_an_approval_beside_a_deduction(database, conn, cast, first):
    """Whoever comes second finds what is left: nothing is spent twice, and nothing is lost."""
    approval = asked(conn, cast["requester"], cast["user"], -80)
    approve, deduct = (APPROVE, cast["approver"], approval), (DEDUCT, cast["user"], 30)
    pair = (approve, deduct) if first == "approve" else (deduct, approve)
    results = in_order(database, conn, *pair)
    assert [what(result)[0] for result in results] == ["done", "insufficient_credits"]
    assert status(conn, approval) == ("approved" if first == "approve" else "open")
    assert account(conn, cast["user"]).balance == (20 if first == "approve" else 70)
    assert findings(conn) == []


def test_one_entry_whose_reversal_two_admins_approve(database, conn, cast):
    """It was asked for twice, and comes back once; the other request stays open."""
    entry_no = conn.execute(DEDUCT, [cast["user"], 40]).fetchone().entry_no
    requests = [
        conn.execute(REVERSAL, [cast["requester"], cast["user"], entry_no]).fetchone().approval_id for _ in range(2)
    ]
    jobs = [*calls(APPROVE, cast["approver"], requests[0]), *calls(APPROVE, cast["other"], requests[1])]
    assert names(together(database, jobs)) == ["already_reversed", "done"]
    assert sorted(status(conn, request) for request in requests) == ["approved", "open"]
    assert account(conn, cast["user"]).balance == 100
    assert findings(conn) == []


def test_a_payment_that_is_refunded_by_approvals_and_by_admins_at_once(database, conn, cast):
    """Together they give back what was paid, and not a cent more."""
    user = stripe.new_buyer(conn)
    intent = stripe.new_payment(conn, user)
    jobs = []
    for number in range(4):
        request = conn.execute(REFUND_REQUEST, [cast["requester"], user, 40, intent]).fetchone()
        jobs += calls(APPROVE, cast["approver" if number % 2 else "other"], request.approval_id)
        jobs += calls(REFUND, cast["other" if number % 2 else "approver"], user, 40, intent)
    assert names(together(database, jobs)) == ["done"] * 2 + ["refund_exceeds_payment"] * 6
    refunded = conn.execute("select sum(amount) as amount from billing.credit_refunds").fetchone()
    waiting_calls = conn.execute("select from billing.stripe_calls where kind = 'refund'").rowcount
    assert (refunded.amount, waiting_calls) == (80, 2)
    assert account(conn, user).balance == 20
    assert findings(conn) == []


def test_an_admin_demoted_while_an_approval_waits(database, conn, cast):
    """The approval sees the role that was committed; the request is left for another admin."""
    approval = asked(conn, cast["requester"], cast["user"], 5)
    demote = ("select * from billing.set_user_role(%s, %s, 'user')", cast["other"], cast["approver"])
    results = in_order(database, conn, demote, (APPROVE, cast["approver"], approval))
    assert [what(result)[0] for result in results] == ["done", "not_an_admin"]
    assert (status(conn, approval), account(conn, cast["user"]).balance) == ("open", 100)


def test_a_tier_that_changes_while_an_approval_waits(database, conn, cast):
    """An approval does what was asked for, or nothing."""
    user = new_account(conn)
    query = "select * from billing.request_approval(%s, %s, 'change_tier', 'a race', p_tier => 'tier_2_20')"
    approval = conn.execute(query, [cast["requester"], user]).fetchone().approval_id
    move = ("select * from billing.change_tier(%s, %s, 'tier_12_100', 'a race')", cast["other"], user)
    results = in_order(database, conn, move, (APPROVE, cast["approver"], approval))
    assert [what(result)[0] for result in results] == ["done", "request_changed"]
    assert (status(conn, approval), account(conn, user).tier) == ("open", "tier_12_100")


@pytest.mark.parametrize(
    "call",
    [
        "request_approval(%(requester)s, %(user)s, 'adjust_credits', 'a race', 2000, p_idempotency_key => 'k')",
        "change_tier(%(approver)s, %(user)s, 'tier_2_20', 'a race', 'k')",
        "set_account_status(%(approver)s, %(user)s, 'frozen', 'a race', 'k')",
        "admin_release_hold(%(approver)s, %(user)s, %(hold)s, 'a race', 'k')",
    ],
    ids=lambda call: call.split("(")[0],
)
def test_one_key_from_20_sessions(database, conn, cast, call):
    """One effect, one row in the log, and 19 replays with the same answer."""
    named = cast | {"hold": conn.execute("select hold_id from billing.hold_credits(%(user)s, 1)", cast).fetchone()[0]}
    query = f"select * from billing.{call}"
    results = together(database, [lambda session: session.execute(query, named).fetchone()] * 20)
    assert names(results) == ["again"] * 19 + ["done"]
    assert len({result[:-1] for result in results}) == 1
    assert len(logged(conn, call.split("(")[0])) == 1
    assert conn.execute("select from billing.approval_requests").rowcount == ("request" in call)
    assert findings(conn) == []


def test_a_preview_beside_a_deduction(database, conn, cast):
    """It waits, and shows what the action would do after it; the deduction is not shown as the action's doing."""
    with waiting(database, conn, (DEDUCT, cast["user"], 10), (PREVIEW, cast["approver"], cast["user"], 5)) as (
        one,
        _,
        future,
    ):
        one.commit()
        after = everything(conn)
        preview = outcome(future)
    assert (preview.balance_before, preview.balance_after, preview.amount) == (90, 95, 5)
    assert [(lot["before"], lot["after"]) for lot in preview.lots] == [(0, 5)]
    assert preview.entry_no == 3
    assert everything(conn) == after
    assert findings(conn) == []


def test_a_deduction_beside_a_preview(database, conn, cast):
    """A preview is in nobody's way, not even before its transaction ends, and takes no number and no credits."""
    with database.connect("billing_api", autocommit=False) as one:
        preview = one.execute(PREVIEW, [cast["approver"], cast["user"], -100]).fetchone()
        conn.execute("set lock_timeout = '1s'")
        spent = conn.execute(DEDUCT, [cast["user"], 100]).fetchone()
        # Nor in that of what else the admin does.
        assert conn.execute(ADJUST, [cast["approver"], new_account(conn), 1]).fetchone().success
        one.commit()
    assert (preview.success, preview.balance_after, preview.entry_no) == (True, 0, 2)
    assert (spent.success, spent.balance_after, spent.entry_no) == (True, 0, 2)
    assert findings(conn) == []


def test_previews_tell_nobody(database, conn, cast):
    """Nobody who listens hears of a preview; all rows are as they were, and the sequences too."""
    user = stripe.new_buyer(conn)
    intent = stripe.new_payment(conn, user)
    conn.execute("update billing.admin_limits set approval_above = 1")
    conn.execute("update billing.jobs set enabled = true where name = 'deliver_events'")
    approval = asked(conn, cast["requester"], user, 500)
    before = everything(conn)
    preview = "select * from billing.preview_action(%(approver)s, %(buyer)s, {})"
    named = cast | {"buyer": user, "intent": intent}
    with database.connect() as listener:
        listener.execute("listen billing_events")
        for action in (
            "'adjust_credits', -99.5",
            "'adjust_credits', 0.5",
            "'admin_grant_credits', 500",
            "'change_tier', p_tier => 'tier_2_20'",
            "'set_account_status', p_status => 'frozen'",
            "'request_refund', 1, p_stripe_refund => true, p_payment_intent_id => %(intent)s",
            "'request_refund', 1",
        ):
            told = conn.execute(preview.format(action), named).fetchone()
            assert told.success or told.can_request
        assert conn.execute(PREVIEW_APPROVAL, [cast["approver"], approval]).fetchone().success
        assert everything(conn) == before
        assert list(listener.notifies(timeout=0.2)) == []
        freeze = "select success from billing.set_account_status(%s, %s, 'frozen', 'a race')"
        assert conn.execute(freeze, [cast["approver"], user]).fetchone().success
        assert [notify.channel for notify in listener.notifies(timeout=30, stop_after=1)] == ["billing_events"]


def test_previews_beside_money(database, conn, cast):
    """Previews of everything at once with deductions and approvals change nothing of what those do."""
    user, approver = cast["user"], cast["approver"]
    approvals = [asked(conn, cast["requester"], user, amount) for amount in (30, -20, 40)]
    jobs = calls(DEDUCT, user, 1, times=20)
    jobs += [job for approval in approvals for job in calls(APPROVE, approver, approval)]
    jobs += [job for amount in (7, -7, 500) for job in calls(PREVIEW, approver, user, amount, times=7)]
    results = together(database, jobs)
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    previews = [result for result in results if hasattr(result, "balance_before")]
    assert {preview.balance_after - preview.balance_before for preview in previews} == {7, -7, 500}
    assert {preview.left_today_before - preview.left_today_after for preview in previews} == {7, 500}
    assert account(conn, user).balance == 100 - 20 + 50
    kept = conn.execute("select day_total from billing.user_roles where user_id = %s", [approver]).fetchone()
    assert kept.day_total == 90
    assert findings(conn) == []


def test_an_approval_beside_a_refund_that_names_its_payment(database, conn, cast):
    """The payment is locked before the admin's row by both: neither waits for one that waits for it."""
    user, stranger = stripe.new_buyer(conn), new_account(conn, 5)
    intent = stripe.new_payment(conn, user)
    request = conn.execute(REFUND_REQUEST, [cast["requester"], user, 1, intent]).fetchone()
    with (
        database.connect(autocommit=False) as holder,
        database.connect("billing_api") as one,
        database.connect("billing_api") as other,
    ):
        holder.execute("select from billing.billing_payments where payment_intent_id = %s for update", [intent])
        with in_background(one, REFUND, cast["approver"], stranger, 1, intent) as refund:
            wait_until_blocked(conn, one)
            with in_background(other, APPROVE, cast["approver"], request.approval_id) as approval:
                wait_until_blocked(conn, other)
                holder.commit()
                results = [outcome(refund), outcome(approval)]
    assert [what(result)[0] for result in results] == ["payment_not_found", "done"]


def test_actions_in_all_orders(database, conn, cast):
    """Admins who adjust, approve, decline, preview and refund across the same accounts do not deadlock."""
    users = [stripe.new_buyer(conn) for _ in range(4)]
    intents = [stripe.new_payment(conn, user) for user in users]
    admins = [cast["approver"], cast["other"]]
    sessions, turns = 8, 10

    def work(seed: int) -> Any:
        dice = random.Random(seed)

        def run(session: psycopg.Connection) -> list[str]:
            done = []
            for _ in range(turns):
                admin, number = dice.choice(admins), dice.randrange(len(users))
                user, intent = users[number], dice.choice(intents)
                request = [admins[admin == admins[0]], user, dice.choice([1, -1])]
                kind = dice.choice(["adjust", "approve", "decline", "refund", "approve a refund", "preview", "bulk"])
                try:
                    if kind == "adjust":
                        session.execute(ADJUST, [admin, user, 1])
                    elif kind == "preview":
                        session.execute(PREVIEW, [admin, user, 1])
                    elif kind == "refund":
                        session.execute(REFUND, [admin, user, Decimal("0.01"), intent])
                    elif kind == "approve a refund":
                        request = session.execute(
                            REFUND_REQUEST, [request[0], user, Decimal("0.01"), intents[number]]
                        ).fetchone()
                        session.execute(PREVIEW_APPROVAL, [admin, request.approval_id])
                        session.execute(APPROVE, [admin, request.approval_id])
                    elif kind == "bulk":
                        # As a batch does: the accounts in order, then the admin's row.
                        with session.transaction():
                            for each in sorted(users):
                                session.execute(DEDUCT, [each, Decimal("0.01")])
                            session.execute(ADJUST, [admin, max(users), 1])
                    else:
                        approval = session.execute(REQUEST, request).fetchone().approval_id
                        session.execute(PREVIEW_APPROVAL, [admin, approval])
                        session.execute(APPROVE if kind == "approve" else DECLINE, [admin, approval])
                except psycopg.Error as error:
                    done.append(error.diag.message_primary or str(error))
            return done

        return run

    results = together(database, [work(seed) for seed in range(sessions)])
    assert [name for result in results for name in result] == []
    assert findings(conn) == []
