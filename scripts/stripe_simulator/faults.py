"""Injected faults, of requests and of events.

A rule applies to the matching calls from the `nth` on, `times` of them (0: all that follow). Kinds for requests:

- timeout_before, timeout_after: the connection is dropped, before anything happens or instead of the answer
- error_before, error_after: answers `status` (429, 500, 503) instead of the effect, or instead of its answer
- slow: waits `seconds`, with the idempotency key taken, and then does as always

and for events:

- drop: delivered only when it is sent again by hand
- duplicate: delivered `copies` times, one after the other or, with `at_once`, at the same time
- delay: delivered after `seconds`
- hold: delivered when `release` says so
- reorder: like hold, until `count` events are held; these are then delivered last first
"""

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from scripts.stripe_simulator.errors import ApiError
from scripts.stripe_simulator.store import JSON

REQUEST_KINDS = ("timeout_before", "timeout_after", "error_before", "error_after", "slow")
EVENT_KINDS = ("drop", "duplicate", "delay", "hold", "reorder")
STATUSES = (429, 500, 503)


@dataclass
class Fault:
    """One rule. `path` and `event` are patterns with `*`; `stored` says whether the idempotency key keeps the error.

    By default a key keeps a 500, and a 503 after the effect; it never keeps a 429, which comes before any execution.
    """

    kind: str
    method: str = "*"
    path: str = "*"
    event: str = "*"
    nth: int = 1
    times: int = 1
    status: int = 500
    stored: bool | None = None
    seconds: float = 1.0
    copies: int = 2
    at_once: bool = False
    count: int = 2
    seen: int = 0

    def __post_init__(self) -> None:
        if self.kind not in REQUEST_KINDS + EVENT_KINDS:
            raise ApiError(f"Unknown kind of fault: {self.kind}; known are {', '.join(REQUEST_KINDS + EVENT_KINDS)}")
        if self.status not in STATUSES:
            raise ApiError(f"A fault answers one of {STATUSES}, not {self.status}.")
        if self.status == 429 and (self.kind == "error_after" or self.stored):
            raise ApiError("A 429 comes before the execution: it has no effect, and no key keeps it.")
        if self.nth < 1 or self.times < 0:
            raise ApiError("nth counts from 1; times is 0 for all that follow, or a number.")

    @property
    def kept(self) -> bool:
        """Whether the idempotency key keeps the error."""
        default = self.status == 500 or (self.status == 503 and self.kind == "error_after")
        return default if self.stored is None else self.stored

    def fires(self) -> bool:
        """Count one matching call."""
        self.seen += 1
        return self.seen >= self.nth and (self.times == 0 or self.seen < self.nth + self.times)


class Faults:
    """The rules; the first that fires is the one that applies."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rules: list[Fault] = []

    def add(self, values: JSON) -> Fault:
        """A rule from its fields; raises ApiError for one that makes no sense."""
        unknown = values.keys() - Fault.__dataclass_fields__.keys()
        if unknown or "kind" not in values:
            raise ApiError(f"A fault has a kind, and none of: {', '.join(sorted(unknown)) or 'nothing else is wrong'}")
        rule = Fault(**values)
        with self.lock:
            self.rules.append(rule)
        return rule

    def clear(self) -> None:
        with self.lock:
            self.rules.clear()

    def shown(self) -> list[JSON]:
        with self.lock:
            return [asdict(rule) for rule in self.rules]

    def of_request(self, method: str, path: str) -> Fault | None:
        return self._first(
            rule
            for rule in self.rules
            if rule.kind in REQUEST_KINDS and rule.method in ("*", method) and fnmatchcase(path, rule.path)
        )

    def of_event(self, kind: str) -> Fault | None:
        return self._first(rule for rule in self.rules if rule.kind in EVENT_KINDS and fnmatchcase(kind, rule.event))

    def _first(self, matching: Iterable[Fault]) -> Fault | None:
        with self.lock:
            firing = [rule for rule in list(matching) if rule.fires()]
        return firing[0] if firing else None
