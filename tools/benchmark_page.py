"""Write what the pages say of the embedded benchmark from its records: `python -m tools.benchmark_page`.

Every number, table and sentence with a number between two marks of README, docs/benchmark.md and docs/output.md comes
from the records under results/embedded/, from the search beside the recipe and from the stored counts; a test compares.
`barbench report --results results/embedded --format html` shows the same records as a page.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from io import BytesIO
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Final

import numpy as np
from PIL import Image

from barbench.methods.catalog import METHODS
from barbench.methods.counts import FILE as COUNTS
from barbench.metrics import Floats
from barbench.paper.tables import FULL, HEAD_ONLY, PAPER_METHODS, Column
from barbench.reports.formats.markdown import grid, pipe_table, render
from barbench.reports.page.frames import costs
from barbench.reports.page.rates import rate_curves
from barbench.reports.page.verdict import verdict
from barbench.reports.tables.averages import millions, over_seeds
from barbench.reports.tables.build import build_measured
from barbench.reports.tables.columns import ScoreColumn, shared_score
from barbench.reports.tables.grouping import Group, MethodRow, group
from barbench.reports.tables.identity import identity_tables
from barbench.reports.tables.necks import build_necks
from barbench.reports.tables.objects import object_tables
from barbench.reports.tables.significance import Significance, compare_pairs, rank_rows, samples_of
from barbench.reports.tables.table import Align, Entry, Table
from barbench.results.interval import Interval, interval_around
from barbench.results.resampled import Difference, ResampledScores
from barbench.results.store import Store
from barbench.spec.search import Trial, shipped_trials
from tools import step_times

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "embedded"
PAGES = ("README.md", "docs/benchmark.md", "docs/output.md", "docs/backbones.md")
BUDGET = ROOT / "results" / "budget-b4"
CURVES = ROOT / "results" / "pet-budget"
RATES_IMAGE = ROOT / "docs" / "images" / "rates.webp"
BACKBONES: Final = ("tiny", "tiny-eva", "tiny-l")
"""The stand-ins of the backbones of the paper's Tables 1, 2 and 3."""
RECIPE: Final = "demo"
RANDOM_HEAD: Final = "demo-random-head"
SEVEN: Final = (HEAD_ONLY, *PAPER_METHODS, FULL)
OWN_SIZE: Final = "Own size"
PROTOCOL_ROWS: Final = (*SEVEN, "lora")
MARK = re.compile(r"<!-- begin (?P<name>[\w-]+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)
POINTS: Final = 100
MENDED: Final = {
    "Every sentence All@0.5": "All@0.5",
    "Every sentence worst": "Worst sentence",
    "What is shown target": "Target shown",
    "Quality": "IoU of these",
    "Failures another object": "Another object",
    "Failures unclear": "Unclear",
    "Failures poor mask": "Poor mask",
    "Failures wrong of all": "Failures not at the target",
}
"""Columns of the tables on objects -> what the page calls them."""


class Ranked:
    """The rows of one group with what their counts of expressions show about each score and each pair.

    Args:
        members: rows that all have the same seeds.
        evidence: the counts of expressions beside the records.
    """

    def __init__(self, members: Group, evidence: ResampledScores) -> None:
        self.members = members
        self.evidence = evidence
        self.average = shared_score(members)
        self.columns = self.average.over
        self.labels = [row.label for row in members.rows]
        self.between = [row.label for row in members.rows if not row.is_reference]
        self._known: dict[ScoreColumn, Significance] = {}

    @cached_property
    def pairs(self) -> dict[tuple[str, str], Difference]:
        """The difference of each pair of rows, averaged over the columns."""
        return compare_pairs(self.average, self.members, self.evidence)

    def told_apart(self, label: str) -> int:
        """How many of the other rows between the two ends a row is told apart from."""
        between = set(self.between)
        found = [pair for pair, difference in self.pairs.items() if difference.significant]
        return sum(label in pair and between.issuperset(pair) for pair in found)

    def significance(self, score: ScoreColumn) -> Significance:
        """The intervals of one score."""
        if score not in self._known:
            self._known[score] = rank_rows(score, self.members, self.evidence)
        return self._known[score]

    def row(self, label: str) -> MethodRow:
        """The row of a label."""
        return self.members.rows[self.labels.index(label)]

    def label_of(self, method: str) -> str:
        """The label of the row of a method."""
        [label] = [row.label for row in self.members.rows if row.cell.method == method]
        return label

    def drawn(self, labels: Sequence[str], seed: int) -> Floats:
        """The averages of some rows, (resamples, rows), where both images and seeds are drawn with replacement.

        Raises:
            ValueError: where the counts of expressions are missing.
        """
        rows = [self.row(label) for label in labels]
        samples = samples_of(self.average, list(self.columns), rows, self.evidence)
        if samples is None:
            raise ValueError("the counts of expressions are missing")
        weights = [sample.weight for sample in samples]
        by_images = np.average([sample.drawn for sample in samples], axis=0, weights=weights)
        resamples, _, runs = by_images.shape
        chosen = np.random.default_rng(seed).integers(runs, size=(resamples, runs))
        by_both = np.take_along_axis(by_images, chosen[:, None, :], axis=2)
        return np.asarray(by_both.mean(axis=2))

    def score(self, label: str, column: Column | None = None) -> Interval:
        """Mean IoU in percent of one column; None: averaged over all."""
        score = self.average if column is None else ScoreColumn("", column.name, (column,))
        row = self.row(label)
        summary = over_seeds(score.rule, row.iou, score.over)
        if summary is None:
            raise ValueError(f"{label} lacks a column of {score.over}")
        return interval_around(summary.mean, self.significance(score).margins[label])

    def share(self, label: str) -> float:
        """What a row tunes, of what full fine-tuning does."""
        return _adapter(self.row(label)) / _adapter(self.row(self.label_of(FULL)))

    def summary(self, label: str) -> list[str]:
        """A row's average, the gap that it closes, and its score with expressions swapped."""
        row = self.row(label)
        gap = self.significance(self.average).gaps.get(label)
        closed = f"{POINTS * gap.mean:.0f}±{POINTS * gap.margin:.0f}" if gap else ""
        return [_score(self.score(label)), closed, f"{self.control(row):.1f}"]

    def control(self, row: MethodRow) -> float:
        """Mean IoU in percent with expressions swapped, over columns and seeds."""
        return fmean(value for column in self.columns for value in row.control[column].values())


class Benchmark:
    """The records of a folder, and the blocks of the pages that are made from them.

    Args:
        folder: of the records.
    """

    def __init__(self, folder: Path) -> None:
        store = Store(folder)
        self.folder = folder
        self.records = [record for record in store.all() if record.status == "done"]
        self.evidence = ResampledScores(store)

    def group(self, recipe: str, backbone: str = "tiny", methods: Sequence[str] = (), seed: int | None = None) -> Group:
        """The records with a recipe on a backbone, of some methods (none: all) and of one seed (None: all).

        Raises:
            ValueError: where they are not one group.
        """
        chosen = []
        for record in self.records:
            cell = record.cell
            if cell.recipe["name"] != recipe or cell.backbone != backbone or cell.chosen:
                continue
            if (methods and cell.method not in methods) or seed not in (None, cell.seed):
                continue
            chosen.append(record)
        groups = group(chosen)
        if len(groups) != 1:
            raise ValueError(f"{len(groups)} groups of {recipe} on {backbone} in {self.folder}, expected one")
        return groups[0]

    @cached_property
    def field(self) -> Ranked:
        """All methods of pet-default with every seed."""
        return Ranked(self.group(RECIPE), self.evidence)

    @cached_property
    def seven(self) -> Ranked:
        """The paper's rows with every seed."""
        return Ranked(self.group(RECIPE, methods=SEVEN), self.evidence)

    def blocks(self) -> dict[str, str]:
        """Name of a block of the pages -> its markdown."""
        makers: dict[str, Callable[[], str]] = {
            "main-job": self.main_job,
            "main-job-whole": self.main_job_whole,
            "seven": self.seven_rows,
            "what-seeds-say": self.what_seeds_say,
            "methods": self.methods,
            "what-methods-say": self.what_methods_say,
            "what-is-mended": self.what_is_mended,
            "backbones": self.backbones,
            "order": self.order,
            "protocols": self.protocols,
            "proportion": proportion,
            "budget-b4": budget_b4,
            "pet-budget": pet_budget,
            "search": partial(search, RECIPE),
            "search-random-head": partial(search, RANDOM_HEAD),
        }
        return {name: make() for name, make in makers.items()}

    def main_job(self) -> str:
        """The first half of what the main job prints: the scores of seed 0."""
        [table] = build_measured("5", [self.group(RECIPE, methods=SEVEN, seed=0)], self.evidence)
        short = replace(table, sections=table.sections[:1], notes=(), footnotes=())
        return render(short).strip()

    def main_job_whole(self) -> str:
        """All that the main job prints."""
        [table] = build_measured("5", [self.group(RECIPE, methods=SEVEN, seed=0)], self.evidence)
        return render(table).strip().removeprefix("#")

    def seven_rows(self) -> str:
        """The paper's rows over all seeds."""
        [table] = build_measured("5", [self.seven.members], self.evidence)
        return grid(replace(table, footnotes=()))

    def what_seeds_say(self) -> str:
        """What the paper's rows over all seeds can and cannot say."""
        ranked = self.seven
        nothing = ranked.label_of(HEAD_ONLY)
        everything = ranked.label_of(FULL)
        gap = ranked.pairs[nothing, everything].interval
        val = ranked.columns[0]
        of_val = compare_pairs(ScoreColumn("", val.name, (val,)), ranked.members, self.evidence)
        margins = {}
        for pair in combinations(ranked.between, 2):
            margins[pair] = of_val[pair].interval.margin
        widest = max(margins, key=lambda pair: margins[pair])
        shares = {}
        for row in ranked.members.rows:
            shares[row.label] = ranked.control(row) / ranked.score(row.label).mean
        largest = max(shares, key=lambda label: shares[label])
        spread = max((_deviation(row, val), row.label) for row in ranked.members.rows)
        lines = [
            f"**Room.** {everything} lies {_range(gap.mean, gap.margin)} points above {nothing}, averaged "
            "over the splits.",
            f"**Seeds.** The standard deviation over {len(ranked.members.seeds)} seeds on val is at most "
            f"{spread[0]:.1f} ({spread[1]}). The difference of any two of the five has a half-width of at most "
            f"{margins[widest]:.1f} points on val ({widest[0]} and {widest[1]}), "
            f"{fmean(margins.values()):.1f} on average.",
            f"**Words.** With the expressions of an image exchanged, {largest} keeps {shares[largest]:.0%} of its "
            "score, and every other row less.",
        ]
        return "\n".join(f"* {line}" for line in lines)

    def backbones(self) -> str:
        """The paper's rows on the stand-in of each of its backbones, seed 0, and whether their order is the same."""
        everywhere = [Ranked(self.group(RECIPE, name, SEVEN, seed=0), self.evidence) for name in BACKBONES]
        lines = []
        for method in SEVEN:
            line = [everywhere[0].label_of(method)]
            for ranked in everywhere:
                label = ranked.label_of(method)
                average, closed, _ = ranked.summary(label)
                line += [f"{POINTS * ranked.share(label):.2f}", average, closed]
            lines.append(line)
        headers = ["Method"]
        for name in BACKBONES:
            headers += [f"{name}: % of full", f"{name}: Avg", f"{name}: Gap closed (%)"]
        table = pipe_table(headers, lines, ["left", *["right"] * (len(headers) - 1)])
        agreements = []
        for name, ranked in zip(BACKBONES[1:], everywhere[1:], strict=True):
            found = agreement(PAPER_METHODS, everywhere[0], ranked)
            agreements.append(f"{found.mean:.2f} on {name} ({found.low:.2f} to {found.high:.2f})")
        said = (
            f"Spearman's rank correlation of the {len(PAPER_METHODS)} methods' averages with those on {BACKBONES[0]}: "
            f"{', '.join(agreements)}; in parentheses the 95 % interval over images."
        )
        return f"{table}\n\n{said}"

    def methods(self) -> str:
        """Every method of pet-default over all seeds, best first; bold: not told apart from the best."""
        ranked = self.field
        order = sorted(ranked.labels, key=lambda label: -ranked.score(label).mean)
        best = ranked.significance(ranked.average).best
        steps = step_times.load()
        lines = []
        for label in order:
            row = ranked.row(label)
            scores = [_score(ranked.score(label, column)) for column in ranked.columns]
            average, closed, swapped = ranked.summary(label)
            lines.append(
                [
                    f"**{label}**" if label in best else label,
                    millions(_adapter(row)),
                    f"{POINTS * ranked.share(label):.2f}",
                    *scores,
                    average,
                    closed,
                    str(ranked.told_apart(label)) if label in ranked.between else "",
                    swapped,
                    _kept(row),
                    f"{steps[row.cell.method]:.0f}",
                ]
            )
        names = ["Method", "Tuned (M)", "% of full", *(column.name for column in ranked.columns)]
        names += ["Avg", "Gap closed (%)", "Told apart from", "Swapped", "Kept (MiB)", "Step (ms)"]
        aligns: list[Align] = ["left", *["right"] * (len(names) - 1)]
        return pipe_table(names, lines, aligns)

    def what_methods_say(self) -> str:
        """What the seeds can order among all methods, and what they cannot."""
        ranked = self.field
        between = set(ranked.between)
        inside = {pair: found for pair, found in ranked.pairs.items() if between.issuperset(pair)}
        margins = [found.interval.margin for found in inside.values()]
        apart = [abs(found.interval.mean) for found in inside.values() if found.significant]
        alone = sum(found.interval.excludes_zero for found in inside.values())
        won = verdict(ranked.members, costs(ranked.members), ranked.significance(ranked.average))
        counted = (
            f"Of the {len(inside)} pairs of methods between the ends, {len(apart)} are told apart (paired bootstrap "
            "over images and seeds, Holm's rule at 5 % over all pairs). The smallest difference among these is "
            f"{min(apart):.1f} points; the half-width of a difference is {median(margins):.1f} points in the median, "
            f"{max(margins):.1f} at most. Taken one by one, without the correction for their number, {alone} "
            "differences have an interval without 0: the rule over all pairs asks much of three seeds."
        )
        return f"* {won}\n* {counted}"

    def what_is_mended(self) -> str:
        """Objects and pixels on val, for every method, and what tuning everything changes of both."""
        members = self.field.members
        objects = _rows_of_val(object_tables(members, self.evidence)[0])
        identity = _rows_of_val(identity_tables(members, self.evidence)[0])
        order = sorted(self.field.labels, key=lambda label: -self.field.score(label).mean)
        lines = []
        for label in order:
            own = objects[label] | identity[label]
            lines.append([label, *(own[name].text for name in MENDED)])
        aligns: list[Align] = ["left", *["right"] * len(MENDED)]
        table = pipe_table(["Method", *MENDED.values()], lines, aligns)
        nothing = self.field.label_of(HEAD_ONLY)
        everything = self.field.label_of(FULL)
        before = identity[nothing]
        after = identity[everything]
        changes = []
        for name in ("What is shown target", "Quality", "Failures wrong of all"):
            changes.append(f"{before[name].value:.0f} to {after[name].value:.0f}")
        said = (
            f"From {nothing} to {everything}, the share of predictions that show the target goes from "
            f"{changes[0]} %, the IoU of these from {changes[1]} %, and the share of failures that are not at the "
            f"target from {changes[2]} %."
        )
        return f"{table}\n\n{said}"

    @cached_property
    def both_protocols(self) -> tuple[Ranked, Ranked]:
        """The paper's rows and LoRA: with the head that ships, and with one that starts at random."""
        shipped = Ranked(self.group(RECIPE, methods=PROTOCOL_ROWS), self.evidence)
        return shipped, Ranked(self.group(RANDOM_HEAD, methods=PROTOCOL_ROWS), self.evidence)

    def order(self) -> str:
        """Whether the order of the methods is the same in both protocols."""
        between = [method for method in PROTOCOL_ROWS if method not in (HEAD_ONLY, FULL)]
        found = agreement(between, *self.both_protocols)
        said = (
            f"Spearman's rank correlation of the {len(between)} methods' averages is {found.mean:.2f} (95 % interval "
            f"over images and seeds {found.low:.2f} to {found.high:.2f})"
        )
        if found.low > 0:
            return (
                f"The order of the methods is much the same with a head that starts at random, as in the paper: {said}."
            )
        return (
            "**The order on this page is that of a shipped head, and it does not carry over to a head that starts at "
            f"random, as in the paper**: {said}."
        )

    def protocols(self) -> str:
        """Both protocols beside each other; the splits of the first are in `seven_rows` and `methods`."""
        shipped, random_head = self.both_protocols
        lines = []
        for method in PROTOCOL_ROWS:
            label = random_head.label_of(method)
            splits = [_score(random_head.score(label, column)) for column in random_head.columns]
            before = shipped.summary(shipped.label_of(method))
            lines.append([label, *before, *splits, *random_head.summary(label)])
        names = ["Avg", "Gap closed (%)", "Swapped"]
        headers = ["Method", *(f"Shipped: {name}" for name in names)]
        for name in (*(column.name for column in random_head.columns), *names):
            headers.append(f"Random: {name}")
        aligns: list[Align] = ["left", *["right"] * (len(headers) - 1)]
        return pipe_table(headers, lines, aligns)


def agreement(methods: Sequence[str], first: Ranked, second: Ranked) -> Interval:
    """Spearman's rank correlation of two groups' averages of some methods.

    Returns:
        With the 2.5 and 97.5 percentiles over resampled images and seeds.
    """
    means = []
    drawn = []
    for seed, ranked in enumerate((first, second)):
        labels = [ranked.label_of(method) for method in methods]
        means.append(np.array([[ranked.score(label).mean for label in labels]]))
        drawn.append(ranked.drawn(labels, seed))
    [found] = rank_correlation(*means)
    low, high = np.percentile(rank_correlation(*drawn), [2.5, 97.5])
    return Interval(found, low, high)


def pet_budget() -> str:
    """The suite pet-budget on `tiny`: a row per method, best first, and a column per budget; one seed."""
    store = Store(CURVES)
    evidence = ResampledScores(store)
    [members] = group([record for record in store.all() if record.status == "done"])
    # What rows have in common, and their budget; a row without one has a size of its own.
    by_budget: dict[str, dict[str, MethodRow]] = {}
    for row in members.rows:
        curve, _, budget = row.label.rpartition(", B")
        if curve:
            by_budget.setdefault(f"B{budget}", {})[curve] = row
        elif not row.is_reference:
            by_budget.setdefault(OWN_SIZE, {})[row.label] = row
    # Each budget is a comparison of its own.
    texts: dict[str, dict[str, str]] = {}
    best: dict[str, float] = {}
    for budget in sorted(by_budget):
        ranked = Ranked(Group(members.conditions, tuple(by_budget[budget].values())), evidence)
        leaders = ranked.significance(ranked.average).best
        for curve, row in by_budget[budget].items():
            score = ranked.score(row.label)
            text = f"{_score(score)} ({millions(_adapter(row))})"
            texts.setdefault(curve, {})[budget] = f"**{text}**" if row.label in leaders else text
            best[curve] = max(score.mean, best.get(curve, 0.0))
    lines = []
    for curve in sorted(texts, key=lambda name: -best[name]):
        lines.append([curve, *(texts[curve].get(budget, "") for budget in sorted(by_budget))])
    return pipe_table(["Method", *sorted(by_budget)], lines, ["left", *["right"] * len(by_budget)])


def budget_b4() -> str:
    """The suite budget-b4 on both embedded backbones: who wins behind each neck, and what the necks are worth."""
    store = Store(BUDGET)
    evidence = ResampledScores(store)
    groups = group([record for record in store.all() if record.status == "done"])
    lines = []
    for members in groups:
        ranked = Ranked(members, evidence)
        won = verdict(members, costs(members), ranked.significance(ranked.average))
        lines.append(f"* **{members.conditions.backbone}, {members.conditions.head}.** {won}")
    tables = [grid(replace(table, footnotes=())) for table in build_necks(groups, evidence)]
    return "\n".join(lines) + "\n\n" + "\n\n".join(tables)


def rank_correlation(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation of each row of two tables, (N, M) each: that of the ranks of values without ties.

    Returns:
        (N,).
    """
    ranks = [np.argsort(np.argsort(table, axis=1), axis=1) for table in (first, second)]
    differences = (ranks[0] - ranks[1]) ** 2
    count = first.shape[1]
    return np.asarray(1 - 6 * differences.sum(axis=1) / (count * (count**2 - 1)))


def search(recipe: str) -> str:
    """Every trial of a recipe's search: a row per method, a column per drawn factor."""
    trials = shipped_trials(recipe)
    factors = sorted({trial.values["adapter_lr"] for trial in trials})
    by_method: dict[str, dict[float, Trial]] = {}
    for trial in trials:
        by_method.setdefault(trial.method, {})[trial.values["adapter_lr"]] = trial
    lines = []
    for method, own in by_method.items():
        best = max(own.values(), key=lambda trial: trial.score or 0.0)
        cells = []
        for factor in factors:
            score = own[factor].score
            text = "failed" if score is None else f"{POINTS * score:.1f}"
            cells.append(f"**{text}**" if own[factor] is best else text)
        lines.append([method, *cells])
    aligns: list[Align] = ["left", *["right"] * len(factors)]
    return pipe_table(["Method", *(f"{factor:g}" for factor in factors)], lines, aligns)


def proportion() -> str:
    """Tuned parameters of every method of pet-default: on ViT-B/16, and on `tiny` at published and at default sizes."""
    stored = json.loads(COUNTS.read_text("utf-8"))
    large = stored["backbones"]["ViT-B-16-quickgelu"]
    small = stored["backbones"]["tiny"]
    published = stored["published"]["tiny"]
    lines = []
    for spec in METHODS:
        if "pet-default" not in spec.suites or spec.name in (HEAD_ONLY, FULL):
            continue
        share = _share(large[spec.name]["ledger"]["adapter"], large)
        own = _share(small[spec.name]["ledger"]["adapter"], small)
        before = POINTS * published[spec.name] / published[FULL]
        lines.append(
            [
                spec.name,
                f"{share:.2f}",
                f"{before:.2f}",
                f"{small[spec.name]['ledger']['adapter']:,}",
                f"{own:.2f}",
                f"{own / share:.1f}",
            ]
        )
    names = ["Method", "ViT-B/16 (%)", "tiny, published sizes (%)", "tiny", "tiny (%)", "of ViT-B/16's share"]
    return pipe_table(names, lines, ["left", *["right"] * 5])


def _rows_of_val(table: Table) -> dict[str, dict[str, Entry]]:
    """The rows of a table's section on val: label -> column -> entry."""
    names = [f"{header.group} {header.name}".strip() for header in table.headers]
    [section] = [section for section in table.sections if section.heading.startswith("RefCOCO+ val")]
    return {row[0].text: dict(zip(names, row, strict=True)) for row in section.rows}


def _share(count: int, counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> float:
    return POINTS * count / counts[FULL]["ledger"]["adapter"]


def _adapter(row: MethodRow) -> int:
    return row.parameters("adapter")[-1]


def _score(interval: Interval) -> str:
    return f"{interval.mean:.1f}±{interval.margin:.1f}"


def _range(mean: float, margin: float) -> str:
    """A difference with its interval, whichever row comes first."""
    return f"{abs(mean):.1f} ({abs(mean) - margin:.1f} to {abs(mean) + margin:.1f})"


def _kept(row: MethodRow) -> str:
    """MiB that autograd keeps for the backward pass of a training step; the same in every record of a row."""
    profile = row.records[0].profile
    if profile is None:
        return "-"
    return f"{profile.saved_bytes / 2**20:.1f}"


def _deviation(row: MethodRow, column: Column) -> float:
    """Standard deviation over the seeds, in points."""
    return stdev(row.iou[column].values())


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """A page whose marked blocks say what `blocks` has.

    Raises:
        KeyError: for a mark that no block has.
    """

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- begin {name} -->\n{blocks[name]}\n<!-- end {name} -->"

    return MARK.sub(replaced, page)


def draw_rates(path: Path) -> None:
    """The learning-rate curve of every method, from the recipe's search, as a small picture."""
    buffer = BytesIO()
    rate_curves(shipped_trials(RECIPE)).savefig(buffer, format="png", dpi=120, facecolor="white")
    Image.open(buffer).convert("RGB").save(path, quality=80)


def main() -> None:
    """Write all pages and the picture."""
    blocks = Benchmark(RESULTS).blocks()
    for name in PAGES:
        path = ROOT / name
        path.write_text(filled(path.read_text("utf-8"), blocks), "utf-8")
        print(f"written: {name}")
    draw_rates(RATES_IMAGE)
    print(f"written: {RATES_IMAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
