"""Compare what Stripe has with what we have: payments, refunds and disputes of a time, and all subscriptions.

    python -m scripts.reconcile [--since TIME] [--until TIME] [--json] [--fix]

A TIME is ISO 8601 (UTC where it names no zone) or Nd, so many days ago; by default the last 7 days. --fix takes
Stripe's word where that is safe, through the function that takes in what a webhook tells, and compares again. What only
we have, because Stripe has not been asked for it yet, is the worker's to do. It reads the API's environment, JWT
settings excepted.

Exit codes: 0 no difference (with --fix: none is left), 1 differences, 2 wrong usage or configuration, 3 the database or
Stripe cannot be asked.
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import stripe

from api import json
from api.database import Row, call, call_all
from api.settings import ConfigurationError
from api.stripe_client import stripe_client
from scripts.migrate import describe
from scripts.servers import ServerError
from scripts.worker import make_app

# In the order in which they are taken in: what a refund or a dispute is of comes first.
SERVICES = {
    "payment_intent": "payment_intents",
    "refund": "refunds",
    "dispute": "disputes",
    "subscription": "subscriptions",
}
# How a difference names them.
KINDS = {"payment": "payment_intent", "refund": "refund", "dispute": "dispute", "subscription": "subscription"}
# What SQL compares: a month of whole objects is more than a value of jsonb can be.
COMPARED = {
    *("id", "object", "created", "status", "amount", "amount_received", "currency", "customer", "metadata"),
    *("payment_intent", "items", "cancel_at", "cancel_at_period_end"),
}
PAGE = 100
AGAIN: stripe.RequestOptions = {"max_network_retries": 3}
# A month of payments takes longer than a request may.
STATEMENT_SECONDS = 600
COLUMNS = ("kind", "object_id", "user_id", "problem", "ours", "theirs", "fixable")

Objects = dict[str, dict[str, Any]]


class Progress:
    """How many objects have arrived, on a terminal only."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self.shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        self.show("")


def moment(text: str, now: datetime) -> datetime:
    """A time that an option names; raises ValueError."""
    if days := re.fullmatch(r"(\d{1,4})d", text):
        return now - timedelta(days=int(days[1]))
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def listed(since: datetime, until: datetime, progress: Progress) -> Objects:
    """What Stripe lists, by id. Its times are whole seconds, so the window is opened to the next ones."""
    window = {"created": {"gte": math.floor(since.timestamp()), "lte": math.ceil(until.timestamp())}}
    found: Objects = {}
    for kind, name in SERVICES.items():
        parameters = {"limit": PAGE} | ({"status": "all"} if kind == "subscription" else window)
        for item in getattr(stripe_client().v1, name).list(parameters, AGAIN).auto_paging_iter():
            found[item.id] = {name: value for name, value in plain(item).items() if name in COMPARED}
            if len(found) % PAGE == 0:
                progress.show(f"{len(found)} objects from Stripe, reading {name.replace('_', ' ')} ...")
    progress.end()
    return found


def plain(item: stripe.StripeObject) -> dict[str, Any]:
    return item.to_dict(for_json=True)


def compare(objects: Objects, since: datetime, until: datetime) -> list[Row]:
    """The differences that SQL finds.

    What Stripe did not list is asked for by its id before it is called missing: a refund that had to wait for Stripe
    was made after the window in which it was requested. When much is missing, it is another Stripe.
    """
    values = {"from": since, "to": until}
    differences = call_all("compare_with_stripe", objects=list(objects.values()), **values)
    missing = [(row["kind"], row["object_id"]) for row in differences if row["object_id"] not in objects]
    late = [retrieve(KINDS[kind], key) for kind, key in missing] if len(missing) <= PAGE else []
    if not any(late):
        return differences
    return call_all("compare_with_stripe", objects=[*objects.values(), *filter(None, late)], **values)


def retrieve(kind: str, key: str) -> dict[str, Any] | None:
    """One object as it is at this moment; None when Stripe has none."""
    try:
        return plain(getattr(stripe_client().v1, SERVICES[kind]).retrieve(key, options=AGAIN))
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        return None


def fix(differences: list[Row], objects: Objects, progress: Progress) -> Iterator[str]:
    """Take Stripe's word for each fixable difference; what was refused, and why.

    Each object is asked for anew: it may have changed in the meantime.
    """
    order = list(SERVICES)
    wanted = {row["object_id"] for row in differences if row["fixable"]} & objects.keys()
    for key in sorted(wanted, key=lambda key: (order.index(objects[key]["object"]), objects[key]["created"], key)):
        progress.show(f"Taking in {key} ...")
        seen_at = datetime.now(UTC)
        item = retrieve(objects[key]["object"], key)
        try:
            call("record_stripe_object", object=item, seen_at=seen_at)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            yield f"{key}: {describe(error)}"
    progress.end()


def identity(row: Row) -> tuple[str, ...]:
    return row["kind"], row["object_id"], row["problem"]


def count(objects: Objects) -> dict[str, int]:
    kinds = [item["object"] for item in objects.values()]
    return {kind: kinds.count(kind) for kind in SERVICES}


def text(value: object) -> str:
    if value is None:
        return "-"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def table(rows: list[Row]) -> Iterator[str]:
    """The rows below each other, each column as wide as it must be."""
    cells = [COLUMNS, *([text(row[column]) for column in COLUMNS] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(COLUMNS))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def report(
    since: datetime, until: datetime, compared: Mapping[str, int], differences: list[Row], fixed: list[Row]
) -> Iterator[str]:
    """The lines for a person to read."""
    kinds = ", ".join(f"{number} {SERVICES[kind].replace('_', ' ')}" for kind, number in compared.items())
    yield f"{since:%Y-%m-%d %H:%M:%S} to {until:%Y-%m-%d %H:%M:%S} UTC: {kinds} at Stripe."
    if fixed:
        yield f"\nFixed ({len(fixed)}):"
        yield from table(fixed)
    if differences:
        yield f"\n{'Left' if fixed else 'Differences'} ({len(differences)}):"
        yield from table(differences)
    else:
        yield "No difference is left." if fixed else "No difference."


def reconcile(since: datetime, until: datetime, *, as_json: bool, fixing: bool) -> int:
    progress = Progress()
    objects = listed(since, until, progress)
    differences = compare(objects, since, until)
    fixed: list[Row] = []
    if fixing and any(row["fixable"] for row in differences):
        for refusal in fix(differences, objects, progress):
            print(refusal, file=sys.stderr)
        before = differences
        objects = listed(since, until, progress)
        differences = compare(objects, since, until)
        left = {identity(row) for row in differences}
        fixed = [row for row in before if identity(row) not in left]
    compared = count(objects)
    if as_json:
        window = {"from": since, "to": until}
        print(json.dumps(window | {"compared": compared, "differences": differences, "fixed": fixed}))
    else:
        print(*report(since, until, compared, differences, fixed), sep="\n")
    return 1 if differences else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--since", default="7d", help="from this time on: ISO 8601, or Nd (default: %(default)s)")
    parser.add_argument("--until", default="0d", help="up to this time (default: now)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--fix", action="store_true", help="take Stripe's word where that is safe")
    arguments = parser.parse_args()
    now = datetime.now(UTC)
    try:
        since, until = moment(arguments.since, now), moment(arguments.until, now)
    except (ValueError, OverflowError) as error:
        parser.error(str(error))
    if since >= until:
        parser.error(f"{since:%Y-%m-%d %H:%M} UTC is not before {until:%Y-%m-%d %H:%M} UTC")
    try:
        app = make_app({**os.environ, "STATEMENT_TIMEOUT": str(STATEMENT_SECONDS)})
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    try:
        with app.app_context():
            return reconcile(since, until, as_json=arguments.json, fixing=arguments.fix)
    except psycopg.Error as error:
        print(describe(error) if error.sqlstate else f"No connection to the database: {error}", file=sys.stderr)
        return 3
    except stripe.StripeError as error:
        print(f"Stripe: {error.user_message or error}", file=sys.stderr)
        return 3
    finally:
        app.extensions["database"].close()


if __name__ == "__main__":
    sys.exit(main())
