-- A payment of another purchase, in either system, makes a purchase one that can't be told apart; one of a purchase that
-- both systems know is no other.
create or replace function billing_private.old_purchase_counts(p_user_ids uuid[])
returns table (user_id uuid, purchases bigint, problem text, detail text)
language plpgsql
stable
as $$
begin
    return query
        with checked as (
            select
                p.user_id, p.purchase_id, nullif(p.stripe_payment_intent_id, '') as payment,
                (
                    p.amount > 0 and p.price_cents > 0 and isfinite(p.created_at)
                    and length(p.purchase_id) between 1 and 150
                    and p.status in ('pending', 'completed', 'failed', 'refunded')
                    and billing_private.old_amount_problem(p.amount) is null
                    and coalesce(nullif(p.stripe_payment_intent_id, '') ~ '^\S{1,200}$', true)
                    and count(*) over (partition by p.user_id, p.purchase_id) = 1
                ) is not true as is_invalid,
                nullif(p.stripe_payment_intent_id, '') is not null and (exists (
                    select from legacy_billing.legacy_purchases o
                    where o.stripe_payment_intent_id = p.stripe_payment_intent_id
                        and (o.user_id, o.purchase_id) is distinct from (p.user_id, p.purchase_id)
                )
                or exists (
                    select from billing.credit_purchases c
                    where c.stripe_payment_intent_id = p.stripe_payment_intent_id
                        and (c.user_id, c.legacy_purchase_id) is distinct from (p.user_id, p.purchase_id)
                )
                or exists (
                    select from billing.billing_payments b
                    where b.payment_intent_id = p.stripe_payment_intent_id and b.user_id <> p.user_id
                )) as is_shared
            from legacy_billing.legacy_purchases p
            where p.user_id = any (p_user_ids)
        )
        select
            c.user_id, count(*),
            case when bool_or(c.is_invalid) then 'invalid_purchase' when bool_or(c.is_shared) then 'shared_payment' end,
            case
                when bool_or(c.is_invalid) then format(
                    'Purchase %s has an amount, price, status, time, id or payment that is none.',
                    string_agg(distinct c.purchase_id, ', ') filter (where c.is_invalid)
                )
                when bool_or(c.is_shared) then format(
                    'Payment %s paid another purchase too.',
                    string_agg(distinct c.payment, ', ') filter (where c.is_shared)
                )
            end
        from checked c
        group by c.user_id;
end
$$;

comment on function billing_private.old_purchase_counts(uuid[]) is
    'How many purchases users have in the old system, and what is wrong with them.';
revoke all on function billing_private.old_purchase_counts(uuid[]) from public;
