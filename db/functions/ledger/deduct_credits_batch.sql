-- Each item: user_id, and either amount or model, prompt_tokens, completion_tokens and cached_tokens;
-- description, reference_type, reference_id, idempotency_key, metadata. A result per item, in their order; an item that
-- alone would raise has success = false and the error's name, and the others go on. Keys are those of deduct_credits
-- and deduct_tokens.
-- Locks:  the accounts, in the order of their user_id, until commit.
-- Raises: UC400 invalid_request when p_items is not an array of at most 1,000 items.
create or replace function billing.deduct_credits_batch(p_items jsonb)
returns setof billing.deduction
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_results billing.deduction[];
    v_item    record;
begin
    if (jsonb_typeof(p_items) = 'array' and jsonb_array_length(p_items) <= 1000) is not true then
        perform billing_private.raise_error('invalid_request', 'p_items must be an array of at most 1000 items.');
    end if;
    v_results := array_fill(null::billing.deduction, array[jsonb_array_length(p_items)]);
    for v_item in select * from billing_private.batch_items(p_items) order by user_id, item_no loop
        v_results[v_item.item_no] := case
            when v_item.well_formed then billing_private.deduct(
                false, case when v_item.model is null then 'deduct_credits' else 'deduct_tokens' end, v_item.user_id,
                v_item.amount, v_item.model, v_item.prompt_tokens, v_item.completion_tokens, v_item.cached_tokens,
                v_item.description, v_item.reference_type, v_item.reference_id, v_item.idempotency_key, v_item.metadata
            )
            else billing_private.fail_spend(false, 'invalid_request', null)
        end;
    end loop;
    return query select * from unnest(v_results);
end
$$;

comment on function billing.deduct_credits_batch(jsonb) is
    'Deducts many items in one transaction, each on its own terms.';
revoke all on function billing.deduct_credits_batch(jsonb) from public;
grant execute on function billing.deduct_credits_batch(jsonb) to billing_api;
