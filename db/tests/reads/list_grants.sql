-- The lots of an account in the order in which they burn, with what is left of each as if settled.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
select billing.grant_credits(a(), 1, 'promotion', p_expires_at => '2025-03-20 00:00+00') \g /dev/null
select billing.grant_credits(a(), 2, 'promotion') \g /dev/null
select billing.grant_credits(a(), 3, 'promotion', p_expires_at => '2025-03-19 00:00+00', p_reference_type => 't',
    p_reference_id => 'i') \g /dev/null
select billing.grant_credits(a(), 4, 'promotion', p_priority => 5) \g /dev/null
select billing.grant_credits(a(), 5, 'promotion') \g /dev/null
create function told(p_live boolean default true) returns text language sql as
$$select string_agg(grant_no || ':' || trim_scale(remaining), ' ') from billing.list_grants(a(), p_live)$$;

select is(told(), '5:4 1:5 4:3 2:1 3:2 6:5', 'by priority, then soonest expiry, none last, then oldest');
select is(
    (select list_grants from billing.list_grants(a()) where grant_no = 4),
    (
        a(), 4, 'promotion', 3, 3, 50, '2025-03-19 00:00+00', '2025-03-10 12:00+00', 4, 't', 'i'
    )::billing.grant_lot,
    'a lot with everything'
);
select billing.deduct_credits(a(), 10) \g /dev/null
select is(told(), '4:2 2:1 3:2 6:5', 'usage is attributed, though nothing is settled');
select is(told(false), '5:0 1:0 4:2 2:1 3:2 6:5', 'lots that are used up can be asked for');
select is(
    (select sum(remaining) from billing.credit_grants where user_id = a()), 20::numeric, 'looking settles nothing'
);
set local tap.now = '2025-03-20 00:00+00';
select is(told(), '3:2 6:5', 'R25: what has expired is gone');
select is(told(null), '3:2 6:5', 'null asks for live ones');
select billing.hold_credits(a(), 7) \g /dev/null
select is(told(), '3:2 6:5', 'a hold reserves no lot');
select throws_ok('select billing.list_grants(null)', 'UC400', 'invalid_request', 'a user must be given');
select throws_ok('select billing.list_grants(nobody())', 'UC404', 'account_not_found', 'the account must exist');

select * from finish();
rollback;
