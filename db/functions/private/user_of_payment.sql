-- A payment of a purchase that the old system knows may be becoming known here at this moment: whoever asks waits until
-- that is decided, so that what is told of it is either taken in now or found by the migration.
-- Locks: the migration of the user of such a purchase, until commit. The caller has locked the payment's id.
create or replace function billing_private.user_of_payment(p_payment_intent_id text)
returns uuid
language plpgsql
as $$
declare
    v_user_id uuid := (
        select user_id from billing.billing_payments where payment_intent_id = p_payment_intent_id
    );
    v_old_id  uuid;
begin
    if v_user_id is null then
        v_old_id := (
            select user_id
            from legacy_billing.legacy_purchases
            where stripe_payment_intent_id = p_payment_intent_id
            order by user_id
            limit 1
        );
    end if;
    if v_old_id is not null then
        perform billing_private.lock_migration(v_old_id);
        v_user_id := (select user_id from billing.billing_payments where payment_intent_id = p_payment_intent_id);
    end if;
    return v_user_id;
end
$$;

comment on function billing_private.user_of_payment(text) is 'The user of a payment; null while it is not known here.';
revoke all on function billing_private.user_of_payment(text) from public;
