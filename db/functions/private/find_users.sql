-- Ids of Stripe's and of the ledger as they are written; references by their beginning, whatever the case. Users who
-- have spent on a reference of the ledger are picked one by one off its index, however many entries they have.
create or replace function billing_private.find_users(p_query text, p_tier text, p_status text, p_limit integer)
returns table (user_id uuid, found_by text)
language plpgsql
stable
as $$
declare
    v_from text := lower(p_query);
    -- No character comes after this one.
    v_to   text := v_from || chr(1114111);
begin
    return query
        with recursive spenders as (
            (
                select l.user_id, 1 as n
                from billing.credit_ledger l
                where l.reference_id = p_query
                order by l.user_id
                limit 1
            )
            union all
            select
                (
                    select l.user_id
                    from billing.credit_ledger l
                    where l.reference_id = p_query and l.user_id > s.user_id
                    order by l.user_id
                    limit 1
                ),
                s.n + 1
            from spenders s
            where s.user_id is not null and s.n < 500
        ),
        found as (
            select c.user_id, 1 as rank, '' as reference
            from billing.billing_customers c
            where c.stripe_customer_id = p_query
            union all
            select s.user_id, 2, ''
            from billing.billing_subscriptions s
            where s.stripe_subscription_id = p_query
            union all
            select p.user_id, 3, ''
            from billing.billing_payments p
            where p.payment_intent_id = p_query
            union all
            select p.user_id, 3, ''
            from billing.credit_purchases p
            where p.stripe_payment_intent_id = p_query
            union all
            select r.user_id, 4, ''
            from billing.credit_refunds r
            where r.stripe_refund_id = p_query
            union all
            (
                select r.user_id, 5, lower(r.reference) collate "C"
                from billing.user_references r
                join billing.credit_accounts a on a.user_id = r.user_id
                where lower(r.reference) collate "C" >= v_from
                    and lower(r.reference) collate "C" < v_to
                    and (p_tier is null or a.tier = p_tier)
                    and (p_status is null or a.status = p_status)
                order by lower(r.reference) collate "C", r.user_id
                limit p_limit
            )
            union all
            select s.user_id, 6, ''
            from spenders s
        )
        select
            f.user_id,
            (array[
                'stripe_customer', 'subscription', 'payment_intent', 'stripe_refund', 'reference', 'ledger_reference'
            ])[min(f.rank)]
        from found f
        join billing.credit_accounts a on a.user_id = f.user_id
        where (p_tier is null or a.tier = p_tier) and (p_status is null or a.status = p_status)
        group by f.user_id
        order by min(f.rank), min(f.reference), f.user_id
        limit p_limit;
end
$$;

comment on function billing_private.find_users(text, text, text, integer) is
    'Users with an account to whom something belongs that is called so, what is surest first.';
revoke all on function billing_private.find_users(text, text, text, integer) from public;
