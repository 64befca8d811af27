-- One row per alert view, in the order of their names, also for those that are empty.
create or replace function billing.list_alerts()
returns setof billing.alert
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return query
        select 'admin_activity', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_admin_activity v
        union all
        select 'failed_deductions', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_failed_deductions v
        union all
        select 'jobs', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_jobs v
        union all
        select 'ledger', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_ledger v
        union all
        select 'lot_sums', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_lot_sums v
        union all
        select 'negative_balances', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_negative_balances v
        union all
        select 'stuck_refunds', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_stuck_refunds v
        union all
        select 'undelivered_events', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_undelivered_events v
        union all
        select 'webhook_errors', count(*), (array_agg(to_jsonb(v)))[1] from billing.alert_webhook_errors v;
end
$$;

comment on function billing.list_alerts() is 'How many rows each alert view has, and one of them.';
revoke all on function billing.list_alerts() from public;
grant execute on function billing.list_alerts() to billing_api, billing_monitor;
