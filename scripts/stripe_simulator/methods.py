"""Payment methods: the test cards, attached to customers or not."""

from scripts.stripe_simulator import objects
from scripts.stripe_simulator.cards import CARDS, NUMBERS, Card
from scripts.stripe_simulator.errors import ApiError, declined, refused
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page
from scripts.stripe_simulator.store import JSON, Store


def new(store: Store, name: str) -> JSON:
    """A payment method of a test card."""
    return store.add(objects.payment_method(store.clock.now(), CARDS[name]), card=name, decline=None, set_up=False)


def resolve(store: Store, key: str, param: str) -> JSON:
    """The payment method of that id; the name of a test card makes a new one, as at Stripe."""
    if key in CARDS:
        return new(store, key)
    if key.startswith("pm_card_"):
        raise refused(f"No such PaymentMethod: '{key}'", param, "resource_missing")
    method = store.get("payment_method", key, param)
    if store.hidden[key].get("used_up"):
        raise ApiError(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again.",
            param=param,
        )
    return method


def card_of(store: Store, method: JSON) -> Card:
    return CARDS[store.hidden[method["id"]]["card"]]


def refuse_on_attach(store: Store, method: JSON) -> None:
    if code := card_of(store, method).on_attach:
        raise declined(code)


def put(store: Store, method: JSON, customer: JSON) -> None:
    """Attach the method to the customer; no more questions asked."""
    if method["customer"] == customer["id"]:
        return
    method["customer"] = customer["id"]
    store.emit("payment_method.attached", method)


def create(store: Store, params: Params) -> JSON:
    params.choice("type", ["card"])
    params.raw("type", required=True)
    card = params.part("card")
    token, number = card.text("token"), card.text("number")
    for name in ("exp_month", "exp_year", "cvc"):
        card.text(name)
    details = params.part("billing_details").texts_of("email", "name", "phone")
    metadata = params.metadata()
    params.done()
    name = f"pm_card_{token.removeprefix('tok_')}" if token else NUMBERS.get((number or "").replace(" ", ""), "")
    if name not in CARDS:
        raise ApiError(
            "Your card number is incorrect (use a test card's).",
            status=402,
            kind="card_error",
            code="incorrect_number",
            param="number",
        )
    method = new(store, name)
    method["billing_details"].update(details)
    method["metadata"] = metadata
    return method


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("payment_method", key)


def update(store: Store, params: Params, key: str) -> JSON:
    method = store.get("payment_method", key)
    metadata = params.metadata(method["metadata"])
    details = params.part("billing_details").texts_of("email", "name", "phone")
    params.done()
    with store.changing(method, "payment_method.updated"):
        method["metadata"] = metadata
        method["billing_details"].update(details)
    return method


def attach(store: Store, params: Params, key: str) -> JSON:
    customer = store.get("customer", params.needed("customer"), "customer")
    params.done()
    method = resolve(store, key, "id")
    if method["customer"] not in (None, customer["id"]):
        raise ApiError("The payment method you provided has already been attached to a customer.")
    refuse_on_attach(store, method)
    put(store, method, customer)
    return method


def detach(store: Store, params: Params, key: str) -> JSON:
    params.done()
    method = store.get("payment_method", key)
    if method["customer"] is None:
        raise ApiError(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            param="payment_method",
        )
    for item in store.all("customer"):
        if item["invoice_settings"]["default_payment_method"] == key:
            with store.changing(item, "customer.updated"):
                item["invoice_settings"]["default_payment_method"] = None
    for item in store.all("subscription"):
        if item["default_payment_method"] == key:
            item["default_payment_method"] = None
    with store.changing(method, "payment_method.detached"):
        method["customer"] = None
    store.hidden[key]["used_up"] = True
    return method


def list_all(store: Store, params: Params, key: str | None = None) -> JSON:
    """The methods of a customer, named in the path or by the parameter."""
    customer = key or params.text("customer")
    params.choice("type", ["card"])
    if customer is not None:
        store.get("customer", customer, "id" if key else "customer")
    found = [item for item in store.all("payment_method") if customer and item["customer"] == customer]
    url = f"/v1/customers/{key}/payment_methods" if key else "/v1/payment_methods"
    return page(store, "payment_method", url, params, found)


def default(store: Store, *holders: JSON) -> JSON | None:
    """The first default among subscriptions and customers."""
    for holder in holders:
        key = (
            holder["default_payment_method"]
            if holder["object"] == "subscription"
            else holder["invoice_settings"]["default_payment_method"]
        )
        if key is not None:
            return store.get("payment_method", key)
    return None
