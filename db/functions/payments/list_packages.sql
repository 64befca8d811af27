create or replace function billing.list_packages()
returns setof billing.package
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return query select name, amount, price_cents from billing.billing_packages order by price_cents, name;
end
$$;

comment on function billing.list_packages() is
    'The packages of credits that are sold, the cheapest first.';
revoke all on function billing.list_packages() from public;
grant execute on function billing.list_packages() to billing_api;
