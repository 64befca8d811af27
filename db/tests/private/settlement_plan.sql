-- Settling burns lots in their order, then ends what is due in time order, holds first, and keeps what holds need.
\ir ../setup.psql

create function planned(p_at timestamptz) returns text language sql as $$
    select coalesce(string_agg(
        kind || ' ' || coalesce(grant_no::text, (select right(h.idempotency_key, 1) from billing.credit_holds h where h.hold_id = s.hold_id))
            || ' ' || trim_scale(amount) || coalesce(' @' || to_char(due_at at time zone 'UTC', 'DD.HH24'), ''), ', ' order by n
    ), '')
    from billing.credit_accounts a
    cross join lateral billing_private.settlement_plan(a, p_at) with ordinality
        s (kind, grant_no, hold_id, amount, from_used, due_at, n)
    where a.user_id = a()
$$;
insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, rank) values ('nothing', 'Nothing', 0, 0, 100);
select billing.open_account(a(), 'nothing') \g /dev/null
select billing.grant_credits(a(), 3, 'promotion', p_expires_at => '2025-03-12 00:00+00') \g /dev/null
select billing.grant_credits(a(), 3, 'promotion', p_expires_at => '2025-03-12 00:00+00') \g /dev/null
select billing.grant_credits(a(), 3, 'promotion', p_expires_at => '2025-03-11 00:00+00', p_priority => 60) \g /dev/null
select billing.grant_credits(a(), 3, 'promotion', p_priority => 5) \g /dev/null

select is(planned('2025-03-10 12:00+00'), '', 'nothing used, nothing due: nothing to do');
select is(planned('2025-03-10 23:59:59+00'), '', 'until something ends');
select is(planned('2025-03-11 00:00+00'), 'expire 3 3 @11.00', 'then it does');
select is(planned('2025-03-13 00:00+00'), 'expire 3 3 @11.00, expire 1 3 @12.00, expire 2 3 @12.00', 'in the order of time, then of burning');

select billing.deduct_credits(a(), 4) \g /dev/null
select is(planned('2025-03-10 12:00+00'), 'burn 4 3, burn 1 1', 'by priority, then expiry, then age');
select is(
    planned('2025-03-13 00:00+00'), 'burn 4 3, burn 1 1, expire 3 3 @11.00, expire 1 2 @12.00, expire 2 3 @12.00',
    'what was used is burned before what is left expires'
);

select billing.hold_credits(a(), 4, '36 hours', p_idempotency_key => 'x') \g /dev/null
select is(
    planned('2025-03-11 12:00+00'), 'burn 4 3, burn 1 1', 'a lot that ends under a hold is kept for it, as far as it needs'
);
select is(
    planned('2025-03-12 00:00+00'),
    'burn 4 3, burn 1 1, hold x 4 @12.00, expire 3 3 @12.00, expire 1 2 @12.00, expire 2 3 @12.00',
    'holds first on ties: then nothing keeps a lot'
);
select billing.hold_credits(a(), 1, '72 hours', p_idempotency_key => 'y') \g /dev/null
select is(
    planned('2025-03-12 00:00+00'), 'burn 4 3, burn 1 1, hold x 4 @12.00, expire 3 2 @12.00, expire 1 2 @12.00, expire 2 3 @12.00',
    'what one hold needs, the lot that ended first keeps'
);
select is(
    planned('2025-03-13 12:00+00'),
    'burn 4 3, burn 1 1, hold x 4 @12.00, expire 3 2 @12.00, expire 1 2 @12.00, expire 2 3 @12.00, hold y 1 @13.12, '
    || 'expire 3 1 @13.12',
    'until that hold ends too'
);
select is((select balance from billing.credit_accounts where user_id = a()), 8::numeric, 'planning does nothing');

-- Settled step by step it comes to the same.
set local tap.now = '2025-03-11 12:00+00';
select billing.release_hold(a(), (select hold_id from billing.credit_holds where idempotency_key = 'x')) \g /dev/null
select rows_are(
    'select grant_no, remaining from billing.credit_grants where user_id = a() order by grant_no',
    'values (1, 2), (2, 3), (3, 1), (4, 0)', 'settled under one hold'
);
set local tap.now = '2025-03-12 00:00+00';
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select rows_are(
    'select grant_no, remaining from billing.credit_grants where user_id = a() order by grant_no',
    'values (1, 0), (2, 0), (3, 1), (4, 0), (5, 1)', 'and at the end of two lots'
);
select is(
    (billing.deduct_credits(a(), 1)).success, true, 'the lot that was kept stays in its place'
);
set local tap.now = '2025-03-13 12:00+00';
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select rows_are(
    'select grant_no, amount from billing.entry_funding(a(), 10)', 'values (5, 1)', 'by priority: the other one paid'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
