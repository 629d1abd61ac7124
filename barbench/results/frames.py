"""Records of finished cells as data frames for the user's own analysis: `load("results")` for scores,
`load_expressions("results")` for each expression. `barbench export` writes them as files."""

import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from barbench.metrics import METRICS, iou
from barbench.results.expressions import later_scores, of_split
from barbench.results.qualitative import FindScenes
from barbench.results.record import Cell, Profile, Record
from barbench.results.store import Store
from barbench.spec.accounting import SPLIT, TOWERS
from barbench.values import flatten

COLUMNS = (
    *("id", "method", "title", "components", "backbone", "weights", "image_size", "dataset", "recipe", "seed"),
    *("data", "fingerprint", "precision", "status", "reason", "split", "column", "leaks", "images", "references"),
    *("split_dataset", "shared_images"),
    *METRICS,
    "n",
    *(f"control_{name}" for name, metric in METRICS.items() if not metric.detail),
    "control_n",
    *("adapter", "positional", "head", "frozen"),
    *(f"adapter_{group}" for group in SPLIT),
    *TOWERS,
    *Profile.model_fields,
    *("neck", "head_form"),
    *("processes", "context_length", "exif", "held_out", "subset.train", "subset.evaluate"),
    *("tuning_budget", "code", "own_code", "threads", "commit"),
)
EXPRESSION_COLUMNS = (
    *("id", "method", "title", "backbone", "dataset", "recipe", "seed", "data", "split"),
    *("sent_id", "ref_id", "ann_id", "image_id", "words", "kind", "height", "width", "area", "targets"),
    *("intersection", "union", "iou", "control_intersection", "control_union", "control_iou"),
)
_RENAMED: Final = {"recipe.name": "recipe", "data.kind": "data", "data.fingerprint": "fingerprint"}
"""Fields of a cell that have a column of another name."""
_ENVIRONMENT: Final = ("code", "own_code", "threads", "commit")


def load(folder: str | Path) -> pd.DataFrame:
    """Every record as a data frame, one row per record and split; a cell without scores has one row.

    The columns are `COLUMNS`, then one for each field of the recipes and each option of the methods that some record
    has; nothing is rounded, and missing values are None or NaN:

    * id, method, title, components (labels joined by +), backbone, weights, image_size, dataset, recipe (its name),
      seed, data (shapes or refer), fingerprint, precision: the cell;
    * status, reason: how it ended;
    * split, column (name in the paper's tables), leaks, images, references, shared_images (with the training set);
    * split_dataset: whose split it is, the cell's dataset except after mixed training;
    * the names of `barbench.metrics.METRICS` (miou, oiou, p50 ... p90; giou, ciou, n_acc, t_acc for gRefCOCO; all70,
      worst, icc and others over objects, computed from the stored counts where a record is older than they are): scores
      over the split's expressions, of which there are n;
    * control_miou, control_oiou, control_p50 ... control_n: the same with expressions swapped within the image;
    * adapter, positional, head, frozen: the parameter ledger; adapter_own, adapter_norms, adapter_biases,
      adapter_weights: what adapter consists of;
      vision, text, vision_positions, text_positions: sizes of the towers; missing in old records;
    * flops_forward, saved_bytes, saved_bytes_batch, peak_memory_bytes (of training), peak_memory_kind,
      evaluation_memory_bytes, train_images_per_s, infer_images_per_s, batch, device: the profile;
    * neck, head_form (of the segmentation head; None: the backbone's own), processes, context_length, exif, held_out:
      the rest of the cell; subset.train, subset.evaluate: how many images it is limited to, of training and of each
      split; tuning_budget;
    * code (a hash of barbench's source), own_code (of the module of a method of one's own), threads, commit: what
      computed it;
    * recipe.lr, recipe.epochs, …: the cell's recipe; options.snf.length, …: the method's options. A list is a tuple.

    A file that cannot be read is left as it is, and a warning names it.

    Args:
        folder: a results folder.

    Returns:
        An empty frame with these columns if there is no record.
    """
    store = Store(Path(folder))
    frame = scores_of(store)
    _warn(store)
    return frame


def scores_of(store: Store) -> pd.DataFrame:
    """As `load`; what cannot be read is in the store's list and there is no warning."""
    return frame_of(store, store.all())


def frame_of(store: Store, records: Sequence[Record]) -> pd.DataFrame:
    """As `load`, of some records of a results folder."""
    rows: list[dict[str, object]] = []
    for record in records:
        rows += _rows(store, record)
    return pd.DataFrame(rows, columns=[*COLUMNS, *_further(records)])


def _warn(store: Store) -> None:
    """Name what was not read to whoever called the function that calls this one."""
    for note in store.notes():
        warnings.warn(note, stacklevel=3)


def _further(records: Iterable[Record]) -> list[str]:
    """The columns of recipes and options, and of what later versions added to a cell, in the order of their names."""
    names: set[str] = set()
    for record in records:
        names |= cell_fields(record.cell).keys()
    return sorted(names - {*COLUMNS})


def cell_fields(cell: Cell) -> dict[str, Any]:
    """Everything that can change a cell's result by the names of the columns, nested fields as `recipe.lr`."""
    fields = {}
    left_out = {"subset"} if cell.subset is None else {"subset.scheme"}
    for name, value in flatten(cell.model_dump(mode="json", exclude={"scaled"})).items():
        if name in left_out:
            continue
        # A list cannot be grouped by.
        fields[_RENAMED.get(name, name)] = tuple(value) if isinstance(value, list) else value
    return fields


def load_expressions(folder: str | Path) -> pd.DataFrame:
    """Every expression that every finished cell was scored on, one row each. A cell whose arrays are missing has none.

    The columns are `EXPRESSION_COLUMNS`, then those fields of recipes and options in which the cells differ, as in
    `load`:

    * id, method, title, backbone, dataset, recipe (its name), seed, data (shapes or refer): the cell;
    * split, sent_id, ref_id, ann_id, image_id: the expression, its object and its image, as in the dataset's files;
    * words (separated by blanks), kind (the cue that the words rely on; missing in records of before it was kept);
    * height, width, area (of the object): pixels of the image;
    * targets: how many objects are meant; 1 except in gRefCOCO;
    * intersection, union (pixels), iou: of the mask with the object that is meant;
    * control_intersection, control_union, control_iou: with another object of the image; missing if there is none.

    Args:
        folder: a results folder.

    Returns:
        An empty frame with these columns if there is no array.

    Raises:
        DataError: if arrays are damaged.
    """
    store = Store(Path(folder))
    frame = expressions_of(store)
    _warn(store)
    return frame


def expressions_of(store: Store) -> pd.DataFrame:
    """As `load_expressions`; what cannot be read is in the store's list and there is no warning."""
    records = [record for record in store.all() if store.arrays(record.cell).exists()]
    further = differing_fields(records, EXPRESSION_COLUMNS)
    tables = []
    for record in records:
        tables += [_expressions(store, record, split, further) for split in record.splits]
    if not tables:
        return pd.DataFrame(columns=list(EXPRESSION_COLUMNS))
    return pd.concat(tables, ignore_index=True)


def with_words(table: pd.DataFrame, records: Iterable[Record], find_scenes: FindScenes) -> pd.DataFrame:
    """The rows of `expressions_of` with `sentence` and `file_name` behind `image_id`; None where the data of a cell are
    not there."""
    place = table.columns.get_loc("image_id")
    assert isinstance(place, int)
    table = table.copy()
    table.insert(place + 1, "sentence", None)
    table.insert(place + 2, "file_name", None)
    for record in records:
        for split, scenes in find_scenes(record.cell).items():
            rows = (table["id"] == record.id) & (table["split"] == split)
            found = table[rows]
            texts = {sentence: text for sentence, (text, _) in scenes.sentences.items()}
            table.loc[rows, "sentence"] = found["sent_id"].map(texts)
            table.loc[rows, "file_name"] = found["image_id"].map(scenes.file_names)
    return table


def differing_fields(records: Sequence[Record], known: Collection[str] = ()) -> list[str]:
    """The fields in which the cells of records differ, in the order of their names, without those that are known."""
    cells = [cell_fields(record.cell) for record in records]
    names: set[str] = set()
    for fields in cells:
        names |= fields.keys()
    found = []
    for name in sorted(names - {*known}):
        values = {repr(fields.get(name)) for fields in cells}
        if len(values) > 1:
            found.append(name)
    return found


def _expressions(store: Store, record: Record, split: str, further: Sequence[str]) -> pd.DataFrame:
    """The rows of one split, with the columns EXPRESSION_COLUMNS and further fields of the cell."""
    cell = record.cell
    columns = of_split(store, record, split)
    same_in_all_rows = {
        "id": record.id,
        **cell.model_dump(include={"method", "backbone", "dataset", "seed"}),
        "title": record.title,
        "recipe": cell.recipe.get("name"),
        "data": cell.data.kind,
        "split": split,
    }
    table = pd.DataFrame(columns).assign(**same_in_all_rows)
    table["targets"] = columns.get("targets", 1)
    table["iou"] = iou(columns["intersection"], columns["union"], columns.get("targets"))
    # The number of a kind becomes its name.
    table["kind"] = None
    if "kind" in columns:
        names = dict(enumerate(record.kinds))
        table["kind"] = [names.get(number) for number in columns["kind"]]
    # Where the image has no other object, the control is missing; it is stored as -1.
    missing = columns["control_union"] < 0
    control = table[["control_intersection", "control_union"]].astype("Int64")
    table[control.columns] = control.mask(pd.Series(missing))
    ratios = iou(columns["control_intersection"], columns["control_union"])
    table["control_iou"] = np.where(missing, np.nan, ratios)
    table = table.reindex(columns=list(EXPRESSION_COLUMNS))
    fields = cell_fields(cell)
    for name in further:
        table[name] = [fields.get(name)] * len(table)
    return table


def _rows(store: Store, record: Record) -> list[dict[str, object]]:
    """One row per evaluation split; a single one for a cell without scores."""
    cell = record.cell
    common: dict[str, object] = {
        "id": record.id,
        **cell_fields(cell),
        "title": record.title,
        "components": "+".join(record.composition),
        "status": record.status,
        "reason": record.reason,
        "tuning_budget": record.tuning_budget,
        **{name: record.environment.get(name) for name in _ENVIRONMENT},
    }
    for group, count in record.ledger.items():
        # `weights` alone is a column of the cell.
        name = f"adapter_{group}" if group in SPLIT else group
        common[name] = count
    if record.profile is not None:
        common |= record.profile.model_dump()
    # A cell that failed has a row, too.
    if not record.splits:
        return [common | {"split": None}]
    rows = []
    for name, split in record.splits.items():
        row = common | {"split": name, **split.model_dump(exclude={"scores", "control", "dataset"})}
        row["split_dataset"] = record.dataset_of(name)
        row |= split.scores.model_dump() | later_scores(store, record, name)
        if split.control is not None:
            row |= {f"control_{metric}": value for metric, value in split.control.model_dump().items()}
        rows.append(row)
    return rows
