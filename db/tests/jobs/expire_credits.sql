-- Credits that have expired are booked as that, in batches; whoever is owed a month's credits gets them with it.
\ir ../setup.psql

create function run(p_limit int default 50, p_at timestamptz default null) returns text language plpgsql as $$
declare
    v_step  billing.job_step;
    v_steps int := 0;
    v_rows  bigint := 0;
begin
    loop
        v_step := billing.expire_credits(p_at, p_limit, v_step.next);
        v_steps := v_steps + 1;
        v_rows := v_rows + v_step.rows;
        exit when v_step.next is null;
    end loop;
    return concat_ws(' ', v_steps, 'steps', v_rows, 'rows', v_step.failures, v_step.error);
end
$$;
create function expired(p_user_id uuid) returns text language sql as $$
    select string_agg(trim_scale(amount)::text, ' ' order by entry_no)
    from billing.credit_ledger where user_id = p_user_id and type = 'expiry'
$$;
insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, can_purchase_credits, rank)
values ('none', 'None', 0, 0, false, 100);
select billing.open_account(u, 'none') from unnest(array[a(), b(), c(), d()]) u \g /dev/null
select billing.grant_credits(u, 3, 'promotion', p_expires_at => '2025-03-11 12:00+00')
from unnest(array[a(), b(), c()]) u \g /dev/null
select billing.grant_credits(u, 10, 'promotion') from unnest(array[a(), d()]) u \g /dev/null
select billing.grant_credits(c(), 1, 'promotion', p_expires_at => '2025-03-12 12:00+00') \g /dev/null
select billing.deduct_credits(a(), 1) \g /dev/null
select billing.hold_credits(b(), 2, '2 days') \g /dev/null

select is(run(), '1 steps 0 rows 0', 'nothing is due');
set local tap.now = '2025-03-11 11:59:59.999999+00';
select is(run(), '1 steps 0 rows 0', 'not before its time');
set local tap.now = '2025-03-11 12:00+00';
select is(run(2, '2025-03-11 11:59+00'), '1 steps 0 rows 0', 'nor as of before its time');
select is((billing.check_credits(c(), 2)).can_run, false, 'R25: what has expired cannot be spent before the job runs');
select is(run(1), '4 steps 3 rows 0', 'then every account of which a lot has ended, one by one');
select is(expired(a()), '-2', 'what was left of it');
select is((select balance from billing.credit_accounts where user_id = a()), 10.0, 'R25: and nothing that was to stay');
select is(expired(b()), '-1', 'not what a hold needs');
select is(expired(c()), '-3', 'nor a lot that ends later');
select is(expired(d()), null, 'an account without expiring credits is not touched');
select is(run(), '1 steps 0 rows 0', 'a second run finds nothing');
select rows_are(
    $$select event_no, kind, payload ->> 'balance' from billing.billing_events where user_id = b() order by event_no$$,
    $$values (1, 'credits.granted', '3')$$, 'above the threshold nothing is told'
);
set local tap.now = '2025-03-12 12:00+00';
select is(run(), '1 steps 2 rows 0', 'a hold that has ended is due as well');
select is(expired(b()), '-1 -2', 'what it kept expires with it');
select rows_are(
    $$
    select event_no, kind, payload ->> 'balance', payload ->> 'threshold'
    from billing.billing_events where user_id = c() and event_no > 2 order by event_no
    $$,
    $$values (3, 'balance.low', '0', '1'), (4, 'balance.depleted', '0', '0.01')$$,
    'an expiry that is a crossing is told, once'
);

-- At the turn of the month.

select billing.open_account(u) from unnest(array[e(), nobody()]) u \g /dev/null
select billing.bootstrap_super_admin(admin()) \g /dev/null
select billing.set_account_status(admin(), nobody(), 'frozen', 'r') \g /dev/null
set local tap.now = '2025-04-01 00:00+00';
select is(run(), '1 steps 2 rows 0', 'month''s credits have ended');
select rows_are(
    $$select type, amount from billing.credit_ledger where user_id = e() order by entry_no$$,
    $$values ('tier_grant', 5::numeric), ('expiry', -5), ('tier_grant', 5)$$, 'and the next ones come with it'
);
select rows_are(
    $$select kind, payload ->> 'balance' from billing.billing_events where user_id = e() and event_no > 1$$,
    $$values ('credits.granted', '5')$$, 'so that nobody is told at midnight to have run dry'
);
select is(expired(nobody()), '-5', 'a frozen account''s expire, and no others come');
select is((billing.grant_monthly_credits()).rows, 4::bigint, 'those who were granted with it are not granted again');

-- One that cannot be settled keeps nobody waiting.

select is_empty('select * from billing.verify_ledger()', 'all of it verifies');
select billing.grant_credits(u, 1, 'promotion', p_expires_at => '2025-05-01 00:00+00')
from unnest(array[b(), c()]) u \g /dev/null
update billing.credit_accounts set balance = 1000000000000000, tier = 'tier_2_20' where user_id = e();
set local tap.now = '2025-05-01 00:00+00';
select rows_are(
    'select rows, failures, error, next from billing.expire_credits()',
    format($$values (2, 1, 'User %s: amount_too_large', null::jsonb)$$, e()), 'it is counted and named'
);
select is(
    (select next_expiry_at from billing.credit_accounts where user_id = e()), '2025-05-01 00:00+00'::timestamptz,
    'and stays due'
);
select throws_ok(
    format('select billing.expire_credits(%L)', at), 'UC422', 'time_lies_ahead', 'not before its time: ' || at
)
from unnest(array['2025-05-01 00:00:00.000001+00', 'infinity']) at;
select throws_ok(
    format('select billing.expire_credits(p_limit => %s)', page), 'UC422', 'limit_out_of_range', 'a batch of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
