"""Rows as CSV, written while they are read, so that the longest ledger needs no memory."""

import csv
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from io import StringIO
from itertools import chain
from typing import Any

from flask import Response, g, stream_with_context

from api.database import Row
from api.json import dumps, time_text

CSV_DOCUMENT = {
    "description": "A header line and one line for each row.",
    "content": {"text/csv": {"schema": {"type": "string"}}},
}

# What a spreadsheet takes for the beginning of a formula, the full-width forms included.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
# The same within a text, where a spreadsheet that separates cells otherwise begins another one.
INNER_FORMULA = re.compile(r"""[;,\t\r\n][ "]*[=+\-@＝＋－＠]""")  # noqa: RUF001


def csv_response(filename: str, columns: list[str], rows: Iterable[Row]) -> Response:
    """Stream the rows; the first one is read before anything is sent, so that its error still has its own status."""
    rows = iter(rows)
    first = next(rows, None)
    rows = rows if first is None else chain([first], rows)
    g.streaming = True
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Response(stream_with_context(lines(columns, rows)), headers=headers, mimetype="text/csv")


def lines(columns: list[str], rows: Iterable[Row]) -> Iterator[str]:
    yield line(columns)
    for row in rows:
        yield line(cell(row[column]) for column in columns)


def line(cells: Iterable[str]) -> str:
    buffer = StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def cell(value: Any) -> str:
    """A text that a spreadsheet would run as a formula gets an apostrophe; a number stays one."""
    match value:
        case None:
            return ""
        case str():
            runs = value.lstrip(" ").startswith(FORMULA) or INNER_FORMULA.search(value)
            return f"'{value}" if runs else value
        case Decimal():
            return format(value, "f")
        case datetime():
            return time_text(value)
        case dict():
            return dumps(value)
    return str(value)
