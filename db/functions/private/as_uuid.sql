create or replace function billing_private.as_uuid(p_text text)
returns uuid
language sql
immutable
as $$
    select case when p_text ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then p_text::uuid end
$$;

comment on function billing_private.as_uuid(text) is 'A text as a uuid; null when it is none.';
revoke all on function billing_private.as_uuid(text) from public;
