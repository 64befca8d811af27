-- Bought credit is told in the old terms, wherever it is: what is left, what was bought, what was used of it.
\ir ../legacy.psql

create function told(p_user_id uuid) returns text language sql as $$
    select concat_ws(' ', trim_scale(balance), trim_scale(total_purchased), trim_scale(total_used), migrated)
    from billing.legacy_credit_balance(p_user_id)
$$;
select old_user(a()), old_credit(a(), 12.5), old_purchase(a(), 'p1', 10, '2025-01-01 00:00+00'),
    old_purchase(a(), 'p2', 20, '2025-01-02 00:00+00'),
    old_purchase(a(), 'p3', 40, '2025-01-03 00:00+00', 'pending'),
    old_purchase(a(), 'p4', 80, '2025-01-04 00:00+00', 'refunded'),
    old_user(b()), old_credit(b(), 3) \g /dev/null
set local role billing_api;
select is(told(a()), '12.5 30 17.5 f', 'only what was paid was bought');
select is(told(b()), '3 0 0 f', 'credit that was not bought was not used either');
select is(told(nobody()), '0 0 0 f', 'a stranger has none');
select throws_ok('select billing.legacy_credit_balance(null)', 'UC400', 'invalid_request', 'a user must be given');
reset role;
select billing.migrate_users(array[a(), b()]) \g /dev/null
select is(told(a()), '12.5 30 17.5 t', 'here it is the same');
select is(told(b()), '3 0 0 t', 'for everybody');
select billing.deduct_credits(a(), 6) \g /dev/null
select is(told(a()), '11.5 30 18.5 t', 'what is above the month''s credits is paid from it');
select billing.grant_credits(a(), 1, 'promotion'), billing.hold_credits(a(), 2) \g /dev/null
select is(told(a()), '10.5 30 19.5 t', 'promotions are in it, what is held is not');
select billing.legacy_record_purchase(a(), 7, 700, 'pi_7') \g /dev/null
select is(told(a()), '17.5 37 19.5 t', 'and so are later purchases');
select returns(a()) \g /dev/null
select is(told(a()), '19.5 37 17.5 f', 'and back');

select * from finish();
rollback;
