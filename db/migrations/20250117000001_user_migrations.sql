-- Moving users from the old billing to accounts, and back.

-- What changes of other tables is of those with a row per purchase, payment or subscription: to look at all of them
-- takes no time.
-- squawk-ignore-file ban-drop-constraint, constraint-missing-not-valid, ban-drop-not-null
-- squawk-ignore-file require-concurrent-index-creation

-- The old system's tables may belong to somebody else: billing_owner goes by the three views, and by nothing else.
grant usage on schema legacy_billing to billing_owner;
grant select, insert on legacy_billing.legacy_customers to billing_owner;
grant select, insert on legacy_billing.legacy_usage to billing_owner;
grant select, insert, update on legacy_billing.legacy_purchases to billing_owner;

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

create table billing.user_migrations (
    user_id         uuid primary key,
    status          text not null default 'none',
    round           integer not null default 0,
    tier            text,
    period          date,
    usage_before    numeric,
    monthly_credits numeric,
    tier_credits    numeric,
    bought_credit   numeric,
    purchases       bigint,
    month_granted   numeric,
    first_entry_no  bigint,
    last_entry_no   bigint,
    returned        numeric,
    migrated_at     timestamptz,
    rolled_back_at  timestamptz,
    constraint migration_status_known check (status in ('none', 'migrated', 'rolled_back')),
    constraint migration_has_numbers check (
        (status = 'none') = (migrated_at is null and rolled_back_at is null)
        and (status <> 'migrated' or migrated_at is not null)
        and (status <> 'rolled_back' or (rolled_back_at is not null and returned is not null))
        and (migrated_at is null) = (round = 0)
        and num_nulls(tier, period, usage_before, monthly_credits, tier_credits, bought_credit, purchases, month_granted,
            first_entry_no, last_entry_no, migrated_at) in (0, 11)
    )
);
comment on table billing.user_migrations is
    'Who was moved from the old system, with what, and who was moved back. Its row is locked, before the account''s, '
    'by whatever asks in which of the two systems a user lives in order to write there.';
comment on column billing.user_migrations.status is 'none: the row is there to be locked.';
comment on column billing.user_migrations.round is 'How often the user was migrated.';
comment on column billing.user_migrations.period is
    'The month of the migration, or of the rollback since, by its first day (UTC).';
comment on column billing.user_migrations.usage_before is 'What the old system counted in that month, in US dollars.';
comment on column billing.user_migrations.tier_credits is 'The rest of the month''s credits, granted as a lot.';
comment on column billing.user_migrations.bought_credit is 'What was left of bought credit, granted as lots.';
comment on column billing.user_migrations.purchases is 'How many purchases the old system knew.';
comment on column billing.user_migrations.month_granted is
    'Credits of that month that count as granted, up to last_entry_no or the rollback: an upgrade grants what its tier '
    'has beyond them.';
comment on column billing.user_migrations.first_entry_no is 'Number of the first ledger entry of the migration.';
comment on column billing.user_migrations.last_entry_no is
    'Number of the last one; one less than the first when nothing was granted.';
comment on column billing.user_migrations.returned is 'Credits that the last rollback handed to the old system.';
comment on column billing.user_migrations.migrated_at is 'When the user was last migrated.';
comment on column billing.user_migrations.rolled_back_at is 'When the user was last moved back.';

alter table billing.user_migrations enable row level security;
create policy user_migrations_own on billing.user_migrations
    for select using (user_id = billing_private.current_user_id());
create policy user_migrations_monitor on billing.user_migrations for select to billing_monitor using (true);
grant select on billing.user_migrations to billing_monitor;

-- Stripe names a subscription's price; those of the old system carry neither our lookup_key nor our metadata.
create table billing.tier_prices (
    price_id text primary key,
    tier     text not null references billing.billing_tiers (name) on update cascade on delete cascade
);
comment on table billing.tier_prices is
    'Prices at Stripe that pay for a tier besides those that say so themselves. The migration fills it.';
comment on column billing.tier_prices.price_id is 'Stripe''s Price.';

-- What an old purchase is: a row as any other, whose credits may have been spent before there was an account.
alter table billing.credit_purchases
    add column legacy_purchase_id text,
    add column spent_before billing.credits not null default 0,
    drop constraint purchase_status_known,
    drop constraint purchase_paid_has_entry,
    add constraint purchase_status_known check (
        status in ('pending', 'open', 'processing', 'failed', 'expired', 'paid', 'refunded')
    ),
    add constraint purchase_paid_has_entry check (
        (status = 'paid' or status = 'refunded' or (completed_at is null and entry_no is null))
        and (status <> 'paid' or completed_at is not null)
        and (status <> 'paid' or entry_no is not null or (kind = 'migration' and spent_before = amount))
    ),
    add constraint purchase_spent_before_within_amount check (spent_before <= amount),
    add constraint purchase_refunded_by_old_system check (status <> 'refunded' or legacy_purchase_id is not null);
comment on column billing.credit_purchases.legacy_purchase_id is 'Its id in the old system, once both know it.';
comment on column billing.credit_purchases.spent_before is 'What the old system had spent of it before the migration.';
create unique index credit_purchases_legacy
    on billing.credit_purchases (user_id, legacy_purchase_id) where legacy_purchase_id is not null;

alter table billing.billing_payments
    drop constraint payment_lot_of_purchase,
    add constraint payment_lot_of_purchase check (grant_no is null or bought > 0);
comment on column billing.billing_payments.grant_no is
    'The lot that it bought; null too when the old system had spent all of it.';

alter table billing.billing_subscriptions alter column stripe_item_id drop not null;
comment on column billing.billing_subscriptions.stripe_item_id is
    'Stripe''s SubscriptionItem; null: the old system did not keep it, and Stripe was not asked yet.';

-- A rollback takes what is left of each lot.
create or replace function billing_private.entry_fits_type(
    p_type              text,
    p_amount            numeric,
    p_grant_no          bigint,
    p_reversed_entry_no bigint
)
returns boolean
language plpgsql
immutable
as $$
begin
    return case
        when p_type = 'usage' then p_amount <= 0
        when p_type in ('expiry', 'clawback', 'debt_repayment', 'rollback') then p_amount < 0
        when p_type = 'adjustment' then p_amount <> 0
        else p_amount > 0
    end
    and (p_type in ('expiry', 'clawback', 'debt_repayment', 'rollback')) = (p_grant_no is not null)
    and (p_type = 'reversal') = (p_reversed_entry_no is not null);
end
$$;
comment on column billing.credit_ledger.grant_no is
    'The lot that an expiry, a clawback, a debt repayment or a rollback took from.';

-- What keeps the old system from writing for a user who has left it.
create function billing.guard_old_system()
returns trigger
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_column text := coalesce(tg_argv[0], 'user_id');
begin
    if not to_jsonb(new) ? v_column then
        perform billing_private.raise_error(
            'invalid_request', format('%I.%I has no column %I.', tg_table_schema, tg_table_name, v_column)
        );
    end if;
    -- A row that is given to another user leaves the first one.
    if tg_op = 'UPDATE' and to_jsonb(old) ->> v_column <> to_jsonb(new) ->> v_column then
        perform billing_private.guard_old_user((to_jsonb(old) ->> v_column)::uuid);
    end if;
    if to_jsonb(new) ->> v_column is not null then
        perform billing_private.guard_old_user((to_jsonb(new) ->> v_column)::uuid);
    end if;
    return new;
end
$$;
comment on function billing.guard_old_system() is
    'Refuses a row of the old system for a user who has left it. Its argument is the column of the user, else user_id.';
revoke all on function billing.guard_old_system() from public;

select set_config('role', current_setting('billing.installer'), true);

do $$
declare
    v_table text;
begin
    foreach v_table in array array['usage_records', 'purchases', 'bought_credit'] loop
        -- Where the old system's tables are others, README says how to guard them.
        if to_regclass('legacy_billing.' || v_table) is not null then
            execute format(
                'create or replace trigger %I before insert or update on legacy_billing.%I '
                'for each row execute function billing.guard_old_system()',
                v_table || '_guard', v_table
            );
        end if;
    end loop;
end
$$;

select set_config('role', 'billing_owner', true);

-- What the SQL API returns.

create type billing.migration as (
    user_id uuid, outcome text, problem text, detail text, tier text, subscription_status text, usage_before numeric,
    monthly_credits numeric, tier_credits numeric, bought_credit numeric, purchases bigint, balance numeric
);
comment on type billing.migration is
    'What a migration would give a user, or gave, or why it can''t: planned, migrated, already_migrated or refused.';

create type billing.migration_group as (
    tier text, subscription_status text, problem text, status text, users bigint, usage_before numeric,
    tier_credits numeric, bought_credit numeric, purchases bigint
);
comment on type billing.migration_group is
    'Users of the old system who are alike: status waiting, migrated or rolled_back; a problem keeps from migrating.';

create type billing.old_user as (user_id uuid, status text, migrated_at timestamptz, rolled_back_at timestamptz);
comment on type billing.old_user is
    'A user, and where they are: waiting in the old system, migrated, or rolled_back to it.';

create type billing.rollback as (
    user_id uuid, outcome text, problem text, monthly_left numeric, bought_credit numeric, purchases bigint,
    usage_records bigint, subscriptions bigint
);
comment on type billing.rollback is
    'What was handed to the old system: the rest of the month''s credits, credit, purchases, calls and subscriptions.';

create type billing.migration_difference as (user_id uuid, problem text, old text, new text);
comment on type billing.migration_difference is 'What the old system and an account tell differently.';

create type billing.legacy_check as (
    can_run boolean, message text, tier text, monthly_limit numeric, monthly_usage numeric, remaining numeric,
    bought_credit numeric, migrated boolean
);
comment on type billing.legacy_check is
    'Whether a call may run, in the terms of the old system: US dollars of this month, and bought credit.';

create type billing.legacy_usage as (
    model text, calls bigint, prompt_tokens bigint, completion_tokens bigint, cached_tokens bigint, cost numeric
);
comment on type billing.legacy_usage is 'Usage of one model in a month, in US dollars.';

create type billing.legacy_subscription as (
    tier text, status text, price_id text, stripe_subscription_id text, current_period_start timestamptz,
    current_period_end timestamptz, monthly_limit numeric, migrated boolean
);
comment on type billing.legacy_subscription is 'A subscription in the terms of the old system; status none: none.';

create type billing.legacy_credit as (
    balance numeric, total_purchased numeric, total_used numeric, migrated boolean
);
comment on type billing.legacy_credit is 'Bought credit in the terms of the old system, in US dollars.';

create type billing.legacy_call as (
    success boolean, reason text, cost numeric, paid_from_credit numeric, monthly_usage numeric, remaining numeric,
    bought_credit numeric, migrated boolean, replayed boolean
);
comment on type billing.legacy_call is 'A call that was recorded, and what is left after it.';

create type billing.legacy_purchase as (
    purchase_id text, user_id uuid, amount numeric, price_cents bigint, status text, stripe_payment_intent_id text,
    created_at timestamptz, completed_at timestamptz, migrated boolean, replayed boolean
);
comment on type billing.legacy_purchase is 'A purchase in the terms of the old system.';

-- What the helpers pass to each other.

create type billing_private.migration_plan as (
    user_id uuid, problem text, detail text, has_account boolean, round integer, tier text, paused boolean,
    subscription_status text, stripe_customer_id text, period date, usage_before numeric, monthly_credits numeric,
    tier_credits numeric, bought_credit numeric, purchases bigint
);
comment on type billing_private.migration_plan is 'What a migration is to do for a user.';

create type billing_private.old_standing as (
    user_id uuid, tier text, paused boolean, subscription_status text, stripe_customer_id text, bought_credit numeric,
    monthly_limit numeric, problem text, detail text
);
comment on type billing_private.old_standing is 'How a user stands in the old system, and what is wrong with that.';

create type billing_private.old_purchase as (
    user_id uuid, purchase_no bigint, legacy_purchase_id text, purchase_id uuid, is_known boolean, amount numeric,
    price_cents bigint, status text, stripe_payment_intent_id text, created_at timestamptz, completed_at timestamptz,
    remaining numeric
);
comment on type billing_private.old_purchase is
    'A purchase of the old system, what is left of it, and the row that it is here.';

create type billing_private.migration_entry as (
    user_id uuid, entry_no bigint, amount numeric, balance_after numeric, source text, priority integer,
    expires_at timestamptz, idempotency_key text, reference_type text, reference_id text, description text,
    metadata jsonb, entry_hash bytea
);
comment on type billing_private.migration_entry is
    'An entry that a migration makes, with its lot; its number and the balance after it are those in a new account.';

create type billing_private.left_over as (allowance numeric, credit numeric);
comment on type billing_private.left_over is
    'What an account has left for the old system: of the month, and as bought credit.';

create type billing_private.migrated_account as (
    user_id uuid, first_entry_no bigint, last_entry_no bigint, balance numeric
);
comment on type billing_private.migrated_account is 'What a migration has written into an account.';

select set_config('role', current_setting('billing.installer'), true);
