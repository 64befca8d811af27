"""Stripe's objects as SQL reads them, and their way into SQL, for tests without a Stripe.

The members are those that some SQL function looks at, in Stripe's shapes. Amounts are cents, times seconds since 1970.
"""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

JSON = dict[str, Any]

# When things happen at Stripe unless told otherwise.
NOW = 1_900_000_000
DAY = 86_400


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex[:24]}"


def metadata(**ids: UUID | None) -> JSON:
    """Our ids, as Stripe keeps them."""
    return {name: str(value) for name, value in ids.items() if value is not None}


def payment_intent(
    purchase: Any = None,
    *,
    id: str | None = None,
    cents: int | None = None,
    status: str = "succeeded",
    customer: str | None = None,
    decline_code: str | None = None,
    created: int = NOW,
) -> JSON:
    """The payment of a purchase, or with none, of something else of the customer's."""
    cents = purchase.price_cents if cents is None else cents
    error = {"code": "card_declined", "decline_code": decline_code, "message": "Your card was declined."}
    return {
        "id": id or new_id("pi"),
        "object": "payment_intent",
        "amount": cents,
        "amount_received": cents if status == "succeeded" else 0,
        "created": created,
        "currency": "usd",
        "customer": customer,
        "last_payment_error": error if decline_code else None,
        "metadata": metadata(purchase_id=purchase.purchase_id, user_id=purchase.user_id) if purchase else {},
        "status": status,
    }


def checkout_session(
    intent: JSON,
    *,
    id: str | None = None,
    status: str = "complete",
    payment_status: str = "paid",
    created: int = NOW - 60,
) -> JSON:
    """The Checkout Session that led to a payment."""
    id = id or new_id("cs")
    return {
        "id": id,
        "object": "checkout.session",
        "amount_total": intent["amount"],
        "created": created,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "metadata": intent["metadata"],
        "mode": "payment",
        "payment_intent": intent["id"] if status == "complete" else None,
        "payment_status": payment_status,
        "status": status,
        "url": f"https://checkout.test/{id}" if status == "open" else None,
    }


def refund(
    intent: str,
    cents: int,
    *,
    id: str | None = None,
    status: str = "succeeded",
    refund_id: UUID | None = None,
    created: int = NOW,
) -> JSON:
    """A refund of a payment; without refund_id it was made at Stripe itself."""
    return {
        "id": id or new_id("re"),
        "object": "refund",
        "amount": cents,
        "created": created,
        "currency": "usd",
        "failure_reason": "expired_or_canceled_card" if status == "failed" else None,
        "metadata": metadata(refund_id=refund_id),
        "payment_intent": intent,
        "reason": None,
        "status": status,
    }


def charge(intent: str, cents: int, refunded: int) -> JSON:
    """The charge of a payment, which tells how much of it was refunded."""
    return {
        "id": new_id("ch"),
        "object": "charge",
        "amount": cents,
        "amount_refunded": refunded,
        "currency": "usd",
        "payment_intent": intent,
    }


def dispute(
    intent: str, cents: int, *, id: str | None = None, status: str = "needs_response", created: int = NOW
) -> JSON:
    """What the customer's bank asks back."""
    return {
        "id": id or new_id("dp"),
        "object": "dispute",
        "amount": cents,
        "created": created,
        "currency": "usd",
        "payment_intent": intent,
        "reason": "fraudulent",
        "status": status,
    }


def price(tier: str, interval: str = "month") -> JSON:
    return {
        "id": f"price_{tier}_{interval}",
        "object": "price",
        "lookup_key": f"credit_billing_{tier}_{interval}",
        "metadata": {"tier": tier},
        "recurring": {"interval": interval},
    }


def subscription(
    customer: str,
    tier: str,
    *,
    id: str = "sub_1",
    interval: str = "month",
    status: str = "active",
    start: int = NOW,
    end: int = NOW + 30 * DAY,
    cancel_at_period_end: bool = False,
) -> JSON:
    """A subscription with its one item."""
    item = {
        "id": f"si_{id}",
        "object": "subscription_item",
        "current_period_end": end,
        "current_period_start": start,
        "price": price(tier, interval),
    }
    return {
        "id": id,
        "object": "subscription",
        "cancel_at": None,
        "cancel_at_period_end": cancel_at_period_end,
        "created": NOW,
        "customer": customer,
        "items": {"object": "list", "data": [item]},
        "metadata": {},
        "status": status,
    }


def invoice(customer: str) -> JSON:
    return {"id": new_id("in"), "object": "invoice", "customer": customer}


def listing(*objects: JSON) -> JSON:
    return {"object": "list", "data": list(objects)}


def event(type: str, object: JSON, *, id: str | None = None, created: int = NOW) -> JSON:
    """A webhook event: the object as it was when the event was made."""
    return {"id": id or new_id("evt"), "object": "event", "created": created, "data": {"object": object}, "type": type}


# The way into SQL.


def record(conn: psycopg.Connection, event: JSON) -> Any:
    """Store an event, as the webhook does before anything else."""
    return conn.execute("select * from billing.record_stripe_event(%s)", [Jsonb(event)]).fetchone()


def apply(conn: psycopg.Connection, event_id: str) -> Any:
    return conn.execute("select * from billing.apply_stripe_event(%s)", [event_id]).fetchone()


def deliver(conn: psycopg.Connection, type: str, object: JSON, *, created: int = NOW) -> Any:
    """Store and apply an event of that object."""
    return apply(conn, record(conn, event(type, object, created=created)).event_id)


def finish(conn: psycopg.Connection, call_id: UUID, object: JSON) -> Any:
    """Answer a call to Stripe, as if it had been claimed and performed."""
    conn.execute("select billing.claim_stripe_call(%s)", [call_id])
    return conn.execute("select * from billing.finish_stripe_call(%s, %s)", [call_id, Jsonb(object)]).fetchone()


def new_buyer(conn: psycopg.Connection, gift: Decimal | int = 0) -> UUID:
    """An account of a tier that buys credits and grants none, perhaps with some that were given."""
    conn.execute(
        """insert into billing.billing_tiers (
               name, display_name, monthly_credits, price_cents, can_purchase_credits, rank
           )
           values ('buyer', 'Buyer', 0, 0, true, 98) on conflict (name) do nothing"""
    )
    user = uuid4()
    conn.execute("select billing.open_account(%s, 'buyer')", [user])
    if gift > 0:
        conn.execute("select billing.grant_credits(%s, %s, 'promotion')", [user, gift])
    return user


def new_customer(conn: psycopg.Connection, user: UUID) -> str:
    """The user's customer at Stripe."""
    call_id = conn.execute("select call_id from billing.request_customer(%s)", [user]).fetchone()[0]
    customer = new_id("cus")
    finish(conn, call_id, {"id": customer, "object": "customer", "metadata": metadata(user_id=user)})
    return customer


def new_purchase(conn: psycopg.Connection, user: UUID, amount: Decimal | int = 100) -> Any:
    """A purchase that waits for Stripe."""
    return conn.execute("select * from billing.record_purchase(%s, %s)", [user, amount]).fetchone()


def new_payment(conn: psycopg.Connection, user: UUID, amount: Decimal | int = 100) -> str:
    """Credits bought and paid; the id of the payment."""
    intent = payment_intent(new_purchase(conn, user, amount))
    deliver(conn, "payment_intent.succeeded", intent)
    return intent["id"]


def payment(conn: psycopg.Connection, user: UUID, intent: str) -> Any:
    """What the SQL API tells of a payment."""
    return conn.execute("select * from billing.list_payments(%s, %s)", [user, intent]).fetchone()
