"""Amounts keep every digit on their way in and out."""

from decimal import Decimal
from uuid import uuid4

import pytest
import simplejson

from api.json import JSONError, dumps, loads
from api.tests.conftest import Client, balance_of, entries_of

DEDUCT = "/api/billing/v2/deduct"
EXACT = ["0.000000001", "123456789012.123456789", "0.1", "4.35", "999999999999.999999999", "7"]


def rich(db, amount: str = "999999999999.999999999"):
    user = uuid4()
    db.execute("select billing.open_account(%s), billing.grant_credits(%s, %s, 'promotion')", [user, user, amount])
    return user


@pytest.mark.parametrize("text", [*EXACT, "1E-9", "1e-9", "12345e2", "1.5E+3"])
@pytest.mark.parametrize("form", ["{}", '"{}"'])
def test_an_amount_arrives_and_returns_exactly(client, db, text, form):
    user = rich(db)
    body = '{"user_id": "%s", "amount": %s, "metadata": {"n": %s}}' % (user, form.format(text), text)  # noqa: UP031
    answer = client.post(DEDUCT, body, by="service")
    assert answer.status == 200
    plain = format(Decimal(text), "f")
    assert f'"amount": {plain}' in answer.text
    entry = entries_of(db, user)[-1]
    assert entry.amount == -Decimal(text)
    shown = client.get("/api/billing/v2/ledger?limit=1", by=user)
    assert f'"amount": -{plain}' in shown.text
    assert f'"metadata": {{"n": {plain}, "request_id": ' in shown.text
    balance = db.execute("select balance::text from billing.credit_accounts where user_id = %s", [user]).fetchone()
    assert f'"balance": {balance.balance}' in client.get("/api/billing/v2/balance", by=user).text


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999999", "1e-999999", "9" * 101, "1.", ".5", "+1"])
def test_what_is_no_number_is_no_json(client, db, user, text):
    body = f'{{"user_id": "{user}", "amount": {text}}}'
    assert client.post(DEDUCT, body, by="service").problem() == (400, "invalid_json")
    assert len(entries_of(db, user)) == 1


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "1e999999", "1_000", "٣", " 1", "+1", "0x1", "1,5", "", "9" * 101]
)
def test_what_is_no_number_is_none_in_a_string_either(client, db, user, text):
    answer = client.post(DEDUCT, {"user_id": user, "amount": text}, by="service")
    assert answer.problem() == (400, "invalid_request")
    assert "amount" in answer["errors"]
    assert len(entries_of(db, user)) == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0", "amount_not_positive"),
        ("-0.5", "amount_not_positive"),
        ("0.0000000001", "amount_too_precise"),
        ("1e-99", "amount_too_precise"),
        ("1000000000001", "amount_too_large"),
        ("1e99", "amount_too_large"),
    ],
)
@pytest.mark.parametrize("form", ["{}", '"{}"'])
def test_sql_refuses_a_number_that_is_no_amount_by_name(client, db, user, text, code, form):
    body = f'{{"user_id": "{user}", "amount": {form.format(text)}}}'
    assert client.post(DEDUCT, body, by="service").problem() == (422, code)
    assert balance_of(db, user) == 5


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        "[" * 100_000,
        '{"amount": 1, "amount": 2}',
        "{'amount': 1}",
        b"\xff",
        '{"a": 1} {"b": 2}',
        "null",
        "[]",
        "7",
    ],
    ids=lambda body: str(body)[:12],
)
def test_a_body_that_is_not_one_object(client, body):
    status, code = client.post(DEDUCT, body, by="service").problem()
    assert (status, code) in {(400, "invalid_json"), (400, "invalid_request")}


@pytest.mark.parametrize(
    "mimetype", ["application/json", "application/x-www-form-urlencoded", "application/vnd.x+json", ""]
)
def test_json_is_read_whatever_curl_calls_it(client, user, mimetype):
    answer = client.post(DEDUCT, {"user_id": user, "amount": 1}, by="service", headers={"Content-Type": mimetype})
    assert answer.status == 200


@pytest.mark.parametrize("mimetype", ["text/plain", "multipart/form-data; boundary=x", "application/xml"])
def test_other_types_are_refused(client, user, mimetype):
    answer = client.post(DEDUCT, {"user_id": user, "amount": 1}, by="service", headers={"Content-Type": mimetype})
    assert answer.problem() == (415, "unsupported_media_type")


def test_numbers_are_read_and_written_without_a_float():
    text = '{"a": [0.1, 0.000000001, 123456789012.123456789, 5.00, 7]}'
    assert dumps(loads(text)) == text
    assert simplejson.loads(text)["a"][2] != loads(text)["a"][2], "a float would have lost digits"


def test_what_the_database_holds_is_read_whatever_its_size(client, db, user):
    """A rule for requests must not make an entry unreadable that SQL has written."""
    digits = "0." + "1" * 300
    db.execute("select billing.deduct_credits(%s, 1, p_metadata => %s::jsonb)", [user, f'{{"exact": {digits}}}'])
    assert digits in client.get("/api/billing/v2/ledger?limit=1", by=user).text


@pytest.mark.parametrize("depth", [10, 100, 300, 900, 2000])
def test_metadata_may_be_nested_or_is_refused_for_it(client, user, depth):
    body = f'{{"user_id": "{user}", "amount": 0.1, "metadata": {{"a": {"[" * depth}{"]" * depth}}}}}'
    for path, sent in ((DEDUCT, body), (f"{DEDUCT}/batch", f'{{"items": [{body}]}}')):
        assert client.post(path, sent, by="service").status in (200, 400)


def test_a_member_given_twice_is_refused():
    with pytest.raises(JSONError, match="twice"):
        loads('{"amount": 1, "amount": 1}')


def test_client_is_exact(client: Client):
    assert isinstance(client.get("/api/billing/v2/tiers", by=uuid4())["tiers"][0]["monthly_credits"], Decimal)
