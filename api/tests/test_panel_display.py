"""Amounts are shown with every digit they have, and charts stay within their frames."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from api.charts import VIEW_HEIGHT, amount_axis, series_class, share, step_chart, time_axis, usage_chart
from api.csv import cell
from api.display import (
    action_words,
    ago,
    distance,
    dollars,
    interval_text,
    lasts_text,
    members_text,
    money,
    money_text,
    reason_text,
    when,
)

D = Decimal
T = datetime(2026, 1, 31, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (D(0), "0.00"),
        (D("5"), "5.00"),
        (D("12.5"), "12.50"),
        (D("1234567.1"), "1,234,567.10"),
        (D("0.000000001"), "0.000000001"),
        (D("-1234.123456789"), "\N{MINUS SIGN}1,234.123456789"),
        (D("1E+3"), "1,000.00"),
        (D("1.230000000"), "1.23"),
        (D("999999999999999.999999999"), "999,999,999,999,999.999999999"),
        (D("-12345678901234567890.123456789012345"), "\N{MINUS SIGN}12,345,678,901,234,567,890.123456789012345"),
        (None, "\N{EN DASH}"),
    ],
)
def test_an_amount_loses_no_digit(amount, text):
    assert money_text(amount) == text
    assert money(amount).striptags() == text


def test_signed_amounts():
    assert money(D(2), signed=True).striptags() == "+2.00"
    assert "money-in" in money(D(2), signed=True)
    assert "money-out" in money(D(-2), signed=True)
    assert money(D(0), signed=True).striptags() == "0.00"


@pytest.mark.parametrize(
    "text", ["=1", " =1", "a;=1", 'a,"=1', "a\t@x", "a\n=1", "a; +1", "\t1", "a;\N{FULLWIDTH EQUALS SIGN}1"]
)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["a=1", "a-b", "a, b", "x\ny", "call-1", "a@example.com"])
def test_what_it_would_not_run_stays(text):
    assert cell(text) == text


def test_money_that_was_paid():
    assert [dollars(cents) for cents in (0, 5, 123456, -250)] == ["$0.00", "$0.05", "$1,234.56", "\N{MINUS SIGN}$2.50"]


def test_times_are_in_utc():
    shown = when(T.astimezone(tz=None), seconds=True)
    assert shown.striptags() == "2026-01-31 22:30:00"
    assert 'datetime="2026-01-31T22:30:00Z"' in shown
    assert when(None).striptags() == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=5), "in a moment"),
        (timedelta(minutes=-3), "3 min ago"),
        (timedelta(hours=-30), "1 day ago"),
        (timedelta(days=3, hours=1), "in 3 days"),
        (timedelta(days=-400), "1 year ago"),
    ],
)
def test_distances(away, text):
    assert distance(away) == text
    assert ago(datetime.now(UTC) + away).striptags()


def test_how_long_it_lasts():
    assert [lasts_text(D(days)) for days in ("0.5", "1.9", "30.7", "100", "800")] == [
        *("12 hours", "45 hours", "30 days", "3 months", "2 years"),
    ]


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ("1 mon", "1 month"),
        ("1 year 2 mons 3 days", "1 year 2 months 3 days"),
        ("90 days", "90 days"),
        ("00:15:00", "15 minutes"),
        ("1 day 01:00:02.5", "1 day 1 hour 2.5 seconds"),
    ],
)
def test_lengths_of_time(interval, text):
    assert interval_text(interval) == text


def test_actions_in_words():
    assert action_words("adjust_credits") == "Adjusted credits"
    assert action_words("adjust_credits", done=False) == "Adjust credits"
    assert action_words("something_else") == "Something else"


def test_members_in_one_line():
    assert (
        members_text({"amount": D("1.50"), "to": None, "rates": {"a": 1}, "entry_no": 7}) == "amount 1.50, entry no 7"
    )
    assert len(members_text({"text": "x" * 500})) < 130
    assert members_text({"at": "2026-12-24T00:05:09.123456Z"}) == "at 2026-12-24 00:05"


def test_an_unknown_reason_is_shown_by_its_name():
    assert reason_text("something_new") == "Something new."
    assert "limit" in reason_text("admin_limit_exceeded") or reason_text("admin_limit_exceeded")


@pytest.mark.parametrize("largest", ["0", "0.000000003", "0.0235", "1", "4.9", "5", "9.99", "10", "2367.37", "1e15"])
def test_the_axis_reaches_above_what_is_drawn(largest):
    top, ticks = amount_axis(D(largest))
    assert top >= D(largest)
    assert 2 <= len(ticks) <= 5
    assert (ticks[0].label, ticks[0].at) == ("0", "100%")
    assert ticks[-1].at == "0%"
    assert len({tick.label for tick in ticks}) == len(ticks)


@pytest.mark.parametrize(
    "span", [timedelta(hours=2), timedelta(days=1), *(timedelta(days=d) for d in (7, 30, 90, 365, 3000))]
)
def test_times_stand_apart_and_within(span):
    ticks = time_axis(T, T + span)
    at = [float(tick.at.rstrip("%")) for tick in ticks]
    assert 1 <= len(at) <= 7
    assert all(0 <= each <= 100 for each in at)
    assert at == sorted(at)


def test_a_step_chart():
    points = [{"at": T + timedelta(hours=hour), "balance": D(amount)} for hour, amount in enumerate((5, 5, 3, 0, 9))]
    chart = step_chart(points)
    assert len(chart.spots) == 5
    assert [balance for _, balance in chart.rows] == [5, 3, 0, 9], "only where it changes"
    heights = [float(each) for each in chart.line.replace("H", " ").replace("V", " ").replace("M", "").split()[1::2]]
    assert all(0 <= height <= VIEW_HEIGHT for height in heights)
    assert "at least 0.00, at most 9.00" in chart.summary


def test_a_usage_chart_has_all_that_was_spent():
    first, day = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)
    models = [f"m{number}" for number in range(8)] + [None]
    buckets = [
        {"bucket": first + day * (number % 3), "model": model, "amount": D(number + 1), "calls": 2}
        for number, model in enumerate(models)
    ]
    chart = usage_chart(buckets, first, first + 3 * day, day)
    assert sum(amount for _, _, amount in chart.rows) == 45
    assert sum(calls for _, calls, _ in chart.rows) == 18
    assert [name for _, name in chart.legend][-1] == "other models"
    assert len(chart.legend) == 6
    assert all(float(bar.y) >= 0 and float(bar.y) + float(bar.height) <= VIEW_HEIGHT + 0.02 for bar in chart.bars)
    assert usage_chart([], first, first + day, day).rows == []
    six = usage_chart(buckets[3:], first, first + 3 * day, day)
    assert [name for _, name in six.legend] == ["no model", "m7", "m6", "m5", "m4", "m3"], "the last one by its name"
    assert {bar.series for bar in six.bars} == set(range(1, 7))


def test_what_comes_after_the_colours_is_neutral():
    classes = [series_class(number) for number in (1, 5, 6, 7, 100)]
    assert classes == ["series-1", "series-5", "series-6", "series-6", "series-6"]


def test_shares():
    assert [share(D(part), D(4)) for part in (0, 1, 4)] == ["0", "25", "100"]
    assert share(D("0.000001"), D(1000)) == "0.75", "what is there is seen"
    assert share(D(1), D(0)) == "0"
