"""Charts as SVG, drawn here: what a page shows needs no script, and no colour of it is fixed.

A plot has the coordinates of VIEW and is stretched to where it stands; its lines keep their width. Ticks stand beside
it, at a per cent of its width or height, so that their letters are never stretched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from typing import Any

from flask import Flask

from api.database import Row
from api.display import money_text

VIEW_WIDTH, VIEW_HEIGHT = 1000, 200
STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))
MOST_STEPS = 4
MOST_TIMES = 6
SHORT = ((Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 4, "k"))
HOURS = (1, 2, 3, 6, 12)
DAYS = (1, 2, 3, 7, 14, 28, 56, 91, 182, 365, 730, 1825, 3650)
# From this on a day says too little, and the year says more.
LONG = timedelta(days=56)
# More colours than these nobody tells apart: what comes after them shares a neutral tone.
SERIES = 5
NEUTRAL = SERIES + 1
OTHERS = "other models"
# How much of its place a bar takes.
BAR = 0.72


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in per cent from the left or the top."""

    at: str
    label: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Spot:
    """Where the pointer is told something; `cursor` is where its line stands, if there is one."""

    x: str
    width: str
    tip: str
    cursor: str = ""


@dataclass(frozen=True)
class Bar:
    x: str
    y: str
    width: str
    height: str
    series: int


@dataclass(frozen=True)
class Chart:
    summary: str
    amounts: Sequence[Tick]
    times: Sequence[Tick]
    spots: Sequence[Spot]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    line: str = ""
    area: str = ""
    bars: Sequence[Bar] = ()
    legend: Sequence[tuple[int, str]] = field(default=())
    width: int = VIEW_WIDTH
    height: int = VIEW_HEIGHT


def step_chart(points: Sequence[Row]) -> Chart:
    """The balance over time: `at` and `balance` of each point; between two of them it is as at the first."""
    first, last = (point["at"].astimezone(UTC) for point in (points[0], points[-1]))
    span = (last - first) / timedelta(microseconds=1)
    balances = [point["balance"] for point in points]
    top, amounts = amount_axis(max(balances))
    xs = [(point["at"] - first) / timedelta(microseconds=1) / span * VIEW_WIDTH for point in points]
    ys = [height_of(balance, top) for balance in balances]
    line = f"M{place(xs[0])} {place(ys[0])}" + "".join(
        f"H{place(x)}V{place(y)}" for x, y in zip(xs[1:], ys[1:], strict=True)
    )
    edges = [0.0, *[(a + b) / 2 for a, b in pairwise(xs)], float(VIEW_WIDTH)]
    spots = [
        Spot(place(left), place(right - left), tip_of(point), place(x))
        for (left, right), x, point in zip(pairwise(edges), xs, points, strict=True)
    ]
    changed = [point for point, before in zip(points, [None, *balances], strict=False) if point["balance"] != before]
    return Chart(
        summary=f"From {money_text(balances[0])} on {first:%Y-%m-%d} to {money_text(balances[-1])} on {last:%Y-%m-%d}; "
        f"at least {money_text(min(balances))}, at most {money_text(max(balances))}.",
        amounts=amounts,
        times=time_axis(first, last),
        spots=spots,
        columns=("Time", "Balance"),
        rows=[(point["at"], point["balance"]) for point in changed],
        line=line,
        area=f"{line}V{VIEW_HEIGHT}H0Z",
    )


def usage_chart(buckets: Iterable[Row], first: datetime, last: datetime, length: timedelta) -> Chart:
    """What was spent in each stretch of time, stacked by model; `buckets` are rows of usage_by."""
    buckets = list(buckets)
    starts = [first + length * number for number in range(-(-(last - first) // length))]
    ranked = ranked_models(buckets)
    models = ranked if len(ranked) <= NEUTRAL else [*ranked[:SERIES], OTHERS]
    spent: dict[datetime, dict[str, Decimal]] = {start: {} for start in starts}
    calls = dict.fromkeys(starts, 0)
    for row in buckets:
        start = starts[(row["bucket"] - first) // length]
        model = model_of(row) if model_of(row) in models else OTHERS
        spent[start][model] = spent[start].get(model, Decimal(0)) + row["amount"]
        calls[start] += row["calls"]
    totals = {start: sum(parts.values(), Decimal(0)) for start, parts in spent.items()}
    top, amounts = amount_axis(max(totals.values(), default=Decimal(0)))
    slot = VIEW_WIDTH / len(starts)
    bars, spots = [], []
    for number, start in enumerate(starts):
        below = float(VIEW_HEIGHT)
        for series, model in enumerate(models, 1):
            if part := spent[start].get(model):
                height = VIEW_HEIGHT - height_of(part, top)
                below -= height
                x = slot * (number + (1 - BAR) / 2)
                bars.append(Bar(place(x), place(below), place(slot * BAR), place(height), series))
        told = [f"{model}  {money_text(spent[start][model])}" for model in models if spent[start].get(model)]
        head = f"{start:%Y-%m-%d}" if length >= timedelta(days=1) else stamp(start)
        tip = "\n".join([head, f"{money_text(totals[start])} credits, {calls[start]:,} calls", *told])
        spots.append(Spot(place(slot * number), place(slot), tip))
    everything = sum(totals.values(), Decimal(0))
    return Chart(
        summary=f"{money_text(everything)} credits in {sum(calls.values()):,} calls "
        f"from {first:%Y-%m-%d} to {last:%Y-%m-%d}.",
        amounts=amounts,
        times=time_axis(first, first + length * len(starts), shift=length / 2),
        spots=spots,
        columns=("From", "Calls", "Credits"),
        rows=[(start, calls[start], totals[start]) for start in starts if calls[start] or totals[start]],
        bars=bars,
        legend=list(enumerate(models, 1)),
    )


def tip_of(point: Row) -> str:
    return f"{stamp(point['at'])}\n{money_text(point['balance'])} credits"


def model_of(row: Row) -> str:
    return row["model"] or "no model"


def ranked_models(buckets: Iterable[Row]) -> list[str]:
    """The models, the one on which the most was spent first."""
    totals: dict[str, Decimal] = {}
    for row in buckets:
        totals[model_of(row)] = totals.get(model_of(row), Decimal(0)) + row["amount"]
    return sorted(totals, key=lambda model: (-totals[model], model))


def amount_axis(largest: Decimal) -> tuple[Decimal, list[Tick]]:
    """The amount at the top, and ticks at round amounts below it."""
    if largest <= 0:
        largest = Decimal(1)
    rough = largest / MOST_STEPS
    unit = Decimal(10) ** rough.adjusted()
    step = next(unit * each for each in STEPS if unit * each * MOST_STEPS >= largest)
    number = int((largest / step).to_integral_value(ROUND_CEILING))
    top = step * number
    return top, [
        Tick(f"{place(100 * (number - each) / number)}%", short_amount(step * each)) for each in range(number + 1)
    ]


def short_amount(amount: Decimal) -> str:
    """An amount for an axis: 1.2M rather than 1,200,000."""
    for size, letter in SHORT:
        if amount >= size:
            unit = Decimal(1000) if letter == "k" else size
            return f"{plain(amount / unit)}{letter}"
    return plain(amount)


def plain(amount: Decimal) -> str:
    whole, _, places = format(amount.normalize(), "f").partition(".")
    return f"{int(whole):,}" + (f".{places}" if places else "")


def time_axis(first: datetime, last: datetime, shift: timedelta = timedelta()) -> list[Tick]:
    """Ticks at full hours or midnights, in UTC; `shift` is from the beginning of a stretch to its middle."""
    first, last = first.astimezone(UTC), last.astimezone(UTC)
    span = last - first
    hours = [timedelta(hours=each) for each in HOURS] + [timedelta(days=each) for each in DAYS]
    step = next((each for each in hours if span / each < MOST_TIMES), hours[-1])
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + -(-(first - midnight) // step) * step
    ticks = []
    while at <= last:
        where = (at + shift - first) / span * 100
        label = f"{at:%H:%M}" if step < timedelta(days=1) else f"{at:%b %Y}" if step >= LONG else f"{at.day} {at:%b}"
        if where <= 100:
            ticks.append(Tick(f"{place(where)}%", label, "start" if where < 1 else "end" if where > 98 else "middle"))
        at += step
    return ticks


def series_class(number: int) -> str:
    """The class of the first, second … of what is told apart: from the sixth on it is the same one."""
    return f"series-{min(number, NEUTRAL)}"


def share(part: Decimal, whole: Decimal) -> str:
    """A part in per cent of the whole, for a bar; what is there is never invisible."""
    if whole <= 0 or part <= 0:
        return "0"
    return place(max(float(part / whole * 100), 0.75))


def height_of(amount: Decimal, top: Decimal) -> float:
    """How far from the upper edge an amount lies."""
    return VIEW_HEIGHT - float(max(amount, Decimal(0)) / top) * VIEW_HEIGHT


def place(value: float) -> str:
    return format(round(value, 2), "g") if abs(value) < 1e5 else str(round(value))


def stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def init_charts(app: Flask) -> None:
    app.jinja_env.globals.update(share_of=share, series_class=series_class)
