"""`barbench profile` and `check`: what each method costs, and whether anything moved."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from barbench.commands import options as opt
from barbench.errors import Interrupted, UsageError
from barbench.listing import Format, print_rows, progress_bar, stdout_console
from barbench.spec.run import AUTO, Place, Run
from barbench.spec.text import method_options, split_list

if TYPE_CHECKING:
    from barbench.regression.check import Outcome


def profile(
    methods: opt.MaybeMethodsOption = None,
    backbone: opt.BackboneOption = "tiny",
    weights: Annotated[
        str | None, typer.Option(help=opt.WEIGHTS_HELP, show_default="pretrained for tiny and folders, else random")
    ] = None,
    image_size: opt.ImageSizeOption = None,
    neck: opt.NeckOption = None,
    head_form: opt.HeadFormOption = None,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="images per training step")] = 8,
    context_length: Annotated[
        int, typer.Option("--context", min=3, max=1024, help="tokens of an expression, start and end included")
    ] = 17,
    device: opt.DeviceOption = AUTO,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="number format of the forward and backward pass")
    ] = "fp32",
    kernels: opt.KernelsOption = AUTO,
    suite: opt.SuiteOption = None,
    by: Annotated[
        Literal["method", "part"], typer.Option(help="subject of a row: a method, or a part of a method")
    ] = "method",
    options: opt.ArgumentsOption = None,
    proportion: opt.ProportionOption = None,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Measure what each method costs, on random input. Each method runs in a new process."""
    from barbench.benchmarks.matrix import check_backbone
    from barbench.methods.entry import in_proportion
    from barbench.methods.resolve import resolve
    from barbench.methods.suites import SUITES
    from barbench.spec.backbone import HeadChoice, backbone_config

    # Mistakes are answered before torch is imported.
    check_backbone(backbone, image_size, weights, context_length)
    config = backbone_config(backbone)
    if suite is None:
        specs = resolve(methods or "all")
    elif methods is None:
        specs = SUITES.get(suite).methods(config.width, config.aligned)
    else:
        raise UsageError("give --methods or --suite, not both")
    chosen = method_options(options or [], specs)
    head = HeadChoice(neck, head_form)
    head.of(config.head)
    for spec in specs:
        spec.check_head(head)
    chosen = in_proportion(specs, config, proportion, chosen)
    from barbench.benchmarks.costs import Setting, method_rows, part_rows, profile_methods

    setting = Setting(
        backbone=backbone,
        weights=weights,
        image_size=image_size,
        head=head,
        batch=batch,
        context_length=context_length,
        device=device,
        precision=precision,
        kernels=kernels,
    )
    with progress_bar("profiling") as progress:
        rows = profile_methods(specs, chosen, setting, progress)
    if format_ is not Format.json:  # which holds all
        rows = part_rows(rows) if by == "part" else method_rows(rows)
    print_rows(rows, format_, title=f"{backbone}, batch {batch}, {precision}")


def check(
    ctx: typer.Context,
    baseline: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="baseline file to compare with", show_default="the one that barbench ships"),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="store the measured values as the new baseline")] = False,
    only: Annotated[
        str | None,
        typer.Option(
            help="sections to check, a comma list: evaluation, scores",
            show_default="all",
        ),
    ] = None,
    allow_new: Annotated[
        bool, typer.Option("--allow-new", help="show entries that the baseline lacks without failing")
    ] = False,
    format_: Annotated[
        Literal["table", "json", "md"],
        typer.Option("--format", help="format of the outcome: table, json, or md (markdown, for a pull request)"),
    ] = "table",
    # A user's own data.
    data: Annotated[
        str | None,
        typer.Option(
            help="train on this data and compare scores: a folder in the REFER/COCO layout, or shapes",
            show_default="barbench's own check",
            rich_help_panel=opt.DATA,
        ),
    ] = None,
    datasets: opt.MaybeDatasetsOption = None,
    limit: opt.LimitOption = None,
    limit_train: opt.LimitTrainOption = None,
    methods: opt.MaybeMethodsOption = None,
    options: opt.ArgumentsOption = None,
    backbones: opt.BackbonesOption = None,
    weights: opt.WeightsOption = None,
    image_size: opt.ImageSizeOption = None,
    recipe: opt.RecipeOption = None,
    changes: opt.ChangesOption = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="comma list of whole numbers; one run per seed",
            show_default="0, with --update 0,1,2",
            rich_help_panel=opt.TRAINING,
        ),
    ] = None,
    device: opt.DeviceOption = AUTO,
) -> None:
    """Measure scores of a small subset and compare them with a stored baseline: barbench's own, or with --data yours.

    The exit code is 1 if any value moved, and 2 if nothing can be compared.
    """
    if data is not None:
        if only is not None or baseline is None:
            raise UsageError("--data needs a --baseline FILE of its own, which has no sections for --only")
        outcome = _check_own(ctx, seeds or ("0,1,2" if update else "0"), device, baseline, update, allow_new)
        if outcome is not None:
            _show(outcome, format_)
        return
    # What describes a run, and where it runs, is of a check of the user's data alone.
    for parameter in ctx.command.params:
        name = str(parameter.name)
        value = ctx.params.get(name)
        if (name == "device" or name in Run.model_fields) and value and value != AUTO:
            raise UsageError(f"{parameter.opts[0]} is of a check of your own data: give --data, too")
    from barbench.regression import check as regression

    sections = split_list(only or "")
    if update:
        print(f"accepted into {regression.update(regression.SCORES, baseline, sections)}")
        return
    _show(regression.check(regression.SCORES, baseline, sections, allow_new), format_)


def _show(outcome: "Outcome", format_: str) -> None:
    """Print the outcome of a check; typer.Exit with code 1 if any value moved."""
    from barbench.regression.show import show

    show(outcome, format_, stdout_console(160))
    if not outcome.ok:
        raise typer.Exit(1)


def _check_own(
    ctx: typer.Context, seeds: str, device: str, baseline: Path, update: bool, allow_new: bool
) -> "Outcome | None":
    """The outcome of a check on the user's data; None where its scores became the baseline."""
    from barbench.benchmarks.execution.worker.signals import interruptible
    from barbench.benchmarks.matrix import cells
    from barbench.regression.baseline import load

    # A baseline that is not there is said before anything is trained.
    asked = Run.of(ctx.params, seeds=seeds)
    if asked.backbones is not None and len(asked.backbones) > 1:
        raise UsageError("--backbone: a check is of one backbone; make a baseline file for each")
    if not update:
        load(baseline, "barbench check --data ROOT … --update")
    # The records are of no use once their scores are compared.
    console = Console(stderr=True)
    with TemporaryDirectory(prefix="barbench-check-") as folder, interruptible():
        try:
            jobs = cells(asked, Place(results=Path(folder), device=device))
            from barbench.regression.own import check_own, prepare_check, update_own

            prepared = prepare_check(asked, jobs)
            if not update:
                return check_own(prepared, baseline, allow_new, console)
            print(f"accepted into {update_own(prepared, baseline, console)}")
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; no score was kept", *error.args) from None
    return None
