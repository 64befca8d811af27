-- Tiers, the rate card, accounts, the ledger, lots, burns and holds, and the types that the SQL API returns.

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

-- Configuration.

create table billing.billing_tiers (
    name                 text primary key,
    display_name         text not null,
    monthly_credits      numeric not null,
    price_cents          integer not null,
    can_purchase_credits boolean not null default false,
    rank                 integer not null,
    grant_expires_after  interval,
    rollover_cap         numeric,
    constraint tier_name_well_formed check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
    constraint tier_display_name_given check (display_name ~ '\S'),
    constraint tier_credits_exact check (
        monthly_credits >= 0 and monthly_credits <= 1000000000
        and monthly_credits = round(monthly_credits, 9)
    ),
    constraint tier_price_not_negative check (price_cents >= 0),
    constraint tier_rank_unique unique (rank) deferrable,
    constraint tier_expiry_positive check (grant_expires_after > interval '0'),
    constraint tier_rollover_cap_exact check (
        rollover_cap >= 0 and rollover_cap <= 1000000000 and rollover_cap = round(rollover_cap, 9)
    )
);
comment on table billing.billing_tiers is 'The subscription tiers.';
comment on column billing.billing_tiers.monthly_credits is 'Credits a month; a change counts from the next period.';
comment on column billing.billing_tiers.price_cents is 'Price a month in US cents.';
comment on column billing.billing_tiers.rank is 'Order of the tiers; the higher is the larger one.';
comment on column billing.billing_tiers.grant_expires_after is
    'How long a month''s credits last, from the start of the period; null: they do not expire.';
comment on column billing.billing_tiers.rollover_cap is
    'Unspent tier credits above this expire at the next grant; null: none do.';

create table billing.billing_tier_amounts (
    tier            text not null references billing.billing_tiers (name) on update cascade on delete cascade,
    from_period     date not null,
    monthly_credits numeric not null,
    primary key (tier, from_period),
    constraint tier_amount_from_month_start check (extract(day from from_period) = 1),
    constraint tier_amount_exact check (
        monthly_credits >= 0 and monthly_credits <= 1000000000
        and monthly_credits = round(monthly_credits, 9)
    )
);
comment on table billing.billing_tier_amounts is
    'What a tier grants, and from which period on. Kept by a trigger on billing_tiers.';

create function billing_private.keep_tier_amount()
returns trigger
language plpgsql
set search_path = pg_temp
as $$
declare
    v_from date := date '0001-01-01';
begin
    if tg_op = 'UPDATE' then
        v_from := (date_trunc('month', billing_private.clock() at time zone 'UTC') + interval '1 month')::date;
    end if;
    delete from billing.billing_tier_amounts where tier = new.name and from_period = v_from;
    insert into billing.billing_tier_amounts (tier, from_period, monthly_credits)
    values (new.name, v_from, new.monthly_credits);
    return null;
end
$$;
comment on function billing_private.keep_tier_amount() is
    'A tier''s first amount counts from the beginning, a changed one from the next period.';
revoke all on function billing_private.keep_tier_amount() from public;

create trigger billing_tiers_keep_amount
    after insert or update of monthly_credits on billing.billing_tiers
    for each row execute function billing_private.keep_tier_amount();

insert into billing.billing_tiers
    (name, display_name, monthly_credits, price_cents, can_purchase_credits, rank, grant_expires_after)
values
    ('free', 'Free', 5.00, 0, false, 0, interval '1 month'),
    ('tier_2_20', 'Plus', 25.00, 2000, false, 1, interval '1 month'),
    ('tier_6_50', 'Pro', 55.00, 5000, false, 2, interval '1 month'),
    ('tier_12_100', 'Business', 105.00, 10000, false, 3, interval '1 month'),
    ('tier_25_200', 'Ultra', 205.00, 20000, false, 4, interval '1 month'),
    ('tier_50_400', 'Team', 405.00, 40000, false, 5, interval '1 month'),
    ('tier_125_800', 'Scale', 805.00, 80000, false, 6, interval '1 month'),
    ('tier_200_1000', 'Enterprise', 1005.00, 100000, true, 7, interval '1 month');

create table billing.model_prices (
    model                    text not null,
    effective_from           timestamptz not null,
    input_per_million        numeric not null,
    cached_input_per_million numeric not null,
    output_per_million       numeric not null,
    multiplier               numeric not null,
    primary key (model, effective_from),
    constraint price_model_given check (model ~ '^\S{1,200}$'),
    constraint price_input_exact check (
        input_per_million >= 0 and input_per_million <= 1000000
        and input_per_million = round(input_per_million, 9)
    ),
    constraint price_cached_input_exact check (
        cached_input_per_million >= 0 and cached_input_per_million <= 1000000
        and cached_input_per_million = round(cached_input_per_million, 9)
    ),
    constraint price_output_exact check (
        output_per_million >= 0 and output_per_million <= 1000000
        and output_per_million = round(output_per_million, 9)
    ),
    constraint price_multiplier_exact check (
        multiplier > 0 and multiplier <= 1000 and multiplier = round(multiplier, 9)
    )
);
comment on table billing.model_prices is
    'The rate card: US dollars per million tokens, and the factor that turns a provider''s price into ours.';
comment on column billing.model_prices.effective_from is 'A call is priced by the newest row that is not ahead of it.';

insert into billing.model_prices
    (model, effective_from, input_per_million, cached_input_per_million, output_per_million, multiplier)
values
    ('claude-3-5-haiku', '2025-01-01 00:00+00', 0.80, 0.08, 4.00, 1.5),
    ('claude-opus-4-1', '2025-01-01 00:00+00', 15.00, 1.50, 75.00, 1.5),
    ('claude-sonnet-4', '2025-01-01 00:00+00', 3.00, 0.30, 15.00, 1.5),
    ('deepseek-chat', '2025-01-01 00:00+00', 0.27, 0.07, 1.10, 1.5),
    ('gemini-2.5-flash', '2025-01-01 00:00+00', 0.30, 0.075, 2.50, 1.5),
    ('gemini-2.5-pro', '2025-01-01 00:00+00', 1.25, 0.31, 10.00, 1.5),
    ('gpt-4.1', '2025-01-01 00:00+00', 2.00, 0.50, 8.00, 1.5),
    ('gpt-4.1-mini', '2025-01-01 00:00+00', 0.40, 0.10, 1.60, 1.5),
    ('gpt-4o', '2025-01-01 00:00+00', 2.50, 1.25, 10.00, 1.5),
    ('gpt-4o-mini', '2025-01-01 00:00+00', 0.15, 0.075, 0.60, 1.5),
    ('gpt-5', '2025-01-01 00:00+00', 1.25, 0.125, 10.00, 1.5),
    ('gpt-5-mini', '2025-01-01 00:00+00', 0.25, 0.025, 2.00, 1.5),
    ('o3', '2025-01-01 00:00+00', 2.00, 0.50, 8.00, 1.5),
    ('o4-mini', '2025-01-01 00:00+00', 1.10, 0.275, 4.40, 1.5);

create table billing.billing_settings (
    name           text primary key default 'default',
    reversal_grace interval not null,
    constraint settings_one_row check (name = 'default'),
    constraint settings_grace_positive check (reversal_grace > interval '0')
);
comment on table billing.billing_settings is 'Settings of the whole installation, in one row.';
comment on column billing.billing_settings.reversal_grace is
    'How long credits live that a reversal returns to a lot that expired in the meantime.';

insert into billing.billing_settings (reversal_grace) values (interval '7 days');

-- What a column may hold. Domains, because PostgreSQL parses a table's CHECKs anew for every statement, and a deduction
-- would spend more time on that than on its work; a domain's are kept parsed.

create domain billing.credits as numeric
    constraint credits_not_negative check (value >= 0)
    constraint credits_exact check (value <= 1000000000000000000 and scale(value) <= 9);
comment on domain billing.credits is
    'Credits (1 credit = 1 US dollar), exact to 9 places. NaN and infinity fail the bound.';

create domain billing.signed_credits as numeric
    constraint signed_credits_exact
        check (value >= -1000000000000 and value <= 1000000000000 and scale(value) <= 9);
comment on domain billing.signed_credits is 'Credits that came (positive) or went (negative).';

create domain billing.account_status as text
    constraint account_status_known check (value in ('active', 'frozen', 'closed'));
comment on domain billing.account_status is 'What an account may do.';

create domain billing.entry_type as text
    constraint entry_type_known check (
        value in ('usage', 'tier_grant', 'purchase', 'adjustment', 'refund', 'reversal', 'expiry', 'clawback',
            'debt_repayment', 'trial_grant', 'migration', 'rollback')
    );
comment on domain billing.entry_type is 'Why credits moved.';

create domain billing.short_text as text
    constraint short_text_bounded check (length(value) <= 200);
comment on domain billing.short_text is 'A reference: at most 200 characters.';

create domain billing.long_text as text
    constraint long_text_bounded check (length(value) <= 2000);
comment on domain billing.long_text is 'A description: at most 2000 characters.';

create domain billing.idempotency_key as text
    constraint idempotency_key_well_formed check (length(value) between 1 and 200);
comment on domain billing.idempotency_key is 'Names a request for ever: 1 to 200 characters.';

create domain billing.object_json as jsonb
    constraint json_is_object check (jsonb_typeof(value) = 'object');
comment on domain billing.object_json is 'A JSON object.';

create domain billing.sha256_hash as bytea
    constraint sha256_has_32_bytes check (length(value) = 32);
comment on domain billing.sha256_hash is 'A SHA-256 hash.';

-- Accounts.

create table billing.credit_accounts (
    user_id         uuid primary key,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    entry_count     bigint not null default 0,
    balance         billing.credits not null default 0,
    held            billing.credits not null default 0,
    debt            billing.credits not null default 0,
    used_total      billing.credits not null default 0,
    settled_total   billing.credits not null default 0,
    status          billing.account_status not null default 'active',
    tier            text not null references billing.billing_tiers (name) on update cascade,
    chain_head      bytea not null default '\x',
    next_expiry_at  timestamptz,
    last_grant_at   timestamptz,
    granted_through date,
    constraint account_held_within_balance check (held <= balance),
    constraint account_settled_within_used check (settled_total <= used_total)
)
-- Room on the page lets a deduction stay a heap-only update.
with (fillfactor = 50);
comment on table billing.credit_accounts is
    'One row per user: what every money function locks first. No index mentions a column that a deduction changes.';
comment on column billing.credit_accounts.balance is
    'Credits, held ones included; expired ones until they are settled.';
comment on column billing.credit_accounts.held is 'Credits reserved by active holds.';
comment on column billing.credit_accounts.debt is 'Credits owed; every grant repays it first.';
comment on column billing.credit_accounts.used_total is
    'Position on the usage axis: all that was ever burned in burn order.';
comment on column billing.credit_accounts.settled_total is 'Up to where the usage axis is attributed to lots.';
comment on column billing.credit_accounts.next_expiry_at is 'Earliest time ahead at which a lot or a hold ends.';
comment on column billing.credit_accounts.entry_count is 'Number of the newest ledger entry.';
comment on column billing.credit_accounts.chain_head is 'Hash of the newest ledger entry.';
comment on column billing.credit_accounts.last_grant_at is 'When the last tier grant was made.';
comment on column billing.credit_accounts.granted_through is
    'Newest period, by its first day, whose tier grant is done.';
comment on column billing.credit_accounts.updated_at is
    'Time of the last change; no entry is older than the one before it.';

create index credit_accounts_due on billing.credit_accounts (next_expiry_at) where next_expiry_at is not null;
create index credit_accounts_granted on billing.credit_accounts (granted_through);
create index credit_accounts_tier on billing.credit_accounts (tier, user_id);

-- The ledger.

-- One rule per type: which sign its amount has, and whether it names a lot or the entry that it reverses.
create function billing_private.entry_fits_type(
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
    and (p_type in ('expiry', 'clawback', 'debt_repayment')) = (p_grant_no is not null)
    and (p_type = 'reversal') = (p_reversed_entry_no is not null);
end
$$;
comment on function billing_private.entry_fits_type(text, numeric, bigint, bigint) is
    'Whether an entry has the sign and the references of its type.';
revoke all on function billing_private.entry_fits_type(text, numeric, bigint, bigint) from public;

create table billing.credit_ledger (
    user_id           uuid not null,
    entry_no          bigint not null,
    created_at        timestamptz not null,
    type              billing.entry_type not null,
    amount            billing.signed_credits not null,
    balance_after     billing.credits not null,
    used_after        billing.credits not null,
    operation         text not null,
    idempotency_key   billing.idempotency_key,
    reference_type    billing.short_text,
    reference_id      billing.short_text,
    description       billing.long_text,
    metadata          billing.object_json,
    actor             uuid,
    grant_no          bigint,
    reversed_entry_no bigint,
    entry_hash        billing.sha256_hash not null,
    primary key (user_id, entry_no),
    constraint entry_fits_its_type
        check (billing_private.entry_fits_type(type, amount, grant_no, reversed_entry_no))
);
comment on table billing.credit_ledger is
    'Append-only: every movement of credits, numbered per account, chained by hashes. A usage entry of 0 is a refusal.';
comment on column billing.credit_ledger.entry_no is '1, 2, 3 … per account, without gaps.';
comment on column billing.credit_ledger.amount is 'Credits, negative when they leave the account.';
comment on column billing.credit_ledger.used_after is 'Position on the usage axis after this entry.';
comment on column billing.credit_ledger.operation is 'The function that wrote it; idempotency keys are its own.';
comment on column billing.credit_ledger.actor is 'The admin who did it; null for the application and for jobs.';
comment on column billing.credit_ledger.grant_no is 'The lot that an expiry, a clawback or a debt repayment took from.';
comment on column billing.credit_ledger.reversed_entry_no is 'The entry that a reversal undoes.';
comment on column billing.credit_ledger.entry_hash is
    'sha256(hash of the entry before || canonical form of this one): billing_private.entry_hash.';

create unique index credit_ledger_idempotency
    on billing.credit_ledger (user_id, operation, idempotency_key) where idempotency_key is not null;
create unique index credit_ledger_reversed_once
    on billing.credit_ledger (user_id, reversed_entry_no) where reversed_entry_no is not null;
create index credit_ledger_not_usage
    on billing.credit_ledger (user_id, type, entry_no) where type <> 'usage';
create index credit_ledger_refusals
    on billing.credit_ledger (created_at) where type = 'usage' and amount = 0;

create trigger credit_ledger_append_only
    before update or delete or truncate on billing.credit_ledger
    for each statement execute function billing_private.refuse_change();
alter table billing.credit_ledger enable always trigger credit_ledger_append_only;

-- Lots, and what burned them.

create table billing.credit_grants (
    user_id        uuid not null references billing.credit_accounts (user_id),
    grant_no       bigint not null,
    source         text not null,
    amount         billing.credits not null,
    remaining      billing.credits not null,
    priority       integer not null,
    expires_at     timestamptz,
    granted_at     timestamptz not null,
    entry_no       bigint not null,
    reference_type billing.short_text,
    reference_id   billing.short_text,
    from_grant_no  bigint,
    primary key (user_id, grant_no),
    foreign key (user_id, entry_no) references billing.credit_ledger (user_id, entry_no),
    constraint lot_number_positive check (grant_no > 0),
    constraint lot_source_known check (
        source in ('tier_grant', 'purchase', 'adjustment', 'refund', 'reversal', 'trial_grant', 'promotion',
            'migration')
    ),
    constraint lot_amount_positive check (amount > 0),
    constraint lot_remaining_within_amount check (remaining <= amount),
    constraint lot_expires_after_grant check (expires_at > granted_at and isfinite(expires_at)),
    constraint lot_priority_bounded check (priority between 0 and 1000)
);
comment on table billing.credit_grants is
    'Lots. They burn by priority (lower first), then soonest expiry, then oldest.';
comment on column billing.credit_grants.remaining is
    'What is left of the lot as of the account''s settled_total; later usage is attributed at the next settlement.';
comment on column billing.credit_grants.entry_no is 'The ledger entry that brought the lot.';
comment on column billing.credit_grants.from_grant_no is 'The lot that the credits of a reversal first came from.';

create index credit_grants_live
    on billing.credit_grants (user_id, priority, expires_at, grant_no) where remaining > 0;

create table billing.credit_burns (
    user_id   uuid not null,
    grant_no  bigint not null,
    from_used billing.credits not null,
    to_used   billing.credits not null,
    primary key (user_id, grant_no, from_used),
    foreign key (user_id, grant_no) references billing.credit_grants (user_id, grant_no),
    constraint burn_has_length check (to_used > from_used)
);
comment on table billing.credit_burns is
    'Append-only: which stretch (from_used, to_used] of the account''s usage axis a lot paid for.';

create unique index credit_burns_axis on billing.credit_burns (user_id, to_used);

create trigger credit_burns_append_only
    before update or delete or truncate on billing.credit_burns
    for each statement execute function billing_private.refuse_change();
alter table billing.credit_burns enable always trigger credit_burns_append_only;

-- Holds.

create table billing.credit_holds (
    user_id         uuid not null references billing.credit_accounts (user_id),
    hold_id         uuid not null,
    amount          billing.credits not null,
    captured        billing.credits not null default 0,
    status          text not null default 'active',
    expires_at      timestamptz not null,
    description     billing.long_text,
    idempotency_key billing.idempotency_key,
    entry_no        bigint,
    created_at      timestamptz not null,
    ended_at        timestamptz,
    primary key (user_id, hold_id),
    constraint hold_amount_positive check (amount > 0),
    constraint hold_status_known check (status in ('active', 'captured', 'released', 'expired')),
    constraint hold_ended_when_not_active check ((status = 'active') = (ended_at is null)),
    constraint hold_captured_by_an_entry check (
        (status = 'captured') = (captured > 0) and (status = 'captured') = (entry_no is not null)
    ),
    constraint hold_expires_after_creation check (expires_at > created_at)
);
comment on table billing.credit_holds is 'Credits reserved for a call that has not ended yet.';
comment on column billing.credit_holds.entry_no is 'The usage entry of the capture.';
comment on column billing.credit_holds.captured is 'What the capture took; it may differ from the amount held.';

create unique index credit_holds_idempotency
    on billing.credit_holds (user_id, idempotency_key) where idempotency_key is not null;
create index credit_holds_active on billing.credit_holds (user_id, expires_at) where status = 'active';

-- Row level security: a user's token reads that user's rows, billing_monitor reads all.

alter table billing.credit_accounts enable row level security;
alter table billing.credit_ledger enable row level security;
alter table billing.credit_grants enable row level security;
alter table billing.credit_burns enable row level security;
alter table billing.credit_holds enable row level security;

create policy credit_accounts_own on billing.credit_accounts
    for select using (user_id = billing_private.current_user_id());
create policy credit_ledger_own on billing.credit_ledger
    for select using (user_id = billing_private.current_user_id());
create policy credit_grants_own on billing.credit_grants
    for select using (user_id = billing_private.current_user_id());
create policy credit_burns_own on billing.credit_burns
    for select using (user_id = billing_private.current_user_id());
create policy credit_holds_own on billing.credit_holds
    for select using (user_id = billing_private.current_user_id());

create policy credit_accounts_monitor on billing.credit_accounts for select to billing_monitor using (true);
create policy credit_ledger_monitor on billing.credit_ledger for select to billing_monitor using (true);
grant select on billing.credit_accounts, billing.credit_ledger to billing_monitor;

-- What the SQL API returns.

create type billing.account as (
    user_id uuid, tier text, status text, balance numeric, held numeric, available numeric, debt numeric,
    used_total numeric, entry_count bigint, next_expiry_at timestamptz, last_grant_at timestamptz,
    created_at timestamptz, updated_at timestamptz
);
comment on type billing.account is 'An account as if settled: expired credits and overdue holds are not counted.';

create type billing.credit_check as (
    can_run boolean, balance numeric, available numeric, tier text, message text
);
comment on type billing.credit_check is 'Whether a call may run, and why not.';

create type billing.ledger_entry as (
    user_id uuid, entry_no bigint, type text, amount numeric, balance_after numeric, description text,
    reference_type text, reference_id text, idempotency_key text, metadata jsonb, actor uuid,
    created_at timestamptz, grant_no bigint, reversed_entry_no bigint, entry_hash text
);
comment on type billing.ledger_entry is 'A ledger entry; its hash in hexadecimal.';

create type billing.granted_entry as (
    user_id uuid, entry_no bigint, type text, amount numeric, balance_after numeric, description text,
    reference_type text, reference_id text, idempotency_key text, metadata jsonb, actor uuid,
    created_at timestamptz, grant_no bigint, reversed_entry_no bigint, entry_hash text,
    available numeric, replayed boolean
);
comment on type billing.granted_entry is
    'The entry of a grant, the credits available after it, and whether it is a replay.';

create type billing.deduction as (
    success boolean, entry_no bigint, amount numeric, balance_after numeric, available numeric, reason text,
    replayed boolean
);
comment on type billing.deduction is 'What a deduction took: its entry, or the reason of the refusal with amount 0.';

create type billing.token_deduction as (
    success boolean, entry_no bigint, amount numeric, balance_after numeric, available numeric, reason text,
    replayed boolean, cost numeric
);
comment on type billing.token_deduction is 'A deduction, and what the call costs by the rate card.';

create type billing.hold_result as (
    success boolean, hold_id uuid, amount numeric, expires_at timestamptz, available numeric, reason text,
    replayed boolean
);
comment on type billing.hold_result is 'The hold that was placed, or the reason of the refusal.';

create type billing.hold as (
    user_id uuid, hold_id uuid, amount numeric, captured numeric, status text, expires_at timestamptz,
    description text, idempotency_key text, entry_no bigint, created_at timestamptz, ended_at timestamptz
);
comment on type billing.hold is 'A hold; one that is overdue reads as expired.';

create type billing.admin_result as (
    success boolean, reason text, entry_no bigint, amount numeric, balance_after numeric, action_id uuid,
    replayed boolean
);
comment on type billing.admin_result is
    'What an admin''s action did, or why it was refused; action_id is its row in the log.';

create type billing.grant_lot as (
    user_id uuid, grant_no bigint, source text, amount numeric, remaining numeric, priority integer,
    expires_at timestamptz, granted_at timestamptz, entry_no bigint, reference_type text, reference_id text
);
comment on type billing.grant_lot is 'A lot, with what is left of it as if settled.';

create type billing.account_summary as (
    user_id uuid, tier text, status text, role text, balance numeric, held numeric, available numeric, debt numeric,
    granted_total numeric, spent_total numeric, spent_today numeric, spent_this_month numeric,
    live_grants bigint, active_holds bigint, next_expiry_at timestamptz, last_grant_at timestamptz,
    entry_count bigint, created_at timestamptz, last_activity_at timestamptz
);
comment on type billing.account_summary is
    'An account at a glance. Spent: usage and negative adjustments, by UTC day and month.';

create type billing.usage_bucket as (
    bucket timestamptz, model text, calls bigint, amount numeric, prompt_tokens bigint, completion_tokens bigint,
    cached_tokens bigint, refused bigint
);
comment on type billing.usage_bucket is 'Usage of one model in one stretch of time (UTC); amount in credits, positive.';

create type billing.funding as (
    grant_no bigint, source text, amount numeric, priority integer, expires_at timestamptz
);
comment on type billing.funding is 'How much of an entry a lot paid for.';

create type billing.tier as (
    name text, display_name text, monthly_credits numeric, price_cents integer, can_purchase_credits boolean,
    rank integer, grant_expires_after interval, rollover_cap numeric
);
comment on type billing.tier is 'A subscription tier.';

create type billing.model_price as (
    model text, input_per_million numeric, cached_input_per_million numeric, output_per_million numeric,
    multiplier numeric, effective_from timestamptz
);
comment on type billing.model_price is 'The price of a model in force.';

create type billing.finding as (
    user_id uuid, entry_no bigint, problem text, detail text
);
comment on type billing.finding is 'Something that does not verify. No finding: all is well.';

-- What the helpers pass to each other.

create type billing_private.settlement_step as (
    kind text, grant_no bigint, hold_id uuid, amount numeric, from_used numeric, due_at timestamptz
);
comment on type billing_private.settlement_step is
    'One step of a settlement: burn a lot, end a hold, or expire credits.';

create type billing_private.lot as (
    grant_no bigint, amount numeric, priority integer, expires_at timestamptz, from_grant_no bigint
);
comment on type billing_private.lot is 'A lot that is about to be granted, or is being settled.';

select set_config('role', current_setting('billing.installer'), true);
