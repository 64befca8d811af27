-- What admins asked other admins for, the newest first, by status and account, page by page.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(u) from unnest(array[a(), b()]) u \g /dev/null
create function asked(p_reason text, p_at timestamptz, p_user uuid default a()) returns uuid language sql as $$
    select set_config('tap.now', p_at::text, true);
    select (billing.request_approval(admin(), p_user, 'adjust_credits', p_reason, 20)).approval_id
$$;
create temp table requests as
select
    reason,
    asked(
        reason, '2025-03-10 12:00+00'::timestamptz + n * interval '1 hour', case reason when 'of b' then b() else a() end
    ) as id
from unnest(array['old', 'approved', 'declined', 'withdrawn', 'of b', 'open']) with ordinality r (reason, n);
create function id(p_reason text) returns uuid stable language sql as $$select id from requests where reason = p_reason$$;
select billing.approve_request(chief(), id('approved'), 'r'), billing.decline_request(chief(), id('declined'), 'r'),
    billing.withdraw_request(admin(), id('withdrawn')) \g /dev/null
create function told(
    p_status text default null, p_user uuid default null, p_before uuid default null, p_limit integer default 50
)
returns text language sql as $$
    select coalesce(string_agg(reason, ', ' order by ordinality), '')
    from billing.list_approvals(p_status, p_user, p_before, p_limit) with ordinality
$$;
set local tap.now = '2025-03-17 13:00+00';

set local role billing_api;
select results_eq(
    'select l.* from billing.list_approvals() l',
    'select g.* from billing.list_approvals() l, billing.get_approval(l.approval_id) g', 'each is as it is told alone'
);
reset role;
select is(told(), 'open, of b, withdrawn, declined, approved, old', 'all, the newest first');
select is(told('open'), 'open, of b', 'what waits: what expired does not');
select is(told('expired'), 'old', 'what has expired');
select is(told('approved'), 'approved', 'what was approved');
select is(told('declined'), 'declined', 'or declined');
select is(told('withdrawn'), 'withdrawn', 'or withdrawn');
select is(told(null, b()), 'of b', 'of an account');
select is(told('open', a()), 'open', 'and of one status');
select is(told('declined', b()), '', 'of which there may be none');
select is(told(null, nobody()), '', 'nor of somebody without an account');
select is(told(p_limit => 2), 'open, of b', 'a page');
select is(told(p_before => id('of b'), p_limit => 2), 'withdrawn, declined', 'and the next');
select is(told(p_before => id('old')), '', 'before the first there is none');
set local tap.now = '2025-03-17 12:59:59.999999+00';
select is(told('expired'), '', 'up to the last moment it is open');
select is(told('open'), 'open, of b, old', 'as are the others');

-- Enough requests for the planner to have a choice; what waits is few of them.
insert into billing.approval_requests (
    approval_id, user_id, action, amount, reason, requested_by, requested_at, open_until, status, decided_by, decided_at,
    decision_reason
)
select
    billing_private.time_ordered_id(at), case n % 2 when 0 then a() else gen_random_uuid() end, 'adjust_credits', 1, 'r',
    admin(), at, at + interval '7 days', 'declined', chief(), at, 'r'
from generate_series(1, 5000) n cross join lateral (select '2025-03-18 00:00+00'::timestamptz + n * interval '1 second' as at) t;
analyze billing.approval_requests;
-- No plan that is made for any parameters, as it might be after some calls.
set local plan_cache_mode = force_generic_plan;
select cmp_ok(
    pages_read('select billing.list_approvals(' || arguments || ')'), '<', 40, 'reads what it shows: ' || arguments
)
from unnest(array['p_limit => 10', '''open''', 'null, b()', 'null, a(), p_limit => 10']) arguments;
reset plan_cache_mode;

select throws_ok(
    format('select billing.list_approvals(p_limit => %s)', n), 'UC422', 'limit_out_of_range', 'no page: ' || n
)
from unnest(array['0', '-1', '501', 'null']) n;
select throws_ok(
    format('select billing.list_approvals(%L)', status), 'UC400', 'invalid_request', 'no status: ' || status
)
from unnest(array['', 'lost', 'Open']) status;

select * from finish();
rollback;
