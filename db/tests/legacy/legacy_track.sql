-- A call is recorded once, whatever is left, and what is above the month's limit is paid from bought credit as far as
-- it goes; for a user who has left, the account pays, or refuses. A key stands for its call in either system.
\ir ../legacy.psql

-- A model that costs a dollar for a thousand tokens, and half of that for cached ones.
insert into billing.model_prices (
    model, effective_from, input_per_million, cached_input_per_million, output_per_million, multiplier
)
values ('m', '2025-01-01 00:00+00', 1000, 500, 1000, 1),
    ('dear', '2025-01-01 00:00+00', 1000000, 1000000, 1000000, 1000);
create function track(
    p_user_id uuid, p_tokens bigint, p_key text default null, p_completion bigint default 0, p_cached bigint default 0
)
returns text language sql as $$
    select concat_ws(
        ' ', success, reason, trim_scale(cost), trim_scale(paid_from_credit), '|', trim_scale(monthly_usage),
        trim_scale(remaining), trim_scale(bought_credit), migrated, replayed
    )
    from billing.legacy_track(p_user_id, 'm', p_tokens, p_completion, p_cached, p_key)
$$;
select old_user(a(), 'price_tier_2_20_monthly'), old_credit(a(), 7),
    old_user(b(), 'price_tier_2_20_monthly', 'past_due') \g /dev/null

-- There.

set local role billing_api;
select is(track(a(), 20000), 't 20 0 | 20 5 7 f f', 'a call within the limit is not paid from credit');
select is(track(a(), 6000, 'k1', 2000, 2000), 't 7 2 | 27 0 5 f f', 'what is above it is: cached tokens cost less');
select is(track(a(), 1000), 't 1 1 | 28 0 4 f f', 'then all of it');
select is(track(a(), 6000), 't 6 4 | 34 0 0 f f', 'as far as there is credit; the rest is let go');
select is(track(a(), 1000), 't 1 0 | 35 0 0 f f', 'a call that was made is recorded, whoever pays for it');
select is(
    track(a(), 6000, 'k1', 2000, 2000), 't 7 2 | 35 0 0 f t', 'R07: a key tells the first call, and what is left now'
);
select throws_ok(
    format('select billing.legacy_track(a(), %s)', arguments), 'UC409', 'idempotency_key_reused',
    'R07: not with ' || arguments
)
from unnest(array[
    '''gpt-4o'', 6000, 2000, 2000, ''k1''', '''m'', 6001, 2000, 2000, ''k1''', '''m'', 6000, 2001, 2000, ''k1''',
    '''m'', 6000, 2000, 1999, ''k1''', '''none'', 6000, 2000, 2000, ''k1'''
]) arguments;
select is(
    track(b(), 6000, 'k1'), 't 6 0 | 6 0 0 f f',
    'another user''s key is another one; an overdue payment pays for the free limit'
);
select is(track(c(), 1000), 't 1 0 | 1 4 0 f f', 'a stranger is a free user');
select is(track(c(), 0), 't 0 0 | 1 4 0 f f', 'a call that costs nothing is recorded too');
reset role;
select rows_are(
    $$
    select model, prompt_tokens, completion_tokens, cached_tokens, cost, paid_from_credit, request_key, created_at
    from legacy_billing.usage_records where user_id = a() order by record_id limit 2
    $$,
    $$values ('m', 20000, 0, 0, 20, 0, null, tap_now()), ('m', 6000, 2000, 2000, 7, 2, 'k1', tap_now())$$,
    'the record has all of it'
);
select is(
    (select count(*) from legacy_billing.customers where user_id = c()), 1::bigint, 'and becomes a customer, once'
);
select is((select count(*) from legacy_billing.usage_records where user_id = c()), 2::bigint, 'with both calls');
select is((billing.get_migration(c())).status, 'waiting', 'who lives there');
set local tap.now = '2025-04-01 00:00+00';
select is(track(a(), 1000), 't 1 0 | 1 24 0 f f', 'the next month has its own limit');
select is(track(a(), 6000, 'k1', 2000, 2000), 't 7 2 | 1 24 0 f t', 'R07: a key is for ever');

-- Here.

select moves(a()) \g /dev/null
set local role billing_api;
select is(
    track(a(), 6000, 'k1', 2000, 2000), 't 7 2 | 1 24 0 t t', 'R07: what the old system recorded is not paid again here'
);
select throws_ok(
    'select billing.legacy_track(a(), ''m'', 1, 0, 0, ''k1'')', 'UC409', 'idempotency_key_reused',
    'R07: nor is the key free'
);
select is(track(a(), 4000, 'k2'), 't 4 0 | 5 20 0 t f', 'the account pays');
select is(track(a(), 4000, 'k2'), 't 4 0 | 5 20 0 t t', 'R07: once');
select is((billing.get_account(a())).balance, 20::numeric, 'this is what is left');
select is(
    (billing.deduct_tokens(a(), 'm', 4000, 0, p_idempotency_key => 'k2')).replayed, true,
    'R07: the key is one for both ways in'
);
select throws_ok(
    'select billing.legacy_track(a(), ''m'', 1, 0, 0, ''k2'')', 'UC409', 'idempotency_key_reused', 'and its call'
);
select is(
    track(a(), 21000, 'k3'), 'f insufficient_credits 21 0 | 5 20 0 t f', 'the account refuses what it can''t pay'
);
select is(track(a(), 20000, 'k3'), 't 20 0 | 25 0 0 t f', 'R07: which binds no key');
select is(track(a(), 0), 't 0 0 | 25 0 0 t f', 'a call that costs nothing passes');
reset role;
select is(
    (select count(*) from legacy_billing.usage_records where user_id = a()), 6::bigint,
    'the old system was told nothing'
);
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.grant_credits(a(), 50, 'promotion') \g /dev/null
select billing.set_account_status(chief(), a(), 'frozen', 'r') \g /dev/null
select is(track(a(), 1000), 'f account_frozen 1 0 | 25 0 50 t f', 'nor pays a frozen one');
select billing.set_account_status(chief(), a(), 'closed', 'r') \g /dev/null
select is(track(a(), 1000), 'f account_closed 1 0 | 25 0 50 t f', 'nor a closed one');
select billing.set_account_status(chief(), a(), 'active', 'r') \g /dev/null

-- There again.

select returns(a()) \g /dev/null
select is(track(a(), 4000, 'k2'), 't 4 0 | 25 0 50 f t', 'R07: what the account paid is not recorded again there');
select is(track(a(), 20000, 'k3'), 't 20 0 | 25 0 50 f t', 'R07: nor this');
select is(track(a(), 1000, 'k4'), 't 1 1 | 26 0 49 f f', 'the next one is');
select moves(a()) \g /dev/null
select is(track(a(), 1000, 'k4'), 't 1 1 | 26 0 49 t t', 'R07: back and forth');

-- Malformed.

select throws_ok(format('select billing.legacy_track(%s)', arguments), code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, ''m'', 1, 1', 'UC400', 'invalid_request'), ('nobody(), ''m'', 1, 1, 0, ''''', 'UC400', 'invalid_request'),
    ('nobody(), ''m'', 1, 1, 0, repeat(''k'', 201)', 'UC400', 'invalid_request'),
    ('nobody(), ''none'', 1, 1', 'UC404', 'unknown_model'), ('nobody(), null, 1, 1', 'UC404', 'unknown_model'),
    ('nobody(), ''m'', null, 1', 'UC422', 'invalid_tokens'), ('nobody(), ''m'', 1, null', 'UC422', 'invalid_tokens'),
    ('nobody(), ''m'', 1, 1, null', 'UC422', 'invalid_tokens'), ('nobody(), ''m'', -1, 1', 'UC422', 'invalid_tokens'),
    ('nobody(), ''m'', 1, -1', 'UC422', 'invalid_tokens'), ('nobody(), ''m'', 1, 1, -1', 'UC422', 'invalid_tokens'),
    ('nobody(), ''m'', 1, 1, 2', 'UC422', 'invalid_tokens'),
    ('nobody(), ''m'', 1000000000001, 1', 'UC422', 'invalid_tokens'),
    ('nobody(), ''dear'', 1000000001, 0', 'UC422', 'amount_too_large'),
    ('a(), ''none'', 1, 1', 'UC404', 'unknown_model'),
    ('a(), ''m'', 1, 1, 2', 'UC422', 'invalid_tokens'), ('a(), ''dear'', 1000000001, 0', 'UC422', 'amount_too_large')
) c (arguments, code, name);
select is((billing.get_migration(nobody())).status, 'unknown', 'none of that left a customer');
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
