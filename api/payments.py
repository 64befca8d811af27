"""/api/billing/v2: what a user buys through Stripe, and the events that Stripe sends.

An intent is recorded first, then Stripe is asked, and the answer is recorded; see api/stripe_work.py.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from apiflask import APIBlueprint
from flask import Response, current_app, g, request
from flask.typing import ResponseReturnValue
from stripe import SignatureVerificationError, WebhookSignature

from api import schemas
from api.auth import requires
from api.billing import with_account
from api.database import Row, call, call_all, call_page
from api.errors import (
    Problem,
    answer,
    checkout_expired,
    database_problem,
    payments_misconfigured,
    stripe_refusal,
    stripe_unavailable,
)
from api.json import JSONError, loads
from api.openapi import accepted
from api.stripe_client import payments, stripe_client
from api.stripe_work import customer_of, perform, perform_now, process_event

bp = APIBlueprint("payments", __name__, url_prefix="/api/billing/v2", tag="Payments")
pages = APIBlueprint("pages", __name__, enable_openapi=False)

SUCCESS_PATH, CANCEL_PATH = "/checkout/success", "/checkout/cancel"
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<p>{title}; you can close this page.</p>
</html>
"""
# An event of Stripe's is far smaller.
LARGEST_EVENT = 512 * 1024
# How old a signature may be: an event that somebody has recorded cannot be sent again later.
TOLERANCE_SECONDS = 300
# How often a reading is asked for that is not somebody else's.
READINGS = 5
ONGOING = accepted(schemas.Subscription, "Recorded, but Stripe cannot be reached: it is done later; the present state.")


@bp.get("/packages")
@requires("user")
@bp.output(schemas.Packages)
def packages() -> Row:
    """List the packages of credits that are sold."""
    return {"packages": call_all("list_packages")}


@bp.post("/purchase-credits")
@requires("user")
@bp.input(schemas.PurchaseRequest, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.Purchase)
def purchase_credits(body: Row, key: Row) -> ResponseReturnValue:
    """Buy credits: an amount or a package

    `checkout_url` is the page of Stripe's where the user pays; the credits come when the payment has succeeded.
    """
    return answer(begin_purchase(body, **key))


@bp.get("/purchases")
@requires("resident")
@bp.input(schemas.PurchasesPage, location="query", arg_name="query")
@bp.output(schemas.Purchases)
def purchases(query: Row) -> Row:
    """List what the user bought, or set out to buy, newest first."""
    found, more = call_page("list_purchases", user_id=g.user_id, **query)
    return {"purchases": found, "next_before": found[-1]["purchase_id"] if more else None}


@bp.get("/purchases/<uuid:purchase_id>")
@requires("resident")
@bp.output(schemas.Purchase)
def purchase(purchase_id: UUID) -> Row:
    """Show one purchase."""
    return read_purchase(purchase_id)


@bp.post("/create-checkout-session")
@requires("user")
@bp.input(schemas.CheckoutRequest, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.Checkout)
def create_checkout_session(body: Row, key: Row) -> ResponseReturnValue:
    """Subscribe to a tier

    `checkout_url` is the page of Stripe's where the user pays.
    """
    return answer(begin_checkout(body, **key))


@bp.post("/create-portal-session")
@requires("resident")
@bp.input(schemas.PortalRequest, arg_name="body")
@bp.output(schemas.PortalSession)
def create_portal_session(body: Row) -> Row:
    """Open Stripe's customer portal: cards, invoices, cancellation."""
    return {"url": portal_url(body)}


@bp.get("/subscription")
@requires("resident")
@bp.output(schemas.Subscription)
def subscription() -> Row:
    """Show the user's subscription; its status is none if there is none."""
    return with_account(g.user_id, "get_subscription")


@bp.post("/cancel-subscription")
@requires("user")
@bp.input(schemas.Nothing, arg_name="_")
@bp.output(schemas.Subscription)
@bp.doc(responses=ONGOING)
def cancel_subscription(_: Row) -> ResponseReturnValue:
    """End the subscription with the period that is paid."""
    return changed_subscription(change="cancel")


@bp.post("/reactivate-subscription")
@requires("user")
@bp.input(schemas.Nothing, arg_name="_")
@bp.output(schemas.Subscription)
@bp.doc(responses=ONGOING)
def reactivate_subscription(_: Row) -> ResponseReturnValue:
    """Take back a cancellation before the period ends."""
    return changed_subscription(change="reactivate")


@bp.post("/change-subscription")
@requires("user")
@bp.input(schemas.SubscriptionChange, arg_name="body")
@bp.output(schemas.Subscription)
@bp.doc(responses=ONGOING)
def change_subscription(body: Row) -> ResponseReturnValue:
    """Move the subscription to another tier

    A higher tier is paid for and begins at once; a lower one begins with the next period.
    """
    return changed_subscription(change="tier", **body)


@bp.post("/sync-subscription")
@requires("resident")
@bp.input(schemas.Nothing, arg_name="_")
@bp.output(schemas.Subscription)
@bp.doc(responses=ONGOING)
def sync_subscription(_: Row) -> ResponseReturnValue:
    """Ask Stripe how the subscription stands."""
    stripe_client()
    performed = read_at_stripe()
    if performed["status"] == "failed":
        raise stripe_refusal(performed["error"])
    return call("get_subscription", user_id=g.user_id), 202 if performed["status"] == "pending" else 200


@bp.get("/auto-top-up")
@requires("resident")
@bp.output(schemas.AutoTopUp)
def auto_top_up() -> Row:
    """Show the automatic top-up, and what it has charged in this month."""
    return with_account(g.user_id, "get_auto_top_up")


@bp.put("/auto-top-up")
@requires("user")
@bp.input(schemas.AutoTopUpRequest, arg_name="body")
@bp.output(schemas.AutoTopUp)
def set_auto_top_up(body: Row) -> Row:
    """Turn the automatic top-up on or off

    It buys a package with a saved card whenever fewer credits than the threshold are available.
    """
    return change_auto_top_up(body)


@bp.post("/webhook")
@bp.output(schemas.ReceivedEvent)
@bp.doc(security="stripe_signature", extensions={"x-body": schemas.STRIPE_EVENT})
def webhook() -> Row:
    """Take in an event from Stripe

    It answers 200 once the event is stored; one that cannot be applied yet has the status pending, and is tried again.
    """
    stripe_client()
    request.max_content_length = LARGEST_EVENT
    event = call("record_stripe_event", event=signed_event(request.get_data()))
    # Of what is ignored, anybody who has the secret may make up a type.
    g.event_type = "other" if event["status"] == "ignored" else event["type"]
    if event["status"] == "pending":
        event = applied(event)
    g.event_status = event["status"]
    return {"event_id": event["event_id"], "status": event["status"]}


@pages.get(SUCCESS_PATH)
def success_page() -> Response:
    return page("Payment received")


@pages.get(CANCEL_PATH)
def cancel_page() -> Response:
    return page("Payment cancelled")


def page(title: str) -> Response:
    return Response(
        PAGE.format(title=title), mimetype="text/html", headers={"Content-Security-Policy": "default-src 'none'"}
    )


# What the customer's page does too.


def begin_purchase(body: Row, **key: str) -> Row:
    """The purchase that the body describes, with the page of Stripe's where it is paid."""
    details = return_urls(body, "success_url", "cancel_url") | {"save_card": body.pop("save_card")}
    stripe_client()
    purchase = with_account(g.user_id, "record_purchase", **body, details=details, **key)
    return checked_out(purchase, lambda: read_purchase(purchase["purchase_id"]))


def begin_checkout(body: Row, **key: str) -> Row:
    """The checkout of the subscription that the body describes, with the page of Stripe's where it is paid."""
    details = return_urls(body, "success_url", "cancel_url")
    stripe_client()
    checkout = with_account(g.user_id, "request_checkout", **body, details=details, **key)
    return checked_out(checkout, lambda: call("get_checkout", user_id=g.user_id, checkout_id=checkout["checkout_id"]))


def portal_url(body: Row) -> str:
    """Where the user's own page at Stripe is, for some minutes."""
    urls, sessions = return_urls(body, "return_url"), stripe_client().v1.billing_portal.sessions
    with_account(g.user_id, "request_customer")
    return sessions.create({"customer": customer_of(g.user_id)} | urls).url


def change_auto_top_up(body: Row) -> Row:
    if body["enabled"]:
        stripe_client()
    return with_account(g.user_id, "set_auto_top_up", **body)


# Steps of the above.


def read_purchase(purchase_id: UUID) -> Row:
    return call("get_purchase", user_id=g.user_id, purchase_id=purchase_id)


def checked_out(wanted: Row, read: Callable[[], Row]) -> Row:
    """A purchase or checkout with the page where it is paid, made now if it is not there yet.

    Raises Problem when there is no page, or no payment can be made on it any more.
    """
    ready, performed = wanted, {}
    if wanted["call_id"] is not None:
        ready, performed = perform_now(wanted["call_id"], read, lambda row: row["call_id"] is not None)
    if ready["call_id"] is not None:
        raise payments_misconfigured() if performed.get("misconfigured") else stripe_unavailable()
    if ready["status"] == "failed" and ready["stripe_checkout_session_id"] is None:
        raise stripe_refusal(ready.get("error") or performed.get("error"))
    if ready["status"] in ("expired", "failed"):
        raise checkout_expired()
    return ready | {"replayed": wanted["replayed"]}


def changed_subscription(**change: Any) -> ResponseReturnValue:
    """The subscription after the change, or with 202 as it is while the change waits for Stripe."""

    def read() -> Row:
        return call("get_subscription", user_id=g.user_id)

    stripe_client()
    wanted = with_account(g.user_id, "request_subscription_change", **change)
    if wanted["call_id"] is None:
        return wanted, 200
    after, performed = perform_now(wanted["call_id"], read, lambda row: row["call_id"] == wanted["call_id"])
    if performed["status"] == "failed":
        raise stripe_refusal(performed["error"], declined=performed["declined"])
    if performed["status"] == "pending" or after["call_id"] == wanted["call_id"]:
        return after, 202
    # A reading that was claimed after the change, and came to Stripe before it, counts as newer than the change.
    read_at_stripe()
    return read(), 200


def read_at_stripe() -> Row:
    """The call that has read the user's subscriptions from here on: one that is claimed elsewhere may be older."""
    for _ in range(READINGS):
        performed = perform(with_account(g.user_id, "request_sync")["call_id"])
        if performed["call_id"] is not None:
            break
    return performed


def return_urls(body: Row, *names: str) -> Row:
    """Take from the body where Stripe sends the user back to; raises Problem for pages that are not ours."""
    app_url = payments().app_url
    defaults = {"success_url": app_url + SUCCESS_PATH, "cancel_url": app_url + CANCEL_PATH, "return_url": app_url}
    urls = {name: body.pop(name, defaults[name]) for name in names}
    for name, url in urls.items():
        if not is_ours(url):
            raise Problem(
                400,
                "url_not_allowed",
                f"{name} is not on an origin of this application.",
                "Name a page below APP_URL, or one on an origin of CORS_ORIGINS.",
            )
    return urls


def is_ours(url: str) -> bool:
    """Whether it is on an origin that is configured. A browser must read in it what is read here: no odd characters."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts, app = urlsplit(url), urlsplit(payments().app_url)
    except ValueError:
        return False
    origins = payments().origins | {f"{app.scheme}://{app.netloc}"}
    return f"{parts.scheme}://{parts.netloc}".lower() in {origin.lower() for origin in origins}


def signed_event(payload: bytes) -> Row:
    """The event in the payload, once its signature is proved; raises Problem 400."""
    check_signature(payload, request.headers.get("Stripe-Signature", ""))
    event = loads(payload)
    if not isinstance(event, dict):
        raise JSONError("An event is a JSON object.")
    return event


def check_signature(payload: bytes, header: str) -> None:
    secrets = payments().webhook_secrets
    if not secrets:
        raise Problem(503, "payments_not_configured", "No secret for Stripe's events is configured.")
    secret = next((each for each in secrets if is_signed(payload, header, each)), None)
    if secret is None:
        raise Problem(400, "invalid_signature", "The header Stripe-Signature is missing, or does not fit the body.")
    if not is_signed(payload, header, secret, TOLERANCE_SECONDS):
        raise Problem(400, "signature_expired", f"The signature is older than {TOLERANCE_SECONDS} seconds.")


def is_signed(payload: bytes, header: str, secret: str, tolerance: int | None = None) -> bool:
    # Other characters than ASCII are in no signature, and break the comparison.
    if not header.isascii():
        return False
    try:
        return WebhookSignature.verify_header(payload, header, secret, tolerance)
    except (SignatureVerificationError, UnicodeDecodeError):
        return False


def applied(event: Row) -> Row:
    """The event after an attempt to apply it. It is stored: when the database fails now, the worker does the rest."""
    try:
        return process_event(event["event_id"])
    except psycopg.Error as error:
        if database_problem(error) is None:
            raise
        current_app.logger.warning("Event %s: %s", event["event_id"], error)
        return event
