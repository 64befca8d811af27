"""/admin/bulk: credits for many users from a file, which is checked, shown, and granted batch by batch.

A file travels with its form from the preview to the start, and nothing is kept of it until then. What keeps anybody
from being granted twice is the name, in the database, however often a form is sent or a file uploaded.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import psycopg
from flask import Response, flash, g, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow.validate import Length, OneOf

from api.browser import asked, checked
from api.csv import csv_response
from api.database import Row, call, call_all, call_page
from api.display import beside_form, money_text, reason_text, refusal, told, words
from api.errors import REASONS, Problem
from api.fields import Flag, Id, Schema, Text, Time
from api.panel.actions import Reasoned
from api.panel.advice import LOGGED, leading_on, told_here
from api.panel.base import SHOWN, all_rows, bp, next_and_first
from api.panel.bulk_file import FAULTS, LARGEST_FILE, decode, read
from api.panel.wording import with_references

OUTCOMES = ("granted", "refused", "pending")
# A script shows each step; without one, fewer and longer ones are pressed for.
STEP, PRESSED_STEP = 100, 500
# Of a preview's rows of one kind, so many are shown.
PREVIEWED = 200
GRANT_COLUMNS = [
    *("bulk_id", "name", "reason", "created_by", "created_by_reference", "created_at", "row_count", "granted"),
    *("refused", "withdrawn", "pending", "total", "granted_total", "pending_total", "last_at"),
]
COLUMNS = [
    *("row_no", "user_id", "reference", "amount", "reason", "expires_at", "outcome", "refusal", "why", "entry_no"),
    *("action_id", "decided_by", "decided_at"),
]
NOT_FOUND = leading_on("bulk_grant_not_found")
# What a problem of a row means: names of the database, beside those of FAULTS.
PROBLEMS = FAULTS | {
    "invalid_request": "The row cannot be understood.",
    "unknown_reference": "Nobody is called so.",
    "ambiguous_reference": "Several users are called so: give the user_id.",
    "duplicate_user": "The user is in the file more than once.",
    "amount_not_positive": "The amount must be greater than zero.",
    "amount_too_precise": "The amount has more than 9 decimal places.",
    "amount_too_large": "The amount, or the balance with it, would be too large.",
    "expiry_not_ahead": "The credits would have expired already.",
    "account_not_found": "The user has no account.",
    "not_migrated": "The user is still in the old system.",
    "account_closed": "The account is closed.",
    "admin_limit_exceeded": "This is above what you may grant, at once or today.",
    "approval_required": "This takes another admin: it is your own account, or more than one admin may grant alone.",
    "idempotency_key_reused": "Another grant has this bulk grant's key.",
    "granted_otherwise": "Granted under this name before, with another amount or expiry: that stays as it is.",
    "withdrawn": "Withdrawn before it was granted.",
    "not_an_admin": "Who ran it was no admin any more.",
}


class BulkForm(Reasoned):
    step = Text(load_default="preview", validate=OneOf(["preview", "start"]))
    name = Text(
        required=True, validate=Length(max=200, error="At most 200 characters."),
        error_messages={"required": "Give it a name."},
    )  # fmt: skip
    expires_at = Time()
    text = Text()
    withdraw_others = Flag()
    again = Flag()


class RowQuery(Schema):
    outcome = Text(validate=OneOf(OUTCOMES))


class RowPage(RowQuery):
    after = Id()


class Before(Schema):
    before = Id()


@bp.before_app_request
def allow_a_file() -> None:
    """The form of a bulk grant may be larger than other requests: the file travels in it."""
    if request.endpoint == "panel.bulk_new":
        request.max_content_length = LARGEST_FILE + 64 * 1024
        request.max_form_memory_size = LARGEST_FILE + 64 * 1024


@bp.get("/bulk")
def bulk() -> str:
    grants, more = call_page("list_bulk_grants", limit=SHOWN, **asked(Before))
    last = grants[-1]["bulk_id"] if more else None
    return render_template("panel/bulk.html", grants=grants, pages=next_and_first("before", last))


@bp.get("/bulk.csv")
def bulk_csv() -> Response:
    grants = with_references(all_rows("list_bulk_grants", "before", "bulk_id"), "created_by")
    return csv_response("bulk.csv", GRANT_COLUMNS, grants)


# A new one, or more of one.


@bp.route("/bulk/new", methods=["GET", "POST"])
def bulk_new() -> ResponseReturnValue:
    """Take a file, show what it would do, and start it."""
    if request.method != "POST":
        # Somebody whose session has ended comes back with what was typed, but a file is not kept.
        lost = "step" in request.args and not request.args.get("text")
        return form_page(request.args, lost=lost)
    values, errors = checked(BulkForm, request.form)
    if errors:
        return form_page(request.form, errors), 422
    try:
        text = decode(request.files["file"].read()) if request.files.get("file") else values.get("text", "")
        return start(values, text) if values["step"] == "start" else preview(values, text)
    except (psycopg.Error, Problem) as error:
        problem = told_here(error)
    return form_page(request.form, problem=problem), problem.status


def form_page(
    fields: Any, errors: dict[str, list[str]] | None = None, problem: Problem | None = None, *, lost: bool = False
) -> str:
    return render_template(
        "panel/bulk_new.html", fields=fields, errors=errors or {}, problem=problem and problem.document, lost=lost
    )


def preview(values: Row, text: str, problem: Problem | None = None) -> ResponseReturnValue:
    """What the file would do at this moment; what must be corrected comes first, and then nothing can be started."""
    if problem:
        beside_form(problem)
    file = read(text)
    plan = (
        call_all("plan_bulk_grant", actor=g.user_id, name=values["name"], rows=file.rows, **expiry_of(values))
        if file.rows
        else []
    )
    invalid = [
        {"row_no": fault.row_no, "problem": fault.problem, "cell": fault.cell, "user_id": None, "amount": None}
        for fault in file.faults
    ]
    invalid += [row | {"cell": row["reference"] or ""} for row in plan if row["verdict"] == "invalid"]
    invalid.sort(key=lambda row: row["row_no"])
    kinds = Counter(row["verdict"] for row in plan)
    before = next(iter(call_all("list_bulk_grants", limit=1, name=values["name"])), None)
    page = render_template(
        "panel/bulk_preview.html",
        fields=values,
        text=text,
        problem=problem and problem.document,
        rows=len(file),
        invalid=first(PREVIEWED, invalid),
        kinds=kinds,
        granted=first(10, (row for row in plan if row["verdict"] == "grant")),
        refused=first(PREVIEWED, (row for row in plan if row["verdict"] == "refused")),
        otherwise=first(PREVIEWED, (row for row in plan if row["problem"] == "granted_otherwise")),
        elsewhere=first(PREVIEWED, (row for row in plan if row["warning"])),
        total=plan[-1]["running_total"] if plan else 0,
        left_after=plan[-1]["left_today"] if plan else None,
        admin=call("get_admin", user_id=g.user_id),
        before=before,
        others=others_than(plan, before),
        why=why,
    )
    return (page, 422) if invalid or problem else page


def first(shown: int, found: Iterable[Row]) -> Row:
    """What a page shows of many rows, and how many there are."""
    rows = list(found)
    return {"rows": rows[:shown], "number": len(rows)}


def others_than(plan: Iterable[Row], bulk: Row | None) -> int:
    """How many rows of the bulk grant wait that are not in the file."""
    if bulk is None or not bulk["pending"]:
        return 0
    users = {row["user_id"] for row in plan}
    waiting = all_rows("list_bulk_rows", "after", "user_id", bulk_id=bulk["bulk_id"], outcome="pending")
    return sum(row["user_id"] not in users for row in waiting)


def start(values: Row, text: str) -> ResponseReturnValue:
    """Store the rows, unless the preview has something that must be seen first; nothing is granted by this."""
    file = read(text)
    if file.faults:
        return preview(values, text)
    if not values.get("again"):
        plan = call_all("plan_bulk_grant", actor=g.user_id, name=values["name"], rows=file.rows, **expiry_of(values))
        if any(row["warning"] for row in plan):
            unconfirmed = Problem(
                422, "confirmation_missing", "Some users have been granted the same amount under another name.",
                "Confirm that they are to get it again, or take them out of the file.",
            )  # fmt: skip
            return preview(values, text, unconfirmed)
    try:
        begun = call(
            "begin_bulk_grant", actor=g.user_id, name=values["name"], rows=file.rows, reason=values["reason"],
            withdraw_others=values.get("withdraw_others", False), **expiry_of(values),
        )  # fmt: skip
    except psycopg.Error as error:
        if told(error).document["code"] == "invalid_rows":
            return preview(values, text)
        raise
    if problem := refusal(begun):
        raise problem
    if otherwise := begun["granted_otherwise"]:
        users = f"{otherwise:,} users were" if otherwise > 1 else "A user was"
        flash(f"{users} granted another amount or expiry under this name before: that stays as it is.", "warning")
    return redirect(url_for("panel.bulk_grant", bulk_id=begun["bulk_id"]), 303)


def expiry_of(values: Row) -> Row:
    return {"expires_at": values["expires_at"]} if "expires_at" in values else {}


# One of them.


@bp.get("/bulk/<uuid:bulk_id>")
@NOT_FOUND
def bulk_grant(bulk_id: UUID) -> str:
    return grant_page(bulk_id, request.args)


def grant_page(bulk_id: UUID, fields: Any, errors: Any = None, problem: Problem | None = None) -> str:
    """How far it is, and what became of its rows: those that were refused first, if there are any."""
    bulk = call("get_bulk_grant", bulk_id=bulk_id)
    query = asked(RowPage)
    rows, more = call_page("list_bulk_rows", limit=SHOWN, bulk_id=bulk_id, **query)
    last = rows[-1]["user_id"] if more else None
    return render_template(
        "panel/bulk_grant.html",
        bulk=bulk,
        progress=progress_of(bulk),
        rows=rows,
        pages=next_and_first("after", last),
        query=query,
        admin=call("get_admin", user_id=g.user_id),
        why=why,
        pressed_step=PRESSED_STEP,
        fields=fields,
        errors=errors or {},
        problem=problem and problem.document,
    )


def why(name: str | None) -> str:
    """What keeps a row from being granted, or kept it."""
    if name is None:
        return ""
    if name in PROBLEMS:
        return PROBLEMS[name]
    return reason_text(name).removesuffix(LOGGED) if name in REASONS else f"{words(name)}."


def progress_of(bulk: Row) -> Row:
    """What the page shows of how far it is, and a script changes there."""
    done = bulk["granted"] + bulk["refused"]
    return {
        "done": done,
        "rows": bulk["row_count"],
        "pending": bulk["pending"],
        "texts": {
            "done": f"{done:,} of {bulk['row_count']:,} rows",
            "granted": f"{bulk['granted']:,}",
            "refused": f"{bulk['refused']:,}",
            "pending": f"{bulk['pending']:,}",
            "granted_total": money_text(bulk["granted_total"]),
            "pending_total": money_text(bulk["pending_total"]),
            "percent": f"{100 * done // bulk['row_count'] if bulk['row_count'] else 100}%",
        },
    }


@bp.post("/bulk/<uuid:bulk_id>/step")
def bulk_step(bulk_id: UUID) -> ResponseReturnValue:
    """Grant the next batch, and tell how far it is: a script what to show, a form by its page."""
    scripted = request.accept_mimetypes.best == "application/json"
    done = call("run_bulk_grant", actor=g.user_id, bulk_id=bulk_id, limit=STEP if scripted else PRESSED_STEP)
    if problem := refusal(done):
        raise problem
    if scripted:
        progress = progress_of(call("get_bulk_grant", bulk_id=bulk_id))
        progress["texts"]["left_today"] = money_text(done["left_today"])
        return jsonify(progress)
    summary = f"{done['granted']:,} rows were granted, {done['refused']:,} refused; {done['pending']:,} are waiting."
    flash(summary, "warning" if done["refused"] else "success")
    return redirect(url_for("panel.bulk_grant", bulk_id=bulk_id), 303)


@bp.post("/bulk/<uuid:bulk_id>/retry")
@NOT_FOUND
def bulk_retry(bulk_id: UUID) -> ResponseReturnValue:
    """Let what was refused wait again."""
    return change(bulk_id, "retry_bulk_grant", "{changed:,} rows wait again: go on with them below.")


@bp.post("/bulk/<uuid:bulk_id>/stop")
@NOT_FOUND
def bulk_stop(bulk_id: UUID) -> ResponseReturnValue:
    """Withdraw what waits."""
    return change(bulk_id, "stop_bulk_grant", "{withdrawn:,} rows are withdrawn. What was granted stays.")


def change(bulk_id: UUID, function: str, message: str) -> ResponseReturnValue:
    values, errors = checked(Reasoned, request.form)
    if errors:
        return grant_page(bulk_id, request.form, errors), 422
    changed = call(function, actor=g.user_id, bulk_id=bulk_id, reason=values["reason"])
    if refused := refusal(changed):
        problem = told_here(refused)
        return grant_page(bulk_id, request.form, problem=problem), problem.status
    flash(message.format_map(changed), "success")
    return redirect(url_for("panel.bulk_grant", bulk_id=bulk_id), 303)


@bp.get("/bulk/<uuid:bulk_id>/results.csv")
def bulk_results(bulk_id: UUID) -> Response:
    """Every row and what became of it."""
    rows = all_rows("list_bulk_rows", "after", "user_id", bulk_id=bulk_id, **asked(RowQuery))
    return csv_response("results.csv", COLUMNS, (row | {"why": why(row["refusal"])} for row in rows))
