"""The pages of bulk grants: a file is checked, shown, granted batch by batch, and safe to upload twice."""

import csv
import io
import json
import re
from decimal import Decimal
from html import unescape
from uuid import UUID, uuid4

import pytest

from api.errors import Problem
from api.panel import bulk_file
from api.panel.bulk import PROBLEMS
from api.panel.bulk_file import Fault, decode, read
from api.tests.conftest import balance_of, token
from api.tests.pages import COOKIE, CSRF, SQL_WORDS, Browser, text_of

NEW = "/admin/bulk/new"


@pytest.fixture
def page(app, admin):
    return Browser(app, admin)


@pytest.fixture
def users(db):
    made = [uuid4() for _ in range(4)]
    for each in made:
        db.execute("select billing.open_account(%s)", [each])
    return made


def table(users, amount="2.50", header="user_id,amount", end="\n"):
    return end.join([header, *[f"{user},{amount}" for user in users], ""])


def upload(page, name, content, *, step="preview", reason="An outage", **fields):
    content = content if isinstance(content, bytes) else content.encode()
    file = (io.BytesIO(content), "grants.csv")
    return page.post(NEW, {"name": name, "reason": reason, "step": step, "file": file} | fields)


def begin(page, name, content, **fields) -> str:
    """Start it as the form on the preview does; the path of its page."""
    shown = upload(page, name, content, **fields)
    assert shown.status_code == 200, text_of(shown.text)
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown.text)
    hidden = {field: unescape(value) for field, value in found}
    assert hidden.keys() >= {"name", "reason", "text"}
    answer = page.post(NEW, {**hidden, **fields}, content_type="multipart/form-data")
    assert answer.status_code == 303, text_of(answer.text)
    return answer.location


def step(page, path, **options):
    return page.post(f"{path}/step", headers={"Accept": "application/json"}, **options)


def finish(page, path):
    while (answer := step(page, path)).json["pending"]:
        pass
    return answer.json


def results(page, path, query=""):
    return list(csv.DictReader(io.StringIO(page.get(f"{path}/results.csv{query}").text)))


# From the file to the results.


def test_a_file_is_shown_started_and_granted(page, users, db, admin):
    name = uuid4().hex
    shown = upload(page, name, table(users))
    text = text_of(shown.text)
    assert f"Check: {name}" in text
    assert "Grant 10.00 credits to 4 users" in text
    assert "Left today" in text
    assert "5,000.00" in text
    assert "4,990.00" in text
    assert db.execute("select from billing.bulk_grants where name = %s", [name]).rowcount == 0
    path = begin(page, name, table(users))
    text = text_of(page.get(path).text)
    assert "0 of 4 rows" in text
    assert "4 rows wait, for 10.00 credits" in text
    assert [balance_of(db, user) for user in users] == [5] * 4
    told = finish(page, path)
    assert (told["done"], told["rows"], told["pending"]) == (4, 4, 0)
    assert told["texts"]["granted_total"] == "10.00"
    assert told["texts"]["left_today"] == "4,990.00"
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 4
    assert "100%" in text_of(page.get(path).text)
    rows = results(page, path)
    assert [(row["row_no"], row["user_id"], row["amount"]) for row in rows] == [
        (str(number), str(user), "2.50") for number, user in enumerate(users, 2)
    ]
    assert {(row["outcome"], row["reason"], row["entry_no"]) for row in rows} == {("granted", "An outage", "2")}
    assert name in page.get("/admin/bulk").text
    db.execute("select billing.set_user_reference(%s, 'bert@example.com')", [admin])
    listed = csv.DictReader(io.StringIO(page.get("/admin/bulk.csv").text))
    (mine,) = [row for row in listed if row["name"] == name]
    assert (mine["created_by_reference"], mine["granted"], mine["granted_total"]) == ("bert@example.com", "4", "10.00")
    assert f'href="{path}" title="{name}">{name}</a>' in page.get("/admin/log?action=begin_bulk_grant").text


def test_without_a_script_a_button_does_a_batch(page, users, db):
    path = begin(page, uuid4().hex, table(users))
    answer = page.post(f"{path}/step")
    assert (answer.status_code, answer.location) == (303, path)
    assert "4 rows were granted, 0 refused; 0 are waiting." in text_of(page.get(path).text)
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 4
    assert "Grant the next" not in page.get(path).text


def test_pasted_text_is_as_good_as_a_file(page, users, db):
    fields = {"name": uuid4().hex, "reason": "r", "text": table(users, header="user_id\tamount").replace(",", "\t")}
    assert "Grant 10.00 credits to 4 users" in text_of(page.post(NEW, fields).text)
    answer = page.post(NEW, fields | {"step": "start"})
    assert answer.status_code == 303
    finish(page, answer.location)
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 4


def test_references_name_users(page, users, db):
    for number, user in enumerate(users):
        db.execute("select billing.set_user_reference(%s, %s)", [user, f"{number}.{user}@example.com"])
    rows = "".join(f"{number}.{user}@EXAMPLE.com;1\r\n" for number, user in enumerate(users))
    path = begin(page, uuid4().hex, f"\ufeffReference;Amount\r\n{rows}")
    finish(page, path)
    assert [balance_of(db, user) for user in users] == [6] * 4
    assert {row["reference"] for row in results(page, path)} == {f"{n}.{u}@example.com" for n, u in enumerate(users)}


def test_reasons_and_expiries_of_rows_and_of_the_whole(page, users, db):
    rows = f'user_id,amount,reason,expires_at\n{users[0]},1,,\n{users[1]},1,"late, twice",2999-12-31\n'
    path = begin(page, uuid4().hex, rows, expires_at="2999-06-30T12:00")
    finish(page, path)
    assert [(row["reason"], row["expires_at"]) for row in results(page, path)] == [
        ("An outage", "2999-06-30T12:00:00Z"),
        ("late, twice", "2999-12-31T00:00:00Z"),
    ]


# Twice.


def test_uploading_twice_grants_once(page, users, db):
    name = uuid4().hex
    path = begin(page, name, table(users))
    finish(page, path)
    again = text_of(upload(page, name.upper(), table(users)).text)
    assert "Everything in this file has been granted under this name" in again
    assert "Grant 10.00" not in again
    assert upload(page, name, table(users), step="start").location == path
    assert finish(page, path)["pending"] == 0
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 4


def test_a_start_that_is_sent_twice_is_one(page, users, db):
    name = uuid4().hex
    first, second = (upload(page, name, table(users), step="start") for _ in range(2))
    assert first.location == second.location
    finish(page, first.location)
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 4


def test_a_corrected_file_goes_on(page, users, db):
    name, stranger = uuid4().hex, uuid4()
    path = begin(page, name, table([*users[:2], stranger]))
    assert finish(page, path)["texts"]["refused"] == "1"
    assert "The user has no account." in text_of(page.get(path).text)
    corrected = table(users, "3")
    text = text_of(upload(page, name, corrected).text)
    assert "2 granted, 0 waiting, 1 refused" in text
    assert "Grant 6.00 credits to 2 users" in text
    assert "Granted before, otherwise" in text
    assert begin(page, name, corrected) == path
    assert "2 users were granted another amount or expiry under this name before" in text_of(page.get(path).text)
    finish(page, path)
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 2 + [8] * 2


def test_what_a_corrected_file_leaves_out_can_be_withdrawn(page, users, db):
    name = uuid4().hex
    path = begin(page, name, table(users))
    shown = upload(page, name, table(users[:3]))
    assert "Withdraw a row that waits and is not in this file" in text_of(shown.text)
    assert begin(page, name, table(users[:3]), withdraw_others="true") == path
    finish(page, path)
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 3 + [5]
    assert [row["refusal"] for row in results(page, path, "?outcome=refused")] == ["withdrawn"]


def test_the_same_under_another_name_is_confirmed_first(page, users, db):
    first, second = uuid4().hex, uuid4().hex
    finish(page, begin(page, first, table(users)))
    shown = upload(page, second, table(users))
    assert shown.status_code == 200
    assert "Granted under another name" in text_of(shown.text)
    assert first in text_of(shown.text)
    refused = upload(page, second, table(users), step="start")
    assert refused.status_code == 422
    assert "Confirm that they are to get it again" in text_of(refused.text)
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 4
    finish(page, begin(page, second, table(users), again="true"))
    assert [balance_of(db, user) for user in users] == [10] * 4


# Limits, and other admins.


def test_what_the_limits_refuse_is_tried_again_by_another_admin(app, page, super_admin, users, db, admin):
    db.execute("update billing.user_roles set day = now(), day_total = 4995 where user_id = %s", [admin])
    text = text_of(upload(page, uuid4().hex, table(users, "2")).text)
    assert "This is above what you may grant, at once or today." in text
    assert "Grant 4.00 credits to 2 users" in text
    path = begin(page, uuid4().hex, table(users, "2"))
    assert finish(page, path)["texts"]["refused"] == "2"
    rows = results(page, path, "?outcome=refused")
    assert [(row["refusal"], row["why"]) for row in rows] == [
        ("admin_limit_exceeded", PROBLEMS["admin_limit_exceeded"])
    ] * 2
    assert text_of(page.get(f"{path}?outcome=refused").text).count("This is above what you may grant") == 2
    assert page.post(f"{path}/retry", {"reason": " "}).status_code == 422
    boss = Browser(app, super_admin)
    assert boss.post(f"{path}/retry", {"reason": "The super admin does"}).location == path
    finish(boss, path)
    assert [balance_of(db, user) for user in users] == [7] * 4
    assert [row["decided_by"] for row in results(page, path)] == [str(admin)] * 2 + [str(super_admin)] * 2


def test_what_waits_can_be_stopped(page, users, db):
    name = uuid4().hex
    path = begin(page, name, table(users))
    assert page.post(f"{path}/stop", {}).status_code == 422
    assert page.post(f"{path}/stop", {"reason": "The wrong file"}).status_code == 303
    assert "4 rows are withdrawn. What was granted stays." in text_of(page.get(path).text)
    assert step(page, path).json["texts"]["granted"] == "0"
    assert [balance_of(db, user) for user in users] == [5] * 4
    assert page.get(path).text.count("/retry") == 0


def test_an_admin_who_is_none_any_more_grants_nothing(page, users, db, admin):
    path = begin(page, uuid4().hex, table(users))
    db.execute("update billing.user_roles set role = 'user' where user_id = %s", [admin])
    assert step(page, path).status_code == 403
    assert [balance_of(db, user) for user in users] == [5] * 4


# Sessions.


def test_a_session_that_ends_in_the_middle_loses_nothing(app, page, users, db, admin):
    path = begin(page, uuid4().hex, table(users))
    page.client.delete_cookie(COOKIE)
    answer = page.client.post(f"{path}/step", headers={"Accept": "application/json"})
    assert answer.status_code == 401
    assert [balance_of(db, user) for user in users] == [5] * 4
    assert page.sign_in(token(sub=admin), next=path).location == path
    finish(page, path)
    assert [balance_of(db, user) for user in users] == [Decimal("7.5")] * 4


def test_a_session_that_ends_before_the_upload_keeps_what_was_typed(app, page, users, db, admin):
    page.client.delete_cookie(COOKIE)
    fields = {"name": "A name", "reason": "Why not", "step": "preview", "file": (io.BytesIO(b"x" * 3_000_000), "f.csv")}
    answer = page.client.post(NEW, data=fields)
    assert answer.status_code == 401
    onward = re.search(r'name="next" value="([^"]+)"', answer.text)[1].replace("&amp;", "&")
    assert onward.startswith(f"{NEW}?")
    back = page.sign_in(token(sub=admin), next=onward)
    shown = page.get(back.location).text
    assert 'value="A name"' in shown
    assert 'value="Why not"' in shown
    assert "choose the file once more" in shown


def test_a_form_of_another_session_does_nothing(app, page, users, db):
    path = begin(page, uuid4().hex, table(users))
    assert page.client.post(f"{path}/step", data={"csrf_token": "made up"}).status_code == 400
    assert page.client.post(NEW, data={"name": "n", "reason": "r", "text": table(users)}).status_code == 400
    assert [balance_of(db, user) for user in users] == [5] * 4
    assert CSRF.search(page.get(NEW).text)


def test_a_user_is_let_into_none_of_it(app, user, admin):
    somebody = Browser(app)
    somebody.area = "/billing"
    somebody.sign_in(token(sub=user))
    for path in ("/admin/bulk", NEW, f"/admin/bulk/{uuid4()}", f"/admin/bulk/{uuid4()}/results.csv"):
        assert somebody.get(path).status_code == 403


# What is wrong with a file.


def test_rows_to_be_corrected_keep_all_of_it_back(page, users, db):
    name = uuid4().hex
    lines = [
        "user_id,amount,reason",
        f"{users[0]},1,",
        "nobody,1,",
        f'{users[1]},"1,5",',
        f"{users[2]},0.0000000001,",
        "",
        f"{users[3]},-1,",
        f"{users[3]},1,=1+1",
        f"{users[0]},1,",
        f"{users[1]},1",
    ]
    shown = upload(page, name, "\n".join(lines), step="start")
    text = text_of(shown.text)
    assert shown.status_code == 422
    assert "8 rows have to be corrected" in text
    problems = (
        "user_id_invalid", "amount_with_comma", "amount_too_precise", "amount_not_positive", "formula",
        "wrong_number_of_cells", "duplicate_user",
    )  # fmt: skip
    for problem in problems:
        assert PROBLEMS[problem] in text
    assert not SQL_WORDS.search(text), text
    cells = re.findall(r'data-label="Line">(\d+)</td>', shown.text)
    assert cells == ["2", "3", "4", "5", "7", "8", "9", "10"]
    assert "Upload the corrected file" in text
    assert db.execute("select from billing.bulk_grants where name = %s", [name]).rowcount == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file_empty"),
        (b"\xef\xbb\xbf \r\n", "file_empty"),
        (b"user_id,amount\n", "file_empty"),
        (b"PK\x03\x04 a workbook", "not_a_csv_file"),
        (b"\xd0\xcf\x11\xe0 an old one", "not_a_csv_file"),
        (b"user_id,amount\n\x00\x01", "not_a_csv_file"),
        ("user_id,amount\n".encode("utf-16"), "not_utf8"),
        ("user_id,amount,reason\nx,1,Größe\n".encode("latin-1"), "not_utf8"),
        (b"id,amount\nx,1\n", "unknown_column"),
        (b"user_id,amount,expire_at\nx,1,\n", "unknown_column"),
        (b"user_id,amount,\nx,1,\n", "unknown_column"),
        (b"user_id,reason\nx,1\n", "column_missing"),
        (b"amount,reason\n1,x\n", "column_missing"),
        (b"user_id,amount,Amount\nx,1,1\n", "column_twice"),
        (b"user_id,reference,amount\nx,y,1\n", "column_twice"),
        (b"user_id,amount\n" + b"x,1\n" * 10_001, "too_many_rows"),
        (b"x" * (bulk_file.LARGEST_FILE + 1), "file_too_large"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(page, content, code):
    answer = upload(page, "A name", content)
    assert answer.status_code == 422
    assert f"{code.replace('_', ' ').capitalize()}." in text_of(answer.text)
    assert not SQL_WORDS.search(text_of(answer.text)), text_of(answer.text)
    assert 'value="A name"' in answer.text
    with pytest.raises(Problem, match=code):
        read(decode(content))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{user},12.50,,", None),
        (" {user} , 12.5 ,,", None),
        ("{USER},1,,", None),
        ('"{user}","1","two\nlines",', None),
        ("{user},0.000000001,,2999-12-31T10:00:00+02:00", None),
        ("{user},,,", "amount_missing"),
        ("{user},1e3,,", "amount_invalid"),
        ("{user},NaN,,", "amount_invalid"),
        ("{user},$5,,", "amount_invalid"),
        ("{user},٣,,", "amount_invalid"),
        ("{user},1_000,,", "amount_invalid"),
        ('{user},"1,000.50",,', "amount_with_comma"),
        ('{user},"12,50",,', "amount_with_comma"),
        ("{user},=1+1,,", "formula"),
        ("{user},1,@SUM(A1),", "formula"),
        ('{user},1,"＝HYPERLINK(1)",', "formula"),  # noqa: RUF001
        ("{user}x,1,,", "user_id_invalid"),
        (",1,,", "user_id_invalid"),
        ("{user},1,,31.12.2999", "expires_at_invalid"),
        ("{user},1,,2999-02-30", "expires_at_invalid"),
        ("{user},1,,2999-W01-1", "expires_at_invalid"),
        ("{user},1,,infinity", "expires_at_invalid"),
        ("{user},1," + "x" * 2001 + ",", "reason_too_long"),
        ("{user},1,", "wrong_number_of_cells"),
        ('{user},1,"a,', "unbalanced_quotes"),
        ('{user},1,"a"b,', "unbalanced_quotes"),
    ],
)
def test_a_line_is_read_exactly_or_not_at_all(users, line, problem):
    told = line.replace("{user}", str(users[0])).replace("{USER}", str(users[0]).upper())
    file = read(f"user_id,amount,reason,expires_at\n\n{told}\n")
    assert [fault.problem for fault in file.faults] == ([problem] if problem else [])
    assert {row["row_no"] for row in file.rows} | {fault.row_no for fault in file.faults} == {3}
    assert all(isinstance(row["amount"], str) for row in file.rows)


def test_lines_are_counted_as_an_editor_counts_them(users):
    file = read(f'user_id,amount,reason\r\n\r\n{users[0]},1,"a\r\nb"\r\n{users[1]},x,\r\n,,\r\n{users[2]},1,c')
    assert [row["row_no"] for row in file.rows] == [3, 7]
    assert file.faults == [Fault(5, "amount_invalid", "x")]


def test_ten_thousand_rows_are_previewed_and_carried_on(page, users):
    rows = "".join(f"{UUID(int=number)},1,{'x' * 60}\n" for number in range(1, 10_001))
    text = f"user_id,amount,reason\n{rows}"
    shown = upload(page, uuid4().hex, text)
    assert shown.status_code == 200
    assert "10,000" in text_of(shown.text)
    assert "And 9,800 more." in text_of(shown.text)
    path = begin(page, uuid4().hex, text)
    assert "0 of 10,000 rows" in text_of(page.get(path).text)


def test_what_is_typed_is_shown_and_not_run(page, users, admin):
    script = "<script>alert(1)</script>"
    path = begin(page, f"{script}{uuid4()}", table(users), reason=script)
    for shown in (page.get(path), page.get("/admin/bulk"), upload(page, script, f"user_id,amount\n{script},1\n")):
        assert script not in shown.text
        assert "&lt;script&gt;" in shown.text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": " "}, "Give it a name."),
        ({"reason": ""}, "Say in a few words why"),
        ({"name": "x" * 201}, "At most 200 characters."),
        ({"expires_at": "soon"}, "Not a time"),
    ],
)
def test_a_form_that_is_not_filled_in(page, users, fields, text):
    answer = upload(page, **({"name": "n", "content": table(users)} | fields))
    assert answer.status_code == 422
    assert text in text_of(answer.text)


def test_an_expiry_that_has_passed(page, users):
    answer = upload(page, uuid4().hex, table(users), expires_at="2020-01-01T00:00")
    assert answer.status_code == 422
    assert PROBLEMS["expiry_not_ahead"] in text_of(answer.text)


def test_a_bulk_grant_that_there_is_not(page, admin):
    unknown = page.get(f"/admin/bulk/{uuid4()}")
    assert (unknown.status_code, '<a href="/admin/bulk">See all' in unknown.text) == (404, True)
    assert page.get(f"/admin/bulk/{uuid4()}/results.csv").status_code == 404
    assert step(page, f"/admin/bulk/{uuid4()}").status_code == 404


def test_results_page_by_page(page, db, admin):
    users = [uuid4() for _ in range(60)]
    for each in users:
        db.execute("select billing.open_account(%s)", [each])
    path = begin(page, uuid4().hex, table(users, "0.01"))
    assert json.loads(step(page, path).text)["done"] == 60
    first = page.get(path).text
    after = re.search(r"\?after=[-0-9a-f]+", first)[0]
    second = page.get(path + after).text
    shown = [sum(str(user) in text for user in users) for text in (first, second)]
    assert shown == [50, 10]
