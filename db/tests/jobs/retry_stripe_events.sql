-- Webhook events that could not be applied are tried again when they are due; one that fails keeps none waiting.
\ir ../payments.psql

create function run(p_limit int default 1, p_at timestamptz default null) returns text language plpgsql as $$
declare
    v_step  billing.job_step;
    v_steps int := 0;
    v_rows  bigint := 0;
begin
    loop
        v_step := billing.retry_stripe_events(p_at, p_limit, v_step.next);
        v_steps := v_steps + 1;
        v_rows := v_rows + v_step.rows;
        exit when v_step.next is null;
    end loop;
    return concat_ws(' ', v_steps, 'steps', v_rows, 'rows', v_step.failures, v_step.error);
end
$$;
create function events() returns text language sql as
$$select string_agg(concat_ws(' ', event_id, status, attempts), ', ' order by event_id) from billing.stripe_events$$;
select billing.open_account(a()) \g /dev/null
select billing.record_stripe_event(
    stripe_event('evt_1', 'customer.subscription.created', stripe_subscription('sub_a', 'cus_a', 'tier_2_20'))
) \g /dev/null
select buys(b(), 10, 'pi_b') \g /dev/null
select billing.record_stripe_event(
    stripe_event('evt_2', 'charge.dispute.created', stripe_dispute('dp_b', 'pi_b', 1000))
) \g /dev/null
select billing.record_stripe_event(stripe_event('evt_3', 'customer.created', '{}')) \g /dev/null

select is(run(), '1 steps 0 rows 0', 'for half a minute an event is left to who received it');
set local tap.now = '2025-03-10 12:01+00';
select is(run(1, '2025-03-10 12:00:29+00'), '1 steps 0 rows 0', 'nor is it due as of then');
select is(run(), '3 steps 1 rows 0', 'then all are tried, one by one');
select is(
    events(), 'evt_1 pending 1, evt_2 processed 0, evt_3 ignored 0',
    'R13: what cannot be applied yet is put off, and the next one is applied all the same'
);
select is(
    (select status from billing.credit_accounts where user_id = b()), 'frozen', 'with its effect'
);
select is(
    (select error from billing.stripe_events where event_id = 'evt_1'), 'customer_not_found', 'why it could not be'
);
select is(run(), '1 steps 0 rows 0', 'it waits for its next attempt');
select customer(a(), 'cus_a') \g /dev/null
set local tap.now = '2025-03-10 12:02+00';
select is(run(50), '1 steps 1 rows 0', 'when what it waited for is there it is applied');
select is(events(), 'evt_1 processed 1, evt_2 processed 0, evt_3 ignored 0', 'all of them');
select rows_are(
    'select user_id, kind, status from billing.stripe_calls where kind = ''subscriptions''',
    $$values (a(), 'subscriptions', 'pending')$$, 'what it asks of Stripe is left to the worker'
);
select is(run(), '1 steps 0 rows 0', 'R14: none is applied twice');

-- The function that applies fails in its own way, and its effect is taken back.
select billing.record_stripe_event(
    stripe_event('evt_' || n, 'payment_intent.succeeded', stripe_intent('pi_' || n, 500, purchase_id))
)
from generate_series(4, 6) n, lateral (
    select purchase_id from billing.credit_purchases where user_id = b()
) p \g /dev/null
set local tap.now = '2025-03-10 12:10+00';
select is(run(2), '2 steps 0 rows 0', 'events that contradict what is known, two at a time');
select is(
    (select string_agg(event_id || ' ' || error, ', ' order by event_id) from billing.stripe_events where status = 'pending'),
    'evt_4 payment_mismatch, evt_5 payment_mismatch, evt_6 payment_mismatch', 'are put off, each by itself'
);
select throws_ok(
    format('select billing.retry_stripe_events(%L)', at), 'UC422', 'time_lies_ahead', 'not before its time: ' || at
)
from unnest(array['2025-03-10 12:10:00.000001+00', 'infinity']) at;
select throws_ok(
    format('select billing.retry_stripe_events(p_limit => %s)', page), 'UC422', 'limit_out_of_range', 'a batch of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
