-- A super admin gives and takes roles; the last one stays; every attempt is in the log.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
create function does(p_actor uuid, p_user uuid, p_role text) returns text language sql as $$
    select concat_ws(' ', success, reason, amount, coalesce(entry_no, -1), replayed)
    from billing.set_user_role(p_actor, p_user, p_role, 'a try')
$$;

select is(does(chief(), admin(), 'admin'), 't 0 -1 f', 'a super admin makes an admin');
select is(billing.get_user_role(admin()), 'admin', 'who is one');
select rows_are(
    'select role, granted_by, granted_at from billing.user_roles where user_id = admin()',
    $$values ('admin', chief(), '2025-03-10 12:00+00'::timestamptz)$$, 'by the super admin''s grant'
);
select is(does(admin(), a(), 'admin'), 'f not_a_super_admin 0 -1 f', 'an admin makes no admin');
select is(does(a(), a(), 'super_admin'), 'f not_a_super_admin 0 -1 f', 'nor does a user');
select is(does(admin(), chief(), 'user'), 'f not_a_super_admin 0 -1 f', 'nor takes a role');
select is(does(chief(), chief(), 'admin'), 'f last_super_admin 0 -1 f', 'the last super admin cannot be demoted');
select is(does(chief(), chief(), 'super_admin'), 't 0 -1 f', 'staying one is fine');
select is(does(chief(), b(), 'super_admin'), 't 0 -1 f', 'there can be two');
select is(does(b(), chief(), 'user'), 't 0 -1 f', 'of whom one demotes the other');
select is(does(chief(), b(), 'user'), 'f not_a_super_admin 0 -1 f', 'who then has no say');
select is(does(b(), b(), 'user'), 'f last_super_admin 0 -1 f', 'and the one who is left is the last');
select is((select role from billing.user_roles where user_id = chief()), 'user', 'a refusal changes nothing');

update billing.user_roles set day = '2025-03-10', day_total = 77 where user_id = admin();
select is(does(b(), admin(), 'user'), 't 0 -1 f', 'an admin becomes a user');
select is(does(b(), admin(), 'admin'), 't 0 -1 f', 'and an admin again');
select is(
    (select day_total from billing.user_roles where user_id = admin()), 77::numeric, 'with what was moved on that day'
);
select rows_are(
    $$
    select admin_user_id, target_user_id, amount, outcome, details from billing.admin_actions_log
    where reason = 'a try' and (target_user_id = chief() or admin_user_id = a())
    order by outcome, details::text
    $$,
    $$
    values (chief(), chief(), null::numeric, 'done', '{"before": "super_admin", "after": "super_admin"}'::jsonb),
        (b(), chief(), null, 'done', '{"before": "super_admin", "after": "user"}'),
        (chief(), chief(), null, 'last_super_admin', '{"before": "super_admin", "after": "admin"}'),
        (a(), a(), null, 'not_a_super_admin', '{"before": "user", "after": "super_admin"}'),
        (admin(), chief(), null, 'not_a_super_admin', '{"before": "super_admin", "after": "user"}')
    $$,
    'each is in the log, refused or not'
);
select billing.set_user_role(b(), c(), 'admin') \g /dev/null
select is(
    (select reason from billing.admin_actions_log where target_user_id = c()), 'role set to admin', 'a reason need not be given'
);

select throws_ok('select billing.set_user_role(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, a(), ''admin''', 'UC400', 'invalid_request'),
    ('b(), null, ''admin''', 'UC400', 'invalid_request'),
    ('b(), a(), ''admin'', repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('b(), a(), ''root''', 'UC422', 'unknown_role'),
    ('b(), a(), null', 'UC422', 'unknown_role'),
    ('b(), a(), ''admin'', '' ''', 'UC422', 'reason_required')
) c (arguments, code, name);

select * from finish();
rollback;
