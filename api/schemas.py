"""What goes in and out. A request's fields are the SQL function's parameters, a response's the columns it returns.

The schemas check shapes only. Whether an amount is positive, a tier exists or a reason says something is for the SQL
function to decide, so that every caller gets the same answer by the same name.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validates_schema
from marshmallow.validate import OneOf, Range

from api.fields import (
    INT8,
    Amount,
    Columns,
    Count,
    Described,
    Flag,
    Id,
    Integer,
    Members,
    Month,
    Name,
    Schema,
    Text,
    Time,
    rows,
)

ENTRY_TYPES = (
    "usage", "tier_grant", "purchase", "adjustment", "refund", "reversal", "expiry", "clawback", "debt_repayment",
    "trial_grant", "migration", "rollback",
)  # fmt: skip
INTERVALS = {"monthly": "month", "yearly": "year"}
REFUND_STATUSES = ("requested", "pending", "requires_action", "succeeded", "failed", "canceled")
APPROVAL_STATUSES = ("open", "approved", "declined", "withdrawn", "expired")
EVENT_STATUSES = ("pending", "processed", "ignored", "failed")
# The largest page; one row more is asked for, to see whether there are more.
PAGE = 200

# What comes in.


class Idempotency(Schema):
    """The headers of a request that may be sent again."""

    idempotency_key = Text(
        "1 to 200 characters of your choice: what is sent again under the same key takes effect once.",
        data_key="Idempotency-Key",
    )


class Required(Schema):
    required = Amount("Credits that the call will need; 0.01 unless told.")


class LedgerFilter(Schema):
    type = Text("Only entries of this type.", validate=OneOf(ENTRY_TYPES))
    reference_id = Text("Only entries of this reference.")
    from_ = Time("Only entries from this moment on.", data_key="from", attribute="from")
    to = Time("Only entries before this moment.")


class LedgerPage(LedgerFilter):
    before = Count("Entries before this entry_no: next_before of the page before.", validate=INT8)
    limit = Count("Entries in the page.", load_default=50, validate=Range(1, PAGE))


class UsageRange(Schema):
    from_ = Time("The first moment; 30 days before the end, unless told.", data_key="from", attribute="from")
    to = Time("The moment after the last one; now, unless told.")
    bucket = Text("How long a bucket is, in UTC.", load_default="day", validate=OneOf(["hour", "day", "week", "month"]))

    @post_load
    def last_days(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        to = data.get("to") or datetime.now(UTC)
        return {"from": to - timedelta(days=30), "to": to} | data


class HistoryRange(Schema):
    from_ = Time("The first moment; 30 days before the end, unless told.", data_key="from", attribute="from")
    to = Time("The last moment; now, unless told. A time ahead tells what will be left.")
    points = Count("How many, at equal distances, both ends among them.", load_default=60, validate=Range(2, 500))

    @post_load
    def last_days(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        to = data.get("to") or datetime.now(UTC)
        return {"from": to - timedelta(days=30), "to": to} | data


class ReferenceChange(Schema):
    user_id = Id("Whose reference.", required=True)
    reference = Text(
        "What the application calls the user, such as an e-mail address; null, or none, removes it.", load_default=None
    )


class EventsPage(Schema):
    before = Count("Events before this event_no: next_before of the page before.", validate=INT8)
    limit = Count("Events in the page.", load_default=50, validate=Range(1, PAGE))


class NotificationsChange(Schema):
    low_balance = Amount("What the balance has to fall below; 0 is never, null the default.", load_default=None)


class GrantFilter(Schema):
    live_only = Flag("Leave out what is spent or expired.", load_default=True)


class AccountsPage(Schema):
    q = Text(
        "The beginning of a user's id or reference, an id of Stripe's (customer, subscription, payment intent or "
        "refund), or a reference of the ledger.",
        attribute="query",
    )
    search = Text("The beginning of a user's id; q finds more.")
    tier = Text("Only accounts of this tier.")
    status = Text("Only accounts of this status.", validate=OneOf(["active", "frozen", "closed"]))
    after = Id("Accounts after this user_id: next_after of the page before.")
    limit = Count("Accounts in the page.", load_default=50, validate=Range(1, PAGE))

    @validates_schema
    def one_search(self, data: dict[str, Any], **_: Any) -> None:
        if "query" in data and "search" in data:
            raise ValidationError("Give either q or search.", "search")


class ActionsPage(Schema):
    target_user_id = Id("Only what was done to this user.")
    admin_user_id = Id("Only what this admin did.")
    action = Text("Only this action, such as adjust_credits.")
    refused = Flag("Only what was refused, or only what was done.")
    from_ = Time("Only actions from this moment on.", data_key="from", attribute="from")
    to = Time("Only actions before this moment.")
    before = Id("Actions before this action_id: next_before of the page before.")
    limit = Count("Actions in the page.", load_default=50, validate=Range(1, PAGE))


class Spending(Schema):
    """Give either `amount`, or `model` with its token counts."""

    user_id = Id("Whose credits.", required=True)
    amount = Amount("Credits to take: a number or a string, at most 9 decimal places.")
    model = Text("A model of the rate card.")
    prompt_tokens = Integer("All tokens of the prompt, cached ones included.")
    completion_tokens = Integer("Tokens of the completion.")
    cached_tokens = Integer("How many of the prompt's tokens came from the cache; 0 unless told.")
    description = Text("With an amount only: what it is for.")
    reference_type = Text("What reference_id names, such as thread or run.")
    reference_id = Text("What in your own system this belongs to.")
    metadata = Members("Any JSON object, at most 16 kB; its numbers stay exact.")

    @validates_schema
    def by_amount_or_by_tokens(self, data: dict[str, Any], **_: Any) -> None:
        if ("amount" in data) == ("model" in data):
            raise ValidationError("Give either amount, or model and its token counts.", "amount")
        needed, foreign = (set(), TOKENS) if "amount" in data else (COUNTED, {"description"})
        errors = {name: ["Has no meaning here."] for name in foreign & set(data)}
        errors |= {name: ["Missing data for required field."] for name in needed - set(data)}
        if errors:
            raise ValidationError(errors)


COUNTED = {"prompt_tokens", "completion_tokens"}
TOKENS = COUNTED | {"cached_tokens"}


class BatchItem(Spending):
    idempotency_key = Text("As the header Idempotency-Key of a single deduction.")


class Batch(Schema):
    items = fields.List(Described(BatchItem), required=True, metadata={"description": "At most 1,000."})


class NewHold(Schema):
    user_id = Id("Whose credits.", required=True)
    amount = Amount("Credits to reserve.", required=True)
    expires_in = Integer("Seconds until the hold ends by itself; 900 unless told, at most 30 days.")
    description = Text()

    @post_load
    def as_interval(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "expires_in" in data:
            data["expires_in"] = timedelta(seconds=max(-1, min(data["expires_in"], LONGEST_SECONDS)))
        return data


# Past every limit, and within what an interval can be.
LONGEST_SECONDS = 10**9


class Capture(Schema):
    user_id = Id("Whose hold.", required=True)
    amount = Amount("What the call cost; more than was held if the available credits cover it.", required=True)
    description = Text()
    metadata = Members("Any JSON object, at most 16 kB; its numbers stay exact.")


class Release(Schema):
    user_id = Id("Whose hold.", required=True)


class Adjustment(Schema):
    user_id = Id("Whose credits.", required=True)
    amount = Amount("Credits to add, or with a minus to take.", required=True)
    reason = Text("Kept in the admin log.", required=True)


class AdminGrant(Schema):
    user_id = Id("Whose credits.", required=True)
    amount = Amount("Credits to add.", required=True)
    reason = Text("Kept in the admin log.", required=True)
    expires_at = Time("When they expire; never, unless told.")


class Reversal(Schema):
    user_id = Id("Whose entry.", required=True)
    entry_no = Integer("The usage or negative adjustment to undo.", required=True)
    reason = Text("Kept in the admin log.", required=True)


class StatusChange(Schema):
    status = Text("active, frozen or closed.", required=True)
    reason = Text("Kept in the admin log.", required=True)


class TierChange(Schema):
    tier = Text("The name of a tier.", required=True)
    reason = Text("Kept in the admin log.", required=True)


class AdminRelease(Schema):
    reason = Text("Kept in the admin log.", required=True)


class RoleChange(Schema):
    role = Text("user, admin or super_admin.", required=True)
    reason = Text("Kept in the admin log.")


class Nothing(Schema):
    """No members."""


class PurchaseRequest(Schema):
    """Give either `amount` or `package`."""

    amount = Amount("Credits, in whole cents.")
    package = Name("The name of a package, such as 25.")
    save_card = Flag("Keep the card, for automatic top-ups.", load_default=False)
    success_url = Text("Where the user comes back to after the payment, on an origin of the application.")
    cancel_url = Text("Where the user comes back to without one.")


class PurchasesPage(Schema):
    before = Id("Purchases before this purchase_id: next_before of the page before.")
    limit = Count("Purchases in the page.", load_default=50, validate=Range(1, PAGE))


class CheckoutRequest(Schema):
    tier = Text("The name of a tier.", required=True)
    interval = Text("How often it is paid: month or year; monthly and yearly will do.", load_default="month")
    success_url = Text("Where the user comes back to after the payment, on an origin of the application.")
    cancel_url = Text("Where the user comes back to without one.")

    @post_load
    def plain_interval(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return data | {"interval": INTERVALS.get(data["interval"], data["interval"])}


class PortalRequest(Schema):
    return_url = Text("Where the user comes back to, on an origin of the application.")


class SubscriptionChange(Schema):
    tier = Text("The name of a tier.", required=True)


class AutoTopUpRequest(Schema):
    enabled = Flag("Whether it charges.", required=True)
    threshold = Amount("It charges when fewer credits than these are available.")
    package = Name("The name of the package that it buys.")
    monthly_cap = Amount("US dollars that it charges at most in a UTC calendar month.")
    payment_method_id = Text("Stripe's id of the card to charge; the customer's default, unless told.")


class RefundRequest(Schema):
    user_id = Id("Who is refunded.", required=True)
    amount = Amount("Credits, or US dollars with stripe_refund.", required=True)
    reason = Text("Kept in the admin log.", required=True)
    stripe_refund = Flag("Pay the money back through Stripe, instead of granting credits.")
    payment_intent_id = Text("With stripe_refund: the payment to refund.")
    grant_credits = Flag("With stripe_refund: grant credits as well.")
    owe_spent = Flag("With stripe_refund: what the payment bought and is spent already becomes debt.")

    @validates_schema
    def money_is_asked_for(self, data: dict[str, Any], **_: Any) -> None:
        """A flag that was forgotten must not turn a refund of money into one of credits."""
        if not data.get("stripe_refund"):
            given = [name for name in ("payment_intent_id", "grant_credits", "owe_spent") if name in data]
            errors = {name: ["Needs stripe_refund."] for name in given if data[name] is not False}
            if errors:
                raise ValidationError(errors)


class ApprovableAction(Schema):
    """The arguments of the action's function, which says what they mean."""

    user_id = Id("Whose account.", required=True)
    action = Text("adjust_credits, admin_grant_credits, reverse_entry, request_refund or change_tier.", required=True)
    amount = Amount("Credits, or US dollars with stripe_refund.")
    expires_at = Time("When granted credits expire.")
    entry_no = Integer("The entry to reverse.")
    tier = Text("The tier to change to.")
    stripe_refund = Flag("Whether a refund is in money.")
    payment_intent_id = Text("With stripe_refund: the payment to refund.")
    grant_credits = Flag("With stripe_refund: grant credits as well.")
    owe_spent = Flag("With stripe_refund: what the payment bought and is spent already becomes debt.")


class PreviewRequest(ApprovableAction):
    action = Text(
        "adjust_credits, admin_grant_credits, reverse_entry, request_refund, change_tier, set_account_status or "
        "admin_release_hold.",
        required=True,
    )
    status = Text("The status to set.")
    hold_id = Id("The hold to release.")


class ApprovalRequest(ApprovableAction):
    reason = Text("Kept in the admin log.", required=True)


class ApprovalsPage(Schema):
    status = Text("Only requests of this status.", validate=OneOf(APPROVAL_STATUSES))
    user_id = Id("Only what is about this user.")
    before = Id("Requests before this approval_id: next_before of the page before.")
    limit = Count("Requests in the page.", load_default=50, validate=Range(1, PAGE))


class Decision(Schema):
    reason = Text("Kept with the request, and in the admin log.", required=True)


class Withdrawal(Schema):
    reason = Text("Kept with the request, and in the admin log.")


class RefundsPage(Schema):
    user_id = Id("Only this user's.")
    status = Text("Only refunds of this status.", validate=OneOf(REFUND_STATUSES))
    before = Id("Refunds before this refund_id: next_before of the page before.")
    limit = Count("Refunds in the page.", load_default=50, validate=Range(1, PAGE))


class PaymentsPage(Schema):
    before = Text("Payments before this payment_intent_id: next_before of the page before.")
    limit = Count("Payments in the page.", load_default=PAGE, validate=Range(1, PAGE))


class LegacyMonth(Schema):
    month = Month("A month like 2025-01, or a day of it; this one (UTC) unless told.")

    @post_load
    def this_month(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"month": datetime.now(UTC).date()} | data


class LegacyPurchasesPage(Schema):
    before = Text("Purchases before this purchase_id: next_before of the page before.")
    limit = Count("Purchases in the page.", load_default=50, validate=Range(1, PAGE))


class LegacyTracking(Schema):
    user_id = Id("Who made the call.", required=True)
    model = Text("A model of the rate card.", required=True)
    prompt_tokens = Integer("All tokens of the prompt, cached ones included.", required=True)
    completion_tokens = Integer("Tokens of the completion.", required=True)
    cached_tokens = Integer("How many of the prompt's tokens came from the cache; 0 unless told.")


class LegacyPayment(Schema):
    user_id = Id("Who paid.", required=True)
    amount = Amount("Credit that was bought, in US dollars.", required=True)
    price_cents = Integer("What was paid, in cents.", required=True)
    payment_intent_id = Text("The payment at Stripe: it counts once.", required=True)


class JobRunsPage(Schema):
    job = Text("Only runs of this job.", attribute="name")
    before = Time("Runs that began before this time: next_before of the page before.")
    limit = Count("Runs in the page.", load_default=50, validate=Range(1, PAGE))


class CheckpointsPage(Schema):
    before = Id("Checkpoints before this checkpoint_id: next_before of the page before.")
    limit = Count("Checkpoints in the page.", load_default=50, validate=Range(1, PAGE))


class EventsFilter(Schema):
    status = Text("Only events of this status; failed are those that were given up.", validate=OneOf(EVENT_STATUSES))
    limit = Count("How many.", load_default=50, validate=Range(1, PAGE))


# What Stripe sends, as far as it is looked at before SQL does.
STRIPE_EVENT = {
    "type": "object",
    "description": "An Event, as Stripe's documentation describes it.",
    "required": ["id", "type", "created", "data"],
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string"},
        "created": {"type": "integer", "description": "Unix time."},
        "data": {
            "type": "object",
            "required": ["object"],
            "properties": {"object": {"type": "object", "description": "What it is about."}},
        },
    },
}


# What goes out.


class CreditCheck(Columns):
    can_run = Flag("Whether the credits cover it.")
    balance = Amount("All credits, held ones included.")
    available = Amount("What can be spent: the balance without what is held.")
    tier = Text()
    message = Text("OK, or why not.")


class Account(Columns):
    user_id = Id()
    tier = Text()
    status = Text("active, frozen or closed.")
    balance = Amount("All credits, held ones included.")
    held = Amount("Reserved by holds.")
    available = Amount("What can be spent: the balance without what is held.")
    debt = Amount("What the next credits repay first.")
    used_total = Amount("All that was ever spent.")
    entry_count = Integer()
    next_expiry_at = Time("When credits expire or a hold ends next.", allow_none=True)
    last_grant_at = Time(allow_none=True)
    created_at = Time()
    updated_at = Time()


class ListedAccount(Account):
    """With `q`: the last three members, in place of those that only an account of its own has."""

    sometimes: ClassVar[set[str]] = {
        *("used_total", "next_expiry_at", "last_grant_at", "updated_at"),
        *("last_activity_at", "reference", "found_by"),
    }

    last_activity_at = Time("When the account last changed.")
    reference = Text("What the application calls the user.", allow_none=True)
    found_by = Text(
        "user_id, reference, stripe_customer, subscription, payment_intent, stripe_refund or ledger_reference.",
        allow_none=True,
    )


class UserReference(Columns):
    user_id = Id()
    reference = Text("What the application calls the user.", allow_none=True)
    updated_at = Time("When it last changed.", allow_none=True)


class Forecast(Columns):
    user_id = Id()
    per_day = Amount("Credits used in a day: the mean of the last 14, or since the account was opened.")
    available = Amount("What can be spent: the balance without what is held.")
    lasts_days = Amount(
        "How many days that lasts at this pace; null when nothing is used, or beyond 10 years.", allow_none=True
    )
    runs_out_at = Time("When it is used up.", allow_none=True)
    expires_unused = Amount("What expires until then, because it is not used up in time.")
    next_grant_at = Time("When the next month's credits come; null when none are to come.", allow_none=True)
    next_grant_amount = Amount("How many.", allow_none=True)


class BalancePoint(Columns):
    at = Time()
    balance = Amount("All credits, held ones included; what had expired by then is gone.")


class BalanceHistory(Columns):
    points = rows(BalancePoint)


class LedgerEntry(Columns):
    user_id = Id()
    entry_no = Integer("1, 2, 3 and so on for each account, without gaps.")
    type = Text(validate=OneOf(ENTRY_TYPES))
    amount = Amount("Credits, negative when they leave the account; 0 is a refused deduction.")
    balance_after = Amount()
    description = Text(allow_none=True)
    reference_type = Text(allow_none=True)
    reference_id = Text(allow_none=True)
    idempotency_key = Text(allow_none=True)
    metadata = Members(allow_none=True)
    actor = Id("The admin who did it.", allow_none=True)
    created_at = Time()
    grant_no = Integer("The lot that an expiry, a clawback or a debt repayment took from.", allow_none=True)
    reversed_entry_no = Integer("The entry that a reversal undoes.", allow_none=True)
    entry_hash = Text("SHA-256 over the entry before and this one.")


class Ledger(Columns):
    entries = rows(LedgerEntry)
    next_before = Integer("Pass it as before to get the next page; null on the last one.", allow_none=True)


class UsageBucket(Columns):
    bucket = Time("When the bucket begins.")
    model = Text("Null for what was not priced by tokens.", allow_none=True)
    calls = Integer()
    amount = Amount("Credits spent, as a positive number.")
    prompt_tokens = Integer(allow_none=True)
    completion_tokens = Integer(allow_none=True)
    cached_tokens = Integer(allow_none=True)
    refused = Integer("Deductions that were refused.")


class Usage(Columns):
    buckets = rows(UsageBucket)


class Event(Columns):
    event_id = Id()
    event_no = Integer("1, 2, 3 and so on for each account, without gaps.")
    kind = Text("Such as balance.low or credits.granted.")
    payload = Members("What it tells besides.")
    created_at = Time()


class Events(Columns):
    events = rows(Event)
    next_before = Integer("Pass it as before to get the next page; null on the last one.", allow_none=True)


class SentEvent(Columns):
    """An event, and how its delivery does."""

    user_id = Id()
    event_id = Id()
    event_no = Integer("1, 2, 3 and so on for each account, without gaps.")
    kind = Text("Such as balance.low or credits.granted.")
    payload = Members("What it tells besides.")
    status = Text("kept (deliveries are off), pending, delivered, or dead when it was given up.")
    attempts = Integer("How often delivering it failed.")
    next_attempt_at = Time("When it is delivered, unless one before it waits.", allow_none=True)
    error = Text("Why it failed last.", allow_none=True)
    created_at = Time()
    delivered_at = Time(allow_none=True)


class SentEvents(Columns):
    events = rows(SentEvent)
    next_before = Integer("Pass it as before to get the next page; null on the last one.", allow_none=True)


class Notifications(Columns):
    user_id = Id()
    low_balance = Amount("A balance that falls below this is told as low; 0 is never.")
    is_default = Flag("Whether that is everybody's default.")
    depleted_balance = Amount("A balance that falls below this is told as depleted.")


class GrantLot(Columns):
    user_id = Id()
    grant_no = Integer()
    source = Text()
    amount = Amount("What it brought.")
    remaining = Amount("What is left of it.")
    priority = Integer("Lower ones burn first.")
    expires_at = Time(allow_none=True)
    granted_at = Time()
    entry_no = Integer("The ledger entry that brought it.")
    reference_type = Text(allow_none=True)
    reference_id = Text(allow_none=True)


class Grants(Columns):
    grants = rows(GrantLot)


class Tier(Columns):
    name = Text()
    display_name = Text()
    monthly_credits = Amount()
    price_cents = Integer()
    can_purchase_credits = Flag()
    rank = Integer("The higher, the larger the tier.")
    grant_expires_after = Text("An ISO 8601 duration.", allow_none=True)
    rollover_cap = Amount("Unspent credits above this expire at the next grant.", allow_none=True)


class Tiers(Columns):
    tiers = rows(Tier)


class Deduction(Columns):
    success = Flag("Always true: a refusal is a problem document.")
    entry_no = Integer("Null for a call that costs nothing.", allow_none=True)
    amount = Amount("Credits taken.")
    balance_after = Amount()
    available = Amount()
    reason = Text("Always null.", allow_none=True)
    replayed = Flag("Whether this key had done it before.")


class TokenDeduction(Deduction):
    sometimes: ClassVar[set[str]] = {"cost"}

    cost = Amount("What the rate card says; only with a model.")


class BatchResult(Columns):
    success = Flag("Whether this item was taken.")
    entry_no = Integer(allow_none=True)
    amount = Amount(allow_none=True)
    balance_after = Amount(allow_none=True)
    available = Amount(allow_none=True)
    reason = Text("The name of the error, when it was not.", allow_none=True)
    replayed = Flag(allow_none=True)


class BatchResults(Columns):
    results = rows(BatchResult)


class HoldResult(Columns):
    success = Flag("Always true: a refusal is a problem document.")
    hold_id = Id()
    amount = Amount()
    expires_at = Time()
    available = Amount()
    reason = Text("Always null.", allow_none=True)
    replayed = Flag("Whether this key had done it before.")


class Hold(Columns):
    user_id = Id()
    hold_id = Id()
    amount = Amount("What was reserved.")
    captured = Amount("What the capture took.")
    status = Text("active, captured, released or expired.")
    expires_at = Time()
    description = Text(allow_none=True)
    idempotency_key = Text(allow_none=True)
    entry_no = Integer("The ledger entry of the capture.", allow_none=True)
    created_at = Time()
    ended_at = Time(allow_none=True)


class AdminResult(Columns):
    success = Flag("Always true: a refusal is a problem document.")
    reason = Text("Always null.", allow_none=True)
    entry_no = Integer(allow_none=True)
    amount = Amount(allow_none=True)
    balance_after = Amount(allow_none=True)
    action_id = Id("Its row in the admin log.", allow_none=True)
    replayed = Flag("Whether this key had done it before.")


class LotChange(Columns):
    grant_no = Integer()
    source = Text()
    priority = Integer("Lower ones burn first.")
    expires_at = Time(allow_none=True)
    before = Amount("What is left of it.")
    after = Amount("What would be left of it.")


class ActionPreview(Columns):
    success = Flag("Whether it would be done.")
    reason = Text("Why it would be refused.", allow_none=True)
    can_request = Flag("Whether another admin can be asked for it.")
    amount = Amount("What would move.", allow_none=True)
    balance_before = Amount(allow_none=True)
    balance_after = Amount(allow_none=True)
    available_before = Amount(allow_none=True)
    available_after = Amount(allow_none=True)
    held_before = Amount(allow_none=True)
    held_after = Amount(allow_none=True)
    debt_before = Amount(allow_none=True)
    debt_after = Amount(allow_none=True)
    tier_before = Text(allow_none=True)
    tier_after = Text(allow_none=True)
    status_before = Text(allow_none=True)
    status_after = Text(allow_none=True)
    entry_no = Integer("The ledger entry that it would get.", allow_none=True)
    clawed = Amount("Of a refund in money: credits that would be taken back.", allow_none=True)
    spent = Amount("Credits that are spent already and would be let go.", allow_none=True)
    owed = Amount("Credits that are spent already and would become debt.", allow_none=True)
    left_today_before = Amount("Of the admin's daily total; null without limits.", allow_none=True)
    left_today_after = Amount(allow_none=True)
    lots = fields.List(
        fields.Nested(LotChange), allow_none=True, metadata={"description": "Those that would change, in burn order."}
    )


class Approval(Columns):
    approval_id = Id()
    user_id = Id("Whose account it is about.")
    action = Text("The function that an approval calls.")
    amount = Amount(allow_none=True)
    expires_at = Time("When granted credits expire.", allow_none=True)
    entry_no = Integer("The entry to reverse.", allow_none=True)
    tier = Text("The tier to change to.", allow_none=True)
    from_tier = Text("The tier at the request of a change of tier.", allow_none=True)
    stripe_refund = Flag("Whether a refund is in money.")
    payment_intent_id = Text(allow_none=True)
    grant_credits = Flag("Whether a refund in money grants credits as well.")
    owe_spent = Flag("Whether what is spent already becomes debt.")
    reason = Text("Of who asked.")
    status = Text("open, approved, declined, withdrawn or expired.")
    requested_by = Id()
    requested_at = Time()
    open_until = Time()
    decided_by = Id(allow_none=True)
    decided_at = Time(allow_none=True)
    decision_reason = Text(allow_none=True)
    action_id = Id("What an approval led to, in the admin log.", allow_none=True)


class ListedApproval(Approval):
    """One of several, as ListedPurchase."""


class Approvals(Columns):
    approvals = rows(ListedApproval)
    next_before = Id("Pass it as before to get the next page; null on the last one.", allow_none=True)


class ApprovalResult(Columns):
    success = Flag("Always true: a refusal is a problem document.")
    reason = Text("Always null.", allow_none=True)
    approval_id = Id()
    status = Text("open, approved, declined, withdrawn or expired.")
    action_id = Id("What an approval led to, in the admin log.", allow_none=True)
    entry_no = Integer("The ledger entry that it led to.", allow_none=True)
    amount = Amount(allow_none=True)
    balance_after = Amount(allow_none=True)
    refund_id = Id(allow_none=True)
    refund_status = Text("Of an approved refund: its status, as the refund has it.", allow_none=True)
    call_id = Id("The call to Stripe that a refund waits for.", allow_none=True)
    replayed = Flag("Whether it had been done before.")


class Admin(Columns):
    user_id = Id()
    role = Text("admin or super_admin.")
    granted_by = Id("Null for the first super admin.", allow_none=True)
    granted_at = Time(allow_none=True)
    max_credit_adjustment = Amount("At most at once; null: no limit.", allow_none=True)
    max_daily_total = Amount("At most on a UTC day; null: no limit.", allow_none=True)
    moved_today = Amount()
    left_today = Amount(allow_none=True)
    can_refund = Flag()
    approval_above = Amount("Above this, a second admin must approve.", allow_none=True)


class Admins(Columns):
    admins = rows(Admin)


class AdminAction(Columns):
    target_user_id = Id("The nil UUID for a change of the configuration.")
    action_id = Id()
    admin_user_id = Id("Null for the owner of the database.", allow_none=True)
    action = Text()
    amount = Amount("Credits asked for.", allow_none=True)
    reason = Text()
    details = Members(allow_none=True)
    outcome = Text("done, or the reason of the refusal.")
    created_at = Time()


class AccountSummary(Columns):
    user_id = Id()
    tier = Text()
    status = Text()
    role = Text()
    balance = Amount()
    held = Amount()
    available = Amount()
    debt = Amount()
    granted_total = Amount("What reversals gave back included.")
    spent_total = Amount("Usage, what was reversed included.")
    spent_today = Amount("Since midnight UTC.")
    spent_this_month = Amount("Since the first of the month, UTC.")
    live_grants = Integer()
    active_holds = Integer()
    next_expiry_at = Time(allow_none=True)
    last_grant_at = Time(allow_none=True)
    entry_count = Integer()
    created_at = Time()
    last_activity_at = Time(allow_none=True)
    taken_total = Amount("Negative adjustments, and what went back to the old system.")
    expired_total = Amount()
    recovered_total = Amount("Taken back with payments, or for debt.")


class Summary(AccountSummary):
    entries = rows(LedgerEntry)
    grants = rows(GrantLot)
    holds = rows(Hold)
    actions = rows(AdminAction)


class Accounts(Columns):
    users = rows(ListedAccount)
    next_after = Id("Pass it as after to get the next page; null on the last one.", allow_none=True)


class Actions(Columns):
    actions = rows(AdminAction)
    next_before = Id("Pass it as before to get the next page; null on the last one.", allow_none=True)


class Package(Columns):
    name = Text()
    amount = Amount("Credits.")
    price_cents = Integer("In US cents.")


class Packages(Columns):
    packages = rows(Package)


class Purchase(Columns):
    purchase_id = Id()
    user_id = Id()
    kind = Text("checkout, auto_top_up or migration.")
    amount = Amount("Credits.")
    price_cents = Integer("In US cents.")
    package = Text("Null for an amount of choice.", allow_none=True)
    status = Text("pending, open, processing, paid, failed or expired.")
    checkout_url = Text("Where the user pays.", allow_none=True)
    stripe_checkout_session_id = Text(allow_none=True)
    stripe_payment_intent_id = Text(allow_none=True)
    entry_no = Integer("The ledger entry that brought the credits.", allow_none=True)
    error = Text("Why it failed.", allow_none=True)
    created_at = Time()
    completed_at = Time("When the credits came.", allow_none=True)
    call_id = Id("The call to Stripe that it waits for.", allow_none=True)
    replayed = Flag("Whether this key had recorded it before.", allow_none=True)


class ListedPurchase(Purchase):
    """One of several: apispec describes a schema twice that it first meets inside another one."""


class Purchases(Columns):
    purchases = rows(ListedPurchase)
    next_before = Id("Pass it as before to get the next page; null on the last one.", allow_none=True)


class Checkout(Columns):
    checkout_id = Id()
    user_id = Id()
    tier = Text()
    billing_interval = Text("month or year.")
    status = Text("pending, open, complete, failed or expired.")
    checkout_url = Text("Where the user pays.", allow_none=True)
    stripe_checkout_session_id = Text(allow_none=True)
    created_at = Time()
    call_id = Id("The call to Stripe that it waits for.", allow_none=True)
    replayed = Flag("Whether this key had recorded it before.", allow_none=True)


class PortalSession(Columns):
    url = Text("Where the portal is, for some minutes.")


class Subscription(Columns):
    user_id = Id()
    stripe_subscription_id = Text(allow_none=True)
    tier = Text()
    next_tier = Text("The lower tier that begins with the next period.", allow_none=True)
    billing_interval = Text("month or year.", allow_none=True)
    status = Text("As Stripe names it: active, past_due, canceled and so on; none if there is none.")
    cancel_at_period_end = Flag()
    current_period_start = Time(allow_none=True)
    current_period_end = Time(allow_none=True)
    call_id = Id("The call to Stripe that it waits for.", allow_none=True)


class AutoTopUp(Columns):
    user_id = Id()
    enabled = Flag("Whether it charges.")
    threshold = Amount("It charges when fewer credits than these are available.", allow_none=True)
    package = Text("What it buys.", allow_none=True)
    monthly_cap = Amount("US dollars at most in a UTC calendar month.", allow_none=True)
    spent_this_month = Amount("US dollars.", allow_none=True)
    payment_method_id = Text("Null: the customer's default.", allow_none=True)
    disabled_reason = Text("Why it was turned off; null if the user did it.", allow_none=True)
    failures = Integer("Charges that failed since the last one that did not.", allow_none=True)
    retry_after = Time("No charge before this time.", allow_none=True)
    updated_at = Time(allow_none=True)


class LegacyCheck(Columns):
    can_run = Flag("Whether a call may run.")
    message = Text("OK, or why not.")
    tier = Text()
    monthly_limit = Amount("US dollars in a calendar month (UTC).")
    monthly_usage = Amount("What was used in this month.")
    remaining = Amount("What is left of the month.")
    bought_credit = Amount("What is left besides.")
    migrated = Flag("Whether all this is told from the account at /api/billing/v2.")


class LegacyModelUsage(Columns):
    model = Text("other: what was not priced by tokens.")
    calls = Integer()
    prompt_tokens = Integer()
    completion_tokens = Integer()
    cached_tokens = Integer()
    cost = Amount("US dollars.")


class LegacyUsage(Columns):
    month = Text("As 2025-01.")
    models = rows(LegacyModelUsage)
    total = Amount("What all models cost, in US dollars.")


class LegacySubscription(Columns):
    tier = Text()
    status = Text("As Stripe names it; none if there is none.")
    price_id = Text(allow_none=True)
    stripe_subscription_id = Text(allow_none=True)
    current_period_start = Time(allow_none=True)
    current_period_end = Time(allow_none=True)
    monthly_limit = Amount("US dollars in a calendar month (UTC).")
    migrated = Flag("Whether this is told from the account at /api/billing/v2.")


class LegacyCredit(Columns):
    balance = Amount("What is left, in US dollars.")
    total_purchased = Amount("All that was ever bought.")
    total_used = Amount("The rest of that.")
    migrated = Flag("Whether this is told from the account at /api/billing/v2.")


class LegacyCall(Columns):
    success = Flag("Always true: a refusal is a problem document.")
    reason = Text("Always null.", allow_none=True)
    cost = Amount("What the rate card says, in US dollars.")
    paid_from_credit = Amount("The part above the month's limit that bought credit paid for.")
    monthly_usage = Amount("What was used in this month.")
    remaining = Amount("What is left of the month.")
    bought_credit = Amount("What is left besides.")
    migrated = Flag("Whether the account at /api/billing/v2 paid.")
    replayed = Flag("Whether this key had recorded it before.")


class LegacyPurchase(Columns):
    purchase_id = Text()
    user_id = Id()
    amount = Amount("US dollars of credit.")
    price_cents = Integer("In US cents.", allow_none=True)
    status = Text("pending, completed, failed or refunded.")
    stripe_payment_intent_id = Text(allow_none=True)
    created_at = Time()
    completed_at = Time("When the credit came.", allow_none=True)
    migrated = Flag("Whether this is told from the account at /api/billing/v2.")
    replayed = Flag("Whether the payment had been recorded before.")


class ListedLegacyPurchase(LegacyPurchase):
    """One of several, as ListedPurchase."""


class LegacyPurchases(Columns):
    purchases = rows(ListedLegacyPurchase)
    next_before = Text("Pass it as before to get the next page; null on the last one.", allow_none=True)


class ReceivedEvent(Columns):
    event_id = Text()
    status = Text("pending, processed, ignored, or failed when it was given up.")


class RefundResult(Columns):
    success = Flag("Always true: a refusal is a problem document.")
    reason = Text("Always null.", allow_none=True)
    refund_id = Id()
    mode = Text("credits, money or both.")
    status = Text("requested, pending, requires_action, succeeded, failed or canceled.")
    amount = Amount("Credits, or US dollars.")
    stripe_refund_id = Text(allow_none=True)
    entry_no = Integer("The ledger entry that granted credits.", allow_none=True)
    clawed = Amount("Credits taken back, because the payment had bought them.")
    spent = Amount("Credits that were spent already and are let go.")
    owed = Amount("Credits that were spent already and became debt.")
    balance_after = Amount(allow_none=True)
    action_id = Id("Its row in the admin log.", allow_none=True)
    call_id = Id("The call to Stripe that it waits for.", allow_none=True)
    replayed = Flag("Whether this key had done it before.")


class Refund(Columns):
    refund_id = Id()
    user_id = Id("Null while the payment is not known.", allow_none=True)
    mode = Text("credits, money or both.")
    amount = Amount("Credits, or US dollars.")
    amount_cents = Integer("Money, in cents.", allow_none=True)
    payment_intent_id = Text(allow_none=True)
    stripe_refund_id = Text(allow_none=True)
    status = Text("requested, pending, requires_action, succeeded, failed or canceled.")
    requested_by = Id("The admin; null if it was made at Stripe.", allow_none=True)
    reason = Text(allow_none=True)
    entry_no = Integer("The ledger entry that granted credits.", allow_none=True)
    clawed = Amount("Credits taken back, because the payment had bought them.")
    spent = Amount("Credits that were spent already and are let go.")
    owed = Amount("Credits that were spent already and became debt.")
    error = Text("Why it failed.", allow_none=True)
    created_at = Time()
    updated_at = Time()


class Refunds(Columns):
    refunds = rows(Refund)
    next_before = Id("Pass it as before to get the next page; null on the last one.", allow_none=True)


class Payment(Columns):
    payment_intent_id = Text()
    user_id = Id()
    purchase_id = Id("What it paid; null for a subscription.", allow_none=True)
    amount_cents = Integer("What was paid, in cents.")
    currency = Text()
    refunded_cents = Integer("What refunds took of it.")
    lost_cents = Integer("What lost disputes took of it.")
    disputed = Flag("Whether a dispute of it is open.")
    bought = Amount("Credits that it bought.")
    reclaimed = Amount("Credits that go back because the money did.")
    clawed = Amount("The part of them that was taken back.")
    owed = Amount("The part of them that became debt.")
    created_at = Time()


class PaymentList(Columns):
    payments = rows(Payment)
    next_before = Text("Pass it as before to get the next page; null on the last one.", allow_none=True)


class StripeEvent(Columns):
    event_id = Text()
    type = Text()
    status = Text("pending, processed, ignored, or failed when it was given up.")
    attempts = Integer("How often applying it failed.")
    error = Text("Why it failed last.", allow_none=True)
    next_attempt_at = Time("When it is tried again.", allow_none=True)
    emitted_at = Time("When Stripe says it happened.")
    received_at = Time()
    processed_at = Time(allow_none=True)


class StripeEvents(Columns):
    events = rows(StripeEvent)


class Job(Columns):
    name = Text()
    function = Text("Null for what the worker does itself.", allow_none=True)
    schedule = Text("As in a crontab, in UTC.")
    batch_size = Integer()
    enabled = Flag()
    late_after = Text("How long it may go without success; an ISO 8601 duration.")
    description = Text()
    last_started_at = Time(allow_none=True)
    last_finished_at = Time(allow_none=True)
    last_outcome = Text("running, succeeded, failed or interrupted.", allow_none=True)
    last_rows = Integer("What the last run worked on.", allow_none=True)
    last_error = Text(allow_none=True)
    succeeded_at = Time("When the last run that succeeded began.", allow_none=True)
    problem = Text("late, failed or interrupted; null when all is well.", allow_none=True)


class Jobs(Columns):
    jobs = rows(Job)


class JobRun(Columns):
    run_id = Id()
    job = Text()
    started_at = Time()
    finished_at = Time(allow_none=True)
    outcome = Text("running, succeeded, failed or interrupted.")
    rows = Integer("What it worked on.")
    failures = Integer("What it could not do.")
    error = Text(allow_none=True)


class JobRuns(Columns):
    runs = rows(JobRun)
    next_before = Time("Pass it as before to get the next page; null on the last one.", allow_none=True)


class Alert(Columns):
    alert = Text("The view billing.alert_ and this.")
    rows = Integer("0 when all is well.")
    sample = Members("One of the rows.", allow_none=True)


class Alerts(Columns):
    alerts = rows(Alert)


class Checkpoint(Columns):
    checkpoint_id = Id()
    started_at = Time()
    finished_at = Time()
    accounts = Integer("How many were verified.")
    entries = Integer("How many entries they have.")
    balance = Amount("The sum of all balances.")
    findings = Integer("What is wrong with the ledger.")
    checkpoint_hash = Text("SHA-256 over the checkpoint before and all accounts' last entries.")


class Checkpoints(Columns):
    checkpoints = rows(Checkpoint)
    next_before = Id("Pass it as before to get the next page; null on the last one.", allow_none=True)


class Metric(Columns):
    name = Text()
    labels = Members()
    value = Amount("Of whatever the name says: credits, seconds, a count.")


class MetricList(Columns):
    metrics = rows(Metric)


class Health(Columns):
    status = Text()
