-- Every named constraint refuses, by itself, what it is named for: the owner's direct writes too. Evidence is append-only.
\ir payments.psql

create temp table tried (constraint_name text);
grant all on tried to public;

-- The statement breaks exactly this rule, of a table or of a domain: PostgreSQL names the first broken one.
create function pg_temp.refuses(p_constraint text, p_statement text, p_case text) returns text
language plpgsql as $$
declare
    v_message text;
    v_code    text;
begin
    insert into tried values (p_constraint);
    select
        case
            when contype <> 'c' then format('duplicate key value violates unique constraint "%s"', conname)
            when contypid <> 0 then format(
                'value for domain %s violates check constraint "%s"', format_type(contypid, null), conname
            )
            else format(
                'new row for relation "%s" violates check constraint "%s"', split_part(conrelid::regclass::text, '.', -1),
                conname
            )
        end,
        case contype when 'c' then '23514' else '23505' end
    into v_message, v_code
    from pg_constraint
    where conname = p_constraint and connamespace = 'billing'::regnamespace;
    return throws_ok(p_statement, v_code, v_message, format('%s: %s', p_constraint, left(p_case, 80)));
end
$$;

-- What no column of credits takes.
create temp view bad_credits as
select *
from (values
    ('credits_not_negative', '-0.000000001'), ('credits_not_negative', '-infinity'), ('credits_exact', 'NaN'),
    ('credits_exact', 'infinity'), ('credits_exact', '0.0000000001'), ('credits_exact', '1000000000000000000.1')
) v (name, value);
grant select on bad_credits to public;

-- One row of each table, by the functions themselves.
select billing.bootstrap_super_admin('00000000-0000-0000-0000-0000000000ad') \g /dev/null
select billing.open_account('00000000-0000-0000-0000-00000000000a', 'tier_2_20') \g /dev/null
select billing.hold_credits('00000000-0000-0000-0000-00000000000a', 5, p_idempotency_key => 'k') \g /dev/null
select billing.deduct_credits('00000000-0000-0000-0000-00000000000a', 2, p_idempotency_key => 'k') \g /dev/null
select billing.grant_credits('00000000-0000-0000-0000-00000000000a', 10, 'promotion', p_idempotency_key => 'k') \g /dev/null
select billing.reverse_entry(
    '00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-00000000000a', 2, 'r', 'k'
) \g /dev/null

select billing.request_approval(
    '00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-00000000000a', 'adjust_credits', 'r', 1,
    p_idempotency_key => 'k'
) \g /dev/null

set local role billing_owner;

-- Accounts.

select pg_temp.refuses(
    name, format('update billing.credit_accounts set %I = %L', column_name, value), format('%s = %s', column_name, value)
)
from bad_credits, unnest(array['balance', 'held', 'debt', 'used_total', 'settled_total']) column_name;
select pg_temp.refuses(name, 'update billing.credit_accounts set ' || assignment, assignment)
from (values
    ('account_held_within_balance', 'held = balance + 0.000000001'),
    ('account_held_within_balance', 'balance = held - 0.000000001'),
    ('account_settled_within_used', 'used_total = settled_total - 0.000000001'),
    ('account_settled_within_used', 'settled_total = used_total + 0.000000001'),
    ('account_status_known', 'status = ''suspended''')
) c (name, assignment);
select lives_ok(
    'update billing.credit_accounts set balance = 1000000000000000, held = 0.000000001, debt = 0.000000001',
    'the largest balance and nine decimal places are fine'
);
select throws_ok(
    $$update billing.credit_accounts set tier = 'no_such_tier'$$, '23503', null, 'an account''s tier must exist'
);
select throws_ok(
    $$insert into billing.credit_accounts select * from billing.credit_accounts$$, '23505', null,
    'a user has one account'
);
select throws_ok(
    format('update billing.credit_accounts set %I = null', name), '23502', null, name || ' is never null'
)
from unnest(array[
    'balance', 'held', 'debt', 'used_total', 'settled_total', 'entry_count', 'chain_head', 'status', 'tier'
]) name;

-- The ledger.

-- A good entry, changed in some of its columns.
create function pg_temp.entry(p_changes text) returns text language sql as $$
    select format(
        'insert into billing.credit_ledger select (jsonb_populate_record(e, %L)).* from billing.credit_ledger e '
        'where entry_no = 3',
        '{"entry_no": 100, "idempotency_key": null, ' || p_changes || '}'
    )
$$;
select lives_ok(pg_temp.entry('"reference_type": "r"'), 'a good entry passes');
select pg_temp.refuses(
    name, pg_temp.entry(format('"%s": "%s"', column_name, value)), format('%s = %s', column_name, value)
)
from bad_credits, unnest(array['balance_after', 'used_after']) column_name;
select pg_temp.refuses(name, pg_temp.entry(changes), changes)
from (values
    ('entry_type_known', '"type": "gift"'),
    ('signed_credits_exact', '"amount": "NaN"'),
    ('signed_credits_exact', '"amount": "infinity"'),
    ('signed_credits_exact', '"amount": "-infinity", "type": "usage"'),
    ('signed_credits_exact', '"amount": 1.0000000001'),
    ('signed_credits_exact', '"amount": 1000000000000.1'),
    ('signed_credits_exact', '"amount": -1000000000000.1, "type": "usage"'),
    ('entry_fits_its_type', '"amount": 1, "type": "usage"'),
    ('entry_fits_its_type', '"amount": 0, "type": "expiry", "grant_no": 1'),
    ('entry_fits_its_type', '"amount": 1, "type": "clawback", "grant_no": 1'),
    ('entry_fits_its_type', '"amount": 1, "type": "debt_repayment", "grant_no": 1'),
    ('entry_fits_its_type', '"amount": 1, "type": "rollback", "grant_no": 1'),
    ('entry_fits_its_type', '"amount": 0, "type": "rollback", "grant_no": 1'),
    ('entry_fits_its_type', '"amount": -1, "type": "rollback"'),
    ('entry_fits_its_type', '"amount": 0, "type": "adjustment"'),
    ('entry_fits_its_type', '"amount": 0, "type": "tier_grant"'),
    ('entry_fits_its_type', '"amount": -1, "type": "purchase"'),
    ('entry_fits_its_type', '"amount": -1, "type": "refund"'),
    ('entry_fits_its_type', '"amount": -1, "type": "trial_grant"'),
    ('entry_fits_its_type', '"amount": -1, "type": "migration"'),
    ('entry_fits_its_type', '"amount": -1, "type": "reversal", "reversed_entry_no": 99'),
    ('entry_fits_its_type', '"amount": -1, "type": "expiry"'),
    ('entry_fits_its_type', '"amount": -1, "type": "clawback"'),
    ('entry_fits_its_type', '"amount": -1, "type": "debt_repayment"'),
    ('entry_fits_its_type', '"grant_no": 1'),
    ('entry_fits_its_type', '"type": "reversal"'),
    ('entry_fits_its_type', '"reversed_entry_no": 99'),
    ('idempotency_key_well_formed', '"idempotency_key": ""'),
    ('idempotency_key_well_formed', format('"idempotency_key": "%s"', repeat('k', 201))),
    ('short_text_bounded', format('"reference_type": "%s"', repeat('r', 201))),
    ('short_text_bounded', format('"reference_id": "%s"', repeat('r', 201))),
    ('long_text_bounded', format('"description": "%s"', repeat('d', 2001))),
    ('json_is_object', '"metadata": [1]'),
    ('sha256_has_32_bytes', '"entry_hash": "\\x00"')
) c (name, changes);
select throws_ok(pg_temp.entry('"entry_no": 3'), '23505', null, 'an account''s entry has a number of its own');
select throws_ok(
    pg_temp.entry('"idempotency_key": "k"'), '23505', null,
    'R07: a key of a user and function is there once, whatever wrote it first, for ever'
);
select lives_ok(
    pg_temp.entry('"entry_no": 102, "amount": -1, "type": "rollback", "grant_no": 1'), 'a rollback takes from a lot'
);
select lives_ok(pg_temp.entry('"entry_no": 101, "idempotency_key": "k", "operation": "another"'), 'another function may have it');
select throws_ok(
    pg_temp.entry('"type": "reversal", "reversed_entry_no": 2'), '23505', null, 'an entry is reversed once'
);

-- Lots and burns.

create function pg_temp.lot(p_changes text) returns text language sql as $$
    select format(
        'insert into billing.credit_grants select (jsonb_populate_record(l, %L)).* from billing.credit_grants l '
        'where grant_no = 2',
        '{"grant_no": 100, ' || p_changes || '}'
    )
$$;
select lives_ok(pg_temp.lot('"priority": 0'), 'a good lot passes');
select pg_temp.refuses(
    name, pg_temp.lot(format('"%s": "%s"', column_name, value)), format('%s = %s', column_name, value)
)
from bad_credits, unnest(array['amount', 'remaining']) column_name;
select pg_temp.refuses(name, pg_temp.lot(changes), changes)
from (values
    ('lot_number_positive', '"grant_no": 0'),
    ('lot_source_known', '"source": "gift"'),
    ('lot_amount_positive', '"amount": 0, "remaining": 0'),
    ('lot_remaining_within_amount', '"remaining": 10.000000001'),
    ('lot_expires_after_grant', '"granted_at": "2025-01-01 00:00+00", "expires_at": "2025-01-01 00:00+00"'),
    ('lot_priority_bounded', '"priority": -1'),
    ('lot_priority_bounded', '"priority": 1001'),
    ('short_text_bounded', format('"reference_type": "%s"', repeat('r', 201))),
    ('short_text_bounded', format('"reference_id": "%s"', repeat('r', 201)))
) c (name, changes);
select throws_ok(
    pg_temp.lot('"grant_no": 101, "entry_no": 999'), '23503', null, 'a lot was brought by an entry'
);
select throws_ok(
    pg_temp.lot('"user_id": "00000000-0000-0000-0000-00000000000b"'), '23503', null, 'of an account, and of the same one'
);

create function pg_temp.burn(p_changes text) returns text language sql as $$
    select format(
        'insert into billing.credit_burns select (jsonb_populate_record(b, %L)).* from billing.credit_burns b',
        '{' || p_changes || '}'
    )
$$;
select pg_temp.refuses(
    name, pg_temp.burn(format('"%s": "%s"', column_name, value)), format('%s = %s', column_name, value)
)
from bad_credits, unnest(array['from_used', 'to_used']) column_name;
select pg_temp.refuses('burn_has_length', pg_temp.burn(changes), changes)
from unnest(array['"from_used": 9, "to_used": 9', '"from_used": 9, "to_used": 8.999999999']) changes;
select throws_ok(
    pg_temp.burn('"from_used": 1'), '23505', null, 'a point of the usage axis is the end of one stretch only'
);
select throws_ok(pg_temp.burn('"from_used": 9, "to_used": 10, "grant_no": 999'), '23503', null, 'a burn names its lot');

-- Holds.

select pg_temp.refuses(
    name, format('update billing.credit_holds set %I = %L', column_name, value), format('%s = %s', column_name, value)
)
from bad_credits, unnest(array['amount', 'captured']) column_name;
select pg_temp.refuses(name, 'update billing.credit_holds set ' || assignment, assignment)
from (values
    ('hold_amount_positive', 'amount = 0'),
    ('hold_captured_by_an_entry', 'captured = 1'),
    ('hold_captured_by_an_entry', 'status = ''captured'', ended_at = now(), captured = 1'),
    ('hold_captured_by_an_entry', 'status = ''captured'', ended_at = now(), entry_no = 2'),
    ('hold_captured_by_an_entry', 'entry_no = 2'),
    ('hold_status_known', 'status = ''lost'', ended_at = now()'),
    ('hold_ended_when_not_active', 'status = ''released'''),
    ('hold_ended_when_not_active', 'ended_at = now()'),
    ('hold_expires_after_creation', 'expires_at = created_at'),
    ('idempotency_key_well_formed', 'idempotency_key = '''''),
    ('idempotency_key_well_formed', 'idempotency_key = repeat(''k'', 201)'),
    ('long_text_bounded', 'description = repeat(''d'', 2001)')
) c (name, assignment);
select throws_ok(
    $$
    insert into billing.credit_holds (user_id, hold_id, amount, expires_at, idempotency_key, created_at)
    select user_id, gen_random_uuid(), 1, expires_at, 'k', created_at from billing.credit_holds
    $$,
    '23505', null, 'a key of a user''s holds is there once'
);

-- What the application calls a user.

select billing.set_user_reference('00000000-0000-0000-0000-00000000000a', 'ann@example.com') \g /dev/null
select pg_temp.refuses(name, format('update billing.user_references set reference = %L', value), value)
from (values
    ('reference_given', ''), ('reference_given', E'\n'), ('reference_without_blanks_around', ' ann'),
    ('reference_without_blanks_around', 'ann '), ('short_text_bounded', repeat('x', 201))
) c (name, value);

-- Roles, limits and the admin log.

select pg_temp.refuses(name, statement, substr(statement, strpos(statement, ' set ') + 5))
from (values
    ('role_known', 'update billing.user_roles set role = ''root'''),
    ('role_day_total_exact', 'update billing.user_roles set day_total = -1'),
    ('role_day_total_exact', 'update billing.user_roles set day_total = ''NaN'''),
    ('role_day_total_exact', 'update billing.user_roles set day_total = ''infinity'''),
    ('role_day_total_exact', 'update billing.user_roles set day_total = 0.0000000001'),
    ('role_day_total_exact', 'update billing.user_roles set day_total = 1000000000000000000.1'),
    ('limit_role_known', 'update billing.admin_limits set role = ''user'' where role = ''admin''')
) c (name, statement);
select pg_temp.refuses(
    name, format('update billing.admin_limits set %I = %L', column_name, value), format('%s = %s', column_name, value)
)
from (values
    ('limit_adjustment_exact', 'max_credit_adjustment'), ('limit_daily_total_exact', 'max_daily_total'),
    ('limit_approval_exact', 'approval_above')
) c (name, column_name)
cross join unnest(array['-1', 'NaN', 'infinity', '0.0000000001', '1000000000000.1']) value;
select pg_temp.refuses(
    name,
    'insert into billing.admin_actions_log (target_user_id, action_id, action, amount, reason, details, outcome, created_at) '
    || format('values (gen_random_uuid(), gen_random_uuid(), %L, %s, ''done'', now())', 'adjust', row_values),
    row_values
)
from (values
    ('action_amount_exact', '''NaN'', ''r'', ''{}'''),
    ('action_amount_exact', '''infinity'', ''r'', ''{}'''),
    ('action_amount_exact', '''-infinity'', ''r'', ''{}'''),
    ('action_amount_exact', '1.0000000001, ''r'', ''{}'''),
    ('action_amount_exact', '1000000000000000.1, ''r'', ''{}'''),
    ('action_reason_given', '1, '' '', ''{}'''),
    ('action_details_are_object', '1, ''r'', ''[]''')
) c (name, row_values);

-- Configuration.

select pg_temp.refuses(name, 'update billing.billing_tiers set ' || assignment || ' where name = ''free''', assignment)
from (values
    ('tier_name_well_formed', 'name = ''Free tier'''),
    ('tier_display_name_given', 'display_name = '' '''),
    ('tier_credits_exact', 'monthly_credits = -1'),
    ('tier_credits_exact', 'monthly_credits = ''NaN'''),
    ('tier_credits_exact', 'monthly_credits = ''infinity'''),
    ('tier_credits_exact', 'monthly_credits = 0.0000000001'),
    ('tier_credits_exact', 'monthly_credits = 1000000000.1'),
    ('tier_price_not_negative', 'price_cents = -1'),
    ('tier_expiry_positive', 'grant_expires_after = interval ''0'''),
    ('tier_expiry_positive', 'grant_expires_after = interval ''-1 day'''),
    ('tier_rollover_cap_exact', 'rollover_cap = -1'),
    ('tier_rollover_cap_exact', 'rollover_cap = ''NaN'''),
    ('tier_rollover_cap_exact', 'rollover_cap = ''infinity'''),
    ('tier_rollover_cap_exact', 'rollover_cap = 0.0000000001'),
    ('tier_rollover_cap_exact', 'rollover_cap = 1000000000.1'),
    ('tier_rank_unique', 'rank = 1')
) c (name, assignment);
select pg_temp.refuses(name, 'insert into billing.billing_tier_amounts values (''free'', ' || row_values || ')', row_values)
from (values
    ('tier_amount_from_month_start', '''2025-01-02'', 1'),
    ('tier_amount_exact', '''2025-01-01'', -1'),
    ('tier_amount_exact', '''2025-01-01'', ''NaN'''),
    ('tier_amount_exact', '''2025-01-01'', ''infinity'''),
    ('tier_amount_exact', '''2025-01-01'', 0.0000000001'),
    ('tier_amount_exact', '''2025-01-01'', 1000000000.1')
) c (name, row_values);
select pg_temp.refuses(
    name, format('update billing.model_prices set %I = %L where model = ''o3''', column_name, value),
    format('%s = %s', column_name, value)
)
from (values
    ('price_input_exact', 'input_per_million'), ('price_cached_input_exact', 'cached_input_per_million'),
    ('price_output_exact', 'output_per_million'), ('price_multiplier_exact', 'multiplier')
) c (name, column_name)
cross join unnest(array['-1', 'NaN', 'infinity', '0.0000000001', '1000000.1']) value;
select pg_temp.refuses(name, statement, substr(statement, strpos(statement, ' set ') + 5))
from (values
    ('price_multiplier_exact', 'update billing.model_prices set multiplier = 0 where model = ''o3'''),
    ('price_model_given', 'update billing.model_prices set model = '' '' where model = ''o3'''),
    ('settings_one_row', 'update billing.billing_settings set name = ''another'''),
    ('settings_grace_positive', 'update billing.billing_settings set reversal_grace = interval ''0'''),
    ('settings_approval_lifetime_positive', 'update billing.billing_settings set approval_lifetime = interval ''0'''),
    ('settings_approval_lifetime_positive', 'update billing.billing_settings set approval_lifetime = interval ''-1 s'''),
    (
        'settings_retention_long_enough',
        'update billing.billing_settings set retention = interval ''30 days 23:59:59'''
    )
) c (name, statement);
select pg_temp.refuses(
    name, format('update billing.billing_settings set %I = %L', column_name, value),
    format('%s = %s', column_name, value)
)
from (values
    ('settings_low_balance_exact', 'low_balance'), ('settings_depleted_balance_exact', 'depleted_balance')
) c (name, column_name)
cross join unnest(array['-0.01', 'NaN', 'infinity', '0.0000000001', '1000000.1']) value;
select pg_temp.refuses(
    'settings_depleted_balance_exact', 'update billing.billing_settings set depleted_balance = 0', 'depleted_balance = 0'
);
select lives_ok(
    $$update billing.billing_settings set low_balance = 0, retention = '31 days'$$,
    'no low balance, and the shortest retention'
);
select throws_ok(
    $$delete from billing.billing_tiers where name = 'tier_2_20'$$, '23503', null, 'a tier with accounts stays'
);

-- Payments.

reset role;
select buys(e(), 10, 'pi_1') \g /dev/null
select customer(e(), 'cus_1') \g /dev/null
select billing.request_refund('00000000-0000-0000-0000-0000000000ad', e(), 1, 'r', true, 'pi_1') \g /dev/null
select billing.record_stripe_object(stripe_refund('re_1', 'pi_1', 100, refund_id)) from billing.credit_refunds \g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_1', 'pi_1', 1)) \g /dev/null
select billing.request_checkout(e(), 'tier_2_20') \g /dev/null
update billing.billing_checkouts set stripe_checkout_session_id = 'cs_1';
select billing.record_stripe_object(stripe_subscription('sub_1', 'cus_1', 'tier_2_20')) \g /dev/null
select billing.set_auto_top_up(e(), false, 1, '10', 10) \g /dev/null
select billing.record_stripe_event(stripe_event('evt_1', 'invoice.paid', '{}')) \g /dev/null
set local role billing_owner;

-- The first row of a table once more, changed in some of its columns.
create function pg_temp.another(p_table text, p_changes text) returns text language sql as $$
    select format(
        'insert into billing.%1$I select (jsonb_populate_record(r, %2$L)).* from billing.%1$I r limit 1', p_table,
        '{' || p_changes || '}'
    )
$$;
select pg_temp.refuses(
    name, format('update billing.%I set %I = %L', table_name, column_name, value), format('%s = %s', column_name, value)
)
from bad_credits,
    (values
        ('credit_purchases', 'amount'), ('credit_purchases', 'spent_before'), ('billing_payments', 'bought'),
        ('billing_payments', 'reclaimed'),
        ('billing_payments', 'clawed'), ('billing_payments', 'owed'), ('credit_refunds', 'amount'),
        ('credit_refunds', 'clawed'), ('credit_refunds', 'spent'), ('credit_refunds', 'owed'),
        ('billing_auto_top_ups', 'threshold'), ('billing_auto_top_ups', 'monthly_cap')
    ) c (table_name, column_name);
select pg_temp.refuses(name, format('update billing.%s set %s', table_name, assignment), assignment)
from (values
    ('package_name_well_formed', 'billing_packages', 'name = ''Ten'' where name = ''10'''),
    ('package_name_well_formed', 'billing_packages', 'name = '''' where name = ''10'''),
    ('package_amount_exact', 'billing_packages', 'amount = 0'),
    ('package_amount_exact', 'billing_packages', 'amount = ''NaN'''),
    ('package_amount_exact', 'billing_packages', 'amount = ''infinity'''),
    ('package_amount_exact', 'billing_packages', 'amount = 0.0000000001'),
    ('package_amount_exact', 'billing_packages', 'amount = 1000000.1'),
    ('package_price_positive', 'billing_packages', 'price_cents = 0'),
    ('settings_min_purchase_exact', 'billing_settings', 'min_purchase = 0'),
    ('settings_min_purchase_exact', 'billing_settings', 'min_purchase = 5.001'),
    ('settings_max_purchase_exact', 'billing_settings', 'max_purchase = min_purchase - 0.01'),
    ('settings_max_purchase_exact', 'billing_settings', 'max_purchase = 1000000.01'),
    ('settings_max_purchase_exact', 'billing_settings', 'max_purchase = ''NaN'''),
    ('settings_max_purchase_exact', 'billing_settings', 'max_purchase = 10.001'),
    ('customer_stripe_id_given', 'billing_customers', 'stripe_customer_id = '''''),
    ('customer_stripe_id_given', 'billing_customers', 'stripe_customer_id = ''cus 1'''),
    ('purchase_kind_known', 'credit_purchases', 'kind = ''gift'''),
    ('purchase_amount_positive', 'credit_purchases', 'amount = 0'),
    ('purchase_price_positive', 'credit_purchases', 'price_cents = 0'),
    ('purchase_status_known', 'credit_purchases', 'status = ''lost'', entry_no = null, completed_at = null'),
    (
        'purchase_refunded_by_old_system', 'credit_purchases',
        'status = ''refunded'', entry_no = null, completed_at = null'
    ),
    ('purchase_spent_before_within_amount', 'credit_purchases', 'spent_before = amount + 0.000000001'),
    ('purchase_paid_has_entry', 'credit_purchases', 'entry_no = null, spent_before = amount'),
    (
        'purchase_paid_has_entry', 'credit_purchases',
        'entry_no = null, kind = ''migration'', spent_before = amount - 0.1'
    ),
    ('purchase_paid_has_entry', 'credit_purchases', 'status = ''open'''),
    ('purchase_paid_has_entry', 'credit_purchases', 'entry_no = null'),
    ('purchase_paid_has_entry', 'credit_purchases', 'completed_at = null'),
    ('purchase_crossing_of_top_up', 'credit_purchases', 'crossing_no = 1'),
    ('purchase_crossing_of_top_up', 'credit_purchases', 'kind = ''auto_top_up'''),
    ('idempotency_key_well_formed', 'credit_purchases', 'idempotency_key = '''''),
    ('json_is_object', 'credit_purchases', 'details = ''[]'''),
    ('payment_amount_positive', 'billing_payments', 'amount_cents = 0'),
    ('payment_lot_of_purchase', 'billing_payments', 'bought = 0, reclaimed = 0, clawed = 0'),
    ('payment_reclaimed_within_bought', 'billing_payments', 'reclaimed = bought + 0.000000001'),
    ('payment_recovered_within_reclaimed', 'billing_payments', 'clawed = reclaimed + 0.000000001'),
    ('payment_recovered_within_reclaimed', 'billing_payments', 'owed = reclaimed - clawed + 0.000000001'),
    ('refund_mode_known', 'credit_refunds', 'mode = ''cash'''),
    ('refund_amount_positive', 'credit_refunds', 'amount = 0'),
    ('refund_status_known', 'credit_refunds', 'status = ''lost'''),
    ('refund_told_known', 'credit_refunds', 'told = ''refund.pending'''),
    ('refund_of_money_names_payment', 'credit_refunds', 'payment_intent_id = null'),
    ('refund_of_money_names_payment', 'credit_refunds', 'amount_cents = 0'),
    ('refund_of_money_names_payment', 'credit_refunds', 'amount_cents = null'),
    ('refund_of_money_names_payment', 'credit_refunds', 'mode = ''credits'', entry_no = 1'),
    ('refund_of_credits_has_entry', 'credit_refunds', 'mode = ''both'''),
    ('idempotency_key_well_formed', 'credit_refunds', 'idempotency_key = '''''),
    ('freeze_cause_known', 'account_freezes', 'cause = ''weather'''),
    ('subscription_interval_known', 'billing_subscriptions', 'billing_interval = ''week'''),
    ('checkout_interval_known', 'billing_checkouts', 'billing_interval = ''week'''),
    ('checkout_status_known', 'billing_checkouts', 'status = ''lost'''),
    ('idempotency_key_well_formed', 'billing_checkouts', 'idempotency_key = '''''),
    ('json_is_object', 'billing_checkouts', 'details = ''[]'''),
    ('top_up_cap_positive', 'billing_auto_top_ups', 'monthly_cap = 0'),
    ('top_up_disabled_with_reason', 'billing_auto_top_ups', 'enabled = true, disabled_reason = ''card_declined'''),
    ('event_status_known', 'stripe_events', 'status = ''lost'', next_attempt_at = null'),
    ('event_retried_while_pending', 'stripe_events', 'next_attempt_at = null'),
    ('event_retried_while_pending', 'stripe_events', 'status = ''failed'''),
    ('call_kind_known', 'stripe_calls', 'kind = ''gift'' where kind = ''checkout'''),
    ('call_status_known', 'stripe_calls', 'status = ''lost'', next_attempt_at = null'),
    ('call_retried_while_pending', 'stripe_calls', 'next_attempt_at = null where status = ''pending'''),
    ('call_retried_while_pending', 'stripe_calls', 'status = ''done'' where status = ''pending'''),
    ('json_is_object', 'stripe_calls', 'request = ''[]''')
) c (name, table_name, assignment);
select pg_temp.refuses(name, pg_temp.another(table_name, changes), changes)
from (values
    ('customer_stripe_id_unique', 'billing_customers', '"user_id": "00000000-0000-0000-0000-00000000000f"'),
    (
        'purchase_session_unique', 'credit_purchases',
        '"purchase_id": "00000000-0000-0000-0000-00000000000f", "stripe_payment_intent_id": null'
    ),
    (
        'purchase_payment_unique', 'credit_purchases',
        '"purchase_id": "00000000-0000-0000-0000-00000000000f", "stripe_checkout_session_id": null'
    ),
    ('refund_stripe_id_unique', 'credit_refunds', '"refund_id": "00000000-0000-0000-0000-00000000000f"'),
    (
        'checkout_session_unique', 'billing_checkouts',
        '"checkout_id": "00000000-0000-0000-0000-00000000000f", "status": "expired"'
    )
) c (name, table_name, changes);
select lives_ok(pg_temp.another(table_name, changes), format('a good row of %s passes', table_name))
from (values
    (
        'credit_purchases',
        '"purchase_id": "00000000-0000-0000-0000-0000000000f2", "legacy_purchase_id": "p", "kind": "migration",
        "entry_no": null, "spent_before": 10, "stripe_payment_intent_id": null, "stripe_checkout_session_id": null'
    ),
    (
        'credit_purchases',
        '"purchase_id": "00000000-0000-0000-0000-0000000000f3", "kind": "migration", "legacy_purchase_id": "r", "status": "refunded",
        "entry_no": null, "completed_at": null, "stripe_payment_intent_id": null, "stripe_checkout_session_id": null'
    ),
    (
        'billing_payments', '"payment_intent_id": "pi_spent", "grant_no": null'
    ),
    (
        'billing_subscriptions', '"stripe_subscription_id": "sub_old", "stripe_item_id": null'
    ),
    (
        'credit_purchases',
        '"purchase_id": "00000000-0000-0000-0000-00000000000f", "idempotency_key": "k", "crossing_no": 7,
        "kind": "auto_top_up", "stripe_payment_intent_id": null, "stripe_checkout_session_id": null'
    ),
    (
        'credit_refunds',
        '"refund_id": "00000000-0000-0000-0000-00000000000f", "idempotency_key": "k", "stripe_refund_id": null'
    ),
    (
        'billing_checkouts',
        '"checkout_id": "00000000-0000-0000-0000-00000000000f", "idempotency_key": "k", "status": "expired",
        "stripe_checkout_session_id": null'
    )
) c (table_name, changes);
select throws_ok(pg_temp.another(table_name, changes), '23505', null, promise)
from (values
    (
        'credit_purchases',
        '"purchase_id": "00000000-0000-0000-0000-0000000000f1", "idempotency_key": "k", "crossing_no": null,
        "kind": "checkout", "stripe_payment_intent_id": null, "stripe_checkout_session_id": null',
        'a key of a user''s purchases is there once'
    ),
    (
        'credit_purchases',
        '"purchase_id": "00000000-0000-0000-0000-0000000000f1", "crossing_no": 7, "kind": "auto_top_up",
        "stripe_payment_intent_id": null, "stripe_checkout_session_id": null',
        'R22: a fall below the threshold is charged once'
    ),
    (
        'credit_purchases',
        '"purchase_id": "00000000-0000-0000-0000-0000000000f1", "legacy_purchase_id": "p", "kind": "migration",
        "stripe_payment_intent_id": null, "stripe_checkout_session_id": null',
        'R31: a purchase of the old system is there once'
    ),
    (
        'credit_refunds',
        '"refund_id": "00000000-0000-0000-0000-0000000000f1", "idempotency_key": "k", "stripe_refund_id": null',
        'a key of a user''s refunds is there once'
    ),
    (
        'billing_checkouts',
        '"checkout_id": "00000000-0000-0000-0000-0000000000f1", "idempotency_key": "k", "status": "expired",
        "stripe_checkout_session_id": null',
        'a key of a user''s checkouts is there once'
    ),
    (
        'billing_checkouts',
        '"checkout_id": "00000000-0000-0000-0000-0000000000f1", "status": "open", "stripe_checkout_session_id": null',
        'a user has one open checkout'
    ),
    ('billing_customers', '"stripe_customer_id": "cus_2"', 'a user has one customer'),
    ('billing_payments', '"bought": 0, "grant_no": null, "reclaimed": 0, "clawed": 0', 'a payment is booked once'),
    ('stripe_events', '"status": "processed", "next_attempt_at": null', 'R14: an event is stored once'),
    ('billing_auto_top_ups', '"threshold": 2', 'a user has one automatic top-up')
) c (table_name, changes, promise);
insert into billing.stripe_calls (call_id, user_id, kind, subject_id, request, next_attempt_at, created_at)
select gen_random_uuid(), e(), kind, 's', '{}', now(), now() from unnest(array['refund', 'payment', 'subscriptions']) kind;
select throws_ok(
    $$
    insert into billing.stripe_calls (call_id, user_id, kind, subject_id, request, next_attempt_at, created_at)
    values (gen_random_uuid(), e(), 'refund', 's', '{}', now(), now())
    $$,
    '23505', null, 'a subject has one pending call of a kind'
);
select lives_ok(
    $$
    insert into billing.stripe_calls (call_id, user_id, kind, subject_id, request, next_attempt_at, created_at)
    values (gen_random_uuid(), e(), 'payment', 's', '{}', now(), now()),
        (gen_random_uuid(), e(), 'subscriptions', 's', '{}', now(), now()),
        (gen_random_uuid(), e(), 'checkout', 's', '{}', now(), now())
    $$,
    'but for those that only read'
);

-- Migrations.

reset role;
insert into legacy_billing.customers (user_id) values ('00000000-0000-0000-0000-0000000000a0');
select billing.migrate_users(array['00000000-0000-0000-0000-0000000000a0']::uuid[]) \g /dev/null
set local role billing_owner;
select pg_temp.refuses(
    name, format('update billing.user_migrations set %s where status = ''migrated''', assignment),
    assignment
)
from (values
    ('migration_status_known', 'status = ''lost'''),
    ('migration_has_numbers', 'status = ''none'''),
    ('migration_has_numbers', 'status = ''rolled_back'''),
    ('migration_has_numbers', 'status = ''rolled_back'', rolled_back_at = now()'),
    ('migration_has_numbers', 'status = ''rolled_back'', returned = 1'),
    ('migration_has_numbers', 'round = 0'),
    (
        'migration_has_numbers',
        'round = 0, tier = null, period = null, usage_before = null, monthly_credits = null, tier_credits = null,
        bought_credit = null, purchases = null, month_granted = null, first_entry_no = null, last_entry_no = null,
        migrated_at = null'
    )
) c (name, assignment);
select pg_temp.refuses(
    'migration_has_numbers',
    format('update billing.user_migrations set %I = null where status = ''migrated''', column_name),
    column_name || ' = null'
)
from unnest(array[
    'tier', 'period', 'usage_before', 'monthly_credits', 'tier_credits', 'bought_credit', 'purchases', 'month_granted',
    'first_entry_no', 'last_entry_no', 'migrated_at'
]) column_name;
select pg_temp.refuses(
    'migration_has_numbers', 'insert into billing.user_migrations (user_id, ' || row_values, row_values
)
from unnest(array[
    'round) values (nobody(), 1)', 'rolled_back_at) values (nobody(), now())',
    'status) values (nobody(), ''migrated'')',
    'status, rolled_back_at) values (nobody(), ''rolled_back'', now())'
]) row_values;
select lives_ok(
    $$
    insert into billing.user_migrations (user_id, status, rolled_back_at, returned)
    values (nobody(), 'rolled_back', now(), 5)
    $$,
    'a user who was born here is moved back without having been migrated'
);
select throws_ok(
    'insert into billing.user_migrations (user_id) values (nobody())', '23505', null, 'a user has one migration'
);
select throws_ok(
    $$insert into billing.tier_prices values ('price_1', 'no_such_tier')$$, '23503', null,
    'a price pays for a tier that exists'
);
select throws_ok(
    $$insert into billing.tier_prices values ('price_1', 'free'), ('price_1', 'tier_2_20')$$, '23505', null,
    'and for one'
);

-- Jobs, their runs, events and checkpoints.

select billing.record_job_run('stripe_calls', now(), 1) \g /dev/null
select pg_temp.refuses(
    name, format('update billing.jobs set %s where name = ''stripe_calls''', assignment), assignment
)
from (values
    ('job_name_well_formed', 'name = ''Stripe calls'''),
    ('job_name_well_formed', 'name = ''1_job'''),
    ('job_name_well_formed', 'name = repeat(''j'', 64)'),
    ('job_function_well_formed', 'function = ''f(); drop table x'''),
    ('job_function_well_formed', 'function = '''''),
    ('job_schedule_well_formed', 'schedule = ''* * * *'''),
    ('job_schedule_well_formed', 'schedule = ''* * * * * *'''),
    ('job_schedule_well_formed', 'schedule = ''@daily'''),
    ('job_schedule_well_formed', 'schedule = ''0  0 1 * *'''),
    ('job_schedule_well_formed', 'schedule = E''* * * * *\n* * * * *'''),
    ('job_schedule_well_formed', 'schedule = ''60 * * * *'''),
    ('job_schedule_well_formed', 'schedule = '', * * * *'''),
    ('job_schedule_well_formed', 'schedule = ''*/0 * * * *'''),
    ('job_batch_size_bounded', 'batch_size = 0'),
    ('job_batch_size_bounded', 'batch_size = 501'),
    ('job_late_after_positive', 'late_after = interval ''0'''),
    ('job_described', 'description = '' ''')
) c (name, assignment);
select throws_ok(
    $$insert into billing.jobs select * from billing.jobs where name = 'clean_up'$$, '23505', null,
    'a job has a name of its own'
);
select pg_temp.refuses(name, 'update billing.job_runs set ' || assignment, assignment)
from (values
    ('run_outcome_known', 'outcome = ''lost'''),
    ('run_finished_when_not_running', 'outcome = ''running'''),
    ('run_finished_when_not_running', 'finished_at = null'),
    ('run_counts_not_negative', 'rows = -1'),
    ('run_counts_not_negative', 'failures = -1')
) c (name, assignment);
select pg_temp.refuses(name, 'update billing.billing_events set ' || assignment || ' where event_no = 1', assignment)
from (values
    ('event_kind_known', 'kind = ''balance.high'''),
    ('event_delivery_status_known', 'status = ''lost'''),
    ('event_delivered_at_a_time', 'status = ''delivered'''),
    ('event_delivered_at_a_time', 'delivered_at = now()'),
    ('event_pending_since_a_time', 'status = ''pending'', pending_since = null, next_attempt_at = null'),
    ('event_tried_while_pending', 'next_attempt_at = now()'),
    ('event_tried_while_pending', 'status = ''dead'', next_attempt_at = now()'),
    ('json_is_object', 'payload = ''[]''')
) c (name, assignment);
select pg_temp.refuses(
    'event_numbered_once',
    'insert into billing.billing_events select (jsonb_populate_record(e, ''{"event_id": '
    || '"00000000-0000-0000-0000-00000000000f"}'')).* from billing.billing_events e',
    'a number of a user''s events is there once'
);
select pg_temp.refuses(
    'sha256_has_32_bytes',
    format(
        'insert into billing.ledger_checkpoints values (gen_random_uuid(), now(), now(), 0, 0, 0, %s, 0, %s)', root, hash
    ),
    'a checkpoint''s hash'
)
from (values ('''\x00''', 'sha256('''')'), ('sha256('''')', '''\x00''')) c (root, hash);

-- Requests for an approval. A decision that is whole, of which one part is wrong.

create function pg_temp.decided(p_status text, p_by uuid, p_rest text default '') returns text language sql as $$
    select format(
        'status = %L, decided_by = %L, decided_at = requested_at + interval ''1 hour'', action_id = %s, '
            || 'decision_reason = ''d'' %s',
        p_status, p_by, case p_status when 'approved' then 'gen_random_uuid()' else 'null' end, p_rest
    )
$$;
create function pg_temp.decider() returns uuid language sql as $$select '00000000-0000-0000-0000-0000000000cf'::uuid$$;
create function pg_temp.asker() returns uuid language sql as $$select '00000000-0000-0000-0000-0000000000ad'::uuid$$;
create function pg_temp.subject() returns uuid language sql as $$select '00000000-0000-0000-0000-00000000000a'::uuid$$;
select pg_temp.refuses(name, 'update billing.approval_requests set ' || assignment, assignment)
from (values
    ('approval_action_known', 'action = ''set_account_status'''),
    ('approval_action_known', 'action = ''admin_release_hold'''),
    ('approval_amount_exact', 'amount = 0.0000000001'), ('approval_amount_exact', 'amount = ''NaN'''),
    ('approval_amount_exact', 'amount = ''infinity'''), ('approval_amount_exact', 'amount = ''-infinity'''),
    ('approval_amount_exact', 'amount = -1000000000000000.1'), ('approval_amount_exact', 'amount = 1000000000000000.1'),
    ('approval_reason_given', 'reason = '''''), ('approval_reason_given', 'reason = E'' \n'''),
    ('approval_ends_after_it_begins', 'open_until = requested_at'),
    ('approval_status_known', pg_temp.decided('expired', pg_temp.decider())),
    ('approval_of_tier_names_both', 'tier = ''free'''), ('approval_of_tier_names_both', 'from_tier = ''free'''),
    ('approval_decided_when_not_open', 'status = ''declined'', decision_reason = ''d'''),
    ('approval_decided_when_not_open', 'decided_by = gen_random_uuid()'),
    ('approval_decided_when_not_open', 'decided_at = requested_at'),
    ('approval_decided_when_not_open', pg_temp.decided('declined', null)),
    ('approval_decided_when_not_open', pg_temp.decided('declined', pg_temp.decider(), ', decided_at = null')),
    ('approval_decided_in_time', pg_temp.decided('approved', pg_temp.decider(), ', decided_at = open_until')),
    ('approval_by_another_admin', pg_temp.decided('approved', pg_temp.asker())),
    ('approval_by_another_admin', pg_temp.decided('approved', pg_temp.subject())),
    ('approval_withdrawn_by_requester', pg_temp.decided('withdrawn', pg_temp.decider())),
    ('approval_decision_has_reason', pg_temp.decided('approved', pg_temp.decider(), ', decision_reason = null')),
    ('approval_decision_has_reason', pg_temp.decided('declined', pg_temp.decider(), ', decision_reason = '' ''')),
    ('approved_action_is_logged', pg_temp.decided('approved', pg_temp.decider(), ', action_id = null')),
    ('approved_action_is_logged', pg_temp.decided('declined', pg_temp.decider(), ', action_id = gen_random_uuid()')),
    ('approved_action_is_logged', 'action_id = gen_random_uuid()')
) c (name, statement)
cross join lateral (
    -- An UPDATE sets a column once: what comes last counts.
    select string_agg(part, ', ' order by n) as assignment
    from (
        select distinct on (split_part(part, ' = ', 1)) part, n
        from regexp_split_to_table(statement, ',\s+(?=[a-z_]+ = )') with ordinality s (part, n)
        order by split_part(part, ' = ', 1), n desc
    ) parts
) a;
select throws_ok(
    $$
    insert into billing.approval_requests
    select gen_random_uuid(), user_id, action, amount, expires_at, entry_no, tier, from_tier, stripe_refund,
        payment_intent_id, grant_credits, owe_spent, reason, idempotency_key, requested_by, requested_at, open_until
    from billing.approval_requests
    $$,
    '23505', null, 'an admin''s key is there once for a user'
);
select lives_ok(
    format('update billing.approval_requests set %s', pg_temp.decided('approved', pg_temp.decider())),
    'another admin approves'
);
select lives_ok(
    $$
    update billing.approval_requests
    set status = 'withdrawn', decided_by = requested_by, decided_at = open_until + interval '1 day', action_id = null,
        decision_reason = null
    $$,
    'who asked withdraws, without a reason'
);

-- Bulk grants.

insert into billing.bulk_grants values ('00000000-0000-0000-0000-0000000000b0', 'b', 'r', gen_random_uuid(), now());
insert into billing.bulk_grant_rows (bulk_id, user_id, row_no, amount, reason)
values ('00000000-0000-0000-0000-0000000000b0', '00000000-0000-0000-0000-00000000000a', 1, 1, 'r');
select pg_temp.refuses(name, 'update billing.bulk_grants set ' || assignment, assignment)
from (values
    ('bulk_name_given', 'name = '''''), ('bulk_name_given', 'name = repeat(''x'', 201)'),
    ('bulk_name_without_needless_blanks', 'name = ''b '''), ('bulk_name_without_needless_blanks', 'name = ''a  b'''),
    ('bulk_reason_given', 'reason = '' '''), ('bulk_reason_given', 'reason = repeat(''x'', 2001)')
) c (name, assignment);
select pg_temp.refuses(name, 'update billing.bulk_grant_rows set ' || assignment, assignment)
from (values
    ('bulk_row_number_positive', 'row_no = 0'),
    ('bulk_row_amount_exact', 'amount = 0'), ('bulk_row_amount_exact', 'amount = -1'),
    ('bulk_row_amount_exact', 'amount = ''NaN'''), ('bulk_row_amount_exact', 'amount = ''infinity'''),
    ('bulk_row_amount_exact', 'amount = 0.0000000001'), ('bulk_row_amount_exact', 'amount = 1000000000000.1'),
    ('bulk_row_reason_given', 'reason = '' '''), ('bulk_row_expiry_finite', 'expires_at = ''infinity'''),
    ('bulk_row_outcome_known', 'outcome = ''lost'', decided_at = now(), decided_by = gen_random_uuid()'),
    ('bulk_row_granted_by_an_entry', 'outcome = ''granted'', decided_at = now(), decided_by = gen_random_uuid()'),
    ('bulk_row_granted_by_an_entry', 'entry_no = 1'),
    (
        'bulk_row_granted_by_an_entry',
        'outcome = ''granted'', entry_no = 1, decided_at = now(), decided_by = gen_random_uuid()'
    ),
    ('bulk_row_refused_for_a_reason', 'outcome = ''refused'', decided_at = now(), decided_by = gen_random_uuid()'),
    ('bulk_row_refused_for_a_reason', 'refusal = ''withdrawn'''),
    ('bulk_row_decided_when_not_pending', 'decided_at = now(), decided_by = gen_random_uuid()'),
    ('bulk_row_decided_when_not_pending', 'outcome = ''refused'', refusal = ''withdrawn'', decided_at = now()'),
    ('bulk_row_decided_when_not_pending', 'outcome = ''refused'', refusal = ''withdrawn''')
) c (name, assignment);
select throws_ok(
    $$insert into billing.bulk_grants values (gen_random_uuid(), 'B', 'r', gen_random_uuid(), now())$$, '23505', null,
    'a name is there once, however it is written'
);
select throws_ok(
    $$insert into billing.bulk_grant_rows select * from billing.bulk_grant_rows$$, '23505', null,
    'a user is there once in a bulk grant'
);

select is_empty(
    $$
    select conrelid::regclass, contypid::regtype, conname from pg_constraint
    where connamespace = 'billing'::regnamespace and contype in ('c', 'u', 'x')
        and conname not in (select constraint_name from tried)
    $$,
    'every named constraint is tried here'
);

-- Append-only.

reset role;
insert into billing.ledger_checkpoints
values (gen_random_uuid(), now(), now(), 0, 0, 0, sha256(''), 0, sha256('')) \g /dev/null
create temp table attempts as
select replace(statement, '@', name) as statement, name, upper(split_part(statement, ' ', 1)) as verb
from unnest(array['credit_ledger', 'credit_burns', 'admin_actions_log', 'ledger_checkpoints']) name,
    unnest(array[
        'update billing.@ set %s', 'delete from billing.@', 'delete from billing.@ where false', 'truncate billing.@ cascade'
    ]) statement;
update attempts
set statement = format(
    statement,
    case name
        when 'credit_ledger' then 'description = description'
        when 'credit_burns' then 'to_used = to_used'
        when 'ledger_checkpoints' then 'findings = findings'
        else 'reason = reason'
    end
);
grant select on attempts to public;

set local role billing_owner;
select throws_ok(statement, 'UC403', 'append_only', 'the owner cannot: ' || statement) from attempts;
reset role;
select throws_ok(statement, 'UC403', 'append_only', 'a superuser cannot: ' || statement) from attempts;
set local session_replication_role = replica;
select throws_ok(statement, 'UC403', 'append_only', 'nor with triggers switched off for replication: ' || statement) from attempts;
set local session_replication_role = origin;
select throws_ok(
    'truncate billing.credit_accounts cascade', 'UC403', 'append_only',
    'a TRUNCATE of accounts does not take burns along'
);
select throws_ok(
    $$
    insert into billing.credit_ledger select * from billing.credit_ledger
    on conflict (user_id, entry_no) do update set amount = 0
    $$,
    'UC403', 'append_only', 'an INSERT that would become an UPDATE is refused'
);
select is_empty(
    $$
    select tgname from pg_trigger
    where tgfoid = 'billing_private.refuse_change()'::regprocedure
        -- The bits of a statement's trigger before UPDATE, DELETE and TRUNCATE.
        and (tgenabled <> 'A' or tgtype & (1 | 2 | 4 | 8 | 16 | 32) <> (2 | 8 | 16 | 32))
    $$,
    'the triggers are always enabled and fire once a statement'
);

select * from finish();
rollback;
