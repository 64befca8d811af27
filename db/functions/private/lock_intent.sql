-- A refund or a dispute may come before its payment has a row that could be locked. Of two sessions, one that records
-- the payment and one that records what went back, the second must see what the first has written.
-- Locks: the id of the payment, until commit, before the account.
create or replace function billing_private.lock_intent(p_payment_intent_id text)
returns void
language plpgsql
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('billing.billing_payments ' || p_payment_intent_id, 0));
end
$$;

comment on function billing_private.lock_intent(text) is
    'Lets one session at a time take in what Stripe tells of a payment.';
revoke all on function billing_private.lock_intent(text) from public;
