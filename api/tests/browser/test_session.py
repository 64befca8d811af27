"""Signing in and out, and a session that ends in the middle of something."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from api.tests.browser.conftest import session_token, sign_in
from api.tests.conftest import token

pytestmark = pytest.mark.once


def test_signing_in_leads_on_and_the_token_stays_out_of_reach_of_scripts(people, site):
    admin = site.admin()
    page = people.visitor()
    page.goto("/admin/users?q=ada")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.get_by_label("Token").get_attribute("type") == "password"
    sign_in(page, admin)
    page.wait_for_url("**/admin/users?q=ada")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert page.evaluate("document.cookie") == ""
    assert "eyJ" not in page.content()


def test_after_signing_out_nothing_is_shown_also_not_by_the_back_button(people, site):
    admin, user = site.admin(), site.user()
    page = people.visitor()
    page.goto(f"/admin/users/{user}")
    sign_in(page, admin)
    page.wait_for_url(f"**/admin/users/{user}")
    shown = page.reload()
    assert shown is not None
    assert shown.headers["cache-control"] == "no-store"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_token_that_is_not_good_is_refused(people):
    page = people.visitor()
    expired, forged = token(sub=uuid4(), exp=1_000_000_000), token(sub=uuid4(), secret="x" * 40)
    for given in ("nonsense", expired, forged):
        page.goto("/admin/sign-in")
        page.get_by_label("Token").fill(given)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.goto("/admin/users")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_signing_in_leads_to_no_other_site(people, site):
    page, admin = people.visitor(), site.admin()
    for onward in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"):
        page.goto(f"/admin/sign-in?next={onward}")
        sign_in(page, admin)
        expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
        assert page.url.startswith(f"{site.url}/admin/users")
        page.context.clear_cookies()


def test_who_is_no_admin_sees_no_user(people, site):
    nobody, user = site.user(), site.user()
    page = people.signed_in(nobody, f"/admin/users/{user}")
    expect(page.get_by_text("not_an_admin")).to_be_visible()
    assert str(user) not in page.get_by_role("main").inner_text()


def test_an_admin_who_is_one_no_longer_sees_nothing_more(people, site):
    admin = site.admin()
    page = people.signed_in(admin, "/admin/users")
    expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
    site.call("set_user_role", actor=site.super_admin, user_id=admin, role="user", reason="Has left the team")
    page.reload()
    expect(page.get_by_text("not_an_admin")).to_be_visible()


def test_the_token_of_an_application_that_has_expired(people, site):
    page = people.visitor()
    page.context.add_cookies(
        [{"name": "app_token", "value": session_token(site.admin(), seconds=-60), "url": site.url, "httpOnly": True}]
    )
    page.goto("/admin/users?q=ada")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert re.search(r"next=.*q%3Dada", page.url)


@pytest.mark.parametrize("path", ["/admin/users", "/billing"])
def test_the_policy_of_a_page_stops_what_got_into_it(people, site, path):
    """Also where something had not been escaped: no script runs, and nothing is loaded or sent elsewhere."""
    page = people.signed_in(site.super_admin, path)
    page.evaluate(
        """host => {
            const script = Object.assign(document.createElement("script"), { textContent: "window.injected = 1" });
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", `
                <button id="handler" onclick="window.injected = 2">x</button>
                <img src="${host}/beacon.png" alt="">
                <form id="phish" action="${host}/phish" method="post"></form>`);
            document.getElementById("handler").click();
            document.getElementById("phish").submit();
        }""",
        "https://evil.example",
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.injected") is None
    assert page.url.startswith(site.url + path)
    stopped = people.faults()
    for what in ("inline script", "inline event handler", "evil.example/beacon.png", "Sending form data"):
        assert [fault for fault in stopped if what in fault and "violates" in fault], f"{what}: {stopped}"


def test_nobody_frames_a_page(people, site):
    page = people.visitor()
    page.route("**/frame", lambda route: route.fulfill(content_type="text/html", body="<iframe src='/admin/users'>"))
    page.goto("/frame")
    assert any("violates" in fault and "frame-ancestors" in fault for fault in people.faults())
    assert [frame.url for frame in page.frames][1:] == ["chrome-error://chromewebdata/"]
