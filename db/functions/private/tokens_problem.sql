create or replace function billing_private.tokens_problem(
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint
)
returns boolean
language sql
immutable
as $$
    select (
        p_prompt_tokens between 0 and 1000000000000 and p_completion_tokens between 0 and 1000000000000
        and p_cached_tokens between 0 and p_prompt_tokens
    ) is not true
$$;

comment on function billing_private.tokens_problem(bigint, bigint, bigint) is
    'Whether token counts are missing, negative, absurd, or cached beyond the prompt.';
revoke all on function billing_private.tokens_problem(bigint, bigint, bigint) from public;
