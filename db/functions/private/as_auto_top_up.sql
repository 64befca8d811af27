create or replace function billing_private.as_auto_top_up(p_top_up billing.billing_auto_top_ups, p_now timestamptz)
returns billing.auto_top_up
language plpgsql
stable
as $$
begin
    return (
        p_top_up.user_id, p_top_up.enabled, p_top_up.threshold, p_top_up.package, p_top_up.monthly_cap,
        billing_private.topped_up_this_month(p_top_up.user_id, p_now), p_top_up.payment_method_id,
        p_top_up.disabled_reason, p_top_up.failures, p_top_up.retry_after, p_top_up.updated_at
    )::billing.auto_top_up;
end
$$;

comment on function billing_private.as_auto_top_up(billing.billing_auto_top_ups, timestamptz) is
    'An automatic top-up as the SQL API tells it.';
revoke all on function billing_private.as_auto_top_up(billing.billing_auto_top_ups, timestamptz) from public;
