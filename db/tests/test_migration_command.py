"""scripts/migrate_to_credits.py as an operator runs it: in processes of its own, some of which die half-way."""

import asyncio
import json
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from scripts.bench_migration import PEAK
from scripts.legacy_data import PROBLEMS, Population, fill
from scripts.migrate import migrate
from scripts.migrate_to_credits import DIFFERENCES, Migration
from scripts.migrate_to_credits import PROBLEMS as TOLD_PROBLEMS
from scripts.pytest_billing import Clock, Database
from scripts.servers import ROOT, free_port
from scripts.testserver import TestServer

# A command, or a tool: it does not depend on the version of PostgreSQL.
pytestmark = [pytest.mark.once, pytest.mark.outside]

SCRIPT = str(ROOT / "scripts" / "migrate_to_credits.py")
NOON = datetime(2025, 3, 15, 12, tzinfo=UTC)
BAD = UUID(int=4)


@dataclass
class Command:
    """The script in a directory of its own, where its log is."""

    url: str
    directory: Path

    @property
    def log(self) -> Path:
        return self.directory / "logs" / "migration.log"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"DATABASE_URL": self.url, "PYTHONPATH": str(ROOT)}

    def start(self, *options: str, **streams: Any) -> subprocess.Popen[str]:
        every: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, SCRIPT, *options],
            cwd=self.directory,
            env=self.environment,
            text=True,
            **every | streams,
        )

    def run(self, *options: str, code: int = 0) -> str:
        """What it prints; it must end with that exit code, and say something on standard error only then."""
        process = self.start(*options)
        output, told = process.communicate(timeout=120)
        assert process.returncode == code, output + told
        assert code >= 2 or told == ""
        return output if code < 2 else told

    def rows(self, *options: str, code: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line, parse_float=Decimal) for line in self.run(*options, "--json", code=code).splitlines()]

    def totals(self, *options: str, code: int = 0) -> dict[str, Any]:
        return self.rows(*options, code=code)[-1]["totals"]


@pytest.fixture
def command(database: Database, tmp_path: Path) -> Command:
    return Command(database.url, tmp_path)


@pytest.fixture
def few(conn: psycopg.Connection, clock: Clock) -> psycopg.Connection:
    """Six users of the old system: the fourth can't be migrated, the last one has bought credit."""
    clock.freeze(NOON)
    users = [UUID(int=number) for number in range(1, 7)]
    for number, user_id in enumerate(users, start=1):
        conn.execute(
            "insert into legacy_billing.customers (user_id, stripe_customer_id) values (%s, %s)",
            [user_id, f"cus_{number}"],
        )
    conn.execute(
        """insert into legacy_billing.subscriptions (subscription_id, customer_id, price_id, status)
           select 'sub_' || c.customer_id, c.customer_id, s.price_id, 'active'
             from (values (2, 'price_tier_2_20_monthly'), (3, 'price_tier_6_50_yearly'), (4, 'price_of_2019'),
                          (6, 'price_tier_200_1000_monthly')) as s (number, price_id)
             join legacy_billing.customers as c on c.stripe_customer_id = 'cus_' || s.number"""
    )
    conn.execute(
        """insert into legacy_billing.usage_records (user_id, model, cost, created_at)
           select %s, 'gpt-4o', 0.000000001, %s from generate_series(1, 3) union all select %s, 'gpt-4o', 12.5, %s""",
        [users[1], NOON, users[5], NOON],
    )
    conn.execute(
        """insert into legacy_billing.purchases
               (purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at)
           values ('p1', %(user)s, 50, 5000, 'completed', 'pi_1', %(at)s, %(at)s),
                  ('p2', %(user)s, 20, 2000, 'completed', 'pi_2', %(at)s, %(at)s)""",
        {"user": users[5], "at": datetime(2025, 1, 5, tzinfo=UTC)},
    )
    conn.execute("insert into legacy_billing.bought_credit (user_id, balance) values (%s, 60.123456789)", [users[5]])
    return conn


MOVED = {"migrated": 5, "already_migrated": 0, "refused": 1, "failed": 0}
# In each of the tables that a migration fills, all but what is random: ids, and the hashes over them.
STATE = {
    "user_migrations": "user_id, status, round, tier, period, usage_before, monthly_credits, tier_credits, "
    "bought_credit, purchases, month_granted, first_entry_no, last_entry_no",
    "credit_accounts": "user_id, balance, tier, status, entry_count, granted_through",
    "credit_ledger": "user_id, entry_no, type, amount, balance_after, operation, idempotency_key, reference_id",
    "credit_grants": "user_id, grant_no, source, amount, remaining, priority, expires_at, entry_no, reference_id",
    "credit_purchases": "user_id, legacy_purchase_id, amount, price_cents, status, spent_before, entry_no",
    "billing_payments": "payment_intent_id, user_id, amount_cents, bought, grant_no",
    "billing_customers": "user_id, stripe_customer_id",
    "billing_subscriptions": "stripe_subscription_id, user_id, tier, status",
}


def state(conn: psycopg.Connection) -> dict[str, list[Any]]:
    return {
        table: conn.execute(f"select {columns} from billing.{table} order by {columns}").fetchall()
        for table, columns in STATE.items()
    }


def everything(conn: psycopg.Connection) -> str:
    """A fingerprint of all rows of both systems."""
    tables = conn.execute(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables "
        "where schemaname in ('billing', 'legacy_billing') order by 1"
    ).fetchall()
    return " ".join(
        conn.execute(f"select md5(string_agg(t::text, ' ' order by t::text)) as sum from {table.name} as t")
        .fetchone()
        .sum
        or "-"
        for table in tables
    )


def waiting(conn: psycopg.Connection) -> int:
    return conn.execute("select count(*) as number from billing.list_old_users('waiting')").fetchone().number


def without_heading(output: str) -> str:
    return output.partition("\n")[2]


def test_analyze_tells_what_there_is_and_what_to_do(few: psycopg.Connection, command: Command) -> None:
    before = everything(few)
    table = command.run("--analyze")
    assert re.search(r"^waiting +tier_200_1000 +active +- +1 +12\.5 +992\.5 +60\.123456789 +2$", table, re.M)
    assert re.search(r"^can migrate +5 +12\.500000003 +1082\.499999997 +60\.123456789 +2$", table, re.M)
    assert re.search(r"^unknown_price \(1\): A subscription .* Give the price a tier", table, re.M)
    told = json.loads(command.run("--analyze", "--json"), parse_float=Decimal)
    assert told["totals"]["can_migrate"]["tier_credits"] == Decimal("1082.499999997")
    assert told["totals"]["all"]["users"] == sum(group["users"] for group in told["groups"]) == 6
    assert [(each["problem"], each["users"]) for each in told["problems"]] == [("unknown_price", 1)]
    assert everything(few) == before
    assert not command.log.exists()


def test_a_dry_run_prints_what_the_real_run_prints_and_changes_nothing(
    few: psycopg.Connection, command: Command
) -> None:
    before = everything(few)
    rehearsed = command.run("--dry-run", "--batch-size", "2", code=1)
    in_json = command.run("--dry-run", "--json", code=1)
    assert everything(few) == before
    assert not command.log.exists()
    done = command.run("--yes", "--batch-size", "4", code=1)
    assert without_heading(rehearsed) == without_heading(done)
    assert re.search(rf"^{UUID(int=2)} +migrated +tier_2_20 +0\.000000003 +25 +24\.999999997 +0 +0 +24", done, re.M)
    assert f"{BAD}  unknown_price: No tier is known for price price_of_2019." in done
    assert [row.user_id.int for row in few.execute("select user_id from billing.credit_accounts order by 1")] == [
        *(1, 2, 3, 5, 6)
    ]
    rows = [json.loads(line, parse_float=Decimal) for line in in_json.splitlines()]
    assert [UUID(row["user_id"]).int for row in rows[:-1]] == [1, 2, 3, 4, 5, 6]
    assert rows[5]["tier_credits"] + rows[5]["bought_credit"] == rows[5]["balance"] == Decimal("1052.623456789")
    assert rows[-1]["totals"].items() >= (MOVED | {"migrated_before": 0, "problems": {"unknown_price": 1}}).items()
    assert rows[-1]["totals"]["balance"] == Decimal("1142.623456786")
    assert rows[-1]["totals"]["dry_run"] is True
    assert command.totals("--yes", code=1)["dry_run"] is False


def test_what_is_done_is_in_the_log(few: psycopg.Connection, command: Command) -> None:
    command.run("--yes", code=1)
    command.run("--rollback-user", str(UUID(int=6)))
    lines = command.log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \w+=", line) for line in lines)
    age = datetime.now(UTC) - datetime.fromisoformat(lines[0].split()[0])
    assert 0 <= age.total_seconds() < 60, "times are UTC"
    told = "\n".join(line.partition(" ")[2] for line in lines)
    assert f"user_id={UUID(int=2)} outcome=migrated tier=tier_2_20 " in told
    assert "tier_credits=24.999999997 bought_credit=0 purchases=0 balance=24.999999997" in told
    assert f'user_id={BAD} outcome=refused problem=unknown_price detail="No tier is known for price' in told
    assert f"user_id={UUID(int=6)} outcome=rolled_back monthly_left=992.5 bought_credit=60.123456789" in told
    command.run("--yes", code=1)
    assert command.log.read_text().startswith("\n".join(lines)), "it is appended to"


def test_without_a_log_nothing_is_moved(few: psycopg.Connection, command: Command) -> None:
    command.log.parent.write_text("in the way")
    assert "migration.log" in command.run("--yes", code=2)
    assert waiting(few) == 6


def test_an_output_that_is_full_is_not_blamed_on_the_log(few: psycopg.Connection, command: Command) -> None:
    with Path("/dev/full").open("w") as full:
        process = command.start("--dry-run", stdout=full)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "migration.log, or the output: [Errno 28]" in told
    assert waiting(few) == 6


def talk(command: Command, answer: str, *options: str) -> tuple[int, str, str]:
    """Run it on a terminal and answer its question: exit code, standard output, and what the terminal shows."""
    ours, theirs = pty.openpty()
    process = command.start(*options, stdin=theirs, stderr=theirs)
    os.close(theirs)
    shown = ""
    answered = False
    try:
        while select.select([ours], [], [], 60)[0]:
            shown += os.read(ours, 4096).decode()
            if "[y/N]" in shown and not answered:
                os.write(ours, f"{answer}\n".encode())
                answered = True
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(ours)
    output = process.stdout.read()
    return process.wait(timeout=60), output, shown


def test_it_asks_on_a_terminal(few: psycopg.Connection, command: Command) -> None:
    code, output, shown = talk(command, "n")
    assert (code, output) == (2, "")
    assert "Migrate 6 users of billing_test_" in shown
    assert "Nothing has changed." in shown
    assert waiting(few) == 6
    rehearsed = command.run("--dry-run", code=1)
    code, output, shown = talk(command, "y")
    assert code == 1
    assert without_heading(output) == without_heading(rehearsed)
    assert "[##############################] 6/6 users" in shown, "a bar on a terminal"
    assert waiting(few) == 1
    code, output, _ = talk(command, "", "--rollback-all")
    assert (code, output) == (2, "")
    code, output, shown = talk(command, "yes", "--rollback-all")
    assert code == 0
    assert "Move back 5 users" in shown
    assert waiting(few) == 1


def test_without_a_terminal_it_wants_yes(few: psycopg.Connection, command: Command) -> None:
    for options in ([], ["--rollback-all"], ["--user", str(UUID(int=1))]):
        assert "there is no terminal to ask on: --yes" in command.run(*options, code=2)
    assert waiting(few) == 6


@pytest.mark.parametrize(
    "options",
    [
        ["--user", "somebody"],
        ["--batch-size", "0"],
        ["--batch-size", "1001"],
        ["--limit", "0"],
        ["--analyze", "--verify"],
        ["--analyze", "--dry-run"],
        ["--rollback-all", "--user", str(UUID(int=1)), "--yes"],
    ],
)
def test_wrong_usage(tmp_path: Path, options: list[str]) -> None:
    Command("postgresql://nobody@127.0.0.1:1/none", tmp_path).run(*options, code=2)


def test_no_connection(tmp_path: Path) -> None:
    nowhere = Command(f"postgresql://nobody@127.0.0.1:{free_port()}/none", tmp_path)
    for options in (["--analyze"], ["--verify"], ["--yes"], ["--rollback-all", "--yes"]):
        assert "No connection to the database" in nowhere.run(*options, code=3)
        assert "The URL of the database can't be read: " in Command("nonsense", tmp_path).run(*options, code=3)


def test_some_users_first(few: psycopg.Connection, command: Command) -> None:
    one, two, stranger = (str(UUID(int=number)) for number in (1, 2, 99))
    totals = command.totals("--yes", "--user", two, "--user", one, "--user", two)
    assert (totals["migrated"], totals["migrated_before"]) == (2, 0)
    totals = command.totals("--yes", "--user", two, "--user", stranger, code=1)
    assert (totals["already_migrated"], totals["problems"]) == (1, {"unknown_user": 1})
    # Who can't be migrated does not count: the limit is of users who move.
    totals = command.totals("--yes", "--limit", "2", "--batch-size", "1", code=1)
    assert (totals["migrated_before"], totals["migrated"], totals["refused"]) == (2, 2, 1)
    assert waiting(few) == 2
    command.run("--rollback-user", one)
    totals = command.totals("--yes", code=1)
    assert (totals["migrated"], totals["refused"]) == (1, 1), "who was rolled back stays where they are"
    assert command.totals("--yes", "--include-rolled-back", code=1)["migrated"] == 1
    command.run("--rollback-user", one)
    assert command.totals("--yes", "--user", one)["migrated"] == 1
    assert command.totals("--yes", code=1)["migrated_before"] == 5


def raising(conn: psycopg.Connection, statement: str, *users: UUID) -> None:
    """Let the database raise when one of these users is migrated."""
    named = ",".join(map(str, users))
    conn.execute(
        "create function public.in_the_way() returns trigger language plpgsql security definer as $$ begin "
        f"if new.user_id = any ('{{{named}}}') then {statement}; end if; return new; end $$"
    )
    conn.execute(
        "create trigger in_the_way before insert on billing.credit_accounts "
        "for each row execute function public.in_the_way()"
    )


@pytest.mark.parametrize(
    ("statement", "name", "detail"),
    [
        (
            "raise 'duplicate key' using errcode = 'unique_violation', detail = 'Key (x) exists.'",
            "unique_violation",
            "duplicate key: Key (x) exists.",
        ),
        (
            "perform billing_private.raise_error('amount_too_large', 'The balance would be too large.')",
            "amount_too_large",
            "amount_too_large: The balance would be too large. An amount is at most 1000000000000 credits, a balance "
            "at most 1000000000000000.",
        ),
        ("raise 'not in this office' using errcode = 'ZZ123'", "ZZ123", "not in this office"),
    ],
)
def test_who_makes_the_database_raise_does_not_stop_the_others(
    few: psycopg.Connection, command: Command, statement: str, name: str, detail: str
) -> None:
    bad = (UUID(int=2), UUID(int=5))
    raising(few, statement, *bad)
    rehearsed = command.run("--dry-run", code=1)
    done = command.run("--yes", code=1)
    assert without_heading(rehearsed) == without_heading(done)
    for user_id in bad:
        assert re.search(rf"^{user_id} +failed +.* {name}$", done, re.M)
        assert f"  {user_id}  {name}: {detail}\n" in done
    assert re.search(r"^  migrated +3$", done, re.M)
    assert re.search(r"^  failed +2$", done, re.M)
    assert f"outcome=failed problem={name}" in command.log.read_text()
    few.execute("drop function public.in_the_way cascade")
    assert command.totals("--yes", code=1).items() >= (MOVED | {"migrated_before": 3, "migrated": 2}).items()


@pytest.mark.parametrize("state", ["deadlock_detected", "serialization_failure"])
def test_what_only_got_in_the_way_is_tried_again(few: psycopg.Connection, command: Command, state: str) -> None:
    few.execute("create sequence public.tries")
    raising(few, f"if nextval('public.tries') <= 3 then raise '{state}' using errcode = '{state}'; end if", UUID(int=3))
    assert command.totals("--yes", "--user", str(UUID(int=3)))["migrated"] == 1
    assert few.execute("select last_value from public.tries").fetchone().last_value == 4


def test_who_is_locked_is_left_behind(few: psycopg.Connection, command: Command, database: Database) -> None:
    impatient = Command(f"{database.url}?options=-c%20lock_timeout%3D150ms", command.directory)
    few.execute("insert into billing.user_migrations (user_id) values (%s)", [UUID(int=5)])
    with database.connect(autocommit=False) as other:
        other.execute("select from billing.user_migrations where user_id = %s for update", [UUID(int=5)])
        totals = impatient.totals("--yes", code=1)
        assert totals["problems"] == {"unknown_price": 1, "lock_not_available": 1}
    assert impatient.totals("--yes", code=1).items() >= (MOVED | {"migrated_before": 4, "migrated": 1}).items()


def test_who_reads_the_lines_may_leave(few: psycopg.Connection, command: Command) -> None:
    process = command.start("--yes", "--batch-size", "1")
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert "Traceback" not in process.stderr.read()
    assert command.totals("--yes", code=1).items() >= {"refused": 1, "failed": 0}.items()
    assert waiting(few) == 1


def test_what_is_no_users_fault_ends_the_run(few: psycopg.Connection, command: Command) -> None:
    few.execute("drop function billing_private.record_migrations")
    process = command.start("--yes")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "42883: function billing_private.record_migrations" in told
    assert "failed" not in command.log.read_text()


def test_verify_is_clean_but_for_those_who_cannot_move(few: psycopg.Connection, command: Command) -> None:
    command.run("--yes", code=1)
    told = command.run("--verify", code=1)
    assert f"{BAD}  unknown_price" in told
    assert "5 migrated users compared, 1 users are in the old system: 1 differences." in told
    few.execute(
        "update legacy_billing.subscriptions set price_id = 'price_tier_2_20_yearly' where price_id = 'price_of_2019'"
    )
    assert command.totals("--verify") == {"compared": 5, "waiting": 1, "differences": 0, "problems": {}}
    assert "no difference" in command.run("--verify", "--user", str(UUID(int=6)))
    assert command.totals("--verify", "--user", str(UUID(int=99)), code=1)["problems"] == {"unknown_user": 1}
    few.execute("insert into legacy_billing.usage_records (user_id, model, cost) values (%s, 'm', 1)", [UUID(int=99)])
    (found, last) = command.rows("--verify", code=1)
    assert (found["user_id"], found["problem"], found["old"]) == (
        *(str(UUID(int=99)), "no_customer", "1 calls, 0 purchases"),
    )
    assert last["totals"]["problems"] == {"no_customer": 1}


# Each breaks one user in one way, as its name says.
BREAKS = {
    "account_missing": "delete from billing.credit_accounts where user_id = %s",
    "customer_missing": "with gone as (select customer_id from legacy_billing.customers where user_id = %s), "
    "none as (delete from legacy_billing.subscriptions where customer_id in (select * from gone)) "
    "delete from legacy_billing.customers where customer_id in (select * from gone)",
    "usage_differs": "insert into legacy_billing.usage_records (user_id, model, cost, created_at) "
    "values (%s, 'm', 0.000000001, '2025-03-31 23:59:59.999999Z')",
    "bought_credit_differs": "insert into legacy_billing.bought_credit (user_id, balance) values (%s, 0.000000001)",
    "tier_credits_differ": "update billing.user_migrations set tier_credits = 1 where user_id = %s",
    "lots_differ": "update billing.credit_grants set amount = amount + 1 where user_id = %s",
    "balance_differs": "update billing.credit_accounts set balance = balance + 1 where user_id = %s",
    "purchase_missing": "insert into legacy_billing.purchases (user_id, amount, price_cents, status) "
    "values (%s, 10, 1000, 'pending')",
    "purchase_differs": "update legacy_billing.purchases set price_cents = 1 where user_id = %s",
    "purchase_lot_differs": "update billing.credit_purchases set spent_before = 1 where user_id = %s",
    "subscription_missing": "delete from billing.billing_subscriptions where user_id = %s",
    "subscription_differs": "update legacy_billing.subscriptions set status = 'past_due' where customer_id = "
    "(select customer_id from legacy_billing.customers where user_id = %s)",
}


def test_verify_names_each_kind_of_difference(
    conn: psycopg.Connection, clock: Clock, command: Command, database: Database
) -> None:
    assert BREAKS.keys() == DIFFERENCES.keys()
    clock.freeze(NOON)
    for number, problem in enumerate(BREAKS, start=1):
        conn.execute("insert into legacy_billing.customers (user_id) values (%s)", [UUID(int=number)])
        if problem in ("subscription_missing", "subscription_differs"):
            conn.execute(
                "insert into legacy_billing.subscriptions (subscription_id, customer_id, price_id, status) "
                "select %s, customer_id, 'price_tier_2_20_monthly', 'active' from legacy_billing.customers "
                "where user_id = %s",
                [f"sub_{number}", UUID(int=number)],
            )
        if problem in ("purchase_differs", "purchase_lot_differs"):
            conn.execute(
                "insert into legacy_billing.purchases (user_id, amount, price_cents, status) "
                "values (%s, 10, 1000, 'completed')",
                [UUID(int=number)],
            )
            conn.execute(
                "insert into legacy_billing.bought_credit (user_id, balance) values (%s, 10)", [UUID(int=number)]
            )
    command.run("--yes")
    assert command.totals("--verify")["compared"] == len(BREAKS)
    conn.execute("set session_replication_role = replica")  # no guard, and no foreign key
    for number, statement in enumerate(BREAKS.values(), start=1):
        conn.execute(statement, [UUID(int=number)])
    rows = command.rows("--verify", "--batch-size", "3", code=1)
    assert [(UUID(row["user_id"]).int, row["problem"]) for row in rows[:-1]] == [
        (number, problem) for number, problem in enumerate(BREAKS, start=1)
    ]
    assert rows[-1]["totals"]["compared"] == len(BREAKS)
    told = command.run("--verify", code=1)
    for problem, sentence in DIFFERENCES.items():
        assert f"{problem} (1): {sentence}" in told


def test_views_that_can_not_be_written_are_named_before_anything_moves(
    few: psycopg.Connection, command: Command
) -> None:
    few.execute("drop trigger legacy_customers_save on legacy_billing.legacy_customers")
    few.execute("revoke insert on legacy_billing.legacy_usage from billing_owner")
    for mode in (["--analyze"], ["--verify"], ["--yes"], ["--rollback-all", "--yes"]):
        told = command.run(*mode, code=2)
        assert "legacy_customers: takes no INSERT; wanted: an INSTEAD OF INSERT trigger" in told
        assert "legacy_usage: not writable; wanted: grant insert to billing_owner" in told
    assert few.execute("select from billing.user_migrations where status <> 'none'").fetchall() == []


def test_calls_of_nobody_do_not_keep_it_from_ending(few: psycopg.Connection, command: Command) -> None:
    few.execute(
        """create or replace view legacy_billing.legacy_usage as
           select record_id::text as usage_id, case when cost < 1 then user_id end as user_id, model, prompt_tokens,
                  completion_tokens, cached_tokens, cost, paid_from_credit, request_key, created_at
             from legacy_billing.usage_records"""
    )
    few.execute("grant select, insert on legacy_billing.legacy_usage to billing_owner")
    few.execute(
        "create or replace function legacy_billing.nothing() returns trigger language plpgsql as "
        "'begin return new; end'"
    )
    few.execute(
        "create trigger legacy_usage_save instead of insert on legacy_billing.legacy_usage "
        "for each row execute function legacy_billing.nothing()"
    )
    assert command.totals("--verify", code=1)["problems"] == {"unknown_price": 1}


def test_a_log_that_is_full_says_how_far_it_came(few: psycopg.Connection, command: Command) -> None:
    command.log.parent.mkdir()
    command.log.symlink_to("/dev/full")
    told = command.run("--yes", code=2)
    assert "No space left" in told
    assert few.execute("select from billing.user_migrations where status = 'migrated'").fetchall() == []


def test_every_problem_is_explained(conn: psycopg.Connection) -> None:
    sources = conn.execute(
        """select string_agg(p.prosrc, ' ') as text from pg_proc as p
             join pg_namespace as n on n.oid = p.pronamespace and n.nspname in ('billing', 'billing_private')
            where p.proname in ('migration_plans', 'old_standings', 'old_purchase_counts', 'old_amount_problem',
                'unplanned_migrations', 'rollback_user', 'no_account', 'list_users_without_customer')"""
    ).fetchone()
    names = re.findall(r"(?:array\[|then |else |, )'([a-z]+_[a-z_]+)'", sources.text)
    known = TOLD_PROBLEMS.keys() | {"already_migrated", "already_rolled_back", "past_due", "rolled_back", "account_"}
    assert len(set(names)) > 10
    assert set(names) <= known | {"in_progress", "duplicate_customer"}


def test_dirty_users_are_named_by_all_of_it(conn: psycopg.Connection, clock: Clock, command: Command) -> None:
    clock.freeze(NOON)
    made = fill(conn, users=300, usage=1500, dirty=0.15, seed=7)
    counts = {kind: len(made.dirty[kind]) for kind in PROBLEMS}
    analysed = json.loads(command.run("--analyze", "--json"))
    assert {each["problem"]: each["users"] for each in analysed["problems"]} == counts
    assert analysed["totals"]["all"]["users"] == 300
    migrated = command.rows("--yes", "--batch-size", "100", code=1)
    found = {UUID(row["user_id"]): row["problem"] for row in migrated[:-1] if row["problem"]}
    assert found == {user: kind for user, kind in made.refused.items() if kind != "no_customer"}
    assert migrated[-1]["totals"]["migrated"] == 300 - len(made.refused)
    verified = command.rows("--verify", "--batch-size", "90", code=1)
    assert {UUID(row["user_id"]): row["problem"] for row in verified[:-1]} == made.refused
    assert conn.execute("select * from billing.verify_ledger()").fetchall() == []


async def the_guide(user: str, monkeypatch: pytest.MonkeyPatch, command: Command) -> Any:
    monkeypatch.chdir(command.directory)
    monkeypatch.setenv("DATABASE_URL", command.url)
    from scripts.migrate_to_credits import CreditMigration

    migration = CreditMigration()
    return await migration.rollback_user(user)


def test_the_guides_lines_move_a_user_back(
    few: psycopg.Connection, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.migrate_to_credits import CreditMigration, NotMigrated, UnknownUser

    command.run("--yes", code=1)
    user = UUID(int=6)
    row = asyncio.run(the_guide(str(user), monkeypatch, command))
    assert (row.outcome, row.monthly_left, row.bought_credit) == ("rolled_back", 992.5, Decimal("60.123456789"))
    assert few.execute("select status from billing.get_migration(%s)", [user]).fetchone().status == "rolled_back"
    old = few.execute("select remaining, bought_credit from billing.legacy_check(%s)", [user]).fetchone()
    assert old == (Decimal("992.5"), Decimal("60.123456789"))
    assert f"user_id={user} outcome=rolled_back" in command.log.read_text()
    assert asyncio.run(the_guide(str(user), monkeypatch, command)).outcome == "already_rolled_back"
    with pytest.raises(NotMigrated) as refused:
        asyncio.run(the_guide(str(BAD), monkeypatch, command))
    assert (refused.value.user_id, refused.value.problem) == (BAD, "not_migrated")
    with pytest.raises(UnknownUser):
        asyncio.run(the_guide(str(uuid4()), monkeypatch, command))
    (command.directory / "elsewhere").write_text("in the way")
    with pytest.raises(FileExistsError):
        asyncio.run(CreditMigration(command.url, log=command.directory / "elsewhere" / "log").migrate_user(user))
    with pytest.raises(ValueError, match="badly formed"):
        asyncio.run(the_guide("user_id", monkeypatch, command))

    async def there_again() -> Migration:
        migration = CreditMigration(command.url)
        assert [each.problem for each in await migration.verify_user(BAD)] == ["unknown_price"]
        row = await migration.migrate_user(user)
        assert await migration.verify_user(user) == []
        return row

    assert asyncio.run(there_again()).balance == Decimal("1052.623456789")


def test_rolling_back_everybody(few: psycopg.Connection, command: Command) -> None:
    command.run("--yes", code=1)
    admin, born, frozen = uuid4(), UUID(int=7), UUID(int=2)
    few.execute("select billing.open_account(%s)", [born])
    few.execute("select billing.bootstrap_super_admin(%s)", [admin])
    few.execute("select billing.set_account_status(%s, %s, 'frozen', 'a test')", [admin, frozen])
    before = everything(few)
    rehearsed = command.run("--rollback-all", "--dry-run", code=1)
    assert everything(few) == before
    totals = command.totals("--rollback-all", "--yes", "--limit", "2", "--batch-size", "1", code=1)
    assert (totals["rolled_back"], totals["refused"]) == (2, 1)
    rows = command.rows("--rollback-all", "--yes", code=1)
    assert [(UUID(row["user_id"]).int, row["outcome"], row["problem"]) for row in rows[:-1]] == [
        (2, "refused", "account_frozen"),
        (5, "rolled_back", None),
        (6, "rolled_back", None),
        (7, "rolled_back", None),
    ]
    assert re.search(rf"^{UUID(int=6)} +rolled_back +992\.5 +60\.123456789 +0 +0 +0$", rehearsed, re.M)
    assert "account_frozen (1): The account is frozen" in rehearsed
    few.execute("select billing.set_account_status(%s, %s, 'active', 'a test')", [admin, frozen])
    assert command.totals("--rollback-all", "--yes")["rolled_back"] == 1
    assert command.totals("--rollback-all", "--yes")["rolled_back"] == 0
    told = command.run("--rollback-user", str(BAD), "--rollback-user", str(UUID(int=99)), code=1)
    assert f"{BAD}  not_migrated: The user is in the old system." in told
    assert f"{UUID(int=99)}  account_not_found: Neither system knows the user." in told


class Twins:
    """A database of many users, and another like it on which nothing is disturbed."""

    def __init__(self, server: TestServer, name: str, twin: str, directory: Path) -> None:
        self.server, self.database, self.twin = server, Database(server, name), Database(server, twin)
        self.command = Command(self.database.url, directory)
        undisturbed = directory / "undisturbed"
        undisturbed.mkdir()
        with self.database.connect() as conn:
            Clock(self.database).freeze(NOON)
            self.made: Population = fill(conn, users=240, usage=1200, dirty=0.1, seed=3)
        with server.connect("postgres") as conn:
            # A copy of the files keeps the settings of the database's own out, which no function needs.
            names = sql.Identifier(twin), sql.Identifier(name)
            conn.execute(sql.SQL("create database {} template {}").format(*names))
        self.expected = Command(self.twin.url, undisturbed).totals("--yes", code=1)

    def interrupt(self, lines: int, kill: Callable[[subprocess.Popen[str]], None], pause: float) -> subprocess.Popen:
        """Start the migration, and kill something after so many lines and seconds."""
        process = self.command.start("--yes", "--batch-size", "4", "--json")
        for _ in range(lines):
            assert process.stdout.readline()
        time.sleep(pause)
        kill(process)
        return process

    def check_the_end(self) -> None:
        """Go on to the end: then both are the same."""
        before = self.number_migrated()
        totals = self.command.totals("--yes", "--batch-size", "50", code=1)
        assert totals["migrated_before"] == before
        assert before + totals["migrated"] == self.expected["migrated"]
        assert totals["problems"] == self.expected["problems"]
        with self.database.connect() as ours, self.twin.connect() as theirs:
            assert state(ours) == state(theirs)
            assert ours.execute("select * from billing.verify_ledger()").fetchall() == []
        verified = self.command.rows("--verify", code=1)
        assert {UUID(row["user_id"]): row["problem"] for row in verified[:-1]} == self.made.refused

    def number_migrated(self) -> int:
        with self.database.connect() as conn:
            return (
                conn.execute("select count(*) as n from billing.user_migrations where status = 'migrated'").fetchone().n
            )


@pytest.fixture
def twins(database: Database, tmp_path: Path) -> Iterator[Twins]:
    made = Twins(database.server, database.name, f"{database.name}_twin", tmp_path)
    yield made
    with database.server.connect("postgres") as conn:
        conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(made.twin.name)))


def test_r31_a_rerun_after_a_crash_half_way_counts_a_users_month_once(twins: Twins) -> None:
    dice = random.Random(31)
    for _ in range(4):
        process = twins.interrupt(dice.randrange(1, 30), subprocess.Popen.kill, dice.uniform(0, 0.05))
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert 0 < twins.number_migrated() < twins.expected["migrated"]
    twins.check_the_end()
    with twins.database.connect() as conn:
        granted = conn.execute(
            "select user_id, count(*) as number from billing.credit_ledger where reference_type = 'period' "
            "group by user_id having count(*) > 1"
        ).fetchall()
        assert granted == []
        usage = conn.execute(
            """select sum(m.usage_before) as migrated,
                      sum((select coalesce(sum(u.cost), 0) from legacy_billing.usage_records as u
                            where u.user_id = m.user_id
                              and to_char(u.created_at at time zone 'UTC', 'YYYY-MM') = '2025-03')) as old
                 from billing.user_migrations as m where m.status = 'migrated'"""
        ).fetchone()
        assert usage.migrated == usage.old > 0


def test_a_batch_that_was_not_committed_leaves_nothing(
    few: psycopg.Connection, database: Database, command: Command
) -> None:
    few.execute("insert into billing.user_migrations (user_id) values (%s)", [UUID(int=3)])
    with database.connect(autocommit=False) as other:
        other.execute("select from billing.user_migrations where user_id = %s for update", [UUID(int=3)])
        process = command.start("--yes")
        waits = (
            "select from pg_stat_activity where application_name = 'migrate_to_credits' and wait_event_type = 'Lock'"
        )
        wait_for(lambda: few.execute(waits).rowcount == 1)
        process.kill()
        process.wait(timeout=60)
    wait_for(
        lambda: few.execute("select from pg_stat_activity where application_name = 'migrate_to_credits'").rowcount == 0
    )
    assert waiting(few) == 6
    assert command.totals("--yes", code=1).items() >= MOVED.items()


def wait_for(promise: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not promise():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_postgresql_dies_half_way(server: TestServer, tmp_path: Path) -> None:
    # What a process has written survives its death, also without fsync.
    with TestServer(server.version, {"synchronous_commit": "on", "full_page_writes": "on"}) as own:
        with own.connect("postgres") as conn:
            conn.execute("create database ours")
        with psycopg.connect(own.conninfo("ours"), autocommit=True) as conn:
            migrate(conn)
        twins = Twins(own, "ours", "twin", tmp_path)

        def backend() -> int:
            with own.connect("postgres") as conn:
                row = conn.execute(
                    "select pid from pg_stat_activity where application_name = 'migrate_to_credits'"
                ).fetchone()
            return row[0]

        def kill_the_backend(_: subprocess.Popen[str]) -> None:
            os.kill(backend(), signal.SIGKILL)

        def kill_the_postmaster(_: subprocess.Popen[str]) -> None:
            pid = backend()
            os.kill(own.child_process.pid, signal.SIGKILL)
            own.child_process.wait()
            # A backend that always finds the next statement waiting would not notice for a while.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        def ends_with_3(process: subprocess.Popen[str]) -> None:
            _, told = process.communicate(timeout=60)
            assert process.returncode == 3, told
            assert re.search(
                r"^Ended after \d+ users were migrated\. Running it again goes on from there\.$", told, re.M
            )
            assert "The connection to the database was lost: " in told

        ends_with_3(twins.interrupt(20, kill_the_backend, 0.01))
        wait_for(own.is_server_available)
        ends_with_3(twins.interrupt(30, kill_the_postmaster, 0.005))
        own.child_process = None
        start_again(own)
        assert 0 < twins.number_migrated() < twins.expected["migrated"]
        twins.check_the_end()


def start_again(server: TestServer) -> None:
    """The children of a postmaster that was killed take a moment to notice; none may be left when the next starts."""
    for _ in range(200):
        try:
            server.start()
            return
        except RuntimeError:
            server.child_process = None
            time.sleep(0.25)
    server.start()


def peak(command: Command, *options: str) -> float:
    """Megabytes of memory that the script had at most."""
    with (command.directory / "output").open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, sys.executable, SCRIPT, *options],
            cwd=command.directory,
            env=command.environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode in (0, 1)
    return int(done.stderr) / 1024


def test_memory_does_not_grow_with_the_number_of_users(conn: psycopg.Connection, command: Command) -> None:
    made = fill(conn, users=5000, usage=5000, dirty=0.1)
    small = peak(command, "--dry-run", "--limit", "400")
    large = peak(command, "--dry-run")
    printed = (command.directory / "output").read_text()
    outcomes = Counter(re.findall(r"^[0-9a-f-]{36}  (\w+)", printed, re.M))
    assert outcomes["migrated"] == 5000 - len(made.refused)
    assert outcomes["refused"] == len(made.refused) - len(made.dirty["no_customer"])
    verifying = peak(command, "--verify")
    assert large < small + 2.5
    assert verifying < small + 2.5
