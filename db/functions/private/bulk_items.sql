-- Values that have no meaning become null, which is a problem of the row; well_formed is false where that would hide what
-- was meant: a row that is no object, has an unknown member or a text that is none, or names its user not in exactly one
-- way. Without a row_no, rows are numbered in their order; a time without a zone is in UTC.
create or replace function billing_private.bulk_items(p_rows jsonb)
returns setof billing_private.bulk_item
language sql
stable
as $$
    select
        case
            when item ->> 'row_no' ~ '^[1-9][0-9]{0,8}$' then (item ->> 'row_no')::integer
            else ordinality::integer
        end,
        case
            when jsonb_typeof(item) = 'object' then
                item - array['row_no', 'user_id', 'reference', 'amount', 'reason', 'expires_at'] = '{}'
                and not exists (
                    select from jsonb_each(item) member
                    where member.key in ('user_id', 'reference', 'reason', 'expires_at')
                        and jsonb_typeof(member.value) not in ('string', 'null')
                )
                and case
                    when item ->> 'user_id' is null then item ->> 'reference' ~ '\S'
                    else item ->> 'reference' is null
                        and item ->> 'user_id' ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$'
                end
                and (item ->> 'expires_at' is null or item ->> 'expires_at' ~ p.moment)
                and coalesce(length(item ->> 'reason') <= 2000, true)
            else false
        end is true,
        case
            when item ->> 'user_id' ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' then (item ->> 'user_id')::uuid
        end,
        btrim(item ->> 'reference'),
        case
            when jsonb_typeof(item -> 'amount') = 'number' then (item -> 'amount')::numeric
            when item ->> 'amount' ~ '^[+-]?[0-9]{1,100}(\.[0-9]{1,100})?$' then (item ->> 'amount')::numeric
        end,
        case when item ->> 'reason' ~ '\S' then btrim(item ->> 'reason') end,
        case
            when item ->> 'expires_at' ~ p.moment and item ->> 'expires_at' ~ '(Z|[+-]\d\d(:?\d\d)?)$'
                and item ->> 'expires_at' ~ ':' then (item ->> 'expires_at')::timestamptz
            when item ->> 'expires_at' ~ p.moment then (item ->> 'expires_at')::timestamp at time zone 'UTC'
        end
    from jsonb_array_elements(p_rows) with ordinality as items (item, ordinality)
    cross join (
        values ('^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$')
    ) p (moment)
$$;

comment on function billing_private.bulk_items(jsonb) is 'The rows of a bulk grant, their members typed.';
revoke all on function billing_private.bulk_items(jsonb) from public;
