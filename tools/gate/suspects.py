"""Which component explains what moved."""

from collections.abc import Mapping, Sequence

from barbench.regression.compare import GateFinding


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
    present: set[str] = set()
    moved: set[str] = set()
    for finding in findings:
        method = finding.entry.partition("/")[0]
        if finding.section != "models" or method not in compositions:
            continue
        present.add(method)
        if finding.status == "moved":
            moved.add(method)
    if not moved or moved == present:
        return []

    having: dict[str, set[str]] = {}  # methods that have a component
    for method in present:
        for label in compositions[method]:
            having.setdefault(label, set()).add(method)
    return sorted(label for label, methods in having.items() if methods == moved)
