"""The panel's pages, with the users, lots and entries of a real database behind them."""

import csv
import io
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from markupsafe import escape
from psycopg.errors import QueryCanceled
from psycopg.types.json import Jsonb

from api.database import call_all
from api.panel import health
from api.panel.user import RANGES
from api.tests.conftest import balance_of, entries_of
from api.tests.pages import Browser, text_of
from api.tests.test_payments import TOP, bought

D = Decimal
SCRIPT = "<script>alert('x')</script>"
PAGES = ("", "/ledger", "/ledger/1", "/usage", "/payments", "/holds", "/holds?all=yes", "/events", "/log")
FILES = (
    *("ledger", "lots", "usage", "purchases", "payments", "refunds", "holds", "events", "log"),
    *("usage-by-model", "summary", "forecast", "subscription", "top-up", "ledger/5/funding"),
)


@dataclass(frozen=True)
class Known:
    """A user with something of everything, and everything that was typed a script."""

    user_id: UUID
    reference: str
    payment: str
    hold_id: UUID


def do(db, function, **arguments):
    """One call of the SQL API."""
    named = ", ".join(f"p_{name} => %({name})s" for name in arguments)
    values = {name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in arguments.items()}
    return db.execute(f"select * from billing.{function}({named})", values).fetchone()


def paid(db, user: UUID, payment: str) -> str:
    """A purchase of 25 credits, and its payment."""
    purchase = do(db, "record_purchase", user_id=user, amount=D(25), idempotency_key=payment)
    intent = {
        "id": payment, "object": "payment_intent", "amount": 2500, "amount_received": 2500, "currency": "usd",
        "customer": None, "status": "succeeded", "created": 1700000000, "latest_charge": None,
        "metadata": {"purchase_id": str(purchase.purchase_id), "user_id": str(user)},
    }  # fmt: skip
    do(db, "complete_purchase", purchase_id=purchase.purchase_id, intent=intent)
    return payment


@pytest.fixture(scope="module")
def known(db, super_admin) -> Known:
    user, payment = uuid4(), f"pi_{uuid4().hex}"
    reference = f"{user.hex[:12]}@example.com"
    db.execute("select billing.open_account(%s, 'tier_200_1000')", [user])
    do(db, "set_user_reference", user_id=user, reference=reference)
    paid(db, user, payment)
    ahead = datetime.now(UTC) + timedelta(days=9)
    do(db, "grant_credits", user_id=user, amount=D("2.5"), source="promotion", description=SCRIPT, expires_at=ahead)
    for number, model in enumerate(("gpt-4o", "o4-mini", "gpt-4o")):
        do(
            db, "deduct_tokens", user_id=user, model=model, prompt_tokens=1000 + number, completion_tokens=77,
            reference_type="call", reference_id=f"call-{number}", metadata={"note": SCRIPT},
        )  # fmt: skip
    do(db, "deduct_credits", user_id=user, amount=D("0.000000001"), description=SCRIPT, reference_id=SCRIPT)
    do(db, "deduct_credits", user_id=user, amount=D(10**6), description="far too much")
    do(db, "adjust_credits", actor=super_admin, user_id=user, amount=D("-1.25"), reason=SCRIPT)
    do(db, "request_refund", actor=super_admin, user_id=user, amount=D(3), reason=SCRIPT)
    hold = do(db, "hold_credits", user_id=user, amount=D(4), description=SCRIPT)
    ended = do(db, "hold_credits", user_id=user, amount=D(1), description="captured")
    do(db, "capture_hold", user_id=user, hold_id=ended.hold_id, amount=D("0.5"))
    do(db, "adjust_credits", actor=user, user_id=user, amount=D(1), reason="one may try")
    return Known(user, reference, payment, hold.hold_id)


@pytest.fixture
def buyer(db) -> UUID:
    """A user of the tier that may buy credits, with 1005 of them."""
    user_id = uuid4()
    db.execute("select billing.open_account(%s, %s)", [user_id, TOP])
    return user_id


@pytest.fixture(scope="module")
def panel(app, super_admin) -> Browser:
    return Browser(app, super_admin)


def rows_of(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert answer.headers["Cache-Control"] == "no-store"
    return list(csv.DictReader(io.StringIO(answer.text)))


def shown(answer) -> str:
    assert answer.status_code == 200, answer.text
    return text_of(answer.text)


# Users.


def test_a_user_is_found_by_whatever_is_at_hand(panel, known):
    alone = f"/admin/users/{known.user_id}"
    for query in (str(known.user_id), known.user_id.hex.upper(), known.payment):
        answer = panel.get("/admin/users", query_string={"q": query})
        assert (answer.status_code, answer.location) == (303, alone), query
    for query in (known.reference[:10], str(known.user_id)[:12], "call-1"):
        answer = panel.get("/admin/users", query_string={"q": query})
        assert known.reference in shown(answer)
        assert alone in answer.text
    assert "by ledger reference" in shown(panel.get("/admin/users?q=call-1"))


def test_nobody_is_found(panel):
    assert "Nobody found" in shown(panel.get("/admin/users?q=nobody-at-all"))
    assert "Nobody found" in shown(panel.get(f"/admin/users?q={uuid4()}"))


def test_users_by_tier_and_status_and_page_after_page(panel, db, super_admin, monkeypatch):
    monkeypatch.setattr("api.panel.users.SHOWN", 2)
    users = sorted(uuid4() for _ in range(5))
    for user in users:
        db.execute("select billing.open_account(%s, 'tier_12_100')", [user])
        do(db, "set_account_status", actor=super_admin, user_id=user, status="frozen", reason="test")
    path, seen = "/admin/users?tier=tier_12_100&status=frozen&q=", []
    while path:
        answer = panel.get(path)
        seen += re.findall(r'href="/admin/users/([0-9a-f-]{36})"', answer.text)
        onward = re.search(r'href="([^"]*after=[^"]*)" rel="next"', answer.text)
        path = onward and onward[1].replace("&amp;", "&")
    assert [UUID(each) for each in seen] == users
    file = rows_of(panel.get("/admin/users.csv?tier=tier_12_100&status=frozen"))
    assert [UUID(row["user_id"]) for row in file] == users


def test_users_as_csv(panel, known):
    (row,) = rows_of(panel.get("/admin/users.csv", query_string={"q": known.reference}))
    assert (row["user_id"], row["reference"], row["found_by"]) == (str(known.user_id), known.reference, "reference")


# One user.


@pytest.mark.parametrize("page", PAGES)
def test_each_page_of_a_user(panel, known, page):
    answer = panel.get(f"/admin/users/{known.user_id}{page}")
    assert known.reference in shown(answer)
    assert str(known.user_id) in answer.text
    assert SCRIPT not in answer.text
    assert "<script>" not in answer.text
    assert 'aria-current="page"' in answer.text


@pytest.mark.parametrize("page", PAGES)
def test_each_page_of_a_user_with_nothing(panel, db, page):
    user = uuid4()
    db.execute("select billing.open_account(%s)", [user])
    assert f"User {str(user)[:8]}" in shown(panel.get(f"/admin/users/{user}{page}"))


def test_the_balance_over_time_as_csv(panel, known, db):
    file = rows_of(panel.get(f"/admin/users/{known.user_id}/balance.csv?days=7"))
    assert len(file) == 169
    assert Decimal(file[0]["balance"]) == 0
    assert Decimal(file[-1]["balance"]) == balance_of(db, known.user_id) > 0


@pytest.mark.parametrize("page", [page for page in PAGES if "?" not in page] + [f"/{name}.csv" for name in FILES[:3]])
def test_a_user_who_is_not_there(panel, page):
    answer = panel.get(f"/admin/users/{uuid4()}{page}")
    assert answer.status_code == 404
    assert "account_not_found" in answer.text
    if not page.endswith(".csv"):
        assert '<a href="/admin/users">Find a user</a>' in answer.text


def test_the_overview_tells_exact_amounts(panel, db, known):
    account = do(db, "get_account", user_id=known.user_id)
    text = shown(panel.get(f"/admin/users/{known.user_id}"))
    for amount in (account.balance, account.available, account.held):
        whole, _, places = format(amount, "f").partition(".")
        assert f"{int(whole):,}.{places.rstrip('0').ljust(2, '0')}" in text
    assert "1 active hold" in text
    assert "claude" not in text


@pytest.mark.parametrize("days", RANGES)
def test_the_overview_of_any_range(panel, known, days):
    answer = panel.get(f"/admin/users/{known.user_id}?days={days}")
    assert f"Balance over the last {days} days" in answer.text
    assert answer.text.count('<svg class="chart-plot"') == 2
    assert panel.get(f"/admin/users/{known.user_id}?days={days + 1}").status_code == 400


# A line of the reckoning: what it is called, and its amount.
LINE = re.compile(r"<dt>([^<]*)</dt><dd class=\"num\">(.*?)</dd></div>")


def reckoning_of(answer) -> dict[str, Decimal]:
    lines = LINE.findall(re.search(r'<dl class="reckoning.*?</dl>', answer.text, re.DOTALL)[0])
    return {label: D(text_of(amount).replace("\N{MINUS SIGN}", "-").replace(",", "")) for label, amount in lines}


def test_what_came_and_went_makes_the_balance(panel, client, db, stripe, super_admin, buyer):
    intent = bought(client, stripe, buyer, package="25")
    do(db, "deduct_credits", user_id=buyer, amount=D("1.234567891"))
    do(db, "adjust_credits", actor=super_admin, user_id=buyer, amount=D("-1.25"), reason="test")
    soon = datetime.now(UTC) + timedelta(seconds=2)
    do(db, "grant_credits", user_id=buyer, amount=D(2), source="promotion", expires_at=soon)
    do(
        db, "request_refund", actor=super_admin, user_id=buyer, amount=D(10), reason="test", stripe_refund=True,
        payment_intent_id=intent,
    )  # fmt: skip
    time.sleep(max(0, (soon - datetime.now(UTC)).total_seconds()))
    told = reckoning_of(panel.get(f"/admin/users/{buyer}"))
    assert told == {
        "Granted": D("1032"),
        "Spent": D("-1.234567891"),
        "Taken away": D("-1.25"),
        "Expired": D(-2),
        "Clawbacks and debt": D(-10),
        "Balance": D("1017.515432109"),
    }
    balance = told.pop("Balance")
    assert sum(told.values()) == balance


def test_what_is_nothing_is_left_out_of_the_reckoning(panel, user):
    assert reckoning_of(panel.get(f"/admin/users/{user}")) == {"Granted": 5, "Balance": 5}


def test_lots_after_the_fifth_share_a_colour(panel, db, user):
    for _ in range(6):
        do(db, "grant_credits", user_id=user, amount=D(1), source="promotion")
    answer = panel.get(f"/admin/users/{user}")
    wanted = ["1", "2", "3", "4", "5", "6", "6"]
    bar, _, table = answer.text.partition('<div class="lots-bar">')[2].partition("</svg>")
    assert re.findall(r'<rect class="series-(\d)"', bar) == wanted
    table = table.partition("</table>")[0]
    assert re.findall(r'<circle class="series-(\d)"', table) == wanted
    assert re.findall(r'<rect class="series-(\d)"', table) == wanted


def test_lots_stand_in_the_order_in_which_they_are_spent(panel, db, known):
    answer = panel.get(f"/admin/users/{known.user_id}")
    numbers = re.findall(r">lot (\d+)</a>", answer.text)
    lots = db.execute("select grant_no from billing.list_grants(%s)", [known.user_id]).fetchall()
    assert numbers == [str(lot.grant_no) for lot in lots]
    assert "in 8 days" in answer.text


def test_more_usage_than_can_be_summed_up_in_time(panel, known, monkeypatch):
    def cancelled(function, **arguments):
        if function == "usage_by":
            raise QueryCanceled
        return call_all(function, **arguments)

    monkeypatch.setattr("api.panel.user.call_all", cancelled)
    for path in ("", "/usage"):
        assert "There is too much to sum it up here" in shown(panel.get(f"/admin/users/{known.user_id}{path}")), path


@pytest.mark.parametrize(
    "metadata",
    [
        *({"prompt_tokens": "12"}, {"prompt_tokens": [1]}, {"prompt_tokens": 1}, {"prompt_tokens": None}),
        *(
            {"refused": 1},
            {"refused": True},
            {"refused": "x", "asked": "x"},
            {"model": ["x"]},
            {"model": {"a": "<script>"}},
        ),
        {"prompt_tokens": 1, "completion_tokens": 2, "cached_tokens": "x"},
    ],
)
def test_whatever_the_application_wrote_can_be_looked_at(panel, db, user, metadata):
    for amount in (1, 100):  # The second one is refused.
        do(db, "deduct_credits", user_id=user, amount=D(amount), metadata=metadata)
    for path in ("", "/ledger", "/ledger/2", "/ledger/3", "/usage"):
        assert "<script>" not in panel.get(f"/admin/users/{user}{path}").text
        assert shown(panel.get(f"/admin/users/{user}{path}")), path


def test_a_query_does_not_lead_astray(panel, db, user, monkeypatch):
    monkeypatch.setattr("api.panel.users.SHOWN", 1)
    db.execute("select billing.open_account(%s)", [uuid4()])
    for query in ("endpoint=x", "_scheme=javascript", "_method=POST", "_external=1", "_anchor=x", "user_id=x"):
        answer = panel.get(f"/admin/users?{query}")
        assert shown(answer)
        (onward,) = re.findall(r'href="([^"]*after=[^"]*)" rel="next"', answer.text)
        assert onward.startswith("/admin/users?"), query
        for path in (f"/admin/users/{user}/ledger", "/admin/approvals"):
            answer = panel.get(f"{path}?{query}")
            if path.endswith("ledger") or "user_id" not in query:
                assert answer.status_code == 200, (path, query)
            assert 'href="javascript' not in answer.text


def test_a_frozen_account_and_a_debt_catch_the_eye(panel, db, super_admin):
    user = uuid4()
    db.execute("select billing.open_account(%s)", [user])
    do(db, "set_account_status", actor=super_admin, user_id=user, status="frozen", reason="test")
    text = shown(panel.get(f"/admin/users/{user}"))
    assert "The account is frozen" in text
    assert "Unfreeze" in text


# The ledger.


def numbers_of(answer) -> list[int]:
    return [int(each) for each in re.findall(r'aria-label="Entry (\d+)"', answer.text)]


def test_the_ledger_is_filtered(panel, db, known):
    entries = entries_of(db, known.user_id)
    path = f"/admin/users/{known.user_id}/ledger"
    newest_first = [entry.entry_no for entry in reversed(entries)]
    today, tomorrow = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}" for days in (0, 1))
    for query, wanted in (
        ({}, newest_first),
        ({"type": "", "reference": " ", "from": "", "to": ""}, newest_first),
        ({"type": "adjustment"}, [entry.entry_no for entry in reversed(entries) if entry.type == "adjustment"]),
        ({"reference": "call-1"}, [entry.entry_no for entry in entries if entry.reference_id == "call-1"]),
        ({"from": today, "to": today}, newest_first),
        ({"from": tomorrow}, []),
        ({"to": "2020-01-01"}, []),
    ):
        assert numbers_of(panel.get(path, query_string=query)) == wanted, query
        file = rows_of(panel.get(f"{path}.csv", query_string=query))
        assert [int(row["entry_no"]) for row in file] == wanted


def test_the_ledger_is_paged_and_its_file_is_not(panel, known, db, monkeypatch):
    entries = entries_of(db, known.user_id)
    monkeypatch.setattr("api.panel.user.SHOWN", 3)
    monkeypatch.setattr("api.panel.base.READ", 3)
    path, seen = f"/admin/users/{known.user_id}/ledger?type=usage", []
    while path:
        answer = panel.get(path)
        seen += numbers_of(answer)
        onward = re.search(r'href="([^"]*before=[^"]*)" rel="next"', answer.text)
        path = onward and onward[1].replace("&amp;", "&")
    wanted = [entry.entry_no for entry in reversed(entries) if entry.type == "usage"]
    assert seen == wanted
    file = rows_of(panel.get(f"/admin/users/{known.user_id}/ledger.csv?type=usage"))
    assert [int(row["entry_no"]) for row in file] == wanted


def test_a_refused_deduction_says_so(panel, known):
    text = shown(panel.get(f"/admin/users/{known.user_id}/ledger?type=usage"))
    assert "Refused" in text
    assert "1,000,000.00" in text
    assert "\N{MINUS SIGN}0.000000001" in text


def test_an_entry_tells_what_paid_for_it_and_that_it_verifies(panel, db, known):
    usage = next(entry for entry in entries_of(db, known.user_id) if entry.type == "usage")
    answer = panel.get(f"/admin/users/{known.user_id}/ledger/{usage.entry_no}")
    text = shown(answer)
    assert "Which lots paid for it" in text
    assert usage.entry_hash.hex() in text
    assert "The whole account verifies" in text
    assert "prompt_tokens" in text
    before = db.execute(
        "select entry_hash from billing.credit_ledger where user_id = %s and entry_no = %s",
        [known.user_id, usage.entry_no - 1],
    ).fetchone()
    assert before.entry_hash.hex() in text


def test_an_entry_is_reversed_once(panel, db, super_admin, user):
    do(db, "deduct_credits", user_id=user, amount=D(1), reference_id="2")
    path = f"/admin/users/{user}/ledger"
    assert "actions/reverse?entry_no=2" in panel.get(f"{path}/2").text
    assert "actions/reverse" not in panel.get(f"{path}/1").text
    do(db, "reverse_entry", actor=super_admin, user_id=user, entry_no=2, reason="test")
    answer = panel.get(f"{path}/2")
    assert "Reversed byentry 3" in shown(answer)
    assert "actions/reverse" not in answer.text
    assert "Reversesentry 2" in shown(panel.get(f"{path}/3"))


def test_an_entry_that_was_changed_is_told(panel, db, user):
    do(db, "deduct_credits", user_id=user, amount=D(1), description="before")
    with changed(db, user, "after"):
        assert "This entry does not verify" in shown(panel.get(f"/admin/users/{user}/ledger/2"))
        assert "elsewhere the account does not" in shown(panel.get(f"/admin/users/{user}/ledger/1"))
    assert "The whole account verifies" in shown(panel.get(f"/admin/users/{user}/ledger/2"))


@contextmanager
def changed(db, user, description):
    """The second entry of the user with another description than it was written with."""

    def write(text):
        with db.transaction():
            db.execute("alter table billing.credit_ledger disable trigger user")
            db.execute(
                "update billing.credit_ledger set description = %s where user_id = %s and entry_no = 2", [text, user]
            )
            db.execute("alter table billing.credit_ledger enable always trigger credit_ledger_append_only")

    write(description)
    yield
    write("before")


def test_a_long_account_is_verified_when_somebody_asks(panel, known, monkeypatch):
    monkeypatch.setattr("api.panel.user.VERIFIED_AT_ONCE", 1)
    path = f"/admin/users/{known.user_id}/ledger/1"
    assert "Verify the account" in shown(panel.get(path))
    assert "The whole account verifies" in shown(panel.get(f"{path}?verify=yes"))


@pytest.mark.parametrize("entry_no", ["0", "99999", str(2**63 - 1), str(2**70)])
def test_an_entry_that_is_not_there(panel, known, entry_no):
    assert panel.get(f"/admin/users/{known.user_id}/ledger/{entry_no}").status_code == 404


# The rest.


@pytest.mark.parametrize("bucket", ["hour", "day", "week", "month"])
def test_usage_by_any_bucket(panel, known, bucket):
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    query = {"bucket": bucket, "from": today, "to": today}
    answer = panel.get(f"/admin/users/{known.user_id}/usage", query_string=query)
    text = shown(answer)
    assert "gpt-4o" in text
    assert "o4-mini" in text
    assert ("chart-plot" in answer.text) == (bucket != "month")
    assert {
        row["model"] for row in rows_of(panel.get(f"/admin/users/{known.user_id}/usage.csv", query_string=query))
    } == {
        "gpt-4o",
        "o4-mini",
        "",
    }


def test_usage_of_years_that_make_no_sense(panel, known):
    path = f"/admin/users/{known.user_id}/usage"
    for query in ({"from": "2000-01-01", "bucket": "hour"}, {"to": "1999-01-01"}, {"from": "2999-01-01"}):
        assert panel.get(path, query_string=query).status_code == 200, query


@pytest.mark.parametrize(
    ("page", "field", "value", "text"),
    [
        ("ledger", "type", "x", "There is no such type."),
        ("ledger", "from", "2026-13-40", "Not a valid date."),
        ("ledger", "reference", "\0", "Contains U+0000"),
        ("usage", "bucket", "x", "Must be one of: hour, day, week, month."),
        ("usage", "from", "0001-01-01", "Not a valid date."),
        ("usage", "to", "2026-01-01", "This is before the first day."),
    ],
)
def test_what_is_wrong_with_a_filter_of_a_user_is_told_beside_it(panel, known, page, field, value, text):
    query = {"from": "2026-01-02", field: value}
    answer = panel.get(f"/admin/users/{known.user_id}/{page}", query_string=query)
    assert answer.status_code == 422
    assert text in marked(answer, field)
    assert known.reference in answer.text
    assert f'value="{query["from"]}"' in answer.text, "what was typed is kept"
    assert panel.get(f"/admin/users/{known.user_id}/{page}.csv", query_string=query).status_code == 400


@pytest.mark.parametrize("name", FILES)
def test_every_table_is_a_file(panel, known, name):
    rows = rows_of(panel.get(f"/admin/users/{known.user_id}/{name}.csv"))
    assert rows
    assert not [value for row in rows for value in row.values() if value.startswith("=")]


@pytest.mark.parametrize("page", [*PAGES, "/ledger/5"])
def test_every_table_has_its_file_beside_it(panel, known, page):
    answer = panel.get(f"/admin/users/{known.user_id}{page}")
    cards = answer.text.split('<section class="card"')
    for card in cards[1:]:
        if "<table" in card:
            # The filter of the ledger is above its card.
            links = re.findall(r'href="([^"]*\.csv[^"]*)"', cards[0] if page == "/ledger" else card)
            assert links, text_of(card)[:50]
            for link in links:
                assert rows_of(panel.get(link.replace("&amp;", "&"))), link


def test_usage_is_told_by_time_and_model(panel, known):
    path = f"/admin/users/{known.user_id}"
    models = rows_of(panel.get(f"{path}/usage-by-model.csv"))
    assert [row["model"] for row in models] == ["", "gpt-4o", "o4-mini"]
    (calls,) = re.findall(r">Each day<.*?data-label=\"Calls\">(\d+)<", panel.get(f"{path}/usage").text, re.DOTALL)
    assert sum(int(row["calls"]) for row in models) == int(calls) == 5


def test_what_does_not_verify_is_a_file(panel, db, user):
    do(db, "deduct_credits", user_id=user, amount=D(1), description="before")
    with changed(db, user, "after"):
        (link,) = re.findall(r'href="([^"]*findings\.csv)"', panel.get(f"/admin/users/{user}/ledger/1").text)
        assert [row["entry_no"] for row in rows_of(panel.get(link))] == ["2"]
    assert "findings.csv" not in panel.get(f"/admin/users/{user}/ledger/1").text


def test_payments(panel, known, super_admin):
    answer = panel.get(f"/admin/users/{known.user_id}/payments")
    text = shown(answer)
    assert known.payment in text
    assert "$25.00" in text
    assert "No subscription." in text
    refunds = answer.text.partition(">Refunds</h2>")[2]
    assert f'href="/admin/log?admin={super_admin}"' in refunds
    assert re.search(rf'href="/admin/users/{known.user_id}/ledger/\d+">entry', refunds)


def test_a_dispute_is_told_and_its_payment_is_not_refunded(panel, client, stripe, buyer):
    intent = bought(client, stripe, buyer, package="25")
    path = f"/admin/users/{buyer}"
    assert f"actions/refund?payment_intent_id={intent}" in panel.get(f"{path}/payments").text
    stripe.dispute(payment_intent=intent)
    assert stripe.flush()["done"]
    told = panel.get(path)
    assert "frozen until the bank has decided about a disputed payment. See the payments" in shown(told)
    assert "to spend at this moment" not in told.text
    told = panel.get(f"{path}/payments").text
    assert intent in told
    assert f"payment_intent_id={intent}" not in told


def test_holds_and_payments_are_paged_and_their_files_are_not(panel, db, known, monkeypatch):
    monkeypatch.setattr("api.panel.user.SHOWN", 1)
    monkeypatch.setattr("api.panel.base.READ", 1)
    path, seen = f"/admin/users/{known.user_id}/holds?all=yes", []
    while path:
        answer = panel.get(path)
        seen += re.findall(r'class="mono" title="([0-9a-f-]{36})">', text_from(answer, "<tbody>"))
        onward = re.search(r'href="([^"]*before=[^"]*)" rel="next"', answer.text)
        path = onward and onward[1].replace("&amp;", "&")
    wanted = db.execute("select hold_id from billing.list_holds(%s, false)", [known.user_id]).fetchall()
    assert seen == [str(row.hold_id) for row in wanted]
    file = rows_of(panel.get(f"/admin/users/{known.user_id}/holds.csv"))
    assert [row["hold_id"] for row in file] == seen
    assert len(seen) == 2
    active = rows_of(panel.get(f"/admin/users/{known.user_id}/holds.csv?active=yes"))
    assert [row["hold_id"] for row in active] == [str(known.hold_id)]
    buyer = uuid4()
    db.execute("select billing.open_account(%s, 'tier_200_1000')", [buyer])
    payments = [paid(db, buyer, f"pi_{uuid4().hex}") for _ in range(3)]
    file = rows_of(panel.get(f"/admin/users/{buyer}/payments.csv"))
    assert sorted(row["payment_intent_id"] for row in file) == sorted(payments)
    assert "The latest 1; the CSV has all." in shown(panel.get(f"/admin/users/{buyer}/payments"))


def text_from(answer, mark: str) -> str:
    return answer.text.partition(mark)[2]


def test_a_hold_can_be_released_and_its_end_is_told(panel, known):
    active = panel.get(f"/admin/users/{known.user_id}/holds")
    assert f"release-hold?hold_id={known.hold_id}" in active.text
    assert "captured" not in shown(active)
    assert "Captured" in shown(panel.get(f"/admin/users/{known.user_id}/holds?all=yes"))


# The admin log.


def test_the_log_is_filtered(panel, known, super_admin):
    def count(**query):
        answer = panel.get("/admin/log", query_string={"user": known.user_id} | query)
        file = rows_of(panel.get("/admin/log.csv", query_string={"user": known.user_id} | query))
        assert answer.text.count('<th scope="row"') == len(file)
        return len(file)

    assert count() == 3
    assert count(action="adjust_credits") == 2
    assert count(action="adjust_credits", outcome="refused") == 1
    assert count(outcome="done") == 2
    assert count(admin=super_admin) == 2
    assert count(to="2020-01-01") == 0
    assert count(**{"from": f"{datetime.now(UTC):%Y-%m-%d}"}) == 3


def test_the_log_is_paged(panel, db, super_admin, user, monkeypatch):
    for number in range(5):
        do(db, "adjust_credits", actor=super_admin, user_id=user, amount=D(1), reason=f"no. {number}")
    monkeypatch.setattr("api.panel.log.SHOWN", 2)
    path, seen = f"/admin/log?user={user}", []
    while path:
        answer = panel.get(path)
        seen += re.findall(r"no\. (\d)", answer.text)
        onward = re.search(r'href="([^"]*before=[^"]*)" rel="next"', answer.text)
        path = onward and onward[1].replace("&amp;", "&")
    assert seen == ["4", "3", "2", "1", "0"]


# Who somebody is.


@pytest.fixture
def called(db, admin, user) -> dict[UUID, str]:
    """An admin and a user with names, and what the one did to the other."""
    names = {admin: f"ann.{admin.hex[:9]}@example.com", user: f"{SCRIPT}{user.hex}"}
    for each, name in names.items():
        do(db, "set_user_reference", user_id=each, reference=name)
    do(db, "adjust_credits", actor=admin, user_id=user, amount=D("1.25"), reason="goodwill")
    do(db, "adjust_credits", actor=admin, user_id=user, amount=D(2000), reason="too much")
    do(db, "request_approval", actor=admin, user_id=user, action="adjust_credits", amount=D(2000), reason="please")
    do(db, "begin_bulk_grant", actor=admin, name=user.hex, reason="outage", rows=[{"user_id": str(user), "amount": 1}])
    return names


def test_people_are_shown_by_their_names_in_one_call(panel, called, admin, user, monkeypatch):
    asked = []

    def counted(function, **arguments):
        asked.append(function)
        return call_all(function, **arguments)

    monkeypatch.setattr("api.names.call_all", counted)
    for path, named in (
        (f"/admin/log?user={user}", {admin, user}),
        (f"/admin/users/{user}/ledger/2", {admin}),
        (f"/admin/users/{user}/log", {admin}),
        (f"/admin/approvals?user={user}", {admin, user}),
        ("/admin/bulk", {admin}),
        ("/admin/admins", {admin}),
    ):
        asked.clear()
        page = panel.get(path).text
        assert asked == ["list_user_references"], path
        for each in named:
            title = escape(f"{called[each]}, {each}")
            assert f'title="{title}">{escape(called[each])}</' in page, path
            assert f'data-copy="{each}"' in page, path
        assert SCRIPT not in page, path


def test_who_is_signed_in_is_shown_by_the_name(app, called, admin, user):
    theirs = Browser(app, admin)
    for path, status in (("/admin/users", 200), ("/admin/users/x", 404)):
        answer = theirs.get(path)
        assert (answer.status_code, called[admin] in text_of(answer.text)) == (status, True)


def test_a_customer_sees_their_own_name_alone(app, called, user):
    page = Browser(app, user, area="/billing").get("/billing").text
    assert called[user] in text_of(page)


def test_somebody_without_a_name_is_shown_by_the_id(app, admin, db, user):
    do(db, "adjust_credits", actor=admin, user_id=user, amount=D(1), reason="r")
    page = Browser(app, admin).get(f"/admin/log?user={user}").text
    for each in (admin, user):
        assert f'title="{each}">{str(each)[:8]}<' in page


@pytest.mark.parametrize("field", ["admin", "user"])
def test_the_log_takes_whatever_names_somebody(panel, called, admin, user, field):
    person = {"admin": admin, "user": user}[field]
    for typed in (str(person), person.hex.upper(), str(person)[:13], called[person], called[person].upper()[:40]):
        answer = panel.get("/admin/log", query_string={field: typed, "action": "adjust_credits"})
        assert answer.text.count('<th scope="row"') == 2, typed
        file = re.search(r'href="(/admin/log\.csv[^"]*)"', answer.text)[1].replace("&amp;", "&")
        assert f"{field}={person}" in file, "the file is of who was found"
        assert len(rows_of(panel.get(file))) == 2


def test_an_admin_without_an_account_is_found_too(panel, called, admin):
    answer = panel.get("/admin/log", query_string={"user": called[admin]})
    assert "Changed a role" in shown(answer)
    assert answer.text.count('<th scope="row"') == 1


@pytest.mark.parametrize(
    ("query", "field", "text"),
    [
        ({"user": "nobody-at-all"}, "user", "Nobody is found by it"),
        ({"admin": "abc"}, "admin", "Nobody is found by it"),
        ({"user": "x" * 201}, "user", "Longer than maximum length 200"),
        ({"user": "\0"}, "user", "cannot be stored"),
        ({"from": "2026-02-30"}, "from", "Not a valid date."),
        ({"to": "9999-01-01"}, "to", "Not a valid date."),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "to", "This is before the first day."),
        ({"action": "dance"}, "action", "There is no such action."),
        ({"outcome": "both"}, "outcome", "Must be one of"),
    ],
)
def test_what_is_wrong_with_a_filter_is_told_beside_it(panel, query, field, text):
    answer = panel.get("/admin/log", query_string=query | {"admin": query.get("admin", "dorothy?")})
    assert answer.status_code == 422
    assert text in marked(answer, field)
    if field not in ("action", "outcome", "to"):
        assert f'value="{query[field]}"' in answer.text, "what was typed is kept"
    assert 'value="dorothy?"' in answer.text or field == "admin"
    assert "Correct what is marked above." in text_of(answer.text)
    assert panel.get("/admin/log.csv", query_string=query).status_code == 400


def marked(answer, field: str) -> str:
    """What is said below a field that is marked."""
    assert re.search(rf'is-invalid" id="f-{field}"[^>]*aria-invalid="true"', answer.text), field
    return text_of(re.search(rf'id="f-{field}-error">([^<]*)<', answer.text)[1])


def test_a_beginning_that_fits_several_is_told(panel, db):
    first, second = (UUID(f"abcdef01-0000-4000-8000-00000000000{n}") for n in (1, 2))
    for user in (first, second):
        db.execute("select billing.open_account(%s)", [user])
    do(db, "set_user_reference", user_id=first, reference="abc.def")
    do(db, "set_user_reference", user_id=second, reference="abc.def.ghi")
    answer = panel.get("/admin/log?user=abcdef01")
    told = marked(answer, "user")
    assert "It fits several: " in told
    assert "abc.def (abcdef01)" in told
    assert panel.get("/admin/log?user=ABC.def").status_code == 200, "the one with just this name"


def test_a_cursor_that_is_none_begins_the_first_page(panel, known):
    user = f"/admin/users/{known.user_id}"
    pages = (f"{user}/{page}?before=x" for page in ("ledger", "holds", "events", "log"))
    for path in ("/admin/log?before=x", "/admin/users?after=x", *pages):
        assert panel.get(path).status_code == 200, path


@pytest.mark.parametrize(("field", "value"), [("q", "x" * 201), ("q", "\0"), ("tier", "none"), ("status", "asleep")])
def test_what_is_wrong_with_a_search_is_told_beside_it(panel, field, value):
    answer = panel.get("/admin/users", query_string={field: value})
    assert answer.status_code == 422
    assert marked(answer, field)
    assert 'name="tier"' in answer.text


def test_the_log_tells_what_was_done_in_words(panel, db, super_admin):
    user = uuid4()
    db.execute("select billing.open_account(%s, 'tier_200_1000')", [user])
    payment = paid(db, user, f"pi_{uuid4().hex}")
    do(db, "adjust_credits", actor=super_admin, user_id=user, amount=D("-1.5"), reason="r")
    do(db, "adjust_credits", actor=super_admin, user_id=user, amount=D(10**7), reason="r")
    do(
        db, "request_refund", actor=super_admin, user_id=user, amount=D(5), reason="r", stripe_refund=True,
        payment_intent_id=payment,
    )  # fmt: skip
    answer = panel.get(f"/admin/log?user={user}")
    text = shown(answer)
    assert 'title="request_refund">Refunded<' in answer.text
    assert "$5.00" in text
    assert "\N{MINUS SIGN}1.50" in text
    assert "Adjusted credits" in text
    assert re.search(r"Adjust credits.{1,30}\+10,000,000.00.{1,10}Admin limit exceeded", text), "it was not done"
    assert 'refused"><span class="money' in answer.text


# Files.


def test_the_admins_as_a_file(panel, db, admin):
    do(db, "set_user_reference", user_id=admin, reference="=1+1")
    rows = {row["user_id"]: row for row in rows_of(panel.get("/admin/admins.csv"))}
    assert (rows[str(admin)]["reference"], rows[str(admin)]["role"]) == ("'=1+1", "admin")
    assert Decimal(rows[str(admin)]["max_credit_adjustment"]) == 1000


def test_the_configuration_as_files(panel, db):
    for section, column in (
        *(("tiers", "monthly_credits"), ("admin_limits", "can_refund"), ("model_prices", "multiplier")),
        *(("packages", "price_cents"), ("settings", "retention")),
    ):
        rows = rows_of(panel.get(f"/admin/config/{section}.csv"))
        assert all(row["name"] and row[column] for row in rows), section
        assert f'href="/admin/config/{section}.csv"' in panel.get("/admin/config").text
    tiers = [row["name"] for row in rows_of(panel.get("/admin/config/tiers.csv"))]
    assert tiers == [row.name for row in db.execute("select name from billing.billing_tiers order by rank").fetchall()]
    assert panel.get("/admin/config/nothing.csv").status_code == 404


def test_the_tables_of_the_health_page_as_files(panel):
    page = panel.get("/admin/health").text
    assert "<td>Refunds that Stripe has to finish</td>" in page
    for table in health.FILES:
        assert f'href="/admin/health/{table}.csv"' in page
        answer = panel.get(f"/admin/health/{table}.csv")
        assert answer.text.splitlines()[0] == ",".join(health.FILES[table])
        assert answer.status_code == 200
    assert len(rows_of(panel.get("/admin/health/alerts.csv"))) == len(health.MEANINGS)
    assert [row["queue"] for row in rows_of(panel.get("/admin/health/queues.csv"))] == list(health.QUEUES)
    assert "checkpoint_ledger" in [row["name"] for row in rows_of(panel.get("/admin/health/jobs.csv"))]
    assert panel.get("/admin/health/nothing.csv").status_code == 404


# Health.


def test_the_health_page(panel):
    text = shown(panel.get("/admin/health"))
    for name in ("Alerts", "Jobs", "Verification", "Stripe's events", "checkpoint_ledger", "negative_balances"):
        assert name in text


def test_alerts():
    quiet = {"alert": "ledger", "rows": 0}
    assert health.check_alerts([quiet]).state == "ok"
    assert health.check_alerts([quiet, {"alert": "admin_activity", "rows": 2}]).state == "warn"
    assert health.check_alerts([{"alert": "ledger", "rows": 1}]).state == "bad"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "ok"),
        ({"problem": "late"}, "warn"),
        ({"problem": "failed"}, "bad"),
        ({"enabled": False}, "quiet"),
        ({"last_outcome": "running"}, "info"),
        ({"succeeded_at": None}, "info"),
    ],
)
def test_jobs(changes, state):
    job = {
        "name": "j",
        "problem": None,
        "enabled": True,
        "last_outcome": "succeeded",
        "succeeded_at": datetime.now(UTC),
    }
    job |= changes
    assert health.state_of_job(job)[0] == state
    if job["problem"]:
        assert health.check_jobs([job]).state == state


def test_how_long_a_job_took():
    now = datetime.now(UTC)
    job = {"function": "expire_credits", "last_started_at": now, "last_finished_at": now + timedelta(seconds=55.8)}
    assert health.took(job) == "56 s"
    assert health.took(job | {"function": None}) == "counted over 56 s", "by the worker, all the time"
    assert health.took(job | {"last_finished_at": None}) == ""
    assert health.took(job | {"last_finished_at": now + timedelta(minutes=3)}) == "3 min"
    assert health.took(job | {"last_finished_at": now + timedelta(seconds=0.25)}) == "0.25 s"


def test_verifications():
    now = datetime.now(UTC)
    row = {"finished_at": now, "findings": 0, "entries": 7, "accounts": 2}
    assert health.check_ledger([row]).state == "ok"
    assert health.check_ledger([row | {"finished_at": None}, row]).state == "ok"
    assert health.check_ledger([row | {"findings": 1}]).state == "bad"
    assert health.check_ledger([row | {"finished_at": now - timedelta(days=3)}]).state == "warn"
    assert health.check_ledger([]).state == "warn"


def test_queues():
    metrics = [
        {"name": "billing_queue_waiting", "labels": {"queue": "events"}, "value": D(3)},
        {"name": "billing_queue_oldest_seconds", "labels": {"queue": "events"}, "value": D(1200)},
        {"name": "billing_queue_given_up", "labels": {"queue": "refunds"}, "value": D(1)},
        {"name": "billing_active_holds", "labels": {}, "value": D(9)},
    ]
    queues = health.queues_of(metrics)
    assert health.check_queue("events", queues["events"]).state == "warn"
    assert health.check_queue("events", queues["events"] | {"seconds": D(60)}).state == "ok"
    assert health.check_queue("refunds", queues["refunds"]).state == "bad"
    assert health.check_queue("stripe_calls", {}).state == "ok"
