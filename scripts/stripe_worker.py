"""The worker's rounds over what waits for Stripe: calls and events that are due, and automatic top-ups."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg

from api import API
from api.database import Row, call, call_all
from api.errors import database_problem
from api.logs import piece_of_work
from api.stripe_work import perform, process_event

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
# What can't be begun without a key of Stripe's.
NEED_KEY = ("call", "top-up")
DONE = ("done", "processed", "ignored", "declined")


class Worker:
    """What waits for Stripe: rounds over what is due, until it is told to stop."""

    def __init__(self, app: API, limit: int = LIMIT) -> None:
        self.app = app
        self.limit = limit
        self.stopping = threading.Event()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.waiting = 0
        # What waits for a key; and the last thing that went wrong since it was last asked for.
        self.without_key: set[tuple[str, str]] = set()
        self.error: str | None = None

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

    def round(self, seen: set[tuple[str, str]]) -> bool:
        """What is due at this moment and not in `seen`; whether there may be more. Raises Away."""
        self.waiting = 0
        more = False
        with self.app.app_context():
            for kind, (listing, column, work) in WORK.items():
                rows, before = self.due(listing), self.done()
                if kind in NEED_KEY and self.app.extensions["payments"].client is None:
                    self.leave(kind, [str(row[column]) for row in rows])
                    continue
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

    def leave(self, kind: str, names: list[str]) -> None:
        """Tell that these wait for a key of Stripe's, each once."""
        if not names:
            return
        self.error = f"STRIPE_SECRET_KEY is not set: {kind}s are due at Stripe, and wait for it."
        new = {(kind, name) for name in names} - self.without_key
        if not any(of == kind for of, _ in self.without_key):
            log.error("%s", self.error)
        self.without_key |= new
        self.counts[kind, "waiting"] += len(new)

    def done(self) -> int:
        return sum(count for (_, outcome), count in self.counts.items() if outcome in DONE)

    def undone(self) -> int:
        return sum(self.counts.values()) - self.done()

    def due(self, listing: str) -> list[Row]:
        try:
            return call_all(listing, limit=self.limit)
        except psycopg.Error as error:
            raise_if_away(error, ("database_unavailable", "timeout", "try_again"))
            raise

    def do(self, kind: str, name: Any, work: Callable[[Any], Row]) -> None:
        """One piece. An error of the database's in it is told, and does not keep the others waiting."""
        try:
            with piece_of_work():
                row = work(name)
        except psycopg.Error as error:
            raise_if_away(error, ("database_unavailable",))
            self.counts[kind, "failed"] += 1
            self.error = f"{kind} {name}: {first_line(error)}"
            log.error("%s", self.error)
            return
        if row.get("status") is None:
            return  # somebody else has it
        # A card that is declined is the customer's matter, and the account says so.
        outcome = "declined" if row.get("declined") else "waiting" if row["status"] == "pending" else row["status"]
        self.counts[kind, outcome] += 1
        if outcome not in DONE:
            self.error = f"{kind} {name} is {outcome}: {first_line(row['error'])}"
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
