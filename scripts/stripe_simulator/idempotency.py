"""Idempotency keys: https://docs.stripe.com/api/idempotent_requests.

A key remembers the answer of the first request whose execution began, a 500 included, for a day. Another request with
the same key must be the same request; while the first one runs it is refused.
"""

from scripts.stripe_simulator.clock import DAY
from scripts.stripe_simulator.errors import ApiError
from scripts.stripe_simulator.store import JSON, Store


def begin(store: Store, key: str, path: str, params: JSON, request_id: str) -> JSON | None:
    """Take the key, or return what it remembers.

    Raises 409 while another request holds it, and 400 when that was a different request.
    """
    record = store.keys.get(key)
    if record is not None and store.clock.now() - record["at"] >= DAY:
        record = None
    name = key.partition("\n")[2]
    if record is None:
        store.keys[key] = {"path": path, "params": params, "at": store.clock.now(), "request": request_id}
        return None
    if record["path"] != path:
        raise _reused(f"for the same endpoint they were first used for ('{path}' vs '{record['path']}')", name)
    if record["params"] != params:
        raise _reused("with the same parameters they were first used with", name)
    if "status" not in record:
        raise ApiError(
            "There is currently another in-progress request using this Idempotent Key (that probably means you "
            f"submitted twice, and the other request is still going through): {name}. Please try again later.",
            status=409,
            code="idempotency_key_in_use",
        )
    return record


def _reused(how: str, name: str) -> ApiError:
    return ApiError(
        f"Keys for idempotent requests can only be used {how}. Try using a key other than '{name}' if you meant to "
        "execute a different request.",
        kind="idempotency_error",
    )


def remember(store: Store, key: str, status: int, body: str) -> None:
    record = store.keys.get(key)
    if record is not None:  # a reset may have come between
        record |= {"status": status, "body": body}


def forget(store: Store, key: str) -> None:
    """The request was refused before its execution began: the key is free again."""
    store.keys.pop(key, None)
