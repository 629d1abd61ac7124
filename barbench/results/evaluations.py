"""What `barbench evaluate --cell` leaves: the scores of a trained cell on other data, or of other words.

An evaluation is no cell: its record lies in `cells/<stem>/evaluations/` of the results folder, where nothing that reads
the records of cells looks.
"""

import hashlib
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import Field, JsonValue, ValidationError

from barbench.errors import DataError
from barbench.files import write_atomically
from barbench.metrics import Scores
from barbench.results.expressions import Columns
from barbench.results.record import STORED, Cell, DataIdentity, Frozen, short_hash
from barbench.results.store import Arrays, Store, as_stored, pack, unpack
from barbench.spec.text import explain

ORIGINAL: Final = "original"
"""The text of an evaluation whose expressions are those of the data."""
FOLDER: Final = "evaluations"
RIVALS: Final = "rivals/"
NO_ARRAYS: Final[Arrays] = {}


class Evaluated(Frozen):
    """What was evaluated on what: all that can change the counts, and nothing else."""

    cell: str = Field(description="id of the cell")
    tuned: str = Field(description="SHA-256 of its tuned weights")
    dataset: str
    split: str
    data: DataIdentity
    limit: int | None = Field(default=None, description="images of the split; None: all")
    text: str = Field(default=ORIGINAL, description="the variant of the expressions, see `datasets.variants`")
    text_seed: int = 0
    threshold: float
    context_length: int
    exif: Literal["stored", "apply"] = "stored"

    def id(self) -> str:
        """Twelve hex digits: SHA-256 of the canonical JSON without defaults."""
        return short_hash(self.model_dump(mode="json", exclude_defaults=True))


class Leaks(Frozen):
    """Whether the cell was trained on images of the split."""

    shared_images: int | None = Field(default=None, description="how many it was; None: it cannot be known")
    why_unknown: str = ""
    without_shared: Scores | None = Field(default=None, description="scores of the other images; None: none are shared")


class EvaluationRecord(Frozen):
    """One evaluation: a trained cell on one split, in the words of the data or in others."""

    schema_version: Literal[1] = 1
    id: str
    evaluated: Evaluated
    cell: Cell = Field(description="that was trained")
    title: str = Field(description="of its method")
    scores: Scores
    control: Scores | None = Field(default=None, description="with expressions swapped within the image")
    leaks: Leaks
    images: int
    references: int
    cut: int = Field(description="expressions that are longer than the context")
    changed: int | None = Field(default=None, description="expressions whose words a variant changed")
    changed_scores: Scores | None = Field(default=None, description="of these alone")
    original_scores: Scores | None = Field(default=None, description="of the same in the words of the data")
    environment: dict[str, JsonValue] = Field(default={}, description="as in a record")
    expressions: str = Field(default="", description="SHA-256 of the arrays beside the record")

    @property
    def label(self) -> str:
        """`A -> B`: trained on A, evaluated on B."""
        return f"{self.cell.dataset} -> {self.evaluated.dataset} {self.evaluated.split}"


class Found(NamedTuple):
    """A record and the counts of its expressions."""

    record: EvaluationRecord
    columns: Columns


def folder_of(store: Store, cell: Cell) -> Path:
    """Where the evaluations of a cell are."""
    return store.scratch(cell) / FOLDER


def save(store: Store, record: EvaluationRecord, columns: Arrays, rivals: Arrays = NO_ARRAYS) -> Path:
    """Save an evaluation: its counts, then its record.

    Args:
        store: the results folder of the cell.
        record: of the evaluation.
        columns: counts of its expressions by field.
        rivals: the table of what else predictions meet, see `engine.evaluate`.

    Returns:
        The path of the record.
    """
    long = {f"{RIVALS}{field}": array for field, array in rivals.items()}
    packed = pack({**columns, **long})
    digest = hashlib.sha256(packed).hexdigest()
    hashed = record.model_copy(update={"expressions": digest})
    content = as_stored(hashed)
    # The counts first: a record without them would be damaged.
    path = folder_of(store, record.cell) / f"{record.id}.json"
    write_atomically(path.with_suffix(".npz"), packed)
    write_atomically(path, content)
    return path


def load(store: Store, cell: Cell, evaluated: Evaluated) -> Found | None:
    """An evaluation of a cell with its counts.

    Args:
        store: the results folder of the cell.
        cell: that was trained.
        evaluated: what was evaluated.

    Returns:
        None where there is none.

    Raises:
        DataError: if it is damaged.
    """
    path = folder_of(store, cell) / f"{evaluated.id()}.json"
    if not path.is_file():
        return None
    # The counts must be those that the record was saved with.
    record = _read(path)
    try:
        packed = path.with_suffix(".npz").read_bytes()
    except OSError as error:
        raise DataError(f"{path.with_suffix('.npz')} cannot be opened: {error.strerror}; remove {path}") from None
    if hashlib.sha256(packed).hexdigest() != record.expressions:
        raise DataError(f"{path.with_suffix('.npz')} is not the file that {path.name} was saved with; remove both")
    columns = {name: array for name, array in unpack(packed).items() if not name.startswith(RIVALS)}
    return Found(record, columns)


def load_all(folder: Path) -> list[EvaluationRecord]:
    """Every evaluation of a results folder, in the order of the file names. DataError for one that is damaged."""
    return [_read(path) for path in sorted(folder.glob(f"cells/*/{FOLDER}/*.json"))]


def _read(path: Path) -> EvaluationRecord:
    try:
        return EvaluationRecord.model_validate_json(path.read_bytes(), context=STORED)
    except ValidationError as error:
        raise DataError(f"{path} is no evaluation: {explain(error, 'the file')}; remove it") from None
