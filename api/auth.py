"""Who is asking: the bearer token, and the rights that only the database knows."""

from collections.abc import Callable
from functools import wraps
from json import JSONDecodeError
from typing import Any
from uuid import UUID

import jwt
import psycopg
from flask import Flask, current_app, g, request
from jwt import PyJWKClient

from api.database import call
from api.errors import Problem, error_name
from api.settings import Settings

SERVICE = "service_role"
ADMINS = ("admin", "super_admin")
ASYMMETRIC = ("RS256", "ES256")
# The tokens that /openapi.json describes.
SECURITY = {
    "user": "user_token",
    "resident": "user_token",
    "admin": "admin_token",
    "actor": "admin_token",
    "service": "service_token",
}
# Clocks of two machines are never quite the same.
LEEWAY_SECONDS = 10

Claims = dict[str, Any]
View = Callable[..., Any]


class Tokens:
    """Checks tokens. A key is used with its own kind of algorithm only, whatever the token's header asks for."""

    def __init__(self, settings: Settings) -> None:
        self.secret = settings.jwt_secret
        self.jwks = PyJWKClient(settings.jwks_url, timeout=5) if settings.jwks_url else None
        self.audiences = settings.audiences
        self.issuers = settings.issuers or None

    def claims(self, token: str) -> Claims:
        """What the token says, once it is proved; raises Problem 401, or 503 when the keys cannot be fetched."""
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            return self._checked(token, self._key(token, algorithm), algorithm)
        except jwt.ExpiredSignatureError as error:
            raise unauthorized("token_expired", "The token has expired.", "Sign in again.") from error
        except (jwt.PyJWKClientConnectionError, jwt.PyJWKSetError, JSONDecodeError) as error:
            current_app.logger.warning("No keys from %s: %s", self.jwks and self.jwks.uri, error)
            raise Problem(
                503, "keys_unavailable", "The keys that tokens are checked with cannot be fetched."
            ) from error
        except jwt.PyJWTError as error:
            raise unauthorized("token_invalid", f"The token is refused: {error}.") from error

    def _key(self, token: str, algorithm: str | None) -> Any:
        if algorithm == "HS256" and self.secret:
            return self.secret
        if algorithm in ASYMMETRIC and self.jwks:
            key = self.jwks.get_signing_key_from_jwt(token)
            if key.algorithm_name == algorithm:
                return key.key
        raise jwt.InvalidAlgorithmError("its algorithm is not accepted")

    def _checked(self, token: str, key: Any, algorithm: str | None) -> Claims:
        claims = jwt.decode(
            token,
            key,
            algorithms=[str(algorithm)],
            issuer=self.issuers,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp"], "verify_aud": False},
        )
        if self.audiences and not self._is_for_us(claims):
            raise jwt.InvalidAudienceError("it is for another audience")
        return claims

    def _is_for_us(self, claims: Claims) -> bool:
        """Supabase's service tokens name no audience; a user's token must name one of ours."""
        if "aud" not in claims:
            return claims.get("role") == SERVICE
        named = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        return any(audience in self.audiences for audience in named)


def init_auth(app: Flask, settings: Settings) -> None:
    app.extensions["tokens"] = Tokens(settings)


def requires(who: str) -> Callable[[View], View]:
    """Let in who is named; g.user_id is the user.

    user        anybody who is signed in
    resident    a user whom the old system does not serve; for what SQL tells of everybody
    admin       a user with the role admin or super_admin
    actor       a user, whose right to do this the SQL function checks: it logs the attempt of somebody without it
    service     the application's backend
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            claims = current_app.extensions["tokens"].claims(bearer_token())
            if who == "service":
                require_service(claims)
            else:
                g.user_id = user_of(claims)
            if who == "admin":
                require_admin(g.user_id)
            elif who == "resident":
                require_resident(g.user_id)
            return view(*args, **kwargs)

        checked._spec = getattr(view, "_spec", {}) | {"security": SECURITY[who]}
        return checked

    return decorate


def bearer_token() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("token_missing", "This needs a token.", "Send Authorization: Bearer <token>.")
    return token.strip()


def require_service(claims: Claims) -> None:
    if claims.get("role") != SERVICE:
        raise Problem(403, "not_the_service", "Only the backend itself may do this, with its service token.")


def user_of(claims: Claims) -> UUID:
    if claims.get("role") == SERVICE:
        raise Problem(403, "not_a_user", "A service token stands for no user.", "Use the token of a user.")
    try:
        return UUID(claims.get("sub"))
    except (TypeError, ValueError, AttributeError) as error:
        raise unauthorized("token_invalid", "The token's sub is not the id of a user.") from error


def require_admin(user_id: UUID) -> None:
    if call("get_user_role", user_id=user_id)["get_user_role"] not in ADMINS:
        raise Problem(403, "not_an_admin", "This needs the role admin.")


def require_resident(user_id: UUID) -> None:
    """Raise not_migrated for a user whom the old system serves; one without an account is no such user."""
    try:
        call("get_account", user_id=user_id)
    except psycopg.Error as error:
        if error_name(error) != "account_not_found":
            raise


def unauthorized(code: str, detail: str, hint: str | None = None) -> Problem:
    challenge = "Bearer" if code == "token_missing" else f'Bearer error="invalid_token", error_description="{code}"'
    return Problem(401, code, detail, hint, headers={"WWW-Authenticate": challenge})
