"""Who gets in, and with which token."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.tests.conftest import SECRET, SERVICE, Client, make_app, token

BALANCE = "/api/billing/v2/balance"
CHECK = "/api/billing/v2/check"
DEDUCT = "/api/billing/v2/deduct"


def unsigned(claims: dict[str, Any], algorithm: str, key: bytes | None = None, **header: str) -> str:
    """A token made by hand: PyJWT itself refuses to sign with another kind's key."""
    parts = [{"alg": algorithm, "typ": "JWT"} | header, {"exp": int(time.time()) + 60} | claims]
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = hmac.new(key, text, hashlib.sha256).digest() if key else b""
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_a_token_is_needed(client):
    answer = client.get(BALANCE)
    assert answer.problem() == (401, "token_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dTpw", "token"])
def test_other_headers_are_no_token(client, header):
    assert client.get(BALANCE, headers={"Authorization": header}).problem() == (401, "token_missing")


def test_an_expired_token_is_told_apart(client):
    answer = client.get(BALANCE, by=token(sub=uuid4(), exp=int(time.time()) - 60))
    assert answer.problem() == (401, "token_expired")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda: "nonsense", id="nonsense"),
        pytest.param(lambda: "a.b.c", id="no base64"),
        pytest.param(lambda: "naïve.naïve.naïve", id="not ASCII"),
        pytest.param(lambda: "a" * 5000, id="long"),
        pytest.param(lambda: unsigned({"sub": str(uuid4())}, ["HS256"], SECRET.encode()), id="alg is a list"),
        pytest.param(lambda: token(sub=uuid4(), secret=SECRET[::-1]), id="wrong secret"),
        pytest.param(lambda: token(sub=uuid4(), algorithm="HS384"), id="another algorithm"),
        pytest.param(lambda: unsigned({"sub": str(uuid4())}, "none"), id="alg none"),
        pytest.param(lambda: unsigned({"sub": str(uuid4())}, "None"), id="alg None"),
        pytest.param(lambda: token(sub=uuid4())[:-2], id="cut short"),
        pytest.param(lambda: token(sub=uuid4(), exp=None), id="no exp"),
        pytest.param(lambda: token(sub="not a uuid"), id="sub is no uuid"),
        pytest.param(lambda: token(), id="no sub"),
        pytest.param(lambda: token(role="anon"), id="Supabase's anonymous key"),
        pytest.param(lambda: unsigned({"sub": 7}, "HS256", SECRET.encode()), id="sub is a number"),
        pytest.param(lambda: token(sub=uuid4(), nbf=int(time.time()) + 60), id="not yet"),
    ],
)
def test_a_token_that_proves_nothing(client, bad):
    answer = client.get(BALANCE, by=bad())
    assert answer.problem() == (401, "token_invalid")


def test_r21_a_user_is_not_the_service(client, user):
    body = {"user_id": user, "amount": 1}
    for path in ("deduct", "deduct/batch", "holds", f"holds/{uuid4()}/capture", f"holds/{uuid4()}/release"):
        answer = client.post(f"/api/billing/v2/{path}", body, by=user)
        assert answer.problem() == (403, "not_the_service"), path
        assert client.post(f"/api/billing/v2/{path}", body).problem() == (401, "token_missing")


def test_an_admin_is_not_the_service_either(client, super_admin, user):
    assert client.post(DEDUCT, {"user_id": user, "amount": 1}, by=super_admin).problem() == (403, "not_the_service")


def test_the_service_is_not_a_user(client, user):
    for path in ("check", "balance", "ledger", "ledger.csv", "usage", "grants", "tiers"):
        assert client.get(f"/api/billing/v2/{path}", by="service").problem() == (403, "not_a_user"), path
    body = {"user_id": user, "amount": 1, "reason": "test"}
    assert client.post("/api/admin/billing/credits/adjust", body, by="service").problem() == (403, "not_a_user")


def test_rights_in_a_token_make_no_admin(client, user):
    for role in ("admin", "super_admin"):
        claims = token(sub=user, role=role, app_metadata={"role": role}, user_role=role)
        assert client.get("/api/admin/billing/users", by=claims).problem() == (403, "not_an_admin")


def test_who_has_no_token_learns_nothing_about_the_body(client):
    assert client.post(DEDUCT, "{").problem() == (401, "token_missing")


@pytest.fixture
def audience_app(shared_database) -> Iterator[Client]:
    app = make_app(
        shared_database.url, JWT_AUDIENCE="authenticated, other", JWT_ISSUER="https://x.example/auth/v1,supabase"
    )
    yield Client(app)
    app.extensions["database"].close()


def test_audience_and_issuer(audience_app, user):
    good = {"sub": user, "aud": "authenticated", "iss": "https://x.example/auth/v1"}
    for claims in (good, good | {"aud": ["x", "other"]}, good | {"iss": "supabase"}):
        assert audience_app.get(BALANCE, by=token(**claims)).status == 200
    for change in ({"aud": "x"}, {"aud": None}, {"aud": 7}, {"aud": [{}]}, {"iss": "x"}, {"iss": None}):
        assert audience_app.get(BALANCE, by=token(**good | change)).problem() == (401, "token_invalid")


def test_the_service_of_supabase_names_no_audience(audience_app, user):
    body = {"user_id": user, "amount": 1}
    assert audience_app.post(DEDUCT, body, by=token(**SERVICE, iss="supabase")).status == 200
    for change in ({"aud": "x", "iss": "supabase"}, {"iss": "x"}):
        assert audience_app.post(DEDUCT, body, by=token(**SERVICE, **change)).problem() == (401, "token_invalid")


class Keys:
    """An identity provider: it serves its public keys over HTTP, and can change them."""

    def __init__(self) -> None:
        self.public: list[dict[str, Any]] = []
        self.fetched = 0
        self.junk = b""
        keys = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keys.fetched += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(keys.junk or json.dumps({"keys": keys.public}).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def publish(self, kid: str, private: Any) -> None:
        algorithm = jwt.algorithms.get_default_algorithms()["ES256" if is_ec(private) else "RS256"]
        self.public.append(algorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": kid, "use": "sig"})

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def is_ec(private: Any) -> bool:
    return isinstance(private, ec.EllipticCurvePrivateKey)


def signed(private: Any, kid: str, **claims: Any) -> str:
    return token(secret=private, algorithm="ES256" if is_ec(private) else "RS256", headers={"kid": kid}, **claims)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def keys(rsa_key, ec_key) -> Iterator[Keys]:
    keys = Keys()
    keys.publish("r1", rsa_key)
    keys.publish("e1", ec_key)
    yield keys
    keys.stop()


@pytest.fixture
def jwks(shared_database, keys) -> Iterator[Client]:
    """An app that knows public keys only."""
    app = make_app(shared_database.url, JWT_SECRET="", JWT_JWKS_URL=keys.url)
    yield Client(app)
    app.extensions["database"].close()


def test_jwks_tokens_of_users_and_of_the_service(jwks, keys, rsa_key, ec_key, user):
    for key, kid in ((rsa_key, "r1"), (ec_key, "e1")):
        assert jwks.get(BALANCE, by=signed(key, kid, sub=user)).status == 200
        assert jwks.post(DEDUCT, {"user_id": user, "amount": 1}, by=signed(key, kid, **SERVICE)).status == 200
        expired = signed(key, kid, sub=user, exp=int(time.time()) - 60)
        assert jwks.get(BALANCE, by=expired).problem() == (401, "token_expired")
    assert keys.fetched == 1, "the keys are kept"


def test_jwks_public_key_is_no_hmac_secret(jwks, keys, rsa_key, shared_database, user):
    pem = rsa_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    modulus = keys.public[0]["n"].encode()
    both = make_app(shared_database.url, JWT_JWKS_URL=keys.url)
    for client in (jwks, Client(both)):
        for secret in (pem, pem.strip(), modulus, json.dumps(keys.public[0]).encode()):
            for claims in ({"sub": str(user)}, SERVICE):
                forged = unsigned(claims, "HS256", secret, kid="r1")
                assert client.get(BALANCE, by=forged).problem() == (401, "token_invalid")
    both.extensions["database"].close()


def test_jwks_only_accepts_no_shared_secret_and_the_other_way_round(client, jwks, rsa_key, user):
    assert jwks.get(BALANCE, by=token(sub=user)).problem() == (401, "token_invalid")
    assert client.get(BALANCE, by=signed(rsa_key, "r1", sub=user)).problem() == (401, "token_invalid")


def test_jwks_with_a_symmetric_key_verifies_nothing_with_it(jwks, keys, user):
    shared = b"a symmetric key that somebody published by mistake"
    keys.public.append(
        {"kty": "oct", "kid": "o1", "alg": "HS256", "k": base64.urlsafe_b64encode(shared).decode().rstrip("=")}
    )
    for algorithm in ("HS256", "RS256", "ES256"):
        forged = unsigned({"sub": str(user)}, algorithm, shared, kid="o1")
        assert jwks.get(BALANCE, by=forged).problem() == (401, "token_invalid")


def test_jwks_key_of_another_kind_or_another_owner(jwks, rsa_key, ec_key, user):
    stranger = rsa.generate_private_key(65537, 2048)
    for forged in (
        signed(stranger, "r1", sub=user),
        signed(ec_key, "r1", sub=user),
        signed(rsa_key, "e1", sub=user),
        signed(rsa_key, "unknown", sub=user),
        token(secret=rsa_key, algorithm="RS256", sub=user),
        token(secret=rsa_key, algorithm="RS512", headers={"kid": "r1"}, sub=user),
        unsigned({"sub": str(user)}, "none", kid="r1"),
    ):
        assert jwks.get(BALANCE, by=forged).problem() == (401, "token_invalid")


def test_jwks_rotation(jwks, keys, rsa_key, user):
    fresh = rsa.generate_private_key(65537, 2048)
    assert jwks.get(BALANCE, by=signed(rsa_key, "r1", sub=user)).status == 200
    keys.public.clear()
    keys.publish("r2", fresh)
    # Unknown keys are looked up again at most every 30 seconds, so that made-up ones cannot flood the provider.
    assert jwks.get(BALANCE, by=signed(fresh, "r2", sub=user)).problem() == (401, "token_invalid")
    assert keys.fetched == 1
    jwks.app.extensions["tokens"].jwks._last_successful_fetch -= 31
    assert jwks.get(BALANCE, by=signed(fresh, "r2", sub=user)).status == 200
    assert jwks.get(BALANCE, by=signed(rsa_key, "r1", sub=user)).problem() == (401, "token_invalid")


@pytest.mark.parametrize("junk", [b"<html>we are down</html>", b'{"keys": []}'])
def test_jwks_that_makes_no_sense_is_not_the_users_fault(jwks, keys, rsa_key, user, junk):
    keys.junk = junk
    assert jwks.get(BALANCE, by=signed(rsa_key, "r1", sub=user)).problem() == (503, "keys_unavailable")
    keys.junk = b""
    assert jwks.get(BALANCE, by=signed(rsa_key, "r1", sub=user)).status == 200


def test_jwks_that_cannot_be_fetched_is_not_the_users_fault(shared_database, keys, rsa_key, user):
    app = make_app(shared_database.url, JWT_SECRET="", JWT_JWKS_URL=keys.url)
    keys.stop()
    assert Client(app).get(BALANCE, by=signed(rsa_key, "r1", sub=user)).problem() == (503, "keys_unavailable")
    assert not app.extensions["database"].get_stats().get("requests_num"), (
        "nothing was asked before the token was proved"
    )
