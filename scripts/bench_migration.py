"""Measure the migration of many users on a scratch server: generate, analyse, rehearse, migrate, verify, roll back.

    python -m scripts.bench_migration [--users 100000] [--usage 1000000] [--dirty 0.01] [--seed 1] [--part 10000]
                                      [--postgres 18|15] [--database-url URL]

Each step is the command that an operator runs, as a process of its own. Some users are dirty on purpose: the steps must
name exactly these. The server is a scratch one on the project's disk, with fsync on, unless --database-url names a
database whose old system is empty.

Exit codes: 0 measured, 1 a step failed or named other users than the dirty ones, 3 no server.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
import simplejson

from scripts.bench import Progress, server, surroundings
from scripts.legacy_data import NotEmpty, Population, add_options, fill
from scripts.migrate import MigrationError, describe, migrate
from scripts.servers import DEBIAN, EMBEDDED, ROOT, ServerError

COMMAND = [sys.executable, str(ROOT / "scripts" / "migrate_to_credits.py")]
# Runs a command, and prints the kilobytes that it had at most. A process of its own, because a child begins with the
# memory of whoever starts it, and that counts.
PEAK = """import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)"""


class BenchError(Exception):
    """The measurement is worth nothing: a step has failed, or named others than it had to."""


@dataclass
class Step:
    """What one step took."""

    title: str
    users: int
    rows: int  # of the old system that it had to look at
    seconds: float
    megabytes: float | None = None  # of memory that the process had at most


def run(title: str, url: str, directory: Path, options: list[str], expected: int) -> tuple[Step, Path]:
    """One command to its end; raises BenchError when it ends otherwise than expected."""
    output = directory / "output"
    started = time.monotonic()
    with output.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *COMMAND, *options, "--json"],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(ROOT), "DATABASE_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    told, _, kilobytes = done.stderr.rstrip("\n").rpartition("\n")
    if done.returncode != expected:
        raise BenchError(f"{title}: exit code {done.returncode} instead of {expected}.\n{told}")
    return Step(title, 0, 0, time.monotonic() - started, int(kilobytes) / 1024), output


def read(output: Path) -> Iterator[dict]:
    with output.open() as file:
        for line in file:
            yield simplejson.loads(line, use_decimal=True)


def named(output: Path) -> dict[UUID, str]:
    """The users for whom a step names a problem."""
    return {UUID(row["user_id"]): row["problem"] for row in read(output) if row.get("problem")}


def check(title: str, found: dict[UUID, str], wanted: dict[UUID, str]) -> None:
    if found != wanted:
        wrong = [*(found.items() - wanted.items()), *(wanted.items() - found.items())]
        raise BenchError(f"{title} did not name exactly the dirty users, but for instance {wrong[:3]}.")


def totals(output: Path) -> dict:
    for row in read(output):
        if "totals" in row:
            return row["totals"]
    raise BenchError("A step has printed no totals.")


def measure(url: str, made: Population, part: int, directory: Path, progress: Progress) -> Iterator[Step]:
    """The steps, in the order in which an operator takes them."""
    lost = made.dirty["no_customer"]
    moved = made.users - len(made.refused)
    rows = made.users + made.usage + made.purchases
    dirty = 1 if made.refused else 0

    def step(title: str, options: list[str], expected: int = 0) -> tuple[Step, Path]:
        progress.step(title)
        return run(title, url, directory, options, expected)

    done, output = step("`--analyze`", ["--analyze"])
    analysed = totals(output)["all"]["users"]
    if analysed != made.users:
        raise BenchError(f"--analyze counts {analysed} users instead of {made.users}.")
    done.users, done.rows = made.users, rows
    yield done

    done, output = step("`--dry-run`", ["--dry-run", "--limit", str(min(part, moved))], dirty)
    done.users = totals(output)["migrated"]
    yield done

    done, output = step("migration", ["--yes"], dirty)
    done.users, done.rows = totals(output)["migrated"], rows
    if done.users != moved:
        raise BenchError(f"{done.users} users were migrated instead of {moved}.")
    check("The migration", named(output), {user: kind for user, kind in made.refused.items() if user not in lost})
    yield done

    done, output = step("`--verify`", ["--verify"], dirty)
    done.users, done.rows = totals(output)["compared"], rows
    check("--verify", named(output), made.refused)
    yield done

    done, output = step("`--rollback-all`", ["--rollback-all", "--yes", "--limit", str(min(part, moved))])
    done.users = totals(output)["rolled_back"]
    yield done


def table(steps: list[Step]) -> Iterator[str]:
    """In Markdown."""
    rows = [["Step", "Users", "Rows", "Seconds", "Users/s", "Rows/s", "Memory"]]
    rows.append(["---", "--:", "--:", "--:", "--:", "--:", "--:"])
    rows += [
        [
            step.title,
            f"{step.users:,}",
            f"{step.rows:,}" if step.rows else "",
            f"{step.seconds:.1f}",
            f"{step.users / step.seconds:,.0f}",
            f"{step.rows / step.seconds:,.0f}" if step.rows else "",
            f"{step.megabytes:.0f} MB" if step.megabytes else "",
        ]
        for step in steps
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            if row is rows[1]:
                cells.append("-" * width if column == 0 else "-" * (width - 1) + ":")
            else:
                cells.append(cell.ljust(width) if column == 0 else cell.rjust(width))
        yield "| " + " | ".join(cells) + " |"


def bench(url: str, arguments: argparse.Namespace) -> None:
    progress = Progress(7)
    with (
        psycopg.connect(url, autocommit=True, application_name="bench") as conn,
        tempfile.TemporaryDirectory(prefix="bench-") as name,
    ):
        progress.step("schema")
        migrate(conn)
        around = surroundings(conn)
        progress.step("generating")
        started = time.monotonic()
        made = fill(conn, arguments.users, arguments.usage, arguments.dirty, arguments.seed)
        rows = made.users + made.usage + made.purchases
        steps = [Step("generator", made.users, rows, time.monotonic() - started)]
        steps += measure(url, made, arguments.part, Path(name), progress)
        progress.end()
    settings = around["settings"]
    print(
        f"PostgreSQL {around['postgresql']} on {around['cores']} cores ({around['processor']});"
        f" shared_buffers {settings['shared_buffers']}, fsync {settings['fsync']}.\n"
        f"{made.users:,} users, {made.usage:,} usage rows, {made.purchases:,} purchases;"
        f" {len(made.refused)} users dirty on purpose.\n"
    )
    print(*table(steps), sep="\n")
    print(f"\nThe migration and `--verify` named exactly the {len(made.refused)} dirty users, each with its problem.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--part", type=int, default=10_000, help="users to rehearse, and to roll back (%(default)s)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database-url", help="a database with an empty old system; default: a scratch server")
    where.add_argument(
        "--postgres", type=int, choices=[DEBIAN, EMBEDDED], default=EMBEDDED, help="of the scratch server"
    )
    arguments = parser.parse_args()
    try:
        if arguments.database_url:
            bench(arguments.database_url, arguments)
        else:
            with server(arguments.postgres) as url:
                bench(url, arguments)
    except (BenchError, MigrationError, NotEmpty, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
        return 3
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
