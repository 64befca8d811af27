"""A process that dies at any step of a payment, and Stripe that fails: in the end everything is as if nothing had
happened, with one effect at Stripe.

Each step is a call of the SQL API or a request to Stripe. A child process makes the request and dies right after one of
its steps, without a word; then the worker comes, and then the customer tries again with the same Idempotency-Key.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import namedtuple_row
from stripe._http_client import HTTPClient

from api import API, database, json
from api.tests.conftest import WEBHOOK_SECRET, Client, make_app, payments_at, served_at
from scripts.pytest_billing import Clock, Database, databases
from scripts.stripe_simulator import Simulator
from scripts.stripe_simulator.webhooks import signature
from scripts.worker import Worker

CRASHED = 86
# From here on the worker knows what is to be done.
RECORDS = {"record_purchase", "request_refund", "request_checkout", "request_subscription_change", "request_top_up"}
FAULTS: list[dict[str, Any]] = [
    {"kind": "timeout_before"},
    {"kind": "timeout_after"},
    {"kind": "error_before", "status": 429},
    {"kind": "error_before", "status": 500},
    {"kind": "error_after", "status": 500},
    {"kind": "error_before", "status": 503},
    {"kind": "error_after", "status": 503},
]


@dataclass
class Request:
    """What is sent to the API, or with no path a round of the worker."""

    by: UUID | None = None
    method: str = "POST"
    path: str | None = None
    body: dict[str, Any] | None = None
    key: str = field(default_factory=lambda: uuid4().hex)

    def send(self, app: API) -> int:
        if self.path is None:
            return 200 if Worker(app).once() else 503
        headers = {"Idempotency-Key": self.key}
        return Client(app).send(self.method, self.path, self.body, by=self.by, headers=headers).status


class Steps:
    """Counts what a process does, and ends it right after one of its steps."""

    def __init__(self, last: int, told: Connection) -> None:
        self.last = last
        self.told = told
        self.names: list[str] = []

    def after(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) > self.last:
            self.end(CRASHED)

    def end(self, code: int) -> None:
        self.told.send(self.names)
        os._exit(code)


def child(settings: dict[str, str], request: Request, last: int, told: Connection) -> None:
    """In a process of its own: make the request, and die after its step number `last`."""
    steps = Steps(last, told)
    call_all, request_stripe = database.call_all, HTTPClient.request_with_retries

    def counted_call(function: str, **arguments: Any) -> list[database.Row]:
        rows = call_all(function, **arguments)
        steps.after(function)
        return rows

    def counted_request(self: Any, method: str, url: str, *args: Any, **options: Any) -> Any:
        answer = request_stripe(self, method, url, *args, **options)
        steps.after(f"{method} {url.partition('/v1/')[2].partition('?')[0]}")
        return answer

    database.call_all = counted_call
    HTTPClient.request_with_retries = counted_request
    app = make_app(**settings)
    steps.after("start")
    steps.end(0 if request.send(app) < 300 else 1)


class World:
    """A database, an app on it, and a Stripe of their own."""

    def __init__(self, fresh: Database, clock: Clock, simulator: Simulator, conn: psycopg.Connection, app: API) -> None:
        self.settings = {"database_url": fresh.url} | payments_at(simulator)
        self.app, self.clock, self.stripe, self.conn = app, clock, simulator, conn
        self.tiers = count(100)
        self.undisturbed: dict[str, tuple[dict[str, Any], int]] = {}
        self.super_admin = uuid4()
        conn.execute("select billing.bootstrap_super_admin(%s)", [self.super_admin])

    def run(self, request: Request, last: int = 1000) -> tuple[bool, list[str]]:
        """The request in a process that dies after its step number `last`; whether it did, and the steps it took."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["api.tests.conftest", "scripts.worker"])
        told, telling = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(self.settings, request, last, telling))
        process.start()
        telling.close()
        try:
            names = told.recv()
        finally:
            process.join()
        assert process.exitcode in (0, CRASHED), f"exit code {process.exitcode}, after {names}"
        return process.exitcode == CRASHED, names

    def work(self) -> None:
        """The worker, after every lease and the first pauses have run out."""
        self.clock.shift(minutes=5)
        Worker(self.app).once()
        assert self.stripe.flush()["done"]
        self.clock.shift()

    def user(self, tier: str = "tier_200_1000") -> UUID:
        user_id = uuid4()
        self.conn.execute("select billing.open_account(%s, %s)", [user_id, tier])
        return user_id

    def rows(self, query: str, *values: Any) -> list[Any]:
        return self.conn.execute(query, values).fetchall()

    def state(self, user_id: UUID) -> dict[str, Any]:
        """All that the user has, without ids and times."""
        return {
            "account": self.rows(
                "select balance, held, debt, status, tier from billing.credit_accounts where user_id = %s", user_id
            ),
            "ledger": self.rows(
                "select type, amount, balance_after from billing.credit_ledger where user_id = %s order by entry_no",
                user_id,
            ),
            "purchases": self.rows(
                "select kind, amount, price_cents, status, stripe_checkout_session_id is not null "
                "from billing.credit_purchases where user_id = %s order by 1, 2, 3, 4, 5",
                user_id,
            ),
            "checkouts": self.rows(
                "select status, stripe_checkout_session_id is not null from billing.billing_checkouts "
                "where user_id = %s order by 1, 2",
                user_id,
            ),
            "refunds": self.rows(
                "select mode, amount, status, clawed, spent, owed, stripe_refund_id is not null "
                "from billing.credit_refunds where user_id = %s order by 1, 2, 3",
                user_id,
            ),
            "subscriptions": self.rows(
                "select tier, next_tier, status, cancel_at_period_end from billing.billing_subscriptions "
                "where user_id = %s order by created_at",
                user_id,
            ),
            "top_up": self.rows(
                "select enabled, disabled_reason, failures, crossing_no from billing.billing_auto_top_ups "
                "where user_id = %s",
                user_id,
            ),
            "waiting": self.rows(
                "select kind from billing.stripe_calls where user_id = %s and status = 'pending'", user_id
            ),
            "findings": self.rows("select * from billing.verify_account(%s)", user_id),
        }


@pytest.fixture(scope="module")
def world(pytestconfig: pytest.Config) -> Iterator[World]:
    """One for all tests: each has users of its own."""
    pool = databases(pytestconfig)
    fresh = pool.copy()
    with Simulator(webhook_secret=WEBHOOK_SECRET) as simulator:
        app = make_app(fresh.url, **payments_at(simulator))
        with served_at(app) as url, psycopg.connect(fresh.url, autocommit=True, row_factory=namedtuple_row) as conn:
            simulator.settings(webhook_url=f"{url}/api/billing/v2/webhook")
            yield World(fresh, Clock(fresh), simulator, conn, app)
            simulator.settings(webhook_url=None)
        app.extensions["database"].close()
    pool.drop(fresh)


# What is done, for a user who is ready for it.


def refund(world: World) -> Request:
    """Half of a payment, of whose credits a part is spent."""
    user_id = buyer(world)
    world.conn.execute("select billing.deduct_credits(%s, 1010)", [user_id])
    payment = world.rows("select payment_intent_id from billing.billing_payments where user_id = %s", user_id)[0]
    return Request(
        world.super_admin,
        path="/api/admin/billing/refund",
        body={
            "user_id": user_id,
            "amount": Decimal("12.50"),
            "reason": "Service outage compensation",
            "stripe_refund": True,
            "payment_intent_id": payment[0],
        },
    )


def purchase(world: World) -> Request:
    return Request(world.user(), path="/api/billing/v2/purchase-credits", body={"package": "25"})


def checkout(world: World) -> Request:
    """Of a tier that is new each time: Stripe has neither product nor price for it yet."""
    rank = next(world.tiers)
    world.conn.execute(
        "insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, rank) "
        "values (%s, 'New', 9, 900, %s)",
        [f"tier_{rank}", rank],
    )
    return Request(world.user("free"), path="/api/billing/v2/create-checkout-session", body={"tier": f"tier_{rank}"})


def subscription(world: World) -> Request:
    """An upgrade, which is paid at once."""
    return Request(subscriber(world), path="/api/billing/v2/change-subscription", body={"tier": "tier_12_100"})


def cancellation(world: World) -> Request:
    return Request(subscriber(world), path="/api/billing/v2/cancel-subscription")


def top_up(world: World) -> Request:
    user_id = buyer(world, save_card=True)
    world.conn.execute("select billing.set_auto_top_up(%s, true, 2000, '25', 25)", [user_id])
    return Request(user_id)


def buyer(world: World, **options: Any) -> UUID:
    """A user who has bought 25 credits."""
    request = purchase(world)
    request.body |= options
    assert request.send(world.app) < 300
    complete(world, request.by)
    return request.by


def complete(world: World, user_id: UUID) -> None:
    """The user pays at Stripe's page, and Stripe tells us."""
    sessions = world.rows("select stripe_checkout_session_id from billing.credit_purchases where user_id = %s", user_id)
    world.stripe.checkout(sessions[0][0])
    assert world.stripe.flush()["done"]


def subscriber(world: World) -> UUID:
    user_id = world.user("free")
    request = Request(user_id, path="/api/billing/v2/create-checkout-session", body={"tier": "tier_2_20"})
    assert request.send(world.app) < 300
    sessions = world.rows(
        "select stripe_checkout_session_id from billing.billing_checkouts where user_id = %s", user_id
    )
    world.stripe.checkout(sessions[0][0])
    assert world.stripe.flush()["done"]
    return user_id


# What prepares it, the kind of object that Stripe makes for it, and the path of the request that does.
SCENARIOS: dict[str, tuple[Callable[[World], Request], str, str]] = {
    "refund": (refund, "refund", "/v1/refunds"),
    "customer": (purchase, "customer", "/v1/customers"),
    "purchase": (purchase, "checkout.session", "/v1/checkout/sessions"),
    "checkout": (checkout, "checkout.session", "/v1/checkout/sessions"),
    "subscription": (subscription, "invoice", "/v1/subscriptions/*"),
    "cancellation": (cancellation, "subscription", "/v1/subscriptions/*"),
    "top-up": (top_up, "payment_intent", "/v1/payment_intents"),
}
scenarios = pytest.mark.parametrize("name", SCENARIOS)


def user_of(request: Request) -> UUID:
    return UUID(str(request.body["user_id"])) if request.body and "user_id" in request.body else request.by


def undisturbed(world: World, name: str) -> tuple[dict[str, Any], int]:
    """The end of it when nothing goes wrong, and how many objects Stripe makes for it."""
    if name not in world.undisturbed:
        prepare, kind, _ = SCENARIOS[name]
        request = prepare(world)
        before = world.stripe.created(kind)
        assert request.send(world.app) < 300
        assert world.stripe.flush()["done"]
        made = world.stripe.created(kind) - before
        world.work()
        expected = world.state(user_of(request))
        assert expected["waiting"] == expected["findings"] == []
        world.undisturbed[name] = expected, made
    return world.undisturbed[name]


@scenarios
def test_a_crash_after_any_step(world: World, name: str) -> None:
    """R13, R16, R22: the worker and a second try lead to the same end as if there had been no crash."""
    prepare, kind, _ = SCENARIOS[name]
    expected, made = undisturbed(world, name)
    for last in count():
        request = prepare(world)
        untouched = world.state(user_of(request))
        before = world.stripe.created(kind)
        crashed, steps = world.run(request, last)
        if not crashed:
            break
        world.work()
        ends = [expected] if RECORDS & set(steps) else [expected, untouched]
        assert world.state(user_of(request)) in ends, f"the worker, after {steps}"
        request.send(world.app)
        world.work()
        assert world.state(user_of(request)) == expected, f"a second try, after {steps}"
        assert world.stripe.created(kind) - before == made, f"effects at Stripe, after {steps}"
    # Every step but the last was somebody's end: the record, the claim, the effect and the answer were among them.
    world.work()
    assert world.state(user_of(request)) == expected, "no crash"
    assert RECORDS & set(steps)
    assert {"claim_stripe_call", "finish_stripe_call"} <= set(steps)
    assert any(step.startswith("post ") for step in steps)


@scenarios
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(str(value) for value in fault.values()))
def test_stripe_fails(world: World, name: str, fault: dict[str, Any]) -> None:
    """Whatever Stripe answers, or does not, the end is the same, and Stripe has done it once."""
    prepare, kind, path = SCENARIOS[name]
    expected, made = undisturbed(world, name)
    request = prepare(world)
    before = world.stripe.created(kind)
    world.stripe.fault(**fault, method="POST", path=path)
    request.send(world.app)
    assert [each["seen"] for each in world.stripe.call("faults", "GET")["faults"]] == [1]
    world.stripe.clear_faults()
    world.work()
    assert world.state(user_of(request)) == expected
    request.send(world.app)
    assert world.state(user_of(request)) == expected
    assert world.stripe.created(kind) - before == made


def test_a_crash_while_an_event_is_applied(world: World) -> None:
    """R13, R14: an event that was stored is applied by the worker, one that was not comes again; once in any case."""
    expected = world.state(buyer(world))
    hook = world.stripe.settings()["webhook_url"]
    world.stripe.settings(webhook_url=None)
    for last in count():
        request, user_id = webhook(world)
        crashed, steps = world.run(request, last)
        if not crashed:
            break
        world.work()
        assert (world.state(user_id) == expected) == ("record_stripe_event" in steps), f"the worker, after {steps}"
        assert request.send(world.app) == 200
        assert world.state(user_id) == expected, f"the event again, after {steps}"
    assert {"record_stripe_event", "apply_stripe_event"} <= set(steps)
    world.stripe.settings(webhook_url=hook)


@dataclass
class Delivery(Request):
    """An event as Stripe sends it."""

    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""

    def send(self, app: API) -> int:
        return Client(app).post("/api/billing/v2/webhook", self.text, headers=self.headers).status


def webhook(world: World) -> tuple[Delivery, UUID]:
    """The event of a purchase that was paid, and the user."""
    request = purchase(world)
    assert request.send(world.app) < 300
    complete(world, request.by)
    text = json.dumps(world.stripe.events("checkout.session.completed")[-1])
    return Delivery(headers={"Stripe-Signature": signature(text, WEBHOOK_SECRET)}, text=text), request.by
