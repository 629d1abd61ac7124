"""Data sets of one's own: which ones the tables of a source are, what their masks were drawn on, and the file that
describes one, which `spec.dataset` reads. Used by `importers.source`."""

from collections.abc import Iterable
from pathlib import Path

from barbench.datasets.importers.names import named_dataset, split_name
from barbench.datasets.importers.table import Table, Turns, read_table
from barbench.errors import DataError, UsageError
from barbench.files import write_atomically
from barbench.paper.partitions import PARTITIONS, Exif, Partition
from barbench.spec.dataset import OWN_FILE, own_partition
from barbench.values import write_yaml

SPLIT_FILES = frozenset({"train", "val", "test", "testA", "testB", "dev", "eval"})
SHOWN = 3


def read_tables(source: Path, files: Iterable[Path]) -> dict[Path, Table]:
    """Read every table. In a folder of train.csv, val.csv, … the files' names are the splits of rows that name none."""
    paths = list(files)
    if _are_splits(source, paths):
        return {path: read_table(path, split_name(path.stem)) for path in paths}
    return {path: read_table(path) for path in paths}


def partitions(
    source: Path, tables: dict[Path, Table], dataset: str | None, files_of: dict[str, list[Path]]
) -> dict[str, Partition]:
    """The data sets of tables: public ones that are named, else your own with the tables' splits; `files_of` is filled
    with the files of each. UsageError for a name that a data set cannot have, or one without train or without another
    split."""
    # Tables named by splits are one data set, others one each.
    parts = _are_splits(source, list(tables))
    for path in tables:
        own_name = source.resolve().name if parts else path.stem
        name = dataset or named_dataset(Path(own_name)) or own_name
        files_of[name].append(path)
    # A data set of one's own has the splits that its tables name.
    found: dict[str, Partition] = {}
    for name, paths in files_of.items():
        if name in PARTITIONS:
            found[name] = PARTITIONS.get(name)
            continue
        splits: dict[str, None] = {}  # an ordered set
        for path in paths:
            splits |= dict.fromkeys(tables[path].splits)
        if "train" not in splits or len(splits) == 1:
            raise UsageError(
                f"{', '.join(map(str, paths))} has the splits {', '.join(splits)}; expected train and at least one "
                "other. One data set in several tables: put them into a folder as train.csv, val.csv, …"
            )
        try:
            found[name] = own_partition(name, tuple(split for split in splits if split != "train"))
        except UsageError as error:
            raise UsageError(f"{error}. Name it with --dataset, as in --dataset mine") from error
    return found


def drawn_on(tables: Iterable[Table], notes: list[str]) -> Exif:
    """Whether masks were drawn on images as stored or as their EXIF turns them, which sizes and reach tell; what was
    found is added to `notes`. UsageError where nothing tells, DataError where masks contradict each other."""
    # What the masks of all tables say, together.
    turns = Turns([], [], [])
    for table in tables:
        for places, more in zip(turns, table.turns, strict=True):
            places.extend(more)
    # Masks that fit one way only say how all were drawn.
    if turns.turned and turns.stored:
        raise DataError(
            f"EXIF turns some images: the mask of {turns.turned[0]} fits the turned image alone, that of "
            f"{turns.stored[0]} the stored one alone; draw all on the same"
        )
    if turns.turned:
        count = len(turns.turned)
        notes.append(
            f"EXIF turns some images, and {count:,} masks fit the turned ones alone: all images are read turned "
            "(exif: apply)"
        )
        return "apply"
    if turns.stored:
        notes.append("EXIF turns some images, and masks fit the stored ones alone: images are read as stored")
    elif turns.either:
        named = "; ".join(turns.either[:SHOWN]) + "; …" * (len(turns.either) > SHOWN)
        raise UsageError(
            f"images of {len(turns.either):,} rows are turned by their EXIF ({named}), and their "
            "masks fit both ways. Were they drawn on what people see? Say --exif apply; on the stored pixels: "
            "--exif stored"
        )
    return "stored"


def write_description(root: Path, partition: Partition) -> None:
    """Write the `protocol.yaml` of a partition that `own_partition` made."""
    fields = {
        "title": partition.title,
        "refs": partition.refs_file,
        "instances": partition.instances_file,
        "splits": list(partition.eval_splits),
        "context_length": partition.context_length,
    }
    # Left out where it is the default, which earlier versions do not know.
    if partition.exif != "stored":
        fields["exif"] = partition.exif
    write_atomically(root / partition.folder / OWN_FILE, write_yaml(fields).encode())


def _are_splits(source: Path, paths: list[Path]) -> bool:
    """Whether the tables of a folder are the splits of one data set."""
    if not source.is_dir() or len(paths) < 2:
        return False
    return all(split_name(path.stem) in SPLIT_FILES for path in paths)
