"""What an account should be: an eager ledger of one user, in plain Python.

Nothing is deferred here. A deduction walks the lots when it is made and notes which of them paid; an expiry and the end
of a hold happen at their own time, in the order of time. The methods have the names, arguments and answers of the SQL
API; what SQL raises is `Refused` with the same name. Amounts are Decimal, times are aware datetimes.

`Customer` is a user of the old system, who may move to an account and back.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any
from uuid import UUID

ZERO = Decimal(0)
NINTH_PLACE = Decimal("0.000000001")
FOREVER = datetime.max.replace(tzinfo=UTC)
PRIORITIES = {
    "tier_grant": 10, "trial_grant": 10, "adjustment": 50, "refund": 50, "promotion": 50, "reversal": 50,
    "purchase": 100, "migration": 100,
}  # fmt: skip


class Refused(Exception):
    """An exception of the SQL API, by its name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass
class Tier:
    """A tier: what it grants a month, by the first period that an amount counts for, and how long that lasts."""

    name: str
    amounts: dict[date, Decimal]
    expires_after: Callable[[datetime], datetime] | None = None
    rollover_cap: Decimal | None = None

    def amount(self, period: date) -> Decimal:
        """Credits for a period: the newest amount that is not ahead of it."""
        return self.amounts[max(start for start in self.amounts if start <= period)]


@dataclass
class Limits:
    """What one admin may move, and has moved."""

    largest: Decimal
    daily: Decimal
    day: date | None = None
    total: Decimal = ZERO


@dataclass
class Price:
    """US dollars per million tokens, and the factor that makes credits of them."""

    input: Decimal
    cached: Decimal
    output: Decimal
    multiplier: Decimal

    def cost(self, prompt: int, completion: int, cached: int) -> Decimal:
        """The exact cost, rounded up at the ninth place."""
        exact = (prompt - cached) * self.input + cached * self.cached + completion * self.output
        return (exact * self.multiplier / 1_000_000).quantize(NINTH_PLACE, ROUND_CEILING)


@dataclass
class Lot:
    """Credits that came together. A lapsed lot is past its expiry and lives on because holds need it."""

    grant_no: int
    source: str
    amount: Decimal
    remaining: Decimal
    priority: int
    expires_at: datetime | None
    granted_at: datetime
    entry_no: int
    reference: tuple[str | None, str | None]
    origin: str
    lapsed: bool = False

    @property
    def burn_order(self) -> tuple[int, datetime, int]:
        """Priority, then what expires soonest, then the oldest."""
        return self.priority, self.expires_at or FOREVER, self.grant_no


@dataclass
class Hold:
    """Credits reserved."""

    hold_id: UUID
    amount: Decimal
    expires_at: datetime
    created_at: datetime
    key: str | None
    status: str = "active"
    captured: Decimal = ZERO
    entry_no: int | None = None
    ended_at: datetime | None = None


@dataclass
class Entry:
    """A line of the ledger: the lots that paid for it, in the order in which they burned, or why it was refused."""

    entry_no: int
    type: str
    amount: Decimal
    balance_after: Decimal
    at: datetime
    operation: str
    key: str | None = None
    request: Any = None
    reference: tuple[str | None, str | None] = (None, None)
    actor: UUID | None = None
    grant_no: int | None = None
    reversed_entry_no: int | None = None
    refused: tuple[str, Decimal] | None = None
    funding: list[tuple[int, Decimal]] = field(default_factory=list)


class Account:
    """One user's account; `at(time)` moves it on, the other methods happen at its time."""

    def __init__(
        self, now: datetime, tier: str, tiers: dict[str, Tier], admins: dict[UUID, Limits], migrated: bool = False
    ) -> None:
        """Open the account, with the first grant of its tier; a migration brings what there is instead."""
        self.now = self.created_at = now
        self.tiers, self.tier = tiers, tier
        self.admins = admins
        self.prices: dict[str, Price] = {}
        self.grace = timedelta(days=7)
        self.status = "active"
        self.debt = ZERO
        self.lots: list[Lot] = []
        self.holds: list[Hold] = []
        self.entries: list[Entry] = []
        self.actions: list[tuple[str, Decimal | None, str]] = []
        self.last_grant_at: datetime | None = None
        self.next_period = now.date().replace(day=1)
        # Grants wait for a payment that is overdue.
        self.paused = migrated
        # What of a period counts as granted before an entry, whatever the lots before it were.
        self.counted: dict[date, tuple[Decimal, int]] = {}
        self.catch_up()

    # What there is.

    @property
    def balance(self) -> Decimal:
        return sum((lot.remaining for lot in self.lots), ZERO)

    @property
    def held(self) -> Decimal:
        return sum((hold.amount for hold in self.active_holds()), ZERO)

    @property
    def available(self) -> Decimal:
        return self.balance - self.held

    @property
    def used(self) -> Decimal:
        """All that was ever burned in burn order."""
        return sum((-entry.amount for entry in self.entries if is_burn(entry)), ZERO)

    def active_holds(self) -> list[Hold]:
        return [hold for hold in self.holds if hold.status == "active"]

    def live_lots(self) -> list[Lot]:
        """Lots with something left, in the order in which they burn."""
        return sorted((lot for lot in self.lots if lot.remaining > 0), key=lambda lot: lot.burn_order)

    def next_end(self) -> datetime | None:
        """The earliest time ahead at which a lot or a hold ends."""
        ends = [hold.expires_at for hold in self.active_holds()]
        ends += [lot.expires_at for lot in self.live_lots() if lot.expires_at is not None and not lot.lapsed]
        return min(ends, default=None)

    def burns(self) -> list[tuple[int, Decimal]]:
        """The usage axis: which lot paid for which stretch, neighbours of one lot joined."""
        return joined(part for entry in self.entries if is_burn(entry) for part in entry.funding)

    def balance_at(self, at: datetime) -> Decimal:
        """The balance at a time; one ahead tells what is left if nothing happens."""
        if at > self.now:
            ahead = copy.deepcopy(self)
            ahead.at(at)
            return ahead.balance
        return next((entry.balance_after for entry in reversed(self.entries) if entry.at <= at), ZERO)

    def gone(self, *types: str, since: datetime | None = None) -> Decimal:
        """What left the account by entries of some types."""
        entries = (entry for entry in self.entries if entry.type in types and (since is None or entry.at >= since))
        return sum((-entry.amount for entry in entries if entry.amount < 0), ZERO)

    def usage_by_month(self) -> list[tuple[datetime, Decimal, int, int]]:
        """For each UTC month with usage: the credits taken, the calls that took some, the calls that were refused."""
        usage = [entry for entry in self.entries if entry.type == "usage"]
        months = sorted({entry.at.replace(day=1, hour=0, minute=0, second=0, microsecond=0) for entry in usage})
        sums = []
        for month in months:
            amounts = [entry.amount for entry in usage if (entry.at.year, entry.at.month) == (month.year, month.month)]
            refused = sum(amount == 0 for amount in amounts)
            sums.append((month, -sum(amounts, ZERO), len(amounts) - refused, refused))
        return sums

    # Time.

    def at(self, now: datetime) -> None:
        """Let time pass: what comes due ends in the order of time, holds before lots."""
        while (end := self.next_end()) is not None and end <= now:
            self.now = end
            ending = [hold for hold in self.active_holds() if hold.expires_at == end]
            if ending:
                first = min(ending, key=lambda hold: hold.hold_id)
                first.status, first.ended_at = "expired", end
            else:
                due = [lot for lot in self.lots if lot.remaining > 0 and lot.expires_at == end and not lot.lapsed]
                min(due, key=lambda lot: lot.burn_order).lapsed = True
            self._expire_surplus()
        self.now = now

    def _expire_surplus(self) -> None:
        """Lapsed lots keep what the holds need, the first to lapse first; the rest of them expires."""
        room = self.held
        lapsed = [lot for lot in self.lots if lot.lapsed and lot.remaining > 0]
        for lot in sorted(lapsed, key=lambda lot: (lot.expires_at, lot.priority, lot.grant_no)):
            kept = min(lot.remaining, room)
            room -= kept
            if kept < lot.remaining:
                self._take(lot, lot.remaining - kept, "expiry", "settle_account")

    # Money.

    def _append(self, type: str, amount: Decimal, operation: str, **more: Any) -> Entry:
        entry = Entry(len(self.entries) + 1, type, amount, self.balance, self.now, operation, **more)
        self.entries.append(entry)
        return entry

    def _take(self, lot: Lot, amount: Decimal, type: str, operation: str) -> None:
        lot.remaining -= amount
        self._append(type, -amount, operation, grant_no=lot.grant_no, funding=[(lot.grant_no, amount)])

    def _burn(self, amount: Decimal, type: str, operation: str, **more: Any) -> Entry:
        """Walk the lots in burn order until the amount is paid."""
        assert amount <= self.balance
        funding, missing = [], amount
        for lot in self.live_lots():
            part = min(lot.remaining, missing)
            if part > 0:
                lot.remaining -= part
                missing -= part
                funding.append((lot.grant_no, part))
        return self._append(type, -amount, operation, funding=funding, **more)

    def _grant(
        self, type: str, source: str, lots: list[tuple[Decimal, int, datetime | None]], operation: str,
        origins: Iterable[str] = (), **more: Any,
    ) -> Entry:  # fmt: skip
        """One positive entry and its lots, which first came from the origins; each repays debt while there is any."""
        fresh = [
            Lot(
                len(self.lots) + 1 + number, source, amount, amount, priority, expires_at, self.now,
                len(self.entries) + 1, more.get("reference", (None, None)), origin,
            )
            for number, ((amount, priority, expires_at), origin) in enumerate(
                zip(lots, origins or [source] * len(lots), strict=True)
            )
        ]  # fmt: skip
        self.lots += fresh
        entry = self._append(type, sum((lot.amount for lot in fresh), ZERO), operation, **more)
        for lot in fresh:
            repaid = min(lot.amount, self.debt)
            if repaid > 0:
                self.debt -= repaid
                self._take(lot, repaid, "debt_repayment", operation)
        return entry

    def _replay(self, operation: str, key: str | None, request: Any) -> Entry | None:
        """The entry that has the key of this function, if the request is the same."""
        for entry in self.entries:
            if key is not None and (entry.operation, entry.key) == (operation, key):
                if entry.request != request:
                    raise Refused("idempotency_key_reused")
                return entry
        return None

    def _refusal(self, amount: Decimal) -> str | None:
        if self.status != "active":
            return f"account_{self.status}"
        if amount > self.available and self.next_period <= self.now.date() and not self.paused:
            # What the month owes comes first, whether the job has been there or not.
            self.catch_up()
        return "insufficient_credits" if amount > self.available else None

    # Spending.

    def grant_credits(
        self, amount: Decimal, source: str, expires_at: datetime | None = None, priority: int | None = None,
        reference: tuple[str | None, str | None] = (None, None), key: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        request = (amount, source, reference)
        entry = self._replay("grant_credits", key, request)
        replayed = entry is not None
        if entry is None:
            if self.status == "closed":
                raise Refused("account_closed")
            if expires_at is not None and expires_at <= self.now:
                raise Refused("expiry_not_ahead")
            priority = PRIORITIES[source] if priority is None else priority
            entry = self._grant(
                "adjustment" if source == "promotion" else source, source, [(amount, priority, expires_at)],
                "grant_credits", key=key, request=request, reference=reference,
            )  # fmt: skip
        return {
            "entry_no": entry.entry_no, "type": entry.type, "amount": entry.amount,
            "balance_after": entry.balance_after, "available": self.available, "replayed": replayed,
        }  # fmt: skip

    def deduct_credits(
        self, amount: Decimal, reference: tuple[str | None, str | None] = (None, None), key: str | None = None
    ) -> dict[str, Any]:
        return self._deduct("deduct_credits", lambda: amount, (amount, reference), reference, key)

    def deduct_tokens(
        self, model: str, prompt: int, completion: int, cached: int = 0, key: str | None = None
    ) -> dict[str, Any]:
        def cost() -> Decimal:
            if model not in self.prices:
                raise Refused("unknown_model")
            return self.prices[model].cost(prompt, completion, cached)

        return self._deduct("deduct_tokens", cost, (model, prompt, completion, cached), (None, None), key)

    def _deduct(
        self, operation: str, cost: Callable[[], Decimal], request: Any, reference: tuple[str | None, str | None],
        key: str | None,
    ) -> dict[str, Any]:  # fmt: skip
        if entry := self._replay(operation, key, request):
            return self._spent(entry, replayed=True)
        amount = cost()
        if refusal := self._refusal(amount):
            return self._refused(refusal, amount, operation, reference)
        if amount == 0:
            return self._spent(None)
        return self._spent(self._burn(amount, "usage", operation, key=key, request=request, reference=reference))

    def _spent(self, entry: Entry | None, replayed: bool = False) -> dict[str, Any]:
        return {
            "success": True, "entry_no": entry and entry.entry_no, "amount": -entry.amount if entry else ZERO,
            "balance_after": entry.balance_after if entry else self.balance, "available": self.available,
            "reason": None, "replayed": replayed,
        }  # fmt: skip

    def _refused(
        self, reason: str, asked: Decimal, operation: str, reference: tuple[str | None, str | None]
    ) -> dict[str, Any]:
        """A refusal moves nothing, binds no key, and leaves an entry of 0 that says what was asked."""
        entry = self._append("usage", ZERO, operation, reference=reference, refused=(reason, asked))
        return {
            "success": False, "entry_no": entry.entry_no, "amount": ZERO, "balance_after": self.balance,
            "available": self.available, "reason": reason, "replayed": False,
        }  # fmt: skip

    def deduct_credits_batch(self, items: list[tuple[Decimal, str | None]]) -> list[dict[str, Any]]:
        """Each item on its own terms; one that would raise is a failure with that name."""
        results = []
        for amount, key in items:
            try:
                results.append(self.deduct_credits(amount, key=key))
            except Refused as refused:
                nothing = {"entry_no": None, "amount": ZERO, "balance_after": None, "available": None}
                results.append({"success": False, "reason": refused.name, "replayed": False, **nothing})
        return results

    # Holds.

    def hold_credits(
        self, amount: Decimal, expires_in: timedelta, key: str | None = None, hold_id: UUID | None = None
    ) -> dict[str, Any]:
        """`hold_id` is the id that the database chose."""
        hold = next((hold for hold in self.holds if key is not None and hold.key == key), None)
        replayed = hold is not None
        if hold is not None and hold.amount != amount:
            raise Refused("idempotency_key_reused")
        if hold is None and (refusal := self._refusal(amount)):
            self._append("usage", ZERO, "hold_credits", refused=(refusal, amount))
            nothing = {"hold_id": None, "expires_at": None, "amount": ZERO, "available": self.available}
            return {"success": False, "reason": refusal, "replayed": False, **nothing}
        if hold is None:
            assert hold_id is not None, "the database placed no hold"
            hold = Hold(hold_id, amount, self.now + expires_in, self.now, key)
            self.holds.append(hold)
        return {
            "success": True, "hold_id": hold.hold_id, "amount": hold.amount, "expires_at": hold.expires_at,
            "available": self.available, "reason": None, "replayed": replayed,
        }  # fmt: skip

    def capture_hold(self, hold_id: UUID, amount: Decimal, key: str | None = None) -> dict[str, Any]:
        reference = ("hold", str(hold_id))
        if entry := self._replay("capture_hold", key, (hold_id, amount)):
            return self._spent(entry, replayed=True)
        hold = next(hold for hold in self.holds if hold.hold_id == hold_id)
        if hold.status == "captured":
            raise Refused("hold_not_active")
        # Only what the hold does not cover is asked for, and has to be refused or not.
        beyond = amount - hold.amount if hold.status == "active" else amount
        if beyond > 0 and (refusal := self._refusal(beyond)):
            return self._refused(refusal, amount, "capture_hold", reference)
        entry = self._burn(amount, "usage", "capture_hold", key=key, request=(hold_id, amount), reference=reference)
        hold.status, hold.captured, hold.entry_no, hold.ended_at = "captured", amount, entry.entry_no, self.now
        self._expire_surplus()
        return self._spent(entry)

    def release_hold(self, hold_id: UUID) -> dict[str, Any]:
        hold = next(hold for hold in self.holds if hold.hold_id == hold_id)
        if hold.status == "active":
            hold.status, hold.ended_at = "released", self.now
            self._expire_surplus()
        return {"hold_id": hold_id, "status": hold.status, "amount": hold.amount, "captured": hold.captured}

    # Admins.

    def _authorize(self, actor: UUID, amount: Decimal = ZERO) -> str | None:
        limits = self.admins.get(actor)
        if limits is None:
            return "not_an_admin"
        if limits.day != self.now.date():
            limits.day, limits.total = self.now.date(), ZERO
        over = amount > limits.largest or limits.total + amount > limits.daily
        return "admin_limit_exceeded" if over else None

    def _admin_answer(
        self, action: str, asked: Decimal | None, refusal: str | None, entry: Entry | None = None
    ) -> dict[str, Any]:
        """The answer, with its row in the admin log."""
        self.actions.append((action, asked, refusal or "done"))
        return {
            "success": refusal is None, "reason": refusal, "entry_no": entry and entry.entry_no,
            "amount": entry.amount if entry else ZERO,
            "balance_after": entry.balance_after if entry else self.balance, "replayed": False,
        }  # fmt: skip

    def _admin_replay(self, entry: Entry) -> dict[str, Any]:
        return {
            "success": True, "reason": None, "entry_no": entry.entry_no, "amount": entry.amount,
            "balance_after": entry.balance_after, "replayed": True,
        }  # fmt: skip

    def adjust_credits(self, actor: UUID, amount: Decimal, key: str | None = None) -> dict[str, Any]:
        return self._move("adjust_credits", actor, amount, None, key)

    def admin_grant_credits(
        self, actor: UUID, amount: Decimal, expires_at: datetime | None = None, key: str | None = None
    ) -> dict[str, Any]:
        return self._move("admin_grant_credits", actor, amount, expires_at, key)

    def _move(
        self, operation: str, actor: UUID, amount: Decimal, expires_at: datetime | None, key: str | None
    ) -> dict[str, Any]:
        request = (actor, amount, expires_at)
        if entry := self._replay(operation, key, request):
            return self._admin_replay(entry)
        if expires_at is not None and expires_at <= self.now:
            raise Refused("expiry_not_ahead")
        refusal = self._authorize(actor, abs(amount))
        if refusal is None and self.status == "closed":
            refusal = "account_closed"
        if refusal is None and self.available + amount < 0:
            refusal = "insufficient_credits"
        if refusal is not None:
            return self._admin_answer(operation, amount, refusal)
        self.admins[actor].total += abs(amount)
        more = {"key": key, "request": request, "actor": actor}
        if amount > 0:
            lots = [(amount, PRIORITIES["adjustment"], expires_at)]
            entry = self._grant("adjustment", "adjustment", lots, operation, **more)
        else:
            entry = self._burn(-amount, "adjustment", operation, **more)
        return self._admin_answer(operation, amount, None, entry)

    def reverse_entry(self, actor: UUID, entry_no: int, key: str | None = None) -> dict[str, Any]:
        request = (actor, entry_no)
        if entry := self._replay("reverse_entry", key, request):
            return self._admin_replay(entry)
        if refusal := self._authorize(actor):
            return self._admin_answer("reverse_entry", None, refusal)
        if not 1 <= entry_no <= len(self.entries):
            raise Refused("entry_not_found")
        burnt = self.entries[entry_no - 1]
        if not is_burn(burnt):
            raise Refused("entry_not_reversible")
        if any(entry.reversed_entry_no == entry_no for entry in self.entries):
            raise Refused("already_reversed")
        refusal = self._authorize(actor, -burnt.amount)
        if refusal is None and self.status == "closed":
            refusal = "account_closed"
        if refusal is not None:
            return self._admin_answer("reverse_entry", -burnt.amount, refusal)
        self.admins[actor].total += -burnt.amount
        lots, origins = [], []
        for grant_no, amount in burnt.funding:
            lot = self.lots[grant_no - 1]
            origins.append(lot.origin)
            gone = lot.expires_at is not None and lot.expires_at <= self.now
            lots.append((amount, lot.priority, self.now + self.grace if gone else lot.expires_at))
        entry = self._grant(
            "reversal", "reversal", lots, "reverse_entry", origins, key=key, request=request, actor=actor,
            reference=("entry", str(entry_no)), reversed_entry_no=entry_no,
        )  # fmt: skip
        return self._admin_answer("reverse_entry", -burnt.amount, None, entry)

    def set_account_status(self, actor: UUID, status: str) -> dict[str, Any]:
        refusal = self._authorize(actor)
        if refusal is None and status == "closed" and self.held > 0:
            refusal = "account_has_holds"
        if refusal is None:
            if self.status == "closed" and status != "closed":
                # What a closed account missed is not granted when it is open again.
                self.next_period = max(self.next_period, self.now.date().replace(day=1))
            self.status = status
            if status == "active":
                self.catch_up()
        return self._admin_answer("set_account_status", None, refusal)

    # Tiers.

    def change_tier(self, actor: UUID, tier: str) -> dict[str, Any]:
        period = self.now.date().replace(day=1)
        had = self._granted(period)
        owed = self.tiers[self.tier].amount(period) if self.next_period <= period else ZERO
        upgrade = max(ZERO, self.tiers[tier].amount(period) - max(had, owed))
        refusal = self._authorize(actor, upgrade)
        if refusal is None and self.status == "closed":
            refusal = "account_closed"
        entry = None
        if refusal is None:
            self.admins[actor].total += upgrade
            self.catch_up()
            self.tier = tier
            entry = None if self.paused else self._grant_tier(self.now.date().replace(day=1), actor)
        return self._admin_answer("change_tier", upgrade or None, refusal, entry)

    def _granted(self, period: date) -> Decimal:
        """The tier grants that a period has had."""
        name = f"{period:%Y-%m}"
        counted, since = self.counted.get(period, (ZERO, 0))
        lots = [lot for lot in self.lots if lot.source == "tier_grant" and lot.reference[1] == name]
        return counted + sum((lot.amount for lot in lots if lot.entry_no > since), ZERO)

    def catch_up(self) -> None:
        """A grant for every period up to the current one that has had none, at the tier of today."""
        while self.next_period <= self.now.date() and not self.paused:
            self._grant_tier(self.next_period)
            self.next_period = next_month(self.next_period)

    def _grant_tier(self, period: date, actor: UUID | None = None) -> Entry | None:
        """What is missing up to the tier's amount, unless it would be expired already."""
        tier = self.tiers[self.tier]
        name = f"{period:%Y-%m}"
        before = self._granted(period)
        missing = tier.amount(period) - before
        expires_at = tier.expires_after and tier.expires_after(datetime(period.year, period.month, 1, tzinfo=UTC))
        if missing <= 0 or (expires_at is not None and expires_at <= self.now):
            return None
        if before == 0 and tier.rollover_cap is not None:
            self._cap(tier.rollover_cap)
        self.last_grant_at = self.now
        return self._grant(
            "tier_grant", "tier_grant", [(missing, PRIORITIES["tier_grant"], expires_at)], "grant_tier_credits",
            reference=("period", name), actor=actor,
        )  # fmt: skip

    def _cap(self, cap: Decimal) -> None:
        """Unspent tier credits above the cap expire, those that would burn first, but not what holds need."""
        lots = [lot for lot in self.live_lots() if lot.origin == "tier_grant"]
        excess = min(sum((lot.remaining for lot in lots), ZERO) - cap, self.available)
        for lot in lots:
            part = min(lot.remaining, excess)
            if part > 0:
                excess -= part
                self._take(lot, part, "expiry", "grant_tier_credits")

    # Moving.

    def bring(
        self, tier: str, paused: bool, counted: Decimal, lots: list[tuple[str, Decimal, tuple[str, str | None]]]
    ) -> None:
        """What a migration grants: lots of their sources, those of the tier until the month ends."""
        period = self.now.date().replace(day=1)
        self.status, self.tier, self.paused = "active", tier, paused
        self.next_period = period if paused else next_month(period)
        for source, amount, reference in lots:
            end = datetime.combine(next_month(period), datetime.min.time(), UTC) if source == "tier_grant" else None
            self._grant("migration", source, [(amount, PRIORITIES[source], end)], "migrate_users", reference=reference)
        self.counted[period] = (counted, len(self.entries))

    def hand_over(self) -> tuple[Decimal, Decimal]:
        """All that is left, as the rest of the month's credits and as everything else; the account is closed."""
        for hold in self.active_holds():
            hold.status, hold.ended_at = "released", self.now
        self._expire_surplus()
        self.catch_up()
        ends = datetime.combine(next_month(self.now.date().replace(day=1)), datetime.min.time(), UTC)
        allowance = credit = ZERO
        for lot in self.live_lots():
            amount = lot.remaining
            monthly = lot.origin == "tier_grant" and (lot.expires_at or FOREVER) <= ends
            if monthly and self.next_period > self.now.date():
                allowance += amount
            else:
                credit += amount
            self._take(lot, amount, "rollback", "rollback_users")
        self.status = "closed"
        return allowance, credit

    def complete_purchase(self, amount: Decimal, payment: str) -> None:
        lots = [(amount, PRIORITIES["purchase"], None)]
        self._grant("purchase", "purchase", lots, "complete_purchase", reference=("payment_intent", payment))


@dataclass
class OldPurchase:
    """A purchase of credit that both systems know in the end; `bought_at` is when it was paid, or begun."""

    purchase_id: str
    amount: Decimal
    status: str
    bought_at: datetime


@dataclass
class Subscription:
    """A subscription of the old system: its tier, and what its plan allows in a month."""

    tier: str
    limit: Decimal
    status: str

    @property
    def paid(self) -> bool:
        return self.status in ("active", "trialing")

    @property
    def live(self) -> bool:
        return self.paid or self.status in ("past_due", "unpaid", "paused")


@dataclass
class Customer:
    """A user of the old system, with the account if there is one: one of the two has what the user owns."""

    now: datetime
    tiers: dict[str, Tier]
    free_limit: Decimal
    subscriptions: list[Subscription]
    usage: list[tuple[datetime, Decimal]]
    purchases: list[OldPurchase]
    credit: Decimal
    admins: dict[UUID, Limits] = field(default_factory=dict)
    account: Account | None = None
    lives_here: bool = False
    # The account's last entry when its user came, and the time at which they went back.
    moved_at: int = 0
    moved_back: datetime | None = None

    @property
    def period(self) -> date:
        return self.now.date().replace(day=1)

    @property
    def limit(self) -> Decimal:
        """The highest limit that is paid for; that of a free user without one."""
        limits = [each.limit if each.paid else self.free_limit for each in self.subscriptions]
        return max(limits, default=self.free_limit)

    @property
    def used(self) -> Decimal:
        """Usage of the calendar month in the old system."""
        start = datetime.combine(self.period, datetime.min.time(), UTC)
        end = datetime.combine(next_month(self.period), datetime.min.time(), UTC)
        return sum((cost for at, cost in self.usage if start <= at < end), ZERO)

    @property
    def remaining(self) -> Decimal:
        return max(ZERO, self.limit - self.used)

    @property
    def bought(self) -> Decimal:
        return sum((each.amount for each in self.purchases if each.status == "completed"), ZERO)

    def at(self, now: datetime) -> None:
        self.now = now
        if self.account is not None:
            self.account.at(now)

    def legacy_track(self, cost: Decimal) -> tuple[bool, Decimal]:
        """Whether it was recorded, and what of it bought credit paid in the old system."""
        if self.lives_here:
            answer = self.account._deduct("deduct_tokens", lambda: cost, None, (None, None), None)
            return answer["success"], ZERO
        paid = min(max(ZERO, cost - self.remaining), self.credit)
        self.credit -= paid
        self.usage.append((self.now, cost))
        return True, paid

    def legacy_record_purchase(self, purchase_id: str, amount: Decimal, payment: str) -> None:
        """A payment that nobody knew."""
        self.purchases.append(OldPurchase(purchase_id, amount, "completed", self.now))
        if self.lives_here:
            self.account.complete_purchase(amount, payment)
        else:
            self.credit += amount

    def migrate(self) -> None:
        """The rest of the month, what is left of the newest purchases, and what no purchase explains."""
        ranks = list(self.tiers)
        live = [each for each in self.subscriptions if each.live]
        best = max(live, key=lambda each: (each.paid, ranks.index(each.tier)), default=None)
        tier = best.tier if best else "free"
        paused = best is not None and not best.paid
        monthly = self.tiers[tier].amount(self.period)
        left, lots = self.credit, []
        for each in sorted(self.purchases, key=lambda each: (each.bought_at, each.purchase_id), reverse=True):
            part = min(each.amount, left) if each.status == "completed" else ZERO
            if part > 0:
                lots.insert(0, ("purchase", part, ("legacy_purchase", each.purchase_id)))
            left -= part
        if left > 0:
            lots.append(("migration", left, ("legacy_credit", None)))
        # What a rollback has left to this month is exact, whatever the plan of the old system gives in one.
        back = self.moved_back is not None and self.moved_back.date() >= self.period
        rest = ZERO if paused else max(ZERO, (self.limit if back else monthly) - self.used)
        if rest > 0:
            lots.insert(0, ("tier_grant", rest, ("period", f"{self.period:%Y-%m}")))
        if self.account is None:
            self.account = Account(self.now, tier, self.tiers, self.admins, migrated=True)
        counted = max(ZERO, min(self.used, monthly)) if paused else max(monthly, self.account._granted(self.period))
        self.account.bring(tier, paused, counted, lots)
        self.lives_here, self.moved_at = True, len(self.account.entries)

    def roll_back(self) -> str | None:
        """The old system's usage becomes what leaves the same rest of the month. Why it is refused, if it is.

        A month that waits for a payment is owed by the old system as it was: calls were paid from other credits.
        """
        if self.account.status != "active":
            return f"account_{self.account.status}"
        before = self.used
        allowance, self.credit = self.account.hand_over()
        self.lives_here, self.moved_back = False, self.now
        entries = self.account.entries
        reversed_numbers = {entry.reversed_entry_no for entry in entries}
        self.usage += [
            (entry.at, -entry.amount)
            for entry in entries[self.moved_at :]
            if entry.type == "usage" and entry.amount < 0 and entry.entry_no not in reversed_numbers
        ]
        granted = self.account.next_period > self.period
        if granted and self.remaining != allowance:
            self.usage.append((self.now, self.limit - allowance - self.used))
        elif not granted:
            self.usage.append((self.now, before - self.used))
        return None


def is_burn(entry: Entry) -> bool:
    """Whether an entry burned lots in their order: usage, or a negative adjustment."""
    return entry.type in ("usage", "adjustment") and entry.amount < 0


def joined(parts: Iterable[tuple[int, Decimal]]) -> list[tuple[int, Decimal]]:
    """Stretches of lots, with neighbours of the same lot made one."""
    result: list[tuple[int, Decimal]] = []
    for grant_no, amount in parts:
        if result and result[-1][0] == grant_no:
            amount += result.pop()[1]
        result.append((grant_no, amount))
    return result


def next_month(day: date) -> date:
    """The first day of the month after."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
