"""/api/billing/v2: a user's own account, and what the application's backend spends from it."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
from apiflask import APIBlueprint
from flask import Response, g, request
from flask.typing import ResponseReturnValue

from api import schemas
from api.auth import requires
from api.csv import CSV_DOCUMENT, csv_response
from api.database import Row, call, call_all, call_page
from api.errors import Problem, answer, error_name

bp = APIBlueprint("billing", __name__, url_prefix="/api/billing/v2", tag="Billing")

# The largest page that billing.list_entries gives.
LARGEST_PAGE = 500


@bp.get("/check")
@requires("user")
@bp.input(schemas.Required, location="query", arg_name="query")
@bp.output(schemas.CreditCheck)
def check(query: Row) -> Row:
    """Tell whether the user's credits cover a call

    The first call opens a free account. It answers 200 also when the credits do not suffice: see `can_run`.
    """
    return checked(g.user_id, query)


@bp.post("/check")
@requires("user")
@bp.input(schemas.Required, arg_name="body")
@bp.output(schemas.CreditCheck)
def check_by_post(body: Row) -> Row:
    """Tell whether the user's credits cover a call

    The same as GET, with `required` in the body.
    """
    return checked(g.user_id, body)


def checked(user_id: UUID, required: Row) -> Row:
    return with_account(user_id, "check_credits", **required)


def with_account(user_id: UUID, function: str, **arguments: Any) -> Row:
    """What the function returns for the user, whose account is opened if there is none."""
    try:
        return call(function, user_id=user_id, **arguments)
    except psycopg.Error as error:
        if error_name(error) != "account_not_found":
            raise
    call("open_account", user_id=user_id)
    return call(function, user_id=user_id, **arguments)


@bp.get("/balance")
@requires("user")
@bp.output(schemas.Account)
def balance() -> Row:
    """Show the user's account."""
    return call("get_account", user_id=g.user_id)


@bp.get("/ledger")
@requires("resident")
@bp.input(schemas.LedgerPage, location="query", arg_name="query")
@bp.output(schemas.Ledger)
def ledger(query: Row) -> Row:
    """List what happened to the user's credits, newest first."""
    return ledger_page(g.user_id, **query)


@bp.get("/ledger.csv")
@requires("resident")
@bp.input(schemas.LedgerFilter, location="query", arg_name="query")
@bp.doc(responses={200: CSV_DOCUMENT})
def ledger_csv(query: Row) -> Response:
    """Download all entries as CSV, newest first

    A text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    return csv_response("ledger.csv", list(schemas.LedgerEntry().fields), all_entries(g.user_id, **query))


@bp.get("/usage")
@requires("resident")
@bp.input(schemas.UsageRange, location="query", arg_name="query")
@bp.output(schemas.Usage)
def usage(query: Row) -> Row:
    """Sum up what was spent by model and stretch of time (UTC); the last 30 days unless told."""
    return {"buckets": call_all("usage_by", user_id=g.user_id, **query)}


@bp.get("/forecast")
@requires("resident")
@bp.output(schemas.Forecast)
def forecast() -> Row:
    """Tell how long the user's credits last at the present pace

    The lots are used in the order in which they are spent; what is held is as good as spent.
    """
    return call("forecast", user_id=g.user_id)


@bp.get("/balance-history")
@requires("resident")
@bp.input(schemas.HistoryRange, location="query", arg_name="query")
@bp.output(schemas.BalanceHistory)
def balance_history(query: Row) -> Row:
    """Show the user's balance over time, at equal distances; the last 30 days unless told."""
    return {"points": call_all("balance_history", user_id=g.user_id, **query)}


@bp.put("/reference")
@requires("service")
@bp.input(schemas.ReferenceChange, arg_name="body")
@bp.output(schemas.UserReference)
def set_reference(body: Row) -> Row:
    """Say what the application calls a user

    An e-mail address, for example, to find the account by in the admin panel. The user need not have an account yet.
    """
    return call("set_user_reference", **body)


@bp.get("/grants")
@requires("resident")
@bp.input(schemas.GrantFilter, location="query", arg_name="query")
@bp.output(schemas.Grants)
def grants(query: Row) -> Row:
    """List where the user's credits came from, in the order in which they are spent."""
    return {"grants": call_all("list_grants", user_id=g.user_id, **query)}


@bp.get("/events")
@requires("resident")
@bp.input(schemas.EventsPage, location="query", arg_name="query")
@bp.output(schemas.Events)
def events(query: Row) -> Row:
    """List what the user was told of, such as a low balance, newest first."""
    return events_page(g.user_id, **query)


@bp.get("/notifications")
@requires("resident")
@bp.output(schemas.Notifications)
def notifications() -> Row:
    """Show below which balances the user is told of it."""
    return with_account(g.user_id, "get_notifications")


@bp.post("/notifications")
@requires("user")
@bp.input(schemas.NotificationsChange, arg_name="body")
@bp.output(schemas.Notifications)
def set_notifications(body: Row) -> Row:
    """Set the balance below which the user is told that it is low

    Without `low_balance`, or with null, it is the default; 0 is never.
    """
    return with_account(g.user_id, "set_low_balance", **body)


@bp.get("/tiers")
@requires("user")
@bp.output(schemas.Tiers)
def tiers() -> Row:
    """List the subscription tiers, smallest first."""
    return {"tiers": call_all("list_tiers")}


@bp.post("/deduct")
@requires("service")
@bp.input(schemas.Spending, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.TokenDeduction)
def deduct(body: Row, key: Row) -> ResponseReturnValue:
    """Take credits for a call, by amount or by model and tokens

    With an `Idempotency-Key` it is safe to send again: the key deducts once, for ever.
    """
    deduction = "deduct_tokens" if "model" in body else "deduct_credits"
    return answer(call(deduction, **body, **key))


@bp.post("/deduct/batch")
@requires("service")
@bp.input(schemas.Batch, arg_name="body")
@bp.output(schemas.BatchResults)
def deduct_batch(body: Row) -> Row:
    """Take credits for up to 1,000 calls, each on its own terms

    It answers 200 with a result for each item, in their order. Each item has an `idempotency_key` of its own.
    A text with NUL or a lone surrogate, in any item, refuses the batch: nothing is deducted, and `errors` names the
    item and its member.
    """
    if "Idempotency-Key" in request.headers:
        raise Problem(
            400,
            "invalid_request",
            "One key cannot stand for many deductions.",
            "Give each item its idempotency_key.",
            errors={"Idempotency-Key": ["Has no meaning here."]},
        )
    return {"results": call_all("deduct_credits_batch", items=body["items"])}


@bp.post("/holds")
@requires("service")
@bp.input(schemas.NewHold, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.HoldResult)
def hold(body: Row, key: Row) -> ResponseReturnValue:
    """Reserve credits for a call whose cost is not known yet."""
    return answer(call("hold_credits", **body, **key))


@bp.post("/holds/<uuid:hold_id>/capture")
@requires("service")
@bp.input(schemas.Capture, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.Deduction)
def capture(hold_id: UUID, body: Row, key: Row) -> ResponseReturnValue:
    """Take what the call cost and free the rest of the hold."""
    return answer(call("capture_hold", hold_id=hold_id, **body, **key))


@bp.post("/holds/<uuid:hold_id>/release")
@requires("service")
@bp.input(schemas.Release, arg_name="body")
@bp.output(schemas.Hold)
def release(hold_id: UUID, body: Row) -> Row:
    """Free a hold without taking anything; one that has ended is returned as it is."""
    return call("release_hold", hold_id=hold_id, **body)


def ledger_page(user_id: UUID, limit: int, **query: Any) -> Row:
    entries, more = call_page("list_entries", user_id=user_id, limit=limit, **query)
    return {"entries": entries, "next_before": entries[-1]["entry_no"] if more else None}


def events_page(user_id: UUID, limit: int, **query: Any) -> Row:
    found, more = call_page("list_events", user_id=user_id, limit=limit, **query)
    return {"events": found, "next_before": found[-1]["event_no"] if more else None}


def payments_page(user_id: UUID, limit: int, **query: Any) -> Row:
    found, more = call_page("list_payments", user_id=user_id, limit=limit, **query)
    return {"payments": found, "next_before": found[-1]["payment_intent_id"] if more else None}


def all_entries(user_id: UUID, **query: Any) -> Iterator[Row]:
    """The whole ledger, page by page; between pages no connection is held."""
    more = True
    while more:
        entries, more = call_page("list_entries", user_id=user_id, limit=LARGEST_PAGE - 1, **query)
        yield from entries
        query["before"] = entries[-1]["entry_no"] if entries else None
