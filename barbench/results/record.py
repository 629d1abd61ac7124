"""What a finished cell leaves: one frozen, validated record per cell of the matrix, never rounded.

`barbench run` writes records (see `store.py`), `barbench report` reads them.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any, Final, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from barbench.metrics import Scores
from barbench.spec.recipe import Recipe
from barbench.spec.text import plural

SCHEMA_VERSION: Final = 2
"""What is written. 1 had a fixed field for each metric, and gRefCOCO's gIoU and cIoU under the names of the others."""
READABLE_VERSIONS: Final = (1, 2)
MAX_STEM: Final = 225
"""Bytes of a cell's file name without its suffix; longer ones could not be written when names were not cut."""
STORED: Final = {"stored": True}
"""Context of validation for what a file holds: a field that this version does not know is a later version's."""
_GUESSED: Final = 8
"""Unknown fields of a cell up to which it is found out which of them are in its id."""


def short_hash(fields: Mapping[str, Any]) -> str:
    """Twelve hex digits: SHA-256 of the fields as canonical JSON."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Frozen(BaseModel):
    """Base of the schema: immutable, no NaN or infinity. A field that is not known is refused, unless it comes from a
    file: then a later version wrote it, and it is kept."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    @model_validator(mode="after")
    def _no_unknown(self, info: ValidationInfo) -> Self:
        if self.model_extra and info.context != STORED:
            raise ValueError(f"Extra inputs are not permitted: {', '.join(self.model_extra)}")
        return self


class DataIdentity(Frozen):
    """Which data a cell used: embedded `shapes` or the real `refer` layout, and a hash of their content."""

    kind: Literal["shapes", "refer"]
    fingerprint: str


class Subset(Frozen):
    """The images that a cell is limited to, chosen by a hash of their ids; None: all."""

    scheme: Literal["sha256-v1"] = Field(default="sha256-v1", description="how they are chosen: `datasets.subset`")
    train: int | None = Field(default=None, ge=1, description="images of the training set")
    evaluate: int | None = Field(default=None, ge=1, description="images of each evaluation split")

    def __str__(self) -> str:
        parts = []
        if self.train is not None:
            parts.append(f"{plural(self.train, 'training image')}")
        if self.evaluate is not None:
            parts.append(f"{plural(self.evaluate, 'image')} of each evaluation split")
        return f"a subset: {' and '.join(parts)}"


class Cell(Frozen):
    """One cell of the matrix: everything that can change its result, and nothing else.

    A field added later needs a default that means what older cells did: defaults are left out of the hash, so that
    the ids of existing records hold. For the same reason a default never changes.
    """

    method: str
    options: dict[str, JsonValue] = Field(default={}, description="arguments of the method's components")
    backbone: str
    weights: str = Field(description="tag, or name and content hash of a file; never a path of this machine")
    image_size: int | None = Field(default=None, description="pixels; None is the backbone's own")
    dataset: str = Field(validation_alias=AliasChoices("dataset", "protocol"), description="its name")
    recipe: dict[str, JsonValue] = Field(description="the resolved recipe with its `name`")
    seed: int
    data: DataIdentity
    precision: str = "fp32"
    processes: int = Field(default=1, description="processes that shared each batch")
    context_length: int | None = Field(
        default=None, description="tokens of an expression; None: that of the data set of that name"
    )
    exif: Literal["stored", "apply"] = Field(
        default="stored", description="images as stored, or turned as their EXIF orientation says"
    )
    neck: Literal["etris", "detris", "cris", "none"] | None = Field(
        default=None, description="of the segmentation head; None: the backbone's own, or the one that the method needs"
    )
    head_form: Literal["full", "linear"] | None = Field(
        default=None, description="of the segmentation head; None: the backbone's own"
    )
    held_out: int = Field(
        default=0,
        ge=0,
        lt=100,
        description="percent of the training images that train nothing and are evaluated on in place of the splits: a "
        "trial of `barbench tune`; 0 for all other cells",
    )
    subset: Subset | None = Field(default=None, description="None: all images of the data set")
    scaled: tuple[str, ...] | None = Field(
        default=None,
        description="those of the options that follow a narrow backbone's width; None: the method has its published "
        "sizes. Not part of the id, which the options are in",
    )

    def id(self) -> str:
        """Twelve hex digits: SHA-256 of the canonical JSON, in which the data set has the key that it had at first."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        fields["protocol"] = fields.pop("dataset")
        fields.pop("scaled", None)
        return short_hash(fields)

    @property
    def chosen(self) -> dict[str, JsonValue]:
        """The options without those that were chosen in proportion to the backbone: what makes it a row of its own."""
        return {name: value for name, value in self.options.items() if name not in (self.scaled or ())}

    @property
    def neck_name(self) -> str:
        """The neck that was asked for; of a backbone from a folder, whose own may be any, `own` where none was."""
        return self.neck or self._own("etris")

    @property
    def form_name(self) -> str:
        """The form of the head that was asked for; `own` as for the neck."""
        return self.head_form or self._own("full")

    @property
    def head_words(self) -> str:
        """Neck and form, for people: `neck etris`, `linear head`."""
        if self.form_name == "linear":
            return "linear head"
        return f"neck {self.neck_name}"

    def _own(self, default: str) -> str:
        """What all backbones have that are no folders of a user's; those are stored as `name@hash`."""
        return "own" if "@" in self.backbone else default

    @property
    def training_recipe(self) -> Recipe:
        """The recipe as training uses it, with the method's own learning rates."""
        return Recipe.model_validate(self.recipe)

    def shared_recipe(self) -> dict[str, JsonValue]:
        """The recipe without each method's own part: the learning rates, if they were chosen for methods separately,
        and whether they were searched for this one."""
        own = self.own_recipe()
        return {name: value for name, value in self.recipe.items() if name not in own}

    def own_recipe(self) -> dict[str, JsonValue]:
        """What `shared_recipe` leaves out: the method's own part, empty where all methods share the recipe."""
        if not self.recipe.get("own_rates"):
            return {}
        return {name: self.recipe[name] for name in ("lr", "adapter_lr", "searched") if name in self.recipe}

    def stem(self) -> str:
        """File name without suffix: readable parts, then the id, e.g. `barleria--tiny--refcoco+--seed0--<id>`.

        The readable parts are cut where a file of that name could not have a suffix beside it.
        """
        readable = f"{self.method}--{self.backbone}--{self.dataset}"
        start = re.sub(r"[^\w.+-]", "_", readable, flags=re.ASCII)
        end = f"--seed{self.seed}--{self.id()}"
        room = MAX_STEM - len(end)
        return start[:room] + end


class SplitResult(Frozen):
    """One evaluation split: its scores and the same model's scores with expressions swapped within the image."""

    scores: Scores
    control: Scores | None = Field(default=None, description="None where no image holds a second reference")
    column: str = Field(description="column of the paper's tables: val, testA, testB, val(u), test(u), val(g)")
    dataset: str | None = Field(
        default=None,
        validation_alias=AliasChoices("dataset", "protocol"),
        description="whose split it is; None: the cell's own",
    )
    leaks: bool = Field(default=False, description="images of this split are also in the training set")
    shared_images: int | None = Field(default=None, description="how many are, as counted; None: not counted")
    images: int
    references: int
    whole_images: int | None = Field(
        default=None, description="of the split, where the cell is limited to `images` of them"
    )
    chosen: str | None = Field(
        default=None, description="SHA-256 of the image ids that the limit left, sorted, with commas between them"
    )


class TrainingSet(Frozen):
    """What a cell was trained on. `removed_...`: left out because their image is in an evaluation split."""

    references: int = Field(description="that an epoch passes over: with words and a mask")
    images: int
    mixing: Literal["none", "clean", "leaked"] = Field(
        description="none: one dataset's train split; clean, leaked: several, without or with evaluation images"
    )
    removed_references: int = 0
    removed_images: int = 0
    whole_images: int | None = Field(default=None, description="without the limit; None: there is none")
    chosen: str | None = Field(default=None, description="as in `SplitResult`")


class Profile(Frozen):
    """Cost of a cell. FLOPs count a multiply-add as two; memory is in bytes, throughput in images per second."""

    flops_forward: int
    saved_bytes: int = Field(description="kept by autograd for the backward pass of `saved_bytes_batch` images")
    saved_bytes_batch: int
    peak_memory_bytes: int
    peak_memory_kind: Literal["cuda allocator", "process RSS"]
    reserved_memory_bytes: int | None = Field(default=None, description="that CUDA's allocator held at most; else None")
    evaluation_memory_bytes: int | None = Field(
        default=None, description="peak while the splits were scored, of the same kind; None in older records"
    )
    train_images_per_s: float | None = Field(
        description="without the wait for the loader; None where no step was left to train after a resume"
    )
    train_wait_s: float | None = Field(default=None, description="median seconds per step that a batch was waited for")
    skipped_steps: int = Field(default=0, description="steps that changed nothing: a gradient overflowed in fp16")
    infer_images_per_s: float
    batch: int
    device: str


class EpochLog(Frozen):
    """One epoch of training; `loss` is the mean over its steps, `lr` the learning rate at its end."""

    epoch: int
    loss: float
    lr: float
    seconds: float
    steps: int


class LossCurve(Frozen):
    """The loss over a training: means over `every` steps, in order; the last one may be of fewer."""

    every: int = Field(gt=0)
    losses: tuple[float, ...]


class AttemptLog(Frozen):
    """One attempt at a cell: one that was interrupted is continued by another, perhaps on another host."""

    number: int = Field(ge=1, description="1 for the first")
    executor: str = Field(description="its name, as --executor has it")
    host: str = Field(description="eight hex digits, the same for the same host")
    how: Literal["done", "failed", "out-of-memory", "stopped", "lost", "refused", "unwritable"]
    device: str | None = Field(default=None, description="the GPU's or the processor's name; None where it never began")
    steps: tuple[int, int] | None = Field(default=None, description="first and last training step, counted from 1")
    scored: int | None = Field(
        default=None, description="expressions that its first process scored; None: none, or before it was kept"
    )
    seconds: float | None = None


class Rescored(Frozen):
    """That the predictions of a finished cell were scored again, with sentences left out or with other masks."""

    source: str = Field(description="id of the record whose predictions they are")
    kind: Literal["labels", "masks"]
    name: str = Field(description="of the corrections")
    revision: str
    files: dict[str, str] = Field(description="SHA-256 of the corrections' files by name")
    expressions: dict[str, int] = Field(description="of each split before any was left out")
    unmatched: dict[str, int] = Field(default={}, description="sentences and labels that could not be matched")


class Record(Frozen):
    """The outcome of one cell; a failed cell states its reason.

    `splits` is keyed by the data set's own split names (`val`); those of a mixture by the member's name and its split
    (`refcoco val`).
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    id: str
    cell: Cell
    title: str = Field(description="the method's name in tables, e.g. SNF+ETRIS")
    composition: tuple[str, ...] = Field(description="labels of the method's components, in order")
    ledger: dict[str, int] = Field(
        description="parameters by group, see `spec.accounting`; old ones have no split of adapter"
    )
    status: Literal["done", "failed", "out-of-memory"]
    reason: str | None = None
    peak_memory_bytes: int | None = Field(default=None, description="of a cell that ran out of memory, until it did")
    notes: tuple[str, ...] = Field(default=(), description="what a reader of the numbers must know")
    splits: dict[str, SplitResult] = {}
    training: TrainingSet | None = Field(default=None, description="None in records of before it was kept")
    profile: Profile | None = None
    environment: dict[str, JsonValue] = {}
    timings: dict[str, float] = Field(default={}, description="seconds by phase")
    finished: int | None = Field(default=None, description="Unix time; None in records of before it was kept")
    history: tuple[EpochLog, ...] = ()
    curve: LossCurve | None = Field(default=None, description="None in records of before it was kept")
    data_problems: dict[str, int] = Field(default={}, description="rule or problem -> how many items it touched")
    kinds: tuple[str, ...] = Field(default=(), description="what the numbers in the expressions' column `kind` mean")
    categories: dict[int, str] = Field(default={}, description="names of the categories that the expressions number")
    rescored: Rescored | None = Field(default=None, description="None for what `barbench run` found")
    attempts: tuple[AttemptLog, ...] = Field(default=(), description="how the cell came to its end; () in old records")
    files: dict[str, str] = Field(
        default={}, description="SHA-256 of what lies beside it: `expressions`, `masks`, `tuned`"
    )
    tuning_budget: str = Field(default="none", description="what was tried before this recipe was fixed for the method")

    @classmethod
    def read(cls, fields: object) -> Self:
        """A record from the content of its file; what a later version added to it is kept. ValidationError if it is
        none."""
        return cls.model_validate(fields, context=STORED)

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, fields: object, info: ValidationInfo) -> object:
        """The fields of a record of an earlier schema, or of a later version, as those of this one."""
        if not isinstance(fields, dict):
            return fields
        if fields.get("schema_version") == 1:
            fields = _from_schema_1(fields)
        if info.context == STORED and isinstance(fields.get("cell"), dict):
            fields = fields | {"cell": _as_in_id(fields["cell"], fields.get("id"))}
        return fields

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.id != self.cell.id():
            raise ValueError(f"id {self.id!r} is not its cell's, {self.cell.id()!r}")
        if self.status == "done" and (self.reason or not self.splits):
            raise ValueError("a cell with status done needs scores and has no reason")
        if self.status != "done" and not self.reason:
            raise ValueError(f"a cell with status {self.status} needs a reason")
        return self

    def split_names(self) -> list[str]:
        """The evaluation splits in the order of the tables: by dataset, val first."""

        def place(name: str) -> tuple[str, bool, str]:
            is_val = self.splits[name].column.startswith("val")
            return self.dataset_of(name), not is_val, name

        return sorted(self.splits, key=place)

    def dataset_of(self, split: str) -> str:
        """The dataset that the key `split` of `splits` belongs to."""
        return self.splits[split].dataset or self.cell.dataset


def _from_schema_1(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record of schema 1 as those of schema 2; what is not as it should be is left for validation."""
    upgraded = fields | {"schema_version": SCHEMA_VERSION}
    if not isinstance(fields.get("splits"), dict):
        return upgraded
    # Scores were fields, and are named otherwise since.
    splits: dict[str, Any] = {}
    for name, split in fields["splits"].items():
        if not isinstance(split, dict):
            splits[name] = split
            continue
        splits[name] = dict(split)
        for kind in ("scores", "control"):
            if kind in split:
                splits[name][kind] = _scores_from_schema_1(split[kind])
    return upgraded | {"splits": splits}


def _scores_from_schema_1(scores: Any) -> Any:
    """Without the accuracies that were None, and with the names that gRefCOCO's IoUs have now."""
    if not isinstance(scores, dict):
        return scores
    kept = {name: value for name, value in scores.items() if value is not None}
    if "n_acc" not in kept and "t_acc" not in kept:
        return kept
    names = {"miou": "giou", "oiou": "ciou"}
    return {names.get(name, name): value for name, value in kept.items()}


def _as_in_id(cell: dict[str, Any], id_: object) -> dict[str, Any]:
    """The fields of a cell without those of a later version that are at their defaults, and so not in its id.

    What the defaults are is known to that version alone: whichever fields leave the id as it is are left out.
    """
    known = {*Cell.model_fields, "protocol"}
    unknown: list[tuple[str, ...]] = [(name,) for name in cell if name not in known]
    if isinstance(cell.get("data"), dict):
        unknown += [("data", name) for name in cell["data"] if name not in DataIdentity.model_fields]
    if len(unknown) > _GUESSED:
        return cell
    # The fewest are left out first.
    for count in range(len(unknown) + 1):
        for left_out in combinations(unknown, count):
            fewer = _without(cell, left_out)
            try:
                found = Cell.model_validate(fewer, context=STORED)
            except ValidationError:  # the whole record's validation says what is wrong
                return cell
            if found.id() == id_:
                return fewer
    return cell


def _without(fields: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    """Nested fields without those at some paths."""
    kept = {}
    for name, value in fields.items():
        if (name,) in paths:
            continue
        inner = tuple(path[1:] for path in paths if path[0] == name)
        kept[name] = _without(value, inner) if inner else value
    return kept
