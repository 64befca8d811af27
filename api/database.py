"""The pool, and `call`: the one place that builds SQL."""

import logging
import time
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg
from flask import Flask, current_app
from psycopg import sql
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzBinaryLoader
from psycopg.types.json import Jsonb, set_json_dumps, set_json_loads
from psycopg_pool import ConnectionPool

from api import json
from api.logs import current_request_id
from api.settings import Settings

Row = dict[str, Any]

# Not a name that a parameter of a function has.
REQUEST_ID = "billing.request_id"

log = logging.getLogger("api.database")


def call(function: str, **arguments: Any) -> Row:
    """The one row that billing.<function> returns; raises psycopg.Error, which errors.py turns into a response."""
    return call_all(function, **arguments)[0]


def call_all(function: str, **arguments: Any) -> list[Row]:
    """The rows that billing.<function> returns; user_id=… is its parameter p_user_id."""
    try:
        with current_app.extensions["database"].connection() as connection:
            rows = run(connection, function, arguments)
    except psycopg.Error as error:
        current_app.extensions["metrics"].failed(function, error)
        raise
    current_app.extensions["metrics"].called(function, rows)
    return rows


def call_within(seconds: float, function: str) -> list[Row]:
    """The rows that billing.<function> returns, if it takes no longer; raises psycopg.Error when it does."""
    with current_app.extensions["database"].connection(timeout=seconds) as connection, connection.transaction():
        connection.execute(sql.SQL("set local statement_timeout = {}").format(int(seconds * 1000)))
        return run(connection, function, {}, prepare=False)


def run(
    connection: psycopg.Connection[Row], function: str, arguments: Row, *, prepare: bool | None = None
) -> list[Row]:
    """The rows that billing.<function> returns; warns of it when it takes long, whatever becomes of it.

    In a transaction it must not be prepared.
    """
    values = {name: argument(value) for name, value in arguments.items()}
    names = tuple(values)
    if request_id := current_request_id():
        values[REQUEST_ID] = request_id
    started = time.perf_counter()
    query = statement(function, names, named=bool(request_id))
    try:
        # Binary results do not depend on the session's settings: a pooler may hand out any session.
        try:
            return connection.execute(query, values, prepare=prepare, binary=True).fetchall()
        except psycopg.errors.FeatureNotSupported:
            if prepare is False or connection.prepare_threshold is None:
                raise
            # A migration has changed the result's type since the call was prepared. The call itself has not begun.
            rows = connection.execute(query, values, prepare=False, binary=True).fetchall()
            connection.close()  # The pool opens another in its place, which has prepared nothing yet.
            return rows
    finally:
        seconds = time.perf_counter() - started
        if seconds >= current_app.extensions["slow_statement"]:
            told = {"function": function, "duration_ms": round(seconds * 1000, 3)}
            log.warning("%s took long.", function, extra=told)
            current_app.extensions["metrics"].slow.labels(function).inc()


def argument(value: Any) -> Any:
    """A value as psycopg passes it on: objects and lists are jsonb, but a list of ids is an array of them."""
    is_ids = isinstance(value, list) and value and all(isinstance(each, UUID) for each in value)
    return Jsonb(value) if isinstance(value, dict | list) and not is_ids else value


def call_page(function: str, limit: int, **arguments: Any) -> tuple[list[Row], bool]:
    """At most `limit` rows, and whether there are more of them."""
    rows = call_all(function, limit=limit + 1, **arguments)
    return rows[:limit], len(rows) > limit


@lru_cache(maxsize=1024)
def statement(function: str, names: tuple[str, ...], *, named: bool) -> sql.Composed:
    """The call; `named` gives it the request's id as a setting, which is gone when the statement ends.

    The subquery with an offset is one that the planner leaves where it stands: it waits for the setting.
    """
    arguments = [sql.SQL("{} => {}").format(sql.Identifier(f"p_{name}"), sql.Placeholder(name)) for name in names]
    called = sql.SQL("{}({})").format(sql.Identifier("billing", function), sql.SQL(", ").join(arguments))
    if not named:
        return sql.SQL("select * from {}").format(called)
    return sql.SQL(
        "select called.* from (select set_config('billing.request_id', {}, true) as id) request, "
        "lateral (select * from {} where request.id is not null offset 0) called"
    ).format(sql.Placeholder(REQUEST_ID), called)


def init_database(app: Flask, settings: Settings) -> None:
    """Give the app its pool. It connects at the first call, so that workers forked before share no socket."""
    app.extensions["slow_statement"] = settings.slow_statement
    app.extensions["database"] = LazyPool(
        settings.database_url,
        kwargs=connection_parameters(settings),
        configure=configure,
        # One round trip more, and no request fails because the server was restarted since the last one.
        check=ConnectionPool.check_connection,
        min_size=1,
        max_size=settings.pool_size,
        timeout=settings.database_timeout,
        # Giving up early lets the next request try again at once, so that the end of an outage is noticed.
        reconnect_timeout=settings.database_timeout,
        name="billing",
        open=False,
    )


class LazyPool(ConnectionPool):
    """A pool that opens when it is first used."""

    def getconn(self, timeout: float | None = None) -> psycopg.Connection:
        if self.closed:
            self.open()
        return super().getconn(timeout)


def connection_parameters(settings: Settings) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "autocommit": True,
        "row_factory": dict_row,
        "connect_timeout": max(2, int(settings.database_timeout)),
        "application_name": "billing api",
    }
    if settings.transaction_pooler:
        return parameters | {"prepare_threshold": None}
    ours = f"-c role=billing_api -c statement_timeout={int(settings.statement_timeout * 1000)}"
    theirs = conninfo_to_dict(settings.database_url).get("options", "")
    return parameters | {"options": f"{ours} {theirs}".strip()}


def configure(connection: psycopg.Connection) -> None:
    set_json_loads(json.stored, connection)
    set_json_dumps(json.dumps, connection)
    connection.adapters.register_loader("interval", DurationLoader)
    connection.adapters.register_loader("timestamptz", TimeLoader)


class TimeLoader(TimestamptzBinaryLoader):
    """Times; infinity, and what else lies after Python's last year, is never."""

    def load(self, data: bytes | bytearray | memoryview) -> datetime | None:
        try:
            return super().load(data)
        except psycopg.DataError:
            return None


class DurationLoader(Loader):
    """Intervals as ISO 8601 durations: a timedelta knows no months."""

    format = Format.BINARY

    def load(self, data: bytes | bytearray | memoryview) -> str:
        raw = bytes(data)
        microseconds, days, months = (int.from_bytes(part, signed=True) for part in (raw[:8], raw[8:12], raw[12:16]))
        date_part = f"{months}M" * bool(months) + f"{days}D" * bool(days)
        seconds = format((Decimal(microseconds) / 1_000_000).normalize(), "f")
        return f"P{date_part}" + f"T{seconds}S" * bool(microseconds or not date_part)
