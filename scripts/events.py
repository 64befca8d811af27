"""Events that are delivered to EVENT_WEBHOOK_URL: look at them, send them again, try the receiver.

    python -m scripts.events list [--user ID | --status STATUS] [--limit N]
    python -m scripts.events replay [--status STATUS] [--user ID] [--kind KIND] [--since TIME] [--until TIME]
                                    [--dry-run]
    python -m scripts.events test

`list` shows the events of a user, newest first, or those of a status, oldest first: the dead ones by default. `replay`
sets events back to be delivered by the worker: the dead ones by default; or those that were kept while delivery was
off, or delivered ones, which a receiver that knows their ids takes for repeats. `test` sends one event of the type
`test`, signed like all others, and tells the answer; it asks no database. A TIME is ISO 8601, in UTC where it names no
zone, and counts when the event happened.

Exit codes: 0 done, 1 the receiver did not accept the test, 2 wrong usage or configuration, 3 no connection.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg

from api import json
from api.settings import event_mistakes, listed
from scripts.deliver import Receiver
from scripts.migrate import describe
from scripts.servers import ServerError, reachable_database
from scripts.table import table

STATUSES = ("dead", "kept", "pending", "delivered")
# What the one who is on call may see: no payload.
COLUMNS = ("created_at", "user_id", "event_no", "event_id", "kind", "status", "attempts", "next_attempt_at", "error")
CHOSEN = """
    from billing.billing_events
    where status = %(status)s
        and (%(user)s::uuid is null or user_id = %(user)s)
        and (%(kind)s::text is null or kind = %(kind)s)
        and (%(since)s::timestamptz is null or created_at >= %(since)s)
        and (%(until)s::timestamptz is null or created_at < %(until)s)
"""


def list_events(conn: psycopg.Connection, user: UUID | None, status: str, limit: int) -> None:
    """Print events as a table."""
    columns = ", ".join(COLUMNS)
    if user is not None:
        query = f"select {columns} from billing.list_events(%(user)s, p_limit => %(limit)s)"
    else:
        query = (
            f"select {columns} from billing.billing_events where status = %(status)s "
            "order by created_at, event_id limit %(limit)s"
        )
    rows = conn.execute(query, {"user": user, "status": status, "limit": limit}).fetchall()
    print(*table(COLUMNS, rows), sep="\n")


def replay(conn: psycopg.Connection, chosen: Mapping[str, Any]) -> int:
    """Set events back to be delivered, in transactions of 500 users; returns how many."""
    total = 0
    users: list[UUID | None] = [chosen["user"]]
    if chosen["status"] == "delivered" and chosen["user"] is None:
        # The worker delivers them as fast as they are set back: all at once, they would never come to an end.
        users = [row[0] for row in conn.execute(f"select distinct user_id {CHOSEN}", chosen)]
    query = "select events from billing.replay_events(%(status)s, %(user)s, %(since)s, %(until)s, %(kind)s)"
    for user in users:
        while True:
            row = conn.execute(query, {**chosen, "user": user}).fetchone()
            assert row is not None
            total += row[0]
            if sys.stderr.isatty():
                print(f"\r{total} events", end="", file=sys.stderr)
            # For one user a call does all.
            if row[0] == 0 or user is not None:
                break
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return total


def replay_chosen(conn: psycopg.Connection, chosen: Mapping[str, Any], *, dry_run: bool) -> None:
    """Replay, or count what would be replayed; says so when nobody delivers."""
    if dry_run:
        row = conn.execute(f"select count(*) {CHOSEN}", chosen).fetchone()
        assert row is not None
        print(f"Dry run: {row[0]} events would be delivered again.")
    else:
        print(f"{replay(conn, chosen)} events are to be delivered again.")
    job = conn.execute("select enabled from billing.list_jobs() where name = 'deliver_events'").fetchone()
    if job == (False,):
        print("They wait until the job is on: select billing.set_job('deliver_events', true)", file=sys.stderr)


def send_test(environ: Mapping[str, str]) -> int:
    """Send a test event; 1 when it is not accepted."""
    url, secrets = environ.get("EVENT_WEBHOOK_URL") or None, listed(environ.get("EVENT_WEBHOOK_SECRET"))
    mistakes = event_mistakes(url, secrets)
    if url is None:
        mistakes.append("EVENT_WEBHOOK_URL must be set: there is nobody to send a test to.")
    if mistakes or url is None:
        print(*mistakes, sep="\n", file=sys.stderr)
        return 2
    data = {"message": "The receiver of billing events is reached, and its secret is ours when it accepts this."}
    body = json.dumps({"type": "test", "timestamp": datetime.now(UTC), "data": data})
    answer = Receiver(url, secrets).send(str(uuid4()), body)
    if answer.error is not None:
        print(answer.error, file=sys.stderr)
        return 1
    print("The receiver has accepted it.")
    return 0


def moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def page(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 500:
        raise argparse.ArgumentTypeError("1 to 500")
    return value


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    connection = argparse.ArgumentParser(add_help=False)
    connection.add_argument("--database-url", help="default: DATABASE_URL, else the embedded server")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", parents=[connection], help="show events")
    which = listing.add_mutually_exclusive_group()
    which.add_argument("--user", type=UUID, metavar="ID", help="all events of this user, newest first")
    which.add_argument("--status", choices=STATUSES, default="dead", help="those, oldest first (%(default)s)")
    listing.add_argument("--limit", type=page, default=50, metavar="N", help="at most so many (%(default)s)")
    replaying = commands.add_parser("replay", parents=[connection], help="deliver events again")
    replaying.add_argument("--status", choices=("dead", "kept", "delivered"), default="dead", help="(%(default)s)")
    replaying.add_argument("--user", type=UUID, metavar="ID", help="of this user only")
    replaying.add_argument("--kind", help="of this kind only, such as balance.low")
    replaying.add_argument("--since", type=moment, metavar="TIME", help="that happened then or later")
    replaying.add_argument("--until", type=moment, metavar="TIME", help="that happened before")
    replaying.add_argument("--dry-run", action="store_true", help="only count them")
    commands.add_parser("test", help="send a test event to EVENT_WEBHOOK_URL")
    return parser.parse_args()


def main() -> int:
    arguments = arguments_of()
    if arguments.command == "test":
        return send_test(os.environ)
    try:
        with (
            reachable_database(arguments.database_url) as url,
            psycopg.connect(url, autocommit=True, prepare_threshold=None, application_name="events") as conn,
        ):
            if arguments.command == "list":
                list_events(conn, arguments.user, arguments.status, arguments.limit)
            else:
                names = ("status", "user", "kind", "since", "until")
                replay_chosen(conn, {n: getattr(arguments, n) for n in names}, dry_run=arguments.dry_run)
            return 0
    except psycopg.OperationalError as error:
        print(f"No connection to the database: {error}", file=sys.stderr)
        return 3
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    except psycopg.Error as error:
        print(describe(error), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
