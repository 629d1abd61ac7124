"""The command that reproduces a cell, for the HTML page, and the recipe that it needs as a file."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from shlex import join
from typing import Any, NamedTuple

import yaml

from barbench.results.record import Cell
from barbench.spec.backbone import EMBEDDED
from barbench.spec.recipe import Recipe, load_recipe, recipe_names
from barbench.spec.weights import without_digests

ROOT = "ROOT"
OF_METHOD = ("lr", "adapter_lr", "own_rates", "searched")
"""Fields of a cell's recipe that may be its method's own."""


class RecipeFile(NamedTuple):
    """A recipe that does not ship with barbench: the name of its file, and what it holds."""

    name: str
    text: str


def command(cells: Sequence[Cell], device: str | None = None, data: str | None = None) -> str | None:
    """`barbench run ...` that makes exactly these cells, at least one; None if no single command does.

    Cells of one command agree in everything but method, options, data set and seed, and every method is run on every
    data set with every seed. What only the user has is named and not located: ROOT is the data root, `data` the name of
    a folder with generated data other than the embedded benchmark's; weights and backbones from files are given by the
    file's name, a recipe that does not ship with barbench by that of `recipe_file`.
    """
    if not _is_product(cells):
        return None
    first = cells[0]
    methods = {cell.method: cell.chosen for cell in cells}
    datasets = dict.fromkeys(cell.dataset for cell in cells)
    seeds = sorted({cell.seed for cell in cells})
    words = ["barbench", "run", "--methods", ",".join(methods), "--dataset", ",".join(datasets)]
    words += ["--seeds", ",".join(map(str, seeds))]
    words += ["--data", (data or "shapes") if first.data.kind == "shapes" else ROOT]
    # A file of the user's is kept as name@hash.
    words += ["--backbone", first.backbone.partition("@")[0]]
    words += ["--weights", without_digests(first.weights)]
    words += _recipe(cells)
    if first.scaled is None and first.backbone in EMBEDDED:
        words += ["--proportion", "published"]
    elif first.scaled is not None and first.backbone not in EMBEDDED:
        words += ["--proportion", "width"]
    for method, options in methods.items():
        short = method.rpartition(":")[2].replace("_", "-")
        for name, value in sorted(options.items()):
            words += ["--option", f"{short}:{name}={json.dumps(value)}"]
    # What is not at its default.
    given: dict[str, object] = {
        "--image-size": first.image_size,
        "--neck": first.neck,
        "--head": first.head_form,
        "--context": first.context_length,
        "--exif": None if first.exif == "stored" else first.exif,
    }
    if first.subset is not None:
        given |= {"--limit": first.subset.evaluate, "--limit-train": first.subset.train}
    for option, setting in given.items():
        if setting is not None:
            words += [option, str(setting)]
    words += ["--precision", first.precision, "--processes", str(first.processes)]
    if device:
        words += ["--device", device]
    return join(words)


def _is_product(cells: Sequence[Cell]) -> bool:
    """Whether the cells are every method on every data set with every seed, and agree in everything else."""
    methods = {cell.method: cell for cell in cells}
    datasets = {cell.dataset for cell in cells}
    seeds = {cell.seed for cell in cells}
    recipes = {json.dumps(cell.shared_recipe(), sort_keys=True) for cell in cells}
    kinds = {cell.data.kind for cell in cells}
    proportions = {cell.scaled is None for cell in cells}
    if len(recipes) > 1 or len(kinds) > 1 or len(proportions) > 1:
        return False
    # Methods may have learning rates of their own; the version of the data differs between data sets.
    expected = set()
    for of_method, dataset, seed in product(methods.values(), datasets, seeds):
        changes = {
            "method": of_method.method,
            "options": of_method.options,
            "scaled": of_method.scaled,
            "recipe": of_method.recipe,
            "dataset": dataset,
            "seed": seed,
            "data": None,
        }
        expected.add(cells[0].model_copy(update=changes).model_dump_json())
    return expected == {cell.model_copy(update={"data": None}).model_dump_json() for cell in cells}


def recipe_file(cells: Sequence[Cell]) -> RecipeFile | None:
    """The recipe of the cells of one command as a file; None where one that ships with barbench gives theirs."""
    recipes = [cell.recipe for cell in cells]
    if _ships(recipes):
        return None
    # The rates of a method that was not searched, or of any method where none has its own, are the recipe's.
    shared = [recipe for recipe in recipes if recipe.get("searched") is False] or recipes
    fields: dict[str, Any] = dict(shared[0])
    for name in ("own_rates", "searched"):
        fields.pop(name, None)
    rates: dict[str, dict[str, Any]] = {}
    if recipes[0].get("own_rates"):
        for cell in cells:
            if cell.recipe.get("searched") is not False:
                own = {"lr": cell.recipe["lr"], "adapter_lr": cell.recipe["adapter_lr"]}
                rates[_rated(cell)] = own
        if not rates:  # the recipe had rates of other methods alone
            other = next(name for name in ("etris", "snf", "head-only") if name not in map(_rated, cells))
            rates[other] = {}
    if rates:
        fields["rates"] = rates
    name = f"{str(fields['name']).rstrip('*')}.yaml"
    return RecipeFile(name, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))


def _rated(cell: Cell) -> str:
    """The name under which a recipe has a method's rates: a suite's row goes by its method."""
    return cell.method.partition("[")[0].rpartition(":")[2].replace("_", "-")


def _ships(recipes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a recipe that ships with barbench, with `--set` where it was changed, gives the cells' recipes."""
    name = str(recipes[0]["name"])
    if name.removesuffix("*") not in recipe_names():
        return False
    shipped = load_recipe(name.removesuffix("*"))
    pairs = {(of.lr, of.adapter_lr) for of in map(shipped.of, ("", *shipped.rates))}
    # Rates may be any that the recipe has for a method, all other fields must be equal; `name*` was changed by `--set`.
    for recipe in recipes:
        changed_rates = name.endswith("*") and not recipe.get("own_rates")
        if not changed_rates and "lr" in recipe and (recipe["lr"], recipe.get("adapter_lr")) not in pairs:
            return False
        if not name.endswith("*") and not _equal(recipe, shipped):
            return False
    return True


def _equal(recipe: Mapping[str, Any], shipped: Recipe) -> bool:
    """Whether a cell's recipe has the fields of one that ships, apart from what a method or a backbone changes."""
    own = shipped.of("").fields()
    compared = recipe.keys() - {"name", "head", *OF_METHOD}
    return all(own.get(key) == recipe[key] for key in compared)


def _recipe(cells: Sequence[Cell]) -> list[str]:
    """The recipe by name or file; one that ships and was changed (`name*`) with every field, since any may have
    changed, but learning rates that are each method's own: those are the recipe's."""
    file = recipe_file(cells)
    if file is not None:
        return ["--recipe", file.name]
    # One that ships needs its name, a changed one every field that all cells share.
    recipes = [cell.recipe for cell in cells]
    first = recipes[0]
    name = str(first["name"])
    words = ["--recipe", name.removesuffix("*")]
    if not name.endswith("*"):
        return words
    # The command line has no word for these, or each method has its own.
    left_out = {"name", "description", "own_rates", "searched"}
    if first.get("own_rates"):
        left_out |= {"lr", "adapter_lr"}
    for key, value in first.items():
        same = all(recipe.get(key) == value for recipe in recipes)
        if same and key not in left_out:
            words += ["--set", f"{key}={json.dumps(value)}"]
    return words
