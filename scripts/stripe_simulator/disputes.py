"""Disputes: opened by the customer's bank, that is by a test; answered through the API; closed by a test."""

from scripts.stripe_simulator import balance, objects
from scripts.stripe_simulator.errors import ApiError
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page
from scripts.stripe_simulator.store import JSON, Store

INQUIRY = "warning_needs_response"
CLOSED = ("won", "lost", "warning_closed")
OPENED = ("needs_response", INQUIRY)
FEE = 1500


def open_dispute(
    store: Store, charge: JSON, *, reason: str = "fraudulent", status: str = "needs_response", amount: int | None = None
) -> JSON:
    """A dispute of the charge; an inquiry (`warning_…`) moves no money."""
    if status not in OPENED:
        raise ApiError(f"A dispute opens as one of {', '.join(OPENED)}, not as {status}.")
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise ApiError(f"Charge {charge['id']} has not been paid; nobody can dispute it.")
    amount = charge["amount_captured"] if amount is None else amount
    item = objects.dispute(store.clock.now(), charge, amount, reason=reason, status=status)
    store.add(item)
    if status == INQUIRY:
        store.emit("charge.dispute.created", item)
    else:
        _withdraw(store, item, "charge.dispute.created")
    return item


def _withdraw(store: Store, item: JSON, event: str, previous: JSON | None = None) -> None:
    store.get("charge", item["charge"])["disputed"] = True
    item["is_charge_refundable"] = False
    item["payment_method_details"]["card"]["case_type"] = "chargeback"
    item["balance_transactions"].append(balance.book(store, "adjustment", item, -item["amount"], FEE))
    store.emit(event, item, previous)
    store.emit("charge.dispute.funds_withdrawn", item)


def escalate(store: Store, item: JSON) -> None:
    """An inquiry becomes a chargeback."""
    if item["status"] not in (INQUIRY, "warning_under_review"):
        raise ApiError(f"Dispute {item['id']} is {item['status']}, not an inquiry.")
    before, item["status"] = item["status"], "needs_response"
    _withdraw(store, item, "charge.dispute.updated", {"status": before})


def close(store: Store, item: JSON, status: str) -> None:
    """The bank decides: won or lost; an inquiry ends as warning_closed."""
    if item["status"] in CLOSED:
        raise ApiError(f"Dispute {item['id']} is {item['status']} already.")
    if status not in CLOSED or item["status"].startswith("warning_") != (status == "warning_closed"):
        raise ApiError(f"Dispute {item['id']} is {item['status']} and cannot be closed as {status}.")
    before, item["status"] = item["status"], status
    if status == "won":
        item["balance_transactions"].append(balance.book(store, "adjustment", item, item["amount"]))
    store.emit("charge.dispute.closed", item, {"status": before})
    if status == "won":
        store.emit("charge.dispute.funds_reinstated", item)


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("dispute", key)


def update(store: Store, params: Params, key: str) -> JSON:
    """Give evidence; with `submit` (the default) the bank reviews it."""
    item = store.get("dispute", key)
    metadata = params.metadata(item["metadata"])
    evidence = params.part("evidence").texts_of(*objects.EVIDENCE)
    submit = params.flag("submit", True)
    params.done()
    if evidence and item["status"] in CLOSED:
        raise ApiError("This dispute is already closed")
    with store.changing(item, "charge.dispute.updated"):
        item["metadata"] = metadata
        if evidence:
            item["evidence"].update(evidence)
            item["evidence_details"]["has_evidence"] = True
        if evidence and submit:
            item["evidence_details"]["submission_count"] += 1
            item["evidence_details"]["submission_method"] = "manual"
            item["status"] = "warning_under_review" if item["status"].startswith("warning_") else "under_review"
    return item


def accept(store: Store, params: Params, key: str) -> JSON:
    """POST /v1/disputes/{id}/close: give up, which loses it."""
    params.done()
    item = store.get("dispute", key)
    close(store, item, "warning_closed" if item["status"].startswith("warning_") else "lost")
    return item


def list_all(store: Store, params: Params) -> JSON:
    charge, intent = params.text("charge"), params.text("payment_intent")
    found = [
        item
        for item in store.all("dispute")
        if charge in (None, item["charge"]) and intent in (None, item["payment_intent"])
    ]
    return page(store, "dispute", "/v1/disputes", params, found)
