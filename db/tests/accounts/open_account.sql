-- An account is opened once, with the first grant of its tier; opening it again changes nothing.
\ir ../setup.psql

select is(
    billing.open_account(a()),
    (
        a(), 'free', 'active', 5, 0, 5, 0, 0, 1, '2025-04-01 00:00+00', '2025-03-10 12:00+00', '2025-03-10 12:00+00',
        '2025-03-10 12:00+00'
    )::billing.account,
    'an account is free, unless a tier is named, and has its first month''s credits'
);
select rows_are(
    $$
    select entry_no, type, amount, balance_after, used_after, operation, idempotency_key, reference_type, reference_id,
        actor, created_at, grant_no
    from billing.credit_ledger where user_id = a()
    $$,
    $$
    values (
        1::bigint, 'tier_grant', 5.00, 5.00, 0::numeric, 'grant_tier_credits', '2025-03', 'period', '2025-03',
        null::uuid, '2025-03-10 12:00+00'::timestamptz, null::bigint
    )
    $$,
    'the grant is an entry of the period'
);
select rows_are(
    $$
    select grant_no, source, amount, remaining, priority, expires_at, granted_at, entry_no
    from billing.credit_grants where user_id = a()
    $$,
    $$
    values (
        1::bigint, 'tier_grant', 5.00, 5.00, 10, '2025-04-01 00:00+00'::timestamptz,
        '2025-03-10 12:00+00'::timestamptz, 1::bigint
    )
    $$,
    'and a lot that lasts until the period ends, not a month from the day of opening'
);
select is(
    (select granted_through from billing.credit_accounts where user_id = a()), '2025-03-01',
    'the period is done'
);

set local tap.now = '2025-03-11 12:00+00';
select is(
    (billing.open_account(a(), 'tier_200_1000')).tier, 'free', 'opening it again does not change its tier'
);
select is((billing.open_account(a())).balance, 5.00, 'nor grant again');
select is((billing.open_account(a())).updated_at, '2025-03-10 12:00+00', 'nor write anything');
set local tap.now = '2025-04-02 12:00+00';
select is((billing.open_account(a())).balance, 0.00, 'what has expired is not shown');
select is((billing.open_account(a())).entry_count, 1::bigint, 'and nothing is granted or booked by looking');

select is(
    (billing.open_account(b(), 'tier_200_1000')).available, 1005.00,
    'a tier that is named grants its own amount'
);
insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, rank)
values ('nothing', 'Nothing', 0, 0, 100), ('everlasting', 'Everlasting', 7, 0, 101);
select is(
    (billing.open_account(c(), 'nothing')).entry_count, 0::bigint,
    'a tier that grants nothing leaves no entry'
);
select is(
    (
        select (balance, next_expiry_at is null)::text
        from billing.open_account(d(), 'everlasting')
    ),
    '(7,t)', 'the credits of a tier without grant_expires_after do not expire'
);
update billing.billing_tiers set grant_expires_after = '1 day' where name = 'everlasting';
select is(
    (
        select (balance, entry_count)::text
        from billing.open_account(e(), 'everlasting')
    ),
    '(0,0)', 'a grant that would have expired already is skipped'
);

select throws_ok('select billing.open_account(null)', 'UC400', 'invalid_request', 'a user must be given');
select throws_ok(
    $$select billing.open_account('00000000-0000-0000-0000-00000000000f', 'gold')$$, 'UC404', 'unknown_tier',
    'the tier must exist'
);
select throws_ok(
    $$select billing.open_account('00000000-0000-0000-0000-00000000000f', null)$$, 'UC404', 'unknown_tier',
    'and be given'
);
select is_empty(
    $$select user_id from billing.credit_accounts where user_id = '00000000-0000-0000-0000-00000000000f'$$,
    'a refused opening opens nothing'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
