-- To be asked every minute: it reads the ledger of the last five minutes, what waits, and the alert views, of which one goes
-- through all accounts. Names and labels are Prometheus'; times are seconds.
create or replace function billing.list_metrics()
returns setof billing.metric
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_now timestamptz := billing_private.clock();
begin
    return query
        select * from billing_private.ledger_metrics(v_now)
        union all
        select * from billing_private.queue_metrics(v_now)
        union all
        select * from billing_private.job_metrics(v_now)
        union all
        select 'billing_alert_rows', jsonb_build_object('alert', a.alert), a.rows::numeric from billing.list_alerts() a;
end
$$;

comment on function billing.list_metrics() is 'What the database tells Prometheus.';
revoke all on function billing.list_metrics() from public;
grant execute on function billing.list_metrics() to billing_api, billing_monitor;
