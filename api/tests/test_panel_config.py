"""The configuration in the panel: a difference, a reason, and then it is saved; for super admins."""

import re
from decimal import Decimal
from uuid import uuid4

import pytest

from api.tests.pages import Browser, text_of
from api.tests.test_panel_actions import hidden

D = Decimal


@pytest.fixture
def page(app, admin) -> Browser:
    return Browser(app, admin)


@pytest.fixture
def boss(app, super_admin) -> Browser:
    return Browser(app, super_admin)


@pytest.fixture
def model(boss) -> str:
    """The path of a model of the rate card that is the test's own."""
    name = f"lab/model-{uuid4()}"
    form = {"name": name, "input_per_million": "1.25", "output_per_million": "10.000000001", "multiplier": "1.5"}
    form |= {"cached_input_per_million": "0.125"}
    answer = boss.post("/admin/config/model_prices", form | {"step": "diff"})
    assert answer.status_code == 200, text_of(answer.text)
    saved = boss.post("/admin/config/model_prices", hidden(answer.text) | {"step": "save", "reason": "A new model"})
    assert saved.location, text_of(saved.text)
    assert saved.location == "/admin/config#model_prices"
    return f"/admin/config/model_prices/{name}"


def price_of(db, path: str):
    name = path.removeprefix("/admin/config/model_prices/")
    return db.execute("select * from billing.list_model_prices() where model = %s", [name]).fetchone()


def differing(boss: Browser, path: str, **changes: str) -> dict[str, str]:
    """What the page with the difference sends when it is saved."""
    price = {"input_per_million": "1.25", "output_per_million": "10.000000001", "multiplier": "1.5"}
    form = hidden(boss.get(path).text) | price | {"cached_input_per_million": "0.125"} | changes
    answer = boss.post(path, form | {"step": "diff"})
    assert answer.status_code == 200, text_of(answer.text)
    return hidden(answer.text) | {"step": "save", "reason": "Dearer"}


def test_the_configuration_is_shown_with_all_its_digits(boss, db, model):
    shown = text_of(boss.get("/admin/config").text)
    assert "10.000000001" in shown
    for word in ("Tiers", "Admin limits", "Rate card", "Packages", "Settings", "make config-diff", "make config-pull"):
        assert word in shown
    assert price_of(db, model).output_per_million == D("10.000000001")


def test_a_change_is_shown_as_a_difference_and_then_saved(boss, db, model):
    form = hidden(boss.get(model).text)
    typed = {"input_per_million": "1.375", "output_per_million": "10.000000001", "multiplier": "1.5"}
    answer = boss.post(model, form | typed | {"cached_input_per_million": "0.125", "step": "diff"})
    assert '<del class="mono">1.25</del>' in answer.text
    assert '<ins class="mono">1.375</ins>' in answer.text
    assert '<del class="mono">10.000000001</del>' not in answer.text
    assert price_of(db, model).input_per_million == D("1.25"), "nothing is saved yet"
    unreasoned = boss.post(model, hidden(answer.text) | {"step": "save", "reason": " "})
    assert (unreasoned.status_code, 'id="f-reason-error"' in unreasoned.text) == (422, True)
    saving = hidden(unreasoned.text) | {"step": "save", "reason": "Dearer"}
    first, second = (boss.post(model, saving) for _ in range(2))
    assert (first.status_code, second.status_code) == (303, 303)
    assert price_of(db, model).input_per_million == D("1.375")
    told = text_of(boss.get("/admin/config").text)
    assert "make config-diff shows it as edited in the database" in told
    assert "was not saved again" in told


def test_a_length_of_time_is_shown_in_words_and_is_none_the_other(boss):
    page = boss.get("/admin/config/tiers/tier_2_20").text
    assert re.search(r'name="grant_expires_after"[^>]* value="1 month"', page)
    tier = {"display_name": "Plus", "rank": "1", "monthly_credits": "25", "price_cents": "2000"}
    form = hidden(page) | tier | {"grant_expires_after": "1 month", "step": "diff"}
    unchanged = boss.post("/admin/config/tiers/tier_2_20", form)
    assert "Nothing differs from what is there." in text_of(unchanged.text)
    changed = boss.post("/admin/config/tiers/tier_2_20", form | {"grant_expires_after": "2 months"})
    assert '<del class="mono">1 month</del>' in changed.text


def test_what_no_limit_means_is_said(boss):
    assert "Empty: any amount." in text_of(boss.get("/admin/config/admin_limits/admin").text)


def test_two_at_the_same_row(boss, db, model):
    form = differing(boss, model, multiplier="2")
    other = differing(boss, model, multiplier="3")
    assert boss.post(model, other).status_code == 303
    answer = boss.post(model, form)
    assert answer.status_code == 409
    assert "somebody else has changed this" in text_of(answer.text)
    assert 'value="2"' in answer.text, "what was typed is kept"
    assert price_of(db, model).multiplier == 3
    again = boss.post(model, hidden(answer.text) | {**typed_of(form), "step": "diff"})
    assert '<del class="mono">3</del>' in again.text
    assert boss.post(model, hidden(again.text) | {"step": "save", "reason": "Both"}).status_code == 303
    assert price_of(db, model).multiplier == 2


def typed_of(form: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in form.items() if name.endswith("_million") or name == "multiplier"}


def test_a_row_is_removed(boss, db, model):
    answer = boss.post(model, hidden(boss.get(model).text) | {"step": "remove"})
    assert "Remove lab/model" in text_of(answer.text)
    assert price_of(db, model) is not None
    assert boss.post(model, hidden(answer.text) | {"step": "remove-save", "reason": "Gone"}).status_code == 303
    assert price_of(db, model) is None
    assert boss.get(model).status_code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"multiplier": "much"}, "multiplier"),
        ({"input_per_million": ""}, "input_per_million"),
        ({"multiplier": "-1"}, "multiplier"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(boss, db, model, changes, field):
    form = hidden(boss.get(model).text) | typed_of(differing(boss, model, multiplier="2")) | changes
    answer = boss.post(model, form | {"step": "diff"})
    if answer.status_code == 200:
        answer = boss.post(model, hidden(answer.text) | {"step": "save", "reason": "x"})
    assert answer.status_code == 422
    assert f'id="f-{field}-error"' in answer.text
    assert price_of(db, model).multiplier == D("1.5")


def test_nothing_to_change(boss, model):
    form = hidden(boss.get(model).text) | typed_of(differing(boss, model, multiplier="2")) | {"multiplier": "1.50"}
    assert "Nothing differs" in text_of(boss.post(model, form | {"step": "diff"}).text)


def test_a_row_is_added_once(boss, db):
    name = f"pack_{uuid4().hex[:8]}"
    form = {"name": name, "amount": "7", "price_cents": "700"}
    saving = hidden(boss.post("/admin/config/packages", form | {"step": "diff"}).text) | {"step": "save", "reason": "x"}
    assert [boss.post("/admin/config/packages", saving).status_code for _ in range(2)] == [303, 303]
    other = boss.post("/admin/config/packages", saving | {"idempotency_key": "another"})
    assert (other.status_code, 'id="f-name-error"' in other.text) == (409, True)
    db.execute("delete from billing.billing_packages where name = %s", [name])


def test_a_row_that_is_there_already(boss):
    form = {"name": "10", "amount": "10", "price_cents": "900", "step": "diff"}
    answer = boss.post("/admin/config/packages", form)
    assert (answer.status_code, 'id="f-name-error"' in answer.text) == (422, True)


def test_a_tier_that_accounts_are_on_is_not_removed(boss, db):
    db.execute("select billing.open_account(%s, 'tier_2_20')", [uuid4()])
    path = "/admin/config/tiers/tier_2_20"
    form = hidden(boss.get(path).text)
    answer = boss.post(path, form | {"step": "remove"})
    removed = boss.post(path, hidden(answer.text) | {"step": "remove-save", "reason": "Gone"})
    assert removed.status_code == 409
    assert "Accounts are on tier tier_2_20." in text_of(removed.text)


def test_what_cannot_be_stored(boss, db):
    tier = {"display_name": "Z", "rank": "9", "monthly_credits": "1", "price_cents": "1", "name": "zz", "step": "diff"}
    new = "/admin/config/tiers"
    for changes, field in (
        ({"name": "z\0"}, "name"),
        ({"display_name": "\0"}, "display_name"),
        ({"grant_expires_after": "1\0"}, "grant_expires_after"),
        ({"step": "save", "reason": "\0"}, "reason"),
    ):
        answer = boss.post(new, tier | {"reason": "r"} | changes)
        assert (answer.status_code, f'id="f-{field}-error"' in answer.text) == (422, True), changes
    for before in (r'{"rank": "\u0000"}', r'{"\ud800": 1}'):
        answer = boss.post(f"{new}/free", tier | {"step": "save", "reason": "r", "before": before})
        assert (answer.status_code, "invalid_request" in answer.text) == (400, True), before
    assert boss.get(f"{new}/%00").status_code == 404
    assert boss.post(f"{new}/%00", tier).status_code == 404
    package = {"name": f"pack_{uuid4().hex[:8]}", "amount": "7", "price_cents": "700"}
    saved = boss.post("/admin/config/packages", package | {"step": "save", "reason": "r", "idempotency_key": "\0"})
    assert saved.status_code == 303, text_of(saved.text)
    db.execute("delete from billing.billing_packages where name = %s", [package["name"]])


def test_others_see_it_read_only(page, db):
    path = "/admin/config/settings/default"
    shown = page.get(path).text
    assert "<fieldset disabled>" in shown
    assert "Show the difference" not in shown
    before = hidden(shown)["before"]
    settings = {"reversal_grace": "7 days", "min_purchase": "6", "max_purchase": "10000", "low_balance": "1"}
    settings |= {"depleted_balance": "0.01", "retention": "90 days", "approval_lifetime": "7 days"}
    answer = page.post(path, settings | {"before": before, "step": "save", "reason": "I try"})
    assert answer.status_code == 403
    assert "This needs the role super_admin." in text_of(answer.text)
    assert db.execute("select min_purchase from billing.billing_settings").fetchone().min_purchase == 5


def test_what_is_typed_is_shown_and_not_run(boss):
    script = '"><script>alert(1)</script>'
    form = {"name": script, "input_per_million": "1", "output_per_million": "1", "multiplier": "1"}
    answer = boss.post("/admin/config/model_prices", form | {"step": "diff"})
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "<script>alert" not in answer.text


def test_pages_that_are_not_there(boss):
    for path in (
        "/admin/config/roles",
        "/admin/config/settings",
        "/admin/config/tiers/tier_0",
        "/admin/config/roles/x",
    ):
        assert boss.get(path).status_code == 404
    assert boss.post("/admin/config/packages/10", {"before": "{", "step": "diff"}).status_code == 400
