-- What a migration reads and a rollback writes is there, of the right type, and may be written; what is not is named.
\ir ../legacy.psql

select is_empty('select * from billing.check_old_views()', 'the views that come along are as they must be');

create function told() returns text language sql as $$
    select string_agg(concat_ws(' ', problem, old, new), ', ' order by problem, old, new) from billing.check_old_views()
$$;

revoke insert on legacy_billing.legacy_usage from billing_owner;
select is(told(), 'legacy_usage not writable grant insert to billing_owner', 'a right is missing');
grant insert on legacy_billing.legacy_usage to billing_owner;
revoke update on legacy_billing.legacy_purchases from billing_owner;
select is(told(), 'legacy_purchases not writable grant update to billing_owner', 'another one');
grant update on legacy_billing.legacy_purchases to billing_owner;
drop trigger legacy_customers_save on legacy_billing.legacy_customers;
select is(told(), 'legacy_customers takes no INSERT an INSTEAD OF INSERT trigger', 'a view can''t be written');

drop view legacy_billing.legacy_usage, legacy_billing.legacy_purchases;
create view legacy_billing.legacy_usage as
select user_id, model::varchar, prompt_tokens::integer, completion_tokens, cached_tokens, cost::float8, paid_from_credit,
    request_key
from legacy_billing.usage_records;
grant select, insert on legacy_billing.legacy_usage to billing_owner;
select rows_are(
    'select problem, old, new from billing.check_old_views() where problem like ''legacy_usage%''',
    $$
    values
        ('legacy_usage.cost', 'double precision', 'numeric'),
        ('legacy_usage.created_at', 'missing', 'timestamp with time zone'),
        ('legacy_usage.model', 'character varying', 'text'),
        ('legacy_usage.prompt_tokens', 'integer', 'bigint')
    $$,
    'columns of another type, or none'
);
select is(
    (select count(*) from billing.check_old_views() where problem like 'legacy_purchases.%' and old = 'missing'),
    8::bigint, 'a view that is not there lacks all of its columns'
);

select * from finish();
rollback;
