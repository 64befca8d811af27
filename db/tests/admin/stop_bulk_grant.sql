-- What waits is withdrawn, and what is granted stays.
\ir ../bulk.psql

create function change(p_actor uuid default admin()) returns text language sql as $$
    select concat_ws(' ', success, reason, name, added, changed, unchanged, withdrawn, pending)
    from billing.stop_bulk_grant(p_actor, bulk(), 'the wrong file')
$$;
select billing.begin_bulk_grant(admin(), 'March', file(line(a(), '1'), line(b(), '2'), line(c(), '3')), 'r') \g /dev/null
select billing.run_bulk_grant(admin(), bulk(), 1) \g /dev/null
select is(change(a()), 'f not_an_admin March 0 0 0 0 2', 'a user is no admin');
select is(stored(), 'a 1 granted, b 2 pending, c 3 pending', 'and changes nothing');
select is(change(chief()), 't March 0 0 0 2 0', 'any admin is');
select is(stored(), 'a 1 granted, b 2 refused withdrawn, c 3 refused withdrawn', 'two rows are withdrawn');
select is(
    (select string_agg(distinct decided_by::text, ' ') from billing.bulk_grant_rows where refusal = 'withdrawn'), chief()::text, 'by whom, they tell'
);
select is((billing.run_bulk_grant(admin(), bulk())).granted, 0::bigint, 'nothing of them is granted');
select is(change(), 't March 0 0 0 0 0', 'again, there is nothing to withdraw');
select is(
    (select string_agg(concat_ws(' ', outcome, reason, details ->> 'withdrawn'), ', ' order by outcome, details ->> 'withdrawn')
        from billing.admin_actions_log where action = 'stop_bulk_grant'),
    'done the wrong file 2, done the wrong file, not_an_admin the wrong file', 'all of it is logged'
);
select throws_ok(format('select billing.stop_bulk_grant(%s)', arguments), code, name, name || ': ' || arguments)
from (values
    ('null, bulk(), ''r''', 'UC400', 'invalid_request'), ('admin(), nobody(), ''r''', 'UC404', 'bulk_grant_not_found'),
    ('admin(), bulk(), null', 'UC422', 'reason_required')
) c (arguments, code, name);

select * from finish();
rollback;
