"""Finds records by what a person calls a cell (method, title, id, file name): for `compare`, `predict` and `panels`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from barbench.errors import UnknownName, UsageError
from barbench.plain import flatten
from barbench.results.record import Record

CHOOSABLE: Final = ("backbone", "weights", "recipe", "image_size")  # each has an option of the command line


def named(records: Iterable[Record], name: str) -> list[Record]:
    """The finished records that a name can mean. A method's name alone means it without options, if there is such a
    cell.

    Args:
        records: to choose from.
        name: an id, a stem, the start of one of them, a title, or a method.

    Returns:
        At least one record.

    Raises:
        UnknownName: if no cell has that name.
        UsageError: if there is no finished cell at all.
    """
    done = [record for record in records if record.status == "done"]
    meanings: tuple[Callable[[Record], bool], ...] = (
        lambda r: name in (r.id, r.cell.stem()),
        lambda r: name.lower() == r.title.lower() or (name == r.cell.method and not r.cell.options),
        lambda r: name == r.cell.method,
        lambda r: r.id.startswith(name) or r.cell.stem().startswith(name),
    )
    for meant in meanings:
        if found := [record for record in done if meant(record)]:
            return found
    known = {word for record in done for word in (record.cell.method, record.id)}
    raise UnknownName("cell", name, known) if known else UsageError("there is no finished cell in the results folder")


def one(records: Iterable[Record], name: str) -> Record:
    """The one record that a name means.

    Args:
        records: to choose from.
        name: as for `named`.

    Returns:
        The record.

    Raises:
        UnknownName: if no cell has that name.
        UsageError: if several have it; the message lists them.
    """
    found = named(records, name)
    if len(found) > 1:
        raise UsageError(f"{name!r} can mean {len(found)} cells; name one by its id:\n{candidates(found)}")
    return found[0]


def runs(records: Iterable[Record], name: str, wanted: Mapping[str, str | None]) -> list[Record]:
    """The records that a name means and that differ only in their seed.

    Args:
        records: to choose from.
        name: as for `named`.
        wanted: values by `protocol` or one of CHOOSABLE; None for any.

    Returns:
        At least one record, in the order of the seeds.

    Raises:
        UnknownName: if no cell has that name.
        UsageError: if nothing fits, or if what fits differs in more than the seed; the message lists the candidates and
            the options that tell them apart.
    """
    found = named(records, name)
    asked = {key: value for key, value in wanted.items() if value is not None}
    fitting = [record for record in found if all(_choice(record, key) == value for key, value in asked.items())]
    if not fitting:
        what = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in asked.items())
        raise UsageError(f"no finished cell of {name!r} with {what}; there are:\n{candidates(found)}")
    if len({record.cell.model_dump_json(exclude={"seed"}) for record in fitting}) > 1:
        raise UsageError(
            f"{name!r} can mean several cells; say which with --split, --backbone, --weights, --recipe or "
            f"--image-size, or give a cell's id in place of {name!r}:\n{candidates(fitting)}"
        )
    return sorted(fitting, key=lambda record: record.cell.seed)


def candidates(records: Sequence[Record], shown: int = 12) -> str:
    """Describe records for a message.

    Args:
        records: to choose from.
        shown: number of lines, at most.

    Returns:
        One line per record: its file's name, its title, and the fields in which the records differ.
    """
    lines = []
    apart = differing(records)
    for number, record in enumerate(records[:shown]):
        told = "".join(f", {name} {values[number]}" for name, values in apart.items())
        lines.append(f"  {record.cell.stem()}  ({record.title}{told})")
    return "\n".join(lines + [f"  … {len(records) - shown} more"] * (len(records) > shown))


def differing(records: Sequence[Record]) -> dict[str, list[str]]:
    """The fields of their cells in which records differ. Method, options and seed are not compared.

    Args:
        records: at least one.

    Returns:
        Field (nested ones as `recipe.epochs`) to the value in each record; of recipes with different names, only the
            name.
    """
    flat = [
        flatten(
            record.cell.model_dump(mode="json", exclude={"method", "options", "seed", "recipe"})
            | {"recipe": record.cell.shared_recipe()}
        )
        for record in records
    ]
    names = list(dict.fromkeys(name for fields in flat for name in fields))
    found = {name: [str(fields.get(name)) for fields in flat] for name in names}
    apart = {name: values for name, values in found.items() if len(set(values)) > 1}
    if "recipe.name" in apart:
        apart = {
            name: values for name, values in apart.items() if not name.startswith("recipe.") or name == "recipe.name"
        }
    return apart


def _choice(record: Record, key: str) -> str:
    return str(record.cell.recipe.get("name") if key == "recipe" else getattr(record.cell, key))
