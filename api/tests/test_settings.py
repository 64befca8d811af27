"""The API says what is missing before it starts."""

import pytest

from api.settings import ConfigurationError, Settings
from api.tests.conftest import SECRET, Client

GOOD = {"DATABASE_URL": "postgresql://127.0.0.1/x", "JWT_SECRET": SECRET}
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
    ],
)
def test_a_mistake_is_named(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        Settings.read(GOOD | changes)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigurationError) as refused:
        Settings.read({})
    assert len(str(refused.value).splitlines()) == 3


def test_what_is_empty_is_not_set():
    settings = Settings.read(GOOD | {"JWT_AUDIENCE": "", "CORS_ORIGINS": " , ", "MAX_BODY_BYTES": ""})
    assert (settings.audiences, settings.cors_origins, settings.max_body_bytes) == ((), frozenset(), 2097152)
    assert Settings.read(GOOD | {"JWT_SECRET": "ü" * 16}).jwt_secret == "ü" * 16


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
