"""Compares two sets of values: what moved, what is missing, what is new, and which component is the cause."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from barbench.regression.rules import Rule, Value, Values

Status = Literal["same", "moved", "missing", "new"]


class GateFinding(NamedTuple):
    """One value of a section.

    Attributes:
        section: its name.
        entry: name of the value in the section.
        status: what became of it.
        failed: whether it is a reason not to merge.
        baseline: the old value as text.
        measured: the new value as text.
        difference: in words.
    """

    section: str
    entry: str
    status: Status
    failed: bool
    baseline: str
    measured: str
    difference: str


def compare_section(
    section: str, rule: Rule, baseline: Values | None, measured: Values, platform: str, allow_new: bool = False
) -> list[GateFinding]:
    """Compare the values of one section.

    Args:
        section: its name.
        rule: judges values that both sides have.
        baseline: old values; None if there are none for `platform`, which is one failure.
        measured: new values.
        platform: name for the message.
        allow_new: whether values that the baseline lacks are no failure.

    Returns:
        One finding per value of either side.
    """
    if baseline is None:
        said = f"no baseline for {platform}; on this machine, --update --only {section} makes one"
        return [GateFinding(section, "all", "missing", True, "", f"{len(measured)} values", said)]
    both = {name for name in baseline.keys() & measured.keys() if _kind(baseline[name]) == _kind(measured[name])}
    judged = rule({name: baseline[name] for name in both}, {name: measured[name] for name in both}) if both else {}
    found = []
    for name in dict.fromkeys((*baseline, *measured)):
        if name in judged:
            ok, old, new, said = judged[name]
            found.append(GateFinding(section, name, "same" if ok else "moved", not ok, old, new, said))
        elif name not in measured:
            found.append(
                GateFinding(section, name, "missing", True, _text(baseline[name]), "", "not measured any more")
            )
        elif name not in baseline:
            said = "not in the baseline"
            found.append(GateFinding(section, name, "new", not allow_new, "", _text(measured[name]), said))
        else:
            texts = _text(baseline[name]), _text(measured[name])
            found.append(GateFinding(section, name, "moved", True, *texts, "another kind of value"))
    return found


def suspects(findings: Sequence[GateFinding], compositions: Mapping[str, Sequence[str]]) -> list[str]:
    """Find the components whose methods are exactly those with moved values.

    A method is a set of components, so a mistake in one component moves the methods that have it and no others.

    Args:
        findings: of all sections.
        compositions: labels of components, by method; only the paper's methods, since among the variants there are
            other readings of a component under the same label.

    Returns:
        Labels; empty if all methods moved, or none.
    """
    rows = [f for f in findings if f.section == "models" and f.entry.partition("/")[0] in compositions]
    moved = {f.entry.partition("/")[0] for f in rows if f.status == "moved"}
    present = {f.entry.partition("/")[0] for f in rows}
    labels = sorted({label for name in present for label in compositions[name]})
    if not moved or moved == present:
        return []
    return [label for label in labels if {name for name in present if label in compositions[name]} == moved]


def _kind(value: Value) -> bool:
    return isinstance(value, list)


def _text(value: Value) -> str:
    first = value[0] if isinstance(value, list) and value else value
    return f"{first:,}" if isinstance(first, int) else f"{first:.6g}" if isinstance(first, float) else str(first)
