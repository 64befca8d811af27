"""README tells the truth: its generated tables are those of the code, and its psql session runs."""

import re
import subprocess
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest

from scripts import readme
from scripts.pytest_billing import Database
from scripts.servers import psql_program


def test_the_generated_tables_are_up_to_date(conn: psycopg.Connection) -> None:
    assert readme.README.read_text() == readme.rendered(conn), "run: python -m scripts.readme"


def test_the_psql_session_runs_as_it_stands(database: Database) -> None:
    session = re.search(r"make psql`:\n\n```sql\n(.*?)```", readme.README.read_text(), re.S)
    assert session is not None
    done = subprocess.run(
        [psql_program(), "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--tuples-only", "--no-align", database.url],
        input=session[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1] == "t|2|23.50|f"
    assert lines[2] == "t|2|23.50|t"
    assert lines[3] == "f|insufficient_credits|23.50"
    assert lines[4] == "4|adjustment|10"
    assert lines[-1] == "1", "one refusal in the last hour, and nothing after it: the ledger verifies"


OLD_TABLES = """
create table public.profiles (
    id uuid primary key, stripe_id text, subscription_id text, plan_price text, plan_status text,
    paid_from timestamptz, paid_until timestamptz, credit numeric not null default 0,
    created_at timestamptz not null default now()
);
create table public.calls (
    id uuid primary key default gen_random_uuid(), user_id uuid not null, model text not null,
    input_tokens bigint not null, output_tokens bigint not null, cost numeric not null, request_id text,
    created_at timestamptz not null
);
create table public.top_ups (
    id uuid primary key default gen_random_uuid(), user_id uuid not null, dollars numeric not null, state text not null,
    payment_intent text, created_at timestamptz not null, paid_at timestamptz
);
insert into public.profiles (id, stripe_id, subscription_id, plan_price, plan_status, paid_from, paid_until, credit)
values ('0b8e6f0e-6a53-4c41-9d0c-8e2f2f6a7d11', 'cus_1', 'sub_1', 'price_1Abc', 'active', now(),
    now() + interval '1 month', 12.5);
insert into public.calls (user_id, model, input_tokens, output_tokens, cost, created_at)
values ('0b8e6f0e-6a53-4c41-9d0c-8e2f2f6a7d11', 'gpt-4o', 1000, 500, 4.25, now());
insert into public.top_ups (user_id, dollars, state, payment_intent, created_at, paid_at)
values ('0b8e6f0e-6a53-4c41-9d0c-8e2f2f6a7d11', 20, 'completed', 'pi_1', now() - interval '2 months',
    now() - interval '2 months');
"""


def test_the_example_with_tables_of_ones_own_migrates_and_rolls_back(conn: psycopg.Connection) -> None:
    example = re.search(r"<!-- adopter.*?-->\n```sql\n(.*?)```", readme.README.read_text(), re.S)
    assert example is not None
    conn.execute(OLD_TABLES)
    conn.execute(example[1])
    user = UUID("0b8e6f0e-6a53-4c41-9d0c-8e2f2f6a7d11")

    moved = conn.execute("select * from billing.migrate_users(array[%s])", [user]).fetchone()
    assert (moved.outcome, moved.tier, moved.balance) == ("migrated", "tier_2_20", Decimal("33.25"))
    with pytest.raises(psycopg.Error, match="already_migrated"):
        conn.execute("update public.profiles set credit = 0")

    conn.execute("select billing.deduct_credits(%s, 30)", [user])
    back = conn.execute("select * from billing.rollback_users(array[%s])", [user]).fetchone()
    assert (back.outcome, back.monthly_left, back.bought_credit) == ("rolled_back", 0, Decimal("3.25"))
    assert conn.execute("select credit from public.profiles").fetchone() == (Decimal("3.25"),)
    assert conn.execute("select count(*), sum(cost) from public.calls").fetchone() == (2, Decimal("34.25"))
    stand = conn.execute("select * from billing.legacy_check(%s)", [user]).fetchone()
    assert (stand.remaining, stand.bought_credit, stand.migrated) == (0, Decimal("3.25"), False)
    assert not conn.execute("select * from billing.verify_ledger()").fetchall()
