"""The command line: `barbench run --methods all --split refcoco+`, then `barbench report`.

Heavy libraries are imported inside the commands that need them, so that help and mistakes answer at once.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from barbench.errors import BarbenchError, Interrupted, UnknownName, UsageError
from barbench.listing import Format, print_rows

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compare parameter-efficient tuning methods for referring image segmentation.",
)
lists = typer.Typer(no_args_is_help=True, help="What there is to choose from.")
data = typer.Typer(no_args_is_help=True, help="Make and check data.")
app.add_typer(lists, name="list")
app.add_typer(data, name="data")

METHODS_HELP = "all (the paper's five), everything, or a comma list; package.module:name for your own"
Methods = Annotated[str, typer.Option(help=METHODS_HELP)]
Backbone = Annotated[str, typer.Option(help="tiny, an open_clip CLIP ViT, or a folder in open_clip's format")]
Weights = Annotated[
    str | None, typer.Option(help="random, pretrained (tiny), an open_clip tag in its cache, or a file")
]
ImageSize = Annotated[int | None, typer.Option(help="pixels; by default the backbone's own, 416 for open_clip's")]
Data = Annotated[str | None, typer.Option(help="REFER/COCO root, or shapes  [default: $BARBENCH_DATA, else shapes]")]
Results = Annotated[Path, typer.Option(help="folder of the records")]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="METHOD:component.parameter=value, e.g. barleria:gst.prior=false")
]
RELEASES: tuple[Literal["etris", "cris", "barleria"], ...] = ("etris", "cris", "barleria")
FormatOption = Annotated[Format, typer.Option("--format", help="how to print it")]


@app.callback()
def _main(debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False) -> None:
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR)


@app.command()
def run(
    methods: Annotated[str | None, typer.Option(help=f"{METHODS_HELP}  [default: all]")] = None,
    suite: Annotated[str | None, typer.Option(help="a list of methods with options, in place of --methods")] = None,
    split: Annotated[
        str, typer.Option(help="refcoco, refcoco+, refcocog-u, refcocog-g, a comma list, or all")
    ] = "refcoco+",
    backbone: Annotated[
        str | None, typer.Option(help="tiny, open_clip names, folders; comma list  [default: tiny on shapes]")
    ] = None,
    weights: Weights = None,
    data: Data = None,
    recipe: Annotated[str | None, typer.Option(help="name or YAML file  [default: demo on shapes, else paper]")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a recipe's field: key=value")] = None,
    option: Options = None,
    seeds: Annotated[str, typer.Option(help="comma list")] = "0",
    image_size: ImageSize = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, or what torch knows: cuda, cuda:1, mps")] = "auto",
    processes: Annotated[int, typer.Option(min=1, help="processes that share each batch, one a GPU")] = 1,
    workers: Annotated[
        int | None, typer.Option(min=0, help="data loading processes  [default: by the machine]")
    ] = None,
    results: Results = Path("results"),
    reports: Annotated[Path, typer.Option(help="folder of the tables")] = Path("reports"),
) -> None:
    """Run a matrix of methods x backbones x splits x seeds; what is finished is skipped, what was interrupted goes
    on."""
    from barbench.benchmarks.command import RunRequest, run_matrix
    from barbench.reports.write import write_reports

    request = RunRequest(
        methods, suite, split, backbone, weights, data, recipe, set_ or [], option or [], seeds, image_size, precision,
        device, processes, workers, results,
    )  # fmt: skip
    console = Console() if sys.stdout.isatty() else Console(width=100)
    try:
        records = run_matrix(request, console)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the same command goes on from here") from None
    paths = write_reports(results, reports)
    _print_tables(records, console)
    console.print(f"records in {results}, tables in {', '.join(map(str, paths))}", markup=False, soft_wrap=True)
    if any(record.status != "done" for record in records):
        raise typer.Exit(1)


@app.command()
def report(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="folder to write into")] = Path("reports"),
    table: Annotated[str, typer.Option(help="4, 5, a comma list, or all")] = "all",
    format_: Annotated[str, typer.Option("--format", help="md, latex, or both")] = "md,latex",
) -> None:
    """Write the paper's tables from the records."""
    from barbench.reports.tables import TABLES
    from barbench.reports.write import write_reports
    from barbench.results.store import Store

    numbers = TABLES.names() if table == "all" else _names(table)
    store = Store(results)
    store.all()
    for lost in store.set_aside:
        print(f"{lost.path.name} cannot be used ({lost.reason}); it is now {lost.renamed.name}", file=sys.stderr)
    for path in write_reports(results, out, numbers, _names(format_)):
        print(path)


@app.command()
def profile(
    methods: Methods = "all",
    backbone: Backbone = "tiny",
    weights: Weights = None,
    image_size: ImageSize = None,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    words: Annotated[int, typer.Option(min=3, help="tokens of an expression")] = 17,
    device: Annotated[str, typer.Option(help="auto, cpu, or what torch knows")] = "auto",
    option: Options = None,
    format_: FormatOption = Format.table,
) -> None:
    """Measure what each method costs: each in a process of its own, on random input."""
    from barbench.benchmarks.command import profile_methods

    rows = profile_methods(methods, backbone, weights, image_size, batch, words, device, option or [])
    print_rows(rows, format_, title=f"{backbone}, batch {batch}")


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Option(help="a .pth that the authors' public code wrote")],
    format_: Annotated[str, typer.Option("--format", help=f"whose: {', '.join(RELEASES)}")],
    split: Annotated[str, typer.Option(help="as for run")] = "refcoco+",
    data: Data = None,
    backbone: Backbone = "ViT-B-16-quickgelu",
    image_size: ImageSize = None,
    device: Annotated[str, typer.Option(help="auto, cpu, or what torch knows")] = "auto",
    batch: Annotated[int, typer.Option(min=1)] = 32,
    threshold: Annotated[float, typer.Option(help="probability above which a pixel is in the mask")] = 0.35,
    out: Annotated[Format, typer.Option("--output", help="how to print it")] = Format.table,
) -> None:
    """Evaluate an official checkpoint on every evaluation split; it must fit name by name."""
    from barbench.benchmarks.command import pick_device
    from barbench.benchmarks.official import evaluate_official

    if format_ not in RELEASES:
        raise UnknownName("format", format_, RELEASES)
    console = Console(stderr=True)
    rows = evaluate_official(
        weights, format_, split, data, backbone, image_size, pick_device(device), batch, threshold, console
    )
    print_rows(rows, out, title=f"{weights.name} ({format_})")


@lists.command("methods")
def list_methods(
    backbone: Backbone = "tiny",
    image_size: ImageSize = None,
    option: Options = None,
    format_: FormatOption = Format.table,
) -> None:
    """Methods with their components and parameter ledger on a backbone; no weights are needed."""
    from barbench.benchmarks.command import describe_methods

    print_rows(describe_methods(backbone, image_size, option or []), format_, title=f"methods on {backbone}")


@lists.command("backbones")
def list_backbones(format_: FormatOption = Format.table) -> None:
    """Backbones that barbench can walk."""
    from barbench.models.towers.configs import backbone_config, backbone_names

    rows = []
    for name in backbone_names():
        config = backbone_config(name)
        vision, text = config.model["vision_cfg"], config.model["text_cfg"]
        layers, width = (None, None) if "timm_model_name" in vision else (12, 768)  # timm's are in its own code
        rows.append(
            {
                "name": name,
                "image size": config.image_size(None),
                "patch": vision.get("patch_size"),
                "blocks": [vision.get("layers", layers), text.get("layers", 12)],
                "widths": [vision.get("width", width), text.get("width", 512)],
            }
        )
    print_rows(rows, format_, title="backbones (blocks and widths: vision, text)")


@lists.command("splits")
def list_splits(format_: FormatOption = Format.table) -> None:
    """Protocols: which data set, how it is partitioned, what is evaluated."""
    from barbench.datasets.protocols import PROTOCOLS

    rows = [
        {
            "name": p.name,
            "dataset": p.dataset,
            "partition": p.partition,
            "evaluated": list(p.evals),
            "leaks": list(p.leaks),
            "context": p.words,
            "files": f"{p.folder}/{p.refs_file}",
        }
        for p in PROTOCOLS
    ]
    print_rows(rows, format_, title="splits")


@lists.command("recipes")
def list_recipes(format_: FormatOption = Format.table) -> None:
    """Training recipes that ship with barbench."""
    from barbench.engine.recipe import load_recipe, recipe_names

    rows = [load_recipe(name).model_dump(mode="json") for name in recipe_names()]
    if format_ is Format.table:
        rows = [
            {k: r[k] for k in ("name", "description", "epochs", "batch", "optimizer", "lr", "schedule")} for r in rows
        ]
    print_rows(rows, format_, title="recipes")


@lists.command("suites")
def list_suites(format_: FormatOption = Format.table) -> None:
    """Lists of methods with options that answer one question together."""
    from barbench.methods.suites import SUITES

    rows = [
        {"suite": name, "method": spec.name, "title": spec.title, "question": SUITES.get(name).question}
        for name in SUITES.names()
        for spec in SUITES.get(name).methods()
    ]
    print_rows(rows, format_, title="suites")


@data.command("make-shapes")
def make_shapes(
    root: Annotated[Path, typer.Argument(help="folder to write, in the REFER/COCO layout")],
    train: Annotated[int, typer.Option(min=1, help="pictures")] = 380,
    evaluate: Annotated[int, typer.Option(min=1, help="pictures of each of val, testA, testB")] = 60,
    shortest: Annotated[int, typer.Option(min=32, help="shortest side, pixels")] = 144,
    longest: Annotated[int, typer.Option(min=32, help="longest side, pixels")] = 224,
    seed: int = 0,
) -> None:
    """Generate a data set of coloured figures with referring expressions, for all four splits."""
    from barbench.datasets.shapes import ShapesSpec
    from barbench.datasets.shapes import make_shapes as make
    from barbench.listing import progress_bar

    if shortest > longest:
        raise UsageError(f"--shortest {shortest} is more than --longest {longest}")
    if root.exists() and any(root.iterdir()):
        raise UsageError(f"{root} is not empty; name a new folder")
    spec = ShapesSpec(train, evaluate, evaluate, evaluate, (shortest, longest), seed=seed)
    with progress_bar("drawing") as progress:
        make(root, spec, progress)
    print(f"{train + 3 * evaluate} pictures in {root}; use them with --data {root}")


@data.command("verify")
def verify(
    data: Annotated[str | None, typer.Option(help="REFER/COCO root, or shapes")] = None,
    split: Annotated[str, typer.Option(help="a comma list, or all that the root holds")] = "all",
    format_: FormatOption = Format.table,
) -> None:
    """Check a data root: published counts, every image opens, every mask is sound, images shared by train and test."""
    from barbench.benchmarks.command import verify_data

    rows, findings, sound = verify_data(data, split)
    print_rows(rows, format_, title="splits as found")
    for line in findings:
        print(line, file=sys.stderr)
    if not sound:
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _print_tables(records: Any, console: Console) -> None:
    from barbench.reports.console import Terminal
    from barbench.reports.tables import build

    for table in build("5", records):
        console.print()
        console.print(Terminal(table))
        console.print()


def main() -> None:
    """Entry point: an error ends with a line and its exit code; `barbench --debug COMMAND` shows where it came from."""
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        Console(stderr=True).print(f"error: {_explained(error)}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code if isinstance(error, BarbenchError) else 1)


def _explained(error: Exception) -> str:
    if isinstance(error, BarbenchError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (not foreseen; barbench --debug COMMAND shows where)"


if __name__ == "__main__":
    main()
