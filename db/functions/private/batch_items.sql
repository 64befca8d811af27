-- Values that have no meaning become null, which the deduction refuses by name; well_formed is false where that would
-- hide what was meant: an item that is no object, has an unknown member, a text that is none,
-- no user, or not exactly one of amount and model.
create or replace function billing_private.batch_items(p_items jsonb)
returns table (
    item_no           bigint,
    well_formed       boolean,
    user_id           uuid,
    amount            numeric,
    model             text,
    prompt_tokens     bigint,
    completion_tokens bigint,
    cached_tokens     bigint,
    description       text,
    reference_type    text,
    reference_id      text,
    idempotency_key   text,
    metadata          jsonb
)
language sql
immutable
as $$
    select
        ordinality,
        case
            when jsonb_typeof(item) = 'object' then
                item - array[
                    'user_id', 'amount', 'model', 'prompt_tokens', 'completion_tokens', 'cached_tokens', 'description',
                    'reference_type', 'reference_id', 'idempotency_key', 'metadata'
                ] = '{}'
                and not exists (
                    select from jsonb_each(item) member
                    where member.key in ('model', 'description', 'reference_type', 'reference_id', 'idempotency_key')
                        and jsonb_typeof(member.value) not in ('string', 'null')
                )
                and item ->> 'user_id' ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$'
                and (item ->> 'amount' is null) <> (item ->> 'model' is null)
                and (
                    item ->> 'model' is not null
                    or not item ?| array['prompt_tokens', 'completion_tokens', 'cached_tokens']
                )
            else false
        end is true,
        case
            when item ->> 'user_id' ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' then (item ->> 'user_id')::uuid
        end,
        case
            when jsonb_typeof(item -> 'amount') = 'number' then (item -> 'amount')::numeric
            when item ->> 'amount' ~ '^[+-]?[0-9]{1,100}(\.[0-9]{1,100})?([eE][+-]?[0-9]{1,3})?$' then (item ->> 'amount')::numeric
        end,
        item ->> 'model',
        case when item ->> 'prompt_tokens' ~ '^[0-9]{1,18}$' then (item ->> 'prompt_tokens')::bigint end,
        case when item ->> 'completion_tokens' ~ '^[0-9]{1,18}$' then (item ->> 'completion_tokens')::bigint end,
        case
            when item ->> 'cached_tokens' is null then 0
            when item ->> 'cached_tokens' ~ '^[0-9]{1,18}$' then (item ->> 'cached_tokens')::bigint
        end,
        item ->> 'description',
        item ->> 'reference_type',
        item ->> 'reference_id',
        item ->> 'idempotency_key',
        nullif(item -> 'metadata', 'null')
    from jsonb_array_elements(p_items) with ordinality as items (item, ordinality)
$$;

comment on function billing_private.batch_items(jsonb) is 'The items of a batch, their members typed.';
revoke all on function billing_private.batch_items(jsonb) from public;
