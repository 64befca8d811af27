-- A request as it stands: what is asked for, by whom, how long it is open, and what became of it.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null
create temp table request as
select * from billing.request_approval(admin(), a(), 'admin_grant_credits', 'please', 20.5, '2025-06-01 00:00+00');
grant select on request to billing_api;
create function status() returns text language sql as
'select r.status from request, billing.get_approval(approval_id) r';

set local role billing_api;
select rows_are(
    'select r.* from request, billing.get_approval(approval_id) r',
    $$
    select approval_id, a(), 'admin_grant_credits', 20.5, '2025-06-01 00:00+00'::timestamptz, null::bigint, null::text,
        null::text, false, null::text, false, false, 'please', 'open', admin(), '2025-03-10 12:00+00'::timestamptz,
        '2025-03-17 12:00+00'::timestamptz, null::uuid, null::timestamptz, null::text, null::uuid
    from request
    $$,
    'all of it'
);
reset role;
set local tap.now = '2025-03-17 12:00+00';
select is(status(), 'expired', 'when its time is over it has expired');
set local tap.now = '2025-03-17 11:59:59.999999+00';
select is(status(), 'open', 'and not a moment before');
select d.action_id as action from request r, billing.approve_request(chief(), r.approval_id, 'why not') d \gset
select rows_are(
    $$
    select r.status, r.decided_by, r.decided_at, r.decision_reason, r.action_id
    from request, billing.get_approval(approval_id) r
    $$,
    format(
        $$values ('approved', chief(), '2025-03-17 11:59:59.999999+00'::timestamptz, 'why not', %L::uuid)$$, :'action'
    ),
    'what became of it, and the row of the log that it led to'
);
set local tap.now = '2025-04-17 12:00+00';
select is(status(), 'approved', 'what was decided does not expire');
update request
set approval_id = (billing.request_approval(admin(), a(), 'change_tier', 'r', p_tier => 'tier_2_20')).approval_id;
select rows_are(
    'select r.tier, r.from_tier, r.amount from request, billing.get_approval(approval_id) r',
    $$values ('tier_2_20', 'free', 20::numeric)$$, 'of a change of tier also from which one it is'
);
select throws_ok('select billing.get_approval(nobody())', 'UC404', 'approval_not_found', 'a request that there is not');
select throws_ok('select billing.get_approval(null)', 'UC404', 'approval_not_found', 'and none');

select * from finish();
rollback;
