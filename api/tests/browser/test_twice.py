"""The same form sent twice, two admins at the same user, and a session that ends while a form is filled in."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import Error, expect

from api.tests.browser.conftest import TOKEN_COOKIE, session_token, sign_in
from api.tests.browser.test_support import act, balance, confirm, preview

pytestmark = pytest.mark.once


def test_a_double_click_does_it_once(people, site):
    user = site.user()
    page = people.signed_in(site.admin())
    act(page, user, "adjust", Amount="2", Reason="Goodwill")
    page.get_by_role("button", name="Confirm").dblclick()
    page.wait_for_url(f"**/admin/users/{user}")
    assert [entry.amount for entry in site.entries(user)] == [5, 2]


def test_a_double_click_without_javascript_does_it_once(people, site):
    """Nothing but the key of the form is in the way of the second."""
    user = site.user()
    page = people.signed_in(site.admin(), java_script_enabled=False)
    act(page, user, "adjust", Amount="2", Reason="Goodwill")
    page.get_by_role("button", name="Confirm").dblclick()
    page.wait_for_url(f"**/admin/users/{user}")
    expect(page.get_by_role("main")).to_contain_text("7.00")
    assert [entry.amount for entry in site.entries(user)] == [5, 2]


def test_the_same_form_sent_at_the_same_time(people, site):
    user = site.user()
    page = people.signed_in(site.admin())
    act(page, user, "adjust", Amount="2", Reason="Goodwill")
    form = page.locator("form:has([name=step][value=confirm])").first
    fields = form.evaluate("form => Object.fromEntries(new FormData(form, form.querySelector('[value=confirm]')))")
    fields = {"step": "confirm"} | fields
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in page.context.cookies())
    url = f"{site.url}/admin/users/{user}/actions/adjust"
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(
            lambda _: requests.post(url, fields, headers={"Cookie": cookies}, allow_redirects=False, timeout=20),
            range(8),
        )
        assert {answer.status_code for answer in answers} == {303}
    assert [entry.amount for entry in site.entries(user)] == [5, 2]


def test_the_back_button_sends_nothing_by_itself(people, site):
    """What a form had led to is not shown again, unless somebody says that the form is to be sent again."""
    user = site.user()
    page = people.signed_in(site.admin())
    act(page, user, "adjust", Amount="2", Reason="Goodwill")
    confirm(page, user)
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        page.go_back()
    assert [entry.amount for entry in site.entries(user)] == [5, 2]


def test_going_back_to_the_form_and_sending_it_again_does_it_once(people, site):
    user = site.user()
    page = people.signed_in(site.admin())
    act(page, user, "adjust", Amount="2", Reason="Goodwill")
    confirm(page, user)
    page.evaluate("history.go(-2)")
    page.wait_for_url("**/actions/adjust?**")
    page.get_by_label("Amount").fill("2")
    page.get_by_label("Reason").fill("Goodwill")
    page.get_by_role("button", name="Preview").click()
    page.wait_for_url(f"**/admin/users/{user}")
    told = page.get_by_role("status").filter(has_text="This was done already")
    assert [entry.amount for entry in site.entries(user)] == [5, 2]
    assert len(site.actions(user)) == 1
    told.get_by_role("link", name="See entry 2").click()
    page.wait_for_url(f"**/admin/users/{user}/ledger/2")


def test_two_admins_at_once_do_both_and_the_balance_is_right(people, site):
    user = site.user()
    first, second = (people.signed_in(site.admin()) for _ in range(2))
    act(first, user, "adjust", Amount="2", Reason="Goodwill")
    act(second, user, "adjust", Amount="-4", Reason="Granted twice")
    assert balance(second) == ("5.00", "1.00")
    confirm(first, user)
    second.get_by_role("button", name="Confirm").click()
    expect(second.get_by_role("status").filter(has_text="Nothing was done")).to_contain_text("Another admin")
    assert balance(second) == ("7.00", "3.00")
    confirm(second, user)
    expect(second.get_by_role("main")).to_contain_text("3.00")
    assert [(entry.amount, entry.balance_after) for entry in site.entries(user)] == [(5, 5), (2, 7), (-4, 3)]


def test_what_another_admin_has_taken_meanwhile_is_not_taken_again(people, site):
    """The preview was right when it was shown; what counts is what the database finds."""
    user = site.user()
    first, second = (people.signed_in(site.admin()) for _ in range(2))
    for page in (first, second):
        act(page, user, "adjust", Amount="-4", Reason="Granted twice")
    confirm(first, user)
    second.get_by_role("button", name="Confirm").click()
    expect(second.get_by_role("alert")).to_be_visible()
    assert site.account(user).balance == 1


def test_only_one_of_two_admins_reverses_an_entry(people, site):
    user = site.user()
    site.call("deduct_credits", user_id=user, amount=Decimal(2))
    first, second = (people.signed_in(site.admin()) for _ in range(2))
    for page in (first, second):
        act(page, user, "reverse", "entry_no=2", Reason="It had failed")
    confirm(first, user)
    second.get_by_role("button", name="Confirm").click()
    expect(second.get_by_role("alert")).to_be_visible()
    assert site.account(user).balance == 5


def test_a_session_that_ends_in_the_middle_keeps_what_was_typed_and_does_nothing(people, site):
    admin, user = site.admin(), site.user()
    page = people.visitor()
    page.goto(f"/admin/users/{user}/actions/adjust")
    sign_in(page, admin)
    page.get_by_label("Amount").fill("-1.5")
    page.get_by_label("Reason").fill("Granted twice, says the ticket 4711 & all")
    page.context.clear_cookies()
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing was done")
    sign_in(page, admin)
    page.wait_for_url(f"**/admin/users/{user}/actions/adjust?**")
    assert "csrf_token" not in parse_qs(urlsplit(page.url).query)
    expect(page.get_by_label("Amount")).to_have_value("-1.5")
    expect(page.get_by_label("Reason")).to_have_value("Granted twice, says the ticket 4711 & all")
    preview(page)
    key = page.locator("[name=idempotency_key]").first.input_value()
    page.context.clear_cookies()
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing was done")
    assert (site.account(user).balance, site.actions(user)) == (5, [])
    sign_in(page, admin)
    preview(page)
    assert page.locator("[name=idempotency_key]").first.input_value() == key
    confirm(page, user)
    assert site.account(user).balance == Decimal("3.5")


def test_a_form_of_another_session_does_nothing(people, site):
    """Somebody else has signed in meanwhile: what the first one had filled in is not done in the other's name."""
    user = site.user()
    page = people.signed_in(site.admin())
    act(page, user, "adjust", Amount="2", Reason="Goodwill")
    page.context.clear_cookies()
    value = session_token(site.super_admin)
    page.context.add_cookies([{"name": TOKEN_COOKIE, "value": value, "url": site.url, "httpOnly": True}])
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("form_expired")).to_be_visible()
    assert site.account(user).balance == 5
