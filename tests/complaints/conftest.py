"""Prints the table of complaints: a row per method, a column per complaint (tests/complaints/complaints.py)."""

from collections import defaultdict

import pytest
from _pytest.terminal import TerminalReporter

from tests.complaints.complaints import COMPLAINTS, DOES_NOT_APPLY, METHODS

HARNESS = "(every method)"
"""The row of what does not depend on a method."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("complaint")
        if marker is not None:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            item.user_properties.append(("complaint", [marker.args[0], parameters.get("name", HARNESS)]))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    cells: dict[tuple[str, int], set[str]] = defaultdict(set)
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            # A file that could not be collected has none.
            for kind, value in getattr(report, "user_properties", ()):
                if kind == "complaint":
                    cells[value[1], value[0]].add(outcome)
    if not cells:
        return
    numbers = sorted({number for _, number in cells})
    used: dict[str, int] = {}
    write = terminalreporter.write_line
    terminalreporter.section("complaints")
    write(f"{'':<20}" + "".join(f"{number:>8}" for number in numbers))
    for name in (*METHODS, HARNESS):
        words = [_word(cells.get((name, number)), DOES_NOT_APPLY.get((number, name)), used) for number in numbers]
        if any(words):
            write(f"{name:<20}" + "".join(f"{word:>8}" for word in words))
    for number in numbers:
        write(f"{number}: {COMPLAINTS[number]}")
    for reason, place in used.items():
        write(f"no-{place}: does not apply, because {reason}")


def _word(outcomes: set[str] | None, reason: str | None, used: dict[str, int]) -> str:
    if not outcomes:
        return ""
    if outcomes != {"passed"}:
        return "red"
    if reason is not None:
        return f"no-{used.setdefault(reason, len(used) + 1)}"
    return "green"
