"""/api/admin/billing: what admins may do, and the histories that they read.

Whoever asks to write is an `actor`: the SQL function looks the role up, and logs the attempt of somebody without it.
"""

import re
from uuid import UUID

import stripe
from apiflask import APIBlueprint
from flask import current_app, g
from flask.typing import ResponseReturnValue

from api import schemas
from api.auth import ADMINS, requires
from api.billing import events_page, ledger_page
from api.database import Row, call, call_all, call_page
from api.errors import Problem, answer, members_of, stripe_message
from api.openapi import accepted
from api.stripe_client import stripe_client
from api.stripe_work import learn_payment, perform_now

bp = APIBlueprint("admin", __name__, url_prefix="/api/admin/billing", tag="Admin")

RECENT = 20
PAYMENT_INTENT_ID = re.compile("pi_[A-Za-z0-9_]+")
REFUSED = ("failed", "canceled")
# What a refund did before Stripe refused it, and is undone.
UNDONE = ("clawed", "spent", "owed", "balance_after", "call_id")
UNFINISHED = accepted(schemas.RefundResult, "Recorded, but Stripe cannot be reached: the money goes back later.")


@bp.post("/credits/adjust")
@requires("actor")
@bp.input(schemas.Adjustment, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.AdminResult)
def adjust_credits(body: Row, key: Row) -> ResponseReturnValue:
    """Add or remove credits by hand, within the admin's limits."""
    return answer(call("adjust_credits", actor=g.user_id, **body, **key))


@bp.post("/credits/grant")
@requires("actor")
@bp.input(schemas.AdminGrant, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.AdminResult)
def grant_credits(body: Row, key: Row) -> ResponseReturnValue:
    """Grant credits that may expire, within the admin's limits."""
    return answer(call("admin_grant_credits", actor=g.user_id, **body, **key))


@bp.post("/credits/reverse")
@requires("actor")
@bp.input(schemas.Reversal, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.AdminResult)
def reverse_entry(body: Row, key: Row) -> ResponseReturnValue:
    """Undo a deduction: its credits return to the lots that they came from."""
    return answer(call("reverse_entry", actor=g.user_id, **body, **key))


@bp.post("/user/<uuid:user_id>/status")
@requires("actor")
@bp.input(schemas.StatusChange, arg_name="body")
@bp.output(schemas.AdminResult)
def set_status(user_id: UUID, body: Row) -> ResponseReturnValue:
    """Freeze, unfreeze or close an account."""
    return answer(call("set_account_status", actor=g.user_id, user_id=user_id, **body))


@bp.post("/user/<uuid:user_id>/tier")
@requires("actor")
@bp.input(schemas.TierChange, arg_name="body")
@bp.output(schemas.AdminResult)
def change_tier(user_id: UUID, body: Row) -> ResponseReturnValue:
    """Move a user to another tier."""
    return answer(call("change_tier", actor=g.user_id, user_id=user_id, **body))


@bp.post("/user/<uuid:user_id>/role")
@requires("actor")
@bp.input(schemas.RoleChange, arg_name="body")
@bp.output(schemas.AdminResult)
def set_role(user_id: UUID, body: Row) -> ResponseReturnValue:
    """Make a user an admin, or no longer; for super admins."""
    return answer(call("set_user_role", actor=g.user_id, user_id=user_id, **body))


@bp.post("/refund")
@requires("actor")
@bp.input(schemas.RefundRequest, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.RefundResult)
@bp.doc(responses=UNFINISHED)
def refund(body: Row, key: Row) -> ResponseReturnValue:
    """Refund a customer, in credits or in money; for super admins

    Without `stripe_refund` it grants credits. With it the money goes back through Stripe, and the credits that the
    payment had bought are taken back. What Stripe refuses is `refund_failed`; the credits are then as they were.
    """
    if body.get("stripe_refund") and call("get_user_role", user_id=g.user_id)["get_user_role"] in ADMINS:
        find_payment(body["user_id"], body.get("payment_intent_id", ""))
    requested = call("request_refund", actor=g.user_id, **body, **key)
    if requested["call_id"] is None:
        return answered_refund(requested)
    after, _ = perform_now(
        requested["call_id"],
        lambda: call("get_refund", refund_id=requested["refund_id"]),
        lambda row: row["status"] == "requested",
    )
    if after["status"] in REFUSED:
        learn_why(body["payment_intent_id"])
    requested |= {name: after[name] for name in ("status", "stripe_refund_id")}
    if after["status"] != "requested":
        requested["call_id"] = None
    return answered_refund(requested)


@bp.get("/refunds")
@requires("admin")
@bp.input(schemas.RefundsPage, location="query", arg_name="query")
@bp.output(schemas.Refunds)
def refunds(query: Row) -> Row:
    """List refunds, those made at Stripe included, newest first."""
    found, more = call_page("list_refunds", **query)
    return {"refunds": found, "next_before": found[-1]["refund_id"] if more else None}


@bp.get("/user/<uuid:user_id>/payments")
@requires("admin")
@bp.output(schemas.PaymentList)
def payments_of(user_id: UUID) -> Row:
    """List a user's payments, with what went back of each."""
    return {"payments": call_all("list_payments", user_id=user_id)}


@bp.get("/stripe-events")
@requires("admin")
@bp.input(schemas.EventsFilter, location="query", arg_name="query")
@bp.output(schemas.StripeEvents)
def stripe_events(query: Row) -> Row:
    """List the events that Stripe sent, and what became of them, newest first."""
    return {"events": call_all("list_stripe_events", **query)}


@bp.get("/user/<uuid:user_id>/summary")
@requires("admin")
@bp.output(schemas.Summary)
def summary(user_id: UUID) -> Row:
    """Show a user's account with the latest entries, live grants, active holds and admin actions."""
    return call("account_summary", user_id=user_id) | {
        "entries": call_all("list_entries", user_id=user_id, limit=RECENT),
        "grants": call_all("list_grants", user_id=user_id),
        "holds": call_all("list_holds", user_id=user_id),
        "actions": call_all("list_actions", target_user_id=user_id, limit=RECENT),
    }


@bp.get("/user/<uuid:user_id>/ledger")
@requires("admin")
@bp.input(schemas.LedgerPage, location="query", arg_name="query")
@bp.output(schemas.Ledger)
def ledger(user_id: UUID, query: Row) -> Row:
    """List what happened to a user's credits, newest first."""
    return ledger_page(user_id, **query)


@bp.get("/user/<uuid:user_id>/events")
@requires("admin")
@bp.input(schemas.EventsPage, location="query", arg_name="query")
@bp.output(schemas.SentEvents)
def events(user_id: UUID, query: Row) -> Row:
    """List a user's events, and how their delivery does, newest first."""
    return events_page(user_id, **query)


@bp.get("/users")
@requires("admin")
@bp.input(schemas.AccountsPage, location="query", arg_name="query")
@bp.output(schemas.Accounts)
def users(query: Row) -> Row:
    """Find accounts, ordered by user_id."""
    accounts, more = call_page("list_accounts", **query)
    return {"users": accounts, "next_after": accounts[-1]["user_id"] if more else None}


@bp.get("/actions")
@requires("admin")
@bp.input(schemas.ActionsPage, location="query", arg_name="query")
@bp.output(schemas.Actions)
def actions(query: Row) -> Row:
    """List what admins did and tried, newest first."""
    found, more = call_page("list_actions", **query)
    return {"actions": found, "next_before": found[-1]["action_id"] if more else None}


@bp.get("/jobs")
@requires("admin")
@bp.output(schemas.Jobs)
def jobs() -> Row:
    """List the jobs, their last runs, and what is wrong with them."""
    return {"jobs": call_all("list_jobs")}


@bp.get("/jobs/runs")
@requires("admin")
@bp.input(schemas.JobRunsPage, location="query", arg_name="query")
@bp.output(schemas.JobRuns)
def job_runs(query: Row) -> Row:
    """List the runs of one job or all, newest first."""
    found, more = call_page("list_job_runs", **query)
    return {"runs": found, "next_before": found[-1]["started_at"] if more else None}


@bp.get("/alerts")
@requires("admin")
@bp.output(schemas.Alerts)
def alerts() -> Row:
    """List the alerts, each with how many rows it has, and one of them."""
    return {"alerts": call_all("list_alerts")}


@bp.get("/checkpoints")
@requires("admin")
@bp.input(schemas.CheckpointsPage, location="query", arg_name="query")
@bp.output(schemas.Checkpoints)
def checkpoints(query: Row) -> Row:
    """List the verifications of the whole ledger, newest first."""
    found, more = call_page("list_checkpoints", **query)
    return {"checkpoints": found, "next_before": found[-1]["checkpoint_id"] if more else None}


@bp.get("/metrics")
@requires("admin")
@bp.output(schemas.MetricList)
def metrics() -> Row:
    """Show what the database tells Prometheus, as JSON."""
    return {"metrics": call_all("list_metrics")}


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


def answered_refund(result: Row) -> ResponseReturnValue:
    """The response to a request for a refund, by what became of it at Stripe."""
    if result["success"] and result["status"] in REFUSED:
        error = call("get_refund", refund_id=result["refund_id"])["error"]
        members = {name: value for name, value in members_of(result).items() if name not in UNDONE}
        raise Problem(409, "refund_failed", error or "Stripe refused the refund.", **members)
    row, status, headers = answer(result)
    return row, 202 if row["status"] == "requested" else status, headers
