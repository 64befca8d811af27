"""README tells the truth: its generated tables are those of the code, and its psql session runs."""

import re
import subprocess

import psycopg

from scripts import readme
from scripts.pytest_billing import Database
from scripts.servers import psql_program


def test_the_generated_tables_are_up_to_date(conn: psycopg.Connection) -> None:
    assert readme.README.read_text() == readme.rendered(conn), "run: python -m scripts.readme"


def test_the_psql_session_runs_as_it_stands(database: Database) -> None:
    session = re.search(r"make psql`:\n\n```sql\n(.*?)```", readme.README.read_text(), re.S)
    assert session is not None
    done = subprocess.run(
        [psql_program(), "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--tuples-only", "--no-align", database.url],
        input=session[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1] == "t|2|23.50|f"
    assert lines[2] == "t|2|23.50|t"
    assert lines[3] == "f|insufficient_credits|23.50"
    assert lines[4] == "4|adjustment|10"
    assert lines[-1] == "1", "one refusal in the last hour, and nothing after it: the ledger verifies"
