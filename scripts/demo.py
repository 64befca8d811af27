"""Demo accounts with a month of history, and users of the old billing, so that a newcomer has something to look at.

    python -m scripts.demo --database-url URL

The accounts go through the SQL API with fixed ids and idempotency keys, the users of the old billing through its three
views, each in one transaction. A database that has them already is left as it is. Nobody is migrated. What the demo's
customers pay needs the API and a Stripe: scripts/demo_payments.py.
"""

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import psycopg
from psycopg.types.json import Jsonb

from scripts.migrate import describe
from scripts.servers import ROOT, ServerError, reachable_database

DAYS = 34
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4", "gemini-2.5-flash", "o4-mini")
SATURDAY = 5
FEATURES = ("chat", "summarise", "code-review", "search")

# Name, tier, calls on a working day, and the size of a call (times 1,000 prompt tokens).
USERS: tuple[tuple[str, str, int, int], ...] = (
    ("ada", "tier_2_20", 6, 40),
    ("grace", "tier_12_100", 10, 90),
    ("linus", "free", 3, 16),
    ("margaret", "tier_200_1000", 36, 200),
    ("dennis", "tier_6_50", 5, 100),
    ("barbara", "free", 0, 0),
)
# Who support them, with no accounts of their own.
ADMINS = ("alan", "katherine")


def demo_id(name: str) -> UUID:
    """The id of a demo user, the same on every machine."""
    return uuid5(NAMESPACE_URL, f"https://demo.invalid/users/{name}")


@dataclass(frozen=True)
class OldUser:
    """A user of the old billing: without a price it is a free one, who is nobody at Stripe."""

    name: str
    price: str | None = None
    tier: str = "free"
    limit: str = "5"
    status: str = "active"
    usage: str = "0"  # of this month, in ten calls
    bought: tuple[int, ...] = ()
    left: str = "0"

    @property
    def user_id(self) -> UUID:
        return demo_id(f"old/{self.name}")


TIER_2, TIER_6 = ("tier_2_20", "25"), ("tier_6_50", "55")
OLD_USERS = (
    OldUser("tim", "price_tier_200_1000_monthly", "tier_200_1000", "1005", usage="18.4", bought=(100, 25), left="60.5"),
    OldUser("radia", "price_tier_2_20_monthly", *TIER_2, usage="3.7"),
    OldUser("vint", "price_tier_2_20_yearly", *TIER_2, usage="24.9999"),
    OldUser("donald", "price_tier_6_50_monthly", *TIER_6, usage="71.25", bought=(50,), left="33.75"),
    OldUser("edsger", "price_tier_6_50_yearly", *TIER_6, "past_due", usage="2"),
    OldUser("frances", "price_tier_12_100_monthly", "tier_12_100", "105", "trialing"),
    OldUser("john", "price_tier_2_20_monthly", *TIER_2, "canceled", usage="1.5"),
    OldUser("jean", usage="0.000001"),
    OldUser("betty"),
    OldUser("niklaus", bought=(20, 20, 20), left="20"),
    # Two who can't be migrated: more was spent than there was, and a price that no tier is sold for.
    OldUser("tony", usage="4", bought=(10,), left="-3.2"),
    OldUser("seymour", "price_enterprise_2019", "enterprise", "5000", usage="400"),
)

IDENTITIES = {
    "user": demo_id("ada"),
    "purchaser": demo_id("margaret"),  # the only one whose tier may buy credits
    "admin": demo_id("alan"),
    "super_admin": demo_id("katherine"),
    "old_user": OLD_USERS[0].user_id,
}


class Past:
    """Calls of the SQL API at times that lie behind us.

    Within this one transaction billing_private.clock() reads a setting; at the end the function is as it was, and no
    other session has ever seen it otherwise.
    """

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn
        conn.execute(
            "create or replace function billing_private.clock() returns timestamptz language sql volatile as "
            "$$ select current_setting('billing.demo_clock')::timestamptz $$"
        )

    def move(self, at: datetime) -> None:
        """Let every following call happen at this time."""
        self.conn.execute("select set_config('billing.demo_clock', %s, true)", [at.isoformat()])

    def call(self, function: str, **values: Any) -> tuple[Any, ...]:
        """One call of a function of the SQL API; returns its row."""
        arguments = ", ".join(f"p_{name} => %({name})s" for name in values)
        row = self.conn.execute(f"select * from billing.{function}({arguments})", values).fetchone()
        assert row is not None
        return row

    def monthly_grants(self) -> None:
        """The grants of the period of this moment, by the function of the monthly job."""
        after = None
        while True:
            _, failures, error, after = self.call("grant_monthly_credits", limit=500, after=after and Jsonb(after))
            assert failures == 0, error
            if after is None:
                return

    def end(self) -> None:
        """Give the clock back."""
        self.conn.execute((ROOT / "db/functions/private/clock.sql").read_text())


def day_of_calls(past: Past, number: int, day: datetime, until: datetime) -> None:
    """What the users do on one day, up to a time."""
    dice = random.Random(number)
    calls = [
        (day + timedelta(seconds=dice.randrange(86_400)), name, thousands)
        for name, _, count, thousands in USERS
        for _ in range(count if day.weekday() < SATURDAY else (count + 2) // 4)
    ]
    for call, (at, name, thousands) in enumerate(sorted(calls)):
        prompt = dice.randrange(200, 2_000 * thousands)
        model, feature = dice.choice(MODELS), dice.choice(FEATURES)
        completion, cached = dice.randrange(50, 2_500), dice.choice((0, 0, prompt // 2))
        if at <= until:
            past.move(at)
            past.call(
                "deduct_tokens",
                user_id=demo_id(name),
                model=model,
                prompt_tokens=prompt,
                completion_tokens=completion,
                cached_tokens=cached,
                reference_type="call",
                reference_id=f"{feature}-{number}-{call}",
                idempotency_key=f"demo-{number}-{call}",
                metadata=Jsonb({"feature": feature}),
            )


def support_cases(past: Past, now: datetime) -> None:
    """What support did for these users, and what was refused."""
    admin, super_admin = IDENTITIES["admin"], IDENTITIES["super_admin"]
    hours = iter(range(20, 0, -1))

    def earlier() -> None:
        past.move(now - timedelta(hours=next(hours)))

    earlier()
    past.call(
        "adjust_credits",
        actor=admin,
        user_id=demo_id("ada"),
        amount=Decimal("10"),
        reason="Goodwill after slow responses on Monday",
        idempotency_key="demo-goodwill",
    )
    earlier()
    wrong = past.call(
        "deduct_credits",
        user_id=demo_id("grace"),
        amount=Decimal("7.5"),
        description="Batch job that failed half-way",
        reference_type="job",
        reference_id="export-118",
        idempotency_key="demo-export-118",
    )
    earlier()
    past.call("reverse_entry", actor=admin, user_id=demo_id("grace"), entry_no=wrong[1], reason="The export had failed")
    earlier()
    past.call("adjust_credits", actor=admin, user_id=demo_id("dennis"), amount=Decimal("2500"), reason="Annual bonus")
    earlier()
    past.call(
        "set_account_status",
        actor=admin,
        user_id=demo_id("dennis"),
        status="frozen",
        reason="Unusual traffic, asked the user",
    )
    earlier()
    past.call(
        "change_tier", actor=super_admin, user_id=demo_id("barbara"), tier="tier_2_20", reason="Upgraded by phone"
    )
    earlier()
    past.call(
        "request_refund",
        actor=super_admin,
        user_id=demo_id("ada"),
        amount=Decimal("2.5"),
        reason="The answers of Tuesday evening were cut off",
        idempotency_key="demo-refund",
    )
    earlier()
    past.call("deduct_credits", user_id=demo_id("dennis"), amount=Decimal("0.25"), description="chat")
    past.call("deduct_credits", user_id=demo_id("linus"), amount=Decimal("50"), description="video")
    earlier()
    past.call(
        "hold_credits",
        user_id=demo_id("margaret"),
        amount=Decimal("40"),
        expires_in=timedelta(days=7),
        description="Render farm, has not reported back",
        idempotency_key="demo-render-farm",
    )
    requests_of_admins(past, earlier)
    past.move(now - timedelta(minutes=2))
    past.call(
        "hold_credits",
        user_id=demo_id("grace"),
        amount=Decimal("12"),
        expires_in=timedelta(days=1),
        description="Agent run in progress",
        idempotency_key="demo-agent-run",
    )


def ask(past: Past, name: str, action: str, amount: str, reason: str) -> UUID:
    """An admin's request that another one decides: its approval_id."""
    answer = past.call(
        "request_approval",
        actor=IDENTITIES["admin"],
        user_id=demo_id(name),
        action=action,
        amount=Decimal(amount),
        reason=reason,
    )
    assert answer[0], answer[1]
    return answer[2]


def requests_of_admins(past: Past, earlier: Callable[[], None]) -> None:
    """What an admin may not do alone: declined, and still open."""
    earlier()
    refund = ask(past, "linus", "request_refund", "3", "Says that the summaries were of no use")
    earlier()
    past.call(
        "decline_request",
        actor=IDENTITIES["super_admin"],
        approval_id=refund,
        reason="The free tier has no refunds",
    )
    earlier()
    ask(past, "dennis", "adjust_credits", "2500", "Annual bonus, as agreed with sales")


def gifts(past: Past, number: int, day: datetime) -> None:
    """What margaret got in the middle of the month."""
    past.move(day)
    if number == DAYS - 19:
        past.call(
            "grant_credits",
            user_id=demo_id("margaret"),
            amount=Decimal("200"),
            source="promotion",
            description="Launch week promotion",
            expires_at=day + timedelta(days=50),
            idempotency_key="demo-launch-week",
        )
    elif number == DAYS - 8:
        credited = ask(past, "margaret", "adjust_credits", "1200", "Credits of the yearly contract, ticket 4711")
        past.move(day + timedelta(minutes=9))
        past.call(
            "approve_request",
            actor=IDENTITIES["super_admin"],
            approval_id=credited,
            reason="The contract says so",
        )


def fill(past: Past, now: datetime, tell: Callable[[str], None]) -> None:
    """Open the accounts a month ago, and let that month pass."""
    start = (now - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    past.move(start)
    past.call("bootstrap_super_admin", user_id=IDENTITIES["super_admin"])
    past.move(start + timedelta(minutes=5))
    past.call(
        "set_user_role",
        actor=IDENTITIES["super_admin"],
        user_id=IDENTITIES["admin"],
        role="admin",
        reason="Support team",
    )
    for name, tier, _, _ in USERS:
        past.call("open_account", user_id=demo_id(name), tier=tier)
    for name in (*(user[0] for user in USERS), *ADMINS):
        past.call("set_user_reference", user_id=demo_id(name), reference=f"{name}@example.com")
    for number in range(DAYS + 1):
        day = start + timedelta(days=number)
        if day.day == 1:
            past.move(day)
            past.monthly_grants()
        gifts(past, number, day)
        day_of_calls(past, number, day, now - timedelta(hours=21))
    support_cases(past, now)
    tell(f"demo: {len(USERS)} accounts with {DAYS} days of history, an admin and a super admin")


def fill_old_billing(conn: psycopg.Connection, now: datetime) -> None:
    """The users of the old billing, with what they did this month and what they bought before."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for user in OLD_USERS:
        # No customer: the Stripe that make run simulates knows none of them.
        pays = user.price is not None
        conn.execute(
            """insert into legacy_billing.legacy_customers (
                   user_id, stripe_customer_id, stripe_subscription_id, subscription_status, price_id, tier,
                   monthly_limit, current_period_start, current_period_end, bought_credit, created_at)
               values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                *(user.user_id, None, f"sub_demo_{user.name}" if pays else None),
                *(user.status if pays else None, user.price, user.tier if pays else None),
                *(Decimal(user.limit) if pays else None, month, month + timedelta(days=30)),
                *(Decimal(user.left), month - timedelta(days=200)),
            ],
        )
        cost = Decimal(user.usage)
        for number in range(10 if cost else 0):
            # All but the last call cost a tenth in whole micros, the last one what is left.
            part = round(cost / 10, 6) if number < 9 else cost - 9 * round(cost / 10, 6)
            conn.execute(
                """insert into legacy_billing.legacy_usage (
                       user_id, model, prompt_tokens, completion_tokens, cached_tokens, cost, paid_from_credit,
                       created_at)
                   values (%s, %s, %s, %s, 0, %s, 0, %s)""",
                [user.user_id, MODELS[number % 5], 1000 + number, 200, part, month + (now - month) * number / 10],
            )
        for number, amount in enumerate(user.bought):
            at = now - timedelta(days=90 - 10 * number)
            conn.execute(
                """insert into legacy_billing.legacy_purchases (
                       purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at,
                       completed_at)
                   values (%s, %s, %s, %s, 'completed', %s, %s, %s)""",
                [
                    *(f"demo-{user.name}-{number}", user.user_id, amount, amount * 100),
                    *(f"pi_demo_{user.name}_{number}", at, at),
                ],
            )


def seed(conn: psycopg.Connection, tell: Callable[[str], None] = print) -> dict[str, str]:
    """Create the demo accounts unless they are there; returns the ids of IDENTITIES by kind."""
    with conn.transaction():
        there = conn.execute(
            "select exists (select from billing.credit_accounts where user_id = %s)", [IDENTITIES["user"]]
        ).fetchone()
        if there == (False,):
            past = Past(conn)
            fill(past, datetime.now(UTC), tell)
            past.end()
    with conn.transaction():
        old = conn.execute(
            "select exists (select from legacy_billing.legacy_customers where user_id = %s)", [IDENTITIES["old_user"]]
        ).fetchone()
        if old == (False,):
            fill_old_billing(conn, datetime.now(UTC))
            tell(f"demo: {len(OLD_USERS)} users of the old billing, none of them migrated")
    return {kind: str(user_id) for kind, user_id in IDENTITIES.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", help="default: DATABASE_URL, else the embedded server")
    arguments = parser.parse_args()
    try:
        with reachable_database(arguments.database_url) as url, psycopg.connect(url, autocommit=True) as conn:
            seed(conn)
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
        return 3
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    except psycopg.Error as error:
        print(f"{describe(error)}\nNothing has changed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
