-- Whatever support has in hand finds the account: an id, a reference, an id of Stripe's, what was spent on.
\ir ../payments.psql

create function u(p_no int) returns uuid immutable language sql as
$$select format('%s0000000-0000-0000-0000-00000000000%s', case when $1 < 4 then 'a' else 'b' end, $1)::uuid$$;
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.open_account(u(n), case n when 1 then 'buyer' when 2 then 'tier_2_20' else 'free' end)
from generate_series(1, 5) n \g /dev/null
select billing.set_account_status(chief(), u(5), 'frozen', 'r') \g /dev/null
select billing.set_user_reference(u(n), r) from (values
    (1, 'Ann@Example.com'), (2, 'anna@example.com'), (4, 'Bob %_\ O''Neil'), (5, 'abc@example.com'), (3, 'Ünal')
) v (n, r) \g /dev/null
select billing.set_user_reference(nobody(), 'ann without an account') \g /dev/null
-- Numbers of the accounts, with what of them was found.
create function found(
    p_query text default null, p_tier text default null, p_status text default null, p_after uuid default null,
    p_limit int default 50
)
returns text language sql as $$
    select coalesce(string_agg(right(user_id::text, 1) || coalesce(' ' || found_by, ''), ', ' order by n), '')
    from billing.search_accounts(p_query, p_tier, p_status, p_after, p_limit) with ordinality
        as s (user_id, t, st, b, h, av, d, ec, cr, la, r, found_by, n)
$$;

-- Without a query, and by the beginning of a user_id.
select is(found(), '1, 2, 3, 4, 5', 'all, in the order of their user_id');
select is(found(' '), '1, 2, 3, 4, 5', 'blanks are no query');
select is(found(p_tier => 'tier_2_20'), '2', 'by tier');
select is(found(p_status => 'frozen'), '5', 'by status');
select is(found(p_limit => 2), '1, 2', 'a page');
select is(found(p_limit => 2, p_after => u(2)), '3, 4', 'the next one');
select is(found(p_after => u(5)), '', 'the last is empty');
select is(found('a000'), '1 user_id, 2 user_id, 3 user_id', 'by the beginning of the user_id');
select is(found(' A0000000-'), '1 user_id, 2 user_id, 3 user_id', 'with blanks around it, in capitals, with dashes');
select is(found(u(4)::text), '4 user_id', 'or all of it');
select is(found('a000', p_after => u(1), p_limit => 1), '2 user_id', 'paged');
select is(found('a000', 'free', 'active'), '3 user_id', 'with filters');
select is(found('f'), '', 'where there is none, none');

-- By what the application calls the user.
select is(found('ann'), '1 reference, 2 reference', 'by the beginning of a reference, whatever the case');
select is(found('ANN@example.com'), '1 reference', 'by all of it');
select is(found('nn'), '', 'not by its middle');
select is(found('bob %_\ o''n'), '4 reference', 'no character has another meaning');
select is(found('%'), '', 'none at all');
select is(found('ü'), '3 reference', 'in any alphabet');
select is(found('ann', 'tier_2_20'), '2 reference', 'with a tier');
select is(found('ann', p_status => 'frozen'), '', 'with a status');
select is(found('ann', 'tier_2_20', p_limit => 1), '2 reference', 'the filter comes before the limit');
select is(found('ann', p_limit => 1), '1 reference', 'at most as many as are asked for');
select is(found('ann', p_after => u(1)), '', 'and no other page');

-- What begins like a user_id and like a reference is both.
select is(
    found('ab'), '5 reference', 'a reference that could be the beginning of a user_id'
);
select billing.set_user_reference(u(2), 'a0 is also a paper size') \g /dev/null
select is(
    found('a0'), '2 reference, 1 user_id, 3 user_id', 'comes first, and is there once'
);
select is(found('a0', p_limit => 2), '1 user_id, 2 user_id', 'it takes less than half of a page');
select is(found('a0', p_limit => 3), '2 reference, 1 user_id, 3 user_id', 'which is what is left of three');
select is(found('a0', p_after => u(1)), '2 user_id, 3 user_id', 'and is on the first page alone');
select billing.set_user_reference(u(2), null) \g /dev/null
select billing.set_user_reference(u(5), 'A0') \g /dev/null
select is(found('a0', p_limit => 3), '5 reference, 1 user_id, 2 user_id', 'the page has as many as are asked for');

-- By Stripe's ids.
select buys(u(1), 10, 'pi_1') \g /dev/null
select customer(u(2), 'cus_2') \g /dev/null
select billing.record_stripe_object(stripe_subscription('sub_2', 'cus_2', 'tier_2_20')) \g /dev/null
select billing.request_refund(chief(), u(1), 1, 'r', true, 'pi_1') \g /dev/null
select billing.finish_refund(refund_id, stripe_refund('re_1', 'pi_1', 100, refund_id)) from billing.credit_refunds
\g /dev/null
select is(found('cus_2'), '2 stripe_customer', 'by customer');
select is(found('sub_2'), '2 subscription', 'by subscription');
select is(found('pi_1'), '1 payment_intent', 'by payment intent: once, though the purchase has it too');
select is(found('re_1'), '1 stripe_refund', 'by refund');
select is(found('cus_'), '', 'by all of it only');
select is(found('cus_2', 'free'), '', 'with a filter');
delete from billing.billing_payments where payment_intent_id = 'pi_1';
select is(found('pi_1'), '1 payment_intent', 'a payment that is only the purchase''s');

-- By what was spent on.
select billing.deduct_credits(u(n), 0.1, p_reference_type => 'thread', p_reference_id => 'thread-7')
from generate_series(4, 2, -1) n, generate_series(1, 3) \g /dev/null
select billing.deduct_credits(u(4), 0.1, p_reference_id => 'A0000000-0000-0000-0000-000000000001') \g /dev/null
select is(
    found('thread-7'), '2 ledger_reference, 3 ledger_reference, 4 ledger_reference', 'each user once, however often'
);
select is(found('thread-7', p_limit => 2), '2 ledger_reference, 3 ledger_reference', 'as many as are asked for');
select is(found('thread-7', 'tier_2_20'), '2 ledger_reference', 'with a filter');
select is(found('Thread-7'), '', 'as it is written');
select is(
    found('A0000000-0000-0000-0000-000000000001'), '4 ledger_reference, 1 user_id', 'also when it looks like a user_id'
);
select billing.set_user_reference(u(3), 'thread-7') \g /dev/null
select is(
    found('thread-7'), '3 reference, 2 ledger_reference, 4 ledger_reference', 'the surest comes first, and a user once'
);

-- What is told.
select billing.deduct_credits(u(4), 1) \g /dev/null
select billing.hold_credits(u(4), 1) \g /dev/null
select is(
    (select s from billing.search_accounts('bob') s),
    (
        select (
            user_id, tier, status, balance, held, available, debt, entry_count, created_at, updated_at,
            'Bob %_\ O''Neil', 'reference'
        )::billing.account_match
        from billing.get_account(u(4))
    ),
    'an account as get_account tells it, with its reference and what was found'
);
set local tap.now = '2025-04-01 00:00+00';
select is((select balance from billing.search_accounts('bob')), 0.00, 'as if settled');

-- The cost does not depend on how much there is of what is not looked for.
select count(*)
from generate_series(1, 3000) n
cross join lateral billing.deduct_credits(u(2), 0.0001 * (n / n), p_reference_id => 'busy') \g /dev/null
insert into billing.user_references (user_id, reference, updated_at)
select gen_random_uuid(), format('user%s@example.com', n), now() from generate_series(1, 60000) n;
analyze billing.credit_ledger;
analyze billing.user_references;
create temp table beside as select pages_read(format('select billing_private.read_account(%L)', u(2))) as pages;
select cmp_ok(
    pages_read('select billing.search_accounts(''busy'')') - pages * 3, '<', 150, 'a reference of 3,000 entries'
) from beside;
select cmp_ok(pages_read('select billing.search_accounts(''nobody@'')'), '<', 400, 'one of 60,000 references');

select throws_ok('select billing.search_accounts(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('repeat(''x'', 201)', 'UC400', 'invalid_request'),
    ('p_limit => 0', 'UC422', 'limit_out_of_range'),
    ('p_limit => 501', 'UC422', 'limit_out_of_range'),
    ('p_limit => null', 'UC422', 'limit_out_of_range')
) c (arguments, code, name);

select * from finish();
rollback;
