"""A browser without a screen: Flask's client, which signs in and sends forms as their pages do."""

import re
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

from werkzeug.test import TestResponse

from api import API
from api.tests.conftest import token

# The session's cookie where APP_URL begins with https://.
COOKIE = "__Host-billing"
CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')

# What a page for people does not say: a function of the database, or its argument.
SQL_WORDS = re.compile(r"\bbilling\.|\bp_\w|\w\(|\bnull\b")


class Browser:
    """Somebody with a browser; whoever is given is signed in, at the panel unless told."""

    def __init__(self, app: API, user_id: UUID | None = None, *, area: str = "/admin", **options: Any) -> None:
        self.app = app
        self.area = area
        self.options = options
        self.client = app.test_client()
        if user_id is not None:
            answer = self.sign_in(token(sub=user_id))
            assert answer.status_code == 303, answer.text

    def sign_in(self, made: str, **fields: str) -> TestResponse:
        return self.post(f"{self.area}/sign-in", {"token": made} | fields)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **self.options | options)

    def post(self, path: str, fields: dict[str, Any] | None = None, **options: Any) -> TestResponse:
        """Send a form as a page of this session would have it."""
        return self.client.post(path, data={"csrf_token": self.csrf()} | (fields or {}), **self.options | options)

    def csrf(self) -> str:
        found = CSRF.search(self.get(self.area, follow_redirects=True).text)
        assert found, "no page with a form"
        return found[1]


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(html: str) -> str:
    """What a page says, without its tags, in one line."""
    parser = _Text()
    parser.feed(html)
    return " ".join("".join(parser.parts).split())
