create or replace function billing_private.config_rows()
returns table (section text, name text, content jsonb)
language plpgsql
stable
set intervalstyle = 'postgres'
as $$
begin
    return query
        select 'tiers', t.name, billing_private.config_content(to_jsonb(t)) from billing.billing_tiers t
        union all
        select 'admin_limits', l.role, billing_private.config_content(to_jsonb(l)) from billing.admin_limits l
        union all
        select 'model_prices', p.model, billing_private.config_content(to_jsonb(p))
        from billing.list_model_prices() p
        union all
        select 'packages', b.name, billing_private.config_content(to_jsonb(b)) from billing.billing_packages b
        union all
        select 'settings', s.name, billing_private.config_content(to_jsonb(s)) from billing.billing_settings s;
end
$$;

comment on function billing_private.config_rows() is 'The configuration in the tables.';
revoke all on function billing_private.config_rows() from public;
