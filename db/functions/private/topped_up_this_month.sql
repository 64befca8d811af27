-- Charges under way count, so that two at once cannot both pass the cap. Months are UTC calendar months.
create or replace function billing_private.topped_up_this_month(p_user_id uuid, p_now timestamptz)
returns numeric
language plpgsql
stable
as $$
declare
    v_from timestamptz := billing_private.period_of(p_now)::timestamp at time zone 'UTC';
begin
    return (
        select coalesce(sum(price_cents), 0) * 0.01
        from billing.credit_purchases
        where user_id = p_user_id
            and kind = 'auto_top_up'
            and status in ('pending', 'open', 'processing', 'paid')
            and created_at >= v_from
    );
end
$$;

comment on function billing_private.topped_up_this_month(uuid, timestamptz) is
    'What automatic top-ups of a user have charged in this month, in US dollars.';
revoke all on function billing_private.topped_up_this_month(uuid, timestamptz) from public;
