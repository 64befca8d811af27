"""Real Chromium on the real app: gunicorn with two workers, PostgreSQL, and the Stripe simulator with its pages.

Fixtures: chromium, site, and people. Every page that a person opens is watched: the test fails when it logs an error,
throws, violates its Content-Security-Policy, opens a dialog, gets an answer that has failed, or asks another host than
the app and the simulator.
"""

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    Response,
    WebError,
    expect,
)
from psycopg.rows import namedtuple_row

from api.tests.conftest import WEBHOOK_SECRET, environment, gunicorn, payments_at, token
from scripts.chromium import DESKTOP, PHONE
from scripts.chromium import chromium as launched
from scripts.pytest_billing import Database, databases
from scripts.servers import free_port
from scripts.stripe_simulator import Simulator

# A page of ours answers within 0.1 s, unless the machine is busy with all the other tests.
PATIENCE = 60_000
TOKEN_COOKIE = "app_token"
SERIOUS = ("serious", "critical")

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The one browser; closed with the package, because other tests run an asyncio of their own."""
    with launched() as browser:
        yield browser


@dataclass
class Site:
    """The app as it runs, on a database of its own, and Stripe."""

    url: str
    conn: psycopg.Connection
    database: Database
    stripe: Simulator
    super_admin: UUID
    log: Path

    def last_error(self) -> str:
        """The last exception that the app has logged."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if '"exc_info"' in line]
        return lines[-1]["exc_info"][-600:] if lines else ""

    def call(self, function: str, /, **values: Any) -> Any:
        """The row of one call of a function of the SQL API."""
        arguments = ", ".join(f"p_{name} => %({name})s" for name in values)
        return self.conn.execute(f"select * from billing.{function}({arguments})", values).fetchone()

    def rows(self, query: str, *values: Any) -> list[Any]:
        return self.conn.execute(query, values).fetchall()

    def user(self, tier: str = "free", **columns: Any) -> UUID:
        """A user with an open account; reference=… is what the application calls the user."""
        user_id = uuid4()
        self.call("open_account", user_id=user_id, tier=tier)
        if "reference" in columns:
            self.call("set_user_reference", user_id=user_id, reference=columns["reference"])
        return user_id

    def admin(self, role: str = "admin") -> UUID:
        user_id = uuid4()
        self.call("set_user_role", actor=self.super_admin, user_id=user_id, role=role, reason="Support team")
        return user_id

    def ask(self, user_id: UUID, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of one call of the API, by a user."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {session_token(user_id)}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def pay(self, user_id: UUID, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The session of a checkout that the user has begun, and paid."""
        begun = self.ask(user_id, f"billing/v2/{path}", body)
        session = self.stripe.checkout(begun["stripe_checkout_session_id"])
        assert self.stripe.flush()["done"]
        return session

    def buy(self, user_id: UUID, package: str = "25") -> str:
        """The payment intent of credits that the user has bought."""
        return self.pay(user_id, "purchase-credits", {"package": package})["payment_intent"]

    def subscribe(self, user_id: UUID, tier: str) -> None:
        self.pay(user_id, "create-checkout-session", {"tier": tier, "interval": "monthly"})

    def account(self, user_id: UUID) -> Any:
        return self.rows("select * from billing.credit_accounts where user_id = %s", user_id)[0]

    def entries(self, user_id: UUID) -> list[Any]:
        return self.rows("select * from billing.credit_ledger where user_id = %s order by entry_no", user_id)

    def actions(self, user_id: UUID) -> list[Any]:
        """The user's rows of the admin log, oldest first."""
        return self.rows(
            "select * from billing.admin_actions_log where target_user_id = %s order by action_id", user_id
        )


@pytest.fixture(scope="package")
def site(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    pool = databases(pytestconfig)
    database, port = pool.copy(), free_port()
    url = f"http://127.0.0.1:{port}"
    super_admin = uuid4()
    log = tmp_path_factory.mktemp("browser") / "log"
    with (
        psycopg.connect(database.url, autocommit=True, row_factory=namedtuple_row) as conn,
        Simulator(webhook_secret=WEBHOOK_SECRET) as stripe,
        gunicorn(
            environment(database.url) | payments_at(stripe) | {"APP_URL": url, "TOKEN_COOKIE": TOKEN_COOKIE},
            log,
            "--preload",
            port=port,
        ),
    ):
        stripe.settings(webhook_url=f"{url}/api/billing/v2/webhook")
        conn.execute("select billing.bootstrap_super_admin(%s)", [super_admin])
        yield Site(url, conn, database, stripe, super_admin, log)
        stripe.flush()
    pool.drop(database)


@dataclass
class Watch:
    """What went wrong on the pages of one browser context."""

    site: Site
    faults: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # pages that were answered with a 4xx, which Chromium logs

    def attach(self, context: BrowserContext) -> None:
        context.on("console", self.console)
        context.on("weberror", self.thrown)
        context.on("dialog", self.dialog)
        context.on("request", self.request)
        context.on("response", self.response)
        context.on("requestfailed", self.failed)

    def is_ours(self, url: str) -> bool:
        return url.startswith(f"{self.site.url}/")

    def console(self, message: ConsoleMessage) -> None:
        url = urldefrag(message.location["url"]).url
        # The simulator's pages are not ours to judge, and a refusal is an answer.
        if message.type == "error" and url not in self.refused and not url.startswith(self.site.stripe.url):
            self.faults.append(f"console of {url}: {message.text}")

    def thrown(self, error: WebError) -> None:
        self.faults.append(f"uncaught on {error.page and error.page.url}: {error.error}")

    def dialog(self, dialog: Dialog) -> None:
        """Nothing of ours asks; an alert() would be a stranger's script."""
        self.faults.append(f"a dialog opened: {dialog.message}")
        dialog.dismiss()

    def request(self, request: Request) -> None:
        host = "{0.scheme}://{0.netloc}".format(urlsplit(request.url))
        if host not in (self.site.url, self.site.stripe.url) and urlsplit(request.url).scheme not in ("data", "blob"):
            self.faults.append(f"asked another host: {request.url}")

    def response(self, response: Response) -> None:
        page = response.request.is_navigation_request()
        if page and 400 <= response.status < 500:
            self.refused.add(urldefrag(response.url).url)
        elif response.status >= 400 and self.is_ours(response.url):
            reason = self.site.last_error() if response.status >= 500 else ""
            self.faults.append(f"{response.status} for {response.request.method} {response.url} {reason}".strip())

    def failed(self, request: Request) -> None:
        # A page that is left, and a download, end as aborted; what a form had led to is not shown again unasked.
        if self.is_ours(request.url) and request.failure not in ("net::ERR_ABORTED", "net::ERR_CACHE_MISS"):
            self.faults.append(f"{request.failure} for {request.url}")


@dataclass
class People:
    """Opens pages for people, each in a context of their own."""

    chromium: Browser
    site: Site
    contexts: list[tuple[BrowserContext, Watch]] = field(default_factory=list)

    def visitor(self, *, phone: bool = False, dark: bool = False, **options: Any) -> Page:
        """The first page of somebody who is not signed in."""
        options = {
            "base_url": self.site.url,
            "viewport": PHONE if phone else DESKTOP,
            "color_scheme": "dark" if dark else "light",
            "reduced_motion": "reduce",  # nothing waits for an animation
            "locale": "en-GB",
            "timezone_id": "UTC",
        } | options
        context = self.chromium.new_context(**options)
        context.set_default_timeout(PATIENCE)
        watch = Watch(self.site)
        watch.attach(context)
        self.contexts.append((context, watch))
        return context.new_page()

    def signed_in(self, user_id: UUID, path: str = "/admin", **options: Any) -> Page:
        """A page of the app with the session of a user, from a cookie."""
        page = self.visitor(**options)
        sign_in_by_cookie(page.context, self.site.url, user_id)
        page.goto(path)
        return page

    def faults(self) -> list[str]:
        """What went wrong since it was last asked."""
        found = [fault for _, watch in self.contexts for fault in watch.faults]
        for _, watch in self.contexts:
            watch.faults.clear()
        return found

    def leave(self) -> list[str]:
        """Close everything; returns what went wrong."""
        for context, _ in self.contexts:
            context.close()
        return self.faults()


@pytest.fixture
def people(chromium: Browser, site: Site) -> Iterator[People]:
    arrived = People(chromium, site)
    yield arrived
    found = arrived.leave()
    assert not found, "\n".join(found)


def session_token(user_id: UUID, seconds: int = 3600) -> str:
    return token(sub=user_id, exp=int(time.time()) + seconds)


def sign_in(page: Page, user_id: UUID) -> None:
    """Fill in the form, on the page that shows it."""
    page.get_by_label("Token").fill(session_token(user_id))
    page.get_by_role("button", name="Sign in").click()


def sign_in_by_cookie(context: BrowserContext, url: str, user_id: UUID, seconds: int = 3600) -> None:
    """As an application signs its users in: a cookie of its own carries their token."""
    value = session_token(user_id, seconds)
    context.add_cookies([{"name": TOKEN_COOKIE, "value": value, "url": url, "httpOnly": True}])


def serious_faults(page: Page, *rules: str) -> list[str]:
    """What axe finds that keeps people out, one line each; by these rules, or by all that it has."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(f"{AXE_SCRIPT}; undefined")
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:160]} - {node['failureSummary']}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


BEYOND = """() => {
  const edge = document.documentElement.clientWidth;
  const wide = [...document.querySelectorAll(".table-scroll:has(.stack)")]
    .filter((table) => table.scrollWidth > table.clientWidth)
    .map((table) => `${table.getAttribute("aria-label")} scrolls sideways`);
  if (document.documentElement.scrollWidth <= edge) return wide;
  const beyond = (element) => Math.round(element.getBoundingClientRect().right - edge);
  const clipped = (element) =>
    element && (getComputedStyle(element).overflowX !== "visible" || clipped(element.parentElement));
  return [...document.body.querySelectorAll("*")]
    .filter((element) => beyond(element) > 0 && !clipped(element.parentElement))
    .slice(0, 3)
    .map((element) => `${beyond(element)} px beyond the edge: ${element.outerHTML.slice(0, 120)}`)
    .concat("the page scrolls sideways");
}"""


def beyond_the_edge(page: Page) -> list[str]:
    """What makes the page scroll sideways, if it does."""
    return page.evaluate(BEYOND)
