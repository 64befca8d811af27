-- Whether an account could spend an amount at this moment, told without writing anything.
\ir ../setup.psql

select billing.bootstrap_super_admin(admin()) \g /dev/null
select billing.open_account(a()) \g /dev/null

select is(billing.check_credits(a()), (true, 5, 5, 'free', 'OK')::billing.credit_check, 'a cent, unless an amount is asked');
select is(
    billing.check_credits(a(), 5), (true, 5, 5, 'free', 'OK')::billing.credit_check, 'all that there is can be spent'
);
select is(
    billing.check_credits(a(), 5.000000001),
    (false, 5, 5, 'free', '5.000000001 credits needed, 5.00 available.')::billing.credit_check, 'and not more'
);
select billing.deduct_credits(a(), 4.995) \g /dev/null
select is((billing.check_credits(a())).can_run, false, 'the default is 0.01');
select is((billing.check_credits(a(), 0.005)).can_run, true, 'less can still be spent');

select billing.grant_credits(a(), 10, 'promotion') \g /dev/null
select billing.hold_credits(a(), 9) \g /dev/null
select is(
    billing.check_credits(a(), 1.005), (true, 10.005, 1.005, 'free', 'OK')::billing.credit_check,
    'what is held is not available'
);
select is((billing.check_credits(a(), 1.005000001)).can_run, false, 'to the ninth place');
select is((select count(*) from billing.credit_ledger where user_id = a()), 3::bigint, 'a check leaves no entry');
select is((select held from billing.credit_accounts where user_id = a()), 9::numeric, 'and reserves nothing');

set local tap.now = '2025-04-01 00:00+00';
select is(
    billing.check_credits(a(), 10), (true, 10, 10, 'free', 'OK')::billing.credit_check,
    'R25: expired credits do not count, an overdue hold does not either'
);
select is(
    billing.check_credits(a(), 15), (true, 15, 15, 'free', 'OK')::billing.credit_check,
    'what the month owes, and the job has not come to, counts where it is needed'
);
select is((billing.check_credits(a(), 15.000000001)).can_run, false, 'and no more than that');
-- As if the job had been there, and its credits were spent.
update billing.credit_accounts set granted_through = '2025-04-01';
select is((billing.check_credits(a(), 10.000000001)).can_run, false, 'R25: not even for the last fraction');

select billing.open_account(c()) \g /dev/null
set local tap.now = '2025-05-01 00:00+00';
update billing.credit_accounts set granted_through = '2025-05-01';
select is(
    billing.check_credits(c(), 0.01), (false, 0, 0, 'free', '0.01 credits needed, 0.00 available.')::billing.credit_check,
    'R25: what has expired is not spendable, though nothing has swept it yet'
);
set local tap.now = '2025-04-01 00:00+00';

select billing.set_account_status(admin(), a(), 'frozen', 'r') \g /dev/null
select is(
    billing.check_credits(a(), 1), (false, 10, 10, 'free', 'The account is frozen.')::billing.credit_check,
    'a frozen account cannot spend'
);
select billing.set_account_status(admin(), a(), 'closed', 'r') \g /dev/null
select is(
    billing.check_credits(a(), 1), (false, 10, 10, 'free', 'The account is closed.')::billing.credit_check,
    'nor a closed one'
);

select throws_ok('select billing.check_credits(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null', 'UC400', 'invalid_request'),
    ('a(), null', 'UC400', 'invalid_request'),
    ('b()', 'UC404', 'account_not_found'),
    ('a(), 0', 'UC422', 'amount_not_positive'),
    ('a(), -1', 'UC422', 'amount_not_positive'),
    ('a(), 0.0000000001', 'UC422', 'amount_too_precise'),
    ('a(), 1000000000000.000000001', 'UC422', 'amount_too_large'),
    ('a(), ''NaN''', 'UC422', 'amount_too_large'),
    ('a(), ''infinity''', 'UC422', 'amount_too_large')
) c (arguments, code, name);

select * from finish();
rollback;
