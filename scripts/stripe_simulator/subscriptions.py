"""Subscriptions: periods that renew, prices that change with or without proration, and how they end."""

from copy import deepcopy
from fractions import Fraction

from scripts.stripe_simulator import catalogue, invoices, methods, objects, payments
from scripts.stripe_simulator.clock import HOUR, later, period_end
from scripts.stripe_simulator.errors import ApiError, not_found, refused
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page, search
from scripts.stripe_simulator.store import JSON, Store, job

ENDED = ("canceled", "incomplete_expired")
PRORATIONS = ("create_prorations", "always_invoice", "none")
BEHAVIORS = ("allow_incomplete", "default_incomplete", "error_if_incomplete")
UPDATED = "customer.subscription.updated"


# Beginning


def create(store: Store, params: Params) -> JSON:
    customer = store.get("customer", params.needed("customer"), "customer")
    wanted = [_wanted(store, part) for part in params.each("items")]
    if not wanted:
        raise refused("Missing required param: items.", "items", "parameter_missing")
    values = _values(store, params, {})
    behavior = params.choice("payment_behavior", BEHAVIORS, "allow_incomplete")
    params.flag("off_session")
    params.choice("proration_behavior", PRORATIONS)
    params.done()
    item = build(store, customer, wanted) | values
    keep_prices(store, wanted)
    if item["cancel_at_period_end"]:
        _cancel_at_period_end(store, item, True)
    if behavior != "default_incomplete" and methods.default(store, item, customer) is None:
        raise ApiError(
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/"
            "payment-methods-setting#payment-method-priority.",
            code="resource_missing",
        )
    if behavior == "error_if_incomplete":
        _refuse_if_unpaid(store, item)
    begin(store, item, collecting=behavior != "default_incomplete")
    return item


def _refuse_if_unpaid(store: Store, item: JSON) -> None:
    method = methods.default(store, item, store.get("customer", item["customer"]))
    if method is not None and (error := payments.refusal(store, method, off_session=True)):
        raise error


def keep_prices(store: Store, wanted: list[JSON]) -> None:
    """The prices and products that a request made along the way, once it is known to be valid."""
    for each in wanted:
        for made in each["made"]:
            store.add(made)


def _wanted(store: Store, part: Params) -> JSON:
    """What one of `items` asks for."""
    key = part.text("price")
    made: list[JSON] = []
    if key is None and "price_data" in part:
        made = catalogue.inline_price(store, part.part("price_data"))
    price = made[-1] if made else None
    if key is not None:
        price = catalogue.active_price(store, key, part.name("price"))
    if price is not None and price["recurring"] is None:
        raise refused(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            part.name("price"),
        )
    return {
        "id": part.text("id"),
        "price": price,
        "made": made,
        "quantity": part.positive("quantity"),
        "metadata": part.metadata() if "metadata" in part else None,
        "deleted": part.flag("deleted"),
    }


def _values(store: Store, params: Params, current: JSON) -> JSON:
    values: JSON = {**params.texts_of("description"), "metadata": params.metadata(current.get("metadata"))}
    if "default_payment_method" in params:
        values["default_payment_method"] = store.known(
            "payment_method", params.text("default_payment_method"), "default_payment_method"
        )
    if "cancel_at_period_end" in params:
        values["cancel_at_period_end"] = params.flag("cancel_at_period_end")
    if "payment_settings" in params:
        part = params.part("payment_settings")
        saving = part.choice("save_default_payment_method", ["off", "on_subscription"], "off")
        values["payment_settings"] = {
            "payment_method_options": None,
            "payment_method_types": part.texts("payment_method_types") or None,
            "save_default_payment_method": saving,
        }
    params.choice("collection_method", ["charge_automatically"])
    return values


def build(store: Store, customer: JSON, wanted: list[JSON]) -> JSON:
    """An incomplete subscription, not yet kept."""
    now = store.clock.now()
    recurring = wanted[0]["price"]["recurring"]
    end = later(now, recurring["interval"], recurring["interval_count"])
    items = []
    for each in wanted:
        price = each["price"]
        if price["recurring"] != recurring or price["currency"] != wanted[0]["price"]["currency"]:
            raise ApiError("All prices of a subscription must have the same currency and interval.", param="items")
        item = objects.subscription_item(now, deepcopy(price), each["quantity"] or 1, now, end)
        item["metadata"] = each["metadata"] or {}
        items.append(item)
    return objects.subscription(now, customer["id"], items[0]["price"]["currency"], items)


def begin(
    store: Store, item: JSON, *, collecting: bool = True, method: JSON | None = None, off_session: bool = False
) -> ApiError | None:
    """Keep the subscription and make its first invoice; active when that is paid, incomplete when not."""
    store.add(item, pending=[])
    store.emit("customer.subscription.created", item)
    invoice = invoices.draft(store, item, [_period_line(item, each) for each in rows(item)], "subscription_create")
    invoices.finalize(store, invoice)
    error = invoices.collect(store, invoice, method=method, off_session=off_session) if collecting else None
    if item["status"] == "incomplete":
        store.schedule("subscription.expire", item["id"], store.clock.now() + 23 * HOUR)
    store.schedule("subscription.period_end", item["id"], end_of(item))
    return error


def rows(item: JSON) -> list[JSON]:
    """The subscription's items."""
    return item["items"]["data"]


def end_of(item: JSON) -> int:
    return min(each["current_period_end"] for each in rows(item))


def _period_line(item: JSON, row: JSON) -> JSON:
    amount = row["price"]["unit_amount"] * row["quantity"]
    text = f"{row['quantity']} x {row['price']['product']} (at {_money(row['price'])})"
    start, end = row["current_period_start"], row["current_period_end"]
    return objects.line_item(item["id"], row, amount=amount, start=start, end=end, text=text, proration=False)


def _money(price: JSON) -> str:
    return f"{price['unit_amount'] / 100:.2f} {price['currency']} / {price['recurring']['interval']}"


@job("subscription.expire")
def expire_due(store: Store, key: str, at: int) -> None:
    """A first payment that nobody completes in 23 hours."""
    item = store.get("subscription", key)
    if item["status"] == "incomplete":
        expire(store, item)


def expire(store: Store, item: JSON) -> None:
    invoice = store.get("invoice", item["latest_invoice"])
    if invoice["status"] == "open":
        invoices.void(store, invoice)
    with store.changing(item, UPDATED):
        item |= {"status": "incomplete_expired", "ended_at": store.clock.now()}


# Invoices that are paid, or are not


def heard(store: Store, invoice: JSON, outcome: str) -> None:
    """What an invoice's fate means for its subscription."""
    item = invoices.subscription_of(store, invoice)
    if item["status"] in ENDED:
        return
    if outcome == "paid":
        owing = [
            each
            for each in store.all("invoice")
            if each["status"] == "open" and each["parent"]["subscription_details"]["subscription"] == item["id"]
        ]
        with store.changing(item, UPDATED):
            if not owing or invoice["id"] == item["latest_invoice"]:
                item["status"] = "active"
            _keep_method(store, item, invoice)
    elif outcome == "given_up":
        end(store, item, "payment_failed")
    elif item["status"] != "incomplete":
        with store.changing(item, UPDATED):
            item["status"] = "past_due"


def _keep_method(store: Store, item: JSON, invoice: JSON) -> None:
    key = store.hidden[invoice["id"]]["payment_intent"]
    saving = item["payment_settings"]["save_default_payment_method"] == "on_subscription"
    if saving and item["default_payment_method"] is None and key is not None:
        item["default_payment_method"] = store.get("payment_intent", key)["payment_method"]


invoices.LISTENERS.append(heard)


# Renewing


@job("subscription.period_end")
def period_ends(store: Store, key: str, at: int) -> None:
    """The next period begins, or the subscription ends."""
    item = store.get("subscription", key)
    if item["status"] in (*ENDED, "incomplete") or end_of(item) != at:
        return
    if item["cancel_at"] is not None and item["cancel_at"] <= at:
        end(store, item, "cancellation_requested")
        return
    with store.changing(item, UPDATED):
        _next_period(item, at)
        lines = _pending(store, item) + [_period_line(item, row) for row in rows(item)]
        invoice = invoices.draft(store, item, lines, "subscription_cycle")
        invoices.finalize_later(store, invoice)
    store.schedule("subscription.period_end", key, end_of(item))


def _next_period(item: JSON, start: int) -> None:
    for row in rows(item):
        recurring = row["price"]["recurring"]
        row["current_period_start"] = start
        row["current_period_end"] = period_end(
            item["billing_cycle_anchor"], start, recurring["interval"], recurring["interval_count"]
        )


def _pending(store: Store, item: JSON) -> list[JSON]:
    """The prorations that wait for the next invoice; they are on it from here on."""
    lines, store.hidden[item["id"]]["pending"] = store.hidden[item["id"]]["pending"], []
    return lines


# Changing


def update(store: Store, params: Params, key: str) -> JSON:
    """Change prices, payment method, metadata, or whether it ends; a refused payment changes nothing with
    `payment_behavior=error_if_incomplete`."""
    item = store.get("subscription", key)
    wanted = [_wanted(store, part) for part in params.each("items")]
    values = _values(store, params, item)
    ending = values.pop("cancel_at_period_end", None)
    moment = params.integer("cancel_at") if "cancel_at" in params else None
    prorating = params.choice("proration_behavior", PRORATIONS, "create_prorations")
    behavior = params.choice("payment_behavior", BEHAVIORS, "allow_incomplete")
    anchor = params.choice("billing_cycle_anchor", ["now", "unchanged"], "unchanged")
    date = params.integer("proration_date", store.clock.now())
    details = params.part("cancellation_details").texts_of("comment", "feedback")
    params.flag("off_session")
    params.done()
    if item["status"] in ENDED and params.values.keys() - {"metadata", "cancellation_details"}:
        raise ApiError("A canceled subscription can only update its cancellation_details and metadata.")
    assert prorating is not None
    assert date is not None
    if behavior == "error_if_incomplete" and wanted:
        _refuse_if_unpaid(store, item | values)
    keep_prices(store, wanted)
    invoice = None
    with store.changing(item, UPDATED):
        item.update(values)
        item["cancellation_details"].update(details)
        if ending is not None:
            _cancel_at_period_end(store, item, ending)
        if "cancel_at" in params:
            item |= {"cancel_at": moment, "canceled_at": store.clock.now() if moment else None}
            if moment is not None:
                store.schedule("subscription.cancel_at", key, moment)
        if wanted or anchor == "now":
            invoice = _change_items(store, item, wanted, prorating, date, reset=anchor == "now")
    if invoice is not None:
        invoices.finalize(store, invoice)
        invoices.collect(store, invoice)
    return item


def _cancel_at_period_end(store: Store, item: JSON, ending: bool) -> None:
    if item["cancel_at_period_end"] == ending and (item["cancel_at"] is not None) == ending:
        return
    item["cancel_at_period_end"] = ending
    item["cancel_at"] = end_of(item) if ending else None
    item["canceled_at"] = store.clock.now() if ending else None
    item["cancellation_details"]["reason"] = "cancellation_requested" if ending else None


def _change_items(
    store: Store, item: JSON, wanted: list[JSON], prorating: str, date: int, *, reset: bool
) -> JSON | None:
    """Apply the wanted items; the answer is the draft that must be collected at once, if there is one."""
    before = {row["id"]: deepcopy(row) for row in rows(item)}
    for each in wanted:
        _apply(item, each)
    if not rows(item):
        raise ApiError("A subscription must have at least one active item.", param="items")
    recurring = rows(item)[0]["price"]["recurring"]
    if any(row["price"]["recurring"] != recurring for row in rows(item)):
        raise ApiError("All prices of a subscription must have the same currency and interval.", param="items")
    was = next(iter(before.values()))["price"]["recurring"]
    reset = reset or was != recurring
    lines = [] if prorating == "none" else _prorations(item, before, date, charging=not reset)
    if reset:
        now = store.clock.now()
        item["billing_cycle_anchor"] = now
        _next_period(item, now)
        store.schedule("subscription.period_end", item["id"], end_of(item))
        lines += [_period_line(item, row) for row in rows(item)]
    if item["cancel_at_period_end"]:
        item["cancel_at"] = end_of(item)
    if reset or (prorating == "always_invoice" and lines):
        return invoices.draft(store, item, _pending(store, item) + lines, "subscription_update")
    store.hidden[item["id"]]["pending"] += lines
    return None


def _apply(item: JSON, each: JSON) -> None:
    row = next((row for row in rows(item) if row["id"] == each["id"]), None)
    if each["id"] is not None and row is None:
        raise not_found("subscription_item", each["id"], "items")
    if row is None:
        if each["price"] is None:
            raise ApiError("An item needs a price, or the id of an item that is there.", param="items")
        if any(other["price"]["id"] == each["price"]["id"] for other in rows(item)):
            raise ApiError(
                f"Cannot add multiple subscription items with the same price: {each['price']['id']}", param="items"
            )
        first = rows(item)[0]
        start, end = first["current_period_start"], first["current_period_end"]
        row = objects.subscription_item(start, deepcopy(each["price"]), each["quantity"] or 1, start, end)
        row["subscription"] = item["id"]
        rows(item).append(row)
    elif each["deleted"]:
        rows(item).remove(row)
    elif each["price"] is not None:
        row |= {"price": deepcopy(each["price"]), "plan": objects.plan(each["price"])}
    if each["quantity"] is not None:
        row["quantity"] = each["quantity"]
    if each["metadata"] is not None:
        row["metadata"] = each["metadata"]


def _prorations(item: JSON, before: dict[str, JSON], date: int, *, charging: bool) -> list[JSON]:
    """Credit for the rest of the period at the old price, and with `charging` its cost at the new one."""
    after = {row["id"]: row for row in rows(item)}
    lines = []
    for key in before | after:
        old, new = before.get(key), after.get(key)
        same = old and new and (old["price"]["id"], old["quantity"]) == (new["price"]["id"], new["quantity"])
        if same and charging:
            continue
        if old is not None:
            lines.append(_rest_line(item, old, date, -1, "Unused time on"))
        if new is not None and charging:
            lines.append(_rest_line(item, new, date, 1, "Remaining time on"))
    return lines


def _rest_line(item: JSON, row: JSON, date: int, sign: int, text: str) -> JSON:
    start, end = row["current_period_start"], row["current_period_end"]
    rest = Fraction(max(end - date, 0), end - start)
    cost = row["price"]["unit_amount"] * row["quantity"] * rest
    amount = sign * int(cost + Fraction(1, 2))
    text = f"{text} {row['price']['product']}"
    return objects.line_item(item["id"], row, amount=amount, start=date, end=end, text=text, proration=True)


# Ending


@job("subscription.cancel_at")
def cancel_due(store: Store, key: str, at: int) -> None:
    item = store.get("subscription", key)
    if item["status"] not in ENDED and item["cancel_at"] == at:
        end(store, item, "cancellation_requested")


def cancel(store: Store, params: Params, key: str) -> JSON:
    """DELETE: at once; what is paid is not given back."""
    item = store.get("subscription", key)
    details = params.part("cancellation_details").texts_of("comment", "feedback")
    if params.flag("prorate") or params.flag("invoice_now"):
        raise refused("The simulator cancels without proration and without an invoice.", "prorate")
    params.done()
    if item["status"] in ENDED:
        raise not_found("subscription", key)
    item["cancellation_details"].update(details)
    end(store, item, "cancellation_requested")
    return item


def end(store: Store, item: JSON, reason: str) -> None:
    """The subscription is over; its drafts are not collected any more."""
    now = store.clock.now()
    item |= {"status": "canceled", "ended_at": now, "canceled_at": item["canceled_at"] or now}
    item["cancellation_details"]["reason"] = reason
    for invoice in store.all("invoice"):
        if invoice["parent"]["subscription_details"]["subscription"] == item["id"] and invoice["status"] != "paid":
            invoice |= {"auto_advance": False, "next_payment_attempt": None}
            if invoice["status"] == "draft":
                invoice["status"] = "void"
    store.emit("customer.subscription.deleted", item)


# Reading


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("subscription", key)


def list_all(store: Store, params: Params) -> JSON:
    """Without `status` those that are not canceled; with `all` all of them."""
    customer, price, status = params.text("customer"), params.text("price"), params.text("status")
    found = [
        item
        for item in store.all("subscription")
        if customer in (None, item["customer"])
        and (price is None or any(row["price"]["id"] == price for row in rows(item)))
        and (
            status in ("all", item["status"])
            or (status is None and item["status"] != "canceled")
            or (status == "ended" and item["status"] in ENDED)
        )
    ]
    return page(store, "subscription", "/v1/subscriptions", params, found)


def search_all(store: Store, params: Params) -> JSON:
    return search(store, "subscription", "/v1/subscriptions/search", params)


def list_items(store: Store, params: Params) -> JSON:
    key = params.needed("subscription")
    found = rows(store.get("subscription", key, "subscription"))
    return page(store, "subscription_item", "/v1/subscription_items", params, found[::-1])


def retrieve_item(store: Store, params: Params, key: str) -> JSON:
    params.done()
    for item in store.all("subscription"):
        for row in rows(item):
            if row["id"] == key:
                return row
    raise not_found("subscription_item", key)
