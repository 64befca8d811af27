-- The rate card in force: of each model the newest price that is not ahead.
\ir ../setup.psql

select is((select count(*) from billing.list_model_prices()), 14::bigint, 'the models that are shipped');
select is(
    (select list_model_prices from billing.list_model_prices() where model = 'gpt-4o'),
    ('gpt-4o', 2.50, 1.25, 10.00, 1.5, '2025-01-01 00:00+00')::billing.model_price, 'one of them'
);
select is((select count(*) from billing.list_model_prices() where multiplier <> 1.5), 0::bigint, 'each at 1.5 times its price');
insert into billing.model_prices values ('gpt-4o', '2025-03-11 00:00+00', 3, 1, 9, 2), ('new', '2025-03-11 00:00+00', 1, 1, 1, 1);
select is((select multiplier from billing.list_model_prices() where model = 'gpt-4o'), 1.5, 'a price that is ahead is not in force');
select is_empty($$select model from billing.list_model_prices() where model = 'new'$$, 'nor is its model');
set local tap.now = '2025-03-11 00:00+00';
select is((select multiplier from billing.list_model_prices() where model = 'gpt-4o'), 2::numeric, 'from its time on it is');
select is((select count(*) from billing.list_model_prices() where model in ('gpt-4o', 'new')), 2::bigint, 'and the only one');

select * from finish();
rollback;
