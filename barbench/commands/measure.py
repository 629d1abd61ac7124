"""`barbench profile` and `check`: what each method costs, and whether anything moved."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from barbench.commands.options import (
    WEIGHTS_HELP,
    ArgumentsOption,
    BackboneOption,
    DeviceOption,
    FormatOption,
    ImageSizeOption,
    KernelsChoice,
    KernelsOption,
    MethodsOption,
)
from barbench.errors import UsageError
from barbench.listing import Format, print_rows, progress_bar, stdout_console
from barbench.spec.text import method_options, split_list


class By(StrEnum):
    """The values of `--by`: what one row of `barbench profile` is about."""

    method = "method"
    part = "part"


class Shown(StrEnum):
    """How `barbench check` can print."""

    table = "table"
    json = "json"
    md = "md"


def profile(
    methods: MethodsOption = "all",
    backbone: BackboneOption = "tiny",
    weights: Annotated[
        str | None, typer.Option(help=WEIGHTS_HELP, show_default="pretrained for tiny and folders, else random")
    ] = None,
    image_size: ImageSizeOption = None,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="images per training step")] = 8,
    words: Annotated[int, typer.Option(min=3, max=1024, help="context length in tokens")] = 17,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="fp32 or bf16")] = "fp32",
    kernels: KernelsOption = KernelsChoice.auto,
    by: Annotated[By, typer.Option(help="one row per method, or one row per part of each method")] = By.method,
    option: ArgumentsOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Measure what each method costs, on random input. Each method runs in its own process.

    \f
    Raises:
        UsageError: for a precision that cannot be profiled, or wrong options.
        BarbenchError: if no method could be measured.
    """
    from barbench.commands.expand import check_backbone
    from barbench.methods.resolve import resolve

    if precision not in ("fp32", "bf16"):
        raise UsageError(f"--precision of a profile is fp32 or bf16, not {precision!r}")
    specs = resolve(methods)
    options = method_options(option or [], specs)
    check_backbone(backbone, image_size, weights, words)
    from barbench.benchmarks.costs import profile_methods

    with progress_bar("profiling") as progress:
        rows = profile_methods(
            *(specs, options, backbone, weights, image_size, batch, words),
            *(device, precision, kernels.value, progress),
        )
    if format_ is not Format.json:  # which holds all
        parts = [
            {"method": row["method"], "part": name, **part}
            for row in rows
            for name, part in row.pop("parts", {}).items()
        ]
        rows = parts if by is By.part else rows
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
        Shown, typer.Option("--format", help="how to print: table, json, or md (markdown, for a pull request)")
    ] = Shown.table,
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
    show(outcome, format_.value, stdout_console(160))
    if not outcome.ok:
        raise typer.Exit(1)
