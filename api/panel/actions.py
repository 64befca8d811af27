"""/admin/users/<user_id>/actions/<slug>: a form, a preview of what it would do, and then it is done, once.

The key of the action is made with the form and travels with it, so that the database knows what is sent twice. What the
preview showed travels too: what would have another effect by now is shown again instead of done.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import psycopg
import stripe
from flask import abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from marshmallow import Schema as AnySchema
from marshmallow.validate import Length

from api import admin_actions
from api.browser import checked
from api.database import Row, call, call_all, call_page
from api.display import MINUS, action_words, refusal
from api.errors import Problem
from api.fields import INT8, Amount, Count, Flag, Id, Schema, Text, Time, is_storable
from api.json import dumps
from api.panel.advice import leading_on, told_here, would_refuse
from api.panel.base import READ, bp
from api.panel.wording import action_told, for_input, outcome, tiers, where

KEY_LENGTH = 200
# How many payments or holds a form lets choose from; of an older one the id is typed.
CHOICES = READ
# The latest actions of an admin on a user, among which one that is sent twice is looked for.
REMEMBERED = 20
# What of a preview is compared when it is confirmed: usage may move the balance meanwhile, but not the effect.
EFFECTS = ("success", "reason", "amount", "tier_after", "status_before", "status_after", "clawed", "spent", "owed")
MOVED = ("balance", "held", "debt")
# The field of a form that an error is about.
FIELDS = {
    "reason_required": "reason",
    "amount_zero": "amount",
    "amount_not_positive": "amount",
    "amount_not_whole_cents": "amount",
    "amount_too_large": "amount",
    "amount_too_precise": "amount",
    "insufficient_credits": "amount",
    "refund_exceeds_payment": "amount",
    "admin_limit_exceeded": "amount",
    "expiry_not_ahead": "expires_at",
    "entry_not_found": "entry_no",
    "entry_not_reversible": "entry_no",
    "already_reversed": "entry_no",
    "payment_not_found": "payment_intent_id",
    "payment_disputed": "payment_intent_id",
    "unknown_tier": "tier",
    "unknown_status": "status",
    "account_has_holds": "status",
    "dispute_open": "status",
    "hold_not_found": "hold_id",
    "hold_not_active": "hold_id",
}
# What is typed instead of what a field lets choose from.
OTHERS = {"other_payment": "payment_intent_id", "other_hold": "hold_id"}
# How many open requests are counted, on every page: as many as make a difference to who sees the number.
MANY = 10
NEEDED = "Missing data for required field."


class Reasoned(Schema):
    reason = Text(
        required=True, validate=Length(max=2000, error="At most 2000 characters."),
        error_messages={"required": "Say in a few words why; it is kept in the admin log."},
    )  # fmt: skip


class AdjustForm(Reasoned):
    amount = Amount(required=True)


class GrantForm(Reasoned):
    amount = Amount(required=True)
    expires_at = Time()


class RefundForm(Reasoned):
    amount = Amount(required=True)
    stripe_refund = Flag(load_default=False)
    payment_intent_id = Text()
    grant_credits = Flag(load_default=False)
    owe_spent = Flag(load_default=False)


class ReverseForm(Reasoned):
    entry_no = Count(validate=INT8, required=True)


class StatusForm(Reasoned):
    status = Text(required=True)


class TierForm(Reasoned):
    tier = Text(required=True)


class ReleaseForm(Reasoned):
    hold_id = Id(required=True)


@dataclass(frozen=True)
class Action:
    """One kind of form: the function of the SQL API that it calls, and how it is called on the pages."""

    function: str
    title: str
    subtitle: str
    schema: type[AnySchema]


ACTIONS = {
    "adjust": Action("adjust_credits", "Adjust credits", "Add credits, or take some away.", AdjustForm),
    "grant": Action("admin_grant_credits", "Grant credits", "Credits as a gift, which may expire.", GrantForm),
    "refund": Action("request_refund", "Refund", "In credits, or in money through Stripe.", RefundForm),
    "reverse": Action("reverse_entry", "Reverse an entry", "What it took goes back to its lots.", ReverseForm),
    "status": Action("set_account_status", "Change status", "Freeze, unfreeze or close the account.", StatusForm),
    "tier": Action("change_tier", "Change tier", "Without a subscription, and without a payment.", TierForm),
    "release-hold": Action("admin_release_hold", "Release a hold", "For a call that will not end.", ReleaseForm),
}
FUNCTIONS = {action.function: slug for slug, action in ACTIONS.items()}


@bp.context_processor
def shared() -> dict[str, Any]:
    """What the templates of the panel know besides."""
    return {"nav_badge": nav_badge, "action_told": action_told, "for_input": for_input}


def nav_badge(endpoint: str) -> str:
    """What stands beside an entry of the navigation: how many requests wait for an admin."""
    if endpoint != "panel.approvals":
        return ""
    if "waiting" not in g:
        g.waiting = len(call_all("list_approvals", status="open", limit=MANY))
    return f"{MANY - 1}+" if g.waiting == MANY else str(g.waiting or "")


@bp.route("/users/<uuid:user_id>/actions/<slug>", methods=["GET", "POST"])
@leading_on("account_not_found", "not_migrated")
def action(user_id: UUID, slug: str) -> ResponseReturnValue:
    if slug not in ACTIONS:
        abort(404)
    if request.method != "POST":
        return form_page(user_id, slug, prefilled(slug), request.args.get("idempotency_key"))
    step = request.form.get("step", "preview")
    fields, key = typed(), request.form.get("idempotency_key")
    values, errors = read(slug, fields)
    if step == "edit":
        return form_page(user_id, slug, fields, key)
    if errors:
        return form_page(user_id, slug, fields, key, errors=errors), 422
    doing: dict[str, Callable[[], ResponseReturnValue]] = {
        "confirm": lambda: confirm(user_id, slug, fields, values, key_of(key)),
        "request": lambda: ask(user_id, slug, values, key_of(key)),
    }
    try:
        return doing.get(step, lambda: preview(user_id, slug, fields, values, key_of(key)))()
    except (psycopg.Error, stripe.StripeError, Problem) as error:
        return refused(user_id, slug, fields, key, told_here(error, user_id))


# What was typed.


def prefilled(slug: str) -> Row:
    """What a link, or the form before the session ended, has filled in."""
    fields = {name: request.args[name] for name in ACTIONS[slug].schema().fields if name in request.args}
    if slug == "refund" and "payment_intent_id" in fields:
        fields.setdefault("stripe_refund", "true")
    for other, name in OTHERS.items():
        if value := request.args.get(other):
            fields[name] = value
    return fields


def typed() -> Row:
    """The form, with what people write and copy made into what it means."""
    fields = {name: value.strip() for name, value in request.form.items()}
    if "amount" in fields:
        fields["amount"] = fields["amount"].replace(MINUS, "-").removeprefix("+")
    for other, name in OTHERS.items():
        if value := fields.pop(other, ""):
            fields[name] = value
    if fields.get("stripe_refund") == "false":
        # They are hidden, but still there.
        for name in ("payment_intent_id", "grant_credits", "owe_spent"):
            fields.pop(name, None)
    return fields


def read(slug: str, fields: Row) -> tuple[Row, dict[str, list[str]]]:
    """The arguments of the action, and what is wrong with which field."""
    values, errors = checked(ACTIONS[slug].schema, fields)
    if values.get("stripe_refund") and "payment_intent_id" not in values:
        errors["payment_intent_id"] = ["Money goes back to a payment: say which."]
    return values, readable(errors)


def readable(errors: dict[str, list[str]]) -> dict[str, list[str]]:
    """What is wrong with the fields of a form, for people."""
    return {name: ["This is needed." if text == NEEDED else text for text in texts] for name, texts in errors.items()}


def key_of(given: str | None) -> str:
    """The key that came with a form; one that no form of ours has made is replaced."""
    return given if given and len(given) <= KEY_LENGTH and is_storable(given) else str(uuid4())


def arguments_of(values: Row) -> Row:
    """What the preview is asked with: the action without its reason."""
    return {name: value for name, value in values.items() if name != "reason"}


# The pages.


def form_page(
    user_id: UUID,
    slug: str,
    fields: Row,
    key: str | None,
    *,
    errors: dict[str, list[str]] | None = None,
    problem: Row | None = None,
) -> str:
    return render_template(
        "panel/action.html",
        **about(user_id, slug),
        **choices(user_id, slug, fields),
        fields=fields,
        key=key_of(key),
        errors=errors or {},
        problem=problem,
    )


def about(user_id: UUID, slug: str) -> Row:
    """What every page of an action shows of the user, and of the admin."""
    return {
        "slug": slug,
        "action": ACTIONS[slug],
        "account": call("get_account", user_id=user_id),
        "reference": call("get_user_reference", user_id=user_id)["get_user_reference"],
        "limits": call("get_admin", user_id=g.user_id),
        "tiers": tiers(),
    }


def choices(user_id: UUID, slug: str, fields: Row) -> Row:
    """What a form lets choose from."""
    if slug == "refund":
        payments, more = call_page("list_payments", limit=CHOICES, user_id=user_id)
        known = [payment["payment_intent_id"] for payment in payments]
        wanted = fields.get("payment_intent_id", "")
        return {"payments": payments, "more": more, "other_payment": wanted if wanted not in known else ""}
    if slug == "release-hold":
        holds, more = call_page("list_holds", limit=CHOICES, user_id=user_id, active_only=True)
        return {"holds": holds, "more": more}
    if slug == "reverse":
        return {"entry": entry_of(user_id, fields.get("entry_no", ""))}
    return {}


def entry_of(user_id: UUID, entry_no: str) -> Row | None:
    values, errors = checked(ReverseForm, {"entry_no": entry_no, "reason": "shown"})
    if errors or not 0 < values["entry_no"] < 2**63 - 1:
        return None
    found = call_all("list_entries", user_id=user_id, before=values["entry_no"] + 1, limit=1)
    return found[0] if found and found[0]["entry_no"] == values["entry_no"] else None


def preview(user_id: UUID, slug: str, fields: Row, values: Row, key: str) -> ResponseReturnValue:
    function = ACTIONS[slug].function
    done = done_under(user_id, key)
    if function in done:
        # The key belongs to what was done: the function only tells what that was.
        return told_done(function, user_id, values, call_keyed(function, user_id, values, key))
    if "request_approval" in done:
        return ask(user_id, slug, values, key)
    shown = admin_actions.preview(g.user_id, user_id, action=function, **arguments_of(values))
    if not shown["success"] and not shown["can_request"]:
        raise would_refuse(shown) or Problem(500, "internal_error")
    return preview_page(user_id, slug, fields, values, key, shown)


def preview_page(
    user_id: UUID, slug: str, fields: Row, values: Row, key: str, shown: Row, *, since: Row | None = None
) -> str:
    """`since` is set when it was to be confirmed and is not as it was any more: what an admin did, if that is why."""
    function = ACTIONS[slug].function
    hindrance = would_refuse(shown)
    return render_template(
        "panel/action_preview.html",
        **about(user_id, slug),
        shown=shown,
        hindrance=hindrance and hindrance.document["detail"],
        told=action_told(values | {"action": function, "from_tier": shown["tier_before"]}),
        values=values,
        kept={name: fields[name] for name in ACTIONS[slug].schema().fields if name in fields},
        key=key,
        seen=seen_of(user_id, shown),
        since=since,
        entry=entry_of(user_id, str(values["entry_no"])) if slug == "reverse" else None,
    )


def refused(user_id: UUID, slug: str, fields: Row, key: str | None, problem: Problem) -> ResponseReturnValue:
    """The form again, with what was typed, and what is wrong at the field that it is about."""
    document = problem.document
    code = document["code"]
    if code == "idempotency_key_reused":
        # What was sent before is done; this is something else, and needs a key of its own.
        key = None
        document |= {
            "title": "This form was sent before with other values",
            "detail": "What was sent then is done, or asked for. If this is to be done besides, go on.",
            "hint": Markup('<a href="{}">See what was done</a>').format(url_for("panel.user_log", user_id=user_id)),
        }
    field = FIELDS.get(code)
    if field in ACTIONS[slug].schema().fields:
        texts = [text for text in (document["detail"], document["hint"]) if text]
        return form_page(user_id, slug, fields, key, errors={field: texts}), problem.status
    return form_page(user_id, slug, fields, key, problem=document), problem.status


# What is done.


def confirm(user_id: UUID, slug: str, fields: Row, values: Row, key: str) -> ResponseReturnValue:
    """Do it, unless its effect would be another than the one that was shown; what was done under the key stays done."""
    function = ACTIONS[slug].function
    shown: Row | None = None
    error: psycopg.Error | None = None
    try:
        shown = admin_actions.preview_known(g.user_id, user_id, action=function, **arguments_of(values))
    except psycopg.Error as raised:
        error = raised
    seen = request.form.get("seen", "")
    stale = shown is None or seen_of(user_id, shown) != seen
    # Asked last: what an earlier click has changed by then is known to be its doing.
    if stale and function not in done_under(user_id, key):
        if shown is None:
            raise error or Problem(500, "internal_error")
        if not shown["success"] and not shown["can_request"]:
            raise would_refuse(shown) or Problem(500, "internal_error")
        since = done_since(user_id, seen)
        return preview_page(user_id, slug, fields, values, key, shown, since=since), 409
    result = perform(function, user_id, values, key)
    if problem := refusal(result):
        raise problem
    return told_done(function, user_id, values, result)


def perform(function: str, user_id: UUID, values: Row, key: str) -> Row:
    if function == "request_refund":
        return admin_actions.refund(g.user_id, user_id, **values, idempotency_key=key)
    return call_keyed(function, user_id, values, key)


def call_keyed(function: str, user_id: UUID, values: Row, key: str) -> Row:
    return call(function, actor=g.user_id, user_id=user_id, **values, idempotency_key=key)


def told_done(function: str, user_id: UUID, values: Row, result: Row) -> ResponseReturnValue:
    """The user's page, with what was done and where it is to be seen."""
    text, tone = outcome(function, user_id, values, result)
    flash(Markup(" ").join(filter(None, (text, where(function, user_id, values, result)))), tone)
    return redirect(url_for("panel.user", user_id=user_id), 303)


def ask(user_id: UUID, slug: str, values: Row, key: str) -> ResponseReturnValue:
    """Ask another admin for it."""
    asked = admin_actions.request_approval(
        g.user_id, user_id, action=ACTIONS[slug].function, **values, idempotency_key=key
    )
    if problem := refusal(asked):
        raise problem
    if asked["replayed"]:
        flash("This has been asked for already; it was not asked for again.", "info")
    else:
        flash("Asked for approval. Another admin decides.", "success")
    return redirect(url_for("panel.approval", approval_id=asked["approval_id"]), 303)


def done_under(user_id: UUID, key: str) -> list[str]:
    """The functions that have done something to the user for the admin under the key."""
    latest = call_all("list_actions", target_user_id=user_id, admin_user_id=g.user_id, refused=False, limit=REMEMBERED)
    return [row["action"] for row in latest if (row["details"] or {}).get("idempotency_key") == key]


def seen_of(user_id: UUID, shown: Row) -> str:
    """A print of the effect that a preview shows, and the last thing that an admin had done to the user by then.

    Usage goes on all the time and changes the balance, not the effect; what another admin has done meanwhile may have
    been the same.
    """
    effect = [shown[name] for name in EFFECTS]
    effect += [(shown[f"{name}_after"] or Decimal()) - (shown[f"{name}_before"] or Decimal()) for name in MOVED]
    exact = [value.normalize() if isinstance(value, Decimal) else value for value in effect]
    return f"{sha256(dumps(exact).encode()).hexdigest()} {latest_action(user_id).get('action_id', '')}"


def done_since(user_id: UUID, seen: str) -> Row:
    """What an admin has done to the user since, if anything."""
    latest = latest_action(user_id)
    if str(latest.get("action_id", "")) == seen.partition(" ")[2]:
        return {}
    return latest | {"told": action_words(latest["action"])}


def latest_action(user_id: UUID) -> Row:
    found = call_all("list_actions", target_user_id=user_id, refused=False, limit=1)
    return found[0] if found else {}
