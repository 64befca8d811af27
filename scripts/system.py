"""Install what comes from Debian, not from PyPI: python3-venv, the tests' PostgreSQL 15, promtool, and Chromium.

Runs before the virtual environment exists, so it needs the system's Python and its standard library only.

    python3 scripts/system.py venv        what `make run` needs
    python3 scripts/system.py postgres    what `make lint` needs besides
    python3 scripts/system.py browser     what `make screenshots` needs besides, and `make test` with both
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

POSTGRES = Path("/usr/lib/postgresql/15")
EXTENSIONS = Path("/usr/share/postgresql/15/extension")
# Reads the rules of docs/monitoring; the package that brings it has a server too, which is nobody's wish here.
PROMTOOL = Path("/usr/bin/promtool")
# Playwright drives it; the browsers that Playwright brings itself come from no package.
CHROMIUM = Path("/usr/bin/chromium-headless-shell")
# What a page that asks for the system's font is drawn in: the same on every machine.
INTER = Path("/usr/share/fonts/opentype/inter")

# What invoke-rc.d asks before it starts a service, and what systemd reads of one.
POLICY = Path("/usr/sbin/policy-rc.d")
UNITS = Path("/etc/systemd/system")
UNWANTED = {"prometheus": "prometheus.service"}

# Package: does the machine have what it brings? Files are looked up, because dpkg is not everywhere.
Needs = dict[str, Callable[[], bool]]
NEEDS: dict[str, Needs] = {
    "venv": {"python3-venv": lambda: find_spec("ensurepip") is not None},
    "postgres": {
        "postgresql-15": (POSTGRES / "bin" / "postgres").exists,
        "postgresql-15-cron": (EXTENSIONS / "pg_cron.control").exists,
        "postgresql-15-pgtap": (EXTENSIONS / "pgtap.control").exists,
        "postgresql-15-plpgsql-check": (EXTENSIONS / "plpgsql_check.control").exists,
        "prometheus": PROMTOOL.exists,
    },
    "browser": {"chromium-headless-shell": CHROMIUM.exists, "fonts-inter": INTER.exists},
}


def install(packages: list[str]) -> None:
    """Install the packages as root without a question; raises CalledProcessError when apt fails."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with without_services(packages):
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", *command], check=True, stdin=subprocess.DEVNULL, env=environment)


@contextmanager
def without_services(packages: list[str]) -> Iterator[None]:
    """A server that only comes along with a tool does not start: not during the installation, and masked, not later."""
    unwanted = [unit for package, unit in UNWANTED.items() if package in packages]
    for unit in (UNITS / name for name in unwanted):
        if UNITS.is_dir() and not unit.exists() and not unit.is_symlink():
            unit.symlink_to("/dev/null")
            print(f"{unit.name} is masked: only its tools are wanted. To run it: systemctl unmask {unit.stem}")
    ours = bool(unwanted) and not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("needs", nargs="+", choices=sorted(NEEDS), metavar="need", help="what is about to be used")
    needs = parser.parse_args().needs

    missing = [package for need in needs for package, present in NEEDS[need].items() if not present()]
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
