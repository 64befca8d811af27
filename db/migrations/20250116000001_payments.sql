-- Payments through Stripe: customers, purchases, payments, refunds, disputes, subscriptions, automatic top-ups, the
-- events that arrive and the calls that are to be made.

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

-- Configuration.

create table billing.billing_packages (
    name        text primary key,
    amount      numeric not null,
    price_cents integer not null,
    constraint package_name_well_formed check (name ~ '^[a-z0-9][a-z0-9_]{0,62}$'),
    constraint package_amount_exact check (amount > 0 and amount <= 1000000 and amount = round(amount, 9)),
    constraint package_price_positive check (price_cents > 0)
);
comment on table billing.billing_packages is 'Credits that are sold in one piece.';
comment on column billing.billing_packages.price_cents is 'Price in US cents.';

insert into billing.billing_packages (name, amount, price_cents)
values ('10', 10, 1000), ('25', 25, 2500), ('50', 50, 5000), ('100', 100, 10000), ('250', 250, 25000),
    ('500', 500, 50000);

-- What an amount of the buyer's own choice may be; a package is not bound by it.
alter table billing.billing_settings
    add column min_purchase numeric not null default 5
        constraint settings_min_purchase_exact check (
            min_purchase > 0 and min_purchase <= 1000000 and min_purchase = round(min_purchase, 2)
        ),
    add column max_purchase numeric not null default 10000
        constraint settings_max_purchase_exact check (
            max_purchase >= min_purchase and max_purchase <= 1000000 and max_purchase = round(max_purchase, 2)
        );
comment on column billing.billing_settings.min_purchase is 'Least credits that can be bought without a package.';
comment on column billing.billing_settings.max_purchase is 'Most credits that can be bought without a package.';

-- The rows that the migrations brought count as applied.
insert into billing_private.config_applied (section, name, content, applied_at)
select 'packages', name, jsonb_build_object('amount', trim_scale(amount), 'price_cents', price_cents), now()
from billing.billing_packages;
update billing_private.config_applied
set content = content || '{"min_purchase": 5, "max_purchase": 10000}'
where section = 'settings';

-- Who is who at Stripe.

create table billing.billing_customers (
    user_id            uuid primary key,
    stripe_customer_id text,
    created_at         timestamptz not null,
    constraint customer_stripe_id_unique unique (stripe_customer_id),
    constraint customer_stripe_id_given check (stripe_customer_id ~ '^\S{1,200}$')
);
comment on table billing.billing_customers is 'A user''s customer at Stripe, wanted before it is made.';
comment on column billing.billing_customers.stripe_customer_id is 'Null until Stripe has made it.';

-- What was bought, and what was paid.

create table billing.credit_purchases (
    purchase_id                uuid primary key,
    user_id                    uuid not null,
    kind                       text not null,
    amount                     billing.credits not null,
    price_cents                bigint not null,
    package                    text,
    status                     text not null default 'pending',
    idempotency_key            billing.idempotency_key,
    crossing_no                bigint,
    details                    billing.object_json not null default '{}',
    stripe_checkout_session_id text,
    checkout_url               text,
    stripe_payment_intent_id   text,
    entry_no                   bigint,
    error                      text,
    created_at                 timestamptz not null,
    completed_at               timestamptz,
    constraint purchase_kind_known check (kind in ('checkout', 'auto_top_up', 'migration')),
    constraint purchase_amount_positive check (amount > 0),
    constraint purchase_price_positive check (price_cents > 0),
    constraint purchase_status_known check (
        status in ('pending', 'open', 'processing', 'failed', 'expired', 'paid')
    ),
    constraint purchase_paid_has_entry check (
        (status = 'paid') = (entry_no is not null) and (status = 'paid') = (completed_at is not null)
    ),
    constraint purchase_crossing_of_top_up check ((kind = 'auto_top_up') = (crossing_no is not null)),
    constraint purchase_session_unique unique (stripe_checkout_session_id),
    constraint purchase_payment_unique unique (stripe_payment_intent_id)
);
comment on table billing.credit_purchases is 'Credits that somebody set out to buy; recorded before Stripe is asked.';
comment on column billing.credit_purchases.price_cents is 'Price in US cents.';
comment on column billing.credit_purchases.package is 'The package it was bought as; null for an amount of choice.';
comment on column billing.credit_purchases.crossing_no is 'Which fall below the threshold a top-up answers.';
comment on column billing.credit_purchases.stripe_checkout_session_id is 'Stripe''s Checkout Session.';
comment on column billing.credit_purchases.checkout_url is 'Where the user pays.';
comment on column billing.credit_purchases.stripe_payment_intent_id is 'Stripe''s PaymentIntent, once there is one.';
comment on column billing.credit_purchases.entry_no is 'The ledger entry that brought the credits.';
comment on column billing.credit_purchases.completed_at is 'When the credits were granted.';

create unique index credit_purchases_idempotency
    on billing.credit_purchases (user_id, idempotency_key) where idempotency_key is not null;
create unique index credit_purchases_crossing
    on billing.credit_purchases (user_id, crossing_no) where crossing_no is not null;
create index credit_purchases_by_user on billing.credit_purchases (user_id, purchase_id);
create index credit_purchases_topping_up on billing.credit_purchases (user_id)
    where kind = 'auto_top_up' and status in ('pending', 'open', 'processing');

create table billing.billing_payments (
    payment_intent_id text primary key,
    user_id           uuid not null,
    purchase_id       uuid,
    amount_cents      bigint not null,
    currency          text not null,
    bought            billing.credits not null default 0,
    grant_no          bigint,
    reclaimed         billing.credits not null default 0,
    clawed            billing.credits not null default 0,
    owed              billing.credits not null default 0,
    created_at        timestamptz not null,
    constraint payment_amount_positive check (amount_cents > 0),
    constraint payment_lot_of_purchase check ((bought > 0) = (grant_no is not null)),
    constraint payment_reclaimed_within_bought check (reclaimed <= bought),
    constraint payment_recovered_within_reclaimed check (clawed + owed <= reclaimed)
);
comment on table billing.billing_payments is
    'Money that arrived. What refunds and lost disputes of it ask back is netted here, in one sum.';
comment on column billing.billing_payments.payment_intent_id is 'Stripe''s PaymentIntent.';
comment on column billing.billing_payments.purchase_id is 'The purchase that it paid; null for a subscription.';
comment on column billing.billing_payments.amount_cents is 'What was paid, in cents.';
comment on column billing.billing_payments.currency is 'ISO 4217, in lower case.';
comment on column billing.billing_payments.bought is 'Credits that it bought; 0 for a subscription.';
comment on column billing.billing_payments.grant_no is 'The lot that it bought.';
comment on column billing.billing_payments.reclaimed is 'Credits that go back because the money did.';
comment on column billing.billing_payments.clawed is 'The part of reclaimed that was taken from the lot.';
comment on column billing.billing_payments.owed is 'The part of reclaimed that became debt; the rest is let go.';

create index billing_payments_by_user on billing.billing_payments (user_id, created_at);

create table billing.credit_refunds (
    refund_id         uuid primary key,
    user_id           uuid,
    mode              text not null,
    amount            billing.credits not null,
    amount_cents      bigint,
    payment_intent_id text,
    stripe_refund_id  text,
    status            text not null,
    owe_spent         boolean not null default false,
    requested_by      uuid,
    reason            text,
    idempotency_key   billing.idempotency_key,
    action_id         uuid,
    entry_no          bigint,
    clawed            billing.credits not null default 0,
    spent             billing.credits not null default 0,
    owed              billing.credits not null default 0,
    error             text,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    constraint refund_mode_known check (mode in ('credits', 'money', 'both')),
    constraint refund_amount_positive check (amount > 0),
    constraint refund_status_known check (
        status in ('requested', 'pending', 'requires_action', 'succeeded', 'failed', 'canceled')
    ),
    constraint refund_of_money_names_payment check (
        (mode <> 'credits') = (payment_intent_id is not null)
        and (mode <> 'credits') = (amount_cents is not null and amount_cents > 0)
    ),
    constraint refund_of_credits_has_entry check (mode = 'money' or entry_no is not null),
    constraint refund_stripe_id_unique unique (stripe_refund_id)
);
comment on table billing.credit_refunds is
    'Refunds, in credits, in money or both; of money, those made at Stripe itself too.';
comment on column billing.credit_refunds.user_id is 'Null while the payment is not known.';
comment on column billing.credit_refunds.mode is 'credits, money or both.';
comment on column billing.credit_refunds.amount_cents is 'Money, in cents.';
comment on column billing.credit_refunds.payment_intent_id is 'Stripe''s PaymentIntent that is paid back.';
comment on column billing.credit_refunds.stripe_refund_id is 'Stripe''s Refund, once there is one.';
comment on column billing.credit_refunds.owe_spent is 'Whether credits that were spent already become debt.';
comment on column billing.credit_refunds.action_id is 'Its row in the admin log.';
comment on column billing.credit_refunds.entry_no is 'The ledger entry that granted credits.';
comment on column billing.credit_refunds.clawed is 'Credits taken from the payment''s lot when it was requested.';
comment on column billing.credit_refunds.spent is 'Credits that were spent already and are let go.';
comment on column billing.credit_refunds.owed is 'Credits that were spent already and became debt.';
comment on column billing.credit_refunds.updated_at is 'When its status last changed.';

create unique index credit_refunds_idempotency
    on billing.credit_refunds (user_id, idempotency_key) where idempotency_key is not null;
create index credit_refunds_by_payment on billing.credit_refunds (payment_intent_id) where mode <> 'credits';
create index credit_refunds_by_user on billing.credit_refunds (user_id, refund_id);

create table billing.billing_disputes (
    dispute_id        text primary key,
    user_id           uuid,
    payment_intent_id text not null,
    amount_cents      bigint not null,
    status            text not null,
    reason            text,
    seen_at           timestamptz not null,
    created_at        timestamptz not null,
    updated_at        timestamptz not null
);
comment on table billing.billing_disputes is 'Payments that the customer''s bank asks back.';
comment on column billing.billing_disputes.dispute_id is 'Stripe''s Dispute.';
comment on column billing.billing_disputes.user_id is 'Null while the payment is not known.';
comment on column billing.billing_disputes.payment_intent_id is 'Stripe''s PaymentIntent.';
comment on column billing.billing_disputes.amount_cents is 'What is disputed, in cents.';
comment on column billing.billing_disputes.status is 'As Stripe names it: needs_response, under_review, won, lost, …';
comment on column billing.billing_disputes.seen_at is 'As of when Stripe said so.';
comment on column billing.billing_disputes.updated_at is 'When we heard of the status.';

create index billing_disputes_by_payment on billing.billing_disputes (payment_intent_id);
create index billing_disputes_by_user on billing.billing_disputes (user_id);

create table billing.account_freezes (
    user_id      uuid not null,
    cause        text not null,
    reference_id text not null default '',
    created_at   timestamptz not null,
    primary key (user_id, cause, reference_id),
    constraint freeze_cause_known check (cause in ('admin', 'dispute'))
);
comment on table billing.account_freezes is 'Why an account is frozen: it is as long as there is a row.';
comment on column billing.account_freezes.cause is 'admin, or dispute with its id as the reference.';

insert into billing.account_freezes (user_id, cause, created_at)
select user_id, 'admin', updated_at from billing.credit_accounts where status = 'frozen';

-- Subscriptions.

create table billing.billing_subscriptions (
    stripe_subscription_id text primary key,
    user_id                uuid not null,
    tier                   text not null,
    next_tier              text,
    billing_interval       text not null,
    status                 text not null,
    cancel_at_period_end   boolean not null default false,
    current_period_start   timestamptz not null,
    current_period_end     timestamptz not null,
    stripe_item_id         text not null,
    stripe_price_id        text not null,
    synced_at              timestamptz not null,
    created_at             timestamptz not null,
    updated_at             timestamptz not null,
    constraint subscription_interval_known check (billing_interval in ('month', 'year'))
);
comment on table billing.billing_subscriptions is 'Subscriptions as Stripe last told them.';
comment on column billing.billing_subscriptions.stripe_subscription_id is 'Stripe''s Subscription.';
comment on column billing.billing_subscriptions.next_tier is 'The lower tier of the next billing period.';
comment on column billing.billing_subscriptions.billing_interval is 'How often it is paid: month or year.';
comment on column billing.billing_subscriptions.status is 'As Stripe names it: active, past_due, canceled, …';
comment on column billing.billing_subscriptions.cancel_at_period_end is 'Whether it ends with the period.';
comment on column billing.billing_subscriptions.current_period_start is 'When what is paid began.';
comment on column billing.billing_subscriptions.current_period_end is 'When the next payment is due.';
comment on column billing.billing_subscriptions.stripe_item_id is 'Stripe''s SubscriptionItem.';
comment on column billing.billing_subscriptions.stripe_price_id is 'Stripe''s Price.';
comment on column billing.billing_subscriptions.synced_at is 'When Stripe was asked for what stands here.';
comment on column billing.billing_subscriptions.updated_at is 'When it last changed here.';

create index billing_subscriptions_by_user on billing.billing_subscriptions (user_id);

create table billing.billing_checkouts (
    checkout_id                uuid primary key,
    user_id                    uuid not null,
    tier                       text not null,
    billing_interval           text not null,
    status                     text not null default 'pending',
    idempotency_key            billing.idempotency_key,
    details                    billing.object_json not null default '{}',
    stripe_checkout_session_id text,
    checkout_url               text,
    error                      text,
    created_at                 timestamptz not null,
    constraint checkout_interval_known check (billing_interval in ('month', 'year')),
    constraint checkout_status_known check (status in ('pending', 'open', 'failed', 'expired', 'complete')),
    constraint checkout_session_unique unique (stripe_checkout_session_id)
);
comment on table billing.billing_checkouts is 'Subscriptions that somebody set out to buy.';
comment on column billing.billing_checkouts.checkout_id is 'In the metadata of the Checkout Session.';
comment on column billing.billing_checkouts.billing_interval is 'How often it is to be paid: month or year.';
comment on column billing.billing_checkouts.stripe_checkout_session_id is 'Stripe''s Checkout Session.';
comment on column billing.billing_checkouts.checkout_url is 'Where the user pays.';

create unique index billing_checkouts_idempotency
    on billing.billing_checkouts (user_id, idempotency_key) where idempotency_key is not null;
create unique index billing_checkouts_one_open
    on billing.billing_checkouts (user_id) where status in ('pending', 'open');

-- Automatic top-ups.

create table billing.billing_auto_top_ups (
    user_id           uuid primary key,
    enabled           boolean not null,
    threshold         billing.credits not null,
    package           text not null,
    monthly_cap       billing.credits not null,
    payment_method_id text,
    disabled_reason   text,
    failures          integer not null default 0,
    retry_after       timestamptz,
    crossing_no       bigint not null default 0,
    updated_at        timestamptz not null,
    constraint top_up_cap_positive check (monthly_cap > 0),
    constraint top_up_disabled_with_reason check (not enabled or disabled_reason is null)
);
comment on table billing.billing_auto_top_ups is 'Buy a package whenever the available credits fall below a threshold.';
comment on column billing.billing_auto_top_ups.enabled is 'Whether it charges.';
comment on column billing.billing_auto_top_ups.threshold is 'Charged when fewer credits than these are available.';
comment on column billing.billing_auto_top_ups.package is 'What is bought.';
comment on column billing.billing_auto_top_ups.monthly_cap is 'US dollars at most in a UTC calendar month.';
comment on column billing.billing_auto_top_ups.payment_method_id is 'Stripe''s PaymentMethod; null: the default.';
comment on column billing.billing_auto_top_ups.disabled_reason is 'Why it was turned off; null if the user did it.';
comment on column billing.billing_auto_top_ups.failures is 'Charges that failed since the last one that did not.';
comment on column billing.billing_auto_top_ups.retry_after is 'No charge before this time.';
comment on column billing.billing_auto_top_ups.crossing_no is 'Number of the newest fall below the threshold.';
comment on column billing.billing_auto_top_ups.updated_at is 'When it last changed.';

create index billing_auto_top_ups_enabled on billing.billing_auto_top_ups (user_id) where enabled;

-- What Stripe tells us, and what we ask of it.

create table billing.stripe_events (
    event_id        text primary key,
    type            text not null,
    payload         jsonb not null,
    status          text not null default 'pending',
    attempts        integer not null default 0,
    error           text,
    next_attempt_at timestamptz,
    emitted_at      timestamptz not null,
    received_at     timestamptz not null,
    processed_at    timestamptz,
    constraint event_status_known check (status in ('pending', 'processed', 'ignored', 'failed')),
    constraint event_retried_while_pending check ((status = 'pending') = (next_attempt_at is not null))
);
comment on table billing.stripe_events is 'Webhook events, stored before they are applied.';
comment on column billing.stripe_events.attempts is 'How often applying it failed.';
comment on column billing.stripe_events.next_attempt_at is 'When it is tried again; null when it is done or given up.';
comment on column billing.stripe_events.emitted_at is 'When Stripe says it happened.';

create index stripe_events_due on billing.stripe_events (next_attempt_at) where status = 'pending';
create index stripe_events_received on billing.stripe_events (received_at desc, event_id);
create index stripe_events_failed on billing.stripe_events (received_at) where status = 'failed';

create table billing.stripe_calls (
    call_id         uuid primary key,
    user_id         uuid not null,
    kind            text not null,
    subject_id      text not null,
    request         billing.object_json not null,
    status          text not null default 'pending',
    attempt         integer not null default 1,
    tries           integer not null default 0,
    uncertain       boolean not null default false,
    first_tried_at  timestamptz,
    claimed_at      timestamptz,
    next_attempt_at timestamptz,
    error           text,
    created_at      timestamptz not null,
    finished_at     timestamptz,
    constraint call_kind_known check (
        kind in ('customer', 'purchase', 'checkout', 'refund', 'top_up', 'subscription', 'subscriptions', 'payment')
    ),
    constraint call_status_known check (status in ('pending', 'done', 'failed')),
    constraint call_retried_while_pending check ((status = 'pending') = (next_attempt_at is not null))
);
comment on table billing.stripe_calls is
    'What is to be done at Stripe, recorded before it is tried. Its idempotency key is call_id and attempt.';
comment on column billing.stripe_calls.call_id is 'Ordered by time.';
comment on column billing.stripe_calls.subject_id is 'The purchase, refund, user, … that it is for.';
comment on column billing.stripe_calls.request is 'What to ask for.';
comment on column billing.stripe_calls.attempt is
    'Counts idempotency keys: Stripe forgets one, or keeps an error under it.';
comment on column billing.stripe_calls.tries is 'How often it was claimed.';
comment on column billing.stripe_calls.uncertain is 'Whether a try may have had its effect under a key of no more use.';
comment on column billing.stripe_calls.first_tried_at is 'When the present idempotency key was first used.';
comment on column billing.stripe_calls.claimed_at is 'When it was last claimed: what Stripe answers is not older.';
comment on column billing.stripe_calls.next_attempt_at is 'When another process may claim it.';

create index stripe_calls_due on billing.stripe_calls (next_attempt_at) where status = 'pending';
create unique index stripe_calls_one_pending on billing.stripe_calls (kind, subject_id)
    where status = 'pending' and kind not in ('subscriptions', 'payment');
create index stripe_calls_pending_by_subject on billing.stripe_calls (kind, subject_id) where status = 'pending';

-- Row level security: a user's token reads that user's rows. What is between us and Stripe has no policy.

alter table billing.billing_customers enable row level security;
alter table billing.credit_purchases enable row level security;
alter table billing.billing_payments enable row level security;
alter table billing.credit_refunds enable row level security;
alter table billing.billing_disputes enable row level security;
alter table billing.account_freezes enable row level security;
alter table billing.billing_subscriptions enable row level security;
alter table billing.billing_checkouts enable row level security;
alter table billing.billing_auto_top_ups enable row level security;
alter table billing.stripe_events enable row level security;
alter table billing.stripe_calls enable row level security;

create policy credit_purchases_own on billing.credit_purchases
    for select using (user_id = billing_private.current_user_id());
create policy billing_payments_own on billing.billing_payments
    for select using (user_id = billing_private.current_user_id());
create policy credit_refunds_own on billing.credit_refunds
    for select using (user_id = billing_private.current_user_id());
create policy billing_subscriptions_own on billing.billing_subscriptions
    for select using (user_id = billing_private.current_user_id());
create policy billing_auto_top_ups_own on billing.billing_auto_top_ups
    for select using (user_id = billing_private.current_user_id());

do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        grant select on billing.credit_purchases, billing.billing_payments, billing.billing_subscriptions,
            billing.billing_auto_top_ups to authenticated;
        -- Who gave a refund, and why, is for the admins.
        grant select (refund_id, user_id, mode, amount, amount_cents, payment_intent_id, status, entry_no, clawed,
            spent, owed, created_at, updated_at) on billing.credit_refunds to authenticated;
    end if;
end
$$;

-- Events that were given up, and calls that do not get through, are for whoever is on call. A payload is not.
create policy stripe_events_monitor on billing.stripe_events for select to billing_monitor using (true);
grant select (event_id, type, status, attempts, error, next_attempt_at, emitted_at, received_at, processed_at)
    on billing.stripe_events to billing_monitor;
create policy stripe_calls_monitor on billing.stripe_calls for select to billing_monitor using (true);
grant select (call_id, user_id, kind, subject_id, status, attempt, tries, uncertain, next_attempt_at, error,
    created_at, finished_at) on billing.stripe_calls to billing_monitor;

-- What the SQL API returns.

create type billing.package as (name text, amount numeric, price_cents integer);
comment on type billing.package is 'Credits that are sold in one piece; the price in US cents.';

create type billing.customer as (user_id uuid, stripe_customer_id text, call_id uuid);
comment on type billing.customer is 'A user''s customer at Stripe, and the call that makes it, while it is to be made.';

create type billing.purchase as (
    purchase_id uuid, user_id uuid, kind text, amount numeric, price_cents bigint, package text, status text,
    checkout_url text, stripe_checkout_session_id text, stripe_payment_intent_id text, entry_no bigint, error text,
    created_at timestamptz, completed_at timestamptz, call_id uuid, replayed boolean
);
comment on type billing.purchase is 'A purchase, and the call to Stripe that it waits for, if it does.';

create type billing.payment as (
    payment_intent_id text, user_id uuid, purchase_id uuid, amount_cents bigint, currency text,
    refunded_cents bigint, lost_cents bigint, disputed boolean, bought numeric, reclaimed numeric, clawed numeric,
    owed numeric, created_at timestamptz
);
comment on type billing.payment is
    'A payment: money in cents, what refunds and lost disputes of it took, and the credits that went back for it.';

create type billing.refund as (
    refund_id uuid, user_id uuid, mode text, amount numeric, amount_cents bigint, payment_intent_id text,
    stripe_refund_id text, status text, requested_by uuid, reason text, entry_no bigint, clawed numeric,
    spent numeric, owed numeric, error text, created_at timestamptz, updated_at timestamptz
);
comment on type billing.refund is 'A refund; without requested_by it was made at Stripe.';

create type billing.refund_result as (
    success boolean, reason text, refund_id uuid, mode text, status text, amount numeric,
    stripe_refund_id text, entry_no bigint, clawed numeric, spent numeric, owed numeric, balance_after numeric,
    action_id uuid, call_id uuid, replayed boolean
);
comment on type billing.refund_result is
    'What a request for a refund did, and the call to Stripe that it waits for, or why it was refused.';

create type billing.subscription as (
    user_id uuid, stripe_subscription_id text, tier text, next_tier text, billing_interval text, status text,
    cancel_at_period_end boolean, current_period_start timestamptz, current_period_end timestamptz,
    call_id uuid
);
comment on type billing.subscription is
    'A user''s subscription (status none: there is none), and the call to Stripe that it waits for, if it does.';

create type billing.checkout as (
    checkout_id uuid, user_id uuid, tier text, billing_interval text, status text, checkout_url text,
    stripe_checkout_session_id text, created_at timestamptz, call_id uuid, replayed boolean
);
comment on type billing.checkout is 'A subscription that is being bought, and the call to Stripe that it waits for.';

create type billing.auto_top_up as (
    user_id uuid, enabled boolean, threshold numeric, package text, monthly_cap numeric, spent_this_month numeric,
    payment_method_id text, disabled_reason text, failures integer, retry_after timestamptz, updated_at timestamptz
);
comment on type billing.auto_top_up is 'A user''s automatic top-up, and what it has charged in this month.';

create type billing.stripe_call as (
    call_id uuid, user_id uuid, kind text, subject_id text, request jsonb, stripe_customer_id text, status text,
    idempotency_key text, look_first boolean, tries integer, first_tried_at timestamptz, claimed_at timestamptz,
    next_attempt_at timestamptz, error text, created_at timestamptz
);
comment on type billing.stripe_call is
    'Something to do at Stripe. look_first: an earlier try may have had its effect, so search before doing it.';

create type billing.stripe_event as (
    event_id text, type text, status text, attempts integer, error text, next_attempt_at timestamptz,
    emitted_at timestamptz, received_at timestamptz, processed_at timestamptz, call_id uuid
);
comment on type billing.stripe_event is 'A webhook event, and the call to Stripe that it led to, if it did.';

create type billing.difference as (
    kind text, object_id text, user_id uuid, problem text, ours text, theirs text, fixable boolean
);
comment on type billing.difference is
    'Something that Stripe and we tell differently. Fixable: by taking Stripe''s word.';

select set_config('role', current_setting('billing.installer'), true);
