"""Writes a report as files: `barbench report` writes `table4.md`, `table4.tex`, `report.html` and so on; the same
records give the same bytes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from barbench.errors import UnknownName, UsageError
from barbench.files import write_atomically
from barbench.paper.tables import TABLES
from barbench.reports.report import PICTURES, Report, files_of, no_scenes
from barbench.reports.tables import accounting, across, identity, literature, necks, objects, pairs
from barbench.reports.tables.build import build
from barbench.reports.tables.grouping import Group, group
from barbench.reports.tables.notes import capitalized, describe_conditions
from barbench.reports.tables.table import Table
from barbench.results.qualitative import FindScenes
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from barbench.spec.accounting import DEFAULT, CountRule

Build = Callable[[Sequence[Group], ResampledScores], Sequence[Table]]


class Extra(NamedTuple):
    """A kind of table that the paper does not have.

    Attributes:
        build: its tables from the groups of all records; none where there is nothing to show.
        needs: what it is made from, for who asks for it where it is not there.
        in_all: whether ALL stands for it, too.
    """

    build: Build
    needs: str = "the counts of single expressions, which are not beside these records"
    in_all: bool = False


def of_groups(tables: Callable[[Group, ResampledScores, str], Sequence[Table]]) -> Build:
    """The tables of each group, one group after the other; each is given its conditions as a caption."""

    def build_each(groups: Sequence[Group], evidence: ResampledScores) -> list[Table]:
        conditions = [members.conditions for members in groups]
        built: list[Table] = []
        for members in groups:
            built += tables(members, evidence, capitalized(describe_conditions(members.conditions, conditions)))
        return built

    return build_each


EXTRA: Final[Mapping[str, Extra]] = {
    across.NUMBER: Extra(across.build_across, "evaluations: barbench evaluate --cell NAME --dataset B makes one"),
    objects.NUMBER: Extra(of_groups(objects.object_tables), in_all=True),
    identity.NUMBER: Extra(of_groups(identity.identity_tables), in_all=True),
    necks.NUMBER: Extra(
        necks.build_necks,
        "the counts of single expressions of one method with two necks, which are not beside these records",
        in_all=True,
    ),
    pairs.NUMBER: Extra(of_groups(pairs.pairs_table)),
    accounting.NUMBER: Extra(of_groups(lambda members, _, caption: [accounting.accounting_table(members, caption)])),
    literature.NUMBER: Extra(literature.build_literature),
}
"""By the name that `--table` takes."""

ALL: Final = "all"
"""Stands for the paper's tables, and for those of EXTRA that say so."""


class Written(NamedTuple):
    """The files of a report in the order of writing, and its tables by number."""

    paths: list[Path]
    tables: Mapping[str, Sequence[Table]]


def write_reports(
    store: Store,
    out: Path,
    tables: Sequence[str] = (ALL,),
    formats: Sequence[str] = ("md", "latex"),
    rule: CountRule = DEFAULT,
    find_scenes: FindScenes = no_scenes,
    pictures: int = PICTURES,
) -> Written:
    """Write tables from the records of a results folder, in each format; records are read and grouped once.

    Args:
        out: folder to write into; files that would not change are left alone.
        tables: numbers of the paper's tables, names of EXTRA, or ALL.
        formats: names of FORMATS; an empty sequence builds the tables without writing any.
        find_scenes: sentences and images of the expressions that a cell was scored on, for the page.
        pictures: bytes of thumbnails inside the page; further ones become files beside it.

    Raises:
        UnknownName: for a table or a format that does not exist.
        UsageError: if there is no record.
    """
    # Unknown formats and tables are refused before any work.
    writers = [files_of(name) for name in formats]
    known = (*TABLES.names(), *EXTRA, ALL)
    for number in tables:
        if number not in known:
            raise UnknownName("table", number, known)
    records = store.all()
    if not records:
        raise UsageError(f"no records in {store.folder}: `barbench run` writes them")
    groups = group(records)
    evidence = ResampledScores(store)
    built = _built(tables, groups, evidence, rule)
    report = Report(built, records, groups, store, evidence, out, find_scenes, pictures)
    # Files that would not change are left alone, and keep their dates.
    paths = []
    for files in writers:
        for name, written in files(report):
            path = out / name
            content = written.encode() if isinstance(written, str) else written
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, content)
            paths.append(path)
    return Written(paths, built)


def _built(
    tables: Sequence[str], groups: Sequence[Group], evidence: ResampledScores, rule: CountRule
) -> dict[str, Sequence[Table]]:
    """The tables by number or name; ALL has those of EXTRA that it holds only if they are not empty."""
    every = list(TABLES.names())
    every += [name for name, extra in EXTRA.items() if extra.in_all]
    wanted: list[str] = []
    for number in tables:
        wanted += every if number == ALL else [number]
    # One that was asked for by name and has nothing to show is an error.
    built: dict[str, Sequence[Table]] = {}
    for number in wanted:
        if number not in EXTRA:
            built[number] = build(number, groups, evidence, rule)
            continue
        found = EXTRA[number].build(groups, evidence)
        if found:
            built[number] = found
        elif number in tables:
            raise UsageError(f"table {number!r} needs {EXTRA[number].needs}")
    return built
