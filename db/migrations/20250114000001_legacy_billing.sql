-- The old, usage-based billing: a month's usage against the limit of a plan, and what is above it from bought credit.
-- It is what a user is migrated from, and what a user can be rolled back to. What is there already is left as it is.
--
-- It belongs to the installer, not to billing_owner, as an old system does. Everything else knows it only through three
-- views: legacy_customers, legacy_usage and legacy_purchases. An installation with other tables defines these itself,
-- before or after this file; README says how. They read with their owner's rights, so that billing_owner needs none on
-- the tables behind them and no row level security hides a user from the migration.
--
-- Its known weaknesses are those of its design: every check sums up a month; the last call of a month may cost more
-- than is left; what nobody paid for is let go; a balance has no history but the purchases; an allowance that is not
-- used is lost; no admin can correct anything. It is free of races, because billing.legacy_track locks the user.

-- Marks this file as one of ours; every other migration switches to billing_owner here.
select set_config('billing.installer', current_user, true);

create schema if not exists legacy_billing;
comment on schema legacy_billing is 'The old, usage-based billing, and the three views that the migration goes by.';

create table if not exists legacy_billing.plans (
    price_id      text primary key,
    tier          text not null,
    monthly_limit numeric not null
);
comment on table legacy_billing.plans is 'What a price at Stripe pays for. The price free is for who has none.';
comment on column legacy_billing.plans.monthly_limit is 'US dollars of usage in a calendar month (UTC).';

insert into legacy_billing.plans (price_id, tier, monthly_limit)
values
    ('free', 'free', 5.00),
    ('price_tier_2_20_monthly', 'tier_2_20', 25.00),
    ('price_tier_2_20_yearly', 'tier_2_20', 25.00),
    ('price_tier_6_50_monthly', 'tier_6_50', 55.00),
    ('price_tier_6_50_yearly', 'tier_6_50', 55.00),
    ('price_tier_12_100_monthly', 'tier_12_100', 105.00),
    ('price_tier_12_100_yearly', 'tier_12_100', 105.00),
    ('price_tier_25_200_monthly', 'tier_25_200', 205.00),
    ('price_tier_25_200_yearly', 'tier_25_200', 205.00),
    ('price_tier_50_400_monthly', 'tier_50_400', 405.00),
    ('price_tier_125_800_monthly', 'tier_125_800', 805.00),
    ('price_tier_200_1000_monthly', 'tier_200_1000', 1005.00),
    ('price_tier_200_1000_yearly', 'tier_200_1000', 1005.00)
on conflict do nothing;

create table if not exists legacy_billing.customers (
    customer_id        bigint generated always as identity primary key,
    user_id            uuid not null,
    stripe_customer_id text,
    email              text,
    created_at         timestamptz not null default now()
);
comment on table legacy_billing.customers is
    'Users of the old system. Nothing keeps a user from being there twice, and some are.';
comment on column legacy_billing.customers.stripe_customer_id is 'Null until the user pays for something.';

create index if not exists customers_by_user on legacy_billing.customers (user_id);
create index if not exists customers_by_stripe_customer on legacy_billing.customers (stripe_customer_id);

create table if not exists legacy_billing.subscriptions (
    subscription_id      text primary key,
    customer_id          bigint not null references legacy_billing.customers (customer_id),
    price_id             text not null,
    status               text not null,
    current_period_start timestamptz,
    current_period_end   timestamptz,
    created_at           timestamptz not null default now()
);
comment on table legacy_billing.subscriptions is 'Subscriptions as Stripe last told them. No foreign key to a plan.';

create index if not exists subscriptions_by_customer on legacy_billing.subscriptions (customer_id);

create table if not exists legacy_billing.usage_records (
    record_id         bigint generated always as identity primary key,
    user_id           uuid not null,
    model             text not null,
    prompt_tokens     bigint not null default 0,
    completion_tokens bigint not null default 0,
    cached_tokens     bigint not null default 0,
    cost              numeric not null,
    paid_from_credit  numeric not null default 0,
    request_key       text,
    created_at        timestamptz not null default now()
);
comment on table legacy_billing.usage_records is 'Calls, and what they cost.';
comment on column legacy_billing.usage_records.cost is 'US dollars.';
comment on column legacy_billing.usage_records.paid_from_credit is
    'The part of the cost above the plan''s limit that bought credit paid for; the rest of it is let go.';
comment on column legacy_billing.usage_records.request_key is 'Names a request: the same key is recorded once.';

create index if not exists usage_records_by_user on legacy_billing.usage_records (user_id, created_at);
create unique index if not exists usage_records_request
    on legacy_billing.usage_records (user_id, request_key) where request_key is not null;

create table if not exists legacy_billing.bought_credit (
    user_id    uuid primary key,
    balance    numeric not null,
    updated_at timestamptz not null default now()
);
comment on table legacy_billing.bought_credit is 'What is left of the credit that users bought, in US dollars.';

-- Credit whose user is no customer would be seen by nobody.
create or replace function legacy_billing.keep_customer()
returns trigger
language plpgsql
set search_path = pg_temp
as $$
begin
    insert into legacy_billing.customers (user_id)
    select new.user_id
    where not exists (select from legacy_billing.customers where user_id = new.user_id);
    return new;
end
$$;
comment on function legacy_billing.keep_customer() is 'Makes whoever has bought credit a customer.';
revoke all on function legacy_billing.keep_customer() from public;

create or replace trigger bought_credit_customer
    before insert on legacy_billing.bought_credit
    for each row execute function legacy_billing.keep_customer();

create table if not exists legacy_billing.purchases (
    purchase_id              text primary key default gen_random_uuid()::text,
    user_id                  uuid not null,
    amount                   numeric not null,
    price_cents              bigint,
    status                   text not null,
    stripe_payment_intent_id text,
    created_at               timestamptz not null default now(),
    completed_at             timestamptz
);
comment on table legacy_billing.purchases is 'Credit that users bought: pending, completed, failed or refunded.';

create index if not exists purchases_by_user on legacy_billing.purchases (user_id, created_at);
create index if not exists purchases_by_payment on legacy_billing.purchases (stripe_payment_intent_id);

-- An INSERT into legacy_customers saves what the new system hands back: the user becomes known, what is null stays as
-- it is.
create or replace function legacy_billing.save_customer()
returns trigger
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_customer_id bigint;
begin
    v_customer_id := (
        select customer_id
        from legacy_billing.customers
        where user_id = new.user_id
            and coalesce(stripe_customer_id = new.stripe_customer_id, true)
        order by stripe_customer_id is null, customer_id
        limit 1
    );
    if v_customer_id is null then
        insert into legacy_billing.customers (user_id, created_at)
        values (new.user_id, coalesce(new.created_at, now()))
        returning customer_id into v_customer_id;
    end if;
    update legacy_billing.customers
    set stripe_customer_id = new.stripe_customer_id
    where customer_id = v_customer_id and stripe_customer_id is null and new.stripe_customer_id is not null;
    if new.stripe_subscription_id is not null then
        insert into legacy_billing.plans (price_id, tier, monthly_limit)
        values (new.price_id, new.tier, new.monthly_limit)
        on conflict do nothing;
        insert into legacy_billing.subscriptions (
            subscription_id, customer_id, price_id, status, current_period_start, current_period_end
        )
        values (
            new.stripe_subscription_id, v_customer_id, new.price_id, new.subscription_status, new.current_period_start,
            new.current_period_end
        )
        on conflict (subscription_id) do update
        set price_id = excluded.price_id, status = excluded.status,
            current_period_start = excluded.current_period_start, current_period_end = excluded.current_period_end;
    end if;
    if new.bought_credit is not null then
        insert into legacy_billing.bought_credit (user_id, balance)
        values (new.user_id, new.bought_credit)
        on conflict (user_id) do update set balance = excluded.balance, updated_at = now();
    end if;
    return new;
end
$$;
comment on function legacy_billing.save_customer() is 'Saves what is inserted into legacy_customers.';
revoke all on function legacy_billing.save_customer() from public;

do $$
begin
    if to_regclass('legacy_billing.legacy_customers') is null then
        create view legacy_billing.legacy_customers as
        select
            c.user_id, c.stripe_customer_id, s.subscription_id as stripe_subscription_id,
            s.status as subscription_status, s.price_id, p.tier, s.current_period_start, s.current_period_end,
            case when s.status in ('active', 'trialing') then coalesce(p.monthly_limit, f.monthly_limit)
                else f.monthly_limit end as monthly_limit,
            coalesce(b.balance, 0) as bought_credit, c.created_at
        from legacy_billing.customers c
        left join legacy_billing.subscriptions s on s.customer_id = c.customer_id
        left join legacy_billing.plans p on p.price_id = s.price_id
        left join legacy_billing.plans f on f.price_id = 'free'
        left join legacy_billing.bought_credit b on b.user_id = c.user_id;
        create trigger legacy_customers_save
            instead of insert on legacy_billing.legacy_customers
            for each row execute function legacy_billing.save_customer();
    end if;
    if to_regclass('legacy_billing.legacy_usage') is null then
        create view legacy_billing.legacy_usage as
        select record_id::text as usage_id, user_id, model, prompt_tokens, completion_tokens, cached_tokens, cost,
            paid_from_credit, request_key, created_at
        from legacy_billing.usage_records;
    end if;
    if to_regclass('legacy_billing.legacy_purchases') is null then
        create view legacy_billing.legacy_purchases as
        select purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
        from legacy_billing.purchases;
    end if;
end
$$;
comment on view legacy_billing.legacy_customers is
    'A row per user, customer at Stripe and subscription: the price paid for, the tier that it means, the limit, and '
    'what is left of bought credit. An INSERT saves.';
comment on view legacy_billing.legacy_usage is 'A row per call, with its cost in US dollars. An INSERT records one.';
comment on view legacy_billing.legacy_purchases is
    'A row per purchase of credit: pending, completed, failed or refunded. INSERT and UPDATE record one.';
