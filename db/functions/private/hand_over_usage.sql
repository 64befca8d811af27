-- Calls that were paid from the account, but for those that were reversed, each once. A call keeps its key, so that its
-- retry is known to the old system.
create or replace function billing_private.hand_over_usage(p_user_id uuid, p_after_entry_no bigint)
returns bigint
language plpgsql
as $$
declare
    v_count bigint;
begin
    insert into legacy_billing.legacy_usage (
        user_id, model, prompt_tokens, completion_tokens, cached_tokens, cost, paid_from_credit, request_key, created_at
    )
    select
        p_user_id, coalesce(e.metadata ->> 'model', 'other'),
        coalesce(billing_private.as_count(e.metadata -> 'prompt_tokens'), 0),
        coalesce(billing_private.as_count(e.metadata -> 'completion_tokens'), 0),
        coalesce(billing_private.as_count(e.metadata -> 'cached_tokens'), 0), -e.amount, 0, k.key, e.created_at
    from billing.credit_ledger e
    cross join lateral (
        select case
            when e.operation = 'deduct_tokens' and e.idempotency_key is not null then e.idempotency_key::text
            else format('ledger/%s', e.entry_no)
        end as key
    ) k
    where e.user_id = p_user_id
        and e.entry_no > p_after_entry_no
        and e.type = 'usage'
        and e.amount < 0
        and not exists (
            select from billing.credit_ledger r where r.user_id = p_user_id and r.reversed_entry_no = e.entry_no
        )
        and not exists (
            select from legacy_billing.legacy_usage u where u.user_id = p_user_id and u.request_key = k.key
        );
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

comment on function billing_private.hand_over_usage(uuid, bigint) is
    'Tells the old system what a user has used since an entry; returns how many calls.';
revoke all on function billing_private.hand_over_usage(uuid, bigint) from public;
