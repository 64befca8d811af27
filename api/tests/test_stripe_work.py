"""The engine between our records and Stripe: whatever happens on the way, one call has one effect."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from flask import has_app_context
from stripe import APIError, CardError, InvalidRequestError, StripeClient

from api import API
from api.database import Row
from api.errors import Problem, decline_code, stripe_message
from api.stripe_work import KINDS, is_uncertain, perform, process_event
from api.tests.conftest import balance_of, make_app, payments_at
from api.tests.test_errors import break_function, definition_of
from scripts.pytest_billing import Clock
from scripts.stripe_simulator import Simulator

SESSIONS, REFUNDS, INTENTS = "/v1/checkout/sessions", "/v1/refunds", "/v1/payment_intents"
URLS = json.dumps({"success_url": "https://shop.example.com/1", "cancel_url": "https://shop.example.com/2"})
FAULTS = ["timeout_before", "timeout_after", "error_before", "error_after"]


class Desk:
    """A database of its own, an app on it, a buyer, and a Stripe whose events go nowhere unless a test takes them."""

    def __init__(self, app: API, conn: psycopg.Connection, clock: Clock, sim: Simulator) -> None:
        self.app, self.conn, self.clock, self.sim = app, conn, clock, sim
        self.buyer = self.opened("tier_200_1000")
        self.chief = uuid4()
        self.one("bootstrap_super_admin", self.chief)
        self.api = StripeClient("sk_test_other", base_addresses={"api": sim.url}, max_network_retries=0).v1

    def one(self, function: str, *values: Any) -> Any:
        """The row that a function returns; None where it returns nothing."""
        marks = ", ".join(["%s"] * len(values))
        return self.conn.execute(f"select * from billing.{function}({marks})", values).fetchone()

    def opened(self, tier: str = "free") -> UUID:
        user = uuid4()
        self.one("open_account", user, tier)
        return user

    def perform(self, call_id: UUID) -> Row:
        if has_app_context():
            return perform(call_id)
        with self.app.app_context():
            return perform(call_id)

    def apply(self, event: dict) -> Row:
        self.conn.execute("select billing.record_stripe_event(%s)", [json.dumps(event)])
        with self.app.app_context():
            return process_event(event["id"])

    def call(self, call_id: UUID) -> Any:
        return self.conn.execute("select * from billing.stripe_calls where call_id = %s", [call_id]).fetchone()

    def purchase(self, key: str | None = None) -> Any:
        return self.one("record_purchase", self.buyer, None, "25", key, URLS)

    def checkout(self, tier: str = "tier_2_20", user: UUID | None = None) -> Any:
        return self.one("request_checkout", user or self.buyer, tier, "month", None, URLS)

    def customer(self, card: str | None = None) -> str:
        """The buyer's customer at Stripe, with a card that is saved."""
        if (made := self.one("request_customer", self.buyer)).call_id is not None:
            assert self.perform(made.call_id)["status"] == "done"
        customer = self.one("request_customer", self.buyer).stripe_customer_id
        if card is not None:
            self.api.payment_methods.attach(card, {"customer": customer})
        return customer

    def paid(self) -> str:
        """The payment intent of a purchase that is paid, and known here."""
        purchase = self.purchase()
        assert self.perform(purchase.call_id)["status"] == "done"
        (session,) = (
            each
            for each in self.sim.objects("checkout.session")
            if each["metadata"]["purchase_id"] == str(purchase.purchase_id)
        )
        intent = self.sim.checkout(session["id"])["payment_intent"]
        for event in self.sim.events("checkout.session.completed"):
            self.apply(event)
        return intent

    def refund(self, intent: str, amount: int = 10) -> Any:
        return self.one("request_refund", self.chief, self.buyer, amount, "test", True, intent)

    def top_up(self, card: str | None = None) -> Any:
        """An automatic top-up that is due, of a card that is given by name or not."""
        self.one("set_auto_top_up", self.buyer, True, 2000, "25", 500, card)
        return self.one("request_top_up", self.buyer)

    def later(self, **delta: float) -> None:
        """Both clocks go on, from the real time."""
        self.clock.shift(**delta)
        self.sim.advance(**{"seconds": sum(value * {"hours": 3600, "minutes": 60}[n] for n, value in delta.items())})

    def keys(self, path: str) -> list[str]:
        """The idempotency keys of what was posted there."""
        return [each["idempotency_key"] for each in self.sim.requests("POST", path)]

    @property
    def balance(self) -> Any:
        return balance_of(self.conn, self.buyer)


@contextmanager
def app_at(database_url: str, simulator: Simulator, **settings: str) -> Iterator[API]:
    app = make_app(database_url, **payments_at(simulator) | settings)
    yield app
    app.extensions["database"].close()


@pytest.fixture
def desk(database, conn, clock, simulator) -> Iterator[Desk]:
    simulator.reset()
    with app_at(database.url, simulator) as app:
        yield Desk(app, conn, clock, simulator)
    simulator.reset()


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_call_is_done_once(desk):
    purchase = desk.purchase()
    done = desk.perform(purchase.call_id)
    assert (done["status"], done["error"], done["tries"]) == ("done", None, 1)
    assert desk.perform(purchase.call_id)["call_id"] is None
    assert desk.sim.created("checkout.session") == 1
    assert desk.keys(SESSIONS) == [f"credit-billing-{purchase.call_id}-1"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("hours", [0, 25])
@pytest.mark.parametrize("kind", ["customer", "refund", "top_up"])
def test_a_call_that_got_no_answer_has_one_effect(desk, kind, hours, fault):
    """Within a day Stripe knows the key; later, or after an error that it would repeat, the effect is looked for."""
    if kind == "customer":
        call_id, path, made = desk.one("request_customer", desk.buyer).call_id, "/v1/customers", "customer"
    elif kind == "refund":
        call_id, path, made = desk.refund(desk.paid()).call_id, REFUNDS, "refund"
    else:
        desk.customer("pm_card_visa")
        call_id, path, made = desk.top_up().call_id, INTENTS, "payment_intent"
    desk.sim.fault(fault, method="POST", path=path)
    lost = desk.perform(call_id)
    assert (lost["status"], lost["look_first"]) == ("pending", fault.startswith("error"))
    assert lost["error"]
    if hours:
        desk.later(hours=hours)
    assert desk.perform(call_id)["status"] == "done"
    assert desk.sim.created(made) == 1
    effects = desk.sim.requests("POST", path)
    looked = fault.startswith("error") or hours
    tried = 1 if looked and fault.endswith("after") else 2
    assert len(effects) == tried
    assert len(set(desk.keys(path))) == (2 if looked and tried == 2 else 1)


def test_a_search_that_fails_keeps_the_doubt(desk):
    refund = desk.refund(desk.paid())
    desk.sim.fault("error_after", method="POST", path=REFUNDS)
    assert desk.perform(refund.call_id)["look_first"]
    for fault in ({"kind": "timeout_before"}, {"kind": "error_before", "status": 429}):
        desk.sim.fault(**fault, method="GET", path=REFUNDS)
        lost = desk.perform(refund.call_id)
        assert (lost["status"], lost["look_first"]) == ("pending", True)
    assert desk.perform(refund.call_id)["status"] == "done"
    assert (desk.sim.created("refund"), len(desk.keys(REFUNDS))) == (1, 1)


def test_an_effect_is_found_behind_a_hundred_others(desk):
    intent = desk.paid()
    refund = desk.refund(intent)
    desk.sim.fault("timeout_after", method="POST", path=REFUNDS)
    desk.perform(refund.call_id)
    for _ in range(100):
        desk.api.refunds.create({"payment_intent": intent, "amount": 1})
    desk.later(hours=25)
    assert desk.perform(refund.call_id)["status"] == "done"
    ours = [each for each in desk.sim.objects("refund") if each["metadata"]]
    assert len(ours) == 1
    assert desk.one("get_refund", refund.refund_id).stripe_refund_id == ours[0]["id"]


def test_a_claim_that_ran_out_while_the_call_was_made(desk):
    """The second process has the same key, which Stripe finds in use; the first one finishes."""
    refund = desk.refund(desk.paid())
    desk.sim.fault("slow", method="POST", path=REFUNDS, seconds=4)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(desk.perform, refund.call_id)
        until(lambda: desk.keys(REFUNDS))
        desk.clock.shift(minutes=3)
        second = desk.perform(refund.call_id)
        assert (second["status"], second["look_first"]) == ("pending", False)
        assert "in-progress" in second["error"]
        assert first.result()["status"] == "done"
    assert (desk.sim.created("refund"), len(set(desk.keys(REFUNDS)))) == (1, 1)


def test_a_search_that_took_so_long_that_another_is_at_it(desk, monkeypatch):
    """It has found nothing, and meanwhile another process has done it under a key of its own."""
    refund = desk.refund(desk.paid())
    desk.sim.fault("error_before", method="POST", path=REFUNDS)
    desk.perform(refund.call_id)
    kind = KINDS["refund"]

    def find_slowly(claimed: Row) -> None:
        assert kind.find(claimed) is None
        monkeypatch.setitem(KINDS, "refund", kind)
        desk.clock.shift(minutes=3)
        desk.sim.fault("timeout_before", method="POST", path=REFUNDS)
        assert desk.perform(refund.call_id)["status"] == "pending"
        desk.clock.shift(minutes=6)
        assert desk.perform(refund.call_id)["status"] == "done"

    monkeypatch.setitem(KINDS, "refund", replace(kind, find=find_slowly))
    tried = len(desk.keys(REFUNDS))
    desk.perform(refund.call_id)
    assert len(desk.keys(REFUNDS)) == tried + 2, "those of the other process, and none besides"
    assert desk.sim.created("refund") == 1


def test_a_search_that_stripe_refuses_says_nothing(desk, monkeypatch):
    refund = desk.refund(desk.paid())
    desk.sim.fault("error_after", method="POST", path=REFUNDS)
    desk.perform(refund.call_id)
    kind = KINDS["refund"]

    def refused(_: Row) -> None:
        raise InvalidRequestError("Received unknown parameter: limit", "limit", "parameter_unknown")

    monkeypatch.setitem(KINDS, "refund", replace(kind, find=refused))
    lost = desk.perform(refund.call_id)
    assert (lost["status"], lost["look_first"]) == ("pending", True)
    monkeypatch.setitem(KINDS, "refund", kind)
    assert desk.perform(refund.call_id)["status"] == "done"
    assert desk.sim.created("refund") == 1


def test_a_search_at_what_is_gone_finds_nothing(desk):
    refund = desk.refund(desk.paid())
    desk.sim.fault("error_before", method="POST", path=REFUNDS)
    desk.perform(refund.call_id)
    desk.sim.reset()
    failed = desk.perform(refund.call_id)
    assert failed["status"] == "failed"
    assert failed["error"].startswith("No such payment_intent")
    assert desk.balance == 1030


def test_a_key_that_was_used_for_something_else(desk):
    intent = desk.paid()
    refund = desk.refund(intent)
    options = {"idempotency_key": f"credit-billing-{refund.call_id}-1"}
    desk.app.extensions["payments"].client.v1.refunds.create({"payment_intent": intent, "amount": 1}, options)
    lost = desk.perform(refund.call_id)
    assert (lost["status"], lost["look_first"]) == ("pending", True)
    assert desk.perform(refund.call_id)["status"] == "done"
    assert [each["amount"] for each in desk.sim.objects("refund")] == [1, 1000]


def test_what_is_no_answer_is_tried_again(desk, database):
    purchase = desk.purchase()
    with app_at(database.url, desk.sim, STRIPE_SECRET_KEY="sk_wrong") as wrong, wrong.app_context():
        lost = perform(purchase.call_id)
    assert lost["status"] == "pending"
    assert "Invalid API Key" in desk.call(desk.one("request_customer", desk.buyer).call_id).error
    desk.sim.fault("error_before", status=429, method="POST", path=SESSIONS)
    assert desk.perform(purchase.call_id)["look_first"] is False
    assert desk.perform(purchase.call_id)["status"] == "done"


def test_stripe_that_does_not_answer_in_time(desk, database):
    purchase = desk.purchase()
    desk.customer()
    desk.sim.fault("slow", method="POST", path=SESSIONS, seconds=3)
    with app_at(database.url, desk.sim, STRIPE_TIMEOUT="0.2") as hasty, hasty.app_context():
        assert perform(purchase.call_id)["status"] == "pending"
    until(lambda: desk.perform(purchase.call_id)["status"] == "done")
    assert desk.sim.created("checkout.session") == 1


def test_what_stripe_refuses_has_failed(desk):
    intent = desk.paid()
    refund = desk.refund(intent)
    desk.sim.dispute(payment_intent=intent)
    assert desk.balance == 1020
    failed = desk.perform(refund.call_id)
    assert (failed["status"], failed["declined"]) == ("failed", False)
    assert "charged back" in failed["error"]
    assert (desk.one("get_refund", refund.refund_id).status, desk.balance) == ("failed", 1030)
    assert desk.perform(refund.call_id)["call_id"] is None


def test_an_answer_that_makes_no_sense_is_shown_and_kept(desk, caplog):
    refund = desk.refund(desk.paid())
    break_function(
        desk.conn, "finish_stripe_call",
        "raise exception using errcode = 'UC409', message = 'payment_mismatch', detail = 'It is not the same.'",
    )  # fmt: skip
    lost = desk.perform(refund.call_id)
    assert (lost["status"], lost["error"]) == ("pending", "payment_mismatch: It is not the same.")
    assert str(refund.call_id) in caplog.text


@pytest.mark.parametrize("state", ["22003", "23505", "XX000"])
def test_an_answer_that_the_database_cannot_take_in_is_shown(desk, caplog, state):
    """It would fail again: without an error, nobody would come to know."""
    refund = desk.refund(desk.paid())
    definition = definition_of(desk.conn, "finish_stripe_call")
    statement = f"raise exception using errcode = '{state}', message = 'no room', detail = 'for this'"
    break_function(desk.conn, "finish_stripe_call", statement)
    lost = desk.perform(refund.call_id)
    assert (lost["status"], lost["error"], lost["claimed_at"]) == ("pending", "no room: for this", None)
    assert [record.levelname for record in caplog.records if str(refund.call_id) in record.getMessage()] == ["ERROR"]
    desk.conn.execute(definition)
    assert desk.perform(refund.call_id)["status"] == "done"
    assert desk.sim.created("refund") == 1


@pytest.mark.parametrize("state", ["40001", "55P03", "57014"])
def test_a_database_that_may_take_it_in_at_once_is_not_put_off(desk, state):
    refund = desk.refund(desk.paid())
    break_function(desk.conn, "finish_stripe_call", f"raise exception using errcode = '{state}', message = 'again'")
    with pytest.raises(psycopg.OperationalError):
        desk.perform(refund.call_id)
    assert desk.call(refund.call_id).error is None


def test_a_crash_before_the_answer_is_recorded(desk):
    """The claim runs out, and the same key gives the same answer."""
    refund = desk.refund(desk.paid())
    definition = definition_of(desk.conn, "finish_stripe_call")
    break_function(desk.conn, "finish_stripe_call", "raise exception using errcode = '57P01', message = 'gone'")
    with pytest.raises(psycopg.Error):
        desk.perform(refund.call_id)
    desk.conn.execute(definition)
    assert desk.perform(refund.call_id)["call_id"] is None, "somebody may still be at it"
    desk.clock.shift(minutes=3)
    assert desk.perform(refund.call_id)["status"] == "done"
    assert desk.sim.created("refund") == 1
    assert desk.one("get_refund", refund.refund_id).status == "succeeded"


def test_a_checkout_that_was_given_up_while_it_was_made(desk):
    """Its session expires, so that nobody can pay for both."""
    old = desk.checkout("tier_2_20")
    desk.customer()
    desk.sim.fault("slow", method="POST", path=SESSIONS, seconds=4)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(desk.perform, old.call_id)
        until(lambda: desk.keys(SESSIONS))
        new = desk.checkout("tier_6_50")
        assert desk.perform(new.call_id)["status"] == "done"
        assert first.result()["status"] == "failed"
    states = {each["metadata"]["checkout_id"]: each["status"] for each in desk.sim.objects("checkout.session")}
    assert states == {str(old.checkout_id): "expired", str(new.checkout_id): "open"}


def test_a_checkout_leaves_purchases_alone(desk):
    desk.perform(desk.purchase().call_id)
    desk.perform(desk.checkout().call_id)
    assert [each["status"] for each in desk.sim.objects("checkout.session")] == ["open", "open"]


def test_a_price_that_two_make_at_once_is_made_once(desk):
    checkouts = [desk.checkout(user=desk.opened()) for _ in range(2)]
    together = threading.Barrier(2, timeout=60)
    desk.sim.fault("slow", method="POST", path="/v1/products", seconds=0.5, times=2)

    def make(checkout: Any) -> Row:
        together.wait()
        return desk.perform(checkout.call_id)

    with ThreadPoolExecutor(2) as pool:
        assert [each["status"] for each in pool.map(make, checkouts)] == ["done", "done"]
    assert (desk.sim.created("price"), desk.sim.created("product")) == (1, 1)
    assert len(desk.sim.requests("POST", "/v1/products")) == 2, "both found no price"


def test_a_price_that_stripe_refuses(desk):
    desk.conn.execute("update billing.billing_tiers set price_cents = 2147483647 where name = 'tier_6_50'")
    checkout = desk.one("request_checkout", desk.buyer, "tier_6_50", "month", None, URLS)
    desk.api.prices.create(
        {
            "currency": "usd", "unit_amount": 5, "lookup_key": "credit_billing_tier_6_50_month",
            "product_data": {"name": "x"},
        }
    )  # fmt: skip
    failed = desk.perform(checkout.call_id)
    assert failed["status"] == "failed"
    assert "recurring price" in failed["error"]


def test_a_change_of_a_subscription_after_an_error_that_stripe_repeats(desk):
    user = desk.opened()
    checkout = desk.checkout(user=user)
    desk.perform(checkout.call_id)
    (session,) = desk.sim.objects("checkout.session")
    desk.sim.checkout(session["id"])
    (completed,) = desk.sim.events("checkout.session.completed")
    assert desk.apply(completed)["status"] == "processed"
    changed = desk.one("request_subscription_change", user, "tier", "tier_6_50")
    path = f"/v1/subscriptions/{changed.stripe_subscription_id}"
    desk.sim.fault("error_after", method="POST", path=path)
    assert desk.perform(changed.call_id)["look_first"]
    assert desk.perform(changed.call_id)["status"] == "done"
    assert len(set(desk.keys(path))) == 2
    assert desk.sim.created("invoice") == 2, "the difference is charged once"
    assert desk.one("get_subscription", user).tier == "tier_6_50"


# Automatic top-ups.


@pytest.mark.parametrize("chosen", ["default", "newest", "named"])
def test_which_card_a_top_up_charges(desk, chosen):
    customer = desk.customer("pm_card_visa")
    desk.api.payment_methods.attach("pm_card_mastercard", {"customer": customer})
    desk.api.payment_methods.attach("pm_card_amex", {"customer": customer})
    visa, mastercard, amex = (each["id"] for each in desk.sim.objects("payment_method"))
    if chosen == "default":
        desk.api.customers.update(customer, {"invoice_settings": {"default_payment_method": mastercard}})
    top_up = desk.top_up(visa if chosen == "named" else None)
    assert desk.perform(top_up.call_id)["status"] == "done"
    (intent,) = desk.sim.objects("payment_intent")
    assert intent["payment_method"] == {"default": mastercard, "newest": amex, "named": visa}[chosen]
    assert intent["metadata"] == {"purchase_id": str(top_up.purchase_id), "user_id": str(desk.buyer)}
    assert (intent["amount"], desk.balance) == (2500, 1030)


@pytest.mark.parametrize("known", [False, True])
def test_a_top_up_without_a_card(desk, known):
    if known:
        desk.customer()
    top_up = desk.top_up()
    failed = desk.perform(top_up.call_id)
    assert (failed["status"], failed["error"]) == ("failed", "There is no saved card to charge.")
    after = desk.one("get_auto_top_up", desk.buyer)
    assert (after.enabled, after.disabled_reason) == (False, "no_payment_method")
    assert desk.sim.created("payment_intent") == 0


@pytest.mark.parametrize("hours", [0, 25])
@pytest.mark.parametrize("fault", [None, "timeout_after", "error_after"])
@pytest.mark.parametrize(
    ("card", "code"),
    [("pm_card_chargeCustomerFail", "generic_decline"), ("pm_card_authenticationRequired", "authentication_required")],
)
def test_r22_a_declined_card_is_charged_no_more(desk, card, code, fault, hours):
    desk.customer(card)
    top_up = desk.top_up()
    if fault is not None:
        desk.sim.fault(fault, method="POST", path=INTENTS)
        assert desk.perform(top_up.call_id)["status"] == "pending"
        if hours:
            desk.later(hours=hours)
    failed = desk.perform(top_up.call_id)
    assert (failed["status"], failed["declined"]) == ("failed", True)
    assert desk.sim.created("payment_intent") == 1
    after = desk.one("get_auto_top_up", desk.buyer)
    assert (after.enabled, after.disabled_reason) == (False, code)
    assert desk.balance == 1005
    assert not [each for each in desk.sim.requests("POST") if each["path"].endswith("/confirm")]


def test_a_payment_that_was_made_and_not_charged_is_charged(desk):
    customer = desk.customer("pm_card_visa")
    top_up = desk.top_up()
    desk.sim.fault("error_before", method="POST", path=INTENTS)
    desk.perform(top_up.call_id)
    metadata = {"purchase_id": str(top_up.purchase_id), "user_id": str(desk.buyer)}
    desk.api.payment_intents.create({"amount": 2500, "currency": "usd", "customer": customer, "metadata": metadata})
    assert desk.perform(top_up.call_id)["status"] == "done"
    assert (desk.sim.created("payment_intent"), desk.balance) == (1, 1030)


# Events.


def test_a_refund_made_at_stripe_whose_own_event_is_lost(desk):
    intent = desk.paid()
    desk.api.refunds.create({"payment_intent": intent, "amount": 1000})
    (refunded,) = desk.sim.events("charge.refunded")
    applied = desk.apply(refunded)
    assert (applied["status"], applied["call_id"] is not None) == ("processed", True)
    assert (desk.call(applied["call_id"]).kind, desk.call(applied["call_id"]).status) == ("payment", "done")
    assert desk.balance == 1020


def test_without_a_key_events_are_applied_and_calls_wait(desk, database):
    desk.perform(desk.checkout().call_id)
    desk.sim.checkout(desk.sim.objects("checkout.session")[0]["id"])
    (completed,) = desk.sim.events("checkout.session.completed")
    desk.one("record_stripe_event", json.dumps(completed))
    app = make_app(database.url)
    with app.app_context():
        event = process_event(completed["id"])
        assert event["status"] == "processed"
        with pytest.raises(Problem, match="payments_not_configured"):
            perform(event["call_id"])
    app.extensions["database"].close()
    assert (desk.call(event["call_id"]).status, desk.call(event["call_id"]).tries) == ("pending", 0)
    assert desk.perform(event["call_id"])["status"] == "done"


# Errors.


def test_nothing_secret_is_logged_or_stored(desk, caplog):
    caplog.set_level("INFO")
    desk.customer("pm_card_chargeCustomerFail")
    top_up = desk.top_up()
    desk.sim.fault("timeout_before", method="POST", path=INTENTS)
    desk.perform(top_up.call_id)
    desk.perform(top_up.call_id)
    stored = str(desk.conn.execute("select * from billing.stripe_calls").fetchall())
    for secret in ("sk_test_of_the_tests", "whsec_", "client_secret"):
        assert secret not in caplog.text + stored
    # The last digits of the card; an id of ours may have them in it.
    assert not re.search(r"(?<![\w-])0341(?![\w-])", caplog.text + stored)
    assert str(top_up.call_id) in caplog.text


def test_what_an_error_says():
    declined = CardError("Your card\n has  no money.", None, "card_declined")
    assert (stripe_message(declined), decline_code(declined)) == ("Your card has no money.", "card_declined")
    body = {"error": {"decline_code": "insufficient_funds", "code": "card_declined", "message": "No."}}
    assert decline_code(CardError("No.", None, "card_declined", json_body=body)) == "insufficient_funds"
    assert stripe_message(APIError()) == "APIError"
    doubtful = {status: is_uncertain(APIError("x", http_status=status)) for status in (None, 200, 409, 429, 500, 503)}
    assert doubtful == {None: False, 200: False, 409: False, 429: False, 500: True, 503: True}
