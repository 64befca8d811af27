-- Without pg_cron there is nothing to schedule, and it says what to do; with it, a real server shows (test_pg_cron.py).
\ir ../setup.psql

set local role billing_api;
select throws_ok(
    'call billing.schedule_jobs()', 'UC409', 'pg_cron_missing', 'pg_cron is not in this database'
);
reset role;

-- What it asks of pg_cron, by tables and functions of the same names and columns. A stand-in: the extension itself is
-- only in the one database that its server names.
create schema cron;
create table cron.job (
    jobid bigint generated always as identity, schedule text, command text, database text default current_database(),
    username text default current_user, active boolean default true, jobname text, unique (jobname, username)
);
create function cron.schedule(p_name text, p_schedule text, p_command text) returns bigint language sql as $$
    insert into cron.job (jobname, schedule, command) values (p_name, p_schedule, p_command)
    on conflict (jobname, username) do update set schedule = excluded.schedule, command = excluded.command
    returning jobid
$$;
create function cron.unschedule(p_name text) returns boolean language sql as $$
    delete from cron.job where jobname = p_name and username = current_user;
    select true
$$;
grant usage on schema cron to billing_api;
grant all on cron.job to billing_api;
insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
values (99999, 'pg_cron', 10, 'cron'::regnamespace, false, '1');

set local role billing_api;
call billing.schedule_jobs();
reset role;
select rows_are(
    'select jobname, schedule, command, username from cron.job order by jobname',
    $$
    select 'billing.' || name, schedule,
        format('call billing.run_job(''%s'', date_trunc(''minute'', now()))', name), 'billing_api'
    from billing.jobs where function is not null order by name
    $$,
    'every job of SQL is scheduled, for whoever called it'
);
insert into cron.job (jobname, schedule, command, username, database)
values ('billing.gone', '* * * * *', 'x', 'billing_api', current_database()),
    ('billing.theirs', '* * * * *', 'x', 'postgres', current_database()),
    ('billing.elsewhere', '* * * * *', 'x', 'billing_api', 'another'),
    ('their_own', '* * * * *', 'x', 'billing_api', current_database());
select billing.set_job('clean_up', false), billing.set_job('expire_credits', p_schedule => '*/5 * * * *') \g /dev/null
set local role billing_api;
call billing.schedule_jobs();
call billing.schedule_jobs();
reset role;
select rows_are(
    $$
    select jobname, schedule from cron.job
    where username = 'billing_api'
        and jobname in ('billing.expire_credits', 'billing.clean_up', 'billing.gone')
    $$,
    $$values ('billing.expire_credits', '*/5 * * * *')$$,
    'what has changed is changed, what is off or gone is unscheduled'
);
select rows_are(
    $$select jobname from cron.job where command = 'x' order by 1$$,
    $$values ('billing.elsewhere'), ('billing.theirs'), ('their_own')$$,
    'what is another''s, or of another database, stays'
);

select * from finish();
rollback;
