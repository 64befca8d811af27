-- The exact cost is rounded once, up, at the ninth place. Null: the model has no price at that time.
create or replace function billing_private.token_cost(
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint,
    p_at                timestamptz,
    out cost            numeric,
    out basis           jsonb
)
language plpgsql
stable
as $$
declare
    v_price record;
    v_exact numeric;
begin
    select input_per_million, cached_input_per_million, output_per_million, multiplier into v_price
    from billing.model_prices
    where model = p_model and effective_from <= p_at
    order by effective_from desc
    limit 1;
    if found then
        v_exact := (
            (p_prompt_tokens - p_cached_tokens) * v_price.input_per_million
            + p_cached_tokens * v_price.cached_input_per_million
            + p_completion_tokens * v_price.output_per_million
        ) * 0.000001 * v_price.multiplier;
        cost := trim_scale(ceil(v_exact * 1000000000) * 0.000000001);
        basis := jsonb_build_object(
            'model', p_model, 'prompt_tokens', p_prompt_tokens, 'completion_tokens', p_completion_tokens,
            'cached_tokens', p_cached_tokens, 'exact_cost', trim_scale(v_exact),
            'rates', jsonb_build_object(
                'input_per_million', v_price.input_per_million,
                'cached_input_per_million', v_price.cached_input_per_million,
                'output_per_million', v_price.output_per_million, 'multiplier', v_price.multiplier
            )
        );
    end if;
end
$$;

comment on function billing_private.token_cost is
    'What a call costs by the rate card, in credits, and the basis of that for the entry''s metadata.';
revoke all on function billing_private.token_cost from public;
