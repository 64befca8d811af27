"""/api/admin/billing: what admins may do, and the histories that they read.

Whoever asks to write is an `actor`: the SQL function looks the role up, and logs the attempt of somebody without it.
"""

from uuid import UUID

from apiflask import APIBlueprint
from flask import g
from flask.typing import ResponseReturnValue

from api import schemas
from api.auth import requires
from api.billing import ledger_page
from api.database import Row, call, call_all, call_page
from api.errors import answer

bp = APIBlueprint("admin", __name__, url_prefix="/api/admin/billing", tag="Admin")

RECENT = 20


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
