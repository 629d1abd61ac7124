"""`barbench tune`: the same search for every method's learning rates, on held-out training images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from barbench.commands import options as opt
from barbench.commands.checks import require_writable
from barbench.commands.run import RESUME
from barbench.errors import Interrupted, UsageError
from barbench.files import write_atomically
from barbench.listing import Format, print_rows, progress_bar, stdout_console
from barbench.spec.recipe import Recipe, Tuning
from barbench.spec.run import AUTO, MAX_SEED, TUNING, Place, Run
from barbench.spec.search import SUFFIX, Trial, trials_text
from barbench.spec.text import split_list

if TYPE_CHECKING:
    from barbench.benchmarks.job import Job
    from barbench.methods.catalog import MethodSpec
    from barbench.results.record import Record

OWN = "the recipe's own search"
HELD_OUT = 20
"""Percent of the training images that judge a trial, where neither the recipe nor the user says."""


def tune(
    ctx: typer.Context,
    methods: opt.MethodsOption = "all",
    trials: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="number of trainings per method", show_default=f"{OWN}; 8"),
    ] = None,
    datasets: opt.DatasetsOption = "refcoco+",
    held_out: Annotated[
        int | None,
        typer.Option(
            min=1, max=90, help="percent of the training images on which trials are judged", show_default=f"{OWN}; 20"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="epochs per trial", show_default=f"{OWN}; the recipe's epochs"),
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option(
            help="lowest and highest learning rate of the head, as LOW,HIGH",
            show_default=f"{OWN}; a decade around its lr",
        ),
    ] = None,
    adapter_lr: Annotated[
        str | None,
        typer.Option(
            help="lowest and highest rate of the method's own parameters, as a factor on the head's",
            show_default=f"{OWN}; two decades around its adapter_lr",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="seed of the search and of every trial", show_default=f"{OWN}; 0"),
    ] = None,
    backbones: opt.BackbonesOption = None,
    weights: opt.WeightsOption = None,
    necks: opt.NecksOption = None,
    head_form: opt.HeadFormOption = None,
    data: opt.DataOption = None,
    exif: opt.ExifOption = "stored",
    recipe: opt.RecipeOption = None,
    options: opt.ArgumentsOption = None,
    proportion: opt.ProportionOption = None,
    device: opt.DeviceOption = AUTO,
    jobs: opt.JobsOption = None,
    results: opt.ResultsOption = Path("results"),
    out: Annotated[Path, typer.Option(dir_okay=False, help="recipe to write, for run --recipe")] = Path("tuned.yaml"),
) -> None:
    """Search every method's learning rates with the same number of trials, and write them as a recipe.

    Ranges and budget are those of the recipe's own search, if it had one. Methods that are not searched keep their
    rates.

    Trials are judged on images held out of the training set; no evaluation split is used. Their records are kept in
    RESULTS/tuning, and the same command continues an interrupted search.
    """
    from barbench.benchmarks.matrix import cells, select

    if out.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--out {out}: name a .yaml file, which run --recipe can read")
    given = {"lr": _range("--lr", lr), "adapter_lr": _range("--adapter-lr", adapter_lr)}
    asked = Run.of(ctx.params, seeds=(seed or 0,), held_out=held_out or 0)
    place = Place.of(ctx.params, results=results / TUNING)
    # Arguments, then data, then whatever needs torch.
    [part] = select(asked)
    before = part.recipe.tuning
    if seed is None:
        seed = before.seed if before else 0
    if held_out is None:
        held_out = before.held_out if before else HELD_OUT
    asked = asked.model_copy(update={"seeds": (seed,), "held_out": held_out})
    if len(part.datasets) * len(part.backbones) * len(part.heads) != 1:
        raise UsageError("tune takes one dataset, one backbone and one neck at a time")
    require_writable("--out", out.parent)
    with progress_bar("drawing shapes") as progress:
        made = cells(asked, place, progress)
    from barbench.benchmarks.execution.launch import prepare, run_cells
    from barbench.benchmarks.execution.worker.signals import interruptible
    from barbench.benchmarks.tuning import TRIALS, best_rates, default_space, recipe_text, require_answers, search
    from barbench.datasets.content import check_held_out, read_dataset
    from barbench.reports.page.rates import rate_curves

    check_held_out(read_dataset(made[0].files.data, made[0].dataset, held_out), held_out)
    # A trial is the method's own cell with another recipe.
    launch = prepare(made)
    templates = {spec.name: job for spec, job in zip(part.methods, launch.jobs, strict=True)}
    budget = Tuning(
        trials=trials or (before.trials if before else TRIALS),
        sampler="sobol",
        space=default_space(part.recipe) | {name: limits for name, limits in given.items() if limits is not None},
        held_out=held_out,
        split=part.datasets[0].name,
        epochs=epochs or (before.epochs if before else part.recipe.epochs),
        seed=seed,
    )
    if budget.trials > 1 and all(low == high for low, high in budget.space.values()):
        raise UsageError(f"{budget.trials} trials of one value each: give a range to --lr or --adapter-lr")

    def trial_of(spec: "MethodSpec", changed: Recipe) -> "Job":
        template = templates[spec.name]
        cell = template.cell.model_copy(update={"recipe": changed.fields()})
        return template.model_copy(update={"cell": cell})

    def run_trials(trials: "Sequence[Job]") -> "list[Record]":
        with interruptible():
            return run_cells(launch._replace(jobs=list(trials)), stdout_console())

    try:
        found = search(part.methods, part.recipe, budget, trial_of, run_trials)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {RESUME}", *error.args) from None
    # Every trial is printed before a lost one ends the command.
    print_rows([_row(trial) for trial in found], Format.table, title=str(budget))
    require_answers(found)
    # What is written: all trials, their drawing, and last the recipe, which names them.
    references = {spec.name: spec.reference or spec.name for spec in part.methods}
    rates = {references[name]: own for name, own in best_rates(found).items()}
    history = out.with_suffix(SUFFIX)
    curves = out.with_suffix(".png")
    write_atomically(history, trials_text(found).encode())
    rate_curves(found).savefig(curves, dpi=144)
    write_atomically(out, recipe_text(part.recipe, rates, budget, history.name).encode())
    console = stdout_console()
    console.print(f"all trials in {history}, drawn in {curves}", markup=False, soft_wrap=True)
    console.print(f"recipe in {out}: barbench run --recipe {out}", markup=False, soft_wrap=True)


def _row(trial: Trial) -> dict[str, object]:
    score = None if trial.score is None else 100 * trial.score
    return {"method": trial.method, "trial": trial.number, **trial.values, "held-out mIoU": score}


def _range(option: str, text: str | None) -> tuple[float, float] | None:
    """LOW,HIGH as two positive numbers; the UsageError names `option`."""
    if text is None:
        return None
    try:
        low, high = [float(part) for part in split_list(text)]
    except ValueError:
        raise UsageError(f"{option} is LOW,HIGH, two numbers, not {text!r}") from None
    if not 0 < low <= high < float("inf"):
        raise UsageError(f"{option} is LOW,HIGH with 0 < LOW <= HIGH, not {text!r}")
    return low, high
