"""/admin/users: finding a user."""

from collections.abc import Sequence
from typing import Any

from flask import Response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from marshmallow.validate import Length, OneOf

from api.browser import asked
from api.csv import csv_response
from api.database import Row, call_page
from api.fields import Id, Schema, Text
from api.panel.base import SHOWN, all_rows, bp, filtered, next_and_first
from api.panel.wording import tiers

STATUSES = ("active", "frozen", "closed")
COLUMNS = [
    *("user_id", "reference", "tier", "status", "balance", "held", "available", "debt", "entry_count"),
    *("created_at", "last_activity_at", "found_by"),
]
# What was searched for, and found in the order of user_id, page after page.
PAGED = (None, "user_id")


class Search(Schema):
    query = Text(data_key="q", validate=Length(max=200))
    tier = Text()
    status = Text(validate=OneOf(STATUSES))


class SearchPage(Search):
    after = Id()


@bp.get("", strict_slashes=False)
def home() -> ResponseReturnValue:
    return redirect(url_for("panel.users"), 303)


@bp.get("/users")
def users() -> ResponseReturnValue:
    """List accounts; a search that finds one user by a name of their own leads to that user."""
    query, errors = filtered(SearchPage)
    if query.get("tier", "") not in ("", *tiers()):
        errors["tier"] = ["There is no such tier."]
    if errors:
        return users_page(query, errors=errors), 422
    found, more = call_page("search_accounts", limit=SHOWN, **query)
    if len(found) == 1 and query.keys() == {"query"} and is_certain(found[0]["found_by"], query["query"]):
        return redirect(url_for("panel.user", user_id=found[0]["user_id"]), 303)
    last = found[-1]["user_id"] if more and found[-1]["found_by"] in PAGED else None
    return users_page(query, found, more=more and last is None, pages=next_and_first("after", last))


def users_page(query: Row, found: Sequence[Row] = (), **values: Any) -> str:
    return render_template(
        "panel/users.html", users=found, tiers=tiers(), statuses=STATUSES, query=query, **{"errors": {}} | values
    )


def is_certain(found_by: str, query: str) -> bool:
    """Whether there can be no other: a whole user_id, or what Stripe calls something."""
    return found_by not in ("user_id", "reference", "ledger_reference") or len(query.replace("-", "")) == 32


@bp.get("/users.csv")
def users_csv() -> Response:
    """The accounts that are listed, on all pages; of a search for something else than a user_id, its first results."""
    query = asked(Search)
    found, more = call_page("search_accounts", limit=SHOWN, **query)
    if more and found[-1]["found_by"] in PAGED:
        return csv_response("users.csv", COLUMNS, all_rows("search_accounts", "after", "user_id", **query))
    return csv_response("users.csv", COLUMNS, found)
