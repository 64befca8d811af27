-- Reads every entry: on a large ledger, run it where time does not matter.
create or replace function billing.verify_ledger()
returns setof billing.finding
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_user_id uuid;
begin
    for v_user_id in select user_id from billing.credit_accounts order by user_id loop
        return query select f.* from billing.verify_account(v_user_id) f;
    end loop;
    return query
        select e.user_id, min(e.entry_no), 'entries_without_account', format('%s entries.', count(*))
        from billing.credit_ledger e
        where not exists (select from billing.credit_accounts a where a.user_id = e.user_id)
        group by e.user_id;
end
$$;

comment on function billing.verify_ledger() is 'What does not verify in any account.';
revoke all on function billing.verify_ledger() from public;
grant execute on function billing.verify_ledger() to billing_api, billing_monitor;
