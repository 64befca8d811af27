"""Customers."""

from scripts.stripe_simulator import methods, objects, subscriptions
from scripts.stripe_simulator.errors import ApiError, not_found
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page, search
from scripts.stripe_simulator.store import JSON, Store

TEXTS = ("description", "email", "name", "phone")


def create(store: Store, params: Params) -> JSON:
    values, method = _values(params, {}), params.text("payment_method")
    default = _default_method(params)
    params.done()
    item = objects.customer(store.clock.now()) | values
    source = methods.resolve(store, method, "payment_method") if method else None
    if source is not None:
        methods.refuse_on_attach(store, source)
    store.add(item)
    if source is not None:
        methods.put(store, source, item)
    _set_default(store, item, default)
    store.emit("customer.created", item)
    return item


def _values(params: Params, current: JSON) -> JSON:
    values: JSON = {**params.texts_of(*TEXTS), "metadata": params.metadata(current.get("metadata"))}
    if "balance" in params:
        values["balance"] = params.integer("balance")
    if "address" in params:
        sent = params.part("address").texts_of(*objects.NO_ADDRESS)
        values["address"] = objects.NO_ADDRESS | sent if sent else None
    if "preferred_locales" in params:
        values["preferred_locales"] = params.texts("preferred_locales")
    if "tax_exempt" in params:
        values["tax_exempt"] = params.choice("tax_exempt", ["exempt", "none", "reverse"])
    return values


def _default_method(params: Params) -> tuple[bool, str | None]:
    settings = params.part("invoice_settings")
    return "default_payment_method" in settings, settings.text("default_payment_method")


def _set_default(store: Store, item: JSON, default: tuple[bool, str | None]) -> None:
    sent, key = default
    if not sent:
        return
    name = "invoice_settings[default_payment_method]"
    if key is not None and store.get("payment_method", key, name)["customer"] != item["id"]:
        raise ApiError(
            f"The customer does not have a payment method with the ID {key}. "
            "The payment method must be attached to the customer.",
            param=name,
            code="resource_missing",
        )
    item["invoice_settings"]["default_payment_method"] = key


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("customer", key)


def update(store: Store, params: Params, key: str) -> JSON:
    item = living(store, key)
    values, default = _values(params, item), _default_method(params)
    params.done()
    with store.changing(item, "customer.updated"):
        _set_default(store, item, default)
        item.update(values)
    return item


def delete(store: Store, params: Params, key: str) -> JSON:
    """Delete the customer, and cancel its subscriptions at once."""
    params.done()
    item = living(store, key)
    for subscription in store.all("subscription"):
        if subscription["customer"] == key and subscription["status"] not in subscriptions.ENDED:
            subscriptions.end(store, subscription, "cancellation_requested")
    for method in store.all("payment_method"):
        if method["customer"] == key:
            method["customer"] = None
            store.hidden[method["id"]]["used_up"] = True
    store.emit("customer.deleted", item)
    gone = {"id": key, "object": "customer", "deleted": True}
    store.objects["customer"][key] = gone
    return gone


def living(store: Store, key: str) -> JSON:
    """A customer that is not deleted; 404."""
    item = store.get("customer", key)
    if item.get("deleted"):
        raise not_found("customer", key)
    return item


def list_all(store: Store, params: Params) -> JSON:
    email = params.text("email")
    found = [item for item in store.all("customer") if email is None or item["email"] == email]
    return page(store, "customer", "/v1/customers", params, found)


def search_all(store: Store, params: Params) -> JSON:
    return search(store, "customer", "/v1/customers/search", params)
