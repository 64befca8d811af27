"""Users who move between the systems: after every step of a random history one of them has their money, and all of it.

HYPOTHESIS_PROFILE=thorough runs longer histories, and many of them.
"""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from db.tests.model import (
    Customer,
    Limits,
    OldPurchase,
    Refused,
    Subscription,
    Tier,
    is_burn,
    next_month,
)
from db.tests.sessions import findings, new_admin
from db.tests.test_properties import LIFETIMES, PROFILE, in_utc, instant, parsed

SETTINGS = settings(
    PROFILE,
    max_examples=PROFILE.max_examples // 4,
    stateful_step_count=PROFILE.stateful_step_count * 2 // 3,
)
# Each of them is migrated in seven ways.
BATCHES = settings(PROFILE, max_examples=PROFILE.max_examples // 12)

MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
SMALLEST = Decimal("0.000000001")
# What the tiers grant a month, and the prices of the old system that pay for them.
AMOUNTS = {"free": Decimal(5), "tier_2_20": Decimal(25), "tier_6_50": Decimal(55), "tier_12_100": Decimal(105)}
PRICES = {
    "price_tier_2_20_monthly": "tier_2_20",
    "price_tier_6_50_yearly": "tier_6_50",
    "price_tier_12_100_monthly": "tier_12_100",
}
STARTS = [
    datetime(2030, 1, 15, 12, tzinfo=UTC),
    datetime(2030, 1, 31, 23, 59, 30, tzinfo=UTC),
    datetime(2030, 12, 31, 23, 30, tzinfo=UTC),
    datetime(2032, 2, 1, tzinfo=UTC),
]
ZONES = ["UTC", "America/New_York", "Pacific/Auckland"]

amounts = st.one_of(
    st.integers(1, 20).map(Decimal),
    st.integers(1, 3000).map(lambda cents: Decimal(cents) / 100),
    st.integers(1, 10**11).map(lambda units: units * SMALLEST),
)
sizes = st.one_of(st.sampled_from([Fraction(1, 5), Fraction(1, 2), Fraction(1)]), amounts)
picks = st.integers(0, 10**6)
subscriptions = st.tuples(
    st.sampled_from(list(PRICES)),
    st.sampled_from(["active", "active", "trialing", "past_due", "unpaid", "paused", "canceled", "incomplete_expired"]),
)


def times_around(now: datetime) -> list[datetime]:
    """Moments of this month, its ends, and the months beside it."""
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = datetime.combine(next_month(start.date()), datetime.min.time(), UTC)
    return [start - timedelta(days=9), start - MICROSECOND, start, now, end - MICROSECOND, end]


old_data = st.fixed_dictionaries(
    {
        "subscriptions": st.lists(subscriptions, max_size=2),
        "usage": st.lists(st.tuples(st.integers(0, 5), st.one_of(amounts, st.just(Decimal(0)))), max_size=5),
        "purchases": st.lists(
            st.tuples(
                amounts,
                st.sampled_from(["completed", "completed", "completed", "pending", "failed", "refunded"]),
                st.integers(0, 3),
            ),
            max_size=4,
        ),
        # What is left of bought credit: that part of it, and that much besides.
        "left": st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(1)]),
        "beyond": st.sampled_from([Decimal(0), Decimal(0), SMALLEST, Decimal("7.5")]),
    }
)
OldData = dict[str, Any]


def save_old_user(session: psycopg.Connection, user: UUID, now: datetime, data: OldData) -> Customer:
    """Old data into the tables of the old system, and into a model."""
    one = session.execute(
        """insert into legacy_billing.customers (user_id, stripe_customer_id, created_at)
           values (%s, %s, %s) returning customer_id""",
        [user, f"cus_{user}", now - timedelta(days=300)],
    ).fetchone()
    for number, (price, status) in enumerate(data["subscriptions"]):
        session.execute(
            """insert into legacy_billing.subscriptions (subscription_id, customer_id, price_id, status, created_at)
               values (%s, %s, %s, %s, %s)""",
            [f"sub_{number}_{user}", one[0], price, status, now - timedelta(days=200 - number)],
        )
    usage = [(times_around(now)[at], cost) for at, cost in data["usage"]]
    for at, cost in usage:
        session.execute(
            "insert into legacy_billing.usage_records (user_id, model, cost, created_at) values (%s, 'unit', %s, %s)",
            [user, cost, at],
        )
    purchases = []
    for number, (amount, status, days) in enumerate(data["purchases"]):
        each = OldPurchase(f"{number}/{user}", amount, status, now - timedelta(days=20 * days + 1))
        session.execute(
            """insert into legacy_billing.purchases (
                   purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
               )
               values (%s, %s, %s, 500, %s, %s, %s, %s)""",
            [
                each.purchase_id, user, amount, status, f"pi_{each.purchase_id}" if number % 2 else None,
                each.bought_at if number % 3 else each.bought_at - timedelta(days=1),
                each.bought_at if number % 3 == 0 else None,
            ],
        )  # fmt: skip
        purchases.append(each)
    bought = sum((each.amount for each in purchases if each.status == "completed"), Decimal(0))
    left = data["left"]
    credit = (bought * left.numerator / left.denominator).quantize(SMALLEST) + data["beyond"]
    if credit:
        session.execute("insert into legacy_billing.bought_credit (user_id, balance) values (%s, %s)", [user, credit])
    return Customer(
        now,
        {name: Tier(name, {datetime.min.date(): amount}, LIFETIMES["1 month"]) for name, amount in AMOUNTS.items()},
        AMOUNTS["free"],
        [Subscription(PRICES[price], AMOUNTS[PRICES[price]], status) for price, status in data["subscriptions"]],
        usage,
        purchases,
        credit,
    )


@pytest.fixture
def session(database, clock):
    """A session whose clock is a setting of its own, with calls that cost what they say."""
    with database.connect() as conn:
        conn.execute(
            f"create or replace function billing_private.clock() returns timestamptz language sql {clock.volatility} "
            "as 'select current_setting(''test.now'')::timestamptz'"
        )
        move_clock(conn, STARTS[0])
        conn.execute("insert into billing.model_prices values ('unit', '2000-01-01', 1000000, 0, 0.001, 1)")
        conn.execute(
            """update billing.admin_limits
               set max_credit_adjustment = 1000000, max_daily_total = 1000000000, approval_above = null
               where role = 'super_admin'"""
        )
        yield conn


def move_clock(session: psycopg.Connection, now: datetime) -> None:
    session.execute("select set_config('test.now', %s, false)", [now.isoformat()])


# All that both systems have of a user.
STATE = """
select json_build_object(
    'status', (select status from billing.get_migration(%(user)s)),
    'check', (select to_json(c) from billing.legacy_check(%(user)s) c),
    'credit', (select to_json(c) from billing.legacy_credit_balance(%(user)s) c),
    'account', (select to_json(a) from billing.credit_accounts a where user_id = %(user)s),
    'unaccounted_for', (
        select s.granted_total - s.spent_total - s.taken_total - s.expired_total - s.recovered_total - s.balance
        from billing.credit_accounts a
        cross join lateral billing.account_summary(a.user_id) s
        where a.user_id = %(user)s
    ),
    'available', (
        select a.available
        from billing.get_migration(%(user)s) m
        cross join lateral billing.get_account(m.user_id) a
        where m.status = 'migrated'
    ),
    'lots', (
        select coalesce(json_agg(g), '[]')
        from billing.credit_accounts a
        cross join lateral billing.list_grants(a.user_id) g
        where a.user_id = %(user)s
    ),
    'paid', (
        select coalesce(sum(amount), 0) from billing.credit_purchases where user_id = %(user)s and status = 'paid'
    ),
    'purchases', (select count(*) from billing.credit_purchases where user_id = %(user)s),
    'completed', (
        select coalesce(sum(amount), 0)
        from legacy_billing.purchases where user_id = %(user)s and status = 'completed'
    ),
    'findings', (
        select coalesce(json_agg(f), '[]')
        from billing.credit_accounts a
        cross join lateral billing.verify_account(a.user_id) f
        where a.user_id = %(user)s
    ),
    'differences', (select coalesce(json_agg(d), '[]') from billing.verify_migration(array[%(user)s::uuid]) d)
)::text as state
"""


class Mover(RuleBasedStateMachine):
    """One history of one user; the class holds the session and the admin that all of them use."""

    session: ClassVar[psycopg.Connection]
    admin: ClassVar[UUID]

    @initialize(start=st.sampled_from(STARTS), zone=st.sampled_from(ZONES), data=old_data)
    def begin(self, start: datetime, zone: str, data: OldData) -> None:
        self.user = uuid4()
        self.numbers = 0
        self.session.execute("select set_config('timezone', %s, false)", [zone])
        move_clock(self.session, start)
        self.model = save_old_user(self.session, self.user, start, data)
        self.model.admins[self.admin] = Limits(Decimal(10**6), Decimal(10**9))

    def one(self, query: str, *parameters: Any) -> Any:
        return self.session.execute(query, parameters).fetchone()

    @property
    def here(self) -> bool:
        return self.model.lives_here

    @property
    def known(self) -> bool:
        """Whether there is an account, be it history."""
        return self.model.account is not None

    def amount(self, size: Fraction | Decimal) -> Decimal:
        """An amount for a call: itself, or that part of what is there."""
        if isinstance(size, Decimal):
            return size
        there = self.model.account.available if self.here else self.model.remaining + self.model.credit
        return max((there * size.numerator / size.denominator).quantize(SMALLEST), SMALLEST)

    def wait_until(self, at: datetime) -> None:
        self.model.at(max(at, self.model.now))
        move_clock(self.session, self.model.now)

    def tick(self) -> None:
        """A second, so that purchases have an order."""
        self.wait_until(self.model.now + SECOND)

    def call(self, name: str, **arguments: Any) -> None:
        """A call of the account on both sides, which compares the answers; a user who is not there is refused."""
        named = {f"p_{key}": value for key, value in arguments.items() if key != "actor"}
        if "actor" in arguments:
            named |= {"p_actor": arguments["actor"], "p_reason": "a property"}
        query = "select * from billing.{}(p_user_id => %(user)s, {})".format(
            name, ", ".join(f"{key} => %({key})s" for key in named)
        )
        try:
            row = self.session.execute(query, named | {"user": self.user}).fetchone()
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith("UC"):
                raise
            row = error.diag.message_primary
        if not self.here:
            assert row == "not_migrated"
            return
        if name == "hold_credits" and not isinstance(row, str):
            arguments = arguments | {"hold_id": row.hold_id}
        expected = self.call_model(name, arguments)
        if isinstance(row, str) or isinstance(expected, str):
            assert row == expected
            return
        told = in_utc(row._asdict())
        assert {key: told[key] for key in expected if key in told} == {
            key: value for key, value in expected.items() if key in told
        }

    def call_model(self, name: str, arguments: dict[str, Any]) -> dict[str, Any] | str:
        """What the model answers, or the name of its exception."""
        try:
            return getattr(self.model.account, name)(**arguments)
        except Refused as refused:
            return refused.name

    # The old way, wherever the user is.

    @rule(size=sizes)
    def track(self, size: Fraction | Decimal) -> None:
        """Up to all there is, and beyond."""
        self.tick()
        cost = self.amount(size)
        units = int(cost)
        row = self.one(
            "select * from billing.legacy_track(%s, 'unit', %s, %s)", self.user, units, int((cost - units) / SMALLEST)
        )
        here = self.here
        assert (row.success, row.paid_from_credit) == self.model.legacy_track(cost)
        assert (row.cost, row.migrated) == (cost, here)

    @rule(amount=amounts)
    def buy(self, amount: Decimal) -> None:
        self.tick()
        self.numbers += 1
        payment = f"pi_new_{self.numbers}_{self.user}"
        query = "select * from billing.legacy_record_purchase(%s, %s, 700, %s)"
        row = self.one(query, self.user, amount, payment)
        assert (row.status, row.migrated, row.replayed) == ("completed", self.here, False)
        self.model.legacy_record_purchase(row.purchase_id, amount, payment)
        assert self.one(query, self.user, amount, payment).replayed

    # Moving.

    @precondition(lambda self: not self.here)
    @rule()
    def migrate(self) -> None:
        """As planned."""
        self.tick()
        planned = self.one("select * from billing.plan_migration(array[%s]::uuid[])", self.user)
        done = self.one("select * from billing.migrate_users(array[%s]::uuid[])", self.user)
        self.model.migrate()
        assert (planned.outcome, done.outcome) == ("planned", "migrated")
        # A plan repays no debt.
        assert planned._replace(outcome=None, balance=None) == done._replace(outcome=None, balance=None)
        assert planned.balance == done.tier_credits + done.bought_credit
        assert (done.tier, done.balance) == (self.model.account.tier, self.model.account.balance)

    @precondition(lambda self: self.here)
    @rule()
    def roll_back(self) -> None:
        self.tick()
        row = self.one("select * from billing.rollback_users(array[%s]::uuid[])", self.user)
        refusal = self.model.roll_back()
        assert (row.outcome, row.problem) == ("refused" if refusal else "rolled_back", refusal)
        if not refusal:
            assert row.bought_credit == self.model.credit

    @precondition(lambda self: self.here and self.model.account.status == "active" and not self.model.account.debt)
    @rule()
    def there_and_back(self) -> None:
        """Within a month whose credits are granted, the same can be spent, and the same part of it ends with it."""
        before, end = self.model.account, self.model.now + 2 * SECOND
        if end.month != self.model.now.month or before.next_period <= self.model.period:
            return
        spendable, monthly = before.balance, self.monthly()
        lost = sum((lot.remaining for lot in before.live_lots() if lot.lapsed), Decimal(0))
        self.roll_back()
        self.agree()
        self.migrate()
        assert (self.model.account.available, self.monthly()) == (spendable - lost, monthly - lost)

    def monthly(self) -> Decimal:
        """What ends with the month, of the tier's."""
        period = next_month(self.model.period)
        lots = [lot for lot in self.model.account.live_lots() if lot.origin == "tier_grant"]
        return sum((lot.remaining for lot in lots if lot.expires_at.date() <= period), Decimal(0))

    # The new way.

    @precondition(lambda self: self.known)
    @rule(size=sizes)
    def deduct(self, size: Fraction | Decimal) -> None:
        self.tick()
        self.call("deduct_credits", amount=self.amount(size))

    @precondition(lambda self: self.here)
    @rule(size=sizes, lasts=st.sampled_from([timedelta(hours=1), timedelta(days=3), timedelta(days=30)]))
    def hold(self, size: Fraction | Decimal, lasts: timedelta) -> None:
        self.tick()
        self.call("hold_credits", amount=self.amount(size), expires_in=lasts)

    @precondition(lambda self: self.known and self.model.account.holds)
    @rule(pick=picks, part=st.sampled_from([Fraction(1, 3), Fraction(1), Fraction(2)]))
    def capture(self, pick: int, part: Fraction) -> None:
        """A hold, late ones and those that a rollback has released too."""
        self.tick()
        hold = self.model.account.holds[pick % len(self.model.account.holds)]
        amount = max((hold.amount * part.numerator / part.denominator).quantize(SMALLEST), SMALLEST)
        self.call("capture_hold", hold_id=hold.hold_id, amount=amount)

    @precondition(lambda self: self.known)
    @rule(amount=amounts, negative=st.booleans())
    def adjust(self, amount: Decimal, negative: bool) -> None:
        self.tick()
        self.call("adjust_credits", actor=self.admin, amount=-amount if negative else amount)

    @precondition(lambda self: self.here)
    @rule(amount=amounts, lasts=st.sampled_from([None, timedelta(days=2), timedelta(days=40)]))
    def grant(self, amount: Decimal, lasts: timedelta | None) -> None:
        self.tick()
        self.call("grant_credits", amount=amount, source="promotion", expires_at=lasts and self.model.now + lasts)

    @precondition(lambda self: self.here and any(is_burn(entry) for entry in self.model.account.entries))
    @rule(pick=picks)
    def reverse(self, pick: int) -> None:
        """Also what was spent before the last move."""
        self.tick()
        numbers = [entry.entry_no for entry in self.model.account.entries if is_burn(entry)]
        self.call("reverse_entry", actor=self.admin, entry_no=numbers[pick % len(numbers)])

    @precondition(lambda self: self.known)
    @rule(tier=st.sampled_from(list(AMOUNTS)))
    def change_tier(self, tier: str) -> None:
        self.tick()
        self.call("change_tier", actor=self.admin, tier=tier)

    @precondition(lambda self: self.here)
    @rule(status=st.sampled_from(["frozen", "active", "active"]))
    def set_status(self, status: str) -> None:
        """Making it active grants the months that were missed."""
        self.tick()
        self.call("set_account_status", actor=self.admin, status=status)

    @precondition(lambda self: self.here)
    @rule(amount=amounts)
    def owe(self, amount: Decimal) -> None:
        """Debt comes from payments that were taken back."""
        self.session.execute(
            "update billing.credit_accounts set debt = debt + %s where user_id = %s", [amount, self.user]
        )
        self.model.account.debt += amount

    # Time.

    @rule(days=st.sampled_from([1, 3, 10, 35]))
    def wait(self, days: int) -> None:
        self.wait_until(self.model.now + timedelta(days=days))

    @rule(offset=st.sampled_from([-3 * SECOND, -MICROSECOND, timedelta(0)]))
    def wait_for_the_month(self, offset: timedelta) -> None:
        """To its end, or just before."""
        self.wait_until(datetime.combine(next_month(self.model.period), datetime.min.time(), UTC) + offset)

    # Comparing.

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "model"):
            return
        state = parsed(self.session.execute(STATE, {"user": self.user}).fetchone().state)
        model, account, check = self.model, self.model.account, state["check"]
        assert state["findings"] == []
        assert state["differences"] == []
        assert check["migrated"] == state["credit"]["migrated"] == model.lives_here
        assert check["bought_credit"] == state["credit"]["balance"]
        assert state["credit"]["total_purchased"] == model.bought
        if account is not None:
            assert state["unaccounted_for"] == 0
            assert state["account"]["status"] == account.status
            assert state["account"]["debt"] == account.debt
            assert len(state["lots"]) == len(account.live_lots())
        if model.lives_here:
            assert state["status"] == "migrated"
            assert state["available"] == check["remaining"] + check["bought_credit"] == account.available
            assert state["account"]["tier"] == check["tier"] == account.tier
            assert state["paid"] == model.bought
            assert state["purchases"] == len(model.purchases)
            assert [lot_row(row) for row in state["lots"]] == [
                (lot.source, lot.amount, lot.remaining, lot.priority, lot.expires_at, lot.reference)
                for lot in account.live_lots()
            ]
        else:
            assert state["status"] == ("waiting" if account is None else "rolled_back")
            assert (check["remaining"], check["bought_credit"]) == (model.remaining, model.credit)
            assert (check["monthly_limit"], check["monthly_usage"]) == (model.limit, model.used)
            assert state["completed"] == model.bought
            if account is not None:
                assert (account.balance, state["account"]["balance"]) == (0, 0)
                assert state["account"]["entry_count"] == len(account.entries)


def lot_row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["source"], row["amount"], row["remaining"], row["priority"], instant(row["expires_at"]),
        (row["reference_type"], row["reference_id"]),
    )  # fmt: skip


def test_money_is_in_one_system_and_all_of_it(session):
    """Whatever a user has done in either, and however often they moved."""
    machine = type("MoverInThisDatabase", (Mover,), {"session": session, "admin": new_admin(session)})
    run_state_machine_as_test(machine, settings=SETTINGS)
    assert findings(session) == []


# Histories that a random one meets now and then.
JANUARY = datetime(2030, 1, 15, 12, tzinfo=UTC)
PLUS = {"subscriptions": [("price_tier_2_20_monthly", "active")]}
OWES = {"subscriptions": [("price_tier_2_20_monthly", "past_due")]}
BOUGHT = {"purchases": [(Decimal(10), "completed", 1), (Decimal(6), "completed", 2)], "left": Fraction(1)}
HISTORIES: dict[str, tuple[OldData, Callable[[Mover], Iterable[Any]]]] = {
    "an upgrade after the third return grants what is above the month's credits": (
        PLUS,
        lambda mover: (
            mover.track(Decimal(3)),
            mover.migrate(),
            mover.there_and_back(),
            mover.there_and_back(),
            mover.change_tier("tier_6_50"),
            mover.agree(),
            mover.there_and_back(),
            mover.change_tier("tier_12_100"),
        ),
    ),
    "calls of three rounds are in one month": (
        PLUS | BOUGHT,
        lambda mover: (
            mover.track(Decimal(3)),
            mover.migrate(),
            mover.track(Decimal("4.000000001")),
            mover.roll_back(),
            mover.track(Decimal(20)),
            mover.agree(),
            mover.migrate(),
            mover.track(Decimal(5)),
            mover.there_and_back(),
        ),
    ),
    "a promise that waits for a payment is handed back as it was": (
        OWES | BOUGHT,
        lambda mover: (
            mover.track(Decimal(3)),
            mover.migrate(),
            mover.track(Decimal(2)),
            mover.roll_back(),
            mover.agree(),
            mover.migrate(),
        ),
    ),
    "credits of the last month that came back, in a month that is not granted yet": (
        PLUS,
        lambda mover: (
            mover.wait_for_the_month(-3 * SECOND),
            mover.migrate(),
            mover.deduct(Decimal(4)),
            mover.wait_for_the_month(timedelta(0)),
            mover.reverse(0),
            mover.agree(),
            mover.roll_back(),
            mover.agree(),
            mover.migrate(),
        ),
    ),
    "a hold over a rollback, and its capture": (
        PLUS | BOUGHT,
        lambda mover: (
            mover.migrate(),
            mover.hold(Decimal(10), timedelta(days=30)),
            mover.deduct(Decimal(2)),
            mover.wait_for_the_month(timedelta(0)),
            mover.agree(),
            mover.roll_back(),
            mover.agree(),
            mover.capture(0, Fraction(1)),
            mover.migrate(),
        ),
    ),
    "a debt is repaid by what is brought back": (
        PLUS | BOUGHT,
        lambda mover: (
            mover.migrate(),
            mover.owe(Decimal(30)),
            mover.roll_back(),
            mover.agree(),
            mover.migrate(),
        ),
    ),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_history_of_a_user_who_moves(session, history):
    """What the promises are about, step by step beside the model."""
    data, steps = HISTORIES[history]
    mover = type("MoverInThisDatabase", (Mover,), {"session": session, "admin": new_admin(session)})()
    nothing = {"subscriptions": [], "usage": [], "purchases": [], "left": Fraction(0), "beyond": Decimal(0)}
    mover.begin(JANUARY, "UTC", nothing | data)
    mover.agree()
    steps(mover)
    mover.agree()
    assert findings(session) == []


def test_a_plan_whose_limit_is_not_what_the_tier_grants(session):
    """What is left of the month is the same after each return, though the two systems give more or less in one."""
    for limit in (20, 30):
        session.execute("update legacy_billing.plans set monthly_limit = %s where tier = 'tier_2_20'", [limit])
        user = uuid4()
        nothing = {"subscriptions": [], "usage": [], "purchases": [], "left": Fraction(0), "beyond": Decimal(0)}
        save_old_user(session, user, JANUARY, nothing | PLUS)
        left = []
        for _ in range(3):
            left.append(session.execute("select * from billing.migrate_users(array[%s]::uuid[])", [user]).fetchone())
            session.execute("select billing.rollback_users(array[%s]::uuid[])", [user])
        assert [row.tier_credits for row in left] == [25, 25, 25]


# Ways to migrate some users, all with the same result.

DIRTY: list[tuple[str, str]] = [
    ("negative_credit", "insert into legacy_billing.bought_credit values (%(user)s, -0.000000001)"),
    ("amount_too_precise", "insert into legacy_billing.bought_credit values (%(user)s, 0.0000000001)"),
    (
        "unknown_price",
        """insert into legacy_billing.subscriptions (subscription_id, customer_id, price_id, status)
           select 'sub_x_' || user_id, customer_id, 'price_x', 'active'
           from legacy_billing.customers where user_id = %(user)s""",
    ),
    (
        "invalid_purchase",
        """insert into legacy_billing.purchases (user_id, amount, price_cents, status)
           values (%(user)s, 5, 500, 'paid')""",
    ),
]
RESULT = """
select json_build_object(
    'account', (
        select json_build_array(
            a.balance, a.held, a.debt, a.tier, a.status, a.used_total, a.granted_through, a.next_expiry_at
        )
        from billing.credit_accounts a where user_id = %(user)s
    ),
    'lots', (
        select coalesce(json_agg(json_build_array(
            l.source, l.amount, l.remaining, l.priority, l.expires_at, l.reference_type, l.reference_id, l.from_grant_no
        ) order by l.grant_no), '[]')
        from billing.credit_grants l where user_id = %(user)s and remaining > 0
    ),
    'entries', (
        select coalesce(json_agg(json_build_array(
            e.type, e.amount, e.balance_after, e.operation, e.reference_type, e.reference_id, e.description,
            e.metadata - 'purchase_id'
        ) order by e.entry_no), '[]')
        from billing.user_migrations m
        join billing.credit_ledger e
            on e.user_id = m.user_id and e.entry_no between m.first_entry_no and m.last_entry_no
        where m.user_id = %(user)s
    ),
    'purchases', (
        select coalesce(json_agg(json_build_array(
            p.legacy_purchase_id, p.kind, p.amount, p.price_cents, p.status, p.spent_before, p.stripe_payment_intent_id,
            p.entry_no is null, p.created_at, p.completed_at, l.amount, b.bought, b.amount_cents, g.reference_id
        ) order by p.legacy_purchase_id), '[]')
        from billing.credit_purchases p
        left join billing.credit_ledger l on l.user_id = p.user_id and l.entry_no = p.entry_no
        left join billing.billing_payments b on b.purchase_id = p.purchase_id
        left join billing.credit_grants g on g.user_id = p.user_id and g.grant_no = b.grant_no
        where p.user_id = %(user)s
    ),
    'subscriptions', (
        select coalesce(json_agg(json_build_array(
            s.stripe_subscription_id, s.tier, s.status, s.billing_interval, s.stripe_price_id
        ) order by s.stripe_subscription_id), '[]')
        from billing.billing_subscriptions s where user_id = %(user)s
    ),
    'customer', (select stripe_customer_id from billing.billing_customers where user_id = %(user)s),
    'migration', (
        select json_build_array(
            m.status, m.tier, m.period, m.usage_before, m.monthly_credits, m.tier_credits, m.bought_credit, m.purchases,
            m.month_granted, m.migrated_at
        )
        from billing.user_migrations m where user_id = %(user)s
    ),
    'told', (
        select json_build_array(
            c.can_run, c.tier, c.monthly_limit, c.monthly_usage, c.remaining, c.bought_credit, c.migrated
        )
        from billing.legacy_check(%(user)s) c
    )
)::text as result
"""
NOTHING: OldData = {"subscriptions": [], "usage": [], "purchases": [], "left": Fraction(0), "beyond": Decimal(0)}


def migrate_together(session: psycopg.Connection, users: list[UUID], order: list[int]) -> None:
    session.execute("select billing.migrate_users(%s)", [users])


def migrate_one_by_one(session: psycopg.Connection, users: list[UUID], order: list[int]) -> None:
    for number in order:
        session.execute("select billing.migrate_users(array[%s]::uuid[])", [users[number]])


def migrate_after_an_attempt(session: psycopg.Connection, users: list[UUID], order: list[int]) -> None:
    """One that was rolled back as a transaction, after a part of the users had moved; some are named twice."""
    with session.transaction(force_rollback=True):
        migrate_together(session, users, order)
    session.execute("select billing.migrate_users(%s)", [[users[number] for number in order[:2]]])
    with session.transaction(force_rollback=True):
        migrate_one_by_one(session, users, order)
    migrate_together(session, users + users[:1], order)


def migrate_as_planned(session: psycopg.Connection, users: list[UUID], order: list[int]) -> None:
    """What a plan tells is what the migration tells."""
    query = "select * from billing.{}(%s)"
    planned = session.execute(query.format("plan_migration"), [users]).fetchall()
    done = session.execute(query.format("migrate_users"), [users]).fetchall()
    assert len(planned) == len(set(users))
    assert [row._replace(outcome={"planned": "migrated"}.get(row.outcome, row.outcome)) for row in planned] == done


def migrate_moved_back_and_again(session: psycopg.Connection, users: list[UUID], order: list[int]) -> None:
    migrate_together(session, users, order)
    session.execute("select billing.rollback_users(%s)", [users])
    migrate_together(session, users, order)


WAYS = {
    "together": migrate_together,
    "one by one": migrate_one_by_one,
    "after an attempt": migrate_after_an_attempt,
    "as planned": migrate_as_planned,
    "into accounts that exist": migrate_one_by_one,
    "together, into accounts that exist": migrate_together,
    "moved back and again": migrate_moved_back_and_again,
}


def test_every_way_to_migrate_gives_the_same(session):
    """Set by set or one by one, into accounts that exist or not, resumed or not, planned or done."""

    @BATCHES
    @given(
        start=st.sampled_from(STARTS),
        some=st.lists(st.tuples(old_data, st.sampled_from([None, None, None, *DIRTY])), min_size=1, max_size=4),
        chance=st.randoms(use_true_random=False),
    )
    def check(start: datetime, some: list[tuple[OldData, Any]], chance: Any) -> None:
        move_clock(session, start)
        order = list(range(len(some)))
        chance.shuffle(order)
        results = {}
        for way, migrate in WAYS.items():
            users = [uuid4() for _ in some]
            for user, (data, dirty) in zip(users, some, strict=True):
                if "exist" in way:
                    leave_an_account(session, user)
                model = save_old_user(session, user, start, data)
                if dirty:
                    clean_up_for(session, user, dirty[0])
                    session.execute(dirty[1], {"user": user})
                else:
                    model.migrate()
            migrate(session, users, order)
            results[way] = [result_of(session, user) for user, (_, dirty) in zip(users, some, strict=True) if not dirty]
            for user, (_, dirty) in zip(users, some, strict=True):
                problems = session.execute("select * from billing.verify_migration(array[%s]::uuid[])", [user])
                assert [row.problem for row in problems] == ([dirty[0]] if dirty else [])
                status = session.execute("select status from billing.get_migration(%s)", [user]).fetchone().status
                assert (status == "migrated") == (not dirty)
        first = results["together"]
        for way, result in results.items():
            assert result == first, way

    check()
    assert findings(session) == []


def leave_an_account(session: psycopg.Connection, user: UUID) -> None:
    """Closed and empty, of a user who was here for a moment last year, and left nothing in the old system."""
    now = session.execute("select current_setting('test.now') as now").fetchone().now
    move_clock(session, datetime.fromisoformat(now) - timedelta(days=400))
    session.execute("select billing.open_account(%s)", [user])
    session.execute("select billing.rollback_users(array[%s]::uuid[])", [user])
    session.execute("delete from legacy_billing.bought_credit where user_id = %s", [user])
    session.execute("delete from legacy_billing.customers where user_id = %s", [user])
    session.execute("select set_config('test.now', %s, false)", [now])


def clean_up_for(session: psycopg.Connection, user: UUID, problem: str) -> None:
    """What is dirty takes the place of what was there."""
    if problem in ("negative_credit", "amount_too_precise"):
        session.execute("delete from legacy_billing.bought_credit where user_id = %s", [user])


def result_of(session: psycopg.Connection, user: UUID) -> Any:
    """What a migration has made, without the user's own id."""
    text = session.execute(RESULT, {"user": user}).fetchone().result
    return json.loads(text.replace(str(user), "user"), parse_float=Decimal, parse_int=Decimal)
