"""Invoices of subscriptions: draft, open, paid; and what happens when the card says no."""

from collections.abc import Callable

from scripts.stripe_simulator import methods, objects, payments
from scripts.stripe_simulator.errors import ApiError
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page, search
from scripts.stripe_simulator.store import JSON, Store, job

# Whoever made an invoice hears what became of it: (store, invoice, "paid" | "failed" | "given_up").
Listener = Callable[[Store, JSON, str], None]
LISTENERS: list[Listener] = []


def draft(store: Store, subscription: JSON, lines: list[JSON], reason: str) -> JSON:
    """A draft for the subscription's customer; it is the subscription's latest invoice."""
    customer = store.get("customer", subscription["customer"])
    item = objects.invoice(store.clock.now(), customer, subscription, lines, reason)
    item["period_end"] = max((line["period"]["start"] for line in lines), default=item["period_end"])
    store.add(item, payment_intent=None)
    subscription["latest_invoice"] = item["id"]
    store.emit("invoice.created", item)
    return item


def finalize_later(store: Store, item: JSON) -> None:
    """Renewals stay drafts for an hour."""
    at = store.clock.now() + store.settings["finalize_after"]
    item |= {"automatically_finalizes_at": at, "next_payment_attempt": at}
    store.schedule("invoice.finalize", item["id"], at)


@job("invoice.finalize")
def finalize_due(store: Store, key: str, at: int) -> None:
    item = store.get("invoice", key)
    if item["status"] == "draft":
        finalize(store, item)
        collect(store, item)


def finalize(store: Store, item: JSON) -> None:
    """Fix what is due, with the customer's balance taken into account, and make its payment intent."""
    now = store.clock.now()
    customer = store.get("customer", item["customer"])
    balance = customer["balance"]
    due = item["total"] + balance
    item |= {
        "amount_due": max(due, 0),
        "amount_remaining": max(due, 0),
        "automatically_finalizes_at": None,
        "effective_at": now,
        "ending_balance": min(due, 0),
        "number": f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}",
        "starting_balance": balance,
        "status": "open",
    }
    item["status_transitions"]["finalized_at"] = now
    item["hosted_invoice_url"] = f"{store.url}/invoices/{item['id']}"
    customer["next_invoice_sequence"] += 1
    with store.changing(customer, "customer.updated"):
        customer |= {"balance": item["ending_balance"], "currency": item["currency"]}
    intent = None
    if item["amount_due"] > 0:
        intent = objects.payment_intent(now, item["amount_due"], item["currency"])
        intent |= {
            "customer": item["customer"],
            "description": "Subscription creation" if item["billing_reason"] == "subscription_create" else None,
            "receipt_email": customer["email"],
            "setup_future_usage": "off_session",
        }
        store.add(intent)
        store.add(objects.invoice_payment(now, item, intent["id"]))
        store.hidden[item["id"]]["payment_intent"] = intent["id"]
    store.emit("invoice.finalized", item)
    if intent is not None:
        store.emit("payment_intent.created", intent)


def collect(store: Store, item: JSON, *, method: JSON | None = None, off_session: bool = True) -> ApiError | None:
    """One attempt to get an open invoice paid; the error is what the card said."""
    key = store.hidden[item["id"]]["payment_intent"]
    if key is None:
        settle(store, item)
        return None
    intent = store.get("payment_intent", key)
    subscription = subscription_of(store, item)
    source = method or methods.default(store, subscription, store.get("customer", item["customer"]))
    item |= {"attempted": True, "attempt_count": item["attempt_count"] + 1, "next_payment_attempt": None}
    if source is None:
        error = ApiError(
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method.",
            code="resource_missing",
        )
        failed(store, item)
        return error
    intent["payment_method"] = source["id"]
    if error := payments.attempt(store, intent, off_session=off_session):
        if error.error.get("code") == "authentication_required":
            store.emit("invoice.payment_action_required", item)
        failed(store, item)
        return error
    if intent["status"] == "requires_action":
        store.emit("invoice.payment_action_required", item)
    return None


def paid(store: Store, intent: JSON) -> None:
    """The payment intent of an invoice has succeeded, whoever confirmed it."""
    for each in store.all("invoice_payment"):
        if each["payment"]["payment_intent"] == intent["id"]:
            settle(store, store.get("invoice", each["invoice"]))


payments.LISTENERS.append(paid)


def settle(store: Store, item: JSON) -> None:
    """The invoice is paid."""
    now = store.clock.now()
    item |= {
        "amount_paid": item["amount_due"],
        "amount_remaining": 0,
        "attempted": True,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
    }
    item["status_transitions"]["paid_at"] = now
    for each in store.all("invoice_payment"):
        if each["invoice"] == item["id"]:
            each |= {"amount_paid": item["amount_paid"], "status": "paid"}
            each["status_transitions"]["paid_at"] = now
            store.emit("invoice_payment.paid", each)
    store.emit("invoice.paid", item)
    store.emit("invoice.payment_succeeded", item)
    _tell(store, item, "paid")


def failed(store: Store, item: JSON) -> None:
    """An attempt has failed: another one later, or none any more."""
    waits = store.settings["retry_after"]
    first = item["billing_reason"] == "subscription_create"
    again = not first and item["attempt_count"] <= len(waits)
    if again:
        at = store.clock.now() + waits[item["attempt_count"] - 1]
        item["next_payment_attempt"] = at
        store.schedule("invoice.retry", item["id"], at)
    elif not first:
        item["auto_advance"] = False
    store.emit("invoice.payment_failed", item)
    _tell(store, item, "failed" if again or first else "given_up")


@job("invoice.retry")
def retry(store: Store, key: str, at: int) -> None:
    item = store.get("invoice", key)
    if item["status"] == "open" and item["next_payment_attempt"] == at:
        collect(store, item)


def _tell(store: Store, item: JSON, outcome: str) -> None:
    for listener in LISTENERS:
        listener(store, item, outcome)


def subscription_of(store: Store, item: JSON) -> JSON:
    return store.get("subscription", item["parent"]["subscription_details"]["subscription"])


def void(store: Store, item: JSON) -> None:
    """Nobody has to pay it any more."""
    item |= {"status": "void", "auto_advance": False, "next_payment_attempt": None}
    item["status_transitions"]["voided_at"] = store.clock.now()
    key = store.hidden[item["id"]]["payment_intent"]
    if key is not None:
        store.get("payment_intent", key).update(status="canceled", canceled_at=store.clock.now())
    store.emit("invoice.voided", item)


# The API


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("invoice", key)


def finalize_now(store: Store, params: Params, key: str) -> JSON:
    """POST /v1/invoices/{id}/finalize: what the hour would have done, without the payment."""
    item = store.get("invoice", key)
    params.flag("auto_advance")
    params.done()
    if item["status"] != "draft":
        raise ApiError("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    finalize(store, item)
    store.schedule("invoice.retry", key, store.clock.now() + store.settings["finalize_after"])
    item["next_payment_attempt"] = store.clock.now() + store.settings["finalize_after"]
    return item


def pay(store: Store, params: Params, key: str) -> JSON:
    item = store.get("invoice", key)
    method, off_session = params.text("payment_method"), params.flag("off_session", True)
    outside = params.flag("paid_out_of_band")
    params.done()
    if item["status"] == "paid":
        raise ApiError("Invoice is already paid", code="invoice_already_paid")
    if item["status"] == "draft":
        finalize(store, item)
    if item["status"] != "open":
        raise ApiError(f"Invoice is {item['status']} and can't be paid.", code="invoice_not_editable")
    if outside:
        settle(store, item)
        return item
    source = methods.resolve(store, method, "payment_method") if method else None
    if error := collect(store, item, method=source, off_session=off_session):
        raise error
    return item


def void_now(store: Store, params: Params, key: str) -> JSON:
    params.done()
    item = store.get("invoice", key)
    if item["status"] != "open":
        raise ApiError("You can only pass in open invoices. This invoice isn't open.")
    void(store, item)
    return item


def list_all(store: Store, params: Params) -> JSON:
    customer, subscription = params.text("customer"), params.text("subscription")
    status = params.choice("status", ["draft", "open", "paid", "uncollectible", "void"])
    found = [
        item
        for item in store.all("invoice")
        if customer in (None, item["customer"])
        and subscription in (None, item["parent"]["subscription_details"]["subscription"])
        and status in (None, item["status"])
    ]
    return page(store, "invoice", "/v1/invoices", params, found)


def search_all(store: Store, params: Params) -> JSON:
    return search(store, "invoice", "/v1/invoices/search", params)


def list_lines(store: Store, params: Params, key: str) -> JSON:
    lines = store.get("invoice", key)["lines"]["data"]
    # Lines have no created of their own, and Stripe lists them in the invoice's order.
    params_limit = params.integer("limit", 10) or 10
    after = params.text("starting_after")
    params.done()
    start = next((number + 1 for number, line in enumerate(lines) if line["id"] == after), 0)
    shown = lines[start : start + params_limit]
    return objects.listing(f"/v1/invoices/{key}/lines", shown, has_more=start + params_limit < len(lines))


def list_payments(store: Store, params: Params) -> JSON:
    """The payments of an invoice, or the one that a payment intent is for."""
    invoice = params.text("invoice")
    part = params.part("payment")
    part.choice("type", ["payment_intent"])
    intent, status = part.text("payment_intent"), params.choice("status", ["open", "paid", "canceled"])
    found = [
        item
        for item in store.all("invoice_payment")
        if invoice in (None, item["invoice"])
        and intent in (None, item["payment"]["payment_intent"])
        and status in (None, item["status"])
    ]
    return page(store, "invoice_payment", "/v1/invoice_payments", params, found)


def retrieve_payment(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("invoice_payment", key)
