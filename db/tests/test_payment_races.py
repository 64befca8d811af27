"""Races of payments: real sessions at the same time, and what they leave behind."""

import random
from collections.abc import Callable
from contextlib import contextmanager
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
    new_admin,
    outcome,
    together,
    wait_until_blocked,
)

APPLY = "select * from billing.apply_stripe_event(%s)"
CLAIM = "select * from billing.claim_stripe_call(%s)"
DEDUCT = "select * from billing.deduct_credits(%s, %s)"
FINISH = "select * from billing.finish_stripe_call(%s, %s)"
FINISH_REFUND = "select * from billing.finish_refund(%s, %s)"
REFUND = "select * from billing.request_refund(%s, %s, %s, 'a race', true, %s)"
SET_TOP_UP = "select * from billing.set_auto_top_up(%s, %s, 5, '10', 100)"
TOP_UP = "select * from billing.request_top_up(%s)"


def stored(conn: psycopg.Connection, type: str, object: stripe.JSON) -> str:
    """An event that waits to be applied."""
    return stripe.record(conn, stripe.event(type, object)).event_id


def raised(results: list[Any]) -> list[Any]:
    return [result for result in results if isinstance(result, psycopg.Error)]


@contextmanager
def overtaken(database, conn, first: tuple[Any, ...], second: tuple[Any, ...]):
    """The second call waits for the first, which commits; yields the row of the first and what became of the second."""
    with database.connect("billing_api", autocommit=False) as one, database.connect("billing_api") as other:
        answer = one.execute(first[0], first[1:]).fetchone()
        with in_background(other, *second) as waiting:
            wait_until_blocked(conn, other)
            one.commit()
            yield answer, outcome(waiting)


def buyer(conn: psycopg.Connection, spent: int = 0) -> tuple[UUID, str]:
    """A user who bought 100 credits, and has spent some."""
    user = stripe.new_buyer(conn)
    intent = stripe.new_payment(conn, user)
    if spent:
        assert conn.execute(DEDUCT, [user, spent]).fetchone().success
    return user, intent


def shares(conn: psycopg.Connection, user: UUID, intent: str) -> tuple[Any, ...]:
    """Of a payment: what is reclaimed, what of it was taken, and what is owed."""
    paid = stripe.payment(conn, user, intent)
    return paid.reclaimed, paid.clawed, paid.owed


def test_r14_one_event_in_20_sessions(database, conn):
    """R14: stored once, applied once, whoever gets it; the others answer that it is processed."""
    user = stripe.new_buyer(conn)
    event = stripe.event("payment_intent.succeeded", stripe.payment_intent(stripe.new_purchase(conn, user)))
    store = calls("select * from billing.record_stripe_event(%s)", stripe.Jsonb(event), times=20)
    assert {row.status for row in together(database, store)} == {"pending"}
    applied = together(database, calls(APPLY, event["id"], times=20))
    assert {row.status for row in applied} == {"processed"}
    assert [entry.amount for entry in entries(conn, user)] == [100]
    assert conn.execute("select from billing.stripe_events").rowcount == 1
    assert findings(conn) == []


def test_an_event_that_is_being_applied(database, conn):
    """The second session waits, and finds it done; had the first one failed, it would do it."""
    for ends, status in [("commit", "processed"), ("rollback", "processed")]:
        user = stripe.new_buyer(conn)
        intent = stripe.payment_intent(stripe.new_purchase(conn, user))
        event_id = stored(conn, "payment_intent.succeeded", intent)
        with database.connect("billing_api", autocommit=False) as one, database.connect("billing_api") as other:
            one.execute(APPLY, [event_id])
            with in_background(other, APPLY, event_id) as waiting:
                wait_until_blocked(conn, other)
                getattr(one, ends)()
                assert outcome(waiting).status == status
        assert [entry.amount for entry in entries(conn, user)] == [100]


def paid_twice(conn: psycopg.Connection, user: UUID) -> list[str]:
    """The two events that tell of one payment."""
    intent = stripe.payment_intent(stripe.new_purchase(conn, user))
    return [
        stored(conn, "checkout.session.completed", stripe.checkout_session(intent)),
        stored(conn, "payment_intent.succeeded", intent),
    ]


def test_the_session_and_the_payment_at_once(database, conn):
    """Both say that it is paid: granted once, and neither waits for the other in a circle."""
    user = stripe.new_buyer(conn)
    events = [event_id for _ in range(10) for event_id in paid_twice(conn, user)]
    results = together(database, [job for event_id in events for job in calls(APPLY, event_id)])
    assert raised(results) == []
    assert [entry.amount for entry in entries(conn, user)] == [100] * 10
    assert findings(conn) == []


@pytest.mark.parametrize("turned", [False, True], ids=["payment first", "session first"])
def test_the_session_and_the_payment_behind_a_deduction(database, conn, turned):
    """Both wait for the account, and neither has locked by then what the other will need."""
    user = stripe.new_buyer(conn, 1)
    events = paid_twice(conn, user)[:: 1 if turned else -1]
    with (
        database.connect("billing_api", autocommit=False) as one,
        database.connect("billing_api") as other,
        database.connect("billing_api") as third,
    ):
        one.execute(DEDUCT, [user, 1])
        with in_background(other, APPLY, events[0]) as second:
            wait_until_blocked(conn, other)
            with in_background(third, APPLY, events[1]) as last:
                wait_until_blocked(conn, third)
                one.commit()
                assert [outcome(second).status, outcome(last).status] == ["processed", "processed"]
    assert account(conn, user).balance == 100


NEWS: dict[str, tuple[str, Callable[[str], stripe.JSON]]] = {
    "a refund": ("refund.created", lambda intent: stripe.refund(intent, 10000)),
    "a lost dispute": ("charge.dispute.closed", lambda intent: stripe.dispute(intent, 10000, status="lost")),
}


@pytest.mark.parametrize("turned", [False, True], ids=["payment first", "payment last"])
@pytest.mark.parametrize("news", NEWS)
def test_a_payment_and_what_takes_it_back_at_once(database, conn, news, turned):
    """Neither sees the other before it commits: the second waits, so that the credits are taken all the same."""
    user = stripe.new_buyer(conn)
    intent = stripe.payment_intent(stripe.new_purchase(conn, user))
    type, made = NEWS[news]
    both = [stored(conn, "payment_intent.succeeded", intent), stored(conn, type, made(intent["id"]))]
    if turned:
        both.reverse()
    with overtaken(database, conn, (APPLY, both[0]), (APPLY, both[1])) as answers:
        assert [answer.status for answer in answers] == ["processed", "processed"]
    assert shares(conn, user, intent["id"]) == (100, 100, 0)
    assert (account(conn, user).balance, account(conn, user).status) == (0, "active")


def test_a_dispute_opened_while_the_payment_is_taken_in(database, conn):
    """The account is frozen, although neither saw the other."""
    user = stripe.new_buyer(conn)
    intent = stripe.payment_intent(stripe.new_purchase(conn, user))
    paid = stored(conn, "payment_intent.succeeded", intent)
    opened = stored(conn, "charge.dispute.created", stripe.dispute(intent["id"], 10000))
    with overtaken(database, conn, (APPLY, paid), (APPLY, opened)):
        pass
    assert account(conn, user).status == "frozen"


def test_two_refunds_that_exceed_the_payment(database, conn):
    """The second one waits, and is refused before Stripe is asked."""
    user, intent = buyer(conn)
    ask = [(REFUND, new_admin(conn), user, 60, intent) for _ in range(2)]
    with overtaken(database, conn, *ask) as (first, second):
        assert (first.success, first.clawed) == (True, 60)
        assert (second.success, second.reason, second.call_id) == (False, "refund_exceeds_payment", None)
    assert account(conn, user).balance == 40
    refunds = conn.execute("select from billing.stripe_calls where kind = 'refund'")
    assert refunds.rowcount == 1


def test_10_refunds_of_30_from_100(database, conn):
    """Three pass, by whichever admins."""
    user, intent = buyer(conn, spent=20)
    jobs = [job for _ in range(10) for job in calls(REFUND, new_admin(conn), user, 30, intent)]
    results = together(database, jobs)
    assert sorted((row.success, row.reason) for row in results) == (
        [(False, "refund_exceeds_payment")] * 7 + [(True, None)] * 3
    )
    assert shares(conn, user, intent) == (90, 80, 0)
    assert sum(row.clawed + row.spent for row in results if row.success) == 90
    assert findings(conn) == []


def test_one_refund_key_from_10_sessions(database, conn):
    """One refund, one call to Stripe, and nine replays of it."""
    user, intent = buyer(conn)
    query = REFUND.replace("%s)", "%s, p_idempotency_key => 'k')")
    results = together(database, calls(query, new_admin(conn), user, 30, intent, times=10))
    assert sorted(row.replayed for row in results) == [False] + [True] * 9
    assert len({(row.refund_id, row.call_id) for row in results}) == 1
    assert account(conn, user).balance == 70


def test_a_refund_and_a_lost_dispute_at_once(database, conn):
    """They are netted: all of the payment is asked back once, whoever comes first."""
    for spent in (0, 60):
        user, intent = buyer(conn, spent)
        events = [
            stored(conn, "refund.created", stripe.refund(intent, 5000)),
            stored(conn, "charge.dispute.closed", stripe.dispute(intent, 10000, status="lost")),
            stored(conn, "refund.created", stripe.refund(intent, 2000)),
        ]
        results = together(database, [job for event_id in events for job in calls(APPLY, event_id, times=2)])
        assert raised(results) == []
        assert shares(conn, user, intent) == (100, 100 - spent, spent)
        assert (account(conn, user).balance, account(conn, user).debt) == (0, spent)
    assert findings(conn) == []


def test_a_deduction_that_waits_for_a_refund(database, conn):
    """It spends what the refund has left."""
    user, intent = buyer(conn)
    with overtaken(database, conn, (REFUND, new_admin(conn), user, 70, intent), (DEDUCT, user, 40)) as (_, late):
        assert (late.success, late.reason, late.balance_after) == (False, "insufficient_credits", 30)
    assert findings(conn) == []


def test_a_refund_that_waits_for_a_deduction(database, conn):
    """It takes what the deduction has left, and tells the rest."""
    user, intent = buyer(conn)
    with overtaken(database, conn, (DEDUCT, user, 60), (REFUND, new_admin(conn), user, 70, intent)) as (_, refund):
        assert (refund.clawed, refund.spent, refund.balance_after) == (40, 30, 0)
    assert findings(conn) == []


def test_deductions_and_refunds_at_once(database, conn):
    """Nothing is taken twice: what was spent, taken back and left is what was bought."""
    user, intent = buyer(conn)
    jobs = calls(DEDUCT, user, 3, times=20)
    jobs += [job for _ in range(10) for job in calls(REFUND, new_admin(conn), user, 7, intent)]
    results = together(database, jobs)
    assert raised(results) == []
    spent = sum(row.amount for row in results[:20])
    clawed = sum(row.clawed for row in results[20:])
    assert account(conn, user).balance + spent + clawed == 100
    assert shares(conn, user, intent) == (70, clawed, 0)
    assert findings(conn) == []


def test_20_top_ups_of_one_crossing(database, conn):
    """R22: workers find the same account below its threshold: one charge."""
    user = stripe.new_buyer(conn)
    conn.execute(SET_TOP_UP, [user, True])
    results = together(database, calls(TOP_UP, user, times=20))
    assert sum(row.purchase_id is not None for row in results) == 1
    charges = conn.execute("select from billing.stripe_calls where kind = 'top_up'")
    assert charges.rowcount == 1


def test_a_top_up_while_it_is_turned_off(database, conn):
    """Whoever comes second sees it: off is off, and a change keeps the number of the crossing that is under way."""
    user = stripe.new_buyer(conn)
    conn.execute(SET_TOP_UP, [user, True])
    with overtaken(database, conn, (SET_TOP_UP, user, False), (TOP_UP, user)) as (_, charge):
        assert charge.purchase_id is None
    conn.execute(SET_TOP_UP, [user, True])
    with overtaken(database, conn, (TOP_UP, user), (SET_TOP_UP, user, True)) as (charge, _):
        stripe.finish(conn, charge.call_id, stripe.payment_intent(charge))
    assert account(conn, user).balance == 10
    conn.execute(DEDUCT, [user, 8])
    assert conn.execute(TOP_UP, [user]).fetchone().purchase_id is not None
    crossings = conn.execute("select crossing_no from billing.credit_purchases order by 1").fetchall()
    assert [row.crossing_no for row in crossings] == [1, 2]


def test_top_ups_and_their_settings_from_many_sessions(database, conn):
    """One charge under way at a time, however often it is turned on and off meanwhile."""
    user = stripe.new_buyer(conn)
    conn.execute(SET_TOP_UP, [user, True])
    jobs = [*calls(SET_TOP_UP, user, False, times=5), *calls(SET_TOP_UP, user, True, times=5)]
    results = together(database, [*jobs, *calls(TOP_UP, user, times=15)])
    assert raised(results) == []
    waiting = conn.execute("select from billing.stripe_calls where kind = 'top_up' and status = 'pending'")
    assert waiting.rowcount <= 1
    assert conn.execute("select from billing.billing_auto_top_ups").rowcount == 1


def test_a_top_up_declined_while_its_settings_change(database, conn):
    """The refusal waits, and is not lost: the card is not charged again at once."""
    user = stripe.new_buyer(conn)
    conn.execute(SET_TOP_UP, [user, True])
    charge = conn.execute(TOP_UP, [user]).fetchone()
    fail = ("select * from billing.fail_stripe_call(%s, 'Your card was declined.', 'nsf')", charge.call_id)
    with overtaken(database, conn, (SET_TOP_UP, user, True), fail):
        pass
    after = conn.execute("select * from billing.get_auto_top_up(%s)", [user]).fetchone()
    assert (after.enabled, after.disabled_reason, after.failures) == (False, "nsf", 1)
    assert conn.execute(TOP_UP, [user]).fetchone().purchase_id is None


def test_a_customer_wanted_by_20_sessions(database, conn):
    """One call makes it."""
    user = stripe.new_buyer(conn)
    results = together(database, calls("select * from billing.request_customer(%s)", user, times=20))
    assert raised(results) == []
    assert len({row.call_id for row in results}) == 1
    assert results[0].call_id is not None


def test_a_customer_wanted_while_it_is_made(database, conn):
    """Who wants it waits for the answer that is being recorded, and never lets a second one be made."""
    user = stripe.new_buyer(conn)
    wanted = ("select * from billing.request_customer(%s)", user)
    call = conn.execute(wanted[0], [user]).fetchone().call_id
    conn.execute(CLAIM, [call])
    made = stripe.Jsonb({"id": "cus_1", "object": "customer"})
    with overtaken(database, conn, (FINISH, call, made), wanted) as (_, customer):
        assert (customer.stripe_customer_id, customer.call_id) == ("cus_1", None)


def test_a_customer_wanted_just_before_it_is_made(database, conn):
    """Between reading that there is none and asking for one, nobody can answer the call that waits."""
    user = stripe.new_buyer(conn)
    wanted = "select * from billing.request_customer(%s)"
    call = conn.execute(wanted, [user]).fetchone().call_id
    conn.execute(CLAIM, [call])
    made = stripe.Jsonb({"id": "cus_1", "object": "customer"})
    body = conn.execute("select pg_get_functiondef('billing_private.pending_call'::regproc) as sql").fetchone().sql
    conn.execute(body.replace("begin", "begin perform pg_advisory_xact_lock(7);", 1))
    conn.execute("select pg_advisory_lock(7)")
    with (
        database.connect("billing_api") as one,
        database.connect("billing_api") as other,
        in_background(one, wanted, user) as asking,
    ):
        wait_until_blocked(conn, one)
        with in_background(other, FINISH, call, made) as answering:
            wait_until_blocked(conn, other)
            conn.execute("select pg_advisory_unlock(7)")
            assert outcome(asking).call_id == call
            assert outcome(answering).status == "done"
    assert conn.execute("select from billing.stripe_calls").rowcount == 1


def test_one_purchase_key_from_20_sessions(database, conn):
    """One purchase, one call to Stripe."""
    user = stripe.new_buyer(conn)
    query = "select * from billing.record_purchase(%s, 50, p_idempotency_key => 'k')"
    results = together(database, calls(query, user, times=20))
    assert raised(results) == []
    assert sorted(row.replayed for row in results) == [False] + [True] * 19
    assert len({(row.purchase_id, row.call_id) for row in results}) == 1
    assert conn.execute("select from billing.stripe_calls").rowcount == 1


def test_one_checkout_of_20_is_open(database, conn):
    """Checkouts that are asked for at once replace one another: one is left, with the one call that waits."""
    user = stripe.new_buyer(conn)
    results = together(database, calls("select * from billing.request_checkout(%s, 'tier_2_20')", user, times=20))
    assert raised(results) == []
    waiting = conn.execute("select subject_id from billing.stripe_calls where status = 'pending'").fetchall()
    alive = conn.execute("select checkout_id from billing.billing_checkouts where status = 'pending'").fetchall()
    assert [row.subject_id for row in waiting] == [str(row.checkout_id) for row in alive]
    assert len(alive) == 1


def test_a_call_claimed_by_20_sessions(database, conn, clock):
    """One gets it; when that one dies, another one does, two minutes later, under the same key."""
    user = stripe.new_buyer(conn)
    call = stripe.new_purchase(conn, user).call_id
    first = [row for row in together(database, calls(CLAIM, call, times=20)) if row.call_id]
    clock.advance(minutes=3)
    second = [row for row in together(database, calls(CLAIM, call, times=20)) if row.call_id]
    assert [(row.tries, row.idempotency_key) for row in first + second] == [
        (1, f"credit-billing-{call}-1"),
        (2, f"credit-billing-{call}-1"),
    ]


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_refund_told_by_its_answer_and_by_events(database, conn, status):
    """Whoever records it first: one refund, taken once, or given back once."""
    user, intent = buyer(conn, spent=30)
    asked = conn.execute(REFUND, [new_admin(conn), user, 50, intent]).fetchone()
    answer = stripe.refund(intent, 5000, status=status, refund_id=asked.refund_id)
    event_id = stored(conn, "refund.updated", answer)
    jobs = [
        *calls(FINISH, asked.call_id, stripe.Jsonb(answer), times=4),
        *calls(FINISH_REFUND, asked.refund_id, stripe.Jsonb(answer), times=4),
        *calls(APPLY, event_id, times=4),
    ]
    assert raised(together(database, jobs)) == []
    (refund,) = conn.execute("select * from billing.list_refunds(%s)", [user]).fetchall()
    assert (refund.stripe_refund_id, refund.status) == (answer["id"], status)
    assert account(conn, user).balance == (20 if status == "succeeded" else 70)
    assert conn.execute("select from billing.stripe_calls where status = 'pending' and kind = 'refund'").rowcount == 0
    assert findings(conn) == []


def test_a_refund_that_is_refused_and_made(database, conn):
    """Two sessions tell otherwise of one call: the first one is right, and nothing is given back twice."""
    user, intent = buyer(conn)
    asked = conn.execute(REFUND, [new_admin(conn), user, 50, intent]).fetchone()
    made = stripe.Jsonb(stripe.refund(intent, 5000, refund_id=asked.refund_id))
    fail = ("select * from billing.fail_stripe_call(%s, 'refused')", asked.call_id)
    with overtaken(database, conn, (FINISH, asked.call_id, made), fail) as (_, late):
        assert late.status == "done"
    assert account(conn, user).balance == 50


def test_a_refund_made_at_stripe_told_to_20_sessions(database, conn):
    """Two events of a refund that is not ours, each told to ten sessions at once: one refund."""
    user, intent = buyer(conn)
    made = stripe.refund(intent, 2500)
    events = [stored(conn, type, made) for type in ("refund.created", "charge.refund.updated")]
    assert raised(together(database, [job for event_id in events for job in calls(APPLY, event_id, times=10)])) == []
    assert conn.execute("select from billing.credit_refunds").rowcount == 1
    assert account(conn, user).balance == 75


class Teller:
    """A session that does, in an order of its own, all that can happen to one account and its payments."""

    def __init__(self, seed: int, user: UUID, admin: UUID, intents: list[str], events: list[str]) -> None:
        self.dice = random.Random(seed)
        self.user, self.admin, self.intents, self.events = user, admin, intents, events

    def __call__(self, session: psycopg.Connection) -> None:
        for event_id in self.dice.sample(self.events, len(self.events)):
            session.execute(APPLY, [event_id])
            self.dice.choice([self.deduct, self.refund, self.freeze, self.top_up, self.buy])(session)

    def deduct(self, session: psycopg.Connection) -> None:
        session.execute(DEDUCT, [self.user, self.dice.randint(1, 9)])

    def refund(self, session: psycopg.Connection) -> None:
        amount = self.dice.randint(1, 20)
        row = session.execute(REFUND, [self.admin, self.user, amount, self.dice.choice(self.intents)]).fetchone()
        if row.success:
            fail = self.dice.random() < 0.5
            session.execute(CLAIM, [row.call_id])
            if fail:
                session.execute("select billing.fail_stripe_call(%s, 'refused')", [row.call_id])

    def freeze(self, session: psycopg.Connection) -> None:
        status = self.dice.choice(["frozen", "active", "active"])
        session.execute("select billing.set_account_status(%s, %s, %s, 'a race')", [self.admin, self.user, status])

    def top_up(self, session: psycopg.Connection) -> None:
        charge = session.execute(TOP_UP, [self.user]).fetchone()
        if charge.call_id:
            session.execute("select billing.fail_stripe_call(%s, 'declined', 'nsf')", [charge.call_id])

    def buy(self, session: psycopg.Connection) -> None:
        session.execute("select billing.request_customer(%s)", [self.user])
        session.execute("select billing.list_payments(%s)", [self.user])


def test_everything_at_once(database, conn):
    """Payments, refunds, disputes, deductions, freezes and top-ups of one account: no deadlock, and the sums hold."""
    user, admin = stripe.new_buyer(conn, 50), new_admin(conn)
    conn.execute("select * from billing.set_auto_top_up(%s, true, 40, '10', 1000)", [user])
    intents, events = [], []
    for number in range(6):
        intent = stripe.payment_intent(stripe.new_purchase(conn, user))
        id = intent["id"]
        intents.append(id)
        end = "won" if number % 2 else "lost"
        events += [
            stored(conn, "payment_intent.succeeded", intent),
            stored(conn, "checkout.session.completed", stripe.checkout_session(intent)),
            stored(conn, "refund.updated", stripe.refund(id, 3000, id=f"re_{number}")),
            stored(conn, "refund.failed", stripe.refund(id, 3000, id=f"re_{number}", status="failed")),
            stored(conn, "charge.dispute.created", stripe.dispute(id, 10000, id=f"dp_{number}")),
            stored(conn, "charge.dispute.closed", stripe.dispute(id, 10000, id=f"dp_{number}", status=end)),
        ]
    results = together(database, [Teller(seed, user, admin, intents, events) for seed in range(8)])
    assert raised(results) == []
    for number, intent in enumerate(intents):
        paid = stripe.payment(conn, user, intent)
        assert (paid.lost_cents, paid.disputed) == (0 if number % 2 else 10000, False)
        assert paid.clawed + paid.owed <= paid.reclaimed <= 100
        assert paid.reclaimed == (min(paid.refunded_cents, 10000) / 100 if number % 2 else 100)
    assert conn.execute("select from billing.account_freezes where cause = 'dispute'").rowcount == 0
    waiting = conn.execute("select event_id, error from billing.stripe_events where status <> 'processed'").fetchall()
    assert waiting == []
    assert findings(conn) == []
