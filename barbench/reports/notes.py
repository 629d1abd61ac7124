"""What a table says around its numbers: under which conditions, counted how, averaged over what."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from barbench.reports.grouping import PAPER_COLUMNS, Column, Conditions, Group, by_column

SWAPPED = (
    "Expressions swapped: every prediction is scored on another referred object of the same image. A model that "
    "understands the expression scores low here; one that only finds salient objects scores about as high as above."
)


def caption(conditions: Conditions, others: Iterable[Conditions]) -> str:
    """The conditions in words; a recipe that shares its name with one of `others` says in which fields it differs."""
    size = f" at {conditions.image_size} px" if conditions.image_size else ""
    recipe = _recipe(conditions.recipe_fields, [other.recipe_fields for other in others])
    version = f" Data version {conditions.data_version[:12]}." if conditions.data_version else ""
    warning = " Synthetic shapes, not comparable with the paper." if conditions.data == "shapes" else ""
    backbone = f"Backbone {conditions.backbone} ({conditions.weights} weights){size}"
    other = f", {conditions.other}" if conditions.other else ""
    return f"{backbone}, recipe {recipe}, {conditions.precision}{other}.{version}{warning}"


def notes(group: Group, columns: Sequence[Column]) -> tuple[str, ...]:
    """The notes under a table of `group` that prints `columns`, in the order of printing; only those that apply."""
    measured = group.measured
    every = (
        _iou(group),
        _parameters(group),
        SWAPPED if any(row.control for row in group.rows) else "",
        f"Averages: over a dataset's columns, then over datasets; measured: {name_columns(measured)}."
        if len(measured) > 1
        else "",
        _expressions(group),
        _data(group),
        "-: not measured." if len(columns) > len(measured) else "",
        "Only the measured columns are printed." if set(columns) < set(PAPER_COLUMNS) else "",
        _options(group),
        _budget(group),
        _problems(group),
    )
    return tuple(note for note in every if note)


def name_columns(columns: Iterable[Column], values: Mapping[Column, str] | None = None) -> str:
    """For example `RefCOCO val, testA; G-Ref val(u)`, or with a value behind each name."""
    datasets: dict[str, list[str]] = defaultdict(list)
    for column in columns:
        datasets[column.dataset].append(f"{column.name} {values[column]}" if values else column.name)
    return "; ".join(f"{dataset} {', '.join(names)}" for dataset, names in datasets.items())


def _iou(group: Group) -> str:
    seeds = ", ".join(map(str, sorted(group.seeds)))
    several = f" Seeds {seeds}: mean ± half the range (n = {len(group.seeds)})."
    one = f" Seed {seeds}." if seeds else ""
    return (
        "IoU in percent: mean over expressions of intersection / union (mIoU). "
        f"Best bold, second underlined, ranked as printed.{several if len(group.seeds) > 1 else one}"
    )


def _parameters(group: Group) -> str:
    def trained(ledger_group: str) -> dict[str, list[str]]:
        labels: dict[str, list[str]] = {}
        for row in group.rows:
            for count in row.parameters(ledger_group):
                labels.setdefault(f"{count / 1e6:.2f} M" if count else "none", []).append(row.label)
        return labels

    head, positional = _per_label("head", trained("head")), _per_label("positional embeddings", trained("positional"))
    beside = f" Trained beside it: {head[:-1]}; {positional[:-1]}." if head and positional else ""
    return f"Params (M): the ledger's adapter group only, as in the paper.{beside}"


def _per_label(what: str, values: dict[str, list[str]]) -> str:
    """`what value.`, or with the rows of each value where they differ."""
    if len(values) > 1:
        values = {f"{value} ({', '.join(labels)})": labels for value, labels in values.items()}
    return f"{what} {'; '.join(values)}." if values else ""


def _expressions(group: Group) -> str:
    counts: dict[Column, set[str]] = defaultdict(set)
    for record in group.records:
        for column, split in by_column(record).items():
            swapped = f" ({split.control.n:,})" if split.control else ""
            counts[column].add(f"{split.scores.n:,}{swapped}")
    listed = name_columns(group.measured, {column: " or ".join(sorted(counts[column])) for column in counts})
    return f"Expressions scored (swapped): {listed}." if listed else ""


def _data(group: Group) -> str:
    protocols: dict[str, list[str]] = {}
    for protocol, version in sorted({(record.cell.protocol, record.cell.data.fingerprint) for record in group.records}):
        protocols.setdefault(version[:12], []).append(protocol)
    return _per_label("Data version", protocols)


def _options(group: Group) -> str:
    listed = "; ".join(f"{row.label} {row.options}" for row in group.rows if row.options)
    return f"Options: {listed}." if listed else ""


def _budget(group: Group) -> str:
    budgets: dict[str, list[str]] = {}
    for row in group.rows:
        for budget in sorted({record.tuning_budget for record in row.records if record.status == "done"}):
            budgets.setdefault(budget, []).append(row.label)
    return _per_label("Tuning budget:", budgets)


def _problems(group: Group) -> str:
    worst: dict[str, int] = defaultdict(int)
    for record in group.records:
        for problem, count in record.data_problems.items():
            name = f"{record.cell.protocol} {problem}"
            worst[name] = max(worst[name], count)
    listed = ", ".join(f"{name} {count:,}" for name, count in sorted(worst.items()) if count)
    return f"Data problems: {listed}." if listed else ""


def _recipe(recipe: dict[str, object], others: Iterable[dict[str, object]]) -> str:
    mine, name = _flat(recipe), str(recipe.get("name", "unnamed"))
    namesakes = [_flat(other) for other in others if other.get("name") == recipe.get("name")]
    differing = sorted({key for other in namesakes for key in mine.keys() | other if mine.get(key) != other.get(key)})
    return name + (f" ({', '.join(f'{key}={mine.get(key)}' for key in differing)})" if differing else "")


def _flat(fields: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in fields.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
