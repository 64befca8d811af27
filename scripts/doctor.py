"""Check a live installation: server, schema, rights, jobs, alerts, the ledger itself, and what it depends on.

    python -m scripts.doctor [--database-url URL] [--sample N] [--json]

A line per check: ok, warning, FAILED, or skipped where there is nothing to check; what is not ok says what to do. It
changes nothing: the functions are compared by a dry run of scripts/migrate.py, which is rolled back. Run it as whoever
installed the database, who may look at everything, and with the API's environment, so that its settings, Stripe and the
receiver of events are checked too. What a login may not see is a warning.

Exit codes: 0 nothing has failed, 1 something has, 2 wrong usage, 3 no connection.
"""

import argparse
import shutil
import socket
import sys
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import simplejson
import stripe
from croniter import croniter
from croniter.croniter import CroniterError

from api.settings import ConfigurationError, Settings, not_url
from api.stripe_client import make_client
from scripts import config
from scripts.examination import FAILED, OK, RUNBOOK, SKIPPED, WARNING, Check, Doctor, Result, some
from scripts.migrate import describe
from scripts.schema import (
    check_append_only,
    check_functions,
    check_migrations,
    check_privileges,
    check_roles,
    check_schema,
    check_search_path,
)
from scripts.servers import ServerError, reachable_database

VERSIONS = range(15, 19)
# How far the clocks of this machine and the server's may be apart, in seconds.
CLOCK_SECONDS = 5
# So long after its time a job may still be about to begin.
GRACE = timedelta(minutes=10)
# Transactions this old keep vacuum from its work; a lock waited for this long keeps somebody from theirs.
LONG_TRANSACTION = "5 minutes"
LONG_WAIT = "10 seconds"
BLOCKED = "1 minute"
GIB = 1024**3
# PostgreSQL stops when the oldest transaction is two thousand million back.
OLDEST_TRANSACTION = 1_500_000_000
# Dead rows that vacuum has not come to.
DEAD_ROWS = 100_000

# Whoever is on call looks into these in the morning; every other alert is somebody's money.
MILD_ALERTS = {"failed_deductions", "admin_activity"}
API_SETTINGS = ("JWT_", "STRIPE_", "EVENT_")


class Line(NamedTuple):
    """A result with the name of its check."""

    check: str
    status: str
    seen: str
    remedy: str | None


def examine(doctor: Doctor, names: Collection[str] | None = None) -> Iterator[Line]:
    """Run the checks of these names, or all; raises psycopg.OperationalError when the connection is lost."""
    for name, check in CHECKS.items():
        if names is None or name in names:
            yield from (Line(name, *result) for result in doctor.results(check, writes=check in WRITING))


def ago(seconds: float) -> str:
    """A stretch of time as a person says it."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


# The server.


def check_server(doctor: Doctor) -> Iterator[Result]:
    row = doctor.row(
        """select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
                  pg_is_in_recovery() as standby"""
    )
    if row.number // 10000 not in VERSIONS:
        supported = f"{VERSIONS[0]} to {VERSIONS[-1]}"
        yield Result(FAILED, f"PostgreSQL {row.version}; supported are {supported}", "upgrade with pg_upgrade")
    else:
        yield Result(OK, f"PostgreSQL {row.version}{', a standby' if row.standby else ''}")


def check_encoding(doctor: Doctor) -> Iterator[Result]:
    encoding = doctor.row("select getdatabaseencoding()::text as name").name
    if encoding == "UTF8":
        yield Result(OK, "UTF8")
    else:
        remedy = "createdb --encoding=UTF8 --template=template0 billing_utf8, and pg_restore a dump into it"
        yield Result(FAILED, f"the database is {encoding}: names and reasons will not fit", remedy)


def check_clock(doctor: Doctor) -> Iterator[Result]:
    """The middle of the round trip is when the server looked at its clock, give or take half of it."""
    doctor.row("select 1 as warm")
    before = datetime.now(UTC)
    row = doctor.row("select clock_timestamp() as now, current_setting('TimeZone') as zone")
    after = datetime.now(UTC)
    off = abs((row.now - before - (after - before) / 2).total_seconds()) - (after - before).total_seconds() / 2
    zone = f"the session's time zone, {row.zone}, does not matter: times are kept in UTC"
    if off > CLOCK_SECONDS:
        remedy = "timedatectl set-ntp true, on the server and here: expiries, holds and months go by the server's clock"
        yield Result(FAILED, f"the server's clock and this machine's are {off:.0f} s apart", remedy)
    else:
        yield Result(OK, f"the server's clock and this machine's agree; {zone}")


def check_pg_cron(doctor: Doctor) -> Iterator[Result]:
    """Its jobs are those of billing.jobs, or it has none of them and something else runs them."""
    row = doctor.row(
        """select exists (select from pg_extension where extname = 'pg_cron') as here,
                  current_setting('cron.timezone', true) as zone"""
    )
    if not row.here:
        yield from who_runs_jobs(doctor, "pg_cron is not in this database")
        return
    if row.zone not in (None, "GMT", "UTC", "Etc/UTC"):
        remedy = "alter system set cron.timezone = 'GMT'; and restart: the schedules of billing.jobs are UTC"
        yield Result(FAILED, f"pg_cron goes by {row.zone}", remedy)
    scheduled = {
        job.jobname: job
        for job in doctor.rows(
            """select jobid, jobname, schedule, active, username from cron.job
               where database = current_database() and jobname like 'billing.%'"""
        )
    }
    if not scheduled:
        yield from who_runs_jobs(doctor, "pg_cron is here, and runs none of our jobs that this login sees")
        return
    wanted = {
        f"billing.{job.name}": job.schedule
        for job in doctor.rows("select * from billing.list_jobs() where enabled and function is not null")
    }
    wrong = [name for name, job in scheduled.items() if wanted.get(name) != job.schedule or not job.active]
    wrong += [name for name in wanted if name not in scheduled]
    users = " or ".join(sorted({job.username for job in scheduled.values()}))
    if wrong:
        remedy = f"call billing.schedule_jobs();  -- as {users}"
        yield Result(FAILED, f"pg_cron does not have what billing.jobs says: {some(sorted(wrong))}", remedy)
    else:
        yield Result(OK, f"pg_cron runs {len(scheduled)} jobs as {users}")
    yield from cron_failures(doctor, [job.jobid for job in scheduled.values()])


def cron_failures(doctor: Doctor, ids: list[int]) -> Iterator[Result]:
    """What keeps pg_cron from calling; a job that was called and failed has a run, and the jobs' check tells it."""
    for row in doctor.rows(
        """select distinct on (jobid) command, status, return_message, username from cron.job_run_details
           where jobid = any (%s) and status in ('failed', 'succeeded') order by jobid, runid desc""",
        ids,
    ):
        if row.status == "failed" and "job_failed" not in (row.return_message or ""):
            remedy = (
                f"let {row.username} log in from the server itself (pg_hba.conf, or cron.use_background_workers = on)"
            )
            yield Result(FAILED, f"pg_cron can't do {row.command!r}: {(row.return_message or '').strip()}", remedy)
            return


def who_runs_jobs(doctor: Doctor, why: str) -> Iterator[Result]:
    row = doctor.row(
        """select extract(epoch from clock_timestamp() - max(started_at))::bigint as seconds
           from billing.list_job_runs(p_limit => 1)"""
    )
    remedy = "make worker, or cron: * * * * * .venv/bin/python -m scripts.cron_jobs"
    if row.seconds is None:
        yield Result(WARNING, f"{why}, and no job has ever run", remedy)
    elif row.seconds > GRACE.total_seconds():
        yield Result(WARNING, f"{why}, and the last run of any job was {ago(row.seconds)} ago", remedy)
    else:
        yield Result(OK, f"{why}; the worker or cron does them, the last one {ago(row.seconds)} ago")


def check_super_admin(doctor: Doctor) -> Iterator[Result]:
    count = doctor.row("select count(*) as admins from billing.user_roles where role = 'super_admin'").admins
    if count:
        yield Result(OK, f"{count} super admin{'s' if count > 1 else ''}")
    else:
        remedy = "select billing.bootstrap_super_admin('<user id>');  -- as the installer"
        yield Result(FAILED, "there is no super admin: nobody can refund, or make an admin", remedy)


def check_configuration(doctor: Doctor) -> Iterator[Result]:
    try:
        rows = config.changes(doctor.conn, "diff_config", config.read_file(config.FILE))
    except config.ConfigError as error:
        yield Result(FAILED, str(error), "correct api/billing_config.py, or make config-pull")
        return
    if rows:
        names = [f"{config.SECTIONS[row['section']][0]}[{row['name']}]" for row in rows]
        remedy = "make config-diff, then make config-apply or make config-pull"
        yield Result(FAILED, f"tables and api/billing_config.py differ: {some(names)}", remedy)
    else:
        yield Result(OK, "tables and api/billing_config.py agree")


# What runs.


def check_jobs(doctor: Doctor) -> Iterator[Result]:
    """What alert_jobs tells is wrong; a job that has not begun since it was due may become so."""
    now = doctor.row("select clock_timestamp() as now").now
    jobs = doctor.rows("select * from billing.list_jobs()")
    may = doctor.row("select has_table_privilege('billing.jobs', 'select') as may").may
    since = {row.name: row.since for row in doctor.rows("select name, since from billing.jobs")} if may else {}
    results = [result for job in jobs if job.enabled for result in job_results(job, since.get(job.name), now)]
    yield from results
    off = [job.name for job in jobs if not job.enabled]
    if not results:
        yield Result(OK, f"{len(jobs) - len(off)} jobs run on time" + (f"; off: {some(off)}" if off else ""))


def job_results(job: Any, since: datetime | None, now: datetime) -> Iterator[Result]:
    worker = f"make worker;  see {RUNBOOK}#jobs"
    run = worker if job.function is None else f"call billing.run_job('{job.name}');  see {RUNBOOK}#jobs"
    if job.problem == "late":
        last = f"{job.succeeded_at:%Y-%m-%d %H:%M} UTC" if job.succeeded_at else "never"
        yield Result(FAILED, f"{job.name} is late: it last succeeded {last}", run)
    elif job.problem is not None:
        yield Result(
            FAILED, f"{job.name} {'has ' if job.problem == 'failed' else 'was '}{job.problem}: {job.last_error}", run
        )
    else:
        try:
            due = croniter(job.schedule, now - GRACE).get_prev(datetime)
        except CroniterError as error:
            remedy = f"select billing.set_job('{job.name}', p_schedule => '…');"
            yield Result(FAILED, f"{job.name} has the schedule {job.schedule!r}, which is none: {error}", remedy)
            return
        begun = max(filter(None, (job.last_started_at, since)), default=now)
        if begun < due:
            yield Result(WARNING, f"{job.name} was due at {due:%Y-%m-%d %H:%M} UTC, and has not begun since", run)


def check_alerts(doctor: Doctor) -> Iterator[Result]:
    """Each alert view that is not empty. That of the jobs is the jobs' check."""
    alerts = [row for row in doctor.rows("select * from billing.list_alerts()") if row.alert != "jobs"]
    for row in alerts:
        if row.rows:
            sample = simplejson.dumps(row.sample, use_decimal=True)
            status = WARNING if row.alert in MILD_ALERTS else FAILED
            yield Result(status, f"alert_{row.alert}: {row.rows} rows, such as {sample}", f"{RUNBOOK}#{row.alert}")
    if not any(row.rows for row in alerts):
        yield Result(OK, f"all {len(alerts)} views are empty")


# The ledger.


def check_accounts(doctor: Doctor) -> Iterator[Result]:
    """Verifies accounts taken at random: from some pages of the table where it is large."""
    if doctor.sample == 0:
        yield Result(SKIPPED, "--sample 0")
        return
    estimate = doctor.row("select reltuples from pg_class where oid = 'billing.credit_accounts'::regclass").reltuples
    share = min(100.0, 100 * 50 * doctor.sample / estimate) if estimate > 0 else 100.0
    ids: list[Any] = []
    for percent in sorted({share, 100.0}):
        if len(ids) < doctor.sample:
            query = """select user_id from billing.credit_accounts tablesample system (%s) order by random() limit %s"""
            ids = doctor.rows(query, percent, doctor.sample)
    bad = [
        (row.user_id, finding)
        for row in ids
        for finding in doctor.rows("select * from billing.verify_account(%s)", row.user_id)
    ]
    for user_id, finding in bad[:5]:
        where = f"entry {finding.entry_no}" if finding.entry_no is not None else "the account"
        seen = f"user {user_id}, {where}: {finding.problem}: {finding.detail}"
        yield Result(FAILED, seen, f"{RUNBOOK}#{finding.problem}")
    if len(bad) > 5:
        yield Result(
            FAILED, f"{len(bad) - 5} findings more", "call billing.run_job('checkpoint_ledger');  finds all of them"
        )
    if not bad:
        yield Result(OK, f"{len(ids)} accounts taken at random verify")


def check_checkpoint(doctor: Doctor) -> Iterator[Result]:
    run = "call billing.run_job('checkpoint_ledger');"
    newest = doctor.rows(
        """select *, extract(epoch from clock_timestamp() - finished_at)::bigint as age
           from billing.list_checkpoints(p_limit => 1)"""
    )
    if not newest:
        yield Result(WARNING, "there is none yet", run)
        return
    (row,) = newest
    seen = (
        f"{row.checkpoint_hash} of {row.finished_at:%Y-%m-%d %H:%M} UTC: {row.accounts} accounts,"
        f" {row.entries} entries, {row.balance} credits, {row.findings} findings"
    )
    if doctor.row("select has_schema_privilege('billing_private', 'usage') as may").may:
        good = doctor.row(
            """select c.checkpoint_hash
                      = billing_private.checkpoint_hash(coalesce(p.checkpoint_hash::bytea, ''), c) as good
               from (select * from billing.ledger_checkpoints order by checkpoint_id desc limit 1) c
               left join lateral (
                   select checkpoint_hash from billing.ledger_checkpoints
                   where checkpoint_id < c.checkpoint_id order by checkpoint_id desc limit 1
               ) p on true"""
        ).good
        if not good:
            yield Result(
                FAILED, f"the newest checkpoint is not what was written: {seen}", f"{RUNBOOK}#checkpoint_changed"
            )
            return
    if row.age > timedelta(days=2).total_seconds():
        yield Result(WARNING, f"the newest is older than two days: {seen}", run)
    else:
        yield Result(OK, seen)


# What it stands on.


def check_disk(doctor: Doctor) -> Iterator[Result]:
    """Sizes; and what is free, if the server runs on this machine and says where its data are."""
    row = doctor.row(
        """select pg_database_size(current_database()) as size, pg_backend_pid() as pid,
                  case when pg_has_role('pg_read_all_settings', 'usage')
                      then current_setting('data_directory') end as data"""
    )
    tables = doctor.rows(
        """select c.relname::text as name, pg_total_relation_size(c.oid) as size
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname in ('billing', 'billing_private') and c.relkind = 'r' order by 2 desc limit 3"""
    )
    largest = ", ".join(f"{table.name} {size(table.size)}" for table in tables)
    seen = f"the database has {size(row.size)}" + (f" ({largest})" if tables else "")
    if not runs_here(row.pid) or row.data is None or not Path(row.data).is_dir():
        yield Result(OK, f"{seen}; what is free can't be seen from here")
        return
    disk = shutil.disk_usage(row.data)
    seen += f"; {size(disk.free)} of {size(disk.total)} are free"
    if disk.free < GIB:
        yield Result(FAILED, seen, f"enlarge the disk of {row.data}: PostgreSQL stops when it is full")
    elif disk.free < disk.total // 10:
        yield Result(
            WARNING, seen, f"enlarge the disk of {row.data}, or look for what fills it: du -xh {row.data} | sort -h"
        )
    else:
        yield Result(OK, seen)


def runs_here(pid: int) -> bool:
    """Whether a server process is one of this machine's."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip().startswith("postgres")
    except OSError:
        return False


def size(count: int) -> str:
    for unit, power in (("GB", 3), ("MB", 2)):
        if count >= 1024**power:
            return f"{count / 1024**power:.1f} {unit}"
    return f"{count // 1024} kB"


def check_vacuum(doctor: Doctor) -> Iterator[Result]:
    """Whether transaction numbers are far from wrapping around, and dead rows do not pile up."""
    row = doctor.row(
        """select greatest(age(datfrozenxid), mxid_age(datminmxid)) as age,
                  current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean as enabled,
                  greatest(current_setting('autovacuum_freeze_max_age')::bigint,
                      current_setting('autovacuum_multixact_freeze_max_age')::bigint) as freeze_at
           from pg_database where datname = current_database()"""
    )
    dead = doctor.rows(
        """select relname::text as name, n_dead_tup as dead from pg_stat_user_tables
           where schemaname in ('billing', 'billing_private') and n_dead_tup > greatest(%s, n_live_tup)""",
        DEAD_ROWS,
    )
    if row.age > OLDEST_TRANSACTION:
        remedy = "vacuumdb --freeze --jobs=2 DATABASE, once no old transaction, slot or prepared transaction is left"
        yield Result(
            FAILED, f"the oldest transaction is {row.age:,} back, and the server stops at 2,146,483,647", remedy
        )
    elif row.age > 2 * row.freeze_at:
        remedy = "select * from pg_stat_progress_vacuum;  and look for old transactions and replication slots"
        yield Result(WARNING, f"the oldest transaction is {row.age:,} back: autovacuum does not keep up", remedy)
    if not row.enabled:
        yield Result(FAILED, "autovacuum is off", "alter system set autovacuum = on; select pg_reload_conf();")
    for table in dead:
        yield Result(WARNING, f"{table.name} has {table.dead:,} dead rows", f"vacuum analyze billing.{table.name};")
    if row.enabled and row.age <= 2 * row.freeze_at and not dead:
        yield Result(OK, f"the oldest transaction is {row.age:,} back, and no table has more dead rows than live ones")


def check_transactions(doctor: Doctor) -> Iterator[Result]:
    """Old transactions, prepared ones included, and who waits for a lock, and for whom."""
    old = doctor.rows(
        """select pid, coalesce(usename::text, '') as role, coalesce(state, '') as state,
                  extract(epoch from clock_timestamp() - xact_start)::bigint as seconds
           from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
               and xact_start < clock_timestamp() - %s::interval""",
        LONG_TRANSACTION,
    )
    prepared = doctor.rows(
        """select gid, extract(epoch from clock_timestamp() - prepared)::bigint as seconds from pg_prepared_xacts
           where database = current_database() and prepared < clock_timestamp() - %s::interval""",
        LONG_TRANSACTION,
    )
    waiting = doctor.rows(
        """select distinct a.pid, extract(epoch from clock_timestamp() - l.waitstart)::bigint as seconds,
                  pg_blocking_pids(a.pid) as blockers, l.waitstart < clock_timestamp() - %s::interval as blocked
           from pg_locks l join pg_stat_activity a on a.pid = l.pid
           where a.datname = current_database() and not l.granted and l.waitstart < clock_timestamp() - %s::interval""",
        BLOCKED,
        LONG_WAIT,
    )
    for row in old:
        remedy = f"select pg_terminate_backend({row.pid});  if nobody needs it: it keeps vacuum from its work"
        yield Result(
            WARNING, f"process {row.pid} ({row.role}, {row.state}) has a transaction of {ago(row.seconds)}", remedy
        )
    for row in prepared:
        remedy = f"rollback prepared '{row.gid}';  or commit it"
        yield Result(WARNING, f"the transaction {row.gid!r} has been prepared for {ago(row.seconds)}", remedy)
    for row in waiting:
        # A blocker of 0 is a prepared transaction.
        blockers = [pid for pid in row.blockers if pid]
        remedy = f"select pg_terminate_backend({blockers[0]});" if blockers else "select * from pg_prepared_xacts;"
        held_by = some([str(pid) for pid in row.blockers])
        seen = f"process {row.pid} has waited for a lock for {ago(row.seconds)}, held by {held_by}"
        yield Result(FAILED if row.blocked else WARNING, seen, remedy)
    if not (old or prepared or waiting):
        full = doctor.row("select pg_has_role('pg_read_all_stats', 'usage') as may").may
        yield Result(OK, "none is old, and nobody waits for a lock" + ("" if full else ", as far as this login sees"))


# What the API reads from its environment, and whom it talks to.


def read_settings(doctor: Doctor) -> Settings:
    """As the API and the worker read them; the worker needs no way to check a token. Raises ConfigurationError."""
    ours = {"DATABASE_URL": doctor.environ.get("DATABASE_URL") or "postgresql://"}
    if not doctor.environ.get("JWT_SECRET") and not doctor.environ.get("JWT_JWKS_URL"):
        ours["JWT_SECRET"] = "0" * 64
    return Settings.read({**doctor.environ, **ours})


def check_settings(doctor: Doctor) -> Iterator[Result]:
    names = sorted(name for name, value in doctor.environ.items() if name.startswith(API_SETTINGS) and value)
    try:
        settings = read_settings(doctor)
    except ConfigurationError as error:
        for mistake in str(error).splitlines()[1:] or [str(error)]:
            yield Result(
                FAILED, mistake, "correct it in the environment of the API and the worker; README, Run the API"
            )
        return
    if not names:
        yield Result(SKIPPED, "none of the API's settings is in this environment")
        return
    seen = f"well formed: {', '.join(names)}"
    if settings.stripe_key and not settings.stripe_webhook_secrets:
        yield Result(
            WARNING,
            f"{seen}; without STRIPE_WEBHOOK_SECRET no event is believed",
            "export STRIPE_WEBHOOK_SECRET=whsec_…",
        )
    else:
        yield Result(OK, seen)


def check_stripe(doctor: Doctor) -> Iterator[Result]:
    """Asks for one customer, which is what the key must be able to do before anything else."""
    if not doctor.environ.get("STRIPE_SECRET_KEY"):
        yield Result(SKIPPED, "STRIPE_SECRET_KEY is not in this environment")
        return
    try:
        settings = read_settings(doctor)
    except ConfigurationError:
        yield Result(SKIPPED, "asked once the settings are well formed")
        return
    where = settings.stripe_api_base or "https://api.stripe.com"
    try:
        make_client(settings).v1.customers.list({"limit": 1})
    except stripe.AuthenticationError as error:
        remedy = "export STRIPE_SECRET_KEY=… as Stripe's dashboard has it: Developers, API keys"
        yield Result(FAILED, f"{where} does not accept the key: {error.user_message or error}", remedy)
    except stripe.PermissionError as error:
        yield Result(
            FAILED, f"{where}: {error.user_message or error}", "let the restricted key write customers, and the rest"
        )
    except stripe.StripeError as error:
        remedy = f"curl -I {where};  https://status.stripe.com tells whether it is Stripe"
        yield Result(FAILED, f"{where} does not answer as it should: {error.user_message or error}", remedy)
    else:
        mode = "the live mode" if "_live_" in str(settings.stripe_key) else "the test mode"
        yield Result(OK, f"{where} answers, in {mode}")


def check_receiver(doctor: Doctor) -> Iterator[Result]:
    """Only whether something listens there: a POST would be an event."""
    rows = doctor.rows("select enabled from billing.list_jobs() where name = 'deliver_events'")
    enabled, url = any(row.enabled for row in rows), doctor.environ.get("EVENT_WEBHOOK_URL")
    if not url and enabled:
        seen = "deliver_events is on, and EVENT_WEBHOOK_URL is not in this environment"
        yield Result(WARNING, seen, "export EVENT_WEBHOOK_URL=… and EVENT_WEBHOOK_SECRET=… for the worker and for this")
    if not url:
        if not enabled:
            yield Result(SKIPPED, "deliver_events is off, and EVENT_WEBHOOK_URL is not in this environment")
        return
    if not_url(url):
        yield Result(
            FAILED, "EVENT_WEBHOOK_URL is no URL", "export EVENT_WEBHOOK_URL=https://app.example.com/billing-events"
        )
        return
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        seen = f"nobody listens at {host}:{port}: {error}"
        yield Result(FAILED if enabled else WARNING, seen, f"{RUNBOOK}#undelivered_events")
    else:
        seen = f"{host}:{port} accepts connections"
        yield Result(OK, seen if enabled else f"{seen}; deliver_events is off")


CHECKS: dict[str, Check] = {
    "server": check_server,
    "encoding": check_encoding,
    "clock": check_clock,
    "migrations": check_migrations,
    "functions": check_functions,
    "schema": check_schema,
    "append-only": check_append_only,
    "privileges": check_privileges,
    "roles": check_roles,
    "search_path": check_search_path,
    "super admin": check_super_admin,
    "configuration": check_configuration,
    "pg_cron": check_pg_cron,
    "jobs": check_jobs,
    "alerts": check_alerts,
    "accounts": check_accounts,
    "checkpoint": check_checkpoint,
    "disk": check_disk,
    "vacuum": check_vacuum,
    "transactions": check_transactions,
    "settings": check_settings,
    "stripe": check_stripe,
    "receiver": check_receiver,
}
# These two need to write, and what they write is rolled back.
WRITING = {check_migrations, check_functions}


def tell(lines: Iterator[Line], *, as_json: bool) -> int:
    """Print the lines as they come, or all of them as JSON; the exit code."""
    told = []
    for line in lines:
        told.append(line)
        if not as_json:
            print(f"{line.status:8} {line.check:14} {line.seen}", flush=True)
            if line.remedy and line.status in (WARNING, FAILED):
                print(f"{'':23} -> {line.remedy}", flush=True)
    counts = {status: sum(line.status == status for line in told) for status in (OK, WARNING, FAILED, SKIPPED)}
    if as_json:
        print(simplejson.dumps({"counts": counts, "checks": [line._asdict() for line in told]}, indent=2))
    else:
        print(f"{counts[OK]} ok, {counts[WARNING]} warnings, {counts[FAILED]} failed, {counts[SKIPPED]} skipped")
    return 1 if counts[FAILED] else 0


def sample_size(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 100_000:
        raise argparse.ArgumentTypeError("0 to 100000")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", help="default: DATABASE_URL, else the embedded server")
    parser.add_argument("--sample", type=sample_size, default=20, help="accounts to verify, at random (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    arguments = parser.parse_args()
    try:
        with (
            reachable_database(arguments.database_url) as url,
            psycopg.connect(
                url, autocommit=True, prepare_threshold=None, connect_timeout=10, application_name="doctor"
            ) as conn,
        ):
            return tell(examine(Doctor(conn, sample=arguments.sample)), as_json=arguments.json)
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {describe(error) if error.sqlstate else error}", file=sys.stderr)
    except psycopg.ProgrammingError as error:
        if error.sqlstate:
            raise
        print(f"The database's URL can't be read: {error}", file=sys.stderr)
    except ServerError as error:
        print(error, file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
