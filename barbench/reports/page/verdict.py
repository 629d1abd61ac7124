"""The first sentence of the page: which method is best, which are not told apart from it, and the cheapest of these."""

from collections.abc import Sequence

import pandas as pd

from barbench.reports.page.frames import Costs
from barbench.reports.tables.averages import printed
from barbench.reports.tables.columns import shared_score
from barbench.reports.tables.grouping import Group, name_columns
from barbench.reports.tables.rows_measured import number
from barbench.reports.tables.significance import Significance
from barbench.results.interval import interval_around
from barbench.spec.text import listed

NAMED = 4
"""Methods that are named one by one."""


def verdict(members: Group, found: Costs, significance: Significance) -> str:
    """Who wins, from the average over the columns that all methods share, as one or two sentences."""
    # The two ends are named for comparison, and are not ranked.
    scores = found.frame.set_index("label")
    ends = [row.label for row in members.rows if row.is_reference and row.label in scores.index]
    ranked = scores.drop(index=ends).sort_values(["iou", "parameters"], ascending=[False, True], kind="stable")
    sentences = []
    if len(ranked):
        sentences.append(_best_of(ranked, significance, members))
    if ends:
        reached = [f"{label} {_score(scores, label, significance)}" for label in ends]
        sentences.append(f"For comparison: {listed(reached)}.")
    if len(members.seeds) == 1:
        sentences.append("One seed: another training may rank them otherwise.")
    return " ".join(sentences) or "No finished cell, so nothing to compare."


def _best_of(ranked: pd.DataFrame, significance: Significance, members: Group) -> str:
    """The sentence about the methods between the ends; `ranked` has the best first."""
    best = str(ranked.index[0])
    over = name_columns(shared_score(members).over)
    scored = f"{_score(ranked, best, significance)} % {members.conditions.metric} over {over}"
    if len(ranked) == 1:
        return f"{best} alone is finished: {scored}."
    beginning = f"{best} is best with {scored}"
    # Without counts of expressions nothing is ranked.
    alike = [str(label) for label in ranked.index if label in significance.best]
    if best not in alike:
        return f"{beginning}; without the counts of single expressions no difference can be tested."
    if len(alike) == 1:
        return f"{beginning}, more than chance above every other method; it tunes {_size(ranked, best)}."
    # Of methods that are not told apart, the cheapest one is the choice.
    others = [f"{label} ({printed(float(ranked['iou'][label]))})" for label in alike if label != best]
    verb = "is" if len(others) == 1 else "are"
    cheapest = str(ranked.loc[alike].sort_values("parameters", kind="stable").index[0])
    which = f"{cheapest}, which" if cheapest != best else "the best itself, which"
    return (
        f"{beginning}; {_some(others)} {verb} not told apart from it. The cheapest of these {len(alike)} is {which} "
        f"tunes {_size(ranked, cheapest)}."
    )


def _score(scores: pd.DataFrame, label: str, significance: Significance) -> str:
    """For example `42.2±1.2`."""
    mean = float(scores["iou"][label])
    return number(interval_around(mean, significance.margins.get(label, float("nan"))))


def _size(scores: pd.DataFrame, label: str) -> str:
    return f"{scores['parameters'][label]:.3f} M parameters"


def _some(names: Sequence[str]) -> str:
    """The names, or the first of many and how many others there are."""
    if len(names) <= NAMED:
        return listed(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} others"
