"""What whoever is on call is given works: the runbook's SQL and commands, Prometheus' rules, and the dashboard."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import psycopg
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from api import create_app
from api.metrics import HELP
from scripts import doctor, schema
from scripts.pytest_billing import Database, databases
from scripts.servers import ROOT, postgres_bin
from scripts.system import PROMTOOL

RUNBOOK = ROOT / "docs" / "RUNBOOK.md"
MONITORING = ROOT / "docs" / "monitoring"
ROLES = ("billing_monitor", "billing_api", "billing_owner", "superuser")

USER, SUPER_ADMIN, ADMIN = (f"0b8e6f0e-6a53-4c41-9d0c-8e2f2f6a7d{end}" for end in ("11", "ad", "a0"))


class Block(NamedTuple):
    """A fenced piece of the runbook."""

    section: str
    language: str
    text: str


def read_blocks() -> list[Block]:
    found = []
    for section, text in re.findall(r"^#+ (\S.*?)\n(.*?)(?=^## |^### |\Z)", RUNBOOK.read_text(), re.M | re.S):
        fences = re.findall(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.M | re.S)
        found += [Block(section, language, dedent(body)) for _, language, body in fences]
    return found


BLOCKS = read_blocks()
SQL = [block for block in BLOCKS if block.language == "sql"]
BASH = [block for block in BLOCKS if block.language == "bash"]


def anchors() -> set[str]:
    """As GitHub makes them of headings in lower case with underscores."""
    return set(re.findall(r"^##+ ([a-z_]+)$", RUNBOOK.read_text(), re.M))


def role_of(block: Block) -> str:
    first, _, _ = block.text.partition("\n")
    return first.removeprefix("-- ")


def run_block(database: Database, block: Block) -> subprocess.CompletedProcess[str]:
    """With psql, as the role that its first line names."""
    role = role_of(block)
    url = database.url if role == "superuser" else database.url_as(role)
    return subprocess.run(
        [postgres_bin(database.server.version) / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url],
        input=block.text,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def installation(pytestconfig: pytest.Config) -> Iterator[Database]:
    """A database in which the runbook's examples exist."""
    fresh = databases(pytestconfig).copy()
    with fresh.connect() as conn:
        conn.execute(f"select billing.bootstrap_super_admin('{SUPER_ADMIN}')")
        conn.execute(f"select billing.set_user_role('{SUPER_ADMIN}', '{ADMIN}', 'admin')")
        conn.execute(f"select billing.open_account('{USER}', 'tier_2_20')")
        conn.execute(f"select billing.deduct_credits('{USER}', 1.5)")
        conn.execute(f"select billing.hold_credits('{USER}', 2)")
        conn.execute(f"select billing.grant_credits('{USER}', 10, 'promotion')")
        conn.execute(f"select billing.deduct_credits('{USER}', 100)")
        conn.execute(
            """select billing.record_stripe_event('{"id": "evt_1Runbook", "object": "event", "type": "invoice.paid",
                   "created": 1735689600, "data": {"object": {"id": "in_1", "object": "invoice"}}}')"""
        )
        conn.execute("call billing.run_job('checkpoint_ledger')")
    yield fresh
    databases(pytestconfig).drop(fresh)


# The runbook.


def test_every_sql_names_a_role_first() -> None:
    assert len(SQL) > 40
    assert {role_of(block) for block in SQL} == set(ROLES)


@pytest.mark.parametrize("number", range(len(SQL)), ids=lambda number: f"{SQL[number].section}-{number}")
def test_every_sql_runs_as_the_role_that_it_names(installation: Database, number: int) -> None:
    done = run_block(installation, SQL[number])
    assert (done.returncode, done.stderr) == (0, ""), SQL[number].text


TAMPER_LEDGER = """
begin;
alter table billing.credit_ledger disable trigger credit_ledger_append_only;
{};
alter table billing.credit_ledger enable always trigger credit_ledger_append_only;
commit;
"""
ENTRY_2 = f"where user_id = '{USER}' and entry_no = 2"
REPAIRS = {
    "entry_changed": TAMPER_LEDGER.format(f"update billing.credit_ledger set description = 'x' {ENTRY_2}"),
    "entry_missing": TAMPER_LEDGER.format(f"delete from billing.credit_ledger {ENTRY_2}"),
    "account_differs_from_ledger": f"update billing.credit_accounts set balance = balance + 3 where user_id = '{USER}'",
    "lot_off": f"update billing.credit_grants set remaining = remaining - 1 where user_id = '{USER}' and grant_no = 1",
    "balance_off": f"update billing.credit_accounts set settled_total = settled_total - 1 where user_id = '{USER}'",
    "held_off": f"update billing.credit_accounts set held = held + 1 where user_id = '{USER}'",
}


@pytest.mark.parametrize("problem", REPAIRS)
def test_a_repair_repairs(database: Database, conn: psycopg.Connection, problem: str) -> None:
    conn.execute(f"select billing.open_account('{USER}', 'tier_2_20')")
    conn.execute(f"select billing.deduct_credits('{USER}', 1.5)")
    conn.execute(f"select billing.hold_credits('{USER}', 2)")
    conn.execute(f"select billing.grant_credits('{USER}', 10, 'promotion')")
    restored = next(block for block in SQL if "create schema if not exists restored" in block.text)
    assert run_block(database, restored).returncode == 0
    conn.execute("insert into restored.credit_ledger select * from billing.credit_ledger")
    conn.execute(REPAIRS[problem])
    found = {row.problem for row in conn.execute(f"select problem from billing.verify_account('{USER}')")}
    assert problem in found
    repair = next(block for block in SQL if block.section == problem)
    done = run_block(database, repair)
    assert (done.returncode, done.stderr) == (0, "")
    assert conn.execute(f"select * from billing.verify_account('{USER}')").fetchall() == []


def test_a_negative_balance_is_repaired_and_forbidden_again(database: Database, conn: psycopg.Connection) -> None:
    conn.execute(f"select billing.open_account('{USER}')")
    conn.execute("alter domain billing.credits drop constraint credits_not_negative")
    conn.execute("alter table billing.credit_accounts drop constraint account_held_within_balance")
    conn.execute("update billing.credit_accounts set balance = -1")
    assert conn.execute("select rows from billing.list_alerts() where alert = 'negative_balances'").fetchone().rows == 1
    row = next(block for block in SQL if block.section == "account_differs_from_ledger")
    rule = next(block for block in SQL if block.section == "negative_balances" and role_of(block) == "billing_owner")
    assert run_block(database, row).stderr == run_block(database, rule).stderr == ""
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("update billing.credit_accounts set balance = -1")
    assert conn.execute("select * from billing.verify_ledger()").fetchall() == []


@pytest.mark.parametrize("block", BASH, ids=lambda block: block.section)
def test_every_command_is_there(block: Block) -> None:
    """A target of the Makefile, a module with these options, or a program of the system's."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in block.text.replace("\\\n", " ").splitlines():
        command = line.split()
        if command[0] == "make":
            assert command[1] in targets, line
            module = f"scripts.{command[1]}"
            options = re.findall(r"--[a-z-]+", line)
        elif line.startswith("python -m "):
            module, options = command[2].rstrip(";"), re.findall(r"--[a-z-]+", line)
        else:
            assert command[0] in {"curl", "createdb", "psql"}, line
            continue
        assert set(options) <= options_of(module), line


def options_of(module: str) -> set[str]:
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    return set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', source))


def test_every_alert_view_has_a_section_a_rule_and_a_line(installation: Database) -> None:
    with installation.connect() as conn:
        views = conn.execute(
            "select substr(relname, 7) as name from pg_class where relname ~ '^alert_' and relkind = 'v' order by 1"
        ).fetchall()
        listed = conn.execute("select alert as name from billing.list_alerts()").fetchall()
    names = [row.name for row in views]
    assert [row.name for row in listed] == names
    assert set(names) <= anchors()
    by_view = {match[1]: rule for rule in rules() if (match := re.search(r'\{alert="(\w+)"\}', rule["expr"]))}
    assert sorted(by_view) == names
    assert {name: rule["annotations"]["runbook"] for name, rule in by_view.items()} == {
        name: f"docs/RUNBOOK.md#{name}" for name in names
    }
    mild = {name for name, rule in by_view.items() if rule["labels"]["severity"] == "warning"}
    assert mild - {"jobs"} == doctor.MILD_ALERTS, "the jobs have a check of their own"


def test_every_problem_of_the_verification_has_a_section() -> None:
    sources = (ROOT / "db" / "functions" / "private").glob("*_findings.sql")
    problems = {name for path in sources for name in re.findall(r"'([a-z]+(?:_[a-z]+)+)'", path.read_text())}
    assert {"entry_changed", "held_off", "heads_changed"} <= problems
    assert problems <= anchors()


def test_every_link_leads_somewhere() -> None:
    text = RUNBOOK.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        assert not path or (RUNBOOK.parent / path).exists(), target
        assert path or anchor in anchors(), target
    sources = [Path(module.__file__ or "").read_text() for module in (doctor, schema)]
    named = {name for source in sources for name in re.findall(r"\{RUNBOOK\}#([a-z_]+)", source)}
    assert {"jobs", "checkpoint_changed"} <= named <= anchors()


# Prometheus.


def rules() -> list[dict]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: str) -> None:
    if not PROMTOOL.exists():
        installable = os.geteuid() == 0 and shutil.which("apt-get") is not None
        assert not installable, "python3 scripts/system.py postgres installs it"
        pytest.skip("promtool is not installed: apt install prometheus")
    done = subprocess.run([PROMTOOL, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_rules_and_configuration() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
    promtool("check", "config", "prometheus.yml")


def test_promtool_reads_what_the_dashboard_asks(tmp_path: Path) -> None:
    asked = [expression.replace("$__rate_interval", "5m") for expression in expressions()]
    records = [{"record": f"dashboard:{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    promtool("check", "rules", str(file))


def test_every_rule_fires_and_is_silent() -> None:
    promtool("test", "rules", "alerts_test.yml")
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == names
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == names


def test_every_rule_leads_to_the_runbook() -> None:
    for rule in rules():
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert ROOT / path == RUNBOOK
        assert anchor in anchors()
        assert rule["labels"]["severity"] in {"critical", "warning"}
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def known_metrics(installation: Database) -> dict[str, set[str]]:
    """The names that /metrics has, as Prometheus knows them, with their labels."""
    known: dict[str, set[str]] = {"billing_database_up": set()}
    app = create_app({"DATABASE_URL": installation.url, "JWT_SECRET": "0" * 64})
    for metric in vars(app.extensions["metrics"]).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
            for ending in endings:
                known[family.name + ending] = {*metric._labelnames, *(["le"] if ending == "_bucket" else [])}
    with installation.connect("billing_api") as conn:
        for row in conn.execute("select name, labels from billing.list_metrics()"):
            known[row.name] = set(row.labels)
    return known


def expressions() -> list[str]:
    """Of all rules and panels."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    targets = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [*targets, *(rule["expr"] for rule in rules())]


def test_every_metric_and_label_that_is_asked_for_is_told(installation: Database) -> None:
    known = known_metrics(installation)
    assert len(known) > 30
    assert set(HELP) <= set(known), "what is described is told"
    assert not {"job", "instance"} & set().union(*known.values()), "Prometheus gives every target these labels"
    for expression in expressions():
        names = re.findall(r"\bbilling_[a-z0-9_]+", expression)
        assert set(names) <= set(known), expression
        assert names or "up{" in expression
        labels = set()
        for by in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            labels |= {label.strip() for label in by.split(",")}
        for matchers in re.findall(r"billing_\w+\{([^}]*)\}", expression):
            labels |= set(re.findall(r"(\w+)[=!]", matchers))
        assert labels <= set().union(*(known[name] for name in names)), expression


def test_the_dashboard_shows_what_there_is_to_see() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    assert dashboard["schemaVersion"] >= 41
    (variable,) = dashboard["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        covered = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & cells, f"{panel['title']} lies over another panel"
        assert at["x"] + at["w"] <= 24
        cells |= covered
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == f"${{{variable['name']}}}"
            assert panel["targets"]
    told = " ".join(expressions())
    for name in (
        *(
            "http_requests_total",
            "http_request_seconds_bucket",
            "deductions_total",
            "ledger_credits_5m",
            "held_credits",
        ),
        *("queue_oldest_seconds", "job_last_success", "alert_rows", "pool_connections", "checkpoint_age_seconds"),
    ):
        assert f"billing_{name}" in told
