"""`barbench run`, `profile` and `check`: a matrix of cells, the cost of each method, and whether any value has
moved."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from barbench.commands.options import (
    METHODS_HELP,
    WEIGHTS_HELP,
    ArgumentsOption,
    BackboneOption,
    DataOption,
    DeviceOption,
    FormatOption,
    ImageSizeOption,
    MethodsOption,
    ResultsOption,
)
from barbench.errors import Interrupted, UnknownName, UsageError
from barbench.listing import Format, print_rows, progress_bar, stdout_console
from barbench.registry import split_list


class OnOom(StrEnum):
    """The values of `--on-oom`."""

    record = "record"
    halve = "halve"


def run(
    table: Annotated[
        str | None, typer.Option(help="run the cells that these tables need: 1 to 5, a comma list, or all")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="show the cells, their time and memory, and run nothing")
    ] = False,
    methods: Annotated[str | None, typer.Option(help=METHODS_HELP, show_default="all")] = None,
    suite: Annotated[
        str | None, typer.Option(help="run a named list of methods with options, instead of --methods")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="refcoco, refcoco+, refcocog-u, refcocog-g (all: these), grefcoco, mixed, mixed-leaked, a list",
            show_default="refcoco+",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="tiny, a name that open_clip knows, a folder in open_clip's format, or a comma list",
            show_default="tiny on shapes, else ViT-B-16-quickgelu",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help=WEIGHTS_HELP, show_default="pretrained for tiny and folders, openai for -quickgelu models"),
    ] = None,
    data: DataOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="name of a recipe, or a YAML file", show_default="demo on shapes, else paper"),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="change one field of the recipe: key=value; may be repeated")
    ] = None,
    option: ArgumentsOption = None,
    seeds: Annotated[str, typer.Option(help="comma list of whole numbers; one run per seed")] = "0",
    image_size: ImageSizeOption = None,
    context: Annotated[
        int | None,
        typer.Option(min=3, help="tokens of an expression, start and end included", show_default="the split's own"),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16")] = "fp32",
    device: DeviceOption = "auto",
    processes: Annotated[int, typer.Option(min=1, help="number of processes that share each batch, one per GPU")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="number of data loading processes per training process",
            show_default="0 on a CPU, else up to 8",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="cells that run at the same time; the cores are divided among them",
            show_default="one per core for embedded backbones on a CPU, else 1",
        ),
    ] = None,
    cache: Annotated[
        str,
        typer.Option(
            help="folder for letterboxed images; off for none; auto for $BARBENCH_CACHE if half of the disk stays free"
        ),
    ] = "auto",
    results: ResultsOption = Path("results"),
    reports: Annotated[Path, typer.Option(help="folder to write the tables into")] = Path("reports"),
    on_oom: Annotated[
        OnOom, typer.Option(help="when a cell runs out of memory: record it, or halve its micro-batch and try again")
    ] = OnOom.record,
) -> None:
    """Run a matrix of methods x backbones x splits x seeds. Finished cells are skipped, interrupted ones continue.

    \f
    Raises:
        UsageError: for arguments that are wrong or do not go together.
        Interrupted: after Ctrl-C or SIGTERM.
        typer.Exit: with code 1 if a cell failed.
    """
    from barbench.commands.expand import RunRequest, expand

    request = RunRequest(
        table=table,
        methods=methods,
        suite=suite,
        split=split,
        backbone=backbone,
        weights=weights,
        data=data,
        recipe=recipe,
        changes=set_ or [],
        options=option or [],
        seeds=seeds,
        image_size=image_size,
        context=context,
        precision=precision,
        device=device,
        processes=processes,
        workers=workers,
        jobs=jobs,
        cache=cache,
        results=results,
    )
    console = stdout_console()
    if plan:
        _show_plan(expand(request), results, console)
        return
    try:
        records = _run(request, on_oom is OnOom.halve, console)
    except KeyboardInterrupt as asked:
        raise Interrupted("interrupted; the same command goes on from here", *asked.args) from None
    _report(table, records, results, reports, console)
    if any(record.status != "done" for record in records):
        raise typer.Exit(1)


def _run(request: Any, halve: bool, console: Console) -> Any:
    """The records of the cells of `request`; the cells of a table are planned and shown first."""
    from barbench.benchmarks.execution.signals import interruptible

    with interruptible():
        from barbench.commands.expand import expand, slots_for

        jobs = expand(request)
        slots = slots_for(request, [job.backbone for job in jobs])
        plan = None if request.table is None else _show_plan(jobs, request.results, console)
        return run_cells(jobs, request.results, console, plan.forecast if plan else {}, halve, slots)


def run_cells(
    jobs: Any, results: Path, console: Console, forecast: Any = None, halve: bool = False, slots: int = 1
) -> Any:
    """Run cells, with their progress on `console`.

    Args:
        jobs: the cells.
        results: folder of the records.
        console: shows the progress.
        forecast: seconds that each cell should take, by its id.
        halve: as for `run_jobs`.
        slots: as for `run_jobs`.

    Returns:
        One record per job, in their order.
    """
    from barbench.benchmarks.execution.display import display_for
    from barbench.benchmarks.execution.runner import run_jobs

    display = display_for(console, forecast, slots)
    try:
        return run_jobs(jobs, results, display, halve, slots)
    finally:
        display.stop()


def _show_plan(jobs: Any, results: Path, console: Console) -> Any:
    """Print which cells are done, which will run, and how long that will take; nothing is run."""
    from barbench.benchmarks.planning.plan import make_plan
    from barbench.results.store import Store

    with console.status("estimating"):
        plan = make_plan(jobs, Store(results))
    print_rows(plan.rows(), Format.table, title="plan")
    console.print(plan.summary(), markup=False, highlight=False, soft_wrap=True)
    return plan


def _report(table: str | None, records: Any, results: Path, reports: Path, console: Console) -> None:
    """Write the tables of all records, and print those of this run."""
    from barbench.reports.formats.console import show
    from barbench.reports.write import write_reports
    from barbench.results.store import Store

    store = Store(results)
    write_reports(store, reports)
    show(_measured(table, records, store), console)
    console.print(f"records in {results}, tables in {reports}", markup=False, soft_wrap=True)


def _measured(table: str | None, records: Any, store: Any) -> Any:
    """The tables that were asked for, measured rows only; else Table 5, or Table 2 or 3 by the backbone."""
    from barbench.paper.tables import table_numbers
    from barbench.reports.tables.build import build_measured
    from barbench.reports.tables.grouping import group
    from barbench.results.evidence import Evidence

    groups, evidence = group(records), Evidence(store)
    if table is not None:
        return [built for number in table_numbers(table) for built in build_measured(number, groups, evidence)]
    return next((built for number in ("5", "2", "3") if (built := build_measured(number, groups, evidence))), [])


class By(StrEnum):
    """The values of `--by`: what one row of `barbench profile` is about."""

    method = "method"
    part = "part"


def profile(
    methods: MethodsOption = "all",
    backbone: BackboneOption = "tiny",
    weights: Annotated[
        str | None, typer.Option(help=WEIGHTS_HELP, show_default="pretrained for tiny and folders, else random")
    ] = None,
    image_size: ImageSizeOption = None,
    batch: Annotated[int, typer.Option(min=1, help="images per training step")] = 8,
    words: Annotated[int, typer.Option(min=3, help="context length in tokens")] = 17,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="fp32 or bf16")] = "fp32",
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
    from barbench.commands.expand import parse_options
    from barbench.methods.resolve import resolve

    if precision not in ("fp32", "bf16"):
        raise UsageError(f"--precision of a profile is fp32 or bf16, not {precision!r}")
    specs = resolve(methods)
    options = parse_options(option or [], specs)
    from barbench.benchmarks.profiling import profile_methods

    with progress_bar("profiling") as progress:
        rows = profile_methods(
            specs, options, backbone, weights, image_size, batch, words, device, precision, progress=progress
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
        Path | None, typer.Option(help="baseline file to compare with", show_default="the one that barbench ships")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="store the measured values as the new baseline")] = False,
    only: Annotated[
        str | None,
        typer.Option(
            help="sections to check, a comma list: ledger, flops, memory, data, models, evaluation, scores, speed",
            show_default="all",
        ),
    ] = None,
    allow_new: Annotated[
        bool, typer.Option("--allow-new", help="show entries that the baseline lacks without failing")
    ] = False,
    format_: Annotated[
        str, typer.Option("--format", help="how to print: table, json, or md (markdown, for a pull request)")
    ] = "table",
) -> None:
    """Measure a small fixed matrix and compare it with a stored baseline. The exit code is 1 if any value moved.

    \f
    Raises:
        UnknownName: for an unknown format or section.
        typer.Exit: with code 1 if any value moved.
    """
    from barbench.regression import check as gate
    from barbench.regression.show import FORMATS, show

    if format_ not in FORMATS:
        raise UnknownName("format", format_, FORMATS)
    if update:
        print(f"accepted into {gate.update(baseline, split_list(only or ''))}")
        return
    outcome = gate.check(baseline, split_list(only or ""), allow_new)
    show(outcome, format_, stdout_console(160))
    if not outcome.ok:
        raise typer.Exit(1)
