"""Every page, for everybody: with a screen reader or in the dark, on a phone, and whatever was typed somewhere else."""

import json
from collections.abc import Iterator
from urllib.parse import quote, urlsplit
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, expect

from api import API
from api.tests.browser.conftest import (
    DESKTOP,
    PHONE,
    People,
    Site,
    beyond_the_edge,
    serious_faults,
)
from api.tests.browser.story import Story, scripted, tell

pytestmark = pytest.mark.once

# The pages, and what each must show of what was typed elsewhere.
USER = "/admin/users/{user}"
PAGES: dict[str, tuple[str, ...]] = {
    "/admin/users?q={user}": ("reference",),
    USER: ("reference",),
    f"{USER}/ledger": ("description", "reason", "grant", "refund"),
    f"{USER}/ledger/{{entry_no}}": ("description", "type", "id", "key", "name", "value", "feature"),
    f"{USER}/usage": ("model",),
    f"{USER}/payments": (),
    f"{USER}/holds": ("hold",),
    f"{USER}/events": (),
    f"{USER}/log": ("reason", "frozen", "request"),
    "/admin/approvals": (),
    "/admin/approvals/{approval_id}": ("request",),
    "/admin/approvals/{decided_id}": ("request", "decision"),
    "/admin/bulk": ("campaign",),
    "/admin/bulk/new?name={user}": (),
    "/admin/bulk/{bulk_id}": ("campaign", "bulk", "reference"),
    "/admin/log": ("reference", "reason", "config reason"),
    "/admin/admins": (),
    "/admin/config": ("tier", "model"),
    "/admin/config/tiers/tier_200_1000": ("tier",),
    "/admin/config/model_prices": (),
    "/admin/health": (),
    "/billing": ("tier",),
    "/billing/history": ("description", "model"),
    "/billing/history/{entry_no}": ("description",),
    "/billing/plan": ("tier",),
    "/billing/plan?tier=tier_2_20": ("tier",),
    "/billing/cancel": ("tier",),
    "/billing/receipts": (),
}
PAGES |= {
    f"{USER}/actions/{slug}": ()
    for slug in (
        *("adjust", "grant", "refund", "reverse?entry_no={entry_no}", "status?status=frozen", "tier"),
        "release-hold?hold_id={hold_id}",
    )
}


# Forms as a link fills them in, their button, and what of the fields the next page shows.
PREVIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    f"{USER}/actions/adjust?amount=-2&": ("Preview", ("reason",)),
    f"{USER}/actions/adjust?amount=200000&": ("Preview", ("reason",)),
    f"{USER}/actions/reverse?entry_no={{entry_no}}&": ("Preview", ("reason",)),
    f"{USER}/actions/status?status=frozen&": ("Preview", ("reason",)),
    "/admin/bulk/new?text=user_id,amount%0A{user},2.5&": ("Check the file", ("name", "reason")),
    "/admin/bulk/new?text=reference,amount%0Anobody,-1&": ("Check the file", ("name", "reason")),
    "/admin/config/tiers/tier_200_1000?": ("Show the difference", ("display_name",)),
}
# Pages that only lead to another one, and the ones to sign in, which test_session has.
ELSEWHERE = {
    "panel.home",
    "panel.sign_in",
    "customer.sign_in",
    "customer.form_of",
    "customer.receipt",
    "customer.with_slash",
}


@pytest.fixture(scope="module")
def story(site: Site) -> Story:
    return tell(site)


@pytest.fixture(scope="module")
def readers(chromium: Browser, site: Site) -> Iterator[People]:
    people = People(chromium, site)
    yield people
    people.leave()


@pytest.fixture(scope="module")
def desks(readers: People, site: Site, story: Story) -> dict[bool, Page]:
    """A page of a super admin, and one of the customer."""
    return {
        False: readers.signed_in(site.super_admin, "/admin/sign-in"),
        True: readers.signed_in(story.user, "/billing/sign-in"),
    }


# What is written on the page, in its fields too.
TEXT = """() => [document.body.textContent]
    .concat([...document.querySelectorAll("input, textarea")].map((field) => field.value)).join(" ")"""


def look(page: Page, typed: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with the page that is open."""
    text = page.evaluate(TEXT).casefold()
    for field in typed:
        if all(given.casefold() not in text for given in (scripted(field), json.dumps(scripted(field))[1:-1])):
            yield f"{field} is not shown as it was typed"
    if page.evaluate("window.injected"):
        yield "a script that was typed somewhere has run"
    if made := page.locator("script:not([src]), img[src*=injected], svg[onload]").count():
        yield f"{made} elements were made of what was typed somewhere"
    yield from serious_faults(page)
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html[data-bs-theme=dark]")).to_be_attached()
    yield from (f"dark: {fault}" for fault in serious_faults(page, "color-contrast"))
    page.set_viewport_size(PHONE)
    yield from (f"phone: {element}" for element in beyond_the_edge(page))


@pytest.mark.parametrize("path", PAGES)
def test_page(path: str, desks: dict[bool, Page], readers: People, story: Story) -> None:
    page = desks[path.startswith("/billing")]
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    answer = page.goto(path.format(**vars(story)))
    assert answer is not None
    found = [*(look(page, PAGES[path]) if answer.status == 200 else [f"{answer.status}"]), *readers.faults()]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", PREVIEWS)
def test_page_that_a_form_leads_to(path: str, desks: dict[bool, Page], readers: People, story: Story) -> None:
    """What is typed into a form is shown by the page that follows it."""
    button, typed = PREVIEWS[path]
    query = "&".join(f"{field}={quote(scripted(field))}" for field in typed)
    page = desks[False]
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    page.goto(path.format(**vars(story)) + query)
    with page.expect_navigation():
        page.get_by_role("button", name=button).click()
    expect(page.get_by_role("button", name=button)).to_have_count(0)
    found = [*look(page, typed), *readers.faults()]
    assert not found, "\n".join(found)


def test_no_page_is_left_out(app: API) -> None:
    """What answers a GET below /admin and /billing is looked at above, unless it is a file, or leads to one that is."""
    adapter, some_id = app.url_map.bind("localhost"), UUID(int=0)
    example = Story(some_id, some_id, 1, some_id, some_id, some_id, some_id)
    seen = {adapter.match(urlsplit(path.format(**vars(example))).path)[0] for path in PAGES}
    pages = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith(("panel.", "customer.")) and "GET" in (rule.methods or ())
    }
    assert {page for page in pages - seen if not page.endswith(("_csv", "_results"))} == ELSEWHERE
