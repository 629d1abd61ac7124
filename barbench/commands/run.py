"""`barbench run`: a matrix of cells, from the command line to records and tables."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from barbench.commands import options as opt
from barbench.commands.checks import gpu_list, is_writable, require_writable
from barbench.commands.stored import open_store
from barbench.errors import Interrupted
from barbench.listing import Format, print_rows, progress_bar, stdout_console
from barbench.spec.run import AUTO, ExecutorName, OutOfMemory, Place, Precision, Run, TrackerName, reports_beside
from barbench.spec.text import plural

if TYPE_CHECKING:
    from barbench.benchmarks.execution.launch import Launch
    from barbench.benchmarks.job import Job
    from barbench.benchmarks.planning.plan import RunPlan
    from barbench.reports.tables.table import Table
    from barbench.results.record import Record
    from barbench.results.store import Store

RESUME = "run the same command to resume"
RESUME_AGAIN = "run the same command without --again to resume"


def run(
    ctx: typer.Context,
    # What is compared.
    tables: Annotated[
        str | None,
        typer.Option(
            "--table",
            help="run the cells that these tables need: 1 to 5, a comma list, or all",
            rich_help_panel=opt.COMPARED,
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            "--dry-run",
            help="show the cells, their time and memory, and run nothing",
            rich_help_panel=opt.COMPARED,
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="run finished cells too, from the start; their old records are kept under other names",
            rich_help_panel=opt.COMPARED,
        ),
    ] = False,
    methods: opt.MaybeMethodsOption = None,
    suite: opt.SuiteOption = None,
    datasets: opt.MaybeDatasetsOption = None,
    backbones: opt.BackbonesOption = None,
    weights: opt.WeightsOption = None,
    data: opt.DataOption = None,
    # How it is trained.
    recipe: opt.RecipeOption = None,
    changes: opt.ChangesOption = None,
    options: opt.ArgumentsOption = None,
    proportion: opt.ProportionOption = None,
    seeds: Annotated[
        str, typer.Option(help="comma list of whole numbers; one run per seed", rich_help_panel=opt.TRAINING)
    ] = "0",
    image_size: opt.ImageSizeOption = None,
    necks: opt.NecksOption = None,
    head_form: opt.HeadFormOption = None,
    context_length: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=3,
            max=1024,
            help="tokens of an expression, start and end included",
            show_default="the dataset's own",
            rich_help_panel=opt.DATA,
        ),
    ] = None,
    exif: opt.ExifOption = "stored",
    limit: opt.LimitOption = None,
    limit_train: opt.LimitTrainOption = None,
    precision: Annotated[
        Precision, typer.Option(help="number format of the forward and backward pass", rich_help_panel=opt.TRAINING)
    ] = "fp32",
    # Where cells run.
    device: opt.DeviceOption = AUTO,
    kernels: opt.KernelsOption = AUTO,
    processes: Annotated[
        int,
        typer.Option(
            min=1, max=1024, help="number of processes that share each batch, one per GPU", rich_help_panel=opt.DEVICES
        ),
    ] = 1,
    process_timeout: Annotated[
        int,
        typer.Option(
            "--process-timeout",
            min=1,
            max=100_000,
            help="minutes that a process of a cell waits for a slower one before the cell fails; it can resume",
            rich_help_panel=opt.DEVICES,
        ),
    ] = 30,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1024,
            help="number of data loading processes per training process",
            show_default="0 on a CPU, else all cores but two, 16 at most",
            rich_help_panel=opt.DEVICES,
        ),
    ] = None,
    jobs: opt.JobsOption = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            help="GPUs to use, numbers as in 0,2; all; or none; one cell runs on each, or on --processes of them",
            show_default="all, or what --device says",
            callback=gpu_list,
            rich_help_panel=opt.DEVICES,
        ),
    ] = None,
    executor: Annotated[
        ExecutorName,
        typer.Option(
            help="executor of the cells: local is this host; each other one needs the extra of its name",
            rich_help_panel=opt.PLACE,
        ),
    ] = "local",
    cluster: Annotated[
        str | None,
        typer.Option(
            help="resources per cell on Slurm or Ray: partition=gpu,minutes=480,cpus=8, or a YAML file",
            show_default="4 cores and 480 minutes",
            rich_help_panel=opt.PLACE,
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1000,
            help="number of times that a cell whose process or host died is tried again",
            show_default="2, on this host 0",
            rich_help_panel=opt.PLACE,
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="submit the cells to Slurm and return at once", rich_help_panel=opt.PLACE)
    ] = False,
    tracker: Annotated[
        TrackerName | None,
        typer.Option(
            help="also send losses and scores to this tracker, one run per cell, offline (extra: trackers)",
            show_default="none",
            rich_help_panel=opt.FOLDERS,
        ),
    ] = None,
    keep_masks: Annotated[
        bool,
        typer.Option(
            "--keep-masks",
            help="store the predicted masks beside the records, about half a kilobyte per expression, for rescore",
            rich_help_panel=opt.FOLDERS,
        ),
    ] = False,
    cache: Annotated[
        str,
        typer.Option(
            help="folder for letterboxed images; off for none; auto for $BARBENCH_CACHE if half of the disk stays free",
            rich_help_panel=opt.FOLDERS,
        ),
    ] = AUTO,
    # What is left, and what is done about failures.
    results: opt.ResultsOption = Path("results"),
    reports: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="folder to write the tables into",
            show_default="beside --results: reports, or NAME-reports",
            rich_help_panel=opt.FOLDERS,
        ),
    ] = None,
    on_oom: Annotated[
        OutOfMemory,
        typer.Option(
            help="action when a cell runs out of memory: record it, or halve its micro-batch and try again",
            rich_help_panel=opt.PLACE,
        ),
    ] = "record",
) -> None:
    """Run a matrix of methods x backbones x datasets x seeds. Finished cells are skipped, interrupted ones continue."""
    # Parameters are named like the fields of Run and Place, which take them from the context.
    asked = Run.of(ctx.params)
    place = Place.of(ctx.params)
    console = stdout_console()
    is_given = reports is not None
    reports = reports or reports_beside(results)
    # A results folder that cannot be written has a message of its own, which comes first.
    if (is_given or reports.exists()) and not (plan or detach) and is_writable(results):
        require_writable("--reports", reports)
    resume = RESUME_AGAIN if again else RESUME
    try:
        made, records = _run(asked, place, console, plan, detach, again)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {resume}", *error.args) from None
    if plan:
        return
    if detach:
        console.print("submitted; barbench status shows them, the same command listens to them", soft_wrap=True)
        return
    # Tables are written even of a run that was stopped.
    if records:
        _report(asked, records, results, reports, console)
    stopped = len(made) - len(records)
    if stopped:
        raise Interrupted(f"{plural(stopped, 'cell')} stopped; {resume}")
    if any(record.status != "done" for record in records):
        raise typer.Exit(1)


def _run(
    asked: Run, place: Place, console: Console, plan: bool, detach: bool, again: bool
) -> "tuple[list[Job], list[Record]]":
    """The cells and their records; with `plan`, the cells are shown and not run."""
    from barbench.benchmarks.execution.worker.signals import interruptible
    from barbench.benchmarks.matrix import cells

    with interruptible():
        with progress_bar("drawing shapes") as progress:
            jobs = cells(asked, place, progress)  # mistakes are answered before torch is imported
        from barbench.benchmarks.execution.launch import prepare, run_cells

        launch = prepare(jobs, detach)
        forecast: Mapping[str, float] = {}
        if plan or asked.tables is not None:
            forecast = _show_plan(launch, console).forecast
        if plan:
            return jobs, []
        return jobs, run_cells(launch, console, forecast, detach, again)


def _show_plan(launch: "Launch", console: Console) -> "RunPlan":
    """Print which cells are done, which will run, and how long that will take."""
    from barbench.benchmarks.planning.plan import make_plan

    with open_store(launch.place.results) as store, console.status("estimating"):
        plan = make_plan(launch.jobs, store)
    print_rows(plan.rows(), Format.table, title="plan")
    console.print(plan.summary(launch.slots), markup=False, highlight=False, soft_wrap=True)
    return plan


def _report(asked: Run, records: "list[Record]", results: Path, reports: Path, console: Console) -> None:
    """Write the tables and the page of all records, say where they are and what comes next, and print the tables of
    this run last. Their notes are in the files: on a terminal they would push the numbers off the screen."""
    from barbench.benchmarks.scenes import SceneFinder
    from barbench.reports.formats.terminal import show
    from barbench.reports.report import file_stem
    from barbench.reports.write import write_reports

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    with open_store(results) as store:
        with console.status("writing tables and page"):
            # Pictures of generated data are drawn in seconds; those of real ones are left to `barbench report`.
            write_reports(store, reports, formats=("md", "latex", "html"), find_scenes=SceneFinder("shapes"))
        measured = _measured(asked, records, store)
    say(f"records in {results}, tables in {reports}; all on one page: {reports / 'report.html'}")
    for number, tables in measured.items():
        notes = sum(len(table.notes) + len(table.footnotes) for table in tables)
        if notes:
            file = reports / f"{file_stem(number)}.md"
            say(f"{plural(notes, 'note')} on what is compared below: {file}")
    say(f"next: {_next(records, results)}")
    for tables in measured.values():
        show([replace(table, notes=(), footnotes=()) for table in tables], console)


def _next(records: "list[Record]", results: Path) -> str:
    """The command that most people give after a run: the difference of the first and the last method, or pictures."""
    methods = list(dict.fromkeys(record.cell.method for record in records if record.status == "done"))
    words = ["barbench", "panels"]
    if len(methods) > 1:
        words = ["barbench", "compare", methods[-1], methods[0]]
    if results != Path("results"):
        words += ["--results", str(results)]
    return shlex.join(words)


def _measured(asked: Run, records: "list[Record]", store: "Store") -> "dict[str, list[Table]]":
    """The tables that were asked for by number, measured rows only; else Table 5, or Table 2 or 3 by the backbone."""
    from barbench.reports.tables.build import build_measured
    from barbench.reports.tables.grouping import group
    from barbench.results.resampled import ResampledScores

    # A table shows the backbones that the paper's has.
    groups = group(records)
    evidence = ResampledScores(store)
    if asked.tables is not None:
        return {number: build_measured(number, groups, evidence) for number in asked.tables}
    for number in ("5", "2", "3"):
        tables = build_measured(number, groups, evidence)
        if tables:
            return {number: tables}
    return {}
