-- A payment counts once, whichever system took it, and its credits are where its user is.
\ir ../legacy.psql

create function pays(p_user_id uuid, p_amount numeric, p_intent_id text, p_cents bigint default null)
returns text language sql as $$
    select concat_ws(' ', trim_scale(amount), price_cents, status, completed_at at time zone 'UTC', migrated, replayed)
    from billing.legacy_record_purchase(p_user_id, p_amount, coalesce(p_cents, p_amount * 100)::bigint, p_intent_id)
$$;
select old_user(a()), old_purchase(a(), 'open', 5, '2025-03-01 00:00+00', 'pending'),
    old_purchase(a(), 'failed', 6, '2025-03-01 00:00+00', 'failed'),
    old_purchase(a(), 'refunded', 7, '2025-03-01 00:00+00', 'refunded'),
    old_purchase(a(), 'open2', 8, '2025-03-01 00:00+00', 'pending'),
    old_purchase(a(), 'failed2', 9, '2025-03-01 00:00+00', 'failed') \g /dev/null

-- There.

set local role billing_api;
select is(pays(a(), 10, 'pi_1'), '10 1000 completed 2025-03-10 12:00:00 f f', 'a payment is a purchase');
select is(old_state(a()), 'free 5 0 5 10 there', 'and credit');
select is(pays(a(), 10, 'pi_1'), '10 1000 completed 2025-03-10 12:00:00 f t', 'R14: told again, it is told');
select is(pays(a(), 10.000, 'pi_1'), '10 1000 completed 2025-03-10 12:00:00 f t', 'however it is written');
select is(pays(a(), 5, 'pi_open'), '5 500 completed 2025-03-10 12:00:00 f f', 'one that was open is paid');
select is(pays(a(), 6, 'pi_failed'), '6 600 completed 2025-03-10 12:00:00 f f', 'so is one that had failed');
select is(pays(a(), 7, 'pi_refunded'), '7 700 refunded f t', 'but not one whose money went back');
select is(old_state(a()), 'free 5 0 5 21 there', 'each counts once');
reset role;
select is((select count(*) from legacy_billing.purchases where user_id = a()), 6::bigint, 'as one purchase');
set local role billing_api;
select throws_ok(format('select billing.legacy_record_purchase(%s)', arguments), 'UC409', name, 'not ' || arguments)
from (values
    ('a(), 11, 1000, ''pi_1''', 'idempotency_key_reused'), ('a(), 10, 1001, ''pi_1''', 'idempotency_key_reused'),
    ('a(), 9, 800, ''pi_open2''', 'idempotency_key_reused'), ('b(), 10, 1000, ''pi_1''', 'payment_mismatch')
) c (arguments, name);
reset role;
select old_user(e()), old_purchase(e(), 'again', 4, '2025-03-01 00:00+00', 'failed'),
    old_purchase(e(), 'paid', 4, '2025-03-02 00:00+00') \g /dev/null
update legacy_billing.purchases set stripe_payment_intent_id = 'pi_e' where user_id = e();
set local role billing_api;
select is(
    pays(e(), 4, 'pi_e'), '4 400 completed 2025-03-02 00:00:00 f t',
    'R06: one that was paid counts, not a row that failed'
);
select is(pays(c(), 3, 'pi_c'), '3 300 completed 2025-03-10 12:00:00 f f', 'a stranger becomes a customer');
select is(old_state(c()), 'free 5 0 5 3 there', 'with credit');

-- Here.

reset role;
select billing.migrate_users(array[a(), b()]) \g /dev/null
set local role billing_api;
select is(
    pays(a(), 10, 'pi_1'), '10 1000 completed 2025-03-10 12:00:00 t t',
    'R14: what the old system took is not granted again'
);
set local tap.now = '2025-03-11 12:00+00';
select is(pays(a(), 8, 'pi_open2'), '8 800 completed 2025-03-11 12:00:00 t f', 'one that was open is granted here');
select is(pays(a(), 9, 'pi_failed2'), '9 900 completed 2025-03-11 12:00:00 t f', 'so is one that had failed');
select is(pays(a(), 20, 'pi_2', 1999), '20 1999 completed 2025-03-11 12:00:00 t f', 'and one that is new');
select is(pays(a(), 20, 'pi_2', 1999), '20 1999 completed 2025-03-11 12:00:00 t t', 'R14: once');
select is(pays(a(), 7, 'pi_refunded'), '7 700 refunded t t', 'but none whose money went back');
reset role;
select is(account(a()), 'free active 63 0', 'the account has it');
select rows_are(
    $$
    select legacy_purchase_id, kind, amount, price_cents, status, completed_at from billing.credit_purchases
    where user_id = a() and stripe_payment_intent_id in ('pi_open2', 'pi_2') order by amount
    $$,
    $$
    values ('open2', 'migration', 8, 800, 'paid', '2025-03-11 12:00+00'::timestamptz),
        (null, 'migration', 20, 1999, 'paid', '2025-03-11 12:00+00')
    $$,
    'one that the old system knew keeps its row'
);
select rows_are(
    $$
    select p.payment_intent_id, p.amount_cents, p.bought, g.remaining
    from billing.billing_payments p join billing.credit_grants g using (user_id, grant_no)
    where user_id = a() and payment_intent_id in ('pi_open2', 'pi_2') order by bought
    $$,
    $$values ('pi_open2', 800, 8, 8), ('pi_2', 1999, 20, 20)$$, 'and its payment is known'
);
select throws_ok(
    format('select billing.legacy_record_purchase(%s)', arguments), 'UC409', name, 'nor here ' || arguments
)
from (values
    ('a(), 21, 1999, ''pi_2''', 'idempotency_key_reused'), ('a(), 20, 2000, ''pi_2''', 'idempotency_key_reused'),
    ('a(), 1, 100, ''pi_1''', 'idempotency_key_reused'), ('b(), 20, 1999, ''pi_2''', 'payment_mismatch'),
    ('c(), 20, 1999, ''pi_2''', 'payment_mismatch'), ('a(), 3, 300, ''pi_c''', 'payment_mismatch')
) c (arguments, name);
select is(old_state(c()), 'free 5 0 5 3 there', 'nothing has come of that');
select buys(d(), 10, 'pi_d') \g /dev/null
select is(
    pays(d(), 10, 'pi_d'), '10 1000 completed 2025-03-11 12:00:00 t t',
    'what this system took is not granted again by the old one''s code'
);
select is(account(d()), 'buyer active 10 0', 'R06: once');
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_account_status(chief(), d(), 'closed', 'r') \g /dev/null
select is(
    pays(d(), 1, 'pi_d2'), '1 100 completed 2025-03-11 12:00:00 t f',
    'the money is there, so the credits are, whatever the account''s status is'
);

-- There again.

select returns(a()) \g /dev/null
select is(
    pays(a(), 20, 'pi_2', 1999), '20 1999 completed 2025-03-11 12:00:00 f t',
    'R14: what the account had taken is known there'
);
select is(pays(a(), 8, 'pi_open2'), '8 800 completed 2025-03-11 12:00:00 f t', 'as is what was paid meanwhile');
select is(pays(a(), 30, 'pi_3'), '30 3000 completed 2025-03-11 12:00:00 f f', 'the next is taken there');
select is((select count(*) from legacy_billing.purchases where user_id = a()), 8::bigint, 'each is one purchase there');
select is(moves(a()), 'migrated free 5 88 93', 'and all of it comes along again');

-- Malformed.

select throws_ok(format('select billing.legacy_record_purchase(%s)', arguments), code, name, name || ': ' || arguments)
from (values
    ('null, 1, 100, ''pi_x''', 'UC400', 'invalid_request'), ('a(), null, 100, ''pi_x''', 'UC400', 'invalid_request'),
    ('a(), 1, null, ''pi_x''', 'UC400', 'invalid_request'), ('a(), 1, 0, ''pi_x''', 'UC400', 'invalid_request'),
    ('a(), 1, 100000000001, ''pi_x''', 'UC400', 'invalid_request'), ('a(), 1, 100, null', 'UC400', 'invalid_request'),
    ('a(), 1, 100, ''''', 'UC400', 'invalid_request'), ('a(), 1, 100, ''pi x''', 'UC400', 'invalid_request'),
    ('a(), 1, 100, repeat(''p'', 201)', 'UC400', 'invalid_request'),
    ('a(), 0, 100, ''pi_x''', 'UC422', 'amount_not_positive'),
    ('a(), -1, 100, ''pi_x''', 'UC422', 'amount_not_positive'),
    ('a(), ''NaN'', 100, ''pi_x''', 'UC422', 'amount_too_large'),
    ('a(), 1000000000001, 100, ''pi_x''', 'UC422', 'amount_too_large'),
    ('a(), 0.0000000001, 100, ''pi_x''', 'UC422', 'amount_too_precise')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
