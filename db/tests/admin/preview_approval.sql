-- A preview of an approval says what approving would do and answer, to each admin their own; it leaves nothing. That it
-- agrees with the approval in every case, approve_request.sql tests.
\ir ../payments.psql

create function other() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000ae'::uuid$$;
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), u, 'admin') from unnest(array[admin(), other()]) u \g /dev/null
select billing.open_account(u) from unnest(array[a(), admin()]) u \g /dev/null
select buys(d(), 100, 'pi_d') \g /dev/null
create temp table requests (name text primary key, id uuid);
create function asked(p_name text, p_action text, p_amount numeric, p_user uuid default a(), p_intent text default null)
returns text language sql as $$
    insert into requests
    select p_name, approval_id
    from billing.request_approval(
        admin(), p_user, p_action, 'please', p_amount, p_stripe_refund => p_intent is not null, p_payment_intent_id => p_intent
    )
    returning name
$$;
select asked('gift', 'adjust_credits', 500.000000001), asked('dear', 'adjust_credits', 1000.5),
    asked('fine', 'adjust_credits', -4), asked('own', 'adjust_credits', 1, admin()),
    asked('money', 'request_refund', 40, d(), 'pi_d') \g /dev/null
select billing.deduct_credits(a(), 2) \g /dev/null
create function id(p_name text) returns uuid stable language sql as $$select id from requests where name = p_name$$;
create function tells(p_name text, p_actor uuid default other()) returns text language sql as $$
    select concat_ws(
        ' ', case when success then 'done' end, reason, case when can_request then 'askable' end, trim_scale(amount),
        trim_scale(balance_before), trim_scale(balance_after), trim_scale(left_today_before), trim_scale(left_today_after),
        jsonb_array_length(lots)
    )
    from billing.preview_approval(p_actor, id(p_name))
$$;
grant select on requests to billing_api;
\ir ../untouched.psql

set local role billing_api;
select rows_are(
    $$select * from billing.preview_approval(other(), id('gift'))$$,
    $$
    values (
        true, null::text, false, 500.000000001, 3::numeric, 503.000000001, 3::numeric, 503.000000001, 0::numeric, 0::numeric,
        0::numeric, 0::numeric, 'free', 'free', 'active', 'active', 3::bigint, null::numeric, null::numeric, null::numeric,
        5000::numeric, 4499.999999999, jsonb_build_array(jsonb_build_object(
            'grant_no', 2, 'source', 'adjustment', 'priority', 50, 'expires_at', null, 'before', 0, 'after', 500.000000001
        ))
    )
    $$,
    'before and after of the account, its lots, and what is left of the day of who approves'
);
reset role;
select leaves_nothing('what can be approved');
update billing.admin_limits set approval_above = 10;
select is(tells('gift'), 'done 500.000000001 3 503.000000001 5000 4499.999999999 1', 'two agree on what is above approval_above');
select is(
    tells('money', chief()), 'done 40 100 60 500000 500000 1', 'money counts for no day; its credits are taken back'
);

-- Who may not approve is told so, and what another admin's approval would do.

update before set rows = everything();
select is(tells('gift', admin()), 'own_request askable 500.000000001 3 503.000000001 5000 5000 1', 'of what one has asked for');
select is(tells('own', admin()), 'own_request askable 1 5 6 5000 5000 1', 'of the own account');
select is(tells('dear'), 'admin_limit_exceeded askable 1000.5 3 1003.5 5000 5000 1', 'of what is above the own limits');
select is(tells('money'), 'refund_not_allowed askable 40 100 60 5000 5000 1', 'of a refund, by who refunds nothing');
select is(tells('fine'), 'insufficient_credits 0 3 3 5000 5000 0', 'what nobody can do any more changes nothing');
select is(tells('fine', admin()), 'own_request 0 3 3 5000 5000 0', 'and is not for who asked either');
select is(tells('gift', u), 'not_an_admin', 'a user learns nothing: ' || u) from unnest(array[a(), nobody()]) u;
select leaves_nothing('refusals: nothing is logged');

-- What approving would raise.

select throws_ok(format('select billing.preview_approval(%s)', arguments), code, name, name || ': ' || arguments)
from (values
    ('null, id(''gift'')', 'UC400', 'invalid_request'), ('other(), nobody()', 'UC404', 'approval_not_found'),
    ('other(), null', 'UC404', 'approval_not_found')
) c (arguments, code, name);
select billing.approve_request(other(), id('gift'), 'r'), billing.decline_request(chief(), id('dear'), 'r') \g /dev/null
select throws_ok(
    format('select tells(%L, %L)', name, who), 'UC409', 'approval_not_open', format('%s is decided, whoever looks: %s', name, who)
)
from unnest(array['gift', 'dear']) name, unnest(array[admin(), other(), chief()]) who;
select is(tells('gift', a()), 'not_an_admin', 'but a user learns nothing');
update before set rows = everything();
set local tap.now = '2025-03-17 12:00+00';
select throws_ok($$select tells('money', chief())$$, 'UC409', 'approval_not_open', 'what has expired is not open');
select leaves_nothing('an exception');

select * from finish();
rollback;
