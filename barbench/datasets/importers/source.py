"""From whatever a person holds to a REFER folder: `barbench data import SOURCE ROOT`."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, get_args

from barbench.datasets.importers import archive, lmdb_store, mask_folder, mdetr, parquet, table
from barbench.datasets.importers.instances import Instances
from barbench.datasets.importers.names import SourceFormat, found_files, named_dataset, partition_of
from barbench.datasets.importers.writer import ImportedReference, ReferWriter, present
from barbench.datasets.own import write_own
from barbench.datasets.refer import read_outline
from barbench.errors import DataError, UsageError
from barbench.paper.partitions import PARTITIONS, Counts, Partition
from barbench.spec.dataset import own_partition

OnRow = Callable[[int, int], None]
MISSING_SHOWN = 3


class Request(NamedTuple):
    """The arguments of `barbench data import`, as given; None where they are not.

    Attributes:
        source: a file or a folder.
        root: the folder to write.
        form: of the source; None: detected.
        split: the data set, as `--dataset` of a run names it; None: from the names of files and folders.
        images: a folder with images, for a source without.
        instances: a COCO instances file, for a source without masks.
    """

    source: Path
    root: Path
    form: SourceFormat | None = None
    split: str | None = None
    images: Path | None = None
    instances: Path | None = None


class SplitCount(NamedTuple):
    """One split as it is now under the root; `expected` is the public release's size, None where it is not known."""

    dataset: str
    split: str
    found: Counts
    expected: Counts | None

    @property
    def as_released(self) -> bool:
        """Whether references and images, whose numbers are certain, are those of the release."""
        return self.expected is None or self.found[:2] == self.expected[:2]


class Imported(NamedTuple):
    """What an import has made: the splits of every data set that it wrote, and notes in words."""

    form: SourceFormat
    counts: list[SplitCount]
    notes: list[str]


def import_data(request: Request, progress: OnRow) -> Imported:
    """Write what `request.source` holds as a REFER folder.

    Args:
        request: what to read, and where to.
        progress: called with rows (bytes of a zip) done and in all, where that is known.

    Returns:
        Counts and notes.

    Raises:
        UsageError: where the source is not there, is none of the forms, or something is in the way.
        DataError: where it is damaged.
    """
    if not request.source.exists():
        raise UsageError(f"{request.source} is not there")
    if request.images is not None and not request.images.is_dir():
        raise UsageError(f"--images {request.images} is not a folder")
    if request.root.resolve().is_relative_to(request.source.resolve()):
        raise UsageError(f"{request.root} is inside of {request.source}: name a folder beside it")
    form = request.form or look(request.source)
    if form == "zip":
        places = {str(place) for place in archive.copy_release(request.source, request.root, progress)}
        written = [p for p in present(request.root, PARTITIONS) if f"{p.folder}/{p.refs_file}" in places]
        notes = [f"{len(places):,} files copied"]
    else:
        written, notes = _write(request, form, progress)
    return Imported(form, [count for partition in written for count in _count(request.root, partition)], notes)


def look(source: Path) -> SourceFormat:
    """What a source is, from its files.

    Args:
        source: a file or a folder.

    Returns:
        The first form that fits.

    Raises:
        UsageError: where it is none of the forms.
    """
    if archive.holds_release(source):
        return "zip"
    for form, reader in READERS.items():
        if reader.find(source):
            return form
    raise UsageError(
        f"{source} has none of the known formats ({', '.join(get_args(SourceFormat))}): name it with --form, or see "
        "docs/data.md for how each looks"
    )


class Reader(NamedTuple):
    """How the sources of one form are read.

    Attributes:
        find: the files of the form under a folder, each of which is one split; a table is one file.
        items: the references of such a file, and in words what is left out of it.
        rows: how many references it has; 0 where that is not known without reading it.
    """

    find: Callable[[Path], list[Path]]
    items: Callable[[Path, Partition, Request, Instances | None], Iterator[ImportedReference | str]]
    rows: Callable[[Path], int] = lambda path: 0


def _stores(source: Path) -> list[Path]:
    """LMDB files, and folders that are one."""
    found = {path.parent if path.name == "data.mdb" else path for path in found_files(source, "*.lmdb", "data.mdb")}
    inside = {path for path in found if path.is_file() and path.suffix != ".lmdb"}
    return sorted(found - inside)


READERS: dict[SourceFormat, Reader] = {
    "parquet": Reader(
        lambda source: found_files(source, "*.parquet"),
        lambda path, partition, request, instances: parquet.items(path, partition, instances),
        parquet.rows,
    ),
    "masks": Reader(
        lambda source: [path for path in found_files(source, "*.json") if mask_folder.has_masks(path)],
        lambda path, partition, request, instances: mask_folder.items(path, partition, request.images),
    ),
    "lmdb": Reader(
        _stores, lambda path, partition, request, instances: lmdb_store.items(path, partition), lmdb_store.rows
    ),
    "mdetr": Reader(
        lambda source: [path for path in found_files(source, "*.json", "*.jsonl") if mdetr.is_mdetr(path)],
        lambda path, partition, request, instances: mdetr.items(path, partition, instances),
    ),
    "table": Reader(
        lambda source: [p for p in found_files(source, *(f"*{s}" for s in table.SUFFIXES)) if table.is_table(p)],
        lambda path, partition, request, instances: iter(table.items(path)),
    ),
}
"""In the order in which a source is looked at: a mask folder or MDETR's JSON could pass for a table, too."""


def _write(request: Request, form: SourceFormat, progress: OnRow) -> tuple[list[Partition], list[str]]:
    """Write every data set of a source that is not the release's own files; return them, and notes for the user."""
    reader = READERS[form]
    named = request.source.is_file() and request.form == form  # the user knows better than the file's name
    files = [request.source] if named else reader.find(request.source)
    if not files:
        raise UsageError(f"{request.source} has no file of the form {form}")

    # Which data set each file belongs to.
    files_of: dict[str, list[Path]] = defaultdict(list)
    partitions: dict[str, Partition] = {}
    for path in files:
        partition = _own(path, request) if form == "table" else partition_of(path.resolve(), request.split)
        partitions[partition.name] = partition
        files_of[partition.name].append(path)

    # All writers are made before anything is written, so that a file in the way is an error at once.
    instances = Instances(request.instances) if request.instances else None
    categories = instances.categories if instances else None
    writers: dict[str, ReferWriter] = {}
    for name, partition in partitions.items():
        writers[name] = ReferWriter(request.root, partition, request.images, categories)

    # References, with their images as they come.
    notes: list[str] = []
    left_out: Counter[str] = Counter()
    total = sum(reader.rows(path) for path in files)
    done = 0
    for name, paths in files_of.items():
        for path in paths:
            for item in reader.items(path, partitions[name], request, instances):
                if isinstance(item, str):
                    notes.append(item)
                elif item.split not in partitions[name].splits:
                    left_out[f"split {item.split!r}, which {name} does not have"] += 1
                else:
                    try:
                        writers[name].add(item)
                    except ValueError as error:
                        raise DataError(f"{path}, reference {done} of the import: {error}") from error
                    done += 1
                    progress(done, max(total, done))
        notes += _absent(writers[name])

    # The annotations come last: a data set has them once all of it is there.
    for name, writer in writers.items():
        writer.finish()
        if name not in PARTITIONS:
            write_own(request.root, partitions[name])
    notes += [f"{count:,} references left out: {why}" for why, count in left_out.items()]
    return list(partitions.values()), notes


def _own(path: Path, request: Request) -> Partition:
    """The data set of a table: a public one that was named, else one of its own with the table's splits."""
    name = request.split or named_dataset(Path(path.name)) or path.stem
    if name in PARTITIONS:
        return PARTITIONS.get(name)
    splits = table.splits(path)
    if "train" not in splits or len(splits) == 1:
        raise UsageError(f"{path} has the splits {', '.join(splits)}; expected train and at least one other")
    return own_partition(name, tuple(split for split in splits if split != "train"))


def _absent(writer: ReferWriter) -> Iterable[str]:
    if writer.missing:
        names = ", ".join(list(writer.missing)[:MISSING_SHOWN]) + ", …" * (len(writer.missing) > MISSING_SHOWN)
        yield (
            f"{len(writer.missing):,} images of {writer.partition.name} are not in the source ({names}): put them into "
            f"{writer.root / 'images/train2014'}, or import again into a new folder with --images FOLDER"
        )


def _count(root: Path, partition: Partition) -> Iterator[SplitCount]:
    outlines = read_outline(root, partition)
    for split in partition.splits:
        own = [entry for entry in outlines if entry.split == split]
        found = Counts(len(own), len({entry.image_id for entry in own}), sum(entry.sentences for entry in own))
        yield SplitCount(partition.name, split, found, partition.counts.get(split))
