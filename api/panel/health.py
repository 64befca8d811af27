"""/admin/health: how the system does, at a glance."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from flask import Response, abort, render_template

from api.csv import csv_response
from api.database import Row, call_all
from api.display import count, distance, sentence
from api.panel.base import bp

RECENT = 10
# A checkpoint is taken every night.
OLD = timedelta(days=2)
# Alerts that say that something is wrong, as in docs/monitoring; the others ask for somebody's attention.
GRAVE = ("ledger", "lot_sums", "negative_balances", "stuck_refunds", "undelivered_events", "webhook_errors")
MEANINGS = {
    "admin_activity": "An admin moves unusually much",
    "failed_deductions": "A user is refused again and again",
    "jobs": "A job is late, has failed, or was interrupted",
    "ledger": "Something in the ledger does not verify",
    "lot_sums": "What is left of the lots is not the balance",
    "negative_balances": "A balance is below zero",
    "stuck_refunds": "A refund has not been finished in time",
    "undelivered_events": "Events do not reach the application",
    "webhook_errors": "Events of Stripe could not be applied",
}
QUEUES = {
    "stripe_events": ("Stripe's events", "webhooks to apply"),
    "stripe_calls": ("Calls to Stripe", "payments and refunds to tell Stripe of"),
    "refunds": ("Refunds", "refunds that Stripe has to finish"),
    "events": ("Our events", "deliveries to the application"),
}
# How much of a queue may wait, and for how long, before somebody should look.
WAITING_SECONDS = 900
ORDER = ("bad", "warn", "info", "ok")


@dataclass(frozen=True)
class Check:
    """One thing that is well or is not; its state is ok, info, warn or bad, and is told in words too."""

    name: str
    state: str
    word: str
    detail: str
    anchor: str


# The columns of each file: what the tables of the page show, and more digits of it.
FILES = {
    "alerts": ("alert", "rows", "sample"),
    "jobs": (
        *("name", "description", "function", "schedule", "enabled", "late_after", "problem", "last_started_at"),
        *("last_finished_at", "last_outcome", "last_rows", "last_error", "succeeded_at"),
    ),
    "queues": ("queue", "waiting", "given_up", "oldest_seconds"),
    "verifications": ("started_at", "finished_at", "accounts", "entries", "balance", "findings", "checkpoint_hash"),
    "stripe-events": ("event_id", "type", "status", "attempts", "error", "next_attempt_at", "received_at"),
    "events": ("user_id", "event_id", "kind", "status", "attempts", "error", "next_attempt_at", "created_at"),
}


@bp.get("/health/<table>.csv")
def health_csv(table: str) -> Response:
    if table not in FILES:
        abort(404)
    read: dict[str, Callable[[], list[Row]]] = {
        "alerts": lambda: call_all("list_alerts"),
        "jobs": lambda: call_all("list_jobs"),
        "queues": lambda: queue_rows(queues_of(call_all("list_metrics"))),
        "verifications": lambda: call_all("list_checkpoints", limit=RECENT),
        "stripe-events": stripe_events,
        "events": events,
    }
    return csv_response(f"{table}.csv", list(FILES[table]), read[table]())


@bp.get("/health")
def health() -> str:
    alerts, jobs = call_all("list_alerts"), call_all("list_jobs")
    checkpoints = call_all("list_checkpoints", limit=RECENT)
    metrics = call_all("list_metrics")
    queues = queues_of(metrics)
    checks = [
        check_alerts(alerts),
        check_jobs(jobs),
        check_ledger(checkpoints),
        check_traffic(metrics),
        *(check_queue(name, queues.get(name, {})) for name in QUEUES),
    ]
    return render_template(
        "panel/health.html",
        checks=checks,
        worst=min((check.state for check in checks), key=ORDER.index),
        wrong=[check for check in checks if check.state in ("bad", "warn")],
        alerts=sorted(alerts, key=lambda row: (not row["rows"], row["alert"])),
        meanings=MEANINGS,
        grave=GRAVE,
        jobs=[job | {"state": state_of_job(job), "took": took(job)} for job in jobs],
        queues=queue_rows(queues),
        checkpoints=checkpoints,
        stripe_events=stripe_events(),
        events=events(),
    )


def stripe_events() -> list[Row]:
    return [row for status in ("failed", "pending") for row in recent("list_stripe_events", status)]


def events() -> list[Row]:
    return [row for status in ("dead", "pending") for row in recent("list_events_by_status", status)]


def recent(function: str, status: str) -> list[Row]:
    return call_all(function, status=status, limit=RECENT)


def queues_of(metrics: list[Row]) -> dict[str, dict[str, Decimal]]:
    """What waits in each queue, by the last word of the metric's name: waiting, up (given up), seconds."""
    queues: dict[str, dict[str, Decimal]] = {}
    for metric in metrics:
        if metric["name"].startswith("billing_queue_"):
            queues.setdefault(metric["labels"]["queue"], {})[metric["name"].rpartition("_")[2]] = metric["value"]
    return queues


def queue_rows(queues: dict[str, dict[str, Decimal]]) -> list[Row]:
    rows = []
    for name, (title, about) in QUEUES.items():
        waiting, given_up, seconds = (int(queues.get(name, {}).get(each, 0)) for each in ("waiting", "up", "seconds"))
        oldest = length_text(timedelta(seconds=seconds)) if waiting else ""
        told = {"queue": name, "waiting": waiting, "given_up": given_up, "oldest_seconds": seconds}
        rows.append(told | {"title": title, "about": about, "oldest": oldest})
    return rows


def took(job: Row) -> str:
    """How long the last run took. What the worker does all the time is counted from time to time: then, since when."""
    if job["last_started_at"] is None or job["last_finished_at"] is None:
        return ""
    length = length_text(job["last_finished_at"] - job["last_started_at"])
    return length if job["function"] else f"counted over {length}"


def length_text(length: timedelta) -> str:
    """A length of time in one unit."""
    seconds = length.total_seconds()
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds >= 0.01 else "less than 0.01 s"
    return distance(-length).removesuffix(" ago") if seconds >= 120 else f"{seconds:.0f} s"


def check_alerts(alerts: list[Row]) -> Check:
    raised = [row for row in alerts if row["rows"]]
    if not raised:
        return Check("Alerts", "ok", "Quiet", f"None of {len(alerts)} is raised.", "alerts")
    grave = any(row["alert"] in GRAVE for row in raised)
    named = ", ".join(row["alert"].replace("_", " ") for row in raised)
    return Check("Alerts", "bad" if grave else "warn", f"{len(raised)} raised", f"{named.capitalize()}.", "alerts")


def state_of_job(job: Row) -> tuple[str, str]:
    """The state of a job, and a word for it."""
    if job["problem"]:
        return "warn" if job["problem"] == "late" else "bad", job["problem"].capitalize()
    if not job["enabled"]:
        return "quiet", "Off"
    if job["last_outcome"] == "running":
        return "info", "Running"
    return ("ok", "On time") if job["succeeded_at"] else ("info", "Not run yet")


def check_jobs(jobs: list[Row]) -> Check:
    wrong = [job for job in jobs if job["problem"]]
    enabled = [job for job in jobs if job["enabled"]]
    if wrong:
        named = ", ".join(f"{job['name']} ({job['problem']})" for job in wrong)
        state = "warn" if all(job["problem"] == "late" for job in wrong) else "bad"
        return Check("Jobs", state, f"{len(wrong)} not well", f"{named}.", "jobs")
    if enabled and not any(job["succeeded_at"] for job in enabled):
        return Check("Jobs", "warn", "None has run", "No job has run yet: is the worker running?", "jobs")
    return Check("Jobs", "ok", "On time", f"{len(enabled)} of {len(jobs)} are switched on.", "jobs")


def check_ledger(checkpoints: list[Row]) -> Check:
    """The last verification of everything that is finished."""
    finished = [row for row in checkpoints if row["finished_at"]]
    name, anchor = "Verification", "checkpoints"
    if not finished:
        return Check(name, "warn", "Not verified yet", "The job checkpoint_ledger has not run.", anchor)
    last = finished[0]
    if last["findings"]:
        return Check(name, "bad", f"{count(last['findings'])} findings", "Something was changed.", anchor)
    detail = f"{count(last['entries'])} entries of {count(last['accounts'])} accounts."
    if datetime.now(UTC) - last["finished_at"] > OLD:
        return Check(name, "warn", "Verified long ago", detail, anchor)
    return Check(name, "ok", "Verified", detail, anchor)


def check_traffic(metrics: list[Row]) -> Check:
    """What happens at this moment; it is neither good nor bad."""
    entries = sum(int(each["value"]) for each in metrics if each["name"] == "billing_ledger_entries_5m")
    refused = sum(int(each["value"]) for each in metrics if each["name"] == "billing_refused_deductions_5m")
    told = f"In five minutes, and {count(refused)} refused deductions."
    return Check("Ledger entries", "info" if refused else "ok", f"{count(entries)} written", told, "alerts")


def check_queue(name: str, queue: dict[str, Decimal]) -> Check:
    title, about = QUEUES[name]
    waiting, given_up = (int(queue.get(each, 0)) for each in ("waiting", "up"))
    anchor = "stripe-events" if name == "stripe_events" else "events" if name == "events" else "queues"
    if given_up:
        return Check(title, "bad", f"{count(given_up)} given up", f"Of the {about}; {count(waiting)} wait.", anchor)
    minutes = int(queue.get("seconds", 0)) // 60
    if waiting and minutes * 60 >= WAITING_SECONDS:
        return Check(title, "warn", f"{count(waiting)} waiting", f"The oldest since {minutes} minutes.", anchor)
    if waiting:
        return Check(title, "ok", f"{count(waiting)} waiting", f"{sentence(about)}, on their way.", anchor)
    return Check(title, "ok", "Empty", f"No {about}.", anchor)
