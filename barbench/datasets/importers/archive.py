"""The release's own files out of zips, or out of folders in another order. Used by `barbench data import`.

The web archive's copies (`refcoco.zip`, `refcoco+.zip`, `refcocog.zip` of the dead server) hold a folder each, with
`refs(unc).p`, `refs(google).p`, `refs(umd).p` and `instances.json`, and macOS's `__MACOSX/…/._refs(unc).p` beside them;
gRefCOCO's holds `grefs(unc).json`. Kaggle and others put several zips into one, or pack `train2014/` too.
"""

import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from barbench.datasets.importers.names import found_files, named_dataset
from barbench.datasets.importers.writer import refuse
from barbench.datasets.refer import IMAGE_FOLDERS
from barbench.errors import DataError, UsageError
from barbench.files import atomic_file
from barbench.paper.partitions import RELEASES

REFS = re.compile(r"g?refs\(\w+\)\.(p|json)")
NEARLY_REFS = re.compile(r"g?refs\b.*\.(p|pkl|pickle|json)", re.IGNORECASE)
COPY_MARK = re.compile(r"\s*\(\d+\)$")  # that browsers append to the name of a second download
OTHERS = {
    "refclef": "RefCLEF", "referit": "RefCLEF", "refzom": "Ref-ZOM", "ref-zom": "Ref-ZOM", "phrasecut": "PhraseCut",
    "rrefcoco": "R-RefCOCO", "rrefcoco+": "R-RefCOCO+", "rrefcocog": "R-RefCOCOg", "refcoco-m": "RefCOCO-M",
}  # fmt: skip
IMAGE = re.compile(r"COCO_\w+?_\d+\.jpe?g", re.IGNORECASE)
MAX_DEPTH = 3  # of zips in zips
BLOCK = 1 << 20
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
    NotImplementedError,
    EOFError,
)  # of a damaged zip, or one with a password


class Member(NamedTuple):
    """A file in a zip or a folder: its path from the outermost one on, its size, and how to open it."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def holds_release(source: Path) -> bool:
    """Whether a source is a zip, or a folder with zips or files of the release, be their names a little wrong."""
    if source.is_file():
        return zipfile.is_zipfile(source)
    if any(zipfile.is_zipfile(path) for path in found_files(source, "*.zip")):
        return True
    return any(NEARLY_REFS.fullmatch(path.name) for path in found_files(source, "*.p", "*.pkl", "*.pickle", "*.json"))


def holds_references(path: Path, datasets: Collection[str]) -> bool:
    """Whether a file is named as one of references, and its path names one of these data sets."""
    return REFS.fullmatch(path.name) is not None and named_dataset(path.resolve()) in datasets


def is_workbook(source: Path) -> bool:
    """Whether a file is a spreadsheet, which is a zip, too."""
    if not source.is_file() or not zipfile.is_zipfile(source):
        return False
    try:
        with zipfile.ZipFile(source) as archive:
            names = set(archive.namelist())
    except zipfile.BadZipFile:
        return False
    return "[Content_Types].xml" in names or "content.xml" in names


class Copied(NamedTuple):
    """The files that are there now, relative to the root, and in words what was left out."""

    places: list[PurePosixPath]
    notes: list[str]


def copy_release(source: Path, root: Path, progress: Callable[[int, int], None], dataset: str | None = None) -> Copied:
    """Copy the references, annotations and images that are in `source` to their places under `root`.

    `progress` is called with bytes done and bytes in all; files whose folder names no data set are of `dataset`. A
    UsageError says that nothing of the release is in `source`, or another file has its place under `root`; a DataError,
    that a zip is damaged or has a password.
    """
    folder = RELEASES.get(dataset).folder if dataset is not None else None
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".import-") as scratch:
        # Where each file belongs. Two of one place must be equal.
        members: dict[PurePosixPath, Member] = {}
        others: list[PurePosixPath] = []
        for member in _members(source, Path(scratch)):
            place = _place(member.path, folder)
            if place is None:
                others.append(member.path)
            elif not _equal(members.setdefault(place, member), member):
                raise UsageError(
                    f"{source} holds two files that differ as {place}: {members[place].path}, {member.path}"
                )
        unplaced = [path for path in others if NEARLY_REFS.fullmatch(path.name)]
        if not any(REFS.fullmatch(place.name) for place in members):
            if unplaced:
                raise UsageError(f"{source} holds {unplaced[0]}: {_why_not(unplaced[0])}")
            raise UsageError(f"{source} holds no refs(…).p or grefs(…).json of the release")

        # The references' files come last: what has them is whole.
        total = sum(member.size for member in members.values())
        done = 0
        for place in sorted(members, key=lambda place: (bool(REFS.fullmatch(place.name)), place)):
            try:
                with members[place].open() as file:
                    _copy(file, root / place)
            except UNREADABLE as error:
                raise DataError(f"{members[place].path} cannot be taken out of its zip: {error}") from error
            done += members[place].size
            progress(done, total)
    return Copied(list(members), [f"{path} is left out: {_why_not(path)}" for path in unplaced])


def _why_not(path: PurePosixPath) -> str:
    """Why a file that looks like one of references has no place."""
    known = ", ".join(partition.name for partition in RELEASES)
    if not REFS.fullmatch(path.name):
        return f"{path.name!r} is no name of the release; rename it, as in refs(unc).p or refs(umd).p"
    for name in _folder_names(path):
        if name in OTHERS:
            return f"{OTHERS[name]} is no part of the release ({known}): import its own folder, unpacked"
    return f"no folder on its path says which data set it is of ({known}); name it with --dataset"


def _folder_names(path: PurePosixPath) -> list[str]:
    """The folders and zips that a file lies in, the nearest first, without what browsers append."""
    names = []
    for part in reversed(path.parts[:-1]):
        plain = COPY_MARK.sub("", part.removesuffix(".zip"))
        names.append(plain.lower())
    return names


def _equal(one: Member, other: Member) -> bool:
    """Whether two members have the same bytes."""
    if one is other:
        return True
    if one.size != other.size:
        return False
    with one.open() as left, other.open() as right:
        return _same_bytes(left, right)


def _same_bytes(one: IO[bytes], other: IO[bytes]) -> bool:
    while block := one.read(BLOCK):
        if other.read(len(block)) != block:
            return False
    return not other.read(1)


def _copy(file: IO[bytes], target: Path) -> None:
    """A file that is there already with the same content stays: an import that was interrupted continues."""
    if target.exists():
        with target.open("rb") as there:
            if not _same_bytes(file, there):
                refuse(target)
        return
    with atomic_file(target) as made:
        shutil.copyfileobj(file, made, BLOCK)


def _place(path: PurePosixPath, otherwise: str | None) -> PurePosixPath | None:
    """Where a member belongs under the root; None for what is not the release's. A file whose path names no data set
    belongs into the folder `otherwise`."""
    if "__MACOSX" in path.parts or path.name.startswith("."):
        return None
    if IMAGE.fullmatch(path.name):
        return PurePosixPath(IMAGE_FOLDERS[0]) / path.name
    if path.name != "instances.json" and not REFS.fullmatch(path.name):
        return None
    # The folder next to the file names the data set.
    folders = {partition.folder for partition in RELEASES}
    for name in _folder_names(path):
        if name in folders:
            return PurePosixPath(name) / path.name
    return None if otherwise is None else PurePosixPath(otherwise) / path.name


def _members(source: Path, scratch: Path) -> Iterator[Member]:
    """Every file in `source`, those of zips in zips too."""
    if source.is_file():
        yield from _zipped(source, PurePosixPath(source.name), scratch, 0)
        return
    for path in found_files(source, "*"):
        inside = PurePosixPath(source.name, *path.relative_to(source).parts)
        if path.suffix.lower() == ".zip":
            yield from _zipped(path, inside, scratch, 0)
        elif path.is_file():
            yield Member(inside, path.stat().st_size, lambda path=path: path.open("rb"))  # type: ignore[misc]


def _zipped(path: Path, inside: PurePosixPath, scratch: Path, depth: int) -> Iterator[Member]:
    """The members of a zip; a zip in it is unpacked into `scratch`, because reading one jumps back and forth."""
    if depth == MAX_DEPTH:
        raise DataError(f"{inside} is a zip in a zip more than {MAX_DEPTH} times over")
    try:
        archive = zipfile.ZipFile(path)
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{inside} is not a zip that can be read: {error}") from error
    for entry in entries:
        # Names of Windows have backslashes, and no name may lead out of the folder.
        parts = [part for part in re.split(r"[/\\]", entry.filename) if part not in ("", "..")]
        name = inside.joinpath(*parts)
        if name.suffix.lower() != ".zip" or "__MACOSX" in name.parts or name.name.startswith("."):
            yield Member(name, entry.file_size, lambda entry=entry: archive.open(entry))  # type: ignore[misc]
            continue
        # A zip in the zip, which is read where it can be sought in.
        with tempfile.NamedTemporaryFile(dir=scratch, suffix=".zip", delete=False) as copy:
            try:
                with archive.open(entry) as file:
                    shutil.copyfileobj(file, copy, BLOCK)
            except UNREADABLE as error:
                raise DataError(f"{name} cannot be taken out of its zip: {error}") from error
        yield from _zipped(Path(copy.name), name, scratch, depth + 1)
