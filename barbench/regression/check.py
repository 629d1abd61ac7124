"""`barbench check`: measure sections, compare them with a baseline, or accept them as the new one.

The same runner serves `python -m tools.gate`, which has other sections and a baseline file of its own.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from barbench.errors import UnknownName
from barbench.listing import progress_bar
from barbench.progress import OnProgress
from barbench.regression import baseline as files
from barbench.regression import evaluation, scores
from barbench.regression.compare import GateFinding, compare_section
from barbench.regression.rules import Rule, Values, close, within_seeds

Measure = Callable[[OnProgress], Values]


class GateSection(NamedTuple):
    """What one section measures and how it is judged.

    Attributes:
        portable: whether one baseline is valid on every machine.
        accepted: what a baseline holds, if that is more than a check measures.
        noisy: a value that failed is measured again, and the smaller one counts.
    """

    measure: Measure
    rule: Rule
    portable: bool = True
    accepted: Measure | None = None
    noisy: bool = False


class Gate(NamedTuple):
    """Sections by name, in the order in which they are measured, the file that is used if no other is named, and the
    commands that check and update it."""

    sections: Mapping[str, GateSection]
    baseline: Path
    check: str
    update: str


# Tolerances: with torch's, MKL's, oneDNN's and OpenCV's code for SSE in place of AVX-512, evaluation moved by 0.00002.
SCORES = Gate(
    sections={
        "evaluation": GateSection(evaluation.scores_with_fixed_weights, close(0.0005)),
        "scores": GateSection(scores.scores, within_seeds, accepted=scores.scores_of_seeds),
    },
    baseline=files.COMMITTED,
    check="barbench check",
    update="barbench check --update",
)
TRIES = 3


class Outcome(NamedTuple):
    """The result of a check.

    Attributes:
        made_with: packages that the baseline was made with.
        suspects: components that alone explain which models moved.
        remarks: what else a reader must know, as sentences.
        shows_all: whether values that did not move are shown too.
    """

    gate: Gate
    findings: list[GateFinding]
    made_with: dict[str, str]
    here: dict[str, str]
    suspects: Sequence[str] = ()
    remarks: Sequence[str] = ()
    shows_all: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.failed for finding in self.findings)


def check(gate: Gate, path: Path | None, only: Sequence[str], allow_new: bool = False) -> Outcome:
    """Measure and compare with a baseline; errors are those of `files.load`, and UnknownName for an unknown section.

    Args:
        path: of the baseline; None for the gate's own.
        only: names of sections; empty for all.
        allow_new: whether values that the baseline lacks are no failure.
    """
    stored = files.load(path or gate.baseline, gate.update)
    chosen = _chosen(gate, only)
    findings: list[GateFinding] = []
    with _quietly():
        for name, section in chosen.items():
            old = stored.section(name, section.portable)
            measured = _measure_again_if_slow(name, section, old)
            missing = f"no baseline for {files.platform_key()}; on this machine, {gate.update} --only {name} makes one"
            findings += compare_section(name, section.rule, old, measured, missing, allow_new)
    return Outcome(gate, findings, stored.made_with, files.packages())


def update(gate: Gate, path: Path | None, only: Sequence[str]) -> Path:
    """Measure, and store the values as the baseline's sections; arguments and errors as for `check`, but there need not
    be a baseline."""
    path = path or gate.baseline
    chosen = _chosen(gate, only)
    stored = files.load(path, gate.update) if path.exists() else files.Baseline()
    everywhere: dict[str, Values] = {}
    here: dict[str, Values] = {}
    # Values that hold on any machine are stored once, others by platform.
    with _quietly():
        for name, section in chosen.items():
            values = _timed(name, section.accepted or section.measure)
            kind = everywhere if section.portable else here
            kind[name] = values
    files.save(stored.accept(everywhere, here), path)
    return path


def _chosen(gate: Gate, only: Sequence[str]) -> dict[str, GateSection]:
    for name in only:
        if name not in gate.sections:
            raise UnknownName("section", name, gate.sections)
    if not only:
        return dict(gate.sections)
    return {name: section for name, section in gate.sections.items() if name in only}


def _measure_again_if_slow(name: str, section: GateSection, old: Values | None) -> Values:
    measured = dict(_timed(name, section.measure))
    if not section.noisy:
        return measured
    # Other load can only slow a measurement down: of several, the fastest counts.
    for _ in range(TRIES - 1):
        findings = compare_section(name, section.rule, old, measured, "")
        if not any(finding.status == "moved" for finding in findings):
            break
        again = _timed(name, section.measure)
        measured = {entry: min(value, again[entry]) for entry, value in measured.items()}
    return measured


def _timed(name: str, measure: Measure) -> Values:
    # Standard output has the outcome alone.
    begin = time.monotonic()
    with progress_bar(name) as progress:
        values = measure(progress)
    print(f"{name}: {len(values)} values in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return values


@contextmanager
def _quietly() -> Iterator[None]:
    """Run on one thread, since sums depend on how they are divided, and without libraries' warnings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
