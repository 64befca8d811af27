"""Run the jobs that are due, once, and end: for a crontab, where neither pg_cron nor the worker runs them.

    python -m scripts.cron_jobs               every job in SQL whose time has come since its last run
    python -m scripts.cron_jobs --job NAME    that one, due or not, switched on or not
    python -m scripts.cron_jobs --list        all jobs: when they run, how they ran, what is wrong

A job that was not run when its time came is run at the next opportunity. Any number of these, of workers and of
pg_cron's may run at once: each time of a job is run by one of them. Calls to Stripe and the delivery of events are the
worker's: python -m scripts.worker --once.

Exit codes: 0 all went well, 1 a job failed, 2 wrong usage, 3 no connection to the database.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

import psycopg
from croniter import CroniterError, croniter
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from api.settings import YES
from scripts.migrate import describe
from scripts.servers import ServerError, reachable_database
from scripts.table import table

# A crontab runs this at the second, by a clock that may be ahead of the database's by so much.
LEEWAY = timedelta(seconds=2)
# How soon a run that was cut off is done again: what ends a server every time should not do so every second.
AGAIN_AFTER = timedelta(minutes=1)
COLUMNS = ("job", "schedule", "on", "last run", "outcome", "rows", "next run", "problem")

Row = dict[str, Any]


def last_time(schedule: str, at: datetime) -> datetime | None:
    """The newest time up to `at` that a schedule names, in UTC; None when it names none."""
    try:
        # What comes before `at` is asked for: a moment later, that is the time itself as well.
        return croniter(schedule, at.astimezone(UTC) + timedelta(microseconds=1)).get_prev(datetime)
    except CroniterError:
        return None


def next_time(schedule: str, at: datetime) -> datetime | None:
    """The first time after `at` that a schedule names, in UTC; None when it names none."""
    try:
        return croniter(schedule, at.astimezone(UTC)).get_next(datetime)
    except CroniterError:
        return None


def due_since(job: Row) -> datetime | None:
    """When the job was to run, if it has not begun since; None when it is not due."""
    due = last_time(job["schedule"], job["now"])
    if not job["enabled"] or due is None:
        return None
    started = job["last_started_at"]
    if started is None or started < due:
        return due
    # One that is still at it holds its lock, and is left alone; one that was cut off is done again.
    cut_off = job["last_outcome"] in ("running", "interrupted") and job["now"] - started > AGAIN_AFTER
    return due if cut_off else None


def list_jobs(conn: psycopg.Connection) -> list[Row]:
    """The rows of billing.list_jobs(), each with `now`, the time by the database's clock."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select now() as now, j.* from billing.list_jobs() j", binary=True).fetchall()


def connect(url: str) -> psycopg.Connection:
    """A connection that a job may have for hours, with the rights of the API.

    A transaction pooler takes no settings: then the login is billing_api, and its statement_timeout holds.
    """
    transaction_pooler = os.environ.get("DATABASE_TRANSACTION_POOLER", "").lower() in YES
    theirs = conninfo_to_dict(url).get("options", "")
    # The last one holds: a job takes as long as it takes.
    options = {} if transaction_pooler else {"options": f"{theirs} -c role=billing_api -c statement_timeout=0".strip()}
    return psycopg.connect(
        url, autocommit=True, prepare_threshold=None, application_name="billing job", connect_timeout=5, **options
    )


def run_job(conn: psycopg.Connection, name: str, due: datetime | None = None) -> Row | None:
    """Run a job in SQL; returns its run, or None when there was nothing to do, or another session is at it.

    Raises psycopg.Error: job_failed, once the run is recorded, or what the database has else to say.
    """
    query = "select * from billing.list_job_runs(%s, p_limit => 1)"
    with conn.cursor(row_factory=dict_row) as cursor:
        before = cursor.execute(query, [name]).fetchone()
        cursor.execute("call billing.run_job(%s, %s)", [name, due])
        after = cursor.execute(query, [name]).fetchone()
    if after is None or after["outcome"] == "running" or (before is not None and after["run_id"] == before["run_id"]):
        return None
    return after


def attempt(connected: Callable[[], psycopg.Connection], name: str, due: datetime | None = None) -> tuple[bool, str]:
    """Run a job on a connection of its own; whether it did not fail, and a line for a person to read."""
    try:
        with connected() as conn:
            run = run_job(conn, name, due)
    except psycopg.Error as error:
        return False, (error.diag.message_detail or f"Job {name}: {error}").strip()
    if run is None:
        return True, f"Job {name}: nothing to do here, or another session is at it"
    seconds = (run["finished_at"] - run["started_at"]).total_seconds()
    return True, f"Job {name}: {run['rows']} rows in {seconds:.1f} s"


def due_jobs(jobs: Iterable[Row]) -> Iterator[tuple[str, datetime]]:
    """The jobs in SQL that are due, and since when."""
    for job in jobs:
        due = due_since(job)
        if job["function"] is not None and due is not None:
            yield job["name"], due


def moment_left(jobs: Iterable[Row]) -> timedelta:
    """How long to wait for jobs whose time comes in this moment; nothing when none does."""
    times = [(next_time(job["schedule"], job["now"]), job["now"]) for job in jobs if job["enabled"]]
    soonest = min((at - now for at, now in times if at is not None), default=LEEWAY * 2)
    return soonest if soonest <= LEEWAY else timedelta()


def shown(job: Row) -> tuple[Any, ...]:
    """A job as a row of the table."""
    coming = next_time(job["schedule"], job["now"]) if job["enabled"] else None
    last = (job["last_started_at"], job["last_outcome"], job["last_rows"])
    problem = job["problem"] or (None if last_time(job["schedule"], job["now"]) else "no such time")
    return (job["name"], job["schedule"], job["enabled"], *last, coming, problem)


def run(url: str, name: str | None) -> int:
    """Run one job, or all that are due; the exit code."""
    with connect(url) as conn:
        jobs = list_jobs(conn)
        if name is None and (left := moment_left(jobs)):
            sleep(left.total_seconds())
            jobs = list_jobs(conn)
    known = {job["name"]: job for job in jobs}
    if name is not None and name not in known:
        print(f"There is no job {name}: --list shows them.", file=sys.stderr)
        return 2
    if name is not None and known[name]["function"] is None:
        print(f"The worker does {name}: python -m scripts.worker --once", file=sys.stderr)
        return 2
    good = True
    for each, due in [(name, None)] if name is not None else due_jobs(jobs):
        done, line = attempt(lambda: connect(url), each, due)
        print(line, file=sys.stdout if done else sys.stderr, flush=True)
        good &= done
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", help="default: DATABASE_URL, else the embedded server")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--job", metavar="NAME", help="run this job now")
    what.add_argument("--list", action="store_true", help="show the jobs, and run none; times in UTC")
    arguments = parser.parse_args()
    try:
        with reachable_database(arguments.database_url) as url:
            if not arguments.list:
                return run(url, arguments.job)
            with connect(url) as conn:
                print(*table(COLUMNS, map(shown, list_jobs(conn))), sep="\n")
            return 0
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
        return 3
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
