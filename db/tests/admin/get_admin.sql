-- An admin, with the limits of the role and what is left of them on this UTC day.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null
update billing.admin_limits set approval_above = 500 where role = 'admin';
create function left_of(p_user uuid default admin()) returns text language sql as
$$select concat_ws(' of ', trim_scale(left_today), trim_scale(max_daily_total)) from billing.get_admin(p_user)$$;

set local role billing_api;
select rows_are(
    'select * from billing.get_admin(admin())',
    $$
    values (
        admin(), 'admin', chief(), '2025-03-10 12:00+00'::timestamptz, 1000::numeric, 5000::numeric, 0::numeric,
        5000::numeric, false, 500::numeric
    )
    $$,
    'an admin, and who made them one'
);
select rows_are(
    'select role, granted_by, can_refund, max_credit_adjustment, left_today from billing.get_admin(chief())',
    $$values ('super_admin', null::uuid, true, 100000::numeric, 500000::numeric)$$, 'the first super admin'
);
select rows_are(
    'select * from billing.get_admin(nobody())',
    $$
    values (
        nobody(), 'user', null::uuid, null::timestamptz, 0::numeric, 0::numeric, 0::numeric, 0::numeric, false,
        null::numeric
    )
    $$,
    'whoever has no role is a user'
);
reset role;

-- The day.

select billing.adjust_credits(admin(), a(), 300.000000001, 'r') \g /dev/null
select billing.adjust_credits(admin(), a(), -300, 'r') \g /dev/null
select is(left_of(), '4399.999999999 of 5000', 'both directions count');
select is((billing.get_admin(admin())).moved_today, 600.000000001, 'as what was moved');
select is(left_of(chief()), '500000 of 500000', 'for nobody else');
set local tap.now = '2025-03-10 23:59:59.999999+00';
set local timezone = 'Asia/Tokyo';
select is(left_of(), '4399.999999999 of 5000', 'until the UTC day ends');
set local tap.now = '2025-03-11 00:00+00';
select is(left_of(), '5000 of 5000', 'the next one begins anew');
reset timezone;
set local tap.now = '2025-03-10 12:00+00';
update billing.user_roles set day = '2025-03-11' where user_id = admin();
select is(left_of(), '4399.999999999 of 5000', 'a day that was begun ahead is the one that counts');
update billing.admin_limits set max_daily_total = 600 where role = 'admin';
select is(left_of(), '0 of 600', 'a limit that was lowered leaves nothing, not less');
update billing.admin_limits set max_daily_total = null where role = 'admin';
select is(left_of(), '', 'no limit for a day leaves no number');
delete from billing.admin_limits where role = 'admin';
select rows_are(
    'select role, max_credit_adjustment, left_today, can_refund from billing.get_admin(admin())',
    $$values ('admin', 0::numeric, 0::numeric, false)$$, 'a role without limits moves nothing'
);
select billing.set_user_role(chief(), admin(), 'user') \g /dev/null
select is((billing.get_admin(admin())).role, 'user', 'an admin of yesterday is a user');
select is((billing.get_admin(null)).role, 'user', 'nobody too');

select * from finish();
rollback;
