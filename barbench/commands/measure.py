"""`barbench profile` and `check`: what each method costs, and whether anything moved."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from barbench.commands.options import (
    WEIGHTS_HELP,
    ArgumentsOption,
    BackboneOption,
    DeviceOption,
    FormatOption,
    HeadFormOption,
    ImageSizeOption,
    KernelsOption,
    MethodsOption,
    NeckOption,
    ProportionOption,
)
from barbench.listing import Format, print_rows, progress_bar, stdout_console
from barbench.spec.run import AUTO
from barbench.spec.text import method_options, split_list


def profile(
    methods: MethodsOption = "all",
    backbone: BackboneOption = "tiny",
    weights: Annotated[
        str | None, typer.Option(help=WEIGHTS_HELP, show_default="pretrained for tiny and folders, else random")
    ] = None,
    image_size: ImageSizeOption = None,
    neck: NeckOption = None,
    head_form: HeadFormOption = None,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="images per training step")] = 8,
    context_length: Annotated[
        int, typer.Option("--context", min=3, max=1024, help="tokens of an expression, start and end included")
    ] = 17,
    device: DeviceOption = AUTO,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="number format of the forward and backward pass")
    ] = "fp32",
    kernels: KernelsOption = AUTO,
    by: Annotated[
        Literal["method", "part"], typer.Option(help="subject of a row: a method, or a part of a method")
    ] = "method",
    options: ArgumentsOption = None,
    proportion: ProportionOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Measure what each method costs, on random input. Each method runs in a new process.

    \f
    Raises:
        UsageError: for wrong options.
        BarbenchError: if no method could be measured.
    """
    from barbench.benchmarks.matrix import check_backbone
    from barbench.methods.entry import in_proportion
    from barbench.methods.resolve import resolve
    from barbench.spec.backbone import HeadChoice, backbone_config

    specs = resolve(methods)
    chosen = method_options(options or [], specs)
    check_backbone(backbone, image_size, weights, context_length)
    head = HeadChoice(neck, head_form)
    head.of(backbone_config(backbone).head)
    for spec in specs:
        spec.check_head(head)
    chosen = in_proportion(specs, backbone_config(backbone), proportion, chosen)
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
) -> None:
    """Measure scores of a small subset and compare them with a stored baseline. The exit code is 1 if any value moved.

    \f
    Raises:
        UnknownName: for an unknown section.
        typer.Exit: with code 1 if any value moved.
    """
    from barbench.regression import check as regression
    from barbench.regression.show import show

    sections = split_list(only or "")
    if update:
        print(f"accepted into {regression.update(regression.SCORES, baseline, sections)}")
        return
    outcome = regression.check(regression.SCORES, baseline, sections, allow_new)
    show(outcome, format_, stdout_console(160))
    if not outcome.ok:
        raise typer.Exit(1)
