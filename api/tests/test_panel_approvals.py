"""Requests for approval in the panel, and the admins: nobody decides on their own."""

import csv
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from uuid import UUID, uuid4

import pytest

from api.tests.conftest import balance_of
from api.tests.pages import SQL_WORDS, Browser, text_of
from api.tests.test_panel_actions import hidden
from api.tests.test_payments import REFUNDS, TOP, bought


@pytest.fixture
def page(app, admin) -> Browser:
    return Browser(app, admin)


@pytest.fixture
def boss(app, super_admin) -> Browser:
    return Browser(app, super_admin)


def ask(db, by: UUID, user: UUID, amount: int = 1500, action: str = "adjust_credits", **values) -> str:
    """The path of a request."""
    named = "".join(f", p_{name} => %({name})s" for name in values)
    result = db.execute(
        f"select * from billing.request_approval(%(by)s, %(user)s, %(action)s, 'Contract 4711', %(amount)s{named})",
        {"by": by, "user": user, "action": action, "amount": amount} | values,
    ).fetchone()
    assert result.success, result.reason
    return f"/admin/approvals/{result.approval_id}"


def test_the_list_and_the_badge(page, boss, admin, db, user):
    path = ask(db, admin, user)
    shown = boss.get(f"/admin/approvals?user={user}").text
    assert path in shown
    assert "Add 1,500.00 creditsContract 4711" in text_of(shown)
    assert re.search(r"Approvals ?(\d|9\+) open", text_of(boss.get("/admin/users").text))
    assert path not in page.get(f"/admin/approvals?user={user}&status=approved").text
    assert path in page.get(f"/admin/approvals?user={user}&status=all").text
    assert page.get("/admin/approvals?status=lost").status_code == 400


def test_another_admin_sees_what_it_would_do_and_approves(boss, admin, db, user):
    path = ask(db, admin, user)
    opened = boss.get(path)
    assert "1,505.00" in text_of(opened.text)
    before, after = re.search(r"Your limit left today([\d,]+\.\d\d)([\d,]+\.\d\d)", text_of(opened.text)).groups()
    assert Decimal(before.replace(",", "")) - Decimal(after.replace(",", "")) == 1500
    form = hidden(opened.text) | {"reason": "Agreed"}
    for told in ("Approved and done. The balance is 1,505.00.", "approved already; nothing was done again."):
        answer = boss.post(f"{path}/approve", form)
        assert (answer.status_code, answer.location) == (303, path)
        assert told in text_of(boss.get(path).text)
    assert balance_of(db, user) == 1505
    assert "Agreed" in boss.get(path).text


def test_nobody_decides_their_own(page, boss, admin, db, user):
    path = ask(db, admin, user)
    shown = page.get(path).text
    assert "It is your own request" in text_of(shown)
    assert f"{path}/approve" not in shown
    answer = page.post(f"{path}/approve", hidden(shown) | {"reason": "Mine"})
    assert answer.status_code == 403
    assert "neither who asked" in text_of(answer.text)
    assert page.post(f"{path}/withdraw", {"reason": ""}).status_code == 303
    assert "Withdrawn" in text_of(boss.get(path).text)
    assert balance_of(db, user) == 5


def test_a_decision_needs_a_reason(boss, admin, db, user):
    path = ask(db, admin, user)
    for what in ("approve", "decline"):
        for reason, told in ((" ", "Say in a few words why"), ("x" * 2001, "at most 2000 characters")):
            answer = boss.post(f"{path}/{what}", hidden(boss.get(path).text) | {"reason": reason})
            assert answer.status_code in (400, 422)
            assert 'id="f-reason-error"' in answer.text
            assert told in text_of(answer.text)
    assert boss.post(f"{path}/decline", {"reason": "Too <b>much</b>"}).status_code == 303
    assert "Too &lt;b&gt;much&lt;/b&gt;" in boss.get(path).text
    late = boss.post(f"{path}/approve", {"reason": "After all"})
    assert late.status_code == 409
    assert "Approval not open" in text_of(late.text)
    assert "What became of it is below." in text_of(late.text)
    assert not SQL_WORDS.search(text_of(late.text))


def test_a_reason_that_cannot_be_stored(page, boss, admin, db, user):
    path = ask(db, admin, user)
    for browser, what in ((boss, "approve"), (boss, "decline"), (page, "withdraw")):
        answer = browser.post(f"{path}/{what}", hidden(browser.get(path).text) | {"reason": "a\0b"})
        assert (answer.status_code, 'id="f-reason-error"' in answer.text) == (422, True), what
    assert "Open" in text_of(boss.get(path).text)


def test_a_double_click_approves_once(app, super_admin, admin, db, user):
    pages = [Browser(app, super_admin) for _ in range(2)]
    path = ask(db, admin, user)
    form = hidden(pages[0].get(path).text) | {"reason": "Agreed"}
    del form["csrf_token"]
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda page: page.post(f"{path}/approve", form).status_code, pages))
    assert (answers, balance_of(db, user)) == ([303, 303], 1505)


def test_what_changed_since_it_was_opened_is_shown_first(boss, admin, db, user):
    path = ask(db, admin, user, amount=1500, action="admin_grant_credits", expires_at=datetime.now(UTC) + timedelta(9))
    form = hidden(boss.get(path).text) | {"reason": "Agreed"}
    db.execute("select billing.set_account_status(%s, %s, 'frozen', 'Odd calls')", [admin, user])
    answer = boss.post(f"{path}/approve", form)
    assert answer.status_code == 409
    assert "things have changed since you opened this page" in text_of(answer.text)
    assert balance_of(db, user) == 5
    assert boss.post(f"{path}/approve", hidden(answer.text) | {"reason": "Agreed"}).status_code == 303


def test_what_cannot_be_done_any_more(page, boss, admin, db, user):
    path = ask(db, admin, user)
    db.execute("select billing.set_account_status(%s, %s, 'closed', 'Left')", [admin, user])
    shown = boss.get(path)
    assert "It cannot be done as things are. The account is closed. Set it to active first" in text_of(shown.text)
    assert f"{path}/approve" not in shown.text
    assert f"{path}/decline" in shown.text
    assert "It cannot be done as things are, by anybody." in text_of(page.get(path).text)


def test_a_change_of_tier_that_is_not_what_was_asked_for(boss, admin, db, user):
    path = ask(db, admin, user, amount=None, action="change_tier", tier="tier_2_20")
    assert "Change the tier from Free to Plus" in text_of(boss.get(path).text)
    db.execute("select billing.change_tier(%s, %s, 'tier_6_50', 'Upgraded')", [admin, user])
    shown = text_of(boss.get(path).text)
    assert "decline it, so that it can be asked for anew." in shown
    assert not SQL_WORDS.search(shown)
    (row,) = csv.DictReader(StringIO(boss.get(f"/admin/approvals.csv?user={user}").text))
    assert (row["from_tier"], row["tier"]) == ("free", "tier_2_20")


def test_the_list_as_a_file(boss, super_admin, admin, db, user):
    db.execute("select billing.set_user_reference(%s, 'carla@example.com')", [admin])
    first, second = (ask(db, admin, user, amount=1500 + number) for number in range(2))
    boss.post(f"{first}/decline", {"reason": "No"})
    rows = list(csv.DictReader(StringIO(boss.get(f"/admin/approvals.csv?user={user}&status=all").text)))
    assert [(f"/admin/approvals/{row['approval_id']}", row["status"], row["amount"]) for row in rows] == [
        (second, "open", "1501"),
        (first, "declined", "1500"),
    ]
    assert [(row["requested_by_reference"], row["decided_by"]) for row in rows] == [
        ("carla@example.com", ""),
        ("carla@example.com", str(super_admin)),
    ]
    assert (
        f"/admin/approvals.csv?status=all&amp;user={user}" in boss.get(f"/admin/approvals?user={user}&status=all").text
    )


def test_who_has_no_right_to_it_cannot_approve(page, super_admin, db, user):
    """A plain admin and a request that is above that one's limits too."""
    path = ask(db, super_admin, user, amount=200_000)
    shown = page.get(path).text
    assert "You cannot approve this. This is above what the admin's role may move. See the admins" in text_of(shown)
    assert "200,005.00" in text_of(shown)
    assert f"{path}/approve" not in shown
    assert page.post(f"{path}/approve", hidden(shown) | {"reason": "I try"}).status_code == 403
    assert balance_of(db, user) == 5


def test_an_approved_refund_goes_back_at_once_or_says_why_not(boss, admin, client, db, stripe):
    buyer = uuid4()
    db.execute("select billing.open_account(%s, %s)", [buyer, TOP])
    intent = bought(client, stripe, buyer, package="25")
    money = {"action": "request_refund", "stripe_refund": True, "payment_intent_id": intent}
    path = ask(db, admin, buyer, amount=10, **money)
    opened = boss.get(path).text
    assert "$10.00 go back to the customer" in text_of(opened)
    assert boss.post(f"{path}/approve", hidden(opened) | {"reason": "Agreed"}).status_code == 303
    assert "the refund is made" in text_of(boss.get(path).text)
    assert [refund["amount"] for refund in stripe.objects("refund")] == [1000]
    later = ask(db, admin, buyer, amount=5, **money)
    stripe.fault("timeout_before", method="POST", path=REFUNDS)
    boss.post(f"{later}/approve", hidden(boss.get(later).text) | {"reason": "Agreed"})
    assert "Stripe cannot be reached" in text_of(boss.get(later).text)


def test_pages_that_are_not_there(page):
    unknown = page.get(f"/admin/approvals/{uuid4()}")
    assert (unknown.status_code, '<a href="/admin/approvals?status=all">' in unknown.text) == (404, True)
    assert page.post(f"/admin/approvals/{uuid4()}/approve", {"reason": "x"}).status_code == 404


# Admins.


def test_admins_and_what_is_left_of_their_limits(page, admin, db, user):
    db.execute("select billing.adjust_credits(%s, %s, 12.5, 'test')", [admin, user])
    shown = text_of(page.get("/admin/admins").text)
    assert "12.50 of 5,000.00" in shown
    assert "4,987.50" in shown
    assert "Set the role" not in shown
    answer = page.post("/admin/admins", {"user_id": user, "role": "admin", "reason": "A friend"})
    assert answer.status_code == 403
    assert "This needs the role super_admin." in text_of(answer.text)


def test_a_role_is_changed_with_a_reason(boss, db, user):
    form = {"user_id": str(user), "role": "admin"}
    refused = boss.post("/admin/admins", form)
    assert (refused.status_code, 'id="f-reason-error"' in refused.text) == (422, True)
    assert str(user) in refused.text
    assert boss.post("/admin/admins", form | {"reason": "Hired"}).status_code == 303
    assert f"{str(user)[:8]} is now an admin." in text_of(boss.get("/admin/admins").text)
    assert boss.post("/admin/admins", form | {"role": "user", "reason": "Left"}).status_code == 303
    role = db.execute("select billing.get_user_role(%s) as role", [user]).fetchone().role
    assert role == "user"
    assert boss.post("/admin/admins", {"user_id": "x", "role": "boss", "reason": "x"}).status_code == 422


def test_the_last_super_admin_stays(boss, super_admin):
    answer = boss.post("/admin/admins", {"user_id": str(super_admin), "role": "user", "reason": "Tired"})
    assert answer.status_code == 409
    assert "The last super admin keeps the role" in text_of(answer.text)
