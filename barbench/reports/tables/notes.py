"""What a table states around its numbers: under which conditions, counted how, averaged over what."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from barbench.metrics import METRICS
from barbench.paper.published import published_rows, text_misprints
from barbench.paper.tables import Column, PaperTable
from barbench.reports.tables.averages import millions
from barbench.reports.tables.columns import ScoreColumn
from barbench.reports.tables.grouping import Conditions, Group, MethodRow, by_column, in_order, name_columns
from barbench.reports.tables.provenance import per_label, provenance_notes
from barbench.results.interval import CONFIDENCE
from barbench.spec.accounting import DEFAULT, CountRule
from barbench.values import flatten

SWAPPED = (
    "Expressions swapped: every prediction is scored on another referred object of the same image. A model that "
    "understands the expression scores low here; one that only finds salient objects scores about as high as above."
)


def caption(
    table: PaperTable,
    published: bool,
    conditions: Conditions | None,
    others: Iterable[Conditions],
    one_seed: bool,
) -> str:
    """What the rows are: the paper's, or measured under some conditions.

    Args:
        conditions: of the measured rows; None without any.
        others: conditions of other tables; a recipe that shares its name with one of theirs names the fields that
            differ.
    """
    if conditions is None:
        return f"As printed in the BarLeRIa paper (ICLR 2024), whose own rows use {table.backbone.title}."
    words = describe_conditions(conditions, others)
    if one_seed:
        words += " One seed."
    if published:
        return f"Published: as printed. Measured: {words}"
    return capitalized(words)


def capitalized(words: str) -> str:
    """The words with a capital at the beginning; names in them keep theirs."""
    return words[:1].upper() + words[1:]


def describe_conditions(conditions: Conditions, others: Iterable[Conditions]) -> str:
    """What all records of a group share, as a sentence that begins in lower case; `others` as for `caption`."""
    # What was run, then what of the data it saw.
    parts = [f"backbone {conditions.backbone} ({conditions.weights} weights)"]
    if conditions.image_size:
        parts[0] += f" at {conditions.image_size} px"
    recipe = _recipe(conditions.recipe_fields, [other.recipe_fields for other in others])
    if conditions.recipe_fields.get("own_rates"):
        recipe += " with each method's own rates"
    parts += [conditions.head, f"recipe {recipe}", conditions.precision]
    if conditions.other:
        parts.append(conditions.other)
    if conditions.subset:
        parts.append(conditions.subset)
    # Which data, where that must be said.
    text = f"{', '.join(parts)}."
    if conditions.data_version:
        text += f" Data version {conditions.data_version[:12]}."
    if conditions.data == "shapes":
        text += " Synthetic shapes, not comparable with the paper."
    return text


def title(table: PaperTable, published: bool, conditions: Conditions | None) -> str:
    """For example `Scores on every split (Table 5 of the paper), measured with tiny (neck etris)`."""
    name = f"{table.title} (Table {table.number} of the paper)"
    if conditions is None:
        return f"{name}, as published"
    if published:
        return f"{name}, published and measured"
    data = " on synthetic shapes" if conditions.data == "shapes" else ""
    subset = f", on {conditions.subset}" if conditions.subset else ""
    return f"{name}, measured with {conditions.backbone} ({conditions.head}){data}{subset}"


def published_notes(table: PaperTable) -> list[str]:
    """The notes that the published rows of a table need."""
    rows = published_rows(table.number)
    # Which of the paper's signs occur.
    numbers = [cell for row in rows for cell in row.cells if cell.kind != "label"]
    notes = [
        "Published rows name their IoU: the mean over expressions, or overall (sum of intersections / sum of unions). "
        "The two do not compare, so these rows are not ranked."
    ]
    if any(cell.corrected for cell in numbers):
        notes.append(
            "A row named corrected has the right numbers where some are known to be misprinted; differences are to "
            "them."
        )
    if any(row.dagger for row in rows):
        notes.append("†: tuned on the RefCOCO datasets together.")
    for at in text_misprints(table.number):
        notes.append(f"The paper, {at.place}: “{at.printed}”; rather {at.corrected}. {at.reason}")
    return notes


def average_note(table: PaperTable, scores: Sequence[ScoreColumn]) -> list[str]:
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
    if len({column.title for column in named["Avg"].over}) == 1:
        return ["Avg: over the columns."]
    return [f"Avg: {rules[table.rule]}, as in the paper."]


def measured_notes(table: PaperTable, group: Group, columns: Sequence[Column], rule: CountRule) -> list[str]:
    """The notes that measured rows need, in the order of printing; `columns` are those of the table."""
    chosen = [f"{row.label} {row.options}" for row in group.rows if row.options]
    scaled = [f"{row.label} {row.sizes}" for row in group.rows if row.sizes]
    # What the numbers are, what the data are, how rows were made, and what is odd.
    every = (
        _iou(group),
        _parameters(group, rule),
        SWAPPED if any(row.control for row in group.rows) else "",
        _expressions(group),
        _subset(group),
        _shared(group),
        _mixing(group),
        _data(group),
        "-: not measured." if len(columns) > len(group.measured) else "",
        "Only the measured columns are printed." if set(columns) < set(table.columns) else "",
        _sentence("Options:", chosen),
        _sentence("Sizes in proportion to the backbone:", scaled),
        _rates(group),
        _hidden(group),
        _budget(group),
        _problems(group),
        *provenance_notes(group.rows),
        *_notes_of_records(group),
    )
    return [note for note in every if note]


def _sentence(opening: str, items: Sequence[str], separator: str = "; ") -> str:
    """The opening with the items behind it; empty without any."""
    return f"{opening} {separator.join(items)}." if items else ""


def _iou(group: Group) -> str:
    mean = next(metric.note for metric in METRICS.values() if metric.label == group.conditions.metric)
    if not group.seeds:
        return f"Measured IoU in percent: {mean}. No cell is finished."
    return (
        f"Measured IoU in percent: {mean}. "
        f"±: half of the {CONFIDENCE:.0%} interval, {covers(group)} Bold: the best, and all that are not "
        "distinguishable from it (paired bootstrap over images, all pairs, corrected by Holm's rule at 5 %)."
    )


def covers(group: Group) -> str:
    """The end of a sentence that says what the intervals of a group's scores cover."""
    seeds = ", ".join(map(str, sorted(group.seeds)))
    if len(group.seeds) == 1:
        return f"over images alone: one seed ({seeds}) says nothing of other trainings."
    return f"over images and seeds ({seeds})."


def gap_note(gap: ScoreColumn | None) -> list[str]:
    """What the column of the gap means; empty without that column."""
    if gap is None:
        return []
    return [
        "Gap closed: (method - head only) / (full fine-tuning - head only), of the last average, with its interval; "
        "the two ends are not ranked."
    ]


def _parameters(group: Group, rule: CountRule) -> str:
    text = "Params (M): the ledger's adapter group only, as in the paper."
    if rule != DEFAULT:
        text = f"Params: {rule.words}; published numbers, which are counted by other rules, are left out."
    head = per_label("head", _trained(group, "head"))
    positional = per_label("positional embeddings", _trained(group, "positional"))
    if head and positional:
        text += f" Trained beside it: {head[:-1]}; {positional[:-1]}."
    return text


def _trained(group: Group, part: str) -> dict[str, list[str]]:
    """The labels of the rows by their count of a part of the ledger."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in group.rows:
        for count in row.parameters(part):
            printed = f"{millions(count)} M" if count else "none"
            labels[printed].append(row.label)
    return labels


def _expressions(group: Group) -> str:
    counts: dict[Column, set[str]] = defaultdict(set)
    for record in group.records:
        for column, split in by_column(record).items():
            text = f"{split.scores.n:,}"
            if split.control and split.control.n != split.scores.n:
                text += f" ({split.control.n:,} swapped)"
            counts[column].add(text)
    if not group.measured:
        return ""
    return f"Expressions scored: {name_columns(group.measured, _alternatives(counts))}."


def _subset(group: Group) -> str:
    """How many images of how many a limit left, of the training set and of each column."""
    # Counts in words, with the data sets and columns that they are of.
    trained: dict[str, list[str]] = defaultdict(list)
    evaluated: dict[Column, set[str]] = defaultdict(set)
    for record in group.records:
        training = record.training
        if training is not None and training.whole_images is not None:
            text = f"{training.images:,} of {training.whole_images:,} images"
            if record.cell.dataset not in trained[text]:
                trained[text].append(record.cell.dataset)
        for column, split in by_column(record).items():
            if split.whole_images is not None:
                evaluated[column].add(f"{split.images:,} of {split.whole_images:,} images")
    notes = []
    if trained:
        notes.append(per_label("Trained on", dict(sorted(trained.items()))))
    if evaluated:
        notes.append(f"Evaluated on {name_columns(in_order(evaluated), _alternatives(evaluated))}.")
    return " ".join(notes)


def _shared(group: Group) -> str:
    counts: dict[Column, set[str]] = defaultdict(set)
    for record in group.records:
        for column, split in by_column(record).items():
            if split.shared_images:
                counts[column].add(f"{split.shared_images:,} of {split.images:,}")
    if not counts:
        return ""
    return f"Images that also trained the model: {name_columns(in_order(counts), _alternatives(counts))}."


def _alternatives(counts: Mapping[Column, set[str]]) -> dict[Column, str]:
    """The counts of a column as one text; records may differ in them."""
    return {column: " or ".join(sorted(texts)) for column, texts in counts.items()}


def _mixing(group: Group) -> str:
    mixes: dict[str, list[str]] = defaultdict(list)
    for row in group.rows:
        for seen in {record.training for record in row.records if record.training}:
            if seen.mixing == "none":
                continue
            text = f"{seen.mixing}, {seen.references:,} references of {seen.images:,} images"
            if seen.removed_references:
                text += f", {seen.removed_references:,} left out"
            mixes[text].append(row.label)
    return per_label("Mixed training:", dict(sorted(mixes.items())))


def _data(group: Group) -> str:
    datasets: dict[str, list[str]] = {}
    versions = {(record.cell.dataset, record.cell.data.fingerprint) for record in group.records}
    for dataset, version in sorted(versions):
        datasets.setdefault(version[:12], []).append(dataset)
    return per_label("Data version", datasets)


def _rates(group: Group) -> str:
    """The learning rates of rows that are the same method with the same options, trained with others."""
    titles: dict[tuple[str, str], list[MethodRow]] = defaultdict(list)
    for row in group.rows:
        titles[row.cell.method, f"{row.options} {row.sizes}"].append(row)
    listed: list[str] = []
    for rows in titles.values():
        rates = {row.rates for row in rows}
        if len(rates) > 1:
            listed += [f"{row.label} {row.rates}" for row in rows]
    return _sentence("Trained more than once, with other rates of the recipe:", listed)


def _hidden(group: Group) -> str:
    """The records that the table does not show."""
    hidden = [record.cell.stem() for row in group.rows for record in row.hidden]
    return _sentence("Not shown, because another record has the same row, column and seed:", hidden, ", ")


def _budget(group: Group) -> str:
    budgets: dict[str, list[str]] = {}
    for row in group.rows:
        own = {record.tuning_budget for record in row.records if record.status == "done"}
        for budget in sorted(own):
            budgets.setdefault(budget, []).append(row.label)
    return per_label("Tuning budget:", budgets)


def _problems(group: Group) -> str:
    worst: dict[str, int] = defaultdict(int)
    for record in group.records:
        for problem, count in record.data_problems.items():
            name = f"{record.cell.dataset} {problem}"
            worst[name] = max(worst[name], count)
    listed = [f"{name} {count:,}" for name, count in sorted(worst.items()) if count]
    return _sentence("Data problems:", listed, ", ")


def _notes_of_records(group: Group) -> list[str]:
    """The records' own notes, each once with its rows."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in group.rows:
        notes = [note for record in row.records for note in record.notes]
        for note in dict.fromkeys(notes):
            labels[note].append(row.label)
    return [f"{', '.join(names)}: {note}." for note, names in labels.items()]


def _recipe(recipe: dict[str, object], others: Iterable[dict[str, object]]) -> str:
    """The recipe's name, with the fields in which it differs from others of the same name."""
    # Recipes of one name differ where some fields were set on the command line.
    own = flatten(recipe)
    differing: set[str] = set()
    for other in others:
        if other.get("name") == recipe.get("name"):
            theirs = flatten(other)
            differing.update(key for key in own.keys() | theirs if own.get(key) != theirs.get(key))
    name = str(recipe.get("name", "unnamed"))
    if not differing:
        return name
    fields = [f"{key}={own.get(key)}" for key in sorted(differing)]
    return f"{name} ({', '.join(fields)})"
