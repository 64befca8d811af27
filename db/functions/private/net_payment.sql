-- All that refunds and lost disputes ask back of a payment is one sum, at most what was paid, and each of them moves
-- the account to where that sum wants it: nothing is taken twice, and nothing is missed.
--
-- reclaimed is the same share of the credits as of the money, cut at the ninth place. When it grows, the growth is
-- taken from the payment's lots as far as they reach; when it shrinks (a refund failed, a dispute was won after all),
-- what was taken beyond it is given back. What was spent already becomes debt, but for the growth that a refund causes
-- which does not ask for it (p_let_go): that is let go, and stays so. The caller has locked and settled the account.
-- Locks: the payment, until commit.
create or replace function billing_private.net_payment(
    p_account           billing.credit_accounts,
    p_now               timestamptz,
    p_payment_intent_id text,
    p_cause             text,
    p_let_go            boolean
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_payment billing.billing_payments;
    v_share   record;
    v_wanted  numeric;
    v_clawed  numeric;
    v_let_go  numeric;
    v_owed    numeric;
    v_debt    numeric;
begin
    select * into v_payment
    from billing.billing_payments
    where payment_intent_id = p_payment_intent_id
    for no key update;
    if (v_payment.bought > 0) is not true then
        return p_account;
    end if;
    select * into v_share from billing_private.reclaimable(v_payment);
    if v_share.total > v_payment.reclaimed and billing_private.is_rolled_back(p_account.user_id) then
        p_account := billing_private.recall_credits(
            p_account, p_now, p_payment_intent_id, v_share.total - v_payment.reclaimed
        );
        v_payment.grant_no := (
            select grant_no from billing.billing_payments where payment_intent_id = p_payment_intent_id
        );
    end if;
    v_clawed := v_payment.clawed;
    v_debt := v_payment.owed;
    v_wanted := least(
        v_share.total, greatest(v_clawed + greatest(v_share.total - v_payment.reclaimed, 0), v_share.firm - v_debt)
    );
    if v_wanted < v_clawed then
        -- The debt goes first: what comes back would be spent on what is not owed any more.
        p_account := billing_private.change_debt(p_account, p_now, -v_debt, p_payment_intent_id);
        v_debt := 0;
        p_account := billing_private.restore_clawback(p_account, p_now, v_payment, v_clawed - v_wanted, p_cause);
        v_clawed := billing_private.clawed_from(p_account.user_id, p_payment_intent_id);
    end if;
    if v_wanted > v_clawed then
        p_account := billing_private.take_clawback(p_account, p_now, v_payment, v_wanted - v_clawed, p_cause);
        v_clawed := billing_private.clawed_from(p_account.user_id, p_payment_intent_id);
    end if;
    v_let_go := v_payment.reclaimed - v_payment.clawed - v_payment.owed
        + case
            when p_let_go then greatest(v_share.total - v_payment.reclaimed - (v_clawed - v_payment.clawed), 0)
            else 0
        end;
    v_owed := greatest(v_share.firm - v_clawed, least(v_share.firm, v_share.total - v_clawed - v_let_go), 0);
    p_account := billing_private.change_debt(p_account, p_now, v_owed - v_debt, p_payment_intent_id);
    update billing.billing_payments
    set reclaimed = v_share.total, clawed = v_clawed, owed = v_owed
    where payment_intent_id = p_payment_intent_id;
    return p_account;
end
$$;

comment on function billing_private.net_payment(billing.credit_accounts, timestamptz, text, text, boolean) is
    'Takes back, or gives back, the credits of a payment so that they follow its money; returns the account.';
revoke all on function billing_private.net_payment(
    billing.credit_accounts, timestamptz, text, text, boolean
) from public;
