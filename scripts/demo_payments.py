"""What the demo's customers pay: they begin at the API, pay at the simulated Stripe, and its events tell the API.

Every call has a fixed idempotency key, so that what a killed run has left half done is completed, and nothing is done
twice. The dispute comes last: a database that has it has everything before it.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg

from scripts.demo import IDENTITIES, demo_id
from scripts.stripe_simulator.client import Control, ControlError
from scripts.stripe_simulator.store import JSON


class NotPaidError(Exception):
    """A payment is not made."""


class RefusedError(NotPaidError):
    """The API refuses it, and will again."""


class Customers:
    """Those who pay through the API at `url` and the simulator; `sign` makes the token of a user."""

    def __init__(self, url: str, stripe: Control, sign: Callable[[UUID], str], conn: psycopg.Connection) -> None:
        self.url, self.stripe, self.sign, self.conn = url, stripe, sign, conn

    def post(self, user_id: UUID, path: str, key: str, /, **body: Any) -> JSON:
        """The answer of one call of the API; raises NotPaidError, or OSError when nobody answers."""
        headers = {
            "Authorization": f"Bearer {self.sign(user_id)}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"demo-{key}",
        }
        request = urllib.request.Request(f"{self.url}/api/{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                kind = RefusedError if error.code < 500 else NotPaidError
                raise kind(f"{path} answered {error.code}: {json.load(error).get('detail')}") from None

    def pay(self, name: str, path: str, key: str, /, **body: Any) -> None:
        """Begin a checkout and pay on its page, unless it is paid."""
        begun = self.post(demo_id(name), f"billing/v2/{path}", key, **body)
        session = begun["stripe_checkout_session_id"]
        if any(each["id"] == session and each["status"] == "open" for each in self.stripe.objects("checkout.session")):
            self.stripe.checkout(session)
        self.tell()

    def tell(self) -> None:
        """Wait until the API has heard of what happened at Stripe."""
        if not self.stripe.flush()["done"]:
            raise NotPaidError("the API does not take in the events of the simulator")

    def intent(self, name: str, cents: int) -> str:
        """The payment of that amount, as Stripe calls it."""
        found = self.conn.execute(
            "select payment_intent_id from billing.list_payments(%s) where amount_cents = %s", [demo_id(name), cents]
        ).fetchone()
        if found is None:
            raise NotPaidError(f"no payment of {name} has arrived")
        return found[0]

    def purchases(self) -> None:
        """Credits that margaret buys, of which she gets a part of the money back."""
        self.pay("margaret", "purchase-credits", "package-100", package="100", save_card=True)
        self.pay("margaret", "purchase-credits", "package-25", package="25")
        self.post(
            IDENTITIES["super_admin"],
            "admin/billing/refund",
            "money-back",
            user_id=str(demo_id("margaret")),
            amount="10",
            reason="Bought more than the project needs",
            stripe_refund=True,
            payment_intent_id=self.intent("margaret", 2500),
        )
        self.tell()

    def subscriptions(self) -> None:
        """What they pay for the tiers that they are on."""
        self.pay("margaret", "create-checkout-session", "monthly", tier="tier_200_1000", interval="month")
        self.pay("grace", "create-checkout-session", "yearly", tier="tier_12_100", interval="year")

    def dispute(self) -> None:
        """A payment that barbara's bank asks back, which freezes her account."""
        self.pay("barbara", "create-checkout-session", "monthly", tier="tier_2_20", interval="month")
        intent = self.intent("barbara", 2000)
        if all(each["payment_intent"] != intent for each in self.stripe.objects("dispute")):
            self.stripe.dispute(payment_intent=intent, reason="fraudulent")
        self.tell()


def seed_payments(
    url: str,
    stripe: Control,
    sign: Callable[[UUID], str],
    conn: psycopg.Connection,
    tell: Callable[[str], None] = print,
) -> bool:
    """Make the payments of the demo accounts unless they are made; whether all are. What can't be made is told."""
    there = "select exists (select from billing.billing_disputes where user_id = %s)"
    if conn.execute(there, [demo_id("barbara")]).fetchone() == (True,):
        return True
    customers = Customers(url, stripe, sign, conn)
    refused = False
    try:
        for paid in (customers.purchases, customers.subscriptions, customers.dispute):
            try:
                paid()
            except RefusedError as error:
                # Who has tried the demo by hand may have a subscription already: the others can pay all the same.
                refused = True
                tell(f"demo: without some of its payments: {error}")
    except (NotPaidError, ControlError, OSError, http.client.HTTPException, json.JSONDecodeError) as error:
        tell(f"demo: without its payments until the next start: {error}")
        return False
    if not refused:
        tell("demo: purchases, subscriptions, a refund in money and a dispute, all at the simulated Stripe")
    return not refused
