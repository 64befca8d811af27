"""The customer portal: a session, and what its page lets the customer do."""

from scripts.stripe_simulator import methods, objects, subscriptions
from scripts.stripe_simulator.errors import ApiError
from scripts.stripe_simulator.params import Params
from scripts.stripe_simulator.store import JSON, Store

FLOWS = ("payment_method_update", "subscription_cancel")


def create(store: Store, params: Params) -> JSON:
    customer = store.get("customer", params.needed("customer"), "customer")
    return_url = params.text("return_url")
    params.text("configuration")
    params.text("locale")
    flow = _flow(store, params.part("flow_data")) if "flow_data" in params else None
    params.done()
    return store.add(objects.portal_session(store.clock.now(), customer["id"], return_url, flow, store.url))


def _flow(store: Store, part: Params) -> JSON:
    part.raw("type", required=True)
    flow: JSON = {
        "after_completion": {"hosted_confirmation": None, "redirect": None, "type": "portal_homepage"},
        "subscription_cancel": None,
        "subscription_update": None,
        "subscription_update_confirm": None,
        "type": part.choice("type", FLOWS),
    }
    if flow["type"] == "subscription_cancel":
        key = part.part("subscription_cancel").needed("subscription")
        flow["subscription_cancel"] = {"retention": None, "subscription": store.get("subscription", key)["id"]}
    return flow


def running(store: Store, session: JSON) -> list[JSON]:
    """The customer's subscriptions that have not ended."""
    return [
        item
        for item in store.all("subscription")
        if item["customer"] == session["customer"] and item["status"] not in subscriptions.ENDED
    ]


def act(store: Store, key: str, action: str, *, subscription: str | None = None, card: str = "pm_card_visa") -> JSON:
    """One press of a button: cancel (at the end of the period), resume, or card (for all subscriptions)."""
    session = store.get("billing_portal.session", key)
    if action == "card":
        _change_card(store, session, card)
        return session
    item = next((each for each in running(store, session) if subscription in (None, each["id"])), None)
    if item is None:
        raise ApiError("This customer has no such subscription.", param="subscription")
    if action not in ("cancel", "resume"):
        raise ApiError(f"The portal has no button for {action}.")
    values = Params({"cancel_at_period_end": "true" if action == "cancel" else "false"})
    subscriptions.update(store, values, item["id"])
    return session


def _change_card(store: Store, session: JSON, card: str) -> None:
    customer = store.get("customer", session["customer"])
    method = methods.resolve(store, card, "payment_method")
    methods.refuse_on_attach(store, method)
    methods.put(store, method, customer)
    store.hidden[method["id"]]["set_up"] = True
    with store.changing(customer, "customer.updated"):
        customer["invoice_settings"]["default_payment_method"] = method["id"]
    for item in running(store, session):
        with store.changing(item, subscriptions.UPDATED):
            item["default_payment_method"] = method["id"]
