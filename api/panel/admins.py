"""/admin/admins: who is an admin, and what each may still move today."""

import psycopg
from flask import Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow.validate import OneOf

from api.browser import checked
from api.csv import csv_response
from api.database import Row, call, call_all
from api.display import refusal, short_id, words
from api.errors import Problem
from api.fields import Id, Schema, Text
from api.names import names
from api.panel.actions import readable
from api.panel.advice import told_here
from api.panel.base import bp
from api.schemas import Admin as AdminColumns

ROLES = ("user", "admin", "super_admin")


class RoleForm(Schema):
    user_id = Id(required=True)
    role = Text(required=True, validate=OneOf(ROLES))
    reason = Text(required=True)


@bp.route("/admins", methods=["GET", "POST"])
def admins() -> ResponseReturnValue:
    if request.method != "POST":
        return admins_page(request.args.to_dict())
    values, errors = checked(RoleForm, request.form)
    if errors:
        return admins_page(request.form.to_dict(), errors=readable(errors)), 422
    try:
        before = call("get_user_role", user_id=values["user_id"])["get_user_role"]
        if problem := refusal(call("set_user_role", actor=g.user_id, **values)):
            raise problem
    except (psycopg.Error, Problem) as error:
        problem = told_here(error)
        return admins_page(request.form.to_dict(), problem=problem.document), problem.status
    user_id = values["user_id"]
    who = "You are" if user_id == g.user_id else f"{names([user_id])[user_id] or short_id(user_id)} is"
    was = "still" if before == values["role"] else "now"
    flash(f"{who} {was} {ROLE_TOLD[values['role']]}.", "success")
    return redirect(url_for("panel.admins"), 303)


@bp.get("/admins.csv")
def admins_csv() -> Response:
    admins = call_all("list_admins")
    known = names(admin["user_id"] for admin in admins)
    columns = ["user_id", "reference", *(name for name in AdminColumns().fields if name != "user_id")]
    return csv_response("admins.csv", columns, (admin | {"reference": known.get(admin["user_id"])} for admin in admins))


ROLE_TOLD = {"user": "a user, and no admin", "admin": "an admin", "super_admin": "a super admin"}


def admins_page(fields: Row, *, errors: dict[str, list[str]] | None = None, problem: Row | None = None) -> str:
    return render_template(
        "panel/admins.html",
        admins=call_all("list_admins"),
        roles=[(role, words(role)) for role in ROLES],
        may_change=g.role == "super_admin",
        fields=fields,
        errors=errors or {},
        problem=problem,
    )
