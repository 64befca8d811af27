"""pytest plugin: a migrated database for every test, and pgTAP files as tests, each assertion reported on its own.

    pytest --postgres=15|18      Debian's server or the embedded one; 15 by default if it is there

Fixtures: server, template, database, empty_database, conn, api_conn, clock. A database costs about 50 ms.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row

from scripts.migrate import MigrationError, describe, migrate, run_file
from scripts.servers import DEBIAN, EMBEDDED, ServerError, extension_dir, postgres_bin
from scripts.testserver import TestServer

PGTAP = extension_dir(DEBIAN) / "pgtap.sql"
# A pgTAP statement that takes longer than this hangs.
STATEMENT_TIMEOUT = "120s"

TAP_LINE = re.compile(r"(?P<not>not )?ok\b\s*(?P<number>\d+)?\s*-?\s*(?P<text>.*)")
TAP_PLAN = re.compile(r"1\.\.(?P<count>\d+)(?:\s*# SKIP\s*(?P<reason>.*))?", re.IGNORECASE)
TAP_DIRECTIVE = re.compile(r"(?P<text>.*?)\s*# (?P<kind>SKIP|TODO)\b\s*(?P<reason>.*)", re.IGNORECASE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--postgres", choices=["15", "18"], help="server to test on (default: 15 if installed, else 18)")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Databases(config), "billing-databases")


def pytest_report_header(config: pytest.Config) -> str:
    return f"PostgreSQL: {databases(config).version}"


def databases(config: pytest.Config) -> "Databases":
    plugin = config.pluginmanager.get_plugin("billing-databases")
    assert isinstance(plugin, Databases)
    return plugin


@dataclass
class Database:
    """One database of the test server."""

    server: TestServer
    name: str

    @property
    def url(self) -> str:
        """For the superuser; add a role with `connect(role=…)` or `url_as`."""
        return f"postgresql://postgres@127.0.0.1:{self.server.settings['port']}/{self.name}"

    def url_as(self, role: str) -> str:
        """A connection string whose sessions have that role from the start, as the API's have."""
        return make_conninfo(self.url, options=f"-c role={role}")

    def connect(self, role: str | None = None, *, autocommit: bool = True, **parameters: Any) -> psycopg.Connection:
        """A connection of its own, rows as named tuples; the caller closes it."""
        url = self.url if role is None else self.url_as(role)
        return psycopg.connect(url, autocommit=autocommit, row_factory=namedtuple_row, **parameters)


class Databases:
    """The session's server, its template, and the databases copied from it; each made when it is first asked for."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.numbers = count(1)
        self.started: TestServer | None = None
        self.maintenance: psycopg.Connection | None = None
        self.migrated: Database | None = None
        self.settings: dict[str, str] = {}
        self.failure: Exception | None = None

    @property
    def version(self) -> int:
        chosen = self.config.getoption("--postgres")
        if chosen is not None:
            return int(chosen)
        return DEBIAN if Path(f"/usr/lib/postgresql/{DEBIAN}/bin/postgres").exists() else EMBEDDED

    def server(self) -> TestServer:
        if self.started is None:
            self.started = TestServer(self.version)
        return self.started

    def connection(self) -> psycopg.Connection:
        """To the server itself, kept open: opening one takes the server as long as dropping a database."""
        if self.maintenance is None or self.maintenance.closed:
            self.maintenance = self.server().connect("postgres")
        return self.maintenance

    def template(self) -> Database:
        """The migrated database; raises for every test what went wrong the first time."""
        if self.failure is not None:
            raise self.failure
        if self.migrated is None:
            template = self.empty("billing_template")
            try:
                with psycopg.connect(template.url, autocommit=True) as conn:
                    migrate(conn)
                    install_extensions(conn)
                    self.settings = settings_of(conn)
            except (MigrationError, ServerError, psycopg.Error) as error:
                self.failure = error
                raise
            self.migrated = template
        return self.migrated

    def empty(self, name: str | None = None) -> Database:
        """A database with nothing in it."""
        return self._create(name, "template0", {})

    def copy(self) -> Database:
        """A database like the template, with its settings, which CREATE DATABASE does not copy, and pgTAP's schema."""
        template = self.template()
        return self._create(None, template.name, self.settings)

    def _create(self, name: str | None, template: str, settings: dict[str, str]) -> Database:
        database = Database(self.server(), name or f"billing_test_{next(self.numbers)}")
        identifier = sql.Identifier(database.name)
        # The server does not write to disk for real, so copying files is the faster way.
        self.connection().execute(
            sql.SQL("create database {} template {} strategy file_copy").format(identifier, sql.Identifier(template))
        )
        for setting, value in settings.items():
            # A list is stored as SQL has it; quoted as one string it would be one name.
            text = sql.SQL(value) if setting == "search_path" else sql.Literal(value)
            self.connection().execute(
                sql.SQL("alter database {} set {} = {}").format(identifier, sql.Identifier(setting), text)
            )
        return database

    def drop(self, database: Database) -> None:
        self.connection().execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database.name)))

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        if self.maintenance is not None:
            self.maintenance.close()
        if self.started is not None:
            self.started.stop()


def settings_of(conn: psycopg.Connection) -> dict[str, str]:
    """What the database sets for its sessions, and pgTAP's schema in their search path."""
    rows = conn.execute(
        """select split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
             from pg_db_role_setting as s join pg_database as d on d.oid = s.setdatabase,
                  unnest(s.setconfig) as setting
            where d.datname = current_database() and s.setrole = 0"""
    ).fetchall()
    settings = dict(rows)
    return settings | {"search_path": settings.get("search_path", '"$user", public') + ", pgtap"}


def install_extensions(conn: psycopg.Connection) -> None:
    """pgTAP in a schema of its own (plain SQL, Debian's file also on the embedded server), and plpgsql_check."""
    if not PGTAP.exists():
        raise ServerError("pgTAP is not installed: apt install postgresql-15-pgtap")
    with conn.transaction():
        conn.execute("create schema pgtap; grant usage on schema pgtap to public; set local search_path = pgtap")
        conn.execute("set local client_min_messages = error")
        run_file(conn, PGTAP, PGTAP.read_text())
        available = conn.execute("select from pg_available_extensions where name = 'plpgsql_check'").rowcount
        if available:
            conn.execute("create extension plpgsql_check schema pgtap")


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> TestServer:
    """The session's PostgreSQL server."""
    return databases(pytestconfig).server()


@pytest.fixture(scope="session")
def template(pytestconfig: pytest.Config) -> Database:
    """The migrated database that the others are copies of; do not connect to it."""
    return databases(pytestconfig).template()


@pytest.fixture
def database(pytestconfig: pytest.Config) -> Iterator[Database]:
    """A migrated database for this test alone."""
    fresh = databases(pytestconfig).copy()
    yield fresh
    databases(pytestconfig).drop(fresh)


@pytest.fixture
def empty_database(pytestconfig: pytest.Config) -> Iterator[Database]:
    """A database with nothing in it, for tests of the migration itself."""
    fresh = databases(pytestconfig).empty()
    yield fresh
    databases(pytestconfig).drop(fresh)


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection]:
    """An autocommit connection of the superuser to `database`."""
    with database.connect() as connection:
        yield connection


@pytest.fixture
def api_conn(database: Database) -> Iterator[psycopg.Connection]:
    """An autocommit connection to `database` with the rights of the API."""
    with database.connect("billing_api") as connection:
        yield connection


class Clock:
    """The time of one database, by replacing billing_private.clock() there."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @cached_property
    def volatility(self) -> str:
        """As the file has it, so that the planner treats another one alike."""
        with self.database.connect() as conn:
            return self._volatility(conn)

    def freeze(self, at: datetime | str) -> datetime:
        """Stop the clock at a time, given with its zone."""
        return self._replace(sql.SQL("select {}::timestamptz").format(sql.Literal(str(at))))

    def advance(self, **delta: float) -> datetime:
        """Stop the clock at the current time plus a timedelta's keywords: advance(days=31)."""
        return self.freeze(self.now() + timedelta(**delta))

    def shift(self, **delta: float) -> datetime:
        """Let the clock run, ahead of the real time by a timedelta's keywords; shift() is the real time."""
        return self._replace(sql.SQL("select clock_timestamp() + {}").format(sql.Literal(timedelta(**delta))))

    def now(self) -> datetime:
        """What the functions see."""
        with self.database.connect() as conn:
            return self._now(conn)

    def _replace(self, body: sql.Composed) -> datetime:
        with self.database.connect() as conn:
            conn.execute(
                sql.SQL(
                    "create or replace function billing_private.clock() returns timestamptz language sql {} as {}"
                ).format(sql.SQL(self._volatility(conn)), sql.Literal(body.as_string(conn)))
            )
            return self._now(conn)

    @staticmethod
    def _volatility(conn: psycopg.Connection) -> str:
        row = conn.execute(
            "select provolatile as letter from pg_proc where oid = 'billing_private.clock()'::regprocedure"
        ).fetchone()
        return {"i": "immutable", "s": "stable", "v": "volatile"}[row.letter]

    @staticmethod
    def _now(conn: psycopg.Connection) -> datetime:
        return conn.execute("select billing_private.clock() as at").fetchone().at


@pytest.fixture
def clock(database: Database) -> Clock:
    """Moves the time in `database`."""
    return Clock(database)


@dataclass
class Assertion:
    """One line `ok` or `not ok`, or a problem of the file as a whole."""

    description: str
    passed: bool
    directive: str | None = None  # SKIP or TODO
    reason: str = ""
    diagnostics: list[str] = field(default_factory=list)


def parse_tap(output: str) -> tuple[list[Assertion], list[str]]:
    """The assertions in an output of psql, and what is wrong with it as a whole: its plan, or an empty file."""
    assertions: list[Assertion] = []
    planned: int | None = None
    skipped = False
    for line in output.splitlines():
        if match := TAP_PLAN.fullmatch(line.strip()):
            planned, skipped = int(match["count"]), match["reason"] is not None
            if skipped:
                assertions.append(Assertion("the whole file", True, "SKIP", match["reason"]))
        elif match := TAP_LINE.fullmatch(line):
            text, directive, reason = match["text"], None, ""
            if found := TAP_DIRECTIVE.fullmatch(text):
                text, directive, reason = found["text"], found["kind"].upper(), found["reason"]
            assertions.append(Assertion(text or f"assertion {match['number']}", not match["not"], directive, reason))
        elif line.startswith("#") and assertions:
            assertions[-1].diagnostics.append(line)
    problems = []
    if planned is None:
        problems.append("no plan: start with `select plan(n);` or end with `select * from finish();`")
    elif not skipped and planned != len(assertions):
        problems.append(f"planned {planned} assertions, but ran {len(assertions)}")
    if not assertions:
        problems.append("no assertion ran")
    return assertions, problems


class PgTapFile(pytest.File):
    """A file of db/tests: one item, which reports many tests."""

    def collect(self) -> Iterator[pytest.Item]:
        yield PgTapItem.from_parent(self, name=self.path.stem)


class PgTapItem(pytest.Item):
    """Runs the file with psql in a database of its own, statement by statement, as psql and pg_prove would."""

    @property
    def file(self) -> str:
        return self.path.relative_to(self.config.rootpath).as_posix()

    def runtest(self) -> None:
        raise NotImplementedError("reported by pytest_runtest_protocol")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.file

    def assertions(self) -> list[Assertion]:
        """Run the file; problems of the file as a whole come last, as failed assertions."""
        pool = databases(self.config)
        try:
            database = pool.copy()
        except (MigrationError, ServerError) as error:
            return [Assertion("migrate", False, diagnostics=[str(error)])]
        except psycopg.Error as error:
            return [Assertion("migrate", False, diagnostics=describe(error).splitlines())]
        try:
            done = self._psql(database)
        finally:
            pool.drop(database)
        assertions, problems = parse_tap(done.stdout)
        if done.returncode != 0:
            errors = done.stderr.strip().splitlines()
            assertions.append(Assertion("runs without an error", False, diagnostics=errors))
        else:
            assertions += [Assertion(problem, False, diagnostics=[f"{self.file}: {problem}"]) for problem in problems]
        return assertions

    def _psql(self, database: Database) -> subprocess.CompletedProcess[str]:
        program = postgres_bin(database.server.version) / "psql"
        conninfo = make_conninfo(
            database.url, options=f"-c statement_timeout={STATEMENT_TIMEOUT} -c client_min_messages=warning"
        )
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-P", "pager=off", "-f", self.file]
        return subprocess.run(
            [program, conninfo, *options],
            cwd=self.config.rootpath,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    inside = file_path.is_relative_to(parent.config.rootpath / "db" / "tests")
    return PgTapFile.from_parent(parent, path=file_path) if file_path.suffix == ".sql" and inside else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Report each assertion of a pgTAP file as a test; other items go pytest's own way."""
    if not isinstance(item, PgTapItem):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    started = time.time()
    assertions = item.assertions()
    duration = (time.time() - started) / len(assertions)
    item.session.testscollected += len(assertions) - 1  # for the percentage in the margin
    for number, assertion in enumerate(assertions):
        start = started + number * duration
        item.ihook.pytest_runtest_logreport(report=report(item, assertion, start, duration))
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def report(item: PgTapItem, assertion: Assertion, start: float, duration: float) -> pytest.TestReport:
    """What pytest shows for one assertion; a failed TODO is an expected failure."""
    outcome, longrepr, more = "passed" if assertion.passed else "failed", None, {}
    if assertion.directive == "SKIP":
        outcome, longrepr = "skipped", (item.file, 0, f"Skipped: {assertion.reason}")
    elif assertion.directive == "TODO" and not assertion.passed:
        outcome, longrepr, more = "skipped", assertion.reason, {"wasxfail": assertion.reason}
    elif not assertion.passed:
        longrepr = "\n".join([f"{item.file}: not ok - {assertion.description}", *assertion.diagnostics])
    return pytest.TestReport(
        nodeid=f"{item.file}::{assertion.description}",
        location=(item.file, 0, assertion.description),
        keywords={item.name: 1},
        outcome=outcome,
        longrepr=longrepr,
        when="call",
        start=start,
        stop=start + duration,
        duration=duration,
        **more,
    )
