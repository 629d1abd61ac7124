"""What a method finds, the object or the pixels: whether predictions show the target or another object of its category,
how good the masks of right targets are, and which of the two a failure is. `barbench report --table identity`, and on
the page under "Objects and sentences"."""

from typing import Final

import numpy as np

from barbench.metrics import (
    LEAST,
    LEAST_TRIED,
    MARGIN,
    MARGINS_TRIED,
    METRICS,
    RIVAL_STRATA,
    SUCCESS,
    Columns,
    right_terms,
    strata_name,
)
from barbench.reports.tables.averages import printed
from barbench.reports.tables.grouping import Group
from barbench.reports.tables.objects import (
    COVERS,
    Evaluated,
    Splits,
    plain,
    sections_of,
    splits_of,
    table_of,
    with_counts,
    with_margin,
)
from barbench.reports.tables.table import Entry, Header, Table
from barbench.results.interval import mean
from barbench.results.resampled import ResampledScores

NUMBER: Final = "identity"
"""What `--table` calls these tables."""


def identity_tables(members: Group, evidence: ResampledScores, caption: str = "") -> list[Table]:
    """The tables of one group, with that caption; [] if its records have no such intersections."""
    splits = splits_of(members, evidence, "target_right")
    if not splits:
        return []
    return [_identity_table(splits, caption), _rivals_table(splits, caption), _thresholds_table(splits, caption)]


def _identity_table(splits: Splits, caption: str) -> Table:
    headers = [
        Header("What is shown", "target"),
        Header("What is shown", "another"),
        Header("What is shown", "unclear"),
        Header("", "All-target"),
        Header("", "Quality"),
        Header("Failures", "another object"),
        Header("Failures", "unclear"),
        Header("Failures", "poor mask"),
        Header("Failures", "wrong of all"),
        Header("", "Retention"),
        Header("", "NCI"),
        Header("", "Donor"),
    ]

    def cells(one: Evaluated) -> list[Entry]:
        return [
            with_margin("target_right", one),
            plain("target_wrong", one),
            plain("target_unresolved", one),
            with_margin("all_target", one),
            with_margin("quality_given_target", one),
            plain("switch", one),
            _difference("identity_error", "switch", one),
            plain("poor_mask", one),
            _wrong_of_all(one),
            plain("retention", one),
            plain("nci", one, digits=2),
            plain("donor_preference", one),
        ]

    notes = [
        "In percent of the expressions with a rival: another object of the target's category in the image. Shown is "
        "the object of that category with the highest |P and G| / sqrt(|P| |G|), if that is at least "
        f"{LEAST:.2f} and {MARGIN:.2f} above the second; else it is unclear. All-target: share of the objects that "
        "every sentence shows. Quality: mean IoU where the target is shown.",
        f"Failures: IoU below {SUCCESS}, in percent of the same expressions; the prediction shows another object, "
        "nothing clearly, or the target with a poor mask. Wrong of all: share of the failures that do not show the "
        "target.",
        f"Retention: of the predictions that show the target, those with an IoU of at least {SUCCESS}. NCI: how far "
        "success of the mask and of the object coincide, 1 as far as their shares allow. Donor: for the sentence of "
        "another object of the category, share of the predictions that are more similar to that object.",
        COVERS,
    ]
    sections = sections_of(splits, cells, _rivals_of_split)
    return table_of("The object or the pixels", caption, headers, sections, notes, NUMBER)


def _rivals_table(splits: Splits, caption: str) -> Table:
    names = [strata_name(place) for place in range(len(RIVAL_STRATA))]
    headers = [Header("Rivals in the image", label) for label in RIVAL_STRATA]

    def cells(one: Evaluated) -> list[Entry]:
        return [with_margin(name, one) for name in names]

    sections = with_counts(sections_of(splits, cells, _rivals_of_split), splits, names)
    notes = ["Mean IoU by the number of other objects of the target's category, crowds not counted.", COVERS]
    return table_of("Mean IoU by number of rivals", caption, headers, sections, notes, NUMBER)


def _thresholds_table(splits: Splits, caption: str) -> Table:
    pairs = [(least, margin) for least in LEAST_TRIED for margin in MARGINS_TRIED]
    headers = [Header(f"Similarity ≥ {least:.2f}", f"margin {margin:.2f}") for least, margin in pairs]

    def cells(one: Evaluated) -> list[Entry]:
        entries = []
        for least, margin in pairs:
            shares = []
            for columns in one.runs:
                numerators, denominators = right_terms(columns, least, margin)
                if denominators.sum():
                    shares.append(float(100 * numerators.sum() / denominators.sum()))
            entries.append(_percent(mean(shares)) if shares else Entry("-"))
        return entries

    notes = ["Share of the expressions with a rival whose prediction shows the target, by the two thresholds of that."]
    sections = sections_of(splits, cells, _rivals_of_split)
    return table_of("Target shown, by thresholds", caption, headers, sections, notes, NUMBER)


def _difference(name: str, other: str, one: Evaluated) -> Entry:
    """The mean over seeds of one share less another, of the same expressions."""
    values = []
    for columns in one.runs:
        both = (METRICS[name].function(columns), METRICS[other].function(columns))
        if both[0] is not None and both[1] is not None:
            values.append(100 * (both[0] - both[1]))
    return _percent(mean(values)) if values else Entry("-")


def _wrong_of_all(one: Evaluated) -> Entry:
    """The share of identity errors among all failures, over the expressions of all seeds."""
    # Both shares are of the same expressions, so that their ratio is one of counts.
    wrong = 0.0
    poor = 0.0
    for columns in one.runs:
        errors = METRICS["identity_error"].function(columns)
        masks = METRICS["poor_mask"].function(columns)
        if errors is not None and masks is not None:
            wrong += errors
            poor += masks
    if wrong + poor == 0:
        return Entry("-")
    return _percent(100 * wrong / (wrong + poor))


def _percent(value: float) -> Entry:
    return Entry(printed(value, 1), value)


def _rivals_of_split(columns: Columns) -> str:
    several = int(np.count_nonzero(columns["rivals"]))
    return f"{several:,} of {len(columns['rivals']):,} expressions with a rival"
