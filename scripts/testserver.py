"""The server of a test session: testing.postgresql, able to run as root, on Debian's 15 or the embedded 18."""

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from testing.postgresql import Postgresql

from scripts.servers import (
    COMMON,
    EMBEDDED,
    extension_dir,
    hand_over,
    initdb,
    open_wheel,
    postgres_bin,
    server_command,
    server_user,
)

# What a test writes need not survive a crash, and races open a hundred sessions.
SETTINGS = COMMON | {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "250",
}
# Loaded with the server where they are installed: a module, and the control file that tells.
PRELOADED = {"plpgsql_check": "plpgsql_check.control", "pg_cron": "pg_cron.control"}

# A database is a thousand files, made for a test and removed after it. Memory does that in a third of the time: ext4
# gives away no inode that was in use a moment ago, and looks at each of them anew for every file.
MEMORY = Path("/dev/shm")
# A session's server takes some 100 MB there, and four run at once; a test may have much data.
ROOM = 4 << 30

# Seconds until it must answer: a machine may have much else to do.
BOOT_TIMEOUT = 60.0


def has_room(memory: Path) -> bool:
    """Whether there is such a directory with room for the tests' databases, and the memory that it promises."""
    try:
        available = int(re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)[1]) << 10
        return os.access(memory, os.W_OK) and min(shutil.disk_usage(memory).free, available) >= ROOM
    except (OSError, TypeError):  # not on Linux
        return False


class TestServer(Postgresql):
    """A server in a temporary directory until stop(), open to this machine without a password."""

    __test__ = False  # for pytest, which takes it for a test class

    def __init__(self, version: int, settings: Mapping[str, str] | None = None) -> None:
        self.version = version
        self.bin_dir = postgres_bin(version)
        found = [name for name, file in PRELOADED.items() if (extension_dir(version) / file).exists()]
        preload = {"shared_preload_libraries": ",".join(found)}
        self.server_settings = SETTINGS | preload | dict(settings or {})
        super().__init__(boot_timeout=BOOT_TIMEOUT)

    def initialize(self) -> None:
        # One that writes to disk for real has a reason, and stays there.
        if self.server_settings["fsync"] == "off" and has_room(MEMORY):
            os.rmdir(self.base_dir)
            self.base_dir = tempfile.mkdtemp(dir=MEMORY)
        self.user = server_user(Path(self.base_dir))
        if self.user is not None and self.version == EMBEDDED:
            open_wheel()
        hand_over(Path(self.base_dir), self.user)

    def initialize_database(self) -> None:
        data = Path(self.get_data_directory())
        hand_over(data, self.user)
        initdb(self.bin_dir, data, self.user, "-A", "trust", "--no-sync")

    def get_server_commandline(self) -> list[str]:
        return server_command(
            self.bin_dir,
            Path(self.get_data_directory()),
            self.user,
            self.settings["port"],
            self.server_settings,
        )

    def is_server_available(self) -> bool:
        try:
            self.connect("template1").close()
        except psycopg.OperationalError:
            return False
        return True

    def poststart(self) -> None:
        """Nothing: databases are made from the session's template."""

    def terminate(self, *_: object) -> None:
        """Stop at once; a test's data is not worth a checkpoint."""
        super(Postgresql, self).terminate(signal.SIGQUIT)

    def conninfo(self, database: str, user: str = "postgres") -> str:
        """A libpq connection string; users need no password."""
        return make_conninfo(host="127.0.0.1", port=self.settings["port"], user=user, dbname=database)

    def connect(self, database: str) -> psycopg.Connection:
        """An autocommit connection of the superuser."""
        return psycopg.connect(self.conninfo(database), autocommit=True)
