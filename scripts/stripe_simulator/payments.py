"""Payment intents and setup intents, and the charges they make."""

from collections.abc import Callable

from scripts.stripe_simulator import balance, disputes, methods, objects
from scripts.stripe_simulator.errors import ApiError, declined, refused
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page, search
from scripts.stripe_simulator.store import JSON, Store

TEXTS = (
    "description",
    "receipt_email",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
# The smallest amount Stripe charges, in the smallest unit; 50 cents or about as much.
MINIMUM = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50}
MAXIMUM = 99_999_999
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
# Whoever made an intent hears when it is paid.
LISTENERS: list[Callable[[Store, JSON], None]] = []
REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")


# Payment intents


def create(store: Store, params: Params) -> JSON:
    amount, currency = params.positive("amount", required=True), params.needed("currency").lower()
    assert amount is not None
    check_amount(amount, currency)
    item = objects.payment_intent(store.clock.now(), amount, currency)
    item.update(_values(store, params, item))
    item["capture_method"] = params.choice("capture_method", ["automatic", "automatic_async", "manual"], "automatic")
    item["confirmation_method"] = params.choice("confirmation_method", ["automatic", "manual"], "automatic")
    confirming, options = params.flag("confirm"), _confirmation(params)
    params.done()
    if options["off_session"] and not confirming:
        raise refused("You cannot set off_session to true when confirm is false.", "off_session")
    source = methods.resolve(store, item["payment_method"], "payment_method") if item["payment_method"] else None
    if source is not None:
        check_owner(item, source)
        item["payment_method"] = source["id"]
        item["status"] = "requires_confirmation"
    store.add(item, set_up=False)
    store.emit("payment_intent.created", item)
    if confirming:
        confirm_now(store, item, options)
    return item


def check_amount(amount: int, currency: str) -> None:
    if amount < MINIMUM.get(currency, 50):
        raise refused(
            "Amount must convert to at least 50 cents." if currency != "usd" else "Amount must be at least $0.50 usd",
            "amount",
            "amount_too_small",
        )
    if amount > MAXIMUM:
        raise refused("Amount must be no more than $999,999.99", "amount", "amount_too_large")


def check_owner(intent: JSON, method: JSON) -> None:
    """A method that belongs to somebody pays for nobody else."""
    if method["customer"] not in (None, intent["customer"]):
        raise ApiError(
            "The provided PaymentMethod belongs to another Customer; provide that Customer, or another PaymentMethod.",
            param="payment_method",
            code="payment_method_customer_mismatch",
        )


def _values(store: Store, params: Params, current: JSON) -> JSON:
    values: JSON = {**params.texts_of(*TEXTS), "metadata": params.metadata(current["metadata"])}
    if "customer" in params:
        values["customer"] = store.known("customer", params.text("customer"), "customer")
    if "payment_method" in params:
        values["payment_method"] = params.text("payment_method")
    params.texts("allowed_payment_method_types")
    if "automatic_payment_methods" in params:
        part = params.part("automatic_payment_methods")
        values["automatic_payment_methods"] = {
            "allow_redirects": part.choice("allow_redirects", ["always", "never"], "always"),
            "enabled": part.flag("enabled"),
        }
    return values


def _confirmation(params: Params) -> JSON:
    """What only a confirmation knows."""
    return {
        "off_session": params.text("off_session") not in (None, "false"),
        "error_on_requires_action": params.flag("error_on_requires_action"),
        "return_url": params.text("return_url"),
    }


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.text("client_secret")
    params.done()
    return store.get("payment_intent", key)


def update(store: Store, params: Params, key: str) -> JSON:
    item = store.get("payment_intent", key)
    values = _values(store, params, item)
    if "amount" in params:
        values["amount"] = params.positive("amount", required=True)
        check_amount(values["amount"], item["currency"])
    params.done()
    if item["status"] not in OPEN and values.keys() - {"metadata", "description", "receipt_email"}:
        raise unexpected(item, "updated")
    if values.get("payment_method"):
        method = methods.resolve(store, values["payment_method"], "payment_method")
        check_owner(item | values, method)
        values |= {"payment_method": method["id"], "status": "requires_confirmation"}
    item.update(values)
    return item


def unexpected(item: JSON, done: str) -> ApiError:
    return ApiError(
        f"This PaymentIntent's status is {item['status']}, so it can't be {done}.",
        code="payment_intent_unexpected_state",
        payment_intent=item,
    )


def confirm(store: Store, params: Params, key: str) -> JSON:
    item = store.get("payment_intent", key)
    method = params.text("payment_method")
    values = params.texts_of("receipt_email", "setup_future_usage")
    options = _confirmation(params)
    params.done()
    if item["status"] not in OPEN:
        raise unexpected(item, "confirmed")
    if method is not None:
        source = methods.resolve(store, method, "payment_method")
        check_owner(item, source)
        item["payment_method"] = source["id"]
    item.update(values)
    confirm_now(store, item, options)
    return item


def confirm_now(store: Store, item: JSON, options: JSON) -> None:
    """Try to pay; raises 402, with the intent in it, when the card says no."""
    if item["payment_method"] is None:
        raise ApiError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
            payment_intent=item,
        )
    if error := attempt(store, item, off_session=options["off_session"], return_url=options["return_url"]):
        raise error
    if item["status"] == "requires_action" and options["error_on_requires_action"]:
        raise fail(store, item, "authentication_required")


def attempt(store: Store, item: JSON, *, off_session: bool, return_url: str | None = None) -> ApiError | None:
    """Charge the intent's card; the error is what the caller may raise, everything else is on the intent."""
    method = store.get("payment_method", item["payment_method"])
    hidden, card = store.hidden[method["id"]], methods.card_of(store, method)
    asks = card.authentication == "always" or (card.authentication == "once" and not hidden["set_up"])
    if asks and off_session:
        return fail(store, item, "authentication_required")
    if asks:
        item["status"] = "requires_action"
        item["next_action"] = {
            "redirect_to_url": {"return_url": return_url, "url": f"{store.url}/3ds/{item['id']}"},
            "type": "redirect_to_url",
        }
        store.emit("payment_intent.requires_action", item)
        return None
    return settle(store, item)


def refusal(store: Store, method: JSON, *, off_session: bool) -> ApiError | None:
    """What an attempt to charge the card would say; nothing happens."""
    hidden, card = store.hidden[method["id"]], methods.card_of(store, method)
    if card.authentication == "always" or (card.authentication == "once" and not hidden["set_up"]):
        return declined("authentication_required") if off_session else None
    code = hidden["decline"] or card.on_charge
    return declined(code, payment_method=dict(method)) if code else None


def settle(store: Store, item: JSON) -> ApiError | None:
    """Ask the bank, with authentication out of the way."""
    method = store.get("payment_method", item["payment_method"])
    decline = store.hidden[method["id"]]["decline"] or methods.card_of(store, method).on_charge
    item["next_action"] = None
    if decline is not None:
        return fail(store, item, decline)
    succeed(store, item)
    return None


def fail(store: Store, item: JSON, decline_code: str) -> ApiError:
    """A failed charge, and the intent back where a payment method is asked for."""
    method = store.get("payment_method", item["payment_method"])
    charge = objects.charge(store.clock.now(), item, method)
    code, reason = declined(decline_code).error["code"], declined(decline_code).error["message"]
    charge |= {
        "amount_captured": 0,
        "captured": False,
        "failure_code": code,
        "failure_message": reason,
        "paid": False,
        "status": "failed",
    }
    charge["outcome"] |= {
        "network_decline_code": decline_code,
        "network_status": "declined_by_network",
        "reason": decline_code,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }
    store.add(charge)
    error = declined(decline_code, charge=charge["id"], payment_method=dict(method))
    item |= {
        "status": "requires_payment_method",
        "latest_charge": charge["id"],
        "last_payment_error": dict(error.error),
        "next_action": None,
        "payment_method": None,
        "processing": None,
    }
    store.emit("charge.failed", charge)
    store.emit("payment_intent.payment_failed", item)
    error.error["payment_intent"] = item
    return error


def succeed(store: Store, item: JSON) -> JSON:
    """The charge of an intent that the bank accepts: captured, or waiting for the capture."""
    method = store.get("payment_method", item["payment_method"])
    charge = objects.charge(store.clock.now(), item, method)
    charge["receipt_url"] = f"{store.url}/receipts/{charge['id']}"
    store.add(charge)
    item |= {"latest_charge": charge["id"], "last_payment_error": None, "next_action": None, "processing": None}
    if item["setup_future_usage"] and item["customer"]:
        methods.put(store, method, store.get("customer", item["customer"]))
        store.hidden[method["id"]]["set_up"] = True
    if item["capture_method"] == "manual":
        charge |= {"captured": False, "amount_captured": 0}
        item |= {"status": "requires_capture", "amount_capturable": item["amount"]}
        store.emit("charge.succeeded", charge)
        store.emit("payment_intent.amount_capturable_updated", item)
        return charge
    _receive(store, item, charge, item["amount"])
    store.emit("charge.succeeded", charge)
    store.emit("payment_intent.succeeded", item)
    status = methods.card_of(store, method).dispute
    if status is not None:
        disputes.open_dispute(store, charge, reason="fraudulent", status=status)
    for listener in LISTENERS:
        listener(store, item)
    return charge


def _receive(store: Store, item: JSON, charge: JSON, amount: int) -> None:
    fee = round(amount * 0.029) + 30
    charge["balance_transaction"] = balance.book(store, "charge", charge, amount, fee)["id"]
    charge |= {"captured": True, "amount_captured": amount}
    item |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}


def capture(store: Store, params: Params, key: str) -> JSON:
    item = store.get("payment_intent", key)
    amount = params.positive("amount_to_capture")
    metadata = params.metadata(item["metadata"])
    params.done()
    if item["status"] != "requires_capture":
        raise unexpected(item, "captured")
    amount = item["amount"] if amount is None else amount
    if amount > item["amount_capturable"]:
        raise ApiError(
            "The amount to capture is greater than the amount that can be captured.",
            param="amount_to_capture",
            code="amount_too_large",
        )
    item["metadata"] = metadata
    charge = store.get("charge", item["latest_charge"])
    _receive(store, item, charge, amount)
    # What is not captured goes back to the card.
    charge["amount_refunded"] = charge["amount"] - amount
    store.emit("charge.captured", charge)
    store.emit("payment_intent.succeeded", item)
    return item


def cancel(store: Store, params: Params, key: str) -> JSON:
    item = store.get("payment_intent", key)
    reason = params.choice("cancellation_reason", REASONS)
    params.done()
    if item["status"] not in (*OPEN, "requires_capture", "processing"):
        raise ApiError(
            f"You cannot cancel this PaymentIntent because it has a status of {item['status']}. Only a PaymentIntent "
            "with one of the following statuses may be canceled: requires_payment_method, requires_capture, "
            "requires_confirmation, requires_action, processing.",
            code="payment_intent_unexpected_state",
            payment_intent=item,
        )
    if item["status"] == "requires_capture":
        charge = store.get("charge", item["latest_charge"])
        charge |= {"refunded": True, "amount_refunded": charge["amount"]}
        store.emit("charge.refunded", charge)
    item |= {
        "status": "canceled",
        "amount_capturable": 0,
        "canceled_at": store.clock.now(),
        "cancellation_reason": reason,
        "next_action": None,
    }
    store.emit("payment_intent.canceled", item)
    return item


def list_all(store: Store, params: Params) -> JSON:
    customer = params.text("customer")
    found = [item for item in store.all("payment_intent") if customer in (None, item["customer"])]
    return page(store, "payment_intent", "/v1/payment_intents", params, found)


def search_all(store: Store, params: Params) -> JSON:
    return search(store, "payment_intent", "/v1/payment_intents/search", params)


# Charges


def retrieve_charge(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("charge", key)


def update_charge(store: Store, params: Params, key: str) -> JSON:
    item = store.get("charge", key)
    values = {**params.texts_of("description", "receipt_email"), "metadata": params.metadata(item["metadata"])}
    params.done()
    with store.changing(item, "charge.updated"):
        item.update(values)
    return item


def list_charges(store: Store, params: Params) -> JSON:
    customer, intent = params.text("customer"), params.text("payment_intent")
    found = [
        item
        for item in store.all("charge")
        if customer in (None, item["customer"]) and intent in (None, item["payment_intent"])
    ]
    return page(store, "charge", "/v1/charges", params, found)


def search_charges(store: Store, params: Params) -> JSON:
    return search(store, "charge", "/v1/charges/search", params)


# Setup intents


def create_setup(store: Store, params: Params) -> JSON:
    item = objects.setup_intent(store.clock.now())
    item.update(params.texts_of("description"), metadata=params.metadata())
    item["customer"] = store.known("customer", params.text("customer"), "customer")
    item["usage"] = params.choice("usage", ["off_session", "on_session"], "off_session")
    method, confirming = params.text("payment_method"), params.flag("confirm")
    params.texts("allowed_payment_method_types")
    if "automatic_payment_methods" in params:
        part = params.part("automatic_payment_methods")
        part.choice("allow_redirects", ["always", "never"])
        item["automatic_payment_methods"] = {"enabled": part.flag("enabled")}
    params.text("return_url")
    params.done()
    source = methods.resolve(store, method, "payment_method") if method else None
    store.add(item)
    store.emit("setup_intent.created", item)
    if source is not None:
        item |= {"payment_method": source["id"], "status": "requires_confirmation"}
    if confirming:
        set_up(store, item)
    return item


def confirm_setup(store: Store, params: Params, key: str) -> JSON:
    item = store.get("setup_intent", key)
    method = params.text("payment_method")
    params.text("return_url")
    params.done()
    if item["status"] not in OPEN:
        raise ApiError(
            f"You cannot confirm this SetupIntent because it has a status of {item['status']}.",
            code="setup_intent_unexpected_state",
            setup_intent=item,
        )
    if method is not None:
        item["payment_method"] = methods.resolve(store, method, "payment_method")["id"]
    set_up(store, item)
    return item


def set_up(store: Store, item: JSON) -> None:
    """Attach the card to the customer, with the owner's consent; authentication always succeeds here."""
    if item["payment_method"] is None:
        raise ApiError(
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            code="setup_intent_unexpected_state",
            setup_intent=item,
        )
    method = store.get("payment_method", item["payment_method"])
    if code := methods.card_of(store, method).on_attach:
        error = declined(code, payment_method=dict(method))
        item |= {"status": "requires_payment_method", "last_setup_error": dict(error.error)}
        store.emit("setup_intent.setup_failed", item)
        error.error["setup_intent"] = item
        raise error
    if item["customer"] is not None:
        methods.put(store, method, store.get("customer", item["customer"]))
    store.hidden[method["id"]]["set_up"] = True
    item["status"] = "succeeded"
    store.emit("setup_intent.succeeded", item)


def retrieve_setup(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("setup_intent", key)


def list_setups(store: Store, params: Params) -> JSON:
    customer = params.text("customer")
    found = [item for item in store.all("setup_intent") if customer in (None, item["customer"])]
    return page(store, "setup_intent", "/v1/setup_intents", params, found)
