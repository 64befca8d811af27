-- Everybody sees the packages that are sold, the cheapest first.
\ir ../payments.psql

insert into billing.billing_packages (name, amount, price_cents) values ('sale', 12.5, 1000), ('1000', 1000, 90000);
delete from billing.billing_packages where name = '250';
set local role billing_api;
select rows_are(
    'select name, amount, price_cents from billing.list_packages()',
    $$
    values ('10', 10::numeric, 1000), ('sale', 12.5, 1000), ('25', 25, 2500), ('50', 50, 5000), ('100', 100, 10000),
        ('500', 500, 50000), ('1000', 1000, 90000)
    $$,
    'a package has a name, credits, and a price of its own in cents'
);
reset role;

select * from finish();
rollback;
