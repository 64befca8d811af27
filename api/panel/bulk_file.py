"""The file of a bulk grant: a CSV that is read strictly, so that nothing is guessed, and every fault has its line."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import StringIO

from api.csv import FORMULA
from api.database import Row
from api.errors import Problem
from api.fields import YEARS

# The same bound as billing.plan_bulk_grant's.
MOST_ROWS = 10_000
LARGEST_FILE = 4 * 1024 * 1024
COLUMNS = ("user_id", "reference", "amount", "reason", "expires_at")
# What spreadsheets separate columns with; a tab is what is copied out of one.
SEPARATORS = ",;\t"
LONGEST = {"reference": 200, "reason": 2000}

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
AMOUNT = re.compile(r"[+-]?\d{1,20}(\.\d{1,30})?", re.ASCII)
COMMA = re.compile(r"[+-]?[\d.]+,[\d.,]+", re.ASCII)
TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# How files begin that are no text, whatever they are called.
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")

# What is wrong with a row that is not even sent to the database.
FAULTS = {
    "wrong_number_of_cells": "It has another number of cells than the header.",
    "unbalanced_quotes": "A quotation mark is missing or in a wrong place; what follows could not be read.",
    "formula": "A cell begins like a formula (=, +, -, @): export values instead.",
    "user_id_invalid": "The user_id is no UUID.",
    "reference_missing": "The reference is empty.",
    "reference_too_long": "The reference has more than 200 characters.",
    "amount_missing": "The amount is empty.",
    "amount_with_comma": "The amount has a comma: write 1234.50.",
    "amount_invalid": "The amount is no number: write it like 12.50, without a currency.",
    "reason_too_long": "The reason has more than 2000 characters.",
    "expires_at_invalid": "The expiry is no time: write 2025-12-31 or 2025-12-31T18:00Z.",
}


@dataclass(frozen=True)
class Fault:
    """What is wrong with a line, by a name of FAULTS, and what stands there."""

    row_no: int
    problem: str
    cell: str = ""


@dataclass
class File:
    """What was read: rows for billing.plan_bulk_grant, amounts and times as texts, and the lines that are none."""

    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows) + len(self.faults)


def decode(content: bytes) -> str:
    """The text of a file; raises Problem 422 when it is none, or too large."""
    if len(content) > LARGEST_FILE:
        raise Problem(422, "file_too_large", "The file has more than 4 MiB.", "Split it: one name takes several files.")
    if content.startswith(WORKBOOKS):
        raise Problem(422, "not_a_csv_file", "This is a workbook.", "Save it as CSV, in UTF-8, and choose that file.")
    if content.startswith(OTHER_ENCODINGS):
        raise Problem(422, "not_utf8", "The file is in UTF-16.", "Save it as CSV in UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Problem(
            422, "not_utf8", f"Line {line} has a byte that is not UTF-8.", "Save it as CSV in UTF-8."
        ) from error


def read(text: str) -> File:
    """The rows of a CSV; raises Problem 422 when it cannot be one of a bulk grant at all."""
    if found := CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise Problem(
            422, "not_a_csv_file", f"Line {line} has the control character U+{ord(found[0]):04X}: this is no text.",
            "Save the table as CSV, in UTF-8, and choose that file.",
        )  # fmt: skip
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise Problem(422, "file_empty", "There is nothing in it.", "Choose a file, or paste its text.")
    lines = records(text, separator_of(text))
    _, header, _ = next(lines)
    columns = columns_of(header)
    file = File()
    for number, cells, broken in lines:
        if broken:
            file.faults.append(Fault(number, "unbalanced_quotes"))
        else:
            read_row(file, number, columns, cells)
        if len(file) > MOST_ROWS:
            raise Problem(
                422, "too_many_rows", f"The file has more than {MOST_ROWS:,} rows.",
                "Split it: one name takes several files, one after the other.",
            )  # fmt: skip
    if not file:
        raise Problem(422, "file_empty", "The file has a header, and no rows.")
    return file


def separator_of(text: str) -> str:
    """What separates the columns of the header."""
    header = text.lstrip().split("\n", 1)[0]
    return max(SEPARATORS, key=header.count)


def records(text: str, separator: str) -> Iterator[tuple[int, list[str], bool]]:
    """The line that each record begins at, its cells, and whether the text cannot be read on from there."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    begins = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield begins, [cell.strip() for cell in cells], False
            begins = reader.line_num + 1
    except csv.Error:
        yield begins, [], True


def columns_of(header: list[str]) -> list[str]:
    """The names of the columns; raises Problem 422 when these are not what a bulk grant needs."""
    names = [name.lower() for name in header]
    hint = "The header names user_id or reference, amount, and if need be reason and expires_at."
    for name in names:
        if name not in COLUMNS:
            shown = name[:40] or "without a name"
            raise Problem(422, "unknown_column", f"There is a column {shown}, which means nothing here.", hint)
        if names.count(name) > 1:
            raise Problem(422, "column_twice", f"The column {name} is there twice.", hint)
    if "amount" not in names:
        raise Problem(422, "column_missing", "The header has no column amount.", hint)
    if ("user_id" in names) == ("reference" in names):
        detail = "It needs one of the columns user_id and reference, and not both."
        raise Problem(422, "column_missing" if "user_id" not in names else "column_twice", detail, hint)
    return names


def read_row(file: File, number: int, columns: list[str], cells: list[str]) -> None:
    """Add a row to the file, or what is wrong with it."""
    if len(cells) != len(columns):
        file.faults.append(Fault(number, "wrong_number_of_cells"))
        return
    row: Row = {"row_no": number}
    for name, cell in zip(columns, cells, strict=True):
        problem = problem_of(name, cell)
        if problem:
            file.faults.append(Fault(number, problem, cell[:80]))
            return
        if cell:
            row[name] = utc_text(cell) if name == "expires_at" else cell
    file.rows.append(row)


def problem_of(column: str, cell: str) -> str | None:
    """What is wrong with a cell by itself; whether the values make sense is for the database to say."""
    match column:
        case "amount" if not cell:
            return "amount_missing"
        case "amount" if AMOUNT.fullmatch(cell):
            return None
        case "reference" if not cell:
            return "reference_missing"
    if cell.startswith(FORMULA):
        return "formula"
    match column:
        case "amount":
            return "amount_with_comma" if COMMA.fullmatch(cell) else "amount_invalid"
        case "user_id" if not UUID.fullmatch(cell):
            return "user_id_invalid"
        case "reference" | "reason" if len(cell) > LONGEST[column]:
            return f"{column}_too_long"
        case "expires_at" if cell and utc_text(cell) is None:
            return "expires_at_invalid"
    return None


def utc_text(cell: str) -> str | None:
    """A time as the database reads it, in UTC unless it says otherwise; None when it is none."""
    if not TIME.fullmatch(cell):
        return None
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat() if time.year in YEARS else None
