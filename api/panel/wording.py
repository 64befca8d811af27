"""Actions of admins in words: what a form or a request asks for, and what became of it."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from uuid import UUID

from flask import g, url_for
from markupsafe import Markup

from api.database import Row, call, call_all
from api.display import dollars, money_text, words
from api.json import time_text
from api.names import names
from api.panel.base import bp

# Of a file, so many rows are read before their people are asked for.
TOGETHER = 300
STATUS_WANTED = {
    "active": "Set the account to active",
    "frozen": "Freeze the account",
    "closed": "Close the account",
}
STATUS_TOLD = {
    "active": "The account is active.",
    "frozen": "The account is frozen: nothing can be spent.",
    "closed": "The account is closed: nothing moves.",
}


def action_told(asked: Row) -> str:
    """An action in a few words, as a form or a request has it."""
    amount = asked.get("amount")
    match asked["action"]:
        case "adjust_credits":
            return f"{'Take' if amount < 0 else 'Add'} {money_text(abs(amount))} credits"
        case "admin_grant_credits":
            return f"Grant {money_text(amount)} credits{until(asked.get('expires_at'))}"
        case "request_refund" if asked.get("stripe_refund"):
            both = f", and grant {money_text(amount)} credits" if asked.get("grant_credits") else ""
            return f"Refund ${money_text(amount)} through Stripe{both}"
        case "request_refund":
            return f"Refund {money_text(amount)} credits"
        case "reverse_entry":
            return f"Reverse entry {asked['entry_no']}"
        case "change_tier" if asked.get("from_tier"):
            return f"Change the tier from {tier_name(asked['from_tier'])} to {tier_name(asked['tier'])}"
        case "change_tier":
            return f"Change the tier to {tier_name(asked['tier'])}"
        case "set_account_status":
            return STATUS_WANTED[asked["status"]]
        case "admin_release_hold":
            return "Release the hold"
    return words(asked["action"])


def tiers() -> dict[str, Row]:
    """The tiers by their names, looked up once in a request."""
    if "tiers" not in g:
        g.tiers = {tier["name"]: tier for tier in call_all("list_tiers")}
    return g.tiers


@bp.app_template_global()
def tier_name(name: str) -> str:
    """What a tier is called where it is sold."""
    return tiers()[name]["display_name"] if name in tiers() else name


def outcome(function: str, user_id: UUID, values: Row, result: Row) -> tuple[str, str]:
    """The message after an action, and its tone."""
    if function == "request_refund" and values["stripe_refund"]:
        text, tone = refund_outcome(result["status"], values["amount"], result)
    else:
        text, tone = plain_outcome(function, user_id, values, result), "success"
    if result["replayed"]:
        return f"This was done already, and was not done again. {text}", "info" if tone == "success" else tone
    return text, tone


def where(function: str, user_id: UUID, values: Row, result: Row) -> Markup:
    """A link to what an action has left, if there is more of it than the user's page shows."""
    if result.get("entry_no"):
        page = url_for("panel.user_entry", user_id=user_id, entry_no=result["entry_no"])
        return Markup('<a href="{}">See entry {}</a>').format(page, result["entry_no"])
    if function == "request_refund" and values["stripe_refund"]:
        return Markup('<a href="{}">See the refund</a>').format(url_for("panel.user_payments", user_id=user_id))
    return Markup('<a href="{}">See the admin log</a>').format(url_for("panel.user_log", user_id=user_id))


def plain_outcome(function: str, user_id: UUID, values: Row, result: Row) -> str:
    after = f"The balance is {money_text(result['balance_after'])}."
    match function:
        case "adjust_credits" if values["amount"] < 0:
            return f"Took {money_text(-values['amount'])} credits. {after}"
        case "adjust_credits":
            return f"Added {money_text(values['amount'])} credits. {after}"
        case "admin_grant_credits":
            return f"Granted {money_text(values['amount'])} credits{until(values.get('expires_at'))}. {after}"
        case "request_refund":
            return f"Refunded {money_text(values['amount'])} credits. {after}"
        case "reverse_entry":
            return f"Reversed entry {values['entry_no']}: {money_text(result['amount'])} credits are back. {after}"
        case "set_account_status":
            return STATUS_TOLD[call("get_account", user_id=user_id)["status"]]
        case "change_tier":
            return f"The tier is {tier_name(values['tier'])}. {after}"
    return "Released the hold: its credits are available again."


def refund_outcome(status: str, amount: Decimal, result: Row) -> tuple[str, str]:
    """What became of a refund in money, truthfully: it is back only when Stripe says so."""
    paid = dollars(int(amount * 100))
    match status:
        case "succeeded":
            return f"Refunded {paid} through Stripe.", "success"
        case "requested":
            text = (
                f"The refund of {paid} is recorded, but Stripe cannot be reached: it is tried again until it answers."
            )
            return text, "warning"
        case "failed" | "canceled":
            error = call("get_refund", refund_id=result["refund_id"])["error"]
            why = f": {error.rstrip('.')}" if error else ""
            text = f"Stripe refused the refund of {paid}{why}. No money went back, and the credits are as they were."
            return text, "danger"
        case "requires_action":
            return f"The refund of {paid} waits for the customer: Stripe asks for a bank account.", "warning"
    return f"Stripe has accepted the refund of {paid}; it is pending until the bank has it.", "info"


def until(expires_at: datetime | None) -> str:
    return f" until {expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if expires_at else ""


def with_references(rows: Iterable[Row], *columns: str) -> Iterator[Row]:
    """The rows of a file with what the application calls those whom the columns name."""
    rows = iter(rows)
    while page := list(islice(rows, TOGETHER)):
        known = names(row[column] for row in page for column in columns if row[column] is not None)
        for row in page:
            yield row | {f"{column.removesuffix('_id')}_reference": known.get(row[column]) for column in columns}


def for_input(value: str) -> str:
    """A time as the browser's own field for one takes it."""
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return value
    return time_text(moment.replace(tzinfo=UTC)).removesuffix("Z")[: len("2025-01-15T12:00")]
