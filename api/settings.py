"""What the environment says: the one place that reads it."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

SECRET_BYTES = 32
# What RFC 6265 lets a cookie be called.
COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
YES = {"1", "true", "yes", "on"}
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("json", "text")
KEYS = ("sk_", "rk_")
LIVE_KEYS = ("sk_live_", "rk_live_")


class ConfigurationError(Exception):
    """The environment does not describe a system that can run; the message names every mistake."""


@dataclass(frozen=True)
class Settings:
    """The API's configuration.

    DATABASE_URL                where the database is. A login other than billing_api must be a member of that role.
    DATABASE_TRANSACTION_POOLER  true behind pgbouncer in transaction mode: sends no session settings and prepares no
                                statements. Then log in as billing_api, and give that role its statement_timeout.
    DATABASE_POOL_SIZE          connections per process at most (10).
    DATABASE_TIMEOUT            seconds to wait for a connection, at most (5).
    STATEMENT_TIMEOUT           seconds a statement may take (10).
    JWT_SECRET                  the secret of HS256 tokens, at least 32 bytes.
    JWT_JWKS_URL                where the public keys of RS256 and ES256 tokens are.
    JWT_AUDIENCE, JWT_ISSUER    what `aud` and `iss` must be, several separated by commas; not checked by default.
    SESSION_SECRET              what signs the cookie of /admin and /billing, at least 32 bytes; made of JWT_SECRET by
                                default. Without either of them, these pages are closed.
    TOKEN_COOKIE                the application's own cookie, if it holds its token: whoever has it is signed in.
    CORS_ORIGINS                origins whose pages may call the API, separated by commas; none by default.
    MAX_BODY_BYTES              the largest request body (2 MiB).
    STRIPE_SECRET_KEY           the key of Stripe's API; without one there are no payments.
    STRIPE_WEBHOOK_SECRET       what signs Stripe's events, several separated by commas while one is being replaced.
    STRIPE_API_BASE             where a simulator of Stripe is; Stripe itself by default.
    STRIPE_TIMEOUT              seconds to wait for Stripe's answer (20).
    APP_URL                     where customers come back to from Stripe's pages (http://127.0.0.1:8000).
    EVENT_WEBHOOK_URL           where the worker delivers events, once the job deliver_events is on.
    EVENT_WEBHOOK_SECRET        what it signs them with: whsec_ and 24 to 64 bytes in base64; several, separated by
                                commas, while one is being replaced: then all of them sign.
    LOG_LEVEL                   the least that is logged: debug, info, warning or error (info).
    LOG_FORMAT                  json or text; json unless stderr is a terminal.
    SLOW_STATEMENT              seconds from which on a statement is warned of (0.5).
    METRICS_NETWORKS            who may read /metrics, in CIDR notation, separated by commas (127.0.0.0/8,::1/128).
    LEGACY_DEPRECATION          the day since when /api/billing/* is deprecated, in UTC (2025-01-15).
    LEGACY_SUNSET               the day when it is to go, in UTC, and not before that one (2027-12-31).
    """

    database_url: str = field(repr=False)
    transaction_pooler: bool
    pool_size: int
    database_timeout: float
    statement_timeout: float
    jwt_secret: str | None = field(repr=False)
    jwks_url: str | None
    audiences: tuple[str, ...]
    issuers: tuple[str, ...]
    session_secret: str | None = field(repr=False)
    token_cookie: str | None
    cors_origins: frozenset[str]
    max_body_bytes: int
    stripe_key: str | None = field(repr=False)
    stripe_webhook_secrets: tuple[str, ...] = field(repr=False)
    stripe_api_base: str | None
    stripe_timeout: float
    app_url: str
    event_url: str | None = field(repr=False)
    event_secrets: tuple[str, ...] = field(repr=False)
    log_level: str
    log_format: str
    slow_statement: float
    metrics_networks: tuple[IPv4Network | IPv6Network, ...]
    legacy_deprecation: date
    legacy_sunset: date

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises ConfigurationError with one line for each mistake."""
        mistakes: list[str] = []

        def number(name: str, default: float, least: float) -> float:
            try:
                value = float(environ.get(name) or default)
            except ValueError:
                value = 0
            if not least <= value <= 1e9:
                mistakes.append(f"{name} must be a number, and at least {least}.")
                return default
            return value

        def day(name: str, default: str) -> date:
            try:
                return date.fromisoformat(environ.get(name) or default)
            except ValueError:
                mistakes.append(f"{name} must be a date such as {default}.")
                return date.fromisoformat(default)

        def choice(name: str, among: tuple[str, ...], default: str = "") -> str:
            value = environ.get(name, "").lower() or default
            if value not in (*among, default):
                mistakes.append(f"{name} must be one of {', '.join(among)}.")
                return default
            return value

        def networks(name: str, default: str) -> tuple[IPv4Network | IPv6Network, ...]:
            try:
                return tuple(ip_network(each) for each in listed(environ.get(name) or default))
            except ValueError as error:
                mistakes.append(f"{name} must be networks such as {default}: {error}.")
                return ()

        settings = cls(
            database_url=environ.get("DATABASE_URL", ""),
            transaction_pooler=environ.get("DATABASE_TRANSACTION_POOLER", "").lower() in YES,
            pool_size=int(number("DATABASE_POOL_SIZE", 10, 1)),
            database_timeout=number("DATABASE_TIMEOUT", 5, 0.1),
            statement_timeout=number("STATEMENT_TIMEOUT", 10, 0.1),
            jwt_secret=environ.get("JWT_SECRET") or None,
            jwks_url=environ.get("JWT_JWKS_URL") or None,
            audiences=listed(environ.get("JWT_AUDIENCE")),
            issuers=listed(environ.get("JWT_ISSUER")),
            session_secret=environ.get("SESSION_SECRET") or derived_secret(environ.get("JWT_SECRET")),
            token_cookie=environ.get("TOKEN_COOKIE") or None,
            cors_origins=frozenset(listed(environ.get("CORS_ORIGINS"))),
            max_body_bytes=int(number("MAX_BODY_BYTES", 2 * 1024 * 1024, 1)),
            stripe_key=environ.get("STRIPE_SECRET_KEY") or None,
            stripe_webhook_secrets=listed(environ.get("STRIPE_WEBHOOK_SECRET")),
            stripe_api_base=environ.get("STRIPE_API_BASE") or None,
            stripe_timeout=number("STRIPE_TIMEOUT", 20, 0.1),
            app_url=(environ.get("APP_URL") or "http://127.0.0.1:8000").rstrip("/"),
            event_url=environ.get("EVENT_WEBHOOK_URL") or None,
            event_secrets=listed(environ.get("EVENT_WEBHOOK_SECRET")),
            log_level=choice("LOG_LEVEL", LOG_LEVELS, "info"),
            log_format=choice("LOG_FORMAT", LOG_FORMATS),
            slow_statement=number("SLOW_STATEMENT", 0.5, 0),
            metrics_networks=networks("METRICS_NETWORKS", "127.0.0.0/8,::1/128"),
            legacy_deprecation=day("LEGACY_DEPRECATION", "2025-01-15"),
            legacy_sunset=day("LEGACY_SUNSET", "2027-12-31"),
        )
        if not settings.database_url:
            mistakes.append("DATABASE_URL must be set.")
        if not settings.jwt_secret and not settings.jwks_url:
            mistakes.append("JWT_SECRET or JWT_JWKS_URL must be set: without one, no token can be checked.")
        if settings.jwt_secret and len(settings.jwt_secret.encode()) < SECRET_BYTES:
            mistakes.append(f"JWT_SECRET must have at least {SECRET_BYTES} bytes: a short one can be guessed.")
        if settings.session_secret and len(settings.session_secret.encode()) < SECRET_BYTES:
            mistakes.append(f"SESSION_SECRET must have at least {SECRET_BYTES} bytes: a short one can be guessed.")
        if settings.token_cookie and COOKIE_NAME.fullmatch(settings.token_cookie) is None:
            mistakes.append("TOKEN_COOKIE must be the name of a cookie, without spaces, commas, semicolons or quotes.")
        if settings.jwks_url and urlsplit(settings.jwks_url).scheme not in ("http", "https"):
            mistakes.append("JWT_JWKS_URL must begin with https:// (or http:// on a trusted network).")
        mistakes += [
            f"CORS_ORIGINS: {origin} is not an origin such as https://app.example.com."
            for origin in sorted(settings.cors_origins)
            if not is_origin(origin)
        ]
        mistakes += payment_mistakes(settings, environ)
        mistakes += event_mistakes(settings.event_url, settings.event_secrets)
        if settings.legacy_sunset < settings.legacy_deprecation:
            mistakes.append("LEGACY_SUNSET must not be before LEGACY_DEPRECATION.")
        if mistakes:
            raise ConfigurationError("\n".join(["The API cannot start.", *mistakes]))
        return settings


def payment_mistakes(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """A live key moves money: nobody but Stripe gets to see it, and it needs everything that payments need."""
    urls = {"APP_URL": settings.app_url, "STRIPE_API_BASE": settings.stripe_api_base}
    mistakes = [f"{name} must be a URL such as https://app.example.com." for name, url in urls.items() if not_url(url)]
    if settings.stripe_key and not settings.stripe_key.startswith(KEYS):
        mistakes.append("STRIPE_SECRET_KEY must begin with sk_ or rk_: it is the secret key, or a restricted one.")
    if (settings.stripe_key or "").startswith(LIVE_KEYS):
        missing = [name for name in ("STRIPE_WEBHOOK_SECRET", "APP_URL") if not environ.get(name)]
        mistakes += [f"{name} must be set with a live key of Stripe's." for name in missing]
        if settings.stripe_api_base:
            mistakes.append("STRIPE_API_BASE is for a simulator: it must not be set with a live key of Stripe's.")
    return mistakes


def event_mistakes(url: str | None, secrets: tuple[str, ...]) -> list[str]:
    """A receiver can't tell an event that is not signed from one that somebody else made up. Tells no secret."""
    mistakes = []
    if not_url(url):
        mistakes.append("EVENT_WEBHOOK_URL must be a URL such as https://app.example.com/billing-events.")
    if url and not secrets:
        mistakes.append("EVENT_WEBHOOK_SECRET must be set with EVENT_WEBHOOK_URL: what is delivered is signed.")
    if not all(signs_events(secret) for secret in secrets):
        mistakes.append("EVENT_WEBHOOK_SECRET must be whsec_ and 24 to 64 bytes in base64.")
    return mistakes


def signs_events(secret: str) -> bool:
    """Whether it is a secret of the Standard Webhooks specification."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        return False
    return secret.startswith("whsec_") and 24 <= len(key) <= 64


def derived_secret(jwt_secret: str | None) -> str | None:
    """A secret for sessions, the same in every process; whoever learns it cannot make tokens with it."""
    if not jwt_secret:
        return None
    return hmac.new(jwt_secret.encode(), b"credit-billing session", hashlib.sha256).hexdigest()


def listed(value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def is_origin(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.netloc) and text == f"{parts.scheme}://{parts.netloc}"


def not_url(text: str | None) -> bool:
    """Whether it is there, and is no URL of the web."""
    if text is None:
        return False
    try:
        parts = urlsplit(text)
        known = parts.port  # raises for one that is none
    except ValueError:  # such as http://[
        return True
    return parts.scheme not in ("http", "https") or not parts.hostname or known == 0
