-- db/errors.md lists every error and refusal that the code knows, and no other, and each of them can happen as it says.
\ir payments.psql

\set catalogue `cat db/errors.md`
\set headers `grep -E '^-- ' db/functions/*/*.sql`

create temp table catalogue as
select
    m[1] as name, m[2] is null as answer, m[3] as class, m[4] as happens, m[5] as remedy, m[6] as functions
from regexp_split_to_table(:'catalogue', '\n') line
cross join lateral regexp_matches(line, '^\| `([a-z_]+)` \| (UC)?(\d{3}) \| (.*?) \| (.*?) \| (.*?) \|$') m;

create temp table sources as
select p.proname::text collate "default" as name, n.nspname as schema, p.prosrc as source
from pg_proc p join pg_namespace n on n.oid = p.pronamespace and n.nspname in ('billing', 'billing_private');

-- The catalogue against raise_error, and against the three that raise by themselves: a trigger and two procedures.

select cmp_ok((select count(*) from catalogue where not answer), '>', 25::bigint, 'the catalogue has exceptions');
select cmp_ok((select count(*) from catalogue where answer), '>', 5::bigint, 'and answers');
select is_empty('select name, answer from catalogue group by name, answer having count(*) > 1', 'none is there twice');
select rows_are(
    $$select name, class, remedy from catalogue where not answer order by name collate "C"$$,
    $$
    select m[1], m[2], replace(m[3], '''''', '''')
    from (
        select name, source, '' as form from sources where name = 'raise_error'
        union all
        select name, regexp_replace(source, '''\s*\n\s*''', '', 'g'), 'named' from sources where name <> 'raise_error'
    ) s
    cross join lateral (
        select regexp_matches(
            source, 'when ''([a-z_]+)'' then\s+v_class := ''(\d{3})'';\s+v_hint := ''((?:[^'']|'''')*)'';', 'g'
        )
        where form = ''
        union all
        select array[n[2], n[1], n[3]]
        from regexp_matches(
            source, 'errcode = ''UC(\d{3})'',\s+message = ''([a-z_]+)'',.*?hint = ''((?:[^'']|'''')*)''', 'g'
        ) n
        where form = 'named'
    ) found (m)
    order by m[1] collate "C"
    $$,
    'every exception has the SQLSTATE and the HINT of the page'
);

-- Against the places that raise, and those that answer.

create temp view raised as
select distinct s.name as function, m[1] as name
from sources s
cross join lateral regexp_matches(
    s.source, '(?:raise_error|fail_spend)\(\s*(?:p_raise,\s*|true,\s*|false,\s*)?''([a-z_]+)''', 'g'
) m
union
select s.name, m[1]
from sources s cross join lateral regexp_matches(s.source, '(?:then|else) ''([a-z_]+)''', 'g') m
where s.name in ('amount_problem')
union
select s.name, m[1]
from sources s cross join lateral regexp_matches(s.source, 'message = ''([a-z_]+)''', 'g') m
-- It raises to roll itself back, and nobody sees that.
where (s.name, m[1]) <> ('try_action', 'preview');
select is_empty(
    'select function, name from raised where name not in (select name from catalogue where not answer)',
    'what is raised is on the page'
);
select is_empty(
    $$
    select name from catalogue c
    where not answer and not exists (
        select from sources s where s.name <> 'raise_error' and s.source ~ format('''%s''', c.name)
    )
    $$,
    'what is on the page is raised somewhere'
);
create temp view answered as
select distinct s.name as function, m[1] as name
from sources s
cross join lateral regexp_matches(s.source, '(?:then|return) ''([a-z_]*[a-z])''', 'g') m
where s.name in ('authorize_admin', 'spend_refusal', 'refund_refusal', 'approval_refusal')
    -- The modes of a refund are no answers.
    or (s.source ~ 'v_refusal' and m[1] not in ('done', 'credits', 'both'));
select is_empty(
    'select function, name from answered where name not in (select name from catalogue where answer)',
    'what is answered is on the page'
);
select is_empty(
    $$
    select name from catalogue where answer and name not in (select name from answered)
        -- The statuses that can be refused, by the name that spend_refusal puts together.
        and not (name in ('account_frozen', 'account_closed') and exists (
            select from sources where name = 'spend_refusal' and source ~ '''account_'' \|\| p_account.status'
        ))
    $$,
    'what is on the page is answered somewhere'
);

-- Against the comments above the functions.

create temp table headers as
select m[1] as function, string_agg(m[2], ' ' order by n) as text
from regexp_split_to_table(:'headers', '\n') with ordinality l (line, n)
cross join lateral regexp_matches(line, '^db/functions/(?!private/)[a-z_]+/([a-z_]+)\.sql:-- (.*)$') m
group by m[1];
create function part(p_function text, p_part text) returns text language plpgsql as $$
declare
    v_text text := (select text from headers where function = p_function);
    v_part text := coalesce(substring(v_text from p_part || ':(.*?)(?:Locks:|Replay:|Answers:|Raises:|Errors:|$)'), '');
    v_from text := case p_part
        when 'Raises' then substring(v_part from 'as billing\.([a-z_]+)')
        else substring(v_text from 'answers as billing\.([a-z_]+)')
    end;
begin
    return v_part || case when v_from is null then '' else part(v_from, p_part) end;
end
$$;
select is_empty(
    $$
    select f.function, c.name
    from catalogue c
    cross join lateral (select distinct name as function from sources where schema = 'billing') f
    where (part(f.function, case when c.answer then 'Answers' else 'Raises' end) ~ format('\m%s\M', c.name))
        is distinct from (f.function = any (regexp_split_to_array(c.functions, ', ')))
        and exists (select from headers h where h.function = f.function)
    $$,
    'the functions of each are those whose comments name it'
);
select is_empty(
    $$
    select h.function, word from headers h
    cross join lateral regexp_matches(part(h.function, 'Raises'), 'UC\d{3} ([a-z_]+)', 'g') word
    where word[1] not in (select name from catalogue where not answer)
    $$,
    'no comment names an error that is not on the page'
);
select is_empty(
    $$
    select h.function, c.name from headers h
    cross join lateral regexp_matches(h.text, 'UC(\d{3}) ([a-z_]+)', 'g') m
    join catalogue c on not c.answer and c.name = m[2]
    where c.class <> m[1]
    $$,
    'nor with another SQLSTATE'
);

-- Each exception, as it happens.

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(u) from unnest(array[a(), b(), c(), d(), chief()]) u \g /dev/null
select billing.deduct_credits(a(), 1, p_idempotency_key => 'key') \g /dev/null
select billing.reverse_entry(admin(), a(), 2, 'r') \g /dev/null
select billing.hold_credits(a(), 1, p_idempotency_key => h) from unnest(array['captured', 'live']) h \g /dev/null
create function hold(p_key text) returns uuid language sql as
$$select hold_id from billing.credit_holds where user_id = a() and idempotency_key = p_key$$;
select billing.capture_hold(a(), hold('captured'), 1) \g /dev/null
select billing.set_account_status(admin(), b(), 'closed', 'r') \g /dev/null
select billing.set_account_status(admin(), d(), 'frozen', 'r') \g /dev/null
select customer(a(), 'cus_a') \g /dev/null
select (buys(e(), 10, 'pi_e')).entry_no \g /dev/null
select (buys(e(), 10, 'pi_disputed')).entry_no \g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_e', 'pi_disputed', 1000)) \g /dev/null
create function buyer() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000e1'::uuid$$;
select (buys(buyer(), 10, 'pi_buyer')).entry_no \g /dev/null
create function purchase() returns uuid language sql as
$$select purchase_id from billing.credit_purchases where stripe_payment_intent_id = 'pi_buyer'$$;
create function subscriber() returns uuid immutable language sql as
$$select '00000000-0000-0000-0000-0000000000e2'::uuid$$;
select billing.open_account(subscriber()) \g /dev/null
select customer(subscriber(), 'cus_s') \g /dev/null
select billing.record_stripe_object(stripe_subscription('sub_s', 'cus_s', 'tier_6_50')) \g /dev/null
select billing.request_subscription_change(subscriber(), 'cancel') \g /dev/null
create function waiting() returns uuid immutable language sql as
$$select '00000000-0000-0000-0000-0000000000e3'::uuid$$;
create function back() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000e4'::uuid$$;
insert into legacy_billing.customers (user_id) values (waiting()), (back());
select billing.migrate_users(array[back()]) \g /dev/null
select billing.rollback_users(array[back()]) \g /dev/null
update billing.billing_tiers set price_cents = 1 where name = 'tier_6_50';
update billing.credit_accounts set tier = 'tier_2_20' where user_id = c();

-- Requests of an admin, by what became of them.
create temp table requests as
select status, (billing.request_approval(admin(), a(), 'adjust_credits', status, 1)).approval_id
from unnest(array['open', 'approved', 'declined', 'expired']) status;
create function asked(p_status text) returns uuid language sql as
$$select approval_id from requests where status = p_status$$;
insert into requests
select 'changed', (billing.request_approval(admin(), a(), 'change_tier', 'r', p_tier => 'tier_2_20')).approval_id;
update billing.approval_requests set amount = amount - 1 where approval_id = asked('changed');
update billing.approval_requests set open_until = '2025-03-10 12:00+00', requested_at = '2025-03-09 12:00+00'
where approval_id = asked('expired');
select billing.approve_request(chief(), asked('approved'), 'r') \g /dev/null
select billing.decline_request(chief(), asked('declined'), 'r') \g /dev/null

-- What commits can't be called in this transaction.
create extension dblink schema pgtap;
create function other_session(p_statement text) returns text language sql as $$
    select pgtap.dblink_exec(
        format('host=127.0.0.1 port=%s dbname=%I user=postgres', current_setting('port'), current_database()),
        p_statement
    )
$$;

create temp table calls (name text, call text);
insert into calls values
    ('invalid_request', 'billing.get_account(null)'),
    ('invalid_request', 'billing.deduct_credits(null, 1)'),
    ('invalid_request', 'billing.deduct_credits(a(), null)'),
    ('invalid_request', 'billing.deduct_credits(a(), 1, p_idempotency_key => '''')'),
    ('account_not_found', 'billing.get_account(nobody())'),
    ('account_not_found', 'billing.deduct_credits(nobody(), 1)'),
    ('entry_not_found', 'billing.entry_funding(a(), 99)'),
    ('hold_not_found', 'billing.release_hold(a(), nobody())'),
    ('unknown_model', 'billing.deduct_tokens(a(), ''gpt-99'', 1, 1)'),
    ('unknown_tier', 'billing.open_account(nobody(), ''gold'')'),
    ('account_closed', 'billing.grant_credits(b(), 1, ''promotion'')'),
    ('already_reversed', 'billing.reverse_entry(admin(), a(), 2, ''r'')'),
    ('config_edited_in_database', 'billing.apply_config(jsonb_set(billing.get_config(), ''{tiers,tier_6_50,rank}'', ''99''))'),
    ('config_in_use', 'billing.apply_config(billing.get_config() #- ''{tiers,tier_2_20}'')'),
    ('hold_not_active', 'billing.capture_hold(a(), hold(''captured''), 1)'),
    ('idempotency_key_reused', 'billing.deduct_credits(a(), 2, p_idempotency_key => ''key'')'),
    ('super_admin_exists', 'billing.bootstrap_super_admin(a())'),
    ('amount_not_positive', 'billing.deduct_credits(a(), 0)'),
    ('amount_too_large', 'billing.deduct_credits(a(), 1000000000001)'),
    ('amount_too_precise', 'billing.deduct_credits(a(), 0.0000000001)'),
    ('amount_zero', 'billing.adjust_credits(admin(), a(), 0, ''r'')'),
    ('entry_not_reversible', 'billing.reverse_entry(admin(), a(), 1, ''r'')'),
    ('expires_in_out_of_range', 'billing.hold_credits(a(), 1, ''31 days'')'),
    ('expiry_not_ahead', 'billing.grant_credits(a(), 1, ''promotion'', p_expires_at => ''2025-03-10 12:00+00'')'),
    ('invalid_config', 'billing.diff_config(''{}'')'),
    ('invalid_tokens', 'billing.deduct_tokens(a(), ''o3'', null, 1)'),
    ('limit_out_of_range', 'billing.list_entries(a(), p_limit => 0)'),
    ('reason_required', 'billing.adjust_credits(admin(), a(), 1, '' '')'),
    ('unknown_role', 'billing.set_user_role(chief(), a(), ''root'')'),
    ('unknown_source', 'billing.grant_credits(a(), 1, ''gift'')'),
    ('unknown_status', 'billing.set_account_status(admin(), a(), ''lost'', ''r'')'),
    ('purchase_not_allowed', 'billing.record_purchase(a(), 10)'),
    ('call_not_found', 'billing.claim_stripe_call(nobody())'),
    ('checkout_not_found', 'billing.get_checkout(a(), nobody())'),
    ('customer_not_found', 'billing.record_stripe_object(stripe_subscription(''sub_1'', ''cus_of_nobody'', ''tier_2_20''))'),
    ('event_not_found', 'billing.apply_stripe_event(''evt_none'')'),
    ('purchase_not_found', 'billing.get_purchase(a(), nobody())'),
    ('refund_not_found', 'billing.get_refund(nobody())'),
    ('subscription_not_found', 'billing.request_subscription_change(a(), ''cancel'')'),
    ('unknown_package', 'billing.record_purchase(buyer(), p_package => ''11'')'),
    ('unknown_tier', 'billing.request_checkout(a(), ''gold'')'),
    ('unknown_tier', 'billing.record_stripe_object(stripe_subscription(''sub_s'', ''cus_s'', ''gold''))'),
    ('change_pending', 'billing.request_subscription_change(subscriber(), ''tier'', ''tier_2_20'')'),
    ('payment_mismatch', 'billing.complete_purchase(purchase(), stripe_intent(''pi_1'', 1000))'),
    ('subscription_exists', 'billing.request_checkout(subscriber(), ''tier_2_20'')'),
    ('amount_not_whole_cents', 'billing.record_purchase(buyer(), 10.001)'),
    ('amount_out_of_range', 'billing.record_purchase(buyer(), 4.99)'),
    ('amount_out_of_range', 'billing.set_auto_top_up(buyer(), true, 1, ''10'', 9.99)'),
    ('tier_not_for_sale', 'billing.request_checkout(a(), ''free'')'),
    ('unknown_interval', 'billing.request_checkout(a(), ''tier_2_20'', ''week'')'),
    ('approval_not_found', 'billing.get_approval(nobody())'),
    ('approval_not_found', 'billing.approve_request(admin(), nobody(), ''r'')'),
    ('approval_not_found', 'billing.approve_request(admin(), null, ''r'')'),
    ('approval_not_found', 'billing.decline_request(admin(), nobody(), ''r'')'),
    ('approval_not_found', 'billing.withdraw_request(admin(), nobody())'),
    ('approval_not_open', 'billing.approve_request(chief(), asked(''declined''), ''r'')'),
    ('approval_not_open', 'billing.preview_approval(chief(), asked(''declined''))'),
    ('approval_not_open', 'billing.decline_request(chief(), asked(''approved''), ''r'')'),
    ('approval_not_open', 'billing.withdraw_request(admin(), asked(''declined''))'),
    ('approval_not_open', 'billing.approve_request(chief(), asked(''expired''), ''r'')'),
    ('request_changed', 'billing.approve_request(chief(), asked(''changed''), ''r'')'),
    ('hold_not_active', 'billing.admin_release_hold(admin(), a(), hold(''captured''), ''r'')'),
    ('not_an_admin', 'billing.read_config(a())'),
    ('config_changed', 'billing.change_config(chief(), ''packages'', ''10'', ''{}'', null, ''r'')'),
    ('config_in_use', 'billing.change_config(chief(), ''tiers'', ''tier_2_20'', billing.get_config() #> ''{tiers,tier_2_20}'', null, ''r'')'),
    ('invalid_config', 'billing.change_config(chief(), ''tiers'', ''gold'', null, ''{}'', ''r'')'),
    ('append_only', 'delete from billing.credit_ledger'),
    ('bulk_grant_not_found', 'billing.get_bulk_grant(nobody())'),
    ('invalid_rows', 'billing.begin_bulk_grant(admin(), ''b'', ''[1]'', ''r'')'),
    ('too_many_rows', 'billing.plan_bulk_grant(admin(), ''b'', (select jsonb_agg(1) from generate_series(1, 10001)))'),
    ('event_not_found', 'billing.claim_event(a(), nobody())'),
    ('event_not_found', 'billing.finish_event(a(), nobody())'),
    ('job_not_found', 'billing.set_job(''make_money'', true)'),
    ('invalid_schedule', 'billing.set_job(''clean_up'', p_schedule => ''@daily'')'),
    ('time_lies_ahead', 'billing.grant_monthly_credits(''2025-03-10 12:00:00.000001+00'')'),
    ('pg_cron_missing', 'call billing.schedule_jobs()'),
    ('job_failed', 'select other_session(''call billing.run_job(''''stripe_calls'''')'')'),
    ('already_migrated', 'insert into legacy_billing.bought_credit (user_id, balance) values (a(), 1)'),
    ('not_migrated', 'billing.open_account(waiting())'),
    ('not_migrated', 'billing.get_account(waiting())'),
    ('not_migrated', 'billing.check_credits(waiting())'),
    ('not_migrated', 'billing.deduct_credits(waiting(), 1)'),
    ('not_migrated', 'billing.hold_credits(waiting(), 1)'),
    ('not_migrated', 'billing.open_account(back())'),
    ('not_migrated', 'billing.get_account(back())'),
    ('not_migrated', 'billing.check_credits(back())'),
    ('not_migrated', 'billing.deduct_credits(back(), 1)'),
    ('not_migrated', 'billing.hold_credits(back(), 1)');

create function raises(p_name text, p_call text) returns text language plpgsql as $$
declare
    v_state   text;
    v_message text;
    v_detail  text;
    v_hint    text;
    v_wanted  catalogue;
begin
    select * into v_wanted from catalogue where name = p_name and not answer;
    begin
        execute regexp_replace(p_call, '^billing', 'select billing');
    exception
        when others then
            get stacked diagnostics v_state = returned_sqlstate, v_message = message_text, v_detail = pg_exception_detail,
                v_hint = pg_exception_hint;
    end;
    return is(
        concat_ws(' ', v_state, v_message, v_hint, '- a detail:', case p_name
            -- Whatever it was that went wrong.
            when 'job_failed' then v_detail ~ '^Job [a-z_]+: \S'
            else v_detail ~ '^\S.*\.$' and v_detail !~ '  | ,|\(\)| \.'
        end),
        concat_ws(' ', 'UC' || v_wanted.class, p_name, v_wanted.remedy, '- a detail:', true),
        format('%s, with a detail and its remedy: %s', p_name, left(p_call, 70))
    );
end
$$;
select raises(name, call) from calls;
select is_empty(
    'select name from catalogue where not answer and name not in (select name from calls)', 'none of the page is left out'
);

-- Each answer, as it happens.

update billing.admin_limits set approval_above = 10 where role = 'admin';
create temp table answers (name text, call text);
insert into answers values
    ('insufficient_credits', 'billing.deduct_credits(a(), 1000)'),
    ('account_closed', 'billing.deduct_credits(b(), 1)'),
    ('account_frozen', 'billing.deduct_credits(d(), 1)'),
    ('admin_limit_exceeded', 'billing.adjust_credits(admin(), a(), 1001, ''r'')'),
    ('approval_required', 'billing.adjust_credits(admin(), a(), 11, ''r'')'),
    ('approval_required', 'billing.adjust_credits(chief(), chief(), 1, ''r'')'),
    ('own_account', 'billing.set_account_status(chief(), chief(), ''active'', ''r'')'),
    ('own_account', 'billing.admin_release_hold(chief(), chief(), nobody(), ''r'')'),
    ('own_request', 'billing.approve_request(admin(), asked(''open''), ''r'')'),
    ('own_request', 'billing.decline_request(admin(), asked(''open''), ''r'')'),
    ('not_your_request', 'billing.withdraw_request(chief(), asked(''open''))'),
    ('not_a_super_admin', 'billing.set_user_role(admin(), a(), ''admin'')'),
    ('not_a_super_admin', 'billing.change_config(admin(), ''packages'', ''10'', ''{}'', null, ''r'')'),
    ('not_an_admin', 'billing.adjust_credits(a(), a(), 1, ''r'')'),
    ('account_has_holds', 'billing.set_account_status(admin(), a(), ''closed'', ''r'')'),
    ('last_super_admin', 'billing.set_user_role(chief(), chief(), ''user'')'),
    ('dispute_open', 'billing.set_account_status(admin(), e(), ''active'', ''r'')'),
    ('refund_not_allowed', 'billing.request_refund(admin(), a(), 1, ''r'')'),
    ('payment_not_found', 'billing.request_refund(chief(), a(), 1, ''r'', true, ''pi_e'')'),
    ('payment_disputed', 'billing.request_refund(chief(), e(), 1, ''r'', true, ''pi_disputed'')'),
    ('refund_exceeds_payment', 'billing.request_refund(chief(), e(), 10.01, ''r'', true, ''pi_e'')');
create function answers_with(p_call text) returns text language plpgsql as $$
declare
    v_answer record;
begin
    execute 'select success, reason from ' || p_call into v_answer;
    return v_answer.success || ' ' || v_answer.reason;
end
$$;
select is(answers_with(call), 'false ' || name, 'answered: ' || name) from answers;
select is_empty(
    'select name from catalogue where answer and name not in (select name from answers)', 'none of the page is left out here'
);

select * from finish();
rollback;
