-- Requests of admins that another admin decides, and what an admin's action would do before it is done.

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

-- Configuration.

alter table billing.billing_settings
    add column approval_lifetime interval not null default interval '7 days'
        constraint settings_approval_lifetime_positive check (approval_lifetime > interval '0');
comment on column billing.billing_settings.approval_lifetime is
    'How long a request waits for another admin''s decision.';

-- The rows that the migrations brought count as applied.
update billing_private.config_applied
set content = content || '{"approval_lifetime": "7 days"}'
where section = 'settings';

comment on column billing.admin_limits.max_credit_adjustment is
    'Largest single action, in credits. Money that goes back through Stripe is not limited by it.';
comment on column billing.admin_limits.max_daily_total is
    'Largest sum of actions in a UTC day, in credits. Money that goes back through Stripe does not count.';
comment on column billing.admin_limits.approval_above is
    'Above this amount one admin alone is not enough; of refunds in money too.';

create table billing.approval_requests (
    approval_id       uuid primary key,
    user_id           uuid not null,
    action            text not null,
    amount            numeric,
    expires_at        timestamptz,
    entry_no          bigint,
    tier              text,
    from_tier         text,
    stripe_refund     boolean not null default false,
    payment_intent_id text,
    grant_credits     boolean not null default false,
    owe_spent         boolean not null default false,
    reason            text not null,
    idempotency_key   billing.idempotency_key,
    requested_by      uuid not null,
    requested_at      timestamptz not null,
    open_until        timestamptz not null,
    status            text not null default 'open',
    decided_by        uuid,
    decided_at        timestamptz,
    decision_reason   text,
    action_id         uuid,
    constraint approval_action_known check (
        action in ('adjust_credits', 'admin_grant_credits', 'reverse_entry', 'request_refund', 'change_tier')
    ),
    constraint approval_amount_exact check (
        amount >= -1000000000000000 and amount <= 1000000000000000 and amount = round(amount, 9)
    ),
    constraint approval_reason_given check (reason ~ '\S'),
    constraint approval_ends_after_it_begins check (open_until > requested_at),
    constraint approval_status_known check (status in ('open', 'approved', 'declined', 'withdrawn')),
    constraint approval_of_tier_names_both check ((tier is null) = (from_tier is null)),
    constraint approval_decided_when_not_open check (
        (status = 'open') = (decided_at is null) and (status = 'open') = (decided_by is null)
    ),
    constraint approval_decided_in_time check (status <> 'approved' or decided_at < open_until),
    constraint approval_by_another_admin check (status <> 'approved' or decided_by not in (requested_by, user_id)),
    constraint approval_withdrawn_by_requester check (status <> 'withdrawn' or decided_by = requested_by),
    constraint approval_decision_has_reason check (
        status not in ('approved', 'declined') or coalesce(decision_reason ~ '\S', false)
    ),
    constraint approved_action_is_logged check ((status = 'approved') = (action_id is not null))
);
comment on table billing.approval_requests is
    'What an admin asks another one to do: above the asking admin''s limits, or on the asking admin''s own account.';
comment on column billing.approval_requests.user_id is 'Whose account it is about.';
comment on column billing.approval_requests.action is 'The function of the SQL API that an approval calls.';
comment on column billing.approval_requests.amount is
    'Credits, signed; of a reversal or a change of tier, what it came to when it was asked for.';
comment on column billing.approval_requests.expires_at is 'When the granted credits are to expire.';
comment on column billing.approval_requests.entry_no is 'The entry that is to be reversed.';
comment on column billing.approval_requests.tier is 'The tier that the account is to get.';
comment on column billing.approval_requests.from_tier is 'The tier that the account had when it was asked for.';
comment on column billing.approval_requests.stripe_refund is 'Whether the refund is money.';
comment on column billing.approval_requests.payment_intent_id is 'The payment that is to be refunded.';
comment on column billing.approval_requests.grant_credits is 'Whether credits are granted beside the money.';
comment on column billing.approval_requests.owe_spent is 'Whether credits that were spent already become debt.';
comment on column billing.approval_requests.approval_id is 'Ordered by time; the idempotency key of the approved action.';
comment on column billing.approval_requests.requested_by is 'The admin who asked.';
comment on column billing.approval_requests.requested_at is 'When it was asked for.';
comment on column billing.approval_requests.open_until is 'Until when it can be approved.';
comment on column billing.approval_requests.status is
    'open, approved, declined or withdrawn; what is open beyond its time reads as expired.';
comment on column billing.approval_requests.decided_by is 'Who approved or declined it; of a withdrawn one who asked.';
comment on column billing.approval_requests.decided_at is 'When that was.';
comment on column billing.approval_requests.decision_reason is 'Why it was decided so.';
comment on column billing.approval_requests.action_id is 'The row of the admin log that the approval led to.';

create unique index approval_requests_idempotency
    on billing.approval_requests (user_id, requested_by, idempotency_key) where idempotency_key is not null;
create index approval_requests_open on billing.approval_requests (approval_id) where status = 'open';
create index approval_requests_by_user on billing.approval_requests (user_id, approval_id);

alter table billing.approval_requests enable row level security;
create policy approval_requests_monitor on billing.approval_requests for select to billing_monitor using (true);
grant select on billing.approval_requests to billing_monitor;

-- An action that moves no credits has no entry that would know its key.
create index admin_actions_log_by_key
    on billing.admin_actions_log (target_user_id, action, (details ->> 'idempotency_key'))
    where details ->> 'idempotency_key' is not null;

create type billing.approval as (
    approval_id uuid, user_id uuid, action text, amount numeric, expires_at timestamptz, entry_no bigint, tier text,
    from_tier text, stripe_refund boolean, payment_intent_id text, grant_credits boolean, owe_spent boolean,
    reason text, status text, requested_by uuid, requested_at timestamptz, open_until timestamptz, decided_by uuid,
    decided_at timestamptz, decision_reason text, action_id uuid
);
comment on type billing.approval is
    'A request that another admin decides; status open, approved, declined, withdrawn or expired. From_tier: the tier at the request of a change of tier.';

create type billing.approval_result as (
    success boolean, reason text, approval_id uuid, status text, action_id uuid, entry_no bigint, amount numeric,
    balance_after numeric, refund_id uuid, call_id uuid, replayed boolean
);
comment on type billing.approval_result is
    'What became of a request, and what the approved action did; call_id is the call to Stripe that it waits for.';

create type billing.action_preview as (
    success boolean, reason text, can_request boolean, amount numeric,
    balance_before numeric, balance_after numeric, available_before numeric, available_after numeric,
    held_before numeric, held_after numeric, debt_before numeric, debt_after numeric,
    tier_before text, tier_after text, status_before text, status_after text,
    entry_no bigint, clawed numeric, spent numeric, owed numeric,
    left_today_before numeric, left_today_after numeric, lots jsonb
);
comment on type billing.action_preview is
    'What an admin''s action would do. Lots: those that change or are made, in burn order, with what is left of each before and after.';

create type billing.admin as (
    user_id uuid, role text, granted_by uuid, granted_at timestamptz, max_credit_adjustment numeric,
    max_daily_total numeric, moved_today numeric, left_today numeric, can_refund boolean, approval_above numeric
);
comment on type billing.admin is 'An admin, the limits of the role, and what the admin moved on this UTC day.';

-- What the helpers pass to each other.

create type billing_private.consent as (kind text, approval_id uuid, requested_by uuid);
comment on type billing_private.consent is
    'Why an admin''s limits do not count: approved (approval_above is met by a second admin), or asked (only tried, to be asked for). Null: they do.';

create type billing_private.admin_request as (
    action text, amount numeric, expires_at timestamptz, entry_no bigint, tier text, status text, hold_id uuid,
    stripe_refund boolean, payment_intent_id text, grant_credits boolean, owe_spent boolean
);
comment on type billing_private.admin_request is 'An admin''s action with its arguments, but for who, to whom and why.';

create type billing_private.action_result as (
    success boolean, reason text, entry_no bigint, amount numeric, balance_after numeric, action_id uuid,
    refund_id uuid, call_id uuid, clawed numeric, spent numeric, owed numeric
);
comment on type billing_private.action_result is 'What any action of an admin did, or why it was refused.';

select set_config('role', current_setting('billing.installer'), true);
