-- Roles, schemas, and who may act as an admin.
-- Works for an installer that is not a superuser, given CREATEROLE and CREATE on the database.

do $$
declare
    v_role text;
begin
    foreach v_role in array array['billing_owner', 'billing_api', 'billing_monitor'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
            begin
                execute format('create role %I nologin', v_role);
            exception
                -- Roles belong to the cluster: another database may be creating them at this moment.
                when duplicate_object or unique_violation then null;
            end;
        end if;
        -- The installer owns what it installs, and tries it as the API and the monitor.
        if not pg_has_role(current_user, v_role, 'usage') then
            execute format('grant %I to %I', v_role, current_user);
        end if;
    end loop;
end
$$;

create schema if not exists billing authorization billing_owner;
create schema if not exists billing_private authorization billing_owner;

-- Names of ours resolve without a schema, after the application's own: the alerts of the guide are written so.
do $$
declare
    v_path text := coalesce(
        (
            select substring(setting from '^search_path=(.*)$')
            from pg_catalog.pg_db_role_setting s, unnest(s.setconfig) setting
            where s.setdatabase = (select oid from pg_catalog.pg_database where datname = current_database())
                and s.setrole = 0
                and setting like 'search_path=%'
        ),
        '"$user", public'
    );
begin
    if not ('billing' = any (regexp_split_to_array(v_path, '\s*,\s*'))) then
        begin
            execute format('alter database %I set search_path = %s', current_database(), v_path || ', billing');
        exception
            when insufficient_privilege then
                raise warning 'The search_path of database "%" is unchanged.', current_database()
                    using hint = 'Let its owner run: ALTER DATABASE … SET search_path = ' || v_path || ', billing';
        end;
    end if;
    begin
        alter role billing_monitor set search_path = "$user", public, billing;
    exception
        when insufficient_privilege then
            raise warning 'The search_path of role billing_monitor is unchanged.';
    end;
end
$$;

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

alter default privileges for role billing_owner revoke all on functions from public;

grant usage on schema billing to billing_api, billing_monitor;

comment on schema billing is 'Credits: tables, views and the functions that are the SQL API.';
comment on schema billing_private is 'Helpers of the schema billing. Nobody calls them directly.';

create function billing_private.current_user_id()
returns uuid
language sql
stable
set search_path = pg_temp
as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;
comment on function billing_private.current_user_id() is
    'The user whose token a gateway (Supabase, PostgREST) put into request.jwt.claims; null outside of one.';
revoke all on function billing_private.current_user_id() from public;
grant execute on function billing_private.current_user_id() to billing_monitor;

create function billing_private.refuse_change()
returns trigger
language plpgsql
set search_path = pg_temp
as $$
begin
    raise exception using
        errcode = 'UC403',
        message = 'append_only',
        detail = format('%s on %I.%I is refused: its rows are evidence.', tg_op, tg_table_schema, tg_table_name),
        hint = 'Correct a mistake with a new entry: billing.reverse_entry or billing.adjust_credits.';
end
$$;
comment on function billing_private.refuse_change() is 'Refuses UPDATE, DELETE and TRUNCATE, for the owner too.';
revoke all on function billing_private.refuse_change() from public;

create table billing.user_roles (
    user_id    uuid primary key,
    role       text not null,
    granted_by uuid,
    granted_at timestamptz not null,
    day        date,
    day_total  numeric not null default 0,
    constraint role_known check (role in ('user', 'admin', 'super_admin')),
    constraint role_day_total_exact
        check (day_total >= 0 and day_total <= 1000000000000000000 and day_total = round(day_total, 9))
);
comment on table billing.user_roles is
    'Who may act as an admin. A user without a row has the role user. Locked for the daily limit, after the account.';
comment on column billing.user_roles.granted_by is 'The super admin who gave the role; null for the first one.';
comment on column billing.user_roles.day is 'The UTC day that day_total counts.';
comment on column billing.user_roles.day_total is 'Credits this admin moved on that day, as absolute amounts.';

create table billing.admin_limits (
    role                  text primary key,
    max_credit_adjustment numeric,
    max_daily_total       numeric,
    can_refund            boolean not null,
    approval_above        numeric,
    constraint limit_role_known check (role in ('admin', 'super_admin')),
    constraint limit_adjustment_exact check (
        max_credit_adjustment >= 0 and max_credit_adjustment <= 1000000000000
        and max_credit_adjustment = round(max_credit_adjustment, 9)
    ),
    constraint limit_daily_total_exact check (
        max_daily_total >= 0 and max_daily_total <= 1000000000000
        and max_daily_total = round(max_daily_total, 9)
    ),
    constraint limit_approval_exact check (
        approval_above >= 0 and approval_above <= 1000000000000
        and approval_above = round(approval_above, 9)
    )
);
comment on table billing.admin_limits is 'What an admin of a role may move. A null limit is no limit.';
comment on column billing.admin_limits.max_credit_adjustment is 'Largest single action, in credits.';
comment on column billing.admin_limits.max_daily_total is 'Largest sum of actions in a UTC day, in credits.';
comment on column billing.admin_limits.can_refund is 'Whether the role may refund a payment.';
comment on column billing.admin_limits.approval_above is 'Above this amount one admin alone is not enough.';

insert into billing.admin_limits (role, max_credit_adjustment, max_daily_total, can_refund, approval_above)
values
    ('admin', 1000, 5000, false, null),
    ('super_admin', 100000, 500000, true, null);

alter table billing.user_roles enable row level security;
create policy user_roles_own on billing.user_roles
    for select using (user_id = billing_private.current_user_id());

select set_config('role', current_setting('billing.installer'), true);
