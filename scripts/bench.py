"""Measure the hot paths with pgbench against hand-written SQL that does the same, and hold the ratios against our bars.

    python -m scripts.bench [--seconds 4] [--rounds 5] [--quick] [--only GROUP] [--json bench.json] [--enforce]
                            [--postgres 18|15] [--database-url URL] [--profile]

The reference is a transaction of an UPDATE … RETURNING and an INSERT, as one writes it by hand, on bare twins of our
tables: same columns, defaults, indexes, fillfactor and rows, no rules, and values of the same sizes. What it leaves out
is what the ledger adds: the rules, the replay of a key, the refusal that leaves an entry, the hash chain, credits that
expire, and the lock that is taken before anything is decided. The same two in one statement (a CTE) save the round
trips that a function saves; the ratio to that is told beside it.

All measurements of a round follow each other, and every other round goes backwards, so that whatever else the machine
does falls on both sides. A ratio is the median of the rounds' ratios. The first second of each run, in which sessions
plan their statements, is not counted. The server is a scratch one with fsync on, unless --database-url names an empty
database.

Exit codes: 0 measured, 1 a call failed or the ledger does not verify, 2 a bar was missed (with --enforce), 3 no server.
"""

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from scripts.migrate import MigrationError, describe, migrate
from scripts.servers import DEBIAN, EMBEDDED, ROOT, RUN, ServerError, open_path, postgres_bin, scratch

ACCOUNTS = 20_000
BATCHES = 500
BATCH_SIZE = 100
CLIENTS = (1, 16)
OPENING_CREDITS = 1_000_000

# Everything else is PostgreSQL's default, autovacuum and WAL included. Whatever can be lost in a crash is on by name.
SETTINGS = {
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}
# What the tests' server has switched off.
DEFAULTS = {"wal_level": "replica", "max_wal_senders": "10", "max_connections": "100", "shared_preload_libraries": ""}
PROFILED = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"}
TOLD = (
    "shared_buffers",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "max_wal_size",
    "autovacuum",
    "jit",
)

# What a client would send with a call; both sides get it as text parameters.
VARIABLES = {
    "amount": "0.00125",
    "metadata": '{"model": "gpt-4o-mini", "prompt_tokens": 1200, "completion_tokens": 350, "thread": "b7c1f0e2"}',
}

# The number of an account is the last part of its uuid. Keys are random numbers of 60 bits, so they do not repeat.
ONE_OF_ALL = f"\\set account random(100000000001, {100_000_000_000 + ACCOUNTS})"
HOT_ACCOUNT = "\\set account 100000000001"
KEY = "\\set key random(1, 1000000000000000000)"
USER_ID = "('00000000-0000-4000-8000-' || :account::text)::uuid"
A_HASH = "'\\x" + "5a" * 32 + "'::bytea"

UPDATE = f"""update bench.credit_accounts
    set balance = balance - :amount::numeric, used_total = used_total + :amount::numeric,
        entry_count = entry_count + 1, updated_at = clock_timestamp(), chain_head = {A_HASH}
    where user_id = {USER_ID} and status = 'active' and balance - held >= :amount::numeric
    returning user_id, entry_count, updated_at, balance, used_total"""
INSERT = """insert into bench.credit_ledger (
        user_id, entry_no, created_at, type, amount, balance_after, used_after, operation, idempotency_key, metadata,
        entry_hash
    )"""
ONE_STATEMENT = f"""with moved as (
    {UPDATE}
)
{INSERT}
select user_id, entry_count, updated_at, 'usage', - :amount::numeric, balance, used_total, 'deduct_credits',
       'call-' || :key::text, :metadata::jsonb, {A_HASH}
from moved
returning entry_no, amount, balance_after;"""
TWO_STATEMENTS = f"""begin;
{UPDATE} \\gset
{INSERT}
values (:user_id, :entry_count, :updated_at, 'usage', - :amount::numeric, :balance, :used_total, 'deduct_credits',
        'call-' || :key::text, :metadata::jsonb, {A_HASH})
returning entry_no, amount, balance_after;
commit;"""
DEDUCT = f"""select * from billing.deduct_credits(
    {USER_ID}, :amount::numeric, p_idempotency_key => 'call-' || :key::text, p_metadata => :metadata::jsonb
);"""
# The items are ready but for their keys, which must differ from run to run.
BATCH = f"""\\set batch random(1, {BATCHES})
{KEY}
select * from billing.deduct_credits_batch(
    (select replace(items, '@', :key::text)::jsonb from bench.batches where batch_no = :batch::int)
);"""
READ = f"select balance, held, status, tier, next_expiry_at from bench.credit_accounts where user_id = {USER_ID};"
CHECK = f"select * from billing.check_credits({USER_ID}, 0.01);"

GROUPS = {
    "accounts": f"{ACCOUNTS:,} accounts",
    "hot": "one hot account",
    "batch": f"batches of {BATCH_SIZE}",
    "check": "reads",
}


class Scenario(NamedTuple):
    """A pgbench script, and what is told of it."""

    name: str
    group: str
    title: str
    script: str
    ours: bool = False  # runs with the role billing_api, as the API does; the references run as the login
    entries: int = 0  # that a call writes to our ledger
    calls: int = 1  # that a transaction stands for


def moves(prefix: str, group: str, account: str) -> list[Scenario]:
    """One deduction, and the references for it, on accounts chosen like that."""
    start = f"{account}\n{KEY}\n"
    return [
        Scenario(f"{prefix}reference", group, "UPDATE and INSERT", start + TWO_STATEMENTS),
        Scenario(f"{prefix}deduct", group, "`deduct_credits`", start + DEDUCT, ours=True, entries=1),
        Scenario(f"{prefix}one_statement", group, "UPDATE and INSERT in one statement", start + ONE_STATEMENT),
    ]


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        *moves("", "accounts", ONE_OF_ALL),
        Scenario("batch", "batch", "`deduct_credits_batch`", BATCH, ours=True, entries=BATCH_SIZE, calls=BATCH_SIZE),
        *moves("hot_", "hot", HOT_ACCOUNT),
        Scenario("read", "check", "SELECT by primary key", f"{ONE_OF_ALL}\n{READ}"),
        Scenario("check", "check", "`check_credits`", f"{ONE_OF_ALL}\n{CHECK}", ours=True),
    )
}


class Comparison(NamedTuple):
    """Our scenario, the reference with the ratio to reach at each number of clients, and references told beside it."""

    ours: str
    reference: str
    bars: dict[int, float]
    goal: float | None = None
    others: tuple[str, ...] = ()


COMPARISONS = (
    Comparison("deduct", "reference", {16: 0.75}, goal=0.90, others=("one_statement",)),
    Comparison("hot_deduct", "hot_reference", {16: 0.75}, others=("hot_one_statement",)),
    Comparison("batch", "deduct", {1: 2.5, 16: 2.5}),
    Comparison("check", "read", {1: 0.55, 16: 0.55}),
)


@dataclass
class Measured:
    """One scenario at one number of clients: calls per second, one figure per round."""

    scenario: str
    clients: int
    per_second: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.per_second)


class Ratio(NamedTuple):
    """What a comparison has come to at one number of clients."""

    ours: str
    reference: str
    clients: int
    ratio: float
    bar: float | None
    goal: float | None

    @property
    def holds(self) -> bool:
        return self.bar is None or self.ratio >= self.bar

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        if not self.holds:
            return "MISSED"
        return "goal" if self.goal is not None and self.ratio >= self.goal else "holds"


class BenchError(Exception):
    """The measurement is worth nothing: a call failed, or the ledger does not verify."""


class Progress:
    """A bar on standard error; nothing when that is no terminal."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.shown = steps, 0, sys.stderr.isatty()

    def step(self, what: str) -> None:
        """Say what begins."""
        if self.shown:
            full = 30 * self.done // self.steps
            bar = "#" * full + "." * (30 - full)
            print(f"\r\033[K[{bar}] {self.done}/{self.steps} {what}", end="", file=sys.stderr, flush=True)
        self.done += 1

    def end(self) -> None:
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextmanager
def server(version: int, more: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of an empty database on a scratch server, on the project's disk, with fsync on and more settings."""
    settings = SETTINGS | dict(more or {})
    if version == EMBEDDED:
        with scratch(settings) as embedded:
            yield embedded.url
        return
    from scripts.testserver import TestServer  # the tests' packages are needed for this one only

    postgres_bin(version)
    RUN.mkdir(exist_ok=True)
    open_path(RUN / "any")
    tempfile.tempdir = str(RUN)
    with TestServer(version, DEFAULTS | settings) as debian:
        with debian.connect("postgres") as conn:
            conn.execute("create database credit_bench")
        yield debian.conninfo("credit_bench")


def prepare(conn: psycopg.Connection) -> None:
    """Migrate an empty database, open the accounts, and make the twins of our tables and the batches."""
    taken = conn.execute("select to_regnamespace('billing') is not null or to_regnamespace('bench') is not null")
    if taken.fetchone() == (True,):
        raise BenchError("The database is not empty: it has a schema billing or bench.")
    migrate(conn)
    for first in range(1, ACCOUNTS + 1, 1000):
        conn.execute(
            """
            with users as materialized (
                select ('00000000-0000-4000-8000-' || 100000000000 + n)::uuid as user_id, (o.a).balance
                  from generate_series(%(first)s::bigint, %(first)s + 999) as n,
                       lateral (
                           select billing.open_account(('00000000-0000-4000-8000-' || 100000000000 + n)::uuid) as a
                           offset 0) as o)
            select count(g.entry_no)
              from users, lateral billing.grant_credits(user_id, %(credits)s, 'promotion') as g
             where balance >= 0
            """,
            {"first": first, "credits": OPENING_CREDITS},
        )
    conn.execute("create schema bench")
    conn.execute("grant usage on schema bench to billing_api")
    for name in ("accounts", "ledger"):
        make_twin(conn, f"credit_{name}")
    conn.execute("create table bench.batches (batch_no int primary key, items text not null)")
    conn.execute("alter table bench.batches alter column items set storage external")
    conn.execute(
        """
        insert into bench.batches
        select batch_no, jsonb_agg(jsonb_build_object(
                   'user_id', '00000000-0000-4000-8000-' || 100000000001 + floor(random() * %(accounts)s)::bigint,
                   'amount', %(amount)s::text, 'idempotency_key', format('call-@-%%s', n),
                   'metadata', %(metadata)s::jsonb))
          from generate_series(1, %(batches)s) as batch_no, generate_series(1, %(size)s) as n
         group by batch_no
        """,
        {"accounts": ACCOUNTS, "batches": BATCHES, "size": BATCH_SIZE, **VARIABLES},
    )
    conn.execute("grant select on bench.batches to billing_api")
    tidy(conn)


def make_twin(conn: psycopg.Connection, name: str) -> None:
    """Copy one of our tables with its rows, without its rules: a domain becomes what it is made of."""
    original, twin = sql.Identifier("billing", name), sql.Identifier("bench", name)
    conn.execute(sql.SQL("create table {} (like {} including all excluding constraints)").format(twin, original))
    changes = conn.execute(
        """select format('set (%%s)', option) from pg_class, unnest(reloptions) as option
            where oid = %(table)s::regclass
           union all
           select format('alter column %%I type %%s', attname, format_type(typbasetype, typtypmod))
             from pg_attribute join pg_type on pg_type.oid = atttypid
            where attrelid = %(table)s::regclass and typtype = 'd'""",
        {"table": f"billing.{name}"},
    ).fetchall()
    for (change,) in changes:
        conn.execute(sql.SQL("alter table {} {}").format(twin, sql.SQL(change)))
    conn.execute(sql.SQL("insert into {} select * from {}").format(twin, original))


def tidy(conn: psycopg.Connection) -> None:
    """Give every round the same start: no dead rows, nothing left to write back."""
    for table in ("billing.credit_%s", "bench.credit_%s"):
        conn.execute(f"vacuum (analyze) {table % 'accounts'}, {table % 'ledger'}")
    try:
        conn.execute("checkpoint")
    except errors.InsufficientPrivilege:
        print("No checkpoints between the rounds: the login may not.", file=sys.stderr)


class Pgbench:
    """Runs scenarios as an application would: sessions that last, prepared statements."""

    def __init__(self, url: str, directory: Path) -> None:
        self.program = str(postgres_bin(EMBEDDED) / "pgbench")
        self.directory = directory
        self.transactions = dict.fromkeys(SCENARIOS, 0)
        names = {option.keyword.decode(): option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
        values = {names[key]: str(value) for key, value in conninfo_to_dict(url).items()}
        self.environment = {**os.environ, **values}
        self.api_options = f"{self.environment.get('PGOPTIONS', '')} -c role=billing_api"
        for scenario in SCENARIOS.values():
            (directory / scenario.name).write_text(scenario.script + "\n")

    def run(self, name: str, clients: int, seconds: int) -> float:
        """Calls per second, the first second left out; raises BenchError when a call fails."""
        command = [self.program, "--no-vacuum", "--protocol=prepared", f"--client={clients}"]
        command += [f"--jobs={min(clients, os.cpu_count() or 1)}", f"--time={seconds + 1}", "--progress=1"]
        command += [f"--define={key}={value}" for key, value in VARIABLES.items()]
        command += [f"--file={self.directory / name}"]
        environment = self.environment | ({"PGOPTIONS": self.api_options} if SCENARIOS[name].ours else {})
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        failed = re.search(r"failed transactions: (\d+)", done.stdout)
        if done.returncode != 0 or (failed and failed[1] != "0"):
            raise BenchError(f"pgbench, {name}: {done.stderr.strip()[-2000:]}")
        count = re.search(r"transactions actually processed: (\d+)", done.stdout)
        rates = [float(rate) for rate in re.findall(r"^progress: .*?, ([\d.]+) tps", done.stderr, re.MULTILINE)]
        if count is None or not rates:
            raise BenchError(f"pgbench, {name}: no figures in\n{done.stdout}{done.stderr}")
        self.transactions[name] += int(count[1])
        # The last second of a short run may end before it is told.
        return statistics.fmean(rates[1:] or rates) * SCENARIOS[name].calls


def measure(
    conn: psycopg.Connection, pgbench: Pgbench, names: list[str], seconds: int, rounds: int
) -> dict[tuple[str, int], Measured]:
    """All rounds of all scenarios, interleaved."""
    runs = [(name, clients) for clients in CLIENTS for name in names]
    results = {run: Measured(*run) for run in runs}
    progress = Progress(len(runs) * (rounds + 1))
    for name, clients in runs:
        progress.step(f"warming up: {name}")
        pgbench.run(name, clients, 1)
    for number in range(rounds):
        tidy(conn)
        for name, clients in runs if number % 2 == 0 else reversed(runs):
            progress.step(f"round {number + 1}: {name}, {clients} client{'s' * (clients > 1)}")
            results[name, clients].per_second.append(pgbench.run(name, clients, seconds))
    progress.end()
    return results


def compare(results: dict[tuple[str, int], Measured]) -> list[Ratio]:
    """The ratios of what was measured."""
    ratios = []
    for comparison in COMPARISONS:
        for clients in CLIENTS:
            if (comparison.ours, clients) not in results:
                continue
            ours = results[comparison.ours, clients]
            for name in (comparison.reference, *comparison.others):
                pairs = zip(ours.per_second, results[name, clients].per_second, strict=True)
                ratio = statistics.median(mine / other for mine, other in pairs)
                bar = comparison.bars.get(clients) if name == comparison.reference else None
                ratios.append(Ratio(comparison.ours, name, clients, ratio, bar, comparison.goal))
    return ratios


def verify(conn: psycopg.Connection, pgbench: Pgbench) -> str:
    """A sentence on what was verified; raises BenchError when calls were refused, lost, or booked wrong."""
    expected = sum(SCENARIOS[name].entries * count for name, count in pgbench.transactions.items())
    row = conn.execute(
        """select count(*) filter (where amount < 0), count(*) filter (where amount = 0)
             from billing.credit_ledger where operation = 'deduct_credits'"""
    ).fetchone()
    if row != (expected, 0):
        raise BenchError(f"{expected} deductions were answered; the ledger has {row[0]}, and {row[1]} refusals.")
    numbers = [1, *random.sample(range(2, ACCOUNTS + 1), 200)]
    users = [f"00000000-0000-4000-8000-{100_000_000_000 + number}" for number in numbers]
    findings = conn.execute(
        "select f.* from unnest(%s::uuid[]) as u, lateral billing.verify_account(u) as f", [users]
    ).fetchall()
    if findings:
        raise BenchError(f"The ledger does not verify: {findings[:5]}")
    return (
        f"{expected:,} deductions booked, none refused; {len(users)} accounts verified, the hot one"
        f" ({entries_of(conn, users[0]):,} entries) among them."
    )


def entries_of(conn: psycopg.Connection, user: str) -> int:
    row = conn.execute("select entry_count from billing.credit_accounts where user_id = %s", [user]).fetchone()
    assert row is not None
    return row[0]


def surroundings(conn: psycopg.Connection) -> dict[str, Any]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    (version,) = conn.execute("select split_part(current_setting('server_version'), ' ', 1)").fetchone() or ("",)
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": model[1] if model else platform.processor(),
        "postgresql": version,
        "settings": {name: conn.execute("select current_setting(%s)", [name]).fetchone()[0] for name in TOLD},
        "accounts": ACCOUNTS,
        "batch_size": BATCH_SIZE,
    }


def header(around: dict[str, Any], seconds: int, rounds: int) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in around["settings"].items())
    return (
        f"PostgreSQL {around['postgresql']} and pgbench on {around['cores']} cores ({around['processor']});"
        f" {settings}.\n"
        f"{ACCOUNTS:,} accounts, prepared statements, medians of {rounds} interleaved runs of {seconds} s."
    )


def table(results: dict[tuple[str, int], Measured], ratios: list[Ratio]) -> str:
    """The comparisons in Markdown."""
    rows = [["Function", "Where", "Clients", "Calls/s", "Compared with", "Calls/s", "Ratio", "Bar", ""]]
    rows.append(["---", "---", "--:", "--:", "---", "--:", "--:", "--:", "---"])
    for ratio in ratios:
        ours, reference = SCENARIOS[ratio.ours], SCENARIOS[ratio.reference]
        rows.append(
            [
                ours.title,
                GROUPS[ours.group],
                str(ratio.clients),
                f"{results[ratio.ours, ratio.clients].median:,.0f}",
                reference.title,
                f"{results[ratio.reference, ratio.clients].median:,.0f}",
                f"{ratio.ratio:.2f}",
                "" if ratio.bar is None else f"{ratio.bar:.2f}",
                ratio.verdict,
            ]
        )
    return markdown(rows)


def markdown(rows: list[list[str]]) -> str:
    """A table of which the second row says how its columns are aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            right = rows[1][column].endswith(":")
            if row is rows[1]:
                cells.append("-" * (width - 1) + ":" if right else "-" * width)
            else:
                cells.append(cell.rjust(width) if right else cell.ljust(width))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def profile(conn: psycopg.Connection, pgbench: Pgbench, names: list[str], seconds: int) -> None:
    """Where the server's time goes, by function and by statement; the counting itself slows all of it down."""
    conn.execute("create extension if not exists pg_stat_statements")
    conn.execute(sql.SQL("alter database {} set track_functions = 'all'").format(sql.Identifier(conn.info.dbname)))
    for name in names:
        pgbench.run(name, 1, 1)
        conn.execute("select pg_stat_reset(), pg_stat_statements_reset()")
        before = pgbench.transactions[name]
        pgbench.run(name, 1, seconds)
        count = pgbench.transactions[name] - before
        time.sleep(1.5)  # a session reports what it has counted when it ends
        print(f"\n{name}: microseconds a transaction ({count:,} of them)")
        functions = conn.execute(
            """select schemaname || '.' || funcname, calls / %(n)s::numeric, total_time * 1000 / %(n)s::int,
                      self_time * 1000 / %(n)s::int
                 from pg_stat_user_functions
                where calls * 2 >= %(n)s
                order by self_time desc limit 12""",
            {"n": count},
        ).fetchall()
        statements = conn.execute(
            r"""select left(regexp_replace(query, '\s+', ' ', 'g'), 60), calls / %(n)s::numeric,
                       total_exec_time * 1000 / %(n)s::int, null
                  from pg_stat_statements
                 where dbid = (select oid from pg_database where datname = current_database()) and calls * 2 >= %(n)s
                 order by total_exec_time desc limit 8""",
            {"n": count},
        ).fetchall()
        print(f"{'':60} {'calls':>8} {'total':>8} {'self':>8}")
        for label, calls, total, own in functions + statements:
            print(f"{label:60} {calls:8.2f} {total:8.1f} {'' if own is None else f'{own:8.1f}'}")


def bench(url: str, arguments: argparse.Namespace) -> int:
    """Prepare, measure, verify and tell; returns the exit code."""
    names = [name for name, scenario in SCENARIOS.items() if not arguments.only or scenario.group in arguments.only]
    if "batch" in names and "deduct" not in names:
        names.insert(0, "deduct")  # what batches are compared with
    with (
        psycopg.connect(url, autocommit=True, application_name="bench") as conn,
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
    ):
        print(f"Opening {ACCOUNTS:,} accounts ...", file=sys.stderr)
        prepare(conn)
        pgbench = Pgbench(url, Path(directory))
        if arguments.profile:
            profile(conn, pgbench, names, arguments.seconds)
            return 0
        around = surroundings(conn)
        results = measure(conn, pgbench, names, arguments.seconds, arguments.rounds)
        ratios = compare(results)
        verified = verify(conn, pgbench)
    print(header(around, arguments.seconds, arguments.rounds), end="\n\n")
    print(table(results, ratios), end="\n\n")
    print(verified)
    report = around | {
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "measured": [asdict(each) | {"median": each.median} for each in results.values()],
        "ratios": [each._asdict() | {"holds": each.holds} for each in ratios],
    }
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    missed = [ratio for ratio in ratios if not ratio.holds]
    for ratio in missed:
        print(
            f"Bar missed: {ratio.ours} with {ratio.clients} at once: {ratio.ratio:.2f} of {ratio.bar:.2f}",
            file=sys.stderr,
        )
    return 2 if missed and arguments.enforce else 0


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database-url", help="an empty database to use; default: a scratch server")
    where.add_argument(
        "--postgres", type=int, choices=[DEBIAN, EMBEDDED], default=EMBEDDED, help="of the scratch server"
    )
    parser.add_argument("--seconds", type=positive, default=4, help="of each run that count (default: 4)")
    parser.add_argument("--rounds", type=positive, default=5, help="how often each scenario runs (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds: do all scenarios work?")
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="measure this group; can be repeated")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "bench.json", help="where the figures go (default: bench.json)"
    )
    parser.add_argument("--enforce", action="store_true", help="exit code 2 when a bar is missed")
    parser.add_argument("--profile", action="store_true", help="tell where the time goes instead of measuring")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.rounds = 2, 1
    try:
        if arguments.database_url:
            return bench(arguments.database_url, arguments)
        with server(arguments.postgres, PROFILED if arguments.profile else None) as url:
            return bench(url, arguments)
    except (BenchError, MigrationError) as error:
        print(error, file=sys.stderr)
        return 1
    except ServerError as error:
        print(error, file=sys.stderr)
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
        return 1
    return 3


if __name__ == "__main__":
    sys.exit(main())
