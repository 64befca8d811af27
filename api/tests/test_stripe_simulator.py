"""The simulated Stripe, driven by the official SDK over real HTTP, and held against Stripe's own shapes."""

import importlib
import json
import subprocess
import sys
import threading
import time
import typing
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import NoneType
from typing import Any

import pytest
import stripe
from stripe import StripeClient, StripeObject
from stripe._object_classes import OBJECT_CLASSES

from scripts.servers import ROOT, free_port
from scripts.stripe_simulator import Control, ControlError, Simulator
from scripts.stripe_simulator.clock import later, period_end

FIXTURES = ROOT.parent / "shared" / "stripe" / "fixtures.json"
SECRET = "whsec_of_the_tests"
DAY = 86400
# What the published invoice has and the SDK has not.
BEYOND_THE_SDK: dict[str, dict[str, Any]] = {"invoice": {"subscription": str | None}}


class Endpoint:
    """A webhook endpoint that checks signatures; `answers` are its next statuses, then 200."""

    def __init__(self) -> None:
        self.events: list[stripe.Event] = []
        self.payloads: list[tuple[bytes, str]] = []
        self.answers: list[int] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                payload = self.rfile.read(int(self.headers["Content-Length"]))
                header = self.headers["Stripe-Signature"]
                event = stripe.Webhook.construct_event(payload, header, SECRET)
                status = endpoint.answers.pop(0) if endpoint.answers else 200
                endpoint.payloads.append((payload, header))
                if status == 200:
                    endpoint.events.append(event)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhook"
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator(webhook_secret=SECRET) as simulator:
        yield simulator


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    running.settings(webhook_url=None)
    running.reset()
    return running


@pytest.fixture
def endpoint(sim: Simulator) -> Iterator[Endpoint]:
    endpoint = Endpoint()
    sim.settings(webhook_url=endpoint.url)
    yield endpoint
    sim.settings(webhook_url=None)
    sim.reset()
    endpoint.close()


@pytest.fixture
def api(sim: Simulator) -> Any:
    """The SDK's client; it does not try again by itself."""
    return client(sim).v1


def client(sim: Simulator, key: str = "sk_test_123", retries: int = 0) -> StripeClient:
    return StripeClient(key, base_addresses={"api": sim.url}, max_network_retries=retries)


def a_customer(api: Any, card: str | None = "pm_card_visa", **params: Any) -> Any:
    customer = api.customers.create({"email": "jo@example.com", **params})
    if card is None:
        return customer
    method = api.payment_methods.attach(card, {"customer": customer.id})
    return api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})


def a_price(api: Any, amount: int, interval: str | None = "month", **params: Any) -> Any:
    recurring = {"recurring": {"interval": interval}} if interval else {}
    return api.prices.create(
        {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Plan"}, **recurring, **params}
    )


def a_payment(api: Any, amount: int = 2000, card: str = "pm_card_visa", **params: Any) -> Any:
    return api.payment_intents.create(
        {"amount": amount, "currency": "usd", "payment_method": card, "confirm": True, **params}
    )


def a_checkout(api: Any, **params: Any) -> Any:
    line = {"price_data": {"currency": "usd", "unit_amount": 2500, "product_data": {"name": "Credits"}}, "quantity": 1}
    return api.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "http://127.0.0.1/done?id={CHECKOUT_SESSION_ID}",
            "cancel_url": "http://127.0.0.1/back",
            "line_items": [line],
            **params,
        }
    )


def a_subscription(api: Any, amount: int = 1000, card: str = "pm_card_visa", **params: Any) -> Any:
    customer = a_customer(api, card)
    return api.subscriptions.create({"customer": customer.id, "items": [{"price": a_price(api, amount).id}], **params})


def types(sim: Simulator) -> list[str]:
    return [event["type"] for event in sim.events()]


def raw(sim: Simulator, path: str, form: dict | None = None, **headers: str) -> tuple[int, dict, Any]:
    """A request without the SDK: status, body, headers."""
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(sim.url + path, data, {"Authorization": "Bearer sk_test_123", **headers})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


# Shapes


def shaped(api: Any, sim: Simulator) -> dict[str, dict]:
    """One object of each kind, as far as it can be filled."""
    customer = a_customer(api, name="Jo", address={"city": "Ulm"}, metadata={"user": "1"})
    subscription = api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": a_price(api, 1000, lookup_key="pro").id}]}
    )
    payment = a_payment(api, customer=customer.id, payment_method=customer.invoice_settings.default_payment_method)
    refund = api.refunds.create({"payment_intent": payment.id, "amount": 100})
    charge = api.charges.retrieve(payment.latest_charge, {"expand": ["refunds"]})
    disputed = a_payment(api)
    invoice = api.invoices.retrieve(subscription.latest_invoice, {"expand": ["payments"]})
    session = a_checkout(api)
    sim.checkout(session.id)
    price = api.prices.list({"lookup_keys": ["pro"]}).data[0]
    found = {
        "customer": customer,
        "product": api.products.retrieve(price.product),
        "price": price,
        "payment_intent": payment,
        "charge": charge,
        "refund": refund,
        "checkout.session": api.checkout.sessions.retrieve(session.id, {"expand": ["line_items"]}),
        "subscription": subscription,
        "subscription_item": subscription["items"].data[0],
        "invoice": invoice,
        "invoice_payment": invoice.payments.data[0],
        "line_item": invoice.lines.data[0],
        "event": api.events.list({"limit": 1}).data[0],
        "billing_portal.session": api.billing_portal.sessions.create({"customer": customer.id}),
        "payment_method": api.payment_methods.retrieve(customer.invoice_settings.default_payment_method),
        "balance_transaction": api.balance_transactions.retrieve(charge.balance_transaction),
        "setup_intent": api.setup_intents.create({"customer": customer.id}),
    }
    plain = {kind: item.to_dict() for kind, item in found.items()}
    return plain | {"dispute": sim.dispute(payment_intent=disputed.id), "deleted_customer": gone(api)}


def gone(api: Any) -> dict:
    return api.customers.delete(a_customer(api, None).id).to_dict()


def kind_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str() | Decimal():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def annotations(cls: type) -> dict[str, Any]:
    return {name: hint for name, hint in vars(cls).get("__annotations__", {}).items() if name != "OBJECT_NAME"}


def nullable(hint: Any) -> bool:
    """Whether the SDK says that a field may be null, or absent; a hint that is a text says nothing."""
    return isinstance(hint, str) or NoneType in typing.get_args(hint)


def check_against_sdk(value: dict, cls: type, at: str) -> None:
    """No key that the SDK does not know, none missing, null only where it says so; down through hashes and lists."""
    hints = annotations(cls) | BEYOND_THE_SDK.get(at, {})
    inner = getattr(cls, "_inner_class_types", {})
    for name, each in value.items():
        here = f"{at}.{name}"
        assert name in hints, f"Stripe has no {here}"
        assert each is not None or nullable(hints[name]), f"{here} is never null"
        if isinstance(each, dict) and name in inner:
            check_against_sdk(each, inner[name], here)
        for part in each if isinstance(each, list) else [each]:
            check_whole(part)
    for name, hint in hints.items():
        assert nullable(hint) or name in value, f"{at}.{name} is missing"


def check_whole(value: Any) -> None:
    """The same of an object, or of a list of them, that stands whole within another one, as an item's price."""
    kind = value.get("object") if isinstance(value, dict) else None
    if kind == "list":
        for each in value["data"]:
            check_whole(each)
    elif isinstance(kind, str) and "deleted" not in value:
        path, name = OBJECT_CLASSES[kind]
        check_against_sdk(value, getattr(importlib.import_module(path), name), kind)


def test_objects_have_what_the_sdk_knows_and_nothing_else(api, sim):
    for item in shaped(api, sim).values():
        check_whole(item)
    for event in sim.events():
        check_whole(event["data"]["object"])


def test_objects_have_the_shape_of_the_published_ones(api, sim):
    if not FIXTURES.exists():
        pytest.skip(f"Stripe's fixtures are not at {FIXTURES}")
    fixtures = json.loads(FIXTURES.read_text())
    for kind, ours in shaped(api, sim).items():
        theirs = fixtures[kind]
        assert not theirs.keys() - ours.keys(), f"{kind} lacks {sorted(theirs.keys() - ours.keys())}"
        for name, value in theirs.items():
            if value is not None and ours[name] is not None:
                assert kind_of(ours[name]) == kind_of(value), f"{kind}.{name}"


# Requests


def test_any_test_key_is_accepted_and_no_other(sim):
    assert client(sim, "sk_test_whatever").v1.customers.list().data == []
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key provided: sk_live_"):
        client(sim, "sk_live_123456789012").v1.customers.list()
    status, body, _ = raw(sim, "/v1/customers", Authorization="")
    assert (status, body["error"]["type"]) == (401, "invalid_request_error")


def test_errors_have_stripes_shape(sim, api):
    with pytest.raises(stripe.InvalidRequestError) as missing:
        api.customers.retrieve("cus_none")
    error = missing.value
    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "id")
    assert error.user_message == "No such customer: 'cus_none'"
    assert error.request_id.startswith("req_")
    with pytest.raises(stripe.InvalidRequestError, match="Received unknown parameter: colour") as unknown:
        api.customers.create({"colour": "red"})
    assert (unknown.value.http_status, unknown.value.code) == (400, "parameter_unknown")
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: currency"):
        api.payment_intents.create({"amount": 100})
    with pytest.raises(stripe.InvalidRequestError, match=r"Received unknown parameter: recurring\[color\]"):
        a_price(api, 100, recurring={"interval": "month", "color": "red"})
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL"):
        api.coupons.list()
    assert sim.created("customer") == sim.created("product") == 0


def test_metadata_merges_and_empty_values_remove(api):
    customer = a_customer(api, None, metadata={"a": "1", "b": "2"}, name="Jo")
    assert api.customers.update(customer.id, {"metadata": {"a": "", "c": "3"}}).metadata.to_dict() == {
        "b": "2",
        "c": "3",
    }
    changed = api.customers.update(customer.id, {"metadata": "", "name": ""})
    assert (changed.metadata.to_dict(), changed.name, changed.email) == ({}, None, "jo@example.com")


def test_lists_are_paged_and_filtered(api, sim):
    keys = [api.customers.create({"email": f"{number}@example.com"}).id for number in range(5)]
    first = api.customers.list({"limit": 2})
    assert [each.id for each in first.data] == keys[:2:-1]
    assert first.has_more
    assert [each.id for each in api.customers.list({"limit": 2}).auto_paging_iter()] == keys[::-1]
    rest = api.customers.list({"starting_after": keys[1]})
    assert ([each.id for each in rest.data], rest.has_more) == ([keys[0]], False)
    assert [each.id for each in api.customers.list({"ending_before": keys[3]}).data] == [keys[4]]
    now = sim.advance(seconds=100)
    last = a_customer(api, None).id
    assert [each.id for each in api.customers.list({"created": {"gte": now}}).data] == [last]
    assert [each.id for each in api.customers.list({"email": "3@example.com"}).data] == [keys[3]]


def test_expand_follows_ids_and_refuses_what_is_none(api, sim):
    payment = a_payment(api, customer=a_customer(api, None).id, expand=["latest_charge.balance_transaction"])
    assert payment.latest_charge.balance_transaction.net == 2000 - 58 - 30
    found = api.payment_intents.list({"expand": ["data.customer", "data.latest_charge"]})
    assert (found.data[0].customer.email, found.data[0].latest_charge.paid) == ("jo@example.com", True)
    subscription = a_subscription(api, expand=["latest_invoice.payments.data.payment.payment_intent"])
    paid = subscription.latest_invoice.payments.data[0].payment.payment_intent
    assert (paid.amount, paid.status) == (1000, "succeeded")
    before = sim.created("payment_intent")
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        a_payment(api, expand=["amount"])
    assert sim.created("payment_intent") == before


def test_search_by_metadata_sees_objects_after_its_delay(api, sim):
    sim.settings(search_delay=60)
    payment = a_payment(api, metadata={"purchase": "p-1"})
    a_payment(api, metadata={"purchase": "p-2"})
    query = {"query": "metadata['purchase']:'p-1' AND status:'succeeded'"}
    assert api.payment_intents.search(query).data == []
    sim.advance(seconds=61)
    found = api.payment_intents.search(query)
    assert ([each.id for each in found.data], found.has_more) == ([payment.id], False)
    assert len(api.payment_intents.search({"query": 'metadata["purchase"]:"p-1" OR amount>1000'}).data) == 2
    assert len(api.payment_intents.search({"query": "-metadata['purchase']:null"}).data) == 2
    with pytest.raises(stripe.InvalidRequestError, match="unable to parse"):
        api.payment_intents.search({"query": "nonsense"})


# Customers, products, payment methods


def test_deleted_customers_are_gone(api):
    subscription = a_subscription(api)
    assert api.customers.delete(subscription.customer).deleted
    assert api.customers.retrieve(subscription.customer).deleted
    assert api.customers.list().data == []
    assert api.subscriptions.retrieve(subscription.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="No such customer") as error:
        api.checkout.sessions.create({"mode": "setup", "success_url": "http://x", "customer": subscription.customer})
    assert (error.value.http_status, error.value.param) == (400, "customer")


def test_prices_have_lookup_keys_that_move(api):
    product = api.products.create({"name": "Pro", "default_price_data": {"currency": "usd", "unit_amount": 500}})
    assert api.prices.retrieve(product.default_price).type == "one_time"
    first = a_price(api, 1000, lookup_key="pro")
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        a_price(api, 1200, lookup_key="pro")
    second = a_price(api, 12000, "year", lookup_key="pro", transfer_lookup_key=True)
    assert [each.id for each in api.prices.list({"lookup_keys": ["pro"], "active": True}).data] == [second.id]
    assert (second.recurring.interval, second.unit_amount_decimal) == ("year", Decimal(12000))
    assert api.prices.retrieve(first.id).lookup_key is None


def test_payment_methods_attach_and_detach(api):
    customer = a_customer(api)
    default = customer.invoice_settings.default_payment_method
    assert [each.id for each in api.customers.payment_methods.list(customer.id).data] == [default]
    with pytest.raises(stripe.CardError) as refused:
        api.payment_methods.attach("pm_card_chargeDeclined", {"customer": customer.id})
    assert (refused.value.code, refused.value.http_status) == ("card_declined", 402)
    assert api.payment_methods.detach(default).customer is None
    assert api.customers.retrieve(customer.id).invoice_settings.default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        a_payment(api, card=default)
    made = api.payment_methods.create({"type": "card", "card": {"token": "tok_mastercard"}})
    assert made.card.brand == "mastercard"


# Payments


def test_a_payment_makes_a_charge_with_its_metadata(api, sim):
    payment = a_payment(api, metadata={"purchase": "7"}, description="Credits")
    charge = api.charges.retrieve(payment.latest_charge)
    assert (payment.status, payment.amount_received) == ("succeeded", 2000)
    assert (charge.metadata.to_dict(), charge.description, charge.captured) == ({"purchase": "7"}, "Credits", True)
    assert types(sim) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    with pytest.raises(stripe.InvalidRequestError) as small:
        a_payment(api, 10)
    assert small.value.code == "amount_too_small"


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
    ],
)
def test_a_declined_card_is_a_402_with_the_intent_in_it(api, sim, card, code, decline_code):
    with pytest.raises(stripe.CardError) as refused:
        a_payment(api, card=card)
    error = refused.value
    assert (error.http_status, error.code, error.error.decline_code) == (402, code, decline_code)
    intent = api.payment_intents.retrieve(error.error.payment_intent.id)
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", code)
    assert api.charges.retrieve(intent.latest_charge).status == "failed"
    assert types(sim)[-2:] == ["charge.failed", "payment_intent.payment_failed"]
    assert api.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"


def test_authentication_is_asked_for_and_refused_off_session(api, sim):
    payment = a_payment(api, card="pm_card_authenticationRequired")
    assert payment.status == "requires_action"
    assert payment.next_action.redirect_to_url.url.startswith(sim.url)
    assert sim.authenticate(payment.id)["status"] == "succeeded"
    other = a_payment(api, card="pm_card_authenticationRequired")
    assert sim.authenticate(other.id, success=False)["status"] == "requires_payment_method"
    customer = a_customer(api, "pm_card_authenticationRequired")
    method = customer.invoice_settings.default_payment_method
    with pytest.raises(stripe.CardError) as refused:
        a_payment(api, card=method, customer=customer.id, off_session=True)
    assert (refused.value.http_status, refused.value.code) == (402, "authentication_required")


def test_manual_capture_and_cancel(api):
    payment = a_payment(api, capture_method="manual")
    assert (payment.status, payment.amount_capturable) == ("requires_capture", 2000)
    captured = api.payment_intents.capture(payment.id, {"amount_to_capture": 1500})
    assert (captured.status, captured.amount_received) == ("succeeded", 1500)
    with pytest.raises(stripe.InvalidRequestError) as late:
        api.payment_intents.cancel(payment.id)
    assert late.value.code == "payment_intent_unexpected_state"
    assert api.payment_intents.cancel(a_payment(api, capture_method="manual").id).status == "canceled"


# Refunds


def test_refunds_never_exceed_what_was_paid(api, sim):
    payment = a_payment(api)
    api.refunds.create({"payment_intent": payment.id, "amount": 500, "metadata": {"refund": "r1"}})
    with pytest.raises(stripe.InvalidRequestError) as much:
        api.refunds.create({"payment_intent": payment.id, "amount": 1501})
    message = "Refund amount ($15.01) is greater than unrefunded amount on charge ($15.00)"
    assert (much.value.user_message, much.value.param) == (message, "amount")
    rest = api.refunds.create({"charge": payment.latest_charge})
    assert (rest.amount, rest.status) == (1500, "succeeded")
    with pytest.raises(stripe.InvalidRequestError, match="has already been refunded") as again:
        api.refunds.create({"payment_intent": payment.id})
    assert again.value.code == "charge_already_refunded"
    charge = api.charges.retrieve(payment.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (True, 2000)
    found = api.refunds.list({"payment_intent": payment.id})
    assert [(each.amount, each.metadata.to_dict()) for each in found.data] == [(1500, {}), (500, {"refund": "r1"})]
    assert types(sim).count("charge.refunded") == sim.created("refund") == 2


def test_a_failed_refund_gives_its_amount_back(api, sim):
    sim.settings(refund_status="pending")
    payment = a_payment(api)
    refund = api.refunds.create({"payment_intent": payment.id})
    assert refund.status == "pending"
    failed = sim.refund(refund.id, "fail", failure_reason="expired_or_canceled_card")
    assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
    charge = api.charges.retrieve(payment.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (False, 0)
    assert {"refund.failed", "refund.updated", "charge.refund.updated"} <= set(types(sim))
    second = api.refunds.create({"payment_intent": payment.id})
    assert sim.refund(second.id, "succeed")["status"] == "succeeded"
    with pytest.raises(ControlError, match="not pending"):
        sim.refund(second.id, "succeed")


@pytest.mark.parametrize(
    ("card", "at_first", "later_on"),
    [
        ("pm_card_pendingRefund", "pending", "succeeded"),
        ("pm_card_refundFail", "succeeded", "failed"),
    ],
)
def test_cards_whose_refunds_end_later(api, sim, card, at_first, later_on):
    refund = api.refunds.create({"payment_intent": a_payment(api, card=card).id})
    assert refund.status == at_first
    sim.advance(seconds=DAY)
    assert api.refunds.retrieve(refund.id).status == later_on


# Disputes


def test_a_dispute_takes_the_money_and_gives_it_back(api, sim):
    payment = a_payment(api)
    dispute = sim.dispute(payment_intent=payment.id)
    assert (dispute["status"], dispute["amount"]) == ("needs_response", 2000)
    assert api.charges.retrieve(payment.latest_charge).disputed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"payment_intent": payment.id})
    assert refused.value.code == "charge_disputed"
    answered = api.disputes.update(dispute["id"], {"evidence": {"uncategorized_text": "they used it"}})
    assert answered.status == "under_review"
    won = sim.close_dispute(dispute["id"], "won")
    assert sum(each["amount"] for each in won["balance_transactions"]) == 0
    assert [kind for kind in types(sim) if "dispute" in kind] == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    with pytest.raises(ControlError, match="won already"):
        sim.close_dispute(dispute["id"], "lost")


def test_an_inquiry_moves_no_money_until_it_escalates(api, sim):
    inquiry = sim.dispute(charge=a_payment(api).latest_charge, status="warning_needs_response")
    assert inquiry["balance_transactions"] == []
    with pytest.raises(ControlError, match="cannot be closed as lost"):
        sim.close_dispute(inquiry["id"], "lost")
    assert sim.close_dispute(inquiry["id"], "warning_closed")["status"] == "warning_closed"
    second = sim.dispute(charge=a_payment(api).latest_charge, status="warning_needs_response")
    assert sim.close_dispute(second["id"], "escalate")["status"] == "needs_response"
    assert api.disputes.close(second["id"]).status == "lost"
    third = a_payment(api, card="pm_card_createDispute")
    assert api.disputes.list({"payment_intent": third.id}).data[0].reason == "fraudulent"


# Checkout


def test_checkout_of_a_payment(api, sim):
    customer = a_customer(api, None)
    session = a_checkout(
        api,
        customer=customer.id,
        client_reference_id="user-1",
        metadata={"purchase": "1"},
        payment_intent_data={"metadata": {"purchase": "1"}, "description": "Credits"},
    )
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 2500)
    assert (session.payment_intent, session.url.startswith(sim.url)) == (None, True)
    assert session.id.startswith("cs_test_")
    sim.checkout(session.id)
    session = api.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent", "line_items"]})
    assert (session.status, session.payment_status, session.url) == ("complete", "paid", None)
    assert session.payment_intent.metadata.to_dict() == {"purchase": "1"}
    assert session.payment_intent.customer == customer.id
    assert session.line_items.data[0].description == "Credits"
    assert types(sim)[-1] == "checkout.session.completed"
    with pytest.raises(ControlError, match="complete, not open"):
        sim.checkout(session.id)


def test_checkout_page_pays_declines_and_cancels(api, sim):
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    opener = urllib.request.build_opener(Stay)

    def press(url: str, **form: str) -> tuple[int, str | None, str]:
        with pytest.raises(urllib.error.HTTPError) as answer:
            opener.open(url, urllib.parse.urlencode(form).encode())
        with answer.value as error:
            return error.code, error.headers["Location"], error.read().decode()

    session = a_checkout(api)
    page = opener.open(session.url).read().decode()
    assert "25.00 USD" in page
    assert "No money moves" in page
    assert press(session.url, action="cancel")[:2] == (303, "http://127.0.0.1/back")
    status, _, page = press(session.url, action="decline")
    assert (status, "Your card was declined" in page) == (402, True)
    assert press(session.url, action="pay", card="pm_card_visa")[:2] == (303, f"http://127.0.0.1/done?id={session.id}")
    assert api.checkout.sessions.retrieve(session.id).payment_status == "paid"
    assert sim.created("payment_intent") == 1
    subscription = a_subscription(api)
    portal = api.billing_portal.sessions.create({"customer": subscription.customer, "return_url": "http://x"})
    assert "Cancel Plan" in opener.open(portal.url).read().decode()
    press(portal.url, action="cancel", subscription=subscription.id)
    assert "Resume Plan" in opener.open(portal.url).read().decode()
    payment = a_payment(api, card="pm_card_authenticationRequired", return_url="http://127.0.0.1/3ds")
    assert press(payment.next_action.redirect_to_url.url, action="complete")[1] == "http://127.0.0.1/3ds"
    invoice = api.invoices.retrieve(subscription.latest_invoice)
    assert "10.00 USD" in opener.open(invoice.hosted_invoice_url).read().decode()


def test_checkout_that_is_paid_later(api, sim):
    session = a_checkout(api)
    assert sim.checkout(session.id, **{"async": True})["payment_status"] == "unpaid"
    assert sim.checkout(session.id, "async_succeed")["payment_status"] == "paid"
    failed = a_checkout(api)
    assert sim.checkout(failed.id, "async_fail")["payment_status"] == "unpaid"
    assert [kind for kind in types(sim) if kind.startswith("checkout")] == [
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.completed",
        "checkout.session.async_payment_failed",
    ]


def test_checkout_expires(api, sim):
    session, other = a_checkout(api), a_checkout(api)
    assert api.checkout.sessions.expire(session.id).status == "expired"
    sim.advance(seconds=DAY)
    assert api.checkout.sessions.retrieve(other.id).status == "expired"
    assert types(sim) == ["checkout.session.expired"] * 2


def test_checkout_of_a_subscription_and_of_a_card(api, sim):
    price = a_price(api, 2900)
    session = a_checkout(
        api,
        mode="subscription",
        line_items=[{"price": price.id, "quantity": 1}],
        subscription_data={"metadata": {"tier": "pro"}},
    )
    with pytest.raises(ControlError, match="Your card was declined") as refused:
        sim.checkout(session.id, "decline")
    assert (refused.value.status, sim.created("subscription")) == (402, 0)
    session = sim.checkout(session.id, payment_method="pm_card_authenticationRequired")
    subscription = api.subscriptions.retrieve(session["subscription"])
    assert (subscription.status, subscription.metadata.to_dict()) == ("active", {"tier": "pro"})
    assert subscription.default_payment_method is not None
    assert api.invoices.retrieve(session["invoice"]).amount_paid == 2900
    setup = a_checkout(api, mode="setup", line_items=[], customer=session["customer"])
    done = api.setup_intents.retrieve(sim.checkout(setup.id)["setup_intent"])
    assert (done.status, done.customer) == ("succeeded", session["customer"])
    with pytest.raises(stripe.InvalidRequestError, match="`payment` mode but passed a recurring price"):
        a_checkout(api, line_items=[{"price": price.id, "quantity": 1}])


# Subscriptions and invoices


def test_periods_keep_the_anchors_day():
    def at(*date: int) -> int:
        return int(datetime(*date, tzinfo=UTC).timestamp())

    anchor = at(2024, 1, 31)
    assert [later(anchor, "month", count) for count in (1, 2, 12)] == [
        at(2024, 2, 29),
        at(2024, 3, 31),
        at(2025, 1, 31),
    ]
    assert period_end(anchor, at(2024, 2, 29), "month", 1) == at(2024, 3, 31)
    assert period_end(at(2024, 2, 29), at(2024, 2, 29), "year", 1) == at(2025, 2, 28)


def test_a_subscription_renews(api, sim):
    subscription = a_subscription(api, metadata={"user": "1"})
    assert subscription.status == "active"
    invoice = api.invoices.retrieve(subscription.latest_invoice)
    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_create", 1000)
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.parent.subscription_details.metadata.to_dict() == {"user": "1"}
    end = subscription["items"].data[0].current_period_end
    sim.advance(to=end + 60)
    renewed = api.subscriptions.retrieve(subscription.id)
    assert renewed["items"].data[0].current_period_start == end
    draft = api.invoices.retrieve(renewed.latest_invoice)
    assert (draft.status, draft.billing_reason, draft.created) == ("draft", "subscription_cycle", end)
    sim.advance(seconds=3600)
    assert api.invoices.retrieve(draft.id).status == "paid"
    assert (draft.lines.data[0].period.start, draft.lines.data[0].amount) == (end, 1000)
    payment = api.invoice_payments.list({"invoice": draft.id}).data[0]
    assert api.payment_intents.retrieve(payment.payment.payment_intent).status == "succeeded"
    assert types(sim)[-9:] == [
        "invoice.created",
        "customer.subscription.updated",
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    (updated,) = [
        each for each in sim.events("customer.subscription.updated") if "items" in each["data"]["previous_attributes"]
    ]
    assert updated["data"]["previous_attributes"]["latest_invoice"] == invoice.id
    sim.advance(seconds=365 * DAY)
    assert len(api.invoices.list({"subscription": subscription.id, "limit": 100}).data) == 14


def test_a_renewal_that_fails_is_retried_then_paid(api, sim):
    subscription = a_subscription(api)
    method = api.customers.retrieve(subscription.customer).invoice_settings.default_payment_method
    sim.card(method, "insufficient_funds")
    sim.advance(to=subscription["items"].data[0].current_period_end + 2 * 3600)
    late = api.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert (late.status, late.latest_invoice.status, late.latest_invoice.attempt_count) == ("past_due", "open", 1)
    sim.advance(seconds=3 * DAY)
    invoice = api.invoices.retrieve(late.latest_invoice.id)
    assert invoice.attempt_count == 2
    with pytest.raises(stripe.CardError):
        api.invoices.pay(invoice.id)
    sim.card(method, None)
    assert api.invoices.pay(invoice.id).status == "paid"
    assert api.subscriptions.retrieve(subscription.id).status == "active"
    with pytest.raises(stripe.InvalidRequestError) as again:
        api.invoices.pay(invoice.id)
    assert again.value.code == "invoice_already_paid"
    assert types(sim).count("invoice.payment_failed") == 3


def test_a_renewal_that_never_succeeds_ends_the_subscription(api, sim):
    subscription = a_subscription(api)
    sim.card(api.customers.retrieve(subscription.customer).invoice_settings.default_payment_method, "lost_card")
    sim.advance(seconds=31 * DAY + 16 * DAY)
    ended = api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.cancellation_details.reason) == ("canceled", "payment_failed")
    assert types(sim).count("invoice.payment_failed") == 4
    assert types(sim)[-1] == "customer.subscription.deleted"
    assert sim.created("invoice") == 2


def test_a_first_payment_that_fails_leaves_it_incomplete(api, sim):
    subscription = a_subscription(api, card="pm_card_chargeCustomerFail")
    assert subscription.status == "incomplete"
    sim.advance(seconds=DAY)
    assert api.subscriptions.retrieve(subscription.id).status == "incomplete_expired"
    before = sim.created("subscription")
    with pytest.raises(stripe.CardError):
        a_subscription(api, card="pm_card_chargeCustomerFail", payment_behavior="error_if_incomplete")
    assert sim.created("subscription") == before
    asked = a_subscription(api, card="pm_card_authenticationRequired", expand=["latest_invoice.payments"])
    assert asked.status == "incomplete"
    sim.authenticate(asked.latest_invoice.payments.data[0].payment.payment_intent)
    assert api.subscriptions.retrieve(asked.id).status == "active"


def test_price_changes_with_and_without_proration(api, sim):
    subscription = a_subscription(api)
    item = subscription["items"].data[0]
    half = (item.current_period_end - item.current_period_start) // 2
    sim.advance(to=item.current_period_start + half)
    bigger = a_price(api, 3000)

    def change(price: str, **params: Any) -> Any:
        return api.subscriptions.update(subscription.id, {"items": [{"id": item.id, "price": price}], **params})

    changed = change(bigger.id, proration_behavior="always_invoice")
    assert changed["items"].data[0].price.id == bigger.id
    invoice = api.invoices.retrieve(changed.latest_invoice)
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_update")
    assert invoice.amount_paid == pytest.approx(1000, abs=2)
    assert [line.parent.subscription_item_details.proration for line in invoice.lines.data] == [True, True]
    silent = change(a_price(api, 500).id, proration_behavior="none")
    assert silent.latest_invoice == invoice.id
    waiting = change(bigger.id)
    assert waiting.latest_invoice == invoice.id
    sim.advance(to=item.current_period_end + 2 * 3600)
    renewal = api.invoices.retrieve(api.subscriptions.retrieve(subscription.id).latest_invoice)
    assert len(renewal.lines.data) == 3
    assert renewal.amount_paid == pytest.approx(3000 + 1250, abs=2)
    yearly = change(a_price(api, 30000, "year").id)
    row = yearly["items"].data[0]
    assert row.current_period_end - row.current_period_start >= 365 * DAY
    assert api.invoices.retrieve(yearly.latest_invoice).amount_paid == pytest.approx(27000, abs=20)


def test_a_credit_stays_in_the_customers_balance(api, sim):
    subscription = a_subscription(api, amount=3000)
    item = subscription["items"].data[0].id
    smaller = a_price(api, 1000).id
    api.subscriptions.update(
        subscription.id, {"items": [{"id": item, "price": smaller}], "proration_behavior": "always_invoice"}
    )
    assert api.customers.retrieve(subscription.customer).balance == pytest.approx(-2000, abs=2)
    sim.advance(seconds=32 * DAY)
    assert api.customers.retrieve(subscription.customer).balance == pytest.approx(-1000, abs=2)


def test_cancel_at_period_end_resume_and_cancel(api, sim):
    subscription = a_subscription(api)
    end = subscription["items"].data[0].current_period_end
    ending = api.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert (ending.status, ending.cancel_at, ending.cancel_at_period_end) == ("active", end, True)
    (event,) = [each for each in sim.events("customer.subscription.updated") if each["data"]["object"]["cancel_at"]]
    assert event["data"]["previous_attributes"]["cancel_at_period_end"] is False
    assert api.subscriptions.update(subscription.id, {"cancel_at_period_end": False}).cancel_at is None
    portal = api.billing_portal.sessions.create({"customer": subscription.customer, "return_url": "http://x"})
    sim.portal(portal.id, "cancel")
    sim.portal(portal.id, "resume")
    sim.portal(portal.id, "card", payment_method="pm_card_mastercard")
    sim.portal(portal.id, "cancel", subscription=subscription.id)
    changed = api.subscriptions.retrieve(subscription.id, {"expand": ["default_payment_method"]})
    assert changed.default_payment_method.card.brand == "mastercard"
    sim.advance(to=end)
    assert api.subscriptions.retrieve(subscription.id).status == "canceled"
    assert sim.created("invoice") == 1
    other = a_subscription(api)
    assert api.subscriptions.cancel(other.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        api.subscriptions.cancel(other.id)
    assert [each.id for each in api.subscriptions.list({"status": "all"}).data] == [other.id, subscription.id]
    assert api.subscriptions.list({"customer": other.customer}).data == []


# Idempotency


def test_a_key_replays_its_answer(sim, api):
    sent = {"amount": "500", "currency": "usd", "payment_method": "pm_card_chargeDeclined", "confirm": "true"}
    first = raw(sim, "/v1/payment_intents", sent, **{"Idempotency-Key": "k1"})
    second = raw(sim, "/v1/payment_intents", sent, **{"Idempotency-Key": "k1"})
    assert first[:2] == second[:2]
    assert (first[0], first[2]["Idempotent-Replayed"], second[2]["Idempotent-Replayed"]) == (402, None, "true")
    assert second[2]["Original-Request"] == first[2]["Request-Id"] != second[2]["Request-Id"]
    assert sim.created("payment_intent") == 1
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        api.payment_intents.create({"amount": 600, "currency": "usd"}, {"idempotency_key": "k1"})
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        api.customers.create({}, {"idempotency_key": "k1"})


def test_validation_errors_leave_the_key_free(api, sim):
    options = {"idempotency_key": "k2"}
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.create({"amount": 600}, options)
    made = api.payment_intents.create({"amount": 600, "currency": "usd"}, options)
    assert api.payment_intents.create({"amount": 600, "currency": "usd"}, options).id == made.id
    sim.advance(seconds=DAY)
    assert api.payment_intents.create({"amount": 600, "currency": "usd"}, options).id != made.id


def test_errors_of_the_execution_are_kept(api, sim):
    payment = a_payment(api)
    api.refunds.create({"payment_intent": payment.id}, {"idempotency_key": "r1"})
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError, match="already been refunded") as refused:
            api.refunds.create({"payment_intent": payment.id}, {"idempotency_key": "r2"})
    assert refused.value.headers["Idempotent-Replayed"] == "true"
    assert sim.created("refund") == 1


def test_a_key_in_use_is_a_conflict(api, sim):
    sim.fault("slow", method="POST", path="/v1/customers", seconds=2)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(api.customers.create, {"name": "Jo"}, {"idempotency_key": "c1"})
        deadline = time.monotonic() + 60
        while not sim.requests("POST", "/v1/customers"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(stripe.APIError) as conflict:
            api.customers.create({"name": "Jo"}, {"idempotency_key": "c1"})
        assert (conflict.value.http_status, conflict.value.code) == (409, None)
        assert conflict.value.json_body["error"]["code"] == "idempotency_key_in_use"
        made = first.result()
    assert api.customers.create({"name": "Jo"}, {"idempotency_key": "c1"}).id == made.id


def test_many_at_once_with_one_key_have_one_effect(sim):
    def create(_: int) -> str | int:
        try:
            return client(sim).v1.customers.create({"name": "Jo"}, {"idempotency_key": "many"}).id
        except stripe.APIError as error:
            return error.http_status

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(create, range(16)))
    assert len(answers - {409}) == 1
    assert sim.created("customer") == 1


# Faults


def a_try(call: Callable[[], Any]) -> tuple[str, int | None]:
    try:
        call()
    except stripe.StripeError as error:
        return type(error).__name__, error.http_status
    return "done", 200


@pytest.mark.parametrize(
    ("fault", "error", "effects", "again"),
    [
        ({"kind": "timeout_before"}, ("APIConnectionError", None), 0, ("done", 200)),
        ({"kind": "timeout_after"}, ("APIConnectionError", None), 1, ("done", 200)),
        ({"kind": "error_before", "status": 429}, ("RateLimitError", 429), 0, ("done", 200)),
        ({"kind": "error_before", "status": 503}, ("APIError", 503), 0, ("done", 200)),
        ({"kind": "error_before", "status": 500}, ("APIError", 500), 0, ("APIError", 500)),
        ({"kind": "error_before", "status": 500, "stored": False}, ("APIError", 500), 0, ("done", 200)),
        ({"kind": "error_after", "status": 500}, ("APIError", 500), 1, ("APIError", 500)),
        ({"kind": "error_after", "status": 503}, ("APIError", 503), 1, ("APIError", 503)),
    ],
)
def test_a_fault_and_the_same_request_again(api, sim, fault, error, effects, again):
    sim.fault(**fault, method="POST", path="/v1/customers")

    def create() -> Any:
        return api.customers.create({"name": "Jo"}, {"idempotency_key": "f"})

    assert a_try(create) == error
    assert sim.created("customer") == effects
    assert a_try(create) == again
    assert sim.created("customer") == (0 if again != ("done", 200) and not effects else 1)
    assert [each["fault"] for each in sim.requests("POST", "/v1/customers")] == [fault["kind"], None]


def test_the_sdk_gets_over_dropped_connections_by_itself(sim):
    sim.fault("timeout_after", path="/v1/customers", times=2)
    assert client(sim, retries=2).v1.customers.create({"name": "Jo"}).name == "Jo"
    assert sim.created("customer") == 1
    assert [each["replayed"] for each in sim.requests("POST")] == [False, True, True]


def test_the_nth_call_fails(api, sim):
    sim.fault("error_before", status=503, path="/v1/customers/*", nth=2)
    customer = a_customer(api, None)
    tries = [a_try(lambda: api.customers.retrieve(customer.id)) for _ in range(3)]
    assert [status for _, status in tries] == [200, 503, 200]
    sim.clear_faults()
    for wrong in ({"kind": "typo"}, {"kind": "error_after", "status": 429}, {"kind": "slow", "colour": 1}):
        with pytest.raises(ControlError):
            sim.fault(**wrong)


# Webhooks


def test_webhooks_are_signed_and_complete(api, sim, endpoint):
    api.customers.create({"name": "Jo"}, {"idempotency_key": "hook"})
    assert sim.flush()["done"]
    (event,) = endpoint.events
    stored = api.events.retrieve(event.id)
    assert (event.type, event.data.object.name, event.pending_webhooks) == ("customer.created", "Jo", 1)
    assert (stored.pending_webhooks, event.api_version) == (0, "2026-10-28.endive")
    assert event.request.idempotency_key == "hook"
    payload, header = endpoint.payloads[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(payload + b" ", header, SECRET)
    assert [each.id for each in api.events.list({"type": "customer.*"}).data] == [event.id]
    assert api.events.list({"types": ["charge.failed"]}).data == []


def test_webhooks_are_tried_until_they_are_taken(api, sim, endpoint):
    endpoint.answers = [500, 404]
    a_customer(api, None)
    assert sim.flush()["done"]
    assert [each["status"] for each in sim.deliveries()] == [500, 404, 200]
    assert len(endpoint.events) == 1
    event = sim.resend(endpoint.events[0].id)
    sim.flush()
    assert [each.id for each in endpoint.events] == [event["id"]] * 2
    endpoint.answers = [500] * 50
    a_customer(api, None)
    assert not sim.flush(0.2)["done"]


def test_webhooks_come_twice_late_never_and_out_of_order(api, sim, endpoint):
    sim.fault("duplicate", event="charge.succeeded")
    sim.fault("drop", event="payment_intent.created")
    payment = a_payment(api)
    sim.flush()
    assert endpoint.types == ["charge.succeeded", "charge.succeeded", "payment_intent.succeeded"]
    endpoint.events.clear()
    sim.fault("reorder", event="*", count=3, times=3)
    a_payment(api)
    sim.flush()
    assert endpoint.types == ["payment_intent.succeeded", "charge.succeeded", "payment_intent.created"]
    endpoint.events.clear()
    sim.fault("hold", event="*", times=0)
    api.refunds.create({"payment_intent": payment.id})
    assert [each["type"] for each in sim.flush()["held"]] == ["refund.created", "charge.refunded"]
    assert endpoint.events == []
    sim.release(["charge.refunded"])
    sim.flush()
    sim.release()
    sim.flush()
    assert endpoint.types == ["charge.refunded", "refund.created"]
    sim.clear_faults()
    endpoint.events.clear()
    sim.fault("delay", event="payment_intent.created", seconds=0.2)
    sim.fault("duplicate", event="payment_intent.succeeded", copies=3, at_once=True)
    a_payment(api)
    sim.flush()
    assert endpoint.types == ["charge.succeeded", *["payment_intent.succeeded"] * 3, "payment_intent.created"]


# The simulator itself


def test_the_state_survives_a_restart(tmp_path, endpoint):
    file = tmp_path / "stripe.json"
    with Simulator(state_file=file, webhook_secret=SECRET, webhook_url="http://127.0.0.1:9/") as first:
        api = client(first).v1
        subscription = a_subscription(api)
        made = api.customers.create({"name": "Jo"}, {"idempotency_key": "k"})
        first.advance(seconds=DAY // 2)
    with Simulator(state_file=file, webhook_secret=SECRET, webhook_url=endpoint.url) as second:
        api = client(second).v1
        assert api.customers.create({"name": "Jo"}, {"idempotency_key": "k"}).id == made.id
        second.flush()
        assert endpoint.types[-1] == "customer.created"
        second.advance(seconds=32 * DAY)
        assert len(api.invoices.list({"subscription": subscription.id}).data) == 2


def test_the_state_is_for_its_owner_only(tmp_path):
    file = tmp_path / "stripe.json"
    file.with_suffix(".tmp").touch(0o666)  # of a run that was killed
    with Simulator(state_file=file) as running:
        a_customer(client(running).v1, None)
        assert file.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_time_moves_forward_only(api, sim):
    now = sim.advance(seconds=1000)
    assert abs(a_customer(api, None).created - now) <= 2
    with pytest.raises(ControlError, match="forward only"):
        sim.advance(to=now - 500)
    assert isinstance(api.customers.list().data[0], StripeObject)


def test_a_port_in_use_is_an_error(sim):
    with pytest.raises(OSError, match="in use"):
        Simulator(port=int(sim.url.rpartition(":")[2])).start()


def test_the_command_runs_until_it_is_stopped():
    command = [sys.executable, "-m", "scripts.stripe_simulator", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert "no money moves" in line
        url = line.split()[3].rstrip(":")
        assert Control(url).state()["objects"] == {}
        process.terminate()
        assert process.wait(10) == 0
