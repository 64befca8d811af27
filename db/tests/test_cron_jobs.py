"""Jobs run when they are due, whoever runs them: once for each of their times, also when nobody was there then."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from db.tests.sessions import wait_until_gone
from scripts import cron_jobs
from scripts.cron_jobs import LEEWAY, due_since, last_time, moment_left, next_time
from scripts.pytest_billing import Clock, Database

Command = Callable[..., tuple[int, str, str]]
MONTHLY = "0 0 1 * *"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def job(
    last: str | None, now: str, schedule: str = MONTHLY, *, enabled: bool = True, outcome: str = "succeeded"
) -> dict[str, Any]:
    return {
        "schedule": schedule, "enabled": enabled, "now": at(now), "last_started_at": at(last) if last else None,
        "last_outcome": outcome,
    }  # fmt: skip


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`python -m scripts.cron_jobs` in this process: the exit code, and what stands on stdout and stderr."""

    def run(*options: str, url: str = database.url) -> tuple[int, str, str]:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setattr(sys, "argv", ["cron_jobs", *options])
        capsys.readouterr()
        return cron_jobs.main(), *capsys.readouterr()

    return run


def runs(conn: psycopg.Connection) -> dict[str, list[str]]:
    """The outcomes of the runs of each job, oldest first."""
    rows = conn.execute(
        "select job, array_agg(outcome order by started_at) as outcomes from billing.job_runs group by 1"
    )
    return {row.job: row.outcomes for row in rows}


def in_sql(conn: psycopg.Connection) -> set[str]:
    return {row.name for row in conn.execute("select name from billing.list_jobs() where function is not null")}


def grants(conn: psycopg.Connection, user: UUID) -> list[str]:
    """The months whose credits an account was granted."""
    query = (
        "select reference_id from billing.credit_ledger where user_id = %s and type = 'tier_grant' order by entry_no"
    )
    return [row.reference_id for row in conn.execute(query, [user])]


@pytest.fixture
def yearly(conn: psycopg.Connection) -> None:
    """Every job is due, and no minute that begins makes it due again."""
    conn.execute("update billing.jobs set schedule = '0 0 1 1 *'")


def replace_job(conn: psycopg.Connection, function: str, statement: str) -> None:
    """Let the function of a job do something else."""
    conn.execute(
        f"""create or replace function billing.{function}(p_at timestamptz default null, p_limit integer default 50,
                p_after jsonb default null)
            returns billing.job_step language plpgsql security definer as
            $$ begin {statement}; return (1, 0, null, null)::billing.job_step; end $$"""
    )


# When.


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, "2026-03-15 12:00", "2026-03-01 00:00"),
        ("2026-02-01 00:00:01", "2026-03-01 00:00", "2026-03-01 00:00"),
        ("2026-02-01 00:00:01", "2026-02-28 23:59:59.999999", None),
        ("2026-03-01 00:00", "2026-03-31 23:59", None),
        # Nobody was there in February and March.
        ("2026-01-01 00:00:01", "2026-03-15 12:00", "2026-03-01 00:00"),
        # One that was started by hand counts.
        ("2026-03-10 08:00", "2026-03-15 12:00", None),
    ],
)
def test_a_job_is_due_when_it_has_not_begun_since_its_last_time(last, now, due) -> None:
    assert due_since(job(last, now)) == (at(due) if due else None)
    assert due_since(job(last, now, enabled=False)) is None


@pytest.mark.parametrize("outcome", ["running", "interrupted"])
def test_a_run_that_was_cut_off_is_done_again_and_not_at_every_moment(outcome) -> None:
    assert due_since(job("2026-03-01 00:00", "2026-03-01 00:00:59", outcome=outcome)) is None
    assert due_since(job("2026-03-01 00:00", "2026-03-01 00:01:01", outcome=outcome)) == at("2026-03-01")
    assert due_since(job("2026-03-01 00:00", "2026-03-02", outcome="failed")) is None


def test_times_are_of_utc_whatever_the_zone_of_the_session() -> None:
    elsewhere = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert last_time(MONTHLY, elsewhere) == at("2026-02-01")
    assert next_time(MONTHLY, elsewhere) == at("2026-03-01")
    assert next_time(MONTHLY, at("2026-03-01")) == at("2026-04-01")
    assert last_time("30 3 * * 1-5", at("2026-03-01 12:00")) == at("2026-02-27 03:30")


@pytest.mark.parametrize("schedule", ["99 * * * *", "0 0 31 2 *", "-,/ * * * *"])
def test_a_schedule_that_names_no_time_is_never_due(schedule) -> None:
    assert due_since(job(None, "2026-03-15", schedule)) is None
    assert next_time(schedule, at("2026-03-15")) is None
    assert moment_left([job(None, "2026-03-15", schedule)]) == timedelta()


def test_a_crontab_whose_clock_is_ahead_waits_for_the_database() -> None:
    """Otherwise a line for the 1st of the month would run a moment before it, and then not for a month."""
    early = job("2026-02-01 00:00", "2026-02-28 23:59:59")
    assert due_since(early) is None
    assert moment_left([job(None, "2026-02-10"), early]) == timedelta(seconds=1)
    assert due_since(job("2026-02-01 00:00", "2026-03-01 00:00")) == at("2026-03-01")
    assert moment_left([job(None, "2026-02-28 23:59:50")]) == timedelta()
    assert moment_left([job(None, "2026-02-28 23:59:59", enabled=False)]) == timedelta()
    assert timedelta(seconds=1) < LEEWAY < timedelta(seconds=60)


# What.


@pytest.mark.usefixtures("yearly")
def test_everything_in_sql_runs_once_and_the_workers_jobs_do_not(conn: psycopg.Connection, command: Command) -> None:
    assert command()[0] == 0
    assert runs(conn) == {name: ["succeeded"] for name in in_sql(conn)}
    assert command() == (0, "", "")
    assert runs(conn) == {name: ["succeeded"] for name in in_sql(conn)}


def test_months_in_which_nothing_ran_are_caught_up(conn: psycopg.Connection, clock: Clock, command: Command) -> None:
    today = datetime.now(UTC)
    first = (today.replace(day=1) - timedelta(days=45)).replace(day=10)
    clock.freeze(first)
    conn.execute("select billing.set_job('clean_up', false)")  # it would delete the first run
    conn.execute("update billing.billing_tiers set grant_expires_after = null where name = 'tier_2_20'")
    user = uuid4()
    conn.execute("select billing.open_account(%s, 'tier_2_20')", [user])
    assert command()[0] == 0
    assert grants(conn, user) == [f"{first:%Y-%m}"]
    clock.shift()
    code, _, err = command()
    assert (code, err) == (0, "")
    months = {f"{first + timedelta(days=days):%Y-%m}" for days in range((today - first).days + 1)}
    assert len(months) >= 3
    assert grants(conn, user) == sorted(months)
    assert runs(conn)["monthly_grants"] == ["succeeded"] * 2
    assert conn.execute("select * from billing.verify_ledger()").fetchall() == []


@pytest.mark.usefixtures("yearly")
def test_a_job_that_fails_does_not_stop_the_others(conn: psycopg.Connection, command: Command) -> None:
    replace_job(conn, "clean_up", "perform 1 / 0")
    code, out, err = command()
    assert code == 1
    assert err == "Job clean_up: division by zero (22012)\n"
    assert len(out.splitlines()) == len(in_sql(conn)) - 1
    assert runs(conn) == {name: ["failed" if name == "clean_up" else "succeeded"] for name in in_sql(conn)}


def test_a_job_that_is_off_runs_only_by_name(conn: psycopg.Connection, command: Command) -> None:
    conn.execute("select billing.set_job(name, false) from billing.list_jobs()")
    assert command() == (0, "", "")
    assert runs(conn) == {}
    code, out, _ = command("--job", "clean_up")
    assert (code, out.startswith("Job clean_up: 0 rows in ")) == (0, True)
    assert command("--job", "clean_up")[0] == 0
    assert runs(conn) == {"clean_up": ["succeeded"] * 2}


@pytest.mark.usefixtures("yearly")
def test_two_at_once_run_each_job_once(conn: psycopg.Connection, database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: cron_jobs.run(database.url, None), range(4))) == [0] * 4
    assert runs(conn) == {name: ["succeeded"] for name in in_sql(conn)}


def test_a_job_that_another_session_runs_is_left_to_it(
    conn: psycopg.Connection, database: Database, command: Command
) -> None:
    with database.connect() as other:
        pid = other.info.backend_pid
        other.execute("select billing.begin_job('clean_up')")
        told = "Job clean_up: nothing to do here, or another session is at it\n"
        assert command("--job", "clean_up") == (0, told, "")
    wait_until_gone(conn, pid)
    assert runs(conn) == {"clean_up": ["running"]}
    command("--job", "clean_up")
    assert runs(conn) == {"clean_up": ["interrupted", "succeeded"]}


def test_a_job_takes_as_long_as_it_takes(conn: psycopg.Connection, database: Database, command: Command) -> None:
    replace_job(conn, "clean_up", "perform pg_sleep(0.2)")
    hasty = make_conninfo(database.url, options="-c statement_timeout=100")
    assert command("--job", "clean_up", url=hasty)[0] == 0
    assert runs(conn) == {"clean_up": ["succeeded"]}


def test_jobs_run_with_the_rights_of_the_api(conn: psycopg.Connection, command: Command) -> None:
    replace_job(conn, "clean_up", "perform from billing.jobs")
    conn.execute("alter function billing.clean_up security invoker")
    code, _, err = command("--job", "clean_up")
    assert (code, err) == (1, "Job clean_up: permission denied for table jobs (42501)\n")


def test_the_table_of_jobs(conn: psycopg.Connection, command: Command) -> None:
    command("--job", "clean_up")
    conn.execute("select billing.set_job('expire_credits', false)")
    conn.execute("select billing.set_job('release_holds', p_schedule => '0 0 31 2 *')")
    code, out, err = command("--list")
    assert (code, err) == (0, "")
    header, *lines = out.splitlines()
    assert header.split("  ")[0] == "job"
    rows = {line.split()[0]: line for line in lines}
    assert rows.keys() == {row.name for row in conn.execute("select name from billing.list_jobs()")}
    assert "succeeded  0" in rows["clean_up"]
    assert " no " in rows["expire_credits"]
    assert rows["release_holds"].endswith("no such time")
    assert runs(conn) == {"clean_up": ["succeeded"]}, "to look runs nothing"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_job", "There is no job no_such_job: --list shows them."),
        ("deliver_events", "The worker does deliver_events: python -m scripts.worker --once"),
    ],
)
def test_what_it_does_not_run(conn: psycopg.Connection, command: Command, name, message) -> None:
    assert command("--job", name) == (2, "", f"{message}\n")
    assert runs(conn) == {}


def test_without_a_connection_it_says_so(command: Command) -> None:
    code, out, err = command(url="postgresql://nobody@127.0.0.1:1/none")
    assert (code, out, err.startswith("No connection to the database")) == (3, "", True)
