-- A version 7 uuid: 48 bits of milliseconds, then random ones. PostgreSQL has it built in from version 18 on.
create or replace function billing_private.time_ordered_id(p_at timestamptz)
returns uuid
language sql
volatile
as $$
    select encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    placing substring(int8send((extract(epoch from p_at) * 1000)::bigint) from 3)
                    from 1 for 6
                ),
                52, 1
            ),
            53, 1
        ),
        'hex'
    )::uuid
$$;

comment on function billing_private.time_ordered_id(timestamptz) is
    'A random id that sorts by the time it was made at.';
revoke all on function billing_private.time_ordered_id(timestamptz) from public;
