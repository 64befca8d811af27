-- What was refused is tried again when an admin says so; what was withdrawn is not.
\ir ../bulk.psql

create function change(p_actor uuid default admin()) returns text language sql as $$
    select concat_ws(' ', success, reason, name, added, changed, unchanged, withdrawn, pending)
    from billing.retry_bulk_grant(p_actor, bulk(), 'opened')
$$;
select billing.begin_bulk_grant(admin(), 'March', file(line(a(), '1'), line(nobody(), '2')), 'r') \g /dev/null
select billing.run_bulk_grant(admin(), bulk()) \g /dev/null
select billing.begin_bulk_grant(admin(), 'March', file(line(b(), '3', '{"row_no": 3}')), 'r') \g /dev/null
select billing.stop_bulk_grant(admin(), bulk(), 'r') \g /dev/null
select is(stored(), 'a 1 granted, f 2 refused account_not_found, b 3 refused withdrawn', 'one of each');
select is(change(a()), 'f not_an_admin March 0 0 0 0 0', 'a user is no admin');
select is(change(), 't March 0 1 0 0 1', 'one row is tried again');
select is(stored(), 'a 1 granted, f 2 pending, b 3 refused withdrawn', 'the refused one');
select rows_are(
    $$
    select target_user_id, admin_user_id, reason, outcome, details ->> 'name', details -> 'changed'
    from billing.admin_actions_log where action = 'retry_bulk_grant' order by outcome
    $$,
    $$
    values ('00000000-0000-0000-0000-000000000000'::uuid, admin(), 'opened', 'done', 'March', '1'::jsonb),
        ('00000000-0000-0000-0000-000000000000', a(), 'opened', 'not_an_admin', 'March', null)
    $$,
    'both are logged'
);
select billing.open_account(nobody()) \g /dev/null
select billing.run_bulk_grant(admin(), bulk()) \g /dev/null
select is(stored(), 'a 1 granted, f 2 granted, b 3 refused withdrawn', 'and granted, since there is an account');
select is(change(), 't March 0 0 0 0 0', 'then there is nothing to try');
select throws_ok(format('select billing.retry_bulk_grant(%s)', arguments), code, name, name || ': ' || arguments)
from (values
    ('null, bulk(), ''r''', 'UC400', 'invalid_request'), ('admin(), null, ''r''', 'UC404', 'bulk_grant_not_found'),
    ('admin(), bulk(), '' ''', 'UC422', 'reason_required')
) c (arguments, code, name);

select * from finish();
rollback;
