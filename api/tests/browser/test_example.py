"""docs/examples/billing.js as a frontend uses it: in a browser, on the API as it runs."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Page

from api.tests.browser.conftest import session_token
from scripts.servers import ROOT

pytestmark = pytest.mark.once

EXAMPLE = ROOT / "docs" / "examples" / "billing.js"
# A frontend's page on the API's own origin.
FRONTEND = "/frontend"


@pytest.fixture
def frontend(people) -> Page:
    page = people.visitor()
    page.route(f"**{FRONTEND}", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.route("**/billing.js", lambda route: route.fulfill(body=EXAMPLE.read_text(), content_type="text/javascript"))
    page.goto(FRONTEND)
    return page


def told(page: Page, user_id: UUID | None, script: str, *values: Any) -> Any:
    """What the script returns; it has the example's `credits`, `shown` and `BillingError`."""
    return page.evaluate(
        f"""async ([token, values]) => {{
            const {{ billing, BillingError, shown }} = await import("/billing.js");
            const credits = billing({{ token: async () => token }});
            {script}
        }}""",
        [session_token(user_id) if user_id else "none", list(values)],
    )


def test_amounts_stay_exact(frontend, site):
    user = site.user("tier_200_1000")
    spent = Decimal("0.000000001")
    site.call("deduct_credits", user_id=user, amount=spent, description='"amount": 5 and \\"balance": 1.5')
    assert told(frontend, user, "return await credits.check('0.25')") == {
        "can_run": True,
        "balance": "1004.999999999",
        "available": "1004.999999999",
        "tier": "tier_200_1000",
        "message": "OK",
    }
    account = told(frontend, user, "return await credits.balance()")
    assert (account["available"], account["used_total"], account["entry_count"]) == ("1004.999999999", "0.000000001", 2)
    page = told(frontend, user, "return await credits.ledger({ type: 'usage', limit: 1 })")
    assert page["next_before"] is None
    assert page["entries"][0]["amount"] == "-0.000000001"
    assert page["entries"][0]["description"] == '"amount": 5 and \\"balance": 1.5'


def test_the_ledger_page_by_page(frontend, site):
    user = site.user()
    site.call("deduct_credits", user_id=user, amount=Decimal(1))
    newest = told(frontend, user, "return await credits.ledger({ limit: 1 })")
    oldest = told(frontend, user, "return await credits.ledger({ limit: 1, before: values[0] })", newest["next_before"])
    assert [page["entries"][0]["amount"] for page in (newest, oldest)] == ["-1", "5.00"]


def test_a_purchase_is_begun_once(frontend, site):
    user = site.user("tier_200_1000")
    script = "return await credits.purchaseCredits({ amount: '12.50' }, 'made with the form')"
    begun, again = told(frontend, user, script), told(frontend, user, script)
    assert (begun["amount"], begun["price_cents"], begun["status"]) == ("12.50", 1250, "open")
    assert (begun["purchase_id"], begun["checkout_url"]) == (again["purchase_id"], again["checkout_url"])


CAUGHT = """
    try { await credits.purchaseCredits({ package: "25" }, "k"); } catch (error) {
        const { status, code, hint, requestId, name } = error;
        return { status, code, hint, requestId, name, known: error instanceof BillingError, says: error.message };
    }
"""


def test_a_refusal_is_an_error_with_a_name(frontend, people, site):
    refused = told(frontend, site.user(), CAUGHT)
    assert (refused["status"], refused["code"], refused["known"]) == (403, "purchase_not_allowed", True)
    assert refused["says"] == "Tier Free does not buy credits."
    assert refused["hint"]
    assert refused["requestId"]
    assert told(frontend, None, CAUGHT)["code"] == "token_invalid"
    frontend.route("**/purchase-credits", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    assert told(frontend, site.user(), CAUGHT)["code"] == "no_answer"
    # The watch sees the three refusals, and nothing else.
    assert {fault.split()[0] for fault in people.faults()} <= {"403", "401", "502", "console"}


@pytest.mark.parametrize(
    ("amount", "places", "text"),
    [
        ("31.790620056", 2, "31.79"),
        ("-0.0168399", 2, "-0.01"),
        ("5", 2, "5.00"),
        ("0.999", 2, "0.99"),
        ("123456789012345.678901234", 9, "123,456,789,012,345.678901234"),
    ],
)
def test_amounts_for_people(frontend, amount, places, text):
    assert told(frontend, None, "return shown(values[0], 'en', values[1])", amount, places) == text
