"""The command that reproduces a cell, for the HTML page."""

import json
from collections.abc import Sequence
from itertools import product
from shlex import join

from barbench.results.record import Cell

ROOT = "ROOT"


def command(cells: Sequence[Cell], device: str | None = None) -> str | None:
    """`barbench run ...` that makes exactly these cells.

    Cells of one command agree in everything but method, options, protocol and seed, and every method is run on every
    protocol with every seed. What only the user has is named and not located: ROOT is the data root; weights and
    backbones from files are given by the file's name, a recipe that does not ship with barbench by its name.

    Args:
        cells: at least one.
        device: as torch names it; None leaves the option out.

    Returns:
        The command, or None if no single command does it.
    """
    methods = {cell.method: cell.options for cell in cells}
    recipes = {cell.method: cell.recipe for cell in cells}  # alike, but for rates of the methods' own
    if len({json.dumps(cell.shared_recipe(), sort_keys=True) for cell in cells}) > 1:
        return None
    protocols = list(dict.fromkeys(cell.protocol for cell in cells))
    seeds = sorted({cell.seed for cell in cells})
    first = cells[0]
    due = {
        first.model_copy(
            update={"method": m, "options": o, "protocol": p, "seed": s, "data": None, "recipe": recipes[m]}
        ).model_dump_json()
        for (m, o), p, s in product(methods.items(), protocols, seeds)
    }
    if due != {cell.model_copy(update={"data": None}).model_dump_json() for cell in cells}:
        return None
    if len({cell.data.kind for cell in cells}) > 1:
        return None
    words = ["barbench", "run", "--methods", ",".join(methods), "--split", ",".join(protocols)]
    words += ["--seeds", ",".join(map(str, seeds)), "--data", "shapes" if first.data.kind == "shapes" else ROOT]
    words += ["--backbone", first.backbone.partition("@")[0], "--weights", first.weights.partition("@")[0]]
    words += _recipe(cells)
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
    return join(words + (["--device", device] if device else []))


def _recipe(cells: Sequence[Cell]) -> list[str]:
    """The recipe by name; one that was changed (`name*`) with every field, since any may have changed, but learning
    rates that are each method's own: those are the recipe's."""
    name, recipes = str(cells[0].recipe["name"]), [cell.recipe for cell in cells]
    fixed = {"name", "description", "own_rates", "searched"}
    if recipes[0].get("own_rates"):
        fixed |= {"lr", "adapter_lr"}
    alike = {key: value for key, value in recipes[0].items() if all(other.get(key) == value for other in recipes)}
    changes = [f"{key}={json.dumps(value)}" for key, value in alike.items() if key not in fixed]
    sets = [word for change in changes for word in ("--set", change)] if name.endswith("*") else []
    return ["--recipe", name.removesuffix("*"), *sets]
