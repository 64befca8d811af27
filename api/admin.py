"""/api/admin/billing: what admins may do, and the histories that they read.

Whoever asks to write is an `actor`: the SQL function looks the role up, and logs the attempt of somebody without it.
"""

from uuid import UUID

from apiflask import APIBlueprint
from flask import g
from flask.typing import ResponseReturnValue

from api import admin_actions, schemas
from api.auth import requires
from api.billing import events_page, ledger_page, payments_page
from api.database import Row, call, call_all, call_page
from api.errors import Problem, answer, members_of
from api.openapi import accepted

bp = APIBlueprint("admin", __name__, url_prefix="/api/admin/billing", tag="Admin")

RECENT = 20
# What a refund did before Stripe refused it, and is undone.
UNDONE = ("clawed", "spent", "owed", "balance_after", "call_id")
LATER = "Recorded, but Stripe cannot be reached: the money goes back later."
UNFINISHED = accepted(schemas.RefundResult, LATER)


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
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.AdminResult)
def set_status(user_id: UUID, body: Row, key: Row) -> ResponseReturnValue:
    """Freeze, unfreeze or close an account."""
    return answer(call("set_account_status", actor=g.user_id, user_id=user_id, **body, **key))


@bp.post("/user/<uuid:user_id>/tier")
@requires("actor")
@bp.input(schemas.TierChange, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.AdminResult)
def change_tier(user_id: UUID, body: Row, key: Row) -> ResponseReturnValue:
    """Move a user to another tier."""
    return answer(call("change_tier", actor=g.user_id, user_id=user_id, **body, **key))


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
    return answered_refund(admin_actions.refund(g.user_id, **body, **key))


@bp.post("/user/<uuid:user_id>/holds/<uuid:hold_id>/release")
@requires("actor")
@bp.input(schemas.AdminRelease, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.AdminResult)
def release_hold(user_id: UUID, hold_id: UUID, body: Row, key: Row) -> ResponseReturnValue:
    """End a hold whose call will not end by itself; its credits are available again."""
    return answer(call("admin_release_hold", actor=g.user_id, user_id=user_id, hold_id=hold_id, **body, **key))


@bp.post("/preview")
@requires("admin")
@bp.input(schemas.PreviewRequest, arg_name="body")
@bp.output(schemas.ActionPreview)
def preview_action(body: Row) -> Row:
    """Show what an action would do, and whether it would be refused; nothing happens

    `can_request` says that the caller's own limits are all that is in the way: another admin can be asked for it.
    """
    return admin_actions.preview(g.user_id, **body)


@bp.get("/approvals")
@requires("admin")
@bp.input(schemas.ApprovalsPage, location="query", arg_name="query")
@bp.output(schemas.Approvals)
def approvals(query: Row) -> Row:
    """List what admins have asked each other for, newest first."""
    found, more = call_page("list_approvals", **query)
    return {"approvals": found, "next_before": found[-1]["approval_id"] if more else None}


@bp.post("/approvals")
@requires("actor")
@bp.input(schemas.ApprovalRequest, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.ApprovalResult)
def ask_for_approval(body: Row, key: Row) -> ResponseReturnValue:
    """Ask another admin for an action that is above the own limits."""
    return answer(admin_actions.request_approval(g.user_id, **body, **key) | {"refund_status": None})


@bp.get("/approvals/<uuid:approval_id>")
@requires("admin")
@bp.output(schemas.Approval)
def approval(approval_id: UUID) -> Row:
    """Show one request, and what became of it."""
    return call("get_approval", approval_id=approval_id)


@bp.get("/approvals/<uuid:approval_id>/preview")
@requires("admin")
@bp.output(schemas.ActionPreview)
def preview_approval(approval_id: UUID) -> Row:
    """Show what approving it would do, and whether the caller would be refused; nothing happens

    What only another admin may approve is shown as it would be then, with `success` false and the `reason`.
    """
    return admin_actions.preview_approval(g.user_id, approval_id)


@bp.post("/approvals/<uuid:approval_id>/approve")
@requires("actor")
@bp.input(schemas.Decision, arg_name="body")
@bp.output(schemas.ApprovalResult)
@bp.doc(responses=accepted(schemas.ApprovalResult, LATER))
def approve_request(approval_id: UUID, body: Row) -> ResponseReturnValue:
    """Do what another admin has asked for, within the own limits

    A refund in money goes back through Stripe at once. What Stripe refuses is `refund_failed`: the request is approved
    all the same, and the credits are as they were.
    """
    done = admin_actions.approve(g.user_id, approval_id, **body)
    error = done.pop("error")
    if done["success"] and done["refund_status"] in admin_actions.REFUSED:
        told = {name: value for name, value in members_of(done).items() if name not in UNDONE}
        raise Problem(409, "refund_failed", error or "Stripe refused the refund.", **told)
    row, status, headers = answer(done)
    return row, 202 if row["refund_status"] == "requested" else status, headers


@bp.post("/approvals/<uuid:approval_id>/decline")
@requires("actor")
@bp.input(schemas.Decision, arg_name="body")
@bp.output(schemas.ApprovalResult)
def decline_request(approval_id: UUID, body: Row) -> ResponseReturnValue:
    """Refuse what another admin has asked for."""
    declined = call("decline_request", actor=g.user_id, approval_id=approval_id, **body)
    return answer(declined | {"refund_status": None})


@bp.post("/approvals/<uuid:approval_id>/withdraw")
@requires("actor")
@bp.input(schemas.Withdrawal, arg_name="body")
@bp.output(schemas.ApprovalResult)
def withdraw_request(approval_id: UUID, body: Row) -> ResponseReturnValue:
    """Take back what one has asked for."""
    withdrawn = call("withdraw_request", actor=g.user_id, approval_id=approval_id, **body)
    return answer(withdrawn | {"refund_status": None})


@bp.get("/admins")
@requires("admin")
@bp.output(schemas.Admins)
def admins() -> Row:
    """List the admins, their limits, and what is left of these today."""
    return {"admins": call_all("list_admins")}


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
@bp.input(schemas.PaymentsPage, location="query", arg_name="query")
@bp.output(schemas.PaymentList)
def payments_of(user_id: UUID, query: Row) -> Row:
    """List a user's payments, with what went back of each, newest first."""
    return payments_page(user_id, **query)


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


@bp.get("/user/<uuid:user_id>/forecast")
@requires("admin")
@bp.output(schemas.Forecast)
def forecast(user_id: UUID) -> Row:
    """Tell how long a user's credits last at the present pace."""
    return call("forecast", user_id=user_id)


@bp.get("/user/<uuid:user_id>/balance-history")
@requires("admin")
@bp.input(schemas.HistoryRange, location="query", arg_name="query")
@bp.output(schemas.BalanceHistory)
def balance_history(user_id: UUID, query: Row) -> Row:
    """Show a user's balance over time, at equal distances; the last 30 days unless told."""
    return {"points": call_all("balance_history", user_id=user_id, **query)}


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
    """Find accounts, ordered by user_id

    With `q`, accounts that are found by something else than their user_id come first, all in one page.
    """
    accounts, more = call_page("search_accounts" if "query" in query else "list_accounts", **query)
    paged = more and accounts[-1].get("found_by", "user_id") in ("user_id", None)
    return {"users": accounts, "next_after": accounts[-1]["user_id"] if paged else None}


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


def answered_refund(result: Row) -> ResponseReturnValue:
    """The response to a request for a refund, by what became of it at Stripe."""
    if result["success"] and result["status"] in admin_actions.REFUSED:
        error = call("get_refund", refund_id=result["refund_id"])["error"]
        members = {name: value for name, value in members_of(result).items() if name not in UNDONE}
        raise Problem(409, "refund_failed", error or "Stripe refused the refund.", **members)
    row, status, headers = answer(result)
    return row, 202 if row["status"] == "requested" else status, headers
