"""The pytest plugin: reports of the checks that tests called, under the tests' own.

Loaded at every pytest start where steinlab is installed, so it imports nothing; ``-p no:steinlab``
leaves it out, and the checks do not need it.
"""

import sys
from typing import Any

KEY = "steinlab"
"""Of the reports in a test's ``user_properties``, which travel between processes."""


def _made() -> list[Any]:
    module = sys.modules.get("steinlab.testing.check")
    return module.REPORTS if module else []


def pytest_runtest_setup(item: Any) -> None:
    """Remember how many reports there were before the test."""
    item.stash_steinlab = len(_made())


def pytest_runtest_teardown(item: Any) -> None:
    """Hand the reports that the test made to its record."""
    for name, rows in _made()[getattr(item, "stash_steinlab", 0) :]:
        item.user_properties.append(
            (KEY, (name, sys.modules["steinlab.testing.check"].summary(rows)))
        )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Add the section: a line per subject."""
    found = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for key, value in getattr(report, "user_properties", ())
        if key == KEY
    ]
    if found:
        terminalreporter.section("steinlab conformance")
        for line in dict.fromkeys(f"{name}: {text}" for name, text in found):
            terminalreporter.write_line(line)
