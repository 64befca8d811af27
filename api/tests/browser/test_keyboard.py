"""A task from the first page to the last without a mouse, and where the focus is can always be seen."""

import pytest
from playwright.sync_api import Locator, Page, expect

from api.tests.browser.conftest import DESKTOP, session_token

pytestmark = pytest.mark.once

FOCUSED = """() => {
  const element = document.activeElement;
  if (element === document.body) return true;
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
  return (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none";
}"""


def tab_to(page: Page, wanted: Locator, limit: int = 60) -> None:
    """Press Tab until it has the focus."""
    for _ in range(limit):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED), f"nobody sees the focus on {page.evaluate('document.activeElement.outerHTML')}"
    raise AssertionError(f"{wanted} is not reached with Tab")


def test_an_adjustment_without_a_mouse(people, site):
    user = site.user(reference="keyboard@example.com")
    page = people.visitor()
    page.goto("/admin/users")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(session_token(site.admin()))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("searchbox"))
    page.keyboard.type("keyboard@")
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/users?q=keyboard**")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    tab_to(page, skip)
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("main").get_by_role("link", name="keyboard@example.com"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/admin/users/{user}")
    tab_to(page, page.get_by_role("main").get_by_role("link", name="Adjust"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Amount"))
    page.keyboard.type("2.5")
    tab_to(page, page.get_by_label("Reason"))
    page.keyboard.type("Goodwill")
    tab_to(page, page.get_by_role("button", name="Preview"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Confirm"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/admin/users/{user}")
    assert site.account(user).balance == 7.5


def test_the_menu_of_a_phone(people, site):
    page = people.signed_in(site.admin(), "/admin/users", phone=True)
    navigation = page.get_by_role("navigation", name="Main")
    expect(navigation).to_be_hidden()
    tab_to(page, page.get_by_role("button", name="Menu"))
    page.keyboard.press("Enter")
    tab_to(page, navigation.get_by_role("link", name="Health"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Health", exact=True)).to_be_visible()


def test_the_tabs_of_a_phone(people, site):
    user = site.user()
    page = people.signed_in(site.admin(), f"/admin/users/{user}", phone=True)
    tabs = page.get_by_role("navigation", name="The user")
    expect(tabs).to_have_class("tabs more-after")
    tab_to(page, tabs.get_by_role("link", name="Admin log"))
    expect(tabs).to_have_class("tabs more-before")
    page.set_viewport_size(DESKTOP)
    expect(tabs).to_have_class("tabs")


def test_the_theme_is_chosen_and_kept(people, site):
    page = people.signed_in(site.admin(), "/admin/health")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
    tab_to(page, page.get_by_role("button", name="Dark"))
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.goto("/admin/users")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
