"""What the commands `run`, `profile` and `list methods` do, from their arguments as text to values."""

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.console import Console

from barbench.benchmarks.environment import worker_variables
from barbench.benchmarks.job import Job
from barbench.benchmarks.matrix import Host, Matrix, choose_tasks, identify_weights
from barbench.benchmarks.plan import Plan, make_plan
from barbench.benchmarks.progress import display_for
from barbench.benchmarks.runner import run_jobs
from barbench.benchmarks.tables import DEFAULT, Block, needed
from barbench.datasets.mixtures import Task
from barbench.datasets.sources import cache_folder, find_source
from barbench.engine.recipe import load_recipe
from barbench.errors import BarbenchError, UsageError
from barbench.listing import Format, print_rows, progress_bar
from barbench.methods.catalog import MethodSpec
from barbench.methods.resolve import resolve
from barbench.methods.suites import SUITES
from barbench.models.towers.configs import backbone_config
from barbench.results.record import Record
from barbench.results.store import Store

PRECISIONS = ("fp32", "bf16", "fp16")


class RunRequest(NamedTuple):
    """The arguments of `barbench run`, as given; None where they are not."""

    table: str | None
    methods: str | None
    suite: str | None
    split: str | None
    backbone: str | None
    weights: str | None
    data: str | None
    recipe: str | None
    changes: list[str]
    options: list[str]
    seeds: str
    image_size: int | None
    precision: str
    device: str
    processes: int
    workers: int | None
    cache: str
    results: Path
    halve_on_oom: bool = False


def run_matrix(request: RunRequest, console: Console) -> list[Record]:
    """Check all arguments, make the data if need be, run the cells; the records of the whole matrix.

    The cells of a table are planned and shown first.
    """
    jobs = expand(request)
    plan = show_plan(jobs, request.results, console) if request.table is not None else None
    display = display_for(console, plan.forecast if plan else {})
    try:
        return run_jobs(jobs, request.results, display, request.halve_on_oom)
    finally:
        display.stop()


def show_plan(jobs: list[Job], results: Path, console: Console) -> Plan:
    """Print what is done, what is to run, and how long it will take; nothing is run."""
    with console.status("estimating"):
        plan = make_plan(jobs, Store(results))
    print_rows(plan.rows(), Format.table, title="plan")
    console.print(plan.summary(), markup=False, highlight=False, soft_wrap=True)
    return plan


def expand(request: RunRequest) -> list[Job]:
    """The cells that are asked for, each once: of the tables named, or of a matrix.

    What is given besides a table takes the place of what the table says, but --split, which chooses among its splits.
    On shapes every backbone is the tiny one and every recipe the demo, so that cells of several tables fall together.
    """
    blocks = [DEFAULT] if request.table is None else needed(request.table)
    methods = [choose_methods(request.methods, request.suite, block.methods) for block in blocks]
    every = list({spec.name: spec for specs in methods for spec in specs}.values())
    options, seeds = parse_options(request.options, every), parse_seeds(request.seeds)
    if strange := options.keys() - {spec.name for spec in every}:
        raise UsageError(f"--option names {', '.join(sorted(strange))}, which is not among the methods")
    _check_precision(request)
    tasks = _choose_splits(request, blocks)
    with progress_bar("drawing shapes") as progress:
        sources = {t.name: find_source(request.data, t, progress) for t in dict.fromkeys(chain(*tasks))}
    shapes = all(s.kind == "shapes" for s in sources.values())
    jobs: dict[str, Job] = {}
    for block, specs, splits in zip(blocks, methods, tasks, strict=True):
        names = {spec.name for spec in specs}
        own = {name: values for name, values in options.items() if name in names}
        standard = shapes or request.backbone is not None
        matrix = Matrix(
            specs,
            (request.backbone or ("tiny" if shapes else block.backbone)).split(","),
            splits,
            seeds,
            load_recipe(request.recipe or ("demo" if shapes else block.recipe), request.changes),
            request.precision,
            request.weights or (None if standard else block.weights),
            request.image_size,
            own,
        )
        jobs |= {job.cell.id(): job for job in matrix.jobs(sources, _host(request)) if job.cell.id() not in jobs}
    return list(jobs.values())


def _choose_splits(request: RunRequest, blocks: list[Block]) -> list[list[Task]]:
    """The splits of each block. Raises UsageError for one that the tables do not have."""
    tasks = [choose_tasks(block.split) for block in blocks]
    if request.split is None:
        return tasks
    wanted = choose_tasks(request.split)
    if request.table is None:
        return [wanted]
    if strange := [t.name for t in wanted if t not in chain(*tasks)]:
        has = ", ".join(dict.fromkeys(t.name for t in chain(*tasks)))
        raise UsageError(f"--split {', '.join(strange)}: table {request.table} has {has}")
    return [[t for t in have if t in wanted] for have in tasks]


def _check_precision(request: RunRequest) -> None:
    if request.precision not in PRECISIONS:
        raise UsageError(f"--precision is {', '.join(PRECISIONS)}, not {request.precision!r}")
    if request.precision == "fp16" and pick_device(request.device) == "cpu":
        raise UsageError("--precision fp16 needs a GPU; on a CPU use fp32 or bf16")


def choose_methods(methods: str | None, suite: str | None, default: str) -> list[MethodSpec]:
    """The rows of a suite, or methods by name, `default` where neither is given; raises UsageError where both are."""
    if suite is None:
        return resolve(methods or default)
    if methods is not None:
        raise UsageError("give --methods or --suite, not both")
    return SUITES.get(suite).methods()


def _host(request: RunRequest) -> Host:
    device, cores = pick_device(request.device), _cores()
    workers = request.workers
    if workers is None:  # on a CPU the model needs every core, and small images decode fast
        workers = 0 if device == "cpu" else min(8, max(1, cores // request.processes - 1))
    cache = cache_folder() if request.cache == "auto" else None if request.cache == "off" else Path(request.cache)
    threads = max(1, cores // request.processes)
    return Host(request.results, device, request.processes, threads, workers, cache=cache)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(name: str) -> str:
    """`auto` is cuda or mps where there is one; raises UsageError for a device that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return name


def parse_seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds is a comma list of whole numbers, not {text!r}") from None
    if any(seed < 0 for seed in seeds):
        raise UsageError(f"--seeds are not negative: {text}")
    return list(dict.fromkeys(seeds))


def parse_options(options: list[str], methods: list[MethodSpec]) -> dict[str, dict[str, Any]]:
    """`METHOD:component.parameter=value` to {method: {option: value}}; `all` in place of a method means each of
    them."""
    parsed: dict[str, dict[str, Any]] = {}
    for text in options:
        target, equals, value = text.partition("=")
        method, colon, name = target.rpartition(":")
        if not (equals and colon and method and name):
            raise UsageError(f"--option {text}: write it as METHOD:component.parameter=value")
        try:
            parsed_value = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"--option {text}: the value is not YAML") from None
        for each in [m.name for m in methods] if method == "all" else [method]:
            parsed.setdefault(each, {})[name] = parsed_value
    return parsed


def describe_methods(backbone: str, image_size: int | None, options: list[str]) -> list[dict[str, Any]]:
    """Name, components and parameter ledger of every method, built without values on the meta device."""
    from barbench.methods.resolve import build_segmenter
    from barbench.models.towers.configs import RANDOM
    from barbench.models.towers.load import load_backbone

    specs = resolve("everything")
    chosen = parse_options(options, specs)
    rows = []
    for spec in specs:
        frozen = load_backbone(backbone, RANDOM, image_size, device="meta")
        segmenter = build_segmenter(spec, frozen, options=chosen.get(spec.name, {}))
        components = spec.create(chosen.get(spec.name, {})).composition()
        row = {"name": spec.name, "title": spec.title, "components": components, "ledger": segmenter.ledger()}
        rows.append(row | {"variant": spec.variant} if spec.variant else row)
    return rows


def profile_methods(
    methods: str,
    backbone: str,
    weights: str | None,
    image_size: int | None,
    batch: int,
    words: int,
    device: str,
    options: list[str],
    precision: str = "fp32",
) -> list[dict[str, Any]]:
    """One row a method, each measured in a fresh process; a method that fails has its reason in place of figures."""
    if precision not in ("fp32", "bf16"):
        raise UsageError(f"--precision of a profile is fp32 or bf16, not {precision!r}")
    specs = resolve(methods)
    chosen = parse_options(options, specs)
    size = backbone_config(backbone).image_size(image_size)
    tag, path = identify_weights(backbone, weights or (None if backbone_config(backbone).folder else "random"))
    rows = []
    with progress_bar("profiling") as progress:
        for number, spec in enumerate(specs):
            progress(number, len(specs))
            task = {
                "reference": spec.reference or spec.name,
                "options": chosen.get(spec.name, {}),
                "backbone": backbone,
                "weights": str(path) if path else tag,
                "image_size": size,
                "batch": batch,
                "words": words,
                "device": pick_device(device),
                "threads": _cores(),
                "precision": precision,
            }
            rows.append({"method": spec.name} | _profile_apart(task))
    if all("failed" in row for row in rows):
        raise BarbenchError(f"no method could be profiled: {rows[0]['failed']}")
    return rows


def _profile_apart(task: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "barbench.benchmarks.measure"]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, env=worker_variables())
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row
