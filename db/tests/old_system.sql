-- The old system takes no row of a user who has left it, whoever writes; and it can be another one: whatever tables an
-- installation has, the three views and a trigger are all that a migration and a rollback need.
\ir legacy.psql

create function u(p_number integer) returns uuid immutable language sql as
    $$select ('00000000-0000-0000-0001-' || lpad(p_number::text, 12, '0'))::uuid$$;

-- The guard.

select old_user(a()), old_credit(a(), 1), old_usage(a(), 1),
    old_purchase(a(), 'p', 1, '2025-01-01 00:00+00', 'pending'),
    old_user(b()), old_credit(b(), 1), old_user(c()), old_credit(c(), 1), old_usage(c(), 1) \g /dev/null
select billing.migrate_users(array[a(), c()]) \g /dev/null
select billing.rollback_users(array[c()]) \g /dev/null
select billing.open_account(d()) \g /dev/null
create function writes(p_user_id uuid) returns table (call text) language sql as $$
    select format(statement, p_user_id, row_number() over ())
    from unnest(array[
        'insert into legacy_billing.usage_records (user_id, model, cost) values (%L, ''m'', 1)',
        'insert into legacy_billing.purchases (purchase_id, user_id, amount, status) '
            'values (''new'' || %2$L || %1$L, %1$L, 1, ''pending'')',
        'insert into legacy_billing.bought_credit (user_id, balance) values (%L, 2) '
            'on conflict (user_id) do update set balance = 2',
        'update legacy_billing.usage_records set cost = 2 where user_id = %L',
        'update legacy_billing.purchases set status = ''completed'' where user_id = %L',
        'update legacy_billing.bought_credit set balance = 2 where user_id = %L',
        'insert into legacy_billing.legacy_usage (user_id, model, cost, prompt_tokens, completion_tokens, '
            'cached_tokens, paid_from_credit, created_at) values (%L, ''m'', 1, 0, 0, 0, 0, now())',
        'insert into legacy_billing.legacy_purchases (purchase_id, user_id, amount, status, created_at) '
            'values (''v'' || %2$L || %1$L, %1$L, 1, ''pending'', now())',
        'update legacy_billing.legacy_purchases set status = ''completed'' where user_id = %L',
        'insert into legacy_billing.legacy_customers (user_id, bought_credit) values (%L, 2)'
    ]) statement
$$;
select throws_ok(call, 'UC409', 'already_migrated', 'not of one who has left: ' || left(call, 70)) from writes(a());
select throws_ok(call, 'UC409', 'already_migrated', 'nor of one who was born here: ' || left(call, 60))
from writes(d()) where call ~ '^insert';
select throws_ok(
    format('update legacy_billing.usage_records set user_id = %L where user_id = %L', a(), c()), 'UC409',
    'already_migrated',
    'nor does another user''s row become one of theirs'
);
select lives_ok(call, 'but of one who waits: ' || left(call, 70)) from writes(b());
select lives_ok(call, 'and of one who went back: ' || left(call, 70)) from writes(c());
select lives_ok(call, 'and of a stranger: ' || left(call, 70)) from writes(nobody()) where call ~ '^insert';
select lives_ok(
    format('update legacy_billing.customers set email = ''a@example.com'' where user_id = %L', a()),
    'customers are no money'
);
select throws_ok(
    'insert into legacy_billing.usage_records (user_id, model, cost) values (null, ''m'', 1)', '23502',
    null, 'a row of nobody is the table''s own affair'
);
select is(
    (select count(*) from billing.user_migrations where user_id in (b(), nobody()) and status = 'none'), 2::bigint,
    'whoever is written for is locked by a row of their own'
);

-- Another old system, as an installation may have it.

drop view legacy_billing.legacy_customers, legacy_billing.legacy_usage, legacy_billing.legacy_purchases;
drop table legacy_billing.usage_records, legacy_billing.purchases, legacy_billing.bought_credit,
    legacy_billing.subscriptions, legacy_billing.customers, legacy_billing.plans;
create table public.my_users (
    id uuid primary key, stripe text, plan text not null default 'hobby', subscription text, paid boolean,
    credit_cents bigint not null default 0,
    joined date not null default '2024-06-01'
);
create table public.my_calls (
    id serial primary key, who uuid not null, model text, tokens_in int, tokens_out int, micros bigint, at timestamptz,
    key text
);
create table public.my_orders (
    number int primary key, who uuid, cents bigint, state text, intent text, at timestamptz, foreign_id text
);
create view legacy_billing.legacy_customers as
select
    u.id as user_id, u.stripe as stripe_customer_id, u.subscription as stripe_subscription_id,
    case when u.paid then 'active' when u.subscription is not null then 'past_due' end as subscription_status,
    u.plan as price_id, case u.plan when 'pro' then 'tier_2_20' when 'hobby' then 'free' end as tier,
    null::timestamptz as current_period_start, null::timestamptz as current_period_end,
    case when u.plan = 'pro' and u.paid then 20.0 else 2.0 end as monthly_limit,
    u.credit_cents / 100.0 as bought_credit,
    u.joined::timestamptz as created_at
from public.my_users u;
create view legacy_billing.legacy_usage as
select
    id::text as usage_id, who as user_id, model, tokens_in::bigint as prompt_tokens,
    tokens_out::bigint as completion_tokens,
    0::bigint as cached_tokens, micros / 1000000.0 as cost, 0::numeric as paid_from_credit, key as request_key,
    at as created_at
from public.my_calls;
create view legacy_billing.legacy_purchases as
select
    coalesce(foreign_id, number::text) as purchase_id, who as user_id, cents / 100.0 as amount, cents as price_cents,
    case state when 'paid' then 'completed' when 'new' then 'pending' else 'failed' end as status,
    intent as stripe_payment_intent_id, at as created_at, case state when 'paid' then at end as completed_at
from public.my_orders;
-- What a trigger of a view does, it does with the rights of who inserts.
create function public.save() returns trigger language plpgsql security definer as $$
begin
    case tg_table_name
        when 'legacy_customers' then
            insert into public.my_users (id) values (new.user_id) on conflict do nothing;
            update public.my_users
            set stripe = coalesce(new.stripe_customer_id, stripe),
            subscription = coalesce(new.stripe_subscription_id, subscription),
                plan = case when new.tier is null then plan when new.tier = 'tier_2_20' then 'pro' else 'hobby' end,
                paid = coalesce(new.subscription_status in ('active', 'trialing'), paid),
                credit_cents = coalesce(round(new.bought_credit * 100), credit_cents)
            where id = new.user_id and (new.tier is not null or new.bought_credit is not null);
        when 'legacy_usage' then
            insert into public.my_calls (who, model, tokens_in, tokens_out, micros, at, key)
            values (
                new.user_id, new.model, new.prompt_tokens, new.completion_tokens, new.cost * 1000000, new.created_at,
                new.request_key
            );
        when 'legacy_purchases' then
            if tg_op = 'UPDATE' then
                update public.my_orders set state = 'paid' where number::text = old.purchase_id;
            else
                insert into public.my_orders
                select coalesce(max(number), 0) + 1, new.user_id, new.price_cents, 'paid', new.stripe_payment_intent_id,
                    new.created_at, new.purchase_id
                from public.my_orders;
            end if;
    end case;
    return new;
end
$$;
create trigger save instead of insert on legacy_billing.legacy_customers for each row execute function public.save();
create trigger save instead of insert on legacy_billing.legacy_usage for each row execute function public.save();
create trigger save instead of insert or update on legacy_billing.legacy_purchases
    for each row execute function public.save();
grant select, insert on legacy_billing.legacy_customers, legacy_billing.legacy_usage to billing_owner;
grant select, insert, update on legacy_billing.legacy_purchases to billing_owner;
create trigger guard before insert or update on public.my_calls
    for each row execute function billing.guard_old_system('who');
create trigger guard before insert or update on public.my_orders
    for each row execute function billing.guard_old_system('who');

select is_empty(
    'select user_id from billing.list_old_users(''waiting'')', 'nobody of the old tables is there any more'
);
insert into public.my_users values (e(), 'cus_me', 'pro', 'sub_me', true, 1234),
    (chief(), null, 'hobby', null, null, 0);
insert into public.my_calls (who, model, tokens_in, tokens_out, micros, at, key) values
    (e(), 'gpt-4o', 100, 10, 4000001, '2025-03-02 00:00+00', 'k1'),
    (e(), 'gpt-4o', 100, 10, 9000000, '2025-02-02 00:00+00', null);
insert into public.my_orders values (1, e(), 1000, 'paid', 'pi_1', '2025-01-01 00:00+00'),
    (2, e(), 1000, 'paid', 'pi_2', '2025-01-02 00:00+00'), (3, e(), 500, 'new', 'pi_3', '2025-01-03 00:00+00');
set local role billing_owner;
select is(
    old_state(e()), 'tier_2_20 20 4.000001 15.999999 12.34 there', 'the old endpoints serve from whatever there is'
);
select is(moves(e()), 'migrated tier_2_20 20.999999 12.34 33.339999', 'a user of it is migrated');
select is(lots(e()), 'tier_grant 20.999999 2025-04-01 00:00:00, purchase 2.34, purchase 10', 'with the purchases');
select is_empty('select * from billing.verify_migration(array[e()])', 'without a difference');
reset role;
select rows_are(
    'select price_id, tier from billing.tier_prices where price_id in (''pro'', ''hobby'')',
    $$values ('pro', 'tier_2_20')$$,
    'its prices mean tiers here'
);
select rows_are(
    $$
    select stripe_subscription_id, billing_interval, status, stripe_price_id
    from billing.billing_subscriptions where user_id = e()
    $$,
    $$values ('sub_me', 'month', 'active', 'pro')$$, 'and its subscriptions are known'
);
select throws_ok(
    format('insert into public.my_calls (who, micros) values (%L, 1)', e()), 'UC409', 'already_migrated',
    'a guard goes by the column that it is told'
);
select throws_ok(
    'update public.my_orders set state = ''paid'' where number = 3', 'UC409', 'already_migrated', 'for updates too'
);
select lives_ok(
    format('insert into public.my_calls (who, micros, at) values (%L, 0, now())', chief()), 'others may write'
);
set local role billing_owner;
select is(
    (billing.legacy_record_purchase(e(), 5, 500, 'pi_3')).status, 'completed', 'a purchase is paid here'
);
select billing.deduct_tokens(e(), 'gpt-4o', 100000, 10000, p_idempotency_key => 'k2') \g /dev/null
select billing.grant_credits(e(), 0.66, 'promotion') \g /dev/null
select ok(
    (select outcome = 'rolled_back' and bought_credit = 18 and purchases = 0 and usage_records = 1 and subscriptions = 0
    from billing.rollback_users(array[e()])), 'the user goes back'
);
select is(
    (
        select concat_ws(' ', tier, trim_scale(monthly_usage + remaining), trim_scale(bought_credit), migrated)
        from billing.legacy_check(e())
    ),
    'tier_2_20 20 18 f', 'and is served from there'
);
select is(
    (billing.legacy_track(e(), 'gpt-4o', 100000, 10000, 0, 'k2')).replayed, true, 'a call is known there by its key'
);
select is((billing.legacy_track(e(), 'gpt-4o', 10, 10)).success, true, 'the next is recorded');
reset role;
select rows_are(
    'select number, cents, state, intent from public.my_orders where who = e() order by number',
    $$values (1, 1000, 'paid', 'pi_1'), (2, 1000, 'paid', 'pi_2'), (3, 500, 'paid', 'pi_3')$$,
    'its own tables have it all'
);
select is((select count(*) from public.my_calls where who = e() and model = 'gpt-4o'), 4::bigint, 'calls too');
select is((select credit_cents || plan || paid from public.my_users where id = e()), '1800protrue', 'and credit');
select is((select outcome from billing.migrate_users(array[e()])), 'migrated', 'who can be migrated again');
select is_empty('select * from billing.verify_migration(array[e()])', 'without a difference');
select is_empty('select * from billing.verify_ledger()', 'and verifies');
alter table public.my_users drop constraint my_users_pkey;
insert into public.my_users values (u(1), null, 'hobby', null, null, 100), (u(1), null, 'hobby', null, null, 200),
    (u(2), null, 'hobby', null, null, 100), (u(2), null, 'hobby', null, null, 100);
alter table public.my_users alter credit_cents drop not null, alter id drop not null;
insert into public.my_users values (u(3), null, 'hobby', null, null, null), (null, null, 'hobby', null, null, 0);
select rows_are(
    'select right(user_id::text, 2), outcome, problem from billing.migrate_users(array[u(1), u(2), u(3)])',
    $$values ('01', 'refused', 'credit_differs'), ('02', 'migrated', null), ('03', 'refused', 'credit_differs')$$,
    'what one user has must be one amount'
);
select is((select count(*) from billing.list_old_users() where user_id is null), 0::bigint, 'nobody is no user');

-- What a view of somebody else's tells may be incomplete, and its ids may count from 1 for each user.
create or replace view legacy_billing.legacy_customers as
select
    u.id as user_id, u.stripe as stripe_customer_id, u.subscription as stripe_subscription_id,
    case u.plan when 'gone' then null else 'canceled' end as subscription_status,
    nullif(u.plan, 'none') as price_id, 'free' as tier, null::timestamptz as current_period_start,
    null::timestamptz as current_period_end, 2.0 as monthly_limit, u.credit_cents / 100.0 as bought_credit,
    u.joined::timestamptz as created_at
from public.my_users u;
create or replace view legacy_billing.legacy_purchases as
select
    '1' as purchase_id, who as user_id, cents / 100.0 as amount, cents as price_cents, 'completed' as status,
    intent as stripe_payment_intent_id, at as created_at, at as completed_at
from public.my_orders;
insert into public.my_users values (u(4), 'cus_4', 'none', 'sub_4', null, 100), (u(5), 'cus_5', 'gone', 'sub_5', null, 0),
    (u(6), null, 'hobby', null, null, 1000), (u(7), null, 'hobby', null, null, 1000);
insert into public.my_orders values (6, u(6), 1000, 'paid', 'pi_6', '2025-01-01 00:00+00'),
    (7, u(7), 1000, 'paid', 'pi_6', '2025-01-01 00:00+00');
select rows_are(
    'select right(user_id::text, 2), outcome, problem from billing.migrate_users(array[u(4), u(5), u(6), u(7)])',
    $$values ('04', 'migrated', null), ('05', 'migrated', null), ('06', 'refused', 'shared_payment'),
        ('07', 'refused', 'shared_payment')$$,
    'a subscription without price or status is none, and one payment is one, whatever the ids of its purchases'
);
select is_empty('select * from billing.verify_migration(array[u(4), u(5)])', 'without a difference');
select is(moves(u(4)), 'already_migrated free 5 1 6', 'with what they have');

select * from finish();
rollback;
