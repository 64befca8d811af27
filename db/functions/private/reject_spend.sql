-- Says what is wrong with a request that deduct found something wrong with.
create or replace function billing_private.reject_spend(
    p_raise             boolean,
    p_user_id           uuid,
    p_amount            numeric,
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint,
    p_description       text,
    p_reference_type    text,
    p_reference_id      text,
    p_idempotency_key   text,
    p_metadata          jsonb
)
returns billing.deduction
language plpgsql
as $$
begin
    if p_user_id is null then
        return billing_private.fail_spend(p_raise, 'invalid_request', 'p_user_id must be given.');
    elsif p_model is null and billing_private.amount_problem(p_amount) is not null then
        return billing_private.fail_spend(
            p_raise, billing_private.amount_problem(p_amount),
            format('p_amount is %s.', coalesce(p_amount::text, 'null'))
        );
    elsif p_model is not null
        and billing_private.tokens_problem(p_prompt_tokens, p_completion_tokens, p_cached_tokens)
    then
        return billing_private.fail_spend(p_raise, 'invalid_tokens', format(
            'p_prompt_tokens is %s, p_cached_tokens %s, p_completion_tokens %s.',
            coalesce(p_prompt_tokens::text, 'null'), coalesce(p_cached_tokens::text, 'null'),
            coalesce(p_completion_tokens::text, 'null')
        ));
    end if;
    return billing_private.fail_spend(p_raise, 'invalid_request', billing_private.text_problem(
        p_description, p_reference_type, p_reference_id, p_idempotency_key, p_metadata
    ));
end
$$;

comment on function billing_private.reject_spend is 'The error of a malformed deduction, raised or told as the reason.';
revoke all on function billing_private.reject_spend from public;
