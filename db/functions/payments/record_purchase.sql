-- Give an amount or a package. The price of an amount is the same number of US dollars.
-- Locks:  the account row, until commit.
-- Replay: the same key, amount and package returns the first purchase with replayed = true.
-- Raises: UC400 invalid_request, UC403 purchase_not_allowed, UC404 account_not_found, unknown_package,
--         UC409 idempotency_key_reused, not_migrated, UC422 amount_not_positive, amount_not_whole_cents,
--         amount_out_of_range, amount_too_precise, amount_too_large.
create or replace function billing.record_purchase(
    p_user_id         uuid,
    p_amount          numeric default null,
    p_package         text default null,
    p_idempotency_key text default null,
    p_details         jsonb default null
)
returns billing.purchase
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account  billing.credit_accounts;
    v_purchase billing.credit_purchases;
    v_now      timestamptz;
begin
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key, p_metadata => p_details);
    if num_nonnulls(p_amount, p_package) <> 1 then
        perform billing_private.raise_error('invalid_request', 'Give either p_amount or p_package.');
    end if;
    v_account := billing_private.lock_account(p_user_id);
    select * into v_purchase
    from billing.credit_purchases
    where user_id = p_user_id and idempotency_key = p_idempotency_key;
    if found then
        if (v_purchase.kind, v_purchase.package) is distinct from ('checkout', p_package)
            or v_purchase.amount <> p_amount
        then
            perform billing_private.raise_error('idempotency_key_reused', format(
                'Key %L of user %s belongs to purchase %s.', p_idempotency_key, p_user_id, v_purchase.purchase_id
            ));
        end if;
        return billing_private.as_purchase(v_purchase, true);
    end if;
    perform billing_private.check_may_purchase(v_account);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_purchase := billing_private.new_purchase(p_user_id, 'checkout', p_amount, p_package, v_now);
    v_purchase.idempotency_key := p_idempotency_key;
    v_purchase.details := coalesce(p_details, '{}');
    insert into billing.credit_purchases select v_purchase.*;
    perform billing_private.queue_stripe_call(
        p_user_id, 'purchase', v_purchase.purchase_id::text,
        v_purchase.details || jsonb_build_object(
            'purchase_id', v_purchase.purchase_id, 'amount_cents', v_purchase.price_cents,
            'name', format('%s credits', trim_scale(v_purchase.amount))
        ),
        v_now
    );
    return billing_private.as_purchase(v_purchase, false);
end
$$;

comment on function billing.record_purchase(uuid, numeric, text, text, jsonb) is
    'Records that a user sets out to buy credits, before Stripe is asked.';
revoke all on function billing.record_purchase(uuid, numeric, text, text, jsonb) from public;
grant execute on function billing.record_purchase(uuid, numeric, text, text, jsonb) to billing_api;
