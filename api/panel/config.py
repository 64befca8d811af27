"""/admin/config: tiers, limits, rate card, packages and settings, and what a change of one would change."""

import psycopg
from flask import Response, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from api.csv import csv_response
from api.database import Row, call
from api.display import refusal
from api.errors import Problem
from api.fields import NOT_STORABLE, is_storable
from api.json import JSONError, dumps
from api.panel.actions import key_of
from api.panel.advice import told_here
from api.panel.base import bp
from api.panel.config_rows import (
    SECTIONS,
    Mistakes,
    as_typed,
    before_of,
    columns_of,
    differences,
    errors_of,
    named,
    read,
)

TAKEN = "There is one of this name already."


@bp.get("/config")
def config() -> str:
    config = {section: in_order(section, rows) for section, rows in read_config().items() if section in SECTIONS}
    return render_template(
        "panel/config.html", sections=SECTIONS, config=config, columns=columns_of, may_change=may_change()
    )


def in_order(section: str, rows: Row) -> Row:
    """Tiers by their rank, packages by their price, and what else there is by its name."""
    by = SECTIONS[section].order
    return dict(sorted(rows.items(), key=lambda item: (item[1][by] if by else 0, item[0])))


@bp.get("/config/<section>.csv")
def config_csv(section: str) -> Response:
    known(section)
    rows = in_order(section, read_config()[section])
    columns = list(columns_of(section, next(iter(rows.values()), None)))
    return csv_response(f"{section}.csv", ["name", *columns], ({"name": name} | row for name, row in rows.items()))


@bp.route("/config/<section>", methods=["GET", "POST"])
def config_new(section: str) -> ResponseReturnValue:
    """A row that is not there yet."""
    known(section)
    if SECTIONS[section].fixed:
        abort(404)
    return edit(section, None, read_config()[section])


@bp.route("/config/<section>/<path:name>", methods=["GET", "POST"])
def config_row(section: str, name: str) -> ResponseReturnValue:
    known(section)
    there = read_config()[section]
    if (request.method != "POST" or not is_storable(name)) and name not in there:
        abort(404, f"There is no {SECTIONS[section].word} of this name.")
    return edit(section, name, there)


def known(section: str) -> None:
    if section not in SECTIONS:
        abort(404)


def read_config() -> Row:
    return call("read_config", actor=g.user_id)["read_config"]


def may_change() -> bool:
    return g.role == "super_admin"


# The steps: the form, the difference, and then it is saved.


def edit(section: str, name: str | None, there: Row) -> ResponseReturnValue:
    row = there.get(name) if name is not None else None
    if request.method != "POST":
        typed = {each: request.args[each] for each in ("name", *columns_of(section, row)) if each in request.args}
        # A box that is not ticked is not sent.
        flags = {each: "" for each, column in columns_of(section, row).items() if typed and column.kind == "flag"}
        return form_page(section, name, row, as_typed(section, row) | flags | typed)
    fields = {each: value.strip() for each, value in request.form.items()}
    step = fields.get("step", "diff")
    new_name = fields.get("name", "") if name is None else name
    try:
        before = before_of(fields.get("before"))
    except JSONError as error:
        raise Problem(400, "invalid_request", f"before: {error}") from error
    try:
        after = None if step in ("remove", "remove-save") else read(section, before, fields)
        named(new_name)
    except Mistakes as mistakes:
        return form_page(section, name, row, fields, before=before, errors=mistakes.errors), 422
    if step == "edit":
        return form_page(section, name, row, fields, before=before)
    if before is not None and row != before and step in ("diff", "remove"):
        return changed_page(section, name, row, fields, before), 409
    if before is None and step == "diff" and new_name in there:
        return form_page(section, name, row, fields, errors={"name": [TAKEN]}), 422
    if before == after:
        return form_page(section, name, row, fields, before=before, note="Nothing differs from what is there.")
    if step in ("save", "remove-save"):
        return save(section, name, new_name, row, fields, before, after)
    return diff_page(section, name, new_name, fields, before, after)


def save(
    section: str, name: str | None, new_name: str, row: Row | None, fields: Row, before: Row | None, after: Row | None
) -> ResponseReturnValue:
    if not is_storable(fields.get("reason", "")):
        return diff_page(section, name, new_name, fields, before, after, wrong=NOT_STORABLE), 422
    try:
        result = call(
            "change_config", actor=g.user_id, section=section, name=new_name, before=before, after=after,
            reason=fields.get("reason", ""), idempotency_key=key_of(fields.get("idempotency_key")),
        )  # fmt: skip
        if problem := refusal(result):
            raise problem
    except (psycopg.Error, Problem) as error:
        problem = told_here(error)
        document = problem.document
        if document["code"] == "reason_required":
            missing = "Say in a few words why."
            return diff_page(section, name, new_name, fields, before, after, wrong=missing), problem.status
        if document["code"] == "config_changed" and before is None:
            return form_page(section, name, row, fields, errors={"name": [TAKEN]}), problem.status
        if document["code"] == "config_changed":
            return changed_page(section, name, row, fields, before), problem.status
        errors = errors_of(section, before or after, document)
        return form_page(
            section, name, row, fields, before=before, problem=None if errors else document, errors=errors
        ), problem.status
    done = "was saved already, and was not saved again" if result["replayed"] else "is saved"
    flash(
        f"{SECTIONS[section].title}: {new_name} {done}. make config-diff shows it as edited in the database; "
        "make config-pull brings it into api/billing_config.py.",
        "info" if result["replayed"] else "success",
    )
    return redirect(url_for("panel.config", _anchor=section), 303)


def form_page(
    section: str,
    name: str | None,
    row: Row | None,
    fields: Row,
    *,
    before: Row | None = None,
    errors: dict[str, list[str]] | None = None,
    problem: Row | None = None,
    note: str = "",
    meanwhile: list[Row] | None = None,
) -> str:
    """The form of a row. What it is compared with is `before`, or else the row as it is."""
    return render_template(
        "panel/config_row.html",
        section=section,
        described=SECTIONS[section],
        name=name,
        row=row,
        before=dumps(row if before is None else before),
        columns=columns_of(section, row),
        fields=fields,
        key=key_of(fields.get("idempotency_key") or request.args.get("idempotency_key")),
        may_change=may_change(),
        errors=errors or {},
        problem=problem,
        note=note,
        meanwhile=meanwhile,
    )


def changed_page(section: str, name: str | None, row: Row | None, fields: Row, before: Row | None) -> str:
    """The form with what was typed, and what has changed since it was opened; a key that was used stays with that."""
    fields = {each: value for each, value in fields.items() if each != "idempotency_key"}
    return form_page(section, name, row, fields, meanwhile=differences(section, before, row))


def diff_page(
    section: str,
    name: str | None,
    new_name: str,
    fields: Row,
    before: Row | None,
    after: Row | None,
    *,
    wrong: str = "",
) -> str:
    kept = {each: value for each, value in fields.items() if each not in ("csrf_token", "step", "before", "reason")}
    return render_template(
        "panel/config_diff.html",
        section=section,
        described=SECTIONS[section],
        name=name,
        new_name=new_name,
        change="add" if before is None else "remove" if after is None else "change",
        differences=differences(section, before, after),
        before=dumps(before),
        kept=kept | {"idempotency_key": key_of(fields.get("idempotency_key"))},
        reason=fields.get("reason", ""),
        may_change=may_change(),
        wrong=wrong,
    )
