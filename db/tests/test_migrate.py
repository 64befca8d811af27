"""scripts/migrate.py, mostly on small migrations and functions of its own, in databases with nothing in them."""

import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import scalar_row

from scripts.migrate import (
    LOCK_KEY,
    MARK,
    MIGRATIONS,
    OWNER,
    MigrationError,
    Report,
    migrate,
    read_functions,
    read_migrations,
    statements,
)
from scripts.servers import ROOT
from scripts.testserver import TestServer

FIRST = f"""
do $$
begin
    if to_regrole('{OWNER}') is null then
        create role {OWNER} nologin;
    end if;
end
$$;
create schema billing authorization {OWNER};
create schema billing_private authorization {OWNER};
select set_config('{MARK}', current_user, true), set_config('role', '{OWNER}', true);
create table billing.things (name text);
select set_config('role', current_setting('{MARK}'), true);
"""
ANSWER = """
create or replace function billing.answer(p_add int default 0) returns int language sql as 'select 42 + p_add';
revoke all on function billing.answer(int) from public;
"""
HELPER = "create or replace function billing_private.helper() returns int language sql as 'select 1';"


class Project:
    """Files to migrate to, and a connection to the database."""

    def __init__(self, directory: Path, conn: psycopg.Connection) -> None:
        self.migrations = directory / "migrations"
        self.functions = directory / "functions"
        self.conn = conn
        self.migration("20250101000001_first", FIRST)
        self.function("maths/answer", ANSWER)
        self.function("private/helper", HELPER)

    def migration(self, name: str, text: str) -> Path:
        return self._write(self.migrations / f"{name}.sql", text)

    def function(self, name: str, text: str) -> Path:
        return self._write(self.functions / f"{name}.sql", text)

    def migrate(self, *, dry_run: bool = False) -> Report:
        return migrate(self.conn, migrations=self.migrations, functions=self.functions, dry_run=dry_run)

    def value(self, query: str) -> object:
        return self.conn.cursor(row_factory=scalar_row).execute(query).fetchone()

    @staticmethod
    def _write(path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def project(tmp_path, empty_database):
    with psycopg.connect(empty_database.url, autocommit=True) as conn:
        yield Project(tmp_path, conn)


def applied_names(report):
    return [migration.name for migration, _ in report.applied]


def test_a_fresh_database_gets_everything_in_order(project):
    project.migration("20250101000002_second", "create table billing.more (like billing.things)")
    report = project.migrate()
    assert applied_names(report) == ["first", "second"]
    assert report.created == ["billing_private.helper()", "billing.answer(integer)"]
    assert project.value("select billing.answer()") == 42
    assert project.value("select array_agg(name order by version) from billing_migrations.applied") == [
        "first",
        "second",
    ]
    assert project.value(f"select proowner = '{OWNER}'::regrole from pg_proc where proname = 'answer'") is True
    assert project.value("select current_user = session_user") is True


def test_the_second_run_changes_nothing(project):
    project.migrate()
    report = project.migrate()
    assert not report.applied
    assert (report.created, report.changed, report.dropped) == ([], [], [])
    assert sorted(report.unchanged) == ["billing.answer(integer)", "billing_private.helper()"]


def test_a_version_that_comes_late_is_applied_too(project):
    project.migrate()
    project.migration("20240101000001_earlier", "create table public.earlier ()")
    assert applied_names(project.migrate()) == ["earlier"]


def test_a_changed_migration_is_refused_by_name(project):
    project.migrate()
    project.migration("20250101000001_first", FIRST + "-- and more")
    with pytest.raises(MigrationError, match=r"20250101000001_first\.sql has changed"):
        project.migrate()


def test_a_database_ahead_of_the_code_is_refused(project):
    later = project.migration("20250101000002_later", "select 1")
    project.migrate()
    later.unlink()
    with pytest.raises(MigrationError, match=r"ahead of the code.* 20250101000002_later"):
        project.migrate()


def record_at_supabase(conn, version, name, statement):
    conn.execute(
        """create schema if not exists supabase_migrations;
           create table if not exists supabase_migrations.schema_migrations (
               version text primary key, statements text[], name text)"""
    )
    conn.execute("insert into supabase_migrations.schema_migrations values (%s, %s, %s)", [version, [statement], name])


def test_what_supabase_applied_counts_as_applied(project):
    project.conn.execute(FIRST)
    record_at_supabase(project.conn, "20250101000001", "first", FIRST)
    report = project.migrate()
    assert [migration.name for migration in report.adopted] == ["first"]
    assert not report.applied
    assert project.value("select count(*) from billing_migrations.applied") == 1
    assert not project.migrate().adopted


def test_the_applications_own_supabase_migrations_are_left_alone(project):
    record_at_supabase(project.conn, "20250101000007", "profiles", "create table public.profiles ()")
    assert applied_names(project.migrate()) == ["first"]


def test_a_migration_of_ours_that_only_supabase_knows_means_ahead(project):
    record_at_supabase(project.conn, "20260101000001", "later", f"select set_config('{MARK}', current_user, true)")
    with pytest.raises(MigrationError, match=r"Supabase has applied 20260101000001_later"):
        project.migrate()


def test_a_version_that_supabase_knows_by_another_name_is_refused(project):
    record_at_supabase(project.conn, "20250101000001", "profiles", "create table public.profiles ()")
    with pytest.raises(MigrationError, match=r"20250101000001 as profiles, not as first"):
        project.migrate()


def test_a_dry_run_tells_everything_and_changes_nothing(project):
    report = project.migrate(dry_run=True)
    assert applied_names(report) == ["first"]
    assert len(report.created) == 2
    assert project.value("select count(*) from pg_namespace where nspname like 'billing%'") == 0


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("select 1;\n\n-- a; comment\ncreate tabel x ();", 4, "tabel"),
        ("select ';';\nselect $a$ ; $a$;\n\ninsert into billing.things values ('x');\nselect 1 / 0;", 5, "by zero"),
        ("select 1;\ndo $$\nbegin\n    raise 'no; not today';\nend\n$$;", 2, "not today"),
    ],
)
def test_broken_sql_is_told_by_file_and_line_and_leaves_nothing(project, text, line, message):
    project.migration("20250101000002_broken", text)
    with pytest.raises(psycopg.Error, match=message) as caught:
        project.migrate()
    assert caught.value.__notes__[0].endswith(f"20250101000002_broken.sql:{line}")
    assert project.value("select count(*) from pg_namespace where nspname like 'billing%'") == 0


def test_a_broken_function_leaves_the_old_one(project):
    project.migrate()
    project.function("maths/answer", ANSWER.replace("42", "43"))
    project.function(
        "maths/broken", "create or replace function billing.broken() returns int languish sql as 'select 1'"
    )
    with pytest.raises(psycopg.errors.SyntaxError) as caught:
        project.migrate()
    assert caught.value.__notes__[0].endswith("broken.sql:1")
    assert project.value("select billing.answer()") == 42


def test_a_changed_body_is_replaced_in_place(project):
    project.migrate()
    oid = project.value("select 'billing.answer(int)'::regprocedure::oid")
    project.function("maths/answer", ANSWER.replace("42", "43"))
    assert project.migrate().changed == ["billing.answer(integer)"]
    assert project.value("select billing.answer()") == 43
    assert project.value("select 'billing.answer(int)'::regprocedure::oid") == oid


def test_a_function_replaced_by_hand_is_put_right(project):
    project.migrate()
    project.conn.execute(
        "create or replace function billing.answer(p_add int = 0) returns int language sql as 'select 7'"
    )
    assert project.migrate().changed == ["billing.answer(integer)"]
    assert project.value("select billing.answer()") == 42


GRANTEES = """
select array_agg(coalesce(rolname, 'public') order by rolname)
  from pg_proc, aclexplode(proacl) left join pg_roles on pg_roles.oid = grantee
 where proname = 'answer' and pronamespace = 'billing'::regnamespace and grantee <> proowner
"""


@pytest.mark.parametrize(
    ("parameters", "result", "signature"),
    [
        ("p_add int default 0", "text", "billing.answer(integer)"),  # another result
        ("p_more int default 0", "int", "billing.answer(integer)"),  # another name of a parameter
        ("p_add int", "int", "billing.answer(integer)"),  # no default any more
        ("p_add int default 0, p_by int default 1", "int", "billing.answer(integer, integer)"),  # one more
    ],
)
def test_what_cannot_be_replaced_is_recreated_with_its_grants(project, parameters, result, signature):
    project.migrate()
    project.conn.execute("grant execute on function billing.answer to pg_monitor")
    project.function(
        "maths/answer",
        f"""create or replace function billing.answer({parameters}) returns {result}
            language sql as 'select 43::{result}';
            revoke all on function billing.answer from public;""",
    )
    report = project.migrate()
    assert report.changed == [signature.replace(", ", ",")]
    assert project.value("select count(*) from pg_proc where proname = 'answer'") == 1
    assert project.value(GRANTEES) == ["pg_monitor"]


def test_another_signature_takes_the_place_of_the_old_one(project):
    project.migrate()
    project.conn.execute("grant execute on function billing.answer to pg_monitor with grant option")
    project.function("maths/answer", ANSWER.replace("int default", "bigint default").replace("(int)", "(bigint)"))
    report = project.migrate()
    assert (report.changed, report.created, report.dropped) == (["billing.answer(bigint)"], [], [])
    assert project.value("select count(*) from pg_proc where proname = 'answer'") == 1
    assert project.value(GRANTEES) == ["pg_monitor"]
    assert project.value("select proacl::text from pg_proc where proname = 'answer'").count("pg_monitor=X*/") == 1


def test_a_function_becomes_a_procedure(project):
    project.migrate()
    project.function("maths/answer", "create or replace procedure billing.answer() language sql as 'select 1'")
    project.migrate()
    assert project.value("select prokind::text from pg_proc where proname = 'answer'") == "p"


def test_a_function_whose_file_is_gone_is_dropped_and_no_other(project):
    project.migration("20250101000002_own", "create function billing.of_a_migration() returns int return 1")
    project.migrate()
    project.conn.execute("create function billing.by_hand() returns int return 1")
    (project.functions / "maths" / "answer.sql").unlink()
    assert project.migrate().dropped == ["billing.answer(integer)"]
    remaining = (
        "select array_agg(proname::text order by proname) from pg_proc where pronamespace = 'billing'::regnamespace"
    )
    assert project.value(remaining) == ["by_hand", "of_a_migration"]


def test_a_function_may_move_to_another_area(project):
    project.migrate()
    (project.functions / "maths" / "answer.sql").unlink()
    project.function("numbers/answer", ANSWER)
    assert "billing.answer(integer)" in project.migrate().unchanged


def test_a_function_in_use_is_not_dropped(project):
    project.migrate()
    project.conn.execute("create view billing.answers as select billing.answer() as answer")
    (project.functions / "maths" / "answer.sql").unlink()
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as caught:
        project.migrate()
    assert "a migration must detach" in caught.value.__notes__[0]


def test_an_overload_of_somebody_else_is_told_and_kept(project):
    project.migrate()
    project.conn.execute("create function billing.answer(text) returns int return 1")
    assert project.migrate().warnings == ["billing.answer(text) has the name of a function of ours, but is none"]


@pytest.mark.parametrize(
    "text",
    [
        "create or replace function billing.other() returns int language sql as 'select 1'",
        ANSWER + ANSWER.replace("answer", "other"),
        "-- create or replace function billing.wrong()",
    ],
)
def test_a_file_creates_what_its_path_says_and_nothing_else(project, text):
    project.function("maths/wrong", text)
    with pytest.raises(MigrationError, match=r"wrong\.sql: must create billing\.wrong and nothing else"):
        project.migrate()


def test_a_function_in_two_areas_is_refused(project):
    project.function("other/answer", ANSWER)
    with pytest.raises(MigrationError, match=r"another file creates billing\.answer"):
        read_functions(project.functions)


@pytest.mark.parametrize("name", ["first", "2025_first", "20250101000001_First"])
def test_a_migration_has_a_version_and_a_name(project, name):
    project.migration(name, "select 1")
    with pytest.raises(MigrationError, match="the name is not"):
        read_migrations(project.migrations)


def test_a_version_is_used_once(project):
    project.migration("20250101000001_again", "select 1")
    with pytest.raises(MigrationError, match="version 20250101000001 is"):
        read_migrations(project.migrations)


def test_a_migration_does_not_end_the_transaction(project):
    project.migration("20250101000002_own", "create table billing.x ();\ncommit;")
    with pytest.raises(MigrationError, match=r"20250101000002_own\.sql:2: all migrations are one transaction"):
        project.migrate()


def test_a_migration_leaves_the_role_as_it_found_it(project):
    project.migration("20250101000002_role", f"set local role {OWNER}")
    with pytest.raises(MigrationError, match=f"leaves the role {OWNER}"):
        project.migrate()


def test_statements_have_the_lines_they_start_on():
    text = "select 1;\n/* ; */\nselect ';', e'\\';', \"a;b\" ;; do $x$ ; $y$ ; $x$;\n\nselect\n2"
    assert [line for line, _ in statements(text)] == [1, 3, 3, 5]


def command(url, *options):
    return [sys.executable, "-m", "scripts.migrate", "--database-url", url, *options]


def test_two_runs_at_once_apply_everything_once(empty_database):
    with psycopg.connect(empty_database.url, autocommit=True) as conn:
        conn.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
        runs = [
            subprocess.Popen(command(empty_database.url), cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = "
        waiting += "(select oid from pg_database where datname = current_database())"
        deadline = time.monotonic() + 30
        while conn.execute(waiting).fetchone() != (2,):
            assert time.monotonic() < deadline, "the runs do not wait for each other"
            time.sleep(0.05)
        conn.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])
        outputs = sorted(run.communicate(timeout=60)[0] for run in runs)
        assert [run.returncode for run in runs] == [0, 0]
        files = len(list(MIGRATIONS.glob("*.sql")))
        assert conn.execute("select count(*) from billing_migrations.applied").fetchone() == (files,)
    assert [output.count("applied   ") for output in outputs] == [files, 0]
    assert "nothing to apply" in outputs[1]


def test_the_command_tells_a_dry_run_and_an_unreachable_database(empty_database):
    dry = subprocess.run(
        command(empty_database.url, "--dry-run"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert dry.returncode == 0
    assert dry.stdout.endswith("Dry run: all of this was rolled back.\n")
    away = command("postgresql://nobody@127.0.0.1:1/none")
    unreachable = subprocess.run(away, cwd=ROOT, capture_output=True, text=True, check=False)
    assert unreachable.returncode == 3
    assert unreachable.stderr.startswith("No connection to the database: ")


def test_an_installer_need_not_be_a_superuser(server):
    """On managed PostgreSQL: CREATEROLE, and a database of its own. In a cluster where none of our roles exists yet."""
    managed = TestServer(server.version)
    try:
        with managed.connect("postgres") as conn:
            conn.execute("create role installer login createrole createdb")
            conn.execute("create database app owner installer")
        with psycopg.connect(managed.conninfo("app", user="installer"), autocommit=True) as conn:
            assert migrate(conn).applied
            again = migrate(conn)
            assert not again.applied
            assert not again.changed
            strangers = (
                "select count(*) from pg_proc where pronamespace = 'billing'::regnamespace and proowner <> %s::regrole"
            )
            assert conn.execute(strangers, [OWNER]).fetchone() == (0,)
            conn.execute("set role billing_api")
            assert conn.execute("select count(*) from billing.list_tiers()").fetchone() == (8,)
    finally:
        managed.stop()


def test_accounts_that_were_frozen_stay_frozen(empty_database):
    """The payments' migration makes a reason of what was a status only: an admin's freeze."""
    with empty_database.connect() as conn:
        for path in sorted(MIGRATIONS.glob("*.sql")):
            if path.name == "20250116000001_payments.sql":
                conn.execute(
                    """insert into billing.credit_accounts (user_id, tier, status, created_at, updated_at)
                       select gen_random_uuid(), 'free', status, now(), now()
                       from unnest(array['active', 'frozen', 'closed']) status"""
                )
            with conn.transaction(), conn.cursor(row_factory=scalar_row) as cursor:
                cursor.execute(path.read_text())
        freezes = conn.execute(
            """select status, cause
               from billing.credit_accounts left join billing.account_freezes using (user_id)"""
        ).fetchall()
    assert sorted(map(tuple, freezes), key=str) == [("active", None), ("closed", None), ("frozen", "admin")]


def test_accounts_are_told_of_what_falls_after_the_upgrade(empty_database):
    """The events' migration arms each account by its balance: one that is low already has nothing to tell of that."""
    with empty_database.connect() as conn:
        for path in sorted(MIGRATIONS.glob("*.sql")):
            if path.name == "20250118000001_jobs_and_events.sql":
                conn.execute(
                    """insert into billing.credit_accounts (user_id, tier, balance, created_at, updated_at)
                       select gen_random_uuid(), 'free', balance, now(), now()
                       from unnest(array[0, 0.009999999, 0.01, 0.999999999, 1, 7]) balance"""
                )
            with conn.transaction(), conn.cursor(row_factory=scalar_row) as cursor:
                cursor.execute(path.read_text())
        armed = conn.execute("select alert_below from billing.credit_accounts order by balance").fetchall()
    assert [row.alert_below for row in armed] == [None, None, Decimal("0.01"), Decimal("0.01"), 1, 1]
