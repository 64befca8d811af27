"""Run the whole system on this machine: PostgreSQL, migrations, demo accounts, and the API under gunicorn.

    python -m scripts.run [--port PORT] [--demo]

Without DATABASE_URL it is the embedded server in .run/. The database of a DATABASE_URL gets demo accounts only with
--demo. The secret of the tokens is JWT_SECRET, or one made up and kept in .run/; with JWT_JWKS_URL alone there is
none, and no tokens are printed. Ctrl-C ends it all.
"""

import argparse
import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import jwt
import psycopg

from scripts.demo import seed
from scripts.migrate import MigrationError, describe, migrate
from scripts.servers import ROOT, RUN, EmbeddedServer, ServerError, free_port, run_as

DEFAULT_PORT = 8000
SECRET_FILE = RUN / "jwt.secret"
TOKEN_SECONDS = 30 * 24 * 3600
# What `seed` returns an id for, and the name of the line with its token.
TOKENS = {"admin": "ADMIN_TOKEN", "super_admin": "SUPER_ADMIN_TOKEN", "user": "USER_TOKEN"}


def jwt_secret() -> str | None:
    """The secret that tokens are signed with; None when the keys of an identity provider are the only ones."""
    if os.environ.get("JWT_SECRET"):
        return os.environ["JWT_SECRET"]
    if os.environ.get("JWT_JWKS_URL"):
        return None
    if not SECRET_FILE.exists():
        RUN.mkdir(exist_ok=True)
        SECRET_FILE.touch(mode=0o600)
        SECRET_FILE.write_text(secrets.token_hex(32) + "\n")
    return SECRET_FILE.read_text().strip()


def token(secret: str, **claims: str) -> str:
    """A token that our API accepts for 30 days."""
    now = int(time.time())
    every = {"iat": now, "exp": now + TOKEN_SECONDS}
    for claim, variable in (("aud", "JWT_AUDIENCE"), ("iss", "JWT_ISSUER")):
        if os.environ.get(variable):
            every[claim] = os.environ[variable].split(",")[0].strip()
    return jwt.encode(every | claims, secret, algorithm="HS256")


@contextmanager
def database() -> Iterator[str]:
    """The URL of the database, with the embedded server behind it unless DATABASE_URL is set."""
    if os.environ.get("DATABASE_URL"):
        yield os.environ["DATABASE_URL"]
        return
    server = EmbeddedServer()
    print("Starting PostgreSQL ...", flush=True)
    with server:
        yield server.url


def prepare(url: str, *, demo: bool) -> Mapping[str, str]:
    """Migrate, and create the demo accounts if asked to; returns their ids by kind."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None, application_name="run") as conn:
        print(*migrate(conn).lines(), sep="\n", flush=True)
        return seed(conn) if demo else {}


@contextmanager
def api(url: str, secret: str | None, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """gunicorn with the API, until the block ends."""
    environment = os.environ | {"DATABASE_URL": url} | ({"JWT_SECRET": secret} if secret else {})
    options = ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--log-level", "warning"]
    process = subprocess.Popen(
        [
            *run_as(None),  # a session of its own and no orphan: Ctrl-C is ours to pass on
            *[sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--no-control-socket"],
            *[*options, "api:create_app()"],
        ],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()  # gunicorn lets running requests end
        process.wait(timeout=60)


def wait_until_ready(process: subprocess.Popen[bytes], port: int, seconds: float = 30) -> None:
    """Return when /readyz says yes; raises ServerError when the API ends first, or takes too long."""
    deadline = time.monotonic() + seconds
    status: int | None = None
    while status != 200:
        if process.poll() is not None:
            raise ServerError("The API has ended before it was ready; its reason stands above.")
        if time.monotonic() > deadline:
            raise ServerError(f"The API is not ready after {seconds:.0f} seconds: /readyz says {status or 'nothing'}.")
        time.sleep(0.1)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            continue  # not listening yet
        finally:
            connection.close()


def introduce(url: str, port: int, secret: str | None, ids: Mapping[str, str]) -> None:
    """Print where everything is, and lines to paste into another terminal."""
    base = f"http://127.0.0.1:{port}"
    at = psycopg.conninfo.conninfo_to_dict(url)
    print(f"\nAPI        {base}\nDocs       {base}/docs")
    print(f"Database   {at.get('dbname', '')} on {at.get('host', '')}:{at.get('port', 5432)}  (make psql)")
    print(f"\nexport API={base}")
    if secret is not None:
        for kind, name in TOKENS.items():
            if kind in ids:
                print(f"export {name}={token(secret, sub=str(ids[kind]))}")
        print(f"export SERVICE_TOKEN={token(secret, role='service_role')}")
    if "user" in ids:
        print(f"export USER_ID={ids['user']}")
        print('\ncurl -H "Authorization: Bearer $ADMIN_TOKEN" $API/api/admin/billing/user/$USER_ID/summary')
    print("\nCtrl-C stops it.", flush=True)


def watch(process: subprocess.Popen[bytes]) -> None:
    """Wait for as long as the API runs."""
    code = process.wait()
    raise ServerError(f"The API has ended by itself, with exit code {code}.")


def leave(signum: int, _: FrameType | None) -> None:
    """End as a normal exit does, so that everything is stopped on the way; a second signal changes nothing."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    print("\nStopping ...", flush=True)
    # Ctrl-C is how this is meant to end.
    sys.exit(0 if signum == signal.SIGINT else 128 + signum)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, help=f"of the API (default: {DEFAULT_PORT}, or the next free one)")
    parser.add_argument("--demo", action="store_true", help="demo accounts also in the database of DATABASE_URL")
    arguments = parser.parse_args()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, leave)
    demo = arguments.demo or not os.environ.get("DATABASE_URL")
    try:
        with database() as url:
            ids = prepare(url, demo=demo)
            port = free_port(arguments.port or DEFAULT_PORT)
            if arguments.port not in (None, port):
                raise ServerError(f"Port {arguments.port} is in use.")
            secret = jwt_secret()
            print("Starting the API ...", flush=True)
            with api(url, secret, port) as process:
                wait_until_ready(process, port)
                introduce(url, port, secret, ids)
                watch(process)
    except (MigrationError, ServerError) as error:
        print(error, file=sys.stderr)
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
