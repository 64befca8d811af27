"""What billing.stripe_calls asks for is done here, inline in a request or later in the worker, and events are applied.

A call is claimed, done at Stripe under its idempotency key, and finished in one transaction. All of it may be cut off
at any point and done again by another process: the key, or what is found at Stripe by our id in its metadata, makes
the second time have no effect of its own.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import ERROR, WARNING
from typing import Any
from uuid import UUID

import psycopg
import stripe
from flask import current_app

from api.database import Row, call
from api.errors import decline_code, error_name, is_misconfigured, stripe_message
from api.stripe_client import payments, stripe_client

JSON = dict[str, Any]

# How long a request waits for another one that is at the same call, and how often it looks.
PATIENCE, PAUSE = 10.0, 0.1
# Clocks of two machines are never quite the same.
LEEWAY_SECONDS = 60
# What a PaymentIntent is that was made and never came to be charged.
UNCONFIRMED = ("requires_payment_method", "requires_confirmation")


@dataclass(frozen=True)
class Kind:
    """How a kind of call is done, and how what an earlier try did is found; without `find` it is simply done again.

    `undo` is for what was made for a call that had been given up in the meantime.
    """

    make: Callable[[Row], JSON]
    find: Callable[[Row], JSON | None] | None = None
    undo: Callable[[JSON], None] | None = None


def perform(call_id: UUID) -> Row:
    """Do at Stripe what the call asks for, and record the answer; returns the call after it.

    Its status is done, failed (Stripe refused; `declined` says whether it was the card), or pending: to be tried again
    (`misconfigured`: in vain until somebody has seen to our key).
    Where call_id is null, it needs nothing more, or another process is at it. Raises Problem without a key of
    Stripe's, and psycopg.Error when the database fails: then the claim runs out, and the worker goes on.
    """
    stripe_client()
    claimed = call("claim_stripe_call", call_id=call_id)
    if claimed["call_id"] is None:
        return claimed
    kind = KINDS[claimed["kind"]]
    try:
        found = look_for(kind, claimed) if claimed["look_first"] else None
        if found is None and claimed["look_first"]:
            renewed = call("renew_stripe_call", call_id=call_id)
            if renewed["claimed_at"] != claimed["claimed_at"]:
                return renewed  # The search took so long that another process is at it.
            claimed = renewed
        return finish(claimed, kind.make(claimed) if found is None else found)
    except (stripe.CardError, stripe.InvalidRequestError) as error:
        return record_refusal(claimed, error)
    except stripe.StripeError as error:
        misconfigured = is_misconfigured(error)
        level = ERROR if misconfigured else WARNING
        row = postpone(claimed, stripe_message(error), uncertain=is_uncertain(error), level=level)
        return row | {"misconfigured": misconfigured}


def perform_now(call_id: UUID, read: Callable[[], Row], waits: Callable[[Row], bool]) -> tuple[Row, Row]:
    """What `read` gives after the call, and the call; waits for a while if another request or the worker is at it."""
    performed = perform(call_id)
    if performed["call_id"] is None:
        return wait_until(lambda row: not waits(row), read), performed
    return read(), performed


def wait_until(true: Callable[[Row], bool], read: Callable[[], Row]) -> Row:
    """The first row that this is true of, or the last one before the patience is at its end."""
    deadline = time.monotonic() + PATIENCE
    while not true(row := read()) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return row


def process_event(event_id: str) -> Row:
    """Apply a stored event, and perform the call that it leads to; returns the event after it.

    When applying it fails, that is recorded, and the worker tries again.
    """
    try:
        event = call("apply_stripe_event", event_id=event_id)
    except psycopg.Error as error:
        current_app.logger.warning("Stripe event %s is not applied: %s", event_id, database_message(error))
        return call("fail_stripe_event", event_id=event_id, error=database_message(error))
    if event["call_id"] is not None and payments().client is not None:
        perform(event["call_id"])
    return event


def learn_payment(payment_intent_id: str) -> None:
    """Take in a payment whose events never came; raises stripe.StripeError. What is none of ours is left out."""
    told = read_payment({"request": {"payment_intent": payment_intent_id}})
    for thing in (told["payment_intent"], *told["refunds"], *told["disputes"]):
        try:
            if thing is not None:
                call("record_stripe_object", object=thing)
        except psycopg.Error as error:
            if error_name(error) is None:
                raise
            current_app.logger.warning("%s of Stripe is not taken in: %s", thing["id"], database_message(error))


def customer_of(user_id: UUID) -> str:
    """The id of the user's customer at Stripe, made when it is first needed; raises stripe.StripeError."""

    def read() -> Row:
        return call("request_customer", user_id=user_id)

    customer = read()
    if customer["call_id"] is not None:
        customer, performed = perform_now(customer["call_id"], read, lambda row: row["stripe_customer_id"] is None)
        if customer["stripe_customer_id"] is None:
            kind = stripe.AuthenticationError if performed.get("misconfigured") else stripe.APIConnectionError
            raise kind(performed["error"] or "The customer is being made by another process.")
    return customer["stripe_customer_id"]


# How a call ends.


def look_for(kind: Kind, claimed: Row) -> JSON | None:
    """What an earlier try has left at Stripe. A refusal to tell is no answer: an effect may be there all the same."""
    if kind.find is None:
        return None
    try:
        return kind.find(claimed)
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            return None
        raise stripe.APIError(stripe_message(error)) from error


def finish(claimed: Row, found: JSON) -> Row:
    """Record what Stripe answered; an answer that makes no sense to us is kept as an error, for somebody to look at.

    Raises psycopg.OperationalError when the database is away, or another transaction was in the way.
    """
    try:
        finished = call("finish_stripe_call", call_id=claimed["call_id"], object=found)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        level = WARNING if error_name(error) else ERROR
        return postpone(claimed, database_message(error), uncertain=False, level=level)
    undo = KINDS[claimed["kind"]].undo
    if finished["status"] == "failed" and undo is not None:
        undo(found)
    return finished


def postpone(claimed: Row, error: str, *, uncertain: bool, level: int = WARNING) -> Row:
    current_app.logger.log(level, "Stripe call %s (%s) is postponed: %s", claimed["call_id"], claimed["kind"], error)
    return call("postpone_stripe_call", call_id=claimed["call_id"], error=error, uncertain=uncertain)


def record_refusal(claimed: Row, error: stripe.CardError | stripe.InvalidRequestError) -> Row:
    """The call has failed for good, and its row says so."""
    message, code = stripe_message(error), decline_code(error)
    current_app.logger.info("Stripe call %s (%s) is refused: %s", claimed["call_id"], claimed["kind"], message)
    failed = call("fail_stripe_call", call_id=claimed["call_id"], error=message, code=code)
    return failed | {"declined": isinstance(error, stripe.CardError)}


def is_uncertain(error: stripe.StripeError) -> bool:
    """Whether sending the same again under the same key cannot help, though it may have had its effect.

    Stripe replays a 500 under its key; and a key that was used with other parameters gives no answer any more.
    """
    return isinstance(error, stripe.IdempotencyError) or (error.http_status or 0) >= 500


def database_message(error: psycopg.Error) -> str:
    told = [error.diag.message_primary, error.diag.message_detail]
    return ": ".join(part for part in told if part) or type(error).__name__


# What is done at Stripe.


def under_key(claimed: Row) -> JSON:
    return {"idempotency_key": claimed["idempotency_key"]}


def plain(thing: stripe.StripeObject) -> JSON:
    """An object of Stripe's as plain JSON."""
    return thing.to_dict(for_json=True)


def every(page: stripe.ListObject[Any]) -> Iterable[JSON]:
    """The objects of the page, and of all that follow."""
    return (plain(each) for each in page.auto_paging_iter())


def marked(page: stripe.ListObject[Any], **metadata: str) -> JSON | None:
    """The first object with our id in its metadata."""
    return next((each for each in every(page) if metadata.items() <= (each["metadata"] or {}).items()), None)


def since(claimed: Row) -> JSON:
    """Lists everything that any try of the call can have made."""
    return {"created": {"gte": int(claimed["created_at"].timestamp()) - LEEWAY_SECONDS}, "limit": 100}


def make_customer(claimed: Row) -> JSON:
    metadata = {"user_id": str(claimed["user_id"])}
    return plain(stripe_client().v1.customers.create({"metadata": metadata}, under_key(claimed)))


def find_customer(claimed: Row) -> JSON | None:
    return marked(stripe_client().v1.customers.list(since(claimed)), user_id=str(claimed["user_id"]))


def make_purchase(claimed: Row) -> JSON:
    request, metadata = claimed["request"], metadata_of(claimed, "purchase_id")
    saving = {"setup_future_usage": "off_session"} if request.get("save_card") else {}
    price = {
        "currency": "usd",
        "unit_amount": request["amount_cents"],
        "product_data": {"name": request["name"]},
    }
    params = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "payment_intent_data": {"metadata": metadata} | saving,
    }
    return make_session(claimed, metadata, params)


def make_checkout(claimed: Row) -> JSON:
    """The session of a new checkout; those of older ones expire, so that nobody subscribes twice."""
    metadata = metadata_of(claimed, "checkout_id")
    customer = customer_of(claimed["user_id"])
    page = stripe_client().v1.checkout.sessions.list({"customer": customer, "status": "open", "limit": 100})
    for session in every(page):
        # The ids are ordered by time.
        if "" < session["metadata"].get("checkout_id", "") < metadata["checkout_id"]:
            expire_session(session)
    params = {
        "mode": "subscription",
        "line_items": [{"price": price_of(claimed["request"]), "quantity": 1}],
        "subscription_data": {"metadata": metadata},
    }
    return make_session(claimed, metadata, params)


def make_session(claimed: Row, metadata: JSON, params: JSON) -> JSON:
    """A Checkout Session, for the user's customer."""
    common = {
        "customer": customer_of(claimed["user_id"]),
        "client_reference_id": str(claimed["user_id"]),
        "metadata": metadata,
        "success_url": claimed["request"]["success_url"],
        "cancel_url": claimed["request"]["cancel_url"],
    }
    return plain(stripe_client().v1.checkout.sessions.create(common | params, under_key(claimed)))


def expire_session(session: JSON) -> None:
    try:
        stripe_client().v1.checkout.sessions.expire(session["id"])
    except stripe.InvalidRequestError as error:
        current_app.logger.info("Session %s does not expire: %s", session["id"], stripe_message(error))


def metadata_of(claimed: Row, name: str) -> JSON:
    return {name: claimed["request"][name], "user_id": str(claimed["user_id"])}


def find_session(name: str) -> Callable[[Row], JSON | None]:
    def find(claimed: Row) -> JSON | None:
        if claimed["stripe_customer_id"] is None:
            return None
        page = stripe_client().v1.checkout.sessions.list({"customer": claimed["stripe_customer_id"], **since(claimed)})
        return marked(page, **{name: claimed["request"][name]})

    return find


def make_refund(claimed: Row) -> JSON:
    request = claimed["request"]
    params = {
        "payment_intent": request["payment_intent"],
        "amount": request["amount_cents"],
        "metadata": {"refund_id": request["refund_id"]},
    }
    return plain(stripe_client().v1.refunds.create(params, under_key(claimed)))


def find_refund(claimed: Row) -> JSON | None:
    request = claimed["request"]
    page = stripe_client().v1.refunds.list({"payment_intent": request["payment_intent"], "limit": 100})
    return marked(page, refund_id=request["refund_id"])


def make_top_up(claimed: Row) -> JSON:
    params = {
        "amount": claimed["request"]["amount_cents"],
        "currency": "usd",
        "customer": claimed["stripe_customer_id"],
        "payment_method": payment_method_of(claimed),
        "off_session": True,
        "confirm": True,
        "metadata": metadata_of(claimed, "purchase_id"),
    }
    return plain(stripe_client().v1.payment_intents.create(params, under_key(claimed)))


def find_top_up(claimed: Row) -> JSON | None:
    """The payment of an earlier try; raises stripe.CardError if it was declined."""
    if claimed["stripe_customer_id"] is None:
        return None
    intents = stripe_client().v1.payment_intents
    page = intents.list({"customer": claimed["stripe_customer_id"], **since(claimed)})
    found = marked(page, purchase_id=claimed["request"]["purchase_id"])
    if found is None or found["status"] not in UNCONFIRMED:
        return found
    if error := found["last_payment_error"]:
        raise stripe.CardError(error["message"], None, error.get("decline_code") or error["code"])
    params = {"payment_method": payment_method_of(claimed), "off_session": True}
    return plain(intents.confirm(found["id"], params, {"idempotency_key": f"{claimed['idempotency_key']}-confirm"}))


def payment_method_of(claimed: Row) -> str:
    """The card to charge: the one that was chosen, else the default, else the newest; raises when there is none."""
    if chosen := claimed["request"].get("payment_method"):
        return chosen
    customer_id = claimed["stripe_customer_id"]
    if customer_id is not None:
        customers = stripe_client().v1.customers
        settings = plain(customers.retrieve(customer_id)).get("invoice_settings") or {}
        if default := settings.get("default_payment_method"):
            return default
        for card in every(customers.payment_methods.list(customer_id, {"type": "card", "limit": 1})):
            return card["id"]
    raise stripe.InvalidRequestError("There is no saved card to charge.", None, "no_payment_method")


def change_subscription(claimed: Row) -> JSON:
    request = claimed["request"]
    if request["change"] == "tier":
        params = {
            "items": [{"id": request["item_id"] or item_of(request), "price": price_of(request)}],
            "proration_behavior": request["proration"],
        }
        if request["proration"] == "always_invoice":
            params["payment_behavior"] = "error_if_incomplete"
    else:
        params = {"cancel_at_period_end": request["change"] == "cancel"}
    subscriptions = stripe_client().v1.subscriptions
    return plain(subscriptions.update(request["subscription_id"], params, under_key(claimed)))


def item_of(request: JSON) -> str:
    """The item of a subscription from the old system, which kept none."""
    return plain(stripe_client().v1.subscriptions.retrieve(request["subscription_id"]))["items"]["data"][0]["id"]


def read_subscriptions(claimed: Row) -> JSON:
    """Every subscription that the user's customer has or had."""
    found: list[JSON] = []
    if claimed["stripe_customer_id"] is not None:
        params = {"customer": claimed["stripe_customer_id"], "status": "all", "limit": 100}
        found += every(stripe_client().v1.subscriptions.list(params))
    return {"object": "list", "data": found}


def read_payment(claimed: Row) -> JSON:
    """A payment with all refunds and disputes of it; without any of them if Stripe has no such payment."""
    key = claimed["request"]["payment_intent"]
    v1 = stripe_client().v1
    try:
        intent = plain(v1.payment_intents.retrieve(key))
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        return {"payment_intent": None, "refunds": [], "disputes": []}
    of_payment = {"payment_intent": key, "limit": 100}
    refunds, disputes = every(v1.refunds.list(of_payment)), every(v1.disputes.list(of_payment))
    return {"payment_intent": intent, "refunds": list(refunds), "disputes": list(disputes)}


def price_of(request: JSON) -> str:
    """The id of the price under the lookup key, made with its product when there is none.

    Whatever price has the key is used as it is, so that it can be changed at Stripe.
    """
    prices = stripe_client().v1.prices
    for found in every(prices.list({"lookup_keys": [request["lookup_key"]]})):
        return found["id"]
    metadata = {"tier": request["tier"]}
    params = {
        "product": product_of(request["tier"], request["name"], metadata),
        "currency": "usd",
        "unit_amount": request["unit_cents"],
        "recurring": {"interval": request["interval"]},
        "lookup_key": request["lookup_key"],
        "metadata": metadata,
    }
    try:
        return prices.create(params).id
    except stripe.InvalidRequestError:
        # Somebody else may have made it in the meantime.
        for found in every(prices.list({"lookup_keys": [request["lookup_key"]]})):
            return found["id"]
        raise


def product_of(tier: str, name: str, metadata: JSON) -> str:
    product_id = f"credit_billing_{tier}"
    try:
        stripe_client().v1.products.create({"id": product_id, "name": name, "metadata": metadata})
    except stripe.InvalidRequestError as error:
        if error.code != "resource_already_exists":
            raise
    return product_id


KINDS = {
    "customer": Kind(make_customer, find_customer),
    "purchase": Kind(make_purchase, find_session("purchase_id")),
    "checkout": Kind(make_checkout, find_session("checkout_id"), undo=expire_session),
    "refund": Kind(make_refund, find_refund),
    "top_up": Kind(make_top_up, find_top_up),
    "subscription": Kind(change_subscription),
    "subscriptions": Kind(read_subscriptions),
    "payment": Kind(read_payment),
}
