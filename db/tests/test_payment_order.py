"""Stripe's news in every order, some of it twice: what it leaves behind is always the same.

A scenario is a list of steps: events, and answers to our own calls, which may come before them or after. What raises is
tried again after the others, as the worker does. Every order starts from the same account, and is rolled back.
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import permutations
from math import factorial
from typing import Any
from uuid import UUID

import psycopg
import pytest

from db.tests import stripe_objects as stripe
from db.tests.sessions import new_admin
from db.tests.stripe_objects import DAY, JSON, NOW
from scripts.pytest_billing import Clock, databases

# Of more orders than a test wants, this many.
SAMPLE = 30

Step = Callable[[psycopg.Connection], Any]
Story = tuple[UUID, list[Step]]

# What is left, without ids of ours, times of ours and history: in which pieces credits were taken and given back, and
# which of two refunds found them spent, does depend on the order.
STATE = """
select jsonb_build_object(
    'account', (
        select jsonb_build_object(
            'balance', trim_scale(balance), 'held', held, 'debt', trim_scale(debt), 'status', status, 'tier', tier,
            'used', trim_scale(used_total)
        )
        from billing.credit_accounts where user_id = %(user)s
    ),
    'freezes', (
        select jsonb_agg(jsonb_build_array(cause, reference_id) order by cause, reference_id)
        from billing.account_freezes where user_id = %(user)s
    ),
    'lots', (
        select jsonb_agg(jsonb_build_array(source, reference_id, expires_at, priority, remaining) order by 1, 2, 3)
        from (
            select o.source, o.reference_id, l.expires_at, l.priority, trim_scale(sum(l.remaining)) as remaining
            from billing.credit_grants l
            join billing.credit_grants o
                on o.user_id = l.user_id and o.grant_no = coalesce(l.from_grant_no, l.grant_no)
            where l.user_id = %(user)s
            group by 1, 2, 3, 4
            having sum(l.remaining) > 0
        ) lots (source, reference_id, expires_at, priority, remaining)
    ),
    'tier_grants', (
        select jsonb_object_agg(reference_id, amount)
        from (
            select reference_id, trim_scale(sum(amount)) as amount
            from billing.credit_grants where user_id = %(user)s and source = 'tier_grant' group by 1
        ) grants
    ),
    'purchases', (
        select jsonb_agg(
            to_jsonb(p) - '{purchase_id,user_id,entry_no,created_at,completed_at}'::text[]
                || jsonb_build_object('type', (
                    select type from billing.credit_ledger e where e.user_id = p.user_id and e.entry_no = p.entry_no
                ))
            order by crossing_no
        )
        from billing.credit_purchases p where user_id = %(user)s
    ),
    'payments', (
        select jsonb_agg(
            to_jsonb(p) - '{user_id,purchase_id,grant_no}'::text[]
                || jsonb_build_object('paid', purchase_id is not null, 'lot', (
                    select source from billing.credit_grants l
                    where l.user_id = p.user_id and l.grant_no = p.grant_no
                ))
            order by payment_intent_id
        )
        from billing.billing_payments p where user_id = %(user)s
    ),
    'refunds', (
        select jsonb_agg(
            to_jsonb(r) - '{refund_id,action_id,entry_no,requested_by,clawed,spent,owed,created_at,updated_at}'::text[]
            order by stripe_refund_id
        )
        from billing.credit_refunds r where payment_intent_id = 'pi_1'
    ),
    'disputes', (
        select jsonb_agg(to_jsonb(d) - '{seen_at,updated_at}'::text[] order by dispute_id)
        from billing.billing_disputes d where payment_intent_id = 'pi_1'
    ),
    'subscriptions', (
        select jsonb_agg(to_jsonb(s) - '{synced_at,updated_at}'::text[] order by stripe_subscription_id)
        from billing.billing_subscriptions s where user_id = %(user)s
    ),
    'top_up', (
        select to_jsonb(t) - '{updated_at}'::text[] from billing.billing_auto_top_ups t where user_id = %(user)s
    ),
    'pending', (select jsonb_agg(event_id) from billing.stripe_events where status = 'pending'),
    'findings', (select jsonb_agg(f) from billing.verify_account(%(user)s) f)
)::text as state
"""


# What the webhook and the worker do with an event, in one go; the answer is what it was refused for.
HEAR = """
create function pg_temp.hear(p_event jsonb) returns text language plpgsql as $$
begin
    perform billing.record_stripe_event(p_event);
    begin
        perform billing.apply_stripe_event(p_event ->> 'id');
        return null;
    exception
        when others then
            if sqlstate not like 'UC%' then
                raise;
            end if;
            perform billing.fail_stripe_event(p_event ->> 'id', sqlerrm);
            return sqlerrm;
    end;
end
$$
"""


@pytest.fixture(scope="module")
def still(pytestconfig):
    """A session whose time stands still, at NOW. Nothing is ever committed, so one database does for all tests."""
    pool = databases(pytestconfig)
    database = pool.copy()
    Clock(database).freeze(datetime.fromtimestamp(NOW, UTC))
    with database.connect() as conn:
        conn.execute(HEAR)
        yield conn
    pool.drop(database)


class TryAgain(Exception):
    """SQL refused an event for the moment, and has noted why."""


def event(type: str, object: JSON, created: int = NOW) -> Step:
    """An event that is stored, unless it is already, and applied."""
    made = stripe.Jsonb(stripe.event(type, object, created=created))

    def step(conn: psycopg.Connection) -> None:
        if refusal := conn.execute("select pg_temp.hear(%s) as refusal", [made]).fetchone().refusal:
            raise TryAgain(refusal)

    return step


def answer(call_id: UUID, object: JSON) -> Step:
    """What Stripe answers to a call of ours."""
    return lambda conn: stripe.finish(conn, call_id, object)


def orders(count: int, most: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Every order of so many steps, or some; each with a step or two more, which come a second time."""
    dice = random.Random(seed)
    every = permutations(range(count))
    if factorial(count) > most:
        every = (tuple(dice.sample(range(count), count)) for _ in range(SAMPLE))
    for order in every:
        again = list(order)
        for _ in range(dice.randint(1, 2)):
            again.insert(dice.randint(0, len(again)), dice.randrange(count))
        yield tuple(again)


def play(conn: psycopg.Connection, story: Story, order: tuple[int, ...]) -> JSON:
    """Take the steps in that order, those that failed once more, and tell what they leave."""
    user, steps = story
    failed = []
    for number in order:
        try:
            steps[number](conn)
        except TryAgain:
            failed.append(number)
    for number in failed:
        steps[number](conn)
    return json.loads(conn.execute(STATE, {"user": user}).fetchone().state)


def same_in_every_order(
    conn: psycopg.Connection,
    tell: Callable[[psycopg.Connection], Story],
    *,
    then: Step | None = None,
    most: int = 120,
    seed: int = 0,
) -> JSON:
    """What the scenario leaves, after asserting that all orders leave the same; `then` comes at the end of each."""
    expected = None
    with conn.transaction(force_rollback=True):
        user, steps = tell(conn)
        for order in orders(len(steps), most, seed):
            with conn.transaction(force_rollback=True):
                state = play(conn, (user, [*steps, then]), (*order, -1) if then else order)
            assert state["findings"] is None
            assert state["pending"] is None
            expected = expected or state
            assert state == expected, order
    return expected


def standing(state: JSON) -> tuple[float, float, str]:
    account = state["account"]
    return account["balance"], account["debt"], account["status"]


def spent_buyer(conn: psycopg.Connection, spent: int = 0, gift: int = 0) -> tuple[UUID, Any]:
    """A user who paid for 100 credits as pi_1, and has spent some, what was given first."""
    user = stripe.new_buyer(conn, gift)
    purchase = stripe.new_purchase(conn, user, 100)
    stripe.deliver(conn, "payment_intent.succeeded", stripe.payment_intent(purchase, id="pi_1"))
    if spent:
        assert conn.execute("select * from billing.deduct_credits(%s, %s)", [user, spent]).fetchone().success
    return user, purchase


def test_a_purchase(still):
    """The answer that made the session, its completion and the payment: granted once, with the payment on it."""

    def tell(conn: psycopg.Connection) -> Story:
        user = stripe.new_buyer(conn)
        purchase = stripe.new_purchase(conn, user)
        intent = stripe.payment_intent(purchase, id="pi_1")
        paid = stripe.checkout_session(intent, id="cs_1")
        unpaid = stripe.checkout_session(intent, id="cs_1", status="open", payment_status="unpaid")
        return user, [
            answer(purchase.call_id, unpaid),
            event("checkout.session.completed", paid),
            event("checkout.session.completed", paid),
            event("payment_intent.succeeded", intent),
            event("charge.refunded", stripe.charge("pi_1", 10000, 0)),
        ]

    state = same_in_every_order(still, tell)
    assert standing(state) == (100, 0, "active")
    assert state["lots"] == [["purchase", "pi_1", None, 100, 100]]
    (purchase,) = state["purchases"]
    assert (purchase["status"], purchase["stripe_payment_intent_id"], purchase["type"]) == ("paid", "pi_1", "purchase")


@pytest.mark.parametrize("succeeds", [True, False], ids=["succeeds", "fails"])
def test_a_payment_that_takes_days(still, succeeds):
    """A completed session is no payment yet: the credits come with the payment, or never."""

    def tell(conn: psycopg.Connection) -> Story:
        user = stripe.new_buyer(conn)
        purchase = stripe.new_purchase(conn, user)
        waiting = stripe.payment_intent(purchase, id="pi_1", status="processing")
        unpaid = stripe.checkout_session(waiting, id="cs_1", payment_status="unpaid")
        opened = stripe.checkout_session(waiting, id="cs_1", status="open", payment_status="unpaid")
        steps = [
            answer(purchase.call_id, opened),
            event("checkout.session.completed", unpaid),
            event("payment_intent.processing", waiting),
        ]
        if succeeds:
            paid = stripe.payment_intent(purchase, id="pi_1")
            steps += [
                event("payment_intent.succeeded", paid),
                event("checkout.session.async_payment_succeeded", stripe.checkout_session(paid, id="cs_1")),
            ]
        else:
            refused = stripe.payment_intent(purchase, id="pi_1", status="requires_payment_method", decline_code="nsf")
            steps += [
                event("payment_intent.payment_failed", refused),
                event("checkout.session.async_payment_failed", unpaid),
            ]
        return user, steps

    state = same_in_every_order(still, tell)
    assert state["account"]["balance"] == (100 if succeeds else 0)
    assert state["purchases"][0]["status"] == ("paid" if succeeds else "failed")


def test_an_expired_session_whose_payment_arrives(still):
    """What expired, or failed before, may still have been paid: then it is granted."""

    def tell(conn: psycopg.Connection) -> Story:
        user = stripe.new_buyer(conn)
        purchase = stripe.new_purchase(conn, user)
        refused = stripe.payment_intent(purchase, id="pi_1", status="requires_payment_method", decline_code="nsf")
        over = stripe.checkout_session(refused, id="cs_1", status="expired", payment_status="unpaid")
        return user, [
            event("checkout.session.expired", over),
            event("payment_intent.payment_failed", refused),
            event("payment_intent.canceled", stripe.payment_intent(purchase, id="pi_1", status="canceled")),
            event("payment_intent.succeeded", stripe.payment_intent(purchase, id="pi_1")),
        ]

    assert standing(same_in_every_order(still, tell)) == (100, 0, "active")


def test_refunds_before_and_after_their_payment(still):
    """Two partial refunds made at Stripe, of which one fails in the end: half a payment's share is taken back."""

    def tell(conn: psycopg.Connection) -> Story:
        user = stripe.new_buyer(conn, 7)
        purchase = stripe.new_purchase(conn, user)
        return user, [
            event("payment_intent.succeeded", stripe.payment_intent(purchase, id="pi_1")),
            event("refund.created", stripe.refund("pi_1", 2500, id="re_1", status="pending")),
            event("refund.updated", stripe.refund("pi_1", 2500, id="re_1")),
            event("refund.created", stripe.refund("pi_1", 4000, id="re_2", status="pending")),
            event("charge.refund.updated", stripe.refund("pi_1", 4000, id="re_2")),
            event("refund.failed", stripe.refund("pi_1", 4000, id="re_2", status="failed")),
        ]

    state = same_in_every_order(still, tell)
    assert standing(state) == (82, 0, "active")
    (paid,) = state["payments"]
    assert (paid["reclaimed"], paid["clawed"], paid["owed"]) == (25, 25, 0)
    assert [refund["status"] for refund in state["refunds"]] == ["succeeded", "failed"]


@pytest.mark.parametrize(
    ("spent", "owe", "left"),
    [(0, False, (60, 0)), (70, False, (0, 0)), (70, True, (0, 10)), (50, True, (10, 0))],
)
def test_a_refund_of_ours_beside_one_of_stripes(still, spent, owe, left):
    """Our request's answer, its events and those of another refund: the share is that of what was paid back."""

    def tell(conn: psycopg.Connection) -> Story:
        user, _ = spent_buyer(conn, spent)
        asked = conn.execute(
            "select * from billing.request_refund(%s, %s, 40, 'a refund', true, 'pi_1', p_owe_spent => %s)",
            [new_admin(conn), user, owe],
        ).fetchone()
        ours = {"id": "re_1", "refund_id": asked.refund_id}
        return user, [
            answer(asked.call_id, stripe.refund("pi_1", 4000, status="pending", **ours)),
            event("refund.created", stripe.refund("pi_1", 4000, status="pending", **ours)),
            event("refund.updated", stripe.refund("pi_1", 4000, **ours)),
            event("refund.created", stripe.refund("pi_1", 1500, id="re_2", status="pending")),
            event("refund.updated", stripe.refund("pi_1", 1500, id="re_2", status="canceled")),
        ]

    state = same_in_every_order(still, tell, most=24, seed=spent)
    balance, debt, _ = standing(state)
    assert (balance, debt) == left
    assert [refund["status"] for refund in state["refunds"]] == ["succeeded", "canceled"]


def test_a_refund_of_ours_that_fails_days_later(still):
    """Whatever came in between, the credits that it took are back."""

    def tell(conn: psycopg.Connection) -> Story:
        user, _ = spent_buyer(conn, 30, gift=5)
        asked = conn.execute(
            "select * from billing.request_refund(%s, %s, 100, 'a refund', true, 'pi_1', p_owe_spent => true)",
            [new_admin(conn), user],
        ).fetchone()
        ours = {"id": "re_1", "refund_id": asked.refund_id}
        return user, [
            answer(asked.call_id, stripe.refund("pi_1", 10000, status="pending", **ours)),
            event("refund.created", stripe.refund("pi_1", 10000, status="pending", **ours)),
            event("refund.updated", stripe.refund("pi_1", 10000, **ours)),
            event("refund.failed", stripe.refund("pi_1", 10000, status="failed", **ours)),
            event("charge.refunded", stripe.charge("pi_1", 10000, 10000)),
        ]

    state = same_in_every_order(still, tell)
    assert standing(state) == (75, 0, "active")
    (paid,) = state["payments"]
    assert (paid["reclaimed"], paid["clawed"], paid["owed"]) == (0, 0, 0)
    assert [lot[0] for lot in state["lots"]] == ["purchase"]


def test_a_dispute_that_is_won(still):
    """Frozen in between, and in the end as if nothing had been, even when the payment is the last to be known."""

    def tell(conn: psycopg.Connection) -> Story:
        user = stripe.new_buyer(conn, 7)
        purchase = stripe.new_purchase(conn, user)
        return user, [
            event("payment_intent.succeeded", stripe.payment_intent(purchase, id="pi_1")),
            *disputed(("created", "needs_response"), ("updated", "under_review"), ("closed", "won")),
            event("charge.dispute.funds_reinstated", stripe.dispute("pi_1", 10000, id="dp_1", status="won"), NOW + 9),
        ]

    state = same_in_every_order(still, tell)
    assert standing(state) == (107, 0, "active")
    assert state["freezes"] is None
    assert state["disputes"][0]["status"] == "won"


def disputed(*news: tuple[str, str], cents: int = 10000) -> list[Step]:
    """Events of one dispute, each a second after the one before."""
    return [
        event(f"charge.dispute.{name}", stripe.dispute("pi_1", cents, id="dp_1", status=status), NOW + number)
        for number, (name, status) in enumerate(news)
    ]


@pytest.mark.parametrize(("spent", "left"), [(0, (0, 0)), (60, (0, 60)), (100, (0, 100))])
def test_a_dispute_that_is_lost(still, spent, left):
    """What is left of the payment's lot is taken, the rest becomes debt; the account is active again."""

    def tell(conn: psycopg.Connection) -> Story:
        user, _ = spent_buyer(conn, spent)
        return user, disputed(
            ("created", "needs_response"), ("funds_withdrawn", "needs_response"), ("updated", "under_review"),
            ("closed", "lost"),
        )  # fmt: skip

    state = same_in_every_order(still, tell)
    assert standing(state) == (*left, "active")
    (paid,) = state["payments"]
    assert (paid["reclaimed"], paid["clawed"], paid["owed"]) == (100, 100 - spent, spent)


def test_an_inquiry_that_becomes_a_dispute(still):
    """An inquiry freezes nothing; the dispute that it becomes does, while it is open."""

    def tell(conn: psycopg.Connection) -> Story:
        user, _ = spent_buyer(conn, 20)
        return user, disputed(
            ("created", "warning_needs_response"), ("updated", "warning_under_review"), ("updated", "needs_response"),
            ("updated", "under_review"),
        )  # fmt: skip

    state = same_in_every_order(still, tell)
    assert standing(state) == (80, 0, "frozen")
    assert state["freezes"] == [["dispute", "dp_1"]]


@pytest.mark.parametrize("spent", [0, 20, 50, 80, 100])
@pytest.mark.parametrize("end", ["won", "lost", "lost, then won", "won, then lost"])
def test_a_refund_and_a_dispute_of_one_payment(still, spent, end):
    """30 were paid back and all of it was disputed: lost takes all, once; won leaves the refund's 30 taken, no less."""
    ends = [("closed", status) for status in end.split(", then ")]

    def tell(conn: psycopg.Connection) -> Story:
        user, _ = spent_buyer(conn, spent)
        return user, [
            event("refund.created", stripe.refund("pi_1", 3000, id="re_1", status="pending")),
            event("refund.updated", stripe.refund("pi_1", 3000, id="re_1")),
            *disputed(("created", "needs_response"), *ends),
        ]

    state = same_in_every_order(still, tell, most=24, seed=spent)
    (paid,) = state["payments"]
    if end.endswith("won"):
        taken = min(30, 100 - spent)
        assert standing(state) == (100 - spent - taken, 0, "active")
        assert (paid["reclaimed"], paid["clawed"], paid["owed"]) == (30, taken, 0)
    else:
        assert standing(state) == (0, spent, "active")
        assert (paid["reclaimed"], paid["clawed"], paid["owed"]) == (100, 100 - spent, spent)


@pytest.mark.parametrize("spent", [0, 50, 90])
def test_a_refund_that_fails_beside_a_dispute_of_a_part(still, spent):
    """Only the dispute's 40 are owed in the end; what the refund had taken beyond them is back."""

    def tell(conn: psycopg.Connection) -> Story:
        user, _ = spent_buyer(conn, spent)
        return user, [
            event("refund.created", stripe.refund("pi_1", 6000, id="re_1", status="pending")),
            event("refund.failed", stripe.refund("pi_1", 6000, id="re_1", status="failed")),
            *disputed(("created", "needs_response"), ("closed", "lost"), cents=4000),
        ]

    state = same_in_every_order(still, tell)
    assert standing(state) == (max(60 - spent, 0), max(spent - 60, 0), "active")
    (paid,) = state["payments"]
    assert (paid["reclaimed"], paid["clawed"]) == (40, min(40, 100 - spent))


@pytest.mark.parametrize("spent", [30, 60])
def test_a_refund_of_a_part_and_a_dispute_of_the_rest(still, spent):
    """All is asked back and taken once. Only what is owed for the spent part depends on what was let go by then."""

    def tell(conn: psycopg.Connection) -> Story:
        user, _ = spent_buyer(conn, spent)
        return user, [
            event("refund.created", stripe.refund("pi_1", 5000, id="re_1")),
            *disputed(("created", "needs_response"), ("closed", "lost"), cents=5000),
        ]

    def forget_what_is_owed(conn: psycopg.Connection) -> None:
        paid = conn.execute("select clawed, owed from billing.billing_payments").fetchone()
        assert max(50 - paid.clawed, 0) <= paid.owed <= min(50, spent)
        conn.execute("update billing.billing_payments set owed = 0")
        conn.execute("update billing.credit_accounts set debt = 0")

    state = same_in_every_order(still, tell, then=forget_what_is_owed)
    (paid,) = state["payments"]
    assert (paid["reclaimed"], paid["clawed"], state["account"]["balance"]) == (100, 100 - spent, 0)


def topping_up(conn: psycopg.Connection) -> tuple[UUID, Any]:
    """A buyer of package 10 below a threshold of 5, and the charge that is under way."""
    user = stripe.new_buyer(conn)
    conn.execute("select billing.set_auto_top_up(%s, true, 5, '10', 100)", [user])
    return user, conn.execute("select * from billing.request_top_up(%s)", [user]).fetchone()


def test_a_top_up_that_succeeds(still):
    """Our call's answer and its events: one package."""

    def tell(conn: psycopg.Connection) -> Story:
        user, purchase = topping_up(conn)
        paid = stripe.payment_intent(purchase, id="pi_1")
        return user, [
            event("payment_intent.processing", stripe.payment_intent(purchase, id="pi_1", status="processing")),
            answer(purchase.call_id, paid),
            event("payment_intent.succeeded", paid),
        ]

    state = same_in_every_order(still, tell)
    assert standing(state) == (10, 0, "active")
    assert (state["top_up"]["enabled"], state["top_up"]["failures"]) == (True, 0)


def test_a_top_up_that_is_declined(still):
    """The refusal, our call's and its event's, counts as one failure and turns it off."""

    def tell(conn: psycopg.Connection) -> Story:
        user, purchase = topping_up(conn)
        refused = stripe.payment_intent(
            purchase, id="pi_1", status="requires_payment_method", decline_code="insufficient_funds"
        )
        fail = "select billing.fail_stripe_call(%s, 'Your card was declined.', 'insufficient_funds')"
        return user, [
            event("payment_intent.processing", stripe.payment_intent(purchase, id="pi_1", status="processing")),
            lambda conn: conn.execute(fail, [purchase.call_id]),
            event("payment_intent.payment_failed", refused),
        ]

    state = same_in_every_order(still, tell)
    assert standing(state) == (0, 0, "active")
    top_up = state["top_up"]
    assert (top_up["enabled"], top_up["disabled_reason"], top_up["failures"]) == (False, "insufficient_funds", 1)


def test_a_top_up_that_is_declined_and_paid_after_all(still):
    """The money is there, so are the credits. Off stays off: that it was refused is known only if it was told first."""

    def tell(conn: psycopg.Connection) -> Story:
        user, purchase = topping_up(conn)
        refused = stripe.payment_intent(purchase, id="pi_1", status="requires_payment_method", decline_code="nsf")
        return user, [
            event("payment_intent.processing", stripe.payment_intent(purchase, id="pi_1", status="processing")),
            event("payment_intent.payment_failed", refused),
            event("payment_intent.succeeded", stripe.payment_intent(purchase, id="pi_1")),
        ]

    def forget_the_switch(conn: psycopg.Connection) -> None:
        conn.execute("update billing.billing_auto_top_ups set enabled = false, disabled_reason = null")

    state = same_in_every_order(still, tell, then=forget_the_switch)
    assert standing(state) == (10, 0, "active")
    assert (state["purchases"][0]["status"], state["purchases"][0]["error"]) == ("paid", None)
    assert (state["top_up"]["failures"], state["top_up"]["retry_after"]) == (0, None)


def test_a_declined_top_up_and_the_next_one(still):
    """Late news of the first charge says nothing about the second, with another card."""

    def tell(conn: psycopg.Connection) -> Story:
        user, first = topping_up(conn)
        conn.execute("select billing.fail_stripe_call(%s, 'Your card was declined.', 'nsf')", [first.call_id])
        conn.execute("select billing.set_auto_top_up(%s, true, p_payment_method_id => 'pm_2')", [user])
        second = conn.execute("select * from billing.request_top_up(%s)", [user]).fetchone()
        refused = stripe.payment_intent(first, id="pi_0", status="requires_payment_method", decline_code="nsf")
        paid = stripe.payment_intent(second, id="pi_1")
        return user, [
            event("payment_intent.payment_failed", refused),
            event("payment_intent.canceled", stripe.payment_intent(first, id="pi_0", status="canceled")),
            answer(second.call_id, paid),
            event("payment_intent.succeeded", paid),
        ]

    state = same_in_every_order(still, tell)
    assert standing(state) == (10, 0, "active")
    assert [purchase["status"] for purchase in state["purchases"]] == ["failed", "paid"]
    assert (state["top_up"]["enabled"], state["top_up"]["failures"]) == (True, 0)


# What becomes of a subscription that began in March: what Stripe says at the end, and the events of the way there.
OVERDUE: JSON = {"tier": "tier_6_50", "status": "past_due"}
DELETED: JSON = {"tier": "tier_6_50", "status": "canceled"}
ENDS: dict[str, tuple[JSON, list[tuple[str, JSON]]]] = {
    "upgraded": ({"tier": "tier_6_50"}, []),
    "upgraded, then overdue": (OVERDUE, [("customer.subscription.updated", OVERDUE)]),
    "overdue, then paid": ({"tier": "tier_6_50"}, [("customer.subscription.updated", OVERDUE)]),
}


def asked_at_the_end(last: JSON) -> Step:
    """The readings that wait find what Stripe says at last."""

    def ask(conn: psycopg.Connection) -> None:
        conn.execute("update billing.stripe_calls set next_attempt_at = created_at where status = 'pending'")
        due = conn.execute("select * from billing.list_due_stripe_calls() where kind = 'subscriptions'").fetchall()
        assert due
        for call in due:
            stripe.finish(conn, call.call_id, stripe.listing(stripe.subscription(call.stripe_customer_id, **last)))

    return ask


@pytest.mark.parametrize("end", ENDS)
def test_a_subscription(still, end):
    """An upgrade counts from the moment that it is told; all else is what Stripe says when it is asked at the end."""
    last, way = ENDS[end]

    def tell(conn: psycopg.Connection) -> Story:
        user, customer = subscriber(conn)
        updated = "customer.subscription.updated"
        return user, [
            event("customer.subscription.created", stripe.subscription(customer, "tier_2_20", status="incomplete")),
            event(updated, stripe.subscription(customer, "tier_2_20")),
            event(updated, stripe.subscription(customer, "tier_6_50")),
            *(event(type, stripe.subscription(customer, **seen)) for type, seen in way),
            event("invoice.paid", stripe.invoice(customer)),
        ]

    state = same_in_every_order(still, tell, then=asked_at_the_end(last), most=24)
    assert (state["account"]["tier"], state["tier_grants"]) == ("tier_6_50", {"2030-03": 55})
    assert [row["status"] for row in state["subscriptions"]] == [last.get("status", "active")]


def test_a_subscription_that_ends(still):
    """It is over with the first that says so, and stays over; what it brought until then stays."""

    def tell(conn: psycopg.Connection) -> Story:
        user, customer = subscriber(conn, "tier_6_50")
        updated = "customer.subscription.updated"
        return user, [
            event(updated, stripe.subscription(customer, "tier_6_50")),
            event(updated, stripe.subscription(customer, **OVERDUE)),
            event("invoice.payment_failed", stripe.invoice(customer)),
            event("customer.subscription.deleted", stripe.subscription(customer, **DELETED)),
        ]

    state = same_in_every_order(still, tell, then=asked_at_the_end(DELETED))
    assert (state["account"]["tier"], state["tier_grants"]) == ("free", {"2030-03": 55})
    assert [row["status"] for row in state["subscriptions"]] == ["canceled"]


def test_r11_an_upgrade_right_before_the_end(still):
    """It was paid for, so its difference is granted, though the end may be heard of first."""

    def tell(conn: psycopg.Connection) -> Story:
        user, customer = subscriber(conn)
        updated = "customer.subscription.updated"
        return user, [
            event(updated, stripe.subscription(customer, "tier_2_20")),
            event(updated, stripe.subscription(customer, "tier_6_50")),
            event("customer.subscription.deleted", stripe.subscription(customer, **DELETED)),
        ]

    state = same_in_every_order(still, tell, then=asked_at_the_end(DELETED))
    assert (state["account"]["tier"], state["tier_grants"]) == ("free", {"2030-03": 55})


def subscriber(conn: psycopg.Connection, tier: str = "tier_2_20") -> tuple[UUID, str]:
    """A user whose subscription was seen at Stripe."""
    user = conn.execute("select user_id from billing.open_account(gen_random_uuid(), 'free')").fetchone().user_id
    customer = stripe.new_customer(conn, user)
    call = conn.execute("select call_id from billing.request_sync(%s)", [user]).fetchone()
    stripe.finish(conn, call.call_id, stripe.listing(stripe.subscription(customer, tier)))
    return user, customer


def test_a_subscription_known_before_its_customer(still):
    """Events before the answer that made the customer fail by name, and are applied when they are tried again."""

    def tell(conn: psycopg.Connection) -> Story:
        user = conn.execute("select user_id from billing.open_account(gen_random_uuid(), 'free')").fetchone().user_id
        wanted = conn.execute("select call_id from billing.request_customer(%s)", [user]).fetchone()
        made = {"id": "cus_1", "object": "customer", "metadata": stripe.metadata(user_id=user)}
        active = stripe.subscription("cus_1", "tier_2_20")
        return user, [
            answer(wanted.call_id, made),
            event("customer.subscription.created", active),
            event("customer.subscription.updated", active),
        ]

    def reconcile(conn: psycopg.Connection) -> None:
        read_at_stripe(conn, stripe.subscription("cus_1", "tier_2_20"), NOW + DAY)

    state = same_in_every_order(still, tell, then=reconcile)
    assert (state["account"]["tier"], state["tier_grants"]) == ("tier_2_20", {"2030-03": 25})


def read_at_stripe(conn: psycopg.Connection, object: JSON, at: int) -> None:
    """What was read there at a time, as the reconciliation does."""
    conn.execute("select billing.record_stripe_object(%s, to_timestamp(%s))", [stripe.Jsonb(object), at])


@pytest.mark.parametrize("gap", [1, 40 * DAY])
def test_readings_of_a_subscription_out_of_order(still, gap):
    """The newest reading counts, whenever it is recorded; what is older changes nothing."""

    def tell(conn: psycopg.Connection) -> Story:
        user, customer = subscriber(conn)
        steps = []
        for number, tier in enumerate(["tier_6_50", "tier_2_20", "tier_12_100"], 1):
            start = NOW + number * gap
            seen = stripe.subscription(customer, tier, start=start, end=start + gap)
            steps.append(lambda conn, seen=seen, at=start: read_at_stripe(conn, seen, at))
        return user, steps

    state = same_in_every_order(still, tell)
    assert state["account"]["tier"] == "tier_12_100"
    assert state["tier_grants"] == {"2030-03": 105}
