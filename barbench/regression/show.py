"""Prints the outcome of a check for a terminal, a pull request or a program."""

import json
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from barbench.regression.check import Outcome
from barbench.regression.compare import GateFinding
from barbench.reports.formats import markdown
from barbench.reports.formats.terminal import Terminal
from barbench.reports.tables.table import Entry, Header, Mark, Section, Table

HEADERS = (
    Header("", "Section", "left", folds=True),
    Header("", "Entry", "left", folds=True),
    Header("", "", "left", folds=True),
    Header("", "Baseline", "right", folds=True),
    Header("", "Now", "right", folds=True),
    Header("", "Difference", "left", folds=True),
)
LONGEST = 40  # rows of a table; a mistake in the backbone moves hundreds of values


def show(outcome: Outcome, format_: str, console: Console) -> None:
    """Print what moved to standard output."""
    if format_ == "json":
        whole = {
            "ok": outcome.ok,
            "checked": len(outcome.findings),
            "suspects": list(outcome.suspects),
            "made_with": outcome.made_with,
            "here": outcome.here,
            "remarks": list(outcome.remarks),
            "findings": [finding._asdict() | {"verdict": finding.status} for finding in _rows(outcome)],
        }
        print(json.dumps(whole, indent=1))
        return
    # For people: what moved as a table, then the verdict and remarks.
    rows = _rows(outcome)
    table = _table(rows[:LONGEST])
    if format_ == "md":
        parts = [f"### {outcome.gate.check}: {_verdict(outcome)}"]
        if rows:
            parts.append(markdown.grid(table))
        print("\n\n".join([*parts, *_remarks(outcome)]))
        return
    if rows:
        console.print(Terminal(table))
    console.print(Text(_verdict(outcome), style="bold green" if outcome.ok else "bold red"))
    for remark in _remarks(outcome):
        console.print(Text(remark))


def _rows(outcome: Outcome) -> list[GateFinding]:
    """The findings that are shown, failures first: those that are not the same, or all."""
    shown = outcome.findings
    if not outcome.shows_all:
        shown = [finding for finding in shown if finding.status != "same"]
    return sorted(shown, key=lambda finding: not finding.failed)


def _table(findings: Sequence[GateFinding]) -> Table:
    rows = []
    for finding in findings:
        mark: Mark | None = "failed" if finding.failed else None
        fields = finding._asdict()
        del fields["failed"]
        rows.append(tuple(Entry(text, mark=mark) for text in fields.values()))
    return Table("", "", HEADERS, (Section("", tuple(rows)),))


def _verdict(outcome: Outcome) -> str:
    total = len(outcome.findings)
    failed = sum(finding.failed for finding in outcome.findings)
    if failed:
        return f"{failed} of {total} values moved"
    return f"{total} values checked, none moved"


def _remarks(outcome: Outcome) -> list[str]:
    said = list(outcome.remarks)
    if outcome.suspects:
        said.append(f"The models that moved are those that have {' and '.join(outcome.suspects)}, and no others.")
    rows = _rows(outcome)
    if len(rows) > LONGEST:
        counts = Counter(finding.section for finding in rows[LONGEST:])
        left_out = [f"{count} of {section}" for section, count in counts.items()]
        said.append(f"Not shown: {', '.join(left_out)}.")
    if not outcome.ok:
        # Another version of a package may be why numbers moved.
        changed = []
        for name, then in outcome.made_with.items():
            now = outcome.here.get(name)
            if now != then:
                changed.append(f"{name} {then} (now {now})")
        if changed:
            said.append(f"The baseline was made with {', '.join(changed)}; some of this may come from there.")
        said.append(f"Where this is meant, `{outcome.gate.update}` accepts it; say why in the commit.")
    return said
