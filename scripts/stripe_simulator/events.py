"""GET /v1/events."""

from fnmatch import fnmatchcase

from scripts.stripe_simulator.errors import refused
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page
from scripts.stripe_simulator.store import JSON, Store


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("event", key)


def list_all(store: Store, params: Params) -> JSON:
    """By `type`, which may end in `.*`, or by up to twenty `types`."""
    kind, kinds = params.text("type"), params.texts("types")
    if kind and kinds:
        raise refused("You may only specify one of these parameters: type, types.", "types")
    wanted = [kind] if kind else kinds
    delivered = params.flag("delivery_success") if "delivery_success" in params else None
    found = [
        item
        for item in store.all("event")
        if (not wanted or any(fnmatchcase(item["type"], each) for each in wanted))
        and (delivered is None or (item["pending_webhooks"] == 0) == delivered)
    ]
    return page(store, "event", "/v1/events", params, found)
