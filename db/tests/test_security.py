"""What a role can do that may only call the SQL API: nothing else, however it prepares its session."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from db.tests.sessions import PATIENCE
from scripts.pytest_billing import Database

# A name that a function's body resolves through pg_temp runs the attacker's code with the owner's rights.
HIJACK = """
    create table pg_temp.loot (who text);
    create function pg_temp.steal() returns boolean language plpgsql as $$
    begin
        if current_user = 'billing_owner' then
            update billing.credit_accounts set balance = 777;
        end if;
        return true;
    end
    $$;
    create function pg_temp.steal_text(v pg_catalog.text) returns boolean language sql as 'select pg_temp.steal()';
    create function pg_temp.steal_uuid(v pg_catalog.uuid) returns boolean language sql as 'select pg_temp.steal()';
    create function pg_temp.steal_jsonb(v pg_catalog.jsonb) returns boolean language sql as 'select pg_temp.steal()';
    create function pg_temp.steal_time(v pg_catalog.timestamptz) returns boolean language sql
        as 'select pg_temp.steal()';
    create domain pg_temp.text as pg_catalog.text check (pg_temp.steal_text(value));
    create domain pg_temp.uuid as pg_catalog.uuid check (pg_temp.steal_uuid(value));
    create domain pg_temp.jsonb as pg_catalog.jsonb check (pg_temp.steal_jsonb(value));
    create domain pg_temp.timestamptz as pg_catalog.timestamptz check (pg_temp.steal_time(value));
"""
CALLS = {
    "billing_api": [
        "select billing.get_account(%(user)s)",
        "select billing.check_credits(%(user)s)",
        "select billing.deduct_credits(%(user)s, 1, 'x', 'y', 'z', 'key', '{}')",
        "select billing.deduct_credits(%(user)s, 100)",
        "select billing.deduct_tokens(%(user)s, 'gpt-4o', 10, 10)",
        "select billing.grant_credits(%(user)s, 1, 'promotion', p_expires_at => now() + interval '1 day')",
        "select billing.hold_credits(%(user)s, 1)",
        "select billing.adjust_credits(%(user)s, %(user)s, 1, 'x')",
        "select billing.list_entries(%(user)s)",
        "select billing.usage_by(%(user)s, now() - interval '1 day', now())",
        "select billing.request_customer(%(user)s)",
        "select billing.request_checkout(%(user)s, 'tier_2_20', 'month', 'key', '{}')",
        "select billing.request_sync(%(user)s)",
        "select billing.get_subscription(%(user)s)",
        "select billing.set_auto_top_up(%(user)s, false, 1, '10', 10, 'pm')",
        "select billing.record_stripe_event("
        '\'{"object": "event", "id": "e", "type": "invoice.paid", "created": 1, "data": {"object": {}}}\')',
        "select billing.apply_stripe_event('e')",
        "select billing.list_due_stripe_calls()",
        "select billing.compare_with_stripe('[]', now() - interval '1 day', now())",
    ],
    "billing_monitor": ["select billing.verify_account(%(user)s)", "select billing.verify_ledger()"],
}


@pytest.mark.parametrize("role", CALLS)
def test_r21_temporary_types_do_not_run_with_the_owners_rights(database: Database, role: str) -> None:
    """R21: an empty search_path looks into pg_temp first, for types; ours looks there last."""
    user = uuid4()
    with database.connect() as conn:
        conn.execute("select billing.open_account(%s)", [user])
    for call in CALLS[role]:
        with database.connect(role) as attacker:
            attacker.execute(HIJACK)
            attacker.execute(call, {"user": user})
        with database.connect() as conn:
            row = conn.execute("select balance from billing.credit_accounts where user_id = %s", [user]).fetchone()
            assert row is not None
            assert row.balance < 100, call


def test_the_hijack_would_work_where_the_path_is_empty(database: Database) -> None:
    """The test above can fail: a function of ours with an empty search_path is hijacked."""
    user = uuid4()
    with database.connect() as conn:
        conn.execute("select billing.open_account(%s)", [user])
        conn.execute(
            "alter function billing.deduct_credits(uuid, numeric, text, text, text, text, jsonb) set search_path = ''"
        )
    with database.connect("billing_api") as attacker:
        attacker.execute(HIJACK)
        attacker.execute("select billing.deduct_credits(%s, 1, p_description => 'x')", [user])
    with database.connect() as conn:
        row = conn.execute("select balance from billing.credit_accounts where user_id = %s", [user]).fetchone()
    assert row is not None
    assert row.balance > 700


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_roles_do_not_change_on_a_stale_snapshot(database: Database, level: str) -> None:
    """Two super admins who demote each other: the second one must not go by what it saw before the first."""
    first, second = uuid4(), uuid4()
    with database.connect() as conn:
        conn.execute("select billing.bootstrap_super_admin(%s)", [first])
        conn.execute("select billing.set_user_role(%s, %s, 'super_admin')", [first, second])
    demote = "select billing.set_user_role(%s, %s, 'user')"
    with (
        database.connect("billing_api") as one,
        database.connect("billing_api") as two,
        ThreadPoolExecutor(1) as pool,
    ):
        two.execute(f"begin isolation level {level}")
        two.execute("select billing.get_user_role(%s)", [first])
        one.execute(demote, [first, second])
        late = pool.submit(two.execute, demote, [second, first])
        with pytest.raises(psycopg.Error, match="invalid_request"):
            late.result(PATIENCE)
    with database.connect() as conn:
        left = conn.execute("select count(*) from billing.user_roles where role = 'super_admin'").fetchone()
    assert left == (1,)
