"""Money that goes back and forth: after every step of a random history the credits have followed it, and nothing else.

The model keeps what the customer is worth apart from refunds and disputes, and what of each payment Stripe has kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from db.tests import stripe_objects as stripe
from db.tests.sessions import new_admin
from db.tests.test_properties import PROFILE

# A step here is some calls; histories are short, and a quarter as many.
SETTINGS = settings(
    PROFILE,
    max_examples=PROFILE.max_examples // 4,
    stateful_step_count=PROFILE.stateful_step_count * 2 // 3,
)
NINTH_PLACE = Decimal("0.000000001")
EXACT = Context(prec=60)

parts = st.sampled_from([Decimal("0.01"), Decimal("0.25"), Decimal("0.333"), Decimal("0.5"), Decimal(1)])
picks = st.integers(0, 10**6)

STATE = """
select
    a.balance, a.held, a.debt, a.status,
    exists (select from billing.account_freezes where user_id = a.user_id and cause = 'admin') as frozen_by_admin,
    (select coalesce(json_agg(f), '[]') from billing.verify_account(a.user_id) f) as findings,
    s.granted_total - s.spent_total - s.taken_total - s.expired_total - s.recovered_total as accounted_for
from billing.credit_accounts a
cross join billing.account_summary(a.user_id) s
where a.user_id = %s
"""

# The payment, what was taken from its lots and not given back by the ledger, and what is left in them.
PAYMENT = """
select
    p.*,
    (
        select coalesce(sum(-e.amount), 0)
        from billing.credit_ledger e
        left join billing.credit_ledger c on c.user_id = e.user_id and c.entry_no = e.reversed_entry_no
        where e.user_id = p.user_id
            and (
                e.type = 'clawback' and e.metadata ->> 'payment_intent_id' = p.payment_intent_id
                or c.type = 'clawback' and c.metadata ->> 'payment_intent_id' = p.payment_intent_id
            )
    ) as taken,
    (
        select coalesce(sum(remaining), 0)
        from billing.credit_grants l
        where l.user_id = p.user_id and p.grant_no in (l.grant_no, l.from_grant_no)
    ) as left_in_lots
from billing.billing_payments p
where p.payment_intent_id = %s
"""


@dataclass
class Refund:
    """Money that goes back, or has; `call_id` is set until Stripe has answered a request of ours."""

    cents: int
    object: stripe.JSON
    firm: bool = False
    call_id: UUID | None = None
    status: str = "requested"

    @property
    def alive(self) -> bool:
        return self.status not in ("failed", "canceled")


@dataclass
class Payment:
    """What Stripe knows of a payment."""

    intent: str
    cents: int
    bought: Decimal
    refunds: list[Refund] = field(default_factory=list)
    disputes: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def refunded(self) -> int:
        return sum(refund.cents for refund in self.refunds if refund.alive)

    @property
    def lost(self) -> int:
        return sum(cents for status, cents in self.disputes.values() if status == "lost")

    @property
    def disputed(self) -> bool:
        return any(status in ("needs_response", "under_review") for status, _ in self.disputes.values())

    @property
    def reclaimed(self) -> Decimal:
        """The share of the credits that went back with the money, cut at the ninth place."""
        back = min(self.cents, self.refunded + self.lost)
        return EXACT.divide(EXACT.multiply(self.bought, back), self.cents).quantize(NINTH_PLACE, ROUND_DOWN)


class Netting(RuleBasedStateMachine):
    """One history of one user; the class holds the session and the admin that all of them use."""

    session: ClassVar[psycopg.Connection]
    admin: ClassVar[UUID]

    @initialize(gift=st.sampled_from([0, 0, 20]), odd=st.booleans())
    def open_account(self, gift: int, odd: bool) -> None:
        self.user = stripe.new_buyer(self.session, gift)
        self.worth = Decimal(gift)
        self.payments: list[Payment] = []
        self.holds: list[UUID] = []
        self.used: list[int] = []
        self.told: list[tuple[str, stripe.JSON, int]] = []
        self.time = stripe.NOW
        self.frozen = False
        self.buy(odd)

    def one(self, query: str, *parameters: Any) -> Any:
        return self.session.execute(query, parameters).fetchone()

    def tell(self, type: str, object: stripe.JSON) -> None:
        """News from Stripe, a second after the news before."""
        self.time += 1
        self.told.append((type, object, self.time))
        assert stripe.deliver(self.session, type, object, created=self.time).status == "processed"

    @property
    def disputed(self) -> bool:
        return any(payment.disputed for payment in self.payments)

    @property
    def available(self) -> Decimal:
        account = self.one("select * from billing.get_account(%s)", self.user)
        return account.available

    # The customer.

    @precondition(lambda self: len(self.payments) < 2 and not self.frozen and not self.disputed)
    @rule(odd=st.booleans())
    def buy(self, odd: bool) -> None:
        """100 credits for as many dollars, or a package whose price divides nothing evenly."""
        query = "select * from billing.record_purchase(%s, %s, %s)"
        purchase = self.one(query, self.user, *((None, "odd") if odd else (100, None)))
        intent = stripe.payment_intent(purchase)
        self.payments.append(Payment(intent["id"], purchase.price_cents, purchase.amount))
        self.worth += purchase.amount
        self.tell("payment_intent.succeeded", intent)

    @rule(part=parts)
    def spend(self, part: Decimal) -> None:
        amount = max((self.available * part).quantize(NINTH_PLACE), NINTH_PLACE)
        row = self.one("select * from billing.deduct_credits(%s, %s)", self.user, amount)
        self.worth -= row.amount
        if row.success:
            self.used.append(row.entry_no)

    @rule(part=parts)
    def hold(self, part: Decimal) -> None:
        amount = max((self.available * part).quantize(NINTH_PLACE), NINTH_PLACE)
        row = self.one("select * from billing.hold_credits(%s, %s, '30 days')", self.user, amount)
        if row.success:
            self.holds.append(row.hold_id)

    @precondition(lambda self: self.holds)
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        self.one("select billing.release_hold(%s, %s)", self.user, self.holds.pop(pick % len(self.holds)))

    @rule(amount=st.integers(1, 60))
    def grant(self, amount: int) -> None:
        self.one("select billing.grant_credits(%s, %s, 'promotion')", self.user, amount)
        self.worth += amount

    # Admins.

    @precondition(lambda self: self.used)
    @rule(pick=picks)
    def reverse(self, pick: int) -> None:
        entry_no = self.used.pop(pick % len(self.used))
        row = self.one("select * from billing.reverse_entry(%s, %s, %s, 'a test')", self.admin, self.user, entry_no)
        assert row.success
        self.worth += row.amount

    @rule(frozen=st.sampled_from([True, False, False]))
    def freeze(self, frozen: bool) -> None:
        """No admin ends what only a dispute began."""
        expected = None if frozen or self.frozen or not self.disputed else "dispute_open"
        query = "select reason from billing.set_account_status(%s, %s, %s, 'a test')"
        assert self.one(query, self.admin, self.user, "frozen" if frozen else "active").reason == expected
        self.frozen = frozen

    @rule(pick=picks, part=parts, beyond=st.sampled_from([0, 0, 0, 1]), both=st.booleans(), owe=st.booleans())
    def request_refund(self, pick: int, part: Decimal, beyond: int, both: bool, owe: bool) -> None:
        """A part of what is left of the payment, or a cent more than that."""
        payment = self.payments[pick % len(self.payments)]
        left = max(payment.cents - payment.refunded - payment.lost, 0)
        cents = left + 1 if beyond else max(int(left * part), 1)
        before = self.standing(payment)
        row = self.one(
            "select * from billing.request_refund(%s, %s, %s, 'a test', true, %s, %s, %s)",
            self.admin, self.user, Decimal(cents) / 100, payment.intent, both, owe,
        )  # fmt: skip
        if payment.disputed or cents > left:
            expected = "payment_disputed" if payment.disputed else "refund_exceeds_payment"
            assert (row.success, row.reason, row.call_id) == (False, expected, None)
            return
        assert row.success
        object = stripe.refund(payment.intent, cents, refund_id=row.refund_id)
        payment.refunds.append(Refund(cents, object, owe, row.call_id))
        self.worth += cents * Decimal("0.01") if both else 0
        self.check_taken(payment, before, firm=owe)

    # Stripe.

    @rule(pick=picks, part=parts, status=st.sampled_from(["pending", "succeeded"]))
    def refund_at_stripe(self, pick: int, part: Decimal, status: str) -> None:
        payment = self.payments[pick % len(self.payments)]
        cents = int((payment.cents - payment.refunded) * part)
        if cents > 0:
            before = self.standing(payment)
            refund = Refund(cents, stripe.refund(payment.intent, cents), status=status)
            payment.refunds.append(refund)
            self.tell("refund.created", refund.object | {"status": status})
            self.check_taken(payment, before, firm=False)

    def open_refunds(self) -> list[Refund]:
        return [refund for payment in self.payments for refund in payment.refunds if refund.alive]

    @precondition(lambda self: self.open_refunds())
    @rule(pick=picks, status=st.sampled_from(["pending", "succeeded", "failed", "failed", "canceled", "refused"]))
    def move_refund(self, pick: int, status: str) -> None:
        """By its answer, while that is awaited, or by an event; some fail days after they succeeded."""
        refunds = self.open_refunds()
        self.move(refunds[pick % len(refunds)], status)

    def move(self, refund: Refund, status: str) -> None:
        call_id, refund.call_id = refund.call_id, None
        if status == "refused" and call_id is None:
            status = "failed"
        object = refund.object | {"status": status}
        if status == "refused":
            self.one("select billing.fail_stripe_call(%s, 'refused')", call_id)
            refund.status = "failed"
        elif call_id is not None:
            stripe.finish(self.session, call_id, object)
            refund.status = status
        else:
            self.tell("refund.updated", object)
            refund.status = "succeeded" if (refund.status, status) == ("succeeded", "pending") else status

    @rule(
        pick=picks, part=parts, status=st.sampled_from(["needs_response", "needs_response", "warning_needs_response"])
    )
    def open_dispute(self, pick: int, part: Decimal, status: str) -> None:
        payment = self.payments[pick % len(self.payments)]
        if len(payment.disputes) < 2:
            self.move_dispute(payment, f"dp_{uuid4().hex}", status, max(int(payment.cents * part), 1))

    def move_dispute(self, payment: Payment, id: str, status: str, cents: int) -> None:
        before = self.standing(payment)
        payment.disputes[id] = (status, cents)
        self.tell("charge.dispute.updated", stripe.dispute(payment.intent, cents, id=id, status=status))
        self.check_taken(payment, before, firm=True)

    @precondition(lambda self: any(payment.disputes for payment in self.payments))
    @rule(pick=picks, status=st.sampled_from(["under_review", "won", "lost", "lost"]))
    def advance_dispute(self, pick: int, status: str) -> None:
        """What is won or lost may still turn, but is not opened again."""
        disputes = [(payment, id) for payment in self.payments for id in payment.disputes]
        payment, id = disputes[pick % len(disputes)]
        before, cents = payment.disputes[id]
        if before not in ("won", "lost") or status != "under_review":
            self.move_dispute(payment, id, status, cents)

    @rule(pick=picks)
    def tell_again(self, pick: int) -> None:
        """Old news, under a new event's id: nothing changes."""
        type, object, at = self.told[pick % len(self.told)]
        before = self.recovered()
        stripe.deliver(self.session, type, object, created=at)
        assert self.recovered() == before

    # Comparing.

    def standing(self, payment: Payment) -> Any:
        """What SQL has for a payment. The account is settled, so that what is left in its lots is exact."""
        self.session.execute(
            """select billing_private.settle_account(a, greatest(billing_private.clock(), a.updated_at))
               from billing.credit_accounts a where user_id = %s""",
            [self.user],
        )
        return self.one(PAYMENT, payment.intent)

    def recovered(self) -> list[tuple[Decimal, Decimal, Decimal]]:
        """Of each payment: what is asked back, what of it was taken, and what is owed."""
        rows = [self.standing(payment) for payment in self.payments]
        return [(row.reclaimed, row.clawed, row.owed) for row in rows]

    def check_taken(self, payment: Payment, before: Any, firm: bool) -> None:
        """Of what is asked back more than before, nothing is let go that was there, or that must come back."""
        after = self.standing(payment)
        growth = max(after.reclaimed - before.reclaimed, 0)
        let_go = (after.reclaimed - after.clawed - after.owed) - (before.reclaimed - before.clawed - before.owed)
        # The sum is cut at the ninth place, and so is each part of it: a billionth may fall between them.
        assert let_go <= (Decimal("0.000000001") if firm else growth)
        if let_go > 0:
            assert after.left_in_lots == 0 or self.available == 0

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "user"):
            return
        account = self.one(STATE, self.user)
        assert account.findings == []
        assert account.balance == account.accounted_for
        assert account.balance >= account.held >= 0
        assert account.debt >= 0
        assert account.frozen_by_admin == self.frozen
        assert account.status == ("frozen" if self.disputed or self.frozen else "active")
        recovered = Decimal(0)
        for payment in self.payments:
            paid = self.one(PAYMENT, payment.intent)
            assert paid.reclaimed == payment.reclaimed
            assert paid.clawed + paid.owed <= paid.reclaimed <= paid.bought == payment.bought
            assert paid.clawed == paid.taken
            recovered += paid.clawed + paid.owed
        assert account.balance - account.debt == self.worth - recovered

    def teardown(self) -> None:
        """When all the money comes back, so do all the credits: no refund, and no debt, as if nothing had been."""
        if not hasattr(self, "user"):
            return
        for refund in self.open_refunds():
            self.move(refund, "failed")
            self.agree()
        for payment in self.payments:
            for id, (_, cents) in payment.disputes.items():
                self.move_dispute(payment, id, "won", cents)
                self.agree()
        for payment in self.payments:
            paid = self.one(PAYMENT, payment.intent)
            assert (paid.reclaimed, paid.clawed, paid.owed, paid.taken) == (0, 0, 0, 0)
        account = self.one(STATE, self.user)
        assert (account.balance, account.debt) == (self.worth, 0)


@pytest.fixture
def session(database):
    with database.connect() as conn:
        conn.execute("insert into billing.billing_packages values ('odd', 10.000000001, 701)")
        conn.execute(
            """update billing.admin_limits
               set max_credit_adjustment = 1000000, max_daily_total = 1000000000, approval_above = null
               where role = 'super_admin'"""
        )
        yield conn


def test_credits_follow_the_money(session):
    """Netting of refunds and disputes, whatever the customer does in between."""
    machine = type("NettingInThisDatabase", (Netting,), {"session": session, "admin": new_admin(session)})
    run_state_machine_as_test(machine, settings=SETTINGS)


ALL, HALF, FIRST = Decimal(1), Decimal("0.5"), 0
# Histories that a random one meets now and then, each from 100 credits that were bought.
HISTORIES: dict[str, Callable[[Netting], Iterable[Any]]] = {
    "credits that a reversal brought back are the payment's": lambda netting: (
        netting.spend(ALL),
        netting.reverse(FIRST),
        netting.request_refund(FIRST, ALL, 0, False, False),
    ),
    "debt that was repaid is given back": lambda netting: (
        netting.spend(ALL),
        netting.open_dispute(FIRST, ALL, "needs_response"),
        netting.advance_dispute(FIRST, "lost"),
        netting.agree(),
        netting.grant(60),
        netting.agree(),
        netting.advance_dispute(FIRST, "won"),
    ),
    "what a lost dispute took is not refunded": lambda netting: (
        netting.open_dispute(FIRST, HALF, "needs_response"),
        netting.request_refund(FIRST, HALF, 0, False, False),
        netting.advance_dispute(FIRST, "lost"),
        netting.request_refund(FIRST, ALL, 1, False, False),
        netting.agree(),
        netting.request_refund(FIRST, ALL, 0, True, True),
    ),
    "a refund takes what a hold leaves, and no more": lambda netting: (
        netting.hold(HALF),
        netting.request_refund(FIRST, ALL, 0, False, True),
        netting.agree(),
        netting.release(FIRST),
        netting.move_refund(FIRST, "refused"),
    ),
    "two refunds fail after a dispute was won": lambda netting: (
        netting.spend(HALF),
        netting.refund_at_stripe(FIRST, HALF, "pending"),
        netting.request_refund(FIRST, HALF, 0, False, True),
        netting.open_dispute(FIRST, ALL, "needs_response"),
        netting.advance_dispute(FIRST, "lost"),
        netting.agree(),
        netting.move_refund(FIRST, "failed"),
        netting.agree(),
        netting.advance_dispute(FIRST, "won"),
    ),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_history_of_a_payment(session, history):
    """The credits follow the money in it, and are all back when the money is."""
    netting = type("NettingInThisDatabase", (Netting,), {"session": session, "admin": new_admin(session)})()
    netting.open_account(0, False)
    HISTORIES[history](netting)
    netting.agree()
    netting.teardown()
