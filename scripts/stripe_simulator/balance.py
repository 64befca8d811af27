"""The balance: what every charge, refund and dispute moves."""

from scripts.stripe_simulator import objects
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.rendering import page
from scripts.stripe_simulator.store import JSON, Store


def book(store: Store, kind: str, source: JSON, amount: int, fee: int = 0) -> JSON:
    """Enter a movement, in the smallest unit; negative when money leaves."""
    return store.add(objects.balance_transaction(store.clock.now(), kind, source, amount, fee))


def retrieve(store: Store, params: Params, key: str) -> JSON:
    params.done()
    return store.get("balance_transaction", key)


def list_all(store: Store, params: Params) -> JSON:
    source, kind = params.text("source"), params.text("type")
    found = [
        item
        for item in store.all("balance_transaction")
        if source in (None, item["source"]) and kind in (None, item["type"])
    ]
    return page(store, "balance_transaction", "/v1/balance_transactions", params, found)
