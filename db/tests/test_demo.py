"""The demo accounts: believable, consistent, and made once."""

from datetime import UTC, datetime, timedelta

import psycopg

from scripts.demo import DAYS, IDENTITIES, USERS, seed


def test_the_demo_verifies_and_has_something_of_everything(conn: psycopg.Connection) -> None:
    seed(conn)
    assert conn.execute("select * from billing.verify_ledger()").fetchall() == []
    assert conn.execute("select count(*) from billing.credit_accounts").fetchone() == (len(USERS),)
    types = {row.type for row in conn.execute("select distinct type from billing.credit_ledger")}
    assert {"usage", "tier_grant", "adjustment", "reversal", "expiry"} <= types
    outcomes = {row.outcome for row in conn.execute("select distinct outcome from billing.admin_actions_log")}
    assert outcomes == {"done", "admin_limit_exceeded"}
    refused = conn.execute("select count(*) from billing.credit_ledger where type = 'usage' and amount = 0").fetchone()
    assert refused == (2,)
    assert conn.execute("select count(*) from billing.credit_holds where status = 'active'").fetchone() == (1,)
    roles = {str(row.user_id): row.role for row in conn.execute("select user_id, role from billing.user_roles")}
    assert roles == {str(IDENTITIES["admin"]): "admin", str(IDENTITIES["super_admin"]): "super_admin"}


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
    before = conn.execute("select count(*), max(created_at) from billing.credit_ledger").fetchone()
    assert seed(conn) == ids
    assert conn.execute("select count(*), max(created_at) from billing.credit_ledger").fetchone() == before
