"""Logs: one JSON object a line on stderr, with the id of the request, and never a secret.

Nothing logs a body, a query string or a header. What gets into a message all the same, such as a connection string in
an error of libpq's, is struck out before a line is written.
"""

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
from flask import g, has_app_context, request
from psycopg.conninfo import conninfo_to_dict
from pythonjsonlogger.json import JsonFormatter

from api.settings import Settings

# What asks every few seconds whether all is well, and is of interest when it is not.
PROBES = ("/healthz", "/readyz", "/metrics")
UNKNOWN_ROUTE = "unknown"
STRUCK = "***"
# What looks like a secret, whoever's it is: a bearer or any JWT, Stripe's keys, webhook secrets, passwords.
SECRETS = re.compile(
    r"""(?<=bearer\s)[^\s'",]+
    | \beyJ[\w-]+\.[\w-]+(\.[\w-]*)?
    | \b[sr]k_(live|test)_[\w*]+
    | \bwhsec_[\w+/=-]+
    | (?<=://)[^\s/@'"]+(?=@)
    | (?<=\bpassword=)('(\\.|[^'\\])*'|\S+)""",
    re.IGNORECASE | re.VERBOSE,
)
# gunicorn tells of the request that it could not read or answer, as it came.
QUERY = re.compile(r"\?[^\s'\"]*")
# A shorter one would strike out words.
SHORTEST_SECRET = 6

# These tell of paths with their query strings, and Stripe's of what is sent.
CHATTY = ("stripe", "urllib3", "werkzeug")

access_log = logging.getLogger("api.access")


class Redactor:
    """Strikes out secrets: those that are named, and all that look like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        named = sorted({each for each in secrets if len(each) >= SHORTEST_SECRET}, key=len, reverse=True)
        self.named = re.compile("|".join(map(re.escape, named))) if named else None

    def __call__(self, text: str) -> str:
        if self.named is not None:
            text = self.named.sub(STRUCK, text)
        return SECRETS.sub(STRUCK, text)


class JSONLines(JsonFormatter):
    """A record as one line of JSON, with the texts and numbers that it was given as `extra`."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__(["message"])
        self.redact = redact

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["time"] = utc(record)
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        log_data["request_id"] = current_request_id()
        super().add_fields(log_data, record, message_dict)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {
            name: self.redact(without_query(log_data["logger"], value)) if isinstance(value, str) else value
            for name, value in log_data.items()
        }


class TextLines(logging.Formatter):
    """A record for a person at a terminal."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        request_id = current_request_id()
        named = f" [{request_id}]" if request_id else ""
        line = f"{utc(record)} {record.levelname.lower()} {record.name}{named}: {super().format(record)}"
        return self.redact(without_query(record.name, line))


def utc(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def without_query(logger: str, text: str) -> str:
    return QUERY.sub(f"?{STRUCK}", text) if logger.startswith("gunicorn") else text


class Lines(logging.StreamHandler):
    """Writes to what stderr is at that moment."""

    def __init__(self, kind: str = "", redact: Redactor | None = None) -> None:
        logging.Handler.__init__(self)
        chosen = kind or ("text" if sys.stderr.isatty() else "json")
        self.setFormatter((TextLines if chosen == "text" else JSONLines)(redact or Redactor()))

    @property
    def stream(self) -> Any:
        return sys.stderr


def init_logging(settings: Settings) -> None:
    """Log whatever is logged in this process, on any logger, as the settings say; a second call replaces the first."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, Lines)]:
        root.removeHandler(handler)
    root.addHandler(Lines(settings.log_format, Redactor(secrets_of(settings))))
    root.setLevel(settings.log_level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def secrets_of(settings: Settings) -> Iterator[str]:
    yield from filter(None, (settings.jwt_secret, settings.session_secret, settings.stripe_key))
    yield from settings.stripe_webhook_secrets
    yield from settings.event_secrets
    try:
        yield str(conninfo_to_dict(settings.database_url).get("password", ""))
    except psycopg.ProgrammingError:
        yield settings.database_url  # libpq does not understand it, and will say so


def log_access(status: int, seconds: float) -> None:
    """Log the request that has been answered."""
    route = route_of_request()
    told = {
        "method": request.method,
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 3),
        "user_id": str(g.user_id) if "user_id" in g else None,
        "code": g.get("code"),
    }
    level = logging.DEBUG if route in PROBES and status < 400 else logging.INFO
    access_log.log(level, "%s %s %s", request.method, route, status, extra=told)


def route_of_request() -> str:
    """The rule that the path fits, never the path: it may be anything."""
    return request.url_rule.rule if request.url_rule is not None else UNKNOWN_ROUTE


def current_request_id() -> str | None:
    """The id of the request, or of the piece of work, that is being done in this thread; None outside of both."""
    return g.get("request_id") if has_app_context() else None


@contextmanager
def piece_of_work() -> Iterator[str]:
    """An id for what is done outside of a request, inside the block and an app context."""
    before = g.get("request_id")
    g.request_id = str(uuid4())
    try:
        yield g.request_id
    finally:
        g.request_id = before
