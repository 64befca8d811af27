"""Who is who on a page: what the application calls those whom its rows name by their ids."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg
from flask import Flask, before_render_template, g

from api.database import Row, call_all

# What a user is called by in rows of the database, and in a filter.
COLUMNS = (
    *("user_id", "target_user_id", "admin_user_id", "actor", "user", "admin"),
    *("requested_by", "decided_by", "created_by", "granted_by"),
)
# A change of the configuration is logged as one of nobody's account.
NOBODY = UUID(int=0)
# What one call tells of; a page shows fewer.
MOST = 1000


def names(user_ids: Iterable[UUID]) -> dict[UUID, str | None]:
    """What the application calls them, and all others that were asked for in this request; one call for all of them."""
    known: dict[UUID, str | None] = g.setdefault("names", {NOBODY: None})
    wanted = list(islice(dict.fromkeys(each for each in user_ids if each not in known), MOST))
    if wanted:
        found = {row["user_id"]: row["reference"] for row in call_all("list_user_references", user_ids=wanted)}
        known |= {each: found.get(each) for each in wanted}
    return known


def name_of(user_id: UUID | None) -> str | None:
    """What the application calls somebody, as far as it was asked for."""
    return g.get("names", {}).get(user_id)


def people_of(value: Any) -> Iterator[UUID]:
    """The users that the rows in a value name."""
    match value:
        case dict():
            for name, member in value.items():
                if name in COLUMNS and isinstance(member, UUID):
                    yield member
                elif isinstance(member, dict | list):
                    yield from people_of(member)
        case list():
            for member in value:
                yield from people_of(member)


def learn_names(_app: Flask, context: Row, **_: Any) -> None:
    """Before a page is rendered, ask for the names of all whom it shows; without them it shows their ids."""
    area, problem = context.get("area"), context.get("problem") or {}
    if area is None or "user_id" not in g or problem.get("status", 0) >= 500:
        return
    people = people_of({name: value for name, value in context.items() if isinstance(value, dict | list)})
    with suppress(psycopg.Error):
        names([g.user_id, *(people if area.admins_only else ())])


def init_names(app: Flask) -> None:
    before_render_template.connect(learn_names, app)
    app.jinja_env.globals["name_of"] = name_of
