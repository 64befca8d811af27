"""The API says what is missing before it starts."""

import pytest

from api import create_app
from api.settings import ConfigurationError, Settings
from api.tests.conftest import SECRET, Client

GOOD = {"DATABASE_URL": "postgresql://127.0.0.1/x", "JWT_SECRET": SECRET}
LIVE = {"STRIPE_SECRET_KEY": "rk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1", "APP_URL": "https://shop.example.com"}
ALLOWED, OTHER = "https://app.example.com", "https://evil.example.com"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL must be set"),
        ({"JWT_SECRET": ""}, "JWT_SECRET or JWT_JWKS_URL must be set"),
        ({"JWT_SECRET": "x" * 31}, "at least 32 bytes"),
        ({"JWT_JWKS_URL": "file:///etc/passwd"}, "JWT_JWKS_URL"),
        ({"CORS_ORIGINS": "*"}, "is not an origin"),
        ({"CORS_ORIGINS": "https://app.example.com/"}, "is not an origin"),
        ({"DATABASE_POOL_SIZE": "many"}, "DATABASE_POOL_SIZE"),
        ({"DATABASE_POOL_SIZE": "0.5"}, "DATABASE_POOL_SIZE"),
        ({"STATEMENT_TIMEOUT": "0"}, "STATEMENT_TIMEOUT"),
        ({"DATABASE_TIMEOUT": "nan"}, "DATABASE_TIMEOUT"),
        ({"STRIPE_TIMEOUT": "0"}, "STRIPE_TIMEOUT"),
        ({"STRIPE_API_BASE": "localhost:12111"}, "STRIPE_API_BASE must be a URL"),
        ({"APP_URL": "shop.example.com"}, "APP_URL must be a URL"),
        ({"STRIPE_SECRET_KEY": "pk_test_1"}, "STRIPE_SECRET_KEY must begin with sk_ or rk_"),
        ({"STRIPE_SECRET_KEY": " sk_test_1"}, "STRIPE_SECRET_KEY must begin with sk_ or rk_"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL must be one of debug, info, warning, error"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT must be one of json, text"),
        ({"SLOW_STATEMENT": "-1"}, "SLOW_STATEMENT must be a number"),
        ({"METRICS_NETWORKS": "localhost"}, "METRICS_NETWORKS must be networks such as 127.0.0.0/8"),
        ({"METRICS_NETWORKS": "10.0.0.1/8"}, "METRICS_NETWORKS must be networks .*has host bits set"),
        ({"LEGACY_SUNSET": "soon"}, "LEGACY_SUNSET must be a date such as 2027-12-31"),
        ({"LEGACY_DEPRECATION": "2025-02-30"}, "LEGACY_DEPRECATION must be a date"),
        ({"LEGACY_DEPRECATION": "2027-12-31", "LEGACY_SUNSET": "2027-12-30"}, "LEGACY_SUNSET must not be before"),
        (LIVE | {"APP_URL": ""}, "APP_URL must be set"),
        (LIVE | {"STRIPE_WEBHOOK_SECRET": ""}, "STRIPE_WEBHOOK_SECRET must be set"),
        (LIVE | {"STRIPE_API_BASE": "http://127.0.0.1:12111"}, "STRIPE_API_BASE is for a simulator"),
    ],
)
def test_a_mistake_is_named(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        Settings.read(GOOD | changes)


def test_how_it_logs_unless_told():
    settings = Settings.read(GOOD)
    assert (settings.log_level, settings.log_format, settings.slow_statement) == ("info", "", 0.5)
    assert [str(network) for network in settings.metrics_networks] == ["127.0.0.0/8", "::1/128"]
    told = Settings.read(GOOD | {"LOG_LEVEL": "Warning", "LOG_FORMAT": "TEXT", "METRICS_NETWORKS": "10.0.0.0/8"})
    assert (told.log_level, told.log_format, len(told.metrics_networks)) == ("warning", "text", 1)


def test_a_mistake_tells_nothing_of_the_key():
    with pytest.raises(ConfigurationError) as refused:
        Settings.read(GOOD | {"STRIPE_SECRET_KEY": "whsec_never_shown"})
    assert "whsec" not in str(refused.value)
    assert "shown" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"STRIPE_SECRET_KEY": "sk_test_1"}, True),
        ({"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}, False),
        ({}, False),
    ],
)
def test_a_key_without_the_secret_of_the_events_is_warned_of(caplog, changes, warned):
    create_app(GOOD | changes)
    assert ("STRIPE_WEBHOOK_SECRET is not set: no event will be believed" in caplog.text) == warned


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigurationError) as refused:
        Settings.read({})
    assert len(str(refused.value).splitlines()) == 3


def test_what_is_empty_is_not_set():
    settings = Settings.read(GOOD | {"JWT_AUDIENCE": "", "CORS_ORIGINS": " , ", "MAX_BODY_BYTES": ""})
    assert (settings.audiences, settings.cors_origins, settings.max_body_bytes) == ((), frozenset(), 2097152)
    assert Settings.read(GOOD | {"JWT_SECRET": "ü" * 16}).jwt_secret == "ü" * 16


def test_settings_of_payments():
    settings = Settings.read(GOOD)
    assert (settings.stripe_key, settings.stripe_webhook_secrets, settings.stripe_api_base) == (None, (), None)
    assert settings.stripe_timeout == 20
    live = Settings.read(
        GOOD | LIVE | {"STRIPE_WEBHOOK_SECRET": "whsec_1, whsec_2", "APP_URL": "https://a.example.com/"}
    )
    assert (live.stripe_webhook_secrets, live.app_url) == (("whsec_1", "whsec_2"), "https://a.example.com")


def test_configured_origins_may_call(client: Client, user):
    preflight = client.send(
        "OPTIONS",
        "/api/billing/v2/check",
        headers={"Origin": ALLOWED, "Access-Control-Request-Method": "POST"},
    )
    assert preflight.status == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    for by in (user, None):
        answer = client.get("/api/billing/v2/check", by=by, headers={"Origin": ALLOWED})
        assert answer.headers["Access-Control-Allow-Origin"] == ALLOWED, "errors can be read, too"
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "https://app.example.com.evil.example", "http://app.example.com", ""]
)
def test_other_origins_may_not(client, user, origin):
    for method in ("OPTIONS", "GET"):
        answer = client.send(method, "/api/billing/v2/check", by=user, headers={"Origin": origin})
        assert not [name for name in answer.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118
        assert "Origin" in answer.headers["Vary"]
