"""Write the parts of README.md that are generated: the SQL functions, the API's settings, and Stripe's events.

    python -m scripts.readme            writes README.md
    python -m scripts.readme --check    exit code 1 when README.md is not what it would write

The functions and the events come from the catalogue of the database, the settings from the docstring of
api.settings.Settings.
"""

import argparse
import inspect
import re
import sys
import textwrap

import psycopg

from api.settings import Settings
from scripts.servers import ROOT, ServerError, reachable_database

README = ROOT / "README.md"
AREAS = (
    *("accounts", "ledger", "holds", "payments", "reads", "events", "admin", "audit"),
    *("jobs", "monitoring", "config", "migration", "legacy"),
)

CATALOGUE = """
    select p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), d.description,
        has_function_privilege('billing_api', p.oid, 'execute')
    from pg_proc p
    left join pg_description d on d.objoid = p.oid and d.classoid = 'pg_proc'::regclass
    where p.pronamespace = 'billing'::regnamespace and p.prorettype <> 'trigger'::regtype
"""


def signature(name: str, arguments: str) -> str:
    """The call with its arguments' names, the optional ones in brackets."""
    shown = []
    for argument in re.split(r", (?=p_)", arguments) if arguments else []:
        word = argument.split()[0]
        shown.append(f"[{word}]" if " DEFAULT " in argument else word)
    return f"{name}({', '.join(shown)})"


def functions(conn: psycopg.Connection) -> str:
    """A table of the public functions, area by area."""
    rows = {row[0]: row for row in conn.execute(CATALOGUE)}
    lines = ["| function | returns | does |", "|---|---|---|"]
    for area in AREAS:
        for path in sorted((ROOT / "db" / "functions" / area).glob("*.sql")):
            name, arguments, result, comment, for_api = rows.pop(path.stem)
            if result is None:
                name, arguments, result = f"call {name}", arguments.replace("IN ", ""), "procedure"
            owner = "" if for_api else " For the owner of the database."
            result = result.replace("billing.", "").replace("SETOF ", "rows of ")
            lines.append(f"| `{signature(name, arguments)}` | {result} | {comment}{owner} |")
    if rows:
        raise SystemExit(f"No file in db/functions for {', '.join(sorted(rows))}.")
    return "\n".join(lines)


def settings() -> str:
    """A table of the environment variables that the API reads."""
    lines = ["| variable | meaning |", "|---|---|"]
    for line in inspect.cleandoc(Settings.__doc__ or "").splitlines():
        if found := re.match(r"([A-Z][A-Z_, ]+[A-Z])\s{2,}(\S.*)", line):
            lines.append(f"| `{found[1].replace(', ', '`, `')}` | {found[2]} |")
        elif line.startswith(" ") and len(lines) > 2:
            lines[-1] = f"{lines[-1].removesuffix(' |')} {line.strip()} |"
    return "\n".join(lines)


def events(conn: psycopg.Connection) -> str:
    """The types of events that Stripe is to send."""
    query = "select prosrc from pg_proc where oid = 'billing_private.is_known_event(text)'::regprocedure"
    row = conn.execute(query).fetchone()
    assert row is not None
    kinds: dict[str, list[str]] = {}
    for event in re.findall(r"'([a-z_.]+)'", row[0]):
        kinds.setdefault(event.partition(".")[0], []).append(event)
    lines = [line for names in kinds.values() for line in textwrap.wrap(" ".join(names), 120)]
    return "\n".join(["```", *lines, "```"])


def fill(text: str, section: str, content: str) -> str:
    """The text with the content between the section's markers."""
    pattern = rf"(<!-- {section}: [^>]*-->\n).*?(<!-- /{section} -->)"
    replaced, count = re.subn(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.S)
    if count != 1:
        raise SystemExit(f"README.md must have the markers of {section} once.")
    return replaced


def rendered(conn: psycopg.Connection) -> str:
    """README.md as it should be."""
    text = fill(README.read_text(), "functions", functions(conn))
    return fill(fill(text, "settings", settings()), "events", events(conn))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when README.md is out of date")
    arguments = parser.parse_args()
    try:
        with reachable_database() as url, psycopg.connect(url, autocommit=True) as conn:
            text = rendered(conn)
    except (psycopg.OperationalError, ServerError) as error:
        print(error, file=sys.stderr)
        return 3
    if arguments.check:
        return int(text != README.read_text())
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
