"""/admin/admins: who is an admin, and what each may still move today."""

import psycopg
from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow.validate import OneOf

from api.browser import checked
from api.database import Row, call, call_all
from api.display import beside_form, refusal, short_id, words
from api.errors import Problem
from api.fields import Id, Schema, Text
from api.panel.actions import readable
from api.panel.base import bp

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
        problem = beside_form(error)
        return admins_page(request.form.to_dict(), problem=problem.document), problem.status
    who = "You are" if values["user_id"] == g.user_id else f"{short_id(values['user_id'])} is"
    was = "still" if before == values["role"] else "now"
    flash(f"{who} {was} {ROLE_TOLD[values['role']]}.", "success")
    return redirect(url_for("panel.admins"), 303)


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
