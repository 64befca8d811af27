-- The canonical form must never depend on a session: amounts by trim_scale, the time as a UTC timestamp without a
-- zone (jsonb writes it in ISO 8601 whatever DateStyle says), everything as UTF-8.
create or replace function billing_private.entry_hash(
    p_previous          bytea,
    p_user_id           uuid,
    p_entry_no          bigint,
    p_created_at        timestamptz,
    p_type              text,
    p_amount            numeric,
    p_balance_after     numeric,
    p_used_after        numeric,
    p_operation         text,
    p_idempotency_key   text,
    p_reference_type    text,
    p_reference_id      text,
    p_description       text,
    p_metadata          jsonb,
    p_actor             uuid,
    p_grant_no          bigint,
    p_reversed_entry_no bigint
)
returns bytea
language sql
stable
as $$
    select pg_catalog.sha256(
        p_previous || pg_catalog.convert_to(
            pg_catalog.jsonb_build_array(
                p_user_id, p_entry_no, p_created_at at time zone 'UTC', p_type, pg_catalog.trim_scale(p_amount),
                pg_catalog.trim_scale(p_balance_after), pg_catalog.trim_scale(p_used_after), p_operation,
                p_idempotency_key, p_reference_type, p_reference_id, p_description, p_metadata, p_actor,
                p_grant_no, p_reversed_entry_no
            )::text,
            'UTF8'
        )
    )
$$;

comment on function billing_private.entry_hash is
    'The hash of a ledger entry, chained to the hash of the entry before it.';
revoke all on function billing_private.entry_hash from public;
