-- Which lots paid for an entry, whether it is settled yet or not.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null
select billing.grant_credits(a(), 10, 'promotion', p_priority => 20) \g /dev/null
select billing.deduct_credits(a(), 3) \g /dev/null
select billing.deduct_credits(a(), 4.000000001) \g /dev/null
select billing.deduct_credits(a(), 1000) \g /dev/null
select billing.adjust_credits(chief(), a(), -1, 'r') \g /dev/null

create function paid(p_entry_no bigint, p_user uuid default a()) returns text language sql as $$
    select coalesce(string_agg(grant_no || ' ' || source || ' ' || trim_scale(amount) || ' ' || priority, ', '), '')
    from billing.entry_funding(p_user, p_entry_no)
$$;
create temp table expected (entry_no bigint, payment text, what text);
insert into expected values
    (3, '1 tier_grant 3 10', 'one lot'),
    (4, '1 tier_grant 2 10, 2 promotion 2.000000001 20', 'two, in the order in which they burn'),
    (1, '', 'a grant has no funding'),
    (5, '', 'nor has a refusal'),
    (6, '2 promotion 1 20', 'a negative adjustment has');
select is(paid(entry_no), payment, 'not settled: ' || what) from expected;
select billing.grant_credits(a(), 1, 'trial_grant', p_priority => 0) \g /dev/null
select is(paid(entry_no), payment, 'settled: ' || what) from expected;
select billing.deduct_credits(a(), 2) \g /dev/null
select is(paid(8), '3 trial_grant 1 0, 2 promotion 1 20', 'usage after a settlement');
select is(paid(4), '1 tier_grant 2 10, 2 promotion 2.000000001 20', 'and before it');
select is(
    (select expires_at from billing.entry_funding(a(), 3)), '2025-04-01 00:00+00', 'with the expiry of the lot'
);

select billing.open_account(b()) \g /dev/null
select billing.deduct_credits(b(), 1) \g /dev/null
set local tap.now = '2025-04-01 00:00+00';
select billing.grant_credits(b(), 3, 'promotion') \g /dev/null
update billing.credit_accounts set debt = 2 where user_id = b();
select billing.grant_credits(b(), 3, 'promotion') \g /dev/null
select is(paid(3, b()), '1 tier_grant 4 10', 'an expiry was taken from the lot that it names');
select is(paid(6, b()), '3 promotion 2 50', 'as was a repayment of debt');

select throws_ok('select billing.entry_funding(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null, 1', 'UC400', 'invalid_request'),
    ('nobody(), 1', 'UC404', 'account_not_found'),
    ('a(), 99', 'UC404', 'entry_not_found'),
    ('a(), 0', 'UC404', 'entry_not_found'),
    ('a(), null', 'UC404', 'entry_not_found')
) c (arguments, code, name);

select * from finish();
rollback;
