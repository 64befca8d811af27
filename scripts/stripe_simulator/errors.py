"""The errors of the API, in Stripe's shape: https://docs.stripe.com/api/errors."""

from typing import Any

DECLINES = {
    "generic_decline": ("card_declined", "Your card was declined."),
    "insufficient_funds": ("card_declined", "Your card has insufficient funds."),
    "lost_card": ("card_declined", "Your card was declined."),
    "stolen_card": ("card_declined", "Your card was declined."),
    "card_velocity_exceeded": (
        "card_declined",
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    ),
    "fraudulent": ("card_declined", "Your card was declined."),
    "expired_card": ("expired_card", "Your card has expired."),
    "incorrect_cvc": ("incorrect_cvc", "Your card's security code is incorrect."),
    "processing_error": (
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    "authentication_required": (
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}


class ApiError(Exception):
    """An answer other than success.

    `stored` says whether an idempotency key remembers it: Stripe keeps what happened once the execution has begun, and
    forgets what was refused before.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        stored: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.stored = stored
        given = {"code": code, "message": message, "param": param, "type": kind, **more}
        self.error = {name: value for name, value in given.items() if value is not None}
        if code is not None:
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}


def refused(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request whose parameters are wrong by themselves; no key remembers it."""
    return ApiError(message, param=param, code=code, stored=False)


def not_found(kind: str, key: str, param: str = "id") -> ApiError:
    """The object of the path (404), or one that a parameter names (400)."""
    status = 404 if param == "id" else 400
    return ApiError(f"No such {kind}: '{key}'", status=status, code="resource_missing", param=param)


def declined(decline_code: str, **more: Any) -> ApiError:
    """The card's bank says no: 402. `more` is what Stripe adds, as payment_intent, payment_method and charge."""
    code, message = DECLINES[decline_code]
    shown = None if code in {"expired_card", "incorrect_cvc", "processing_error"} else decline_code
    return ApiError(message, status=402, kind="card_error", code=code, decline_code=shown, **more)


def server_error(status: int) -> ApiError:
    """What an injected fault answers."""
    if status == 429:
        return ApiError(
            "Request rate limit exceeded. You can learn more about rate limits here "
            "https://stripe.com/docs/rate-limits.",
            status=429,
            code="rate_limit",
        )
    return ApiError("An unknown error occurred", status=status, kind="api_error")
