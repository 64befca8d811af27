"""Bring a database to what db/migrations and db/functions say, in one transaction.

    python -m scripts.migrate [--database-url URL] [--dry-run]

Migrations are applied once each, in the order of their versions; what the Supabase CLI has recorded counts as applied.
Then every function file is loaded: replaced where PostgreSQL allows it, otherwise dropped and created with the grants
it had; a function whose file is gone is dropped. Runs at the same time wait for each other.

Exit codes: 0 done, 1 refused or failed (nothing has changed), 3 no connection.
"""

import argparse
import hashlib
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import errors, generators, sql
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import scalar_row

from scripts.servers import ROOT, ServerError, reachable_database

MIGRATIONS = ROOT / "db" / "migrations"
FUNCTIONS = ROOT / "db" / "functions"

OWNER = "billing_owner"
LOCK_KEY = 5_482_037_114_902_316  # of the advisory lock; any number that nobody else uses
# A migration that waits for a table makes everybody behind it wait as well.
LOCK_TIMEOUT = "30s"

# Our own records. A schema apart, because it must be there before the first migration creates anything.
RECORDS = """
create schema if not exists billing_migrations;
comment on schema billing_migrations is 'What scripts/migrate.py has done to this database.';
create table if not exists billing_migrations.applied (
    version    text primary key,
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default clock_timestamp()
);
comment on table billing_migrations.applied is
    'The migrations that this database has; checksum is the SHA-256 of the file.';
create table if not exists billing_migrations.functions (
    signature text primary key,
    path      text not null
);
comment on table billing_migrations.functions is
    'The functions that came from files in db/functions: one whose file is gone is dropped, no other ever is.';
"""

# Every migration of ours starts by switching to billing_owner and remembers the installer under this name. Among the
# migrations that the Supabase CLI has recorded, it tells ours from those of the application around us.
MARK = "billing.installer"

FILE_NAME = re.compile(r"(?P<version>\d{14})_(?P<name>[a-z0-9_]+)\.sql")
# Comments, strings, quoted names and dollar-quoted bodies (in which nothing has a meaning for us), and semicolons.
TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | \b[eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*"
        | (?P<tag>\$\w*\$).*?(?P=tag) | (?P<end>;)""",
    re.DOTALL | re.VERBOSE,
)
CREATES = re.compile(r"\bcreate\s+(?:or\s+replace\s+)?(?:function|procedure)\s+([\w.]+)", re.IGNORECASE)
TRANSACTION = re.compile(r"\s*(begin|start\s+transaction|commit|rollback|abort)\b", re.IGNORECASE)


class MigrationError(Exception):
    """The database cannot be brought to this state; the message says which file or version is in the way."""


class Migration(NamedTuple):
    """One file of db/migrations."""

    version: str
    name: str
    path: Path
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class FunctionFile(NamedTuple):
    """One file of db/functions, and the qualified name that its path stands for."""

    schema: str
    name: str
    path: Path
    text: str


class Routine(NamedTuple):
    """One function or procedure as the catalogue has it."""

    oid: int
    signature: str
    row: str  # changes whenever the catalogue's row is written
    definition: str  # with its owner, comment and grants
    grants: list[tuple[str, bool]]  # roles other than the owner that may execute it; with grant option?


@dataclass
class Report:
    """What a run did."""

    applied: list[tuple[Migration, float]] = field(default_factory=list)  # with seconds
    adopted: list[Migration] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> Iterable[str]:
        """For a person to read."""
        for migration in self.adopted:
            yield f"adopted   {migration.path.name} (recorded by the Supabase CLI)"
        for migration, seconds in self.applied:
            yield f"applied   {migration.path.name} ({seconds * 1000:.0f} ms)"
        if not self.applied:
            yield "migrations: nothing to apply"
        for verb in ("changed", "dropped"):
            for signature in getattr(self, verb):
                yield f"{verb:9} {signature}"
        counts = [f"{len(getattr(self, verb))} {verb}" for verb in ("created", "changed", "dropped", "unchanged")]
        yield f"functions: {', '.join(counts)}"
        for warning in self.warnings:
            yield f"warning: {warning}"


def read_migrations(directory: Path) -> list[Migration]:
    """The migrations in order; raises MigrationError for a name that is none, and for a version used twice."""
    found: dict[str, Migration] = {}
    for path in sorted(directory.glob("*.sql")):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{show(path)}: the name is not <14 digits>_<name>.sql")
        migration = Migration(match["version"], match["name"], path, path.read_text(encoding="utf-8"))
        if migration.version in found:
            raise MigrationError(
                f"{show(path)}: version {migration.version} is {found[migration.version].path.name} too"
            )
        for line, statement in statements(migration.text):
            if TRANSACTION.match(statement):
                raise MigrationError(f"{show(path)}:{line}: all migrations are one transaction, and a file ends none")
        found[migration.version] = migration
    return list(found.values())


def read_functions(directory: Path) -> list[FunctionFile]:
    """The function files, helpers first; raises MigrationError when a file creates anything but what its path says."""
    files = []
    for path in sorted(directory.rglob("*.sql"), key=lambda path: (path.parent.name != "private", path)):
        schema = "billing_private" if path.parent.name == "private" else "billing"
        text = path.read_text(encoding="utf-8")
        created = CREATES.findall(without_bodies(text))
        if created != [f"{schema}.{path.stem}"]:
            found = ", ".join(created) or "nothing"
            raise MigrationError(
                f"{show(path)}: must create {schema}.{path.stem} and nothing else, but creates {found}"
            )
        files.append(FunctionFile(schema, path.stem, path, text))
    names = [(file.schema, file.name) for file in files]
    for file in files:
        if names.count((file.schema, file.name)) > 1:
            raise MigrationError(f"{show(file.path)}: another file creates {file.schema}.{file.name} too")
    return files


def without_bodies(text: str) -> str:
    """The text with comments, strings and function bodies blanked, every line where it was."""
    return TOKEN.sub(lambda token: token[0] if token["end"] else re.sub(r"[^\n]", " ", token[0]), text)


def statements(text: str) -> Iterable[tuple[int, str]]:
    """The statements of a file with the lines they start on, blanked: for messages and checks, not to be run."""
    blank, start = without_bodies(text), 0
    for statement in blank.split(";"):
        if statement.strip():
            lead = len(statement) - len(statement.lstrip())
            yield blank.count("\n", 0, start + lead) + 1, statement.strip()
        start += len(statement) + 1


def show(path: Path) -> str:
    """The path as seen from the project's top, if it lies in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def run_file(conn: psycopg.Connection, path: Path, text: str) -> None:
    """Run a whole file in the open transaction; raises the database's error with file and line as a note."""
    conn.pgconn.send_query(text.encode(conn.info.encoding))
    results = conn.wait(generators.fetch_many(conn.pgconn))
    last = results[-1]
    if last.status != ExecStatus.FATAL_ERROR:
        return
    error = errors.error_from_result(last)
    position = error.diag.statement_position
    if position is not None:
        line = text.count("\n", 0, int(position) - 1) + 1
    else:  # an error while running, not while reading: it is in the statement after those that have a result
        line = dict(enumerate(line for line, _ in statements(text))).get(len(results) - 1, 1)
    error.add_note(f"{show(path)}:{line}")
    raise error


def pending(conn: psycopg.Connection, migrations: list[Migration], report: Report) -> list[Migration]:
    """The migrations that this database lacks; adopts what Supabase has applied.

    Raises MigrationError when a recorded file has changed since, or when the database is ahead of the code.
    """
    ours = {migration.version: migration for migration in migrations}
    recorded = conn.execute("select version, name, checksum from billing_migrations.applied").fetchall()
    for version, name, checksum in recorded:
        if version not in ours:
            raise MigrationError(
                f"The database is ahead of the code: it has migration {version}_{name}, which is no file."
            )
        if ours[version].checksum != checksum:
            raise MigrationError(
                f"{show(ours[version].path)} has changed since it was applied here. Applied migrations stay as they"
                " are: put the change into another one."
            )
    applied = {version for version, _, _ in recorded}
    for version, name, is_ours in supabase_records(conn):
        if version not in ours:
            if is_ours:
                raise MigrationError(
                    f"The database is ahead of the code: Supabase has applied {version}_{name}, which is no file."
                )
        elif name not in (ours[version].name, None, ""):
            raise MigrationError(
                f"Supabase has recorded version {version} as {name}, not as {ours[version].name}: two migrations have"
                " the same version."
            )
        elif version not in applied:
            record(conn, ours[version])
            applied.add(version)
            report.adopted.append(ours[version])
    return [migration for migration in migrations if migration.version not in applied]


def supabase_records(conn: psycopg.Connection) -> list[tuple[str, str | None, bool]]:
    """Version, name, and whether it is one of ours, of each migration that the Supabase CLI has applied."""
    exists = conn.execute("select to_regclass('supabase_migrations.schema_migrations') is not null").fetchone()
    if exists != (True,):
        return []
    return conn.execute(
        """select version, name, coalesce(strpos(array_to_string(statements, ' '), %s) > 0, false)
             from supabase_migrations.schema_migrations
            order by version""",
        [MARK],
    ).fetchall()


def record(conn: psycopg.Connection, migration: Migration) -> None:
    """Remember the migration as applied."""
    conn.execute(
        "insert into billing_migrations.applied (version, name, checksum) values (%s, %s, %s)",
        [migration.version, migration.name, migration.checksum],
    )


def apply(conn: psycopg.Connection, migration: Migration) -> float:
    """Run and record one migration; returns the seconds it took."""
    started = time.perf_counter()
    role = current_role(conn)
    run_file(conn, migration.path, migration.text)
    if current_role(conn) != role:
        raise MigrationError(f"{show(migration.path)}: leaves the role {current_role(conn)}, and found {role}")
    record(conn, migration)
    return time.perf_counter() - started


def current_role(conn: psycopg.Connection) -> str:
    return conn.cursor(row_factory=scalar_row).execute("select current_user::text").fetchone()


def routines(conn: psycopg.Connection, schema: str, name: str) -> dict[int, Routine]:
    """All functions and procedures of that name, by oid."""
    rows = conn.execute(
        """
        select p.oid::int8, format('%%s', p.oid::regprocedure), p.xmin::text || p.ctid::text,
               concat_ws(E'\n', pg_get_functiondef(p.oid), p.proowner, obj_description(p.oid, 'pg_proc'), p.proacl),
               array(
                   select format('%%s:%%s', a.is_grantable::int, r.rolname)
                     from aclexplode(p.proacl) as a join pg_roles as r on r.oid = a.grantee
                    where a.grantee <> p.proowner)
          from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
         where n.nspname = %s and p.proname = %s and p.prokind in ('f', 'p', 'w')
        """,
        [schema, name],
    ).fetchall()
    return {
        oid: Routine(oid, signature, row, definition, [(role[2:], role[0] == "1") for role in grants])
        for oid, signature, row, definition, grants in rows
    }


def load_function(conn: psycopg.Connection, file: FunctionFile, managed: set[str], report: Report) -> str:
    """Create or replace what the file says; returns its signature."""
    before = routines(conn, file.schema, file.name)
    create_or_recreate(conn, file, [routine for routine in before.values() if routine.signature in managed])
    after = routines(conn, file.schema, file.name)

    written = [routine for oid, routine in after.items() if oid not in before or before[oid].row != routine.row]
    if len(written) != 1:
        raise MigrationError(f"{show(file.path)}: does not create {file.schema}.{file.name}")
    (routine,) = written
    others = [other for other in before.values() if other.oid != routine.oid]
    for other in others:
        if other.oid in after and other.signature in managed:
            drop(conn, other.signature, file.path)
        elif other.oid in after:
            report.warnings.append(f"{other.signature} has the name of a function of ours, but is none")
    replaced = [other for other in others if other.oid not in after or other.signature in managed]
    restore_grants(conn, routine, replaced)

    if routine.oid not in before:
        (report.changed if replaced else report.created).append(routine.signature)
    elif before[routine.oid].definition == routine.definition:
        report.unchanged.append(routine.signature)
    else:
        report.changed.append(routine.signature)
    return routine.signature


def create_or_recreate(conn: psycopg.Connection, file: FunctionFile, managed: list[Routine]) -> None:
    """Run the file; where PostgreSQL refuses to replace, drop what files of ours have created, and run it again."""
    try:
        with conn.transaction():
            run_file(conn, file.path, file.text)
    except (errors.InvalidFunctionDefinition, errors.WrongObjectType, errors.AmbiguousFunction):
        # A result type, a parameter's name or a default cannot be replaced, and beside the old signature a comment or
        # grant without one is ambiguous. If the mistake is another, it comes again.
        for routine in managed:
            drop(conn, routine.signature, file.path)
        run_file(conn, file.path, file.text)


def restore_grants(conn: psycopg.Connection, routine: Routine, replaced: list[Routine]) -> None:
    """Give the roles that could execute the replaced functions the same right; PUBLIC has what the file says."""
    grant = sql.SQL("grant execute on routine {} to {}{}")
    for role, grantable in sorted({grant for other in replaced for grant in other.grants}):
        option = sql.SQL(" with grant option" if grantable else "")
        conn.execute(grant.format(sql.SQL(routine.signature), sql.Identifier(role), option))


def drop(conn: psycopg.Connection, signature: str, path: Path) -> None:
    """Drop a function; raises the database's error if a view, a policy or a default uses it."""
    try:
        conn.execute(sql.SQL("drop routine {}").format(sql.SQL(signature)))
    except errors.DependentObjectsStillExist as error:
        error.add_note(f"{show(path)}: a migration must detach these before {signature} can go")
        raise


def load_functions(conn: psycopg.Connection, files: list[FunctionFile], report: Report) -> None:
    """Load all files as the owner of the functions, and drop the recorded functions that no file creates any more."""
    recorded = dict(conn.execute("select signature, path from billing_migrations.functions").fetchall())
    if not files and not recorded:
        return
    installer = current_role(conn)
    # Names must be qualified, so that a signature reads the same everywhere; bodies may use what comes later.
    conn.execute("select set_config('search_path', '', true), set_config('check_function_bodies', 'off', true)")
    conn.execute("select set_config('role', %s, true)", [OWNER])
    current = {load_function(conn, file, set(recorded), report): file for file in files}
    for signature in sorted(set(recorded) - set(current)):
        exists = conn.execute("select to_regprocedure(%s) is not null", [signature]).fetchone()
        if exists == (True,):
            drop(conn, signature, Path(recorded[signature]))
            report.dropped.append(signature)
    conn.execute("select set_config('role', %s, true)", [installer])
    conn.execute("delete from billing_migrations.functions")
    with conn.cursor() as cursor:
        cursor.executemany(
            "insert into billing_migrations.functions (signature, path) values (%s, %s)",
            [(signature, show(file.path)) for signature, file in current.items()],
        )


def migrate(
    conn: psycopg.Connection,
    *,
    migrations: Path = MIGRATIONS,
    functions: Path = FUNCTIONS,
    dry_run: bool = False,
) -> Report:
    """Apply what is missing in one transaction of its own; with `dry_run` it is rolled back.

    The connection gives rows as tuples. Raises MigrationError, or psycopg.Error with the file and line as a note;
    either way the database is as it was.
    """
    if conn.info.transaction_status != TransactionStatus.IDLE:
        raise ValueError("migrate() needs a connection that is not in a transaction")
    migration_files, function_files = read_migrations(migrations), read_functions(functions)
    report = Report()
    with conn.transaction(force_rollback=dry_run):
        # Whoever waited here for another run must see what that run has done.
        conn.execute("set transaction isolation level read committed")
        conn.execute("select pg_advisory_xact_lock(%s)", [LOCK_KEY])
        conn.execute("select set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        conn.execute("select set_config('client_min_messages', 'warning', true)")
        conn.execute(RECORDS)
        for migration in pending(conn, migration_files, report):
            report.applied.append((migration, apply(conn, migration)))
        load_functions(conn, function_files, report)
    return report


def tell_notice(diag: psycopg.errors.Diagnostic) -> None:
    """Print a warning of the server, with its remedy."""
    print(f"{diag.severity}: {diag.message_primary}", file=sys.stderr)
    if diag.message_hint:
        print(f"  HINT: {diag.message_hint}", file=sys.stderr)


def describe(error: psycopg.Error) -> str:
    """The error as psql shows it, after the file and line it comes from."""
    diag = error.diag
    lines = [*getattr(error, "__notes__", []), f"{diag.sqlstate}: {diag.message_primary or error}"]
    lines += [
        f"{label}: {text}" for label, text in (("DETAIL", diag.message_detail), ("HINT", diag.message_hint)) if text
    ]
    return "\n  ".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--database-url",
        help="default: DATABASE_URL, else the embedded server, started for the purpose if need be",
    )
    parser.add_argument("--dry-run", action="store_true", help="do it all, tell what was done, and roll it back")
    arguments = parser.parse_args()
    try:
        with (
            reachable_database(arguments.database_url) as url,
            psycopg.connect(url, autocommit=True, prepare_threshold=None, application_name="migrate") as conn,
        ):
            conn.add_notice_handler(tell_notice)
            return run(conn, dry_run=arguments.dry_run)
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
    except ServerError as error:
        print(error, file=sys.stderr)
    return 3


def run(conn: psycopg.Connection, *, dry_run: bool) -> int:
    """Migrate and print what happened; returns the exit code."""
    try:
        report = migrate(conn, dry_run=dry_run)
    except MigrationError as error:
        print(f"{error}\nNothing has changed.", file=sys.stderr)
        return 1
    except psycopg.Error as error:
        print(f"{describe(error)}\nNothing has changed.", file=sys.stderr)
        return 1
    print(*report.lines(), sep="\n")
    if dry_run:
        print("Dry run: all of this was rolled back.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
