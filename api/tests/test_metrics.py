"""/metrics: what Prometheus reads, from all processes, for those nearby only."""

import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import HELP
from api.tests.conftest import SERVICE, Client, environment, gunicorn, make_app, payments_at, token
from api.tests.test_errors import break_function
from api.tests.test_legacy import waiting
from api.tests.test_server import send as send_to
from api.tests.test_webhook import event
from api.tests.test_webhook import send as send_event
from scripts.servers import free_port

V2 = "/api/billing/v2"
DEDUCT = f"{V2}/deduct"


class Scrape:
    """What was answered, by the name of the sample and its labels; parsed as Prometheus does it."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }
        assert len(self.samples) == sum(len(family.samples) for family in self.families.values()), "none twice"

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def labelled(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric by one of its labels."""
        return {dict(labels)[label]: value for (sample, labels), value in self.samples.items() if sample == name}


@pytest.fixture
def own(shared_database, simulator) -> Iterator[Client]:
    """An app that has counted nothing yet."""
    app = make_app(shared_database.url, **payments_at(simulator))
    yield Client(app)
    app.extensions["database"].close()


def scrape(client: Client) -> Scrape:
    answer = client.get("/metrics")
    assert (answer.status, answer.type) == (200, "text/plain"), answer.text
    return Scrape(answer.text)


def test_every_metric_says_what_it_is(own, user):
    own.post(DEDUCT, {"user_id": user, "amount": 1}, by="service")
    found = scrape(own)
    assert all(len(family.documentation) > 15 and family.type != "unknown" for family in found.families.values())
    assert all(name.startswith("billing_") for name in found.families)


def test_every_metric_of_the_database_is_told_and_explained(own, db, user):
    told = {row.name for row in db.execute("select distinct name from billing.list_metrics()")}
    assert told <= HELP.keys()
    found = scrape(own)
    assert told <= found.families.keys()
    assert {found.families[name].documentation for name in told} == {HELP[name] for name in told}
    assert found("billing_database_up") == 1
    assert found("billing_job_enabled", job_name="monthly_grants") == 1
    assert found("billing_ledger_credits_5m", type="tier_grant") > 0


def test_requests_are_counted_by_rule_and_status(own, user):
    hold = uuid4()
    assert own.get(f"{V2}/balance", by=user).status == 200
    assert own.get(f"{V2}/balance", by=user).status == 200
    assert own.get(f"{V2}/balance").status == 401
    assert own.post(f"{V2}/holds/{hold}/release", {"user_id": user}, by="service").status == 404
    found = scrape(own)
    assert found("billing_http_requests_total", method="GET", route=f"{V2}/balance", status="200") == 2
    assert found("billing_http_requests_total", method="GET", route=f"{V2}/balance", status="401") == 1
    rule = f"{V2}/holds/<uuid:hold_id>/release"
    assert found("billing_http_requests_total", method="POST", route=rule, status="404") == 1
    assert found("billing_http_request_seconds_count", method="GET", route=f"{V2}/balance") == 3
    assert found("billing_http_request_seconds_bucket", method="GET", route=f"{V2}/balance", le="+Inf") == 3
    assert 0 < found("billing_http_request_seconds_sum", method="GET", route=f"{V2}/balance") < 30


def test_what_anybody_makes_up_is_one_label(own):
    for number in range(20):
        own.get(f"/nothing/{number}")
        own.send(f"ODD{number}", "/nothing")
        own.send(f"ODD{number}", f"{V2}/balance")
        own.get(f"{V2}/holds/{uuid4()}/capture")
    counted = [dict(labels) for name, labels in scrape(own).samples if name == "billing_http_requests_total"]
    assert {labels["route"] for labels in counted} == {"unknown"}
    assert {labels["method"] for labels in counted} == {"GET", "other"}


def test_deductions_are_counted_by_outcome(own, db, user):
    def deduct(amount: object, who: UUID = user, **headers: str) -> int:
        return own.post(DEDUCT, {"user_id": who, "amount": amount}, by="service", headers=headers).status

    frozen = uuid4()
    db.execute("select billing.open_account(%s)", [frozen])
    db.execute("update billing.credit_accounts set status = 'frozen' where user_id = %s", [frozen])
    for _ in range(2):
        assert deduct("1.25", **{"Idempotency-Key": "one"}) == 200
    assert (deduct(99), deduct(1, frozen), deduct(1, uuid4()), deduct(-1)) == (402, 403, 404, 422)
    items = [{"user_id": str(user), "amount": "0.5"}, {"user_id": str(user), "amount": 0}]
    assert own.post(f"{V2}/deduct/batch", {"items": items}, by="service").status == 200
    hold = own.post(f"{V2}/holds", {"user_id": user, "amount": 1}, by="service")["hold_id"]
    captured = own.post(f"{V2}/holds/{hold}/capture", {"user_id": user, "amount": "0.25"}, by="service")
    assert captured.status == 200
    tokens = {"user_id": user, "model": "none", "prompt_tokens": 1, "completion_tokens": 1}
    assert own.post(DEDUCT, tokens, by="service").status == 404
    found = scrape(own)
    assert found.labelled("billing_deductions_total", "outcome") == {
        "succeeded": 3,
        "replayed": 1,
        "insufficient_credits": 1,
        "account_frozen": 1,
        "account_not_found": 1,
        "amount_not_positive": 2,
        "unknown_model": 1,
    }
    assert found("billing_credits_total", direction="out", type="usage") == 2


def test_what_fails_is_an_outcome_too(database, conn, user):
    app = make_app(database.url, STATEMENT_TIMEOUT="1", SLOW_STATEMENT="0.5")
    client = Client(app)
    for statement, status in (("raise exception 'broken'", 500), ("perform pg_sleep(60)", 503)):
        break_function(conn, "deduct_credits", statement)
        assert client.post(DEDUCT, {"user_id": user, "amount": 1}, by="service").status == status
    found = scrape(client)
    assert found.labelled("billing_deductions_total", "outcome") == {"internal_error": 1, "timeout": 1}
    assert found("billing_slow_statements_total", function="deduct_credits") == 1
    app.extensions["database"].close()


def test_credits_that_admins_move_are_counted_by_type(own, admin, user):
    def post(path: str, **body: object) -> dict:
        answer = own.post(f"/api/admin/billing/credits/{path}", {"user_id": user, "reason": "test"} | body, by=admin)
        assert answer.status == 200, answer.text
        return answer.json

    post("adjust", amount=7)
    taken = post("adjust", amount="-2.5")
    post("grant", amount=3)
    post("reverse", entry_no=taken["entry_no"])
    found = scrape(own)
    assert found("billing_credits_total", direction="in", type="adjustment") == 10
    assert found("billing_credits_total", direction="out", type="adjustment") == 2.5
    assert found("billing_credits_total", direction="in", type="reversal") == 2.5
    assert found.labelled("billing_deductions_total", "outcome") == {}


def test_what_the_old_system_records_is_no_deduction(own, db):
    user = waiting(db)
    body = {"user_id": user, "model": "gpt-4o", "prompt_tokens": 1, "completion_tokens": 1}
    answer = own.post("/api/billing/track", body, by="service")
    assert (answer.status, answer["migrated"]) == (200, False)
    assert scrape(own).labelled("billing_deductions_total", "outcome") == {}


def test_webhooks_are_counted_by_type_and_outcome(own, simulator):
    assert send_event(own, event("made.up.by.somebody")).status == 200
    assert send_event(own, event(), "whsec_of_nobody").status == 400
    known = event("charge.dispute.closed", {"id": "dp_1", "object": "dispute"})
    status = send_event(own, known)["status"]
    found = scrape(own)
    counted = {
        (dict(labels)["type"], dict(labels)["outcome"]): value
        for (name, labels), value in found.samples.items()
        if name == "billing_webhooks_total"
    }
    assert counted == {("other", "ignored"): 1, ("unknown", "invalid_signature"): 1, (known["type"], status): 1}


def test_the_pool_is_told_of(shared_database, user):
    app = make_app(shared_database.url, DATABASE_POOL_SIZE="1", DATABASE_TIMEOUT="2")
    client = Client(app)
    assert client.get(f"{V2}/balance", by=user).status == 200
    with app.extensions["database"].connection():
        assert client.get(f"{V2}/balance", by=user).status == 503
        found = scrape(client)
        assert found("billing_pool_connections", state="used") == 1
        assert found("billing_database_up") == 0
    assert client.get(f"{V2}/balance", by=user).status == 200
    found = scrape(client)
    assert (found("billing_pool_connections", state="idle"), found("billing_pool_waiting")) == (1, 0)
    assert found("billing_pool_errors_total") == 2
    assert found("billing_pool_waits_total") >= 2
    assert found("billing_pool_wait_seconds_total") > 0.1
    app.extensions["database"].close()


def test_without_the_database_the_rest_is_told():
    app = make_app(f"postgresql://postgres@127.0.0.1:{free_port()}/none", DATABASE_TIMEOUT="0.2")
    client = Client(app)
    assert client.get(f"{V2}/balance", by=uuid4()).status == 503
    found = scrape(client)
    assert found("billing_database_up") == 0
    assert found("billing_http_requests_total", method="GET", route=f"{V2}/balance", status="503") == 1
    assert found.families.keys().isdisjoint(HELP)
    app.extensions["database"].close()


def test_a_database_that_takes_too_long_is_not_waited_for(database, conn):
    """The limit is the scrape's: the connection has its own again, whatever became of it."""
    app = make_app(database.url, DATABASE_TIMEOUT="2", DATABASE_POOL_SIZE="1")

    def limit() -> str:
        with app.extensions["database"].connection() as connection:
            return connection.execute("select current_setting('statement_timeout') as lasts").fetchone()["lasts"]

    assert scrape(Client(app))("billing_database_up") == 1
    assert limit() == "10s"
    break_function(conn, "list_metrics", "perform pg_sleep(60)")
    started = time.monotonic()
    assert scrape(Client(app))("billing_database_up") == 0
    assert time.monotonic() - started < 50
    assert limit() == "10s"
    app.extensions["database"].close()


NEAR = ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")
FAR = ("10.0.0.1", "192.0.2.1", "::2", "::ffff:192.0.2.1", "", "unix", "127.0.0.1.evil")


@pytest.mark.parametrize(("address", "status"), [(each, 200) for each in NEAR] + [(each, 403) for each in FAR])
def test_metrics_are_for_this_machine(client, address, status):
    answer = client.get("/metrics", environ_overrides={"REMOTE_ADDR": address})
    assert answer.status == status
    if status == 403:
        assert answer.problem() == (403, "not_local")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "x-forwarded-for"])
def test_what_came_through_a_proxy_is_not_from_here(client, header):
    for value in ("127.0.0.1", "for=127.0.0.1", ""):
        assert client.get("/metrics", headers={header: value}).problem() == (403, "not_local")


def test_networks_that_may_read_metrics(shared_database):
    app = make_app(shared_database.url, METRICS_NETWORKS="10.0.0.0/8, fd00::/8")
    client = Client(app)
    for address, status in (("10.1.2.3", 200), ("fd00::7", 200), ("127.0.0.1", 403), ("11.0.0.1", 403)):
        assert client.get("/metrics", environ_overrides={"REMOTE_ADDR": address}).status == status
    proxied = {"X-Forwarded-For": "10.1.2.3"}
    assert client.get("/metrics", environ_overrides={"REMOTE_ADDR": "10.1.2.3"}, headers=proxied).status == 403
    app.extensions["database"].close()


def workers(master: int) -> set[int]:
    """The processes that gunicorn's master has started."""
    return {int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()}


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def counters(directory: Path) -> dict[int, float]:
    """How many deductions each process has counted."""
    counted = {}
    for file in directory.glob("counter_*.db"):
        if file.stat().st_size == 0:
            continue  # it has been made this moment
        merged = MultiProcessCollector.merge([str(file)])
        samples = [sample for metric in merged for sample in metric.samples if metric.name == "billing_deductions"]
        counted[int(file.stem.removeprefix("counter_"))] = sum(sample.value for sample in samples)
    return counted


def test_counters_are_those_of_all_workers_the_dead_ones_included(shared_database, user, tmp_path):
    directory = tmp_path / "metrics"
    directory.mkdir()
    (directory / "counter_1.db").write_bytes(b"left behind by another master")
    environ = environment(shared_database.url) | {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    sent = 0

    def deduct_until(enough) -> None:
        nonlocal sent
        deadline = time.monotonic() + 60
        body = {"user_id": str(user), "amount": "0.001"}
        with ThreadPoolExecutor(8) as threads:
            while not enough():
                assert time.monotonic() < deadline
                answers = threads.map(lambda _: send_to(running.url + DEDUCT, token(**SERVICE), body), range(16))
                assert {status for status, _ in answers} == {200}
                sent += 16

    def told() -> Scrape:
        with urllib.request.urlopen(f"{running.url}/metrics", timeout=60) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return Scrape(answer.read().decode())

    with gunicorn(environ, tmp_path / "log") as running:
        master = running.process.pid
        wait_for(lambda: len(workers(master)) == 2)
        first = workers(master)
        deduct_until(lambda: sum(counters(directory).get(worker, 0) > 0 for worker in first) == 2)
        for _ in range(5):  # whichever of them answers
            found = told()
            assert found("billing_deductions_total", outcome="succeeded") == sent
            assert found("billing_http_request_seconds_count", method="POST", route=DEDUCT) == sent
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        (directory / "counter_2.db").touch()  # as a process leaves it that is killed just after it has made it
        wait_for(lambda: len(workers(master) - {victim}) == 2)
        (successor,) = workers(master) - first
        assert told()("billing_deductions_total", outcome="succeeded") == sent
        deduct_until(lambda: counters(directory).get(successor, 0) > 0)
        found = told()
        assert found("billing_deductions_total", outcome="succeeded") == sent
        assert found("billing_pool_connections", state="idle") > 0
        assert list(directory.glob(f"gauge_*_{victim}.db")) == []
        assert found("billing_database_up") == 1
    assert directory.is_dir(), "it is not ours to remove"


def test_a_directory_of_our_own_is_gone_afterwards(shared_database, tmp_path):
    environ = environment(shared_database.url) | {"TMPDIR": str(tmp_path), "PROMETHEUS_MULTIPROC_DIR": ""}
    with gunicorn(environ, tmp_path / "log", "--workers", "1"):
        (made,) = tmp_path.glob("billing-metrics-*")
        assert list(made.glob("counter_*.db"))
    assert not made.exists()
