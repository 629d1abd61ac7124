"""Compares two sets of values: what moved, what is missing, what is new."""

from typing import Literal, NamedTuple

from barbench.regression.rules import Rule, Value, Values

Status = Literal["same", "moved", "missing", "new"]


class GateFinding(NamedTuple):
    """One value of a section: its name, what became of it, whether that is a reason not to merge, and old and new value
    as text."""

    section: str
    entry: str
    status: Status
    failed: bool
    baseline: str
    measured: str
    difference: str


def compare_section(
    section: str, rule: Rule, baseline: Values | None, measured: Values, missing: str, allow_new: bool = False
) -> list[GateFinding]:
    """Compare the values of one section.

    Args:
        baseline: old values; None if there are none, which is one failure.
        missing: the message if there are no old values.
        allow_new: whether values that the baseline lacks are no failure.
    """
    if baseline is None:
        return [GateFinding(section, "all", "missing", True, "", f"{len(measured)} values", missing)]
    # The rule judges all values that both sides have, since it may pool them.
    before = {}
    now = {}
    for name, value in baseline.items():
        if name in measured and isinstance(value, list) == isinstance(measured[name], list):
            before[name] = value
            now[name] = measured[name]
    judged = rule(before, now) if now else {}

    found = []
    for name in dict.fromkeys((*baseline, *measured)):
        if name in judged:
            verdict = judged[name]
            status: Status = "same" if verdict.ok else "moved"
            texts = (verdict.baseline, verdict.measured, verdict.difference)
            found.append(GateFinding(section, name, status, not verdict.ok, *texts))
            continue
        # A value that one side lacks, or that is a list on one side only.
        old = _text(baseline[name]) if name in baseline else ""
        new = _text(measured[name]) if name in measured else ""
        if name not in measured:
            found.append(GateFinding(section, name, "missing", True, old, new, "not measured any more"))
        elif name not in baseline:
            found.append(GateFinding(section, name, "new", not allow_new, old, new, "not in the baseline"))
        else:
            found.append(GateFinding(section, name, "moved", True, old, new, "another kind of value"))
    return found


def _text(value: Value) -> str:
    """A number, or the first of a list."""
    first: Value | float = value
    if isinstance(value, list) and value:
        first = value[0]
    if isinstance(first, int):
        return f"{first:,}"
    if isinstance(first, float):
        return f"{first:.6g}"
    return str(first)
