-- For the application's backend. The user need not have an account yet. Blanks around the text are not kept.
-- Replay: the same reference changes nothing.
-- Raises: UC400 invalid_request.
create or replace function billing.set_user_reference(p_user_id uuid, p_reference text)
returns billing.user_reference
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_reference text := btrim(p_reference);
    v_now       timestamptz := billing_private.clock();
    v_stored    billing.user_references;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    elsif v_reference !~ '\S' then
        perform billing_private.raise_error('invalid_request', 'p_reference must be null, or more than blanks.');
    elsif length(v_reference) > 200 then
        perform billing_private.raise_error('invalid_request', 'p_reference must have at most 200 characters.');
    end if;
    if v_reference is null then
        delete from billing.user_references where user_id = p_user_id;
        return (p_user_id, null, null)::billing.user_reference;
    end if;
    insert into billing.user_references (user_id, reference, updated_at)
    values (p_user_id, v_reference, v_now)
    on conflict (user_id) do nothing;
    update billing.user_references
    set reference = v_reference, updated_at = v_now
    where user_id = p_user_id and reference <> v_reference;
    select * into v_stored from billing.user_references where user_id = p_user_id;
    return (p_user_id, v_stored.reference, v_stored.updated_at)::billing.user_reference;
end
$$;

comment on function billing.set_user_reference(uuid, text) is
    'Keeps what the application calls a user, such as an e-mail address, to find the account by; null removes it.';
revoke all on function billing.set_user_reference(uuid, text) from public;
grant execute on function billing.set_user_reference(uuid, text) to billing_api;
