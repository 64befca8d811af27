-- An id rounds its time to milliseconds: what was made at a time or later has no smaller id. Times that no id can have
-- are brought to those that one can.
create or replace function billing_private.first_id_at(p_at timestamptz)
returns uuid
language sql
immutable
as $$
    select case
        when p_at is not null then rpad(
            lpad(
                to_hex((
                    extract(epoch from least(greatest(p_at, '1970-01-01 00:00+00'), '9999-01-01 00:00+00')) * 1000
                )::bigint),
                12, '0'
            ),
            32, '0'
        )::uuid
    end
$$;

comment on function billing_private.first_id_at(timestamptz) is
    'The smallest id that time_ordered_id could have made at a time.';
revoke all on function billing_private.first_id_at(timestamptz) from public;
