"""Where the data of a run come from: a REFER folder, or shapes made on demand. Used by `barbench run --data`."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from barbench.datasets.own import FILE
from barbench.datasets.refer import data_files
from barbench.datasets.shapes import ShapesSpec, make_shapes
from barbench.files import at_home, is_left_behind, own_mark
from barbench.paper.mixtures import TASKS, Task
from barbench.plain import OnProgress

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


def find_source(data: str | None, task: Task, progress: OnProgress | None = None) -> DataSource:
    """Find the data of a task, and make them if they are generated.

    Args:
        data: what `--data` names: a folder or `shapes`; None for $BARBENCH_DATA, and without that shapes.
        task: whose files are needed.
        progress: called with the images drawn and all images.

    Returns:
        The source.

    Raises:
        MissingData: if the folder lacks a file of the task.
    """
    chosen = chosen_data(data)
    return shapes_source(ShapesSpec(), progress) if chosen == "shapes" else folder_source(Path(chosen), task)


def data_root(data: str | None) -> Path | None:
    """The folder that `--data` names, as `chosen_data`.

    Args:
        data: as given.

    Returns:
        A folder, whether it exists or not; None for the shapes.
    """
    chosen = chosen_data(data)
    return None if chosen == "shapes" else at_home(chosen)


def chosen_data(data: str | None) -> str:
    """What `--data` names; without it $BARBENCH_DATA, and without that `shapes`."""
    return data or os.environ.get("BARBENCH_DATA") or "shapes"


def folder_source(root: Path, task: Task) -> DataSource:
    """Use a folder that exists.

    Args:
        root: in REFER layout; a leading ~ is the home folder.
        task: whose files are needed.

    Returns:
        A source with a hash of the files of every protocol that the task reads; images are not hashed.

    Raises:
        MissingData: if one of the files is absent.
    """
    root = at_home(root)
    digest = hashlib.sha256()
    own = [root / task.name / FILE] if task.name not in TASKS else []
    for path in dict.fromkeys([*own, *(path for protocol in task.reads for path in data_files(root, protocol))]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return DataSource("shapes" if (root / SHAPES_MARK).exists() else "refer", root, digest.hexdigest())


def shapes_source(spec: ShapesSpec, progress: OnProgress | None = None) -> DataSource:
    """Use generated shapes from the cache; they are made now if they are not there yet.

    They appear in the cache complete or not at all: they are made in a folder next to it, which is then renamed. If
    another process was faster, its copy is used, which is equal since generation is deterministic. Unfinished folders
    of killed processes are removed.

    Args:
        spec: what to generate.
        progress: called with the images drawn and all images.

    Returns:
        The source.
    """
    root = cache_folder() / f"shapes-{spec.fingerprint()}"
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        for folder in filter(is_left_behind, root.parent.glob(f"{MAKING}*")):
            shutil.rmtree(folder, ignore_errors=True)
        unfinished = root.parent / f"{MAKING}{own_mark()}"
        unfinished.mkdir()
        try:
            make_shapes(unfinished, spec, progress)
            unfinished.rename(root)
        except OSError:
            if not root.exists():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return DataSource("shapes", root, spec.fingerprint())


def cache_folder() -> Path:
    """$BARBENCH_CACHE, by default ~/.cache/barbench, or a temporary folder if that cannot be made."""
    chosen = os.environ.get("BARBENCH_CACHE")
    if chosen:
        return at_home(chosen)
    try:
        home = Path.home()
    except RuntimeError:  # a user id without $HOME and without an entry in passwd, as in containers
        home = None
    folder = home / ".cache" / "barbench" if home else None
    if folder is None or not _writable(folder):
        return Path(tempfile.gettempdir()) / f"barbench-{os.getuid()}"
    return folder


def _writable(folder: Path) -> bool:
    """Whether `folder` can be written or created, judged by its nearest parent that exists."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(place, os.W_OK)
