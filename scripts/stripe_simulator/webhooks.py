"""Signed webhooks: a thread that delivers every event until it is answered with a 2xx.

The signature is Stripe's: https://docs.stripe.com/webhooks#verify-manually. Its time is the real one, whatever the
simulator's clock says, because the receiver compares it with its own.
"""

import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

from scripts.stripe_simulator.errors import ApiError
from scripts.stripe_simulator.faults import Fault, Faults
from scripts.stripe_simulator.store import JSON, Store

FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0
TIMEOUT = 20


def signature(payload: str, secret: str, at: int | None = None) -> str:
    """The Stripe-Signature header of a payload."""
    at = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), f"{at}.{payload}".encode(), hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


@dataclass(order=True)
class Delivery:
    """One event on its way; `due` is a time of the monotonic clock."""

    due: float
    number: int
    event: str = field(compare=False)
    kind: str = field(compare=False)
    attempts: int = field(default=0, compare=False)
    at_once: int = field(default=1, compare=False)


class Webhooks:
    """Deliveries to one endpoint: in the order of the events, one at a time, unless a fault says otherwise."""

    def __init__(self, store: Store, faults: Faults, url: str | None, secret: str) -> None:
        self.store = store
        self.faults = faults
        self.url = url
        self.secret = secret
        self.change = threading.Condition()
        self.numbers = count(1)
        self.log: list[JSON] = []
        self.queue: list[Delivery] = []
        self.held: list[Delivery] = []
        self.running = 0
        self.stopped = False
        store.listeners.append(self.hear)
        for event in store.all("event"):
            if event["pending_webhooks"]:
                self._put(self._delivery(event))

    def start(self) -> None:
        threading.Thread(target=self._run, name="stripe-webhooks", daemon=True).start()

    def stop(self) -> None:
        with self.change:
            self.stopped = True
            self.change.notify_all()

    def hear(self, event: JSON) -> None:
        """Queue a new event, as the faults say."""
        if self.url is None:
            return
        fault = self.faults.of_event(event["type"])
        kind = fault.kind if fault else None
        event["pending_webhooks"] = 0 if kind == "drop" else 1
        if fault is None:
            self._put(self._delivery(event))
        elif kind in ("hold", "reorder"):
            self._hold(self._delivery(event), fault)
        elif kind == "delay":
            self._put(self._delivery(event, fault.seconds))
        elif kind == "duplicate":
            delivery = self._delivery(event)
            delivery.at_once = fault.copies if fault.at_once else 1
            again = [] if fault.at_once else [self._delivery(event) for _ in range(fault.copies - 1)]
            self._put(delivery, *again)

    def resend(self, event: JSON) -> None:
        """Deliver an event once more, whatever has happened to it."""
        if self.url is None:
            raise ApiError("There is no webhook URL.")
        self._put(self._delivery(event))

    def release(self, order: list[str] | None = None) -> list[str]:
        """Deliver what is held: by event ids or types, or last first; what the order does not name stays held."""
        with self.change:
            if order is None:
                chosen = self.held[::-1]
            else:
                chosen = []
                for name in order:
                    chosen += [each for each in self.held if name in (each.event, each.kind) and each not in chosen]
            self.held = [each for each in self.held if each not in chosen]
            self._queue(chosen)
        return [each.event for each in chosen]

    def flush(self, seconds: float) -> JSON:
        """Wait until nothing is on its way (what is held is not), or until the time is over."""
        with self.change:
            done = self.change.wait_for(lambda: not self.queue and not self.running, seconds)
            pending = [{"event": each.event, "type": each.kind, "attempts": each.attempts} for each in self.queue]
            held = [{"event": each.event, "type": each.kind} for each in self.held]
        return {"done": done, "pending": pending, "held": held}

    def forget(self) -> None:
        """Drop everything that is not delivered."""
        with self.change:
            self.queue.clear()
            self.held.clear()
            self.log.clear()
            self.change.notify_all()

    def _delivery(self, event: JSON, seconds: float = 0) -> Delivery:
        return Delivery(time.monotonic() + seconds, next(self.numbers), event["id"], event["type"])

    def _put(self, *deliveries: Delivery) -> None:
        with self.change:
            self.queue += deliveries
            self.change.notify_all()

    def _queue(self, chosen: Iterable[Delivery]) -> None:
        """Queue held deliveries in this order; the lock is held."""
        for each in chosen:
            each.due, each.number = time.monotonic(), next(self.numbers)
            self.queue.append(each)
        self.change.notify_all()

    def _hold(self, delivery: Delivery, fault: Fault) -> None:
        with self.change:
            self.held.append(delivery)
            if fault.kind == "reorder" and len(self.held) >= fault.count:
                chosen, self.held = self.held[::-1], []
                self._queue(chosen)

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            copies = [threading.Thread(target=self._attempt, args=[delivery]) for _ in range(delivery.at_once - 1)]
            for each in copies:
                each.start()
            answered = self._attempt(delivery)
            for each in copies:
                each.join()
            with self.change:
                self.running -= 1
                if not answered and not self.stopped:
                    delivery.attempts += 1
                    delivery.at_once = 1
                    wait = min(FIRST_WAIT * 2 ** (delivery.attempts - 1), LONGEST_WAIT)
                    delivery.due = time.monotonic() + wait
                    self.queue.append(delivery)
                self.change.notify_all()

    def _next(self) -> Delivery | None:
        """The next delivery, when it is due; None at the end."""
        with self.change:
            while not self.stopped:
                first = min(self.queue, default=None)
                wait = None if first is None else first.due - time.monotonic()
                if first is not None and wait is not None and wait <= 0:
                    self.queue.remove(first)
                    self.running += 1
                    return first
                self.change.wait(wait)
        return None

    def _attempt(self, delivery: Delivery) -> bool:
        """POST the event once; whether it was answered with a 2xx."""
        with self.store.lock:
            event = self.store.objects.get("event", {}).get(delivery.event)
            payload = json.dumps(event, indent=2)
        if event is None or self.url is None:
            return True
        status, reason = self._post(self.url, payload)
        answered = status is not None and 200 <= status < 300
        with self.store.lock:
            self.log.append(
                {
                    "event": delivery.event,
                    "type": delivery.kind,
                    "attempt": delivery.attempts + 1,
                    "status": status,
                    "error": reason,
                }
            )
            if answered:
                event["pending_webhooks"] = 0
                self.store.save()
        return answered

    def _post(self, url: str, payload: str) -> tuple[int | None, str | None]:
        """The status of the answer, or why there is none."""
        at = urlsplit(url)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(payload, self.secret),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks; simulated)",
        }
        kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
        connection = kind(at.hostname or "127.0.0.1", at.port, timeout=TIMEOUT)
        try:
            connection.request("POST", (at.path or "/") + (f"?{at.query}" if at.query else ""), payload, headers)
            return connection.getresponse().status, None
        except (OSError, http.client.HTTPException) as error:
            return None, f"{type(error).__name__}: {error}"
        finally:
            connection.close()
