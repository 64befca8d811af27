-- Raises: UC404 unknown_package, UC422 amount_not_positive, amount_not_whole_cents, amount_out_of_range,
--         amount_too_precise, amount_too_large.
create or replace function billing_private.new_purchase(
    p_user_id uuid,
    p_kind    text,
    p_amount  numeric,
    p_package text,
    p_now     timestamptz
)
returns billing.credit_purchases
language plpgsql
stable
as $$
declare
    v_settings billing.billing_settings;
    v_purchase billing.credit_purchases;
begin
    if p_package is not null then
        select amount::billing.credits, price_cents::bigint into v_purchase.amount, v_purchase.price_cents
        from billing.billing_packages
        where name = p_package;
        if not found then
            perform billing_private.raise_error('unknown_package', format('There is no package %L.', p_package));
        end if;
    else
        perform billing_private.check_amount(p_amount);
        select * into v_settings from billing.billing_settings;
        if p_amount <> round(p_amount, 2) then
            perform billing_private.raise_error('amount_not_whole_cents', format('The amount is %s.', p_amount));
        elsif p_amount not between v_settings.min_purchase and v_settings.max_purchase then
            perform billing_private.raise_error('amount_out_of_range', format(
                'The amount is %s; it must be %s to %s.', p_amount, v_settings.min_purchase, v_settings.max_purchase
            ));
        end if;
        v_purchase.amount := p_amount;
        v_purchase.price_cents := (p_amount * 100)::bigint;
    end if;
    v_purchase.purchase_id := billing_private.time_ordered_id(p_now);
    v_purchase.user_id := p_user_id;
    v_purchase.kind := p_kind;
    v_purchase.package := p_package;
    v_purchase.status := 'pending';
    v_purchase.spent_before := 0;
    v_purchase.details := '{}';
    v_purchase.created_at := p_now;
    return v_purchase;
end
$$;

comment on function billing_private.new_purchase(uuid, text, numeric, text, timestamptz) is
    'A purchase of an amount or a package, with its price, about to be recorded.';
revoke all on function billing_private.new_purchase(uuid, text, numeric, text, timestamptz) from public;
