"""The Chromium of Debian, driven by Playwright: for the tests in a browser, and for the screenshots.

Its headless shell is the same engine without a browser's windows, and opens a page in half the time.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 375, "height": 740}
PROGRAMS = ("chromium-headless-shell", "chromium")
# Root has no sandbox, and /dev/shm is small in a container.
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage"]


class ChromiumError(Exception):
    """There is no Chromium; the message says what to do."""


def chromium_path() -> Path:
    """Where Chromium is: the browsers that Playwright downloads come from no package, and it finds no other itself."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return Path(found)
    raise ChromiumError("Chromium is not installed: python3 scripts/system.py browser")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for as long as the block runs; no asyncio runs in this thread meanwhile, for Playwright's does."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=OPTIONS)
        yield browser
        browser.close()
