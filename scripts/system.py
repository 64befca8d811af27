"""Install what comes from Debian, not from PyPI: python3-venv, and the PostgreSQL 15 that the tests run on.

Runs before the virtual environment exists, so it needs the system's Python and its standard library only.

    python3 scripts/system.py venv        what `make run` needs
    python3 scripts/system.py postgres    what `make test` needs besides
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

POSTGRES = Path("/usr/lib/postgresql/15")
EXTENSIONS = Path("/usr/share/postgresql/15/extension")

# Package: does the machine have what it brings? Files are looked up, because dpkg is not everywhere.
Needs = dict[str, Callable[[], bool]]
NEEDS: dict[str, Needs] = {
    "venv": {"python3-venv": lambda: find_spec("ensurepip") is not None},
    "postgres": {
        "postgresql-15": (POSTGRES / "bin" / "postgres").exists,
        "postgresql-15-cron": (EXTENSIONS / "pg_cron.control").exists,
        "postgresql-15-pgtap": (EXTENSIONS / "pgtap.control").exists,
        "postgresql-15-plpgsql-check": (EXTENSIONS / "plpgsql_check.control").exists,
    },
}


def install(packages: list[str]) -> None:
    """Install the packages as root without a question; raises CalledProcessError when apt fails."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *command], check=True, stdin=subprocess.DEVNULL, env=environment)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("need", choices=sorted(NEEDS), help="what is about to be used")
    needs = NEEDS[parser.parse_args().need]

    missing = [package for package, present in needs.items() if not present()]
    if not missing:
        return 0
    if os.geteuid() != 0:
        print(f"Missing system packages. As root: apt install {' '.join(missing)}", file=sys.stderr)
        return 1
    print(f"Installing {' '.join(missing)} with apt ...", flush=True)
    try:
        install(missing)
    except FileNotFoundError:
        print(f"There is no apt-get here. Needed, from Debian 12: {' '.join(missing)}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"apt-get failed with exit code {error.returncode}; needed: {' '.join(missing)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
