"""Credits for many users from a file: corrected, started, watched, and uploaded once more."""

import csv
import re
from io import StringIO
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from api.tests.browser.conftest import Site

pytestmark = pytest.mark.once


def check(page: Page, name: str, text: str) -> None:
    """Upload a file."""
    page.goto("/admin/bulk/new")
    page.get_by_label("Name").fill(name)
    page.get_by_label("File", exact=True).set_input_files(
        {"name": "grants.csv", "mimeType": "text/csv", "buffer": text.encode()}
    )
    page.get_by_label("Reason").fill("The outage of March")
    page.get_by_role("button", name="Check the file").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Check: {name}")


def grant(page: Page) -> None:
    """Start it, and wait until all is done."""
    page.get_by_role("button", name=re.compile(r"^Grant .* credits to ")).click()
    page.wait_for_url("**/admin/bulk/*-*")
    start = page.get_by_role("button", name="Start granting")
    if start.is_visible():
        start.click()
    expect(page.get_by_text("100 %").or_(page.get_by_text("100%")).first).to_be_visible()


def balances(site: Site, users: list) -> list:
    return [site.account(user).balance for user in users]


def test_a_file_uploaded_twice_grants_once(people, site):
    users = [site.user(reference=f"bulk-{number}@example.com") for number in range(3)]
    name = f"March outage {uuid4()}"
    page = people.signed_in(site.admin())
    check(page, name, "\n".join(["user_id,amount", f"{users[0]},2.5", f"{users[1]},4", f"{users[2]},-1"]))
    expect(page.get_by_role("alert")).to_contain_text("to be corrected")
    expect(page.get_by_role("region", name="Rows to be corrected")).to_contain_text("greater than zero")
    assert balances(site, users) == [5, 5, 5]

    corrected = "\n".join(["reference,amount", *(f"bulk-{number}@example.com,{number + 2}.5" for number in range(3))])
    check(page, name, corrected)
    expect(page.get_by_role("region", name="Rows that would be granted")).to_contain_text("bulk-2@example.com")
    grant(page)
    assert balances(site, users) == [7.5, 8.5, 9.5]
    with page.expect_download() as download:
        page.get_by_role("link", name="Results").click()
    results = list(csv.DictReader(StringIO(download.value.path().read_text())))
    assert [(row["reference"], row["outcome"]) for row in results] == [
        (f"bulk-{number}@example.com", "granted") for number in range(3)
    ]

    check(page, name, corrected)
    expect(page.get_by_role("main")).to_contain_text("Everything in this file has been granted")
    expect(page.get_by_role("button", name=re.compile("^Grant"))).to_have_count(0)
    check(page, f"{name}, again", corrected)
    expect(page.get_by_role("region", name="Rows that were granted under another name")).to_contain_text(name)
    assert balances(site, users) == [7.5, 8.5, 9.5]
    assert [len(site.actions(user)) for user in users] == [1, 1, 1]


def test_a_row_that_cannot_be_granted_is_told_and_the_others_are_granted(people, site):
    good, frozen = site.user(), site.user()
    site.call("set_account_status", actor=site.super_admin, user_id=frozen, status="closed", reason="Has left")
    page = people.signed_in(site.admin())
    check(page, f"Mixed {uuid4()}", f"user_id;amount\n{good};3\n{frozen};3\n")
    expect(page.get_by_role("region", name="Rows that would be refused")).to_contain_text("closed")
    grant(page)
    assert balances(site, [good, frozen]) == [8, 5]
    expect(page.get_by_role("region", name="Rows").get_by_role("row").filter(has_text=str(frozen)[:8])).to_contain_text(
        "The account is closed."
    )


def test_without_javascript_it_is_pressed_through(people, site):
    user = site.user()
    page = people.signed_in(site.admin(), java_script_enabled=False)
    check(page, f"Plain {uuid4()}", f"user_id\tamount\n{user}\t3\n")
    page.get_by_role("button", name="Grant 3.00 credits to 1 user").click()
    assert site.account(user).balance == 5
    page.get_by_role("button", name="Grant the next 1 rows").click()
    expect(page.get_by_role("main")).to_contain_text("Done")
    assert site.account(user).balance == 8
