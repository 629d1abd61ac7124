"""Where the data of a run come from: a REFER folder, or shapes made on demand. Used by `barbench run --data`."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from barbench.datasets.refer import data_files
from barbench.datasets.shapes import ShapesSpec, make_shapes
from barbench.files import at_home, is_left_behind, own_mark
from barbench.progress import OnProgress
from barbench.spec.dataset import OWN_FILE, Dataset

MAKING = ".making-"
SHAPES_MARK = "shapes.json"  # lies in every folder that make_shapes wrote, so that it is never taken for real data


@dataclass(frozen=True)
class DataSource:
    """A root in REFER layout.

    Attributes:
        kind: generated shapes, or any other folder.
        root: the folder.
        fingerprint: a hash that stands for its contents in the identity of a cell.
    """

    kind: Literal["shapes", "refer"]
    root: Path
    fingerprint: str


def find_source(data: str | None, dataset: Dataset, progress: OnProgress | None = None) -> DataSource:
    """Find the data of a data set, and make them if they are generated.

    Args:
        data: what `--data` names: a folder or `shapes`; None for $BARBENCH_DATA, and without that shapes.
        dataset: whose files are needed.
        progress: called with the images drawn and all images.

    Returns:
        The folder, and what identifies its content.

    Raises:
        MissingData: if the folder lacks a file of the data set.
    """
    chosen = chosen_data(data)
    if chosen == "shapes":
        return shapes_source(ShapesSpec(), progress)
    return folder_source(Path(chosen), dataset)


def data_root(data: str | None) -> Path | None:
    """The folder that `--data` names (see `chosen_data`), whether it exists or not; None for the shapes."""
    chosen = chosen_data(data)
    return None if chosen == "shapes" else at_home(chosen)


def chosen_data(data: str | None) -> str:
    """What `--data` names; without it $BARBENCH_DATA, and without that `shapes`."""
    return data or os.environ.get("BARBENCH_DATA") or "shapes"


def folder_source(root: Path, dataset: Dataset) -> DataSource:
    """Use a folder that exists.

    Args:
        root: in REFER layout; a leading ~ is the home folder.
        dataset: whose files are needed.

    Returns:
        A source with a hash of the files of every partition that the data set reads; images are not hashed.

    Raises:
        MissingData: if one of the files is absent.
    """
    root = at_home(root)
    # Everything that says what the data are: a file of its own, references, annotations.
    paths: list[Path] = []
    if dataset.is_own:
        paths.append(root / dataset.name / OWN_FILE)
    for partition in dataset.partitions:
        paths.extend(data_files(root, partition))
    digest = hashlib.sha256()
    for path in dict.fromkeys(paths):  # two partitions of G-Ref share one instances file
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    is_shapes = (root / SHAPES_MARK).exists()
    return DataSource("shapes" if is_shapes else "refer", root, digest.hexdigest())


def shapes_source(spec: ShapesSpec, progress: OnProgress | None = None) -> DataSource:
    """Use generated shapes from the cache; they are made now if they are not there yet.

    They appear in the cache complete or not at all: they are made in a folder next to it, which is then renamed. If
    another process was faster, its copy is used, which is equal since generation is deterministic.
    """
    root = cache_folder() / f"shapes-{spec.fingerprint()}"
    if not root.exists():
        _make_in_cache(root, spec, progress)
    return DataSource("shapes", root, spec.fingerprint())


def _make_in_cache(root: Path, spec: ShapesSpec, progress: OnProgress | None) -> None:
    """Make shapes at `root`, after removing unfinished folders of killed processes."""
    root.parent.mkdir(parents=True, exist_ok=True)
    for folder in root.parent.glob(f"{MAKING}*"):
        if is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)
    # It takes its name only when it is complete; several processes may make it at once.
    unfinished = root.parent / f"{MAKING}{own_mark()}"
    unfinished.mkdir()
    try:
        make_shapes(unfinished, spec, progress)
        unfinished.rename(root)
    except OSError:
        if not root.exists():  # no other process was faster
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def cache_folder() -> Path:
    """$BARBENCH_CACHE, by default ~/.cache/barbench, or a temporary folder if that cannot be made."""
    chosen = os.environ.get("BARBENCH_CACHE")
    if chosen:
        return at_home(chosen)
    temporary = Path(tempfile.gettempdir()) / f"barbench-{os.getuid()}"
    try:
        folder = Path.home() / ".cache" / "barbench"
    except RuntimeError:  # a user id without $HOME and without an entry in passwd, as in containers
        return temporary
    return folder if _is_writable(folder) else temporary


def _is_writable(folder: Path) -> bool:
    """Whether `folder` can be written or created, judged by its nearest parent that exists."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(place, os.W_OK)
