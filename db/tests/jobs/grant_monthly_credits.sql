-- Each account gets the credits of a month once, and what it missed, in batches that go on where they were.
\ir ../payments.psql

insert into billing.billing_tiers (
    name, display_name, monthly_credits, price_cents, can_purchase_credits, rank, grant_expires_after, rollover_cap
)
values ('forever', 'Forever', 20, 0, true, 101, null, null), ('capped', 'Capped', 20, 0, true, 102, null, 10),
    ('reset', 'Reset', 20, 0, true, 103, null, 0), ('small', 'Small', 0.5, 0, true, 104, '1 month', null);
create function users() returns setof uuid language sql as
$$select ('00000000-0000-0000-0000-00000000000' || n)::uuid from unnest(array['a', 'b', 'c', 'd', 'e']) n$$;
-- All batches of one run.
create function run(p_limit int default 50, p_at timestamptz default null) returns text language plpgsql as $$
declare
    v_step  billing.job_step;
    v_steps int := 0;
    v_rows  bigint := 0;
    v_error text;
    v_left  bigint := 0;
begin
    loop
        v_step := billing.grant_monthly_credits(p_at, p_limit, v_step.next);
        v_steps := v_steps + 1;
        v_rows := v_rows + v_step.rows;
        v_left := v_left + v_step.failures;
        v_error := nullif(concat_ws(', ', v_error, v_step.error), '');
        exit when v_step.next is null;
    end loop;
    return concat_ws(' ', v_steps, 'steps', v_rows, 'rows', v_left, 'failures', v_error);
end
$$;
create function granted(p_user_id uuid) returns text language sql as $$
    select string_agg(reference_id || ' ' || trim_scale(amount), ', ' order by entry_no)
    from billing.credit_ledger where user_id = p_user_id and type = 'tier_grant'
$$;
create function balance(p_user_id uuid) returns numeric language sql as
$$select balance from billing.credit_accounts where user_id = p_user_id$$;
create function told(p_user_id uuid) returns text language sql as $$
    select string_agg(kind || ' ' || (payload ->> 'balance'), ', ' order by event_no)
    from billing.billing_events where user_id = p_user_id and event_no > 1
$$;
select billing.bootstrap_super_admin(admin()) \g /dev/null

-- Once per period.

select billing.open_account(u) from users() u \g /dev/null
select is(run(), '1 steps 0 rows 0 failures', 'whoever has had the month''s credits is not due');
set local tap.now = '2025-03-31 23:59:59.999999+00';
select is(run(), '1 steps 0 rows 0 failures', 'not before the month is over, in UTC');
set local tap.now = '2025-04-01 00:00+00';
select is(run(2), '3 steps 5 rows 0 failures', 'at midnight UTC on the 1st all are, batch by batch');
select is(granted(u), '2025-03 5, 2025-04 5', 'each account gets its credits: ' || right(u::text, 1)) from users() u;
select is(balance(a()), 5.0, 'last month''s have expired');
select is(
    (select last_grant_at from billing.credit_accounts where user_id = a()), '2025-04-01 00:00+00'::timestamptz,
    'when it was'
);
select is(told(a()), 'credits.granted 5', 'nobody is told at midnight to have run dry, whose credits come then');
select is(run(), '1 steps 0 rows 0 failures', 'R07: a second run grants nobody twice');
set local tap.now = '2025-04-01 02:00+00';
select is(run(), '1 steps 0 rows 0 failures', 'R07: nor does one that comes hours later');
set local tap.now = '2025-04-30 23:59+00';
select is(run(), '1 steps 0 rows 0 failures', 'R08: nor one at the end of the month');
set local tap.now = '2025-05-01 00:00:01+00';
select is(
    run(1), '6 steps 5 rows 0 failures',
    'R08: two seconds later it is another month; one by one, all are visited'
);
select is(granted(u), '2025-03 5, 2025-04 5, 2025-05 5', 'and once: ' || right(u::text, 1)) from users() u;

-- Who is due is seen before it is locked.
set local tap.now = '2025-06-01 00:00+00';
select is(
    (billing.grant_monthly_credits(p_limit => 1, p_after => (billing.grant_monthly_credits(p_limit => 2)).next)).rows,
    1::bigint, 'a batch goes on after the one before'
);
select billing.change_tier(admin(), e(), 'forever', 'r') \g /dev/null
select is(run(), '1 steps 1 rows 0 failures', 'whoever was granted by something else meanwhile is not granted again');
select is(
    (billing.grant_monthly_credits(p_after => '{"granted_through": "2025-06-01", "user_id": null}')).rows, 0::bigint,
    'none is due twice'
);

-- Missed months.

create function late() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000e1'::uuid$$;
create function owing() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000e2'::uuid$$;
set local tap.now = '2025-06-10 12:00+00';
select billing.open_account(late(), 'forever') \g /dev/null
select billing.open_account(owing()) \g /dev/null
set local tap.now = '2025-09-15 12:00+00';
select is(
    (select array_agg(x.rows) from billing.grant_monthly_credits('2025-06-30 23:59+00') x), array[0::bigint],
    'as of a month that was granted nobody is due'
);
select is(run(50, '2025-07-20 00:00+00'), '1 steps 7 rows 0 failures', 'as of a month gone by, those who missed it');
select is(granted(late()), '2025-06 20, 2025-07 20', 'and they get nothing of a later month');
select is(
    (select granted_through from billing.credit_accounts where user_id = late()), '2025-07-01'::date, 'until it runs again'
);
update billing.credit_accounts set debt = 3 where user_id = owing();
select is(run(2), '4 steps 7 rows 0 failures', 'the next run catches all up');
select is(
    granted(late()), '2025-06 20, 2025-07 20, 2025-08 20, 2025-09 20',
    'R09: every month that was missed is granted, once'
);
select is(balance(late()), 80.0, 'credits that never expire add up');
select is(
    granted(owing()), '2025-06 5, 2025-09 5', 'a caught-up lot that would have expired already is skipped'
);
select rows_are(
    'select balance, debt from billing.credit_accounts where user_id = owing()', 'values (2, 0)',
    'debt is repaid from what comes'
);
select rows_are(
    $$select type, amount from billing.credit_ledger where user_id = owing() order by entry_no desc limit 2$$,
    $$values ('debt_repayment', -3::numeric), ('tier_grant', 5)$$, 'and visibly'
);
select rows_are(
    $$select expires_at from billing.credit_grants where user_id = owing() and reference_id = '2025-09'$$,
    $$values ('2025-10-01 00:00+00'::timestamptz)$$,
    'a lot expires a month after the period began, not after the job ran'
);
select throws_ok(
    format('select billing.grant_monthly_credits(%L)', at), 'UC422', 'time_lies_ahead', 'not before its time: ' || at
)
from unnest(array['2025-09-15 12:00:00.000001+00', '2025-10-01 00:00+00', 'infinity']) at;
select throws_ok(
    format('select billing.grant_monthly_credits(p_limit => %s)', page), 'UC422', 'limit_out_of_range', 'a batch of ' || page
)
from unnest(array['0', '501', 'null']) page;

-- Who is passed over.

create function frozen() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000f1'::uuid$$;
create function closed() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000f2'::uuid$$;
create function overdue() returns uuid immutable language sql as
$$select '00000000-0000-0000-0000-0000000000f3'::uuid$$;
create function yearly() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000f4'::uuid$$;
select billing.open_account(u, 'forever') from unnest(array[frozen(), closed()]) u \g /dev/null
select billing.open_account(u) from unnest(array[overdue(), yearly()]) u \g /dev/null
select customer(overdue(), 'cus_overdue') \g /dev/null
select customer(yearly(), 'cus_yearly') \g /dev/null
select billing.record_stripe_object(
    stripe_subscription('sub_overdue', 'cus_overdue', 'tier_2_20', 'active', '2025-09-01', '2025-10-01')
) \g /dev/null
select billing.record_stripe_object(
    stripe_subscription('sub_yearly', 'cus_yearly', 'tier_2_20', 'active', '2025-09-01', '2026-09-01', 'year')
) \g /dev/null
select billing.set_account_status(admin(), frozen(), 'frozen', 'r') \g /dev/null
select billing.set_account_status(admin(), closed(), 'closed', 'r') \g /dev/null
set local tap.now = '2025-10-01 00:00+00';
select billing.record_stripe_object(
    stripe_subscription('sub_overdue', 'cus_overdue', 'tier_2_20', 'past_due', '2025-10-01', '2025-11-01')
) \g /dev/null
set local tap.now = '2025-11-01 00:00+00';
select is(run(1), '10 steps 8 rows 0 failures', 'one whose payment is overdue is seen, but not granted');
select is(granted(overdue()), '2025-09 5, 2025-09 20', 'nothing while it is overdue');
select is(granted(frozen()), '2025-09 20', 'nothing while it is frozen');
select is(granted(closed()), '2025-09 20', 'nothing while it is closed');
select is(
    granted(yearly()), '2025-09 5, 2025-09 20, 2025-11 25',
    'R12: who paid for a year gets each month''s credits, as others do'
);
set local tap.now = '2025-12-01 00:00+00';
select is(run(), '1 steps 8 rows 0 failures', 'the next month');
select is(
    granted(yearly()), '2025-09 5, 2025-09 20, 2025-11 25, 2025-12 25', 'R12: and never twelve at once'
);
select billing.set_account_status(admin(), u, 'active', 'r') from unnest(array[frozen(), closed()]) u \g /dev/null
select is(run(), '1 steps 0 rows 0 failures', 'whoever is active again was granted then');
select is(granted(frozen()), '2025-09 20, 2025-10 20, 2025-11 20, 2025-12 20', 'what was missed while it was frozen');
select is(granted(closed()), '2025-09 20, 2025-12 20', 'but not what it missed while it was closed');

-- Caps, and what is bought.

create function capped() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000c1'::uuid$$;
create function reset() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000c2'::uuid$$;
create function small() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000c3'::uuid$$;
select billing.open_account(capped(), 'capped') \g /dev/null
select billing.open_account(reset(), 'reset') \g /dev/null
select billing.open_account(small(), 'small') \g /dev/null
select buys(capped(), 30, 'pi_c') \g /dev/null
select billing.deduct_credits(capped(), 4) \g /dev/null
select billing.grant_credits(small(), 1, 'promotion', p_expires_at => '2026-01-01 00:00+00') \g /dev/null
set local tap.now = '2026-01-01 00:00+00';
select is(run(), '1 steps 13 rows 0 failures', 'the first month of a year');
select is(
    balance(capped()), 60.0,
    'R29: of 16 unspent credits of the tier 10 stay, 20 come, and the 30 that were bought are all there'
);
select rows_are(
    $$select amount, metadata from billing.credit_ledger where user_id = capped() and type = 'expiry'$$,
    $$values (-6::numeric, '{"rollover_cap": 10}'::jsonb)$$, 'what was over the cap has expired'
);
select is(balance(reset()), 20.0, 'with a cap of 0 all of it does');
select is(told(reset()), 'credits.granted 20', 'and nobody is told to have run dry for it');
select is(
    told(small()), 'credits.granted 1.5, credits.granted 0.5, balance.low 0.5',
    'whose new credits are fewer than the threshold is told of what there is then'
);
set local tap.now = '2026-03-01 00:00+00';
select is(run(), '1 steps 13 rows 0 failures', 'two months at once');
select is(balance(reset()), 20.0, 'each with its cap');
select is(
    told(reset()), 'credits.granted 20, credits.granted 20, credits.granted 20',
    'nor is anybody told so for months that are caught up'
);

-- One that cannot be granted keeps nobody waiting.

update billing.credit_accounts set balance = 1000000000000000 where user_id = late();
set local tap.now = '2026-04-01 00:00+00';
select is(
    run(3), '5 steps 12 rows 1 failures User 00000000-0000-0000-0000-0000000000e1: amount_too_large',
    'R09: one account that cannot be granted is counted and named, and the others are'
);
select is(granted(late()) ~ '2026-04', false, 'nothing of it is booked');
update billing.credit_accounts a
set balance = (select sum(amount) from billing.credit_ledger where user_id = a.user_id)
where user_id = late();
select is(run(), '1 steps 1 rows 0 failures', 'when it is mended, the next run grants it');
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
