"""/billing: a customer's own page. It reads and does what /api/billing/v2 does, through the same functions.

What is paid at Stripe begins with a form, whose answer is a page that goes on to Stripe by itself: a browser holds a
redirect after a form against form-action, and a shop may have its payment pages on any host of its own.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID, uuid4

import psycopg
import stripe
from apiflask import APIBlueprint
from flask import Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from marshmallow import Schema

from api import schemas
from api.billing import all_entries, ledger_page, payments_page, with_account
from api.browser import asked, checked, signed_in_area, with_query
from api.charts import Chart, step_chart, usage_chart
from api.csv import csv_response
from api.database import Row, call, call_all
from api.display import beside_form
from api.errors import Problem, error_name
from api.fields import Amount
from api.json import time_text
from api.payments import (
    begin_checkout,
    begin_purchase,
    change_auto_top_up,
    changed_subscription,
    is_ours,
    portal_url,
)
from api.stripe_client import payments, stripe_client
from api.stripe_work import plain

bp = APIBlueprint("customer", __name__, url_prefix="/billing", enable_openapi=False)
signed_in_area(
    bp,
    "Billing",
    home="overview",
    navigation=(
        ("customer.overview", "Overview", "wallet2"),
        ("customer.history", "History", "clock-history"),
        ("customer.plan", "Plans", "layers"),
    ),
)

# How many days of usage the page shows, at choice.
RANGES = (7, 30, 90)
RECENT, PAGE = 8, 50
# Of the receipts, what stands on the overview, and on a page of their own.
LATEST_RECEIPTS, RECEIPTS = 6, 25
# What one call tells of.
MOST = 500
# Before which there can be one more.
LAST_ENTRY = 2**63 - 2
# What identifies a payment at Stripe.
INTENT = re.compile(r"[A-Za-z0-9_]{1,255}")
# The kinds of entries, in the customer's words.
KINDS = (
    ("usage", "what I used"),
    ("tier_grant", "monthly credits"),
    ("purchase", "what I bought"),
    ("adjustment", "given or taken by support"),
    ("refund", "refunds in credits"),
    ("reversal", "what was returned to me"),
    ("expiry", "what expired"),
    ("clawback", "what went back with a payment"),
    ("debt_repayment", "what repaid a debt"),
    ("trial_grant", "trial credits"),
    ("migration", "what came from the earlier billing"),
)
# How long a call that was refused is told of, and how far back in the ledger the last one is looked for.
REFUSED_DAYS, LOOKED_AT = 7, 200
# What was not priced by tokens.
OTHER_CALLS = "Other calls"
# How long a payment that was begun can be gone on with: Stripe closes its page after a day.
OPEN = timedelta(hours=23)
# What a form can be refused with, and what a customer can do about it: the hints of the database and of Stripe are for
# those who call them.
REFUSALS = (Problem, psycopg.Error, stripe.StripeError)
# What each form asks for.
ASKS = {
    "buy": "Choose a package, or give an amount in dollars, like 12.50.",
    "subscribe": "Choose a plan, and whether it is paid monthly or yearly.",
    "notifications": "Give a number of credits, like 5.",
    "top-up": "Give all three: below how many credits, which package, and how much at most in a month.",
}
TOO_LITTLE = "One package costs more than you allow in a month: allow more, or choose a smaller package."
SAYS = {
    "account_closed": "Your account is closed, so there is nothing to subscribe to.",
    "amount_not_positive": "The amount must be more than nothing.",
    "amount_not_whole_cents": "Money has two decimal places: give whole cents, like 12.50.",
    "amount_too_large": "That is more than an amount can be.",
    "amount_too_precise": "An amount has at most nine decimal places.",
    "change_pending": "A change of your plan is still on its way. Try again when it is done, or take it back first.",
    "checkout_expired": "That payment page has expired. Begin again: nothing was charged.",
    "idempotency_key_reused": "This form was sent before, with another choice. Begin again: nothing was charged.",
    "payment_declined": "Your bank has declined the card, so nothing has changed.",
    "payments_not_configured": "There are no payments here: ask the people who run this.",
    "payments_misconfigured": "Payments do not work at the moment, and nothing was charged. We have been told.",
    "purchase_not_allowed": "Your plan does not sell single credits, or your account is paused.",
    "stripe_unavailable": "Our payment provider cannot be reached. Send it again in a moment: it takes effect once.",
    "subscription_exists": "You have a plan already: change that one instead.",
    "stripe_refused": "Our payment provider does not take this, so nothing has changed. Ask support if it stays so.",
    "subscription_not_found": "You have no plan to change.",
    "tier_not_for_sale": "This plan costs nothing: end the one that you have, and you are on it.",
    "unknown_interval": ASKS["subscribe"],
    "unknown_package": "This package is not sold any more: choose another one.",
    "unknown_tier": "This plan is not sold any more: choose another one.",
}


@bp.before_request
def find_account() -> ResponseReturnValue | None:
    """Open the account at a first visit; a user whom the old system serves gets a page that says so."""
    if "user_id" not in g:
        return None  # They are about to sign in.
    try:
        g.account = with_account(g.user_id, "get_account")
    except psycopg.Error as error:
        if error_name(error) != "not_migrated":
            raise
        return render_template("customer/not_migrated.html", old=call("legacy_check", user_id=g.user_id))
    return None


@bp.get("/")
def with_slash() -> ResponseReturnValue:
    return redirect(url_for(".overview"), 301)


@bp.get("")
def overview() -> ResponseReturnValue:
    return show()


@bp.get("/history")
def history() -> ResponseReturnValue:
    query = asked(schemas.LedgerPage) | {"limit": PAGE}
    page = ledger_page(g.user_id, **query)
    facts = {"type": query.get("type"), "kinds": KINDS, "lots_by_no": lots_of(page["entries"])}
    totals = None if "before" in query or "type" in query else call("account_summary", user_id=g.user_id)
    return render_template("customer/history.html", totals=totals, **facts, **page)


@bp.get("/history.csv")
def history_csv() -> Response:
    columns = list(schemas.LedgerEntry().fields)
    return csv_response("credits.csv", columns, all_entries(g.user_id, **asked(schemas.LedgerFilter)))


@bp.get(f"/history/<int(max={LAST_ENTRY}):entry_no>")
def entry(entry_no: int) -> ResponseReturnValue:
    """One entry, with the credits that paid for it."""
    found = call_all("list_entries", user_id=g.user_id, before=entry_no + 1, limit=1)
    if not found or found[0]["entry_no"] != entry_no:
        raise Problem(404, "entry_not_found", "There is no such entry.")
    funding = call_all("entry_funding", user_id=g.user_id, entry_no=entry_no)
    return render_template("customer/entry.html", entry=found[0], funding=funding, lots_by_no=lots_of(found))


@bp.get("/plan")
def plan() -> ResponseReturnValue:
    """All plans; with a tier, what changing to it would mean."""
    return show_plan(request.args.get("tier"))


@bp.get("/cancel")
def cancellation() -> ResponseReturnValue:
    facts = plan_facts()
    if facts["subscription"]["status"] == "none" or facts["subscription"]["cancel_at_period_end"]:
        return redirect(url_for(".overview"))
    return render_template("customer/cancel.html", **facts)


@bp.get("/<any(buy, subscribe, portal, reactivate, notifications, 'top-up'):form>")
def form_of(form: str) -> ResponseReturnValue:
    """The page with the form, which has what was typed: a session may have ended while somebody filled it in."""
    page = url_for(".plan" if form == "subscribe" else ".overview")
    return redirect(f"{with_query(page, request.args.items(multi=True))}#{form}")


@bp.post("/buy")
def buy() -> ResponseReturnValue:
    """Buy a package, or an amount of credits; the browser goes on to Stripe."""
    try:
        body = filled(schemas.PurchaseRequest)
        chosen = body.get("package") or body.get("amount")
        back = {"success_url": page_url(paid="purchase"), "cancel_url": page_url(left="purchase")}
        purchase = begin_purchase(body | back, idempotency_key=key_of_form(chosen, body["save_card"]))
    except REFUSALS as error:
        return refused("buy", error)
    if purchase["status"] == "paid" or purchase["checkout_url"] is None:
        flash("This payment was made before; it is in your receipts. To buy once more, choose again.", "info")
        return redirect(url_for(".overview", _anchor="buy"), 303)
    return leave(purchase["checkout_url"])


@bp.post("/subscribe")
def subscribe() -> ResponseReturnValue:
    """Begin a plan at Stripe, or change the one that there is."""
    try:
        if call("get_subscription", user_id=g.user_id)["status"] != "none":
            return changed(plan_told, change="tier", **filled(schemas.SubscriptionChange))
        body = filled(schemas.CheckoutRequest)
        back = {"success_url": page_url(paid="plan"), "cancel_url": page_url("plan", left="plan")}
        key = key_of_form(body["tier"], body["interval"])
        checkout = begin_checkout(body | back, idempotency_key=key)
    except REFUSALS as error:
        return refused("subscribe", error)
    if checkout["status"] == "complete" or checkout["checkout_url"] is None:
        return redirect(url_for(".overview", paid="plan"), 303)
    return leave(checkout["checkout_url"])


@bp.post("/cancel")
def cancel() -> ResponseReturnValue:
    try:
        return changed(lambda _: "Your plan ends with the period that is paid.", change="cancel")
    except REFUSALS as error:
        return refused("cancel", error)


@bp.post("/reactivate")
def reactivate() -> ResponseReturnValue:
    try:
        return changed(lambda _: "Your plan goes on.", change="reactivate")
    except REFUSALS as error:
        return refused("reactivate", error)


@bp.post("/portal")
def portal() -> ResponseReturnValue:
    """Go to the customer's own page at Stripe: cards, invoices."""
    try:
        return leave(portal_url({"return_url": page_url()}))
    except REFUSALS as error:
        return refused("portal", error)


@bp.get("/receipts")
def receipts() -> ResponseReturnValue:
    """What was paid, page by page."""
    facts = receipt_facts(**asked(schemas.PaymentsPage) | {"limit": RECEIPTS})
    return render_template("customer/all_receipts.html", stripe=payments().client is not None, **facts)


@bp.get("/receipts/<payment_intent_id>")
def receipt(payment_intent_id: str) -> ResponseReturnValue:
    """Go to Stripe's receipt of a payment, or its invoice; Stripe is asked each time, because its links expire."""
    named = INTENT.fullmatch(payment_intent_id)
    found = call_all("list_payments", user_id=g.user_id, payment_intent_id=payment_intent_id) if named else []
    if not found:
        raise Problem(404, "payment_not_found", "You have no such payment.")
    try:
        url = receipt_url(found[0])
    except REFUSALS as error:
        return refused("receipts", error)
    if url is None:
        flash("Our payment provider keeps no receipt of this payment. Your page there lists all invoices.", "warning")
        return redirect(url_for(".overview", _anchor="receipts"))
    return redirect(url)


@bp.post("/notifications")
def notifications() -> ResponseReturnValue:
    try:
        call("set_low_balance", user_id=g.user_id, low_balance=low_balance())
    except REFUSALS as error:
        return refused("notifications", error)
    flash("Saved: when you are told of a low balance.", "success")
    return redirect(url_for(".overview", _anchor="notifications"), 303)


@bp.post("/top-up")
def top_up() -> ResponseReturnValue:
    try:
        after = change_auto_top_up(filled(schemas.AutoTopUpRequest))
    except REFUSALS as error:
        return refused("top-up", error)
    flash("Automatic top-up is on." if after["enabled"] else "Automatic top-up is off.", "success")
    return redirect(url_for(".overview", _anchor="top-up"), 303)


# How things are written for customers.


@bp.app_template_global()
def on(time: datetime, *, year: bool = True) -> Markup:
    """The day of a time, in UTC, as people write it."""
    utc = time.astimezone(UTC)
    text = f"{utc.day} {utc:%B %Y}" if year else f"{utc.day} {utc:%B}"
    return Markup('<time datetime="{}">{}</time>').format(time_text(utc), text)


@bp.app_template_global()
def at(time: datetime, *, exactly: bool = False) -> Markup:
    """The time of day, in UTC; exactly, with the day and the second."""
    utc = time.astimezone(UTC)
    text = f"{utc.day} {utc:%B %Y, %H:%M:%S}" if exactly else f"{utc:%H:%M}"
    return Markup('<time datetime="{}">{}</time>').format(time_text(utc), text)


@bp.app_template_filter()
def by_day(entries: list[Row]) -> list[tuple[str, list[Row]]]:
    """The entries of each day, in UTC, with its name."""
    days = groupby(entries, lambda entry: entry["created_at"].astimezone(UTC).date())
    return [(day_name(day), list(group)) for day, group in days]


def day_name(day: date) -> str:
    today = datetime.now(UTC).date()
    names = {today: "Today", today - timedelta(days=1): "Yesterday"}
    return names.get(day) or f"{day.day} {day:%B}" + (f" {day.year}" if day.year != today.year else "")


@bp.app_template_filter()
def next_first(time: datetime) -> datetime:
    """When a month begins from a time on, in UTC: then monthly credits come."""
    utc = time.astimezone(UTC)
    begins = utc.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return utc if utc == begins else (begins + timedelta(days=31)).replace(day=1)


@bp.app_template_global()
def month_text(period: str | None) -> str:
    """A period of grants: 2025-01 is January 2025."""
    try:
        return f"{datetime.strptime(period or '', '%Y-%m'):%B %Y}"
    except ValueError:
        return period or ""


@bp.app_template_global()
def days_text(days: Decimal) -> str:
    """A number of days that nobody takes for exact."""
    if days < 1:
        return "Less than a day"
    if days < 60:
        return "About a day" if days < 2 else f"About {int(days)} days"
    return f"About {int(days / 30)} months" if days < 730 else f"About {int(days / 365)} years"


@bp.app_template_filter()
def rough(amount: Decimal) -> str:
    """An amount that is an estimate: two places, or the first digit that says something."""
    if amount >= Decimal("0.01"):
        return f"{amount:,.2f}"
    return "less than 0.01" if amount > 0 else "0"


@bp.app_template_filter()
def brief(text: str) -> str:
    """An amount without the places of a whole number: 1,005 for 1,005.00."""
    return text.removesuffix(".00")


@bp.app_template_filter()
def plain_amount(amount: Decimal | None) -> str:
    """An amount as it is typed."""
    return "" if amount is None else format(amount.normalize(), "f")


# What the pages show.


def show(status: int = 200, **members: Any) -> ResponseReturnValue:
    bought = buying_facts()
    if bought["paid"]:
        # What is said to have arrived must be in the numbers beside it: they are read after it.
        g.account = call("get_account", user_id=g.user_id)
    facts = plan_facts() | account_facts(g.account) | bought | members
    return render_template("customer/overview.html", **facts), status


def account_facts(account: Row) -> Row:
    """What there is, what was used, and what happened last."""
    user_id, now = account["user_id"], datetime.now(UTC)
    days = request.args.get("days", type=int)
    days = days if days in RANGES else 30
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    entries = call_all("list_entries", user_id=user_id, limit=RECENT)
    lots = alike(call_all("list_grants", user_id=user_id))
    return {
        "forecast": call("forecast", user_id=user_id),
        "lots": lots,
        "lot_parts": parts([lot["remaining"] for lot in lots]),
        "balance_chart": balance_chart(account, now),
        "entries": entries,
        "lots_by_no": lots_of(entries),
        "days": days,
        "ranges": RANGES,
    } | usage_facts(user_id, tomorrow - timedelta(days=days), tomorrow)


def balance_chart(account: Row, now: datetime) -> Chart | None:
    """The credits of the last 30 days; None for an account that has no history yet."""
    first = max(account["created_at"], now - timedelta(days=30))
    if now - first < timedelta(days=1):
        return None
    span = {"from": first, "to": now, "points": 60}
    points = call_all("balance_history", user_id=account["user_id"], **span)
    return step_chart(points) if any(point["balance"] for point in points) else None


def usage_facts(user_id: UUID, first: datetime, last: datetime) -> Row:
    """What was used, by day and by model, and what was refused; nothing where there is too much to sum it up."""
    try:
        buckets = call_all("usage_by", user_id=user_id, **{"from": first, "to": last, "bucket": "day"})
    except psycopg.errors.QueryCanceled:
        return {"models": None, "refusals": None}
    used = [bucket | {"model": bucket["model"] or OTHER_CALLS} for bucket in buckets if bucket["calls"]]
    return {
        "models": usage_by_model(used),
        "usage_chart": usage_chart(used, first, last, timedelta(days=1)),
        "refusals": refusals_of(user_id, buckets, last - timedelta(days=REFUSED_DAYS)),
    }


def buying_facts() -> Row:
    """What can be bought, what was paid, and what is charged and told by itself."""
    user_id = g.user_id
    packages = call_all("list_packages")
    newest = next(iter(call_all("list_purchases", user_id=user_id, limit=1)), None)
    # Who comes from paying has paid, though the word of it may not be here yet.
    paid = request.args.get("paid")
    waiting = newest if newest and newest["status"] == "open" and is_open(newest) and paid != "purchase" else None
    return {
        "packages": packages,
        "package_options": [(each["name"], f"{plain_amount(each['amount'])} credits") for each in packages],
        "disputed": disputed_payment(user_id) if g.account["status"] == "frozen" else None,
        "newest": newest,
        "waiting": waiting,
        "refunds": [
            refund
            for refund in call_all("list_refunds", user_id=user_id, limit=20)
            if refund["amount_cents"] and refund["status"] in ("requested", "pending", "requires_action")
        ],
        "top_up": call("get_auto_top_up", user_id=user_id),
        "notifications": call("get_notifications", user_id=user_id),
        "paid": paid,
        "left": request.args.get("left"),
        # How often the page of who has just paid has looked by itself whether the word of it has come.
        "looked": request.args.get("looked", 0, type=int),
        "key": key_for_form(),
        "typed": request.values,
    } | receipt_facts(limit=LATEST_RECEIPTS)


def receipt_facts(**query: Any) -> Row:
    """A page of payments, and which of them were automatic top-ups."""
    page = payments_page(g.user_id, **query)
    bought = [payment["purchase_id"] for payment in page["payments"] if payment["purchase_id"]]
    if not bought:
        return page | {"automatic": set()}
    # The ids of purchases are in the order of time: those of a page stand close to each other.
    before = UUID(int=max(each.int for each in bought) + 1)
    around = call_all("list_purchases", user_id=g.user_id, before=before, limit=MOST)
    return page | {"automatic": {each["purchase_id"] for each in around if each["kind"] == "auto_top_up"}}


def disputed_payment(user_id: UUID) -> Row | None:
    """The latest payment that a bank is asked to give back."""
    return next((each for each in call_all("list_payments", user_id=user_id) if each["disputed"]), None)


def plan_facts() -> Row:
    """The customer's plan, and all there are."""
    tiers = call_all("list_tiers")
    subscription = call("get_subscription", user_id=g.user_id)
    return {
        "account": g.account,
        "months": 12 if subscription["billing_interval"] == "year" else 1,
        "tiers": tiers,
        "tier": next(tier for tier in tiers if tier["name"] == g.account["tier"]),
        # An admin may have put the customer on another plan than the one that is paid for.
        "paid_tier": next(tier for tier in tiers if tier["name"] == subscription["tier"]),
        "names": {tier["name"]: tier["display_name"] for tier in tiers},
        "subscription": subscription,
        "stripe": payments().client is not None,
        "buyers": [tier for tier in tiers if tier["can_purchase_credits"]],
    }


def show_plan(wanted: str | None, status: int = 200, **members: Any) -> ResponseReturnValue:
    facts = plan_facts()
    chosen = next((tier for tier in facts["tiers"] if tier["name"] == wanted), None)
    if facts["subscription"]["status"] == "none":
        chosen = None
    moves = moves_from(facts)
    page = render_template("customer/plan.html", chosen=chosen, moves=moves, key=key_for_form(), **facts, **members)
    return page, status


def moves_from(facts: Row) -> dict[str, Row]:
    """What going to each plan is, and the credits that it brings at once; None of them where nobody can say yet.

    What is overdue brings none until it is paid.
    """
    subscription, granted = facts["subscription"], granted_this_month(g.user_id)
    present = facts["tier" if subscription["status"] == "none" else "paid_tier"]
    waits = subscription["status"] in ("past_due", "unpaid", "paused")
    return {
        tier["name"]: {
            "up": tier["rank"] > present["rank"],
            "waits": waits,
            "at_once": None if granted is None or waits else max(Decimal(0), tier["monthly_credits"] - granted),
        }
        for tier in facts["tiers"]
        if tier["name"] != present["name"]
    }


def granted_this_month(user_id: UUID) -> Decimal | None:
    """The monthly credits of this month that have come; None in the month in which a user was migrated with some."""
    month = f"{datetime.now(UTC):%Y-%m}"
    migration = call("get_migration", user_id=user_id)
    if migration["status"] == "migrated" and f"{migration['migrated_at'].astimezone(UTC):%Y-%m}" == month:
        return None
    lots = call_all("list_grants", user_id=user_id, live_only=False)
    of_month = (lot["amount"] for lot in lots if (lot["source"], lot["reference_id"]) == ("tier_grant", month))
    return sum(of_month, Decimal(0))


def alike(lots: list[Row]) -> list[Row]:
    """The lots in burn order, as one where neighbours come from the same source and expire together."""
    found = []
    for _, group in groupby(lots, lambda lot: (lot["source"], lot["expires_at"])):
        same = list(group)
        found.append(same[0] | {name: sum(lot[name] for lot in same) for name in ("remaining", "amount")})
    return found


def parts(amounts: list[Decimal]) -> list[tuple[str, str]]:
    """Where each amount begins and how wide it is in a bar of them all, in per cent."""
    whole, begins, found = sum(amounts, Decimal(0)), Decimal(0), []
    for amount in amounts:
        found.append((f"{begins:.2f}%", f"{amount / whole * 100:.2f}%"))
        begins += amount / whole * 100
    return found


def usage_by_model(buckets: list[Row]) -> list[Row]:
    """What was spent on each model, the most first."""
    models: dict[str, Row] = {}
    for bucket in buckets:
        model = models.setdefault(bucket["model"], {"model": bucket["model"], "calls": 0, "amount": Decimal(0)})
        model["calls"] += bucket["calls"]
        model["amount"] += bucket["amount"]
    return sorted(models.values(), key=lambda model: -model["amount"])


def refusals_of(user_id: UUID, buckets: list[Row], since: datetime) -> Row | None:
    """How many calls were refused of late, and the last one of them, if it is not too far back; None without any."""
    count = sum(bucket["refused"] for bucket in buckets if bucket["bucket"] >= since)
    if count == 0:
        return None
    entries = call_all("list_entries", user_id=user_id, type="usage", limit=LOOKED_AT)
    return {"count": count, "last": next((each for each in entries if each["amount"] == 0), None)}


def lots_of(entries: list[Row]) -> dict[int, Row]:
    """The lots that the entries took from, by number."""
    if all(each["grant_no"] is None for each in entries):
        return {}
    return {lot["grant_no"]: lot for lot in call_all("list_grants", user_id=g.user_id, live_only=False)}


def is_open(purchase: Row) -> bool:
    return purchase["checkout_url"] is not None and datetime.now(UTC) - purchase["created_at"] < OPEN


# Steps of the above.


def filled(schema: type[Schema]) -> Row:
    """What was filled in, read as the same members of a JSON body are; raises Problem 400."""
    values, errors = checked(schema, request.form)
    if errors:
        raise Problem(400, "invalid_request", next(iter(errors.values()))[0], errors=errors)
    return values


def low_balance() -> Decimal | None:
    """Below which balance the customer wants to be told: 0 is never, None what everybody has; raises Problem 400."""
    match request.form.get("tell"):
        case "never":
            return Decimal(0)
        case "default" if not typed_below():
            return None
    given = filled(schemas.NotificationsChange)["low_balance"]
    if given is None:
        raise Problem(400, "invalid_request", ASKS["notifications"])
    return given


def typed_below() -> bool:
    """Whether a number was typed where none stood: who types one means it, whichever choice is marked."""
    shown = call("get_notifications", user_id=g.user_id)
    return bool(request.form.get("low_balance", "").strip()) and (shown["is_default"] or shown["low_balance"] == 0)


def key_for_form() -> str:
    """The key of the form on a page; a form that was sent before a session ended comes back with its own."""
    return request.args.get("key") or str(uuid4())


def key_of_form(*choice: Any) -> str | None:
    """The key of what is sent: the form's, and what was chosen, so that going back and choosing anew begins anew."""
    key = re.sub(r"[^0-9A-Za-z-]", "", request.form.get("key", ""))
    return ":".join([key[:64], *map(str, choice)])[:200] if key else None


def refused(form: str, error: Exception) -> ResponseReturnValue:
    """The page again, with the reason at its form; what nobody could foresee is raised on."""
    problem = beside_form(error)
    code = problem.document["code"]
    if code == "not_migrated":
        raise error
    reason = reason_of(form, code, problem.document["detail"] or problem.document["title"])
    if form in ("subscribe", "cancel", "reactivate"):
        return show_plan(request.form.get("tier"), problem.status, refusal=reason)
    # What may have happened all the same is sent again under its key.
    key = {"key": request.form["key"]} if problem.status == 503 and "key" in request.form else {}
    return show(problem.status, refusal={"form": form, "reason": reason}, **key)


def reason_of(form: str, code: str, detail: str) -> str:
    """Why a form was refused, in a customer's words."""
    if code == "invalid_request":
        return detail if detail == Amount.default_error_messages["invalid"] else ASKS.get(form, detail)
    if code == "amount_out_of_range" and form == "top-up":
        return TOO_LITTLE
    if code == "payment_declined":
        # Of a card, Stripe's words are for those whose card it is.
        return f"{SAYS[code]} {detail}"
    return SAYS.get(code, detail)


def changed(told: Callable[[Row], str], **change: Any) -> ResponseReturnValue:
    """Change the subscription, and tell how it stands; or that it is on its way, while Stripe cannot be reached."""
    after, status = changed_subscription(**change)
    if status == 202:
        flash("The change of your plan is on its way.", "info")
    else:
        flash(told(after), "success")
    return redirect(url_for(".overview", _anchor="plan"), 303)


def plan_told(subscription: Row) -> str:
    """Which plan it is, or will be."""
    names = {tier["name"]: tier["display_name"] for tier in call_all("list_tiers")}
    present = names[subscription["tier"]]
    if subscription["next_tier"] is None:
        return f"Your plan is {present}."
    until = on(subscription["current_period_end"]).striptags()
    return f"You keep {present} until {until}, and are on {names[subscription['next_tier']]} from then on."


def page_url(path: str = "", **query: str) -> str:
    """Where Stripe sends the customer back to: this page, as it was reached if that is an origin of ours."""
    endpoint = f".{path}" if path else ".overview"
    here = url_for(endpoint, _external=True, **query)
    return here if is_ours(here) else payments().app_url + url_for(endpoint, **query)


def leave(url: str) -> ResponseReturnValue:
    return render_template("customer/leave.html", url=url)


def receipt_url(payment: Row) -> str | None:
    """Where Stripe shows the receipt of what was bought, or the invoice of a subscription; None if there is neither."""
    v1, intent_id = stripe_client().v1, payment["payment_intent_id"]
    if payment["purchase_id"] is None:
        params: Any = {"payment": {"type": "payment_intent", "payment_intent": intent_id}, "limit": 1}
        for found in v1.invoice_payments.list(params).data:
            return plain(v1.invoices.retrieve(found.invoice)).get("hosted_invoice_url")
    intent = plain(v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]}))
    return (intent.get("latest_charge") or {}).get("receipt_url")
