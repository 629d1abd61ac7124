"""Records of finished cells as data frames for the user's own analysis: `load("results")` for scores,
`load_expressions("results")` for each expression. `barbench export` writes them as files."""

from pathlib import Path

import numpy as np
import pandas as pd

from barbench.metrics import METRICS, iou
from barbench.results.expressions import of_split
from barbench.results.record import Profile, Record
from barbench.results.store import Store

COLUMNS = (
    *("id", "method", "title", "components", "backbone", "weights", "image_size", "dataset", "recipe", "seed"),
    *("data", "fingerprint", "precision", "status", "reason", "split", "column", "leaks", "images", "references"),
    *("split_dataset", "shared_images"),
    *METRICS,
    "n",
    *(f"control_{name}" for name in METRICS),
    "control_n",
    *("adapter", "positional", "head", "frozen"),
    *Profile.model_fields,
)
EXPRESSION_COLUMNS = (
    *("id", "method", "title", "backbone", "dataset", "recipe", "seed", "data", "split"),
    *("sent_id", "ref_id", "ann_id", "image_id", "words", "kind", "height", "width", "area"),
    *("intersection", "union", "iou", "control_intersection", "control_union", "control_iou"),
)


def load(folder: str | Path) -> pd.DataFrame:
    """Every record as a data frame, one row per record and split; a cell without scores has one row.

    The columns are `COLUMNS`; nothing is rounded, and missing values are None or NaN:

    * id, method, title, components (labels joined by +), backbone, weights, image_size, dataset, recipe (its name),
      seed, data (shapes or refer), fingerprint, precision: the cell;
    * status, reason: how it ended;
    * split, column (name in the paper's tables), leaks, images, references, shared_images (with the training set);
    * split_dataset: whose split it is, the cell's dataset except after mixed training;
    * the names of `barbench.metrics.METRICS` (miou, oiou, p50 ... p90; giou, ciou, n_acc, t_acc for gRefCOCO): scores
      over the split's expressions, of which there are n;
    * control_miou, control_oiou, control_p50 ... control_n: the same with expressions swapped within the image;
    * adapter, positional, head, frozen: the parameter ledger;
    * flops_forward, saved_bytes, saved_bytes_batch, peak_memory_bytes, peak_memory_kind, train_images_per_s,
      infer_images_per_s, batch, device: the profile.

    Args:
        folder: a results folder.

    Returns:
        An empty frame with these columns if there is no record.
    """
    rows = [row for record in Store(Path(folder)).all() for row in _rows(record)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def load_expressions(folder: str | Path) -> pd.DataFrame:
    """Every expression that every finished cell was scored on, one row each. A cell whose arrays are missing has none.

    The columns are `EXPRESSION_COLUMNS`:

    * id, method, title, backbone, dataset, recipe (its name), seed, data (shapes or refer): the cell;
    * split, sent_id, ref_id, ann_id, image_id: the expression, its object and its image, as in the dataset's files;
    * words (separated by blanks), kind (the cue that the words rely on; missing in records of before it was kept);
    * height, width, area (of the object): pixels of the image;
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
    tables = []
    for record in store.all():
        if store.arrays(record.cell).exists():
            tables += [_expressions(store, record, split) for split in record.splits]
    if not tables:
        return pd.DataFrame(columns=list(EXPRESSION_COLUMNS))
    return pd.concat(tables, ignore_index=True)


def _expressions(store: Store, record: Record, split: str) -> pd.DataFrame:
    """The rows of one split, with the columns EXPRESSION_COLUMNS."""
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
    return table.reindex(columns=list(EXPRESSION_COLUMNS))


def _rows(record: Record) -> list[dict[str, object]]:
    """One row per evaluation split; a single one for a cell without scores."""
    cell = record.cell
    common: dict[str, object] = {
        "id": record.id,
        **cell.model_dump(include={"method", "backbone", "weights", "image_size", "dataset", "seed", "precision"}),
        "title": record.title,
        "components": "+".join(record.composition),
        "recipe": cell.recipe.get("name"),
        "data": cell.data.kind,
        "fingerprint": cell.data.fingerprint,
        "status": record.status,
        "reason": record.reason,
        **record.ledger,
    }
    if record.profile is not None:
        common |= record.profile.model_dump()
    if not record.splits:
        return [common | {"split": None}]
    rows = []
    for name, split in record.splits.items():
        row = common | {"split": name, **split.model_dump(exclude={"scores", "control", "dataset"})}
        row["split_dataset"] = record.dataset_of(name)
        row |= split.scores.model_dump()
        if split.control is not None:
            row |= {f"control_{metric}": value for metric, value in split.control.model_dump().items()}
        rows.append(row)
    return rows
