"""`barbench report`, `compare`, `panels` and `export`: what people read, made from the records."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from barbench.commands import options as opt
from barbench.commands.stored import open_store
from barbench.errors import UsageError
from barbench.listing import Format, print_notes, print_rows, progress_bar, stdout_console
from barbench.spec.run import reports_beside
from barbench.spec.text import split_list

if TYPE_CHECKING:
    from barbench.results.store import Store

BESIDE = "reports, or NAME-reports, beside --results"
EACH = "write FIRST,SECOND if the two differ"


def report(
    results: opt.ResultsOption = Path("results"),
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="folder to write the report into", show_default=BESIDE)
    ] = None,
    table: Annotated[
        str,
        typer.Option(
            help="tables to write, a comma list of 1 to 5, objects (objects and sentences), identity (which object is "
            "shown), necks (what the neck is worth), pairs (all pairs of methods), parameters (by group and by rule), "
            "published (numbers of other papers), across (trained on A, evaluated on B) and all (1 to 5, objects, "
            "identity, necks)",
        ),
    ] = "all",
    format_: Annotated[
        str,
        typer.Option("--format", help="comma list of md, latex, html (one page with everything), terminal (printed)"),
    ] = "md,latex",
    count: opt.CountOption = None,
    of: opt.OfOption = None,
    data: opt.DataOption = None,
    pictures: Annotated[
        float, typer.Option(min=0, max=3, help="megabytes of thumbnails inside the page; further ones lie beside it")
    ] = 1.5,
) -> None:
    """Write the paper's Tables 1-5 from the records, published beside measured; as html, one page with plots."""
    from barbench.benchmarks.scenes import SceneFinder
    from barbench.reports.formats.terminal import TERMINAL, show
    from barbench.reports.write import write_reports
    from barbench.spec.accounting import parse_rule

    out = out or reports_beside(results)
    rule = parse_rule(count, of)
    numbers = split_list(table)
    formats = split_list(format_)
    find_scenes = SceneFinder(data)
    of_files = [name for name in formats if name != TERMINAL]
    with open_store(results, find_scenes) as store:
        written = write_reports(store, out, numbers, of_files, rule, find_scenes, int(1e6 * pictures))
    if TERMINAL in formats:
        console = stdout_console()
        for tables in written.tables.values():
            show(tables, console)
    for path in written.paths:
        print(path)


def compare(
    first: Annotated[str, typer.Argument(help="method, title, or one cell: its id or the start of its file name")],
    second: Annotated[
        str, typer.Argument(help="method, title or cell of the other side; the difference is first minus second")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "--split",
            help="dataset that the cells were trained on: refcoco, refcoco+, …; needed if they have several",
        ),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help=f"backbone of the cells, if they have several; {EACH}")] = None,
    weights: Annotated[str | None, typer.Option(help=f"weights of the cells, as the records name them; {EACH}")] = None,
    recipe: Annotated[str | None, typer.Option(help=f"recipe of the cells, by name; {EACH}")] = None,
    image_size: Annotated[str | None, typer.Option(help=f"image size of the cells in pixels; {EACH}")] = None,
    neck: Annotated[str | None, typer.Option(help=f"neck of the cells: etris, detris, cris, none; {EACH}")] = None,
    head: Annotated[str | None, typer.Option(help=f"form of the cells' head: full, linear; {EACH}")] = None,
    resamples: Annotated[int, typer.Option(min=100, max=1_000_000, help="number of bootstrap resamples")] = 10_000,
    results: opt.ResultsOption = Path("results"),
    format_: opt.FormatOption = Format.table,
) -> None:
    """Compare two methods in mIoU, oIoU, P@0.5 and over objects, with 95 % intervals over images and seeds."""
    from barbench.results.compare import Wanted
    from barbench.results.compare import compare as compare_cells

    wanted = Wanted(dataset, backbone, weights, recipe, image_size, neck, head)
    with open_store(results) as store:
        found = compare_cells(store, first, second, wanted, resamples)
    rows: list[dict[str, Any]] = [row._asdict() for row in found.rows]
    if format_ is Format.table:
        rows = [row.readable(found.titles) for row in found.rows]
    print_rows(rows, format_, title=f"{found.titles[0]} minus {found.titles[1]}, in percent")
    print_notes(found.notes)


def panels(
    ctx: typer.Context,
    methods: Annotated[
        str, typer.Option(help="all (those of the paper's five that are finished), or a comma list")
    ] = "all",
    picks: Annotated[
        str, typer.Option("--pick", help="rules that choose expressions: comma list of disagree, fail, succeed, random")
    ] = "disagree,succeed,fail",
    count: Annotated[
        int, typer.Option(min=1, max=10_000, help="number of expressions per pick, at most one per image")
    ] = 8,
    sentences: Annotated[
        str | None, typer.Option("--sent", help="comma list of sentence ids, instead of --pick")
    ] = None,
    dataset: opt.TrainedOnOption = "refcoco+",
    eval_split: Annotated[
        str | None, typer.Option(help="split to show, e.g. testA", show_default="the first, val")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="seed of the runs", show_default="the smallest that all methods have")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="backbone of the cells; needed if it is a folder")] = None,
    weights: Annotated[str | None, typer.Option(help="weights of the cells; needed if they are a file")] = None,
    recipe: Annotated[str | None, typer.Option(help="recipe of the cells, by name, if they have several")] = None,
    image_size: Annotated[
        str | None, typer.Option(help="image size of the cells in pixels, if they have several")
    ] = None,
    neck: Annotated[
        str | None, typer.Option(help="neck of the cells, if they have several: etris, detris, cris, none")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="form of the cells' head, if they have several: full, linear")
    ] = None,
    data: opt.DataOption = None,
    device: opt.DeviceOption = "auto",
    results: opt.ResultsOption = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="folder to write the panels into", show_default=f"panels in {BESIDE}"),
    ] = None,
) -> None:
    """Draw the masks that the methods predict, image by image, as in the paper's Fig. 3 to 7."""
    from barbench.benchmarks.panel_choice import PanelRequest, choose

    with open_store(results) as store:
        choice = choose(store, PanelRequest.of(ctx.params))  # mistakes are answered before torch is imported
    from barbench.benchmarks.execution.host.devices import pick_device
    from barbench.benchmarks.panels import make_panels
    from barbench.reports.panels import write_panels

    place = pick_device(device)
    with progress_bar("predicting") as progress:
        made = make_panels(store, choice, place, progress)
    print_notes(made.notes)
    for path in write_panels(made.panels, out or reports_beside(results) / "panels"):
        print(path)


def export(
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="csv or parquet (one table), every_eval_ever (JSON files of that project) or eval_results (YAML files "
            "of model repositories on the Hub)",
        ),
    ] = "csv",
    expressions: Annotated[
        bool,
        typer.Option(
            "--expressions",
            help="one row per expression, with sentence and file name where --data has them, instead of one row per "
            "split; every_eval_ever has both then",
        ),
    ] = False,
    organization: Annotated[
        str | None, typer.Option(help="name of who ran the cells, for every_eval_ever and eval_results")
    ] = None,
    source: Annotated[str | None, typer.Option(help="address of the records, for eval_results")] = None,
    subset: Annotated[
        bool,
        typer.Option("--subset", help="cells of a subset of images too, in every_eval_ever and eval_results"),
    ] = False,
    data: opt.DataOption = None,
    results: opt.ResultsOption = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(
            help="file to write; for every_eval_ever and eval_results the folder, by default of the format's name",
            show_default="results.csv, expressions.csv, …",
        ),
    ] = None,
) -> None:
    """Write all records, unrounded, for other programs: as one table, or in a format that others exchange."""
    from barbench.results.exchange import EXCHANGES

    # A format that others exchange is a folder of files, any other one table.
    with open_store(results) as store:
        if format_ in EXCHANGES:
            from barbench.benchmarks.exchange import ExchangeRequest, write_exchange

            request = ExchangeRequest(format_, organization, source, subset, expressions, data)
            written = write_exchange(store, request, out or Path(format_))
        else:
            if organization is not None or source is not None or subset:
                names = " and ".join(EXCHANGES)
                raise UsageError(f"--organization, --source and --subset are for --format {names}")
            if data is not None and not expressions:
                raise UsageError("--data is for the sentences of --expressions")
            _export_table(store, format_, expressions, data, out)
            return
    print_notes(written.notes)
    for path in written.paths:
        print(path)


def _export_table(store: "Store", format_: str, expressions: bool, data: str | None, out: Path | None) -> None:
    from barbench.benchmarks.scenes import SceneFinder
    from barbench.results.export import write_table
    from barbench.results.frames import expressions_of, scores_of, with_words

    # Sentences and file names are with the data.
    find_scenes = SceneFinder(data)
    if expressions:
        table = with_words(expressions_of(store), store.all(), find_scenes)
        print_notes(find_scenes.notes)
    else:
        table = scores_of(store)
    if table.empty:
        raise UsageError(f"no records in {store.folder}: `barbench run` writes them")
    path = out or Path(f"{'expressions' if expressions else 'results'}.{format_}")
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; --format {format_} writes a file")
    write_table(table, format_, path)
    print(f"{len(table):,} rows in {path}")
