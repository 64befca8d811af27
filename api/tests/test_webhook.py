"""The events that Stripe sends: proved, stored, applied once, and never lost."""

import json
import time
from itertools import permutations
from uuid import UUID, uuid4

import psycopg
import pytest

from api.tests.conftest import WEBHOOK_SECRET, Answer, Client, balance_of, entries_of, make_app, payments_at
from api.tests.test_errors import break_function, definition_of
from scripts.stripe_simulator.webhooks import signature

V2 = "/api/billing/v2"
WEBHOOK = f"{V2}/webhook"
LARGEST = 512 * 1024


def event(kind: str = "customer.created", thing: dict | None = None, **values) -> dict:
    """An event of our own making; customer.created means nothing to us."""
    thing = thing or {"id": "cus_1", "object": "customer"}
    base = {"id": f"evt_{uuid4().hex}", "object": "event", "type": kind, "created": int(time.time())}
    return base | {"data": {"object": thing}} | values


def send(client: Client, body, secret: str = WEBHOOK_SECRET, at: int | None = None, **headers: str) -> Answer:
    """Post a body, signed unless the headers say otherwise."""
    payload = body if isinstance(body, str) else json.dumps(body)
    headers = {"Stripe-Signature": signature(payload, secret, at)} | headers
    return client.post(WEBHOOK, payload, headers={name: value for name, value in headers.items() if value is not None})


def stored(db, sent: dict):
    return db.execute("select * from billing.stripe_events where event_id = %s", [sent["id"]]).fetchone()


@pytest.fixture
def buyer(db) -> UUID:
    user_id = uuid4()
    db.execute("select billing.open_account(%s, 'tier_200_1000')", [user_id])
    return user_id


@pytest.fixture
def own(database, simulator) -> Client:
    """An app on a database of this test alone, whose events are posted by hand."""
    simulator.reset()
    app = make_app(database.url, **payments_at(simulator))
    yield Client(app)
    app.extensions["database"].close()
    simulator.reset()


def paid(client: Client, simulator, by: UUID) -> dict:
    """The event of a purchase that was paid."""
    answer = client.post(f"{V2}/purchase-credits", {"package": "25"}, by=by)
    assert answer.status == 200, answer.text
    simulator.checkout(answer["stripe_checkout_session_id"])
    (completed,) = simulator.events("checkout.session.completed")
    return completed


# Is it Stripe?


def test_an_event_that_means_nothing_is_stored_as_ignored(client, db):
    for sent in (event(), event("some.thing.new")):
        answer = send(client, sent)
        assert (answer.status, answer.json) == (200, {"event_id": sent["id"], "status": "ignored"})
        assert (stored(db, sent).status, stored(db, sent).payload) == ("ignored", sent)


def test_both_secrets_are_accepted_while_one_is_replaced(client):
    assert send(client, event(), "whsec_of_yesterday").status == 200
    assert send(client, event(), "whsec_of_the_day_before").problem() == (400, "invalid_signature")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=1,v1=abc",
        "v1=abc",
        "t=,v1=",
        "nonsense",
        "t=1,v0=abc",
        "t=1,v1",
        f"t={'9' * 5000},v1=abc",
        "t=1,v1=\u00e9",
        "t=\u00b2,v1=abc",
    ],
)
def test_a_signature_that_does_not_fit(client, db, header):
    sent = event()
    assert send(client, sent, **{"Stripe-Signature": header}).problem() == (400, "invalid_signature")
    assert stored(db, sent) is None


def test_a_body_that_was_changed(client, db):
    sent = event()
    payload = json.dumps(sent)
    header = {"Stripe-Signature": signature(payload, WEBHOOK_SECRET)}
    for changed in (payload + " ", payload.replace("cus_1", "cus_2"), "", b"\xff" + payload.encode()):
        assert client.post(WEBHOOK, changed, headers=header).problem() == (400, "invalid_signature")
    assert stored(db, sent) is None


def test_a_recorded_event_cannot_be_sent_later(client, db):
    sent = event()
    now = int(time.time())
    assert send(client, sent, at=now - 310).problem() == (400, "signature_expired")
    assert send(client, sent, "whsec_wrong", at=now - 310).problem() == (400, "invalid_signature")
    assert stored(db, sent) is None
    assert send(client, sent, at=now - 290).status == 200


@pytest.mark.parametrize("body", ["", "{", "[]", "5", "null", '"x"', '{"id": "a", "id": "b"}', "[" * 100000])
def test_signed_nonsense(client, body):
    assert send(client, body).problem() == (400, "invalid_json")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None}, {"id": ""}, {"id": "x" * 201}, {"id": 5, "object": "list"}, {"object": "v2.core.event"},
        {"type": None}, {"created": "soon"}, {"created": 10**20}, {"data": None}, {"data": {"object": []}},
        {"account": "\0"}, {"account": "\ud800"},
    ],
)  # fmt: skip
def test_what_is_no_event(client, db, changes):
    assert send(client, event(**changes)).problem() == (400, "invalid_request")


def test_an_event_too_large(client, db):
    sent = event(padding="x" * LARGEST)
    assert send(client, sent).problem() == (413, "body_too_large")
    assert stored(db, sent) is None
    small = event()
    assert send(client, json.dumps(small).ljust(LARGEST)).status == 200


def test_no_token_opens_the_webhook(client, user):
    assert client.post(WEBHOOK, event(), by=user).problem() == (400, "invalid_signature")
    assert client.post(WEBHOOK, event(), by="service").problem() == (400, "invalid_signature")


def test_without_a_secret_no_event_is_believed(shared_database, simulator):
    app = make_app(shared_database.url, **payments_at(simulator) | {"STRIPE_WEBHOOK_SECRET": " , "})
    assert send(Client(app), event(), "").problem() == (503, "payments_not_configured")


def test_numbers_of_an_event_are_kept_as_they_are(client, db):
    payload = json.dumps(event()).replace('"cus_1"', '"cus_1", "rate": 0.1000000000000000000001')
    assert send(client, payload).status == 200
    row = stored(db, json.loads(payload))
    exact = db.execute(
        "select payload #>> '{data,object,rate}' as rate from billing.stripe_events where event_id = %s", [row.event_id]
    ).fetchone()
    assert exact.rate == "0.1000000000000000000001"


# Applied once, and not lost.


def test_r14_an_event_that_comes_often_counts_once(own, conn, simulator):
    buyer = opened(conn)
    completed = paid(own, simulator, buyer)
    for _ in range(3):
        assert send(own, completed).json == {"event_id": completed["id"], "status": "processed"}
    assert balance_of(conn, buyer) == 1030
    assert stored(conn, completed).attempts == 0
    break_function(conn, "apply_stripe_event", "raise exception 'not again'")
    assert send(own, completed).json == {"event_id": completed["id"], "status": "processed"}


def test_r14_an_event_delivered_twice_at_once_counts_once(client, db, stripe, buyer):
    stripe.fault("duplicate", event="*", times=0, copies=4, at_once=True)
    answer = client.post(f"{V2}/purchase-credits", {"package": "25"}, by=buyer)
    stripe.checkout(answer["stripe_checkout_session_id"])
    assert stripe.flush()["done"]
    assert {each["status"] for each in stripe.deliveries()} == {200}
    assert [entry.type for entry in entries_of(db, buyer)] == ["tier_grant", "purchase"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_r27_the_order_of_events_does_not_matter(own, conn, simulator, order):
    buyer = opened(conn)
    answer = own.post(f"{V2}/purchase-credits", {"package": "25"}, by=buyer)
    simulator.checkout(answer["stripe_checkout_session_id"])
    kinds = ("payment_intent.created", "payment_intent.succeeded", "checkout.session.completed")
    events = [each for kind in kinds for each in simulator.events(kind)]
    for number in order:
        assert send(own, events[number]).status == 200
    assert balance_of(conn, buyer) == 1030


def test_r13_an_event_that_cannot_be_applied_is_kept_and_tried_again(own, conn, simulator, caplog):
    buyer = opened(conn)
    completed = paid(own, simulator, buyer)
    definition = definition_of(conn, "apply_stripe_event")
    break_function(conn, "apply_stripe_event", "raise exception 'out of order'")
    answer = send(own, completed)
    assert (answer.status, answer["status"]) == (200, "pending")
    row = stored(conn, completed)
    assert (row.status, row.attempts, row.error) == ("pending", 1, "out of order")
    assert row.next_attempt_at is not None
    assert completed["id"] in caplog.text
    assert balance_of(conn, buyer) == 1005
    conn.execute(definition)
    assert send(own, completed)["status"] == "processed", "Stripe's own repetition is as good as the worker's"
    assert balance_of(conn, buyer) == 1030


def test_r13_a_stored_event_is_confirmed_though_the_database_goes_away(own, conn, simulator):
    completed = paid(own, simulator, opened(conn))
    for function in ("apply_stripe_event", "fail_stripe_event"):
        break_function(conn, function, "raise exception using errcode = '57P01', message = 'gone'")
    assert send(own, completed).json == {"event_id": completed["id"], "status": "pending"}
    assert stored(conn, completed).status == "pending"


def test_what_is_not_stored_is_not_confirmed(own, conn, simulator):
    completed = paid(own, simulator, opened(conn))
    break_function(conn, "record_stripe_event", "raise exception using errcode = '57P01', message = 'gone'")
    assert send(own, completed).problem() == (503, "database_unavailable")


def test_an_event_whose_payment_does_not_fit_is_shown(own, conn, simulator):
    """A session that says less was paid than was asked for."""
    buyer = opened(conn)
    completed = paid(own, simulator, buyer)
    completed["data"]["object"]["amount_total"] = 100
    assert send(own, completed)["status"] == "pending"
    assert stored(conn, completed).error.startswith("payment_mismatch")
    assert balance_of(conn, buyer) == 1005


@pytest.mark.parametrize("kind", ["checkout.session.completed", "payment_intent.succeeded", "charge.dispute.created"])
def test_events_of_somebody_else(client, db, kind):
    """Of another application on the same account of Stripe's: nothing in them names anything of ours."""
    thing = {
        "id": f"x_{uuid4().hex}", "object": kind.rpartition(".")[0], "metadata": {}, "customer": "cus_foreign",
        "payment_intent": "pi_foreign", "status": "succeeded", "amount": 100, "amount_total": 100,
        "amount_received": 100, "currency": "usd", "created": int(time.time()), "payment_status": "paid",
    }  # fmt: skip
    sent = event(kind, thing)
    answer = send(client, sent)
    assert answer.status == 200
    assert stored(db, sent).error is None


def test_an_event_leads_to_a_sync_even_when_stripe_is_away(client, db, stripe, user):
    answer = client.post(f"{V2}/create-checkout-session", {"tier": "tier_2_20"}, by=user)
    stripe.fault("timeout_before", times=0)
    stripe.checkout(answer["stripe_checkout_session_id"])
    assert stripe.flush()["done"]
    assert {each["status"] for each in stripe.deliveries()} == {200}
    assert client.get(f"{V2}/subscription", by=user)["status"] == "none"
    waiting = db.execute("select * from billing.stripe_calls where user_id = %s and status = 'pending'", [user])
    assert {each.kind for each in waiting} == {"subscriptions"}
    stripe.clear_faults()
    assert client.post(f"{V2}/sync-subscription", by=user)["status"] == "active"


def opened(conn: psycopg.Connection) -> UUID:
    buyer = uuid4()
    conn.execute("select billing.open_account(%s, 'tier_200_1000')", [buyer])
    return buyer
