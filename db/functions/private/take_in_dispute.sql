-- A status only moves forward. Of two ends, the one that Stripe told later counts.
-- Locks:  the payment's id, the account, the dispute, the payment, until commit.
-- Raises: UC400 invalid_request.
create or replace function billing_private.take_in_dispute(p_dispute jsonb, p_seen_at timestamptz)
returns boolean
language plpgsql
as $$
declare
    v_ranks constant text[] := array[
        'warning_needs_response', 'warning_under_review', 'prevented', 'warning_closed', 'needs_response',
        'under_review', 'won', 'lost'
    ];
    v_id        text := p_dispute ->> 'id';
    v_status    text := p_dispute ->> 'status';
    v_intent_id text := p_dispute ->> 'payment_intent';
    v_account   billing.credit_accounts;
    v_user_id   uuid;
    v_now       timestamptz := billing_private.clock();
begin
    if v_intent_id is null then
        return false;
    end if;
    perform billing_private.check_stripe_object(p_dispute, '{id, status}', '{amount, created}');
    perform billing_private.lock_intent(v_intent_id);
    v_user_id := billing_private.user_of_payment(v_intent_id);
    if v_user_id is not null then
        v_account := billing_private.lock_account(v_user_id, true);
        v_now := greatest(v_now, v_account.updated_at);
    end if;
    insert into billing.billing_disputes (
        dispute_id, payment_intent_id, amount_cents, status, reason, seen_at, created_at, updated_at
    )
    values (
        v_id, v_intent_id, (p_dispute ->> 'amount')::bigint, v_status, p_dispute ->> 'reason', p_seen_at,
        to_timestamp((p_dispute ->> 'created')::bigint), v_now
    )
    on conflict do nothing;
    update billing.billing_disputes
    set status = v_status, seen_at = p_seen_at, amount_cents = (p_dispute ->> 'amount')::bigint,
        updated_at = case when status = v_status then updated_at else v_now end
    where dispute_id = v_id
        and case
            when status = v_status then p_seen_at > seen_at
            when status in ('won', 'lost') and v_status in ('won', 'lost') then p_seen_at > seen_at
            else coalesce(array_position(v_ranks, v_status) > array_position(v_ranks, status), false)
        end;
    if v_user_id is not null then
        v_account := billing_private.settle_account(v_account, v_now);
        perform billing_private.adopt_payment(v_account, v_now, v_intent_id, 'dispute', false);
        perform billing_private.forward_to_old_system(v_user_id);
    end if;
    return true;
end
$$;

comment on function billing_private.take_in_dispute(jsonb, timestamptz) is
    'Takes in a dispute as Stripe tells it; false: it is of no payment.';
revoke all on function billing_private.take_in_dispute(jsonb, timestamptz) from public;
