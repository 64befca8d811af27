"""Refunds: full, partial, several; never more than was paid. A pending one may fail, and gives its amount back."""

from scripts.stripe_simulator import balance, methods, objects
from scripts.stripe_simulator.errors import ApiError, refused
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page
from scripts.stripe_simulator.store import JSON, Store, job

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
FAILURES = (
    "charge_for_pending_refund_disputed",
    "declined",
    "expired_or_canceled_card",
    "insufficient_funds",
    "lost_or_stolen_card",
    "merchant_request",
    "unknown",
)


def create(store: Store, params: Params) -> JSON:
    charge_key, intent_key = params.text("charge"), params.text("payment_intent")
    amount, reason = params.positive("amount"), params.choice("reason", REASONS)
    metadata = params.metadata()
    params.done()
    if charge_key is None and intent_key is None:
        raise refused(
            "One of the following params should be provided for this request: payment_intent or charge.",
            "charge",
            "parameter_missing",
        )
    charge = _charge(store, charge_key, intent_key)
    _check(charge, amount)
    left = charge["amount"] - charge["amount_refunded"]
    item = objects.refund(store.clock.now(), charge, left if amount is None else amount)
    item |= {"metadata": metadata, "reason": reason}
    store.add(item)
    charge["amount_refunded"] += item["amount"]
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    item["balance_transaction"] = balance.book(store, "refund", item, -item["amount"])["id"]
    method = store.find(charge["payment_method"])
    fate = methods.card_of(store, method).refund if method else None
    if fate == "pending" or store.settings["refund_status"] == "pending":
        item["status"] = "pending"
    if fate is not None:
        name = "refund.succeed" if fate == "pending" else "refund.fail"
        store.schedule(name, item["id"], store.clock.now() + store.settings["refund_after"])
    store.emit("refund.created", item)
    store.emit("charge.refunded", charge)
    return item


def _charge(store: Store, charge_key: str | None, intent_key: str | None) -> JSON:
    if charge_key is not None:
        return store.get("charge", charge_key, "charge")
    assert intent_key is not None
    intent = store.get("payment_intent", intent_key, "payment_intent")
    charge = store.find(intent["latest_charge"] or "")
    if charge is None or not charge["captured"]:
        raise ApiError(
            f"This PaymentIntent ({intent_key}) does not have a successful charge to refund.",
            param="payment_intent",
        )
    return charge


def _check(charge: JSON, amount: int | None) -> None:
    key = charge["id"]
    if not charge["captured"]:
        raise ApiError(f"Charge {key} has not been captured; it cannot be refunded.", param="charge")
    if charge["refunded"]:
        raise ApiError(f"Charge {key} has already been refunded.", code="charge_already_refunded")
    if charge["disputed"]:
        raise ApiError(f"Charge {key} has been charged back; cannot issue a refund.", code="charge_disputed")
    left = charge["amount"] - charge["amount_refunded"]
    if amount is not None and amount > left:
        raise ApiError(
            f"Refund amount ({_money(amount, charge)}) is greater than unrefunded amount on charge "
            f"({_money(left, charge)})",
            param="amount",
        )


def _money(amount: int, charge: JSON) -> str:
    sign = "$" if charge["currency"] == "usd" else f"{charge['currency'].upper()} "
    return f"{sign}{amount // 100}.{amount % 100:02d}"


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("refund", key)


def update(store: Store, params: Params, key: str) -> JSON:
    item = store.get("refund", key)
    metadata = params.metadata(item["metadata"])
    params.done()
    _change(store, item, {"metadata": metadata})
    return item


def cancel(store: Store, params: Params, key: str) -> JSON:
    """Refused, as at Stripe for every refund to a card: only one that requires action can be canceled."""
    params.done()
    item = store.get("refund", key)
    raise ApiError(f"Refund {key} cannot be canceled because it has a status of {item['status']}.")


def list_all(store: Store, params: Params) -> JSON:
    charge, intent = params.text("charge"), params.text("payment_intent")
    store.known("charge", charge, "charge")
    store.known("payment_intent", intent, "payment_intent")
    found = [
        item
        for item in store.all("refund")
        if charge in (None, item["charge"]) and intent in (None, item["payment_intent"])
    ]
    return page(store, "refund", "/v1/refunds", params, found)


def _change(store: Store, item: JSON, values: JSON) -> None:
    """Both events that Stripe sends of a changed refund: by its own name, and by its charge's."""
    before = {name: item.get(name) for name, value in values.items() if item.get(name) != value}
    if before:
        item.update(values)
        store.emit("refund.updated", item, before)
        store.emit("charge.refund.updated", item, before)


def succeed(store: Store, item: JSON) -> None:
    """The bank has confirmed a pending refund."""
    if item["status"] != "pending":
        raise ApiError(f"Refund {item['id']} is {item['status']}, not pending.")
    _change(store, item, {"status": "succeeded"})


def fail(store: Store, item: JSON, reason: str = "lost_or_stolen_card") -> None:
    """The bank sends the money back; the charge counts as not refunded by that amount."""
    if item["status"] not in ("pending", "succeeded"):
        raise ApiError(f"Refund {item['id']} is {item['status']} already.")
    if reason not in FAILURES:
        raise ApiError(f"Invalid failure_reason: must be one of {', '.join(FAILURES)}")
    charge = store.get("charge", item["charge"])
    charge |= {"amount_refunded": charge["amount_refunded"] - item["amount"], "refunded": False}
    back = balance.book(store, "refund_failure", item, item["amount"])["id"]
    _change(store, item, {"status": "failed", "failure_reason": reason, "failure_balance_transaction": back})
    store.emit("refund.failed", item)


@job("refund.succeed")
def succeed_later(store: Store, key: str, at: int) -> None:
    item = store.get("refund", key)
    if item["status"] == "pending":
        succeed(store, item)


@job("refund.fail")
def fail_later(store: Store, key: str, at: int) -> None:
    item = store.get("refund", key)
    if item["status"] in ("pending", "succeeded"):
        fail(store, item)
