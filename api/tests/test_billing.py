"""What users read, and what the backend spends."""

import csv
import io
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest

from api import schemas
from api.json import dumps
from api.tests.conftest import Client, balance_of, entries_of, token

V2 = "/api/billing/v2"
D = Decimal


def deduct(client: Client, user: UUID, key: str | None = None, **body):
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"{V2}/deduct", {"user_id": user} | body, by="service", headers=headers)


def test_first_check_opens_a_free_account(client, db):
    user = uuid4()
    answer = client.get(f"{V2}/check", by=user)
    assert answer.status == 200
    assert answer.json == {"can_run": True, "balance": 5, "available": 5, "tier": "free", "message": "OK"}
    assert [entry.type for entry in entries_of(db, user)] == ["tier_grant"]
    assert client.get(f"{V2}/check", by=user).json == answer.json
    assert len(entries_of(db, user)) == 1


def test_check_by_post_needs_no_body(client):
    assert client.post(f"{V2}/check", by=uuid4())["can_run"] is True


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_check_says_no_with_200(client, user, method):
    if method == "GET":
        answer = client.get(f"{V2}/check?required=5.000000001", by=user)
    else:
        answer = client.post(f"{V2}/check", {"required": D("5.000000001")}, by=user)
    assert (answer.status, answer["can_run"]) == (200, False)
    assert "5.000000001" in answer["message"]


def test_check_refuses_an_amount_by_the_name_that_sql_gives_it(client, user):
    assert client.get(f"{V2}/check?required=-1", by=user).problem() == (422, "amount_not_positive")


def test_balance(client, user):
    answer = client.get(f"{V2}/balance", by=user)
    assert (answer.status, answer["user_id"], answer["balance"], answer["held"]) == (200, str(user), 5, 0)
    assert answer["created_at"].endswith("Z")


@pytest.mark.parametrize("path", ["balance", "ledger", "ledger.csv", "usage", "grants"])
def test_who_has_no_account_is_told_so(client, path):
    assert client.get(f"{V2}/{path}", by=uuid4()).problem() == (404, "account_not_found")


def test_deduct_by_amount(client, db, user):
    answer = deduct(
        client, user, amount=D("1.25"), description="a call", reference_type="run", reference_id="7",
        metadata={"rate": D("0.000000001")},
    )  # fmt: skip
    assert answer.status == 200
    assert (answer["success"], answer["amount"], answer["balance_after"], answer["available"]) == (
        True, D("1.25"), D("3.75"), D("3.75"),
    )  # fmt: skip
    entry = entries_of(db, user)[-1]
    assert (entry.description, entry.reference_type, entry.reference_id) == ("a call", "run", "7")
    assert "Idempotency-Replayed" not in answer.headers


def test_deduct_by_tokens(client, user):
    answer = deduct(client, user, model="gpt-4o", prompt_tokens=1000, completion_tokens=100, cached_tokens=0)
    assert answer.status == 200
    assert answer["cost"] == answer["amount"] == D("0.00525")


def test_deduct_of_an_unknown_model_is_an_error_with_a_name(client, user):
    answer = deduct(client, user, model="gpt-0", prompt_tokens=1, completion_tokens=1)
    assert answer.problem() == (404, "unknown_model")
    assert "gpt-0" in answer["detail"]
    assert answer["hint"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "amount"),
        ({"amount": 1, "model": "gpt-4o", "prompt_tokens": 1, "completion_tokens": 1}, "amount"),
        ({"amount": 1, "cached_tokens": 1}, "cached_tokens"),
        ({"model": "gpt-4o", "prompt_tokens": 1}, "completion_tokens"),
        ({"model": "gpt-4o", "prompt_tokens": 1, "completion_tokens": 1, "description": "x"}, "description"),
        ({"model": "gpt-4o", "prompt_tokens": 1.5, "completion_tokens": 1}, "prompt_tokens"),
        ({"model": "gpt-4o", "prompt_tokens": 2**63, "completion_tokens": 1}, "prompt_tokens"),
        ({"amount": 1, "metadata": [1]}, "metadata"),
        ({"amount": 1, "mistyped": 1}, "mistyped"),
        ({"amount": 1, "description": "a\0b"}, "description"),
        ({"amount": 1, "description": "\ud800"}, "description"),
        ({"amount": 1, "user_id": "me"}, "user_id"),
        ({"amount": True}, "amount"),
        ({"amount": {}}, "amount"),
    ],
)
def test_deduct_says_which_field_is_wrong(client, db, user, body, field):
    answer = deduct(client, user, **body)
    assert answer.problem() == (400, "invalid_request")
    assert field in answer["errors"]
    assert len(entries_of(db, user)) == 1


def test_nulls_are_the_same_as_nothing(client, user):
    assert deduct(client, user, amount=1, description=None, model=None, metadata=None).status == 200


def test_insufficient_credits_is_402_with_what_is_available(client, db, user):
    answer = deduct(client, user, amount=6)
    assert answer.problem() == (402, "insufficient_credits")
    assert (answer["available"], answer["entry_no"], answer["replayed"]) == (5, 2, False)
    assert entries_of(db, user)[-1].amount == 0
    assert balance_of(db, user) == 5


@pytest.mark.parametrize("status", ["frozen", "closed"])
def test_no_deduction_from_an_account_that_is(client, admin, user, status):
    client.post(f"/api/admin/billing/user/{user}/status", {"status": status, "reason": "test"}, by=admin)
    assert deduct(client, user, amount=1).problem() == (403, f"account_{status}")
    assert client.get(f"{V2}/check", by=user)["can_run"] is False


def test_deduct_from_nobody(client):
    assert deduct(client, uuid4(), amount=1).problem() == (404, "account_not_found")


def test_r06_a_key_deducts_once(client, db, user):
    first = deduct(client, user, "k", amount=1)
    again = deduct(client, user, "k", amount=D("1.0"))
    assert (first.status, again.status) == (200, 200)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again["entry_no"] == first["entry_no"]
    assert again["replayed"] is True
    assert balance_of(db, user) == 4
    assert deduct(client, user, "k", amount=2).problem() == (409, "idempotency_key_reused")
    assert deduct(client, user, "k" * 201, amount=1).problem() == (400, "invalid_request")


def test_batch_answers_each_item_on_its_own(client, db, user):
    other = uuid4()
    items = [
        {"user_id": user, "amount": D("0.5"), "idempotency_key": "b1"},
        {"user_id": user, "amount": "100"},
        {"user_id": other, "amount": 1},
        {"user_id": "nobody", "amount": 1},
        {"user_id": user, "model": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 0},
        7,
    ]
    answer = client.post(f"{V2}/deduct/batch", {"items": items}, by="service")
    assert answer.status == 200
    assert [(r["success"], r["reason"]) for r in answer["results"]] == [
        (True, None),
        (False, "insufficient_credits"),
        (False, "account_not_found"),
        (False, "invalid_request"),
        (True, None),
        (False, "invalid_request"),
    ]
    assert balance_of(db, user) == 5 - D("0.5") - answer["results"][4]["amount"]
    again = client.post(f"{V2}/deduct/batch", {"items": items[:1]}, by="service")
    assert again["results"][0]["replayed"] is True


def test_a_batch_too_long_or_none_is_refused_as_a_whole(client, db, user):
    many = [{"user_id": user, "amount": D("0.001")}] * 1001
    assert client.post(f"{V2}/deduct/batch", {"items": many}, by="service").problem() == (400, "invalid_request")
    assert client.post(f"{V2}/deduct/batch", {"items": 7}, by="service").problem() == (400, "invalid_request")
    assert client.post(f"{V2}/deduct/batch", {}, by="service").problem() == (400, "invalid_request")
    headers = {"Idempotency-Key": "one for all"}
    answer = client.post(f"{V2}/deduct/batch", {"items": many[:2]}, by="service", headers=headers)
    assert answer.problem() == (400, "invalid_request")
    assert list(answer["errors"]) == ["Idempotency-Key"]
    assert balance_of(db, user) == 5


# Texts that are JSON and that PostgreSQL cannot store, with the character that is to blame.
UNSTORABLE = [("a\0b", "U+0000"), ("\ud800", "U+D800"), ("a\udfffb", "U+DFFF")]


def unstorable(character: str) -> list[str]:
    return [f"Contains {character}, which cannot be stored: leave out NUL and lone surrogates."]


@pytest.mark.parametrize(("text", "character"), UNSTORABLE)
def test_a_batch_with_a_text_that_cannot_be_stored_is_refused_by_index_and_member(client, db, user, text, character):
    good = {"user_id": user, "amount": 1}
    said = unstorable(character)
    for member, value in [
        *((member, text) for member in schemas.BatchItem().fields),
        ("metadata", {"a": text}),
        ("metadata", {text: 1}),
        ("metadata", {"a": [{"b": [1, {text: None}]}, "c"]}),
        ("metadata", [[text]]),
        ("description", {"a": text}),
        (text, 1),
    ]:
        answer = client.post(f"{V2}/deduct/batch", {"items": [good, good | {member: value}, good]}, by="service")
        assert answer.problem() == (400, "invalid_request"), (member, value)
        assert answer["errors"] == {"items": {"1": {member: said}}}
    for item in (text, [text], [{"a": text}]):
        answer = client.post(f"{V2}/deduct/batch", {"items": [good, item]}, by="service")
        assert answer.problem() == (400, "invalid_request")
        assert answer["errors"] == {"items": {"1": said}}
    items = [good | {"description": text, "metadata": {text: 1}}, good, good | {"reference_id": text}]
    answer = client.post(f"{V2}/deduct/batch", {"items": items}, by="service")
    assert answer["errors"] == {"items": {"0": {"description": said, "metadata": said}, "2": {"reference_id": said}}}
    assert len(entries_of(db, user)) == 1
    assert balance_of(db, user) == 5


@pytest.mark.parametrize(("text", "character"), UNSTORABLE)
def test_a_single_call_with_a_text_that_cannot_be_stored_says_which_field(client, db, user, text, character):
    held = client.post(f"{V2}/holds", {"user_id": user, "amount": 1}, by="service")
    capture = f"{V2}/holds/{held['hold_id']}/capture"
    texts = {name: text for name in ("description", "reference_type", "reference_id")}
    metadata = [{"metadata": value} for value in ({"a": text}, {text: 1}, {"a": [{"b": {text: []}}]})]
    for path, wrong in [
        *((f"{V2}/deduct", member) for member in [texts, *metadata]),
        (f"{V2}/holds", {"description": text}),
        *((capture, member) for member in [{"description": text}, *metadata]),
    ]:
        answer = client.post(path, {"user_id": user, "amount": 1} | wrong, by="service")
        assert answer.problem() == (400, "invalid_request"), (path, wrong)
        assert answer["errors"] == {name: unstorable(character) for name in wrong}
    assert len(entries_of(db, user)) == 1
    assert client.get(f"{V2}/balance", by=user)["held"] == 1


def test_an_idempotency_key_that_cannot_be_stored_is_named_as_the_header(client, db, user):
    answer = deduct(client, user, "a\0b", amount=1)
    assert answer.problem() == (400, "invalid_request")
    assert answer["errors"] == {"Idempotency-Key": unstorable("U+0000")}
    assert len(entries_of(db, user)) == 1


def test_what_only_looks_like_a_text_that_cannot_be_stored_is_stored(client, db, user):
    """A whole pair of surrogates is a character, and an escaped backslash begins no escape."""
    text = r'"\ud83d\ude00 \\u0000 \\ud800"'
    item = f'{{"user_id": "{user}", "amount": 1, "description": {text}, "metadata": {{{text}: {text}}}}}'
    for path, body in (("deduct", item), ("deduct/batch", f'{{"items": [{item}]}}')):
        assert client.post(f"{V2}/{path}", body, by="service").status == 200
        entry = entries_of(db, user)[-1]
        assert entry.description == "\U0001f600 \\u0000 \\ud800"
        assert entry.metadata.items() >= {entry.description: entry.description}.items()


def test_hold_and_capture(client, user):
    held = client.post(f"{V2}/holds", {"user_id": user, "amount": 2, "expires_in": 60}, by="service")
    assert (held.status, held["available"]) == (200, 3)
    assert client.get(f"{V2}/balance", by=user)["held"] == 2
    path = f"{V2}/holds/{held['hold_id']}/capture"
    body = {"user_id": user, "amount": D("1.5"), "metadata": {"run": 1}}
    taken = client.post(path, body, by="service", headers={"Idempotency-Key": "c"})
    assert (taken.status, taken["amount"], taken["available"]) == (200, D("1.5"), D("3.5"))
    again = client.post(path, body, by="service", headers={"Idempotency-Key": "c"})
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert client.post(path, body, by="service").problem() == (409, "hold_not_active")


def test_hold_and_release(client, user):
    hold = {"user_id": user, "amount": 2, "description": "a run"}
    held = client.post(f"{V2}/holds", hold, by="service", headers={"Idempotency-Key": "h"})
    again = client.post(f"{V2}/holds", hold, by="service", headers={"Idempotency-Key": "h"})
    assert (again["hold_id"], again.headers["Idempotency-Replayed"]) == (held["hold_id"], "true")
    path = f"{V2}/holds/{held['hold_id']}/release"
    for _ in range(2):
        answer = client.post(path, {"user_id": user}, by="service")
        assert (answer.status, answer["status"], answer["captured"]) == (200, "released", 0)


def test_holds_that_cannot_be(client, user):
    assert client.post(f"{V2}/holds", {"user_id": user, "amount": 6}, by="service").problem() == (
        402, "insufficient_credits",
    )  # fmt: skip
    for seconds in (0, -1, 10**12, 31 * 86400):
        body = {"user_id": user, "amount": 1, "expires_in": seconds}
        assert client.post(f"{V2}/holds", body, by="service").problem() == (422, "expires_in_out_of_range")
    body = {"user_id": user, "amount": 1}
    for action in ("capture", "release"):
        sent = body if action == "capture" else {"user_id": user}
        answer = client.post(f"{V2}/holds/{uuid4()}/{action}", sent, by="service")
        assert answer.problem() == (404, "hold_not_found")
    assert client.post(f"{V2}/holds/7/capture", body, by="service").problem() == (404, "not_found")


def test_ledger_is_paged_by_key(client, user):
    for n in range(1, 5):
        deduct(client, user, amount=D(n) / 100)
    first = client.get(f"{V2}/ledger?limit=2", by=user)
    assert [e["entry_no"] for e in first["entries"]] == [5, 4]
    assert first["next_before"] == 4
    second = client.get(f"{V2}/ledger?limit=2&before=4", by=user)
    assert [e["entry_no"] for e in second["entries"]] == [3, 2]
    last = client.get(f"{V2}/ledger?limit=2&before=2", by=user)
    assert ([e["entry_no"] for e in last["entries"]], last["next_before"]) == ([1], None)
    grants = client.get(f"{V2}/ledger?type=tier_grant", by=user)
    assert ([e["amount"] for e in grants["entries"]], grants["next_before"]) == ([5], None)
    assert client.get(f"{V2}/ledger?limit=5", by=user)["next_before"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "before=x", "before=9223372036854775808", "type=money", "limit=1.5"]
)
def test_ledger_says_which_parameter_is_wrong(client, user, query):
    answer = client.get(f"{V2}/ledger?{query}", by=user)
    assert answer.problem() == (400, "invalid_request")
    assert list(answer["errors"]) == [query.split("=")[0]]


def test_users_see_their_own_ledger_only(client, user):
    other = uuid4()
    client.get(f"{V2}/check", by=other)
    deduct(client, user, amount=1)
    assert [e["user_id"] for e in client.get(f"{V2}/ledger", by=other)["entries"]] == [str(other)]


def test_ledger_csv_cannot_run_in_a_spreadsheet(client, db, user):
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1", 'a "b", c', "first\nsecond", "plain", "naïve – 🙂"]  # noqa: RUF001
    for text in texts:
        assert deduct(client, user, amount=D("0.1"), description=text, reference_id=text).status == 200
    answer = client.get(f"{V2}/ledger.csv", by=user)
    assert (answer.status, answer.type) == (200, "text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    spent = list(reversed(rows))[1:]
    guarded = [f"'{text}" for text in texts[:7]] + texts[7:]
    assert [row["description"] for row in spent] == guarded
    assert [row["reference_id"] for row in spent] == guarded
    assert {row["amount"] for row in spent} == {"-0.1"}
    assert rows[0]["entry_hash"] == entries_of(db, user)[-1].entry_hash.hex()
    assert rows[0]["created_at"].endswith("Z")
    assert rows[-1]["type"] == "tier_grant"
    filtered = client.get(f"{V2}/ledger.csv?type=tier_grant", by=user)
    assert len(filtered.text.splitlines()) == 2
    empty = client.get(f"{V2}/ledger.csv?type=refund", by=user)
    assert (empty.status, len(empty.text.splitlines())) == (200, 1)


def test_r32_csv_of_10000_entries_streams_in_pages(client, app, db, user):
    item = {"user_id": str(user), "amount": D("0.0001")}
    for count in [1000] * 9 + [999]:
        db.execute("select count(*) from billing.deduct_credits_batch(%s)", [dumps([item] * count)])
    pages, peak = [], 0
    pool = app.extensions["database"]
    connection = pool.connection

    def counted(*args, **kwargs):
        pages.append(None)
        return connection(*args, **kwargs)

    pool.connection = counted
    try:
        with app.test_client() as http:
            response = http.get(f"{V2}/ledger.csv", headers={"Authorization": f"Bearer {token(sub=user)}"})
            chunks = iter(response.iter_encoded())
            header, newest = next(chunks), next(chunks)
            assert header.startswith(b"user_id,entry_no,")
            assert b",10000,usage," in newest
            assert len(pages) == 2, "the account, and one page: the first line was sent before the second was read"
            numbers = [10000]
            for chunk in chunks:
                peak = max(peak, len(chunk))
                numbers.append(int(chunk.split(b",")[1]))
    finally:
        pool.connection = connection
    assert numbers == list(range(10000, 0, -1))
    assert len(pages) == 22
    assert peak < 1000


def test_usage_by_bucket_and_model(client, user):
    deduct(client, user, amount=1)
    deduct(client, user, model="gpt-4o", prompt_tokens=1000, completion_tokens=10, cached_tokens=100)
    deduct(client, user, amount=100)
    buckets = client.get(f"{V2}/usage", by=user)["buckets"]
    assert [(b["model"], b["calls"], b["refused"]) for b in buckets] == [("gpt-4o", 1, 0), (None, 1, 1)]
    assert buckets[0]["prompt_tokens"] == 1000
    month = client.get(f"{V2}/usage?bucket=month&from=2020-01-01&to=2100-01-01T00:00:00%2B02:00", by=user)
    assert all(b["bucket"].endswith("-01T00:00:00Z") for b in month["buckets"])
    assert client.get(f"{V2}/usage?from=2020-01-01&to=2020-02-01", by=user)["buckets"] == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("bucket=year", (400, "invalid_request")),
        ("from=yesterday", (400, "invalid_request")),
        ("to=0001-01-01", (400, "invalid_request")),
        ("to=9999-12-31T23:59:59-14:00", (400, "invalid_request")),
        ("from=2020-01-02&to=2020-01-01", (400, "invalid_request")),
    ],
)
def test_usage_of_no_time(client, user, query, problem):
    assert client.get(f"{V2}/usage?{query}", by=user).problem() == problem


def test_grants_in_the_order_they_burn(client, db, user):
    db.execute("select billing.grant_credits(%s, 10, 'promotion', p_priority => 5)", [user])
    deduct(client, user, amount=10)
    assert [g["source"] for g in client.get(f"{V2}/grants", by=user)["grants"]] == ["tier_grant"]
    every = client.get(f"{V2}/grants?live_only=false", by=user)["grants"]
    assert {g["source"]: g["remaining"] for g in every} == {"promotion": 0, "tier_grant": 5}


def test_tiers(client, user):
    tiers = client.get(f"{V2}/tiers", by=user)["tiers"]
    assert [t["name"] for t in tiers][:2] == ["free", "tier_2_20"]
    assert tiers[1]["monthly_credits"] == 25
    assert tiers[0]["grant_expires_after"] == "P1M"
    assert [t["name"] for t in tiers if t["can_purchase_credits"]] == ["tier_200_1000"]


def test_responses_have_exactly_the_columns_of_their_types(db: psycopg.Connection):
    types = {
        "credit_check": schemas.CreditCheck, "account": schemas.Account, "ledger_entry": schemas.LedgerEntry,
        "usage_bucket": schemas.UsageBucket, "grant_lot": schemas.GrantLot, "tier": schemas.Tier,
        "deduction": schemas.Deduction, "token_deduction": schemas.TokenDeduction, "hold_result": schemas.HoldResult,
        "hold": schemas.Hold, "admin_result": schemas.AdminResult, "admin_action": schemas.AdminAction,
        "account_summary": schemas.AccountSummary, "package": schemas.Package, "purchase": schemas.Purchase,
        "checkout": schemas.Checkout, "subscription": schemas.Subscription, "auto_top_up": schemas.AutoTopUp,
        "refund_result": schemas.RefundResult, "refund": schemas.Refund, "payment": schemas.Payment,
        "stripe_event": schemas.StripeEvent, "approval": schemas.Approval, "action_preview": schemas.ActionPreview,
        "admin": schemas.Admin, "forecast": schemas.Forecast,
    }  # fmt: skip
    for name, schema in types.items():
        columns = db.execute(
            """select attname from pg_attribute
                where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum""",
            [f"billing.{name}"],
        ).fetchall()
        # The call that an event led to is told by apply_stripe_event alone.
        told = [column.attname for column in columns if (name, column.attname) != ("stripe_event", "call_id")]
        assert list(schema().fields) == told, name
    assert list(schemas.BatchResult().fields) == list(schemas.Deduction().fields)
