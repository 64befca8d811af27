"""/admin/users/<user_id>: everything about one user."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from flask import Response, abort, render_template, url_for
from flask.typing import ResponseReturnValue
from marshmallow.validate import OneOf
from psycopg.errors import QueryCanceled

from api.browser import asked
from api.charts import Chart, step_chart, usage_chart
from api.csv import csv_response
from api.database import Row, call, call_all, call_page
from api.fields import INT8, Count, Id, Schema, Text
from api.panel.advice import leading_on
from api.panel.base import SHOWN, Days, all_rows, bp, days, filtered, midnight, next_and_first
from api.schemas import ENTRY_TYPES
from api.schemas import AccountSummary as SummaryColumns
from api.schemas import AdminAction as ActionColumns
from api.schemas import AutoTopUp as TopUpColumns
from api.schemas import BalancePoint as PointColumns
from api.schemas import Forecast as ForecastColumns
from api.schemas import GrantLot as LotColumns
from api.schemas import Hold as HoldColumns
from api.schemas import LedgerEntry as EntryColumns
from api.schemas import ListedPurchase as PurchaseColumns
from api.schemas import Payment as PaymentColumns
from api.schemas import Refund as RefundColumns
from api.schemas import SentEvent as EventColumns
from api.schemas import Subscription as SubscriptionColumns
from api.schemas import UsageBucket as UsageColumns

RANGES = (7, 30, 90, 365)
# How often the balance of a range is looked up; each costs the same on the largest account.
POINTS = {7: 169, 30: 121, 90: 181, 365: 366}
# A longer account takes seconds to verify, so that it is done when somebody asks for it.
VERIFIED_AT_ONCE = 5000
RECENT = 8
BUCKETS = ("hour", "day", "week", "month")
# What billing.reverse_entry undoes.
REVERSIBLE = ("usage", "adjustment")
TABS = (
    ("user", "Overview"),
    ("user_ledger", "Ledger"),
    ("user_usage", "Usage"),
    ("user_payments", "Payments"),
    ("user_holds", "Holds"),
    ("user_events", "Events"),
    ("user_log", "Admin log"),
)
# The slug of an action, what it is called, and its icon.
ACTIONS = (
    ("adjust", "Adjust", "plus-slash-minus"),
    ("grant", "Grant", "gift"),
    ("refund", "Refund", "arrow-counterclockwise"),
    ("tier", "Change tier", "arrow-left-right"),
    ("status", "Freeze", "snow"),
)


# What is told of a user in one row.
ROWS = {
    "summary": ("account_summary", SummaryColumns),
    "forecast": ("forecast", ForecastColumns),
    "subscription": ("get_subscription", SubscriptionColumns),
    "top-up": ("get_auto_top_up", TopUpColumns),
}
# What billing.entry_funding and billing.verify_account tell.
FUNDING = ["grant_no", "source", "amount", "priority", "expires_at"]
FINDINGS = ["user_id", "entry_no", "problem", "detail"]
MODELS = ["model", "calls", "prompt_tokens", "cached_tokens", "completion_tokens", "refused", "amount"]

# Not everybody whom a link names has an account here.
of_account = leading_on("account_not_found", "not_migrated")


class ChartRange(Schema):
    days = Count(load_default=30, validate=OneOf(RANGES))


class LedgerQuery(Days):
    type = Text(validate=OneOf(ENTRY_TYPES, error="There is no such type."))
    reference_id = Text(data_key="reference")


class LedgerPage(LedgerQuery):
    before = Count(validate=INT8)


class UsageQuery(Days):
    bucket = Text(validate=OneOf(BUCKETS), load_default="day")


class NumberedPage(Schema):
    before = Count(validate=INT8)


class UuidPage(Schema):
    before = Id()


class HoldPage(UuidPage):
    all = Text(validate=OneOf(["yes"]))


class HoldFile(Schema):
    active = Text(validate=OneOf(["yes"]))


class EntryQuery(Schema):
    verify = Text(validate=OneOf(["yes"]))


def user_page(template: str, user_id: UUID, *, account: Row | None = None, **values: Any) -> str:
    """A page of a user, with the head and the tabs that all of them have; `account` saves asking for it."""
    return render_template(
        f"panel/{template}.html",
        account=account or call("get_account", user_id=user_id),
        reference=call("get_user_reference", user_id=user_id)["get_user_reference"],
        tier_names={tier["name"]: tier["display_name"] for tier in call_all("list_tiers")},
        tabs=[(url_for(f"panel.{page}", user_id=user_id), label) for page, label in TABS],
        actions=ACTIONS,
        **values,
    )


@bp.get("/users/<uuid:user_id>")
@of_account
def user(user_id: UUID) -> str:
    """What support wants to see first: what is there, how it came to this, and how long it lasts."""
    shown = asked(ChartRange)["days"]
    points = balances(user_id, datetime.now(UTC), shown)
    lots = call_all("list_grants", user_id=user_id)
    entries = call_all("list_entries", user_id=user_id, limit=RECENT)
    # Whole days, as the page of the usage has them.
    to = tomorrow()
    since = to - timedelta(days=shown)
    bucket = "week" if shown > 120 else "day"
    summary = call("account_summary", user_id=user_id)
    return user_page(
        "user",
        user_id,
        account=summary,
        summary=summary,
        reckoning=reckoning(summary),
        disputed=summary["status"] == "frozen" and is_disputed(user_id),
        forecast=call("forecast", user_id=user_id),
        balance_chart=step_chart(points),
        usage=usage_of(user_id, since, to, bucket),
        bucket=bucket,
        usage_from=since.date(),
        usage_to=to.date() - timedelta(days=1),
        lots=lots,
        left=sum(lot["remaining"] for lot in lots),
        entries=entries,
        days=shown,
        ranges=RANGES,
    )


def is_disputed(user_id: UUID) -> bool:
    return any(payment["disputed"] for payment in call_all("list_payments", user_id=user_id))


def reckoning(summary: Row) -> list[tuple[str, Decimal]]:
    """What makes the balance, with its sign: all of it is the balance, and what is nothing is left out."""
    lines = (
        ("Granted", summary["granted_total"]),
        ("Spent", -summary["spent_total"]),
        ("Taken away", -summary["taken_total"]),
        ("Expired", -summary["expired_total"]),
        ("Clawbacks and debt", -summary["recovered_total"]),
    )
    return [(label, amount) for label, amount in lines if amount]


def balances(user_id: UUID, to: datetime, shown: int) -> list[Row]:
    """The balance at as many points as a chart of these days has."""
    since = to - timedelta(days=shown)
    return call_all("balance_history", user_id=user_id, **{"from": since, "to": to}, points=POINTS[shown])


@bp.get("/users/<uuid:user_id>/balance.csv")
def user_balance_csv(user_id: UUID) -> Response:
    """What the chart shows."""
    points = balances(user_id, datetime.now(UTC), asked(ChartRange)["days"])
    return csv_response("balance.csv", list(PointColumns().fields), points)


@bp.get("/users/<uuid:user_id>/lots.csv")
def user_lots_csv(user_id: UUID) -> Response:
    """All lots that there ever were, those that are used up included."""
    lots = call_all("list_grants", user_id=user_id, live_only=False)
    return csv_response("lots.csv", list(LotColumns().fields), lots)


@bp.get(f"/users/<uuid:user_id>/<any({', '.join(map(repr, ROWS))}):name>.csv")
def user_row_csv(user_id: UUID, name: str) -> Response:
    """What is told of a user in one row, such as the subscription."""
    function, columns = ROWS[name]
    return csv_response(f"{name}.csv", list(columns().fields), [call(function, user_id=user_id)])


# The ledger.


@bp.get("/users/<uuid:user_id>/ledger")
@of_account
def user_ledger(user_id: UUID) -> ResponseReturnValue:
    query, errors = filtered(LedgerPage)
    wanted = days(dict(query))
    entries, more = ([], False) if errors else call_page("list_entries", user_id=user_id, limit=SHOWN, **wanted)
    page = user_page(
        "user_ledger",
        user_id,
        entries=entries,
        pages=next_and_first("before", entries[-1]["entry_no"] if more else None),
        query=query,
        errors=errors,
        types=ENTRY_TYPES,
    )
    return page, 422 if errors else 200


@bp.get("/users/<uuid:user_id>/ledger.csv")
def user_ledger_csv(user_id: UUID) -> Response:
    query = days(asked(LedgerQuery))
    entries = all_rows("list_entries", "before", "entry_no", user_id=user_id, **query)
    return csv_response("ledger.csv", list(EntryColumns().fields), entries)


@bp.get("/users/<uuid:user_id>/ledger/<int:entry_no>")
@of_account
def user_entry(user_id: UUID, entry_no: int) -> str:
    """One entry: what paid for it, and whether it is still as it was written."""
    if entry_no + 1 not in range(2, 2**63):
        abort(404)
    found = call_all("list_entries", user_id=user_id, before=entry_no + 1, limit=2)
    if not found or found[0]["entry_no"] != entry_no:
        abort(404, f"The account has no entry {entry_no}.")
    entry = found[0]
    reversible = entry["type"] in REVERSIBLE and entry["amount"] < 0
    reversal = reversal_of(user_id, entry_no) if reversible else None
    wanted = asked(EntryQuery).get("verify") == "yes"
    account = call("get_account", user_id=user_id)
    findings, verified = verify(user_id) if wanted or account["entry_count"] <= VERIFIED_AT_ONCE else ([], None)
    return user_page(
        "user_entry",
        user_id,
        account=account,
        entry=entry,
        before=found[1] if len(found) > 1 else None,
        funding=call_all("entry_funding", user_id=user_id, entry_no=entry_no) if entry["amount"] < 0 else [],
        reversible=reversible and reversal is None,
        reversal=reversal,
        findings=findings,
        verified=verified,
        last_entry=account["entry_count"],
    )


@bp.get("/users/<uuid:user_id>/ledger/<int:entry_no>/funding.csv")
def user_funding_csv(user_id: UUID, entry_no: int) -> Response:
    """What paid for an entry."""
    if entry_no not in range(2**63):
        abort(404)
    return csv_response("funding.csv", FUNDING, call_all("entry_funding", user_id=user_id, entry_no=entry_no))


@bp.get("/users/<uuid:user_id>/findings.csv")
def user_findings_csv(user_id: UUID) -> Response:
    """All that does not verify."""
    return csv_response("findings.csv", FINDINGS, call_all("verify_account", user_id=user_id))


def reversal_of(user_id: UUID, entry_no: int) -> Row | None:
    """The entry that reversed this one; a reversal refers to it by its number."""
    found = call_all("list_entries", user_id=user_id, type="reversal", reference_id=str(entry_no))
    return next((row for row in found if row["reversed_entry_no"] == entry_no), None)


def verify(user_id: UUID) -> tuple[list[Row], str | None]:
    """What is wrong with an account, and how that was found out: "all", or "timeout" when it would take too long."""
    try:
        return call_all("verify_account", user_id=user_id), "all"
    except QueryCanceled:
        return [], "timeout"


# Usage.


@bp.get("/users/<uuid:user_id>/usage")
@of_account
def user_usage(user_id: UUID) -> ResponseReturnValue:
    query, errors = filtered(UsageQuery)
    query.setdefault("bucket", "day")
    first, last = span(query)
    page = user_page(
        "user_usage",
        user_id,
        usage=None if errors else usage_of(user_id, first, last, query["bucket"]),
        query=query,
        errors=errors,
        buckets=BUCKETS,
        first=first,
        shown_to=last - timedelta(days=1),
    )
    return page, 422 if errors else 200


@bp.get("/users/<uuid:user_id>/usage.csv")
def user_usage_csv(user_id: UUID) -> Response:
    query = asked(UsageQuery)
    first, last = span(query)
    buckets = call_all("usage_by", user_id=user_id, **{"from": first, "to": last}, bucket=query["bucket"])
    return csv_response("usage.csv", list(UsageColumns().fields), buckets)


@bp.get("/users/<uuid:user_id>/usage-by-model.csv")
def user_models_csv(user_id: UUID) -> Response:
    query = asked(UsageQuery)
    first, last = span(query)
    buckets = call_all("usage_by", user_id=user_id, **{"from": first, "to": last}, bucket=query["bucket"])
    return csv_response("usage-by-model.csv", MODELS, by_model(buckets))


def span(query: Row) -> tuple[datetime, datetime]:
    """The stretch of time that is asked for; the last 30 days unless told, and never one that ends before it begins."""
    asked_for = days(dict(query))
    last = asked_for.get("to", tomorrow())
    first = asked_for.get("from", last - timedelta(days=30))
    return min(first, last - timedelta(days=1)), last


def tomorrow() -> datetime:
    return midnight(datetime.now(UTC).date()) + timedelta(days=1)


LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": None}
# More bars than this cannot be told apart.
MOST_BARS = 200


def usage_of(user_id: UUID, first: datetime, last: datetime, bucket: str) -> Row | None:
    """What was spent, as a chart where it has not too many bars, and by model; None if it is too much to sum up."""
    try:
        buckets = call_all("usage_by", user_id=user_id, **{"from": first, "to": last}, bucket=bucket)
    except QueryCanceled:
        return None
    length = LENGTHS[bucket]
    chart: Chart | None = None
    if length is not None and (last - first) / length <= MOST_BARS:
        start = midnight(first.date())
        if bucket == "week":
            start -= timedelta(days=start.weekday())
        chart = usage_chart(buckets, start, last, length)
    models = by_model(buckets)
    total = {name: sum(model[name] for model in models) for name in ("calls", "amount", "refused")}
    each = round(total["amount"] / total["calls"], 9) if total["calls"] else None
    return {"chart": chart, "models": models, "total": total, "each": each, "times": by_time(buckets)}


def by_model(buckets: list[Row]) -> list[Row]:
    """What each model cost, the dearest first."""
    models: dict[str | None, Row] = {}
    for row in buckets:
        model = models.setdefault(row["model"], dict.fromkeys(MODELS, 0) | {"model": row["model"]})
        for name in MODELS[1:]:
            model[name] += row[name]
    return sorted(models.values(), key=lambda model: (-model["amount"], model["model"] or ""))


def by_time(buckets: list[Row]) -> list[Row]:
    """What was used in each stretch of time, the latest first, with the models of each, the dearest first."""
    times: dict[datetime, list[Row]] = {}
    for row in buckets:
        times.setdefault(row["bucket"], []).append(row)
    return [
        {"bucket": bucket, "models": by_model(times[bucket])}
        | {name: sum(row[name] for row in times[bucket]) for name in ("calls", "amount", "refused")}
        for bucket in sorted(times, reverse=True)
    ]


# What was paid, what is reserved, what was told and done.


@bp.get("/users/<uuid:user_id>/payments")
@of_account
def user_payments(user_id: UUID) -> str:
    purchases, more = call_page("list_purchases", user_id=user_id, limit=SHOWN)
    payments, more_payments = call_page("list_payments", user_id=user_id, limit=SHOWN)
    refunds, more_refunds = call_page("list_refunds", user_id=user_id, limit=SHOWN)
    return user_page(
        "user_payments",
        user_id,
        purchases=purchases,
        payments=payments,
        refunds=refunds,
        more=more,
        more_payments=more_payments,
        more_refunds=more_refunds,
        subscription=call("get_subscription", user_id=user_id),
        top_up=call("get_auto_top_up", user_id=user_id),
    )


@bp.get("/users/<uuid:user_id>/purchases.csv")
def user_purchases_csv(user_id: UUID) -> Response:
    columns = [name for name in PurchaseColumns().fields if name != "checkout_url"]
    return csv_response("purchases.csv", columns, all_rows("list_purchases", "before", "purchase_id", user_id=user_id))


@bp.get("/users/<uuid:user_id>/payments.csv")
def user_payments_csv(user_id: UUID) -> Response:
    payments = all_rows("list_payments", "before", "payment_intent_id", user_id=user_id)
    return csv_response("payments.csv", list(PaymentColumns().fields), payments)


@bp.get("/users/<uuid:user_id>/refunds.csv")
def user_refunds_csv(user_id: UUID) -> Response:
    refunds = all_rows("list_refunds", "before", "refund_id", user_id=user_id)
    return csv_response("refunds.csv", list(RefundColumns().fields), refunds)


@bp.get("/users/<uuid:user_id>/holds")
@of_account
def user_holds(user_id: UUID) -> str:
    query, _ = filtered(HoldPage)
    every = query.pop("all", None) is not None
    holds, more = call_page("list_holds", user_id=user_id, active_only=not every, limit=SHOWN, **query)
    last = holds[-1]["hold_id"] if more else None
    return user_page("user_holds", user_id, holds=holds, all=every, pages=next_and_first("before", last))


@bp.get("/users/<uuid:user_id>/holds.csv")
def user_holds_csv(user_id: UUID) -> Response:
    """All holds there ever were, or those that are active."""
    active = "active" in asked(HoldFile)
    holds = all_rows("list_holds", "before", "hold_id", user_id=user_id, active_only=active)
    return csv_response("holds.csv", list(HoldColumns().fields), holds)


@bp.get("/users/<uuid:user_id>/events")
@of_account
def user_events(user_id: UUID) -> str:
    events, more = call_page("list_events", user_id=user_id, limit=SHOWN, **filtered(NumberedPage)[0])
    last = events[-1]["event_no"] if more else None
    return user_page("user_events", user_id, events=events, pages=next_and_first("before", last))


@bp.get("/users/<uuid:user_id>/events.csv")
def user_events_csv(user_id: UUID) -> Response:
    events = all_rows("list_events", "before", "event_no", user_id=user_id)
    return csv_response("events.csv", list(EventColumns().fields), events)


@bp.get("/users/<uuid:user_id>/log")
@of_account
def user_log(user_id: UUID) -> str:
    found, more = call_page("list_actions", target_user_id=user_id, limit=SHOWN, **filtered(UuidPage)[0])
    last = found[-1]["action_id"] if more else None
    return user_page("user_log", user_id, log=found, pages=next_and_first("before", last))


@bp.get("/users/<uuid:user_id>/log.csv")
def user_log_csv(user_id: UUID) -> Response:
    return csv_response("log.csv", list(ActionColumns().fields), log_of(user_id))


def log_of(user_id: UUID) -> Iterator[Row]:
    return all_rows("list_actions", "before", "action_id", target_user_id=user_id)
