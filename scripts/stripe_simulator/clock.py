"""The simulator's time: the real one plus what was skipped, and what falls due in it."""

import time
from calendar import monthrange
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

HOUR = 3600
DAY = 24 * HOUR


class Clock:
    """Seconds since 1970. `at` holds it at one moment, for as long as what falls due then is done."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.held: int | None = None

    def now(self) -> int:
        return self.held if self.held is not None else int(time.time() + self.offset)

    @contextmanager
    def at(self, moment: int) -> Iterator[None]:
        self.held = moment
        try:
            yield
        finally:
            self.held = None

    def move_to(self, moment: float) -> None:
        self.offset = moment - time.time()


def later(anchor: int, interval: str, count: int) -> int:
    """`count` intervals after the anchor. Months keep the anchor's day, or take the last that the month has."""
    if interval == "day":
        return anchor + count * DAY
    if interval == "week":
        return anchor + count * 7 * DAY
    start = datetime.fromtimestamp(anchor, UTC)
    months = start.month - 1 + count * (12 if interval == "year" else 1)
    year, month = start.year + months // 12, months % 12 + 1
    day = min(start.day, monthrange(year, month)[1])
    return int(start.replace(year=year, month=month, day=day).timestamp())


def period_end(anchor: int, start: int, interval: str, count: int) -> int:
    """The end of the period that begins at `start`: the first multiple of the interval after it, from the anchor on."""
    number = 1
    while later(anchor, interval, number * count) <= start:
        number += 1
    return later(anchor, interval, number * count)
