"""The generated users of the old system: as many as asked for, the same every time, and dirty where they should be."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from scripts.legacy_data import HARMLESS, KINDS, PROBLEMS, NotEmpty, Population, fill
from scripts.pytest_billing import Clock, Database, databases
from scripts.servers import ROOT

# A command, or a tool: it does not depend on the version of PostgreSQL.
pytestmark = [pytest.mark.once, pytest.mark.outside]

NOON = datetime(2025, 3, 15, 12, tzinfo=UTC)
USERS, USAGE = 600, 6000


@pytest.fixture(scope="module")
def filled(pytestconfig: pytest.Config) -> Iterator[tuple[Database, Population]]:
    """Generated once for the tests of this file, which only read."""
    database = databases(pytestconfig).copy()
    Clock(database).freeze(NOON)
    with database.connect() as conn:
        yield database, fill(conn, USERS, USAGE, dirty=0.1, seed=5)
    databases(pytestconfig).drop(database)


@pytest.fixture
def made(filled: tuple[Database, Population]) -> Population:
    return filled[1]


@pytest.fixture
def old(filled: tuple[Database, Population]) -> Iterator[psycopg.Connection]:
    with filled[0].connect() as conn:
        yield conn


def value(conn: psycopg.Connection, query: str, *values: object) -> object:
    (row,) = conn.execute(query, values).fetchall()
    return row[0]


CONTENT = """
select md5(string_agg(r, ' ' order by r collate "C")) from (
    select c::text as r from (select user_id, stripe_customer_id, email, created_at from legacy_billing.customers) as c
    union all select s::text from legacy_billing.subscriptions as s
    union all select u::text
      from (select user_id, model, prompt_tokens, completion_tokens, cached_tokens, cost, created_at
              from legacy_billing.usage_records) as u
    union all select p::text from legacy_billing.purchases as p
    union all select b::text from (select user_id, balance from legacy_billing.bought_credit) as b
) as rows
"""


def test_the_numbers_are_those_asked_for(old: psycopg.Connection, made: Population) -> None:
    assert (made.users, made.usage) == (USERS, USAGE)
    assert value(old, "select count(*) from legacy_billing.usage_records") == USAGE
    assert value(old, "select count(*) from legacy_billing.purchases") == made.purchases > USERS // 10
    assert made.dirty.keys() == set(KINDS)
    each = len(made.dirty["no_customer"])
    assert each * len(KINDS) == len({user for users in made.dirty.values() for user in users}) > USERS * 0.08
    known = value(old, "select count(distinct user_id) from legacy_billing.customers")
    assert known == USERS - len(made.dirty["no_customer"])


def test_the_same_seed_makes_the_same_users(database: Database, clock: Clock, old: psycopg.Connection) -> None:
    clock.freeze(NOON)
    with database.connect() as conn:
        conn.execute("set timezone = 'Asia/Kolkata'")
        again = fill(conn, USERS, USAGE, dirty=0.1, seed=5)
        conn.execute("reset timezone")
        assert value(conn, CONTENT) == value(old, CONTENT)
        assert len(again.refused) == len(PROBLEMS) * len(again.dirty["no_customer"])
        with pytest.raises(NotEmpty, match="has rows already"):
            fill(conn, USERS, USAGE)
        conn.execute("truncate legacy_billing.customers, legacy_billing.subscriptions")
        conn.execute("truncate legacy_billing.usage_records, legacy_billing.purchases, legacy_billing.bought_credit")
        other = fill(conn, USERS, USAGE, dirty=0.1, seed=6)
        assert not other.refused.keys() & again.refused.keys()
        spent = "select sum(cost) from legacy_billing.usage_records"
        assert value(conn, spent) != value(old, spent)


def test_what_is_dirty_is_refused_by_its_name_and_nobody_else(old: psycopg.Connection, made: Population) -> None:
    ids = [row.user_id for row in old.execute("select distinct user_id from legacy_billing.customers")]
    assert len(ids) <= 1000
    rows = old.execute("select user_id, problem from billing.plan_migration(%s) where problem is not null", [ids])
    found = {row.user_id: row.problem for row in rows}
    lost = {row.user_id: row.problem for row in old.execute("select * from billing.list_users_without_customer()")}
    assert found | lost == made.refused
    assert set(found.values()) | set(lost.values()) == set(PROBLEMS)


def test_there_is_something_of_everything(old: psycopg.Connection, made: Population) -> None:
    assert (
        value(old, "select max(n) from (select count(*) as n from legacy_billing.usage_records group by user_id) u")
        >= 600
    )
    statuses = {row.status for row in old.execute("select distinct status from legacy_billing.subscriptions")}
    assert statuses == {"active", "trialing", "past_due", "canceled"}
    prices = {row.price_id for row in old.execute("select distinct price_id from legacy_billing.subscriptions")}
    assert {"price_tier_2_20_monthly", "price_tier_2_20_yearly", "price_tier_200_1000_yearly"} <= prices
    bought = {row.status for row in old.execute("select distinct status from legacy_billing.purchases")}
    assert bought == {"pending", "completed", "failed", "refunded"}
    free = "select count(*) from legacy_billing.legacy_customers where stripe_subscription_id is null"
    assert value(old, free) > USERS * 0.4
    left = old.execute(
        """select b.balance, sum(p.amount) filter (where p.status = 'completed') as bought
             from legacy_billing.bought_credit as b join legacy_billing.purchases as p using (user_id)
            group by b.user_id having sum(p.amount) > 0"""
    ).fetchall()
    assert any(row.balance == 0 for row in left)
    assert any(0 < row.balance < row.bought for row in left)
    assert any(row.balance == row.bought for row in left)
    assert made.dirty["duplicate_customer"] <= {
        row.user_id
        for row in old.execute("select user_id from legacy_billing.customers group by user_id having count(*) = 2")
    }


@pytest.mark.parametrize(
    "at",
    [
        "2025-02-28 23:59:59.999999",
        "2025-03-01 00:00:00",
        "2025-02-28 11:00:00",  # midnight in Auckland
        "2025-03-01 08:00:00",  # midnight in Los Angeles
        "2025-03-31 23:59:59.999999",
        "2025-04-01 00:00:00",
    ],
)
def test_months_begin_and_end_in_utc(old: psycopg.Connection, at: str) -> None:
    rows = old.execute(
        """select p.usage_before,
                  (select coalesce(sum(cost), 0) from legacy_billing.usage_records as a
                    where a.user_id = u.user_id and to_char(a.created_at at time zone 'UTC', 'YYYY-MM') = '2025-03')
                  as of_march
             from legacy_billing.usage_records as u, lateral billing.plan_migration(array[u.user_id]) as p
            where u.cost = 0.25 and u.created_at = %s::timestamp at time zone 'UTC' and p.problem is null""",
        [at],
    ).fetchall()
    assert rows
    assert all(row.usage_before == row.of_march for row in rows)


def test_the_guard_is_back_afterwards(old: psycopg.Connection) -> None:
    disabled = (
        "select count(*) from pg_trigger where tgrelid::regclass::text like 'legacy_billing.%%' and tgenabled <> 'O'"
    )
    assert value(old, disabled) == 0
    assert value(old, "select count(*) from pg_trigger where tgname like '%%_guard'") == 3


def test_the_command(database: Database) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scripts.legacy_data", *options],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": database.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = run("--users", "200", "--usage", "1000", "--dirty", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("200 users, 1000 usage rows, ")
    for kind in (*PROBLEMS, *HARMLESS):
        assert f"  {kind:<24}     4\n" in done.stdout
    again = run("--users", "200", "--usage", "1000")
    assert again.returncode == 1
    assert again.stderr == (
        "legacy_billing.customers has rows already: this is for an old system without any.\nNothing has changed.\n"
    )
    assert run("--users", "20", "--usage", "1000").returncode == 1
    assert run("--dirty", "2").returncode == 2


def test_the_measurement_measures(database: Database) -> None:
    command = [sys.executable, "-m", "scripts.bench_migration", "--database-url", database.url, "--part", "100"]
    done = subprocess.run(
        [*command, "--users", "300", "--usage", "1000", "--dirty", "0.1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines() if line.startswith("| ")]
    steps = {row[1]: row[2] for row in rows[2:]}
    assert steps == {
        "generator": "300",
        "`--analyze`": "300",
        "`--dry-run`": "100",
        "migration": "280",
        "`--verify`": "280",
        "`--rollback-all`": "100",
    }
    assert "named exactly the 20 dirty users" in done.stdout
