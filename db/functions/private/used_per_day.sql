-- The usage axis tells it, however many entries there are. Negative adjustments move along it too, and are not usage;
-- nor is what was reversed. An account that is younger than 14 days counts its age, at least one day.
create or replace function billing_private.used_per_day(p_account billing.credit_accounts, p_now timestamptz)
returns numeric
language plpgsql
stable
as $$
declare
    v_from  timestamptz := greatest(p_now - interval '336 hours', p_account.created_at);
    v_first bigint := billing_private.entry_at(p_account, v_from - interval '1 microsecond') + 1;
    v_used  numeric := p_account.used_total - billing_private.used_before(p_account, v_from);
    v_other numeric;
begin
    select coalesce(sum(case when e.type = 'adjustment' then least(e.amount, 0) else -e.amount end), 0) into v_other
    from billing.credit_ledger e
    where e.user_id = p_account.user_id
        and e.entry_no >= v_first
        and e.type <> 'usage'
        and (
            e.type = 'adjustment'
            or e.type = 'reversal' and e.reversed_entry_no >= v_first and (
                select u.type
                from billing.credit_ledger u
                where u.user_id = p_account.user_id and u.entry_no = e.reversed_entry_no
            ) = 'usage'
        );
    return (v_used + v_other) * 86400 / greatest(extract(epoch from p_now) - extract(epoch from v_from), 86400);
end
$$;

comment on function billing_private.used_per_day(billing.credit_accounts, timestamptz) is
    'What an account uses in a day, as a mean of the last 14.';
revoke all on function billing_private.used_per_day(billing.credit_accounts, timestamptz) from public;
