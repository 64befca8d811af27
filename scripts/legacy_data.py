"""Fill the old billing with users: many, unlike each other, and some of them dirty.

    python -m scripts.legacy_data [--users 100000] [--usage 1000000] [--dirty 0.01] [--seed 1] [--database-url URL]

The same seed makes the same users on every machine; only times follow the clock. Most users are free, some use a
thousand times as much as others, some have 10,000 calls (fewer where there are fewer calls in all); calls lie on both
sides of a month's boundary, also of that of other time zones; purchases are completed, pending, failed or refunded, and
bought credit is spent in part. The share --dirty is wrong on purpose, in ways of which each is printed with the number
of its users. An old system that has rows is refused.

Exit codes: 0 done, 1 refused or failed (nothing has changed), 3 no connection.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import psycopg

from scripts.migrate import describe
from scripts.servers import ServerError, reachable_database

TABLES = ("customers", "subscriptions", "usage_records", "bought_credit", "purchases")
GUARDED = ("usage_records", "bought_credit", "purchases")
HEAVY = 10_000

# What keeps its users from migrating, by the name that the migration gives it. Pairs share what one of them may have.
PROBLEMS = (
    "several_customers",
    "negative_credit",
    "unknown_price",
    "invalid_customer",
    "shared_customer",
    "shared_payment",
    "invalid_purchase",
    "amount_too_precise",
    "amount_too_large",
    "no_customer",
)
# What looks wrong, and can be migrated.
HARMLESS = ("duplicate_customer", "missing_subscription", "credit_without_purchase")
KINDS = (*PROBLEMS, *HARMLESS)


class NotEmpty(Exception):
    """The old system has rows already."""


@dataclass(frozen=True)
class Population:
    """What was made: how many rows, and the users of each dirty kind."""

    users: int
    usage: int
    purchases: int
    dirty: dict[str, frozenset[UUID]]

    @property
    def refused(self) -> dict[UUID, str]:
        """Whom the migration must name, and by which problem."""
        return {user_id: kind for kind in PROBLEMS for user_id in self.dirty[kind]}

    def lines(self) -> Iterator[str]:
        yield f"{self.users} users, {self.usage} usage rows, {self.purchases} purchases"
        yield f"{len(self.refused)} users can't be migrated:"
        yield from (f"  {kind:<24}{len(self.dirty[kind]):>6}" for kind in PROBLEMS)
        yield "Wrong too, but no obstacle:"
        yield from (f"  {kind:<24}{len(self.dirty[kind]):>6}" for kind in HARMLESS)


# A number from 0 up to 1 that depends on the seed, on what it is for, and on n.
FUNCTIONS = """
create or replace function pg_temp.chance(n bigint, what integer) returns double precision
language sql immutable as $$
    select (hashint8extended(n, {seed}::bigint * 1000 + what) & 2147483647) / 2147483648.0
$$;
create or replace function pg_temp.user_id(n bigint) returns uuid
language sql immutable as $$ select md5('{seed}/user/' || n)::uuid $$;
"""

# Users 1, 2, 3 … The last ones are dirty: the same number of each kind, one after the other, so that pairs stand
# together. A month's part of the limit is used by most, all of it by some.
USERS = """
create temp table old on commit drop as
select
    n, pg_temp.user_id(n) as user_id,
    case when n > %(clean)s then (%(kinds)s::text[])[1 + ((n - %(clean)s - 1) / %(each)s)::integer] end as kind,
    (n - %(clean)s - 1) %% %(each)s as nth,
    pg_temp.chance(n, 1) as tier_chance, pg_temp.chance(n, 2) as status_chance, pg_temp.chance(n, 3) as credit_chance,
    pg_temp.chance(n, 4) as purchase_chance
from generate_series(1, %(users)s) as n;

create temp table old_customers on commit drop as
select
    o.*,
    case
        when kind = 'invalid_customer' then format('cus old %(seed)s %%s', n)
        when kind = 'shared_customer' then format('cus_old_%(seed)s_shared_%%s', nth / 2)
        when kind in ('several_customers', 'unknown_price', 'duplicate_customer', 'missing_subscription')
            or tier_chance > 0.55 then format('cus_old_%(seed)s_%%s', n)
    end as stripe_customer_id
from old o
where kind is distinct from 'no_customer';

insert into legacy_billing.customers (user_id, stripe_customer_id, email, created_at)
select user_id, stripe_customer_id, format('user-%%s@old.example', n), %(month)s - n * interval '1 minute'
from old_customers
order by n;

insert into legacy_billing.customers (user_id, stripe_customer_id, email, created_at)
select
    user_id, case kind when 'several_customers' then stripe_customer_id || '_b' end,
    format('user-%%s@old.example', n), %(month)s
from old_customers
where kind in ('several_customers', 'duplicate_customer')
order by n;

insert into legacy_billing.subscriptions (
    subscription_id, customer_id, price_id, status, current_period_start, current_period_end, created_at
)
select
    format('sub_old_%(seed)s_%%s', c.customer_id), c.customer_id,
    case
        when o.kind = 'unknown_price' then 'price_of_2019'
        when o.tier_chance < 0.80 then 'price_tier_2_20_monthly'
        when o.tier_chance < 0.86 then 'price_tier_2_20_yearly'
        when o.tier_chance < 0.92 then 'price_tier_6_50_monthly'
        when o.tier_chance < 0.95 then 'price_tier_12_100_yearly'
        when o.tier_chance < 0.98 then 'price_tier_25_200_monthly'
        when o.tier_chance < 0.99 then 'price_tier_50_400_monthly'
        else 'price_tier_200_1000_yearly'
    end,
    case
        when o.kind in ('several_customers', 'unknown_price') or o.status_chance < 0.87 then 'active'
        when o.status_chance < 0.90 then 'trialing'
        when o.status_chance < 0.95 then 'past_due'
        else 'canceled'
    end,
    %(now)s - o.credit_chance * interval '25 days', %(now)s + (1 + o.purchase_chance) * interval '20 days', c.created_at
from old_customers o
join legacy_billing.customers c on c.user_id = o.user_id
where c.stripe_customer_id is not null and o.kind is distinct from 'missing_subscription';

-- One in ten who pays had a subscription before.
insert into legacy_billing.subscriptions (
    subscription_id, customer_id, price_id, status, current_period_start, current_period_end, created_at
)
select
    s.subscription_id || '_before', s.customer_id, 'price_tier_12_100_monthly', 'canceled',
    s.created_at - interval '90 days', s.created_at - interval '60 days', s.created_at - interval '90 days'
from legacy_billing.subscriptions s
where pg_temp.chance(s.customer_id, 5) < 0.1;
"""

# A few users have as many calls as all those of a small installation. Among the others the number falls off steeply.
USAGE = """
insert into legacy_billing.usage_records (
    user_id, model, prompt_tokens, completion_tokens, cached_tokens, cost, created_at
)
select
    o.user_id, (array['gpt-4o', 'gpt-4o-mini', 'claude-sonnet-4', 'o4-mini'])[1 + floor(4 * u.model)::integer],
    100 + floor(4000 * u.size)::bigint, 20 + floor(900 * u.size)::bigint, floor(90 * u.size)::bigint,
    round((0.0001 + 0.06 * u.size * u.size)::numeric, 6 + 3 * (u.i %% 2)::integer),
    case
        when u.at < 0.4 then %(month)s + u.at / 0.4 * (%(now)s - %(month)s)
        else %(month)s - (u.at - 0.4) * interval '100 days' - interval '1 second'
    end
from (
    select
        i, pg_temp.chance(i, 11) as model, pg_temp.chance(i, 12) as size, pg_temp.chance(i, 13) as at,
        case
            when i <= %(heavy_users)s * %(heavy_rows)s then 1 + (i - 1) / %(heavy_rows)s
            else 1 + floor(power(pg_temp.chance(i, 14), 3) * %(clean)s)::bigint
        end as n
    from generate_series(1, %(usage)s - %(boundary)s - %(broken)s) as i
) u
join old o on o.n = u.n;

-- A month ends and begins in UTC, wherever the clock that wrote the row hangs.
insert into legacy_billing.usage_records (user_id, model, prompt_tokens, completion_tokens, cost, created_at)
select o.user_id, 'gpt-4o', 100, 10, 0.25, b.at
from (
    select
        i,
        (array[
            %(month)s - interval '1 microsecond',
            %(month)s,
            (%(month)s at time zone 'UTC') at time zone 'Pacific/Auckland',
            (%(month)s at time zone 'UTC') at time zone 'America/Los_Angeles',
            %(month)s + interval '1 month' - interval '1 microsecond',
            %(month)s + interval '1 month'
        ])[1 + (i - 1) %% 6] as at
    from generate_series(1, %(boundary)s) as i
) b
join old o on o.n = 1 + (b.i - 1) / 6;

insert into legacy_billing.usage_records (user_id, model, prompt_tokens, completion_tokens, cost, created_at)
select
    user_id, 'gpt-4o', 100, 10, case kind when 'amount_too_precise' then 0.12345678901 else 0.25 end, %(month)s
from old
where kind in ('no_customer', 'amount_too_precise')
order by n
limit %(broken)s;
"""

# One in seven has bought credit, up to four times. How much of it is left depends on the user.
CREDIT = """
insert into legacy_billing.purchases (
    purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
)
select
    format('old-%(seed)s-%%s-%%s', o.n, k), o.user_id, p.amount, round(p.amount * 100)::bigint, p.status,
    case when p.status <> 'pending' then format('pi_old_%(seed)s_%%s_%%s', o.n, k) end,
    p.at, case when p.status in ('completed', 'refunded') then p.at + interval '20 seconds' end
from old o
cross join generate_series(1, 4) as k
cross join lateral (
    select
        (array[10, 25, 50, 99.99, 250])[1 + floor(5 * pg_temp.chance(o.n * 4 + k, 21))::integer] as amount,
        case
            when k = 1 or pg_temp.chance(o.n * 4 + k, 22) < 0.8 then 'completed'
            when pg_temp.chance(o.n * 4 + k, 23) < 0.4 then 'failed'
            when pg_temp.chance(o.n * 4 + k, 23) < 0.7 then 'refunded'
            else 'pending'
        end as status,
        %(now)s - k * interval '40 days' - pg_temp.chance(o.n * 4 + k, 24) * interval '30 days' as at
) p
where o.kind is null and o.purchase_chance < 0.14 and k <= 1 + floor(4 * o.credit_chance);

insert into legacy_billing.purchases (
    purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
)
select
    format('old-%(seed)s-%%s', n), user_id, case kind when 'invalid_purchase' then -25 else 25 end, 2500, 'completed',
    format('pi_old_%(seed)s_%%s', case kind when 'shared_payment' then format('shared_%%s', nth / 2) else n::text end),
    %(now)s - interval '50 days', %(now)s - interval '50 days'
from old
where kind in ('invalid_purchase', 'shared_payment');

insert into legacy_billing.bought_credit (user_id, balance)
select
    o.user_id,
    case o.kind
        when 'negative_credit' then -0.000001 - o.nth
        when 'amount_too_precise' then 1.0000000001
        when 'amount_too_large' then 1000000000000.01
        when 'credit_without_purchase' then 7.5
        else least(p.bought, round((p.bought * greatest(0, 1.2 * o.credit_chance - 0.1))::numeric, 6))
    end
from old o
left join (
    select user_id, sum(amount) filter (where status = 'completed') as bought
    from legacy_billing.purchases
    group by user_id
) p on p.user_id = o.user_id
where o.kind in ('negative_credit', 'amount_too_precise', 'amount_too_large', 'credit_without_purchase')
    or (o.kind is null and p.bought > 0);
"""


def fill(
    conn: psycopg.Connection, users: int = 100_000, usage: int = 1_000_000, dirty: float = 0.01, seed: int = 1
) -> Population:
    """Make the old system's users in one transaction; raises NotEmpty, and ValueError for too few users."""
    # An even number of each kind, for those that come in pairs.
    each = 2 * max(1, round(users * dirty / len(KINDS) / 2)) if dirty else 0
    clean = users - each * len(KINDS)
    heavy_rows = max(1, min(HEAVY, usage // 10))
    boundary = 6 * min(clean // 4, usage // 200)
    if clean < 10 or usage < 100 + 2 * each:
        raise ValueError(f"{users} users with {usage} usage rows are too few: {each * len(KINDS)} would be dirty.")
    with conn.transaction(), conn.cursor() as cursor:
        for table in TABLES:
            if cursor.execute(f"select from legacy_billing.{table} limit 1").rowcount:
                raise NotEmpty(f"legacy_billing.{table} has rows already: this is for an old system without any.")
        (now,) = cursor.execute("select billing_private.clock()").fetchone() or (None,)
        cursor.execute("set local timezone = 'UTC'")
        cursor.execute(FUNCTIONS.format(seed=int(seed)))
        values = {
            "users": users,
            "usage": usage,
            "clean": clean,
            "each": max(each, 1),
            "kinds": list(KINDS),
            "seed": int(seed),
            "now": now,
            "heavy_users": max(1, usage // (10 * HEAVY)),
            "heavy_rows": heavy_rows,
            "boundary": boundary,
            "broken": 2 * each,
        }
        (values["month"],) = cursor.execute("select date_trunc('month', %(now)s::timestamptz)", values).fetchone()
        with without_guard(cursor):
            for script in (USERS, USAGE, CREDIT):
                run(cursor, script, values)
        rows = cursor.execute(
            "select kind, array_agg(user_id) from old where kind is not null group by kind"
        ).fetchall()
        found = {kind: frozenset(ids) for kind, ids in rows}
        counts = [
            cursor.execute(f"select count(*) from legacy_billing.{table}").fetchone()[0]
            for table in ("usage_records", "purchases")
        ]
    for table in TABLES:
        conn.execute(f"vacuum (analyze) legacy_billing.{table}")
    return Population(users, *counts, {kind: found.get(kind, frozenset()) for kind in KINDS})


def run(cursor: psycopg.Cursor, script: str, values: dict[str, object]) -> None:
    """All statements of a script at once, with the values in them: no parameters go with more than one statement."""
    cursor.execute(psycopg.ClientCursor(cursor.connection).mogrify(script, values))


@contextmanager
def without_guard(cursor: psycopg.Cursor) -> Iterator[None]:
    """Rows of users of whom nobody has moved yet: the trigger would ask that of each of them."""

    def switch(verb: str) -> None:
        for table in GUARDED:
            cursor.execute(f"alter table legacy_billing.{table} {verb} trigger {table}_guard")

    switch("disable")
    yield
    switch("enable")


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 0.5:
        raise argparse.ArgumentTypeError("0 to 0.5")
    return value


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--users", type=int, default=100_000, help="how many users (%(default)s)")
    parser.add_argument("--usage", type=int, default=1_000_000, help="how many usage rows (%(default)s)")
    parser.add_argument("--dirty", type=share, default=0.01, help="the share of users that is dirty (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another number makes other users (%(default)s)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--database-url", help="default: DATABASE_URL, else the embedded server")
    arguments = parser.parse_args()
    try:
        with reachable_database(arguments.database_url) as url, psycopg.connect(url, autocommit=True) as conn:
            started = time.monotonic()
            made = fill(conn, arguments.users, arguments.usage, arguments.dirty, arguments.seed)
            print(*made.lines(), f"in {time.monotonic() - started:.1f} seconds", sep="\n")
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
        return 3
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    except (NotEmpty, ValueError) as error:
        print(f"{error}\nNothing has changed.", file=sys.stderr)
        return 1
    except psycopg.Error as error:
        print(f"{describe(error)}\nNothing has changed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
