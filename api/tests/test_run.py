"""`make run` without and with a key of Stripe's: what it starts, says, and stops."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import jwt
import pytest

from scripts import run
from scripts.demo import demo_id, seed
from scripts.demo_payments import seed_payments
from scripts.pytest_billing import Database
from scripts.servers import ROOT, free_port
from scripts.stripe_simulator.client import Control

START = [sys.executable, "-m", "scripts.run"]
SECRET = "a secret for tests that is long enough to be accepted"
# Payments, purchases, subscriptions, refunds in money and disputes of the demo.
PAID = (5, 2, 3, 1, 1)


class Run:
    """`python -m scripts.run` on a database of its own, once it has told that it is ready."""

    def __init__(
        self,
        database: Database,
        output: Path,
        *,
        until: str = "Ctrl-C stops it.",
        options: tuple[str, ...] = ("--demo",),
        **environ: str,
    ) -> None:
        self.output = output
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_", "APP_URL"))}
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [*START, *options, "--port", str(free_port()), "--stripe-port", str(free_port())],
                cwd=ROOT,
                env=kept | {"DATABASE_URL": database.url, "JWT_SECRET": SECRET} | environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while until not in self.told:
            assert self.process.poll() is None, self.told
            assert time.monotonic() < deadline, self.told
            time.sleep(0.1)

    @property
    def told(self) -> str:
        return self.output.read_text()

    def exported(self, name: str) -> str:
        found = re.search(rf"^export (?:\S+ )?{name}=(\S+)", self.told, re.M)
        assert found is not None, self.told
        return found[1]

    def children(self) -> dict[str, int]:
        """The processes that it has started, by what stands after -m."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                parent = int(re.search(r"^PPid:\s+(\d+)", (directory / "status").read_text(), re.M)[1])
                words = (directory / "cmdline").read_text().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            if parent == self.process.pid:
                found[words[words.index("-m") + 1]] = int(directory.name)
        return found

    def ask(self, path: str, token: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(
            self.exported("API") + path,
            json.dumps(body).encode() if body is not None else None,
            {"Authorization": f"Bearer {self.exported(token)}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer, parse_float=Decimal)

    def end(self, signum: int = signal.SIGINT) -> int:
        self.process.send_signal(signum)
        return self.process.wait(timeout=60)


@contextmanager
def started(database: Database, directory: Path, **values: Any) -> Iterator[Run]:
    running = Run(database, directory / "output", **values)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()
        run.state_file(database.url).unlink(missing_ok=True)


def is_open(url: str) -> bool:
    at = urllib.parse.urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((at.hostname, at.port)) == 0


def wait_for(promise, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not promise():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def what_was_paid(database: Database) -> tuple[int, ...]:
    """How many there are of what PAID counts."""
    with database.connect() as conn:
        return tuple(
            conn.execute(f"select count(*) from billing.{table}").fetchone()[0]
            for table in (
                "billing_payments",
                "credit_purchases where entry_no is not null",
                "billing_subscriptions",
                "credit_refunds where mode = 'money' and status = 'succeeded'",
                "billing_disputes",
            )
        )


def interrupt_payments(database: Database, output: Path) -> None:
    """Kill everything while the demo's customers pay for the first time: margaret is about to subscribe."""
    with database.connect() as conn:
        seed(conn)
        with conn.transaction():
            # Behind this lock grace would wait, who subscribes after her.
            conn.execute("select from billing.credit_accounts where user_id = %s for update", [demo_id("grace")])
            interrupted = Run(database, output, until="POST /api/billing/v2/create-checkout-session")
            children = interrupted.children()
            interrupted.process.kill()
            interrupted.process.wait()
            for process in children.values():
                os.killpg(process, signal.SIGKILL)
            _, purchases, _, refunds, disputes = what_was_paid(database)
    assert (purchases, refunds, disputes) == (2, 1, 0)


def test_a_purchase_in_the_browser_without_a_key_of_stripes(database: Database, tmp_path: Path) -> None:
    interrupt_payments(database, tmp_path / "interrupted")
    pasted = {"STRIPE_SECRET_KEY": run.STRIPE_KEY, "STRIPE_API_BASE": "http://127.0.0.1:1"}
    with started(database, tmp_path, **pasted) as running:
        stripe = running.exported("STRIPE_API_BASE")
        assert f"simulated at {stripe} (set STRIPE_SECRET_KEY for the real one)" in running.told
        assert running.children().keys() == {"scripts.stripe_simulator", "gunicorn", "scripts.worker"}
        assert '$API/api/billing/v2/purchase-credits -d \'{"package": "25"}\'' in running.told
        assert what_was_paid(database) == PAID
        before = running.ask("/api/billing/v2/balance", "PURCHASER_TOKEN")["balance"]
        purchase = running.ask("/api/billing/v2/purchase-credits", "PURCHASER_TOKEN", {"package": "25"})
        page = purchase["checkout_url"]
        assert page.startswith(stripe)
        with urllib.request.urlopen(page, timeout=10) as shown:
            assert "25.00 USD" in shown.read().decode()
        form = urllib.parse.urlencode({"action": "pay", "card": "pm_card_visa"}).encode()
        with urllib.request.urlopen(page, form, timeout=10) as shown:
            assert shown.url.startswith(running.exported("API")), "Stripe sends the customer back"
            assert shown.status == 200
        wait_for(lambda: running.ask("/api/billing/v2/balance", "PURCHASER_TOKEN")["balance"] == before + 25)

        api, children = running.exported("API"), running.children()
        assert running.end() == 0
        assert not is_open(api)
        assert not is_open(stripe)
        assert [name for name, process in children.items() if Path(f"/proc/{process}").exists()] == []


def test_a_user_of_the_old_billing_to_try_the_migration_with(database: Database, tmp_path: Path) -> None:
    with started(database, tmp_path) as running:
        assert what_was_paid(database) == PAID
        assert running.told.count("demo: purchases, subscriptions, a refund in money and a dispute") == 1
        assert running.ask("/api/billing/v2/subscription", "PURCHASER_TOKEN")["tier"] == "tier_200_1000"
        user = running.exported("OLD_USER_ID")
        claims = jwt.decode(running.exported("OLD_USER_TOKEN"), SECRET, algorithms=["HS256"])
        assert claims["sub"] == user
        assert ".venv/bin/python scripts/migrate_to_credits.py --analyze" in running.told
        before = running.ask("/api/billing/check", "OLD_USER_TOKEN")
        nobody = f"http://127.0.0.1:{free_port()}"
        with database.connect() as conn:
            assert seed_payments(nobody, Control(nobody), str, conn, pytest.fail), "nobody is asked again"
            assert conn.execute("select status from billing.get_migration(%s)", [user]).fetchone() == ("waiting",)
            (row,) = conn.execute("select * from billing.migrate_users(array[%s::uuid])", [user]).fetchall()
        assert running.ask("/api/billing/v2/balance", "OLD_USER_TOKEN")["balance"] == row.balance
        after = running.ask("/api/billing/check", "OLD_USER_TOKEN")
        assert (after["remaining"], after["tier"]) == (before["remaining"], before["tier"])
        assert running.end() == 0


def test_with_a_key_of_stripes_nothing_is_simulated(database: Database, tmp_path: Path) -> None:
    keys = {"STRIPE_SECRET_KEY": "sk_test_simulated_by_us", "STRIPE_API_BASE": f"http://127.0.0.1:{free_port()}"}
    with started(database, tmp_path, options=(), **keys) as running:
        assert running.children().keys() == {"gunicorn", "scripts.worker"}
        assert "simulated" not in running.told
        environment = Path(f"/proc/{running.children()['scripts.worker']}/environ").read_text().split("\0")
        assert {f"{name}={value}" for name, value in keys.items()} <= set(environment)
        assert not run.state_file(database.url).exists()
        assert running.end() == 0


@pytest.mark.parametrize("key", ["sk_test_of_ours", "rk_live_of_ours"])
def test_a_key_of_stripes_is_not_shown_to_a_simulator_that_was_pasted(tmp_path: Path, key: str) -> None:
    pasted = {"STRIPE_SECRET_KEY": key, "STRIPE_API_BASE": "http://127.0.0.1:12111"}
    nowhere = {"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/none"}
    refused = subprocess.run(
        START, cwd=ROOT, env=os.environ | nowhere | pasted, capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr == "STRIPE_API_BASE is for a simulator: unset it, or unset STRIPE_SECRET_KEY.\n"


@pytest.mark.parametrize(
    ("module", "name"), [("scripts.worker", "worker"), ("scripts.stripe_simulator", "simulator of Stripe")]
)
def test_it_ends_with_what_it_has_started(database: Database, tmp_path: Path, module: str, name: str) -> None:
    with started(database, tmp_path, options=()) as running:
        children = running.children()
        os.kill(children[module], signal.SIGKILL)
        assert running.process.wait(timeout=60) == 1
        assert f"The {name} has ended by itself, with exit code -9." in running.told
        assert [each for each, process in children.items() if Path(f"/proc/{process}").exists()] == []
