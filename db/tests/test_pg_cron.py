"""The extension pg_cron runs the jobs: on a server of its own, scheduled by a login that is no superuser.

It runs them at the full minute, in real time: the tests between the first and the last of these fill it.
"""

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from scripts.migrate import migrate
from scripts.pytest_billing import databases
from scripts.servers import DEBIAN, extension_dir
from scripts.testserver import TestServer

NAME = "billing_cron"
# A minute, and what a busy machine takes besides.
PATIENCE = 90.0
MISSING = not (extension_dir(DEBIAN) / "pg_cron.control").exists()


class Cron:
    """A database whose jobs pg_cron runs, and who has scheduled them."""

    def __init__(self, server: TestServer) -> None:
        self.server = server
        with server.connect("postgres") as conn:
            conn.execute(f"create database {NAME}")
        with self.connect("postgres") as conn:
            migrate(conn)
            conn.execute("create extension pg_cron")
            conn.execute("create role runs_jobs login in role billing_api; grant usage on schema cron to runs_jobs")

    def connect(self, user: str) -> psycopg.Connection:
        return psycopg.connect(self.server.conninfo(NAME, user), autocommit=True)

    def schedule(self) -> list[tuple[Any, ...]]:
        """Schedule the jobs, as their login does; returns what is scheduled then."""
        with self.connect("runs_jobs") as conn:
            conn.execute("call billing.schedule_jobs()")
        with self.connect("postgres") as conn:
            query = (
                "select jobid, jobname, schedule, command, database, username, active from cron.job order by jobname"
            )
            return conn.execute(query).fetchall()


@pytest.fixture(scope="session")
def cron(pytestconfig: pytest.Config) -> Iterator[Cron]:
    if databases(pytestconfig).version != DEBIAN or MISSING:
        pytest.skip("pg_cron is a package of Debian's PostgreSQL 15")
    server = TestServer(DEBIAN, {"cron.database_name": NAME})
    try:
        yield Cron(server)
    finally:
        server.stop()


@pytest.mark.begun_first
def test_a_second_scheduling_changes_nothing_and_unschedules_what_is_off(cron: Cron) -> None:
    first = cron.schedule()
    with cron.connect("postgres") as conn:
        jobs = conn.execute(
            "select 'billing.' || name, schedule from billing.list_jobs() where function is not null order by 1"
        ).fetchall()
        assert [(row[1], row[2]) for row in first] == jobs
        assert {row[4:] for row in first} == {(NAME, "runs_jobs", True)}
        assert cron.schedule() == first

        conn.execute("select cron.schedule('somebody elses', '0 0 1 1 *', 'select 1')")
        conn.execute("select billing.set_job('clean_up', false)")
        conn.execute("select billing.set_job('expire_credits', p_schedule => '0 6 * * *')")
        changed = {row[1]: row for row in cron.schedule()}
        assert changed.keys() == {row[1] for row in first} - {"billing.clean_up"} | {"somebody elses"}
        assert changed["billing.expire_credits"][2] == "0 6 * * *"
        kept = [row for row in first if row[1] not in ("billing.clean_up", "billing.expire_credits")]
        assert [changed[row[1]] for row in kept] == kept, "what has not changed keeps its number"


@pytest.mark.seen_last
def test_it_runs_them_at_the_minute(cron: Cron) -> None:
    cron.schedule()
    runs = "select outcome, started_at from billing.list_job_runs('release_holds')"
    told = """
        select d.status, d.return_message, d.username
        from cron.job_run_details d join cron.job j using (jobid)
        where j.jobname = 'billing.release_holds' and d.status not in ('starting', 'running', 'sending')
    """
    deadline = time.monotonic() + PATIENCE
    with cron.connect("postgres") as conn:
        while not (details := conn.execute(told).fetchall()):
            assert time.monotonic() < deadline, "nothing has run"
            time.sleep(0.2)
        assert set(details) == {("succeeded", "CALL", "runs_jobs")}
        outcomes = conn.execute(runs).fetchall()
        assert {outcome for outcome, _ in outcomes} == {"succeeded"}
        minutes = [at.replace(second=0, microsecond=0) for _, at in outcomes]
        assert len(set(minutes)) == len(minutes), "once a minute"
        due = "call billing.run_job('release_holds', %s)"
        with cron.connect("runs_jobs") as another:
            another.execute(due, [minutes[-1]])
        assert conn.execute(runs).fetchall()[-len(outcomes) :] == outcomes, "who comes later leaves it"
