-- That a row was edited in the database is no matter here: who changes it has seen it as it is.
-- Raises: UC400 invalid_request, UC409 config_changed, config_in_use.
create or replace function billing_private.check_change(p_change billing.config_change)
returns void
language plpgsql
as $$
declare
    v_content jsonb := (
        select content from billing_private.config_rows() where section = p_change.section and name = p_change.name
    );
begin
    if v_content is distinct from p_change.before then
        perform billing_private.raise_error('config_changed', format(
            '%s %s is %s.', p_change.section, p_change.name, coalesce(v_content::text, 'not there')
        ));
    elsif v_content = p_change.after then
        perform billing_private.raise_error('invalid_request', 'p_after is what is there already.');
    end if;
    perform billing_private.check_config(
        billing_private.config_with(p_change.section, p_change.name, p_change.after), true
    );
end
$$;

comment on function billing_private.check_change(billing.config_change) is
    'Raises when a row of the configuration is not as an admin saw it, or is in use and would be gone.';
revoke all on function billing_private.check_change(billing.config_change) from public;
