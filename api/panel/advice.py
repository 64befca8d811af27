"""What to do about an error, in the panel's words: the hints of the database are for those who call it in SQL."""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from flask import current_app, render_template, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from api.database import Row
from api.display import beside_form, refusal
from api.errors import Problem, error_name

View = Callable[..., ResponseReturnValue]

LOGGED = " The attempt was logged."
AGAIN = "Send the form again: it takes effect once, whatever became of this one."


class Advice(NamedTuple):
    """What helps, and where it is found: a page of the panel, or of the user that it is about, with its query."""

    text: str = ""
    label: str = ""
    page: str = ""
    query: Row | None = None


LEDGER = ("Open the ledger", "panel.user_ledger")
PAYMENTS = ("See the payments", "panel.user_payments")
HOLDS = ("See the holds", "panel.user_holds")
ADMINS = ("See the admins and their limits", "panel.admins")

ADVICE = {
    "account_closed": Advice("", "Set it to active first", "panel.action", {"slug": "status", "status": "active"}),
    "account_has_holds": Advice("", *HOLDS),
    "account_not_found": Advice("The first call of the application opens one.", "Find a user", "panel.users"),
    "admin_limit_exceeded": Advice("", *ADMINS),
    "already_reversed": Advice(
        "An entry can be reversed once.", "Adjust the balance instead", "panel.action", {"slug": "adjust"}
    ),
    "amount_not_positive": Advice("Give an amount greater than zero."),
    "amount_not_whole_cents": Advice("Money has two decimal places."),
    "amount_too_large": Advice("An amount is at most a trillion credits, and a balance a thousand times that."),
    "amount_too_precise": Advice("Give at most nine decimal places."),
    "amount_zero": Advice("Give the credits to add, or with a minus those to take away."),
    "approval_not_found": Advice("", "See all requests", "panel.approvals", {"status": "all"}),
    "approval_not_open": Advice("What became of it is below."),
    "bulk_grant_not_found": Advice("", "See all bulk grants", "panel.bulk"),
    "dispute_open": Advice("", *PAYMENTS),
    "entry_not_found": Advice("The ledger has the numbers.", *LEDGER),
    "entry_not_reversible": Advice("Only usage, and adjustments that took credits away, can be reversed.", *LEDGER),
    "expiry_not_ahead": Advice("Give a time ahead, in UTC, or leave it empty: then the credits never expire."),
    "hold_not_active": Advice("Nothing is left to release.", *HOLDS),
    "hold_not_found": Advice("", *HOLDS),
    "idempotency_key_reused": Advice("It was sent before with other values: look at what that has done first."),
    "insufficient_credits": Advice("", "See what there is", "panel.user"),
    "invalid_request": Advice(),
    "invalid_rows": Advice("Correct the rows that are named, and upload the file again under the same name."),
    "not_a_super_admin": Advice("", *ADMINS),
    "not_an_admin": Advice("A super admin makes admins.", *ADMINS),
    "not_migrated": Advice("Support this user there, until the account has moved here.", "Find a user", "panel.users"),
    "payment_disputed": Advice("", *PAYMENTS),
    "payment_not_found": Advice("", *PAYMENTS),
    "payments_misconfigured": Advice(AGAIN),
    "reason_required": Advice("Say in a few words why; it is kept in the admin log."),
    "refund_exceeds_payment": Advice("", *PAYMENTS),
    "refund_not_allowed": Advice("", *ADMINS),
    "request_changed": Advice("It is not what was asked for any more: decline it, so that it can be asked for anew."),
    "stripe_unavailable": Advice(AGAIN),
    "too_many_rows": Advice("Split the file: one name takes several files, one after the other."),
    "unknown_status": Advice("Choose one of the three."),
    "unknown_tier": Advice("Choose one of the tiers."),
}
# Where the sentence of the database names its argument.
DETAILS = {
    "expiry_not_ahead": "This time has passed.",
    "reason_required": "There is no reason.",
    "unknown_status": "An account has no such status.",
}


def told_here(error: Exception, user_id: UUID | None = None) -> Problem:
    """What a page of the panel tells of an error beside its form; what is our own fault is raised."""
    return advised(beside_form(error), user_id)


def advised(problem: Problem, user_id: UUID | None = None) -> Problem:
    """The problem with the panel's own advice, where there is any for it."""
    document = problem.document
    code = document["code"]
    if code in ADVICE:
        detail = DETAILS.get(code, document["detail"])
        if detail and user_id is not None:
            detail = detail.replace(f"User {user_id}", "The user")
        document |= {"hint": advice(code, user_id), "detail": detail}
    return problem


def leading_on(*codes: str) -> Callable[[View], View]:
    """Makes a view tell these errors with advice on a page of their own, where there is no form to tell them beside."""

    def decorate(view: View) -> View:
        @wraps(view)
        def led(**values: Any) -> ResponseReturnValue:
            try:
                return view(**values)
            except psycopg.Error as error:
                if error_name(error) not in codes:
                    raise
                problem = told_here(error)
                return render_template("error.html", problem=problem.document, way_back=None), problem.status

        return led

    return decorate


def advice(code: str, user_id: UUID | None = None) -> Markup | None:
    """The remedy of an error, with a link to where it is found."""
    known = ADVICE[code]
    of_user = bool(known.page) and current_app.url_map.is_endpoint_expecting(known.page, "user_id")
    if not known.page or (of_user and user_id is None):
        return Markup.escape(known.text) or None
    about = {"user_id": user_id} if of_user else {}
    link = Markup('<a href="{}">{}</a>').format(url_for(known.page, **about, **(known.query or {})), known.label)
    return Markup(" ").join(filter(None, (known.text, link)))


def would_refuse(row: Row) -> Problem | None:
    """The refusal that a preview foretells: nothing was attempted, and nothing logged."""
    problem = refusal(row)
    if problem:
        problem.document["detail"] = problem.document["detail"].removesuffix(LOGGED)
    return problem
