"""How amounts, times and errors are shown on pages: exact, and easy to read."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import stripe
from flask import Flask, g
from markupsafe import Markup, escape

from api.errors import REASONS, Problem, database_problem, error_name, logged_stripe_problem
from api.json import dumps, time_text

MINUS = "\N{MINUS SIGN}"
NOTHING = Markup('<span class="text-body-tertiary">\N{EN DASH}</span>')
# Of an amount, what is always shown of it; further places are there, but muted.
PLACES = 2
STEPS = ((365 * 86400, "year"), (30 * 86400, "month"), (86400, "day"), (3600, "h"), (60, "min"))
# Of a JSON object, what stands in a table; the rest is a click away.
LONGEST_LINE = 110

# What admins do, by the function that does it: what is said of it when it is done, and when it is refused.
ACTIONS = {
    "adjust_credits": ("Adjusted credits", "Adjust credits"),
    "admin_grant_credits": ("Granted credits", "Grant credits"),
    "reverse_entry": ("Reversed an entry", "Reverse an entry"),
    "request_refund": ("Refunded", "Refund"),
    "change_tier": ("Changed the tier", "Change the tier"),
    "set_account_status": ("Changed the status", "Change the status"),
    "admin_release_hold": ("Released a hold", "Release a hold"),
    "request_approval": ("Asked for approval", "Ask for approval"),
    "approve_request": ("Approved a request", "Approve a request"),
    "decline_request": ("Declined a request", "Decline a request"),
    "withdraw_request": ("Withdrew a request", "Withdraw a request"),
    "begin_bulk_grant": ("Began a bulk grant", "Begin a bulk grant"),
    "run_bulk_grant": ("Ran a bulk grant", "Run a bulk grant"),
    "retry_bulk_grant": ("Tried refused rows again", "Try refused rows again"),
    "stop_bulk_grant": ("Stopped a bulk grant", "Stop a bulk grant"),
    "set_user_role": ("Changed a role", "Change a role"),
    "bootstrap_super_admin": ("Made the first super admin", "Make the first super admin"),
    "change_config": ("Changed the configuration", "Change the configuration"),
    "apply_config": ("Applied the configuration", "Apply the configuration"),
}
JSON_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
# What PostgreSQL writes as a clock has it, of a length of time.
CLOCK = re.compile(r"(-?\d+):(\d\d):(\d\d(?:\.\d+)?)")


def amount_parts(value: Decimal | int) -> tuple[str, str, str]:
    """The sign, the amount to two places with commas, and the further places that it has."""
    text = format(Decimal(value).copy_abs(), "f")
    whole, _, places = text.partition(".")
    places = places.rstrip("0").ljust(PLACES, "0")
    return MINUS if value < 0 else "", f"{int(whole):,}.{places[:PLACES]}", places[PLACES:]


def money(value: Decimal | int | None, *, signed: bool = False) -> Markup:
    """Credits with all their digits; `signed` writes the plus of a positive amount, and colours both."""
    if value is None:
        return NOTHING
    sign, shown, further = amount_parts(value)
    way = ""
    if signed and value != 0:
        way = " money-out" if value < 0 else " money-in"
        sign = sign or "+"
    rest = Markup('<span class="money-rest">{}</span>').format(further) if further else ""
    return Markup('<span class="money{}">{}{}{}</span>').format(way, sign, shown, rest)


def money_text(value: Decimal | int | None) -> str:
    """The same as plain text, for a title, a label or a message."""
    return NOTHING.striptags() if value is None else "".join(amount_parts(value))


def dollars(cents: int | None) -> str | Markup:
    """Money that was paid, which is in cents."""
    if cents is None:
        return NOTHING
    sign, shown, _ = amount_parts(Decimal(cents) / 100)
    return f"{sign}${shown}"


def count(value: int | None) -> str | Markup:
    return NOTHING if value is None else f"{value:,}"


def when(value: datetime | None, *, seconds: bool = False) -> Markup:
    """A time in UTC."""
    if value is None:
        return NOTHING
    utc = value.astimezone(UTC)
    return _time(utc, f"{utc:%Y-%m-%d %H:%M:%S}" if seconds else f"{utc:%Y-%m-%d %H:%M}")


def day(value: datetime | None) -> Markup:
    if value is None:
        return NOTHING
    utc = value.astimezone(UTC)
    return _time(utc, f"{utc:%Y-%m-%d}")


def ago(value: datetime | None) -> Markup:
    """How far from the present a time is."""
    if value is None:
        return NOTHING
    return _time(value.astimezone(UTC), distance(value - datetime.now(UTC)))


def distance(away: timedelta) -> str:
    """In one unit, such as 3 days ago or in 2 h."""
    seconds = abs(away.total_seconds())
    for size, unit in STEPS:
        if seconds >= size:
            number = int(seconds // size)
            plural = "s" if number > 1 and unit not in ("h", "min") else ""
            told = f"{number} {unit}{plural}"
            return f"in {told}" if away > timedelta() else f"{told} ago"
    return "in a moment" if away > timedelta() else "just now"


def _time(utc: datetime, text: str) -> Markup:
    exact = utc.isoformat(sep=" ").replace("+00:00", " UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(time_text(utc), exact, text)


def short_id(value: UUID | str) -> str:
    """Enough of a UUID for people to tell two apart."""
    return str(value)[:8]


def words(name: str | None) -> str:
    """A name of the database's for people: tier_grant is Tier grant."""
    return (name or "").replace("_", " ").capitalize()


def sentence(text: str) -> str:
    """The text as one begins a sentence with it: names within it keep their capitals."""
    return text[:1].upper() + text[1:]


def action_words(action: str, *, done: bool = True) -> str:
    """What an admin did, or was refused."""
    told = ACTIONS.get(action, (words(action), words(action)))
    return told[0] if done else told[1]


def interval_text(value: str) -> str:
    """A length of time as PostgreSQL writes it, in words: 1 mon is 1 month, 24:00:00 is 24 hours."""
    return CLOCK.sub(clock_words, re.sub(r"\bmon(s?)\b", r"month\1", value))


def clock_words(found: re.Match[str]) -> str:
    hours, minutes, seconds = (int(found[1]), int(found[2]), Decimal(found[3]))
    parts = ((hours, "hour"), (minutes, "minute"), (seconds, "second"))
    return " ".join(f"{number} {unit}{'s' if number != 1 else ''}" for number, unit in parts if number) or "0 seconds"


def reason_text(reason: str) -> str:
    """What a refusal means; what was logged is what an admin asked for."""
    return REASONS[reason][1] if reason in REASONS else f"{words(reason)}."


def told(error: psycopg.Error) -> Problem:
    """What an error that one of our functions raised tells its caller; any other is raised again."""
    problem = database_problem(error) if error_name(error) else None
    if problem is None:
        raise error
    return problem


def beside_form(error: Exception) -> Problem:
    """What a page tells of an error beside its form, and the log as of any other; what is our own fault is raised."""
    match error:
        case psycopg.Error():
            problem = told(error)
        case stripe.StripeError():
            problem = logged_stripe_problem(error)
        case Problem():
            problem = error
        case _:
            raise error
    g.code = problem.document["code"]
    return problem


def refusal(row: dict[str, Any]) -> Problem | None:
    """The refusal that an answer of the database is, to be shown beside the form; None if it is none."""
    if row.get("success") is not False:
        return None
    return Problem(REASONS[row["reason"]][0], row["reason"], reason_text(row["reason"]))


def lines_of(text: str | None) -> Markup:
    """A text of people's with its line breaks."""
    return Markup("<br>").join(escape(line) for line in (text or "").splitlines())


def lasts_text(number: Decimal) -> str:
    """A number of days in a unit that is easy to grasp."""
    if number < 2:
        return f"{int(number * 24)} hours"
    if number < 90:
        return f"{int(number)} days"
    return f"{int(number / 30)} months" if number < 730 else f"{int(number / 365)} years"


def plain(value: Any) -> str:
    """A value in a line of text; of a time as our JSON has it, the minute."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return f"{value[:10]} {value[11:16]}" if isinstance(value, str) and JSON_TIME.fullmatch(value) else str(value)


def members_text(members: dict[str, Any]) -> str:
    """What a JSON object says, in one line: its members that are no objects themselves."""
    told = {name: value for name, value in members.items() if not isinstance(value, dict | list | None)}
    text = (
        ", ".join(f"{words(name).lower()} {plain(value)}" for name, value in told.items())
        or ", ".join(members)
        or "nothing"
    )
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}\N{HORIZONTAL ELLIPSIS}"


def pair(name: str) -> tuple[str, str]:
    """An option of a select: the value, and what is shown of it."""
    return name, words(name)


def pretty(value: Any) -> str:
    """A value as JSON, one member a line."""
    return dumps(value, indent=2, ensure_ascii=False)


def init_display(app: Flask) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["now"] = lambda: datetime.now(UTC)
    app.jinja_env.filters.update(
        money_text=money_text,
        dollars=dollars,
        count=count,
        short_id=short_id,
        words=words,
        sentence=sentence,
        action_words=action_words,
        interval_text=interval_text,
        reason_text=reason_text,
        lines_of=lines_of,
        iso=time_text,
        pretty=pretty,
        pair=pair,
        members_text=members_text,
    )
    app.jinja_env.globals.update(action_names=ACTIONS, money=money, when=when, day=day, ago=ago, lasts_text=lasts_text)
