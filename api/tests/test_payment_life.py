"""Months in the life of a customer: both clocks go on, Stripe renews, charges, gives up and disputes, and tells us."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from api import API
from api.tests.conftest import WEBHOOK_SECRET, Client, make_app, payments_at, served_at
from scripts.pytest_billing import Clock, Database
from scripts.stripe_simulator import Simulator


class Life:
    """A user, a database of its own, and a Stripe whose time goes with the database's."""

    def __init__(self, app: API, stripe: Simulator, conn: psycopg.Connection, clock: Clock) -> None:
        self.client, self.stripe, self.conn, self.clock = Client(app), stripe, conn, clock
        # The middle of a month, so that calendar months and billing periods differ.
        self.today = (datetime.now(UTC).replace(day=1) + timedelta(days=40)).replace(day=15, hour=12, minute=0)
        self.move()
        self.user, self.chief = uuid4(), uuid4()
        self.one("select billing.open_account(%s)", self.user)
        self.one("select billing.bootstrap_super_admin(%s)", self.chief)

    def one(self, query: str, *values: Any) -> Any:
        return self.conn.execute(query, values).fetchone()[0]

    def move(self) -> None:
        self.clock.shift(seconds=(self.today - datetime.now(UTC)).total_seconds())
        self.stripe.advance(to=int(self.today.timestamp()))
        assert self.stripe.flush()["done"]

    def days(self, count: int) -> None:
        """That many days go by; on the first of a month the monthly job runs."""
        for _ in range(count):
            self.today += timedelta(days=1)
            self.move()
            if self.today.day == 1:
                self.conn.execute("call billing.run_job('monthly_grants')")

    def months(self, count: int) -> None:
        for _ in range(count):
            self.days(1)
            while self.today.day != 15:
                self.days(1)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self.client.post(f"/api/billing/v2/{path}", body, by=self.user)
        assert answer.status == 200, answer.text
        assert self.stripe.flush()["done"]
        return answer

    def subscribe(self, tier: str, interval: str = "monthly", card: str = "pm_card_visa") -> None:
        session = self.post("create-checkout-session", {"tier": tier, "interval": interval})
        self.stripe.checkout(session["stripe_checkout_session_id"], payment_method=card)
        assert self.stripe.flush()["done"]

    def card(self, decline: str | None) -> None:
        """The user's bank refuses from here on, or accepts again."""
        for method in self.stripe.objects("payment_method"):
            if method["customer"]:
                self.stripe.card(method["id"], decline)

    @property
    def subscription(self) -> Any:
        return self.client.get("/api/billing/v2/subscription", by=self.user)

    @property
    def account(self) -> Any:
        return self.client.get("/api/billing/v2/balance", by=self.user)

    def grants(self) -> list[tuple[str, Decimal]]:
        """The tier grants, by month."""
        rows = self.conn.execute(
            "select reference_id, amount from billing.credit_ledger "
            "where user_id = %s and type = 'tier_grant' order by entry_no",
            [self.user],
        )
        return [(period, amount) for period, amount in rows.fetchall()]

    def month(self, after: int) -> str:
        """The name of a month, counted from the one that this one is."""
        months = self.today.year * 12 + self.today.month - 1 + after
        return f"{months // 12}-{months % 12 + 1:02}"

    def amounts(self) -> list[Decimal]:
        return [amount for _, amount in self.grants()]

    def check(self) -> None:
        assert self.conn.execute("select * from billing.verify_ledger()").fetchall() == []
        events = self.client.get("/api/admin/billing/stripe-events", by=self.chief).json["events"]
        assert {event["status"] for event in events} <= {"processed", "ignored"}


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulator]:
    with Simulator(webhook_secret=WEBHOOK_SECRET) as running:
        yield running


@pytest.fixture
def life(database: Database, conn: psycopg.Connection, clock: Clock, simulated: Simulator) -> Iterator[Life]:
    simulated.reset()
    app = make_app(database.url, **payments_at(simulated))
    with served_at(app) as url:
        simulated.settings(webhook_url=f"{url}/api/billing/v2/webhook")
        life = Life(app, simulated, conn, clock)
        yield life
        life.check()
        simulated.settings(webhook_url=None)
    app.extensions["database"].close()


def test_r08_renewals_grant_nothing_and_months_do(life: Life) -> None:
    """The upgrade's difference at once, then each calendar month's credits, whenever the renewal is told, and however
    often."""
    first = life.month(0)
    life.subscribe("tier_2_20")
    assert life.grants() == [(first, 5), (first, 20)]
    life.months(2)
    assert life.subscription["status"] == "active"
    assert life.amounts() == [5, 20, 25, 25]
    for event in life.stripe.events("invoice.paid", "customer.subscription.updated"):
        life.stripe.resend(event["id"])
    life.stripe.flush()
    assert life.amounts() == [5, 20, 25, 25]
    assert len({period for period, _ in life.grants()}) == 3


def test_r12_a_year_is_paid_once_and_granted_every_month(life: Life) -> None:
    life.subscribe("tier_2_20", "yearly")
    life.months(3)
    assert life.subscription["billing_interval"] == "year"
    assert life.amounts() == [5, 20, 25, 25, 25]
    assert life.stripe.created("invoice") == 1


def test_a_payment_overdue_stops_the_grants_and_resumes_them(life: Life) -> None:
    """R09: the month that was missed is granted when the payment comes."""
    life.subscribe("tier_2_20")
    life.stripe.settings(retry_after=[20 * 86400, 20 * 86400])
    life.card("insufficient_funds")
    life.months(1)
    life.days(1)
    assert life.subscription["status"] == "past_due"
    assert life.account["tier"] == "tier_2_20"
    assert life.amounts() == [5, 20, 25]
    while life.today.day != 2:
        life.days(1)
    assert life.amounts() == [5, 20, 25]
    life.card(None)
    life.days(5)
    assert life.subscription["status"] == "active"
    assert life.amounts() == [5, 20, 25, 25]
    assert life.grants()[-1][0] == life.month(0)


def test_a_subscription_that_is_never_paid_ends_as_free(life: Life) -> None:
    """The month in which nothing was paid brings what a free account has."""
    life.subscribe("tier_6_50")
    life.stripe.settings(retry_after=[20 * 86400])
    life.card("insufficient_funds")
    life.months(1)
    while life.today.day != 10:
        life.days(1)
    assert life.account["tier"] == "free"
    assert life.subscription["status"] == "none"
    assert life.amounts() == [5, 50, 55, 5]
    life.months(2)
    assert life.amounts() == [5, 50, 55, 5, 5]


def test_a_cancelled_subscription_lasts_until_the_period_ends(life: Life) -> None:
    life.subscribe("tier_2_20")
    assert life.post("cancel-subscription")["cancel_at_period_end"] is True
    life.days(20)
    assert life.account["tier"] == "tier_2_20"
    assert life.amounts() == [5, 20, 25]
    life.days(15)
    assert life.account["tier"] == "free"
    assert life.subscription["status"] == "none"
    life.months(1)
    assert life.amounts() == [5, 20, 25, 5]


def test_r11_up_and_down_in_a_month_mints_nothing(life: Life) -> None:
    """What was the highest tier is granted once; the lower one counts from the next billing period."""
    life.subscribe("tier_2_20")
    for tier in ("tier_6_50", "tier_2_20", "tier_6_50", "tier_2_20"):
        life.post("change-subscription", {"tier": tier})
    assert life.amounts() == [5, 20, 30]
    assert (life.subscription["tier"], life.subscription["next_tier"]) == ("tier_6_50", "tier_2_20")
    paid = sum(each["amount_paid"] for each in life.stripe.objects("invoice"))
    assert 5000 - 100 <= paid <= 5000
    life.months(1)
    life.days(1)
    assert life.amounts() == [5, 20, 30, 55]
    assert (life.subscription["tier"], life.subscription["next_tier"]) == ("tier_2_20", None)
    life.months(1)
    assert life.amounts() == [5, 20, 30, 55, 25]


def bought(life: Life, amount: int = 100) -> str:
    """The payment of a purchase, on top of the highest tier."""
    life.subscribe("tier_200_1000")
    session = life.post("purchase-credits", {"amount": amount})
    intent = life.stripe.checkout(session["stripe_checkout_session_id"])["payment_intent"]
    assert life.stripe.flush()["done"]
    assert life.account["balance"] == 1005 + amount
    return intent


def spend(life: Life, amount: int) -> int:
    return life.client.post("/api/billing/v2/deduct", {"user_id": life.user, "amount": amount}, by="service").status


def test_a_dispute_that_is_won(life: Life) -> None:
    """R28: frozen while it is open, nothing taken; a later refund counts as if it had never been."""
    intent = bought(life)
    dispute = life.stripe.dispute(payment_intent=intent)
    life.stripe.flush()
    assert life.account["status"] == "frozen"
    assert spend(life, 1) == 403
    life.stripe.close_dispute(dispute["id"], "won")
    life.stripe.flush()
    assert (life.account["status"], life.account["balance"]) == ("active", 1105)
    assert spend(life, 1) == 200


def test_a_dispute_that_is_lost(life: Life) -> None:
    """What is left of the payment's credits is taken, the rest is owed, and the next credits pay it."""
    intent = bought(life)
    assert spend(life, 1065) == 200
    dispute = life.stripe.dispute(payment_intent=intent)
    life.stripe.flush()
    life.stripe.close_dispute(dispute["id"], "lost")
    life.stripe.flush()
    for event in life.stripe.events("charge.dispute.created", "charge.dispute.closed"):
        life.stripe.resend(event["id"])
    life.stripe.flush()
    account = life.account
    assert (account["status"], account["balance"], account["debt"]) == ("active", 0, 60)
    assert life.conn.execute(
        "select type, amount from billing.credit_ledger where user_id = %s and amount < 0 and type <> 'usage'",
        [life.user],
    ).fetchall() == [("clawback", -40)]
    life.months(1)
    assert (life.account["balance"], life.account["debt"]) == (1005 - 60, 0)


def test_an_inquiry_does_not_freeze(life: Life) -> None:
    intent = bought(life)
    inquiry = life.stripe.dispute(payment_intent=intent, status="warning_needs_response")
    life.stripe.flush()
    assert life.account["status"] == "active"
    life.stripe.close_dispute(inquiry["id"], "escalate")
    life.stripe.flush()
    assert life.account["status"] == "frozen"


def test_refunds_at_stripes_dashboard(life: Life) -> None:
    """They are booked like ours; one that fails days later gives the credits back."""
    intent = bought(life)
    life.stripe.settings(refund_status="pending")
    refund_at_stripe(life, intent, 2500)
    assert life.account["balance"] == 1105 - 25
    refund = life.stripe.objects("refund")[0]
    life.days(3)
    life.stripe.refund(refund["id"], "fail")
    life.stripe.flush()
    assert life.account["balance"] == 1105
    shown = life.client.get(f"/api/admin/billing/refunds?user_id={life.user}", by=life.chief).json["refunds"]
    assert [(each["status"], each["requested_by"]) for each in shown] == [("failed", None)]


def refund_at_stripe(life: Life, intent: str, cents: int) -> None:
    client = life.client.app.extensions["payments"].client
    client.v1.refunds.create({"payment_intent": intent, "amount": cents})
    assert life.stripe.flush()["done"]


def test_a_payment_by_bank_that_arrives_days_later(life: Life) -> None:
    """R27: nothing is granted before the money is there."""
    life.subscribe("tier_200_1000")
    sessions = [life.post("purchase-credits", {"package": "50"})["stripe_checkout_session_id"] for _ in range(2)]
    for session in sessions:
        life.stripe.checkout(session, **{"async": True})
    life.days(2)
    assert life.account["balance"] == 1005
    life.stripe.checkout(sessions[0], "async_succeed")
    life.stripe.checkout(sessions[1], "async_fail")
    life.stripe.flush()
    assert life.account["balance"] == 1055
    purchases = life.client.get("/api/billing/v2/purchases", by=life.user).json["purchases"]
    assert sorted(each["status"] for each in purchases) == ["failed", "paid"]
