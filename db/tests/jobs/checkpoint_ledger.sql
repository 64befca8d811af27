-- The ledger is verified against itself and the checkpoint before: whoever can rewrite a chain is found all the same.
\ir ../setup.psql

create function run(p_limit int default 100) returns text language plpgsql as $$
declare
    v_step  billing.job_step;
    v_steps int := 0;
    v_rows  bigint := 0;
begin
    loop
        v_step := billing.checkpoint_ledger(null, p_limit, v_step.next);
        v_steps := v_steps + 1;
        v_rows := v_rows + v_step.rows;
        exit when v_step.next is null;
    end loop;
    return concat_ws(' ', v_steps, 'steps', v_rows, 'rows', v_step.failures, v_step.error);
end
$$;
create function findings() returns text language sql as $$
    select coalesce(
        string_agg(concat_ws(' ', problem, right(user_id::text, 1), entry_no), ', '
            order by user_id nulls last, entry_no, problem),
        ''
    )
    from billing.ledger_findings
$$;
create function newest() returns billing.ledger_checkpoints language sql as
$$select * from billing.ledger_checkpoints order by checkpoint_id desc limit 1$$;
create function heads() returns text language sql as $$
    select string_agg(right(user_id::text, 1) || entry_no, ' ' order by user_id, checkpoint_id)
    from billing.ledger_heads
$$;
create function next_day() returns text language sql as $$
    select set_config('tap.now', (current_setting('tap.now')::timestamptz + interval '1 day')::text, true)
$$;

-- A caller says where the verification is, and nothing else.

select throws_ok(
    format('select billing.checkpoint_ledger(p_after => %L)', p_after), 'UC400', 'invalid_request', 'forged: ' || p_after
)
from unnest(array[
    '{}', '{"current": null, "after": null}',
    '{"current": "ffffffff-ffff-7fff-bfff-ffffffffffff", "after": "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "previous": "00000000-0000-0000-0000-000000000000", "started_at": "2025-03-10", "findings": 0, "accounts": 0,
        "entries": 0, "balance": 0, "root_before": "", "root": ""}'
]) p_after;
savepoint untouched;
select billing.open_account(b()), billing.open_account(c()) \g /dev/null
select next as first from billing.checkpoint_ledger(p_limit => 1) \gset
select next as second from billing.checkpoint_ledger(p_limit => 1) \gset
select throws_ok(
    format('select billing.checkpoint_ledger(null, 1, %L)', :'first'), 'UC400', 'invalid_request',
    'a verification ends when another one begins'
);
select ok((billing.checkpoint_ledger(null, 1, :'second')).next is not null, 'and that one goes on');
rollback to untouched;

-- Without an account.

select is(run(), '1 steps 0 rows 0', 'an empty ledger verifies');
select rows_are(
    'select started_at, finished_at, accounts, entries, balance, heads_root = sha256(''''), findings from newest()',
    $$values ('2025-03-10 12:00+00'::timestamptz, '2025-03-10 12:00+00'::timestamptz, 0, 0, 0, true, 0)$$,
    'with nothing in it'
);

-- With some.

select billing.open_account(u) from unnest(array[a(), b(), c(), d()]) u \g /dev/null
select billing.deduct_credits(a(), 1.000000001) \g /dev/null
select billing.deduct_credits(b(), 9) \g /dev/null
select billing.hold_credits(c(), 2) \g /dev/null
insert into billing.credit_accounts (user_id, tier, created_at, updated_at)
select e(), 'free', now, now from (select current_setting('tap.now')::timestamptz as now) t \g /dev/null
select next_day() \g /dev/null
select is(run(2), '3 steps 5 rows 0', 'batch by batch');
select rows_are(
    'select accounts, entries, balance, findings from newest()', 'values (5, 6, 18.999999999, 0)',
    'accounts, entries and the sum of balances'
);
select is(findings(), '', 'all is well');
select is(heads(), 'a2 b2 c1 d1 e0', 'the newest entry of each account is noted');
create temp view newest_entries as
select user_id, entry_count as entry_no, chain_head as entry_hash from billing.credit_accounts order by user_id;
create function root_of(p_heads text) returns bytea language plpgsql as $$
declare
    v_root bytea := '';
    v_head record;
begin
    for v_head in execute p_heads loop
        v_root := sha256(v_root || uuid_send(v_head.user_id) || int8send(v_head.entry_no) || v_head.entry_hash);
    end loop;
    return v_root;
end
$$;
select is(
    (newest()).heads_root::text,
    root_of('select * from newest_entries')::text,
    'and the root is a hash over them'
);
select next_day() \g /dev/null
select billing.deduct_credits(d(), 1) \g /dev/null
select is(run(), '1 steps 5 rows 0', 'the next day');
select is(heads(), 'a2 b2 c1 d1 d2 e0', 'only what has changed is noted');
select is(findings(), '', 'spending is no finding');
select is(
    (newest()).heads_root::text,
    root_of('select * from newest_entries')::text,
    'the root is that of the newest'
);
create function chained() returns boolean language sql as $$
    select bool_and(checkpoint_hash = sha256(previous || convert_to(jsonb_build_array(
        checkpoint_id, started_at at time zone 'UTC', finished_at at time zone 'UTC', accounts, entries,
        trim_scale(balance), encode(heads_root, 'hex'), findings
    )::text, 'UTF8')))
    from (
        select *, coalesce(lag(checkpoint_hash::bytea) over (order by checkpoint_id), '') as previous
        from billing.ledger_checkpoints
    ) c
$$;
select is(chained(), true, 'each checkpoint is chained to the one before');

-- What somebody is found by who has tampered with it, as a superuser, and on the day after; all of it is undone.
create function found(p_tampering text, p_days int default 1) returns text language plpgsql as $$
declare
    v_found text;
begin
    begin
        alter table billing.credit_ledger disable trigger all;
        alter table billing.credit_grants disable trigger all;
        alter table billing.credit_burns disable trigger all;
        alter table billing.credit_accounts disable trigger all;
        alter table billing.ledger_checkpoints disable trigger all;
        execute p_tampering;
        for n in 1..p_days loop
            perform next_day();
            perform run(2);
        end loop;
        v_found := findings();
        if (newest()).findings = 0 and v_found <> '' then
            v_found := v_found || ', not counted';
        end if;
        raise exception using errcode = 'ZZZZZ';
    exception
        when sqlstate 'ZZZZZ' then
            return v_found;
    end;
end
$$;
-- All entries of an account from one on, anew, by somebody who knows how: each hash follows from the one before.
create function rewrite(p_user_id uuid, p_from bigint, p_by numeric) returns void language plpgsql as $$
declare
    v_entry billing.credit_ledger;
    v_hash  bytea := coalesce(
        (select entry_hash::bytea from billing.credit_ledger where user_id = p_user_id and entry_no = p_from - 1), ''
    );
begin
    for v_entry in
        select * from billing.credit_ledger where user_id = p_user_id and entry_no >= p_from order by entry_no
    loop
        v_entry.amount := v_entry.amount + case v_entry.entry_no when p_from then p_by else 0 end;
        v_entry.balance_after := v_entry.balance_after + p_by;
        v_hash := billing_private.entry_hash(
            v_hash, v_entry.user_id, v_entry.entry_no, v_entry.created_at, v_entry.type, v_entry.amount,
            v_entry.balance_after, v_entry.used_after, v_entry.operation, v_entry.idempotency_key,
            v_entry.reference_type, v_entry.reference_id, v_entry.description, v_entry.metadata, v_entry.actor,
            v_entry.grant_no, v_entry.reversed_entry_no
        );
        update billing.credit_ledger
        set amount = v_entry.amount, balance_after = v_entry.balance_after, entry_hash = v_hash
        where user_id = p_user_id and entry_no = v_entry.entry_no;
    end loop;
    update billing.credit_accounts set balance = balance + p_by, chain_head = v_hash where user_id = p_user_id;
    update billing.credit_grants set amount = amount + p_by, remaining = remaining + p_by where user_id = p_user_id;
end
$$;
-- All hashes of an account anew, whatever its entries say.
create function rechain(p_user_id uuid) returns void language sql as $$
    select rewrite(p_user_id, (select min(entry_no) from billing.credit_ledger where user_id = p_user_id), 0)
$$;
select is(found(tampering), problems, what)
from (values
    ('select 1; select rechain(a())', '', 'nothing was tampered with'),
    ('update billing.credit_ledger set description = ''x'' where user_id = a() and entry_no = 1', 'entry_changed a 1',
        'an entry was changed'),
    ('delete from billing.credit_ledger where user_id = a() and entry_no = 1',
        'entry_missing a 1', 'an entry was deleted'),
    ('update billing.credit_accounts set balance = balance + 1 where user_id = a()',
        'account_differs_from_ledger a 2, balance_off a', 'a balance was raised'),
    ('update billing.credit_accounts set held = 0 where user_id = c()', 'held_off c', 'what is held was lowered'),
    ('update billing.credit_accounts set balance = 1 where user_id = e()',
        'account_differs_from_ledger e 0, balance_off e', 'an account without an entry has credits'),
    ('select rewrite(a(), 1, 100)', 'entry_differs_from_checkpoint a 2',
        'a whole chain was rewritten, with its account and its lots'),
    ('select rewrite(d(), 1, 100); select billing.deduct_credits(d(), 1)', 'entry_differs_from_checkpoint d 2',
        'and spent from'),
    (
        'update billing.credit_ledger set used_after = used_after + 1 where user_id = a() and entry_no = 2;
        update billing.credit_accounts set used_total = used_total + 1 where user_id = a(); select rechain(a())',
        'entry_differs_from_checkpoint a 2, used_after_off a 2, balance_off a', 'with usage that there was not'
    ),
    (
        'update billing.credit_ledger set balance_after = 9 where user_id = a() and entry_no = 2;
        update billing.credit_accounts set balance = 9 where user_id = a(); select rechain(a())',
        'balance_after_off a 2, entry_differs_from_checkpoint a 2, balance_off a', 'with a balance that does not follow'
    ),
    (
        'update billing.credit_ledger set created_at = ''2020-01-01'' where user_id = a() and entry_no = 2;
        select rechain(a())',
        'entry_differs_from_checkpoint a 2, time_runs_backwards a 2', 'with another time'
    ),
    (
        'update billing.credit_ledger set entry_no = 3 where user_id = a() and entry_no = 2;
        update billing.credit_accounts set entry_count = 3 where user_id = a(); select rechain(a())',
        'entry_differs_from_checkpoint a 2, entry_missing a 2', 'with a gap'
    ),
    (
        'delete from billing.credit_ledger where user_id = d() and entry_no = 2;
        update billing.credit_accounts set entry_count = 1, balance = 5, used_total = 0, chain_head =
            (select entry_hash from billing.credit_ledger where user_id = d()) where user_id = d()',
        'entry_differs_from_checkpoint d 2', 'the newest entry was deleted, and the account set back'
    ),
    ('delete from billing.credit_accounts where user_id = b()',
        'entries_without_account b 1, account_missing b 2', 'an account was deleted'),
    (
        'delete from billing.credit_grants where user_id = b(); delete from billing.credit_ledger where user_id = b();
        delete from billing.credit_accounts where user_id = b()',
        'account_missing b 2', 'with all its entries'
    ),
    ('delete from billing.credit_accounts where user_id = e()', 'account_missing e 0', 'or without any'),
    ('update billing.ledger_heads set entry_hash = sha256(''x'') where user_id = a()',
        'entry_differs_from_checkpoint a 2, heads_changed', 'what a checkpoint noted was changed'),
    ('delete from billing.ledger_heads where user_id = a()', 'heads_changed', 'or deleted'),
    (
        'select rewrite(a(), 1, 100);
        update billing.ledger_heads h set entry_hash = a.chain_head
        from billing.credit_accounts a where a.user_id = h.user_id and a.user_id = a()',
        'heads_changed', 'a chain was rewritten, and what the checkpoint noted of it'
    ),
    ('update billing.ledger_checkpoints set balance = balance + 1 where accounts = 0', 'checkpoint_changed',
        'an old checkpoint was changed'),
    (
        'select rewrite(a(), 1, 100);
        update billing.ledger_heads h set entry_hash = a.chain_head
        from billing.credit_accounts a where a.user_id = h.user_id and a.user_id = a();
        update billing.ledger_checkpoints set balance = balance + 100, heads_root = root_of(
            ''select * from newest_entries''
        ) where checkpoint_id = (newest()).checkpoint_id',
        'checkpoint_changed', 'and the checkpoint with it'
    )
) c (tampering, problems, what);
select matches(
    found('delete from billing.ledger_checkpoints where accounts = 0'), '^checkpoint_changed',
    'a checkpoint was deleted'
);
select is(findings(), '', 'all is well again');

-- Until it is as it was.

select is(
    found('select rewrite(a(), 1, 100)', 2), 'entry_differs_from_checkpoint a 2',
    'what differs is found the next day too: such an account keeps the head it had'
);
select is(
    found('select rewrite(d(), 1, 100); select billing.deduct_credits(d(), 1)', 3), 'entry_differs_from_checkpoint d 2',
    'and the day after'
);
select is(
    found('update billing.ledger_heads set entry_hash = sha256(''x'') where user_id = a() and entry_no = 2', 3),
    'entry_differs_from_checkpoint a 2, heads_changed',
    'a checkpoint that was tampered with stays on the list until somebody looks'
);
select is(
    found($$
        update billing.credit_accounts set held = 0 where user_id = c();
        select run();
        update billing.credit_accounts set held = 2 where user_id = c()
    $$),
    '', 'what has been mended is off the list'
);

-- One that is cut off never counted.

select next_day() \g /dev/null
select billing.deduct_credits(a(), 0.25) \g /dev/null
create temp table cut as select (billing.checkpoint_ledger(p_limit => 3)).*;
select is((select next is not null from cut), true, 'a verification has begun');
select billing.deduct_credits(a(), 0.5) \g /dev/null
select next_day() \g /dev/null
select is(run(2), '3 steps 5 rows 0', 'and is begun again, after some spending');
select is(findings(), '', 'without a false alarm');
select is(
    (
        select count(*) from billing.ledger_heads
        where checkpoint_id not in (select checkpoint_id from billing.ledger_checkpoints)
    ),
    0::bigint, 'what it had noted is taken back'
);
select is(chained(), true, 'and the chain of checkpoints goes on');
update billing.credit_accounts set held = 0 where user_id = c();
select next_day() \g /dev/null
select billing.checkpoint_ledger(p_limit => 3) \g /dev/null
select is(findings(), 'held_off c', 'a finding is told before the verification is through');
update billing.credit_accounts set held = 2 where user_id = c();
select next_day() \g /dev/null
select run() \g /dev/null
select is(findings(), '', 'and is gone with the next one that is');

-- Many at the same moment, and as of a time gone by.

select run() from generate_series(1, 10) \g /dev/null
select is(chained(), true, 'checkpoints of one moment are in order');
select is(findings(), '', 'and verify');
select billing.checkpoint_ledger('2025-01-01 00:00+00') from generate_series(1, 3) \g /dev/null
select is(chained(), true, 'as are those as of a time gone by');
select is(findings(), '', 'and they verify');

select throws_ok(
    format('select billing.checkpoint_ledger(%L)', at), 'UC422', 'time_lies_ahead', 'not before its time: ' || at
)
from unnest(array['2026-01-01 00:00+00', 'infinity']) at;
select throws_ok(
    format('select billing.checkpoint_ledger(p_limit => %s)', page), 'UC422', 'limit_out_of_range', 'a batch of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
