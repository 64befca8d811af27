"""How objects leave the simulator: expanded as asked for, in pages, found by a search."""

import re
from copy import deepcopy
from typing import Any

from scripts.stripe_simulator.errors import ApiError, not_found, refused
from scripts.stripe_simulator.objects import EXPANDABLE, listing
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.store import JSON, NAMES, Store

CLAUSE = re.compile(
    r"(?P<not>-)?(?P<field>[a-z_]+)(\[(?P<quote>['\"])(?P<key>.*?)(?P=quote)\])?"
    r"(?P<operator>:|~|>=|<=|>|<)"
    r"(?:(['\"])(?P<text>(?:\\.|(?!\7).)*)\7|(?P<bare>null|\d+))"
)


def check_expand(kind: str, paths: list[str]) -> None:
    """Refuse what the kind of object can't expand, before anything happens."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > 4 + steps.count("data"):
            raise refused("You cannot expand more than 4 levels of a property.", "expand")
        here: Any = f"[{kind[:-2]}]" if kind.endswith("[]") else kind
        for step in steps:
            here = _step(here, step)
            if here is None:
                raise refused(f"This property cannot be expanded ({path}).", "expand")


def _step(here: Any, step: str) -> Any:
    if isinstance(here, dict):
        return here.get(step)
    if here.startswith("["):
        return here[1:-1] if step == "data" else None
    return EXPANDABLE.get(here.lstrip("="), {}).get(step)


def render(store: Store, item: JSON, paths: list[str]) -> JSON:
    """A copy with the paths expanded."""
    answer = deepcopy(item)
    for path in paths:
        _expand(store, answer, path.split("."))
    return answer


def _expand(store: Store, item: Any, steps: list[str]) -> None:
    if not isinstance(item, dict) or not steps:
        return
    step, rest = steps[0], steps[1:]
    if step == "data" and isinstance(item.get("data"), list):
        for each in item["data"]:
            _expand(store, each, rest)
        return
    if step not in item:
        item.update(_included(store, item, step))
    value = item.get(step)
    if isinstance(value, str):
        value = item[step] = deepcopy(store.find(value)) or value
    _expand(store, value, rest)


def _included(store: Store, item: JSON, step: str) -> JSON:
    """The lists that objects have only where they are asked for."""
    key = item["id"]
    match item["object"], step:
        case "charge", "refunds":
            found = [each for each in store.all("refund") if each["charge"] == key]
            url = f"/v1/charges/{key}/refunds"
        case "invoice", "payments":
            found = [each for each in store.all("invoice_payment") if each["invoice"] == key]
            url = "/v1/invoice_payments"
        case "customer", "subscriptions":
            live = [each for each in store.all("subscription") if each["status"] != "canceled"]
            found = [each for each in live if each["customer"] == key]
            url = f"/v1/customers/{key}/subscriptions"
        case "checkout.session", "line_items":
            found = list(reversed(store.hidden[key]["items"]))
            url = f"/v1/checkout/sessions/{key}/line_items"
        case _:
            return {}
    return {step: listing(url, deepcopy(found[::-1]))}


def page(store: Store, kind: str, url: str, params: Params, found: list[JSON] | None = None) -> JSON:
    """The newest objects first, `limit` of them; ends the validation of `params`."""
    limit = params.integer("limit", 10)
    after, before = params.text("starting_after"), params.text("ending_before")
    created = _created(params)
    params.done()
    if limit is None or not 1 <= limit <= 100:
        raise refused("This value must be between 1 and 100.", "limit", "parameter_invalid_integer")
    rows = (store.all(kind) if found is None else found)[::-1]
    rows = [row for row in rows if all(_compare(row["created"], how, than) for how, than in created)]
    keys = [row["id"] for row in rows]
    for name, key in (("starting_after", after), ("ending_before", before)):
        if key is not None and key not in keys:
            raise not_found(NAMES.get(kind, kind), key, name)
    if after is not None:
        rows = rows[keys.index(after) + 1 :]
    elif before is not None:
        rows = rows[: keys.index(before)]
        return listing(url, rows[-limit:], has_more=len(rows) > limit)
    return listing(url, rows[:limit], has_more=len(rows) > limit)


def _created(params: Params) -> list[tuple[str, int]]:
    if isinstance(params.values.get("created"), dict):
        part = params.part("created")
        bounds = ((how, part.integer(how)) for how in ("gt", "gte", "lt", "lte"))
        return [(how, than) for how, than in bounds if than is not None]
    exact = params.integer("created")
    return [] if exact is None else [("eq", exact)]


def _compare(value: int, how: str, than: int) -> bool:
    return {
        "gt": value > than,
        "gte": value >= than,
        "lt": value < than,
        "lte": value <= than,
        "eq": value == than,
    }[how]


def search(store: Store, kind: str, url: str, params: Params) -> JSON:
    """Stripe's search language: clauses joined by AND or by OR.

    As at Stripe, an object is found some time after it was made: the setting `search_delay`.
    """
    query = params.needed("query")
    limit = params.integer("limit", 10)
    start = params.text("page")
    params.done()
    if " AND " in query and " OR " in query:
        raise refused("You cannot use both AND and OR in the same query.", "query")
    joined = any if " OR " in query else all
    clauses = [_clause(text) for text in re.split(r"\s+(?:AND|OR)\s+", query.strip())]
    visible = store.clock.now() - store.settings["search_delay"]
    rows = [row for row in store.all(kind)[::-1] if row["created"] <= visible or not store.settings["search_delay"]]
    rows = [row for row in rows if joined(_matches(row, clause) for clause in clauses)]
    first = int(start) if start and start.isdigit() else 0
    last = first + (limit or 10)
    return {
        "object": "search_result",
        "data": rows[first:last],
        "has_more": len(rows) > last,
        "next_page": str(last) if len(rows) > last else None,
        "url": url,
    }


def _clause(text: str) -> re.Match[str]:
    clause = CLAUSE.fullmatch(text.strip())
    if clause is None:
        raise ApiError(f"We were unable to parse your search query: {text}", param="query", stored=False)
    return clause


def _matches(row: JSON, clause: re.Match[str]) -> bool:
    value = row.get(clause["field"])
    if clause["key"] is not None:
        value = (value or {}).get(clause["key"])
    wanted = clause["text"].replace("\\", "") if clause["text"] is not None else clause["bare"]
    if wanted == "null" and clause["text"] is None:
        same = value is None
    elif value is None:
        same = False
    elif clause["operator"] == ":":
        same = str(value).lower() == wanted.lower()
    elif clause["operator"] == "~":
        same = wanted.lower() in str(value).lower()
    else:
        how = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[clause["operator"]]
        same = _compare(int(value), how, int(wanted))
    return same != bool(clause["not"])
