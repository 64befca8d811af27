"""The doctor: a healthy installation passes, and each fault makes its own check fail, which says what to do."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from db.tests.sessions import in_background, wait_until_blocked
from scripts import doctor
from scripts.doctor import CHECKS, Line, examine
from scripts.examination import FAILED, OK, SKIPPED, WARNING, Doctor
from scripts.migrate import migrate
from scripts.pytest_billing import Database, databases
from scripts.schema import SCHEMAS, actual_constraints, expected_schema
from scripts.servers import DEBIAN, ROOT, extension_dir, free_port
from scripts.stripe_simulator import Simulator
from scripts.testserver import TestServer

USER = uuid4()
# Comparing all functions takes most of the time; only faults of functions need it.
QUICK = CHECKS.keys() - {"functions"}


def prepare(conn: psycopg.Connection) -> None:
    """What a migrated database lacks to be in good health: a super admin, and jobs that run."""
    conn.execute("select billing.bootstrap_super_admin(gen_random_uuid())")
    conn.execute("select billing.open_account(%s, 'tier_2_20')", [USER])
    conn.execute("select billing.deduct_credits(%s, 1.5)", [USER])
    conn.execute("select billing.open_account(gen_random_uuid()) from generate_series(1, 5)")
    conn.execute("update billing.jobs set since = clock_timestamp()")
    conn.execute("call billing.run_job('checkpoint_ledger')")


@pytest.fixture(scope="module")
def logins(server: TestServer) -> Iterator[None]:
    """Of the API and of the monitoring; roles belong to the cluster."""
    with server.connect("postgres") as conn:
        conn.execute("create role doctor_app login; create role doctor_monitor login")
        yield
        conn.execute("drop role doctor_app; drop role doctor_monitor")


@pytest.fixture(scope="module")
def installation(pytestconfig: pytest.Config, template: Database, logins: None) -> Iterator[Database]:
    """A database in good health; a test that makes it ill makes it well again."""
    fresh = databases(pytestconfig).copy()
    with fresh.connect() as conn:
        conn.execute("grant billing_api to doctor_app; grant billing_monitor to doctor_monitor")
        prepare(conn)
    yield fresh
    databases(pytestconfig).drop(fresh)


def lines(url: str, environ: Mapping[str, str] | None = None, names: set[str] | None = None) -> list[Line]:
    with psycopg.connect(url, autocommit=True) as conn:
        return list(examine(Doctor(conn, environ or {}), names))


def bad(found: list[Line]) -> list[Line]:
    return [line for line in found if line.status in (WARNING, FAILED)]


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """As a command of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_", "JWT_", "EVENT_"))}
    return subprocess.run(
        [sys.executable, "-m", "scripts.doctor", *arguments],
        cwd=ROOT,
        env=clean | environ,
        capture_output=True,
        text=True,
        check=False,
    )


# Good health.


def test_a_healthy_installation_passes_and_is_not_changed(installation: Database) -> None:
    state = """select (select md5(string_agg(xmin::text || ctid::text, ',' order by oid)) from pg_proc) as functions,
                      (select md5(string_agg(f::text, ',' order by signature)) from billing_migrations.functions f)
                          as records,
                      (select count(*) from billing.job_runs) as runs, (select count(*) from pg_class) as relations"""
    with installation.connect() as conn:
        before = conn.execute(state).fetchone()
        done = run("--database-url", installation.url)
        assert conn.execute(state).fetchone() == before
    assert (done.returncode, done.stderr) == (0, "")
    told = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [status for status, _ in told[:-1]] == [OK] * 20 + [SKIPPED] * 3
    assert [text.startswith(name) for name, (_, text) in zip(CHECKS, told, strict=False)] == [True] * len(CHECKS)
    assert done.stdout.splitlines()[-1] == "20 ok, 0 warnings, 0 failed, 3 skipped"


def test_json_tells_the_same(installation: Database, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(installation.url, names=QUICK)
    assert doctor.tell(iter(found), as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert [Line(**row) for row in told["checks"]] == found
    assert told["counts"] == {OK: 19, WARNING: 0, FAILED: 0, SKIPPED: 3}


def test_the_migrations_are_read_right(installation: Database) -> None:
    """Every constraint with a name of its own is expected, and none that is not there."""
    with installation.connect() as conn:
        actual = actual_constraints(Doctor(conn)).keys()
        tables = {
            f"{row.schemaname}.{row.tablename}"
            for row in conn.execute("select * from pg_tables where schemaname = any (%s)", [list(SCHEMAS)])
        }
        always = conn.execute(
            """select tgrelid::regclass::text, tgname::text from pg_trigger
               where tgfoid = 'billing_private.refuse_change()'::regprocedure"""
        ).fetchall()
        references = conn.execute(
            "select count(*) as keys from pg_constraint where contype = 'f' and connamespace = 'billing'::regnamespace"
        ).fetchone()
    expected = expected_schema()
    assert expected.tables == tables
    assert {name for name in actual - expected.constraints if not re.search(r"_([pf])key$", name[1])} == set()
    assert expected.constraints <= actual
    assert expected.references.total() == references.keys
    assert expected.always == {(f"billing.{of.split('.')[-1]}", name) for of, name in always}
    assert len(expected.always) == 4


# Rights.


@pytest.mark.parametrize("login", ["doctor_app", "doctor_monitor"])
def test_who_may_not_look_is_told_so(installation: Database, login: str) -> None:
    found = lines(make_conninfo(installation.url, user=login))
    assert {line.status for line in found} == {OK, WARNING, SKIPPED}
    for line in bad(found):
        assert line.seen.startswith("not allowed to look: permission denied for ")
        assert line.remedy == "run it as who installed the database"
    seen = {line.check for line in bad(found)}
    assert {"migrations", "functions", "configuration"} <= seen
    assert not seen & {"jobs", "alerts", "schema", "privileges", "append-only", "checkpoint"}
    assert ("accounts" in seen) == (login == "doctor_app"), "the monitor reads accounts"


def test_an_installer_who_is_no_superuser_sees_everything(server: TestServer, logins: None) -> None:
    with server.connect("postgres") as conn:
        conn.execute("create role doctor_installer login createrole")
        conn.execute("create database doctor_app owner doctor_installer")
        try:
            for role in ("billing_owner", "billing_api", "billing_monitor"):
                conn.execute(f"grant {role} to doctor_installer with admin option")
            url = server.conninfo("doctor_app", user="doctor_installer")
            with psycopg.connect(url, autocommit=True) as installer:
                migrate(installer)
                prepare(installer)
            assert bad(lines(url)) == []
        finally:
            conn.execute("drop database doctor_app with (force)")
            conn.execute("drop owned by doctor_installer")
            conn.execute("drop role doctor_installer")


# Faults.

LEDGER_OFF = "alter table billing.credit_ledger disable trigger credit_ledger_append_only"
LEDGER_ON = "alter table billing.credit_ledger enable always trigger credit_ledger_append_only"
HELD = "alter table billing.credit_accounts add constraint account_held_within_balance check (held <= balance)"
NO_HELD = "alter table billing.credit_accounts drop constraint account_held_within_balance"
NO_RUN = "delete from billing.job_runs where job = 'clean_up'"
DEAD = f"""
update billing.jobs set enabled = true, since = now() where name = 'deliver_events';
insert into billing.billing_events (user_id, event_id, event_no, kind, payload, status, created_at)
values ('{USER}', gen_random_uuid(), 999, 'balance.low', '{{}}', 'dead', now())
"""
REFUSALS = f"select billing.deduct_credits('{USER}', 1000) from generate_series(1, 10)"
TAMPER = f"""
{LEDGER_OFF};
update billing.credit_ledger set amount = amount {{0}} 1 where user_id = '{USER}' and entry_no = 2;
{LEDGER_ON}
"""
CHECKPOINT = """
alter table billing.ledger_checkpoints disable trigger ledger_checkpoints_append_only;
update billing.ledger_checkpoints set accounts = accounts {0} 1;
alter table billing.ledger_checkpoints enable always trigger ledger_checkpoints_append_only
"""
# The fault, its cure, the check that is to tell it, as what, and what it says to do.
FAULTS: dict[str, tuple[str, str, str, str, str]] = {
    "trigger off": (LEDGER_OFF, LEDGER_ON, "append-only", FAILED, LEDGER_ON.removeprefix("alter ")),
    "trigger not always": (
        "alter table billing.credit_ledger enable trigger credit_ledger_append_only",
        LEDGER_ON,
        "append-only",
        FAILED,
        "enable always trigger credit_ledger_append_only",
    ),
    "constraint missing": (NO_HELD, HELD, "schema", FAILED, "grep -rn NAME db/migrations"),
    "constraint not valid": (
        f"{NO_HELD}; {HELD} not valid",
        f"{NO_HELD}; {HELD}",
        "schema",
        FAILED,
        "validate constraint",
    ),
    "domain's constraint missing": (
        "alter domain billing.credits drop constraint credits_not_negative",
        "alter domain billing.credits add constraint credits_not_negative check (value >= 0)",
        "schema",
        FAILED,
        "grep -rn NAME db/migrations",
    ),
    "foreign key missing": (
        "alter table billing.credit_holds drop constraint credit_holds_user_id_fkey",
        "alter table billing.credit_holds add foreign key (user_id) references billing.credit_accounts (user_id)",
        "schema",
        FAILED,
        "grep -rn NAME db/migrations",
    ),
    "index missing": (
        "alter index billing.credit_ledger_idempotency rename to another",
        "alter index billing.another rename to credit_ledger_idempotency",
        "schema",
        FAILED,
        "grep -rn NAME db/migrations",
    ),
    "trigger missing": (
        "alter table billing.billing_tiers disable trigger billing_tiers_keep_amount",
        "alter table billing.billing_tiers enable trigger billing_tiers_keep_amount",
        "schema",
        FAILED,
        "enable trigger",
    ),
    "row level security off": (
        "alter table billing.credit_accounts disable row level security",
        "alter table billing.credit_accounts enable row level security",
        "schema",
        FAILED,
        "enable row level security",
    ),
    "PUBLIC reads a table": (
        "grant select on billing.credit_accounts to public",
        "revoke select on billing.credit_accounts from public",
        "privileges",
        FAILED,
        "revoke all on table billing.credit_accounts from public;",
    ),
    "PUBLIC reads a column": (
        "grant select (balance) on billing.credit_accounts to public",
        "revoke select (balance) on billing.credit_accounts from public",
        "privileges",
        FAILED,
        "revoke all on table billing.credit_accounts from public;",
    ),
    "PUBLIC executes": (
        "grant execute on function billing.get_config() to public",
        "revoke execute on function billing.get_config() from public",
        "privileges",
        FAILED,
        "revoke all on routine billing.get_config from public;",
    ),
    "the API has a table": (
        "grant update on billing.credit_accounts to billing_api",
        "revoke update on billing.credit_accounts from billing_api",
        "privileges",
        FAILED,
        "revoke all on billing.credit_accounts from billing_api;",
    ),
    "the API may do too much": (
        "grant execute on function billing.bootstrap_super_admin(uuid) to billing_api",
        "revoke execute on function billing.bootstrap_super_admin(uuid) from billing_api",
        "privileges",
        FAILED,
        "revoke execute on routine billing.bootstrap_super_admin from billing_api;",
    ),
    "the API may do too little": (
        "revoke execute on function billing.get_account(uuid) from billing_api",
        "grant execute on function billing.get_account(uuid) to billing_api",
        "privileges",
        FAILED,
        "make migrate",
    ),
    "the monitor writes": (
        "grant delete on billing.billing_events to billing_monitor",
        "revoke delete on billing.billing_events from billing_monitor",
        "privileges",
        FAILED,
        "revoke all on billing.billing_events from billing_monitor;",
    ),
    "above row level security": (
        "alter role doctor_app bypassrls",
        "alter role doctor_app nobypassrls",
        "roles",
        FAILED,
        "alter role doctor_app nosuperuser nobypassrls;",
    ),
    "no login": (
        "revoke billing_api from doctor_app",
        "grant billing_api to doctor_app",
        "roles",
        WARNING,
        "create role app login password '…' in role billing_api;",
    ),
    "ahead of the code": (
        "insert into billing_migrations.applied (version, name, checksum) values ('29990101000000', 'later', 'x')",
        "delete from billing_migrations.applied where version = '29990101000000'",
        "migrations",
        FAILED,
        "deploy the code",
    ),
    "configuration edited": (
        "update billing.billing_settings set low_balance = 2",
        "update billing.billing_settings set low_balance = 1",
        "configuration",
        FAILED,
        "make config-diff",
    ),
    "no super admin": (
        "update billing.user_roles set role = 'admin'",
        "update billing.user_roles set role = 'super_admin'",
        "super admin",
        FAILED,
        "select billing.bootstrap_super_admin(",
    ),
    "job late": (
        "update billing.jobs set since = now() - interval '2 hours' where name = 'release_holds'",
        "update billing.jobs set since = now() where name = 'release_holds'",
        "jobs",
        FAILED,
        "call billing.run_job('release_holds');  see docs/RUNBOOK.md#jobs",
    ),
    "job of the worker's late": (
        "update billing.jobs set since = now() - interval '2 hours' where name = 'stripe_calls'",
        "update billing.jobs set since = now() where name = 'stripe_calls'",
        "jobs",
        FAILED,
        "make worker;  see docs/RUNBOOK.md#jobs",
    ),
    "job failed": (
        "select billing.record_job_run('clean_up', now(), 0, 1, 'Out of luck.')",
        NO_RUN,
        "jobs",
        FAILED,
        "call billing.run_job('clean_up');",
    ),
    "job not begun": (
        "update billing.jobs set since = now() - interval '3 hours' where name = 'missed_grants'",
        "update billing.jobs set since = now() where name = 'missed_grants'",
        "jobs",
        WARNING,
        "call billing.run_job('missed_grants');",
    ),
    "schedule that is none": (
        "update billing.jobs set schedule = '0 0 30 2 *' where name = 'clean_up'",
        "update billing.jobs set schedule = '45 4 * * *' where name = 'clean_up'",
        "jobs",
        FAILED,
        "select billing.set_job('clean_up', p_schedule =>",
    ),
    "nobody runs jobs": (
        "update billing.job_runs set started_at = started_at - interval '1 hour'",
        "update billing.job_runs set started_at = started_at + interval '1 hour'",
        "pg_cron",
        WARNING,
        "make worker",
    ),
    "entry changed": (TAMPER.format("-"), TAMPER.format("+"), "accounts", FAILED, "docs/RUNBOOK.md#entry_changed"),
    "checkpoint changed": (
        CHECKPOINT.format("+"),
        CHECKPOINT.format("-"),
        "checkpoint",
        FAILED,
        "docs/RUNBOOK.md#checkpoint_changed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_makes_its_check_fail_and_no_other(installation: Database, fault: str) -> None:
    ill, well, check, status, remedy = FAULTS[fault]
    with installation.connect() as conn:
        conn.execute(ill)
        found = bad(lines(installation.url, names=QUICK))
        conn.execute(well)
    assert {(line.check, line.status) for line in found} == {(check, status)}, found
    assert all(line.remedy and remedy in line.remedy for line in found), found
    assert bad(lines(installation.url, names={check})) == []


def test_an_event_that_was_given_up_is_told(installation: Database) -> None:
    """While delivery is on; off, nobody waits for it."""
    with installation.connect() as conn:
        conn.execute(DEAD)
        (line,) = bad(lines(installation.url, names={"alerts"}))
        assert "docs/RUNBOOK.md#undelivered_events" in (line.remedy or "")
        conn.execute("update billing.jobs set enabled = false where name = 'deliver_events'")
        assert bad(lines(installation.url, names={"alerts"})) == []
        conn.execute("delete from billing.billing_events where event_no = 999")


def test_a_wrong_search_path_is_told_with_the_right_one(installation: Database) -> None:
    with installation.connect() as conn:
        conn.execute(f'alter database {installation.name} set search_path = app, "$user", public')
        (line,) = bad(lines(installation.url, names=QUICK))
        assert (line.check, line.status) == ("search_path", FAILED)
        conn.execute(line.remedy)
        (line,) = lines(installation.url, names={"search_path"})
    assert (line.status, line.seen) == (OK, 'app, "$user", public, billing')


def test_functions_that_are_not_those_of_the_files(installation: Database) -> None:
    edited = "billing_private.period_of(timestamp with time zone)"
    with installation.connect() as conn:
        before = conn.execute("select pg_get_functiondef(%s::regprocedure) as text", [edited]).fetchone().text
        conn.execute(before.replace("month", "year"))
        conn.execute("drop function billing_private.job_lock(text)")
        conn.execute("create function billing_private.old() returns int language sql as 'select 1'")
        conn.execute("revoke all on function billing_private.old() from public")
        conn.execute("insert into billing_migrations.functions values ('billing_private.old()', 'old.sql')")
    found = bad(lines(installation.url))
    with psycopg.connect(installation.url, autocommit=True) as conn:
        migrate(conn)
    assert {(line.check, line.status, line.remedy) for line in found} == {("functions", FAILED, "make migrate")}
    assert [line.seen for line in found] == [
        f"not what its file says: {edited}",
        "missing: billing_private.job_lock(text)",
        "without a file: billing_private.old()",
    ]
    assert [line.status for line in lines(installation.url, names={"functions"})] == [OK]


def test_accounts_that_are_refused_again_and_again_are_a_warning(database: Database, conn: psycopg.Connection) -> None:
    prepare(conn)
    conn.execute(REFUSALS)
    (line,) = lines(database.url, names={"alerts"})
    assert (line.status, line.remedy) == (WARNING, "docs/RUNBOOK.md#failed_deductions")
    assert str(USER) in line.seen


def test_what_was_never_migrated_says_make_migrate(empty_database: Database) -> None:
    found = bad(lines(empty_database.url))
    assert {line.check for line in found} >= {"migrations", "schema", "jobs", "alerts", "accounts"}
    assert {line.remedy for line in found if line.check in ("migrations", "jobs", "alerts")} == {"make migrate"}
    assert doctor.tell(iter(found), as_json=False) == 1


def test_without_a_connection_the_exit_code_is_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["doctor", "--database-url", f"postgresql://127.0.0.1:{free_port()}/nowhere"])
    assert doctor.main() == 3
    assert capsys.readouterr().err.startswith("No connection to the database: ")
    monkeypatch.setattr(sys, "argv", ["doctor", "--database-url", "postgresql://["])
    assert doctor.main() == 3
    monkeypatch.setattr(sys, "argv", ["doctor", "--sample", "-1"])
    with pytest.raises(SystemExit, match="2"):
        doctor.main()


# What it stands on: sizes and ages can't be made here, so what is too much is set low.


@pytest.mark.parametrize(
    ("name", "limit", "check", "status"),
    [
        ("CLOCK_SECONDS", -1, "clock", FAILED),
        ("GIB", 1 << 60, "disk", FAILED),
        ("OLDEST_TRANSACTION", 0, "vacuum", FAILED),
        ("VERSIONS", range(90, 99), "server", FAILED),
    ],
)
def test_too_much_of_something(
    installation: Database, monkeypatch: pytest.MonkeyPatch, name: str, limit: object, check: str, status: str
) -> None:
    monkeypatch.setattr(doctor, name, limit)
    (line,) = bad(lines(installation.url, names=QUICK))
    assert (line.check, line.status) == (check, status)
    assert line.remedy


def test_old_transactions_and_who_waits_for_them(installation: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LONG_TRANSACTION", "LONG_WAIT", "BLOCKED"):
        monkeypatch.setattr(doctor, name, "0 seconds")
    with installation.connect() as old, installation.connect() as waiting:
        holder, waiter = old.info.backend_pid, waiting.info.backend_pid
        with old.transaction():
            old.execute("select pg_advisory_xact_lock(42)")
            with in_background(waiting, "select pg_advisory_lock(42)"):
                wait_until_blocked(old, waiting)
                found = lines(installation.url, names={"transactions"})
    (blocked,) = [line for line in found if line.status == FAILED]
    assert f"process {waiter} has waited for a lock" in blocked.seen
    assert blocked.remedy == f"select pg_terminate_backend({holder});"
    assert any(line.status == WARNING and f"process {holder} " in line.seen for line in found)


# What it depends on.


def test_stripe_is_asked_with_the_key(installation: Database) -> None:
    with Simulator(webhook_secret="whsec_doctor") as simulator:
        environ = {
            "STRIPE_SECRET_KEY": "sk_test_of_the_doctor",
            "STRIPE_WEBHOOK_SECRET": "whsec_doctor",
            "STRIPE_API_BASE": simulator.url,
        }
        names = {"settings", "stripe"}
        settings, stripe = lines(installation.url, environ, names)
        assert (settings.status, stripe.status) == (OK, OK)
        assert "sk_test" not in settings.seen + stripe.seen
        (wrong,) = bad(lines(installation.url, environ | {"STRIPE_SECRET_KEY": "sk_wrong"}, names))
        assert (wrong.check, wrong.status) == ("stripe", FAILED)
        assert "does not accept the key" in wrong.seen
        assert "STRIPE_SECRET_KEY" in (wrong.remedy or "")
        assert [each["path"] for each in simulator.requests("POST")] == [], "it only reads"
    (away,) = bad(lines(installation.url, environ, names))
    assert (away.check, away.status) == ("stripe", FAILED)


def test_settings_are_read_as_the_api_reads_them(installation: Database) -> None:
    environ = {"JWT_SECRET": "short", "STRIPE_SECRET_KEY": "pk_public", "EVENT_WEBHOOK_URL": "nowhere"}
    found = bad(lines(installation.url, environ, {"settings"}))
    assert len(found) >= 3
    assert {line.status for line in found} == {FAILED}
    told = " ".join(line.seen for line in found)
    assert all(name in told for name in environ)
    assert "pk_public" not in told


def test_a_receiver_is_connected_to_and_sent_nothing(installation: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as receiver, installation.connect() as conn:
        environ = {"EVENT_WEBHOOK_URL": f"http://127.0.0.1:{receiver.getsockname()[1]}/events"}
        conn.execute("select billing.set_job('deliver_events', p_enabled => true)")
        (line,) = lines(installation.url, environ, {"receiver"})
        connection, _ = receiver.accept()
        with connection:
            assert connection.recv(1) == b""
        assert line.status == OK
        receiver.close()
        (line,) = lines(installation.url, environ, {"receiver"})
        assert (line.status, line.remedy) == (FAILED, "docs/RUNBOOK.md#undelivered_events")
        (line,) = lines(installation.url, {}, {"receiver"})
        assert line.status == WARNING
        conn.execute("select billing.set_job('deliver_events', p_enabled => false)")


# pg_cron.


@pytest.fixture
def cron(pytestconfig: pytest.Config) -> Iterator[psycopg.Connection]:
    """A server whose pg_cron goes by another time zone; PostgreSQL 15 has the extension."""
    if databases(pytestconfig).version != DEBIAN or not (extension_dir(DEBIAN) / "pg_cron.control").exists():
        pytest.skip("pg_cron is Debian's")
    server = TestServer(DEBIAN, {"cron.timezone": "Europe/Berlin"})
    try:
        with server.connect("postgres") as conn:
            conn.execute("create extension pg_cron")
            migrate(conn)
            prepare(conn)
            yield conn
    finally:
        server.stop()


def test_pg_cron_has_the_jobs_of_the_table(cron: psycopg.Connection) -> None:
    def found() -> list[tuple[str, str | None]]:
        return [(line.status, line.remedy) for line in examine(Doctor(cron, {}), {"pg_cron"})]

    zone = (FAILED, "alter system set cron.timezone = 'GMT'; and restart: the schedules of billing.jobs are UTC")
    again = (FAILED, "call billing.schedule_jobs();  -- as postgres")
    assert found() == [zone, (OK, None)], "nothing is scheduled, and something else has run a job"
    cron.execute("call billing.schedule_jobs()")
    assert found() == [zone, (OK, None)]
    cron.execute("select cron.unschedule('billing.clean_up')")
    assert found() == [zone, again]
    cron.execute("call billing.schedule_jobs()")
    cron.execute("select billing.set_job('clean_up', p_schedule => '0 5 * * *')")
    assert found() == [zone, again]
    cron.execute("call billing.schedule_jobs()")
    cron.execute(
        """insert into cron.job_run_details (jobid, runid, command, status, return_message)
           select jobid, 1, command, 'failed', 'connection failed' from cron.job limit 1"""
    )
    (_, _, failed) = found()
    assert failed[0] == FAILED
    assert "pg_hba.conf" in (failed[1] or "")
