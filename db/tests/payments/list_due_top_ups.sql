-- Accounts that have fewer credits available than their threshold are due for a top-up, while they may be charged.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
-- u has 10 credits, and wants more below 5.
create function u(n int) returns uuid immutable language sql as
$$select ('00000000-0000-0000-0000-0000000000' || lpad(n::text, 2, '0'))::uuid$$;
select buys(u(n), 10, 'pi_' || n) from generate_series(1, 9) n \g /dev/null
select billing.set_auto_top_up(u(n), true, 5, '10', 20) from generate_series(1, 9) n \g /dev/null
create function due(p_limit int default 100) returns text language sql as
$$select string_agg(ltrim(right(user_id::text, 2), '0'), ' ') from billing.list_due_top_ups(p_limit)$$;

select is(due(), null, 'who has enough is not due');
select billing.deduct_credits(u(1), 5) \g /dev/null
select is(due(), null, 'the threshold itself is enough');
select billing.deduct_credits(u(1), 0.000000001) \g /dev/null
select is(due(), '1', 'less is not');
select billing.hold_credits(u(2), 5.5, '1 hour') \g /dev/null
select is(due(), '1 2', 'what is held is not available');
select rows_are(
    'select * from billing.list_due_top_ups(1)',
    $$
    values (
        u(1), true, 5, '10', 20, 0.0, null, null, 0, null::timestamptz, '2025-03-10 12:00+00'::timestamptz
    )
    $$,
    'each is told, as many as are asked for'
);

-- Reasons not to charge.

select billing.deduct_credits(u(n), 6) from generate_series(3, 9) n \g /dev/null
select is(due(), '1 2 3 4 5 6 7 8 9', 'all of them');
select is(due(3), '1 2 3', 'or some');
select billing.set_auto_top_up(u(3), false) \g /dev/null
select billing.set_account_status(chief(), u(4), 'frozen', 'r') \g /dev/null
select billing.set_account_status(chief(), u(5), 'closed', 'r') \g /dev/null
select billing.change_tier(chief(), u(6), 'free', 'r') \g /dev/null
select billing.deduct_credits(u(6), 8) \g /dev/null
update billing.billing_auto_top_ups set retry_after = '2025-03-10 13:00+00' where user_id = u(7);
select billing.request_top_up(u(8)) \g /dev/null
update billing.billing_auto_top_ups set monthly_cap = 9.99 where user_id = u(9);
select is(
    due(), '1 2',
    'not who turned it off, is frozen or closed, may not buy, must wait, is charged already or has reached the cap'
);
select is(due(1), '1', 'who is not due takes nobody''s place');
select is(due(2), '1 2', 'nor the other way');
set local tap.now = '2025-03-10 12:59:59.999+00';
select is(due(), '1 2', 'the pause lasts');
set local tap.now = '2025-03-10 13:00+00';
select is(due(), '1 7', 'to its end; a hold that is over gives back what it held');

-- Expired credits are not available, whether or not anybody has looked.

select billing.open_account(u(11), 'buyer') \g /dev/null
select billing.grant_credits(u(11), 10, 'promotion', p_expires_at => '2025-03-10 14:00+00') \g /dev/null
select billing.set_auto_top_up(u(11), true, 5, '10', 20) \g /dev/null
select is(due(), '1 7', 'credits that expire count');
set local tap.now = '2025-03-10 14:00+00';
select is(due(), '1 7 11', 'until they do');

select throws_ok(
    format('select billing.list_due_top_ups(%s)', page), 'UC422', 'limit_out_of_range', 'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
