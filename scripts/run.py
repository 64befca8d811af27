"""Run the whole system on this machine: PostgreSQL, migrations, demo accounts, the API under gunicorn, and the worker.

    python -m scripts.run [--port PORT] [--stripe-port PORT] [--demo]

Without DATABASE_URL it is the embedded server in .run/. The database of a DATABASE_URL gets demo accounts only with
--demo. Without STRIPE_SECRET_KEY a simulator stands in for Stripe, with its state in .run/. The secret of the tokens is
JWT_SECRET, or one made up and kept in .run/; with JWT_JWKS_URL alone there is none, and no tokens are printed. Ctrl-C
ends it all.
"""

import argparse
import hashlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import jwt
import psycopg

from scripts.demo import seed
from scripts.demo_payments import seed_payments
from scripts.migrate import MigrationError, describe, migrate
from scripts.servers import ROOT, RUN, EmbeddedServer, ServerError, free_port, run_as
from scripts.stripe_simulator.client import Control

DEFAULT_PORT = 8000
STRIPE_PORT = 12111
STRIPE_KEY = "sk_test_simulated"
SECRET_FILE = RUN / "jwt.secret"
WEBHOOK_SECRET_FILE = RUN / "stripe.webhook.secret"
TOKEN_SECONDS = 30 * 24 * 3600
# What `seed` returns an id for, and the name of the line with its token.
TOKENS = {
    "admin": "ADMIN_TOKEN",
    "super_admin": "SUPER_ADMIN_TOKEN",
    "user": "USER_TOKEN",
    "purchaser": "PURCHASER_TOKEN",
    "old_user": "OLD_USER_TOKEN",
}

Process = subprocess.Popen[bytes]


def jwt_secret() -> str | None:
    """The secret that tokens are signed with; None when the keys of an identity provider are the only ones."""
    if os.environ.get("JWT_SECRET"):
        return os.environ["JWT_SECRET"]
    if os.environ.get("JWT_JWKS_URL"):
        return None
    return kept_secret(SECRET_FILE)


def kept_secret(path: Path) -> str:
    """A secret of our own, made up at its first use."""
    if not path.exists():
        RUN.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32) + "\n")
    return path.read_text().strip()


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
def running(command: list[str], environment: Mapping[str, str]) -> Iterator[Process]:
    """A Python module with its options as a process, until the block ends."""
    process = subprocess.Popen(
        [
            *run_as(None),
            sys.executable,
            "-m",
            *command,
        ],  # a session of its own and no orphan: Ctrl-C is ours to pass on
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()  # gunicorn lets running requests end, and the worker the piece at hand
        process.wait(timeout=60)


def check_stripe(environ: Mapping[str, str]) -> None:
    """Raise ServerError for a key of Stripe's beside the simulator of a terminal where our lines were pasted."""
    key = environ.get("STRIPE_SECRET_KEY", "")
    if key and environ.get("STRIPE_API_BASE") and not key.startswith(STRIPE_KEY):
        raise ServerError("STRIPE_API_BASE is for a simulator: unset it, or unset STRIPE_SECRET_KEY.")


@contextmanager
def stripe_of(port: int, stripe_port: int) -> Iterator[tuple[Process | None, dict[str, str]]]:
    """What the environment must say of payments, with a simulator behind it unless it has a key of Stripe's."""
    ours = {} if os.environ.get("APP_URL") else {"APP_URL": f"http://127.0.0.1:{port}"}
    # The simulator's own key stands in the environment of a terminal where our lines were pasted.
    if os.environ.get("STRIPE_SECRET_KEY", "") not in ("", STRIPE_KEY):
        yield None, ours
        return
    simulated = free_port(stripe_port)
    ours |= {
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_API_BASE": f"http://127.0.0.1:{simulated}",
        "STRIPE_WEBHOOK_SECRET": f"whsec_{kept_secret(WEBHOOK_SECRET_FILE)}",
    }
    command = [
        "scripts.stripe_simulator",
        "--port",
        str(simulated),
        "--state-file",
        str(state_file(os.environ.get("DATABASE_URL"))),
    ]
    webhook = f"http://127.0.0.1:{port}/api/billing/v2/webhook"
    print("Starting a simulator of Stripe ...", flush=True)
    with running([*command, "--webhook-url", webhook], ours) as process:
        wait_until_listening(process, simulated)
        yield process, ours


def state_file(url: str | None) -> Path:
    """Where the simulator keeps what it knows: each database has a Stripe of its own; None is the embedded server."""
    if not url:
        return RUN / "stripe.json"
    at = psycopg.conninfo.conninfo_to_dict(url)
    place = f"{at.get('host')}:{at.get('port')}/{at.get('dbname')}"
    return RUN / f"stripe-{hashlib.sha256(place.encode()).hexdigest()[:12]}.json"


def wait_until_listening(process: Process, port: int, seconds: float = 30) -> None:
    """Return when the simulator accepts connections; raises ServerError when it ends first, or takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        if process.poll() is not None:
            raise ServerError("The simulator of Stripe has ended before it was ready; its reason stands above.")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ServerError(f"The simulator of Stripe is not ready after {seconds:.0f} seconds.") from error
        time.sleep(0.05)


@contextmanager
def api(environment: Mapping[str, str], port: int) -> Iterator[Process]:
    """gunicorn with the API, until the block ends."""
    options = ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--log-level", "warning"]
    bind = ["--bind", f"127.0.0.1:{port}", "--config", "api/gunicorn.py"]
    with running(["gunicorn", *bind, *options, "api:create_app()"], environment) as process:
        yield process


def wait_until_ready(process: Process, port: int, seconds: float = 30) -> None:
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


def pay(url: str, port: int, secret: str | None, environment: Mapping[str, str]) -> None:
    """Let the demo's customers pay at the simulator, which they have done but for the first time."""
    if secret is None:
        print("demo: without its payments: without JWT_SECRET there are no tokens to make them with", flush=True)
        return
    with psycopg.connect(url, autocommit=True, prepare_threshold=None, application_name="run") as conn:
        seed_payments(
            f"http://127.0.0.1:{port}",
            Control(environment["STRIPE_API_BASE"]),
            lambda user_id: token(secret, sub=str(user_id)),
            conn,
        )


def introduce(url: str, port: int, secret: str | None, ids: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Print where everything is, and lines to paste into another terminal."""
    base = f"http://127.0.0.1:{port}"
    at = psycopg.conninfo.conninfo_to_dict(url)
    print(f"\nAPI        {base}\nDocs       {base}/docs")
    print(f"Panel      {base}/admin  (sign in with ADMIN_TOKEN or SUPER_ADMIN_TOKEN)")
    print(f"Customer   {base}/billing  (sign in with USER_TOKEN or PURCHASER_TOKEN)")
    print(f"Database   {at.get('dbname', '')} on {at.get('host', '')}:{at.get('port', 5432)}  (make psql)")
    simulated = environment.get("STRIPE_API_BASE")
    told = f"simulated at {simulated} (set STRIPE_SECRET_KEY for the real one)"
    print(f"Stripe     {told if simulated else 'as STRIPE_SECRET_KEY says'}")
    print("Jobs       run by the worker  (make cron-jobs ARGS=--list)")
    print(f"\nexport API={base}")
    if secret is not None:
        for kind, name in TOKENS.items():
            if kind in ids:
                print(f"export {name}={token(secret, sub=str(ids[kind]))}")
        print(f"export SERVICE_TOKEN={token(secret, role='service_role')}")
    if "user" in ids:
        print(f"export USER_ID={ids['user']}")
        print('\ncurl -H "Authorization: Bearer $ADMIN_TOKEN" $API/api/admin/billing/user/$USER_ID/summary')
    if "purchaser" in ids:
        print("\n# Answers a checkout_url: open it in a browser, and pay.")
        print(
            'curl -X POST -H "Authorization: Bearer $PURCHASER_TOKEN" $API/api/billing/v2/purchase-credits '
            """-d '{"package": "25"}'"""
        )
    if "old_user" in ids:
        print("\n# The old billing still serves this user, and who waits there can be moved to an account.")
        print(f"export OLD_USER_ID={ids['old_user']}")
        print('curl -H "Authorization: Bearer $OLD_USER_TOKEN" $API/api/billing/usage')
        print(".venv/bin/python scripts/migrate_to_credits.py --analyze")
    if simulated:
        print("\n# For make worker and make reconcile in another terminal.")
        print(f"export STRIPE_SECRET_KEY={STRIPE_KEY} STRIPE_API_BASE={simulated}")
    print("\nCtrl-C stops it.", flush=True)


def watch(processes: Mapping[str, Process | None]) -> None:
    """Wait for as long as all of them run; raises ServerError when one has ended."""
    while True:
        for name, process in processes.items():
            if process is not None and process.poll() is not None:
                raise ServerError(f"The {name} has ended by itself, with exit code {process.returncode}.")
        time.sleep(0.2)


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
    parser.add_argument(
        "--stripe-port", type=int, default=STRIPE_PORT, help="of the simulator, or the next free one (%(default)s)"
    )
    parser.add_argument("--demo", action="store_true", help="demo accounts also in the database of DATABASE_URL")
    arguments = parser.parse_args()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, leave)
    demo = arguments.demo or not os.environ.get("DATABASE_URL")
    try:
        check_stripe(os.environ)
        with database() as url:
            ids = prepare(url, demo=demo)
            port = free_port(arguments.port or DEFAULT_PORT)
            if arguments.port not in (None, port):
                raise ServerError(f"Port {arguments.port} is in use.")
            secret = jwt_secret()
            environment = {"DATABASE_URL": url} | ({"JWT_SECRET": secret} if secret else {})
            with stripe_of(port, arguments.stripe_port) as (simulator, payments):
                environment |= payments
                print("Starting the API ...", flush=True)
                with api(environment, port) as serving, running(["scripts.worker"], environment) as working:
                    wait_until_ready(serving, port)
                    if demo and simulator is not None:
                        pay(url, port, secret, environment)
                    introduce(url, port, secret, ids, environment)
                    watch({"API": serving, "worker": working, "simulator of Stripe": simulator})
    except (MigrationError, ServerError) as error:
        print(error, file=sys.stderr)
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
