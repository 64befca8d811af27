"""What db/migrations and db/functions leave in a database, read from the files, and whether it is there like that.

The migrations are plain enough for that: no dynamic SQL creates a table, and every constraint but keys has a name.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from scripts.examination import FAILED, OK, RUNBOOK, SKIPPED, WARNING, Doctor, Result, some
from scripts.migrate import (
    FUNCTIONS,
    LOCK_KEY,
    MIGRATIONS,
    MigrationError,
    Report,
    load_functions,
    pending,
    read_functions,
    read_migrations,
    statements,
)

SCHEMAS = ("billing", "billing_private")
OUR_SCHEMAS = (*SCHEMAS, "billing_migrations")

# An acl that is null is the default, by which PUBLIC executes functions and has nothing else.
PUBLIC_RIGHTS = """
select 'schema' as kind, nspname::text as name from pg_namespace cross join lateral aclexplode(nspacl) a
where nspname = any (%(schemas)s) and a.grantee = 0
union
select case when c.relkind = 'S' then 'sequence' else 'table' end, n.nspname || '.' || c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join lateral aclexplode(c.relacl) a
where n.nspname = any (%(schemas)s) and a.grantee = 0
union
select 'table', n.nspname || '.' || c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute t on t.attrelid = c.oid
cross join lateral aclexplode(t.attacl) a
where n.nspname = any (%(schemas)s) and a.grantee = 0
union
select 'function', n.nspname || '.' || p.proname
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
where n.nspname = any (%(schemas)s) and a.grantee = 0
"""
RELATION = r"((?:billing|billing_private)\.\w+)"
OF_CONSTRAINTS = re.compile(rf"(?:create|alter) (?:table|domain) {RELATION}")
REFERENCES = re.compile(r"\breferences billing")
CONSTRAINT = re.compile(r"(?P<drop>drop )?constraint (?:if exists )?(?P<name>\w+)")
API_GRANT = re.compile(r"grant execute on (?:function|procedure) (billing\.\w+)[^;]*? to ([^;]*);")


class Schema(NamedTuple):
    """Qualified names; those of constraints and triggers come with their table, or domain."""

    tables: set[str]
    views: set[str]
    constraints: set[tuple[str, str]]
    references: Counter[str]  # how many foreign keys a table has
    indexes: set[str]
    triggers: set[tuple[str, str]]
    always: set[tuple[str, str]]  # triggers that fire in replication too
    secured: set[str]  # tables with row level security


@cache
def expected_schema() -> Schema:
    """Read from the migrations, in their order."""
    schema = Schema(set(), set(), set(), Counter(), set(), set(), set(), set())
    for migration in read_migrations(MIGRATIONS):
        for _, statement in statements(migration.text):
            read_statement(" ".join(statement.split()), schema)
    return schema


def read_statement(statement: str, schema: Schema) -> None:
    """Add what a statement creates, and remove what it drops."""
    for pattern, names in (
        (rf"create table {RELATION}", schema.tables),
        (rf"create (?:or replace )?view {RELATION}", schema.views),
        (rf"alter table {RELATION} enable row level security", schema.secured),
    ):
        if match := re.match(pattern, statement):
            names.add(match[1])
    if match := OF_CONSTRAINTS.match(statement):
        for found in CONSTRAINT.finditer(statement):
            change = schema.constraints.discard if found["drop"] else schema.constraints.add
            change((match[1], found["name"]))
        schema.references[match[1]] += len(REFERENCES.findall(statement))
    if match := re.match(rf"create (?:unique )?index (\w+) on {RELATION}", statement):
        schema.indexes.add(f"{match[2].partition('.')[0]}.{match[1]}")
    if match := re.match(rf"create trigger (\w+) .*? on {RELATION} ", statement):
        schema.triggers.add((match[2], match[1]))
    if match := re.match(rf"alter table {RELATION} enable always trigger (\w+)", statement):
        schema.always.add((match[1], match[2]))
    if match := re.match(rf"drop (table|view|index) {RELATION}", statement):
        getattr(schema, {"table": "tables", "view": "views", "index": "indexes"}[match[1]]).discard(match[2])


@cache
def granted_to_api() -> set[str]:
    """The functions that their files let billing_api execute."""
    found = (API_GRANT.findall(" ".join(file.text.split())) for file in read_functions(FUNCTIONS))
    return {name for grants in found for name, roles in grants if "billing_api" in roles}


def check_migrations(doctor: Doctor) -> Iterator[Result]:
    if doctor.row("select to_regclass('billing_migrations.applied') is null as missing").missing:
        yield Result(FAILED, "scripts/migrate.py has never been here", "make migrate")
        return
    files = read_migrations(MIGRATIONS)
    waiting = pending(doctor.conn, files, Report())
    if waiting:
        yield Result(FAILED, f"not applied: {some([migration.path.name for migration in waiting])}", "make migrate")
    else:
        yield Result(OK, f"all {len(files)} applied, the last one is {files[-1].path.name}")


def all_applied(doctor: Doctor) -> bool:
    if doctor.row("select to_regclass('billing_migrations.applied') is null as missing").missing:
        return False
    try:
        return not pending(doctor.conn, read_migrations(MIGRATIONS), Report())
    except MigrationError:
        return False


def check_functions(doctor: Doctor) -> Iterator[Result]:
    """Loads every file as make migrate does, in a transaction that is rolled back, and tells what changed by it.

    Not while migrations are missing: those take locks.
    """
    if doctor.row("select pg_try_advisory_xact_lock(%s) as locked", LOCK_KEY).locked is not True:
        yield Result(WARNING, "a migration is running", "try again when it is done")
        return
    if not all_applied(doctor):
        yield Result(SKIPPED, "compared once the migrations are those of the files")
        return
    report = Report()
    load_functions(doctor.conn, read_functions(FUNCTIONS), report)
    kinds = {
        "not what its file says": report.changed,
        "missing": report.created,
        "without a file": report.dropped,
    }
    for problem, signatures in kinds.items():
        if signatures:
            yield Result(FAILED, f"{problem}: {some(sorted(signatures))}", "make migrate")
    for warning in report.warnings:
        yield Result(WARNING, warning, "drop it, or rename it")
    if not any(kinds.values()):
        yield Result(OK, f"all {len(report.unchanged)} are what their files say")


def actual_constraints(doctor: Doctor) -> dict[tuple[str, str], bool]:
    """Of our tables and domains, and whether each holds for every row. PostgreSQL 18 can also switch one off."""
    return {
        (row.of, row.name): row.holds
        for row in doctor.rows(
            """select n.nspname || '.' || coalesce(t.typname, r.relname) as of, c.conname::text as name,
                      c.convalidated and coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) as holds
               from pg_constraint c
               left join pg_class r on r.oid = c.conrelid and c.conrelid <> 0
               left join pg_type t on t.oid = c.contypid and c.contypid <> 0
               join pg_namespace n on n.oid = coalesce(r.relnamespace, t.typnamespace)
               where n.nspname = any (%s) and c.contype in ('c', 'f', 'p', 'u', 'x')""",
            list(SCHEMAS),
        )
    }


def check_schema(doctor: Doctor) -> Iterator[Result]:
    """Tables, views, constraints, indexes, triggers and row level security, as the migrations have made them."""
    expected, constraints = expected_schema(), actual_constraints(doctor)
    rows = doctor.rows(
        """select n.nspname || '.' || c.relname as name, c.relkind::text as kind, c.relrowsecurity as secured,
                  coalesce(i.indisvalid, true) as valid,
                  c.relkind <> 'r' or exists (select from pg_index where indrelid = c.oid and indisprimary) as keyed,
                  (select count(*) from pg_constraint where conrelid = c.oid and contype = 'f') as keys
           from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_index i on i.indexrelid = c.oid
           where n.nspname = any (%s)""",
        list(SCHEMAS),
    )
    triggers = {
        (row.of, row.name): row.enabled
        for row in doctor.rows(
            """select format('%s.%s', n.nspname, c.relname) as of, t.tgname::text as name, t.tgenabled::text as enabled
               from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
               where n.nspname in ('billing', 'billing_private') and not t.tgisinternal"""
        )
    }
    there = {row.name for row in rows}
    ordinary = expected.triggers - expected.always
    problems = {
        "missing": sorted(
            (expected.tables | expected.views | expected.indexes) - there
            | {f"{name} of {of}" for of, name in expected.constraints - constraints.keys()}
            | {f"the trigger {name} of {of}" for of, name in ordinary - triggers.keys()}
            | {f"the primary key of {row.name}" for row in rows if not row.keyed}
            | {f"a foreign key of {row.name}" for row in rows if row.keys < expected.references[row.name]}
        ),
        "not valid": sorted(
            {f"{name} of {of}" for (of, name), holds in constraints.items() if not holds}
            | {row.name for row in rows if not row.valid}
        ),
        "switched off": sorted(
            {f"the trigger {name} of {of}" for of, name in ordinary if triggers.get((of, name)) == "D"}
            | {f"row level security of {row.name}" for row in rows if row.name in expected.secured and not row.secured}
        ),
    }
    remedies = {
        "missing": "create it again as its migration does: grep -rn NAME db/migrations",
        "not valid": "alter table TABLE validate constraint NAME, or reindex index concurrently NAME",
        "switched off": "alter table TABLE enable trigger NAME, or enable row level security",
    }
    for problem, names in problems.items():
        if names:
            yield Result(FAILED, f"{problem}: {some(names)}", remedies[problem])
    if not any(problems.values()):
        yield Result(
            OK,
            f"{len(expected.tables)} tables, {len(expected.views)} views, {len(constraints)} constraints and"
            f" {len(expected.indexes)} indexes are there and valid",
        )


def check_append_only(doctor: Doctor) -> Iterator[Result]:
    """The triggers before UPDATE, DELETE and TRUNCATE for each statement: their type is 2 + 8 + 16 + 32."""
    expected = expected_schema().always
    good = {
        (row.of, row.name)
        for row in doctor.rows(
            """select format('%s.%s', n.nspname, c.relname) as of, t.tgname::text as name
               from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
               join pg_proc p on p.oid = t.tgfoid and p.proname = 'refuse_change'
               join pg_namespace pn on pn.oid = p.pronamespace and pn.nspname = 'billing_private'
               where n.nspname in ('billing', 'billing_private') and t.tgenabled = 'A' and t.tgtype = 58"""
        )
    }
    for of, name in sorted(expected - good):
        remedy = (
            f"alter table {of} enable always trigger {name};  then {RUNBOOK}#entry_changed: who had it off, and why?"
        )
        yield Result(FAILED, f"{of} can be changed: its trigger {name} is missing, off, or not the one", remedy)
    if expected <= good:
        yield Result(OK, f"ledger, burns, admin log and checkpoints refuse changes ({len(good)} triggers, always)")


def check_privileges(doctor: Doctor) -> Iterator[Result]:
    """billing_api executes the API and nothing else, PUBLIC does nothing, and billing_monitor only reads."""
    missing = doctor.rows(
        """select name from unnest(array['billing_owner', 'billing_api', 'billing_monitor']) name
           where to_regrole(name) is null"""
    )
    if missing:
        yield Result(FAILED, f"there is no role {some([row.name for row in missing])}", "make migrate")
        return
    results = [*execute_results(doctor), *table_results(doctor), *public_results(doctor)]
    yield from results
    if not results:
        yield Result(OK, f"billing_api executes {len(granted_to_api())} functions and has no table; PUBLIC has nothing")


def execute_results(doctor: Doctor) -> Iterator[Result]:
    executable = {
        row.name
        for row in doctor.rows(
            """select n.nspname || '.' || p.proname as name
               from pg_proc p join pg_namespace n on n.oid = p.pronamespace
               where n.nspname = any (%s) and has_function_privilege('billing_api', p.oid, 'execute')""",
            list(SCHEMAS),
        )
    }
    public = {row.name for row in doctor.rows(PUBLIC_RIGHTS, schemas=list(OUR_SCHEMAS)) if row.kind == "function"}
    lacking, excess = granted_to_api() - executable, executable - granted_to_api() - public
    if not doctor.row("select has_schema_privilege('billing_api', 'billing', 'usage') as may").may:
        yield Result(
            FAILED, "billing_api may not use the schema billing", "grant usage on schema billing to billing_api;"
        )
    if lacking:
        yield Result(FAILED, f"billing_api may not execute {some(sorted(lacking))}", "make migrate")
    if excess:
        revoke = f"revoke execute on routine {min(excess)} from billing_api;"
        yield Result(FAILED, f"billing_api may execute {some(sorted(excess))}, which is not the API", revoke)


def table_results(doctor: Doctor) -> Iterator[Result]:
    """Rights on tables and views that the two roles have themselves or through a column; PUBLIC's are told apart."""
    rows = doctor.rows(
        """with granted as (
               select c.oid, c.relname, n.nspname, a.grantee, a.privilege_type
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
               cross join lateral aclexplode(c.relacl) a
               union all
               select c.oid, c.relname, n.nspname, a.grantee, a.privilege_type
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
               join pg_attribute t on t.attrelid = c.oid and t.attnum > 0
               cross join lateral aclexplode(t.attacl) a
           )
           select distinct g.nspname || '.' || g.relname as name, r.rolname as role
           from granted g join pg_roles r on r.oid = g.grantee
           where g.nspname = any (%s)
               and (r.rolname = 'billing_api' or r.rolname = 'billing_monitor' and g.privilege_type <> 'SELECT')
           order by 1, 2""",
        list(OUR_SCHEMAS),
    )
    for row in rows:
        may = "may do more than read" if row.role == "billing_monitor" else "has rights on the table"
        revoke = f"revoke all on {row.name} from {row.role};" + (
            f" grant select on {row.name} to {row.role};" if row.role == "billing_monitor" else ""
        )
        yield Result(FAILED, f"{row.role} {may} {row.name}", revoke)


def public_results(doctor: Doctor) -> Iterator[Result]:
    for row in doctor.rows(PUBLIC_RIGHTS, schemas=list(OUR_SCHEMAS)):
        kind = "routine" if row.kind == "function" else row.kind
        remedy = f"revoke all on {kind} {row.name} from public;"
        yield Result(FAILED, f"PUBLIC has rights on the {row.kind} {row.name}", remedy)


def check_roles(doctor: Doctor) -> Iterator[Result]:
    """Who the API logs in as. An installer is a member of billing_api too, and may be anything."""
    rows = doctor.rows(
        """select r.rolname::text as name, r.rolbypassrls or r.rolsuper as bypasses, r.rolcanlogin as login
           from pg_roles r
           where to_regrole('billing_api') is not null
               and (r.rolname in ('billing_owner', 'billing_api', 'billing_monitor')
                   or not r.rolsuper and pg_has_role(r.oid, 'billing_api', 'member')
                       and not pg_has_role(r.oid, 'billing_owner', 'member'))
           order by 1"""
    )
    for row in rows:
        if row.bypasses:
            remedy = f"alter role {row.name} nosuperuser nobypassrls;"
            yield Result(FAILED, f"{row.name} is above row level security", remedy)
    logins = [row.name for row in rows if row.login and row.name not in ("billing_owner", "billing_monitor")]
    if not logins:
        remedy = "create role app login password '…' in role billing_api;"
        yield Result(WARNING, "the API has no login of its own: nobody but an installer can act as billing_api", remedy)
    elif not any(row.bypasses for row in rows):
        yield Result(OK, f"the API's logins: {some(logins)}; none is above row level security")


def check_search_path(doctor: Doctor) -> Iterator[Result]:
    row = doctor.row(
        """select current_database() as database, (
               select substring(setting from '^search_path=(.*)$')
               from pg_db_role_setting s, unnest(s.setconfig) setting
               where s.setdatabase = (select oid from pg_database where datname = current_database())
                   and s.setrole = 0 and setting like 'search_path=%'
           ) as path"""
    )
    names = [name.strip(' "') for name in (row.path or "").split(",")]
    path = row.path or '"$user", public'
    alter = f'alter database "{row.database}" set search_path ='
    if "billing" not in names:
        remedy = f"{alter} {path}, billing;"
        yield Result(FAILED, f"the search_path of the database, {path}, lacks billing: its alerts need it", remedy)
    elif "public" in names and names.index("billing") < names.index("public"):
        own = ", ".join(part.strip() for part in path.split(",") if part.strip(' "') != "billing")
        yield Result(
            WARNING,
            f"billing comes before public in {path}: it hides an application's names",
            f"{alter} {own}, billing;",
        )
    else:
        yield Result(OK, path)
