-- Raises: UC400 invalid_request, UC403 purchase_not_allowed, UC404 unknown_package, UC422 amount_not_positive,
--         amount_too_precise, amount_too_large, amount_out_of_range.
create or replace function billing_private.check_top_up(
    p_account billing.credit_accounts,
    p_top_up  billing.billing_auto_top_ups
)
returns void
language plpgsql
stable
as $$
declare
    v_price bigint := (select price_cents::bigint from billing.billing_packages where name = p_top_up.package);
begin
    if num_nulls(p_top_up.enabled, p_top_up.threshold, p_top_up.package, p_top_up.monthly_cap) > 0 then
        perform billing_private.raise_error(
            'invalid_request', 'p_enabled, and the first time p_threshold, p_package and p_monthly_cap, must be given.'
        );
    end if;
    perform billing_private.check_texts(p_reference_id => p_top_up.payment_method_id);
    perform billing_private.check_amount(p_top_up.threshold);
    perform billing_private.check_amount(p_top_up.monthly_cap);
    if not p_top_up.enabled then
        return;
    elsif v_price is null then
        perform billing_private.raise_error('unknown_package', format('There is no package %L.', p_top_up.package));
    elsif p_top_up.monthly_cap * 100 < v_price then
        perform billing_private.raise_error('amount_out_of_range', format(
            'The monthly cap of %s does not cover one package %s.', p_top_up.monthly_cap, p_top_up.package
        ));
    end if;
    perform billing_private.check_may_purchase(p_account);
end
$$;

comment on function billing_private.check_top_up(billing.credit_accounts, billing.billing_auto_top_ups) is
    'Raises when an automatic top-up makes no sense, or may not be.';
revoke all on function billing_private.check_top_up(billing.credit_accounts, billing.billing_auto_top_ups) from public;
