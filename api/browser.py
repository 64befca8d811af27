"""Pages for people: who is signed in, what protects a page and its forms, and errors that can be read.

A browser has a cookie of ours that holds the same token that the API takes. It is checked again at each request, by the
same rules, and rights come from the database; so nobody is signed in for longer than their token is good for.
"""

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

import psycopg
from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
)
from flask import url_for as url_of
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError, CSRFProtect, generate_csrf
from marshmallow import EXCLUDE, Schema, ValidationError
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect

from api.assets import init_assets
from api.auth import ADMINS, Claims, user_of
from api.charts import init_charts
from api.database import Row, call
from api.display import init_display
from api.errors import PAGES, Problem, code_of, is_page
from api.metrics import FORWARDED
from api.names import init_names
from api.settings import Settings

# A session ends after so long without a page, and in any case once a working day has passed.
IDLE_SECONDS = 2 * 3600
LONGEST_SECONDS = 12 * 3600
# The errors whose hint is for people; the others' are for programs that call the API, or SQL.
HINTED = ("form_expired", "sessions_not_configured")
# How exactly a session knows when it was last used: writing the cookie at every page would gain nothing.
SEEN_SECONDS = 60
# Browsers take no cookie of more than 4096 bytes; a message for the next page must have room in it, too.
LARGEST_COOKIE = 3600
# The address of a page of ours in printable ASCII. A browser takes a backslash for a slash, and // for another host.
LOCAL = re.compile(rf"({'|'.join(PAGES)})([/?][!-\[\]-~]*)?")
# What of a form does not come back in an address.
SECRETS = ("csrf_token", "token")
# What was typed comes back up to here: a longer address is refused by servers and proxies. An address within another
# one takes more room still.
LONGEST_VALUE, LONGEST_QUERY, LONGEST_INNER_QUERY = 1000, 2500, 1000
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    # The address of a page has ids of users, and what was typed.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

Item = tuple[str, str, str]


@dataclass(frozen=True)
class Area:
    """The pages below one path; its navigation has the endpoint, the label and the icon of each."""

    name: str
    path: str
    title: str
    home: str
    navigation: tuple[Item, ...]
    admins_only: bool

    def url(self, page: str, **values: Any) -> str:
        return url_of(f"{self.name}.{page}", **values)


def signed_in_area(
    bp: Blueprint,
    title: str,
    *,
    home: str,
    navigation: Iterable[Item] = (),
    admins_only: bool = False,
) -> None:
    """Let only who is signed in to the blueprint's pages, and give it the pages to sign in and out.

    In its views g.user_id is who is signed in, and g.role their role.
    """
    area = Area(bp.name, bp.url_prefix or "", title, home, tuple(navigation), admins_only)
    doors = (f"{bp.name}.sign_in", f"{bp.name}.sign_out")

    @bp.record_once
    def register(state: Any) -> None:
        state.app.extensions["areas"][area.path] = area

    @bp.before_request
    def guard() -> ResponseReturnValue | None:
        require_sessions()
        return None if request.endpoint in doors else enter(area)

    bp.add_url_rule("/sign-in", "sign_in", lambda: sign_in(area), methods=["GET", "POST"])
    bp.add_url_rule("/sign-out", "sign_out", lambda: sign_out(area), methods=["POST"])


# Who is there.


def enter(area: Area) -> ResponseReturnValue | None:
    """Let in who is signed in and may be here; a form must come from one of our own pages."""
    try:
        remember(held_claims())
    except Problem as problem:
        if problem.status != 401:
            raise
        return ask_to_sign_in(area, problem)
    if session.get("user_id") != str(g.user_id):
        if "user_id" in session:
            forget()  # The application's cookie is somebody else's by now, and no form of before is theirs.
        session["user_id"] = str(g.user_id)
    protect()
    g.role = role_of(g.user_id)
    if area.admins_only and g.role not in ADMINS:
        raise Problem(403, "not_an_admin", "These pages are for admins, and you are signed in as somebody who is none.")
    return None


def role_of(user_id: UUID) -> str:
    return call("get_user_role", user_id=user_id)["get_user_role"]


def remember(claims: Claims) -> None:
    g.user_id = user_of(claims)


def held_claims() -> Claims:
    """What the browser's token says; raises Problem 401 when there is none that is good."""
    token = held_token()
    if token is None:
        raise Problem(401, "token_missing", "Sign in to go on.")
    try:
        return current_app.extensions["tokens"].claims(token)
    except Problem as problem:
        if problem.status == 401:
            end()
        raise


def held_token() -> str | None:
    """The session's own; without one, what the application's cookie has, unless somebody has signed out here."""
    if "token" in session:
        seconds = time.time()
        if seconds - session["seen"] > IDLE_SECONDS or seconds - session["since"] > LONGEST_SECONDS:
            end()
            raise Problem(401, "session_ended", "Your session has ended. Sign in again to go on.")
        if seconds - session["seen"] > SEEN_SECONDS:
            session["seen"] = int(seconds)
        return session["token"]
    return None if session.get("signed_out") else application_token()


def application_token() -> str | None:
    name = current_app.extensions["token_cookie"]
    return request.cookies.get(name) if name else None


def forget() -> None:
    """End the session. The forms of its pages stay useless, whoever signs in next."""
    session.clear()
    g.pop("csrf_token", None)  # Flask-WTF keeps it for the rest of the request.


def end() -> None:
    """End the session. Who pasted a token here does not go on as whom the application's cookie names, unless asked."""
    ours = "token" in session
    forget()
    if ours and application_token():
        session["signed_out"] = True


def hold(token: str) -> None:
    """Begin a session; raises Problem when the token is not good, or does not fit into a cookie."""
    remember(current_app.extensions["tokens"].claims(token))
    seconds = int(time.time())
    forget()
    session.update(token=token, since=seconds, seen=seconds)
    # Made here, so that pages that open at the same time have the same.
    generate_csrf()
    serializer = SESSIONS.get_signing_serializer(current_app)
    if serializer is not None and len(serializer.dumps(dict(session))) > LARGEST_COOKIE:
        forget()
        raise Problem(422, "token_too_long", "The token is too long for a cookie: ask for one with fewer claims.")


def sign_in(area: Area) -> ResponseReturnValue:
    """Take a token, and go on to where somebody wanted to be."""
    onward = local(request.values.get("next")) or area.url(area.home)
    if request.method != "POST":
        if is_signed_in():
            return redirect(onward, 303)
        return sign_in_page(area, onward)
    try:
        protect()
        if "application" in request.form:
            session.pop("signed_out", None)
            remember(held_claims())
        else:
            hold(pasted_token())
    except Problem as error:
        problem = needs_https() if error.document["code"] == "form_expired" and is_cookie_lost() else error
        g.code = problem.document["code"]
        return sign_in_page(area, onward, problem), problem.status
    return redirect(onward, 303)


def is_cookie_lost() -> bool:
    """Whether the browser has kept no cookie of the form's page because it came over plain http."""
    encrypted = request.is_secure or request.headers.get("X-Forwarded-Proto", "").startswith("https")
    return not encrypted and not is_plain_loopback() and SESSIONS.get_cookie_name(current_app) not in request.cookies


def needs_https() -> Problem:
    return Problem(
        400,
        "https_required",
        "This page needs https: over plain http the browser keeps no session.",
        "Open it at its address that begins with https://.",
    )


def pasted_token() -> str:
    """What was pasted, also with what stands before it in a header."""
    token = "".join(request.form.get("token", "").split())
    token = re.sub(r"^(Authorization:)?Bearer", "", token, flags=re.IGNORECASE)
    if not token:
        raise Problem(422, "token_missing", "Paste a token.")
    return token


def is_signed_in() -> bool:
    try:
        remember(held_claims())
    except Problem as problem:
        if problem.status == 503:
            raise
        return False
    return True


def sign_out(area: Area) -> ResponseReturnValue:
    """End the session here. The application's own cookie is left to it, but no longer taken without asking."""
    if is_signed_in():
        protect()
    forget()
    if application_token():
        session["signed_out"] = True
    flash("You are signed out.", "success")
    return redirect(area.url("sign_in"), 303)


def ask_to_sign_in(area: Area, problem: Problem) -> ResponseReturnValue:
    """Of a page, the page to sign in; of a form, the same, and nothing of it has been done."""
    g.code = problem.document["code"]
    onward = way_back()
    if request.method in ("GET", "HEAD"):
        if problem.document["code"] != "token_missing":
            flash("Your session has ended. Sign in again to go on.", "warning")
        return redirect(area.url("sign_in", next=onward), 303)
    ended = Problem(
        401,
        "session_ended",
        "Your session has ended, so nothing was done. Sign in again: what you had typed is still there.",
    )
    return sign_in_page(area, onward, ended), 401


def sign_in_page(area: Area, onward: str, problem: Problem | None = None) -> str:
    g.area = area
    g.pop("user_id", None)
    offered = session.get("signed_out") and application_token()
    return render_template("sign_in.html", onward=onward, problem=problem and problem.document, offered=bool(offered))


def way_back() -> str:
    """Where to go on from here after signing in: this page, or the page of the form that was sent, as it was typed."""
    if request.method in ("GET", "HEAD"):
        return with_query(request.path, request.args.items(multi=True), LONGEST_INNER_QUERY)
    return with_query(form_path(), [*request.args.items(multi=True), *request.form.items(multi=True)])


def form_path() -> str:
    """The path that was sent to, if it can be opened; otherwise the nearest one above it."""
    path, adapter = request.path, current_app.create_url_adapter(request)
    while adapter is not None and path not in PAGES:
        try:
            adapter.match(path, "GET")
        except RequestRedirect:
            break
        except (NotFound, MethodNotAllowed):
            path = path.rpartition("/")[0]
        else:
            break
    return path


def with_query(path: str, values: Iterable[tuple[str, str]], longest: int = LONGEST_QUERY) -> str:
    """The address of a path with what fits of the values, and no secret."""
    kept, length = [], 0
    for name, value in values:
        size = len(urlencode({name: value})) + 1
        if name not in SECRETS and len(value) <= LONGEST_VALUE and length + size <= longest:
            kept.append((name, value))
            length += size
    return quote(path) + ("?" + urlencode(kept) if kept else "")


def local(path: str | None) -> str | None:
    """The path, if it leads to a page of ours."""
    return path if path and LOCAL.fullmatch(path) else None


# What protects a page.


def protect() -> None:
    """Raise Problem unless what changes something comes from a form on a page of this session."""
    try:
        current_app.extensions["csrf"].protect()
    except CSRFError as error:
        g.way_back = way_back()
        raise Problem(
            400,
            "form_expired",
            "This form was made for a session that has ended, so nothing was done.",
            "Go back to the form, and send it again.",
        ) from error


def require_sessions() -> None:
    if current_app.secret_key is None:
        raise Problem(
            503,
            "sessions_not_configured",
            "Nobody can sign in here yet: the server has no secret to sign its sessions with.",
            "Set SESSION_SECRET, at least 32 bytes, the same in every process.",
        )


def area_here() -> Area | None:
    """The area of the path, also where there is no page."""
    return g.get("area") or current_app.extensions["areas"].get(f"/{request.path.split('/')[1]}")


class Sessions(SecureCookieSessionInterface):
    """A signed cookie for pages only. It travels encrypted, unless the browser is on this machine.

    With an APP_URL of https it always does: then what asks for http://127.0.0.1 may be a proxy that does not say so.
    """

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if is_page() else self.session_class()

    def get_cookie_secure(self, app: Flask) -> bool:
        return app.extensions["https"] or not is_plain_loopback()

    def get_cookie_name(self, app: Flask) -> str:
        """Nobody but this very host can set a cookie with the prefix; it is only for those that travel encrypted."""
        return "__Host-billing" if self.get_cookie_secure(app) else "billing"

    def get_cookie_samesite(self, app: Flask) -> str:
        """Lax: who comes back from Stripe's page is still signed in, and no other site's form is."""
        return "Lax"


SESSIONS = Sessions()


def is_plain_loopback() -> bool:
    """Whether the browser itself, and no proxy, asks for http://localhost or the like."""
    if request.is_secure or any(name in request.headers for name in (*FORWARDED, "X-Forwarded-Proto")):
        return False
    host = urlsplit(f"//{request.host}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# Forms and pages.


def asked(schema: type[Schema]) -> Row:
    """The query as the schema reads it; a field that was left empty was not asked for. Raises Problem 400."""
    values, errors = checked(schema, request.args)
    if errors:
        detail = " ".join(f"{name}: {' '.join(texts)}" for name, texts in errors.items())
        raise Problem(400, "invalid_request", detail)
    return values


def checked(schema: type[Schema], fields: Any) -> tuple[Row, dict[str, list[str]]]:
    """What a form says by the schema, and what is wrong with which field; an empty field is as one left out."""
    filled = {name: value.strip() for name, value in fields.items() if value.strip()}
    try:
        return schema().load(filled, unknown=EXCLUDE), {}
    except ValidationError as error:
        return {}, {name: list(texts) for name, texts in error.normalized_messages().items()}


def problem_page(problem: Problem) -> ResponseReturnValue:
    """An error that a person can read, with the names that the API has for it."""
    if "user_id" not in g and current_app.secret_key is not None:
        with suppress(Problem, psycopg.Error):
            if is_signed_in() and problem.status < 500:
                g.role = role_of(g.user_id)
    shown = problem.document if problem.document["code"] in HINTED else problem.document | {"hint": None}
    page = render_template("error.html", problem=shown, way_back=g.get("way_back"))
    return page, problem.status, problem.headers


def page_context() -> dict[str, Any]:
    """What every page's template knows."""
    area = area_here()
    shown = area is not None and "user_id" in g and (not area.admins_only or g.get("role") in ADMINS)
    return {"area": area, "navigation": area.navigation if area and shown else (), "request_id": g.get("request_id")}


def init_browser(app: Flask, settings: Settings) -> None:
    """Give the app sessions, and what its pages need."""
    app.secret_key = settings.session_secret
    app.session_interface = SESSIONS
    # A form is good for as long as its session. Its token suffices: a proxy may well hide the address of the page.
    app.config.update(WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None, WTF_CSRF_SSL_STRICT=False)
    app.extensions["areas"] = {}
    app.extensions["token_cookie"] = settings.token_cookie
    app.extensions["https"] = settings.app_url.startswith("https://")
    app.extensions["problem_page"] = problem_page
    CSRFProtect(app)
    init_assets(app)
    init_display(app)
    init_charts(app)
    init_names(app)
    app.context_processor(page_context)

    @app.after_request
    def protect_page(response: Response) -> Response:
        if is_page():
            response.headers.update(HEADERS)
            if response.status_code >= 400:
                g.setdefault("code", code_of(response.status_code))
        return response
