-- A sync is a reading at Stripe: one that nobody has begun serves all who ask, one that has begun may be too early.
\ir ../payments.psql

select billing.open_account(u) from unnest(array[a(), b()]) u \g /dev/null
create temp table syncs (step text, call_id uuid);
create function sync(p_step text, p_user_id uuid default a()) returns void language sql as
$$insert into syncs select p_step, (billing.request_sync(p_user_id)).call_id$$;
create function id(p_step text) returns uuid language sql as 'select call_id from syncs where step = p_step';

select sync('first') \g /dev/null
select rows_are(
    'select call_id, user_id, kind, subject_id, request, status, next_attempt_at from billing.stripe_calls',
    $$
    values (
        id('first'), a(), 'subscriptions', a()::text, '{}'::jsonb, 'pending', '2025-03-10 12:00:30+00'::timestamptz
    )
    $$,
    'a sync is a call that reads'
);
select rows_are(
    'select user_id, stripe_subscription_id, tier, status, call_id from billing.request_sync(a())',
    $$values (a(), null, 'free', 'none', id('first'))$$, 'the answer is what is known, and the call'
);
select sync('same') \g /dev/null
select is(id('same'), id('first'), 'while nobody has claimed it, it is one for all');
select sync('other', b()) \g /dev/null
select isnt(id('other'), id('first'), 'of a user');
select billing.claim_stripe_call(id('first')) \g /dev/null
select sync('second') \g /dev/null
select isnt(id('second'), id('first'), 'one that has begun may not see what there is to see by now');
select sync('third') \g /dev/null
select is(id('third'), id('second'), 'the next one will');
select billing.postpone_stripe_call(id('first'), 'a time-out') \g /dev/null
select billing.claim_stripe_call(id('second')) \g /dev/null
select billing.finish_stripe_call(id('second'), '{"data": []}') \g /dev/null
select sync('fourth') \g /dev/null
select isnt(id('fourth'), id('first'), 'one that was tried does not count, even when nobody has it now');
select is(
    (select count(*) from billing.stripe_calls where user_id = a() and status = 'pending'), 2::bigint,
    'it is tried again all the same'
);

select throws_ok('select billing.request_sync(' || user_id || ')', code, name, user_id)
from (values ('null', 'UC400', 'invalid_request'), ('nobody()', 'UC404', 'account_not_found')) c (user_id, code, name);

select * from finish();
rollback;
