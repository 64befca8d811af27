"""The API as it runs: under gunicorn, over HTTP, with the guide's own commands."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from api.tests.conftest import GUNICORN, SERVICE, balance_of, entries_of, environment, gunicorn, token


@pytest.fixture(scope="module")
def url(shared_database, tmp_path_factory) -> Iterator[str]:
    """The API under gunicorn with two workers, loaded before the fork, so that a shared socket would show."""
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    with gunicorn(environment(shared_database.url), log, "--preload") as running:
        yield running.url


def send(url: str, bearer: str, body: dict | None = None, **headers: str) -> tuple[int, dict]:
    request = urllib.request.Request(
        url,
        json.dumps(body).encode() if body is not None else None,
        {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"} | headers,
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def curl(command: str, url: str, **variables: str) -> dict:
    """Run a command of the guide in a shell, with the server in front of its path."""
    command = command.replace("/api/", f"{url}/api/", 1)
    done = subprocess.run(
        ["bash", "-c", command.replace("curl", "curl -sS", 1)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_guides_commands(url, db, admin, user):
    adjusted = curl(
        """curl -X POST /api/admin/billing/credits/adjust \\
  -H "Authorization: Bearer $ADMIN_TOKEN" \\
  -d '{
    "user_id": "uuid",
    "amount": 50.00,
    "reason": "Customer complaint resolution"
  }'""".replace('"uuid"', f'"{user}"'),
        url,
        ADMIN_TOKEN=token(sub=admin),
    )
    assert (adjusted["success"], adjusted["balance_after"]) == (True, 55)
    summary = curl(
        """curl /api/admin/billing/user/{user_id}/summary \\
  -H "Authorization: Bearer $ADMIN_TOKEN"
""".replace("{user_id}", str(user)),
        url,
        ADMIN_TOKEN=token(sub=admin),
    )
    assert summary["entries"][0]["description"] == "Customer complaint resolution"
    checked = curl('curl /api/billing/v2/check -H "Authorization: Bearer $USER_TOKEN"', url, USER_TOKEN=token(sub=user))
    assert checked["can_run"] is True
    spent = curl(
        f"""curl -X POST /api/billing/v2/deduct -H "Authorization: Bearer $SERVICE_TOKEN" \\
  -d '{{"user_id": "{user}", "amount": 1}}'""",
        url,
        SERVICE_TOKEN=token(**SERVICE),
    )
    assert spent["balance_after"] == 54


def test_one_key_over_http_from_many_at_once(url, db, user):
    def deduct(_: int) -> tuple[int, dict]:
        body = {"user_id": str(user), "amount": "0.5"}
        return send(f"{url}/api/billing/v2/deduct", token(**SERVICE), body, **{"Idempotency-Key": "one"})

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(deduct, range(16)))
    assert {status for status, _ in answers} == {200}
    assert sorted(body["replayed"] for _, body in answers) == [False] + [True] * 15
    assert (balance_of(db, user), len(entries_of(db, user))) == (4.5, 2)


def test_r18_many_at_once_spend_no_more_than_there_is(url, db, user):
    def deduct(_: int) -> int:
        return send(f"{url}/api/billing/v2/deduct", token(**SERVICE), {"user_id": str(user), "amount": 1})[0]

    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(deduct, range(20)))
    assert (statuses.count(200), statuses.count(402)) == (5, 15)
    assert balance_of(db, user) == 0


def test_first_checks_at_once_open_one_account(url, db):
    user = uuid4()
    bearer = token(sub=user)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: send(f"{url}/api/billing/v2/check", bearer), range(8)))
    assert {status for status, _ in answers} == {200}
    assert {body["balance"] for _, body in answers} == {5}
    assert len(entries_of(db, user)) == 1


def test_gunicorn_does_not_start_without_a_way_to_check_tokens(shared_database):
    done = subprocess.run(
        [*GUNICORN, "--bind", "127.0.0.1:0", "api:create_app()"],
        env=os.environ | environment(shared_database.url) | {"JWT_SECRET": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "The API cannot start." in done.stderr
    assert "JWT_SECRET" in done.stderr
