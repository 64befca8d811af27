create or replace function billing.list_model_prices()
returns setof billing.model_price
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_now timestamptz := billing_private.clock();
begin
    return query
        select distinct on (model)
            model, input_per_million, cached_input_per_million, output_per_million, multiplier, effective_from
        from billing.model_prices
        where effective_from <= v_now
        order by model, effective_from desc;
end
$$;

comment on function billing.list_model_prices() is 'The rate card in force: US dollars per million tokens.';
revoke all on function billing.list_model_prices() from public;
grant execute on function billing.list_model_prices() to billing_api;
