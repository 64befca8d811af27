"""The description of the API at /openapi.json, and its pages at /docs, which need nothing from outside."""

from typing import Any

from apiflask import APIFlask, Schema
from flask_swagger_ui import get_swaggerui_blueprint

Document = dict[str, Any]

DESCRIPTION = """\
Credits: 1 credit is 1 US dollar. Amounts are JSON numbers with up to 9 decimal places; read them as decimals, not as
floats. Strings are accepted too. Times are ISO 8601 in UTC.

Errors are `application/problem+json` (RFC 9457); `code` is the stable name to program against. A request with an
`Idempotency-Key` can be sent again after any failure: it takes effect once, and a repetition says
`Idempotency-Replayed: true`.
"""

SECURITY_SCHEMES = {
    "user_token": "The JWT of a user: `sub` is the user's id.",
    "admin_token": "The JWT of a user who has the role admin or super_admin in the database.",
    "service_token": "The JWT of the application's backend: its claim `role` is `service_role`.",
}
STRIPE_SIGNATURE = {
    "type": "apiKey",
    "in": "header",
    "name": "Stripe-Signature",
    "description": "What Stripe signs the body with, and the secret of the webhook's endpoint.",
}

PROBLEMS = {
    400: "The request is malformed; errors says which field, where it is one.",
    401: "The token is missing, invalid or expired.",
    402: "The available credits do not cover it, or the card was declined.",
    403: "The token's owner, the account's status, or the network, does not permit it.",
    404: "There is no such thing.",
    409: "It contradicts what happened before, or the user's credits are in the other system.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A value is not acceptable; code names the rule.",
    500: "Something went wrong here.",
    503: "The database, Stripe, or the service with the tokens' keys, cannot be reached or took too long.",
}
# The headers of what is deprecated.
DEPRECATION = {
    "Deprecation": "Since when it is deprecated (RFC 9745): @ and Unix time.",
    "Sunset": "When it is to go (RFC 8594).",
    "Link": "Its successor, with rel=successor-version.",
}
ALWAYS = (500, 503)
WITH_TOKEN = (401, 403, 404, 409)
WITH_INPUT = (400, 422)
WITH_BODY = (409, 413, 415)

PROBLEM = {
    "type": "object",
    "description": "RFC 9457. Some have further members, such as available or entry_no.",
    "required": ["type", "title", "status", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "The stable name of the error."},
        "detail": {"type": "string"},
        "hint": {"type": "string", "description": "What to do about it."},
        "request_id": {"type": "string", "description": "The same as the header X-Request-Id."},
        "errors": {
            "type": "object",
            "description": "What is wrong with which field; in a batch, with which member of which item of items, by "
            "its index from 0.",
        },
    },
}


def init_openapi(app: APIFlask) -> None:
    """Describe the app, and show it at /docs."""
    app.config.update(
        DESCRIPTION=DESCRIPTION,
        SECURITY_SCHEMES={
            name: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": says}
            for name, says in SECURITY_SCHEMES.items()
        }
        | {"stripe_signature": STRIPE_SIGNATURE},
        AUTO_404_RESPONSE=False,
        AUTO_AUTH_ERROR_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_OPERATION_ID=True,
    )
    app.spec_processor(with_problems)
    # The validator would send the document to a server outside, and the redirect serves OAuth, which there is none of.
    pages = {"app_name": app.title, "validatorUrl": None, "oauth2RedirectUrl": None, "docExpansion": "list"}
    app.register_blueprint(get_swaggerui_blueprint("/docs", "/openapi.json", config=pages))


def with_problems(document: Document) -> Document:
    """Add to each operation how it can fail."""
    document["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    document["components"]["headers"] = {
        name: {"description": says, "schema": {"type": "string"}} for name, says in DEPRECATION.items()
    }
    told = {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in DEPRECATION}}
    document["components"]["responses"] = {
        f"{kind}{status}": {
            "description": says,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        | members
        for kind, members in (("Problem", {}), ("DeprecatedProblem", told))
        for status, says in PROBLEMS.items()
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if body := operation.pop("x-body", None):
                operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
            kind = "Problem"
            if operation.get("deprecated"):
                kind = "DeprecatedProblem"
                operation["responses"] = {status: made | told for status, made in operation["responses"].items()}
            for status in failures(path, operation):
                operation["responses"][str(status)] = {"$ref": f"#/components/responses/{kind}{status}"}
    return document


def accepted(schema: type[Schema], says: str) -> Document:
    """The response 202, for `doc`."""
    return {202: {"description": says, "content": {"application/json": {"schema": schema}}}}


def failures(path: str, operation: Document) -> set[int]:
    statuses = set(ALWAYS) | set(operation.pop("x-problems", ()))
    if with_token(operation):
        statuses |= set(WITH_TOKEN)
    if operation.get("parameters") or operation.get("requestBody"):
        statuses |= set(WITH_INPUT)
    if operation.get("requestBody"):
        statuses |= set(WITH_BODY)
        if with_token(operation):
            statuses.add(402)
    return statuses


def with_token(operation: Document) -> bool:
    """Whether it is for the owner of a token; Stripe signs what it sends instead."""
    return any(name.endswith("_token") for names in operation.get("security") or [] for name in names)
