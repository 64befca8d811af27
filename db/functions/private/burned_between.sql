create or replace function billing_private.burned_between(p_user_id uuid, p_from_used numeric, p_to_used numeric)
returns table (
    grant_no   bigint,
    origin_no  bigint,
    source     text,
    amount     numeric,
    priority   integer,
    expires_at timestamptz,
    from_used  numeric
)
language plpgsql
stable
as $$
begin
    return query
        select
            l.grant_no, coalesce(l.from_grant_no, l.grant_no), l.source,
            least(b.to_used, p_to_used) - greatest(b.from_used, p_from_used), l.priority, l.expires_at,
            b.from_used::numeric
        from billing.credit_burns b
        join billing.credit_grants l on l.user_id = b.user_id and l.grant_no = b.grant_no
        where b.user_id = p_user_id
            and l.user_id = p_user_id
            and b.to_used > p_from_used
            -- The stretches are contiguous: the first that reaches the end is the last one.
            and b.to_used <= coalesce(
                (
                    select min(n.to_used)
                    from billing.credit_burns n
                    where n.user_id = p_user_id and n.to_used >= p_to_used
                ),
                p_to_used
            )
        order by b.from_used;
end
$$;

comment on function billing_private.burned_between(uuid, numeric, numeric) is
    'Which lots paid for a stretch of the usage axis, as far as it is settled.';
revoke all on function billing_private.burned_between(uuid, numeric, numeric) from public;
