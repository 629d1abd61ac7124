"""What a table states around its numbers: under which conditions, counted how, averaged over what."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from barbench.metrics import METRICS
from barbench.paper.published import published_rows, text_misprints
from barbench.paper.tables import Column, PaperTable
from barbench.plain import flatten
from barbench.reports.tables.averages import millions
from barbench.reports.tables.grouping import Conditions, Group, by_column, in_order, name_columns
from barbench.reports.tables.layout import Score
from barbench.reports.tables.provenance import per_label, provenance_notes
from barbench.results.interval import CONFIDENCE

SWAPPED = (
    "Expressions swapped: every prediction is scored on another referred object of the same image. A model that "
    "understands the expression scores low here; one that only finds salient objects scores about as high as above."
)


def caption(
    table: PaperTable,
    published: bool,
    conditions: Conditions | None,
    others: Iterable[Conditions],
    one_seed: bool = False,
) -> str:
    """What the rows are: the paper's, or measured under some conditions.

    Args:
        table: of the paper.
        published: whether published rows are in it.
        conditions: of the measured rows; None without any.
        others: conditions of other tables; a recipe that shares its name with one of theirs names the fields that
            differ.
        one_seed: whether there is only one.

    Returns:
        One or more sentences.
    """
    if conditions is None:
        return f"As printed in the BarLeRIa paper (ICLR 2024), whose own rows use {table.family.title}."
    words = in_words(conditions, others) + (" One seed." if one_seed else "")
    return f"Published: as printed. Measured: {words}" if published else words[0].upper() + words[1:]


def in_words(conditions: Conditions, others: Iterable[Conditions]) -> str:
    """What all records of a group share.

    Args:
        conditions: of the group.
        others: as for `caption`.

    Returns:
        A sentence that begins in lower case.
    """
    size = f" at {conditions.image_size} px" if conditions.image_size else ""
    recipe = _recipe(conditions.recipe_fields, [other.recipe_fields for other in others])
    version = f" Data version {conditions.data_version[:12]}." if conditions.data_version else ""
    warning = " Synthetic shapes, not comparable with the paper." if conditions.data == "shapes" else ""
    backbone = f"backbone {conditions.backbone} ({conditions.weights} weights){size}"
    other = f", {conditions.other}" if conditions.other else ""
    rates = " with each method's own rates" if conditions.recipe_fields.get("own_rates") else ""
    return f"{backbone}, recipe {recipe}{rates}, {conditions.precision}{other}.{version}{warning}"


def title(table: PaperTable, published: bool, conditions: Conditions | None) -> str:
    """For example `Scores on every split (Table 5 of the paper), measured with tiny on synthetic shapes`."""
    name = f"{table.title} (Table {table.number} of the paper)"
    if conditions is None:
        return f"{name}, as published"
    data = " on synthetic shapes" if conditions.data == "shapes" else ""
    return f"{name}, published and measured" if published else f"{name}, measured with {conditions.backbone}{data}"


def published_notes(table: PaperTable) -> list[str]:
    """The notes that the published rows of a table need."""
    rows = published_rows(table.number)
    numbers = [cell for row in rows for cell in row.cells if cell.kind != "label"]
    every = (
        "Published rows name their IoU: the mean over expressions, or overall (sum of intersections / sum of unions). "
        "The two do not compare, so these rows are not ranked.",
        "A row named corrected has the right numbers where some are known to be misprinted; differences are to them."
        if any(cell.corrected for cell in numbers)
        else "",
        "†: tuned on the RefCOCO datasets together." if any(row.dagger for row in rows) else "",
        *(
            f"The paper, {at.place}: “{at.printed}”; rather {at.corrected}. {at.reason}"
            for at in text_misprints(table.number)
        ),
    )
    return [note for note in every if note]


def average_note(table: PaperTable, scores: Sequence[Score]) -> list[str]:
    """How the averages of the table are taken, by the names of their columns; empty without averages."""
    rules = {
        "datasets": "over each dataset's columns, then over datasets",
        "columns": "over all columns alike, without G-Ref val(g)",
    }
    named = {score.name: score for score in scores if len(score.over) > 1}
    if rules.keys() <= named.keys():
        both = "; ".join(f"Avg {name} is {rule}" for name, rule in rules.items())
        return [f"{both}. The paper's own Avg in this table is over {table.rule}."]
    if "Avg" not in named:
        return []
    alone = len({column.title for column in named["Avg"].over}) == 1
    return ["Avg: over the columns." if alone else f"Avg: {rules[table.rule]}, as in the paper."]


def measured_notes(table: PaperTable, group: Group, columns: Sequence[Column]) -> list[str]:
    """The notes that measured rows need.

    Args:
        table: of the paper.
        group: the measured rows.
        columns: of the table.

    Returns:
        Notes in the order of printing.
    """
    measured = group.measured
    every = (
        _iou(group),
        _parameters(group),
        SWAPPED if any(row.control for row in group.rows) else "",
        _expressions(group),
        _shared(group),
        _mixing(group),
        _data(group),
        "-: not measured." if len(columns) > len(measured) else "",
        "Only the measured columns are printed." if set(columns) < set(table.columns) else "",
        _options(group),
        _budget(group),
        _problems(group),
        *provenance_notes(group.rows),
        *_told(group),
    )
    return [note for note in every if note]


def _iou(group: Group) -> str:
    mean = next(metric.note for metric in METRICS.values() if metric.label == group.conditions.metric)
    if not group.seeds:
        return f"Measured IoU in percent: {mean}. No cell is finished."
    return (
        f"Measured IoU in percent: {mean}. "
        f"±: half of the {CONFIDENCE:.0%} interval, {_covers(group)} Bold: the best, and all that are not "
        "distinguishable from it (paired bootstrap over images, all pairs, corrected by Holm's rule at 5 %)."
    )


def _covers(group: Group) -> str:
    """What the intervals cover."""
    seeds = ", ".join(map(str, sorted(group.seeds)))
    if len(group.seeds) == 1:
        return f"over images alone: one seed ({seeds}) says nothing of other trainings."
    return f"over images and seeds ({seeds})."


def gap_note(gap: Score | None) -> list[str]:
    """What the column of the gap means; empty without that column."""
    if gap is None:
        return []
    return [
        "Gap closed: (method - head only) / (full fine-tuning - head only), of the last average, with its interval; "
        "the two ends are not ranked."
    ]


def _parameters(group: Group) -> str:
    def trained(ledger_group: str) -> dict[str, list[str]]:
        labels: dict[str, list[str]] = {}
        for row in group.rows:
            for count in row.parameters(ledger_group):
                labels.setdefault(f"{millions(count)} M" if count else "none", []).append(row.label)
        return labels

    head, positional = per_label("head", trained("head")), per_label("positional embeddings", trained("positional"))
    beside = f" Trained beside it: {head[:-1]}; {positional[:-1]}." if head and positional else ""
    return f"Params (M): the ledger's adapter group only, as in the paper.{beside}"


def _expressions(group: Group) -> str:
    counts: dict[Column, set[str]] = defaultdict(set)
    for record in group.records:
        for column, split in by_column(record).items():
            n, control = split.scores.n, split.control
            swapped = f" ({control.n:,} swapped)" if control and control.n != n else ""
            counts[column].add(f"{n:,}{swapped}")
    listed = name_columns(group.measured, {column: " or ".join(sorted(counts[column])) for column in counts})
    return f"Expressions scored: {listed}." if listed else ""


def _shared(group: Group) -> str:
    counts: dict[Column, set[str]] = defaultdict(set)
    for record in group.records:
        for column, split in by_column(record).items():
            if split.shared_images:
                counts[column].add(f"{split.shared_images:,} of {split.images:,}")
    listed = name_columns(in_order(counts), {column: " or ".join(sorted(counts[column])) for column in counts})
    return f"Images that also trained the model: {listed}." if listed else ""


def _mixing(group: Group) -> str:
    mixes: dict[str, list[str]] = defaultdict(list)
    for row in group.rows:
        for seen in {record.training for record in row.records if record.training}:
            if seen.mixing != "none":
                left_out = f", {seen.removed_references:,} left out" if seen.removed_references else ""
                mixes[f"{seen.mixing}, {seen.references:,} references of {seen.images:,} images{left_out}"].append(
                    row.label
                )
    return per_label("Mixed training:", dict(sorted(mixes.items())))


def _data(group: Group) -> str:
    datasets: dict[str, list[str]] = {}
    for dataset, version in sorted({(record.cell.dataset, record.cell.data.fingerprint) for record in group.records}):
        datasets.setdefault(version[:12], []).append(dataset)
    return per_label("Data version", datasets)


def _options(group: Group) -> str:
    listed = "; ".join(f"{row.label} {row.options}" for row in group.rows if row.options)
    return f"Options: {listed}." if listed else ""


def _budget(group: Group) -> str:
    budgets: dict[str, list[str]] = {}
    for row in group.rows:
        for budget in sorted({record.tuning_budget for record in row.records if record.status == "done"}):
            budgets.setdefault(budget, []).append(row.label)
    return per_label("Tuning budget:", budgets)


def _problems(group: Group) -> str:
    worst: dict[str, int] = defaultdict(int)
    for record in group.records:
        for problem, count in record.data_problems.items():
            name = f"{record.cell.dataset} {problem}"
            worst[name] = max(worst[name], count)
    listed = ", ".join(f"{name} {count:,}" for name, count in sorted(worst.items()) if count)
    return f"Data problems: {listed}." if listed else ""


def _told(group: Group) -> list[str]:
    """The records' own notes, each once with its rows."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in group.rows:
        for note in dict.fromkeys(note for record in row.records for note in record.notes):
            labels[note].append(row.label)
    return [f"{', '.join(names)}: {note}." for note, names in labels.items()]


def _recipe(recipe: dict[str, object], others: Iterable[dict[str, object]]) -> str:
    mine, name = flatten(recipe), str(recipe.get("name", "unnamed"))
    namesakes = [flatten(other) for other in others if other.get("name") == recipe.get("name")]
    differing = sorted({key for other in namesakes for key in mine.keys() | other if mine.get(key) != other.get(key)})
    return name + (f" ({', '.join(f'{key}={mine.get(key)}' for key in differing)})" if differing else "")
