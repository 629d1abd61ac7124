"""`barbench check`: measure the sections, compare them with the baseline, or accept them as the new one."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from barbench.errors import UnknownName
from barbench.listing import progress_bar
from barbench.plain import OnProgress
from barbench.regression import baseline as files
from barbench.regression.compare import GateFinding, compare_section, suspects
from barbench.regression.fixtures import PAPER
from barbench.regression.rules import Rule, Values, close, exact, not_slower, within_seeds
from barbench.regression.sections import cost, data, evaluation, models, scores, speed

Measure = Callable[[OnProgress], Values]


class GateSection(NamedTuple):
    """What one section measures and how it is judged.

    Attributes:
        measure: what a check measures.
        rule: from old and new values to verdicts.
        portable: whether one baseline serves every machine.
        accepted: what a baseline holds, if that is more than a check measures.
        noisy: a value that failed is measured again, and the smaller one counts.
    """

    measure: Measure
    rule: Rule
    portable: bool = True
    accepted: Measure | None = None
    noisy: bool = False


# Tolerances: with torch's, MKL's, oneDNN's and OpenCV's code for SSE in place of AVX-512, data moved by 0.0008 at most,
# models by 0.002, evaluation by 0.00002.
SECTIONS: dict[str, GateSection] = {
    "ledger": GateSection(cost.ledger, exact),
    "flops": GateSection(cost.flops, exact),
    "memory": GateSection(cost.memory, exact, portable=False),
    "data": GateSection(data.data, close(0.003)),
    "models": GateSection(models.models, close(0.006)),
    "evaluation": GateSection(evaluation.scores_with_fixed_weights, close(0.0005)),
    "scores": GateSection(scores.scores, within_seeds, accepted=scores.scores_of_seeds),
    "speed": GateSection(speed.speed, not_slower, portable=False, noisy=True),
}
TRIES = 3


class Outcome(NamedTuple):
    """The result of a check.

    Attributes:
        findings: one per value.
        suspects: components that alone explain which models moved.
        made_with: packages that the baseline was made with.
        here: packages of this machine.
    """

    findings: list[GateFinding]
    suspects: list[str]
    made_with: dict[str, str]
    here: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.failed for finding in self.findings)


def check(path: Path | None, only: Sequence[str], allow_new: bool = False) -> Outcome:
    """Measure and compare with a baseline.

    Args:
        path: of the baseline; None for the one that barbench ships.
        only: names of sections; empty for all.
        allow_new: whether values that the baseline lacks are no failure.

    Returns:
        Findings.

    Raises:
        UnknownName: for an unknown section.
        UsageError: if there is no baseline.
        DataError: if the baseline cannot be read.
    """
    stored, chosen = files.load(path or files.COMMITTED), _chosen(only)
    findings: list[GateFinding] = []
    with _quietly():
        for name, section in chosen.items():
            old = stored.section(name, section.portable)
            measured = _settled(name, section, old)
            findings += compare_section(name, section.rule, old, measured, files.platform_key(), allow_new)
    compositions = {spec.name: spec.create().composition() for spec in PAPER}
    return Outcome(findings, suspects(findings, compositions), stored.made_with, files.packages())


def update(path: Path | None, only: Sequence[str]) -> Path:
    """Measure, and store the values as the baseline's sections.

    Args:
        path: of the baseline; None for the one that barbench ships.
        only: names of sections; empty for all.

    Returns:
        The file.

    Raises:
        UnknownName: for an unknown section.
        DataError: if the old baseline cannot be read.
    """
    path, chosen = path or files.COMMITTED, _chosen(only)
    stored = files.load(path) if path.exists() else files.Baseline()
    with _quietly():
        found = {name: _timed(name, section.accepted or section.measure) for name, section in chosen.items()}
    everywhere = {name: values for name, values in found.items() if SECTIONS[name].portable}
    here = {name: values for name, values in found.items() if not SECTIONS[name].portable}
    files.save(stored.accept(everywhere, here), path)
    return path


def _chosen(only: Sequence[str]) -> dict[str, GateSection]:
    for name in only:
        if name not in SECTIONS:
            raise UnknownName("section", name, SECTIONS)
    return {name: section for name, section in SECTIONS.items() if not only or name in only}


def _settled(name: str, section: GateSection, old: Values | None) -> Values:
    measured = dict(_timed(name, section.measure))
    for _ in range(TRIES - 1 if section.noisy else 0):
        if not any(f.status == "moved" for f in compare_section(name, section.rule, old, measured, "")):
            break
        again = _timed(name, section.measure)
        measured = {entry: min(value, again[entry]) for entry, value in measured.items()}
    return measured


def _timed(name: str, measure: Measure) -> Values:
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
