-- What Stripe says of a refund counts, whoever hears of it first and however often; one that fails, even days later,
-- gives back what its request took, as it was.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
create function asks(p_user_id uuid, p_amount numeric, p_intent_id text, p_owe boolean default false) returns uuid
language sql as $$
    select refund_id
    from billing.request_refund(chief(), p_user_id, p_amount, 'r', true, p_intent_id, p_owe_spent => p_owe)
$$;
create function hears(p_refund_id uuid, p_id text, p_status text default 'succeeded') returns text language sql as $$
    select concat_ws(' ', f.status, f.stripe_refund_id, f.error)
    from billing.get_refund(p_refund_id) r
    cross join billing.finish_refund(
        p_refund_id, stripe_refund(p_id, r.payment_intent_id, r.amount_cents, p_refund_id, p_status)
    ) f
$$;
-- Balance, debt, and what the payment says: reclaimed, clawed, owed.
create function stands(p_user_id uuid, p_intent_id text) returns text language sql as $$
    select concat_ws(
        ' ', trim_scale(a.balance), trim_scale(a.debt), '|', trim_scale(p.reclaimed), trim_scale(p.clawed),
        trim_scale(p.owed)
    )
    from billing.get_account(p_user_id) a, billing.list_payments(p_user_id, p_intent_id) p
$$;
create function open() returns uuid language sql as $$select current_setting('tap.open')::uuid$$;
create function credits() returns uuid language sql as $$select current_setting('tap.credits')::uuid$$;

-- Forward only.

select buys(a(), 10, 'pi_1') \g /dev/null
set local role billing_api;
select asks(a(), 4, 'pi_1') as one \gset
set local tap.now = '2025-03-10 12:01+00';
select is(
    hears(:'one', 're_1', 'requires_action'), 'requires_action re_1', 'Stripe has it, and waits for the customer'
);
select is(hears(:'one', 're_1', 'pending'), 'pending re_1', 'it is on its way');
select is(hears(:'one', 're_1'), 'succeeded re_1', 'the money is back');
select is((billing.get_refund(:'one')).updated_at, '2025-03-10 12:01+00', 'this is when');
set local tap.now = '2025-03-10 12:02+00';
select is(hears(:'one', 're_1'), 'succeeded re_1', 'the same answer again');
select is(hears(:'one', 're_1', 'pending'), 'succeeded re_1', 'R27: and an older one that comes later');
select is(hears(:'one', 're_1', 'a status of next year'), 'succeeded re_1', 'and one that nobody knows');
select is((billing.get_refund(:'one')).updated_at, '2025-03-10 12:01+00', 'change nothing');
select is(stands(a(), 'pi_1'), '6 0 | 4 4 0', 'what the request took was taken once');
select is_empty(
    $$select from billing.list_due_stripe_calls() where kind = 'refund'$$, 'there is nothing left to do'
);
reset role;
select is(
    (select array_agg(distinct status) from billing.stripe_calls where kind = 'refund'), array['done'],
    'the call is done'
);

-- Failed, days later.

set local tap.now = '2025-03-17 12:00+00';
set local role billing_api;
select is(
    hears(:'one', 're_1', 'failed'), 'failed re_1 expired_or_canceled_card', 'the money did not arrive: Stripe says why'
);
select is(stands(a(), 'pi_1'), '10 0 | 0 0 0', 'R16: the credits are there again');
select is(hears(:'one', 're_1', 'failed'), 'failed re_1 expired_or_canceled_card', 'told twice');
select is(
    hears(:'one', 're_1', 'succeeded'), 'failed re_1 expired_or_canceled_card', 'R27: and the success that it overtook'
);
select is(stands(a(), 'pi_1'), '10 0 | 0 0 0', 'they are given back once');
select is(
    (select (clawed, spent, owed)::text from billing.get_refund(:'one')), '(4,0,0)',
    'the refund tells what it had taken'
);
reset role;
select rows_are(
    $$
    select type, amount, reversed_entry_no, description, reference_type, reference_id from billing.credit_ledger
    where user_id = a() and entry_no > 1 order by entry_no
    $$,
    $$
    values
        ('clawback', -4::numeric, null::bigint, 'Taken back: refund of payment pi_1', null::text, null::text),
        ('reversal', 4, 2, 'Given back: payment pi_1 stays paid', 'payment_intent', 'pi_1')
    $$,
    'the clawback is reversed, by name'
);
select rows_are(
    $$
    select source, remaining, priority, expires_at, from_grant_no from billing.credit_grants
    where user_id = a() order by grant_no
    $$,
    $$
    values ('purchase', 6::numeric, 100, null::timestamptz, null::bigint), ('reversal', 4, 100, null, 1)
    $$,
    'R15: by a lot like the one that it came from'
);
set local role billing_api;
select is((billing.deduct_credits(a(), 10)).success, true, 'and can be spent');
select is(
    (billing.request_refund(chief(), a(), 10, 'r', true, 'pi_1')).success, true,
    'a refund that failed does not count as paid'
);

-- A lot that expires.

reset role;
select buys(b(), 10, 'pi_b') \g /dev/null
select buys(b(), 20, 'pi_b2') \g /dev/null
update billing.credit_grants set expires_at = '2025-03-20 12:00+00', priority = 7 where user_id = b() and grant_no = 1;
update billing.credit_grants set expires_at = '2025-03-25 12:00+00', priority = 8 where user_id = b() and grant_no = 2;
update billing.credit_accounts set next_expiry_at = '2025-03-20 12:00+00' where user_id = b();
set local role billing_api;
select asks(b(), 4, 'pi_b') as early, asks(b(), 5, 'pi_b2') as late \gset
set local tap.now = '2025-03-20 12:00+00';
select is(
    hears(:'early', 're_b', 'failed'), 'failed re_b expired_or_canceled_card', 'one fails when its lot has expired'
);
select is(hears(:'late', 're_b2', 'canceled'), 'canceled re_b2', 'one is canceled while its lot lasts');
reset role;
select rows_are(
    $$
    select remaining, priority, expires_at, from_grant_no from billing.credit_grants
    where user_id = b() and source = 'reversal' order by from_grant_no
    $$,
    $$
    select 4::numeric, 7, '2025-03-20 12:00+00'::timestamptz + reversal_grace, 1::bigint from billing.billing_settings
    union all
    select 5, 8, '2025-03-25 12:00+00', 2
    $$,
    'R15: what had expired comes back for the grace of a reversal, what had not until then'
);
select is(stands(b(), 'pi_b'), '24 0 | 0 0 0', 'the 6 that were not refunded have expired');
select is((billing.get_account(b())).next_expiry_at, '2025-03-25 12:00+00', 'the account knows what ends next');
set local tap.now = '2025-05-01 12:00+00';
select is((billing.get_account(b())).balance, 0::numeric, 'R25: and it ends');

-- Two refunds of one payment, and one of them fails.

set local role billing_api;
select buys(c(), 10, 'pi_c') \g /dev/null
select asks(c(), 3, 'pi_c') as three, asks(c(), 4, 'pi_c') as four \gset
select is(stands(c(), 'pi_c'), '3 0 | 7 7 0', 'two refunds');
select is(hears(:'three', 're_3', 'failed'), 'failed re_3 expired_or_canceled_card', 'the first one fails');
select is(stands(c(), 'pi_c'), '6 0 | 4 4 0', 'its part comes back, and no more');
reset role;
select is(
    (select string_agg(trim_scale(amount)::text, ' ' order by entry_no) from billing.credit_ledger where user_id = c()),
    '10 -3 -4 3', 'the clawback that fits is reversed'
);
set local role billing_api;
select is(hears(:'four', 're_4', 'failed'), 'failed re_4 expired_or_canceled_card', 'so does the second');
select is(stands(c(), 'pi_c'), '10 0 | 0 0 0', 'and all is as it was');
select billing.deduct_credits(c(), 8) \g /dev/null
select asks(c(), 3, 'pi_c') as three, asks(c(), 4, 'pi_c') as four \gset
select is(stands(c(), 'pi_c'), '0 0 | 7 2 0', 'when most is spent, the first takes what is left');
select is(hears(:'three', 're_5', 'failed'), 'failed re_5 expired_or_canceled_card', 'if it fails');
select is(stands(c(), 'pi_c'), '0 0 | 4 2 0', 'the second would have taken it: it stays taken');
select is(hears(:'four', 're_6', 'canceled'), 'canceled re_6', 'until that one ends too');
select is(stands(c(), 'pi_c'), '2 0 | 0 0 0', 'no more comes back than was taken');
select buys(c(), 10, 'pi_c2') \g /dev/null
select billing.deduct_credits(c(), 7) \g /dev/null
select asks(c(), 2, 'pi_c2') as two, asks(c(), 4, 'pi_c2') as four \gset
select is(stands(c(), 'pi_c2'), '0 0 | 6 5 0', 'the second refund finds 3 of 4');
select is(hears(:'two', 're_c2', 'failed'), 'failed re_c2 expired_or_canceled_card', 'the first one fails');
select is(stands(c(), 'pi_c2'), '1 0 | 4 4 0', 'what it had taken goes to the second, as far as that asks for it');
reset role;
select is(
    (
        select string_agg(trim_scale(amount)::text, ' ' order by entry_no)
        from billing.credit_ledger
        where user_id = c() and entry_no > (select max(entry_no) from billing.credit_ledger where user_id = c()) - 4
    ),
    '-2 -3 2 -1', 'no clawback fits: the smallest is reversed, and what is too much of it is taken again'
);
set local role billing_api;

-- Debt.

select buys(d(), 10, 'pi_d') \g /dev/null
select billing.deduct_credits(d(), 10) \g /dev/null
select asks(d(), 6, 'pi_d', true) as owing \gset
select is(stands(d(), 'pi_d'), '0 6 | 6 0 6', 'what was spent is owed');
select is(hears(:'owing', 're_7', 'failed'), 'failed re_7 expired_or_canceled_card', 'the refund fails');
select is(stands(d(), 'pi_d'), '0 0 | 0 0 0', 'and the debt is forgiven');
select asks(d(), 6, 'pi_d', true) as owing \gset
select billing.grant_credits(d(), 2, 'promotion') \g /dev/null
select is(stands(d(), 'pi_d'), '0 4 | 6 0 6', 'of another debt a part is repaid');
select is(hears(:'owing', 're_8', 'failed'), 'failed re_8 expired_or_canceled_card', 'its refund fails too');
select is(stands(d(), 'pi_d'), '2 0 | 0 0 0', 'what is owed is forgiven, and what was repaid comes back');
reset role;
select rows_are(
    $$
    select type, amount, description, reference_id from billing.credit_ledger
    where user_id = d() order by entry_no desc limit 1
    $$,
    $$values ('refund', 2::numeric, 'Given back: debt repaid for payment pi_d', 'pi_d')$$, 'by an entry that says so'
);
set local role billing_api;
select asks(d(), 3, 'pi_d') as let_go, asks(d(), 4, 'pi_d', true) as owing \gset
select is(stands(d(), 'pi_d'), '2 4 | 7 0 4', 'spent credits of two refunds: 3 are let go, 4 are owed');
select is(hears(:'let_go', 're_9', 'failed'), 'failed re_9 expired_or_canceled_card', 'the one that let them go fails');
select is(stands(d(), 'pi_d'), '2 4 | 4 0 4', 'the debt stays');
select is(hears(:'owing', 're_10', 'failed'), 'failed re_10 expired_or_canceled_card', 'the other one too');
select is(stands(d(), 'pi_d'), '2 0 | 0 0 0', 'nothing is owed');

-- Credits that were taken first, and then owed.

select buys(e(), 10, 'pi_e') \g /dev/null
select billing.deduct_credits(e(), 6) \g /dev/null
select asks(e(), 4, 'pi_e') as took, asks(e(), 6, 'pi_e', true) as owing \gset
select is(stands(e(), 'pi_e'), '0 6 | 10 4 6', 'one refund takes what is left, the next owes what was spent');
select is(hears(:'took', 're_11', 'failed'), 'failed re_11 expired_or_canceled_card', 'without the first');
select is(stands(e(), 'pi_e'), '0 2 | 6 4 2', 'the second would have taken 4, and owed 2');
select is(hears(:'owing', 're_12', 'failed'), 'failed re_12 expired_or_canceled_card', 'without either');
select is(stands(e(), 'pi_e'), '4 0 | 0 0 0', 'the 4 are there');
select asks(e(), 6, 'pi_e', true) as owing, asks(e(), 4, 'pi_e') as nothing \gset
select is(
    stands(e(), 'pi_e'), '0 2 | 10 4 2', 'the other way round: the first takes 4 and owes 2, the second lets 4 go'
);
select is(hears(:'owing', 're_13', 'failed'), 'failed re_13 expired_or_canceled_card', 'without the first');
select is(stands(e(), 'pi_e'), '0 0 | 4 4 0', 'the second would have taken them');
select is(hears(:'nothing', 're_14', 'failed'), 'failed re_14 expired_or_canceled_card', 'without either');
select is(stands(e(), 'pi_e'), '4 0 | 0 0 0', 'the 4 are there again');

-- Heard of by an event before we have finished.

select asks(e(), 1, 'pi_e') as ours \gset
select is(
    billing.record_stripe_object(stripe_refund('re_15', 'pi_e', 100, :'ours')), true, 'the event knows our id'
);
select is(
    (select (status, stripe_refund_id)::text from billing.get_refund(:'ours')), '(succeeded,re_15)',
    'so it is our refund'
);
select is(hears(:'ours', 're_15', 'pending'), 'succeeded re_15', 'our own answer, which is older, comes later');
select is(stands(e(), 'pi_e'), '3 0 | 1 1 0', 'it counts once');
select is(
    (select count(*) from billing.list_refunds(e()) where stripe_refund_id = 're_15'), 1::bigint, 'and is one refund'
);

-- We gave up, but Stripe had done it.

select asks(e(), 2, 'pi_e') as lost \gset
reset role;
select call_id as lost_call from billing.stripe_calls where kind = 'refund' and subject_id = :'lost' \gset
set local role billing_api;
select billing.fail_stripe_call(:'lost_call', 'the charge is refunded already') \g /dev/null
select is(
    (select (status, stripe_refund_id, error)::text from billing.get_refund(:'lost')),
    '(failed,,"the charge is refunded already")', 'a refund that we take for failed'
);
select is(stands(e(), 'pi_e'), '3 0 | 1 1 0', 'its credits are back');
select is(
    billing.record_stripe_object(stripe_refund('re_16', 'pi_e', 200, :'lost', 'pending')), true,
    'R27: if Stripe tells of it'
);
select is((billing.get_refund(:'lost')).status, 'pending', 'it is what Stripe says');
select is(stands(e(), 'pi_e'), '1 0 | 3 3 0', 'and they are taken after all');
select is(hears(:'lost', 're_16'), 'succeeded re_16 the charge is refunded already', 'like any other');

select asks(e(), 1, 'pi_e') as done \gset
reset role;
select call_id as done_call from billing.stripe_calls where kind = 'refund' and subject_id = :'done' \gset
set local role billing_api;
select billing.record_stripe_object(stripe_refund('re_22', 'pi_e', 100, :'done', 'pending')) \g /dev/null
select billing.fail_stripe_call(:'done_call', 'the charge is refunded already') \g /dev/null
select is(
    (select (status, error)::text from billing.get_refund(:'done')), '(pending,)',
    'R27: what Stripe has told of is not failed by a second try that it refuses'
);
select is(stands(e(), 'pi_e'), '0 0 | 4 4 0', 'and keeps what it took');

-- Answers that are not of this refund.

select asks(e(), 1, 'pi_e') as open, (billing.request_refund(chief(), e(), 1, 'r')).refund_id as credits \gset
select set_config('tap.open', :'open', true), set_config('tap.credits', :'credits', true) \g /dev/null
select throws_ok('select billing.finish_refund(' || arguments || ')', code, name, difference)
from (values
    ('open(), stripe_refund(''re_17'', ''pi_e'', 101, open())', 'UC409', 'payment_mismatch', 'of a cent more'),
    ('open(), stripe_refund(''re_17'', ''pi_d'', 100, open())', 'UC409', 'payment_mismatch', 'of another payment'),
    ('open(), stripe_refund(''re_17'', ''pi_foreign'', 100, open())', 'UC409', 'payment_mismatch', 'of a foreign one'),
    ('open(), stripe_refund(''re_17'', null, 100, open())', 'UC409', 'payment_mismatch', 'of no payment'),
    ('open(), stripe_refund(''re_16'', ''pi_e'', 100, open())', 'UC409', 'payment_mismatch', 'of another refund of ours'),
    ('credits(), stripe_refund(''re_17'', ''pi_e'', 100, credits())', 'UC409', 'payment_mismatch', 'for one in credits'),
    ('open(), null', 'UC400', 'invalid_request', 'no refund'),
    ('open(), ''{}''', 'UC400', 'invalid_request', 'not a refund'),
    ('open(), stripe_intent(''re_17'', 100)', 'UC400', 'invalid_request', 'a payment'),
    ('a(), stripe_refund(''re_17'', ''pi_e'', 100, a())', 'UC404', 'refund_not_found', 'for no refund'),
    ('null, stripe_refund(''re_17'', ''pi_e'', 100)', 'UC404', 'refund_not_found', 'for null')
) c (arguments, code, name, difference);
select is(hears(open(), 're_18'), 'succeeded re_18', 'the right one');
select throws_ok(
    $$select hears(open(), 're_19')$$, 'UC409', 'payment_mismatch',
    'R06: a second one for the same refund does not go by unseen'
);

-- Whatever the account's status.

select buys(d(), 10, 'pi_d2') \g /dev/null
select asks(d(), 1, 'pi_d2') as frozen, asks(d(), 1, 'pi_d2') as closed \gset
select billing.set_account_status(chief(), d(), 'frozen', 'r') \g /dev/null
select is(hears(:'frozen', 're_20', 'failed'), 'failed re_20 expired_or_canceled_card', 'a frozen account');
select billing.set_account_status(chief(), d(), 'closed', 'r') \g /dev/null
select is(hears(:'closed', 're_21', 'failed'), 'failed re_21 expired_or_canceled_card', 'and a closed one');
select is(stands(d(), 'pi_d2'), '12 0 | 0 0 0', 'get theirs back');
select is((billing.get_account(d())).status, 'closed', 'and stay as they are');
reset role;
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
