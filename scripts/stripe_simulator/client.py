"""The calls below /_sim as methods, for a simulator wherever it runs."""

import json
import urllib.error
import urllib.request
from typing import Any

from scripts.stripe_simulator.store import JSON


class ControlError(Exception):
    """A call was refused; `error` is Stripe's error object."""

    def __init__(self, status: int, error: JSON) -> None:
        super().__init__(f"{status}: {error.get('message')}")
        self.status = status
        self.error = error


class Control:
    """The control of the simulator at `url`. Every method returns the JSON of its answer."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, method: str = "POST", /, **body: Any) -> JSON:
        """Any call below /_sim; raises ControlError when it is refused."""
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(
            f"{self.url}/_sim/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(error.code, json.load(error)["error"]) from None

    def reset(self) -> JSON:
        """Forget everything."""
        return self.call("reset")

    def settings(self, **values: Any) -> JSON:
        """Change settings: those of `store.DEFAULTS`, webhook_url, webhook_secret."""
        return self.call("settings", **values)

    def state(self) -> JSON:
        """Everything the simulator knows."""
        return self.call("state", "GET")

    def objects(self, kind: str) -> list[JSON]:
        """The objects of a kind, oldest first."""
        found = self.state()["objects"].get(kind, {})
        return list(found.values())

    def requests(self, method: str | None = None, path: str | None = None) -> list[JSON]:
        """The requests to the API, of that method and path."""
        found = self.call("requests", "GET")["requests"]
        return [each for each in found if method in (None, each["method"]) and path in (None, each["path"])]

    def created(self, kind: str) -> int:
        """How many objects of the kind have ever been made: one refund is one effect."""
        return self.call("requests", "GET")["created"].get(kind, 0)

    def advance(self, *, seconds: float | None = None, to: int | None = None) -> int:
        """Move the time; the answer is the new one."""
        given = {"seconds": seconds, "to": to}
        return self.call("advance", **{name: value for name, value in given.items() if value is not None})["now"]

    def checkout(self, key: str, action: str = "complete", **values: Any) -> JSON:
        """complete (payment_method=…, async=True), decline, expire, async_succeed, async_fail: the session."""
        return self.call(f"checkout/{key}/{action}", **values)

    def authenticate(self, key: str, *, success: bool = True) -> JSON:
        """The customer passes 3-D Secure, or fails: the payment intent."""
        return self.call(f"payment_intents/{key}/{'authenticate' if success else 'fail_authentication'}")

    def card(self, key: str, decline: str | None) -> JSON:
        """Let a payment method be refused from here on, or accepted again: the payment method."""
        return self.call(f"cards/{key}", decline=decline)

    def refund(self, key: str, action: str, **values: Any) -> JSON:
        """succeed, or fail (failure_reason=…): the refund."""
        return self.call(f"refunds/{key}/{action}", **values)

    def dispute(self, **values: Any) -> JSON:
        """Open one: charge=… or payment_intent=…, status=…, reason=…, amount=…: the dispute."""
        return self.call("disputes", **values)

    def close_dispute(self, key: str, action: str) -> JSON:
        """won, lost, warning_closed, or escalate: the dispute."""
        return self.call(f"disputes/{key}/{action}")

    def portal(self, key: str, action: str, **values: Any) -> JSON:
        """cancel (subscription=…), resume (subscription=…), card (payment_method=…): the portal session."""
        return self.call(f"portal/{key}/{action}", **values)

    def fault(self, kind: str, **values: Any) -> JSON:
        """Add a rule, see `faults`: the rule."""
        return self.call("faults", kind=kind, **values)

    def clear_faults(self) -> JSON:
        return self.call("faults", "DELETE")

    def events(self, *kinds: str) -> list[JSON]:
        """The events of these types, or all, oldest first."""
        return [each for each in self.objects("event") if not kinds or each["type"] in kinds]

    def resend(self, key: str) -> JSON:
        """Deliver an event once more."""
        return self.call(f"events/{key}/resend")

    def release(self, order: list[str] | None = None) -> list[str]:
        """Deliver held events in the order of their ids or types, or last first: the ids."""
        return self.call("release", order=order)["released"]

    def flush(self, seconds: float = 30) -> JSON:
        """Wait until every event that is not held is delivered: done, pending, held."""
        return self.call("flush", seconds=seconds)

    def deliveries(self) -> list[JSON]:
        """Every attempt to deliver an event, in order."""
        return self.call("deliveries", "GET")["deliveries"]
