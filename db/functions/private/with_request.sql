-- billing.request_id is a setting of the session, or of one statement: whoever calls names the request by it. What the
-- metadata itself says counts more.
create or replace function billing_private.with_request(p_metadata jsonb)
returns jsonb
language sql
stable
as $$
    select case
        when pg_catalog.current_setting('billing.request_id', true) <> '' then
            pg_catalog.jsonb_build_object(
                'request_id', "left"(pg_catalog.current_setting('billing.request_id', true), 128)
            ) || coalesce(p_metadata, '{}')
        else p_metadata
    end
$$;

comment on function billing_private.with_request(jsonb) is
    'Metadata of an entry with the id of the request that wrote it, if there is one.';
revoke all on function billing_private.with_request(jsonb) from public;
