-- The ledger of an account, the newest first, page by page, all of it or one type, one reference, one stretch of time.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
select billing.open_account(b()) \g /dev/null
select billing.deduct_credits(a(), 1, 'd', 't', 'i', 'k', '{"x": 1}') \g /dev/null
select billing.grant_credits(a(), 10, 'promotion') \g /dev/null
select billing.deduct_credits(a(), 1000) \g /dev/null
select billing.deduct_credits(b(), 1) \g /dev/null

select rows_are(
    $$
    select user_id, type, amount, balance_after, description, reference_type, reference_id, idempotency_key, metadata, actor,
        created_at, grant_no, reversed_entry_no, length(entry_hash)
    from billing.list_entries(a()) where entry_no = 2
    $$,
    $$
    values (a(), 'usage', -1, 4, 'd', 't', 'i', 'k', '{"x": 1}'::jsonb, null, '2025-03-10 12:00+00'::timestamptz, null,
        null, 64)
    $$,
    'an entry with everything'
);
create function told(
    p_before bigint default null, p_limit int default 50, p_type text default null, p_reference_id text default null,
    p_from timestamptz default null, p_to timestamptz default null
)
returns text language sql as $$
    select coalesce(string_agg(entry_no::text, ' '), '')
    from billing.list_entries(a(), p_before, p_limit, p_type, p_reference_id, p_from, p_to)
$$;
select is(told(), '4 3 2 1', 'the newest first');
select is(told(p_limit => 2), '4 3', 'a page');
select is(told(3, 2), '2 1', 'and the next');
select is(told(1), '', 'before the first there is none');
select is(told(0), '', 'nor before that');
select is(told(p_type => 'usage'), '4 2', 'one type');
select is(told(4, 1, 'usage'), '2', 'paged');
select is(told(p_type => 'adjustment'), '3', 'another one');
select is(told(3, 50, 'adjustment'), '', 'before it there is none');
select is(
    (select bool_and(e.entry_hash = encode(l.entry_hash, 'hex')) from billing.list_entries(a()) e
        join billing.credit_ledger l on l.user_id = a() and l.entry_no = e.entry_no), true, 'the hash is hexadecimal'
);

-- By reference and by time.
set local tap.now = '2025-03-10 13:00+00';
select billing.deduct_credits(a(), 1, p_reference_id => 'i') \g /dev/null
select billing.grant_credits(a(), 1, 'promotion', p_reference_id => 'i') \g /dev/null
select billing.deduct_credits(b(), 1, p_reference_id => 'i') \g /dev/null
set local tap.now = '2025-03-10 14:00+00';
select billing.deduct_credits(a(), 1, p_reference_id => 'j') \g /dev/null
select is(told(p_reference_id => 'i'), '6 5 2', 'of one reference, and of this account alone');
select is(told(5, p_reference_id => 'i'), '2', 'before an entry');
select is(told(p_limit => 2, p_reference_id => 'i'), '6 5', 'a page');
select is(told(p_type => 'usage', p_reference_id => 'i'), '5 2', 'usage of it');
select is(told(p_type => 'adjustment', p_reference_id => 'i'), '6', 'another type of it');
select is(told(p_reference_id => 'I'), '', 'as it is written');
select is(told(p_from => '2025-03-10 13:00+00'), '7 6 5', 'from a time on');
select is(told(p_from => '2025-03-10 13:00:00.000001+00'), '7', 'which is the first moment');
select is(told(p_to => '2025-03-10 13:00+00'), '4 3 2 1', 'until before a time');
select is(told(p_to => '2025-03-10 13:00:00.000001+00'), '6 5 4 3 2 1', 'which is the first moment no more');
select is(told(4, p_to => '2025-03-10 13:00:00.000001+00'), '3 2 1', 'paged');
select is(told(p_from => '2025-03-10 12:30+00', p_to => '2025-03-10 13:30+00'), '6 5', 'between two times');
select is(told(null, 1, 'usage', 'i', '2025-03-10 12:00+00', '2025-03-10 13:00+00'), '2', 'by all of it');
select is(told(p_type => 'adjustment', p_from => '2025-03-10 13:00+00'), '6', 'a rare type from a time on');
select is(told(p_from => '2025-03-11 00:00+00'), '', 'later than the last');
select is(told(p_to => '2025-03-10 11:00+00'), '', 'earlier than the first');

-- Enough entries for the planner to have a choice.
select count(*) from generate_series(1, 3000) n cross join lateral billing.deduct_credits(
    a(), 0.0001 * (n / n), p_reference_id => case when n = 1500 then 'rare' else 'busy' end
) \g /dev/null
set local role billing_owner;
analyze billing.credit_ledger;
reset role;
-- Beside the account's row, of which this transaction leaves many versions.
create temp table beside as select pages_read('select billing_private.read_account(a())') as pages;
select cmp_ok(
    pages_read('select billing.list_entries(a(), null, 50, ''tier_grant'')') - pages, '<', 20,
    'R32: a page of a rare type reads no more than it shows'
) from beside;
select cmp_ok(
    pages_read('select billing.list_entries(a(), 1500)') - pages, '<', 20, 'R32: nor does one in the middle'
) from beside;

select cmp_ok(
    pages_read(format('select billing.list_entries(a(), p_limit => 10, p_reference_id => %L)', reference)) - pages,
    '<', 20, 'nor one of a reference: ' || reference
) from beside, unnest(array['busy', 'rare', 'none']) reference;
select cmp_ok(
    pages_read($$select billing.list_entries(a(), null, 50, 'tier_grant', 'busy')$$) - pages, '<', 20,
    'nor one of a rare type and a reference of many entries'
) from beside;
select cmp_ok(
    pages_read($$select billing.list_entries(a(), p_from => '2025-03-10 13:00+00', p_to => '2025-03-10 13:30+00')$$)
        - pages, '<', 120, 'nor one of a time, but for finding the entry of that time'
) from beside;

select throws_ok('select billing.list_entries(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null', 'UC400', 'invalid_request'),
    ('a(), null, 50, ''gift''', 'UC400', 'invalid_request'),
    ('a(), p_from => now(), p_to => now()', 'UC400', 'invalid_request'),
    ('nobody()', 'UC404', 'account_not_found'),
    ('a(), null, 0', 'UC422', 'limit_out_of_range'),
    ('a(), null, 501', 'UC422', 'limit_out_of_range'),
    ('a(), null, null', 'UC422', 'limit_out_of_range')
) c (arguments, code, name);

select * from finish();
rollback;
