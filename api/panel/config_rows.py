"""Rows of the configuration on pages: what their values are called, how they are typed, and what differs."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError

from api.database import Row
from api.display import interval_text
from api.fields import INT8, NOT_STORABLE, check_storable, is_storable
from api.json import JSONError, loads, number


@dataclass(frozen=True)
class Column:
    """A value of a row: how it is called and read. `empty` says what none means, where there may be none."""

    label: str
    kind: str = "amount"
    help: str = ""
    empty: str = ""


@dataclass(frozen=True)
class Section:
    """One table of the configuration; `word` is what one row of it is, `says` what it is for, `order` a column."""

    title: str
    word: str
    says: str
    columns: dict[str, Column]
    named: str = "Name"
    order: str = ""
    fixed: bool = False


SECTIONS = {
    "tiers": Section(
        "Tiers",
        "tier",
        "What users subscribe to, and the credits that it brings each month.",
        {
            "display_name": Column("Shown as", "text"),
            "rank": Column("Rank", "whole", "The higher, the larger the tier."),
            "monthly_credits": Column("Credits a month", "amount", "What is due from the next grant on."),
            "price_cents": Column("Price a month", "whole", "In US cents; 0 is not for sale."),
            "can_purchase_credits": Column("Buys credits", "flag", "Whether its users may buy credits."),
            "grant_expires_after": Column("Credits last", "interval", "Such as 1 month or 90 days.", "until used"),
            "rollover_cap": Column(
                "Carried over", "amount", "What is unspent above it expires at the next grant.", "all"
            ),
        },
        order="rank",
    ),
    "admin_limits": Section(
        "Admin limits",
        "role",
        "What an admin of a role may do alone.",
        {
            "max_credit_adjustment": Column("At once", "amount", "Credits of one action.", "no limit"),
            "max_daily_total": Column("On a day", "amount", "Credits of all actions of a UTC day.", "no limit"),
            "can_refund": Column("Refunds", "flag", "Whether the role gives refunds."),
            "approval_above": Column("Alone up to", "amount", "Above it a second admin has to approve.", "any amount"),
        },
        named="Role",
        fixed=True,
    ),
    "model_prices": Section(
        "Rate card",
        "model",
        "What a million tokens cost. A change is for calls from then on; what was charged stays as it was.",
        {
            "input_per_million": Column("Input", "amount", "US dollars for a million tokens of the prompt."),
            "cached_input_per_million": Column("Cached input", "amount", "For those that came from the cache."),
            "output_per_million": Column("Output", "amount", "For a million tokens of the completion."),
            "multiplier": Column("Multiplier", "amount", "What the price is multiplied with."),
        },
        named="Model",
    ),
    "packages": Section(
        "Packages",
        "package",
        "Credits that are sold in one piece.",
        {
            "amount": Column("Credits", "amount"),
            "price_cents": Column("Price", "whole", "In US cents."),
        },
        order="price_cents",
    ),
    "settings": Section(
        "Settings",
        "settings",
        "Of the whole installation.",
        {
            "reversal_grace": Column(
                "Reversal grace",
                "interval",
                "How long returned credits live whose lot has expired.",
            ),
            "min_purchase": Column("Smallest purchase", "amount", "In credits."),
            "max_purchase": Column("Largest purchase", "amount", "In credits."),
            "low_balance": Column(
                "Low balance", "amount", "Whoever falls below it is told, unless they say otherwise."
            ),
            "depleted_balance": Column("Used up", "amount", "Whoever falls below it is told that nothing is left."),
            "retention": Column("Retention", "interval", "How long events and job runs are kept."),
            "approval_lifetime": Column("Approvals wait", "interval", "How long a request waits for another admin."),
        },
        fixed=True,
    ),
}
NAME_LENGTH = 200
# What constraints and types say of a value, in the detail of invalid_config.
QUOTED = re.compile(r'"(\w+)"')
# What a value must be, by the end of the name of its constraint; between the table and this stands the value.
RULES = {
    "exact": "Out of range, or more than nine decimal places.",
    "given": "This is needed, without blanks in a name.",
    "known": "There is no such one.",
    "not_negative": "It must not be negative.",
    "positive": "It must be greater than zero.",
    "unique": "Another one has the same.",
    "well_formed": "Only lower-case letters, digits and underscores, at most 63.",
}
RULE = re.compile(rf"[a-z]+_(\w+?)_({'|'.join(RULES)})")


def columns_of(section: str, row: Row | None = None) -> dict[str, Column]:
    """The columns that a form has; one that this page does not know is read as what it is."""
    described = SECTIONS[section].columns
    if row is None:
        return described
    unknown = {name: Column(name, kind_of(value)) for name, value in row.items() if name not in described}
    return {name: column for name, column in described.items() if name in row} | unknown


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    return "amount" if isinstance(value, int | Decimal) else "text"


def differences(section: str, before: Row | None, after: Row | None) -> list[Row]:
    """Each value before and after, as it is shown, and whether it differs."""
    told = []
    for each, column in columns_of(section, before or after or {}).items():
        old, new = (row and row.get(each) for row in (before, after))
        told.append(
            {
                "label": column.label,
                "name": each,
                "before": "" if before is None else shown(column, old),
                "after": "" if after is None else shown(column, new),
                "differs": before is None or after is None or old != new,
            }
        )
    return told


def shown(column: Column, value: Any) -> str:
    """A value with all its digits."""
    if value is None:
        return f"none ({column.empty})" if column.empty else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.kind == "interval":
        return interval_text(value)
    return format(value, "f") if isinstance(value, Decimal) else str(value)


# What was typed.


class Mistakes(Exception):
    """What is wrong with which field."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__(errors)
        self.errors = errors


def as_typed(section: str, row: Row | None) -> Row:
    """A row as its form has it."""
    if row is None:
        return {}
    flags = {True: "true", False: ""}
    return {
        each: flags[value] if isinstance(value, bool) else "" if value is None else shown(column, value)
        for each, column, value in ((each, column, row[each]) for each, column in columns_of(section, row).items())
    }


def read(section: str, before: Row | None, fields: Row) -> Row:
    """The row that a form describes, with a value for each of its columns; raises Mistakes."""
    row, errors = {}, {}
    for each, column in columns_of(section, before).items():
        text = fields.get(each, "")
        try:
            row[each] = value_of(column, text, before and before.get(each))
        except ValueError as error:
            errors[each] = [str(error)]
    if errors:
        raise Mistakes(errors)
    return row


def value_of(column: Column, text: str, before: Any) -> Any:
    """What was typed, or what was there if that is how it is shown; raises ValueError, whose message is for people."""
    if column.kind == "flag":
        return text == "true"
    if not text:
        if column.empty:
            return None
        raise ValueError("This is needed.")
    if column.kind == "interval" and before is not None and text == shown(column, before):
        return before
    if column.kind in ("text", "interval"):
        return storable(text)
    try:
        value = number(text)
    except JSONError as error:
        raise ValueError("Not a number: write it like 12.5.") from error
    if column.kind == "amount":
        return value
    if value != int(value) or abs(value) > INT8.max:
        raise ValueError("Not a whole number.")
    return int(value)


def named(name: str) -> None:
    if not name:
        raise Mistakes({"name": ["This is needed."]})
    if len(name) > NAME_LENGTH:
        raise Mistakes({"name": [f"At most {NAME_LENGTH} characters."]})
    try:
        storable(name)
    except ValueError as error:
        raise Mistakes({"name": [str(error)]}) from error


def storable(text: str) -> str:
    """The text, if PostgreSQL can store it; raises ValueError, whose message is for people."""
    if not is_storable(text):
        raise ValueError(NOT_STORABLE)
    return text


def before_of(text: str | None) -> Row | None:
    """The row as it was when the form was opened; raises JSONError."""
    row = loads(text or "null")
    if row is not None and not isinstance(row, dict):
        raise JSONError("It is no row.")
    try:
        check_storable(row)
    except ValidationError as error:
        raise JSONError(error.messages[0]) from error
    return row


def errors_of(section: str, row: Row | None, document: Row) -> dict[str, list[str]]:
    """The fields that the detail of an error is about: it names the column, or the constraint that the value breaks."""
    columns = ["name", *columns_of(section, row)]
    errors = {}
    for word in QUOTED.findall(document["detail"] or ""):
        rule = RULE.fullmatch(word)
        subject, text = (rule[1], RULES[rule[2]]) if rule else (word, "This is needed.")
        subject = "name" if subject == "model" else subject
        found = [each for each in columns if each.startswith(subject)] or [each for each in columns if subject in each]
        if found:
            errors[found[0]] = [text]
    return errors
