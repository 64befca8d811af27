"""Checkpoints: no false alarm beside sessions that spend, and none of the ways to rewrite the ledger goes unseen."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from db.tests.sessions import account, findings, new_account, new_admin, run_job, together
from db.tests.test_races import Player
from scripts.pytest_billing import Clock, Database

DEDUCT = "select * from billing.deduct_credits(%s, %s)"
# Who can do this can do anything: the triggers that keep the tables as they are go first, and come back in the end.
REWRITE = """
do $$
declare
    v_user uuid := '{user}';
    v_hash bytea := '';
    e billing.credit_ledger;
begin
    alter table billing.credit_ledger disable trigger all;
    alter table billing.credit_grants disable trigger all;
    {change};
    for e in select * from billing.credit_ledger where user_id = v_user order by entry_no loop
        v_hash := billing_private.entry_hash(
            v_hash, e.user_id, e.entry_no, e.created_at, e.type, e.amount, e.balance_after, e.used_after, e.operation,
            e.idempotency_key, e.reference_type, e.reference_id, e.description, e.metadata, e.actor, e.grant_no,
            e.reversed_entry_no
        );
        update billing.credit_ledger set entry_hash = v_hash where user_id = v_user and entry_no = e.entry_no;
    end loop;
    update billing.credit_accounts set chain_head = v_hash where user_id = v_user;
    alter table billing.credit_ledger enable trigger all;
    alter table billing.credit_grants enable trigger all;
    alter table billing.credit_ledger enable always trigger credit_ledger_append_only;
end
$$
"""


def verify(conn: psycopg.Connection, batch_size: int = 500) -> Any:
    """A run of the job; the checkpoint that it wrote."""
    conn.execute("select billing.set_job('checkpoint_ledger', p_batch_size => %s)", [batch_size])
    run_job(conn, "checkpoint_ledger")
    return checkpoints(conn)[-1]


def clean_up(conn: psycopg.Connection) -> None:
    run_job(conn, "clean_up")


def checkpoints(conn: psycopg.Connection) -> list[Any]:
    return conn.execute("select * from billing.ledger_checkpoints order by checkpoint_id").fetchall()


def found(conn: psycopg.Connection) -> list[tuple[str, UUID | None]]:
    """What the alert shows: problems, and of whom."""
    return [
        (row.problem, row.user_id)
        for row in conn.execute("select problem, user_id from billing.alert_ledger order by problem, user_id")
    ]


def spend(conn: psycopg.Connection, users: Sequence[UUID], amount: Any = 1) -> None:
    for user in users:
        assert conn.execute(DEDUCT, [user, amount]).fetchone().success


def rewrite(conn: psycopg.Connection, user: UUID, change: str) -> None:
    """Change the ledger of a user, and make everything in it agree with that."""
    conn.execute(REWRITE.format(user=user, change=change))


@pytest.fixture
def users(conn: psycopg.Connection) -> list[UUID]:
    """Eight accounts with some history, which a checkpoint knows."""
    users = [new_account(conn, 100, UUID(int=number)) for number in range(10, 90, 10)]
    for _ in range(3):
        spend(conn, users)
    assert verify(conn).findings == 0
    return users


def test_verification_beside_everything_else(database: Database, conn: psycopg.Connection) -> None:
    """Accounts are spent from, granted to, held, expired and reversed while they are verified: nothing is found."""
    users = [new_account(conn, 20) for _ in range(5)]
    admins = [new_admin(conn) for _ in range(2)]

    def verify_again(session: psycopg.Connection) -> list[Any]:
        return [verify(session, size) for size in (1, 2, 500, 1, 3, 2)]

    *moved, written = together(
        database, [*[Player(seed, users, admins) for seed in range(5)], verify_again], role="postgres"
    )
    assert [result for result in [*moved, written] if isinstance(result, psycopg.Error)] == []
    assert [checkpoint.findings for checkpoint in written] == [0] * 6
    assert verify(conn, 2).findings == 0
    assert conn.execute("select from billing.ledger_findings").rowcount == 0
    assert findings(conn) == []


def test_what_is_not_committed_yet_is_not_there(
    database: Database, conn: psycopg.Connection, users: list[UUID]
) -> None:
    """A deduction that is under way is in the one checkpoint or in the next, with all that belongs to it."""
    with database.connect("billing_api", autocommit=False) as other:
        spend(other, users[:4], 7)
        before = verify(conn, 3)
        other.commit()
    after = verify(conn, 3)
    assert (before.findings, after.findings) == (0, 0)
    assert (after.entries - before.entries, after.balance - before.balance) == (4, -28)
    assert before.heads_root != after.heads_root


def test_the_root_does_not_depend_on_the_batches(conn: psycopg.Connection, users: list[UUID]) -> None:
    """The same accounts hash to the same root, by themselves or together, and by count and sum as they are."""
    spend(conn, users[::3], Decimal("0.123456789"))
    written = [verify(conn, size) for size in (1, 3, 8, 500)]
    assert len({(each.heads_root, each.accounts, each.entries, each.balance) for each in written}) == 1
    assert (written[0].accounts, written[0].entries) == (8, 8 * 4 + 3)
    assert written[0].balance == 8 * 97 - 3 * Decimal("0.123456789")
    spend(conn, users[:1])
    assert verify(conn, 1).heads_root != written[0].heads_root


def test_a_ledger_without_accounts(conn: psycopg.Connection) -> None:
    """There is nothing to verify, and nothing is wrong with that; the first account is no finding either."""
    assert (verify(conn).accounts, verify(conn).findings) == (0, 0)
    new_account(conn, 1)
    assert [verify(conn).findings for _ in range(2)] == [0, 0]


CHANGES = {
    "a description": "update billing.credit_ledger set description = 'nothing' where user_id = v_user and entry_no = 2",
    "the newest entry": "update billing.credit_ledger set actor = v_user where user_id = v_user and entry_no = 4",
    "an amount": """
        update billing.credit_ledger
        set amount = amount + case entry_no when 1 then 50 else 0 end, balance_after = balance_after + 50
        where user_id = v_user;
        update billing.credit_grants set amount = amount + 50, remaining = remaining + 50 where user_id = v_user;
        update billing.credit_accounts set balance = balance + 50 where user_id = v_user""",
    "a time": """
        update billing.credit_ledger set created_at = created_at - interval '1 day'
        where user_id = v_user and entry_no = 1""",
    "a deduction that is gone": """
        delete from billing.credit_ledger where user_id = v_user and entry_no = 4;
        update billing.credit_accounts set balance = balance + 1, used_total = used_total - 1, entry_count = 3
        where user_id = v_user""",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_ledger_that_was_rewritten(conn: psycopg.Connection, users: list[UUID], change: str) -> None:
    """By somebody who can do anything in the tables: all agrees with itself, but not with the checkpoint.

    It stays found, whatever is spent and cleaned up after it, and no other account is.
    """
    victim = users[4]
    rewrite(conn, victim, change)
    assert findings(conn) == [], "the ledger was not rewritten well enough"
    for batch_size in (3, 500):
        assert verify(conn, batch_size).findings == 1
        assert found(conn) == [("entry_differs_from_checkpoint", victim)]
        spend(conn, users)
        clean_up(conn)
    assert conn.execute("select problem from billing.alert_jobs").fetchall() == []
    (alert,) = conn.execute("select * from billing.list_alerts() where rows > 0").fetchall()
    assert alert.alert == "ledger"


def test_what_is_put_right_is_no_finding(conn: psycopg.Connection, users: list[UUID]) -> None:
    """A row that is as it was again verifies again."""
    set_description = "update billing.credit_ledger set description = {} where user_id = v_user and entry_no = 2"
    rewrite(conn, users[0], set_description.format("'nothing'"))
    assert verify(conn).findings == 1
    rewrite(conn, users[0], set_description.format("null"))
    assert verify(conn).findings == 0
    assert found(conn) == []


def test_an_account_that_is_gone(conn: psycopg.Connection, users: list[UUID]) -> None:
    """With all its rows: the checkpoint knows that it was there."""
    tables = ["credit_ledger", "credit_grants", "credit_burns", "credit_holds", "credit_accounts"]
    for table in tables:
        conn.execute(f"alter table billing.{table} disable trigger all")
        conn.execute(f"delete from billing.{table} where user_id = %s", [users[2]])
    assert findings(conn) == []
    assert verify(conn).findings == 1
    assert found(conn) == [("account_missing", users[2])]


@pytest.mark.parametrize(
    "change",
    [
        "update billing.ledger_heads set entry_hash = %(head)s where user_id = %(user)s",
        "delete from billing.ledger_heads where user_id = %(user)s",
    ],
    ids=["rewritten", "gone"],
)
def test_a_rewritten_ledger_whose_noted_head_went_with_it(
    conn: psycopg.Connection, users: list[UUID], change: str
) -> None:
    """The heads of a checkpoint hash to what it says; that they do not is told until somebody has looked into it."""
    rewrite(conn, users[4], CHANGES["a description"])
    head = conn.execute("select chain_head from billing.credit_accounts where user_id = %s", [users[4]]).fetchone()
    conn.execute(change, {"user": users[4], "head": head.chain_head})
    assert verify(conn, 3).findings == 1
    assert found(conn) == [("heads_changed", None)]
    clean_up(conn)
    verify(conn)
    assert found(conn) == [("heads_changed", None)]


@pytest.mark.parametrize(
    "change",
    [
        "update billing.ledger_checkpoints set balance = balance + 1 where checkpoint_id = %s",
        "update billing.ledger_checkpoints set heads_root = sha256('') where checkpoint_id = %s",
        "delete from billing.ledger_checkpoints where checkpoint_id = %s",
    ],
    ids=["a sum", "the root", "gone"],
)
def test_a_checkpoint_that_was_rewritten(conn: psycopg.Connection, users: list[UUID], change: str) -> None:
    """Each is chained to the one before it."""
    verify(conn)
    verify(conn)
    first, second, _ = checkpoints(conn)
    with pytest.raises(psycopg.Error, match="append_only"):
        conn.execute(change, [second.checkpoint_id])
    conn.execute("alter table billing.ledger_checkpoints disable trigger all")
    conn.execute(change, [second.checkpoint_id])
    verify(conn)
    assert {problem for problem, _ in found(conn)} == {"checkpoint_changed"}
    assert first in checkpoints(conn)


@pytest.mark.parametrize("cleaned", [False, True], ids=["", "cleaned"])
def test_a_verification_that_breaks_off(conn: psycopg.Connection, users: list[UUID], cleaned: bool) -> None:
    """What it noted of the first accounts counts for nothing: the next one has no false alarm, and misses nothing."""
    for _ in range(2):
        spend(conn, users)
        conn.execute(
            f"alter table billing.ledger_heads add constraint broken check (user_id <> '{users[5]}') not valid"
        )
        with pytest.raises(psycopg.Error, match="job_failed"):
            verify(conn, 2)
        conn.execute("alter table billing.ledger_heads drop constraint broken")
        assert len(checkpoints(conn)) == 1
        assert conn.execute("select distinct checkpoint_id from billing.ledger_heads").rowcount == 2
        if cleaned:
            clean_up(conn)
        spend(conn, users[:2])
    assert verify(conn, 3).findings == 0
    if cleaned:
        clean_up(conn)
    # One row per account, unless what came before is still there; all of them of checkpoints that count.
    heads = conn.execute("select checkpoint_id from billing.ledger_heads").fetchall()
    assert len(heads) == (8 if cleaned else 16)
    assert {head.checkpoint_id for head in heads} <= {each.checkpoint_id for each in checkpoints(conn)}
    assert found(conn) == []
    rewrite(conn, users[0], CHANGES["a description"])
    assert verify(conn, 3).findings == 1
    assert found(conn) == [("entry_differs_from_checkpoint", users[0])]


def test_what_a_cut_off_verification_found_is_found_once(conn: psycopg.Connection, users: list[UUID]) -> None:
    """It is there at once, and the next verification that reaches the end has it once."""
    rewrite(conn, users[0], CHANGES["a description"])
    step = conn.execute("select * from billing.checkpoint_ledger(p_limit => 2)").fetchone()
    assert step.next is not None
    assert found(conn) == [("entry_differs_from_checkpoint", users[0])]
    assert verify(conn, 3).findings == 1
    assert found(conn) == [("entry_differs_from_checkpoint", users[0])]


def test_accounts_that_are_opened_meanwhile(conn: psycopg.Connection, users: list[UUID], clock: Clock) -> None:
    """Before and behind where the verification is: it has them or the next one has, and both find nothing."""
    step = conn.execute("select * from billing.checkpoint_ledger(p_limit => 4)").fetchone()
    behind, ahead = UUID(int=5), UUID(int=100)
    for user in (behind, ahead):
        new_account(conn, 5, user)
    while step.next is not None:
        step = conn.execute(
            "select * from billing.checkpoint_ledger(p_limit => 4, p_after => %s)",
            [psycopg.types.json.Jsonb(step.next)],
        ).fetchone()
    assert [each.findings for each in checkpoints(conn)] == [0, 0]
    assert verify(conn, 1).accounts == 10
    assert found(conn) == []
    assert account(conn, ahead).balance == 5
