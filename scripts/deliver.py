"""Deliver the events of billing.billing_events as webhooks, after the Standard Webhooks specification.

An event is claimed, sent, and noted as delivered or failed. Between two of these the process may die: then the claim
runs out after two minutes, and the event is sent again with the same webhook-id. SQL hands out the events of one user
one after the other; those of several users are sent at the same time.
"""

import logging
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from queue import Empty, SimpleQueue
from uuid import UUID

import psycopg
import requests
from standardwebhooks import Webhook
from urllib3.exceptions import HTTPError

from api import API, json
from api.database import Row, call, call_all
from api.logs import piece_of_work

THREADS = 8
# Seconds until a connection stands, and between two pieces of an answer.
TIMEOUTS = (5.0, 15.0)
# How many characters of an answer are kept, and how many bytes of it are read.
SHOWN, READ = 200, 4096
DAY = timedelta(days=1)

log = logging.getLogger("worker")


@dataclass(frozen=True)
class Answer:
    """What became of a delivery: the error is None when it was accepted."""

    error: str | None = None
    retry_after: timedelta | None = None


class Receiver:
    """Where events go. For one thread: it keeps its connection."""

    def __init__(self, url: str, secrets: tuple[str, ...], timeouts: tuple[float, float] = TIMEOUTS) -> None:
        self.url = url
        self.secrets = secrets
        self.timeouts = timeouts
        self.session = requests.Session()

    def send(self, event_id: str, body: str) -> Answer:
        """POST a signed message once. Never raises for what the receiver or the network does."""
        try:
            response = self.session.post(
                self.url,
                data=body.encode(),
                headers=signed(event_id, body, self.secrets),
                timeout=self.timeouts,
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            return Answer(f"No answer: {self.reason(error)}")
        with response:
            if 200 <= response.status_code < 300:
                return Answer()  # what it is answered with does not matter, and may never end
            refusal = self.refusal(response, beginning(response))
            return Answer(refusal, retry_after(response.status_code, response.headers))

    def refusal(self, response: requests.Response, text: str) -> str:
        """The status and the first characters of the answer, whatever the receiver has put there."""
        try:
            status = f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
        except ValueError:
            status = str(response.status_code)
        for secret in self.secrets:
            text = text.replace(secret, "***").replace(secret.removeprefix("whsec_"), "***")
        shown = "".join(letter if letter.isprintable() else " " for letter in text)
        return f"{status}: {' '.join(shown.split())[:SHOWN]}".removesuffix(": ")

    def reason(self, error: requests.RequestException) -> str:
        """What went wrong, without the URL, which may have a password or a token in it."""
        if isinstance(error, requests.ConnectTimeout):
            return f"no connection in {self.timeouts[0]:g} seconds"
        if isinstance(error, requests.Timeout):
            return f"nothing came for {self.timeouts[1]:g} seconds"
        cause: BaseException | None = error
        found = None
        while cause is not None:
            if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
                found = getattr(cause, "verify_message", None) or cause.strerror or found
            cause = cause.__cause__ or cause.__context__
        return found or type(error).__name__


def beginning(response: requests.Response) -> str:
    """What has come of an answer's body; one that can't be read, or trickles, says nothing more."""
    try:
        return response.raw.read1(READ, decode_content=True).decode(errors="replace")
    except (HTTPError, OSError):
        return ""


def signed(event_id: str, body: str, secrets: tuple[str, ...]) -> dict[str, str]:
    """The headers of a delivery that is sent at this moment."""
    now = datetime.now(UTC)
    return {
        "Content-Type": "application/json",
        "User-Agent": "credit-billing",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(event_id, now, body) for secret in secrets),
    }


def message(event: Row) -> str:
    """The body of a delivery; amounts are exact JSON numbers, and the same event gives the same text."""
    data = {"user_id": event["user_id"], "event_no": event["event_no"], **event["payload"]}
    return json.dumps({"type": event["kind"], "timestamp": event["created_at"], "data": data})


def retry_after(status: int, headers: Mapping[str, str]) -> timedelta | None:
    """How long a receiver that is overloaded asks us to wait, a day at most; None when it does not say."""
    asked = headers.get("Retry-After", "").strip()
    if status not in (429, 503) or not asked:
        return None
    if re.fullmatch(r"[0-9]{1,9}", asked):
        return min(timedelta(seconds=int(asked)), DAY)
    try:
        at = parsedate_to_datetime(asked)
        return min(max(at.astimezone(UTC) - datetime.now(UTC), timedelta()), DAY)
    except (ValueError, OverflowError):
        return None


class Deliveries:
    """Events on their way: a queue, and threads that each send one at a time."""

    def __init__(self, app: API, url: str, secrets: tuple[str, ...], limit: int) -> None:
        self.app, self.url, self.secrets, self.limit = app, url, secrets, limit
        # Set when there may be something to send: an event has landed, so that the next one of its user is due.
        self.wake = threading.Event()
        # None ends a thread.
        self.queue: SimpleQueue[Row | None] = SimpleQueue()
        # Guards what is below, and tells when an event has landed.
        self.changed = threading.Condition()
        self.flying: set[UUID] = set()
        self.counts: Counter[str] = Counter()
        self.crash: BaseException | None = None
        for _ in range(THREADS):
            # Whoever does not answer in time must not keep the process from ending: the claim runs out.
            threading.Thread(target=self.work, daemon=True).start()

    def send_due(self, seen: set[UUID] | None = None) -> int:
        """Queue what is due, not on its way, and not in `seen`; returns how many events. Raises psycopg.Error."""
        if self.crash is not None:
            raise self.crash
        due = {event["event_id"]: event for event in call_all("list_due_events", limit=self.limit)}
        with self.changed:
            new = due.keys() - self.flying - (seen or set())
            self.flying |= new
        for event_id, event in due.items():
            if event_id in new:
                self.queue.put(event)
        if seen is not None:
            seen |= new
        return len(new)

    def landed(self, seconds: float) -> bool:
        """Wait until nothing is on its way, so long at most; whether nothing is."""
        with self.changed:
            return self.changed.wait_for(lambda: not self.flying, seconds)

    def stop(self) -> None:
        """Send nothing any more but what is being sent."""
        with self.changed:
            try:
                while (event := self.queue.get_nowait()) is not None:
                    self.flying.discard(event["event_id"])
            except Empty:
                pass
            self.changed.notify_all()
        for _ in range(THREADS):
            self.queue.put(None)

    def work(self) -> None:
        """In a thread of its own: send what is in the queue."""
        receiver = Receiver(self.url, self.secrets)
        while (event := self.queue.get()) is not None:
            outcome = None
            try:
                with self.app.app_context(), piece_of_work():
                    outcome = deliver(receiver, event)
            except psycopg.Error as error:
                # Unless it had been claimed, it is due at the next look.
                log.error("Event %s: %s", event["event_id"], str(error).strip().partition("\n")[0])
            except BaseException as error:  # for the thread that looks for events to raise
                self.crash = error
            with self.changed:
                self.flying.discard(event["event_id"])
                self.counts[outcome or "error"] += 1
                self.changed.notify_all()
            if outcome is not None or self.crash is not None:
                self.wake.set()


def deliver(receiver: Receiver, event: Row) -> str:
    """Send an event that is due; how that went: delivered, failed, dead, or taken by somebody else.

    Raises psycopg.Error: when it had been sent already, it is sent again.
    """
    key = {"user_id": event["user_id"], "event_id": event["event_id"]}
    claimed = call("claim_event", **key)
    if claimed["event_id"] is None:
        return "taken"
    answer = receiver.send(str(claimed["event_id"]), message(claimed))
    if answer.error is None:
        call("finish_event", **key)
        return "delivered"
    after = call("fail_event", **key, error=answer.error, retry_after=answer.retry_after)
    told = (after["kind"], after["event_id"], after["user_id"], after["attempts"], answer.error)
    if after["status"] == "dead":
        log.error("Event %s %s of user %s is given up after %s attempts: %s", *told)
        return "dead"
    log.warning("Event %s %s of user %s is not delivered, attempt %s: %s", *told)
    return "failed"
