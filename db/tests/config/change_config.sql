-- A super admin changes one row of the configuration as they saw it: logged, and as safe as applying the file is.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.set_user_role(chief(), b(), 'super_admin') \g /dev/null
create function at(p_section text, p_name text) returns jsonb stable language sql as
$$select billing.get_config() #> array[p_section, p_name]$$;
create function changed(
    p_section text, p_name text, p_after jsonb, p_key text default null, p_actor uuid default chief(),
    p_before jsonb default null
)
returns billing.admin_result language sql as $$
    select billing.change_config(
        p_actor, p_section, p_name, coalesce(p_before, at(p_section, p_name)), p_after, 'a test', p_key
    )
$$;
create function told(p billing.admin_result) returns text language sql as
$$select concat_ws(' ', p.success, p.reason, p.amount, case when p.replayed then 'again' end)$$;
create temp table start as select * from billing_private.config_applied;

-- Each section, each kind of change.

select billing.open_account(a(), 'tier_2_20') \g /dev/null
create temp table done as
select told(
    changed('tiers', 'free', at('tiers', 'free') || '{"monthly_credits": 6, "rollover_cap": "12.50"}')
) as result;
select is(result, 't 0', 'a tier changes') from done;
select is(at('tiers', 'free') ->> 'rollover_cap', '12.5', 'numbers are typed by their columns');
select is((billing.open_account(c())).balance, 5.00, 'an amount not in this period');
select is(
    (select monthly_credits from billing.billing_tier_amounts where tier = 'free' and from_period = '2025-04-01'), 6,
    'but from the next one on'
);
select rows_are(
    $$
    select target_user_id, admin_user_id, action, amount, reason, outcome, details - 'before' - 'after', created_at
    from billing.admin_actions_log where action = 'change_config'
    $$,
    $$
    values ('00000000-0000-0000-0000-000000000000'::uuid, chief(), 'change_config', null, 'a test', 'done',
        '{"section": "tiers", "name": "free", "change": "change"}'::jsonb, '2025-03-10 12:00+00'::timestamptz)
    $$,
    'it is logged, under the nil uuid'
);
select is(
    (
        select jsonb_build_array(
            details #> '{before,monthly_credits}', details #> '{after,monthly_credits}',
            details #> '{before,rollover_cap}'
        )
        from billing.admin_actions_log where action = 'change_config'
    ),
    '[5, 6, null]', 'with what it was and what it is'
);
select is(
    told(changed('tiers', 'gold', at('tiers', 'free') || '{"rank": 100, "display_name": "Gold"}')), 't 0',
    'a tier is added'
);
select is(told(changed('tiers', 'gold', null)), 't 0', 'and removed');
select is(at('tiers', 'gold'), null::jsonb, 'it is gone');
select is(
    told(changed('tiers', 'gold', at('tiers', 'free') || '{"rank": 100}', p_before => 'null')), 't 0',
    'null in JSON is none'
);
select is(told(changed('tiers', 'gold', 'null')), 't 0', 'on either side');
set local tap.now = '2025-03-10 13:00+00';
select is(
    told(changed('model_prices', 'o3', at('model_prices', 'o3') || '{"multiplier": 2}')), 't 0', 'a price changes'
);
select is((billing.deduct_tokens(a(), 'o3', 1000, 0)).cost, 0.004, 'from then on');
select is((select count(*) from billing.model_prices where model = 'o3'), 2::bigint, 'the one of before stays known');
select is(told(changed('model_prices', 'o3', null)), 't 0', 'or is removed');
select throws_ok(
    'select billing.deduct_tokens(a(), ''o3'', 1, 0)', 'UC404', 'unknown_model', 'the model is not there any more'
);
select is(
    told(changed('admin_limits', 'admin', at('admin_limits', 'admin') || '{"approval_above": 100}')), 't 0',
    'limits change'
);
select is((billing.get_admin(admin())).approval_above, 100, 'and count');
select is(told(changed('packages', '20', '{"amount": 20, "price_cents": 1900}')), 't 0', 'a package is added');
select is(told(changed('packages', '20', '{"amount": 20, "price_cents": 1800}')), 't 0', 'changed');
select is(told(changed('packages', '20', null)), 't 0', 'and removed');
select is(
    told(changed('settings', 'default', at('settings', 'default') || '{"retention": "60 days"}')), 't 0',
    'settings change'
);
select is(at('settings', 'default') ->> 'retention', '60 days', 'an interval');

-- Against the file.

select rows_are(
    'select * from billing_private.config_applied order by section, name', 'select * from start order by section, name',
    'what was last applied stays what it was'
);
select rows_are(
    'select section, name, change, edited from billing.diff_config((select jsonb_object_agg(section, rows) from ('
    'select section, jsonb_object_agg(name, content) as rows from start group by section) s))',
    $$
    values ('admin_limits', 'admin', 'change', true), ('model_prices', 'o3', 'add', true),
        ('settings', 'default', 'change', true), ('tiers', 'free', 'change', true)
    $$,
    'so the file knows what was edited since'
);
update billing.billing_tiers set display_name = 'Edited' where name = 'tier_6_50';
select is(
    told(changed('tiers', 'tier_2_20', at('tiers', 'tier_2_20') || '{"display_name": "Plus!"}')), 't 0',
    'an edit of another row in the database is in nobody''s way'
);
select is(
    told(changed('tiers', 'tier_6_50', at('tiers', 'tier_6_50') || '{"display_name": "Seen"}')), 't 0',
    'nor is one of the row itself, when it was seen'
);

-- As it was seen.

create temp table seen as select at('packages', '10') as content;
select is(
    told(changed('packages', '10', '{"amount": 10, "price_cents": 900}',
        p_before => '{"name": "10", "price_cents": 1000.00, "amount": 10.0}')),
    't 0', 'numbers are compared by value, and the name is no part of it'
);
select throws_ok(
    format('select billing.change_config(chief(), ''packages'', %L, %L, %L, ''r'')', name, before, after), 'UC409',
    'config_changed', what
)
from seen cross join lateral (values
    ('10', content, content || '{"amount": 11}', 'what somebody else has changed'),
    ('10', content, null, 'and would be removed'),
    ('10', null, content, 'what somebody else has added'),
    ('20', content, content || '{"amount": 11}', 'what somebody else has removed'),
    ('20', content, null, 'and would be once more'),
    ('25', '{}', content, 'of what nothing was seen'),
    ('25', '{"amount": 25}', content, 'or only a part')
) v (name, before, after, what);

-- Again.

select is(told(changed('packages', '10', '{"amount": 10, "price_cents": 950}', 'key')), 't 0', 'with a key');
create temp table last as select action_id from billing.admin_actions_log where details ->> 'idempotency_key' = 'key';
create function again(
    p_actor uuid, p_after jsonb, p_before jsonb default '{"amount": 10, "price_cents": 900}', p_name text default '10'
)
returns billing.admin_result language sql as
$$select changed('packages', p_name, p_after, 'key', p_actor, p_before)$$;
select is(told(again(chief(), '{"price_cents": "950", "amount": 10.00}')), 't 0 again', 'the same is done once');
select is((again(chief(), '{"amount": 10, "price_cents": 950}')).action_id, action_id, 'and tells the first one')
from last;
select throws_ok('select again(' || call || ')', 'UC409', 'idempotency_key_reused', 'another: ' || call)
from unnest(array[
    'chief(), ''{"amount": 10, "price_cents": 951}''', 'b(), ''{"amount": 10, "price_cents": 950}''', 'chief(), null',
    'chief(), ''{"amount": 10, "price_cents": 950}'', ''null''',
    'chief(), ''{"amount": 10, "price_cents": 950}'', ''{"amount": 10, "price_cents": 901}''',
    'chief(), ''{"amount": 10, "price_cents": 950}'', p_name => ''25'''
]) call;
-- A value that is null counts as one.
select changed('tiers', 'free', at('tiers', 'free') || '{"rollover_cap": null}', 'cap') \g /dev/null
select throws_ok(
    format('select changed(''tiers'', ''free'', %L, ''cap'')', at('tiers', 'free') || '{"rollover_cap": 7}'), 'UC409',
    'idempotency_key_reused', 'also where the first one had null'
);
select is(
    (
        select count(*) from billing.admin_actions_log
        where action = 'change_config' and details ->> 'idempotency_key' = 'key'
    ),
    1::bigint, 'it is logged once'
);

-- Who may.

create temp table before as select billing.get_config() as config;
select is(
    told(changed('packages', '10', null, 'no', u)), 'f not_a_super_admin 0', 'answered: ' || who
)
from (values (admin(), 'an admin'), (a(), 'a user')) v (u, who);
select rows_are(
    $$select admin_user_id, outcome, details ->> 'change' from billing.list_actions(p_refused => true) order by 1$$,
    $$values (a(), 'not_a_super_admin', 'remove'), (admin(), 'not_a_super_admin', 'remove')$$, 'each is logged'
);
select is(
    told(changed('packages', '10', null, 'no', admin(), '{}')), 'f not_a_super_admin 0', 'and is not told how it is'
);
select is(billing.get_config(), config, 'nothing has changed') from before;

-- What may not be.

insert into billing.billing_subscriptions (
    stripe_subscription_id, user_id, tier, next_tier, billing_interval, status, current_period_start,
    current_period_end, stripe_item_id, stripe_price_id, synced_at, created_at, updated_at
)
values ('sub_1', a(), 'tier_125_800', 'tier_25_200', 'month', 'past_due', now(), now(), 'si_1', 'price_1', now(), now(),
    now());
insert into billing.billing_auto_top_ups (user_id, enabled, threshold, package, monthly_cap, updated_at)
values (a(), true, 1, '25', 100, now());
select throws_ok(
    format('select changed(%L, %L, null)', section, name), 'UC409', 'config_in_use',
    format('in use: %s %s', section, name)
)
from (values
    ('tiers', 'tier_2_20'), ('tiers', 'tier_125_800'), ('tiers', 'tier_25_200'), ('packages', '25')
) v (section, name);
select throws_ok(
    format('select changed(%L, %L, %L)', section, name, content), 'UC422', 'invalid_config', what
)
from (values
    ('tiers', 'free', null, 'the first tier stays'),
    ('admin_limits', 'admin', null, 'an admin without limits could do nothing'),
    ('admin_limits', 'super_admin', null, 'nor could a super admin'),
    ('settings', 'default', null, 'the settings stay'),
    ('tiers', 'free', '{}', 'a row without its columns'),
    ('tiers', 'free', at('tiers', 'free') || '{"colour": "red"}', 'a column that there is not'),
    ('tiers', 'free', at('tiers', 'free') || '{"name": "freer"}', 'another name'),
    ('tiers', 'free', at('tiers', 'free') || '{"rank": "high"}', 'a rank that is no number'),
    ('tiers', 'free', at('tiers', 'free') || '{"rank": 7}', 'a rank that another tier has'),
    ('tiers', 'free', at('tiers', 'free') || '{"monthly_credits": -1}', 'a negative amount'),
    ('tiers', 'free', at('tiers', 'free') || '{"monthly_credits": "NaN"}', 'an amount that is none'),
    ('tiers', 'No Name', at('tiers', 'free') || '{"rank": 100}', 'a bad name'),
    ('admin_limits', 'user', at('admin_limits', 'admin'), 'limits of a role that has none'),
    ('model_prices', 'gpt-5', at('model_prices', 'gpt-5') || '{"multiplier": 0}', 'a multiplier of 0'),
    ('settings', 'second', at('settings', 'default'), 'settings that nobody reads'),
    ('settings', 'default', at('settings', 'default') || '{"min_purchase": 20000}', 'a least purchase above the most'),
    ('settings', 'default', at('settings', 'default') || '{"retention": "a while"}', 'an interval that is none')
) v (section, name, content, what);
select throws_ok('select billing.change_config(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null, ''tiers'', ''free'', null, ''{}'', ''r''', 'UC400', 'invalid_request'),
    ('chief(), ''secrets'', ''free'', null, ''{}'', ''r''', 'UC400', 'invalid_request'),
    ('chief(), null, ''free'', null, ''{}'', ''r''', 'UC400', 'invalid_request'),
    ('chief(), ''tiers'', null, null, ''{}'', ''r''', 'UC400', 'invalid_request'),
    ('chief(), ''tiers'', ''free'', null, null, ''r''', 'UC400', 'invalid_request'),
    ('chief(), ''tiers'', ''free'', ''null'', ''null'', ''r''', 'UC400', 'invalid_request'),
    ('chief(), ''tiers'', ''free'', ''[]'', ''{}'', ''r''', 'UC400', 'invalid_request'),
    ('chief(), ''tiers'', ''free'', ''{}'', ''1'', ''r''', 'UC400', 'invalid_request'),
    ('chief(), ''packages'', ''10'', at(''packages'', ''10''), at(''packages'', ''10''), ''r''', 'UC400', 'invalid_request'),
    ('chief(), ''tiers'', ''free'', ''{}'', ''{}'', ''r'', ''''', 'UC400', 'invalid_request'),
    ('chief(), ''tiers'', ''free'', ''{}'', ''{}'', '' ''', 'UC422', 'reason_required')
) c (arguments, code, name);
select is(billing.get_config(), config, 'nothing of that has changed anything') from before;
select is_empty('select * from billing.verify_ledger()', 'accounts are as they were');

select * from finish();
rollback;
