"""/admin/log: what admins did and tried."""

from flask import Response, render_template
from flask.typing import ResponseReturnValue
from marshmallow.validate import OneOf

from api.browser import asked
from api.csv import csv_response
from api.database import Row, call_page
from api.display import ACTIONS
from api.fields import Id, Text
from api.panel.base import SHOWN, Days, all_rows, bp, days, filtered, next_and_first
from api.panel.people import Person
from api.schemas import AdminAction

OUTCOMES = ("done", "refused")


class LogQuery(Days):
    action = Text(validate=OneOf(ACTIONS, error="There is no such action."))
    outcome = Text(validate=OneOf(OUTCOMES))
    admin = Person(admin=True)
    user = Person()


class LogPage(LogQuery):
    before = Id()


@bp.get("/log")
def log() -> ResponseReturnValue:
    query, errors = filtered(LogPage)
    found, more = ([], False) if errors else call_page("list_actions", limit=SHOWN, **filters(query))
    page = render_template(
        "panel/log.html",
        log=found,
        pages=next_and_first("before", found[-1]["action_id"] if more else None),
        query=query,
        errors=errors,
        actions=[(action, done) for action, (done, _) in ACTIONS.items()],
        outcomes=OUTCOMES,
    )
    return page, 422 if errors else 200


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
