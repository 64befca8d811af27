"""Several sessions at once, for the tests of races and crashes."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.abc import Query

from scripts.pytest_billing import Database

# How long a session may wait for another one, in seconds, before the test fails.
PATIENCE = 30.0

Job = Callable[[psycopg.Connection], Any]


def together(database: Database, jobs: Sequence[Job], role: str = "billing_api") -> list[Any]:
    """Run each job in a session of its own, all from the same moment on; an exception of SQL is its result."""
    start = Barrier(len(jobs))

    def run(job: Job) -> Any:
        with database.connect(role) as conn:
            start.wait(PATIENCE)
            try:
                return job(conn)
            except psycopg.Error as error:
                return error

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def calls(query: Query, *parameters: Any, times: int = 1) -> list[Job]:
    """Jobs that make the same call and return its row."""
    return [lambda conn: conn.execute(query, parameters).fetchone()] * times


@contextmanager
def in_background(conn: psycopg.Connection, query: Query, *parameters: Any):
    """Start a call in another thread; yields its Future. A call that still runs at the end is cancelled."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: conn.execute(query, parameters).fetchone())
        try:
            yield future
        finally:
            if not future.done():
                conn.cancel()


def wait_until_blocked(observer: psycopg.Connection, waiting: psycopg.Connection) -> None:
    """Return once a session waits for a lock that another one holds."""
    deadline = time.monotonic() + PATIENCE
    query = "select where cardinality(pg_blocking_pids(%s)) > 0"
    while observer.execute(query, [waiting.info.backend_pid]).rowcount == 0:
        assert time.monotonic() < deadline, "the session does not wait for a lock"
        time.sleep(0.005)


def wait_until_gone(observer: psycopg.Connection, pid: int) -> None:
    """Return once a backend has ended."""
    deadline = time.monotonic() + PATIENCE
    while observer.execute("select from pg_stat_activity where pid = %s", [pid]).rowcount:
        assert time.monotonic() < deadline, "the backend does not end"
        time.sleep(0.005)


def outcome(future: Future) -> Any:
    """The result of a background call, within PATIENCE."""
    return future.result(PATIENCE)


def new_account(conn: psycopg.Connection, balance: Any = 0, user: UUID | None = None) -> UUID:
    """An account of a tier that grants nothing, with one lot of credits that do not expire."""
    conn.execute(
        """insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, rank)
           values ('empty', 'Empty', 0, 0, 99) on conflict (name) do nothing"""
    )
    user = user or uuid4()
    conn.execute("select billing.open_account(%s, 'empty')", [user])
    if Decimal(balance) > 0:
        conn.execute("select billing.grant_credits(%s, %s, 'promotion')", [user, balance])
    return user


def new_admin(conn: psycopg.Connection, role: str = "super_admin") -> UUID:
    """A user with that role."""
    user = uuid4()
    conn.execute("insert into billing.user_roles (user_id, role, granted_at) values (%s, %s, now())", [user, role])
    return user


def account(conn: psycopg.Connection, user: UUID) -> Any:
    """The account as reads tell it."""
    return conn.execute("select * from billing.get_account(%s)", [user]).fetchone()


def entries(conn: psycopg.Connection, user: UUID, type: str | None = None) -> list[Any]:
    """The ledger of an account, oldest first."""
    return conn.execute(
        "select * from billing.credit_ledger where user_id = %s and (%s::text is null or type = %s) order by entry_no",
        [user, type, type],
    ).fetchall()


def run_job(conn: psycopg.Connection, job: str, due: datetime | None = None) -> None:
    """A run of a job, as whoever is to run it calls it: at any time, or only if it has not run since it was due."""
    conn.execute("call billing.run_job(%s, %s)", [job, due])


def findings(conn: psycopg.Connection) -> list[Any]:
    """What does not verify anywhere; [] when all is well."""
    return conn.execute("select * from billing.verify_ledger()").fetchall()
