"""Findings: what moved, what is missing or new."""

from barbench.regression.compare import compare_section
from barbench.regression.rules import Values
from tools.gate.rules import exact

OLD: Values = {"same": 1, "moved": 2, "gone": 3, "other kind": 4}
NEW: Values = {"same": 1, "moved": 5, "added": 6, "other kind": [4.0]}


def statuses(allow_new: bool = False) -> dict[str, tuple[str, bool]]:
    found = compare_section("ledger", exact, OLD, NEW, "no baseline", allow_new)
    return {finding.entry: (finding.status, finding.failed) for finding in found}


def test_what_is_missing_or_new_fails_like_what_moved() -> None:
    assert statuses() == {
        "same": ("same", False),
        "moved": ("moved", True),
        "gone": ("missing", True),
        "added": ("new", True),
        "other kind": ("moved", True),
    }


def test_what_is_new_may_be_allowed_but_not_what_is_missing() -> None:
    assert statuses(allow_new=True) == statuses() | {"added": ("new", False)}


def test_no_old_values_are_one_failure_that_says_what_to_do() -> None:
    [finding] = compare_section("memory", exact, None, NEW, "no baseline for Plan 9; update makes one")
    assert finding.failed
    assert finding.difference == "no baseline for Plan 9; update makes one"
