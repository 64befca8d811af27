"""A preview says exactly what the action does, whatever the account is like, and leaves no trace."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import set_json_loads

from db.tests import stripe_objects as stripe
from db.tests.sessions import new_admin
from db.tests.test_approvals_races import everything
from db.tests.test_properties import PROFILE

START = datetime(2030, 1, 30, 12, tzinfo=UTC)
SMALLEST = Decimal("0.000000001")

amounts = st.one_of(
    st.integers(1, 60).map(Decimal), st.integers(1, 10**11).map(lambda units: units * SMALLEST), st.just(Decimal(5000))
)
delays = st.sampled_from([timedelta(seconds=1), timedelta(hours=1), timedelta(days=1), timedelta(days=10)])
ends = st.one_of(st.none(), st.sampled_from([timedelta(hours=2), timedelta(days=2), timedelta(days=40)]))
picks = st.sampled_from(range(12))

histories = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), amounts, ends, st.sampled_from([0, 10, 60])),
        st.tuples(st.just("deduct"), amounts),
        st.tuples(st.just("hold"), amounts),
        st.tuples(st.just("wait"), delays),
        st.tuples(st.just("owe"), amounts),
        st.tuples(st.just("dispute")),
    ),
    min_size=2,
    max_size=7,
)
ACTIONS: list[dict[str, Any]] = [
    {
        "action": st.just("adjust_credits"),
        "amount": st.one_of(amounts, amounts, amounts.map(lambda amount: -amount), st.just(Decimal(0))),
    },
    {
        "action": st.just("admin_grant_credits"),
        "amount": amounts,
        "expires_at": st.sampled_from([None, timedelta(hours=1), timedelta(days=20), timedelta(days=-1)]),
    },
    {"action": st.just("reverse_entry"), "entry_no": picks},
    {"action": st.just("request_refund"), "amount": amounts},
    {
        "action": st.just("request_refund"),
        "amount": st.sampled_from([Decimal(1), Decimal(1), Decimal("33.33"), Decimal(101), Decimal("0.001")]),
        "stripe_refund": st.just(True),
        "payment_intent_id": st.sampled_from(["intent", "intent", "intent", "another"]),
        "grant_credits": st.booleans(),
        "owe_spent": st.booleans(),
    },
    {"action": st.just("change_tier"), "tier": st.sampled_from(["buyer", "free", "tier_2_20", "tier_6_50", "gold"])},
    {"action": st.just("set_account_status"), "status": st.sampled_from(["active", "frozen", "frozen", "closed"])},
    {"action": st.just("admin_release_hold"), "hold_id": picks},
]
actors = st.sampled_from(["boss", "boss", "boss", "boss", "clerk", "clerk", "user", "stranger"])
# One of each in any order.
tries = st.tuples(*(st.tuples(actors, st.fixed_dictionaries(action)) for action in ACTIONS)).flatmap(st.permutations)


class World:
    """One customer who has paid, the admins, and the session that previews and acts."""

    def __init__(self, session: psycopg.Connection) -> None:
        self.session = session
        self.now = START
        self.move_clock()
        self.user = stripe.new_buyer(session)
        self.intent = stripe.new_payment(session, self.user)
        self.people = {
            "boss": new_admin(session),
            "other": new_admin(session),
            "clerk": new_admin(session, "admin"),
            "user": self.user,
            "stranger": uuid4(),
        }
        session.execute(
            "insert into billing.user_roles (user_id, role, granted_at) values (%s, 'super_admin', now())", [self.user]
        )
        session.execute(
            """update billing.admin_limits set max_credit_adjustment = 20, max_daily_total = 30, approval_above = 10
               where role = 'admin'"""
        )

    def move_clock(self) -> None:
        self.session.execute("select set_config('test.now', %s, false)", [self.now.isoformat()])

    def one(self, query: str, *parameters: Any) -> Any:
        return self.session.execute(query, parameters).fetchone()

    def happens(self, kind: str, *details: Any) -> None:
        if kind == "wait":
            self.now += details[0]
            self.move_clock()
        elif kind == "grant":
            amount, lasts, priority = details
            self.one(
                """select entry_no
                   from billing.grant_credits(%s, %s, 'promotion', p_expires_at => %s, p_priority => %s)""",
                self.user, amount, lasts and self.now + lasts, priority,
            )  # fmt: skip
        elif kind == "deduct":
            self.one("select success from billing.deduct_credits(%s, %s)", self.user, details[0])
        elif kind == "hold":
            self.one("select success from billing.hold_credits(%s, %s, '1 day')", self.user, details[0])
        elif kind == "owe":
            self.session.execute(
                "update billing.credit_accounts set debt = %s where user_id = %s", [details[0], self.user]
            )
        elif kind == "dispute":
            stripe.deliver(self.session, "charge.dispute.created", stripe.dispute(self.intent, 1000, id="dp_1"))

    def stands(self, actor: UUID) -> dict[str, Any]:
        """What a preview tells, as the reads tell it."""
        account = self.one("select * from billing.get_account(%s)", self.user)._asdict()
        lots = self.session.execute("select to_jsonb(l) as lot from billing.list_grants(%s) l", [self.user])
        return {
            **{key: account[key] for key in ("balance", "available", "held", "debt", "tier", "status")},
            "left_today": self.one("select left_today from billing.get_admin(%s)", actor).left_today,
            "lots": {lot["grant_no"]: lot for (lot,) in lots},
        }

    def call(self, function: str, **named: Any) -> Any:
        """The row that a function returns, or the name of its exception."""
        query = "select * from billing.{}({})".format(function, ", ".join(f"p_{key} => %({key})s" for key in named))
        try:
            with self.session.transaction():
                return self.session.execute(query, named).fetchone()._asdict()
        except psycopg.Error as error:
            if (error.sqlstate or "").startswith("UC"):
                return error.diag.message_primary
            raise

    def try_out(self, who: str, wanted: dict[str, Any]) -> None:
        """Preview an action, then do it, and compare."""
        actor, named = self.people[who], wanted | {}
        if named.get("expires_at"):
            named["expires_at"] = self.now + named["expires_at"]
        if "entry_no" in named:
            # What was used, what was bought, or an entry that there is not.
            used = self.session.execute(
                "select entry_no from billing.credit_ledger where user_id = %s and type = 'usage'", [self.user]
            ).fetchall()
            numbers = [*(entry.entry_no for entry in used), 1, 99]
            named["entry_no"] = numbers[named["entry_no"] % len(numbers)]
        if "payment_intent_id" in named:
            named["payment_intent_id"] = self.intent if named["payment_intent_id"] == "intent" else "pi_of_nobody"
        if "hold_id" in named:
            holds = self.session.execute(
                "select hold_id from billing.list_holds(%s, false) order by hold_id", [self.user]
            ).fetchall()
            named["hold_id"] = holds[named["hold_id"] % len(holds)].hold_id if holds else uuid4()
        action = named.pop("action")
        untouched = everything(self.session)
        preview = self.call("preview_action", actor=actor, user_id=self.user, action=action, **named)
        assert everything(self.session) == untouched
        before = self.stands(actor)
        done = self.call(action, actor=actor, user_id=self.user, reason="a property", **named)
        if isinstance(preview, str):
            assert done == preview
            return
        if preview["reason"] == "not_an_admin":
            assert who == "stranger"
            assert isinstance(done, str) or done["reason"] == "not_an_admin"
            return
        if preview["success"]:
            assert (done["success"], preview["reason"], preview["can_request"]) == (True, None, False)
        else:
            assert not done["success"]
            if preview["can_request"]:
                assert done["reason"] == preview["reason"]
            asked = self.ask(actor, action, named, done["reason"])
            assert (asked is None) == (not preview["can_request"] and done["reason"] == preview["reason"])
            if asked is None:
                done = done | {"amount": 0, "entry_no": None}
            elif preview["can_request"]:
                assert asked["success"], asked["reason"]
                actor, approval = self.people["other"], {"approval_id": asked["approval_id"]}
                untouched = everything(self.session)
                seen = self.call("preview_approval", actor=actor, **approval)
                assert everything(self.session) == untouched
                then = before | {"left_today": self.stands(actor)["left_today"]}
                before["left_today"] = preview["left_today_before"]
                done = self.call("approve_request", actor=actor, **approval, reason="a property")
                assert done["success"], done["reason"]
                assert (seen["success"], seen["reason"], seen["can_request"]) == (True, None, False)
                self.compare(seen, then, self.stands(actor), done)
            else:
                assert (asked["success"], asked["reason"]) == (False, preview["reason"])
                done = done | {"amount": 0, "entry_no": None}
        self.compare(preview, before, self.stands(actor), done)

    def ask(self, actor: UUID, action: str, named: dict[str, Any], reason: str) -> Any:
        """The request for an approval of what the admin's limits have refused; None when they have not."""
        if reason not in ("admin_limit_exceeded", "approval_required", "refund_not_allowed"):
            return None
        return self.call(
            "request_approval", actor=actor, user_id=self.user, action=action, reason="a property", **named
        )

    def compare(self, preview: Any, before: Any, after: Any, done: Any) -> None:
        for key in ("balance", "available", "held", "debt", "tier", "status"):
            assert (preview[f"{key}_before"], preview[f"{key}_after"]) == (before[key], after[key]), key
        assert preview["left_today_before"] == before["left_today"]
        expected = before["left_today"] if preview["can_request"] else after["left_today"]
        assert preview["left_today_after"] == expected
        assert (preview["amount"], preview["entry_no"]) == (done["amount"], done["entry_no"])
        for key in ("clawed", "spent", "owed"):
            # What is done by an approval tells them in the log.
            if key in done:
                assert (preview[key] or 0) == (done[key] or 0)
        numbers = before["lots"].keys() | after["lots"].keys()
        lots = [
            {
                **{key: (after["lots"].get(no) or before["lots"][no])[key] for key in LOT},
                "before": before["lots"].get(no, {}).get("remaining", 0),
                "after": after["lots"].get(no, {}).get("remaining", 0),
            }
            for no in numbers
        ]
        changed = [lot for lot in lots if lot["before"] != lot["after"]]
        assert preview["lots"] == sorted(
            changed, key=lambda lot: (lot["priority"], lot["expires_at"] is None, lot["expires_at"], lot["grant_no"])
        )


LOT = ("grant_no", "source", "priority", "expires_at")


@pytest.fixture
def world(database, clock):
    """A session whose clock is a setting of its own, and whose JSON numbers are exact."""
    clock.freeze(START)
    with database.connect() as conn:
        conn.execute(
            f"create or replace function billing_private.clock() returns timestamptz language sql {clock.volatility} "
            "as 'select current_setting(''test.now'')::timestamptz'"
        )
        set_json_loads(partial(json.loads, parse_float=Decimal), conn)
        yield World(conn)


def test_a_preview_is_what_the_action_does(world):
    """Balance, lots, limits, numbers and reasons: those of the action, or of the action that another admin approves."""

    @settings(PROFILE, max_examples=PROFILE.max_examples * 3 // 8)
    @given(history=histories, wanted=tries)
    def run(history: list[tuple[Any, ...]], wanted: list[tuple[str, dict[str, Any]]]) -> None:
        world.now = START
        with world.session.transaction(force_rollback=True):
            world.move_clock()
            # Something to reverse, and something to release.
            world.happens("deduct", Decimal(3))
            world.happens("hold", Decimal(2))
            for kind, *details in history:
                world.happens(kind, *details)
            for who, action in wanted:
                world.try_out(who, action)
            assert world.one("select count(*) as findings from billing.verify_ledger()").findings == 0

    run()
