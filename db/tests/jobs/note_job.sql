-- What each batch did adds up in the run.
\ir ../setup.psql

select run_id as run from billing.begin_job('expire_credits') \gset
select rows_are(
    format('select outcome, rows, failures, error from billing.note_job(%L, 50)', :'run'), $$values ('running', 50, 0, null)$$,
    'a batch'
);
select rows_are(
    format('select outcome, rows, failures, error from billing.note_job(%L, 7, 2, ''first'')', :'run'),
    $$values ('running', 57, 2, 'first')$$, 'and another, of which two could not be done'
);
select rows_are(
    format('select outcome, rows, failures, error from billing.note_job(%L, null, null, null)', :'run'),
    $$values ('running', 57, 2, 'first')$$, 'nothing is added'
);
select is((billing.note_job(:'run', 0, 1, 'second')).error, E'first\nsecond', 'errors are listed');
select is(length((billing.note_job(:'run', 0, 1, repeat('e', 3000))).error), 2000, 'up to a length');
select is(left((billing.note_job(:'run', 0)).error, 5), 'first', 'the first ones stay');
select billing.end_job(:'run') \g /dev/null
select is((billing.note_job(:'run', 1)).rows, 57::bigint, 'a run that has ended stays as it is');
select is((billing.note_job(nobody(), 1)).run_id, null, 'there is no such run');

select * from finish();
rollback;
