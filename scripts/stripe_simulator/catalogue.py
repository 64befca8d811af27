"""Products and prices."""

from scripts.stripe_simulator import objects
from scripts.stripe_simulator.errors import ApiError, not_found, refused
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page, search
from scripts.stripe_simulator.store import JSON, Store

INTERVALS = ("day", "week", "month", "year")
PRODUCT_TEXTS = ("description", "statement_descriptor", "tax_code", "unit_label", "url")


def create_product(store: Store, params: Params) -> JSON:
    item = objects.product(store.clock.now(), params.needed("name"))
    item["id"] = params.text("id") or item["id"]
    item["active"] = params.flag("active", True)
    item["images"] = params.texts("images")
    item.update(params.texts_of(*PRODUCT_TEXTS), metadata=params.metadata())
    with_price = "default_price_data" in params
    data = params.part("default_price_data")
    price = _price(store, data, item["id"]) if with_price else None
    params.done()
    if item["id"] in store.objects.get("product", {}):
        raise ApiError("Product already exists.", code="resource_already_exists")
    store.add(item)
    if price is not None:
        store.add(price)
        item["default_price"] = price["id"]
    store.emit("product.created", item)
    if price is not None:
        store.emit("price.created", price)
    return item


def retrieve_product(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("product", key)


def update_product(store: Store, params: Params, key: str) -> JSON:
    item = store.get("product", key)
    values: JSON = params.texts_of(*PRODUCT_TEXTS, "name")
    if "active" in params:
        values["active"] = params.flag("active")
    if "images" in params:
        values["images"] = params.texts("images")
    if "default_price" in params:
        values["default_price"] = store.known("price", params.text("default_price"), "default_price")
    values["metadata"] = params.metadata(item["metadata"])
    params.done()
    with store.changing(item, "product.updated"):
        item.update(values, updated=store.clock.now())
    return item


def delete_product(store: Store, params: Params, key: str) -> JSON:
    params.done()
    item = store.get("product", key)
    if item.get("deleted"):
        raise not_found("product", key)
    if any(price["product"] == key for price in store.all("price")):
        raise ApiError("This product cannot be deleted because it has one or more user-created prices.")
    store.emit("product.deleted", item)
    gone = {"id": key, "object": "product", "deleted": True}
    store.objects["product"][key] = gone
    return gone


def list_products(store: Store, params: Params) -> JSON:
    ids = params.texts("ids")
    active = params.flag("active") if "active" in params else None
    found = [
        item
        for item in store.all("product")
        if (not ids or item["id"] in ids) and (active is None or item["active"] == active)
    ]
    return page(store, "product", "/v1/products", params, found)


def search_products(store: Store, params: Params) -> JSON:
    return search(store, "product", "/v1/products/search", params)


def _price(store: Store, params: Params, product: str) -> JSON:
    """A price of `currency`, `unit_amount` and `recurring`, not yet kept."""
    currency = params.needed("currency").lower()
    amount = params.integer("unit_amount", required=True)
    assert amount is not None
    if amount < 0:
        raise refused("This value must be greater than or equal to 0.", params.name("unit_amount"))
    recurring = None
    if "recurring" in params:
        part = params.part("recurring")
        part.raw("interval", required=True)
        recurring = {
            "interval": part.choice("interval", INTERVALS),
            "interval_count": part.positive("interval_count") or 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": part.choice("usage_type", ["licensed"], "licensed"),
        }
    item = objects.price(store.clock.now(), product=product, currency=currency, unit_amount=amount, recurring=recurring)
    item["tax_behavior"] = params.choice("tax_behavior", ["exclusive", "inclusive", "unspecified"], "unspecified")
    return item


def active_price(store: Store, key: str, param: str) -> JSON:
    """A price that can be bought."""
    item = store.get("price", key, param)
    if not item["active"]:
        raise ApiError("The price specified is inactive. This field only accepts active prices.", param=param)
    return item


def inline_price(store: Store, params: Params) -> list[JSON]:
    """What `price_data` makes, to be kept by the caller: its product, if it is new, and last the price.

    Neither is active for anybody else, as at Stripe.
    """
    key = params.text("product")
    data = params.part("product_data")
    if key is None:
        product = objects.product(store.clock.now(), data.needed("name"))
        product.update(data.texts_of("description"), images=data.texts("images"), metadata=data.metadata())
        product["active"] = False
    else:
        product = store.get("product", key, params.name("product"))
    item = _price(store, params, product["id"])
    item["active"] = False
    return [item] if key else [product, item]


def create_price(store: Store, params: Params) -> JSON:
    key = params.text("product")
    data = params.part("product_data")
    product = None
    if key is None:
        product = objects.product(store.clock.now(), data.needed("name"))
        product["metadata"] = data.metadata()
        key = product["id"]
    else:
        store.get("product", key, "product")
    item = _price(store, params, key)
    item.update(params.texts_of("nickname", "lookup_key"), metadata=params.metadata())
    item["active"] = params.flag("active", True)
    transfer = params.flag("transfer_lookup_key")
    params.done()
    _take_lookup_key(store, item, transfer)
    if product is not None:
        store.add(product)
        store.emit("product.created", product)
    store.add(item)
    store.emit("price.created", item)
    return item


def _take_lookup_key(store: Store, item: JSON, transfer: bool) -> None:
    if item["lookup_key"] is None:
        return
    for other in store.all("price"):
        if other["lookup_key"] != item["lookup_key"] or other is item:
            continue
        if not transfer:
            raise ApiError(
                f"A price (`{other['id']}`) already uses that lookup key.",
                param="lookup_key",
                code="resource_already_exists",
            )
        with store.changing(other, "price.updated"):
            other["lookup_key"] = None


def retrieve_price(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("price", key)


def update_price(store: Store, params: Params, key: str) -> JSON:
    """Everything but the amount, the currency and the interval, which no price ever changes."""
    item = store.get("price", key)
    values: JSON = params.texts_of("nickname", "lookup_key")
    if "active" in params:
        values["active"] = params.flag("active")
    values["metadata"] = params.metadata(item["metadata"])
    transfer = params.flag("transfer_lookup_key")
    params.done()
    _take_lookup_key(store, item | values, transfer)
    with store.changing(item, "price.updated"):
        item.update(values)
    return item


def list_prices(store: Store, params: Params) -> JSON:
    keys, product = params.texts("lookup_keys"), params.text("product")
    kind, currency = params.choice("type", ["one_time", "recurring"]), params.text("currency")
    active = params.flag("active") if "active" in params else None
    found = [
        item
        for item in store.all("price")
        if (not keys or item["lookup_key"] in keys)
        and product in (None, item["product"])
        and kind in (None, item["type"])
        and currency in (None, item["currency"])
        and active in (None, item["active"])
    ]
    return page(store, "price", "/v1/prices", params, found)


def search_prices(store: Store, params: Params) -> JSON:
    return search(store, "price", "/v1/prices/search", params)
