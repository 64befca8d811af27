-- Accounts in the order of their user_id, by its beginning, tier and status, page by page, as if settled.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.open_account(u::uuid, t) from (values
    ('10000000-0000-0000-0000-000000000001', 'free'),
    ('10000000-0000-0000-0000-000000000002', 'tier_2_20'),
    ('1fffffff-ffff-ffff-ffff-ffffffffffff', 'free'),
    ('20000000-0000-0000-0000-000000000001', 'free')
) a (u, t) \g /dev/null
select billing.set_account_status(chief(), '20000000-0000-0000-0000-000000000001', 'frozen', 'r') \g /dev/null
create function found(p_arguments text default '') returns text language plpgsql as $$
declare
    v_users text;
begin
    execute format(
        'select string_agg(right(left(user_id::text, 8), 1) || left(user_id::text, 1) || right(user_id::text, 1), '' '') '
        'from billing.list_accounts(%s)', p_arguments
    ) into v_users;
    return coalesce(v_users, '');
end
$$;

select is(found(), '011 012 f1f 021', 'all, in their order');
select is(found('''1'''), '011 012 f1f', 'by the beginning of the user_id');
select is(found('''10000000-0000'''), '011 012', 'with its dashes');
select is(found('''1FFF'''), 'f1f', 'in capitals');
select is(found('''10000000-0000-0000-0000-000000000002'''), '012', 'or all of it');
select is(found('''3'''), '', 'where there is none, none');
select is(found(''''''), '011 012 f1f 021', 'an empty search is none');
select is(found('p_tier => ''free'''), '011 f1f 021', 'by tier');
select is(found('p_status => ''frozen'''), '021', 'by status');
select is(found('''1'', ''free'', ''active'''), '011 f1f', 'by all of it');
select is(found('p_tier => ''gold'''), '', 'a tier that there is not');
select is(found('p_limit => 2'), '011 012', 'a page');
select is(found('p_limit => 2, p_after => ''10000000-0000-0000-0000-000000000002'''), 'f1f 021', 'and the next');
select is(found('''1'', p_after => ''10000000-0000-0000-0000-000000000002'''), 'f1f', 'of a search');
select is(found('''2'', p_after => ''10000000-0000-0000-0000-000000000002'''), '021', 'that begins behind it');
select is(found('p_after => ''20000000-0000-0000-0000-000000000001'''), '', 'the last is empty');

select billing.deduct_credits('10000000-0000-0000-0000-000000000001', 1) \g /dev/null
select is(
    (select list_accounts from billing.list_accounts('10000000-0000-0000-0000-000000000001')),
    billing.get_account('10000000-0000-0000-0000-000000000001'), 'an account is told as get_account tells it'
);
set local tap.now = '2025-04-01 00:00+00';
select is((select sum(balance) from billing.list_accounts()), 0.00, 'as if settled');

select throws_ok('select billing.list_accounts(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('''%''', 'UC400', 'invalid_request'),
    ('''g''', 'UC400', 'invalid_request'),
    ('repeat(''1'', 33)', 'UC400', 'invalid_request'),
    ('p_limit => 0', 'UC422', 'limit_out_of_range'),
    ('p_limit => 501', 'UC422', 'limit_out_of_range'),
    ('p_limit => null', 'UC422', 'limit_out_of_range')
) c (arguments, code, name);
select lives_ok('select billing.list_accounts(p_limit => 500)', 'a page has at most 500');

select * from finish();
rollback;
