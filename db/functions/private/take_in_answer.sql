-- Raises: UC400 invalid_request, UC404 purchase_not_found, customer_not_found, account_not_found, unknown_tier,
--         UC409 payment_mismatch, not_migrated.
create or replace function billing_private.take_in_answer(p_call billing.stripe_calls, p_object jsonb)
returns void
language plpgsql
as $$
declare
    v_seen_at timestamptz := coalesce(p_call.claimed_at, p_call.created_at);
    v_about   text := case
        when p_call.kind in ('purchase', 'top_up') then coalesce(p_object #>> '{metadata,purchase_id}', '')
        when p_call.kind = 'checkout' then coalesce(p_object #>> '{metadata,checkout_id}', '')
        when p_call.kind = 'subscription' then coalesce(p_object ->> 'id', '')
    end;
    v_object  jsonb;
begin
    if v_about <> p_call.subject_id then
        perform billing_private.raise_error('payment_mismatch', format(
            'Call %s (%s) is about %s; %s is not.', p_call.call_id, p_call.kind, p_call.subject_id, p_object ->> 'id'
        ));
    end if;
    case p_call.kind
        when 'customer' then
            if billing_private.user_of_customer(p_object ->> 'id') <> p_call.user_id then
                perform billing_private.raise_error('payment_mismatch', format(
                    'Customer %s is another user''s.', p_object ->> 'id'
                ));
            end if;
            update billing.billing_customers
            set stripe_customer_id = p_object ->> 'id'
            where user_id = p_call.user_id and stripe_customer_id is null;
        when 'purchase', 'checkout' then
            perform billing_private.take_in_session(p_object);
        when 'refund' then
            perform billing_private.take_in_refund(p_object, p_call.subject_id::uuid);
        when 'top_up' then
            perform billing_private.take_in_intent(p_object);
            -- Nobody is there to do what else the payment may ask for.
            if p_object ->> 'status' not in ('succeeded', 'processing') then
                perform billing_private.fail_top_up(
                    billing_private.read_purchase(p_call.subject_id::uuid), 'authentication_required',
                    format('Payment %s is %s.', p_object ->> 'id', p_object ->> 'status')
                );
            end if;
        when 'subscription' then
            perform billing_private.take_in_subscription(p_object, v_seen_at);
        when 'subscriptions' then
            for v_object in select value from jsonb_array_elements(p_object -> 'data') loop
                -- One that pays for no tier keeps none of the others waiting; its own events tell of it.
                if billing_private.tier_of_price(v_object #> '{items,data,0,price}') is not null
                    or v_object ->> 'status' in ('canceled', 'incomplete_expired')
                then
                    perform billing_private.take_in_subscription(v_object, v_seen_at);
                end if;
            end loop;
        when 'payment' then
            if jsonb_typeof(p_object -> 'payment_intent') = 'object' then
                perform billing_private.take_in_intent(p_object -> 'payment_intent');
            end if;
            for v_object in
                select value from jsonb_array_elements(p_object -> 'refunds')
                union all
                select value from jsonb_array_elements(p_object -> 'disputes')
            loop
                perform billing_private.take_in_object(v_object, v_seen_at);
            end loop;
    end case;
end
$$;

comment on function billing_private.take_in_answer(billing.stripe_calls, jsonb) is
    'Takes in what Stripe answered to a call, by its kind.';
revoke all on function billing_private.take_in_answer(billing.stripe_calls, jsonb) from public;
