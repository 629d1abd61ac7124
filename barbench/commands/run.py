"""`barbench run`, `profile` and `check`: a matrix of cells, the cost of each method, and whether any value has
moved."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from barbench.commands.checks import gpu_list
from barbench.commands.executors import check_tracker, make_executor, run_cells
from barbench.commands.options import (
    METHODS_HELP,
    WEIGHTS_HELP,
    ArgumentsOption,
    DataOption,
    DeviceOption,
    ExifChoice,
    ExifOption,
    ImageSizeOption,
    KernelsChoice,
    KernelsOption,
    ResultsOption,
)
from barbench.errors import Interrupted, UsageError
from barbench.listing import Format, print_rows, stdout_console


class Where(StrEnum):
    """What `--executor` takes."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


class Tracker(StrEnum):
    """What `--tracker` takes."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    trackio = "trackio"


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
        list[str] | None,
        typer.Option("--set", help="change one field of the recipe, for all methods: key=value; may be repeated"),
    ] = None,
    option: ArgumentsOption = None,
    seeds: Annotated[str, typer.Option(help="comma list of whole numbers; one run per seed")] = "0",
    image_size: ImageSizeOption = None,
    context: Annotated[
        int | None,
        typer.Option(
            min=3, max=1024, help="tokens of an expression, start and end included", show_default="the split's own"
        ),
    ] = None,
    exif: ExifOption = ExifChoice.stored,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16")] = "fp32",
    device: DeviceOption = "auto",
    kernels: KernelsOption = KernelsChoice.auto,
    processes: Annotated[
        int, typer.Option(min=1, max=1024, help="number of processes that share each batch, one per GPU")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1024,
            help="number of data loading processes per training process",
            show_default="0 on a CPU, else all cores but two, 16 at most",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="cells that run at the same time; the cores are divided among them",
            show_default="one per GPU; on a CPU one per core for embedded backbones, else 1",
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            help="GPUs to use, numbers as in 0,2; all; or none; one cell runs on each, or on --processes of them",
            show_default="all, or what --device says",
            callback=gpu_list,
        ),
    ] = None,
    executor: Annotated[
        Where, typer.Option(help="where cells run: local (this host), slurm (extra: slurm), or ray (extra: ray)")
    ] = Where.local,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="what a cell asks of Slurm or Ray: partition=gpu,minutes=480,cpus=8, or a YAML file",
            show_default="4 cores and 480 minutes",
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1000,
            help="times that a cell whose process or host died is tried again",
            show_default="2, on this host 0",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="submit the cells to Slurm and end")] = False,
    tracker: Annotated[
        Tracker | None,
        typer.Option(
            help="also send losses and scores to this tracker, one run per cell, offline (extra: trackers)",
            show_default="none",
        ),
    ] = None,
    cache: Annotated[
        str,
        typer.Option(
            help="folder for letterboxed images; off for none; auto for $BARBENCH_CACHE if half of the disk stays free"
        ),
    ] = "auto",
    results: ResultsOption = Path("results"),
    reports: Annotated[Path, typer.Option(file_okay=False, help="folder to write the tables into")] = Path("reports"),
    on_oom: Annotated[
        OnOom, typer.Option(help="when a cell runs out of memory: record it, or halve its micro-batch and try again")
    ] = OnOom.record,
) -> None:
    """Run a matrix of methods x backbones x splits x seeds. Finished cells are skipped, interrupted ones continue.

    \f
    Raises:
        UsageError: for arguments that are wrong or do not go together.
        Interrupted: after Ctrl-C or SIGTERM, or where cells were stopped from elsewhere.
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
        exif=exif.value,
        precision=precision,
        device=device,
        kernels=kernels.value,
        processes=processes,
        workers=workers,
        jobs=jobs,
        gpus=gpus,
        executor=executor.value,
        cluster=cluster,
        tracker=None if tracker is None else tracker.value,
        cache=cache,
        results=results,
    )
    if detach and executor is not Where.slurm:
        raise UsageError("--detach is for --executor slurm; with Ray, give the command to `ray job submit`")
    console = stdout_console()
    if plan:
        _show_plan(expand(request), request, console)
        return
    try:
        records, stopped = _run(request, on_oom is OnOom.halve, console, retries, detach)
    except KeyboardInterrupt as asked:
        raise Interrupted("interrupted; run the same command to resume", *asked.args) from None
    if detach:
        console.print("submitted; barbench status shows them, the same command listens to them", soft_wrap=True)
        return
    if records:
        _report(table, records, results, reports, console)
    if stopped:
        raise Interrupted(f"{stopped} cell{'s' * (stopped != 1)} stopped; run the same command to resume")
    if any(record.status != "done" for record in records):
        raise typer.Exit(1)


def _run(request: Any, halve: bool, console: Console, retries: int | None, detach: bool) -> Any:
    """The records of the cells of `request`, and how many were stopped; the cells of a table are planned first."""
    from barbench.benchmarks.execution.worker.signals import interruptible

    with interruptible():
        from barbench.commands.expand import expand

        if request.tracker is not None:
            check_tracker(request.tracker)
        engine = None if request.executor == "local" else make_executor(request)
        jobs = expand(request)
        engine = engine or make_executor(request, [job.backbone for job in jobs])
        plan = None if request.table is None else _show_plan(jobs, request, console)
        forecast = plan.forecast if plan else {}
        records = run_cells(jobs, request.results, console, engine, forecast, halve, retries, detach)
        return records, len(jobs) - len(records)


def _show_plan(jobs: Any, request: Any, console: Console) -> Any:
    """Print which cells are done, which will run, and how long that will take; nothing is run."""
    from barbench.benchmarks.planning.plan import make_plan
    from barbench.commands.expand import slots_for
    from barbench.results.store import Store

    with console.status("estimating"):
        plan = make_plan(jobs, Store(request.results))
    local = request.executor == "local"
    slots = len(slots_for(request, [job.backbone for job in jobs])) if local else request.jobs or 1
    print_rows(plan.rows(), Format.table, title="plan")
    console.print(plan.summary(slots), markup=False, highlight=False, soft_wrap=True)
    return plan


def _report(table: str | None, records: Any, results: Path, reports: Path, console: Console) -> None:
    """Write the tables of all records, and print those of this run."""
    from barbench.reports.formats.terminal import show
    from barbench.reports.write import write_reports
    from barbench.results.store import Store

    store = Store(results)
    write_reports(store, reports)
    show(_measured(table, records, store), console)
    console.print(f"records in {results}, tables in {reports}", markup=False, soft_wrap=True)


def _measured(table: str | None, records: Any, store: Any) -> Any:
    """The tables that were asked for, measured rows only; else Table 5, or Table 2 or 3 by the backbone."""
    from barbench.reports.tables.build import build_measured
    from barbench.reports.tables.grouping import group
    from barbench.results.resampled import ResampledScores
    from barbench.spec.run import table_numbers

    groups, evidence = group(records), ResampledScores(store)
    if table is not None:
        return [built for number in table_numbers(table) for built in build_measured(number, groups, evidence)]
    return next((built for number in ("5", "2", "3") if (built := build_measured(number, groups, evidence))), [])
