-- Recomputes the hash chain, the running balance and every sum that an account keeps. No rows: all is well.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.verify_account(p_user_id uuid)
returns setof billing.finding
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
begin
    return query select f.* from billing_private.chain_findings(v_account) f;
    return query select f.* from billing_private.sum_findings(v_account) f;
end
$$;

comment on function billing.verify_account(uuid) is
    'What does not verify in an account: changed, missing or reordered entries, sums that are off.';
revoke all on function billing.verify_account(uuid) from public;
grant execute on function billing.verify_account(uuid) to billing_api, billing_monitor;
