-- Usage and negative adjustments: the lots that they burned, as if settled. Expiry, clawback and debt repayment: the
-- lot that they name. Entries that brought credits have no funding.
-- Raises: UC400 invalid_request, UC404 account_not_found, entry_not_found, UC409 not_migrated.
create or replace function billing.entry_funding(p_user_id uuid, p_entry_no bigint)
returns setof billing.funding
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
    v_entry   billing.credit_ledger;
    v_from    numeric;
    v_to      numeric;
begin
    select * into v_entry from billing.credit_ledger where user_id = p_user_id and entry_no = p_entry_no;
    if not found then
        perform billing_private.raise_error('entry_not_found', format(
            'User %s has no entry %s.', p_user_id, coalesce(p_entry_no::text, 'null')
        ));
    elsif v_entry.grant_no is not null then
        return query
            select l.grant_no, l.source, -v_entry.amount, l.priority, l.expires_at
            from billing.credit_grants l
            where l.user_id = p_user_id and l.grant_no = v_entry.grant_no;
    elsif v_entry.type in ('usage', 'adjustment') and v_entry.amount < 0 then
        v_to := v_entry.used_after;
        v_from := v_to + v_entry.amount;
        return query
            select b.grant_no, b.source, sum(b.amount), b.priority, b.expires_at
            from (
                select s.grant_no, s.source, s.amount, s.priority, s.expires_at, s.from_used
                from billing_private.burned_between(p_user_id, v_from, v_to) s
                union all
                select
                    l.grant_no, l.source, least(p.from_used + p.amount, v_to) - greatest(p.from_used, v_from),
                    l.priority, l.expires_at, p.from_used
                from billing_private.settlement_plan(v_account, v_account.updated_at) p
                join billing.credit_grants l on l.user_id = p_user_id and l.grant_no = p.grant_no
                where p.kind = 'burn' and p.from_used < v_to and p.from_used + p.amount > v_from
            ) b
            group by b.grant_no, b.source, b.priority, b.expires_at
            order by min(b.from_used);
    end if;
end
$$;

comment on function billing.entry_funding(uuid, bigint) is 'Which lots paid for an entry, and how much each.';
revoke all on function billing.entry_funding(uuid, bigint) from public;
grant execute on function billing.entry_funding(uuid, bigint) to billing_api;
