-- A user has one customer at Stripe, wanted once and made once, however often it is asked for.
\ir ../payments.psql

select billing.open_account(a()) \g /dev/null
select billing.open_account(b()) \g /dev/null
set local role billing_api;
create temp table first as select * from billing.request_customer(a());
select rows_are(
    'select user_id, stripe_customer_id, call_id is not null from first', 'values (a(), null::text, true)',
    'a user who has none is told the call that makes it'
);
select is(
    (select call_id from billing.request_customer(a())), (select call_id from first), 'asked again it is the same call'
);
select isnt(
    (select call_id from billing.request_customer(b())), (select call_id from first), 'another user has another'
);
select rows_are(
    'select kind, subject_id, request, status, look_first from billing.claim_stripe_call((select call_id from first))',
    $$values ('customer', a()::text, jsonb_build_object('user_id', a()), 'pending', false)$$,
    'which says for whom'
);
select is(
    (select call_id from billing.request_customer(a())), (select call_id from first), 'also while somebody performs it'
);
select is(
    (billing.finish_stripe_call((select call_id from first), '{"object": "customer", "id": "cus_a"}')).status, 'done',
    'Stripe has made it'
);
select rows_are(
    'select * from billing.request_customer(a())', $$values (a(), 'cus_a', null::uuid)$$,
    'then the user has a customer, and there is nothing to do'
);
select is(
    (billing.finish_stripe_call((select call_id from first), '{"object": "customer", "id": "cus_2"}')).status, 'done',
    'an answer that comes twice'
);
select is((billing.request_customer(a())).stripe_customer_id, 'cus_a', 'changes nothing');
select is((billing.request_customer(b())).stripe_customer_id, null::text, 'nor does it concern anybody else');

select throws_ok('select billing.request_customer(' || arguments || ')', code, name, name)
from (values ('null', 'UC400', 'invalid_request'), ('nobody()', 'UC404', 'account_not_found')) c (arguments, code, name);
reset role;
select is_empty('select from billing.billing_customers where user_id = nobody()', 'a refused request leaves nothing');
select throws_ok(
    $$update billing.billing_customers set stripe_customer_id = 'cus_a' where user_id = b()$$, '23505', null,
    'a customer is of one user'
);

select * from finish();
rollback;
