-- A job is switched on and off, and its schedule and size are changed; what is not said stays.
\ir ../setup.psql

create function job() returns text language sql as $$
    select concat_ws(' | ', schedule, batch_size, enabled, since at time zone 'UTC') from billing.jobs where name = 'clean_up'
$$;
update billing.jobs set since = '2025-03-01 00:00+00';
select rows_are(
    $$select name, function, schedule, batch_size, enabled from billing.set_job('clean_up')$$,
    $$values ('clean_up', 'clean_up', '45 4 * * *', 500, true)$$, 'the job'
);
select is(job(), '45 4 * * * | 500 | t | 2025-03-01 00:00:00', 'nothing was said, nothing changes');
select is((billing.set_job('clean_up', p_schedule => '0,30 */2 1-7 * 1')).schedule, '0,30 */2 1-7 * 1', 'a schedule');
select is((billing.set_job('clean_up', p_batch_size => 7)).batch_size, 7, 'a size');
select is((billing.set_job('clean_up', p_late_after => '5 days')).late_after, interval '5 days', 'when it is late');
select throws_ok(
    'select billing.set_job(''clean_up'', p_late_after => ''0'')', 'UC422', 'invalid_schedule', 'not at once'
);
select is((billing.set_job('clean_up', true)).enabled, true, 'on, as it was');
select is(job(), '0,30 */2 1-7 * 1 | 7 | t | 2025-03-01 00:00:00', 'each by itself');
select is((billing.set_job('clean_up', false)).enabled, false, 'off');
select is(job(), '0,30 */2 1-7 * 1 | 7 | f | 2025-03-01 00:00:00', 'and nothing else');
select is((billing.set_job('clean_up', true, '1 1 1 1 1', 1)).schedule, '1 1 1 1 1', 'all at once');
select is(job(), '1 1 1 1 1 | 1 | t | 2025-03-10 12:00:00', 'from when it is on it has its time to run');
select throws_ok(
    format('select billing.set_job(%s)', arguments), code, name, name || ': ' || arguments
)
from (values
    ('''make_money'', true', 'UC404', 'job_not_found'),
    ('null, true', 'UC404', 'job_not_found'),
    ('''clean_up'', p_schedule => ''@daily''', 'UC422', 'invalid_schedule'),
    ('''clean_up'', p_schedule => ''* * * *''', 'UC422', 'invalid_schedule'),
    ('''clean_up'', p_schedule => ''''', 'UC422', 'invalid_schedule'),
    ('''clean_up'', p_schedule => ''0 0 1 jan *''', 'UC422', 'invalid_schedule'),
    ('''clean_up'', p_batch_size => 0', 'UC422', 'limit_out_of_range'),
    ('''clean_up'', p_batch_size => 501', 'UC422', 'limit_out_of_range')
) c (arguments, code, name);
select throws_ok(
    format('select billing.set_job(''clean_up'', p_schedule => %L)', schedule), 'UC422', 'invalid_schedule',
    'there is no such time: ' || schedule
)
from unnest(array[
    '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 0 *', '* * * 13 *', '* * * * 8', ', * * * *',
    '1, * * * *', '*/0 * * * *', '1-2-3 * * * *', '* * * * */', '** * * * *'
]) schedule;
select is(job(), '1 1 1 1 1 | 1 | t | 2025-03-10 12:00:00', 'what was refused has changed nothing');
select is((billing.set_job('clean_up', p_schedule => schedule)).schedule, schedule, 'a good one: ' || schedule)
from unnest(array[
    '* * * * *', '0 0 1 * *', '59 23 31 12 7', '*/10 * * * *', '0-30/5,45 0-23 1,15 1-12 0-6', '5 9 * * 1-5'
]) schedule;

select * from finish();
rollback;
