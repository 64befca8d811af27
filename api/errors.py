"""Every error as RFC 9457 problem+json: the one place that maps SQLSTATE, and a refusal's reason, to HTTP."""

import re
from http import HTTPStatus
from logging import ERROR, WARNING
from typing import Any

import psycopg
import stripe
from apiflask import APIFlask, HTTPError
from flask import Response, current_app, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from api.database import Row
from api.json import JSONError, dumps

# A refusal is an answer, not an exception: what it wrote (a zero entry, a row of the admin log) is committed.
REASONS = {
    "insufficient_credits": (402, "The available credits do not cover this."),
    "account_frozen": (
        403,
        "The account is frozen, by an admin or because a payment is disputed: no credits leave it until an admin or "
        "the bank's decision unfreezes it.",
    ),
    "account_closed": (403, "The account is closed."),
    "account_has_holds": (409, "Calls are still running on holds of the account: wait for them, or release them."),
    "not_an_admin": (403, "This needs the role admin. The attempt was logged."),
    "not_a_super_admin": (403, "This needs the role super_admin. The attempt was logged."),
    "admin_limit_exceeded": (403, "This is above what the admin's role may move. The attempt was logged."),
    "approval_required": (403, "This needs a second admin's approval. The attempt was logged."),
    "own_request": (403, "Another admin decides: neither who asked, nor whose account it is. The attempt was logged."),
    "own_account": (403, "It is the admin's own account: another admin does this. The attempt was logged."),
    "not_your_request": (403, "Only who asked can take a request back. The attempt was logged."),
    "last_super_admin": (409, "The last super admin keeps the role: make somebody else one first."),
    "dispute_open": (409, "No admin has frozen the account: it stays frozen until its disputes are decided."),
    "refund_not_allowed": (403, "The admin's role may not give refunds. The attempt was logged."),
    "payment_not_found": (404, "The user has no such payment. The attempt was logged."),
    "refund_exceeds_payment": (409, "This is more than is left of the payment. The attempt was logged."),
    "payment_disputed": (409, "The payment is disputed: the bank decides who gets the money. The attempt was logged."),
}

# Whoever gets these has no right to the account: nothing of it is told.
STRANGERS = ("not_an_admin", "not_a_super_admin")

# Below these are pages for people; everything else is for programs.
PAGES = ("/admin", "/billing")

# SQLSTATEs that are neither ours nor a mistake in our code, by their first characters; the longest one counts.
STATES = {
    "22": (400, "invalid_request", "A value has no meaning in the type that it is for."),
    "40": (503, "try_again", "Another request was in the way, and nothing has changed. Send it again."),
    "55P03": (503, "try_again", "Another request was in the way, and nothing has changed. Send it again."),
    "57014": (503, "timeout", "The database took too long, and nothing has changed."),
    "08": (
        503,
        "database_unavailable",
        "The database cannot be reached, or the connection was lost before it answered.",
    ),
    "53": (503, "database_unavailable", "The database has no room for this request."),
    "57P": (503, "database_unavailable", "The database is shutting down or starting up."),
}

PARAMETER = re.compile(r"\bp_([a-z_]+)\b")
RETRY = {"Retry-After": "1"}
RETRY_STRIPE = {"Retry-After": "5"}
AGAIN = "Send it again with the same Idempotency-Key: then it takes effect once, whatever became of this one."

HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
}


class Problem(Exception):
    """An error that is told to the client; further members are extension members of the document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str | None = None,
        hint: str | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.headers = headers or {}
        self.document = {
            "type": f"urn:problem:billing:{code}",
            "title": code.replace("_", " ").capitalize(),
            "status": status,
            "code": code,
            "detail": detail,
            "hint": hint,
        } | members


def code_of(status: int) -> str:
    """What an error is called of which no more is known than its status."""
    return HTTP_CODES.get(status) or HTTPStatus(status).name.lower()


def is_page() -> bool:
    """Whether the request is for a page, which a browser shows."""
    return request.path.startswith(tuple(f"{each}/" for each in PAGES)) or request.path in PAGES


def answer(row: Row) -> ResponseReturnValue:
    """A row as the response; raises Problem when it is a refusal, and marks what was done before as replayed."""
    if row.get("success") is False:
        status, detail = REASONS[row["reason"]]
        raise Problem(status, row["reason"], detail, **members_of(row))
    return row, 200, {"Idempotency-Replayed": "true"} if row.get("replayed") else {}


def members_of(row: Row) -> Row:
    """What a problem document tells of a row; the document has a status of its own."""
    if row["reason"] in STRANGERS:
        return {"action_id": row["action_id"]}
    return {name: value for name, value in row.items() if name not in ("success", "reason", "status")}


def error_name(error: psycopg.Error) -> str | None:
    """The name of an error that one of our functions raised; None for any other."""
    return error.diag.message_primary if (error.sqlstate or "").startswith("UC") else None


def database_problem(error: psycopg.Error) -> Problem | None:
    """What an error of the database is in HTTP; None when it is our own mistake."""
    if name := error_name(error):
        detail = error.diag.message_detail
        if detail and error.sqlstate == "UC400":
            # It names arguments: p_amount is the member amount of a request.
            detail = PARAMETER.sub(r"\1", detail)
        return Problem(int(error.sqlstate[2:]), name, detail, error.diag.message_hint)
    # psycopg itself gives no SQLSTATE when it gets no connection, or loses it.
    state = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
    for start in (state, state[:3], state[:2]):
        if start in STATES:
            status, code, detail = STATES[start]
            return Problem(status, code, detail, AGAIN, RETRY) if status == 503 else Problem(status, code, detail)
    return None


def stripe_message(error: stripe.StripeError) -> str:
    """What Stripe said, in one line."""
    return " ".join((error.user_message or type(error).__name__).split())


def decline_code(error: stripe.StripeError) -> str | None:
    """Why the bank declined a card, or else Stripe's name of the error."""
    return getattr(error.error, "decline_code", None) or error.code


def is_misconfigured(error: stripe.StripeError) -> bool:
    """Whether Stripe does not accept our key, or not for this: somebody has to see to it."""
    return isinstance(error, stripe.AuthenticationError | stripe.PermissionError)


def stripe_problem(error: stripe.StripeError) -> Problem:
    """What an error of Stripe's is in HTTP."""
    if isinstance(error, stripe.CardError | stripe.InvalidRequestError):
        return stripe_refusal(stripe_message(error), declined=isinstance(error, stripe.CardError))
    if is_misconfigured(error):
        return payments_misconfigured()
    return stripe_unavailable()


def logged_stripe_problem(error: stripe.StripeError) -> Problem:
    """The same, with what Stripe said in the log."""
    problem = stripe_problem(error)
    level = ERROR if is_misconfigured(error) else WARNING
    current_app.logger.log(level, "%s: %s", problem, stripe_message(error))
    return problem


def stripe_refusal(message: str | None, *, declined: bool = False) -> Problem:
    """Of what Stripe refuses for good, with its words."""
    status, code = (402, "payment_declined") if declined else (409, "stripe_refused")
    return Problem(status, code, message or "Stripe refused this.")


def checkout_expired() -> Problem:
    return Problem(
        409,
        "checkout_expired",
        "This has expired, has failed, or a newer checkout has taken its place: it can no longer be paid.",
        "Begin again with a new Idempotency-Key.",
    )


def stripe_unavailable() -> Problem:
    return Problem(503, "stripe_unavailable", "Stripe cannot be reached, or took too long.", AGAIN, RETRY_STRIPE)


def payments_misconfigured() -> Problem:
    return Problem(503, "payments_misconfigured", "Stripe does not accept the key that is configured here.", AGAIN)


def init_errors(app: APIFlask) -> None:
    """Answer every error with a problem document, or with a page where the browser asked for one."""
    # The status that SQL gives the same code.
    app.config["VALIDATION_ERROR_STATUS_CODE"] = 400

    @app.errorhandler(Problem)
    def known(problem: Problem) -> Response:
        g.code = problem.document["code"]
        if is_page():
            return current_app.make_response(app.extensions["problem_page"](problem))
        members = {name: value for name, value in problem.document.items() if value is not None}
        document = dumps(members | {"request_id": g.request_id})
        return Response(document, problem.status, problem.headers, mimetype="application/problem+json")

    @app.errorhandler(JSONError)
    def no_json(error: JSONError) -> Response:
        return known(Problem(400, "invalid_json", str(error)))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> ResponseReturnValue:
        if error.code is None or error.code < 400:
            return error  # a redirect
        code = code_of(error.code)
        headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
        return known(Problem(error.code, code, error.description, headers=headers))

    @app.errorhandler(HTTPError)
    def invalid(error: HTTPError) -> Response:
        errors = {field: texts for fields in error.detail.values() for field, texts in fields.items()}
        detail = "Not valid: " + ", ".join(sorted(errors)) + "."
        return known(Problem(error.status_code, "invalid_request", detail, errors=errors))

    @app.errorhandler(psycopg.Error)
    def database(error: psycopg.Error) -> Response:
        problem = database_problem(error)
        if problem is None:
            return unforeseen(error)
        if error_name(error) is None:
            current_app.logger.warning("%s: %s", problem, error)
        elif problem.status >= 500:
            current_app.logger.error("%s: %s", problem, problem.document["detail"])
        return known(problem)

    @app.errorhandler(stripe.StripeError)
    def of_stripe(error: stripe.StripeError) -> Response:
        return known(logged_stripe_problem(error))

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        current_app.logger.error("%s", type(error).__name__, exc_info=error)
        return known(Problem(500, "internal_error", "Something went wrong here. Name the request_id when you ask."))
