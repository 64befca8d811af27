"""What admins may do: the database decides, and keeps every attempt."""

from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from api.display import ACTIONS
from api.tests.conftest import Client, balance_of, entries_of

ADMIN = "/api/admin/billing"
D = Decimal


def actions_on(db, user: UUID) -> list:
    return db.execute(
        "select * from billing.admin_actions_log where target_user_id = %s order by action_id", [user]
    ).fetchall()


def adjust(client: Client, by: UUID, user: UUID, amount, key: str | None = None, reason: str = "test"):
    headers = {"Idempotency-Key": key} if key else {}
    body = {"user_id": user, "amount": amount, "reason": reason}
    return client.post(f"{ADMIN}/credits/adjust", body, by=by, headers=headers)


WRITES = [
    ("/credits/adjust", {"user_id": "USER", "amount": 1, "reason": "test"}),
    ("/credits/grant", {"user_id": "USER", "amount": 1, "reason": "test"}),
    ("/credits/reverse", {"user_id": "USER", "entry_no": 2, "reason": "test"}),
    ("/user/USER/status", {"status": "frozen", "reason": "test"}),
    ("/user/USER/tier", {"tier": "tier_2_20", "reason": "test"}),
    ("/refund", {"user_id": "USER", "amount": 1, "reason": "test"}),
    (
        "/refund",
        {"user_id": "USER", "amount": 1, "reason": "test", "stripe_refund": True, "payment_intent_id": "pi_1"},
    ),
]
# What every problem document has; it has hint or not.
PROBLEM = {"type", "title", "status", "code", "detail", "request_id"}
READS = ["/user/USER/summary", "/user/USER/ledger", "/users", "/actions"]


def test_adjust_as_the_guide_says(client, db, admin, user):
    answer = client.post(
        f"{ADMIN}/credits/adjust",
        f'{{"user_id": "{user}", "amount": 50.00, "reason": "Customer complaint resolution"}}',
        by=admin,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (answer.status, answer["success"], answer["balance_after"]) == (200, True, 55)
    (action,) = actions_on(db, user)
    assert (str(action.action_id), action.admin_user_id) == (answer["action_id"], admin)
    assert (action.reason, action.outcome, action.amount) == ("Customer complaint resolution", "done", 50)
    assert adjust(client, admin, user, -5)["balance_after"] == 50


def test_adjusting_twice_with_one_key_adjusts_once(client, db, admin, user):
    adjust(client, admin, user, 7, "k")
    again = adjust(client, admin, user, 7, "k")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert balance_of(db, user) == 12
    assert adjust(client, admin, user, 8, "k").problem() == (409, "idempotency_key_reused")


def test_an_admin_cannot_take_more_than_there_is(client, db, admin, user):
    answer = adjust(client, admin, user, -6)
    assert answer.problem() == (402, "insufficient_credits")
    assert [action.outcome for action in actions_on(db, user)] == ["insufficient_credits"]
    assert str(actions_on(db, user)[0].action_id) == answer["action_id"]


def test_limits_of_a_role(client, db, admin, super_admin, user):
    assert adjust(client, admin, user, 1001).problem() == (403, "admin_limit_exceeded")
    assert [action.outcome for action in actions_on(db, user)] == ["admin_limit_exceeded"]
    assert adjust(client, super_admin, user, 1001).status == 200
    for _ in range(5):
        assert adjust(client, admin, user, 1000).status == 200
    assert adjust(client, admin, user, 1).problem() == (403, "admin_limit_exceeded")


def test_an_amount_that_needs_approval(client, db, admin, user):
    with db.transaction():
        db.execute("update billing.admin_limits set approval_above = 10 where role = 'admin'")
    try:
        assert adjust(client, admin, user, 11).problem() == (403, "approval_required")
    finally:
        db.execute("update billing.admin_limits set approval_above = null where role = 'admin'")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"amount": 0}, (422, "amount_zero")),
        ({"amount": "0.0000000001"}, (422, "amount_too_precise")),
        ({"reason": " "}, (422, "reason_required")),
        ({"reason": None}, (400, "invalid_request")),
        ({"user_id": None}, (400, "invalid_request")),
        ({"user_id": "00000000-0000-0000-0000-00000000ffff"}, (404, "account_not_found")),
    ],
)
def test_adjustments_that_make_no_sense(client, admin, user, changes, problem):
    body = {"user_id": user, "amount": 1, "reason": "test"} | changes
    assert client.post(f"{ADMIN}/credits/adjust", body, by=admin).problem() == problem


def test_grant_that_expires(client, admin, user):
    body = {"user_id": user, "amount": D("2.5"), "reason": "trial", "expires_at": "2099-01-01T00:00:00+01:00"}
    assert client.post(f"{ADMIN}/credits/grant", body, by=admin)["balance_after"] == D("7.5")
    lots = client.get("/api/billing/v2/grants", by=user)["grants"]
    assert "2098-12-31T23:00:00Z" in [lot["expires_at"] for lot in lots]
    past = client.post(f"{ADMIN}/credits/grant", body | {"expires_at": "2020-01-01"}, by=admin)
    assert past.problem() == (422, "expiry_not_ahead")


def test_reverse(client, db, admin, user):
    client.post("/api/billing/v2/deduct", {"user_id": user, "amount": 3}, by="service")
    body = {"user_id": user, "entry_no": 2, "reason": "wrong answer"}
    answer = client.post(f"{ADMIN}/credits/reverse", body, by=admin)
    assert (answer.status, answer["balance_after"]) == (200, 5)
    assert entries_of(db, user)[-1].reversed_entry_no == 2
    assert client.post(f"{ADMIN}/credits/reverse", body, by=admin).problem() == (409, "already_reversed")
    missing = client.post(f"{ADMIN}/credits/reverse", body | {"entry_no": 99}, by=admin)
    assert missing.problem() == (404, "entry_not_found")
    granted = client.post(f"{ADMIN}/credits/reverse", body | {"entry_no": 1}, by=admin)
    assert granted.problem() == (422, "entry_not_reversible")


def test_freeze_and_unfreeze(client, admin, user):
    path = f"{ADMIN}/user/{user}/status"
    for status in ("frozen", "active"):
        assert client.post(path, {"status": status, "reason": "test"}, by=admin)["success"] is True
        assert client.get("/api/billing/v2/balance", by=user)["status"] == status
    assert client.post(path, {"status": "lost", "reason": "test"}, by=admin).problem() == (422, "unknown_status")


def test_change_of_tier(client, admin, user):
    path = f"{ADMIN}/user/{user}/tier"
    assert client.post(path, {"tier": "tier_2_20", "reason": "paid"}, by=admin)["success"] is True
    assert client.get("/api/billing/v2/balance", by=user)["balance"] == 25
    assert client.post(path, {"tier": "tier_0", "reason": "x"}, by=admin).problem() == (404, "unknown_tier")


def test_roles_are_for_super_admins(client, db, admin, super_admin, user):
    path = f"{ADMIN}/user/{user}/role"
    assert client.post(path, {"role": "admin"}, by=admin).problem() == (403, "not_a_super_admin")
    assert actions_on(db, user)[-1].outcome == "not_a_super_admin"
    assert client.post(path, {"role": "admin", "reason": "hired"}, by=super_admin)["success"] is True
    assert client.get(f"{ADMIN}/users", by=user).status == 200
    assert client.post(path, {"role": "user"}, by=super_admin)["success"] is True
    assert client.get(f"{ADMIN}/users", by=user).problem() == (403, "not_an_admin")
    assert client.post(path, {"role": "boss"}, by=super_admin).problem() == (422, "unknown_role")


def test_the_last_super_admin_stays(client, super_admin):
    answer = client.post(f"{ADMIN}/user/{super_admin}/role", {"role": "user"}, by=super_admin)
    assert answer.problem() == (409, "last_super_admin")


@pytest.mark.parametrize(("path", "body"), WRITES)
def test_an_attempt_of_somebody_else_is_refused_and_logged(client, db, user, path, body):
    client.post("/api/billing/v2/deduct", {"user_id": user, "amount": 1}, by="service")
    intruder = uuid4()
    body = {name: user if value == "USER" else value for name, value in body.items()}
    answer = client.post(ADMIN + path.replace("USER", str(user)), body, by=intruder)
    assert answer.problem() == (403, "not_an_admin")
    (action,) = actions_on(db, user)
    assert (action.admin_user_id, action.outcome) == (intruder, "not_an_admin")
    assert answer["action_id"] == str(action.action_id)
    assert answer.json.keys() == PROBLEM | {"action_id"}, "nothing of the account is told"
    assert balance_of(db, user) == 4


@pytest.mark.parametrize(("path", "body"), [*WRITES, ("/user/USER/role", {"role": "admin", "reason": "test"})])
def test_a_customer_learns_nothing_of_another_account(client, db, user, path, body):
    customer = uuid4()
    db.execute("select billing.open_account(%s)", [customer])
    body = {name: user if value == "USER" else value for name, value in body.items()}
    answer = client.post(ADMIN + path.replace("USER", str(user)), body, by=customer)
    assert answer.problem() == (403, "not_a_super_admin" if path.endswith("role") else "not_an_admin")
    assert answer.json.keys() == PROBLEM | {"action_id"}


@pytest.mark.parametrize("path", READS)
def test_only_admins_read(client, admin, user, path):
    path = ADMIN + path.replace("USER", str(user))
    assert client.get(path, by=user).problem() == (403, "not_an_admin")
    assert client.get(path, by="service").problem() == (403, "not_a_user")
    assert client.get(path).problem() == (401, "token_missing")
    assert client.get(path, by=admin).status == 200


def test_summary_shows_the_history(client, admin, user):
    client.post("/api/billing/v2/deduct", {"user_id": user, "amount": 1}, by="service")
    client.post("/api/billing/v2/holds", {"user_id": user, "amount": 2}, by="service")
    adjust(client, admin, user, 3)
    summary = client.get(f"{ADMIN}/user/{user}/summary", by=admin)
    assert (summary["balance"], summary["held"], summary["available"]) == (7, 2, 5)
    assert [entry["type"] for entry in summary["entries"]] == ["adjustment", "usage", "tier_grant"]
    assert [grant["source"] for grant in summary["grants"]] == ["tier_grant", "adjustment"]
    assert [hold["amount"] for hold in summary["holds"]] == [2]
    assert [action["amount"] for action in summary["actions"]] == [3]
    assert client.get(f"{ADMIN}/user/{uuid4()}/summary", by=admin).problem() == (404, "account_not_found")


def test_ledger_of_a_user(client, admin, user):
    page = client.get(f"{ADMIN}/user/{user}/ledger?limit=1", by=admin)
    assert ([e["entry_no"] for e in page["entries"]], page["next_before"]) == ([1], None)


def test_users_are_paged_and_searched(client, db, admin):
    first, second = sorted(UUID("dddddddd-" + str(uuid4())[9:]) for _ in range(2))
    for user in (first, second):
        db.execute("select billing.open_account(%s)", [user])
    page = client.get(f"{ADMIN}/users?search=dddddddd&limit=1", by=admin)
    assert ([u["user_id"] for u in page["users"]], page["next_after"]) == ([str(first)], str(first))
    rest = client.get(f"{ADMIN}/users?search=dddddddd&limit=1&after={first}", by=admin)
    assert ([u["user_id"] for u in rest["users"]], rest["next_after"]) == ([str(second)], None)
    assert client.get(f"{ADMIN}/users?search=dddddddd&tier=tier_2_20", by=admin)["users"] == []
    assert client.get(f"{ADMIN}/users?search=dddddddd&status=frozen", by=admin)["users"] == []
    assert len(client.get(f"{ADMIN}/users?search=dddddddd&tier=free&status=active", by=admin)["users"]) == 2
    assert client.get(f"{ADMIN}/users?search=x", by=admin).problem() == (400, "invalid_request")
    assert client.get(f"{ADMIN}/users?limit=0", by=admin).problem() == (400, "invalid_request")


def test_every_action_that_the_log_can_have_has_words(db):
    """An action has the name of its function: one of an admin, or of the owner that logs by itself."""
    logged = db.execute(
        """
        with recursive routines as (
            select p.proname as name, n.nspname || '.' || p.proname || '(' as call, p.prosrc as source,
                n.nspname = 'billing'
                    and ('p_actor' = any (p.proargnames) or p.prosrc ~ 'log_admin_action') as is_action
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in ('billing', 'billing_private')
        ),
        logging as (
            select call, source from routines where name = 'log_admin_action'
            union
            select r.call, r.source from logging l join routines r on position(l.call in r.source) > 0
        )
        select distinct name
        from logging l
        join routines r on r.is_action and position(format('%L', name) in l.source) > 0
        """
    ).fetchall()
    assert {action.name for action in logged} == ACTIONS.keys()


def test_actions_are_paged_and_filtered(client, admin, user):
    for amount in (1, 2, 3):
        adjust(client, admin, user, amount)
    page = client.get(f"{ADMIN}/actions?admin_user_id={admin}&limit=2", by=admin)
    assert [a["amount"] for a in page["actions"]] == [3, 2]
    rest = client.get(f"{ADMIN}/actions?admin_user_id={admin}&limit=2&before={page['next_before']}", by=admin)
    assert ([a["amount"] for a in rest["actions"]], rest["next_before"]) == ([1], None)
    assert len(client.get(f"{ADMIN}/actions?target_user_id={user}", by=admin)["actions"]) == 3
    assert client.get(f"{ADMIN}/actions?before=x", by=admin).problem() == (400, "invalid_request")
