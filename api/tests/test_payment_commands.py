"""The worker and the comparison with Stripe, as commands, against the simulated Stripe."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from api import create_app
from api.stripe_client import stripe_client
from api.stripe_work import process_event
from api.tests.conftest import Client
from scripts.pytest_billing import Clock, Database
from scripts.reconcile import moment
from scripts.servers import ROOT, free_port
from scripts.stripe_simulator import Simulator

SECRET = "a secret for tests that is long enough to be accepted"


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


class Shop:
    """A database of its own with a Stripe of its own, a buyer and a super admin; events arrive when a test says so."""

    def __init__(self, database: Database, sim: Simulator, conn: psycopg.Connection, clock: Clock) -> None:
        self.sim, self.conn, self.clock = sim, conn, clock
        self.environ = {
            "DATABASE_URL": database.url,
            "STRIPE_SECRET_KEY": "sk_test_commands",
            "STRIPE_API_BASE": sim.url,
            "STRIPE_WEBHOOK_SECRET": "whsec_commands",
            "STRIPE_TIMEOUT": "5",
        }
        self.app = create_app(self.environ | {"JWT_SECRET": SECRET})
        self.client = Client(self.app)
        self.buyer, self.chief = uuid4(), uuid4()
        self.one("select billing.open_account(%s, 'tier_200_1000')", self.buyer)
        self.one("select billing.bootstrap_super_admin(%s)", self.chief)
        self.heard: set[str] = set()

    def one(self, query: str, *values: object):
        return self.conn.execute(query, values).fetchone()[0]

    @property
    def balance(self) -> Decimal:
        return self.one("select balance from billing.credit_accounts where user_id = %s", self.buyer)

    def ask(self, path: str, body: dict, by: UUID | None = None) -> dict:
        answer = self.client.post(path, body, by=by or self.buyer)
        assert answer.status == 200, answer.text
        return answer.json

    def buy(self, package: str = "25") -> str:
        """A paid checkout, whose events wait to be heard; returns the payment intent."""
        purchase = self.ask("/api/billing/v2/purchase-credits", {"package": package})
        return self.sim.checkout(purchase["stripe_checkout_session_id"])["payment_intent"]

    def hear(self) -> None:
        """Store all events that were not heard of yet, as the webhook does before it applies them."""
        for event in self.sim.events():
            if event["id"] not in self.heard:
                self.heard.add(event["id"])
                self.one("select billing.record_stripe_event(%s)", Jsonb(event))

    def bought(self, package: str = "25") -> str:
        """A purchase of which all events have been applied."""
        intent = self.buy(package)
        self.hear()
        with self.app.app_context():
            for event in sorted(self.heard):
                process_event(event)
        return intent

    def request_refund(self, intent: str, amount: Decimal) -> str:
        """What a request leaves that has crashed before Stripe was asked."""
        return self.one(
            "select refund_id from billing.request_refund(%s, %s, %s, 'Test', true, %s)",
            *(self.chief, self.buyer, amount, intent),
        )

    def later(self, **delta: float) -> None:
        """The worker takes over what nobody has finished for a while."""
        self.clock.shift(**(delta or {"minutes": 2}))

    def command(self, module: str, *options: str, **environ: str) -> list:
        return [[sys.executable, "-m", f"scripts.{module}", *options], os.environ | self.environ | environ]

    def run(self, module: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command, environment = self.command(module, *options, **environ)
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def start(self, module: str, *options: str, **environ: str) -> subprocess.Popen[str]:
        command, environment = self.command(module, *options, **environ)
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture
def shop(running: Simulator, database: Database, conn: psycopg.Connection, clock: Clock) -> Iterator[Shop]:
    running.reset()
    shop = Shop(database, running, conn, clock)
    yield shop
    shop.app.extensions["database"].close()


def wait_for(promise, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not promise():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The worker.


def at_stripe(done: subprocess.CompletedProcess[str]) -> str:
    """What the worker tells of its work at Stripe; a line about jobs and deliveries follows."""
    return done.stdout.partition("\n")[0]


def test_once_with_nothing_due(shop: Shop) -> None:
    done = shop.run("worker", "--once")
    assert (done.returncode, at_stripe(done)) == (0, "calls: none; events: none; top-ups: none"), done.stderr


def test_once_does_what_a_crash_has_left(shop: Shop) -> None:
    waiting = shop.one(
        "select purchase_id from billing.record_purchase(%s, p_package => '50', p_details => %s)",
        shop.buyer,
        Jsonb({"success_url": "http://127.0.0.1:8000/", "cancel_url": "http://127.0.0.1:8000/", "save_card": False}),
    )
    intent = shop.buy("100")
    shop.hear()
    before = shop.balance
    shop.later()
    done = shop.run("worker", "--once")
    assert done.returncode == 0, done.stderr
    assert "call" in done.stdout
    assert "processed" in done.stdout
    assert shop.balance == before + 100, "the event was applied"
    purchase = shop.conn.execute("select * from billing.credit_purchases where purchase_id = %s", [waiting]).fetchone()
    assert purchase.status == "open", "and the checkout was made"
    assert purchase.checkout_url.startswith(shop.sim.url)

    refund = shop.request_refund(intent, Decimal("40"))
    assert shop.sim.created("refund") == 0
    shop.later(minutes=5)
    assert shop.run("worker", "--once").returncode == 0
    assert [each["amount"] for each in shop.sim.objects("refund")] == [4000]
    assert shop.one("select status from billing.credit_refunds where refund_id = %s", refund) == "succeeded"
    assert shop.balance == before + 60
    again = shop.run("worker", "--once")
    assert (again.returncode, at_stripe(again)) == (0, "calls: none; events: none; top-ups: none")


def test_several_workers_do_each_piece_once(shop: Shop) -> None:
    intents = [shop.bought("25") for _ in range(3)]
    for intent in intents:
        shop.request_refund(intent, Decimal("10"))
    before = shop.balance
    shop.buy("50")
    shop.hear()
    shop.later()
    workers = [shop.start("worker", "--once") for _ in range(3)]
    told = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], told
    assert shop.sim.created("refund") == 3
    assert shop.balance == before + 50
    assert shop.run("reconcile").returncode == 0


def test_r22_a_top_up_is_charged_once_by_two_workers(shop: Shop) -> None:
    purchase = shop.ask("/api/billing/v2/purchase-credits", {"package": "10", "save_card": True})
    shop.sim.checkout(purchase["stripe_checkout_session_id"])
    shop.hear()
    shop.later()
    assert shop.run("worker", "--once").returncode == 0
    before = shop.balance
    shop.one("select billing.set_auto_top_up(%s, true, %s, '25', 100)", shop.buyer, before + 1)
    workers = [shop.start("worker", "--once") for _ in range(2)]
    told = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told
    assert sorted(out.splitlines()[0].partition("top-ups: ")[2] for out, _ in told)[0] == "1 done"
    charged = [each for each in shop.sim.objects("payment_intent") if each["amount"] == 2500]
    assert [each["status"] for each in charged] == ["succeeded"]
    assert shop.balance == before + 25


def test_a_declined_top_up_is_the_customers_matter(shop: Shop) -> None:
    purchase = shop.ask("/api/billing/v2/purchase-credits", {"package": "10", "save_card": True})
    shop.sim.checkout(purchase["stripe_checkout_session_id"])
    shop.hear()
    shop.later()
    assert shop.run("worker", "--once").returncode == 0
    for card in shop.sim.objects("payment_method"):
        shop.sim.card(card["id"], "insufficient_funds")
    shop.one("select billing.set_auto_top_up(%s, true, 2000, '25', 100)", shop.buyer)
    before = shop.balance
    done = shop.run("worker", "--once")
    assert (done.returncode, at_stripe(done)) == (0, "calls: none; events: none; top-ups: 1 declined"), done.stderr
    assert shop.balance == before
    assert at_stripe(shop.run("worker", "--once")) == "calls: none; events: none; top-ups: none"


def test_a_piece_that_fails_does_not_keep_the_others_waiting(shop: Shop) -> None:
    shop.buy("25")
    (wrong,) = shop.sim.events("checkout.session.completed")
    wrong["data"]["object"]["amount_total"] = 1
    shop.one("select billing.record_stripe_event(%s)", Jsonb(wrong))
    shop.heard |= {event["id"] for event in shop.sim.events()}
    shop.buy("50")
    shop.hear()
    before = shop.balance
    shop.later()
    done = shop.run("worker", "--once")
    assert done.returncode == 1
    assert "processed, 1 waiting" in done.stdout
    assert "payment_mismatch" in done.stderr
    assert shop.balance == before + 50


def test_what_stripe_refuses_has_failed(shop: Shop) -> None:
    intent = shop.bought()
    before = shop.balance
    refund = shop.request_refund(intent, Decimal("20"))
    assert shop.balance == before - 20
    with shop.app.app_context():
        stripe_client().v1.refunds.create({"payment_intent": intent})
    shop.later()
    done = shop.run("worker", "--once")
    assert (done.returncode, at_stripe(done)) == (1, "calls: 1 failed; events: none; top-ups: none")
    assert "has failed: " in done.stderr
    assert shop.one("select status from billing.credit_refunds where refund_id = %s", refund) == "failed"
    assert shop.balance == before, "what was taken back for it is there again"


def test_while_stripe_is_away_calls_wait_and_then_have_one_effect(shop: Shop) -> None:
    intents = [shop.bought() for _ in range(5)]
    for intent in intents:
        shop.request_refund(intent, Decimal("5"))
    shop.later()
    shop.sim.fault("timeout_after", method="POST", path="/v1/refunds", times=3)
    away = shop.run("worker", "--once")
    assert away.returncode == 1
    assert at_stripe(away) == "calls: 3 waiting; events: none; top-ups: none"
    assert "Stripe is away: 3 calls in a row have to wait." in away.stderr
    shop.later(hours=2)
    back = shop.run("worker", "--once")
    assert (back.returncode, at_stripe(back)) == (0, "calls: 5 done; events: none; top-ups: none"), back.stderr
    assert shop.sim.created("refund") == 5


def test_while_the_database_is_away_it_waits(shop: Shop) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    options = {"DATABASE_URL": nowhere, "DATABASE_TIMEOUT": "0.2"}
    once = shop.run("worker", "--once", **options)
    assert once.returncode == 1
    assert "The database is away" in once.stderr
    assert "Traceback" not in once.stderr

    worker = shop.start("worker", "--interval", "0.1", **options)
    assert worker.stderr is not None
    lines = [worker.stderr.readline() for _ in range(2)]
    assert all("The database is away" in line and "Trying again in" in line for line in lines), lines
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=60)
    assert worker.returncode == 0


def test_a_signal_ends_it_whichever_thread_it_comes_to(shop: Shop) -> None:
    """The main thread sleeps meanwhile, and only that one acts on signals."""
    program = """
import signal, sys, threading, time
from scripts import worker

class Noticing(worker.Service):
    def tell(self, *said):
        super().tell(*said)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

worker.Service = Noticing
sys.argv = ["worker"]
sys.exit(worker.main())
"""
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    _, environment = shop.command("worker", DATABASE_URL=nowhere, DATABASE_TIMEOUT="0.2")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, timeout=60)
    assert done.returncode == 0


def test_it_goes_on_when_the_database_comes_back(shop: Shop, database: Database) -> None:
    before = shop.balance
    shop.buy("25")
    shop.hear()
    shop.later()
    shop.app.extensions["database"].close()
    allowed = f"alter database {database.name} with allow_connections"
    with database.server.connect("postgres") as outside:
        outside.execute(f"{allowed} false")
        worker = shop.start("worker", "--interval", "0.2", DATABASE_TIMEOUT="0.5")
        assert worker.stderr is not None
        try:
            assert "The database is away" in worker.stderr.readline()
        finally:
            outside.execute(f"{allowed} true")
    wait_for(lambda: shop.balance == before + 25)
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=60)
    assert worker.returncode == 0


def test_sigterm_ends_it_after_the_piece_at_hand(shop: Shop) -> None:
    for intent in [shop.bought(), shop.bought()]:
        shop.request_refund(intent, Decimal("5"))
    shop.later()
    shop.sim.fault("slow", method="POST", path="/v1/refunds", seconds=4)
    worker = shop.start("worker", STRIPE_TIMEOUT="60")
    wait_for(lambda: shop.sim.requests("POST", "/v1/refunds"))
    worker.send_signal(signal.SIGTERM)
    _, told = worker.communicate(timeout=60)
    assert worker.returncode == 0, told
    states = shop.conn.execute(
        "select status, claimed_at is null as untouched from billing.stripe_calls where kind = 'refund'"
    )
    assert sorted(states.fetchall()) == [("done", False), ("pending", True)]
    assert shop.sim.created("refund") == 1


def test_a_long_list_is_done_without_a_pause(shop: Shop) -> None:
    before = shop.balance
    for _ in range(3):
        shop.buy("10")
    shop.hear()
    shop.later()
    worker = shop.start("worker", "--limit", "1", "--interval", "3600")
    wait_for(lambda: shop.balance == before + 30)
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=60)
    assert worker.returncode == 0


def test_without_a_key_there_is_nothing_to_compare_with(shop: Shop) -> None:
    refused = shop.run("reconcile", STRIPE_SECRET_KEY="")
    assert refused.returncode == 2
    assert refused.stderr.startswith("STRIPE_SECRET_KEY must be set")


def test_without_a_key_of_stripes_only_what_needs_one_waits(shop: Shop) -> None:
    idle = shop.run("worker", "--once", STRIPE_SECRET_KEY="", STRIPE_API_BASE="")
    assert (idle.returncode, idle.stderr) == (0, "")
    shop.request_refund(shop.bought(), Decimal("5"))
    before = shop.balance
    shop.buy("10")
    shop.hear()
    shop.later()
    waits = shop.run("worker", "--once", STRIPE_SECRET_KEY="", STRIPE_API_BASE="")
    assert (waits.returncode, at_stripe(waits)[:16]) == (1, "calls: 1 waiting")
    assert shop.balance == before + 10, "an event needs no key"
    told = "STRIPE_SECRET_KEY is not set: calls are due at Stripe, and wait for it."
    assert waits.stderr.count(told) == 1
    query = "select outcome, failures, error from billing.list_job_runs('stripe_calls') limit 1"
    assert shop.conn.execute(query).fetchone() == ("failed", 1, told)
    done = shop.run("worker", "--once")
    assert (done.returncode, shop.sim.created("refund")) == (0, 1)
    assert shop.conn.execute(query).fetchone() == ("succeeded", 0, None)


@pytest.mark.parametrize(("module", "options"), [("worker", ["--once"]), ("reconcile", [])])
def test_no_secret_of_events_is_needed_where_none_arrive(shop: Shop, module: str, options: list[str]) -> None:
    done = shop.run(module, *options, STRIPE_WEBHOOK_SECRET="")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "options", [["--interval", "0"], ["--interval", "soon"], ["--limit", "0"], ["--limit", "501"], ["--twice"]]
)
def test_wrong_usage_of_the_worker(shop: Shop, options: list[str]) -> None:
    assert shop.run("worker", *options).returncode == 2


# The comparison with Stripe.


def compare(shop: Shop, *options: str) -> tuple[int, dict]:
    done = shop.run("reconcile", "--json", *options)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout, parse_float=Decimal)


def test_no_difference(shop: Shop) -> None:
    shop.bought()
    done = shop.run("reconcile")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "No difference."
    assert "1 payment intents, 0 refunds, 0 disputes, 0 subscriptions at Stripe." in done.stdout
    code, told = compare(shop, "--since", "1d")
    assert code == 0
    assert told["compared"] == {"payment_intent": 1, "refund": 0, "dispute": 0, "subscription": 0}
    assert (told["differences"], told["fixed"]) == ([], [])
    since, until = (datetime.fromisoformat(told[name]) for name in ("from", "to"))
    assert until - since == timedelta(days=1)


def test_a_refund_whose_event_was_dropped_is_found_and_fixed(shop: Shop) -> None:
    intent = shop.bought("25")
    before = shop.balance
    with shop.app.app_context():
        refund = stripe_client().v1.refunds.create({"payment_intent": intent, "amount": 1000})
    code, told = compare(shop)
    assert code == 1
    found = [row for row in told["differences"] if row["object_id"] == refund.id]
    assert [(row["kind"], row["user_id"], row["fixable"]) for row in found] == [("refund", str(shop.buyer), True)]
    table = shop.run("reconcile")
    assert table.returncode == 1
    header, *rows = table.stdout.splitlines()[3:]
    assert header.split() == ["kind", "object_id", "user_id", "problem", "ours", "theirs", "fixable"]
    start = header.index("object_id")
    assert [row[start : start + len(refund.id)] for row in rows] == [row["object_id"] for row in told["differences"]]
    assert shop.balance == before, "to look changes nothing"

    fixed = shop.run("reconcile", "--fix")
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert "Fixed (" in fixed.stdout
    assert "No difference is left." in fixed.stdout
    assert shop.balance == before - 10, "the credits that the money had bought are taken back"
    entry = shop.conn.execute(
        "select type, amount from billing.credit_ledger where user_id = %s order by entry_no desc limit 1", [shop.buyer]
    ).fetchone()
    assert entry == ("clawback", -10)
    assert compare(shop)[0] == 0


def test_a_payment_whose_events_never_came_is_made_up_for(shop: Shop) -> None:
    before = shop.balance
    shop.buy("50")
    code, told = compare(shop)
    assert (code, len(told["differences"])) == (1, 1)
    code, told = compare(shop, "--fix")
    assert (code, told["differences"], len(told["fixed"])) == (0, [], 1)
    assert shop.balance == before + 50
    shop.hear()
    assert shop.run("worker", "--once").returncode == 0
    assert shop.balance == before + 50, "the event that comes after all changes nothing"


def test_a_dispute_whose_event_was_dropped_freezes_when_fixed(shop: Shop) -> None:
    shop.sim.dispute(payment_intent=shop.bought())
    assert compare(shop)[0] == 1
    assert compare(shop, "--fix")[0] == 0
    assert shop.one("select status from billing.credit_accounts where user_id = %s", shop.buyer) == "frozen"


def test_a_subscription_that_was_cancelled_at_stripe(shop: Shop) -> None:
    user = uuid4()
    checkout = shop.ask("/api/billing/v2/create-checkout-session", {"tier": "tier_2_20"}, by=user)
    shop.sim.checkout(checkout["stripe_checkout_session_id"])
    code, told = compare(shop)
    assert (code, [row["problem"] for row in told["differences"]]) == (
        1,
        ["payment_not_booked", "subscription_not_booked"],
    )
    code, told = compare(shop, "--fix")
    assert (code, len(told["fixed"])) == (0, 2)
    tier = "select tier from billing.credit_accounts where user_id = %s"
    assert shop.one(tier, user) == "tier_2_20"

    (subscription,) = shop.sim.objects("subscription")
    with shop.app.app_context():
        stripe_client().v1.subscriptions.update(subscription["id"], {"cancel_at_period_end": True})
    code, told = compare(shop, "--since", "1d")
    assert (code, [row["problem"] for row in told["differences"]]) == (1, ["subscription_differs"])
    assert compare(shop, "--fix")[0] == 0
    with shop.app.app_context():
        stripe_client().v1.subscriptions.cancel(subscription["id"])
    assert compare(shop)[0] == 1
    assert compare(shop, "--fix")[0] == 0
    assert shop.one(tier, user) == "free"


def test_what_happened_outside_of_the_window_is_left_out(shop: Shop) -> None:
    shop.buy()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    code, told = compare(shop, "--since", f"{tomorrow:%Y-%m-%dT%H:%M}", "--until", f"{tomorrow:%Y-%m-%d}T23:59:59Z")
    assert code == 0
    assert told["compared"]["payment_intent"] == 0


def test_a_refund_that_was_late_at_stripe_is_not_missing(shop: Shop) -> None:
    intent = shop.bought()
    shop.request_refund(intent, Decimal("10"))
    shop.one("update billing.credit_refunds set created_at = created_at - interval '2 days' returning 1")
    shop.later()
    window = ("--since", "3d", "--until", "1d")
    code, told = compare(shop, *window)
    assert (code, [row["problem"] for row in told["differences"]]) == (1, ["refund_waits"])
    assert shop.run("worker", "--once").returncode == 0
    assert compare(shop, *window)[0] == 0
    shop.one("update billing.credit_refunds set stripe_refund_id = 're_nowhere' returning 1")
    code, told = compare(shop, *window)
    assert (code, [row["problem"] for row in told["differences"]]) == (1, ["refund_not_at_stripe"])
    assert compare(shop, *window, "--fix")[0] == 1, "there is no word of Stripe's to take"


def test_more_than_a_page(shop: Shop) -> None:
    with shop.app.app_context():
        for _ in range(101):
            stripe_client().v1.payment_intents.create({"amount": 100, "currency": "usd"})
    assert compare(shop)[1]["compared"]["payment_intent"] == 101


@pytest.mark.parametrize(
    "options",
    [
        ["--since", "yesterday"],
        ["--since", "0d"],
        ["--since", "99999d"],
        ["--since", "9999999d"],
        ["--since", "2025-02-01", "--until", "2025-01-01"],
    ],
)
def test_wrong_usage_of_the_comparison(shop: Shop, options: list[str]) -> None:
    refused = shop.run("reconcile", *options)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_without_a_connection_it_says_which(shop: Shop) -> None:
    no_stripe = shop.run("reconcile", STRIPE_API_BASE=f"http://127.0.0.1:{free_port()}")
    assert no_stripe.returncode == 3
    assert no_stripe.stderr.startswith("Stripe: ")
    no_database = shop.run("reconcile", DATABASE_URL="postgresql://127.0.0.1:1/nothing", DATABASE_TIMEOUT="0.2")
    assert no_database.returncode == 3
    assert no_database.stderr.startswith("No connection to the database")
    assert "Traceback" not in no_stripe.stderr + no_database.stderr


def test_times() -> None:
    now = datetime(2025, 3, 10, 12, 30, tzinfo=UTC)
    assert moment("7d", now) == datetime(2025, 3, 3, 12, 30, tzinfo=UTC)
    assert moment("2025-03-01", now) == datetime(2025, 3, 1, tzinfo=UTC)
    assert moment("2025-03-01T10:00:00+02:00", now) == datetime(2025, 3, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize("wrong", ["", "7", "-1d", "d", "2025-13-01"])
def test_what_is_no_time(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        moment(wrong, datetime.now(UTC))
