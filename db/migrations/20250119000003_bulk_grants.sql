-- Credits for many users at once, from a file: what is to be granted, what was, and what was refused.

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

create table billing.bulk_grants (
    bulk_id    uuid primary key,
    name       text not null,
    reason     text not null,
    created_by uuid not null,
    created_at timestamptz not null,
    constraint bulk_name_given check (name ~ '\S' and length(name) <= 200),
    constraint bulk_name_without_needless_blanks check (name = btrim(name) and name !~ '\s\s'),
    constraint bulk_reason_given check (reason ~ '\S' and length(reason) <= 2000)
);
comment on table billing.bulk_grants is
    'A named grant to many users. Nobody is granted twice under one name, whatever is uploaded under it how often.';
comment on column billing.bulk_grants.bulk_id is
    'Ordered by time. The ledger has it in the idempotency key of each entry, and the admin log in its details.';
comment on column billing.bulk_grants.created_by is 'The admin who began it; another one may go on.';

-- However it is written: who types it again means the same.
create unique index bulk_grants_name on billing.bulk_grants (lower(name));

create table billing.bulk_grant_rows (
    bulk_id    uuid not null references billing.bulk_grants (bulk_id),
    user_id    uuid not null,
    row_no     integer not null,
    amount     numeric not null,
    reason     text not null,
    expires_at timestamptz,
    outcome    text not null default 'pending',
    refusal    text,
    entry_no   bigint,
    action_id  uuid,
    decided_by uuid,
    decided_at timestamptz,
    primary key (bulk_id, user_id),
    constraint bulk_row_number_positive check (row_no > 0),
    constraint bulk_row_amount_exact check (amount > 0 and amount <= 1000000000000 and amount = round(amount, 9)),
    constraint bulk_row_reason_given check (reason ~ '\S' and length(reason) <= 2000),
    constraint bulk_row_expiry_finite check (isfinite(expires_at)),
    constraint bulk_row_outcome_known check (outcome in ('pending', 'granted', 'refused')),
    constraint bulk_row_granted_by_an_entry check (
        (outcome = 'granted') = (entry_no is not null) and (outcome <> 'granted' or action_id is not null)
    ),
    constraint bulk_row_refused_for_a_reason check ((outcome = 'refused') = (refusal is not null)),
    constraint bulk_row_decided_when_not_pending check (
        (outcome = 'pending') = (decided_at is null) and (outcome = 'pending') = (decided_by is null)
    )
);
comment on table billing.bulk_grant_rows is 'What a bulk grant is to grant to a user, and what became of it.';
comment on column billing.bulk_grant_rows.bulk_id is 'The bulk grant.';
comment on column billing.bulk_grant_rows.row_no is 'The line of the file.';
comment on column billing.bulk_grant_rows.outcome is 'pending, granted or refused; what is granted never changes again.';
comment on column billing.bulk_grant_rows.refusal is
    'Why not: the name of an answer or an error of admin_grant_credits, or withdrawn.';
comment on column billing.bulk_grant_rows.entry_no is 'The entry of the user''s ledger.';
comment on column billing.bulk_grant_rows.action_id is 'The row of the admin log, of a refusal too if it left one.';
comment on column billing.bulk_grant_rows.decided_by is 'The admin who granted, was refused, or withdrew it.';
comment on column billing.bulk_grant_rows.decided_at is 'When that was.';

create index bulk_grant_rows_in_order on billing.bulk_grant_rows (bulk_id, row_no, user_id);
create index bulk_grant_rows_pending on billing.bulk_grant_rows (bulk_id, row_no, user_id) where outcome = 'pending';
create index bulk_grant_rows_refused on billing.bulk_grant_rows (bulk_id, row_no, user_id) where outcome = 'refused';
-- Whether a user was granted the same under another name.
create index bulk_grant_rows_granted on billing.bulk_grant_rows (user_id, decided_at) where outcome = 'granted';

alter table billing.bulk_grants enable row level security;
create policy bulk_grants_monitor on billing.bulk_grants for select to billing_monitor using (true);
grant select on billing.bulk_grants to billing_monitor;
alter table billing.bulk_grant_rows enable row level security;
create policy bulk_grant_rows_monitor on billing.bulk_grant_rows for select to billing_monitor using (true);
grant select on billing.bulk_grant_rows to billing_monitor;

create type billing.bulk_grant as (
    bulk_id uuid, name text, reason text, created_by uuid, created_at timestamptz, row_count bigint, pending bigint,
    granted bigint, refused bigint, withdrawn bigint, total numeric, pending_total numeric, granted_total numeric,
    last_at timestamptz
);
comment on type billing.bulk_grant is
    'A bulk grant, how many of its rows are in which state, and their credits; withdrawn ones are refused ones too.';

create type billing.bulk_row as (
    row_no integer, user_id uuid, reference text, amount numeric, reason text, expires_at timestamptz, outcome text,
    refusal text, entry_no bigint, action_id uuid, decided_by uuid, decided_at timestamptz
);
comment on type billing.bulk_row is 'A row of a bulk grant, with what the application calls the user.';

create type billing.bulk_verdict as (
    row_no integer, user_id uuid, reference text, amount numeric, reason text, expires_at timestamptz, verdict text,
    problem text, warning text, other_name text, running_total numeric, left_today numeric
);
comment on type billing.bulk_verdict is
    'What would become of a row of a file: grant, granted (before), refused or invalid, and why; with the sum of what would be granted up to this row, and what that leaves of the admin''s daily total.';

create type billing.bulk_change as (
    success boolean, reason text, bulk_id uuid, name text, added bigint, changed bigint, unchanged bigint,
    granted_otherwise bigint, withdrawn bigint, pending bigint, action_id uuid
);
comment on type billing.bulk_change is
    'What became of the rows of a bulk grant; none of them is granted by it. Granted_otherwise: those of the unchanged whose user was granted another amount or expiry before, which stays.';

create type billing.bulk_run as (
    success boolean, reason text, bulk_id uuid, granted bigint, refused bigint, amount numeric, pending bigint,
    left_today numeric
);
comment on type billing.bulk_run is
    'What one batch of a bulk grant did, how many rows still wait, and what is left of the admin''s daily total.';

-- What the helpers pass to each other.

create type billing_private.bulk_item as (
    row_no integer, well_formed boolean, user_id uuid, reference text, amount numeric, reason text,
    expires_at timestamptz
);
comment on type billing_private.bulk_item is 'A row of a file, its members typed.';

select set_config('role', current_setting('billing.installer'), true);
