"""The calls below /_sim: what a test, or somebody at a browser, does that Stripe's API has no call for."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from scripts.stripe_simulator import checkout, disputes, payments, portal, refunds
from scripts.stripe_simulator.errors import DECLINES, ApiError
from scripts.stripe_simulator.store import JSON

if TYPE_CHECKING:
    from scripts.stripe_simulator.server import Core


def blueprint(core: "Core") -> Blueprint:
    """The calls, on one simulator."""
    bp = Blueprint("control", __name__, url_prefix="/_sim")
    store = core.store

    def body() -> JSON:
        # Whatever its content type: `curl -d` calls it a form.
        data = request.get_data()
        values = request.get_json(silent=True, force=True) if data else {}
        if not isinstance(values, dict):
            raise ApiError("The body is a JSON object, or nothing.")
        return values

    @bp.errorhandler(ApiError)
    def refused(error: ApiError) -> ResponseReturnValue:
        return jsonify(error.body), error.status

    @bp.get("/state")
    def state() -> ResponseReturnValue:
        """Everything: the objects by kind and id, how many were ever made, the settings, the time."""
        with store.lock:
            return jsonify(
                now=store.clock.now(),
                objects=store.objects,
                created=store.created,
                settings=store.settings,
                faults=core.faults.shown(),
                webhooks=core.webhooks.flush(0),
            )

    @bp.get("/requests")
    def requests() -> ResponseReturnValue:
        """The requests to the API, in order, and how many objects of each kind they have made."""
        with store.lock:
            return jsonify(requests=core.log, created=store.created)

    @bp.get("/deliveries")
    def deliveries() -> ResponseReturnValue:
        """Every attempt to deliver an event."""
        with store.lock:
            return jsonify(deliveries=core.webhooks.log)

    @bp.post("/reset")
    def reset() -> ResponseReturnValue:
        """Forget everything: objects, keys, faults, deliveries, skipped time, settings. The webhook URL stays."""
        with store.lock:
            core.webhooks.forget()
            store.reset()
            store.save()
            core.faults.clear()
            core.log.clear()
        return jsonify(reset=True)

    @bp.post("/settings")
    def settings() -> ResponseReturnValue:
        """Change `store.DEFAULTS` by name, and webhook_url and webhook_secret."""
        values = body()
        with store.lock:
            for name, value in values.items():
                if name == "webhook_url":
                    core.webhooks.url = value
                elif name == "webhook_secret":
                    core.webhooks.secret = value
                elif name in store.settings:
                    store.settings[name] = value
                else:
                    raise ApiError(f"Unknown setting: {name}; known are {', '.join(store.settings)}", param=name)
            store.save()
            return jsonify(store.settings | {"webhook_url": core.webhooks.url})

    @bp.post("/advance")
    def advance() -> ResponseReturnValue:
        """Move the time by `seconds`, or to the moment `to`, and do what falls due on the way."""
        values = body()
        with store.lock:
            now = store.clock.now()
            to = values.get("to", now + values.get("seconds", 0))
            if not isinstance(to, int | float) or to < now:
                raise ApiError(f"Time moves forward only: {to} is before {now}.")
            store.run_due(int(to))
            store.clock.move_to(to)
            store.save()
            return jsonify(now=store.clock.now())

    @bp.post("/checkout/<key>/<action>")
    def act_on_checkout(key: str, action: str) -> ResponseReturnValue:
        """complete {payment_method, async}, decline {payment_method}, expire, async_succeed, async_fail."""
        values = body()
        card = values.get("payment_method")
        acts: dict[str, Callable[[], JSON]] = {
            "complete": lambda: checkout.complete(
                store, key, card or "pm_card_visa", delayed=bool(values.get("async", False))
            ),
            "decline": lambda: checkout.complete(store, key, card or "pm_card_chargeDeclined"),
            "expire": lambda: _expire(key),
            "async_succeed": lambda: checkout.resolve(store, key, success=True),
            "async_fail": lambda: checkout.resolve(store, key, success=False),
        }
        return _act(acts, action)

    def _expire(key: str) -> JSON:
        item = checkout.opened(store, key)
        checkout.expire_now(store, item)
        return item

    def _act(acts: dict[str, Callable[[], JSON]], action: str) -> ResponseReturnValue:
        if action not in acts:
            raise ApiError(f"There is no {action} here; there are {', '.join(acts)}.", status=404)
        with store.lock:
            try:
                return jsonify(acts[action]())
            finally:
                store.save()

    @bp.post("/payment_intents/<key>/<action>")
    def act_on_intent(key: str, action: str) -> ResponseReturnValue:
        """authenticate or fail_authentication, for an intent that requires action."""
        return _act(
            {
                "authenticate": lambda: authenticate(core, key, success=True),
                "fail_authentication": lambda: authenticate(core, key, success=False),
            },
            action,
        )

    @bp.post("/cards/<key>")
    def set_card(key: str) -> ResponseReturnValue:
        """Let the bank refuse a payment method from here on, with a `decline` code, or accept it again with null."""
        code = body().get("decline")
        if code is not None and code not in DECLINES:
            raise ApiError(f"Unknown decline code: {code}; known are {', '.join(DECLINES)}", param="decline")
        with store.lock:
            item = store.get("payment_method", key)
            store.hidden[key]["decline"] = code
            store.save()
            return jsonify(item)

    @bp.post("/refunds/<key>/<action>")
    def act_on_refund(key: str, action: str) -> ResponseReturnValue:
        """succeed, or fail {failure_reason}."""
        reason = body().get("failure_reason", "lost_or_stolen_card")

        def succeed() -> JSON:
            refunds.succeed(store, store.get("refund", key))
            return store.get("refund", key)

        def fail() -> JSON:
            refunds.fail(store, store.get("refund", key), reason)
            return store.get("refund", key)

        return _act({"succeed": succeed, "fail": fail}, action)

    @bp.post("/disputes")
    def open_dispute() -> ResponseReturnValue:
        """Dispute a `charge`, or a `payment_intent`'s; `status`, `reason` and `amount` are optional."""
        values = body()
        with store.lock:
            key = values.pop("charge", None)
            if key is None:
                intent = store.get("payment_intent", values.pop("payment_intent", ""), "payment_intent")
                key = intent["latest_charge"] or ""
            if unknown := values.keys() - {"status", "reason", "amount"}:
                raise ApiError(f"Unknown: {', '.join(sorted(unknown))}")
            item = disputes.open_dispute(store, store.get("charge", key, "charge"), **values)
            store.save()
            return jsonify(item)

    @bp.post("/disputes/<key>/<action>")
    def act_on_dispute(key: str, action: str) -> ResponseReturnValue:
        """won, lost, warning_closed, or escalate (an inquiry becomes a chargeback)."""

        def close() -> JSON:
            item = store.get("dispute", key)
            disputes.close(store, item, action)
            return item

        def escalate() -> JSON:
            item = store.get("dispute", key)
            disputes.escalate(store, item)
            return item

        return _act({**dict.fromkeys(disputes.CLOSED, close), "escalate": escalate}, action)

    @bp.post("/portal/<key>/<action>")
    def act_on_portal(key: str, action: str) -> ResponseReturnValue:
        """cancel {subscription}, resume {subscription}, card {payment_method}."""
        values = body()
        subscription, card = values.get("subscription"), values.get("payment_method", "pm_card_visa")
        names = ("cancel", "resume", "card")
        return _act(
            {
                name: lambda name=name: portal.act(store, key, name, subscription=subscription, card=card)
                for name in names
            },
            action,
        )

    @bp.get("/faults")
    def show_faults() -> ResponseReturnValue:
        return jsonify(faults=core.faults.shown())

    @bp.post("/faults")
    def add_fault() -> ResponseReturnValue:
        """Add a rule, with the fields of `faults.Fault`."""
        return jsonify(asdict(core.faults.add(body())))

    @bp.delete("/faults")
    def clear_faults() -> ResponseReturnValue:
        core.faults.clear()
        return jsonify(faults=[])

    @bp.post("/events/<key>/resend")
    def resend(key: str) -> ResponseReturnValue:
        """Deliver an event once more."""
        with store.lock:
            item = store.get("event", key)
            core.webhooks.resend(item)
            return jsonify(item)

    @bp.post("/release")
    def release() -> ResponseReturnValue:
        """Deliver held events in the `order` of their ids or types, or last first."""
        return jsonify(released=core.webhooks.release(body().get("order")))

    @bp.post("/flush")
    def flush() -> ResponseReturnValue:
        """Wait, at most `seconds`, until every event that is not held has been delivered."""
        return jsonify(core.webhooks.flush(float(body().get("seconds", 10))))

    return bp


def authenticate(core: "Core", key: str, *, success: bool) -> JSON:
    """The customer passes 3-D Secure, or fails; the bank may still refuse a card that passes."""
    store = core.store
    item = store.get("payment_intent", key)
    if item["status"] != "requires_action":
        raise payments.unexpected(item, "authenticated")
    if success:
        payments.settle(store, item)
    else:
        payments.fail(store, item, "authentication_required")
    return item
