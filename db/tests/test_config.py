"""The configuration file and the tables: compared, applied, pulled, through the command line."""

import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from api import billing_config
from scripts import config
from scripts.pytest_billing import Database
from scripts.servers import ROOT

# A command, or a tool: it does not depend on the version of PostgreSQL.
pytestmark = [pytest.mark.once, pytest.mark.outside]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of the configuration file, to edit."""
    copy = tmp_path / "billing_config.py"
    copy.write_text(config.FILE.read_text())
    return copy


def run(database: Database, file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.config", *arguments, "--file", str(file)]
    environment = os.environ | {"DATABASE_URL": database.url}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


def snapshot(conn: psycopg.Connection) -> object:
    return conn.execute("select billing.get_config(), (select count(*) from billing.admin_actions_log)").fetchone()


def test_the_file_is_what_the_migrations_bring(database: Database, file: Path) -> None:
    told = run(database, file, "diff")
    assert (told.returncode, told.stdout) == (0, "File and tables agree.\n")
    pulled = run(database, file, "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert file.read_text() == config.FILE.read_text(), "pull writes the file in the form in which it is kept"


def test_the_file_has_what_the_guide_shows() -> None:
    monthly = {name: tier["monthly_credits"] for name, tier in billing_config.TIERS.items()}
    assert monthly == {
        "free": Decimal("5"),
        "tier_2_20": Decimal("25.00"),
        "tier_6_50": Decimal("55"),
        "tier_12_100": Decimal("105"),
        "tier_25_200": Decimal("205"),
        "tier_50_400": Decimal("405"),
        "tier_125_800": Decimal("805"),
        "tier_200_1000": Decimal("1005"),
    }
    assert [name for name, tier in billing_config.TIERS.items() if tier["can_purchase_credits"]] == ["tier_200_1000"]
    assert billing_config.ADMIN_LIMITS["regular_admin"]["max_credit_adjustment"] == Decimal("1000")
    assert len(billing_config.MODEL_PRICES) >= 12
    assert {price["multiplier"] for price in billing_config.MODEL_PRICES.values()} == {Decimal("1.5")}
    assert {name: (row["amount"], row["price_cents"]) for name, row in billing_config.PACKAGES.items()} == {
        str(dollars): (Decimal(dollars), dollars * 100) for dollars in (10, 25, 50, 100, 250, 500)
    }


def test_apply_brings_an_edit_into_the_tables_and_logs_it(
    database: Database, file: Path, conn: psycopg.Connection
) -> None:
    edit(file, 'Decimal("25.00")', 'Decimal("30.00")')
    edit(file, '"max_credit_adjustment": Decimal("1000")', '"max_credit_adjustment": Decimal("750.5")')
    told = run(database, file, "diff")
    assert told.returncode == 1
    assert "TIERS['tier_2_20']" in told.stdout
    assert "monthly_credits: 25 -> 30" in told.stdout
    assert "ADMIN_LIMITS['regular_admin']" in told.stdout

    applied = run(database, file, "apply")
    assert applied.returncode == 0, applied.stderr
    assert "counts from the next period" in applied.stdout
    assert run(database, file, "diff").returncode == 0
    limit = conn.execute("select max_credit_adjustment from billing.admin_limits where role = 'admin'").fetchone()
    assert limit == (Decimal("750.5"),)
    logged = conn.execute(
        "select target_user_id::text, action, outcome, details -> 'before' ->> 'monthly_credits' as before "
        "from billing.admin_actions_log where reason = 'change tiers tier_2_20'"
    ).fetchone()
    assert logged == ("00000000-0000-0000-0000-000000000000", "apply_config", "done", "25")


def test_a_changed_amount_counts_from_the_next_period(database: Database, file: Path, conn: psycopg.Connection) -> None:
    edit(file, '"monthly_credits": Decimal("5.00")', '"monthly_credits": Decimal("9.00")')
    assert run(database, file, "apply").returncode == 0
    this_month = conn.execute("select balance from billing.open_account(gen_random_uuid())").fetchone()
    assert this_month == (Decimal("5.00"),)
    conn.execute(
        "create or replace function billing_private.clock() returns timestamptz language sql volatile as "
        "$$ select clock_timestamp() + interval '1 month' $$"
    )
    next_month = conn.execute("select balance from billing.open_account(gen_random_uuid())").fetchone()
    assert next_month == (Decimal("9"),)


def test_apply_refuses_to_overwrite_an_edit_in_the_database(
    database: Database, file: Path, conn: psycopg.Connection
) -> None:
    conn.execute("update billing.billing_tiers set price_cents = 2100 where name = 'tier_2_20'")
    before = snapshot(conn)
    refused = run(database, file, "apply")
    assert refused.returncode == 2
    assert "config_edited_in_database" in refused.stderr
    assert "tiers tier_2_20" in refused.stderr
    assert snapshot(conn) == before

    assert run(database, file, "pull").returncode == 0
    assert '"price_cents": 2100' in file.read_text()
    edit(file, '"price_cents": 2100', '"price_cents": 2200')
    assert run(database, file, "apply").returncode == 0, "after a pull the edit counts as known"

    conn.execute("update billing.billing_tiers set price_cents = 2300 where name = 'tier_2_20'")
    forced = run(database, file, "apply", "--force")
    assert forced.returncode == 0, forced.stderr
    assert conn.execute("select price_cents from billing.billing_tiers where name = 'tier_2_20'").fetchone() == (2200,)


def test_apply_refuses_to_take_a_tier_from_under_an_account(
    database: Database, file: Path, conn: psycopg.Connection
) -> None:
    conn.execute("select billing.open_account(gen_random_uuid(), 'tier_6_50')")
    text = file.read_text()
    start = text.index('    "tier_6_50"')
    file.write_text(text[:start] + text[text.index('    "tier_12_100"') :])
    before = snapshot(conn)
    refused = run(database, file, "apply")
    assert refused.returncode == 2
    assert "config_in_use" in refused.stderr
    assert snapshot(conn) == before


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ('"monthly_credits": Decimal("25.00")', '"monthly_credits": Decimal("-1")', "tier_credits_exact"),
        ('"monthly_credits": Decimal("25.00")', '"monthly_credits": Decimal("0.0000000001")', "tier_credits_exact"),
        ('"monthly_credits": Decimal("25.00")', '"monthly_credits": "a lot"', "invalid_config"),
        ('"monthly_credits": Decimal("25.00")', '"monthly_credit": Decimal("25.00")', "invalid_config"),
        ('"rank": 1,', '"rank": 2,', "rank"),
        ('"grant_expires_after": "1 mon"', '"grant_expires_after": "soon"', "invalid_config"),
        ('"regular_admin"', '"irregular_admin"', "invalid_config"),
        ('"multiplier": Decimal("1.5")', '"multiplier": Decimal("0")', "price_multiplier_exact"),
        ('"monthly_credits": Decimal("25.00")', '"monthly_credits": None', "monthly_credits"),
        ('"monthly_credits": Decimal("25.00")', '"monthly_credits": Decimal("NaN")', "A value in the file"),
        ('"monthly_credits": Decimal("25.00")', '"monthly_credits": {1, 2}', "A value in the file"),
        ('"amount": Decimal("25")', '"amount": Decimal("0")', "package_amount_exact"),
        ('"price_cents": 2500', '"price_cents": -1', "package_price_positive"),
        ('"price_cents": 2500', '"price_cents": Decimal("2500.5")', "invalid_config"),
        ('"25": {', '"twenty five": {', "package_name_well_formed"),
        ('"max_purchase": Decimal("10000")', '"max_purchase": Decimal("4.99")', "settings_max_purchase_exact"),
        ('"min_purchase": Decimal("5")', '"min_purchase": Decimal("0.001")', "settings_min_purchase_exact"),
        ('"low_balance": Decimal("1")', '"low_balance": Decimal("-1")', "settings_low_balance_exact"),
        ('"depleted_balance": Decimal("0.01")', '"depleted_balance": Decimal("0")', "settings_depleted_balance_exact"),
        ('"retention": "90 days"', '"retention": "30 days"', "settings_retention_long_enough"),
        ('    "min_purchase": Decimal("5"),\n', "", "invalid_config"),
        ("PACKAGES = {", "BUNDLES = {", "PACKAGES"),
        ('"free"', '"gratis"', "invalid_config"),
        ("TIERS = {", "LEVELS = {", "TIERS"),
        ("Decimal(", "Decimal((", "billing_config.py"),
    ],
)
def test_a_mistake_in_the_file_is_named_and_changes_nothing(
    database: Database, file: Path, conn: psycopg.Connection, good: str, bad: str, named: str
) -> None:
    edit(file, good, bad)
    before = snapshot(conn)
    refused = run(database, file, "apply")
    assert refused.returncode == 2, refused.stdout
    assert named in refused.stderr
    assert "Traceback" not in refused.stderr
    assert snapshot(conn) == before


def test_models_are_added_repriced_and_removed(database: Database, file: Path, conn: psycopg.Connection) -> None:
    conn.execute("select billing.open_account('11111111-1111-4111-8111-111111111111')")
    price = "select cost from billing.deduct_tokens('11111111-1111-4111-8111-111111111111', %s, 1000000, 0)"
    assert conn.execute(price, ["gpt-4o-mini"]).fetchone() == (Decimal("0.225"),)

    edit(file, '"input_per_million": Decimal("0.15")', '"input_per_million": Decimal("0.30")')
    edit(file, '"gpt-4.1-mini": {', '"gpt-4.1-tiny": {')
    assert run(database, file, "apply").returncode == 0
    assert conn.execute(price, ["gpt-4o-mini"]).fetchone() == (Decimal("0.45"),)
    assert conn.execute(price, ["gpt-4.1-tiny"]).fetchone() == (Decimal("0.6"),)
    with pytest.raises(psycopg.Error, match="unknown_model"):
        conn.execute(price, ["gpt-4.1-mini"])


def test_packages_and_limits_of_purchases_go_both_ways(
    database: Database, file: Path, conn: psycopg.Connection
) -> None:
    edit(file, '"25": {\n        "amount": Decimal("25"),', '"30": {\n        "amount": Decimal("30.5"),')
    edit(file, '"max_purchase": Decimal("10000")', '"max_purchase": Decimal("2500.50")')
    told = run(database, file, "diff")
    assert told.returncode == 1
    assert "add     PACKAGES['30']" in told.stdout
    assert "remove  PACKAGES['25']" in told.stdout
    assert "max_purchase: 10000 -> 2500.5" in told.stdout
    assert run(database, file, "apply").returncode == 0
    sold = conn.execute("select name, amount, price_cents from billing.billing_packages where name in ('25', '30')")
    assert sold.fetchall() == [("30", Decimal("30.5"), 2500)]
    assert conn.execute("select max_purchase from billing.billing_settings").fetchone() == (Decimal("2500.5"),)

    conn.execute("insert into billing.billing_packages values ('small', 7.25, 800)")
    conn.execute("update billing.billing_settings set min_purchase = 7")
    pulled = run(database, file, "pull")
    assert pulled.returncode == 0, pulled.stderr
    names = re.findall(r'    "(\w+)": \{\n        "amount"', file.read_text())
    assert names == ["small", "10", "30", "50", "100", "250", "500"], "the smallest first"
    assert '"amount": Decimal("7.25"),\n        "price_cents": 800,' in file.read_text()
    assert '"min_purchase": Decimal("7"),' in file.read_text()
    assert run(database, file, "diff").returncode == 0


def test_the_last_package_can_be_removed_and_pulled(database: Database, file: Path, conn: psycopg.Connection) -> None:
    conn.execute("delete from billing.billing_packages")
    assert run(database, file, "pull").returncode == 0
    assert "PACKAGES = {\n}" in file.read_text()
    assert run(database, file, "diff").returncode == 0


@pytest.mark.parametrize("section", ["tiers", "admin_limits", "model_prices", "packages", "settings"])
def test_apply_waits_for_whoever_writes_the_tables(database: Database, section: str) -> None:
    table = {"tiers": "billing_tiers", "packages": "billing_packages", "settings": "billing_settings"}.get(
        section, section
    )
    with database.connect(autocommit=False) as writer, database.connect() as conn:
        writer.execute(f"delete from billing.{table} where false")
        conn.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            conn.execute("select billing.apply_config(billing.get_config())")
        writer.rollback()
        conn.execute("select billing.apply_config(billing.get_config())")


def test_pull_refuses_to_overwrite_edits_that_were_not_applied(database: Database, file: Path) -> None:
    edit(file, '"price_cents": 2000', '"price_cents": 1900')
    text = file.read_text()
    refused = run(database, file, "pull")
    assert refused.returncode == 2
    assert "price_cents: 2000 -> 1900" in refused.stdout
    assert file.read_text() == text
    assert run(database, file, "pull", "--force").returncode == 0
    assert file.read_text() == config.FILE.read_text()


@pytest.mark.parametrize("command", ["apply", "pull"])
def test_a_dry_run_changes_nothing(database: Database, file: Path, conn: psycopg.Connection, command: str) -> None:
    edit(file, '"price_cents": 2000', '"price_cents": 1900')
    before, text = snapshot(conn), file.read_text()
    assert run(database, file, command, "--dry-run", "--force").returncode == 0
    assert (snapshot(conn), file.read_text()) == (before, text)
