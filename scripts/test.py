"""Run everything that must hold: lint, then all tests on PostgreSQL 15 and on the embedded 18.

    python -m scripts.test [--postgres 15|18] [-- options of pytest]

What does not depend on the server's version is marked `once`, and runs on the embedded one, beside the two versions;
what drives a browser or a command, `outside`, beside all of them: a test mostly waits for something else, and the
machine has more cores. The output of the first is shown as it comes, that of the others when all are done. Exit code 1
if any part failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import IO, NamedTuple

from scripts.servers import DEBIAN, EMBEDDED, ROOT

# pytest's exit code when it found none to run.
NO_TESTS = 5


class Run(NamedTuple):
    """Tests on a server: those that a marker names, or all."""

    name: str
    version: int
    marked: str | None = None


class Part(NamedTuple):
    """What is left of a part that has ended."""

    name: str
    exit_code: int
    seconds: float


class Running:
    """A part that runs, on the terminal or into a file of its own."""

    def __init__(self, name: str, command: list[str], output: IO[bytes] | None = None) -> None:
        self.name = name
        self.started = time.monotonic()
        # The tests make their own databases; the one of the environment is nobody's to touch here.
        environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )

    def wait(self) -> Part:
        return Part(self.name, self.process.wait(), time.monotonic() - self.started)


def test(runs: list[Run], options: list[str]) -> list[Part]:
    """pytest for each of them at once; the first on the terminal."""
    with ExitStack() as stack:
        kept = [stack.enter_context(tempfile.TemporaryFile()) for _ in runs[1:]]
        running = []
        for run, output in zip(runs, [None, *kept], strict=True):
            # A cache of its own: all would write the same one.
            cache = f"cache_dir=.pytest_cache/{run.name.replace(' ', '-')}"
            marked = ["-m", run.marked] if run.marked else []
            command = ["pytest", f"--postgres={run.version}", "-o", cache, *marked, *options]
            running.append(Running(run.name, command, output))
        parts = [each.wait() for each in running]
        for output in kept:
            output.seek(0)
            sys.stdout.write(output.read().decode(errors="replace"))
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", type=int, choices=[DEBIAN, EMBEDDED], help="on this server only, without lint")
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="for pytest")
    arguments = parser.parse_args()

    parts = []
    if arguments.postgres is None:
        parts.append(Running("lint", ["scripts.lint"]).wait())
    if arguments.postgres is None:
        runs = [Run(f"PostgreSQL {version}", version, "not once") for version in (DEBIAN, EMBEDDED)]
        runs.append(Run("once", EMBEDDED, "once and not outside"))
        runs.append(Run("from outside", EMBEDDED, "outside"))
        tested = test(runs, arguments.options)
    else:
        tested = test([Run(f"PostgreSQL {arguments.postgres}", arguments.postgres)], arguments.options)
    # Options may name tests that only some of them have.
    if any(part.exit_code == 0 for part in tested):
        tested = [part._replace(exit_code=0) if part.exit_code == NO_TESTS else part for part in tested]
    parts += tested
    for part in parts:
        print(f"{part.name:14} {'ok' if part.exit_code == 0 else 'FAILED':7} {part.seconds:5.0f} s")
    return 1 if any(part.exit_code for part in parts) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
