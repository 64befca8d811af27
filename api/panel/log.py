"""/admin/log: what admins did and tried."""

from flask import Response, render_template
from marshmallow.validate import OneOf

from api.browser import asked
from api.csv import csv_response
from api.database import Row, call_page
from api.fields import Id, Schema, Text
from api.panel.base import SHOWN, Day, all_rows, bp, days, next_and_first
from api.schemas import AdminAction

ACTIONS = (
    *("adjust_credits", "admin_grant_credits", "reverse_entry", "request_refund", "change_tier", "set_account_status"),
    *("admin_release_hold", "request_approval", "approve_request", "decline_request", "withdraw_request"),
    *("begin_bulk_grant", "run_bulk_grant", "retry_bulk_grant", "stop_bulk_grant"),
    *("set_user_role", "bootstrap_super_admin", "change_config", "apply_config"),
)
OUTCOMES = ("done", "refused")


class LogQuery(Schema):
    action = Text()
    outcome = Text(validate=OneOf(OUTCOMES))
    admin = Id()
    user = Id()
    from_ = Day(data_key="from", attribute="from")
    to = Day()


class LogPage(LogQuery):
    before = Id()


@bp.get("/log")
def log() -> str:
    query = asked(LogPage)
    found, more = call_page("list_actions", limit=SHOWN, **filters(query))
    last = found[-1]["action_id"] if more else None
    return render_template(
        "panel/log.html", log=found, pages=next_and_first("before", last), query=query, names=ACTIONS, outcomes=OUTCOMES
    )


@bp.get("/log.csv")
def log_csv() -> Response:
    rows = all_rows("list_actions", "before", "action_id", **filters(asked(LogQuery)))
    return csv_response("log.csv", list(AdminAction().fields), rows)


def filters(query: Row) -> Row:
    """The query as billing.list_actions has it."""
    told = days(dict(query))
    if "outcome" in told:
        told["refused"] = told.pop("outcome") == "refused"
    for ours, theirs in (("admin", "admin_user_id"), ("user", "target_user_id")):
        if ours in told:
            told[theirs] = told.pop(ours)
    return told
