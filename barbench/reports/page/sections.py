"""The sections of the HTML page about one group of comparable records: figures, what they show, what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from barbench.paper.tables import MIXED, PAPER_METHODS
from barbench.reports.page import plots
from barbench.reports.page.budgets import budget_figures
from barbench.reports.page.expressions import scored
from barbench.reports.page.figures import (
    PART_NAMES,
    Drawing,
    band_figures,
    cost_figures,
    ledger_figures,
    precision_figures,
    training_figures,
)
from barbench.reports.page.frames import Costs, costs
from barbench.reports.page.listings import ledger_table
from barbench.reports.page.style import Style, Styles
from barbench.reports.page.summary import summary_table
from barbench.reports.tables.grouping import Group, MethodRow, name_columns
from barbench.reports.tables.judgement import Judgement, judge
from barbench.reports.tables.layout import Score
from barbench.reports.tables.table import Table
from barbench.results.evidence import Evidence

Who = tuple[str, str, str]
"""A method, its options, and what its training mixes."""

Looks = Mapping[Who, Style]
Legend = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class PageSection:
    """A section about one set of conditions; empty fields are not printed.

    Attributes:
        key: of the section.
        title: its heading.
        figures: drawings.
        intro: before the drawings.
        remarks: after the drawings.
        legend: label and glyph.
        table: after the drawings.
        layout: a class of the style sheet.
        opening: whether it comes before the paper's tables.
    """

    key: str
    title: str
    figures: tuple[Drawing, ...] = ()
    intro: str = ""
    remarks: tuple[str, ...] = ()
    legend: Legend = ()
    table: Table | None = None
    layout: str = ""
    opening: bool = False


def choose_looks(groups: Sequence[Group]) -> Looks:
    """Choose the style of each method with its options: the paper's methods have fixed places, others follow."""
    looks: dict[Who, Style] = {(method, "", ""): Style(place) for place, method in enumerate(PAPER_METHODS)}
    for row in (row for members in groups for row in members.rows):
        looks.setdefault(_who(row), Style(len(looks)))
    return looks


def _who(row: MethodRow) -> Who:
    cell = row.records[0].cell
    return cell.method, row.options, MIXED.get(cell.protocol, "")


def sections_of(
    members: Group, arrays: Mapping[str, Mapping[str, Any]], looks: Looks, key: str, evidence: Evidence | None = None
) -> tuple[PageSection, ...]:
    """The sections about one group.

    Args:
        members: the records.
        arrays: per-expression arrays by the record's id, as saved.
        looks: from `choose_looks`.
        key: of the group on the page.
        evidence: the counts of expressions; without it nothing is bold.

    Returns:
        In the order of the page.
    """
    styles = {row.label: looks[_who(row)] for row in members.rows}
    found = costs(members)
    judgement = judge(Score("", "mIoU", found.columns, "datasets"), members, evidence)
    found, bars = found.with_intervals(judgement.margins), _bars(len(members.seeds), judgement)
    return (
        PageSection("summary", "What was measured", table=summary_table(members, found, judgement), opening=True),
        _cost_section(found, bars, styles, key),
        *_budget_sections(members, found, bars, styles, key),
        _training_section(members, styles, key),
        *_expression_sections(members, arrays, styles, key),
        _ledger_section(members, key),
    )


def _bars(seeds: int, judgement: Judgement) -> str:
    """What the bars of the drawings over cost and budget are."""
    if not judgement.margins:
        return (
            f"Bars reach from the lowest to the highest of {seeds} seeds." if seeds > 1 else "One seed: no intervals."
        )
    if seeds == 1:
        return "Bars of IoU are 95 % intervals over images."
    return (
        "Bars of IoU are 95 % intervals over images and seeds. Bars of cost reach from the lowest to the highest seed."
    )


def _legend(styles: Styles, name: str, labels: Sequence[str] | None = None) -> Legend:
    """The glyph of each label; `name` is the legend's own on the page."""
    chosen = {label: style for label, style in styles.items() if labels is None or label in labels}
    return [(label, plots.glyph(style, f"{name}-{n}")) for n, (label, style) in enumerate(chosen.items())]


def _cost_section(found: Costs, bars: str, styles: Styles, key: str) -> PageSection:
    figures = tuple(cost_figures(found, styles, key))
    if not figures:
        return PageSection(
            "cost", "Score and cost", remarks=("No finished cell, so nothing to compare.",), opening=True
        )
    intro = (
        f"IoU is the average over {name_columns(found.columns)}. {bars} The dashed line is the Pareto front: no method "
        "beside it has both more IoU and less cost."
    )
    machine = (f"Memory and throughput measured on {found.machine}.",) if found.machine else ()
    return PageSection(
        "cost",
        "Score and cost",
        figures,
        intro,
        (*machine, *found.absent),
        _legend(styles, f"{key}-cost", found.frame["label"].tolist()),
        opening=True,
    )


def _budget_sections(members: Group, found: Costs, bars: str, styles: Styles, key: str) -> tuple[PageSection, ...]:
    """Empty if no method has several points."""
    figures = tuple(budget_figures(found, members, styles, key))
    if not figures:
        return ()
    intro = (
        "A line joins the rows of one method that differ in numbers and towers alone; a method without such a knob is "
        f"a point. The place of a point is the count of its cell, not the budget's name. {bars}"
    )
    return (PageSection("budget", "Score over budget", figures, intro),)


def _training_section(members: Group, styles: Styles, key: str) -> PageSection:
    figures = tuple(training_figures(members, styles, key))
    if not figures:
        return PageSection("training", "Training", remarks=("No record has a training history.",))
    return PageSection("training", "Training", figures, legend=_legend(styles, f"{key}-training"), layout="small")


def _expression_sections(
    members: Group, arrays: Mapping[str, Mapping[str, Any]], styles: Styles, key: str
) -> tuple[PageSection, PageSection]:
    own = scored(members, arrays)
    labels = list(dict.fromkeys(label for by_label in own.values() for label in by_label))
    precision = tuple(precision_figures(own, styles, key))
    bands = tuple(band_figures(own, styles, key))
    if not own:
        missing = ("No arrays of single expressions are beside the records, so there is nothing to draw.",)
        return PageSection("precision", "P@X", remarks=missing), PageSection(
            "breakdown", "By expression", remarks=missing
        )
    kinds = any(one.kinds is not None for by_label in own.values() for one in by_label.values())
    old = (
        () if kinds else ("Scores by kind are left out: these records are older than the column that holds the kind.",)
    )
    seeds = " Bands: all seeds." if len(members.seeds) > 1 else ""
    return (
        PageSection(
            "precision",
            "P@X",
            precision,
            f"Share of expressions with an IoU above X; the papers print the marked points.{seeds}",
            legend=_legend(styles, f"{key}-precision", labels),
            layout="small",
        ),
        PageSection(
            "breakdown",
            "By expression",
            bands,
            "Mean IoU of the expressions of each band, averaged over seeds. Bars are 95 % intervals of a bootstrap "
            "over images. Size bands hold a quarter of the expressions each.",
            old,
            _legend(styles, f"{key}-breakdown", labels),
            layout="small",
        ),
    )


def _ledger_section(members: Group, key: str) -> PageSection:
    legend = [
        (name, Markup('<span class="swatch" style="background: var(--p{})"></span>').format(place))
        for place, name in enumerate(PART_NAMES.values())
    ]
    figures = tuple(ledger_figures(members, key))
    intro = "The paper's column counts the adapter group only. Each drawing has its own scale."
    return PageSection("parameters", "Parameters", figures, intro, (), legend, ledger_table(members), "small")
