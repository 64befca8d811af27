"""The kinds of values that go in and out, and how a body is read."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from apiflask import Schema as APISchema
from apiflask.schema_adapters.marshmallow import parser
from flask import Request
from marshmallow import ValidationError, fields, pre_load
from marshmallow.validate import Range
from werkzeug.exceptions import UnsupportedMediaType

from api.json import JSONError, loads, number, time_text

# curl -d says form-urlencoded whatever it sends, and the guide's commands leave it at that.
BODY_TYPES = ("", "application/json", "application/x-www-form-urlencoded")
INT8 = Range(-(2**63), 2**63 - 1)
# What a year may be so that a time zone cannot lead out of the calendar.
YEARS = range(1970, 9000)
# The characters of JSON that PostgreSQL has no place for, neither in text nor in jsonb.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# The same for people, who cannot see such a character.
NOT_STORABLE = "It has a character that cannot be stored: type it anew."


@parser.location_loader("json")
def load_body(request: Request, schema: Any) -> Any:
    """The body as exact JSON; an empty one is an object without members."""
    if request.mimetype not in BODY_TYPES and not request.mimetype.endswith("+json"):
        raise UnsupportedMediaType("Send JSON, as application/json.")
    return loads(request.get_data() or b"{}")


def check_storable(value: Any) -> None:
    """Raise ValidationError for a text that PostgreSQL cannot store, wherever in the value it is."""
    rest = [value]
    # No recursion: JSON may be nested as deeply as the parser could follow, and this starts further down the stack.
    while rest:
        match rest.pop():
            case str() as text:
                if found := UNSTORABLE.search(text):
                    raise ValidationError(
                        f"Contains U+{ord(found[0]):04X}, which cannot be stored: leave out NUL and lone surrogates."
                    )
            case dict() as members:
                rest += [*members, *members.values()]
            case list() as items:
                rest += items


def is_storable(text: str) -> bool:
    return UNSTORABLE.search(text) is None


class Says:
    """A field that begins with its description."""

    def __init__(self, says: str = "", **options: Any) -> None:
        super().__init__(metadata={"description": says} if says else {}, **options)


class Amount(Says, fields.Decimal):
    """Credits: a JSON number or the same in a string, exact either way."""

    default_error_messages: ClassVar = {"invalid": "Not an amount: give a number, like 12.5."}

    def _serialize(self, value: Decimal | None, attr: str | None, obj: Any, **kwargs: Any) -> Decimal | None:
        return value

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, str):
            try:
                return number(value)
            except JSONError as error:
                raise self.make_error("invalid") from error
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.make_error("invalid")
        return Decimal(value)


class Time(Says, fields.DateTime):
    """ISO 8601; without a zone it is UTC."""

    default_error_messages: ClassVar = {"invalid": "Not a time: give ISO 8601, like 2025-01-15T12:00:00Z."}

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return value and time_text(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        try:
            time = datetime.fromisoformat(value)
        except (TypeError, ValueError) as error:
            raise self.make_error("invalid") from error
        if time.year not in YEARS:
            raise self.make_error("invalid")
        return time if time.tzinfo else time.replace(tzinfo=UTC)


class Month(Says, fields.String):
    """A calendar month, as a day of it."""

    default_error_messages: ClassVar = {"invalid": "Not a month: give one like 2025-01, or a day of it."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        try:
            day = date.fromisoformat(f"{value}-01" if len(value) == len("2025-01") else value)
        except (TypeError, ValueError) as error:
            raise self.make_error("invalid") from error
        if day.year not in YEARS:
            raise self.make_error("invalid")
        return day


class Text(Says, fields.String):
    """A text that PostgreSQL can store."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        check_storable(text)
        return text


class Name(Text):
    """A text, or a number that stands for the text of it: 25, "25" and 25.0 are one name."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            value = format(Decimal(value).normalize(), "f")
        return super()._deserialize(value, attr, data, **kwargs)


class Id(Says, fields.UUID):
    """Of a user, a hold or an action."""


class Flag(Says, fields.Boolean):
    """Yes or no."""


class Members(Says, fields.Dict):
    """Any JSON object that jsonb can hold."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        members = super()._deserialize(value, attr, data, **kwargs)
        check_storable(members)
        return members


class Integer(Says, fields.Integer):
    """A whole number that a bigint can hold; in JSON, not a text of one."""

    def __init__(self, says: str = "", **options: Any) -> None:
        super().__init__(says, strict=True, validate=INT8, **options)


class Count(Says, fields.Integer):
    """A whole number in a query string."""


class Described(fields.Nested):
    """Documented like a nested schema, and passed on as it is: the SQL function judges each item on its own.

    What jsonb cannot hold never gets there, and is refused here by the name of its member.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            check_storable(value)
            return value
        errors = {}
        for name, member in value.items():
            try:
                check_storable({name: member})
            except ValidationError as error:
                errors[name] = error.messages
        if errors:
            raise ValidationError(errors)
        return value


class Schema(APISchema):
    """Of a request. A member that is null is the same as none."""

    @pre_load
    def drop_nulls(self, data: Any, **_: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class Columns(APISchema):
    """Of a response: every column is always there, except for those that say otherwise."""

    sometimes: ClassVar[set[str]] = set()

    def on_bind_field(self, field_name: str, field_obj: fields.Field) -> None:
        field_obj.required = field_name not in self.sometimes


def rows(schema: type[APISchema]) -> fields.List:
    return fields.List(fields.Nested(schema))
