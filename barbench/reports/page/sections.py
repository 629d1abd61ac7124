"""The sections of the HTML page about one group of comparable records: figures, what they show, what is missing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from markupsafe import Markup

from barbench.paper.tables import MIXED, PAPER_METHODS
from barbench.reports.page import plots
from barbench.reports.page.budgets import budget_figures, curve_styles
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
from barbench.reports.page.rates import rate_drawing
from barbench.reports.page.style import Style, Styles
from barbench.reports.page.summary import summary_table
from barbench.reports.page.svg import mark_key
from barbench.reports.page.verdict import verdict
from barbench.reports.tables.accounting import accounting_table
from barbench.reports.tables.columns import shared_score
from barbench.reports.tables.grouping import Group, MethodRow, name_columns
from barbench.reports.tables.identity import identity_tables
from barbench.reports.tables.objects import object_tables
from barbench.reports.tables.pairs import pairs_table
from barbench.reports.tables.significance import Significance, rank_rows
from barbench.reports.tables.table import Table
from barbench.results.resampled import ResampledScores
from barbench.spec.recipe import load_recipe
from barbench.spec.search import shipped_trials

MethodKey = tuple[str, str, str]
"""A method, its options, and what its training mixes."""

MethodStyles = Mapping[MethodKey, Style]


class LegendEntry(NamedTuple):
    """A label beside its glyph; `key` is that of its marks in the drawings, empty where they cannot be hidden."""

    label: str
    glyph: str
    key: str = ""


Legend = Sequence[LegendEntry]
NOT_FINISHED: Final = "No finished cell, so nothing to compare."
NO_HISTORY: Final = "No record has a training history."
NO_ARRAYS: Final = "No arrays of single expressions are beside the records, so there is nothing to draw."
NO_OBJECTS: Final = "Left out: no arrays of expressions that mean one object each are beside the records."
RATES_NOTE: Final = "Filled: the best trial, whose rate the method trains with. Cross: the loss became infinite."
NO_KINDS: Final = "Scores by kind are left out: these records are older than the column that holds the kind."


@dataclass(frozen=True)
class PageSection:
    """A section about one set of conditions; empty fields are not printed.

    Attributes:
        intro: before the drawings.
        remarks: after the drawings.
        layout: a class of the style sheet.
        opening: whether it comes before the paper's tables.
        choosing: whether the reader chooses which columns and rows of `table` are shown.
    """

    key: str
    title: str
    figures: tuple[Drawing, ...] = ()
    intro: str = ""
    remarks: tuple[str, ...] = ()
    legend: Legend = ()
    table: Table | None = None
    more: tuple[Table, ...] = ()
    layout: str = ""
    opening: bool = False
    choosing: bool = False


class Sections(NamedTuple):
    """What the page says about one group: who wins, then the sections in their order."""

    verdict: str
    parts: tuple[PageSection, ...]


def assign_styles(groups: Sequence[Group]) -> MethodStyles:
    """The style of each method with its options: the paper's methods have fixed places, others follow."""
    styles: dict[MethodKey, Style] = {}
    for place, method in enumerate(PAPER_METHODS):
        styles[method, "", ""] = Style(place)
    for members in groups:
        for row in members.rows:
            styles.setdefault(_method_key(row), Style(len(styles)))
    return styles


def _method_key(row: MethodRow) -> MethodKey:
    cell = row.cell
    return cell.method, row.options, MIXED.get(cell.dataset, "")


def sections_of(members: Group, evidence: ResampledScores, method_styles: MethodStyles, key: str) -> Sections:
    """The sections about one group; `key` is the group's on the page."""
    # What several sections need.
    styles = {row.label: method_styles[_method_key(row)] for row in members.rows}
    found = costs(members)
    significance = rank_rows(shared_score(members), members, evidence)
    found = found.with_intervals(significance.margins)
    bars = _bars(len(members.seeds), significance)
    summary = summary_table(members, found, significance, evidence)
    # In the order of the page.
    parts = (
        PageSection("summary", "What was measured", table=summary, opening=True, choosing=True),
        _cost_section(found, bars, styles, key),
        *_pairs_sections(members, evidence),
        *_budget_sections(members, found, bars, styles, key),
        _training_section(members, styles, key),
        *_rates_sections(members, key),
        *_expression_sections(members, evidence, styles, key),
        _objects_section(members, evidence),
        _ledger_section(members, key),
    )
    return Sections(verdict(members, found, significance), parts)


def _rates_sections(members: Group, key: str) -> list[PageSection]:
    """The search of the group's recipe, for the methods of the group; none where the recipe does not ship, or has
    changed since."""
    recipe = members.records[0].cell.recipe
    name = str(recipe.get("name"))
    methods = {row.cell.method for row in members.rows}
    trials = [trial for trial in shipped_trials(name) if trial.method in methods]
    if not trials:
        return []
    # The trials are those of the recipe as it ships.
    shipped = load_recipe(name)
    if recipe.get("tuning") != shipped.fields().get("tuning"):
        return []
    title = "Held-out IoU over the learning rate"
    drawing = Drawing(title, rate_drawing(trials, f"{key}-rates", title), RATES_NOTE)
    return [
        PageSection("rates", "How the rates were found", figures=(drawing,), intro=f"{shipped.tuning}.", layout="wide")
    ]


def _bars(seeds: int, significance: Significance) -> str:
    """What the bars of the drawings over cost and budget are."""
    if not significance.margins and seeds == 1:
        return "One seed: no intervals."
    if not significance.margins:
        return f"Bars reach from the lowest to the highest of {seeds} seeds."
    if seeds == 1:
        return "Bars of IoU are 95 % intervals over images."
    return (
        "Bars of IoU are 95 % intervals over images and seeds. Bars of cost reach from the lowest to the highest seed."
    )


def _legend(styles: Styles, name: str) -> Legend:
    """The label and glyph of each style; `name` begins the glyphs' names on the page."""
    entries = []
    for number, (label, style) in enumerate(styles.items()):
        entries.append(LegendEntry(label, plots.glyph(style, f"{name}-{number}"), mark_key(label)))
    return entries


def _only(styles: Styles, labels: Collection[str]) -> Styles:
    return {label: style for label, style in styles.items() if label in labels}


def _cost_section(found: Costs, bars: str, styles: Styles, key: str) -> PageSection:
    figures = tuple(cost_figures(found, styles, key))
    title = "Score and cost"
    if not figures:
        return PageSection("cost", title, remarks=(NOT_FINISHED,), opening=True)
    intro = (
        f"IoU is the average over {name_columns(found.columns)}. {bars} The dashed line is the Pareto front: no method "
        "beside it has both more IoU and less cost."
    )
    # Where it was measured, then who is missing and why.
    remarks = list(found.absent)
    if found.machine:
        remarks.insert(0, f"Memory and throughput measured on {found.machine}.")
    shown = _only(styles, found.frame["label"].tolist())
    legend = _legend(shown, f"{key}-cost")
    return PageSection("cost", title, figures, intro, tuple(remarks), legend, opening=True)


def _pairs_sections(members: Group, evidence: ResampledScores) -> tuple[PageSection, ...]:
    """Empty where no two methods can be compared."""
    tables = tuple(pairs_table(members, evidence))
    if not tables:
        return ()
    intro = "Each method's average minus every other one's, row minus column. What is bold is more than chance."
    return (PageSection("pairs", "All pairs", intro=intro, more=tables, opening=True),)


def _budget_sections(members: Group, found: Costs, bars: str, styles: Styles, key: str) -> tuple[PageSection, ...]:
    """Empty if no method has several points."""
    of_curves = curve_styles(found, members, styles)
    figures = tuple(budget_figures(found, members, of_curves, key))
    if not figures:
        return ()
    intro = (
        "A line joins the rows of one method that differ in numbers and towers alone; a method without such a knob is "
        f"a point. The place of a point is the count of its cell, not the budget's name. {bars}"
    )
    legend = _legend(of_curves, f"{key}-budget")
    return (PageSection("budget", "Score over budget", figures, intro, legend=legend),)


def _training_section(members: Group, styles: Styles, key: str) -> PageSection:
    figures = tuple(training_figures(members, styles, key))
    if not figures:
        return PageSection("training", "Training", remarks=(NO_HISTORY,))
    return PageSection("training", "Training", figures, legend=_legend(styles, f"{key}-training"), layout="small")


def _expression_sections(
    members: Group, evidence: ResampledScores, styles: Styles, key: str
) -> tuple[PageSection, PageSection]:
    """P@X, and scores by kind of expression."""
    by_column = scored(members, evidence)
    if not by_column:
        return (
            PageSection("precision", "P@X", remarks=(NO_ARRAYS,)),
            PageSection("breakdown", "By expression", remarks=(NO_ARRAYS,)),
        )
    # The legend names the methods that have arrays.
    labels: set[str] = set()
    has_kinds = False
    for by_label in by_column.values():
        labels.update(by_label)
        has_kinds = has_kinds or any(one.kinds is not None for one in by_label.values())
    shown = _only(styles, labels)
    intro = "Share of expressions with an IoU above X; the papers print the marked points."
    if len(members.seeds) > 1:
        intro += " Bands: all seeds."
    precision = PageSection(
        "precision",
        "P@X",
        tuple(precision_figures(by_column, styles, key)),
        intro,
        legend=_legend(shown, f"{key}-precision"),
        layout="small",
    )
    breakdown = PageSection(
        "breakdown",
        "By expression",
        tuple(band_figures(by_column, styles, key)),
        "Mean IoU of the expressions of each band, averaged over seeds. Bars are 95 % intervals of a bootstrap "
        "over images. Size bands hold a quarter of the expressions each.",
        remarks=() if has_kinds else (NO_KINDS,),
        legend=_legend(shown, f"{key}-breakdown"),
        layout="small",
    )
    return precision, breakdown


def _objects_section(members: Group, evidence: ResampledScores) -> PageSection:
    """What becomes of an object under its sentences, intervals by image, P@X both ways, scores by size."""
    title = "Objects and sentences"
    tables = object_tables(members, evidence)
    if not tables:
        return PageSection("objects", title, remarks=(NO_OBJECTS,))
    intro = "Computed from the counts of single expressions, so that records of any age have them."
    # Which object is shown, where the records know what else the images hold.
    tables += identity_tables(members, evidence)
    return PageSection("objects", title, intro=intro, more=tuple(tables))


def _ledger_section(members: Group, key: str) -> PageSection:
    swatch = Markup('<span class="swatch" style="background: var(--p{})"></span>')
    legend = [LegendEntry(name, swatch.format(place)) for place, name in enumerate(PART_NAMES.values())]
    figures = tuple(ledger_figures(members, key))
    intro = "The paper's column counts the adapter group only. Each drawing has its own scale."
    table = accounting_table(members)
    return PageSection("parameters", "Parameters", figures, intro, legend=legend, table=table, layout="small")
