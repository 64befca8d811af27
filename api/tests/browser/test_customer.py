"""The customer's own page: what is there, buying through Stripe's pages, and what others must not see."""

import os
import subprocess
import sys
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from api.tests.browser.conftest import Site, sign_in
from api.tests.conftest import environment, payments_at

pytestmark = pytest.mark.once

# The one that sells credits.
BUYERS_TIER = "tier_200_1000"


def to_stripe(page: Page, url: str) -> None:
    """The page that leads on does so by itself."""
    page.wait_for_url(f"{url}/c/pay/**")
    expect(page.get_by_role("heading", name="Checkout")).to_be_visible()


def test_credits_are_bought_through_the_checkout(people, site):
    user = site.user(BUYERS_TIER)
    page = people.visitor()
    page.goto("/billing")
    sign_in(page, user)
    expect(page.get_by_role("heading", name="Credits to use")).to_be_visible()
    page.get_by_role("button", name="25 credits for").dblclick()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Decline").click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    site.stripe.fault("hold", times=0)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url(f"{site.url}/billing?**")
    expect(page.get_by_role("status").filter(has_text="Thank you")).to_contain_text("We wait for the word")
    expect(page.get_by_text("You have not finished paying")).to_have_count(0)
    site.stripe.clear_faults()
    site.stripe.release()
    site.stripe.flush()
    # The page looks again by itself.
    expect(page.get_by_role("status").filter(has_text="Thank you")).to_contain_text("25.00 credits have arrived")
    expect(page.locator(".balance-amount")).to_have_text("1,030.00")
    assert [entry.amount for entry in site.entries(user)] == [1005, 25]
    assert len(sessions_of(site, user)) == 1, "a double click is one purchase"


def sessions_of(site: Site, user: UUID) -> list[dict[str, Any]]:
    return [each for each in site.stripe.objects("checkout.session") if str(user) in str(each["metadata"])]


def test_a_checkout_that_was_left_can_be_gone_on_with(people, site):
    user = site.user(BUYERS_TIER)
    page = people.signed_in(user, "/billing")
    page.get_by_label("Or another amount").fill("12.50")
    page.get_by_role("button", name="Buy", exact=True).click()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url(f"{site.url}/billing**")
    expect(page.get_by_role("status").filter(has_text="You have not paid")).to_contain_text("Nothing was charged")
    page.get_by_role("link", name="Pay $12.50").click()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url(f"{site.url}/billing?**")
    site.stripe.flush()
    assert site.account(user).balance == Decimal("1017.5")
    assert len(sessions_of(site, user)) == 1


def work(site: Site) -> None:
    """What the worker does when it comes by."""
    settings = environment(site.database.url) | payments_at(site.stripe) | {"APP_URL": site.url}
    done = subprocess.run([sys.executable, "-m", "scripts.worker", "--once"], env=os.environ | settings, timeout=120)
    assert done.returncode in (0, 1)
    site.stripe.flush()


def test_credits_are_bought_by_themselves_until_the_card_is_declined(people, site):
    user = site.user(BUYERS_TIER)
    page = people.signed_in(user, "/billing")
    page.get_by_role("checkbox", name="Keep my card").check()
    page.get_by_role("button", name="10 credits for").click()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url(f"{site.url}/billing?**")
    site.stripe.flush()
    page.get_by_text("Set it up").click()
    page.get_by_label("When fewer credits are left than").fill("1000")
    page.get_by_label("Buy", exact=True).select_option("50")
    page.get_by_label("At most in a month").fill("120")
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_role("status").filter(has_text="Automatic top-up is on")).to_be_visible()
    card = page.locator("#top-up")

    site.call("deduct_credits", user_id=user, amount=Decimal(20))
    work(site)
    page.reload()
    expect(page.locator(".balance-amount")).to_have_text("1,045.00")
    expect(card).to_contain_text("So far this month: $50.00 of at most $120.00")
    expect(page.locator("#receipts")).to_contain_text("automatic")

    (customer,) = site.rows("select stripe_customer_id as id from billing.billing_customers where user_id = %s", user)
    (kept,) = [each for each in site.stripe.objects("payment_method") if each["customer"] == customer.id]
    site.stripe.card(kept["id"], "insufficient_funds")
    site.call("deduct_credits", user_id=user, amount=Decimal(50))
    work(site)
    page.reload()
    told = page.get_by_role("status").filter(has_text="Automatic top-up has turned itself off")
    expect(told).to_contain_text("There was not enough money on your card's account. Nothing was charged.")
    expect(page.locator(".balance-amount")).to_have_text("995.00")

    page.get_by_role("button", name="Turn it on").click()
    expect(card).to_contain_text("The card that was declined is tried again from")
    page.get_by_role("button", name="Turn it off").click()
    expect(page.get_by_role("status").filter(has_text="Automatic top-up is off")).to_be_visible()
    assert not site.call("get_auto_top_up", user_id=user).enabled


def test_an_amount_that_makes_no_sense_stays_in_the_form(people, site):
    page = people.signed_in(site.user(BUYERS_TIER), "/billing")
    page.get_by_label("Or another amount").fill("12.345")
    page.get_by_role("button", name="Buy", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("whole cents")
    expect(page.get_by_label("Or another amount")).to_have_value("12.345")


def test_a_plan_is_chosen_paid_ended_and_kept(people, site):
    user = site.user()
    page = people.signed_in(user, "/billing")
    page.get_by_role("navigation").get_by_role("link", name="Plans").click()
    page.get_by_role("button", name="Upgrade to Plus").click()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url(f"{site.url}/billing?**")
    site.stripe.flush()
    assert (site.account(user).tier, site.account(user).balance) == ("tier_2_20", 25)
    page.reload()
    page.get_by_role("link", name="End it").click()
    page.get_by_role("button", name="End Plus on").click()
    expect(page.get_by_role("status").filter(has_text="ends")).to_be_visible()
    site.stripe.flush()
    assert site.call("get_subscription", user_id=user).cancel_at_period_end
    page.reload()
    page.get_by_role("button", name="Keep Plus").click()
    expect(page.get_by_role("status").filter(has_text="goes on")).to_be_visible()
    site.stripe.flush()
    assert not site.call("get_subscription", user_id=user).cancel_at_period_end


def test_a_customer_sees_nobody_else_and_no_panel(people, site):
    other, user = site.user(reference="other@example.com"), site.user()
    site.call("deduct_credits", user_id=other, amount=Decimal(1), description="A secret of others")
    page = people.signed_in(user, "/billing/history")
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    assert "secret" not in page.content()
    for path in ("/admin/users", f"/admin/users/{other}", "/admin/users.csv"):
        answer = page.goto(path)
        assert answer.status == 403
        assert "other@example.com" not in page.content()


def test_the_history_as_a_file(people, site):
    user = site.user()
    site.call("deduct_credits", user_id=user, amount=Decimal("0.000000001"), description='A "quoted", and =1+1')
    page = people.signed_in(user, "/billing/history")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    text = download.value.path().read_text()
    assert ",entry_no,type,amount," in text.splitlines()[0]
    assert "-0.000000001" in text
    assert ",=1+1" not in text


def test_the_page_works_without_javascript(people, site):
    user = site.user(BUYERS_TIER)
    page = people.visitor(java_script_enabled=False)
    page.goto("/billing")
    sign_in(page, user)
    page.get_by_role("button", name="25 credits for").click()
    to_stripe(page, site.stripe.url)


def test_being_told_of_a_low_balance(people, site):
    user = site.user()
    page = people.signed_in(user, "/billing")
    page.get_by_role("radio", name="below", exact=True).check()
    page.get_by_label("How many credits").fill("12.5")
    page.locator("#notifications").get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    expect(page.get_by_label("How many credits")).to_have_value("12.5")
    assert site.call("get_notifications", user_id=user).low_balance == Decimal("12.5")
