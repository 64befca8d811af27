"""The deferred ledger against the eager one: after every step of a random history the two agree exactly.

HYPOTHESIS_PROFILE=thorough runs longer histories, and many of them.
"""

import json
import os
from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from db.tests.model import Account, Entry, Hold, Limits, Price, Refused, Tier, is_burn, joined
from db.tests.sessions import run_job

# What fails is the change at hand: the quick runs try the same histories every time, the thorough ones look for others,
# and a failure prints a blob that reproduces it anywhere (@reproduce_failure). Deadlines mean nothing on a machine that
# others use, and a database is slower than memory.
COMMON: dict[str, Any] = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("quick", max_examples=80, stateful_step_count=30, derandomize=True, **COMMON)
settings.register_profile("thorough", max_examples=1500, stateful_step_count=60, **COMMON)
settings.register_profile("unshrunk", settings.get_profile("quick"), phases=[Phase.explicit, Phase.generate])
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

MICROSECOND = timedelta(microseconds=1)
SMALLEST = Decimal("0.000000001")
# Ends of months and years, a leap day, and hours at which clocks are changed in some zone.
STARTS = [
    datetime(2030, 1, 15, 12, tzinfo=UTC),
    datetime(2030, 1, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2030, 3, 9, 18, tzinfo=UTC),
    datetime(2030, 12, 31, 23, 30, tzinfo=UTC),
    datetime(2032, 2, 29, tzinfo=UTC),
]
ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"]

amounts = st.one_of(
    st.integers(1, 20).map(Decimal),
    st.integers(1, 3000).map(lambda cents: Decimal(cents) / 100),
    st.integers(1, 10**11).map(lambda units: units * SMALLEST),
)
# A part of what is available, so that calls succeed, and an end of all of it is met; or any amount.
sizes = st.one_of(st.sampled_from([Fraction(1, 5), Fraction(1, 3), Fraction(1, 2), Fraction(1)]), amounts)
delays = st.one_of(
    st.sampled_from([MICROSECOND, timedelta(seconds=1), timedelta(minutes=15), timedelta(hours=1)]),
    st.sampled_from([timedelta(days=1), timedelta(days=7), timedelta(days=8), timedelta(days=31)]),
    st.integers(1, 40 * 86400).map(lambda seconds: timedelta(seconds=seconds)),
)
picks = st.integers(0, 10**6)
# A key of its own, or none; calls are repeated under their key by rules of their own.
keyed = st.booleans()


def first_of_next_month(start: datetime) -> datetime:
    return (start + timedelta(days=31)).replace(day=1)


# How long a month's credits last, for SQL and for the model.
LIFETIMES: dict[str | None, Callable[[datetime], datetime] | None] = {
    None: None,
    "1 month": first_of_next_month,
    "10 days": lambda start: start + timedelta(days=10),
    "45 days": lambda start: start + timedelta(days=45),
}
TIER_AMOUNTS = {"free": Decimal(5), "tier_2_20": Decimal(25), "tier_6_50": Decimal(55)}
tier_terms = st.fixed_dictionaries(
    {
        name: st.tuples(st.sampled_from(list(LIFETIMES)), st.sampled_from([None, Decimal(0), Decimal("7.5")]))
        for name in TIER_AMOUNTS
    }
)

# All that the SQL API tells about an account, in one answer.
STATE = """
select json_build_object(
    'account', (select to_json(a) from billing.get_account(%(user)s) a),
    'check', (select to_json(c) from billing.check_credits(%(user)s, 1) c),
    'summary', (select to_json(s) from billing.account_summary(%(user)s) s),
    'lots', (select coalesce(json_agg(g), '[]') from billing.list_grants(%(user)s, false) g),
    'live', (select coalesce(json_agg(g.grant_no), '[]') from billing.list_grants(%(user)s) g),
    'holds', (select coalesce(json_agg(h), '[]') from billing.list_holds(%(user)s, false) h),
    'active', (select coalesce(json_agg(h.hold_id), '[]') from billing.list_holds(%(user)s) h),
    'entries', (
        select coalesce(json_agg(e order by e.entry_no), '[]') from billing.list_entries(%(user)s, null, 500) e
    ),
    'funding', (
        select coalesce(json_agg((
            select coalesce(json_agg(json_build_array(f.grant_no, f.amount)), '[]')
            from billing.entry_funding(%(user)s, n) f
        ) order by n), '[]')
        from generate_series(1, (select entry_count from billing.credit_accounts where user_id = %(user)s)) n
    ),
    'usage', (
        select coalesce(json_agg(json_build_array(bucket, amount, calls, refused)), '[]')
        from (
            select bucket, sum(amount) as amount, sum(calls) as calls, sum(refused) as refused
            from billing.usage_by(%(user)s, '2000-01-01 00:00+00', '3000-01-01 00:00+00', 'month')
            group by bucket
            order by bucket
        ) months
    ),
    'balances', (
        select coalesce(json_agg(billing.balance_at(%(user)s, t) order by i), '[]')
        from unnest(%(times)s::timestamptz[]) with ordinality as times (t, i)
    ),
    'actions', (
        select coalesce(json_agg(json_build_array(l.action, l.amount, l.outcome)), '[]')
        from billing.list_actions(%(user)s, null, null, 500) l
    ),
    'findings', (select coalesce(json_agg(f), '[]') from billing.verify_account(%(user)s) f)
)::text as state
"""

# The stored rows, as a settlement leaves them.
SETTLED = """
select json_build_object(
    'account', (select to_json(a) from billing.credit_accounts a where user_id = %(user)s),
    'remaining', (
        select coalesce(json_object_agg(grant_no, remaining), '{}') from billing.credit_grants where user_id = %(user)s
    ),
    'burns', (
        select coalesce(json_agg(json_build_array(grant_no, to_used - from_used) order by to_used), '[]')
        from billing.credit_burns where user_id = %(user)s
    ),
    'due', (
        select coalesce(json_agg(
            case when type = 'expiry' then (metadata ->> 'due_at')::timestamp at time zone 'UTC' end order by entry_no
        ), '[]')
        from billing.credit_ledger where user_id = %(user)s
    ),
    'findings', (select coalesce(json_agg(f), '[]') from billing.verify_account(%(user)s) f)
)::text as state
"""


def parsed(text: str) -> Any:
    """JSON with exact numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def in_utc(row: dict[str, Any]) -> dict[str, Any]:
    """Python takes a time in the hour that a zone has twice for unequal to any time of another zone."""
    return {key: value.astimezone(UTC) if isinstance(value, datetime) else value for key, value in row.items()}


class Ledger(RuleBasedStateMachine):
    """One history of one user; the class holds the session that all of them use."""

    session: ClassVar[psycopg.Connection]
    keys: ClassVar[count] = count(1)

    @initialize(
        start=st.sampled_from(STARTS),
        zone=st.sampled_from(ZONES),
        terms=tier_terms,
        tier=st.sampled_from(["free", "tier_2_20"]),
        gifts=st.lists(
            st.tuples(st.integers(1, 30), st.sampled_from([0, 10, 60]), st.sampled_from([1, 10, None])), max_size=3
        ),
    )
    def open_account(
        self,
        start: datetime,
        zone: str,
        terms: dict[str, Any],
        tier: str,
        gifts: list[tuple[int, int, int | None]],
    ) -> None:
        self.user, self.boss, self.clerk, self.stranger = uuid4(), uuid4(), uuid4(), uuid4()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.written = 0
        self.move_clock(start)
        self.session.execute("select set_config('timezone', %s, false)", [zone])
        # Jobs leave the accounts of other histories alone.
        self.session.execute("update billing.credit_accounts set status = 'closed', next_expiry_at = null")
        self.session.execute("delete from billing.credit_holds")
        tiers = {}
        for name, amount in TIER_AMOUNTS.items():
            lifetime, cap = terms[name]
            self.session.execute(
                """update billing.billing_tiers
                   set monthly_credits = %s, grant_expires_after = %s::interval, rollover_cap = %s where name = %s""",
                [amount, lifetime, cap, name],
            )
            self.session.execute("delete from billing.billing_tier_amounts where tier = %s", [name])
            self.session.execute(
                "insert into billing.billing_tier_amounts values (%s, '0001-01-01', %s)", [name, amount]
            )
            tiers[name] = Tier(name, {datetime.min.date(): amount}, LIFETIMES[lifetime], cap)
        self.session.execute(
            """insert into billing.user_roles (user_id, role, granted_at)
               values (%s, 'super_admin', now()), (%s, 'admin', now())""",
            [self.boss, self.clerk],
        )
        admins = {
            self.boss: Limits(Decimal(100000), Decimal(500000)),
            self.clerk: Limits(Decimal(20), Decimal(50)),
        }
        self.session.execute("select billing.open_account(%s, %s)", [self.user, tier])
        self.model = Account(start, tier, tiers, admins)
        self.model.prices = PRICES
        for amount, priority, days in gifts:
            end = days and start + timedelta(days=days)
            self.call("grant_credits", amount=Decimal(amount), source="promotion", expires_at=end, priority=priority)

    # Calling both.

    def move_clock(self, now: datetime) -> None:
        self.session.execute("select set_config('test.now', %s, false)", [now.isoformat()])

    def key(self, wanted: bool) -> str | None:
        return f"key {next(self.keys)}" if wanted else None

    def admin(self, pick: int) -> UUID:
        """Mostly the super admin; the admin's limits are small, and the stranger is none."""
        return [self.boss, self.boss, self.boss, self.boss, self.clerk, self.clerk, self.stranger][pick % 7]

    def call(self, name: str, **arguments: Any) -> None:
        """Make a call on both sides and compare what they answer."""
        self.calls.append((name, arguments))
        real = self.call_real(name, arguments)
        if name == "hold_credits" and not isinstance(real, str):
            arguments = arguments | {"hold_id": real[0]["hold_id"]}
        expected = self.call_model(name, arguments)
        if isinstance(real, list) and isinstance(expected, list):
            real = [{key: row[key] for key in columns} for row, columns in zip(real, expected, strict=True)]
        assert real == expected

    def call_model(self, name: str, arguments: dict[str, Any]) -> Any:
        """The rows that the model answers, or the name of its exception."""
        try:
            answer = getattr(self.model, name)(**arguments)
        except Refused as refused:
            return refused.name
        return answer if isinstance(answer, list) else [answer]

    def call_real(self, name: str, arguments: dict[str, Any]) -> Any:
        """The rows that SQL returns, or the name of its exception."""
        named = {RENAMED.get(key, key): value for key, value in arguments.items() if key != "reference"}
        if "reference" in arguments:
            named["reference_type"], named["reference_id"] = arguments["reference"]
        if name == "deduct_credits_batch":
            items = [
                {"user_id": str(self.user), "amount": f"{amount:f}", "idempotency_key": key}
                for amount, key in arguments["items"]
            ]
            named = {"items": json.dumps(items)}
        else:
            named["user_id"] = self.user
        if name in REASONED:
            named["reason"] = "a property"
        query = "select * from billing.{}({})".format(name, ", ".join(f"p_{key} => %({key})s" for key in named))
        try:
            return [in_utc(row) for row in self.session.execute(query, named)]
        except psycopg.Error as error:
            if (error.sqlstate or "").startswith("UC"):
                return error.diag.message_primary
            raise

    # Spending.

    @rule(
        amount=amounts, source=st.sampled_from(["trial_grant", "promotion", "refund", "adjustment"]),
        lasts=st.one_of(st.none(), delays), priority=st.sampled_from([None, None, 0, 10, 50, 200]), keyed=keyed,
        reference=st.sampled_from([(None, None), ("campaign", "spring")]),
    )  # fmt: skip
    def grant(
        self, amount: Decimal, source: str, lasts: timedelta | None, priority: int | None, keyed: bool,
        reference: tuple[str | None, str | None],
    ) -> None:  # fmt: skip
        expires_at = lasts and self.model.now + lasts
        self.call(
            "grant_credits", amount=amount, source=source, expires_at=expires_at, priority=priority,
            reference=reference, key=self.key(keyed),
        )  # fmt: skip

    @precondition(lambda self: self.model.next_end())
    @rule(amount=amounts, offset=st.sampled_from([timedelta(0), MICROSECOND]))
    def grant_that_ends_with_another(self, amount: Decimal, offset: timedelta) -> None:
        self.call("grant_credits", amount=amount, source="promotion", expires_at=self.model.next_end() + offset)

    @rule(size=sizes, beyond=st.sampled_from([False, False, True]), keyed=keyed)
    def deduct(self, size: Fraction | Decimal, beyond: bool, keyed: bool) -> None:
        """Perhaps the smallest amount more than there is."""
        self.call("deduct_credits", amount=self.amount(size) + (SMALLEST if beyond else 0), key=self.key(keyed))

    def amount(self, size: Fraction | Decimal) -> Decimal:
        """An amount for a call: itself, or that part of what is available."""
        if isinstance(size, Decimal):
            return size
        return max((self.model.available * size.numerator / size.denominator).quantize(SMALLEST), SMALLEST)

    @rule(
        model=st.sampled_from(["claude-opus-4-1", "gpt-4o-mini", "no such model"]), prompt=st.integers(0, 200_000),
        completion=st.integers(0, 50_000), cached=st.integers(0, 200_000), keyed=keyed,
    )  # fmt: skip
    def deduct_tokens(self, model: str, prompt: int, completion: int, cached: int, keyed: bool) -> None:
        self.call(
            "deduct_tokens", model=model, prompt=prompt, completion=completion, cached=min(cached, prompt),
            key=self.key(keyed),
        )  # fmt: skip

    @rule(items=st.lists(st.tuples(amounts, keyed), max_size=4), again=st.booleans())
    def batch(self, items: list[tuple[Decimal, bool]], again: bool) -> None:
        """Some items; perhaps one of them twice, and its key once more for another amount."""
        asked = [(amount, self.key(keyed)) for amount, keyed in items]
        if again and asked:
            amount, key = asked[0]
            asked += [(amount, key), (amount + 1, key)]
        self.call("deduct_credits_batch", items=asked)

    # Holds.

    @rule(size=sizes, lasts=delays.filter(lambda delay: delay <= timedelta(days=30)), keyed=keyed)
    def hold(self, size: Fraction | Decimal, lasts: timedelta, keyed: bool) -> None:
        self.call("hold_credits", amount=self.amount(size), expires_in=lasts, key=self.key(keyed))

    @precondition(lambda self: self.model.available > 0 and self.lots_that_end())
    @rule(
        size=sizes, pick=picks, lasts=st.sampled_from([timedelta(0), MICROSECOND, timedelta(days=2)]),
        wait=st.sampled_from([None, timedelta(0), MICROSECOND, timedelta(days=1)]),
    )  # fmt: skip
    def hold_over_an_expiry(
        self, size: Fraction | Decimal, pick: int, lasts: timedelta, wait: timedelta | None
    ) -> None:
        """Hold until the moment at which a lot expires, or longer; perhaps wait until then, or longer."""
        ends = self.lots_that_end()
        end = ends[pick % len(ends)]
        lasts = min(end - self.model.now + lasts, timedelta(days=30))
        self.call("hold_credits", amount=self.amount(size), expires_in=lasts)
        if wait is not None:
            self.wait_until(end + wait)

    def lots_that_end(self) -> list[datetime]:
        return [lot.expires_at for lot in self.model.live_lots() if lot.expires_at is not None and not lot.lapsed]

    @precondition(lambda self: self.model.holds)
    @rule(pick=picks, how=st.sampled_from(["less", "equal", "more", "all", "beyond"]), other=amounts, keyed=keyed)
    def capture(self, pick: int, how: str, other: Decimal, keyed: bool) -> None:
        """A hold, late ones too; up to one unit more than there is."""
        hold = self.pick_hold(pick)
        room = self.model.available + (hold.amount if hold.status == "active" else 0)
        amount = {
            "less": max((hold.amount / 3).quantize(SMALLEST), SMALLEST),
            "equal": hold.amount,
            "more": hold.amount + other,
            "all": max(room, SMALLEST),
            "beyond": room + SMALLEST,
        }[how]
        self.call("capture_hold", hold_id=hold.hold_id, amount=amount, key=self.key(keyed))

    @precondition(lambda self: self.model.holds)
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        self.call("release_hold", hold_id=self.pick_hold(pick).hold_id)

    def pick_hold(self, pick: int) -> Hold:
        """Mostly an active one, if there is any."""
        holds = self.model.active_holds() if pick % 4 else self.model.holds
        holds = holds or self.model.holds
        return holds[pick % len(holds)]

    # Admins.

    @rule(amount=amounts, negative=st.booleans(), admin=picks, keyed=keyed)
    def adjust(self, amount: Decimal, negative: bool, admin: int, keyed: bool) -> None:
        amount = -amount if negative else amount
        self.call("adjust_credits", actor=self.admin(admin), amount=amount, key=self.key(keyed))

    @rule(amount=amounts, lasts=st.one_of(st.none(), delays), admin=picks, keyed=keyed)
    def admin_grant(self, amount: Decimal, lasts: timedelta | None, admin: int, keyed: bool) -> None:
        expires_at = lasts and self.model.now + lasts
        self.call(
            "admin_grant_credits", actor=self.admin(admin), amount=amount, expires_at=expires_at, key=self.key(keyed)
        )

    @precondition(lambda self: self.model.used > 0)
    @rule(pick=picks, burnt=st.sampled_from([True, True, True, False]), admin=picks, keyed=keyed)
    def reverse(self, pick: int, burnt: bool, admin: int, keyed: bool) -> None:
        """An entry that took credits, or any, or none that exists."""
        written = self.model.entries[: self.written]
        numbers = [entry.entry_no for entry in written if not burnt or is_burn(entry)] or [10**6]
        self.call("reverse_entry", actor=self.admin(admin), entry_no=numbers[pick % len(numbers)], key=self.key(keyed))

    @rule(status=st.sampled_from(["frozen", "frozen", "frozen", "closed"]), delay=delays, admin=picks)
    def suspend(self, status: str, delay: timedelta, admin: int) -> None:
        """Until somebody makes it active again."""
        self.call("set_account_status", actor=self.admin(admin), status=status)
        self.agree()
        self.wait_until(self.model.now + delay)

    @precondition(lambda self: self.model.status != "active")
    @rule(admin=picks)
    def resume(self, admin: int) -> None:
        self.call("set_account_status", actor=self.admin(admin), status="active")

    @rule(tier=st.sampled_from(list(TIER_AMOUNTS)), admin=picks)
    def change_tier(self, tier: str, admin: int) -> None:
        self.call("change_tier", actor=self.admin(admin), tier=tier)

    @rule(tier=st.sampled_from(list(TIER_AMOUNTS)), amount=st.integers(0, 80).map(Decimal))
    def change_tier_amount(self, tier: str, amount: Decimal) -> None:
        """Counts from the next period."""
        self.session.execute("update billing.billing_tiers set monthly_credits = %s where name = %s", [amount, tier])
        period = first_of_next_month(self.model.now.replace(day=1)).date()
        self.model.tiers[tier].amounts[period] = amount

    @rule(amount=amounts)
    def owe(self, amount: Decimal) -> None:
        """Debt comes from payments that were taken back."""
        self.session.execute(
            "update billing.credit_accounts set debt = debt + %s where user_id = %s", [amount, self.user]
        )
        self.model.debt += amount

    # Again.

    @precondition(lambda self: self.calls)
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        """Any call once more: under a key it replays, without one it is a call of its own."""
        name, arguments = self.calls[pick % len(self.calls)]
        self.call(name, **arguments)

    @precondition(lambda self: any(arguments.get("key") for _, arguments in self.calls))
    @rule(pick=picks, other=amounts)
    def reuse_key(self, pick: int, other: Decimal) -> None:
        """The key of an earlier call for another amount."""
        known = [call for call in self.calls if call[1].get("key") and "amount" in call[1]]
        if known:
            name, arguments = known[pick % len(known)]
            self.call(name, **arguments | {"amount": other})

    # Time.

    @rule(delay=delays)
    def wait(self, delay: timedelta) -> None:
        self.wait_until(self.model.now + delay)

    @precondition(lambda self: self.model.next_end())
    @rule(offset=st.sampled_from([-MICROSECOND, timedelta(0), MICROSECOND]))
    def wait_for_next_end(self, offset: timedelta) -> None:
        self.wait_until(self.model.next_end() + offset)

    def wait_until(self, at: datetime) -> None:
        self.model.at(max(at, self.model.now))
        self.move_clock(self.model.now)

    @rule(job=st.sampled_from(["monthly_grants", "missed_grants", "expire_credits", "release_holds"]))
    def run(self, job: str) -> None:
        """What has come due is booked, which shows nowhere; and who is granted what the month owes."""
        reaches = {
            "expire_credits": "select from billing.credit_accounts where user_id = %s and next_expiry_at <= %s",
            "release_holds": """select from billing.credit_holds
                                where user_id = %s and expires_at <= %s and status = 'active'""",
        }
        query = reaches.get(job)
        reached = query is None or self.session.execute(query, [self.user, self.model.now]).rowcount
        run_job(self.session, job)
        if reached and self.model.status == "active":
            self.model.catch_up()

    # Comparing.

    def times(self) -> list[datetime]:
        """Before and at the latest moments at which something happened, and around what comes next."""
        past = sorted({entry.at for entry in self.model.entries})[-6:]
        ahead = [end for end in [self.model.next_end()] if end is not None]
        times = [at + offset for at in past + ahead for offset in (-MICROSECOND, timedelta(0))]
        return [self.model.created_at - MICROSECOND, *times, self.model.now + timedelta(days=3)]

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "model"):
            return
        times = self.times()
        with self.session.transaction(force_rollback=True):
            (row,) = self.session.execute(STATE, {"user": self.user, "times": times}).fetchall()
            self.compare(parsed(row["state"]), times)
            self.session.execute(
                """select billing_private.settle_account(a, greatest(billing_private.clock(), a.updated_at))
                   from billing.credit_accounts a where user_id = %s""",
                [self.user],
            )
            (row,) = self.session.execute(SETTLED, {"user": self.user}).fetchall()
            self.compare_settled(parsed(row["state"]))

    def compare_check(self, check: dict[str, Any]) -> None:
        """Of a call that needs 1 credit: what the month owes counts where it is needed."""
        owed = deepcopy(self.model)
        refused = owed.hold_credits(Decimal(1), timedelta(1), hold_id=uuid4())["reason"]
        if self.model.available >= 1 or self.model.tiers[self.model.tier].rollover_cap is None:
            assert check["can_run"] == (refused is None)
            held = Decimal(0) if refused else Decimal(1)
            assert (check["balance"], check["available"]) == (owed.balance, owed.available + held)

    def compare(self, state: dict[str, Any], times: list[datetime]) -> None:
        """What reads tell."""
        model, account, summary = self.model, state["account"], state["summary"]
        assert state["findings"] == []
        assert account["tier"] == summary["tier"] == model.tier
        assert account["status"] == summary["status"] == model.status
        assert account["balance"] == summary["balance"] == model.balance
        assert account["held"] == summary["held"] == model.held
        assert account["available"] == summary["available"] == model.available
        assert account["debt"] == summary["debt"] == model.debt
        assert account["used_total"] == model.used
        assert instant(account["last_grant_at"]) == model.last_grant_at
        self.compare_check(state["check"])
        day = model.now.replace(hour=0, minute=0, second=0, microsecond=0)
        months = {instant(month): amount for month, amount, *_ in state["usage"]}
        assert summary["spent_total"] == model.gone("usage") == sum(months.values())
        assert summary["spent_today"] == model.gone("usage", since=day)
        assert summary["spent_this_month"] == months.get(day.replace(day=1), 0)
        assert summary["granted_total"] == sum(lot.amount for lot in model.lots)
        assert summary["taken_total"] == model.gone("adjustment")
        assert summary["expired_total"] == model.gone("expiry")
        assert summary["recovered_total"] == model.gone("clawback", "debt_repayment")
        assert summary["balance"] == accounted_for(summary)
        assert summary["live_grants"] == len(model.live_lots())
        assert summary["active_holds"] == len(model.active_holds())

        assert [lot_row(row) for row in state["lots"]] == [
            (
                lot.grant_no, lot.source, lot.amount, lot.remaining, lot.priority, lot.expires_at, lot.granted_at,
                lot.entry_no, lot.reference,
            )
            for lot in sorted(model.lots, key=lambda lot: lot.burn_order)
        ]  # fmt: skip
        assert state["live"] == [lot.grant_no for lot in model.live_lots()]
        assert {row["hold_id"]: hold_row(row) for row in state["holds"]} == {
            str(hold.hold_id): (
                hold.amount, hold.captured, hold.status, hold.expires_at, hold.key, hold.entry_no, hold.created_at,
                hold.ended_at,
            )
            for hold in model.holds
        }  # fmt: skip
        assert set(state["active"]) == {str(hold.hold_id) for hold in model.active_holds()}

        # What is not written yet is what has come due since the last call.
        written = self.written = len(state["entries"])
        assert all(entry.operation == "settle_account" for entry in model.entries[written:])
        assert account["entry_count"] == written
        for row, entry in zip(state["entries"], model.entries, strict=False):
            assert entry_row(row) == (
                entry.entry_no, entry.type, entry.amount, entry.balance_after, entry.key, entry.reference,
                str(entry.actor) if entry.actor else None, entry.grant_no, entry.reversed_entry_no, entry.refused,
            )  # fmt: skip
            if entry.operation == "settle_account":
                assert entry.at <= instant(row["created_at"]) <= model.now
            else:
                assert instant(row["created_at"]) == entry.at
        assert state["funding"] == [[list(part) for part in entry.funding] for entry in model.entries[:written]]
        assert [(instant(month), *sums) for month, *sums in state["usage"]] == model.usage_by_month()
        assert state["balances"] == [model.balance_at(at) for at in times]
        assert sorted(state["actions"], key=repr) == sorted(map(list, model.actions), key=repr)

    def compare_settled(self, state: dict[str, Any]) -> None:
        """What is stored once the account is settled."""
        model, account = self.model, state["account"]
        assert state["findings"] == []
        assert (account["balance"], account["held"], account["debt"]) == (model.balance, model.held, model.debt)
        assert account["used_total"] == account["settled_total"] == model.used
        assert instant(account["next_expiry_at"]) == model.next_end()
        assert account["entry_count"] == len(model.entries)
        assert {int(number): amount for number, amount in state["remaining"].items()} == {
            lot.grant_no: lot.remaining for lot in model.lots
        }
        assert joined((int(number), amount) for number, amount in state["burns"]) == model.burns()
        assert [instant(due) for due in state["due"]] == [due_at(entry) for entry in model.entries]


def accounted_for(summary: dict[str, Any]) -> Decimal:
    """The balance, by where all that was granted went."""
    gone = sum(summary[f"{way}_total"] for way in ("spent", "taken", "expired", "recovered"))
    return summary["granted_total"] - gone


RENAMED = {
    "key": "idempotency_key",
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "cached": "cached_tokens",
}
REASONED = {"adjust_credits", "admin_grant_credits", "reverse_entry", "set_account_status", "change_tier"}
PRICES: dict[str, Price] = {}


def lot_row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["grant_no"], row["source"], row["amount"], row["remaining"], row["priority"], instant(row["expires_at"]),
        instant(row["granted_at"]), row["entry_no"], (row["reference_type"], row["reference_id"]),
    )  # fmt: skip


def hold_row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["amount"], row["captured"], row["status"], instant(row["expires_at"]), row["idempotency_key"],
        row["entry_no"], instant(row["created_at"]), instant(row["ended_at"]),
    )  # fmt: skip


def entry_row(row: dict[str, Any]) -> tuple[Any, ...]:
    # The key of a tier grant is nobody's but its own.
    key = None if row["type"] == "tier_grant" else row["idempotency_key"]
    metadata = row["metadata"] or {}
    refused = (metadata["refused"], metadata["asked"]) if "refused" in metadata else None
    return (
        row["entry_no"], row["type"], row["amount"], row["balance_after"], key,
        (row["reference_type"], row["reference_id"]), row["actor"], row["grant_no"], row["reversed_entry_no"],
        refused,
    )  # fmt: skip


def due_at(entry: Entry) -> datetime | None:
    """When an expiry took effect; one by the rollover cap has no due time but its own."""
    return entry.at if entry.type == "expiry" and entry.operation == "settle_account" else None


@pytest.fixture
def session(database, clock):
    """A session whose clock is a setting of its own: a history moves it at every other step."""
    clock.freeze(STARTS[0])
    with database.connect() as conn:
        conn.row_factory = dict_row
        conn.execute(
            f"create or replace function billing_private.clock() returns timestamptz language sql {clock.volatility} "
            "as 'select current_setting(''test.now'')::timestamptz'"
        )
        conn.execute(
            "update billing.admin_limits set max_credit_adjustment = 20, max_daily_total = 50 where role = 'admin'"
        )
        conn.execute("select set_config('test.now', %s, false)", [STARTS[0].isoformat()])
        for price in conn.execute("select * from billing.list_model_prices()"):
            PRICES[price["model"]] = Price(
                price["input_per_million"], price["cached_input_per_million"], price["output_per_million"],
                price["multiplier"],
            )  # fmt: skip
        yield conn


def test_deferred_settlement_equals_an_eager_walk(session):
    """Balances, lots, holds, lineage, history and answers are those of a ledger that defers nothing."""
    machine = type("LedgerInThisDatabase", (Ledger,), {"session": session})
    run_state_machine_as_test(machine, settings=PROFILE)


# Histories that a random one meets now and then. All start with lots that end after 1 and after 10 days, and one that
# does not end, in a zone that sets its clocks one hour ahead on 10 March.
DAY = timedelta(days=1)
HISTORIES: dict[str, Callable[[Ledger], Iterable[Any]]] = {
    "a hold ends with the lot under it": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(14), expires_in=DAY),
        ledger.wait(DAY),
        ledger.call("deduct_credits", amount=Decimal(1)),
    ),
    "a lot lives on under a hold, and goes with it": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(14), expires_in=3 * DAY),
        ledger.wait(DAY),
        ledger.agree(),
        ledger.wait(2 * DAY),
    ),
    "a lot lives on under a hold, until its release": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(4), expires_in=3 * DAY),
        ledger.call("hold_credits", amount=Decimal(3), expires_in=5 * DAY),
        ledger.wait(DAY),
        ledger.agree(),
        ledger.release(1),
        ledger.agree(),
        ledger.call("deduct_credits", amount=Decimal("1.5")),
        ledger.agree(),
        ledger.wait(DAY),
        ledger.release(1),
    ),
    "two lots live on under holds, and are captured": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(9), expires_in=11 * DAY),
        ledger.call("hold_credits", amount=Decimal(6), expires_in=12 * DAY),
        ledger.wait(10 * DAY),
        ledger.agree(),
        ledger.call("deduct_credits", amount=Decimal(2)),
        ledger.agree(),
        ledger.capture(1, "less", Decimal(1), False),
        ledger.agree(),
        ledger.wait(DAY),
        ledger.agree(),
        ledger.capture(1, "all", Decimal(1), True),
        ledger.agree(),
        ledger.wait(DAY),
    ),
    "more than the hold is captured, up to all there is": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(1), expires_in=DAY),
        ledger.capture(1, "beyond", Decimal(1), False),
        ledger.agree(),
        ledger.capture(1, "all", Decimal(1), False),
    ),
    "a frozen account pays what it held, and no more": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(2), expires_in=DAY),
        ledger.call("hold_credits", amount=Decimal(2), expires_in=DAY),
        ledger.call("set_account_status", actor=ledger.boss, status="frozen"),
        ledger.capture(1, "more", Decimal(1), False),
        ledger.agree(),
        ledger.capture(1, "equal", Decimal(1), False),
        ledger.agree(),
        ledger.wait(DAY),
        ledger.capture(0, "less", Decimal(1), False),
    ),
    "a reversal pays debt from each of its lots, and the lost ones get a grace": lambda ledger: (
        ledger.call("deduct_credits", amount=Decimal(18)),
        ledger.owe(Decimal(10)),
        ledger.wait(2 * DAY),
        ledger.agree(),
        ledger.reverse(0, True, 0, False),
        ledger.agree(),
        ledger.wait(7 * DAY),
    ),
    "months are missed under a cap": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(20), expires_in=30 * DAY),
        ledger.call("change_tier", actor=ledger.boss, tier="tier_2_20"),
        ledger.wait(25 * DAY),
        ledger.call("set_account_status", actor=ledger.boss, status="frozen"),
        ledger.change_tier_amount("tier_2_20", Decimal(40)),
        ledger.wait(100 * DAY),
        ledger.call("set_account_status", actor=ledger.boss, status="active"),
        ledger.agree(),
        ledger.call("change_tier", actor=ledger.boss, tier="tier_6_50"),
    ),
    "jobs come late, and before what they would do is due": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(12), expires_in=2 * DAY),
        ledger.run("release_holds"),
        ledger.wait(DAY),
        ledger.run("expire_credits"),
        ledger.agree(),
        ledger.wait(DAY),
        ledger.run("release_holds"),
        ledger.agree(),
        ledger.call("deduct_credits", amount=Decimal(2)),
        ledger.wait(30 * DAY),
        ledger.run("expire_credits"),
        ledger.agree(),
        ledger.run("monthly_grants"),
        ledger.agree(),
        ledger.call("set_account_status", actor=ledger.boss, status="frozen"),
        ledger.wait(60 * DAY),
        ledger.run("monthly_grants"),
        ledger.agree(),
        ledger.call("set_account_status", actor=ledger.boss, status="active"),
        ledger.run("missed_grants"),
    ),
    "a day has 24 hours": lambda ledger: (
        ledger.call("hold_credits", amount=Decimal(1), expires_in=3 * DAY),
        ledger.call("deduct_credits", amount=Decimal(4)),
        ledger.wait(DAY),
        ledger.agree(),
        ledger.reverse(0, True, 0, False),
    ),
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_known_history(session, history):
    """What the promises are about, step by step beside the model."""
    terms = {"free": (None, None), "tier_2_20": (None, Decimal("7.5")), "tier_6_50": ("10 days", Decimal(0))}
    gifts = [(6, 0, 1), (7, 10, 10), (8, 60, None)]
    ledger = type("LedgerInThisDatabase", (Ledger,), {"session": session})()
    ledger.open_account(datetime(2030, 3, 8, 18, tzinfo=UTC), "America/New_York", terms, "free", gifts)
    ledger.agree()
    history(ledger)
    ledger.agree()
