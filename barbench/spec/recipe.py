"""How a model is trained and evaluated, as data. `barbench list recipes`, `barbench run --recipe demo --set epochs=4`.

A recipe is a YAML file: one that ships with barbench, by name, or the user's own, by path.
"""

import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from barbench.errors import UnknownName, UsageError
from barbench.spec.text import explain, listed, plural, split_pair, yaml_value
from barbench.values import read_yaml

THRESHOLD = 0.35
"""Probability above which a pixel is in the mask, where nothing else is said."""
EVAL_BATCH = 32
"""Expressions per forward pass of an evaluation, where nothing else is said."""


class Fields(BaseModel):
    """Base of what a YAML file holds: immutable, no unknown field, and no true or false in place of a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_flags(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        for name, value in fields.items():
            # pydantic would take true for 1.
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and field.annotation is not bool:
                raise ValueError(f"{name}: expected a number or a name, got {str(value).lower()}")
        return fields


class Tuning(Fields):
    """How the learning rates of a recipe were found, with the same budget for every method (`barbench tune`)."""

    trials: PositiveInt = Field(description="trainings per method")
    sampler: str = Field(description="sobol; optuna and random in older recipes")
    space: dict[str, tuple[float, float]] = Field(description="lowest and highest value of each field")
    held_out: PositiveInt = Field(description="percent of the training images that trials are judged on")
    split: str
    epochs: PositiveInt = Field(description="of a trial")
    seed: int = 0

    @field_validator("space")
    @classmethod
    def _ranges_of_rates(cls, space: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in space.items():
            if name not in RATES:
                raise ValueError(f"{name} is no learning rate; they are {listed(RATES)}")
            if not 0 < low <= high:
                raise ValueError(f"the range of {name} is LOW, HIGH with 0 < LOW <= HIGH")
        return space

    def __str__(self) -> str:
        ranges = []
        for name, (low, high) in self.space.items():
            ranges.append(f"{name} {low:g} to {high:g}" if low < high else f"{name} {low:g}")
        trials = f"{plural(self.trials, 'trial')} per method, {plural(self.epochs, 'epoch')} each"
        judged = f"judged on {self.held_out} % of {self.split}'s training images, held out"
        return f"{trials} ({self.sampler} search over {', '.join(ranges)}), {judged}"


class Rates(Fields):
    """Learning rates of one method, in place of the recipe's `lr` and `adapter_lr`; None leaves the recipe's."""

    lr: PositiveFloat | None = None
    adapter_lr: PositiveFloat | None = None
    tuning: Tuning | None = Field(default=None, description="the search that found them; None: the recipe's `tuning`")
    searched: bool = Field(default=True, description="false: they were given, and the recipe's `tuning` is of others")


RATES: Final = ("lr", "adapter_lr")
"""The fields of a recipe that a method may have for itself, and that `barbench tune` searches."""


class Recipe(Fields):
    """Everything about training and evaluation that can change a result, apart from method, data and seed."""

    name: str = Field(description="what tables and records call it")
    description: str = Field(default="", description="what it is for, in words")
    epochs: PositiveInt = Field(description="passes over the references; each draws one of a reference's sentences")
    batch: PositiveInt = Field(description="references per step, over all processes and accumulated micro-batches")
    accumulate: PositiveInt = Field(default=1, description="micro-batches that make one batch")
    optimizer: Literal["adam", "adamw"] = Field(default="adam", description="Adam, or with decoupled weight decay")
    lr: PositiveFloat = Field(description="learning rate of the head")
    adapter_lr: PositiveFloat = Field(default=1.0, description="factor on lr for all parameters but the head's")
    weight_decay: float = Field(default=0.0, ge=0, description="of the optimizer, for all trained parameters")
    schedule: Literal["step", "cosine"] = Field(
        default="step", description="lr falls at milestones, or along half a cosine down to 0"
    )
    milestones: tuple[PositiveInt, ...] = Field(default=(), description="epochs after which lr decays (step)")
    decay: PositiveFloat = Field(default=0.1, description="factor on lr at each milestone (step)")
    warmup: float = Field(default=0.0, ge=0, lt=1, description="share of all steps in which lr rises linearly")
    clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient; None: not clipped")
    threshold: float = Field(
        default=THRESHOLD, gt=0, lt=1, description="probability above which a pixel is in the mask"
    )
    head: Literal["random", "shipped"] = Field(
        default="random",
        description="start of the head: random, as in the paper, or the one that the backbone ships with",
    )
    rates: dict[str, Rates] = Field(default={}, description="method name -> its own lr and adapter_lr")
    own_rates: bool = Field(default=False, description="in a cell: whether lr and adapter_lr are its method's own")
    searched: bool = Field(default=True, description="in a cell: whether the search of `tuning` was run for its method")
    tuning: Tuning | None = Field(default=None, description="how the learning rates were found; None: without a search")
    eval_batch: PositiveInt = Field(default=EVAL_BATCH, description="expressions per evaluation step and process")

    def of(self, method: str, reference: str = "") -> "Recipe":
        """The recipe with which one method is trained.

        Args:
            method: its name, of a suite's row without its options (`MethodSpec.base_name`).
            reference: `package.module:name` of a method of the user's, by which its rates may be named, too.

        Returns:
            A recipe with the method's own learning rates in place of the recipe's, and no other method's.
        """
        own = self.rates.get(reference) or self.rates.get(method)
        update: dict[str, Any] = {"rates": {}, "own_rates": bool(self.rates), "searched": self.tuning is None}
        if own is not None:
            update |= own.model_dump(include=set(RATES), exclude_none=True)
            update["tuning"] = own.tuning or self.tuning
            update["searched"] = own.searched
        return self.model_copy(update=update)

    @property
    def budget(self) -> str:
        """What was tried before the learning rates were fixed, for the record of a cell."""
        if self.tuning is None:
            return "the recipe's rates for every method; no search"
        return str(self.tuning) if self.searched else "no search for this method; the recipe's rates"

    def fields(self) -> dict[str, Any]:
        """The recipe as a cell stores it.

        Returns:
            Field -> value. Fields that are younger than the first records are left out at their default, so that the
            ids of those records stay the same.
        """
        fields = self.model_dump(mode="json")
        for name in _LATER:
            if fields[name] == Recipe.model_fields[name].default:
                del fields[name]
        return fields

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of one step: a pure function, so that resuming needs no state.

        `step`: lr * decay^k after k milestones (A.2: 1e-4, a tenth from epoch 35 on). `cosine`: half a cosine down to
        0.

        Args:
            step: counted from 0 over the whole training.
            steps_per_epoch: steps of one epoch.

        Returns:
            The learning rate of the head; other parameters have `adapter_lr` times as much.
        """
        total = self.epochs * steps_per_epoch
        warm = self.warmup * total
        # Warm-up, then the schedule.
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        if self.schedule == "step":
            return self.lr * self.decay ** sum(step // steps_per_epoch >= m for m in self.milestones)
        return self.lr * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2


IN_A_CELL = "in a cell: "
"""How the description of a field begins that only cells have."""
NAMES = {
    "integer": "whole number", "number": "number", "string": "text", "null": "null", "object": "mapping",
}  # fmt: skip
BOUNDS = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}
_LATER = ("rates", "own_rates", "searched", "tuning", "head")


def recipe_names() -> list[str]:
    """The recipes that ship with barbench."""
    return sorted(f.name.removesuffix(".yaml") for f in _folder().iterdir() if f.name.endswith(".yaml"))


def recipe_fields() -> list[dict[str, Any]]:
    """One row per field of a recipe that a person sets: its name, what it takes, its default, and what it means."""
    schema = Recipe.model_json_schema()
    rows = []
    for name, field in schema["properties"].items():
        if not field["description"].startswith(IN_A_CELL):
            default = "needed" if name in schema["required"] else json.dumps(field["default"])
            rows.append({"field": name, "takes": _takes(field), "default": default, "meaning": field["description"]})
    return rows


def _takes(field: Mapping[str, Any]) -> str:
    """The values of a field in words, from its JSON schema."""
    if "anyOf" in field:
        return " or ".join(_takes(choice) for choice in field["anyOf"])
    if "enum" in field:
        return " or ".join(field["enum"])
    if field.get("type") == "array":
        return f"list of: {_takes(field['items'])}"
    words = [NAMES.get(field.get("type", "object"), "")]
    for key, bound in BOUNDS.items():
        if key in field:
            words.append(f"{bound} {field[key]:g}")
    return " ".join(words)


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Load a recipe.

    Args:
        name: a shipped recipe's name, or the path of a `.yaml` file.
        changes: `key=value` per changed field.

    Returns:
        The recipe; a changed one is called `name*`.

    Raises:
        UnknownName: if there is no such recipe or field; the message gives the nearest names.
        UsageError: if the file is missing or no recipe; the message lists every mistake with its field.
    """
    path = Path(name)
    # A file of the user's, else a recipe that ships.
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UsageError(f"recipe {name}: no such file")
        text, name = path.read_text("utf-8"), path.stem
    elif name in recipe_names():
        text = (_folder() / f"{name}.yaml").read_text("utf-8")
    else:
        raise UnknownName("recipe", name, recipe_names())
    return parse_recipe(name, _mapping(text, name), changes)


def parse_recipe(name: str, fields: Mapping[str, Any], changes: Sequence[str] = ()) -> Recipe:
    """Make a recipe from its fields.

    Args:
        name: of the recipe.
        fields: as in a YAML file.
        changes: `key=value` per changed field. A learning rate among them is every method's: the recipe's own rates of
            single methods, and the search that found them, are left out.

    Returns:
        The recipe; a changed one is called `name*`.

    Raises:
        UnknownName: if a change names no field.
        UsageError: if a field is wrong; the message lists every mistake.
    """
    merged: dict[str, Any] = {"name": name + "*" * bool(changes), **fields}
    given: dict[str, str] = {}
    for change in changes:
        key, value = split_pair(change, "--set", "epochs=4")
        if key not in Recipe.model_fields:
            raise UnknownName("recipe field", key, Recipe.model_fields)
        if key in given:
            raise UsageError(f"--set {key} is given twice, as {given[key]} and as {value}")
        given[key] = value
        merged[key] = yaml_value(change, value, "--set")
        # A rate of one's own replaces those that a search found.
        if key in RATES:
            merged |= {"rates": {}, "tuning": None}
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        mistakes = explain(error, separator="\n  ")
        raise UsageError(f"recipe {name!r}:\n  {mistakes}") from None


def _folder() -> Any:
    return resources.files("barbench.spec") / "recipes"


def _mapping(text: str, name: str) -> dict[str, Any]:
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise UsageError(f"recipe {name!r}: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"recipe {name!r} holds no fields")
    return value
