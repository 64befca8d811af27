"""What the simulated Stripe knows: its objects, their hidden halves, its events, and what will fall due.

Everything is plain JSON, so that a file can keep it from one run to the next. One lock guards it all: a request holds
it for as long as its handler runs, so that handlers are atomic.
"""

import heapq
import json
import os
import secrets
import string
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from scripts.stripe_simulator.clock import DAY, HOUR, Clock
from scripts.stripe_simulator.errors import not_found

JSON = dict[str, Any]
Job = Callable[["Store", str, int], None]

API_VERSION = "2026-10-28.endive"
LETTERS = string.ascii_letters + string.digits
# How the kinds of objects stand in "No such …".
NAMES = {"payment_method": "PaymentMethod"}
# How long the part of an id after its prefix is; 24 where nothing else is said.
ID_LENGTHS = {"cus": 14, "prod": 14, "si": 14, "cs_test": 58}
DEFAULTS: JSON = {
    # How long a renewal's invoice stays a draft.
    "finalize_after": HOUR,
    # The waits between the attempts to collect an invoice; after the last one the subscription is canceled.
    "retry_after": [3 * DAY, 5 * DAY, 7 * DAY],
    # How long an object exists before a search finds it. Stripe promises less than a minute, and no more than that.
    "search_delay": 0,
    # The status of a refund when it is made: succeeded, or pending until a call to /_sim/refunds/….
    "refund_status": "succeeded",
    # How long refunds that fail or succeed by themselves take, for the cards that are made for it.
    "refund_after": DAY,
}
JOBS: dict[str, Job] = {}


def job(name: str) -> Callable[[Job], Job]:
    """Register what `Store.schedule(name, …)` will do: a function of the store, the object's id and the moment."""

    def register(function: Job) -> Job:
        JOBS[name] = function
        return function

    return register


def new_id(prefix: str) -> str:
    length = ID_LENGTHS.get(prefix, 24)
    return f"{prefix}_{''.join(secrets.choice(LETTERS) for _ in range(length))}"


def difference(before: JSON, after: JSON) -> JSON:
    """The old values of what has changed, as events carry them in previous_attributes."""
    changed = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        changed[name] = difference(old, new) if isinstance(old, dict) and isinstance(new, dict) else old
    return changed


class Store:
    """The state. `listeners` hear of every event, after it is stored."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.clock = Clock()
        self.url = ""
        self.listeners: list[Callable[[JSON], None]] = []
        self.request: JSON = {"id": None, "idempotency_key": None}
        self.reset()
        if path is not None and path.exists():
            self._load(json.loads(path.read_text()))

    def reset(self) -> None:
        """Forget everything, and go back to the real time."""
        self.clock.offset = 0.0
        self.objects: dict[str, dict[str, JSON]] = {}
        self.hidden: dict[str, JSON] = {}
        self.keys: dict[str, JSON] = {}
        self.jobs: list[tuple[int, int, str, str]] = []
        self.numbers = 0
        self.created: Counter[str] = Counter()
        self.settings = deepcopy(DEFAULTS)

    # Objects

    def add(self, item: JSON, **hidden: Any) -> JSON:
        """Keep an object, with what Stripe does not show of it."""
        self.objects.setdefault(item["object"], {})[item["id"]] = item
        self.hidden[item["id"]] = hidden
        if item["object"] != "event":
            self.created[item["object"]] += 1
        return item

    def all(self, kind: str) -> list[JSON]:
        """The objects of a kind that are not deleted, oldest first."""
        return [item for item in self.objects.get(kind, {}).values() if not item.get("deleted")]

    def get(self, kind: str, key: str, param: str = "id") -> JSON:
        """An object; raises 404 when the path names it, 400 when a parameter does, and it is not there."""
        item = self.objects.get(kind, {}).get(key)
        if item is None or (item.get("deleted") and param != "id"):
            raise not_found(NAMES.get(kind, kind), key, param)
        return item

    def find(self, key: str) -> JSON | None:
        """The object of that id, whatever it is."""
        return next((table[key] for table in self.objects.values() if key in table), None)

    def known(self, kind: str, key: str | None, param: str) -> str | None:
        """A parameter's id, once it is sure that the object exists."""
        if key is not None:
            self.get(kind, key, param)
        return key

    @contextmanager
    def changing(self, item: JSON, event: str) -> Iterator[JSON]:
        """Emit the event, with previous_attributes, if the block changes the object."""
        before = deepcopy(item)
        yield item
        if changed := difference(before, item):
            self.emit(event, item, changed)

    # Events

    def emit(self, kind: str, item: JSON, previous: JSON | None = None) -> JSON:
        """Store an event about the object as it is at this moment."""
        data: JSON = {"object": deepcopy(item)}
        if previous is not None:
            data["previous_attributes"] = previous
        event = self.add(
            {
                "id": new_id("evt"),
                "object": "event",
                "api_version": API_VERSION,
                "created": self.clock.now(),
                "data": data,
                "livemode": False,
                "pending_webhooks": 0,
                "request": dict(self.request),
                "type": kind,
            }
        )
        for listener in self.listeners:
            listener(event)
        return event

    # Time

    def schedule(self, name: str, key: str, at: int) -> None:
        """Do the job `name` for the object, when the time comes."""
        self.numbers += 1
        heapq.heappush(self.jobs, (at, self.numbers, name, key))

    def run_due(self, until: int | None = None) -> None:
        """Do what has fallen due, each at its own moment."""
        until = self.clock.now() if until is None else until
        while self.jobs and self.jobs[0][0] <= until:
            at, _, name, key = heapq.heappop(self.jobs)
            with self.clock.at(at):
                JOBS[name](self, key, at)

    # The file

    def save(self) -> None:
        """Write the file, if there is one; a crash leaves the old or the new."""
        if self.path is None:
            return
        kept = ("objects", "hidden", "keys", "jobs", "numbers", "created", "settings")
        state = {name: getattr(self, name) for name in kept} | {"offset": self.clock.offset}
        beside = self.path.with_suffix(".tmp")
        # Cards, customers, and the secrets of payments are nobody else's business, simulated or not.
        beside.unlink(missing_ok=True)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(state, file)
        beside.replace(self.path)

    def _load(self, state: JSON) -> None:
        self.objects = state["objects"]
        self.hidden = state["hidden"]
        # The requests that were running when the simulator ended hold their keys no more.
        self.keys = {key: record for key, record in state["keys"].items() if "status" in record}
        self.jobs = [tuple(each) for each in state["jobs"]]
        self.numbers = state["numbers"]
        self.created = Counter(state["created"])
        self.settings = DEFAULTS | state["settings"]
        self.clock.offset = state["offset"]
