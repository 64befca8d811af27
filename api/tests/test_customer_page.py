"""/billing: a customer's own page, against the simulated Stripe; in a browser without a screen."""

import re
from collections.abc import Callable
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from werkzeug.test import TestResponse

from api import customer
from api.customer import days_text, next_first, parts, rough
from api.database import call_all
from api.tests.conftest import APP_URL, balance_of, entries_of, make_app, token
from api.tests.pages import COOKIE, SQL_WORDS, Browser, text_of
from api.tests.test_legacy import migrate, waiting
from api.tests.test_payments import TOP, D, bought, buy, subscribe

REFRESH = re.compile(r'http-equiv="refresh" content="0; url=([^"]+)"')


@pytest.fixture
def buyer(db) -> UUID:
    """A user of the tier that may buy credits, with 1005 of them."""
    user_id = uuid4()
    db.execute("select billing.open_account(%s, %s)", [user_id, TOP])
    return user_id


@pytest.fixture
def browser(app) -> Callable[[UUID], Browser]:
    """Somebody's browser, signed in at /billing."""
    return lambda user_id: Browser(app, user_id, area="/billing")


def said(answer: TestResponse) -> str:
    return text_of(answer.text)


def page(browser: Browser, path: str = "/billing") -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return said(answer)


def onward(answer: TestResponse) -> str:
    """Where the page goes on to by itself; the link on it leads there too."""
    assert answer.status_code == 200, said(answer)
    url = unescape(REFRESH.search(answer.text)[1])
    assert f'href="{REFRESH.search(answer.text)[1]}"' in answer.text
    return url


def key_on(answer: TestResponse) -> str:
    return re.search(r'name="key" value="([^"]+)"', answer.text)[1]


def spend(db, user: UUID, amount: Any, **members: Any) -> None:
    db.execute(
        "select billing.deduct_credits(%s, %s, p_description => %s, p_metadata => %s::jsonb)",
        [user, amount, members.get("description"), members.get("metadata")],
    )


# Who sees what.


def test_a_first_visit_opens_the_free_account(browser, db):
    stranger = uuid4()
    told = page(browser(stranger))
    assert "Credits to use 5.00" in told
    assert "5.00 credits each month, free of charge" in told
    assert browser(stranger).get("/billing/").headers["Location"] == "/billing"
    assert balance_of(db, stranger) == 5


def test_nobody_sees_it_without_signing_in(app, client):
    browser = Browser(app)
    for path in (
        "/billing",
        "/billing/history",
        "/billing/history.csv",
        "/billing/plan",
        "/billing/receipts",
        "/billing/receipts/pi_1",
    ):
        answer = browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["Location"] == f"/billing/sign-in?next={path}"


def test_a_form_without_its_token_does_nothing(browser, db, user):
    browser = browser(user)
    for path in ("buy", "subscribe", "cancel", "reactivate", "portal", "notifications", "top-up"):
        assert browser.post(f"/billing/{path}", {"csrf_token": "x"}).status_code == 400, path


def test_a_user_of_the_old_billing(browser, db):
    user = waiting(db)
    signed_in = browser(user)
    told = page(signed_in)
    assert "Your account moves here soon" in told
    assert "Left of this month $15.00" in told.replace("month$", "month $")
    for path in ("history", "plan", "cancel", "history/1", "receipts", "receipts/pi_1"):
        assert page(signed_in, f"/billing/{path}") == told, path
    assert said(signed_in.post("/billing/buy", {"package": "25"})) == told
    migrate(db, user)
    assert "Credits to use" in page(signed_in)


# What is wrong, in plain words.


def test_an_account_that_support_has_paused(browser, db, user, super_admin):
    db.execute("select billing.set_account_status(%s, %s, 'frozen', 'asked')", [super_admin, user])
    spend(db, user, 1, description="A summary")
    told = page(browser(user))
    assert "Your account is paused. Our support has paused it." in told
    assert "They wait while your account is paused." in told
    assert (
        "One call was refused in the last 7 days. It came just now, for “A summary”. Your account was paused." in told
    )
    assert "Refused: A summary" in told


def test_an_account_that_is_paused_for_a_dispute(browser, client, stripe, buyer):
    intent = bought(client, stripe, buyer)
    stripe.dispute(payment_intent=intent)
    assert stripe.flush()["done"]
    told = page(browser(buyer))
    assert "Your payment of $25.00 on" in told
    assert "is disputed with your bank" in told
    assert "While your account is paused, nothing can be bought." in told


def test_an_account_that_is_closed(browser, db, user, super_admin):
    db.execute("select billing.set_account_status(%s, %s, 'closed', 'asked')", [super_admin, user])
    told = page(browser(user))
    assert "Your account is closed." in told
    assert "You have no credits left" not in told
    assert "Choose a plan" not in told


def test_a_debt(browser, client, db, stripe, buyer):
    intent = bought(client, stripe, buyer)
    spend(db, buyer, 1020)
    stripe.dispute(payment_intent=intent)
    stripe.flush()
    (dispute,) = stripe.objects("dispute")
    stripe.close_dispute(dispute["id"], "lost")
    stripe.flush()
    told = page(browser(buyer))
    assert "You owe 15.00 credits." in told
    assert "taken back by the bank" in told
    assert "Taken back with a payment" in told


def test_nothing_left(browser, db, user):
    spend(db, user, 5)
    spend(db, user, "0.25", description="video")
    told = page(browser(user))
    assert "You have no credits left. Calls are refused until 5.00 come with your plan on 1 " in told
    assert "It needed 0.25 credits, and 0.00 were available. Nothing was taken." in told


def test_all_credits_reserved(browser, db, user):
    db.execute("select billing.hold_credits(%s, 5)", [user])
    told = page(browser(user))
    assert "All your credits are reserved." in told
    assert "5.00 more are reserved for calls that are still running." in told


def test_lots_stand_in_the_order_in_which_they_go(browser, client, db, stripe, buyer):
    bought(client, stripe, buyer)
    db.execute("select billing.grant_credits(%s, 7, 'promotion', 'For you')", [buyer])
    spend(db, buyer, "0.000000001")
    told = page(browser(buyer))
    order = re.search(r"Monthly credits .* Promotion .* Bought credits", told)[0]
    assert "1,004.999999999of 1,005.00" in order.replace(" of", "of")
    assert "Promotion do not expire 7.00" in order


def test_lots_that_differ_in_nothing_are_shown_as_one(browser, db, super_admin, user):
    spend(db, user, 1)
    db.execute("select billing.change_tier(%s, %s, 'tier_2_20', 'A gift')", [super_admin, user])
    told = page(browser(user))
    assert told.count("Monthly credits expire") == 1
    assert re.search(r"Monthly credits expire on [^.]* 24\.00 ?of 25\.00", told)


def test_lots_from_the_sixth_on_are_neutral_in_the_bar_and_in_the_list(browser, db, user):
    for number in range(7):
        db.execute(
            "select billing.grant_credits(%s, 1, 'promotion', 'For you', now() + %s * interval '1 hour')",
            [user, number + 1],
        )
    text = browser(user).get("/billing").text
    shown = [re.findall(rf'<svg class="{part}.*?</svg>', text) for part in ("credits-bar", "credits-mark")]
    classes = [re.findall(r"series-\d", "".join(each)) for each in shown]
    assert classes == 2 * [[f"series-{number}" for number in (1, 2, 3, 4, 5, 6, 6, 6)]]


def test_what_the_application_wrote_is_shown_and_not_run(browser, db, user):
    nasty = "<script>alert(1)</script>"
    metadata = '{"model": {"a": 1}, "prompt_tokens": "many", "completion_tokens": null, "refused": "x", "asked": {}}'
    spend(db, user, 1, description=nasty, metadata=metadata)
    spend(db, user, 1, metadata=f'{{"model": "{nasty}", "prompt_tokens": 1, "completion_tokens": "<b>"}}')
    spend(db, user, 50, description=nasty, metadata=metadata)
    signed_in = browser(user)
    for path in ("/billing", "/billing/history", *(f"/billing/history/{entry_no}" for entry_no in (2, 3, 4))):
        answer = signed_in.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text, path
        assert "alert(1)" in answer.text, path


# Buying.


def test_buying_goes_on_to_the_payment_page(browser, client, db, stripe, buyer):
    signed_in = browser(buyer)
    key = key_on(signed_in.get("/billing"))
    answer = signed_in.post("/billing/buy", {"package": "25", "key": key, "save_card": "true"})
    assert onward(answer).startswith(f"{stripe.url}/c/pay/")
    assert "form-action 'self';" in answer.headers["Content-Security-Policy"], "no redirect after a form leads away"
    again = signed_in.post("/billing/buy", {"package": "25", "key": key, "save_card": "true"})
    assert onward(again) == onward(answer), "a double click, or the back button"
    other = signed_in.post("/billing/buy", {"package": "50", "key": key})
    assert onward(other) != onward(answer), "who goes back and chooses anew begins anew"
    session = stripe.objects("checkout.session")[0]
    assert (session["success_url"], session["cancel_url"]) == (
        f"{APP_URL}/billing?paid=purchase",
        f"{APP_URL}/billing?left=purchase",
    )
    assert (
        stripe.objects("payment_intent")[0]["setup_future_usage"] == "off_session" if session["payment_intent"] else 1
    )
    told = page(signed_in, "/billing?left=purchase")
    assert "You have not paid. Nothing was charged. You can go on with buying 50.00 credits, or leave it." in told
    told = page(signed_in, "/billing?paid=purchase")
    assert "We wait for the word of our payment provider" in told
    assert "You have not finished paying" not in told, "who has paid is not asked to pay"
    stripe.checkout(session["id"])
    stripe.flush()
    assert stripe.objects("payment_intent")[0]["setup_future_usage"] == "off_session"
    late = signed_in.post("/billing/buy", {"package": "25", "key": key, "save_card": "true"})
    assert late.headers["Location"] == "/billing#buy"
    assert "This payment was made before" in page(signed_in)
    assert balance_of(db, buyer) == 1030


def test_a_payment_that_is_not_finished_can_be_gone_on_with(browser, client, stripe, buyer):
    url = buy(client, buyer)["checkout_url"]
    answer = browser(buyer).get("/billing")
    assert f'href="{url}">Pay $25.00' in answer.text
    assert "You have not finished paying for 25.00 credits" in said(answer)


def test_who_comes_back_from_paying_is_thanked(browser, client, stripe, buyer):
    bought(client, stripe, buyer, amount="12.34")
    assert "Thank you. 12.34 credits have arrived." in page(browser(buyer), "/billing?paid=purchase")


def test_what_has_arrived_is_in_the_numbers(browser, client, stripe, buyer, monkeypatch):
    """Also when the payment is told of while the page is being made."""
    ask = customer.call_all

    def told_meanwhile(function: str, **arguments: Any) -> list[dict[str, Any]]:
        if function == "list_purchases" and not ask("list_purchases", **arguments):
            bought(client, stripe, buyer, amount="12.34")
        return ask(function, **arguments)

    signed_in = browser(buyer)
    monkeypatch.setattr(customer, "call_all", told_meanwhile)
    shown = page(signed_in, "/billing?paid=purchase")
    assert "12.34 credits have arrived." in shown
    assert "1,017.34" in shown


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"amount": "12.345"}, 422, "Money has two decimal places"),
        ({"amount": "ten"}, 400, "Not an amount: give a number, like 12.5."),
        ({"amount": "1"}, 422, "min_purchase|at least|between|5"),
        ({"package": "11"}, 404, "This package is not sold any more"),
        ({}, 400, "Choose a package, or give an amount"),
    ],
)
def test_what_cannot_be_bought_is_said_at_the_form(browser, stripe, buyer, fields, status, reason):
    answer = browser(buyer).post("/billing/buy", fields | {"key": "k"})
    assert answer.status_code == status
    assert re.search(f"Buy credits .*({reason})", said(answer))
    if "amount" in fields:
        assert f'value="{fields["amount"]}"' in answer.text
    assert stripe.objects("checkout.session") == []


def test_the_free_tier_does_not_buy(browser, stripe, user):
    signed_in = browser(user)
    told = page(signed_in)
    assert "Single credits come with Enterprise only" in told
    assert "Automatic top-up" not in told
    answer = signed_in.post("/billing/buy", {"package": "25", "key": "k"})
    assert answer.status_code == 403
    assert "Your plan does not sell single credits" in said(answer)


def test_what_is_tried_again_takes_effect_once(browser, stripe, buyer):
    signed_in = browser(buyer)
    stripe.fault("timeout_before", method="POST", path="/v1/checkout/sessions")
    answer = signed_in.post("/billing/buy", {"package": "25", "key": "k"})
    assert answer.status_code == 503
    assert "Our payment provider cannot be reached." in said(answer)
    assert key_on(answer) == "k"
    onward(signed_in.post("/billing/buy", {"package": "25", "key": "k"}))
    assert stripe.created("checkout.session") == 1


def test_without_payments(shared_database, buyer):
    app = make_app(shared_database.url)
    signed_in = Browser(app, buyer, area="/billing")
    told = page(signed_in)
    assert "Payments are not set up here." in told
    assert "payments are not set up" in page(signed_in, "/billing/plan")
    for path, fields in (("buy", {"package": "25"}), ("subscribe", {"tier": "tier_2_20"}), ("portal", {})):
        answer = signed_in.post(f"/billing/{path}", fields)
        assert (answer.status_code, "There are no payments here" in said(answer)) == (503, True), path
    app.extensions["database"].close()


def test_a_session_that_ended_while_somebody_typed(app, browser, stripe, buyer):
    signed_in = browser(buyer)
    csrf = signed_in.csrf()
    signed_in.client.delete_cookie(COOKIE)
    answer = signed_in.client.post("/billing/buy", data={"csrf_token": csrf, "amount": "12.50", "key": "k"})
    assert answer.status_code == 401
    assert stripe.requests() == []
    onto = unescape(re.search(r'name="next" value="([^"]+)"', answer.text)[1])
    assert urlsplit(onto).path == "/billing/buy"
    assert signed_in.sign_in(token(sub=buyer), next=onto).headers["Location"] == onto
    back = signed_in.get(onto)
    where = urlsplit(back.headers["Location"])
    assert (where.path, where.fragment, parse_qs(where.query)["amount"]) == ("/billing", "buy", ["12.50"])
    again = signed_in.get(back.headers["Location"])
    assert 'value="12.50"' in again.text
    assert key_on(again) == "k", "what was sent before is sent again under its key"
    for query in ("_anchor=x&_external=1&_scheme=javascript", "days=%00&amount=%F0%9F%98%80"):
        for form in ("buy", "subscribe", "portal", "reactivate", "notifications", "top-up"):
            where = signed_in.get(f"/billing/{form}?{query}").headers["Location"]
            assert where.startswith("/billing"), where
            assert signed_in.get(where).status_code == 200, where


def test_the_way_back_never_leads_to_another_host(app, stripe, buyer):
    for number, host in enumerate(("https://shop.example.com", "https://evil.example.com")):
        signed_in = Browser(app, buyer, area="/billing", base_url=host)
        fields = {"package": "25", "key": f"k{number}", "success_url": "https://evil.example.com"}
        onward(signed_in.post("/billing/buy", fields))
    assert [session["success_url"] for session in stripe.objects("checkout.session")] == [
        "https://shop.example.com/billing?paid=purchase",
        f"{APP_URL}/billing?paid=purchase",
    ]


def test_an_odd_key_is_a_key(browser, stripe, buyer):
    for key in ("\0", "k\0", "x" * 1000, "\N{GRINNING FACE}", ""):
        onward(browser(buyer).post("/billing/buy", {"package": "25", "key": key}))


# Plans.


def test_a_plan_from_the_first_choice_to_its_end(browser, client, db, stripe, user):
    signed_in = browser(user)
    told = page(signed_in, "/billing/plan")
    assert "$20 a month 25 credits each month 20 more credits at once Upgrade to Plus" in told
    assert "Downgrade" not in told
    answer = signed_in.post("/billing/subscribe", {"tier": "tier_2_20", "interval": "month", "key": "k"})
    assert onward(answer).startswith(f"{stripe.url}/c/pay/")
    (session,) = stripe.objects("checkout.session")
    assert session["success_url"] == f"{APP_URL}/billing?paid=plan"
    assert session["cancel_url"] == f"{APP_URL}/billing/plan?left=plan"
    told = page(signed_in, "/billing/plan?left=plan")
    assert "You have not paid, and nothing was charged: you stay on Free." in told
    stripe.checkout(session["id"])
    stripe.flush()
    told = page(signed_in, "/billing?paid=plan")
    assert "Thank you. Your plan is Plus." in told
    assert "25.00 credits each month, for $20.00 a month (list price). It goes on by itself on" in told

    choice = page(signed_in, "/billing/plan?tier=tier_6_50")
    assert "Upgrade from Plus to Pro It begins at once." in choice
    assert "30.00 more credits come at once: 55.00 a month, less what you got in this one." in choice
    assert "Upgrade to Pro and pay the difference" in choice
    assert signed_in.post("/billing/subscribe", {"tier": "tier_6_50"}).headers["Location"] == "/billing#plan"
    stripe.flush()
    assert balance_of(db, user) == 55

    choice = page(signed_in, "/billing/plan?tier=tier_2_20")
    end = db.execute("select current_period_end as at from billing.get_subscription(%s)", [user]).fetchone().at
    until, first = (text_of(customer.on(each)) for each in (end, customer.next_first(end)))
    assert f"Downgrade from Pro to Plus You keep Pro until {until}, because that period is paid." in choice
    assert f"with 25.00 credits each month, first on {first}." in choice
    assert f"Downgrade to Plus on {until} Stay on Pro" in choice
    assert f"25 credits each month From {until} on Downgrade to Plus" in choice
    assert signed_in.post("/billing/subscribe", {"tier": "tier_2_20"}).headers["Location"] == "/billing#plan"
    stripe.flush()
    told = page(signed_in)
    assert f"You keep Pro until {until}, and are on Plus from then on." in told
    assert "on it is Plus. Until then nothing changes." in told
    assert "Stay on Pro" in told
    told = page(signed_in, "/billing/plan?tier=tier_12_100")
    assert "Take that back first" in told
    assert "55 credits each month Stay on Pro" in told
    assert f"Plus Next $20 a month 25 credits each month From {until} on Pro" in told
    signed_in.post("/billing/subscribe", {"tier": "tier_6_50"})
    stripe.flush()
    told = page(signed_in)
    assert "Your plan is Pro." in told
    assert "Stay on Pro" not in told

    assert f"End Pro, and go down to Free? You keep Pro until {until}" in page(signed_in, "/billing/cancel")
    signed_in.post("/billing/cancel")
    stripe.flush()
    told = page(signed_in)
    assert "after that you are on Free, with 5.00 credits each month." in told
    assert "keep it first" in page(signed_in, "/billing/plan?tier=tier_12_100")
    assert signed_in.get("/billing/cancel").headers["Location"] == "/billing"
    signed_in.post("/billing/reactivate")
    stripe.flush()
    assert "It goes on by itself on" in page(signed_in)


def test_changes_of_a_plan_that_are_refused(browser, stripe, user):
    signed_in = browser(user)
    for path, fields, status, reason in (
        ("cancel", {}, 404, "You have no plan to change."),
        ("reactivate", {}, 404, "You have no plan to change."),
        ("subscribe", {"tier": "free", "key": "k"}, 422, "This plan costs nothing"),
        ("subscribe", {"tier": "gone", "key": "l"}, 404, "This plan is not sold any more"),
    ):
        answer = signed_in.post(f"/billing/{path}", fields)
        assert (answer.status_code, reason in said(answer)) == (status, True), path


def test_a_card_that_is_declined_for_a_larger_plan(browser, client, stripe, user):
    stripe.card(subscribe(client, stripe, user)["default_payment_method"], "insufficient_funds")
    answer = browser(user).post("/billing/subscribe", {"tier": "tier_6_50"})
    assert answer.status_code == 402
    assert "Your bank has declined the card, so nothing has changed. Your card has insufficient funds." in said(answer)


def test_a_plan_that_support_has_changed(browser, client, db, stripe, super_admin, user):
    subscribe(client, stripe, user)
    db.execute("select billing.change_tier(%s, %s, 'tier_12_100', 'A gift')", [super_admin, user])
    signed_in = browser(user)
    told = page(signed_in)
    assert "Business 105.00 credits each month. Support has put you on it; what you pay for is Plus." in told
    assert "End Plus, and go down to Free?" in page(signed_in, "/billing/cancel")
    choice = page(signed_in, "/billing/plan?tier=tier_6_50")
    assert "Upgrade from Plus to Pro It begins at once." in choice
    assert "No more credits come in this month: you got as many already." in choice
    assert "55 credits each month Upgrade to Pro" in choice
    assert "It takes the place of Business, on which support has put you." in choice


def test_a_plan_that_was_given_gives_way_at_once(browser, db, super_admin, user):
    db.execute("select billing.change_tier(%s, %s, 'tier_6_50', 'A gift')", [super_admin, user])
    told = page(browser(user), "/billing/plan")
    assert "At once, in the place of Pro, which was given to you Downgrade to Plus" in told
    assert "105 credits each month 50 more credits at once Upgrade to Business" in told


def test_what_comes_at_once_in_the_month_of_a_migration_is_not_guessed(browser, db):
    user = waiting(db)
    migrate(db, user)
    told = page(browser(user), "/billing/plan")
    assert "Upgrade to Pro" in told
    assert "at once" not in told


def test_an_overdue_plan(browser, client, db, stripe, user):
    subscribe(client, stripe, user)
    db.execute("update billing.billing_subscriptions set status = 'past_due' where user_id = %s", [user])
    told = page(browser(user))
    assert "The last payment of your plan did not go through." in told
    assert "Look at my card" in told
    assert "They wait until your plan is paid." in told
    choice = page(browser(user), "/billing/plan?tier=tier_6_50")
    assert "Its credits come when your plan is paid." in choice
    assert "at once" not in choice.replace("It begins at once.", "")


def test_the_portal(browser, stripe, user):
    assert onward(browser(user).post("/billing/portal")).startswith(f"{stripe.url}/p/session/")


# Receipts.


def test_receipts_are_those_of_stripe(browser, client, stripe, buyer, user):
    intent = bought(client, stripe, buyer)
    signed_in = browser(buyer)
    assert "25.00 credits" in page(signed_in)
    receipt = signed_in.get(f"/billing/receipts/{intent}")
    assert receipt.status_code == 302
    assert receipt.headers["Location"].startswith(f"{stripe.url}/receipts/ch_")
    assert browser(user).get(f"/billing/receipts/{intent}").status_code == 404
    for unknown in ("pi_unknown", "pi_%00", "pi_%F0%9F%98%80", "x" * 300):
        assert signed_in.get(f"/billing/receipts/{unknown}").status_code == 404, unknown


def test_the_receipt_of_a_plan_is_its_invoice(browser, client, db, stripe, user):
    subscribe(client, stripe, user)
    (payment,) = db.execute("select * from billing.list_payments(%s)", [user]).fetchall()
    receipt = browser(user).get(f"/billing/receipts/{payment.payment_intent_id}")
    assert receipt.headers["Location"].startswith(f"{stripe.url}/invoices/in_")


def test_more_receipts_than_fit(browser, client, db, stripe, buyer, admin, monkeypatch):
    newest = [bought(client, stripe, buyer, amount=str(amount)) for amount in (10, 11, 12)][::-1]
    db.execute("update billing.credit_purchases set kind = 'auto_top_up', crossing_no = 1 where amount = 12")
    db.execute("update billing.billing_payments set created_at = created_at + amount_cents * interval '1 second'")
    monkeypatch.setattr(customer, "LATEST_RECEIPTS", 2)
    monkeypatch.setattr(customer, "RECEIPTS", 2)
    signed_in = browser(buyer)
    told = page(signed_in)
    assert "12.00 credits" in told
    assert "10.00 credits" not in told
    assert "All receipts" in told
    told = page(signed_in, "/billing/receipts")
    assert re.search(r"12\.00 credits [^,]*, automatic [^,]*11\.00 credits [^,]*$", told)
    (onto,) = re.findall(r'href="(/billing/receipts\?before=[^"]+)"', signed_in.get("/billing/receipts").text)
    told = page(signed_in, onto)
    assert "10.00 credits" in told
    assert "Next page" not in told
    assert "12.00 credits" not in told
    assert "There are no older ones." in page(signed_in, "/billing/receipts?before=pi_unknown")

    path = f"/api/admin/billing/user/{buyer}/payments"
    first = client.get(f"{path}?limit=2", by=admin)
    rest = client.get(f"{path}?limit=2&before={first['next_before']}", by=admin)
    told = [each["payment_intent_id"] for each in (*first["payments"], *rest["payments"])]
    assert (told, rest["next_before"]) == (newest, None)
    assert client.get(f"{path}?limit=201", by=admin).status == 400


def test_a_receipt_that_cannot_be_fetched(browser, client, logged, stripe, buyer):
    intent = bought(client, stripe, buyer)
    stripe.fault("timeout_before", method="GET", path=f"/v1/payment_intents/{intent}")
    answer = browser(buyer).get(f"/billing/receipts/{intent}")
    assert answer.status_code == 503
    assert "Our payment provider cannot be reached." in said(answer)
    assert any("stripe_unavailable" in line["message"] for line in logged())


# What happens by itself.


@pytest.mark.parametrize(
    ("fields", "low_balance", "is_default"),
    [
        ({"tell": "below", "low_balance": "7.5"}, "7.5", False),
        ({"tell": "never", "low_balance": "7.5"}, "0", False),
        # Who types a number means it.
        ({"tell": "default", "low_balance": "7.5"}, "7.5", False),
        ({"tell": "default"}, "1", True),
    ],
)
def test_when_to_be_told_of_a_low_balance(browser, client, user, fields, low_balance, is_default):
    signed_in = browser(user)
    answer = signed_in.post("/billing/notifications", fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/billing#notifications")
    kept = client.get("/api/billing/v2/notifications", by=user)
    assert (kept["low_balance"], kept["is_default"]) == (D(low_balance), is_default)
    chosen = "default" if is_default else "never" if low_balance == "0" else "below"
    assert f'value="{chosen}" checked' in signed_in.get("/billing").text


@pytest.mark.parametrize("fields", [{"tell": "below"}, {"tell": "below", "low_balance": "-1"}, {"low_balance": "x"}])
def test_a_low_balance_that_is_none(browser, client, user, fields):
    answer = browser(user).post("/billing/notifications", fields)
    assert answer.status_code in (400, 422)
    assert re.search("Low balance (Give a number|The amount must be|Not an amount)", said(answer))
    assert client.get("/api/billing/v2/notifications", by=user)["is_default"]


def test_automatic_top_up(browser, client, buyer):
    signed_in = browser(buyer)
    on = {"enabled": "true", "threshold": "20", "package": "50", "monthly_cap": "40"}
    answer = signed_in.post("/billing/top-up", on)
    assert answer.status_code == 422
    assert "Automatic top-up One package costs more than you allow in a month" in said(answer)
    assert 'value="40"' in answer.text
    assert signed_in.post("/billing/top-up", on | {"monthly_cap": "100"}).headers["Location"] == "/billing#top-up"
    told = page(signed_in)
    assert "When fewer than 20.00 credits are left, 50 credits are bought with your card." in told
    assert "So far this month: $0.00 of at most $100.00." in told
    signed_in.post("/billing/top-up", {"enabled": "false"})
    assert client.get("/api/billing/v2/auto-top-up", by=buyer)["enabled"] is False


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("card_declined", "Your bank has declined the card."),
        ("insufficient_funds", "There was not enough money on your card's account."),
        ("no_payment_method", "There is no card of yours to charge"),
    ],
)
def test_a_top_up_that_turned_itself_off(browser, db, buyer, code, reason):
    db.execute("select billing.set_auto_top_up(%s, true, 20, '25', 100)", [buyer])
    turned_off = "update billing.billing_auto_top_ups set enabled = false, disabled_reason = %s where user_id = %s"
    db.execute(turned_off, [code, buyer])
    signed_in = browser(buyer)
    told = page(signed_in)
    assert f"Automatic top-up has turned itself off. {reason}" in told
    assert f"Off It has turned itself off. {reason}" in told
    db.execute("update billing.billing_auto_top_ups set updated_at = now() - interval '20 days'")
    told = page(signed_in)
    assert "Automatic top-up has turned itself off." not in told, "whoever does without is not told of it for ever"
    assert f"Off It has turned itself off. {reason}" in told


def test_a_top_up_that_waits(browser, db, buyer):
    db.execute("select billing.set_auto_top_up(%s, true, 20, '25', 100)", [buyer])
    signed_in = browser(buyer)
    assert "is tried again" not in page(signed_in)
    db.execute("update billing.billing_auto_top_ups set retry_after = now() + interval '1 hour'")
    assert "The card that was declined is tried again from" in page(signed_in)
    db.execute("update billing.billing_auto_top_ups set monthly_cap = 20")
    told = page(signed_in)
    assert "That is as much as you allow in a month: nothing is bought by itself before 1 " in told


# What is wrong with a form, in the words of who filled it in.


TOP_UP = {"enabled": "true", "threshold": "20", "package": "50", "monthly_cap": "100"}


@pytest.mark.parametrize(
    ("form", "fields", "reason"),
    [
        ("buy", {"amount": ""}, "Choose a package, or give an amount"),
        ("buy", {"amount": "NaN"}, "Not an amount"),
        ("buy", {"amount": "0"}, "The amount must be more than nothing"),
        ("buy", {"amount": "1e99"}, "That is more than an amount can be"),
        ("buy", {"amount": "5.0000000001"}, "at most nine decimal places"),
        ("buy", {"amount": "1"}, "must be 5 to 10000"),
        ("buy", {"package": "\0"}, "Choose a package, or give an amount"),
        ("buy", {"package": "25", "save_card": "maybe"}, "Choose a package, or give an amount"),
        ("subscribe", {"tier": "", "key": "a"}, "Choose a plan"),
        ("subscribe", {"tier": "\0", "key": "b"}, "Choose a plan"),
        ("subscribe", {"tier": "tier_2_20", "interval": "week", "key": "c"}, "Choose a plan, and whether it is paid"),
        ("cancel", {}, "You have no plan to change"),
        ("reactivate", {}, "You have no plan to change"),
        ("notifications", {"tell": "below"}, "Give a number of credits"),
        ("notifications", {"tell": "below", "low_balance": "1e30"}, "That is more than an amount can be"),
        ("top-up", {}, "Give all three"),
        ("top-up", TOP_UP | {"enabled": "x"}, "Give all three"),
        ("top-up", TOP_UP | {"threshold": ""}, "Give all three"),
        ("top-up", TOP_UP | {"threshold": "x"}, "Not an amount"),
        ("top-up", TOP_UP | {"threshold": "-1"}, "must be more than nothing"),
        ("top-up", TOP_UP | {"package": "gone"}, "not sold any more"),
        ("top-up", TOP_UP | {"package": ""}, "Give all three"),
        ("top-up", TOP_UP | {"monthly_cap": "1"}, "One package costs more than you allow"),
    ],
)
def test_hints_are_for_customers(browser, stripe, buyer, user, form, fields, reason):
    for who in (buyer, user):
        answer = browser(who).post(f"/billing/{form}", fields)
        assert answer.status_code in (400, 403, 404, 422)
        (told,) = re.findall(r'<div class="alert alert-danger" role="alert">.*?</div>', answer.text, re.DOTALL)
        told = text_of(told)
        assert reason in told or (who == user and "Your plan does not sell single credits" in told)
        assert not SQL_WORDS.search(told)
        assert not re.search("_|U\\+|boolean|field|Stripe|interval '", told)


def test_there_are_words_for_whatever_the_database_can_raise():
    called = {
        *("record_purchase", "request_checkout", "request_subscription_change", "request_customer"),
        *("set_auto_top_up", "set_low_balance", "request_sync"),
    }
    lines = [line.split(" | ") for line in Path("db/errors.md").read_text().splitlines() if " | UC" in line]
    raised = {cells[0].strip("| `") for cells in lines if called & set(cells[-1].rstrip(" |").split(", "))}
    assert len(raised) > 15
    # Each form has words for the first two; a visit opens the account, and who is not migrated has a page of their own.
    elsewhere = {"invalid_request", "amount_out_of_range", "account_not_found", "not_migrated"}
    assert raised - customer.SAYS.keys() == elsewhere


# What happened.


def test_history_page_by_page_and_by_kind(browser, db, user):
    for number in range(60):
        spend(db, user, "0.01", description=f"call {number}")
    signed_in = browser(user)
    told = page(signed_in, "/billing/history")
    assert "call 59" in told
    assert "call 9 " not in told
    assert "call 9" in page(signed_in, "/billing/history?before=12")
    granted = page(signed_in, "/billing/history?type=tier_grant")
    assert "Free credits for" in granted
    assert "call 5" not in granted
    for query in ("type=nonsense", "before=x", f"before={10**30}"):
        assert signed_in.get(f"/billing/history?{query}").status_code == 400, query
    lines = signed_in.get("/billing/history.csv?type=usage").text.splitlines()
    assert (len(lines), lines[0].split(",")[:4]) == (61, ["user_id", "entry_no", "type", "amount"])


def test_the_totals_add_up(browser, client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer)
    db.execute("select billing.adjust_credits(%s, %s, -3, 'Granted twice')", [super_admin, buyer])
    spend(db, buyer, "990.000000001")
    db.execute("select billing.hold_credits(%s, 2)", [buyer])
    body = {"user_id": str(buyer), "amount": 5, "reason": "asked", "stripe_refund": True, "payment_intent_id": intent}
    client.post("/api/admin/billing/refund", body, by=super_admin)
    signed_in = browser(buyer)
    told = page(signed_in, "/billing/history")
    shown = re.search(r"You got([\d,.]+) You used.([\d.]+) Taken back.([\d.]+) Left([\d.]{12})2\.00 of them", told)
    got, *gone, left = (D(each.replace(",", "")) for each in shown.groups())
    assert (got, gone) == (1030, [D("990.000000001"), 8])
    assert left == got - sum(gone) == balance_of(db, buyer)
    assert "Taken back with a payment" in told
    assert "pi_" not in told, "a payment has no name that means anything to who made it"
    assert "You got" not in page(signed_in, "/billing/history?type=usage")
    assert f"In all {left}. 2.00 of them are reserved" in page(signed_in)


def test_an_entry_tells_which_credits_paid(browser, db, user, super_admin):
    db.execute("select billing.grant_credits(%s, 3, 'promotion', 'For you')", [user])
    spend(db, user, 6, description="A long film")
    db.execute("select billing.reverse_entry(%s, %s, 3, 'It had failed')", [super_admin, user])
    signed_in = browser(user)
    told = page(signed_in, "/billing/history/3")
    assert "Which credits paid for it Monthly credits" in told
    assert re.search("expire on .* 20[0-9]{2}5.00Promotion1.00", told)
    assert "Gives backentry 3" in page(signed_in, "/billing/history/4")
    for entry_no in (0, 99, 2**63 - 2, 2**63, 10**30):
        assert signed_in.get(f"/billing/history/{entry_no}").status_code == 404, entry_no
    assert len(entries_of(db, user)) == 4


# How numbers are put.


@pytest.mark.parametrize(
    ("days", "text"),
    [
        ("0.4", "Less than a day"),
        ("1.9", "About a day"),
        ("9.99", "About 9 days"),
        ("75", "About 2 months"),
        ("800", "About 2 years"),
    ],
)
def test_days_are_told_as_the_estimate_that_they_are(days, text):
    assert days_text(D(days)) == text


@pytest.mark.parametrize(
    ("time", "first"),
    [
        ("2025-01-31T23:59:59Z", "2025-02-01T00:00:00Z"),
        ("2025-12-23T10:00:00Z", "2026-01-01T00:00:00Z"),
        ("2025-02-01T00:00:00Z", "2025-02-01T00:00:00Z"),
        ("2025-02-01T00:00:00+01:00", "2025-02-01T00:00:00Z"),
    ],
)
def test_monthly_credits_come_on_the_first(time, first):
    assert next_first(datetime.fromisoformat(time)) == datetime.fromisoformat(first)


@pytest.mark.parametrize(("amount", "text"), [("1234.567", "1,234.57"), ("0.004", "less than 0.01"), ("0", "0")])
def test_rough_amounts(amount, text):
    assert rough(D(amount)) == text


def test_more_usage_than_can_be_summed_up_in_time(browser, monkeypatch, user):
    def cancelled(function, **arguments):
        if function == "usage_by":
            raise psycopg.errors.QueryCanceled
        return call_all(function, **arguments)

    monkeypatch.setattr("api.customer.call_all", cancelled)
    assert "There is too much to sum it up here" in page(browser(user))


def test_a_bar_is_filled_to_its_end():
    assert parts([D(1), D(2), D(1)]) == [("0.00%", "25.00%"), ("25.00%", "50.00%"), ("75.00%", "25.00%")]
    assert parts([]) == []
