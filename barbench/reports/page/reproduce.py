"""The command that reproduces a cell, for the HTML page."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from shlex import join
from typing import Any

from barbench.results.record import Cell

ROOT = "ROOT"


def command(cells: Sequence[Cell], device: str | None = None) -> str | None:
    """`barbench run ...` that makes exactly these cells, at least one; None if no single command does.

    Cells of one command agree in everything but method, options, data set and seed, and every method is run on every
    data set with every seed. What only the user has is named and not located: ROOT is the data root; weights and
    backbones from files are given by the file's name, a recipe that does not ship with barbench by its name.
    """
    if not _is_product(cells):
        return None
    first = cells[0]
    methods = {cell.method: cell.options for cell in cells}
    datasets = dict.fromkeys(cell.dataset for cell in cells)
    seeds = sorted({cell.seed for cell in cells})
    words = ["barbench", "run", "--methods", ",".join(methods), "--dataset", ",".join(datasets)]
    words += ["--seeds", ",".join(map(str, seeds))]
    words += ["--data", "shapes" if first.data.kind == "shapes" else ROOT]
    # A file of the user's is kept as name@hash.
    words += ["--backbone", first.backbone.partition("@")[0]]
    words += ["--weights", first.weights.partition("@")[0]]
    words += _recipe([cell.recipe for cell in cells])
    for method, options in methods.items():
        short = method.rpartition(":")[2].replace("_", "-")
        for name, value in sorted(options.items()):
            words += ["--option", f"{short}:{name}={json.dumps(value)}"]
    if first.image_size is not None:
        words += ["--image-size", str(first.image_size)]
    if first.context_length is not None:
        words += ["--context", str(first.context_length)]
    if first.exif != "stored":
        words += ["--exif", first.exif]
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
    if len(recipes) > 1 or len(kinds) > 1:
        return False
    # Methods may have learning rates of their own; the version of the data differs between data sets.
    expected = set()
    for of_method, dataset, seed in product(methods.values(), datasets, seeds):
        changes = {
            "method": of_method.method,
            "options": of_method.options,
            "recipe": of_method.recipe,
            "dataset": dataset,
            "seed": seed,
            "data": None,
        }
        expected.add(cells[0].model_copy(update=changes).model_dump_json())
    return expected == {cell.model_copy(update={"data": None}).model_dump_json() for cell in cells}


def _recipe(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The recipe by name; one that was changed (`name*`) with every field, since any may have changed, but learning
    rates that are each method's own: those are the recipe's."""
    first = recipes[0]
    name = str(first["name"])
    words = ["--recipe", name.removesuffix("*")]
    if not name.endswith("*"):
        return words
    left_out = {"name", "description", "own_rates", "searched"}
    if first.get("own_rates"):
        left_out |= {"lr", "adapter_lr"}
    for key, value in first.items():
        same = all(recipe.get(key) == value for recipe in recipes)
        if same and key not in left_out:
            words += ["--set", f"{key}={json.dumps(value)}"]
    return words
