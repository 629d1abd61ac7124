"""`barbench tune`: the same search for every method's learning rates, on held-out training images."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from barbench.commands.executors import make_executor, run_cells
from barbench.commands.options import (
    MAX_SEED,
    METHODS_HELP,
    ArgumentsOption,
    DataOption,
    DeviceOption,
    ExifChoice,
    ExifOption,
    ResultsOption,
)
from barbench.errors import Interrupted, UsageError
from barbench.listing import Format, print_rows, stdout_console
from barbench.spec.text import split_list


class Sampler(StrEnum):
    """What `--sampler` takes."""

    sobol = "sobol"
    optuna = "optuna"


def tune(
    methods: Annotated[str, typer.Option(help=METHODS_HELP)] = "all",
    trials: Annotated[int, typer.Option(min=1, max=10_000, help="trainings per method")] = 8,
    split: Annotated[str, typer.Option(help="dataset whose training images are used")] = "refcoco+",
    held_out: Annotated[
        int, typer.Option(min=1, max=90, help="percent of the training images that judge the trials")
    ] = 20,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="epochs of a trial", show_default="those of the recipe")
    ] = None,
    lr: Annotated[str, typer.Option(help="lowest and highest learning rate of the head, as LOW,HIGH")] = "5e-4,5e-3",
    adapter_lr: Annotated[
        str, typer.Option(help="lowest and highest rate of the method's own parameters, as a factor on the head's")
    ] = "0.03,3",
    sampler: Annotated[Sampler, typer.Option(help="sobol (evenly spread), or optuna (extra: tune)")] = Sampler.sobol,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="of the search and of every trial")] = 0,
    backbone: Annotated[str | None, typer.Option(help="backbone", show_default="tiny on shapes")] = None,
    weights: Annotated[str | None, typer.Option(help="weights, as for run")] = None,
    data: DataOption = None,
    exif: ExifOption = ExifChoice.stored,
    recipe: Annotated[
        str | None, typer.Option(help="recipe to start from", show_default="demo on shapes, else paper")
    ] = None,
    option: ArgumentsOption = None,
    device: DeviceOption = "auto",
    jobs: Annotated[
        int | None, typer.Option(min=1, max=1024, help="cells that run at the same time", show_default="as for run")
    ] = None,
    results: ResultsOption = Path("results"),
    out: Annotated[Path, typer.Option(dir_okay=False, help="recipe to write, for run --recipe")] = Path("tuned.yaml"),
) -> None:
    """Search every method's learning rates with the same number of trials, and write them as a recipe.

    Trials are judged on images held out of the training set; no evaluation split is used. Their records are kept in
    RESULTS/tuning, and the same command continues an interrupted search.

    \f
    Raises:
        UnknownName: for an unknown method or split.
        UsageError: for arguments that are wrong, several splits or several backbones.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    from barbench.commands.expand import RunRequest, expand
    from barbench.methods.resolve import resolve
    from barbench.spec.recipe import Recipe, Tuning, load_recipe

    if out.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--out {out}: name a .yaml file, which run --recipe can read")
    space = {"lr": _range("--lr", lr), "adapter_lr": _range("--adapter-lr", adapter_lr)}
    folder = results / "tuning"
    request = RunRequest(
        methods=methods,
        split=split,
        backbone=backbone,
        weights=weights,
        data=data,
        recipe=recipe,
        options=option or [],
        seeds=str(seed),
        device=device,
        jobs=jobs,
        results=folder,
        held_out=held_out,
        exif=exif.value,
    )
    specs, expanded = resolve(methods), expand(request)
    if len(expanded) != len(specs):
        raise UsageError("tune takes one split and one backbone at a time")
    from barbench.benchmarks.tuning import best_rates, recipe_text, search

    cells = {spec.name: job for spec, job in zip(specs, expanded, strict=True)}
    base = load_recipe(recipe or str(expanded[0].cell.recipe["name"]))
    budget = Tuning(
        trials=trials,
        sampler=sampler.value,
        space=space,
        held_out=held_out,
        split=split,
        epochs=epochs or base.epochs,
        seed=seed,
    )

    def job(spec: Any, changed: Recipe) -> Any:
        whole = cells[spec.name]
        return whole.model_copy(update={"cell": whole.cell.model_copy(update={"recipe": changed.fields()})})

    backbones = [cell.backbone for cell in expanded]
    try:
        found = search(specs, base, budget, job, lambda cells: _run(cells, folder, make_executor(request, backbones)))
    except KeyboardInterrupt as asked:
        raise Interrupted("interrupted; run the same command to resume", *asked.args) from None
    rates = best_rates(found)
    out.write_text(recipe_text(base, rates, budget, found), "utf-8")
    rows = [
        {"method": t.method, "trial": t.number, **t.values, "held-out mIoU": None if t.score is None else 100 * t.score}
        for t in found
    ]
    print_rows(rows, Format.table, title=str(budget))
    stdout_console().print(f"recipe in {out}: barbench run --recipe {out}", markup=False, soft_wrap=True)


def _run(cells: Any, folder: Path, executor: Any) -> Any:
    from barbench.benchmarks.execution.worker.signals import interruptible

    with interruptible():
        return run_cells(cells, folder, stdout_console(), executor)


def _range(option: str, text: str) -> tuple[float, float]:
    """LOW,HIGH as two positive numbers; UsageError names `option`."""
    try:
        low, high = (float(part) for part in split_list(text))
    except ValueError:
        raise UsageError(f"{option} is LOW,HIGH, two numbers, not {text!r}") from None
    if not 0 < low <= high < float("inf"):
        raise UsageError(f"{option} is LOW,HIGH with 0 < LOW <= HIGH, not {text!r}")
    return low, high
