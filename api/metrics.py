"""What Prometheus is told at /metrics: what this API did, in all of its processes, and what the database knows.

Under gunicorn the processes count in files that they share; api/gunicorn.py sees to these. The database's own metrics
are read at each scrape, so that they are the same whichever process answers.
"""

import os
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask, current_app, g, request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.database import Row, call_within
from api.errors import database_problem
from api.logs import route_of_request
from api.settings import Settings

# Names the directory of the files; prometheus_client keeps values in memory without it.
SHARED = "PROMETHEUS_MULTIPROC_DIR"
# The text format, version 0.0.4: what every Prometheus reads.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# How long the database may take: a scrape that takes longer than Prometheus waits tells nothing at all.
PATIENCE_SECONDS = 2.0
SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS")
# Whoever comes through a proxy has its address, and one of these.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")

DEDUCTIONS = ("deduct_credits", "deduct_tokens", "deduct_credits_batch", "capture_hold", "legacy_track")
# The type of the entries that a function writes.
TYPES = dict.fromkeys(DEDUCTIONS, "usage") | {
    "adjust_credits": "adjustment",
    "admin_grant_credits": "adjustment",
    "reverse_entry": "reversal",
}

# What billing.list_metrics() tells.
HELP = {
    "billing_ledger_entries_5m": "Ledger entries of the last five minutes by type, refused deductions left out.",
    "billing_ledger_credits_5m": "Credits that the entries of the last five minutes moved, by type; negative: out.",
    "billing_refused_deductions_5m": "Deductions that were refused in the last five minutes.",
    "billing_active_holds": "Holds that reserve credits.",
    "billing_held_credits": "Credits that holds reserve.",
    "billing_checkpoint_age_seconds": "Seconds since the last checkpoint of the ledger.",
    "billing_checkpoint_accounts": "Accounts that the last checkpoint verified.",
    "billing_checkpoint_entries": "Ledger entries up to the last checkpoint.",
    "billing_checkpoint_balance_credits": "Sum of all balances at the last checkpoint.",
    "billing_checkpoint_findings": "What the last checkpoint found wrong with the ledger.",
    "billing_queue_waiting": "What waits in a queue: events, calls and events of Stripe's, refunds.",
    "billing_queue_given_up": "What was given up in a queue, until somebody sees to it.",
    "billing_queue_oldest_seconds": "How long the oldest in a queue has waited.",
    "billing_job_enabled": "1 for a job that is switched on.",
    "billing_job_failed": "1 for a job whose last run failed or was interrupted.",
    "billing_job_running": "1 for a job that is running.",
    "billing_job_last_success_timestamp_seconds": "When the last run of a job that succeeded began, in Unix time.",
    "billing_job_last_rows": "Rows that the last run of a job worked on.",
    "billing_job_last_seconds": "How long the last run of a job took.",
    "billing_alert_rows": "Rows of an alert view: 0 when all is well.",
}
OTHER_HELP = "See billing.list_metrics()."


class Metrics:
    """What this process counts; its files are shared with the others, if there are any."""

    def __init__(self, patience: float) -> None:
        if directory := os.environ.get(SHARED):
            Path(directory).mkdir(parents=True, exist_ok=True)
        disable_created_metrics()
        self.database = DatabaseMetrics(patience)
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "billing_http_requests", "HTTP requests by route (the rule) and status.", "method", "route", "status"
        )
        self.seconds = Histogram(
            "billing_http_request_seconds",
            "How long HTTP requests took, by route (the rule).",
            ["method", "route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.deductions = self._counter(
            "billing_deductions",
            "Deductions by outcome: succeeded, replayed, or the name of the refusal or error.",
            "outcome",
        )
        self.credits = self._counter(
            "billing_credits",
            "Credits that deductions and admins moved through this API; billing_ledger_credits_5m has all.",
            "direction",
            "type",
        )
        self.webhooks = self._counter(
            "billing_webhooks",
            "Webhooks from Stripe by outcome: the event's status after it, or the name of the error.",
            "type",
            "outcome",
        )
        self.slow = self._counter(
            "billing_slow_statements", "Statements that took longer than SLOW_STATEMENT.", "function"
        )
        self.waits = self._counter("billing_pool_waits", "How often a request had to wait for a database connection.")
        self.wait_seconds = self._counter("billing_pool_wait_seconds", "How long requests waited for a connection.")
        self.pool_errors = self._counter("billing_pool_errors", "How often a request got no connection.")
        self.connections = self._gauge("billing_pool_connections", "Database connections of all pools by use.", "state")
        self.waiting = self._gauge("billing_pool_waiting", "Requests that wait for a database connection.")

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(name, says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        """Of which each living process has its share."""
        return Gauge(name, says, labels, registry=self.registry, multiprocess_mode="livesum")

    def called(self, function: str, rows: list[Row]) -> None:
        """Count what a function of SQL has answered. Prometheus knows floats only: these are no amounts to book."""
        if function not in TYPES:
            return
        for row in rows:
            if row.get("migrated") is False:
                continue  # the old system recorded it, and no credits have moved
            if function in DEDUCTIONS:
                self.deductions.labels(outcome_of(row)).inc()
            if row["success"] and not row["replayed"]:
                self.moved(function, float(row.get("amount", row.get("cost"))))

    def moved(self, function: str, amount: float) -> None:
        out = function in DEDUCTIONS or amount < 0
        self.credits.labels("out" if out else "in", TYPES[function]).inc(abs(amount))

    def failed(self, function: str, error: psycopg.Error) -> None:
        """Count what a function of SQL has raised."""
        if function in DEDUCTIONS:
            problem = database_problem(error)
            self.deductions.labels(problem.document["code"] if problem else "internal_error").inc()

    def finished(self, status: int, seconds: float) -> None:
        """Count a request that has been answered, at its end."""
        method = request.method if request.method in METHODS else "other"
        route = route_of_request()
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)
        if request.endpoint == "payments.webhook":
            outcome = g.get("event_status") or g.get("code") or "internal_error"
            self.webhooks.labels(g.get("event_type", "unknown"), outcome).inc()

    def read_pool(self, stats: dict[str, int]) -> None:
        """Take over what a pool of psycopg's tells, its counts since it was asked before."""
        size, available = stats.get("pool_size", 0), stats.get("pool_available", 0)
        self.connections.labels("idle").set(available)
        self.connections.labels("used").set(size - available)
        self.waiting.set(stats.get("requests_waiting", 0))
        self.waits.inc(stats.get("requests_queued", 0))
        self.wait_seconds.inc(stats.get("requests_wait_ms", 0) / 1000)
        self.pool_errors.inc(stats.get("requests_errors", 0))

    def text(self) -> bytes:
        """All there is to tell, as Prometheus reads it."""
        registry = CollectorRegistry()
        if directory := os.environ.get(SHARED):
            registry.register(SharedMetrics(Path(directory)))
        else:
            registry.register(self.registry)
        registry.register(self.database)
        return generate_latest(registry)


class SharedMetrics(Collector):
    """What all processes count, in the files that they share."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def collect(self) -> Iterable[Metric]:
        """Sum the files up, but for empty ones, which prometheus_client creates first and cannot read.

        One whose process was killed at that moment would else be the end of all scrapes:
        https://github.com/prometheus/client_python/issues/1199
        """
        return MultiProcessCollector.merge([str(file) for file in self.directory.glob("*.db") if size_of(file) > 0])


class DatabaseMetrics(Collector):
    """What billing.list_metrics() tells, or that the database is away."""

    def __init__(self, patience: float) -> None:
        self.patience = patience

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        up = Metric("billing_database_up", "1 if the database has answered this scrape.", "gauge")
        try:
            rows = call_within(self.patience, "list_metrics")
        except psycopg.Error as error:
            current_app.logger.warning("The database tells no metrics: %s", error)
            rows = []
            up.add_sample(up.name, {}, 0)
        else:
            up.add_sample(up.name, {}, 1)
        yield up
        families: dict[str, Metric] = {}
        for row in rows:
            name = row["name"]
            family = families.setdefault(name, Metric(name, HELP.get(name, OTHER_HELP), "gauge"))
            family.add_sample(name, {label: str(value) for label, value in row["labels"].items()}, float(row["value"]))
        yield from families.values()


def size_of(file: Path) -> int:
    """How many bytes it has; none if it is gone, as the gauges of a process that has ended are."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def outcome_of(row: Row) -> str:
    if not row["success"]:
        return row["reason"]
    return "replayed" if row["replayed"] else "succeeded"


def init_metrics(app: Flask, settings: Settings) -> None:
    app.extensions["metrics"] = Metrics(min(PATIENCE_SECONDS, settings.database_timeout))
    app.extensions["metrics_networks"] = settings.metrics_networks
    if os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn") and not os.environ.get(SHARED):
        app.logger.warning("/metrics tells of one process only: run gunicorn with --config api/gunicorn.py.")


def metrics() -> Metrics:
    return current_app.extensions["metrics"]


def is_local() -> bool:
    """Whether the request comes from where metrics may be read, and straight from there."""
    if any(name in request.headers for name in FORWARDED):
        return False
    try:
        address: Any = ip_address(request.remote_addr or "")
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in current_app.extensions["metrics_networks"])
