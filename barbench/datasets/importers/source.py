"""From whatever a person holds to a REFER folder: `barbench data import SOURCE ROOT`."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from barbench.datasets.entries import naming
from barbench.datasets.importers import (
    absent,
    archive,
    joined,
    lmdb_store,
    mask_folder,
    mdetr,
    own_tables,
    parquet,
    phrasecut,
    refclef,
    table,
)
from barbench.datasets.importers.instances import Instances
from barbench.datasets.importers.names import SourceFormat, found_files, partition_of
from barbench.datasets.importers.rows import TABLE_FILES
from barbench.datasets.importers.summary import MaskCounts, count_masks, warnings_of
from barbench.datasets.importers.unknown import left_out_tables, refuse_other_files, why_unknown
from barbench.datasets.importers.writer import Given, Items, ReferWriter, present
from barbench.datasets.refer import data_files, read_annotations, read_outline
from barbench.datasets.references import ReferData
from barbench.errors import UsageError
from barbench.paper.partitions import PARTITIONS, Counts, Exif, Partition

OnRow = Callable[[int, int], None]
MISSING_SHOWN = 3


class Request(NamedTuple):
    """The arguments of `barbench data import`, as given; None where they are not.

    Attributes:
        form: of the source; None: detected.
        dataset: as `--dataset` of a run names it; None: from the names of files and folders.
        instances: a COCO instances file, for a source without masks.
        exif: whether masks were drawn on images as stored or as turned; None: as the masks' sizes say.
    """

    source: Path
    root: Path
    form: SourceFormat | None = None
    dataset: str | None = None
    images: Path | None = None
    instances: Path | None = None
    exif: Exif | None = None


class SplitCount(NamedTuple):
    """One split as it is now under the root; `expected` is the public release's size, None where it is not known."""

    dataset: str
    split: str
    found: Counts
    expected: Counts | None
    masks: MaskCounts

    @property
    def as_released(self) -> bool:
        """Whether references and images, whose numbers are certain, are those of the release."""
        return self.expected is None or self.found[:2] == self.expected[:2]


class Imported(NamedTuple):
    """What an import has made: the data sets as they are read now, the splits of each, and notes in words."""

    form: SourceFormat
    data: list[ReferData]
    counts: list[SplitCount]
    notes: list[str]


def import_data(request: Request, progress: OnRow) -> Imported:
    """Write what `request.source` holds as a REFER folder; `progress` is called with rows (bytes of a zip) done and in
    all, where that is known. UsageError where the source is not there, is none of the forms, or something is in the
    way; DataError where it is damaged."""
    if not request.source.exists():
        raise UsageError(f"{request.source} is not there")
    if request.images is not None and not request.images.is_dir():
        raise UsageError(f"--images {request.images} is not a folder")
    if request.root.resolve().is_relative_to(request.source.resolve()):
        raise UsageError(f"{request.root} is inside of {request.source}: name a folder beside it")
    refuse_other_files([request.source])
    form = request.form or look(request.source)
    if form == "zip":
        copied = archive.copy_release(request.source, request.root, progress, request.dataset)
        places = {request.root / place for place in copied.places}
        notes = [f"{len(places):,} files copied", *copied.notes]
        written = []
        for partition in present(request.root, PARTITIONS):
            refs_path, _ = data_files(request.root, partition)
            if refs_path in places:
                written.append(partition)
    else:
        written, notes = _write(request, form, progress)

    # What is there now, read as a run would read it.
    data = [read_annotations(request.root, partition) for partition in written]
    counts: list[SplitCount] = []
    for each in data:
        counts += _count(each)
        notes += warnings_of(each)
    return Imported(form, data, counts, notes)


def look(source: Path) -> SourceFormat:
    """What a source is, from its files: the first form that fits, whereby files of the release have a wide one. Where
    none does, a UsageError says what is there instead."""
    for form in NARROW:
        if READERS[form].find(source):
            return form
    if archive.holds_release(source):
        return "zip"
    for form, reader in READERS.items():
        if reader.find(source):
            return form
    raise UsageError(why_unknown(source))


class Reader(NamedTuple):
    """How the sources of one form are read.

    Attributes:
        find: the files of the form under a folder, each of which is one split; a table is one file.
        items: reads such a file; None for tables, which are read whole before anything is written.
        rows: how many references it has; None where that is not known without reading it.
        dataset: that all such files are of; None where names of files and folders tell.
    """

    find: Callable[[Path], list[Path]]
    items: Callable[[Path, Given], Items] | None
    rows: Callable[[Path], int] | None = None
    dataset: str | None = None


def _files(fits: Callable[[Path], object], *patterns: str) -> Callable[[Path], list[Path]]:
    """How the files of a form are found: those that match a pattern and fit."""

    def find(source: Path) -> list[Path]:
        return [path for path in found_files(source, *patterns) if fits(path)]

    return find


def _stores(source: Path) -> list[Path]:
    """LMDB files, and folders that are one."""
    folders = {path.parent for path in found_files(source, "data.mdb")}
    return sorted(folders.union(found_files(source, "*.lmdb")))


READERS: dict[SourceFormat, Reader] = {
    "parquet": Reader(lambda source: found_files(source, "*.parquet"), parquet.items, parquet.rows),
    "masks": Reader(_files(mask_folder.has_masks, "*.json"), mask_folder.items),
    "lmdb": Reader(_stores, lmdb_store.items, lmdb_store.rows),
    "mdetr": Reader(_files(mdetr.is_mdetr, "*.json", "*.jsonl"), mdetr.items),
    "absent": Reader(_files(absent.is_absent, "*.p", "*.json"), absent.items),
    "refclef": Reader(_files(refclef.is_refclef, "*.p", "*.json"), refclef.items),
    "phrasecut": Reader(_files(phrasecut.split_of, "refer_*.json"), phrasecut.items, dataset="phrasecut"),
    "arefcoco": Reader(_files(joined.is_arefcoco, "*.json"), joined.arefcoco, dataset="arefcoco"),
    "refcocog-adv": Reader(_files(joined.is_adversarial, "*.json"), joined.adversarial, dataset="refcocog-adv"),
    "table": Reader(_files(table.is_table, *TABLE_FILES), None),
}
"""In the order in which a source is looked at: a mask folder or MDETR's JSON could pass for a table, too."""

NARROW: tuple[SourceFormat, ...] = ("absent", "refclef", "phrasecut")
"""Looked for first: files of some would pass for the release's, or for a table."""


def _write(request: Request, form: SourceFormat, progress: OnRow) -> tuple[list[Partition], list[str]]:
    """Write every data set of a source that is not the release's own files; return them, and notes for the user."""
    reader = READERS[form]
    named = request.source.is_file() and request.form == form  # the user knows better than the file's name
    files = [request.source] if named else reader.find(request.source)
    if not files:
        raise UsageError(f"{request.source} has no file of the form {form}")
    refuse_other_files(files)

    # Which data set each file belongs to. Tables are read whole, so that nothing is written of one with a fault.
    notes: list[str] = []
    exif: Exif = request.exif or "stored"
    tables: dict[Path, table.Table] = {}
    files_of: dict[str, list[Path]] = defaultdict(list)
    partitions: dict[str, Partition] = {}
    if form == "table":
        tables = own_tables.read_tables(request.source, files)
        exif = request.exif or own_tables.drawn_on(tables.values(), notes)
        partitions = own_tables.partitions(request.source, tables, request.dataset, files_of)
        notes += left_out_tables(request.source, files)
    else:
        for path in files:
            partition = partition_of(path.resolve(), request.dataset or reader.dataset)
            partitions[partition.name] = partition
            files_of[partition.name].append(path)
    if exif == "apply":
        partitions = {name: replace(partition, exif=exif) for name, partition in partitions.items()}

    # All writers are made before anything is written, so that a file in the way is an error at once.
    instances = Instances(request.instances) if request.instances else None
    writers: dict[str, ReferWriter] = {}
    for name, partition in partitions.items():
        writers[name] = ReferWriter(Given(partition, request.root, request.images, instances))

    # References, with their images as they come.
    left_out: Counter[str] = Counter()
    total = sum(reader.rows(path) for path in files) if reader.rows else 0
    done = 0
    for name, paths in files_of.items():
        writer = writers[name]
        for path in paths:
            items = reader.items(path, writer.given) if reader.items else tables[path].items(exif)
            for item in items:
                if isinstance(item, str):
                    notes.append(item)
                    continue
                if item.split not in partitions[name].splits:
                    left_out[f"split {item.split!r}, which {name} does not have"] += 1
                    continue
                with naming(item.where or f"{path}, reference {done} of the import"):
                    writer.add(item)
                done += 1
                progress(done, max(total, done))
        notes += _absent(writer)

    # The annotations come last: a data set has them once all of it is there.
    for name, writer in writers.items():
        writer.finish()
        if name not in PARTITIONS:
            own_tables.write_description(request.root, partitions[name])
    notes += [f"{count:,} references left out: {why}" for why, count in left_out.items()]
    return list(partitions.values()), notes


def _absent(writer: ReferWriter) -> list[str]:
    """A note on images that are nowhere, if there are some."""
    if not writer.missing:
        return []
    names = list(writer.missing)[:MISSING_SHOWN]
    if len(writer.missing) > MISSING_SHOWN:
        names.append("…")
    return [
        f"{len(writer.missing):,} images of {writer.given.partition.name} are not in the source ({', '.join(names)}): "
        f"put them into {writer.folder}, or import again into a new folder with --images FOLDER"
    ]


def _count(data: ReferData) -> Iterator[SplitCount]:
    """Each split of a data set: all entries of its file, used or not, and the masks of those that are used."""
    partition = data.partition
    outlines = read_outline(data.root, partition)
    for split in partition.splits:
        entries = [entry for entry in outlines if entry.split == split]
        images = {entry.image_id for entry in entries}
        sentences = sum(entry.sentences for entry in entries)
        found = Counts(len(entries), len(images), sentences)
        yield SplitCount(partition.name, split, found, partition.counts.get(split), count_masks(data, split))
