"""Which pages of other origins may call the API: those that are configured, and no others."""

from flask import Flask, Response, request

from api.settings import Settings

REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-Id"
RESPONSE_HEADERS = "Deprecation, Idempotency-Replayed, Link, Retry-After, Sunset, X-Request-Id"


def init_cors(app: Flask, settings: Settings) -> None:
    """Tokens travel in a header, so no credentials are allowed along."""

    @app.after_request
    def allow(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin in settings.cors_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT"
                response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
                response.headers["Access-Control-Max-Age"] = "600"
        return response
