"""The customer's own page: what is there, buying through Stripe's pages, and what others must not see."""

from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from api.tests.browser.conftest import sign_in

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
    page.get_by_role("button", name="25 credits for").click()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Decline").click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url(f"{site.url}/billing?**")
    site.stripe.flush()
    page.reload()
    expect(page.get_by_role("status").filter(has_text="Thank you")).to_contain_text("25.00 credits have arrived")
    expect(page.locator(".balance-amount")).to_have_text("1,030.00")
    assert [entry.amount for entry in site.entries(user)] == [1005, 25]


def test_a_checkout_that_was_left_can_be_gone_on_with(people, site):
    user = site.user(BUYERS_TIER)
    page = people.signed_in(user, "/billing")
    page.get_by_label("Or another amount").fill("12.50")
    page.get_by_role("button", name="Buy", exact=True).click()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url(f"{site.url}/billing**")
    page.get_by_role("link", name="Pay $12.50").click()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url(f"{site.url}/billing?**")
    site.stripe.flush()
    assert site.account(user).balance == Decimal("1017.5")
    assert len([each for each in site.stripe.objects("checkout.session") if str(user) in str(each["metadata"])]) == 1


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
    page.get_by_role("button", name="Choose Plus").click()
    to_stripe(page, site.stripe.url)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url(f"{site.url}/billing?**")
    site.stripe.flush()
    assert (site.account(user).tier, site.account(user).balance) == ("tier_2_20", 25)
    page.reload()
    page.get_by_role("link", name="End it").click()
    page.get_by_role("button", name="End it on").click()
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
