"""Check the code without running it: Python, text files, migrations, and every SQL function and trigger.

    python -m scripts.lint

ruff checks and formats Python; squawk looks for migrations that lock or break; plpgsql_check and PostgreSQL's own
validator read the bodies of the functions, in a database of a temporary PostgreSQL 15. Exit code 1 on any finding.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
from psycopg.rows import namedtuple_row

from scripts.migrate import MIGRATIONS, MigrationError, describe, migrate
from scripts.servers import DEBIAN, ROOT, ServerError
from scripts.testserver import TestServer

PROGRAMS = Path(sys.executable).parent  # of the virtual environment
TEXT = {".css", ".html", ".js", ".md", ".py", ".sql", ".toml", ".txt", ""}
GENERATED = re.compile(r"\..*|__pycache__|.*\.egg-info|build|logs")

# Every PL/pgSQL routine once, and a trigger function once per table it serves, with all the warnings there are.
PLPGSQL_CHECK = """
select p.oid::regprocedure::text as signature, t.tgrelid::regclass::text as on_table, m.path,
       c.lineno, c.level, c.message, c.detail, c.hint
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace and n.nspname in ('billing', 'billing_private')
  join pg_language as l on l.oid = p.prolang and l.lanname = 'plpgsql'
  left join (select distinct tgfoid, tgrelid, tgoldtable, tgnewtable from pg_trigger where not tgisinternal) as t
    on t.tgfoid = p.oid
  left join billing_migrations.functions as m on m.signature = p.oid::regprocedure::text
 cross join lateral plpgsql_check_function_tb(
       p.oid, coalesce(t.tgrelid, 0), fatal_errors => false, other_warnings => true, performance_warnings => true,
       extra_warnings => true, security_warnings => true, oldtable => t.tgoldtable, newtable => t.tgnewtable) as c
 where p.prorettype <> 'trigger'::regtype or t.tgrelid is not null
 order by signature, on_table, c.lineno
"""
UNUSED_TRIGGERS = """
select p.oid::regprocedure::text as signature
  from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
 where n.nspname in ('billing', 'billing_private') and p.prorettype = 'trigger'::regtype
   and not exists (select from pg_trigger where tgfoid = p.oid)
"""
# What plpgsql_check asks for and must not have: the function and the start of the message.
EXPECTED = {
    # The planner would call an immutable function early, and raise where nothing is wrong.
    ("billing_private.raise_error(", "routine is marked as VOLATILE"),
    # The function of a job stands in its row.
    ("billing.run_job(", "cannot determinate a result of dynamic SQL"),
    # The extension is not in the database that is checked.
    ("billing.schedule_jobs(", 'schema "cron" does not exist'),
    ("billing.schedule_jobs(", 'relation "cron.job" does not exist'),
    ("billing.schedule_jobs(", 'unused variable "v_gone"'),
}
# The runner loads functions without looking into them, because one may use another that comes later.
SQL_BODIES = """
select p.oid::regprocedure::text as signature, pg_get_functiondef(p.oid) as definition, m.path
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace and n.nspname in ('billing', 'billing_private')
  join pg_language as l on l.oid = p.prolang and l.lanname = 'sql'
  left join billing_migrations.functions as m on m.signature = p.oid::regprocedure::text
 order by signature
"""


def run(*command: str) -> list[str]:
    """What a program found: the lines of its output if it failed, nothing if it did not."""
    done = subprocess.run([PROGRAMS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def ruff_check() -> list[str]:
    return run("ruff", "check", "--quiet", "--output-format", "concise", ".")


def ruff_format() -> list[str]:
    return run("ruff", "format", "--check", "--quiet", "--output-format", "concise", ".")


def squawk() -> list[str]:
    files = sorted(str(path.relative_to(ROOT)) for path in MIGRATIONS.glob("*.sql"))
    found = run("squawk", "--reporter", "gcc", *files) if files else []
    # It counts lines from 0.
    return [re.sub(r":(\d+):", lambda line: f":{int(line[1]) + 1}:", each, count=1) for each in found]


def text_files() -> list[str]:
    """Trailing blanks, tabs in SQL and Python, and a last line without its end."""
    findings = []
    for path in sorted(own_files(ROOT)):
        if path.suffix not in TEXT:
            continue
        name = path.relative_to(ROOT)
        text = path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            if line != line.rstrip() or ("\t" in line and path.suffix in {".py", ".sql"}):
                findings.append(f"{name}:{number}: trailing blanks, or a tab")
        if text and not text.endswith("\n"):
            findings.append(f"{name}: the last line has no end")
    return findings


def own_files(directory: Path) -> Iterator[Path]:
    """The files below a directory, without what tools have made there."""
    for path in directory.iterdir():
        if GENERATED.fullmatch(path.name):
            continue
        if path.is_dir():
            yield from own_files(path)
        else:
            yield path


def sql_functions() -> list[str]:
    """What plpgsql_check and the validator of SQL functions say, in a freshly migrated database."""
    server = TestServer(DEBIAN)
    try:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
            migrate(conn)
            conn.execute("create extension plpgsql_check")
            # As the runner records signatures: every name with its schema.
            conn.execute("select set_config('search_path', 'pg_catalog, public', false)")
            return [*plpgsql_findings(conn), *sql_body_findings(conn)]
    except MigrationError as error:
        return [str(error)]
    except psycopg.Error as error:
        return [describe(error)]
    finally:
        server.stop()


def plpgsql_findings(conn: psycopg.Connection) -> list[str]:
    findings = []
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        for row in cursor.execute(PLPGSQL_CHECK):
            if any(row.signature.startswith(name) and row.message.startswith(text) for name, text in EXPECTED):
                continue
            on_table = f" on {row.on_table}" if row.on_table else ""
            more = "".join(f" ({text})" for text in (row.detail, row.hint) if text)
            where = place(row.path, row.signature, row.lineno)
            findings.append(f"{where}: {row.signature}{on_table}: {row.level}: {row.message}{more}")
        for row in cursor.execute(UNUSED_TRIGGERS):
            findings.append(f"{row.signature}: a trigger function that no trigger uses cannot be checked")
    return findings


def sql_body_findings(conn: psycopg.Connection) -> list[str]:
    findings = []
    conn.execute("set check_function_bodies = on")
    for signature, definition, path in conn.execute(SQL_BODIES).fetchall():
        try:
            conn.execute(definition)
        except psycopg.Error as error:
            findings.append(f"{place(path, signature, None)}: {signature}: {describe(error)}")
    return findings


def place(path: str | None, signature: str, body_line: int | None) -> str:
    """The file and line of a line of a function's body; a function of a migration is named with the body's line."""
    if path is None:
        return f"{signature}:{body_line or 1}"
    text = (ROOT / path).read_text(encoding="utf-8")
    body = re.search(r"\$\w*\$", text)
    start = text.count("\n", 0, body.start()) + 1 if body else 1
    return f"{path}:{start + (body_line or 1) - 1}"


CHECKS: dict[str, Callable[[], list[str]]] = {
    "ruff check": ruff_check,
    "ruff format": ruff_format,
    "text files": text_files,
    "squawk": squawk,
    "SQL functions": sql_functions,
}


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    failed = 0
    for name, check in CHECKS.items():
        try:
            findings = check()
        except ServerError as error:
            findings = [str(error)]
        print(f"lint: {name:14} {f'{len(findings)} findings' if findings else 'ok'}", flush=True)
        for finding in findings:
            print(f"  {finding}")
        failed += bool(findings)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
