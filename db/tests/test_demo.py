"""The demo accounts: believable, consistent, and made once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from scripts.demo import DAYS, IDENTITIES, OLD_USERS, USERS, seed
from scripts.demo_payments import seed_payments
from scripts.servers import free_port
from scripts.stripe_simulator.client import Control

# A command, or a tool: it does not depend on the version of PostgreSQL.
pytestmark = [pytest.mark.once, pytest.mark.outside]


def test_the_demo_verifies_and_has_something_of_everything(conn: psycopg.Connection) -> None:
    seed(conn)
    assert conn.execute("select * from billing.verify_ledger()").fetchall() == []
    assert conn.execute("select count(*) from billing.credit_accounts").fetchone() == (len(USERS),)
    types = {row.type for row in conn.execute("select distinct type from billing.credit_ledger")}
    assert {"usage", "tier_grant", "adjustment", "refund", "reversal", "expiry"} <= types
    outcomes = {row.outcome for row in conn.execute("select distinct outcome from billing.admin_actions_log")}
    assert outcomes == {"done", "admin_limit_exceeded"}
    refused = conn.execute("select count(*) from billing.credit_ledger where type = 'usage' and amount = 0").fetchone()
    assert refused == (2,)
    assert conn.execute("select count(*) from billing.credit_holds where status = 'active'").fetchone() == (2,)
    admins = [IDENTITIES["admin"], IDENTITIES["super_admin"]]
    known = conn.execute("select reference from billing.list_user_references(%s) order by reference", [admins])
    assert known.fetchall() == [("alan@example.com",), ("katherine@example.com",)]
    found = conn.execute("select reference from billing.search_accounts(p_query => 'grace@example.com')").fetchall()
    assert found == [("grace@example.com",)]
    requests = {row.status for row in conn.execute("select status from billing.list_approvals()")}
    assert requests == {"open", "approved", "declined"}
    roles = {str(row.user_id): row.role for row in conn.execute("select user_id, role from billing.user_roles")}
    assert roles == {str(IDENTITIES["admin"]): "admin", str(IDENTITIES["super_admin"]): "super_admin"}
    nobody, told = f"http://127.0.0.1:{free_port()}", []
    assert not seed_payments(nobody, Control(nobody), str, conn, told.append)
    assert told == ["demo: without its payments until the next start: <urlopen error [Errno 111] Connection refused>"]


def test_its_month_lies_behind_us_and_the_clock_runs_again(conn: psycopg.Connection) -> None:
    seed(conn)
    row = conn.execute(
        "select min(created_at) as first, max(created_at) as last, billing_private.clock() as clock "
        "from billing.credit_ledger"
    ).fetchone()
    assert row is not None
    now = datetime.now(UTC)
    assert now - timedelta(days=DAYS + 1) < row.first < now - timedelta(days=DAYS - 1)
    assert row.last < now
    assert abs(row.clock - now) < timedelta(minutes=1)


def test_a_second_seeding_changes_nothing(conn: psycopg.Connection) -> None:
    ids = seed(conn)
    usage = conn.execute("select count(*), sum(cost) from legacy_billing.usage_records").fetchone()
    before = conn.execute("select count(*), max(created_at) from billing.credit_ledger").fetchone()
    assert seed(conn) == ids
    assert conn.execute("select count(*), sum(cost) from legacy_billing.usage_records").fetchone() == usage
    assert conn.execute("select count(*), max(created_at) from billing.credit_ledger").fetchone() == before


def test_users_of_the_old_billing_wait_to_be_migrated(conn: psycopg.Connection) -> None:
    seed(conn)
    listed = conn.execute("select user_id, status from billing.list_old_users()").fetchall()
    assert {row.user_id for row in listed} == {user.user_id for user in OLD_USERS}
    assert {row.status for row in listed} == {"waiting"}
    ids = [row.user_id for row in listed]
    planned = {row.user_id: row for row in conn.execute("select * from billing.plan_migration(%s)", [ids])}
    for user in OLD_USERS:
        plan = planned[user.user_id]
        assert (plan.usage_before, plan.bought_credit) == (Decimal(user.usage), Decimal(user.left))
        assert plan.purchases == len(user.bought)
    problems = sorted(row.problem for row in planned.values() if row.problem)
    assert problems == ["negative_credit", "unknown_price"]
    old_user = planned[IDENTITIES["old_user"]]
    assert (old_user.tier, old_user.balance) == ("tier_200_1000", Decimal("1005") - Decimal("18.4") + Decimal("60.5"))


def test_a_database_with_demo_accounts_gets_users_of_the_old_billing_too(conn: psycopg.Connection) -> None:
    seed(conn)
    tables = [f"legacy_billing.{name}" for name in ("customers", "subscriptions", "usage_records", "purchases")]
    conn.execute(f"truncate {', '.join(tables)}, legacy_billing.bought_credit, billing.user_migrations")
    told: list[str] = []
    seed(conn, told.append)
    assert told == ["demo: 12 users of the old billing, none of them migrated"]
    conn.execute("select billing.migrate_users(array[%s::uuid])", [IDENTITIES["old_user"]])
    seed(conn, told.append)
    assert len(told) == 1
