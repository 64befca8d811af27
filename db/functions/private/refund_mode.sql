create or replace function billing_private.refund_mode(p_stripe_refund boolean, p_grant_credits boolean)
returns text
language plpgsql
immutable
as $$
begin
    return case when p_stripe_refund is not true then 'credits' when p_grant_credits then 'both' else 'money' end;
end
$$;

comment on function billing_private.refund_mode(boolean, boolean) is
    'What a refund gives back: credits, money, or both.';
revoke all on function billing_private.refund_mode(boolean, boolean) from public;
