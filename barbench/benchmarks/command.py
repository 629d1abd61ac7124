"""What the commands `run`, `profile`, `list methods` and `data verify` do, from their arguments as text to values."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.console import Console

from barbench.benchmarks.environment import worker_variables
from barbench.benchmarks.matrix import Host, Matrix, choose_tasks, identify_weights
from barbench.benchmarks.progress import display_for
from barbench.benchmarks.runner import run_jobs
from barbench.datasets.audit import Kind, verify
from barbench.datasets.protocols import PROTOCOLS
from barbench.datasets.sources import SHAPES_MARK, DataSource, find_source
from barbench.engine.recipe import load_recipe
from barbench.errors import BarbenchError, MissingData, UsageError
from barbench.listing import progress_bar
from barbench.methods.catalog import MethodSpec
from barbench.methods.resolve import resolve
from barbench.methods.suites import SUITES
from barbench.models.towers.configs import backbone_config
from barbench.results.record import Record

PRECISIONS = ("fp32", "bf16", "fp16")


class RunRequest(NamedTuple):
    """The arguments of `barbench run`, as given."""

    methods: str | None
    suite: str | None
    split: str
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
    results: Path


def run_matrix(request: RunRequest, console: Console) -> list[Record]:
    """Check all arguments, make the data if need be, run the cells; the records of the whole matrix."""
    methods, tasks = choose_methods(request.methods, request.suite), choose_tasks(request.split)
    options, seeds = parse_options(request.options, methods), parse_seeds(request.seeds)
    if request.precision not in PRECISIONS:
        raise UsageError(f"--precision is {', '.join(PRECISIONS)}, not {request.precision!r}")
    if request.precision == "fp16" and pick_device(request.device) == "cpu":
        raise UsageError("--precision fp16 needs a GPU; on a CPU use fp32 or bf16")
    with progress_bar("drawing shapes") as progress:
        sources = {t.name: find_source(request.data, t, progress) for t in tasks}
    shapes = all(s.kind == "shapes" for s in sources.values())
    recipe = load_recipe(request.recipe or ("demo" if shapes else "paper"), request.changes)
    backbones = (request.backbone or ("tiny" if shapes else "ViT-B-16-quickgelu")).split(",")
    matrix = Matrix(
        methods, backbones, tasks, seeds, recipe, request.precision, request.weights, request.image_size, options
    )
    jobs = matrix.jobs(sources, _host(request))
    display = display_for(console)
    try:
        return run_jobs(jobs, request.results, display)
    finally:
        display.stop()


def choose_methods(methods: str | None, suite: str | None) -> list[MethodSpec]:
    """The rows of a suite, or methods by name, `all` where neither is given; raises UsageError where both are."""
    if suite is None:
        return resolve(methods or "all")
    if methods is not None:
        raise UsageError("give --methods or --suite, not both")
    return SUITES.get(suite).methods()


def _host(request: RunRequest) -> Host:
    device, cores = pick_device(request.device), _cores()
    workers = request.workers
    if workers is None:  # on a CPU the model needs every core, and small images decode fast
        workers = 0 if device == "cpu" else min(8, max(1, cores // request.processes - 1))
    return Host(request.results, device, request.processes, max(1, cores // request.processes), workers)


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
) -> list[dict[str, Any]]:
    """One row a method, each measured in a fresh process; a method that fails has its reason in place of figures."""
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


def verify_data(data: str | None, split: str) -> tuple[list[dict[str, Any]], list[str], bool]:
    """Rows for each split, findings in words, and whether all is sound."""
    protocols = dict.fromkeys(protocol for task in choose_tasks(split) for protocol in task.reads)
    sources: dict[str, DataSource] = {}
    absent: MissingData | None = None
    for protocol in protocols:
        try:
            sources[protocol.name] = find_source(data, protocol)
        except MissingData as error:
            if split != "all":
                raise
            absent = error
    if not sources:
        raise absent or MissingData("no data")
    root = next(iter(sources.values())).root
    kind: Kind = "shapes" if (root / SHAPES_MARK).exists() else "real"
    with progress_bar("opening images") as progress:
        report = verify(root, [PROTOCOLS.get(name) for name in sources], kind, progress)
    rows = [
        {
            "split": f"{row.protocol} {row.split}",
            "references": row.found.references,
            "images": row.found.images,
            "sentences": row.found.sentences,
            "expected": list(row.expected) if row.expected else None,
            "images shared with train": row.shared_images,
            "problems": list(row.problems),
        }
        for row in report.rows
    ]
    findings = [f"{f.severity}: {f.protocol}: {f.text}" for f in report.findings]
    verdict = "sound" if report.ok else "not sound"
    return rows, [*findings, f"{report.images_opened} images opened; the data are {verdict}"], report.ok
