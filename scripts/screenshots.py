"""Picture every page of the panel and of the customer, with the demo data on a scratch server.

    python -m scripts.screenshots [--only NAME] [--readme]

Each page in light, in dark, and at the width of a phone, as screenshots/NAME-light.png and so on. With --readme the
pictures of README besides, into docs/images/. Exit code 1 when a page can't be pictured, 3 without a server or browser.
"""

import argparse
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import psycopg
from playwright.sync_api import Browser, Page
from playwright.sync_api import Error as BrowserError
from psycopg.types.json import Jsonb

from scripts.chromium import DESKTOP, PHONE, ChromiumError, chromium
from scripts.demo import ADMINS, USERS, demo_id, seed
from scripts.demo_payments import seed_payments
from scripts.migrate import MigrationError, describe, migrate
from scripts.run import STRIPE_KEY, api, running, token, wait_until_ready
from scripts.servers import ROOT, ServerError, free_port, scratch
from scripts.stripe_simulator import Simulator

DIRECTORY = ROOT / "screenshots"
README_DIRECTORY = ROOT / "docs" / "images"
# How a page is looked at: its colours, and its size.
MODES: dict[str, tuple[str, dict[str, int]]] = {
    "light": ("light", DESKTOP),
    "dark": ("dark", DESKTOP),
    "phone": ("light", PHONE),
}


# A file of a bulk grant, as a link fills it in.
CAMPAIGN = urlencode(
    {
        "name": "December outage",
        "reason": "Two hours without answers",
        "text": "reference,amount\n" + "".join(f"{name}@example.com,5\n" for name in ("ada", "grace", "linus")),
    }
)
# A refund in money, filled in as by the button beside the payment.
MONEY_BACK = "/admin/users/{margaret}/actions/refund?payment_intent_id={payment}&amount=40&reason=Never+used"


class Shot(NamedTuple):
    """A page: the name of its picture, its path with the ids of `Scene` in braces, who looks, and what is pressed."""

    name: str
    path: str
    who: str = "katherine"
    button: str | None = None


SHOTS = (
    Shot("sign-in", "/admin/sign-in", "nobody"),
    Shot("users", "/admin/users"),
    Shot("user", "/admin/users/{margaret}"),
    Shot("user-frozen", "/admin/users/{dennis}"),
    Shot("user-disputed", "/admin/users/{barbara}"),
    Shot("ledger", "/admin/users/{margaret}/ledger"),
    Shot("entry", "/admin/users/{grace}/ledger/{usage_entry}"),
    Shot("usage", "/admin/users/{margaret}/usage"),
    Shot("payments", "/admin/users/{margaret}/payments"),
    Shot("payments-disputed", "/admin/users/{barbara}/payments"),
    Shot("holds", "/admin/users/{margaret}/holds"),
    Shot("events", "/admin/users/{margaret}/events"),
    Shot("user-log", "/admin/users/{dennis}/log"),
    Shot("adjust", "/admin/users/{ada}/actions/adjust?amount=-5&reason=Granted+twice"),
    Shot("adjust-preview", "/admin/users/{ada}/actions/adjust?amount=-5&reason=Granted+twice", button="Preview"),
    Shot("grant", "/admin/users/{ada}/actions/grant"),
    Shot("refund", "/admin/users/{margaret}/actions/refund"),
    Shot("refund-money", MONEY_BACK),
    Shot("refund-preview", MONEY_BACK, button="Preview"),
    Shot("reverse", "/admin/users/{grace}/actions/reverse?entry_no={usage_entry}"),
    Shot("status", "/admin/users/{ada}/actions/status"),
    Shot("tier", "/admin/users/{ada}/actions/tier"),
    Shot("approvals", "/admin/approvals?status=all"),
    Shot("approval", "/admin/approvals/{approval}"),
    Shot("bulk", "/admin/bulk"),
    Shot("bulk-new", "/admin/bulk/new"),
    Shot("bulk-check", f"/admin/bulk/new?{CAMPAIGN}", button="Check the file"),
    Shot("bulk-grant", "/admin/bulk/{bulk}"),
    Shot("log", "/admin/log"),
    Shot("admins", "/admin/admins"),
    Shot("config", "/admin/config"),
    Shot("config-new", "/admin/config/model_prices"),
    Shot("config-edit", "/admin/config/tiers/tier_2_20"),
    Shot("health", "/admin/health"),
    Shot("billing", "/billing", "margaret"),
    Shot("billing-free", "/billing", "linus"),
    Shot("billing-history", "/billing/history", "margaret"),
    Shot("billing-plan", "/billing/plan", "margaret"),
    Shot("billing-cancel", "/billing/cancel", "margaret"),
    Shot("billing-frozen", "/billing", "barbara"),
    Shot("error", "/admin/users/00000000-0000-4000-8000-000000000000"),
)
# The pictures of README: the shot, and how it is looked at.
README = (("user", "light"), ("approval", "dark"), ("billing", "light"))


class PictureError(Exception):
    """A page is not to be seen."""


class Scene:
    """The app with its demo data, a worker and a Stripe, and what the paths need to know of them."""

    def __init__(self, url: str, secret: str, stripe: Simulator, conn: psycopg.Connection) -> None:
        self.url, self.secret, self.stripe, self.conn = url, secret, stripe, conn
        self.users = {name: str(demo_id(name)) for name in (*(user[0] for user in USERS), *ADMINS)}

    def ids(self) -> dict[str, str]:
        """What stands in the braces of a path."""
        approval = self.conn.execute("select approval_id from billing.list_approvals('open') limit 1").fetchone()
        entry = self.conn.execute(
            "select max(entry_no) from billing.credit_ledger where user_id = %s and type = 'usage' and amount < 0",
            [self.users["grace"]],
        ).fetchone()
        payment = self.conn.execute(
            "select payment_intent_id from billing.list_payments(%s) where bought = 100", [self.users["margaret"]]
        ).fetchone()
        assert approval is not None
        assert entry is not None
        assert payment is not None
        bulk = self.conn.execute("select bulk_id from billing.list_bulk_grants(p_limit => 1)").fetchone()
        assert bulk is not None
        found = {"bulk": bulk, "approval": approval, "usage_entry": entry, "payment": payment}
        return self.users | {name: str(row[0]) for name, row in found.items()}

    def sign(self, user_id: UUID | str) -> str:
        """The token of a user."""
        return token(self.secret, sub=str(user_id))

    def payments(self) -> None:
        """Customers who pay: what the demo data can't have without a Stripe."""
        told: list[str] = []
        if not seed_payments(self.url, self.stripe, self.sign, self.conn, told.append):
            raise PictureError(*told)

    def bulk_grant(self) -> None:
        """A campaign of which some rows are granted, and one cannot be."""
        names = ("ada", "grace", "linus", "barbara", "margaret")
        rows = [{"row_no": line, "user_id": self.users[name], "amount": "5"} for line, name in enumerate(names, 2)]
        rows.append({"row_no": 7, "user_id": self.users["dennis"], "amount": "200000"})
        admin = self.users["katherine"]
        begun = self.conn.execute(
            "select bulk_id from billing.begin_bulk_grant(%s, 'November outage', %s, 'Two hours without answers')",
            [admin, Jsonb(rows)],
        ).fetchone()
        assert begun is not None
        self.conn.execute("select billing.run_bulk_grant(%s, %s)", [admin, begun[0]])

    def jobs(self) -> None:
        """Run every job of the database once: at this time of the day few of them may be due."""
        for (name,) in self.conn.execute("select name from billing.list_jobs() where function is not null").fetchall():
            self.conn.execute("call billing.run_job(%s)", [name])


@contextmanager
def scene() -> Iterator[Scene]:
    """Everything that the pages need, until the block ends."""
    secret, webhook_secret = secrets.token_hex(32), f"whsec_{secrets.token_hex(24)}"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with scratch() as server, psycopg.connect(server.url, autocommit=True) as conn:
        migrate(conn)
        seed(conn, lambda _: None)
        with Simulator(webhook_url=f"{url}/api/billing/v2/webhook", webhook_secret=webhook_secret) as stripe:
            environment = {
                "DATABASE_URL": server.url,
                "JWT_SECRET": secret,
                "STRIPE_SECRET_KEY": STRIPE_KEY,
                "STRIPE_API_BASE": stripe.url,
                "STRIPE_WEBHOOK_SECRET": webhook_secret,
                "APP_URL": url,
                "LOG_LEVEL": "warning",
            }
            with api(environment, port) as serving, running(["scripts.worker"], environment):
                wait_until_ready(serving, port)
                made = Scene(url, secret, stripe, conn)
                made.payments()
                made.bulk_grant()
                made.jobs()
                yield made


def visit(browser: Browser, made: Scene, who: str, mode: str) -> Page:
    """A page for somebody, signed in by the form unless it is nobody."""
    colours, size = MODES[mode]
    page = browser.new_page(
        base_url=made.url, color_scheme=colours, viewport=size, device_scale_factor=2 if mode == "phone" else 1
    )
    page.set_default_timeout(10_000)
    if who != "nobody":
        page.goto("/admin/sign-in" if who == "katherine" else "/billing/sign-in")
        page.get_by_label("Token").fill(made.sign(made.users[who]))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state()
    return page


def take(page: Page, shot: Shot, ids: Mapping[str, str], picture: Path, *, whole: bool) -> None:
    """Picture the page of a shot; raises PictureError when it is not to be seen."""
    path = shot.path.format(**ids)
    answer = page.goto(path, wait_until="networkidle")
    if shot.button is not None:
        with page.expect_navigation(wait_until="networkidle") as navigation:
            page.get_by_role("button", name=shot.button).click()
        answer = navigation.value
    if answer is None or (answer.status >= 400) != (shot.name == "error"):
        raise PictureError(f"{path} answered {answer and answer.status}")
    picture.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=picture, full_page=whole, animations="disabled")


def picture_all(made: Scene, browser: Browser, shots: list[Shot], modes: list[str]) -> None:
    """All shots in these modes, one person after the other."""
    ids, done = made.ids(), 0
    for mode in modes:
        for who in dict.fromkeys(shot.who for shot in shots):
            page = visit(browser, made, who, mode)
            for shot in (each for each in shots if each.who == who):
                done += 1
                picture = DIRECTORY / f"{shot.name}-{mode}.png"
                take(page, shot, ids, picture, whole=True)
                print(f"{done:3}/{len(shots) * len(modes)} {picture.relative_to(ROOT)}", flush=True)
            page.close()


def picture_readme(made: Scene, browser: Browser) -> None:
    """The top of the pages that README shows."""
    shots, ids = {shot.name: shot for shot in SHOTS}, made.ids()
    for name, mode in README:
        page = visit(browser, made, shots[name].who, mode)
        picture = README_DIRECTORY / f"{name}-{mode}.png"
        take(page, shots[name], ids, picture, whole=False)
        print(f"{picture.relative_to(ROOT)} {picture.stat().st_size // 1024} KiB", flush=True)
        page.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [shot.name for shot in SHOTS]
    parser.add_argument("--only", action="append", metavar="NAME", choices=names, help="this page; can be repeated")
    parser.add_argument("--mode", action="append", choices=list(MODES), help="only so; can be repeated")
    parser.add_argument("--readme", action="store_true", help="the pictures of README, and no others without --only")
    arguments = parser.parse_args()
    wanted = [shot for shot in SHOTS if shot.name in (arguments.only or ([] if arguments.readme else names))]
    print("Starting a scratch server with the demo data ...", flush=True)
    try:
        with scene() as made, chromium() as browser:
            picture_all(made, browser, wanted, arguments.mode or list(MODES))
            if arguments.readme:
                picture_readme(made, browser)
    except (BrowserError, MigrationError, PictureError) as error:
        print(error, file=sys.stderr)
        return 1
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
        return 1
    except (ChromiumError, ServerError) as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
