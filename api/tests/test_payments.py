"""What users buy and admins refund, against the simulated Stripe: over HTTP on both sides."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from api.tests.conftest import APP_URL, Answer, Client, balance_of, entries_of, make_app, payments_at
from scripts.stripe_simulator import ControlError

V2 = "/api/billing/v2"
ADMIN = "/api/admin/billing"
TOP = "tier_200_1000"
SESSIONS, REFUNDS = "/v1/checkout/sessions", "/v1/refunds"
D = Decimal


@pytest.fixture
def buyer(db) -> UUID:
    """A user of the tier that may buy credits, with 1005 of them."""
    user_id = uuid4()
    db.execute("select billing.open_account(%s, %s)", [user_id, TOP])
    return user_id


def keyed(key: str | None) -> dict:
    return {"headers": {"Idempotency-Key": key}} if key else {}


def buy(client: Client, by: UUID, key: str | None = None, **body) -> Answer:
    return client.post(f"{V2}/purchase-credits", body or {"package": "25"}, by=by, **keyed(key))


def pay(stripe, answer: Answer, card: str = "pm_card_visa") -> dict:
    """The customer pays on Stripe's page, and the events arrive."""
    session = stripe.checkout(answer["stripe_checkout_session_id"], payment_method=card)
    assert stripe.flush()["done"]
    return session


def bought(client: Client, stripe, by: UUID, card: str = "pm_card_visa", **body) -> str:
    """The payment intent of a purchase that is paid."""
    return pay(stripe, buy(client, by, **body), card)["payment_intent"]


def subscribe(client: Client, stripe, by: UUID, tier: str = "tier_2_20", interval: str = "month") -> dict:
    answer = client.post(f"{V2}/create-checkout-session", {"tier": tier, "interval": interval}, by=by)
    assert answer.status == 200, answer.text
    pay(stripe, answer)
    (subscription,) = (each for each in stripe.objects("subscription") if each["status"] == "active")
    return subscription


def refund(client: Client, by: UUID, user: UUID, amount, key: str | None = None, **body) -> Answer:
    body = {"user_id": user, "amount": amount, "reason": "Service outage compensation"} | body
    return client.post(f"{ADMIN}/refund", body, by=by, **keyed(key))


def money(client: Client, by: UUID, user: UUID, amount, intent: str, key: str | None = None, **body) -> Answer:
    return refund(client, by, user, amount, key, stripe_refund=True, payment_intent_id=intent, **body)


def stripe_at(client: Client):
    """Stripe's API, to do something there behind our back."""
    return client.app.extensions["payments"].client.v1


def calls_of(db, user: UUID) -> list:
    return db.execute("select * from billing.stripe_calls where user_id = %s order by call_id", [user]).fetchall()


# Purchases.


def test_packages(client, user):
    found = client.get(f"{V2}/packages", by=user)["packages"]
    assert {each["name"]: each["price_cents"] for each in found} == {
        "10": 1000, "25": 2500, "50": 5000, "100": 10000, "250": 25000, "500": 50000,
    }  # fmt: skip


def test_a_purchase_from_the_request_to_the_credits(client, db, stripe, buyer):
    answer = buy(client, buyer, "k")
    assert (answer.status, answer["status"], answer["amount"], answer["price_cents"]) == (200, "open", 25, 2500)
    assert answer["checkout_url"].startswith(f"{stripe.url}/c/pay/")
    assert (answer["replayed"], answer["call_id"]) == (False, None)
    assert balance_of(db, buyer) == 1005
    session = pay(stripe, answer)
    assert balance_of(db, buyer) == 1030
    paid = client.get(f"{V2}/purchases/{answer['purchase_id']}", by=buyer)
    assert (paid["status"], paid["stripe_payment_intent_id"]) == ("paid", session["payment_intent"])
    entry = entries_of(db, buyer)[-1]
    assert (entry.type, entry.amount, entry.entry_no) == ("purchase", 25, paid["entry_no"])


def test_what_stripe_is_asked_for(client, stripe, buyer):
    answer = buy(client, buyer, amount="12.34", save_card=True)
    session = pay(stripe, answer)
    ours = {"purchase_id": answer["purchase_id"], "user_id": str(buyer)}
    assert (session["amount_total"], session["currency"], session["mode"]) == (1234, "usd", "payment")
    assert (session["client_reference_id"], session["metadata"]) == (str(buyer), ours)
    assert (session["success_url"], session["cancel_url"]) == (
        f"{APP_URL}/checkout/success",
        f"{APP_URL}/checkout/cancel",
    )
    (customer,), (intent,) = stripe.objects("customer"), stripe.objects("payment_intent")
    assert (customer["metadata"], session["customer"]) == ({"user_id": str(buyer)}, customer["id"])
    assert (intent["metadata"], intent["setup_future_usage"]) == (ours, "off_session")


@pytest.mark.parametrize("package", ["25", 25, D("25.0")])
def test_a_package_by_text_or_number(client, stripe, buyer, package):
    assert buy(client, buyer, package=package)["package"] == "25"


def test_the_same_key_is_the_same_purchase(client, db, stripe, buyer):
    first = buy(client, buyer, "k")
    again = buy(client, buyer, "k")
    assert (again.headers["Idempotency-Replayed"], again["replayed"]) == ("true", True)
    assert (again["purchase_id"], again["checkout_url"]) == (first["purchase_id"], first["checkout_url"])
    stripe.fault("timeout_before", method="POST", path=SESSIONS)
    assert buy(client, buyer, "late").status == 503
    late = buy(client, buyer, "late")
    assert (late["status"], late["replayed"]) == ("open", True), "recorded before, though Stripe was asked only now"
    pay(stripe, first)
    assert buy(client, buyer, "k")["status"] == "paid"
    assert buy(client, buyer, "k", package="50").problem() == (409, "idempotency_key_reused")
    assert (stripe.created("checkout.session"), balance_of(db, buyer)) == (2, 1030)


def test_only_the_highest_tier_buys_credits(client, db, stripe, user):
    stranger = uuid4()
    for by in (user, stranger):
        assert buy(client, by).problem() == (403, "purchase_not_allowed")
    assert balance_of(db, stranger) == 5, "the account was opened, as by a check"
    assert stripe.requests() == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"amount": "10.001"}, (422, "amount_not_whole_cents")),
        ({"amount": "10.123"}, (422, "amount_not_whole_cents")),
        ({"amount": "1"}, (422, "amount_out_of_range")),
        ({"amount": 10**7}, (422, "amount_out_of_range")),
        ({"amount": -5}, (422, "amount_not_positive")),
        ({"amount": "NaN"}, (400, "invalid_request")),
        ({"amount": 10, "package": "10"}, (400, "invalid_request")),
        ({"save_card": True}, (400, "invalid_request")),
        ({"package": "11"}, (404, "unknown_package")),
        ({"package": True}, (400, "invalid_request")),
        ({"package": "\0"}, (400, "invalid_request")),
        ({"package": "25", "price_cents": 1}, (400, "invalid_request")),
    ],
)
def test_purchases_that_make_no_sense(client, db, stripe, buyer, body, problem):
    assert buy(client, buyer, **body).problem() == problem
    assert client.get(f"{V2}/purchases", by=buyer)["purchases"] == []
    assert stripe.requests() == []


def test_arguments_are_named_as_in_the_request(client, buyer):
    assert buy(client, buyer, amount=10, package="10")["detail"] == "Give either amount or package."


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/",
        "https://app.example.com.evil.example.com/",
        "https://app.example.com@evil.example.com/",
        "https://evil.example.com\\@app.example.com/",
        "https://app.example.com\\.evil.example.com/",
        "http://app.example.com/",
        "https://app.example.com:8443/",
        "//app.example.com/",
        "/done",
        "javascript:alert(1)//https://app.example.com",
        "https://app.exam\tple.com/",
        " https://app.example.com/",
        "https://[",
        "https://app.example.com/\u2028",
        "",
    ],
)
def test_stripe_sends_nobody_to_foreign_pages(client, stripe, buyer, url):
    assert buy(client, buyer, package="25", success_url=url).problem() == (400, "url_not_allowed")
    checkout = client.post(f"{V2}/create-checkout-session", {"tier": TOP, "cancel_url": url}, by=buyer)
    assert checkout.problem() == (400, "url_not_allowed")
    portal = client.post(f"{V2}/create-portal-session", {"return_url": url}, by=buyer)
    assert portal.problem() == (400, "url_not_allowed")
    assert stripe.requests() == []


def test_pages_of_configured_origins(client, stripe, buyer):
    urls = {
        "success_url": "https://App.example.com/done?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example.com/elsewhere",
    }
    answer = buy(client, buyer, package="25", **urls)
    (session,) = stripe.objects("checkout.session")
    assert {name: session[name] for name in urls} == urls, answer.text
    assert buy(client, buyer, package="25", success_url="http://localhost:3000").status == 200


def test_purchases_in_pages_and_only_of_oneself(client, stripe, buyer, user):
    made = [buy(client, buyer, amount=amount)["purchase_id"] for amount in (10, 11, 12)]
    first = client.get(f"{V2}/purchases?limit=2", by=buyer)
    assert [each["purchase_id"] for each in first["purchases"]] == made[:0:-1]
    second = client.get(f"{V2}/purchases?limit=2&before={first['next_before']}", by=buyer)
    assert ([each["purchase_id"] for each in second["purchases"]], second["next_before"]) == (made[:1], None)
    for by in (user, uuid4()):
        assert client.get(f"{V2}/purchases/{made[0]}", by=by).problem() == (404, "purchase_not_found")


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after", "error_before", "error_after"])
def test_r06_a_purchase_survives_stripe_not_answering(client, db, stripe, buyer, kind):
    stripe.fault(kind, method="POST", path=SESSIONS)
    lost = buy(client, buyer, "k")
    assert lost.problem() == (503, "stripe_unavailable")
    assert lost.headers["Retry-After"]
    assert "same Idempotency-Key" in lost["hint"]
    found = buy(client, buyer, "k")
    assert (found.status, found["status"]) == (200, "open")
    assert stripe.created("checkout.session") == 1
    pay(stripe, found)
    assert balance_of(db, buyer) == 1030


def test_stripe_away_for_long(client, stripe, buyer):
    stripe.fault("timeout_before", times=0)
    assert buy(client, buyer, "k").problem() == (503, "stripe_unavailable")
    assert buy(client, buyer, "k").problem() == (503, "stripe_unavailable")
    portal = client.post(f"{V2}/create-portal-session", {}, by=buyer)
    assert portal.problem() == (503, "stripe_unavailable")
    stripe.clear_faults()
    assert buy(client, buyer, "k").status == 200
    assert (stripe.created("checkout.session"), stripe.created("customer")) == (1, 1)


def test_what_stripe_refuses_is_told(client, stripe, buyer):
    buy(client, buyer)
    gone(stripe)
    refused = buy(client, buyer, "k")
    assert refused.problem() == (409, "stripe_refused")
    assert "No such customer" in refused["detail"]
    again = buy(client, buyer, "k")
    assert (again.problem(), again["detail"]) == ((409, "stripe_refused"), refused["detail"])
    assert client.get(f"{V2}/purchases", by=buyer)["purchases"][0]["status"] == "failed"
    assert client.post(f"{V2}/create-portal-session", {}, by=buyer).problem() == (409, "stripe_refused")


def gone(stripe) -> None:
    """Stripe forgets everything; we know of a customer that it does not know."""
    stripe.reset()


def test_two_requests_with_one_key_at_once(client, stripe, buyer):
    stripe.fault("slow", method="POST", path=SESSIONS, seconds=0.7)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: buy(Client(client.app), buyer, "k"), range(3)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer["checkout_url"] for answer in answers}) == 1
    assert stripe.created("checkout.session") == 1


def test_two_first_purchases_at_once_make_one_customer(client, stripe, buyer):
    stripe.fault("slow", method="POST", path="/v1/customers", seconds=0.7)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda key: buy(Client(client.app), buyer, key), "abc"))
    assert {answer.status for answer in answers} == {200}
    assert (stripe.created("customer"), stripe.created("checkout.session")) == (1, 3)


def test_a_purchase_that_expires_or_fails_later_brings_nothing(client, db, stripe, buyer):
    expired, failed = buy(client, buyer), buy(client, buyer, "k")
    stripe.checkout(expired["stripe_checkout_session_id"], "expire")
    stripe.checkout(failed["stripe_checkout_session_id"], "async_fail")
    stripe.flush()
    found = client.get(f"{V2}/purchases", by=buyer)["purchases"]
    assert [each["status"] for each in found] == ["failed", "expired"]
    assert balance_of(db, buyer) == 1005
    again = buy(client, buyer, "k")
    assert again.problem() == (409, "checkout_expired"), "Stripe has not refused it: the payment did not come"
    assert "new Idempotency-Key" in again["hint"]


@pytest.mark.parametrize("path", ["purchase-credits", "create-checkout-session"])
def test_a_page_that_has_expired_is_no_answer(client, stripe, buyer, path):
    body = {"package": "25"} if path == "purchase-credits" else {"tier": "tier_2_20"}
    first = client.post(f"{V2}/{path}", body, by=buyer, **keyed("k"))
    stripe.checkout(first["stripe_checkout_session_id"], "expire")
    stripe.flush()
    again = client.post(f"{V2}/{path}", body, by=buyer, **keyed("k"))
    assert again.problem() == (409, "checkout_expired")
    assert "checkout_url" not in again.json
    other = client.post(f"{V2}/{path}", body, by=buyer, **keyed("k2"))
    assert (other.status, other["status"]) == (200, "open")


def test_a_checkout_that_is_superseded_while_it_is_made_is_no_answer(client, stripe, user):
    client.post(f"{V2}/create-portal-session", {}, by=user)
    stripe.fault("slow", method="POST", path=SESSIONS, seconds=3)
    path = f"{V2}/create-checkout-session"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(Client(client.app).post, path, {"tier": "tier_2_20"}, by=user)
        deadline = time.monotonic() + 60
        while not stripe.requests("POST", SESSIONS):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.post(path, {"tier": "tier_6_50"}, by=user)["status"] == "open"
        assert first.result().problem() == (409, "checkout_expired")


def test_a_key_that_stripe_does_not_accept(client, shared_database, simulator, stripe, buyer, caplog):
    """Retries cannot help: it is told apart from an outage, and somebody is to look."""
    app = make_app(shared_database.url, **payments_at(simulator) | {"STRIPE_SECRET_KEY": "sk_wrong"})
    wrong = Client(app)
    for path, body in (("purchase-credits", {"package": "25"}), ("create-portal-session", {})):
        caplog.clear()
        answer = wrong.post(f"{V2}/{path}", body, by=buyer)
        assert answer.problem() == (503, "payments_misconfigured"), path
        assert "Invalid API Key" not in answer.text
        (told, *_) = (record for record in caplog.records if record.levelno >= logging.ERROR)
        assert "Invalid API Key" in told.getMessage()
    client.post(f"{V2}/create-portal-session", {}, by=buyer)
    for path, body in (("purchase-credits", {"package": "25"}), ("create-portal-session", {})):
        assert wrong.post(f"{V2}/{path}", body, by=buyer).problem() == (503, "payments_misconfigured"), path
    app.extensions["database"].close()


# Subscriptions.


@pytest.mark.parametrize(("interval", "ours"), [("month", "month"), ("yearly", "year")])
def test_a_subscription_from_the_request_to_the_tier(client, db, stripe, user, interval, ours):
    assert client.get(f"{V2}/subscription", by=user)["status"] == "none"
    subscription = subscribe(client, stripe, user, interval=interval)
    found = client.get(f"{V2}/subscription", by=user)
    assert (found["status"], found["tier"], found["billing_interval"]) == ("active", "tier_2_20", ours)
    assert found["stripe_subscription_id"] == subscription["id"]
    assert balance_of(db, user) == 25
    (price,) = (each for each in stripe.objects("price") if each["lookup_key"])
    assert price["lookup_key"] == f"credit_billing_tier_2_20_{ours}"
    assert (price["product"], price["metadata"]) == ("credit_billing_tier_2_20", {"tier": "tier_2_20"})
    assert price["unit_amount"] == 2000 * (12 if ours == "year" else 1)


def test_subscribing_twice(client, stripe, user):
    subscribe(client, stripe, user)
    again = client.post(f"{V2}/create-checkout-session", {"tier": TOP}, by=user)
    assert again.problem() == (409, "subscription_exists")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"tier": "free"}, (422, "tier_not_for_sale")),
        ({"tier": "tier_9"}, (404, "unknown_tier")),
        ({"tier": "tier_2_20", "interval": "week"}, (422, "unknown_interval")),
        ({}, (400, "invalid_request")),
    ],
)
def test_subscriptions_that_make_no_sense(client, stripe, user, body, problem):
    assert client.post(f"{V2}/create-checkout-session", body, by=user).problem() == problem
    assert stripe.requests() == []


def test_a_new_checkout_takes_the_place_of_an_older_one(client, db, stripe, user):
    old, new = (
        client.post(f"{V2}/create-checkout-session", {"tier": tier}, by=user) for tier in ("tier_2_20", "tier_6_50")
    )
    with pytest.raises(ControlError, match="expired"):
        pay(stripe, old)
    pay(stripe, new)
    assert balance_of(db, user) == 55


def test_prices_are_made_once_and_then_used_as_they_are(client, stripe, user):
    other = uuid4()
    subscribe(client, stripe, user)
    (price,) = (each for each in stripe.objects("price") if each["lookup_key"])
    client.post(f"{V2}/create-checkout-session", {"tier": "tier_2_20"}, by=other)
    client.post(f"{V2}/create-checkout-session", {"tier": "tier_2_20", "interval": "year"}, by=uuid4())
    keys = [each["lookup_key"] for each in stripe.objects("price")]
    assert sorted(keys) == [price["lookup_key"], "credit_billing_tier_2_20_year"]
    assert stripe.created("product") == 1


def test_cancel_and_reactivate(client, stripe, user):
    subscribe(client, stripe, user)
    cancelled = client.post(f"{V2}/cancel-subscription", by=user)
    assert (cancelled.status, cancelled["cancel_at_period_end"], cancelled["status"]) == (200, True, "active")
    assert client.post(f"{V2}/cancel-subscription", {}, by=user)["cancel_at_period_end"] is True
    assert client.post(f"{V2}/reactivate-subscription", by=user)["cancel_at_period_end"] is False
    (subscription,) = stripe.objects("subscription")
    assert subscription["cancel_at_period_end"] is False
    path = f"/v1/subscriptions/{subscription['id']}"
    assert len(stripe.requests("POST", path)) == 2, "what is as wanted already is not asked for"


def test_there_is_nothing_to_change_without_a_subscription(client, stripe, user):
    for path, body in (("cancel", {}), ("reactivate", {}), ("change", {"tier": TOP})):
        answer = client.post(f"{V2}/{path}-subscription", body, by=user)
        assert answer.problem() == (404, "subscription_not_found")
    assert client.post(f"{V2}/sync-subscription", by=user)["status"] == "none"
    assert stripe.requests() == []


def test_an_upgrade_is_charged_and_a_downgrade_waits(client, db, stripe, user):
    subscribe(client, stripe, user)
    up = client.post(f"{V2}/change-subscription", {"tier": "tier_6_50"}, by=user)
    assert (up.status, up["tier"], up["next_tier"]) == (200, "tier_6_50", None)
    assert balance_of(db, user) == 55
    down = client.post(f"{V2}/change-subscription", {"tier": "tier_2_20"}, by=user)
    assert (down.status, down["tier"], down["next_tier"]) == (200, "tier_6_50", "tier_2_20")
    assert stripe.created("invoice") == 2
    stripe.flush()
    assert balance_of(db, user) == 55


def test_a_reading_that_comes_before_a_change_does_not_undo_it(client, db, stripe, user):
    """It is claimed while the change is under way, and Stripe answers it first."""
    subscription = subscribe(client, stripe, user)
    stripe.fault("drop", event="*", times=0)
    path = f"/v1/subscriptions/{subscription['id']}"
    stripe.fault("slow", method="POST", path=path, seconds=3)
    with ThreadPoolExecutor(1) as pool:
        change = pool.submit(Client(client.app).post, f"{V2}/cancel-subscription", by=user)
        deadline = time.monotonic() + 60
        while not stripe.requests("POST", path):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.post(f"{V2}/sync-subscription", by=user)["cancel_at_period_end"] is False
        assert change.result()["cancel_at_period_end"] is True
    assert client.get(f"{V2}/subscription", by=user)["cancel_at_period_end"] is True


def test_an_upgrade_that_the_bank_declines_changes_nothing(client, db, stripe, user):
    subscription = subscribe(client, stripe, user)
    stripe.card(subscription["default_payment_method"], "insufficient_funds")
    declined = client.post(f"{V2}/change-subscription", {"tier": TOP}, by=user)
    assert declined.problem() == (402, "payment_declined")
    assert declined["detail"] == "Your card has insufficient funds."
    found = client.get(f"{V2}/subscription", by=user)
    assert (found["tier"], found["next_tier"], found["call_id"]) == ("tier_2_20", None, None)
    assert balance_of(db, user) == 25


@pytest.mark.parametrize(
    ("path", "body"),
    [("cancel", {}), ("change", {"tier": "tier_6_50"}), ("sync", {})],
    ids=["cancel", "change", "sync"],
)
def test_a_change_while_stripe_is_away_is_done_later(client, db, stripe, user, path, body):
    subscribe(client, stripe, user)
    stripe.fault("drop", event="*", times=0)
    stripe.fault("timeout_after", times=0)
    waiting = client.post(f"{V2}/{path}-subscription", body, by=user)
    assert (waiting.status, waiting["tier"], waiting["cancel_at_period_end"]) == (202, "tier_2_20", False)
    stripe.clear_faults()
    done = client.post(f"{V2}/{path}-subscription", body, by=user)
    assert (done.status, done["call_id"]) == (200, None)
    assert done["cancel_at_period_end"] is (path == "cancel")
    assert done["tier"] == ("tier_6_50" if path == "change" else "tier_2_20")
    assert stripe.created("invoice") == (2 if path == "change" else 1)


def test_two_changes_at_once_contradict_each_other(client, stripe, user):
    subscribe(client, stripe, user)
    stripe.fault("timeout_before", times=0)
    assert client.post(f"{V2}/cancel-subscription", by=user).status == 202
    other = client.post(f"{V2}/change-subscription", {"tier": TOP}, by=user)
    assert other.problem() == (409, "change_pending")


def test_a_sync_takes_over_what_was_changed_at_stripe(client, stripe, user):
    stripe.fault("drop", event="*", times=0)
    answer = client.post(f"{V2}/create-checkout-session", {"tier": "tier_2_20"}, by=user)
    pay(stripe, answer)
    assert client.get(f"{V2}/subscription", by=user)["status"] == "none"
    synced = client.post(f"{V2}/sync-subscription", by=user)
    assert (synced.status, synced["status"], synced["tier"]) == (200, "active", "tier_2_20")


def test_the_portal(client, stripe, user):
    portal = client.post(f"{V2}/create-portal-session", {"return_url": "https://app.example.com/x"}, by=user)
    assert portal["url"].startswith(stripe.url)
    (session,), (customer,) = stripe.objects("billing_portal.session"), stripe.objects("customer")
    assert (session["customer"], session["return_url"]) == (customer["id"], "https://app.example.com/x")
    assert client.post(f"{V2}/create-portal-session", by=uuid4()).status == 200


# Automatic top-ups.


def test_auto_top_up_is_set_and_shown(client, stripe, buyer):
    off = client.get(f"{V2}/auto-top-up", by=buyer)
    assert (off["enabled"], off["threshold"]) == (False, None)
    wanted = {"enabled": True, "threshold": "2.5", "package": 25, "monthly_cap": 100}
    made = client.put(f"{V2}/auto-top-up", wanted, by=buyer)
    assert (made["enabled"], made["threshold"], made["package"], made["monthly_cap"]) == (True, D("2.5"), "25", 100)
    assert client.put(f"{V2}/auto-top-up", {"enabled": False}, by=buyer)["threshold"] == D("2.5")
    assert client.get(f"{V2}/auto-top-up", by=buyer)["enabled"] is False


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"enabled": None}, (400, "invalid_request")),
        ({"threshold": -1}, (422, "amount_not_positive")),
        ({"threshold": 10**30}, (422, "amount_too_large")),
        ({"monthly_cap": "0.0000000001"}, (422, "amount_too_precise")),
        ({"monthly_cap": 24}, (422, "amount_out_of_range")),
        ({"package": "26"}, (404, "unknown_package")),
        ({"package": None}, (400, "invalid_request")),
    ],
)
def test_auto_top_ups_that_make_no_sense(client, buyer, changes, problem):
    body = {"enabled": True, "threshold": 2, "package": "25", "monthly_cap": 100} | changes
    assert client.put(f"{V2}/auto-top-up", body, by=buyer).problem() == problem


def test_auto_top_up_is_for_those_who_may_buy(client, user):
    body = {"enabled": True, "threshold": 2, "package": "25", "monthly_cap": 100}
    assert client.put(f"{V2}/auto-top-up", body, by=user).problem() == (403, "purchase_not_allowed")


# Refunds.


def test_a_refund_as_the_guide_says(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    answer = client.post(
        f"{ADMIN}/refund",
        f"""{{"user_id": "{buyer}", "amount": 25.00, "reason": "Service outage compensation", "stripe_refund": true,
              "payment_intent_id": "{intent}"}}""",
        by=super_admin,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (answer.status, answer["success"], answer["mode"], answer["status"]) == (200, True, "money", "succeeded")
    assert (answer["amount"], answer["clawed"], answer["spent"], answer["balance_after"]) == (25, 25, 0, 1005)
    assert (answer["reason"], answer["call_id"]) == (None, None)
    (made,) = stripe.objects("refund")
    assert (made["amount"], made["payment_intent"], made["id"]) == (2500, intent, answer["stripe_refund_id"])
    assert made["metadata"] == {"refund_id": answer["refund_id"]}
    stripe.flush()
    assert balance_of(db, buyer) == 1005


def test_r16_a_refund_in_credits_moves_no_money(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    assert intent
    answer = refund(client, super_admin, buyer, "2.5", stripe_refund=False, grant_credits=False)
    assert (answer.status, answer["mode"], answer["status"]) == (200, "credits", "succeeded")
    assert (balance_of(db, buyer), stripe.created("refund")) == (D("1032.5"), 0)


@pytest.mark.parametrize("flag", [{}, {"stripe_refund": False}, {"stripe_refund": None}])
@pytest.mark.parametrize("name", ["payment_intent_id", "grant_credits", "owe_spent"])
def test_r16_a_forgotten_flag_does_not_make_credits_of_money(client, db, stripe, super_admin, buyer, name, flag):
    value = "pi_1" if name == "payment_intent_id" else True
    answer = refund(client, super_admin, buyer, 5, **{name: value}, **flag)
    assert answer.problem() == (400, "invalid_request")
    assert answer["errors"] == {name: ["Needs stripe_refund."]}
    assert (balance_of(db, buyer), stripe.created("refund")) == (1005, 0)


def test_r16_a_refund_in_money_and_credits_only_when_told(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    answer = money(client, super_admin, buyer, 5, intent, grant_credits=True)
    assert (answer["mode"], balance_of(db, buyer)) == ("both", 1030)


def test_the_same_key_is_the_same_refund(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    first, again = (money(client, super_admin, buyer, 10, intent, "k") for _ in range(2))
    assert (again.headers["Idempotency-Replayed"], again["refund_id"]) == ("true", first["refund_id"])
    assert money(client, super_admin, buyer, 11, intent, "k").problem() == (409, "idempotency_key_reused")
    assert (stripe.created("refund"), balance_of(db, buyer)) == (1, 1020)


def test_who_may_not_refund(client, db, stripe, admin, super_admin, buyer, user):
    intent = bought(client, stripe, buyer)
    asked = len(stripe.requests())
    assert money(client, user, buyer, 10, intent).problem() == (403, "not_an_admin")
    assert money(client, user, buyer, 10, "pi_unknown").problem() == (403, "not_an_admin")
    assert money(client, admin, buyer, 10, intent).problem() == (403, "refund_not_allowed")
    assert (len(stripe.requests()), balance_of(db, buyer)) == (asked, 1030)
    logged = db.execute(
        "select outcome from billing.admin_actions_log where target_user_id = %s order by action_id", [buyer]
    ).fetchall()
    assert [row.outcome for row in logged] == ["not_an_admin", "not_an_admin", "refund_not_allowed"]


def test_more_than_was_paid_is_refused_before_stripe_is_asked(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    assert money(client, super_admin, buyer, 20, intent).status == 200
    over = money(client, super_admin, buyer, "5.01", intent)
    assert over.problem() == (409, "refund_exceeds_payment")
    assert "action_id" in over.json
    assert len(stripe.requests("POST", REFUNDS)) == 1
    assert money(client, super_admin, buyer, 5, intent).status == 200
    assert balance_of(db, buyer) == 1005


def test_a_foreign_payment_is_not_refunded(client, db, stripe, super_admin, buyer, user):
    intent = bought(client, stripe, buyer)
    for wrong in (intent, "pi_unknown", "ch_1", "../refunds", "pi_1/../../refunds", "pi_1?expand", "pi_1\n", "pi_"):
        asked = len(stripe.requests())
        answer = money(client, super_admin, user, 5, wrong)
        assert answer.problem() == (404, "payment_not_found"), wrong
        assert (len(stripe.requests()) > asked) == (wrong in (intent, "pi_unknown")), wrong
        assert answer["action_id"], "it is logged"
    assert money(client, super_admin, user, 5, "").problem() == (400, "invalid_request")
    assert (stripe.created("refund"), balance_of(db, buyer), balance_of(db, user)) == (0, 1030, 5)


def test_a_payment_whose_events_never_came_is_looked_up(client, db, stripe, super_admin, buyer):
    stripe.fault("drop", event="*", times=0)
    intent = bought(client, stripe, buyer)
    assert balance_of(db, buyer) == 1005
    answer = money(client, super_admin, buyer, 10, intent)
    assert (answer.status, answer["clawed"], answer["balance_after"]) == (200, 10, 1020)


def test_a_payment_of_another_system_is_not_refunded(client, db, stripe, super_admin, buyer):
    """It names a purchase that there is none of; the attempt is logged all the same."""
    params = {"amount": 500, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    intent = stripe_at(client).payment_intents.create(params | {"metadata": {"purchase_id": str(uuid4())}})
    assert money(client, super_admin, buyer, 5, intent.id).problem() == (404, "payment_not_found")
    (action,) = db.execute("select * from billing.admin_actions_log where target_user_id = %s", [buyer]).fetchall()
    assert action.outcome == "payment_not_found"


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after", "error_before", "error_after"])
def test_r16_a_refund_while_stripe_is_away_is_finished_later(client, db, stripe, super_admin, buyer, kind):
    intent = bought(client, stripe, buyer)
    stripe.fault("hold", event="*", times=0)  # An event that comes at once would bring the answer.
    stripe.fault(kind, method="POST", path=REFUNDS)
    waiting = money(client, super_admin, buyer, 10, intent, "k")
    assert (waiting.status, waiting["status"], waiting["clawed"]) == (202, "requested", 10)
    assert balance_of(db, buyer) == 1020
    done = money(client, super_admin, buyer, 10, intent, "k")
    assert (done.status, done["status"], done["refund_id"]) == (200, "succeeded", waiting["refund_id"])
    stripe.release()
    stripe.flush()
    assert (stripe.created("refund"), balance_of(db, buyer)) == (1, 1020)


def test_a_refund_that_stripe_refuses_gives_the_credits_back(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    stripe.fault("drop", event="*", times=0)
    stripe.dispute(payment_intent=intent)
    failed = money(client, super_admin, buyer, 10, intent, "k")
    assert failed.problem() == (409, "refund_failed")
    assert "charged back" in failed["detail"]
    assert failed["refund_id"]
    told = {"mode", "amount", "refund_id", "action_id", "replayed"}
    assert failed.json.keys() - {"type", "title", "status", "code", "detail", "request_id"} <= told
    (payment,) = client.get(f"{ADMIN}/user/{buyer}/payments", by=super_admin)["payments"]
    assert payment["disputed"] is True, "its event never came"
    assert money(client, super_admin, buyer, 10, intent, "k").problem() == (409, "refund_failed")
    assert balance_of(db, buyer) == 1030


def test_a_refund_made_at_stripe_is_learned_of_when_ours_is_refused(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    stripe.fault("drop", event="*", times=0)
    stripe_at(client).refunds.create({"payment_intent": intent, "amount": 2000})
    refused = money(client, super_admin, buyer, 10, intent)
    assert refused.problem() == (409, "refund_failed")
    assert balance_of(db, buyer) == 1010
    assert money(client, super_admin, buyer, 10, intent).problem() == (409, "refund_exceeds_payment")
    assert money(client, super_admin, buyer, 5, intent).status == 200


def test_a_refusal_is_told_though_stripe_says_no_more(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    stripe.fault("drop", event="*", times=0)
    stripe_at(client).refunds.create({"payment_intent": intent, "amount": 2000})
    stripe.fault("timeout_before", method="GET", path="/v1/payment_intents/*")
    assert money(client, super_admin, buyer, 10, intent).problem() == (409, "refund_failed")
    assert balance_of(db, buyer) == 1030


def test_a_refund_that_the_bank_delays(client, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer, "pm_card_pendingRefund")
    answer = money(client, super_admin, buyer, 10, intent)
    assert (answer.status, answer["status"]) == (200, "pending")
    stripe.refund(answer["stripe_refund_id"], "succeed")
    stripe.flush()
    (found,) = client.get(f"{ADMIN}/refunds?user_id={buyer}", by=super_admin)["refunds"]
    assert (found["status"], found["refund_id"]) == ("succeeded", answer["refund_id"])


def test_two_refunds_with_one_key_at_once(client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    stripe.fault("slow", method="POST", path=REFUNDS, seconds=0.7)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: money(Client(client.app), super_admin, buyer, 10, intent, "k"), range(3)))
    assert [(answer.status, answer["status"]) for answer in answers] == [(200, "succeeded")] * 3
    assert (stripe.created("refund"), balance_of(db, buyer)) == (1, 1020)


def test_stripe_away_while_a_payment_is_looked_up(client, stripe, super_admin, buyer):
    stripe.fault("timeout_before", times=0)
    answer = money(client, super_admin, buyer, 5, "pi_not_known_here")
    assert answer.problem() == (503, "stripe_unavailable")


def test_histories_for_admins(client, stripe, admin, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    ids = [money(client, super_admin, buyer, amount, intent)["refund_id"] for amount in (1, 2, 3)]
    (payment,) = client.get(f"{ADMIN}/user/{buyer}/payments", by=admin)["payments"]
    assert (payment["payment_intent_id"], payment["amount_cents"], payment["refunded_cents"]) == (intent, 2500, 600)
    page = client.get(f"{ADMIN}/refunds?user_id={buyer}&limit=2&status=succeeded", by=admin)
    assert [each["refund_id"] for each in page["refunds"]] == ids[:0:-1]
    rest = client.get(f"{ADMIN}/refunds?user_id={buyer}&limit=2&before={page['next_before']}", by=admin)
    assert ([each["refund_id"] for each in rest["refunds"]], rest["next_before"]) == (ids[:1], None)
    assert client.get(f"{ADMIN}/refunds?user_id={buyer}&status=failed", by=admin)["refunds"] == []
    events = client.get(f"{ADMIN}/stripe-events?status=processed&limit=5", by=admin)["events"]
    assert len(events) == 5
    assert {each["status"] for each in events} == {"processed"}
    for path in ("refunds", "stripe-events", f"user/{buyer}/payments"):
        assert client.get(f"{ADMIN}/{path}", by=buyer).problem() == (403, "not_an_admin")


# Without Stripe, and pages.


def test_without_a_key_everything_else_works(shared_database, super_admin, buyer):
    app = make_app(shared_database.url)
    client = Client(app)
    posts = [
        ("purchase-credits", {"package": "25"}), ("create-checkout-session", {"tier": TOP}),
        ("create-portal-session", {}), ("cancel-subscription", {}), ("reactivate-subscription", {}),
        ("change-subscription", {"tier": TOP}), ("sync-subscription", {}), ("webhook", {}),
    ]  # fmt: skip
    for path, body in posts:
        assert client.post(f"{V2}/{path}", body, by=buyer).problem() == (503, "payments_not_configured"), path
    top_up = {"enabled": True, "threshold": 2, "package": "25", "monthly_cap": 100}
    assert client.put(f"{V2}/auto-top-up", top_up, by=buyer).problem() == (503, "payments_not_configured")
    assert money(client, super_admin, buyer, 5, "pi_1").problem() == (503, "payments_not_configured")
    for path in ("packages", "purchases", "subscription", "auto-top-up", "balance", "check"):
        assert client.get(f"{V2}/{path}", by=buyer).status == 200, path
    assert refund(client, super_admin, buyer, 5).status == 200
    app.extensions["database"].close()


@pytest.mark.parametrize(("path", "says"), [("success", "Payment received"), ("cancel", "Payment cancelled")])
def test_pages_after_the_checkout(client, path, says):
    page = client.get(f"/checkout/{path}")
    assert (page.status, page.type) == (200, "text/html")
    assert f"{says}; you can close this page." in page.text
    assert "<script" not in page.text
    assert page.headers["Content-Security-Policy"] == "default-src 'none'"


def test_a_user_who_is_at_it_does_not_wait_for_ever(client, stripe, buyer, monkeypatch, db):
    """Another process has claimed the call, and died."""
    monkeypatch.setattr("api.stripe_work.PATIENCE", 0.3)
    db.execute("select billing.record_purchase(%s, p_package => '25', p_idempotency_key => 'k')", [buyer])
    (call,) = calls_of(db, buyer)
    db.execute("select billing.claim_stripe_call(%s)", [call.call_id])
    assert buy(client, buyer, "k").problem() == (503, "stripe_unavailable")
