"""What the browser tests lean on: a page with a fault fails its test, and one without does not."""

import pytest

from api.tests.browser.conftest import People, beyond_the_edge, serious_faults

pytestmark = pytest.mark.once

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
PAGE = """<!doctype html><html lang="en"><title>Test</title><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><main><h1>Test</h1><script src="/script.js"></script>"""


def faults_of(people: People, html: str, script: str, *, status: int = 200) -> list[str]:
    """What is noticed on a page with this in its body."""
    page = people.visitor()
    answer = {"status": status, "content_type": "text/html", "body": PAGE + html}
    page.route("**/page", lambda route: route.fulfill(headers={"Content-Security-Policy": POLICY}, **answer))
    page.route("**/script.js", lambda route: route.fulfill(content_type="text/javascript", body=script))
    page.goto("/page")
    page.wait_for_timeout(500)
    found = people.leave()
    people.contexts.clear()
    return found


def test_a_page_without_a_fault_passes(people):
    assert faults_of(people, "<p>Fine</p>", "console.log('fine')") == []
    assert faults_of(people, "<p>There is no such page.</p>", "", status=404) == []


def test_a_page_with_faults_fails_for_each(people):
    html = """<script>window.ran = 1</script> <b onclick="run()">x</b> <b style="color: red">x</b>
        <img src="https://cdn.example.com/a.png" alt=""> <script src="/nowhere.js"></script>"""
    script = "console.error('lost'); alert('boo'); setTimeout(() => { throw new Error('thrown') }); nothing()"
    found = faults_of(people, html, script)
    for noticed in (
        "Executing inline script violates",
        "Executing inline event handler violates",
        "Applying inline style violates",
        "asked another host: https://cdn.example.com/a.png",
        "404 for GET",
        "lost",
        "a dialog opened: boo",
        "/page: thrown",
        "nothing is not defined",
    ):
        assert [fault for fault in found if noticed in fault], f"{noticed} not in {found}"


def test_an_answer_that_failed_is_a_fault(people):
    assert [fault for fault in faults_of(people, "<p>Broken</p>", "", status=500) if fault.startswith("500 for GET")]


def test_axe_and_the_width_are_measured(people):
    page = people.visitor(phone=True)
    html = PAGE + f'<img src="data:,"><button></button><pre>{"wide" * 50}</pre>'
    page.route("**/page", lambda route: route.fulfill(content_type="text/html", body=html))
    page.route("**/script.js", lambda route: route.fulfill(content_type="text/javascript", body=""))
    page.goto("/page")
    found = serious_faults(page)
    assert {fault.split(" ")[0] for fault in found} == {"image-alt", "button-name"}
    assert beyond_the_edge(page)[-1] == "the page scrolls sideways"
