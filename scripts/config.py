"""Compare api/billing_config.py with the tables, and move the difference either way.

    python -m scripts.config diff     exit code 1 when they differ
    python -m scripts.config apply    file to tables; refuses to overwrite what was edited there, unless --force
    python -m scripts.config pull     tables to file; refuses to overwrite edits that were not applied, unless --force

The tables are what the functions read. A tier's changed amount counts from the next period (calendar month, UTC), a
changed price at once. The comparison, the checks and the log are SQL: billing.diff_config, billing.apply_config.
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import simplejson
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb, set_json_dumps, set_json_loads

from scripts.migrate import describe
from scripts.servers import ROOT, ServerError, reachable_database

FILE = ROOT / "api" / "billing_config.py"

# Sections of the tables, the names they have in the file, and their columns in the order in which the file shows them.
SECTIONS = {
    "tiers": ("TIERS", "Subscription tiers. monthly_credits and rollover_cap in credits, 1 credit = 1 US dollar."),
    "admin_limits": ("ADMIN_LIMITS", "What an admin may move, in credits; None is no limit. Days are UTC days."),
    "model_prices": ("MODEL_PRICES", "US dollars per million tokens, and the factor from a provider's price to ours."),
    "packages": ("PACKAGES", "Credits that are sold in one piece: how many, and for how many US cents."),
    "settings": ("SETTINGS", "Settings of the whole installation; amounts in credits."),
}
COLUMNS = {
    "tiers": (
        *("display_name", "monthly_credits", "price_cents", "can_purchase_credits", "rank"),
        *("grant_expires_after", "rollover_cap"),
    ),
    "admin_limits": ("max_credit_adjustment", "max_daily_total", "can_refund", "approval_above"),
    "model_prices": ("input_per_million", "cached_input_per_million", "output_per_million", "multiplier"),
    "packages": ("amount", "price_cents"),
    "settings": (
        *("reversal_grace", "min_purchase", "max_purchase"),
        *("low_balance", "depleted_balance", "retention", "approval_lifetime"),
    ),
}
WITH_CENTS = {"monthly_credits", "rollover_cap", *COLUMNS["model_prices"][:3]}
AMOUNTS = WITH_CENTS | {
    *("max_credit_adjustment", "max_daily_total", "approval_above"),
    *("multiplier", "amount", "min_purchase", "max_purchase", "low_balance", "depleted_balance"),
}
# The column that the file orders a section's rows by; the others are in the order of their names.
ORDERED_BY = {"tiers": "rank", "packages": "amount"}
ROLE_IN_FILE = {"admin": "regular_admin"}
ROLE_IN_TABLE = {name: role for role, name in ROLE_IN_FILE.items()}

Config = Mapping[str, Mapping[str, Mapping[str, Any]]]


class ConfigError(Exception):
    """The file can't be read as a configuration."""


def load(path: Path) -> ModuleType:
    """The file as a module of its own, so that an edit is seen whatever was imported before; raises ConfigError."""
    spec = importlib.util.spec_from_file_location("billing_config_file", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (OSError, SyntaxError, NameError, TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{path}: {error}") from error
    missing = [variable for variable, _ in SECTIONS.values() if not isinstance(getattr(module, variable, None), dict)]
    if missing:
        raise ConfigError(f"{path} must define {', '.join(missing)} as a dictionary.")
    return module


def read_file(path: Path) -> Config:
    """The configuration in the file, by section, name and column; raises ConfigError."""
    module = load(path)
    return {
        "tiers": module.TIERS,
        "admin_limits": {ROLE_IN_TABLE.get(name, name): row for name, row in module.ADMIN_LIMITS.items()},
        "model_prices": module.MODEL_PRICES,
        "packages": module.PACKAGES,
        "settings": {"default": module.SETTINGS},
    }


def literal(column: str, value: object) -> str:
    """A value as the file writes it: amounts as Decimal, with cents where they are prices or credits."""
    if isinstance(value, Decimal) or (isinstance(value, int) and column in AMOUNTS):
        number = Decimal(value)
        cents = Decimal("0.01")
        shown = number.quantize(cents) if column in WITH_CENTS and number == number.quantize(cents) else number
        return f'Decimal("{shown:f}")'
    return f'"{value}"' if isinstance(value, str) else repr(value)


def render(config: Config) -> Iterator[str]:
    """The lines of the file for a configuration."""
    yield '"""The configuration of the billing system: tiers, admin limits, rate card, packages and settings.'
    yield ""
    yield "Edit, look at the difference with `make config-diff`, and bring it into the database with"
    yield "`make config-apply`. `make config-pull` writes this file from the database."
    yield '"""'
    yield ""
    yield "from decimal import Decimal"
    for section, (variable, comment) in SECTIONS.items():
        yield ""
        yield f"# {comment}"
        yield f"{variable} = {{"
        rows = config[section]
        if section == "settings":
            yield from (f'    "{column}": {literal(column, rows["default"][column])},' for column in COLUMNS[section])
            yield "}"
            continue
        first = ORDERED_BY.get(section)
        for name in sorted(rows, key=lambda name: (rows[name][first] if first else 0, name)):
            yield f'    "{ROLE_IN_FILE.get(name, name)}": {{'
            for column in COLUMNS[section]:
                yield f'        "{column}": {literal(column, rows[name][column])},'
            yield "    },"
        yield "}"


def exact(conn: psycopg.Connection) -> None:
    """Let JSON numbers be Decimals on this connection, both ways."""
    set_json_loads(lambda text: simplejson.loads(text, parse_float=Decimal), conn)
    set_json_dumps(lambda value: simplejson.dumps(value, use_decimal=True), conn)


def changes(conn: psycopg.Connection, function: str, config: Config, *options: object) -> list[dict[str, Any]]:
    """The differences that a function of the database finds, or has applied; raises ConfigError."""
    try:
        wanted = Jsonb(simplejson.loads(simplejson.dumps(config, use_decimal=True, allow_nan=False), use_decimal=True))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"A value in the file is no text, number, boolean or None: {error}") from error
    values = ", ".join(["%s"] * (1 + len(options)))
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"select * from billing.{function}({values})", [wanted, *options]).fetchall()


def show(rows: list[dict[str, Any]]) -> None:
    """Print differences, one column of one row a line."""
    for row in rows:
        name = ROLE_IN_FILE.get(row["name"], row["name"]) if row["section"] == "admin_limits" else row["name"]
        edited = "  (edited in the database since the last apply)" if row["edited"] else ""
        print(f"{row['change']:7} {SECTIONS[row['section']][0]}[{name!r}]{edited}")
        before, after = row["before"] or {}, row["after"] or {}
        for column in COLUMNS[row["section"]]:
            if before.get(column) != after.get(column):
                print(f"        {column}: {before.get(column)} -> {after.get(column)}")


def diff(conn: psycopg.Connection, path: Path) -> int:
    """Print how the file differs from the tables; 1 when it does."""
    rows = changes(conn, "diff_config", read_file(path))
    show(rows)
    print("File and tables agree." if not rows else f"{len(rows)} rows differ: table -> file.")
    return 1 if rows else 0


def apply(conn: psycopg.Connection, path: Path, *, force: bool, dry_run: bool) -> int:
    """Bring the tables to what the file says, in one transaction."""
    with conn.transaction(force_rollback=dry_run):
        rows = changes(conn, "apply_config", read_file(path), force)
    show(rows)
    print(f"{len(rows)} rows applied." if not dry_run else f"Dry run: {len(rows)} rows would be applied.")
    if any(row["section"] == "tiers" and row["change"] == "change" for row in rows):
        print("A changed monthly amount counts from the next period.")
    return 0


def pull(conn: psycopg.Connection, path: Path, *, force: bool, dry_run: bool) -> int:
    """Write the file from the tables. What is in the file then counts as applied."""
    if path.exists() and not force:
        unapplied = [row for row in changes(conn, "diff_config", read_file(path)) if not row["edited"]]
        if unapplied:
            show(unapplied)
            raise ConfigError("The file has edits that were not applied (table -> file): apply them first, or --force.")
    with conn.transaction(force_rollback=dry_run):
        row = conn.execute("select billing.get_config()").fetchone()
        assert row is not None
        text = "\n".join(render(row[0])) + "\n"
        changed = not path.exists() or path.read_text() != text
        changes(conn, "apply_config", row[0])
        if changed and not dry_run:
            path.write_text(text)
    would = "would change" if dry_run else "written"
    print(f"{path.name}: {would if changed else 'agrees with the tables already'}.")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["diff", "apply", "pull"])
    parser.add_argument("--database-url", help="default: DATABASE_URL, else the embedded server")
    parser.add_argument("--file", type=Path, default=FILE, help="default: api/billing_config.py")
    parser.add_argument("--force", action="store_true", help="overwrite what was edited on the other side")
    parser.add_argument("--dry-run", action="store_true", help="apply, pull: change nothing")
    arguments = parser.parse_args()
    try:
        with (
            reachable_database(arguments.database_url) as url,
            psycopg.connect(url, autocommit=True, application_name="config") as conn,
        ):
            exact(conn)
            if arguments.command == "diff":
                return diff(conn, arguments.file)
            if arguments.command == "apply":
                return apply(conn, arguments.file, force=arguments.force, dry_run=arguments.dry_run)
            return pull(conn, arguments.file, force=arguments.force, dry_run=arguments.dry_run)
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
        return 3
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    except ConfigError as error:
        print(f"{error}\nNothing has changed.", file=sys.stderr)
        return 2
    except psycopg.Error as error:
        print(f"{describe(error)}\nNothing has changed.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
