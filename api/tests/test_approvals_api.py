"""Previews, requests for approval and decisions over HTTP: the database decides, and keeps every attempt."""

from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from api.tests.conftest import Answer, Client, balance_of
from api.tests.test_admin import actions_on
from api.tests.test_payments import TOP, bought

ADMIN = "/api/admin/billing"
D = Decimal


@pytest.fixture
def colleague(db, super_admin) -> Iterator[UUID]:
    """Another admin, for as long as the test runs: other tests are about the last super admin."""
    user_id = uuid4()
    db.execute("select billing.set_user_role(%s, %s, 'super_admin')", [super_admin, user_id])
    yield user_id
    db.execute("select billing.set_user_role(%s, %s, 'user')", [super_admin, user_id])


@pytest.fixture
def buyer(db) -> UUID:
    """A user of the tier that may buy credits."""
    user_id = uuid4()
    db.execute("select billing.open_account(%s, %s)", [user_id, TOP])
    return user_id


def ask(client: Client, by: UUID, user: UUID, key: str | None = None, **action) -> Answer:
    body = {"user_id": user, "action": "adjust_credits", "amount": 1500, "reason": "An outage"} | action
    return client.post(f"{ADMIN}/approvals", body, by=by, headers={"Idempotency-Key": key} if key else {})


def decide(client: Client, by: UUID, approval_id: str, what: str, **body) -> Answer:
    return client.post(f"{ADMIN}/approvals/{approval_id}/{what}", body, by=by)


def test_a_preview_says_what_would_happen_and_does_nothing(client, db, admin, user):
    body = {"user_id": user, "action": "admin_grant_credits", "amount": "2.5", "expires_at": "2099-01-01"}
    shown = client.post(f"{ADMIN}/preview", body, by=admin)
    assert (shown["success"], shown["balance_before"], shown["balance_after"]) == (True, 5, D("7.5"))
    assert (shown["left_today_before"], shown["left_today_after"]) == (5000, D("4997.5"))
    (lot,) = shown["lots"]
    assert (lot["before"], lot["after"], lot["expires_at"]) == (0, D("2.5"), "2099-01-01T00:00:00Z")
    assert balance_of(db, user) == 5
    assert actions_on(db, user) == []


def test_a_preview_of_what_is_above_the_limits(client, admin, user):
    body = {"user_id": user, "action": "adjust_credits", "amount": 1500}
    shown = client.post(f"{ADMIN}/preview", body, by=admin)
    assert (shown["success"], shown["reason"], shown["can_request"]) == (False, "admin_limit_exceeded", True)
    assert shown["balance_after"] == 1505
    taken = client.post(f"{ADMIN}/preview", body | {"amount": -1500}, by=admin)
    assert (taken["success"], taken["reason"], taken["can_request"]) == (False, "insufficient_credits", False)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"action": "adjust_credits", "amount": 0}, (422, "amount_zero")),
        ({"action": "set_user_role"}, (400, "invalid_request")),
        ({"amount": 1}, (400, "invalid_request")),
        ({"action": "admin_release_hold", "hold_id": str(uuid4())}, (404, "hold_not_found")),
        ({"action": "set_account_status", "status": "lost"}, (422, "unknown_status")),
    ],
)
def test_previews_of_what_makes_no_sense(client, admin, user, body, problem):
    assert client.post(f"{ADMIN}/preview", {"user_id": user} | body, by=admin).problem() == problem


def test_another_admin_approves(client, db, admin, colleague, user):
    asked = ask(client, admin, user, "k")
    assert (asked.status, asked["status"], balance_of(db, user)) == (200, "open", 5)
    assert ask(client, admin, user, "k")["approval_id"] == asked["approval_id"]
    assert ask(client, admin, user, "k", amount=1600).problem() == (409, "idempotency_key_reused")
    shown = client.get(f"{ADMIN}/approvals/{asked['approval_id']}", by=colleague)
    assert (shown["requested_by"], shown["amount"], shown["reason"]) == (str(admin), 1500, "An outage")
    done = decide(client, colleague, asked["approval_id"], "approve", reason="Agreed")
    assert (done.status, done["status"], done["balance_after"]) == (200, "approved", 1505)
    again = decide(client, colleague, asked["approval_id"], "approve", reason="Agreed")
    assert (again.headers["Idempotency-Replayed"], balance_of(db, user)) == ("true", 1505)
    late = decide(client, colleague, asked["approval_id"], "decline", reason="No")
    assert late.problem() == (409, "approval_not_open")


def test_a_preview_of_an_approval_is_of_whoever_looks(client, db, admin, colleague, user):
    body = {"action": "admin_grant_credits", "expires_at": "2099-01-01"}
    path = f"{ADMIN}/approvals/{ask(client, admin, user, **body)['approval_id']}"
    shown = client.get(f"{path}/preview", by=colleague)
    assert (shown["success"], shown["reason"], shown["balance_after"]) == (True, None, 1505)
    assert shown["left_today_before"] - shown["left_today_after"] == 1500
    assert shown["lots"][0]["expires_at"] == "2099-01-01T00:00:00Z"
    own = client.get(f"{path}/preview", by=admin)
    assert (own["success"], own["reason"], own["can_request"]) == (False, "own_request", True)
    assert (own["balance_after"], own["left_today_after"]) == (1505, own["left_today_before"])
    assert client.get(f"{path}/preview", by=uuid4()).problem() == (403, "not_an_admin")
    assert client.get(f"{ADMIN}/approvals/{uuid4()}/preview", by=admin).problem() == (404, "approval_not_found")
    assert (balance_of(db, user), client.get(path, by=admin)["status"]) == (5, "open")
    assert [action.action for action in actions_on(db, user)] == ["request_approval"]


def test_nobody_approves_their_own(client, db, admin, user):
    asked = ask(client, admin, user)
    refused = decide(client, admin, asked["approval_id"], "approve", reason="Mine")
    assert refused.problem() == (403, "own_request")
    assert "own_request" in [action.outcome for action in actions_on(db, user)]
    assert decide(client, admin, asked["approval_id"], "withdraw")["status"] == "withdrawn"
    assert balance_of(db, user) == 5


def test_a_request_is_declined_with_a_reason(client, admin, colleague, user):
    asked = ask(client, admin, user)
    path = asked["approval_id"]
    assert decide(client, colleague, path, "decline", reason=" ").problem() == (422, "reason_required")
    assert decide(client, colleague, path, "decline").problem() == (400, "invalid_request")
    assert decide(client, colleague, path, "withdraw").problem() == (403, "not_your_request")
    assert decide(client, colleague, path, "decline", reason="Too much")["status"] == "declined"
    assert client.get(f"{ADMIN}/approvals/{path}", by=admin)["decision_reason"] == "Too much"


def test_requests_are_paged_and_filtered(client, admin, colleague, user):
    first, second = (ask(client, admin, user)["approval_id"] for _ in range(2))
    decide(client, colleague, first, "decline", reason="Once is enough")
    page = client.get(f"{ADMIN}/approvals?user_id={user}&limit=1", by=admin)
    assert ([each["approval_id"] for each in page["approvals"]], page["next_before"]) == ([second], second)
    rest = client.get(f"{ADMIN}/approvals?user_id={user}&limit=1&before={second}", by=admin)
    assert ([each["approval_id"] for each in rest["approvals"]], rest["next_before"]) == ([first], None)
    declined = client.get(f"{ADMIN}/approvals?user_id={user}&status=declined", by=admin)["approvals"]
    assert [each["approval_id"] for each in declined] == [first]
    assert client.get(f"{ADMIN}/approvals?status=lost", by=admin).problem() == (400, "invalid_request")
    assert client.get(f"{ADMIN}/approvals/{uuid4()}", by=admin).problem() == (404, "approval_not_found")


def test_strangers_are_refused(client, db, admin, colleague, user):
    asked = ask(client, admin, user)["approval_id"]
    stranger = uuid4()
    assert ask(client, stranger, user).problem() == (403, "not_an_admin")
    assert decide(client, stranger, asked, "approve", reason="x").problem() == (403, "not_an_admin")
    assert [action.outcome for action in actions_on(db, user)][-2:] == ["not_an_admin"] * 2
    for path in ("/admins", "/approvals", f"/approvals/{asked}"):
        assert client.get(ADMIN + path, by=stranger).problem() == (403, "not_an_admin")
    body = {"user_id": user, "action": "adjust_credits", "amount": 1}
    assert client.post(f"{ADMIN}/preview", body, by=stranger).problem() == (403, "not_an_admin")


def test_an_approved_refund_of_money_goes_back_at_once(client, stripe, admin, colleague, buyer):
    intent = bought(client, stripe, buyer, package="25")
    action = {"action": "request_refund", "amount": 10, "stripe_refund": True, "payment_intent_id": intent}
    asked = ask(client, admin, buyer, **action)["approval_id"]
    done = decide(client, colleague, asked, "approve", reason="Agreed")
    assert (done.status, done["refund_status"], done["call_id"]) == (200, "succeeded", None)
    (refund,) = client.get(f"{ADMIN}/refunds?user_id={buyer}", by=admin)["refunds"]
    assert (refund["refund_id"], refund["status"]) == (done["refund_id"], "succeeded")


def test_the_admins_and_what_is_left_of_their_limits(client, admin, user):
    body = {"user_id": user, "amount": -1, "reason": "test"}
    client.post(f"{ADMIN}/credits/adjust", body, by=admin)
    shown = client.get(f"{ADMIN}/admins", by=admin)["admins"]
    (own,) = [each for each in shown if each["user_id"] == str(admin)]
    assert (own["role"], own["moved_today"], own["left_today"]) == ("admin", 1, 4999)


def test_an_admin_releases_a_hold_once(client, db, admin, user):
    held = client.post("/api/billing/v2/holds", {"user_id": user, "amount": 2}, by="service")["hold_id"]
    path, headers = f"{ADMIN}/user/{user}/holds/{held}/release", {"Idempotency-Key": "k"}
    assert client.post(path, {"reason": "Hangs"}, by=admin, headers=headers)["success"] is True
    again = client.post(path, {"reason": "Hangs"}, by=admin, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert client.post(path, {"reason": "Hangs"}, by=admin).problem() == (409, "hold_not_active")


@pytest.mark.parametrize(("what", "body"), [("status", {"status": "frozen"}), ("tier", {"tier": "tier_2_20"})])
def test_status_and_tier_are_changed_once_under_a_key(client, db, admin, user, what, body):
    path, headers = f"{ADMIN}/user/{user}/{what}", {"Idempotency-Key": "k"}
    body |= {"reason": "test"}
    assert client.post(path, body, by=admin, headers=headers)["replayed"] is False
    again = client.post(path, body, by=admin, headers=headers)
    assert (again["replayed"], again.headers["Idempotency-Replayed"]) == (True, "true")
    assert len(actions_on(db, user)) == 1
