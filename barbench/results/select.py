"""Finds records by what a person calls a cell (method, title, id, file name): for `compare`, `predict` and `panels`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from barbench.errors import UnknownName, UsageError
from barbench.results.record import Record
from barbench.values import flatten

CHOOSABLE: Final = ("backbone", "weights", "recipe", "image_size", "neck", "head")
"""What records can be chosen by; each has an option of the command line."""
_IN_CELL: Final = {"neck": "neck_name", "head": "form_name"}
"""Where a cell has it, if not under that name."""
_SHOWN: Final = 12


def named(records: Iterable[Record], name: str) -> list[Record]:
    """The finished records that a name can mean: an id, a stem, the start of one of them, a title, or a method, which
    means it without chosen options if there is such a cell."""
    done = [record for record in records if record.status == "done"]
    if not done:
        raise UsageError("there is no finished cell in the results folder")
    # The first way of reading the name that fits some record counts.
    for fits in (_is_name, _is_title, _is_method, begins_with):
        found = [record for record in done if fits(record, name)]
        if found:
            return found
    known: set[str] = set()
    for record in done:
        known |= {record.cell.method, record.id}
    raise UnknownName("cell", name, known)


def _is_name(record: Record, name: str) -> bool:
    return name in (record.id, record.cell.stem())


def _is_title(record: Record, name: str) -> bool:
    """Whether it is the title, or the method's name where the cell has no chosen options."""
    if name.lower() == record.title.lower():
        return True
    return name == record.cell.method and not record.cell.chosen


def _is_method(record: Record, name: str) -> bool:
    return name == record.cell.method


def begins_with(record: Record, name: str) -> bool:
    """Whether its id or its file's name begins so."""
    return record.id.startswith(name) or record.cell.stem().startswith(name)


def one(records: Iterable[Record], name: str) -> Record:
    """The one record that a name means; a UsageError lists the candidates where there are several."""
    found = named(records, name)
    if len(found) > 1:
        raise UsageError(f"{name!r} can mean {len(found)} cells; name one by its id:\n{candidates(found)}")
    return found[0]


def runs(records: Iterable[Record], name: str, wanted: Mapping[str, str | None]) -> list[Record]:
    """The records that a name means and that differ only in their seed, in the order of the seeds.

    Where nothing fits, or where what fits differs in more than the seed, a UsageError lists the candidates and the
    options that choose between them. `wanted` has values by `dataset` or one of CHOOSABLE; None for any.
    """
    found = named(records, name)
    asked = {key: value for key, value in wanted.items() if value is not None}
    # What was asked for beside the name.
    fitting = found
    for key, value in asked.items():
        fitting = [record for record in fitting if _choice(record, key) == value]
    if not fitting:
        what = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in asked.items())
        raise UsageError(f"no finished cell of {name!r} with {what}; there are:\n{candidates(found)}")
    # What is left must be one cell but for its seeds.
    without_seed = {record.cell.model_dump_json(exclude={"seed", "scaled"}) for record in fitting}
    if len(without_seed) > 1:
        raise UsageError(
            f"{name!r} can mean several cells; say which with --dataset, --backbone, --weights, --recipe, "
            f"--image-size, --neck or --head, or give a cell's id in place of {name!r}:\n{candidates(fitting)}"
        )
    return sorted(fitting, key=lambda record: record.cell.seed)


def candidates(records: Sequence[Record]) -> str:
    """One line for each of the first records: its file's name, its title, and the fields in which they all differ."""
    lines = []
    differences = differing(records, options=True)
    for number, record in enumerate(records[:_SHOWN]):
        fields = [f"{name} {values[number]}" for name, values in differences.items()]
        described = ", ".join([record.title, *fields])
        lines.append(f"  {record.cell.stem()}  ({described})")
    if len(records) > _SHOWN:
        lines.append(f"  … {len(records) - _SHOWN} more")
    return "\n".join(lines)


def differing(records: Sequence[Record], options: bool = False) -> dict[str, list[str]]:
    """The fields of their cells in which records differ, nested ones as `recipe.epochs`, with the value in each record;
    of recipes with different names, only the name.

    Method and seed are not compared, nor are learning rates that are each method's own, where there are several
    methods; the methods' options are, where they are asked for.
    """
    one_method = len({record.cell.method for record in records}) == 1
    cells = []
    for record in records:
        left_out = {"method", "options", "seed", "recipe", "scaled", "neck", "head_form"}
        fields = record.cell.model_dump(mode="json", exclude=left_out)
        fields |= {key: getattr(record.cell, name) for key, name in _IN_CELL.items()}
        fields["recipe"] = record.cell.recipe if one_method else record.cell.shared_recipe()
        if options:
            fields["options"] = record.cell.options
        cells.append(flatten(fields))
    names: dict[str, None] = {}  # an ordered set
    for fields in cells:
        names |= dict.fromkeys(fields)
    found = {}
    for name in names:
        values = [str(fields.get(name)) for fields in cells]
        if len(set(values)) > 1:
            found[name] = values
    if "recipe.name" in found:
        # Two recipes differ in most fields: their names say it.
        for name in list(found):
            if name.startswith("recipe.") and name != "recipe.name":
                del found[name]
    return found


def _choice(record: Record, key: str) -> str:
    """What a record has for an option of the command line."""
    if key == "recipe":
        return str(record.cell.recipe.get("name"))
    return str(getattr(record.cell, _IN_CELL.get(key, key)))
