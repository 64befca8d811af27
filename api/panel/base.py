"""The blueprint of the panel, and what its pages share."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import request
from marshmallow import EXCLUDE, ValidationError, fields, validates_schema

from api.browser import signed_in_area, with_query
from api.database import Row, call_page
from api.fields import YEARS, Says, Schema

bp = APIBlueprint("panel", __name__, url_prefix="/admin", enable_openapi=False)

NAVIGATION = (
    ("panel.users", "Users", "people"),
    ("panel.approvals", "Approvals", "check2-square"),
    ("panel.bulk", "Bulk grants", "file-earmark-spreadsheet"),
    ("panel.log", "Admin log", "journal-text"),
    ("panel.admins", "Admins", "shield-lock"),
    ("panel.config", "Configuration", "sliders"),
    ("panel.health", "Health", "heart-pulse"),
)
signed_in_area(bp, "Credit billing", home="users", navigation=NAVIGATION, admins_only=True)

# What a page shows, and what a file is read in: one row more is asked for, to see whether there are more.
SHOWN = 50
READ = 499


# Where a page begins; what makes no sense as one begins the first page.
CURSORS = ("before", "after")


class Day(Says, fields.Date):
    """A day in UTC."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        day = super()._deserialize(value, attr, data, **kwargs)
        if day.year not in YEARS:
            raise self.make_error("invalid", input=value, obj_type="date")
        return day


class Days(Schema):
    """From a day to another."""

    from_ = Day(data_key="from", attribute="from")
    to = Day()

    @validates_schema(skip_on_field_errors=False)
    def check_order(self, data: Row, **_: Any) -> None:
        if "from" in data and "to" in data and data["to"] < data["from"]:
            raise ValidationError("This is before the first day.", "to")


def filtered(schema: type[Schema]) -> tuple[Row, dict[str, list[str]]]:
    """What a filter asks for, as far as it can be read, and what is wrong with which of its fields."""
    typed = {name: value.strip() for name, value in request.args.items() if value.strip()}
    try:
        return schema().load(typed, unknown=EXCLUDE), {}
    except ValidationError as error:
        wrong = error.normalized_messages()
        return error.valid_data, {name: list(texts) for name, texts in wrong.items() if name not in CURSORS}


def days(query: Row) -> Row:
    """The query with its days as times: from the beginning of the first to the end of the last."""
    if "from" in query:
        query["from"] = midnight(query["from"])
    if "to" in query:
        query["to"] = midnight(query["to"]) + timedelta(days=1)
    return query


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def all_rows(function: str, cursor: str, key: str, **arguments: Any) -> Iterator[Row]:
    """All rows of a function that tells them in pages: the parameter `cursor` is the `key` of the last one told."""
    more = True
    while more:
        found, more = call_page(function, limit=READ, **arguments)
        yield from found
        if found:
            arguments[cursor] = found[-1][key]


def this_page(**changes: Any) -> str:
    """The address of this page with other arguments; None leaves one out."""
    values = {name: value for name, value in request.args.items() if value} | changes
    return with_query(request.path, ((name, str(value)) for name, value in values.items() if value is not None))


def next_and_first(cursor: str, last: Any) -> tuple[str, str]:
    """Where the next page is, if `last` is where this one ends, and the first one, unless it is this one."""
    onward = this_page(**{cursor: last}) if last is not None else ""
    return onward, this_page(**{cursor: None}) if cursor in request.args else ""
