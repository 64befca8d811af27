-- Usage by UTC hour, day, week or month and by model; refusals are counted beside it.
\ir ../setup.psql

select billing.open_account(a(), 'tier_200_1000') \g /dev/null
set local tap.now = '2025-03-10 23:30+00';
select billing.deduct_credits(a(), 1) \g /dev/null
select billing.deduct_tokens(a(), 'gpt-4o', 1000, 100, 200) \g /dev/null
select billing.deduct_tokens(a(), 'gpt-4o', 2000, 200, 0) \g /dev/null
select billing.deduct_credits(a(), 1, p_metadata => '{"model": "mine", "prompt_tokens": "many", "cached_tokens": 1.5}') \g /dev/null
set local tap.now = '2025-03-11 00:30+00';
select billing.deduct_tokens(a(), 'gpt-4o', 10, 0) \g /dev/null
select billing.deduct_credits(a(), 100000) \g /dev/null
select billing.grant_credits(a(), 7, 'promotion') \g /dev/null
select billing.capture_hold(a(), (billing.hold_credits(a(), 2)).hold_id, 2) \g /dev/null
set local tap.now = '2025-03-17 00:00+00';
select billing.deduct_credits(a(), 3) \g /dev/null

set local timezone = 'Asia/Tokyo';
select rows_are(
    $$select * from billing.usage_by(a(), '2025-03-01 00:00+00', '2025-04-01 00:00+00')$$,
    $$
    values
        ('2025-03-10 00:00+00'::timestamptz, 'gpt-4o', 2, 0.015375, 3000, 300, 200, 0),
        ('2025-03-10 00:00+00', 'mine', 1, 1, 0, 0, 0, 0),
        ('2025-03-10 00:00+00', null, 1, 1, 0, 0, 0, 0),
        ('2025-03-11 00:00+00', 'gpt-4o', 1, 0.0000375, 10, 0, 0, 0),
        ('2025-03-11 00:00+00', null, 1, 2, 0, 0, 0, 1),
        ('2025-03-17 00:00+00', null, 1, 3, 0, 0, 0, 0)
    $$,
    'by day: days are UTC''s, and grants are no usage'
);
create function told(p_bucket text, p_from text default '2025-03-01', p_to text default '2025-04-01') returns text
language sql as $$
    select string_agg(to_char(bucket at time zone 'UTC', 'DD.HH24') || ' ' || calls, ', ' order by bucket)
    from (
        select bucket, sum(calls) as calls
        from billing.usage_by(a(), p_from::timestamp at time zone 'UTC', p_to::timestamp at time zone 'UTC', p_bucket)
        group by bucket
    ) b
$$;
select is(told('hour'), '10.23 4, 11.00 2, 17.00 1', 'by hour');
select is(told('week'), '10.00 6, 17.00 1', 'by week, from Monday');
select is(told('month'), '01.00 7', 'by month');
select is(told('day', '2025-03-10 23:30', '2025-03-17'), '10.00 4, 11.00 2', 'from a time until before a time');
select is(told('day', '2025-03-10 23:30:00.000001', '2025-03-17 00:00:00.000001'), '11.00 2, 17.00 1', 'to the microsecond');
select is(told('day', '2024-01-01', '2025-01-01'), null, 'nothing before there was an account');

select billing.open_account(b()) \g /dev/null
select billing.deduct_credits(b(), 100) \g /dev/null
select rows_are(
    $$select * from billing.usage_by(b(), '2025-03-01', '2025-04-01', 'month')$$,
    $$values ('2025-03-01 00:00+00'::timestamptz, null, 0, 0, 0, 0, 0, 1)$$,
    'a stretch of refusals alone has zeros, not nulls'
);

select billing.open_account(c()) \g /dev/null
select billing.deduct_credits(c(), 0.1, p_metadata => '{"model": "m", "prompt_tokens": 999999999999999999}')
from generate_series(1, 12) \g /dev/null
select is(
    (select (calls, prompt_tokens)::text from billing.usage_by(c(), '2025-03-01', '2025-04-01')), '(12,0)',
    'absurd counts in an application''s metadata are nothing, and no sum of them fails'
);

select throws_ok('select billing.usage_by(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null, ''2025-03-01'', ''2025-04-01''', 'UC400', 'invalid_request'),
    ('a(), null, ''2025-04-01''', 'UC400', 'invalid_request'),
    ('a(), ''2025-03-01'', null', 'UC400', 'invalid_request'),
    ('a(), ''2025-03-01'', ''2025-03-01''', 'UC400', 'invalid_request'),
    ('a(), ''2025-03-01'', ''2025-04-01'', ''year''', 'UC400', 'invalid_request'),
    ('a(), ''2025-03-01'', ''2025-04-01'', null', 'UC400', 'invalid_request'),
    ('nobody(), ''2025-03-01'', ''2025-04-01''', 'UC404', 'account_not_found')
) c (arguments, code, name);

select * from finish();
rollback;
