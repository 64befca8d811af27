-- Every account is verified, and the entries that have none.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
select billing.open_account(b()) \g /dev/null
select billing.open_account(c()) \g /dev/null
select is_empty('select * from billing.verify_ledger()', 'no finding: all is well');

update billing.credit_accounts set held = 1 where user_id = c();
update billing.credit_accounts set held = 2 where user_id = a();
select rows_are(
    'select user_id, problem, detail from billing.verify_ledger()',
    $$
    values (a(), 'held_off', 'Held 2; active holds are 0.'), (c(), 'held_off', 'Held 1; active holds are 0.')
    $$,
    'findings name the account, what is wrong, and the values'
);
update billing.credit_accounts set held = 0;
alter table billing.credit_accounts disable trigger all;
alter table billing.credit_grants disable trigger all;
delete from billing.credit_accounts where user_id = b();
select rows_are(
    'select user_id, entry_no, problem, detail from billing.verify_ledger()',
    $$values (b(), 1, 'entries_without_account', '1 entries.')$$, 'an account that was deleted is missed'
);

select * from finish();
rollback;
