"""JSON that keeps every digit: numbers are read as Decimal and written from their text, never through a float."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import simplejson
from flask.json.provider import JSONProvider

# PostgreSQL would spell out 1e100000; no amount and no price comes near this many digits.
MAX_DIGITS = 100
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


class JSONError(ValueError):
    """A text that is not JSON, or that says something twice or too large; the message is for the client."""


def number(text: str) -> Decimal:
    """The exact value of a JSON number; raises JSONError for NaN, infinity and what no amount could be."""
    if not NUMBER.fullmatch(text):
        raise JSONError("A number must be written in digits, like 12.5.")
    value = Decimal(text)
    if len(value.as_tuple().digits) > MAX_DIGITS or abs(value.as_tuple().exponent) > MAX_DIGITS:
        raise JSONError(f"A number has at most {MAX_DIGITS} digits.")
    return value


def whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise JSONError(f"A number has at most {MAX_DIGITS} digits.")
    return int(text)


def loads(text: str | bytes) -> Any:
    """Raises JSONError; a member that is given twice is refused, because the sender may have meant either."""
    try:
        return simplejson.loads(
            text.decode() if isinstance(text, bytes) else text,
            parse_float=number,
            parse_int=whole_number,
            object_pairs_hook=_members,
        )
    except RecursionError as error:
        raise JSONError("The JSON is nested too deeply.") from error
    except JSONError:
        raise
    except ValueError as error:
        raise JSONError(f"This is not JSON: {error}") from error


def stored(text: str | bytes) -> Any:
    """JSON from the database, which has accepted it."""
    return simplejson.loads(text, use_decimal=True)


def dumps(value: Any, **options: Any) -> str:
    return simplejson.dumps(value, default=_plain, use_decimal=False, allow_nan=False, **options)


def time_text(time: datetime) -> str:
    """ISO 8601 in UTC, as 2025-01-15T12:00:00.000001Z."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise JSONError(f"The member {name!r} is given twice.")
        members[name] = value
    return members


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return simplejson.RawJSON(format(value, "f"))
        case UUID():
            return str(value)
        case datetime():
            return time_text(value)
        case date():
            return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


class ExactJSON(JSONProvider):
    """What Flask reads and writes JSON with."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return dumps(obj, **kwargs)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return loads(s)
