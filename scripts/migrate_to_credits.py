"""Move users from the old billing to accounts, or back.

    python scripts/migrate_to_credits.py --analyze [--json]
    python scripts/migrate_to_credits.py [--dry-run] [--yes] [--user ID …] [--include-rolled-back] [--limit N] [--json]
    python scripts/migrate_to_credits.py --verify [--user ID …] [--json]
    python scripts/migrate_to_credits.py --rollback-user ID … | --rollback-all [--yes] [--limit N] [--dry-run] [--json]

--analyze counts the users of the old system, and says what keeps some of them from migrating. --verify compares both
systems, and names each difference. Both only read.

Without one of these, everybody who waits in the old system is migrated, in the order of their ids, --batch-size users
in a transaction; who was rolled back stays there unless named by --user, or with --include-rolled-back. --dry-run does
the same and rolls each batch back: lines and totals are the same, but for what one batch would change for another, and
for "dry_run" in the totals of --json.
Whom something keeps from moving is told at the end and stays where they are; the others move. --limit counts users that
move. Running it again goes on where it ended, however it ended: nobody is counted twice.

A migration, and --rollback-all, asks on a terminal unless --yes is given. Both append to logs/migration.log, in the
directory where they are started: a line per user, times in UTC.

With --json, --analyze prints one object: groups, totals and problems. Everything else prints one object a line: a user
or a difference each, and a last one with the only member totals. Amounts are exact numbers in US dollars or credits.

Exit codes: 0 everybody has moved, or there is no difference; 1 some have not, there are differences, or the database
raised what is no user's fault; 2 wrong usage, not confirmed, views that can't be read or written, or a log or an output
that can't be written (who had moved until then has; billing.user_migrations knows); 3 no connection to the database, or
it was lost.
"""

import argparse
import asyncio
import heapq
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal, getcontext
from itertools import islice
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar
from uuid import UUID

import psycopg
import simplejson
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row, scalar_row

from scripts.migrate import describe
from scripts.servers import ServerError, database_url, reachable_database

LOG = Path("logs/migration.log")
BATCH = 500
LARGEST_BATCH = 1000
PAGE = 500
LARGEST = 10**12  # a limit that is none
TRIES = 5
# A user whose row somebody keeps locked is left behind, so that the others need not wait.
OPTIONS = "-c lock_timeout=10s -c default_transaction_isolation=read\\ committed"
# SQLSTATE classes that are no user's fault: without the right, the function or the disk space, nobody moves.
NOBODYS_FAULT = ("0A", "25", "28", "3D", "3F", "42", "53", "58", "F0", "XX")

# What keeps a user from moving: what it means, and what to do.
PROBLEMS = {
    "unknown_price": (
        "A subscription that runs has a price of which no tier is known.",
        "Give the price a tier in the old system's plans; the tier must be one of billing_tiers.",
    ),
    "several_customers": (
        "Subscriptions of more than one customer at Stripe are running.",
        "End all but those of one customer at Stripe, and in the old system.",
    ),
    "shared_customer": (
        "A customer at Stripe belongs to more than one user.",
        "Leave the customer to the user who pays, and take it from the others.",
    ),
    "invalid_customer": (
        "The id of a customer at Stripe is none: it is empty, too long, or has blanks.",
        "Correct the id in the old system.",
    ),
    "shared_subscription": (
        "A subscription at Stripe belongs to more than one user.",
        "Leave the subscription to the user who pays, and take it from the others.",
    ),
    "unknown_tier": (
        "The user's tier is none of billing_tiers; free is the tier of who pays for none.",
        "Add the tier: make config-apply.",
    ),
    "credit_differs": (
        "Bought credit is missing, or not the same in all rows of the user.",
        "Correct the rows until they agree.",
    ),
    "negative_credit": ("Bought credit is below zero.", "Collect it or forgive it, and set it to zero."),
    "invalid_purchase": (
        "A purchase has an amount, price, status, time or id that is none.",
        "Correct the purchase that the detail names.",
    ),
    "shared_payment": (
        "A payment at Stripe is said to have paid for more than one purchase.",
        "Find the purchase that it paid for, and take it from the others.",
    ),
    "amount_too_large": (
        "An amount is above 1000000000000, NaN or infinite.",
        "Correct usage or credit: nobody has used or bought that much.",
    ),
    "amount_too_precise": (
        "An amount has more than 9 decimal places.",
        "Round it in the old system: the migration rounds nothing by itself.",
    ),
    "account_closed": (
        "The account that the user has is closed.",
        "Open it again with billing.set_account_status, if the user is to move.",
    ),
    "no_customer": (
        "The old system has calls or purchases of the user, but no customer: nothing would migrate them.",
        "Give them a row of legacy_customers, or delete what was left behind.",
    ),
    "unknown_user": ("Neither system knows the user.", "Look for the right id."),
    "not_migrated": ("The user is in the old system.", "Nothing: there is nothing to move back."),
    "account_not_found": ("Neither system knows the user.", "Look for the right id."),
    "account_frozen": (
        "The account is frozen, and the old system would let the user spend.",
        "End the freeze with billing.set_account_status, or leave the account where it is.",
    ),
    "lock_not_available": ("Somebody keeps the user's row locked.", "Run it again when the other has ended."),
}
# What --verify finds of users who were migrated.
DIFFERENCES = {
    "subscription_missing": "A subscription of the old system is not known here.",
    "subscription_differs": "A subscription has changed in the old system since, and here nobody has heard of it.",
    "account_missing": "The migration is recorded, but there is no account.",
    "customer_missing": "The old system has lost the user.",
    "usage_differs": "The old system counts another usage for the month of the migration than was deducted.",
    "bought_credit_differs": "The old system's bought credit, the record and the entries do not agree.",
    "tier_credits_differ": "The entry for the rest of the month's credits is not what was recorded.",
    "lots_differ": "The lots are not what the entries granted.",
    "balance_differs": "The account's balance is not what its lots have left.",
    "purchase_missing": "A purchase of the old system is not known here.",
    "purchase_differs": "A purchase is not the same in both systems.",
    "purchase_lot_differs": "What was left of a purchase is not what was granted for it.",
}

T = TypeVar("T", bound="Move")


@dataclass(frozen=True)
class Move:
    """What became of one user. The problem is its name, the detail a sentence for those who have to look after it."""

    user_id: UUID
    outcome: str
    problem: str | None
    detail: str | None

    # What was done, or had been before; and what is summed up.
    DONE: ClassVar[str]
    ALREADY: ClassVar[str]
    FUNCTION: ClassVar[str]
    WIDTHS: ClassVar[dict[str, int]]
    SUMS: ClassVar[tuple[str, ...]]

    @classmethod
    def statement(cls) -> str:
        """The call that moves users; it returns a row per user, in the order of their ids."""
        given = ["null as detail" if each.name == "detail" and cls is Rollback else each.name for each in fields(cls)]
        return f"select {', '.join(given)} from billing.{cls.FUNCTION}(%s::uuid[]) order by user_id"

    @classmethod
    def failed(cls: type[T], user_id: UUID, error: psycopg.Error) -> T:
        """The user with whom the database raised an error."""
        nothing = dict.fromkeys(each.name for each in fields(cls))
        diagnosis = error.diag
        text = ": ".join(filter(None, [diagnosis.message_primary, diagnosis.message_detail]))
        text = " ".join(filter(None, [text, diagnosis.message_hint]))
        return cls(**nothing | {"user_id": user_id, "outcome": "failed", "problem": error_name(error), "detail": text})

    @property
    def is_there(self) -> bool:
        """Whether the user is where they should be."""
        return self.outcome in (self.DONE, self.ALREADY)

    @property
    def reason(self) -> str:
        """What is told of a user who is not."""
        return self.detail or PROBLEMS.get(self.problem or "", ("",))[0]


@dataclass(frozen=True)
class Migration(Move):
    """What a migration has brought one user, or why it did not. A US dollar is a credit."""

    tier: str | None
    subscription_status: str | None
    usage_before: Decimal | None
    monthly_credits: Decimal | None
    tier_credits: Decimal | None
    bought_credit: Decimal | None
    purchases: int | None
    balance: Decimal | None

    DONE = "migrated"
    ALREADY = "already_migrated"
    FUNCTION = "migrate_users"
    WIDTHS: ClassVar = {
        **{"tier": -13, "usage_before": 15, "monthly_credits": 15, "tier_credits": 15, "bought_credit": 15},
        **{"purchases": 9, "balance": 15},
    }
    SUMS = ("usage_before", "tier_credits", "bought_credit", "purchases", "balance")


@dataclass(frozen=True)
class Rollback(Move):
    """What was handed to the old system of one user, or why nothing was."""

    monthly_left: Decimal | None
    bought_credit: Decimal | None
    purchases: int | None
    usage_records: int | None
    subscriptions: int | None

    DONE = "rolled_back"
    ALREADY = "already_rolled_back"
    FUNCTION = "rollback_users"
    WIDTHS: ClassVar = {
        **{"monthly_left": 15, "bought_credit": 15, "purchases": 9, "usage_records": 13, "subscriptions": 13}
    }
    SUMS = ("monthly_left", "bought_credit", "purchases", "usage_records", "subscriptions")


@dataclass(frozen=True)
class Difference:
    """What the old system and an account tell differently of one user."""

    user_id: UUID
    problem: str
    old: str | None
    new: str | None


VERIFY = "select user_id, problem, old, new from billing.verify_migration(%s::uuid[])"
VIEWS = "select problem, old, new from billing.check_old_views()"
WITHOUT_CUSTOMER = "select user_id, problem, old, new from billing.list_users_without_customer(%s, %s)"
STATUS = "select status from billing.get_migration(%s)"


class MigrationRefused(Exception):
    """A user can't be moved; `problem` is the name of what is in the way."""

    def __init__(self, user_id: UUID, problem: str | None, detail: str) -> None:
        super().__init__(f"{user_id}: {problem}: {detail}")
        self.user_id, self.problem, self.detail = user_id, problem, detail


class UnknownUser(MigrationRefused):
    """Neither system knows the user."""


class NotMigrated(MigrationRefused):
    """The user is in the old system: there is nothing to move back."""


REFUSALS = {"unknown_user": UnknownUser, "account_not_found": UnknownUser, "not_migrated": NotMigrated}


class CreditMigration:
    """Single users, from Python:

        migration = CreditMigration()
        await migration.rollback_user('0b8e6f0e-6a53-4c41-9d0c-8e2f2f6a7d11')

    Without a URL it is DATABASE_URL, or the running embedded server. Each call has a connection of its own, and raises
    ValueError for an id that is none, MigrationRefused for a user who can't be moved (UnknownUser, NotMigrated),
    ServerError without a server, and psycopg.Error for what the database raises. What is done stands in the log, or
    OSError is raised before it is done.
    """

    def __init__(self, database_url: str | None = None, *, log: Path = LOG) -> None:
        self.database_url = database_url
        self.log = log

    async def migrate_user(self, user_id: UUID | str) -> Migration:
        """Move one user to an account, also one who was rolled back; who was migrated before is told as that."""
        return await self._move(Migration, as_uuid(user_id))

    async def rollback_user(self, user_id: UUID | str) -> Rollback:
        """Move one user back to the old system, with what is left on the account."""
        return await self._move(Rollback, as_uuid(user_id))

    async def verify_user(self, user_id: UUID | str) -> list[Difference]:
        """What the two systems tell differently of one user; of one who waits, what keeps them from migrating."""
        user = as_uuid(user_id)
        async with await self._connect() as conn:
            status = await (await conn.cursor(row_factory=scalar_row).execute(STATUS, [user])).fetchone()
            if status == "unknown":
                raise UnknownUser(user, "unknown_user", PROBLEMS["unknown_user"][0])
            return await (await conn.cursor(row_factory=class_row(Difference)).execute(VERIFY, [[user]])).fetchall()

    async def _move(self, kind: type[T], user_id: UUID) -> T:
        log = Log(self.log)
        log.append([])  # what can't be logged is not done
        async with await self._connect() as conn, conn.cursor(row_factory=class_row(kind)) as cursor:
            for left in reversed(range(TRIES)):
                try:
                    (row,) = await (await cursor.execute(kind.statement(), [[user_id]])).fetchall()
                    break
                except (errors.DeadlockDetected, errors.SerializationFailure):
                    if left == 0:
                        raise
                    await asyncio.sleep(pause())
        log.write([row])
        if not row.is_there:
            raise REFUSALS.get(row.problem or "", MigrationRefused)(user_id, row.problem, row.reason)
        return row

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(**connection_parameters(self.database_url or database_url()))


def as_uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def connection_parameters(url: str) -> dict[str, Any]:
    # What the URL asks for counts more.
    options = f"{OPTIONS} {conninfo_to_dict(url).get('options', '')}".strip()
    return {"conninfo": url, "autocommit": True, "application_name": "migrate_to_credits", "options": options}


def error_name(error: psycopg.Error) -> str:
    """The name of an error: ours stands in its message, PostgreSQL's is that of its SQLSTATE, others have none."""
    state = error.sqlstate or ""
    if state.startswith("UC"):
        return error.diag.message_primary or state
    try:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", errors.lookup(state).__name__).lower()
    except KeyError:
        return state


def pause() -> float:
    """Seconds to wait before another try, never the same for two who got in each other's way."""
    return random.uniform(0.05, 0.3)


class ConnectionLost(Exception):
    """The connection has ended in the middle."""


class Mover:
    """Moves batches of users, each batch in a transaction."""

    def __init__(self, conn: psycopg.Connection[Any], kind: type[T], *, dry_run: bool) -> None:
        self.conn, self.kind, self.dry_run = conn, kind, dry_run

    def move(self, user_ids: Sequence[UUID]) -> list[Any]:
        """A row per user. Raises ConnectionLost, and psycopg.Error for what is no user's fault."""
        try:
            # Within the transaction of a dry run, the parts of a batch see each other as they do without it.
            with self.conn.transaction(force_rollback=True) if self.dry_run else nullcontext():
                return self._part(user_ids)
        except psycopg.OperationalError as error:
            if is_lost(self.conn, error):
                raise ConnectionLost(first_line(error)) from error
            raise

    def _part(self, user_ids: Sequence[UUID]) -> list[Any]:
        """Users with whom the database raises an error are found by halving."""
        try:
            return self._try(user_ids)
        except psycopg.Error as error:
            state = error.sqlstate or "XX"
            if is_lost(self.conn, error) or state[:2] in NOBODYS_FAULT or state == "55000":
                raise
            if len(user_ids) == 1:
                return [self.kind.failed(user_ids[0], error)]
        half = len(user_ids) // 2
        return [*self._part(user_ids[:half]), *self._part(user_ids[half:])]

    def _try(self, user_ids: Sequence[UUID]) -> list[Any]:
        """All of them or none; what only got in somebody's way is tried again."""
        for _ in range(TRIES - 1):
            try:
                return self._once(user_ids)
            except (errors.DeadlockDetected, errors.SerializationFailure):
                time.sleep(pause())
        return self._once(user_ids)

    def _once(self, user_ids: Sequence[UUID]) -> list[Any]:
        with self.conn.transaction(), self.conn.cursor(row_factory=class_row(self.kind)) as cursor:
            return cursor.execute(self.kind.statement(), [list(user_ids)]).fetchall()


def is_lost(conn: psycopg.Connection[Any], error: psycopg.Error) -> bool:
    state = error.sqlstate or ""
    return conn.closed or state.startswith(("08", "57P"))


def first_line(text: object) -> str:
    return str(text).strip().partition("\n")[0]


class Log:
    """logs/migration.log: a line per user, and one per run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, rows: Iterable[Move]) -> None:
        """Append what became of users; raises OSError."""
        self.append(
            " ".join(f"{name}={logged(value)}" for name, value in asdict(row).items() if value is not None)
            for row in rows
        )

    def append(self, lines: Iterable[str]) -> None:
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{at} {line}\n" for line in lines))


def logged(value: object) -> str:
    """A value in a line of the log: sentences in quotes."""
    text = shown(value)
    return simplejson.dumps(text, ensure_ascii=False) if re.search(r"[\s\"=]", text) else text


def shown(value: object) -> str:
    """A value for a person to read: amounts in digits."""
    if value is None:
        return "-"
    return digits(value) if isinstance(value, Decimal) else str(value)


def digits(value: Decimal) -> str:
    """An amount without an exponent, and without zeros that say nothing."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_json(value: Any) -> str:
    return simplejson.dumps(value, default=_plain, use_decimal=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        # NaN and infinity are no numbers in JSON; an old system may have them.
        return simplejson.RawJSON(digits(value)) if value.is_finite() else str(value)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


class Screen:
    """Lines on standard output, and a bar on standard error when that is a terminal."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.has_bar = sys.stderr.isatty()
        self.total: int | None = None
        self.bar = ""

    def lines(self, lines: Iterable[str]) -> None:
        self._draw("")
        for line in lines:
            print(line)
        sys.stdout.flush()
        self._draw(self.bar)

    def text(self, *lines: str) -> None:
        """Lines for people only."""
        if not self.json:
            self.lines(lines)

    def progress(self, done: int) -> None:
        if self.total:
            share = min(1.0, done / self.total)
            bar = "#" * int(30 * share)
            self.bar = f"[{bar:.<30}] {done:,}/{self.total:,} users"
        else:
            self.bar = f"{done:,} users"
        self._draw(self.bar)

    def end(self) -> None:
        self._draw("")
        self.bar = ""

    def _draw(self, text: str) -> None:
        if self.has_bar:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def user_pages(conn: psycopg.Connection[Any], function: str, *arguments: object) -> Iterator[tuple[UUID, str]]:
    """Ids and states that one of the lists tells, a page at a time."""
    after: UUID | None = None
    values = ", ".join(["%s"] * (len(arguments) + 2))
    while True:
        page = conn.execute(
            f"select user_id, status from billing.{function}({values})", [*arguments, after, PAGE]
        ).fetchall()
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1][0]


def without_repetition(pairs: Iterable[tuple[UUID, str]]) -> Iterator[tuple[UUID, str]]:
    last: UUID | None = None
    for user_id, status in pairs:
        if user_id != last:
            yield user_id, status
        last = user_id


def in_batches(items: Iterator[Any], size: Callable[[], int]) -> Iterator[list[Any]]:
    """Lists of so many items as are wanted each time; ends with the items, or when none is wanted."""
    while batch := list(islice(items, size())):
        yield batch


def count(conn: psycopg.Connection[Any], query: str) -> int:
    return conn.cursor(row_factory=scalar_row).execute(query).fetchone() or 0


MIGRATED = "select count(*) from billing.user_migrations where status = 'migrated'"
OLD_USERS = """select count(distinct c.user_id) from legacy_billing.legacy_customers c
    left join billing.user_migrations m on m.user_id = c.user_id
    where coalesce(m.status, 'none') in """
HERE = """select count(*) from billing.credit_accounts a left join billing.user_migrations m on m.user_id = a.user_id
    where m.status is distinct from 'rolled_back'"""


class Plan:
    """Whom a run moves: the users named, or all of a kind."""

    def __init__(self, conn: psycopg.Connection[Any], arguments: argparse.Namespace) -> None:
        self.conn = conn
        self.kind: type[Move] = Rollback if arguments.rollback_all or arguments.rollback_user else Migration
        self.named: list[UUID] = sorted({*arguments.user, *arguments.rollback_user})
        self.states = ["waiting", *(["rolled_back"] if arguments.include_rolled_back else [])]

    def users(self) -> Iterator[UUID]:
        """In the order of their ids."""
        if self.named:
            return iter(self.named)
        lists = (
            [user_pages(self.conn, "list_migrated_users")]
            if self.kind is Rollback
            else [user_pages(self.conn, "list_old_users", state) for state in self.states]
        )
        return (user_id for user_id, _ in heapq.merge(*lists))

    def count(self) -> int:
        if self.named:
            return len(self.named)
        if self.kind is Rollback:
            return count(self.conn, HERE)
        names = ["none" if state == "waiting" else state for state in self.states]
        return count(self.conn, OLD_USERS + "(" + ", ".join(f"'{name}'" for name in names) + ")")


class Totals:
    """What a run has come to, in little memory however many users there are."""

    def __init__(self, kind: type[Move], before: int, left: IO[str], *, dry_run: bool) -> None:
        self.kind, self.before, self.left, self.dry_run = kind, before, left, dry_run
        self.outcomes = Counter({outcome: 0 for outcome in (kind.DONE, kind.ALREADY, "refused", "failed")})
        self.problems: Counter[str] = Counter()
        self.sums: dict[str, Decimal | int] = dict.fromkeys(kind.SUMS, 0)

    def add(self, rows: Iterable[Move]) -> None:
        for row in rows:
            self.outcomes[row.outcome] += 1
            if row.outcome == self.kind.DONE:
                for name in self.sums:
                    self.sums[name] += getattr(row, name) or 0
            if not row.is_there:
                self.problems[row.problem or "unknown"] += 1
                print(f"{row.user_id}  {row.problem}: {first_line(row.reason)}", file=self.left)

    @property
    def done(self) -> int:
        return self.outcomes[self.kind.DONE]

    @property
    def seen(self) -> int:
        return sum(self.outcomes.values())

    @property
    def is_complete(self) -> bool:
        return not self.problems

    def for_machines(self) -> dict[str, Any]:
        told = {"dry_run": self.dry_run, "migrated_before": self.before, **self.outcomes, **self.sums}
        return {"totals": told | {"problems": dict(self.problems)}}

    def for_people(self) -> Iterator[str]:
        yield ""
        if self.problems:
            yield f"Not moved ({self.problems.total()}):"
            self.left.seek(0)
            for line in self.left:
                yield "  " + line.rstrip("\n")
            yield ""
            yield from explained(self.problems)
            yield ""
        yield "Totals:"
        yield f"  {'migrated before':<22}{self.before:>15}"
        for outcome, number in self.outcomes.items():
            yield f"  {outcome.replace('_', ' '):<22}{number:>15}"
        for name, value in self.sums.items():
            yield f"  {name.replace('_', ' '):<22}{shown(value):>15}"


def explained(problems: Counter[str]) -> Iterator[str]:
    """How often, what it means, and what to do."""
    for problem, number in sorted(problems.items()):
        yield f"{problem} ({number}): {' '.join(filter(None, meaning_of(problem)))}"


def meaning_of(problem: str) -> tuple[str, str]:
    """A sentence on what a problem is, and one on what to do; the second may be empty."""
    return PROBLEMS.get(problem, (DIFFERENCES.get(problem, "The database raised an error."), ""))


def headings(kind: type[Move]) -> str:
    cells = [f"{'user':<36}", f"{'outcome':<20}"]
    cells += [aligned(name.replace("_", " "), width) for name, width in kind.WIDTHS.items()]
    return "  ".join([*cells, "problem"])


def line(row: Move) -> str:
    cells = [str(row.user_id), f"{row.outcome:<20}"]
    cells += [aligned(shown(getattr(row, name)), width) for name, width in row.WIDTHS.items()]
    return "  ".join([*cells, row.problem or ""]).rstrip()


def aligned(text: str, width: int) -> str:
    return text.ljust(-width) if width < 0 else text.rjust(width)


def confirmed(plan: Plan, limit: int | None) -> bool:
    """Ask on the terminal; standard output has the same lines with and without the question."""
    number, where = min(plan.count(), limit or LARGEST), plan.conn.info
    verb = "Migrate" if plan.kind is Migration else "Move back"
    print(f"{verb} {number:,} users of {where.dbname} on {where.host}:{where.port}? [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def move(conn: psycopg.Connection[Any], arguments: argparse.Namespace) -> int:
    """Migrate or roll back; returns the exit code."""
    plan = Plan(conn, arguments)
    screen = Screen(json=arguments.json)
    asks = not arguments.yes and not arguments.dry_run and not arguments.rollback_user
    if asks and not confirmed(plan, arguments.limit):
        print("Nothing has changed.", file=sys.stderr)
        return 2
    # Those who could not be moved are told at the end; on the disk, because they may be many.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as left:
        totals = Totals(plan.kind, count(conn, MIGRATED), left, dry_run=arguments.dry_run)
        return move_all(plan, totals, screen, arguments)


def move_all(plan: Plan, totals: Totals, screen: Screen, arguments: argparse.Namespace) -> int:
    log = None if arguments.dry_run else Log(LOG)
    if log:
        log.append(
            [f"run={plan.kind.FUNCTION} database={logged(plan.conn.info.dbname)} migrated_before={totals.before}"]
        )
    if screen.has_bar:
        screen.total = plan.count()
    what = "Migration" if plan.kind is Migration else "Rollback"
    screen.text(f"{what}, dry run: all of this was rolled back." if arguments.dry_run else f"{what}:")
    screen.text(headings(plan.kind))

    def size() -> int:
        return min(arguments.batch_size, arguments.limit - totals.done) if arguments.limit else arguments.batch_size

    mover = Mover(plan.conn, plan.kind, dry_run=arguments.dry_run)
    try:
        for batch in in_batches(plan.users(), size):
            rows = mover.move(batch)
            totals.add(rows)
            try:
                screen.lines(as_json(asdict(row)) if screen.json else line(row) for row in rows)
            finally:
                if log:
                    log.write(rows)
            screen.progress(totals.seen)
    except (KeyboardInterrupt, ConnectionLost, psycopg.Error, OSError):
        screen.end()
        verb = plan.kind.DONE.replace("_", " ")
        further = "Nothing has changed." if arguments.dry_run else "Running it again goes on from there."
        print(f"Ended after {totals.done} users were {verb}. {further}", file=sys.stderr)
        raise
    screen.end()
    screen.lines([as_json(totals.for_machines())] if screen.json else totals.for_people())
    if log:
        log.append([" ".join(f"{name}={number}" for name, number in totals.outcomes.items())])
    return 0 if totals.is_complete else 1


def users_to_verify(conn: psycopg.Connection[Any], named: Sequence[UUID]) -> Iterator[tuple[UUID, str]]:
    """Ids and states: everybody whom the old system knows, and those whom it has lost since."""
    if named:
        states = conn.cursor(row_factory=scalar_row)
        return ((user_id, states.execute(STATUS, [user_id]).fetchone()) for user_id in sorted({*named}))
    here = ((user_id, status) for user_id, status in user_pages(conn, "list_migrated_users") if status == "migrated")
    return without_repetition(heapq.merge(user_pages(conn, "list_old_users", None), here))


def users_without_customer(conn: psycopg.Connection[Any]) -> Iterator[list[Difference]]:
    after: UUID | None = None
    with conn.cursor(row_factory=class_row(Difference)) as cursor:
        while page := cursor.execute(WITHOUT_CUSTOMER, [after, PAGE]).fetchall():
            yield page
            after = page[-1].user_id


def differences_of(
    conn: psycopg.Connection[Any], users: Sequence[tuple[UUID, str]], found: Callable[[list[Difference]], None]
) -> None:
    with conn.transaction(), conn.cursor(row_factory=class_row(Difference)) as cursor:
        found(cursor.execute(VERIFY, [[user_id for user_id, _ in users]]).fetchall())


def verify(conn: psycopg.Connection[Any], arguments: argparse.Namespace) -> int:
    """Name each difference; returns the exit code."""
    conn.read_only = True
    screen = Screen(json=arguments.json)
    if screen.has_bar and not arguments.user:
        screen.total = count(conn, "select count(distinct user_id) from legacy_billing.legacy_customers")
    states: Counter[str] = Counter()
    problems: Counter[str] = Counter()

    def tell(differences: list[Difference]) -> None:
        problems.update(each.problem for each in differences)
        screen.lines(
            as_json(asdict(each))
            if screen.json
            else f"{each.user_id}  {each.problem:<22}  old: {shown(each.old)}  new: {shown(each.new)}"
            for each in differences
        )

    users = users_to_verify(conn, arguments.user)
    for batch in in_batches(users, lambda: arguments.batch_size):
        differences_of(conn, batch, tell)
        states.update(status for _, status in batch)
        screen.progress(states.total())
    screen.end()
    if not arguments.user:
        for page in users_without_customer(conn):
            tell(page)
    waiting = states["waiting"] + states["rolled_back"]
    if screen.json:
        totals = {"compared": states["migrated"], "waiting": waiting, "differences": problems.total()}
        screen.lines([as_json({"totals": totals | {"problems": dict(problems)}})])
    else:
        found = f"{problems.total()} differences" if problems else "no difference"
        screen.text(*([""] if problems else []), *explained(problems))
        screen.text(f"{states['migrated']} migrated users compared, {waiting} users are in the old system: {found}.")
    return 1 if problems else 0


GROUP = (
    *("status", "tier", "subscription_status", "problem", "users", "usage_before", "tier_credits"),
    *("bought_credit", "purchases"),
)


def analyze(conn: psycopg.Connection[Any], arguments: argparse.Namespace) -> int:
    """What the old system has, and what would become of it."""
    conn.read_only = True
    with conn.transaction():
        rows = conn.execute(f"select {', '.join(GROUP)} from billing.analyze_migration()").fetchall()
    groups = [dict(zip(GROUP, row, strict=True)) for row in rows]
    problems: Counter[str] = Counter()
    for group in groups:
        if group["problem"] and group["status"] != "migrated":
            problems[group["problem"]] += group["users"]
    totals = {name: summed(groups, wanted) for name, wanted in SHARES.items()}
    if arguments.json:
        told = [
            {"problem": name, "users": number, "meaning": meaning_of(name)[0], "remedy": meaning_of(name)[1]}
            for name, number in sorted(problems.items())
        ]
        print(as_json({"groups": groups, "totals": totals, "problems": told}))
        return 0
    cells = [[name.replace("_", " ") for name in GROUP]]
    cells += [[shown(group[name]) for name in GROUP] for group in groups]
    cells += [[], *([name.replace("_", " "), "", "", "", *map(shown, sums.values())] for name, sums in totals.items())]
    print(*table(cells, left=4), sep="\n")
    if problems:
        print("", *explained(problems), sep="\n")
    return 0


# Which groups each of the totals is of.
SHARES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "can_migrate": lambda group: group["status"] == "waiting" and group["problem"] is None,
    "cannot_migrate": lambda group: group["status"] != "migrated" and group["problem"] is not None,
    "rolled_back": lambda group: group["status"] == "rolled_back" and group["problem"] is None,
    "migrated": lambda group: group["status"] == "migrated",
    "all": lambda group: True,
}


def summed(groups: list[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Decimal | int]:
    return {name: sum(group[name] or 0 for group in groups if wanted(group)) for name in GROUP[4:]}


def table(cells: list[list[str]], left: int) -> Iterator[str]:
    """Rows below each other, each column as wide as it must be; the first ones to the left, numbers to the right."""
    widths = [max(len(row[number]) for row in cells if row) for number in range(len(cells[0]))]
    for row in cells:
        padded = (
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        yield "  ".join(padded).rstrip()


def between(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{lowest} to {highest}")
        return value

    parse.__name__ = "number"
    return parse


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--analyze", action="store_true", help="who there is, and what keeps some from migrating")
    mode.add_argument("--verify", action="store_true", help="compare both systems, and name each difference")
    mode.add_argument(
        "--rollback-user", type=UUID, action="append", default=[], metavar="ID", help="move back; can be repeated"
    )
    mode.add_argument("--rollback-all", action="store_true", help="move everybody back who has an account")
    parser.add_argument("--dry-run", action="store_true", help="do it, tell what was done, and roll it back")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--user", type=UUID, action="append", default=[], metavar="ID", help="only this one; can be repeated"
    )
    parser.add_argument("--include-rolled-back", action="store_true", help="migrate those too who were moved back")
    parser.add_argument(
        "--batch-size", type=between(1, LARGEST_BATCH), default=BATCH, help="users in a transaction (%(default)s)"
    )
    parser.add_argument("--limit", type=between(1, LARGEST), help="end when so many users have moved")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--database-url", help="default: DATABASE_URL, else the embedded server")
    arguments = parser.parse_args()
    reads = arguments.analyze or arguments.verify
    backwards = arguments.rollback_all or arguments.rollback_user
    if reads and (arguments.dry_run or arguments.limit or arguments.include_rolled_back):
        parser.error("--dry-run, --limit and --include-rolled-back are for what moves users")
    if arguments.user and (arguments.analyze or backwards):
        parser.error("--user is for a migration and for --verify; --rollback-user names who is to move back")
    if arguments.include_rolled_back and (arguments.user or backwards):
        parser.error("--include-rolled-back is for a migration of all users")
    asks = not (reads or arguments.dry_run or arguments.rollback_user or arguments.yes)
    if asks and not sys.stdin.isatty():
        parser.error("there is no terminal to ask on: --yes does it without a question, --dry-run rolls it back")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    # Sums of amounts with many places are not rounded either.
    getcontext().prec = 100
    run = analyze if arguments.analyze else verify if arguments.verify else move
    try:
        with (
            reachable_database(arguments.database_url) as url,
            psycopg.connect(**connection_parameters(url)) as conn,
        ):
            if faults := conn.execute(VIEWS).fetchall():
                print("The views of the old system are not what a migration and a rollback need:", file=sys.stderr)
                for name, found, wanted in faults:
                    print(f"  {name}: {found}; wanted: {wanted}", file=sys.stderr)
                return 2
            return run(conn, arguments)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    except ConnectionLost as error:
        print(f"The connection to the database was lost: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:
        # Whoever read the lines has left. What is in the buffer can't be written when Python ends either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # A disk that is full names no file.
        print(f"{LOG}, or the output: {error}", file=sys.stderr)
        return 2
    except psycopg.Error as error:
        state = error.sqlstate or "08"
        lost = isinstance(error, psycopg.OperationalError) and state.startswith(("08", "28", "3D", "57P"))
        print(f"No connection to the database: {error}" if lost else describe(error), file=sys.stderr)
        if state in ("3F000", "42883", "42P01"):
            print("Has this database been brought to the present state? make migrate does it.", file=sys.stderr)
        return 3 if lost else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
