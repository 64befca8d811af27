-- Below which balances an account is told of: its own threshold or that of the settings.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
select is(
    billing.get_notifications(a()), (a(), 1, true, 0.01)::billing.notifications, 'an account has those of the settings'
);
update billing.billing_settings set low_balance = 2.5, depleted_balance = 0.5;
select is(billing.get_notifications(a()), (a(), 2.5, true, 0.5)::billing.notifications, 'as they are');
select billing.set_low_balance(a(), 7) \g /dev/null
select is(billing.get_notifications(a()), (a(), 7, false, 0.5)::billing.notifications, 'until it has one of its own');
select throws_ok('select billing.get_notifications(null)', 'UC400', 'invalid_request', 'a user must be given');
select throws_ok('select billing.get_notifications(nobody())', 'UC404', 'account_not_found', 'the account must exist');
insert into legacy_billing.customers (user_id) values (b());
select throws_ok('select billing.get_notifications(b())', 'UC409', 'not_migrated', 'and live here');

select * from finish();
rollback;
