"""The description of the API is complete, valid, and shown without anything from outside."""

import json
import re

import pytest
from openapi_spec_validator import validate

from api.tests.conftest import Answer, document_of, documented_path

# What is for people, in a browser.
PAGES = ("/openapi.json", "/docs/", "/checkout/", "/admin", "/billing", "/assets/")


@pytest.fixture
def document(app) -> dict:
    return json.loads(json.dumps(app.spec))


def test_document_is_valid_openapi_3_1(client, document):
    assert document["openapi"].startswith("3.1")
    validate(document)
    assert client.get("/openapi.json").json == document_of(client.app)


def test_every_path_is_in_the_document_and_none_besides(app, document):
    served = {
        (documented_path(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.rule.startswith(PAGES)
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert described == served
    assert len(served) == 76


def test_every_operation_says_what_it_does_and_how_it_fails(document):
    names = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert re.fullmatch(r"[A-Z].{10,99}", operation["summary"]), where
            assert operation["tags"], where
            names.add(operation["operationId"])
            (content,) = operation["responses"]["200"]["content"].values()
            assert content["schema"], where
            assert {"500", "503"} <= operation["responses"].keys(), where
            if path.startswith("/api/"):
                assert operation["security"], where
                signed = operation["security"] == [{"stripe_signature": []}]
                assert {"401", "402", "403"}.isdisjoint(operation["responses"]) == signed, where
                assert signed or {"401", "403"} <= operation["responses"].keys(), where
            if operation["parameters"] or "requestBody" in operation:
                assert {"400", "422"} <= operation["responses"].keys(), where
            if method == "post":
                assert operation["requestBody"]["content"]["application/json"]["schema"], where
    assert len(names) == 76


def test_problems_are_described_as_problems(document):
    for response in document["components"]["responses"].values():
        assert list(response["content"]) == ["application/problem+json"]


def test_amounts_are_numbers(document):
    for name, schema in document["components"]["schemas"].items():
        for field in ("amount", "balance", "available", "required"):
            described = schema["properties"].get(field)
            if described is not None:
                assert described["type"] in ("number", ["number", "null"]), (name, field)


def test_who_may_do_what_is_described(document):
    assert document["paths"]["/api/billing/v2/deduct"]["post"]["security"] == [{"service_token": []}]
    assert document["paths"]["/api/billing/v2/balance"]["get"]["security"] == [{"user_token": []}]
    assert document["paths"]["/api/admin/billing/users"]["get"]["security"] == [{"admin_token": []}]
    assert document["paths"]["/api/admin/billing/credits/adjust"]["post"]["security"] == [{"admin_token": []}]
    assert document["paths"]["/api/billing/v2/webhook"]["post"]["security"] == [{"stripe_signature": []}]
    assert document["paths"]["/healthz"]["get"].get("security") is None


def test_an_event_is_described_with_what_it_needs(document):
    body = document["paths"]["/api/billing/v2/webhook"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["required"]) == {"id", "type", "created", "data"}
    assert body["properties"]["data"]["required"] == ["object"]


def test_idempotency_keys_are_described_where_they_count(document):
    keyed = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation["parameters"])
    }
    assert keyed == {
        "/api/billing/v2/deduct",
        "/api/billing/v2/holds",
        "/api/billing/v2/holds/{hold_id}/capture",
        "/api/billing/track",
        "/api/admin/billing/credits/adjust",
        "/api/admin/billing/credits/grant",
        "/api/admin/billing/credits/reverse",
        "/api/admin/billing/refund",
        "/api/admin/billing/approvals",
        "/api/admin/billing/user/{user_id}/status",
        "/api/admin/billing/user/{user_id}/tier",
        "/api/admin/billing/user/{user_id}/holds/{hold_id}/release",
        "/api/billing/v2/purchase-credits",
        "/api/billing/v2/create-checkout-session",
    }


def test_docs_need_nothing_from_outside(client):
    page = client.send("GET", "/docs", follow_redirects=True)
    assert (page.status, page.type) == (200, "text/html")
    assert "/openapi.json" in page.text
    assert '"validatorUrl": null' in page.text
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page.text)
    linked = re.findall(r"""(?:src|href)="(/docs/[^"]+)""", page.text)
    assert len(linked) >= 5
    for path in linked:
        assert client.get(path).status == 200, path


BAD_REQUESTS = ("invalid_request", "invalid_json", "url_not_allowed")
# What could go wrong in a field, whatever the field is. None of it may break anything.
NASTY = [
    None, True, 0, -1, 2**31, 2**63, 10**40, 0.1, "1e-99", "", " ", "\0", "\ud800", "x" * 5000, "NaN", "'; drop", "%s",
    "{}", [], [[]], {}, {"a": {"b": [1e9]}}, "2025-02-30", "0001-01-01", "00000000-0000-0000-0000-000000000000",
]  # fmt: skip


def example(name: str, user: object) -> object:
    known = {
        "user_id": str(user), "amount": 1, "reason": "test", "entry_no": 1, "status": "active", "tier": "free",
        "role": "user", "items": [{"user_id": str(user), "amount": 1}], "enabled": False,
        "model": "gpt-4o", "prompt_tokens": 1, "completion_tokens": 1, "price_cents": 100, "payment_intent_id": "pi_1",
        "action": "adjust_credits",
    }  # fmt: skip
    return known[name]


def unbroken(answer: Answer) -> bool:
    """Whether it is no failure of ours, and its code has the one status that the code always has."""
    code = answer["code"] if answer.status >= 400 else None
    return answer.status < 500 and (answer.status == 400) == (code in BAD_REQUESTS)


def test_no_value_in_any_field_breaks_anything(client, document, super_admin, user):
    """Every response is also held against the document, by the client."""
    sent = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by = "service" if operation.get("security") == [{"service_token": []}] else super_admin
            where = re.sub(r"{\w+}", str(user), path)
            for parameter in operation["parameters"]:
                for value in (str(value) for value in NASTY if parameter["in"] == "query"):
                    query = {parameter["name"]: value.encode("utf-8", "replace").decode()}
                    assert unbroken(client.send(method.upper(), where, by=by, query_string=query)), (where, query)
                    sent += 1
            if "requestBody" in operation and operation["security"] != [{"stripe_signature": []}]:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
                body = {name: example(name, user) for name in schema.get("required", [])}
                for name in schema["properties"]:
                    for value in NASTY:
                        text = json.dumps(body | {name: value})
                        assert unbroken(client.send(method.upper(), where, text, by=by)), (where, name, value)
                        sent += 1
    assert sent > 1000


def test_nothing_in_an_item_of_a_batch_breaks_the_batch(client, document, user):
    item = document["components"]["schemas"]["BatchItem"]["properties"]
    items = [{"user_id": str(user), "amount": 0.001} | {name: value} for name in item for value in NASTY]
    for part in (items[:200], items[200:]):
        text = json.dumps({"items": [i for i in part if "\0" not in i.values() and "\ud800" not in i.values()]})
        answer = client.post("/api/billing/v2/deduct/batch", text, by="service")
        assert answer.status == 200
    for value in ("\0", "\ud800"):
        text = json.dumps({"items": [{"user_id": str(user), "amount": 0.001, "description": value}]})
        assert client.post("/api/billing/v2/deduct/batch", text, by="service").problem() == (400, "invalid_request")
