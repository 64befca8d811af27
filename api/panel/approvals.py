"""/admin/approvals: what admins ask each other for, and what it would do now."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import psycopg
import stripe
from flask import Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow.validate import OneOf

from api import admin_actions
from api.browser import asked
from api.csv import csv_response
from api.database import Row, call, call_all, call_page
from api.display import money_text, refusal, told
from api.errors import Problem
from api.fields import NOT_STORABLE, Id, Schema, Text, is_storable
from api.panel.actions import FUNCTIONS, about, seen_of
from api.panel.advice import advised, leading_on, told_here, would_refuse
from api.panel.base import SHOWN, all_rows, bp, next_and_first, this_page
from api.panel.wording import with_references
from api.schemas import APPROVAL_STATUSES

EVERY = "all"
COLUMNS = [
    *("approval_id", "status", "action", "user_id", "user_reference", "amount", "expires_at", "entry_no", "from_tier"),
    *("tier", "stripe_refund", "payment_intent_id", "grant_credits", "owe_spent", "reason", "requested_by"),
    *("requested_by_reference", "requested_at", "open_until", "decided_by", "decided_by_reference", "decided_at"),
    *("decision_reason", "action_id"),
]
NOT_FOUND = leading_on("approval_not_found")


class ApprovalsQuery(Schema):
    status = Text(validate=OneOf([*APPROVAL_STATUSES, EVERY]), load_default="open")
    user_id = Id(data_key="user", attribute="user_id")


class ApprovalsPage(ApprovalsQuery):
    before = Id()


@bp.get("/approvals")
def approvals() -> str:
    query = asked(ApprovalsPage)
    found, more = call_page("list_approvals", limit=SHOWN, **wanted(query))
    return render_template(
        "panel/approvals.html",
        approvals=found,
        query=query,
        statuses=[(this_page(status=status, before=None), status) for status in (*APPROVAL_STATUSES, EVERY)],
        pages=next_and_first("before", found[-1]["approval_id"] if more else None),
    )


@bp.get("/approvals.csv")
def approvals_csv() -> Response:
    query = asked(ApprovalsQuery)
    rows = all_rows("list_approvals", "before", "approval_id", **wanted(query))
    return csv_response("approvals.csv", COLUMNS, with_references(rows, "user_id", "requested_by", "decided_by"))


def wanted(query: Row) -> Row:
    """The query as billing.list_approvals has it."""
    return {name: value for name, value in query.items() if (name, value) != ("status", EVERY)}


@bp.get("/approvals/<uuid:approval_id>")
@NOT_FOUND
def approval(approval_id: UUID) -> str:
    return approval_page(approval_id)


def approval_page(
    approval_id: UUID,
    *,
    reason: str | None = None,
    problem: Row | None = None,
    errors: dict[str, list[str]] | None = None,
    changed: bool = False,
) -> str:
    found = call("get_approval", approval_id=approval_id)
    is_open = found["status"] == "open"
    shown, hindrance = preview_of(found) if is_open else (None, None)
    own = g.user_id in (found["requested_by"], found["user_id"])
    return render_template(
        "panel/approval.html",
        **about(found["user_id"], FUNCTIONS[found["action"]]),
        approval=found,
        shown=shown,
        seen=shown and seen_of(found["user_id"], shown),
        hindrance=hindrance,
        own=own,
        may_approve=is_open and not own and hindrance is None,
        may_decline=is_open and g.user_id != found["requested_by"],
        may_withdraw=is_open and g.user_id == found["requested_by"],
        done=action_of(found),
        reason=request.args.get("reason", "") if reason is None else reason,
        problem=problem,
        errors=errors or {},
        changed=changed,
    )


def preview_of(found: Row) -> tuple[Row | None, Row | None]:
    """What approving it would do now, and why whoever looks could not approve it, as a problem."""
    try:
        shown = admin_actions.preview_approval(g.user_id, found["approval_id"])
    except psycopg.Error as error:
        return None, advised(told(error), found["user_id"]).document
    problem = would_refuse(shown)
    effect = shown if shown["success"] or shown["can_request"] else None
    return effect, problem and advised(problem, found["user_id"]).document


def action_of(found: Row) -> Row | None:
    """The row of the admin log that an approval led to."""
    if found["action_id"] is None:
        return None
    then, span = found["decided_at"], timedelta(minutes=1)
    around = call_all(
        "list_actions", target_user_id=found["user_id"], action=found["action"], refused=False,
        **{"from": then - span, "to": then + span},
    )  # fmt: skip
    return next((row for row in around if row["action_id"] == found["action_id"]), None)


@bp.post("/approvals/<uuid:approval_id>/approve")
@NOT_FOUND
def approve(approval_id: UUID) -> ResponseReturnValue:
    """Do it, unless its effect would be another than the one that was shown."""
    found = call("get_approval", approval_id=approval_id)
    reason = request.form.get("reason", "").strip()
    if not is_storable(reason):
        return not_storable(approval_id, reason)
    if found["status"] == "open" and reason:
        shown, _ = preview_of(found)
        stale = shown is None or seen_of(found["user_id"], shown) != request.form.get("seen")
        # Asked last: an earlier click may have approved it meanwhile.
        if stale and call("get_approval", approval_id=approval_id)["status"] == "open":
            return approval_page(approval_id, reason=reason, changed=True), 409
    return decided(approval_id, reason, lambda: admin_actions.approve(g.user_id, approval_id, reason))


@bp.post("/approvals/<uuid:approval_id>/decline")
@NOT_FOUND
def decline(approval_id: UUID) -> ResponseReturnValue:
    reason = request.form.get("reason", "").strip()
    if not is_storable(reason):
        return not_storable(approval_id, reason)
    return decided(
        approval_id,
        reason,
        lambda: call("decline_request", actor=g.user_id, approval_id=approval_id, reason=reason),
    )


@bp.post("/approvals/<uuid:approval_id>/withdraw")
@NOT_FOUND
def withdraw(approval_id: UUID) -> ResponseReturnValue:
    reason = request.form.get("reason", "").strip()
    if not is_storable(reason):
        return not_storable(approval_id, reason)
    return decided(
        approval_id,
        reason,
        lambda: call("withdraw_request", actor=g.user_id, approval_id=approval_id, reason=reason or None),
    )


def not_storable(approval_id: UUID, reason: str) -> ResponseReturnValue:
    return approval_page(approval_id, reason=reason, errors={"reason": [NOT_STORABLE]}), 422


def decided(approval_id: UUID, reason: str, decide: Callable[[], Row]) -> ResponseReturnValue:
    """The page of the request after a decision, or with why there is none."""
    try:
        result = decide()
        if problem := refusal(result):
            raise problem
    except (psycopg.Error, stripe.StripeError, Problem) as error:
        problem = told_here(error, call("get_approval", approval_id=approval_id)["user_id"])
        document = problem.document
        if document["code"] in ("reason_required", "invalid_request"):
            texts = [text for text in (document["detail"], document["hint"]) if text]
            page = approval_page(approval_id, reason=reason, errors={"reason": texts})
        else:
            page = approval_page(approval_id, reason=reason, problem=document)
        return page, problem.status
    flash(*outcome(result))
    return redirect(url_for("panel.approval", approval_id=approval_id), 303)


def outcome(result: Row) -> tuple[str, str]:
    """The message after a decision, and its tone; money is back only when Stripe says so."""
    if result["replayed"]:
        return f"This was {result['status']} already; nothing was done again.", "info"
    if result["status"] != "approved":
        return f"The request is {result['status']}.", "success"
    match result.get("refund_status"):
        case None:
            return f"Approved and done. The balance is {money_text(result['balance_after'])}.", "success"
        case "succeeded":
            return "Approved: the refund is made.", "success"
        case "requested":
            return "Approved. The refund is recorded, but Stripe cannot be reached: it is tried again.", "warning"
        case "failed" | "canceled":
            why = f": {result['error'].rstrip('.')}" if result["error"] else ""
            return f"Approved, but Stripe refused the refund{why}. The credits are as they were.", "danger"
    return "Approved. Stripe has accepted the refund; it is pending until the bank has it.", "info"
