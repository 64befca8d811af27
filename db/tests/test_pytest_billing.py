"""The plugin that runs pgTAP files: every assertion is a test, and nothing that is wrong passes."""

import pytest

from scripts import testserver
from scripts.pytest_billing import parse_tap
from scripts.servers import ROOT

# A command, or a tool: it does not depend on the version of PostgreSQL.
pytestmark = [pytest.mark.once, pytest.mark.outside]

pytest_plugins = ["pytester"]


def described(output):
    assertions, problems = parse_tap(output)
    return [(each.description, each.passed, each.directive) for each in assertions], problems


def test_assertions_directives_and_diagnostics():
    output = "1..4\nok 1 - a\nnot ok 2 - b\n# Failed test 2\nnot ok 3 - c # TODO later\nok 4 - d # SKIP no\n"
    assertions, problems = parse_tap(output)
    assert [(each.description, each.passed, each.directive, each.reason) for each in assertions] == [
        ("a", True, None, ""),
        ("b", False, None, ""),
        ("c", False, "TODO", "later"),
        ("d", True, "SKIP", "no"),
    ]
    assert assertions[1].diagnostics == ["# Failed test 2"]
    assert problems == []


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("", "no plan: start with `select plan(n);` or end with `select * from finish();`"),
        ("ok 1 - a", "no plan: start with `select plan(n);` or end with `select * from finish();`"),
        ("1..2\nok 1 - a", "planned 2 assertions, but ran 1"),
        ("1..1\nok 1 - a\nok 2 - b", "planned 1 assertions, but ran 2"),
        ("1..0", "no assertion ran"),
    ],
)
def test_a_file_that_did_not_do_what_it_planned_fails(output, problem):
    assert problem in parse_tap(output)[1]


def test_a_file_may_skip_itself():
    assert described("1..0 # SKIP not here") == ([("the whole file", True, "SKIP")], [])


@pytest.fixture
def run(pytester, pytestconfig, monkeypatch):
    """Run pytest on pgTAP files in a project of its own; on the server of this session."""
    version = pytestconfig.getoption("--postgres")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\n")

    def run(**files):
        directory = pytester.mkpydir("db") / "tests"
        directory.mkdir()
        for name, text in files.items():
            (directory / f"{name}.sql").write_text(text)
        chosen = [f"--postgres={version}"] if version else []
        return pytester.runpytest_subprocess("-p", "scripts.pytest_billing", "-v", *chosen, timeout=120)

    return run


def test_every_assertion_is_reported_and_a_failed_one_fails_the_run(run):
    result = run(
        mixed="select plan(4); select ok(true, 'truth'); select is(1, 2, 'one is two');"
        " select todo('later', 1); select ok(false, 'some day'); select skip('not here', 1); select * from finish();",
        error="select plan(2);\nselect ok(true, 'before');\n\nselect no_such_function();\n",
        short="select plan(2); select ok(true, 'only');",
        empty="select 1;",
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3, failed=5, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*db/tests/mixed.sql::truth PASSED*",
            "*db/tests/mixed.sql::one is two FAILED*",
            "*db/tests/mixed.sql::some day XFAIL (later)*",
            "*db/tests/short.sql::planned 2 assertions, but ran 1 FAILED*",
            "*db/tests/error.sql::before PASSED*",
            "*db/tests/error.sql::runs without an error FAILED*",
            "*db/tests/empty.sql::no assertion ran FAILED*",
            "#         want: 2",
            "psql:db/tests/error.sql:4: ERROR:  function no_such_function() does not exist",
        ]
    )


def test_files_that_hold_pass_each_in_a_database_of_its_own(run):
    text = "begin; select plan(1); create table public.mine (); select pass('mine'); select * from finish(); commit;"
    result = run(one=text, two=text)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=2)


def test_the_clock_of_a_database_is_ours(clock, conn):
    assert str(clock.freeze("2030-01-31 12:00Z")) == "2030-01-31 12:00:00+00:00"
    assert str(clock.advance(days=1)) == "2030-02-01 12:00:00+00:00"
    assert conn.execute("select billing_private.clock() = '2030-02-01 12:00Z' as same").fetchone().same
    assert clock.shift(days=1) < clock.now()
    clock.shift()
    assert conn.execute("select abs(extract(epoch from billing_private.clock() - now())) < 5 as same").fetchone().same


def test_a_database_has_the_path_and_the_roles_of_the_real_one(database, conn, api_conn):
    assert "billing" in conn.execute("show search_path").fetchone().search_path.split(", ")
    assert api_conn.execute("select current_user as name").fetchone().name == "billing_api"


def test_a_server_is_in_memory_where_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(testserver, "ROOM", 1)
    assert testserver.has_room(tmp_path)
    assert not testserver.has_room(tmp_path / "missing")
    monkeypatch.setattr(testserver, "ROOM", 1 << 60)
    assert not testserver.has_room(tmp_path)
