"""The order of the tests: what is to happen in real time is begun first and looked at last, so that nobody waits."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "begun_first: runs before all others, because something takes its time then")
    config.addinivalue_line("markers", "seen_last: runs after all others, when that has happened")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: (item.get_closest_marker("begun_first") is None, bool(item.get_closest_marker("seen_last")))
    )
