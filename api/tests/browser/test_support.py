"""What a support person does on a bad day, each task from the first page to what the database says afterwards."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.once

BUYERS_TIER = "tier_200_1000"
MINUS = "\N{MINUS SIGN}"


def act(page: Page, user: UUID, slug: str, query: str = "", **fields: str) -> None:
    """Fill in the form of an action, and ask what it would do."""
    page.goto(f"/admin/users/{user}/actions/{slug}?{query}")
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " ")).fill(value)
    preview(page)


def preview(page: Page) -> None:
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(": preview")


def balance(page: Page) -> tuple[str, str]:
    """Before and after, as the preview has it."""
    before, after = page.locator(".effect-value").all_inner_texts()
    return before, after


def change(page: Page, what: str) -> tuple[str, str]:
    """Before and after, of something else that changes."""
    row = page.get_by_role("table", name="What changes").get_by_role("row", name=re.compile(rf"^{what}\b"))
    before, after = row.get_by_role("cell").all_inner_texts()
    return before, after


def confirm(page: Page, user: UUID) -> None:
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url(f"**/admin/users/{user}")
    expect(page.get_by_role("main").get_by_role("status").first).to_be_visible()


def search(page: Page, text: str) -> None:
    page.goto("/admin/users")
    page.get_by_role("searchbox").fill(text)
    page.keyboard.press("Enter")


def test_finding_a_user_and_explaining_a_balance(people, site):
    user = site.user(BUYERS_TIER, reference="ada.lovelace@example.com")
    site.call(
        "deduct_credits",
        user_id=user,
        amount=Decimal("1004.5"),
        description="Nightly export",
        reference_type="job",
        reference_id="export-118",
    )
    intent = site.buy(user, "25")
    page = people.signed_in(site.admin())
    for text in (str(user), intent):
        search(page, text)
        page.wait_for_url(f"**/admin/users/{user}")
    for text in (str(user)[:13], "export-118", "ada.love", "Ada.Lovelace@example.com"):
        search(page, text)
        page.get_by_role("main").get_by_role("link", name="ada.lovelace@example.com").click()
        page.wait_for_url(f"**/admin/users/{user}")
    expect(page.get_by_role("heading", level=1)).to_have_text("ada.lovelace@example.com")
    expect(page.get_by_role("main")).to_contain_text("25.50")
    page.get_by_role("link", name="Ledger", exact=True).click()
    page.get_by_label("Type").select_option("usage")
    page.wait_for_url("**/ledger?type=usage**")
    (row,) = page.get_by_role("table").get_by_role("row").filter(has_text="Nightly export").all()
    assert row.get_by_role("cell").all_inner_texts()[-2:] == [f"{MINUS}1,004.50", "0.50"]
    row.get_by_role("link", name="Entry 2").click()
    (funding,) = (
        page.get_by_role("table", name="Funding")
        .or_(page.get_by_role("region", name="Funding").get_by_role("table"))
        .all()
    )
    expect(funding.get_by_role("row").last).to_contain_text("Tier grant")
    expect(funding.get_by_role("row").last).to_contain_text("1,004.50")
    expect(page.get_by_role("main")).to_contain_text("The whole account verifies")


def test_granting_credits_that_expire(people, site):
    admin, user = site.admin(), site.user()
    ends = datetime.now(UTC) + timedelta(days=10)
    page = people.signed_in(admin)
    act(page, user, "grant", Amount="7.5", Expires=ends.strftime("%Y-%m-%dT%H:%M"), Reason="An outage of two hours")
    assert balance(page) == ("5.00", "12.50")
    assert site.account(user).balance == 5
    confirm(page, user)
    lot = site.rows("select * from billing.credit_grants where user_id = %s order by grant_no desc", user)[0]
    assert (lot.amount, lot.expires_at.date()) == (Decimal("7.5"), ends.date())
    (action,) = site.actions(user)
    assert (action.action, action.admin_user_id, action.reason) == (
        "admin_grant_credits",
        admin,
        "An outage of two hours",
    )
    expect(page.get_by_role("main")).to_contain_text("12.50")


def test_taking_credits_back(people, site):
    user = site.user()
    page = people.signed_in(site.admin())
    act(page, user, "adjust", Amount="-1.25", Reason="Granted twice")
    assert balance(page) == ("5.00", "3.75")
    confirm(page, user)
    assert site.account(user).balance == Decimal("3.75")


def test_more_than_there_is_cannot_be_taken(people, site):
    user = site.user()
    page = people.signed_in(site.admin())
    page.goto(f"/admin/users/{user}/actions/adjust")
    page.get_by_label("Amount").fill("-6")
    page.get_by_label("Reason").fill("Too much")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Confirm|Request"))).to_have_count(0)
    assert site.account(user).balance == 5


def test_refunding_in_credits(people, site):
    user = site.user()
    page = people.signed_in(site.super_admin)
    act(page, user, "refund", Amount="2", Reason="The answers were cut off")
    assert balance(page) == ("5.00", "7.00")
    confirm(page, user)
    assert [(entry.type, entry.amount) for entry in site.entries(user)][1:] == [("refund", 2)]


def test_refunding_money_takes_the_credits_back(people, site):
    user = site.user(BUYERS_TIER)
    intent = site.buy(user, "25")
    page = people.signed_in(site.super_admin)
    act(page, user, "refund", f"stripe_refund=true&payment_intent_id={intent}", Amount="10", Reason="By mistake")
    assert balance(page) == ("1,030.00", "1,020.00")
    assert site.stripe.created("refund") == 0 or not site.call("list_refunds", user_id=user)
    confirm(page, user)
    site.stripe.flush()
    refund = site.call("list_refunds", user_id=user)
    assert (refund.amount_cents, refund.status) == (1000, "succeeded")
    assert site.account(user).balance == 1020
    page.get_by_role("link", name="Payments", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("$10.00")


def test_reversing_an_entry_gives_the_lots_back(people, site):
    user = site.user()
    site.call("grant_credits", user_id=user, amount=Decimal(3), source="promotion", description="Launch week")
    site.call("deduct_credits", user_id=user, amount=Decimal(7), description="A job that failed")
    page = people.signed_in(site.admin(), f"/admin/users/{user}/ledger/3")
    page.get_by_role("link", name="Reverse").click()
    page.get_by_label("Reason").fill("It had failed")
    preview(page)
    assert balance(page) == ("1.00", "8.00")
    lots = page.get_by_role("main").get_by_role("listitem").filter(has_text="made by this").all_inner_texts()
    assert [bool(re.search(r"expires \d{4}-\d\d-01 00:00.*\+5\.00", lot, re.S)) for lot in lots] == [True, False]
    assert [bool(re.search(r"never expires.*\+2\.00", lot, re.S)) for lot in lots] == [False, True]
    confirm(page, user)
    assert site.account(user).balance == 8
    page.goto(f"/admin/users/{user}/ledger/3")
    expect(page.get_by_role("link", name="Reverse", exact=True)).to_have_count(0)


def test_freezing_and_unfreezing(people, site):
    user = site.user()
    page = people.signed_in(site.admin())
    act(page, user, "status", "status=frozen", Reason="Unusual traffic")
    assert change(page, "Status") == ("Active", "Frozen")
    confirm(page, user)
    refused = site.call("deduct_credits", user_id=user, amount=Decimal(1))
    assert (refused.success, refused.reason) == (False, "account_frozen")
    act(page, user, "status", "status=active", Reason="It was the user")
    assert change(page, "Status") == ("Frozen", "Active")
    confirm(page, user)
    assert site.call("deduct_credits", user_id=user, amount=Decimal(1)).success


def test_releasing_a_stuck_hold(people, site):
    user = site.user()
    hold = site.call("hold_credits", user_id=user, amount=Decimal(4), expires_in=timedelta(days=7))
    page = people.signed_in(site.admin(), f"/admin/users/{user}/holds")
    page.get_by_role("link", name="Release").click()
    page.get_by_label("Reason").fill("The worker has died")
    preview(page)
    assert change(page, "Held") == ("4.00", "0.00")
    confirm(page, user)
    assert site.account(user).held == 0
    assert site.rows("select status from billing.credit_holds where hold_id = %s", hold.hold_id) == [("released",)]


def test_changing_a_tier(people, site):
    user = site.user()
    page = people.signed_in(site.admin(), f"/admin/users/{user}/actions/tier")
    page.get_by_label("Tier").select_option("tier_2_20")
    page.get_by_label("Reason").fill("Upgraded by phone")
    preview(page)
    assert balance(page) == ("5.00", "25.00")
    confirm(page, user)
    assert (site.account(user).tier, site.account(user).balance) == ("tier_2_20", 25)


def test_what_is_above_the_limit_is_approved_by_another_admin(people, site):
    admin, other, user = site.admin(), site.admin("super_admin"), site.user()
    page = people.signed_in(admin)
    act(page, user, "adjust", Amount="1500", Reason="Credits of the yearly contract")
    page.get_by_role("button", name="Request approval").click()
    expect(page.get_by_role("main").get_by_role("status").first).to_be_visible()
    assert site.account(user).balance == 5
    (request,) = site.rows("select * from billing.list_approvals(p_user_id => %s)", user)
    page.goto(f"/admin/approvals/{request.approval_id}")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)

    page = people.signed_in(other, "/admin/approvals")
    page.get_by_role("main").locator(f"a[href$='{request.approval_id}']").first.click()
    expect(page.get_by_role("main")).to_contain_text("Credits of the yearly contract")
    assert balance(page) == ("5.00", "1,505.00")
    page.get_by_label("Reason").first.fill("The contract says so")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("main")).to_contain_text("Approved")
    assert site.account(user).balance == 1505
    assert site.call("get_approval", approval_id=request.approval_id).decided_by == other


def test_a_request_is_declined_with_a_reason(people, site):
    admin, user = site.admin(), site.user()
    asked = site.call(
        "request_approval",
        actor=admin,
        user_id=user,
        action="adjust_credits",
        amount=Decimal(2000),
        reason="Please",
    )
    page = people.signed_in(site.super_admin, f"/admin/approvals/{asked.approval_id}")
    page.get_by_label("Reason").last.fill("There is no contract")
    page.get_by_role("button", name="Decline").click()
    expect(page.get_by_role("main")).to_contain_text("Declined")
    assert site.account(user).balance == 5
    page = people.signed_in(admin, f"/admin/approvals/{asked.approval_id}")
    expect(page.get_by_role("main")).to_contain_text("There is no contract")


def test_reading_the_health_of_the_system(people, site):
    site.conn.execute("delete from billing.job_runs where job = 'monthly_grants'")  # A worker may have run it.
    page = people.signed_in(site.admin(), "/admin/health")
    failing = page.get_by_role("region", name="Alerts").get_by_role("row", name=re.compile("^failed_deductions"))
    monthly = page.get_by_role("region", name="Jobs").get_by_role("row", name=re.compile("^monthly_grants"))
    expect(failing).to_contain_text("Quiet")
    expect(monthly).to_contain_text("Not run yet")
    site.conn.execute("call billing.run_job('monthly_grants')")
    user = site.user()
    for _ in range(11):
        site.call("deduct_credits", user_id=user, amount=Decimal(6))
    page.get_by_role("link", name="Look again").click()
    expect(failing).to_contain_text("Raised")
    expect(failing.get_by_text(str(user)[:8]).first).to_be_attached()
    expect(monthly).to_contain_text("just now")
    expect(page.get_by_role("main").get_by_role("status").first).to_contain_text("Somebody should look")
