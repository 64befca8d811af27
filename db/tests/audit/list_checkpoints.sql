-- Checkpoints, newest first, page by page, with the hash that is to be noted elsewhere.
\ir ../setup.psql

select is_empty('select * from billing.list_checkpoints()', 'before the first verification there is none');
select billing.open_account(u) from unnest(array[a(), b()]) u \g /dev/null
select billing.checkpoint_ledger() \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
update billing.credit_accounts set held = 1 where user_id = a();
select billing.deduct_credits(b(), 1.5) \g /dev/null
select billing.checkpoint_ledger() \g /dev/null
select rows_are(
    'select started_at, finished_at, accounts, entries, balance, findings from billing.list_checkpoints()',
    $$
    values
        ('2025-03-11 12:00+00'::timestamptz, '2025-03-11 12:00+00'::timestamptz, 2, 3, 8.5, 1),
        ('2025-03-10 12:00+00', '2025-03-10 12:00+00', 2, 2, 10, 0)
    $$,
    'what was verified, and how much did not'
);
select rows_are(
    'select checkpoint_id, checkpoint_hash from billing.list_checkpoints()',
    $$
    select checkpoint_id, encode(checkpoint_hash, 'hex') from billing.ledger_checkpoints order by finished_at desc
    $$,
    'the hash in hexadecimal'
);
select rows_are(
    'select accounts, entries from billing.list_checkpoints(p_limit => 1)', 'values (2, 3)', 'a page'
);
select rows_are(
    $$
    select entries from billing.list_checkpoints((select checkpoint_id from billing.list_checkpoints(p_limit => 1)), 5)
    $$,
    'values (2)', 'and the one after it'
);
select throws_ok(
    format('select billing.list_checkpoints(p_limit => %s)', page), 'UC422', 'limit_out_of_range', 'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
