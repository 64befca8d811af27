"""Events on their way to a real receiver, which checks their signatures, fails, is slow, and restarts."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from api import create_app
from api.settings import ConfigurationError, Settings
from api.tests.conftest import SECRET
from db.tests.sessions import new_account
from scripts import events, worker
from scripts.deliver import DAY, Receiver, retry_after
from scripts.pytest_billing import Clock, Database
from scripts.servers import ROOT, free_port

OLD, NEW = ("whsec_" + word for word in ("b2xkIHNlY3JldCBvZiB0aGUgdGVzdHMh", "bmV3IHNlY3JldCBvZiB0aGUgdGVzdHMh"))
PATIENCE = 30.0

Command = Callable[..., tuple[int, str, str]]


@dataclass
class Delivery:
    """A request as it arrived."""

    headers: dict[str, str]
    body: str

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body, parse_float=Decimal)

    @property
    def user(self) -> str:
        return self.event["data"]["user_id"]

    @property
    def number(self) -> int:
        return self.event["data"]["event_no"]

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Reply:
    """What the receiver says."""

    status: int = 204
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Hook:
    """A receiver on a port of its own. `reply` decides about each delivery; what it accepts is in `accepted`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.reply: Callable[[Delivery], Reply] = lambda _: Reply()
        self.tried: list[Delivery] = []
        self.accepted: list[Delivery] = []
        self.lock = threading.Lock()
        self.server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events?token=of-the-url"

    def start(self) -> None:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hook.receive(self)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def receive(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        delivery = Delivery({name.lower(): value for name, value in request.headers.items()}, body)
        with self.lock:
            self.tried.append(delivery)
        try:
            Webhook(NEW).verify(body, delivery.headers)
            reply = self.reply(delivery)
        except WebhookVerificationError as error:
            reply = Reply(401, str(error))
        if 200 <= reply.status < 300:
            with self.lock:
                self.accepted.append(delivery)
        try:
            request.send_response(reply.status)
            for name, value in reply.headers:
                request.send_header(name, value)
            if reply.status != 204:
                request.send_header("Content-Length", str(len(reply.body.encode())))
            request.end_headers()
            request.wfile.write(reply.body.encode())
        except ConnectionError:
            pass  # whoever asked is gone

    def numbers(self, user: UUID) -> list[int]:
        """The numbers of the events of a user that were accepted, as they came."""
        return [each.number for each in self.accepted if each.user == str(user)]


@pytest.fixture
def hook() -> Iterator[Hook]:
    running = Hook()
    running.start()
    yield running
    running.stop()


class World:
    """A database whose events are delivered, and workers on it."""

    def __init__(self, database: Database, conn: psycopg.Connection, clock: Clock, hook: Hook) -> None:
        self.database, self.conn, self.clock, self.hook = database, conn, clock, hook
        self.grants = count(1)
        self.environ = {
            "DATABASE_URL": database.url,
            "EVENT_WEBHOOK_URL": hook.url,
            "EVENT_WEBHOOK_SECRET": f"{OLD}, {NEW}",
        }
        # No other job is to run here.
        conn.execute("update billing.jobs set enabled = false")
        self.switch(True)

    def switch(self, on: bool) -> None:
        self.conn.execute("select billing.set_job('deliver_events', %s)", [on])

    def user(self, *, events: int = 0) -> UUID:
        """An account with so many events."""
        user = new_account(self.conn)
        for _ in range(events):
            self.happen(user)
        return user

    def happen(self, user: UUID, amount: Any = "1.000000001") -> None:
        """One event."""
        self.conn.execute("select billing.grant_credits(%s, %s, 'promotion')", [user, amount])

    def events(self, user: UUID) -> list[Any]:
        return self.conn.execute(
            "select * from billing.billing_events where user_id = %s order by event_no", [user]
        ).fetchall()

    def statuses(self, user: UUID) -> list[str]:
        return [event.status for event in self.events(user)]

    def runs(self) -> list[Any]:
        return self.conn.execute("select * from billing.list_job_runs('deliver_events')").fetchall()

    @contextmanager
    def service(self, **environ: str) -> Iterator[worker.Service]:
        """A worker in this process."""
        settings = self.environ | {"JWT_SECRET": SECRET} | environ
        app = create_app(settings)
        with app.app_context():
            service = worker.Service(app, Settings.read(settings), 100, worker.INTERVAL)
            yield service
            if service.deliveries is not None:
                service.deliveries.stop()
        app.extensions["database"].close()

    def deliver(self, **environ: str) -> bool:
        """What is due is delivered once; whether all of it was."""
        with self.service(**environ) as service:
            return service.once()

    def command(self, module: str, *options: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", f"scripts.{module}", *options],
            cwd=ROOT,
            env=os.environ | self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def world(
    database: Database, conn: psycopg.Connection, clock: Clock, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> World:
    world = World(database, conn, clock, hook)
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    return world


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`python -m scripts.events` in this process: the exit code, and what stands on stdout and stderr."""

    def run(*options: str, **environ: str) -> tuple[int, str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["events", *options])
        capsys.readouterr()
        return events.main(), *capsys.readouterr()

    return run


def wait_for(promise: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not promise():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# What arrives.


def test_a_delivery_is_signed_and_exact(world: World, hook: Hook) -> None:
    user = world.user()
    world.happen(user, "12345678.000000001")
    assert world.deliver()
    (delivery,) = hook.accepted
    (event,) = world.events(user)
    assert (event.status, event.attempts, event.error) == ("delivered", 0, None)
    assert delivery.id == str(event.event_id)
    assert delivery.headers["content-type"] == "application/json"
    assert abs(time.time() - int(delivery.headers["webhook-timestamp"])) < 60, "when it was sent"
    assert len(delivery.headers["webhook-signature"].split()) == 2
    for secret in (OLD, NEW):
        Webhook(secret).verify(delivery.body, delivery.headers)
    told = delivery.event
    assert told.keys() == {"type", "timestamp", "data"}
    assert told["type"] == "credits.granted"
    assert datetime.fromisoformat(told["timestamp"]) == event.created_at
    assert told["timestamp"].endswith("Z")
    assert told["data"]["user_id"] == str(user)
    assert (told["data"]["event_no"], told["data"]["amount"]) == (1, Decimal("12345678.000000001"))
    assert '"amount": 12345678.000000001' in delivery.body, "a number, and exact"


def test_a_receiver_with_another_secret_refuses(world: World, hook: Hook) -> None:
    user = world.user(events=1)
    assert not world.deliver(EVENT_WEBHOOK_SECRET=OLD)
    assert hook.accepted == []
    assert world.events(user)[0].error == "401 Unauthorized: No matching signature found"


# In order, at least once.


def test_the_order_of_a_user_outlives_failures_slowness_and_restarts(world: World, hook: Hook) -> None:
    """Whatever the receiver does, no event is even tried before the one before it was accepted."""
    users = [world.user(events=3) for _ in range(4)]
    moods = count()

    def moody(delivery: Delivery) -> Reply:
        mood = next(moods) % 4
        if mood == 1:
            return Reply(500, "no")
        if mood == 2:
            time.sleep(0.3)
        return Reply()

    for round_number in range(12):
        if round_number in (2, 5):
            hook.stop()
        elif hook.server is None:
            hook.start()
        hook.reply = moody
        world.deliver()
        for user in users[:2]:
            if round_number < 4:
                world.happen(user)
        world.clock.shift(hours=6 * round_number + 1)
    hook.reply = lambda _: Reply()
    for _ in range(3):
        world.clock.advance(hours=30)
        world.deliver()
    for user in users:
        assert hook.numbers(user) == list(range(1, len(world.events(user)) + 1))
        assert set(world.statuses(user)) == {"delivered"}
        tried = [each.number for each in hook.tried if each.user == str(user)]
        assert tried == sorted(tried)
    assert len(hook.tried) > len(hook.accepted), "the receiver did fail"


def test_a_user_whose_delivery_hangs_keeps_nobody_else_waiting(world: World, hook: Hook) -> None:
    slow, others = world.user(events=2), [world.user(events=3) for _ in range(4)]
    all_others = threading.Event()

    def reply(delivery: Delivery) -> Reply:
        if delivery.user == str(slow):
            assert all_others.wait(PATIENCE)
        elif len({each.id for each in hook.tried if each.user != str(slow)}) == 12:
            all_others.set()
        return Reply()

    hook.reply = reply
    assert world.deliver(), "a slow delivery, and nobody waited for it to time out"
    assert hook.numbers(slow) == [1, 2]
    assert all(hook.numbers(user) == [1, 2, 3] for user in others)


def test_a_worker_that_dies_while_it_sends_is_made_up_for(world: World, hook: Hook) -> None:
    user = world.user(events=2)
    dying: list[subprocess.Popen[str]] = []
    started = threading.Event()

    def kill(_: Delivery) -> Reply:
        started.wait(PATIENCE)
        dying[0].kill()
        dying[0].wait()
        return Reply()

    hook.reply = kill
    dying.append(world.command("worker", "--once"))
    started.set()
    wait_for(lambda: len(hook.accepted) == 1)
    assert dying[0].wait(PATIENCE) == -signal.SIGKILL
    hook.reply = lambda _: Reply()
    assert world.statuses(user) == ["pending", "pending"]
    world.deliver()
    assert len(hook.accepted) == 1, "it may still be at it"
    world.clock.shift(minutes=3)
    assert world.deliver()
    assert hook.numbers(user) == [1, 1, 2]
    assert hook.accepted[0].id == hook.accepted[1].id != hook.accepted[2].id
    assert hook.accepted[0].body == hook.accepted[1].body
    assert world.statuses(user) == ["delivered", "delivered"]


def test_two_workers_deliver_each_event_once(world: World, hook: Hook) -> None:
    users = [world.user(events=4) for _ in range(12)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: world.deliver(), range(2)))
    world.deliver()
    assert [hook.numbers(user) for user in users] == [[1, 2, 3, 4]] * 12
    assert len(hook.tried) == 48


def test_an_event_is_given_up_after_three_days_and_replayed_by_command(
    world: World, hook: Hook, command: Command
) -> None:
    user = world.user(events=2)
    hook.reply = lambda delivery: Reply(500 if delivery.number == 1 else 204, "out of order")
    start, last = world.clock.now(), 0
    for attempt in range(1, 12):
        world.deliver()
        first, second = world.events(user)
        assert first.attempts == attempt
        if first.status == "pending":
            assert (second.status, second.next_attempt_at) == ("pending", None)
            world.clock.freeze(first.next_attempt_at)
        last = attempt
    assert (first.status, first.next_attempt_at, last) == ("dead", None, 11)
    assert timedelta(days=3) < world.clock.now() - start < timedelta(days=4)
    assert hook.numbers(user) == [2], "the others go on"

    code, out, err = command("list")
    assert (code, err) == (0, "")
    assert [str(first.event_id) in line for line in out.splitlines()] == [False, True]
    assert "500 Internal Server Error: out of order" in out
    code, out, _ = command("replay", "--dry-run")
    assert (code, out) == (0, "Dry run: 1 events would be delivered again.\n")
    assert world.statuses(user) == ["dead", "delivered"]
    hook.reply = lambda _: Reply()
    assert command("replay") == (0, "1 events are to be delivered again.\n", "")
    assert world.deliver()
    assert hook.numbers(user) == [2, 1]
    assert world.statuses(user) == ["delivered", "delivered"]


def test_delivered_events_are_replayed_once_while_a_worker_delivers(world: World, hook: Hook, command: Command) -> None:
    users = [world.user(events=2) for _ in range(3)]
    assert world.deliver()
    running = world.command("worker", "--interval", "0.1")
    try:
        kinds = ["--kind", "credits.granted", "--since", "2020-01-01"]
        code, out, _ = command("replay", "--status", "delivered", *kinds)
        assert (code, out) == (0, "6 events are to be delivered again.\n")
        wait_for(lambda: len(hook.accepted) == 12)
    finally:
        running.terminate()
        assert running.wait(PATIENCE) == 0
    assert all(hook.numbers(user) == [1, 2, 1, 2] for user in users)


# What the receiver says.


def test_a_receiver_may_ask_for_time(world: World, hook: Hook) -> None:
    """When it is overloaded, and never for less than the pause that comes anyway."""
    day, pause = timedelta(days=1), timedelta(seconds=5)
    asked = [
        (503, "7200", timedelta(hours=2)),
        (429, "7200", timedelta(hours=2)),
        (503, "1", pause),
        (503, "9999999", day),
        (503, "soon", pause),
        (500, "7200", pause),
    ]
    users = {str(world.user(events=1)): case for case in asked}

    def reply(delivery: Delivery) -> Reply:
        status, text, _ = users[delivery.user]
        return Reply(status, headers=(("Retry-After", text),))

    hook.reply = reply
    now = world.clock.freeze(world.clock.now())
    assert not world.deliver()
    for user, (_, _, expected) in users.items():
        (event,) = world.events(UUID(user))
        assert event.next_attempt_at - now == expected


def test_how_long_a_receiver_asks_for() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    asked = retry_after(503, {"Retry-After": later})
    assert asked is not None
    assert timedelta(minutes=59) < asked <= timedelta(hours=1)
    assert retry_after(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == timedelta()
    assert retry_after(429, {"Retry-After": "999999999"}) == DAY
    for nothing in ("", "soon", "-1", "1.5", "٣", "9" * 400, "Wed, 99 Oct 2015 07:28:00 GMT"):
        assert retry_after(503, {"Retry-After": nothing}) is None
    assert retry_after(500, {"Retry-After": "60"}) is None


def test_redirects_are_not_followed(world: World, hook: Hook) -> None:
    statuses = {str(world.user(events=1)): status for status in (301, 302, 307, 308)}
    hook.reply = lambda delivery: Reply(statuses[delivery.user], headers=(("Location", f"{hook.url}/elsewhere"),))
    assert not world.deliver()
    assert len(hook.tried) == 4
    for user, status in statuses.items():
        assert world.events(UUID(user))[0].error.startswith(f"{status} ")


def test_an_error_is_short_and_tells_no_secret(world: World, hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    user = world.user(events=1)
    leak = f"I want {NEW} or {OLD.removeprefix('whsec_')}.\x00\n\x1b[31m" + "lorem " * 100
    hook.reply = lambda _: Reply(418, leak)
    assert not world.deliver()
    told = world.events(user)[0].error
    assert told.startswith("418 I'm a Teapot: I want *** or ***. [31mlorem lorem"), told
    assert len(told) <= len("418 I'm a Teapot: ") + 200
    assert told in caplog.text


def test_a_receiver_that_is_gone_is_named_without_its_url(world: World, hook: Hook) -> None:
    user = world.user(events=1)
    hook.stop()
    assert not world.deliver()
    assert world.events(user)[0].error == "No answer: Connection refused"


def test_why_there_is_no_answer(hook: Hook) -> None:
    hook.reply = lambda _: time.sleep(1) or Reply()
    assert Receiver(hook.url, (NEW,), (5, 0.2)).send("1", "{}").error == "No answer: nothing came for 0.2 seconds"
    nobody = Receiver("http://name.invalid/?token=of-the-url", (NEW,)).send("1", "{}").error
    assert nobody is not None
    assert nobody.startswith("No answer: ")
    assert "token" not in nobody
    plain = Receiver(hook.url.replace("http:", "https:"), (NEW,)).send("1", "{}").error
    assert plain is not None
    assert plain.startswith("No answer: ")


# The worker.


def test_events_are_kept_while_delivery_is_off(
    world: World, hook: Hook, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    world.switch(False)
    user = world.user(events=1)
    with world.service() as service:
        for _ in range(3):
            assert service.do_deliveries() is False
    assert [record.getMessage() for record in caplog.records if record.name == "worker"] == [worker.OFF]
    assert "select billing.set_job('deliver_events', true)" in worker.OFF
    assert (world.statuses(user), hook.tried, world.runs()) == (["kept"], [], [])
    world.switch(True)
    assert command("replay", "--status", "kept", "--user", str(user))[0] == 0
    assert world.deliver()
    assert hook.numbers(user) == [1]


def test_events_without_a_receiver_are_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    user = world.user(events=1)
    with world.service(EVENT_WEBHOOK_URL="") as service:
        for _ in range(3):
            assert service.do_deliveries() is False
        assert service.once() is False
    assert [record.getMessage() for record in caplog.records if record.name == "worker"] == [worker.NO_URL]
    assert world.statuses(user) == ["pending"]
    assert {(run.outcome, run.error) for run in world.runs()} == {("failed", worker.NO_URL)}
    assert world.conn.execute("select problem from billing.alert_jobs where job = 'deliver_events'").fetchone()


def test_a_run_tells_how_many_were_delivered(world: World, hook: Hook) -> None:
    world.user(events=3)
    hook.reply = lambda delivery: Reply(500 if delivery.number == 3 else 200)
    assert not world.deliver()
    assert [(run.outcome, run.rows, run.failures, run.error) for run in world.runs()] == [("succeeded", 2, 0, None)]


def test_it_is_woken_by_events_whatever_becomes_of_the_connection(world: World, hook: Hook) -> None:
    user = world.user(events=1)
    running = world.command("worker", "--interval", "3600")
    try:
        wait_for(lambda: hook.numbers(user) == [1])
        listening = "from pg_stat_activity where application_name = 'billing worker' and datname = current_database()"
        wait_for(lambda: world.conn.execute(f"select {listening} and query like 'listen%'").rowcount)
        world.happen(user)
        world.happen(user)
        wait_for(lambda: hook.numbers(user) == [1, 2, 3])
        world.conn.execute(f"select pg_terminate_backend(pid) {listening}")
        world.happen(user)
        wait_for(lambda: hook.numbers(user) == [1, 2, 3, 4])
    finally:
        running.terminate()
    assert running.wait(PATIENCE) == 0


def test_a_long_job_keeps_no_event_waiting_and_outlives_the_worker(world: World, hook: Hook) -> None:
    world.conn.execute(
        """create or replace function billing.clean_up(p_at timestamptz default null, p_limit integer default 500,
               p_after jsonb default null)
           returns billing.job_step language plpgsql as
           $$ begin
               while not exists (select from public.gate) loop
                   perform pg_sleep(0.02);
               end loop;
               return (1, 0, null, null)::billing.job_step;
           end $$"""
    )
    world.conn.execute("select billing.set_job('clean_up', true)")
    world.conn.execute("create table public.gate (); grant select on public.gate to billing_api")
    query = "select outcome from billing.list_job_runs('clean_up')"
    running = world.command("worker", "--interval", "0.2")
    try:
        wait_for(lambda: world.conn.execute(query).fetchone() == ("running",))
        user = world.user(events=2)
        wait_for(lambda: hook.numbers(user) == [1, 2])
    finally:
        running.terminate()
    _, told = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0
    assert "Job clean_up goes on in the database." in told
    assert world.conn.execute(query).fetchone() == ("running",)
    world.conn.execute("insert into public.gate default values")
    wait_for(lambda: world.conn.execute(query).fetchone() == ("succeeded",))


# The settings.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EVENT_WEBHOOK_URL": "ftp://app.example.com/"}, "EVENT_WEBHOOK_URL must be a URL"),
        ({"EVENT_WEBHOOK_URL": "https:///events"}, "EVENT_WEBHOOK_URL must be a URL"),
        ({"EVENT_WEBHOOK_URL": "http://[half"}, "EVENT_WEBHOOK_URL must be a URL"),
        ({"EVENT_WEBHOOK_SECRET": ""}, "EVENT_WEBHOOK_SECRET must be set with EVENT_WEBHOOK_URL"),
        ({"EVENT_WEBHOOK_SECRET": "whsec_c2hvcnQ="}, "24 to 64 bytes"),
        ({"EVENT_WEBHOOK_SECRET": NEW.removeprefix("whsec_")}, "must be whsec_"),
        ({"EVENT_WEBHOOK_SECRET": f"{NEW}, whsec_not/base64!" + "x" * 40}, "in base64"),
        ({"EVENT_WEBHOOK_SECRET": "whsec_" + "QUFB" * 30}, "24 to 64 bytes"),
    ],
)
def test_a_mistake_in_the_settings_is_named_and_tells_no_secret(changes: dict[str, str], message: str) -> None:
    good = {
        "DATABASE_URL": "postgresql://127.0.0.1/x",
        "JWT_SECRET": SECRET,
        "EVENT_WEBHOOK_URL": "https://app.example.com/events",
        "EVENT_WEBHOOK_SECRET": f"{OLD},{NEW}",
    }
    assert Settings.read(good).event_secrets == (OLD, NEW)
    with pytest.raises(ConfigurationError, match=message) as refused:
        Settings.read(good | changes)
    for secret in filter(None, changes.get("EVENT_WEBHOOK_SECRET", "").split(",")):
        assert secret not in str(refused.value)
    assert OLD not in repr(Settings.read(good))


# The command.


def test_a_test_event_tells_whether_the_receiver_accepts(hook: Hook, command: Command) -> None:
    here = {"EVENT_WEBHOOK_URL": hook.url, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    assert command("test", **here, EVENT_WEBHOOK_SECRET=NEW) == (0, "The receiver has accepted it.\n", "")
    assert (hook.accepted[0].event["type"], hook.accepted[0].id) == ("test", hook.tried[0].id)
    code, out, err = command("test", EVENT_WEBHOOK_SECRET=OLD)
    assert (code, out, err) == (1, "", "401 Unauthorized: No matching signature found\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EVENT_WEBHOOK_URL": ""}, "EVENT_WEBHOOK_URL must be set"),
        ({"EVENT_WEBHOOK_URL": "app.example.com"}, "EVENT_WEBHOOK_URL must be a URL"),
        ({"EVENT_WEBHOOK_SECRET": ""}, "EVENT_WEBHOOK_SECRET must be set with EVENT_WEBHOOK_URL"),
    ],
)
def test_a_test_event_needs_a_receiver(hook: Hook, command: Command, changes: dict[str, str], message: str) -> None:
    here = {"EVENT_WEBHOOK_URL": hook.url, "EVENT_WEBHOOK_SECRET": NEW}
    code, _, err = command("test", **here | changes)
    assert (code, err.startswith(message), hook.tried) == (2, True, [])


def test_the_events_of_a_user_are_shown(world: World, command: Command) -> None:
    user, _ = world.user(events=2), world.user(events=1)
    code, out, _ = command("list", "--user", str(user))
    assert code == 0
    header, *rows = out.splitlines()
    assert header.split()[:3] == ["created_at", "user_id", "event_no"]
    assert [row.split()[3] for row in rows] == ["2", "1"], "newest first; a time has two words"
    assert command("list")[1].splitlines() == ["  ".join(header.split())]


@pytest.mark.parametrize(
    "options", [[], ["list", "--status", "lost"], ["replay", "--user", "me"], ["list", "--limit", "0"]]
)
def test_wrong_usage_of_the_command(command: Command, options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(*options)
    assert ended.value.code == 2
