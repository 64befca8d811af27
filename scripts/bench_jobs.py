"""Measure the jobs and the alerts on many accounts while users spend: monthly grants, a checkpoint, plans of queries.

    python -m scripts.bench_jobs [--accounts 100000] [--entries 1000000] [--seconds 60] [--quick]
                                 [--postgres 18|15] [--database-url URL]

The accounts are made as if they had been used all of last month: tier grants, usage, refusals, chains and lots that
verify, most on the free tier, some with an overdue subscription, some frozen. pgbench deducts from random accounts with
4 clients in the first --seconds of a job, and once without a job, for the ratio. What it meets during the grants are
accounts whose credits of last month have expired, so each deduction settles one: the first minutes of a month, not an
average one.

How long a row was locked is exact: from the first entry of a batch, written under its lock, to the commit that
PostgreSQL has noted. The server is a scratch one with fsync on, unless --database-url names an empty database.

Exit codes: 0 measured, 1 a call or a job failed, or an account was not granted exactly once or does not verify, 3 no
server.
"""

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from scripts.bench import (
    DEDUCT,
    KEY,
    VARIABLES,
    BenchError,
    Pgbench,
    Progress,
    markdown,
    positive,
    server,
    surroundings,
)
from scripts.migrate import MigrationError, describe, migrate
from scripts.servers import DEBIAN, EMBEDDED, ServerError

CLIENTS = 4
SAMPLE = 200
RECENT_REFUSALS = 10_000
HOLDS = 5_000
# When a batch has committed is what its locks are measured by.
SETTINGS = {"track_commit_timestamp": "on"}

# A number from 0 up to 1 that depends on n and on what it is for.
CHANCE = """
create or replace function pg_temp.chance(n bigint, what bigint) returns double precision
language sql immutable as $$
    select (pg_catalog.hashint8extended(n, what) & 2147483647) / 2147483648.0
$$;
"""

# Accounts %(first)s to %(last)s. Each recursion makes the next entry of all of them, so hashes are chained although it
# is one statement, and entries lie on disk in the order of their time, as they do where users make them.
ACCOUNTS = """
create temp table made on commit drop as
select
    n, ('00000000-0000-4000-8000-' || 100000000000 + n)::uuid as user_id, t.name as tier, t.display_name,
    t.monthly_credits as credits, 1 + floor(pg_temp.chance(n, 1) * (2 * %(each)s - 1))::bigint as entries,
    (power(pg_temp.chance(n, 2), 2) * 0.65)::numeric as share, n %% 10 = 0 as has_promotion
from generate_series(%(first)s::bigint, %(last)s) n
cross join lateral (select pg_temp.chance(n, 3) as chance offset 0) c
join billing.billing_tiers t on t.name = case
    when c.chance < 0.70 then 'free'
    when c.chance < 0.90 then 'tier_2_20'
    when c.chance < 0.98 then 'tier_6_50'
    else 'tier_200_1000'
end;

insert into billing.credit_ledger (
    user_id, entry_no, created_at, type, amount, balance_after, used_after, operation, idempotency_key, reference_type,
    reference_id, description, metadata, entry_hash
)
with recursive entries as (
    select
        m.user_id, 1::bigint as entry_no, e.created_at, 'tier_grant' as type, m.credits as amount,
        m.credits as balance_after, 0::numeric as used_after, 'grant_tier_credits' as operation,
        e.period as idempotency_key, 'period' as reference_type, e.period as reference_id, e.description,
        null::jsonb as metadata,
        billing_private.entry_hash(
            '\\x', m.user_id, 1, e.created_at, 'tier_grant', m.credits, m.credits, 0, 'grant_tier_credits', e.period,
            'period', e.period, e.description, null, null, null, null
        ) as entry_hash,
        m.n, m.entries, m.credits, m.share, m.has_promotion
    from made m
    cross join lateral (
        select
            %(from)s + (%(to)s - %(from)s) * (pg_temp.chance(m.n, 4) / (2 * %(each)s)) as created_at,
            to_char(%(from)s at time zone 'UTC', 'YYYY-MM') as period,
            format('%%s credits of %%s', m.display_name, to_char(%(from)s at time zone 'UTC', 'YYYY-MM')) as description
        offset 0
    ) e
    union all
    select
        b.user_id, e.entry_no, e.created_at, k.type, k.amount, b.balance_after + k.amount, b.used_after + k.used,
        k.operation, k.idempotency_key, null, null, null, k.metadata,
        billing_private.entry_hash(
            b.entry_hash, b.user_id, e.entry_no, e.created_at, k.type, k.amount, b.balance_after + k.amount,
            b.used_after + k.used, k.operation, k.idempotency_key, null, null, null, k.metadata, null, null, null
        ),
        b.n, b.entries, b.credits, b.share, b.has_promotion
    from entries b
    cross join lateral (
        select
            b.entry_no + 1 as entry_no, pg_temp.chance(b.n, 10 + b.entry_no) as chance,
            %(from)s + (%(to)s - %(from)s)
                * ((b.entry_no + pg_temp.chance(b.n, -b.entry_no)) / (2 * %(each)s)) as created_at,
            case
                when b.has_promotion and b.entry_no = 1 then 'promotion'
                when pg_temp.chance(b.n, 10 + b.entry_no) < 0.01 then 'refusal'
                else 'usage'
            end as kind
        offset 0
    ) e
    cross join lateral (
        select
            case e.kind when 'promotion' then 'adjustment' else 'usage' end as type,
            case e.kind when 'promotion' then 10 when 'refusal' then 0 else -u.cost end as amount,
            case e.kind when 'usage' then u.cost else 0 end as used,
            case e.kind when 'promotion' then 'grant_credits' else 'deduct_credits' end as operation,
            case e.kind when 'usage' then format('fill-%%s', e.entry_no) end as idempotency_key,
            case e.kind
                when 'usage' then jsonb_build_object(
                    'model', 'gpt-4o-mini', 'prompt_tokens', floor(4000 * e.chance)::bigint,
                    'completion_tokens', floor(900 * e.chance)::bigint
                )
                when 'refusal' then jsonb_build_object(
                    'refused', 'insufficient_credits', 'asked', 1000000, 'available', b.balance_after
                )
            end as metadata
        from (
            select greatest(
                round(b.credits * b.share / b.entries * (0.5 + e.chance)::numeric, 6), 0.000001
            ) as cost
        ) u
        offset 0
    ) k
    where b.entry_no < b.entries
)
select
    user_id, entry_no, created_at, type, amount, balance_after, used_after, operation, idempotency_key, reference_type,
    reference_id, description, metadata, entry_hash
from entries;

insert into billing.credit_accounts (
    user_id, created_at, updated_at, entry_count, balance, used_total, status, tier, chain_head, next_expiry_at,
    last_grant_at, granted_through, alert_below
)
select
    m.user_id, g.created_at, l.created_at, l.entry_no, l.balance_after, l.used_after,
    case when m.n %% 100 = 3 then 'frozen' else 'active' end, m.tier, l.entry_hash, %(to)s, g.created_at,
    (%(from)s at time zone 'UTC')::date,
    case when l.balance_after >= 1 then 1 when l.balance_after >= 0.01 then 0.01 end
from made m
join billing.credit_ledger g on g.user_id = m.user_id and g.entry_no = 1
join billing.credit_ledger l on l.user_id = m.user_id and l.entry_no = m.entries
order by m.n;

insert into billing.credit_grants (
    user_id, grant_no, source, amount, remaining, priority, expires_at, granted_at, entry_no, reference_type,
    reference_id
)
select
    m.user_id, e.entry_no, case e.type when 'adjustment' then 'promotion' else 'tier_grant' end, e.amount, e.amount,
    case e.type when 'adjustment' then 50 else 10 end, case e.type when 'tier_grant' then %(to)s end, e.created_at,
    e.entry_no, e.reference_type, e.reference_id
from made m
join billing.credit_ledger e on e.user_id = m.user_id and e.entry_no <= 2 and e.amount > 0
order by e.entry_no, m.n;

insert into billing.billing_events (user_id, event_id, event_no, kind, payload, status, created_at)
select
    m.user_id, billing_private.time_ordered_id(g.granted_at), g.grant_no, 'credits.granted',
    jsonb_build_object('type', g.source, 'amount', g.amount, 'entry_no', g.entry_no), 'kept', g.granted_at
from made m
join billing.credit_grants g on g.user_id = m.user_id
order by g.grant_no, m.n;

insert into billing.account_freezes (user_id, cause, created_at)
select user_id, 'admin', %(from)s from made where n %% 100 = 3;

insert into billing.billing_subscriptions (
    stripe_subscription_id, user_id, tier, billing_interval, status, current_period_start, current_period_end,
    stripe_item_id, stripe_price_id, synced_at, created_at, updated_at
)
select
    'sub_' || n, user_id, tier, case when n %% 4 = 0 then 'year' else 'month' end,
    case when n %% 20 = 7 then 'past_due' else 'active' end, %(from)s, %(to)s + interval '20 days', 'si_' || n,
    'price_' || tier, %(from)s, %(from)s, %(from)s
from made
where tier <> 'free';
"""

# What the operational tables of a system hold that has run for as long as the settings keep it.
OPERATIONS = """
insert into billing.job_runs (run_id, job, started_at, finished_at, outcome, rows)
select
    billing_private.time_ordered_id(t), j.name, t, t + interval '50 milliseconds', 'succeeded', 0
from billing.jobs j
cross join lateral generate_series(
    now() - interval '90 days', now() - interval '1 minute',
    case
        when j.schedule = '* * * * *' then interval '1 minute'
        when j.schedule like '*/10 %%' then interval '10 minutes'
        else interval '1 day'
    end
) t
where j.name not in ('monthly_grants', 'missed_grants');

insert into billing.stripe_events (event_id, type, payload, status, emitted_at, received_at, processed_at)
select 'evt_' || n, 'invoice.paid', jsonb_build_object('id', 'evt_' || n), 'processed', t, t, t
from generate_series(1, %(events)s) n
cross join lateral (select now() - n * interval '80 days' / %(events)s as t) at;

insert into billing.admin_actions_log (
    target_user_id, action_id, admin_user_id, action, amount, reason, outcome, created_at
)
select
    ('00000000-0000-4000-8000-' || 100000000000 + n)::uuid, billing_private.time_ordered_id(t),
    '00000000-0000-4000-9000-000000000001', 'adjust_credits', 1, 'As agreed.', 'done', t
from generate_series(1, %(events)s) n
cross join lateral (select now() - n * interval '365 days' / %(events)s as t) at;
"""

# What the accounts were made for: who is to be granted, and what each has had of this month.
GRANTED = """
select
    count(*) filter (where due and grants = 1), count(*) filter (where not due and grants = 0),
    count(*) filter (where grants <> due::integer)
from (
    select
        a.status = 'active' and not exists (
            select from billing.billing_subscriptions s where s.user_id = a.user_id and s.status = 'past_due'
        ) as due,
        coalesce(g.grants, 0) as grants
    from billing.credit_accounts a
    left join (
        select user_id, count(*) as grants
        from billing.credit_ledger
        where type = 'tier_grant' and created_at >= %(to)s
        group by user_id
    ) g on g.user_id = a.user_id
) accounts
"""

# Batches are known by the time of their commit; a deduction grants its own account only.
LOCKED = """
select extract(epoch from max(committed_at - locked_at)), percentile_cont(0.5) within group (
    order by extract(epoch from committed_at - locked_at))
from (
    select pg_xact_commit_timestamp(xmin) as committed_at, min(created_at) as locked_at
    from billing.credit_ledger
    where type = 'tier_grant' and created_at >= %(to)s
    group by pg_xact_commit_timestamp(xmin)
    having count(*) > 1
) batches
"""

# Refused in this month, and those of them who had this month's credits to come.
REFUSED = """
select
    count(*),
    count(*) filter (
        where exists (
            select from billing.credit_ledger g
            where g.user_id = r.user_id and g.type = 'tier_grant' and g.entry_no > r.entry_no
        )
    )
from billing.credit_ledger r
where r.type = 'usage' and r.amount = 0 and r.created_at >= %(to)s
"""

GUIDE = {
    "the guide's alert on negative balances": "SELECT * FROM credit_accounts WHERE balance < 0;",
    "the guide's alert on failed deductions": (
        "SELECT COUNT(*) FROM credit_ledger \nWHERE type = 'usage' \nAND created_at > NOW() - INTERVAL '1 hour'\n"
        "AND amount = 0;"
    ),
}
QUERIES = {
    **{
        f"`{name}`": f"select * from billing.{name}"
        for name in (
            "alert_negative_balances",
            "alert_failed_deductions",
            "alert_webhook_errors",
            "alert_admin_activity",
            "alert_ledger",
            "alert_lot_sums",
            "alert_jobs",
            "alert_stuck_refunds",
            "alert_undelivered_events",
        )
    },
    "`list_alerts()`": "select * from billing.list_alerts()",
    "`list_metrics()`": "select * from billing.list_metrics()",
}


@dataclass
class Spent:
    """What pgbench's deductions came to: microseconds of each."""

    seconds: float
    latencies: list[int] = field(repr=False)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def milliseconds(self, share: float) -> float:
        """The latency that this share of the deductions did not exceed."""
        return self.latencies[min(int(share * len(self.latencies)), len(self.latencies) - 1)] / 1000


@dataclass
class Job:
    """A run of a job, with the deductions of its first part beside it."""

    name: str
    seconds: float
    rows: int
    rows_beside: int  # in the part that had deductions beside it
    seconds_beside: float
    spent: Spent


class Spender:
    """Deductions from random accounts, as the API makes them."""

    def __init__(self, url: str, directory: Path, accounts: int) -> None:
        self.pgbench = Pgbench(url, directory)
        self.directory = directory
        self.runs = 0
        self.answered = 0
        one_of_all = f"\\set account random(100000000001, {100_000_000_000 + accounts})"
        (directory / "spend").write_text(f"{one_of_all}\n{KEY}\n{DEDUCT}\n")

    def start(self, seconds: int) -> subprocess.Popen[str]:
        self.runs += 1
        command = [self.pgbench.program, "--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}"]
        command += [f"--jobs={min(CLIENTS, os.cpu_count() or 1)}", f"--time={seconds}", "--log"]
        command += [f"--log-prefix={self.directory / f'run{self.runs}'}"]
        command += [f"--define={key}={value}" for key, value in VARIABLES.items()]
        command += [f"--file={self.directory / 'spend'}"]
        environment = self.pgbench.environment | {"PGOPTIONS": self.pgbench.api_options}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process: subprocess.Popen[str], until: float | None = None) -> Spent:
        """What was deducted, up to a time; raises BenchError when a call failed."""
        output, errors = process.communicate()
        failed = re.search(r"failed transactions: (\d+)", output)
        if process.returncode != 0 or (failed and failed[1] != "0"):
            raise BenchError(f"pgbench: {errors.strip()[-2000:]}")
        calls = []
        for log in self.directory.glob(f"run{self.runs}.*"):
            for line in log.read_text().splitlines():
                fields = line.split()
                calls.append((int(fields[4]) + int(fields[5]) / 1_000_000, int(fields[2])))
            log.unlink()
        self.answered += len(calls)
        first = min(end - latency / 1_000_000 for end, latency in calls)
        last = min(max(end for end, _ in calls), until or float("inf"))
        return Spent(last - first, sorted(latency for end, latency in calls if end <= last))


def fill(url: str, conn: psycopg.Connection, accounts: int, entries: int, progress: Progress) -> dict[str, object]:
    """Make the accounts, a part in each session; returns the bounds of last month."""
    row = conn.execute(
        """select date_trunc('month', now() at time zone 'UTC') at time zone 'UTC',
                  (date_trunc('month', now() at time zone 'UTC') - interval '1 month') at time zone 'UTC'"""
    ).fetchone()
    assert row is not None
    values = {"to": row[0], "from": row[1], "each": max(1, round(entries / accounts))}
    parts = os.cpu_count() or 1
    bounds = [(accounts * part // parts + 1, accounts * (part + 1) // parts) for part in range(parts)]

    def make(part: tuple[int, int]) -> None:
        with psycopg.connect(url, application_name="bench") as session:
            session.execute("set jit = off")
            session.execute(CHANCE)
            script = psycopg.ClientCursor(session).mogrify(ACCOUNTS, values | {"first": part[0], "last": part[1]})
            session.execute(script)

    progress.step(f"making {accounts:,} accounts")
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(make, bounds))
    progress.step("runs of jobs, webhook events, actions of admins")
    conn.execute(psycopg.ClientCursor(conn).mogrify(OPERATIONS, {"events": max(100, accounts // 10)}))
    progress.step("vacuum")
    conn.execute("vacuum (analyze)")
    conn.execute("checkpoint")
    return values


def verify(conn: psycopg.Connection, accounts: int) -> None:
    """Raises BenchError when an account of a sample does not verify."""
    numbers = random.sample(range(1, accounts + 1), min(SAMPLE, accounts))
    users = [f"00000000-0000-4000-8000-{100_000_000_000 + number}" for number in numbers]
    findings = conn.execute(
        "select f.* from unnest(%s::uuid[]) as u, lateral billing.verify_account(u) as f", [users]
    ).fetchall()
    if findings:
        raise BenchError(f"The ledger does not verify: {findings[:5]}")


def run_job(url: str, conn: psycopg.Connection, spender: Spender, name: str, seconds: int) -> Job:
    """A run to its end, with deductions beside its first seconds; raises psycopg.Error when it fails."""
    conn.execute("checkpoint")
    ended = threading.Event()

    def call() -> tuple[float, float]:
        try:
            with psycopg.connect(url, autocommit=True, options="-c role=billing_api") as session:
                started = time.time()
                session.execute("call billing.run_job(%s::text)", [name])
                return started, time.time()
        finally:
            ended.set()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        process = spender.start(seconds)
        ended.wait(seconds)
        seen = time.time()
        beside = rows_of(conn, name)
        early = future.result()[1] if ended.is_set() else None
        spent = spender.finish(process, early)
        started, finished = future.result()
    seconds_beside = min(seen, finished) - started
    return Job(name, finished - started, rows_of(conn, name), beside, seconds_beside, spent)


def do_the_rest(conn: psycopg.Connection) -> None:
    """Run all jobs once more, since nobody has meanwhile, so that none is late."""
    for job in conn.execute("select name, function from billing.list_jobs() where enabled order by name").fetchall():
        if job[0] in ("monthly_grants", "checkpoint_ledger"):
            continue
        if job[1] is None:
            conn.execute("select billing.record_job_run(%s, now(), 0)", [job[0]])
        else:
            conn.execute("call billing.run_job(%s::text)", [job[0]])


def rows_of(conn: psycopg.Connection, name: str) -> int:
    row = conn.execute(
        "select rows from billing.job_runs where job = %s order by started_at desc limit 1", [name]
    ).fetchone()
    return row[0] if row else 0


def job_table(jobs: list[tuple[Job, int]]) -> str:
    rows = [["Job", "Accounts", "Entries", "Seconds", "Entries/s", "Accounts/s beside", "Accounts/s alone"]]
    rows.append(["---", "--:", "--:", "--:", "--:", "--:", "--:"])
    for job, entries in jobs:
        alone_rows, alone_seconds = job.rows - job.rows_beside, job.seconds - job.seconds_beside
        alone = alone_rows / alone_seconds if alone_seconds > 1 else None
        rows.append(
            [
                f"`{job.name}`",
                f"{job.rows:,}",
                f"{entries:,}" if entries else "",
                f"{job.seconds:.1f}",
                f"{entries / job.seconds:,.0f}" if entries else "",
                f"{job.rows_beside / job.seconds_beside:,.0f}",
                "" if alone is None else f"{alone:,.0f}",
            ]
        )
    return markdown(rows)


def spent_table(without: Spent, beside: dict[str, Spent]) -> str:
    rows = [["Deductions", "Calls/s", "Ratio", "p50 ms", "p99 ms", "Longest ms"]]
    rows.append(["---", "--:", "--:", "--:", "--:", "--:"])
    for title, spent in {"without a job": without, **beside}.items():
        rows.append(
            [
                title,
                f"{spent.per_second:,.0f}",
                f"{spent.per_second / without.per_second:.2f}",
                f"{spent.milliseconds(0.5):.1f}",
                f"{spent.milliseconds(0.99):.1f}",
                f"{spent.milliseconds(1):.0f}",
            ]
        )
    return markdown(rows)


def explained(conn: psycopg.Connection, query: str) -> dict:
    """The plan as JSON, with what it took."""
    row = conn.execute(f"explain (analyze, buffers, format json) {query}").fetchone()
    assert row is not None
    return row[0][0]


def plans(url: str) -> Iterator[str]:
    """How long the alerts take, as who is on call reads them, and the plans of the guide's two."""
    rows = [["Query", "First ms", "Then ms", "Pages", "Rows"], ["---", "--:", "--:", "--:", "--:"]]
    with psycopg.connect(url, autocommit=True, options="-c role=billing_monitor") as conn:
        for title, query in {**GUIDE, **QUERIES}.items():
            first, *then = [explained(conn, query) for _ in range(6)]
            plan = then[-1]["Plan"]
            times = [each["Planning Time"] + each["Execution Time"] for each in then]
            rows.append(
                [
                    title,
                    f"{first['Planning Time'] + first['Execution Time']:.1f}",
                    f"{statistics.median(times):.1f}",
                    f"{plan['Shared Hit Blocks'] + plan['Shared Read Blocks']:,}",
                    f"{plan['Actual Rows']:,.0f}",
                ]
            )
        yield markdown(rows)
        for query in GUIDE.values():
            yield "\n```\n" + query
            for (line,) in conn.execute(f"explain (analyze, buffers) {query}"):
                yield line
            yield "```"


def bench(url: str, arguments: argparse.Namespace) -> None:
    progress = Progress(10)
    with (
        psycopg.connect(url, autocommit=True, application_name="bench") as conn,
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
    ):
        if conn.execute("select to_regnamespace('billing') is not null").fetchone() == (True,):
            raise BenchError("The database is not empty: it has a schema billing.")
        progress.step("schema")
        migrate(conn)
        started = time.monotonic()
        values = fill(url, conn, arguments.accounts, arguments.entries, progress)
        filled = time.monotonic() - started
        verify(conn, arguments.accounts)
        before = conn.execute(
            "select count(*), pg_size_pretty(pg_database_size(current_database())) from billing.credit_ledger"
        ).fetchone()
        assert before is not None
        spender = Spender(url, Path(directory), arguments.accounts)

        progress.step("monthly grants")
        grants = run_job(url, conn, spender, "monthly_grants", arguments.seconds)
        refused, owed = conn.execute(REFUSED, values).fetchone() or (0, 0)
        done, passed, wrong = conn.execute(GRANTED, values).fetchone() or (0, 0, 1)
        if wrong or done < grants.rows:
            raise BenchError(f"{done} accounts were granted once, {wrong} wrongly; the job counts {grants.rows}.")
        locked = (
            conn.execute(LOCKED, values).fetchone()
            if conn.execute("show track_commit_timestamp").fetchone() == ("on",)
            else None
        )
        progress.step("monthly grants again")
        conn.execute("vacuum (analyze) billing.credit_accounts, billing.credit_ledger, billing.credit_grants")
        again = time.monotonic()
        conn.execute("call billing.run_job('monthly_grants')")
        again = time.monotonic() - again
        if rows_of(conn, "monthly_grants"):
            raise BenchError("A second run has granted again.")

        progress.step("deductions alone")
        conn.execute("checkpoint")
        without = spender.finish(spender.start(arguments.seconds))

        progress.step("checkpoint")
        checkpoint = run_job(url, conn, spender, "checkpoint_ledger", arguments.seconds)
        taken = conn.execute(
            "select accounts, entries, findings from billing.list_checkpoints(p_limit => 1)"
        ).fetchone()
        if taken is None or taken[0] != arguments.accounts or taken[2]:
            raise BenchError(f"The checkpoint has accounts, entries and findings: {taken}")

        progress.step("plans")
        users = "('00000000-0000-4000-8000-' || 100000000001 + (n * 7919) %% %(accounts)s)::uuid"
        numbers = {"accounts": arguments.accounts, "refusals": RECENT_REFUSALS, "holds": HOLDS}
        conn.execute(
            f"""select count((d).success) from generate_series(1, %(refusals)s) as n, lateral (
                    select billing.deduct_credits({users}, 1000000) as d offset 0) as refused""",
            numbers,
        )
        conn.execute(
            f"""select count((h).success) from generate_series(1, %(holds)s) as n, lateral (
                    select billing.hold_credits({users}, 0.01) as h offset 0) as held""",
            numbers,
        )
        do_the_rest(conn)
        conn.execute("analyze billing.credit_ledger, billing.credit_holds")
        verify(conn, arguments.accounts)
        around = surroundings(conn)
        told = list(plans(url))
        progress.end()
    settings = around["settings"]
    print(
        f"PostgreSQL {around['postgresql']} on {around['cores']} cores ({around['processor']});"
        f" shared_buffers {settings['shared_buffers']}, fsync {settings['fsync']}.\n"
        f"{arguments.accounts:,} accounts, {before[0]:,} entries, {before[1]}; made in {filled:.0f} s,"
        f" {min(SAMPLE, arguments.accounts)} of the accounts verified before and after.\n"
    )
    print(job_table([(grants, 0), (checkpoint, taken[1])]), end="\n\n")
    print(
        f"{done:,} accounts granted, each once, {done - grants.rows:,} of them by a deduction that came before the job;"
        f" {passed:,} frozen or overdue ones passed over.\n"
        f"A second run granted nothing, in {again * 1000:,.0f} ms: it looks at the overdue ones again."
    )
    if locked:
        print(
            f"A batch locks an account for up to {locked[1] * 1000:.0f} ms; the longest did for {locked[0] * 1000:.0f}."
        )
    print("The checkpoint locks nothing, and found nothing.\n")
    print(f"Deductions of {CLIENTS} clients from random accounts for {arguments.seconds} s, the job beside them:\n")
    titles = {"beside `monthly_grants`": grants.spent, "beside `checkpoint_ledger`": checkpoint.spent}
    print(spent_table(without, titles), end="\n\n")
    print(
        f"Beside the grants, {refused:,} of {len(grants.spent.latencies):,} deductions were refused (frozen, overdue,"
        f" used up), {owed:,} of them although this month's credits were to come."
    )
    print("\nEach query once after the measurements before it, then the median of five:\n")
    print(*told, sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=positive, default=100_000, help="how many (%(default)s)")
    parser.add_argument("--entries", type=positive, default=1_000_000, help="about how many, in all (%(default)s)")
    parser.add_argument("--seconds", type=positive, default=60, help="of deductions beside a job (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="5,000 accounts and five seconds: does it all work?")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database-url", help="an empty database to use; default: a scratch server")
    where.add_argument(
        "--postgres", type=int, choices=[DEBIAN, EMBEDDED], default=EMBEDDED, help="of the scratch server"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.accounts, arguments.entries, arguments.seconds = 5_000, 50_000, 5
    try:
        if arguments.database_url:
            bench(arguments.database_url, arguments)
        else:
            with server(arguments.postgres, SETTINGS) as url:
                bench(url, arguments)
    except (BenchError, MigrationError) as error:
        print(error, file=sys.stderr)
        return 1
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
        return 3
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
