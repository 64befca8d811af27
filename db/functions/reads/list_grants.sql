-- In burn order, as if settled: usage that is not attributed yet is, and what has expired is gone.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.list_grants(p_user_id uuid, p_live_only boolean default true)
returns setof billing.grant_lot
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
    v_now     timestamptz := greatest(billing_private.clock(), v_account.updated_at);
begin
    return query
        with gone as (
            select s.grant_no, sum(s.amount) as amount
            from billing_private.settlement_plan(v_account, v_now) s
            where s.grant_no is not null
            group by s.grant_no
        ),
        settled as (
            select
                l.user_id, l.grant_no, l.source, l.amount::numeric, l.remaining - coalesce(gone.amount, 0) as remaining,
                l.priority, l.expires_at, l.granted_at, l.entry_no, l.reference_type::text, l.reference_id::text
            from billing.credit_grants l
            left join gone on gone.grant_no = l.grant_no
            where l.user_id = p_user_id and (l.remaining > 0 or not p_live_only)
        )
        select s.*
        from settled s
        where s.remaining > 0 or not p_live_only
        order by s.priority, s.expires_at nulls last, s.grant_no;
end
$$;

comment on function billing.list_grants(uuid, boolean) is
    'The lots of an account in the order in which they burn, with what is left of each.';
revoke all on function billing.list_grants(uuid, boolean) from public;
grant execute on function billing.list_grants(uuid, boolean) to billing_api;
