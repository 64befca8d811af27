"""Checkout sessions: made through the API, completed on the simulator's page or by a test."""

from scripts.stripe_simulator import catalogue, methods, objects, payments, subscriptions
from scripts.stripe_simulator.clock import DAY
from scripts.stripe_simulator.errors import ApiError, refused
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page
from scripts.stripe_simulator.store import JSON, Store, job

MODES = ("payment", "setup", "subscription")
EMAIL = "buyer@example.com"


# The API


def create(store: Store, params: Params) -> JSON:
    params.raw("mode", required=True)
    mode = params.choice("mode", MODES)
    assert mode is not None
    item = objects.checkout_session(store.clock.now(), mode)
    item["success_url"] = params.needed("success_url")
    item["cancel_url"] = params.text("cancel_url")
    item.update(params.texts_of("client_reference_id", "customer_email", "locale", "submit_type"))
    item["customer"] = store.known("customer", params.text("customer"), "customer")
    item["metadata"] = params.metadata()
    item["currency"] = params.text("currency")
    _read_options(params, item)
    data = _data(params, mode)
    lines, made = _lines(store, params, mode)
    params.done()
    if item["customer"] is not None and item["customer_email"] is not None:
        raise refused("You may only specify one of these parameters: customer, customer_email.", "customer_email")
    if not 30 * 60 <= item["expires_at"] - item["created"] <= DAY:
        raise refused(
            "The `expires_at` timestamp must be at least 30 minutes and less than 24 hours from Checkout Session "
            "creation.",
            "expires_at",
        )
    for each in made:
        store.add(each)
    _price(item, lines)
    if mode == "payment":
        payments.check_amount(item["amount_total"], item["currency"])
    if item["customer"] is not None:
        _tell_customer(item, store.get("customer", item["customer"]))
    item["url"] = f"{store.url}/c/pay/{item['id']}"
    store.add(item, items=lines, data=data, payment_intent=None, error=None)
    store.schedule("checkout.expire", item["id"], item["expires_at"])
    return item


def _read_options(params: Params, item: JSON) -> None:
    params.choice("ui_mode", ["hosted_page"])
    params.texts("allowed_payment_method_types")
    if "allow_promotion_codes" in params:
        item["allow_promotion_codes"] = params.flag("allow_promotion_codes")
    item["billing_address_collection"] = params.choice("billing_address_collection", ["auto", "required"])
    if item["mode"] == "payment":
        item["customer_creation"] = params.choice("customer_creation", ["always", "if_required"], "if_required")
    if item["mode"] == "subscription":
        item["customer_creation"] = None if item["customer"] else "always"
        item["payment_method_collection"] = params.choice("payment_method_collection", ["always"], "always")
    item["expires_at"] = params.integer("expires_at", item["expires_at"])
    if params.part("automatic_tax").flag("enabled"):
        raise refused("The simulator knows no taxes.", "automatic_tax[enabled]")
    params.part("adaptive_pricing").flag("enabled")
    update = params.part("customer_update")
    for name in ("address", "name", "shipping"):
        update.choice(name, ["auto", "never"])
    if params.part("invoice_creation").flag("enabled"):
        raise refused("The simulator makes no invoices of one-time payments.", "invoice_creation[enabled]")
    item["invoice_creation"] = None


def _data(params: Params, mode: str) -> JSON:
    """What the session gives to the payment intent, subscription or setup intent that it will make."""
    name = {"payment": "payment_intent_data", "setup": "setup_intent_data", "subscription": "subscription_data"}[mode]
    part = params.part(name)
    data: JSON = {**part.texts_of("description"), "metadata": part.metadata()}
    if mode == "payment":
        data |= part.texts_of("receipt_email", "statement_descriptor", "statement_descriptor_suffix", "transfer_group")
        data["setup_future_usage"] = part.choice("setup_future_usage", ["off_session", "on_session"])
        data["capture_method"] = part.choice("capture_method", ["automatic", "automatic_async", "manual"], "automatic")
    return data


def _lines(store: Store, params: Params, mode: str) -> tuple[list[JSON], list[JSON]]:
    """The session's lines, and the prices and products that their `price_data` makes."""
    lines, made = [], []
    for part in params.each("line_items"):
        key, new = part.text("price"), []
        if key is None:
            part.raw("price_data", required=True)
            new = catalogue.inline_price(store, part.part("price_data"))
        price = new[-1] if key is None else catalogue.active_price(store, key, part.name("price"))
        product = new[0] if len(new) == 2 else store.get("product", price["product"])
        part.raw("quantity", required=True)
        quantity = part.positive("quantity")
        assert quantity is not None
        if (price["type"] == "recurring") != (mode == "subscription"):
            raise refused(
                "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or "
                "use only one-time prices."
                if mode == "payment"
                else "You must provide at least one recurring price in `subscription` mode when using prices.",
                part.name("price"),
            )
        lines.append(objects.checkout_item(price, quantity, product["name"]))
        made += new
    if mode != "setup" and not lines:
        raise refused("Missing required param: line_items.", "line_items", "parameter_missing")
    if len({line["currency"] for line in lines}) > 1:
        raise refused("All prices must have the same currency.", "line_items")
    return lines, made


def _price(item: JSON, lines: list[JSON]) -> None:
    if lines:
        total = sum(line["amount_total"] for line in lines)
        item |= {"amount_subtotal": total, "amount_total": total, "currency": lines[0]["currency"]}
        item["total_details"] = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}


def _tell_customer(item: JSON, customer: JSON | None) -> None:
    known = customer or {"address": None, "email": item["customer_email"] or EMAIL, "name": None, "phone": None}
    item["customer_details"] = {
        "address": known["address"],
        "business_name": None,
        "email": known["email"],
        "individual_name": None,
        "name": known["name"],
        "phone": known["phone"],
        "tax_exempt": "none",
        "tax_ids": [],
    }


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("checkout.session", key)


def update(store: Store, params: Params, key: str) -> JSON:
    item = store.get("checkout.session", key)
    metadata = params.metadata(item["metadata"])
    params.done()
    item["metadata"] = metadata
    return item


def expire(store: Store, params: Params, key: str) -> JSON:
    params.done()
    item = store.get("checkout.session", key)
    if item["status"] != "open":
        raise ApiError(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of {item['status']}."
        )
    expire_now(store, item)
    return item


def list_all(store: Store, params: Params) -> JSON:
    customer, intent = params.text("customer"), params.text("payment_intent")
    subscription, status = params.text("subscription"), params.choice("status", ["open", "complete", "expired"])
    found = [
        item
        for item in store.all("checkout.session")
        if customer in (None, item["customer"])
        and intent in (None, item["payment_intent"])
        and subscription in (None, item["subscription"])
        and status in (None, item["status"])
    ]
    return page(store, "checkout.session", "/v1/checkout/sessions", params, found)


def list_lines(store: Store, params: Params, key: str) -> JSON:
    store.get("checkout.session", key)
    limit = params.integer("limit", 10) or 10
    params.done()
    lines = store.hidden[key]["items"]
    return objects.listing(f"/v1/checkout/sessions/{key}/line_items", lines[:limit], has_more=len(lines) > limit)


# What the customer does


@job("checkout.expire")
def expire_due(store: Store, key: str, at: int) -> None:
    item = store.get("checkout.session", key)
    if item["status"] == "open":
        expire_now(store, item)


def expire_now(store: Store, item: JSON) -> None:
    item |= {"status": "expired", "url": None}
    store.emit("checkout.session.expired", item)


def opened(store: Store, key: str) -> JSON:
    """The session, if it can still be paid."""
    item = store.get("checkout.session", key)
    if item["status"] != "open":
        raise ApiError(f"Checkout Session {key} is {item['status']}, not open.")
    return item


def complete(store: Store, key: str, card: str = "pm_card_visa", *, delayed: bool = False) -> JSON:
    """Pay with the card, authenticated where it asks. A refused card leaves the session open, and says so (402).

    `delayed` is a payment whose success is known days later, as a bank debit's.
    """
    item = opened(store, key)
    method = methods.resolve(store, card, "payment_method")
    if delayed and item["mode"] != "payment":
        raise ApiError("The simulator knows delayed payments in mode=payment only.")
    if item["mode"] == "setup":
        _complete_setup(store, item, method)
    elif item["mode"] == "subscription":
        _complete_subscription(store, item, method)
    else:
        _complete_payment(store, item, method, delayed=delayed)
    item |= {"status": "complete", "url": None}
    if item["mode"] == "subscription" or (item["mode"] == "payment" and _paid(store, item)):
        item["payment_status"] = "paid"
    store.emit("checkout.session.completed", item)
    return item


def _paid(store: Store, item: JSON) -> bool:
    return store.get("payment_intent", item["payment_intent"])["status"] == "succeeded"


def _customer(store: Store, item: JSON, *, required: bool) -> JSON | None:
    """The session's customer, made if it must be there."""
    if item["customer"] is not None:
        customer = store.get("customer", item["customer"])
    elif required:
        customer = objects.customer(store.clock.now()) | {"email": item["customer_email"] or EMAIL}
        store.add(customer)
        item["customer"] = customer["id"]
        store.emit("customer.created", customer)
    else:
        customer = None
    _tell_customer(item, customer)
    return customer


def _complete_payment(store: Store, item: JSON, method: JSON, *, delayed: bool) -> None:
    data = store.hidden[item["id"]]["data"]
    saving = data["setup_future_usage"] is not None
    customer = _customer(store, item, required=saving or item["customer_creation"] == "always")
    intent = _intent(store, item, customer)
    intent["payment_method"] = method["id"]
    method["billing_details"]["email"] = item["customer_details"]["email"]
    if delayed:
        intent |= {"status": "processing", "processing": {"type": "card"}}
        store.emit("payment_intent.processing", intent)
    elif error := payments.settle(store, intent):
        raise error
    item["payment_intent"] = intent["id"]


def _intent(store: Store, item: JSON, customer: JSON | None) -> JSON:
    """The session's intent: one for all attempts to pay it."""
    hidden = store.hidden[item["id"]]
    if hidden["payment_intent"] is not None:
        return store.get("payment_intent", hidden["payment_intent"])
    intent = objects.payment_intent(store.clock.now(), item["amount_total"], item["currency"]) | hidden["data"]
    intent["customer"] = customer["id"] if customer else None
    store.add(intent)
    hidden["payment_intent"] = intent["id"]
    store.emit("payment_intent.created", intent)
    return intent


def _complete_subscription(store: Store, item: JSON, method: JSON) -> None:
    """The subscription exists once the first payment has succeeded; a refused card leaves none behind."""
    if error := payments.refusal(store, method, off_session=False):
        raise error
    hidden = store.hidden[item["id"]]
    customer = _customer(store, item, required=True)
    assert customer is not None
    methods.put(store, method, customer)
    store.hidden[method["id"]]["set_up"] = True
    wanted = [
        {"id": None, "price": line["price"], "quantity": line["quantity"], "metadata": None} for line in hidden["items"]
    ]
    subscription = subscriptions.build(store, customer, wanted) | hidden["data"]
    subscription["default_payment_method"] = method["id"]
    subscriptions.begin(store, subscription)
    invoice = store.get("invoice", subscription["latest_invoice"])
    if invoice["status"] == "open":
        # The card asked for authentication, which the customer has just given.
        payments.settle(store, store.get("payment_intent", store.hidden[invoice["id"]]["payment_intent"]))
    item |= {"subscription": subscription["id"], "invoice": invoice["id"]}


def _complete_setup(store: Store, item: JSON, method: JSON) -> None:
    hidden = store.hidden[item["id"]]
    customer = _customer(store, item, required=False)
    intent = objects.setup_intent(store.clock.now()) | hidden["data"]
    intent |= {"customer": customer["id"] if customer else None, "payment_method": method["id"]}
    store.add(intent)
    store.emit("setup_intent.created", intent)
    payments.set_up(store, intent)
    item["setup_intent"] = intent["id"]


def resolve(store: Store, key: str, *, success: bool) -> JSON:
    """The end of a delayed payment; a session that is still open is completed with one first."""
    item = store.get("checkout.session", key)
    if item["status"] == "open":
        complete(store, key, delayed=True)
    if item["status"] != "complete" or item["payment_status"] != "unpaid":
        raise ApiError(f"Checkout Session {key} does not wait for a delayed payment.")
    intent = store.get("payment_intent", item["payment_intent"])
    if success:
        payments.succeed(store, intent)
        item["payment_status"] = "paid"
        store.emit("checkout.session.async_payment_succeeded", item)
    else:
        payments.fail(store, intent, "insufficient_funds")
        store.emit("checkout.session.async_payment_failed", item)
    return item


def success_url(item: JSON) -> str:
    return item["success_url"].replace("{CHECKOUT_SESSION_ID}", item["id"])
