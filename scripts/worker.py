"""Do what happens by itself: the jobs that are due, what waits for Stripe, and the delivery of events.

    python -m scripts.worker [--once] [--interval SECONDS] [--limit N]

Jobs: what stands in billing.jobs and is due, each in its own session, so that a long one keeps nobody waiting. Stripe:
calls and events that are due, and automatic top-ups. Events: to EVENT_WEBHOOK_URL, in the order of each user.

It reads the API's environment, JWT settings excepted; without DATABASE_URL it uses the running embedded server. Without
STRIPE_SECRET_KEY only what needs Stripe is left undone, and told. Any number of workers can run at once: what one of
them has claimed, the others leave alone. While the database or Stripe is away it says so and waits. SIGTERM and Ctrl-C
end it after the piece at hand; a job of SQL goes on in the database to its end.

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
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any

import psycopg

from api import API, create_app
from api.database import Row, call
from api.settings import ConfigurationError, Settings
from scripts.cron_jobs import attempt, connect, due_jobs, last_time, list_jobs
from scripts.deliver import Deliveries
from scripts.migrate import describe
from scripts.servers import ServerError, database_url
from scripts.stripe_worker import LIMIT, Away, Worker, raise_if_away

INTERVAL = 5.0
LONGEST_WAIT = 60.0
# How long the end waits for deliveries and for jobs at hand, in seconds. A piece of Stripe's it waits for in any case.
PATIENCE, PATIENCE_WITH_JOBS = 5.0, 1.0
# How often a connection that only listens is asked whether it still stands, in seconds.
PROBE = 60.0
# The pause before it is made again, in seconds.
RECONNECT = 1.0
# How long a signal may have to wait until it is noticed, in seconds.
SIGNAL_PAUSE = 0.5
NO_URL = "EVENT_WEBHOOK_URL is not set, and the job deliver_events is on: events wait for it."
OFF = "Events are kept and not delivered, the job is off: select billing.set_job('deliver_events', true)"
POOLED = (
    "Behind a transaction pooler a job has the statement_timeout of its role, and events are looked for from time to "
    "time: give the worker the URL of the database itself."
)

log = logging.getLogger("worker")


class OwnJob:
    """A job that the worker does itself, all the time: its runs are recorded as often as its schedule says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.recorded: datetime | None = None
        self.began: datetime | None = None
        # What earlier runs had counted.
        self.before = (0, 0)

    def begin(self, now: datetime) -> None:
        """Something is done as of `now`; for the run that is not recorded yet."""
        self.began = self.began or now

    def record(self, job: Row, rows: int, failures: int, error: str | None) -> bool:
        """Record the run if its time has come; all counts are since the start. Whether it was. Raises psycopg.Error."""
        time_of_run = last_time(job["schedule"], job["now"])
        if self.began is None or time_of_run == self.recorded:
            return False
        done = (rows - self.before[0], failures - self.before[1])
        call("record_job_run", name=self.name, started_at=self.began, rows=done[0], failures=done[1], error=error)
        self.recorded, self.began, self.before = time_of_run, None, (rows, failures)
        return True


class Service:
    """All that this process does: jobs, Stripe's work and deliveries, each in threads of their own."""

    def __init__(self, app: API, settings: Settings, limit: int, interval: float) -> None:
        self.app, self.settings, self.interval = app, settings, interval
        self.worker = Worker(app, limit)
        self.stopping = self.worker.stopping
        url, secrets = settings.event_url, settings.event_secrets
        self.deliveries = Deliveries(app, url, secrets, limit) if url is not None else None
        self.stripe_calls, self.deliver_events = OwnJob("stripe_calls"), OwnJob("deliver_events")
        # Jobs at hand, and what became of the others.
        self.running: dict[str, threading.Thread] = {}
        self.jobs: Counter[str] = Counter()
        # Why it ends: an error of a thread, or None for a signal.
        self.ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self.lock = threading.Lock()
        self.listed: dict[str, Row] = {}
        self.listed_at = float("-inf")
        self.told_of: dict[str, float] = {}
        self.complaint: str | None = None

    # What is to be done.

    def table(self) -> dict[str, Row]:
        """The jobs by name, as they were half an interval ago at most. Raises psycopg.Error."""
        with self.lock:
            if time.monotonic() - self.listed_at > self.interval / 2:
                with self.app.extensions["database"].connection() as conn:
                    self.listed = {job["name"]: job for job in list_jobs(conn)}
                self.listed_at = time.monotonic()
            return self.listed

    def do_jobs(self) -> bool:
        """Start the jobs in SQL that are due; a long one must not keep the others waiting."""
        for name, due in due_jobs(self.table().values()):
            if name not in self.running:
                self.running[name] = threading.Thread(target=self.do_job, args=[name, due], daemon=True)
                self.running[name].start()
        return False

    def do_job(self, name: str, due: datetime) -> None:
        """In a thread of its own, that the end does not wait for: cut off, the job goes on in the database."""
        try:
            self.run_job(name, due)
        except BaseException as error:  # for the main thread to raise
            self.ended.put(error)
        finally:
            del self.running[name]

    def run_job(self, name: str, due: datetime) -> None:
        good, line = attempt(lambda: connect(self.settings.database_url), name, due)
        if not good:
            log.error("%s", line)
        self.jobs["done" if good else "failed"] += 1

    def do_stripe(self) -> bool:
        """A round of Stripe's work; whether there may be more."""
        job = self.table()["stripe_calls"]
        if not job["enabled"]:
            return False
        self.stripe_calls.begin(job["now"])
        try:
            return self.worker.round(set())
        except Away as error:
            self.worker.error = str(error)
            raise
        finally:
            self.record_stripe(job)

    def record_stripe(self, job: Row) -> None:
        if self.stripe_calls.record(job, self.worker.done(), self.worker.undone(), self.worker.error):
            self.worker.error = None

    def do_deliveries(self) -> bool:
        """Send the events that are due on their way; the threads of the deliveries do the rest."""
        job = self.table()["deliver_events"]
        if not self.delivers(job):
            return False
        assert self.deliveries is not None
        self.deliver_events.begin(job["now"])
        self.deliveries.send_due()
        self.record_deliveries(job)
        return False

    def delivers(self, job: Row) -> bool:
        """Whether events are to be delivered, and where is known; tells once when only one of them is so."""
        complaint = None
        if job["enabled"] and self.deliveries is None:
            complaint = NO_URL
            self.deliver_events.begin(job["now"])
            self.deliver_events.record(job, 0, 0, NO_URL)
        elif not job["enabled"] and self.deliveries is not None:
            complaint = OFF
        if complaint not in (None, self.complaint):
            log.log(logging.ERROR if complaint == NO_URL else logging.WARNING, "%s", complaint)
        self.complaint = complaint
        return job["enabled"] and self.deliveries is not None

    def record_deliveries(self, job: Row) -> None:
        """An event that the receiver refused is tried again, and told by its own alert: the job has not failed."""
        assert self.deliveries is not None
        counts = self.deliveries.counts
        self.deliver_events.record(job, counts["delivered"], counts["error"], None)

    # Once, or until it is told to stop.

    def once(self) -> bool:
        """Everything that is due, one after the other; whether all of it is done. Raises psycopg.Error."""
        table = self.table()
        good = True
        if table["stripe_calls"]["enabled"]:
            self.stripe_calls.begin(table["stripe_calls"]["now"])
            good &= self.worker.once()
            self.record_stripe(table["stripe_calls"])
        for name, due in due_jobs(table.values()):
            if not self.stopping.is_set():
                self.run_job(name, due)
        if self.delivers(table["deliver_events"]) and self.deliveries is not None:
            self.deliver_events.begin(table["deliver_events"]["now"])
            self.send_all(self.deliveries)
            self.record_deliveries(table["deliver_events"])
            good &= not any(self.deliveries.counts[outcome] for outcome in ("failed", "dead", "error"))
        return good and self.jobs["failed"] == 0 and self.complaint != NO_URL

    def send_all(self, deliveries: Deliveries) -> None:
        """Deliver what is due, each event once, with what comes due while others are on their way."""
        seen: set[Any] = set()
        while not self.stopping.is_set():
            deliveries.wake.clear()
            idle = deliveries.landed(0)
            if deliveries.send_due(seen) == 0 and idle:
                break
            deliveries.wake.wait(0.2)
        deliveries.stop()

    def told(self) -> str:
        """What was done besides Stripe's work, for a person to read."""
        parts = {"jobs": self.jobs, "deliveries": self.deliveries.counts if self.deliveries else {}}
        return "; ".join(
            f"{name}: {', '.join(f'{count} {outcome}' for outcome, count in sorted(counts.items())) or 'none'}"
            for name, counts in parts.items()
        )

    def forever(self) -> None:
        """Until a signal comes, or a thread ends with an error, which is raised."""
        work = {self.do_jobs: self.stopping.wait, self.do_stripe: self.stopping.wait, self.do_deliveries: self.nap}
        threads = [threading.Thread(target=self.loop, args=each, daemon=True) for each in work.items()]
        if self.settings.transaction_pooler:
            log.warning("%s", POOLED)
        elif self.deliveries is not None:
            threading.Thread(target=self.listen, daemon=True).start()
        for thread in threads:
            thread.start()
        error = self.end()
        self.stopping.set()
        if self.deliveries is not None:
            self.deliveries.wake.set()
        for thread in threads:
            thread.join()
        self.leave()
        if error is not None:
            raise error

    def end(self) -> BaseException | None:
        """Wait for the end, and return why it came."""
        while True:
            # The system may hand a signal to any thread, and Python acts on it when the main one next wakes up.
            with suppress(Empty):
                return self.ended.get(timeout=SIGNAL_PAUSE)

    def leave(self) -> None:
        """Wait a while for what is at hand."""
        if self.deliveries is not None:
            self.deliveries.stop()
            self.deliveries.landed(PATIENCE)
        deadline = time.monotonic() + PATIENCE_WITH_JOBS
        for name, thread in list(self.running.items()):
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                log.warning("Job %s goes on in the database.", name)

    def loop(self, work: Callable[[], bool], pause: Callable[[float], object]) -> None:
        """Round after round, with a pause when all is done; a longer one each time while something is away."""
        wait = self.interval
        try:
            while not self.stopping.is_set():
                try:
                    with self.app.app_context():
                        more = reaching(work)
                    wait = self.interval
                    if not more:
                        pause(wait)
                except Away as error:
                    wait = min(wait * 2, max(LONGEST_WAIT, self.interval))
                    self.tell(error, wait)
                    self.stopping.wait(wait)
        except BaseException as error:  # for the main thread to raise
            self.ended.put(error)

    def tell(self, error: Away, wait: float) -> None:
        """Tell what is away, once for all threads that notice."""
        with self.lock:
            if time.monotonic() >= self.told_of.get(str(error), 0):
                self.told_of[str(error)] = time.monotonic() + wait
                log.error("%s Trying again in %.0f seconds.", error, wait)

    def nap(self, seconds: float) -> None:
        """The pause between two looks for events; a notification ends it."""
        if self.deliveries is None:
            self.stopping.wait(seconds)
        else:
            self.deliveries.wake.wait(seconds)
            self.deliveries.wake.clear()

    def listen(self) -> None:
        """Wake the deliveries when an event is recorded. Without the connection they look for events all the same."""
        assert self.deliveries is not None
        while not self.stopping.is_set():
            with (
                suppress(psycopg.Error),
                psycopg.connect(
                    self.settings.database_url, autocommit=True, application_name="billing worker", connect_timeout=5
                ) as conn,
            ):
                conn.execute("listen billing_events")
                self.deliveries.wake.set()
                while True:
                    for _ in conn.notifies(timeout=PROBE):
                        self.deliveries.wake.set()
                    conn.execute("select")
            self.stopping.wait(RECONNECT)


def reaching(work: Callable[[], bool]) -> bool:
    """Do it; raises Away when the database is."""
    try:
        return work()
    except psycopg.Error as error:
        raise_if_away(error, ("database_unavailable", "timeout", "try_again"))
        raise


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, with what the API's app insists on and one that answers no request does not need.

    Raises ServerError when there is no database to look for.
    """
    ours = {"DATABASE_URL": environ.get("DATABASE_URL") or database_url()}
    if not environ.get("JWT_SECRET") and not environ.get("JWT_JWKS_URL"):
        ours["JWT_SECRET"] = secrets.token_hex(32)
    if not environ.get("STRIPE_WEBHOOK_SECRET"):
        ours["STRIPE_WEBHOOK_SECRET"] = secrets.token_hex(32)
    return {**environ, **ours}


def app_for_work(environ: Mapping[str, str]) -> API:
    """The API's app, for its functions. Raises ConfigurationError."""
    app = create_app(environ)
    # The pool tells of each attempt to connect; we tell of the outage.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    return app


def make_app(environ: Mapping[str, str] = os.environ) -> API:
    """The API's app, for its functions that talk to Stripe.

    Raises ConfigurationError, and ServerError when there is no database to look for.
    """
    if not environ.get("STRIPE_SECRET_KEY"):
        raise ConfigurationError("STRIPE_SECRET_KEY must be set: without it there is no Stripe to talk to.")
    return app_for_work(worker_environment(environ))


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
    try:
        environ = worker_environment(os.environ)
        app, settings = app_for_work(environ), Settings.read(environ)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    service = Service(app, settings, arguments.limit, arguments.interval)

    def stop(*_: object) -> None:
        service.ended.put(None)
        if arguments.once:
            service.stopping.set()

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    try:
        if not arguments.once:
            service.forever()
            return 0
        with app.app_context():
            good = reaching(service.once)
        print(service.worker.told(), service.told(), sep="\n")
        return 0 if good else 1
    except Away as error:
        log.error("%s", error)
        return 1
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
        return 1
    finally:
        app.extensions["database"].close()


if __name__ == "__main__":
    sys.exit(main())
