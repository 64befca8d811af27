"""Actions of the panel: a form, a preview, and then it is done, once."""

import html
import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from stripe import AuthenticationError

from api.panel import actions
from api.panel.advice import ADVICE
from api.tests.conftest import balance_of, entries_of, token
from api.tests.pages import COOKIE, SQL_WORDS, Browser, text_of
from api.tests.test_admin import actions_on
from api.tests.test_payments import REFUNDS, TOP, bought

D = Decimal
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


@pytest.fixture
def page(app, admin) -> Browser:
    return Browser(app, admin)


@pytest.fixture
def boss(app, super_admin) -> Browser:
    return Browser(app, super_admin)


@pytest.fixture
def buyer(db) -> UUID:
    user_id = uuid4()
    db.execute("select billing.open_account(%s, %s)", [user_id, TOP])
    return user_id


def path(user: UUID, slug: str) -> str:
    return f"/admin/users/{user}/actions/{slug}"


def hidden(page_html: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in HIDDEN.findall(page_html)}


def previewed(page: Browser, user: UUID, slug: str, **fields) -> dict[str, str]:
    """What the form of the preview sends when it is confirmed."""
    opened = hidden(page.get(path(user, slug)).text)
    fields = {"reason": "test", "idempotency_key": opened["idempotency_key"]} | fields
    answer = page.post(path(user, slug), fields | {"step": "preview"})
    assert answer.status_code == 200, text_of(answer.text)
    return hidden(answer.text) | {"step": "confirm"}


def done(page: Browser, user: UUID, slug: str, **fields) -> str:
    """The message after an action that is previewed and confirmed."""
    answer = page.post(path(user, slug), previewed(page, user, slug, **fields))
    assert (answer.status_code, answer.location) == (303, f"/admin/users/{user}"), text_of(answer.text)
    return text_of(page.get(f"/admin/users/{user}").text)


def test_a_preview_shows_the_effect_and_does_nothing(page, db, user):
    answer = page.post(path(user, "adjust"), {"amount": "-1.000000001", "reason": "Twice", "step": "preview"})
    shown = text_of(answer.text)
    assert "Take 1.000000001 credits" in shown
    assert "3.999999999" in shown
    assert "4,998.999999999" in shown, "the limit left today"
    assert "Usage in between does not stop it, unless it leaves too little." in shown
    assert "Tier grant" in shown
    assert (balance_of(db, user), actions_on(db, user)) == (5, [])


def test_adjust(page, db, user):
    assert "Added 10.50 credits. The balance is 15.50." in done(page, user, "adjust", amount="+10.5")
    assert "Took 2.50 credits. The balance is 13.00." in done(page, user, "adjust", amount="\N{MINUS SIGN}2.50")
    assert [(action.action, action.reason) for action in actions_on(db, user)] == [("adjust_credits", "test")] * 2


def test_grant_with_an_expiry(page, db, user):
    told = done(page, user, "grant", amount="2", expires_at="2099-01-01T12:30")
    assert "Granted 2.00 credits until 2099-01-01 12:30 UTC." in told
    lot = db.execute("select expires_at from billing.credit_grants where user_id = %s order by grant_no", [user])
    assert f"{lot.fetchall()[-1].expires_at:%Y-%m-%d}" == "2099-01-01"


def test_reverse_status_tier_and_hold(page, client, user):
    client.post("/api/billing/v2/deduct", {"user_id": user, "amount": 3}, by="service")
    assert "Usage of \N{MINUS SIGN}3.00" in text_of(page.get(path(user, "reverse") + "?entry_no=2").text)
    assert "Reversed entry 2: 3.00 credits are back." in done(page, user, "reverse", entry_no="2")
    assert "The account is frozen" in done(page, user, "status", status="frozen")
    assert "The account is active." in done(page, user, "status", status="active")
    assert "The tier is Plus. The balance is 25.00." in done(page, user, "tier", tier="tier_2_20")
    held = client.post("/api/billing/v2/holds", {"user_id": user, "amount": 2}, by="service")["hold_id"]
    assert held in page.get(path(user, "release-hold")).text
    assert "Released the hold" in done(page, user, "release-hold", hold_id=held)


@pytest.mark.parametrize(
    ("slug", "fields"),
    [
        ("adjust", {"amount": "5"}),
        ("grant", {"amount": "5", "expires_at": "2099-01-01T00:00"}),
        ("refund", {"amount": "5", "stripe_refund": "false"}),
        ("reverse", {"entry_no": "2"}),
        ("status", {"status": "frozen"}),
        ("tier", {"tier": "tier_2_20"}),
        ("release-hold", {"hold_id": ""}),
    ],
)
def test_what_is_sent_twice_is_done_once(boss, client, db, user, slug, fields):
    client.post("/api/billing/v2/deduct", {"user_id": user, "amount": 2}, by="service")
    held = client.post("/api/billing/v2/holds", {"user_id": user, "amount": 1}, by="service")["hold_id"]
    form = previewed(boss, user, slug, **fields | ({"hold_id": held} if "hold_id" in fields else {}))
    first, second = (boss.post(path(user, slug), form) for _ in range(2))
    assert (first.status_code, second.status_code) == (303, 303)
    assert len(actions_on(db, user)) == 1
    assert "not done again" in text_of(boss.get(f"/admin/users/{user}").text)


def test_a_double_click_does_it_once(app, admin, db, user):
    pages = [Browser(app, admin) for _ in range(2)]
    form = previewed(pages[0], user, "adjust", amount="5")
    del form["csrf_token"]
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda page: page.post(path(user, "adjust"), form).status_code, pages))
    assert answers == [303, 303]
    assert balance_of(db, user) == 10


def test_a_preview_of_what_is_done_already_says_so_and_leads_to_it(page, db, user):
    form = previewed(page, user, "adjust", amount="5")
    page.post(path(user, "adjust"), form)
    page.get(f"/admin/users/{user}")
    again = page.post(path(user, "adjust"), form | {"step": "preview"})
    assert (again.status_code, again.location) == (303, f"/admin/users/{user}")
    shown = page.get(again.location).text
    assert "This was done already, and was not done again. Added 5.00 credits." in text_of(shown)
    assert f'<a href="/admin/users/{user}/ledger/2">See entry 2</a>' in shown
    assert (balance_of(db, user), len(actions_on(db, user))) == (10, 1)


def test_a_preview_of_what_is_asked_for_already_leads_to_the_request(page, db, user):
    answer = page.post(path(user, "adjust"), {"amount": "1500", "reason": "Contract", "step": "preview"})
    form = hidden(answer.text)
    asked = page.post(path(user, "adjust"), form | {"step": "request"})
    again = page.post(path(user, "adjust"), form | {"step": "preview"})
    assert (again.status_code, again.location) == (303, asked.location)
    assert "This has been asked for already" in text_of(page.get(again.location).text)


def test_the_back_button_and_another_amount(page, db, user):
    form = previewed(page, user, "adjust", amount="5")
    page.post(path(user, "adjust"), form)
    for step in ("preview", "confirm"):
        answer = page.post(path(user, "adjust"), form | {"amount": "6", "step": step})
        assert answer.status_code == 409
        assert "sent before with other values" in text_of(answer.text)
        assert hidden(answer.text)["idempotency_key"] != form["idempotency_key"]
    assert balance_of(db, user) == 10


def test_usage_between_preview_and_confirm_is_no_matter(page, client, db, user):
    form = previewed(page, user, "adjust", amount="5")
    client.post("/api/billing/v2/deduct", {"user_id": user, "amount": 1}, by="service")
    assert page.post(path(user, "adjust"), form).status_code == 303
    assert balance_of(db, user) == 9


def test_what_another_admin_did_meanwhile_is_shown_first(page, boss, db, user):
    form = previewed(page, user, "adjust", amount="5")
    done(boss, user, "adjust", amount="5")
    answer = page.post(path(user, "adjust"), form)
    assert answer.status_code == 409
    assert "things have changed since the preview. Another admin did this just now" in text_of(answer.text)
    assert balance_of(db, user) == 10
    assert page.post(path(user, "adjust"), hidden(answer.text) | {"step": "confirm"}).status_code == 303
    assert balance_of(db, user) == 15


def test_what_is_refused_by_now_is_told_at_its_field(page, client, db, user):
    form = previewed(page, user, "adjust", amount="-5")
    client.post("/api/billing/v2/deduct", {"user_id": user, "amount": 1}, by="service")
    answer = page.post(path(user, "adjust"), form)
    assert answer.status_code == 402
    assert 'id="f-amount-error"' in answer.text
    assert 'value="-5"' in answer.text
    assert balance_of(db, user) == 4


def test_a_confirmation_without_a_preview_is_previewed(page, db, user):
    answer = page.post(path(user, "adjust"), {"amount": "5", "reason": "test", "step": "confirm"})
    assert answer.status_code == 409
    assert balance_of(db, user) == 5


@pytest.mark.parametrize(
    ("slug", "fields", "field"),
    [
        ("adjust", {"amount": "0"}, "amount"),
        ("adjust", {"amount": "many"}, "amount"),
        ("adjust", {"amount": "1", "reason": " "}, "reason"),
        ("grant", {"amount": "1.0000000001"}, "amount"),
        ("grant", {"amount": "1", "expires_at": "2020-01-01T00:00"}, "expires_at"),
        ("reverse", {"entry_no": "99"}, "entry_no"),
        ("reverse", {"entry_no": "1"}, "entry_no"),
        ("release-hold", {"hold_id": "00000000-0000-4000-8000-000000000000"}, "hold_id"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(page, user, slug, fields, field):
    answer = page.post(path(user, slug), {"reason": "It was <b>wrong</b>"} | fields | {"step": "preview"})
    assert answer.status_code in (404, 409, 422)
    assert f'id="f-{field}-error"' in answer.text
    if "reason" not in fields:
        assert "It was &lt;b&gt;wrong&lt;/b&gt;" in answer.text


ENTRY = "select billing.deduct_credits(%(user)s, 2)"
HOLD = "select billing.hold_credits(%(user)s, 1, p_idempotency_key => 'held')"
CLOSED = "select billing.set_account_status(%(boss)s, %(user)s, 'closed', 'Left')"
REVERSED = "select billing.reverse_entry(%(boss)s, %(user)s, 2, 'Failed')"
OLD = "insert into legacy_billing.customers (user_id) values (%(user)s)"
NOBODY = UUID("00000000-0000-4000-8000-00000000f00d")
OLD_USER = UUID("00000000-0000-4000-8000-00000000f00e")


@pytest.mark.parametrize(
    ("slug", "fields", "before", "link"),
    [
        ("adjust", {"amount": "0"}, [], ""),
        ("adjust", {"amount": "1e13"}, [], ""),
        ("adjust", {"amount": "1", "reason": "x" * 2001}, [], ""),
        ("adjust", {"amount": "-6"}, [], ""),
        ("adjust", {"amount": "1"}, [CLOSED], "/actions/status?status=active"),
        ("adjust", {"amount": "1", "user": NOBODY}, [], "/admin/users"),
        ("adjust", {"amount": "1", "user": OLD_USER}, [OLD], "/admin/users"),
        ("grant", {"amount": "-1"}, [], ""),
        ("grant", {"amount": "1.0000000001"}, [], ""),
        ("grant", {"amount": "1", "expires_at": "2020-01-01T00:00"}, [], ""),
        ("refund", {"amount": "1", "stripe_refund": "true"}, [], ""),
        ("refund", {"amount": "1", "stripe_refund": "true", "payment_intent_id": "x"}, [], "/payments"),
        ("refund", {"amount": "0.001", "stripe_refund": "true", "payment_intent_id": "x"}, [], ""),
        ("reverse", {"entry_no": "99"}, [], "/ledger"),
        ("reverse", {"entry_no": "1"}, [], "/ledger"),
        ("reverse", {"entry_no": "2"}, [ENTRY, REVERSED], "/actions/adjust"),
        ("status", {"status": "asleep"}, [], ""),
        ("status", {"status": "closed"}, [HOLD], "/holds"),
        ("tier", {"tier": "gold"}, [], ""),
        ("release-hold", {"hold_id": str(NOBODY)}, [], "/holds"),
    ],
)
def test_advice_is_in_the_words_of_the_panel(boss, super_admin, db, user, slug, fields, before, link):
    sent = {"reason": "test", "step": "preview"} | fields
    user = sent.pop("user", user)
    for statement in before:
        db.execute(statement, {"user": user, "boss": super_admin})
    answer = boss.post(path(user, slug), sent)
    shown = answer.text[answer.text.index("<main") :]
    assert answer.status_code in (400, 402, 403, 404, 409, 422)
    assert not SQL_WORDS.search(text_of(shown)), text_of(shown)
    assert "was logged" not in text_of(shown), "a preview attempts nothing"
    assert not link or re.search(rf'href="[^"]*{re.escape(link)}"', shown), shown


def test_there_is_advice_for_whatever_the_database_can_raise():
    """The hints of the catalogue are for those who call the functions."""
    called = {action.function for action in actions.ACTIONS.values()} | {
        *("preview_action", "request_approval", "approve_request", "decline_request", "withdraw_request"),
        *("preview_approval", "get_approval", "plan_bulk_grant", "begin_bulk_grant", "run_bulk_grant"),
        *("retry_bulk_grant", "stop_bulk_grant", "get_bulk_grant"),
    }
    lines = [line.split(" | ") for line in Path("db/errors.md").read_text().splitlines() if " | UC" in line]
    raised = {cells[0].strip("| `") for cells in lines if called & set(cells[-1].rstrip(" |").split(", "))}
    assert len(raised) > 20
    assert raised - ADVICE.keys() == {"limit_out_of_range"}, "no form asks for rows"


def test_of_many_payments_and_holds_the_id_is_typed(boss, client, db, stripe, buyer, monkeypatch):
    monkeypatch.setattr(actions, "CHOICES", 1)
    for _ in range(2):
        bought(client, stripe, buyer, package="25")
    (_, older) = db.execute("select payment_intent_id as id from billing.list_payments(%s)", [buyer]).fetchall()
    older = older.id
    shown = boss.get(path(buyer, "refund")).text
    assert (older in shown, "These are the latest 1." in text_of(shown)) == (False, True)
    assert "$10.00 go back" in text_of(
        boss.post(
            path(buyer, "refund"),
            {"amount": "10", "stripe_refund": "true", "other_payment": older, "reason": "x", "step": "preview"},
        ).text
    )
    held, _ = (
        client.post("/api/billing/v2/holds", {"user_id": buyer, "amount": 2}, by="service")["hold_id"] for _ in range(2)
    )
    shown = boss.get(path(buyer, "release-hold")).text
    assert (held in shown, "These are the latest 1 holds." in text_of(shown)) == (False, True)
    form = previewed(boss, buyer, "release-hold", other_hold=held)
    assert form["hold_id"] == held


def test_above_the_limits_it_is_requested(page, db, user):
    answer = page.post(path(user, "adjust"), {"amount": "1500", "reason": "Contract", "step": "preview"})
    assert "You cannot do this alone." in text_of(answer.text)
    assert "Your limit left today5,000.005,000.00 a request takes nothing of it" in text_of(answer.text)
    form = hidden(answer.text) | {"step": "request"}
    first, second = (page.post(path(user, "adjust"), form) for _ in range(2))
    assert (first.status_code, second.location) == (303, first.location)
    assert "Add 1,500.00 credits" in text_of(page.get(first.location).text)
    assert balance_of(db, user) == 5
    confirmed = page.post(path(user, "adjust"), hidden(answer.text) | {"step": "confirm"})
    assert confirmed.status_code in (403, 409), "nobody gets around it"


def test_an_expired_session_keeps_what_was_typed(page, admin, db, user):
    form = previewed(page, user, "adjust", amount="5", reason="A long story")
    page.client.delete_cookie(COOKIE)
    answer = page.client.post(path(user, "adjust"), data=form)
    assert answer.status_code == 401
    assert balance_of(db, user) == 5
    onward = html.unescape(re.search(r'name="next" value="([^"]+)"', answer.text)[1])
    back = page.sign_in(token(sub=admin), next=onward)
    shown = page.get(back.location).text
    assert ("A long story" in shown, hidden(shown)["idempotency_key"]) == (True, form["idempotency_key"])


def test_a_form_without_its_token_does_nothing(page, db, user):
    form = previewed(page, user, "adjust", amount="5")
    assert page.client.post(path(user, "adjust"), data=form | {"csrf_token": "x"}).status_code == 400
    assert balance_of(db, user) == 5


def test_what_is_typed_is_shown_and_not_run(page, user):
    script = '"><script>alert(1)</script>'
    for step in ("preview", "edit"):
        answer = page.post(path(user, "adjust"), {"amount": "1", "reason": script, "step": step})
        assert "<script>alert" not in answer.text
        assert html.escape(script).replace("&quot;", "&#34;") in answer.text
    for slug in ("adjust", "grant", "refund", "reverse", "status", "tier", "release-hold"):
        names = ("amount", "expires_at", "payment_intent_id", "entry_no", "status", "tier", "hold_id", "reason")
        query = "&".join(f"{name}=%22%3E%3Cscript%3Ealert(1)%3C/script%3E" for name in names)
        assert "<script>alert" not in page.get(f"{path(user, slug)}?{query}").text


@pytest.mark.parametrize("time", ["0001-01-01T00:00+14:00", "9999-12-31T23:00-14:00"])
def test_a_time_at_the_edge_of_the_calendar(page, user, time):
    assert page.get(path(user, "grant"), query_string={"expires_at": time}).status_code == 200
    answer = page.post(path(user, "grant"), {"amount": "1", "reason": "r", "expires_at": time, "step": "preview"})
    assert (answer.status_code, 'id="f-expires_at-error"' in answer.text) == (422, True)


def test_what_cannot_be_stored(page, db, user):
    assert page.get(path(user, "adjust") + "?idempotency_key=%00").status_code == 200
    for step in ("preview", "confirm", "request"):
        fields = {"amount": "1", "reason": "r", "idempotency_key": "\0", "step": step}
        answer = page.post(path(user, "adjust"), fields)
        assert answer.status_code < 500
        assert "\0" not in answer.text
    answer = page.post(path(user, "adjust"), {"amount": "1", "reason": "\0r", "step": "preview"})
    assert (answer.status_code, 'id="f-reason-error"' in answer.text) == (422, True)
    assert balance_of(db, user) == 5


def test_pages_that_are_not_there(page, user):
    assert page.get(path(user, "delete")).status_code == 404
    assert page.get(path(uuid4(), "adjust")).status_code == 404
    assert page.get(path(user, "adjust") + "?amount=3&reason=Because").text.count('value="3"') == 1


# Refunds.


def test_a_refund_in_credits(boss, user):
    assert "Refunded 2.00 credits. The balance is 7.00." in done(
        boss, user, "refund", amount="2", stripe_refund="false", payment_intent_id="pi_left_over", owe_spent="true"
    )


def test_a_refund_in_money(boss, client, db, stripe, buyer):
    intent = bought(client, stripe, buyer, package="25")
    form = {"amount": "10", "stripe_refund": "true", "payment_intent_id": intent}
    shown = text_of(boss.post(path(buyer, "refund"), form | {"reason": "test", "step": "preview"}).text)
    assert "$10.00 go back to the customer" in shown
    assert "A refund in money does not count in the day's limit" in shown
    assert "10.00 credits that the payment bought are taken back" in shown
    assert "Refunded $10.00 through Stripe." in done(boss, buyer, "refund", **form)
    assert [refund["amount"] for refund in stripe.objects("refund")] == [1000]
    assert balance_of(db, buyer) == 1020


def test_a_refund_that_stripe_refuses(boss, client, db, stripe, buyer):
    intent = bought(client, stripe, buyer, package="25")
    form = previewed(boss, buyer, "refund", amount="10", stripe_refund="true", payment_intent_id=intent)
    stripe.fault("drop", event="*", times=0)
    stripe.dispute(payment_intent=intent)
    for _ in range(2):
        assert boss.post(path(buyer, "refund"), form).status_code == 303
        told = text_of(boss.get(f"/admin/users/{buyer}").text)
        assert "Stripe refused the refund of $10.00" in told
        assert "No money went back, and the credits are as they were." in told
    assert balance_of(db, buyer) == 1030


def test_a_refund_while_stripe_is_away(boss, client, db, stripe, buyer):
    intent = bought(client, stripe, buyer, package="25")
    form = previewed(boss, buyer, "refund", amount="10", stripe_refund="true", payment_intent_id=intent)
    stripe.fault("hold", event="*", times=0)
    stripe.fault("timeout_before", method="POST", path=REFUNDS)
    for told in ("Stripe cannot be reached", "not done again. Refunded $10.00 through Stripe."):
        assert boss.post(path(buyer, "refund"), form).status_code == 303
        assert told in text_of(boss.get(f"/admin/users/{buyer}").text)
    assert (stripe.created("refund"), balance_of(db, buyer)) == (1, 1020)


def test_a_key_that_stripe_does_not_accept_is_an_error_in_the_log(boss, logged, monkeypatch, buyer):
    def refused(_):
        raise AuthenticationError("No such key")

    monkeypatch.setattr("api.admin_actions.learn_payment", refused)
    form = {"amount": "10", "stripe_refund": "true", "payment_intent_id": "pi_unknown", "reason": "x"}
    assert boss.post(path(buyer, "refund"), form | {"step": "preview"}).status_code == 503
    (line,) = [line for line in logged() if line["level"] == "error"]
    assert "payments_misconfigured" in line["message"]
    (code,) = [line["code"] for line in logged() if line.get("method") == "POST" and line.get("status") == 503]
    assert code == "payments_misconfigured"


def test_a_payment_that_nobody_knows(boss, stripe, buyer):
    form = {"amount": "10", "stripe_refund": "true", "payment_intent_id": "nonsense", "reason": "x"}
    answer = boss.post(path(buyer, "refund"), form | {"step": "preview"})
    assert answer.status_code == 404
    assert "The user has no such payment." in text_of(answer.text)


def test_entries_name_the_admin(page, admin, db, user):
    done(page, user, "adjust", amount="1")
    assert entries_of(db, user)[-1].actor == admin
