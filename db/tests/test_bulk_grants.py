"""Bulk grants run by several at once, beside other actions of the same admin, and across crashes."""

import json
import random
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from db.tests.sessions import (
    account,
    calls,
    entries,
    findings,
    in_background,
    new_account,
    new_admin,
    outcome,
    together,
    wait_until_blocked,
    wait_until_gone,
)

RUN = "select * from billing.run_bulk_grant(%s, %s, %s)"
BEGIN = "select * from billing.begin_bulk_grant(%s, %s, %s, 'a race')"
ADJUST = "select * from billing.adjust_credits(%s, %s, %s, 'a race')"


def file_of(users: Sequence[UUID], amount: str = "2") -> str:
    return json.dumps([{"user_id": str(user), "amount": amount} for user in users])


def new_bulk(conn: psycopg.Connection, admin: UUID, users: Sequence[UUID], amount: str = "2") -> UUID:
    return conn.execute(BEGIN, [admin, uuid4().hex, file_of(users, amount)]).fetchone().bulk_id


def run_to_the_end(session: psycopg.Connection, admin: UUID, bulk_id: UUID, limit: int) -> list[Any]:
    """The batches of one who presses until nothing is pending."""
    batches = []
    while not batches or batches[-1].pending:
        batches.append(session.execute(RUN, [admin, bulk_id, limit]).fetchone())
    return batches


def progress(conn: psycopg.Connection, bulk_id: UUID) -> Any:
    return conn.execute("select * from billing.get_bulk_grant(%s)", [bulk_id]).fetchone()


def test_a_bulk_grant_run_by_8_sessions(database, conn):
    """Every row once, whoever gets to it, and their answers add up."""
    admins = [new_admin(conn), new_admin(conn)]
    users = [new_account(conn) for _ in range(60)]
    random.Random(1).shuffle(users)
    bulk_id = new_bulk(conn, admins[0], users)
    results = together(
        database,
        [lambda session, admin=admins[n % 2]: run_to_the_end(session, admin, bulk_id, 7) for n in range(8)],
    )
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert sum(batch.granted for batches in results for batch in batches) == 60
    assert sum(batch.refused for batches in results for batch in batches) == 0
    assert [account(conn, user).balance for user in users] == [2] * 60
    assert progress(conn, bulk_id).granted == 60
    assert findings(conn) == []


def test_two_bulk_grants_beside_single_actions_of_the_same_admin(database, conn):
    """Accounts are locked in one order and before the admin's row, so that nobody waits in a circle."""
    admin = new_admin(conn)
    users = [new_account(conn, 100) for _ in range(20)]
    forwards = new_bulk(conn, admin, users)
    backwards = new_bulk(conn, admin, users[::-1])

    def adjust(seed: int) -> Any:
        dice = random.Random(seed)
        return lambda session: [
            session.execute(ADJUST, [admin, dice.choice(users), dice.choice([-1, 1])]).fetchone() for _ in range(25)
        ]

    *adjusted, one, other = together(
        database,
        [
            *[adjust(seed) for seed in range(4)],
            lambda session: run_to_the_end(session, admin, forwards, 5),
            lambda session: run_to_the_end(session, admin, backwards, 6),
        ],
    )
    everything = [*adjusted, one, other]
    assert [result for result in everything if isinstance(result, psycopg.Error)] == []
    assert sum(batch.granted for batch in [*one, *other]) == 40
    assert all(row.success for rows in adjusted for row in rows)
    moved = sum(row.amount for rows in adjusted for row in rows)
    assert sum(account(conn, user).balance for user in users) == 20 * 100 + 2 * 40 + moved
    kept = conn.execute("select day_total from billing.user_roles where user_id = %s", [admin]).fetchone()
    assert kept.day_total == 100 + 2 * 40
    assert findings(conn) == []


def test_a_run_waits_for_an_account_without_the_admins_row(database, conn):
    """While it waits, the admin can act on other accounts, and on the one that it waits for."""
    admin, held, other = new_admin(conn), new_account(conn), new_account(conn)
    bulk_id = new_bulk(conn, admin, [other, held])
    with database.connect(autocommit=False) as holder, database.connect("billing_api") as session:
        holder.execute("select from billing.credit_accounts where user_id = %s for update", [max(held, other)])
        for each in (conn, holder):
            each.execute("set lock_timeout = '5s'")
        with in_background(session, RUN, admin, bulk_id, 10) as waiting:
            wait_until_blocked(conn, session)
            assert conn.execute(ADJUST, [admin, new_account(conn), 5]).fetchone().success
            # Who has the account gets the admin's row too: the run has only accounts so far.
            assert holder.execute(ADJUST, [admin, max(held, other), 1]).fetchone().success
            holder.commit()
            assert outcome(waiting).granted == 2
    assert findings(conn) == []


def test_a_daily_limit_raced_by_a_run_and_single_actions(database, conn):
    """Together they never pass it; what does not fit is refused by name, and can be tried again."""
    admin, boss = new_admin(conn, "admin"), new_admin(conn)
    users = [new_account(conn) for _ in range(20)]
    others = [new_account(conn) for _ in range(10)]
    bulk_id = new_bulk(conn, admin, users, "300")
    jobs = [job for other in others for job in calls(ADJUST, admin, other, 300)]
    jobs += [lambda session: run_to_the_end(session, admin, bulk_id, 4)] * 2
    results = together(database, jobs)
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    kept = conn.execute("select day_total from billing.user_roles where user_id = %s", [admin]).fetchone()
    granted = sum(account(conn, user).balance for user in [*users, *others])
    assert granted == kept.day_total == 4800
    rows = conn.execute("select * from billing.list_bulk_rows(%s)", [bulk_id]).fetchall()
    assert {(row.outcome, row.refusal) for row in rows} <= {("granted", None), ("refused", "admin_limit_exceeded")}
    conn.execute("select billing.retry_bulk_grant(%s, %s, 'on')", [boss, bulk_id])
    run_to_the_end(conn, boss, bulk_id, 50)
    assert [account(conn, user).balance for user in users] == [300] * 20
    assert findings(conn) == []


def test_one_name_begun_by_8_sessions(database, conn):
    """One bulk grant, with each user once."""
    admin = new_admin(conn)
    users = [new_account(conn) for _ in range(12)]
    name = uuid4().hex
    files = [file_of(random.Random(seed).sample(users, 12)) for seed in range(8)]
    results = together(
        database, [lambda session, rows=rows: session.execute(BEGIN, [admin, name, rows]).fetchone() for rows in files]
    )
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    assert len({row.bulk_id for row in results}) == 1
    assert sum(row.added for row in results) == 12
    assert progress(conn, results[0].bulk_id).row_count == 12


def test_files_uploaded_while_it_runs(database, conn):
    """Uploading, retrying and stopping in the middle of runs: no deadlock, and nobody is granted twice."""
    admin = new_admin(conn)
    users = [new_account(conn) for _ in range(30)]
    name = uuid4().hex
    bulk_id = conn.execute(BEGIN, [admin, name, file_of(users)]).fetchone().bulk_id

    def upload(session: psycopg.Connection) -> None:
        for seed in range(6):
            session.execute(BEGIN, [admin, name, file_of(random.Random(seed).sample(users, 30), str(2 + seed % 2))])
            session.execute("select billing.retry_bulk_grant(%s, %s, 'r')", [admin, bulk_id])
            session.execute("select billing.stop_bulk_grant(%s, %s, 'r')", [admin, bulk_id])

    def run(session: psycopg.Connection) -> None:
        for _ in range(20):
            session.execute(RUN, [admin, bulk_id, 3])

    results = together(database, [run, upload, run, upload])
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    conn.execute(BEGIN, [admin, name, file_of(users)])
    run_to_the_end(conn, admin, bulk_id, 50)
    rows = conn.execute("select * from billing.list_bulk_rows(%s)", [bulk_id]).fetchall()
    assert {row.outcome for row in rows} == {"granted"}
    assert {row.user_id: row.amount for row in rows} == {user: account(conn, user).balance for user in users}
    assert all(len(entries(conn, user)) == 1 for user in users)
    assert findings(conn) == []


@pytest.mark.parametrize("when", ["between batches", "within a batch"])
def test_a_run_that_is_killed_goes_on(database, conn, when):
    """What was committed stays and is not granted again; what was not is granted by the next run."""
    admin = new_admin(conn)
    users = sorted(new_account(conn) for _ in range(9))
    bulk_id = new_bulk(conn, admin, users)
    with database.connect("billing_api") as session, database.connect(autocommit=False) as holder:
        pid = session.info.backend_pid
        assert session.execute(RUN, [admin, bulk_id, 3]).fetchone().granted == 3
        if when == "within a batch":
            holder.execute("select from billing.user_roles where user_id = %s for update", [admin])
            with in_background(session, RUN, admin, bulk_id, 3) as waiting:
                wait_until_blocked(conn, session)
                conn.execute("select pg_terminate_backend(%s)", [pid])
                with pytest.raises(psycopg.OperationalError):
                    outcome(waiting)
        else:
            conn.execute("select pg_terminate_backend(%s)", [pid])
        wait_until_gone(conn, pid)
    assert (progress(conn, bulk_id).granted, progress(conn, bulk_id).pending) == (3, 6)
    with database.connect("billing_api") as session:
        batches = run_to_the_end(session, admin, bulk_id, 4)
    assert [batch.granted for batch in batches] == [4, 2]
    assert [account(conn, user).balance for user in users] == [2] * 9
    assert progress(conn, bulk_id).granted_total == Decimal(18)
    assert findings(conn) == []


def test_ten_thousand_rows(database, conn):
    """The largest file is planned and stored well within a statement's time, and a batch of it is quick."""
    admin = new_admin(conn)
    new_account(conn)  # Brings the tier that grants nothing.
    conn.execute("select billing.open_account(md5(n::text)::uuid, 'empty') from generate_series(1, 10000) n")
    rows = conn.execute(
        "select jsonb_agg(jsonb_build_object('user_id', md5(n::text)::uuid, 'amount', '0.25')) as rows "
        "from generate_series(1, 10000) n"
    ).fetchone()
    file, name = json.dumps(rows.rows), uuid4().hex
    started = time.monotonic()
    planned = conn.execute("select * from billing.plan_bulk_grant(%s, %s, %s)", [admin, name, file]).fetchall()
    assert {row.verdict for row in planned} == {"grant"}
    assert planned[-1].running_total == 2500
    begun = conn.execute(BEGIN, [admin, name, file]).fetchone()
    assert (begun.added, begun.pending) == (10000, 10000)
    assert conn.execute(RUN, [admin, begun.bulk_id, 500]).fetchone().granted == 500
    assert time.monotonic() - started < 60
