create or replace function billing_private.subscription_text(
    p_status     text,
    p_price_id   text,
    p_ends       boolean,
    p_period_end timestamptz
)
returns text
language plpgsql
stable
as $$
begin
    return case
        when p_status is null then 'nothing'
        else concat_ws(
            ' ', p_status, p_price_id, case when p_ends then 'ends' else 'until' end,
            to_char(p_period_end at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')
        )
    end;
end
$$;

comment on function billing_private.subscription_text(text, text, boolean, timestamptz) is
    'A subscription in a few words.';
revoke all on function billing_private.subscription_text(text, text, boolean, timestamptz) from public;
