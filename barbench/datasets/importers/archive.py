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
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from barbench.datasets.importers.names import found_files
from barbench.datasets.importers.writer import refuse
from barbench.datasets.refer import IMAGE_FOLDERS
from barbench.errors import DataError, UsageError
from barbench.files import atomic_file
from barbench.paper.partitions import PARTITIONS

REFS = re.compile(r"g?refs\(\w+\)\.(p|json)")
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
    """Whether a source is for this importer.

    Args:
        source: a file or a folder.

    Returns:
        True for a zip, and for a folder with zips or the release's files.
    """
    if source.is_file():
        return zipfile.is_zipfile(source)
    return any(zipfile.is_zipfile(path) for path in found_files(source, "*.zip")) or any(
        REFS.fullmatch(path.name) for path in found_files(source, "*.p", "*.json")
    )


def copy_release(source: Path, root: Path, progress: Callable[[int, int], None]) -> list[PurePosixPath]:
    """Copy the references, annotations and images that are in `source` to their places under `root`.

    Args:
        source: a zip, or a folder with zips, the release's files, or both.
        root: the folder to write.
        progress: called with bytes done and bytes in all.

    Returns:
        The files that are there now, relative to `root`.

    Raises:
        UsageError: where nothing of the release is in `source`, or another file has its place under `root`.
        DataError: for a zip that is damaged or has a password.
    """
    folders = {partition.folder for partition in PARTITIONS}
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".import-") as scratch:
        members: dict[PurePosixPath, Member] = {}
        for member in _members(source, Path(scratch)):
            place = _place(member.path, folders)
            if place is not None and members.setdefault(place, member).size != member.size:
                raise UsageError(
                    f"{source} holds two files that differ as {place}: {members[place].path}, {member.path}"
                )
        if not any(REFS.fullmatch(place.name) for place in members):
            raise UsageError(f"{source} holds no refs(…).p or grefs(…).json of the release")
        total, done = sum(member.size for member in members.values()), 0
        # The references' files come last: what has them is whole.
        for place in sorted(members, key=lambda place: (bool(REFS.fullmatch(place.name)), place)):
            try:
                with members[place].open() as file:
                    _copy(file, root / place)
            except UNREADABLE as error:
                raise DataError(f"{members[place].path} cannot be taken out of its zip: {error}") from error
            done += members[place].size
            progress(done, total)
    return list(members)


def _copy(file: IO[bytes], target: Path) -> None:
    """A file that is there already with the same content stays: an import that was interrupted goes on."""
    if target.exists():
        with target.open("rb") as there:
            while block := file.read(BLOCK):
                if there.read(len(block)) != block:
                    refuse(target)
            if there.read(1):
                refuse(target)
        return
    with atomic_file(target) as made:
        shutil.copyfileobj(file, made, BLOCK)


def _place(path: PurePosixPath, folders: set[str]) -> PurePosixPath | None:
    """Where a member belongs under the root; None for what is not the release's."""
    if "__MACOSX" in path.parts or path.name.startswith("."):
        return None
    if IMAGE.fullmatch(path.name):
        return PurePosixPath(IMAGE_FOLDERS[0]) / path.name
    if path.name != "instances.json" and not REFS.fullmatch(path.name):
        return None
    for part in reversed(path.parts[:-1]):
        name = part.removesuffix(".zip").lower()
        if name in folders:
            return PurePosixPath(name) / path.name
    return None


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
        name = inside / PurePosixPath(*[part for part in re.split(r"[/\\]", entry.filename) if part not in ("", "..")])
        if name.suffix.lower() != ".zip" or "__MACOSX" in name.parts or name.name.startswith("."):
            yield Member(name, entry.file_size, lambda entry=entry: archive.open(entry))  # type: ignore[misc]
            continue
        with tempfile.NamedTemporaryFile(dir=scratch, suffix=".zip", delete=False) as copy:
            try:
                with archive.open(entry) as file:
                    shutil.copyfileobj(file, copy, BLOCK)
            except UNREADABLE as error:
                raise DataError(f"{name} cannot be taken out of its zip: {error}") from error
        yield from _zipped(Path(copy.name), name, scratch, depth + 1)
