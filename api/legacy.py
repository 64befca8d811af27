"""/api/billing: the old, usage-based billing, until everybody has left it.

It answers for every user in its own terms: for one who has left, from the account, so that a frontend can be switched
to /api/billing/v2 and back at any time.
"""

from calendar import timegm
from decimal import localcontext

from apiflask import APIBlueprint
from flask import Flask, Response, g, request
from flask.typing import ResponseReturnValue
from werkzeug.http import http_date

from api import schemas
from api.auth import requires
from api.database import Row, call, call_all, call_page
from api.errors import answer
from api.settings import Settings

bp = APIBlueprint("legacy", __name__, url_prefix="/api/billing", tag="Old billing")

# More than the sum of any costs has.
MOST_DIGITS = 1000
# What takes the place of each path.
SUCCESSORS = {
    "/api/billing/check": "/api/billing/v2/check",
    "/api/billing/usage": "/api/billing/v2/usage",
    "/api/billing/subscription": "/api/billing/v2/subscription",
    "/api/billing/credit-balance": "/api/billing/v2/balance",
    "/api/billing/track": "/api/billing/v2/deduct",
    "/api/billing/purchases": "/api/billing/v2/purchases",
}


def init_legacy(app: Flask, settings: Settings) -> None:
    """Say on every response of these paths, errors included, since when they are deprecated, and for what."""
    deprecation = f"@{timegm(settings.legacy_deprecation.timetuple())}"
    sunset = http_date(settings.legacy_sunset)

    @app.after_request
    def deprecate(response: Response) -> Response:
        if successor := SUCCESSORS.get(request.path):
            response.headers["Deprecation"] = deprecation
            response.headers["Sunset"] = sunset
            response.headers["Link"] = f'<{successor}>; rel="successor-version"'
        return response


@bp.get("/check")
@requires("user")
@bp.output(schemas.LegacyCheck)
@bp.doc(deprecated=True)
def check() -> Row:
    """Tell whether the user may make a call

    It answers 200 also when the limit is reached: see `can_run`.
    """
    return call("legacy_check", user_id=g.user_id)


@bp.post("/check")
@requires("user")
@bp.input(schemas.Nothing, arg_name="_")
@bp.output(schemas.LegacyCheck)
@bp.doc(deprecated=True)
def check_by_post(_: Row) -> Row:
    """Tell whether the user may make a call

    The same as GET.
    """
    return call("legacy_check", user_id=g.user_id)


@bp.get("/usage")
@requires("user")
@bp.input(schemas.LegacyMonth, location="query", arg_name="query")
@bp.output(schemas.LegacyUsage)
@bp.doc(deprecated=True)
def usage(query: Row) -> Row:
    """Sum up what was used in a calendar month (UTC), by model."""
    models = call_all("legacy_usage", user_id=g.user_id, **query)
    # The context that there is rounds sums to 28 digits.
    with localcontext(prec=MOST_DIGITS):
        total = sum(model["cost"] for model in models)
    return {"month": f"{query['month']:%Y-%m}", "models": models, "total": total}


@bp.get("/subscription")
@requires("user")
@bp.output(schemas.LegacySubscription)
@bp.doc(deprecated=True)
def subscription() -> Row:
    """Show the user's subscription; its status is none if there is none."""
    return call("legacy_subscription", user_id=g.user_id)


@bp.get("/credit-balance")
@requires("user")
@bp.output(schemas.LegacyCredit)
@bp.doc(deprecated=True)
def credit_balance() -> Row:
    """Show what the user has bought, and what is left of it."""
    return call("legacy_credit_balance", user_id=g.user_id)


@bp.post("/track")
@requires("service")
@bp.input(schemas.LegacyTracking, arg_name="body")
@bp.input(schemas.Idempotency, location="headers", arg_name="key")
@bp.output(schemas.LegacyCall)
@bp.doc(deprecated=True)
def track(body: Row, key: Row) -> ResponseReturnValue:
    """Record a call that was made

    The old system records it whatever is left; for a user who has left it, the account pays, or refuses. With an
    `Idempotency-Key` it is safe to send again, also while the user is moved.
    """
    return answer(call("legacy_track", **body, **key))


@bp.get("/purchases")
@requires("user")
@bp.input(schemas.LegacyPurchasesPage, location="query", arg_name="query")
@bp.output(schemas.LegacyPurchases)
@bp.doc(deprecated=True)
def purchases(query: Row) -> Row:
    """List the user's purchases of credit, newest first."""
    found, more = call_page("legacy_purchases", user_id=g.user_id, **query)
    return {"purchases": found, "next_before": found[-1]["purchase_id"] if more else None}


@bp.post("/purchases")
@requires("service")
@bp.input(schemas.LegacyPayment, arg_name="body")
@bp.output(schemas.LegacyPurchase)
@bp.doc(deprecated=True)
def record_purchase(body: Row) -> ResponseReturnValue:
    """Record a payment for credit that has succeeded

    The payment is the key: it is safe to send again.
    """
    return answer(call("legacy_record_purchase", **body))
