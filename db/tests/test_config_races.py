"""Races of the panel's changes of the configuration: real sessions at the same time, and what they leave behind."""

import json
from typing import Any

import psycopg

from db.tests.sessions import calls, in_background, new_admin, outcome, together, wait_until_blocked

CHANGE = "select * from billing.change_config(%s, %s, %s, %s, %s, 'a race', %s)"


def row_of(conn: psycopg.Connection, section: str, name: str) -> dict[str, Any]:
    return conn.execute("select billing.get_config() #> %s", [[section, name]]).fetchone()[0]


def change(actor: Any, section: str, name: str, before: Any, after: Any, key: str | None = None) -> list[Any]:
    """The arguments of CHANGE."""
    return [actor, section, name, *(None if row is None else json.dumps(row) for row in (before, after)), key]


def test_two_admins_who_saw_the_same_row(database, conn):
    """One change is done, and whoever comes second is told that it is not what they saw any more."""
    before = row_of(conn, "packages", "25")
    jobs = [
        job
        for price in (2400, 2300)
        for job in calls(
            CHANGE, *change(new_admin(conn, "super_admin"), "packages", "25", before, before | {"price_cents": price})
        )
    ]
    results = together(database, jobs)
    done = [result for result in results if not isinstance(result, psycopg.Error)]
    refused = [result.diag.message_primary for result in results if isinstance(result, psycopg.Error)]
    assert ([result.success for result in done], refused) == ([True], ["config_changed"])
    logged = conn.execute(
        "select (details #>> '{after,price_cents}')::int from billing.admin_actions_log where action = 'change_config'"
    ).fetchall()
    assert [price for (price,) in logged] == [row_of(conn, "packages", "25")["price_cents"]]


def test_two_rows_at_once(database, conn):
    """Each is done: what one admin changes is in the other's way only as long as it takes."""
    jobs = []
    for name in ("10", "25", "50", "100"):
        before = row_of(conn, "packages", name)
        after = before | {"price_cents": before["price_cents"] - 1}
        jobs += calls(CHANGE, *change(new_admin(conn, "super_admin"), "packages", name, before, after))
    assert [result.success for result in together(database, jobs)] == [True] * 4
    assert [row_of(conn, "packages", name)["price_cents"] for name in ("10", "25", "50", "100")] == [
        *(999, 2499, 4999, 9999)
    ]


def test_a_form_that_is_sent_twice(database, conn):
    """One key is one change, also at the same moment."""
    before = row_of(conn, "packages", "25")
    after = before | {"price_cents": 2400}
    query = change(new_admin(conn, "super_admin"), "packages", "25", before, after, "k")
    results = together(database, calls(CHANGE, *query, times=5))
    assert sorted((result.success, result.replayed) for result in results) == [(True, False)] + [(True, True)] * 4
    assert len({result.action_id for result in results}) == 1


def test_an_admin_whose_role_is_being_taken_away(database, conn):
    """A change waits for the change of the role, and goes by what became of it."""
    boss, admin = new_admin(conn, "super_admin"), new_admin(conn, "super_admin")
    before = row_of(conn, "packages", "25")
    with database.connect(autocommit=False) as first, database.connect("billing_api") as second:
        first.execute("select billing.set_user_role(%s, %s, 'user')", [boss, admin])
        query = change(admin, "packages", "25", before, None)
        with in_background(second, CHANGE, *query) as waiting:
            wait_until_blocked(conn, second)
            first.commit()
            assert outcome(waiting).reason == "not_a_super_admin"
    assert row_of(conn, "packages", "25") == before


def test_a_tier_that_somebody_is_moving_to(database, conn):
    """It is not removed from under an account that nobody can see yet."""
    admin = new_admin(conn, "super_admin")
    before = row_of(conn, "tiers", "tier_50_400")
    with database.connect(autocommit=False) as first, database.connect("billing_api") as second:
        first.execute("select billing.open_account(gen_random_uuid(), 'tier_50_400')")
        with in_background(second, CHANGE, *change(admin, "tiers", "tier_50_400", before, None)) as waiting:
            wait_until_blocked(conn, second)
            first.commit()
            error = waiting.exception(30)
    assert (error.sqlstate, error.diag.message_primary) == ("UC409", "config_in_use")
    assert row_of(conn, "tiers", "tier_50_400") == before


def test_a_change_is_in_nobodys_way_who_reads(database, conn):
    """Deductions by tokens, grants and admins' actions go on while a change of their configuration is not committed."""
    admin = new_admin(conn, "super_admin")
    other = new_admin(conn, "admin")
    user = conn.execute("select user_id from billing.open_account(gen_random_uuid(), 'tier_2_20')").fetchone()[0]
    rows = [
        ("model_prices", "gpt-5", {"multiplier": 3}),
        ("tiers", "tier_2_20", {"monthly_credits": 26}),
        ("admin_limits", "admin", {"approval_above": 1}),
    ]
    with database.connect(autocommit=False) as first, database.connect("billing_api") as second:
        second.execute("set statement_timeout = '5s'")
        for section, name, changed in rows:
            before = row_of(conn, section, name)
            first.execute(CHANGE, change(admin, section, name, before, before | changed))
        assert second.execute("select cost from billing.deduct_tokens(%s, 'gpt-5', 1000, 0)", [user]).fetchone()
        assert second.execute("select balance from billing.open_account(gen_random_uuid(), 'tier_2_20')").fetchone()
        adjusted = second.execute("select success from billing.adjust_credits(%s, %s, 2, 'r')", [other, user])
        assert adjusted.fetchone() == (True,)
        first.commit()
        adjusted = second.execute("select reason from billing.adjust_credits(%s, %s, 2, 'r')", [other, user])
        assert adjusted.fetchone() == ("approval_required",)


def test_two_references_of_one_user_at_once(database, conn):
    """One of them is kept, whole."""
    user = conn.execute("select gen_random_uuid()").fetchone()[0]
    jobs = [
        job
        for name in ("ann", "bob", None, "cid")
        for job in calls("select * from billing.set_user_reference(%s, %s)", user, name)
    ]
    assert [result for result in together(database, jobs) if isinstance(result, psycopg.Error)] == []
    kept = conn.execute("select billing.get_user_reference(%s)", [user]).fetchone()[0]
    assert kept in ("ann", "bob", None, "cid")
