-- What admins did and tried, and what was last applied from the configuration file.

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

create table billing.admin_actions_log (
    target_user_id uuid not null,
    action_id      uuid not null,
    admin_user_id  uuid,
    action         text not null,
    amount         numeric,
    reason         text not null,
    details        jsonb not null default '{}',
    outcome        text not null,
    created_at     timestamptz not null,
    primary key (target_user_id, action_id),
    constraint action_amount_exact check (
        amount >= -1000000000000000 and amount <= 1000000000000000 and amount = round(amount, 9)
    ),
    constraint action_reason_given check (reason ~ '\S'),
    constraint action_details_are_object check (jsonb_typeof(details) = 'object')
);
comment on table billing.admin_actions_log is
    'Append-only: every action of an admin, refused ones too. A change of configuration stands under the nil uuid.';
comment on column billing.admin_actions_log.action_id is 'Ordered by time.';
comment on column billing.admin_actions_log.admin_user_id is 'Who did it; null for the owner of the database.';
comment on column billing.admin_actions_log.amount is 'Credits asked for, signed.';
comment on column billing.admin_actions_log.outcome is 'done, or the reason of the refusal.';

create index admin_actions_log_by_time on billing.admin_actions_log (action_id);
create index admin_actions_log_by_admin on billing.admin_actions_log (admin_user_id, action_id);

create trigger admin_actions_log_append_only
    before update or delete or truncate on billing.admin_actions_log
    for each statement execute function billing_private.refuse_change();
alter table billing.admin_actions_log enable always trigger admin_actions_log_append_only;

alter table billing.admin_actions_log enable row level security;
create policy admin_actions_log_monitor on billing.admin_actions_log for select to billing_monitor using (true);
grant select on billing.admin_actions_log to billing_monitor;

create type billing.admin_action as (
    target_user_id uuid, action_id uuid, admin_user_id uuid, action text, amount numeric, reason text,
    details jsonb, outcome text, created_at timestamptz
);
comment on type billing.admin_action is 'A row of the admin log.';

create table billing_private.config_applied (
    section    text not null,
    name       text not null,
    content    jsonb not null,
    applied_at timestamptz not null,
    primary key (section, name)
);
comment on table billing_private.config_applied is
    'Configuration rows as they were last applied: a row that differs from this was edited in the database.';

-- The rows that the migrations brought count as applied.
select set_config('intervalstyle', 'postgres', true);
insert into billing_private.config_applied (section, name, content, applied_at)
select
    section, name,
    (
        select jsonb_object_agg(
            key, case jsonb_typeof(value) when 'number' then to_jsonb(trim_scale(value::numeric)) else value end
        )
        from jsonb_each(content)
        where key not in ('name', 'role', 'model', 'effective_from')
    ),
    now()
from (
    select 'tiers', name, to_jsonb(t) from billing.billing_tiers t
    union all
    select 'admin_limits', role, to_jsonb(l) from billing.admin_limits l
    union all
    select 'model_prices', model, to_jsonb(p) from billing.model_prices p
    union all
    select 'settings', name, to_jsonb(s) from billing.billing_settings s
) as rows (section, name, content);

create type billing.config_change as (
    section text, name text, change text, edited boolean, before jsonb, after jsonb
);
comment on type billing.config_change is
    'A difference between tables (before) and wish (after). Edited: changed in the database since the last apply.';

-- A user's own rows, where a gateway's role for signed-in users exists.
do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        grant usage on schema billing to authenticated;
        grant execute on function billing_private.current_user_id() to authenticated;
        grant select on billing.credit_accounts, billing.credit_ledger, billing.credit_grants,
            billing.credit_burns, billing.credit_holds, billing.user_roles to authenticated;
    end if;
end
$$;

select set_config('role', current_setting('billing.installer'), true);
