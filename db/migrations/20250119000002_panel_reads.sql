-- What support looks for and at: what the application calls its users, where a reference was spent, and the admin log
-- by what was done.

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

create table billing.user_references (
    user_id    uuid primary key,
    reference  billing.short_text not null,
    updated_at timestamptz not null,
    constraint reference_given check (reference ~ '\S'),
    constraint reference_without_blanks_around check (reference = btrim(reference))
);
comment on table billing.user_references is
    'What the application calls a user. Only for finding and showing the account: nothing of money goes by it.';
comment on column billing.user_references.reference is 'Such as an e-mail address; two users may have the same one.';
comment on column billing.user_references.updated_at is 'When it last changed.';

-- In the order of bytes, where all that begins alike lies between two texts.
create index user_references_prefix
    on billing.user_references ((lower(reference) collate "C"), user_id);

alter table billing.user_references enable row level security;
create policy user_references_own on billing.user_references
    for select using (user_id = billing_private.current_user_id());

do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        grant select on billing.user_references to authenticated;
    end if;
end
$$;

-- Who spent on a reference, and an account's entries of one, the newest first. What has none costs nothing here.
create index credit_ledger_by_reference
    on billing.credit_ledger (reference_id, user_id, entry_no) where reference_id is not null;

create index admin_actions_log_by_action on billing.admin_actions_log (action, action_id);
create index admin_actions_log_by_admin_and_action
    on billing.admin_actions_log (admin_user_id, action, action_id);
create index admin_actions_log_refused on billing.admin_actions_log (action_id) where outcome <> 'done';

create type billing.user_reference as (user_id uuid, reference text, updated_at timestamptz);
comment on type billing.user_reference is 'What the application calls a user; nulls when it has not said.';

alter type billing.account_summary
    add attribute taken_total numeric, add attribute expired_total numeric, add attribute recovered_total numeric;
comment on type billing.account_summary is
    'An account at a glance: balance = granted_total - spent_total - taken_total - expired_total - recovered_total. Spent: usage, by UTC day and month, what was reversed included (a reversal''s credits are granted). Taken: negative adjustments, and what went back to the old system. Recovered: clawbacks and repaid debt.';

create type billing.account_match as (
    user_id uuid, tier text, status text, balance numeric, held numeric, available numeric, debt numeric,
    entry_count bigint, created_at timestamptz, last_activity_at timestamptz, reference text, found_by text
);
comment on type billing.account_match is
    'An account as if settled, what the application calls its user, and what of it a search found.';

create type billing.balance_point as (at timestamptz, balance numeric);
comment on type billing.balance_point is 'The balance of an account at a time.';

create type billing.forecast as (
    user_id uuid, per_day numeric, available numeric, lasts_days numeric, runs_out_at timestamptz,
    expires_unused numeric, next_grant_at timestamptz, next_grant_amount numeric
);
comment on type billing.forecast is
    'How long credits last at the pace of the last 14 days; nulls: beyond 10 years, or no grant is to come.';

select set_config('role', current_setting('billing.installer'), true);
