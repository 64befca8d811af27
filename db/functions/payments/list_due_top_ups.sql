-- Read without locks: request_top_up looks again.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_due_top_ups(p_limit integer default 100)
returns setof billing.auto_top_up
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_now     timestamptz := billing_private.clock();
    v_left    integer := p_limit;
    v_account billing.credit_accounts;
    v_top_up  billing.billing_auto_top_ups;
begin
    perform billing_private.check_limit(p_limit);
    for v_top_up in
        select t.*
        from billing.billing_auto_top_ups t
        join billing.credit_accounts a on a.user_id = t.user_id
        join billing.billing_tiers b on b.name = a.tier
        where t.enabled
            and a.status = 'active'
            and b.can_purchase_credits
            and coalesce(t.retry_after <= v_now, true)
            and (a.balance - a.held < t.threshold or a.next_expiry_at <= v_now)
            and not exists (
                select from billing.credit_purchases p
                where p.user_id = t.user_id and p.kind = 'auto_top_up' and p.status in ('pending', 'open', 'processing')
            )
        order by t.user_id
    loop
        v_account := billing_private.settled_account(
            billing_private.read_account(v_top_up.user_id), v_now
        );
        if billing_private.top_up_is_due(v_account, v_top_up, v_now) then
            return next billing_private.as_auto_top_up(v_top_up, v_now);
            v_left := v_left - 1;
            exit when v_left = 0;
        end if;
    end loop;
end
$$;

comment on function billing.list_due_top_ups(integer) is
    'Automatic top-ups whose account has fallen below the threshold.';
revoke all on function billing.list_due_top_ups(integer) from public;
grant execute on function billing.list_due_top_ups(integer) to billing_api;
