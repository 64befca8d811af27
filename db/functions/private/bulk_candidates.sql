-- One statement for the whole file: references become users, and each row meets its account, what the bulk grant has
-- of its user already, and what other ones granted them in the last 30 days.
create or replace function billing_private.bulk_candidates(
    p_bulk_id    uuid,
    p_rows       jsonb,
    p_expires_at timestamptz,
    p_now        timestamptz
)
returns table (
    row_no         integer,
    well_formed    boolean,
    user_id        uuid,
    reference      text,
    amount         numeric,
    reason         text,
    expires_at     timestamptz,
    users          bigint,
    times          bigint,
    status         text,
    granted_amount numeric,
    granted_expiry timestamptz,
    other_name     text
)
language sql
stable
as $$
    with given as materialized (
        select * from billing_private.bulk_items(p_rows)
    ),
    called as (
        select g.reference, count(*) as users, (array_agg(r.user_id))[1] as user_id
        from (select distinct given.reference from given where given.reference is not null) g
        join billing.user_references r on lower(r.reference) collate "C" = lower(g.reference)
        group by g.reference
    ),
    named as (
        select
            g.row_no, g.well_formed, coalesce(g.user_id, case c.users when 1 then c.user_id end) as user_id,
            g.reference, g.amount, g.reason, coalesce(g.expires_at, p_expires_at) as expires_at,
            case when g.user_id is not null then 1 else coalesce(c.users, 0) end as users
        from given g
        left join called c on c.reference = g.reference
    )
    select
        n.row_no, n.well_formed, n.user_id, coalesce(n.reference, r.reference), n.amount, n.reason, n.expires_at, n.users,
        count(*) over (partition by n.user_id), a.status, o.amount, o.expires_at, other.name
    from named n
    left join billing.user_references r on r.user_id = n.user_id
    left join billing.credit_accounts a on a.user_id = n.user_id
    left join billing.bulk_grant_rows o
        on o.bulk_id = p_bulk_id and o.user_id = n.user_id and o.outcome = 'granted'
    left join lateral (
        select b.name
        from billing.bulk_grant_rows e
        join billing.bulk_grants b on b.bulk_id = e.bulk_id
        where e.user_id = n.user_id
            and e.outcome = 'granted'
            and e.amount = n.amount
            and e.bulk_id is distinct from p_bulk_id
            and e.decided_at > p_now - interval '30 days'
        order by e.decided_at desc
        limit 1
    ) other on true
    order by n.row_no, n.user_id
$$;

comment on function billing_private.bulk_candidates(uuid, jsonb, timestamptz, timestamptz) is
    'The rows of a file, with all that decides whether they can be granted.';
revoke all on function billing_private.bulk_candidates(uuid, jsonb, timestamptz, timestamptz) from public;
