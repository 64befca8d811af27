"""Do what waits for Stripe: calls and events that are due, and automatic top-ups.

    python -m scripts.worker [--once] [--interval SECONDS] [--limit N]

It reads the API's environment, JWT settings excepted; without DATABASE_URL it uses the running embedded server. Any
number of workers can run at once: what one of them has claimed, the others leave alone. While the database or Stripe
is away it says so and waits; SIGTERM and Ctrl-C end it after the piece at hand.

Exit codes: 0 ended, 1 something failed or has to wait (with --once), 2 it is not configured, 3 there is no database to
look for.
"""

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from api import API, create_app
from api.database import Row, call, call_all
from api.errors import database_problem
from api.settings import ConfigurationError
from api.stripe_work import perform, process_event
from scripts.migrate import describe
from scripts.servers import ServerError, database_url

INTERVAL = 5.0
LONGEST_WAIT = 60.0
LIMIT = 100
# So many calls in a row that have to wait mean that Stripe is away, and that the next one would only wait as well.
WAITING_IN_A_ROW = 3

log = logging.getLogger("worker")


class Away(Exception):
    """The database or Stripe does not answer: all the rest would fail as well."""


def top_up(user_id: Any) -> Row:
    """Charge the account if it has fallen below its threshold and nobody else has charged it yet."""
    purchase = call("request_top_up", user_id=user_id)
    return perform(purchase["call_id"]) if purchase["call_id"] is not None else {"status": None}


# What is listed by which function, the column that names it, and what does it.
WORK: dict[str, tuple[str, str, Callable[[Any], Row]]] = {
    "call": ("list_due_stripe_calls", "call_id", perform),
    "event": ("list_due_stripe_events", "event_id", process_event),
    "top-up": ("list_due_top_ups", "user_id", top_up),
}
DONE = ("done", "processed", "ignored", "declined")


class Worker:
    """One worker: rounds over what is due, until it is told to stop."""

    def __init__(self, app: API, limit: int = LIMIT) -> None:
        self.app = app
        self.limit = limit
        self.stopping = threading.Event()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.waiting = 0

    def once(self) -> bool:
        """Everything that is due, each piece once; whether all of it is done."""
        seen: set[tuple[str, str]] = set()
        before = -1
        try:
            while len(seen) > before and not self.stopping.is_set():
                before = len(seen)
                self.round(seen)
        except Away as error:
            log.error("%s", error)
            return False
        return all(outcome in DONE for _, outcome in self.counts)

    def forever(self, interval: float) -> None:
        """Round after round, with a pause when all is done; a longer one each time while something is away."""
        wait = interval
        while not self.stopping.is_set():
            try:
                if self.round(set()):
                    continue
                wait = interval
            except Away as error:
                wait = min(wait * 2, max(LONGEST_WAIT, interval))
                log.error("%s Trying again in %.0f seconds.", error, wait)
            self.stopping.wait(wait)

    def round(self, seen: set[tuple[str, str]]) -> bool:
        """What is due at this moment and not in `seen`; whether there may be more. Raises Away."""
        self.waiting = 0
        more = False
        with self.app.app_context():
            for kind, (listing, column, work) in WORK.items():
                rows, before = self.due(listing), self.done()
                for row in rows:
                    piece = (kind, str(row[column]))
                    if self.stopping.is_set():
                        return False
                    if piece not in seen:
                        seen.add(piece)
                        self.do(kind, row[column], work)
                # Without anything done, the next round would only see the same again.
                more |= len(rows) == self.limit and self.done() > before
        return more

    def done(self) -> int:
        return sum(count for (_, outcome), count in self.counts.items() if outcome in DONE)

    def due(self, listing: str) -> list[Row]:
        try:
            return call_all(listing, limit=self.limit)
        except psycopg.Error as error:
            raise_if_away(error, ("database_unavailable", "timeout", "try_again"))
            raise

    def do(self, kind: str, name: Any, work: Callable[[Any], Row]) -> None:
        """One piece. An error of the database's in it is told, and does not keep the others waiting."""
        try:
            row = work(name)
        except psycopg.Error as error:
            raise_if_away(error, ("database_unavailable",))
            self.counts[kind, "failed"] += 1
            log.error("%s %s: %s", kind, name, first_line(error))
            return
        if row.get("status") is None:
            return  # somebody else has it
        # A card that is declined is the customer's matter, and the account says so.
        outcome = "declined" if row.get("declined") else "waiting" if row["status"] == "pending" else row["status"]
        self.counts[kind, outcome] += 1
        if outcome == "failed":
            log.error("%s %s has failed: %s", kind, name, first_line(row["error"]))
        self.waiting = self.waiting + 1 if outcome == "waiting" and kind != "event" else 0
        if self.waiting >= WAITING_IN_A_ROW:
            raise Away(f"Stripe is away: {WAITING_IN_A_ROW} calls in a row have to wait.")

    def told(self) -> str:
        """What was done, for a person to read."""
        parts = []
        for kind in WORK:
            outcomes = [f"{count} {name}" for (of, name), count in sorted(self.counts.items()) if of == kind]
            parts.append(f"{kind}s: {', '.join(outcomes) or 'none'}")
        return "; ".join(parts)


def raise_if_away(error: psycopg.Error, codes: tuple[str, ...]) -> None:
    """Raise Away when the error is one of these problems."""
    problem = database_problem(error)
    if problem is not None and problem.document["code"] in codes:
        raise Away(f"The database is away: {first_line(error)}.") from error


def first_line(text: object) -> str:
    return str(text).strip().partition("\n")[0].rstrip(".")


def make_app(environ: Mapping[str, str] = os.environ) -> API:
    """The API's app, for its functions: it answers no request, and so needs no way to check a token or an event.

    Raises ConfigurationError, and ServerError when there is no database to look for.
    """
    if not environ.get("STRIPE_SECRET_KEY"):
        raise ConfigurationError("STRIPE_SECRET_KEY must be set: without it there is no Stripe to talk to.")
    # The pool tells of each attempt to connect; we tell of the outage.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    ours = {"DATABASE_URL": environ.get("DATABASE_URL") or database_url()}
    if not environ.get("JWT_SECRET") and not environ.get("JWT_JWKS_URL"):
        ours["JWT_SECRET"] = secrets.token_hex(32)
    if not environ.get("STRIPE_WEBHOOK_SECRET"):
        ours["STRIPE_WEBHOOK_SECRET"] = secrets.token_hex(32)
    return create_app({**environ, **ours})


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("more than 0 and at most 3600")
    return value


def size(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 500:
        raise argparse.ArgumentTypeError("1 to 500")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="do what is due, print what was done, and end")
    parser.add_argument("--interval", type=positive, default=INTERVAL, help="seconds between rounds (%(default)s)")
    parser.add_argument("--limit", type=size, default=LIMIT, help="pieces of each kind in a round (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
    try:
        app = make_app()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    worker = Worker(app, arguments.limit)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda *_: worker.stopping.set())
    try:
        if not arguments.once:
            worker.forever(arguments.interval)
            return 0
        good = worker.once()
        print(worker.told())
        return 0 if good else 1
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
        return 1
    finally:
        app.extensions["database"].close()


if __name__ == "__main__":
    sys.exit(main())
