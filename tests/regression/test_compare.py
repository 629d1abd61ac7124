"""Findings: what moved, what is missing or new, and which component explains it."""

from barbench.methods.resolve import resolve
from barbench.regression.compare import compare_section, suspects
from barbench.regression.rules import Values, exact

OLD: Values = {"same": 1, "moved": 2, "gone": 3, "other kind": 4}
NEW: Values = {"same": 1, "moved": 5, "added": 6, "other kind": [4.0]}


def statuses(allow_new: bool = False) -> dict[str, tuple[str, bool]]:
    found = compare_section("ledger", exact, OLD, NEW, "here", allow_new)
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


def test_another_platform_fails_once_and_says_what_to_do() -> None:
    [finding] = compare_section("memory", exact, None, NEW, "torch 9.9, Plan 9")
    assert finding.failed
    assert "torch 9.9, Plan 9" in finding.difference
    assert "--update --only memory" in finding.difference


def suspected(*moved: str) -> list[str]:
    compositions = {spec.name: spec.create().composition() for spec in resolve("all,head-only")}
    old: Values = {f"{name}/logits": 1 for name in compositions}
    new: Values = {f"{name}/logits": 2 if name in moved else 1 for name in compositions}
    return suspects(compare_section("models", exact, old, new, ""), compositions)


def test_the_methods_that_moved_name_the_component() -> None:
    assert suspected("snf", "snf-etris", "no-global", "barleria") == ["SNF"]
    assert suspected("etris", "snf-etris") == ["Bridge"]
    assert suspected("no-global", "barleria") == ["LIM"]
    assert suspected("barleria") == ["GST"]


def test_where_no_component_explains_it_nobody_is_named() -> None:
    assert suspected() == []
    assert suspected("snf") == []
    assert suspected("head-only", "etris", "snf", "snf-etris", "no-global", "barleria") == []
