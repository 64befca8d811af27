"""Run everything that must hold: lint, then all tests on PostgreSQL 15 and on the embedded 18.

    python -m scripts.test [--postgres 15|18] [-- options of pytest]

What does not depend on the server's version is marked `once`, and runs on the last one. The two servers are tested at
the same time: the tests mostly wait for one session, and the machine has more cores. The output of the second is shown
when the first is done. Exit code 1 if any part failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from typing import IO, NamedTuple

from scripts.servers import DEBIAN, EMBEDDED, ROOT


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


def test(versions: list[int], options: list[str]) -> list[Part]:
    """pytest on each version at once; the first on the terminal."""
    with tempfile.TemporaryFile() as kept:
        outputs = [None, kept]
        running = []
        for version, output in zip(versions, outputs, strict=False):
            # A cache of its own: both would write the same one.
            cache = f"cache_dir=.pytest_cache/{version}"
            once = ["-m", "not once"] if version != versions[-1] else []
            command = ["pytest", f"--postgres={version}", "-o", cache, *once, *options]
            running.append(Running(f"PostgreSQL {version}", command, output))
        parts = [each.wait() for each in running]
        kept.seek(0)
        sys.stdout.write(kept.read().decode(errors="replace"))
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", type=int, choices=[DEBIAN, EMBEDDED], help="on this server only, without lint")
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="for pytest")
    arguments = parser.parse_args()

    parts = []
    if arguments.postgres is None:
        parts.append(Running("lint", ["scripts.lint"]).wait())
    versions = [arguments.postgres] if arguments.postgres else [DEBIAN, EMBEDDED]
    parts += test(versions, arguments.options)
    for part in parts:
        print(f"{part.name:14} {'ok' if part.exit_code == 0 else 'FAILED':7} {part.seconds:5.0f} s")
    return 1 if any(part.exit_code for part in parts) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
