-- Whatever is changed behind the functions' back, verifying names it; what they write verifies.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
-- An account with something of everything.
create function fill(p_user uuid) returns void language sql as $$
    select billing.open_account(p_user);
    select billing.deduct_credits(p_user, 1.5, 'a call', 'call', 'c1', 'k1', '{"x": 1}');
    select billing.grant_credits(p_user, 10, 'promotion');
    select billing.deduct_credits(p_user, 6);
    select billing.deduct_credits(p_user, 1000);
    select billing.grant_credits(p_user, 1, 'promotion');
    select billing.hold_credits(p_user, 2);
    select billing.deduct_credits(p_user, 0.5);
$$;
select fill(a()) \g /dev/null
select fill(b()) \g /dev/null
select is_empty('select * from billing.verify_account(a())', 'no finding: all is well');

-- What somebody finds who has tampered with an account: as a superuser, the triggers dropped, and all of it undone.
create function found(p_tampering text) returns text language plpgsql as $$
declare
    v_found text;
begin
    begin
        alter table billing.credit_ledger disable trigger all;
        alter table billing.credit_burns disable trigger all;
        alter table billing.credit_grants disable trigger all;
        alter table billing.credit_accounts disable trigger all;
        execute p_tampering;
        select string_agg(concat_ws(' ', f.problem, f.entry_no), ', ') into v_found from billing.verify_account(a()) f;
        raise exception using errcode = 'ZZZZZ';
    exception
        when sqlstate 'ZZZZZ' then
            return v_found;
    end;
end
$$;
create function of_ledger(p_assignment text, p_entry_no bigint default 2) returns text language sql as $$
    select found(format('update billing.credit_ledger set %s where user_id = a() and entry_no = %s', p_assignment, p_entry_no))
$$;

select is(of_ledger(assignment), 'entry_changed 2', 'changed: ' || assignment)
from unnest(array[
    'created_at = created_at - interval ''1 microsecond''', 'type = ''adjustment''', 'operation = ''deduct_token''',
    'idempotency_key = ''k2''', 'idempotency_key = null', 'reference_type = null', 'reference_id = ''c2''',
    'description = ''another''', 'description = null', 'metadata = ''{"x": 2}''', 'metadata = null', 'actor = a()',
    'grant_no = null, reversed_entry_no = null, metadata = ''{}'''
]) assignment;
select matches(of_ledger('amount = -1.4'), '^entry_changed 2', 'changed: an amount');
select matches(of_ledger('balance_after = 4'), '^entry_changed 2', 'changed: a balance');
select matches(of_ledger('used_after = 1'), '^entry_changed 2', 'changed: a position');
select matches(of_ledger('entry_hash = sha256(''x'')'), '^entry_changed 2, entry_changed 3', 'changed: a hash, and the chain after it');
-- Somebody who can write the hash anew has to keep the times in order as well.
create function rehash(p_at timestamptz) returns text language sql as $$
    select format(
        'update billing.credit_ledger set created_at = %1$L, entry_hash = billing_private.entry_hash(
            (select p.entry_hash from billing.credit_ledger p where p.user_id = a() and p.entry_no = 6), user_id, entry_no,
            %1$L, type, amount, balance_after, used_after, operation, idempotency_key, reference_type, reference_id,
            description, metadata, actor, grant_no, reversed_entry_no)
        where user_id = a() and entry_no = 7', p_at)
$$;
select matches(found(rehash('2020-01-01 00:00+00')), '^time_runs_backwards 7', 'an entry is older than the one before it');

select matches(
    found('delete from billing.credit_ledger where user_id = a() and entry_no = 4'), '^entry_missing 4', 'an entry is missing'
);
select matches(
    found('delete from billing.credit_ledger where user_id = a() and entry_no = 1'), '^entry_missing 1', 'the first one too'
);
select matches(
    found('delete from billing.credit_ledger where user_id = a() and entry_no = 7'), 'account_differs_from_ledger 6',
    'and the last one'
);
select matches(
    found($$
        update billing.credit_ledger set entry_no = 99 where user_id = a() and entry_no = 2;
        update billing.credit_ledger set entry_no = 2 where user_id = a() and entry_no = 4;
        update billing.credit_ledger set entry_no = 4 where user_id = a() and entry_no = 99
    $$),
    '^entry_changed 2.*entry_changed 4', 'two have changed places'
);
select matches(
    found($$
        insert into billing.credit_ledger
        select (jsonb_populate_record(l, '{"entry_no": 8, "idempotency_key": null}')).* from billing.credit_ledger l
        where user_id = a() and entry_no = 7
    $$),
    'entry_changed 8', 'one was put in'
);
-- With its hash made anew the chain holds, and the sums do not.
select is(
    found($$
        update billing.credit_ledger l set balance_after = balance_after + 1, entry_hash = billing_private.entry_hash(
            (select entry_hash from billing.credit_ledger p where p.user_id = a() and p.entry_no = 6), user_id, entry_no,
            created_at, type, amount, balance_after + 1, used_after, operation, idempotency_key, reference_type,
            reference_id, description, metadata, actor, grant_no, reversed_entry_no
        )
        where user_id = a() and entry_no = 7
    $$),
    'balance_after_off 7, account_differs_from_ledger 7', 'a balance that does not follow'
);
select is(found('update billing.credit_accounts set ' || assignment || ' where user_id = a()'), problems, 'an account: ' || assignment)
from (values
    ('balance = balance + 1', 'account_differs_from_ledger 7, balance_off'),
    ('used_total = used_total + 1', 'account_differs_from_ledger 7, balance_off'),
    ('settled_total = settled_total - 1', 'balance_off, burns_off'),
    ('entry_count = entry_count + 1', 'account_differs_from_ledger 7'),
    ('chain_head = sha256(''x'')', 'account_differs_from_ledger 7'),
    ('held = held - 1', 'held_off')
) c (assignment, problems);
select is(found(tampering), problems, what)
from (values
    ('update billing.credit_grants set remaining = remaining - 1 where user_id = a() and grant_no = 2', 'lot_off 3, balance_off',
        'less is left of a lot'),
    ('update billing.credit_grants set amount = amount + 1 where user_id = a() and grant_no = 2', 'lot_off 3, lots_of_entry_off 3',
        'a lot was larger'),
    ('delete from billing.credit_grants where user_id = a() and grant_no = 3', 'lots_of_entry_off 6, balance_off', 'a lot is gone'),
    ('delete from billing.credit_burns where user_id = a() and grant_no = 2', 'lot_off 3, burns_off', 'a burn is gone'),
    ('update billing.credit_holds set amount = amount + 1 where user_id = a()', 'held_off', 'a hold was larger')
) c (tampering, problems, what);
select is_empty('select * from billing.verify_account(a())', 'and all is well again');

-- Whatever a session is set to.
set local timezone = 'Asia/Tokyo';
set local datestyle = 'German, DMY';
set local intervalstyle = 'iso_8601';
set local extra_float_digits = 0;
set local bytea_output = 'escape';
select is_empty('select * from billing.verify_account(a())', 'a session''s settings change nothing');
select billing.deduct_credits(a(), 0.25, p_metadata => '{"at": 1.50}') \g /dev/null
reset timezone;
reset datestyle;
reset bytea_output;
select is_empty('select * from billing.verify_account(a())', 'nor those with which an entry was written');

select throws_ok('select billing.verify_account(null)', 'UC400', 'invalid_request', 'a user must be given');
select throws_ok('select billing.verify_account(nobody())', 'UC404', 'account_not_found', 'the account must exist');

select * from finish();
rollback;
