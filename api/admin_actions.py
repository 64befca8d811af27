"""What admins do, for the API and the panel alike: previews, and refunds that are carried out at Stripe at once."""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

import stripe
from flask import current_app

from api.auth import ADMINS
from api.database import Row, call, call_all
from api.errors import stripe_message
from api.stripe_client import stripe_client
from api.stripe_work import learn_payment, perform_now

PAYMENT_INTENT_ID = re.compile("pi_[A-Za-z0-9_]+")
# What a refund is that Stripe refused.
REFUSED = ("failed", "canceled")


def preview(actor: UUID, user_id: UUID, **action: Any) -> Row:
    """What the action would do at this moment; a payment that only Stripe knows is learned first."""
    find_payment_of(actor, user_id, action)
    return preview_known(actor, user_id, **action)


def preview_known(actor: UUID, user_id: UUID, **action: Any) -> Row:
    """What the action would do at this moment, as far as is known here."""
    return with_times(call("preview_action", actor=actor, user_id=user_id, **action))


def preview_approval(actor: UUID, approval_id: UUID) -> Row:
    """What approving the request would do at this moment, as far as is known here."""
    return with_times(call("preview_approval", actor=actor, approval_id=approval_id))


def with_times(shown: Row) -> Row:
    """A preview with the expiry of its lots as times, which are texts in jsonb."""
    for lot in shown["lots"] or ():
        lot["expires_at"] = lot["expires_at"] and datetime.fromisoformat(lot["expires_at"])
    return shown


def request_approval(actor: UUID, user_id: UUID, **request: Any) -> Row:
    """Ask another admin for an action; a payment that only Stripe knows is learned first."""
    find_payment_of(actor, user_id, request)
    return call("request_approval", actor=actor, user_id=user_id, **request)


def refund(actor: UUID, user_id: UUID, **request: Any) -> Row:
    """Refund a customer; money goes back at Stripe at once, unless Stripe cannot be reached. The status says which."""
    find_payment_of(actor, user_id, request)
    result = call("request_refund", actor=actor, user_id=user_id, **request)
    if result["call_id"] is not None:
        after = pay_back(result["refund_id"], result["call_id"])
        result |= {name: after[name] for name in ("status", "stripe_refund_id")}
        if after["status"] != "requested":
            result["call_id"] = None
    return result


def approve(actor: UUID, approval_id: UUID, reason: str | None) -> Row:
    """Do what another admin has asked for; refund_status and error tell what became of money at Stripe."""
    result = call("approve_request", actor=actor, approval_id=approval_id, reason=reason)
    result |= {"refund_status": None, "error": None}
    if result["refund_id"] is None:
        return result
    if result["call_id"] is not None:
        after = pay_back(result["refund_id"], result["call_id"])
        if after["status"] != "requested":
            result["call_id"] = None
    else:
        after = call("get_refund", refund_id=result["refund_id"])
    return result | {"refund_status": after["status"], "error": after["error"]}


def pay_back(refund_id: UUID, call_id: UUID) -> Row:
    """Make a requested refund at Stripe; returns it as it is then."""
    after, _ = perform_now(
        call_id,
        lambda: call("get_refund", refund_id=refund_id),
        lambda row: row["status"] == "requested",
    )
    if after["status"] in REFUSED:
        learn_why(after["payment_intent_id"])
    return after


def find_payment_of(actor: UUID, user_id: UUID, action: Row) -> None:
    """Ask Stripe for the payment of a refund in money; for an admin only, as it may create an account's payment."""
    if action.get("stripe_refund") and call("get_user_role", user_id=actor)["get_user_role"] in ADMINS:
        find_payment(user_id, action.get("payment_intent_id") or "")


def find_payment(user_id: UUID, payment_intent_id: str) -> None:
    """Ask Stripe for a payment that is not known here: its events may never have come."""
    stripe_client()
    if PAYMENT_INTENT_ID.fullmatch(payment_intent_id) is None:
        return  # SQL answers that there is no such payment, and logs it.
    if not call_all("list_payments", user_id=user_id, payment_intent_id=payment_intent_id):
        learn_payment(payment_intent_id)


def learn_why(payment_intent_id: str) -> None:
    """Take in what was done to the payment at Stripe: a refund or a dispute there is the likely reason of a refusal."""
    try:
        learn_payment(payment_intent_id)
    except stripe.StripeError as error:
        current_app.logger.warning("%s: %s", payment_intent_id, stripe_message(error))
