"""Who is signed in at a browser, and what protects its pages."""

import os
import re
import time
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from flask import url_for
from itsdangerous import URLSafeTimedSerializer
from psycopg.errors import QueryCanceled

from api import browser
from api.settings import ConfigurationError, Settings
from api.tests.conftest import APP_URL, SECRET, Client, balance_of, make_app, token
from api.tests.pages import COOKIE, CSRF, Browser, text_of
from api.tests.test_settings import GOOD

ENDED = "Your session has ended"
FORM = "/admin/users/{}/actions/adjust"


def sign_in_page(answer):
    return "Sign in" in answer.text and 'name="token"' in answer.text


def cookies(answer):
    return answer.headers.getlist("Set-Cookie")


@pytest.fixture
def panel(app, admin):
    return Browser(app, admin)


# Signing in and out.


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/users", f"/admin/users/{uuid4()}", "/admin/health"])
def test_who_is_not_signed_in_is_asked_to(app, path):
    answer = Browser(app).get(path)
    assert answer.status_code == 303
    assert urlsplit(answer.location).path == "/admin/sign-in"
    assert parse_qs(urlsplit(answer.location).query)["next"] == [path]
    assert Browser(app).get(answer.location).status_code == 200


@pytest.mark.parametrize("pasted", ["{}", "Bearer {}", "Authorization: Bearer {}", "\n {} \n"])
def test_a_token_signs_in_however_it_was_copied(app, admin, pasted):
    page = Browser(app)
    answer = page.sign_in(pasted.format(token(sub=admin)))
    assert (answer.status_code, answer.location) == (303, "/admin/users")
    assert str(admin)[:8] in text_of(page.get("/admin/users").text)


def test_who_is_signed_in_goes_on_to_where_they_wanted_to_be(app, admin):
    page = Browser(app)
    onward = page.sign_in(token(sub=admin), next="/admin/log?outcome=refused")
    assert onward.location == "/admin/log?outcome=refused"
    assert page.get("/admin/sign-in?next=/admin/health").location == "/admin/health"


@pytest.mark.parametrize(
    "onward",
    [
        *("https://evil.example/admin", "//evil.example/admin", "/\\evil.example", "/admin\\@evil.example"),
        "javascript:alert(1)",
        *("/admin/\n/evil", "/admin /x", "/administrator", "/api/billing/v2/balance", "admin", "", "/billings", "/"),
    ],
)
def test_nobody_is_led_away_from_these_pages(app, admin, onward):
    assert Browser(app).sign_in(token(sub=admin), next=onward).location == "/admin/users"
    assert Browser(app, admin).get("/admin/sign-in", query_string={"next": onward}).location == "/admin/users"


@pytest.mark.parametrize(
    ("made", "status", "told"),
    [
        (lambda: "", 422, "Paste a token."),
        (lambda: "nonsense", 401, "The token is refused"),
        (lambda: token(sub=uuid4(), exp=int(time.time()) - 60), 401, "The token has expired."),
        (lambda: token(sub=uuid4(), secret="another secret, just as long as it must be"), 401, "The token is refused"),
        (lambda: token(sub="nobody"), 401, "not the id of a user"),
        (lambda: token(role="service_role"), 403, "A service token stands for no user."),
        (lambda: token(sub=uuid4(), padding=os.urandom(2500).hex()), 422, "too long for a cookie"),
    ],
)
def test_a_token_that_the_api_refuses_is_refused_here(app, made, status, told):
    page, pasted = Browser(app), made()
    answer = page.sign_in(pasted)
    assert answer.status_code == status
    assert told in text_of(answer.text)
    assert not pasted or pasted not in answer.text
    assert page.get("/admin/users").status_code == 303


def test_after_a_token_that_is_too_long_another_one_is_taken(app, admin):
    page = Browser(app)
    refused = page.sign_in(token(sub=admin, padding=os.urandom(2500).hex()))
    fields = {"csrf_token": CSRF.search(refused.text)[1], "token": token(sub=admin)}
    assert page.client.post("/admin/sign-in", data=fields).status_code == 303


def test_the_cookie_holds_the_same_token(app, admin):
    page = Browser(app)
    made = token(sub=admin)
    page.sign_in(made)
    cookie = page.client.get_cookie(COOKIE)
    serializer = browser.SESSIONS.get_signing_serializer(app)
    assert serializer.loads(cookie.value)["token"] == made
    assert cookie.http_only
    assert cookie.same_site == "Lax"
    assert cookie.expires is None, "it ends with the browser"


def test_signing_out(panel):
    answer = panel.post("/admin/sign-out")
    assert (answer.status_code, answer.location) == (303, "/admin/sign-in")
    assert "You are signed out." in panel.get("/admin/sign-in").text
    assert panel.get("/admin/users").status_code == 303
    assert panel.post("/admin/sign-out").status_code == 303, "a second time does no harm"


def test_nobody_else_signs_one_out(panel):
    assert panel.client.post("/admin/sign-out").status_code == 400
    assert panel.get("/admin/users").status_code == 200


def test_nobody_else_signs_one_in(app, admin):
    """A form of another site has no CSRF token of this browser."""
    answer = app.test_client().post("/admin/sign-in", data={"token": token(sub=admin)})
    assert answer.status_code == 400
    assert sign_in_page(answer)


def test_a_new_session_has_forms_of_its_own(app, admin):
    page = Browser(app)
    before = page.csrf()
    page.sign_in(token(sub=admin))
    assert page.client.post("/admin/sign-out", data={"csrf_token": before}).status_code == 400


# How a session ends.


def test_it_ends_with_the_token(app, admin):
    page = Browser(app)
    page.sign_in(token(sub=admin, exp=int(time.time()) - 9))
    assert page.get("/admin/users").status_code == 200, "within what clocks may differ"
    with page.client.session_transaction("/admin") as session:
        session["token"] = token(sub=admin, exp=int(time.time()) - 11)
    answer = page.get("/admin/users", follow_redirects=True)
    assert sign_in_page(answer)
    assert ENDED in answer.text


@pytest.mark.parametrize(
    ("name", "seconds", "ended"),
    [
        ("seen", browser.IDLE_SECONDS + 1, True),
        ("seen", browser.IDLE_SECONDS - 9, False),
        ("since", browser.LONGEST_SECONDS + 1, True),
        ("since", browser.LONGEST_SECONDS - 9, False),
    ],
)
def test_it_ends_when_nobody_is_there_or_the_day_is_over(panel, name, seconds, ended):
    with panel.client.session_transaction("/admin") as session:
        session[name] -= seconds
    assert panel.get("/admin/users").status_code == (303 if ended else 200)


def test_a_page_keeps_it_awake(panel):
    with panel.client.session_transaction("/admin") as session:
        session["seen"] -= browser.IDLE_SECONDS - 60
    assert cookies(panel.get("/admin/users"))
    assert not cookies(panel.get("/admin/users")), "it was seen just before"


def test_a_form_that_is_sent_too_late_does_nothing_and_is_not_lost(app, db, admin, user):
    page = Browser(app, admin)
    typed = {"amount": "12.5", "reason": "Sorry & thanks, <b>ä</b>", "step": "preview", "idempotency_key": "k-1"}
    csrf = page.csrf()
    with page.client.session_transaction("/admin") as session:
        session["seen"] = 0
    answer = page.client.post(FORM.format(user), data=typed | {"csrf_token": csrf, "token": "secret"})
    assert answer.status_code == 401
    assert sign_in_page(answer)
    assert "nothing was done" in answer.text
    onward = re.search(r'name="next" value="([^"]*)"', answer.text)[1].replace("&amp;", "&")
    assert urlsplit(onward).path.startswith(f"/admin/users/{user}")
    assert {name: values[0] for name, values in parse_qs(urlsplit(onward).query).items()} == typed
    again = page.client.post(
        "/admin/sign-in", data={"token": token(sub=admin), "csrf_token": CSRF.search(answer.text)[1], "next": onward}
    )
    assert (again.status_code, again.location) == (303, onward)


def test_without_any_cookie_it_is_the_same(app, user):
    answer = app.test_client().post(FORM.format(user), data={"amount": "1"})
    assert answer.status_code == 401
    assert "amount=1" in answer.text


def test_what_is_too_long_for_an_address_is_left_out(app):
    with app.test_request_context("/admin/x"):
        many = [(f"n{number}", "y" * 900) for number in range(9)]
        kept = browser.with_query("/admin/ü", [("a", "1"), ("long", "x" * 1001), *many])
    assert kept.startswith("/admin/%C3%BC?a=1&n0=yyy")
    assert len(kept) < 3000
    assert "long" not in kept


# The application's own cookie.


@pytest.fixture
def beside(app, shared_database):
    """The app, with the application's cookie accepted."""
    made = make_app(shared_database.url, TOKEN_COOKIE="app_token")
    yield made
    made.extensions["database"].close()


def test_the_applications_cookie_signs_in(beside, admin):
    page = Browser(beside)
    page.client.set_cookie("app_token", token(sub=admin))
    assert page.get("/admin/users").status_code == 200
    assert page.post(FORM.format(uuid4()), {"step": "preview"}).status_code != 401
    page.client.set_cookie("app_token", token(sub=admin, exp=int(time.time()) - 60))
    assert page.get("/admin/users").status_code == 303


def test_a_form_of_one_user_is_not_sent_as_another(beside, db, user):
    other = uuid4()
    db.execute("select billing.open_account(%s)", [other])
    page = beside.test_client()
    page.set_cookie("app_token", token(sub=user))
    form = {"csrf_token": CSRF.search(page.get("/billing").text)[1], "tell": "never"}
    page.set_cookie("app_token", token(sub=other))
    answer = page.post("/billing/notifications", data=form)
    assert (answer.status_code, "form_expired" in answer.text) == (400, True)
    notified = db.execute("select is_default from billing.get_notifications(%s)", [other]).fetchone()
    assert notified.is_default, "nothing was done"


@pytest.mark.parametrize("ends", ["idle", "token"])
def test_a_session_that_ends_does_not_go_on_as_somebody_else(beside, user, super_admin, ends):
    page = Browser(beside, super_admin, area="/billing")
    page.client.set_cookie("app_token", token(sub=user))
    with page.client.session_transaction("/billing") as session:
        if ends == "idle":
            session["seen"] -= browser.IDLE_SECONDS + 1
        else:
            session["token"] = token(sub=super_admin, exp=int(time.time()) - 60)
    asked = page.get("/billing", follow_redirects=True)
    assert sign_in_page(asked)
    assert ENDED in asked.text
    assert str(user)[:8] not in asked.text
    assert "Go on as you are signed in at the application" in asked.text
    assert page.get("/billing").status_code == 303
    assert page.post("/billing/sign-in", {"application": "yes"}).status_code == 303
    assert str(user)[:8] in page.get("/billing").text


def test_its_cookie_alone_sends_no_form(beside, admin):
    page = beside.test_client()
    page.set_cookie("app_token", token(sub=admin))
    assert page.post("/admin/sign-out").status_code == 400


def test_signing_out_holds_although_its_cookie_is_still_there(beside, admin, super_admin):
    page = Browser(beside)
    page.client.set_cookie("app_token", token(sub=admin))
    page.post("/admin/sign-out")
    assert page.get("/admin/users").status_code == 303
    offered = page.get("/admin/sign-in")
    assert "Go on as you are signed in at the application" in offered.text
    assert page.post("/admin/sign-in", {"application": "yes"}).status_code == 303
    assert page.get("/admin/users").status_code == 200
    page.post("/admin/sign-out")
    page.sign_in(token(sub=super_admin))
    assert str(super_admin)[:8] in page.get("/admin/users").text, "who signs in here goes before it"


def test_it_is_not_taken_unless_it_is_named(app, admin):
    page = Browser(app)
    page.client.set_cookie("app_token", token(sub=admin))
    assert page.get("/admin/users").status_code == 303


# Rights.


def test_rights_are_looked_up_at_each_request(app, db, super_admin, admin):
    page = Browser(app, admin)
    assert page.get("/admin/users").status_code == 200
    db.execute("select billing.set_user_role(%s, %s, 'user', 'left the team')", [super_admin, admin])
    answer = page.get("/admin/users")
    assert answer.status_code == 403
    assert "These pages are for admins" in answer.text
    assert "Sign in as somebody else" in answer.text
    assert "/admin/approvals" not in answer.text, "nor how many wait there"


def test_a_user_gets_no_further_than_the_door(app, user):
    page = Browser(app, user)
    for path in ("/admin/users", f"/admin/users/{user}", "/admin/users.csv", "/admin/log", "/admin/health", "/admin"):
        assert page.get(path).status_code == 403
    assert page.post(FORM.format(user), {"step": "confirm"}).status_code == 403


def test_a_user_sees_nothing_of_the_panel_on_error_pages(app, panel, user):
    answer = Browser(app, user).get("/admin/nothing")
    assert answer.status_code == 404
    assert "/admin/approvals" not in answer.text
    assert "Sign out" in answer.text
    assert "/admin/approvals" in panel.get("/admin/nothing").text


def test_who_asks_for_a_head_alone_changes_nothing(app, db, super_admin, user):
    """Flask sends HEAD to the views of GET, and no token of a form comes with it."""
    page, stranger = Browser(app, super_admin), uuid4()
    name = f"pack_{uuid4().hex[:8]}"
    fields = {
        "user_id": str(stranger), "role": "super_admin", "token": token(sub=super_admin), "name": name, "amount": "3",
        "price_cents": "300", "reason": "x", "step": "save",
    }  # fmt: skip
    path_values = {"user_id": user, "slug": "adjust", "section": "packages", "name": name, "form": "buy"}
    seen = 0
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(("/admin", "/billing")) or not {"GET", "POST"} <= rule.methods:
            continue
        with app.test_request_context():
            path = url_for(rule.endpoint, **{each: path_values[each] for each in rule.arguments})
        for client in (page.client, app.test_client()):
            client.open(path, method="HEAD", data=fields)
            seen += 1
    assert seen > 10
    assert db.execute("select billing.get_user_role(%s) as role", [stranger]).fetchone().role == "user"
    assert db.execute("select from billing.billing_packages where name = %s", [name]).fetchone() is None
    assert balance_of(db, user) == 5
    signing = app.test_client()
    signing.open("/admin/sign-in", method="HEAD", data=fields)
    assert signing.get("/admin/users").status_code == 303


def test_every_page_has_the_door_before_it(app):
    """No page of the panel is reached without signing in, whoever adds one."""
    page, seen = app.test_client(), 0
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(("/admin", "/billing")) or rule.endpoint.endswith((".sign_in", ".sign_out")):
            continue
        path = re.sub(r"<any\('?([^',)]+)[^>]*>", r"\1", rule.rule)
        path = re.sub(r"<\w+>", "x", re.sub(r"<int[^>]*>", "1", re.sub(r"<uuid:\w+>", str(uuid4()), path)))
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            answer = page.open(path, method=method)
            assert answer.status_code == (401 if method == "POST" else 303), (method, path)
            seen += 1
    assert seen > 20


# CSRF, headers, errors.


def test_a_form_needs_the_token_of_its_session(app, panel, super_admin):
    other = Browser(app, super_admin).csrf()
    forged = URLSafeTimedSerializer("x" * 40, salt="wtf-csrf-token").dumps("0" * 40)
    for csrf in (None, "", "x", other, forged):
        answer = panel.client.post("/admin/sign-out", data={"csrf_token": csrf} if csrf is not None else {})
        assert answer.status_code == 400
        assert "form_expired" in answer.text
    assert panel.get("/admin/users").status_code == 200


def test_the_api_takes_no_cookie_and_needs_no_csrf(app, panel, client: Client, admin, user):
    body = {"user_id": str(user), "amount": 1, "reason": "test"}
    assert panel.client.post("/api/admin/billing/credits/adjust", json=body).status_code == 401
    answer = client.post("/api/admin/billing/credits/adjust", body, by=admin)
    assert answer.status == 200
    assert "Content-Security-Policy" not in answer.headers
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/admin/sign-in", "/admin/users", "/admin/nothing", "/admin", "/billing/nothing"])
def test_headers_of_pages(app, panel, path):
    for answer in (panel.get(path), app.test_client().get(path)):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "<style" not in answer.text
        assert "style=" not in answer.text
        assert not re.search(r"<script(?! src=)|\son\w+=", answer.text)


def test_other_pages_are_left_as_they_are(app):
    assert "Content-Security-Policy" not in app.test_client().get("/docs/").headers
    assert "script-src" not in app.test_client().get("/checkout/success").headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("options", "secure"),
    [
        ({"base_url": "http://localhost"}, False),
        ({"base_url": "http://127.0.0.1:8000"}, False),
        ({"base_url": "http://[::1]:8000"}, False),
        ({"base_url": "http://panel.localhost"}, False),
        ({"base_url": "https://localhost"}, True),
        ({"base_url": "https://billing.example.com"}, True),
        ({"base_url": "http://billing.example.com"}, True),
        ({"base_url": "http://localhost.example.com"}, True),
        ({"base_url": "http://127.0.0.1:8000", "headers": {"X-Forwarded-For": "203.0.113.9"}}, True),
        ({"base_url": "http://127.0.0.1:8000", "headers": {"X-Forwarded-Proto": "https"}}, True),
    ],
)
def test_the_cookie_travels_encrypted_except_on_this_machine(beside, options, secure):
    answer = beside.test_client().get("/admin/sign-in", **options)
    (cookie,) = cookies(answer)
    assert cookie.startswith("__Host-billing=" if secure else "billing=")
    assert ("Secure" in cookie) == secure
    for part in ("HttpOnly", "Path=/", "SameSite=Lax"):
        assert part in cookie
    assert "Domain" not in cookie


def test_it_always_does_when_customers_come_by_https(app):
    (cookie,) = cookies(app.test_client().get("/admin/sign-in", base_url="http://127.0.0.1:8000"))
    assert cookie.startswith("__Host-billing=")
    assert "Secure" in cookie


def test_over_plain_http_the_page_says_what_it_needs(app, admin):
    page, fields = app.test_client(), {"token": token(sub=admin)}
    plain = page.post("/admin/sign-in", data=fields, base_url="http://192.168.1.4:8000")
    assert (plain.status_code, "This page needs https" in plain.text) == (400, True)
    for options in (
        {"base_url": "https://billing.example.com"},
        {"base_url": "http://localhost"},
        {"base_url": "http://192.168.1.4", "headers": {"X-Forwarded-Proto": "https"}},
    ):
        other = page.post("/admin/sign-in", data=fields, **options)
        assert (other.status_code, "needs https" in other.text) == (400, False), options


def test_two_slashes_lead_to_no_other_host(app):
    answer = app.test_client().get("/admin//users", headers={"Host": "evil.example"})
    assert answer.status_code == 404


def test_a_hint_for_programs_is_not_for_people(app, panel, client, admin, monkeypatch):
    def late(*_, **__):
        raise QueryCanceled

    monkeypatch.setattr("api.panel.users.call_page", late)
    answer = panel.get("/admin/users")
    assert (answer.status_code, "timeout" in answer.text) == (503, True)
    assert "Idempotency-Key" not in answer.text
    expired = panel.client.post("/admin/sign-out", data={})
    assert "Go back to the form, and send it again." in expired.text


def test_the_log_names_what_a_page_refused(app, panel, logged, user):
    panel.sign_in("nonsense")
    panel.post(FORM.format(user), {"step": "preview", "amount": "1e13", "reason": "r"})
    panel.post(FORM.format(user), {"step": "preview", "amount": "x", "reason": "r"})
    panel.post("/admin/admins", {"user_id": str(user), "role": "admin", "reason": "r"})
    codes = [line["code"] for line in logged() if line.get("method") == "POST"]
    assert codes == ["token_invalid", "amount_too_large", "invalid_request", "not_a_super_admin"]


def test_an_error_is_a_page_with_the_names_that_the_api_has(app, panel, client, admin):
    stranger = uuid4()
    answer = panel.get(f"/admin/users/{stranger}", headers={"X-Request-Id": "r-1"})
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "account_not_found" in answer.text
    assert "r-1" in answer.text
    assert answer.headers["X-Request-Id"] == "r-1"
    assert client.get(f"/api/admin/billing/user/{stranger}/summary", by=admin).problem() == (404, "account_not_found")


def test_what_is_not_there_is_a_page_below_admin_only(app, panel):
    answer = panel.get("/admin/nothing")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "There is no page at this address." in answer.text
    assert "Sign out" in answer.text, "and one is still signed in"
    assert panel.get("/administration").mimetype == "application/problem+json"
    assert panel.get("/api/nothing").mimetype == "application/problem+json"
    assert panel.client.put("/admin/users").status_code == 405


def test_a_query_that_makes_no_sense_is_a_page(panel):
    for path in ("/admin/users.csv?status=odd", "/admin/log.csv?from=yesterday", "/admin/users.csv?q=%00"):
        answer = panel.get(path)
        assert (answer.status_code, answer.mimetype) == (400, "text/html"), path
        assert "invalid_request" in answer.text


def test_our_own_mistake_is_a_page_that_tells_nothing_of_it(app, panel, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("api.panel.users.call_page", broken)
    answer = panel.get("/admin/users")
    assert (answer.status_code, answer.mimetype) == (500, "text/html")
    assert "internal_error" in answer.text
    assert "swordfish" not in answer.text


def test_a_database_that_is_away_is_a_page():
    away = make_app("postgresql://127.0.0.1:1/x?connect_timeout=1", DATABASE_TIMEOUT="0.2")
    page = Browser(away)
    page.sign_in(token(sub=uuid4()))
    answer = page.get("/admin/users")
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "database_unavailable" in answer.text
    away.extensions["database"].close()


def test_what_was_typed_is_shown_and_not_run(app, panel):
    script = "<script>alert(1)</script>"
    answer = panel.get("/admin/users", query_string={"q": script})
    assert answer.status_code == 200
    assert script not in answer.text
    assert "&lt;script&gt;" in answer.text
    late = app.test_client().post("/admin/users", data={"x": f'">{script}'})
    assert script not in late.text


# Settings.


def test_the_secret_of_sessions():
    ours = Settings.read(GOOD)
    assert ours.session_secret == Settings.read(GOOD).session_secret, "the same in every process"
    assert SECRET not in ours.session_secret
    assert ours.session_secret not in repr(ours)
    given = Settings.read(GOOD | {"SESSION_SECRET": "s" * 32, "TOKEN_COOKIE": "sb-access-token"})
    assert (given.session_secret, given.token_cookie) == ("s" * 32, "sb-access-token")
    keys = {"DATABASE_URL": GOOD["DATABASE_URL"], "JWT_JWKS_URL": "https://id.example.com/jwks"}
    assert Settings.read(keys).session_secret is None
    assert Settings.read(keys | {"SESSION_SECRET": "s" * 32}).session_secret == "s" * 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SESSION_SECRET": "s" * 31}, "SESSION_SECRET must have at least 32 bytes"),
        ({"TOKEN_COOKIE": "a b"}, "TOKEN_COOKIE must be the name of a cookie"),
        ({"TOKEN_COOKIE": "a;b"}, "TOKEN_COOKIE must be the name of a cookie"),
    ],
)
def test_a_mistake_in_them_is_named(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        Settings.read(GOOD | changes)


def test_without_a_secret_the_pages_are_closed():
    app = make_app("postgresql://127.0.0.1:1/x", JWT_SECRET="", JWT_JWKS_URL="https://id.example.com/jwks")
    for path in ("/admin", "/admin/sign-in", "/billing", "/billing/sign-in"):
        answer = app.test_client().get(path)
        assert (answer.status_code, answer.mimetype) == (503, "text/html")
        assert "Set SESSION_SECRET" in answer.text
    assert app.test_client().get("/healthz").status_code == 200


def test_two_processes_share_sessions(app, shared_database, admin):
    page = Browser(app, admin)
    other = make_app(shared_database.url, APP_URL=APP_URL)
    elsewhere = other.test_client()
    elsewhere.set_cookie(COOKIE, page.client.get_cookie(COOKIE).value)
    assert elsewhere.get("/admin/users").status_code == 200
    other.extensions["database"].close()
    strange = make_app(shared_database.url, APP_URL=APP_URL, SESSION_SECRET="of another installation, and long enough")
    elsewhere = strange.test_client()
    elsewhere.set_cookie(COOKIE, page.client.get_cookie(COOKIE).value)
    assert elsewhere.get("/admin/users").status_code == 303
    strange.extensions["database"].close()


# Assets.


def test_assets_are_kept_for_as_long_as_they_are_the_same(app):
    page = app.test_client()
    found = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.get("/admin/sign-in").text)
    names = {path.rpartition("/")[2] for path in found}
    assert names == {"app.css", "app.js", "theme.js", "bootstrap.min.css", "icon.svg"}
    for path in found:
        answer = page.get(path)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.mimetype in ("text/css", "text/javascript", "image/svg+xml")
        packed = page.get(path, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(packed.data) < len(answer.data)
    old = page.get("/assets/000000000000/app.css")
    assert (old.status_code, old.headers["Cache-Control"]) == (200, "no-cache")
    for path in ("/assets/0/nothing.css", "/assets/0/../settings.py", "/assets/0/%2e%2e%2fsettings.py"):
        assert page.get(path).status_code == 404
