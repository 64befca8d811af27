"""Stripe's client, and what else the settings say about payments. Without a key, all that needs no Stripe works."""

from dataclasses import dataclass, field

import stripe
from flask import Flask, current_app
from stripe import StripeClient

from api.errors import Problem
from api.settings import Settings


@dataclass(frozen=True)
class Payments:
    """What the app knows of Stripe; the client is None without a key."""

    client: StripeClient | None
    webhook_secrets: tuple[str, ...] = field(repr=False)
    app_url: str
    origins: frozenset[str]


def init_stripe(app: Flask, settings: Settings) -> None:
    if settings.stripe_key and not settings.stripe_webhook_secrets:
        app.logger.warning("STRIPE_WEBHOOK_SECRET is not set: no event will be believed.")
    app.extensions["payments"] = Payments(
        client=make_client(settings) if settings.stripe_key else None,
        webhook_secrets=settings.stripe_webhook_secrets,
        app_url=settings.app_url,
        origins=settings.cors_origins,
    )


def make_client(settings: Settings) -> StripeClient:
    """A client that tries once: what fails is tried again from its record, which knows what may have happened."""
    return StripeClient(
        str(settings.stripe_key),
        base_addresses={"api": settings.stripe_api_base} if settings.stripe_api_base else None,
        max_network_retries=0,
        http_client=stripe.new_default_http_client(timeout=settings.stripe_timeout),
    )


def payments() -> Payments:
    return current_app.extensions["payments"]


def stripe_client() -> StripeClient:
    """The client; raises Problem 503 when there is no key."""
    client = payments().client
    if client is None:
        raise Problem(503, "payments_not_configured", "There are no payments here: no key of Stripe's is configured.")
    return client
