"""What the checks of scripts/doctor.py are made of: a result, and the connection through which they look."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import errors
from psycopg.rows import namedtuple_row

from scripts import config
from scripts.migrate import MigrationError

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "FAILED", "skipped"

RUNBOOK = "docs/RUNBOOK.md"
# A check that takes longer is given up: this is a look at a system in use.
CHECK_SECONDS = 60
LOCK_SECONDS = 5


class Result(NamedTuple):
    """What a check saw; `remedy` says what to do, a command where there is one."""

    status: str
    seen: str
    remedy: str | None = None


class Doctor:
    """The connection of an examination, and what its checks go by. What a check does is rolled back."""

    def __init__(self, conn: psycopg.Connection, environ: Mapping[str, str] = os.environ, sample: int = 20) -> None:
        self.conn = conn
        self.environ = environ
        self.sample = sample
        config.exact(conn)

    @contextmanager
    def transaction(self, mode: str) -> Iterator[None]:
        """A transaction that is rolled back. Its settings end with it: a pooler may give the session to others."""
        with self.conn.transaction(force_rollback=True):
            self.conn.execute(f"set transaction isolation level read committed, {mode}")
            self.conn.execute(
                "select set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
                [f"{CHECK_SECONDS}s", f"{LOCK_SECONDS}s"],
            )
            yield

    def rows(self, query: str, *parameters: object, **named: object) -> list[Any]:
        with self.conn.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(query, parameters or named or None).fetchall()

    def row(self, query: str, *parameters: object) -> Any:
        (row,) = self.rows(query, *parameters)
        return row

    def results(self, check: "Check", *, writes: bool = False) -> list[Result]:
        """The results of one check, also when it may not look; raises OperationalError when the server is gone."""
        try:
            with self.transaction("read write" if writes else "read only"):
                return list(check(self))
        except errors.InsufficientPrivilege as error:
            return [Result(WARNING, f"not allowed to look: {message(error)}", "run it as who installed the database")]
        except (
            errors.UndefinedTable,
            errors.UndefinedColumn,
            errors.UndefinedFunction,
            errors.InvalidSchemaName,
        ) as error:
            return [Result(FAILED, f"the database is not what this code expects: {message(error)}", "make migrate")]
        except errors.QueryCanceled:
            return [Result(WARNING, f"took more than {CHECK_SECONDS} s, and was given up")]
        except errors.LockNotAvailable as error:
            return [Result(WARNING, f"had to wait, and was given up: {message(error)}", "try again")]
        except (errors.ReadOnlySqlTransaction, errors.FeatureNotSupported) as error:  # a standby writes nothing
            return [Result(WARNING, f"can't be checked here: {message(error)}", "run it on the primary server")]
        except MigrationError as error:
            return [Result(FAILED, str(error), "deploy the code whose db/migrations the database has")]


Check = Callable[[Doctor], Iterator[Result]]


def message(error: psycopg.Error) -> str:
    return str(error.diag.message_primary or error).strip()


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
