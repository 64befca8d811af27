"""Somebody whom a filter names: by their id, by its beginning, or by what the application calls them."""

import re
from typing import Any
from uuid import UUID

from marshmallow import ValidationError
from marshmallow.validate import Length

from api.database import call_all
from api.display import short_id
from api.fields import Text
from api.names import names

# The beginning of an id: enough of it that it hardly is a word.
BEGINNING = re.compile(r"[0-9a-f]{4,32}")
# Of those who may be meant, how many are looked up, and how many are told. Half of them may be found by their names.
LOOKED_UP = 9
TOLD = 3

Found = dict[UUID, str | None]


class Person(Text):
    """A user's id; of what is typed instead of it, the one user whom it fits."""

    def __init__(self, *, admin: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.admin = admin

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> UUID:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            return UUID(text)
        except ValueError:
            Length(max=200)(text)
        found = admins(text) if self.admin else {}
        return only(found or accounts(text) | admins(text), text)


def only(found: Found, text: str) -> UUID:
    """The one who is found; a name in full goes before longer ones that begin with it. Raises ValidationError."""
    named = [each for each, name in found.items() if name and name.lower() == text.lower()]
    match named or list(found):
        case [one]:
            return one
        case []:
            raise ValidationError("Nobody is found by it: give an id, four digits of its beginning, or a reference.")
        case several:
            told = ", ".join(
                f"{found[each]} ({short_id(each)})" if found[each] else str(each) for each in several[:TOLD]
            )
            raise ValidationError(f"It fits several: {told}{' and more' if len(several) > TOLD else ''}.")


def accounts(text: str) -> Found:
    found = call_all("search_accounts", query=text, limit=LOOKED_UP)
    return fitting({row["user_id"]: row["reference"] for row in found}, text)


def admins(text: str) -> Found:
    """Not all admins have an account."""
    ids = [row["user_id"] for row in call_all("list_admins")]
    known = names(ids)
    return fitting({each: known.get(each) for each in ids}, text)


def fitting(people: Found, text: str) -> Found:
    """Those whose id or name begins with the text; what else an account is found by is not theirs alone."""
    lower = text.lower()
    digits = lower.replace("-", "")
    begins = digits if BEGINNING.fullmatch(digits) else None
    return {
        each: name
        for each, name in people.items()
        if (begins and each.hex.startswith(begins)) or (name or "").lower().startswith(lower)
    }
