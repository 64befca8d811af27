-- An account at a glance: what it holds, what was granted and spent, by UTC day and month, as if settled.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
set local tap.now = '2025-03-10 12:00+00';
select billing.open_account(a(), 'tier_2_20') \g /dev/null
select billing.grant_credits(a(), 10, 'promotion') \g /dev/null
select billing.deduct_credits(a(), 1) \g /dev/null
set local tap.now = '2025-03-31 23:59:59+00';
select billing.deduct_credits(a(), 2) \g /dev/null
select billing.deduct_credits(a(), 1000) \g /dev/null

select is(
    billing.account_summary(a()),
    (
        a(), 'tier_2_20', 'active', 'user', 32, 0, 32, 0, 35, 3, 2, 3, 2, 0, '2025-04-01 00:00+00',
        '2025-03-10 12:00+00', 5, '2025-03-10 12:00+00', '2025-03-31 23:59:59+00', 0, 0, 0
    )::billing.account_summary,
    'what was spent today and this month'
);
set local timezone = 'Asia/Tokyo';
set local tap.now = '2025-04-01 00:00+00';
select is(
    billing.account_summary(a()),
    (
        a(), 'tier_2_20', 'active', 'user', 10, 0, 10, 0, 35, 3, 0, 0, 1, 0, null, '2025-03-10 12:00+00', 5,
        '2025-03-10 12:00+00', '2025-03-31 23:59:59+00', 0, 22, 0
    )::billing.account_summary,
    'day and month are UTC''s; R25: what has expired is not there'
);
reset timezone;
select billing.deduct_credits(a(), 4) \g /dev/null
select billing.adjust_credits(chief(), a(), -1, 'r') \g /dev/null
select billing.hold_credits(a(), 2) \g /dev/null
select is(
    (
        select (spent_total, spent_today, spent_this_month, balance, held, available, live_grants, active_holds,
            taken_total, expired_total, recovered_total)::text
        from billing.account_summary(a())
    ),
    '(7,4,4,5.00,2,3.00,1,1,1,22.00,0)', 'usage is spent; a negative adjustment is taken, and what expired is neither'
);
set local tap.now = '2025-04-02 00:00+00';
select is(
    (
        select (spent_today, spent_this_month, held, active_holds)::text from billing.account_summary(a())
    ),
    '(0,4,0,0)', 'a day later nothing is spent today, and the hold has ended'
);
select billing.adjust_credits(chief(), a(), -2, 'r') \g /dev/null
select is(
    (select (spent_today, spent_this_month, taken_total)::text from billing.account_summary(a())), '(0,4,3)',
    'what is taken later is taken from no day''s usage'
);
create function says(p_user uuid) returns text language sql as $$
    select concat_ws(
        ' ', trim_scale(granted_total), trim_scale(spent_total), trim_scale(taken_total), trim_scale(expired_total),
        trim_scale(recovered_total), '=', trim_scale(balance),
        case when balance <> granted_total - spent_total - taken_total - expired_total - recovered_total then 'not' end
    )
    from billing.account_summary(p_user)
$$;
select is(says(a()), '35 7 3 22 0 = 3', 'all that was granted is spent, taken, expired, recovered or there');
select billing.reverse_entry(chief(), a(), 7, 'r'), billing.reverse_entry(chief(), a(), 8, 'r') \g /dev/null
select is(says(a()), '40 7 3 22 0 = 8', 'what was reversed stays spent and taken, and was granted again');
update billing.credit_accounts set debt = 2 where user_id = a();
select billing.grant_credits(a(), 5, 'promotion') \g /dev/null
select is(says(a()), '45 7 3 22 2 = 11', 'debt is repaid by what is granted');
select billing.open_account(chief()) \g /dev/null
select is((billing.account_summary(chief())).role, 'super_admin', 'the role');
select throws_ok('select billing.account_summary(null)', 'UC400', 'invalid_request', 'a user must be given');
select throws_ok('select billing.account_summary(nobody())', 'UC404', 'account_not_found', 'the account must exist');

select * from finish();
rollback;
