"""The configuration and the roles, changed in the panel: seen before it is saved, and by whom."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Page, expect

from api.tests.browser.conftest import Site

pytestmark = pytest.mark.once


def price_of(site: Site, model: str) -> Any:
    found = site.rows("select * from billing.model_prices where model = %s order by effective_from desc", model)
    return found[0]


def save(page: Page, reason: str) -> None:
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Save").click()


def test_a_price_is_added_and_changed_after_its_difference_was_shown(people, site):
    model = f"model-{uuid4()}"
    page = people.signed_in(site.super_admin, "/admin/config/model_prices")
    values = {"Model": model, "Input": "1.5", "Cached input": "0.15", "Output": "6", "Multiplier": "1.5"}
    for label, value in values.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Show the difference").click()
    save(page, "A new model")
    page.wait_for_url("**/admin/config**")
    expect(page.get_by_role("status").first).to_be_visible()
    assert price_of(site, model).multiplier == Decimal("1.5")

    page.goto(f"/admin/config/model_prices/{model}")
    page.get_by_label("Multiplier", exact=True).fill("2")
    page.get_by_role("button", name="Show the difference").click()
    (changed,) = page.get_by_role("row").filter(has=page.locator("ins")).all()
    assert changed.get_by_role("cell").all_inner_texts() == ["1.5", "2"]
    assert price_of(site, model).multiplier == Decimal("1.5")
    save(page, "The provider charges more")
    expect(page.get_by_role("status").first).to_be_visible()
    assert price_of(site, model).multiplier == 2
    reasons = site.rows(
        "select reason from billing.admin_actions_log where action = 'change_config' and details ->> 'name' = %s "
        "order by action_id",
        model,
    )
    assert [row.reason for row in reasons] == ["A new model", "The provider charges more"]


def test_what_somebody_else_has_changed_meanwhile_is_not_overwritten(people, site):
    first, second = (people.signed_in(site.admin("super_admin")) for _ in range(2))
    for page, credits in ((first, "61"), (second, "62")):
        page.goto("/admin/config/tiers/tier_6_50")
        page.get_by_label("Credits a month").fill(credits)
        page.get_by_role("button", name="Show the difference").click()
    save(first, "More for the same price")
    expect(first.get_by_role("status").first).to_be_visible()
    save(second, "More for the same price")
    expect(second.get_by_role("status").filter(has_text="somebody else has changed this")).to_be_visible()
    expect(second.get_by_label("Credits a month")).to_have_value("62")
    (tier,) = site.rows("select monthly_credits from billing.billing_tiers where name = 'tier_6_50'")
    assert tier.monthly_credits == 61


def test_an_admin_sees_the_configuration_and_cannot_change_it(people, site):
    page = people.signed_in(site.admin(), "/admin/config/tiers/free")
    expect(page.get_by_label("Credits a month")).to_be_disabled()
    expect(page.get_by_role("button", name="Show the difference")).to_have_count(0)
    page.goto("/admin/admins")
    expect(page.get_by_role("button", name="Set the role")).to_have_count(0)


def test_an_admin_is_made_and_made_a_user_again(people, site):
    somebody: UUID = site.user()
    page = people.signed_in(site.super_admin, "/admin/admins")
    theirs = people.signed_in(somebody, "/admin/users")
    expect(theirs.get_by_text("not_an_admin")).to_be_visible()
    for role, shown in (("admin", True), ("user", False)):
        page.get_by_label("User", exact=True).fill(str(somebody))
        page.get_by_label("Role", exact=True).select_option(role)
        page.get_by_label("Reason").fill("Support team")
        page.get_by_role("button", name="Set the role").click()
        expect(page.get_by_role("status").first).to_be_visible()
        theirs.goto("/admin/users")
        expect(theirs.get_by_text("not_an_admin")).to_be_visible(visible=not shown)
